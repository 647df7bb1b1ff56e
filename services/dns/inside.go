package dns

import (
	"net/netip"

	"github.com/miekg/dns"
)

// pointsInside says whether a record from outside names an address inside that it may not name.
func (f *forwarder) pointsInside(rr dns.RR, asked string) bool {
	inside, never := false, false
	check := func(b []byte) {
		if a, ok := netip.AddrFromSlice(b); ok {
			inside = inside || insideAddr(undress(a)) || f.cfg.Home(a.Unmap())
			never = never || noneOfHouse(undress(a))
		}
	}
	switch v := rr.(type) {
	case *dns.A:
		check(v.A.To4())
	case *dns.AAAA:
		check(v.AAAA.To16())
	case *dns.HTTPS:
		hints(&v.SVCB, check)
	case *dns.SVCB:
		hints(v, check)
	default:
		return false
	}
	return never || inside && !f.homeward.allows(asked)
}

func hints(v *dns.SVCB, check func([]byte)) {
	for _, kv := range v.Value {
		switch h := kv.(type) {
		case *dns.SVCBIPv4Hint:
			for _, ip := range h.Hint {
				check(ip.To4())
			}
		case *dns.SVCBIPv6Hint:
			for _, ip := range h.Hint {
				check(ip.To16())
			}
		}
	}
}

var (
	shared = netip.MustParsePrefix("100.64.0.0/10")  // RFC 6598
	thisIP = netip.MustParsePrefix("0.0.0.0/8")      // reaches the asker itself on many systems
	site   = netip.MustParsePrefix("fec0::/10")      // site-local: deprecated by RFC 3879, still routed by some
	nat64  = netip.MustParsePrefix("64:ff9b:1::/48") // a translator of the house's own (RFC 8215)
)

// dresses are prefixes of IPv6 addresses that mean the IPv4 address at a byte. ::ffff:0:0/96 is undone by Unmap.
var dresses = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},    // NAT64, RFC 6052
	{netip.MustParsePrefix("::/96"), 12},           // compatible, RFC 4291, section 2.5.5.1
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12}, // translated, RFC 2765, section 2.1
	{netip.MustParsePrefix("2002::/16"), 2},        // 6to4, RFC 3056
}

// undress returns the address that a means.
func undress(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() && !a.IsUnspecified() && a != netip.IPv6Loopback() {
		for _, d := range dresses {
			if b := a.As16(); d.prefix.Contains(a) {
				return netip.AddrFrom4([4]byte(b[d.at:]))
			}
		}
	}
	return a
}

// noneOfHouse says whether an undressed address is that of the asker itself, or of a link, and so of nothing that a
// household has a name for.
func noneOfHouse(a netip.Addr) bool {
	return a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() || a.IsMulticast() || thisIP.Contains(a)
}

// insideAddr says whether an undressed address means something inside a house.
func insideAddr(a netip.Addr) bool {
	return noneOfHouse(a) || a.IsPrivate() || shared.Contains(a) || site.Contains(a) || nat64.Contains(a)
}
