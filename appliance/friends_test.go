package appliance

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/account"
	"hearth.alt/services/identity"
	"hearth.alt/services/identity/identitytest"
	"hearth.alt/services/link"
)

// befriended is a household's box with links for friends, on a port of its own.
type befriended struct {
	*identity.Service
	*friends
	self services.PeerID

	mu     sync.Mutex
	events []account.Event
}

func runFriends(t *testing.T, name string) *befriended {
	t.Helper()
	keys := identitytest.NewKeys(t.Name() + name)
	id, err := identity.New(identity.Config{Dir: filepath.Join(t.TempDir(), "identity"), Keys: keys, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Claim(t.Context(), identity.Claim{Household: name, Box: "Box of " + name, Owner: "Ann"}); err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	b := &befriended{Service: id, self: keys.PeerID()}
	b.friends = newFriends(id, func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort(socket.LocalAddr().String())} },
		func(_ context.Context, e account.Event) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events = append(b.events, e)
			return nil
		}, log)
	l := newLinks(newWhereabouts(filepath.Join(t.TempDir(), "addresses"), log), id, log)
	l.beside = []func(context.Context){b.keep}
	l.link, err = link.New(link.Config{
		Self: b.self, Sign: keys.SignHandshake, UDP: func() (net.PacketConn, error) { return socket, nil },
		Paths: b.paths, Knows: b.knows, Protocols: []link.Protocol{b.protocol()}, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.link = l.link
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for !l.link.Health().Ready {
		time.Sleep(time.Millisecond)
	}
	return b
}

// eventually waits for what follows by itself.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// Two households become friends over a link; when one ends that, the other's links end, and a greeting says so.
func TestFriendsOverLinks(t *testing.T) {
	smith, jones := runFriends(t, "Smith"), runFriends(t, "Jones")
	made, open, err := smith.Invite(t.Context(), identity.FriendInvite{Petname: "Tom and Jo"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := jones.Accept(t.Context(), made, "The Smiths", nil)
	if err != nil {
		t.Fatal(err)
	}
	if g := smith.Membership().Friends; len(g) != 1 || g[0].Petname != "Tom and Jo" || f.ID != smith.FriendID() {
		t.Errorf("Smith has %+v, Jones %+v", g, f)
	}
	eventually(t, "Smith's journal lacks the friend", func() bool {
		smith.mu.Lock()
		defer smith.mu.Unlock()
		return len(smith.events) == 1 && smith.events[0].Action == "friend-came" && smith.events[0].Object == "Tom and Jo"
	})
	if _, err := smith.link.Ping(t.Context(), jones.self); err != nil {
		t.Errorf("Smith asks Jones: %v", err)
	}

	if err := smith.Cancel(open.ID); err == nil {
		t.Error("a used invitation was withdrawn")
	}
	if err := smith.RemoveFriend(t.Context(), jones.FriendID()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Jones has a link to Smith still", func() bool {
		_, err := jones.link.Ping(t.Context(), smith.self)
		return refused(err)
	})
	eventually(t, "Jones is still let in", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		st, end, err := jones.open(ctx, smith.self)
		if err != nil {
			return refused(err)
		}
		defer end()
		return errors.Is(jones.Greet(ctx, smith.self, st), identity.ErrNotTheirFriend)
	})
}

// Where no invitation is open, a stranger finds nothing that speaks.
func TestStrangersWithoutInvitation(t *testing.T) {
	smith, jones := runFriends(t, "Smith"), runFriends(t, "Jones")
	made, open, err := smith.Invite(t.Context(), identity.FriendInvite{})
	if err != nil {
		t.Fatal(err)
	}
	if err := smith.Cancel(open.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := jones.Accept(t.Context(), made, "X", nil); !errors.Is(err, identity.ErrInvitationUnknown) {
		t.Errorf("withdrawn: %v", err)
	}
	gone := made
	gone.Inviter = services.PeerID(jones.FriendID()) // nobody's box
	_, err = jones.Accept(t.Context(), gone, "X", nil)
	if p := services.AsProblem(err); p == nil || p.Code != "friend-unreachable" {
		t.Errorf("another box at that address: %v", err)
	}
	if len(jones.Membership().Friends) != 0 {
		t.Error("Jones has a friend")
	}
}
