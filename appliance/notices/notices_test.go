package notices_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hearth.alt/appliance/notices"
	"hearth.alt/appliance/notices/internal/gather"
)

const root = "../.."

func all(t *testing.T) []notices.Notice {
	t.Helper()
	depend(t)
	list, err := notices.All()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// depend opens every file that decides what is linked. go test keeps a result while the files a test has opened stay
// as they are, and does not see what the go command reads on its behalf.
func depend(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "out"):
			return filepath.SkipDir
		case d.Name() == "go.mod" || d.Name() == "licenses.txt" || d.Name() == "package-lock.json" ||
			strings.HasSuffix(p, ".go") && !strings.HasSuffix(p, "_test.go"):
			_, err = os.ReadFile(p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Every module linked into what we ship, as go list says, is on the page with its version.
func TestEveryLinkedModuleIsNamed(t *testing.T) {
	linked, err := gather.Linked(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(linked) < 10 {
		t.Fatalf("only %d modules are linked; go list looked in the wrong place", len(linked))
	}
	page := map[string]string{}
	for _, n := range all(t) {
		page[n.Name] = n.Version
	}
	for _, m := range linked {
		if v, ok := page[m.Path]; !ok || v != m.Version {
			t.Errorf("%s %s is linked and the page says %q: run make generate", m.Path, m.Version, v)
		}
	}
}

func TestNothingIncompatibleIsLinked(t *testing.T) {
	for _, n := range all(t) {
		if n.Part != notices.Program && n.Part != notices.Web {
			continue // a separate work on the same card
		}
		if bad := gather.Incompatible(n.License); len(bad) > 0 {
			t.Errorf("%s is linked and is under %s", n.Name, strings.Join(bad, " and "))
		}
	}
}

// The stored list is what would be generated now, to the byte, twice.
func TestGeneratedIsClean(t *testing.T) {
	if testing.Short() {
		t.Skip("reads every licence again; run: go test ./appliance/notices")
	}
	depend(t)
	var packs [2][]byte
	for i := range packs {
		list, err := gather.Gather(root)
		if err != nil {
			t.Fatal(err)
		}
		if packs[i], err = gather.Pack(list); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(packs[0], packs[1]) {
		t.Error("two runs differ")
	}
	raw, err := os.ReadFile("notices.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	zr, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	stored, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(stored, packs[0]) {
		t.Errorf("the stored list is old: run make generate (-stored +now):\n%s", cmp.Diff(entries(t, stored), entries(t, packs[0])))
	}
	t.Logf("%d bytes in the program, %d unpacked", len(raw), len(stored))
	if len(raw) > 128<<10 {
		t.Errorf("the list is %d bytes; it was meant to stay below 128 KiB", len(raw))
	}
}

func entries(t *testing.T, text []byte) []string {
	t.Helper()
	var f notices.File
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range f.Notices {
		out = append(out, e.Name+" "+e.Version+" "+e.License)
	}
	return out
}

func TestNoticesAreWhole(t *testing.T) {
	list := all(t)
	parts := map[notices.Part]int{}
	names := map[string]bool{}
	for _, n := range list {
		parts[n.Part]++
		if n.Version == "" || n.License == "" || !strings.HasPrefix(n.Source, "https://") || len(n.Text) < 200 {
			t.Errorf("%s lacks something: version %q, licence %q, source %q, %d bytes of text", n.Name, n.Version, n.License, n.Source, len(n.Text))
		}
		if names[n.Name] {
			t.Errorf("%s is there twice", n.Name)
		}
		names[n.Name] = true
		if !slices.Contains(notices.Parts(), n.Part) {
			t.Errorf("%s is in no part of the page: %q", n.Name, n.Part)
		}
		if strings.Contains(n.License, "GPL") && n.Part != notices.Program {
			for _, says := range []string{"Offer of source", "three years", "https://", "GENERAL PUBLIC LICENSE"} {
				if !strings.Contains(n.Text, says) {
					t.Errorf("%s is under %s and its text lacks %q", n.Name, n.License, says)
				}
			}
		}
		if strings.ContainsRune(n.Text, 0) {
			t.Errorf("%s: the text holds a seam", n.Name)
		}
	}
	want := map[notices.Part]int{notices.Data: 1, notices.Kernel: 3, notices.Firmware: 1, notices.Boot: 1, notices.Tool: 1}
	for p, n := range want {
		if parts[p] != n {
			t.Errorf("%d notices of part %s, want %d", parts[p], p, n)
		}
	}
	if _, err := os.Stat(root + "/webui/assets/npm/package-lock.json"); err == nil && parts[notices.Web] < 3 {
		t.Errorf("only %d web assets are on the page", parts[notices.Web])
	}
}
