package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth.alt/appliance/textqr"
	"hearth.alt/boards"
	"hearth.alt/boards/disk"
	"hearth.alt/services/claimcode"
)

// card is a disk in memory that holds the pages written to it and remembers each write and each sync.
type card struct {
	size  int64
	pages map[int64][]byte
	log   []step
	fail  error // what WriteAt returns, when set
}

type step struct {
	at   int64
	data []byte // nil is a sync
}

func newCard(size int64) *card { return &card{size: size, pages: map[int64][]byte{}} }

func (c *card) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		at := off + int64(i)
		if at >= c.size {
			return i, io.EOF
		}
		if page := c.pages[at>>12]; page != nil {
			p[i] = page[at&4095]
		} else {
			p[i] = 0
		}
	}
	return len(p), nil
}

func (c *card) put(p []byte, off int64) {
	for i, b := range p {
		at := off + int64(i)
		if c.pages[at>>12] == nil {
			c.pages[at>>12] = make([]byte, 4096)
		}
		c.pages[at>>12][at&4095] = b
	}
}

func (c *card) WriteAt(p []byte, off int64) (int, error) {
	if c.fail != nil {
		return 0, c.fail
	}
	if off < 0 || off+int64(len(p)) > c.size {
		return 0, fmt.Errorf("write of %d bytes at %d of %d", len(p), off, c.size)
	}
	c.put(p, off)
	c.log = append(c.log, step{off, bytes.Clone(p)})
	return len(p), nil
}

func (c *card) Sync() error {
	c.log = append(c.log, step{})
	return nil
}

func (c *card) clone() *card {
	out := newCard(c.size)
	for n, p := range c.pages {
		out.pages[n] = bytes.Clone(p)
	}
	return out
}

// flashed is a card of size bytes onto which the board's image was copied.
func flashed(t *testing.T, name string, size int64) (*card, *boards.Board) {
	t.Helper()
	b, err := boards.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	c := newCard(size)
	n := uint64(b.ImageSize() / disk.SectorSize)
	if b.Method == boards.UEFI {
		g := b.GPT(n)
		c.put(g.Primary(), 0)
		c.put(g.Backup(), int64(n-disk.GPTReserve)*disk.SectorSize)
	} else {
		c.put(b.MBR().Sector(), 0)
	}
	return c, b
}

const large = 8 << 30

func TestGrowTable(t *testing.T) {
	for _, b := range boards.All() {
		t.Run(b.Name, func(t *testing.T) {
			c, _ := flashed(t, b.Name, large)
			g, err := growTable(c, large/512)
			if err != nil {
				t.Fatal(err)
			}
			p := b.Table.Part(boards.PermNumber)
			if g.From != uint64(p.Size/512) || int64(g.To)*512 < large-p.Offset-64<<10 || int64(g.part.First)*512 != p.Offset {
				t.Errorf("grown %+v", g)
			}
			c.log = nil
			again, err := growTable(c, large/512)
			if err != nil || again.From != g.To || again.To != g.To || again.Repaired || len(c.log) > 0 {
				t.Errorf("the second time: %+v, %v, %d writes", again, err, len(c.log))
			}
			gpt, mbr, _, err := readTables(c, large/512)
			if err != nil {
				t.Fatal(err)
			}
			if found, ok := boards.FindByDisk(gpt, mbr); !ok || found != b {
				t.Error("after growing the board is not known any more")
			}
		})
	}
}

// The plug is pulled anywhere: after any write, with any part of the unsynced ones lost, the last one torn between
// sectors. What is left must be readable by firmware or kernel, and the next boot must finish.
func TestGrowTableSurvivesAnyCut(t *testing.T) {
	for _, name := range []string{"arm64", "rpi"} {
		t.Run(name, func(t *testing.T) {
			before, b := flashed(t, name, large)
			c := before.clone()
			want, err := growTable(c, large/512)
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(5, 6))
			for round := range 600 {
				cut := r.IntN(len(c.log) + 1)
				left := before.clone()
				synced := 0
				for i, s := range c.log[:cut] {
					if s.data == nil {
						synced = i
					}
				}
				for i, s := range c.log[:cut] {
					switch {
					case s.data == nil:
					case i < synced || r.IntN(2) == 0:
						left.put(s.data, s.at)
					default: // torn: any of its sectors
						for at := 0; at < len(s.data); at += 512 {
							if r.IntN(2) == 0 {
								left.put(s.data[at:at+512], s.at+int64(at))
							}
						}
					}
				}
				gpt, mbr, state, err := readTables(left, large/512)
				if err != nil {
					t.Fatalf("round %d, cut after %d steps: %v", round, cut, err)
				}
				if found, ok := boards.FindByDisk(gpt, mbr); !ok || found != b {
					t.Fatalf("round %d: the board is not known any more", round)
				}
				// A kernel looks for the backup only at the last sector.
				if gpt != nil && !state.Primary && state.BackupAt != large/512-1 {
					t.Fatalf("round %d: the primary is torn and the backup is not where the kernel looks: %+v", round, state)
				}
				left.log = nil
				got, err := growTable(left, large/512)
				if err != nil || got.part != want.part {
					t.Fatalf("round %d: the next boot made %+v, want %+v, %v", round, got.part, want.part, err)
				}
				if again, err := growTable(left, large/512); err != nil || again.Repaired || again.From != again.To {
					t.Fatalf("round %d: the boot after that still repairs: %+v, %v", round, again, err)
				}
			}
		})
	}
}

func TestGrowTableRefuses(t *testing.T) {
	c, b := flashed(t, "arm64", large)
	c.put(make([]byte, 4096), 0)
	c.put(make([]byte, 4096), b.ImageSize()-4096)
	if _, err := growTable(c, large/512); err == nil || len(c.log) > 0 {
		t.Errorf("a disk without a table: %v, %d writes", err, len(c.log))
	}
	// A protective MBR whose GPT is gone is not an MBR to grow.
	c, _ = flashed(t, "arm64", large)
	c.put(make([]byte, 1024), 512)
	c.put(make([]byte, 4096), b.ImageSize()-4096)
	if _, err := growTable(c, large/512); err == nil || !strings.Contains(err.Error(), "both copies") {
		t.Errorf("got %v", err)
	}
}

// fsck plays e2fsck: it answers with the statuses it was given.
type fsck struct {
	t        *testing.T
	statuses []int
	asked    []string
}

func (f *fsck) run(_ context.Context, args ...string) (int, string, error) {
	f.asked = append(f.asked, strings.Join(args, " "))
	if len(f.statuses) == 0 {
		f.t.Fatalf("asked once too often: %v", f.asked)
	}
	s := f.statuses[0]
	f.statuses = f.statuses[1:]
	if s < 0 {
		return 0, "", errors.New("killed")
	}
	return s, fmt.Sprintf("said %d", s), nil
}

// The statuses are those seen in facts/gokrazy2.md 3.
func TestCheckPerm(t *testing.T) {
	for _, tt := range []struct {
		name     string
		statuses []int
		want     PermState
		asked    []string
	}{
		{"clean", []int{0}, PermClean, []string{"-p"}},
		{"journal replayed or repaired", []int{1}, PermRepaired, []string{"-p"}},
		{"says reboot", []int{3}, PermRepaired, []string{"-p"}},
		{"superblock gone", []int{8, 12, 1}, PermRepaired, []string{"-p", "-y", "-f -y"}},
		{"needs a person, then clean", []int{4, 1, 0}, PermRepaired, []string{"-p", "-y", "-f -y"}},
		{"at the second try", []int{4, 4, 4, 1, 1}, PermRepaired, []string{"-p", "-y", "-f -y", "-y", "-f -y"}},
		{"never", []int{8, 8, 8, 8, 8, 8, 8}, PermDamaged, []string{"-p", "-y", "-f -y", "-y", "-f -y", "-y", "-f -y"}},
		{"the check is killed", []int{-1, -1, -1}, PermDamaged, []string{"-p", "-y", "-f -y"}},
		{"only the quick check is killed", []int{-1, 1, 1}, PermRepaired, []string{"-p", "-y", "-f -y"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fsck{t: t, statuses: tt.statuses}
			if got, _ := checkPerm(t.Context(), f.run); got != tt.want || !slices.Equal(f.asked, tt.asked) {
				t.Errorf("got %s after %q, want %s after %q", got, f.asked, tt.want, tt.asked)
			}
		})
	}
}

// The real program on a real file system: the damages that a boot must survive.
func TestCheckPermWithE2fsck(t *testing.T) {
	for _, p := range []string{"mkfs.ext4", "e2fsck"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed: apt-get install e2fsprogs && go test ./appliance/boot", p)
		}
	}
	run := func(path string) runner {
		return func(_ context.Context, args ...string) (int, string, error) {
			out, err := exec.Command("e2fsck", append(args, path)...).CombinedOutput()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				return 0, "", err
			}
			return exitCode(exit), string(out), nil
		}
	}
	for _, tt := range []struct {
		name string
		at   int64
		n    int
		want PermState
	}{
		{"nothing", 0, 0, PermClean},
		{"superblock", 1024, 1024, PermRepaired},
		{"superblock and group descriptors", 1024, 16384, PermRepaired},
		{"everything", 0, 256 << 20, PermDamaged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fs")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Truncate(256 << 20); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("mkfs.ext4", "-q", "-b", "4096", path).CombinedOutput(); err != nil {
				t.Fatal(err, string(out))
			}
			if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, tt.n), tt.at); err != nil {
				t.Fatal(err)
			}
			if got, said := checkPerm(t.Context(), run(path)); got != tt.want {
				t.Errorf("got %s, want %s: %s", got, tt.want, said)
			}
		})
	}
}

func exitCode(e *exec.ExitError) int {
	if e == nil {
		return 0
	}
	return e.ExitCode()
}

// withClaimFile is a card with a boot partition that holds the claim file.
func withClaimFile(t *testing.T, content []byte) (*card, *boards.Board) {
	t.Helper()
	c, b := flashed(t, "rpi", large)
	p := b.Table.Part(boards.BootNumber)
	err := disk.WriteFAT(c, disk.FATConfig{Bits: 16, Offset: p.Offset, Size: p.Size, Label: "HEARTH", Time: time.Unix(1795219200, 0)},
		[]disk.FATFile{{Path: boards.ClaimFile, Size: int64(len(content)), Align: boards.ConfigAlign, Content: bytes.NewReader(content)}})
	if err != nil {
		t.Fatal(err)
	}
	c.log = nil
	return c, b
}

func sheetOf(t *testing.T, code claimcode.Code) []byte {
	t.Helper()
	s, err := code.Sheet("")
	if err != nil {
		t.Fatal(err)
	}
	b, err := boards.ClaimSheet(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEnsureCode(t *testing.T) {
	code := claimcode.New()
	sheet := sheetOf(t, code)
	t.Run("from the flashed card", func(t *testing.T) {
		c, b := withClaimFile(t, sheet)
		if got, err := ensureCode(c, b, false); err != nil || !got.Equal(code) || len(c.log) > 0 {
			t.Errorf("%v, %d writes", err, len(c.log))
		}
	})
	t.Run("made at first boot, kept at the second", func(t *testing.T) {
		c, b := withClaimFile(t, boards.ClaimBlank())
		first, err := ensureCode(c, b, false)
		if err != nil || first.IsZero() {
			t.Fatal(err)
		}
		if len(c.log) != 2 || int64(len(c.log[0].data)) != boards.ConfigBlock || c.log[0].at%boards.ConfigAlign != 0 {
			t.Errorf("written: %d steps", len(c.log))
		}
		if again, err := ensureCode(c, b, false); err != nil || !again.Equal(first) {
			t.Errorf("the second boot has another code (%v)", err)
		}
	})
	t.Run("torn while it was written", func(t *testing.T) {
		c, b := withClaimFile(t, boards.ClaimBlank())
		if _, err := ensureCode(c, b, false); err != nil {
			t.Fatal(err)
		}
		c.put(bytes.Repeat([]byte{0xff}, 512), c.log[0].at)
		if got, err := ensureCode(c, b, false); err != nil || got.IsZero() {
			t.Errorf("after a torn write: %v", err)
		}
	})
	t.Run("an owned box has none", func(t *testing.T) {
		c, b := withClaimFile(t, boards.ClaimDone())
		if got, err := ensureCode(c, b, true); err != nil || !got.IsZero() || len(c.log) > 0 {
			t.Errorf("%v, %d writes", err, len(c.log))
		}
	})
	t.Run("a cut between claim and erasing is finished", func(t *testing.T) {
		c, b := withClaimFile(t, sheet)
		if got, err := ensureCode(c, b, true); err != nil || !got.IsZero() {
			t.Error(err)
		}
		if got, done := readCode(c, b); !got.IsZero() || !done {
			t.Error("the code is still on the card")
		}
	})
	t.Run("a new /perm behind an erased code", func(t *testing.T) {
		c, b := withClaimFile(t, boards.ClaimDone())
		if got, err := ensureCode(c, b, false); err != nil || got.IsZero() || got.Equal(code) {
			t.Errorf("no new code: %v", err)
		}
	})
	t.Run("saved anew by an editor", func(t *testing.T) {
		text := "\ufeff" + strings.ReplaceAll(strings.TrimSpace(string(sheet)), "\n", "\r\n")
		c, b := withClaimFile(t, []byte(text))
		if got, err := ensureCode(c, b, false); err != nil || !got.Equal(code) {
			t.Errorf("the code was not read: %v", err)
		}
		if _, err := ensureCode(c, b, true); err != nil {
			t.Errorf("erasing what cannot be written in place: %v", err)
		}
	})
	for name, content := range map[string][]byte{"deleted": nil, "too short": []byte("x")} {
		t.Run(name, func(t *testing.T) {
			c, b := withClaimFile(t, content)
			if got, err := ensureCode(c, b, false); !errors.Is(err, ErrNoClaimFile) || got.IsZero() {
				t.Errorf("want a code that lives until the power goes, got %v", err)
			}
		})
	}
	t.Run("a card that takes no writes", func(t *testing.T) {
		c, b := withClaimFile(t, boards.ClaimBlank())
		c.fail = errors.New("read-only")
		if got, err := ensureCode(c, b, false); err == nil || got.IsZero() {
			t.Errorf("want a code and an error, got %v", err)
		}
	})
}

func TestPublish(t *testing.T) {
	dir, code := t.TempDir(), claimcode.New()
	if err := publish(dir, code); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "claim")
	b, err := os.ReadFile(path)
	st, _ := os.Stat(path)
	if err != nil || string(b) != code.Text() || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	if err := publish(dir, claimcode.Code{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the code of an owned box is still there")
	}
}

func TestScreen(t *testing.T) {
	code, err := claimcode.Parse("7QK4-M2VX-9TRD-HC6P")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddr("192.168.178.20")
	for name, tt := range map[string]struct {
		v    View
		want []string
		not  []string
	}{
		"no address yet": {View{Name: "hearth", Code: code}, []string{"Waiting for an address", "7QK4-M2VX-9TRD-HC6P", "█"}, []string{".local"}},
		"unclaimed":      {View{"hearth", []netip.Addr{addr}, code, ""}, append(code.Words(), "http://hearth.local/", "http://192.168.178.20/", "█"), nil},
		"claimed":        {View{"attic", []netip.Addr{addr}, claimcode.Code{}, ""}, []string{"http://attic.local/"}, []string{"claim", "█"}},
		"damaged": {View{"hearth", []netip.Addr{netip.MustParseAddr("fd00::1")}, code, "The storage is broken."},
			[]string{"The storage is broken.", "http://[fd00::1]/"}, []string{"7QK4", "█"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := tt.v.Screen()
			for _, w := range tt.want {
				if !strings.Contains(s, w) {
					t.Errorf("no %q in\n%s", w, s)
				}
			}
			for _, w := range tt.not {
				if strings.Contains(s, w) {
					t.Errorf("%q in\n%s", w, s)
				}
			}
			rows := strings.Split(s, "\n")
			if len(rows) > 31 {
				t.Errorf("%d rows", len(rows))
			}
			for _, r := range rows {
				if n := len([]rune(r)); n > 80 {
					t.Errorf("%d columns: %s", n, r)
				}
			}
		})
	}
}

// The QR code on the screen is drawn as blocks; drawn again as a picture, a reader nobody here wrote finds the URL.
func TestScreenCodeCanBeScanned(t *testing.T) {
	if _, err := exec.LookPath("zbarimg"); err != nil {
		t.Skip("zbarimg is not installed: apt-get install zbar-tools && go test ./appliance/boot")
	}
	const url = "http://hearth.local/#7QK4-M2VX-9TRD-HC6P"
	rows := strings.Split(strings.TrimRight(textqr.Draw(url), "\n"), "\n")
	width := len([]rune(rows[0]))
	const dot = 6
	pix := make([]byte, 0, width*dot*len(rows)*2*dot)
	for _, r := range rows {
		for half := range 2 {
			var line []byte
			for _, c := range r {
				light := c == '█' || c == '▀' && half == 0 || c == '▄' && half == 1
				line = append(line, bytes.Repeat([]byte{map[bool]byte{true: 255}[light]}, dot)...)
			}
			for range dot {
				pix = append(pix, line...)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "code.pgm")
	head := fmt.Sprintf("P5 %d %d 255\n", width*dot, len(rows)*2*dot)
	if err := os.WriteFile(path, append([]byte(head), pix...), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("zbarimg", "-q", "--raw", path).Output()
	if err != nil || strings.TrimSpace(string(out)) != url {
		t.Errorf("read %q, %v", out, err)
	}
}

func TestRecoveryPage(t *testing.T) {
	h := RecoveryHandler(Trouble{"The check could not repair it.", "status 8: <bad>"})
	for _, path := range []string{"/", "/anything/else"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		body := w.Body.String()
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("%s: status %d", path, w.Code)
		}
		for _, want := range []string{"The check could not repair it.", "status 8: &lt;bad&gt;", "What you can do", "Was Sie tun können"} {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %q", path, want)
			}
		}
		if regexp.MustCompile(`(?i)<script|src=|href=`).MatchString(body) {
			t.Error("the page needs something beside itself")
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil))
	if w.Code != http.StatusServiceUnavailable || w.Body.String() != "damaged\n" {
		t.Errorf("/healthz: %d %q", w.Code, w.Body.String())
	}
}

func TestArgument(t *testing.T) {
	const line = "console=tty1 hearth.slot=a quiet hearth.slot=b x.hearth.slot=c\n"
	if v, ok := argument(line, "hearth.slot"); v != "b" || !ok {
		t.Errorf("got %q, %v", v, ok)
	}
	if v, ok := argument(line, "quiet"); ok {
		t.Errorf("got %q", v)
	}
}

func TestPartName(t *testing.T) {
	for in, want := range map[string]string{"sda": "sda4", "vda": "vda4", "mmcblk0": "mmcblk0p4", "nvme0n1": "nvme0n1p4"} {
		if got := partName(in, 4); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestReportIsReadBack(t *testing.T) {
	want := &Report{Version: "1", Board: "rpi", Slot: boards.SlotB, Disk: "sda", Perm: PermRepaired, Detail: "x", Journal: true, GrownFrom: 1, GrownTo: 2, Took: time.Second}
	path := filepath.Join(t.TempDir(), "boot.json")
	if err := want.write(path); err != nil {
		t.Fatal(err)
	}
	got, err := readReport(path)
	if err != nil || *got != *want {
		t.Errorf("got %+v, %v", got, err)
	}
}

func FuzzSuperblock(f *testing.F) {
	f.Add(make([]byte, 1024))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := readSuperblock(bytes.NewReader(append(make([]byte, 1024), b...)))
		if err == nil && s.blockSize == 0 {
			t.Error("a file system with blocks of no length")
		}
	})
}

func FuzzReadTables(f *testing.F) {
	b := boards.All()[1]
	f.Add(b.GPT(1 << 22).Primary())
	f.Add(boards.All()[0].MBR().Sector())
	f.Fuzz(func(_ *testing.T, head []byte) {
		c := newCard(2 << 30)
		c.put(head[:min(len(head), 64<<10)], 0)
		growTable(c, 2<<30/512) //nolint:errcheck // only that it ends
	})
}

func FuzzReadCode(f *testing.F) {
	f.Add(boards.ClaimBlank())
	b := boards.All()[0]
	p := b.Table.Part(boards.BootNumber)
	c := newCard(large)
	err := disk.WriteFAT(c, disk.FATConfig{Bits: 16, Offset: p.Offset, Size: p.Size, Label: "HEARTH", Time: time.Unix(1795219200, 0)},
		[]disk.FATFile{{Path: boards.ClaimFile, Size: boards.ConfigBlock, Align: boards.ConfigAlign, Content: bytes.NewReader(boards.ClaimBlank())}})
	if err != nil {
		f.Fatal(err)
	}
	slot, err := findClaim(c, b)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, content []byte) {
		c := c.clone()
		c.put(content[:min(len(content), 4096)], slot.offset)
		readCode(c, b)
	})
}

// TestSerialConsoleIsCalm names a bug: complaints about what the image never has, and the whole screen again for each
// new address, in lines folded with bars, stood before the claim code.
func TestSerialConsoleIsCalm(t *testing.T) {
	var out strings.Builder
	w := calm{&out}
	for _, l := range []string{"\"/cmdline.txt\" not found\n", "getting SBOM: open x: no such file\n", "hearth: starts\n", "getting EEPROM version: x\n"} {
		if n, err := w.Write([]byte(l)); n != len(l) || err != nil {
			t.Error(n, err)
		}
	}
	if out.String() != "hearth: starts\n" {
		t.Errorf("%q", out.String())
	}
	if got := news("", "waiting\n\ncode"); !slices.Equal(got, []string{"waiting", "code"}) {
		t.Errorf("%q", got)
	}
	if got := news("waiting\n\ncode", "here\n\ncode"); !slices.Equal(got, []string{"here"}) {
		t.Errorf("%q", got)
	}
}

// TestServices: with damaged storage only the network and the recovery page.
func TestServices(t *testing.T) {
	for want, trouble := range map[string]*Trouble{
		"/gokrazy/dhcp /gokrazy/ntp /gokrazy/randomd /user/hearth": nil,
		"/gokrazy/dhcp /gokrazy/init":                              {Sentence: "x"},
	} {
		var got []string
		for _, c := range services(trouble) {
			got = append(got, c.Path)
			if c.Path == "/gokrazy/ntp" && !slices.Equal(c.Args[1:], timeServers) {
				t.Errorf("ntp is started with %v", c.Args)
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s, want %s", s, want)
		}
	}
}
