package identity

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/exchange"
	"hearth.alt/services/identity/internal/record"
)

// onlyID is a keeper that is asked for nothing but who it is.
type onlyID struct {
	Keys
	id services.PeerID
}

func (k onlyID) PeerID() services.PeerID { return k.id }

// A forked record may have all there was in its past, the one of the same sequence too. A box that hears of it freezes
// as one does that reads it from its log, and so it stays, read-only, when it starts again.
func TestForkThatKnowsAll(t *testing.T) {
	d := newDAG(t, 2)
	d.add(d.boxes[0], person(ann, services.RoleOwner), d.last())
	d.add(d.boxes[1], person(ben, services.RoleMember), d.last())
	before := len(d.records)
	d.seq[d.boxes[1]]--
	fork := d.add(d.boxes[1], person(cat, services.RoleMember), d.last())

	if m := d.fold(); !m.Frozen {
		t.Errorf("folded: %v", who(m))
	}
	all := d.records
	d.records = all[:before]
	s, err := New(Config{Dir: filepath.Dir(d.file()), Keys: onlyID{id: d.self()}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	d.records = all
	c, err := s.Connect(services.PeerID{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.receive(t.Context(), exchange.Frame{Records: [][]byte{fork.Bytes()}}); err != nil {
		t.Fatal(err)
	}
	heard := s.Membership()
	if !heard.Frozen || !heard.ReadOnly {
		t.Errorf("heard of: %v", who(heard))
	}
	again, err := New(Config{Dir: s.cfg.Dir, Keys: s.cfg.Keys, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	read := *again.Membership()
	read.Revision = heard.Revision
	if diff := diffMemberships(heard, &read); diff != "" {
		t.Errorf("after a start (-before +after):\n%s", diff)
	}
}

// A removal that takes the last owner freezes a box that hears of it as one that reads it from its log.
func TestLastOwnerRemovedByHearsay(t *testing.T) {
	d := newDAG(t, 2)
	for _, p := range []record.Payload{person(ann, services.RoleOwner), person(ben, services.RoleOwner), record.SetRole{Person: ben, Role: services.RoleMember}} {
		d.add(d.boxes[0], p, d.last())
	}
	s, err := New(Config{Dir: filepath.Dir(d.file()), Keys: onlyID{id: d.self()}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Connect(services.PeerID{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.receive(t.Context(), exchange.Frame{Records: [][]byte{d.add(d.boxes[1], record.RemovePerson{Person: ann}, d.last()).Bytes()}}); err != nil {
		t.Fatal(err)
	}
	heard, read := s.Membership(), d.fold()
	read.Revision = heard.Revision
	if !heard.Frozen {
		t.Errorf("heard of: %v", who(heard))
	}
	if diff := diffMemberships(read, heard); diff != "" {
		t.Errorf("read and heard differ (-read +heard):\n%s", diff)
	}
}

// What a removed box says in words of a newer program stops nobody; what a box of the household says does, wherever it is
// heard, and is said.
func TestOperationOfTheFuture(t *testing.T) {
	for name, removed := range map[string]bool{"a box of the household": false, "a removed one": true} {
		t.Run(name, func(t *testing.T) {
			d := newDAG(t, 2)
			base := d.add(d.boxes[0], person(ann, services.RoleOwner), d.last())
			if removed {
				d.add(d.boxes[0], record.RemoveBox{Box: d.boxes[1].Key}, base)
			}
			s, err := New(Config{Dir: filepath.Dir(d.file()), Keys: onlyID{id: d.self()}, Now: time.Now})
			if err != nil {
				t.Fatal(err)
			}
			c, err := s.Connect(services.PeerID{})
			if err != nil {
				t.Fatal(err)
			}
			future := d.add(d.boxes[1], record.Unknown{Code: 200, Bytes: []byte("later")}, base)
			if err := c.receive(t.Context(), exchange.Frame{Records: [][]byte{future.Bytes()}}); err != nil {
				t.Fatal(err)
			}
			again, err := New(Config{Dir: s.cfg.Dir, Keys: s.cfg.Keys, Now: time.Now})
			if err != nil {
				t.Fatal(err)
			}
			for name, s := range map[string]*Service{"heard": s, "read": again} {
				if m, h := s.Membership(), s.Health(); m.ReadOnly == removed || h.OK != removed {
					t.Errorf("%s: read-only %v, health %v %q", name, m.ReadOnly, h.OK, h.Message)
				}
			}
		})
	}
}

// A removed key does not freeze anybody: whoever holds it can sign a used sequence again at any time, and send that to who
// has not heard of the removal yet. What it did before the removal stays.
func TestRemovedKeyProvesNothing(t *testing.T) {
	d, a, b, _, base := settled(t)
	one := d.add(b, person(dan, services.RoleGuest), base)
	d.addFor(ann, "", a, record.RemoveBox{Box: b.Key}, one)
	want := d.fold()
	for range 2 { // against what the removal knew, and against what it did not
		d.seq[b]--
		d.add(b, person("evaevaevaevaevae", services.RoleOwner), base)
		d.add(b, person("evtevtevtevtevte", services.RoleOwner), d.last())
	}
	got := d.fold()
	got.Revision = want.Revision
	if diff := diffMemberships(want, got); diff != "" {
		t.Errorf("after the fork (-before +after):\n%s", diff)
	}
}

// Words do not settle a fork whose box cannot be removed, being the last one: all others came in by what is in doubt.
func TestForkOfTheLastBox(t *testing.T) {
	d := newDAG(t, 1)
	one := d.add(d.boxes[0], person(ann, services.RoleOwner), d.last())
	d.add(d.boxes[0], person(ben, services.RoleOwner), one) // is heard of first, and kept
	d.seq[d.boxes[0]]--
	d.add(d.boxes[0], record.AddBox{Box: services.PeerID{1}, Name: "Attic", Label: "attic", Host: 2}, one)
	s := &Service{self: services.PeerID{1}, cfg: Config{Now: time.Now}, shared: exchange.New(exchange.NewSet(d.records...), (*record.Record).Verify)}
	taken, state, v, err := s.verdict(d.records)
	if err != nil || len(v.forked) != 1 {
		t.Fatalf("forked are %v, %v", v.forked, err)
	}
	s.state = state
	if _, next, err := s.epoch(d.keys[d.root], taken, v, Settlement{}); !errors.Is(err, errStillOpen) {
		t.Errorf("settled: %v, %v", who(next.membership()), err)
	}
}

// What a settlement names as void is proof of a fork all the same: what else the box signed from there on does not come back.
func TestVoidedProof(t *testing.T) {
	d, _, b, _, base := settled(t)
	d.add(b, record.RemovePerson{Person: ben}, base) // is heard of first
	d.seq[b] = 0
	one := d.add(b, record.RenamePerson{Person: ben, Name: "Benno"}, base)
	d.add(b, person(dan, services.RoleOwner), one)
	s := &Service{self: d.self(), cfg: Config{Now: time.Now}, shared: exchange.New(exchange.NewSet(d.records...), (*record.Record).Verify)}
	taken, state, v, err := s.verdict(d.records)
	if err != nil || len(v.forked) != 1 || len(v.open) != 1 {
		t.Fatalf("forked are %v, open %v, %v", v.forked, v.open, err)
	}
	s.state = state
	_, next, err := s.epoch(d.keys[d.root], taken, v, Settlement{Stay: []Subject{{Person: ben}}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"ann owner", "ben owner", "cat admin", "Phone at 2", "box at 1", "box at 253"}
	if diff := cmp.Diff(want, who(next.membership())); diff != "" {
		t.Errorf("household (-want +got):\n%s", diff)
	}
}

// A stolen key may sign against the first record of its box: everything that the box ever did is in doubt then, and comes
// back with the words, since the box heard of its own branch first.
func TestBackdatedFork(t *testing.T) {
	d := newDAG(t, 1)
	box := d.boxes[0]
	base := d.last()
	d.add(box, person(ann, services.RoleOwner), base)
	d.add(box, person(ben, services.RoleAdmin), d.last())
	d.add(box, record.RemovePerson{Person: ben}, d.last())
	d.add(box, person(cat, services.RoleMember), d.last())
	d.seq[box] = 0
	d.add(box, person("evaevaevaevaevae", services.RoleOwner), base)
	d.add(box, record.RemovePerson{Person: ann}, d.last())
	s := &Service{self: d.self(), cfg: Config{Now: time.Now}, shared: exchange.New(exchange.NewSet(d.records...), (*record.Record).Verify)}
	taken, state, v, err := s.verdict(d.records)
	if err != nil || len(v.forked) != 1 {
		t.Fatalf("forked are %v, %v", v.forked, err)
	}
	s.state = state
	next := services.PeerID{7}
	made, _, err := s.epoch(d.keys[d.root], taken, v, Settlement{Key: next, Stay: []Subject{{Person: ann}}})
	if err != nil {
		t.Fatal(err)
	}
	after, err := fold(next, taken[0].ID(), append(taken, made...))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"ann owner", "cat member", "box at 1"}
	if diff := cmp.Diff(want, who(after.membership())); diff != "" {
		t.Errorf("household (-want +got):\n%s", diff)
	}
}

// A stolen key that writes an operation which nobody knows stops changes, but not its own removal, nor the words.
func TestUnknownOperationDoesNotLock(t *testing.T) {
	d := newDAG(t, 2)
	a, b := d.boxes[0], d.boxes[1]
	d.add(a, person(ann, services.RoleOwner), d.last())
	d.add(b, record.Unknown{Code: 200, Bytes: []byte("x")}, d.last())
	keys := d.keys
	s := &Service{self: d.self(), path: filepath.Join(t.TempDir(), "log"), writing: make(chan struct{}, 1), changed: make(chan struct{}), conns: map[*LogConn]struct{}{}}
	s.cfg = Config{Now: time.Now, Log: slog.New(slog.DiscardHandler), Keys: boxKeys{onlyID{id: d.self()}, keys[a]}}
	if err := os.WriteFile(s.path, must(encodeRecords(d.records)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.adopt(load(nil, s.self, s.path))
	if !s.Membership().ReadOnly {
		t.Fatal("changes go on")
	}
	if err := s.change(t.Context(), func(*household) (record.Payload, error) { return person(ben, services.RoleOwner), nil }); !isCode(err, "read-only") {
		t.Errorf("somebody is taken in: %v", err)
	}
	if err := s.RemoveBox(t.Context(), services.PeerID(b.Key)); err != nil {
		t.Errorf("the thief's box is not removed: %v", err)
	}
	taken, _, v, err := s.verdict(s.shared.Set().Records())
	if err != nil {
		t.Fatal(err)
	}
	_, next, err := s.epoch(keys[d.root], taken, v, Settlement{})
	if err != nil {
		t.Fatal(err)
	}
	if m := next.membership(); m.ReadOnly || len(m.Boxes) != 1 || len(m.People) != 1 {
		t.Errorf("after the words: read-only %t, %v", m.ReadOnly, who(m))
	}
}

// boxKeys signs as one box.
type boxKeys struct {
	onlyID
	key ed25519.PrivateKey
}

func (k boxKeys) SignRecord(_ context.Context, m []byte) ([]byte, error) {
	return ed25519.Sign(k.key, m), nil
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// The simulator found that a stolen key which signed on behind both of its branches had the words keep both, so that a forged
// founder, who is no owner, took the place of the real one.
func TestWordsKeepOneBranch(t *testing.T) {
	d := newDAG(t, 2)
	thief := d.boxes[1]
	base := d.add(d.boxes[0], person(ann, services.RoleOwner), d.last())
	for i := range 16 { // one record or the other has the smaller ID
		d := &dag{t: t, records: slices.Clone(d.records), keys: d.keys, seq: maps.Clone(d.seq), boxes: d.boxes, root: d.root}
		at := d.add(d.boxes[0], record.RenamePerson{Person: ann, Name: fmt.Sprint("Ann ", i)}, base)
		one := d.add(thief, person(ben, services.RoleOwner), at)
		d.seq[thief]--
		two := d.add(thief, person(ben, services.RoleGuest), at)
		d.add(thief, record.SetLAN{Person: ann}, one, two)
		if h := settleAll(t, d); h.people[ben].Role != services.RoleOwner {
			t.Errorf("%d: Ben is %s", i, h.people[ben].Role)
		}
	}
}
