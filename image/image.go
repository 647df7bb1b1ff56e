// Package image makes the bytes that go on a card: it compiles the programs for a board, packs them with a kernel
// into slots, and lays slots, loader, tables and an empty /perm out as package boards says.
//
//	programs, kernel, firmware, e2fsck ── Packer ──> Parts ── Assemble ──> hearth-<board>.img
//
// It needs no root, no loop device and no tool but Go (and apt or a ready file for e2fsck, see extra.go). The same
// commit makes the same bytes: every time is the commit's, every list is sorted, every number is fixed, nothing of
// the building machine goes in (no certificates, no zone, no host name, no path).
//
// Of gokrazy it takes kernels, firmware, the boot loader, process 1's Boot, dhcp, ntp and randomd, all pinned in
// go.mod. Its packer is not used: it copies the building machine's certificates and zone into the root, stamps the
// time of day into files, ends the process on an error, knows one kernel for both slots, and one version of it is
// all that can be had. Packer is the seam where it could be put back.
package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"hearth.alt/boards"
)

// What runs on the box: the main program and process 1.
const (
	DefaultProgram = "hearth.alt/appliance/cmd/hearth"
	DefaultInit    = "hearth.alt/appliance/cmd/init"
)

// Options say what to build. Board and Module are required.
type Options struct {
	Board  *boards.Board
	Module string // folder that holds hearth's go.mod; FindModule finds it
	Out    string // folder for the result; "" is <Module>/out
	// Version is shown to people and compared by updates; "" is made of the commit: "0.0.0-dev.<12 digits>".
	Version string
	// Time is given to every file and is the floor of the box's clock; zero takes SOURCE_DATE_EPOCH, else the
	// commit's time. It is cut to seconds.
	Time time.Time
	// Program is the import path of the main program, installed as /user/hearth; "" is DefaultProgram.
	Program string
	// Init is the import path of process 1, whose last element must be "init"; "" is DefaultInit.
	Init string
	// Tags are build tags for Hearth's own programs, beside those every image has. Tests only.
	Tags []string
	// Name is the file's name without ending; "" is hearth-<board>.
	Name string
	// Compress also makes Name.img.zst and the .sha256 files.
	Compress bool
	Log      io.Writer // progress, one line per step; nil is silence
	Packer   Packer    // nil is the Go packer
}

// Result is what was built.
type Result struct {
	Image      string // path
	Compressed string // path; "" without Compress
	SHA256     string // of Image, hexadecimal; "" without Compress
	Size       int64  // bytes of Image, holes included
	Packed     int64  // bytes of Compressed
	RootSize   int64  // bytes of one slot's squashfs
	Version    string
	Time       time.Time
}

// Packer makes the parts of one slot. Pack may keep what it made in o.work and reuse it when nothing changed.
type Packer interface {
	Pack(ctx context.Context, o Options) (*Parts, error)
}

// Parts are the files of one slot and of the boot partition, as paths. The bytes must depend on Options alone.
type Parts struct {
	Kernel    string
	Root      string            // root.squashfs
	Initramfs string            // Pi only
	Boot      map[string]string // UEFI: the loader on the ESP; Pi: what lies on p1; path there -> path here
	Slot      map[string]string // Pi only: firmware, device trees, overlays
}

// Build makes an image. It is quick when little changed: programs come from Go's build cache, and the root is packed
// again only when a file of it changed.
func Build(ctx context.Context, o Options) (*Result, error) {
	o, err := o.withDefaults(ctx)
	if err != nil {
		return nil, err
	}
	unlock, err := lock(filepath.Join(o.work(), "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	parts, err := o.Packer.Pack(ctx, o)
	if err != nil {
		return nil, err
	}
	r := &Result{Image: filepath.Join(o.Out, o.Name+".img"), Version: o.Version, Time: o.Time}
	if st, err := os.Stat(parts.Root); err == nil {
		r.RootSize = st.Size()
	}
	start := time.Now()
	if err := replace(r.Image, func(f *os.File) error { return Assemble(f, o.Board, parts, o.Time) }); err != nil {
		return nil, fmt.Errorf("assembling the image: %w", err)
	}
	o.logf("laid out %s in %s", filepath.Base(r.Image), since(start))
	r.Size = o.Board.ImageSize()
	if !o.Compress {
		return r, nil
	}
	start = time.Now()
	if err := compress(r, r.Image+".zst"); err != nil {
		return nil, fmt.Errorf("compressing the image: %w", err)
	}
	o.logf("compressed to %.1f MB in %s", float64(r.Packed)/1e6, since(start))
	return r, nil
}

func since(t time.Time) time.Duration { return time.Since(t).Round(10 * time.Millisecond) }

func (o Options) logf(format string, args ...any) {
	if o.Log != nil {
		fmt.Fprintf(o.Log, format+"\n", args...)
	}
}

// work is where things are kept between builds.
func (o Options) work() string {
	return filepath.Join(o.Module, "out", ".work", o.Board.Name+"-"+o.Name)
}

var versionForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+-]{0,63}$`)

func (o Options) withDefaults(ctx context.Context) (Options, error) {
	if o.Board == nil || o.Module == "" {
		return o, errors.New("building an image: no board or no module folder given")
	}
	var err error
	if o.Module, err = filepath.Abs(o.Module); err != nil {
		return o, err
	}
	if o.Out == "" {
		o.Out = filepath.Join(o.Module, "out")
	}
	if o.Program == "" {
		o.Program = DefaultProgram
	}
	if o.Init == "" {
		o.Init = DefaultInit
	}
	if o.Name == "" {
		o.Name = "hearth-" + o.Board.Name
	}
	if o.Packer == nil {
		o.Packer = goPacker{}
	}
	if o.Time.IsZero() {
		if o.Time, err = commitTime(ctx, o.Module); err != nil {
			return o, err
		}
	}
	o.Time = o.Time.UTC().Truncate(time.Second)
	if y := o.Time.Year(); y < 2020 || y > 2100 {
		return o, fmt.Errorf("an image dated %s cannot be made: FAT and the clock's floor want 2020 to 2100", o.Time.Format(time.DateOnly))
	}
	if o.Version == "" {
		o.Version = "0.0.0-dev"
		if out, err := git(ctx, o.Module, "rev-parse", "--short=12", "HEAD"); err == nil {
			o.Version += "." + out
		}
	}
	if !versionForm.MatchString(o.Version) {
		return o, fmt.Errorf("%q is no version: letters, digits, dot, plus and dash, at most 64", o.Version)
	}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return o, err
	}
	return o, os.MkdirAll(o.work(), 0o755)
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}

// commitTime is SOURCE_DATE_EPOCH, else the time of the commit that is checked out.
func commitTime(ctx context.Context, dir string) (time.Time, error) {
	s := os.Getenv("SOURCE_DATE_EPOCH")
	if s == "" {
		var err error
		if s, err = git(ctx, dir, "show", "--no-patch", "--format=%ct", "HEAD"); err != nil {
			return time.Time{}, errors.New("the time of the commit is not known here: set SOURCE_DATE_EPOCH to Unix seconds")
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH %q is not a number of seconds", s)
	}
	return time.Unix(n, 0), nil
}

// lock keeps a second build of the same image waiting.
func lock(path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("waiting for another build: %w", err)
	}
	return func() { f.Close() }, nil
}

// FindModule returns the folder of the go.mod that dir belongs to.
func FindModule(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		b, err := os.ReadFile(filepath.Join(d, "go.mod"))
		if err == nil && bytes.HasPrefix(b, []byte("module hearth.alt\n")) {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("%q does not lie in Hearth's source tree", dir)
		}
	}
}

// replace writes a file beside path and puts it in path's place only when all went well.
func replace(path string, write func(*os.File) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-"+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := write(f); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// compress writes the image's .zst and the .sha256 beside both. The window stays within the 128 MiB that every zstd
// decoder takes without being asked.
func compress(r *Result, path string) error {
	in, err := os.Open(r.Image)
	if err != nil {
		return err
	}
	defer in.Close()
	whole, packed := sha256.New(), sha256.New()
	err = replace(path, func(f *os.File) error {
		count := &counter{}
		z, err := zstd.NewWriter(io.MultiWriter(f, packed, count), zstd.WithEncoderLevel(zstd.SpeedBetterCompression),
			zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8<<20), zstd.WithEncoderCRC(true))
		if err != nil {
			return err
		}
		if _, err := io.Copy(z, io.TeeReader(in, whole)); err != nil {
			return err
		}
		err = z.Close()
		r.Packed = count.n
		return err
	})
	if err != nil {
		return err
	}
	r.Compressed = path
	r.SHA256 = hex.EncodeToString(whole.Sum(nil))
	for p, sum := range map[string]string{r.Image: r.SHA256, path: hex.EncodeToString(packed.Sum(nil))} {
		line := sum + "  " + filepath.Base(p) + "\n"
		if err := replace(p+".sha256", func(f *os.File) error { _, err := f.WriteString(line); return err }); err != nil {
			return err
		}
	}
	return nil
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }
