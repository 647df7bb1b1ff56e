package identity_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
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

// A box of several that was brought back from a backup writes nothing of its own, after another start either, before it has
// heard from another box: that has records which this one forgot, and one more with their sequence would be a clone's.
func TestRestoredBoxHearsFirst(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	person(t, attic.Service, "Ben", services.RoleMember) // whoever was never brought back may change things at once
	person(t, study.Service, "Dora", services.RoleMember)
	backup := snapshot(t, study.Service)
	person(t, study.Service, "Cleo", services.RoleMember)
	share(t, study.Service, attic.Service)

	c := identity.Config{Dir: filepath.Join(t.TempDir(), "identity"), Keys: study.Keys, Now: time.Now}
	fresh, err := identity.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := fresh.Restore(t.Context(), bytes.NewReader(backup)); err != nil {
		t.Fatal(err)
	}
	eve := identity.NewPerson{Name: "Eve", Role: services.RoleMember}
	_, err = fresh.AddPerson(t.Context(), eve)
	wantCode(t, err, "catch-up")
	if fresh, err = identity.New(c); err != nil {
		t.Fatal(err)
	}
	_, err = fresh.AddPerson(t.Context(), eve)
	wantCode(t, err, "catch-up")

	share(t, fresh, attic.Service)
	person(t, fresh, "Eve", services.RoleMember)
	share(t, fresh, attic.Service)
	agree(t, fresh, attic.Service)
	if m := attic.Membership(); m.Frozen || len(m.People) != 5 {
		t.Errorf("frozen %v, %d people", m.Frozen, len(m.People))
	}
	if fresh, err = identity.New(c); err != nil {
		t.Fatal(err)
	}
	person(t, fresh, "Finn", services.RoleMember)
}

// Where the other boxes are gone for good, a day is enough.
func TestRestoredBoxAlone(t *testing.T) {
	study := identitytest.Household(t)
	identitytest.Joined(t, study, "Attic")
	backup := snapshot(t, study.Service)
	synctest.Test(t, func(t *testing.T) {
		fresh, err := identity.New(identity.Config{Dir: filepath.Join(t.TempDir(), "identity"), Keys: study.Keys, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		ended := make(chan error, 1)
		go func() { ended <- fresh.Run(ctx) }()
		time.Sleep(48 * time.Hour)
		if err := fresh.Restore(ctx, bytes.NewReader(backup)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(23 * time.Hour)
		_, err = fresh.AddPerson(ctx, identity.NewPerson{Name: "Eve", Role: services.RoleMember})
		wantCode(t, err, "catch-up")
		time.Sleep(2 * time.Hour)
		person(t, fresh, "Eve", services.RoleMember)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Whom a record removed that stands behind a damage stays out of a box of several that was brought back, without a record of
// its own before it has heard from another.
func TestRestoredBoxRemovesLater(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	ben := person(t, study.Service, "Ben", services.RoleMember).ID
	backup := snapshot(t, study.Service)
	path := filepath.Join(study.Dir, "log")
	person(t, study.Service, "Cleo", services.RoleMember)
	share(t, study.Service, attic.Service)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	spoilt := len(b) - 80
	if err := study.RemovePerson(t.Context(), ben); err != nil {
		t.Fatal(err)
	}
	if b, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	b[spoilt] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	fresh, err := identity.New(identity.Config{Dir: study.Dir, Keys: study.Keys, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := fresh.Restore(t.Context(), bytes.NewReader(backup)); err != nil {
		t.Fatal(err)
	}
	if _, in := fresh.Membership().Person(ben); in {
		t.Error("the backup brought Ben back")
	}
	if fresh, err = identity.New(identity.Config{Dir: study.Dir, Keys: study.Keys, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	if _, in := fresh.Membership().Person(ben); in {
		t.Error("a start brought Ben back")
	}
	share(t, fresh, attic.Service)
	if m := attic.Membership(); m.Frozen || len(m.People) != 2 { // Ann and Cleo
		t.Errorf("frozen %v, %d people", m.Frozen, len(m.People))
	}
	agree(t, fresh, attic.Service)
}
