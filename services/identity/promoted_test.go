package identity

import (
	"slices"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
)

// Ann removed Cat's stolen phone on box B. Before A and C hear so, whoever has the phone makes an accomplice, a member,
// an admin, and a dispute between two made-up people, and has the accomplice settle that on A and C: the epoch would
// leave the removal of the phone out.
func TestPromotedSettleNothing(t *testing.T) {
	const kid, pim, pam services.PersonID = "kidkidkidkidkidk", "pimpimpimpimpimp", "pampampampampamp"
	for name, promoted := range map[string]bool{"a member made an admin": true, "an admin": false} {
		t.Run(name, func(t *testing.T) {
			d, a, b, c, base := settled(t)
			role := services.RoleMember
			if !promoted {
				role = services.RoleAdmin
			}
			base = d.add(a, person(kid, role), base)
			d.addFor(ann, "", b, record.RemoveDevice{Device: phone}, base)
			last := base
			if promoted {
				last = d.addFor(cat, phone, a, record.SetRole{Person: kid, Role: services.RoleAdmin}, last)
			}
			last = d.addFor(cat, phone, a, person(pim, services.RoleAdmin), last)
			last = d.addFor(cat, phone, a, person(pam, services.RoleAdmin), last)
			one := d.addFor(pim, "", a, record.RemovePerson{Person: pam}, last)
			two := d.addFor(pam, "", c, record.RemovePerson{Person: pim}, last)
			e := record.Epoch{Number: 1, Root: d.root.Key, Void: []record.ID{one.ID()}}
			d.addFor(kid, "", c, e, d.addFor(kid, "", a, e, one, two))
			if slices.ContainsFunc(d.fold().Devices, func(d services.Device) bool { return d.ID == phone }) {
				t.Errorf("the stolen phone undid its removal: %v", who(d.fold()))
			}
		})
	}
}
