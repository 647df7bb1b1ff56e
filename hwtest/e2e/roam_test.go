package e2e

import (
	"bufio"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"hearth.alt/hwtest/box"
	"hearth.alt/hwtest/netlab"
)

// away is a house behind a router with a port mapping server, and a phone out in the world behind another router.
//
//	box 192.168.1.2 -- router 203.0.113.1 -- internet -- 203.0.113.2 router of a café -- phone 10.9.9.2
type away struct {
	*home
	router, cafe        *netlab.Router
	gateway             *netlab.Gateway
	phone               *netlab.Host
	wan, lanEnd, phones *netlab.Port
}

// outsidePort is the port that the router gives, whatever is asked.
const outsidePort = 40404

func newAway(t *testing.T) *away {
	t.Helper()
	l := netlab.New(t)
	a := &away{home: &home{t: t, lab: l, lan: l.Switch("lan"), host: l.Host("box"), n: 10}}
	internet := l.Switch("internet")
	a.router, a.cafe, a.phone = l.Router("router", netlab.NATCone), l.Router("cafe", netlab.NATSymmetric), l.Host("phone")
	internet.Attach(a.router.Host, "wan", pfx("203.0.113.1/24"))
	a.wan = internet.Attach(a.cafe.Host, "wan", pfx("203.0.113.2/24"))
	a.lan.Attach(a.router.Host, "lan", pfx("192.168.1.1/24"))
	a.lan.Attach(a.host, "eth0", pfx(boxAt4+"/24"), pfx(boxAt6+"/64")).Default(addr("192.168.1.1"))
	a.lanEnd, a.phones = l.Link(a.cafe.Host, "lan", a.phone, "eth0")
	a.lanEnd.Add(pfx("10.9.9.1/24"))
	a.phones.Add(pfx("10.9.9.2/24"))
	a.phones.Default(addr("10.9.9.1"))
	a.gateway = a.router.ServePCP(&netlab.Gateway{OutsidePort: outsidePort})
	var args []string
	for _, arg := range oneProcess {
		if arg == "--no-portmap" {
			arg = "--no-portmap=false" // --dev asks the router for nothing unless told to
		}
		args = append(args, arg)
	}
	a.start(box.Options{Args: args})
	a.ClaimSmith()
	a.up()
	within(t, 20*time.Second, "no port is mapped", func() error {
		if len(a.gateway.Mappings()) == 0 {
			return fmt.Errorf("%d requests", a.gateway.Requests())
		}
		return nil
	})
	return a
}

// A box at home behind a router, a phone far away behind another: the code's endpoint is the mapped address, it pairs
// from there, keeps its connection while it changes address, and moves megabytes over a way that carries 1,280 bytes
// and one that loses three packets of a hundred.
func TestPhoneFarAway(t *testing.T) {
	t.Parallel()
	a := newAway(t)
	var p *netlab.Phone
	// The observed address may take a moment longer than the mapping.
	within(t, 20*time.Second, "the endpoint of a new code", func() error {
		text, d := a.scan("Ann", "far")
		if want := fmt.Sprintf("Endpoint = 203.0.113.1:%d\n", outsidePort); !strings.Contains(text, want) {
			a.Do(nil, "device", "remove", d.ID)
			return fmt.Errorf("not %s in\n%s", want, text)
		}
		p = a.lab.Phone(a.phone, text, nil)
		return nil
	})
	a.paired(p, "far")
	a.tunnel(p, dns.TypeA).get("/signin", 200)
	bytes := int64(4 << 20)

	t.Run("changes address in the middle of a connection", func(t *testing.T) {
		open := flow(t, "the connection", p.Host, netip.AddrPortFrom(p.Stock.DNS[0], 80), asks)
		if err := open.use(); err != nil {
			t.Fatal(err)
		}
		a.wan.Set(pfx("203.0.113.77/24"))
		a.cafe.Flush()
		// The same connection, not a new one: the first answer may take as long as TCP's patience of some seconds.
		c, err := p.Host.Dial(limit(t, 20*time.Second), "tcp", netip.AddrPortFrom(p.Stock.DNS[0], 80).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		r := bufio.NewReader(c)
		for i, at := range []string{"", "203.0.113.78/24", "203.0.113.79/24"} {
			if at != "" {
				a.wan.Set(pfx(at))
				a.cafe.Flush()
			}
			if err := asks(c, r); err != nil {
				t.Errorf("request %d, from %q: %v", i, at, err)
			}
		}
		if err := open.use(); err != nil {
			t.Errorf("the older connection: %v", err)
		}
	})
	transfers := func(t *testing.T) {
		t.Helper()
		for _, at := range p.Stock.DNS {
			// The page's own listener is not for megabytes; the rules let nothing else in, so the box itself sends.
			from := p.Address4()
			if at.Is6() {
				from = p.Address6()
			}
			took, err := netlab.Transfer(limit(t, time.Minute), a.host, p.Host, netip.AddrPortFrom(from, 0), bytes)
			if err != nil {
				t.Errorf("to %s: %v", from, err)
			}
			t.Logf("%d bytes to %s in %v", bytes, from, took.Round(time.Millisecond))
		}
		// Towards the box: a body as large as its pages take, which is many packets.
		b := a.tunnel(p, dns.TypeA)
		resp, _, err := b.try("POST", "/signin", map[string][]string{"name": {"Ann"}, "password": {strings.Repeat("long ", 8000)}})
		if err != nil {
			t.Errorf("a large form: %v", err)
		} else if resp.StatusCode >= 500 {
			t.Errorf("a large form: %s", resp.Status)
		}
	}
	t.Run("a way of 1280", func(t *testing.T) {
		a.wan.SetMTU(1280)
		a.lanEnd.SetMTU(1280)
		defer a.wan.SetMTU(1500)
		defer a.lanEnd.SetMTU(1500)
		transfers(t)
	})
	t.Run("three of a hundred lost", func(t *testing.T) {
		a.wan.Lose(3)
		a.router.Port("wan").Lose(3)
		defer a.wan.Lose(0)
		defer a.router.Port("wan").Lose(0)
		bytes = 1 << 20
		transfers(t)
	})
	t.Run("the home network from far away", func(t *testing.T) {
		a.host.Sysctl("net/ipv4/ip_forward", "1")
		printer := a.other("printer")
		port := echo(t, printer)
		f := flow(t, "the printer", p.Host, netip.AddrPortFrom(printer.Port("eth0").Addrs()[0].Addr(), port), echoes)
		if err := f.use(); err != nil {
			t.Error(err)
		}
	})
	a.Stop()
	if left := a.gateway.Mappings(); len(left) != 0 {
		t.Errorf("the box left %v on the router", left)
	}
}
