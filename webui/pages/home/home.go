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
	bad      map[string]bool // parts of the house that are to be looked at
	waiting  int             // parts that are getting ready
	events   []line
	storage  *house.Storage
	member   bool
	whose    string // "house" or "you": whose doings the reader is told
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
	v := view{member: rq.Caller.Role >= services.RoleMember, whose: "house"}
	if rq.Caller.Role < services.RoleAdmin {
		v.whose = "you"
	}
	page := &web.Page{Nav: "/"}
	page.Request = rq
	v.troubles = troubles(rq, o)
	v.rows, v.bad, v.waiting = rows(rq, o)
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

// order is that of the parts an owner knows by what they do for the house; others follow.
var order = []string{"mesh", "dns", "discovery", "firewall", "identity", "account", "certificate", "web"}

// folded are parts that nobody needs to read of while they are well.
var folded = []string{"console", "claim", "storage", "leaving"}

// ordered returns the parts in their order.
func ordered(list []services.Health) []services.Health {
	place := func(h services.Health) int {
		if i := slices.Index(order, h.Name); i >= 0 {
			return i
		}
		return len(order)
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b services.Health) int { return place(a) - place(b) })
	return list
}

// rows are the lines of the house, which of the parts are not well, and how many are getting ready.
func rows(rq *web.Request, o house.Overview) (out []components.Row, bad map[string]bool, waiting int) {
	if o.Looked.IsZero() {
		return nil, nil, 0
	}
	bad = map[string]bool{}
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
	case d.All == d.Pending:
		add(house.StateGood, rq.T("home.devices"), "/devices", rq.HTML("home.devices.none"))
	default:
		add(house.StateGood, rq.T("home.devices"), "/devices", rq.HTML("home.devices.some", "all", d.All-d.Pending, "seen", d.SeenToday))
	}
	if member {
		add(house.StateGood, rq.T("home.people"), "/people", rq.HTML("home.people.some", "all", o.People.All-o.People.Invited, "invited", o.People.Invited))
	}
	if !o.Reach.Say.IsZero() {
		add(o.Reach.State(), rq.T("home.reach"), path("/network"), rq.SayHTML(o.Reach.Say))
	}
	for _, h := range ordered(o.Services) {
		s := state(rq, h)
		switch {
		case s == house.StateGood && slices.Contains(folded, h.Name):
			continue
		case s == house.StateWait:
			waiting++
		case s == house.StateCare || s == house.StateAct:
			bad[h.Name] = true
		}
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
	return out, bad, waiting
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

// partOf names the part of the house that a trouble is about, where it has a row of its own.
var partOf = map[string]string{"log": "identity", "dispute": "identity", "names": "dns", "tunnel": "mesh"}

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
	worst, n := house.StateGood, len(v.bad)
	for _, r := range v.rows {
		if r.State == house.StateCare || r.State == house.StateAct {
			worst = max(worst, r.State)
		}
	}
	for _, t := range v.troubles {
		worst = max(worst, t.State)
		if !v.bad[partOf[t.ID]] { // else its row is the same thing, and counted
			n++
		}
	}
	switch {
	case worst == house.StateAct:
		v.fire = components.Embers
	case worst == house.StateCare:
		v.fire = components.Low
	case v.waiting > 0:
		v.fire, v.sentence, v.lead = components.Full, rq.HTML("home.wait"), rq.HTML("home.wait.lead", "n", v.waiting)
		return
	default:
		v.fire, v.sentence = components.Full, rq.HTML("home.well")
		v.lead = rq.HTML("home.well.lead", "devices", o.Devices.All-o.Devices.Pending, "people", o.People.All-o.People.Invited)
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
		if v.waiting > 0 {
			return rq.T("home.wait")
		}
		return rq.T("home.well")
	case components.Cold:
		return rq.T("home.unknown")
	}
	return rq.T("home.title.trouble")
}
