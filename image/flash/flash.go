// Package flash writes an image to a card and gives the card its claim code.
//
//	Look     what is this disk, and may it be overwritten?
//	Write    everything but the first MiB, then the first MiB, so that a half-written card never starts
//	Verify   read it all back from the card and compare
//	Claim    a random claim code into the place the image keeps for it, and the sheet for people beside the image
//
// It refuses whatever might be somebody's data: a disk that is mounted, held, swapped to, not removable, read-only,
// or a single partition. What can be overruled is told in the Refusal.
package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"hearth.alt/boards"
	"hearth.alt/boards/disk"
	"hearth.alt/services/claimcode"
)

// Options say what to write where.
type Options struct {
	Image string // .img, or .img.zst
	Board *boards.Board
	Disk  *Disk // from Look
	// Code is written to the card; the zero Code leaves the card without one, and the box makes its own.
	Code     claimcode.Code
	Progress func(Progress) // called about twice a second and at the end of each part; may be nil
}

// Progress is how far a part of the work is. Done counts bytes that are on the card, not in memory.
type Progress struct {
	Part  string // "writing", "checking"
	Done  int64
	Total int64
	Speed float64       // bytes a second over the last seconds; 0 while not known
	Left  time.Duration // 0 while not known
}

// chunk is written and brought to the card in one go. Small enough that the bar moves on a slow card, large enough
// that its controller is not made to write twice.
const chunk = 8 << 20

const head = 1 << 20

// Run writes, verifies and writes the claim code. The card must not be used while it runs.
func Run(ctx context.Context, o Options) error {
	size := o.Board.ImageSize()
	if o.Disk.Size > 0 && o.Disk.Size < size {
		return fmt.Errorf("%s has %s, the image needs %s", o.Disk.Path, bytesText(o.Disk.Size), bytesText(size))
	}
	flags := os.O_RDWR
	if o.Disk.Block {
		flags |= unix.O_EXCL // fails when someone mounted it since Look
	} else {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(o.Disk.Path, flags, 0o644)
	if err != nil {
		return fmt.Errorf("opening %s: %w", o.Disk.Path, err)
	}
	defer f.Close()
	first, err := write(ctx, o, f, size)
	if err != nil {
		return fmt.Errorf("writing %s: %w", o.Disk.Path, err)
	}
	if err := verify(ctx, o, f, size, first); err != nil {
		return err
	}
	if !o.Code.IsZero() {
		if err := writeCode(f, o); err != nil {
			return fmt.Errorf("writing the claim code: %w", err)
		}
	}
	if o.Disk.Block {
		unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0) //nolint:errcheck // the desktop looks again when the card is put in
	}
	return f.Close()
}

// open returns the image's bytes.
func open(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil || !strings.HasSuffix(path, ".zst") {
		return f, err
	}
	z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1))
	if err != nil {
		f.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{z, closer{z, f}}, nil
}

type closer struct {
	z *zstd.Decoder
	f *os.File
}

func (c closer) Close() error { c.z.Close(); return c.f.Close() }

// write puts the image on the card and returns its first MiB.
func write(ctx context.Context, o Options, f *os.File, size int64) ([]byte, error) {
	in, err := open(o.Image)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	first := make([]byte, head)
	if _, err := io.ReadFull(in, first); err != nil {
		return nil, fmt.Errorf("reading the image: %w", err)
	}
	// The old table goes first and the new one comes last; and an old backup table at the end must not outlive them.
	if _, err := f.WriteAt(make([]byte, head), 0); err != nil {
		return nil, err
	}
	if o.Disk.Size > size+head {
		if _, err := f.WriteAt(make([]byte, head), o.Disk.Size-head); err != nil {
			return nil, err
		}
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	m := newMeter(o.Progress, "writing", size)
	buf := make([]byte, chunk)
	for at := int64(head); at < size; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := io.ReadFull(in, buf[:min(chunk, size-at)])
		if err != nil {
			return nil, fmt.Errorf("reading the image at byte %d: %w", at, err)
		}
		if _, err := f.WriteAt(buf[:n], at); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		at += int64(n)
		m.add(int64(n))
	}
	if n, err := in.Read(buf[:1]); n > 0 || err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s is not an image for %s: it is longer than %d bytes (%w)", filepath.Base(o.Image), o.Board.Name, size, err)
	}
	if _, err := f.WriteAt(first, 0); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	m.add(head)
	m.end()
	return first, nil
}

// verify reads all of it back, past what the computer remembers.
func verify(ctx context.Context, o Options, f *os.File, size int64, first []byte) error {
	if err := forget(f, o.Disk.Block); err != nil {
		return fmt.Errorf("emptying the read cache of %s: %w", o.Disk.Path, err)
	}
	in, err := open(o.Image)
	if err != nil {
		return err
	}
	defer in.Close()
	m := newMeter(o.Progress, "checking", size)
	want, got := make([]byte, chunk), make([]byte, chunk)
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := int(min(chunk, size-at))
		if _, err := io.ReadFull(in, want[:n]); err != nil {
			return fmt.Errorf("reading the image: %w", err)
		}
		if at == 0 && !bytes.Equal(want[:head], first) {
			return errors.New("the image changed while it was written")
		}
		if _, err := f.ReadAt(got[:n], at); err != nil {
			return fmt.Errorf("reading %s back at byte %d: %w", o.Disk.Path, at, err)
		}
		if !bytes.Equal(want[:n], got[:n]) {
			i := 0
			for want[i] == got[i] {
				i++
			}
			return fmt.Errorf("%s did not keep what was written: byte %d differs; try another card or reader", o.Disk.Path, at+int64(i))
		}
		at += int64(n)
		m.add(int64(n))
	}
	m.end()
	return nil
}

// forget makes the next reads come from the card.
func forget(f *os.File, block bool) error {
	if block {
		return unix.IoctlSetInt(int(f.Fd()), unix.BLKFLSBUF, 0)
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// writeCode replaces the claim file's one block in place; no other byte of the FAT changes.
func writeCode(f *os.File, o Options) error {
	p := o.Board.Table.Part(boards.BootNumber)
	fat, err := disk.OpenFAT(f, p.Offset, p.Size)
	if err != nil {
		return err
	}
	_, ext, err := fat.Stat(boards.ClaimFile)
	if err != nil {
		return err
	}
	if len(ext) != 1 || ext[0].Length != boards.ConfigBlock {
		return fmt.Errorf("%s has no place of %d bytes in this image", boards.ClaimFile, boards.ConfigBlock)
	}
	sheet, err := o.Code.Sheet("")
	if err != nil {
		return err
	}
	block, err := boards.ClaimSheet(sheet)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(block, ext[0].Offset); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := forget(f, o.Disk.Block); err != nil {
		return err
	}
	got := make([]byte, len(block))
	if _, err := f.ReadAt(got, ext[0].Offset); err != nil {
		return err
	}
	if !bytes.Equal(got, block) {
		return errors.New("the card did not keep it")
	}
	return nil
}

// meter turns bytes into Progress.
type meter struct {
	report func(Progress)
	p      Progress
	marks  []mark // of the last seconds
	told   time.Time
}

type mark struct {
	at   time.Time
	done int64
}

// window is over how long the speed is measured: cards write in bursts of seconds.
const window = 10 * time.Second

func newMeter(report func(Progress), part string, total int64) *meter {
	return &meter{report: report, p: Progress{Part: part, Total: total}, marks: []mark{{time.Now(), 0}}}
}

func (m *meter) add(n int64) {
	now := time.Now()
	m.p.Done += n
	m.marks = append(m.marks, mark{now, m.p.Done})
	for len(m.marks) > 2 && now.Sub(m.marks[1].at) > window {
		m.marks = m.marks[1:]
	}
	if took := now.Sub(m.marks[0].at); took > time.Second {
		m.p.Speed = float64(m.p.Done-m.marks[0].done) / took.Seconds()
		m.p.Left = time.Duration(float64(m.p.Total-m.p.Done) / m.p.Speed * float64(time.Second))
	}
	if now.Sub(m.told) >= 500*time.Millisecond {
		m.tell(now)
	}
}

func (m *meter) tell(now time.Time) {
	m.told = now
	if m.report != nil {
		m.report(m.p)
	}
}

func (m *meter) end() {
	m.p.Left = 0
	m.tell(time.Now())
}

// String is one line for people: "writing 412 of 1126 MB, 21.3 MB/s, about 34 s left".
func (p Progress) String() string {
	s := fmt.Sprintf("%s %d of %d MB", p.Part, p.Done/1e6, p.Total/1e6)
	if p.Speed > 0 {
		s += fmt.Sprintf(", %.1f MB/s", p.Speed/1e6)
	}
	switch {
	case p.Left >= 2*time.Minute:
		s += fmt.Sprintf(", about %.0f minutes left", p.Left.Minutes())
	case p.Left >= time.Second:
		s += fmt.Sprintf(", about %.0f s left", p.Left.Seconds())
	}
	return s
}

func bytesText(n int64) string {
	if n < 1e9 {
		return fmt.Sprintf("%.0f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}
