package mesh

import (
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"hearth.alt/services/mesh/internal/portmap"
)

// machine is what the kernel knows of this box's addresses.
type machine struct {
	home     netip.Addr     // IPv4 on the home network (that of the default route), else IPv6; invalid without one
	lan      []netip.Prefix // the home network's private ranges
	public4  []netip.Addr   // public IPv4 addresses of the box itself
	global6  netip.Addr     // a lasting global IPv6 address; invalid without one
	networks []netip.Prefix // everything directly attached
}

// lookAround reads addresses and the default route. Tunnels and other interfaces without a link layer do not count.
func lookAround() (machine, error) {
	var m machine
	uplink, best := 0, math.MaxInt
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{}, netlink.RT_FILTER_DST)
		if err != nil {
			return m, fmt.Errorf("listing routes: %w", err)
		}
		for _, r := range routes {
			ones := 0
			if r.Dst != nil {
				ones, _ = r.Dst.Mask.Size()
			}
			if ones == 0 && len(r.Gw) > 0 && r.Priority < best {
				uplink, best = r.LinkIndex, r.Priority
			}
		}
		if uplink != 0 {
			break // IPv4's default route says what home is; IPv6's only where there is none
		}
	}
	links, err := netlink.LinkList()
	if err != nil {
		return m, fmt.Errorf("listing interfaces: %w", err)
	}
	var home6 netip.Addr
	for _, l := range links {
		if l.Attrs().Flags&unix.IFF_UP == 0 || len(l.Attrs().HardwareAddr) == 0 || l.Attrs().EncapType == "loopback" {
			continue
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			continue // the interface went away
		}
		atHome := l.Attrs().Index == uplink || uplink == 0
		for _, a := range addrs {
			ip, ok := netip.AddrFromSlice(a.IP)
			if ip = ip.Unmap(); !ok || !ip.IsGlobalUnicast() || a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED|unix.IFA_F_DEPRECATED) != 0 {
				continue
			}
			ones, _ := a.Mask.Size()
			network := netip.PrefixFrom(ip, ones).Masked()
			m.networks = append(m.networks, network)
			switch {
			case ip.Is4() && portmap.Public(ip) && !pretended(ip):
				m.public4 = append(m.public4, ip)
				if atHome && !m.home.IsValid() {
					m.home = ip
				}
			case ip.Is4() && atHome:
				if !m.home.IsValid() {
					m.home = ip
				}
				if ip.IsPrivate() {
					m.lan = append(m.lan, network)
				}
			case ip.Is6() && portmap.Public(ip) && a.Flags&unix.IFA_F_TEMPORARY == 0 && atHome:
				if !m.global6.IsValid() {
					m.global6 = ip
				}
				home6 = ip
			case ip.Is6() && ip.IsPrivate() && atHome:
				m.lan = append(m.lan, network)
				if !home6.IsValid() {
					home6 = ip
				}
			}
		}
	}
	if !m.home.IsValid() {
		m.home = home6
	}
	return m, nil
}

// pretended says whether an address looks public and is nobody's: the ranges for documentation and measurement (RFC 5737,
// RFC 2544). Virtual machines and laboratories have them, and no phone outside finds a box by one.
func pretended(a netip.Addr) bool {
	return slices.ContainsFunc(pretend, func(p netip.Prefix) bool { return p.Contains(a) })
}

var pretend = []netip.Prefix{
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
}
