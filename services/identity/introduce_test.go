package identity_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/identity/identitytest"
)

// introduce has stranger, whose key is id, show itself to box.
func introduce(t *testing.T, box, stranger *identity.Service, id services.PeerID) error {
	t.Helper()
	a, b := net.Pipe()
	defer b.Close()
	_ = a.SetDeadline(time.Now().Add(3 * time.Second))
	ended := make(chan error, 1)
	go func() {
		ended <- box.Introduce(id, a)
		a.Close()
	}()
	_ = stranger.ServeLog(t.Context(), box.Membership().Self, b)
	b.Close()
	return <-ended
}

// A box that got a new key while nobody listened is a stranger to the others. It shows them what made it theirs; whoever
// has no such thing to show is told nothing and changes nothing.
func TestIntroduce(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	copied := clone(t, attic)
	ben := person(t, attic.Service, "Ben", services.RoleMember)
	person(t, copied.Service, "Eve", services.RoleOwner)
	share(t, copied.Service, attic.Service) // the study hears of none of this
	fresh := identitytest.NewKeys("the attic's next key")
	if err := attic.Settle(t.Context(), identity.Settlement{Words: wordsOf(t, study), Key: fresh.PeerID()}); err != nil {
		t.Fatal(err)
	}
	s, err := identity.New(identity.Config{Dir: attic.Dir, Keys: fresh, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	person(t, s, "Cleo", services.RoleMember)

	before := len(study.RecordBytes())
	stranger := identitytest.NewKeys("a stranger").PeerID()
	if err := introduce(t, study.Service, s, stranger); err == nil || len(study.RecordBytes()) != before {
		t.Errorf("with the records of another a stranger is let in: %v", err)
	}
	other := identitytest.Household(t)
	if err := introduce(t, study.Service, other.Service, other.Keys.PeerID()); !errors.Is(err, identity.ErrPeer) || len(study.RecordBytes()) != before {
		t.Errorf("another household's box is let in: %v", err)
	}
	if err := introduce(t, study.Service, s, fresh.PeerID()); err != nil {
		t.Fatal(err)
	}
	share(t, study.Service, s)
	agree(t, study.Service, s, reopened(t, study))
	m := study.Membership()
	if _, ok := m.Person(ben.ID); !ok || m.Frozen || len(m.People) != 3 || len(m.Boxes) != 2 {
		t.Errorf("frozen %t, people %+v, boxes %+v", m.Frozen, m.People, m.Boxes)
	}
}

// Two boxes with one key that hear each other through a third would take turns for ever. The first that hears of what it
// did not write proves it. What was written before it started may be its own.
func TestCloneOnOneNetwork(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	late := clone(t, attic) // starts with what it has, and finds the rest with the others
	person(t, attic.Service, "Ann's sister", services.RoleMember)
	share(t, attic.Service, study.Service)
	share(t, study.Service, late.Service)
	if late.Membership().Frozen {
		t.Error("a box that was brought back from an old copy is taken for a clone")
	}
	early := clone(t, attic)
	var err error
	early.Service, err = identity.New(identity.Config{Dir: early.Dir, Keys: early.Keys, Now: func() time.Time {
		return time.Now().Add(-time.Minute) // it started before what comes now, also in whole seconds, as records tell them
	}})
	if err != nil {
		t.Fatal(err)
	}
	ben := person(t, attic.Service, "Ben", services.RoleMember)
	share(t, attic.Service, study.Service)
	share(t, study.Service, early.Service)
	share(t, study.Service, attic.Service)
	for _, s := range []*identity.Service{study.Service, attic.Service, early.Service} {
		d, err := s.Dispute()
		if err != nil || len(d.Forked) != 1 || d.Forked[0] != attic.Keys.PeerID() {
			t.Fatalf("the dispute is %+v, %v", d, err)
		}
	}
	if err := study.Settle(t.Context(), identity.Settlement{Words: wordsOf(t, study)}); err != nil {
		t.Fatal(err)
	}
	if m := study.Membership(); m.Frozen || len(m.Boxes) != 1 {
		t.Errorf("frozen %t, boxes %+v", m.Frozen, m.Boxes)
	}
	if _, ok := study.Membership().Person(ben.ID); !ok {
		t.Error("what was heard of first is lost")
	}
}
