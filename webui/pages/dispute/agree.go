package dispute

import (
	"slices"

	"hearth.alt/services"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Agree is GET /dispute/agree: what boxes said so far, and the choice.
func (p *Pages) Agree(rq *web.Request) error {
	a, err := p.House.Agreement(rq.R.Context())
	if err != nil {
		return err
	}
	if a.Needed == 0 {
		return rq.Redirect("/dispute")
	}
	answers := map[string]string{}
	for _, s := range a.Said {
		if !s.This {
			continue
		}
		for _, who := range a.Who { // what was said here stands until something else is
			answers[field(who)] = goes
			if slices.Contains(s.Stay, who.ID) {
				answers[field(who)] = stays
			}
		}
	}
	return p.agree(rq, a, answers, web.Errors{})
}

func (p *Pages) agree(rq *web.Request, a house.Agreement, answers map[string]string, e web.Errors) error {
	pg := page(rq, rq.T("dispute.agree"))
	pg.Errors = e
	pg.Body = agreeBody(pg, a, questions(rq, a.Who, answers))
	return rq.Render(pg)
}

// Say is POST /dispute/agree.
func (p *Pages) Say(rq *web.Request) error {
	a, err := p.House.Agreement(rq.R.Context())
	if err != nil {
		return err
	}
	if a.Needed == 0 {
		return rq.Redirect("/dispute")
	}
	c := read(rq, a.Who)
	if c.Any() {
		return p.agree(rq, a, c.answers, c.Errors)
	}
	after, err := p.House.Agree(rq.R.Context(), c.stay)
	e, err := rq.Form(err)
	if err != nil {
		return err
	}
	if e.Any() {
		for i := range e.List { // it is about who is removed
			if e.List[i].Field == "" && len(a.Who) > 0 {
				e.List[i].Field = append(c.gone, field(a.Who[0]))[0]
			}
		}
		return p.agree(rq, a, c.answers, e)
	}
	if after.Needed == 0 {
		return rq.Done("/", c.settled(nil))
	}
	return rq.Done("/dispute/agree", services.Say("webui.dispute.said", "That is said on this box. It is settled once {n, words} boxes say the same.", "n", after.Needed))
}

// said is what one box says, in a sentence.
func said(pg *web.Page, a house.Agreement, s house.Said) string {
	var staying, going []string
	for _, who := range a.Who {
		if slices.Contains(s.Stay, who.ID) {
			staying = append(staying, who.Name)
		} else {
			going = append(going, who.Name)
		}
	}
	return pg.HTML("dispute.said", "person", s.Person, "box", s.Box, "stay", len(staying), "staying", names(staying), "go", len(going), "going", names(going))
}
