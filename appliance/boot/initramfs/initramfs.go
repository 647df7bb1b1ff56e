// Package initramfs finds the slot's FAT partition on a Raspberry Pi, mounts the root.squashfs in it over a loop
// device and hands over to /gokrazy/init there: a slot is one partition holding all of one version, because the MBR
// has no numbers left for separate roots (facts/abboot.md 5.2).
//
//	/proc, /sys, /dev -> disk by MBR signature -> p2 or p3 -> root.squashfs -> loop -> /root -> becomes /
//
// It imports little, because it lies in memory and in both slots. If its own slot cannot be read it takes the other
// one: a system of the wrong slot that starts is better than none, and says so.
package initramfs

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// wait is how long the disk may take to appear: USB disks take seconds.
const wait = 20 * time.Second

// Main never returns: it becomes /gokrazy/init, or lets the kernel panic, which reboots after the panic= time.
func Main() {
	say("starts")
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			say("mounting " + m[1] + ": " + err.Error())
		}
	}
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		fail(err)
	}
	signature, slot, err := Parse(string(cmdline))
	if err != nil {
		fail(err)
	}
	// The firmware's own word counts more than the command line, which an old firmware may take from either file.
	if b, err := os.ReadFile("/proc/device-tree/chosen/bootloader/partition"); err == nil {
		if s, ok := SlotOfPartition(b); ok {
			slot = s
		}
	}
	disk, err := find(signature)
	if err != nil {
		fail(err)
	}
	for _, s := range []string{slot, other(slot)} {
		if err := mount(disk, s); err != nil {
			say("slot " + s + ": " + err.Error())
			continue
		}
		if s != slot {
			say("slot " + slot + " cannot be read; slot " + s + " runs with the other slot's kernel")
		}
		fail(become(disk, s))
	}
	fail(errors.New("neither slot can be read"))
}

// Parse takes the MBR signature from root=PARTUUID=<8 hex digits>-0N and the slot from hearth.slot (a when absent).
func Parse(cmdline string) (signature uint32, slot string, err error) {
	slot = "a"
	found := false
	for word := range strings.FieldsSeq(cmdline) {
		if v, ok := strings.CutPrefix(word, "root=PARTUUID="); ok {
			id, _, _ := strings.Cut(v, "-")
			n, err := strconv.ParseUint(id, 16, 32)
			if err != nil || len(id) != 8 {
				return 0, "", errors.New("root=" + v + " names no MBR signature")
			}
			signature, found = uint32(n), true
		}
		if v, ok := strings.CutPrefix(word, "hearth.slot="); ok && (v == "a" || v == "b") {
			slot = v
		}
	}
	if !found {
		return 0, "", errors.New("the kernel's command line has no root=PARTUUID=")
	}
	return signature, slot, nil
}

// SlotOfPartition reads the firmware's partition property: four bytes, big endian; 2 is slot a, 3 is slot b.
func SlotOfPartition(b []byte) (string, bool) {
	if len(b) != 4 {
		return "", false
	}
	switch binary.BigEndian.Uint32(b) {
	case 2:
		return "a", true
	case 3:
		return "b", true
	}
	return "", false
}

func other(slot string) string {
	if slot == "a" {
		return "b"
	}
	return "a"
}

// find waits for the disk whose MBR has the signature and returns the kernel's name of it.
func find(signature uint32) (string, error) {
	for start := time.Now(); time.Since(start) < wait; time.Sleep(100 * time.Millisecond) {
		names, err := os.ReadDir("/sys/block")
		if err != nil {
			return "", err
		}
		for _, n := range names {
			if strings.HasPrefix(n.Name(), "loop") || strings.HasPrefix(n.Name(), "ram") {
				continue
			}
			if has(n.Name(), signature) {
				return n.Name(), nil
			}
		}
	}
	return "", errors.New("no disk has the signature " + strconv.FormatUint(uint64(signature), 16))
}

func has(disk string, signature uint32) bool {
	f, err := os.Open("/dev/" + disk)
	if err != nil {
		return false
	}
	defer f.Close()
	b := make([]byte, 512)
	if _, err := f.ReadAt(b, 0); err != nil {
		return false
	}
	// The partition must be known to the kernel too, which may be a moment later.
	_, err = os.Stat("/dev/" + partition(disk, "a"))
	return err == nil && b[510] == 0x55 && b[511] == 0xaa && binary.LittleEndian.Uint32(b[440:]) == signature
}

func partition(disk, slot string) string {
	n := "2"
	if slot == "b" {
		n = "3"
	}
	if c := disk[len(disk)-1]; c >= '0' && c <= '9' {
		n = "p" + n
	}
	return disk + n
}

// mount puts the slot's root on /root.
func mount(disk, slot string) error {
	dev := "/dev/" + partition(disk, slot)
	if err := unix.Mount(dev, "/slot", "vfat", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return errors.New("mounting " + dev + ": " + err.Error())
	}
	err := mountRoot("/slot/root.squashfs")
	if err != nil {
		unix.Unmount("/slot", unix.MNT_DETACH) //nolint:errcheck // the other slot is tried
	}
	return err
}

func mountRoot(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return errors.New("asking for a loop device: " + err.Error())
	}
	dev := "/dev/loop" + strconv.Itoa(n)
	loop, err := os.OpenFile(dev, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	// The device lets go of the file when it is unmounted and closed; as root it stays for ever.
	defer loop.Close()
	if err := unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_SET_FD, int(file.Fd())); err != nil {
		return errors.New("putting root.squashfs on " + dev + ": " + err.Error())
	}
	if err := unix.Mount(dev, "/root", "squashfs", unix.MS_RDONLY, ""); err != nil {
		unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_CLR_FD, 0) //nolint:errcheck // the other slot is tried
		return errors.New("mounting root.squashfs: " + err.Error())
	}
	return nil
}

// become moves /root to / and executes process 1 there. It returns only an error.
func become(disk, slot string) error {
	say("slot " + slot + " on " + disk)
	for _, p := range []string{"/proc", "/sys", "/dev"} {
		unix.Unmount(p, unix.MNT_DETACH) //nolint:errcheck // it is mounted again by process 1
	}
	os.Remove("/init") //nolint:errcheck // frees two megabytes of memory
	if err := unix.Chdir("/root"); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return errors.New("moving the root: " + err.Error())
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	env := append(os.Environ(), "HEARTH_DISK="+disk, "HEARTH_SLOT="+slot)
	return errors.New("starting process 1: " + unix.Exec("/gokrazy/init", []string{"/gokrazy/init"}, env).Error())
}

func say(s string) { os.Stdout.WriteString("initramfs: " + s + "\n") } //nolint:errcheck // nowhere else to say it

// fail says why and ends, and the kernel panics and reboots.
func fail(err error) {
	say(err.Error())
	os.Exit(1)
}
