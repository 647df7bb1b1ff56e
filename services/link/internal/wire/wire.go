// Package wire reads and writes the two frames that open a stream of a link: PROPOSE, which the opener sends, and
// SELECT, which answers it. It does no input or output beyond its reader.
//
// All numbers are big-endian. A name is 1 to MaxName letters of the form that Valid says.
//
//	PROPOSE   1  how many names, 0 to MaxNames; none asks which names there are
//	          n  names, the preferred one first: 1 length, then its letters
//	SELECT    1  0 selected, 1 listed, otherwise the Refusal
//	          2  bit i is set when the i-th proposed name is spoken with this peer; 0 unless selected
//	          1  how many names follow, 0 to MaxListed; none unless listed
//	          n  names, sorted: 1 length, then its letters
//	         32  transcript: SHA-256 over the binding of the stream, PROPOSE as it came, and SELECT up to here
//
// The name that is spoken is the one with the lowest bit: the opener's order decides, and both ends see that it does.
package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"regexp"
	"slices"
)

// The bounds of the frames.
const (
	MaxName   = 64
	MaxNames  = 16
	MaxListed = 64
)

// Refusal is why there is no stream.
type Refusal uint8

// The refusals. Their numbers are part of the format.
const (
	Unknown    Refusal = 2 // none of the names is spoken with this peer
	Busy       Refusal = 3 // too many streams at the moment
	Stopping   Refusal = 4 // the box is about to stop
	Malformed  Refusal = 5 // the PROPOSE could not be read
	selected           = 0
	listed             = 1
	headSelect         = 1 + 2 + 1
)

func (r Refusal) String() string {
	switch r {
	case Unknown:
		return "none of these protocols is spoken with this box"
	case Busy:
		return "too many streams are open"
	case Stopping:
		return "the box is about to stop"
	case Malformed:
		return "the proposal could not be read"
	}
	return fmt.Sprintf("refusal %d", uint8(r))
}

// Errors of reading. ErrTranscript says that the two ends did not see the same frames.
var (
	ErrMalformed  = errors.New("malformed frame")
	ErrTranscript = errors.New("the proposal was changed on its way")
)

var form = regexp.MustCompile(`^(/[a-z0-9][a-z0-9.-]*)+/v[1-9][0-9]*$`)

// Valid says whether a name may be proposed: one or more parts and a version, "/identity/log/v1".
func Valid(name string) bool { return len(name) <= MaxName && form.MatchString(name) }

// AppendPropose appends a PROPOSE of names, which are valid, differ and are at most MaxNames.
func AppendPropose(b []byte, names []string) []byte {
	return appendNames(append(b, byte(len(names))), names)
}

func appendNames(b []byte, names []string) []byte {
	for _, n := range names {
		b = append(append(b, byte(len(n))), n...)
	}
	return b
}

// ReadPropose reads a PROPOSE and returns its bytes as well. The error wraps ErrMalformed unless it is the reader's.
func ReadPropose(r io.Reader) (names []string, raw []byte, err error) {
	raw = make([]byte, 1, 64)
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, nil, err
	}
	if raw[0] > MaxNames {
		return nil, nil, fmt.Errorf("%w: %d names", ErrMalformed, raw[0])
	}
	names, raw, err = readNames(r, raw, int(raw[0]))
	return names, raw, err
}

func readNames(r io.Reader, raw []byte, n int) ([]string, []byte, error) {
	var names []string
	for range n {
		raw = append(raw, 0)
		if _, err := io.ReadFull(r, raw[len(raw)-1:]); err != nil {
			return nil, nil, err
		}
		at := len(raw)
		raw = append(raw, make([]byte, raw[at-1])...)
		if _, err := io.ReadFull(r, raw[at:]); err != nil {
			return nil, nil, err
		}
		name := string(raw[at:])
		if !Valid(name) || slices.Contains(names, name) {
			return nil, nil, fmt.Errorf("%w: the name %q", ErrMalformed, name)
		}
		names = append(names, name)
	}
	return names, raw, nil
}

// Select is the answer to a PROPOSE: names that are spoken, a list of them, or a refusal.
type Select struct {
	Mask    uint16   // which of the proposed names are spoken
	Listed  []string // to a PROPOSE of none: the names spoken with this peer, sorted
	Refusal Refusal  // 0 when not refused
}

// Chosen is the place of the name that both speak; -1 is none.
func (s Select) Chosen() int {
	if s.Refusal != 0 || s.Mask == 0 {
		return -1
	}
	return bits.TrailingZeros16(s.Mask)
}

// Append appends the frame with its transcript.
func (s Select) Append(b []byte, binding, propose []byte) []byte {
	at := len(b)
	status := byte(selected)
	switch {
	case s.Refusal != 0:
		status = byte(s.Refusal)
	case s.Mask == 0:
		status = listed
	}
	b = binary.BigEndian.AppendUint16(append(b, status), s.Mask)
	b = appendNames(append(b, byte(len(s.Listed))), s.Listed)
	return append(b, transcript(binding, propose, b[at:])...)
}

// ReadSelect reads the answer to the proposal of n names. The error wraps ErrMalformed, or ErrTranscript, unless it is
// the reader's.
func ReadSelect(r io.Reader, binding, propose []byte, n int) (Select, error) {
	raw := make([]byte, headSelect, 64)
	if _, err := io.ReadFull(r, raw); err != nil {
		return Select{}, err
	}
	status, count := raw[0], int(raw[3])
	s := Select{Mask: binary.BigEndian.Uint16(raw[1:])}
	if count > MaxListed {
		return Select{}, fmt.Errorf("%w: %d names", ErrMalformed, count)
	}
	var err error
	if s.Listed, raw, err = readNames(r, raw, count); err != nil {
		return Select{}, err
	}
	var sum [sha256.Size]byte
	if _, err := io.ReadFull(r, sum[:]); err != nil {
		return Select{}, err
	}
	if sum != [sha256.Size]byte(transcript(binding, propose, raw)) {
		return Select{}, ErrTranscript
	}
	if status > listed {
		s.Refusal = Refusal(status)
	}
	if !s.fits(status, n) {
		return Select{}, fmt.Errorf("%w: an answer that does not fit the proposal", ErrMalformed)
	}
	return s, nil
}

// fits says whether s has what its status asks for and nothing else.
func (s Select) fits(status byte, n int) bool {
	switch status {
	case selected:
		return s.Mask != 0 && bits.Len16(s.Mask) <= n && len(s.Listed) == 0
	case listed:
		return n == 0 && s.Mask == 0 && slices.IsSorted(s.Listed)
	}
	return s.Mask == 0 && len(s.Listed) == 0
}

func transcript(binding, propose, answer []byte) []byte {
	h := sha256.New()
	h.Write([]byte("hearth link negotiation 1\x00"))
	for _, part := range [][]byte{binding, propose, answer} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		h.Write(part)
	}
	return h.Sum(nil)
}
