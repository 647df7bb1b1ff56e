package components

import (
	"bytes"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"hearth.alt/webui/assets"
)

var (
	iconUse  = regexp.MustCompile(`(?:Icon|Turning)\("([a-z0-9-]+)"\)|icon(?::| =) "([a-z0-9-]+)"|place\{"[^"]*", "([a-z0-9-]+)"`)
	selector = regexp.MustCompile(`\.([a-z][a-z0-9-]*)`)
)

func sources(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, pattern := range []string{"*.templ", "*.go", "../pages/*/*.templ", "../pages/*/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_templ.go") || strings.HasSuffix(f, "_test.go") {
				continue
			}
			src, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			b.Write(src)
		}
	}
	return b.String()
}

// TestIcons compares the icons that are asked for with those in the sprite: none missing, none carried for nothing.
func TestIcons(t *testing.T) {
	sprite, used := string(assets.Bytes("icons.svg")), map[string]bool{}
	for _, m := range iconUse.FindAllStringSubmatch(sources(t), -1) {
		name := m[1] + m[2] + m[3]
		used[name] = true
		if !strings.Contains(sprite, `id="i-`+name+`"`) {
			t.Errorf("icon %s is not in the sprite: add it to icons in assets/generate.go, then make generate", name)
		}
	}
	for _, m := range regexp.MustCompile(`id="i-([a-z0-9-]+)"`).FindAllStringSubmatch(sprite, -1) {
		if !used[m[1]] {
			t.Errorf("icon %s is in the sprite for nothing", m[1])
		}
	}
}

// TestStylesheet holds hearth.css to what pages use: every class in it stands in some page or part.
func TestStylesheet(t *testing.T) {
	css := regexp.MustCompile(`(?s)/\*.*?\*/`).ReplaceAllString(string(assets.Bytes("hearth.css")), "")
	src, seen := sources(t), map[string]bool{}
	for _, rule := range strings.Split(css, "}") {
		head, _, _ := strings.Cut(rule, "{")
		for _, m := range selector.FindAllStringSubmatch(head, -1) {
			seen[m[1]] = true
		}
	}
	for class := range seen {
		if !regexp.MustCompile(`["\s]` + regexp.QuoteMeta(class) + `["\s\\]`).MatchString(src) {
			t.Errorf("no page uses .%s", class)
		}
	}
}

func TestQR(t *testing.T) {
	c, err := QR("https://hearth.local/join#7QK4-M2VX-9TRD-HC6P")
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(c.PNG))
	if err != nil {
		t.Fatal(err)
	}
	if img.Bounds().Dx() < 200 || !strings.HasPrefix(c.ViewBox, "-4 -4 ") || !strings.HasPrefix(c.Path, "M0 0h7v1h-7z") {
		t.Errorf("QR code of %v, view box %q, path %.20q", img.Bounds(), c.ViewBox, c.Path)
	}
	if _, err := QR(strings.Repeat("x", 3000)); err == nil {
		t.Error("3,000 bytes were drawn")
	}
}
