package identity

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/befriend"
	"hearth.alt/services/identity/internal/record"
)

// FriendProtocol is the ProtocolName with which households become friends and later hear of one another. Who opened the
// stream calls Accept or Greet, the other end Serve. A stranger may open it while Open says so.
const FriendProtocol = "/identity/friend/v1"

// FriendInviteLife is how long an invitation is open unless something else is asked for.
const FriendInviteLife = 7 * 24 * time.Hour

// Befriending speaks FriendProtocol: it makes invitations, takes up those of others, and remembers when friends were
// last heard of, both in <Dir>/friends.json. Its methods are safe for concurrent use.
//
// # Who a friend is
//
// The peer at the other end has proven its device key. It shows records of its household's log, in which the root takes
// boxes in and these further ones: every box that it names as its household's has to be there. So nobody passes for a
// household whose root took them not in. A box that was removed from the other household, or stolen, still can, and may name
// others of its boxes as gone, until we hear of it from one of those.
type Befriending struct {
	s          *Service
	candidates func() []netip.AddrPort
	book       *friendBook

	mu    sync.Mutex
	wrong map[services.PeerID]int // secrets that nobody knows, in the minute that began then
	since time.Time
	news  map[services.PeerID]spent // by friends' boxes, in records
}

const (
	newsBurst    = 8         // records of this log that a friend's box may cause at once
	newsEvery    = time.Hour // and one more after each such time, for ever: a log never shrinks
	freeGuesses  = 5         // of a peer in a minute
	mostGuesses  = 60        // of all peers
	guessMinutes = time.Minute
)

// NewBefriending returns what speaks for s. candidates are the addresses of this box that a friend may try.
func NewBefriending(s *Service, candidates func() []netip.AddrPort) *Befriending {
	return &Befriending{
		s: s, candidates: candidates, wrong: map[services.PeerID]int{}, news: map[services.PeerID]spent{},
		book: openFriendBook(filepath.Join(s.cfg.Dir, "friends.json"), s.cfg.Log, s.cfg.Now, s.Membership),
	}
}

// FriendInvite is what an invitation is made of.
type FriendInvite struct {
	Petname string // what we will call them; "" is what they call themselves
	Grants  []services.Grant
	Life    time.Duration // above 0; 0 is FriendInviteLife
}

// OpenInvite is an invitation that nobody came with yet.
type OpenInvite struct {
	ID      string // 16 letters and digits
	Petname string
	Grants  []services.Grant
	Expires time.Time
}

// Invite makes an invitation for one household. Codes: name-invalid, petname-taken, grant-unknown, invitations-full, and
// those of every change. The person on whose behalf it is made (Acting) must still be an admin when it is taken up.
func (b *Befriending) Invite(ctx context.Context, n FriendInvite) (InviteLink, OpenInvite, error) {
	fail := func(err error) (InviteLink, OpenInvite, error) { return InviteLink{}, OpenInvite{}, err }
	if n.Petname != "" {
		var err error
		if n.Petname, err = cleanName("petname", n.Petname); err != nil {
			return fail(err)
		}
	}
	if err := checkGrants(n.Grants); err != nil {
		return fail(err)
	}
	if n.Life == 0 {
		n.Life = FriendInviteLife
	}
	var root services.FriendID
	var name string
	err := b.s.try(ctx, func(h *household) error {
		root, name = h.id(), h.is.Name
		if n.Petname == "" {
			return nil
		}
		return h.checkPetname(services.FriendID{}, n.Petname)
	})
	if err != nil {
		return fail(err)
	}
	link := InviteLink{
		Kind: InviteFriend, Inviter: b.s.self, Root: root[:], Name: name, Candidates: b.Near(),
		Secret: NewInviteSecret(), Expires: wholeSeconds(b.s.cfg.Now().Add(n.Life)),
	}
	made := friendInvite{Hash: hashOf(link.Secret), Petname: n.Petname, Grants: n.Grants, By: actorOf(ctx).by, Expires: link.Expires}
	if err := b.book.add(made); err != nil {
		return fail(err)
	}
	return link, made.open(), nil
}

// Near are the addresses of this box that friends are told.
func (b *Befriending) Near() []netip.AddrPort { return goodCandidates(b.candidates()) }

// Invitations are those that nobody came with yet, the oldest first.
func (b *Befriending) Invitations() []OpenInvite { return b.book.open() }

// Cancel ends an open invitation. Code: invitation-not-found.
func (b *Befriending) Cancel(id string) error { return b.book.cancel(id) }

// Open says whether strangers have anything to say here: an invitation is open, or one was used that may be shown again.
func (b *Befriending) Open() bool { return b.book.expects() }

// Seen is when the friend was last heard of; zero is never, as far as this box knows.
func (b *Befriending) Seen(id services.FriendID) time.Time { return b.book.seen(id) }

// Paths are the addresses that a friend's box told as its own.
func (b *Befriending) Paths(peer services.PeerID) []netip.AddrPort {
	f, ok := b.s.Membership().FriendAt(peer)
	if !ok {
		return nil
	}
	return b.book.paths(f.ID, peer)
}

// mayTell says whether peer may have it written down that its household is another, and counts it: a friend could otherwise
// fill the log. Boxes that are named for the first time then, fresh, wait for a turn of their own.
func (b *Befriending) mayTell(peer services.PeerID, fresh []services.PeerID) bool {
	m := b.s.Membership()
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(b.news, func(p services.PeerID, _ spent) bool {
		_, ok := m.FriendAt(p)
		return !ok
	})
	a := b.news[peer].later(now, 1/newsEvery.Seconds())
	may := a.amount+1 <= newsBurst
	if may {
		a.amount++
		for _, p := range fresh {
			b.news[p] = spent{newsBurst, now}
		}
	}
	b.news[peer] = a
	return may
}

// update writes down what peer tells of its household, the friend id.
func (b *Befriending) update(ctx context.Context, id services.FriendID, peer services.PeerID, nickname string, peers []services.PeerID) error {
	return b.s.updateFriend(ctx, id, nickname, peers, func(f services.Friend) bool {
		fresh := slices.DeleteFunc(slices.Clone(peers), func(p services.PeerID) bool { return p == peer || slices.Contains(f.Peers, p) })
		may := b.mayTell(peer, fresh)
		if !may {
			b.s.cfg.Log.Warn("a friend's box tells something else too often", "friend", id.String(), "peer", peer.String())
		}
		return may
	})
}

// try runs decide as change would, and changes nothing.
func (s *Service) try(ctx context.Context, decide func(h *household) error) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	if err := s.writable(); err != nil {
		return err
	}
	if err := s.state.belongs(actorOf(ctx)); err != nil {
		return err
	}
	return decide(s.state)
}

// Serve answers the peer at the other end of rw, which has proven that it is peer. The answer is written when it
// returns; the caller closes rw. The error is for the log.
func (b *Befriending) Serve(ctx context.Context, peer services.PeerID, rw io.ReadWriter) error {
	m, err := befriend.Read(rw)
	if err != nil && !errors.Is(err, befriend.ErrMalformed) {
		return err
	}
	code := befriend.Malformed
	switch m := m.(type) {
	case befriend.Ask:
		code, err = b.asked(ctx, peer, m)
	case befriend.Hello:
		code, err = b.greeted(ctx, peer, m.About)
	}
	if code != 0 {
		return errors.Join(err, befriend.Write(rw, befriend.Refusal{Code: code}))
	}
	about, err := b.about(ctx)
	if err != nil {
		return errors.Join(err, befriend.Write(rw, befriend.Refusal{Code: befriend.Unavailable}))
	}
	return befriend.Write(rw, befriend.Welcome{About: about})
}

// asked takes in who came with an invitation; the code is 0, or why not.
func (b *Befriending) asked(ctx context.Context, peer services.PeerID, m befriend.Ask) (befriend.Code, error) {
	if !b.book.knows(m.Secret) { // asked first: a proof costs up to befriend.MaxProof signatures
		return b.guessed(peer), errors.New("no invitation has this secret")
	}
	id, _, err := verify(m.About, peer)
	if err != nil {
		return befriend.Malformed, err
	}
	nickname, peers, err := told(id, m.Name, m.Peers)
	if err != nil {
		return befriend.Malformed, err
	}
	var us services.FriendID
	var count uint32
	if err := b.s.try(ctx, func(h *household) error { us, count = h.id(), h.friends.count(id); return nil }); err != nil {
		return befriend.Unavailable, err
	}
	if m.Of != us {
		return befriend.Malformed, errors.New("it looks for another household")
	}
	invite, code, err := b.book.take(m.Secret, id, count, id == us)
	if code != 0 {
		return code, err
	}
	if _, ok := b.s.Membership().Friend(id); ok {
		// Perhaps they could not write it down, or removed us and want us back.
		if err := b.update(ctx, id, peer, nickname, peers); err != nil {
			return befriend.Unavailable, err
		}
	} else {
		n := NewFriend{ID: id, Petname: invite.Petname, Nickname: nickname, Peers: peers, Grants: invite.Grants}
		err := b.s.change(Acting(ctx, invite.By, ""), func(h *household) (record.Payload, error) {
			if n.Petname == "" || h.mistakable(id, n.Petname) != "" {
				n.Petname = unique(cmp.Or(n.Petname, nickname), " ", func(s string) bool { return h.mistakable(id, s) != "" })
			}
			return h.newFriend(n, b.s.cfg.Now())
		})
		if err != nil {
			return befriend.Unavailable, err
		}
	}
	b.book.saw(id, peer, m.Candidates)
	return 0, nil
}

// guessed counts a secret that nobody knows. Right ones are never held up by it: with 128 bits it is about noise.
func (b *Befriending) guessed(peer services.PeerID) befriend.Code {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.s.cfg.Now()
	if now.Sub(b.since).Abs() >= guessMinutes {
		b.since = now
		clear(b.wrong)
	}
	all := 0
	for _, n := range b.wrong {
		all += n
	}
	if b.wrong[peer] >= freeGuesses || all >= mostGuesses {
		return befriend.Busy
	}
	b.wrong[peer]++
	return befriend.Unknown
}

// greeted hears a friend.
func (b *Befriending) greeted(ctx context.Context, peer services.PeerID, a befriend.About) (befriend.Code, error) {
	f, ok := b.s.Membership().FriendAt(peer)
	if !ok {
		f, ok = b.replaced(peer, a)
	}
	if !ok {
		return befriend.NotFriends, errors.New("no friend's box")
	}
	if err := b.heard(ctx, f.ID, peer, a); err != nil {
		return befriend.Malformed, err
	}
	return 0, nil
}

// replaced returns the friend whose root put peer's key in the place of one of their boxes', as it does with a cloned card.
// That a box was taken in at some time is not enough: it may have been removed since.
func (b *Befriending) replaced(peer services.PeerID, a befriend.About) (services.Friend, bool) {
	if b.guessed(peer) == befriend.Busy {
		return services.Friend{}, false
	}
	id, was, err := verify(a, peer)
	if err != nil || was.IsZero() {
		return services.Friend{}, false
	}
	f, ok := b.s.Membership().Friend(id)
	return f, ok && slices.Contains(f.Peers, was)
}

// heard takes in what the friend id says of itself.
func (b *Befriending) heard(ctx context.Context, id services.FriendID, peer services.PeerID, a befriend.About) error {
	got, _, err := verify(a, peer)
	if err == nil && got != id {
		err = errors.New("it says that it is another household")
	}
	if err == nil {
		a.Name, a.Peers, err = told(id, a.Name, a.Peers)
	}
	if err != nil {
		return err
	}
	for _, err := range []error{b.update(ctx, id, peer, a.Name, a.Peers), b.s.RenewGrants(ctx, id)} {
		if err != nil {
			b.s.cfg.Log.Warn("what a friend tells is not written down", "friend", id.String(), "error", err)
		}
	}
	b.book.saw(id, peer, a.Candidates)
	return nil
}

// Check says what stands against taking up the invitation, before the other box is asked, and returns what the friend
// will be called: petname, or where that is empty what they call themselves. Codes: those of AddFriend, link-kind.
func (b *Befriending) Check(ctx context.Context, link InviteLink, petname string, grants []services.Grant) (string, error) {
	if link.Kind != InviteFriend || len(link.Root) != len(services.FriendID{}) {
		return "", &services.Problem{
			Kind: services.KindInvalid, Code: "link-kind", Field: "link",
			Say: services.Say("identity.friend.link-kind", "This invitation is for a box that is to join a household, not for a friend."),
		}
	}
	petname, err := cleanName("petname", cmp.Or(petname, link.Name))
	if err != nil {
		return "", err
	}
	n := NewFriend{ID: services.FriendID(link.Root), Petname: petname, Nickname: petname, Peers: []services.PeerID{link.Inviter}, Grants: grants}
	if err := checkGrants(grants); err != nil {
		return "", err
	}
	return petname, b.s.try(ctx, func(h *household) error {
		_, err := h.newFriend(n, b.s.cfg.Now())
		return err
	})
}

// Accept takes up an invitation over rw, at whose other end is link.Inviter. Nothing is written down here before the
// other side did so; when the answer is lost it may be tried again. Codes: those of Check; invitation-unknown,
// invitation-expired, invitation-used, friend-busy, friend-invalid, friend-unavailable, friend-unreachable.
func (b *Befriending) Accept(ctx context.Context, link InviteLink, petname string, grants []services.Grant, rw io.ReadWriter) (services.Friend, error) {
	petname, err := b.Check(ctx, link, petname, grants)
	if err != nil {
		return services.Friend{}, err
	}
	about, err := b.about(ctx)
	if err != nil {
		return services.Friend{}, err
	}
	welcome, err := ask(rw, befriend.Ask{Secret: link.Secret, Of: services.FriendID(link.Root), About: about})
	if errors.Is(err, ErrInvitationUnknown) {
		err = b.Unknown(link)
	}
	if err != nil {
		return services.Friend{}, err
	}
	id, _, err := verify(welcome.About, link.Inviter)
	if err != nil || id != services.FriendID(link.Root) {
		return services.Friend{}, friendInvalid()
	}
	f, err := b.s.AddFriend(ctx, NewFriend{ID: id, Petname: petname, Nickname: welcome.Name, Peers: welcome.Peers, Grants: grants})
	if err == nil {
		b.book.saw(id, link.Inviter, welcome.Candidates)
	}
	return f, err
}

// Greet tells a friend's box at the other end of rw how we are and hears how they are. Codes: friend-not-found,
// not-their-friend, friend-invalid, friend-unavailable, friend-unreachable.
func (b *Befriending) Greet(ctx context.Context, peer services.PeerID, rw io.ReadWriter) error {
	f, ok := b.s.Membership().FriendAt(peer)
	if !ok {
		return noFriend()
	}
	about, err := b.about(ctx)
	if err != nil {
		return err
	}
	welcome, err := ask(rw, befriend.Hello{About: about})
	if err != nil {
		return err
	}
	if err := b.heard(ctx, f.ID, peer, welcome.About); err != nil {
		p := friendInvalid().(*services.Problem)
		p.Cause = err
		return p
	}
	return nil
}

// FriendUnreachable is the Problem where the other box does not answer, or its answer is lost.
func FriendUnreachable(cause error) error {
	return &services.Problem{
		Kind: services.KindUnavailable, Code: "friend-unreachable", Cause: cause,
		Say: services.Say("identity.friend.unreachable", "The other household's box does not answer. It has to be on and reachable from here. Try again later."),
	}
}

// Unknown is ErrInvitationUnknown, or for a link that has ended by its own word that it has: whoever made it forgets it.
func (b *Befriending) Unknown(link InviteLink) error {
	if link.Expired(b.s.cfg.Now()) {
		return friendRefusal(befriend.Expired)
	}
	return ErrInvitationUnknown
}

// What the other household answers, also where its links refuse a stream of FriendProtocol.
var (
	ErrInvitationUnknown = &services.Problem{
		Kind: services.KindNotFound, Code: "invitation-unknown",
		Say: services.Say("identity.friend.unknown", "The other household knows no such invitation. Perhaps it was withdrawn. Ask for a new one."),
	}
	ErrNotTheirFriend = &services.Problem{
		Kind: services.KindConflict, Code: "not-their-friend",
		Say: services.Say("identity.friend.not-theirs", "The other household does not have yours among its friends any more."),
	}
)

// ask sends m and returns the answer, or why there is none.
func ask(rw io.ReadWriter, m befriend.Message) (befriend.Welcome, error) {
	if err := befriend.Write(rw, m); err != nil {
		return befriend.Welcome{}, FriendUnreachable(err)
	}
	answer, err := befriend.Read(rw)
	if err != nil {
		return befriend.Welcome{}, FriendUnreachable(err)
	}
	switch a := answer.(type) {
	case befriend.Welcome:
		return a, nil
	case befriend.Refusal:
		return befriend.Welcome{}, friendRefusal(a.Code)
	}
	return befriend.Welcome{}, friendInvalid()
}

func friendRefusal(code befriend.Code) error {
	problem := func(kind services.Kind, code string, say services.Sentence) error {
		return &services.Problem{Kind: kind, Code: code, Say: say}
	}
	switch code {
	case befriend.Unknown:
		return ErrInvitationUnknown
	case befriend.Expired:
		return problem(services.KindConflict, "invitation-expired", services.Say("identity.friend.expired", "This invitation has ended. Ask for a new one."))
	case befriend.Used:
		return problem(services.KindConflict, "invitation-used", services.Say("identity.friend.used", "This invitation was used before. Ask for a new one."))
	case befriend.Own:
		return ownHousehold()
	case befriend.Busy:
		return problem(services.KindBusy, "friend-busy", services.Say("identity.friend.busy", "The other box was shown too many wrong invitations and takes none for a minute. Try again then."))
	case befriend.NotFriends:
		return ErrNotTheirFriend
	case befriend.Malformed:
		return friendInvalid()
	}
	return problem(services.KindUnavailable, "friend-unavailable", services.Say("identity.friend.unavailable", "The other household cannot take this down at the moment. Try again later."))
}
