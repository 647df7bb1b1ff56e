// Package boxes lists the boxes of the household, invites another one, and removes one.
package boxes

import (
	"hearth.alt/services"
	"hearth.alt/webui/components"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Pages are the list, the invitation and the question before a box is removed.
type Pages struct{ House house.Boxes }

type row struct {
	name, note, address, path, words string
	state                            house.State
	said                             string
	this                             bool
}

// Show is GET /boxes.
func (p *Pages) Show(rq *web.Request) error {
	list, err := p.House.Boxes(rq.R.Context())
	if err != nil {
		return err
	}
	may := rq.Caller.Role >= services.RoleAdmin
	var rows []row
	for _, b := range list {
		r := row{name: b.Name, note: b.Label + ".local", address: b.Addr4.String(), words: b.Words, this: b.This, state: house.StateGood, said: rq.T("boxes.linked")}
		switch {
		case b.State != services.StateActive:
			r.state, r.said = house.StateAct, rq.T("boxes.suspended")
		case b.This:
			r.said = rq.T("boxes.here")
		case !b.Linked && b.Heard.IsZero():
			r.state, r.said = house.StateWait, rq.T("boxes.awaited")
		case !b.Linked:
			r.state, r.said = house.StateWait, rq.T("boxes.away.since", "at", b.Heard)
		}
		if may && len(list) > 1 {
			r.path = "/boxes/" + b.ID.String() + "/remove"
		}
		rows = append(rows, r)
	}
	pg := &web.Page{Title: rq.T("boxes.sentence", "n", len(list)), Nav: "/boxes"}
	pg.Request = rq
	pg.Body = listBody(pg, rows, may && len(rows) > 1, rq.Caller.Role >= services.RoleOwner)
	return rq.Render(pg)
}

// Export is GET /boxes/export.
func (p *Pages) Export(rq *web.Request) error {
	d, err := p.House.Export(rq.R.Context())
	if err != nil {
		return err
	}
	return rq.Stream(d)
}

// Add is GET /boxes/add: the invitation while it waits, what became of it, or how to make one.
func (p *Pages) Add(rq *web.Request) error {
	inv, err := p.House.BoxInvitation(rq.R.Context())
	if err != nil {
		return err
	}
	waits := inv.Link.Reveal() != "" && inv.Joined.Name == ""
	if waits && rq.NotModified() {
		return nil
	}
	pg := &web.Page{Title: rq.T("boxadd.title"), Nav: "/boxes", Smooth: waits}
	pg.Request = rq
	switch {
	case inv.Joined.Name != "":
		pg.Title = rq.T("boxadd.done", "box", inv.Joined.Name)
		pg.Body = doneBody(pg, inv)
	case waits:
		code, err := components.QR(inv.Link.Reveal())
		if err != nil {
			return err
		}
		pg.Title = rq.T("boxadd.scan")
		pg.Body = waitBody(pg, inv, code)
	default:
		pg.Body = inviteBody(pg)
	}
	return rq.Render(pg)
}

// Act is POST /boxes/add: invite, withdraw, or look again.
func (p *Pages) Act(rq *web.Request) error {
	ctx := rq.R.Context()
	switch rq.Text("do") {
	case "invite":
		if err := p.House.InviteBox(ctx); err != nil {
			return err
		}
	case "withdraw":
		if err := p.House.WithdrawBox(ctx); err != nil {
			return err
		}
		return rq.Done("/boxes", services.Say("webui.box.withdrawn", "The invitation is withdrawn. No box can join with it any more."))
	default:
		inv, err := p.House.BoxInvitation(ctx)
		if err != nil {
			return err
		}
		if inv.Link.Reveal() != "" && inv.Joined.Name == "" {
			return rq.Note("/boxes/add", services.Say("webui.box.waiting", "No box has joined yet. Is the new one switched on, and in the same network?"))
		}
	}
	return rq.Redirect("/boxes/add")
}

var errNoBox = &services.Problem{
	Kind: services.KindNotFound, Code: "no-box",
	Say: services.Say("webui.box.none", "No such box belongs to the household any more."),
}

func (p *Pages) box(rq *web.Request) (house.Box, error) {
	list, err := p.House.Boxes(rq.R.Context())
	if err != nil {
		return house.Box{}, err
	}
	for _, b := range list {
		if b.ID.String() == rq.R.PathValue("id") {
			return b, nil
		}
	}
	return house.Box{}, errNoBox
}

// Ask is GET /boxes/{id}/remove.
func (p *Pages) Ask(rq *web.Request) error {
	b, err := p.box(rq)
	if err != nil {
		return err
	}
	return p.ask(rq, b, web.Errors{})
}

func (p *Pages) ask(rq *web.Request, b house.Box, e web.Errors) error {
	pg := &web.Page{Title: rq.T("boxremove.title", "box", b.Name), Nav: "/boxes", Errors: e}
	pg.Request = rq
	c := components.Confirm{
		Question: rq.HTML("boxremove.title", "box", b.Name),
		Stops:    rq.HTML("boxremove.stops"),
		Stays:    rq.HTML("boxremove.stays"),
		Undo:     rq.HTML("boxremove.undo"),
		Do:       rq.T("boxremove.do", "box", b.Name),
		Keep:     rq.T("boxremove.keep", "box", b.Name),
		KeepPath: "/boxes",
	}
	if b.This {
		c.Stops = rq.HTML("boxremove.stops.this")
	}
	pg.Body = askBody(pg, b, c)
	return rq.Render(pg)
}

// Remove is POST /boxes/{id}/remove.
func (p *Pages) Remove(rq *web.Request) error {
	b, err := p.box(rq)
	if err != nil {
		return err
	}
	e, err := rq.Form(p.House.RemoveBox(rq.R.Context(), b.ID, rq.Checked("this"), rq.Checked("spare")), "this")
	if err != nil {
		return err
	}
	if e.Any() {
		return p.ask(rq, b, e)
	}
	return rq.Done("/boxes", services.Say("webui.box.removed", "{box} is removed. The other boxes hear of it at once, those that are off when they are back.", "box", b.Name))
}
