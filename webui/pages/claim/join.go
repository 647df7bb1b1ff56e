package claim

import (
	"errors"
	"hearth.alt/services"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Join is GET /claim/join: the box becomes one of a household that is there already.
func (p *Pages) Join(rq *web.Request) error {
	switch to := p.where(rq); to {
	case "/claim/names":
		return p.join(rq, house.JoinForm{}, web.Errors{})
	case "":
		return rq.Redirect("/claim")
	default:
		return rq.Redirect(to)
	}
}

func (p *Pages) join(rq *web.Request, form house.JoinForm, e web.Errors) error {
	pg := page(rq, 2, rq.T("claim.join.title"))
	pg.Steps.Names = joinSteps(rq)
	pg.Errors, pg.Fragment = e, true
	pg.Body = joinBody(pg, form)
	return rq.Render(pg)
}

func joinSteps(rq *web.Request) []string {
	return []string{rq.T("claim.steps.code"), rq.T("claim.steps.join")}
}

// JoinIt is POST /claim/join.
func (p *Pages) JoinIt(rq *web.Request) error {
	form := house.JoinForm{Link: rq.Secret("link").Reveal(), Name: rq.Text("name"), At: rq.Text("at")}
	joined, err := p.House.JoinHousehold(rq.R.Context(), web.ClaimToken(rq.R), form)
	if errors.Is(err, &services.Problem{Code: "claimed"}) {
		return rq.Redirect("/")
	}
	e, err := rq.Form(joinField(err), "link", "name", "at")
	if err != nil {
		if services.AsProblem(err).Kind == services.KindSignIn {
			return rq.Redirect("/claim") // the proof has run out: the code once more
		}
		return err
	}
	if e.Any() {
		return p.join(rq, form, e)
	}
	web.SetClaim(rq.W, rq.R, "")
	pg := page(rq, 2, rq.T("claim.joined.title", "household", joined.Household))
	pg.Steps.Names = joinSteps(rq)
	pg.Body = joinedBody(pg, joined)
	return rq.Render(pg)
}

// joinField puts what is wrong with the invitation, or with the way to the other box, beside what was typed: the form
// stays, and the same invitation may be tried again.
func joinField(err error) error {
	p := services.AsProblem(err)
	if p == nil || p.Kind == services.KindInternal || p.Kind == services.KindSignIn {
		return err
	}
	c := *p
	if c.Field == "" {
		c.Field = "link"
	}
	if c.Kind == services.KindNotFound || c.Kind == services.KindUnavailable {
		c.Kind = services.KindConflict // the other box, not this page
	}
	return &c
}
