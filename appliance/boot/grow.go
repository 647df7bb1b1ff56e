package boot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"hearth.alt/boards"
	"hearth.alt/boards/disk"
)

// device is a disk as growing needs it.
type device interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// Grown says what growTable did.
type Grown struct {
	Repaired bool   // a damaged copy of the table was written again from the good one
	From, To uint64 // sectors of /perm's partition; equal when it was not grown
	part     disk.Entry
}

// growTable repairs the partition table and makes /perm reach to the end of the disk. Each write leaves a table that
// the firmware and the kernel can read, or a damaged primary beside a good backup at the disk's end, which the kernel
// reads because of gpt on its command line and the next boot repairs. Nothing is written when all is well.
//
// Order on GPT: new backup table at the end; then the rest of the primary's entries if they were damaged; then the
// first 4 KiB (MBR, header, the first entries) as one aligned write.
func growTable(d device, sectors uint64) (Grown, error) {
	g, m, state, err := readTables(d, sectors)
	if err != nil {
		return Grown{}, err
	}
	if m != nil {
		return growMBR(d, m, sectors)
	}
	old := g.Entries[boards.PermNumber-1]
	next, err := g.Grow(boards.PermNumber, sectors)
	if err != nil {
		return Grown{}, err
	}
	e := next.Entries[boards.PermNumber-1]
	out := Grown{Repaired: !state.Primary || !state.Backup, From: old.Sectors(), To: e.Sectors(), part: e}
	if state.Primary && state.Backup && state.BackupAt == sectors-1 && g.Sectors == sectors && *next == *g {
		return out, nil
	}
	if _, err := d.WriteAt(next.Backup(), int64(sectors-disk.GPTReserve)*disk.SectorSize); err != nil {
		return out, fmt.Errorf("writing the backup partition table: %w", err)
	}
	if err := d.Sync(); err != nil {
		return out, err
	}
	pause("grow.backup")
	primary := next.Primary()
	const page = 8 * disk.SectorSize
	rest := make([]byte, len(primary)-page)
	if _, err := d.ReadAt(rest, page); err != nil {
		return out, err
	}
	if !bytes.Equal(rest, primary[page:]) {
		if _, err := d.WriteAt(primary[page:], page); err != nil {
			return out, fmt.Errorf("writing the partition table: %w", err)
		}
		if err := d.Sync(); err != nil {
			return out, err
		}
	}
	tear(d, primary)
	if _, err := d.WriteAt(primary[:page], 0); err != nil {
		return out, fmt.Errorf("writing the partition table: %w", err)
	}
	if err := d.Sync(); err != nil {
		return out, err
	}
	pause("grow.primary")
	return out, nil
}

func growMBR(d device, m *disk.MBR, sectors uint64) (Grown, error) {
	next, err := m.Grow(boards.PermNumber, sectors)
	if err != nil {
		return Grown{}, err
	}
	old, e := m.Entries[boards.PermNumber-1], next.Entries[boards.PermNumber-1]
	out := Grown{From: uint64(old.Sectors), To: uint64(e.Sectors),
		part: disk.Entry{Type: disk.TypeLinux, First: uint64(e.First), Last: uint64(e.First) + uint64(e.Sectors) - 1}}
	if *next == *m {
		return out, nil
	}
	// One sector changes; the kernel writes its page. The rest of the page is empty on our cards.
	if _, err := d.WriteAt(next.Sector(), 0); err != nil {
		return out, fmt.Errorf("writing the partition table: %w", err)
	}
	if err := d.Sync(); err != nil {
		return out, err
	}
	pause("grow.primary")
	return out, nil
}

// Grow repairs and grows the table of the machine's disk and tells the kernel the new length of /perm's partition,
// which works while other partitions of the disk are mounted.
func (m *Machine) Grow() (Grown, error) {
	f, err := os.OpenFile(m.DiskPath(), os.O_RDWR, 0)
	if err != nil {
		return Grown{}, err
	}
	defer f.Close()
	g, err := growTable(f, m.Sectors)
	if err != nil {
		return g, err
	}
	b, err := os.ReadFile(filepath.Join(m.sys, "class/block", partName(m.Disk, boards.PermNumber), "size"))
	if err != nil {
		return g, fmt.Errorf("reading the size of /perm's partition: %w", err)
	}
	now, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil || now == g.part.Sectors() {
		return g, err
	}
	if err := resizePartition(f, boards.PermNumber, g.part); err != nil {
		return g, fmt.Errorf("telling the kernel of the larger partition: %w", err)
	}
	pause("grow.kernel")
	return g, nil
}

// resizePartition is BLKPG_RESIZE_PARTITION (linux/blkpg.h). BLKRRPART would answer EBUSY: the root is on this disk.
func resizePartition(f *os.File, number int, e disk.Entry) error {
	part := unix.BlkpgPartition{
		Start:  int64(e.First) * disk.SectorSize,
		Length: int64(e.Sectors()) * disk.SectorSize,
		Pno:    int32(number),
	}
	arg := unix.BlkpgIoctlArg{
		Op:      unix.BLKPG_RESIZE_PARTITION,
		Datalen: int32(unsafe.Sizeof(part)),
		Data:    (*byte)(unsafe.Pointer(&part)),
	}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg))); e != 0 {
		return e
	}
	return nil
}

// superblock is what process 1 reads of an ext4 file system (Linux Documentation/filesystems/ext4/super.rst).
type superblock struct {
	blocks    uint64
	blockSize uint64
	journal   bool
	errors    bool // the kernel noted errors
}

var errNoExt4 = errors.New("holds no ext4 file system")

func readSuperblock(r io.ReaderAt) (superblock, error) {
	b := make([]byte, 1024)
	if _, err := r.ReadAt(b, 1024); err != nil {
		return superblock{}, err
	}
	le := binary.LittleEndian
	shift := le.Uint32(b[0x18:])
	if le.Uint16(b[0x38:]) != 0xef53 || shift > 6 {
		return superblock{}, errNoExt4
	}
	s := superblock{
		blocks:    uint64(le.Uint32(b[0x04:])),
		blockSize: 1024 << shift,
		journal:   le.Uint32(b[0x5c:])&0x4 != 0,
		errors:    le.Uint16(b[0x3a:])&0x2 != 0,
	}
	if le.Uint32(b[0x60:])&0x80 != 0 { // 64bit
		s.blocks |= uint64(le.Uint32(b[0x150:])) << 32
	}
	return s, nil
}

// GrowFileSystem makes the mounted /perm fill its partition: EXT4_IOC_RESIZE_FS, which the kernel does while the file
// system is in use. It returns the sizes before and after, in bytes. A cut in it is finished by the next call.
func (m *Machine) GrowFileSystem() (from, to uint64, err error) {
	p, err := os.Open(m.PartitionPath(boards.PermNumber))
	if err != nil {
		return 0, 0, err
	}
	defer p.Close()
	s, err := readSuperblock(p)
	if err != nil {
		return 0, 0, fmt.Errorf("/perm's partition %w", err)
	}
	size, err := p.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, err
	}
	from, to = s.blocks*s.blockSize, uint64(size)/s.blockSize*s.blockSize
	if from >= to {
		return from, from, nil
	}
	d, err := os.Open(PermDir)
	if err != nil {
		return from, from, err
	}
	defer d.Close()
	pauseLater("grow.resizing")
	blocks := to / s.blockSize
	const resizeFS = 0x40086610 // _IOW('f', 16, __u64)
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, d.Fd(), resizeFS, uintptr(unsafe.Pointer(&blocks))); e != 0 {
		return from, from, fmt.Errorf("growing the file system of /perm: %w", e)
	}
	pause("grow.resized")
	return from, to, nil
}
