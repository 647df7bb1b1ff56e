package image

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"hearth.alt/boards"
	"hearth.alt/boards/disk"
)

// permImage is an empty ext4 of 256 MiB; internal/perm/perm.sh says how it was made.
//
//go:embed internal/perm/perm.ext4.zst
var permImage []byte

// Perm returns a reader of the empty file system that /perm begins as, for the image and for a replacement disk.
func Perm() (io.ReadCloser, error) {
	z, err := zstd.NewReader(bytes.NewReader(permImage), zstd.WithDecoderMaxMemory(1<<30), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return z.IOReadCloser(), nil
}

// Assemble lays an image out in f, which must be empty. Both slots get the same version and slot a is committed.
// Zeros are left out, so the file is sparse where the file system can do that.
func Assemble(f *os.File, b *boards.Board, parts *Parts, at time.Time) error {
	if err := f.Truncate(b.ImageSize()); err != nil {
		return err
	}
	w := sparse{f}
	sectors := uint64(b.ImageSize() / disk.SectorSize)
	a := assembler{w: w, board: b, parts: parts, time: at}
	defer a.close()
	var err error
	if b.Method == boards.UEFI {
		g := b.GPT(sectors)
		a.write(g.Primary(), 0)
		a.write(g.Backup(), int64(sectors-disk.GPTReserve)*disk.SectorSize)
		err = a.uefi()
	} else {
		a.write(b.MBR().Sector(), 0)
		err = a.pi()
	}
	if err == nil {
		err = a.err
	}
	if err != nil {
		return err
	}
	perm, err := Perm()
	if err != nil {
		return err
	}
	defer perm.Close()
	p := b.Table.Part(boards.PermNumber)
	n, err := io.Copy(io.NewOffsetWriter(w, p.Offset), perm)
	if err != nil || n != p.Size {
		return fmt.Errorf("writing /perm: %d of %d bytes: %w", n, p.Size, err)
	}
	return nil
}

// assembler remembers the first error, so that lists of files read as lists.
type assembler struct {
	w     io.WriterAt
	board *boards.Board
	parts *Parts
	time  time.Time
	open  []*os.File
	err   error
}

func (a *assembler) close() {
	for _, f := range a.open {
		f.Close()
	}
}

func (a *assembler) write(p []byte, at int64) {
	if _, err := a.w.WriteAt(p, at); err != nil && a.err == nil {
		a.err = err
	}
}

// file is a FATFile with the content of the file at from; size 0 is the file's own.
func (a *assembler) file(path, from string, size, align int64) disk.FATFile {
	f, err := os.Open(from)
	if err != nil {
		if a.err == nil {
			a.err = err
		}
		return disk.FATFile{Path: path, Content: bytes.NewReader(nil)}
	}
	a.open = append(a.open, f)
	st, err := f.Stat()
	if err != nil && a.err == nil {
		a.err = err
	}
	if size == 0 {
		size = st.Size()
	}
	if st.Size() > size && a.err == nil {
		a.err = fmt.Errorf("%s has %d bytes, its place only %d", path, st.Size(), size)
	}
	return disk.FATFile{Path: path, Size: size, Align: align, Content: f}
}

func text(path string, content []byte, align int64) disk.FATFile {
	return disk.FATFile{Path: path, Size: int64(len(content)), Align: align, Content: bytes.NewReader(content)}
}

func (a *assembler) sorted(files map[string]string) []disk.FATFile {
	var out []disk.FATFile
	for _, path := range slices.Sorted(maps.Keys(files)) {
		out = append(out, a.file(path, files[path], 0, 0))
	}
	return out
}

func (a *assembler) fat(p boards.Partition, bits int, label string, files []disk.FATFile) error {
	if a.err != nil {
		return a.err
	}
	err := disk.WriteFAT(a.w, disk.FATConfig{
		Bits: bits, Offset: p.Offset, Size: p.Size, Label: label, Time: a.time,
		Serial: 0x48540000 | uint32(p.Number),
	}, files)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	return nil
}

// uefi writes the ESP and both roots.
func (a *assembler) uefi() error {
	b := a.board
	files := a.sorted(a.parts.Boot)
	for _, s := range boards.Slots() {
		files = append(files, text("loader/entries/"+string(s)+".conf", b.Entry(s, ""), 0))
	}
	files = append(files,
		text(b.CommitFile(), b.CommitBlock(boards.SlotA), boards.ConfigAlign),
		text(boards.ClaimFile, boards.ClaimBlank(), boards.ConfigAlign))
	for _, s := range boards.Slots() {
		files = append(files, a.file(string(s)+"/"+boards.KernelFile, a.parts.Kernel, b.KernelSpace, boards.MiB))
	}
	if err := a.fat(b.Table.Part(boards.BootNumber), 32, "HEARTH", files); err != nil {
		return err
	}
	for _, s := range boards.Slots() {
		p := b.Table.Part(s.Number())
		f, err := os.Open(a.parts.Root)
		if err != nil {
			return err
		}
		n, err := io.Copy(io.NewOffsetWriter(a.w, p.Offset), io.LimitReader(f, p.Size+1))
		f.Close()
		if err != nil {
			return err
		}
		if n > p.Size {
			return fmt.Errorf("the root does not fit into the %d MiB of its partition", p.Size/boards.MiB)
		}
	}
	return nil
}

// pi writes BOOTSEL and both slots.
func (a *assembler) pi() error {
	b := a.board
	files := append(a.sorted(a.parts.Boot),
		text("config.txt", nil, 0), // some models want the file to be there, empty
		text(b.CommitFile(), b.CommitBlock(boards.SlotA), boards.ConfigAlign),
		text(boards.ClaimFile, boards.ClaimBlank(), boards.ConfigAlign))
	if err := a.fat(b.Table.Part(boards.BootNumber), 16, "HEARTH", files); err != nil {
		return err
	}
	for _, s := range boards.Slots() {
		files := []disk.FATFile{
			text("config.txt", b.ConfigTxt(), 0),
			text("cmdline.txt", []byte(b.Cmdline("")+"\n"), 0),
			text("cmdline-a.txt", []byte(b.Cmdline(boards.SlotA)+"\n"), 0),
			text("cmdline-b.txt", []byte(b.Cmdline(boards.SlotB)+"\n"), 0),
		}
		files = append(files, a.sorted(a.parts.Slot)...)
		files = append(files,
			a.file(boards.Initramfs, a.parts.Initramfs, 0, 0),
			a.file(boards.KernelFile, a.parts.Kernel, 0, 0),
			a.file(boards.RootFile, a.parts.Root, 0, boards.MiB))
		if err := a.fat(b.Table.Part(s.Number()), 32, "SLOT-"+strings.ToUpper(string(s)), files); err != nil {
			return err
		}
	}
	return nil
}

// sparse leaves zeros out of writes to a fresh file.
type sparse struct{ f *os.File }

var zeros [64 << 10]byte

func (s sparse) WriteAt(p []byte, off int64) (int, error) {
	for i := 0; i < len(p); {
		n := min(len(p)-i, len(zeros)-int((off+int64(i))%int64(len(zeros))))
		if !bytes.Equal(p[i:i+n], zeros[:n]) {
			if _, err := s.f.WriteAt(p[i:i+n], off+int64(i)); err != nil {
				return i, err
			}
		}
		i += n
	}
	return len(p), nil
}
