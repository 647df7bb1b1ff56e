package vm_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"hearth.alt/appliance/boot"
	"hearth.alt/boards"
	"hearth.alt/hwtest/vm"
)

const (
	GiB = int64(1) << 30
	lab = "bootpause" // build tag: growing stops where the kernel's command line says
)

func bootReport(t *testing.T, m *vm.Machine) *boot.Report {
	t.Helper()
	status, body, err := m.Get("/run/boot.json")
	if err != nil || status != http.StatusOK {
		t.Fatalf("reading the boot report: %d %v", status, err)
	}
	r := &boot.Report{}
	if err := json.Unmarshal([]byte(body), r); err != nil {
		t.Fatal(err)
	}
	return r
}

func page(t *testing.T, m *vm.Machine, limit time.Duration) {
	t.Helper()
	if status, body := m.WaitPage(limit); status != http.StatusOK {
		t.Fatalf("the first page has status %d: %.300s", status, body)
	}
}

var codeForm = regexp.MustCompile(`http://hearth\.local/#([0-9A-Z-]{19})`)

func claimOf(t *testing.T, m *vm.Machine) string {
	t.Helper()
	m.WaitSerial("http://hearth.local/#", 20*time.Second)
	return codeForm.FindStringSubmatch(m.Serial())[1]
}

// clean checks /perm from outside: the journal is replayed, then nothing may be wrong, and the file system must fill
// at least so many bytes.
func clean(t *testing.T, m *vm.Machine, atLeast int64) {
	t.Helper()
	perm := m.Perm()
	if out, err := exec.Command("e2fsck", "-p", perm).CombinedOutput(); err != nil && exit(err) != 1 {
		t.Errorf("e2fsck -p: %v\n%s", err, out)
	}
	if out, err := exec.Command("e2fsck", "-fn", perm).CombinedOutput(); err != nil {
		t.Errorf("e2fsck -fn: %v\n%s", err, out)
	}
	out, err := exec.Command("dumpe2fs", "-h", perm).Output()
	if err != nil {
		t.Fatal(err)
	}
	count := regexp.MustCompile(`(?m)^Block count:\s+(\d+)$`).FindSubmatch(out)
	blocks := int64(0)
	for _, c := range count[1] {
		blocks = 10*blocks + int64(c-'0')
	}
	if blocks*4096 < atLeast {
		t.Errorf("the file system has %d MiB, want at least %d", blocks*4096>>20, atLeast>>20)
	}
}

func exit(err error) int {
	if e, ok := err.(*exec.ExitError); ok {
		return e.ExitCode()
	}
	return -1
}

// The image starts by firmware and boot loader, grows /perm to the disk, makes a claim code, and all is still there
// after the plug was pulled.
func TestArm64Boots(t *testing.T) {
	img := vm.Image(t, "arm64", vm.Probe)
	m := vm.New(t, vm.Options{Image: img, Disk: 8 * GiB})
	m.Start()
	page(t, m, 90*time.Second)
	r := bootReport(t, m)
	if r.Board != "arm64" || r.Slot != boards.SlotA || r.Perm != boot.PermClean || !r.Journal || int64(r.GrownTo) < 7*GiB {
		t.Errorf("boot report: %+v", r)
	}
	code := claimOf(t, m)
	data := bytes.Repeat([]byte("kept "), 100_000)
	m.Put("/file/kept", data)

	m.Cut()
	m.Start()
	page(t, m, 90*time.Second)
	if _, body, err := m.Get("/file/kept"); err != nil || body != string(data) {
		t.Errorf("after the cut the file has %d bytes, want %d (%v)", len(body), len(data), err)
	}
	if again := claimOf(t, m); again != code {
		t.Errorf("the claim code changed from %s to %s", code, again)
	}
	if _, body, err := m.Get("/claim"); err != nil || body != code {
		t.Errorf("the keeper would read the code %q, want %q (%v)", body, code, err)
	}
	if r := bootReport(t, m); r.GrownTo != 0 || r.TableRepaired {
		t.Errorf("the second boot changed the table or the size: %+v", r)
	}

	// The keeper says that the box has an owner: the code is gone from the card and does not come back.
	m.Put("/claimed", nil)
	m.Put("/file/hostname", []byte("attic\n"))
	m.Cut()
	if text := claimFile(t, m); !boards.IsClaimDone(text) || bytes.Contains(text, []byte(code)) {
		t.Errorf("the card still says: %.200s", text)
	}
	m.Start()
	page(t, m, 90*time.Second)
	m.WaitSerial("http://attic.local/", 20*time.Second)
	if strings.Contains(m.Serial(), "claim code") {
		t.Error("an owned box shows a claim code")
	}
	if status, _, err := m.Get("/run/claim"); err != nil || status != http.StatusNotFound {
		t.Errorf("an owned box keeps a claim code for the keeper: %d, %v", status, err)
	}
	_, facts, err := m.Get("/facts")
	if now := strings.Fields(facts); err != nil || len(now) < 2 || now[0] != "attic" || now[1] < "2026" {
		t.Errorf("host name and clock: %q (%v)", facts, err)
	}
	m.Cut()
	clean(t, m, 7*GiB)
}

func claimFile(t *testing.T, m *vm.Machine) []byte {
	t.Helper()
	f, err := os.Open(m.DiskPath())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, boards.ConfigBlock)
	if _, err := f.ReadAt(b, m.FileOnBoot(boards.ClaimFile)); err != nil {
		t.Fatal(err)
	}
	return b
}

// Growing is finished by the next boot wherever the plug is pulled in it. The disk holds data before it grows.
func TestGrowSurvivesACutAtEachStep(t *testing.T) {
	img := vm.Image(t, "arm64", vm.Probe, lab)
	data := bytes.Repeat([]byte("before growing "), 50_000)
	small := vm.New(t, vm.Options{Image: img, Disk: 2 * GiB, Direct: true})
	small.Start()
	page(t, small, 60*time.Second)
	small.Put("/file/before", data)
	small.Cut()
	for _, step := range []struct {
		name string
		// firmware starts the second boot by UEFI firmware, which mends a torn table itself before we see it. Without
		// it the repair is ours.
		firmware bool
	}{
		{"grow.backup", false}, {"grow.torn", false}, {"grow.torn", true}, {"grow.primary", true},
		{"grow.kernel", false}, {"grow.resizing", false}, {"grow.resized", false},
	} {
		name := step.name
		if step.firmware {
			name += " with firmware"
		}
		t.Run(name, func(t *testing.T) {
			m := vm.New(t, vm.Options{Image: img, Card: small.DiskPath(), Disk: 8 * GiB, Direct: true, Append: "hearth.pause=" + step.name})
			m.Start()
			m.WaitSerial("hearth.pause: "+step.name, 60*time.Second)
			m.Cut()

			m.SetAppend("")
			m.SetDirect(!step.firmware)
			m.Start()
			page(t, m, 90*time.Second)
			if r := bootReport(t, m); r.Perm != boot.PermClean && r.Perm != boot.PermRepaired {
				t.Errorf("boot report: %+v", r)
			} else if step.name == "grow.torn" && !step.firmware && !r.TableRepaired {
				t.Errorf("the torn table was not repaired: %+v", r)
			}
			survived(t, m, data)
		})
	}
}

// survived says that the data from before is there, that /perm takes more, and that it is whole and grown.
func survived(t *testing.T, m *vm.Machine, data []byte) {
	t.Helper()
	if _, body, err := m.Get("/file/before"); err != nil || body != string(data) {
		t.Errorf("the file has %d bytes, want %d (%v)", len(body), len(data), err)
	}
	m.Put("/file/after", data)
	m.Cut()
	clean(t, m, 7*GiB)
}

// The plug is pulled at random moments of the first boot on a larger disk, many times.
func TestGrowSurvivesRandomCuts(t *testing.T) {
	cuts := 3
	if os.Getenv("HEARTH_TEST_ALL") == "1" {
		cuts = 40
	}
	img := vm.Image(t, "arm64", vm.Probe)
	data := bytes.Repeat([]byte("before growing "), 50_000)
	small := vm.New(t, vm.Options{Image: img, Disk: 2 * GiB, Direct: true})
	small.Start()
	page(t, small, 60*time.Second)
	small.Put("/file/before", data)
	small.Cut()
	r := rand.New(rand.NewPCG(1, 2))
	for i := range cuts {
		m := vm.New(t, vm.Options{Image: img, Card: small.DiskPath(), Disk: 8 * GiB, Direct: true})
		m.Start()
		m.WaitSerial("hearth: "+img.Result.Version+" starts", 60*time.Second)
		wait := time.Duration(r.IntN(2000)) * time.Millisecond
		time.Sleep(wait)
		m.Cut()
		m.Start()
		page(t, m, 90*time.Second)
		t.Logf("cut %d came %s after process 1", i, wait)
		survived(t, m, data)
	}
	t.Attr("figure", fmt.Sprintf("%d cuts at random moments of growing /perm from 2 to 8 GiB", cuts))
}

// A damage that the check repairs costs a boot of a second more and no page.
func TestDamagedJournalIsRepaired(t *testing.T) {
	img := vm.Image(t, "arm64", vm.Probe)
	m := vm.New(t, vm.Options{Image: img, Disk: 2 * GiB, Direct: true})
	m.Start()
	page(t, m, 60*time.Second)
	m.Put("/file/kept", []byte("kept"))
	m.Cut()
	damage(t, m, journalAt(t, m), 4096)
	m.Start()
	page(t, m, 60*time.Second)
	if r := bootReport(t, m); r.Perm != boot.PermRepaired {
		t.Errorf("boot report: %+v", r)
	}
}

// A damage beyond repair leads to the recovery page, says so on the serial console, and changes nothing.
func TestDamagedPermShowsTheRecoveryPage(t *testing.T) {
	img := vm.Image(t, "arm64", vm.Probe)
	m := vm.New(t, vm.Options{Image: img, Disk: 2 * GiB})
	m.Start()
	page(t, m, 90*time.Second)
	m.Cut()
	damage(t, m, 0, 256<<20) // every superblock of the fresh part and all tables
	before := permSum(t, m)
	m.Start()
	status, body := m.WaitPage(90 * time.Second)
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "The storage of this box is damaged.") ||
		!strings.Contains(body, "beschädigt") {
		t.Errorf("status %d: %.400s", status, body)
	}
	if status, body, err := m.Get("/healthz"); err != nil || status != http.StatusServiceUnavailable || body != "damaged\n" {
		t.Errorf("/healthz: %d %q %v", status, body, err)
	}
	m.WaitSerial("hearth: damaged:", 5*time.Second)
	m.Cut()
	if permSum(t, m) != before {
		t.Error("the damaged /perm was written to")
	}
}

// An unreadable commit block leads to a slot that starts, never to a standstill.
func TestTornCommitBlockStillBoots(t *testing.T) {
	img := vm.Image(t, "arm64", vm.Probe)
	m := vm.New(t, vm.Options{Image: img})
	f, err := os.OpenFile(m.DiskPath(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := m.FileOnBoot(boards.LoaderConf)
	if _, err := f.WriteAt(make([]byte, boards.ConfigBlock), at); err != nil {
		t.Fatal(err)
	}
	m.Start()
	page(t, m, 90*time.Second)
	if r := bootReport(t, m); r.Slot != boards.SlotB {
		t.Errorf("slot %q runs, want b, the last in the loader's order", r.Slot)
	}
}

func TestPiKernelBoots(t *testing.T) {
	img := vm.Image(t, "rpi", vm.Probe)
	m := vm.New(t, vm.Options{Image: img, Disk: 4 * GiB})
	m.Start()
	page(t, m, 3*time.Minute)
	r := bootReport(t, m)
	if r.Board != "rpi" || r.Slot != boards.SlotA || r.Perm != boot.PermClean || int64(r.GrownTo) < 3*GiB-200<<20 {
		t.Errorf("boot report: %+v", r)
	}
	code := claimOf(t, m)
	m.Put("/file/kept", []byte("kept"))
	m.Cut()
	m.Start()
	page(t, m, 3*time.Minute)
	if _, body, err := m.Get("/file/kept"); err != nil || body != "kept" {
		t.Errorf("after the cut: %q %v", body, err)
	}
	if again := claimOf(t, m); again != code {
		t.Errorf("the claim code changed from %s to %s", code, again)
	}
	m.Cut()
	clean(t, m, 3*GiB-200<<20)
}

// The real program, on both ways to start: the claim page is the first thing a browser sees. On amd64 in test-all.
func TestHearthShowsTheClaimPage(t *testing.T) {
	shown := []string{"arm64", "rpi"}
	if os.Getenv("HEARTH_TEST_ALL") == "1" {
		shown = append(shown, "amd64")
	}
	t.Attr("figure", "boards that boot to the claim page: "+strings.Join(shown, ", "))
	for _, board := range shown {
		t.Run(board, func(t *testing.T) {
			m := vm.New(t, vm.Options{Image: vm.Image(t, board, vm.Hearth), Disk: 4 * GiB})
			m.Start()
			status, body := m.WaitPage(4 * time.Minute)
			if status != http.StatusOK || !strings.Contains(body, "<title>") || !strings.Contains(body, "Hearth") {
				t.Errorf("status %d: %.500s", status, body)
			}
			claimOf(t, m)
			if strings.Contains(m.Serial(), "hearth: damaged") {
				t.Error("the storage is called damaged")
			}
		})
	}
}

func TestAmd64Boots(t *testing.T) {
	if os.Getenv("HEARTH_TEST_ALL") != "1" {
		t.Log("left to make test-all: HEARTH_TEST_ALL=1 go test ./hwtest/vm -run TestAmd64Boots")
		return
	}
	img := vm.Image(t, "amd64", vm.Probe)
	m := vm.New(t, vm.Options{Image: img, Disk: 4 * GiB})
	m.Start()
	page(t, m, 5*time.Minute)
	if r := bootReport(t, m); r.Board != "amd64" || r.Slot != boards.SlotA || r.Perm != boot.PermClean || int64(r.GrownTo) < 2*GiB {
		t.Errorf("boot report: %+v", r)
	}
	m.Cut()
	clean(t, m, 2*GiB)
}

// damage overwrites part of /perm with a pattern.
func damage(t *testing.T, m *vm.Machine, at, n int64) {
	t.Helper()
	f, err := os.OpenFile(m.DiskPath(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	offset, _ := m.Partition(boards.PermNumber)
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, int(n)), offset+at); err != nil {
		t.Fatal(err)
	}
}

// journalAt is where the journal's superblock lies in /perm.
func journalAt(t *testing.T, m *vm.Machine) int64 {
	t.Helper()
	out, err := exec.Command("debugfs", "-R", "bmap <8> 0", m.Perm()).Output()
	if err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	for _, c := range strings.TrimSpace(string(out)) {
		n = 10*n + int64(c-'0')
	}
	return n * 4096
}

func permSum(t *testing.T, m *vm.Machine) [32]byte {
	t.Helper()
	b, err := os.ReadFile(m.Perm())
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}
