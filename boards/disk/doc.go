// Package disk reads and writes the three forms in which every board finds its system: the GUID partition table
// (GPT), the older MBR, and the FAT file systems that firmware can read. It does no policy: what goes where is said
// by package boards, which this folder belongs to; who writes is image (whole images) and appliance/boot (the grown
// table and one small file in place).
//
// Everything that is read comes from a card that may be torn, worn or foreign: every parser here is bounded, never
// panics, and returns an error that names what did not fit. Everything that is written is a function of its arguments
// alone: the same arguments make the same bytes.
//
// Units: a sector is 512 bytes (SectorSize) and so is an LBA step; disks with 4096-byte logical sectors are not
// supported and are refused by ReadGPT, which then finds no header.
package disk

// SectorSize is the logical sector of every disk Hearth runs on, in bytes.
const SectorSize = 512

// LBA is a sector number, counted from the start of the disk.
type LBA = uint64
