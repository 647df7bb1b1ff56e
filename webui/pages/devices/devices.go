// Package devices lists which phones and laptops belong to the house.
package devices

import (
	"time"

	"hearth.alt/services"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Pages is the page.
type Pages struct{ House house.Devices }

// silent is after how long without a handshake a device is not connected: WireGuard makes one every two minutes in use.
const silent = 3 * time.Minute

type row struct {
	icon, name, note  string
	person, seen, way string
	path, waiting     string
	here              bool
}

type view struct {
	rows     []row
	sentence string // HTML
	heading  string
	mayAdd   bool
	reach    string // "home", "unknown" or "away"
}

// Show is GET /devices.
func (p *Pages) Show(rq *web.Request) error {
	list, err := p.House.Devices(rq.R.Context())
	if err != nil {
		return err
	}
	v := view{mayAdd: rq.Caller.Role >= services.RoleMember, reach: "away"}
	if len(list) == 0 && v.mayAdd {
		switch p.House.Reach(rq.R.Context()).Kind {
		case house.ReachHome:
			v.reach = "home"
		case house.ReachUnknown:
			v.reach = "unknown"
		}
	}
	seen := 0
	for _, d := range list {
		r := row{icon: "smartphone", name: d.Name, person: d.PersonName, path: "/devices/" + string(d.ID), here: d.Here}
		if d.OwnKey {
			r.icon = "laptop"
		}
		switch {
		case d.State == services.StateQuarantined:
			r.note, r.seen = rq.T("boxes.suspended"), rq.Ago(d.Handshake)
		case d.Paired:
			r.note, r.seen = rq.T("devices.paired", "at", d.Added), rq.Ago(d.Handshake)
			if rq.Now.Sub(d.Handshake).Hours() < 24 {
				seen++
			}
		default:
			r.note, r.seen = rq.T("devices.pending", "until", d.Expires), rq.T("format.never")
			r.path += "/pair"
			r.waiting = rq.T("state.wait")
		}
		r.way = rq.Say(d.Way)
		if r.way == "" {
			r.way = rq.T("devices.way.unknown")
			if !d.Handshake.IsZero() && rq.Now.Sub(d.Handshake) >= silent {
				r.way = rq.T("devices.way.away")
			}
		}
		v.rows = append(v.rows, r)
	}
	// Only who looks after the house sees all of it; to others the page speaks of what it shows them, not of the house.
	whose := "house"
	if rq.Caller.Role < services.RoleAdmin {
		whose = "you"
		for _, d := range list {
			if d.Person != rq.Caller.Person {
				whose = "guests" // a member looks after the guests' devices too
			}
		}
	}
	v.sentence = rq.HTML("devices.sentence", "all", len(list), "seen", seen, "whose", whose)
	v.heading = rq.T("devices.all", "whose", whose)
	pg := &web.Page{Title: rq.T("devices.sentence", "all", len(list), "seen", seen, "whose", whose), Nav: "/devices"}
	pg.Request = rq
	pg.Body = body(pg, v)
	return rq.Render(pg)
}
