package link

import (
	"net"
	"net/netip"
	"sync"
)

// callers bounds the connections that others opened, from the first packet on: in all, and from one network (an IPv4
// /24, an IPv6 /64). Loopback is many boxes on one machine and has the bound of all only.
type callers struct {
	mu   sync.Mutex
	all  int
	from map[netip.Prefix]int
}

// enter takes a connection in; nil is no.
func (c *callers) enter(a net.Addr) (leave func()) {
	network := networkOf(a)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= maxCallers || !network.Addr().IsLoopback() && c.from[network] >= maxOfNetwork {
		return nil
	}
	if c.from == nil {
		c.from = map[netip.Prefix]int{}
	}
	c.all++
	c.from[network]++
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all--
		if c.from[network]--; c.from[network] == 0 {
			delete(c.from, network)
		}
	})
}

// crowded says that addresses should be proven before more is done for them (RFC 9000, section 8.1.2).
func (c *callers) crowded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all >= maxCallers/4
}

func networkOf(a net.Addr) netip.Prefix {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{}
	}
	ip, bits := at.Addr().Unmap().WithZone(""), 64
	if ip.Is4() {
		bits = 24
	}
	p, _ := ip.Prefix(bits)
	return p
}
