package appliance

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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
	first := greeting{at: webAddress(at), state: a.opts.State, tunnel: a.info.Root, program: os.Args}
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
	at, code, state string
	program         []string // as it was started
	whose           api.Ownership
	tunnel          bool // whether this process may make one
}

func (g greeting) String() string {
	var b strings.Builder
	switch {
	case g.whose == api.Lost:
		fmt.Fprintf(&b, "\nThe household in %s cannot be read. What is known of it: %s\n", g.state, g.at)
	case g.whose == api.Removed:
		fmt.Fprintf(&b, "\nThis box was removed from its household: %s\n", g.at)
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

// command starts the same as root, for a shell. What go run made is gone afterwards, so the program is built first.
func (g greeting) command() string {
	words := slices.Clone(g.program)
	build := ""
	if strings.Contains(filepath.ToSlash(words[0]), "/go-build") {
		build, words[0] = "    go build -o out/hearth ./appliance/cmd/hearth\n", "out/hearth"
	} else if path, err := exec.LookPath(words[0]); err == nil {
		words[0] = path // sudo looks in other folders
	}
	if !slices.ContainsFunc(words, func(w string) bool { return w == "--state" || strings.HasPrefix(w, "--state=") }) {
		words = append(words, "--state", g.state)
	}
	for i, w := range words {
		words[i] = quote(w)
	}
	return build + "    sudo " + strings.Join(words, " ")
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// quote writes a word so that a shell reads it as one (POSIX, section 2.2.2).
func quote(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
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
