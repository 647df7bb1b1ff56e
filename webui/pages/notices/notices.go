// Package notices lists the work of others that is in the box, with the licences it came under.
package notices

import (
	"strconv"

	"hearth.alt/services"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Pages are the list and each text.
type Pages struct{ House house.Noticing }

// List is GET /notices.
func (p *Pages) List(rq *web.Request) error {
	list, err := p.House.Notices(rq.R.Context())
	if err != nil {
		return err
	}
	pg := &web.Page{Title: rq.T("notices.title"), Plain: rq.Caller.Role == services.RoleNone}
	pg.Request = rq
	pg.Body = listBody(pg, list)
	return rq.Render(pg)
}

// Show is GET /notices/{n}: the text of the n-th, counted from 1.
func (p *Pages) Show(rq *web.Request) error {
	list, err := p.House.Notices(rq.R.Context())
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(rq.R.PathValue("n"))
	if err != nil || n < 1 || n > len(list) {
		return &services.Problem{
			Kind: services.KindNotFound, Code: "no-notice",
			Say: services.Say("webui.notices.none", "There is no such notice. The list has them all."),
		}
	}
	it := list[n-1]
	pg := &web.Page{Title: rq.T("notices.one", "name", it.Name), Plain: rq.Caller.Role == services.RoleNone}
	pg.Request = rq
	pg.Body = oneBody(pg, it)
	return rq.Render(pg)
}
