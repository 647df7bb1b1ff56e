package api

import (
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/identity"
)

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
