package witness

import (
	"encoding/binary"
	"errors"
	"io"
	"time"
)

// Protocol is the ProtocolName. Both ends begin with HELLO, answer the other's with CHECKPOINT, and that with REPORT;
// then both close.
//
// All numbers are big endian. A "checkpoint" is 32 bytes genesis · 8 size, 1 to 2^40 · 32 root · 8 Unix seconds below
// 253,402,300,800 · 64 signature.
//
//	HELLO       1  0x01 · 1  0 or 1: whether a checkpoint of the other follows · checkpoint
//	CHECKPOINT  1  0x02 · checkpoint · 1  how many hashes, 0 to 64 · 32 bytes each: the proof from the one in HELLO
//	            (RFC 6962, section 2.1.2)
//	REPORT      1  0x03 · 1  0 or 1: whether what was shown does not go on from the one that follows · checkpoint
const Protocol = "/identity/witness/v1"

const (
	kindHello      = 1
	kindCheckpoint = 2
	kindReport     = 3

	maxProof = 64
	maxSize  = 1 << 40
	maxTime  = 253_402_300_800
)

// ErrMalformed is returned for bytes that are no frame.
var ErrMalformed = errors.New("not a frame of the witness protocol")

// frame is one of the three; which fields count is by kind.
type frame struct {
	kind  byte
	has   bool // HELLO, REPORT
	point Checkpoint
	proof [][32]byte // CHECKPOINT
}

func (f frame) append(b []byte) []byte {
	b = append(b, f.kind)
	if f.kind != kindCheckpoint {
		if !f.has {
			return append(b, 0)
		}
		return appendCheckpoint(append(b, 1), f.point)
	}
	b = append(appendCheckpoint(b, f.point), byte(len(f.proof)))
	for _, h := range f.proof {
		b = append(b, h[:]...)
	}
	return b
}

func appendCheckpoint(b []byte, c Checkpoint) []byte {
	b = binary.BigEndian.AppendUint64(append(b, c.Genesis[:]...), uint64(c.Size))
	b = binary.BigEndian.AppendUint64(append(b, c.Root[:]...), uint64(c.Time.Unix()))
	return append(b, c.Signature[:]...)
}

// readFrame reads the frame of a kind. The error is ErrMalformed or the reader's.
func readFrame(r io.Reader, kind byte) (frame, error) {
	f := frame{kind: kind}
	got, err := readByte(r)
	if err != nil {
		return frame{}, err
	}
	if got != kind {
		return frame{}, ErrMalformed
	}
	if kind != kindCheckpoint {
		has, err := readByte(r)
		if err != nil || has > 1 {
			return frame{}, malformed(err)
		}
		if f.has = has == 1; !f.has {
			return f, nil
		}
	}
	if f.point, err = readCheckpoint(r); err != nil {
		return frame{}, err
	}
	if kind != kindCheckpoint {
		return f, nil
	}
	n, err := readByte(r)
	if err != nil || n > maxProof {
		return frame{}, malformed(err)
	}
	for range n {
		var h [32]byte
		if _, err := io.ReadFull(r, h[:]); err != nil {
			return frame{}, malformed(err)
		}
		f.proof = append(f.proof, h)
	}
	return f, nil
}

func readByte(r io.Reader) (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(r, b[:])
	return b[0], err
}

func malformed(err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrMalformed
	}
	return err
}

func readCheckpoint(r io.Reader) (Checkpoint, error) {
	var b [32 + 8 + 32 + 8 + 64]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return Checkpoint{}, malformed(err)
	}
	size, at := binary.BigEndian.Uint64(b[32:]), binary.BigEndian.Uint64(b[72:])
	if size == 0 || size > maxSize || at >= maxTime {
		return Checkpoint{}, ErrMalformed
	}
	return Checkpoint{
		Genesis: [32]byte(b[:]), Size: int64(size), Root: [32]byte(b[40:]), Time: time.Unix(int64(at), 0).UTC(), Signature: [64]byte(b[80:]),
	}, nil
}
