package appliance

import (
	"context"
	"errors"
	"html"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/services/account"
	"hearth.alt/services/identity"
	"hearth.alt/services/identity/identitytest"
	"hearth.alt/services/link"
	"hearth.alt/webui"
	"hearth.alt/webui/house"
)

// befriended is a household's box with links for friends, on a port of its own.
type befriended struct {
	*identity.Service
	*friends
	self services.PeerID

	mu     sync.Mutex
	events []account.Event
}

func newFriendHouse(t *testing.T, name string) *befriended {
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
		Paths: b.paths, Knows: b.linked, Protocols: []link.Protocol{b.protocol()}, Now: time.Now,
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
	eventually(t, "the links are not ready", func() bool { return l.link.Health().Ready })
	return b
}

// Two households become friends over a link; when one ends that, the other's links end, and a greeting says so.
func TestFriendsOverLinks(t *testing.T) {
	smith, jones := newFriendHouse(t, "Smith"), newFriendHouse(t, "Jones")
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
		st, end, err := jones.open(ctx, smith.self, identity.FriendProtocol)
		if err != nil {
			return refused(err)
		}
		defer end()
		return errors.Is(jones.Greet(ctx, smith.self, st), identity.ErrNotTheirFriend)
	})
}

// Where no invitation is open and there is no friend, a stranger finds nothing that speaks.
func TestStrangersWithoutInvitation(t *testing.T) {
	smith, jones := newFriendHouse(t, "Smith"), newFriendHouse(t, "Jones")
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
	jones.trying[smith.self] = made.Candidates
	if _, _, err := jones.open(t.Context(), smith.self, identity.FriendProtocol); !refused(err) {
		t.Errorf("a stranger is heard: %v", err)
	}
	late := made
	late.Expires = time.Unix(1_700_000_000, 0)
	_, err = jones.Accept(t.Context(), late, "X", nil)
	if p := services.AsProblem(err); p == nil || p.Code != "invitation-expired" {
		t.Errorf("one that has ended: %v", err)
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

// What the pages of friends ask, by role and by form, between two wired boxes.
func TestFriendPages(t *testing.T) {
	h := takenIn(t, t.TempDir())
	as := func(role services.Role) context.Context { return webui.WithCaller(t.Context(), h.caller(role)) }
	p := h.rooms()
	jones := newFriendHouse(t, "Jones")

	form := house.FriendForm{Petname: "Tom and Jo", Relay: true, Store: " 10 gb"}
	if _, err := p.InviteFriend(as(services.RoleMember), form); !errors.Is(err, api.ErrDenied) {
		t.Errorf("a member invites: %v", err)
	}
	bad := form
	bad.Store = "much"
	_, err := p.InviteFriend(as(services.RoleAdmin), bad)
	if q := services.AsProblem(err); q == nil || q.Field != "store" {
		t.Errorf("a size that is none: %v", err)
	}
	id, err := p.InviteFriend(as(services.RoleAdmin), form)
	if err != nil {
		t.Fatal(err)
	}
	inv, err := p.FriendInvitation(as(services.RoleOwner), id)
	if err != nil || inv.Link.Reveal() == "" || len(inv.Grants) != 2 {
		t.Errorf("invitation %+v, %v", inv, err)
	}
	if _, err := p.FriendInvitation(as(services.RoleMember), id); err == nil {
		t.Error("a member sees the invitation")
	}
	_, err = p.ReadFriendLink(as(services.RoleAdmin), inv.Link.Reveal())
	if q := services.AsProblem(err); q == nil || q.Code != "own-household" || q.Field != "link" {
		t.Errorf("our own link: %v", err)
	}

	made, _, err := jones.Invite(t.Context(), identity.FriendInvite{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := made.Text()
	if err != nil {
		t.Fatal(err)
	}
	who, err := p.ReadFriendLink(as(services.RoleAdmin), text)
	if err != nil || who.Name != "Jones" || who.Fingerprint != api.Fingerprint(jones.FriendID()) {
		t.Errorf("the link is from %+v, %v", who, err)
	}
	_, err = p.AcceptFriend(as(services.RoleAdmin), house.FriendForm{Link: text, Petname: "SMITH"})
	if q := services.AsProblem(err); q == nil || q.Field != "petname" {
		t.Errorf("a name that is ours: %v", err)
	}

	f, err := h.identity.AddFriend(t.Context(), identity.NewFriend{ID: jones.FriendID(), Petname: "Jo", Nickname: "Attic", Peers: []services.PeerID{jones.self}})
	if err != nil {
		t.Fatal(err)
	}
	list, err := p.Friends(as(services.RoleMember))
	if err != nil || len(list.Friends) != 1 || list.MayChange || list.Friends[0].MayChange || len(list.Invitations) != 0 || list.Friends[0].LooksLike != "Attic" {
		t.Errorf("a member sees %+v, %v", list, err)
	}
	if err := p.ChangeFriend(as(services.RoleMember), f.ID, form); !errors.Is(err, api.ErrDenied) {
		t.Errorf("a member changes: %v", err)
	}
	if err := p.ChangeFriend(as(services.RoleAdmin), f.ID, house.FriendForm{Petname: "Joe", Follow: true, Store: "5"}); err != nil {
		t.Error(err)
	}
	one, err := p.Friend(as(services.RoleMember), f.ID)
	if err != nil || one.Petname != "Joe" || len(one.Grants) != 2 || one.Grants[0].String() != "store=5GB" {
		t.Errorf("changed to %+v, %v", one, err)
	}
	if err := p.RemoveFriend(as(services.RoleMember), f.ID); !errors.Is(err, api.ErrDenied) {
		t.Errorf("a member removes: %v", err)
	}
	if err := p.RemoveFriend(as(services.RoleAdmin), f.ID); err != nil || len(h.identity.Membership().Friends) != 0 {
		t.Errorf("removed: %v", err)
	}
	if err := p.WithdrawFriendInvitation(as(services.RoleAdmin), id); err != nil {
		t.Error(err)
	}
}

// A browser without scripts invites, withdraws, and enters an invitation in two steps.
func TestFriendForms(t *testing.T) {
	h := takenIn(t, t.TempDir())
	jones := newFriendHouse(t, "Jones")
	cookies := map[string]string{}
	open := func(method, path string, form url.Values) string {
		t.Helper()
		for range 3 {
			r := as(h.request(services.FaceSecure, method, path, strings.NewReader(form.Encode())), h.who[services.RoleAdmin])
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			for name, value := range cookies {
				r.AddCookie(&http.Cookie{Name: name, Value: value})
			}
			w := h.ask(services.FaceSecure, r)
			for _, c := range w.Result().Cookies() {
				cookies[c.Name] = c.Value
			}
			if w.Code != http.StatusSeeOther {
				return path + "\n" + html.UnescapeString(w.Body.String())
			}
			method, path, form = "GET", w.Header().Get("Location"), nil
		}
		t.Fatalf("%s leads round and round", path)
		return ""
	}
	says := func(page string, texts ...string) {
		t.Helper()
		for _, s := range texts {
			if !strings.Contains(page, s) {
				t.Errorf("%q is not there, in\n%s", s, page)
			}
		}
	}
	says(open("GET", "/friends", nil), "No other household is a friend yet", "What friends see of you", api.Fingerprint(h.identity.FriendID()))
	says(open("POST", "/friends/invite", url.Values{"petname": {"smith"}, "store": {"a lot"}}), "A size is written like 10 GB")
	says(open("POST", "/friends/invite", url.Values{"petname": {"smith"}}), "could be taken for")
	page := open("POST", "/friends/invite", url.Values{"petname": {"Lena"}, "follow": {"yes"}})
	says(page, "hearth:friend?", "Hand this to", "read what we post for friends")
	path, _, _ := strings.Cut(page, "\n")
	says(open("GET", "/friends", nil), "Lena", path)
	says(open("POST", path, nil), "The invitation is withdrawn")
	says(open("GET", path, nil), "not open any more")

	link, _, err := jones.Invite(t.Context(), identity.FriendInvite{})
	if err != nil {
		t.Fatal(err)
	}
	link.Name = "Ꮪmith" // as they call themselves
	text, err := link.Text()
	if err != nil {
		t.Fatal(err)
	}
	says(open("POST", "/friends/accept", url.Values{"link": {text[:40]}}), "This is not a whole invitation")
	page = open("POST", "/friends/accept", url.Values{"link": {text}})
	says(page, "says that it is from", "which looks like", api.Fingerprint(jones.FriendID()), `name="link" value="`+text)
	again := url.Values{"link": {text}, "named": {"yes"}, "petname": {"SMITH"}, "relay": {"yes"}}
	says(open("POST", "/friends/accept", again), "could be taken for", `name="relay" value="yes" checked`)
	again.Set("petname", "Jones")
	page = open("POST", "/friends/accept", again) // links do not run here
	says(page, "does not answer", `value="Jones"`)
	if len(h.identity.Membership().Friends) != 0 {
		t.Error("there is a friend")
	}
}
