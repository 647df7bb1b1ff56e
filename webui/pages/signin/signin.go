// Package signin asks who it is, and for the password once more before something dangerous. It says nothing about the
// house.
package signin

import (
	"errors"

	"hearth.alt/services"
	"hearth.alt/webui/components"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Pages are signing in, the password once more, and signing out.
type Pages struct{ House house.Signing }

// Show is GET /signin.
func (p *Pages) Show(rq *web.Request) error {
	if rq.Caller.Role != services.RoleNone {
		return rq.Redirect(rq.Back("/"))
	}
	return p.show(rq, "", web.Errors{})
}

func (p *Pages) show(rq *web.Request, name string, e web.Errors) error {
	pg := &web.Page{Title: rq.T("signin.title"), Plain: true, Errors: e}
	pg.Request = rq
	pg.Body = signInBody(pg, name, rq.Back(""))
	return rq.Render(pg)
}

// SignIn is POST /signin.
func (p *Pages) SignIn(rq *web.Request) error {
	name := rq.Text("name")
	session, err := p.House.SignIn(rq.R.Context(), name, rq.Secret("password"))
	e, err := rq.Form(err, "name", "password")
	if err != nil {
		return err
	}
	if e.Any() {
		return p.show(rq, name, e)
	}
	web.SetSession(rq.W, rq.R, session)
	return rq.Redirect(rq.Back("/"))
}

// Again is GET /again.
func (p *Pages) Again(rq *web.Request) error { return p.again(rq, web.Errors{}) }

func (p *Pages) again(rq *web.Request, e web.Errors) error {
	pg := &web.Page{Title: rq.T("again.title"), Errors: e}
	pg.Request = rq
	pg.Body = againBody(pg, rq.Back(""))
	return rq.Render(pg)
}

// Prove is POST /again.
func (p *Pages) Prove(rq *web.Request) error {
	e, err := rq.Form(p.House.Refresh(rq.R.Context(), rq.Secret("password")), "password")
	if err != nil {
		return err
	}
	if e.Any() {
		return p.again(rq, e)
	}
	return rq.Redirect(rq.Back("/"))
}

// SignOut is POST /signout.
func (p *Pages) SignOut(rq *web.Request) error {
	err := p.House.SignOut(rq.R.Context())
	if err == nil || errors.Is(err, house.ErrEndedNotKept) {
		web.ClearSession(rq.W, rq.R)
	}
	if err != nil {
		return rq.NotKept("/signin", err)
	}
	return rq.Done("/signin", services.Say("webui.signedout", "You are signed out here."))
}

func password(pg *web.Page) components.Field {
	return components.Field{Name: "password", Label: pg.T("form.password"), Type: "password", Auto: "current-password"}
}
