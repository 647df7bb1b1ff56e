package boot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"hearth.alt/boards"
	"hearth.alt/boards/disk"
)

// Environment variables by which the Pi's initramfs tells process 1 what it did. They are unset once read.
const (
	EnvDisk = "HEARTH_DISK" // "sda", "mmcblk0"
	EnvSlot = "HEARTH_SLOT" // "a", "b"
)

// Machine is the disk the system runs from and what is known of it.
type Machine struct {
	Board   *boards.Board
	Slot    boards.Slot // the slot that runs
	Disk    string      // kernel's name, "vda"
	Sectors uint64      // of the disk
	dev     string      // folder of device nodes
	sys     string      // folder like /sys
}

// PartitionPath returns the device node of partition n.
func (m *Machine) PartitionPath(n int) string { return filepath.Join(m.dev, partName(m.Disk, n)) }

// DiskPath returns the device node of the whole disk.
func (m *Machine) DiskPath() string { return filepath.Join(m.dev, m.Disk) }

func partName(diskName string, n int) string {
	if c := diskName[len(diskName)-1]; c >= '0' && c <= '9' {
		return fmt.Sprintf("%sp%d", diskName, n)
	}
	return fmt.Sprintf("%s%d", diskName, n)
}

// ErrNoMachine is returned by FindMachine when the disk is none of ours.
var ErrNoMachine = errors.New("the disk this system runs from is not laid out by Hearth")

// FindMachine finds the disk under /, or, where that is a loop device (the Pi), the one the initramfs named.
//
// PARTUUID in sysfs is not used: the Pi's kernel does not show it.
func FindMachine() (*Machine, error) {
	m := &Machine{dev: "/dev", sys: "/sys"}
	m.Disk = os.Getenv(EnvDisk)
	slot := os.Getenv(EnvSlot)
	os.Unsetenv(EnvDisk) //nolint:errcheck // cannot fail for these names
	os.Unsetenv(EnvSlot) //nolint:errcheck
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	if slot == "" {
		slot, _ = argument(string(cmdline), "hearth.slot")
	}
	m.Slot = boards.Slot(slot)
	if m.Disk == "" {
		if m.Disk, err = rootDisk(); err != nil {
			return nil, err
		}
	}
	return m, m.identify()
}

// rootDisk is the disk that the file system under / lies on.
func rootDisk() (string, error) {
	var st unix.Stat_t
	if err := unix.Stat("/", &st); err != nil {
		return "", err
	}
	part, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		return "", fmt.Errorf("finding the disk under /: %w", err)
	}
	if _, err := os.Stat(filepath.Join(part, "partition")); err != nil {
		return "", fmt.Errorf("/ lies on %s, which is no partition", filepath.Base(part))
	}
	return filepath.Base(filepath.Dir(part)), nil
}

// identify reads the disk's size and table and so knows the board.
func (m *Machine) identify() error {
	b, err := os.ReadFile(filepath.Join(m.sys, "class/block", m.Disk, "size"))
	if err != nil {
		return fmt.Errorf("reading the size of disk %s: %w", m.Disk, err)
	}
	if m.Sectors, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64); err != nil {
		return fmt.Errorf("reading the size of disk %s: %w", m.Disk, err)
	}
	f, err := os.Open(m.DiskPath())
	if err != nil {
		return err
	}
	defer f.Close()
	g, mbr, _, err := readTables(f, m.Sectors)
	if err != nil {
		return fmt.Errorf("disk %s: %w", m.Disk, err)
	}
	board, ok := boards.FindByDisk(g, mbr)
	if !ok {
		return fmt.Errorf("disk %s: %w", m.Disk, ErrNoMachine)
	}
	m.Board = board
	return nil
}

// readTables reads the disk's GPT or, when the first sector is no protective one, its MBR.
func readTables(r io.ReaderAt, sectors uint64) (*disk.GPT, *disk.MBR, disk.Tables, error) {
	var also []disk.LBA
	for _, b := range boards.All() {
		if b.Method == boards.UEFI {
			also = append(also, uint64(b.ImageSize()/disk.SectorSize)-1)
		}
	}
	g, t, err := disk.ReadGPT(r, sectors, also...)
	if err == nil {
		return g, nil, t, nil
	}
	m, merr := disk.ReadMBR(r, sectors)
	if merr != nil {
		return nil, nil, t, fmt.Errorf("no partition table can be read: %w", errors.Join(err, merr))
	}
	if m.Entries[0].Type == 0xee {
		return nil, nil, t, fmt.Errorf("both copies of the partition table are damaged: %w", err)
	}
	return nil, m, t, nil
}

// argument returns the value of name=value on a kernel command line; the last one counts.
func argument(cmdline, name string) (string, bool) {
	value, found := "", false
	for word := range strings.FieldsSeq(cmdline) {
		if v, ok := strings.CutPrefix(word, name+"="); ok {
			value, found = v, true
		}
	}
	return value, found
}
