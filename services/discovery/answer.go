package discovery

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

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
