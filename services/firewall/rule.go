package firewall

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Ruleset is one nft table: what Compose makes of a State. It is a value; its text (String) is the canonical form
// and, line by line, what `nft list table inet NAME` prints for it.
type Ruleset struct {
	Table  string // of the family inet
	Sets   []Set
	Chains []Chain
}

// Set is a named set or map of the table.
type Set struct {
	Name     string
	Type     string // as nft prints it: "ipv4_addr", "ipv4_addr : mark"
	Elements []Element
	key, val nftables.SetDatatype // val is the zero type for a set
}

// Element is one element of a Set, with its value in a map.
type Element struct {
	Text     string // as nft prints it
	key, val []byte
}

// Chain is a chain of the table; Hook is "" for one that rules jump to.
type Chain struct {
	Name     string
	Hook     string // "input", "forward", "output", "postrouting"
	Type     string // "filter" or "nat"
	Priority string // "filter" or "srcnat"
	Policy   string // "accept" or "drop"
	Rules    []Rule
}

// Rule is one rule: its text as nft prints it, and the same for the kernel.
type Rule struct {
	Text  string
	exprs []expr.Any
}

// String is the canonical text.
func (r Ruleset) String() string {
	if r.Table == "" {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", r.Table)
	for i, s := range r.Sets {
		kind := "set"
		if s.isMap() {
			kind = "map"
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "\t%s %s {\n\t\ttype %s\n", kind, s.Name, s.Type)
		if len(s.Elements) > 0 {
			all := make([]string, len(s.Elements))
			for i, e := range s.Elements {
				all[i] = e.Text
			}
			fmt.Fprintf(&b, "\t\telements = { %s }\n", strings.Join(all, ", "))
		}
		b.WriteString("\t}\n")
	}
	for _, c := range r.Chains {
		fmt.Fprintf(&b, "\n\tchain %s {\n", c.Name)
		if c.Hook != "" {
			fmt.Fprintf(&b, "\t\ttype %s hook %s priority %s; policy %s;\n", c.Type, c.Hook, c.Priority, c.Policy)
		}
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "\t\t%s\n", r.Text)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func (s Set) isMap() bool { return s.val.Bytes != 0 }

// part is one step of a rule. A step that looks into a header says which with needs4/needs6 or proto; the rule loads
// each such dependency once, as nft does.
type part struct {
	text   string
	family byte // unix.NFPROTO_IPV4, unix.NFPROTO_IPV6 or 0
	proto  byte // unix.IPPROTO_*, or 0
	exprs  []expr.Any
}

// rule joins parts.
func rule(parts ...part) Rule {
	var r Rule
	var texts []string
	var family, proto byte
	for _, p := range parts {
		if p.family != 0 && p.family != family {
			family = p.family
			r.exprs = append(r.exprs, &expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, equal([]byte{family}))
		}
		if p.proto != 0 && p.proto != proto {
			proto = p.proto
			r.exprs = append(r.exprs, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equal([]byte{proto}))
		}
		r.exprs = append(r.exprs, p.exprs...)
		texts = append(texts, p.text)
	}
	r.Text = strings.Join(texts, " ")
	return r
}

func equal(data []byte) *expr.Cmp { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }

func ifname(key expr.MetaKey, op expr.CmpOp, name string) []expr.Any {
	data := make([]byte, unix.IFNAMSIZ)
	copy(data, name)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: data}}
}

func from(iface string) part {
	return part{text: fmt.Sprintf("iifname %q", iface), exprs: ifname(expr.MetaKeyIIFNAME, expr.CmpOpEq, iface)}
}

func to(iface string) part {
	return part{text: fmt.Sprintf("oifname %q", iface), exprs: ifname(expr.MetaKeyOIFNAME, expr.CmpOpEq, iface)}
}

func notTo(iface string) part {
	return part{text: fmt.Sprintf("oifname != %q", iface), exprs: ifname(expr.MetaKeyOIFNAME, expr.CmpOpNeq, iface)}
}

// side is which address of a packet is looked at.
type side struct {
	name     string
	at4, at6 uint32 // its offset in the IPv4 and IPv6 header, bytes
}

var (
	source      = side{"saddr", 12, 8}
	destination = side{"daddr", 16, 24}
)

// load puts n bytes of an address into register.
func (s side) load(v6 bool, n, register uint32) *expr.Payload {
	at := s.at4
	if v6 {
		at = s.at6
	}
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: at, Len: n}
}

func family(v6 bool) (proto byte, word string, bytes uint32) {
	if v6 {
		return unix.NFPROTO_IPV6, "ip6", 16
	}
	return unix.NFPROTO_IPV4, "ip", 4
}

// is matches one address, within matches a prefix.
func (s side) is(a netip.Addr) part { return s.within(netip.PrefixFrom(a, a.BitLen())) }

func (s side) within(p netip.Prefix) part {
	fam, word, width := family(p.Addr().Is6())
	text := p.String()
	if p.IsSingleIP() {
		text = p.Addr().String()
	}
	out := part{text: word + " " + s.name + " " + text, family: fam}
	all := p.Addr().AsSlice()
	if p.Bits()%8 == 0 {
		n := uint32(p.Bits() / 8)
		out.exprs = []expr.Any{s.load(p.Addr().Is6(), n, 1), equal(all[:n])}
		return out
	}
	mask := make([]byte, width)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	out.exprs = []expr.Any{
		s.load(p.Addr().Is6(), width, 1),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: width, Mask: mask, Xor: make([]byte, width)},
		equal(all),
	}
	return out
}

// in matches the elements of a named set, notIn all others.
func (s side) in(v6 bool, set string) part    { return s.lookup(v6, set, false) }
func (s side) notIn(v6 bool, set string) part { return s.lookup(v6, set, true) }

func (s side) lookup(v6 bool, set string, invert bool) part {
	fam, word, width := family(v6)
	not := ""
	if invert {
		not = "!= "
	}
	return part{
		text: word + " " + s.name + " " + not + "@" + set, family: fam,
		exprs: []expr.Any{s.load(v6, width, 1), &expr.Lookup{SourceRegister: 1, SetName: set, Invert: invert}},
	}
}

// markFrom gives the packet the mark that the map holds for its source.
func markFrom(v6 bool, set string) part {
	fam, word, width := family(v6)
	return part{
		text: "meta mark set " + word + " saddr map @" + set, family: fam,
		exprs: []expr.Any{
			source.load(v6, width, 1),
			&expr.Lookup{SourceRegister: 1, SetName: set, DestRegister: 1, IsDestRegSet: true},
			&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1},
		},
	}
}

func clearMark() part {
	return part{text: "meta mark set 0x00000000", exprs: []expr.Any{
		&expr.Immediate{Register: 1, Data: make([]byte, 4)}, &expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1},
	}}
}

// markAndDestination matches the pair of the packet's mark and its destination.
func markAndDestination(v6 bool, set string) part {
	fam, word, width := family(v6)
	return part{
		text: "meta mark . " + word + " daddr @" + set, family: fam,
		// A concatenation fills 32-bit registers one after the other; number 9 is the one behind the first.
		exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, destination.load(v6, width, 9), &expr.Lookup{SourceRegister: 1, SetName: set},
		},
	}
}

var protoNumber = map[Proto]byte{TCP: unix.IPPROTO_TCP, UDP: unix.IPPROTO_UDP}

// portIn matches the destination port against a set.
func portIn(p Proto, set string) part {
	return part{text: string(p) + " dport @" + set, proto: protoNumber[p], exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, &expr.Lookup{SourceRegister: 1, SetName: set},
	}}
}

// udpPorts matches one pair of source and destination port.
func udpPorts(sport, dport uint16) part {
	data := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, sport), dport)
	return part{text: fmt.Sprintf("udp sport %d udp dport %d", sport, dport), proto: unix.IPPROTO_UDP, exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 4}, equal(data),
	}}
}

// protocol matches a transport protocol; word is what nft calls it.
func protocol(number byte, word string) part {
	return part{text: "meta l4proto " + word, proto: number}
}

// icmpIs and icmpIn match the type of an ICMP or ICMPv6 message.
func icmpIs(v6 bool, kind byte, name string) part {
	return icmp(v6, name, equal([]byte{kind}))
}

func icmpIn(v6 bool, set string) part {
	return icmp(v6, "@"+set, &expr.Lookup{SourceRegister: 1, SetName: set})
}

func icmp(v6 bool, text string, match expr.Any) part {
	p := part{text: "icmp type " + text, family: unix.NFPROTO_IPV4, proto: unix.IPPROTO_ICMP}
	if v6 {
		p = part{text: "icmpv6 type " + text, family: unix.NFPROTO_IPV6, proto: unix.IPPROTO_ICMPV6}
	}
	p.exprs = []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Len: 1}, match}
	return p
}

func ctState(text string, bits uint32) part {
	return part{text: "ct state " + text, exprs: []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}}
}

// reply matches packets that answer a flow that the other side's destination accepted before.
func reply() part {
	p := ctState("established", expr.CtStateBitESTABLISHED)
	return part{
		text:  "ct direction reply " + p.text,
		exprs: append([]expr.Any{&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1}, equal([]byte{1})}, p.exprs...),
	}
}

func related() part { return ctState("related", expr.CtStateBitRELATED) }

// clampMSS lowers the segment size that a TCP handshake offers to what fits the smaller of the two ways' MTU.
func clampMSS() part {
	return part{text: "tcp flags syn / syn,rst tcp option maxseg size set rt mtu", proto: unix.IPPROTO_TCP, exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{0x06}, Xor: []byte{0}},
		equal([]byte{0x02}),
		&expr.Rt{Register: 1, Key: expr.RtTCPMSS},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 2, Size: 2},
		&expr.Exthdr{SourceRegister: 1, Type: 2, Offset: 2, Len: 2, Op: expr.ExthdrOpTcpopt},
	}}
}

func masquerade() part { return part{text: "masquerade", exprs: []expr.Any{&expr.Masq{}}} }
func accept() part     { return verdict("accept", expr.VerdictAccept, "") }
func drop() part       { return verdict("drop", expr.VerdictDrop, "") }
func goTo(chain string) part {
	return verdict("goto "+chain, expr.VerdictGoto, chain)
}

func verdict(text string, kind expr.VerdictKind, chain string) part {
	return part{text: text, exprs: []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}}
}

// addressSet makes a set of addresses, sorted as nft sorts them.
func addressSet(name string, v6 bool, addrs []netip.Addr) Set {
	s := Set{Name: name, Type: "ipv4_addr", key: nftables.TypeIPAddr}
	if v6 {
		s.Type, s.key = "ipv6_addr", nftables.TypeIP6Addr
	}
	addrs = slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare)
	for _, a := range addrs {
		s.Elements = append(s.Elements, Element{Text: a.String(), key: a.AsSlice()})
	}
	return s
}

// owned is an address and the number of its owner.
type owned struct {
	addr  netip.Addr
	owner uint32
}

func ownerMap(name string, v6 bool, all []owned) Set {
	s := Set{Name: name, Type: "ipv4_addr : mark", key: nftables.TypeIPAddr, val: nftables.TypeMark}
	if v6 {
		s.Type, s.key = "ipv6_addr : mark", nftables.TypeIP6Addr
	}
	for _, o := range slices.SortedFunc(slices.Values(all), func(a, b owned) int { return a.addr.Compare(b.addr) }) {
		s.Elements = append(s.Elements, Element{
			Text: fmt.Sprintf("%s : 0x%08x", o.addr, o.owner), key: o.addr.AsSlice(), val: binaryutil.NativeEndian.PutUint32(o.owner),
		})
	}
	return s
}

func reachSet(name string, v6 bool, all []owned) Set {
	s := Set{Name: name, Type: "mark . ipv4_addr", key: nftables.MustConcatSetType(nftables.TypeMark, nftables.TypeIPAddr)}
	if v6 {
		s.Type, s.key = "mark . ipv6_addr", nftables.MustConcatSetType(nftables.TypeMark, nftables.TypeIP6Addr)
	}
	sorted := slices.SortedFunc(slices.Values(all), func(a, b owned) int {
		if a.owner != b.owner {
			return int(a.owner) - int(b.owner)
		}
		return a.addr.Compare(b.addr)
	})
	for _, o := range sorted {
		s.Elements = append(s.Elements, Element{
			Text: fmt.Sprintf("0x%08x . %s", o.owner, o.addr), key: append(binaryutil.NativeEndian.PutUint32(o.owner), o.addr.AsSlice()...),
		})
	}
	return s
}

func portSet(name string, proto Proto, ports ...[]Port) Set {
	s := Set{Name: name, Type: "inet_service", key: nftables.TypeInetService}
	var all []uint16
	for _, p := range slices.Concat(ports...) {
		if p.Proto == proto {
			all = append(all, p.Port)
		}
	}
	slices.Sort(all)
	for _, p := range slices.Compact(all) {
		s.Elements = append(s.Elements, Element{Text: fmt.Sprint(p), key: binary.BigEndian.AppendUint16(nil, p)})
	}
	return s
}

type icmpType struct {
	kind byte
	name string
}

func icmpSet(name string, v6 bool, types []icmpType) Set {
	s := Set{Name: name, Type: "icmp_type", key: nftables.TypeICMPType}
	if v6 {
		s.Type, s.key = "icmpv6_type", nftables.TypeICMP6Type
	}
	for _, t := range types {
		s.Elements = append(s.Elements, Element{Text: t.name, key: []byte{t.kind}})
	}
	return s
}
