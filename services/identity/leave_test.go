package identity_test

import (
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/identity/identitytest"
)

// The choice is written with the removal, reaches the other box, and can be changed there.
func TestRemovePersonThen(t *testing.T) {
	study := identitytest.Household(t)
	ben := person(t, study.Service, "Ben", services.RoleMember).ID
	attic := identitytest.Joined(t, study, "Attic")
	wantCode(t, study.RemovePersonThen(t.Context(), ben, 9), "files-invalid")
	wantCode(t, study.RemovePersonThen(t.Context(), study.Owner, services.ThenErase), "last-owner")
	wantCode(t, study.SetLeaving(t.Context(), ben, services.ThenNow), "person-not-found")
	before := study.Membership().Revision
	if err := study.RemovePersonThen(identity.Acting(t.Context(), study.Owner, ""), ben, services.ThenExport); err != nil {
		t.Fatal(err)
	}
	if got := study.Membership().Revision - before; got != 2 {
		t.Errorf("%d records, want the removal and the choice", got)
	}
	share(t, study.Service, attic.Service)
	agree(t, study.Service, attic.Service)
	want := func(s *identity.Service, then services.Then, choice uint32) {
		t.Helper()
		l := s.Membership().Leaving
		if len(l) != 1 || l[0].Person != ben || l[0].Name != "Ben" || l[0].Then != then || l[0].Choice != choice || l[0].Removed.IsZero() {
			t.Errorf("leaving are %+v", l)
		}
	}
	want(attic.Service, services.ThenExport, 1)
	for i, then := range []services.Then{services.ThenErase, services.ThenErase, services.ThenNow} {
		if err := attic.SetLeaving(t.Context(), ben, then); err != nil {
			t.Fatal(err)
		}
		want(attic.Service, then, uint32(i+2))
	}
	wantCode(t, attic.SetLeaving(t.Context(), ben, 0), "files-invalid")
	entries, err := study.Entries()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Why.Key != "" {
			t.Errorf("%s has no effect: %s", e.Op, e.Why)
		}
	}
}
