package api

import (
	"context"

	"hearth.alt/services"
	"hearth.alt/services/account"
	"hearth.alt/services/identity"
	"hearth.alt/services/looks"
	"hearth.alt/services/secret"
)

// ErrNoPerson says that nobody is meant.
var ErrNoPerson = &services.Problem{Kind: services.KindNotFound, Code: "no-person", Say: services.Say("house.no-person", "Nobody of that name or number belongs to this household.")}

// person finds somebody by ID or by name, as at sign-in.
func (h *House) person(who string) (services.Person, error) {
	m := h.Identity.Membership()
	if p, ok := m.Person(services.PersonID(who)); ok {
		return p, nil
	}
	if found := looks.Named(m.People, func(p services.Person) string { return p.Name }, who); len(found) == 1 {
		return found[0], nil
	}
	return services.Person{}, ErrNoPerson
}

// self finds who is meant: the one named, or the caller. On the console nobody is the first owner.
func (h *House) self(caller services.Caller, who string) (services.Person, error) {
	if who != "" {
		return h.person(who)
	}
	m := h.Identity.Membership()
	if p, ok := m.Person(caller.Person); ok {
		return p, nil
	}
	if caller.Face == services.FaceConsole {
		for _, p := range m.People {
			if p.Role == services.RoleOwner {
				return p, nil
			}
		}
	}
	return services.Person{}, ErrNoPerson
}

// MayChange says whether caller may change target and what is theirs: nil, or why not.
func (h *House) MayChange(caller services.Caller, target services.Person) error {
	if caller.Person == target.ID && caller.Person != "" {
		return nil
	}
	if identity.MayChange(h.Identity.Membership(), caller.Role, target) {
		return nil
	}
	return ErrDenied
}

// ListPeople lists who belongs.
func (h *House) ListPeople(_ context.Context, caller services.Caller, _ None) ([]PersonOutput, error) {
	if err := least(caller, services.RoleMember); err != nil {
		return nil, err
	}
	out := []PersonOutput{}
	for _, p := range h.Identity.Membership().People {
		out = append(out, personOutput(p))
	}
	return out, nil
}

func personOutput(p services.Person) PersonOutput {
	return PersonOutput{ID: p.ID, Name: p.Name, Role: p.Role, State: p.State, LAN: p.LAN}
}

var errLAN = &services.Problem{
	Kind: services.KindDenied, Code: ErrDenied.Code, Field: "lan",
	Say: services.Say("house.lan-denied", "The home network is opened to others by owners and admins only. Nothing was changed."),
}

// AddPerson invites somebody. An admin cannot make an owner, a member invites guests only.
func (h *House) AddPerson(ctx context.Context, caller services.Caller, in AddPersonInput) (AddPersonOutput, error) {
	if !identity.MayGrant(caller.Role, in.Role) {
		return AddPersonOutput{}, ErrDenied
	}
	lan, err := yes("lan", in.LAN)
	if err != nil {
		return AddPersonOutput{}, err
	}
	if lan != nil && *lan && caller.Role < services.RoleAdmin {
		return AddPersonOutput{}, errLAN
	}
	p, err := h.Identity.AddPerson(h.acting(ctx, caller), identity.NewPerson{Name: in.Name, Role: in.Role, LAN: lan, Expires: h.Clock.Now().Add(account.InvitationLife)})
	if err != nil {
		return AddPersonOutput{}, err
	}
	code, expires, err := h.Invite(ctx, caller, p.ID)
	if err != nil {
		// Nobody is left waiting for a link that there is not.
		if e := h.Identity.RemovePerson(h.acting(context.WithoutCancel(ctx), caller), p.ID); e != nil {
			h.Log.Warn("a person whose invitation failed stays until the invitation would have ended", "person", p.ID, "error", e)
		}
		return AddPersonOutput{}, err
	}
	h.audit(ctx, caller, "person-invited", p.Name)
	return AddPersonOutput{ID: p.ID, Name: p.Name, Role: p.Role, State: p.State, Link: secret.Show(h.inviteLink(code)), Code: secret.Show(code), Expires: expires}, nil
}

// ChangePerson changes what is given, all of it or nothing. One's own name is one's own to change.
func (h *House) ChangePerson(ctx context.Context, caller services.Caller, in ChangePersonInput) (PersonOutput, error) {
	p, err := h.person(string(in.ID))
	if err != nil {
		return PersonOutput{}, err
	}
	lan, err := yes("lan", in.LAN)
	if err != nil {
		return PersonOutput{}, err
	}
	may := identity.MayChange(h.Identity.Membership(), caller.Role, p)
	switch {
	case !may && (caller.Person == "" || caller.Person != p.ID || in.Role != services.RoleNone || lan != nil):
		return PersonOutput{}, ErrDenied
	case in.Role != services.RoleNone && in.Role != p.Role && !identity.MayGrant(caller.Role, in.Role):
		return PersonOutput{}, ErrDenied
	case lan != nil && *lan != p.LAN && *lan && caller.Role < services.RoleAdmin:
		return PersonOutput{}, errLAN
	}
	change := identity.PersonChange{LAN: lan}
	if in.Name != "" {
		change.Name = &in.Name
	}
	if in.Role != services.RoleNone {
		change.Role = &in.Role
	}
	if err := h.Identity.ChangePerson(h.acting(ctx, caller), p.ID, change); err != nil {
		return PersonOutput{}, err
	}
	h.audit(ctx, caller, "person-changed", p.Name)
	p, err = h.person(string(p.ID))
	return personOutput(p), err
}

// RemovePerson removes somebody and all that lets them in, and says what becomes of what they kept.
func (h *House) RemovePerson(ctx context.Context, caller services.Caller, in RemovePersonInput) (None, error) {
	p, err := h.person(string(in.ID))
	if err != nil {
		return None{}, err
	}
	if !identity.MayChange(h.Identity.Membership(), caller.Role, p) {
		return None{}, ErrDenied
	}
	choice, err := then(in.Files, services.ThenErase, services.ThenExport)
	if err != nil {
		return None{}, err
	}
	if err := h.Identity.RemovePersonThen(h.acting(ctx, caller), p.ID, choice); err != nil {
		return None{}, err
	}
	h.audit(ctx, caller, "person-removed", p.Name)
	return None{}, nil
}
