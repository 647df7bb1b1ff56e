// Package events is everything that happened, newest first.
package events

import (
	"time"

	"hearth.alt/services"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Pages is the page.
type Pages struct{ House house.Overviewing }

const (
	most = 200
	back = 30 * 24 * time.Hour
)

type day struct {
	name  string
	lines []line
}

type line struct{ at, machine, what string }

// Show is GET /events.
func (p *Pages) Show(rq *web.Request) error {
	list, err := p.House.Events(rq.R.Context(), rq.Now.Add(-back), most)
	if err != nil {
		return err
	}
	var days []day
	for _, e := range list {
		name := rq.Date(e.At)
		if len(days) == 0 || days[len(days)-1].name != name {
			days = append(days, day{name: name})
		}
		d := &days[len(days)-1]
		d.lines = append(d.lines, line{at: rq.Time(e.At), machine: e.At.UTC().Format(time.RFC3339), what: rq.SayHTML(e.What)})
	}
	whose := "house"
	if rq.Caller.Role < services.RoleAdmin {
		whose = "you" // others are told of what they did themselves
	}
	page := &web.Page{Title: rq.T("events.title", "whose", whose), Nav: "/"}
	page.Request = rq
	page.Body = body(page, days, page.Title)
	return rq.Render(page)
}
