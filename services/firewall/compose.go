package firewall

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"hearth.alt/services"
)

// homeSources are addresses that no router of the open Internet delivers: private IPv4 (RFC 1918), link-local IPv4
// (RFC 3927), unique local and link-local IPv6 (RFC 4193, RFC 4291). With State.Networks they are the home
// network's; so a box with a global IPv6 address is not a resolver for the world.
var homeSources = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("fc00::/7"),
	netip.MustParsePrefix("fe80::/10"),
}

// The messages a host cannot do without. ICMP: errors and ping. ICMPv6 (RFC 4890, section 4.4): errors, ping,
// neighbour discovery, router advertisements, multicast listener queries.
var (
	icmp4 = []icmpType{{3, "destination-unreachable"}, {8, "echo-request"}, {11, "time-exceeded"}, {12, "parameter-problem"}}
	icmp6 = []icmpType{
		{1, "destination-unreachable"}, {2, "packet-too-big"}, {3, "time-exceeded"}, {4, "parameter-problem"}, {128, "echo-request"},
		{130, "mld-listener-query"}, {134, "nd-router-advert"}, {135, "nd-neighbor-solicit"}, {136, "nd-neighbor-advert"},
	}
)

// Compose makes the ruleset of a sound state (State.Check). It is pure: equal states, in whatever order their
// slices are, give equal rulesets. A laptop without a tunnel has none: the zero Ruleset.
func Compose(s State) Ruleset {
	if !s.Device && s.TUN == "" {
		return Ruleset{}
	}
	r := Ruleset{Table: s.table()}
	r.Sets = sets(s)
	r.Chains = append(r.Chains, input(s)...)
	if s.TUN != "" {
		r.Chains = append(r.Chains, tunnel(s)...)
		r.Chains = append(r.Chains, forward(s)...)
	} else {
		r.Chains = append(r.Chains, Chain{Name: "forward", Hook: "forward", Type: "filter", Priority: "filter", Policy: "drop"})
	}
	return r
}

// table is the table's name: the one of the house on a device, the TUN's on a laptop, where many boxes may run.
func (s State) table() string {
	if s.Device {
		return "hearth"
	}
	return "hearth_" + s.TUN
}

func (s State) policy() string {
	if s.Device {
		return "drop"
	}
	return "accept"
}

func sets(s State) []Set {
	var out []Set
	if s.Device {
		out = append(out,
			icmpSet("icmp4", false, icmp4), icmpSet("icmp6", true, icmp6),
			portSet("anywhere_tcp", TCP, s.Anywhere), portSet("anywhere_udp", UDP, s.Anywhere),
			portSet("home_tcp", TCP, s.Home), portSet("home_udp", UDP, s.Home),
		)
	}
	if s.TUN == "" {
		return out
	}
	var all, guests, lan, peers []Device
	owners := map[services.PersonID]uint32{}
	for _, d := range s.Devices {
		all = append(all, d)
		if d.Role == services.RoleGuest {
			guests = append(guests, d)
		}
		if d.LAN {
			lan = append(lan, d)
		}
		if d.Peers {
			peers = append(peers, d)
			owners[d.Person] = 0
		}
	}
	// People are numbered from one in the order of their identifiers, so that the same state gives the same text. The
	// number stands in the first and the last byte: nftables v0.3.0 does not tell nft the byte order of a map's
	// values, and so nft prints this one right on every machine.
	people := make([]services.PersonID, 0, len(owners))
	for p := range owners {
		people = append(people, p)
	}
	slices.Sort(people)
	for i, p := range people {
		owners[p] = uint32(i+1)<<24 | uint32(i+1)
	}
	for _, v6 := range []bool{false, true} {
		n := "4"
		if v6 {
			n = "6"
		}
		pick := func(from []Device) (out []netip.Addr) {
			for _, d := range from {
				out = append(out, d.addr(v6))
			}
			return out
		}
		var by []owned
		for _, d := range peers {
			by = append(by, owned{d.addr(v6), owners[d.Person]})
		}
		out = append(out,
			addressSet("device"+n, v6, pick(all)), addressSet("guest"+n, v6, pick(guests)), addressSet("lan"+n, v6, pick(lan)),
			ownerMap("owner"+n, v6, by), reachSet("reach"+n, v6, by),
		)
	}
	return append(out,
		portSet("tunnel_tcp", TCP, s.Tunnel), portSet("tunnel_udp", UDP, s.Tunnel),
		portSet("member_tcp", TCP, s.Members), portSet("member_udp", UDP, s.Members),
	)
}

func (d Device) addr(v6 bool) netip.Addr {
	if v6 {
		return d.Addr6
	}
	return d.Addr4
}

// input is what may come into the box.
func input(s State) []Chain {
	in := Chain{Name: "input", Hook: "input", Type: "filter", Priority: "filter", Policy: s.policy()}
	in.add(from("lo"), accept())
	if s.TUN != "" {
		in.add(from(s.TUN), goTo("tunnel"))
		// The box answers for every address it has on every interface, so a neighbour could reach the tunnel's
		// listeners, or speak as a device, over the home network.
		in.add(destination.is(s.Box4), drop())
		in.add(destination.is(s.Box6), drop())
		in.add(source.within(s.Net4), drop())
		in.add(source.within(s.Net6), drop())
	}
	if !s.Device {
		return []Chain{in}
	}
	in.add(icmpIn(false, "icmp4"), accept())
	in.add(icmpIn(true, "icmp6"), accept())
	in.add(ctState("established,related", 2|4), accept())
	in.add(ctState("invalid", 1), drop())
	// Switches that watch multicast groups ask who listens (RFC 4541); without an answer mDNS goes deaf.
	in.add(protocol(unix.IPPROTO_IGMP, "igmp"), accept())
	in.add(udpPorts(67, 68), accept())
	in.add(source.within(netip.MustParsePrefix("fe80::/10")), udpPorts(547, 546), accept())
	if len(s.LAN) == 0 {
		in.add(goTo("lan"))
	}
	for _, name := range sorted(s.LAN) {
		in.add(from(name), goTo("lan"))
	}
	lan := Chain{Name: "lan"}
	lan.add(portIn(TCP, "anywhere_tcp"), accept())
	lan.add(portIn(UDP, "anywhere_udp"), accept())
	for _, p := range outermost(slices.Concat(homeSources, s.Networks)) {
		lan.add(source.within(p), goTo("home"))
	}
	home := Chain{Name: "home"}
	home.add(portIn(TCP, "home_tcp"), accept())
	home.add(portIn(UDP, "home_udp"), accept())
	return []Chain{in, lan, home}
}

// tunnel is what devices may send to the box, and what the box may send into the tunnel. Every rule looks at the
// device first and no rule takes "established" for an answer in the direction from the device, so each change of
// who may do what counts for flows that exist already.
func tunnel(s State) []Chain {
	in := Chain{Name: "tunnel"}
	in.add(source.in(false, "device4"), destination.is(s.Box4), goTo("box"))
	in.add(source.in(true, "device6"), destination.is(s.Box6), goTo("box"))
	in.add(drop())

	box := Chain{Name: "box"}
	box.add(reply(), accept())
	box.add(protocol(unix.IPPROTO_ICMP, "icmp"), related(), accept())
	box.add(protocol(unix.IPPROTO_ICMPV6, "ipv6-icmp"), related(), accept())
	box.add(portIn(TCP, "tunnel_tcp"), accept())
	box.add(portIn(UDP, "tunnel_udp"), accept())
	box.add(source.in(false, "guest4"), drop())
	box.add(source.in(true, "guest6"), drop())
	box.add(icmpIs(false, 8, "echo-request"), accept())
	box.add(icmpIs(true, 128, "echo-request"), accept())
	box.add(portIn(TCP, "member_tcp"), accept())
	box.add(portIn(UDP, "member_udp"), accept())
	box.add(drop())

	out := Chain{Name: "output", Hook: "output", Type: "filter", Priority: "filter", Policy: "accept"}
	out.add(to(s.TUN), destination.in(false, "device4"), accept())
	out.add(to(s.TUN), destination.in(true, "device6"), accept())
	out.add(to(s.TUN), drop())
	return []Chain{in, box, out}
}

// forward is what passes through the box.
func forward(s State) []Chain {
	fwd := Chain{Name: "forward", Hook: "forward", Type: "filter", Priority: "filter", Policy: s.policy()}
	fwd.add(from(s.TUN), goTo("from_tunnel"))
	fwd.add(to(s.TUN), goTo("to_tunnel"))

	out := Chain{Name: "from_tunnel"}
	out.add(source.notIn(false, "device4"), drop())
	out.add(source.notIn(true, "device6"), drop())
	out.add(clampMSS())
	out.add(to(s.TUN), goTo("between"))
	out.add(source.in(false, "lan4"), goTo("to_home"))
	out.add(source.in(true, "lan6"), goTo("to_home"))
	out.add(drop())

	// The mark carries the owner's number from the source to the pair (owner, destination): one element for each
	// device instead of one for each pair of devices. It is set for packets inside the tunnel only.
	between := Chain{Name: "between"}
	for _, v6 := range []bool{false, true} {
		n := "4"
		if v6 {
			n = "6"
		}
		between.add(clearMark())
		between.add(markFrom(v6, "owner"+n))
		between.add(markAndDestination(v6, "reach"+n), accept())
	}
	between.add(drop())

	home := Chain{Name: "to_home"}
	if len(s.LAN) == 0 {
		home.add(goTo("networks"))
	} else {
		for _, name := range sorted(s.LAN) {
			home.add(to(name), goTo("networks"))
		}
		home.add(drop())
	}
	networks := Chain{Name: "networks"}
	for _, p := range outermost(s.Networks) {
		networks.add(destination.within(p), accept())
	}
	networks.add(drop())

	back := Chain{Name: "to_tunnel"}
	back.add(destination.notIn(false, "lan4"), drop())
	back.add(destination.notIn(true, "lan6"), drop())
	back.add(clampMSS())
	back.add(reply(), accept())
	back.add(protocol(unix.IPPROTO_ICMP, "icmp"), related(), accept())
	back.add(protocol(unix.IPPROTO_ICMPV6, "ipv6-icmp"), related(), accept())
	back.add(drop())

	nat := Chain{Name: "postrouting", Hook: "postrouting", Type: "nat", Priority: "srcnat", Policy: "accept"}
	nat.add(from(s.TUN), notTo(s.TUN), source.within(s.Net4), masquerade())
	nat.add(from(s.TUN), notTo(s.TUN), source.within(s.Net6), masquerade())
	return []Chain{fwd, out, between, home, networks, back, nat}
}

func (c *Chain) add(parts ...part) { c.Rules = append(c.Rules, rule(parts...)) }

func sorted(names []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

// outermost returns the prefixes that no other of them contains, IPv4 first, each once.
func outermost(all []netip.Prefix) []netip.Prefix {
	all = slices.SortedFunc(slices.Values(all), func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	var out []netip.Prefix
	for _, p := range all {
		if len(out) > 0 && out[len(out)-1].Overlaps(p) {
			continue
		}
		out = append(out, p)
	}
	return out
}
