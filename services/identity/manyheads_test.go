package identity

import (
	"fmt"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
)

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
