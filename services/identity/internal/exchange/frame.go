package exchange

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"hearth.alt/services/identity/internal/record"
)

// The bounds of the frames.
const (
	maxLandmarks = 128
	maxRecords   = 64
	maxFrame     = 3 + maxRecords*(2+record.MaxSize)
	fullFrame    = 32 << 10 // a frame is sent once it has so many bytes
)

// Frame is what one box says to another: landmarks, or records.
//
// All numbers are big-endian.
//
//	HAVE     1  1
//	         2  how many landmarks, 0 to 128
//	         n  their identifiers, 32 bytes each
//	RECORDS  1  2
//	         2  how many records, 1 to 64
//	         n  2 length, then the bytes of the record; parents before children
type Frame struct {
	Have    []record.ID
	Records [][]byte // nil in a HAVE
}

// ErrMalformed is returned for bytes that are no frame.
var ErrMalformed = errors.New("not a frame of the log exchange")

const (
	kindHave    = 1
	kindRecords = 2
)

// Append appends the frame's bytes.
func (f Frame) Append(b []byte) []byte {
	if f.Records == nil {
		b = binary.BigEndian.AppendUint16(append(b, kindHave), uint16(len(f.Have)))
		for _, id := range f.Have {
			b = append(b, id[:]...)
		}
		return b
	}
	b = binary.BigEndian.AppendUint16(append(b, kindRecords), uint16(len(f.Records)))
	for _, r := range f.Records {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(r))), r...)
	}
	return b
}

// Read reads a frame. The error wraps ErrMalformed unless it is the reader's; io.EOF is that there is none.
func Read(r io.Reader) (Frame, error) {
	var head [3]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Frame{}, err
	}
	n := int(binary.BigEndian.Uint16(head[1:]))
	switch {
	case head[0] == kindHave && n <= maxLandmarks:
		return readHave(r, n)
	case head[0] == kindRecords && n >= 1 && n <= maxRecords:
		return readRecords(r, n)
	}
	return Frame{}, fmt.Errorf("%w: kind %d with %d entries", ErrMalformed, head[0], n)
}

func readHave(r io.Reader, n int) (Frame, error) {
	f := Frame{Have: make([]record.ID, n)}
	for i := range f.Have {
		if _, err := io.ReadFull(r, f.Have[i][:]); err != nil {
			return Frame{}, cut(err)
		}
	}
	return f, nil
}

func readRecords(r io.Reader, n int) (Frame, error) {
	f := Frame{Records: make([][]byte, n)}
	for i := range f.Records {
		var size [2]byte
		if _, err := io.ReadFull(r, size[:]); err != nil {
			return Frame{}, cut(err)
		}
		length := int(binary.BigEndian.Uint16(size[:]))
		if length > record.MaxSize {
			return Frame{}, fmt.Errorf("%w: a record of %d bytes", ErrMalformed, length)
		}
		f.Records[i] = make([]byte, length)
		if _, err := io.ReadFull(r, f.Records[i]); err != nil {
			return Frame{}, cut(err)
		}
	}
	return f, nil
}

// cut is the end of the bytes within a frame.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
