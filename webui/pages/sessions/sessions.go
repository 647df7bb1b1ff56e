// Package sessions is one's own account: where one is signed in, ending that, and a new password.
package sessions

import (
	"hearth.alt/services"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// House is what these pages ask.
type House interface {
	house.Sessions
	house.Signing
}

// Pages are the list and the password.
type Pages struct{ House House }

type row struct {
	id, name, full, where, seen, started string
	this                                 bool
}

// Show is GET /sessions.
func (p *Pages) Show(rq *web.Request) error { return p.show(rq, web.Errors{}) }

func (p *Pages) show(rq *web.Request, e web.Errors) error {
	list, err := p.House.Sessions(rq.R.Context())
	if err != nil {
		return err
	}
	var rows []row
	for _, s := range list {
		name := s.Agent
		if name == "" {
			name = rq.T("sessions.unknown")
		}
		rows = append(rows, row{
			id: s.ID, name: name, full: s.Full, where: rq.Say(s.Where), seen: rq.Ago(s.Seen), started: rq.Day(s.Started), this: s.This,
		})
	}
	pg := &web.Page{Title: rq.T("sessions.title", "n", len(list)), Nav: "/sessions", Errors: e}
	pg.Request = rq
	pg.Body = body(pg, rows)
	return rq.Render(pg)
}

// End is POST /sessions: one of them, or all others.
func (p *Pages) End(rq *web.Request) error {
	ctx := rq.R.Context()
	if id := rq.Text("session"); id != "" {
		if err := p.House.EndSession(ctx, id); err != nil {
			return rq.NotKept("/sessions", err)
		}
		return rq.Done("/sessions", services.Say("webui.session.ended", "That place is signed out."))
	}
	if err := p.House.EndOtherSessions(ctx); err != nil {
		return rq.NotKept("/sessions", err)
	}
	return rq.Done("/sessions", services.Say("webui.session.others", "Every other place is signed out."))
}

// Reload is GET /password: the form stands on the page of sessions.
func (p *Pages) Reload(rq *web.Request) error { return rq.Redirect("/sessions#password-form") }

// Password is POST /password.
func (p *Pages) Password(rq *web.Request) error {
	e, err := rq.Form(p.House.ChangePassword(rq.R.Context(), rq.Secret("password"), rq.Secret("new")), "password", "new")
	if err != nil {
		return err
	}
	if e.Any() {
		return p.show(rq, e)
	}
	return rq.Done("/sessions", services.Say("webui.password.changed", "Your password is changed. Every other place is signed out."))
}
