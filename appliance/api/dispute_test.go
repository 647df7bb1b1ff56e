package api

import (
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/identity"
)

// TestNothingDisputed: whoever named somebody while nothing was disputed was told that the dispute is not about them.
func TestNothingDisputed(t *testing.T) {
	if stay, err := staying(identity.Dispute{}, services.PeerID{}, []string{"Ann"}); err != nil || stay != nil {
		t.Errorf("%v, %v; want what identity says then", stay, err)
	}
	d := identity.Dispute{Removals: []identity.OpenRemoval{{Name: "Ben", Subject: identity.Subject{Person: "b"}}}}
	if _, err := staying(d, services.PeerID{}, []string{"Ann"}); services.AsProblem(err) == nil || services.AsProblem(err).Code != "not-disputed" {
		t.Errorf("another one is disputed: %v", err)
	}
}

// TestCopiedBoxStays: recover dispute listed a box whose key is used twice, and with --stay it was none of the dispute's.
func TestCopiedBoxStays(t *testing.T) {
	attic, barn := services.PeerID{1}, services.PeerID{2}
	d := identity.Dispute{Forked: []identity.NamedBox{{Box: barn, Name: "Barn"}}}
	for _, name := range []string{"Barn", barn.String()} {
		if stay, err := staying(d, barn, []string{name}); err != nil || len(stay) != 0 {
			t.Errorf("on the box itself %s: %v, %v", name, stay, err)
		}
		if _, err := staying(d, attic, []string{name}); services.AsProblem(err) == nil || services.AsProblem(err).Code != "copied" {
			t.Errorf("on another box %s: %v", name, err)
		}
	}
}

// Who stays is who was chosen, whatever a thief calls those whom they made up: one with the ID of another for its name stayed
// in the place of that one, which the 24 words then removed. Of two with one name, neither is meant by it.
func TestWhoStays(t *testing.T) {
	const ann, puppet services.PersonID = "annannannannanna", "puppetpuppetpupp"
	d := identity.Dispute{Removals: []identity.OpenRemoval{
		{Subject: identity.Subject{Person: ann}, Name: "Ann"},
		{Subject: identity.Subject{Person: puppet}, Name: string(ann)},
	}, Accused: []identity.NamedBox{{Box: services.PeerID{1}, Name: string(ann)}}}
	stay, err := staying(d, services.PeerID{}, []string{string(ann)})
	if err != nil || len(stay) != 1 || stay[0].Person != ann {
		t.Errorf("%v stays, %v", stay, err)
	}
	d.Removals[1].Name = "Ann"
	if stay, err := staying(d, services.PeerID{}, []string{"Ann"}); err == nil {
		t.Errorf("%v is guessed", stay)
	}
	d.Removals = append(d.Removals[:1], d.Removals[0]) // removed twice
	if stay, err := staying(d, services.PeerID{}, []string{"Ann"}); err != nil || len(stay) != 1 || stay[0].Person != ann {
		t.Errorf("%v stays, %v", stay, err)
	}
}
