package identity_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
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
		if err != nil || len(d.Forked) != 1 || d.Forked[0].Box != attic.Keys.PeerID() {
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

// lameKeys sign no record while lame.
type lameKeys struct {
	*identitytest.Keys
	lame bool
}

func (k *lameKeys) SignRecord(ctx context.Context, message []byte) ([]byte, error) {
	if k.lame {
		return nil, errors.New("the keeper does not answer")
	}
	return k.Keys.SignRecord(ctx, message)
}

// A box that cannot prove at once that its key is used elsewhere, proves it with the next frame.
func TestCloneProvenLater(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	copied := clone(t, attic)
	keys := &lameKeys{attic.Keys, true}
	early, err := identity.New(identity.Config{Dir: copied.Dir, Keys: keys, Now: func() time.Time {
		return time.Now().Add(-time.Minute) // as above
	}})
	if err != nil {
		t.Fatal(err)
	}
	person(t, attic.Service, "Ben", services.RoleMember)
	share(t, attic.Service, study.Service)
	share(t, study.Service, early)
	if early.Membership().Frozen {
		t.Fatal("it was proven without a signature")
	}
	keys.lame = false
	share(t, study.Service, early) // nothing new, but a frame
	share(t, study.Service, attic.Service)
	for _, s := range []*identity.Service{study.Service, attic.Service, early} {
		if m := s.Membership(); !slices.Equal(m.Copied, []services.PeerID{attic.Keys.PeerID()}) {
			t.Errorf("copied are %v", m.Copied)
		}
	}
}

// gone says whether box counts id among the removed, or itself.
func gone(box *identity.Service, id services.PeerID) bool {
	return slices.Contains(box.Membership().Removed, id)
}

// robbed is a household of three boxes whose attic a thief has: he removed the study with it, and both others took that as
// true. Then the words took the study back, and removed the attic, on the study alone.
func robbed(t *testing.T) (study, attic, barn *identitytest.Claimed) {
	t.Helper()
	study = identitytest.Household(t)
	attic, barn = identitytest.Joined(t, study, "Attic"), identitytest.Joined(t, study, "Barn")
	share(t, barn.Service, attic.Service)
	self := study.Keys.PeerID()
	if err := attic.RemoveBox(t.Context(), self); err != nil {
		t.Fatal(err)
	}
	share(t, study.Service, attic.Service)
	share(t, barn.Service, attic.Service)
	if !gone(study.Service, self) || !gone(barn.Service, self) {
		t.Fatal("the removal does not count")
	}
	if err := study.Settle(t.Context(), identity.Settlement{Words: wordsOf(t, study), Stay: []identity.Subject{{Box: self}}}); err != nil {
		t.Fatal(err)
	}
	return study, attic, barn
}

// A box that the words took back could say so to nobody: who took its removal as true refused to hear it. Now it shows what
// the root did.
func TestIntroduceAfterRemoval(t *testing.T) {
	study, attic, barn := robbed(t)
	self, thief := study.Keys.PeerID(), attic.Keys.PeerID()
	if err := introduce(t, barn.Service, study.Service, self); err != nil {
		t.Fatal(err)
	}
	share(t, study.Service, barn.Service)
	agree(t, study.Service, barn.Service, reopened(t, barn))
	if gone(barn.Service, self) || !gone(barn.Service, thief) {
		t.Errorf("removed are %v", barn.Membership().Removed)
	}
	if err := introduce(t, study.Service, attic.Service, thief); err == nil || !gone(study.Service, thief) {
		t.Errorf("the thief introduces himself: %v", err)
	}
}

// A thief who removes every box but his own leaves them nobody to listen to. Where the words were typed in one of them, the
// others hear it from that one.
func TestIntroduceToARemovedBox(t *testing.T) {
	study := identitytest.Household(t)
	attic, barn := identitytest.Joined(t, study, "Attic"), identitytest.Joined(t, study, "Barn")
	share(t, barn.Service, attic.Service)
	self, other := study.Keys.PeerID(), barn.Keys.PeerID()
	for _, id := range []services.PeerID{self, other} {
		if err := attic.RemoveBox(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	share(t, study.Service, attic.Service)
	share(t, barn.Service, attic.Service)
	if err := study.Settle(t.Context(), identity.Settlement{Words: wordsOf(t, study), Stay: []identity.Subject{{Box: self}, {Box: other}}}); err != nil {
		t.Fatal(err)
	}
	if err := introduce(t, barn.Service, study.Service, self); err != nil {
		t.Fatal(err)
	}
	share(t, study.Service, barn.Service)
	agree(t, study.Service, barn.Service)
	if m := barn.Membership(); m.ReadOnly || len(m.Boxes) != 2 || len(m.People) != 1 {
		t.Errorf("boxes are %+v, people %+v", m.Boxes, m.People)
	}
}

// With the key of a removed box nothing is said but what the root did: else a thief could quarrel with whoever removed
// him, at any time later. Nor may he ask for ever.
func TestIntroduceSaysNothingElse(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	thief := attic.Keys.PeerID()
	if err := study.RemoveBox(t.Context(), thief); err != nil {
		t.Fatal(err)
	}
	if err := attic.RemoveBox(t.Context(), study.Keys.PeerID()); err != nil { // he has not heard that he was removed
		t.Fatal(err)
	}
	before := len(study.RecordBytes())
	if err := introduce(t, study.Service, attic.Service, thief); err == nil {
		t.Fatal("he is let in")
	}
	if m := study.Membership(); m.Frozen || len(m.Boxes) != 1 || len(study.RecordBytes()) != before {
		t.Errorf("frozen %t, boxes %+v, %d records, before %d", m.Frozen, m.Boxes, len(study.RecordBytes()), before)
	}
	var err error
	for range 40 {
		a, b := net.Pipe()
		b.Close()
		err = study.Introduce(thief, a)
	}
	if err == nil || !strings.Contains(err.Error(), "often enough") {
		t.Errorf("the 41st time: %v", err)
	}
}

// Beside a true epoch a thief says nothing of his own either.
func TestIntroduceTakesWhatTheRootKnew(t *testing.T) {
	study, _, barn := robbed(t)
	person(t, study.Service, "Ben", services.RoleMember) // the root does not know
	if err := introduce(t, barn.Service, study.Service, study.Keys.PeerID()); err != nil {
		t.Fatal(err)
	}
	if m := barn.Membership(); len(m.People) != 1 {
		t.Errorf("people are %+v", m.People)
	}
	share(t, study.Service, barn.Service)
	agree(t, study.Service, barn.Service)
}
