// Package home is the first page: is everything all right?
package home

import (
	"slices"
	"strings"
	"time"

	"hearth.alt/services"
	"hearth.alt/webui/components"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
	"hearth.alt/webui/messages"
)

// House is what this page asks.
type House interface {
	house.Overviewing
}

// Pages are the page and its one act.
type Pages struct{ House House }

// grace is how long a part may take to come up before its absence is said: a symptom must last before it is shown.
const grace = 30 * time.Second

// recent is how many lines of what happened stand on the first page.
const recent = 6

type view struct {
	fire     components.Fire
	sentence string // HTML
	lead     string // HTML
	looked   string
	troubles []components.Trouble
	rows     []components.Row
	events   []line
	storage  *house.Storage
	member   bool
}

type line struct{ at, machine, what string }

// paths lead from a part of the house to the page about it.
var paths = map[string]string{
	"dns": "/network", "discovery": "/network", "firewall": "/network", "portmap": "/network",
	"mesh": "/devices", "identity": "/people", "account": "/sessions", "certificate": "/apps",
}

// Show is GET /.
func (p *Pages) Show(rq *web.Request) error {
	ctx := rq.R.Context()
	o, err := p.House.Overview(ctx)
	if err != nil {
		return err
	}
	events, err := p.House.Events(ctx, rq.Now.Add(-24*time.Hour), recent)
	if err != nil {
		return err
	}
	v := view{member: rq.Caller.Role >= services.RoleMember}
	page := &web.Page{Nav: "/"}
	page.Request = rq
	v.troubles = troubles(rq, o)
	v.rows = rows(rq, o)
	v.say(rq, o)
	if o.Storage.Total > 0 {
		v.storage = &o.Storage
	}
	for _, e := range events {
		v.events = append(v.events, line{at: rq.Time(e.At), machine: e.At.UTC().Format(time.RFC3339), what: rq.SayHTML(e.What)})
	}
	page.Title = v.title(rq)
	page.Body = body(page, v)
	return rq.Render(page)
}

// Look is POST /look.
func (p *Pages) Look(rq *web.Request) error {
	if err := p.House.LookAgain(rq.R.Context()); err != nil {
		return err
	}
	return rq.Done("/", services.Say("webui.looked", "Looked again. What follows is as of now."))
}

// state says how a part is, from what it says of itself.
func state(rq *web.Request, h services.Health) house.State {
	switch {
	case h.Ready && h.OK:
		return house.StateGood
	case h.Ready:
		return house.StateCare
	case h.Waiting != "":
		return house.StateWait
	case !h.Since.IsZero() && rq.Now.Sub(h.Since) < grace:
		return house.StateWait
	}
	return house.StateAct
}

func partName(rq *web.Request, name string) string {
	if key := "home.part." + name; rq.Has(key) {
		return rq.T(key)
	}
	return name
}

func rows(rq *web.Request, o house.Overview) []components.Row {
	if o.Looked.IsZero() {
		return nil
	}
	var out []components.Row
	add := func(s house.State, name, path, say string) {
		out = append(out, components.Row{State: s, Name: name, Path: path, Say: say})
	}
	member := rq.Caller.Role >= services.RoleMember
	path := func(p string) string {
		if !member && p != "/devices" && p != "/sessions" && p != "/apps" {
			return ""
		}
		return p
	}
	d := o.Devices
	switch {
	case d.All == 0:
		add(house.StateGood, rq.T("home.devices"), "/devices", rq.HTML("home.devices.none"))
	default:
		add(house.StateGood, rq.T("home.devices"), "/devices", rq.HTML("home.devices.some", "all", d.All, "seen", d.SeenToday))
	}
	if member {
		add(house.StateGood, rq.T("home.people"), "/people", rq.HTML("home.people.some", "all", o.People.All, "invited", o.People.Invited))
	}
	if !o.Reach.Say.IsZero() {
		s := house.StateGood
		if o.Reach.Kind == house.ReachUnknown {
			s = house.StateWait
		}
		add(s, rq.T("home.reach"), path("/network"), rq.SayHTML(o.Reach.Say))
	}
	for _, h := range o.Services {
		s := state(rq, h)
		say := rq.SayHTML(h.Message)
		if s == house.StateWait && h.Waiting != "" {
			say = rq.HTML("home.waits", "part", partName(rq, h.Waiting))
		}
		if say == "" {
			say = rq.HTML("home.silent")
		}
		add(s, partName(rq, h.Name), path(paths[h.Name]), say)
	}
	slices.SortStableFunc(out, func(a, b components.Row) int { return rank(a.State) - rank(b.State) })
	return out
}

// rank is the order of rows: act, care, waiting, well.
func rank(s house.State) int {
	switch s {
	case house.StateAct:
		return 0
	case house.StateCare:
		return 1
	case house.StateWait:
		return 2
	}
	return 3
}

// ownersOnly is the trouble that none but an owner can do anything about, or should be told: the words are not checked.
const ownersOnly = "words"

// maxTroubles stand before everything else; what is left has its row.
const maxTroubles = 3

func troubles(rq *web.Request, o house.Overview) []components.Trouble {
	var out []components.Trouble
	for _, t := range o.Troubles {
		if t.ID == ownersOnly && rq.Caller.Role != services.RoleOwner {
			continue
		}
		link := t.Action
		if link != "" && (link[0] != '/' || t.Label.IsZero()) {
			link = ""
		}
		out = append(out, components.Trouble{
			ID: t.ID, State: t.State, What: strings.TrimSuffix(rq.SayHTML(t.What), "."), Why: rq.SayHTML(t.Why), Means: rq.SayHTML(t.Means),
			Do: rq.SayHTML(t.Do), Link: link, Label: rq.Say(t.Label),
		})
	}
	slices.SortStableFunc(out, func(a, b components.Trouble) int { return rank(a.State) - rank(b.State) })
	return out[:min(len(out), maxTroubles)]
}

func (v *view) say(rq *web.Request, o house.Overview) {
	if o.Looked.IsZero() {
		v.fire, v.sentence, v.lead = components.Cold, rq.HTML("home.unknown"), rq.HTML("home.unknown.lead")
		return
	}
	v.looked = rq.T("home.looked", "at", o.Looked, "ago", rq.Ago(o.Looked))
	worst, n := house.StateGood, 0
	for _, r := range v.rows {
		if r.State == house.StateCare || r.State == house.StateAct {
			worst, n = max(worst, r.State), n+1
		}
	}
	for _, t := range v.troubles {
		worst = max(worst, t.State)
	}
	n = max(n, len(v.troubles))
	switch worst {
	case house.StateAct:
		v.fire = components.Embers
	case house.StateCare:
		v.fire = components.Low
	default:
		v.fire, v.sentence = components.Full, rq.HTML("home.well")
		v.lead = rq.HTML("home.well.lead", "devices", o.Devices.All, "people", o.People.All)
		return
	}
	if len(v.troubles) > 0 && v.troubles[0].State == worst {
		// The worst is said in its own words; the others follow below.
		v.sentence = rq.HTML("home.sentence", "what", messages.Markup(v.troubles[0].What))
		if n > 1 {
			v.lead = rq.HTML("home.more", "n", n-1)
		}
		return
	}
	v.sentence = rq.HTML("home.some", "n", n)
	if worst == house.StateAct {
		v.sentence = rq.HTML("home.bad", "n", n)
	}
}

// title is the sentence without its HTML.
func (v *view) title(rq *web.Request) string {
	switch v.fire {
	case components.Full:
		return rq.T("home.well")
	case components.Cold:
		return rq.T("home.unknown")
	}
	return rq.T("home.title.trouble")
}
