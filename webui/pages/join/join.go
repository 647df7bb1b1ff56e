// Package join lets an invited person in: the code is typed, or comes in the fragment of the link, and travels only in
// the body of a POST; then a name and a password.
package join

import (
	"hearth.alt/services"
	"hearth.alt/services/secret"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Pages are the two steps.
type Pages struct{ House house.People }

// Show is GET /join.
func (p *Pages) Show(rq *web.Request) error { return p.code(rq, "", web.Errors{}) }

func (p *Pages) code(rq *web.Request, code string, e web.Errors) error {
	pg := &web.Page{Title: rq.T("join.title"), Plain: true, Fragment: true, Errors: e}
	pg.Request = rq
	pg.Body = codeBody(pg, code)
	return rq.Render(pg)
}

// Read is POST /join.
func (p *Pages) Read(rq *web.Request) error {
	welcome, err := p.House.ReadInvitation(rq.R.Context(), rq.Secret("code"))
	e, err := rq.Form(err, "code")
	if err != nil {
		return err
	}
	if e.Any() {
		return p.code(rq, rq.Text("code"), e)
	}
	return p.accept(rq, rq.Secret("code"), welcome, welcome.Name, web.Errors{})
}

func (p *Pages) accept(rq *web.Request, code secret.Text, w house.Welcome, name string, e web.Errors) error {
	pg := &web.Page{Title: rq.T("join.welcome", "name", w.Name), Plain: true, Errors: e}
	pg.Request = rq
	pg.Body = acceptBody(pg, code.Reveal(), w, name)
	return rq.Render(pg)
}

// Lost is GET /join/accept: a reload after the answer to a POST begins anew.
func (p *Pages) Lost(rq *web.Request) error { return rq.Redirect("/join") }

// Accept is POST /join/accept.
func (p *Pages) Accept(rq *web.Request) error {
	ctx, code, name := rq.R.Context(), rq.Secret("code"), rq.Text("name")
	session, err := p.House.AcceptInvitation(ctx, code, name, rq.Secret("password"))
	e, err := rq.Form(err, "code", "name", "password")
	if err != nil {
		return err
	}
	if e.Of("code") != "" {
		return p.code(rq, rq.Text("code"), e)
	}
	if e.Any() {
		w, err := p.House.ReadInvitation(ctx, code)
		if err != nil {
			return err
		}
		return p.accept(rq, code, w, name, e)
	}
	web.SetSession(rq.W, rq.R, session)
	return rq.Done("/", services.Say("webui.joined", "Welcome, {name}. You belong to the house now.", "name", name))
}
