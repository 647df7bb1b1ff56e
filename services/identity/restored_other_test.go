package identity_test

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/identity/identitytest"
)

// A box that was brought back hears first from one that was off since before, and then from one that knows what it forgot: it is
// no clone.
func TestRestoredBoxHearsFromWhoWasOff(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	barn := identitytest.Joined(t, study, "Barn")
	share(t, study.Service, attic.Service)
	backup := snapshot(t, study.Service)
	person(t, study.Service, "Cleo", services.RoleMember)
	share(t, study.Service, attic.Service) // the barn is off

	fresh, err := identity.New(identity.Config{Dir: filepath.Join(t.TempDir(), "identity"), Keys: study.Keys, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := fresh.Restore(t.Context(), bytes.NewReader(backup)); err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = fresh.Run(run) }()
	defer func() { stop(); <-ended }()
	share(t, fresh, barn.Service) // the attic is off
	time.Sleep(50 * time.Millisecond)
	_, err = fresh.AddPerson(t.Context(), identity.NewPerson{Name: "Eve", Role: services.RoleMember})
	wantCode(t, err, "catch-up")
	share(t, fresh, attic.Service)
	person(t, fresh, "Eve", services.RoleMember)
	if m := attic.Membership(); m.Frozen {
		t.Errorf("it is taken for a clone: %v", m.Copied)
	}
}
