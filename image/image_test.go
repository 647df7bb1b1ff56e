package image_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/squashfs"
	"github.com/klauspost/compress/zstd"

	"hearth.alt/boards"
	"hearth.alt/boards/disk"
	"hearth.alt/image"
)

const probe = "hearth.alt/hwtest/vm/probe"

func module(t *testing.T) string {
	t.Helper()
	m, err := image.FindModule(".")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// fake packs small files in place of programs and kernels.
type fake struct{ dir string }

func (f fake) Pack(_ context.Context, o image.Options) (*image.Parts, error) {
	file := func(name, content string) string {
		path := filepath.Join(f.dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			panic(err)
		}
		return path
	}
	p := &image.Parts{Kernel: file("vmlinuz", "kernel"), Root: file("root", strings.Repeat("root", 5000)), Boot: map[string]string{}, Slot: map[string]string{}}
	if o.Board.Method == boards.UEFI {
		p.Boot["EFI/BOOT/"+o.Board.EFI] = file("efi", "loader")
	} else {
		p.Initramfs = file("initramfs", "first")
		p.Boot["bootcode.bin"] = file("bootcode.bin", "rom")
		p.Slot["start.elf"] = file("start.elf", "firmware")
		p.Slot["overlays/x.dtbo"] = file("x.dtbo", "overlay")
	}
	return p, nil
}

func open(t *testing.T, path string, p boards.Partition) (*os.File, *disk.FAT) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	fat, err := disk.OpenFAT(f, p.Offset, p.Size)
	if err != nil {
		t.Fatal(err)
	}
	return f, fat
}

func content(t *testing.T, fat *disk.FAT, path string) []byte {
	t.Helper()
	b, err := fat.ReadFile(path, 200<<20)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sum(t *testing.T, path string) [32]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}

// The layout, with small files in place of the large ones: tables, both slots alike, each rewritable block alone.
// TestPins says that go.mod pins what every image carries: a program of the list that pins.go does not name would be
// dropped by go mod tidy.
func TestPins(t *testing.T) {
	pins, err := os.ReadFile("pins.go")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range strings.Split(string(pins), "\n") {
		if p := strings.Trim(line, "\t_ \""); strings.HasPrefix(p, "github.com/gokrazy/gokrazy/cmd/") {
			got = append(got, p)
		}
	}
	if !slices.Equal(got, boards.Programs) {
		t.Errorf("pins.go names %v, images carry %v", got, boards.Programs)
	}
}

func TestAssemble(t *testing.T) {
	for _, b := range boards.All() {
		t.Run(b.Name, func(t *testing.T) {
			build := func() *image.Result {
				r, err := image.Build(t.Context(), image.Options{
					Board: b, Module: module(t), Out: t.TempDir(), Name: "test-" + b.Name, Version: "1.2.3",
					Time: time.Unix(1795219201, 5), Packer: fake{t.TempDir()},
				})
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			r := build()
			if sum(t, r.Image) != sum(t, build().Image) {
				t.Error("the same parts made other bytes")
			}
			f, fat := open(t, r.Image, b.Table.Part(boards.BootNumber))
			st, err := f.Stat()
			if err != nil || st.Size() != b.ImageSize() || r.Size != st.Size() {
				t.Errorf("%d bytes, want %d", st.Size(), b.ImageSize())
			}
			sectors := uint64(st.Size() / disk.SectorSize)
			if b.Method == boards.UEFI {
				g, state, err := disk.ReadGPT(f, sectors)
				if err != nil || *g != *b.GPT(sectors) || !state.Primary || !state.Backup || state.BackupAt != sectors-1 {
					t.Errorf("table %+v, %v", state, err)
				}
			} else if m, err := disk.ReadMBR(f, sectors); err != nil || *m != *b.MBR() {
				t.Errorf("table %+v, %v", m, err)
			}
			for name, want := range map[string][]byte{b.CommitFile(): b.CommitBlock(boards.SlotA), boards.ClaimFile: boards.ClaimBlank()} {
				_, ext, err := fat.Stat(name)
				if err != nil || len(ext) != 1 || ext[0].Offset%boards.ConfigAlign != 0 || !bytes.Equal(content(t, fat, name), want) {
					t.Errorf("%s lies at %+v (%v)", name, ext, err)
					continue
				}
				rest := make([]byte, boards.ConfigAlign-ext[0].Length)
				if _, err := f.ReadAt(rest, ext[0].Offset+ext[0].Length); err != nil || !bytes.Equal(rest, make([]byte, len(rest))) {
					t.Errorf("something shares the 64 KiB of %s (%v)", name, err)
				}
			}
			if b.Method == boards.UEFI {
				for _, s := range boards.Slots() {
					_, ext, err := fat.Stat(string(s) + "/vmlinuz")
					if err != nil || len(ext) != 1 || ext[0].Length != b.KernelSpace || ext[0].Offset%boards.MiB != 0 {
						t.Errorf("kernel %s: %+v, %v", s, ext, err)
					}
					if got := content(t, fat, "loader/entries/"+string(s)+".conf"); !bytes.Equal(got, b.Entry(s, "")) {
						t.Errorf("entry %s: %s", s, got)
					}
					root := make([]byte, 20000)
					if _, err := f.ReadAt(root, b.Table.Part(s.Number()).Offset); err != nil || string(root) != strings.Repeat("root", 5000) {
						t.Errorf("root %s differs (%v)", s, err)
					}
				}
			} else {
				piSlots(t, r.Image, b)
			}
			ext4(t, f, b.Table.Part(boards.PermNumber))
		})
	}
}

// piSlots checks that both slots hold the same files, and that BOOTSEL is all or nothing.
func piSlots(t *testing.T, path string, b *boards.Board) {
	t.Helper()
	_, boot := open(t, path, b.Table.Part(boards.BootNumber))
	list, err := boot.ReadDir("")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, e := range list {
		names[e.Name] = true
		if strings.HasPrefix(e.Name, "start") || strings.HasSuffix(e.Name, ".dtb") || e.Name == "vmlinuz" {
			t.Errorf("BOOTSEL holds %s: half a system there stops the firmware's search for a whole one", e.Name)
		}
	}
	for _, want := range []string{"bootcode.bin", "config.txt", boards.AutobootTxt, boards.ClaimFile} {
		if !names[want] {
			t.Errorf("BOOTSEL lacks %s", want)
		}
	}
	_, a := open(t, path, b.Table.Part(2))
	_, c := open(t, path, b.Table.Part(3))
	var walk func(dir string)
	walk = func(dir string) {
		list, err := a.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		other, err := c.ReadDir(dir)
		if err != nil || len(list) != len(other) {
			t.Errorf("%q: %d names in slot a, %d in b (%v)", dir, len(list), len(other), err)
		}
		for _, e := range list {
			p := strings.Trim(dir+"/"+e.Name, "/")
			if e.Dir {
				walk(p)
			} else if !bytes.Equal(content(t, a, p), content(t, c, p)) {
				t.Errorf("%s differs between the slots", p)
			}
		}
	}
	walk("")
	for name, want := range map[string]string{
		"config.txt": string(b.ConfigTxt()), "cmdline.txt": b.Cmdline("") + "\n",
		"cmdline-a.txt": b.Cmdline(boards.SlotA) + "\n", "cmdline-b.txt": b.Cmdline(boards.SlotB) + "\n",
	} {
		if got := string(content(t, a, name)); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	if _, ext, err := a.Stat(boards.RootFile); err != nil || len(ext) != 1 {
		t.Errorf("%s lies in %v (%v)", boards.RootFile, ext, err)
	}
}

func ext4(t *testing.T, f *os.File, p boards.Partition) {
	t.Helper()
	if _, err := exec.LookPath("e2fsck"); err != nil {
		t.Log("e2fsck is not installed, /perm is not checked: apt-get install e2fsprogs")
		return
	}
	path := filepath.Join(t.TempDir(), "perm")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, io.NewSectionReader(f, p.Offset, p.Size)); err != nil {
		t.Fatal(err)
	}
	if msg, err := exec.Command("e2fsck", "-fn", path).CombinedOutput(); err != nil {
		t.Errorf("/perm: %v\n%s", err, msg)
	}
}

func TestTooLargeKernelIsRefused(t *testing.T) {
	b := *boards.All()[1]
	b.KernelSpace = 4096
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, make([]byte, 5000), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = image.Assemble(f, &b, &image.Parts{Kernel: big, Root: big}, time.Unix(1795219200, 0))
	if err == nil || !strings.Contains(err.Error(), "vmlinuz has 5000 bytes, its place only 4096") {
		t.Errorf("got %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*image.Options){
		"no board":     func(o *image.Options) { o.Board = nil },
		"bad version":  func(o *image.Options) { o.Version = "1 2" },
		"ancient time": func(o *image.Options) { o.Time = time.Unix(0, 0).Add(time.Hour) },
	} {
		o := image.Options{Board: boards.All()[0], Module: module(t), Out: t.TempDir(), Time: time.Unix(1795219200, 0), Packer: fake{t.TempDir()}}
		change(&o)
		if _, err := image.Build(t.Context(), o); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// The real image of every board: what the firmware wants is there, what must not leak is not, and the budget holds.
func TestRealImages(t *testing.T) {
	for _, b := range boards.All() {
		t.Run(b.Name, func(t *testing.T) {
			if b.Name == "amd64" && os.Getenv("HEARTH_TEST_ALL") != "1" {
				t.Log("left to make test-all: HEARTH_TEST_ALL=1 go test ./image -run TestRealImages")
				return
			}
			r, err := image.Build(t.Context(), image.Options{Board: b, Module: module(t), Program: probe, Out: filepath.Join(module(t), "out", "lab"),
				Name: "probe-" + b.Name, Compress: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d bytes, compressed %d, root %d", r.Size, r.Packed, r.RootSize)
			if r.Packed > 150e6 {
				t.Errorf("compressed it has %d bytes, the budget is 150 MB", r.Packed)
			}
			unpacks(t, r)
			boot := b.Table.Part(boards.BootNumber)
			f, fat := open(t, r.Image, boot)
			at, length := b.Table.Part(2).Offset, r.RootSize
			if b.Method == boards.UEFI {
				if e, _, err := fat.Stat("EFI/BOOT/" + b.EFI); err != nil || e.Size < 50_000 {
					t.Errorf("boot loader: %+v, %v", e, err)
				}
				mz := content(t, fat, "a/vmlinuz")[:2]
				if string(mz) != "MZ" {
					t.Errorf("the kernel begins with %q; UEFI starts programs that begin with MZ", mz)
				}
			} else {
				piSlots(t, r.Image, b)
				_, slot := open(t, r.Image, b.Table.Part(2))
				// The device tree of each model named in the board's title, and what its firmware asks for.
				for _, name := range []string{"start.elf", "fixup.dat", "start4.elf", "fixup4.dat", "bcm2710-rpi-zero-2-w.dtb",
					"bcm2710-rpi-3-b.dtb", "bcm2710-rpi-3-b-plus.dtb", "bcm2711-rpi-4-b.dtb", "bcm2711-rpi-400.dtb", "bcm2712-rpi-5-b.dtb",
					"bcm2712d0-rpi-5-b.dtb", b.QEMU.DTB, "overlays/overlay_map.dtb", "initramfs", "vmlinuz"} {
					if e, _, err := slot.Stat(name); err != nil || e.Size == 0 {
						t.Errorf("%s: %v", name, err)
					}
				}
				_, ext, err := slot.Stat(boards.RootFile)
				if err != nil || len(ext) != 1 {
					t.Fatal(err)
				}
				at, length = ext[0].Offset, ext[0].Length
			}
			rootFiles(t, f, at, length)
		})
	}
}

// unpacks checks that the ordinary zstd settings take the compressed image back to the same bytes.
func unpacks(t *testing.T, r *image.Result) {
	t.Helper()
	f, err := os.Open(r.Compressed)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f, zstd.WithDecoderMaxWindow(128<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	h := sha256.New()
	if _, err := io.Copy(h, z); err != nil || fmt.Sprintf("%x", h.Sum(nil)) != r.SHA256 {
		t.Errorf("the compressed image holds other bytes (%v)", err)
	}
	if got, err := os.ReadFile(r.Image + ".sha256"); err != nil || string(got) != r.SHA256+"  "+filepath.Base(r.Image)+"\n" {
		t.Errorf("%s.sha256: %q, %v", r.Image, got, err)
	}
}

func rootFiles(t *testing.T, f *os.File, at, length int64) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, io.NewSectionReader(f, at, length)); err != nil {
		t.Fatal(err)
	}
	root, err := squashfs.Read(file.New(out, true), length, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/gokrazy/init", "/gokrazy/dhcp", "/gokrazy/ntp", "/gokrazy/randomd", "/user/hearth", "/usr/lib/hearth/e2fsck",
		"/usr/share/doc/e2fsck-static/copyright", "/etc/hostname", "/etc/hearth-release.json"} {
		if f, err := root.OpenFile(name[1:], os.O_RDONLY); err != nil {
			t.Errorf("%s: %v", name, err)
		} else {
			f.Close()
		}
	}
	for _, name := range []string{"/etc/ssl/ca-bundle.pem", "/etc/localtime", "/etc/gokr-pw.txt"} {
		if _, err := root.OpenFile(name[1:], os.O_RDONLY); err == nil {
			t.Errorf("%s is in the image", name)
		}
	}
	here, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, leak := range []string{module(t), os.Getenv("HOME") + "/"} {
		if len(leak) > 4 && bytes.Contains(b, []byte(leak)) {
			t.Errorf("the root names %q", leak)
		}
	}
	// The squashfs is compressed, so look into the programs too.
	for _, name := range []string{"/gokrazy/init", "/user/hearth"} {
		r, err := root.OpenFile(name[1:], os.O_RDONLY)
		if err != nil {
			t.Fatal(err)
		}
		p, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, leak := range []string{module(t), here + "."} {
			if len(leak) > 6 && bytes.Contains(p, []byte(leak)) {
				t.Errorf("%s names %q", name, leak)
			}
		}
	}
}

// The same sources in another folder, with another zone and another umask, make the same image byte for byte.
// HEARTH_TEST_ALL compiles the second one from nothing, with a build cache of its own.
func TestSameSourcesSameBytes(t *testing.T) {
	here := module(t)
	there := filepath.Join(t.TempDir(), "a folder of another name")
	list, err := exec.Command("git", "-C", here, "ls-files", "-coz", "--exclude-standard").Output()
	if err != nil {
		t.Skipf("needs the git checkout: %v", err)
	}
	for name := range strings.SplitSeq(strings.Trim(string(list), "\x00"), "\x00") {
		b, err := os.ReadFile(filepath.Join(here, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(there, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(there, ".tools", "e2fsck"), os.DirFS(filepath.Join(here, ".tools", "e2fsck"))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	env := func(more ...string) []string { return append(os.Environ(), more...) }
	var sums [][32]byte
	for i, dir := range []string{here, there} {
		out := t.TempDir()
		cmd := exec.Command("sh", "-c", `umask "$1"; shift; exec go run ./image/cmd/mkimage "$@"`, "sh", []string{"022", "077"}[i],
			"-board", "arm64", "-plain", "-version", "9.9.9", "-name", "same", "-program", probe, "-out", out)
		cmd.Dir = dir
		cmd.Env = env("SOURCE_DATE_EPOCH=1795219200", "TZ="+[]string{"UTC", "Asia/Kathmandu"}[i])
		if i == 1 && os.Getenv("HEARTH_TEST_ALL") == "1" {
			cmd.Env = append(cmd.Env, "GOCACHE="+t.TempDir())
		}
		if msg, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, msg)
		}
		sums = append(sums, sum(t, filepath.Join(out, "same.img")))
	}
	t.Attr("figure", fmt.Sprintf("two images from two folders, the second compiled from nothing: %v", os.Getenv("HEARTH_TEST_ALL") == "1"))
	if sums[0] != sums[1] {
		t.Errorf("two builds of the same sources differ: %x, %x", sums[0], sums[1])
	}
}
