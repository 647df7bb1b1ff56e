package messages

import (
	"encoding/json"
	"flag"
	"go/ast"
	goparser "go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hearth.alt/services"
)

var update = flag.Bool("update", false, "write sentences that are only in Go into en.json")

const root = "../.."

// said finds every services.Say("key", "text", …) in the Go source of the repository, but for tests.
func said(t *testing.T) map[string]string {
	t.Helper()
	out, where := map[string]string{}, map[string]string{}
	walk(t, ".go", func(path string, src []byte) {
		if strings.HasSuffix(path, "_test.go") || !strings.Contains(string(src), "Say(") {
			return
		}
		fset := token.NewFileSet()
		file, err := goparser.ParseFile(fset, path, src, goparser.SkipObjectResolution)
		if err != nil {
			t.Errorf("reading %s: %v", path, err)
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 2 {
				return true
			}
			switch f := call.Fun.(type) {
			case *ast.SelectorExpr:
				pkg, ok := f.X.(*ast.Ident)
				if !ok || pkg.Name != "services" || f.Sel.Name != "Say" {
					return true
				}
			case *ast.Ident:
				if f.Name != "Say" || file.Name.Name != "services" {
					return true
				}
			default:
				return true
			}
			key, ok1 := literal(call.Args[0])
			text, ok2 := literal(call.Args[1])
			at := fset.Position(call.Pos()).String()
			switch {
			case !ok1 || !ok2:
				t.Errorf("%s: key and text of services.Say must be literals", at)
			case out[key] != "" && out[key] != text:
				t.Errorf("%s: %s is said otherwise than at %s", at, key, where[key])
			}
			out[key], where[key] = text, at
			return true
		})
	})
	return out
}

// literal returns a string literal, or several joined by +.
func literal(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		return s, err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr:
		a, ok1 := literal(e.X)
		b, ok2 := literal(e.Y)
		return a + b, ok1 && ok2 && e.Op == token.ADD
	}
	return "", false
}

func walk(t *testing.T, ext string, f func(path string, src []byte)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "out" || name == "testdata") {
			return filepath.SkipDir
		}
		if !d.IsDir() && filepath.Ext(name) == ext {
			src, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			f(path, src)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestWhatServicesSay compares every sentence in Go with en.json.
func TestWhatServicesSay(t *testing.T) {
	spoken := said(t)
	if len(spoken) < 10 {
		t.Fatalf("only %d sentences found: the reader of Go source is broken", len(spoken))
	}
	en := Lookup(English)
	added := false
	for _, key := range slices.Sorted(maps.Keys(spoken)) {
		switch text := en.Text(key); {
		case text == spoken[key]:
		case text == "" && *update:
			en.texts[key], added = spoken[key], true
		case text == "":
			t.Errorf("en.json lacks %q: %q; go test ./webui/messages -update adds it", key, spoken[key])
		default:
			t.Errorf("%s: en.json says %q, Go says %q", key, text, spoken[key])
		}
	}
	if added {
		var b strings.Builder
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(en.texts); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("en.json", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

var used = regexp.MustCompile(`\.(?:T|HTML)\("([a-z][a-z0-9.]*[a-z0-9])"`)

// TestWhatPagesSay finds the keys in templ files and in the Go of webui.
func TestWhatPagesSay(t *testing.T) {
	en, n := Lookup(English), 0
	look := func(path string, src []byte) {
		if !strings.Contains(filepath.ToSlash(path), "/webui/") || strings.HasSuffix(path, "_test.go") {
			return
		}
		for _, m := range used.FindAllSubmatch(src, -1) {
			n++
			if key := string(m[1]); en.Text(key) == "" {
				t.Errorf("%s says %s, which en.json lacks", path, key)
			}
		}
	}
	walk(t, ".templ", look)
	walk(t, ".go", look)
	if n < 100 {
		t.Fatalf("only %d keys found: the reader of templ files is broken", n)
	}
}

// TestLanguages compares every language with English: the same keys, each with the same arguments.
func TestLanguages(t *testing.T) {
	en := Lookup(English)
	for _, l := range Languages() {
		if l.Name == "" || l.Dir != "ltr" && l.Dir != "rtl" {
			t.Errorf("%s.json lacks language.name or language.dir", l.Tag)
		}
		for _, key := range en.Keys() {
			if l.Text(key) == "" {
				t.Errorf("%s.json lacks %s: %q", l.Tag, key, en.Text(key))
				continue
			}
			want, got := map[string]bool{}, map[string]bool{}
			en.messages[key].arguments(want)
			l.messages[key].arguments(got)
			if !maps.Equal(want, got) {
				t.Errorf("%s.json, %s: arguments %v, English has %v", l.Tag, key, got, want)
			}
		}
		for _, key := range l.Keys() {
			if en.Text(key) == "" {
				t.Errorf("%s.json has %s, which English lacks", l.Tag, key)
			}
		}
	}
}

func printer(tag string) *Printer {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		berlin = time.FixedZone("CET", 3600)
	}
	return &Printer{Language: Lookup(tag), Now: time.Date(2026, 11, 21, 13, 33, 0, 0, time.UTC), Zone: berlin}
}

func TestPrinter(t *testing.T) {
	en, de := printer("en"), printer("de")
	at := en.Now.Add(-29 * time.Minute)
	for _, tt := range []struct {
		what, got, want string
	}{
		{"grouping in English", en.Number(4960), "4,960"},
		{"grouping in German", de.Number(-1234567), "−1.234.567"},
		{"bytes", en.Bytes(214e9), "214\u00a0GB"},
		{"bytes below ten", de.Bytes(1_240_000), "1,2\u00a0MB"},
		{"bytes rounded up to the next unit", en.Bytes(999_600), "1\u00a0MB"},
		{"single bytes", en.Bytes(7), "7\u00a0B"},
		{"time of day in the zone of the house", de.Time(at), "14:04"},
		{"date this year", de.Date(at), "21.\u00a0November"},
		{"date of another year", en.Date(at.AddDate(-1, 0, 0)), "21\u00a0November\u00a02025"},
		{"today", en.Day(at), "14:04"},
		{"yesterday", de.Day(at.AddDate(0, 0, -1)), "gestern, 14:04"},
		{"minutes ago", en.Ago(at), "29 minutes ago"},
		{"a few minutes ago", de.Ago(en.Now.Add(-3 * time.Minute)), "vor drei Minuten"},
		{"a minute ago", en.Ago(en.Now.Add(-61 * time.Second)), "a minute ago"},
		{"days ago", de.Ago(en.Now.AddDate(0, 0, -47)), "vor 47 Tagen"},
		{"how long", de.Say(services.Say("x", "{d}", "d", 90*time.Second)), "zwei Minuten"},
		{"how short", en.Duration(0), "a second"},
		{"never", en.Ago(time.Time{}), "never"},
		{"plural of one", en.T("claim.check.answer", "n", 1), "One word is enough. Then the box forgets them all."},
		{"plural of three", de.T("claim.check.answer", "n", 3), "Drei Wörter genügen. Danach vergisst die Box sie alle."},
		{"exact case", en.T("people.devices", "n", 0), "none"},
		{"select", de.T("person.title", "name", "Ben", "role", services.RoleOwner), "Ben, Eigentümer"},
		{"a sentence of a service", de.Say(services.Say("webui.device.renamed", "The device is now called {name}.", "name", "A")), "Das Gerät heißt jetzt A."},
		{"a sentence nobody translated", de.Say(services.Say("no.such.key", "{n, plural, one {# door} other {# doors}}", "n", 2)), "2 doors"},
		{"a broken sentence", de.Say(services.Say("no.such.key", "a { b")), "a { b"},
		{"a missing key", en.T("no.such.key"), "[no.such.key]"},
		{"markup is made and names are held apart", en.HTML("pair.answer", "until", at, "href", "#file"), `The code works once, until 14:04. Reading this on that very phone? <a href="#file">Take the file instead.</a>`},
		{"names are escaped", en.HTML("device.answer", "person", "<b>&"), "It belongs to <bdi>&lt;b&gt;&amp;</bdi>."},
		{"no markup in plain text", en.T("claim.where.card"), "On the card itself: put it in a computer and open hearth-claim.txt."},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.what, tt.got, tt.want)
		}
	}
}

func TestChoose(t *testing.T) {
	for _, tt := range []struct{ tag, header, want string }{
		{"", "", "en"},
		{"de", "en", "de"},
		{"xx", "de-AT,de;q=0.9,en;q=0.5", "de"},
		{"", "fr-FR,fr;q=0.9", "en"},
		{"", "fr, de;q=0.1", "de"},
		{"", strings.Repeat("de,", 100), "en"},
		{"", "\x00;;q=", "en"},
	} {
		if got := Choose(tt.tag, tt.header).Tag; got != tt.want {
			t.Errorf("Choose(%q, %.20q) is %s, want %s", tt.tag, tt.header, got, tt.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{
		"{", "{}", "}", "{a", "{a,", "{a, nonsense}", "{n, plural, one {x}}", "{n, plural, other {x}", "{n, plural, other x}",
		"{n, plural, other {a} other {b}}", "<b>x", "<b><a>x</b></a>", "</b>", "{n, words",
		strings.Repeat("{n, plural, other {", 9) + strings.Repeat("}}", 9),
	} {
		if m, err := parse(s); err == nil {
			t.Errorf("parse(%q) is %v, want an error", s, m)
		}
	}
}

// FuzzParse looks for texts that break the parser, or that the printer cannot say.
func FuzzParse(f *testing.F) {
	for _, l := range languages() {
		for _, text := range l.texts {
			f.Add(text)
		}
	}
	p := printer("en")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := parse(s)
		if err != nil {
			if m != nil {
				t.Errorf("parse(%q) has a message and an error", s)
			}
			return
		}
		for _, html := range []bool{false, true} {
			w := &writer{p: p, args: map[string]any{"n": 3, "name": "<i>", "at": p.Now}, html: html}
			w.write(m, 0)
			if html && strings.Contains(w.b.String(), "<i>") {
				t.Errorf("parse(%q) let a tag through", s)
			}
		}
	})
}

// TestOneWordForOneThing names the bug: German had two words for the same thing, so that a reader looked for two things.
func TestOneWordForOneThing(t *testing.T) {
	for word, use := range map[string]string{
		"Verwaltungsrecht": "Administratorrechte", "Anschluss": "Port", "Wiederherstellungsw": "Rettungswörter", "Rechner": "Computer",
		"Menschen": "Personen", "Kennung": "ID", "Das Buch": "Die Aufzeichnung", "Bytes": "Byte", "Dieses Hearth": "Dieser Hearth",
	} {
		for key, text := range Lookup("de").texts {
			if strings.Contains(text, word) {
				t.Errorf("%s: say %s instead of %s: %s", key, use, word, text)
			}
		}
	}
}

// TestNoZoneSaysSo names a bug: times were in UTC and did not say so.
func TestNoZoneSaysSo(t *testing.T) {
	at := time.Date(2026, 11, 21, 13, 33, 0, 0, time.UTC)
	p := &Printer{Language: Lookup("en"), Now: at}
	if got := p.Ago(at.Add(-3 * time.Hour)); !strings.Contains(got, "10:33"+nbsp+"UTC") {
		t.Errorf("without a zone: %q", got)
	}
	p.Zone = time.UTC
	if got := p.Ago(at.Add(-3 * time.Hour)); !strings.Contains(got, "10:33") || strings.Contains(got, "UTC") {
		t.Errorf("in a chosen one: %q", got)
	}
}
