package exchange

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
)

// key is the key of box i; box -1 is the root.
func key(i int) ed25519.PrivateKey { return keys[i+1] }

var keys = func() (out [12]ed25519.PrivateKey) {
	for i := range out {
		seed := make([]byte, ed25519.SeedSize)
		binary.BigEndian.PutUint64(seed, uint64(i))
		out[i] = ed25519.NewKeyFromSeed(seed)
	}
	return out
}()

// seal makes a record; parents are sorted.
func seal(t testing.TB, by int, sequence uint64, payload record.Payload, parents ...record.ID) *record.Record {
	t.Helper()
	slices.SortFunc(parents, record.ID.Compare)
	r, err := record.Seal(record.Record{
		Author: author(by), Sequence: sequence, Time: time.Unix(1, 0).UTC(), Parents: parents, Payload: payload,
	}, func(b []byte) ([]byte, error) {
		return ed25519.Sign(key(by), b), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func verify(r *record.Record) error { return r.Verify() }

// household is genesis and the records by which the root takes the boxes 0 to n-1 in.
func household(t testing.TB, n int) []*record.Record {
	all := []*record.Record{genesis(t)}
	for i := range n {
		add := record.AddBox{Box: peerID(i), Name: fmt.Sprint("Box ", i), Label: fmt.Sprint("box-", i), Host: uint8(i + 1)}
		all = append(all, seal(t, -1, uint64(i+2), add, all[i].ID()))
	}
	return all
}

func genesis(t testing.TB) *record.Record {
	g := record.Genesis{Name: "Smith", Label: "smith", Net4: netip.MustParsePrefix("10.1.2.0/24"), Net6: netip.MustParsePrefix("fd00:1:2::/48")}
	return seal(t, -1, 1, g)
}

func author(i int) record.Author {
	public := key(i).Public().(ed25519.PublicKey)
	if i < 0 {
		return record.Root(public)
	}
	return record.Box(services.PeerID(public))
}

func peerID(i int) services.PeerID { return services.PeerID(author(i).Key) }

// world is n boxes, and pipes between them that carry bytes in order until they are cut.
type world struct {
	t     *testing.T
	rand  *rand.Rand
	boxes []*simBox
	pipes map[[2]int]*bytes.Buffer // from, to; both directions or none
	conns map[[2]int]*Conn         // whose, to whom
	made  map[record.ID]bool
}

type simBox struct {
	*Exchange
	sequence uint64
	newest   record.ID
	disk     []*record.Record
}

func newWorld(t *testing.T, seed uint64, n int) *world {
	w := &world{t: t, rand: rand.New(rand.NewPCG(seed, 1)), pipes: map[[2]int]*bytes.Buffer{}, conns: map[[2]int]*Conn{}, made: map[record.ID]bool{}}
	begin := household(t, n)
	for _, r := range begin {
		w.made[r.ID()] = true
	}
	for range n {
		w.boxes = append(w.boxes, &simBox{Exchange: New(NewSet(begin...), w.verify), disk: slices.Clone(begin)})
	}
	return w
}

// verify takes what a box of this world wrote: signatures are tried elsewhere.
func (w *world) verify(r *record.Record) error {
	if !w.made[r.ID()] {
		return record.ErrSignature
	}
	return nil
}

// write adds a record of box i with some of its heads for parents.
func (w *world) write(i int) {
	b := w.boxes[i]
	b.sequence++
	var parents []record.ID
	for id := range b.Set().heads {
		parents = append(parents, id)
	}
	slices.SortFunc(parents, record.ID.Compare)
	parents = parents[:min(len(parents), record.MaxParents-1)]
	if b.sequence > 1 && !slices.Contains(parents, b.newest) {
		parents = append(parents, b.newest)
	}
	name := fmt.Sprintf("%d of %d", b.sequence, i)
	r := seal(w.t, i, b.sequence, record.RenamePerson{Person: "aaaaaaaaaaaaaaaa", Name: name}, parents...)
	b.newest = r.ID()
	w.made[r.ID()] = true
	b.disk = append(b.disk, r)
	b.Stored(nil, []*record.Record{r})
}

func (w *world) connect(i, j int) {
	if i == j || w.pipes[[2]int{i, j}] != nil {
		return
	}
	w.pipes[[2]int{i, j}], w.pipes[[2]int{j, i}] = &bytes.Buffer{}, &bytes.Buffer{}
	w.conns[[2]int{i, j}], w.conns[[2]int{j, i}] = w.boxes[i].Connect(), w.boxes[j].Connect()
}

func (w *world) cut(i, j int) {
	if w.pipes[[2]int{i, j}] == nil {
		return
	}
	delete(w.pipes, [2]int{i, j})
	delete(w.pipes, [2]int{j, i})
	w.boxes[i].Close(w.conns[[2]int{i, j}])
	w.boxes[j].Close(w.conns[[2]int{j, i}])
}

// crash loses all but the disk.
func (w *world) crash(i int) {
	for j := range w.boxes {
		w.cut(i, j)
	}
	w.boxes[i].Exchange = New(NewSet(w.boxes[i].disk...), w.verify)
}

// send has i write what it has to say to j.
func (w *world) send(i, j int) bool {
	pipe := w.pipes[[2]int{i, j}]
	if pipe == nil {
		return false
	}
	f, ok := w.boxes[i].Next(w.conns[[2]int{i, j}])
	if ok {
		pipe.Write(f.Append(nil))
	}
	return ok
}

// receive has j read one frame of i; crash is between the disk and what follows.
func (w *world) receive(i, j int, crash bool) bool {
	pipe := w.pipes[[2]int{i, j}]
	if pipe == nil || pipe.Len() == 0 {
		return false
	}
	f, err := Read(pipe)
	if err != nil {
		w.t.Fatalf("a frame of ours: %v", err)
	}
	b := w.boxes[j]
	fresh, err := b.Receive(w.conns[[2]int{j, i}], f)
	if err != nil {
		w.t.Fatalf("an honest box is blamed: %v", err)
	}
	b.disk = append(b.disk, fresh...)
	if crash {
		w.crash(j)
		return true
	}
	b.Stored(w.conns[[2]int{j, i}], fresh)
	return true
}

// settle connects all and runs until nobody has anything to say.
func (w *world) settle() {
	for i := range w.boxes {
		for j := range i {
			w.connect(i, j)
		}
	}
	for moved := true; moved; {
		moved = false
		for i := range w.boxes {
			for j := range w.boxes {
				moved = w.send(i, j) || moved
				moved = w.receive(i, j, false) || moved
			}
		}
	}
}

// Whatever was cut and lost, those who hear each other again have the same records, all that were ever written.
func TestConvergence(t *testing.T) {
	schedules := 1000
	if os.Getenv("HEARTH_TEST_ALL") != "" {
		schedules = 100_000
	}
	workers := runtime.GOMAXPROCS(0)
	for worker := range workers {
		t.Run(fmt.Sprint(worker), func(t *testing.T) {
			t.Parallel()
			for seed := worker; seed < schedules; seed += workers {
				converge(t, uint64(seed))
			}
		})
	}
}

func converge(t *testing.T, seed uint64) {
	w := newWorld(t, seed, 2+int(seed%5))
	n := len(w.boxes)
	for range 150 {
		i, j := w.rand.IntN(n), w.rand.IntN(n)
		switch w.rand.IntN(12) {
		case 0, 1:
			w.write(i)
		case 2:
			w.connect(i, j)
		case 3:
			if w.rand.IntN(4) == 0 {
				w.cut(i, j)
			}
		case 4:
			if w.rand.IntN(8) == 0 {
				w.crash(i)
			}
		case 5, 6, 7:
			w.send(i, j)
		default:
			w.receive(i, j, w.rand.IntN(40) == 0)
		}
	}
	w.settle()
	for i, b := range w.boxes {
		if b.Set().Len() != len(w.made) || len(b.disk) != len(w.made) {
			t.Fatalf("seed %d: box %d of %d has %d records and %d on disk, %d were written", seed, i, n, b.Set().Len(), len(b.disk), len(w.made))
		}
		seen := map[record.ID]bool{}
		for _, r := range b.disk {
			if slices.ContainsFunc(r.Parents, func(p record.ID) bool { return !seen[p] }) {
				t.Fatalf("seed %d: box %d stored a record before its parents", seed, i)
			}
			seen[r.ID()] = true
		}
	}
}

// Two long logs that differ in their last records exchange little more than those.
func TestFewBytes(t *testing.T) {
	w := newWorld(t, 1, 2)
	for range 3000 {
		w.write(0)
	}
	w.settle()
	w.cut(0, 1)
	for range 5 {
		w.write(0)
		w.write(1)
	}
	w.connect(0, 1)
	sent := 0
	for moved := true; moved; {
		moved = false
		for _, d := range [][2]int{{0, 1}, {1, 0}} {
			moved = w.send(d[0], d[1]) || moved
			sent += w.pipes[d].Len()
			moved = w.receive(d[0], d[1], false) || moved
		}
	}
	if w.boxes[1].Set().Len() != len(w.made) || w.boxes[0].Set().Len() != len(w.made) {
		t.Fatal("they differ")
	}
	if sent > 20_000 {
		t.Errorf("%d bytes for ten records", sent)
	}
}

// A log with more heads than a frame has room for is still told in a frame that others read.
func TestManyHeads(t *testing.T) {
	g := genesis(t)
	set := NewSet(g)
	for i := range maxLandmarks + 20 {
		set.add(seal(t, 1, uint64(i+1), record.RenamePerson{Person: "aaaaaaaaaaaaaaaa", Name: "x"}, g.ID()))
	}
	e := New(set, verify)
	f, ok := e.Next(e.Connect())
	if _, err := Read(bytes.NewReader(f.Append(nil))); err != nil || !ok || !slices.Contains(f.Have, set.records[set.Len()-1].ID()) {
		t.Errorf("%d landmarks of %d records: %v, %v", len(f.Have), set.Len(), ok, err)
	}
}

// What a box sent is told to all others, and not to itself.
func TestNoEcho(t *testing.T) {
	begin := household(t, 3)
	last := begin[len(begin)-1].ID()
	e := New(NewSet(begin...), verify)
	from, other := e.Connect(), e.Connect()
	for _, c := range []*Conn{from, other} {
		e.Next(c)
		if _, err := e.Receive(c, Frame{Have: []record.ID{last}}); err != nil {
			t.Fatal(err)
		}
	}
	r := seal(t, 2, 1, record.RenamePerson{Person: "aaaaaaaaaaaaaaaa", Name: "x"}, last)
	fresh, err := e.Receive(from, Frame{Records: [][]byte{r.Bytes()}})
	if err != nil || len(fresh) != 1 {
		t.Fatalf("%v, %v", fresh, err)
	}
	e.Stored(from, fresh)
	if f, ok := e.Next(from); ok {
		t.Errorf("its own %d records are sent to it", len(f.Records))
	}
	if f, ok := e.Next(other); !ok || len(f.Records) != 1 {
		t.Errorf("another box is told %v", f)
	}
}

// Hostile frames change nothing and are blamed.
func TestHostile(t *testing.T) {
	begin := household(t, 2)
	last := begin[len(begin)-1].ID()
	e := New(NewSet(begin...), verify)
	liar := e.Connect()
	e.Next(liar)
	rename := record.RenamePerson{Person: "aaaaaaaaaaaaaaaa", Name: "x"}
	good := seal(t, 1, 1, rename, last)
	forged := bytes.Clone(good.Bytes())
	forged[len(forged)-1] ^= 1
	next, _ := record.Seal(record.Record{
		Author: record.Root(key(5).Public().(ed25519.PublicKey)), Sequence: 1, Time: time.Unix(1, 0), Parents: []record.ID{last}, Payload: record.Epoch{Number: 1, Root: author(5).Key},
	}, func(b []byte) ([]byte, error) { return ed25519.Sign(key(5), b), nil })
	for name, b := range map[string][]byte{
		"forged":                          forged,
		"no record":                       {1, 2, 3},
		"empty":                           {},
		"without its past":                seal(t, 1, 1, rename, record.ID{7}).Bytes(),
		"a stranger's":                    seal(t, 7, 1, rename, last).Bytes(),
		"before its author came in":       seal(t, 1, 1, rename, begin[1].ID()).Bytes(),
		"without its author's one before": seal(t, 1, 2, rename, last).Bytes(),
		"of another root":                 next.Bytes(),
	} {
		if fresh, err := e.Receive(liar, Frame{Records: [][]byte{b}}); !errors.Is(err, ErrPeer) || len(fresh) > 0 || e.Set().Len() != len(begin) {
			t.Errorf("%s: %v, %v", name, fresh, err)
		}
	}
	if _, err := e.Receive(liar, Frame{Have: []record.ID{{1}, {2}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Receive(liar, Frame{Have: []record.ID{{1}, {2}}}); !errors.Is(err, ErrPeer) {
		t.Errorf("asks for all again: %v", err)
	}
	if n := len(liar.queue); n != len(begin) {
		t.Errorf("%d records wait for it, want %d", n, len(begin))
	}
	e.Close(liar)
	if _, err := e.Receive(liar, Frame{Records: [][]byte{good.Bytes()}}); err != nil || e.Set().Len() != len(begin) {
		t.Errorf("a box that is not connected is heard: %v", err)
	}
}

// A record is taken when its author's one before it is anywhere in its past, behind records of others too.
func TestFounded(t *testing.T) {
	begin := household(t, 2)
	e := New(NewSet(begin...), verify)
	c := e.Connect()
	rename := record.RenamePerson{Person: "aaaaaaaaaaaaaaaa", Name: "x"}
	first := seal(t, 0, 1, rename, begin[2].ID())
	between := seal(t, 1, 1, rename, first.ID())
	second := seal(t, 0, 2, rename, between.ID())
	fork := seal(t, 0, 2, rename, first.ID())
	epoch := seal(t, -1, 4, record.Epoch{Number: 1, Root: author(5).Key}, second.ID())
	rotated, err := record.Seal(record.Record{
		Author: record.Author{Kind: record.KindRoot, Key: author(5).Key}, Sequence: 1, Time: time.Unix(1, 0), Parents: []record.ID{epoch.ID()}, Payload: rename,
	}, func(b []byte) ([]byte, error) { return ed25519.Sign(key(5), b), nil })
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range []*record.Record{first, between, second, fork, epoch, rotated} {
		if fresh, err := e.Receive(c, Frame{Records: [][]byte{r.Bytes()}}); err != nil || len(fresh) != 1 {
			t.Fatalf("record %d: %v", i, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	g := genesis(f)
	f.Add(Frame{Have: []record.ID{g.ID(), {1}}}.Append(nil))
	f.Add(Frame{Have: []record.ID{}}.Append(nil))
	f.Add(Frame{Records: [][]byte{g.Bytes(), {}}}.Append(nil))
	f.Add([]byte{2, 0, 65})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		got, err := Read(r)
		if err != nil {
			if got.Have != nil || got.Records != nil {
				t.Error("a frame and an error")
			}
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("another error: %v", err)
			}
			return
		}
		if !bytes.Equal(got.Append(nil), b[:len(b)-r.Len()]) {
			t.Error("is written otherwise")
		}
	})
}
