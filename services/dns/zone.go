package dns

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"hearth.alt/services"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// localTTL is how long a phone may keep what the household's zone says, and that it says nothing: short, because a
// device that leaves must be gone.
const localTTL = 60

// nature is how a local zone answers.
type nature uint8

const (
	withRecords nature = iota // what is not there does not exist
	empty                     // nothing but its own SOA and NS exists
	absentApex                // not even its own name exists
	noData                    // every name exists and has nothing
	loopback                  // every name is this very host
)

// localZone is one zone we answer by ourselves.
type localZone struct {
	apex   string // lower case, with the dot
	nature nature
	soa    *dns.SOA
	ns     *dns.NS
	nodes  map[string][]dns.RR // by name in lower case; a name with no records stands between others
}

// zones are all local zones by apex. It is immutable once built.
type zones map[string]*localZone

// specials are the names that never leave the house, whoever lives in it.
func specials() map[string]nature {
	out := map[string]nature{
		"home.arpa.": empty, "local.": empty, "alt.": empty, "onion.": empty, "invalid.": empty, "test.": empty, "internal.": empty,
		"localhost.": loopback, "resolver.arpa.": noData, "use-application-dns.net.": absentApex,
		// RFC 6303, section 4.
		"10.in-addr.arpa.": empty, "168.192.in-addr.arpa.": empty, "0.in-addr.arpa.": empty, "127.in-addr.arpa.": empty,
		"254.169.in-addr.arpa.": empty, "2.0.192.in-addr.arpa.": empty, "100.51.198.in-addr.arpa.": empty,
		"113.0.203.in-addr.arpa.": empty, "255.255.255.255.in-addr.arpa.": empty,
		strings.Repeat("0.", 32) + "ip6.arpa.": empty, "1." + strings.Repeat("0.", 31) + "ip6.arpa.": empty,
		"d.f.ip6.arpa.": empty, "c.f.ip6.arpa.": empty, "8.e.f.ip6.arpa.": empty, "9.e.f.ip6.arpa.": empty,
		"a.e.f.ip6.arpa.": empty, "b.e.f.ip6.arpa.": empty, "8.b.d.0.1.0.0.2.ip6.arpa.": empty,
	}
	for i := 16; i < 32; i++ {
		out[fmt.Sprintf("%d.172.in-addr.arpa.", i)] = empty
	}
	for i := 64; i < 128; i++ { // RFC 7793
		out[fmt.Sprintf("%d.100.in-addr.arpa.", i)] = empty
	}
	return out
}

func newZone(apex string, n nature, server string, serial uint32) *localZone {
	h := func(t uint16) dns.RR_Header {
		return dns.RR_Header{Name: apex, Rrtype: t, Class: dns.ClassINET, Ttl: localTTL}
	}
	mail := "hostmaster." + server
	if server == "" { // RFC 6303, section 3
		server, mail = apex, "nobody.invalid."
	}
	return &localZone{
		apex: apex, nature: n, nodes: map[string][]dns.RR{},
		soa: &dns.SOA{Hdr: h(dns.TypeSOA), Ns: server, Mbox: mail, Serial: serial, Refresh: 3600, Retry: 1200, Expire: 604800, Minttl: localTTL},
		ns:  &dns.NS{Hdr: h(dns.TypeNS), Ns: server},
	}
}

// add puts a record in the zone, and the names between it and the apex.
func (z *localZone) add(rr dns.RR) {
	name := strings.ToLower(rr.Header().Name)
	z.nodes[name] = append(z.nodes[name], rr)
	for name != z.apex && strings.HasSuffix(name, "."+z.apex) {
		_, up, ok := strings.Cut(name, ".")
		if !ok {
			break
		}
		if name = up; z.nodes[name] == nil {
			z.nodes[name] = []dns.RR{}
		}
	}
}

// buildZones makes the local zones of a household; of an unclaimed box only the special ones.
func buildZones(m *services.Membership) zones {
	out := zones{}
	for apex, n := range specials() {
		out[apex] = newZone(apex, n, "", 1)
	}
	box, ok := m.Box()
	if !m.Claimed() || !ok {
		return out
	}
	h := m.Household
	apex := strings.ToLower(strings.TrimSuffix(h.Domain, ".")) + "."
	server := strings.ToLower(box.Label) + "." + apex
	serial := uint32(m.Revision) // RFC 1982: it may wrap
	zone := newZone(apex, withRecords, server, serial)
	zone.add(zone.soa)
	zone.add(zone.ns)
	out[apex] = zone
	var reverse []*localZone
	for _, p := range []netip.Prefix{h.Net4, h.Net6} {
		if name := reverseApex(p); name != "" {
			r := newZone(name, withRecords, server, serial)
			r.add(r.soa)
			r.add(r.ns)
			out[name] = r
			reverse = append(reverse, r)
		}
	}
	host := func(name string, addrs ...netip.Addr) {
		for _, a := range addrs {
			hdr := dns.RR_Header{Name: name, Rrtype: dns.TypeAAAA, Class: dns.ClassINET, Ttl: localTTL}
			switch {
			case a.Is4():
				hdr.Rrtype = dns.TypeA
				zone.add(&dns.A{Hdr: hdr, A: a.AsSlice()})
			case a.Is6():
				zone.add(&dns.AAAA{Hdr: hdr, AAAA: a.AsSlice()})
			}
		}
	}
	pointer := func(name string, addrs ...netip.Addr) {
		for _, a := range addrs {
			if !a.IsValid() {
				continue
			}
			rev, err := dns.ReverseAddr(a.String())
			for _, r := range reverse {
				if err == nil && strings.HasSuffix(rev, "."+r.apex) {
					r.add(&dns.PTR{Hdr: dns.RR_Header{Name: rev, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: localTTL}, Ptr: name})
				}
			}
		}
	}
	host(apex, box.Addr4, box.Addr6)
	// taken counts who would have a name; only the sole owner gets it.
	taken := map[string]int{}
	for _, b := range m.Boxes {
		if b.Label != "" {
			name := strings.ToLower(b.Label) + "." + apex
			taken[name]++
			host(name, b.Addr4, b.Addr6)
			pointer(name, b.Addr4, b.Addr6)
		}
	}
	people := map[services.PersonID]string{}
	for _, p := range m.People {
		if l := labelOf(p.Name); l != "" {
			people[p.ID] = l
			taken[l+"."+apex]++
		}
	}
	type names struct{ short, long string }
	of := map[services.DeviceID]names{}
	for _, d := range m.Devices {
		l := labelOf(d.Name)
		if d.State != services.StateActive || l == "" {
			continue
		}
		n := names{short: l + "." + apex}
		if p := people[d.Person]; p != "" {
			n.long = l + "." + p + "." + apex
			taken[n.long]++
		}
		taken[n.short]++
		of[d.ID] = n
	}
	for _, d := range m.Devices {
		n, ok := of[d.ID]
		if !ok {
			continue
		}
		name := ""
		for _, try := range []string{n.short, n.long} {
			if try != "" && taken[try] == 1 {
				host(try, d.Addr4, d.Addr6)
				name = try
			}
		}
		if name != "" {
			pointer(name, d.Addr4, d.Addr6)
		}
	}
	return out
}

// reverseApex is the name of the reverse zone of p, whose length must end on a label; "" for anything else.
func reverseApex(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	b := p.Masked().Addr().AsSlice()
	var labels []string
	if p.Addr().Is4() {
		if p.Bits()%8 != 0 {
			return ""
		}
		for _, x := range b[:p.Bits()/8] {
			labels = append(labels, fmt.Sprint(x))
		}
		slices.Reverse(labels)
		return strings.Join(append(labels, "in-addr.arpa."), ".")
	}
	if p.Bits()%4 != 0 {
		return ""
	}
	for _, x := range hex.EncodeToString(b)[:p.Bits()/4] {
		labels = append(labels, string(x))
	}
	slices.Reverse(labels)
	return strings.Join(append(labels, "ip6.arpa."), ".")
}

// labelOf makes a DNS label of a name for people: "Ben's phone" is "bens-phone", "Jürgen" is "jurgen"; letters that
// ASCII has nothing for become an A-label (RFC 5890). It returns "" where nothing is left.
func labelOf(name string) string {
	var b strings.Builder
	dash := false
	for _, c := range norm.NFKD.String(strings.ToLower(strings.ReplaceAll(name, "ß", "ss"))) {
		switch {
		case unicode.Is(unicode.Mn, c) || c == '\'' || c == '’':
		case unicode.IsLetter(c) || unicode.IsDigit(c):
			if dash && b.Len() > 0 {
				b.WriteByte('-')
			}
			dash = false
			b.WriteRune(c)
		default:
			dash = true
		}
		if b.Len() > 63 {
			return ""
		}
	}
	l, err := idna.Punycode.ToASCII(norm.NFC.String(b.String()))
	if err != nil || len(l) > 63 {
		return ""
	}
	return l
}

// find returns the zone name lies in: the one with the longest apex, or nil.
func (z zones) find(name string) *localZone {
	for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
		if zone := z[name[off:]]; zone != nil {
			return zone
		}
	}
	return nil
}

// answer answers a question by itself. It returns nil for a name that is not local.
func (z zones) answer(q dns.Question) *dns.Msg {
	name := strings.ToLower(q.Name)
	zone := z.find(name)
	if zone == nil || name == "home.arpa." && q.Qtype == dns.TypeDS {
		return nil
	}
	m := new(dns.Msg)
	m.Response, m.Authoritative, m.RecursionAvailable = true, true, true
	m.Question = []dns.Question{q}
	if q.Qtype == dns.TypeANY && (zone.nature == withRecords || name == zone.apex) {
		m.Answer = []dns.RR{minimalANY(q.Name)}
		return m
	}
	put := func(rr dns.RR) {
		c := dns.Copy(rr)
		c.Header().Name = q.Name // in the asker's letters
		m.Answer = append(m.Answer, c)
	}
	exists := false
	switch zone.nature {
	case withRecords:
		var node []dns.RR
		node, exists = zone.nodes[name]
		for _, rr := range node {
			if rr.Header().Rrtype == q.Qtype {
				put(rr)
			}
		}
	case empty:
		exists = name == zone.apex
		if exists && q.Qtype == dns.TypeSOA {
			put(zone.soa)
		}
		if exists && q.Qtype == dns.TypeNS {
			put(zone.ns)
		}
	case noData:
		exists = true
	case loopback: // RFC 6761, section 6.3
		exists = true
		hdr := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: localTTL}
		switch q.Qtype {
		case dns.TypeA:
			put(&dns.A{Hdr: hdr, A: []byte{127, 0, 0, 1}})
		case dns.TypeAAAA:
			put(&dns.AAAA{Hdr: hdr, AAAA: netip.IPv6Loopback().AsSlice()})
		}
	}
	if len(m.Answer) == 0 {
		m.Ns = []dns.RR{zone.soa}
		if !exists {
			m.Rcode = dns.RcodeNameError
		}
	}
	return m
}

// minimalANY is the whole answer to ANY (RFC 8482, section 4.2).
func minimalANY(name string) dns.RR {
	return &dns.HINFO{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeHINFO, Class: dns.ClassINET, Ttl: 3600}, Cpu: "RFC8482"}
}

// text lists the zones with records as master file lines, sorted; for tests and for the person who helps.
func (z zones) text() string {
	var lines []string
	for _, zone := range z {
		for _, rrs := range zone.nodes {
			for _, rr := range rrs {
				lines = append(lines, strings.Join(strings.Fields(rr.String()), " "))
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}
