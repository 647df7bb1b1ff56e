package netlab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Port is one end of a cable: an interface of a host. It is up unless Down was called.
type Port struct {
	Host  *Host
	Name  string // as the host sees it: "eth0"
	Index int
}

// Link joins two hosts by a cable (a veth pair) whose ends have the given interface names, both up, MTU 1500 and no
// address but the link-local one of IPv6.
func (l *Lab) Link(a *Host, aName string, b *Host, bName string) (*Port, *Port) {
	l.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = aName
	attrs.Namespace = netlink.NsFd(int(a.ns))
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: bName, PeerNamespace: netlink.NsFd(int(b.ns))}
	// Made from inside a, so that the names never exist in the machine's own namespace, where they may be taken.
	if err := a.nl.LinkAdd(veth); err != nil {
		l.t.Fatalf("cable %s/%s - %s/%s: %v", a.name, aName, b.name, bName, err)
	}
	return a.port(aName), b.port(bName)
}

func (h *Host) port(name string) *Port {
	h.lab.t.Helper()
	link, err := h.nl.LinkByName(name)
	if err == nil {
		err = h.nl.LinkSetUp(link)
	}
	if err != nil {
		h.lab.t.Fatalf("%s/%s: %v", h.name, name, err)
	}
	return &Port{Host: h, Name: name, Index: link.Attrs().Index}
}

// Port returns the host's interface of that name.
func (h *Host) Port(name string) *Port {
	h.lab.t.Helper()
	return h.port(name)
}

// Switch is an Ethernet switch: any number of hosts on one segment, multicast included.
type Switch struct {
	host   *Host
	bridge netlink.Link
}

// Switch adds a switch without cables.
func (l *Lab) Switch(name string) *Switch {
	l.t.Helper()
	h := l.Host(name)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br0"
	off := false
	if err := h.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &off}); err != nil {
		l.t.Fatalf("switch %s: %v", name, err)
	}
	p := h.port("br0")
	link, err := h.nl.LinkByIndex(p.Index)
	if err != nil {
		l.t.Fatalf("switch %s: %v", name, err)
	}
	return &Switch{host: h, bridge: link}
}

// Attach plugs the host in with a new interface of that name and gives it the addresses.
func (s *Switch) Attach(h *Host, name string, addrs ...netip.Prefix) *Port {
	l := s.host.lab
	l.t.Helper()
	l.mu.Lock()
	l.ports++
	far := fmt.Sprintf("port%d", l.ports)
	l.mu.Unlock()
	p, q := l.Link(h, name, s.host, far)
	link, err := s.host.nl.LinkByIndex(q.Index)
	if err == nil {
		err = s.host.nl.LinkSetMaster(link, s.bridge)
	}
	if err != nil {
		l.t.Fatalf("switch %s: attaching %s: %v", s.host.name, h.name, err)
	}
	p.Add(addrs...)
	return p
}

// Uplink joins two switches by a cable and returns its end here: while that is Down there are two networks.
func (s *Switch) Uplink(o *Switch) *Port {
	l := s.host.lab
	l.t.Helper()
	l.mu.Lock()
	l.ports += 2
	near, far := fmt.Sprintf("port%d", l.ports-1), fmt.Sprintf("port%d", l.ports)
	l.mu.Unlock()
	p, q := l.Link(s.host, near, o.host, far)
	for _, end := range []struct {
		*Port
		at *Switch
	}{{p, s}, {q, o}} {
		if err := end.Host.nl.LinkSetMaster(end.link(), end.at.bridge); err != nil {
			end.fatal("becoming a port of the switch", err)
		}
	}
	return p
}

func (p *Port) link() netlink.Link {
	p.Host.lab.t.Helper()
	link, err := p.Host.nl.LinkByIndex(p.Index)
	if err != nil {
		p.fatal("looking up", err)
	}
	return link
}

func (p *Port) fatal(what string, err error) {
	p.Host.lab.t.Helper()
	p.Host.lab.t.Fatalf("%s/%s: %s: %v", p.Host.name, p.Name, what, err)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Add gives the port more addresses, each with the length of its network: 192.168.1.2/24.
func (p *Port) Add(addrs ...netip.Prefix) {
	p.Host.lab.t.Helper()
	for _, a := range addrs {
		addr := &netlink.Addr{IPNet: ipNet(a)}
		if a.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := p.Host.nl.AddrReplace(p.link(), addr); err != nil {
			p.fatal("adding "+a.String(), err)
		}
	}
}

// Set makes addrs the only addresses of the port but IPv6 link-local ones: what a phone sees when it walks from one
// network into another. Routes through the old addresses go with them.
func (p *Port) Set(addrs ...netip.Prefix) {
	p.Host.lab.t.Helper()
	old, err := p.Host.nl.AddrList(p.link(), netlink.FAMILY_ALL)
	if err != nil {
		p.fatal("listing addresses", err)
	}
	for _, a := range old {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && ip.Is6() && ip.IsLinkLocalUnicast() {
			continue
		}
		// The kernel takes secondary addresses away with their primary one: gone is gone.
		if err := p.Host.nl.AddrDel(p.link(), &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			p.fatal("removing "+a.String(), err)
		}
	}
	p.Add(addrs...)
}

// Addrs lists the addresses of the port but IPv6 link-local ones.
func (p *Port) Addrs() []netip.Prefix {
	p.Host.lab.t.Helper()
	list, err := p.Host.nl.AddrList(p.link(), netlink.FAMILY_ALL)
	if err != nil {
		p.fatal("listing addresses", err)
	}
	var out []netip.Prefix
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP)
		if ip = ip.Unmap(); ok && !ip.IsLinkLocalUnicast() {
			ones, _ := a.Mask.Size()
			out = append(out, netip.PrefixFrom(ip, ones))
		}
	}
	return out
}

// SetMTU narrows or widens this end of the cable, in bytes of IP packet. A cable has two ends: set both.
func (p *Port) SetMTU(bytes int) {
	p.Host.lab.t.Helper()
	if err := p.Host.nl.LinkSetMTU(p.link(), bytes); err != nil {
		p.fatal(fmt.Sprintf("mtu %d", bytes), err)
	}
}

// Down pulls the cable, Up plugs it back in. IPv6 addresses and all routes through the port are lost between.
func (p *Port) Down() {
	p.Host.lab.t.Helper()
	if err := p.Host.nl.LinkSetDown(p.link()); err != nil {
		p.fatal("down", err)
	}
}

// Up undoes Down.
func (p *Port) Up() {
	p.Host.lab.t.Helper()
	if err := p.Host.nl.LinkSetUp(p.link()); err != nil {
		p.fatal("up", err)
	}
}

// Route sends packets for dst through the gateway via, which must be on a network of the port. The default route
// is 0.0.0.0/0 or ::/0. An equal route is replaced.
func (p *Port) Route(dst netip.Prefix, via netip.Addr) {
	p.Host.lab.t.Helper()
	r := &netlink.Route{LinkIndex: p.Index, Dst: ipNet(dst.Masked())}
	if via.IsValid() {
		r.Gw = via.AsSlice()
	}
	if err := p.Host.nl.RouteReplace(r); err != nil {
		p.fatal(fmt.Sprintf("route %s via %s", dst, via), err)
	}
}

// Default sends everything without a nearer route through via, IPv4 or IPv6 by the kind of the address.
func (p *Port) Default(via netip.Addr) {
	p.Host.lab.t.Helper()
	if via.Is4() {
		p.Route(netip.MustParsePrefix("0.0.0.0/0"), via)
	} else {
		p.Route(netip.MustParsePrefix("::/0"), via)
	}
}
