package identity_test

import (
	"slices"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/identity/identitytest"
)

// divided is a household of three boxes whose owners Ann and Ben removed one another, and to which Eve, an admin,
// belongs, too, and Max, a member.
func divided(t *testing.T) (boxes []*identitytest.Claimed, ann, ben, eve, kid services.PersonID) {
	t.Helper()
	study := identitytest.Household(t)
	ann = study.Owner
	ben = person(t, study.Service, "Ben", services.RoleOwner).ID
	eve = person(t, study.Service, "Eve", services.RoleAdmin).ID
	kid = person(t, study.Service, "Max", services.RoleMember).ID
	attic := identitytest.Joined(t, study, "Attic")
	barn := identitytest.Joined(t, study, "Barn")
	share(t, study.Service, attic.Service)
	if err := study.RemovePerson(identity.Acting(t.Context(), ann, ""), ben); err != nil {
		t.Fatal(err)
	}
	if err := attic.RemovePerson(identity.Acting(t.Context(), ben, ""), ann); err != nil {
		t.Fatal(err)
	}
	boxes = []*identitytest.Claimed{study, attic, barn}
	shareAll(t, boxes)
	return boxes, ann, ben, eve, kid
}

func shareAll(t *testing.T, boxes []*identitytest.Claimed) {
	t.Helper()
	for range 2 {
		for _, b := range boxes[1:] {
			share(t, boxes[0].Service, b.Service)
		}
	}
	for _, b := range boxes[1:] {
		agree(t, boxes[0].Service, b.Service)
	}
}

// say has eve say on the box that who stay.
func say(t *testing.T, box *identitytest.Claimed, eve services.PersonID, stay ...services.PersonID) bool {
	t.Helper()
	var who []identity.Subject
	for _, id := range stay {
		who = append(who, identity.Subject{Person: id})
	}
	settled, err := box.Agree(identity.Acting(t.Context(), eve, ""), who)
	if err != nil {
		t.Fatal(err)
	}
	return settled
}

func TestQuorumSettles(t *testing.T) {
	for name, both := range map[string]bool{"one stays": false, "both stay": true} {
		t.Run(name, func(t *testing.T) {
			boxes, ann, ben, eve, _ := divided(t)
			stay := []services.PersonID{ann}
			if both {
				stay = append(stay, ben)
			}
			if d, err := boxes[0].Dispute(); err != nil || d.Needed != 2 || len(d.Voices) != 0 {
				t.Fatalf("the dispute is %+v, %v", d, err)
			}
			if say(t, boxes[0], eve, stay...) {
				t.Fatal("one box settled it alone")
			}
			if say(t, boxes[0], eve, stay...) {
				t.Fatal("one box settled it alone, saying it twice")
			}
			shareAll(t, boxes)
			d, err := boxes[2].Dispute()
			if err != nil || len(d.Voices) != 1 || d.Voices[0].Box != boxes[0].Membership().Self || d.Voices[0].Person != eve || len(d.Voices[0].Stay) != len(stay) {
				t.Fatalf("the dispute is %+v, %v", d, err)
			}
			if !say(t, boxes[2], eve, stay...) {
				t.Fatal("two of three boxes did not settle it")
			}
			shareAll(t, boxes)
			m := reopened(t, boxes[1]).Membership()
			if p, ok := m.Person(ann); m.Frozen || !ok || p.State != services.StateActive {
				t.Errorf("Ann is %+v, frozen %t", p, m.Frozen)
			}
			if _, ok := m.Person(ben); ok != both {
				t.Errorf("Ben belongs: %t", ok)
			}
			person(t, boxes[1].Service, "Fay", services.RoleMember)
			shareAll(t, boxes)
			_, err = boxes[0].Agree(identity.Acting(t.Context(), eve, ""), []identity.Subject{{Person: ann}})
			wantCode(t, err, "no-dispute")
		})
	}
}

// Two boxes that say the same at the same time settle it as soon as they hear of one another.
func TestQuorumAtOnce(t *testing.T) {
	boxes, ann, _, eve, _ := divided(t)
	if say(t, boxes[0], eve, ann) || say(t, boxes[1], eve, ann) {
		t.Fatal("one box settled it alone")
	}
	shareAll(t, boxes)
	if boxes[2].Membership().Frozen {
		t.Error("it is not settled")
	}
}

// Those who say something else settle nothing, until they come to the same.
func TestQuorumOfOneMind(t *testing.T) {
	boxes, ann, ben, eve, _ := divided(t)
	say(t, boxes[0], eve, ann)
	shareAll(t, boxes)
	if say(t, boxes[1], eve, ben) {
		t.Fatal("two boxes that say different things settled it")
	}
	shareAll(t, boxes)
	if !say(t, boxes[0], eve, ben) {
		t.Fatal("they say the same, and it is not settled")
	}
	shareAll(t, boxes)
	if _, ok := boxes[2].Membership().Person(ann); ok {
		t.Error("what the first box had said before counted")
	}
}

func TestWhoMayNotAgree(t *testing.T) {
	boxes, ann, ben, eve, kid := divided(t)
	stay := []identity.Subject{{Person: ann}}
	for _, id := range []services.PersonID{ann, ben, kid, ""} {
		_, err := boxes[0].Agree(identity.Acting(t.Context(), id, ""), stay)
		wantCode(t, err, "not-yours")
	}
	_, err := boxes[0].Agree(identity.Acting(t.Context(), eve, ""), nil)
	wantCode(t, err, "not-settled")
	_, err = boxes[0].Agree(identity.Acting(t.Context(), eve, ""), []identity.Subject{{Person: kid}})
	wantCode(t, err, "not-settled")
}

// The words count before what boxes agree on without knowing of them, and the other way round they build on it.
func TestWordsBeforeQuorum(t *testing.T) {
	boxes, ann, ben, eve, _ := divided(t)
	words := wordsOf(t, boxes[0])
	say(t, boxes[0], eve, ben)
	share(t, boxes[0].Service, boxes[1].Service)
	if !say(t, boxes[1], eve, ben) {
		t.Fatal("it is not settled")
	}
	person(t, boxes[1].Service, "Fay", services.RoleMember) // in vain, as it turns out
	if err := boxes[2].Settle(t.Context(), identity.Settlement{Words: words, Stay: []identity.Subject{{Person: ann}}}); err != nil {
		t.Fatal(err)
	}
	shareAll(t, boxes)
	m := boxes[1].Membership()
	if _, ok := m.Person(ben); ok || m.Frozen || slices.ContainsFunc(m.People, func(p services.Person) bool { return p.Name == "Fay" }) {
		t.Errorf("people are %+v, frozen %t", m.People, m.Frozen)
	}
	if _, ok := m.Person(ann); !ok {
		t.Error("Ann is not there")
	}
}

// A household of one box has no quorum, nor has one whose other box is disputed.
func TestTooFewForAQuorum(t *testing.T) {
	study := identitytest.Household(t)
	eve := person(t, study.Service, "Eve", services.RoleOwner).ID
	attic := identitytest.Joined(t, study, "Attic")
	ben := person(t, attic.Service, "Ben", services.RoleOwner).ID
	share(t, study.Service, attic.Service)
	if err := study.RemoveBox(identity.Acting(t.Context(), ben, ""), attic.Membership().Self); err != nil {
		t.Fatal(err)
	}
	if err := attic.RemovePerson(identity.Acting(t.Context(), study.Owner, ""), ben); err != nil {
		t.Fatal(err)
	}
	share(t, study.Service, attic.Service)
	if d, err := study.Dispute(); err != nil || len(d.Removals) != 2 || d.Needed != 0 {
		t.Fatalf("the dispute is %+v, %v", d, err)
	}
	_, err := study.Agree(identity.Acting(t.Context(), eve, ""), []identity.Subject{{Person: ben}})
	wantCode(t, err, "words-needed")
}
