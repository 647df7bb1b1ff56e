package appliance

import (
	"net/netip"
	"testing"
)

// Whose questions are answered, and what an answer from outside must not point to, with a global prefix at home.
func TestNeighbours(t *testing.T) {
	looks := 0
	n := &neighbours{look: func() home {
		looks++
		return home{
			addresses: []netip.Addr{netip.MustParseAddr("192.168.1.2"), netip.MustParseAddr("2a00:1234:5678:9a00::2")},
			networks:  []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("2a00:1234:5678:9a00::/64")},
		}
	}}
	for address, want := range map[string]struct{ have, others bool }{
		"2a00:1234:5678:9a00::77": {true, true},   // a printer
		"2a00:1234:5678:9a00::2":  {true, false},  // the box itself
		"2a00:1234:5678:9a01::77": {false, false}, // somebody else
		"203.0.114.1":             {false, false},
		"192.168.1.77":            {true, true},
		"fe80::1":                 {true, false},
	} {
		a := netip.MustParseAddr(address)
		if have, others := n.have(a), n.others(a); have != want.have || others != want.others {
			t.Errorf("%s: have %v, others %v; want %+v", address, have, others, want)
		}
	}
	if looks != 1 {
		t.Errorf("the interfaces were read %d times, want once", looks)
	}
}
