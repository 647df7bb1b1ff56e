package dns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

// scripted is an asker without a network.
type scripted struct {
	answer func(q *dns.Msg) *dns.Msg
}

func (s scripted) ask(_ context.Context, b []byte) ([]byte, error) {
	var m dns.Msg
	if err := m.Unpack(b); err != nil {
		return nil, err
	}
	r := s.answer(&m)
	if r == nil {
		return nil, errors.New("silence")
	}
	return r.Pack()
}
func (scripted) close() {}

// boxOf is a service, not running, whose only upstream is answer.
func boxOf(t testing.TB, answer func(q *dns.Msg) *dns.Msg) *Service {
	s, err := New(Config{Members: newHouse(smiths()), Open: noSockets, Upstreams: []Upstream{{Protocol: Plain, Addresses: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}}}})
	if err != nil {
		t.Fatal(err)
	}
	s.load(smiths())
	s.h.forward.own[0].asker = scripted{answer}
	return s
}

func positive(q *dns.Msg) *dns.Msg {
	r := new(dns.Msg).SetReply(q)
	r.Answer = []dns.RR{rr(q.Question[0].Name + " 300 IN A 203.0.114.1")}
	if q.Question[0].Qtype != dns.TypeA {
		r.Answer = nil
		r.Ns = []dns.RR{rr(". 60 IN SOA a. b. 1 2 3 4 60")}
	}
	return r
}

// What a stranger may send, and what comes back.
func TestProtocolEdges(t *testing.T) {
	s := boxOf(t, positive)
	pack := func(f func(m *dns.Msg)) []byte {
		m := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA)
		m.Id = 0x1234
		f(m)
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	raw := func(b []byte, f func(b []byte)) []byte { b = bytes.Clone(b); f(b); return b }
	good := pack(func(*dns.Msg) {})
	for _, c := range []struct {
		name string
		in   []byte
		want int // -1 is silence
	}{
		{"fine", good, dns.RcodeSuccess},
		{"empty", nil, -1},
		{"half a header", good[:7], -1},
		{"an answer", pack(func(m *dns.Msg) { m.Response = true }), -1},
		{"header alone", good[:12], dns.RcodeFormatError},
		{"cut name", good[:20], dns.RcodeFormatError},
		{"cut type", good[:len(good)-1], dns.RcodeFormatError},
		{"no question", pack(func(m *dns.Msg) { m.Question = nil }), dns.RcodeFormatError},
		{"two questions", pack(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), dns.RcodeFormatError},
		{"compressed question", raw(good, func(b []byte) { b[12], b[13] = 0xC0, 12 }), dns.RcodeFormatError},
		{"NOTIFY", pack(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }), dns.RcodeNotImplemented},
		{"UPDATE", pack(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), dns.RcodeNotImplemented},
		{"promised records missing", raw(good, func(b []byte) { b[11] = 1 }), dns.RcodeFormatError},
		{"two OPT", pack(func(m *dns.Msg) { m.SetEdns0(1232, false); m.Extra = append(m.Extra, m.Extra[0]) }), dns.RcodeFormatError},
		{"EDNS version 1", pack(func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }), dns.RcodeBadVers},
		{"version.bind", pack(func(m *dns.Msg) {
			m.Question[0] = dns.Question{Name: "version.bind.", Qtype: dns.TypeTXT, Qclass: dns.ClassCHAOS}
		}), dns.RcodeRefused},
		{"transfer", pack(func(m *dns.Msg) {
			m.Question[0] = dns.Question{Name: "smith.home.arpa.", Qtype: dns.TypeAXFR, Qclass: dns.ClassINET}
		}), dns.RcodeRefused},
		{"no recursion wanted", pack(func(m *dns.Msg) { m.RecursionDesired = false; m.Question[0].Name = "other.example.com." }), dns.RcodeRefused},
		{"a name with a zero byte", raw(good, func(b []byte) { b[13] = 0 }), dns.RcodeSuccess},
	} {
		out := s.h.answer(t.Context(), c.in, netip.Addr{}, false, nil)
		if c.want < 0 {
			if len(out) != 0 {
				t.Errorf("%s: answered %x, want silence", c.name, out)
			}
			continue
		}
		var m dns.Msg
		if err := m.Unpack(out); err != nil || m.Rcode != c.want || m.Id != 0x1234 || !m.Response {
			t.Errorf("%s: %v, %v; want %s", c.name, &m, err, dns.RcodeToString[c.want])
		}
	}
}

func TestAnyIsMinimal(t *testing.T) {
	s := boxOf(t, func(*dns.Msg) *dns.Msg { t.Error("ANY was forwarded"); return nil })
	r, err := s.Exchange(t.Context(), new(dns.Msg).SetQuestion("example.com.", dns.TypeANY))
	if err != nil || len(r.Answer) != 1 || r.Answer[0].Header().Rrtype != dns.TypeHINFO {
		t.Errorf("ANY: %v, %v", r, err)
	}
}

func TestAnswersThatDoNotFitAreNotBelieved(t *testing.T) {
	for name, answer := range map[string]func(q *dns.Msg) *dns.Msg{
		"another name":    func(q *dns.Msg) *dns.Msg { r := positive(q); r.Question[0].Name = "evil.example."; return r },
		"no answer bit":   func(q *dns.Msg) *dns.Msg { r := positive(q); r.Response = false; return r },
		"still truncated": func(q *dns.Msg) *dns.Msg { r := positive(q); r.Truncated = true; return r },
		"silence":         func(*dns.Msg) *dns.Msg { return nil },
	} {
		r, err := boxOf(t, answer).Exchange(t.Context(), new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA))
		if err != nil || r.Rcode != dns.RcodeServerFailure || len(r.Answer) != 0 {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
}

func TestLifetimes(t *testing.T) {
	soa := "example.com. 7200 IN SOA a. b. 1 2 3 4 %d"
	for _, c := range []struct {
		name string
		make func(r *dns.Msg)
		ttl  uint32
	}{
		{"the shortest counts", func(r *dns.Msg) {
			r.Answer = []dns.RR{rr("www.example.com. 300 IN CNAME b.example.com."), rr("b.example.com. 60 IN A 203.0.114.1")}
		}, 60},
		{"capped at a day", func(r *dns.Msg) { r.Answer = []dns.RR{rr("www.example.com. 999999 IN A 203.0.114.1")} }, maxTTL},
		{"negative by the SOA", func(r *dns.Msg) { r.Rcode = dns.RcodeNameError; r.Ns = []dns.RR{rr(fmt.Sprintf(soa, 90))} }, 90},
		{"negative capped at an hour", func(r *dns.Msg) { r.Ns = []dns.RR{rr(fmt.Sprintf(soa, 7200))} }, maxNegative},
		{"negative without SOA", func(r *dns.Msg) { r.Rcode = dns.RcodeNameError }, 0},
		{"nothing of the type behind a CNAME", func(r *dns.Msg) {
			r.Answer = []dns.RR{rr("www.example.com. 300 IN CNAME b.example.com.")}
			r.Ns = []dns.RR{rr(fmt.Sprintf(soa, 30))}
		}, 30},
		{"not to be kept", func(r *dns.Msg) { r.Answer = []dns.RR{rr("www.example.com. 0 IN A 203.0.114.1")} }, 0},
	} {
		s := boxOf(t, nil)
		q := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA)
		r := new(dns.Msg).SetReply(q)
		c.make(r)
		a, err := s.h.forward.prepare(r, q.Question[0])
		if err != nil || a.ttl != c.ttl {
			t.Errorf("%s: %d seconds, %v; want %d", c.name, a.ttl, err, c.ttl)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(64<<10, nil)
	for i := range 10000 {
		c.put(fmt.Appendf(nil, "name%d", i), &answer{wire: make([]byte, 100), ttl: 60}, 0)
	}
	if n, b := c.size(); b > 64<<10 || n < 100 {
		t.Errorf("%d answers take %d bytes", n, b)
	}
	c.put([]byte("huge"), &answer{wire: make([]byte, 60000), ttl: 60}, 0)
	if _, f := c.get([]byte("huge"), 0); f != absent {
		t.Error("one answer may take the whole cache")
	}
	// A remembered outage does not displace what can still be served stale.
	c.put([]byte("k"), &answer{wire: make([]byte, 20), ttl: 10}, 0)
	c.put([]byte("k"), &answer{wire: make([]byte, 20), ttl: failureTTL, failure: true}, 60)
	if a, f := c.get([]byte("k"), 60); f != stale || a.failure {
		t.Errorf("after an outage: %v", f)
	}
}

func TestPopularAnswersAreRefreshed(t *testing.T) {
	a := &answer{wire: make([]byte, 12), ttl: 100}
	a.hits.Store(5)
	for age, want := range map[int64]freshness{0: fresh, 89: fresh, 95: ageing, 100: stale, 100 + staleKeep + 1: absent} {
		if got := a.at(age); got != want {
			t.Errorf("after %d seconds %d, want %d", age, got, want)
		}
	}
}

func FuzzQuery(f *testing.F) {
	for _, m := range []*dns.Msg{
		new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA), new(dns.Msg).SetQuestion("kitchen.smith.home.arpa.", dns.TypeA),
		new(dns.Msg).SetQuestion(".", dns.TypeNS), new(dns.Msg).SetQuestion("x.local.", dns.TypeANY), new(dns.Msg).SetEdns0(4096, true),
		{Question: []dns.Question{{Name: `a\.b\000.example.`, Qtype: 65, Qclass: 1}}, MsgHdr: dns.MsgHdr{RecursionDesired: true}},
	} {
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, true)
	}
	s := boxOf(f, positive)
	f.Fuzz(func(t *testing.T, b []byte, stream bool) {
		for range 2 { // fresh, then from the cache
			out := s.h.answer(t.Context(), b, netip.Addr{}, stream, nil)
			if len(out) == 0 {
				continue
			}
			if !stream && len(out) > maxUDP {
				t.Errorf("%d bytes by UDP", len(out))
			}
			var m dns.Msg
			if err := m.Unpack(out); err != nil || !m.Response || out[0] != b[0] || out[1] != b[1] {
				t.Errorf("%x got %x: %v", b, out, err)
			}
		}
	})
}

// FuzzUpstream gives arbitrary bytes as an upstream's answer.
func FuzzUpstream(f *testing.F) {
	q := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA)
	for _, r := range []*dns.Msg{positive(q), new(dns.Msg).SetReply(q)} {
		b, err := r.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	s := boxOf(f, nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		var m dns.Msg
		if m.Unpack(b) != nil {
			return
		}
		a, err := s.h.forward.prepare(&m, q.Question[0])
		if err != nil {
			return
		}
		w, _ := q.Pack()
		pq, _, _ := parseQuery(w)
		var r dns.Msg
		if err := r.Unpack(a.appendTo(nil, &pq, a.stored+1, false, dns.MaxMsgSize)); err != nil {
			t.Errorf("%x became unreadable: %v", b, err)
		}
	})
}

func BenchmarkCached(b *testing.B) {
	s := boxOf(b, positive)
	w, err := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA).Pack()
	if err != nil {
		b.Fatal(err)
	}
	s.h.answer(b.Context(), w, netip.Addr{}, false, nil)
	b.ReportAllocs()
	key, out := make([]byte, 0, 300), make([]byte, 0, maxUDP)
	for b.Loop() {
		q, rc, err := parseQuery(w)
		if _, done := s.h.quick(&q, q.appendKey(key[:0]), out[:0], netip.Addr{}, rc, err, false); !done {
			b.Fatal("not cached")
		}
	}
}

// BenchmarkCacheMemory measures entryCost: bytes of heap per answer besides its own bytes.
func BenchmarkCacheMemory(b *testing.B) {
	for b.Loop() {
		c := newCache(1<<30, nil)
		for i := range 10000 {
			c.put(fmt.Appendf(nil, "name%06d", i), &answer{wire: make([]byte, 100), offsets: make([]uint16, 2), ttl: 60}, 0)
		}
	}
	b.ReportAllocs()
}

func BenchmarkLocal(b *testing.B) {
	s := boxOf(b, nil)
	w, err := new(dns.Msg).SetQuestion("kitchen.smith.home.arpa.", dns.TypeA).Pack()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.h.answer(b.Context(), w, netip.Addr{}, false, nil)
	}
}
