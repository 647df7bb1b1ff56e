package netlab

import (
	"fmt"
	"net/netip"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// NAT is how a router translates the addresses of what it forwards from its home to the Internet.
type NAT uint8

const (
	// NATNone forwards without translation; its firewall still lets nothing in that was not asked for.
	NATNone NAT = iota
	// NATCone keeps one outside port for one inside port whatever the destination, and lets answers in only from
	// where something was sent to (RFC 4787: endpoint-independent mapping, address and port-dependent filtering;
	// "port-restricted cone" in older words). Most home routers.
	NATCone
	// NATSymmetric takes another random port for each destination (RFC 4787: address and port-dependent mapping).
	// Mobile networks and some home routers.
	NATSymmetric
)

func (n NAT) String() string { return [...]string{"none", "cone", "symmetric"}[n] }

// Router is a host that forwards between its home (any interface but "wan") and the Internet (the interface "wan"),
// with the firewall of a real home router: from the Internet only answers, port mappings and IPv6 pinholes come in,
// and its own ports are closed to it. From the home its own ports are open, so that a port mapping server can run
// on it. Attach "wan" and the home interfaces with Switch.Attach or Lab.Link; IPv4 and IPv6 are forwarded.
type Router struct {
	*Host
	nat NAT

	mu       sync.Mutex
	mappings map[outside]netip.AddrPort
	pinholes map[inside]bool
	silent   bool
}

type outside struct {
	proto uint8
	port  uint16
}

type inside struct {
	proto uint8
	to    netip.AddrPort
}

// UDP and TCP are the protocols a Router maps.
const (
	UDP uint8 = unix.IPPROTO_UDP
	TCP uint8 = unix.IPPROTO_TCP
)

// Router adds a router.
func (l *Lab) Router(name string, nat NAT) *Router {
	l.t.Helper()
	r := &Router{Host: l.Host(name), nat: nat, mappings: make(map[outside]netip.AddrPort), pinholes: make(map[inside]bool)}
	r.Sysctl("net/ipv4/ip_forward", "1")
	r.Sysctl("net/ipv6/conf/all/forwarding", "1")
	if err := r.apply(); err != nil {
		l.t.Fatalf("router %s: %v", name, err)
	}
	return r
}

// Map sends what arrives on the outside port to an address at home, as a port mapping does (IPv4). It may be called
// from any goroutine, as a port mapping server inside the router does.
func (r *Router) Map(proto uint8, port uint16, to netip.AddrPort) error {
	return r.change(func() { r.mappings[outside{proto, port}] = to })
}

// Unmap takes a mapping away, and with it the flows that were using it.
func (r *Router) Unmap(proto uint8, port uint16) error {
	if err := r.change(func() { delete(r.mappings, outside{proto, port}) }); err != nil {
		return err
	}
	return r.flush()
}

// Mapped returns where the outside port leads.
func (r *Router) Mapped(proto uint8, port uint16) (to netip.AddrPort, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	to, ok = r.mappings[outside{proto, port}]
	return to, ok
}

// Pinhole lets new flows from the Internet reach an IPv6 address and port at home.
func (r *Router) Pinhole(proto uint8, to netip.AddrPort) error {
	return r.change(func() { r.pinholes[inside{proto, to}] = true })
}

// Silence closes (or opens again) the router's own ports to its home too: a router that never answers.
func (r *Router) Silence(on bool) error { return r.change(func() { r.silent = on }) }

// Flush forgets all flows: the moment after a router's restart.
func (r *Router) Flush() {
	r.lab.t.Helper()
	if err := r.flush(); err != nil {
		r.lab.t.Fatalf("router %s: forgetting flows: %v", r.name, err)
	}
}

func (r *Router) flush() error { return r.nl.ConntrackTableFlush(netlink.ConntrackTable) }

func (r *Router) change(f func()) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	return r.applyLocked()
}

func (r *Router) apply() error { return r.change(func() {}) }

// applyLocked writes the whole rule set in one transaction; repeating it is harmless.
func (r *Router) applyLocked() error {
	c, err := nftables.New(nftables.WithNetNSFd(int(r.ns)))
	if err != nil {
		return err
	}
	filter := &nftables.Table{Family: nftables.TableFamilyINet, Name: "home"}
	nat := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: "home"}
	for _, t := range []*nftables.Table{filter, nat} {
		c.AddTable(t) // deleting what may not exist is an error, adding what exists is none
		c.DelTable(t)
		c.AddTable(t)
	}
	drop := nftables.ChainPolicyDrop
	chain := func(t *nftables.Table, name string, kind nftables.ChainType, hook *nftables.ChainHook, prio *nftables.ChainPriority, policy *nftables.ChainPolicy) func(...expr.Any) {
		ch := c.AddChain(&nftables.Chain{Table: t, Name: name, Type: kind, Hooknum: hook, Priority: prio, Policy: policy})
		return func(e ...expr.Any) { c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: e}) }
	}
	accept := &expr.Verdict{Kind: expr.VerdictAccept}

	// With an accepting input the peer's early punch becomes a confirmed flow, the outgoing one then gets another
	// port, and cones stop being cones (facts/mesh.md 5). Home routers drop; so does this one.
	in := chain(filter, "in", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter, &drop)
	in(rule(established(), accept)...)
	in(rule(icmpKind(unix.NFPROTO_IPV4, unix.IPPROTO_ICMP), accept)...)
	in(rule(icmpKind(unix.NFPROTO_IPV6, unix.IPPROTO_ICMPV6), accept)...)
	if !r.silent {
		in(rule(ifname(expr.MetaKeyIIFNAME, expr.CmpOpNeq, "wan"), accept)...)
	}

	fwd := chain(filter, "through", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter, &drop)
	fwd(rule(established(), accept)...)
	fwd(rule(ifname(expr.MetaKeyIIFNAME, expr.CmpOpNeq, "wan"), accept)...)
	fwd(rule(translated(), accept)...)
	for p := range r.pinholes {
		fwd(rule(to6(p.proto, p.to), accept)...)
	}

	pre := chain(nat, "before", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest, nil)
	for o, to := range r.mappings {
		pre(rule(ifname(expr.MetaKeyIIFNAME, expr.CmpOpEq, "wan"), port(o.proto, o.port), []expr.Any{
			&expr.Immediate{Register: 1, Data: to.Addr().AsSlice()},
			&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(to.Port())},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2, Specified: true},
		})...)
	}
	if r.nat != NATNone {
		post := chain(nat, "after", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, nil)
		post(rule(ifname(expr.MetaKeyOIFNAME, expr.CmpOpEq, "wan"), &expr.Masq{FullyRandom: r.nat == NATSymmetric})...)
	}
	return c.Flush()
}

// Lose drops percent (0 to 100) of the packets that arrive on the port, at random, before anything else sees them.
// Zero ends it.
func (p *Port) Lose(percent int) {
	h := p.Host
	h.lab.t.Helper()
	err := func() error {
		c, err := nftables.New(nftables.WithNetNSFd(int(h.ns)))
		if err != nil {
			return err
		}
		t := &nftables.Table{Family: nftables.TableFamilyINet, Name: "loss-" + p.Name}
		c.AddTable(t)
		c.DelTable(t)
		if percent > 0 {
			c.AddTable(t)
			ch := c.AddChain(&nftables.Chain{Table: t, Name: "arrive", Type: nftables.ChainTypeFilter,
				Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw})
			c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: rule(ifname(expr.MetaKeyIIFNAME, expr.CmpOpEq, p.Name), []expr.Any{
				&expr.Numgen{Register: 1, Modulus: 100, Type: unix.NFT_NG_RANDOM},
				// numgen is in the host's order, comparison goes byte by byte.
				&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
				&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: binaryutil.BigEndian.PutUint32(uint32(percent))},
				&expr.Verdict{Kind: expr.VerdictDrop},
			})})
		}
		return c.Flush()
	}()
	if err != nil {
		p.fatal(fmt.Sprintf("losing %d %%", percent), err)
	}
}

func rule(parts ...any) []expr.Any {
	var out []expr.Any
	for _, p := range parts {
		switch p := p.(type) {
		case expr.Any:
			out = append(out, p)
		case []expr.Any:
			out = append(out, p...)
		}
	}
	return out
}

func ctstate(key expr.CtKey, bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: 1, Key: key},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

func established() []expr.Any {
	return ctstate(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)
}

// translated matches flows whose destination a mapping rewrote: IPS_DST_NAT is bit 5 of the flow's status.
func translated() []expr.Any { return ctstate(expr.CtKeySTATUS, 1<<5) }

func ifname(key expr.MetaKey, op expr.CmpOp, name string) []expr.Any {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: b}}
}

func icmpKind(family, proto byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
	}
}

func port(proto uint8, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
	}
}

func to6(proto uint8, to netip.AddrPort) []expr.Any {
	return rule([]expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV6}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 24, Len: 16},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: to.Addr().AsSlice()},
	}, port(proto, to.Port()))
}
