// Package people lists who lives here.
package people

import (
	"hearth.alt/services"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Pages is the page.
type Pages struct{ House house.People }

type row struct {
	name, note, role, seen, path, do string
	devices                          string
	invited                          bool
}

// leaver is somebody who was removed and whose things are here still.
type leaver struct{ name, say, path string }

type view struct {
	rows      []row
	left      []leaver
	mayInvite bool
}

// Show is GET /people.
func (p *Pages) Show(rq *web.Request) error {
	list, err := p.House.People(rq.R.Context())
	if err != nil {
		return err
	}
	v := view{mayInvite: rq.Caller.Role >= services.RoleMember}
	active := 0
	for _, who := range list {
		r := row{
			name: who.Name, role: rq.T("role." + who.Role.String()), devices: rq.T("people.devices", "n", who.Devices),
			seen: rq.Ago(who.Seen), path: "/people/" + string(who.ID), do: rq.T("form.manage"),
		}
		switch {
		case who.State == services.StatePending:
			r.invited, r.note, r.seen = true, rq.T("people.invited", "until", who.Expires), rq.T("format.never")
			r.path += "/invitation"
			r.do = rq.T("people.link")
		case who.State == services.StateQuarantined:
			r.note = rq.T("boxes.suspended")
			active++
		case !who.WayIn.IsZero():
			r.note = rq.T("people.wayin", "until", who.WayIn)
			active++
		case who.You:
			r.note = rq.T("people.you")
			active++
		default:
			active++
		}
		if !who.MayChange {
			r.do = "" // their page has nothing to do on it
		}
		v.rows = append(v.rows, r)
	}
	if rq.Caller.Role >= services.RoleOwner {
		left, err := p.House.Left(rq.R.Context())
		if err != nil {
			return err
		}
		for _, l := range left {
			v.left = append(v.left, leaver{l.Name, says(rq, l), "/left/" + string(l.Person)})
		}
	}
	pg := &web.Page{Title: rq.T("people.sentence", "n", active), Nav: "/people"}
	pg.Request = rq
	pg.Body = body(pg, v, active)
	return rq.Render(pg)
}

// says is what becomes of what somebody kept.
func says(rq *web.Request, l house.Left) string {
	switch {
	case l.Then == services.ThenExport:
		return rq.T("people.left.export")
	case l.Then == services.ThenNow:
		return rq.T("people.left.now")
	case l.Until.IsZero():
		return rq.T("people.left.waits")
	}
	return rq.T("people.left.until", "until", l.Until)
}
