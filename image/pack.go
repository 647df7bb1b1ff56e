package image

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	systemd "github.com/gokrazy/tools/third_party/systemd-250.5-1"

	"hearth.alt/boards"
	"hearth.alt/image/internal/cpio"
	"hearth.alt/image/internal/squashfs"
)

const initramfsProgram = "hearth.alt/appliance/cmd/initramfs"

// goPacker compiles with the go command and writes squashfs itself.
type goPacker struct{}

// Pack implements Packer.
func (goPacker) Pack(ctx context.Context, o Options) (*Parts, error) {
	start := time.Now()
	bin, err := compile(ctx, o)
	if err != nil {
		return nil, err
	}
	o.logf("compiled in %s", since(start))
	modules := []string{o.Board.KernelModule}
	if o.Board.FirmwareModule != "" {
		modules = append(modules, o.Board.FirmwareModule)
	}
	dirs, err := moduleDirs(ctx, o.Module, modules)
	if err != nil {
		return nil, err
	}
	kernel := dirs[o.Board.KernelModule]
	check, err := fetchE2fsck(ctx, o)
	if err != nil {
		return nil, err
	}

	start = time.Now()
	tree := &folder{}
	for _, d := range []string{"bin", "dev", "etc", "lib", "mnt", "perm", "proc", "run", "sys", "tmp"} {
		tree.dir(d)
	}
	tree.link("var", "/perm/var")
	tree.link("etc/resolv.conf", "/tmp/resolv.conf") // dhcp writes it there
	tree.text("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
	tree.text("etc/hostname", "hearth") // until the box has a name of its own; no line end, gokrazy takes it as it is
	release, err := json.Marshal(map[string]string{"version": o.Version, "board": o.Board.Name, "time": o.Time.Format(time.RFC3339)})
	if err != nil {
		return nil, err
	}
	tree.text("etc/hearth-release.json", string(release)+"\n")
	for _, p := range append([]string{o.Init}, boards.Programs...) {
		tree.file("gokrazy/"+path.Base(p), filepath.Join(bin, path.Base(p)), 0o755)
	}
	tree.file("user/hearth", filepath.Join(bin, "user", "hearth"), 0o755)
	tree.file("usr/lib/hearth/e2fsck", check.program, 0o755)
	tree.file("usr/share/doc/e2fsck-static/copyright", check.copyright, 0o644)
	// lib/modules is left out: nothing on the box loads a module (all it needs is built into the kernels), and the
	// Pi's would add megabytes of television tuners. WiFi will bring its two with it.
	root := filepath.Join(o.work(), "root.squashfs")
	if err := packRoot(o, tree, root); err != nil {
		return nil, fmt.Errorf("packing the root: %w", err)
	}
	o.logf("packed the root in %s", since(start))

	parts := &Parts{Kernel: filepath.Join(kernel, "vmlinuz"), Root: root, Boot: map[string]string{}, Slot: map[string]string{}}
	if o.Board.Method == boards.UEFI {
		loader := filepath.Join(o.work(), o.Board.EFI)
		b, err := systemd.SystemdBootAA64.ReadFile("systemd-bootaa64.efi")
		if o.Board.GOARCH == "amd64" {
			b, err = systemd.SystemdBootX64.ReadFile("systemd-bootx64.efi")
		}
		if err != nil {
			return nil, err
		}
		parts.Boot["EFI/BOOT/"+o.Board.EFI] = loader
		return parts, os.WriteFile(loader, b, 0o644)
	}
	return parts, packPi(o, parts, bin, kernel, dirs[o.Board.FirmwareModule])
}

// packPi adds what only the Pi has: the firmware's files and the initramfs.
func packPi(o Options, parts *Parts, bin, kernel, firmware string) error {
	// bootcode.bin is read by the boot ROM of the 3 and Zero 2 W, from the first partition only; with start*.elf
	// there too the first partition would have to be a whole rescue system, so it is not.
	parts.Boot["bootcode.bin"] = filepath.Join(firmware, "bootcode.bin")
	add := func(dir, pattern, under string) error {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("no %s in %s", pattern, filepath.Base(dir))
		}
		for _, f := range found {
			parts.Slot[path.Join(under, filepath.Base(f))] = f
		}
		return err
	}
	err := errors.Join(
		// The plain variants only: no camera, no debug build.
		add(firmware, "start.elf", ""), add(firmware, "fixup.dat", ""),
		add(firmware, "start4.elf", ""), add(firmware, "fixup4.dat", ""),
		add(kernel, "*.dtb", ""), add(kernel, "overlays/*.dtbo", "overlays"), add(kernel, "overlays/overlay_map.dtb", "overlays"))
	if err != nil {
		return err
	}
	program, err := os.ReadFile(filepath.Join(bin, "initramfs"))
	if err != nil {
		return err
	}
	archive := cpio.Archive([]cpio.Entry{
		{Name: "dev", Mode: 0o040755},
		// The kernel opens it for process 1's output before anything can be mounted.
		{Name: "dev/console", Mode: 0o020600, Major: 5, Minor: 1},
		{Name: "proc", Mode: 0o040755},
		{Name: "sys", Mode: 0o040755},
		{Name: "slot", Mode: 0o040755},
		{Name: "root", Mode: 0o040755},
		{Name: "init", Mode: 0o100755, Content: program},
	})
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	z.Write(archive) //nolint:errcheck // a bytes.Buffer never fails
	if err := z.Close(); err != nil {
		return err
	}
	parts.Initramfs = filepath.Join(o.work(), "initramfs.gz")
	return os.WriteFile(parts.Initramfs, packed.Bytes(), 0o644)
}

// compile builds every program into <work>/bin and returns that folder. The go command leaves a program alone that
// is up to date.
func compile(ctx context.Context, o Options) (string, error) {
	bin := filepath.Join(o.work(), "bin")
	if err := os.MkdirAll(filepath.Join(bin, "user"), 0o755); err != nil {
		return "", err
	}
	flags := []string{
		"-trimpath", "-buildvcs=false",
		"-tags=" + strings.Join(append([]string{"gokrazy", "netgo", "osusergo"}, o.Tags...), ","),
		// A variable that does not exist is ignored by the linker, so the list may name what a program may have.
		"-ldflags=-s -w -X hearth.alt/services/clock.Floor=" + o.Time.Format(time.RFC3339) +
			" -X hearth.alt/appliance/boot.Version=" + o.Version +
			" -X hearth.alt/appliance.Version=" + o.Version +
			" -X main.version=" + o.Version,
	}
	build := func(to string, packages ...string) error {
		args := append(append([]string{"build", "-o", to}, flags...), packages...)
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = o.Module
		cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+o.Board.GOARCH, "CGO_ENABLED=0", "GOARM64=v8.0", "GOAMD64=v1",
			"GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GO111MODULE=on")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("compiling %s for %s: %w\n%s", strings.Join(packages, ", "), o.Board.GOARCH, err, out)
		}
		return nil
	}
	system := append([]string{o.Init}, boards.Programs...)
	if o.Board.Method == boards.Pi {
		system = append(system, initramfsProgram)
	}
	if err := build(bin+"/", system...); err != nil {
		return "", err
	}
	return bin, build(filepath.Join(bin, "user", "hearth"), o.Program)
}

// moduleDirs says where the go command keeps the modules, fetching and checking them when they are not there yet.
func moduleDirs(ctx context.Context, dir string, modules []string) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"mod", "download", "-json"}, modules...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	out, err := cmd.Output()
	found := map[string]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var m struct{ Path, Dir, Error string }
		if err := d.Decode(&m); err != nil {
			return nil, fmt.Errorf("asking the go command for modules: %w", err)
		}
		if m.Error != "" {
			return nil, fmt.Errorf("fetching module %s: %s", m.Path, m.Error)
		}
		found[m.Path] = m.Dir
	}
	for _, m := range modules {
		if found[m] == "" {
			return nil, fmt.Errorf("fetching module %s: %w", m, errors.Join(err, errors.New("the go command did not say where it is")))
		}
	}
	return found, nil
}

// folder is a root file system in the making.
type folder struct {
	names map[string]*entry
	err   error
}

type entry struct {
	mode uint16
	dir  bool
	link string
	from string // a file of the building machine
	text []byte
}

func (t *folder) put(name string, e *entry) {
	if t.names == nil {
		t.names = map[string]*entry{}
	}
	for d := path.Dir(name); d != "."; d = path.Dir(d) {
		if t.names[d] == nil {
			t.names[d] = &entry{dir: true, mode: 0o755}
		}
	}
	if old := t.names[name]; old != nil && !(old.dir && e.dir) {
		t.err = errors.Join(t.err, fmt.Errorf("%s is there twice", name))
	}
	t.names[name] = e
}

func (t *folder) dir(name string)        { t.put(name, &entry{dir: true, mode: 0o755}) }
func (t *folder) link(name, to string)   { t.put(name, &entry{link: to, mode: 0o777}) }
func (t *folder) text(name, text string) { t.put(name, &entry{text: []byte(text), mode: 0o644}) }
func (t *folder) file(name, from string, mode uint16) {
	t.put(name, &entry{from: from, mode: mode})
}

// packRoot writes the tree as squashfs to path, unless what is there was made of the same tree.
func packRoot(o Options, t *folder, path string) error {
	if t.err != nil {
		return t.err
	}
	names := make([]string, 0, len(t.names))
	for n := range t.names {
		names = append(names, n)
	}
	slices.Sort(names)
	key := sha256.New()
	fmt.Fprintf(key, "root 1 %s %d\n", runtime.Version(), o.Time.Unix())
	open := map[string]*os.File{}
	defer func() {
		for _, f := range open {
			f.Close()
		}
	}()
	for _, n := range names {
		e := t.names[n]
		fmt.Fprintf(key, "%q %o %v %q %q\n", n, e.mode, e.dir, e.link, e.text)
		if e.from == "" {
			continue
		}
		f, err := os.Open(e.from)
		if err != nil {
			return err
		}
		open[n] = f
		if _, err := f.WriteTo(key); err != nil {
			return err
		}
		if _, err := f.Seek(0, 0); err != nil {
			return err
		}
	}
	sum := hex.EncodeToString(key.Sum(nil))
	if old, err := os.ReadFile(path + ".key"); err == nil && string(old) == sum {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
	}
	os.Remove(path + ".key") //nolint:errcheck // written again below
	root := &squashfs.Node{Dir: true, Mode: 0o755}
	nodes := map[string]*squashfs.Node{".": root}
	for _, n := range names {
		e := t.names[n]
		node := &squashfs.Node{Name: filepath.Base(n), Mode: e.mode, Dir: e.dir, Link: e.link}
		switch {
		case open[n] != nil:
			st, err := open[n].Stat()
			if err != nil {
				return err
			}
			node.Size, node.Content = st.Size(), open[n]
		case !e.dir && e.link == "":
			node.Size, node.Content = int64(len(e.text)), bytes.NewReader(e.text)
		}
		nodes[n] = node
		parent := nodes[filepath.Dir(n)]
		parent.Nodes = append(parent.Nodes, node)
	}
	err := replace(path, func(f *os.File) error {
		_, err := squashfs.Write(f, root, uint32(o.Time.Unix()))
		return err
	})
	if err != nil {
		return err
	}
	return os.WriteFile(path+".key", []byte(sum), 0o644)
}
