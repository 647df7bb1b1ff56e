// Package personleft shows somebody who was removed, and asks what becomes of what they kept.
package personleft

import (
	"context"

	"hearth.alt/services"
	"hearth.alt/webui/components"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Pages is the page.
type Pages struct{ House house.People }

type view struct {
	name, title, answer string
	list                []components.Choice
}

var errNobody = &services.Problem{
	Kind: services.KindNotFound, Code: "no-leaver",
	Say: services.Say("webui.left.none", "Nothing is kept on this box of such a person any more."),
}

func (p *Pages) find(ctx context.Context, id string) (house.Left, error) {
	list, err := p.House.Left(ctx)
	if err != nil {
		return house.Left{}, err
	}
	for _, l := range list {
		if string(l.Person) == id {
			return l, nil
		}
	}
	return house.Left{}, errNobody
}

// Show is GET /left/{id}.
func (p *Pages) Show(rq *web.Request) error {
	l, err := p.find(rq.R.Context(), rq.R.PathValue("id"))
	if err != nil {
		return err
	}
	return p.show(rq, l, web.Errors{})
}

func (p *Pages) show(rq *web.Request, l house.Left, e web.Errors) error {
	pg := &web.Page{Title: rq.T("left.title", "name", l.Name), Nav: "/people", Errors: e}
	pg.Request = rq
	v := view{name: l.Name, title: rq.HTML("left.title", "name", l.Name), answer: rq.HTML("left.answer", "at", l.Removed)}
	add := func(then services.Then, label, hint string) {
		v.list = append(v.list, components.Choice{Value: then.String(), Label: label, Hint: hint, Checked: then == l.Then})
	}
	add(services.ThenErase, rq.T("left.erase"), rq.T("left.erase.hint"))
	add(services.ThenExport, rq.T("left.export"), rq.T("left.export.hint"))
	add(services.ThenNow, rq.T("left.now"), rq.T("left.now.hint"))
	pg.Body = body(pg, v)
	return rq.Render(pg)
}

// Choose is POST /left/{id}.
func (p *Pages) Choose(rq *web.Request) error {
	ctx := rq.R.Context()
	l, err := p.find(ctx, rq.R.PathValue("id"))
	if err != nil {
		return err
	}
	e, err := rq.Form(p.House.ChooseFiles(ctx, l.Person, rq.Text("files")), "files")
	if err != nil {
		return err
	}
	if e.Any() {
		return p.show(rq, l, e)
	}
	return rq.Done("/people", services.Say("webui.left.chosen", "What {name} kept: your choice counts now, on every box as soon as it hears of it.", "name", l.Name))
}
