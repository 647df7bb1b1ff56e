package flash_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"hearth.alt/boards"
	"hearth.alt/boards/disk"
	"hearth.alt/image/flash"
	"hearth.alt/services/claimcode"
)

// small is a board whose image has 24 MiB.
var small = &boards.Board{Name: "small", Title: "small", Method: boards.Pi, Table: boards.Table{Signature: 1, Parts: []boards.Partition{
	{Number: 1, Kind: boards.KindBoot, Offset: 1 << 20, Size: 20 << 20, MBR: 0x0e},
	{Number: 4, Kind: boards.KindPerm, Offset: 21 << 20, Size: 3 << 20, MBR: 0x83},
}}}

func smallImage(t *testing.T) (path string, content []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "small.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(small.ImageSize()); err != nil {
		t.Fatal(err)
	}
	p := small.Table.Part(1)
	err = disk.WriteFAT(f, disk.FATConfig{Bits: 16, Offset: p.Offset, Size: p.Size, Label: "X", Time: time.Unix(1795219200, 0)}, []disk.FATFile{
		{Path: "neighbour", Size: 8192, Content: bytes.NewReader(bytes.Repeat([]byte("n"), 8192))},
		{Path: boards.ClaimFile, Size: boards.ConfigBlock, Align: boards.ConfigAlign, Content: bytes.NewReader(boards.ClaimBlank())},
		{Path: "other", Size: 8192, Content: bytes.NewReader(bytes.Repeat([]byte("o"), 8192))},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(small.MBR().Sector(), 0); err != nil {
		t.Fatal(err)
	}
	content, err = os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, content
}

func TestRunWritesTheImageAndTheCode(t *testing.T) {
	path, content := smallImage(t)
	packed := path + ".zst"
	var z bytes.Buffer
	w, err := zstd.NewWriter(&z)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(content) //nolint:errcheck // a bytes.Buffer never fails
	w.Close()        //nolint:errcheck
	if err := os.WriteFile(packed, z.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, img := range []string{path, packed} {
		card := filepath.Join(t.TempDir(), "card")
		d, err := flash.System{}.Look(card, flash.Force{})
		if err != nil {
			t.Fatal(err)
		}
		code := claimcode.New()
		var last flash.Progress
		parts := map[string]bool{}
		err = flash.Run(t.Context(), flash.Options{Image: img, Board: small, Disk: d, Code: code, Progress: func(p flash.Progress) {
			parts[p.Part] = true
			last = p
		}})
		if err != nil {
			t.Fatal(err)
		}
		if !parts["writing"] || !parts["checking"] || last.Done != last.Total || last.Total != small.ImageSize() {
			t.Errorf("progress ended with %+v after %v", last, parts)
		}
		got, err := os.ReadFile(card)
		if err != nil {
			t.Fatal(err)
		}
		fat, err := disk.OpenFAT(bytes.NewReader(got), 1<<20, 20<<20)
		if err != nil {
			t.Fatal(err)
		}
		text, err := fat.ReadFile(boards.ClaimFile, boards.ConfigBlock)
		if err != nil {
			t.Fatal(err)
		}
		if read, err := claimcode.ParseSheet(text); err != nil || !read.Equal(code) {
			t.Errorf("the card's code is not the one given: %v", err)
		}
		differ := 0
		for i := 0; i < len(got); i += int(boards.ConfigBlock) {
			if !bytes.Equal(got[i:i+int(boards.ConfigBlock)], content[i:i+int(boards.ConfigBlock)]) {
				differ++
			}
		}
		if differ != 1 {
			t.Errorf("%d blocks differ from the image, want only the claim file's", differ)
		}
	}
}

// A real block device: exclusive opening, flushing the read cache, and what sysfs says of it.
func TestRunOnABlockDevice(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root for a loop device: sudo go test ./image/flash -run TestRunOnABlockDevice")
	}
	path, _ := smallImage(t)
	backing := filepath.Join(t.TempDir(), "card")
	if err := os.WriteFile(backing, bytes.Repeat([]byte{0xff}, 32<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", backing).CombinedOutput()
	if err != nil {
		t.Skipf("no loop device to be had (%s); run on a machine with losetup: go test ./image/flash -run TestRunOnABlockDevice", out)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() { exec.Command("losetup", "--detach", dev).Run() }) //nolint:errcheck // it goes with the machine
	var r *flash.Refusal
	if _, err := (flash.System{}).Look(dev, flash.Force{}); !errors.As(err, &r) || r.Flag != flash.FlagNotRemovable {
		t.Errorf("a loop device is no card: %v", err)
	}
	d, err := flash.System{}.Look(dev, flash.Force{NotRemovable: true})
	if err != nil || !d.Block || d.Size != 32<<20 {
		t.Fatalf("%+v, %v", d, err)
	}
	code := claimcode.New()
	if err := flash.Run(t.Context(), flash.Options{Image: path, Board: small, Disk: d, Code: code}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(backing)
	if err != nil {
		t.Fatal(err)
	}
	fat, err := disk.OpenFAT(bytes.NewReader(got), 1<<20, 20<<20)
	if err != nil {
		t.Fatal(err)
	}
	text, err := fat.ReadFile(boards.ClaimFile, boards.ConfigBlock)
	if read, perr := claimcode.ParseSheet(text); err != nil || perr != nil || !read.Equal(code) {
		t.Errorf("the code is not on the card: %v %v", err, perr)
	}
	if !bytes.Equal(got[31<<20:], make([]byte, 1<<20)) {
		t.Error("an old backup table at the end would outlive the flash")
	}
	d.Size = 1 << 20
	if err := flash.Run(t.Context(), flash.Options{Image: path, Board: small, Disk: d}); err == nil {
		t.Error("a card that is too small was written")
	}
}

// A run that is stopped leaves a card without a table, never a half system that starts.
func TestStoppedRunLeavesNoTable(t *testing.T) {
	path, content := smallImage(t)
	card := filepath.Join(t.TempDir(), "card")
	if err := os.WriteFile(card, content, 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := flash.System{}.Look(card, flash.Force{File: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	err = flash.Run(ctx, flash.Options{Image: path, Board: small, Disk: d, Progress: func(flash.Progress) { stop() }})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	got, err := os.ReadFile(card)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[:1<<20], make([]byte, 1<<20)) {
		t.Error("the first MiB is not empty")
	}
}

func TestImageOfWrongLengthIsRefused(t *testing.T) {
	path, content := smallImage(t)
	for name, b := range map[string][]byte{"short": content[:len(content)-4096], "long": append(bytes.Clone(content), 0)} {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		err := flash.Run(t.Context(), flash.Options{Image: path, Board: small, Disk: &flash.Disk{Path: filepath.Join(t.TempDir(), "card")}})
		if err == nil {
			t.Errorf("%s was written", name)
		}
	}
}

// computer is a made-up sysfs with one disk sdb of two partitions.
type computer struct {
	t      *testing.T
	dir    string
	system flash.System
}

func newComputer(t *testing.T) *computer {
	c := &computer{t: t, dir: t.TempDir()}
	base := "sys/devices/usb/block/sdb"
	for name, content := range map[string]string{
		base + "/size": "62333952", base + "/removable": "1", base + "/ro": "0", base + "/dev": "8:16",
		base + "/device/vendor": "SanDisk ", base + "/device/model": "Ultra   ",
		base + "/sdb1/partition": "1", base + "/sdb1/dev": "8:17", base + "/sdb2/partition": "2", base + "/sdb2/dev": "8:18",
		"mountinfo": "24 30 0:22 / /sys rw - sysfs sysfs rw\n30 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw\n",
		"swaps":     "Filename Type Size Used Priority\n/dev/nvme0n1p3 partition 1 0 -2\n",
	} {
		c.write(name, content)
	}
	for _, l := range [][2]string{{"8:16", "sdb"}, {"8:17", "sdb/sdb1"}} {
		dir := filepath.Join(c.dir, "sys/dev/block")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(c.dir, "sys/devices/usb/block", l[1]), filepath.Join(dir, l[0])); err != nil {
			t.Fatal(err)
		}
	}
	c.system = flash.System{
		Sys: filepath.Join(c.dir, "sys"), MountInfo: filepath.Join(c.dir, "mountinfo"), Swaps: filepath.Join(c.dir, "swaps"),
		Number: func(string) (uint32, uint32, error) { return 8, 16, nil },
	}
	return c
}

func (c *computer) write(name, content string) {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content+"\n"), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// blockDevice is some block device of this computer; only its file type matters.
func blockDevice(t *testing.T) string {
	t.Helper()
	for _, p := range []string{"/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/loop0"} {
		if st, err := os.Stat(p); err == nil && st.Mode()&os.ModeDevice != 0 {
			return p
		}
	}
	path := filepath.Join(t.TempDir(), "block")
	if out, err := exec.Command("mknod", path, "b", "8", "16").CombinedOutput(); err != nil {
		t.Skipf("this computer shows no block device and mknod says: %s; run as root: go test ./image/flash", out)
	}
	return path
}

func TestLook(t *testing.T) {
	dev := blockDevice(t)
	const base = "sys/devices/usb/block/sdb"
	mounted := func(source, number, at string) func(*computer) {
		return func(c *computer) {
			c.write("mountinfo", fmt.Sprintf("40 30 %s / %s rw - ext4 %s rw", number, at, source))
		}
	}
	for _, tt := range []struct {
		name  string
		make  func(*computer)
		force flash.Force
		flag  string // of the refusal; "-" is a refusal nothing overrules, "" is none
	}{
		{name: "a card"},
		{name: "an SD card in a laptop's slot", make: func(c *computer) {
			c.write(base+"/removable", "0")
			c.write(base+"/device/type", "SD")
		}},
		{name: "an inner disk", make: func(c *computer) { c.write(base+"/removable", "0") }, flag: flash.FlagNotRemovable},
		{name: "an inner disk, told", make: func(c *computer) { c.write(base+"/removable", "0") }, force: flash.Force{NotRemovable: true}},
		{name: "soldered eMMC", make: func(c *computer) {
			c.write(base+"/removable", "0")
			c.write(base+"/device/type", "MMC")
		}, flag: flash.FlagNotRemovable},
		{name: "mounted", make: mounted("/dev/sdb1", "8:17", `/media/My\040card`), flag: flash.FlagMounted},
		{name: "mounted, told", make: mounted("/dev/sdb1", "8:17", "/media/card"), force: flash.Force{Mounted: true}},
		{name: "mounted by a file system with a number of its own", make: mounted("/dev/sdb2", "0:44", "/media/card"), flag: flash.FlagMounted},
		{name: "the computer's own, whatever is told", make: mounted("/dev/sdb2", "8:18", "/"), force: flash.Force{Mounted: true, NotRemovable: true}, flag: "-"},
		{name: "swapped to", make: func(c *computer) { c.write("swaps", "/dev/sdb2 partition 1 0 -2") }, force: flash.Force{Mounted: true}, flag: "-"},
		{name: "part of a volume group", make: func(c *computer) { c.write(base+"/sdb2/holders/dm-0/x", "") }, force: flash.Force{Mounted: true}, flag: "-"},
		{name: "a partition", make: func(c *computer) {
			c.system.Number = func(string) (uint32, uint32, error) { return 8, 17, nil }
		}, flag: "-"},
		{name: "an empty reader", make: func(c *computer) { c.write(base+"/size", "0") }, flag: "-"},
		{name: "the slide at the side", make: func(c *computer) { c.write(base+"/ro", "1") }, flag: "-"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newComputer(t)
			if tt.make != nil {
				tt.make(c)
			}
			d, err := c.system.Look(dev, tt.force)
			var r *flash.Refusal
			switch {
			case tt.flag == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.flag == "" && (d.Model != "SanDisk Ultra" || d.Size != 62333952*512 || !d.Block):
				t.Errorf("got %+v", d)
			case tt.flag != "" && !errors.As(err, &r):
				t.Errorf("not refused: %+v, %v", d, err)
			case tt.flag != "" && r.Flag != strings.TrimPrefix(tt.flag, "-") && r.Flag != tt.flag:
				t.Errorf("refused by %q, want flag %q", r.Error(), tt.flag)
			}
		})
	}
	if _, err := (flash.System{}).Look("/dev/no-such-disk", flash.Force{}); err == nil {
		t.Error("a disk that is not there was taken")
	}
	if _, err := (flash.System{}).Look("/dev/null", flash.Force{}); err == nil {
		t.Error("/dev/null was taken for a disk")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("data"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := (flash.System{}).Look(file, flash.Force{}); err == nil || !strings.Contains(err.Error(), "FLASHFLAGS="+flash.FlagFile) {
		t.Errorf("a file that exists was taken without being told, or the way to tell is not what make understands: %v", err)
	}
}

func TestSheet(t *testing.T) {
	code, err := claimcode.Parse("7QK4-M2VX-9TRD-HC6P")
	if err != nil {
		t.Fatal(err)
	}
	page, text, err := flash.WriteSheet(t.TempDir(), "rpi", time.Unix(1795219200, 0).UTC(), code)
	if err != nil {
		t.Fatal(err)
	}
	html, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := code.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range append(code.Words(), code.Text(), code.URL(""), claimcode.FingerprintOf(cert.Certificate[0]).String(),
		// The claim page asks to compare these; and which card is it, and what if the name does not open?
		claimcode.FingerprintOf(cert.Certificate[0]).Short(), "Raspberry Pi", "2026-11-21", "router's list") {
		if !strings.Contains(string(html), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, no := range []string{"src=", "href=", "@import", "url(", "Ihnen", "Sie "} {
		if strings.Contains(string(html), no) {
			t.Errorf("the page needs something beside itself: %s", no)
		}
	}
	plain, err := os.ReadFile(text)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := claimcode.ParseSheet(plain); err != nil || !got.Equal(code) {
		t.Errorf("the text is not read back: %v", err)
	}
	for _, p := range []string{page, text} {
		if st, err := os.Stat(p); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", p, st.Mode(), err)
		}
	}
}

func TestProgressText(t *testing.T) {
	for want, p := range map[string]flash.Progress{
		"writing 412 of 1126 MB, 21.3 MB/s, about 34 s left":     {Part: "writing", Done: 412e6, Total: 1126e6, Speed: 21.3e6, Left: 34 * time.Second},
		"writing 8 of 1126 MB":                                   {Part: "writing", Done: 8e6, Total: 1126e6},
		"checking 8 of 1126 MB, 1.0 MB/s, about 19 minutes left": {Part: "checking", Done: 8e6, Total: 1126e6, Speed: 1e6, Left: 1118 * time.Second},
		"checking 1126 of 1126 MB, 95.0 MB/s":                    {Part: "checking", Done: 1126e6, Total: 1126e6, Speed: 95e6},
	} {
		if got := p.String(); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}
