package dns

import "net/netip"

// shares counts what is under way for whom, so that one asker cannot take all of something that has a bound. It is not
// safe for concurrent use.
//
// An address has a share, and so has a network (an IPv4 /24, an IPv6 /64), because a host at home can take as many
// addresses of its network as it likes. A network's share is larger: the household's phones are one in the tunnel.
type shares struct {
	address, network int // the most for one
	taken            map[netip.Prefix]int
}

// newShares divides all places: an eighth for an address, half for a network.
func newShares(all int) shares {
	return shares{address: all / 8, network: all / 2, taken: map[netip.Prefix]int{}}
}

// take takes one place for a; false is that a has its share. The zero address is the box itself, which needs none.
func (s *shares) take(a netip.Addr) bool {
	one, network, ok := sources(a)
	if !ok {
		return true
	}
	if s.taken[one] >= s.address || s.taken[network] >= s.network {
		return false
	}
	s.taken[one]++
	s.taken[network]++
	return true
}

// give returns a place that take took.
func (s *shares) give(a netip.Addr) {
	one, network, ok := sources(a)
	if !ok {
		return
	}
	for _, p := range [...]netip.Prefix{one, network} {
		if s.taken[p]--; s.taken[p] <= 0 {
			delete(s.taken, p)
		}
	}
}

// sources are what a counts as.
func sources(a netip.Addr) (one, network netip.Prefix, ok bool) {
	if !a.IsValid() {
		return one, network, false
	}
	a = a.Unmap().WithZone("")
	one = netip.PrefixFrom(a, a.BitLen())
	bits := 64
	if a.Is4() {
		bits = 24
	}
	network, err := a.Prefix(bits)
	return one, network, err == nil
}
