package firewall

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"

	"hearth.alt/services"
)

// Limits of a State. A household's client plane is a /24, so no sound State meets them.
const (
	MaxDevices    = 253
	MaxNetworks   = 64
	MaxPorts      = 32
	MaxInterfaces = 32
)

// State is what the household wants of the firewall, whole: applying it replaces whatever was there before. The
// zero State with Device set closes everything that needs no tunnel; Check says what is not sound.
//
// It crosses the keeper's socket as JSON. It holds no slices shared with anyone: make a new one for a change.
type State struct {
	// Device is the full policy: every packet into the box that no rule wants is dropped. Without it (a laptop)
	// only packets from and to the own TUN are judged, in an own table.
	Device bool
	// TUN is the interface of the client plane; "" while there is none, and then no tunnel rule exists.
	TUN string
	// LAN names the interfaces of the home network; empty means every interface but TUN and lo.
	LAN []string
	// Networks are the prefixes on the LAN interfaces: what devices with LAN may reach. IPv4 and IPv6, in any
	// order; prefixes inside Net4 or Net6 are refused.
	Networks []netip.Prefix
	// Net4 and Net6 are the client plane's prefixes, Box4 and Box6 the box's own addresses in them. All four
	// are needed with a TUN.
	Net4, Net6 netip.Prefix
	Box4, Box6 netip.Addr
	// Anywhere lists the ports of the box that every address outside the tunnel may reach, Home those that only
	// the home network may. They count with Device only.
	Anywhere, Home []Port
	// Tunnel lists the ports of the box's tunnel addresses that every device may reach, guests' included;
	// Members those that guests' devices may not.
	Tunnel, Members []Port
	// Devices are the devices that may send through the tunnel, in any order. Any other source is dropped.
	Devices []Device
}

// Device is what the firewall knows of one phone or laptop.
type Device struct {
	Addr4, Addr6 netip.Addr        // both, in Net4 and Net6
	Person       services.PersonID // whose it is; Peers is by person
	Role         services.Role     // the person's; RoleGuest or more
	LAN          bool              // reaches State.Networks; never true for a guest
	Peers        bool              // exchanges packets with the other devices of the same person that say so too; never true for a guest
}

// Proto is a transport protocol that has ports.
type Proto string

// The protocols.
const (
	TCP Proto = "tcp"
	UDP Proto = "udp"
)

// Port is a port of the box, 1 to 65535.
type Port struct {
	Proto Proto
	Port  uint16
}

func (p Port) String() string { return fmt.Sprintf("%s/%d", p.Proto, p.Port) }

// DeviceAnywhere and DeviceHome are the ports of a device outside the tunnel (DESIGN.md, section 4): phones
// and other boxes from anywhere, these by TCP too where no UDP passes; web, DNS and mDNS (RFC 6762) from the home network. DeviceTunnel is what every
// device reaches on the box through the tunnel: DNS and web.
func DeviceAnywhere() []Port { return []Port{{TCP, 41820}, {UDP, 41820}, {UDP, 51820}} }

// DeviceHome returns the ports that only the home network reaches; see DeviceAnywhere.
func DeviceHome() []Port {
	return []Port{{TCP, 53}, {TCP, 80}, {TCP, 443}, {UDP, 53}, {UDP, 5353}}
}

// DeviceTunnel returns the ports that every device reaches through the tunnel; see DeviceAnywhere.
func DeviceTunnel() []Port { return []Port{{TCP, 53}, {TCP, 80}, {TCP, 443}, {UDP, 53}} }

var (
	tunForm   = regexp.MustCompile(`^hearth[a-z0-9]{0,9}$`)
	ifaceForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$`)
)

// ValidTUN says whether name is one that Hearth may give an interface: "hearth" and up to nine letters and digits.
func ValidTUN(name string) bool { return tunForm.MatchString(name) }

// Check says what is not sound in s, nil if it may be applied. Nothing is applied of a State that is not.
func (s State) Check() error {
	for _, l := range []struct {
		what      string
		have, max int
	}{
		{"devices", len(s.Devices), MaxDevices}, {"networks", len(s.Networks), MaxNetworks}, {"interfaces", len(s.LAN), MaxInterfaces},
		{"ports", max(len(s.Anywhere), len(s.Home), len(s.Tunnel), len(s.Members)), MaxPorts},
	} {
		if l.have > l.max {
			return fmt.Errorf("firewall state: %d %s, at most %d", l.have, l.what, l.max)
		}
	}
	for _, p := range slices.Concat(s.Anywhere, s.Home, s.Tunnel, s.Members) {
		if (p.Proto != TCP && p.Proto != UDP) || p.Port == 0 {
			return fmt.Errorf("firewall state: port %q", p)
		}
	}
	for _, n := range s.LAN {
		if !ifaceForm.MatchString(n) || n == "lo" || n == s.TUN {
			return fmt.Errorf("firewall state: %q is no interface of the home network", n)
		}
	}
	for _, p := range s.Networks {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() || p.Bits() == 0 {
			return fmt.Errorf("firewall state: network %q", p)
		}
	}
	if s.TUN == "" {
		if len(s.Devices) > 0 {
			return fmt.Errorf("firewall state: devices without a tunnel")
		}
		return nil
	}
	if !ValidTUN(s.TUN) {
		return fmt.Errorf("firewall state: tunnel interface %q", s.TUN)
	}
	if !s.Net4.IsValid() || !s.Net4.Addr().Is4() || s.Net4 != s.Net4.Masked() || s.Net4.Bits() == 0 ||
		!s.Net6.IsValid() || !s.Net6.Addr().Is6() || s.Net6 != s.Net6.Masked() || s.Net6.Bits() == 0 {
		return fmt.Errorf("firewall state: client plane %q and %q", s.Net4, s.Net6)
	}
	if !s.Net4.Contains(s.Box4) || !s.Net6.Contains(s.Box6) || s.Box6.Zone() != "" {
		return fmt.Errorf("firewall state: the box's %q and %q are not in %q and %q", s.Box4, s.Box6, s.Net4, s.Net6)
	}
	for _, p := range s.Networks {
		if p.Overlaps(s.Net4) || p.Overlaps(s.Net6) {
			return fmt.Errorf("firewall state: network %q overlaps the client plane", p)
		}
	}
	seen := map[netip.Addr]bool{s.Box4: true, s.Box6: true}
	for _, d := range s.Devices {
		if !s.Net4.Contains(d.Addr4) || !s.Net6.Contains(d.Addr6) || d.Addr6.Zone() != "" || seen[d.Addr4] || seen[d.Addr6] {
			return fmt.Errorf("firewall state: device %q %q is outside the client plane, or twice", d.Addr4, d.Addr6)
		}
		seen[d.Addr4], seen[d.Addr6] = true, true
		if d.Role < services.RoleGuest || d.Role > services.RoleOwner || !d.Person.Valid() {
			return fmt.Errorf("firewall state: device %q of %q has role %q", d.Addr4, d.Person, d.Role)
		}
		if d.Role == services.RoleGuest && (d.LAN || d.Peers) {
			return fmt.Errorf("firewall state: device %q of a guest is given more than a guest gets", d.Addr4)
		}
	}
	return nil
}
