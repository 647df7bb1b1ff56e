package record

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"hearth.alt/services"
)

// The bounds of the format.
const (
	Version    = 1
	MaxParents = 16
	MaxPayload = 4096
	MaxVoid    = 64
	MaxKeep    = 16
	// MaxSize is the length in bytes of the longest record.
	MaxSize = 52 + 2*idSize + 1 + MaxParents*len(ID{}) + 2 + MaxPayload + ed25519.SignatureSize

	idSize  = 10
	maxTime = 253_402_300_800
)

// Domain goes before the bytes that are signed, so that a signature of a record is one of nothing else.
const Domain = "hearth.alt household record 1\x00"

// Errors of Parse, for errors.Is. ErrVersion is not ErrMalformed.
var (
	ErrMalformed = errors.New("not a household record")
	ErrVersion   = errors.New("a household record of another version")
	ErrSignature = errors.New("the record's signature is not its author's")
)

// ID names a record: the SHA-256 of its bytes.
type ID [sha256.Size]byte

// String is the identifier in lower-case hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Compare orders identifiers by their bytes.
func (id ID) Compare(o ID) int { return bytes.Compare(id[:], o[:]) }

// Kind says what sort of key an author has.
type Kind uint8

// The kinds of authors.
const (
	KindBox  Kind = 1 // the device key of a box, its PeerID
	KindRoot Kind = 2 // the household root
)

// Author is who signed a record.
type Author struct {
	Kind Kind
	Key  [ed25519.PublicKeySize]byte
}

// Box is the author with the device key p.
func Box(p services.PeerID) Author { return Author{KindBox, p} }

// Root is the author with the household root's public key, which must have its 32 bytes.
func Root(key ed25519.PublicKey) Author { return Author{KindRoot, [32]byte(key)} }

// Record is one entry of the household log. Seal and Parse make complete ones; the fields of those are not to be
// changed. It is safe for concurrent reading.
type Record struct {
	Author   Author
	Sequence uint64
	Time     time.Time         // whole seconds, UTC
	By       services.PersonID // on whose behalf, "" for the box or the root itself
	Via      services.DeviceID // through which device of By, "" for none
	Parents  []ID              // strictly ascending
	Payload  Payload

	signature [ed25519.SignatureSize]byte
	raw       []byte
	id        ID
}

// Op is what the record does.
func (r *Record) Op() Op { return r.Payload.op() }

// ID names the record.
func (r *Record) ID() ID { return r.id }

// Bytes are the record's canonical bytes, which are not to be changed.
func (r *Record) Bytes() []byte { return r.raw }

// Message is what the author signs: Domain and the record without its signature. The error says which field is out
// of bounds.
func (r *Record) Message() ([]byte, error) {
	b := append(make([]byte, 0, 512), Domain...)
	return r.appendUnsigned(b)
}

func (r *Record) appendUnsigned(b []byte) ([]byte, error) {
	if r.Payload == nil {
		return nil, fmt.Errorf("%w: no payload", ErrMalformed)
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	b = append(b, Version, byte(r.Op()), byte(r.Author.Kind))
	b = append(b, r.Author.Key[:]...)
	b = binary.BigEndian.AppendUint64(b, r.Sequence)
	b = appendTime(b, r.Time)
	switch {
	case r.Via != "":
		b = append(b, 3)
		b = appendID(appendID(b, string(r.By)), string(r.Via))
	case r.By != "":
		b = append(b, 1)
		b = appendID(b, string(r.By))
	default:
		b = append(b, 0)
	}
	b = append(b, byte(len(r.Parents)))
	for _, p := range r.Parents {
		b = append(b, p[:]...)
	}
	at := len(b)
	b = r.Payload.append(append(b, 0, 0))
	n := len(b) - at - 2
	if n > MaxPayload {
		return nil, fmt.Errorf("%w: a payload of %d bytes", ErrMalformed, n)
	}
	binary.BigEndian.PutUint16(b[at:], uint16(n))
	return b, nil
}

// check looks at what the bytes alone cannot say wrong: bounds and what belongs together.
func (r *Record) check() error {
	bad := func(what string) error { return fmt.Errorf("%w: %s", ErrMalformed, what) }
	genesis := r.Op() == OpGenesis
	switch {
	case r.Author.Kind != KindBox && r.Author.Kind != KindRoot:
		return bad("unknown kind of author")
	case r.Sequence == 0:
		return bad("sequence 0")
	case !validTime(r.Time):
		return bad("time out of range")
	case r.By != "" && !r.By.Valid():
		return bad("by whom")
	case r.Via != "" && (r.By == "" || !r.Via.Valid()):
		return bad("through which device")
	case len(r.Parents) > MaxParents:
		return bad("too many parents")
	case genesis != (len(r.Parents) == 0):
		return bad("only genesis has no parents")
	case genesis && (r.Author.Kind != KindRoot || r.Sequence != 1 || r.By != ""):
		return bad("genesis is the root's own first record")
	}
	for i := 1; i < len(r.Parents); i++ {
		if r.Parents[i-1].Compare(r.Parents[i]) >= 0 {
			return bad("parents out of order")
		}
	}
	if err := r.Payload.check(); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrMalformed, r.Op(), err)
	}
	return nil
}

// Seal completes a record: it formats r, has sign sign the message, and checks the signature. The error is
// ErrMalformed, ErrSignature or what sign returned.
func Seal(r Record, sign func(message []byte) ([]byte, error)) (*Record, error) {
	r.Time = r.Time.UTC().Truncate(time.Second)
	r.Parents = slices.Clone(r.Parents)
	message, err := r.Message()
	if err != nil {
		return nil, err
	}
	signature, err := sign(message)
	if err != nil {
		return nil, err
	}
	if len(signature) != ed25519.SignatureSize {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrSignature, len(signature))
	}
	r.raw = slices.Concat(message[len(Domain):], signature)
	r.signature = [ed25519.SignatureSize]byte(signature)
	r.id = sha256.Sum256(r.raw)
	return &r, r.Verify()
}

// Verify returns ErrSignature unless the author signed the record. It is the slow part of reading a log (about
// 50 µs) and may run in parallel.
func (r *Record) Verify() error {
	message := make([]byte, 0, len(Domain)+len(r.raw))
	message = append(append(message, Domain...), r.raw[:len(r.raw)-ed25519.SignatureSize]...)
	if !ed25519.Verify(r.Author.Key[:], message, r.signature[:]) {
		return ErrSignature
	}
	return nil
}

// Format returns the canonical bytes of a complete record, written anew from its fields.
func Format(r *Record) ([]byte, error) {
	b, err := r.appendUnsigned(make([]byte, 0, 512))
	if err != nil {
		return nil, err
	}
	return append(b, r.signature[:]...), nil
}

// Parse reads one record, which must be all of b. It keeps a reference to b, which the caller must not change. The
// signature is not checked; see Verify. Errors are ErrMalformed or ErrVersion, and then the record is nil.
func Parse(b []byte) (*Record, error) {
	if len(b) > 0 && b[0] != Version {
		return nil, fmt.Errorf("%w: %d, this program knows %d", ErrVersion, b[0], Version)
	}
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes are too many", ErrMalformed, len(b))
	}
	d := decoder{b: b}
	d.take(1)
	op := Op(d.byte())
	r := &Record{}
	r.Author.Kind = Kind(d.byte())
	r.Author.Key = d.key()
	r.Sequence = d.uint64()
	r.Time = d.time()
	switch flags := d.byte(); {
	case flags == 1:
		r.By = services.PersonID(d.id())
	case flags == 3:
		r.By, r.Via = services.PersonID(d.id()), services.DeviceID(d.id())
	case flags != 0:
		d.fail("unknown flags")
	}
	parents := int(d.byte())
	if parents > MaxParents {
		d.fail("too many parents")
	}
	for range parents {
		if d.err == nil {
			r.Parents = append(r.Parents, d.key())
		}
	}
	n := int(d.uint16())
	if n > MaxPayload {
		d.fail("payload too long")
	}
	body := decoder{b: d.take(n)}
	body.err = d.err
	r.Payload = parsePayload(op, &body)
	if len(body.b) > 0 {
		body.fail("bytes left over in the payload")
	}
	d.err = body.err
	copy(r.signature[:], d.take(ed25519.SignatureSize))
	if len(d.b) > 0 {
		d.fail("bytes left over")
	}
	if d.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, d.err)
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	r.raw = b
	r.id = sha256.Sum256(b)
	return r, nil
}

// decoder reads fields from the front of b. After the first failure it yields zero values and keeps err.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = errors.New(what)
	}
}

func (d *decoder) take(n int) []byte {
	if d.err == nil && len(d.b) < n {
		d.fail("it is cut short")
	}
	if d.err != nil {
		return make([]byte, n)
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) byte() byte     { return d.take(1)[0] }
func (d *decoder) uint16() uint16 { return binary.BigEndian.Uint16(d.take(2)) }
func (d *decoder) uint64() uint64 { return binary.BigEndian.Uint64(d.take(8)) }
func (d *decoder) key() [32]byte  { return [32]byte(d.take(32)) }
func (d *decoder) id() string     { return idText.EncodeToString(d.take(idSize)) }
func (d *decoder) text() string   { return string(d.take(int(d.byte()))) }

func (d *decoder) bool() bool {
	v := d.byte()
	if v > 1 {
		d.fail("neither yes nor no")
	}
	return v == 1
}

func (d *decoder) time() time.Time {
	s := d.uint64()
	if s >= maxTime {
		d.fail("time out of range")
		return time.Time{}
	}
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(int64(s), 0).UTC()
}

func validTime(t time.Time) bool {
	return t.IsZero() || t.Unix() > 0 && t.Unix() < maxTime && t.Nanosecond() == 0
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.BigEndian.AppendUint64(b, 0)
	}
	return binary.BigEndian.AppendUint64(b, uint64(t.Unix()))
}

// idText is how 80 bits are written as 16 letters and digits; see services.PersonID.
var idText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// appendID wants a valid identifier; check has seen to that.
func appendID(b []byte, id string) []byte {
	raw, _ := idText.DecodeString(id)
	return append(b, raw...)
}

func appendText(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}
