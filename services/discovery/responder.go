package discovery

import (
	"bytes"
	"hash/maphash"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Times of RFC 6762: probing and its ties (section 8.1, 8.2), announcing (8.3), answering (6, 7.2).
const (
	probeGap      = 250 * time.Millisecond
	probes        = 3
	tieWait       = time.Second
	manyConflicts = 15 // within conflictSpan: from then on one attempt per conflictWait
	conflictSpan  = 10 * time.Second
	conflictWait  = 5 * time.Second
	announcements = 3 // after 0, 1 and 3 seconds
	sameAgain     = time.Second
	defendAgain   = 250 * time.Millisecond
	sharedMin     = 20 * time.Millisecond
	sharedMax     = 120 * time.Millisecond
	truncatedMin  = 400 * time.Millisecond
	truncatedMax  = 500 * time.Millisecond
	legacyTTL     = 10
	// retiredFor is ours: how long a record of ours that another repeats (a reflector, an old answer) is no conflict.
	retiredFor = 20 * time.Second
)

// Bounds of ours.
const (
	maxMessage   = 9000 // bytes of a message (section 17)
	maxQuestions = 64   // per message
	maxHolds     = 64   // answers waiting for their moment, per link
	maxHints     = 32   // per message
	sentRing     = 256
	inRate       = 400 // messages per second and link, with a burst of twice that
	unicastRate  = 40  // answers to one host per second and link, with a burst of twice that
	multiRate    = 20  // answers to all per second and link, with a burst of twice that
)

// inbound is one packet from a link.
type inbound struct {
	link  int
	src   netip.AddrPort
	group bool // its destination was the group
	data  []byte
}

// outbound is one packet for a link. A zero dst is the group of its family.
type outbound struct {
	link int
	v6   bool
	dst  netip.AddrPort
	data []byte
}

// hint is what others said about a service: that an instance is there, or with gone that it left.
type hint struct {
	service  string // "_ipp._tcp"
	instance string // as on the wire, in presentation form
	from     netip.Addr
	gone     bool
}

type phase uint8

const (
	probing phase = iota
	announcing
	settled
)

// bucket is a token bucket that holds twice its rate.
type bucket struct {
	rate   float64
	tokens float64
	at     time.Time
}

func (b *bucket) take(now time.Time) bool {
	if b.at.IsZero() {
		b.tokens = 2 * b.rate
	} else if d := now.Sub(b.at); d > 0 {
		b.tokens = min(2*b.rate, b.tokens+d.Seconds()*b.rate)
	}
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// hold is an answer that waits for its moment: shared records a short random time, the answer to a truncated query
// until its other known answers have come.
type hold struct {
	src     netip.AddrPort // who asked
	unicast bool
	v6      bool
	due     time.Time
	answers []record
}

// onLink is the machine's state on one link.
type onLink struct {
	link
	records []record
	phase   phase
	step    int       // probes or announcements already sent
	due     time.Time // of the next one; zero when settled
	last    [2]map[string]time.Time
	holds   []hold
	in      bucket
	one     bucket
	all     bucket
}

// responder is the whole machine. It is not safe for concurrent use. Every method takes the time; what is to be sent
// gathers in out and what was heard about others in hints, and whoever calls empties both.
type responder struct {
	rng       *rand.Rand
	wanted    string // the label asked for; "" is silent
	number    int    // 1 is the plain label, n is "label-n"
	services  []service
	watch     map[string]bool // services to give hints about
	links     map[int]*onLink
	conflicts []time.Time
	retired   map[string]time.Time // keys of records that were ours a moment ago
	seed      maphash.Seed
	sent      [sentRing]uint64 // hashes of what we sent last: how we know ourselves
	sentAt    int
	out       []outbound
	hints     []hint
}

func newResponder(rng *rand.Rand, watch []string) *responder {
	r := &responder{rng: rng, number: 1, links: map[int]*onLink{}, retired: map[string]time.Time{}, seed: maphash.MakeSeed(), watch: map[string]bool{}}
	for _, s := range watch {
		r.watch[s] = true
	}
	return r
}

// label is the name as it is asked for now, conflicts included.
func (r *responder) label() string {
	if r.number == 1 || r.wanted == "" {
		return r.wanted
	}
	suffix := "-" + strconv.Itoa(r.number)
	base := r.wanted
	if len(base)+len(suffix) > 63 { // RFC 1035, section 2.3.4
		base = strings.TrimRight(base[:63-len(suffix)], "-")
	}
	return base + suffix
}

// granted says whether the name is ours on every link, and on at least one.
func (r *responder) granted() bool {
	for _, l := range r.links {
		if l.phase == probing {
			return false
		}
	}
	return len(r.links) > 0 && r.wanted != ""
}

// setName asks for another label or other services. Unchanged values do nothing.
func (r *responder) setName(now time.Time, label string, list []service) {
	renamed := label != r.wanted
	same := func(a, b service) bool { return a.kind == b.kind && a.port == b.port && slices.Equal(a.text, b.text) }
	if !renamed && slices.EqualFunc(list, r.services, same) {
		return
	}
	kinds := func(l []service) (out []string) {
		for _, s := range l {
			out = append(out, s.kind)
		}
		return out
	}
	fresh := renamed || !slices.Equal(kinds(list), kinds(r.services))
	for _, l := range r.order() {
		if fresh && l.phase != probing {
			r.goodbye(now, l, l.records, true)
		}
	}
	r.wanted, r.services = label, slices.Clone(list)
	if renamed {
		r.number = 1
	}
	for _, l := range r.order() {
		r.retire(now, l.records)
		l.records = recordsOf(r.label(), l.link, r.services)
		if fresh {
			r.probe(now, l, r.jitter(probeGap))
		} else if l.phase != probing {
			r.announce(now, l)
		}
	}
}

// setLinks makes the links so. A link that is new, or was away, probes; one whose addresses changed announces.
func (r *responder) setLinks(now time.Time, list []link) {
	seen := map[int]bool{}
	for _, n := range list {
		if len(n.addrs) == 0 {
			continue
		}
		if len(n.addrs) > maxAddrs {
			n.addrs = n.addrs[:maxAddrs]
		}
		seen[n.index] = true
		l := r.links[n.index]
		if l == nil {
			l = &onLink{link: n, in: bucket{rate: inRate}, one: bucket{rate: unicastRate}, all: bucket{rate: multiRate}}
			l.last = [2]map[string]time.Time{{}, {}}
			l.records = recordsOf(r.label(), n, r.services)
			r.links[n.index] = l
			r.probe(now, l, r.jitter(probeGap))
			continue
		}
		if slices.Equal(l.addrs, n.addrs) && l.name == n.name {
			continue
		}
		before := l.records
		l.link = n
		l.records = recordsOf(r.label(), n, r.services)
		r.retire(now, before)
		if l.phase == probing {
			continue // the probes to come carry the new addresses
		}
		var gone []record
		for _, b := range before {
			if !slices.ContainsFunc(l.records, func(x record) bool { return x.key == b.key }) {
				gone = append(gone, b)
			}
		}
		// Not flushed: the announcement that follows flushes, and an empty family has nothing else to say.
		r.goodbye(now, l, gone, false)
		r.announce(now, l)
	}
	for i, l := range r.links {
		if !seen[i] {
			r.retire(now, l.records)
			delete(r.links, i)
		}
	}
}

// retire remembers records as ours for as long as others may still repeat them: a reflector, or another link of ours.
func (r *responder) retire(now time.Time, list []record) {
	for k, t := range r.retired {
		if now.Sub(t) > retiredFor {
			delete(r.retired, k)
		}
	}
	for _, x := range list {
		if len(r.retired) < 1024 {
			r.retired[x.key] = now
		}
	}
}

// mine says whether a record is one of ours, on any link, now or a moment ago.
func (r *responder) mine(now time.Time, key string) bool {
	if t, ok := r.retired[key]; ok && now.Sub(t) <= retiredFor {
		return true
	}
	for _, l := range r.links {
		if slices.ContainsFunc(l.records, func(x record) bool { return x.key == key }) {
			return true
		}
	}
	return false
}

func (r *responder) order() []*onLink {
	out := make([]*onLink, 0, len(r.links))
	for _, l := range r.links {
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b *onLink) int { return a.index - b.index })
	return out
}

func (r *responder) jitter(d time.Duration) time.Duration {
	return time.Duration(r.rng.Int64N(int64(d)))
}

// probe starts probing on a link after wait.
func (r *responder) probe(now time.Time, l *onLink, wait time.Duration) {
	l.phase, l.step, l.due = probing, 0, now.Add(wait)
	l.holds = nil
	clear(l.last[0])
	clear(l.last[1])
}

// announce starts announcing on a link at once.
func (r *responder) announce(now time.Time, l *onLink) {
	l.phase, l.step, l.due = announcing, 0, now
}

// stop says goodbye on every link.
func (r *responder) stop(now time.Time) {
	for _, l := range r.order() {
		if l.phase != probing {
			r.goodbye(now, l, l.records, true)
		}
	}
	clear(r.links)
}

// goodbye tells that records are gone: the same with no lifetime (section 10.1). The list of service types is shared
// with every other host, and stays.
func (r *responder) goodbye(now time.Time, l *onLink, list []record, withFlush bool) {
	var m dns.Msg
	for _, x := range list {
		if strings.EqualFold(x.rr.Header().Name, nameServices) {
			continue
		}
		rr := dns.Copy(x.rr)
		rr.Header().Ttl = 0
		if x.unique && withFlush {
			rr.Header().Class |= flush
		}
		m.Answer = append(m.Answer, rr)
	}
	if len(m.Answer) > 0 {
		r.multicast(l, &m)
	}
}

// multicast sends m to the groups of both families, as far as the link has them.
func (r *responder) multicast(l *onLink, m *dns.Msg) {
	for _, v6 := range []bool{false, true} {
		if l.family(v6) {
			r.send(l, v6, netip.AddrPort{}, m)
		}
	}
}

func (r *responder) send(l *onLink, v6 bool, dst netip.AddrPort, m *dns.Msg) {
	if !dst.IsValid() || dst.Port() == 5353 {
		m.Id = 0
	}
	if len(m.Question) == 0 || len(m.Answer) > 0 {
		m.Response, m.Authoritative = true, true
	}
	m.Compress = true
	b, err := m.Pack()
	if err != nil {
		return // only records of our own making are packed; a label no packer takes stays silent
	}
	r.sent[r.sentAt] = maphash.Bytes(r.seed, b)
	r.sentAt = (r.sentAt + 1) % sentRing
	r.out = append(r.out, outbound{link: l.index, v6: v6, dst: dst, data: b})
}

// next is when tick wants to be called; zero is never.
func (r *responder) next() time.Time {
	var t time.Time
	sooner := func(d time.Time) {
		if !d.IsZero() && (t.IsZero() || d.Before(t)) {
			t = d
		}
	}
	if r.wanted == "" {
		return t
	}
	for _, l := range r.links {
		sooner(l.due)
		for _, h := range l.holds {
			sooner(h.due)
		}
	}
	return t
}

// tick does what is due.
func (r *responder) tick(now time.Time) {
	if r.wanted == "" {
		return
	}
	for _, l := range r.order() {
		if !l.due.IsZero() && !now.Before(l.due) {
			r.step(now, l)
		}
		var due []hold
		l.holds = slices.DeleteFunc(l.holds, func(h hold) bool {
			if now.Before(h.due) {
				return false
			}
			due = append(due, h)
			return true
		})
		for _, h := range due {
			r.reply(now, l, h.v6, h.src, h.unicast, h.answers, sameAgain)
		}
	}
}

func (r *responder) step(now time.Time, l *onLink) {
	if l.phase == probing && l.step < probes {
		var m dns.Msg
		for _, name := range uniqueNames(l.records) {
			m.Question = append(m.Question, dns.Question{Name: name, Qtype: dns.TypeANY, Qclass: dns.ClassINET})
		}
		for _, x := range l.records {
			// The reverse names are ours by the addresses; only what was chosen is probed for.
			if x.unique && x.rr.Header().Rrtype != dns.TypePTR {
				m.Ns = append(m.Ns, x.rr)
			}
		}
		r.multicast(l, &m)
		l.step++
		l.due = now.Add(probeGap)
		return
	}
	if l.phase == probing {
		r.announce(now, l)
	}
	var m dns.Msg
	for _, x := range l.records {
		m.Answer = append(m.Answer, marked(x))
		l.last[0][x.key], l.last[1][x.key] = now, now
	}
	for _, name := range uniqueNames(l.records) {
		if n, ok := nsec(name, l.records); ok {
			m.Extra = append(m.Extra, marked(n))
		}
	}
	r.multicast(l, &m)
	l.step++
	l.due = now.Add(time.Second << (l.step - 1))
	if l.step >= announcements {
		l.phase, l.due = settled, time.Time{}
	}
}

// uniqueNames lists the names that are probed for: the host and the service instances.
func uniqueNames(list []record) []string {
	var out []string
	for _, x := range list {
		h := x.rr.Header()
		if x.unique && h.Rrtype != dns.TypePTR && !slices.Contains(out, h.Name) {
			out = append(out, h.Name)
		}
	}
	return out
}

func marked(x record) dns.RR {
	rr := dns.Copy(x.rr)
	if x.unique {
		rr.Header().Class |= flush
	}
	return rr
}

// handle takes one packet. Anything malformed, foreign or too much is dropped without a word (section 18).
func (r *responder) handle(now time.Time, p inbound) {
	l := r.links[p.link]
	if l == nil || len(p.data) > maxMessage || len(p.data) < 12 || r.wanted == "" {
		return
	}
	src := netip.AddrPortFrom(p.src.Addr().Unmap().WithZone(""), p.src.Port())
	if !p.group && !l.local(src.Addr()) {
		return
	}
	if p.group && slices.Contains(r.sent[:], maphash.Bytes(r.seed, p.data)) {
		return // our own voice, from this link or round through another
	}
	if !l.in.take(now) {
		return
	}
	var m dns.Msg
	if m.Unpack(p.data) != nil || m.Opcode != dns.OpcodeQuery || m.Rcode != dns.RcodeSuccess {
		return
	}
	if m.Response {
		if src.Port() == 5353 { // section 6: anything else is no Multicast DNS responder
			r.hear(now, l, src.Addr(), &m)
		}
		return
	}
	if len(m.Question) > maxQuestions {
		return
	}
	r.tie(now, l, &m)
	r.ask(now, l, src, p.group, &m)
}

// tie settles who may go on when two probe for the same name at the same time (section 8.2).
func (r *responder) tie(now time.Time, l *onLink, m *dns.Msg) {
	if l.phase != probing || len(m.Ns) == 0 {
		return
	}
	for _, name := range uniqueNames(l.records) {
		var theirs, ours []dns.RR
		foreign := false
		for _, rr := range m.Ns {
			if strings.EqualFold(rr.Header().Name, name) {
				theirs = append(theirs, rr)
				foreign = foreign || !r.mine(now, keyOf(rr))
			}
		}
		for _, x := range l.records {
			if x.rr.Header().Name == name {
				ours = append(ours, x.rr)
			}
		}
		if foreign && compare(ours, theirs) < 0 {
			r.probe(now, l, tieWait)
			return
		}
	}
}

// compare orders two sets of records as section 8.2 wants: by class, type and data of each, the longer set last.
func compare(a, b []dns.RR) int {
	form := func(list []dns.RR) [][]byte {
		var out [][]byte
		for _, rr := range list {
			h := rr.Header()
			c := h.Class &^ flush
			out = append(out, append([]byte{byte(c >> 8), byte(c), byte(h.Rrtype >> 8), byte(h.Rrtype)}, rdata(rr)...))
		}
		slices.SortFunc(out, bytes.Compare)
		return out
	}
	return slices.CompareFunc(form(a), form(b), bytes.Compare)
}
