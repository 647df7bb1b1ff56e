package bench

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name, output string
		want         Samples
		why          string
	}{
		{name: "nothing", want: Samples{}},
		{
			name: "two rounds",
			output: "goos: linux\ncpu: x\nBenchmarkPlane\nBenchmarkPlane-2 \t 3\t 123456 ns/op\t 512.20 MB/s\t 0.98 cpu-ratio\t 1.02 speed-ratio\n" +
				"BenchmarkPlane-2 \t 3\t 123400 ns/op\t 512.10 MB/s\t 0.97 cpu-ratio\t 1.01 speed-ratio\nPASS\nok  \thearth.alt/x\t1.0s\n",
			want: Samples{"ns/op": {123456, 123400}, "MB/s": {512.2, 512.1}, "cpu-ratio": {0.98, 0.97}, "speed-ratio": {1.02, 1.01}},
		},
		{
			name:   "part of a benchmark, and what it logs",
			output: "BenchmarkImage/arm64\n    x_test.go:5: hm\nBenchmarkImage/arm64-2 \t 1\t 9 ns/op\t 41.5 packed-MB\n",
			want:   Samples{"ns/op": {9}, "packed-MB": {41.5}},
		},
		{
			name:   "skipped",
			output: "BenchmarkIdle\n    measure_test.go:3: network namespaces need root; run: sudo it\n--- SKIP: BenchmarkIdle\nPASS\n",
			want:   Samples{}, why: "network namespaces need root; run: sudo it",
		},
		{
			name: "failed, with words before and after",
			output: "BenchmarkBoot\n    measure_test.go:9: image arm64:\n    measure_test.go:12: building the image: no space\n        more\n" +
				"    vm.go:140: kept: out/vm\n--- FAIL: BenchmarkBoot\nFAIL\n",
			want: Samples{}, why: "building the image: no space",
		},
		{
			name:   "the second round failed",
			output: "BenchmarkX\nBenchmarkX-2 1 5 a\n    x.go:1: gone\n--- FAIL: BenchmarkX\n",
			want:   Samples{"a": {5}}, why: "gone",
		},
		{name: "failed in silence", output: "BenchmarkX\n--- FAIL: BenchmarkX\n", want: Samples{}, why: "it failed without a word"},
		{name: "no figures", output: "BenchmarkX-2 1 a ns/op\nBenchmarkX-2 x 1 ns/op\nBenchmarkX-2 1 NaN q\nBenchmarkX-2 1 2\n", want: Samples{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, why := Parse(tt.output)
			if d := cmp.Diff(tt.want, got); d != "" || why != tt.why {
				t.Errorf("why %q, want %q; samples (-want +got):\n%s", why, tt.why, d)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("BenchmarkX-2 1 5 a 7 b\n--- FAIL: BenchmarkX\n")
	f.Add("    x_test.go:1: w\n--- SKIP: BenchmarkX\nBenchmarkX 1 1e400 s\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, _ := Parse(text)
		for metric, values := range s {
			for _, v := range values {
				if math.IsNaN(v) || math.IsInf(v, 0) {
					t.Errorf("%s has %v", metric, v)
				}
			}
		}
	})
}

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   Spread
	}{
		{nil, Spread{}},
		{[]float64{4}, Spread{4, 4, 4, 1}},
		{[]float64{9, 1, 5}, Spread{1, 5, 9, 3}},
		{[]float64{8, 2, 4, 100}, Spread{2, 6, 100, 4}},
	} {
		if got := SpreadOf(tt.values); got != tt.want {
			t.Errorf("SpreadOf(%v) = %v, want %v", tt.values, got, tt.want)
		}
	}
}

func TestCells(t *testing.T) {
	most := Row{What: "start", Suite: "s", Metric: "a", Unit: "ms", Limit: AtMost, Budget: 500}
	least := Row{What: "plane", Suite: "s", Metric: "a", Unit: "x", Limit: AtLeast, Budget: 0.95}
	against := Row{What: "boot", Suite: "s", Metric: "a", Unit: "s", Peer: "b", PeerName: "hello", Limit: AtMost, Budget: 1.3, OfRatio: true}
	tests := []struct {
		name string
		row  Row
		s    Samples
		why  string
		want Cells
	}{
		{"within", most, Samples{"a": {20, 26, 34}}, "", Cells{"start", "26.0 ms (20.0 to 34.0, n = 3)", "-", "-", "≤ 500 ms", "within"}},
		{"at the budget", most, Samples{"a": {500}}, "", Cells{"start", "500 ms", "-", "-", "≤ 500 ms", "within"}},
		{"wavering", most, Samples{"a": {20, 26, 612}}, "", Cells{"start", "26.0 ms (20.0 to 612, n = 3)", "-", "-", "≤ 500 ms", "within; the worst sample is not"}},
		{"over", most, Samples{"a": {20, 520, 612}}, "", Cells{"start", "520 ms (20.0 to 612, n = 3)", "-", "-", "≤ 500 ms", "**over**"}},
		{"at least", least, Samples{"a": {0.97}}, "", Cells{"plane", "0.97 x", "-", "-", "≥ 0.95 x", "within"}},
		{"at least, wavering", least, Samples{"a": {0.97, 0.9, 1}}, "", Cells{"plane", "0.97 x (0.90 to 1.00, n = 3)", "-", "-", "≥ 0.95 x", "within; the worst sample is not"}},
		{"less than least", least, Samples{"a": {0.9}}, "", Cells{"plane", "0.90 x", "-", "-", "≥ 0.95 x", "**over**"}},
		{
			"the ratio of each pair", against, Samples{"a": {12, 24}, "b": {10, 20}}, "",
			Cells{"boot", "18.0 s (12.0 to 24.0, n = 2)", "hello 15.0 s (10.0 to 20.0, n = 2)", "1.20", "≤ 1.3 x", "within"},
		},
		{"a peer that is missing", against, Samples{"a": {12}}, "", Cells{"boot", "12.0 s", "hello", "-", "≤ 1.3 x", "not measured"}},
		{"not measured", most, nil, "no root", Cells{"start", "-", "-", "-", "≤ 500 ms", "not measured: no root"}},
		{
			"not built", Row{What: "delta", Unit: "MB", Limit: AtMost, Budget: 5, Note: "issue 5"}, nil, "",
			Cells{"delta", "-", "-", "-", "≤ 5 MB", "not measured: issue 5"},
		},
		{"told", Row{What: "wakes", Suite: "s", Metric: "a", Unit: "/s", Scale: 2}, Samples{"a": {2}}, "", Cells{"wakes", "4.00 /s", "-", "-", "-", "-"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, tt.row.Cells(tt.s, tt.why)); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// What one run measured is kept by the next that does not measure it.
func TestTableKeepsLines(t *testing.T) {
	at := Place{Date: time.Date(2026, 11, 21, 23, 0, 0, 0, time.UTC), Commit: "0123456789+", Load: "0.20"}
	lines := map[string]string{}
	for i, r := range Rows {
		c := r.Cells(Samples{r.Metric: {float64(i)}, r.Peer: {2}}, "")
		if r.Suite == "" {
			lines[r.What] = Line(c, Place{})
		} else {
			lines[r.What] = Line(c, at)
		}
	}
	page := Table("amd64, 2 cores", Rows, lines)
	if d := cmp.Diff(lines, Lines(page)); d != "" {
		t.Errorf("-written +read:\n%s", d)
	}
	if want := fmt.Sprintf("| css | %d.0 kB | - | - | ≤ 36 kB | within | 2026-11-21 | 0123456789+ | 0.20 |\n", len(Rows)-1); !strings.Contains(page, want) {
		t.Errorf("the page holds no\n%s\n%s", want, page)
	}
	if again := Table("amd64, 2 cores", Rows, Lines(page)); again != page {
		t.Error("writing what was read gives another page")
	}
	// A reason may be any text.
	if l := Line(Cells{What: "w", Verdict: "not measured: a | b\nc"}, at); strings.Count(l, " | ") != len(heads)-1 || strings.Contains(l, "\n") {
		t.Errorf("the line is %q", l)
	}
}

func TestRowsAreWhole(t *testing.T) {
	suites := map[string]bool{"": true}
	for _, s := range Suites {
		if suites[s.Name] || s.Rounds < 1 || s.Timeout <= 0 {
			t.Errorf("suite %+v", s)
		}
		suites[s.Name] = true
	}
	seen := map[string]bool{}
	for _, r := range Rows {
		switch {
		case seen[r.What], !suites[r.Suite], (r.Suite == "") != (r.Metric == ""), (r.Peer == "") != (r.PeerName == ""),
			r.OfRatio && r.Peer == "", r.Suite == "" && r.Note == "":
			t.Errorf("row %+v", r)
		}
		seen[r.What] = true
	}
	// The page in the tree is one that this package can read.
	page, err := os.ReadFile("latest.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range Rows {
		if Lines(string(page))[r.What] == "" {
			t.Errorf("latest.md lacks %q: make bench", r.What)
		}
	}
}

func TestParseMemory(t *testing.T) {
	const rollup = `55d000-7ffd000 ---p 00000000 00:00 0                                [rollup]
Rss:               29704 kB
Pss:               28419 kB
Pss_Dirty:         11180 kB
Pss_Anon:          11180 kB
Anonymous:         11180 kB
Locked:                0 kB
`
	m, err := ParseMemory(rollup)
	if want := (Memory{RSS: 29704 << 10, PSS: 28419 << 10, Own: 11180 << 10}); m != want || err != nil {
		t.Errorf("%+v, %v, want %+v", m, err, want)
	}
	for _, bad := range []string{"", "Rss: 1 kB\n", strings.Replace(rollup, "28419", "-1", 1), strings.Replace(rollup, "29704", "x", 1)} {
		if m, err := ParseMemory(bad); err == nil {
			t.Errorf("%q gives %+v", bad, m)
		}
	}
	if m, err := memoryOf(os.Getpid()); err != nil || m.RSS < 1<<20 || m.Own > m.RSS || m.PSS > m.RSS {
		t.Errorf("this process: %+v, %v", m, err)
	}
}

func TestParseStat(t *testing.T) {
	s, err := ParseStat("4863 (a (b) c) S 17 4863 4000 0 -1 4194560 8000 0 3 0 12 30 0 0 20 0 9 0 1 2 3\n")
	if want := (Stat{PID: 4863, Parent: 17, CPU: 420 * time.Millisecond}); s != want || err != nil {
		t.Errorf("%+v, %v, want %+v", s, err, want)
	}
	for _, bad := range []string{"", "1 (x", "1 (x) S 1 2", "x (x) S 17 1 1 0 -1 1 1 0 3 0 12 30 0", "1 (x) S 17 1 1 0 -1 1 1 0 3 0 -12 30 0"} {
		if s, err := ParseStat(bad); err == nil {
			t.Errorf("%q gives %+v", bad, s)
		}
	}
	all, err := family(os.Getpid())
	if err != nil || all[0].PID != os.Getpid() || all[0].Parent != os.Getppid() {
		t.Errorf("this process: %+v, %v", all, err)
	}
}

func TestMachine(t *testing.T) {
	if got := cpuModel("processor\t: 0\nmodel name\t: Some  CPU @ 2 GHz\n"); got != "Some CPU @ 2 GHz" {
		t.Errorf("%q", got)
	}
	if got := cpuModel("BogoMIPS : 1\n"); got != "" {
		t.Errorf("%q", got)
	}
	if d := Machine(); strings.Contains(d, "|") || !strings.Contains(d, " cores") {
		t.Errorf("%q", d)
	}
}
