package crowd

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func TestAddress(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:5":            "192.0.2.7 of 192.0.2.7/32 in 192.0.2.0/24",
		"192.0.2.7":              "192.0.2.7 of 192.0.2.7/32 in 192.0.2.0/24",
		"[::ffff:192.0.2.7]:5":   "192.0.2.7 of 192.0.2.7/32 in 192.0.2.0/24",
		"[2001:db8:1:2:3::9]:5":  "2001:db8:1:2:3::9 of 2001:db8:1:2::/64 in 2001:db8:1:2::/64",
		"[fe80::7%eth0]:5":       "fe80::7 of fe80::/64 in fe80::/64",
		"@":                      "invalid IP of invalid Prefix in invalid Prefix",
		"":                       "invalid IP of invalid Prefix in invalid Prefix",
		"/run/hearth/admin.sock": "invalid IP of invalid Prefix in invalid Prefix",
	} {
		a := Address(remote)
		if got := fmt.Sprintf("%v of %v in %v", a, Machine(a), Network(a)); got != want {
			t.Errorf("%q is %s, want %s", remote, got, want)
		}
	}
	if got := Network(netip.MustParseAddr("::ffff:192.0.2.7")).String(); got != "192.0.2.0/24" {
		t.Errorf("the network of mapped IPv4 is %s", got)
	}
	if got := Machine(netip.MustParseAddr("::ffff:192.0.2.7")).String(); got != "192.0.2.7/32" {
		t.Errorf("the machine of mapped IPv4 is %s", got)
	}
}

var testBounds = Bounds{All: 256, Network: 128, Address: 32, Few: 2}

// entered fills what an address gets, at most most, and returns how much that is.
func entered(c *Count, a netip.Addr, most int) (n int) {
	for n < most && c.Enter(a) {
		n++
	}
	return n
}

// host is host i of a /24 or of a /64.
func host(network netip.Prefix, i int) netip.Addr {
	b := network.Addr().AsSlice()
	b[len(b)-1] = byte(i)
	if len(b) == 16 {
		b[len(b)-2] = byte(i >> 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// everything is what an attacker gets who takes all that it can from 256 addresses of each network, first the one
// address, then the next, or all in turn.
func everything(c *Count, inTurn bool, networks ...netip.Prefix) (n int) {
	for range testBounds.Address {
		for _, network := range networks {
			for i := range 256 {
				most := testBounds.Address
				if inTurn {
					most = 1
				}
				n += entered(c, host(network, i), most)
			}
		}
	}
	return n
}

var (
	netA = netip.MustParsePrefix("192.0.2.0/24")
	netB = netip.MustParsePrefix("2001:db8:0:b::/64")
	netC = netip.MustParsePrefix("198.51.100.0/24")
	netD = netip.MustParsePrefix("2001:db8:0:d::/64")
)

// Who still gets in beside whom.
func TestCountAttackers(t *testing.T) {
	a := testBounds
	for _, tt := range []struct {
		name   string
		attack func(*Count)
		who    netip.Addr
		want   int
	}{
		{"nobody", func(*Count) {}, host(netA, 77), a.Address},
		{"one address, itself", func(c *Count) { entered(c, host(netA, 1), 1000) }, host(netA, 1), 0},
		{"one address, its neighbour", func(c *Count) { entered(c, host(netA, 1), 1000) }, host(netA, 77), a.Address},
		{"four addresses, the fifth of the network", func(c *Count) {
			for i := range 4 {
				entered(c, host(netA, i), 1000)
			}
		}, host(netA, 77), a.Few},
		{"twenty addresses, another of the network", func(c *Count) {
			for i := range 20 {
				entered(c, host(netA, i), 1000)
			}
		}, host(netA, 77), a.Few},
		{"a network of 256, another network", func(c *Count) { everything(c, false, netA) }, host(netC, 1), a.Address},
		{"a network of 256 in turn, another network", func(c *Count) { everything(c, true, netA) }, host(netC, 1), a.Address},
		{"two networks of 256, a third", func(c *Count) { everything(c, false, netA, netB) }, host(netC, 1), a.Few},
		{"two networks of 256 in turn, a third", func(c *Count) { everything(c, true, netA, netB) }, host(netC, 1), a.Few},
		{"three networks of 256, a fourth", func(c *Count) { everything(c, true, netA, netB, netC) }, host(netD, 1), a.Few},
		{"four addresses in each of two networks, a neighbour", func(c *Count) {
			for i := range 4 {
				entered(c, host(netA, i), 1000)
				entered(c, host(netB, i), 1000)
			}
		}, host(netA, 77), a.Few},
		{"four addresses at home and 256 elsewhere, a neighbour", func(c *Count) {
			for i := range 4 {
				entered(c, host(netA, i), 1000)
			}
			everything(c, true, netB)
		}, host(netA, 77), a.Few},
		{"a thousand networks, one more: nothing is promised", func(c *Count) {
			for i := range 1000 {
				c.Enter(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}))
			}
		}, host(netA, 77), 0},
		{"a thousand networks, the box itself", func(c *Count) {
			for i := range 1000 {
				c.Enter(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}))
			}
		}, netip.Addr{}, 1000},
	} {
		c := NewCount(testBounds)
		tt.attack(c)
		if got := entered(c, tt.who, 1000); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
		if c.Len() > 2*testBounds.All {
			t.Errorf("%s: %d are under way, want at most %d", tt.name, c.Len(), 2*testBounds.All)
		}
	}
}

// What one takes at most.
func TestCountBounds(t *testing.T) {
	for _, tt := range []struct {
		name     string
		networks []netip.Prefix
		want     int
	}{
		{"one network", []netip.Prefix{netA}, 128 + 128},
		{"two networks", []netip.Prefix{netA, netB}, 256 + 128 + 64},
		{"three networks", []netip.Prefix{netA, netB, netC}, 256 + 128 + 64 + 32},
	} {
		c := NewCount(testBounds)
		if got := everything(c, false, tt.networks...); got != tt.want || c.Len() != tt.want {
			t.Errorf("%s take %d, %d counted, want %d", tt.name, got, c.Len(), tt.want)
		}
	}
	// Within the bounds alone.
	c := NewCount(Bounds{All: 256, Network: 128, Address: 32})
	for _, network := range []netip.Prefix{netA, netB, netC} {
		want := 128
		if network == netC {
			want = 0
		}
		if got := everything(c, false, network); got != want {
			t.Errorf("without a reserve %v takes %d, want %d", network, got, want)
		}
	}
}

// However they come and go, the bounds hold, whoever holds next to nothing is refused only when the reserve is shared
// out, and nothing stays when all have left.
func checkCount(t *testing.T, ops []byte) {
	b := Bounds{All: 16, Network: 8, Address: 4, Few: 2}
	c := NewCount(b)
	type at struct {
		a netip.Addr
		n netip.Prefix
	}
	var inside []at
	holds, ofNetwork := map[netip.Addr]int{}, map[netip.Prefix]int{}
	leave := func(i int) {
		who := inside[i]
		inside[i] = inside[len(inside)-1]
		inside = inside[:len(inside)-1]
		holds[who.a]--
		ofNetwork[who.n]--
		c.Leave(who.a)
	}
	for _, op := range ops {
		if op >= 0xa0 {
			if len(inside) > 0 {
				leave(int(op) % len(inside))
			}
			continue
		}
		networks := []netip.Prefix{netA, netB, netC, netD}
		n := networks[op>>3&3]
		a := host(n, int(op&7))
		mine, ours, left := holds[a], c.network[n], b.All-c.all.reserve
		room := len(inside) < b.All && ofNetwork[n] < b.Network && mine < b.Address
		switch in := c.Enter(a); {
		case in:
			inside = append(inside, at{a, n})
			holds[a]++
			ofNetwork[n]++
		case room:
			t.Fatalf("%v is refused within the bounds: %d of %d, %d of its network, %d itself", a, len(inside), b.All, ofNetwork[n], mine)
		case mine < b.Few && ours.reserve < left:
			t.Fatalf("%v holds %d and is refused: its network has %d of the reserve, %d are left", a, mine, ours.reserve, left)
		}
		if holds[a] > b.Address || c.all.usual > b.All || c.all.reserve > b.All || c.network[n].usual > b.Network {
			t.Fatalf("beyond the bounds: %d of %v, all %+v, network %+v", holds[a], a, c.all, c.network[n])
		}
		var sum held
		for n, h := range c.network {
			sum.usual, sum.reserve = sum.usual+h.usual, sum.reserve+h.reserve
			if h.usual+h.reserve != ofNetwork[n] {
				t.Fatalf("%v is counted %+v and holds %d", n, h, ofNetwork[n])
			}
		}
		if sum != c.all || c.Len() != len(inside) {
			t.Fatalf("all are counted %+v, the networks together %+v, and %d are inside", c.all, sum, len(inside))
		}
	}
	for len(inside) > 0 {
		leave(0)
	}
	c.Leave(host(netA, 1)) // one too often
	if c.Len() != 0 || len(c.address) != 0 || len(c.network) != 0 {
		t.Fatalf("all have left, and %d are counted, of %d addresses and %d networks", c.Len(), len(c.address), len(c.network))
	}
}

func random(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	ops := make([]byte, n)
	for i := range ops {
		ops[i] = byte(r.Uint32())
	}
	return ops
}

func TestCountModel(t *testing.T) {
	for seed := range uint64(200) {
		checkCount(t, random(seed, 500))
	}
}

func FuzzCount(f *testing.F) {
	f.Add(random(1, 100))
	f.Add([]byte{0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 0xa0, 5, 8, 9, 10})
	f.Fuzz(func(t *testing.T, ops []byte) { checkCount(t, ops) })
}

func TestCountAllocatesNothing(t *testing.T) {
	c := NewCount(testBounds)
	a := host(netB, 1)
	if n := testing.AllocsPerRun(1000, func() { c.Enter(a); c.Leave(a) }); n != 0 {
		t.Errorf("entering and leaving allocates %v times", n)
	}
}
