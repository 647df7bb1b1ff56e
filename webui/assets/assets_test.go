package assets

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tyler-smith/go-bip39"
)

func TestServe(t *testing.T) {
	for _, tt := range []struct {
		path string
		want int
	}{
		{Path("hearth.css"), 200},
		{Path("noble.js"), 200},
		{strings.Replace(Path("hearth.css"), hash, "0000000000000000", 1), 404},
		{Prefix + hash + "/generate.go", 404},
		{Prefix + hash + "/npm/package.json", 404},
		{Prefix + hash + "/", 404},
		{Prefix + hash + "/../assets.go", 404},
	} {
		rec := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "http://hearth.local/", nil)
		r.URL.Path = tt.path
		ServeHTTP(rec, r)
		if rec.Code != tt.want {
			t.Errorf("%s: %d, want %d", tt.path, rec.Code, tt.want)
		}
		if kept := strings.Contains(rec.Header().Get("Cache-Control"), "immutable"); kept != (tt.want == 200) {
			t.Errorf("%s: Cache-Control %q", tt.path, rec.Header().Get("Cache-Control"))
		}
	}
	if Path("nothing.js") != "" {
		t.Error("a file that is not there has an address")
	}
}

func TestNothingFromElsewhere(t *testing.T) {
	for _, name := range Names() {
		if name == "licenses.txt" || name == "htmx.js" {
			continue
		}
		s := string(Bytes(name))
		for _, bad := range []string{"@import", "url(http", "sourceMappingURL", `from"http`, "eval("} {
			if strings.Contains(s, bad) {
				t.Errorf("%s contains %q", name, bad)
			}
		}
	}
}

// The sealed claim reads the words of the sheet with the list that printed them.
func TestWords(t *testing.T) {
	if got, want := string(Bytes("words.txt")), strings.Join(bip39.GetWordList(), "\n")+"\n"; got != want {
		t.Error("words.txt is not the list of go-bip39; run make generate")
	}
}
