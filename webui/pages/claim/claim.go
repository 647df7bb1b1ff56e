// Package claim is how a box becomes somebody's: the code, the names, the recovery words, a short check. Where the
// claim stands is kept on the box, so that a reload or another browser goes on from there.
package claim

import (
	"errors"
	"strconv"
	"strings"

	"hearth.alt/services"
	"hearth.alt/services/secret"
	"hearth.alt/webui/components"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
	"hearth.alt/webui/messages"
)

// House is what these pages ask.
type House interface {
	house.Framing
	house.Claiming
	house.Joining
}

// Pages are the four steps.
type Pages struct{ House House }

func page(rq *web.Request, step int, title string) *web.Page {
	p := &web.Page{
		Title: rq.T("claim.step", "step", step, "title", title), Plain: true,
		Steps: &web.Steps{At: step, Names: []string{rq.T("claim.steps.code"), rq.T("claim.steps.names"), rq.T("claim.steps.words"), rq.T("claim.steps.check")}},
	}
	p.Request = rq
	return p
}

// where leads to the step the claim is at; "" is the first one.
func (p *Pages) where(rq *web.Request) string {
	switch {
	case rq.Frame.Claimed && rq.Frame.WordsPending && rq.Caller.Role == services.RoleNone:
		return "/signin?to=/claim/words"
	case rq.Frame.Claimed && rq.Frame.WordsPending:
		return "/claim/words"
	case rq.Frame.Claimed:
		return "/"
	case p.House.Proved(rq.R.Context(), web.ClaimToken(rq.R)):
		return "/claim/names"
	}
	return ""
}

// Start is GET /claim.
func (p *Pages) Start(rq *web.Request) error {
	if to := p.where(rq); to != "" {
		return rq.Redirect(to)
	}
	return p.code(rq, "", web.Errors{})
}

func (p *Pages) code(rq *web.Request, code string, e web.Errors) error {
	pg := page(rq, 1, rq.T("claim.code.title"))
	pg.Errors, pg.Fragment = e, true
	pg.Body = codeBody(pg, p.House.Doors(rq.R.Context()), code)
	return rq.Render(pg)
}

// Prove is POST /claim.
func (p *Pages) Prove(rq *web.Request) error {
	token, err := p.House.ProveCode(rq.R.Context(), rq.Secret("code"))
	if errors.Is(err, &services.Problem{Code: "claimed"}) {
		return rq.Redirect("/")
	}
	e, err := rq.Form(err, "code")
	if err != nil {
		return err
	}
	if e.Any() {
		// The code is kept for correcting: whoever typed it has it, and it travelled no other way than it will again.
		return p.code(rq, rq.Text("code"), e)
	}
	web.SetClaim(rq.W, rq.R, token)
	return rq.Redirect("/claim/names")
}

// Names is GET /claim/names.
func (p *Pages) Names(rq *web.Request) error {
	switch to := p.where(rq); to {
	case "/claim/names":
		return p.names(rq, house.ClaimForm{Box: "hearth", Language: rq.Language.Tag}, web.Errors{})
	case "":
		return rq.Redirect("/claim")
	default:
		return rq.Redirect(to)
	}
}

func (p *Pages) names(rq *web.Request, form house.ClaimForm, e web.Errors) error {
	pg := page(rq, 2, rq.T("claim.names.title"))
	pg.Errors = e
	pg.Body = namesBody(pg, form)
	return rq.Render(pg)
}

// Claim is POST /claim/names.
func (p *Pages) Claim(rq *web.Request) error {
	form := house.ClaimForm{
		Household: rq.Text("household"), Box: rq.Text("box"), Owner: rq.Text("owner"), Password: rq.Secret("password"),
		Language: rq.Language.Tag, Zone: rq.Text("zone"),
	}
	if l := messages.Lookup(rq.Text("language")); l != nil {
		form.Language = l.Tag
	}
	session, err := p.House.Claim(rq.R.Context(), web.ClaimToken(rq.R), form)
	if errors.Is(err, &services.Problem{Code: "claimed"}) {
		return rq.Redirect("/")
	}
	e, err := rq.Form(err, "household", "box", "owner", "password")
	if err != nil {
		if services.AsProblem(err).Kind == services.KindSignIn {
			return rq.Redirect("/claim") // the proof has run out: the code once more
		}
		return err
	}
	if e.Any() {
		return p.names(rq, form, e)
	}
	web.SetClaim(rq.W, rq.R, "")
	web.SetLanguage(rq.W, rq.R, form.Language)
	web.SetSession(rq.W, rq.R, session)
	return rq.Redirect("/claim/words")
}

// Words is GET /claim/words.
func (p *Pages) Words(rq *web.Request) error {
	return p.words(rq, web.Errors{})
}

func (p *Pages) words(rq *web.Request, e web.Errors) error {
	list, err := p.House.Words(rq.R.Context())
	if errors.Is(err, &services.Problem{Code: "words-confirmed"}) {
		return rq.Redirect("/")
	}
	if err != nil {
		return err
	}
	words := make([]string, len(list))
	for i, w := range list {
		words[i] = w.Reveal()
	}
	pg := page(rq, 3, rq.T("claim.words.title"))
	pg.Errors = e
	pg.Body = wordsBody(pg, words)
	return rq.Render(pg)
}

// Written is POST /claim/words.
func (p *Pages) Written(rq *web.Request) error {
	if !rq.Checked("written") {
		var e web.Errors
		e.Add("written", rq.T("claim.words.unwritten"))
		return p.words(rq, e)
	}
	return rq.Redirect("/claim/check")
}

// Check is GET /claim/check.
func (p *Pages) Check(rq *web.Request) error {
	return p.check(rq, nil, web.Errors{})
}

func wordField(n int) string { return "word" + strconv.Itoa(n) }

func (p *Pages) check(rq *web.Request, given map[int]string, e web.Errors) error {
	positions, err := p.House.AskedWords(rq.R.Context())
	if errors.Is(err, &services.Problem{Code: "words-confirmed"}) {
		return rq.Redirect("/")
	}
	if err != nil {
		return err
	}
	pg := page(rq, 4, rq.T("claim.check.title"))
	pg.Errors = e
	var fields []components.Field
	for _, n := range positions {
		fields = append(fields, components.Field{
			Name: wordField(n), Label: rq.T("claim.check.word", "n", n), Value: given[n], Capitals: "none", Max: 20,
		})
	}
	pg.Body = checkBody(pg, fields)
	return rq.Render(pg)
}

// Confirm is POST /claim/check.
func (p *Pages) Confirm(rq *web.Request) error {
	ctx := rq.R.Context()
	positions, err := p.House.AskedWords(ctx)
	if errors.Is(err, &services.Problem{Code: "words-confirmed"}) {
		return rq.Redirect("/")
	}
	if err != nil {
		return err
	}
	answers, given, fields := map[int]secret.Text{}, map[int]string{}, []string{}
	for _, n := range positions {
		w := strings.ToLower(rq.Text(wordField(n)))
		answers[n], given[n] = secret.NewText(w), w
		fields = append(fields, wordField(n))
	}
	e, err := rq.Form(p.House.ConfirmWords(ctx, answers), fields...)
	if errors.Is(err, &services.Problem{Code: "words-confirmed"}) {
		return rq.Redirect("/")
	}
	if err != nil {
		return err
	}
	if e.Any() {
		return p.check(rq, given, e)
	}
	to := "/"
	if rq.Frame.Devices == 0 {
		to = "/devices/add"
	}
	return rq.Done(to, services.Say("webui.claimed", "The house is yours. The words are checked, and the box has forgotten them."))
}

// Restore is GET /claim/restore.
func (p *Pages) Restore(rq *web.Request) error {
	pg := page(rq, 1, rq.T("claim.restore.title"))
	pg.Body = restoreBody(pg)
	return rq.Render(pg)
}
