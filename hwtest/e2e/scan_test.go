package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"hearth.alt/hwtest/netlab"
)

// known are ports that something of ours, or something common, might listen on: the device's own list of DESIGN.md,
// the ports of --dev, gokrazy's, and those a home server's neighbours use.
var known = []uint16{
	1, 20, 21, 22, 23, 25, 53, 67, 68, 69, 80, 81, 110, 111, 123, 137, 138, 139, 143, 161, 389, 443, 445, 500, 514, 515, 548, 554, 587, 631, 853, 993, 995,
	1080, 1194, 1723, 1883, 1900, 2049, 2375, 2376, 3000, 3128, 3306, 3389, 3478, 4500, 5000, 5060, 5222, 5351, 5353, 5355, 5432, 5555, 5900, 5984, 6379, 6443,
	6667, 7000, 8000, 8008, 8009, 8053, 8080, 8081, 8096, 8123, 8384, 8443, 8480, 8883, 8888, 9000, 9090, 9100, 9200, 10000, 11211, 22000, 27017, 32400, 41641, 41820,
	49152, 51413, 51820, 51821, 65535,
}

// ports are the ports a proof tries: all of them with HEARTH_TEST_ALL, else the known ones and 300 by seed.
func ports() []uint16 {
	var out []uint16
	if all {
		for p := 1; p < 1<<16; p++ {
			out = append(out, uint16(p))
		}
		return out
	}
	out = slices.Clone(known)
	r := rand.New(rand.NewPCG(2, 0))
	for range 300 {
		out = append(out, uint16(1+r.IntN(1<<16-1)))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// probe is one packet to one port, and what came back.
type probe struct {
	network string // "tcp" or "udp"
	from    netip.Addr
	to      netip.AddrPort
	answer  string // "" is silence, "open", or the name of the refusal
	fd      int
}

func (p probe) String() string { return fmt.Sprintf("%s %s: %s", p.network, p.to, p.answer) }

// scan tries every port of every target from a host, by TCP and UDP, and returns what answered anything: an open
// port, a refusal, an ICMP error. from is the source address; zero is the host's choice. Packets are paced, and a scan
// that lost some on the way out fails: what was never asked proves nothing by its silence.
func scan(t *testing.T, h *netlab.Host, from netip.Addr, ports []uint16, targets ...netip.Addr) (answered []string) {
	t.Helper()
	var probes []probe
	for _, a := range targets {
		for _, port := range ports {
			probes = append(probes, probe{network: "tcp", from: from, to: netip.AddrPortFrom(a, port)}, probe{network: "udp", from: from, to: netip.AddrPortFrom(a, port)})
		}
	}
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(boxName), dns.TypeA)
	question, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	const batch = 4000 // sockets at a time, far below what a process may have open
	lost := h.Lost()
	for rest := probes; len(rest) > 0; {
		now := rest[:min(batch, len(rest))]
		rest = rest[len(now):]
		if err := h.Do(func() error { return try(now, question) }); err != nil {
			t.Fatalf("scanning from %s: %v", h.Name(), err)
		}
		for _, p := range now {
			if p.answer != "" {
				answered = append(answered, p.String())
			}
		}
	}
	if len(ports) > len(known) {
		t.Attr("figure", fmt.Sprintf("from %s: %d ports of %d addresses, TCP and UDP; %d answered", h.Name(), len(ports), len(targets), len(answered)))
	}
	if n := h.Lost() - lost; n != 0 {
		t.Errorf("%d packets of a scan got lost in %s itself", n, h.Name())
	}
	return answered
}

// try sends all probes of one batch, waits once, and looks what came. It runs inside the host.
func try(batch []probe, question []byte) (err error) {
	for i := range batch {
		batch[i].fd = -1
	}
	defer func() {
		for _, p := range batch {
			if p.fd >= 0 {
				unix.Close(p.fd)
			}
		}
	}()
	for i := range batch {
		if i%50 == 49 { // 10,000 a second: what two busy cores carry through a tunnel
			time.Sleep(5 * time.Millisecond)
		}
		p := &batch[i]
		family, kind := unix.AF_INET, unix.SOCK_STREAM
		if p.to.Addr().Is6() {
			family = unix.AF_INET6
		}
		if p.network == "udp" {
			kind = unix.SOCK_DGRAM
		}
		if p.fd, err = unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if p.from.IsValid() {
			if err := unix.Bind(p.fd, sockaddr(netip.AddrPortFrom(p.from, 0))); err != nil {
				return fmt.Errorf("binding to %s: %w", p.from, err)
			}
		}
		err := unix.Connect(p.fd, sockaddr(p.to))
		if p.network == "udp" && err == nil {
			_, err = unix.Write(p.fd, question)
		}
		if err != nil && !errors.Is(err, unix.EINPROGRESS) && !errors.Is(err, unix.ECONNREFUSED) {
			return fmt.Errorf("%s %s: %w", p.network, p.to, err)
		}
	}
	time.Sleep(1500 * time.Millisecond) // Linux sends a SYN once more after 1 s
	for i := range batch {
		p := &batch[i]
		poll := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLOUT}}
		if p.network == "udp" {
			poll[0].Events = unix.POLLIN
		}
		n, err := unix.Poll(poll, 0)
		if err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		code, err := unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
			return err
		case code == 0:
			p.answer = "open"
		default:
			p.answer = unix.ErrnoName(unix.Errno(code))
		}
	}
	return nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}
