package identity_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/identity/identitytest"
)

func snapshot(t *testing.T, s *identity.Service) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Snapshot(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSnapshotComesBackOnAnEmptyBox(t *testing.T) {
	box := identitytest.Household(t)
	if err := addPerson(box, "Ben", services.RoleMember); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "identity")
	s, err := identity.New(identity.Config{Dir: dir, Keys: box.Keys, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	b := snapshot(t, box.Service)
	for name, bad := range map[string][]byte{
		"cut short": b[:len(b)-1], "changed": bytes.Replace(b, []byte("Ben"), []byte("Bob"), 1), "other": []byte("something else"),
	} {
		wantCode(t, s.Restore(t.Context(), bytes.NewReader(bad)), "snapshot-damaged")
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: something was written", name)
		}
	}
	_, changed := s.Watch()
	if err := s.Restore(t.Context(), bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("the watcher was not told")
	}
	same(t, s.Membership(), box.Membership())
	if _, err := s.AddPerson(t.Context(), identity.NewPerson{Name: "Cat", Role: services.RoleGuest}); err != nil {
		t.Errorf("after the restore: %v", err)
	}
}

func TestOldSnapshotBringsNobodyBack(t *testing.T) {
	box := identitytest.Household(t)
	ben, err := box.AddPerson(t.Context(), identity.NewPerson{Name: "Ben", Role: services.RoleMember})
	if err != nil {
		t.Fatal(err)
	}
	old := snapshot(t, box.Service)
	if err := box.RemovePerson(t.Context(), ben.ID); err != nil {
		t.Fatal(err)
	}
	before := box.Membership()
	if err := box.Restore(t.Context(), bytes.NewReader(old)); err != nil {
		t.Fatal(err)
	}
	same(t, box.Membership(), before)
	if err := box.Restore(t.Context(), strings.NewReader("")); err != nil {
		t.Fatal(err)
	}
	same(t, reopened(t, box).Membership(), before)

	other := identitytest.NewKeys("other")
	stranger, err := identity.New(identity.Config{Dir: t.TempDir(), Keys: other, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Claim(t.Context(), identity.Claim{Household: "Jones", Box: "Hearth", Owner: "Jo"}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, box.Restore(t.Context(), bytes.NewReader(snapshot(t, stranger))), "snapshot-other")
	same(t, box.Membership(), before)
}

// The whole story of a damaged log: it is named, those before the damage keep working, nothing changes, and a
// backup heals it.
func TestDamagedLog(t *testing.T) {
	box := identitytest.Household(t)
	for _, name := range []string{"Ben", "Cat", "Dan"} {
		if err := addPerson(box, name, services.RoleMember); err != nil {
			t.Fatal(err)
		}
	}
	backup, whole := snapshot(t, box.Service), box.Membership()
	path := filepath.Join(box.Dir, "log")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, []byte("Cat"))] = 'K'
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}

	s := reopened(t, box)
	m := s.Membership()
	if !m.ReadOnly || !m.Claimed() || len(m.People) != 2 || len(m.Boxes) != 1 {
		t.Errorf("membership is %+v", m)
	}
	h := s.Health()
	if h.OK || !strings.Contains(h.Message.String(), "is damaged. Everybody") {
		t.Errorf("health is %+v", h)
	}
	_, err = s.AddPerson(t.Context(), identity.NewPerson{Name: "Eve", Role: services.RoleOwner})
	wantCode(t, err, "read-only")
	wantCode(t, s.RemovePerson(t.Context(), m.People[1].ID), "read-only")
	wantCode(t, s.Claim(t.Context(), identity.Claim{Household: "A", Box: "B", Owner: "C"}), "already-claimed")
	if now, _ := os.ReadFile(path); !bytes.Equal(now, b) {
		t.Error("the damaged file was changed")
	}
	if err := s.Restore(t.Context(), bytes.NewReader(backup)); err != nil {
		t.Fatal(err)
	}
	same(t, s.Membership(), whole)
	if h := s.Health(); !h.OK {
		t.Errorf("health is %+v", h)
	}
	if _, err := s.AddPerson(t.Context(), identity.NewPerson{Name: "Eve", Role: services.RoleGuest}); err != nil {
		t.Error(err)
	}
}

// The backup is older than the damage, and behind the damage somebody was removed: they stay removed.
func TestHealingBringsNobodyBack(t *testing.T) {
	box := identitytest.Household(t)
	ben, err := box.AddPerson(t.Context(), identity.NewPerson{Name: "Ben", Role: services.RoleMember})
	if err != nil {
		t.Fatal(err)
	}
	backup := snapshot(t, box.Service)
	if err := addPerson(box, "Cat", services.RoleMember); err != nil {
		t.Fatal(err)
	}
	if err := box.RemovePerson(t.Context(), ben.ID); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(box.Dir, "log")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, []byte("Cat"))] = 'K'
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s := reopened(t, box)
	if _, ok := s.Membership().Person(ben.ID); ok {
		t.Error("the damage brought Ben back")
	}
	if err := s.Restore(t.Context(), bytes.NewReader(backup)); err != nil {
		t.Fatal(err)
	}
	m := s.Membership()
	if _, ok := m.Person(ben.ID); ok || m.ReadOnly || len(m.People) != 1 {
		t.Errorf("after healing: %+v", m)
	}
	same(t, reopened(t, box).Membership(), m)
}

// A box whose log is damaged from the first byte is not an unclaimed box.
func TestLostLogIsNotUnclaimed(t *testing.T) {
	box := identitytest.Household(t)
	backup := snapshot(t, box.Service)
	if err := os.Truncate(filepath.Join(box.Dir, "log"), 0); err != nil {
		t.Fatal(err)
	}
	s := reopened(t, box)
	if m := s.Membership(); m.Claimed() || !m.ReadOnly {
		t.Errorf("membership is %+v", m)
	}
	wantCode(t, s.Claim(t.Context(), identity.Claim{Household: "A", Box: "B", Owner: "C"}), "read-only")
	if h := s.Health(); h.OK || h.Message.Key != "identity.health.lost" {
		t.Errorf("health is %+v", h)
	}
	if err := s.Restore(t.Context(), bytes.NewReader(backup)); err != nil {
		t.Fatal(err)
	}
	same(t, s.Membership(), box.Membership())
}

func TestTornLogGoesOn(t *testing.T) {
	box := identitytest.Household(t)
	before := box.Membership()
	if err := addPerson(box, "Ben", services.RoleMember); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(box.Dir, "log")
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, st.Size()-9); err != nil {
		t.Fatal(err)
	}
	s := reopened(t, box)
	same(t, s.Membership(), before)
	if h := s.Health(); !h.OK || h.Message.Key != "identity.health.torn" {
		t.Errorf("health is %+v", h)
	}
	if _, err := s.AddPerson(t.Context(), identity.NewPerson{Name: "Cat", Role: services.RoleMember}); err != nil {
		t.Error(err)
	}
	same(t, reopened(t, box).Membership(), s.Membership())
}

// A disk that takes nothing: the change is refused, nothing is half there, and the next one is taken.
func TestUnwritableDisk(t *testing.T) {
	box := identitytest.Household(t)
	path := filepath.Join(box.Dir, "log")
	before := box.Membership()
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, addPerson(box, "Ben", services.RoleGuest), "not-written")
	if box.Membership() != before {
		t.Error("an error changed something")
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if err := addPerson(box, "Ben", services.RoleGuest); err != nil {
		t.Error(err)
	}
	same(t, reopened(t, box).Membership(), box.Membership())
}

func TestBoxOfAnotherHousehold(t *testing.T) {
	box := identitytest.Household(t)
	s, err := identity.New(identity.Config{Dir: box.Dir, Keys: identitytest.NewKeys("another box"), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.AddPerson(t.Context(), identity.NewPerson{Name: "Ben", Role: services.RoleGuest, Expires: time.Time{}})
	wantCode(t, err, "not-ours")
}
