package testrun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// Target is one fuzz target.
type Target struct{ Package, Name string }

// Fuzz runs every fuzz target of the packages for the given time each, one after another, and goes on after one that
// fails. The error joins the failures; what each found is in its package's testdata, and belongs into a commit.
func Fuzz(ctx context.Context, out io.Writer, each time.Duration, patterns []string) error {
	if len(patterns) == 0 {
		patterns = []string{"./..."}
	}
	list := exec.CommandContext(ctx, "go", append([]string{"test", "-vet=off", "-p", "2", "-list", "^Fuzz"}, patterns...)...)
	list.Stderr = out
	text, err := list.Output()
	targets := targets(string(text))
	if err != nil {
		return fmt.Errorf("listing the fuzz targets: %w\n%s", err, text)
	}
	var failed error
	for _, t := range targets {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// Minimizing what is merely interesting can eat the whole time where a run is quick and its input long
		// (measured with FuzzCollector: 10 runs in 9 s, 120,000 without).
		cmd := exec.CommandContext(ctx, "go", "test", "-vet=off", "-run", "^$", "-fuzz", "^"+t.Name+"$",
			"-fuzztime", each.String(), "-fuzzminimizetime", "10x", t.Package)
		cmd.WaitDelay = 20 * time.Second
		said, err := cmd.CombinedOutput()
		word, note := "ok", progress(string(said))
		if err != nil {
			word, note = "FAIL", "\n"+strings.TrimSpace(string(said))
			failed = errors.Join(failed, fmt.Errorf("%s in %s", t.Name, strings.TrimPrefix(t.Package, module)))
		}
		fmt.Fprintf(out, "%-4s %-36s %-28s %s\n", word, strings.TrimPrefix(t.Package, module), t.Name, note)
	}
	fmt.Fprintf(out, "%d fuzz targets\n", len(targets))
	return failed
}

// targets reads go test -list: the names of each package, then "ok", a tab, the package, a tab and the time.
func targets(text string) []Target {
	var out []Target
	var names []string
	for _, l := range strings.Split(text, "\n") {
		switch words := strings.Fields(l); {
		case len(words) == 1 && strings.HasPrefix(words[0], "Fuzz"):
			names = append(names, words[0])
		case len(words) > 1 && (words[0] == "ok" || words[0] == "FAIL" || words[0] == "?"):
			for _, n := range names {
				out = append(out, Target{words[1], n})
			}
			names = nil
		}
	}
	return out
}

// progress is what the last line of a fuzz run counted.
func progress(said string) string {
	last := ""
	for _, l := range strings.Split(said, "\n") {
		if rest, ok := strings.CutPrefix(l, "fuzz: elapsed: "); ok {
			last = rest
		}
	}
	return last
}
