package api

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/looks"
	"hearth.alt/services/secret"
	"hearth.alt/webui/components"
)

// Friends is how households become friends. Methods of identity.Befriending, but that Accept finds the other box.
type Friends interface {
	Invite(ctx context.Context, n identity.FriendInvite) (identity.InviteLink, identity.OpenInvite, error)
	Invitations() []identity.OpenInvite
	Cancel(id string) error
	Check(ctx context.Context, link identity.InviteLink, petname string, grants []services.Grant) (string, error)
	Accept(ctx context.Context, link identity.InviteLink, petname string, grants []services.Grant) (services.Friend, error)
	Seen(id services.FriendID) time.Time
	Near() []netip.AddrPort
}

// FriendOutput is one friend.
type FriendOutput struct {
	ID       services.FriendID `json:"id" show:"last"`
	Name     string            `json:"name"`     // ours
	Nickname string            `json:"nickname"` // theirs
	Grants   []services.Grant  `json:"grants"`   // what we allow them
	Until    *time.Time        `json:"until"`    // null without grants; renewed while they are seen
	AsOf     *time.Time        `json:"as_of" show:"time"`
	Peers    []services.PeerID `json:"peers" show:"-"`
	// Warning says that the name they give themselves looks like one that the household knows; empty when it does not.
	Warning string `json:"warning,omitempty"`
	// Record is "older" or "different" while one of their boxes showed a record of who belongs that does not go on from what
	// it had shown before, and nobody has dismissed that.
	Record string `json:"record,omitempty"`
}

// FriendInput names a friend.
type FriendInput struct {
	ID string `json:"id" arg:"FRIEND" path:"id" help:"what you call them, or the ID that friend list shows"`
}

// RenameFriendInput is what "friend rename" takes.
type RenameFriendInput struct {
	ID      string `json:"id" arg:"FRIEND" path:"id" help:"what you call them, or the ID that friend list shows"`
	Petname string `json:"petname" arg:"NAME" help:"what you call them from now on"`
}

// GrantFriendInput is what "friend grant" takes.
type GrantFriendInput struct {
	ID    string   `json:"id" arg:"FRIEND" path:"id" help:"what you call them, or the ID that friend list shows"`
	Grant []string `json:"grant,omitempty" help:"what this household allows them: relay, exit, follow, store=10GB; once for each, and nothing is allowed without one"`
}

// InviteFriendInput is what "friend invite" takes.
type InviteFriendInput struct {
	Petname string   `json:"petname,omitempty" help:"what you will call them; what they call themselves when not given"`
	Grant   []string `json:"grant,omitempty" help:"what this household allows them: relay, exit, follow, store=10GB; once for each"`
}

// InviteFriendOutput is the invitation.
type InviteFriendOutput struct {
	ID      string       `json:"id"`
	Link    secret.Shown `json:"link"`
	Expires time.Time    `json:"expires"`
	PNG     []byte       `json:"png" save:"png" show:"qr=link"`
}

// FriendInviteOutput is an invitation that nobody came with yet.
type FriendInviteOutput struct {
	ID      string           `json:"id" show:"last"`
	Petname string           `json:"petname"`
	Grants  []services.Grant `json:"grants"`
	Expires time.Time        `json:"expires"`
}

// FriendInviteInput names an invitation.
type FriendInviteInput struct {
	ID string `json:"id" arg:"ID" path:"id" help:"as friend invitations shows it"`
}

// AcceptFriendInput is what "friend accept" takes.
type AcceptFriendInput struct {
	Link    string   `json:"link" arg:"LINK" help:"the link of the invitation, hearth:friend?..."`
	Petname string   `json:"petname" help:"what you call them"`
	Grant   []string `json:"grant,omitempty" help:"what this household allows them: relay, exit, follow, store=10GB; once for each"`
}

// ContactOutput is what friends see of this household, and how they tell that it is this one.
type ContactOutput struct {
	Household   string          `json:"household"`
	Fingerprint string          `json:"fingerprint"` // the household's ID, to be read aloud and compared
	ID          string          `json:"id"`
	PeerID      services.PeerID `json:"peer_id"` // of this box
	Boxes       int             `json:"boxes"`
	Addresses   []string        `json:"addresses"` // where this box says that it may be found
}

// friendLink is an invitation that the box remembers, so that the page can show it again.
type friendLink struct {
	link    secret.Text
	expires time.Time
}

// friend finds a friend by ID or by petname.
func (h *House) friend(who string) (services.Friend, error) {
	m := h.Identity.Membership()
	if id, err := services.ParseFriendID(who); err == nil {
		if f, ok := m.Friend(id); ok {
			return f, nil
		}
	}
	if found := looks.Named(m.Friends, func(f services.Friend) string { return f.Petname }, who); len(found) == 1 {
		return found[0], nil
	}
	return services.Friend{}, &services.Problem{
		Kind: services.KindNotFound, Code: "no-friend", Field: "id",
		Say: services.Say("house.no-friend", "None of your friends has that name. The list of friends shows them all."),
	}
}

func (h *House) friendOutput(f services.Friend) FriendOutput {
	m := h.Identity.Membership()
	out := FriendOutput{ID: f.ID, Name: f.Petname, Nickname: f.Nickname, Grants: []services.Grant{}, Peers: f.Peers}
	if granted := f.Granted(h.Clock.Now()); len(granted) > 0 {
		until := f.Until
		out.Grants, out.Until = granted, &until
	}
	if at := h.Friends.Seen(f.ID).UTC().Truncate(time.Second); !at.IsZero() {
		out.AsOf = &at
	}
	out.Record = h.Record(f)
	if other := identity.Mistakable(m, f.ID, f.Nickname); other != "" {
		out.Warning = LooksLike(f.Nickname, other).String()
	}
	return out
}

// Record says what was found of a friend's record of who belongs: "older", "different", or "" for nothing.
func (h *House) Record(f services.Friend) string {
	out := ""
	for peer, found := range h.Witness.Findings() {
		if slices.Contains(f.Peers, peer) && out != "different" {
			if out = "different"; found.Older() {
				out = "older"
			}
		}
	}
	return out
}

// DismissFriend says that somebody looked into what was found of a friend's record: it goes on from what was shown last.
func (h *House) DismissFriend(ctx context.Context, caller services.Caller, in FriendInput) (None, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return None{}, err
	}
	f, err := h.friend(in.ID)
	if err != nil {
		return None{}, err
	}
	for _, peer := range f.Peers {
		if err := h.Witness.Dismiss(peer); err != nil {
			return None{}, notKept(err)
		}
	}
	h.audit(ctx, caller, "friend-record-dismissed", f.Petname)
	return None{}, nil
}

// LooksLike warns of what a household calls itself.
func LooksLike(nickname, other string) services.Sentence {
	return services.Say("friend.looks-like", "They call themselves {nickname}, which looks like {other}. That is somebody else: trust the name that you gave them.", "nickname", nickname, "other", other)
}

// ListFriends lists the friends.
func (h *House) ListFriends(_ context.Context, caller services.Caller, _ None) ([]FriendOutput, error) {
	if err := least(caller, services.RoleMember); err != nil {
		return nil, err
	}
	out := []FriendOutput{}
	for _, f := range h.Identity.Membership().Friends {
		out = append(out, h.friendOutput(f))
	}
	return out, nil
}

// InviteFriend makes an invitation for one household.
func (h *House) InviteFriend(ctx context.Context, caller services.Caller, in InviteFriendInput) (InviteFriendOutput, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return InviteFriendOutput{}, err
	}
	grants, err := services.ParseGrants(in.Grant)
	if err != nil {
		return InviteFriendOutput{}, err
	}
	link, made, err := h.Friends.Invite(h.acting(ctx, caller), identity.FriendInvite{Petname: in.Petname, Grants: grants})
	if err != nil {
		return InviteFriendOutput{}, err
	}
	text, err := link.Text()
	if err != nil {
		return InviteFriendOutput{}, err
	}
	code, err := components.QR(text)
	if err != nil {
		return InviteFriendOutput{}, err
	}
	h.mu.Lock()
	if h.befriend == nil {
		h.befriend = map[string]friendLink{}
	}
	for id, old := range h.befriend {
		if !h.Clock.Now().Before(old.expires) {
			delete(h.befriend, id)
		}
	}
	h.befriend[made.ID] = friendLink{secret.NewText(text), made.Expires}
	h.mu.Unlock()
	h.audit(ctx, caller, "friend-invited", made.Petname)
	return InviteFriendOutput{ID: made.ID, Link: secret.Show(secret.NewText(text)), Expires: made.Expires, PNG: code.PNG}, nil
}

// FriendInviteLink returns the link of an open invitation while the box remembers it; empty when it does not.
func (h *House) FriendInviteLink(caller services.Caller, id string) (secret.Text, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return secret.Text{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.befriend[id].link, nil
}

// ListFriendInvites lists the invitations that nobody came with yet.
func (h *House) ListFriendInvites(_ context.Context, caller services.Caller, _ None) ([]FriendInviteOutput, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return nil, err
	}
	out := []FriendInviteOutput{}
	for _, i := range h.Friends.Invitations() {
		out = append(out, FriendInviteOutput{ID: i.ID, Petname: i.Petname, Grants: append([]services.Grant{}, i.Grants...), Expires: i.Expires})
	}
	return out, nil
}

// WithdrawFriendInvite withdraws an invitation.
func (h *House) WithdrawFriendInvite(ctx context.Context, caller services.Caller, in FriendInviteInput) (None, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return None{}, err
	}
	if err := h.Friends.Cancel(in.ID); err != nil {
		return None{}, err
	}
	h.mu.Lock()
	delete(h.befriend, in.ID)
	h.mu.Unlock()
	h.audit(ctx, caller, "friend-invitation-withdrawn", in.ID)
	return None{}, nil
}

// AcceptFriend takes up another household's invitation.
func (h *House) AcceptFriend(ctx context.Context, caller services.Caller, in AcceptFriendInput) (FriendOutput, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return FriendOutput{}, err
	}
	grants, err := services.ParseGrants(in.Grant)
	if err != nil {
		return FriendOutput{}, err
	}
	link, err := identity.ParseInviteLink(in.Link)
	if err != nil {
		return FriendOutput{}, err
	}
	f, err := h.Friends.Accept(h.acting(ctx, caller), link, in.Petname, grants)
	if err != nil {
		return FriendOutput{}, err
	}
	h.audit(ctx, caller, "friend-added", f.Petname)
	return h.friendOutput(f), nil
}

// RenameFriend changes what a friend is called.
func (h *House) RenameFriend(ctx context.Context, caller services.Caller, in RenameFriendInput) (FriendOutput, error) {
	return h.changeFriend(ctx, caller, in.ID, "friend-renamed", func(ctx context.Context, f services.Friend) error {
		return h.Identity.RenameFriend(ctx, f.ID, in.Petname)
	})
}

// GrantFriend says all that a friend is allowed.
func (h *House) GrantFriend(ctx context.Context, caller services.Caller, in GrantFriendInput) (FriendOutput, error) {
	grants, err := services.ParseGrants(in.Grant)
	if err != nil {
		return FriendOutput{}, err
	}
	return h.changeFriend(ctx, caller, in.ID, "friend-granted", func(ctx context.Context, f services.Friend) error {
		return h.Identity.SetGrants(ctx, f.ID, grants)
	})
}

func (h *House) changeFriend(ctx context.Context, caller services.Caller, who, action string, change func(context.Context, services.Friend) error) (FriendOutput, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return FriendOutput{}, err
	}
	f, err := h.friend(who)
	if err != nil {
		return FriendOutput{}, err
	}
	if err := change(h.acting(ctx, caller), f); err != nil {
		return FriendOutput{}, err
	}
	h.audit(ctx, caller, action, f.Petname)
	f, _ = h.Identity.Membership().Friend(f.ID)
	return h.friendOutput(f), nil
}

// RemoveFriend ends a friendship and all that was allowed.
func (h *House) RemoveFriend(ctx context.Context, caller services.Caller, in FriendInput) (None, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return None{}, err
	}
	f, err := h.friend(in.ID)
	if err != nil {
		return None{}, err
	}
	if err := h.Identity.RemoveFriend(h.acting(ctx, caller), f.ID); err != nil {
		return None{}, err
	}
	h.audit(ctx, caller, "friend-removed", f.Petname)
	return None{}, nil
}

// ShowContact shows what friends see of this household.
func (h *House) ShowContact(_ context.Context, caller services.Caller, _ None) (ContactOutput, error) {
	if err := least(caller, services.RoleMember); err != nil {
		return ContactOutput{}, err
	}
	m := h.Identity.Membership()
	id := h.Identity.FriendID()
	out := ContactOutput{Household: m.Household.Name, Fingerprint: Fingerprint(id), ID: id.String(), PeerID: m.Self, Boxes: len(m.Boxes), Addresses: []string{}}
	for _, at := range h.Friends.Near() {
		out.Addresses = append(out.Addresses, at.String())
	}
	return out, nil
}

// Fingerprint is id in groups of four, to be read aloud.
func Fingerprint(id services.FriendID) string {
	text := id.String()
	var groups []string
	for len(text) > 0 {
		groups = append(groups, text[:4])
		text = text[4:]
	}
	return strings.Join(groups, " ")
}
