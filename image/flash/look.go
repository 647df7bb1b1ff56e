package flash

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Disk is what Look found out about a target.
type Disk struct {
	Path      string
	Block     bool   // a block device; otherwise a regular file, that may not exist yet
	Model     string // "SanDisk Ultra"; "" when the disk does not say
	Size      int64  // bytes; 0 for a new file
	Removable bool
}

// Refusal is why a disk is not overwritten. Flag is the flag that overrules it; "" when nothing does.
type Refusal struct {
	Why  string
	Flag string
}

func (r *Refusal) Error() string {
	if r.Flag == "" {
		return r.Why
	}
	return r.Why + ". To do it all the same, add " + r.Flag + " (with make: FLASHFLAGS=" + r.Flag + ")"
}

// Flags that overrule a Refusal.
const (
	FlagNotRemovable = "-force-not-removable"
	FlagMounted      = "-force-mounted"
	FlagFile         = "-force-file"
)

// Force says which refusals are overruled.
type Force struct {
	NotRemovable bool // an inner disk, or a USB disk that does not call itself removable
	Mounted      bool // partitions of it are mounted, but neither / nor the like
	File         bool // a regular file that exists
}

// System is where Look asks; the zero System is this computer. Tests give folders of their own.
type System struct {
	Sys       string // "/sys"
	MountInfo string // "/proc/self/mountinfo"
	Swaps     string // "/proc/swaps"
	// Number returns the device number of a block device; nil asks the kernel.
	Number func(path string) (major, minor uint32, err error)
}

// vital are mount points under which the computer itself lives.
var vital = []string{"/", "/boot", "/boot/efi", "/usr", "/var", "/home", "/nix", "/sysroot"}

// Look finds out what path is and whether it may be overwritten. The error is a *Refusal when it may not.
func (s System) Look(path string, force Force) (*Disk, error) {
	if s.Sys == "" {
		s.Sys = "/sys"
	}
	if s.MountInfo == "" {
		s.MountInfo = "/proc/self/mountinfo"
	}
	if s.Swaps == "" {
		s.Swaps = "/proc/swaps"
	}
	if s.Number == nil {
		s.Number = deviceNumber
	}
	d := &Disk{Path: path}
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(path, "/dev/"):
		return nil, &Refusal{Why: fmt.Sprintf("there is no disk %s; lsblk lists those that are there", path)}
	case errors.Is(err, fs.ErrNotExist):
		return d, nil
	case err != nil:
		return nil, err
	case st.Mode().IsRegular():
		d.Size = st.Size()
		if !force.File {
			return nil, &Refusal{path + " is a file that exists", FlagFile}
		}
		d.Size = 0 // a file grows as needed
		return d, nil
	case st.Mode()&fs.ModeDevice == 0 || st.Mode()&fs.ModeCharDevice != 0:
		return nil, &Refusal{Why: path + " is no disk"}
	}
	d.Block = true
	major, minor, err := s.Number(path)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(s.Sys, "dev/block", fmt.Sprintf("%d:%d", major, minor)))
	if err != nil {
		return nil, fmt.Errorf("finding %s in sysfs: %w", path, err)
	}
	if exists(filepath.Join(dir, "partition")) {
		return nil, &Refusal{Why: fmt.Sprintf("%s is a partition; give the whole disk, /dev/%s", path, filepath.Base(filepath.Dir(dir)))}
	}
	sectors, err := strconv.ParseInt(read(dir, "size"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("reading the size of %s: %w", path, err)
	}
	d.Size = sectors * 512
	d.Model = strings.TrimSpace(read(dir, "device/vendor") + " " + read(dir, "device/model"))
	if d.Model == "" {
		d.Model = read(dir, "device/name")
	}
	// An SD card in a laptop's own slot does not call itself removable.
	d.Removable = read(dir, "removable") == "1" || read(dir, "device/type") == "SD"
	switch {
	case d.Size == 0:
		return nil, &Refusal{Why: path + " holds no card"}
	case read(dir, "ro") == "1":
		return nil, &Refusal{Why: path + " is read-only; some cards have a small slide at the side"}
	}
	if err := s.inUse(path, dir, force); err != nil {
		return nil, err
	}
	if !d.Removable && !force.NotRemovable {
		return nil, &Refusal{fmt.Sprintf("%s (%s, %s) does not look like a card or stick", path, or(d.Model, "no name"), bytesText(d.Size)), FlagNotRemovable}
	}
	return d, nil
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// inUse refuses a disk of which anything is mounted, held by another device (LVM, RAID, LUKS) or swapped to.
func (s System) inUse(path, dir string, force Force) error {
	devices := map[string]string{} // "8:17" -> "sdb1"
	add := func(d string) error {
		devices[read(d, "dev")] = filepath.Base(d)
		held, err := os.ReadDir(filepath.Join(d, "holders"))
		if err == nil && len(held) > 0 {
			return &Refusal{Why: fmt.Sprintf("%s is in use by %s", filepath.Base(d), held[0].Name())}
		}
		return nil
	}
	if err := add(dir); err != nil {
		return err
	}
	parts, err := filepath.Glob(filepath.Join(dir, "*", "partition"))
	if err != nil {
		return err
	}
	for _, p := range parts {
		if err := add(filepath.Dir(p)); err != nil {
			return err
		}
	}
	swaps, err := os.ReadFile(s.Swaps)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for line := range strings.Lines(string(swaps)) {
		if f := strings.Fields(line); len(f) > 0 {
			for _, name := range devices {
				if f[0] == "/dev/"+name {
					return &Refusal{Why: "this computer swaps to " + f[0]}
				}
			}
		}
	}
	mounts, err := os.ReadFile(s.MountInfo)
	if err != nil {
		return fmt.Errorf("asking what is mounted: %w", err)
	}
	for line := range strings.Lines(string(mounts)) {
		// 36 35 98:0 /mnt1 /mnt2 rw,noatime ... (proc(5)); some file systems say 0:n and name the device further on.
		f := strings.Fields(line)
		if len(f) < 10 {
			continue
		}
		name, ok := devices[f[2]]
		if i := slices.Index(f, "-"); !ok && i > 0 && i+2 < len(f) {
			for _, n := range devices {
				if f[i+2] == "/dev/"+n {
					name, ok = n, true
				}
			}
		}
		if !ok {
			continue
		}
		at := strings.ReplaceAll(f[4], `\040`, " ")
		if slices.Contains(vital, at) {
			return &Refusal{Why: fmt.Sprintf("this computer runs from %s (%s is %s)", path, name, at)}
		}
		if !force.Mounted {
			return &Refusal{fmt.Sprintf("%s is mounted at %s; unmount it first", name, at), FlagMounted}
		}
	}
	return nil
}

func deviceNumber(path string) (uint32, uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, 0, err
	}
	return unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)), nil
}

func read(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
