package identitytest_test

import (
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/identity/identitytest"
)

func TestMembersTellsOfChanges(t *testing.T) {
	f := identitytest.NewMembers(nil)
	m, changed := f.Watch()
	if m.Claimed() {
		t.Error("an unset membership is claimed")
	}
	f.Set(identitytest.Smith())
	<-changed
	before, changed := f.Watch()
	f.Update(func(m *services.Membership) {
		m.People[0].Name = "Anna"
		m.Household.Name = "Jones"
	})
	<-changed
	after := f.Membership()
	if after.Revision <= before.Revision {
		t.Errorf("revision went from %d to %d", before.Revision, after.Revision)
	}
	if before.People[0].Name != "Ann" || before.Household.Name != "Smith" {
		t.Error("an older snapshot was changed")
	}
	if after.People[0].Name != "Anna" {
		t.Error("the change is not there")
	}
}

func TestSmithIsWellFormed(t *testing.T) {
	m := identitytest.Smith()
	if _, ok := m.Box(); !ok {
		t.Error("the box is not in its own household")
	}
	for _, p := range m.People {
		if !p.ID.Valid() {
			t.Errorf("person %q has no valid identifier", p.ID)
		}
	}
	for _, d := range m.Devices {
		if _, ok := m.Person(d.Person); !ok || !d.ID.Valid() || !m.Household.Net4.Contains(d.Addr4) || !m.Household.Net6.Contains(d.Addr6) {
			t.Errorf("device %+v does not fit the household", d)
		}
	}
}
