// Package clamp keeps TCP inside the tunnel small enough for every way outside it.
//
// The stock apps get MTU 1280, the least at which IPv6 works at all (RFC 8200, section 5: on a smaller one Linux and
// Android refuse IPv6 addresses), and WireGuard adds 60 bytes over IPv4 and 80 over IPv6. On a way that itself
// carries only 1280 (mobile networks, PPPoE in a tunnel) full packets would travel in fragments: measured 0.14
// Mbit/s instead of 2,228 (facts/mesh.md 0.6), while ping still passes. So the box writes a smaller maximum segment
// size into the SYN and SYN-ACK of every TCP connection that passes its end of the tunnel, both ways: then TCP's
// packets are at most 1,200 bytes and fit 1280 with either overhead, whoever forwards them.
package clamp

import (
	"encoding/binary"

	"github.com/tailscale/wireguard-go/tun"
)

// Packet is the largest IP packet, in bytes, that a clamped TCP connection makes: 1280 less 80 for WireGuard over
// IPv6 (40 IP, 8 UDP, 16 header, 16 tag).
const Packet = 1200

// The segment sizes that make packets of that size (RFC 9293, section 3.7.1: options count as data here).
const (
	segment4 = Packet - 20 - 20
	segment6 = Packet - 40 - 20
)

// Device is a tun.Device that clamps what passes. It answers MTU itself, because the interface may live in another
// network namespace than the process.
type Device struct {
	tun.Device
	Bytes int // what MTU answers
}

// MTU implements tun.Device.
func (d *Device) MTU() (int, error) { return d.Bytes, nil }

// Read implements tun.Device.
func (d *Device) Read(slab []byte, packets []tun.ReadPacket) (int, error) {
	n, err := d.Device.Read(slab, packets)
	for _, p := range packets[:n] {
		Segment(slab[p.Offset : p.Offset+p.Size])
	}
	return n, err
}

// Write implements tun.Device.
func (d *Device) Write(bufs [][]byte, offset int) (int, error) {
	for _, b := range bufs {
		Segment(b[offset:])
	}
	return d.Device.Write(bufs, offset)
}

const (
	protocolTCP = 6
	flagSYN     = 0x02
	optionEnd   = 0
	optionNop   = 1
	optionMSS   = 2 // RFC 9293, section 3.2: kind 2, length 4
)

// Segment lowers the maximum segment size that p asks for, in place, if p is an IPv4 or IPv6 packet with a TCP SYN
// that asks for more than fits, and corrects its checksum (RFC 1624). It reports whether it did. Anything else,
// damaged packets included, is left as it is. IPv6 extension headers are not followed: no SYN has them in practice.
func Segment(p []byte) bool {
	if len(p) < 20 {
		return false
	}
	var tcp []byte
	var most uint16
	switch p[0] >> 4 {
	case 4:
		head := int(p[0]&15) * 4
		if p[9] != protocolTCP || head < 20 || len(p) < head+20 || binary.BigEndian.Uint16(p[6:])&0x1fff != 0 {
			return false
		}
		tcp, most = p[head:], segment4
	case 6:
		if len(p) < 60 || p[6] != protocolTCP {
			return false
		}
		tcp, most = p[40:], segment6
	default:
		return false
	}
	if tcp[13]&flagSYN == 0 {
		return false
	}
	head := int(tcp[12]>>4) * 4
	if head < 20 || head > len(tcp) {
		return false
	}
	for at := 20; at < head; {
		switch tcp[at] {
		case optionEnd:
			return false
		case optionNop:
			at++
			continue
		}
		if at+1 >= head {
			return false
		}
		size := int(tcp[at+1])
		if size < 2 || at+size > head {
			return false
		}
		if tcp[at] == optionMSS && size == 4 {
			if binary.BigEndian.Uint16(tcp[at+2:]) <= most {
				return false
			}
			var to [2]byte
			binary.BigEndian.PutUint16(to[:], most)
			set(tcp, at+2, to[0])
			set(tcp, at+3, to[1])
			return true
		}
		at += size
	}
	return false
}

// set writes one byte of a TCP segment and corrects the checksum at 16: HC' = ~(~HC + ~m + m') (RFC 1624,
// section 3), where the byte counts high or low by its place from the segment's start.
func set(tcp []byte, at int, to byte) {
	shift := 8 * (1 - uint(at)%2)
	sum := uint32(^binary.BigEndian.Uint16(tcp[16:])) + uint32(^(uint16(tcp[at]) << shift)) + uint32(to)<<shift
	sum = sum&0xffff + sum>>16
	sum = sum&0xffff + sum>>16
	tcp[at] = to
	binary.BigEndian.PutUint16(tcp[16:], ^uint16(sum))
}
