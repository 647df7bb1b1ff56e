package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
)

// FATFile is one file to be written by WriteFAT.
type FATFile struct {
	Path string // "loader/loader.conf"; folders are made as needed
	// Size is the length in bytes. Content shorter than it is followed by zeros: that is how a container is made
	// which a later version fits into.
	Size int64
	// Align is where the file's first byte may lie, counted from the start of the disk: a multiple of Align bytes.
	// The space up to the next multiple behind the file stays empty, so that nothing shares the block. 0 is one
	// cluster.
	Align   int64
	Content io.Reader
}

// FATConfig is the shape of a file system.
type FATConfig struct {
	Bits   int       // 16 or 32
	Offset int64     // where it begins on the disk, in bytes: w.WriteAt(b, Offset) is its first sector
	Size   int64     // bytes, a multiple of a sector
	Label  string    // at most 11 upper-case letters
	Serial uint32    // the volume's number
	Time   time.Time // of every file and folder; FAT knows two-second steps and no zone, UTC is written
}

// FATCluster is the cluster of every file system WriteFAT makes, in bytes. It equals the page of the kernels, so that
// a write to one file through the block device never rewrites a neighbour.
const FATCluster = 4096

// fatDataAlign is where cluster 2 begins, counted from the start of the disk.
const fatDataAlign = 1 << 20

// WriteFAT makes a file system with exactly these files, each in one run of clusters, in the order given. The bytes
// depend on the arguments only. w must read as zeros where nothing is written (a fresh file).
func WriteFAT(w io.WriterAt, cfg FATConfig, files []FATFile) error {
	l, err := planFAT(cfg, files)
	if err != nil {
		return err
	}
	for _, p := range l.meta() {
		if _, err := w.WriteAt(p.data, cfg.Offset+p.at); err != nil {
			return err
		}
	}
	for i, f := range files {
		at := l.clusterAt(l.first[i])
		n, err := io.Copy(io.NewOffsetWriter(w, cfg.Offset+at), io.LimitReader(f.Content, f.Size))
		if err != nil {
			return fmt.Errorf("writing %q: %w", f.Path, err)
		}
		if more, _ := io.CopyN(io.Discard, f.Content, 1); more > 0 {
			return fmt.Errorf("writing %q: it is longer than the %d bytes set aside", f.Path, n)
		}
	}
	return nil
}

type fatFolder struct {
	path    string
	entries []fatChild
	first   uint32
	count   uint32 // clusters
}

type fatChild struct {
	name string
	dir  *fatFolder // nil for a file
	file int        // index into files
}

type fatLayout struct {
	cfg      FATConfig
	files    []FATFile
	reserved int64 // sectors
	perFAT   int64 // sectors
	rootSecs int64 // FAT16
	clusters uint32
	folders  []*fatFolder // the root first
	first    []uint32     // of each file
	chains   [][2]uint32  // first, count
}

func (l *fatLayout) dataStart() int64 { return (l.reserved + 2*l.perFAT + l.rootSecs) * SectorSize }

func (l *fatLayout) clusterAt(c uint32) int64 { return l.dataStart() + int64(c-2)*FATCluster }

func planFAT(cfg FATConfig, files []FATFile) (*fatLayout, error) {
	if cfg.Bits != 16 && cfg.Bits != 32 || cfg.Size%SectorSize != 0 || cfg.Offset%SectorSize != 0 {
		return nil, fmt.Errorf("FAT%d of %d bytes at %d cannot be made", cfg.Bits, cfg.Size, cfg.Offset)
	}
	l := &fatLayout{cfg: cfg, files: files}
	if cfg.Bits == 16 {
		l.rootSecs = 512 * 32 / SectorSize
	}
	// The table is sized for the whole volume, then the reserved sectors are stretched until the data begins at a
	// multiple of 1 MiB of the disk.
	l.perFAT = ((cfg.Size/FATCluster+2)*int64(cfg.Bits)/8 + SectorSize - 1) / SectorSize
	l.reserved = 32
	pad := fatDataAlign - (cfg.Offset+l.dataStart())%fatDataAlign
	l.reserved += pad % fatDataAlign / SectorSize
	n := (cfg.Size - l.dataStart()) / FATCluster
	switch {
	case cfg.Bits == 16 && (n < 4085 || n > 65524), cfg.Bits == 32 && n < 65525, n > 1<<26:
		return nil, fmt.Errorf("%d bytes make %d clusters of %d, which is no FAT%d", cfg.Size, n, FATCluster, cfg.Bits)
	}
	l.clusters = uint32(n)

	// The tree of folders, in order of first mention.
	root := &fatFolder{}
	l.folders = []*fatFolder{root}
	byPath := map[string]*fatFolder{"": root}
	var folder func(p string) (*fatFolder, error)
	folder = func(p string) (*fatFolder, error) {
		if d := byPath[strings.ToLower(p)]; d != nil {
			return d, nil
		}
		dir, name := splitPath(p)
		parent, err := folder(dir)
		if err != nil {
			return nil, err
		}
		d := &fatFolder{path: p}
		byPath[strings.ToLower(p)] = d
		l.folders = append(l.folders, d)
		return d, parent.add(fatChild{name: name, dir: d})
	}
	for i, f := range files {
		dir, name := splitPath(f.Path)
		d, err := folder(dir)
		if err != nil {
			return nil, err
		}
		if err := d.add(fatChild{name: name, file: i}); err != nil {
			return nil, err
		}
	}

	// Folders first, then each file in one run.
	next := uint32(2)
	take := func(c uint32) (uint32, error) {
		at := next
		if uint64(next)+uint64(c) > uint64(l.clusters)+2 {
			return 0, fmt.Errorf("the files do not fit into %d bytes", cfg.Size)
		}
		next += c
		if c > 0 {
			l.chains = append(l.chains, [2]uint32{at, c})
		}
		return at, nil
	}
	for _, d := range l.folders {
		if d == root && cfg.Bits == 16 {
			if d.slots()+1 > 512 {
				return nil, fmt.Errorf("the root folder holds too many names")
			}
			continue
		}
		d.count = uint32((int64(d.slots()+3)*32 + FATCluster - 1) / FATCluster)
		var err error
		if d.first, err = take(d.count); err != nil {
			return nil, err
		}
	}
	for _, f := range files {
		align := max(f.Align, FATCluster)
		if align%FATCluster != 0 || f.Size < 0 || f.Size > 1<<32-1 {
			return nil, fmt.Errorf("%q: size %d or alignment %d cannot be had", f.Path, f.Size, align)
		}
		for (cfg.Offset+l.clusterAt(next))%align != 0 {
			next++
		}
		c := uint32((f.Size + FATCluster - 1) / FATCluster)
		at, err := take(c)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", f.Path, err)
		}
		for (cfg.Offset+l.clusterAt(next))%align != 0 {
			next++
		}
		if c == 0 {
			at = 0
		}
		l.first = append(l.first, at)
	}
	return l, nil
}

func splitPath(p string) (dir, name string) {
	dir, name = path.Split(strings.Trim(p, "/"))
	return strings.Trim(dir, "/"), name
}

func (d *fatFolder) add(c fatChild) error {
	if c.name == "" || len(utf16.Encode([]rune(c.name))) > 64 || strings.ContainsAny(c.name, "\"*/:<>?\\|") {
		return fmt.Errorf("%q is no name for FAT", c.name)
	}
	for _, o := range d.entries {
		if strings.EqualFold(o.name, c.name) {
			return fmt.Errorf("%q is there twice", path.Join(d.path, c.name))
		}
	}
	d.entries = append(d.entries, c)
	return nil
}

// slots is how many 32-byte entries the names take.
func (d *fatFolder) slots() int {
	n := 0
	for _, e := range d.entries {
		n += 1 + len(longEntries(e.name, [11]byte{}))
	}
	return n
}

type patch struct {
	at   int64
	data []byte
}

// meta returns everything but the files' content, by offset.
func (l *fatLayout) meta() []patch {
	le := binary.LittleEndian
	b := make([]byte, SectorSize)
	copy(b, []byte{0xeb, 0x58, 0x90})
	copy(b[3:], "HEARTH  ")
	le.PutUint16(b[11:], SectorSize)
	b[13] = FATCluster / SectorSize
	le.PutUint16(b[14:], uint16(l.reserved))
	b[16] = 2
	b[21] = 0xf8
	le.PutUint16(b[24:], 63)
	le.PutUint16(b[26:], 255)
	le.PutUint32(b[28:], uint32(l.cfg.Offset/SectorSize))
	le.PutUint32(b[32:], uint32(l.cfg.Size/SectorSize))
	ext, kind := 36, "FAT16   "
	if l.cfg.Bits == 32 {
		le.PutUint32(b[36:], uint32(l.perFAT))
		le.PutUint32(b[44:], l.folders[0].first)
		le.PutUint16(b[48:], 1) // FSInfo
		le.PutUint16(b[50:], 6) // copy of the boot sector
		ext, kind = 64, "FAT32   "
	} else {
		le.PutUint16(b[17:], 512)
		le.PutUint16(b[22:], uint16(l.perFAT))
	}
	b[ext], b[ext+2] = 0x80, 0x29
	le.PutUint32(b[ext+3:], l.cfg.Serial)
	copy(b[ext+7:], fmt.Sprintf("%-11.11s", l.cfg.Label))
	copy(b[ext+18:], kind)
	b[510], b[511] = 0x55, 0xaa
	out := []patch{{0, b}}

	used := uint32(0)
	entry := l.cfg.Bits / 8
	table := make([]byte, l.perFAT*SectorSize)
	set := func(c, v uint32) {
		if l.cfg.Bits == 16 {
			le.PutUint16(table[2*c:], uint16(v))
		} else {
			le.PutUint32(table[4*c:], v&0x0fffffff)
		}
	}
	set(0, 0x0ffffff8)
	set(1, 0x0fffffff)
	last := uint32(1)
	for _, ch := range l.chains {
		for i := range ch[1] {
			set(ch[0]+i, ch[0]+i+1)
		}
		last = ch[0] + ch[1] - 1
		set(last, 0x0fffffff)
		used += ch[1]
	}
	table = table[:max(int(last+1)*entry, SectorSize)]
	at := l.reserved * SectorSize
	out = append(out, patch{at, table}, patch{at + l.perFAT*SectorSize, table})

	if l.cfg.Bits == 32 {
		info := make([]byte, SectorSize)
		le.PutUint32(info, 0x41615252)
		le.PutUint32(info[484:], 0x61417272)
		le.PutUint32(info[488:], l.clusters-used)
		le.PutUint32(info[492:], last+1)
		info[510], info[511] = 0x55, 0xaa
		out = append(out, patch{SectorSize, info}, patch{6 * SectorSize, b}, patch{7 * SectorSize, info})
	}
	parents := map[*fatFolder]*fatFolder{}
	for _, d := range l.folders {
		for _, e := range d.entries {
			if e.dir != nil {
				parents[e.dir] = d
			}
		}
	}
	for i, d := range l.folders {
		pos := l.clusterAt(max(d.first, 2))
		if i == 0 && l.cfg.Bits == 16 {
			pos = (l.reserved + 2*l.perFAT) * SectorSize
		}
		out = append(out, patch{pos, l.folderBytes(d, parents[d])})
	}
	return out
}

func (l *fatLayout) folderBytes(d, parent *fatFolder) []byte {
	var out bytes.Buffer
	if parent == nil {
		out.Write(l.shortEntry([11]byte([]byte(fmt.Sprintf("%-11.11s", l.cfg.Label))), 0x08, 0, 0))
	} else {
		up := parent.first
		if parent == l.folders[0] {
			up = 0
		}
		out.Write(l.shortEntry([11]byte([]byte(".          ")), 0x10, d.first, 0))
		out.Write(l.shortEntry([11]byte([]byte("..         ")), 0x10, up, 0))
	}
	taken := map[[11]byte]bool{}
	for _, e := range d.entries {
		short := shortName(e.name, taken)
		taken[short] = true
		for _, le := range longEntries(e.name, short) {
			out.Write(le)
		}
		if e.dir != nil {
			out.Write(l.shortEntry(short, 0x10, e.dir.first, 0))
		} else {
			out.Write(l.shortEntry(short, 0x20, l.first[e.file], uint32(l.files[e.file].Size)))
		}
	}
	return out.Bytes()
}

func (l *fatLayout) shortEntry(name [11]byte, attr byte, first, size uint32) []byte {
	b := make([]byte, 32)
	le := binary.LittleEndian
	copy(b, name[:])
	b[11] = attr
	t := l.cfg.Time.UTC()
	date := uint16(t.Year()-1980)<<9 | uint16(t.Month())<<5 | uint16(t.Day())
	clock := uint16(t.Hour())<<11 | uint16(t.Minute())<<5 | uint16(t.Second()/2)
	le.PutUint16(b[14:], clock)
	le.PutUint16(b[16:], date)
	le.PutUint16(b[18:], date)
	le.PutUint16(b[20:], uint16(first>>16))
	le.PutUint16(b[22:], clock)
	le.PutUint16(b[24:], date)
	le.PutUint16(b[26:], uint16(first))
	le.PutUint32(b[28:], size)
	return b
}

// plainShort says whether name already is an upper-case 8.3 name, which needs no long one.
func plainShort(name string) (out [11]byte, ok bool) {
	base, ext, _ := strings.Cut(name, ".")
	if len(base) == 0 || len(base) > 8 || len(ext) > 3 || strings.Count(name, ".") > 1 {
		return out, false
	}
	for _, c := range base + ext {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return out, false
		}
	}
	copy(out[:], fmt.Sprintf("%-8s%-3s", base, ext))
	return out, true
}

// shortName makes the 8.3 name that stands beside a long one.
func shortName(name string, taken map[[11]byte]bool) [11]byte {
	if s, ok := plainShort(name); ok {
		return s
	}
	if s, ok := plainShort(strings.ToUpper(name)); ok && !taken[s] {
		return s
	}
	clean := func(s string) string {
		return strings.Map(func(r rune) rune {
			switch {
			case r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-':
				return r
			case r == '.' || r == ' ':
				return -1
			}
			return '_'
		}, strings.ToUpper(s))
	}
	base, ext := name, ""
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		base, ext = name[:i], name[i+1:]
	}
	base, ext = clean(base), clean(ext)
	ext = ext[:min(3, len(ext))]
	for i := 1; ; i++ {
		tail := fmt.Sprintf("~%d", i)
		var out [11]byte
		copy(out[:], fmt.Sprintf("%-8s%-3s", base[:min(8-len(tail), len(base))]+tail, ext))
		if !taken[out] {
			return out
		}
	}
}

// longEntries returns the entries that carry a long name, in the order they are stored; none for a plain short one.
func longEntries(name string, short [11]byte) [][]byte {
	if _, ok := plainShort(name); ok {
		return nil
	}
	sum := byte(0)
	for _, c := range short {
		sum = sum>>1 + sum<<7 + c
	}
	u := utf16.Encode([]rune(name))
	n := (len(u) + 12) / 13
	if len(u)%13 != 0 {
		u = append(u, 0)
	}
	for len(u) < 13*n {
		u = append(u, 0xffff)
	}
	var out [][]byte
	for i := range n {
		b := make([]byte, 32)
		b[0] = byte(i + 1)
		if i == n-1 {
			b[0] |= 0x40
		}
		b[11], b[13] = 0x0f, sum
		j := 13 * i
		for _, r := range [][2]int{{1, 11}, {14, 26}, {28, 32}} {
			for k := r[0]; k < r[1]; k += 2 {
				binary.LittleEndian.PutUint16(b[k:], u[j])
				j++
			}
		}
		out = append(out, b)
	}
	slices.Reverse(out)
	return out
}
