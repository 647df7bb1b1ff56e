package boards_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hearth.alt/boards"
	"hearth.alt/boards/disk"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); boxes in the world have the old one:\n%s", path, diff)
	}
}

// Every box ever flashed has this layout, and finds its way by it. A change here strands them.
func TestLayoutIsPinned(t *testing.T) {
	for _, b := range boards.All() {
		t.Run(b.Name, func(t *testing.T) {
			var s strings.Builder
			fmt.Fprintf(&s, "image %d bytes\n", b.ImageSize())
			if b.Method == boards.UEFI {
				g := b.GPT(uint64(b.ImageSize() / disk.SectorSize))
				fmt.Fprintf(&s, "GPT %s\n", g.Disk)
				for i, e := range g.Entries {
					if !e.Type.IsZero() {
						fmt.Fprintf(&s, "%d  %8d %8d  %s  %s  %s\n", i+1, e.First, e.Last, e.Type, e.ID, e.Name)
					}
				}
			} else {
				m := b.MBR()
				fmt.Fprintf(&s, "MBR %08x\n", m.Signature)
				for i, e := range m.Entries {
					fmt.Fprintf(&s, "%d  %8d %8d  %02x\n", i+1, e.First, e.Sectors, e.Type)
				}
			}
			st := b.Table.State()
			fmt.Fprintf(&s, "state at %d, %d bytes\n", st.Offset, st.Size)
			for _, slot := range boards.Slots() {
				fmt.Fprintf(&s, "\n--- %s, slot %s committed (%d bytes)\n%s\n", b.CommitFile(), slot, len(b.CommitBlock(slot)),
					bytes.TrimRight(b.CommitBlock(slot), "\n"))
				if b.Method == boards.UEFI {
					fmt.Fprintf(&s, "--- loader/entries/%s.conf (%d bytes)\n%s\n", slot, len(b.Entry(slot, "")), bytes.TrimRight(b.Entry(slot, ""), "\n"))
				} else {
					fmt.Fprintf(&s, "--- cmdline-%s.txt\n%s\n", slot, b.Cmdline(slot))
				}
			}
			if b.Method == boards.Pi {
				fmt.Fprintf(&s, "--- cmdline.txt\n%s\n--- config.txt\n%s", b.Cmdline(""), b.ConfigTxt())
			}
			golden(t, b.Name+".txt", s.String())
		})
	}
}

func TestTablesMakeSense(t *testing.T) {
	for _, b := range boards.All() {
		t.Run(b.Name, func(t *testing.T) {
			end := boards.MiB
			var last boards.Partition
			seen := map[int]bool{}
			for _, p := range b.Table.Parts {
				if p.Offset < end {
					t.Errorf("%s begins at %d, inside what ends at %d", p.Name, p.Offset, end)
				}
				if p.Offset%boards.MiB != 0 || p.Size%boards.MiB != 0 || seen[p.Number] && p.Number > 0 {
					t.Errorf("%s: number %d, offset %d, size %d", p.Name, p.Number, p.Offset, p.Size)
				}
				seen[p.Number] = true
				end, last = p.End(), p
			}
			if last.Kind != boards.KindPerm || last.Number != boards.PermNumber {
				t.Errorf("%s is last, so /perm cannot grow", last.Name)
			}
			for _, s := range boards.Slots() {
				if p := b.Table.Part(s.Number()); p.Slot != s {
					t.Errorf("partition %d holds slot %q, want %q", s.Number(), p.Slot, s)
				}
			}
			if st := b.Table.State(); st.Size < 8*boards.MiB {
				t.Errorf("the state has %d bytes; its two records want to lie 4 MiB apart", st.Size)
			}
			if b.Method == boards.UEFI && 2*b.KernelSpace > b.Table.Part(1).Size-8*boards.MiB {
				t.Error("two kernels do not fit on the ESP")
			}
		})
	}
}

// What gokrazy's own search for the root takes, or else panics (facts/abboot.md 5.2).
func TestCommandLinesSuitGokrazy(t *testing.T) {
	form := regexp.MustCompile(`root=(PARTUUID=[0-9a-fA-F]{8}-0[23]|PARTUUID=[0-9a-fA-F-]{36}/PARTNROFF=[12]) `)
	for _, b := range boards.All() {
		for _, s := range []boards.Slot{"", boards.SlotA, boards.SlotB} {
			line := b.Cmdline(s)
			if !form.MatchString(line) {
				t.Errorf("%s, slot %q: %s", b.Name, s, line)
			}
			if len(line) > 1000 || strings.ContainsAny(line, "\n\"") {
				t.Errorf("%s: command line of %d bytes", b.Name, len(line))
			}
			for _, want := range []string{"panic=10", "oops=panic", "rootwait=20"} {
				if !strings.Contains(line, want) {
					t.Errorf("%s: no %s in %s", b.Name, want, line)
				}
			}
			if uefi := strings.Contains(line, " gpt ") && strings.Contains(line, "efi_pstore.pstore_disable=1"); uefi != (b.Method == boards.UEFI) {
				t.Errorf("%s: %s", b.Name, line)
			}
		}
	}
}

// The firmware reads at most 512 bytes of autoboot.txt and knows few words in it.
func TestAutoboot(t *testing.T) {
	b, err := boards.Find("rpi")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range boards.Slots() {
		text := b.CommitBlock(s)
		if len(text) != 512 {
			t.Errorf("autoboot.txt has %d bytes", len(text))
		}
		want := fmt.Sprintf("[all]\ntryboot_a_b=1\nboot_partition=%d\n[tryboot]\nboot_partition=%d\n", s.Number(), s.Other().Number())
		if got := strings.TrimRight(string(text), "\n") + "\n"; got != want {
			t.Errorf("got %q", got)
		}
	}
}

func TestFind(t *testing.T) {
	for _, b := range boards.All() {
		if got, err := boards.Find(b.Name); err != nil || got != b {
			t.Errorf("Find(%q) = %v, %v", b.Name, got, err)
		}
		var got *boards.Board
		var ok bool
		if b.Method == boards.UEFI {
			got, ok = boards.FindByDisk(b.GPT(1<<22), nil)
		} else {
			got, ok = boards.FindByDisk(nil, b.MBR())
		}
		if !ok || got != b {
			t.Errorf("%s is not found by its disk", b.Name)
		}
	}
	if _, err := boards.Find("toaster"); err == nil || !strings.Contains(err.Error(), "rpi") {
		t.Errorf("the error names no board to choose: %v", err)
	}
	if _, ok := boards.FindByDisk(&disk.GPT{}, nil); ok {
		t.Error("a stranger's disk was taken for ours")
	}
}

func TestClaimFile(t *testing.T) {
	for name, b := range map[string][]byte{"blank": boards.ClaimBlank(), "done": boards.ClaimDone()} {
		if int64(len(b)) != boards.ConfigBlock || boards.IsClaimDone(b) != (name == "done") {
			t.Errorf("%s: %d bytes, done %v", name, len(b), boards.IsClaimDone(b))
		}
	}
	if _, err := boards.ClaimSheet(strings.Repeat("x", 4097)); err == nil {
		t.Error("a sheet that does not fit was taken")
	}
}

func TestREADMEIsFresh(t *testing.T) {
	got, err := os.ReadFile("README.md")
	if err != nil || string(got) != boards.README() {
		t.Errorf("README.md is stale, run: go generate ./boards (%v)", err)
	}
}
