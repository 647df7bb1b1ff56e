package boards

import (
	"fmt"
	"strings"
)

// README returns the page for people: what each board is, how its disk is divided, and how sure everything is.
func README() string {
	var s strings.Builder
	s.WriteString("# Boards\n\nGenerated from the data in this folder by `go generate ./boards`; do not edit.\n\n" +
		"An image is made by `make image BOARD=name` and written to a card by `make flash DISK=/dev/sdX BOARD=name`.\n" +
		"\"Proven in QEMU\" means that a test in hwtest/vm does it; \"by model\" that a test compares the image with what the\n" +
		"firmware's documents ask for; \"not proven\" that nobody has seen it on the real thing.\n")
	for _, b := range All() {
		fmt.Fprintf(&s, "\n## %s: %s\n\n", b.Name, b.Title)
		for _, p := range b.Proofs {
			fmt.Fprintf(&s, "- *%s*: %s\n", p.Level, p.What)
		}
		fmt.Fprintf(&s, "\nWatchdog: %s.\nKernel: `%s`.", b.Watchdog, b.KernelModule)
		if b.FirmwareModule != "" {
			fmt.Fprintf(&s, " Firmware: `%s`.", b.FirmwareModule)
		}
		s.WriteString("\n\n| no. | what | starts at MiB | MiB | holds |\n|---|---|---|---|---|\n")
		for _, p := range b.Table.Parts {
			no, size, holds := fmt.Sprint(p.Number), fmt.Sprint(p.Size/MiB), ""
			if p.Number == 0 {
				no = "-"
			}
			switch p.Kind {
			case KindBoot:
				holds = "FAT: `" + b.CommitFile() + "` (which slot is committed), `" + ClaimFile + "`"
				if b.Method == UEFI {
					holds += fmt.Sprintf(", sd-boot, a kernel of each slot in a place of %d MiB", b.KernelSpace/MiB)
				}
			case KindRoot:
				holds = "squashfs: the root of slot " + string(p.Slot)
			case KindSlot:
				holds = "FAT: all of slot " + string(p.Slot) + ": firmware, kernel, initramfs, `" + RootFile + "`"
			case KindState:
				holds = "raw: the records of updates"
			case KindPerm:
				holds, size = "ext4: everything the household owns", size+", grows to the disk at first boot"
			}
			fmt.Fprintf(&s, "| %s | %s | %d | %s | %s |\n", no, p.Name, p.Offset/MiB, size, holds)
		}
	}
	return s.String()
}
