package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth.alt/boards/disk"
)

// memory is a disk in memory.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(m)) {
		return 0, io.EOF
	}
	n := copy(p, m[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	return copy(m[off:], p), nil
}

const sectors = 8192

func table() *disk.GPT {
	g := &disk.GPT{Disk: disk.MustGUID("11111111-2222-3333-4444-555555555500"), Sectors: sectors}
	g.Entries[0] = disk.Entry{Type: disk.TypeESP, ID: disk.MustGUID("11111111-2222-3333-4444-555555555501"), First: 2048, Last: 4095, Name: "first, ä"}
	g.Entries[3] = disk.Entry{Type: disk.TypeLinux, ID: disk.MustGUID("11111111-2222-3333-4444-555555555504"), First: 4096, Last: 6143, Name: "fourth"}
	return g
}

func written(g *disk.GPT, size uint64) memory {
	m := make(memory, size*disk.SectorSize)
	m.WriteAt(g.Primary(), 0)
	m.WriteAt(g.Backup(), int64(g.Sectors-disk.GPTReserve)*disk.SectorSize)
	return m
}

func TestGUIDText(t *testing.T) {
	const s = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	g, err := disk.ParseGUID(strings.ToUpper(s))
	if err != nil || g.String() != s {
		t.Errorf("got %s, %v", g, err)
	}
	// The first bytes on the disk, from the UEFI specification's own ESP.
	if !bytes.Equal(g[:4], []byte{0x28, 0x73, 0x2a, 0xc1}) {
		t.Errorf("on the disk it is % x", g[:])
	}
	for _, bad := range []string{"", s[1:], s + "0", "c12a7328f81f-11d2-ba4b-00a0c93ec93b-", "g12a7328-f81f-11d2-ba4b-00a0c93ec93b"} {
		if _, err := disk.ParseGUID(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestGPTIsReadBack(t *testing.T) {
	g := table()
	got, state, err := disk.ReadGPT(written(g, sectors), sectors)
	if err != nil || *got != *g || !state.Primary || !state.Backup || state.BackupAt != sectors-1 {
		t.Errorf("got %+v, %+v, %v", got, state, err)
	}
}

func TestGPTSurvivesOneBadCopy(t *testing.T) {
	const larger = 4 * sectors
	for _, tt := range []struct {
		name    string
		size    uint64
		hurt    func(memory)
		primary bool
		backup  bool
		at      disk.LBA
	}{
		{"header bit", sectors, func(m memory) { m[512+40] ^= 1 }, false, true, sectors - 1},
		{"entries torn", sectors, func(m memory) { m[1024+200] ^= 1 }, false, true, sectors - 1},
		{"first page zero", sectors, func(m memory) { clear(m[:4096]) }, false, true, sectors - 1},
		{"backup gone", sectors, func(m memory) { clear(m[len(m)-512:]) }, true, false, 0},
		{"larger card", larger, func(memory) {}, true, true, sectors - 1},
		{"larger card, primary gone", larger, func(m memory) { clear(m[:4096]) }, false, true, sectors - 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := written(table(), tt.size)
			tt.hurt(m)
			got, state, err := disk.ReadGPT(m, tt.size, sectors-1)
			if err != nil || *got != *table() {
				t.Fatalf("got %+v, %v", got, err)
			}
			if state.Primary != tt.primary || state.Backup != tt.backup || tt.backup && state.BackupAt != tt.at {
				t.Errorf("state %+v", state)
			}
		})
	}
	m := written(table(), sectors)
	clear(m[:4096])
	clear(m[len(m)-512:])
	if _, _, err := disk.ReadGPT(m, sectors); !errors.Is(err, disk.ErrNoGPT) {
		t.Errorf("two bad copies: %v", err)
	}
}

func TestGPTGrow(t *testing.T) {
	const n = 1_000_003
	got, err := table().Grow(4, n)
	if err != nil {
		t.Fatal(err)
	}
	e := got.Entries[3]
	if e.First != 4096 || e.Last >= n-33 || (e.Last+1)%8 != 0 || n-33-e.Last > 8 {
		t.Errorf("grown to %d to %d of %d", e.First, e.Last, n)
	}
	if again, err := got.Grow(4, n); err != nil || *again != *got {
		t.Errorf("growing twice changes it: %v", err)
	}
	if _, err := table().Grow(1, n); err == nil {
		t.Error("a partition with another behind it was grown")
	}
	if _, err := table().Grow(2, n); err == nil {
		t.Error("a partition that is not there was grown")
	}
	if _, err := table().Grow(4, sectors-1); err == nil {
		t.Error("a disk that shrank was accepted")
	}
}

func TestMBR(t *testing.T) {
	m := &disk.MBR{Signature: 0xdeadbeef}
	m.Entries[0] = disk.MBREntry{Type: 0x0e, Active: true, First: 8, Sectors: 100}
	m.Entries[3] = disk.MBREntry{Type: 0x83, First: 108, Sectors: 50}
	got, err := disk.ParseMBR(m.Sector(), 1000)
	if err != nil || *got != *m {
		t.Fatalf("got %+v, %v", got, err)
	}
	grown, err := got.Grow(4, 1003)
	if err != nil || grown.Entries[3].First != 108 || grown.Entries[3].Sectors != 1000-108 {
		t.Errorf("grown to %+v, %v", grown, err)
	}
	if big, err := got.Grow(4, 1<<40); err != nil || uint64(big.Entries[3].First)+uint64(big.Entries[3].Sectors) > 1<<32 {
		t.Errorf("grown past 2 TiB: %+v, %v", big, err)
	}
	if _, err := got.Grow(1, 1003); err == nil {
		t.Error("a partition with another behind it was grown")
	}
	bad := *m
	bad.Entries[1] = disk.MBREntry{Type: 0x0c, First: 50, Sectors: 10}
	for name, sector := range map[string][]byte{"overlap": bad.Sector(), "short": m.Sector()[:511], "empty": make([]byte, 512)} {
		if _, err := disk.ParseMBR(sector, 1000); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, err := disk.ParseMBR(m.Sector(), 157); err == nil {
		t.Error("a partition outside the disk was accepted")
	}
}

type wantFile struct {
	path    string
	content []byte
	size    int64
	align   int64
}

func files() []wantFile {
	r := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	out := []wantFile{
		{"EFI/BOOT/BOOTAA64.EFI", random(10_001), 10_001, 0},
		{"loader/loader.conf", []byte("default a\n"), 4096, 64 << 10},
		{"loader/entries/a.conf", random(700), 700, 0},
		{"empty.txt", nil, 0, 0},
		{"a/vmlinuz", random(3 << 20), 4 << 20, 1 << 20},
		{"A long name with ä and spaces.txt", random(5000), 5000, 0},
		{"another long name of thirteen!", random(1), 1, 0},
		{"hearth-claim.txt", nil, 4096, 64 << 10},
	}
	for i := range 400 { // a folder of several clusters
		out = append(out, wantFile{fmt.Sprintf("overlays/overlay-number-%03d.dtbo", i), random(i), int64(i), 0})
	}
	return out
}

func asFATFiles(in []wantFile) []disk.FATFile {
	var out []disk.FATFile
	for _, f := range in {
		out = append(out, disk.FATFile{Path: f.path, Size: f.size, Align: f.align, Content: bytes.NewReader(f.content)})
	}
	return out
}

func TestFAT(t *testing.T) {
	for _, cfg := range []disk.FATConfig{
		{Bits: 32, Offset: 1 << 20, Size: 288 << 20, Label: "HEARTH", Serial: 7},
		{Bits: 32, Offset: 84 << 20, Size: 384 << 20, Label: "SLOT-A"},
		{Bits: 16, Offset: 4 << 20, Size: 64 << 20, Label: "HEARTH", Serial: 1},
	} {
		t.Run(fmt.Sprintf("FAT%d of %d MiB", cfg.Bits, cfg.Size>>20), func(t *testing.T) {
			cfg.Time = time.Date(2026, 11, 21, 12, 34, 56, 0, time.UTC)
			path := filepath.Join(t.TempDir(), "disk")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Truncate(cfg.Offset + cfg.Size); err != nil {
				t.Fatal(err)
			}
			want := files()
			if err := disk.WriteFAT(f, cfg, asFATFiles(want)); err != nil {
				t.Fatal(err)
			}
			fat, err := disk.OpenFAT(f, cfg.Offset, cfg.Size)
			if err != nil {
				t.Fatal(err)
			}
			taken := map[int64]string{} // 64 KiB block -> file alone in it
			for _, w := range want {
				e, ext, err := fat.Stat(strings.ToUpper(w.path))
				if err != nil {
					t.Fatal(err)
				}
				got, err := fat.ReadFile(w.path, 8<<20)
				if err != nil {
					t.Fatal(err)
				}
				if e.Size != w.size || !bytes.Equal(got, append(bytes.Clone(w.content), make([]byte, int(w.size)-len(w.content))...)) {
					t.Errorf("%s: %d bytes differ from the %d written", w.path, len(got), w.size)
				}
				if len(ext) > 1 || w.align > 0 && ext[0].Offset%w.align != 0 {
					t.Errorf("%s lies in %+v, want one run at a multiple of %d", w.path, ext, w.align)
				}
				for _, x := range ext {
					for b := x.Offset >> 16; b <= (x.Offset+x.Length-1)>>16; b++ {
						if o := taken[b]; w.align >= 64<<10 && o != "" || strings.HasSuffix(o, "!") {
							t.Errorf("%s shares 64 KiB with %s", w.path, o)
						}
						taken[b] = w.path
						if w.align >= 64<<10 {
							taken[b] += "!"
						}
					}
				}
			}
			if _, err := fat.ReadFile("loader/none", 1); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a missing file: %v", err)
			}
			if list, err := fat.ReadDir("overlays"); err != nil || len(list) != 400 {
				t.Errorf("overlays holds %d names, %v", len(list), err)
			}
			others(t, path, cfg)
		})
	}
}

// others asks programs that nobody here wrote: dosfstools and mtools.
func others(t *testing.T, path string, cfg disk.FATConfig) {
	part := path + ".part"
	if out, err := exec.Command("dd", "if="+path, "of="+part, "bs=1M", fmt.Sprintf("skip=%d", cfg.Offset>>20), "conv=sparse", "status=none").CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	if _, err := exec.LookPath("fsck.vfat"); err != nil {
		t.Skip("fsck.vfat is not installed: apt-get install dosfstools mtools")
	}
	if out, err := exec.Command("fsck.vfat", "-n", "-v", part).CombinedOutput(); err != nil {
		t.Errorf("fsck.vfat: %v\n%s", err, out)
	}
	out, err := exec.Command("mtype", "-i", part, "::/loader/loader.conf").Output()
	if err != nil || !bytes.HasPrefix(out, []byte("default a\n")) {
		t.Errorf("mtype: %v %q", err, out)
	}
}

func TestFATRefuses(t *testing.T) {
	cfg := disk.FATConfig{Bits: 16, Offset: 4 << 20, Size: 64 << 20, Label: "X", Time: time.Unix(1795219200, 0)}
	for name, list := range map[string][]disk.FATFile{
		"too long":       {{Path: "a", Size: 3, Content: strings.NewReader("four")}},
		"too much":       {{Path: "a", Size: 65 << 20, Content: strings.NewReader("")}},
		"twice":          {{Path: "a", Content: strings.NewReader("")}, {Path: "A", Content: strings.NewReader("")}},
		"file as folder": {{Path: "a", Content: strings.NewReader("")}, {Path: "a/b", Content: strings.NewReader("")}},
		"bad name":       {{Path: "a:b", Content: strings.NewReader("")}},
	} {
		if err := disk.WriteFAT(make(memory, 68<<20), cfg, list); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	small := cfg
	small.Bits = 32
	if err := disk.WriteFAT(make(memory, 68<<20), small, nil); err == nil {
		t.Error("a FAT32 of 64 MiB, which by its clusters is FAT16, was made")
	}
}

func FuzzOpenFAT(f *testing.F) {
	m := make(memory, 68<<20)
	cfg := disk.FATConfig{Bits: 16, Offset: 0, Size: 68 << 20, Label: "X", Time: time.Unix(1795219200, 0)}
	if err := disk.WriteFAT(m, cfg, asFATFiles(files()[:4])); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(m[:512]), []byte(m[1<<20:1<<20+4096]), uint32(0))
	f.Fuzz(func(_ *testing.T, head, data []byte, at uint32) {
		d := sparse{head, data, int64(at)}
		fat, err := disk.OpenFAT(d, 0, 1<<40)
		if err != nil {
			return
		}
		list, err := fat.ReadDir("")
		if err != nil {
			return
		}
		for i, e := range list {
			if i == 20 {
				break
			}
			fat.ReadFile(e.Name, 1<<16) //nolint:errcheck // only that it ends
			fat.ReadDir(e.Name)         //nolint:errcheck
		}
	})
}

// sparse is a disk with something at the start and something elsewhere, and that something again every 64 KiB.
type sparse struct {
	head, data []byte
	at         int64
}

func (s sparse) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(s.head)) {
		copy(p, s.head[off:])
		return len(p), nil
	}
	if len(s.data) > 0 {
		for i := range p {
			p[i] = s.data[(off+int64(i)+s.at)%65536%int64(len(s.data))]
		}
	}
	return len(p), nil
}

func FuzzReadTables(f *testing.F) {
	m := written(table(), sectors)
	f.Add([]byte(m[:34*512]), []byte(m[len(m)-33*512:]))
	f.Fuzz(func(t *testing.T, head, tail []byte) {
		m := make(memory, sectors*disk.SectorSize)
		copy(m, head)
		if len(tail) <= 33*512 {
			copy(m[len(m)-len(tail):], tail)
		}
		if g, _, err := disk.ReadGPT(m, sectors, 4000); err == nil {
			again, _, err := disk.ReadGPT(written(g, sectors), sectors)
			if g.Sectors == sectors && (err != nil || *again != *g) {
				t.Errorf("not read back: %v\n%+v\n%+v", err, again, g)
			}
			g.Grow(4, sectors) //nolint:errcheck // only that it ends
		}
		if b, err := disk.ReadMBR(m, sectors); err == nil {
			again, err := disk.ParseMBR(b.Sector(), sectors)
			if err != nil {
				t.Error(err)
			}
			for i := range b.Entries {
				again.Entries[i].Active = b.Entries[i].Active
			}
			if *again != *b {
				t.Errorf("not read back: %+v %+v", again, b)
			}
		}
	})
}
