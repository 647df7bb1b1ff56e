package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MBREntry is one primary partition. An entry with Type 0 is unused.
type MBREntry struct {
	Type    byte // 0x0c FAT32 LBA, 0x0e FAT16 LBA, 0x83 Linux, 0xee protective
	Active  bool
	First   uint32 // sector
	Sectors uint32
}

// MBR is a partition table of four primaries. Signature is the 32-bit disk identifier at offset 440, from which
// the kernel makes PARTUUID=<signature>-<number>.
type MBR struct {
	Signature uint32
	Entries   [4]MBREntry
}

// Sector returns the first sector of the disk. Cylinder, head and sector numbers are set to "too large to say",
// which every firmware of this century takes.
func (m *MBR) Sector() []byte {
	b := make([]byte, SectorSize)
	le := binary.LittleEndian
	le.PutUint32(b[440:], m.Signature)
	for i, e := range m.Entries {
		if e.Type == 0 {
			continue
		}
		p := b[446+16*i:]
		if e.Active {
			p[0] = 0x80
		}
		copy(p[1:], []byte{0xfe, 0xff, 0xff})
		p[4] = e.Type
		copy(p[5:], []byte{0xfe, 0xff, 0xff})
		le.PutUint32(p[8:], e.First)
		le.PutUint32(p[12:], e.Sectors)
	}
	b[510], b[511] = 0x55, 0xaa
	return b
}

// ErrNoMBR is returned when the first sector holds no partition table.
var ErrNoMBR = errors.New("no MBR")

// ReadMBR reads the table of a disk of n sectors. Overlapping partitions or partitions outside the disk are errors.
func ReadMBR(r io.ReaderAt, n uint64) (*MBR, error) {
	b := make([]byte, SectorSize)
	if _, err := r.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("reading the first sector: %w", err)
	}
	return ParseMBR(b, n)
}

// ParseMBR is ReadMBR of a sector that was read already; b must be SectorSize bytes.
func ParseMBR(b []byte, n uint64) (*MBR, error) {
	if len(b) != SectorSize || b[510] != 0x55 || b[511] != 0xaa {
		return nil, ErrNoMBR
	}
	le := binary.LittleEndian
	m := &MBR{Signature: le.Uint32(b[440:])}
	for i := range m.Entries {
		p := b[446+16*i:]
		e := MBREntry{Type: p[4], Active: p[0] == 0x80, First: le.Uint32(p[8:]), Sectors: le.Uint32(p[12:])}
		if e.Type == 0 {
			continue
		}
		if e.First == 0 || e.Sectors == 0 || uint64(e.First)+uint64(e.Sectors) > n {
			return nil, fmt.Errorf("MBR partition %d lies at %d, %d sectors long, outside the disk of %d", i+1, e.First, e.Sectors, n)
		}
		for j, o := range m.Entries[:i] {
			if o.Type != 0 && uint64(e.First) < uint64(o.First)+uint64(o.Sectors) && uint64(o.First) < uint64(e.First)+uint64(e.Sectors) {
				return nil, fmt.Errorf("MBR partitions %d and %d overlap", j+1, i+1)
			}
		}
		m.Entries[i] = e
	}
	return m, nil
}

// Grow returns the table in which partition number part (from 1) reaches to the end of a disk of n sectors, rounded
// down to 4 KiB and to what 32 bits of sectors can say (2 TiB).
func (m *MBR) Grow(part int, n uint64) (*MBR, error) {
	if part < 1 || part > 4 || m.Entries[part-1].Type == 0 {
		return nil, fmt.Errorf("the table has no partition %d", part)
	}
	out := *m
	e := &out.Entries[part-1]
	for i, o := range out.Entries {
		if i != part-1 && o.Type != 0 && o.First > e.First {
			return nil, fmt.Errorf("partition %d lies behind partition %d, which therefore cannot grow", i+1, part)
		}
	}
	end := min(n, 1<<32-1) / 8 * 8
	if end < uint64(e.First)+uint64(e.Sectors) {
		return &out, nil
	}
	e.Sectors = uint32(end - uint64(e.First))
	return &out, nil
}
