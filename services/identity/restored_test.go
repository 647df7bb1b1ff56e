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

// A box that is brought back from a backup, while another one knows more, does not prove itself a clone by removing by
// itself who was invited too long ago.
func TestRestoredBoxIsNoClone(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	if _, err := study.AddPerson(t.Context(), identity.NewPerson{Name: "Ben", Role: services.RoleMember, Expires: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	backup := snapshot(t, study.Service)
	person(t, study.Service, "Cleo", services.RoleMember)
	share(t, study.Service, attic.Service)

	fresh, err := identity.New(identity.Config{Dir: filepath.Join(t.TempDir(), "identity"), Keys: study.Keys, Now: func() time.Time { return time.Now().Add(2 * time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := fresh.Restore(t.Context(), bytes.NewReader(backup)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	if err := fresh.Run(ctx); err != nil {
		t.Fatal(err)
	}
	share(t, fresh, attic.Service)
	if attic.Membership().Frozen {
		t.Fatal("who belongs is disputed")
	}
	ctx, stop = context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- fresh.Run(ctx) }()
	for m, changed := fresh.Watch(); len(m.People) != 2; m, changed = fresh.Watch() { // Ann and Cleo
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("whose time is up stays: %+v", m.People)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
