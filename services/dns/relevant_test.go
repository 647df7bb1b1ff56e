package dns

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// Records of an upstream's answer that are about another question go no further.
func TestOnlyWhatWasAsked(t *testing.T) {
	const (
		soa = "example.com. 60 IN SOA ns.example.com. h.example.com. 1 2 3 4 60"
		sig = " 300 IN RRSIG %s 13 3 300 20300101000000 20250101000000 1 example.com. AAAA"
	)
	signed := func(owner, covers string) string { return owner + strings.Replace(sig, "%s", covers, 1) }
	chain := func(aliases int) []string {
		list := []string{"www.example.com. 300 IN CNAME n1.example.net."}
		for i := 1; i < aliases; i++ {
			list = append(list, fmt.Sprintf("n%d.example.net. 300 IN CNAME n%d.example.net.", i, i+1))
		}
		return append(list, fmt.Sprintf("n%d.example.net. 300 IN A 203.0.114.1", aliases))
	}
	for _, c := range []struct {
		name         string
		qtype        uint16
		answer, ns   []string
		want, wantNS []string
		rcode        int // -1 is an answer of ours, that there is none
		ede          int
	}{
		{name: "what was asked for", answer: []string{"WWW.example.com. 300 IN A 203.0.114.1"}, want: []string{"WWW.example.com. 300 IN A 203.0.114.1"}},
		{name: "a neighbour besides",
			answer: []string{"www.example.com. 300 IN A 203.0.114.1", "bank.example. 300 IN A 203.0.114.66"}, want: []string{"www.example.com. 300 IN A 203.0.114.1"}},
		{name: "another type besides",
			answer: []string{"www.example.com. 300 IN A 203.0.114.1", "www.example.com. 300 IN TXT \"x\""}, want: []string{"www.example.com. 300 IN A 203.0.114.1"}},
		{name: "aliases in any order",
			answer: []string{"c.example.net. 300 IN A 203.0.114.1", "b.example.net. 300 IN CNAME C.example.net.", "www.example.com. 300 IN CNAME B.example.net."},
			want:   []string{"c.example.net. 300 IN A 203.0.114.1", "b.example.net. 300 IN CNAME C.example.net.", "www.example.com. 300 IN CNAME B.example.net."}},
		{name: "an alias from elsewhere",
			answer: []string{"www.example.com. 300 IN A 203.0.114.1", "bank.example. 300 IN CNAME www.example.com."}, want: []string{"www.example.com. 300 IN A 203.0.114.1"}},
		{name: "two targets",
			answer: []string{"www.example.com. 300 IN CNAME b.example.net.", "www.example.com. 300 IN CNAME c.example.net.", "b.example.net. 300 IN A 203.0.114.1", "c.example.net. 300 IN A 203.0.114.66"},
			want:   []string{"www.example.com. 300 IN CNAME b.example.net.", "b.example.net. 300 IN A 203.0.114.1"}},
		{name: "in a circle", ns: []string{soa}, rcode: -1, ede: chainEDE,
			answer: []string{"www.example.com. 300 IN CNAME b.example.net.", "b.example.net. 300 IN CNAME www.example.com."}},
		{name: "a long chain", answer: chain(maxChain - 1), want: chain(maxChain - 1)},
		{name: "a chain too long", answer: chain(maxChain), rcode: -1, ede: chainEDE},
		{name: "the alias itself", qtype: dns.TypeCNAME,
			answer: []string{"www.example.com. 300 IN CNAME b.example.net.", "b.example.net. 300 IN CNAME c.example.net."}, want: []string{"www.example.com. 300 IN CNAME b.example.net."}},
		{name: "a domain's alias, signed",
			answer: []string{"example.com. 300 IN DNAME example.net.", signed("example.com.", "DNAME"), "www.example.com. 300 IN CNAME www.example.net.",
				"www.example.net. 300 IN A 203.0.114.1", signed("www.example.net.", "A"), signed("bank.example.", "A"), "bank.example. 300 IN DNAME example.net."},
			want: []string{"example.com. 300 IN DNAME example.net.", signed("example.com.", "DNAME"), "www.example.com. 300 IN CNAME www.example.net.",
				"www.example.net. 300 IN A 203.0.114.1", signed("www.example.net.", "A")}},
		{name: "an address in the authority section", answer: []string{"www.example.com. 300 IN A 203.0.114.1"},
			ns:   []string{"www.example.com. 300 IN A 192.168.1.1", "example.com. 300 IN NS ns.example.com.", "bank.example. 300 IN NS ns.evil.example."},
			want: []string{"www.example.com. 300 IN A 203.0.114.1"}, wantNS: []string{"example.com. 300 IN NS ns.example.com."}},
		{name: "no such name, proven", rcode: dns.RcodeNameError,
			ns:     []string{soa, signed("example.com.", "SOA"), "a.example.com. 60 IN NSEC z.example.com. A RRSIG NSEC", signed("a.example.com.", "NSEC"), "a.example.com. 60 IN AAAA fd00::1"},
			wantNS: []string{soa, signed("example.com.", "SOA"), "a.example.com. 60 IN NSEC z.example.com. A RRSIG NSEC", signed("a.example.com.", "NSEC")}},
		{name: "no such name, says somebody else", rcode: dns.RcodeNameError, ns: []string{"bank.example. 60 IN SOA a. b. 1 2 3 4 60"}},
		{name: "an answer to another question", answer: []string{"bank.example. 300 IN A 203.0.114.66"}, rcode: -1},
	} {
		if c.qtype == 0 {
			c.qtype = dns.TypeA
		}
		q := new(dns.Msg).SetQuestion("www.Example.com.", c.qtype)
		q.SetEdns0(1232, true)
		s := boxOf(t, func(m *dns.Msg) *dns.Msg {
			r := new(dns.Msg).SetReply(m)
			r.Rcode = max(0, c.rcode)
			for _, x := range c.answer {
				r.Answer = append(r.Answer, rr(x))
			}
			for _, x := range c.ns {
				r.Ns = append(r.Ns, rr(x))
			}
			r.Extra = append(r.Extra, rr("ns.example.com. 300 IN A 192.168.1.1"))
			return r
		})
		r, err := s.Exchange(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if c.rcode < 0 {
			c.rcode = dns.RcodeServerFailure
		}
		text := func(list []dns.RR) (out []string) {
			for _, x := range list {
				out = append(out, x.String())
			}
			return out
		}
		parsed := func(list []string) (out []string) {
			for _, x := range list {
				out = append(out, rr(x).String())
			}
			return out
		}
		if d := cmp.Diff(parsed(c.want), text(r.Answer)); d != "" {
			t.Errorf("%s: answer (-want +got):\n%s", c.name, d)
		}
		if d := cmp.Diff(parsed(c.wantNS), text(r.Ns)); d != "" {
			t.Errorf("%s: authority (-want +got):\n%s", c.name, d)
		}
		if r.Rcode != c.rcode || len(r.Extra) != 1 || edeOf(r) != c.ede {
			t.Errorf("%s: %s with %d additional records, reason %d", c.name, dns.RcodeToString[r.Rcode], len(r.Extra), edeOf(r))
		}
	}
}

// Whoever asks for HTTPS gets what an alias leads to as well (RFC 9460, section 4.2), and nothing besides.
func TestAliasModeHelps(t *testing.T) {
	const alias, target = "www.example.com. 300 IN HTTPS 0 cdn.example.net.", "cdn.example.net. 300 IN HTTPS 1 . alpn=h2"
	long := strings.Repeat("x", 200)
	for _, c := range []struct {
		name          string
		answer, extra []string
		want          []string // additional
	}{
		{"a target and its addresses", []string{alias},
			[]string{target, "cdn.example.net. 300 IN A 203.0.114.7", "cdn.example.net. 300 IN AAAA 2001:db8:1::7"},
			[]string{target, "cdn.example.net. 300 IN A 203.0.114.7", "cdn.example.net. 300 IN AAAA 2001:db8:1::7"}},
		{"in the answer section", []string{alias, target}, nil, []string{target}},
		{"a host without such a record", []string{alias}, []string{"CDN.example.net. 300 IN A 203.0.114.7"}, []string{"CDN.example.net. 300 IN A 203.0.114.7"}},
		{"after an alias of the old kind", []string{"www.example.com. 300 IN CNAME w.example.net.", "w.example.net. 300 IN HTTPS 0 cdn.example.net."}, []string{target}, []string{target}},
		{"two aliases", []string{alias}, []string{"cdn.example.net. 300 IN HTTPS 0 b.example.net.", "b.example.net. 300 IN HTTPS 1 c.example.net.", "c.example.net. 300 IN A 203.0.114.7"},
			[]string{"cdn.example.net. 300 IN HTTPS 0 b.example.net.", "b.example.net. 300 IN HTTPS 1 c.example.net.", "c.example.net. 300 IN A 203.0.114.7"}},
		{"a circle", []string{alias}, []string{"cdn.example.net. 300 IN HTTPS 0 www.example.com."}, []string{"cdn.example.net. 300 IN HTTPS 0 www.example.com."}},
		{"a service elsewhere", []string{"www.example.com. 300 IN HTTPS 1 pool.example.net."}, []string{"pool.example.net. 300 IN A 203.0.114.7"}, []string{"pool.example.net. 300 IN A 203.0.114.7"}},
		{"somebody else", []string{alias}, []string{"bank.example. 300 IN A 203.0.114.66", "bank.example. 300 IN HTTPS 1 .", "cdn.example.net. 300 IN TXT \"x\"", "cdn.example.net. 300 CH A 203.0.114.7"}, nil},
		{"an address inside", []string{alias}, []string{target, "cdn.example.net. 300 IN A 192.168.1.1", "cdn.example.net. 300 IN AAAA fd00::1"}, []string{target}},
		{"a hint inside", []string{alias}, []string{"cdn.example.net. 300 IN HTTPS 1 . ipv4hint=192.168.1.1"}, nil},
		{"no answer", nil, []string{"www.example.com. 300 IN A 203.0.114.66", target}, nil},
		{"there is no service", []string{"www.example.com. 300 IN HTTPS 0 ."}, []string{"www.example.com. 300 IN A 203.0.114.66"}, nil},
		{"too much", []string{alias}, []string{target, "cdn.example.net. 300 IN HTTPS 2 . key65000=" + long, "cdn.example.net. 300 IN HTTPS 3 . key65000=" + long}, nil},
	} {
		s := boxOf(t, func(m *dns.Msg) *dns.Msg {
			r := new(dns.Msg).SetReply(m)
			for _, x := range c.answer {
				r.Answer = append(r.Answer, rr(x))
			}
			if c.answer == nil {
				r.Ns = append(r.Ns, rr("example.com. 60 IN SOA ns.example.com. h.example.com. 1 2 3 4 60"))
			}
			for _, x := range c.extra {
				r.Extra = append(r.Extra, rr(x))
			}
			return r
		})
		q := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeHTTPS)
		for range 2 { // the second from the cache
			r, err := s.Exchange(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			var got, want []string
			for _, x := range r.Extra {
				got = append(got, x.String())
			}
			for _, x := range c.want {
				want = append(want, rr(x).String())
			}
			if d := cmp.Diff(want, got); d != "" || r.Rcode != dns.RcodeSuccess {
				t.Errorf("%s: %s, additional (-want +got):\n%s", c.name, dns.RcodeToString[r.Rcode], d)
			}
		}
	}
}

// That an answer was validated is believed from whoever proved who they are.
func TestOnlyEncryptedUpstreamsAuthenticate(t *testing.T) {
	auth := newCA(t)
	cert := auth.issue(t, "dns.example")
	good, clear := startUpstream(t, &cert), startUpstream(t, nil)
	for _, up := range []*fakeUpstream{good, clear} {
		up.set(func(q dns.Question, r *dns.Msg) {
			r.AuthenticatedData = true
			fixed(300, "203.0.114.1")(q, r)
			if strings.HasPrefix(q.Name, "part.") {
				r.Answer = append(r.Answer, rr(q.Name+" 300 IN A 10.0.0.1"))
			}
		})
	}
	for _, c := range []struct {
		up   Upstream
		name string
		want bool
	}{
		{Upstream{Name: "dns.example", Addresses: []netip.AddrPort{good.addr}}, "www.example.com.", true},
		{Upstream{Name: "dns.example", Addresses: []netip.AddrPort{good.addr}}, "part.example.com.", false},
		{plainUpstream(clear), "www.example.com.", false},
		{Upstream{Protocol: TCP, Addresses: []netip.AddrPort{clear.addr}}, "www.example.com.", false},
	} {
		b := runBox(t, Config{Upstreams: []Upstream{c.up}, Roots: auth.pool}).ready(t)
		r := b.ask(t, "udp", c.name, dns.TypeA, func(m *dns.Msg) { m.AuthenticatedData = true })
		if firstA(r) != "203.0.114.1" || r.AuthenticatedData != c.want {
			t.Errorf("%s by %s: %v; want AD %v", c.name, c.up.Protocol, r, c.want)
		}
	}
}
