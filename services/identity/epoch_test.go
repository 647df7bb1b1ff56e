package identity_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/identity/identitytest"
)

// wordsOf are the 24 words of the household that box claimed.
func wordsOf(t *testing.T, box *identitytest.Claimed) []string {
	t.Helper()
	secret, err := box.Words(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, w := range secret {
		out = append(out, w.Reveal())
	}
	return out
}

// duel is a household of two boxes whose owners, Ann and Ben, removed one another on different boxes; each then took
// somebody in.
func duel(t *testing.T) (study, attic *identitytest.Claimed, ann, ben services.PersonID) {
	t.Helper()
	study = identitytest.Household(t)
	ben = person(t, study.Service, "Ben", services.RoleOwner).ID
	attic = identitytest.Joined(t, study, "Attic")
	ann = study.Owner
	if err := study.RemovePerson(identity.Acting(t.Context(), ann, ""), ben); err != nil {
		t.Fatal(err)
	}
	person(t, study.Service, "Cleo", services.RoleMember)
	if err := attic.RemovePerson(identity.Acting(t.Context(), ben, ""), ann); err != nil {
		t.Fatal(err)
	}
	person(t, attic.Service, "Dora", services.RoleMember)
	share(t, study.Service, attic.Service)
	agree(t, study.Service, attic.Service)
	return study, attic, ann, ben
}

// Both owners are removed apart from one another, by somebody who stays: both are suspended, and the words say which of them
// is out. One of them has to stay.
func TestLastOwnersAreDisputed(t *testing.T) {
	study := identitytest.Household(t)
	ann, ben := study.Owner, person(t, study.Service, "Ben", services.RoleOwner).ID
	cat := identity.Acting(t.Context(), person(t, study.Service, "Cat", services.RoleAdmin).ID, "")
	attic := identitytest.Joined(t, study, "Attic")
	if err := study.RemovePerson(cat, ben); err != nil {
		t.Fatal(err)
	}
	if err := attic.RemovePerson(cat, ann); err != nil {
		t.Fatal(err)
	}
	share(t, study.Service, attic.Service)
	agree(t, study.Service, attic.Service, reopened(t, attic))
	d, err := attic.Dispute()
	if err != nil || !attic.Membership().Frozen || len(d.Removals) != 2 {
		t.Fatalf("the dispute is %+v, %v", d, err)
	}
	settle := identity.Settlement{Words: wordsOf(t, study)}
	err = attic.Settle(t.Context(), settle)
	wantCode(t, err, "last-owner")
	if strings.Contains(err.Error(), "Make somebody") {
		t.Errorf("while nothing can change it says %q", err)
	}
	settle.Stay = []identity.Subject{{Person: ben}}
	if err := attic.Settle(t.Context(), settle); err != nil {
		t.Fatal(err)
	}
	share(t, attic.Service, study.Service)
	agree(t, study.Service, attic.Service, reopened(t, attic))
	m := study.Membership()
	if p, _ := m.Person(ben); m.Frozen || len(m.People) != 2 || p.State != services.StateActive {
		t.Errorf("people are %+v, frozen %t", m.People, m.Frozen)
	}
}

// Two owners who removed one another are suspended, nothing can change, and the words decide who stays, for every box.
func TestDuelIsSettled(t *testing.T) {
	for _, c := range []struct {
		name             string
		annStays, benToo bool
		code             string
		people           int
	}{
		{"one stays", true, false, "", 3},
		{"both stay", true, true, "", 4},
		{"none stays", false, false, "last-owner", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			study, attic, ann, ben := duel(t)
			m := attic.Membership()
			if !m.Frozen || !m.ReadOnly {
				t.Fatal("it goes on as if nothing were")
			}
			if key := attic.Health().Message.Key; !m.Opposed || len(m.Copied) != 0 || key != "identity.health.frozen" {
				t.Errorf("the reason is %t, %v, %s", m.Opposed, m.Copied, key)
			}
			for _, id := range []services.PersonID{ann, ben} {
				if p, _ := m.Person(id); p.State != services.StateQuarantined {
					t.Errorf("%s is %s", p.Name, p.State)
				}
			}
			_, err := attic.AddPerson(t.Context(), identity.NewPerson{Name: "Eve", Role: services.RoleMember})
			wantCode(t, err, "frozen")
			d, err := attic.Dispute()
			if err != nil || len(d.Removals) != 2 || len(d.Forked) != 0 {
				t.Fatalf("the dispute is %+v, %v", d, err)
			}

			words := wordsOf(t, study)
			settle := identity.Settlement{Words: words}
			if c.annStays {
				settle.Stay = append(settle.Stay, identity.Subject{Person: ann})
			}
			if c.benToo {
				settle.Stay = append(settle.Stay, identity.Subject{Person: ben})
			}
			wrong := settle
			wrong.Words = append([]string{"zoo"}, words[1:]...)
			wantCode(t, attic.Settle(t.Context(), wrong), "words-wrong")
			wrong.Words = words[:23]
			wantCode(t, attic.Settle(t.Context(), wrong), "words-count")
			err = attic.Settle(t.Context(), settle)
			if c.code != "" {
				wantCode(t, err, c.code)
				if !attic.Membership().Frozen {
					t.Error("something was applied")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			share(t, attic.Service, study.Service)
			agree(t, study.Service, attic.Service, reopened(t, attic))
			m = study.Membership()
			if m.Frozen || m.ReadOnly || len(m.People) != c.people {
				t.Errorf("people are %+v, frozen %t", m.People, m.Frozen)
			}
			if p, ok := m.Person(ann); !ok || p.State != services.StateActive {
				t.Errorf("Ann is %+v", p)
			}
			if _, ok := m.Person(ben); ok != c.benToo {
				t.Errorf("Ben stays: %t", ok)
			}
			person(t, study.Service, "Fay", services.RoleMember)
			share(t, study.Service, attic.Service)
			agree(t, study.Service, attic.Service)
			wantCode(t, study.Settle(t.Context(), settle), "no-dispute")
		})
	}
}

// A dispute names whom it is about, though their addition may be disputed, too.
func TestDisputeNames(t *testing.T) {
	study := identitytest.Household(t)
	ben := person(t, study.Service, "Ben", services.RoleOwner).ID
	attic := identitytest.Joined(t, study, "Attic")
	ctx := identity.Acting(t.Context(), study.Owner, "")
	cleo, err := study.AddPerson(ctx, identity.NewPerson{Name: "Cleo", Role: services.RoleMember})
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []services.PersonID{cleo.ID, ben} {
		if err := study.RemovePerson(ctx, who); err != nil {
			t.Fatal(err)
		}
	}
	if err := attic.RemovePerson(identity.Acting(t.Context(), ben, ""), study.Owner); err != nil {
		t.Fatal(err)
	}
	share(t, study.Service, attic.Service)
	d, err := attic.Dispute()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, r := range d.Removals {
		got[r.Name] = r.Who
	}
	if want := map[string]string{"Ann": "Ben", "Ben": "Ann", "Cleo": "Ann"}; !maps.Equal(got, want) {
		t.Errorf("removed by: %v, want %v", got, want)
	}
}

// clone is a second box with the key and the log of box, as from a copied card.
func clone(t *testing.T, box *identitytest.Claimed) *identitytest.Claimed {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "identity")
	b, err := os.ReadFile(filepath.Join(box.Dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "log"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := identity.New(identity.Config{Dir: dir, Keys: box.Keys, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return &identitytest.Claimed{Service: s, Keys: box.Keys, Owner: box.Owner, Dir: dir}
}

// Two boxes with one key prove themselves by what they write. Their box is suspended everywhere; the words remove its key
// for good, whichever box they are typed in, and on the box itself put a new one in its place.
func TestCloneIsSettled(t *testing.T) {
	for _, c := range []struct {
		name string
		here bool // on the box that was cloned
	}{{"on another box", false}, {"on the box itself", true}} {
		t.Run(c.name, func(t *testing.T) {
			study := identitytest.Household(t)
			attic := identitytest.Joined(t, study, "Attic")
			copied := clone(t, attic)
			person(t, attic.Service, "Ben", services.RoleMember)
			person(t, copied.Service, "Eve", services.RoleOwner)
			share(t, attic.Service, study.Service)
			if study.Membership().Frozen {
				t.Fatal("frozen without a proof")
			}
			share(t, copied.Service, study.Service)
			share(t, attic.Service, study.Service)
			for _, s := range []*identity.Service{study.Service, attic.Service, copied.Service} {
				m := s.Membership()
				if !m.Frozen || len(m.People) != 1 {
					t.Fatalf("frozen %t, people %+v", m.Frozen, m.People)
				}
				if key := s.Health().Message.Key; m.Opposed || !slices.Equal(m.Copied, []services.PeerID{attic.Keys.PeerID()}) || key != "identity.health.copied" {
					t.Errorf("the reason is %t, %v, %s", m.Opposed, m.Copied, key)
				}
				for _, b := range m.Boxes {
					if suspended := b.State == services.StateQuarantined; suspended != (b.ID == attic.Keys.PeerID()) {
						t.Errorf("box %s is %s", b.Name, b.State)
					}
				}
			}
			d, err := study.Dispute()
			if err != nil || len(d.Forked) != 1 || d.Forked[0] != (identity.NamedBox{Box: attic.Keys.PeerID(), Name: "Attic"}) {
				t.Fatalf("the dispute is %+v, %v", d, err)
			}

			settle, at := identity.Settlement{Words: wordsOf(t, study)}, study
			fresh := identitytest.NewKeys("the attic's next key")
			if c.here {
				at = attic
				wantCode(t, at.Settle(t.Context(), settle), "key-needed")
				settle.Key = fresh.PeerID()
			}
			if err := at.Settle(t.Context(), settle); err != nil {
				t.Fatal(err)
			}
			if c.here {
				if _, ours := attic.Membership().Box(); ours {
					t.Error("the old key still belongs")
				}
				s, err := identity.New(identity.Config{Dir: attic.Dir, Keys: fresh, Now: now})
				if err != nil {
					t.Fatal(err)
				}
				box, ours := s.Membership().Box()
				if !ours || box.Name != "Attic" || box.Label != "attic" || box.State != services.StateActive {
					t.Errorf("with its new key the box is %+v", box)
				}
				person(t, s, "Cleo", services.RoleMember)
				share(t, s, study.Service)
				agree(t, s, study.Service)
			}
			// The copy goes on with the old key, and is heard by nobody.
			person2, err := copied.AddPerson(t.Context(), identity.NewPerson{Name: "Mallory", Role: services.RoleOwner})
			if err == nil {
				t.Errorf("a suspended box takes %+v in", person2)
			}
			share(t, copied.Service, study.Service)
			m := study.Membership()
			boxes, people := 1, 2 // Ben was heard of first
			if c.here {
				boxes, people = 2, 3
			}
			if m.Frozen || len(m.Boxes) != boxes || len(m.People) != people {
				t.Errorf("frozen %t, boxes %+v, people %+v", m.Frozen, m.Boxes, m.People)
			}
			if _, ours := copied.Membership().Box(); ours {
				t.Error("the copy takes itself for one of the household")
			}
			person(t, study.Service, "Fay", services.RoleMember)
		})
	}
}

// What a copy wrote before it heard of the settlement comes late, and counts for nothing.
func TestLateClone(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	first, late := clone(t, attic), clone(t, attic)
	person(t, attic.Service, "Ben", services.RoleMember)
	person(t, first.Service, "Eve", services.RoleOwner)
	person(t, late.Service, "Mallory", services.RoleOwner)
	if err := late.RemovePerson(t.Context(), person(t, late.Service, "Nick", services.RoleOwner).ID); err != nil {
		t.Fatal(err)
	}
	share(t, attic.Service, study.Service)
	share(t, first.Service, study.Service)
	if err := study.Settle(t.Context(), identity.Settlement{Words: wordsOf(t, study)}); err != nil {
		t.Fatal(err)
	}
	share(t, late.Service, study.Service)
	if m := study.Membership(); m.Frozen || len(m.People) != 2 || m.People[1].Name != "Ben" || len(m.Boxes) != 1 {
		t.Errorf("frozen %t, people %+v", m.Frozen, m.People)
	}
}

// A stolen box that is quicker than everybody else, and removes the people and the other box, does not keep the house: with
// the words the box that it removed belongs again, and whoever the words say.
func TestThiefWasQuicker(t *testing.T) {
	study := identitytest.Household(t)
	ben := person(t, study.Service, "Ben", services.RoleMember).ID
	tom := person(t, study.Service, "Tom", services.RoleMember).ID
	attic := identitytest.Joined(t, study, "Attic")
	if err := attic.RemovePerson(t.Context(), tom); err != nil { // not by the thief
		t.Fatal(err)
	}
	person(t, attic.Service, "Eve", services.RoleOwner)
	for _, err := range []error{
		attic.RemovePerson(t.Context(), study.Owner), attic.RemovePerson(t.Context(), ben), attic.RemoveBox(t.Context(), study.Keys.PeerID()),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	share(t, study.Service, attic.Service)
	if m := study.Membership(); len(m.People) != 0 || !m.ReadOnly {
		t.Fatalf("people are %+v", m.People)
	}
	d, err := study.Dispute()
	if err != nil || len(d.Removals) != 4 || len(d.Forked) != 0 || len(d.Accused) != 1 || d.Accused[0] != (identity.NamedBox{Box: attic.Keys.PeerID(), Name: "Attic"}) {
		t.Fatalf("the dispute is %+v, %v", d, err)
	}
	settle := identity.Settlement{Words: wordsOf(t, study), Stay: []identity.Subject{{Person: study.Owner}, {Person: ben}, {Box: study.Keys.PeerID()}}}
	if err := study.Settle(t.Context(), settle); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*identity.Service{study.Service, reopened(t, study)} {
		m := s.Membership()
		if m.ReadOnly || len(m.Boxes) != 1 || m.Boxes[0].ID != study.Keys.PeerID() || len(m.People) != 3 { // and Eve, whom anybody may now remove
			t.Errorf("boxes are %+v, people %+v, read-only %t", m.Boxes, m.People, m.ReadOnly)
		}
		if p, ok := m.Person(study.Owner); !ok || p.Role != services.RoleOwner || p.State != services.StateActive {
			t.Errorf("Ann is %+v", p)
		}
	}
	if d, err := study.Dispute(); err != nil || !d.None() {
		t.Errorf("it goes on: %+v, %v", d, err)
	}
	wantCode(t, study.Settle(t.Context(), settle), "no-dispute")
}
