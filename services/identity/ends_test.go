package identity

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
	"hearth.alt/services/secret"
)

// What the words settle knows all there is, also where the log has just as many ends as a record names, of which none is the
// root's own: none of them was somebody's who is lost by it.
func TestSettleLosesNoEnd(t *testing.T) {
	for _, ends := range []int{14, 15, 16, 17} {
		d := newDAG(t, 16)
		base := d.add(d.boxes[0], person(ann, services.RoleOwner), d.last())
		base = d.add(d.boxes[0], person(ben, services.RoleOwner), base)
		d.addFor(ann, "", d.boxes[0], record.RemovePerson{Person: ben}, base)
		d.addFor(ben, "", d.boxes[1], record.RemovePerson{Person: ann}, base)
		for i, box := range d.boxes[2:min(ends, len(d.boxes))] {
			d.add(box, person(services.PersonID(strings.Repeat(string(rune('a'+i)), 16)), services.RoleMember), base)
		}
		for range ends - 16 {
			d.add(d.root, record.SetLAN{Person: ann}, base)
		}
		want := len(d.fold().People) - 1
		if h := settleAll(t, d, Subject{Person: ann}); len(h.people) != want {
			t.Errorf("%d ends: %d people are left of %d", ends, len(h.people), want)
		}
	}
}

// beside has n puppets, each taken in and removed by the thief, write one void record: n ends of the log that no
// dispute joins.
func (d *dag) beside(thief record.Author, n int) {
	for _, p := range d.puppets(thief, n) {
		d.add(p, record.SetLAN{Person: ann}, d.last())
		void := d.last()
		d.records = d.records[:len(d.records)-1]
		d.add(thief, record.RemoveBox{Box: p.Key}, d.last())
		d.records = append(d.records[:len(d.records)-1], void, d.last())
	}
}

// Whom an owner removes is removed, however many ends the log has: a record names 16 of them, and one that does not have the
// addition of its subject in its past has no effect, though the box that wrote it says that it has.
func TestRemovalAmongManyEnds(t *testing.T) {
	d, _ := worded(t)
	thief := d.boxes[1]
	d.beside(thief, 40)
	base := d.last()
	// The newest end holds the addition of somebody, whose ID is made to come last.
	for i := 0; ; i++ {
		if d.add(thief, record.AddPerson{Person: ben, Name: fmt.Sprint("Ben ", i), Role: services.RoleOwner}, base); d.last().ID()[0] >= 0xf8 {
			break
		}
		d.records = d.records[:len(d.records)-1]
		d.seq[thief]--
	}
	s := d.service()
	if m := s.Membership(); m.Frozen || len(s.state.heads) <= record.MaxParents {
		t.Fatalf("frozen %v, %d ends", m.Frozen, len(s.state.heads))
	}
	if err := s.RemovePerson(t.Context(), ben); err != nil {
		t.Fatal(err)
	}
	if _, there := s.Membership().Person(ben); there {
		t.Fatal("he is not removed here")
	}
	again, err := New(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, there := again.Membership().Person(ben); there {
		t.Error("a start brought back whom an owner removed")
	}
	if diff := diffMemberships(s.Membership(), again.Membership()); diff != "" {
		t.Errorf("the same records give another household:\n%s", diff)
	}
}

type rootKeys struct {
	boxKeys
	next *[]secret.Bytes
}

func (k rootKeys) NextRoots(context.Context) ([]secret.Bytes, error) { return *k.next, nil }
func (k rootKeys) KeepNextRoots(_ context.Context, n []secret.Bytes) error {
	*k.next = n
	return nil
}
func (rootKeys) EraseRoot(context.Context) error { return nil }

// New words count also where there is more beside one another than one frame of the log has room for, as what a stolen box
// wrote that was removed.
func TestNewWordsAmongManyEnds(t *testing.T) {
	d, words := worded(t)
	a, thief, base := d.boxes[0], d.boxes[1], d.last()
	d.add(a, record.RemoveBox{Box: thief.Key}, base)
	for range 30_000 {
		d.seq[thief] = 0
		d.add(thief, record.SetLAN{Person: ann}, base)
	}
	s, err := New(Config{Dir: filepath.Dir(d.file()), Keys: rootKeys{boxKeys{onlyID{id: d.self()}, d.keys[a]}, new([]secret.Bytes)}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	shown, err := s.NewWords(t.Context(), words)
	if err != nil {
		t.Fatal(err)
	}
	var fresh []string
	for _, w := range shown {
		fresh = append(fresh, w.Reveal())
	}
	if err := s.ReplaceWords(t.Context(), words, fresh); err != nil {
		t.Fatal(err)
	}
	if err := s.CheckWords(t.Context(), fresh); err != nil {
		t.Error(err)
	}
}

// Many made-up boxes and many ends, which a stolen key writes at once, take no more room than there are records: each
// end kept the newest sequences of all of them, 505 MiB for a log of 1.2 MiB.
func TestEndsTakeLittleRoom(t *testing.T) {
	d, _ := worded(t)
	thief := d.boxes[1]
	for _, p := range d.puppets(thief, 500) {
		d.add(p, record.SetLAN{Person: ann}, d.last())
	}
	fork := d.puppets(thief, 1)[0]
	base := d.last()
	for range 1500 {
		d.seq[fork] = 0
		d.add(fork, record.SetLAN{Person: NewPersonID()}, base)
	}
	taken := order(d.records[0].ID(), d.records)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	out := sequences(taken)
	runtime.ReadMemStats(&after)
	if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 16 {
		t.Errorf("%d MiB for %d records", used, len(out))
	}
}

// settleAll has the root settle what d disputes; nobody stays.
func settleAll(t *testing.T, d *dag, stay ...Subject) *household {
	t.Helper()
	s, err := New(Config{Dir: filepath.Dir(d.file()), Keys: onlyID{id: d.self()}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	taken, _, v, err := s.verdict(d.records)
	if err != nil || !v.frozen() {
		t.Fatalf("frozen: %t, %v", v != nil && v.frozen(), err)
	}
	made, next, err := s.epoch(d.keys[d.root], taken, v, Settlement{Stay: stay})
	if err != nil {
		t.Fatal(err)
	}
	again, err := fold(d.self(), d.records[0].ID(), slices.Concat(made, d.records))
	if err != nil || again.frozen || next.frozen {
		t.Fatalf("it goes on: %v", err)
	}
	if err := s.write(made...); err != nil {
		t.Error(err)
	}
	for _, r := range made {
		if err := s.shared.Set().Add(r); err != nil {
			t.Errorf("no other box takes %s: %v", r.Op(), err)
		}
	}
	return again
}

// A stolen box that signs many records beside one another, or has many puppets do so, cannot keep the words from
// settling: an epoch names 16 ends of the log at the most.
func TestSettleManyEnds(t *testing.T) {
	for _, ends := range []int{15, 16, 17, 33, 100} {
		d, a, b, _, base := settled(t)
		d.add(a, person(dan, services.RoleMember), base)
		was := d.seq[b]
		for range ends {
			d.seq[b] = was
			d.add(b, record.RenamePerson{Person: cat, Name: "Cathy"}, base)
		}
		h := settleAll(t, d)
		if _, there := h.boxes[b.Key]; there {
			t.Errorf("%d ends: the stolen box counts still", ends)
		}
		if _, ok := h.people[dan]; !ok {
			t.Errorf("%d ends: what the others did is lost", ends)
		}
	}
}

// Nor can it by many removals: an epoch leaves out so many records and no more.
func TestSettleManyRemovals(t *testing.T) {
	d, a, b, _, base := settled(t)
	d.addFor(ann, "", a, record.RemovePerson{Person: ben}, base)
	at := base
	for range 2*record.MaxVoid + 3 {
		at = d.addFor(ben, "", b, record.RemovePerson{Person: ann}, at)
	}
	h := settleAll(t, d, Subject{Person: ann})
	if _, there := h.people[ben]; there || h.people[ann].State != services.StateActive {
		t.Error("it is not as it was settled")
	}
}
