package appliance

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"hearth.alt/appliance/api"
)

// reader is where somebody sits who tries Hearth out: the terminal behind stderr with --dev, and nil for everything
// else, which reads the ready line and the log.
func reader(o Options, stderr io.Writer) io.Writer {
	f, ok := stderr.(*os.File)
	if !ok || !o.Dev {
		return nil
	}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return nil // no terminal
	}
	return f
}

// greet tells the person at w where the pages are and, while nobody owns the box, how they open; then, until ctx ends,
// where to sign in once somebody does.
func (a *appliance) greet(ctx context.Context, w io.Writer, at net.Addr) {
	m, changed := a.identity.Watch()
	first := greeting{at: webAddress(at), state: a.opts.State, tunnel: a.info.Root, program: os.Args[0]}
	if code, ok := a.claim.code(); ok {
		first.code = code.Text()
	}
	first.whose = api.OwnershipOf(m)
	fmt.Fprint(w, first)
	for first.whose == api.Unclaimed {
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		if m, changed = a.identity.Watch(); m.Claimed() {
			fmt.Fprintf(w, "\nThe box belongs to %s. Sign in at %s\n\n", m.Household.Name, first.at)
			return
		}
	}
}

// greeting is what greet says first.
type greeting struct {
	at, code, state, program string
	whose                    api.Ownership
	tunnel                   bool // whether this process may make one
}

func (g greeting) String() string {
	var b strings.Builder
	switch {
	case g.whose == api.Lost:
		fmt.Fprintf(&b, "\nThe household in %s cannot be read. What is known of it: %s\n", g.state, g.at)
	case g.whose == api.Claimed:
		fmt.Fprintf(&b, "\nSign in at %s\n", g.at)
	default:
		fmt.Fprintf(&b, "\nOpen this in a browser: %s#%s\n", g.at, g.code)
	}
	fmt.Fprintf(&b, "Ctrl-C stops it. Everything is in %s; without that folder the next start begins anew.\n", g.state)
	if !g.tunnel {
		fmt.Fprintf(&b, "Phones and laptops cannot be paired: their private network needs administrator rights. To have it, stop this and start it with\n%s\n", g.command())
	}
	return b.String() + "\n"
}

// command starts the same as root. What go run made is gone afterwards, so the program is built first.
func (g greeting) command() string {
	start := func(program string) string { return fmt.Sprintf("    sudo %s run --dev --state %s", program, g.state) }
	if strings.Contains(filepath.ToSlash(g.program), "/go-build") {
		return "    go build -o out/hearth ./appliance/cmd/hearth\n" + start("out/hearth")
	}
	return start(g.program)
}

// webAddress is where a browser on this computer opens what listens at a.
func webAddress(a net.Addr) string {
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return "http://" + a.String() + "/"
	}
	if p.Addr().IsUnspecified() {
		host := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if home := lookHome().addresses; len(home) > 0 {
			host = home[0]
		}
		p = netip.AddrPortFrom(host, p.Port())
	}
	return "http://" + p.String() + "/"
}
