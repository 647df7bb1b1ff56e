package appliance

import (
	"net/netip"
	"testing"

	"hearth.alt/services"
)

// A box that was removed answers names at home alone; its tunnel may be there for a moment still.
func TestNamesOfRemovedBox(t *testing.T) {
	h := openHouse(t, t.TempDir())
	n := &nameSockets{keeper: h.keeper, lan: netip.MustParseAddrPort("127.0.0.1:0"), dev: true, free: true, tunnel: func() bool { return true }}
	s, err := n.open(t.Context(), &services.Membership{})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Packet) != 1 || len(s.Stream) != 1 {
		t.Errorf("it answers at %d and %d places", len(s.Packet), len(s.Stream))
	}
	for _, c := range s.Packet {
		c.Close()
	}
	for _, c := range s.Stream {
		c.Close()
	}
}
