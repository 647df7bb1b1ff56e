package boards

import (
	"fmt"
	"slices"

	"hearth.alt/boards/disk"
)

// Kind is what lies in a partition.
type Kind string

// The kinds.
const (
	KindBoot  Kind = "boot"  // FAT: what the firmware reads first, and the claim file
	KindRoot  Kind = "root"  // raw squashfs (UEFI)
	KindSlot  Kind = "slot"  // FAT: firmware, kernel, initramfs, root.squashfs (Pi)
	KindPerm  Kind = "perm"  // ext4, last on the disk, grows
	KindState Kind = "state" // two small records of the update machine; raw
)

// Partition is one piece of the disk. A Number of 0 is a place without an entry in the table (the Pi's MBR has no
// fifth number).
type Partition struct {
	Number int
	Kind   Kind
	Slot   Slot // of KindRoot and KindSlot
	Name   string
	Offset int64 // bytes from the start of the disk
	Size   int64 // bytes; of KindPerm the size in the image, before it grows
	Type   disk.GUID
	ID     disk.GUID // GPT
	MBR    byte      // type byte in an MBR
}

// End is the first byte behind p.
func (p Partition) End() int64 { return p.Offset + p.Size }

// Table is a partition table.
type Table struct {
	DiskID    disk.GUID // GPT
	Signature uint32    // MBR
	Parts     []Partition
}

// Part returns the partition numbered n, which every board has for 1 to 4.
func (t Table) Part(n int) Partition {
	for _, p := range t.Parts {
		if p.Number == n {
			return p
		}
	}
	panic(fmt.Sprintf("the table has no partition %d", n))
}

// State returns the place of the update machine's records.
func (t Table) State() Partition {
	i := slices.IndexFunc(t.Parts, func(p Partition) bool { return p.Kind == KindState })
	return t.Parts[i]
}

// ImageSize is the length of an image in bytes: up to the end of /perm, and the backup table on GPT.
func (b *Board) ImageSize() int64 {
	end := b.Table.Part(PermNumber).End()
	if b.Method == UEFI {
		end += 1 * MiB
	}
	return end
}

// permInImage is what /perm has in the image; process 1 grows it to the disk at first boot.
const permInImage = 256 * MiB

var typeState = disk.MustGUID("8d2f6c1e-3f1b-4f0e-8b75-5e0c63a1d2b4") // ours

// uefiTable is the GPT of facts/abboot.md 6 with one change: the ESP has 288 MiB on both boards instead of 256 and
// 128. FAT32 with clusters of 4 KiB needs at least 65,525 of them, which 256 MiB less the tables do not give, and a
// FAT16 ESP is legal only on removable media (UEFI 2.10, 13.3).
func uefiTable(id string) Table {
	part := func(last string) disk.GUID { return disk.MustGUID(id[:len(id)-2] + last) }
	t := Table{DiskID: part("00"), Parts: []Partition{
		{Number: 1, Kind: KindBoot, Name: "hearth boot", Size: 288 * MiB, Type: disk.TypeESP, ID: part("01")},
		{Number: 2, Kind: KindRoot, Slot: SlotA, Name: "hearth root a", Size: 256 * MiB, Type: disk.TypeLinux, ID: part("02")},
		{Number: 3, Kind: KindRoot, Slot: SlotB, Name: "hearth root b", Size: 256 * MiB, Type: disk.TypeLinux, ID: part("03")},
		{Number: 5, Kind: KindState, Name: "hearth state", Size: 16 * MiB, Type: typeState, ID: part("05")},
		{Number: 4, Kind: KindPerm, Name: "hearth perm", Size: permInImage, Type: disk.TypeLinux, ID: part("04")},
	}}
	at := 1 * MiB
	for i := range t.Parts {
		t.Parts[i].Offset = at
		at += t.Parts[i].Size
	}
	return t
}

// piTable is the MBR of facts/abboot.md 6. Everything begins at a multiple of 4 MiB, the erase block of many cards.
var piTable = Table{Signature: 0x48e4a271, Parts: []Partition{
	{Number: 1, Kind: KindBoot, Name: "BOOTSEL", Offset: 4 * MiB, Size: 64 * MiB, MBR: 0x0e},
	{Number: 0, Kind: KindState, Name: "state", Offset: 68 * MiB, Size: 16 * MiB},
	{Number: 2, Kind: KindSlot, Slot: SlotA, Name: "SLOT-A", Offset: 84 * MiB, Size: 384 * MiB, MBR: 0x0c},
	{Number: 3, Kind: KindSlot, Slot: SlotB, Name: "SLOT-B", Offset: 468 * MiB, Size: 384 * MiB, MBR: 0x0c},
	{Number: 4, Kind: KindPerm, Name: "perm", Offset: 852 * MiB, Size: permInImage, MBR: 0x83},
}}

// GPT returns the board's table for a disk of n sectors; b.Method must be UEFI.
func (b *Board) GPT(n uint64) *disk.GPT {
	g := &disk.GPT{Disk: b.Table.DiskID, Sectors: n}
	for _, p := range b.Table.Parts {
		g.Entries[p.Number-1] = disk.Entry{
			Type: p.Type, ID: p.ID, Name: p.Name,
			First: uint64(p.Offset / disk.SectorSize), Last: uint64(p.End()/disk.SectorSize) - 1,
		}
	}
	return g
}

// MBR returns the board's table; b.Method must be Pi.
func (b *Board) MBR() *disk.MBR {
	m := &disk.MBR{Signature: b.Table.Signature}
	for _, p := range b.Table.Parts {
		if p.Number > 0 {
			m.Entries[p.Number-1] = disk.MBREntry{Type: p.MBR, First: uint32(p.Offset / disk.SectorSize), Sectors: uint32(p.Size / disk.SectorSize)}
		}
	}
	return m
}

// Root is the value of root= for a slot. The kernel mounts it on UEFI boards; on the Pi it only tells gokrazy which
// disk it is on, and which slot.
func (b *Board) Root(s Slot) string {
	if b.Method == Pi {
		return fmt.Sprintf("PARTUUID=%08x-%02d", b.Table.Signature, s.Number())
	}
	return fmt.Sprintf("PARTUUID=%s/PARTNROFF=%d", b.Table.Part(BootNumber).ID, s.Number()-BootNumber)
}
