package boards

import (
	"bytes"
	"fmt"
	"strings"
)

// ConfigBlock is the size of each small file that is ever rewritten in place: the commit block and the claim file.
// It is one page of the kernel and one cluster, and nothing else lies in its 64 KiB (ConfigAlign), so that a torn
// write hurts nobody else.
const (
	ConfigBlock = 4 * KiB
	ConfigAlign = 64 * KiB
)

// Names on the boot partition and in the slots.
const (
	LoaderConf  = "loader/loader.conf" // commit block of UEFI boards
	AutobootTxt = "autoboot.txt"       // commit block of the Pi
	ClaimFile   = "hearth-claim.txt"
	RootFile    = "root.squashfs" // in a Pi slot
	KernelFile  = "vmlinuz"
	Initramfs   = "initramfs"
)

// CommitFile is the file on the boot partition whose one block says which slot is committed.
func (b *Board) CommitFile() string {
	if b.Method == Pi {
		return AutobootTxt
	}
	return LoaderConf
}

// CommitBlock is the whole content of CommitFile when slot s is committed: ConfigBlock bytes on UEFI boards. The Pi's
// firmware reads at most 512 bytes, so there the file is that long.
func (b *Board) CommitBlock(s Slot) []byte {
	if b.Method == Pi {
		text := fmt.Sprintf("[all]\ntryboot_a_b=1\nboot_partition=%d\n[tryboot]\nboot_partition=%d\n", s.Number(), s.Other().Number())
		return pad(text, 512)
	}
	// No menu, no editor: whoever holds the keyboard holds the disk too, but need not be invited. An unreadable
	// file makes sd-boot take the last entry in sort order, which is b.
	return pad(fmt.Sprintf("default %s.conf\ntimeout 0\neditor no\nauto-firmware no\n", s), ConfigBlock)
}

// pad fills text up to n bytes with line ends, which every reader of these files skips.
func pad(text string, n int64) []byte {
	return append([]byte(text), bytes.Repeat([]byte("\n"), int(n)-len(text))...)
}

// Cmdline is the kernel command line of slot s, without a line end. "" is the line for a firmware that did not say
// which slot it took: it names slot a for gokrazy's sake and leaves hearth.slot out, so that the initramfs decides.
func (b *Board) Cmdline(s Slot) string {
	words := []string{"console=tty1", "console=" + b.Console}
	root := s
	if s == "" {
		root = SlotA
	}
	words = append(words, "root="+b.Root(root))
	words = append(words, b.KernelArgs...)
	if s != "" {
		words = append(words, "hearth.slot="+string(s))
	}
	return strings.Join(words, " ")
}

// EntrySize is the length of a loader entry in bytes. It leaves room to add a word to the command line in place.
const EntrySize = 2 * KiB

// Entry is the sd-boot entry of slot s (UAPI boot loader specification, type 1): EntrySize bytes. It never changes on
// the device: a new kernel is written into the container it names. more is added to the command line, for the
// laboratory and for a person who helps; "" on every image.
func (b *Board) Entry(s Slot, more string) []byte {
	return pad(fmt.Sprintf("title Hearth %s\nsort-key hearth-%s\nlinux /%s/%s\noptions %s\n", s, s, s, KernelFile,
		strings.TrimSpace(b.Cmdline(s)+" "+more)), EntrySize)
}

// ConfigTxt is config.txt of a Pi slot. Both slots hold the same files; the firmware's boot_partition filter chooses
// the command line. A firmware too old for the filter may take any of the three lines, so the initramfs believes the
// partition number in the device tree more than hearth.slot.
func (b *Board) ConfigTxt() []byte {
	var s strings.Builder
	s.WriteString("# Written by Hearth's image builder. An update replaces the whole slot.\n" +
		"arm_64bit=1\nenable_uart=1\ndisable_splash=1\nkernel=" + KernelFile + "\ninitramfs " + Initramfs + " followkernel\n" +
		// A trial that hangs before Linux pings the watchdog is reset by the firmware, and the committed slot boots.
		"dtparam=watchdog=on\nkernel_watchdog_timeout=60\n" +
		"cmdline=cmdline.txt\n")
	for _, slot := range Slots() {
		fmt.Fprintf(&s, "[boot_partition=%d]\ncmdline=cmdline-%s.txt\n", slot.Number(), slot)
	}
	s.WriteString("[all]\n")
	return []byte(s.String())
}

const (
	claimBlank = "No claim code was written on this card. The box makes one when it starts for the first time, shows it\n" +
		"on the screen (HDMI) and writes it here.\n\n" +
		"Auf diese Karte wurde kein Code geschrieben. Die Box macht beim ersten Start einen, zeigt ihn auf dem\n" +
		"Bildschirm (HDMI) und schreibt ihn hierher.\n"
	claimDone = "This box has an owner. The claim code that stood here is worthless and was erased.\n\n" +
		"Diese Box hat einen Besitzer. Der Code, der hier stand, ist wertlos und wurde gelöscht.\n"
)

// ClaimBlank is the claim file on a card that nobody gave a code: ConfigBlock bytes.
func ClaimBlank() []byte { return pad(claimBlank, ConfigBlock) }

// ClaimDone is the claim file once the box has an owner: ConfigBlock bytes.
func ClaimDone() []byte { return pad(claimDone, ConfigBlock) }

// ClaimSheet is the claim file that holds a sheet (claimcode.Code.Sheet): ConfigBlock bytes. It is an error when the
// sheet is too long.
func ClaimSheet(sheet string) ([]byte, error) {
	if int64(len(sheet)) > ConfigBlock {
		return nil, fmt.Errorf("the claim sheet has %d bytes, its place on the card %d", len(sheet), ConfigBlock)
	}
	return pad(sheet, ConfigBlock), nil
}

// IsClaimDone says whether the claim file says that the box has an owner.
func IsClaimDone(file []byte) bool { return bytes.HasPrefix(file, []byte(claimDone)) }
