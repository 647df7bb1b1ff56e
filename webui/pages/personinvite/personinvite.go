// Package personinvite invites a person by a link, and shows the link while the box still holds it.
package personinvite

import (
	"net/netip"
	"net/url"

	"hearth.alt/services"
	"hearth.alt/webui/components"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Pages are the form and the link.
type Pages struct{ House House }

// House is what these pages ask.
type House interface {
	house.Framing
	house.People
}

// RoleChoices are the roles that may be given, with a sentence each.
func RoleChoices(rq *web.Request, may []services.Role, chosen services.Role) []components.Choice {
	var out []components.Choice
	for _, r := range may {
		out = append(out, components.Choice{
			Value: r.String(), Label: rq.T("role." + r.String()), Hint: rq.T("role." + r.String() + ".hint"), Checked: r == chosen,
		})
	}
	return out
}

// may lists the roles the caller may invite as: their own at most, and a member only guests.
func may(r services.Role) []services.Role {
	switch r {
	case services.RoleOwner:
		return []services.Role{services.RoleGuest, services.RoleMember, services.RoleAdmin, services.RoleOwner}
	case services.RoleAdmin:
		return []services.Role{services.RoleGuest, services.RoleMember}
	}
	return []services.Role{services.RoleGuest}
}

// Form is GET /people/invite.
func (p *Pages) Form(rq *web.Request) error {
	role := services.RoleMember
	if rq.Caller.Role < services.RoleAdmin {
		role = services.RoleGuest
	}
	return p.form(rq, house.PersonForm{Role: role}, web.Errors{})
}

func (p *Pages) form(rq *web.Request, form house.PersonForm, e web.Errors) error {
	pg := &web.Page{Title: rq.T("invite.title"), Nav: "/people", Errors: e}
	pg.Request = rq
	pg.Body = formBody(pg, form, RoleChoices(rq, may(rq.Caller.Role), form.Role))
	return rq.Render(pg)
}

// Invite is POST /people/invite.
func (p *Pages) Invite(rq *web.Request) error {
	form := house.PersonForm{Name: rq.Text("name")}
	form.Role, _ = services.ParseRole(rq.Text("role"))
	id, err := p.House.Invite(rq.R.Context(), form)
	e, err := rq.Form(err, "name", "role")
	if err != nil {
		return err
	}
	if e.Any() {
		return p.form(rq, form, e)
	}
	return rq.Redirect("/people/" + string(id) + "/invitation")
}

// Show is GET /people/{id}/invitation.
func (p *Pages) Show(rq *web.Request) error {
	inv, err := p.House.Invitation(rq.R.Context(), services.PersonID(rq.R.PathValue("id")))
	if err != nil {
		return err
	}
	pg := &web.Page{Nav: "/people"}
	pg.Request = rq
	pg.Title = rq.T("invitation.title", "name", inv.Person.Name)
	if inv.Person.State == services.StateActive {
		pg.Title = rq.T("wayin.title", "name", inv.Person.Name)
	}
	pg.Body = linkBody(pg, inv)
	if link := inv.Link.Reveal(); link != "" {
		code, err := components.QR(link)
		if err != nil {
			return err
		}
		pg.Body = codeBody(pg, inv, code, p.House.Doors(rq.R.Context()).Fingerprint)
	}
	return rq.Render(pg)
}

// title and answer say what the link is for: to join, or to choose another password.
func title(pg *web.Page, inv house.Invitation) string {
	if inv.Person.State == services.StateActive {
		return pg.HTML("wayin.title", "name", inv.Person.Name)
	}
	return pg.HTML("invitation.title", "name", inv.Person.Name)
}

func answer(pg *web.Page, inv house.Invitation) string {
	if inv.Person.State == services.StateActive {
		return pg.HTML("wayin.answer", "name", inv.Person.Name, "until", inv.Expires)
	}
	return pg.HTML("invitation.answer", "until", inv.Expires)
}

// linkSay says where the link opens: at home, but for a Hearth that is tried out on the computer itself.
func linkSay(inv house.Invitation) string {
	u, err := url.Parse(inv.Link.Reveal())
	if err == nil {
		if a, err := netip.ParseAddr(u.Hostname()); u.Hostname() == "localhost" || err == nil && a.IsLoopback() {
			return "invitation.link.here"
		}
	}
	return "invitation.link.say"
}

func codeSay(inv house.Invitation) string {
	if inv.Person.State == services.StateActive {
		return "wayin.code.say"
	}
	return "invitation.code.say"
}

func qrSay(inv house.Invitation) string {
	if inv.Person.State == services.StateActive {
		return "wayin.qr"
	}
	return "invitation.qr"
}

func goneAnswer(pg *web.Page, inv house.Invitation) string {
	if inv.Person.State == services.StateActive {
		if !inv.Person.WayIn.IsZero() {
			return pg.HTML("wayin.hidden.answer", "until", inv.Person.WayIn)
		}
		return pg.HTML("wayin.gone.answer")
	}
	return pg.HTML("invitation.gone.answer", "until", inv.Expires)
}

// Renew is POST /people/{id}/invitation: a new link, or for one to choose another password, none.
func (p *Pages) Renew(rq *web.Request) error {
	ctx, id := rq.R.Context(), services.PersonID(rq.R.PathValue("id"))
	who, err := p.House.Person(ctx, id)
	if err != nil {
		return err
	}
	if rq.Checked("withdraw") {
		path := "/people/" + string(id)
		if err := p.House.WithdrawWayIn(ctx, id); err != nil {
			return rq.NotKept(path, err)
		}
		return rq.Done(path, services.Say("webui.wayin.withdrawn", "The link for {name} no longer works. The password stays as it is.", "name", who.Name))
	}
	if err := p.House.RenewInvitation(ctx, id); err != nil {
		return err
	}
	path := "/people/" + string(id) + "/invitation"
	if who.State == services.StateActive && who.WayIn.IsZero() {
		return rq.Redirect(path) // there was none before, and the page says what it is
	}
	return rq.Done(path, services.Say("webui.invitation.renewed", "This is a new link. The one before no longer works."))
}
