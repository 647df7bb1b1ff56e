package identity_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/identity/identitytest"
)

func jones() identity.NewFriend {
	return identity.NewFriend{ID: services.FriendID{1}, Petname: "Jones", Nickname: "The Joneses", Peers: []services.PeerID{{1}}}
}

func grants(t *testing.T, texts ...string) []services.Grant {
	t.Helper()
	out, err := services.ParseGrants(texts)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAddressBook(t *testing.T) {
	box := identitytest.Household(t)
	n := jones()
	n.Petname, n.Grants = "  Jones ", grants(t, "relay")
	f, err := box.AddFriend(t.Context(), n)
	if err != nil || f.Petname != "Jones" || f.Nickname != "The Joneses" || len(f.Granted(time.Now())) != 1 {
		t.Fatalf("friend is %+v, %v", f, err)
	}
	if err := box.RenameFriend(t.Context(), f.ID, "Tom and Jo"); err != nil {
		t.Fatal(err)
	}
	if err := box.UpdateFriend(t.Context(), f.ID, "Jones & Co", []services.PeerID{{9}, {1}, {9}}); err != nil {
		t.Fatal(err)
	}
	if err := box.SetGrants(t.Context(), f.ID, grants(t, "store=10GB", "follow")); err != nil {
		t.Fatal(err)
	}
	m := box.Membership()
	f, _ = m.Friend(f.ID)
	if f.Petname != "Tom and Jo" || f.Nickname != "Jones & Co" || !slices.Equal(f.Peers, []services.PeerID{{1}, {9}}) || len(f.Grants) != 2 {
		t.Errorf("friend is %+v", f)
	}
	if at, ok := m.FriendAt(services.PeerID{9}); !ok || at.ID != f.ID {
		t.Errorf("at the box is %+v", at)
	}
	same(t, reopened(t, box).Membership(), m)
	if err := box.RemoveFriend(t.Context(), f.ID); err != nil || len(box.Membership().Friends) != 0 {
		t.Errorf("removed: %v, %v", err, box.Membership().Friends)
	}
	wantCode(t, box.RemoveFriend(t.Context(), f.ID), "friend-not-found")
	wantCode(t, box.RenameFriend(t.Context(), f.ID, "X"), "friend-not-found")
	if f, err = box.AddFriend(t.Context(), jones()); err != nil || len(f.Grants) != 0 {
		t.Errorf("added again: %+v, %v", f, err)
	}
	same(t, reopened(t, box).Membership(), box.Membership())
}

func TestAddFriendRefuses(t *testing.T) {
	box := identitytest.Household(t)
	if _, err := box.AddFriend(t.Context(), jones()); err != nil {
		t.Fatal(err)
	}
	before := box.Membership()
	brown := identity.NewFriend{ID: services.FriendID{2}, Petname: "Brown", Nickname: "Brown", Peers: []services.PeerID{{2}}}
	for name, c := range map[string]struct {
		spoil func(n *identity.NewFriend)
		code  string
	}{
		"no petname":                 {func(n *identity.NewFriend) { n.Petname = " " }, "name-invalid"},
		"a petname of two alphabets": {func(n *identity.NewFriend) { n.Petname = "Brоwn" }, "name-invalid"},
		"another's petname":          {func(n *identity.NewFriend) { n.Petname = "JONES" }, "petname-taken"},
		"one that looks like it":     {func(n *identity.NewFriend) { n.Petname = "J0nes" }, "petname-taken"},
		"our own name":               {func(n *identity.NewFriend) { n.Petname = "smith" }, "petname-taken"},
		"our own name, look-alike":   {func(n *identity.NewFriend) { n.Petname = "Ѕmіth" }, "name-invalid"},
		"a person's name":            {func(n *identity.NewFriend) { n.Petname = "ANN" }, "petname-taken"},
		"our box's name":             {func(n *identity.NewFriend) { n.Petname = "Hearth" }, "petname-taken"},
		"a friend again":             {func(n *identity.NewFriend) { n.ID = services.FriendID{1} }, "friend-known"},
		"ourselves":                  {func(n *identity.NewFriend) { n.ID = services.FriendID(before.Household.Root) }, "own-household"},
		"our box":                    {func(n *identity.NewFriend) { n.Peers = []services.PeerID{before.Self} }, "own-household"},
		"another's box":              {func(n *identity.NewFriend) { n.Peers = []services.PeerID{{1}} }, "peer-taken"},
		"no box":                     {func(n *identity.NewFriend) { n.Peers = nil }, "friend-invalid"},
		"nine boxes": {func(n *identity.NewFriend) {
			n.Peers = []services.PeerID{{11}, {12}, {13}, {14}, {15}, {16}, {17}, {18}, {19}}
		}, "friend-invalid"},
		"a nickname of two lines": {func(n *identity.NewFriend) { n.Nickname = "a\nb" }, "friend-invalid"},
		"a long nickname":         {func(n *identity.NewFriend) { n.Nickname = strings.Repeat("a", 300) }, "friend-invalid"},
		"an unknown grant":        {func(n *identity.NewFriend) { n.Grants = []services.Grant{{Kind: 9}} }, "grant-unknown"},
	} {
		n := brown
		c.spoil(&n)
		_, err := box.AddFriend(t.Context(), n)
		if t.Run(name, func(t *testing.T) { wantCode(t, err, c.code) }); box.Membership().Revision != before.Revision {
			t.Fatalf("%s: it had an effect", name)
		}
	}
	wantCode(t, box.RenameFriend(t.Context(), services.FriendID{1}, "Smith"), "petname-taken")
	wantCode(t, box.SetGrants(t.Context(), services.FriendID{1}, []services.Grant{{Kind: services.GrantStore}}), "grant-unknown")
	wantCode(t, box.UpdateFriend(t.Context(), services.FriendID{1}, "", nil), "friend-invalid")
}

func TestGrantsAreRenewedWhileSeen(t *testing.T) {
	box := identitytest.Household(t)
	at := time.Now()
	s, err := identity.New(identity.Config{Dir: box.Dir, Keys: box.Keys, Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	n := jones()
	n.Grants = grants(t, "relay")
	if _, err := s.AddFriend(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	day := 24 * time.Hour
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{{14 * day, false}, {2 * day, true}, {14 * day, false}, {2 * day, true}, {31 * day, false}} {
		at = at.Add(c.after)
		before, _ := s.Membership().Friend(n.ID)
		if err := s.RenewGrants(t.Context(), n.ID); err != nil {
			t.Fatal(err)
		}
		after, _ := s.Membership().Friend(n.ID)
		if renewed := after.Until.After(before.Until); renewed != c.want {
			t.Errorf("after %v: renewed %v until %v", c.after, renewed, after.Until)
		}
	}
	if f, _ := s.Membership().Friend(n.ID); len(f.Granted(at)) != 0 || len(f.Grants) != 1 {
		t.Errorf("what has ended came back: %+v", f)
	}
	if err := s.SetGrants(t.Context(), n.ID, n.Grants); err != nil {
		t.Fatal(err)
	}
	if f, _ := s.Membership().Friend(n.ID); len(f.Granted(at)) != 1 {
		t.Errorf("given again: %+v", f)
	}
}
