package dns

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth.alt/services"

	"github.com/miekg/dns"
)

// house is a Members whose membership a test changes.
type house struct {
	mu      sync.Mutex
	m       *services.Membership
	changed chan struct{}
}

func (h *house) Watch() (*services.Membership, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.m, h.changed
}

func (h *house) set(m *services.Membership) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.m = m
	close(h.changed)
	h.changed = make(chan struct{})
}

func newHouse(m *services.Membership) *house { return &house{m: m, changed: make(chan struct{})} }

// smiths is a household with everything a zone can hold.
func smiths() *services.Membership {
	a := netip.MustParseAddr
	self := services.PeerID{1}
	return &services.Membership{
		Revision: 7, Self: self,
		Household: &services.Household{Name: "Smith", Label: "smith", Domain: "smith.home.arpa", Net4: netip.MustParsePrefix("10.7.8.0/24"), Net6: netip.MustParsePrefix("fd12:3456:789a::/48")},
		Boxes: []services.Box{
			{ID: services.PeerID{2}, Label: "attic", State: services.StateActive, Addr4: a("10.7.8.2"), Addr6: a("fd12:3456:789a::2")},
			{ID: self, Label: "kitchen", State: services.StateActive, Addr4: a("10.7.8.1"), Addr6: a("fd12:3456:789a::1")},
		},
		People: []services.Person{{ID: "ben", Name: "Ben"}, {ID: "jo", Name: "Jörg Ü."}},
		Devices: []services.Device{
			{ID: "d1", Person: "ben", Name: "Ben's phone", State: services.StateActive, Addr4: a("10.7.8.10"), Addr6: a("fd12:3456:789a::10")},
			{ID: "d2", Person: "ben", Name: "Laptop", State: services.StateActive, Addr4: a("10.7.8.11")},
			{ID: "d3", Person: "jo", Name: "laptop", State: services.StateActive, Addr4: a("10.7.8.12")},
			{ID: "d4", Person: "jo", Name: "Attic", State: services.StateActive, Addr4: a("10.7.8.13")},
			{ID: "d5", Person: "jo", Name: "Neu", State: services.StatePending, Addr4: a("10.7.8.14")},
			{ID: "d6", Person: "jo", Name: "手机", State: services.StateActive, Addr4: a("10.7.8.15")},
			{ID: "d7", Person: "jo", Name: "!!", State: services.StateActive, Addr4: a("10.7.8.16")},
		},
	}
}

// fakeUpstream is a resolver whose answers a test decides.
type fakeUpstream struct {
	addr   netip.AddrPort
	asked  atomic.Int64
	conns  atomic.Int64
	silent atomic.Bool
	hangUp atomic.Bool // once
	mu     sync.Mutex
	answer func(q dns.Question, r *dns.Msg)
	quiet  func(q dns.Question) bool // no answer to these; nil is to none
	last   *dns.Msg
}

func (f *fakeUpstream) ServeDNS(w dns.ResponseWriter, m *dns.Msg) {
	f.asked.Add(1)
	f.mu.Lock()
	quiet := f.quiet != nil && f.quiet(m.Question[0])
	f.mu.Unlock()
	if quiet || f.silent.Load() {
		return
	}
	if f.hangUp.CompareAndSwap(true, false) {
		_ = w.Close()
		return
	}
	r := new(dns.Msg)
	r.SetReply(m)
	f.mu.Lock()
	answer := f.answer
	f.last = m.Copy()
	f.mu.Unlock()
	answer(m.Question[0], r)
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		r.Truncate(dns.MinMsgSize)
	}
	_ = w.WriteMsg(r)
}

func (f *fakeUpstream) set(answer func(q dns.Question, r *dns.Msg)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// rr parses a record of a test.
func rr(s string) dns.RR {
	r, err := dns.NewRR(s)
	if err != nil {
		panic(err)
	}
	return r
}

// fixed answers every A question with one address.
func fixed(ttl int, a string) func(dns.Question, *dns.Msg) {
	return func(q dns.Question, r *dns.Msg) {
		if q.Qtype == dns.TypeA {
			r.Answer = []dns.RR{rr(fmt.Sprintf("%s %d IN A %s", q.Name, ttl, a))}
			return
		}
		r.Ns = []dns.RR{rr("example.com. 60 IN SOA ns.example.com. h.example.com. 1 2 3 4 60")}
	}
}

type countingListener struct {
	net.Listener
	n *atomic.Int64
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return c, err
}

// ca is an authority for tests.
type ca struct {
	pool *x509.CertPool
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t testing.TB) *ca {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c := &ca{pool: x509.NewCertPool(), key: key}
	c.cert, _ = x509.ParseCertificate(der)
	c.pool.AddCert(c.cert)
	return c
}

func (c *ca) issue(t testing.TB, name string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, &key.PublicKey, c.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// startUpstream runs a resolver: by TLS when cert is given, else by UDP and TCP on one port.
func startUpstream(t testing.TB, cert *tls.Certificate) *fakeUpstream {
	t.Helper()
	f := &fakeUpstream{answer: fixed(300, "203.0.114.1")}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr = l.Addr().(*net.TCPAddr).AddrPort()
	l = countingListener{l, &f.conns}
	serve := func(s *dns.Server) {
		up := make(chan struct{})
		s.NotifyStartedFunc = func() { close(up) }
		go func() { _ = s.ActivateAndServe() }()
		<-up
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	if cert != nil {
		serve(&dns.Server{Listener: tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*cert}}), Handler: f})
		return f
	}
	p, err := net.ListenPacket("udp", f.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	serve(&dns.Server{Listener: l, Handler: f})
	serve(&dns.Server{PacketConn: p, Handler: f})
	return f
}

// box is a running service.
type box struct {
	*Service
	addr   string
	opened atomic.Int64
	ahead  atomic.Int64 // of the cache's clock, nanoseconds
}

// runBox starts a service on a loopback port and stops it with the test.
func runBox(t testing.TB, cfg Config) *box {
	t.Helper()
	b := &box{}
	if cfg.Members == nil {
		cfg.Members = newHouse(smiths())
	}
	start := time.Now()
	cfg.mono = func() time.Duration { return time.Since(start) + time.Duration(b.ahead.Load()) }
	// One port for both, taken once and kept until Run wants it; opening anew finds it again.
	var first Sockets
	for try := 0; ; try++ {
		p, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", p.LocalAddr().String())
		if err == nil {
			b.addr, first = p.LocalAddr().String(), Sockets{Packet: []net.PacketConn{p}, Stream: []net.Listener{l}}
			break
		}
		p.Close()
		if try == 50 {
			t.Fatal(err)
		}
	}
	if cfg.Open == nil {
		cfg.Open = func(context.Context, *services.Membership) (Sockets, error) {
			if b.opened.Add(1) == 1 {
				return first, nil
			}
			p, err := net.ListenPacket("udp", b.addr)
			if err != nil {
				return Sockets{}, err
			}
			l, err := net.Listen("tcp", b.addr)
			return Sockets{Packet: []net.PacketConn{p}, Stream: []net.Listener{l}}, err
		}
	} else {
		first.close()
	}
	var err error
	if b.Service, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run does not end")
		}
	})
	return b
}

// ready waits until the box answers.
func (b *box) ready(t testing.TB) *box {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !b.Health().Ready {
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %v", b.Health().Message)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return b
}

func (b *box) ask(t testing.TB, network, name string, qtype uint16, with ...func(*dns.Msg)) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), qtype)
	for _, f := range with {
		f(m)
	}
	c := dns.Client{Net: network, Timeout: 8 * time.Second, UDPSize: 4096}
	r, _, err := c.Exchange(m, b.addr)
	if err != nil {
		t.Fatalf("%s %s: %v", name, dns.Type(qtype), err)
	}
	return r
}

func plainUpstream(f *fakeUpstream) Upstream {
	return Upstream{Protocol: Plain, Addresses: []netip.AddrPort{f.addr}}
}

func firstA(r *dns.Msg) string {
	for _, x := range r.Answer {
		if a, ok := x.(*dns.A); ok {
			return a.A.String()
		}
	}
	return dns.RcodeToString[r.Rcode]
}

func withEDNS(m *dns.Msg) { m.SetEdns0(4096, false) }

// edeOf is the index of the reason that r gives; 0 is none, and -1 one that is not ours.
func edeOf(r *dns.Msg) int {
	if o := r.IsEdns0(); o != nil {
		for _, x := range o.Option {
			if e, ok := x.(*dns.EDNS0_EDE); ok {
				for i, why := range reasons {
					if i > 0 && why.code == e.InfoCode && why.text == e.ExtraText {
						return i
					}
				}
				return -1
			}
		}
	}
	return 0
}

func TestForwardAndCache(t *testing.T) {
	up := startUpstream(t, nil)
	b := runBox(t, Config{Upstreams: []Upstream{plainUpstream(up)}}).ready(t)
	r := b.ask(t, "udp", "WWW.example.com", dns.TypeA)
	if firstA(r) != "203.0.114.1" || r.Answer[0].Header().Name != "WWW.example.com." || !r.RecursionAvailable || r.Authoritative {
		t.Errorf("first answer: %v", r)
	}
	r = b.ask(t, "tcp", "www.EXAMPLE.com", dns.TypeA, withEDNS)
	if firstA(r) != "203.0.114.1" || r.Question[0].Name != "www.EXAMPLE.com." || r.IsEdns0() == nil {
		t.Errorf("second answer: %v", r)
	}
	// No such record, no such name: kept by the SOA.
	up.set(func(q dns.Question, r *dns.Msg) {
		r.Rcode = dns.RcodeNameError
		r.Ns = []dns.RR{rr("example.com. 900 IN SOA ns.example.com. h.example.com. 1 2 3 4 120")}
	})
	for range 3 {
		if r = b.ask(t, "udp", "nope.example.com", dns.TypeA); r.Rcode != dns.RcodeNameError || len(r.Ns) != 1 || r.Ns[0].Header().Ttl > 120 {
			t.Errorf("no such name: %v", r)
		}
	}
	if n := up.asked.Load(); n != 2 {
		t.Errorf("the upstream was asked %d times, want 2", n)
	}
	if s := b.Stats(); s.Cached != 3 || s.Questions != 5 || s.Entries != 2 || s.Latency == 0 {
		t.Errorf("stats %+v", s)
	}
	// DO makes another question, and the upstream sees the bit.
	b.ask(t, "udp", "www.example.com", dns.TypeA, func(m *dns.Msg) { m.SetEdns0(1232, true); m.CheckingDisabled = true })
	up.mu.Lock()
	if o := up.last.IsEdns0(); o == nil || !o.Do() || o.UDPSize() != maxUDP || !up.last.CheckingDisabled {
		t.Errorf("DO and CD did not pass: %v", up.last)
	}
	up.mu.Unlock()
	if h := b.Health(); !h.OK || !strings.HasPrefix(h.Message.String(), "Names are answered, new ones within ") {
		t.Errorf("health %+v", h)
	}
}

func TestLongAnswersAndTCP(t *testing.T) {
	up := startUpstream(t, nil)
	up.set(func(q dns.Question, r *dns.Msg) {
		for i := range 60 {
			r.Answer = append(r.Answer, rr(fmt.Sprintf("%s 300 IN TXT %q", q.Name, strings.Repeat(string(rune('a'+i%26)), 60))))
		}
	})
	b := runBox(t, Config{Upstreams: []Upstream{plainUpstream(up)}}).ready(t)
	if r := b.ask(t, "udp", "long.example.com", dns.TypeTXT, withEDNS); !r.Truncated || len(r.Answer) != 0 {
		t.Errorf("by UDP: truncated %v, %d records", r.Truncated, len(r.Answer))
	}
	if r := b.ask(t, "tcp", "long.example.com", dns.TypeTXT); r.Truncated || len(r.Answer) != 60 {
		t.Errorf("by TCP: truncated %v, %d records", r.Truncated, len(r.Answer))
	}
	if up.conns.Load() != 1 {
		t.Errorf("%d TCP connections upstream, want 1", up.conns.Load())
	}
}

func TestTLSIsStrict(t *testing.T) {
	auth, other := newCA(t), newCA(t)
	good, wrongName, wrongCA := auth.issue(t, "dns.example"), auth.issue(t, "evil.example"), other.issue(t, "dns.example")
	for _, c := range []struct {
		name string
		cert tls.Certificate
		now  func() time.Time
		ok   bool
	}{
		{"right", good, nil, true},
		{"another name", wrongName, nil, false},
		{"another authority", wrongCA, nil, false},
		{"expired by the known time", good, func() time.Time { return time.Now().Add(48 * time.Hour) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			up := startUpstream(t, &c.cert)
			b := runBox(t, Config{Upstreams: []Upstream{{Name: "dns.example", Addresses: []netip.AddrPort{up.addr}}}, Roots: auth.pool, Now: c.now}).ready(t)
			var wg sync.WaitGroup
			for i := range 50 {
				wg.Go(func() {
					r, err := b.Exchange(t.Context(), new(dns.Msg).SetQuestion(fmt.Sprintf("n%d.example.com.", i), dns.TypeA))
					if err != nil || (firstA(r) == "203.0.114.1") != c.ok {
						t.Errorf("answer %v, %v; want success %v", r, err, c.ok)
					}
				})
			}
			wg.Wait()
			if c.ok && (up.conns.Load() != 1 || up.asked.Load() != 50) {
				t.Errorf("%d connections for %d questions, want 1 for 50", up.conns.Load(), up.asked.Load())
			}
			if !c.ok && up.asked.Load() != 0 {
				t.Error("a question left for someone who could not prove their name")
			}
			up.mu.Lock()
			defer up.mu.Unlock()
			if c.ok && up.last.Len()%padTo != 0 {
				t.Errorf("a question of %d bytes is not padded", up.last.Len())
			}
		})
	}
}

// The connection is closed by the other side between questions: nobody notices.
func TestConnectionsComeBack(t *testing.T) {
	auth := newCA(t)
	cert := auth.issue(t, "dns.example")
	up := startUpstream(t, &cert)
	b := runBox(t, Config{Upstreams: []Upstream{{Name: "dns.example", Addresses: []netip.AddrPort{up.addr}}}, Roots: auth.pool}).ready(t)
	for i := range 3 {
		if r := b.ask(t, "udp", fmt.Sprintf("n%d.example.com", i), dns.TypeA); firstA(r) != "203.0.114.1" {
			t.Errorf("question %d: %v", i, r)
		}
		s := b.h.forward.own[0].asker.(*stream)
		s.mu.Lock()
		_ = s.pipe.c.Close()
		s.mu.Unlock()
	}
	b.ask(t, "udp", "before.example.com", dns.TypeA)
	up.hangUp.Store(true) // while a question is on its way
	if r := b.ask(t, "udp", "during.example.com", dns.TypeA); firstA(r) != "203.0.114.1" {
		t.Errorf("the other side hung up: %v", r)
	}
	if up.conns.Load() != 5 {
		t.Errorf("%d connections, want 5", up.conns.Load())
	}
}

func TestFailover(t *testing.T) {
	dead, slow, good := startUpstream(t, nil), startUpstream(t, nil), startUpstream(t, nil)
	dead.set(func(q dns.Question, r *dns.Msg) { r.Rcode = dns.RcodeRefused })
	slow.silent.Store(true)
	good.set(fixed(300, "203.0.114.9"))
	b := runBox(t, Config{Upstreams: []Upstream{plainUpstream(dead), plainUpstream(slow), plainUpstream(good)}}).ready(t)
	for i := range 6 {
		if r := b.ask(t, "udp", fmt.Sprintf("n%d.example.com", i), dns.TypeA); firstA(r) != "203.0.114.9" {
			t.Errorf("question %d: %v", i, r)
		}
	}
	if n := slow.asked.Load(); n > 4 {
		t.Errorf("a dead upstream was asked %d times for six questions", n)
	}
}

// deadNames makes up silent about every name below slow.example; all others have an address.
func deadNames(up *fakeUpstream) {
	up.set(fixed(300, "203.0.114.7"))
	up.mu.Lock()
	defer up.mu.Unlock()
	up.quiet = func(q dns.Question) bool { return strings.HasSuffix(strings.ToLower(q.Name), ".slow.example.") }
}

// blocked is a list of upstreams whose port the network refuses: more of them than are asked for one question.
func blocked(t testing.TB) (list []Upstream) {
	for i := range 8 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		list = append(list, Upstream{Name: fmt.Sprintf("dns%d.example", i), Addresses: []netip.AddrPort{l.Addr().(*net.TCPAddr).AddrPort()}})
	}
	return list
}

// Only the router's resolver can be reached, and someone asks for names that nobody answers for.
func TestDeadNamesDoNotSilenceTheOnlyResolver(t *testing.T) {
	router := startUpstream(t, nil)
	deadNames(router)
	b := runBox(t, Config{Upstreams: blocked(t), SystemResolvers: func() []netip.AddrPort { return []netip.AddrPort{router.addr} }}).ready(t)
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			if r := b.ask(t, "udp", fmt.Sprintf("n%d.slow.example", i), dns.TypeA); r.Rcode != dns.RcodeServerFailure {
				t.Errorf("a dead name: %v", r)
			}
		})
	}
	wg.Wait()
	e := b.h.forward.dhcp()[0]
	if !e.resting(time.Now()) {
		t.Error("the test proves nothing: a resolver that answered nothing else does not rest")
	}
	if r := b.ask(t, "udp", "www.example.com", dns.TypeA); firstA(r) != "203.0.114.7" {
		t.Errorf("after dead names: %v", r)
	}
}

// An upstream that answers other questions meanwhile is not to blame for a name.
func TestDeadNamesAreNotTheUpstreamsFault(t *testing.T) {
	up := startUpstream(t, nil)
	deadNames(up)
	b := runBox(t, Config{Upstreams: []Upstream{plainUpstream(up)}}).ready(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { b.ask(t, "udp", fmt.Sprintf("n%d.slow.example", i), dns.TypeA) })
	}
	time.Sleep(200 * time.Millisecond)
	if r := b.ask(t, "udp", "www.example.com", dns.TypeA); firstA(r) != "203.0.114.7" {
		t.Errorf("meanwhile: %v", r)
	}
	wg.Wait()
	if e := b.h.forward.own[0]; e.resting(time.Now()) {
		t.Error("an upstream that answers is put to rest for names that nobody answers for")
	}
}

func TestServeStale(t *testing.T) {
	up := startUpstream(t, nil)
	up.set(fixed(1, "203.0.114.1"))
	b := runBox(t, Config{Upstreams: []Upstream{plainUpstream(up)}}).ready(t)
	b.ask(t, "udp", "www.example.com", dns.TypeA)
	up.set(func(q dns.Question, r *dns.Msg) { r.Rcode = dns.RcodeServerFailure })
	b.age(5)
	r := b.ask(t, "udp", "www.example.com", dns.TypeA, withEDNS)
	if firstA(r) != "203.0.114.1" || r.Answer[0].Header().Ttl != staleTTL || edeOf(r) != staleEDE {
		t.Errorf("with a broken upstream: %v", r)
	}
	asked := up.asked.Load()
	b.ask(t, "udp", "www.example.com", dns.TypeA)
	if n := up.asked.Load(); n != asked {
		t.Errorf("the broken upstream was asked again at once (%d)", n-asked)
	}
	if b.Stats().Stale != 2 {
		t.Errorf("stats %+v", b.Stats())
	}
	b.age(staleKeep)
	if r := b.ask(t, "udp", "www.example.com", dns.TypeA); r.Rcode != dns.RcodeServerFailure {
		t.Errorf("an answer of the day before yesterday: %v", r)
	}
	// The outage ends: so does the memory of it.
	up.set(fixed(300, "203.0.114.2"))
	b.age(staleRetry + 1)
	if r := b.ask(t, "udp", "www.example.com", dns.TypeA); firstA(r) != "203.0.114.2" {
		t.Errorf("after the outage: %v", r)
	}
}

// age lets seconds pass for the cache.
func (b *box) age(seconds int64) { b.ahead.Add(seconds * int64(time.Second)) }

func TestSlowUpstreamGetsAStaleAnswer(t *testing.T) {
	up := startUpstream(t, nil)
	up.set(fixed(1, "203.0.114.1"))
	b := runBox(t, Config{Upstreams: []Upstream{plainUpstream(up)}}).ready(t)
	b.ask(t, "udp", "www.example.com", dns.TypeA)
	up.silent.Store(true)
	b.age(5)
	if r := b.ask(t, "udp", "www.example.com", dns.TypeA); firstA(r) != "203.0.114.1" {
		t.Errorf("with a silent upstream: %v", r)
	}
}

func TestCoalescing(t *testing.T) {
	up := startUpstream(t, nil)
	gate := make(chan struct{})
	up.set(func(q dns.Question, r *dns.Msg) { <-gate; fixed(300, "203.0.114.1")(q, r) })
	b := runBox(t, Config{Upstreams: []Upstream{{Protocol: TCP, Addresses: []netip.AddrPort{up.addr}}}}).ready(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if r := b.ask(t, "udp", "www.example.com", dns.TypeA); firstA(r) != "203.0.114.1" {
					t.Errorf("answer %v", r)
				}
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	close(gate)
	wg.Wait()
	if n := up.asked.Load(); n != 1 {
		t.Errorf("the upstream was asked %d times, want once", n)
	}
}

// Eight clients, UDP and TCP, while the house changes: run with -race.
func TestManyClients(t *testing.T) {
	up := startUpstream(t, nil)
	up.set(fixed(1, "203.0.114.1"))
	h := newHouse(smiths())
	b := runBox(t, Config{Members: h, Upstreams: []Upstream{plainUpstream(up)}, CacheBytes: 64 << 10}).ready(t)
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			network := []string{"udp", "tcp"}[c%2]
			for i := range 40 {
				if r := b.ask(t, network, fmt.Sprintf("n%d.example.com", i%20), dns.TypeA); firstA(r) != "203.0.114.1" {
					t.Errorf("answer %v", r)
				}
				if r := b.ask(t, network, "kitchen.smith.home.arpa", dns.TypeA); firstA(r) != "10.7.8.1" {
					t.Errorf("answer %v", r)
				}
				_, _ = b.Health(), b.Stats()
			}
		})
	}
	wg.Go(func() {
		for i := range 20 {
			m := smiths()
			m.Revision += uint64(i)
			h.set(m)
			time.Sleep(10 * time.Millisecond)
		}
	})
	wg.Wait()
}

func TestNothingInsideFromOutside(t *testing.T) {
	up := startUpstream(t, nil)
	// A house with a global prefix, where the box is at ::1.
	prefix := netip.MustParsePrefix("2a00:1234:5678:9a00::/64")
	home := func(a netip.Addr) bool { return prefix.Contains(a) && a != prefix.Addr().Next() }
	// What an allowed domain may not name either: the asker itself, a link, in any dress.
	never := []string{
		"A 127.0.0.1", "A 169.254.169.254", "A 0.0.0.0", "AAAA ::1", "AAAA ::", "AAAA fe80::1", "AAAA ff02::1", "AAAA 64:ff9b::7f00:1",
		"HTTPS 1 . ipv4hint=127.0.0.1",
	}
	for _, c := range []struct {
		record string
		kept   bool
	}{
		{"AAAA 64:ff9b::7f00:1", false}, {"HTTPS 1 . ipv4hint=127.0.0.1", false}, {"A 192.168.1.1", false}, {"A 10.1.2.3", false}, {"A 172.20.0.1", false}, {"A 127.0.0.1", false}, {"A 169.254.169.254", false},
		{"A 0.0.0.0", false}, {"A 100.64.0.1", false}, {"A 8.8.8.8", true},
		{"AAAA ::1", false}, {"AAAA ::", false}, {"AAAA fd00::1", false}, {"AAAA fe80::1", false}, {"AAAA ::ffff:192.168.1.1", false},
		{"AAAA 2002:c0a8:101::1", false}, {"AAAA 2002:808:808::1", true}, {"AAAA 64:ff9b:1::808:808", false}, {"AAAA fec0::1", false},
		{"AAAA ::ffff:0:192.168.1.1", false}, {"AAAA ::ffff:0:8.8.8.8", true}, {"AAAA ff02::1", false},
		{"AAAA 2a00:1234:5678:9a00::77", false}, {"AAAA 2a00:1234:5678:9a00::1", true}, {"HTTPS 1 . ipv6hint=2a00:1234:5678:9a00::77", false},
		{"AAAA 64:ff9b::c0a8:101", false}, {"AAAA ::192.168.1.1", false}, {"AAAA 2001:4860::8", true}, {"AAAA 64:ff9b::808:808", true},
		{"HTTPS 1 . ipv4hint=192.168.1.1", false}, {"HTTPS 1 . ipv6hint=fd00::1", false}, {"HTTPS 1 . alpn=h2 ipv4hint=8.8.8.8", true},
	} {
		b, err := New(Config{Members: newHouse(smiths()), Open: noSockets, Upstreams: []Upstream{plainUpstream(up)}, Home: home})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Allow("allowed.example"); err != nil {
			t.Fatal(err)
		}
		up.set(func(q dns.Question, r *dns.Msg) {
			r.Answer = []dns.RR{rr(q.Name + " 60 IN " + c.record)}
			r.Ns = []dns.RR{rr("example. 60 IN SOA ns.example. h.example. 1 2 3 4 60")}
		})
		qtype := dns.StringToType[strings.Fields(c.record)[0]]
		m := new(dns.Msg).SetQuestion("evil.example.", qtype)
		m.SetEdns0(1232, false)
		r, err := b.Exchange(t.Context(), m)
		if err != nil || (len(r.Answer) == 1) != c.kept || r.Rcode != dns.RcodeSuccess || (edeOf(r) == filterEDE) == c.kept {
			t.Errorf("%s: %v, %v; want kept %v", c.record, r, err, c.kept)
		} else if !c.kept && len(r.Ns) > 0 {
			t.Errorf("%s: the zone is said to vouch that there is none: %v", c.record, r)
		}
		if r, err = b.Exchange(t.Context(), new(dns.Msg).SetQuestion("X.Allowed.example.", qtype)); err != nil || (len(r.Answer) == 1) == slices.Contains(never, c.record) {
			t.Errorf("%s below an allowed domain: %v, %v", c.record, r, err)
		}
	}
}

func noSockets(context.Context, *services.Membership) (Sockets, error) {
	return Sockets{}, errors.New("none")
}

func TestPlainOnlyUntilTLSWorks(t *testing.T) {
	auth := newCA(t)
	cert := auth.issue(t, "dns.example")
	up, router := startUpstream(t, &cert), startUpstream(t, nil)
	router.set(fixed(300, "203.0.114.77"))
	known, allow := atomic.Bool{}, atomic.Bool{}
	now := atomic.Int64{}
	now.Store(time.Now().Add(-24 * time.Hour).UnixNano()) // the certificate is from the future
	b := runBox(t, Config{
		Upstreams: []Upstream{{Name: "dns.example", Addresses: []netip.AddrPort{up.addr}}}, Roots: auth.pool,
		SystemResolvers: func() []netip.AddrPort { return []netip.AddrPort{router.addr} },
		AllowPlain:      allow.Load, TimeKnown: known.Load, Now: func() time.Time { return time.Unix(0, now.Load()) },
	}).ready(t)
	if r := b.ask(t, "udp", "a.example.com", dns.TypeA); r.Rcode != dns.RcodeServerFailure || router.asked.Load() != 0 {
		t.Errorf("the router was asked although the owner forbids it: %v", r)
	}
	allow.Store(true)
	if r := b.ask(t, "udp", "b.example.com", dns.TypeA); firstA(r) != "203.0.114.77" {
		t.Errorf("before the time is known: %v", r)
	}
	if h := b.Health(); !h.OK || !strings.HasPrefix(h.Message.String(), "Until the box knows the time") {
		t.Errorf("health %v", h)
	}
	known.Store(true)
	now.Store(time.Now().UnixNano())
	if r := b.ask(t, "udp", "c.example.com", dns.TypeA); firstA(r) != "203.0.114.1" {
		t.Errorf("once the time is known: %v", r)
	}
	asked := router.asked.Load()
	up.silent.Store(true)
	if r := b.ask(t, "udp", "d.example.com", dns.TypeA); r.Rcode != dns.RcodeServerFailure || router.asked.Load() != asked {
		t.Errorf("after TLS has worked the router was asked again: %v", r)
	}
	if h := b.Health(); !strings.HasPrefix(h.Message.String(), "Names are answered") {
		t.Errorf("health %v", h)
	}
}

// The router asks whoever DHCP gave it, and that is this box: seen, and not used.
func TestLoop(t *testing.T) {
	router := startUpstream(t, nil)
	b := runBox(t, Config{Upstreams: []Upstream{}, SystemResolvers: func() []netip.AddrPort { return []netip.AddrPort{router.addr} }}).ready(t)
	router.set(func(q dns.Question, r *dns.Msg) {
		m, _, err := (&dns.Client{Timeout: time.Second}).Exchange(new(dns.Msg).SetQuestion(q.Name, q.Qtype), b.addr)
		if err == nil {
			r.Rcode = m.Rcode
		}
	})
	for i := range 5 {
		if r := b.ask(t, "udp", fmt.Sprintf("n%d.example.com", i), dns.TypeA); r.Rcode != dns.RcodeServerFailure {
			t.Errorf("answer %v", r)
		}
	}
	if n := router.asked.Load(); n != 1 {
		t.Errorf("the router was asked %d times, want once for the proof", n)
	}
}

func TestSocketsFollowTheHouse(t *testing.T) {
	h := newHouse(&services.Membership{})
	b := runBox(t, Config{Members: h, Upstreams: []Upstream{}})
	time.Sleep(50 * time.Millisecond)
	if hl := b.Health(); b.opened.Load() != 0 || hl.Ready || hl.Waiting != "claim" {
		t.Errorf("an unclaimed box opened %d times, health %+v", b.opened.Load(), hl)
	}
	h.set(smiths())
	b.ready(t)
	if r := b.ask(t, "udp", "kitchen.smith.home.arpa", dns.TypeA); firstA(r) != "10.7.8.1" {
		t.Errorf("answer %v", r)
	}
	m := smiths()
	m.Boxes[1].Addr4 = netip.MustParseAddr("10.7.8.99")
	h.set(m)
	deadline := time.Now().Add(5 * time.Second)
	for b.opened.Load() < 2 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond)
	if r := b.ask(t, "udp", "kitchen.smith.home.arpa", dns.TypeA); firstA(r) != "10.7.8.99" || b.opened.Load() != 2 {
		t.Errorf("answer %v after opening %d times", r, b.opened.Load())
	}
}

// The tunnel interface comes up after the sockets were opened: at every start, and after every claim.
func TestStaleSocketsAreOpenedAnew(t *testing.T) {
	var stale atomic.Bool
	b := runBox(t, Config{Upstreams: []Upstream{}, Stale: func() bool { return stale.Swap(false) }}).ready(t)
	if n := b.opened.Load(); n != 1 {
		t.Fatalf("opened %d times before anything was stale", n)
	}
	stale.Store(true)
	deadline := time.Now().Add(10 * time.Second)
	for b.opened.Load() < 2 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond)
	if r := b.ask(t, "udp", "kitchen.smith.home.arpa", dns.TypeA); r.Rcode != dns.RcodeSuccess || b.opened.Load() != 2 {
		t.Errorf("answer %v after opening %d times", r, b.opened.Load())
	}
}

func TestBrokenSocketIsOpenedAnew(t *testing.T) {
	var mu sync.Mutex
	var first net.PacketConn
	opened := 0
	b := runBox(t, Config{Upstreams: []Upstream{}, Open: func(context.Context, *services.Membership) (Sockets, error) {
		mu.Lock()
		defer mu.Unlock()
		if opened++; opened == 2 {
			return Sockets{}, errors.New("address not there yet")
		}
		p, err := net.ListenPacket("udp", "127.0.0.1:0")
		first = p
		return Sockets{Packet: []net.PacketConn{p}}, err
	}}).ready(t)
	mu.Lock()
	first.Close()
	mu.Unlock()
	deadline := time.Now().Add(15 * time.Second)
	for {
		mu.Lock()
		n := opened
		mu.Unlock()
		if n >= 3 && b.Health().Ready {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("opened %d times, health %+v", n, b.Health())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestConfigIsChecked(t *testing.T) {
	ok := Config{Members: newHouse(smiths()), Open: noSockets}
	if _, err := New(ok); err != nil {
		t.Error(err)
	}
	for name, u := range map[string]Upstream{
		"no name":     {Addresses: []netip.AddrPort{netip.MustParseAddrPort("9.9.9.9:853")}},
		"no address":  {Name: "x.example"},
		"no protocol": {Name: "x.example", Protocol: "carrier pigeon", Addresses: []netip.AddrPort{netip.MustParseAddrPort("9.9.9.9:853")}},
	} {
		c := ok
		c.Upstreams = []Upstream{u}
		if _, err := New(c); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("an empty configuration was accepted")
	}
}

// TestStrangersGetSilence says that a question from somebody who may not ask gets no answer, by UDP or TCP.
func TestStrangersGetSilence(t *testing.T) {
	var may atomic.Bool
	b := runBox(t, Config{Upstreams: []Upstream{}, From: func(netip.Addr) bool { return may.Load() }})
	may.Store(true)
	b.ready(t)
	may.Store(false)
	q := new(dns.Msg)
	q.SetQuestion("smith.home.arpa.", dns.TypeSOA)
	for _, network := range []string{"udp", "tcp"} {
		c := &dns.Client{Net: network, Timeout: 500 * time.Millisecond}
		if r, _, err := c.Exchange(q, b.addr); err == nil {
			t.Errorf("a stranger is answered by %s: %v", network, r)
		}
	}
}
