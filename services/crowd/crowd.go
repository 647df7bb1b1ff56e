// Package crowd shares what is bounded among everybody who wants of it, so that nobody keeps the others out: not one
// address, not one network, not many addresses of one or two networks.
//
//	Count   work that cannot be interrupted: a request, a question. One too many is not let in.
//	Table   connections, which can be given up: there is always a place for a new one.
//
// Who asks is known by address only, and a machine can put on other addresses of its network. So both look at the
// address and at its network (a /24, a /64). Whoever has addresses of very many networks still takes all of a Count, and
// whoever has many of one network may take all that a Count has for that one.
//
// The package is a leaf tool: anyone may import it, and it imports nothing of ours.
package crowd

import (
	"net"
	"net/netip"
)

// Address is who is at the other end of a connection, without the port; invalid for what is no address.
func Address(remote string) netip.Addr {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return plain(a)
}

// plain is a without what makes two of one: the IPv6 dress of IPv4, the zone.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// Network is the network that a is in as far as one can tell from outside: a /24, a /64. Whoever is in it can put on
// other addresses of it.
func Network(a netip.Addr) netip.Prefix { return prefix(a, 24) }

// Machine is what counts as one machine: an IPv4 address, an IPv6 /64, since a machine may put on all of one.
func Machine(a netip.Addr) netip.Prefix { return prefix(a, 32) }

// prefix is the first bits4 bits of an IPv4 address, the first 64 of an IPv6 address.
func prefix(a netip.Addr, bits4 int) netip.Prefix {
	a = plain(a)
	bits := 64
	if a.Is4() {
		bits = bits4
	}
	p, _ := a.Prefix(bits)
	return p
}
