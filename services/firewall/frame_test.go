package firewall_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// frameCrosses writes one Ethernet frame with a UDP datagram from src to dst into the phones' end of the cable and
// waits for the same payload to come back from the box. It runs on a thread of the phones.
func frameCrosses(t *testing.T, h *house, src, dst netip.Addr) bool {
	ifi, err := net.InterfaceByName("tun")
	if err != nil {
		t.Error(err)
		return false
	}
	all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, int(all))
	if err != nil {
		t.Error(err)
		return false
	}
	defer unix.Close(fd)
	at := &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index}
	if err := unix.Bind(fd, at); err != nil {
		t.Error(err)
		return false
	}
	payload := []byte("crossing " + src.String() + " " + dst.String())
	if err := unix.Sendto(fd, datagramFrame(h.box.mac(t, "hearth0"), ifi.HardwareAddr, src, dst, payload), 0, at); err != nil {
		t.Error(err)
		return false
	}
	deadline := time.Now().Add(120 * time.Millisecond)
	b := make([]byte, 2048)
	for time.Now().Before(deadline) {
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000})
		n, _, err := unix.Recvfrom(fd, b, 0)
		if err == nil && n > 12 && bytes.Equal(b[:6], ifi.HardwareAddr) && bytes.HasSuffix(b[:n], payload) {
			return true
		}
	}
	return false
}

func datagramFrame(to, from net.HardwareAddr, src, dst netip.Addr, payload []byte) []byte {
	udp := binary.BigEndian.AppendUint16(nil, 4000)
	udp = binary.BigEndian.AppendUint16(udp, 4001)
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	udp = append(udp, 0, 0)
	udp = append(udp, payload...)
	pseudo := append(append([]byte{}, src.AsSlice()...), dst.AsSlice()...)
	pseudo = append(pseudo, 0, 0, byte(len(udp)>>8), byte(len(udp)), 0, 0, 0, unix.IPPROTO_UDP)
	binary.BigEndian.PutUint16(udp[6:], checksum(append(pseudo, udp...)))
	var ip []byte
	kind := uint16(unix.ETH_P_IP)
	if src.Is4() {
		ip = []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, unix.IPPROTO_UDP, 0, 0}
		ip = append(append(ip, src.AsSlice()...), dst.AsSlice()...)
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(udp)))
		binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	} else {
		kind = unix.ETH_P_IPV6
		ip = []byte{0x60, 0, 0, 0, byte(len(udp) >> 8), byte(len(udp)), unix.IPPROTO_UDP, 64}
		ip = append(append(ip, src.AsSlice()...), dst.AsSlice()...)
	}
	frame := append(append([]byte{}, to...), from...)
	frame = binary.BigEndian.AppendUint16(frame, kind)
	return append(append(frame, ip...), udp...)
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		w := uint32(b[i]) << 8
		if i+1 < len(b) {
			w |= uint32(b[i+1])
		}
		sum += w
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// maxSegment is the segment size that c sends, as its kernel sees it (TCP_MAXSEG).
func maxSegment(t *testing.T, c *net.TCPConn) int {
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	mss := 0
	raw.Control(func(fd uintptr) { mss, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG) })
	if err != nil {
		t.Error(err)
	}
	return mss
}
