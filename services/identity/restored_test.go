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

// A box that was brought back says nothing in a dispute, either, before it has heard from another: it would say it with a
// sequence that it used before, which proves it a clone.
func TestRestoredBoxAgreesLater(t *testing.T) {
	boxes, ann, ben, eve, _ := divided(t)
	study := boxes[0]
	backup := snapshot(t, study.Service)
	say(t, study, eve, ann)
	shareAll(t, boxes)

	fresh, err := identity.New(identity.Config{Dir: filepath.Join(t.TempDir(), "identity"), Keys: study.Keys, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := fresh.Restore(t.Context(), bytes.NewReader(backup)); err != nil {
		t.Fatal(err)
	}
	ctx := identity.Acting(t.Context(), eve, "")
	_, err = fresh.Agree(ctx, []identity.Subject{{Person: ben}})
	wantCode(t, err, "catch-up")
	share(t, fresh, boxes[1].Service)
	if d, err := boxes[1].Dispute(); err != nil || len(d.Forked) > 0 {
		t.Errorf("the box is taken for a clone: %v, %v", d.Forked, err)
	}
}

// A box that was brought back on a card that does not know the time hears first from one that was off since before, and then
// from one that knows what it forgot: it is no clone. It took its own records for a clone's, made after it started.
func TestRestoredBoxHearsFromWhoWasOff(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	barn := identitytest.Joined(t, study, "Barn")
	share(t, study.Service, attic.Service)
	backup := snapshot(t, study.Service)
	person(t, study.Service, "Cleo", services.RoleMember)
	share(t, study.Service, attic.Service) // the barn is off
	synctest.Test(t, func(t *testing.T) {  // where it is the year 2000
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
		synctest.Wait()               // Run has looked again
		_, err = fresh.AddPerson(t.Context(), identity.NewPerson{Name: "Eve", Role: services.RoleMember})
		wantCode(t, err, "catch-up")
		share(t, fresh, attic.Service)
		person(t, fresh, "Eve", services.RoleMember)
		if m := attic.Membership(); m.Frozen {
			t.Errorf("it is taken for a clone: %v", m.Copied)
		}
	})
}
