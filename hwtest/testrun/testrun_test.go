package testrun

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// collect reads a recorded stream. Each was made by go1.26 test -json over eight small packages.
func collect(t *testing.T, file string) (map[string]Package, string) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := map[string]Package{}
	var stray bytes.Buffer
	if err := newCollector(func(p Package) { got[strings.TrimPrefix(p.Name, "example.test/")] = p }, &stray).read(f); err != nil {
		t.Fatal(err)
	}
	return got, stray.String()
}

func TestCollector(t *testing.T) {
	got, stray := collect(t, "mixed.json")
	if stray != "" {
		t.Errorf("not understood: %q", stray)
	}
	const ms = time.Millisecond
	want := map[string]Package{
		"bad": {
			Elapsed: 8 * ms, Passed: 2, Failed: 1,
			Output: "    a_test.go:5: table begins\n    a_test.go:7: got 1,\n        want 2\n--- FAIL: TestTable/right (0.00s)\n--- FAIL: TestTable (0.00s)\n",
		},
		"broken": {
			Failed: 1,
			Output: "# example.test/broken [example.test/broken.test]\nbroken/a_test.go:3:28: undefined: undefined\n",
		},
		"exit": {Elapsed: 3 * ms, Failed: 1, Output: "giving up\n"},
		"good": {Elapsed: 20 * ms, OK: true, Passed: 4},
		"none": {OK: true, NoTests: true},
		"skip": {Elapsed: 11 * ms, OK: true, Passed: 1, Skipped: []Skip{
			{"example.test/skip", "TestRoot", "needs root: run sudo make test"},
			{"example.test/skip", "TestPart/v6", "no IPv6 here"},
		}},
		"vetted": {
			Failed: 1,
			Output: "# example.test/vetted\n# [example.test/vetted]\nvetted/a_test.go:3:40: fmt.Printf format %d has arg \"x\" of wrong type string\n",
		},
	}
	boom := got["boom"]
	delete(got, "boom")
	for name, p := range want {
		p.Name = "example.test/" + name
		want[name] = p
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if boom.OK || boom.Passed != 1 || boom.Failed != 1 {
		t.Errorf("a panic counts as %+v", boom)
	}
	for _, part := range []string{"about to", "panic: assignment to entry in nil map", "boom/a_test.go:4", "testing.go:2101"} {
		if !strings.Contains(boom.Output, part) {
			t.Errorf("the output of a panic lacks %q", part)
		}
	}

	kept, _ := collect(t, "cached.json")
	if p := kept["good"]; !p.Cached || p.Passed != 4 {
		t.Errorf("a kept result is read as %+v", p)
	}
}

// Killed by a signal, go test writes no last event.
func TestStreamCutShort(t *testing.T) {
	stream := `{"Action":"start","Package":"a"}
{"Action":"run","Package":"a","Test":"TestLong"}
{"Action":"output","Package":"a","Test":"TestLong","Output":"half way\n"}
signal: killed
`
	var got []Package
	var stray bytes.Buffer
	if err := newCollector(func(p Package) { got = append(got, p) }, &stray).read(strings.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	want := []Package{{Name: "a", Failed: 1, Output: "half way\n"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if stray.String() != "signal: killed\n" {
		t.Errorf("beside the events: %q", stray.String())
	}
}

func TestReport(t *testing.T) {
	fine := Package{Name: module + "services/dns", OK: true, Passed: 3, Elapsed: 2 * time.Second}
	slow := Package{Name: module + "hwtest/vm", OK: true, Passed: 1, Elapsed: 500 * time.Second}
	skips := Package{Name: module + "services/mesh", OK: true, Skipped: []Skip{{module + "services/mesh", "TestTUN", "needs root"}}}
	fails := Package{Name: module + "ota", Failed: 2, Passed: 1, Output: "want 1\n"}
	for _, tt := range []struct {
		name     string
		cfg      Config
		packages []Package
		ok       bool
		last     string
		says     string
	}{
		{"all well", Config{Strict: true, Timed: true}, []Package{fine}, true, "3 passed, 0 failed, 0 skipped", "services/dns"},
		{"a failure", Config{}, []Package{fine, fails}, false, "4 passed, 2 failed, 0 skipped", "want 1"},
		{"a skip at home", Config{}, []Package{skips}, true, "0 passed, 0 failed, 1 skipped", "services/mesh TestTUN: needs root"},
		{"a skip in CI", Config{Strict: true}, []Package{skips}, false, "0 passed, 0 failed, 1 skipped", "A skipped test fails"},
		{"slow at home", Config{}, []Package{slow}, true, "1 passed, 0 failed, 0 skipped", "its budget is 4m0s"},
		{"slow in CI", Config{Timed: true}, []Package{slow}, false, "1 passed, 0 failed, 0 skipped", "over twice its budget fails"},
		{"slow in test-all", Config{Timed: true, All: true}, []Package{slow}, true, "1 passed, 0 failed, 0 skipped", "500.0s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			tt.cfg.Out, tt.cfg.Budgets = &out, Budgets{"hwtest/vm": 240 * time.Second}
			r := report{cfg: tt.cfg}
			for _, p := range tt.packages {
				r.add(p)
			}
			if ok := r.end(time.Minute); ok != tt.ok {
				t.Errorf("ok is %v, want %v", ok, tt.ok)
			}
			if !strings.HasSuffix(out.String(), "\n"+tt.last+"\n") {
				t.Errorf("last line is not %q:\n%s", tt.last, out.String())
			}
			if !strings.Contains(out.String(), tt.says) {
				t.Errorf("it does not say %q:\n%s", tt.says, out.String())
			}
		})
	}
}

func TestBudgets(t *testing.T) {
	got, err := ParseBudgets("# words\nhwtest/vm 900 # boots\n\nservices/dns\t5\n")
	if err != nil {
		t.Fatal(err)
	}
	if got.Of("hwtest/vm") != 900*time.Second || got.Of("services/dns") != 5*time.Second || got.Of("ota") != DefaultBudget {
		t.Errorf("read as %v", got)
	}
	for _, bad := range []string{"a", "a b", "a 0", "a 7201", "a 1 2", "a 1\na 2"} {
		if _, err := ParseBudgets(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// A line of budgets.txt whose folder is gone would lie unread.
func TestBudgetsFile(t *testing.T) {
	text, err := os.ReadFile("../budgets.txt")
	if err != nil {
		t.Fatal(err)
	}
	budgets, err := ParseBudgets(string(text))
	if err != nil {
		t.Fatal(err)
	}
	for folder := range budgets {
		if found, _ := filepath.Glob(filepath.Join("../..", folder, "*_test.go")); len(found) == 0 {
			t.Errorf("budgets.txt names %s, which has no tests", folder)
		}
	}
}

func FuzzCollector(f *testing.F) {
	for _, name := range []string{"mixed.json", "cached.json"} {
		seed, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Add([]byte(`{"Action":"fail","Package":"a","Test":"/"}` + "\n" + `{"Action":"fail","Package":"a"}`))
	f.Fuzz(func(t *testing.T, stream []byte) {
		seen := 0
		c := newCollector(func(p Package) {
			seen++
			if !p.OK && (p.Failed == 0 || p.Output == "") {
				t.Errorf("a failed package without a failure or its output: %+v", p)
			}
		}, new(bytes.Buffer))
		if err := c.read(bytes.NewReader(stream)); err != nil {
			t.Fatal(err)
		}
		if len(c.open) != 0 {
			t.Error("a package was never reported")
		}
	})
}

func TestTargets(t *testing.T) {
	got := targets("FuzzParse\nFuzzFormat\nok  \thearth.alt/services/dns\t0.004s\n?   \thearth.alt/services\t[no test files]\nok  \thearth.alt/ota\t0.1s\nFuzzChunk\nok  \thearth.alt/image\t0.2s\n")
	want := []Target{{"hearth.alt/services/dns", "FuzzParse"}, {"hearth.alt/services/dns", "FuzzFormat"}, {"hearth.alt/image", "FuzzChunk"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The record of a full run: what tests say of their size, and every package, failed ones too.
func TestRecord(t *testing.T) {
	r := report{cfg: Config{All: true, Out: new(bytes.Buffer), Head: "# Head\n"}}
	stream := strings.NewReader(`{"Action":"attr","Package":"hearth.alt/b","Test":"TestKills","Key":"figure","Value":"500 kills"}
{"Action":"attr","Package":"hearth.alt/b","Test":"TestKills","Key":"other","Value":"not this"}
{"Action":"pass","Package":"hearth.alt/b","Test":"TestKills","Elapsed":1}
{"Action":"pass","Package":"hearth.alt/b","Elapsed":1.5}
{"Action":"fail","Package":"hearth.alt/a","Test":"TestNo","Elapsed":1}
{"Action":"fail","Package":"hearth.alt/a","Elapsed":2}
`)
	if err := newCollector(r.add, os.Stderr).read(stream); err != nil {
		t.Fatal(err)
	}
	const want = `# Head
1 passed, 1 failed, 0 skipped, in 1m0s.

| proof | figure |
|---|---|
| b TestKills | 500 kills |

| package | result | passed | failed | seconds |
|---|---|---|---|---|
| a | **FAIL** | 0 | 1 | 2.0 |
| b | ok | 1 | 0 | 1.5 |
`
	if diff := cmp.Diff(want, r.page(time.Minute)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
