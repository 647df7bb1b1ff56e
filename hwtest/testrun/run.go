package testrun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// Config says what to run and how strict to be.
type Config struct {
	Packages []string // patterns as go list takes them; none means ./...
	All      bool     // the full figures: HEARTH_TEST_ALL=1, no time limit, no budget
	Short    bool     // go test -short
	Run      string   // go test -run; "" means every test
	Strict   bool     // a skipped test fails the run
	Timed    bool     // a package over twice its budget fails the run; All switches it off
	Budgets  Budgets
	Out, Err io.Writer

	// Record, when not nil, gets a page of what ran: packages, counts, times and figures. Head begins it.
	Record io.Writer
	Head   string
}

// limit ends a package that hangs. go test's own 10 minutes are less than some machines need to boot.
const limit = 40 * time.Minute

// module is what stands before every package's folder.
const module = "hearth.alt/"

// laboratory holds the packages whose results are never taken from the cache: they prove something about this
// machine's kernel, network and programs, which go test does not see change.
const laboratory = module + "hwtest"

// Run runs the tests and says whether all is well. The error is about the run itself: no go command, a pattern that
// matches nothing, or a context that ended.
func Run(ctx context.Context, cfg Config) (ok bool, err error) {
	began := time.Now()
	patterns := cfg.Packages
	if len(patterns) == 0 {
		patterns = []string{"./..."}
	}
	kept, fresh, err := list(ctx, cfg.Err, patterns)
	if err != nil {
		return false, err
	}
	r := report{cfg: cfg}
	var ended error
	for _, part := range []struct {
		packages []string
		flags    []string
	}{{kept, nil}, {fresh, []string{"-count=1"}}} {
		if len(part.packages) == 0 {
			continue
		}
		if err := r.goTest(ctx, part.flags, part.packages); err != nil {
			ended = errors.Join(ended, err)
		}
	}
	ok = r.end(time.Since(began))
	if cfg.Record != nil {
		if _, err := io.WriteString(cfg.Record, r.page(time.Since(began))); err != nil {
			ended = errors.Join(ended, fmt.Errorf("recording the figures: %w", err))
		}
	}
	return ok && ended == nil, ended
}

// list names the packages that match, those of the laboratory apart.
func list(ctx context.Context, errs io.Writer, patterns []string) (kept, fresh []string, err error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-e"}, patterns...)...)
	cmd.Stderr = errs
	out, err := cmd.Output()
	if err != nil {
		return nil, nil, fmt.Errorf("listing the packages of %s: %w", strings.Join(patterns, " "), err)
	}
	for _, p := range strings.Fields(string(out)) {
		if p == laboratory || strings.HasPrefix(p, laboratory+"/") {
			fresh = append(fresh, p)
		} else {
			kept = append(kept, p)
		}
	}
	if len(kept)+len(fresh) == 0 {
		return nil, nil, fmt.Errorf("no packages match %s", strings.Join(patterns, " "))
	}
	return kept, fresh, nil
}

// goTest runs go test -json once. Failed tests are not an error of the run; a go command that fails without naming
// one is.
func (r *report) goTest(ctx context.Context, flags, packages []string) error {
	args := append([]string{"test", "-json", "-p", "2"}, flags...)
	switch {
	case r.cfg.All:
		args = append(args, "-timeout", "0")
	default:
		args = append(args, "-timeout", limit.String())
	}
	if r.cfg.Short {
		args = append(args, "-short")
	}
	if r.cfg.Run != "" {
		args = append(args, "-run", r.cfg.Run)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, packages...)...)
	// The tests clean up their machines and namespaces when they are asked to stop.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	cmd.Stderr = r.cfg.Err
	cmd.Env = os.Environ()
	if r.cfg.All {
		cmd.Env = append(cmd.Env, "HEARTH_TEST_ALL=1")
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting go test: %w", err)
	}
	before := r.failed
	readErr := newCollector(r.add, r.cfg.Err).read(stdout)
	err = cmd.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if readErr != nil {
		return fmt.Errorf("reading what go test says: %w", readErr)
	}
	if err != nil && r.failed == before {
		return fmt.Errorf("go test: %w", err)
	}
	return nil
}

// report prints packages as they end and keeps what the last lines need.
type report struct {
	cfg            Config
	passed, failed int
	skipped        []Skip
	slow           []string
	packages       []Package
}

func (r *report) add(p Package) {
	r.passed += p.Passed
	r.failed += p.Failed
	r.skipped = append(r.skipped, p.Skipped...)
	if p.NoTests {
		return
	}
	r.packages = append(r.packages, p)
	folder := strings.TrimPrefix(p.Name, module)
	word, note := "ok", fmt.Sprintf("%d passed", p.Passed)
	if !p.OK {
		word, note = "FAIL", fmt.Sprintf("%d failed, %s", p.Failed, note)
	}
	if n := len(p.Skipped); n > 0 {
		note += fmt.Sprintf(", %d skipped", n)
	}
	took := fmt.Sprintf("%.1fs", p.Elapsed.Seconds())
	if p.Cached {
		took = "cached"
	}
	if budget := r.cfg.Budgets.Of(folder); !r.cfg.All && p.Elapsed > 2*budget {
		r.slow = append(r.slow, fmt.Sprintf("%s took %s; its budget is %s", folder, took, budget))
		note += fmt.Sprintf(", over twice its budget of %s", budget)
	}
	fmt.Fprintf(r.cfg.Out, "%-4s %8s  %-36s %s\n", word, took, folder, note)
	if p.Output != "" {
		fmt.Fprintf(r.cfg.Out, "%s\n", strings.TrimRight(p.Output, "\n"))
	}
}

// end prints what was skipped and what was slow, why that fails the run if it does, and the counts.
func (r *report) end(took time.Duration) bool {
	out := r.cfg.Out
	for _, s := range r.skipped {
		fmt.Fprintf(out, "skip           %s %s: %s\n", strings.TrimPrefix(s.Package, module), s.Test, s.Reason)
	}
	for _, s := range r.slow {
		fmt.Fprintf(out, "slow           %s\n", s)
	}
	ok := r.failed == 0
	if r.cfg.Strict && len(r.skipped) > 0 {
		ok = false
		fmt.Fprintln(out, "A skipped test fails this run, because CI=true or HEARTH_NO_SKIP=1 is set.")
	}
	if r.cfg.Timed && len(r.slow) > 0 {
		ok = false
		fmt.Fprintln(out, "A package over twice its budget fails this run, because CI=true is set.")
	}
	fmt.Fprintf(out, "in %s\n", took.Round(time.Second))
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, len(r.skipped))
	return ok
}

// page is the record: what failed first, then each figure a test gave, then every package.
func (r *report) page(took time.Duration) string {
	var b strings.Builder
	b.WriteString(r.cfg.Head)
	fmt.Fprintf(&b, "%d passed, %d failed, %d skipped, in %s.\n", r.passed, r.failed, len(r.skipped), took.Round(time.Second))
	b.WriteString("\n| proof | figure |\n|---|---|\n")
	slices.SortFunc(r.packages, func(a, b Package) int { return strings.Compare(a.Name, b.Name) })
	for _, p := range r.packages {
		slices.SortStableFunc(p.Figures, func(a, b Figure) int { return strings.Compare(a.Test, b.Test) })
		for _, f := range p.Figures {
			fmt.Fprintf(&b, "| %s %s | %s |\n", strings.TrimPrefix(p.Name, module), f.Test, f.Text)
		}
	}
	b.WriteString("\n| package | result | passed | failed | seconds |\n|---|---|---|---|---|\n")
	for _, p := range r.packages {
		result, seconds := "ok", fmt.Sprintf("%.1f", p.Elapsed.Seconds())
		if !p.OK {
			result = "**FAIL**"
		}
		if p.Cached {
			seconds = "kept"
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %s |\n", strings.TrimPrefix(p.Name, module), result, p.Passed, p.Failed, seconds)
	}
	return b.String()
}
