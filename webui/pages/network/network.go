// Package network says how the house is connected: addresses, doors in the router, names, and what else is there.
package network

import (
	"html"
	"net/netip"
	"strings"

	"hearth.alt/services"
	"hearth.alt/webui/components"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Pages is the page and its form.
type Pages struct{ House house.Networking }

type found struct{ name, service, host, address string }

type group struct {
	id, icon, heading string
	things            []found
}

type view struct {
	sentence  string
	answer    string
	ports     []components.Row
	names     []components.Row
	facts     []components.Fact
	groups    []group
	searching bool
	n         house.Network
	now       string // n.Time
	typed     string // in the field of the time
	zone      string // in the field of the zone
	looked    string
	domain    string // in the field of the names that may point home
}

// Show is GET /network.
func (p *Pages) Show(rq *web.Request) error { return p.show(rq, view{}, web.Errors{}) }

// Reload is GET /network/time and GET /network/zone: the forms stand on the page of the network.
func (p *Pages) Reload(rq *web.Request) error { return rq.Redirect("/network#clock") }

// SetTime is POST /network/time: the time of the box, when it went wrong.
func (p *Pages) SetTime(rq *web.Request) error {
	typed := rq.Text("time")
	e, err := rq.Form(p.House.SetTime(rq.R.Context(), typed), "time")
	if err != nil {
		return err
	}
	if e.Any() {
		return p.show(rq, view{typed: typed}, e)
	}
	return rq.Done("/network", services.Say("webui.network.time-set", "The time of the box is set."))
}

// SetZone is POST /network/zone: the zone that times are shown in.
func (p *Pages) SetZone(rq *web.Request) error {
	typed := rq.Text("zone")
	e, err := rq.Form(p.House.SetZone(rq.R.Context(), typed), "zone")
	if err != nil {
		return err
	}
	if e.Any() {
		return p.show(rq, view{zone: typed}, e)
	}
	return rq.Done("/network", services.Say("webui.network.zone-set", "Times are shown in that zone now."))
}

// Allow is POST /network: names below a domain may point home.
func (p *Pages) Allow(rq *web.Request) error {
	domain := rq.Text("domain")
	e, err := rq.Form(p.House.AllowHomeward(rq.R.Context(), domain), "domain")
	if err != nil {
		return err
	}
	if e.Any() {
		return p.show(rq, view{domain: domain}, e)
	}
	return rq.Done("/network", services.Say("webui.network.allowed", "The name may point home now."))
}

// Remove is POST /network/remove: they may no more.
func (p *Pages) Remove(rq *web.Request) error {
	if err := p.House.RemoveHomeward(rq.R.Context(), rq.Text("domain")); err != nil {
		return err
	}
	return rq.Done("/network", services.Say("webui.network.removed", "The name may no longer point home."))
}

// show shows the page; v holds what was typed.
func (p *Pages) show(rq *web.Request, v view, e web.Errors) error {
	n, err := p.House.Network(rq.R.Context())
	if err != nil {
		return err
	}
	v.n, v.now, v.searching, v.answer = n, n.Time.Format("2006-01-02 15:04"), n.Searching, rq.SayHTML(n.Reach.Say)
	if v.zone == "" {
		v.zone = n.Zone
	}
	title := map[house.ReachKind]string{
		house.ReachHome: "network.home", house.ReachForNow: "network.now", house.ReachAlways: "network.always", house.ReachUnknown: "network.unknown",
	}[n.Reach.Kind]
	v.sentence = rq.HTML(title, "proven", n.Reach.Proven)
	if !n.Looked.IsZero() {
		v.looked = rq.T("home.looked", "at", n.Looked, "ago", rq.Ago(n.Looked))
	}
	for _, port := range n.Ports {
		v.ports = append(v.ports, components.Row{State: port.State, Name: rq.Say(port.Use), Say: rq.SayHTML(port.Message)})
	}
	for _, f := range n.DNS {
		v.names = append(v.names, components.Row{State: f.State, Name: rq.T("network.names"), Say: rq.SayHTML(f.Say)})
	}
	v.facts = facts(rq, n)
	v.groups = groups(rq, n.Found)
	pg := &web.Page{Title: rq.T(title, "proven", n.Reach.Proven), Nav: "/network", Errors: e}
	pg.Request = rq
	pg.Body = body(pg, v)
	return rq.Render(pg)
}

func facts(rq *web.Request, n house.Network) []components.Fact {
	var out []components.Fact
	add := func(key string, values ...string) {
		var codes []string
		for _, v := range values {
			if v != "" && v != "invalid IP" && v != "invalid Prefix" {
				codes = append(codes, `<span class="code">`+html.EscapeString(v)+`</span>`)
			}
		}
		if len(codes) > 0 {
			out = append(out, components.Fact{Label: rq.T(key), Value: strings.Join(codes, "<br>")})
		}
	}
	add("network.addresses", texts(n.Addresses)...)
	add("network.router", n.Router.String())
	add("network.public", n.Public.String())
	add("network.endpoint", n.Reach.Endpoint)
	add("network.private", n.Net4.String(), n.Net6.String())
	add("network.domain", n.Domain)
	return out
}

func texts(list []netip.Addr) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.String()
	}
	return out
}

func groups(rq *web.Request, list []house.Found) []group {
	kinds := []group{
		house.FoundHearth:  {id: "hearths", icon: "flame", heading: rq.T("network.hearths")},
		house.FoundPrinter: {id: "printers", icon: "printer", heading: rq.T("network.printers")},
		house.FoundPlayer:  {id: "players", icon: "speaker", heading: rq.T("network.players")},
		house.FoundOther:   {id: "others", icon: "network", heading: rq.T("network.others")},
	}
	for _, f := range list {
		if int(f.Kind) >= len(kinds) {
			f.Kind = house.FoundOther
		}
		t := found{name: f.Name, service: f.Service, host: f.Host}
		if f.Address.IsValid() {
			t.address = f.Address.String()
		}
		kinds[f.Kind].things = append(kinds[f.Kind].things, t)
	}
	var out []group
	for _, g := range kinds {
		if len(g.things) > 0 {
			out = append(out, g)
		}
	}
	return out
}
