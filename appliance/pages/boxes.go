package pages

import (
	"context"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/webui"
	"hearth.alt/webui/house"
)

// Boxes lists the boxes of the household.
func (h *House) Boxes(ctx context.Context) ([]house.Box, error) {
	if err := h.least(ctx, services.RoleMember); err != nil {
		return nil, err
	}
	m, linked, household := h.API.Identity.Membership(), h.API.Joining.Linked(), h.API.Identity.FriendID()
	var out []house.Box
	for _, b := range m.Boxes {
		one := house.Box{Box: b, This: b.ID == m.Self, Linked: linked[b.ID], Heard: h.API.Joining.Heard(b.ID)}
		if !one.This {
			one.Words = identity.PairWords(household, m.Self, b.ID)
		}
		out = append(out, one)
	}
	return out, nil
}

// BoxInvitation is the invitation that waits for a box, or has brought one.
func (h *House) BoxInvitation(ctx context.Context) (house.BoxInvitation, error) {
	if err := h.least(ctx, services.RoleOwner); err != nil {
		return house.BoxInvitation{}, err
	}
	held, state, ok := h.API.BoxInvitation(webui.CallerOf(ctx))
	if !ok {
		return house.BoxInvitation{}, nil
	}
	out := house.BoxInvitation{Link: held.Link, Code: held.Code, Expires: held.Expires, Tries: state.Tries}
	boxes, err := h.Boxes(ctx)
	for _, b := range boxes {
		if b.ID == state.Used && !state.Used.IsZero() {
			out.Joined = b
		}
	}
	return out, err
}

// InviteBox makes an invitation for a box.
func (h *House) InviteBox(ctx context.Context) error {
	_, err := h.API.InviteBox(ctx, webui.CallerOf(ctx), api.None{})
	return err
}

// WithdrawBox ends it.
func (h *House) WithdrawBox(ctx context.Context) error {
	return h.API.WithdrawBox(ctx, webui.CallerOf(ctx))
}

// RemoveBox removes a box for good.
func (h *House) RemoveBox(ctx context.Context, id services.PeerID, this, spare bool) error {
	_, err := h.API.RemoveBox(ctx, webui.CallerOf(ctx), api.BoxInput{ID: id.String(), This: this, Keep: spare})
	if p := services.AsProblem(err); p != nil && p.Field == "this_box" {
		c := *p
		c.Field = "this"
		return &c
	}
	return err
}

// JoinHousehold makes this box, which nobody has claimed, one of the household that invited it.
func (h *House) JoinHousehold(ctx context.Context, token string, form house.JoinForm) (house.Joined, error) {
	if err := claimed(h.API.MayClaim()); err != nil {
		return house.Joined{}, err
	}
	if !h.Proved(ctx, token) {
		return house.Joined{}, errNotProven
	}
	out, err := h.API.JoinHousehold(ctx, webui.CallerOf(ctx), api.JoinInput{Link: form.Link, Name: form.Name, At: form.At})
	if err != nil {
		return house.Joined{}, claimed(err)
	}
	h.proofs.clear()
	return house.Joined{Household: out.Household, Words: out.Words}, nil
}

// Export is the household in a file, without what people sign in with.
func (h *House) Export(ctx context.Context) (house.Download, error) {
	d, err := h.API.Export(ctx, webui.CallerOf(ctx), api.ExportInput{})
	return house.Download{Name: d.Name, Type: d.Type, Write: d.Write, Close: d.Close}, err
}
