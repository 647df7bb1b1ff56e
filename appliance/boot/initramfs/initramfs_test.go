package initramfs_test

import (
	"testing"

	"hearth.alt/appliance/boot/initramfs"
	"hearth.alt/boards"
)

// Every command line the image carries is understood, and leads to the disk and slot it was made for.
func TestParseOfTheBoardsLines(t *testing.T) {
	b, err := boards.Find("rpi")
	if err != nil {
		t.Fatal(err)
	}
	for slot, want := range map[boards.Slot]string{"": "a", boards.SlotA: "a", boards.SlotB: "b"} {
		signature, got, err := initramfs.Parse(b.Cmdline(slot))
		if err != nil || signature != b.Table.Signature || got != want {
			t.Errorf("slot %q: signature %x, slot %q, %v", slot, signature, got, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, line := range []string{"", "root=/dev/sda2", "root=PARTUUID=xyz-02", "root=PARTUUID=1234-02",
		"root=PARTUUID=1d7f4a52-6f0c-4f5e-9a61-7c9a0b3e6401x/PARTNROFF=1 root=PARTUUID=-"} {
		if _, _, err := initramfs.Parse(line); err == nil {
			t.Errorf("%q was accepted", line)
		}
	}
	if _, slot, err := initramfs.Parse("root=PARTUUID=48e4a271-03 hearth.slot=../x"); err != nil || slot != "a" {
		t.Errorf("a slot that is none: %q, %v", slot, err)
	}
}

func TestSlotOfPartition(t *testing.T) {
	for in, want := range map[string]string{"\x00\x00\x00\x02": "a", "\x00\x00\x00\x03": "b", "\x00\x00\x00\x01": "", "\x02": "", "": "",
		"\x02\x00\x00\x00": ""} {
		if got, ok := initramfs.SlotOfPartition([]byte(in)); got != want || ok != (want != "") {
			t.Errorf("%x: %q, %v", in, got, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("console=tty1 root=PARTUUID=48e4a271-02 hearth.slot=b")
	f.Fuzz(func(t *testing.T, line string) {
		if _, slot, err := initramfs.Parse(line); err == nil && slot != "a" && slot != "b" {
			t.Errorf("slot %q", slot)
		}
	})
}
