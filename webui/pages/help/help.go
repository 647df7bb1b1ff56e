// Package help says, to anyone on the home network, what this box is and what to do when something does not work. It
// holds nothing secret and nothing about the people of the house.
package help

import (
	"hearth.alt/services"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Pages is the page.
type Pages struct{ House house.Framing }

// topics are the questions, in order; each is the key of a question and of its answer.
var topics = []string{"what", "reach", "phone", "password", "internet", "words", "moved"}

// Show is GET /help.
func (p *Pages) Show(rq *web.Request) error {
	pg := &web.Page{Title: rq.T("help.title"), Plain: rq.Caller.Role == services.RoleNone}
	pg.Request = rq
	pg.Body = body(pg, p.House.Doors(rq.R.Context()))
	return rq.Render(pg)
}
