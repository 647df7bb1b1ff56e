package keeper

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/firewall"
)

// TestTheFullestHouseFitsAFrame: the largest question is the firewall's of a household with every address taken.
func TestTheFullestHouseFitsAFrame(t *testing.T) {
	s := firewall.State{
		TUN: "hearth012345678", Net4: netip.MustParsePrefix("10.255.255.0/24"), Net6: netip.MustParsePrefix("fdff:ffff:ffff::/48"),
		Box4: netip.MustParseAddr("10.255.255.1"), Box6: netip.MustParseAddr("fdff:ffff:ffff::1"),
	}
	for i := range firewall.MaxDevices {
		s.Devices = append(s.Devices, firewall.Device{
			Addr4: netip.MustParseAddr(fmt.Sprintf("10.255.255.%d", i+2)), Addr6: netip.MustParseAddr(fmt.Sprintf("fdff:ffff:ffff:ffff:ffff:ffff:ffff:%x", 0xf000+i)),
			Person: "aaaaaaaaaaaaaaaa", Role: services.RoleMember, LAN: false, Peers: false,
		})
	}
	for i := range firewall.MaxNetworks {
		s.Networks = append(s.Networks, netip.MustParsePrefix(fmt.Sprintf("2001:db8:ffff:ffff:ffff:ffff:ffff:%x/128", 0xf000+i)))
	}
	for i := range firewall.MaxInterfaces {
		s.LAN = append(s.LAN, fmt.Sprintf("interface-%05d", i))
	}
	for i := range firewall.MaxPorts {
		p := firewall.Port{Proto: firewall.TCP, Port: uint16(65000 + i)}
		s.Anywhere, s.Home, s.Tunnel, s.Members = append(s.Anywhere, p), append(s.Home, p), append(s.Tunnel, p), append(s.Members, p)
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	in, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	b, err := packFrame(question{ID: 1 << 63, Call: callApplyFirewall, In: in})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d of %d bytes", len(b)-4, maxFrame)
	if q, err := parseQuestion(b); err != nil || q.Call != callApplyFirewall {
		t.Errorf("%+v, %v", q.Call, err)
	}
}

func FuzzKeyFile(f *testing.F) {
	f.Add([]byte{})
	f.Add(formatKey(fileDevice, make([]byte, 32)))
	f.Add(formatKey(fileClient, nil))
	f.Add([]byte("HKY1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		content, ok := parseKey(fileDevice, b)
		if ok && !bytes.Equal(formatKey(fileDevice, content), b) {
			t.Errorf("%x reads as %x and is written otherwise", b, content)
		}
		if _, other := parseKey(fileClient, b); ok && other {
			t.Errorf("%x is two keys", b)
		}
		if len(b) <= maxKeyFile-len(keyMagic)-sumSize {
			if again, ok := parseKey(fileDevice, formatKey(fileDevice, b)); !ok || !bytes.Equal(again, b) {
				t.Errorf("%x does not come back", b)
			}
		}
	})
}

func FuzzAuthorityFile(f *testing.F) {
	f.Add([]byte{})
	f.Add(formatCA(make([]byte, 32), []byte("root"), []byte("intermediate")))
	f.Add(append(make([]byte, 32), 255, 255, 255, 255))
	f.Fuzz(func(t *testing.T, b []byte) {
		scalar, root, intermediate, ok := parseCA(b)
		if ok && !bytes.Equal(formatCA(scalar, root, intermediate), b) {
			t.Errorf("%x is written otherwise", b)
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := parseQuestion(b); err == nil && (q.ID == 0 || calls[q.Call] == nil || len(b) > maxFrame+4) {
			t.Errorf("%q became %+v", b, q)
		}
	})
}
