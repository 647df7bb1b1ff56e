package identity

import (
	"errors"
	"path/filepath"
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
	c, err := s.Connect()
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
			c, err := s.Connect()
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
	d.add(d.boxes[0], record.AddBox{Box: services.PeerID{1}, Name: "Attic", Label: "attic", Host: 2}, one)
	d.seq[d.boxes[0]]--
	d.add(d.boxes[0], person(ben, services.RoleOwner), one)
	s := &Service{self: services.PeerID{1}, cfg: Config{Now: time.Now}}
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
	one := d.add(b, record.RenamePerson{Person: ben, Name: "Benno"}, base)
	d.add(b, person(dan, services.RoleOwner), one)
	d.seq[b] = 0
	d.add(b, record.RemovePerson{Person: ben}, base)
	s := &Service{self: d.self(), cfg: Config{Now: time.Now}}
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
