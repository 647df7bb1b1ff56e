package boot

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"hearth.alt/appliance/textqr"
	"hearth.alt/services/claimcode"
)

// View is what the screen shows.
type View struct {
	Name      string // host name
	Addresses []netip.Addr
	Code      claimcode.Code // zero once the box has an owner
	Trouble   string         // one sentence when /perm is damaged; the page has the rest
}

// Screen returns the whole screen as text for a Linux console, at most 80 columns and 30 rows (an HDMI console at
// the lowest mode has 80 x 30). It reveals the code.
func (v View) Screen() string {
	var s strings.Builder
	s.WriteString("\n  Hearth " + Version + "\n\n")
	for _, l := range v.lines() {
		s.WriteString("  " + l + "\n")
	}
	if !v.Code.IsZero() && v.Trouble == "" {
		s.WriteString("\n" + textqr.Draw(v.Code.URL("")))
	}
	return s.String()
}

func (v View) lines() []string {
	var out []string
	switch {
	case len(v.Addresses) == 0:
		out = append(out, "Waiting for an address from the router.")
	case v.Trouble != "":
		out = append(out, v.Trouble, "Open this address in a browser to read what can be done:", "http://"+host(v.Addresses[0])+"/")
	default:
		line := fmt.Sprintf("http://%s.local/   or   http://%s/", v.Name, host(v.Addresses[0]))
		out = append(out, line)
	}
	if !v.Code.IsZero() && v.Trouble == "" {
		w := v.Code.Words()
		out = append(out, "", "This box has no owner yet. The claim code is", "", "    "+v.Code.Text(),
			"    "+strings.Join(w[:4], " "), "    "+strings.Join(w[4:], " "))
	}
	return out
}

func host(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// ownAddresses lists the box's addresses on the home network, IPv4 first; not the tunnel's.
func ownAddresses() []netip.Addr {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&(net.FlagLoopback|net.FlagPointToPoint) != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() {
				out = append(out, p.Addr())
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// news are the lines of now that before had not: the serial console scrolls, and repeats nothing.
func news(before, now string) []string {
	old := strings.Split(before, "\n")
	return slices.DeleteFunc(strings.Split(now, "\n"), func(l string) bool { return strings.TrimSpace(l) == "" || slices.Contains(old, l) })
}

// foreign are complaints of gokrazy's about what an image of ours never has. They stood between the reader of a serial
// console and the claim code.
var foreign = []string{
	`"/cmdline.txt" not found`, "getting SBOM: ", "getting EEPROM version: ", "(not critical) could not read running EEPROM",
}

// calm is a log without what is foreign. Package log writes one message at a time.
type calm struct{ to io.Writer }

func (c calm) Write(b []byte) (int, error) {
	for _, f := range foreign {
		if strings.HasPrefix(string(b), f) {
			return len(b), nil
		}
	}
	return c.to.Write(b)
}

// watch keeps the screen (tty1) and the serial console's log true to the box: it looks every two seconds and writes
// when something changed. It never returns.
func watch(v View) {
	shown, said := "", ""
	for ; ; time.Sleep(2 * time.Second) {
		v.Addresses = ownAddresses()
		if n, err := os.Hostname(); err == nil {
			v.Name = n
		}
		if !v.Code.IsZero() {
			if _, err := os.Stat(ClaimPath); err != nil || begun() {
				v.Code = claimcode.Code{}
			}
		}
		if s := v.Screen(); s != shown {
			shown = s
			// Clear, home, text. A box without a screen has no tty1.
			if f, err := os.OpenFile("/dev/tty1", os.O_WRONLY, 0); err == nil {
				f.WriteString("\x1b[2J\x1b[H" + strings.ReplaceAll(s, "\n", "\r\n")) //nolint:errcheck // a screen that is off is no fault
				f.Close()
			}
		}
		s := strings.Join(v.lines(), "\n")
		if !v.Code.IsZero() && v.Trouble == "" {
			s += "\n" + v.Code.URL("")
		}
		if s != said {
			for _, l := range news(said, s) {
				log.Printf("hearth: %s", l)
			}
			said = s
		}
	}
}
