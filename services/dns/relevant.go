package dns

import (
	"slices"

	"github.com/miekg/dns"
)

// maxChain is how many names an answer may lead through. Resolvers stop sooner: unbound at 11 aliases, BIND at 16.
const maxChain = 20

// relevance says which records of an upstream's answer are about a question. The others are nobody's to say here, and
// whoever believed them would be deceived by them (RFC 2181, section 5.4.1; RFC 5452, section 6).
type relevance struct {
	qtype uint16
	next  map[string]string // alias to target, canonical
	names []string          // the name asked for and those it leads to, canonical, in order
	lost  bool              // the aliases are too many, or a circle
}

func relevant(q dns.Question, answer []dns.RR) relevance {
	r := relevance{qtype: q.Qtype, next: map[string]string{}}
	for _, rr := range answer {
		if c, ok := rr.(*dns.CNAME); ok && ours(rr) {
			owner := dns.CanonicalName(c.Hdr.Name)
			if _, ok := r.next[owner]; !ok { // one alias, one target (RFC 2181, section 10.1)
				r.next[owner] = dns.CanonicalName(c.Target)
			}
		}
	}
	for name, more := dns.CanonicalName(q.Name), true; more; {
		if r.lost = len(r.names) == maxChain || slices.Contains(r.names, name); r.lost {
			break
		}
		r.names = append(r.names, name)
		if q.Qtype == dns.TypeCNAME {
			break // the alias itself is the answer
		}
		name, more = r.next[name]
	}
	return r
}

// ours says whether rr is data of the class we answer for.
func ours(rr dns.RR) bool {
	return rr != nil && rr.Header().Class == dns.ClassINET && rr.Header().Rrtype != dns.TypeOPT
}

// answers says whether rr belongs into the answer section: what was asked for, the aliases on the way there, and the
// signatures of both.
func (r *relevance) answers(rr dns.RR) bool {
	if !ours(rr) {
		return false
	}
	owner, t := dns.CanonicalName(rr.Header().Name), rr.Header().Rrtype
	if s, ok := rr.(*dns.RRSIG); ok && r.qtype != dns.TypeRRSIG {
		t = s.TypeCovered
	}
	switch t {
	case r.qtype:
		return slices.Contains(r.names, owner)
	case dns.TypeCNAME:
		c, ok := rr.(*dns.CNAME)
		return slices.Contains(r.names, owner) && (!ok || dns.CanonicalName(c.Target) == r.next[owner])
	case dns.TypeDNAME: // the aliases made from it are there as well (RFC 6672, section 3.1)
		return r.above(owner) && !slices.Contains(r.names, owner)
	}
	return false
}

// vouches says whether rr belongs into the authority section: the zone of a name on the way, and proofs that something
// does not exist.
func (r *relevance) vouches(rr dns.RR) bool {
	if !ours(rr) {
		return false
	}
	t := rr.Header().Rrtype
	if s, ok := rr.(*dns.RRSIG); ok {
		t = s.TypeCovered
	}
	switch t {
	case dns.TypeSOA, dns.TypeNS, dns.TypeDS:
		return r.above(dns.CanonicalName(rr.Header().Name))
	case dns.TypeNSEC, dns.TypeNSEC3:
		return true // beside the name, where only a signature says whether it belongs
	}
	return false
}

// above says whether a name on the way is zone or below it.
func (r *relevance) above(zone string) bool {
	return slices.ContainsFunc(r.names, func(n string) bool { return dns.IsSubDomain(zone, n) })
}

// maxAlias is how many targets in a row helps follows. Whoever asks follows them by itself as well.
const maxAlias = 8

// helps picks what whoever asked for HTTPS or SVCB asks for next (RFC 9460, section 4.2): the records that an alias
// leads to, and the addresses at the end. answer is what is left of the answer section; all is where to look.
func (r *relevance) helps(answer, all []dns.RR) []dns.RR {
	if r.qtype != dns.TypeHTTPS && r.qtype != dns.TypeSVCB {
		return nil
	}
	targets, hosts := []string{r.names[len(r.names)-1]}, []string(nil)
	for here := answer; len(targets) <= maxAlias; here = all {
		name, next := targets[len(targets)-1], ""
		for _, rr := range here {
			v, ok := service(rr)
			if !ok || v.Hdr.Rrtype != r.qtype || dns.CanonicalName(v.Hdr.Name) != name {
				continue
			}
			target := dns.CanonicalName(v.Target)
			switch {
			case v.Priority == 0:
				next = target
			case target == ".":
				hosts = append(hosts, name)
			default:
				hosts = append(hosts, target)
			}
		}
		if next == "" && hosts == nil && len(targets) > 1 {
			hosts = append(hosts, name) // an alias to a host without such records
		}
		if next == "" || next == "." || hosts != nil || slices.Contains(targets, next) {
			break
		}
		targets = append(targets, next)
	}
	var out []dns.RR
	for _, rr := range all {
		if !ours(rr) {
			continue
		}
		owner, t := dns.CanonicalName(rr.Header().Name), rr.Header().Rrtype
		if s, ok := rr.(*dns.RRSIG); ok {
			t = s.TypeCovered
		}
		if t == r.qtype && slices.Contains(targets[1:], owner) || (t == dns.TypeA || t == dns.TypeAAAA) && slices.Contains(hosts, owner) {
			out = append(out, rr)
		}
	}
	return out
}

// service returns the record as SVCB has it; HTTPS is one of its kind.
func service(rr dns.RR) (*dns.SVCB, bool) {
	switch v := rr.(type) {
	case *dns.SVCB:
		return v, ours(rr)
	case *dns.HTTPS:
		return &v.SVCB, ours(rr)
	}
	return nil, false
}
