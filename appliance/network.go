package appliance

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/claimcode"
	"hearth.alt/services/discovery"
)

// homeInterface says whether i is one of the home network: up, no loopback, no tunnel, and none of the bridges and
// pairs that containers on a laptop bring along.
func homeInterface(i net.Interface) bool {
	if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 || i.Flags&net.FlagPointToPoint != 0 {
		return false
	}
	for _, prefix := range []string{"hearth", "docker", "br-", "virbr", "wg", "tun", "tap"} {
		if strings.HasPrefix(i.Name, prefix) {
			return false
		}
	}
	return true
}

// home is what the interfaces of the home network have.
type home struct {
	addresses []netip.Addr   // IPv4 first, then global and unique local IPv6; no link-local ones
	networks  []netip.Prefix // the prefixes of those addresses
}

// lookHome reads the interfaces now. What cannot be read is left out.
func lookHome() home {
	var h home
	all, err := net.Interfaces()
	if err != nil {
		return h
	}
	for _, i := range all {
		if !homeInterface(i) {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err != nil || p.Addr().IsLinkLocalUnicast() {
				continue
			}
			h.addresses = append(h.addresses, p.Addr())
			if m := p.Masked(); !slices.Contains(h.networks, m) {
				h.networks = append(h.networks, m)
			}
		}
	}
	slices.SortStableFunc(h.addresses, func(a, b netip.Addr) int { return compareBool(b.Is4(), a.Is4()) })
	return h
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// names are the host names the box answers to, best first, no dot at the end.
func names(m *services.Membership, mdns string) []string {
	list := []string{claimcode.Host}
	if box, ok := m.Box(); ok {
		list = []string{box.Label + ".local", box.Label + "." + m.Household.Domain, m.Household.Domain}
	}
	if mdns == "" || slices.Contains(list, mdns) {
		return list
	}
	return append(list, mdns)
}

// door is where a browser at home opens https. While a claim goes on the box is not announced by its name yet, and the
// name it has ends with the claim: then the door is its address.
func (a *appliance) door() string {
	_, at := a.faces.at()
	if at.Addr().Unmap().IsLoopback() {
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()).String()
	}
	host := a.discovery.Name()
	if own := lookHome().addresses; (host == "" || host == claimcode.Host) && len(own) > 0 {
		if host = own[0].String(); own[0].Is6() {
			host = "[" + host + "]"
		}
	}
	if box, ok := a.identity.Membership().Box(); host == "" && ok {
		host = box.Label + ".local"
	}
	if at.Port() != 443 {
		host += ":" + strconv.Itoa(int(at.Port()))
	}
	return host
}

// announced are the ports that the home network reaches, with the pages listening at http and https. There is no port of
// the mesh: nothing listens there yet.
func announced(http, https netip.AddrPort) discovery.Ports {
	var p discovery.Ports
	if !http.Addr().Unmap().IsLoopback() {
		p.Web = http.Port()
	}
	if !https.Addr().Unmap().IsLoopback() {
		p.Secure = https.Port()
	}
	return p
}

// hosts says whether the box answers to host on face now.
func (a *appliance) hosts(face services.Face, host string) bool {
	_, claiming := a.claim.code()
	return hosts(a.identity.Membership(), a.discovery.Name(), claiming, face, host)
}

// hosts says whether the box answers to host on face. Names and addresses are exact; on a loopback connection the
// loopback names are ours too, and at home the box's name alone, which routers give to whoever asked them for an
// address. mdns is what the box is called on the home network, "hearth-2.local" after another one
// there had its name first. While the claim secret is held (claiming), whoever opened hearth.local for the claim may go
// on there to the words and the first phone.
func hosts(m *services.Membership, mdns string, claiming bool, face services.Face, host string) bool {
	if host == "" {
		return false
	}
	if slices.Contains(names(m, mdns), host) || claiming && host == claimcode.Host {
		return true
	}
	if box, ok := m.Box(); face == services.FaceLAN && (ok && host == box.Label || !ok && host+".local" == claimcode.Host) {
		return true
	}
	if host == "localhost" {
		return face == services.FaceTunnel
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	if a = a.Unmap(); a.Zone() != "" {
		return false
	}
	if a.IsLoopback() {
		return face == services.FaceTunnel
	}
	if box, ok := m.Box(); ok && (a == box.Addr4 || a == box.Addr6) {
		return true
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(all, func(own net.Addr) bool {
		p, err := netip.ParsePrefix(own.String())
		return err == nil && p.Addr().Unmap() == a
	})
}

// neighbours says whose questions about names are answered: private and link-local addresses, and those of the box's
// own networks, which are looked up again after neighboursFor.
type neighbours struct {
	look func() home

	mu     sync.Mutex
	looked time.Time
	home   home
}

const neighboursFor = 10 * time.Second

func (n *neighbours) have(a netip.Addr) bool {
	if a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return true
	}
	return n.now().contains(a)
}

// others says whether a is an address of the box's own networks, and not of the box: a printer's, which no name from
// outside may point to. The box's own may be what its name on the Internet says.
func (n *neighbours) others(a netip.Addr) bool {
	h := n.now()
	return h.contains(a) && !slices.Contains(h.addresses, a)
}

func (n *neighbours) now() home {
	n.mu.Lock()
	defer n.mu.Unlock()
	if time.Since(n.looked) > neighboursFor {
		n.home, n.looked = n.look(), time.Now()
	}
	return n.home
}

// contains says whether a is of one of the home's networks.
func (h home) contains(a netip.Addr) bool {
	return slices.ContainsFunc(h.networks, func(p netip.Prefix) bool { return p.Contains(a) })
}
