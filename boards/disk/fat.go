package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode/utf16"
)

// FAT reads a FAT16 or FAT32 file system (Microsoft FAT specification, version 1.03; FAT12 is refused). It never
// writes; a caller that wants to change a file in place asks Stat for where the bytes are.
//
// It is made for small trees: every walk through the table is bounded by the number of clusters.
type FAT struct {
	r        io.ReaderAt
	off      int64 // of the file system, in bytes
	bits     int   // 16 or 32
	cluster  int64 // bytes
	clusters uint32
	table    int64 // byte offset of the first table
	data     int64 // byte offset of cluster 2
	root     int64 // FAT16: byte offset of the root folder
	rootLen  int64 // FAT16: bytes of it
	rootClus uint32
}

// Extent is a run of bytes on the disk.
type Extent struct {
	Offset, Length int64
}

// FATEntry is a file or folder.
type FATEntry struct {
	Name    string
	Dir     bool
	Size    int64
	cluster uint32
}

// ErrNotFAT is returned by OpenFAT when the bytes are no FAT16 or FAT32 file system.
var ErrNotFAT = errors.New("not a FAT16 or FAT32 file system")

// OpenFAT reads the file system that begins off bytes into r and is at most size bytes long.
func OpenFAT(r io.ReaderAt, off, size int64) (*FAT, error) {
	b := make([]byte, SectorSize)
	if _, err := r.ReadAt(b, off); err != nil {
		return nil, fmt.Errorf("reading the FAT boot sector: %w", err)
	}
	le := binary.LittleEndian
	if b[510] != 0x55 || b[511] != 0xaa || le.Uint16(b[11:]) != SectorSize {
		return nil, ErrNotFAT
	}
	perCluster, reserved, fats := int64(b[13]), int64(le.Uint16(b[14:])), int64(b[16])
	rootEntries := int64(le.Uint16(b[17:]))
	sectors, perFAT := int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if sectors == 0 {
		sectors = int64(le.Uint32(b[32:]))
	}
	fat32 := perFAT == 0
	if fat32 {
		perFAT = int64(le.Uint32(b[36:]))
	}
	rootSectors := (rootEntries*32 + SectorSize - 1) / SectorSize
	first := reserved + fats*perFAT + rootSectors
	if perCluster == 0 || perCluster&(perCluster-1) != 0 || reserved == 0 || fats == 0 || fats > 2 || perFAT == 0 ||
		sectors*SectorSize > size || first >= sectors {
		return nil, ErrNotFAT
	}
	f := &FAT{r: r, off: off, bits: 16, cluster: perCluster * SectorSize}
	n := (sectors - first) / perCluster
	if fat32 {
		f.bits = 32
		f.rootClus = le.Uint32(b[44:])
	}
	if !fat32 && (n < 4085 || n >= 65525) || n > perFAT*SectorSize*8/int64(f.bits)-2 || n > 0x0ffffff0 {
		return nil, ErrNotFAT
	}
	f.clusters = uint32(n)
	f.table = off + reserved*SectorSize
	f.root = f.table + fats*perFAT*SectorSize
	f.rootLen = rootEntries * 32
	f.data = off + first*SectorSize
	return f, nil
}

// next returns the cluster that follows c, and false at the end of the chain.
func (f *FAT) next(c uint32) (uint32, bool, error) {
	b := make([]byte, 4)
	if f.bits == 16 {
		if _, err := f.r.ReadAt(b[:2], f.table+2*int64(c)); err != nil {
			return 0, false, err
		}
		n := uint32(binary.LittleEndian.Uint16(b))
		return n, n < 0xfff8, nil
	}
	if _, err := f.r.ReadAt(b, f.table+4*int64(c)); err != nil {
		return 0, false, err
	}
	n := binary.LittleEndian.Uint32(b) & 0x0fffffff
	return n, n < 0x0ffffff8, nil
}

// extents walks a chain for at most limit bytes.
func (f *FAT) extents(c uint32, limit int64) ([]Extent, error) {
	var out []Extent
	for steps := uint32(0); limit > 0; steps++ {
		if c < 2 || c-2 >= f.clusters || steps > f.clusters {
			return nil, fmt.Errorf("the FAT chain leads to cluster %d of %d", c, f.clusters)
		}
		e := Extent{f.data + int64(c-2)*f.cluster, min(f.cluster, limit)}
		limit -= e.Length
		if n := len(out); n > 0 && out[n-1].Offset+out[n-1].Length == e.Offset {
			out[n-1].Length += e.Length
		} else {
			out = append(out, e)
		}
		next, more, err := f.next(c)
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		c = next
	}
	if limit > 0 {
		return out, io.ErrUnexpectedEOF
	}
	return out, nil
}

// maxFolder bounds what a folder may hold, in bytes: 2,048 entries of 32 bytes.
const maxFolder = 64 << 10

func (f *FAT) folder(e FATEntry) ([]FATEntry, error) {
	var b []byte
	if e.cluster == 0 && f.bits == 16 {
		b = make([]byte, min(f.rootLen, maxFolder))
		if _, err := f.r.ReadAt(b, f.root); err != nil {
			return nil, err
		}
	} else {
		c := e.cluster
		if c == 0 {
			c = f.rootClus
		}
		ext, err := f.extents(c, maxFolder)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, err
		}
		for _, x := range ext {
			part := make([]byte, x.Length)
			if _, err := f.r.ReadAt(part, x.Offset); err != nil {
				return nil, err
			}
			b = append(b, part...)
		}
	}
	return parseFolder(b), nil
}

// parseFolder reads the 32-byte entries of a folder, long names included.
func parseFolder(b []byte) []FATEntry {
	var out []FATEntry
	var long []uint16
	for ; len(b) >= 32; b = b[32:] {
		d := b[:32]
		switch {
		case d[0] == 0:
			return out
		case d[0] == 0xe5:
			long = nil
			continue
		case d[11]&0x3f == 0x0f:
			if d[0]&0x40 != 0 {
				long = nil
			}
			var part []uint16
			for _, r := range [][2]int{{1, 11}, {14, 26}, {28, 32}} {
				for i := r[0]; i < r[1]; i += 2 {
					part = append(part, binary.LittleEndian.Uint16(d[i:]))
				}
			}
			if len(long) < 260 {
				long = append(part, long...)
			}
			continue
		case d[11]&0x08 != 0: // the label
			long = nil
			continue
		}
		name := strings.TrimRight(string(d[0:8]), " ")
		if ext := strings.TrimRight(string(d[8:11]), " "); ext != "" {
			name += "." + ext
		}
		if long != nil {
			for i, u := range long {
				if u == 0 {
					long = long[:i]
					break
				}
			}
			name = string(utf16.Decode(long))
			long = nil
		}
		if name == "." || name == ".." {
			continue
		}
		out = append(out, FATEntry{
			Name:    name,
			Dir:     d[11]&0x10 != 0,
			Size:    int64(binary.LittleEndian.Uint32(d[28:])),
			cluster: uint32(binary.LittleEndian.Uint16(d[20:]))<<16 | uint32(binary.LittleEndian.Uint16(d[26:])),
		})
	}
	return out
}

// ReadDir lists the folder at path, "" or "/" being the root. Names compare without case, as FAT does.
func (f *FAT) ReadDir(path string) ([]FATEntry, error) {
	e, err := f.find(path)
	if err != nil {
		return nil, err
	}
	if !e.Dir {
		return nil, fmt.Errorf("%q is a file", path)
	}
	return f.folder(e)
}

func (f *FAT) find(path string) (FATEntry, error) {
	at := FATEntry{Dir: true}
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if part == "" {
			continue
		}
		if !at.Dir {
			return FATEntry{}, fmt.Errorf("finding %q: %w", path, fs.ErrNotExist)
		}
		list, err := f.folder(at)
		if err != nil {
			return FATEntry{}, fmt.Errorf("finding %q: %w", path, err)
		}
		found := false
		for _, e := range list {
			if strings.EqualFold(e.Name, part) {
				at, found = e, true
				break
			}
		}
		if !found {
			return FATEntry{}, fmt.Errorf("finding %q: %w", path, fs.ErrNotExist)
		}
	}
	return at, nil
}

// Stat finds the file at path and says where its bytes are, as offsets into the reader given to OpenFAT. It matches
// fs.ErrNotExist.
func (f *FAT) Stat(path string) (FATEntry, []Extent, error) {
	e, err := f.find(path)
	if err != nil {
		return e, nil, err
	}
	if e.Dir || e.Size == 0 {
		return e, nil, nil
	}
	ext, err := f.extents(e.cluster, e.Size)
	if err != nil {
		return e, nil, fmt.Errorf("reading %q: %w", path, err)
	}
	return e, ext, nil
}

// Open returns the content of the file at path.
func (f *FAT) Open(path string) (*io.SectionReader, error) {
	e, ext, err := f.Stat(path)
	if err != nil {
		return nil, err
	}
	if e.Dir {
		return nil, fmt.Errorf("%q is a folder", path)
	}
	if len(ext) == 1 {
		return io.NewSectionReader(f.r, ext[0].Offset, ext[0].Length), nil
	}
	return io.NewSectionReader(scattered{f.r, ext}, 0, e.Size), nil
}

// ReadFile returns the content of the file at path, which must not be longer than limit bytes.
func (f *FAT) ReadFile(path string, limit int64) ([]byte, error) {
	r, err := f.Open(path)
	if err != nil {
		return nil, err
	}
	if r.Size() > limit {
		return nil, fmt.Errorf("%q is %d bytes long, at most %d were expected", path, r.Size(), limit)
	}
	return io.ReadAll(r)
}

// scattered reads a file that lies in several runs.
type scattered struct {
	r   io.ReaderAt
	ext []Extent
}

func (s scattered) ReadAt(p []byte, off int64) (n int, err error) {
	for _, e := range s.ext {
		if off >= e.Length {
			off -= e.Length
			continue
		}
		m := int(min(int64(len(p)-n), e.Length-off))
		k, err := s.r.ReadAt(p[n:n+m], e.Offset+off)
		n += k
		if err != nil {
			return n, err
		}
		if n == len(p) {
			return n, nil
		}
		off = 0
	}
	return n, io.EOF
}
