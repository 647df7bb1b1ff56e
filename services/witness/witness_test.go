package witness

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"hearth.alt/services"
)

// box is one end of the protocol, with a log that a test writes.
type box struct {
	*Service
	id     services.PeerID
	config Config
	log    [][32]byte
}

func newBox(t *testing.T, name string) *box {
	t.Helper()
	seed := sha256.Sum256([]byte(name))
	key := ed25519.NewKeyFromSeed(seed[:])
	b := &box{id: services.PeerID(key.Public().(ed25519.PublicKey))}
	b.config = Config{
		Dir: filepath.Join(t.TempDir(), "witness"), Self: b.id, Own: func() [][32]byte { return b.log }, Now: time.Now,
		Sign:  func(_ context.Context, m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil },
		Knows: func(services.PeerID) bool { return true },
	}
	b.open(t)
	b.write(3)
	return b
}

func (b *box) open(t *testing.T) {
	t.Helper()
	var err error
	if b.Service, err = New(b.config); err != nil {
		t.Fatal(err)
	}
}

// write adds n records that no other call adds.
func (b *box) write(n int) {
	for range n {
		b.log = append(b.log, sha256.Sum256(fmt.Append(nil, b.id, len(b.log), time.Now().UnixNano())))
	}
}

// meet has two boxes speak over a real connection.
func meet(t *testing.T, a, b *box) (errA, errB error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = b.Serve(t.Context(), a.id, c)
			c.Close()
		}
		done <- err
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	errA = a.Serve(t.Context(), b.id, c)
	c.Close()
	return errA, <-done
}

func good(t *testing.T, a, b *box) {
	t.Helper()
	if errA, errB := meet(t, a, b); errA != nil || errB != nil {
		t.Fatalf("%v, %v", errA, errB)
	}
}

// A log that grows is vouched for, over restarts and whatever its length.
func TestGoesOn(t *testing.T) {
	ann, ben := newBox(t, "ann"), newBox(t, "ben")
	for i := range 12 {
		good(t, ann, ben)
		ann.write(i)
		ben.write(7)
		ben.open(t)
	}
	good(t, ann, ben)
	for _, b := range []*box{ann, ben} {
		if _, own := b.Own(); own || len(b.Findings()) > 0 || !b.Health().OK {
			t.Errorf("found %v, %t", b.Findings(), own)
		}
	}
	if got := ben.kept.Boxes[ann.id].Last.Size; got != int64(len(ann.log)) {
		t.Errorf("ben saw %d records of %d", got, len(ann.log))
	}
}

// A box that was brought back from an old copy, and one that was cloned, are found by the friend and hear of it themselves.
func TestFound(t *testing.T) {
	for _, c := range []struct {
		name  string
		older bool
		spoil func(l [][32]byte) [][32]byte
	}{
		{"an old copy", true, func(l [][32]byte) [][32]byte { return l[:2] }},
		{"another record", false, func(l [][32]byte) [][32]byte {
			return append(l[:1], [32]byte{1}, [32]byte{2}, [32]byte{3}, [32]byte{4})
		}},
		{"as long, and another", false, func(l [][32]byte) [][32]byte { return append(l[:2], [32]byte{1}) }},
		{"another household", false, func(l [][32]byte) [][32]byte { return [][32]byte{{9}, l[1], l[2], {4}} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			ann, ben := newBox(t, "ann"), newBox(t, "ben")
			good(t, ann, ben)
			before := ann.log
			ann.log = c.spoil(slices.Clone(before))
			good(t, ann, ben)
			found, ok := ben.Findings()[ann.id]
			if !ok || found.Older() != c.older || found.Had.Size != 3 || !found.Had.by(ann.id) || !found.Shown.by(ann.id) || ben.Health().OK {
				t.Fatalf("ben found %+v, %t", found, ok)
			}
			if own, ok := ann.Own(); !ok || own.Had.Size != 3 || ann.Health().OK {
				t.Errorf("ann was told %+v, %t", own, ok)
			}
			ben.open(t)
			if len(ben.Findings()) != 1 {
				t.Error("ben forgot it")
			}
			// It stays found while nobody looks into it, and the good log is still known.
			whole := ann.log
			ann.log = before
			good(t, ann, ben)
			if len(ben.Findings()) != 1 {
				t.Error("it is forgotten when the old log is shown again")
			}
			if _, ok := ann.Own(); ok {
				t.Error("ann does not see that all is well again")
			}
			ann.log = whole
			good(t, ann, ben)
			if err := ben.Dismiss(ann.id); err != nil {
				t.Fatal(err)
			}
			if len(ben.Findings()) != 0 {
				t.Error("it cannot be dismissed")
			}
			good(t, ann, ben)
			if len(ben.Findings()) != 0 {
				t.Errorf("what was dismissed is found again: %+v", ben.Findings())
			}
		})
	}
}

// What a peer says that it saw of this box counts only with this box's signature, and what it shows only with its own.
func TestLies(t *testing.T) {
	ann, ben, eve := newBox(t, "ann"), newBox(t, "ben"), newBox(t, "eve")
	good(t, ann, ben)
	lie := ben.kept.Boxes[ann.id].Last
	lie.Root[0] ^= 1
	own, err := newTree(ann.log)
	if err != nil {
		t.Fatal(err)
	}
	if err := ann.heed(ben.id, own, frame{has: true, point: lie}); err != nil {
		t.Fatal(err)
	}
	if _, ok := ann.Own(); ok {
		t.Error("ann believes what she did not sign")
	}
	eve.id = ann.id // with a key of her own
	if _, errB := meet(t, eve, ben); !errors.Is(errB, ErrMalformed) {
		t.Errorf("a checkpoint that somebody else signed: %v", errB)
	}
	eve.log = nil
	if err, _ := meet(t, eve, ben); err == nil {
		t.Error("a box without a log shows one")
	}
}

// A file that cannot be read is said so, and begun anew with the next checkpoint. One that is brought back does not make
// older what is known.
func TestKept(t *testing.T) {
	ann, ben := newBox(t, "ann"), newBox(t, "ben")
	good(t, ann, ben)
	var old bytes.Buffer
	if err := ben.Snapshot(t.Context(), &old); err != nil {
		t.Fatal(err)
	}
	ann.write(5)
	good(t, ann, ben)
	if err := ben.Restore(t.Context(), &old); err != nil {
		t.Fatal(err)
	}
	if got := ben.kept.Boxes[ann.id].Last.Size; got != 8 {
		t.Errorf("after an old backup ben knows %d records, want 8", got)
	}
	if err := ben.Restore(t.Context(), bytes.NewReader([]byte("{"))); services.AsProblem(err) == nil {
		t.Errorf("a damaged backup: %v", err)
	}
	if err := os.WriteFile(ben.path, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	ben.open(t)
	if ben.Health().OK {
		t.Error("nothing is said of a damaged file")
	}
	good(t, ann, ben)
	if !ben.Health().OK {
		t.Error("it does not begin anew")
	}
	ben.config.Knows = func(services.PeerID) bool { return false }
	ben.open(t)
	carl := newBox(t, "carl")
	good(t, carl, ben)
	if ben.kept.Boxes[ann.id] != nil {
		t.Error("a friend who was removed is remembered")
	}
}

func FuzzFrame(f *testing.F) {
	point := Checkpoint{Genesis: [32]byte{1}, Size: 5, Root: [32]byte{2}, Time: time.Unix(9, 0)}
	f.Add(byte(kindHello), frame{kind: kindHello, has: true, point: point}.append(nil))
	f.Add(byte(kindReport), frame{kind: kindReport}.append(nil))
	f.Add(byte(kindCheckpoint), frame{kind: kindCheckpoint, point: point, proof: [][32]byte{{3}, {4}}}.append(nil))
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		kind = kind%3 + 1
		r := bytes.NewReader(b)
		got, err := readFrame(r, kind)
		if err != nil {
			return
		}
		if !bytes.Equal(got.append(nil), b[:len(b)-r.Len()]) {
			t.Error("it is written otherwise")
		}
	})
}
