package portmap

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// port is where routers listen for PCP and NAT-PMP (RFC 6887, section 19.1).
const port = 5351

// exchange sends a request to the gateway until an answer is accepted or ctx ends: first after 250 ms, then doubling
// (RFC 6886, section 3.1). accept returns false for what is not the answer. The socket is connected, so the kernel
// lets through only what the gateway's own address and port sent.
func (c *Client) exchange(ctx context.Context, r Route, request func(local netip.Addr) []byte, accept func([]byte) bool) error {
	conn, err := c.cfg.Network.Dial(ctx, "udp4", netip.AddrPortFrom(r.Gateway, port).String())
	if err != nil {
		return fail(Silent, "%v", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	local := r.Local
	if a, ok := conn.LocalAddr().(*net.UDPAddr); ok {
		local = a.AddrPort().Addr().Unmap()
	}
	b := make([]byte, 1101) // RFC 6887, section 7: no message is longer than 1,100
	for wait := 250 * time.Millisecond; ; wait *= 2 {
		if _, err := conn.Write(request(local)); err != nil && ctx.Err() == nil {
			return fail(Silent, "%v", err)
		}
		conn.SetReadDeadline(time.Now().Add(wait))
		if ctx.Err() != nil {
			return fail(Silent, "no answer")
		}
		for {
			n, err := conn.Read(b)
			if ctx.Err() != nil {
				return fail(Silent, "no answer")
			}
			if errors.Is(err, syscall.ECONNREFUSED) {
				return fail(Silent, "nothing listens there")
			}
			if err != nil {
				break
			}
			if accept(b[:n]) {
				return nil
			}
		}
		if wait > time.Minute {
			return fail(Silent, "no answer")
		}
	}
}

const (
	protocolUDP = 17

	pcpVersion  = 2
	pcpMap      = 1
	pcpResponse = 0x80
	pcpSize     = 60 // header 24, MAP 36 (RFC 6887, sections 7.1, 7.2 and 11.1)

	pmpVersion  = 0
	pmpAddress  = 0
	pmpMapUDP   = 1
	pmpResponse = 128
)

// as16 is an IPv4 address as PCP writes it (RFC 6887, section 5).
func as16(a netip.Addr) []byte { b := a.As16(); return b[:] }

// formatPCP makes a MAP request (RFC 6887, sections 7.1 and 11.1): version, opcode, 2 reserved, lifetime in seconds,
// client address; nonce, protocol, 3 reserved, inside port, suggested outside port and address. Big-endian.
func formatPCP(w want, local netip.Addr, lease time.Duration) []byte {
	b := make([]byte, pcpSize)
	b[0], b[1] = pcpVersion, pcpMap
	binary.BigEndian.PutUint32(b[4:], uint32(lease/time.Second))
	copy(b[8:], as16(local))
	copy(b[24:], w.nonce[:])
	b[36] = protocolUDP
	binary.BigEndian.PutUint16(b[40:], w.port)
	binary.BigEndian.PutUint16(b[42:], w.external)
	copy(b[44:], as16(netip.IPv4Unspecified()))
	return b
}

// pcpAnswer is a MAP response, or another version's refusal.
type pcpAnswer struct {
	version  byte
	result   byte
	lifetime time.Duration
	epoch    uint32
	nonce    [12]byte
	protocol byte
	internal uint16
	external netip.AddrPort
}

// errNotAnswer says that a datagram is no response of this protocol at all.
var errNotAnswer = errors.New("not a response")

// parsePCP reads a response (RFC 6887, sections 7.2 and 11.1). Options after it are ignored. A response of another
// version carries only its version and result (section 9 and appendix A).
func parsePCP(b []byte) (pcpAnswer, error) {
	if len(b) < 4 || len(b) > 1100 || b[1]&pcpResponse == 0 {
		return pcpAnswer{}, errNotAnswer
	}
	if b[0] != pcpVersion {
		return pcpAnswer{version: b[0], result: b[3]}, nil
	}
	if len(b) < 24 || len(b)%4 != 0 || b[1] != pcpResponse|pcpMap {
		return pcpAnswer{}, errNotAnswer
	}
	a := pcpAnswer{
		version:  b[0],
		result:   b[3],
		lifetime: time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Second,
		epoch:    binary.BigEndian.Uint32(b[8:]),
	}
	if len(b) < pcpSize {
		if a.result == 0 {
			return pcpAnswer{}, errNotAnswer
		}
		return a, nil // an error may come without the rest
	}
	copy(a.nonce[:], b[24:36])
	a.protocol = b[36]
	a.internal = binary.BigEndian.Uint16(b[40:])
	a.external = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[44:60])).Unmap(), binary.BigEndian.Uint16(b[42:]))
	return a, nil
}

// pcpResults are the result codes (RFC 6887, section 7.4) as people who help will search for them.
var pcpResults = map[byte]string{
	1: "unsupported version", 2: "not authorized", 3: "malformed request", 4: "unsupported opcode", 5: "unsupported option",
	6: "malformed option", 7: "network failure", 8: "no resources", 9: "unsupported protocol", 10: "quota exceeded",
	11: "cannot provide the outside address", 12: "address mismatch: there is another router between", 13: "excessive remote peers",
}

func (c *Client) askPCP(ctx context.Context, w want, lease time.Duration) (grant, error) {
	var a pcpAnswer
	err := c.exchange(ctx, w.route, func(local netip.Addr) []byte { return formatPCP(w, local, lease) }, func(b []byte) bool {
		got, err := parsePCP(b)
		if err != nil {
			return false
		}
		if got.version == pcpVersion && (got.result == 0 || got.nonce != [12]byte{}) &&
			(got.nonce != w.nonce || got.protocol != protocolUDP || got.internal != w.port) {
			return false // the answer to somebody else's request
		}
		a = got
		return true
	})
	switch {
	case err != nil:
		return grant{}, err
	case a.version != pcpVersion:
		return grant{}, fail(Refused, "the router speaks version %d", a.version)
	case a.result != 0:
		return grant{}, fail(Refused, "%s (%d)", pcpResults[a.result], a.result)
	}
	return grant{external: a.external, lease: a.lifetime}, nil
}

// formatNATPMP makes a request to map UDP (RFC 6886, section 3.3): version, opcode, 2 reserved, inside port,
// suggested outside port, lifetime in seconds. To release, port and lifetime outside are 0 (section 3.4).
func formatNATPMP(w want, lease time.Duration) []byte {
	b := make([]byte, 12)
	b[0], b[1] = pmpVersion, pmpMapUDP
	binary.BigEndian.PutUint16(b[4:], w.port)
	if lease > 0 {
		binary.BigEndian.PutUint16(b[6:], w.external)
	}
	binary.BigEndian.PutUint32(b[8:], uint32(lease/time.Second))
	return b
}

// pmpAnswer is a response of NAT-PMP; which fields are set depends on the opcode.
type pmpAnswer struct {
	opcode   byte // without the response bit
	result   uint16
	epoch    uint32
	address  netip.Addr // opcode 0
	internal uint16     // opcode 1
	external uint16
	lifetime time.Duration
}

// parseNATPMP reads a response (RFC 6886, sections 3.2 and 3.3). A refusal may be as short as its result.
func parseNATPMP(b []byte) (pmpAnswer, error) {
	if len(b) < 4 || b[0] != pmpVersion || b[1] < pmpResponse {
		return pmpAnswer{}, errNotAnswer
	}
	a := pmpAnswer{opcode: b[1] - pmpResponse, result: binary.BigEndian.Uint16(b[2:])}
	if a.result != 0 {
		return a, nil
	}
	switch {
	case a.opcode == pmpAddress && len(b) >= 12:
		a.address = netip.AddrFrom4([4]byte(b[8:12]))
	case a.opcode == pmpMapUDP && len(b) >= 16:
		a.internal, a.external = binary.BigEndian.Uint16(b[8:]), binary.BigEndian.Uint16(b[10:])
		a.lifetime = time.Duration(binary.BigEndian.Uint32(b[12:])) * time.Second
	default:
		return pmpAnswer{}, errNotAnswer
	}
	a.epoch = binary.BigEndian.Uint32(b[4:])
	return a, nil
}

// pmpResults are the result codes (RFC 6886, section 3.5).
var pmpResults = map[uint16]string{1: "unsupported version", 2: "not authorized: it is switched off", 3: "network failure", 4: "out of resources", 5: "unsupported opcode"}

func (c *Client) askNATPMP(ctx context.Context, w want, lease time.Duration) (grant, error) {
	ask := func(request []byte, opcode byte) (a pmpAnswer, err error) {
		err = c.exchange(ctx, w.route, func(netip.Addr) []byte { return request }, func(b []byte) bool {
			got, err := parseNATPMP(b)
			if err != nil || got.opcode != opcode || got.result == 0 && opcode == pmpMapUDP && got.internal != w.port {
				return false
			}
			a = got
			return true
		})
		if err == nil && a.result != 0 {
			err = fail(Refused, "%s (%d)", pmpResults[a.result], a.result)
		}
		return a, err
	}
	m, err := ask(formatNATPMP(w, lease), pmpMapUDP)
	if err != nil || lease == 0 {
		return grant{}, err
	}
	a, err := ask([]byte{pmpVersion, pmpAddress}, pmpAddress)
	if err != nil {
		return grant{}, err
	}
	return grant{external: netip.AddrPortFrom(a.address, m.external), lease: m.lifetime}, nil
}
