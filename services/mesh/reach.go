package mesh

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/mesh/internal/portmap"
)

// Scope is where a device that is paired now will work.
type Scope string

// The scopes.
const (
	ScopeNowhere  Scope = "nowhere"  // the tunnel does not run, or the box has no address
	ScopeHome     Scope = "home"     // at home only
	ScopeForNow   Scope = "for-now"  // anywhere, until the home's outside address changes
	ScopeAnywhere Scope = "anywhere" // anywhere
)

// EndpointKind says what an endpoint is.
type EndpointKind string

// The kinds, in the order in which they are preferred. Global IPv6 comes after the home address until a device was
// seen to come in from outside: most home routers let nothing in over IPv6, and a phone may have none.
const (
	EndpointName   EndpointKind = "name"   // the public name
	EndpointMapped EndpointKind = "mapped" // the router's outside address, by a port mapping
	EndpointPublic EndpointKind = "public" // a public IPv4 address of the box itself
	EndpointIPv6   EndpointKind = "ipv6"   // a global IPv6 address of the box itself
	EndpointHome   EndpointKind = "home"   // its address on the home network
)

// Endpoint is one way to address the box.
type Endpoint struct {
	Kind EndpointKind
	Host string // a name or an address
	Port uint16
}

func (e Endpoint) String() string { return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))) }

// Try is one thing that was tried to let devices in from outside, the latest of its kind.
type Try struct {
	Way     string // "pcp", "nat-pmp", "upnp"; "" when there was no router to ask
	Outcome string // "mapped", "private", "silent", "refused", "nonsense", "no-router"
	Detail  string // the technical words, for the person who helps; "" when there are none
	At      time.Time
	Say     services.Sentence
}

// Reach says where devices will work, and why.
type Reach struct {
	Scope     Scope
	Endpoints []Endpoint // best first; a configuration carries the first
	Looking   bool       // the router has not answered yet; the rest may still get better
	Proven    bool       // a device did come in from outside since the service started
	Tried     []Try
	Say       services.Sentence
}

// Reach tells where devices will work now. It costs a few questions to the kernel.
func (s *Service) Reach() Reach {
	s.mu.Lock()
	port, mapper, outside, down := s.state.Port, s.mapper, s.outside, s.plane == nil
	if !down {
		port = s.plane.port
	}
	s.mu.Unlock()
	if port == 0 {
		port = s.cfg.Port
	}
	in := reachInput{port: port, name: s.cfg.PublicName(), off: s.cfg.NoPortMap, down: down, proven: outside}
	in.machine, _ = lookAround()
	if mapper != nil {
		in.mapping = mapper.State()
	}
	return in.reach()
}

// reachInput is all that Reach depends on.
type reachInput struct {
	port    uint16
	name    string
	off     bool // the router is never asked
	down    bool // WireGuard does not run
	proven  bool
	machine machine
	mapping portmap.State
}

func (in reachInput) reach() Reach {
	r := Reach{Looking: !in.mapping.Looked && !in.off && !in.down, Proven: in.proven}
	outcome := portmap.Outcome("")
	for _, a := range in.mapping.Attempts {
		r.Tried = append(r.Tried, Try{string(a.Protocol), string(a.Outcome), a.Detail, a.At, sayOutcome(a.Outcome)})
		if rank(a.Outcome) > rank(outcome) {
			outcome = a.Outcome
		}
	}
	door := in.mapping.Mapping.External
	mapped := door.IsValid() && portmap.Public(door.Addr())
	outer := in.port // the port on the outside
	if door.IsValid() {
		outer = door.Port()
	}
	add := func(k EndpointKind, host string, port uint16) {
		if port != 0 && !slices.ContainsFunc(r.Endpoints, func(e Endpoint) bool { return e.Host == host && e.Port == port }) {
			r.Endpoints = append(r.Endpoints, Endpoint{k, host, port})
		}
	}
	if in.name != "" {
		add(EndpointName, in.name, outer)
	}
	if mapped {
		add(EndpointMapped, door.Addr().String(), outer)
	}
	for _, a := range in.machine.public4 {
		add(EndpointPublic, a.String(), in.port)
	}
	if in.machine.global6.IsValid() && in.proven {
		add(EndpointIPv6, in.machine.global6.String(), in.port)
	}
	if in.machine.home.IsValid() {
		add(EndpointHome, in.machine.home.String(), in.port)
	}
	if in.machine.global6.IsValid() && !in.proven {
		add(EndpointIPv6, in.machine.global6.String(), in.port)
	}
	// A door that is open is not yet a way: the line may be down, or the provider may let nothing in. What a device has
	// proved is said as it is, the rest as what should be.
	open := mapped || len(in.machine.public4) > 0
	switch {
	case in.down:
		r.Scope = ScopeNowhere
		r.Say = services.Say("mesh.reach.down", "Devices cannot reach this box now, because its tunnel does not run.")
	case len(r.Endpoints) == 0:
		r.Scope = ScopeNowhere
		r.Say = services.Say("mesh.reach.nowhere", "This box has no address on the home network yet.")
	case in.name != "" && in.proven:
		r.Scope = ScopeAnywhere
		r.Say = services.Say("mesh.reach.anywhere", "Devices reach this box from anywhere.")
	case in.name != "" && open:
		r.Scope = ScopeAnywhere
		r.Say = services.Say("mesh.reach.anywhere-likely", "Devices should reach this box from anywhere. None has come in from outside so far.")
	case in.name != "":
		// The owner gave the name, so the owner may have opened the router by hand; only a device that comes in
		// from outside can tell.
		r.Scope = ScopeAnywhere
		r.Say = services.Say("mesh.reach.unproven", "Devices reach this box from anywhere if the router sends UDP port {port} to it. None has come in that way so far.", "port", int(in.port))
	case open && in.proven:
		r.Scope = ScopeForNow
		r.Say = services.Say("mesh.reach.fornow", "Devices reach this box from anywhere, until the address of this home changes.")
	case open:
		r.Scope = ScopeForNow
		r.Say = services.Say("mesh.reach.fornow-likely", "Devices should reach this box from anywhere, until the address of this home changes. None has come in from outside so far.")
	default:
		r.Scope = ScopeHome
		r.Say = in.sayHome(outcome)
	}
	return r
}

// sayHome tells why devices work at home only.
func (in reachInput) sayHome(best portmap.Outcome) services.Sentence {
	switch {
	case in.off:
		return services.Say("mesh.reach.home.off", "Devices reach this box at home only. Asking the router for a way in from outside is switched off.")
	case !in.mapping.Looked:
		return services.Say("mesh.reach.home.looking", "Devices reach this box at home. It is still asking the router for a way in from outside.")
	}
	switch best {
	case portmap.Private, portmap.Mapped:
		return services.Say("mesh.reach.home.double", "Devices reach this box at home only. There is a second router before the Internet, or the provider shares one address among several homes.")
	case portmap.Refused:
		return services.Say("mesh.reach.home.refused", "Devices reach this box at home only. The router does not allow the box to ask for a way in from outside.")
	case portmap.Nonsense:
		return services.Say("mesh.reach.home.nonsense", "Devices reach this box at home only. The router's answer about a way in from outside cannot be right.")
	case portmap.NoRouter:
		return services.Say("mesh.reach.home.norouter", "Devices reach this box at home only. The box sees no router.")
	}
	return services.Say("mesh.reach.home.silent", "Devices reach this box at home only. The router did not answer when asked for a way in from outside.")
}

// rank orders outcomes by how much they explain.
func rank(o portmap.Outcome) int {
	switch o {
	case portmap.Mapped:
		return 6
	case portmap.Private:
		return 5
	case portmap.Refused:
		return 4
	case portmap.Nonsense:
		return 3
	case portmap.NoRouter:
		return 2
	case portmap.Silent:
		return 1
	}
	return 0
}

func sayOutcome(o portmap.Outcome) services.Sentence {
	switch o {
	case portmap.Mapped:
		return services.Say("mesh.try.mapped", "The router opened a way in.")
	case portmap.Private:
		return services.Say("mesh.try.private", "The router opened a way in, but it is itself behind another one.")
	case portmap.Refused:
		return services.Say("mesh.try.refused", "The router understood and said no.")
	case portmap.Nonsense:
		return services.Say("mesh.try.nonsense", "The router's answer cannot be right.")
	case portmap.NoRouter:
		return services.Say("mesh.try.norouter", "There is no router to ask.")
	}
	return services.Say("mesh.try.silent", "The router did not answer.")
}

// outside says whether an address is on the Internet and not on a network that this box is attached to.
func (m machine) outside(a netip.Addr) bool {
	return portmap.Public(a) && len(m.networks) > 0 && !slices.ContainsFunc(m.networks, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
}
