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
)

func TestShares(t *testing.T) {
	a := netip.MustParseAddr
	s := newShares(64) // 8 for an address, 32 for a network
	for i := range 100 {
		if got := s.take(a("192.168.1.7")); got != (i < 8) {
			t.Errorf("place %d of one address: %v", i, got)
		}
	}
	for i := range 5 {
		for range 8 {
			if got := s.take(netip.AddrFrom4([4]byte{192, 168, 1, byte(10 + i)})); got != (i < 3) {
				t.Errorf("a place of neighbour %d: %v", i, got)
			}
		}
	}
	for _, other := range []string{"10.7.8.10", "fd12:3456:789a::10", "::ffff:10.7.9.1", "fe80::1%eth0"} {
		if !s.take(a(other)) {
			t.Errorf("a full network leaves nothing for %s", other)
		}
		s.give(a(other))
	}
	for range 100 {
		if !s.take(netip.Addr{}) {
			t.Error("the box itself has no place")
		}
	}
	for range 8 {
		s.give(a("::ffff:192.168.1.7"))
		for i := range 3 {
			s.give(netip.AddrFrom4([4]byte{192, 168, 1, byte(10 + i)}))
		}
	}
	if len(s.taken) != 0 {
		t.Errorf("everything was given back, and %v is left", s.taken)
	}
}

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

// One host asks for more names that nobody answers for than the box can hold; another asks for what there is.
func TestOneHostDoesNotTakeAllQuestions(t *testing.T) {
	for name, flood := range map[string]func(b *box){
		"many names": func(b *box) {
			hostAt(t, b, "127.0.0.66").flood(2*maxCalls, func(i int) string { return fmt.Sprintf("n%d.slow.example.", i) })
		},
		"one name": func(b *box) {
			hostAt(t, b, "127.0.0.66").flood(2*maxWaiting, func(int) string { return "n.slow.example." })
		},
		"from many addresses": func(b *box) {
			for i := range 16 {
				hostAt(t, b, fmt.Sprintf("127.0.9.%d", 1+i)).flood(maxCalls/8, func(n int) string { return fmt.Sprintf("n%d-%d.slow.example.", i, n) })
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := startUpstream(t, nil)
			deadNames(up)
			b := runBox(t, Config{Upstreams: []Upstream{plainUpstream(up)}}).ready(t)
			flood(b)
			other := hostAt(t, b, "127.0.0.67")
			for i := range 20 {
				if got := other.ask(fmt.Sprintf("www%d.example.com.", i)); got != "203.0.114.7" {
					t.Fatalf("question %d of another host: %s", i, got)
				}
			}
			if b.Stats().Dropped == 0 {
				t.Error("the test proves nothing: everything had its place")
			}
		})
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
