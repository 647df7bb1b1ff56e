package pages

import (
	"context"
	"errors"
	"strings"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/services/account"
	"hearth.alt/services/identity"
	"hearth.alt/services/secret"
	"hearth.alt/webui"
	"hearth.alt/webui/house"
)

// SignIn returns a session token.
func (h *House) SignIn(ctx context.Context, name string, password secret.Text) (string, error) {
	in, err := h.API.Account.SignIn(ctx, through(ctx, name, password))
	if err != nil {
		return "", at("password", err)
	}
	doorOf(ctx).newKnown = in.Known // the page itself sets the session
	return in.Token.Reveal(), nil
}

// at puts a field to a refusal that has none, so that the page shows it beside the input.
func at(field string, err error) error {
	p := services.AsProblem(err)
	if p.Kind == services.KindInternal || p.Field != "" {
		return err
	}
	c := *p
	c.Field = field
	return &c
}

// Refresh proves the caller's password once more.
func (h *House) Refresh(ctx context.Context, password secret.Text) error {
	if err := h.least(ctx, services.RoleGuest); err != nil {
		return err
	}
	in, err := h.API.Account.Prove(ctx, through(ctx, "", password))
	if err != nil {
		return at("password", yours(err))
	}
	let(ctx, in)
	return nil
}

// SignOut ends the caller's session.
func (h *House) SignOut(ctx context.Context) error {
	if err := h.least(ctx, services.RoleGuest); err != nil {
		return err
	}
	return h.API.Account.SignOut(ctx, webui.CallerOf(ctx), doorOf(ctx).session)
}

// ChangePassword sets a new password for the caller and ends their other sessions.
func (h *House) ChangePassword(ctx context.Context, old, new secret.Text) error {
	p, ok := h.API.Identity.Membership().Person(webui.CallerOf(ctx).Person)
	if !ok {
		return api.ErrSignIn
	}
	in, err := h.API.Account.ChangePassword(ctx, through(ctx, p.Name, old), new)
	if err != nil {
		if bad := services.AsProblem(err); bad.Kind == services.KindInvalid {
			return at("new", &services.Problem{Kind: bad.Kind, Code: bad.Code, Say: bad.Say})
		}
		return at("password", yours(err))
	}
	let(ctx, in)
	return nil
}

// yours says that the password is wrong to somebody who is signed in and typed no name.
func yours(err error) error {
	if !errors.Is(err, account.ErrRefused) {
		return err
	}
	return &services.Problem{
		Kind: services.KindInvalid, Code: account.ErrRefused.Code,
		Say: services.Say("account.not-yours", "This is not your password. Type it once more."),
	}
}

// Sessions lists where the caller is signed in.
func (h *House) Sessions(ctx context.Context) ([]house.Session, error) {
	if err := h.least(ctx, services.RoleGuest); err != nil {
		return nil, err
	}
	caller := webui.CallerOf(ctx)
	m := h.API.Identity.Membership()
	list, err := h.API.Account.Sessions(caller.Person)
	if err != nil {
		return nil, err
	}
	var out []house.Session
	for _, s := range list {
		one := house.Session{ID: s.ID, Agent: api.BrowserName(s.Name), Full: s.Name, Started: s.Created, Seen: s.Used, This: s.ID == caller.Session}
		if d, ok := m.Device(s.Device); ok {
			one.Where = services.Say("session.over", "Over the private network, on {device}", "device", d.Name)
		} else {
			one.Where = services.Say("session.home", "At home")
		}
		out = append(out, one)
	}
	return out, nil
}

// EndSession ends one of the caller's own.
func (h *House) EndSession(ctx context.Context, id string) error {
	if err := h.least(ctx, services.RoleGuest); err != nil {
		return err
	}
	caller := webui.CallerOf(ctx)
	err := h.API.Account.EndSession(ctx, caller, caller.Person, id)
	if errors.Is(err, account.ErrNoCredential) {
		return nil
	}
	return err
}

// EndOtherSessions ends all of the caller's but the one that asks.
func (h *House) EndOtherSessions(ctx context.Context) error {
	if err := h.least(ctx, services.RoleGuest); err != nil {
		return err
	}
	caller := webui.CallerOf(ctx)
	_, err := h.API.Account.EndOthers(ctx, caller, caller.Person, caller.Session)
	return err
}

// ---- people ----

func (h *House) view(ctx context.Context, m *services.Membership, p services.Person) house.Person {
	caller := webui.CallerOf(ctx)
	v := house.Person{Person: p, You: p.ID == caller.Person}
	seen := h.API.Mesh.Status().Devices
	for _, d := range m.Devices {
		if d.Person == p.ID {
			v.Devices++
			if at := seen[d.ID].LastHandshake; at.After(v.Seen) {
				v.Seen = at
			}
		}
	}
	sessions, _ := h.API.Account.Sessions(p.ID) // when there is no telling, nobody was seen
	for _, s := range sessions {
		if s.Used.After(v.Seen) {
			v.Seen = s.Used
		}
	}
	may := identity.MayChange(m, caller.Role, p)
	v.MayChange = may || v.You
	v.MayRemove = may && !v.You
	v.MayWayIn = may && !v.You && p.State == services.StateActive && identity.MayGrant(caller.Role, p.Role)
	if v.MayWayIn {
		v.WayIn = h.API.Account.Invited(p.ID)
	}
	v.MayLAN = may && caller.Role >= services.RoleAdmin
	if may {
		for r := services.RoleGuest; r <= services.RoleOwner; r++ {
			if identity.MayGrant(caller.Role, r) {
				v.Roles = append(v.Roles, r)
			}
		}
	} else {
		v.Roles = []services.Role{p.Role}
	}
	return v
}

// People lists everybody to members and above; a guest sees themselves.
func (h *House) People(ctx context.Context) ([]house.Person, error) {
	if err := h.least(ctx, services.RoleGuest); err != nil {
		return nil, err
	}
	caller := webui.CallerOf(ctx)
	m := h.API.Identity.Membership()
	var out []house.Person
	for _, p := range m.People {
		if caller.Role >= services.RoleMember || p.ID == caller.Person {
			out = append(out, h.view(ctx, m, p))
		}
	}
	return out, nil
}

// Person returns one.
func (h *House) Person(ctx context.Context, id services.PersonID) (house.Person, error) {
	all, err := h.People(ctx)
	if err != nil {
		return house.Person{}, err
	}
	for _, p := range all {
		if p.ID == id {
			return p, nil
		}
	}
	return house.Person{}, api.ErrNoPerson
}

// Invite adds a pending person with an invitation. Whether their devices reach the home network follows their role, as
// on the command line: yes, but for guests. Their page changes it.
func (h *House) Invite(ctx context.Context, form house.PersonForm) (services.PersonID, error) {
	if err := h.least(ctx, services.RoleMember); err != nil {
		return "", err
	}
	out, err := h.API.AddPerson(ctx, webui.CallerOf(ctx), api.AddPersonInput{Name: form.Name, Role: form.Role})
	return out.ID, err
}

// Invitation returns the link while the box holds it.
func (h *House) Invitation(ctx context.Context, id services.PersonID) (house.Invitation, error) {
	p, err := h.Person(ctx, id)
	if err != nil {
		return house.Invitation{}, err
	}
	code, link, expires, err := h.API.InviteCode(webui.CallerOf(ctx), id)
	if err != nil {
		return house.Invitation{}, err
	}
	if expires.IsZero() {
		expires = p.Expires
	}
	return house.Invitation{Person: p, Code: secret.Show(code), Link: secret.Show(link), Expires: expires}, nil
}

// RenewInvitation makes a new code; the former one is void.
func (h *House) RenewInvitation(ctx context.Context, id services.PersonID) error {
	_, _, err := h.API.Invite(ctx, webui.CallerOf(ctx), id)
	return err
}

// WithdrawWayIn ends the link to choose another password.
func (h *House) WithdrawWayIn(ctx context.Context, id services.PersonID) error {
	return h.API.WithdrawWayIn(ctx, webui.CallerOf(ctx), id)
}

// ChangePerson sets name, role and LAN; one's own name is one's own to change. What the page does not ask stays as it
// is, and what was asked past the page is refused by the table, never dropped.
func (h *House) ChangePerson(ctx context.Context, id services.PersonID, form house.PersonForm) error {
	p, err := h.Person(ctx, id)
	if err != nil {
		return err
	}
	in := api.ChangePersonInput{ID: id, Name: form.Name, Role: form.Role, LAN: yesNo(form.LAN)}
	if form.Role == p.Role {
		in.Role = services.RoleNone
	}
	if !p.MayLAN && (!form.LAN || p.LAN) {
		in.LAN = ""
	}
	_, err = h.API.ChangePerson(ctx, webui.CallerOf(ctx), in)
	return err
}

func yesNo(v bool) string {
	if v {
		return "yes"
	}
	return "no"
}

// RemovePerson ends all they have.
func (h *House) RemovePerson(ctx context.Context, id services.PersonID, files string) error {
	_, err := h.API.RemovePerson(ctx, webui.CallerOf(ctx), api.RemovePersonInput{ID: id, Files: files})
	return err
}

// Left lists the removed whose things are on this box still.
func (h *House) Left(ctx context.Context) (out []house.Left, err error) {
	if err := h.least(ctx, services.RoleOwner); err != nil {
		return nil, err
	}
	for _, k := range h.API.Leaving.Kept() {
		out = append(out, house.Left(k))
	}
	return out, nil
}

// ChooseFiles says what becomes of what a removed person kept.
func (h *House) ChooseFiles(ctx context.Context, id services.PersonID, files string) error {
	_, err := h.API.ChooseFiles(ctx, webui.CallerOf(ctx), api.FilesInput{ID: id, Files: files})
	return err
}

// ReadInvitation says who is invited by a code.
func (h *House) ReadInvitation(ctx context.Context, code secret.Text) (house.Welcome, error) {
	id, err := h.API.Account.Invitation(code)
	if err != nil {
		return house.Welcome{}, at("code", err)
	}
	m := h.API.Identity.Membership()
	p, ok := m.Person(id)
	if !ok {
		return house.Welcome{}, errNoInvitation
	}
	return house.Welcome{Name: p.Name, Household: m.Household.Name, Role: p.Role, Back: p.State == services.StateActive, Expires: p.Expires}, nil
}

var errNoInvitation = &services.Problem{
	Kind: services.KindNotFound, Code: "no-invitation", Field: "code",
	Say: services.Say("join.no-invitation", "This code is not good any more. Ask for a new one."),
}

// WayInByWords takes the recovery words of an owner who forgot their password.
func (h *House) WayInByWords(ctx context.Context, name string, words secret.Text) (secret.Text, error) {
	var code secret.Text
	err := h.byWords(ctx, func(caller services.Caller) (err error) {
		code, err = h.API.WayInByWords(ctx, caller, name, strings.Fields(words.Reveal()))
		return err
	})
	return code, err
}

// byWords does what somebody with the recovery words may, and slows down whoever types wrong ones.
func (h *House) byWords(ctx context.Context, do func(services.Caller) error) error {
	caller := webui.CallerOf(ctx)
	if wait := h.Guesses.Wait(caller.Address); wait > 0 {
		return busy(wait)
	}
	err := do(caller)
	if err != nil && services.AsProblem(err).Field == "words" {
		h.Guesses.Wrong(caller.Address)
	}
	return err
}

// AcceptInvitation sets the password, lets the person in and signs them in; apps ends their app passwords and tokens.
// What may be wrong with name and password is found out before the code is used up.
func (h *House) AcceptInvitation(ctx context.Context, code secret.Text, name string, password secret.Text, apps bool) (string, error) {
	w, err := h.ReadInvitation(ctx, code)
	if err != nil {
		return "", err
	}
	if err := account.CheckPassword(password, name, w.Name, w.Household); err != nil {
		return "", at("password", err)
	}
	if name != "" && name != w.Name && !w.Back {
		id, err := h.API.Account.Invitation(code)
		if err != nil {
			return "", at("code", err)
		}
		if err := h.API.Identity.RenamePerson(ctx, id, name); err != nil {
			return "", err
		}
	}
	var also []account.Kind
	if apps {
		also = []account.Kind{account.KindApp, account.KindToken}
	}
	id, err := h.API.Account.AcceptInvitation(ctx, webui.CallerOf(ctx), code, password, also...)
	if errors.Is(err, account.ErrNotYetIn) {
		return "", err
	}
	if err != nil {
		return "", at("password", err)
	}
	p, _ := h.API.Identity.Membership().Person(id)
	session, err := h.SignIn(ctx, p.Name, password)
	if services.AsProblem(err) != nil && services.AsProblem(err).Kind == services.KindBusy {
		return "", nil // whoever forgot the password tried it too often: the new one counts all the same
	}
	return session, err
}

// ---- events ----

// Events lists what happened, to admins and owners all of it, to others what they did themselves.
func (h *House) Events(ctx context.Context, since time.Time, limit int) ([]house.Event, error) {
	if err := h.least(ctx, services.RoleGuest); err != nil {
		return nil, err
	}
	caller := webui.CallerOf(ctx)
	// Not every event has a sentence or is for everybody: more are read than are told.
	list, err := h.API.Account.Events(ctx, since, 0)
	if err != nil {
		return nil, err
	}
	m := h.API.Identity.Membership()
	var out []house.Event
	for _, e := range list {
		if caller.Role < services.RoleAdmin && e.Actor != caller.Person {
			continue
		}
		if say, ok := tell(m, e); ok {
			out = append(out, house.Event{At: e.At, What: say})
		}
		if limit > 0 && len(out) == limit {
			break
		}
	}
	return out, nil
}
