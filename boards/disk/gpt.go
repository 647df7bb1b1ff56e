package disk

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unicode/utf16"
)

// GUID is a GUID as it lies on the disk: the first three groups little endian, the rest as written (UEFI
// specification 2.10, appendix A).
type GUID [16]byte

// ParseGUID reads "c12a7328-f81f-11d2-ba4b-00a0c93ec93b" in either case.
func ParseGUID(s string) (GUID, error) {
	var g GUID
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 || len(s) != 36 || g.swap(b).String() != strings.ToLower(s) {
		return GUID{}, fmt.Errorf("%q is not a GUID", s)
	}
	return g.swap(b), nil
}

// MustGUID is ParseGUID for constants; it panics when s is not a GUID.
func MustGUID(s string) GUID {
	g, err := ParseGUID(s)
	if err != nil {
		panic(err)
	}
	return g
}

func (GUID) swap(b []byte) (g GUID) {
	for i, j := range [16]int{3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15} {
		g[i] = b[j]
	}
	return g
}

// String returns the lower-case form that the kernel's PARTUUID= takes.
func (g GUID) String() string {
	b := g.swap(g[:])
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// IsZero says whether g is the empty GUID, which marks an unused entry.
func (g GUID) IsZero() bool { return g == GUID{} }

// Types of partitions (UEFI specification 2.10, table 5.7; the Linux one by common use).
var (
	TypeESP   = MustGUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
	TypeLinux = MustGUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
)

// Entry is one partition of a GPT. First and Last are inclusive. An entry with a zero Type is unused.
type Entry struct {
	Type, ID    GUID
	First, Last LBA
	Attributes  uint64
	Name        string // at most 36 UTF-16 units
}

// Sectors is the length in sectors; 0 for an unused entry.
func (e Entry) Sectors() uint64 {
	if e.Type.IsZero() {
		return 0
	}
	return e.Last - e.First + 1
}

const (
	gptEntries   = 128
	gptEntrySize = 128
	gptTable     = gptEntries * gptEntrySize // bytes of the entries: 32 sectors
	gptHeader    = 92
	// GPTReserve is what a GPT takes at each end of the disk behind the first sector: one header and 32 sectors of
	// entries.
	GPTReserve = 33
)

// GPT is a partition table for a disk of Sectors sectors (UEFI specification 2.10, chapter 5). Entries are numbered
// from 1 as the kernel does: partition 4 is Entries[3].
type GPT struct {
	Disk    GUID
	Sectors uint64
	Entries [gptEntries]Entry
}

// LastUsable is the last sector a partition may use on a disk of n sectors.
func LastUsable(n uint64) LBA { return n - GPTReserve - 1 }

// Primary returns sectors 0 to 33: the protective MBR, the header, the entries.
func (g *GPT) Primary() []byte {
	out := make([]byte, (1+GPTReserve)*SectorSize)
	protective := MBR{}
	n := min(g.Sectors-1, 0xffffffff)
	protective.Entries[0] = MBREntry{Type: 0xee, First: 1, Sectors: uint32(n)}
	copy(out, protective.Sector())
	table := g.table()
	copy(out[SectorSize:], g.header(1, g.Sectors-1, 2, table))
	copy(out[2*SectorSize:], table)
	return out
}

// Backup returns the last 33 sectors of the disk, which begin at sector Sectors-33: the entries, then the header.
func (g *GPT) Backup() []byte {
	table := g.table()
	return append(table, g.header(g.Sectors-1, 1, g.Sectors-GPTReserve, table)...)
}

func (g *GPT) table() []byte {
	out := make([]byte, gptTable)
	for i, e := range g.Entries {
		if e.Type.IsZero() {
			continue
		}
		b := out[i*gptEntrySize:]
		copy(b[0:], e.Type[:])
		copy(b[16:], e.ID[:])
		binary.LittleEndian.PutUint64(b[32:], e.First)
		binary.LittleEndian.PutUint64(b[40:], e.Last)
		binary.LittleEndian.PutUint64(b[48:], e.Attributes)
		for j, u := range utf16.Encode([]rune(e.Name)) {
			if j == 36 {
				break
			}
			binary.LittleEndian.PutUint16(b[56+2*j:], u)
		}
	}
	return out
}

func (g *GPT) header(mine, other, entries LBA, table []byte) []byte {
	h := make([]byte, SectorSize)
	le := binary.LittleEndian
	copy(h, "EFI PART")
	le.PutUint32(h[8:], 0x00010000)
	le.PutUint32(h[12:], gptHeader)
	le.PutUint64(h[24:], mine)
	le.PutUint64(h[32:], other)
	le.PutUint64(h[40:], 1+GPTReserve)
	le.PutUint64(h[48:], LastUsable(g.Sectors))
	copy(h[56:], g.Disk[:])
	le.PutUint64(h[72:], entries)
	le.PutUint32(h[80:], gptEntries)
	le.PutUint32(h[84:], gptEntrySize)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(table))
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:gptHeader]))
	return h
}

// Tables says which of a disk's two tables could be read, and where.
type Tables struct {
	Primary bool
	Backup  bool
	// BackupAt is where the readable backup header lies; on a card larger than the image it is not yet the last
	// sector.
	BackupAt LBA
	// PrimaryErr and BackupErr say what was wrong; nil where the table is good.
	PrimaryErr, BackupErr error
}

// ErrNoGPT is returned by ReadGPT when neither table is good.
var ErrNoGPT = errors.New("no readable GPT")

// ReadGPT reads the table of a disk of n sectors. The primary is believed when it is good; otherwise the backup at
// the end of the disk, where the primary points, or at one of also (the last sector of the image that was flashed).
// The result's Sectors is the size the table was made for, which is smaller than n on a card that was not grown yet.
func ReadGPT(r io.ReaderAt, n uint64, also ...LBA) (*GPT, Tables, error) {
	var t Tables
	primary, other, err := readTable(r, n, 1)
	t.Primary, t.PrimaryErr = err == nil, err
	places := append([]LBA{n - 1}, also...)
	if t.Primary {
		places = append([]LBA{other}, places...)
	}
	var backup *GPT
	for _, at := range places {
		if at < 1+2*GPTReserve || at >= n {
			continue
		}
		b, _, err := readTable(r, n, at)
		if err != nil {
			t.BackupErr = err
			continue
		}
		backup, t.Backup, t.BackupAt, t.BackupErr = b, true, at, nil
		break
	}
	switch {
	case t.Primary:
		return primary, t, nil
	case t.Backup:
		return backup, t, nil
	}
	return nil, t, fmt.Errorf("%w: %w", ErrNoGPT, errors.Join(t.PrimaryErr, t.BackupErr))
}

// readTable reads one header and its entries, and returns where the other header is.
func readTable(r io.ReaderAt, n uint64, at LBA) (*GPT, LBA, error) {
	h := make([]byte, SectorSize)
	if _, err := r.ReadAt(h, int64(at*SectorSize)); err != nil {
		return nil, 0, fmt.Errorf("reading GPT header at sector %d: %w", at, err)
	}
	le := binary.LittleEndian
	if string(h[:8]) != "EFI PART" {
		return nil, 0, fmt.Errorf("sector %d holds no GPT header", at)
	}
	want := le.Uint32(h[16:])
	sum := bytes.Clone(h[:gptHeader])
	le.PutUint32(sum[16:], 0)
	switch {
	case le.Uint32(h[12:]) != gptHeader:
		return nil, 0, fmt.Errorf("GPT header at sector %d is %d bytes long, want %d", at, le.Uint32(h[12:]), gptHeader)
	case crc32.ChecksumIEEE(sum) != want:
		return nil, 0, fmt.Errorf("GPT header at sector %d has a wrong checksum", at)
	case le.Uint64(h[24:]) != at:
		return nil, 0, fmt.Errorf("GPT header at sector %d says it is at %d", at, le.Uint64(h[24:]))
	case le.Uint32(h[80:]) != gptEntries || le.Uint32(h[84:]) != gptEntrySize:
		return nil, 0, fmt.Errorf("GPT at sector %d has %d entries of %d bytes, want %d of %d",
			at, le.Uint32(h[80:]), le.Uint32(h[84:]), gptEntries, gptEntrySize)
	}
	other, entries, last := le.Uint64(h[32:]), le.Uint64(h[72:]), le.Uint64(h[48:])
	g := &GPT{Disk: GUID(h[56:72])}
	// The last sector of the disk the table was made for is the greater of the two headers' places.
	g.Sectors = max(at, other) + 1
	if g.Sectors > n || g.Sectors < 2*(1+GPTReserve) || last != LastUsable(g.Sectors) || entries >= n {
		return nil, 0, fmt.Errorf("GPT at sector %d is for a disk of %d sectors, this one has %d", at, g.Sectors, n)
	}
	table := make([]byte, gptTable)
	if _, err := r.ReadAt(table, int64(entries*SectorSize)); err != nil {
		return nil, 0, fmt.Errorf("reading GPT entries at sector %d: %w", entries, err)
	}
	if crc32.ChecksumIEEE(table) != le.Uint32(h[88:]) {
		return nil, 0, fmt.Errorf("GPT entries at sector %d have a wrong checksum", entries)
	}
	for i := range g.Entries {
		b := table[i*gptEntrySize:][:gptEntrySize]
		e := Entry{Type: GUID(b[0:16]), ID: GUID(b[16:32]), First: le.Uint64(b[32:]), Last: le.Uint64(b[40:]), Attributes: le.Uint64(b[48:])}
		if e.Type.IsZero() {
			continue
		}
		if e.First <= GPTReserve || e.Last < e.First || e.Last > LastUsable(g.Sectors) {
			return nil, 0, fmt.Errorf("GPT partition %d lies at %d to %d, outside the disk", i+1, e.First, e.Last)
		}
		var name []uint16
		for j := 56; j < 128; j += 2 {
			u := le.Uint16(b[j:])
			if u == 0 {
				break
			}
			name = append(name, u)
		}
		e.Name = string(utf16.Decode(name))
		g.Entries[i] = e
	}
	return g, other, nil
}

// Grow returns the table for a disk of n sectors whose partition number part (from 1) reaches to the end, rounded
// down to 4 KiB. It is an error when another partition lies behind it or the disk is smaller than the table's.
func (g *GPT) Grow(part int, n uint64) (*GPT, error) {
	if part < 1 || part > gptEntries || g.Entries[part-1].Type.IsZero() {
		return nil, fmt.Errorf("the table has no partition %d", part)
	}
	if n < g.Sectors {
		return nil, fmt.Errorf("the table is for %d sectors, the disk has only %d", g.Sectors, n)
	}
	out := *g
	out.Sectors = n
	e := &out.Entries[part-1]
	for i, o := range out.Entries {
		if i != part-1 && !o.Type.IsZero() && o.First > e.First {
			return nil, fmt.Errorf("partition %d lies behind partition %d, which therefore cannot grow", i+1, part)
		}
	}
	e.Last = (LastUsable(n)+1)/8*8 - 1
	if e.Last < g.Entries[part-1].Last {
		e.Last = g.Entries[part-1].Last
	}
	return &out, nil
}
