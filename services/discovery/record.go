package discovery

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// Record lifetimes (RFC 6762, section 10): what depends on a host name or an address lives two minutes, the rest 75.
const (
	ttlHost  = 120
	ttlOther = 4500
	// flush is the cache-flush bit of an answer's class, and the unicast-response bit of a question's
	// (sections 10.2 and 5.4).
	flush = 1 << 15
	// nameServices lists the types of service that exist (RFC 6763, section 9).
	nameServices = "_services._dns-sd._udp.local."
)

// record is one of our resource records. A unique one is ours alone and carries the cache-flush bit; a shared one has
// the same name as those of others.
type record struct {
	rr     dns.RR
	unique bool
	key    string
}

// service is one announced service of the box.
type service struct {
	kind string // "_http._tcp"
	port uint16
	text []string
}

func newRecord(rr dns.RR, unique bool) record {
	return record{rr: rr, unique: unique, key: keyOf(rr)}
}

// keyOf names a record by what makes two records the same (RFC 6762, section 10.2): name, type and data, without
// lifetime, and without the cache-flush bit.
func keyOf(rr dns.RR) string {
	h := rr.Header()
	return strings.ToLower(h.Name) + "\x00" + string([]byte{byte(h.Rrtype >> 8), byte(h.Rrtype)}) + string(rdata(rr))
}

// rdata is the wire form of the record's data, with names in lower case and not compressed, as section 8.2 compares
// them.
func rdata(rr dns.RR) []byte {
	c := dns.Copy(rr)
	switch v := c.(type) {
	case *dns.PTR:
		v.Ptr = strings.ToLower(v.Ptr)
	case *dns.SRV:
		v.Target = strings.ToLower(v.Target)
	case *dns.CNAME:
		v.Target = strings.ToLower(v.Target)
	}
	c.Header().Name = "."
	b := make([]byte, dns.Len(c)+16)
	n, err := dns.PackRR(c, b, 0, nil, false)
	if err != nil || n < 11 {
		return nil
	}
	return b[11:n] // root name 1, type 2, class 2, TTL 4, length 2
}

func header(name string, t uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET, Ttl: ttl}
}

// recordsOf lists every record of the box on one link.
func recordsOf(label string, l link, list []service) []record {
	host := label + ".local."
	var out []record
	for _, p := range l.addrs {
		a := p.Addr()
		if a.Is4() {
			out = append(out, newRecord(&dns.A{Hdr: header(host, dns.TypeA, ttlHost), A: a.AsSlice()}, true))
		} else {
			out = append(out, newRecord(&dns.AAAA{Hdr: header(host, dns.TypeAAAA, ttlHost), AAAA: a.AsSlice()}, true))
		}
		if rev, err := dns.ReverseAddr(a.WithZone("").String()); err == nil {
			out = append(out, newRecord(&dns.PTR{Hdr: header(rev, dns.TypePTR, ttlHost), Ptr: host}, true))
		}
	}
	for _, s := range list {
		kind, name := s.kind+".local.", label+"."+s.kind+".local."
		out = append(out,
			newRecord(&dns.PTR{Hdr: header(nameServices, dns.TypePTR, ttlOther), Ptr: kind}, false),
			newRecord(&dns.PTR{Hdr: header(kind, dns.TypePTR, ttlOther), Ptr: name}, false),
			newRecord(&dns.SRV{Hdr: header(name, dns.TypeSRV, ttlHost), Port: s.port, Target: host}, true),
			newRecord(&dns.TXT{Hdr: header(name, dns.TypeTXT, ttlOther), Txt: s.text}, true))
	}
	return out
}

// nsec says which types exist at a name of ours, so that nobody waits for the others (RFC 6762, section 6.1).
func nsec(name string, records []record) (record, bool) {
	var types []uint16
	ttl := uint32(ttlHost)
	for _, r := range records {
		h := r.rr.Header()
		if r.unique && strings.EqualFold(h.Name, name) {
			name, ttl = h.Name, min(ttl, h.Ttl)
			if len(types) == 0 || types[len(types)-1] != h.Rrtype {
				types = append(types, h.Rrtype)
			}
		}
	}
	if len(types) == 0 {
		return record{}, false
	}
	// A before AAAA and TXT before SRV: the bitmap wants ascending types, once each.
	bitmap := types[:0:0]
	for _, t := range []uint16{dns.TypeA, dns.TypePTR, dns.TypeTXT, dns.TypeAAAA, dns.TypeSRV} {
		for _, have := range types {
			if have == t {
				bitmap = append(bitmap, t)
				break
			}
		}
	}
	return newRecord(&dns.NSEC{Hdr: header(name, dns.TypeNSEC, ttl), NextDomain: name, TypeBitMap: bitmap}, true), true
}

// link is one network interface and the addresses people may be told there.
type link struct {
	index int
	name  string
	addrs []netip.Prefix // address and the length of its on-link prefix; sorted, no zones, at most maxAddrs
}

// maxAddrs bounds what one link announces, so that every message fits one packet.
const maxAddrs = 16

func (l link) family(v6 bool) bool {
	for _, p := range l.addrs {
		if p.Addr().Is6() == v6 {
			return true
		}
	}
	return false
}

// local says whether a could be a neighbour on this link (RFC 6762, section 11).
func (l link) local(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if a.IsLinkLocalUnicast() {
		return true
	}
	for _, p := range l.addrs {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
