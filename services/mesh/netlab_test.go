package mesh

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"hearth.alt/hwtest/netlab"
	"hearth.alt/services"
)

var (
	pfx  = netip.MustParsePrefix
	addr = netip.MustParseAddr
)

func within(t *testing.T, d time.Duration) context.Context {
	c, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return c
}

// flat is a home network: the box at 192.168.1.2 and fd00:1::2, hosts from 192.168.1.10 on.
type flat struct {
	lab *netlab.Lab
	lan *netlab.Switch
	box *netlab.Host
	n   int
}

func newFlat(t *testing.T) *flat {
	l := netlab.New(t)
	f := &flat{lab: l, lan: l.Switch("lan"), box: l.Host("box"), n: 10}
	f.lan.Attach(f.box, "eth0", pfx("192.168.1.2/24"), pfx("fd00:1::2/64"))
	return f
}

func (f *flat) host(name string) *netlab.Host {
	h := f.lab.Host(name)
	f.lan.Attach(h, "eth0", pfx(fmt.Sprintf("192.168.1.%d/24", f.n)), pfx(fmt.Sprintf("fd00:1::%d/64", f.n)))
	f.n++
	return h
}

func reaches(t *testing.T, p *netlab.Phone, within_ time.Duration) {
	t.Helper()
	for _, a := range []netip.Addr{boxAt4, boxAt6} {
		if err := p.Host.Answers(within(t, within_), a); err != nil {
			t.Fatal(err)
		}
	}
}

// transfers sends through the tunnel both ways.
func transfers(t *testing.T, p *netlab.Phone, box *netlab.Host, bytes int64, six bool) {
	t.Helper()
	at, from := boxAt4, p.Address4()
	if six {
		at, from = boxAt6, p.Address6()
	}
	c := within(t, 30*time.Second)
	if _, err := netlab.Transfer(c, p.Host, box, netip.AddrPortFrom(at, 0), bytes); err != nil {
		t.Errorf("to the box: %v", err)
	}
	if _, err := netlab.Transfer(c, box, p.Host, netip.AddrPortFrom(from, 0), bytes); err != nil {
		t.Errorf("from the box: %v", err)
	}
}

// Two people's phones pair, talk, and know nothing of one another's addresses; one is revoked while the other's
// traffic flows on undisturbed.
func TestPhonesPairTalkAndAreRevoked(t *testing.T) {
	f := newFlat(t)
	fam := newFamily(t)
	b := startBox(t, f.box, fam, nil)
	b.up()
	a, c := fam.add(t, 0), fam.add(t, 1)
	b.members()
	b.tell(order{Do: "refuse", N: 1}) // the first report of a pairing fails and must be repeated
	anna := f.lab.Phone(f.host("anna"), b.config(a), nil)
	ben := f.lab.Phone(f.host("ben"), b.config(c), nil)
	if at := anna.Stock.Peers[0]; at.EndpointHost != "192.168.1.2" || at.EndpointPort != 51820 || anna.Stock.MTU != 1280 {
		t.Errorf("configuration %+v", anna.Stock)
	}
	if got := b.tell(order{Do: "status"}); len(got.Paired) != 0 || !got.Status.Devices[a.ID].LastHandshake.IsZero() {
		t.Errorf("before anything: %+v", got)
	}
	reaches(t, anna, 10*time.Second)
	reaches(t, ben, 10*time.Second)
	got := b.until("paired", order{Do: "status"}, func(x answer) bool {
		return x.Paired[a.ID] > 0 && x.Paired[c.ID] > 0 && x.Paired[a.ID]+x.Paired[c.ID] == 3
	})
	if s := got.Status.Devices[a.ID]; time.Since(s.LastHandshake) > time.Minute || s.Endpoint.Addr() != addr("192.168.1.10") || s.RxBytes == 0 || s.TxBytes == 0 {
		t.Errorf("status of a phone that talks: %+v", s)
	}
	fam.change(func(m *services.Membership) {
		for i := range m.Devices {
			m.Devices[i].State, m.Devices[i].Expires = services.StateActive, time.Time{}
		}
	})
	b.members()
	transfers(t, anna, f.box, 1<<20, false)
	transfers(t, ben, f.box, 1<<20, true)

	// A key opens its own two addresses: what Anna's phone sends from Ben's address or from nobody's goes no further
	// than WireGuard.
	in, err := f.box.ListenPacket("udp4", netip.AddrPortFrom(boxAt4, 9999).String())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	nobody := addr("10.77.5.200")
	anna.Tun.Add(netip.PrefixFrom(c.Addr4, 32), netip.PrefixFrom(nobody, 32))
	for _, from := range []netip.Addr{c.Addr4, nobody, a.Addr4} {
		out, err := anna.Host.ListenPacket("udp4", netip.AddrPortFrom(from, 0).String())
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			out.WriteTo([]byte(from.String()), net.UDPAddrFromAddrPort(netip.AddrPortFrom(boxAt4, 9999)))
		}
		out.Close()
	}
	in.SetReadDeadline(time.Now().Add(5 * time.Second))
	words := make([]byte, 64)
	if n, _, err := in.ReadFrom(words); err != nil || string(words[:n]) != a.Addr4.String() {
		t.Errorf("the first packet to arrive says %q, %v", words[:n], err)
	}

	// Ben's phone pings on while devices come and go.
	var lost, sent atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	pinging := make(chan struct{})
	go func() {
		defer close(pinging)
		for ctx.Err() == nil {
			n, _ := ben.Host.Ping(t.Context(), boxAt4, 20, 5*time.Millisecond)
			sent.Add(20)
			lost.Add(int64(20 - n))
		}
	}()
	third := fam.add(t, 0)
	b.members()
	fam.remove(third.ID)
	b.members()
	fam.remove(a.ID)
	revoked := time.Now()
	b.members()
	b.until("gone", order{Do: "status"}, func(x answer) bool { _, there := x.Status.Devices[a.ID]; return !there })
	for { // Anna's phone holds an established session and must lose it
		if n, _ := anna.Host.Ping(within(t, 2*time.Second), boxAt4, 1, time.Millisecond); n == 0 {
			break
		}
		if time.Since(revoked) > 5*time.Second {
			t.Fatal("a revoked phone still has answers after 5 s")
		}
	}
	t.Logf("revoked: no answer after %s", time.Since(revoked))
	if n, _ := anna.Host.Ping(within(t, 3*time.Second), boxAt6, 3, 10*time.Millisecond); n != 0 {
		t.Errorf("a revoked phone had %d answers", n)
	}
	stop()
	<-pinging
	if s := b.tell(order{Do: "status"}).Status.Devices[c.ID]; s.LastHandshake != got.Status.Devices[c.ID].LastHandshake {
		t.Errorf("another phone had to shake hands again: %+v", s)
	}
	if lost.Load()*50 > sent.Load() { // none, but for a test machine that was busy elsewhere
		t.Errorf("another phone lost %d of %d pings to changes that were not its own", lost.Load(), sent.Load())
	}
	reaches(t, ben, 5*time.Second)
	if took := b.stop(); took > 5*time.Second {
		t.Errorf("stopping took %s", took)
	}
}

// A code that was not scanned in time dies by itself, without a change of the membership.
func TestPendingExpires(t *testing.T) {
	f := newFlat(t)
	fam := newFamily(t)
	d := fam.add(t, 0)
	fam.change(func(m *services.Membership) { m.Devices[0].Expires = time.Now().Add(2 * time.Second) })
	b := startBox(t, f.box, fam, nil)
	b.up()
	p := f.lab.Phone(f.host("late"), b.config(d), nil)
	reaches(t, p, 5*time.Second)
	time.Sleep(2 * time.Second) // the phone was in time; the code's time is over and nobody recorded the pairing
	deadline := time.Now().Add(10 * time.Second)
	for {
		if n, _ := p.Host.Ping(within(t, 2*time.Second), boxAt4, 1, time.Millisecond); n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("an expired device still has answers")
		}
	}
}

// The way from the phone to the box: a phone behind a NAT router of its own, the box on the Internet.
type far struct {
	lab            *netlab.Lab
	box, phone     *netlab.Host
	net            *netlab.Switch
	router         *netlab.Router
	boxEnd         *netlab.Port
	wan, lan, home *netlab.Port
}

// newFar has the Internet at 192.88.99.0/24, which nobody uses any more (RFC 7526): the ranges for documentation are no
// public addresses to the box.
func newFar(t *testing.T, nat netlab.NAT) *far {
	l := netlab.New(t)
	f := &far{lab: l, box: l.Host("box"), phone: l.Host("phone"), net: l.Switch("internet"), router: l.Router("cafe", nat)}
	f.boxEnd = f.net.Attach(f.box, "eth0", pfx("192.88.99.10/24"), pfx("2001:db8::10/64"))
	f.wan = f.net.Attach(f.router.Host, "wan", pfx("192.88.99.1/24"), pfx("2001:db8::1/64"))
	f.boxEnd.Route(pfx("2001:db8:1::/64"), addr("2001:db8::1"))
	f.lan, f.home = l.Link(f.router.Host, "lan", f.phone, "eth0")
	f.lan.Add(pfx("192.168.1.1/24"), pfx("2001:db8:1::1/64"))
	f.home.Add(pfx("192.168.1.2/24"), pfx("2001:db8:1::2/64"))
	f.home.Default(addr("192.168.1.1"))
	f.home.Default(addr("2001:db8:1::1"))
	return f
}

func (f *far) pair(t *testing.T, endpoint string) (*testBox, *netlab.Phone) {
	t.Helper()
	fam := newFamily(t)
	d := fam.add(t, 0)
	b := startBox(t, f.box, fam, nil)
	b.up()
	text := b.config(d)
	if !strings.Contains(text, "Endpoint = 192.88.99.10:51820\n") {
		t.Errorf("the box has a public address of its own:\n%s", text)
	}
	text = strings.Replace(text, "192.88.99.10:51820", endpoint, 1)
	p := f.lab.Phone(f.phone, text, nil)
	reaches(t, p, 10*time.Second)
	return b, p
}

// A phone that changes networks is followed; so is a box whose own address changes under a session.
func TestRoaming(t *testing.T) {
	for _, nat := range []netlab.NAT{netlab.NATCone, netlab.NATSymmetric} {
		t.Run(nat.String(), func(t *testing.T) {
			f := newFar(t, nat)
			b, p := f.pair(t, "192.88.99.10:51820")
			before := b.tell(order{Do: "status"})
			answered := make(chan int, 1)
			go func() {
				n, _ := f.phone.Ping(t.Context(), boxAt4, 100, 20*time.Millisecond)
				answered <- n
			}()
			time.Sleep(500 * time.Millisecond)
			f.wan.Set(pfx("192.88.99.77/24"), pfx("2001:db8::1/64"))
			f.router.Flush()
			n := <-answered
			t.Logf("%d of 100 pings lost over a change of address", 100-n)
			if n < 50 {
				t.Errorf("only %d of 100 pings answered", n)
			}
			after := b.tell(order{Do: "status"})
			for id, d := range after.Status.Devices {
				if d.Endpoint.Addr() != addr("192.88.99.77") || d.LastHandshake != before.Status.Devices[id].LastHandshake {
					t.Errorf("from %+v to %+v", before.Status.Devices[id], d)
				}
			}
			transfers(t, p, f.box, 1<<20, false)
			if !b.tell(order{Do: "reach"}).Reach.Endpoints[0].isPublic() {
				t.Error("a box with a public address does not offer it")
			}
		})
	}
}

// The box gets another address at home: what it sends must not insist on the one that it had.
func TestBoxMoves(t *testing.T) {
	f := newFlat(t)
	fam := newFamily(t)
	d := fam.add(t, 0)
	b := startBox(t, f.box, fam, nil)
	b.up()
	p := f.lab.Phone(f.host("phone"), b.config(d), nil)
	reaches(t, p, 10*time.Second)
	f.box.Port("eth0").Set(pfx("192.168.1.3/24"))
	if err := f.box.Answers(within(t, 5*time.Second), p.Address4()); err != nil {
		t.Fatal(err)
	}
	reaches(t, p, 5*time.Second)
	if st, err := p.State(); err != nil || st.Endpoint != netip.MustParseAddrPort("192.168.1.3:51820") {
		t.Errorf("the phone sends to %+v, %v", st, err)
	}
	if r := b.tell(order{Do: "reach"}).Reach; r.Endpoints[0].String() != "192.168.1.3:51820" {
		t.Errorf("new devices are sent to %+v", r.Endpoints)
	}
}

func (e Endpoint) isPublic() bool { return e.Kind == EndpointPublic }

// Every packet of the tunnel must fit a way that carries 1280 bytes, or TCP crawls while ping passes.
func TestWayOf1280(t *testing.T) {
	for _, c := range []struct{ name, endpoint string }{{"IPv4", "192.88.99.10:51820"}, {"IPv6", "[2001:db8::10]:51820"}} {
		t.Run(c.name, func(t *testing.T) {
			f := newFar(t, netlab.NATCone)
			f.wan.SetMTU(1280)
			f.lan.SetMTU(1280)
			f.home.SetMTU(1500) // the phone does not know
			_, p := f.pair(t, c.endpoint)
			start := time.Now()
			transfers(t, p, f.box, 2<<20, false)
			transfers(t, p, f.box, 2<<20, true)
			t.Logf("8 MiB in %s", time.Since(start))
		})
	}
}

func TestLossOf3Percent(t *testing.T) {
	f := newFar(t, netlab.NATCone)
	_, p := f.pair(t, "192.88.99.10:51820")
	f.wan.Lose(3)
	f.boxEnd.Lose(3)
	transfers(t, p, f.box, 512<<10, false)
	n, err := f.phone.Ping(within(t, 20*time.Second), boxAt6, 100, 5*time.Millisecond)
	if err != nil || n < 75 {
		t.Errorf("%d of 100 pings answered, %v", n, err)
	}
}

// A box at home behind a router, a phone outside: the mapped port is the way in, whichever protocol opened it.
func TestBehindARouter(t *testing.T) {
	for name, serve := range map[string]func(*netlab.Router, *netlab.Gateway) *netlab.Gateway{
		"pcp": (*netlab.Router).ServePCP, "nat-pmp": (*netlab.Router).ServeNATPMP, "upnp": (*netlab.Router).ServeUPnP,
	} {
		t.Run(name, func(t *testing.T) {
			l := netlab.New(t)
			router, boxHost, out := l.Router("router", netlab.NATCone), l.Host("box"), l.Host("phone")
			w, o := l.Link(router.Host, "wan", out, "eth0")
			w.Add(pfx("203.0.113.1/24"))
			o.Add(pfx("203.0.113.50/24"))
			i, e := l.Link(router.Host, "lan", boxHost, "eth0")
			i.Add(pfx("192.168.1.1/24"))
			e.Add(pfx("192.168.1.2/24"))
			e.Default(addr("192.168.1.1"))
			g := serve(router, &netlab.Gateway{OutsidePort: 40404})
			if name == "upnp" {
				g.OutsidePort = 0
			}
			fam := newFamily(t)
			d := fam.add(t, 0)
			fam.change(func(m *services.Membership) { m.People[0].LAN = true })
			b := startBox(t, boxHost, fam, func(s *boxSpec) { s.NoPortMap = false })
			b.up()
			r := b.until("mapped", order{Do: "reach"}, func(a answer) bool { return !a.Reach.Looking }).Reach
			if r.Scope != ScopeForNow || r.Endpoints[0].Kind != EndpointMapped || r.Endpoints[0].Host != "203.0.113.1" || r.Endpoints[1].String() != "192.168.1.2:51820" {
				t.Fatalf("reach %+v", r)
			}
			p := l.Phone(out, b.config(d), nil)
			if want := uint16(g.OutsidePort); want != 0 && p.Stock.Peers[0].EndpointPort != want {
				t.Errorf("endpoint %s:%d", p.Stock.Peers[0].EndpointHost, p.Stock.Peers[0].EndpointPort)
			}
			if got := fmt.Sprint(p.Stock.Peers[0].AllowedIPs); !strings.Contains(got, "192.168.1.0/24") {
				t.Errorf("the home network is not in %s", got)
			}
			reaches(t, p, 10*time.Second)
			transfers(t, p, boxHost, 1<<20, false)
			if r := b.tell(order{Do: "reach"}).Reach; !r.Proven {
				t.Errorf("a phone came in from outside: %+v", r)
			}
			if took := b.stop(); took > 5*time.Second || len(g.Mappings()) != 0 {
				t.Errorf("stopped in %s, left %v", took, g.Mappings())
			}
		})
	}
}

// The plug is pulled, the interface is deleted: the phone does nothing and is back in seconds.
func TestBackByItself(t *testing.T) {
	f := newFlat(t)
	fam := newFamily(t)
	d := fam.add(t, 0)
	b := startBox(t, f.box, fam, func(s *boxSpec) { s.Port = 0 })
	port := b.up().Status.Port
	p := f.lab.Phone(f.host("phone"), b.config(d), nil)
	reaches(t, p, 10*time.Second)
	b.until("written down", order{Do: "status"}, func(a answer) bool { return !a.Status.Devices[d.ID].LastHandshake.IsZero() })
	back := func(what string, within_ time.Duration) {
		t.Helper()
		start := time.Now()
		reaches(t, p, within_)
		t.Logf("back after %s in %s", what, time.Since(start))
		if got := b.up(); got.Status.Port != port || got.Status.Devices[d.ID].LastHandshake.IsZero() {
			t.Errorf("after %s: %+v", what, got.Status)
		}
	}
	b.stop()
	b.start()
	if s := b.up().Status.Devices[d.ID]; s.LastHandshake.IsZero() || !s.Endpoint.IsValid() {
		t.Errorf("a restart forgot the last handshake: %+v", s)
	}
	back("a restart", 10*time.Second)
	b.kill()
	b.start()
	back("a kill", 20*time.Second)
	if err := f.box.Do(func() error {
		l, err := netlink.LinkByName("hearth0")
		if err == nil {
			err = netlink.LinkDel(l)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	b.until("noticed", order{Do: "status"}, func(a answer) bool { return !a.Health.OK })
	back("the interface was deleted", 20*time.Second)
}

// Another program has the port: the box says so, keeps asking, and takes it when it is free; with AnyPort it takes
// another one at once.
func TestPortInUse(t *testing.T) {
	f := newFlat(t)
	taken, err := f.box.ListenPacket("udp4", ":51820")
	if err != nil {
		t.Fatal(err)
	}
	fam := newFamily(t)
	d := fam.add(t, 0)
	b := startBox(t, f.box, fam, nil)
	got := b.until("told", order{Do: "status"}, func(a answer) bool { return a.Health.Message.Key == "mesh.health.port" })
	if got.Health.OK || got.Status.Up || !strings.Contains(got.Health.Message.String(), "51820") {
		t.Errorf("%+v", got)
	}
	b.config(d) // works all the same
	taken.Close()
	if at := b.up().Status.Port; at != 51820 {
		t.Errorf("listens on %d", at)
	}
	b.stop()
	if taken, err = f.box.ListenPacket("udp4", ":51820"); err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	b.spec.AnyPort = true
	b.start()
	if at := b.up().Status.Port; at == 51820 || at == 0 {
		t.Errorf("with any port, listens on %d", at)
	}
}

// What an idle client plane costs, in the process of this test (which holds the laboratory's code too).
func TestIdleMemory(t *testing.T) {
	f := newFlat(t)
	fam := newFamily(t)
	claimed := fam.m
	fam.m = &services.Membership{}
	b := startBox(t, f.box, fam, nil)
	b.until("waiting", order{Do: "status"}, func(a answer) bool { return a.Health.Ready })
	bare := b.rss()
	fam.m = claimed
	b.members()
	b.up()
	none := b.rss()
	for range 10 {
		fam.add(t, 0)
	}
	b.members()
	b.until("told", order{Do: "status"}, func(a answer) bool { return len(a.Status.Devices) == 10 })
	ten := b.rss()
	p := f.lab.Phone(f.host("phone"), b.config(fam.m.Devices[0]), nil)
	reaches(t, p, 10*time.Second)
	transfers(t, p, f.box, 16<<20, false)
	t.Logf("RSS: %d kB unclaimed, %d kB without peers, %d kB with 10, %d kB after 32 MiB", bare, none, ten, b.rss())
	if ten > 64<<10 {
		t.Errorf("%d kB for an idle device", ten)
	}
}
