package appliance

import (
	"net/netip"
	"testing"

	"hearth.alt/services/discovery"
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

// What the home network cannot reach is not announced to it: each of the two pages with its own port, when it is open there.
func TestAnnounced(t *testing.T) {
	for _, c := range []struct {
		http, https string
		want        discovery.Ports
	}{
		{"0.0.0.0:80", "[::]:443", discovery.Ports{Web: 80, Secure: 443}},
		{"127.0.0.1:8480", "[::]:443", discovery.Ports{Secure: 443}},
		{"192.168.1.2:8480", "[::1]:8443", discovery.Ports{Web: 8480}},
		{"127.0.0.1:8480", "[::ffff:127.0.0.1]:8443", discovery.Ports{}},
	} {
		if got := announced(netip.MustParseAddrPort(c.http), netip.MustParseAddrPort(c.https)); got != c.want {
			t.Errorf("--http %s --https %s announces %+v, want %+v", c.http, c.https, got, c.want)
		}
	}
}
