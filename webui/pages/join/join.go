// Package join lets an invited person in: the code is typed, or comes in the fragment of the link, and travels only in
// the body of a POST; then a name and a password. Whoever forgot their password comes in the same way, with a link of
// somebody else's making or, an owner, with the recovery words.
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
	return p.accept(rq, rq.Secret("code"), welcome, welcome.Name, false, web.Errors{})
}

func (p *Pages) accept(rq *web.Request, code secret.Text, w house.Welcome, name string, apps bool, e web.Errors) error {
	pg := &web.Page{Title: rq.T("join.welcome", "name", w.Name), Plain: true, Errors: e, Here: "/join"}
	if w.Back {
		pg.Title = rq.T("join.back", "name", w.Name)
	}
	pg.Request = rq
	pg.Body = acceptBody(pg, code.Reveal(), w, name, apps)
	return rq.Render(pg)
}

// Lost is GET /join/accept: a reload after the answer to a POST begins anew.
func (p *Pages) Lost(rq *web.Request) error { return rq.Redirect("/join") }

// Accept is POST /join/accept.
func (p *Pages) Accept(rq *web.Request) error {
	ctx, code, name, apps := rq.R.Context(), rq.Secret("code"), rq.Text("name"), rq.Checked("apps")
	w, _ := p.House.ReadInvitation(ctx, code) // what is wrong with it AcceptInvitation says
	session, err := p.House.AcceptInvitation(ctx, code, name, rq.Secret("password"), apps)
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
		return p.accept(rq, code, w, name, apps, e)
	}
	if session == "" {
		return rq.Done("/signin", services.Say("webui.back.later", "Your new password counts. After the many tries before, signing in takes a few minutes' patience."))
	}
	web.SetSession(rq.W, rq.R, session)
	if w.Back {
		return rq.Done("/", services.Say("webui.back", "Welcome back. Your new password counts from now on."))
	}
	return rq.Done("/", services.Say("webui.joined", "Welcome, {name}. You belong to the house now.", "name", name))
}

// Forgotten is GET /forgotten.
func (p *Pages) Forgotten(rq *web.Request) error { return p.words(rq, "", "", web.Errors{}) }

func (p *Pages) words(rq *web.Request, name, words string, e web.Errors) error {
	pg := &web.Page{Title: rq.T("forgotten.title"), Plain: true, Errors: e}
	pg.Request = rq
	pg.Body = wordsBody(pg, name, words)
	return rq.Render(pg)
}

// Words is POST /forgotten: right words lead to the choice of a password.
func (p *Pages) Words(rq *web.Request) error {
	ctx, name := rq.R.Context(), rq.Text("name")
	code, err := p.House.WayInByWords(ctx, name, rq.Secret("words"))
	e, err := rq.Form(err, "name", "words")
	if err != nil {
		return err
	}
	if e.Any() {
		// The words are kept for correcting: whoever typed them has them, and they travelled no other way than they will again.
		return p.words(rq, name, rq.Secret("words").Reveal(), e)
	}
	w, err := p.House.ReadInvitation(ctx, code)
	if err != nil {
		return err
	}
	return p.accept(rq, code, w, w.Name, false, web.Errors{})
}
