package identity_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/durable"
	"hearth.alt/services/identity"
	"hearth.alt/services/identity/identitytest"
)

// house is a claimed box with what befriends for it.
type house struct {
	*identity.Service
	*identity.Befriending
	t    *testing.T
	id   services.FriendID
	keys *identitytest.Keys
	dir  string
	at   time.Time // of its clock
}

func newHouse(t *testing.T, name string) *house {
	t.Helper()
	h := &house{t: t, keys: identitytest.NewKeys(name), dir: filepath.Join(t.TempDir(), "identity"), at: time.Now()}
	h.start()
	if err := h.Claim(t.Context(), identity.Claim{Household: name, Box: name + "'s box", Owner: "Ann", OwnerID: identitytest.Ann}); err != nil {
		t.Fatal(err)
	}
	h.id = services.FriendID(h.Membership().Household.Root)
	return h
}

// start opens what is on disk, as after a power cut.
func (h *house) start() {
	h.t.Helper()
	var err error
	if h.Service, err = identity.New(identity.Config{Dir: h.dir, Keys: h.keys, Now: func() time.Time { return h.at }}); err != nil {
		h.t.Fatal(err)
	}
	h.Befriending = identity.NewBefriending(h.Service, func() []netip.AddrPort {
		return []netip.AddrPort{netip.MustParseAddrPort("192.0.2.7:41820")}
	})
}

func (h *house) invite(n identity.FriendInvite) identity.InviteLink {
	h.t.Helper()
	link, _, err := h.Invite(h.t.Context(), n)
	if err != nil {
		h.t.Fatal(err)
	}
	return link
}

// served is a stream that by serves for peer; done says how that ended.
func served(t *testing.T, by *house, peer services.PeerID) (near net.Conn, done <-chan error) {
	near, far := net.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- by.Serve(t.Context(), peer, far)
		far.Close()
	}()
	return near, ended
}

// befriend has a take up link, which b answers.
func befriend(t *testing.T, a, b *house, link identity.InviteLink, petname string, grants ...services.Grant) (services.Friend, error) {
	t.Helper()
	near, done := served(t, b, a.keys.PeerID())
	f, err := a.Accept(t.Context(), link, petname, grants, near)
	near.Close()
	<-done
	return f, err
}

func greet(t *testing.T, a, b *house) error {
	t.Helper()
	near, done := served(t, b, a.keys.PeerID())
	err := a.Greet(t.Context(), b.keys.PeerID(), near)
	near.Close()
	<-done
	return err
}

func TestBefriend(t *testing.T) {
	smith, jones := newHouse(t, "Smith"), newHouse(t, "Jones")
	link := smith.invite(identity.FriendInvite{Petname: "Tom and Jo", Grants: grants(t, "store=10GB")})
	if link.Name != "Smith" || link.Inviter != smith.keys.PeerID() || len(link.Candidates) != 1 || link.Expires.Sub(smith.at) < identity.FriendInviteLife {
		t.Errorf("link is %+v", link)
	}
	f, err := befriend(t, jones, smith, link, "The Smiths", grants(t, "relay")...)
	if err != nil {
		t.Fatal(err)
	}
	if f.ID != smith.id || f.Petname != "The Smiths" || f.Nickname != "Smith" || !slices.Equal(f.Peers, []services.PeerID{smith.keys.PeerID()}) || f.Grants[0].String() != "relay" {
		t.Errorf("Jones has %+v", f)
	}
	g, ok := smith.Membership().Friend(jones.id)
	if !ok || g.Petname != "Tom and Jo" || g.Nickname != "Jones" || g.Grants[0].String() != "store=10GB" {
		t.Errorf("Smith has %+v", g)
	}
	if len(smith.Invitations()) != 0 || smith.Seen(jones.id).IsZero() || jones.Seen(smith.id).IsZero() {
		t.Error("the invitation is still open, or nobody was seen")
	}
	if at := jones.Paths(smith.keys.PeerID()); !slices.Equal(at, link.Candidates) {
		t.Errorf("Smith is looked for at %v", at)
	}
	for _, h := range []*house{smith, jones} {
		before := h.Membership()
		h.start()
		same(t, h.Membership(), before)
		if h.Seen(before.Friends[0].ID).IsZero() {
			t.Error("when the friend was seen is forgotten")
		}
	}
	raw, err := os.ReadFile(filepath.Join(smith.dir, "friends.json"))
	if err != nil || strings.Contains(string(raw), string(link.Secret[:])) {
		t.Errorf("the book is %q, %v", raw, err)
	}
}

// Nobody gave the friend a name when inviting: it is theirs, but like nothing that is known.
func TestNickname(t *testing.T) {
	smith := newHouse(t, "Smith")
	if _, err := smith.AddFriend(t.Context(), identity.NewFriend{ID: services.FriendID{1}, Petname: "Jones", Nickname: "Jones", Peers: []services.PeerID{{1}}}); err != nil {
		t.Fatal(err)
	}
	other := newHouse(t, "J0nes")
	if _, err := befriend(t, other, smith, smith.invite(identity.FriendInvite{}), ""); err != nil {
		t.Fatal(err)
	}
	if f, _ := smith.Membership().Friend(other.id); f.Petname != "J0nes 2" || f.Nickname != "J0nes" {
		t.Errorf("friend is %+v", f)
	}
}

func TestInvitationsAreRefused(t *testing.T) {
	smith, jones, brown := newHouse(t, "Smith"), newHouse(t, "Jones"), newHouse(t, "Brown")
	used := smith.invite(identity.FriendInvite{})
	if _, err := befriend(t, jones, smith, used, ""); err != nil {
		t.Fatal(err)
	}
	before := brown.Membership()
	fails := func(name string, link identity.InviteLink, code string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			was := smith.Membership()
			_, err := befriend(t, brown, smith, link, "The Smiths")
			wantCode(t, err, code)
			same(t, brown.Membership(), before)
			same(t, smith.Membership(), was)
		})
	}
	fails("used by others", used, "invitation-used")
	wrong := used
	wrong.Secret = identity.NewInviteSecret()
	fails("wrong", wrong, "invitation-unknown")

	cancelled, open, err := smith.Invite(t.Context(), identity.FriendInvite{})
	if err != nil {
		t.Fatal(err)
	}
	if got := smith.Invitations(); len(got) != 1 || got[0].ID != open.ID {
		t.Errorf("open are %v", got)
	}
	if err := smith.Cancel(open.ID); err != nil {
		t.Fatal(err)
	}
	wantCode(t, smith.Cancel(open.ID), "invitation-not-found")
	fails("cancelled", cancelled, "invitation-unknown")

	ended := smith.invite(identity.FriendInvite{Life: time.Hour})
	smith.at = smith.at.Add(time.Hour + time.Second)
	fails("ended", ended, "invitation-expired")
	smith.invite(identity.FriendInvite{}) // ended ones are forgotten now
	brown.at = smith.at
	fails("ended and forgotten", ended, "invitation-expired")

	_, err = befriend(t, smith, smith, smith.invite(identity.FriendInvite{}), "X")
	wantCode(t, err, "own-household")
	_, err = befriend(t, jones, smith, smith.invite(identity.FriendInvite{}), "X")
	wantCode(t, err, "friend-known")
	_, err = befriend(t, brown, smith, smith.invite(identity.FriendInvite{}), "BROWN")
	wantCode(t, err, "petname-taken")
	box := smith.invite(identity.FriendInvite{})
	box.Kind = identity.InviteBox
	_, err = befriend(t, brown, smith, box, "X")
	wantCode(t, err, "link-kind")

	// Another household at the box's place: its own root is not the one of the link.
	forged := smith.invite(identity.FriendInvite{})
	forged.Root = slices.Repeat([]byte{9}, 32)
	fails("another root than promised", forged, "friend-invalid")
}

// An inviter who was removed, or is no admin any more, leaves no invitation.
func TestInvitationEndsWithItsInviter(t *testing.T) {
	smith, jones := newHouse(t, "Smith"), newHouse(t, "Jones")
	ben, err := smith.AddPerson(t.Context(), identity.NewPerson{Name: "Ben", Role: services.RoleAdmin})
	if err != nil {
		t.Fatal(err)
	}
	link, _, err := smith.Invite(identity.Acting(t.Context(), ben.ID, ""), identity.FriendInvite{})
	if err != nil {
		t.Fatal(err)
	}
	if err := smith.SetRole(t.Context(), ben.ID, services.RoleMember); err != nil {
		t.Fatal(err)
	}
	_, err = befriend(t, jones, smith, link, "")
	wantCode(t, err, "invitation-expired")
	if len(smith.Invitations()) != 0 {
		t.Error("it is still open")
	}
}

// The other side wrote it down and this one heard nothing of it: the same link works again, for nobody else, and no more
// once the friendship has ended.
func TestAnswerLost(t *testing.T) {
	smith, jones, brown := newHouse(t, "Smith"), newHouse(t, "Jones"), newHouse(t, "Brown")
	link := smith.invite(identity.FriendInvite{Petname: "Jo"})
	near, far := net.Pipe()
	go func() {
		_ = smith.Serve(t.Context(), jones.keys.PeerID(), struct {
			io.Reader
			io.Writer
		}{far, io.Discard})
		far.Close()
	}()
	_, err := jones.Accept(t.Context(), link, "", nil, near)
	wantCode(t, err, "friend-unreachable")
	if len(jones.Membership().Friends) != 0 || len(smith.Membership().Friends) != 1 {
		t.Fatalf("Jones has %v, Smith %v", jones.Membership().Friends, smith.Membership().Friends)
	}
	smith.start() // its power is cut, too
	_, err = befriend(t, brown, smith, link, "")
	wantCode(t, err, "invitation-used")
	if _, err := befriend(t, jones, smith, link, ""); err != nil {
		t.Fatal(err)
	}
	if f := smith.Membership().Friends; len(f) != 1 || f[0].Petname != "Jo" {
		t.Errorf("Smith has %v", f)
	}
	for h, id := range map[*house]services.FriendID{smith: jones.id, jones: smith.id} {
		if err := h.RemoveFriend(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	_, err = befriend(t, jones, smith, link, "")
	wantCode(t, err, "invitation-used")
}

// The invitation is marked before the friend is written down, so that a power cut between both leaves it to the one who
// came with it.
func TestPowerCutBeforeFriendIsWritten(t *testing.T) {
	smith, jones, brown := newHouse(t, "Smith"), newHouse(t, "Jones"), newHouse(t, "Brown")
	link := smith.invite(identity.FriendInvite{})
	log, err := os.ReadFile(filepath.Join(smith.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := befriend(t, jones, smith, link, ""); err != nil {
		t.Fatal(err)
	}
	if err := jones.RemoveFriend(t.Context(), smith.id); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(filepath.Join(smith.dir, "log"), log, 0o600); err != nil {
		t.Fatal(err)
	}
	smith.start()
	if len(smith.Membership().Friends) != 0 {
		t.Fatal("the friend was written down")
	}
	_, err = befriend(t, brown, smith, link, "")
	wantCode(t, err, "invitation-used")
	if _, err = befriend(t, jones, smith, link, ""); err != nil || len(smith.Membership().Friends) != 1 {
		t.Errorf("again: %v, %v", err, smith.Membership().Friends)
	}
}

// Who removed us and takes up another invitation is the same friend again.
func TestBefriendAgain(t *testing.T) {
	smith, jones := newHouse(t, "Smith"), newHouse(t, "Jones")
	if _, err := befriend(t, jones, smith, smith.invite(identity.FriendInvite{Petname: "Jo"}), ""); err != nil {
		t.Fatal(err)
	}
	if err := jones.RemoveFriend(t.Context(), smith.id); err != nil {
		t.Fatal(err)
	}
	wantCode(t, greet(t, smith, jones), "not-their-friend")
	if _, err := befriend(t, jones, smith, smith.invite(identity.FriendInvite{Petname: "Joe"}), ""); err != nil {
		t.Fatal(err)
	}
	if f := smith.Membership().Friends; len(f) != 1 || f[0].Petname != "Jo" {
		t.Errorf("Smith has %v", f)
	}
}

func TestGuessesAreBounded(t *testing.T) {
	smith, jones, brown := newHouse(t, "Smith"), newHouse(t, "Jones"), newHouse(t, "Brown")
	link := smith.invite(identity.FriendInvite{})
	wrong := link
	for n := range 7 {
		wrong.Secret = identity.NewInviteSecret()
		_, err := befriend(t, jones, smith, wrong, "")
		want := "invitation-unknown"
		if n >= 5 {
			want = "friend-busy"
		}
		wantCode(t, err, want)
	}
	wrong.Secret = identity.NewInviteSecret()
	_, err := befriend(t, brown, smith, wrong, "")
	wantCode(t, err, "invitation-unknown")
	if _, err := befriend(t, jones, smith, link, ""); err != nil {
		t.Errorf("the right one: %v", err)
	}
	smith.at = smith.at.Add(time.Minute)
	_, err = befriend(t, brown, smith, wrong, "")
	wantCode(t, err, "invitation-unknown")
}

// A greeting brings what changed, and renews what is allowed while less than half of its time is left.
func TestGreet(t *testing.T) {
	smith, jones := newHouse(t, "Smith"), newHouse(t, "Jones")
	wantCode(t, greet(t, jones, smith), "friend-not-found")
	if _, err := befriend(t, jones, smith, smith.invite(identity.FriendInvite{Grants: grants(t, "relay")}), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := smith.AddBox(t.Context(), identity.NewBox{ID: services.PeerID{7}, Name: "Attic"}); err != nil {
		t.Fatal(err)
	}
	days := 20 * 24 * time.Hour
	smith.at, jones.at = smith.at.Add(days), jones.at.Add(days)
	if err := greet(t, jones, smith); err != nil {
		t.Fatal(err)
	}
	f, _ := jones.Membership().Friend(smith.id)
	if len(f.Peers) != 2 || !jones.Seen(smith.id).Equal(jones.at) || !smith.Seen(jones.id).Equal(smith.at) {
		t.Errorf("Jones has %+v, seen %v", f, jones.Seen(smith.id))
	}
	if g, _ := smith.Membership().Friend(jones.id); g.Until.Before(smith.at.Add(services.MaxGrantLife)) {
		t.Errorf("until %v", g.Until)
	}
}

// Every box that a household names has to be one that its root took in.
func TestProof(t *testing.T) {
	smith, jones := newHouse(t, "Smith"), newHouse(t, "Jones")
	mallory := newHouse(t, "Mallory")
	link := smith.invite(identity.FriendInvite{})
	near, far := net.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- smith.Serve(t.Context(), jones.keys.PeerID(), far) // Mallory's words over Jones's link
		far.Close()
	}()
	_, err := mallory.Accept(t.Context(), link, "", nil, near)
	wantCode(t, err, "friend-invalid")
	if err := <-done; err == nil || len(smith.Membership().Friends) != 0 {
		t.Errorf("Smith says %v and has %v", err, smith.Membership().Friends)
	}
	if _, err := befriend(t, jones, smith, link, ""); err != nil {
		t.Errorf("the invitation is spoilt: %v", err)
	}
}

func TestSecondBoxOfHouseholdBefriends(t *testing.T) {
	smith, jones := newHouse(t, "Smith"), newHouse(t, "Jones")
	attic := &house{t: t, keys: identitytest.NewKeys("attic"), dir: filepath.Join(t.TempDir(), "identity"), at: time.Now(), id: smith.id}
	attic.start()
	if _, err := smith.AddBox(t.Context(), identity.NewBox{ID: attic.keys.PeerID(), Name: "Attic"}); err != nil {
		t.Fatal(err)
	}
	if err := attic.Join(t.Context(), identity.JoinLog{Root: smith.id, Inviter: smith.keys.PeerID(), Records: smith.RecordBytes()}); err != nil {
		t.Fatal(err)
	}
	f, err := befriend(t, jones, attic, attic.invite(identity.FriendInvite{}), "")
	if err != nil || f.ID != smith.id || len(f.Peers) != 2 {
		t.Errorf("Jones has %+v, %v", f, err)
	}
}

func TestBookDamaged(t *testing.T) {
	smith, jones := newHouse(t, "Smith"), newHouse(t, "Jones")
	link := smith.invite(identity.FriendInvite{})
	for _, bad := range []string{"", "{", `{"version":2}`, `{"version":1,"invitations":[{"hash":""}]}`} {
		if err := os.WriteFile(filepath.Join(smith.dir, "friends.json"), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		smith.start()
		_, err := befriend(t, jones, smith, link, "")
		wantCode(t, err, "invitation-unknown")
	}
	if _, err := befriend(t, jones, smith, smith.invite(identity.FriendInvite{}), ""); err != nil {
		t.Error(err)
	}
}

// Whatever a stranger sends, the answer is a refusal and nothing changes.
func FuzzServe(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, 4, 1})
	f.Add([]byte{0, 0, 0, 1, 2})
	dir := filepath.Join(f.TempDir(), "identity")
	s, err := identity.New(identity.Config{Dir: dir, Keys: identitytest.NewKeys("fuzz"), Now: time.Now})
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Claim(context.Background(), identity.Claim{Household: "Smith", Box: "Hearth", Owner: "Ann"}); err != nil {
		f.Fatal(err)
	}
	b := identity.NewBefriending(s, func() []netip.AddrPort { return nil })
	f.Fuzz(func(t *testing.T, in []byte) {
		var out strings.Builder
		_ = b.Serve(t.Context(), services.PeerID{1}, struct {
			io.Reader
			io.Writer
		}{strings.NewReader(string(in)), &out})
		if out.Len() > 0 && out.Len() != 6 || len(s.Membership().Friends) != 0 {
			t.Fatalf("%x is answered %x", in, out.String())
		}
	})
}
