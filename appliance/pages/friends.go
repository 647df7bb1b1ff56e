package pages

import (
	"context"
	"errors"
	"slices"
	"strings"
	"unicode"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/secret"
	"hearth.alt/webui"
	"hearth.alt/webui/house"
)

func (h *House) friendView(ctx context.Context, f services.Friend) house.Friend {
	caller := webui.CallerOf(ctx)
	f.Grants = f.Granted(h.API.Clock.Now())
	return house.Friend{
		Friend: f, Seen: h.API.Friends.Seen(f.ID), Fingerprint: api.Fingerprint(f.ID), MayChange: caller.Role >= services.RoleAdmin,
		LooksLike: identity.Mistakable(h.API.Identity.Membership(), f.ID, f.Nickname), Record: h.API.Record(f),
	}
}

// Friends is the address book.
func (h *House) Friends(ctx context.Context) (house.FriendList, error) {
	if err := h.least(ctx, services.RoleMember); err != nil {
		return house.FriendList{}, err
	}
	m := h.API.Identity.Membership()
	list := house.FriendList{
		MayChange: webui.CallerOf(ctx).Role >= services.RoleAdmin, Name: m.Household.Name, Fingerprint: api.Fingerprint(h.API.Identity.FriendID()),
	}
	for _, f := range m.Friends {
		list.Friends = append(list.Friends, h.friendView(ctx, f))
	}
	if list.MayChange {
		for _, i := range h.API.Friends.Invitations() {
			list.Invitations = append(list.Invitations, house.FriendInvitation{ID: i.ID, Petname: i.Petname, Grants: i.Grants, Expires: i.Expires})
		}
	}
	return list, nil
}

var errNoFriend = &services.Problem{
	Kind: services.KindNotFound, Code: "no-friend",
	Say: services.Say("house.no-friend", "None of your friends has that name. The list of friends shows them all."),
}

// Friend returns one.
func (h *House) Friend(ctx context.Context, id services.FriendID) (house.Friend, error) {
	if err := h.least(ctx, services.RoleMember); err != nil {
		return house.Friend{}, err
	}
	f, ok := h.API.Identity.Membership().Friend(id)
	if !ok {
		return house.Friend{}, errNoFriend
	}
	return h.friendView(ctx, f), nil
}

// grants are those of a form, as the table takes them. A size may have a space, and is in GB without a unit.
func grants(form house.FriendForm) []string {
	var out []string
	for name, on := range map[string]bool{"relay": form.Relay, "exit": form.Exit, "follow": form.Follow} {
		if on {
			out = append(out, name)
		}
	}
	if size := strings.ToUpper(strings.Join(strings.Fields(form.Store), "")); size != "" {
		if strings.IndexFunc(size, func(r rune) bool { return !unicode.IsDigit(r) }) < 0 {
			size += "GB"
		}
		out = append(out, "store="+size)
	}
	return out
}

// store says beside its field that a size is none.
func store(err error) error {
	if p := services.AsProblem(err); err == nil || p.Field != "grant" {
		return err
	}
	return &services.Problem{
		Kind: services.KindInvalid, Code: "grant-unknown", Field: "store",
		Say: services.Say("friends.bad-size", "A size is written like 10 GB, in MB, GB or TB."),
	}
}

// InviteFriend makes an invitation.
func (h *House) InviteFriend(ctx context.Context, form house.FriendForm) (string, error) {
	out, err := h.API.InviteFriend(ctx, webui.CallerOf(ctx), api.InviteFriendInput{Petname: form.Petname, Grant: grants(form)})
	return out.ID, store(err)
}

// FriendInvitation returns an open one, with its link while the box holds it.
func (h *House) FriendInvitation(ctx context.Context, id string) (house.FriendInvitation, error) {
	list, err := h.Friends(ctx)
	if err != nil {
		return house.FriendInvitation{}, err
	}
	for _, i := range list.Invitations {
		if i.ID == id {
			link, err := h.API.FriendInviteLink(webui.CallerOf(ctx), id)
			i.Link = secret.Show(link)
			return i, err
		}
	}
	return house.FriendInvitation{}, &services.Problem{
		Kind: services.KindNotFound, Code: "invitation-not-found",
		Say: services.Say("identity.friend.no-invite", "This invitation is not open any more: somebody came with it, or it has ended."),
	}
}

// WithdrawFriendInvitation ends an open one.
func (h *House) WithdrawFriendInvitation(ctx context.Context, id string) error {
	_, err := h.API.WithdrawFriendInvite(ctx, webui.CallerOf(ctx), api.FriendInviteInput{ID: id})
	return err
}

// ReadFriendLink says whom a link is from. What stands against it but its name is said now.
func (h *House) ReadFriendLink(ctx context.Context, text string) (house.FriendWelcome, error) {
	if err := h.least(ctx, services.RoleAdmin); err != nil {
		return house.FriendWelcome{}, err
	}
	link, err := identity.ParseInviteLink(text)
	if err != nil {
		return house.FriendWelcome{}, at("link", err)
	}
	_, err = h.API.Friends.Check(ctx, link, "", nil)
	if named := services.AsProblem(err); err != nil && named.Field != "petname" {
		return house.FriendWelcome{}, at("link", err)
	}
	id := services.FriendID(link.Root)
	return house.FriendWelcome{
		Name: link.Name, LooksLike: identity.Mistakable(h.API.Identity.Membership(), id, link.Name), Fingerprint: api.Fingerprint(id), Expires: link.Expires,
	}, nil
}

// AcceptFriend takes a link up.
func (h *House) AcceptFriend(ctx context.Context, form house.FriendForm) (services.FriendID, error) {
	out, err := h.API.AcceptFriend(ctx, webui.CallerOf(ctx), api.AcceptFriendInput{Link: form.Link, Petname: form.Petname, Grant: grants(form)})
	if errors.Is(err, &services.Problem{Code: "name-invalid"}) {
		err = at("petname", err)
	}
	return out.ID, store(err)
}

// ChangeFriend sets the petname and what is allowed. What has not changed is left: to allow it again would prolong it.
func (h *House) ChangeFriend(ctx context.Context, id services.FriendID, form house.FriendForm) error {
	f, err := h.Friend(ctx, id)
	if err != nil {
		return err
	}
	caller := webui.CallerOf(ctx)
	wanted, err := services.ParseGrants(grants(form))
	if err != nil {
		return store(err)
	}
	if form.Petname != f.Petname {
		if _, err := h.API.RenameFriend(ctx, caller, api.RenameFriendInput{ID: id.String(), Petname: form.Petname}); err != nil {
			return err
		}
	}
	if !slices.Equal(wanted, f.Grants) {
		_, err = h.API.GrantFriend(ctx, caller, api.GrantFriendInput{ID: id.String(), Grant: grants(form)})
	}
	return err
}

// RemoveFriend ends a friendship.
func (h *House) RemoveFriend(ctx context.Context, id services.FriendID) error {
	_, err := h.API.RemoveFriend(ctx, webui.CallerOf(ctx), api.FriendInput{ID: id.String()})
	return err
}

// DismissFriend says that there is a reason why a friend's record is another one.
func (h *House) DismissFriend(ctx context.Context, id services.FriendID) error {
	_, err := h.API.DismissFriend(ctx, webui.CallerOf(ctx), api.FriendInput{ID: id.String()})
	return err
}
