// Package log is the household's log in words: who wrote what down when, and whether it counts.
package log

import (
	"errors"
	"strconv"
	"time"

	"hearth.alt/services"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
	"hearth.alt/webui/messages"
)

const path = "/network/log"

// Pages are the page and its one act.
type Pages struct{ House house.Logging }

type line struct {
	at, machine    string
	what, who, why string // HTML; why is "" for a record that counts
}

// Show is GET /network/log.
func (p *Pages) Show(rq *web.Request) error {
	n, _ := strconv.Atoi(rq.R.URL.Query().Get("page")) // none, or what is no number, is the newest
	l, err := p.House.Log(rq.R.Context(), n)
	if err != nil {
		return err
	}
	var lines []line
	for _, r := range l.Records {
		one := line{at: rq.T("log.at", "at", r.At), machine: r.At.UTC().Format(time.RFC3339), what: rq.SayHTML(r.What)}
		switch {
		case r.Box == "":
			one.who = rq.HTML("log.words")
		case r.Person == "":
			one.who = rq.HTML("log.box", "box", r.Box)
		default:
			one.who = rq.HTML("log.person", "person", r.Person, "box", r.Box)
		}
		if !r.Why.IsZero() {
			one.why = rq.HTML("log.void", "why", messages.Markup(rq.SayHTML(r.Why)))
		}
		lines = append(lines, one)
	}
	pg := &web.Page{Title: rq.T("log.title"), Nav: "/network"}
	pg.Request = rq
	pg.Body = body(pg, l, lines)
	return rq.Render(pg)
}

// Check is POST /network/log.
func (p *Pages) Check(rq *web.Request) error {
	n, err := p.House.CheckLog(rq.R.Context())
	if errors.Is(err, &services.Problem{Code: "log-bad"}) {
		return rq.Note(path, services.AsProblem(err).Say)
	}
	if err != nil {
		return err
	}
	return rq.Done(path, services.Say("webui.log.checked", "Every record was read anew and checked: {n, plural, one {it is} other {all # are}} good.", "n", n))
}

// to is the address of page n.
func to(n int) string {
	if n == 1 {
		return path
	}
	return path + "?page=" + strconv.Itoa(n)
}
