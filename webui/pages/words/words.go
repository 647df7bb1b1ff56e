// Package words puts new recovery words in the place of those that were lost from sight: the former ones, then the new
// ones to write down, then three of them from the paper. Words travel in the bodies of POSTs and answers only.
package words

import (
	"strconv"
	"strings"

	"hearth.alt/services"
	"hearth.alt/services/secret"
	"hearth.alt/webui/components"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Pages are the three steps.
type Pages struct{ House house.Rewording }

func page(rq *web.Request, title string, e web.Errors) *web.Page {
	pg := &web.Page{Title: title, Here: "/boxes", Errors: e}
	pg.Request = rq
	return pg
}

// Ask is GET /words.
func (p *Pages) Ask(rq *web.Request) error { return p.ask(rq, web.Errors{}) }

func (p *Pages) ask(rq *web.Request, e web.Errors) error {
	pg := page(rq, rq.T("newwords.title"), e)
	// The words are kept for correcting, as on the page of a dispute.
	pg.Body = askBody(pg, rq.Secret("words").Reveal())
	return rq.Render(pg)
}

// Lost is GET of the steps behind: a reload begins anew.
func (p *Pages) Lost(rq *web.Request) error { return rq.Redirect("/words") }

// open reads the new words with the former ones of the form. When that does not go, it answers itself.
func (p *Pages) open(rq *web.Request) (n house.NewWords, done bool, err error) {
	n, err = p.House.NewWords(rq.R.Context(), rq.Secret("words"))
	e, err := rq.Form(err, "words")
	if err != nil {
		return n, true, err
	}
	if e.Any() {
		return n, true, p.ask(rq, e)
	}
	return n, false, nil
}

// Show is POST /words: right words show the new ones.
func (p *Pages) Show(rq *web.Request) error {
	n, done, err := p.open(rq)
	if done || err != nil {
		return err
	}
	return p.show(rq, n, web.Errors{})
}

func (p *Pages) show(rq *web.Request, n house.NewWords, e web.Errors) error {
	words := make([]string, len(n.Words))
	for i, w := range n.Words {
		words[i] = w.Reveal()
	}
	pg := page(rq, rq.T("newwords.show"), e)
	pg.Body = showBody(pg, rq.Secret("words").Reveal(), words)
	return rq.Render(pg)
}

// Check is POST /words/check: once they are on paper, some are asked for.
func (p *Pages) Check(rq *web.Request) error {
	n, done, err := p.open(rq)
	if done || err != nil {
		return err
	}
	if !rq.Checked("written") {
		var e web.Errors
		e.Add("written", rq.T("claim.words.unwritten"))
		return p.show(rq, n, e)
	}
	return p.check(rq, n, nil, web.Errors{})
}

func field(n int) string { return "word" + strconv.Itoa(n) }

func (p *Pages) check(rq *web.Request, n house.NewWords, given map[int]string, e web.Errors) error {
	pg := page(rq, rq.T("newwords.check"), e)
	var fields []components.Field
	for _, at := range n.Asked {
		fields = append(fields, components.Field{
			Name: field(at), Label: rq.T("claim.check.word", "n", at), Value: given[at], Capitals: "none", Max: 20,
		})
	}
	pg.Body = checkBody(pg, rq.Secret("words").Reveal(), fields)
	return rq.Render(pg)
}

// Replace is POST /words/replace.
func (p *Pages) Replace(rq *web.Request) error {
	n, done, err := p.open(rq)
	if done || err != nil {
		return err
	}
	answers, given, fields := map[int]secret.Text{}, map[int]string{}, []string{"words"}
	for _, at := range n.Asked {
		w := strings.ToLower(rq.Text(field(at)))
		answers[at], given[at] = secret.NewText(w), w
		fields = append(fields, field(at))
	}
	e, err := rq.Form(p.House.ReplaceWords(rq.R.Context(), rq.Secret("words"), answers), fields...)
	switch {
	case err != nil:
		return err
	case e.Of("words") != "":
		return p.ask(rq, e)
	case e.Any():
		return p.check(rq, n, given, e)
	}
	return rq.Done("/boxes", services.Say("webui.newwords.done", "The new words count from now on, on every box. Destroy the former paper. If you keep the household in a file, export it anew: the former file goes with the former words only."))
}
