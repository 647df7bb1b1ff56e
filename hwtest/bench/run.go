package bench

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Config says what to measure.
type Config struct {
	Root string   // of the module
	File string   // latest.md, renewed after every suite
	Only []string // names of suites; none is all
	Out  io.Writer
}

// Run measures suite after suite and renews the file after each, so that an interrupted run keeps what it has. It
// returns an error only when the file cannot be written, a suite is unknown, or ctx ends.
func Run(ctx context.Context, c Config) error {
	for _, n := range c.Only {
		if !slices.ContainsFunc(Suites, func(s Suite) bool { return s.Name == n }) {
			return fmt.Errorf("there is no suite %q", n)
		}
	}
	lines := map[string]string{}
	if old, err := os.ReadFile(c.File); err == nil {
		lines = Lines(string(old))
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	machine := Machine()
	place := func() Place {
		return Place{Date: time.Now(), Commit: Commit(ctx, c.Root), Load: load()}
	}
	for _, r := range Rows {
		switch {
		case r.Suite == "":
			lines[r.What] = Line(r.Cells(nil, ""), Place{})
		case lines[r.What] == "":
			lines[r.What] = Line(r.Cells(nil, "not asked for yet"), Place{})
		}
	}
	for _, s := range Suites {
		if len(c.Only) > 0 && !slices.Contains(c.Only, s.Name) {
			continue
		}
		at := place()
		began := time.Now()
		samples, why := measure(ctx, c.Root, s)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fmt.Fprintf(c.Out, "%s, %s, load %s\n", s.Name, time.Since(began).Round(time.Second), at.Load)
		for _, r := range Rows {
			if r.Suite != s.Name {
				continue
			}
			cells := r.Cells(samples, why)
			lines[r.What] = Line(cells, at)
			fmt.Fprintf(c.Out, "  %-62s %s  %s\n", cells.What, cells.Figure, cells.Verdict)
		}
		if err := os.WriteFile(c.File, []byte(Table(machine, Rows, lines)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// measure runs one suite. Why says what is missing, "" when nothing is.
func measure(ctx context.Context, root string, s Suite) (samples Samples, why string) {
	// Every element of a benchmark's path is a pattern of its own.
	pattern := "^" + strings.ReplaceAll(s.Benchmark, "/", "$/^") + "$"
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", pattern, "-benchtime", cmp.Or(s.Times, "1x"),
		"-count", strconv.Itoa(s.Rounds), "-timeout", s.Timeout.String(), "-v", s.Package)
	cmd.Dir = root
	// An interrupt is for the test binary and for what it started too: boxes stop, machines end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	samples, why = Parse(out.String())
	if err != nil && why == "" {
		why = lastLine(out.String(), err)
	}
	return samples, why
}

// lastLine is the end of what a command said, or its error.
func lastLine(out string, err error) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, l := range slices.Backward(lines) {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "FAIL") && !strings.HasPrefix(l, "exit status") {
			return l
		}
	}
	return err.Error()
}

// Commit is the commit that is checked out in root, "+" behind it when files differ from it.
func Commit(ctx context.Context, root string) string {
	git := func(args ...string) string {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = root
		out, err := cmd.Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	id := git("rev-parse", "--short=10", "HEAD")
	// The pages of figures may differ: they are what is being written.
	if id != "" && git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!hwtest/bench/*.md") != "" {
		id += "+"
	}
	return cmp.Or(id, "unknown")
}

// load is the machine's load of the last minute.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(b), " ")
	if err != nil || first == "" {
		return "unknown"
	}
	return first
}

// Machine is the class of this machine. It names no host.
func Machine() string {
	model := ""
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		model = cpuModel(string(b))
	}
	if model != "" {
		model = " of " + model
	}
	system := "Linux"
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		release, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
		system += " " + release
	}
	memory := ""
	var i unix.Sysinfo_t
	if unix.Sysinfo(&i) == nil {
		memory = fmt.Sprintf("%.0f GiB, ", float64(i.Totalram)*float64(i.Unit)/(1<<30))
	}
	return fmt.Sprintf("%s, %d cores%s, %s%s, %s", runtime.GOARCH, runtime.NumCPU(), model, memory, system, runtime.Version())
}

// cpuModel finds the processor's name in /proc/cpuinfo; not every architecture gives one.
func cpuModel(text string) string {
	for l := range strings.Lines(text) {
		if k, v, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.Join(strings.Fields(v), " ")
		}
	}
	return ""
}
