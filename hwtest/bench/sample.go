package bench

import (
	"bufio"
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Samples are the values that benchmarks reported, by metric ("ready-ms"), in the order they came.
type Samples map[string][]float64

// Parse reads what go test -bench prints: a line per run with its name, its count and pairs of value and unit. The
// benchmark's name is not looked at, so one call of Parse is for one benchmark. Lines of any other form are passed
// over. Why is the reason that the first failed or skipped run gave, "" when there was none: the last thing it said from
// its own file, because what helpers say when it is cleared away comes after. A value that is no finite number ends its
// line.
func Parse(output string) (s Samples, why string) {
	s = Samples{}
	lines := bufio.NewScanner(strings.NewReader(output))
	lines.Buffer(nil, 1<<20)
	first, test := "", "" // what the run said: its first line, and its last from a test's own file
	for lines.Scan() {
		line := lines.Text()
		if file, text, ok := strings.Cut(line, ": "); ok && strings.HasPrefix(file, "    ") && strings.Contains(file, ".go:") {
			first = cmp.Or(first, text)
			if strings.Contains(file, "_test.go:") {
				test = text
			}
			continue
		}
		if strings.HasPrefix(line, "--- SKIP") || strings.HasPrefix(line, "--- FAIL") {
			why = cmp.Or(why, test, first, "it failed without a word")
		}
		if strings.HasPrefix(line, "Benchmark") {
			first, test = "", ""
		}
		words := strings.Fields(line)
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		if _, err := strconv.ParseUint(words[1], 10, 64); err != nil {
			continue
		}
		for i := 2; i+1 < len(words); i += 2 {
			v, err := strconv.ParseFloat(words[i], 64)
			if err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
				break
			}
			s[words[i+1]] = append(s[words[i+1]], v)
		}
	}
	return s, why
}

// Spread is the least, the middle and the greatest of some values.
type Spread struct {
	Min, Median, Max float64
	N                int // values; with none the rest is zero
}

// SpreadOf orders values. The median of an even number is the mean of the two in the middle.
func SpreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return Spread{Min: v[0], Median: (v[(n-1)/2] + v[n/2]) / 2, Max: v[n-1], N: n}
}

// ratios divides a by b sample by sample, as far as both go.
func ratios(a, b []float64) []float64 {
	var out []float64
	for i := range min(len(a), len(b)) {
		if b[i] != 0 {
			out = append(out, a[i]/b[i])
		}
	}
	return out
}
