package discovery

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

var update = flag.Bool("update", false, "write the golden files anew")

var start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// lan is a home network in fake time: machines in, packets carried, every packet written down.
type lan struct {
	t     *testing.T
	now   time.Time
	hosts []*host
	queue []arrival
	log   strings.Builder
}

type host struct {
	name string
	addr map[bool]netip.Addr // by v6
	r    *responder          // nil is a plain client
	off  bool                // not plugged in
	got  []*dns.Msg
}

type arrival struct {
	at   time.Time
	from *host
	p    outbound
	port uint16
}

func newLAN(t *testing.T) *lan { return &lan{t: t, now: start} }

const theLink = 2

func linkOf(addrs ...string) link {
	l := link{index: theLink, name: "eth0"}
	for _, a := range addrs {
		l.addrs = append(l.addrs, netip.MustParsePrefix(a))
	}
	return l
}

// box adds a responder called label at the addresses.
func (l *lan) box(name, label string, addrs ...string) *host {
	h := &host{name: name, addr: map[bool]netip.Addr{}, r: newResponder(rand.New(rand.NewPCG(uint64(len(l.hosts)), 7)), []string{"_ipp._tcp"})}
	for _, a := range addrs {
		p := netip.MustParsePrefix(a)
		h.addr[p.Addr().Is6()] = p.Addr()
	}
	h.r.setName(l.now, label, []service{{kind: "_hearth._tcp", port: 80, text: []string{"claim=1"}}})
	h.r.setLinks(l.now, []link{linkOf(addrs...)})
	l.hosts = append(l.hosts, h)
	return h
}

// client adds a host that only asks.
func (l *lan) client(name, addr string) *host {
	a := netip.MustParseAddr(addr)
	h := &host{name: name, addr: map[bool]netip.Addr{a.Is6(): a}}
	l.hosts = append(l.hosts, h)
	return h
}

// say sends a message from h to the group, or to one host's port 5353 when to is set.
func (l *lan) say(h *host, port uint16, to netip.Addr, m *dns.Msg) {
	b, err := m.Pack()
	if err != nil {
		l.t.Fatal(err)
	}
	p := outbound{link: theLink, v6: h.addr[true].IsValid() && !h.addr[false].IsValid(), data: b}
	if to.IsValid() {
		p.dst = netip.AddrPortFrom(to, 5353)
	}
	l.carry(h, port, p)
}

func (l *lan) carry(from *host, port uint16, p outbound) {
	l.write(from, p)
	l.queue = append(l.queue, arrival{l.now.Add(time.Millisecond), from, p, port})
}

func (l *lan) write(from *host, p outbound) {
	var m dns.Msg
	if err := m.Unpack(p.data); err != nil {
		l.t.Fatalf("%s sent what cannot be read: %v", from.name, err)
	}
	to := "all"
	if p.dst.IsValid() {
		to = p.dst.String()
	}
	kind := "asks"
	if m.Response {
		kind = "answers"
	}
	fam := "4"
	if p.v6 {
		fam = "6"
	}
	fmt.Fprintf(&l.log, "%7.3f %s %s %s (v%s, id %d)\n", l.now.Sub(start).Seconds(), from.name, kind, to, fam, m.Id)
	for _, q := range m.Question {
		bit := ""
		if q.Qclass&flush != 0 {
			bit = " unicast"
		}
		fmt.Fprintf(&l.log, "          ? %s %s%s\n", q.Name, dns.Type(q.Qtype), bit)
	}
	for i, sec := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range sec {
			bit := ""
			if rr.Header().Class&flush != 0 {
				bit = " flush"
			}
			text := strings.Join(strings.Fields(strings.TrimPrefix(rr.String(), rr.Header().String())), " ")
			fmt.Fprintf(&l.log, "          %s %s %d %s %s%s\n", []string{"=", "!", "+"}[i], rr.Header().Name, rr.Header().Ttl, dns.Type(rr.Header().Rrtype), text, bit)
		}
	}
}

func (l *lan) flush() {
	for _, h := range l.hosts {
		if h.r == nil {
			continue
		}
		for _, p := range h.r.out {
			if !h.off {
				l.carry(h, 5353, p)
			}
		}
		h.r.out = nil
	}
}

// run lets d pass.
func (l *lan) run(d time.Duration) {
	end := l.now.Add(d)
	for {
		l.flush()
		next := end
		for _, h := range l.hosts {
			if h.r != nil {
				if n := h.r.next(); !n.IsZero() && n.Before(next) {
					next = n
				}
			}
		}
		for _, a := range l.queue {
			if a.at.Before(next) {
				next = a.at
			}
		}
		if next.After(l.now) {
			l.now = next
		}
		for len(l.queue) > 0 && !l.queue[0].at.After(l.now) {
			a := l.queue[0]
			l.queue = l.queue[1:]
			if a.from.off {
				continue
			}
			src := netip.AddrPortFrom(a.from.addr[a.p.v6], a.port)
			for _, h := range l.hosts {
				if h.off || a.p.dst.IsValid() && h.addr[a.p.v6] != a.p.dst.Addr() {
					continue
				}
				if h.r != nil {
					h.r.handle(l.now, inbound{link: theLink, src: src, group: !a.p.dst.IsValid(), data: a.p.data})
				} else if h != a.from {
					m := new(dns.Msg)
					if m.Unpack(a.p.data) == nil && m.Response {
						h.got = append(h.got, m)
					}
				}
			}
			l.flush()
		}
		for _, h := range l.hosts {
			if h.r != nil {
				h.r.tick(l.now)
			}
		}
		l.flush()
		if !l.now.Before(end) {
			return
		}
	}
}

// golden compares what was written down with testdata/<name>.txt.
func (l *lan) golden(name string) {
	l.t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			l.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(l.log.String()), 0o644); err != nil {
			l.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		l.t.Fatal(err)
	}
	if d := cmp.Diff(string(want), l.log.String()); d != "" {
		l.t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

func ask(name string, t uint16) *dns.Msg {
	return &dns.Msg{Question: []dns.Question{{Name: name, Qtype: t, Qclass: dns.ClassINET}}}
}

func (h *host) label() string { return h.r.label() }

func TestStartAnswerGoodbye(t *testing.T) {
	l := newLAN(t)
	a := l.box("box", "hearth", "192.168.7.2/24", "fe80::2/64")
	l.run(5 * time.Second)
	if !a.r.granted() {
		t.Error("nobody objected and the name is not granted")
	}
	c := l.client("laptop", "192.168.7.9")
	l.say(c, 5353, netip.Addr{}, ask("HEARTH.local.", dns.TypeA))
	l.run(2 * time.Second)
	l.say(c, 5353, netip.Addr{}, ask("hearth.local.", dns.TypeSRV)) // no such type: NSEC
	l.run(2 * time.Second)
	l.say(c, 5353, netip.Addr{}, ask("2.7.168.192.in-addr.arpa.", dns.TypePTR))
	l.run(2 * time.Second)
	l.say(c, 5353, netip.Addr{}, ask(nameServices, dns.TypePTR))
	l.say(c, 5353, netip.Addr{}, ask("_hearth._tcp.local.", dns.TypePTR))
	l.run(2 * time.Second)
	l.say(c, 5353, netip.Addr{}, ask("other.local.", dns.TypeA)) // not ours: silence
	l.run(2 * time.Second)
	a.r.stop(l.now)
	l.run(time.Second)
	l.golden("start-answer-goodbye")
}

func TestNameTaken(t *testing.T) {
	l := newLAN(t)
	a := l.box("first", "hearth", "192.168.7.2/24")
	l.run(10 * time.Second)
	b := l.box("second", "hearth", "192.168.7.3/24")
	l.run(10 * time.Second)
	c := l.box("third", "hearth", "192.168.7.4/24")
	l.run(10 * time.Second)
	if a.label() != "hearth" || b.label() != "hearth-2" || c.label() != "hearth-3" {
		t.Errorf("three boxes became %s, %s, %s", a.label(), b.label(), c.label())
	}
	l.golden("name-taken")
}

func TestSimultaneousProbes(t *testing.T) {
	l := newLAN(t)
	a := l.box("low", "hearth", "192.168.7.2/24")
	b := l.box("high", "hearth", "192.168.7.200/24")
	l.run(10 * time.Second)
	if a.label() != "hearth-2" || b.label() != "hearth" || !a.r.granted() || !b.r.granted() {
		t.Errorf("the later data must win (RFC 6762, 8.2): low is %s, high is %s", a.label(), b.label())
	}
	l.golden("simultaneous-probes")
}

// Twenty boxes are switched on at once: every one ends with its own name.
func TestCrowd(t *testing.T) {
	l := newLAN(t)
	for i := range 20 {
		l.box(fmt.Sprint("box", i), "hearth", fmt.Sprintf("192.168.7.%d/24", 10+i))
	}
	l.run(5 * time.Minute)
	seen := map[string]bool{}
	for _, h := range l.hosts {
		if !h.r.granted() || seen[h.label()] {
			t.Errorf("%s is %s, granted %v; want a name of its own", h.name, h.label(), h.r.granted())
		}
		seen[h.label()] = true
	}
	if n := strings.Count(l.log.String(), "\n"); n > 40000 {
		t.Errorf("it took %d lines of talk", n)
	}
}

// Two halves of a house, each with its "hearth", are joined by a cable.
func TestJoinedNetworks(t *testing.T) {
	l := newLAN(t)
	a := l.box("a", "hearth", "192.168.7.2/24")
	l.run(10 * time.Second)
	a.off = true
	b := l.box("b", "hearth", "192.168.7.3/24")
	l.run(10 * time.Second)
	a.off = false
	c := l.client("laptop", "192.168.7.9")
	l.say(c, 5353, netip.Addr{}, ask("hearth.local.", dns.TypeA))
	l.run(20 * time.Second)
	got := []string{a.label(), b.label()}
	slices.Sort(got)
	if !slices.Equal(got, []string{"hearth", "hearth-2"}) || !a.r.granted() || !b.r.granted() {
		t.Errorf("after joining they are %v", got)
	}
}

func TestAddressesFollow(t *testing.T) {
	l := newLAN(t)
	a := l.box("box", "hearth", "fe80::2/64")
	l.run(10 * time.Second)
	a.addr[false] = netip.MustParseAddr("192.168.7.2")
	a.r.setLinks(l.now, []link{linkOf("192.168.7.2/24", "fe80::2/64")}) // DHCP came late
	l.run(10 * time.Second)
	a.addr[false] = netip.MustParseAddr("10.0.0.8")
	a.r.setLinks(l.now, []link{linkOf("10.0.0.8/24", "fe80::2/64")}) // another network
	l.run(10 * time.Second)
	a.r.setLinks(l.now, []link{linkOf("fe80::2/64")}) // and lost again
	l.run(10 * time.Second)
	a.r.setLinks(l.now, nil) // the cable is out
	l.run(10 * time.Second)
	a.r.setLinks(l.now, []link{linkOf("10.0.0.8/24", "fe80::2/64")})
	l.run(10 * time.Second)
	l.golden("addresses-follow")
}

// A box with two cables tells each network only the address it has there, and is no conflict to itself when both end
// in the same switch.
func TestTwoLinks(t *testing.T) {
	r := newResponder(rand.New(rand.NewPCG(1, 1)), nil)
	one, two := linkOf("192.168.7.2/24"), linkOf("10.1.1.2/24")
	two.index = 3
	r.setName(start, "hearth", nil)
	r.setLinks(start, []link{one, two})
	now := start
	for range 200 { // every packet comes back on the other link
		now = now.Add(50 * time.Millisecond)
		r.tick(now)
		out := r.out
		r.out = nil
		for _, p := range out {
			var m dns.Msg
			if err := m.Unpack(p.data); err != nil {
				t.Fatal(err)
			}
			for _, rr := range slices.Concat(m.Answer, m.Ns, m.Extra) {
				if a, ok := rr.(*dns.A); ok && (p.link == theLink) != (a.A.String() == "192.168.7.2") {
					t.Errorf("link %d was told %v", p.link, a.A)
				}
			}
			src := netip.MustParseAddrPort("192.168.7.2:5353")
			if p.link == 3 {
				src = netip.MustParseAddrPort("10.1.1.2:5353")
			}
			r.handle(now, inbound{link: 5 - p.link, src: src, group: true, data: p.data})
			r.handle(now, inbound{link: p.link, src: src, group: true, data: p.data})
		}
	}
	if r.label() != "hearth" || !r.granted() {
		t.Errorf("the box took itself for another: %s, granted %v", r.label(), r.granted())
	}
	// The second cable comes later, to the same switch: the box does not defend its name against itself.
	r.setLinks(now, []link{one})
	r.out = nil
	r.setLinks(now, []link{one, two})
	for range 20 {
		now = now.Add(50 * time.Millisecond)
		r.tick(now)
		out := r.out
		r.out = nil
		for _, p := range out {
			if p.link == theLink {
				t.Error("the box answered its own probe")
			}
			r.handle(now, inbound{link: theLink, src: netip.MustParseAddrPort("10.1.1.2:5353"), group: true, data: p.data})
		}
	}
	now = now.Add(10 * time.Second)
	r.tick(now)
	// A reflector repeats our records in packets of its own.
	m := dns.Msg{Answer: []dns.RR{&dns.A{Hdr: header("hearth.local.", dns.TypeA, 120), A: []byte{10, 1, 1, 2}}}}
	m.Response = true
	b, _ := m.Pack()
	r.handle(now, inbound{link: theLink, src: netip.MustParseAddrPort("192.168.7.1:5353"), group: true, data: b})
	if !r.granted() {
		t.Error("our own address, repeated by a reflector, counted as a conflict")
	}
}

func TestQuestionsOfManyKinds(t *testing.T) {
	l := newLAN(t)
	l.box("box", "hearth", "192.168.7.2/24", "fe80::2/64")
	l.run(60 * time.Second)
	c := l.client("laptop", "192.168.7.9")
	unicast := ask("hearth.local.", dns.TypeA)
	unicast.Question[0].Qclass |= flush
	known := ask("_hearth._tcp.local.", dns.TypePTR)
	known.Answer = []dns.RR{&dns.PTR{Hdr: header("_hearth._tcp.local.", dns.TypePTR, 4000), Ptr: "hearth._hearth._tcp.local."}}
	old := ask("_hearth._tcp.local.", dns.TypePTR)
	old.Answer = []dns.RR{&dns.PTR{Hdr: header("_hearth._tcp.local.", dns.TypePTR, 2000), Ptr: "hearth._hearth._tcp.local."}}
	split := ask("_hearth._tcp.local.", dns.TypePTR)
	split.Truncated = true
	rest := &dns.Msg{Answer: known.Answer}
	plain := ask("hearth.local.", dns.TypeAAAA)
	plain.Id, plain.RecursionDesired = 4711, true
	none := ask("hearth.local.", dns.TypeMX)
	none.Id = 4712

	for _, step := range []struct {
		name string
		port uint16
		to   string
		msgs []*dns.Msg
	}{
		{"unicast answer wanted, long since all heard", 5353, "", []*dns.Msg{unicast}},
		{"unicast answer wanted, all heard just now", 5353, "", []*dns.Msg{unicast}},
		{"the answer is known", 5353, "", []*dns.Msg{known}},
		{"the answer is known but old", 5353, "", []*dns.Msg{old}},
		{"known answers in a second packet", 5353, "", []*dns.Msg{split, rest}},
		{"a plain DNS client", 40000, "", []*dns.Msg{plain}},
		{"a plain DNS client, no such type", 40000, "", []*dns.Msg{none}},
		{"asked directly", 5353, "192.168.7.2", []*dns.Msg{ask("hearth.local.", dns.TypeA)}},
	} {
		fmt.Fprintf(&l.log, "-- %s\n", step.name)
		for _, m := range step.msgs {
			var to netip.Addr
			if step.to != "" {
				to = netip.MustParseAddr(step.to)
			}
			l.say(c, step.port, to, m.Copy())
		}
		l.run(2 * time.Second)
	}
	l.golden("questions")
}

// What all have just heard is not said again within a second, but a name is defended at once (section 6).
func TestNotTheSameAgain(t *testing.T) {
	l := newLAN(t)
	a := l.box("box", "hearth", "192.168.7.2/24")
	l.run(60 * time.Second)
	c := l.client("laptop", "192.168.7.9")
	for range 8 { // 0 to 700 ms
		l.say(c, 5353, netip.Addr{}, ask("hearth.local.", dns.TypeA))
		l.run(100 * time.Millisecond)
	}
	if len(c.got) != 1 {
		t.Errorf("%d answers within 800 ms, want one", len(c.got))
	}
	probe := ask("hearth.local.", dns.TypeANY)
	probe.Ns = []dns.RR{&dns.A{Hdr: header("hearth.local.", dns.TypeA, 120), A: []byte{192, 168, 7, 9}}}
	l.say(c, 5353, netip.Addr{}, probe)
	l.run(50 * time.Millisecond)
	if len(c.got) != 2 || a.label() != "hearth" {
		t.Errorf("a probe for our name got %d answers, want one more", len(c.got)-1)
	}
	l.run(time.Second)
	l.say(c, 5353, netip.Addr{}, ask("hearth.local.", dns.TypeA))
	l.run(50 * time.Millisecond)
	if len(c.got) != 3 {
		t.Errorf("a second later: %d answers, want 3", len(c.got))
	}
}

// What is not from this link, or is no Multicast DNS, is met with silence.
func TestSilence(t *testing.T) {
	fresh := func() *responder {
		r := newResponder(rand.New(rand.NewPCG(1, 1)), nil)
		r.setName(start, "hearth", nil)
		r.setLinks(start, []link{linkOf("192.168.7.2/24")})
		for i := range 100 {
			r.tick(start.Add(time.Duration(i) * 100 * time.Millisecond))
		}
		r.out = nil
		return r
	}
	now := start.Add(time.Minute)
	conflict := &dns.Msg{Answer: []dns.RR{&dns.A{Hdr: header("hearth.local.", dns.TypeA, 120), A: []byte{192, 168, 7, 66}}}}
	conflict.Response = true
	opcode := ask("hearth.local.", dns.TypeA)
	opcode.Opcode = dns.OpcodeUpdate
	rcode := ask("hearth.local.", dns.TypeA)
	rcode.Rcode = dns.RcodeServerFailure
	chaos := ask("hearth.local.", dns.TypeA)
	chaos.Question[0].Qclass = dns.ClassCHAOS
	for _, c := range []struct {
		name  string
		src   string
		group bool
		link  int
		m     *dns.Msg
	}{
		{"asked directly from elsewhere", "8.8.8.8:5353", false, theLink, ask("hearth.local.", dns.TypeA)},
		{"plain client with a forged source", "8.8.8.8:53", true, theLink, ask("hearth.local.", dns.TypeA)},
		{"unknown link", "192.168.7.9:5353", true, 9, ask("hearth.local.", dns.TypeA)},
		{"answer not from port 5353", "192.168.7.9:4000", true, theLink, conflict},
		{"answer from elsewhere to us alone", "8.8.8.8:5353", false, theLink, conflict},
		{"another opcode", "192.168.7.9:5353", true, theLink, opcode},
		{"an error code", "192.168.7.9:5353", true, theLink, rcode},
		{"another class", "192.168.7.9:5353", true, theLink, chaos},
	} {
		r := fresh()
		b, err := c.m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		r.handle(now, inbound{link: c.link, src: netip.MustParseAddrPort(c.src), group: c.group, data: b})
		r.tick(now.Add(time.Second))
		if len(r.out) > 0 || !r.granted() {
			t.Errorf("%s: %d packets sent, granted %v; want silence", c.name, len(r.out), r.granted())
		}
	}
	r := fresh()
	b, _ := conflict.Pack()
	r.handle(now, inbound{link: theLink, src: netip.MustParseAddrPort("192.168.7.66:5353"), group: true, data: b})
	if r.granted() {
		t.Error("a real conflict was not noticed: the cases above prove nothing")
	}
}

// A flood of questions yields a bounded number of answers, and a flood of conflicts does not make us race.
// The browser learns from whom a hint is: the source of the packet, whatever the records say.
func TestHintsSayFromWhom(t *testing.T) {
	r := newResponder(rand.New(rand.NewPCG(1, 1)), []string{"_ipp._tcp"})
	r.setName(start, "hearth", nil)
	r.setLinks(start, []link{linkOf("192.168.7.2/24")})
	m := dns.Msg{Answer: []dns.RR{&dns.PTR{Hdr: header("_ipp._tcp.local.", dns.TypePTR, 120), Ptr: "Study._ipp._tcp.local."}}}
	m.Response = true
	b, _ := m.Pack()
	r.handle(start, inbound{link: theLink, src: netip.MustParseAddrPort("192.168.7.20:5353"), group: true, data: b})
	want := []hint{{service: "_ipp._tcp", instance: "Study", from: netip.MustParseAddr("192.168.7.20")}}
	if !slices.Equal(r.hints, want) {
		t.Errorf("hints %v, want %v", r.hints, want)
	}
}

func TestRates(t *testing.T) {
	r := newResponder(rand.New(rand.NewPCG(1, 1)), nil)
	r.setName(start, "hearth", []service{{kind: "_http._tcp", port: 80, text: []string{"path=/"}}})
	r.setLinks(start, []link{linkOf("192.168.7.2/24")})
	for i := range 100 {
		r.tick(start.Add(time.Duration(i) * 100 * time.Millisecond))
	}
	r.out = nil
	now := start.Add(time.Minute)
	plain, _ := ask("hearth.local.", dns.TypeA).Pack()
	all, _ := (&dns.Msg{Question: []dns.Question{{Name: "_http._tcp.local.", Qtype: dns.TypePTR, Qclass: 1}}}).Pack()
	for i := range 20000 { // ten seconds
		now = now.Add(500 * time.Microsecond)
		r.handle(now, inbound{link: theLink, src: netip.MustParseAddrPort("192.168.7.9:1234"), group: true, data: plain})
		r.handle(now, inbound{link: theLink, src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 7, byte(i)}), 5353), group: true, data: all})
		r.tick(now)
	}
	if n := len(r.out); n < 100 || n > 11*(unicastRate+multiRate)+2*(unicastRate+multiRate) {
		t.Errorf("a flood of ten seconds got %d answers", n)
	}
	if n := len(r.links[theLink].holds); n > maxHolds {
		t.Errorf("%d answers wait, more than %d", n, maxHolds)
	}
	r.out = nil
	for i := range 600 { // a minute of a hostile neighbour who owns every name
		now = now.Add(100 * time.Millisecond)
		m := dns.Msg{Answer: []dns.RR{&dns.A{Hdr: header(r.label()+".local.", dns.TypeA, 120), A: []byte{192, 168, 7, byte(100 + i%50)}}}}
		m.Response = true
		b, _ := m.Pack()
		r.handle(now, inbound{link: theLink, src: netip.MustParseAddrPort("192.168.7.66:5353"), group: true, data: b})
		r.tick(now)
	}
	if n := len(r.out); n > 200 {
		t.Errorf("a hostile neighbour made us send %d packets in a minute", n)
	}
}

func TestRename(t *testing.T) {
	l := newLAN(t)
	a := l.box("box", "hearth", "192.168.7.2/24")
	l.run(10 * time.Second)
	l.log.Reset()
	a.r.setName(l.now, "kitchen", []service{{kind: "_hearth._tcp", port: 80, text: []string{"id=abc"}}})
	l.run(10 * time.Second)
	if a.label() != "kitchen" || !a.r.granted() {
		t.Errorf("renamed to %s, granted %v", a.label(), a.r.granted())
	}
	l.golden("rename")
}

func TestLongLabelsStayLabels(t *testing.T) {
	r := newResponder(rand.New(rand.NewPCG(1, 1)), nil)
	r.wanted, r.number = strings.Repeat("a", 60)+"-bc", 12
	if got := r.label(); len(got) > 63 || !strings.HasSuffix(got, "a-12") {
		t.Errorf("label %q of %d bytes", got, len(got))
	}
}

func TestTieBreakIsRFC(t *testing.T) {
	// The example of RFC 6762, section 8.2.2.
	host := func(a string) []dns.RR {
		return []dns.RR{&dns.A{Hdr: header("myprinter.local.", dns.TypeA, 120), A: netip.MustParseAddr(a).AsSlice()}}
	}
	if compare(host("169.254.99.200"), host("169.254.200.50")) >= 0 {
		t.Error("169.254.99.200 must be earlier than 169.254.200.50")
	}
	if compare(host("10.0.0.1"), append(host("10.0.0.1"), &dns.AAAA{Hdr: header("x.", dns.TypeAAAA, 1), AAAA: make([]byte, 16)})) >= 0 {
		t.Error("the longer list must be later")
	}
}

func FuzzHandle(f *testing.F) {
	for _, m := range []*dns.Msg{
		ask("hearth.local.", dns.TypeA), ask("_hearth._tcp.local.", dns.TypePTR),
		{MsgHdr: dns.MsgHdr{Response: true}, Answer: []dns.RR{&dns.A{Hdr: header("hearth.local.", dns.TypeA, 120), A: []byte{1, 2, 3, 4}}}},
		{Question: ask("hearth.local.", dns.TypeANY).Question, Ns: []dns.RR{&dns.SRV{Hdr: header("hearth._hearth._tcp.local.", dns.TypeSRV, 120), Target: "x.local."}}},
		{MsgHdr: dns.MsgHdr{Response: true}, Answer: []dns.RR{&dns.PTR{Hdr: header("_ipp._tcp.local.", dns.TypePTR, 120), Ptr: `A\.b\195\188._ipp._tcp.local.`}}},
	} {
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint16(5353), true)
		f.Add(b, uint16(999), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, port uint16, group bool) {
		for _, wait := range []time.Duration{100 * time.Millisecond, 10 * time.Second} { // probing, settled
			r := newResponder(rand.New(rand.NewPCG(1, 1)), []string{"_ipp._tcp"})
			r.setName(start, "hearth", []service{{kind: "_hearth._tcp", port: 80, text: []string{"claim=1"}}})
			r.setLinks(start, []link{linkOf("192.168.7.2/24", "fe80::2/64")})
			now := start
			for ; now.Before(start.Add(wait)); now = now.Add(50 * time.Millisecond) {
				r.tick(now)
			}
			r.out = nil
			r.handle(now, inbound{link: theLink, src: netip.AddrPortFrom(netip.MustParseAddr("192.168.7.9"), port), group: group, data: b})
			for range 40 {
				now = now.Add(50 * time.Millisecond)
				r.tick(now)
			}
			if len(r.out) > 40 {
				t.Errorf("one packet made %d", len(r.out))
			}
			for _, p := range r.out {
				if len(p.data) > 1440 {
					t.Errorf("an answer of %d bytes", len(p.data))
				}
				if err := new(dns.Msg).Unpack(p.data); err != nil {
					t.Errorf("sent what cannot be read: %v", err)
				}
			}
			for _, h := range r.hints {
				_ = clean(unescape(h.instance))
			}
		}
	})
}
