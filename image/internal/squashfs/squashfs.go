// Package squashfs writes a squashfs 4.0 file system (Linux Documentation/filesystems/squashfs.rst) whose bytes
// depend only on the tree and the time it is given. It knows folders, files and symbolic links, all owned by root,
// compressed with zlib, the one method every pinned kernel has. No fragments, no extended attributes, no export
// table: a root file system of a few large programs gains nothing from them.
//
// Layout: superblock (96 bytes) | data blocks | inode table | folder table | id table; all little endian. The two
// tables are cut into pieces of 8 KiB, each behind a 16-bit length whose top bit means "stored, not compressed".
package squashfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"sync"

	"github.com/klauspost/compress/zlib"
)

// Node is a file, folder or symbolic link. Exactly one of Dir, Link and Content applies.
type Node struct {
	Name    string
	Mode    uint16 // permission bits
	Dir     bool
	Nodes   []*Node // of a folder
	Link    string  // target of a symbolic link
	Size    int64   // of Content
	Content io.Reader

	number uint32
	ref    uint64
	kind   uint16
}

const (
	blockSize   = 128 << 10
	metaSize    = 8 << 10
	stored      = 1 << 24 // of a data block's length
	noTable     = math.MaxUint64
	kindDir     = 1
	kindFile    = 2
	kindLink    = 3
	noFragments = 0x0010
	noXattrs    = 0x0200
)

// Write writes the tree below root to w, from offset 0, and returns the length, a multiple of 4 KiB. time is the
// modification time of everything, in Unix seconds. Folders are sorted in place.
func Write(w io.WriterAt, root *Node, time uint32) (int64, error) {
	b := &builder{w: w, time: time, at: 96}
	count := uint32(0)
	if err := b.number(root, &count); err != nil {
		return 0, err
	}
	if err := b.node(root, count+1); err != nil {
		return 0, err
	}
	inodes := b.at
	if err := b.append(b.inodes.finish()); err != nil {
		return 0, err
	}
	folders := b.at
	if err := b.append(b.folders.finish()); err != nil {
		return 0, err
	}
	// One owner, root: a metadata piece with one 32-bit zero, then the place of that piece.
	ids := b.at
	if err := b.append(append([]byte{4, 0x80}, 0, 0, 0, 0)); err != nil {
		return 0, err
	}
	table := b.at
	if err := b.append(binary.LittleEndian.AppendUint64(nil, uint64(ids))); err != nil {
		return 0, err
	}
	used := b.at
	if pad := -used & 4095; pad > 0 {
		if err := b.append(make([]byte, pad)); err != nil {
			return 0, err
		}
	}
	s := make([]byte, 0, 96)
	le := binary.LittleEndian
	s = le.AppendUint32(s, 0x73717368)
	s = le.AppendUint32(s, count)
	s = le.AppendUint32(s, time)
	s = le.AppendUint32(s, blockSize)
	s = le.AppendUint32(s, 0) // fragments
	s = le.AppendUint16(s, 1) // zlib
	s = le.AppendUint16(s, uint16(bits.TrailingZeros(blockSize)))
	s = le.AppendUint16(s, noFragments|noXattrs)
	s = le.AppendUint16(s, 1) // owners
	s = le.AppendUint16(s, 4)
	s = le.AppendUint16(s, 0)
	s = le.AppendUint64(s, root.ref)
	s = le.AppendUint64(s, uint64(used))
	s = le.AppendUint64(s, uint64(table))
	s = le.AppendUint64(s, noTable)
	s = le.AppendUint64(s, uint64(inodes))
	s = le.AppendUint64(s, uint64(folders))
	s = le.AppendUint64(s, noTable)
	s = le.AppendUint64(s, noTable)
	if _, err := w.WriteAt(s, 0); err != nil {
		return 0, err
	}
	return b.at, nil
}

type builder struct {
	w       io.WriterAt
	time    uint32
	at      int64
	inodes  meta
	folders meta
}

func (b *builder) append(p []byte) error {
	_, err := b.w.WriteAt(p, b.at)
	b.at += int64(len(p))
	return err
}

// number sorts the folders, checks the names and gives each node its number, folders before their content.
func (b *builder) number(n *Node, count *uint32) error {
	*count++
	n.number = *count
	slices.SortFunc(n.Nodes, func(x, y *Node) int { return bytes.Compare([]byte(x.Name), []byte(y.Name)) })
	for i, c := range n.Nodes {
		if c.Name == "" || len(c.Name) > 255 || bytes.ContainsAny([]byte(c.Name), "/\x00") {
			return fmt.Errorf("%q is no file name", c.Name)
		}
		if i > 0 && n.Nodes[i-1].Name == c.Name {
			return fmt.Errorf("%q is twice in folder %q", c.Name, n.Name)
		}
		if err := b.number(c, count); err != nil {
			return err
		}
	}
	return nil
}

// node writes what is below n, then n itself, and sets n.ref.
func (b *builder) node(n *Node, parent uint32) error {
	le := binary.LittleEndian
	head := func(kind uint16) []byte {
		n.kind = kind
		i := le.AppendUint16(nil, kind)
		i = le.AppendUint16(i, n.Mode)
		i = le.AppendUint16(i, 0) // owner and group: the first id
		i = le.AppendUint16(i, 0)
		i = le.AppendUint32(i, b.time)
		return le.AppendUint32(i, n.number)
	}
	switch {
	case n.Dir:
		for _, c := range n.Nodes {
			if err := b.node(c, n.number); err != nil {
				return fmt.Errorf("%s/%w", n.Name, err)
			}
		}
		block, offset := b.folders.place()
		list := listing(n.Nodes)
		if len(list)+3 > math.MaxUint16 {
			return fmt.Errorf("folder %q holds too many names", n.Name)
		}
		b.folders.write(list)
		links := uint32(2)
		for _, c := range n.Nodes {
			if c.Dir {
				links++
			}
		}
		i := head(kindDir)
		i = le.AppendUint32(i, uint32(block))
		i = le.AppendUint32(i, links)
		i = le.AppendUint16(i, uint16(len(list)+3))
		i = le.AppendUint16(i, uint16(offset))
		i = le.AppendUint32(i, parent)
		n.ref = b.inodes.add(i)
	case n.Link != "":
		i := head(kindLink)
		i = le.AppendUint32(i, 1)
		i = le.AppendUint32(i, uint32(len(n.Link)))
		n.ref = b.inodes.add(append(i, n.Link...))
	default:
		if n.Size >= math.MaxUint32 {
			return fmt.Errorf("%s: a file of %d bytes", n.Name, n.Size)
		}
		start := b.at
		lengths, err := b.data(n)
		if err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
		i := head(kindFile)
		i = le.AppendUint32(i, uint32(start))
		i = le.AppendUint32(i, math.MaxUint32) // no fragment
		i = le.AppendUint32(i, 0)
		i = le.AppendUint32(i, uint32(n.Size))
		for _, l := range lengths {
			i = le.AppendUint32(i, l)
		}
		n.ref = b.inodes.add(i)
	}
	return nil
}

// data writes a file's blocks, compressing four at a time, and returns their lengths as the inode stores them.
func (b *builder) data(n *Node) ([]uint32, error) {
	if n.Size == 0 {
		return nil, nil
	}
	var lengths []uint32
	const batch = 16
	raw := make([][]byte, 0, batch)
	packed := make([][]byte, batch)
	left := n.Size
	for left > 0 {
		raw = raw[:0]
		for len(raw) < batch && left > 0 {
			block := make([]byte, min(left, blockSize))
			if _, err := io.ReadFull(n.Content, block); err != nil {
				return nil, fmt.Errorf("reading: %w", err)
			}
			left -= int64(len(block))
			raw = append(raw, block)
		}
		var wg sync.WaitGroup
		for i, block := range raw {
			wg.Go(func() { packed[i] = deflate(block) })
		}
		wg.Wait()
		for i, block := range raw {
			p, flag := packed[i], uint32(0)
			if len(p) >= len(block) {
				p, flag = block, stored
			}
			lengths = append(lengths, uint32(len(p))|flag)
			if err := b.append(p); err != nil {
				return nil, err
			}
		}
		if b.at > math.MaxUint32 {
			return nil, fmt.Errorf("the file system is larger than 4 GiB")
		}
	}
	return lengths, nil
}

// listing is a folder's entries: runs of at most 256 that share one piece of the inode table, each behind a header.
func listing(nodes []*Node) []byte {
	var out []byte
	le := binary.LittleEndian
	for len(nodes) > 0 {
		first := nodes[0]
		run := 1
		for run < len(nodes) && run < 256 && nodes[run].ref>>16 == first.ref>>16 &&
			int64(nodes[run].number)-int64(first.number) <= math.MaxInt16 {
			run++
		}
		out = le.AppendUint32(out, uint32(run-1))
		out = le.AppendUint32(out, uint32(first.ref>>16))
		out = le.AppendUint32(out, first.number)
		for _, n := range nodes[:run] {
			out = le.AppendUint16(out, uint16(n.ref))
			out = le.AppendUint16(out, uint16(n.number-first.number))
			out = le.AppendUint16(out, n.kind)
			out = le.AppendUint16(out, uint16(len(n.Name)-1))
			out = append(out, n.Name...)
		}
		nodes = nodes[run:]
	}
	return out
}

// meta collects a table in pieces.
type meta struct {
	out     []byte
	pending []byte
}

// place is where the next byte goes: the piece's offset in the table, and the offset in the unpacked piece.
func (m *meta) place() (block, offset int) { return len(m.out), len(m.pending) }

// add writes one inode and returns its reference.
func (m *meta) add(p []byte) uint64 {
	block, offset := m.place()
	m.write(p)
	return uint64(block)<<16 | uint64(offset)
}

func (m *meta) write(p []byte) {
	m.pending = append(m.pending, p...)
	for len(m.pending) >= metaSize {
		m.flush(metaSize)
	}
}

func (m *meta) flush(n int) {
	raw := m.pending[:n]
	p := deflate(raw)
	if len(p) < n {
		m.out = binary.LittleEndian.AppendUint16(m.out, uint16(len(p)))
		m.out = append(m.out, p...)
	} else {
		m.out = binary.LittleEndian.AppendUint16(m.out, uint16(n)|0x8000)
		m.out = append(m.out, raw...)
	}
	m.pending = slices.Clone(m.pending[n:])
}

func (m *meta) finish() []byte {
	if len(m.pending) > 0 {
		m.flush(len(m.pending))
	}
	return m.out
}

var writers = sync.Pool{New: func() any {
	w, err := zlib.NewWriterLevel(nil, zlib.BestCompression)
	if err != nil {
		panic(err)
	}
	return w
}}

func deflate(p []byte) []byte {
	var out bytes.Buffer
	w := writers.Get().(*zlib.Writer)
	defer writers.Put(w)
	w.Reset(&out)
	w.Write(p)
	w.Close()
	return out.Bytes()
}
