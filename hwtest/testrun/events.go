package testrun

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// event is one line of go test -json (cmd/test2json TestEvent) or go build -json (cmd/go BuildEvent).
type event struct {
	Action      string
	Package     string
	Test        string
	Elapsed     float64 // seconds
	Output      string
	Key, Value  string // of action "attr": testing.T.Attr
	ImportPath  string // build events: what was built, "pkg [pkg.test]"
	FailedBuild string // the ImportPath that kept this package from being tested
}

// Package is what became of one package's tests.
type Package struct {
	Name    string
	Elapsed time.Duration // of the test program, without building it
	Cached  bool
	NoTests bool
	OK      bool

	Passed, Failed int
	Skipped        []Skip
	Figures        []Figure
	Output         string // of what failed, in the order it was printed; "" when OK
}

// Skip is one test that did not run.
type Skip struct{ Package, Test, Reason string }

// Figure is what a test says of its size, with t.Attr("figure", "500 kills, ..."): how many cases it tried.
type Figure struct{ Test, Text string }

// line is one piece of output and its place among all of its package.
type line struct {
	at   int
	text string
}

// result is what is known of one test.
type result struct {
	state  string // "" while it runs, then pass, fail or skip
	parent bool   // it has subtests
	broken bool   // one of its subtests failed
	lines  []line
}

// running is a package whose end has not been read.
type running struct {
	pkg   Package
	count int
	own   []line
	tests map[string]*result
}

// collector turns the event stream into Packages.
type collector struct {
	done  func(Package) // called once per package, when its last event has been read
	stray io.Writer     // takes what is not an event

	builds map[string]*strings.Builder
	open   map[string]*running
}

func newCollector(done func(Package), stray io.Writer) *collector {
	return &collector{done: done, stray: stray, builds: map[string]*strings.Builder{}, open: map[string]*running{}}
}

// read takes the stream to its end. A package whose end never came is reported as failed. The error is r's.
func (c *collector) read(r io.Reader) error {
	in := bufio.NewReader(r)
	var err error
	for err == nil {
		var text []byte
		text, err = in.ReadBytes('\n')
		if len(text) == 0 {
			continue
		}
		var e event
		if json.Unmarshal(text, &e) != nil || e.Action == "" {
			_, _ = c.stray.Write(text)
			continue
		}
		c.take(e)
	}
	names := make([]string, 0, len(c.open))
	for name := range c.open {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		c.finish(c.open[name], event{Action: "fail", Package: name})
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (c *collector) take(e event) {
	switch e.Action {
	case "build-output":
		b := c.builds[e.ImportPath]
		if b == nil {
			b = new(strings.Builder)
			c.builds[e.ImportPath] = b
		}
		b.WriteString(e.Output)
		return
	case "build-fail":
		return
	}
	p := c.open[e.Package]
	if p == nil {
		p = &running{pkg: Package{Name: e.Package}, tests: map[string]*result{}}
		c.open[e.Package] = p
	}
	if e.Test == "" {
		switch e.Action {
		case "output":
			p.output(e)
		case "pass", "fail", "skip":
			c.finish(p, e)
		}
		return
	}
	t := p.test(e.Test)
	switch e.Action {
	case "output":
		p.count++
		t.lines = append(t.lines, line{p.count, e.Output})
	case "pass":
		t.state, t.lines = "pass", nil
	case "attr":
		if e.Key == "figure" {
			p.pkg.Figures = append(p.pkg.Figures, Figure{e.Test, e.Value})
		}
	case "skip":
		t.state = "skip"
		p.pkg.Skipped = append(p.pkg.Skipped, Skip{p.pkg.Name, e.Test, reason(t.lines)})
		t.lines = nil
	case "fail":
		t.state = "fail"
	}
}

// output keeps what the package itself printed, and reads from its last line whether the result is a kept one.
func (p *running) output(e event) {
	if strings.HasPrefix(e.Output, "ok  \t") && strings.Contains(e.Output, "\t(cached)") {
		p.pkg.Cached = true
	}
	if e.Output == "PASS\n" || e.Output == "FAIL\n" || strings.HasPrefix(e.Output, "FAIL\t") {
		return
	}
	p.count++
	p.own = append(p.own, line{p.count, e.Output})
}

// test returns the test of that name, which makes its parents parents.
func (p *running) test(name string) *result {
	if t := p.tests[name]; t != nil {
		return t
	}
	t := new(result)
	p.tests[name] = t
	if up, ok := above(name); ok {
		p.test(up).parent = true
	}
	return t
}

// above returns the test that name is a subtest of.
func above(name string) (string, bool) {
	i := strings.LastIndexByte(name, '/')
	return name[:max(i, 0)], i > 0
}

// finish counts, gathers the output of what failed, and reports the package.
func (c *collector) finish(p *running, e event) {
	delete(c.open, p.pkg.Name)
	pkg := &p.pkg
	pkg.Elapsed = time.Duration(e.Elapsed * float64(time.Second)).Round(time.Millisecond)
	pkg.OK = e.Action != "fail"
	pkg.NoTests = e.Action == "skip"

	for name, t := range p.tests {
		if t.state == "" && !pkg.OK {
			t.state = "fail" // begun and never ended: it took the program with it
		}
		if t.state != "fail" {
			continue
		}
		for up, ok := above(name); ok; up, ok = above(up) {
			p.tests[up].broken = true
		}
	}
	var shown []line
	for _, t := range p.tests {
		switch {
		case t.state == "fail" && !t.broken:
			pkg.Failed++
		case t.state == "pass" && !t.parent:
			pkg.Passed++
		}
		if t.state == "fail" {
			shown = append(shown, t.lines...)
		}
	}
	if !pkg.OK {
		if pkg.Failed == 0 {
			pkg.Failed = 1
		}
		shown = append(shown, p.own...)
		slices.SortFunc(shown, func(a, b line) int { return a.at - b.at })
		var out strings.Builder
		if b := c.builds[e.FailedBuild]; e.FailedBuild != "" && b != nil {
			out.WriteString(b.String())
		}
		for _, l := range shown {
			if !strings.HasPrefix(l.text, "=== ") {
				out.WriteString(l.text)
			}
		}
		if out.Len() == 0 {
			fmt.Fprintf(&out, "%s ended without saying why\n", pkg.Name)
		}
		pkg.Output = out.String()
	}
	c.done(*pkg)
}

// reason is what a skipped test said, without the place it said it at.
func reason(lines []line) string {
	var said []string
	for _, l := range lines {
		text := strings.TrimSpace(l.text)
		if text == "" || strings.HasPrefix(text, "=== ") || strings.HasPrefix(text, "--- ") {
			continue
		}
		if place, rest, ok := strings.Cut(text, ": "); ok && strings.Contains(place, ".go:") {
			text = rest
		}
		said = append(said, text)
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}
