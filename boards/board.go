// Package boards says, as data, what differs between the machines Hearth runs on: the processor, the kernel, the
// partition table, the files the firmware reads, the watchdog, the machine QEMU can play, and what is proven of it
// all. Package image makes images from it, appliance/boot finds its way on the device by it.
//
// The partition tables here are final: every box that was ever flashed has one of them, so a golden test pins them
// (testdata). A slot is one complete system, kernel and root; there are two, a and b, and an update alternates.
// How the parts lie and why is written in facts/abboot.md sections 2, 5, 6.
//
// README.md in this folder is generated from the data: go generate ./boards.
package boards

//go:generate go run ./cmd/readme

import (
	"fmt"
	"slices"

	"hearth.alt/boards/disk"
)

const (
	// KiB, MiB are bytes.
	KiB = int64(1) << 10
	MiB = int64(1) << 20
)

// Slot is one of the two complete systems.
type Slot string

// The slots. The factory image holds the same version in both and boots SlotA.
const (
	SlotA Slot = "a"
	SlotB Slot = "b"
)

// Slots lists both.
func Slots() []Slot { return []Slot{SlotA, SlotB} }

// Other returns the slot that is not s.
func (s Slot) Other() Slot {
	if s == SlotA {
		return SlotB
	}
	return SlotA
}

// Number returns the number of the partition that holds the slot's root: 2 or 3 on every board, because gokrazy
// knows only those.
func (s Slot) Number() int {
	if s == SlotB {
		return 3
	}
	return 2
}

// PermNumber is the partition that is mounted on /perm, on every board; gokrazy's number too.
const PermNumber = 4

// BootNumber is the partition the firmware reads first and a person's computer shows when the card is in it.
const BootNumber = 1

// Method is how the firmware finds a slot.
type Method uint8

const (
	// UEFI boots sd-boot from the ESP. A slot is a kernel container on the ESP and a raw squashfs partition; which
	// slot is committed says loader.conf.
	UEFI Method = iota + 1
	// Pi boots by the Raspberry Pi firmware. A slot is one FAT partition with firmware, kernel, initramfs and
	// root.squashfs in it; which slot is committed says autoboot.txt.
	Pi
)

// Board is one kind of machine. All fields are constant; slices must not be changed.
type Board struct {
	Name   string // "rpi", as in make image BOARD=rpi
	Title  string // for people
	GOARCH string
	Method Method

	KernelModule   string // Go module whose folder holds vmlinuz (and, on the Pi, device trees and overlays)
	FirmwareModule string // Go module with the Pi's firmware files; "" without
	EFI            string // name of the boot loader on the ESP, "BOOTAA64.EFI"; "" on the Pi
	KernelSpace    int64  // bytes of one kernel container on the ESP; 0 on the Pi
	Console        string // serial console, as console= takes it
	KernelArgs     []string
	Table          Table
	Watchdog       string // what resets the machine when the kernel or process 1 hangs
	QEMU           *QEMU  // nil: no machine can be played
	Proofs         []Proof
}

// QEMU is the machine that plays the board in the laboratory.
type QEMU struct {
	Program string   // "qemu-system-aarch64"
	Args    []string // machine, processor, memory, watchdog
	Disk    []string // how the disk is attached; {image} stands for its path
	NIC     string   // -device ..., without netdev=
	// Firmware and Variables are the pflash files of UEFI firmware, as Debian's packages place them; empty when the
	// kernel is started directly.
	Firmware, Variables string
	// DTB is the device tree in the slot's FAT for a direct start, ExtraArgs what the played machine needs added to
	// the command line.
	DTB       string
	ExtraArgs string
}

// Level is how sure something is.
type Level string

// The levels, surest first.
const (
	ProvenQEMU Level = "proven in QEMU" // a test of hwtest/vm boots it
	ByModel    Level = "by model"       // checked against the firmware's documents by a test on the image's bytes
	NotProven  Level = "not proven"     // nobody has seen it; a bench with the real board must
)

// Proof is one claim about a board and how sure it is.
type Proof struct {
	Level Level
	What  string
}

// All returns the boards, in the order they are listed for people.
func All() []*Board { return []*Board{&rpi, &arm64, &amd64} }

// Find returns the board named name.
func Find(name string) (*Board, error) {
	var names []string
	for _, b := range All() {
		if b.Name == name {
			return b, nil
		}
		names = append(names, b.Name)
	}
	return nil, fmt.Errorf("there is no board %q: choose one of %v", name, names)
}

// FindByDisk returns the boards whose partition table has the identity of the table read from a disk: the GPT's disk
// GUID, or the MBR's signature. Exactly one of gpt and mbr is given.
func FindByDisk(gpt *disk.GPT, mbr *disk.MBR) (*Board, bool) {
	for _, b := range All() {
		if gpt != nil && b.Table.DiskID == gpt.Disk && b.Method == UEFI ||
			mbr != nil && b.Method == Pi && b.Table.Signature == mbr.Signature {
			return b, true
		}
	}
	return nil, false
}

var sharedArgs = []string{
	"ro",
	"init=/gokrazy/init",
	"panic=10",    // seconds until a panic reboots
	"oops=panic",  // a half-dead kernel is worse than a reboot
	"rootwait=20", // seconds; without a limit a missing disk hangs for ever
	"loglevel=5",
}

var uefiArgs = append(slices.Clone(sharedArgs),
	"gpt", // believe the backup table when the primary is torn
	// A panic would write its dump into the firmware's variables; a panic loop fills them for good
	// (facts/abboot.md 2.1). kernel.amd64 has no such driver and ignores the word.
	"efi_pstore.pstore_disable=1",
)

var rpi = Board{
	Name: "rpi", Title: "Raspberry Pi 3, 4, 400, 5, Zero 2 W", GOARCH: "arm64", Method: Pi,
	KernelModule:   "github.com/gokrazy/kernel.rpi",
	FirmwareModule: "github.com/gokrazy/firmware",
	Console:        "serial0,115200",
	KernelArgs:     sharedArgs,
	Table:          piTable,
	Watchdog:       "bcm2835_wdt, 15 s, from the kernel on; before it kernel_watchdog_timeout of the firmware",
	QEMU: &QEMU{
		Program: "qemu-system-aarch64",
		// Four processors in threads of their own spin so hard on two cores that the kernel says its first word after 8
		// to 14 s or never; in one thread it takes 3 s, each of six times (2026-11-21).
		Args: []string{"-M", "raspi3b", "-accel", "tcg,thread=single"},
		Disk: []string{"-drive", "file={image},format=raw,if=none,id=d0", "-device", "usb-storage,drive=d0"},
		// With QEMU's own address the kernel would call it usb0, and dhcp wants eth0.
		NIC: "usb-net,mac=b8:27:eb:12:34:56",
		// The downstream device tree (bcm2710-...) prints nothing under QEMU.
		DTB: "bcm2837-rpi-3-b.dtb",
		// QEMU's watchdog resets the moment it is opened.
		ExtraArgs: "console=ttyAMA0,115200 initcall_blacklist=bcm2835_wdt_driver_init",
	},
	Proofs: []Proof{
		{ProvenQEMU, "kernel.rpi, our initramfs, the root in the slot's FAT over a loop device, /perm from the MBR's fourth partition, and the first page, on QEMU's raspi3b with the disk on USB"},
		{ByModel, "partition table, file names and alignment as the firmware's documents and one public Pi 4 bench report ask for"},
		{ByModel, "config.txt, cmdline-a.txt, cmdline-b.txt and autoboot.txt with tryboot_a_b"},
		{NotProven, "the firmware itself on any model: bootcode.bin and start.elf (3, Zero 2 W), EEPROM and start4.elf (4, 400), EEPROM (5)"},
		{NotProven, "tryboot, power cut in a trial, a hung trial, torn autoboot.txt on each model"},
		{NotProven, "SD card (QEMU's SD controller does not probe with this kernel), HDMI, Ethernet of the real boards, WiFi (none yet: Zero 2 W needs a USB network adapter)"},
	},
}

var arm64 = Board{
	Name: "arm64", Title: "64-bit ARM machine or virtual machine with UEFI", GOARCH: "arm64", Method: UEFI,
	KernelModule: "github.com/gokrazy/kernel.arm64",
	EFI:          "BOOTAA64.EFI",
	KernelSpace:  96 * MiB,
	Console:      "ttyAMA0,115200",
	KernelArgs:   uefiArgs,
	Table:        uefiTable("1d7f4a52-6f0c-4f5e-9a61-7c9a0b3e6400"),
	Watchdog:     "i6300esb in virtual machines, bcm2835_wdt; none on most single-board computers",
	QEMU: &QEMU{
		Program: "qemu-system-aarch64",
		Args: []string{"-M", "virt", "-cpu", "cortex-a72", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "512",
			"-device", "i6300esb", "-watchdog-action", "reset"},
		Disk:      []string{"-drive", "file={image},format=raw,if=virtio"},
		NIC:       "virtio-net-pci",
		Firmware:  "/usr/share/AAVMF/AAVMF_CODE.fd",
		Variables: "/usr/share/AAVMF/AAVMF_VARS.fd",
	},
	Proofs: []Proof{
		{ProvenQEMU, "UEFI firmware, sd-boot, kernel, init, /perm checked and grown, first page, power cuts while growing, recovery page"},
		{NotProven, "any single-board computer: needs UEFI firmware of its own (none is shipped)"},
		{NotProven, "policy routing: kernel.arm64 lacks IP_MULTIPLE_TABLES"},
	},
}

var amd64 = Board{
	Name: "amd64", Title: "PC or virtual machine with UEFI", GOARCH: "amd64", Method: UEFI,
	KernelModule: "github.com/gokrazy/kernel.amd64",
	EFI:          "BOOTX64.EFI",
	KernelSpace:  32 * MiB,
	Console:      "ttyS0,115200",
	KernelArgs:   append(slices.Clone(uefiArgs), "pci=nommconf"),
	Table:        uefiTable("1d7f4a52-6f0c-4f5e-9a61-7c9a0b3e8664"),
	Watchdog:     "i6300esb, which only virtual machines have: a real PC that hangs waits for a person",
	QEMU: &QEMU{
		Program: "qemu-system-x86_64",
		// One thread for both processors: with a thread each, QEMU ran into the int3 of a place that Linux was patching
		// and the kernel stopped (once, 2026-11-21).
		Args: []string{"-cpu", "max", "-accel", "tcg,thread=single", "-smp", "2", "-m", "512",
			"-device", "i6300esb", "-watchdog-action", "reset"},
		Disk:      []string{"-drive", "file={image},format=raw,if=virtio"},
		NIC:       "virtio-net-pci",
		Firmware:  "/usr/share/OVMF/OVMF_CODE_4M.fd",
		Variables: "/usr/share/OVMF/OVMF_VARS_4M.fd",
	},
	Proofs: []Proof{
		{ProvenQEMU, "OVMF, sd-boot, kernel, init, first page (make test-all)"},
		{NotProven, "any real PC; Secure Boot (must be off); BIOS without UEFI (not supported); eMMC and SD (the kernel has no driver)"},
	},
}

// Programs are the import paths of gokrazy's programs that every image carries below /gokrazy, beside process 1, in the
// order they are started. The last element is the program's name there. image/pins.go names them too, for go.mod.
var Programs = []string{
	"github.com/gokrazy/gokrazy/cmd/dhcp",
	"github.com/gokrazy/gokrazy/cmd/ntp",
	"github.com/gokrazy/gokrazy/cmd/randomd",
}
