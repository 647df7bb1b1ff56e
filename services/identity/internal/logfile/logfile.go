// Package logfile keeps the household log on disk: an append-only file of framed entries. It knows nothing of what
// an entry holds.
//
// # Bytes of the file
//
// All numbers are big endian; checksums are CRC-32C (Castagnoli).
//
//	file    "HEARTHL" · 1 byte version, 1 · frames
//	frame   "hlfr" · 4 bytes length n of the body, 1 to 1,048,576 · 4 bytes checksum of the 8 before ·
//	        n bytes body · 4 bytes checksum of the body
//	body    one or more entries: 2 bytes length, 1 to 65,535 · that many bytes
//
// Several entries in one frame are there together or not at all. An append writes one frame and syncs; the file is
// never longer than 64 MiB.
//
// # What a power cut leaves, and what it cannot
//
// Only the frame being appended can be incomplete, and nobody was told that it was kept. It shows as a tail that is
// shorter than it says, or that holds a sector (the part between two multiples of 512) of zeros, which is how a
// file system shows length without content. Such a tail is torn: it is cut off, and nothing is lost.
//
// Everything else that does not add up is damage: a frame followed by a good one, a checksum that is wrong over
// bytes that were all written, a bad header. A damaged file is never changed and nothing is appended to it. Its
// entries are those before the damage; good frames behind it are reported apart.
package logfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"

	"hearth.alt/services/durable"
)

// The bounds of the format.
const (
	MaxSize  = 64 << 20 // of the file, in bytes
	MaxBody  = 1 << 20  // of a frame's body, in bytes
	MaxEntry = 1<<16 - 1

	header     = "HEARTHL\x01"
	frameMagic = "hlfr"
	frameHead  = 12
	frameTail  = 4
	sector     = 512
)

// Errors of Append, for errors.Is.
var (
	ErrDamaged  = errors.New("the log is damaged: nothing is appended")
	ErrFull     = errors.New("the log has reached its greatest size")
	ErrTooLarge = errors.New("the entries do not fit into one frame")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Damage says where a log stops making sense.
type Damage struct {
	Offset int64  // of the first bad frame, in bytes from the start of the file
	Reason string // for the person who helps
}

// Error says where and why.
func (d *Damage) Error() string {
	return fmt.Sprintf("the log is damaged at byte %d: %s", d.Offset, d.Reason)
}

// Content is what a log file holds.
type Content struct {
	Entries [][]byte // of the good frames before any damage, oldest first
	Offsets []int64  // of each of Entries, in bytes from the start of the file
	Size    int64    // bytes of the file up to the end of those frames; 0 when there is no file
	Torn    int64    // bytes behind them that a power cut left; 0 when Damage is set
	Damage  *Damage  // nil when the log is sound
	After   [][]byte // entries of good frames behind the damage
}

// Log is a log file that can be appended to. Its methods must not be called at the same time. Make one with Open.
type Log struct {
	disk    Disk
	path    string
	size    int64 // bytes that are good and synced; 0 when there is no file yet
	tail    bool  // there may be bytes behind size that are to be cut off
	damaged bool
	f       File // nil until the first write
}

// Open reads the log at path and changes nothing. A missing file is an empty log; one that cannot be read is a
// damaged one. A nil disk is the file system.
func Open(disk Disk, path string) (*Log, Content) {
	if disk == nil {
		disk = fileSystem{}
	}
	l := &Log{disk: disk, path: path}
	b, err := disk.Read(path, MaxSize+1)
	if err == nil && len(b) > MaxSize {
		err = fmt.Errorf("it has more than the %d bytes that are allowed", MaxSize)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return l, Content{}
	case err != nil:
		l.damaged = true
		return l, Content{Damage: &Damage{Reason: err.Error()}}
	}
	c := Decode(b)
	l.size, l.tail, l.damaged = c.Size, c.Torn > 0, c.Damage != nil
	return l, c
}

// Decode reads the bytes of a log file. The entries refer to b.
func Decode(b []byte) Content {
	if !bytes.HasPrefix(b, []byte(header)) {
		c := Content{Damage: &Damage{Reason: "it does not begin as a log of this version"}}
		c.After = salvage(b)
		return c
	}
	c := Content{Size: int64(len(header))}
	for {
		rest := b[c.Size:]
		if len(rest) == 0 {
			return c
		}
		entries, n, reason := frame(rest)
		if n > 0 {
			at := c.Size + frameHead
			for _, e := range entries {
				c.Offsets = append(c.Offsets, at+2)
				at += 2 + int64(len(e))
			}
			c.Entries = append(c.Entries, entries...)
			c.Size += int64(n)
			continue
		}
		c.After = salvage(rest[1:])
		if c.After == nil && torn(rest, c.Size) {
			c.Torn = int64(len(rest))
			return c
		}
		c.Damage = &Damage{Offset: c.Size, Reason: reason}
		return c
	}
}

// frame reads one frame from the front of b. n is its length, 0 when it is not whole and sound.
func frame(b []byte) (entries [][]byte, n int, reason string) {
	length, ok := frameLength(b)
	if !ok {
		return nil, 0, "no frame begins there"
	}
	end := frameHead + length
	if len(b) < end+frameTail {
		return nil, 0, "the frame is cut short"
	}
	body := b[frameHead:end]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return nil, 0, "the frame's checksum is wrong"
	}
	for len(body) > 0 {
		if len(body) < 2 {
			return nil, 0, "an entry is cut short"
		}
		size := int(binary.BigEndian.Uint16(body))
		if size == 0 || size > len(body)-2 {
			return nil, 0, "an entry is cut short"
		}
		entries = append(entries, body[2:2+size:2+size])
		body = body[2+size:]
	}
	return entries, end + frameTail, ""
}

func frameLength(b []byte) (int, bool) {
	if len(b) < frameHead || string(b[:4]) != frameMagic || crc32.Checksum(b[:8], castagnoli) != binary.BigEndian.Uint32(b[8:]) {
		return 0, false
	}
	n := binary.BigEndian.Uint32(b[4:])
	return int(n), n >= 1 && n <= MaxBody
}

// torn says whether rest, which begins at offset at of the file and is not a good frame, is what a power cut during
// an append leaves.
func torn(rest []byte, at int64) bool {
	if len(rest) > frameHead+MaxBody+frameTail {
		return false
	}
	if len(rest) < frameHead {
		return true
	}
	if n, ok := frameLength(rest); ok {
		want := frameHead + n + frameTail
		if len(rest) < want {
			return true
		}
		if len(rest) > want {
			return false
		}
	}
	for len(rest) > 0 {
		n := min(len(rest), sector-int(at%sector))
		if len(bytes.Trim(rest[:n], "\x00")) == 0 {
			return true
		}
		rest, at = rest[n:], at+int64(n)
	}
	return false
}

// salvage returns the entries of every good frame in b.
func salvage(b []byte) [][]byte {
	var out [][]byte
	for {
		i := bytes.Index(b, []byte(frameMagic))
		if i < 0 {
			return out
		}
		b = b[i:]
		skip := 1
		if entries, n, _ := frame(b); n > 0 {
			out = append(out, entries...)
			skip = n
		} else if n, ok := frameLength(b); ok {
			// Its head is sound, so the next frame begins where it says. Without this, a file of nothing but
			// heads would take hours.
			skip = min(len(b), frameHead+n+frameTail)
		}
		b = b[skip:]
	}
}

// Encode returns the bytes of a whole log file of one frame per batch of entries.
func Encode(batches ...[][]byte) ([]byte, error) {
	b := []byte(header)
	for _, entries := range batches {
		f, err := encodeFrame(entries)
		if err != nil {
			return nil, err
		}
		b = append(b, f...)
	}
	if len(b) > MaxSize {
		return nil, ErrFull
	}
	return b, nil
}

func encodeFrame(entries [][]byte) ([]byte, error) {
	b := make([]byte, frameHead, 1024)
	for _, e := range entries {
		if len(e) == 0 || len(e) > MaxEntry {
			return nil, ErrTooLarge
		}
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(e))), e...)
	}
	n := len(b) - frameHead
	if n == 0 || n > MaxBody {
		return nil, ErrTooLarge
	}
	copy(b, frameMagic)
	binary.BigEndian.PutUint32(b[4:], uint32(n))
	binary.BigEndian.PutUint32(b[8:], crc32.Checksum(b[:8], castagnoli))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[frameHead:], castagnoli)), nil
}

// Append adds the entries as one frame. When it returns nil they are on disk; after an error, or a power cut before
// it returned, all or none of them are, and what an error left behind is cut off before the next append. Errors to
// match: ErrDamaged, ErrFull, ErrTooLarge.
//
// Crash points: those of durable.WriteFile for the first frame; identity.log.cut, identity.log.begun,
// identity.log.written and identity.log.synced for the others.
func (l *Log) Append(entries ...[]byte) error {
	if l.damaged {
		return ErrDamaged
	}
	frame, err := encodeFrame(entries)
	if err != nil {
		return err
	}
	if l.size == 0 {
		file := append([]byte(header), frame...)
		if err := l.disk.Replace(l.path, file); err != nil {
			return err
		}
		l.size = int64(len(file))
		return nil
	}
	if l.size+int64(len(frame)) > MaxSize {
		return ErrFull
	}
	if err := l.Cut(); err != nil {
		return err
	}
	if err := l.open(); err != nil {
		return err
	}
	if err := l.write(frame); err != nil {
		l.tail = true
		return fmt.Errorf("appending to %q: %w", l.path, errors.Join(err, l.Cut()))
	}
	l.size += int64(len(frame))
	return nil
}

func (l *Log) write(frame []byte) error {
	if _, err := l.f.WriteAt(frame[:frameHead], l.size); err != nil {
		return err
	}
	durable.Point("identity.log.begun")
	if _, err := l.f.WriteAt(frame[frameHead:], l.size+frameHead); err != nil {
		return err
	}
	durable.Point("identity.log.written")
	if err := l.f.Sync(); err != nil {
		return err
	}
	durable.Point("identity.log.synced")
	return nil
}

// Size is how many bytes of the file are good and synced; 0 when there is no file.
func (l *Log) Size() int64 { return l.size }

// Read returns the first size bytes of the file. It may be called while the log is appended to.
func (l *Log) Read(size int64) ([]byte, error) {
	b, err := l.disk.Read(l.path, size)
	if err == nil && int64(len(b)) < size {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// Beside puts data into another file on the log's disk in one step. ReadBeside reads it.
func (l *Log) Beside(path string, data []byte) error { return l.disk.Replace(path, data) }

// ReadBeside returns what Beside wrote.
func (l *Log) ReadBeside(path string) ([]byte, error) { return l.disk.Read(path, MaxSize) }

// Tidy removes what a power cut left beside the file of what was to replace it.
func (l *Log) Tidy() error { return l.disk.Tidy(filepath.Dir(l.path)) }

func (l *Log) open() (err error) {
	if l.f == nil {
		l.f, err = l.disk.Open(l.path)
	}
	return err
}

// Cut removes a torn tail from the file. It does nothing when there is none.
func (l *Log) Cut() error {
	if !l.tail || l.damaged {
		return nil
	}
	if err := l.open(); err != nil {
		return err
	}
	if err := l.f.Truncate(l.size); err != nil {
		return err
	}
	if err := l.f.Sync(); err != nil {
		return err
	}
	durable.Point("identity.log.cut")
	l.tail = false
	return nil
}

// Replace puts another log in the place of this one in one step. file must be sound; see Decode.
func (l *Log) Replace(file []byte) error {
	if c := Decode(file); c.Damage != nil || c.Torn > 0 {
		return ErrDamaged
	}
	if err := l.Close(); err != nil {
		return err
	}
	if err := l.disk.Replace(l.path, file); err != nil {
		return err
	}
	*l = Log{disk: l.disk, path: l.path, size: int64(len(file))}
	return nil
}

// Close gives back the open file. The log may be used again afterwards.
func (l *Log) Close() error {
	if l.f == nil {
		return nil
	}
	f := l.f
	l.f = nil
	return f.Close()
}
