// Package dispute is the way out of a dispute about who belongs: the recovery words, then who stays. Nothing is said of
// whom it is about before the words are right. They travel in the body of a POST only.
package dispute

import (
	"strings"

	"hearth.alt/services"
	"hearth.alt/services/secret"
	"hearth.alt/webui/components"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Pages are the two steps.
type Pages struct{ House house.Settling }

// reloads has browsers ask for the first page after so many seconds, once: a box that starts again needs less.
const reloads = "15; url=/"

func page(rq *web.Request, title string) *web.Page {
	pg := &web.Page{Title: title, Plain: rq.Caller.Role == services.RoleNone, Here: "/dispute"}
	pg.Request = rq
	return pg
}

// Show is GET /dispute.
func (p *Pages) Show(rq *web.Request) error { return p.words(rq, secret.Text{}, web.Errors{}) }

func (p *Pages) words(rq *web.Request, words secret.Text, e web.Errors) error {
	if !rq.Frame.Frozen {
		pg := page(rq, rq.T("dispute.none"))
		pg.Body = noneBody(pg)
		return rq.Render(pg)
	}
	pg := page(rq, rq.T("dispute.title"))
	pg.Errors = e
	pg.Body = wordsBody(pg, words.Reveal())
	return rq.Render(pg)
}

// Words is POST /dispute: right words lead to the choice.
func (p *Pages) Words(rq *web.Request) error {
	d, done, err := p.open(rq)
	if done || err != nil {
		return err
	}
	return p.choose(rq, d, nil, web.Errors{})
}

// open reads the dispute with the words of the form. When they do not, it answers itself.
func (p *Pages) open(rq *web.Request) (d house.Dispute, done bool, err error) {
	if !rq.Frame.Frozen {
		return d, true, rq.Redirect("/dispute")
	}
	d, err = p.House.Dispute(rq.R.Context(), rq.Secret("words"))
	e, err := rq.Form(err, "words")
	switch {
	case err != nil:
		return d, true, err
	case e.Any():
		// The words are kept for correcting: whoever typed them has them, and they travelled no other way than they will again.
		return d, true, p.words(rq, rq.Secret("words"), e)
	case len(d.Who)+len(d.Clones) == 0: // it was settled a moment ago
		return d, true, rq.Redirect("/dispute")
	}
	return d, false, nil
}

// field is the input about one of the disputed.
func field(who house.Disputed) string { return "who-" + who.ID }

// The answers about one of the disputed.
const (
	stays = "stays"
	goes  = "goes"
)

func (p *Pages) choose(rq *web.Request, d house.Dispute, answers map[string]string, e web.Errors) error {
	pg := page(rq, rq.T("dispute.choose", "n", len(d.Who)))
	pg.Errors = e
	var list []question
	for _, who := range d.Who {
		q := question{field: field(who), legend: rq.T("dispute.who", "kind", who.Kind, "name", who.Name, "by", names(who.By))}
		for _, answer := range []string{stays, goes} {
			q.choices = append(q.choices, components.Choice{
				Value: answer, Checked: answers[q.field] == answer,
				Label: rq.T("dispute." + answer), Hint: rq.T("dispute."+answer+".hint", "kind", who.Kind),
			})
		}
		list = append(list, q)
	}
	pg.Body = chooseBody(pg, d, list, rq.Secret("words").Reveal())
	return rq.Render(pg)
}

type question struct {
	field, legend string
	choices       []components.Choice
}

// Lost is GET /dispute/settle: a reload after the answer to a POST begins anew.
func (p *Pages) Lost(rq *web.Request) error { return rq.Redirect("/dispute") }

// Settle is POST /dispute/settle.
func (p *Pages) Settle(rq *web.Request) error {
	d, done, err := p.open(rq)
	if done || err != nil {
		return err
	}
	var e web.Errors
	answers := map[string]string{}
	var stay, staying, going, gone []string
	for _, who := range d.Who {
		f := field(who)
		switch answers[f] = rq.Text(f); answers[f] {
		case stays:
			stay, staying = append(stay, who.ID), append(staying, who.Name)
		case goes:
			going, gone = append(going, who.Name), append(gone, f)
		default:
			e.Add(f, rq.T("dispute.unanswered", "name", who.Name))
		}
	}
	if e.Any() {
		return p.choose(rq, d, answers, e)
	}
	restart, err := p.House.Settle(rq.R.Context(), rq.Secret("words"), stay)
	if e, err = rq.Form(err, "words"); err != nil {
		return err
	}
	if e.Of("words") != "" {
		return p.words(rq, rq.Secret("words"), e)
	}
	if e.Any() {
		for i := range e.List { // it is about who is removed
			if e.List[i].Field == "" && len(d.Who) > 0 {
				e.List[i].Field = append(gone, field(d.Who[0]))[0]
			}
		}
		return p.choose(rq, d, answers, e)
	}
	var clones []string
	for _, c := range d.Clones {
		if !c.Here {
			clones = append(clones, c.Name)
		}
	}
	said := services.Say("webui.dispute.settled",
		"The dispute is settled, and people, devices and boxes can be changed again.{stay, plural, =0 {} other { Still belonging: {staying}.}}{go, plural, =0 {} other { Removed: {going}.}}{copies, plural, =0 {} other { Removed because of a copied card: {copied}.}}",
		"stay", len(staying), "staying", names(staying), "go", len(going), "going", names(going), "copies", len(clones), "copied", names(clones))
	if restart {
		pg := page(rq, rq.T("dispute.restart"))
		pg.Plain = true // there is nowhere to go for a moment
		pg.Body = restartBody(pg, rq.SayHTML(said))
		rq.W.Header().Set("Refresh", reloads)
		return rq.Render(pg)
	}
	if rq.Caller.Role == services.RoleNone {
		return rq.Done("/signin", said)
	}
	return rq.Done("/", said)
}

func names(list []string) string { return strings.Join(list, ", ") }
