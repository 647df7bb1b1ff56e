package identity_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/identity/identitytest"
)

func TestReadBackup(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	log := snapshot(t, study.Service)
	b, err := identity.ReadBackup(bytes.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	if b.Household != study.FriendID() || b.Name != study.Membership().Household.Name || b.Records != len(study.RecordBytes()) || !b.Has(attic.Keys.PeerID()) || !b.Has(study.Keys.PeerID()) {
		t.Errorf("the backup is %+v", b)
	}
	if err := study.RemoveBox(t.Context(), attic.Keys.PeerID()); err != nil {
		t.Fatal(err)
	}
	b, err = identity.ReadBackup(bytes.NewReader(snapshot(t, study.Service)))
	if err != nil || b.Has(attic.Keys.PeerID()) || !slices.Equal(b.Removed, []services.PeerID{attic.Keys.PeerID()}) {
		t.Errorf("with a box removed it is %+v, %v", b, err)
	}
	for what, bad := range map[string][]byte{"nothing": nil, "cut short": log[:len(log)-1], "other": []byte("something else")} {
		if _, err := identity.ReadBackup(bytes.NewReader(bad)); err == nil {
			t.Errorf("%s is a backup", what)
		} else {
			wantCode(t, err, "snapshot-damaged")
		}
	}
}

// When every box is gone, a backup and the 24 words make a fresh one the household's.
func TestTakeIn(t *testing.T) {
	study := identitytest.Household(t)
	if err := addPerson(study, "Ben", services.RoleMember); err != nil {
		t.Fatal(err)
	}
	words, log := wordsOf(t, study), snapshot(t, study.Service)
	fresh := func(seed string) (*identity.Service, *identitytest.Keys, string) {
		t.Helper()
		keys, dir := identitytest.NewKeys(seed), filepath.Join(t.TempDir(), "identity")
		s, err := identity.New(identity.Config{Dir: dir, Keys: keys, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		return s, keys, dir
	}
	s, keys, dir := fresh("fresh")
	for code, try := range map[string]func() error{
		"words-count": func() error { return s.TakeIn(t.Context(), bytes.NewReader(log), words[:23], "New") },
		"words-unknown": func() error {
			return s.TakeIn(t.Context(), bytes.NewReader(log), append([]string{"qqq"}, words[1:]...), "New")
		},
		"snapshot-damaged": func() error { return s.TakeIn(t.Context(), bytes.NewReader(log[:len(log)-1]), words, "New") },
		"name-invalid":     func() error { return s.TakeIn(t.Context(), bytes.NewReader(log), words, "") },
		"name-taken": func() error {
			return s.TakeIn(t.Context(), bytes.NewReader(log), words, study.Membership().Boxes[0].Name)
		},
	} {
		wantCode(t, try(), code)
	}
	stranger, _, _ := fresh("stranger")
	if err := stranger.Claim(t.Context(), identity.Claim{Household: "Jones", Box: "Hearth", Owner: "Jo"}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.TakeIn(t.Context(), bytes.NewReader(snapshot(t, stranger)), words, "New"), "words-other")
	if _, err := os.Stat(dir); err == nil {
		t.Error("a refusal wrote something")
	}
	wantCode(t, stranger.TakeIn(t.Context(), bytes.NewReader(log), words, "New"), "already-claimed")

	if err := s.TakeIn(t.Context(), bytes.NewReader(log), words, "New"); err != nil {
		t.Fatal(err)
	}
	m := s.Membership()
	if box, ok := m.Box(); !ok || box.Name != "New" || m.ReadOnly || len(m.People) != 2 || len(m.Boxes) != 2 || m.Household.Domain != study.Membership().Household.Domain {
		t.Errorf("it came into %+v", m)
	}
	if _, err := s.AddPerson(t.Context(), identity.NewPerson{Name: "Cat", Role: services.RoleGuest}); err != nil {
		t.Error(err)
	}
	if err := s.RemoveBox(t.Context(), study.Keys.PeerID()); err != nil {
		t.Error(err)
	}
	if _, err := s.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	again, err := identity.New(identity.Config{Dir: dir, Keys: keys, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	same(t, again.Membership(), s.Membership())
	// A box that was removed is not taken in by the words either.
	back, err := identity.New(identity.Config{Dir: t.TempDir(), Keys: study.Keys, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, back.TakeIn(t.Context(), bytes.NewReader(snapshot(t, s)), words, "Old"), "box-removed")
}

// A backup brought another order into a log that was whole, and friends' boxes, which had seen a hash of the one before,
// warned of it.
func TestBackupKeepsTheOrder(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	for i, name := range []string{"Ben", "Cat", "Dan", "Eve", "Fay", "Gus"} {
		at := study
		if i%2 == 1 {
			at = attic
		}
		if err := addPerson(at, name, services.RoleMember); err != nil {
			t.Fatal(err)
		}
	}
	before := study.Leaves()
	if err := study.Restore(t.Context(), bytes.NewReader(snapshot(t, attic.Service))); err != nil {
		t.Fatal(err)
	}
	after := study.Leaves()
	if len(after) != len(before)+3 || !slices.Equal(after[:len(before)], before) {
		t.Errorf("the log went from %d records to %d, and their order changed", len(before), len(after))
	}
	again := attic.Leaves()
	if err := attic.Restore(t.Context(), bytes.NewReader(snapshot(t, study.Service))); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(attic.Leaves()[:len(again)], again) {
		t.Error("the other log's order changed")
	}
}
