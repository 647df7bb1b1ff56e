package identity

import (
	"strings"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
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
