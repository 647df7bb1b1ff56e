// Package person is one person: name, role, what their devices reach, and the way to remove them.
package person

import (
	"hearth.alt/services"
	"hearth.alt/webui/components"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
	"hearth.alt/webui/pages/personinvite"
)

// House is what this page asks.
type House interface {
	house.People
	house.Devices
}

// Pages is the page and its one act.
type Pages struct{ House House }

type device struct{ name, seen, path string }

type view struct {
	p       house.Person
	form    house.PersonForm
	roles   []components.Choice
	devices []device
	path    string
}

// Show is GET /people/{id}.
func (p *Pages) Show(rq *web.Request) error {
	who, err := p.House.Person(rq.R.Context(), services.PersonID(rq.R.PathValue("id")))
	if err != nil {
		return err
	}
	if who.State == services.StatePending {
		return rq.Redirect("/people/" + string(who.ID) + "/invitation")
	}
	return p.show(rq, who, house.PersonForm{Name: who.Name, Role: who.Role, LAN: who.LAN}, web.Errors{})
}

func (p *Pages) show(rq *web.Request, who house.Person, form house.PersonForm, e web.Errors) error {
	list, err := p.House.Devices(rq.R.Context())
	if err != nil {
		return err
	}
	v := view{p: who, form: form, path: "/people/" + string(who.ID), roles: personinvite.RoleChoices(rq, who.Roles, form.Role)}
	for _, d := range list {
		if d.Person == who.ID {
			v.devices = append(v.devices, device{name: d.Name, seen: rq.Ago(d.Handshake), path: "/devices/" + string(d.ID)})
		}
	}
	pg := &web.Page{Title: rq.T("person.title", "name", who.Name, "role", who.Role), Nav: "/people", Errors: e}
	pg.Request = rq
	pg.Body = body(pg, v)
	return rq.Render(pg)
}

// Change is POST /people/{id}.
func (p *Pages) Change(rq *web.Request) error {
	ctx := rq.R.Context()
	who, err := p.House.Person(ctx, services.PersonID(rq.R.PathValue("id")))
	if err != nil {
		return err
	}
	form := house.PersonForm{Name: rq.Text("name"), Role: who.Role, LAN: rq.Checked("lan")}
	if r, err := services.ParseRole(rq.Text("role")); err == nil {
		form.Role = r
	}
	e, err := rq.Form(p.House.ChangePerson(ctx, who.ID, form), "name", "role", "lan")
	if err != nil {
		return err
	}
	if e.Any() {
		return p.show(rq, who, form, e)
	}
	return rq.Done("/people/"+string(who.ID), services.Say("webui.person.changed", "What was changed about {name} is saved.", "name", form.Name))
}
