package api

import (
	"context"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/secret"
)

// invitation is a code that the box remembers, so that the page can show it again.
type invitation struct {
	code    secret.Text
	state   services.State // of the person when it was made
	expires time.Time
}

// invitable finds a person whose invitation caller may make and see. Whoever has the code becomes that person, so it
// takes the right to give their role: an admin never sees the invitation of an owner.
func (h *House) invitable(caller services.Caller, id services.PersonID) error {
	p, ok := h.Identity.Membership().Person(id)
	if !ok || p.State != services.StatePending && p.State != services.StateActive {
		return ErrNoPerson
	}
	if p.ID == caller.Person {
		return ErrDenied // whoever is in has a password to change
	}
	if !identity.MayChange(h.Identity.Membership(), caller.Role, p) || !identity.MayGrant(caller.Role, p.Role) {
		return ErrDenied
	}
	return nil
}

// Invite makes a new invitation code: for a pending person, or for one who forgot their password and chooses another
// with it. The former one is void.
func (h *House) Invite(ctx context.Context, caller services.Caller, id services.PersonID) (secret.Text, time.Time, error) {
	if err := h.invitable(caller, id); err != nil {
		return secret.Text{}, time.Time{}, err
	}
	code, expires, err := h.Account.CreateInvitation(ctx, caller, id)
	if err != nil {
		return secret.Text{}, expires, err
	}
	p, _ := h.Identity.Membership().Person(id)
	h.rememberInvitation(id, invitation{code, p.State, expires})
	if p.State == services.StateActive {
		h.audit(ctx, caller, "way-in-made", p.Name)
	}
	return code, expires, nil
}

// rememberInvitation keeps an invitation and forgets those that are no longer good.
func (h *House) rememberInvitation(id services.PersonID, made invitation) {
	m := h.Identity.Membership()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.invites == nil {
		h.invites = map[services.PersonID]invitation{}
	}
	for id, old := range h.invites {
		if p, ok := m.Person(id); !ok || p.State != old.state || !h.Clock.Now().Before(old.expires) {
			delete(h.invites, id)
		}
	}
	h.invites[id] = made
}

// WithdrawWayIn ends the link with which an active person could choose another password.
func (h *House) WithdrawWayIn(ctx context.Context, caller services.Caller, id services.PersonID) error {
	if err := h.invitable(caller, id); err != nil {
		return err
	}
	p, _ := h.Identity.Membership().Person(id)
	if p.State != services.StateActive {
		return ErrDenied // of who never came in, the person is removed
	}
	h.mu.Lock()
	delete(h.invites, id)
	h.mu.Unlock()
	if h.Account.Invited(id).IsZero() {
		return nil
	}
	err := h.Account.WithdrawInvitation(ctx, caller, id)
	h.audit(ctx, caller, "way-in-withdrawn", p.Name)
	return err
}

// InviteCode returns the code of a person who is invited, or who may choose another password, while the box remembers
// it and it is good; empty when it is not.
func (h *House) InviteCode(caller services.Caller, id services.PersonID) (code, link secret.Text, expires time.Time, err error) {
	if err := h.invitable(caller, id); err != nil {
		return code, link, expires, err
	}
	h.mu.Lock()
	held, ok := h.invites[id]
	h.mu.Unlock()
	if !ok {
		return code, link, expires, nil
	}
	if _, err := h.Account.Invitation(held.code); err != nil {
		return code, link, expires, nil // used, or over
	}
	return held.code, h.inviteLink(held.code), held.expires, nil
}

// inviteLink holds the code in its fragment, which no browser sends.
func (h *House) inviteLink(code secret.Text) secret.Text {
	return secret.NewText("https://" + h.Door() + "/join#" + code.Reveal())
}
