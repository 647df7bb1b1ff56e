package discovery

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

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
