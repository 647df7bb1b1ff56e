package statement

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"hearth.alt/services"
)

const (
	kindHave = 1
	kindRows = 2
	kindEnd  = 3

	headSize   = 5
	haveSize   = 17
	maxPayload = 64 << 10
	maxHave    = (maxPayload - 1) / haveSize
	fullRows   = 32 << 10 // a frame is sent once it has so many bytes
)

// Have is that the sender has a row.
type Have struct {
	Mark  Mark
	Ended bool
}

// Frame is what one box says to another: what it has, rows, or that it sent all. Rows without any and End false is a
// list of what it has.
type Frame struct {
	Have []Have
	Last bool // of a list: nothing follows
	Rows []*Row
	End  bool
}

// AppendHave appends the frames of a whole list.
func AppendHave(b []byte, all []Have) []byte {
	for {
		n := min(len(all), maxHave)
		b = binary.BigEndian.AppendUint32(append(b, kindHave), uint32(1+n*haveSize))
		b = append(b, flag(n == len(all)))
		for _, h := range all[:n] {
			b = append(append(b, h.Mark[:]...), flag(h.Ended))
		}
		if all = all[n:]; len(all) == 0 {
			return b
		}
	}
}

// AppendRows appends one frame of rows, and returns those that had no room in it.
func AppendRows(b []byte, rows []*Row) ([]byte, []*Row) {
	at := len(b)
	b = append(b, kindRows, 0, 0, 0, 0)
	for len(rows) > 0 && len(b)-at < fullRows {
		b = rows[0].appendRow(b)
		rows = rows[1:]
	}
	binary.BigEndian.PutUint32(b[at+1:], uint32(len(b)-at-headSize))
	return b, rows
}

// AppendEnd appends END.
func AppendEnd(b []byte) []byte { return append(b, kindEnd, 0, 0, 0, 0) }

// Read reads a frame. Signatures are not checked. The error wraps ErrMalformed unless it is the reader's; io.EOF is
// that there is none.
func Read(r io.Reader) (Frame, error) {
	var head [headSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Frame{}, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxPayload || head[0] == kindEnd && n > 0 {
		return Frame{}, fmt.Errorf("%w: kind %d with %d bytes", ErrMalformed, head[0], n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	switch head[0] {
	case kindHave:
		return parseHave(b)
	case kindRows:
		return parseRows(b)
	case kindEnd:
		return Frame{End: true}, nil
	}
	return Frame{}, fmt.Errorf("%w: kind %d", ErrMalformed, head[0])
}

func parseHave(b []byte) (Frame, error) {
	r := reader{b: b}
	f := Frame{Last: r.bool()}
	for len(r.b) > 0 {
		f.Have = append(f.Have, Have{Mark(r.take(len(Mark{}))), r.bool()})
	}
	if r.short {
		return Frame{}, fmt.Errorf("%w: a list of %d bytes", ErrMalformed, len(b))
	}
	return f, nil
}

func parseRows(b []byte) (Frame, error) {
	r := reader{b: b}
	var f Frame
	for len(r.b) > 0 && !r.short {
		row := &Row{Ended: r.bool(), Writer: services.PeerID(r.take(len(services.PeerID{})))}
		body := r.take(min(int(r.uint16()), maxBody+1))
		row.Signature = r.take(ed25519.SignatureSize)
		if r.short {
			break
		}
		var err error
		if row.Statement, err = Parse(body); err != nil {
			return Frame{}, err
		}
		if row.Ended && row.Kind == Password {
			return Frame{}, fmt.Errorf("%w: a password that has ended", ErrMalformed)
		}
		f.Rows = append(f.Rows, row)
	}
	if r.short || len(f.Rows) == 0 {
		return Frame{}, fmt.Errorf("%w: rows of %d bytes", ErrMalformed, len(b))
	}
	return f, nil
}
