package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
)

// Interactive boots the image of a board with its serial console on this terminal and returns when QEMU ends. words
// are added to the kernel's command line. The disk is a fresh one of 8 GiB. What to open in a browser is said at the
// start and again when the box is ready, since all that a boot says lies between.
func Interactive(ctx context.Context, board, program, words string) (err error) {
	p := &person{ctx: ctx}
	defer p.end(&err)
	m := New(p, Options{Image: Image(p, board, program), Disk: 8 << 30, Append: words})
	m.takeTurn()
	command := m.command("-serial", "mon:stdio", "-display", "none")
	fmt.Printf("WireGuard %s, https %s; ctrl-a x ends it\n", m.Addr("udp", 51820), m.Addr("tcp", 443))
	g := &guide{to: os.Stdout, web: m.Addr("tcp", 80)}
	fmt.Print(g.how())
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, g, os.Stderr
	return cmd.Run()
}

// guide passes the serial console on and says, when the box says that it is ready, what to open here. The box answers
// to its own names only, so the forwarded port is not enough.
type guide struct {
	to   io.Writer
	web  string // where the box's port 80 is forwarded from
	line []byte // what came since the last end of a line
	code string // the claim code's fragment, "#7QK4-..."
	told bool
}

var (
	claimLine = regexp.MustCompile(`http://hearth\.local/(#[0-9A-Z-]+)`)
	readyLine = regexp.MustCompile(`hearth ready http=`)
)

func (g *guide) Write(b []byte) (int, error) {
	n, err := g.to.Write(b)
	g.line = append(g.line, b[:n]...)
	for err == nil {
		line, rest, ok := bytes.Cut(g.line, []byte("\n"))
		if !ok {
			break
		}
		g.line = rest
		if found := claimLine.FindSubmatch(line); found != nil {
			g.code = string(found[1])
		}
		if readyLine.Match(line) && !g.told {
			g.told = true
			_, err = io.WriteString(g.to, "\n"+g.how()+"\n")
		}
	}
	if len(g.line) > 64<<10 {
		g.line = nil // no line of ours
	}
	return n, err
}

func (g *guide) how() string {
	host, port, err := net.SplitHostPort(g.web)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("Open http://hearth.local:%s/%s with this line in /etc/hosts: %s hearth.local\n"+
		"(Chromium does without: --host-resolver-rules=\"MAP *.local %s\". After the claim the box is called by its own name.)\n", port, g.code, host, host)
}

// person is a T for somebody at a terminal: what would end a test ends Interactive with an error.
type person struct {
	ctx      context.Context
	cleanups []func()
}

type given struct{ err error }

func (p *person) end(err *error) {
	for _, f := range p.cleanups {
		f()
	}
	if r := recover(); r != nil {
		g, ok := r.(given)
		if !ok {
			panic(r)
		}
		*err = g.err
	}
}

func (p *person) Helper()                           {}
func (p *person) Name() string                      { return "interactive" }
func (p *person) Context() context.Context          { return p.ctx }
func (p *person) Cleanup(f func())                  { p.cleanups = append(p.cleanups, f) }
func (p *person) Failed() bool                      { return false }
func (p *person) Logf(format string, args ...any)   { fmt.Printf(format+"\n", args...) }
func (p *person) Fatal(args ...any)                 { panic(given{errors.New(fmt.Sprint(args...))}) }
func (p *person) Fatalf(format string, args ...any) { panic(given{fmt.Errorf(format, args...)}) }
func (p *person) Skipf(format string, args ...any)  { panic(given{fmt.Errorf(format, args...)}) }
