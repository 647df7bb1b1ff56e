// Package joinwire is the wire format of /identity/join/v1, by which an unclaimed box joins a household: frames, parsed
// and formatted.
//
//	new box                                    box that invited
//	by link      Secret ──▶
//	                                           ◀── Taken, then Records until there are as many as it says
//	by code      Code ──▶
//	                                           ◀── Share
//	             Confirm ──▶
//	                                           ◀── Taken, then Records
//	either                                     ◀── Refused, in place of Share or Taken, ends it
//
// # Bytes
//
// All numbers are big-endian. A frame is one byte of kind, three bytes of length and so many bytes:
//
//	1 SECRET   16 the secret of the link · name
//	2 CODE     65 the share of A in SPAKE2 (RFC 9382); A is the new box, B the one that invited
//	3 SHARE    65 the share of B · 32 the household root's public key
//	4 CONFIRM  32 the confirmation of A · name
//	5 TAKEN    1  0 by link, 1 by code · by code 32 the confirmation of B · 4 how many records follow, from 1 on
//	6 RECORDS  records of the household log, parents first, each behind 2 bytes of length; at least one
//	7 REFUSED  1 reason · 1 how many tries are left, for a wrong code; else 0
//
// A name is one byte of length, 1 to 255, and so many bytes of UTF-8: how the new box is to be called. There is one form
// for each frame, and Read takes no other.
package joinwire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"hearth.alt/services/identity/internal/record"
	"hearth.alt/services/identity/internal/spake2"
)

// The bounds.
const (
	// MaxRecords is how many bytes the records of a household may have, all together.
	MaxRecords = 64 << 20

	chunk    = 64 << 10 // a frame of records is sent once it has so many bytes
	maxFrame = chunk + 2 + record.MaxSize
	head     = 4
)

// ErrMalformed is returned for bytes that are no frame.
var ErrMalformed = errors.New("not a frame of joining")

// Reason is why a box was refused. The numbers are those of the format.
type Reason uint8

// The reasons.
const (
	Unknown     Reason = iota + 1 // no such invitation
	Expired                       // it is over
	Used                          // by another box
	Withdrawn                     // taken back, or whoever made it no longer may
	Tries                         // the code is dead: too many wrong ones
	CodeWrong                     // Left says how often it may be tried again
	NameInvalid                   // no name for a box
	NameTaken                     // another box has it
	Full                          // no room for a box
	LogFull                       // no room for a record
	Removed                       // this box was removed, and does not come back
	Unable                        // the household cannot change now
)

// The frames.
type (
	// Secret begins joining by link.
	Secret struct {
		Secret [16]byte
		Name   string
	}
	// Code begins joining by spoken code.
	Code struct{ Share [spake2.ShareSize]byte }
	// Share answers Code.
	Share struct {
		Share [spake2.ShareSize]byte
		Root  [32]byte
	}
	// Confirm proves the code.
	Confirm struct {
		Confirmation [spake2.ConfirmationSize]byte
		Name         string
	}
	// Taken says that the box is one of the household's.
	Taken struct {
		Confirmation []byte // nil by link
		Count        uint32 // of the records that follow
	}
	// Records are some of the household log.
	Records struct{ Records [][]byte }
	// Refused ends it.
	Refused struct {
		Reason Reason
		Left   uint8
	}
)

// Frame is one of the frames.
type Frame interface{ append(b []byte) (byte, []byte) }

func (f Secret) append(b []byte) (byte, []byte) {
	return 1, appendName(append(b, f.Secret[:]...), f.Name)
}
func (f Code) append(b []byte) (byte, []byte) { return 2, append(b, f.Share[:]...) }
func (f Share) append(b []byte) (byte, []byte) {
	return 3, append(append(b, f.Share[:]...), f.Root[:]...)
}
func (f Confirm) append(b []byte) (byte, []byte) {
	return 4, appendName(append(b, f.Confirmation[:]...), f.Name)
}
func (f Taken) append(b []byte) (byte, []byte) {
	b = append(b, 0)
	if f.Confirmation != nil {
		b = append(append(b[:len(b)-1], 1), f.Confirmation...)
	}
	return 5, binary.BigEndian.AppendUint32(b, f.Count)
}
func (f Records) append(b []byte) (byte, []byte) {
	for _, r := range f.Records {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(r))), r...)
	}
	return 6, b
}
func (f Refused) append(b []byte) (byte, []byte) { return 7, append(b, byte(f.Reason), f.Left) }

func appendName(b []byte, name string) []byte { return append(append(b, byte(len(name))), name...) }

// Append appends the frame's bytes.
func Append(b []byte, f Frame) []byte {
	at := len(b)
	kind, b := f.append(append(b, 0, 0, 0, 0))
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-head))
	b[at] = kind
	return b
}

// Chunks cuts records into frames.
func Chunks(records [][]byte) (out []Records) {
	size := 0
	for i, r := range records {
		if i == 0 || size >= chunk {
			out, size = append(out, Records{}), 0
		}
		last := &out[len(out)-1]
		last.Records = append(last.Records, r)
		size += 2 + len(r)
	}
	return out
}

// Read reads a frame. The error wraps ErrMalformed unless it is the reader's.
func Read(r io.Reader) (Frame, error) {
	var b [head]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return nil, err
	}
	kind := b[0]
	b[0] = 0
	n := int(binary.BigEndian.Uint32(b[:]))
	if kind == 0 || kind > 7 || n > maxFrame || kind != 6 && n > 512 {
		return nil, fmt.Errorf("%w: kind %d with %d bytes", ErrMalformed, kind, n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	f, ok := parse(kind, body)
	if !ok {
		return nil, fmt.Errorf("%w: kind %d with %d bytes", ErrMalformed, kind, n)
	}
	return f, nil
}

func parse(kind byte, b []byte) (Frame, bool) {
	switch {
	case kind == 1 && len(b) > 16:
		name, ok := parseName(b[16:])
		return Secret{[16]byte(b[:16]), name}, ok
	case kind == 2 && len(b) == spake2.ShareSize:
		return Code{[spake2.ShareSize]byte(b)}, true
	case kind == 3 && len(b) == spake2.ShareSize+32:
		return Share{[spake2.ShareSize]byte(b), [32]byte(b[spake2.ShareSize:])}, true
	case kind == 4 && len(b) > spake2.ConfirmationSize:
		name, ok := parseName(b[spake2.ConfirmationSize:])
		return Confirm{[spake2.ConfirmationSize]byte(b), name}, ok
	case kind == 5 && len(b) == 5 && b[0] == 0:
		n := binary.BigEndian.Uint32(b[1:])
		return Taken{Count: n}, n > 0
	case kind == 5 && len(b) == 5+spake2.ConfirmationSize && b[0] == 1:
		n := binary.BigEndian.Uint32(b[1+spake2.ConfirmationSize:])
		return Taken{Confirmation: b[1 : 1+spake2.ConfirmationSize], Count: n}, n > 0
	case kind == 6:
		return parseRecords(b)
	case kind == 7 && len(b) == 2 && b[0] > 0 && (b[1] == 0 || Reason(b[0]) == CodeWrong):
		return Refused{Reason(b[0]), b[1]}, true
	}
	return nil, false
}

func parseName(b []byte) (string, bool) {
	if len(b) < 2 || len(b) != 1+int(b[0]) || !utf8.Valid(b[1:]) {
		return "", false
	}
	return string(b[1:]), true
}

func parseRecords(b []byte) (Frame, bool) {
	var f Records
	for len(b) >= 2 {
		n := int(binary.BigEndian.Uint16(b))
		if n == 0 || n > record.MaxSize || len(b) < 2+n {
			return nil, false
		}
		f.Records = append(f.Records, b[2:2+n:2+n])
		b = b[2+n:]
	}
	return f, len(b) == 0 && len(f.Records) > 0
}
