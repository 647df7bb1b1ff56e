package identity

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
	"hearth.alt/services/looks"
)

// friends is the address book as a set of records says it.
//
// A friendship has a count: the first is 1, one after a removal 2, and so on. A record counts for the friendship that it
// names and for no other, so that a removal ends what it knew of, whatever others did at the same time, and an addition
// made in knowledge of it is another friendship. Of two additions of one friendship the first in the order counts.
//
// Grants have a number in the same way: a higher one replaces them, an equal one (boxes that did not know of each other,
// or a renewal) leaves what both allow, and the later end: a renewal brings nothing back.
//
// A box is one friend's at the most: the first who has it keeps it.
type friends struct {
	all   map[services.FriendID]friend
	ended map[services.FriendID]uint32 // how often each was removed
}

type friend struct {
	services.Friend
	number uint32 // of the grants
}

const (
	scopeFriend = "friend"
	maxFriends  = 200 // of a household
)

// id is how friends know the household.
func (h *household) id() services.FriendID { return h.genesis.Author.Key }

func newFriends() friends {
	return friends{map[services.FriendID]friend{}, map[services.FriendID]uint32{}}
}

func (f friends) clone() friends { return friends{maps.Clone(f.all), maps.Clone(f.ended)} }

func (f friends) list() []services.Friend {
	out := make([]services.Friend, 0, len(f.all))
	for _, one := range f.all {
		out = append(out, one.Friend)
	}
	slices.SortFunc(out, func(a, b services.Friend) int {
		return cmp.Or(cmp.Compare(a.Petname, b.Petname), slices.Compare(a.ID[:], b.ID[:]))
	})
	return out
}

// count is the count of the friendship that there is, or of the one that would come next.
func (f friends) count(id services.FriendID) uint32 { return f.ended[id] + 1 }

// free returns those of peers that are no other friend's.
func (f friends) free(id services.FriendID, peers []services.PeerID) []services.PeerID {
	return slices.DeleteFunc(slices.Clone(peers), func(p services.PeerID) bool {
		owner, ok := f.owner(p)
		return ok && owner.ID != id
	})
}

func (f friends) owner(peer services.PeerID) (services.Friend, bool) {
	for _, one := range f.all {
		if slices.Contains(one.Peers, peer) {
			return one.Friend, true
		}
	}
	return services.Friend{}, false
}

// friendEffect gives a record about a friend its effect, or says why it has none.
func (h *household) friendEffect(payload record.Payload) error {
	f := h.friends
	change := func(id services.FriendID, count uint32, do func(one *friend) error) error {
		one, ok := f.all[id]
		if !ok || count != f.count(id) {
			return errUnknown
		}
		if err := do(&one); err != nil {
			return err
		}
		f.all[id] = one
		return nil
	}
	switch p := payload.(type) {
	case record.AddFriend:
		peers := f.free(p.Friend, p.Peers)
		if _, ok := f.all[p.Friend]; ok || p.Count != f.count(p.Friend) || len(peers) == 0 {
			return errUsed
		}
		if len(f.all) >= maxFriends {
			return errFull
		}
		f.all[p.Friend] = friend{services.Friend{
			ID: p.Friend, Petname: h.name(scopeFriend, p.Friend.String(), "", p.Petname), Nickname: p.Nickname,
			Peers: peers, Grants: p.Grants, Until: p.Until,
		}, 1}
	case record.RenameFriend:
		return change(p.Friend, p.Count, func(one *friend) error {
			one.Petname = h.name(scopeFriend, p.Friend.String(), one.Petname, p.Petname)
			return nil
		})
	case record.UpdateFriend:
		return change(p.Friend, p.Count, func(one *friend) error {
			peers := f.free(p.Friend, p.Peers)
			if len(peers) == 0 {
				return errUsed
			}
			one.Nickname, one.Peers = p.Nickname, peers
			return nil
		})
	case record.SetGrants:
		return change(p.Friend, p.Count, func(one *friend) error {
			switch {
			case p.Number == one.number:
				one.Grants = both(one.Grants, p.Grants)
				if p.Until.After(one.Until) {
					one.Until = p.Until
				}
				if len(one.Grants) == 0 {
					one.Until = time.Time{}
				}
			case p.Number == one.number+1:
				one.number, one.Grants, one.Until = p.Number, p.Grants, p.Until
			default:
				return errUsed
			}
			return nil
		})
	case record.RemoveFriend:
		if p.Count != f.count(p.Friend) {
			return errUnknown
		}
		h.endFriend(p.Friend)
	}
	return nil
}

func (h *household) endFriend(id services.FriendID) {
	if one, ok := h.friends.all[id]; ok {
		delete(h.names, nameKey(scopeFriend, one.Petname))
		delete(h.friends.all, id)
	}
	h.friends.ended[id]++
}

// both returns what a and b both allow.
func both(a, b []services.Grant) []services.Grant {
	var out []services.Grant
	for _, g := range a {
		for _, o := range b {
			if o.Kind == g.Kind {
				out = append(out, services.Grant{Kind: g.Kind, Bytes: min(g.Bytes, o.Bytes)})
			}
		}
	}
	return out
}

// mistakable says for what in the household the petname of the friend id could be taken; "" for nothing.
func (h *household) mistakable(id services.FriendID, petname string) string {
	return Mistakable(&services.Membership{
		Household: &h.is, Boxes: slices.Collect(maps.Values(h.boxes)), People: slices.Collect(maps.Values(h.people)), Friends: h.friends.list(),
	}, id, petname)
}

// Mistakable says for what of m a name of the friend id could be taken: the household's name, a box's, a person's, or
// another friend's petname; "" for nothing.
func Mistakable(m *services.Membership, id services.FriendID, name string) string {
	known := []string{m.Household.Name, m.Household.Label}
	for _, b := range m.Boxes {
		known = append(known, b.Name, b.Label)
	}
	for _, p := range m.People {
		known = append(known, p.Name)
	}
	for _, f := range m.Friends {
		if f.ID != id {
			known = append(known, f.Petname)
		}
	}
	for _, n := range known {
		if looks.Alike(n, name) {
			return n
		}
	}
	return ""
}

func (h *household) checkPetname(id services.FriendID, petname string) error {
	if n := h.mistakable(id, petname); n != "" {
		return &services.Problem{
			Kind: services.KindConflict, Code: "petname-taken", Field: "petname",
			Say: services.Say("identity.friend.taken", "{petname} could be taken for {other}, which your household already knows. Choose another name for this friend.", "petname", petname, "other", n),
		}
	}
	return nil
}

func noFriend() error {
	return &services.Problem{
		Kind: services.KindNotFound, Code: "friend-not-found", Field: "friend",
		Say: services.Say("identity.friend.none", "That is none of your friends. Perhaps they were removed."),
	}
}

func friendInvalid() error {
	return &services.Problem{
		Kind: services.KindInvalid, Code: "friend-invalid", Field: "friend",
		Say: services.Say("identity.friend.invalid", "What the other household says of itself does not fit together, so nothing was changed."),
	}
}

func ownHousehold() error {
	return &services.Problem{
		Kind: services.KindInvalid, Code: "own-household", Field: "link",
		Say: services.Say("identity.friend.own", "This is your own household's invitation. Give it to the friend."),
	}
}

func checkGrants(grants []services.Grant) error {
	for i, g := range grants {
		if !g.Valid() || i > 0 && grants[i-1].Kind >= g.Kind {
			return &services.Problem{
				Kind: services.KindInvalid, Code: "grant-unknown", Field: "grant",
				Say: services.Say("grant.unknown", "{grant} is nothing that a friend can be allowed. It is relay, exit, follow, or store with a size, like store=10GB.", "grant", g.String()),
			}
		}
	}
	return nil
}

// NewFriend is a friend to add.
type NewFriend struct {
	ID      services.FriendID
	Petname string // what we call them: like no other friend's, nor our household's or a box's name
	// Nickname is what they call themselves.
	Nickname string
	Peers    []services.PeerID // 1 to services.MaxFriendPeers
	Grants   []services.Grant  // as services.ParseGrants returns them; they last services.MaxGrantLife
}

// AddFriend takes another household into the address book. Codes: name-invalid, petname-taken, friend-known,
// friend-invalid, friends-full, peer-taken, own-household, grant-unknown.
func (s *Service) AddFriend(ctx context.Context, n NewFriend) (services.Friend, error) {
	petname, err := cleanName("petname", n.Petname)
	if err != nil {
		return services.Friend{}, err
	}
	n.Petname = petname
	if n.Nickname, n.Peers, err = told(n.ID, n.Nickname, n.Peers); err != nil {
		return services.Friend{}, err
	}
	if err := checkGrants(n.Grants); err != nil {
		return services.Friend{}, err
	}
	err = s.change(ctx, func(h *household) (record.Payload, error) { return h.newFriend(n, s.cfg.Now()) })
	if err != nil {
		return services.Friend{}, err
	}
	f, _ := s.Membership().Friend(n.ID)
	return f, nil
}

// newFriend is the record that adds n, whose parts are in the form that is kept.
func (h *household) newFriend(n NewFriend, now time.Time) (record.Payload, error) {
	if n.ID == h.id() {
		return nil, ownHousehold()
	}
	if f, ok := h.friends.all[n.ID]; ok {
		return nil, &services.Problem{
			Kind: services.KindConflict, Code: "friend-known",
			Say: services.Say("identity.friend.known", "This household is your friend {petname} already.", "petname", f.Petname),
		}
	}
	if err := h.checkPetname(n.ID, n.Petname); err != nil {
		return nil, err
	}
	if err := h.checkPeers(n.ID, n.Peers); err != nil {
		return nil, err
	}
	if len(h.friends.all) >= maxFriends {
		return nil, &services.Problem{
			Kind: services.KindConflict, Code: "friends-full",
			Say: services.Say("identity.friend.full", "A household has room for {most} friends. Remove one first.", "most", maxFriends),
		}
	}
	return record.AddFriend{
		Friend: n.ID, Count: h.friends.count(n.ID), Petname: n.Petname, Nickname: n.Nickname, Peers: n.Peers,
		Grants: n.Grants, Until: grantsEnd(n.Grants, now),
	}, nil
}

// checkPeers refuses peers of which none is free.
func (h *household) checkPeers(id services.FriendID, peers []services.PeerID) error {
	taken := func(by string) error {
		return &services.Problem{
			Kind: services.KindConflict, Code: "peer-taken",
			Say: services.Say("identity.friend.peer-taken", "This box already belongs to {other}. Remove that friend first if it is not theirs.", "other", by),
		}
	}
	for _, p := range peers {
		if _, ours := h.boxes[p]; ours {
			return ownHousehold()
		}
	}
	if len(h.friends.free(id, peers)) == 0 {
		f, _ := h.friends.owner(peers[0])
		return taken(f.Petname)
	}
	return nil
}

// told brings what a household says of itself into the form that is kept.
func told(id services.FriendID, nickname string, peers []services.PeerID) (string, []services.PeerID, error) {
	nickname, err := cleanName("nickname", nickname)
	if err != nil {
		return "", nil, friendInvalid()
	}
	peers = slices.SortedFunc(slices.Values(peers), func(a, b services.PeerID) int { return slices.Compare(a[:], b[:]) })
	peers = slices.Compact(peers)
	if id == (services.FriendID{}) || len(peers) == 0 || len(peers) > services.MaxFriendPeers || peers[0].IsZero() {
		return "", nil, friendInvalid()
	}
	return nickname, peers, nil
}

func grantsEnd(grants []services.Grant, now time.Time) time.Time {
	if len(grants) == 0 {
		return time.Time{}
	}
	return wholeSeconds(now.Add(services.MaxGrantLife))
}

// changeFriend hands decide the friend; a nil payload changes nothing.
func (s *Service) changeFriend(ctx context.Context, id services.FriendID, decide func(h *household, f friend, count uint32) (record.Payload, error)) error {
	return s.change(ctx, func(h *household) (record.Payload, error) {
		f, ok := h.friends.all[id]
		if !ok {
			return nil, noFriend()
		}
		return decide(h, f, h.friends.count(id))
	})
}

// RenameFriend changes what we call a friend. Codes: friend-not-found, name-invalid, petname-taken.
func (s *Service) RenameFriend(ctx context.Context, id services.FriendID, petname string) error {
	petname, err := cleanName("petname", petname)
	if err != nil {
		return err
	}
	return s.changeFriend(ctx, id, func(h *household, f friend, count uint32) (record.Payload, error) {
		if f.Petname == petname {
			return nil, nil
		}
		if err := h.checkPetname(id, petname); err != nil {
			return nil, err
		}
		return record.RenameFriend{Friend: id, Count: count, Petname: petname}, nil
	})
}

// UpdateFriend notes what a friend told of themselves. Codes: friend-not-found, friend-invalid, peer-taken, own-household.
func (s *Service) UpdateFriend(ctx context.Context, id services.FriendID, nickname string, peers []services.PeerID) error {
	return s.updateFriend(ctx, id, nickname, peers, func(services.Friend) bool { return true })
}

// updateFriend is UpdateFriend that asks may once there is something to be written down; if not, nothing changes.
func (s *Service) updateFriend(ctx context.Context, id services.FriendID, nickname string, peers []services.PeerID, may func(f services.Friend) bool) error {
	nickname, peers, err := told(id, nickname, peers)
	if err != nil {
		return err
	}
	return s.changeFriend(ctx, id, func(h *household, f friend, count uint32) (record.Payload, error) {
		if f.Nickname == nickname && slices.Equal(f.Peers, h.friends.free(id, peers)) {
			return nil, nil
		}
		if err := h.checkPeers(id, peers); err != nil {
			return nil, err
		}
		if !may(f.Friend) {
			return nil, nil
		}
		return record.UpdateFriend{Friend: id, Count: count, Nickname: nickname, Peers: peers}, nil
	})
}

// SetGrants says what we allow a friend for services.MaxGrantLife from now, in place of all before; none is nothing.
// Codes: friend-not-found, grant-unknown.
func (s *Service) SetGrants(ctx context.Context, id services.FriendID, grants []services.Grant) error {
	if err := checkGrants(grants); err != nil {
		return err
	}
	return s.changeFriend(ctx, id, func(_ *household, f friend, count uint32) (record.Payload, error) {
		if len(f.Grants) == 0 && len(grants) == 0 {
			return nil, nil
		}
		return record.SetGrants{Friend: id, Count: count, Number: f.number + 1, Grants: grants, Until: grantsEnd(grants, s.cfg.Now())}, nil
	})
}

// RenewGrants prolongs what a friend who was just seen is allowed, when less than half of the time is left. What has
// ended stays ended. Code: friend-not-found.
func (s *Service) RenewGrants(ctx context.Context, id services.FriendID) error {
	now := s.cfg.Now()
	if f, ok := s.Membership().Friend(id); ok && !renewable(f, now) {
		return nil
	}
	return s.changeFriend(ctx, id, func(_ *household, f friend, count uint32) (record.Payload, error) {
		if !renewable(f.Friend, now) {
			return nil, nil
		}
		return record.SetGrants{Friend: id, Count: count, Number: f.number, Grants: f.Grants, Until: grantsEnd(f.Grants, now)}, nil
	})
}

func renewable(f services.Friend, now time.Time) bool {
	return len(f.Granted(now)) > 0 && f.Until.Sub(now) < services.MaxGrantLife/2
}

// RemoveFriend ends a friendship and everything granted. The same household may be added again later. Code:
// friend-not-found.
func (s *Service) RemoveFriend(ctx context.Context, id services.FriendID) error {
	return s.changeFriend(ctx, id, func(_ *household, _ friend, count uint32) (record.Payload, error) {
		return record.RemoveFriend{Friend: id, Count: count}, nil
	})
}

// FriendID is how friends know this household; zero before the claim.
func (s *Service) FriendID() (id services.FriendID) {
	s.writing <- struct{}{}
	defer s.unlock()
	if s.state != nil {
		id = s.state.id()
	}
	return id
}
