//go:build bootpause

package boot

import (
	"log"
	"os"
	"time"

	"hearth.alt/boards/disk"
)

func wanted() string {
	b, _ := os.ReadFile("/proc/cmdline") //nolint:errcheck // an empty line names no pause
	v, _ := argument(string(b), "hearth.pause")
	return v
}

// pause stops for ever when the kernel's command line says hearth.pause=<name>: the laboratory sees the line and
// pulls the plug.
func pause(name string) {
	if wanted() != name {
		return
	}
	log.Printf("hearth.pause: %s", name)
	select {}
}

// pauseLater says the line and lets the work go on, so that the plug is pulled in its midst.
func pauseLater(name string) {
	if wanted() == name {
		log.Printf("hearth.pause: %s", name)
		time.Sleep(20 * time.Millisecond)
	}
}

// tear writes only the second sector of the first page, the header, as a card may that loses power in mid-write; the
// entries stay old, so the primary's checksum is wrong.
func tear(d device, primary []byte) {
	if wanted() != "grow.torn" {
		return
	}
	d.WriteAt(primary[disk.SectorSize:2*disk.SectorSize], disk.SectorSize) //nolint:errcheck // a test's damage
	d.Sync()                                                               //nolint:errcheck
	pause("grow.torn")
}
