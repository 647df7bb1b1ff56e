package api

import (
	"context"

	"hearth.alt/services"
	"hearth.alt/services/account"
)

// ListSessions lists where somebody is signed in.
func (h *House) ListSessions(ctx context.Context, caller services.Caller, in SessionsInput) ([]SessionOutput, error) {
	p, err := h.self(caller, in.Person)
	if err != nil {
		return nil, err
	}
	if err := h.MayChange(caller, p); err != nil {
		return nil, err
	}
	list, err := h.Account.Sessions(p.ID)
	if err != nil {
		return nil, err
	}
	out := []SessionOutput{}
	for _, x := range list {
		out = append(out, SessionOutput{ID: x.ID, Person: x.Person, Browser: x.Name, Started: x.Created, Seen: x.Used})
	}
	return out, nil
}

// errNoSession is account.ErrNoCredential to those who compare, in words for somebody who typed an ID.
var errNoSession = &services.Problem{
	Kind: services.KindNotFound, Code: account.ErrNoCredential.Code,
	Say: services.Say("house.no-session", "Nobody is signed in there: it has ended, or there is no session with that ID. The list of sessions shows them all."),
}

// EndSession signs a session out: one's own, or one of somebody the caller may change.
func (h *House) EndSession(ctx context.Context, caller services.Caller, in SessionInput) (None, error) {
	for _, p := range h.Identity.Membership().People {
		list, err := h.Account.Sessions(p.ID)
		if err != nil {
			return None{}, err
		}
		for _, x := range list {
			if x.ID == in.ID && h.MayChange(caller, p) == nil {
				return None{}, h.Account.EndSession(ctx, caller, p.ID, in.ID)
			}
		}
	}
	return None{}, errNoSession
}
