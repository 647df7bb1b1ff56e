package api

import (
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/identity"
)

// TestNothingDisputed: whoever named somebody while nothing was disputed was told that the dispute is not about them.
func TestNothingDisputed(t *testing.T) {
	if stay, err := staying(identity.Dispute{}, []string{"Ann"}); err != nil || stay != nil {
		t.Errorf("%v, %v; want what identity says then", stay, err)
	}
	d := identity.Dispute{Removals: []identity.OpenRemoval{{Name: "Ben", Subject: identity.Subject{Person: "b"}}}}
	if _, err := staying(d, []string{"Ann"}); services.AsProblem(err) == nil || services.AsProblem(err).Code != "not-disputed" {
		t.Errorf("another one is disputed: %v", err)
	}
}
