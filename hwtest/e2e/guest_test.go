package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"hearth.alt/hwtest/box"
	"hearth.alt/hwtest/netlab"
)

// greedy is what a device that wants more makes of its configuration: the home network goes through the tunnel too. A
// phone that is added at home is not told so by itself, as it is there already.
func greedy(text string) string {
	return strings.Replace(text, "AllowedIPs = ", "AllowedIPs = 192.168.1.0/24, fd00:1::/64, ", 1)
}

// phoneWith is phone with the text changed before the app sees it.
func (h *home) phoneWith(person, name string, change func(string) string) *netlab.Phone {
	h.t.Helper()
	text, _ := h.scan(person, name)
	if !strings.Contains(text, "192.168.1.0/24") {
		text = change(text)
	}
	p := h.lab.Phone(h.other(strings.ReplaceAll(name, " ", "-")), text, nil)
	h.paired(p, name)
	// Its first packets of each kind may still be on their way to where a scan begins.
	for _, a := range p.Stock.DNS {
		within(h.t, 20*time.Second, "names answer at "+a.String(), func() error {
			ctx, cancel := context.WithTimeout(h.t.Context(), time.Second)
			defer cancel()
			c, err := p.Host.Dial(ctx, "tcp", netip.AddrPortFrom(a, 53).String())
			if err != nil {
				return err
			}
			return c.Close()
		})
	}
	return p
}

// web and names are what the box answers for a guest.
func served(addrs ...netip.Addr) (out []string) {
	for _, a := range addrs {
		for _, port := range []uint16{53, 80, 443} {
			out = append(out, fmt.Sprintf("tcp %s: open", netip.AddrPortFrom(a, port)))
		}
		out = append(out, fmt.Sprintf("udp %s: open", netip.AddrPortFrom(a, 53)))
	}
	return out
}

// list is what a failure shows: the first few.
func list(of []string) string {
	if len(of) > 30 {
		of = append(slices.Clone(of[:30]), fmt.Sprintf("and %d more", len(of)-30))
	}
	return strings.Join(of, "\n")
}

func same(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// Everything that a guest's phone can send, and that a neighbour on the home network can, against every port of
// everybody: IPv4 and IPv6, TCP and UDP. Only the box's names and pages answer, and only in the tunnel.
func TestGuestIsolation(t *testing.T) {
	t.Parallel()
	h := newSmiths(t, box.Options{})
	// A laptop that forwards for somebody else already (containers do that) must not forward into the tunnel.
	h.host.Sysctl("net/ipv4/ip_forward", "1")
	h.host.Sysctl("net/ipv6/conf/all/forwarding", "1")
	h.invite("Ben", "member", "--lan", "no")
	h.invite("Mia", "member", "--lan", "yes")
	h.invite("Gus", "guest")
	ann := h.phoneWith("Ann", "Ann's phone", greedy)
	annToo := h.phoneWith("Ann", "Ann's laptop", greedy)
	ben := h.phoneWith("Ben", "Ben's phone", greedy)
	mia := h.phoneWith("Mia", "Mia's phone", greedy)
	gus := h.phoneWith("Gus", "Gus's phone", greedy)
	printer := h.other("printer")
	// The kernel answers a thousand unreachable ports a second and no more; here each one counts.
	for _, x := range []*netlab.Host{h.host, printer, ann.Host, annToo.Host, ben.Host, mia.Host, gus.Host} {
		x.Sysctl("net/ipv4/icmp_ratelimit", "0")
		x.Sysctl("net/ipv4/icmp_msgs_per_sec", "1000000")
		x.Sysctl("net/ipv4/icmp_msgs_burst", "1000000")
		x.Sysctl("net/ipv6/icmp/ratelimit", "0")
	}
	tunnel := ann.Stock.DNS
	atHome := []netip.Addr{addr(boxAt4), addr(boxAt6)}
	printerAt := []netip.Addr{printer.Port("eth0").Addrs()[0].Addr(), printer.Port("eth0").Addrs()[1].Addr()}
	phone := func(p *netlab.Phone) []netip.Addr { return []netip.Addr{p.Address4(), p.Address6()} }
	few := []uint16{22, 53, 80, 4711}

	t.Run("the scanner sees what is there", func(t *testing.T) {
		// Mia may reach the home network: each port of the printer refuses, which is an answer. So do Ann's own devices.
		if got := scan(t, mia.Host, netip.Addr{}, few, printerAt...); len(got) != 4*len(few) {
			t.Errorf("a member with the home network reaches, of the printer,\n%s\n%s", list(got), h.facts(mia))
		}
		if got := scan(t, ann.Host, netip.Addr{}, few, phone(annToo)...); len(got) != 4*len(few) {
			t.Errorf("an owner reaches %v of her own laptop", got)
		}
	})
	t.Run("a guest", func(t *testing.T) {
		targets := slices.Concat(tunnel, atHome, printerAt, phone(ann), phone(ben), phone(mia))
		if got := scan(t, gus.Host, netip.Addr{}, ports(), targets...); !same(got, served(tunnel...)) {
			t.Errorf("a guest is answered by\n%s\nwant\n%s", list(got), list(served(tunnel...)))
		}
		var pings sync.WaitGroup
		for _, a := range targets {
			pings.Go(func() {
				if n, _ := gus.Host.Ping(limit(t, 5*time.Second), a, 1, time.Millisecond); n != 0 {
					t.Errorf("%s answers a guest's ping", a)
				}
			})
		}
		pings.Wait()
	})
	t.Run("a member without the home network", func(t *testing.T) {
		targets := slices.Concat(atHome, printerAt, phone(ann), phone(gus))
		if got := scan(t, ben.Host, netip.Addr{}, known, targets...); len(got) != 0 {
			t.Errorf("answered by\n%s", list(got))
		}
	})
	t.Run("a member is not let into the devices of others", func(t *testing.T) {
		if got := scan(t, mia.Host, netip.Addr{}, known, slices.Concat(phone(ann), phone(ben), phone(gus))...); len(got) != 0 {
			t.Errorf("answered by\n%s", list(got))
		}
	})
	t.Run("spoofed sources in the tunnel", func(t *testing.T) {
		for _, from := range []netip.Addr{ann.Address4(), ann.Address6(), addr("192.168.1.99"), addr("fd00:1::99"), addr("8.8.8.8")} {
			gus.Tun.Add(netip.PrefixFrom(from, from.BitLen()))
			to := 0
			if from.Is6() {
				to = 1
			}
			if got := scan(t, gus.Host, from, few, tunnel[to], printerAt[to]); len(got) != 0 {
				t.Errorf("from %s: answered by %v", from, got)
			}
		}
		// What comes back to Ann would not be seen by the guest: she must hear nothing that she did not ask for.
		quiet(t, gus.Host, ann, netip.AddrPortFrom(tunnel[0], 53))
	})
	t.Run("a neighbour at home who routes to the tunnel", func(t *testing.T) {
		thief := h.other("thief")
		thief.Port("eth0").Route(netip.PrefixFrom(tunnel[0], 24), addr(boxAt4))
		thief.Port("eth0").Route(netip.PrefixFrom(tunnel[1], 48), addr(boxAt6))
		if got := scan(t, thief, netip.Addr{}, ports(), slices.Concat(tunnel, phone(ann), phone(gus))...); len(got) != 0 {
			t.Errorf("answered by\n%s", list(got))
		}
		// As a device, from outside the tunnel.
		thief.Port("eth0").Add(netip.PrefixFrom(ann.Address4(), 32))
		quiet(t, thief, ann, netip.AddrPortFrom(addr(boxAt4), 53))
		quiet(t, thief, ann, netip.AddrPortFrom(tunnel[0], 53))
	})
}

// quiet sends questions in the name of a phone from a host that has put on its address, and wants that the phone gets
// no answer to them.
func quiet(t *testing.T, from *netlab.Host, victim *netlab.Phone, to netip.AddrPort) {
	t.Helper()
	at := netip.AddrPortFrom(victim.Address4(), 5555)
	in, err := victim.Host.ListenPacket("udp4", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := from.ListenPacket("udp4", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(boxName), dns.TypeA)
	b, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		out.WriteTo(b, net.UDPAddrFromAddrPort(to))
	}
	in.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	if n, who, err := in.ReadFrom(make([]byte, 1500)); err == nil {
		t.Errorf("%s sent %d bytes to a phone that asked nothing", who, n)
	}
}
