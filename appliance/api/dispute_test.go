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
