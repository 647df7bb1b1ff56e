package identity

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
)

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
