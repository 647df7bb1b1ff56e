package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Interactive boots the image of a board with its serial console on this terminal and returns when QEMU ends. words
// are added to the kernel's command line. The disk is a fresh one of 8 GiB.
func Interactive(ctx context.Context, board, program, words string) (err error) {
	p := &person{ctx: ctx}
	defer p.end(&err)
	m := New(p, Options{Image: Image(p, board, program), Disk: 8 << 30, Append: words})
	m.takeTurn()
	command := m.command("-serial", "mon:stdio", "-display", "none")
	fmt.Printf("http://%s/  https://%s/  WireGuard %s  (ctrl-a x ends it)\n", m.Addr("tcp", 80), m.Addr("tcp", 443), m.Addr("udp", 51820))
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
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
