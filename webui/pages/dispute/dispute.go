// Package dispute is the way out of a dispute about who belongs: the recovery words, then who stays; or several boxes that
// agree, where an owner or admin says so on each. Without a session nothing
// is said of whom it is about before the words are right. They travel in the body of a POST only.
package dispute

import (
	"strings"

	"hearth.alt/services"
	"hearth.alt/services/secret"
	"hearth.alt/webui/components"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Pages are the two steps with the words, and the one without.
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
	if !rq.Frame.Frozen && !rq.Frame.Removed {
		return p.none(rq, "dispute.none")
	}
	var agreed house.Agreement
	if rq.Caller.Role >= services.RoleAdmin && rq.Frame.Frozen {
		var err error
		if agreed, err = p.House.Agreement(rq.R.Context()); err != nil {
			return err
		}
	}
	about := "dispute"
	if rq.Frame.Removed {
		about = "dispute.removed"
	}
	pg := page(rq, rq.T(about+".title"))
	pg.Errors = e
	pg.Body = wordsBody(pg, about, words.Reveal(), agreed.Needed)
	return rq.Render(pg)
}

// none says that there is nothing to settle.
func (p *Pages) none(rq *web.Request, say string) error {
	pg := page(rq, rq.T(say))
	pg.Body = noneBody(pg, say)
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
	if !rq.Frame.Frozen && !rq.Frame.Removed {
		return d, true, rq.Redirect("/dispute")
	}
	d, err = p.House.Dispute(rq.R.Context(), rq.Secret("words"))
	e, err := rq.Form(err, "words")
	switch {
	case err != nil:
		return d, true, err
	case e.Any():
		// The words are kept for correcting: whoever typed them has them, and they travelled no other way than they
		// will again.
		return d, true, p.words(rq, rq.Secret("words"), e)
	case len(d.Who)+len(d.Clones) == 0 && rq.Frame.Removed:
		return d, true, p.none(rq, "dispute.removed.none")
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
	list := questions(rq, d.Who, answers)
	pg.Body = chooseBody(pg, d, list, rq.Secret("words").Reveal())
	return rq.Render(pg)
}

type question struct {
	field, legend string
	choices       []components.Choice
}

// questions are one about each of who.
func questions(rq *web.Request, who []house.Disputed, answers map[string]string) (list []question) {
	for _, w := range who {
		q := question{field: field(w), legend: rq.T("dispute.who", "kind", w.Kind, "name", w.Name, "by", names(w.By))}
		for _, answer := range []string{stays, goes} {
			q.choices = append(q.choices, components.Choice{
				Value: answer, Checked: answers[q.field] == answer,
				Label: rq.T("dispute." + answer), Hint: rq.T("dispute."+answer+".hint", "kind", w.Kind),
			})
		}
		list = append(list, q)
	}
	return list
}

// choice is the answers to the questions; what is not answered is an error.
type choice struct {
	web.Errors
	answers        map[string]string
	stay, gone     []string // IDs of who stays, fields of who goes
	staying, going []string // their names
}

// read reads the answers about who.
func read(rq *web.Request, who []house.Disputed) choice {
	c := choice{answers: map[string]string{}}
	for _, w := range who {
		f := field(w)
		switch c.answers[f] = rq.Text(f); c.answers[f] {
		case stays:
			c.stay, c.staying = append(c.stay, w.ID), append(c.staying, w.Name)
		case goes:
			c.going, c.gone = append(c.going, w.Name), append(c.gone, f)
		default:
			c.Add(f, rq.T("dispute.unanswered", "name", w.Name))
		}
	}
	return c
}

// settled says what was settled; copies are the boxes that went because of a copied card.
func (c choice) settled(copies []string) services.Sentence {
	return services.Say("webui.dispute.settled",
		"The dispute is settled, and people, devices and boxes can be changed again.{stay, plural, =0 {} other { Still belonging: {staying}.}}{go, plural, =0 {} other { Removed: {going}.}}{copies, plural, =0 {} other { Removed because of a copied card: {copied}.}}",
		"stay", len(c.staying), "staying", names(c.staying), "go", len(c.going), "going", names(c.going), "copies", len(copies), "copied", names(copies))
}

// Lost is GET /dispute/settle: a reload after the answer to a POST begins anew.
func (p *Pages) Lost(rq *web.Request) error { return rq.Redirect("/dispute") }

// Settle is POST /dispute/settle.
func (p *Pages) Settle(rq *web.Request) error {
	d, done, err := p.open(rq)
	if done || err != nil {
		return err
	}
	c := read(rq, d.Who)
	if c.Any() {
		return p.choose(rq, d, c.answers, c.Errors)
	}
	restart, err := p.House.Settle(rq.R.Context(), rq.Secret("words"), c.stay)
	e, err := rq.Form(err, "words")
	if err != nil {
		return err
	}
	if e.Of("words") != "" {
		return p.words(rq, rq.Secret("words"), e)
	}
	if e.Any() {
		for i := range e.List { // it is about who is removed
			if e.List[i].Field == "" && len(d.Who) > 0 {
				e.List[i].Field = append(c.gone, field(d.Who[0]))[0]
			}
		}
		return p.choose(rq, d, c.answers, e)
	}
	var clones []string
	for _, box := range d.Clones {
		if !box.Here {
			clones = append(clones, box.Name)
		}
	}
	said := c.settled(clones)
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
