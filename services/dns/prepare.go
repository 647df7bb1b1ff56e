package dns

import (
	"errors"
	"slices"

	"github.com/miekg/dns"
)

// failure is the answer "cannot say", remembered for a moment.
func failure(q dns.Question, ede uint16) *answer {
	m := new(dns.Msg)
	m.Response, m.RecursionAvailable, m.Rcode = true, true, dns.RcodeServerFailure
	m.Question = []dns.Question{q}
	a, err := wireAnswer(m)
	if err != nil {
		panic("dns: packing an empty answer: " + err.Error()) // q was packed before
	}
	a.ttl, a.failure, a.ede = failureTTL, true, ede
	return a
}

// prepare makes an upstream's answer fit to be kept and given out.
func (f *forwarder) prepare(m *dns.Msg, q dns.Question) (*answer, error) {
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		a := failure(q, 0)
		if m.Rcode != dns.RcodeServerFailure {
			f.cfg.Log.Debug("upstream refuses", "rcode", dns.RcodeToString[m.Rcode])
		}
		return a, nil
	}
	out := new(dns.Msg)
	out.Response, out.RecursionAvailable, out.AuthenticatedData, out.Rcode = true, true, m.AuthenticatedData, m.Rcode
	out.Question = []dns.Question{q}
	about := relevant(q, m.Answer)
	if about.lost {
		return failure(q, chainEDE), nil // as unbound says of what its upstream leads it through
	}
	filtered, answered := false, false
	for _, rr := range m.Answer {
		if !about.answers(rr) {
			continue
		}
		if f.pointsInside(rr, q.Name) {
			filtered = true
			continue
		}
		answered = answered || rr.Header().Rrtype == q.Qtype
		out.Answer = append(out.Answer, rr)
	}
	var soa *dns.SOA
	for _, rr := range m.Ns {
		if !about.vouches(rr) {
			continue
		}
		if s, ok := rr.(*dns.SOA); ok {
			if soa != nil {
				continue // only one can be the zone's
			}
			soa = s
		}
		out.Ns = append(out.Ns, rr)
	}
	if len(out.Answer) == 0 && !filtered && soa == nil && slices.ContainsFunc(m.Answer, ours) {
		return failure(q, 0), nil // it answers another question; that says nothing about this one
	}
	if filtered {
		out.AuthenticatedData = false // nobody signed what is left
	}
	for _, rr := range about.helps(out.Answer, slices.Concat(m.Answer, m.Extra)) {
		if !f.pointsInside(rr, q.Name) && !slices.Contains(out.Answer, rr) {
			out.Extra = append(out.Extra, rr)
		}
	}
	if out.Compress = true; out.Len() > minUDP-optLen {
		out.Extra = nil // a courtesy, and nobody is sent to TCP for it
	}
	var ttl uint32 = maxTTL
	switch negative := !answered; {
	case filtered && negative:
		ttl = min(ttl, maxNegative)
		out.Ns = nil
	case negative && soa == nil:
		ttl = 0 // RFC 2308, section 5: nobody said how long
	case negative:
		ttl = min(maxNegative, soa.Hdr.Ttl, soa.Minttl)
		soa.Hdr.Ttl = ttl
	}
	for _, rr := range slices.Concat(out.Answer, out.Ns, out.Extra) {
		h := rr.Header()
		if h.Ttl > 1<<31-1 {
			h.Ttl = 0 // RFC 2181, section 8
		}
		h.Ttl = min(h.Ttl, maxTTL)
		ttl = min(ttl, h.Ttl)
	}
	a, err := wireAnswer(out)
	if err != nil {
		return nil, err
	}
	a.ttl = ttl
	if filtered {
		a.ede = filterEDE
		f.counters.filtered.Add(1)
	}
	return a, nil
}

// wireAnswer packs m for the cache.
func wireAnswer(m *dns.Msg) (*answer, error) {
	m.Compress = true
	b, err := m.Pack()
	if err != nil {
		return nil, err
	}
	q, rc, err := parseQuery(clearQR(b))
	if err != nil || rc != 0 {
		return nil, errors.New("an answer without a question")
	}
	offsets, err := ttlOffsets(b, q.end)
	if err != nil {
		return nil, err
	}
	return &answer{wire: b, end: q.end, offsets: offsets}, nil
}

// clearQR returns the header and question of an answer as if it were a question.
func clearQR(b []byte) []byte {
	c := slices.Clone(b[:min(len(b), headerLen+256+4)])
	c[2] &^= 0x80
	copy(c[6:headerLen], make([]byte, 6))
	return c
}
