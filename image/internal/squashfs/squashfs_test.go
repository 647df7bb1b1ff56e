package squashfs_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	reader "github.com/diskfs/go-diskfs/filesystem/squashfs"

	"hearth.alt/image/internal/squashfs"
)

const size = 128 << 10

func contents() map[string][]byte {
	r := rand.New(rand.NewPCG(3, 4))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	out := map[string][]byte{
		"/empty":               nil,
		"/one":                 []byte("x"),
		"/user/exact":          random(size),
		"/user/more":           random(3*size + 17),
		"/user/zeros":          make([]byte, 2*size),
		"/user/mixed":          append(make([]byte, size+5), random(size)...),
		"/gokrazy/a/deep/file": []byte("deep"),
	}
	for i := range 700 { // several pieces of each table
		out[fmt.Sprintf("/many/name-%03d", i)] = random(i % 50)
	}
	return out
}

func tree(files map[string][]byte) *squashfs.Node {
	root := &squashfs.Node{Dir: true, Mode: 0o755}
	dirs := map[string]*squashfs.Node{"/": root}
	var dir func(p string) *squashfs.Node
	dir = func(p string) *squashfs.Node {
		if d := dirs[p]; d != nil {
			return d
		}
		d := &squashfs.Node{Name: filepath.Base(p), Dir: true, Mode: 0o755}
		dirs[p] = d
		up := dir(filepath.Dir(p))
		up.Nodes = append(up.Nodes, d)
		return d
	}
	for p, b := range files {
		d := dir(filepath.Dir(p))
		d.Nodes = append(d.Nodes, &squashfs.Node{Name: filepath.Base(p), Mode: 0o644, Size: int64(len(b)), Content: bytes.NewReader(b)})
	}
	dir("/nothing")
	root.Nodes = append(root.Nodes, &squashfs.Node{Name: "var", Link: "/perm/var", Mode: 0o777})
	return root
}

func write(t *testing.T, root *squashfs.Node) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root.squashfs")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, err := squashfs.Write(f, root, 1795219200)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := f.Stat(); err != nil || st.Size() != n || n%4096 != 0 {
		t.Fatalf("%d bytes said, %v in the file", n, st.Size())
	}
	return path
}

// A reader that nobody here wrote finds what was written. The kernel's is the other witness, in every test of hwtest/vm.
func TestReadBack(t *testing.T) {
	files := contents()
	path := write(t, tree(files))
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	fs, err := reader.Read(file.New(f, true), st.Size(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range files {
		r, err := fs.OpenFile(p[1:], os.O_RDONLY)
		if err != nil {
			t.Errorf("%s: %v", p, err)
			continue
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want %d, %v", p, len(got), len(want), err)
		}
	}
	list, err := fs.ReadDir("many")
	if err != nil || len(list) != 700 {
		t.Errorf("/many holds %d names, %v", len(list), err)
	}
	if list, err := fs.ReadDir("nothing"); err != nil || len(list) != 0 {
		t.Errorf("/nothing holds %d names, %v", len(list), err)
	}
}

func TestSameTreeSameBytes(t *testing.T) {
	var first []byte
	for range 3 { // maps give another order each time
		b, err := os.ReadFile(write(t, tree(contents())))
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b
		}
		if !bytes.Equal(b, first) {
			t.Fatal("the same tree made other bytes")
		}
	}
}

func TestRefuses(t *testing.T) {
	file := func(name string) *squashfs.Node { return &squashfs.Node{Name: name, Content: bytes.NewReader(nil)} }
	for name, n := range map[string][]*squashfs.Node{
		"twice":     {file("a"), file("a")},
		"slash":     {file("a/b")},
		"empty":     {file("")},
		"too short": {{Name: "a", Size: 10, Content: bytes.NewReader([]byte("short"))}},
	} {
		f, err := os.Create(filepath.Join(t.TempDir(), "x"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := squashfs.Write(f, &squashfs.Node{Dir: true, Nodes: n}, 0); err == nil {
			t.Errorf("%s was accepted", name)
		}
		f.Close()
	}
}
