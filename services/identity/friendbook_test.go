package identity

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"hearth.alt/services"
)

// Somebody who came with an invitation just when an earlier one had ended was let in with what the one behind it allows.
func TestTakenInvitationIsTheOneShown(t *testing.T) {
	now := time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)
	book := openFriendBook(filepath.Join(t.TempDir(), "friends.json"), slog.New(slog.DiscardHandler), func() time.Time { return now }, func() *services.Membership { return &services.Membership{} })
	const day = 24 * time.Hour
	for i, life := range []time.Duration{day, 3 * day, 3 * day} {
		secret := [16]byte{byte(i)}
		if err := book.add(friendInvite{Hash: hashOf(secret), Petname: string(rune('a' + i)), Expires: now.Add(life)}); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(2 * day)
	for range 2 { // and again, as after a power cut
		i, code, err := book.take([16]byte{1}, services.FriendID{7}, 1, false)
		if err != nil || code != 0 || i.Petname != "b" {
			t.Fatalf("the invitation of %q is taken for that of b: code %d, %v", i.Petname, code, err)
		}
	}
	if open := book.open(); len(open) != 1 || open[0].Petname != "c" {
		t.Errorf("open are %+v, want that of c", open)
	}
}
