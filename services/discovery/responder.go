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

// ask answers a query.
func (r *responder) ask(now time.Time, l *onLink, src netip.AddrPort, group bool, m *dns.Msg) {
	legacy := src.Port() != 5353
	v6 := src.Addr().Is6()
	if len(m.Question) == 0 {
		// The rest of a truncated query's known answers (section 7.2).
		for i := range l.holds {
			if l.holds[i].src == src {
				l.holds[i].answers = unknown(l.holds[i].answers, m.Answer)
			}
		}
		return
	}
	if l.phase == probing {
		return
	}
	var one, all []record
	shared, probe := false, len(m.Ns) > 0
	for _, q := range m.Question {
		class := q.Qclass &^ flush
		if class != dns.ClassINET && class != dns.ClassANY {
			continue
		}
		found := answersTo(q, l.records)
		toOne := legacy || !group
		if !toOne && q.Qclass&flush != 0 {
			// A unicast answer would leave the others' caches to age; so now and then all hear it (section 5.4).
			toOne = true
			for _, x := range found {
				if now.Sub(l.last[family(v6)][x.key]) > time.Duration(x.rr.Header().Ttl)*time.Second/4 {
					toOne = false
				}
			}
		}
		for _, x := range found {
			shared = shared || !x.unique
			if toOne {
				one = add(one, x)
			} else {
				all = add(all, x)
			}
		}
	}
	if legacy {
		r.legacy(now, l, v6, src, m, one)
		return
	}
	one, all = unknown(one, m.Answer), unknown(all, m.Answer)
	wait := time.Duration(0)
	switch {
	case m.Truncated:
		wait = truncatedMin + r.jitter(truncatedMax-truncatedMin)
	case probe: // a name that is taken is defended at once
	case shared:
		wait = sharedMin + r.jitter(sharedMax-sharedMin)
	}
	again := sameAgain
	if probe {
		again = defendAgain
	}
	for _, part := range []struct {
		list    []record
		unicast bool
	}{{one, true}, {all, false}} {
		switch {
		case len(part.list) == 0:
		case wait == 0:
			r.reply(now, l, v6, src, part.unicast, part.list, again)
		case len(l.holds) < maxHolds:
			l.holds = append(l.holds, hold{src: src, unicast: part.unicast, v6: v6, due: now.Add(wait), answers: part.list})
		}
	}
}

func family(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

func add(list []record, x record) []record {
	if slices.ContainsFunc(list, func(y record) bool { return y.key == x.key }) {
		return list
	}
	return append(list, x)
}

// answersTo lists the records that answer q; for a name of ours without such a record, the proof that there is none.
func answersTo(q dns.Question, records []record) []record {
	var out []record
	named := false
	for _, x := range records {
		h := x.rr.Header()
		if !strings.EqualFold(h.Name, q.Name) {
			continue
		}
		named = named || x.unique
		if q.Qtype == h.Rrtype || q.Qtype == dns.TypeANY {
			out = append(out, x)
		}
	}
	if len(out) == 0 && named {
		if n, ok := nsec(q.Name, records); ok {
			out = append(out, n)
		}
	}
	return out
}

// unknown takes out what the asker already knows with at least half its lifetime left (section 7.1).
func unknown(list []record, known []dns.RR) []record {
	if len(known) == 0 || len(list) == 0 {
		return list
	}
	have := map[string]uint32{}
	for _, rr := range known {
		have[keyOf(rr)] = rr.Header().Ttl
	}
	return slices.DeleteFunc(slices.Clone(list), func(x record) bool {
		ttl, ok := have[x.key]
		return ok && ttl >= x.rr.Header().Ttl/2
	})
}

// additional lists what whoever asked will want next (RFC 6763, section 12; RFC 6762, section 6.2 for NSEC).
func additional(answers, records []record) []record {
	var out []record
	var hosts []string
	take := func(name string, types ...uint16) {
		for _, x := range records {
			h := x.rr.Header()
			if strings.EqualFold(h.Name, name) && slices.Contains(types, h.Rrtype) &&
				!slices.ContainsFunc(answers, func(y record) bool { return y.key == x.key }) {
				out = add(out, x)
			}
		}
	}
	for _, a := range answers {
		switch rr := a.rr.(type) {
		case *dns.PTR:
			take(rr.Ptr, dns.TypeSRV, dns.TypeTXT, dns.TypeA, dns.TypeAAAA)
			for _, x := range records {
				if s, ok := x.rr.(*dns.SRV); ok && strings.EqualFold(s.Hdr.Name, rr.Ptr) {
					hosts = append(hosts, s.Target)
				}
			}
		case *dns.SRV:
			hosts = append(hosts, rr.Target)
		case *dns.A, *dns.AAAA:
			hosts = append(hosts, rr.Header().Name)
		}
	}
	slices.Sort(hosts)
	for _, h := range slices.Compact(hosts) {
		take(h, dns.TypeA, dns.TypeAAAA)
		if n, ok := nsec(h, records); ok {
			out = append(out, n)
		}
	}
	return out
}

// reply sends answers, to src or to all; to all only what they have not just heard.
func (r *responder) reply(now time.Time, l *onLink, v6 bool, src netip.AddrPort, unicast bool, answers []record, again time.Duration) {
	last := l.last[family(v6)]
	if !unicast {
		answers = slices.DeleteFunc(slices.Clone(answers), func(x record) bool {
			t, ok := last[x.key]
			return ok && now.Sub(t) < again
		})
	}
	if len(answers) == 0 {
		return
	}
	if unicast && (!l.local(src.Addr()) || !l.one.take(now)) || !unicast && !l.all.take(now) {
		return
	}
	var m dns.Msg
	for _, x := range answers {
		m.Answer = append(m.Answer, marked(x))
	}
	for _, x := range additional(answers, l.records) {
		m.Extra = append(m.Extra, marked(x))
	}
	if unicast {
		r.send(l, v6, src, &m)
		return
	}
	for _, x := range answers {
		last[x.key] = now
	}
	r.send(l, v6, netip.AddrPort{}, &m)
}

// legacy answers a plain DNS client that asked the group once (section 6.7): its identifier and question come back,
// lifetimes are short, and no class carries the bit it does not know.
func (r *responder) legacy(now time.Time, l *onLink, v6 bool, src netip.AddrPort, q *dns.Msg, answers []record) {
	if len(answers) == 0 || src.Port() == 0 || !l.local(src.Addr()) || !l.one.take(now) {
		return
	}
	m := dns.Msg{Question: q.Question}
	m.Id, m.RecursionDesired = q.Id, q.RecursionDesired
	put := func(x record) dns.RR {
		rr := dns.Copy(x.rr)
		rr.Header().Ttl = min(rr.Header().Ttl, legacyTTL)
		return rr
	}
	for i := range m.Question {
		m.Question[i].Qclass &^= flush
	}
	for _, x := range answers {
		if x.rr.Header().Rrtype != dns.TypeNSEC { // "no such type" is an empty answer to these
			m.Answer = append(m.Answer, put(x))
		}
	}
	if len(m.Answer) > 0 {
		for _, x := range additional(answers, l.records) {
			if x.rr.Header().Rrtype != dns.TypeNSEC {
				m.Extra = append(m.Extra, put(x))
			}
		}
	}
	m.Response, m.Authoritative, m.Compress = true, true, true
	if m.Len() > dns.MinMsgSize {
		m.Extra = nil
	}
	r.send(l, v6, src, &m)
}

// hear takes what others say: conflicts with our names, answers that make ours needless, hints about services.
func (r *responder) hear(now time.Time, l *onLink, from netip.Addr, m *dns.Msg) {
	names := uniqueNames(l.records)
	clash := false
	for _, rr := range slices.Concat(m.Answer, m.Extra) {
		h := rr.Header()
		if h.Class&^flush != dns.ClassINET {
			continue
		}
		if ptr, ok := rr.(*dns.PTR); ok {
			r.hint(from, ptr)
			r.spare(l, rr)
			continue
		}
		if h.Ttl == 0 || !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, h.Name) }) {
			continue
		}
		switch h.Rrtype {
		case dns.TypeNSEC:
			continue // follows the records it is about, and differs from link to link
		case dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeTXT:
		default:
			if l.phase != probing {
				continue
			}
		}
		if !r.mine(now, keyOf(rr)) {
			clash = true
		}
	}
	if !clash {
		return
	}
	wait := r.jitter(probeGap)
	r.conflicts = append(slices.DeleteFunc(r.conflicts, func(t time.Time) bool { return now.Sub(t) > conflictSpan }), now)
	if len(r.conflicts) >= manyConflicts {
		wait = conflictWait
		r.conflicts = r.conflicts[len(r.conflicts)-manyConflicts:]
	}
	if l.phase != probing {
		// Section 9: probe again; whoever defends the name keeps it.
		r.probe(now, l, wait)
		return
	}
	// The name is taken: the next number, on every link.
	for _, o := range r.order() {
		if o.phase != probing {
			r.goodbye(now, o, o.records, false)
		}
	}
	if r.number++; r.number > 9999 {
		r.number = 2
	}
	for _, o := range r.order() {
		o.records = recordsOf(r.label(), o.link, r.services)
		r.probe(now, o, wait)
	}
}

// spare drops a waiting answer that someone else has just given to all (section 7.4).
func (r *responder) spare(l *onLink, rr dns.RR) {
	key := keyOf(rr)
	for i := range l.holds {
		if l.holds[i].unicast {
			continue
		}
		l.holds[i].answers = slices.DeleteFunc(l.holds[i].answers, func(x record) bool {
			return x.key == key && rr.Header().Ttl >= x.rr.Header().Ttl
		})
	}
}

func (r *responder) hint(from netip.Addr, ptr *dns.PTR) {
	s, ok := strings.CutSuffix(strings.ToLower(ptr.Hdr.Name), ".local.")
	if !ok || !r.watch[s] || len(r.hints) >= maxHints {
		return
	}
	instance := ptr.Ptr
	if n := len(instance) - len(ptr.Hdr.Name) - 1; n > 0 && strings.EqualFold(instance[n+1:], ptr.Hdr.Name) && instance[n] == '.' {
		r.hints = append(r.hints, hint{service: s, instance: instance[:n], from: from, gone: ptr.Hdr.Ttl == 0})
	}
}
