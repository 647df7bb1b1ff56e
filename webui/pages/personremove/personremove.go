// Package personremove asks before a person is removed, and removes them.
package personremove

import (
	"strings"

	"hearth.alt/services"
	"hearth.alt/webui/components"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Pages is the question and the deed.
type Pages struct{ House house.People }

var errYourself = &services.Problem{
	Kind: services.KindDenied, Code: "yourself",
	Say: services.Say("webui.remove.yourself", "Nobody removes themselves, so that the house is never left without an owner by mistake. Another owner can do it."),
}

// Ask is GET /people/{id}/remove.
func (p *Pages) Ask(rq *web.Request) error {
	who, err := p.House.Person(rq.R.Context(), services.PersonID(rq.R.PathValue("id")))
	if err != nil {
		return err
	}
	if who.You {
		return errYourself
	}
	if !who.MayRemove {
		return web.ErrNotAllowed
	}
	return p.ask(rq, who, "", web.Errors{})
}

func (p *Pages) ask(rq *web.Request, who house.Person, files string, e web.Errors) error {
	pg := &web.Page{Title: rq.T("personremove.title", "name", who.Name), Nav: "/people", Errors: e}
	pg.Request = rq
	c := components.Confirm{
		Question: rq.HTML("personremove.title", "name", who.Name),
		Stops:    rq.HTML("personremove.stops", "devices", who.Devices),
		Stays:    rq.HTML("personremove.stays"),
		Undo:     rq.HTML("personremove.undo"),
		Do:       rq.T("personremove.do", "name", who.Name),
		Keep:     rq.T("personremove.keep", "name", who.Name),
		KeepPath: "/people/" + string(who.ID),
	}
	if who.State == services.StatePending {
		pg.Title, c.Question = rq.T("withdraw.title", "name", who.Name), rq.HTML("withdraw.title", "name", who.Name)
		c.Stops, c.Stays, c.Undo = rq.HTML("personremove.stops.pending"), rq.HTML("personremove.stays.pending"), rq.HTML("withdraw.undo", "name", who.Name)
		c.Do, c.Keep = rq.T("invitation.withdraw"), rq.T("withdraw.keep")
		c.KeepPath += "/invitation"
	}
	var list []components.Choice
	if who.State != services.StatePending {
		list = []components.Choice{
			{Value: services.ThenErase.String(), Label: rq.T("personremove.erase"), Hint: rq.T("left.erase.hint"), Checked: files != services.ThenExport.String()},
			{Value: services.ThenExport.String(), Label: rq.T("left.export"), Hint: rq.T("left.export.hint"), Checked: files == services.ThenExport.String()},
		}
	}
	pg.Body = askBody(pg, c, rq.T("left.files", "name", who.Name), list)
	return rq.Render(pg)
}

// Remove is POST /people/{id}/remove.
func (p *Pages) Remove(rq *web.Request) error {
	ctx := rq.R.Context()
	who, err := p.House.Person(ctx, services.PersonID(rq.R.PathValue("id")))
	if err != nil {
		return err
	}
	e, err := rq.Form(p.House.RemovePerson(ctx, who.ID, rq.Text("files")), "files")
	if err != nil {
		return err
	}
	if e.Any() {
		return p.ask(rq, who, rq.Text("files"), e)
	}
	if who.State == services.StatePending {
		return rq.Done("/people", services.Say("webui.invitation.withdrawn", "The invitation for {name} is withdrawn. Its link no longer works.", "name", who.Name))
	}
	if away := strings.Join(rq.Frame.Away, ", "); away != "" {
		return rq.Done("/people", services.Say("webui.person.removed.later", "{name} is removed. All that was theirs stopped working at {at, time} wherever boxes are in touch. These hear of it when they are back: {boxes}.", "name", who.Name, "at", rq.Now, "boxes", away))
	}
	return rq.Done("/people", services.Say("webui.person.removed", "{name} is removed. All that was theirs stopped working at {at, time}.", "name", who.Name, "at", rq.Now))
}
