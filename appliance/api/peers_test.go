package api

import (
	"context"
	"errors"
	"testing"

	"hearth.alt/services"
)

// TestAnyBoxOfAFriend: of a friend's boxes only the first one was asked, which may be off or was never met.
func TestAnyBoxOfAFriend(t *testing.T) {
	off, on := services.PeerID{1}, services.PeerID{2}
	unreachable := errors.New("no path is known")
	got, err := first(t.Context(), []services.PeerID{off, on}, func(ctx context.Context, p services.PeerID) (string, error) {
		if p == on {
			return "pong", nil
		}
		<-ctx.Done()
		return "", unreachable
	})
	if err != nil || got != "pong" {
		t.Errorf("%q, %v", got, err)
	}
	_, err = first(t.Context(), []services.PeerID{off, on}, func(context.Context, services.PeerID) (string, error) { return "", unreachable })
	if !errors.Is(err, unreachable) {
		t.Errorf("none answers: %v", err)
	}
}
