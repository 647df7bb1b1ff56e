package clamp

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// syn makes an IPv4 or IPv6 packet with a TCP SYN, the given options and a right checksum.
func syn(six bool, flags byte, options []byte, data string) []byte {
	for len(options)%4 != 0 {
		options = append(options, optionEnd)
	}
	tcp := make([]byte, 20, 64)
	binary.BigEndian.PutUint16(tcp, 40000)
	binary.BigEndian.PutUint16(tcp[2:], 443)
	tcp[12], tcp[13] = byte(20+len(options))<<2, flags
	tcp = append(append(tcp, options...), data...)
	var p []byte
	if six {
		p = make([]byte, 40, 128)
		p[0], p[6] = 0x60, protocolTCP
		binary.BigEndian.PutUint16(p[4:], uint16(len(tcp)))
		p[23], p[39] = 1, 2
	} else {
		p = make([]byte, 20, 128)
		p[0], p[9] = 0x45, protocolTCP
		binary.BigEndian.PutUint16(p[2:], uint16(20+len(tcp)))
		copy(p[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	}
	head := len(p)
	p = append(p, tcp...)
	binary.BigEndian.PutUint16(p[head+16:], ^sum(p, head))
	return p
}

// sum is the one's complement sum over the pseudo header and the segment: 0xffff when the checksum is right.
func sum(p []byte, head int) uint16 {
	addrs := p[12:20]
	if head == 40 {
		addrs = p[8:40]
	}
	total := uint32(protocolTCP) + uint32(len(p)-head)
	for _, b := range [][]byte{addrs, p[head:]} {
		for i := 0; i < len(b); i += 2 {
			w := uint32(b[i]) << 8
			if i+1 < len(b) {
				w |= uint32(b[i+1])
			}
			total += w
		}
	}
	for total>>16 != 0 {
		total = total&0xffff + total>>16
	}
	return uint16(total)
}

func TestSegment(t *testing.T) {
	mss := func(n uint16) []byte { return []byte{optionMSS, 4, byte(n >> 8), byte(n)} }
	for _, c := range []struct {
		name    string
		six     bool
		flags   byte
		options []byte
		want    int // the segment size afterwards at its place; 0 is untouched
		at      int // of the option, from the start of the options
	}{
		{name: "IPv4 SYN", flags: flagSYN, options: mss(1240), want: segment4},
		{name: "IPv4 SYN-ACK", flags: flagSYN | 0x10, options: mss(1460), want: segment4},
		{name: "IPv6 SYN", six: true, flags: flagSYN, options: mss(1440), want: segment6},
		{name: "after an odd option", flags: flagSYN, options: append([]byte{optionNop}, mss(1460)...), want: segment4, at: 1},
		{name: "IPv6 after window scale", six: true, flags: flagSYN, options: append([]byte{3, 3, 7}, mss(1220)...), want: segment6, at: 3},
		{name: "already small", flags: flagSYN, options: mss(536)},
		{name: "exactly fitting", flags: flagSYN, options: mss(segment4)},
		{name: "no SYN", flags: 0x10, options: mss(1460)},
		{name: "no option", flags: flagSYN},
		{name: "after the end of options", flags: flagSYN, options: append([]byte{optionEnd}, mss(1460)...)},
		{name: "option of a wrong length", flags: flagSYN, options: []byte{optionMSS, 3, 5, 0xb4}},
		{name: "option of length zero", flags: flagSYN, options: []byte{9, 0, 0, 0}},
		{name: "option beyond the header", flags: flagSYN, options: []byte{9, 40, 0, 0}},
	} {
		p := syn(c.six, c.flags, c.options, "odd")
		head := 20
		if c.six {
			head = 40
		}
		before := bytes.Clone(p)
		changed := Segment(p)
		if changed != (c.want != 0) || !changed && !bytes.Equal(p, before) {
			t.Errorf("%s: changed %v", c.name, changed)
			continue
		}
		if got := sum(p, head); got != 0xffff {
			t.Errorf("%s: the checksum is wrong by %#x", c.name, ^got)
		}
		if c.want != 0 {
			if got := int(binary.BigEndian.Uint16(p[head+20+c.at+2:])); got != c.want {
				t.Errorf("%s: segment size %d, want %d", c.name, got, c.want)
			}
		}
		if Segment(p) {
			t.Errorf("%s: changed twice", c.name)
		}
	}
	fragment := syn(false, flagSYN, mss(1460), "")
	fragment[7] = 1
	if Segment(fragment) {
		t.Error("a later fragment was taken for a SYN")
	}
}

func FuzzSegment(f *testing.F) {
	f.Add(syn(false, flagSYN, []byte{optionMSS, 4, 5, 0xb4}, ""))
	f.Add(syn(true, flagSYN, []byte{optionNop, optionMSS, 4, 5, 0xb4}, "x"))
	f.Fuzz(func(t *testing.T, p []byte) {
		before := bytes.Clone(p)
		changed := Segment(p)
		if !changed && !bytes.Equal(p, before) {
			t.Fatal("changed and did not say so")
		}
		if changed {
			if Segment(p) {
				t.Fatal("changed twice")
			}
			if head := 20; p[0] == 0x45 && len(p) < 1<<15 {
				if a, b := sum(before, head), sum(p, head); a != b {
					t.Fatalf("the checksum went from %#x to %#x", a, b)
				}
			}
		}
	})
}

func BenchmarkSegment(b *testing.B) {
	p := syn(false, 0x10, nil, "data of no SYN")
	for b.Loop() {
		Segment(p)
	}
}
