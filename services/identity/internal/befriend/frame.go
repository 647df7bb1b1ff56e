// Package befriend is the wire format of /identity/friend/v1, with which two households become friends and later tell
// each other how they are. There is no I/O but reading and writing one frame.
//
//	one who was invited                       the one who invited
//	        Ask(secret, about) ───────────────────▶
//	        ◀─────────────────── Welcome(about) or Refusal(code)
//
//	a friend                                  a friend
//	        Hello(about) ─────────────────────────▶
//	        ◀─────────────────── Welcome(about) or Refusal(code)
//
// # Bytes
//
// All numbers are big-endian. There is one form for each value, and Read takes no other.
//
//	offset  size  field
//	0       4     length n of what follows, 1 to 65,536
//	4       1     kind: 1 Ask, 2 Hello, 3 Welcome, 4 Refusal
//	5       n-1   body
//
//	Ask        16 bytes the secret of the invitation · 32 bytes the household that it is said to be of (services.FriendID) · about
//	Hello      about
//	Welcome    about
//	Refusal    1 byte code, 1 to 255
//
// An "about" is what a household says of itself:
//
//	text         its name: 1 byte of length, 1 to 255, and that many bytes of UTF-8
//	candidates   1 byte count, 0 to 8, and the addresses at which the box that speaks may be, none twice: 1 byte 4 or 6, 4 or
//	             16 bytes, 2 bytes port from 1 on; no IPv4 in IPv6, no zone
//	peers        1 byte count, 1 to 8, and the public keys of its boxes, 32 bytes each, strictly ascending
//	proof        1 byte count, 2 to 64, and records of its household log, each 2 bytes of length, 1 to 8,192, and its bytes
//
// What a proof proves, package identity says.
package befriend

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"unicode/utf8"

	"hearth.alt/services"
)

// The bounds of the format.
const (
	MaxFrame      = 1 << 16
	MaxCandidates = 8
	MaxProof      = 64
	maxRecord     = 8192
)

// ErrMalformed is what Read returns for bytes that are no frame.
var ErrMalformed = errors.New("not a frame of this protocol")

// Message is Ask, Hello, Welcome or Refusal.
type Message interface {
	kind() byte
	append(b []byte) []byte
}

// The messages.
type (
	// Ask shows the secret of an invitation.
	Ask struct {
		Secret [16]byte
		Of     services.FriendID // who the invitation says invites
		About
	}
	// Hello is a friend's.
	Hello struct{ About }
	// Welcome is the answer to both.
	Welcome struct{ About }
	// Refusal is the other answer.
	Refusal struct{ Code Code }
)

// About is what a household says of itself.
type About struct {
	Name       string
	Candidates []netip.AddrPort  // of the box that speaks
	Peers      []services.PeerID // its boxes, ascending
	Proof      [][]byte          // records of its log
}

// Code is why somebody is refused.
type Code uint8

// The codes. Others may come from newer programs.
const (
	Malformed   Code = 1 + iota // what was said does not fit together
	Unknown                     // no such invitation
	Expired                     // the invitation has ended
	Used                        // another household came with it
	Own                         // it is the own household's
	Busy                        // too many wrong secrets
	Unavailable                 // nothing can be written down
	NotFriends                  // a Hello of somebody who is none
)

func (Ask) kind() byte     { return 1 }
func (Hello) kind() byte   { return 2 }
func (Welcome) kind() byte { return 3 }
func (Refusal) kind() byte { return 4 }

func (m Ask) append(b []byte) []byte {
	return m.About.append(append(append(b, m.Secret[:]...), m.Of[:]...))
}
func (m Hello) append(b []byte) []byte   { return m.About.append(b) }
func (m Welcome) append(b []byte) []byte { return m.About.append(b) }
func (m Refusal) append(b []byte) []byte { return append(b, byte(m.Code)) }

func (a About) append(b []byte) []byte {
	b = append(append(b, byte(len(a.Name))), a.Name...)
	b = append(b, byte(len(a.Candidates)))
	for _, c := range a.Candidates {
		family := byte(6)
		if c.Addr().Is4() {
			family = 4
		}
		b = append(append(b, family), c.Addr().AsSlice()...)
		b = binary.BigEndian.AppendUint16(b, c.Port())
	}
	b = append(b, byte(len(a.Peers)))
	for _, p := range a.Peers {
		b = append(b, p[:]...)
	}
	b = append(b, byte(len(a.Proof)))
	for _, r := range a.Proof {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(r))), r...)
	}
	return b
}

func (a About) check() error {
	switch {
	case len(a.Name) < 1 || len(a.Name) > 255 || !utf8.ValidString(a.Name):
		return errors.New("name")
	case len(a.Candidates) > MaxCandidates:
		return errors.New("candidates")
	case len(a.Peers) < 1 || len(a.Peers) > services.MaxFriendPeers:
		return errors.New("peers")
	case len(a.Proof) < 2 || len(a.Proof) > MaxProof:
		return errors.New("proof")
	}
	for i, c := range a.Candidates {
		if !c.IsValid() || c.Port() == 0 || c.Addr().Is4In6() || c.Addr().Zone() != "" || slices.Contains(a.Candidates[:i], c) {
			return errors.New("a candidate")
		}
	}
	for i, p := range a.Peers {
		if i > 0 && bytes.Compare(a.Peers[i-1][:], p[:]) >= 0 {
			return errors.New("peers out of order")
		}
	}
	for _, r := range a.Proof {
		if len(r) == 0 || len(r) > maxRecord {
			return errors.New("a record")
		}
	}
	return nil
}

func check(m Message) error {
	switch m := m.(type) {
	case Ask:
		return m.check()
	case Hello:
		return m.check()
	case Welcome:
		return m.check()
	case Refusal:
		if m.Code == 0 {
			return errors.New("code")
		}
	}
	return nil
}

// Append writes the frame of m behind b. It is an error of the program that m is out of bounds.
func Append(b []byte, m Message) ([]byte, error) {
	if err := check(m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	at := len(b)
	b = m.append(append(b, 0, 0, 0, 0, m.kind()))
	n := len(b) - at - 4
	if n > MaxFrame {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, n)
	}
	binary.BigEndian.PutUint32(b[at:], uint32(n))
	return b, nil
}

// Write writes one message.
func Write(w io.Writer, m Message) error {
	b, err := Append(nil, m)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// Read reads one message. The error is ErrMalformed or r's.
func Read(r io.Reader) (Message, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 1 || n > MaxFrame {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	m, err := parse(b)
	if err == nil {
		err = check(m)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return m, nil
}

func parse(b []byte) (Message, error) {
	d := decoder{b: b[1:]}
	var m Message
	switch b[0] {
	case 1:
		m = Ask{[16]byte(d.take(16)), services.FriendID(d.take(32)), d.about()}
	case 2:
		m = Hello{d.about()}
	case 3:
		m = Welcome{d.about()}
	case 4:
		m = Refusal{Code(d.byte())}
	default:
		return nil, fmt.Errorf("a message of kind %d", b[0])
	}
	if d.err == nil && len(d.b) > 0 {
		return nil, errors.New("bytes left over")
	}
	return m, d.err
}

// decoder reads from the front of b. After the first failure it yields zero values and keeps err.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) take(n int) []byte {
	if d.err == nil && len(d.b) < n {
		d.err = errors.New("it is cut short")
	}
	if d.err != nil {
		return make([]byte, n)
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) byte() byte { return d.take(1)[0] }

// count reads how many follow.
func (d *decoder) count(most int) int {
	n := int(d.byte())
	if d.err == nil && n > most {
		d.err = errors.New("too many")
	}
	if d.err != nil {
		return 0
	}
	return n
}

func (d *decoder) about() (a About) {
	a.Name = string(d.take(int(d.byte())))
	for range d.count(MaxCandidates) {
		size := map[byte]int{4: 4, 6: 16}[d.byte()]
		if size == 0 {
			d.err = cmp.Or(d.err, errors.New("a candidate"))
			break
		}
		ip, _ := netip.AddrFromSlice(d.take(size))
		a.Candidates = append(a.Candidates, netip.AddrPortFrom(ip, binary.BigEndian.Uint16(d.take(2))))
	}
	for range d.count(services.MaxFriendPeers) {
		a.Peers = append(a.Peers, services.PeerID(d.take(32)))
	}
	for range d.count(MaxProof) {
		n := int(binary.BigEndian.Uint16(d.take(2)))
		if n > maxRecord {
			d.err = cmp.Or(d.err, errors.New("a record"))
			break
		}
		a.Proof = append(a.Proof, d.take(n))
	}
	return a
}
