// Package statement is what the boxes of a household tell one another about credentials: signed statements, and the
// frames they travel in. It does no I/O but reading from an io.Reader.
//
// All numbers are big-endian. Identifiers of people, devices and credentials are their 16 letters and digits.
//
// # A statement's body
//
//	1   kind: 1 password, 2 app password, 3 token
//	16  person
//
// Of a password:
//
//	8   number, from 1: which of its writer's passwords for this person it is; of two the higher one counts
//	4   argon2id memory, KiB
//	4   passes
//	1   lanes
//	16  salt
//	32  key
//	1   how many passwords it takes the place of, 0 to 64
//	n   their IDs, 16 bytes each
//
// Of an app password or a token:
//
//	16  identifier
//	16  device that it ends with; zeros are none
//	1   role that it gives at most, 1 to 4
//	32  SHA-256 of the secret
//	8   when it was made, seconds since 1970
//	8   when it expires; 0 is never
//	2   length of the name, 0 to 400
//	n   name, UTF-8
//	1   length of the scope, 0 to 200
//	n   scope, UTF-8
//
// # A row
//
//	1   1 when the credential has ended, else 0; a password's is 0. Not signed: it takes rights away and gives none
//	32  writer, a PeerID
//	2   length of the body
//	n   body
//	64  the writer's signature (Ed25519, RFC 8032) over Domain, writer and body
//
// # A frame
//
//	1   kind
//	4   length of what follows, at most 65,536
//
//	HAVE  1  1 in the last frame of a list, else 0
//	      n  of each row that the sender has: its mark, 16 bytes, and the byte that says whether it has ended
//	ROWS  n  rows, one at least
//	END      nothing: all that the peer did not have when it last said so was sent, and the sender has its part in the
//	         household's; it is how a box that joins knows that it has heard all
//
// A change of anything here is another ProtocolName.
package statement

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"

	"hearth.alt/services"
)

// Domain begins every message that a writer signs.
const Domain = "hearth.alt credential statement 1\x00"

// The bounds of a body.
const (
	MaxNumber = 1 << 62
	MaxOver   = 64
	MaxName   = 400
	MaxScope  = 200
	idSize    = 16
	maxBody   = 1 + idSize + 8 + 9 + 16 + 32 + 1 + MaxOver*idSize
)

// ErrMalformed is returned for bytes that are no statement, row or frame.
var ErrMalformed = errors.New("not of the credential exchange")

// Kind is what a statement is about.
type Kind uint8

// The kinds.
const (
	Password Kind = 1
	App      Kind = 2
	Token    Kind = 3
)

// ID names the content of a password statement, whoever wrote it and whichever number it has.
type ID [16]byte

// Mark names a row, whether it has ended or not.
type Mark [16]byte

// Statement is what one box says about one credential.
type Statement struct {
	Kind   Kind
	Person services.PersonID

	// Of a password.
	Number         uint64
	Memory, Passes uint32
	Lanes          uint8
	Salt           [16]byte
	Key            [32]byte
	Over           []ID // of what it takes the place of

	// Of the others.
	Credential string
	Device     services.DeviceID
	Role       services.Role
	Hash       [32]byte
	Created    int64
	Expires    int64
	Name       string
	Scope      string
}

// Subject says which credential the statement is about: each writer has one statement of it.
func (s *Statement) Subject() string {
	if s.Kind == Password {
		return PasswordOf(s.Person)
	}
	return CredentialOf(s.Credential)
}

// PasswordOf is the Subject of a person's password.
func PasswordOf(p services.PersonID) string { return "p" + string(p) }

// CredentialOf is the Subject of an app password or a token.
func CredentialOf(id string) string { return "c" + id }

// ID names what a password statement says.
func (s *Statement) ID() ID {
	c := *s
	c.Number = 0
	sum := sha256.Sum256(c.Append(nil))
	return ID(sum[:16])
}

// Newer says whether s takes the place of o, a statement of the same writer about the same subject. Of two different
// ones exactly one does.
func (s *Statement) Newer(o *Statement) bool {
	if s.Number != o.Number {
		return s.Number > o.Number
	}
	return bytes.Compare(s.Append(nil), o.Append(nil)) > 0
}

// Append appends the body.
func (s *Statement) Append(b []byte) []byte {
	b = append(append(b, byte(s.Kind)), s.Person...)
	if s.Kind == Password {
		b = binary.BigEndian.AppendUint64(b, s.Number)
		b = binary.BigEndian.AppendUint32(b, s.Memory)
		b = binary.BigEndian.AppendUint32(b, s.Passes)
		b = append(b, s.Lanes)
		b = append(append(b, s.Salt[:]...), s.Key[:]...)
		b = append(b, byte(len(s.Over)))
		for _, id := range s.Over {
			b = append(b, id[:]...)
		}
		return b
	}
	b = append(b, s.Credential...)
	if s.Device == "" {
		b = append(b, make([]byte, idSize)...)
	}
	b = append(append(b, s.Device...), byte(s.Role))
	b = append(b, s.Hash[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Created))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Expires))
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(s.Name))), s.Name...)
	return append(append(b, byte(len(s.Scope))), s.Scope...)
}

// Parse reads a body; what it accepts Append writes again byte by byte. The caller judges the costs of a password.
func Parse(b []byte) (*Statement, error) {
	r := reader{b: b}
	s := &Statement{Kind: Kind(r.byte()), Person: services.PersonID(r.take(idSize))}
	if !s.Person.Valid() {
		return nil, fmt.Errorf("%w: no person", ErrMalformed)
	}
	switch s.Kind {
	case Password:
		s.Number = r.uint64()
		s.Memory, s.Passes, s.Lanes = r.uint32(), r.uint32(), r.byte()
		copy(s.Salt[:], r.take(len(s.Salt)))
		copy(s.Key[:], r.take(len(s.Key)))
		n := int(r.byte())
		if s.Number == 0 || s.Number > MaxNumber || n > MaxOver {
			return nil, fmt.Errorf("%w: number %d over %d", ErrMalformed, s.Number, n)
		}
		for range n {
			s.Over = append(s.Over, ID(r.take(idSize)))
		}
	case App, Token:
		s.Credential = string(r.take(idSize))
		if d := r.take(idSize); !bytes.Equal(d, make([]byte, idSize)) {
			s.Device = services.DeviceID(d)
		}
		s.Role = services.Role(r.byte())
		copy(s.Hash[:], r.take(len(s.Hash)))
		s.Created, s.Expires = int64(r.uint64()), int64(r.uint64())
		s.Name = string(r.take(min(int(r.uint16()), MaxName+1)))
		s.Scope = string(r.take(min(int(r.byte()), MaxScope+1)))
		if !services.DeviceID(s.Credential).Valid() || s.Device != "" && !s.Device.Valid() || s.Role < services.RoleGuest || s.Role > services.RoleOwner ||
			s.Created < 0 || s.Expires < 0 || len(s.Name) > MaxName || len(s.Scope) > MaxScope || !utf8.ValidString(s.Name) || !utf8.ValidString(s.Scope) {
			return nil, fmt.Errorf("%w: a credential that cannot be", ErrMalformed)
		}
	default:
		return nil, fmt.Errorf("%w: kind %d", ErrMalformed, s.Kind)
	}
	if r.short || len(r.b) > 0 {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	return s, nil
}

// Row is a statement with its writer's signature.
type Row struct {
	*Statement
	Ended     bool
	Writer    services.PeerID
	Signature []byte // 64 bytes
}

// Message is what the writer signs.
func Message(writer services.PeerID, s *Statement) []byte {
	return s.Append(append([]byte(Domain), writer[:]...))
}

// Genuine says whether the writer signed it.
func (r *Row) Genuine() bool {
	return ed25519.Verify(ed25519.PublicKey(r.Writer[:]), Message(r.Writer, r.Statement), r.Signature)
}

// Mark names the row.
func (r *Row) Mark() Mark {
	sum := sha256.Sum256(r.Append(append([]byte(nil), r.Writer[:]...)))
	return Mark(sum[:16])
}

func (r *Row) appendRow(b []byte) []byte {
	body := r.Append(nil)
	b = append(append(b, flag(r.Ended)), r.Writer[:]...)
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(body))), body...)
	return append(b, r.Signature...)
}

func flag(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// reader takes bytes off the front; once they run out it gives zeros and says so.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.short, r.b = true, nil
		return make([]byte, n)
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) byte() byte     { return r.take(1)[0] }
func (r *reader) uint16() uint16 { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) uint32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) uint64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

// bool reads a byte that is 0 or 1.
func (r *reader) bool() bool {
	v := r.byte()
	r.short = r.short || v > 1
	return v == 1
}
