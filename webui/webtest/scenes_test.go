package webtest

import (
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hearth.alt/webui"
	"hearth.alt/webui/assets"
	"hearth.alt/webui/messages"
)

var update = flag.Bool("update", false, "write the golden pages anew")

func play(t *testing.T, s Scene, lang string) (int, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/s/"+s.Name, nil)
	r.Header.Set("Accept-Language", lang)
	s.ServeHTTP(rec, r)
	return rec.Code, rec.Body.String()
}

// inGerman are the pages whose German is read in review as well; the others differ from English by their words only.
var inGerman = map[string]bool{"claim": true, "home": true, "home-broken": true, "devices": true, "pair": true}

// TestScenes plays every scene in every language and reads what came out.
func TestScenes(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Scenes() {
		if seen[s.Name] {
			t.Errorf("two scenes are called %s", s.Name)
		}
		seen[s.Name] = true
		for _, l := range messages.Languages() {
			t.Run(s.Name+"/"+l.Tag, func(t *testing.T) {
				want := s.Want
				if want == 0 {
					want = http.StatusOK
				}
				code, body := play(t, s, l.Tag)
				if code != want {
					t.Fatalf("status %d, want %d\n%s", code, want, body)
				}
				check(t, body, l.Tag)
				if l.Tag == messages.English || inGerman[s.Name] {
					golden(t, filepath.Join("testdata", l.Tag, s.Name+".html"), body)
				}
			})
		}
	}
}

var (
	styleAttr = regexp.MustCompile(`(?i)<[^>]+\sstyle\s*=`)
	eventAttr = regexp.MustCompile(`(?i)<[^>]+\son[a-z]+\s*=`)
	inline    = regexp.MustCompile(`(?i)<script(>|\s[^>]*>)[^<]|<style`)
	secretURL = regexp.MustCompile(`(?i)(href|action|src)="[^"#]*(7QK4|proof|PrivateKey)`)
	bracket   = regexp.MustCompile(`\[[a-z]+\.[a-z.0-9]+\]|\{[a-z]+\}`)
	ids       = regexp.MustCompile(`\sid="([^"]+)"`)
	h1        = regexp.MustCompile(`<h1[\s>]`)
)

func check(t *testing.T, body, lang string) {
	t.Helper()
	for what, re := range map[string]*regexp.Regexp{
		"a style attribute": styleAttr, "an event handler": eventAttr, "inline script or style": inline,
		"a secret in an address": secretURL, "a message that is missing": bracket,
	} {
		if m := re.FindString(body); m != "" {
			t.Errorf("the page has %s: %q", what, m)
		}
	}
	if n := len(h1.FindAllString(body, -1)); n != 1 {
		t.Errorf("the page has %d h1, want one", n)
	}
	if !strings.Contains(body, `<html lang="`+lang+`"`) {
		t.Errorf("the page is not in %s", lang)
	}
	had := map[string]bool{}
	for _, m := range ids.FindAllStringSubmatch(body, -1) {
		if had[m[1]] {
			t.Errorf("id %q stands twice", m[1])
		}
		had[m[1]] = true
	}
}

// golden compares with the file, ignoring the hash in the addresses of assets.
func golden(t *testing.T, path, body string) {
	t.Helper()
	hash := strings.TrimSuffix(strings.TrimPrefix(assets.Path("hearth.css"), assets.Prefix), "/hearth.css")
	got := strings.ReplaceAll(strings.ReplaceAll(body, hash, "HASH"), "><", ">\n<") + "\n"
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; write it with go test ./webui/webtest -update", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("page changed (-want +got); look at it, then go test ./webui/webtest -update\n%s", diff)
	}
}

// TestEveryPageHasScenes walks the route table: a page without a scene is a page nobody has looked at.
func TestEveryPageHasScenes(t *testing.T) {
	have := map[string]bool{}
	for _, s := range Scenes() {
		have[s.Page] = true
	}
	for _, r := range webui.Routes(well()) {
		if r.Page != "" && !have[r.Page] {
			t.Errorf("%s %s: page %s has no scene", r.Method, r.Path, r.Page)
		}
	}
	folders, err := filepath.Glob("../pages/*")
	if err != nil || len(folders) == 0 {
		t.Fatal("no page folders found")
	}
	for _, f := range folders {
		if !have[filepath.Base(f)] {
			t.Errorf("folder %s has no scene", f)
		}
	}
}

// TestRoutes checks the table against the rules of the house.
func TestRoutes(t *testing.T) {
	seen := map[string]bool{}
	get := map[string]bool{}
	for _, r := range webui.Routes(well()) {
		if r.Method == "GET" {
			get[r.Path] = true
		}
	}
	for _, r := range webui.Routes(well()) {
		for _, f := range r.Faces {
			k := f.String() + " " + r.Method + " " + r.Path
			if seen[k] {
				t.Errorf("%s stands twice", k)
			}
			seen[k] = true
			if f.String() == "public" || f.String() == "mesh" {
				t.Errorf("%s: the pages of the house are never on this face", k)
			}
			if f.String() == "lan" && (r.Method != "GET" || r.Least != 0) {
				t.Errorf("%s: plain http on the home network shows open pages only", k)
			}
		}
		if !r.Before && !r.After || r.Handler == nil || len(r.Faces) == 0 {
			t.Errorf("%s %s is served to nobody", r.Method, r.Path)
		}
		if r.Before && r.Least != 0 {
			t.Errorf("%s %s: nobody has a role before the claim", r.Method, r.Path)
		}
		if r.Fresh && r.Method == "POST" && !get[r.Path] {
			t.Errorf("%s %s: after the password there is no page of this path to come back to", r.Method, r.Path)
		}
	}
}

// TestBudgets holds the sizes of LOOK.md, section 10, unpacked.
func TestBudgets(t *testing.T) {
	css := len(assets.Bytes("hearth.css"))
	if css > 36_000 {
		t.Errorf("hearth.css has %d bytes, want at most 36,000", css)
	}
	for name, limit := range map[string]int{"claim": 50_000, "home": 60_000} {
		for _, s := range Scenes() {
			if s.Name != name {
				continue
			}
			if _, body := play(t, s, "de"); len(body)+css > limit {
				t.Errorf("%s has %d bytes with its stylesheet, want at most %d", name, len(body)+css, limit)
			} else {
				t.Logf("%s: %d bytes of HTML, %d of CSS", name, len(body), css)
			}
		}
	}
}
