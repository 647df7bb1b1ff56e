package dns

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"hearth.alt/services/crowd"
)

// host asks the box from one address of loopback.
type host struct {
	t testing.TB
	c *net.UDPConn
}

func hostAt(t testing.TB, b *box, address string) host {
	t.Helper()
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(address)}, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(b.addr)))
	if err != nil {
		t.Skipf("needs all of 127.0.0.0/8, as Linux has it: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return host{t, c}
}

// flood sends questions and does not wait for answers; as fast as the box reads them.
func (h host) flood(n int, name func(i int) string) {
	h.t.Helper()
	for i := range n {
		w, err := new(dns.Msg).SetQuestion(name(i), dns.TypeA).Pack()
		if err != nil {
			h.t.Fatal(err)
		}
		if _, err := h.c.Write(w); err != nil {
			h.t.Fatal(err)
		}
		if i%50 == 49 {
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// ask returns the first address, the response code or "silence".
func (h host) ask(name string) string {
	c := &dns.Conn{Conn: h.c}
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	if err := c.WriteMsg(new(dns.Msg).SetQuestion(name, dns.TypeA)); err != nil {
		h.t.Fatal(err)
	}
	r, err := c.ReadMsg()
	if err != nil {
		return "silence"
	}
	return firstA(r)
}

// other is who is not to notice: somebody of the same network.
func other(attack string) string {
	if attack == "from many addresses" || attack == "from four addresses" {
		return "127.0.9.200"
	}
	return "127.0.0.67"
}

// One host asks for more names that nobody answers for than the box can hold; another asks for what there is.
func TestOneHostDoesNotTakeAllQuestions(t *testing.T) {
	for name, flood := range map[string]func(b *box){
		"many names": func(b *box) {
			hostAt(t, b, "127.0.0.66").flood(4*callers.All, func(i int) string { return fmt.Sprintf("n%d.slow.example.", i) })
		},
		"one name": func(b *box) {
			hostAt(t, b, "127.0.0.66").flood(2*maxWaiting, func(int) string { return "n.slow.example." })
		},
		// Four addresses took all that a network has, and the fifth of the household got nothing.
		"from four addresses": func(b *box) {
			for i := range 4 {
				hostAt(t, b, fmt.Sprintf("127.0.9.%d", 1+i)).flood(2*callers.Address, func(n int) string { return fmt.Sprintf("n%d-%d.slow.example.", i, n) })
			}
		},
		"from many addresses": func(b *box) {
			for i := range 16 {
				hostAt(t, b, fmt.Sprintf("127.0.9.%d", 1+i)).flood(callers.Address, func(n int) string { return fmt.Sprintf("n%d-%d.slow.example.", i, n) })
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := startUpstream(t, nil)
			deadNames(up)
			b := runBox(t, Config{Upstreams: []Upstream{plainUpstream(up)}}).ready(t)
			flood(b)
			other := hostAt(t, b, other(name))
			for i := range 20 {
				if got := other.ask(fmt.Sprintf("www%d.example.com.", i)); got != "203.0.114.7" {
					t.Fatalf("question %d of another host, %v: %s", i, other.c.LocalAddr(), got)
				}
			}
			if b.Stats().Dropped == 0 {
				t.Error("the test proves nothing: everything had its place")
			}
		})
	}
}

// A question that gets no place is answered "cannot say", without a word on the network, which is fine (RFC 8914). It
// holds nothing afterwards.
func TestNoPlaceForAQuestion(t *testing.T) {
	up := startUpstream(t, nil)
	up.set(fixed(300, "203.0.114.7"))
	b := runBox(t, Config{Upstreams: []Upstream{plainUpstream(up)}}).ready(t)
	me := netip.MustParseAddr("127.0.0.1")
	for name, full := range map[string]*crowd.Count{"none to wait": b.h.forward.patient, "none upstream": b.h.forward.opened} {
		taken := 0
		for full.Enter(me) {
			taken++
		}
		before := b.Stats().Dropped
		r := b.ask(t, "udp", "www.example.com", dns.TypeA, withEDNS)
		if r.Rcode != dns.RcodeServerFailure || edeOf(r) != 0 || b.Stats().Dropped != before+1 {
			t.Errorf("%s: %s with %d, dropped %d; want a server failure without more", name, dns.RcodeToString[r.Rcode], edeOf(r), b.Stats().Dropped-before)
		}
		for range taken {
			full.Leave(me)
		}
		if p, o := b.h.forward.patient.Len(), b.h.forward.opened.Len(); p != 0 || o != 0 {
			t.Errorf("%s: afterwards %d wait and %d are upstream", name, p, o)
		}
	}
	if r := b.ask(t, "udp", "www.example.com", dns.TypeA, withEDNS); firstA(r) != "203.0.114.7" {
		t.Errorf("with places again: %v", r)
	}
}

// Questions of every outcome, by UDP and TCP, whose askers wait or leave: nothing of them stays counted.
func TestNothingStaysCounted(t *testing.T) {
	var b *box
	t.Cleanup(func() { // after the box has stopped
		if p, o, c := b.h.forward.patient.Len(), b.h.forward.opened.Len(), b.conns.Len(); p != 0 || o != 0 || c != 0 {
			t.Errorf("%d wait, %d are upstream, %d are connected", p, o, c)
		}
	})
	up := startUpstream(t, nil)
	deadNames(up)
	b = runBox(t, Config{Upstreams: []Upstream{plainUpstream(up)}}).ready(t)
	for i := range 8 {
		h := hostAt(t, b, fmt.Sprintf("127.0.9.%d", 1+i))
		h.flood(50, func(n int) string { return fmt.Sprintf("n%d.slow.example.", n%20) })
		h.flood(10, func(n int) string { return fmt.Sprintf("www%d.example.com.", n) })
		for n := range 2 * maxOfOne {
			c := dialFrom(t, b, fmt.Sprintf("127.0.9.%d", 1+i))
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			name := []string{"kitchen.smith.home.arpa.", "www.example.com.", "n.slow.example."}[n%3]
			_ = c.WriteMsg(new(dns.Msg).SetQuestion(name, dns.TypeA))
			if n%2 == 0 {
				c.Close()
			}
		}
	}
	if b.conns.Len() == 0 {
		t.Error("the test proves nothing: nobody is connected")
	}
}

// An open question by UDP costs what an answer may take there; more than that comes by TCP.
func TestOpenQuestionsAreSmall(t *testing.T) {
	up := startUpstream(t, nil)
	d := &datagram{addr: up.addr, long: &stream{dial: nil}}
	w, err := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	const n = 50
	runtime.ReadMemStats(&before)
	for range n {
		if _, err := d.ask(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / n; each > 16<<10 {
		t.Errorf("a question takes %d bytes", each)
	}
}

// A resolver that sends more by UDP than was asked for is asked again by TCP: what the buffer cut is no answer.
func TestTooLongByUDP(t *testing.T) {
	var l net.Listener
	var p net.PacketConn
	for range 20 { // until a port is free by both
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if p, err = net.ListenPacket("udp", l.Addr().String()); err == nil {
			break
		}
		l.Close()
	}
	if p == nil {
		t.Fatal("no port is free by TCP and UDP")
	}
	var byTCP atomic.Int64
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		if _, ok := w.RemoteAddr().(*net.TCPAddr); ok {
			byTCP.Add(1)
		}
		r := new(dns.Msg).SetReply(m)
		for i := range 300 {
			r.Answer = append(r.Answer, rr(fmt.Sprintf("%s 300 IN A 203.0.114.%d", m.Question[0].Name, i%250)))
		}
		_ = w.WriteMsg(r)
	})
	for _, s := range []*dns.Server{{Listener: l, Handler: answer}, {PacketConn: p, Handler: answer}} {
		up := make(chan struct{})
		s.NotifyStartedFunc = func() { close(up) }
		go func() { _ = s.ActivateAndServe() }()
		<-up
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	b := runBox(t, Config{Upstreams: []Upstream{{Protocol: Plain, Addresses: []netip.AddrPort{netip.MustParseAddrPort(l.Addr().String())}}}}).ready(t)
	if r := b.ask(t, "tcp", "many.example.com", dns.TypeA); len(r.Answer) != 300 || byTCP.Load() != 1 {
		t.Errorf("%d records, %d questions by TCP; want 300 and 1", len(r.Answer), byTCP.Load())
	}
}
