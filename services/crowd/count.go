package crowd

import (
	"net/netip"
	"sync"
)

// Bounds are how much may be under way at the same time: for everybody, for one network, for one address.
//
// All again is a reserve beyond them, so that twice All is the most there can be. It is for addresses that hold fewer
// than Few, and of it a network has at most as many as are left: one takes half, the next half of the rest, and so on.
// Few is at most Address.
type Bounds struct {
	All, Network, Address, Few int
}

// Count lets work in as far as its Bounds allow. It is safe for concurrent use. Make one with NewCount.
type Count struct {
	bounds  Bounds
	mu      sync.Mutex
	all     held
	address map[netip.Addr]int
	network map[netip.Prefix]held
}

// held are places within the bounds and places of the reserve.
type held struct{ usual, reserve int }

// NewCount returns an empty Count.
func NewCount(b Bounds) *Count {
	return &Count{bounds: b, address: map[netip.Addr]int{}, network: map[netip.Prefix]held{}}
}

// Enter takes a place for a, which Leave gives back; false is that there is none. The zero address always has one: it
// is the box itself.
func (c *Count) Enter(a netip.Addr) bool {
	if !a.IsValid() {
		return true
	}
	a = plain(a)
	network := Network(a)
	c.mu.Lock()
	defer c.mu.Unlock()
	mine, ours := c.address[a], c.network[network]
	switch {
	case c.all.usual < c.bounds.All && ours.usual < c.bounds.Network && mine < c.bounds.Address:
		c.all.usual++
		ours.usual++
	case mine < c.bounds.Few && ours.reserve < c.bounds.All-c.all.reserve:
		c.all.reserve++
		ours.reserve++
	default:
		return false
	}
	c.address[a], c.network[network] = mine+1, ours
	return true
}

// Leave gives back a place that Enter took for a. A network's places of the reserve are given back first, whoever has
// them, so that the reserve is there for the next.
func (c *Count) Leave(a netip.Addr) {
	if !a.IsValid() {
		return
	}
	a = plain(a)
	network := Network(a)
	c.mu.Lock()
	defer c.mu.Unlock()
	mine, ours := c.address[a], c.network[network]
	if mine == 0 {
		return // more leave than came
	}
	if ours.reserve > 0 {
		c.all.reserve--
		ours.reserve--
	} else {
		c.all.usual--
		ours.usual--
	}
	if c.address[a] = mine - 1; mine == 1 {
		delete(c.address, a)
	}
	if c.network[network] = ours; ours == (held{}) {
		delete(c.network, network)
	}
}

// Len is how many places are taken.
func (c *Count) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all.usual + c.all.reserve
}
