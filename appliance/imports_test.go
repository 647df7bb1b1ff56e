package appliance_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the path of this module; root is where it lies, seen from this package.
const (
	module = "hearth.alt/"
	root   = ".."
)

// rule says what the packages of one area may import of ours, and why not the rest.
type rule struct {
	area    string   // as area names it
	may     []string // areas; its own is always allowed
	because string   // completes "... does not import ..."
}

// rules are the arrows of STYLE.md section 1 and DESIGN.md section 2.
var rules = []rule{
	{"services", nil, "services is the vocabulary: it has no behaviour, and everybody imports it"},
	{"leaf tool", []string{"leaf tool"}, "leaf tools are imported by everybody, so they import nothing above them"},
	{"service", []string{"services", "leaf tool"}, "a service declares the small interface it needs and appliance hands the provider in, so that any one can be repaired while the others stay lit"},
	{"webui", []string{"services", "leaf tool", "service"}, "pages know the vocabulary and the value types of services; what they ask for, appliance hands in"},
	{"ota", []string{"leaf tool"}, "the trust chain must work when everything else is broken"},
	{"boards", []string{"leaf tool"}, "boards is data"},
	{"image", []string{"boards", "ota", "leaf tool"}, "an image is made from boards and signed by ota; it packs the programs without knowing their insides"},
	{"appliance", []string{"services", "leaf tool", "service", "webui", "ota", "boards", "image"}, "the laboratory is not shipped"},
	{"hwtest", []string{"services", "leaf tool", "service", "webui", "ota", "boards", "image", "appliance"}, "the laboratory may import anything"},
}

// leafTools are the packages below services that anyone may import.
var leafTools = []string{"services/durable", "services/clock", "services/secret", "services/claimcode", "services/crowd", "services/looks"}

// area returns the area of a folder and the name of what in it belongs together: services do not import one another,
// so each is its own.
func area(folder string) (name, unit string) {
	first, rest, _ := strings.Cut(folder, "/")
	if first != "services" {
		return first, first
	}
	if rest == "" {
		return "services", "services"
	}
	second, _, _ := strings.Cut(rest, "/")
	unit = "services/" + second
	if slices.Contains(leafTools, unit) {
		return "leaf tool", unit
	}
	return "service", unit
}

// why returns the reason why a file of folder from does not import folder to, or "" when it may. Tests may import
// the laboratory too.
func why(from, to string, test bool) string {
	a, aUnit := area(from)
	b, bUnit := area(to)
	if aUnit == bUnit || test && b == "hwtest" {
		return ""
	}
	if b == "hwtest" {
		return "the laboratory is not shipped: only hwtest and tests import it"
	}
	for _, r := range rules {
		if r.area != a {
			continue
		}
		if slices.Contains(r.may, b) {
			return ""
		}
		return r.because
	}
	return fmt.Sprintf("there is no rule for %s; add one to the rules of this test", a)
}

// source is one Go file of ours. All are read, whatever their build tags: a rule holds on every system.
type source struct {
	path, folder string // from the root, with slashes
	test         bool
	file         *ast.File
}

func sources(t *testing.T, fset *token.FileSet, mode parser.Mode) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if p != root && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata" || name == "out") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		file, err := parser.ParseFile(fset, p, nil, mode)
		if err != nil {
			return err
		}
		out = append(out, source{rel, path.Dir(rel), strings.HasSuffix(name, "_test.go"), file})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ours returns the folders of this module that the file imports.
func (s source) ours() []string {
	var out []string
	for _, i := range s.file.Imports {
		if p, err := strconv.Unquote(i.Path.Value); err == nil && strings.HasPrefix(p, module) {
			out = append(out, strings.TrimPrefix(p, module))
		}
	}
	return out
}

// local returns the local name under which the file imports the package, "" when it does not.
func (s source) local(importPath string) string {
	for _, i := range s.file.Imports {
		if p, _ := strconv.Unquote(i.Path.Value); p == importPath {
			if i.Name != nil {
				return i.Name.Name
			}
			return path.Base(importPath)
		}
	}
	return ""
}

// TestImports lists the arrows between our areas (go test -v -run TestImports ./appliance) and refuses those that the
// drawing does not have.
func TestImports(t *testing.T) {
	arrows := map[string]bool{}
	for _, s := range sources(t, token.NewFileSet(), parser.ImportsOnly) {
		for _, to := range s.ours() {
			if reason := why(s.folder, to, s.test); reason != "" {
				t.Errorf("%s imports %s: %s", s.path, to, reason)
			}
			_, a := area(s.folder)
			if _, b := area(to); a != b && !s.test {
				arrows[a+" -> "+b] = true
			}
		}
	}
	list := make([]string, 0, len(arrows))
	for a := range arrows {
		list = append(list, a)
	}
	slices.Sort(list)
	t.Logf("the arrows:\n%s", strings.Join(list, "\n"))
}

// The rules themselves, by example.
func TestWhy(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		test, ok bool
	}{
		{"services/dns", "services", false, true},
		{"services/dns", "services/durable", false, true},
		{"services/dns/internal/zone", "services/dns", false, true},
		{"services/dns", "services/identity", false, false},
		{"services/dns", "services/identity", true, false},
		{"services/dns", "webui", false, false},
		{"services/dns", "appliance", false, false},
		{"services/dns", "hwtest/netlab", false, false},
		{"services/dns", "hwtest/netlab", true, true},
		{"services", "services/clock", false, false},
		{"services/clock", "services/durable", false, true},
		{"services/clock", "services", false, false},
		{"services/dns", "services/crowd", false, true},
		{"webui/pages/home", "services/identity", false, true},
		{"webui/pages/home", "appliance/api", false, false},
		{"ota", "services/durable", false, true},
		{"ota", "services", false, false},
		{"ota", "boards", false, false},
		{"boards", "services/durable", false, true},
		{"boards/cmd/readme", "boards", false, true},
		{"image", "boards", false, true},
		{"image", "services/claimcode", false, true},
		{"image", "appliance", false, false},
		{"appliance/cmd/hearth", "services/mesh", false, true},
		{"appliance", "hwtest/vm", false, false},
		{"hwtest/vm", "image", false, true},
		{"attic", "services", false, false},
	} {
		if got := why(tt.from, tt.to, tt.test); (got == "") != tt.ok {
			t.Errorf("%s -> %s (test %v): allowed %v, want %v (%s)", tt.from, tt.to, tt.test, got == "", tt.ok, got)
		}
	}
}

// TestWebuiBuildsNoService: pages take values of a service's package, never the service.
func TestWebuiBuildsNoService(t *testing.T) {
	fset := token.NewFileSet()
	for _, s := range sources(t, fset, parser.SkipObjectResolution) {
		if !strings.HasPrefix(s.folder, "webui") || s.test {
			continue
		}
		for _, to := range s.ours() {
			if kind, unit := area(to); kind != "service" || unit != to {
				continue
			}
			for _, word := range []string{"New", "Open"} {
				for _, pos := range uses(s, module+to, word) {
					t.Errorf("%s calls %s.%s: webui never builds a service; appliance does and hands it in", fset.Position(pos), path.Base(to), word)
				}
			}
		}
	}
}

// forbidden are the calls that a package below services does not make.
var forbidden = []struct {
	importPath, because string
	names               []string
}{
	{"os", "only main ends the process: a service returns its error and is restarted alone", []string{"Exit"}},
	{
		"log", "only main ends the process, and a service logs by the slog.Logger it was given",
		[]string{"Fatal", "Fatalf", "Fatalln", "Panic", "Panicf", "Panicln"},
	},
	{
		"net/http", "there is no global mux: each face has its own, and appliance mounts what it serves",
		[]string{"DefaultServeMux", "Handle", "HandleFunc", "ListenAndServe", "ListenAndServeTLS"},
	},
}

// registering are packages whose import alone puts handlers on the global mux.
var registering = []string{"net/http/pprof", "expvar"}

func TestServicesLeaveTheProcessAlone(t *testing.T) {
	fset := token.NewFileSet()
	for _, s := range sources(t, fset, parser.SkipObjectResolution) {
		if !strings.HasPrefix(s.folder, "services") || s.test {
			continue
		}
		for _, f := range forbidden {
			for _, name := range f.names {
				for _, pos := range uses(s, f.importPath, name) {
					t.Errorf("%s uses %s.%s: %s", fset.Position(pos), f.importPath, name, f.because)
				}
			}
		}
		for _, p := range registering {
			if s.local(p) != "" {
				t.Errorf("%s imports %s, which registers with http.DefaultServeMux", s.path, p)
			}
		}
	}
}

// uses returns where the file says importPath's name.
func uses(s source, importPath, name string) []token.Pos {
	local := s.local(importPath)
	if local == "" {
		return nil
	}
	var out []token.Pos
	ast.Inspect(s.file, func(n ast.Node) bool {
		if isSelector(n, local, name) {
			out = append(out, n.Pos())
		}
		return true
	})
	return out
}

func isSelector(n ast.Node, pkg, name string) bool {
	sel, ok := n.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == pkg
}
