// Package device is one device: what it is, its name, and the way to remove it.
package device

import (
	"html"

	"hearth.alt/services"
	"hearth.alt/webui/components"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Pages is the page and its one act.
type Pages struct{ House house.Devices }

type view struct {
	d     house.Device
	name  string // in the field
	facts []components.Fact
	path  string
}

func (p *Pages) get(rq *web.Request) (house.Device, error) {
	return p.House.Device(rq.R.Context(), services.DeviceID(rq.R.PathValue("id")))
}

// Show is GET /devices/{id}.
func (p *Pages) Show(rq *web.Request) error {
	d, err := p.get(rq)
	if err != nil {
		return err
	}
	if !d.Paired {
		return rq.Redirect("/devices/" + string(d.ID) + "/pair")
	}
	return p.show(rq, d, d.Name, web.Errors{})
}

func (p *Pages) show(rq *web.Request, d house.Device, name string, e web.Errors) error {
	pg := &web.Page{Title: rq.T("device.title", "device", d.Name), Nav: "/devices", Errors: e}
	pg.Request = rq
	esc := html.EscapeString
	v := view{d: d, name: name, path: "/devices/" + string(d.ID)}
	fact := func(key, value string) {
		v.facts = append(v.facts, components.Fact{Label: rq.T(key), Value: value})
	}
	fact("devices.person", "<bdi>"+esc(d.PersonName)+"</bdi>")
	fact("devices.seen", esc(rq.Ago(d.Handshake)))
	if !d.Way.IsZero() {
		fact("devices.way", rq.SayHTML(d.Way))
	}
	fact("device.added", esc(rq.Day(d.Added)))
	addresses := `<span class="code">` + d.Addr4.String() + `</span>`
	if d.Addr6.IsValid() {
		addresses += ` <span class="code">` + d.Addr6.String() + `</span>`
	}
	fact("device.address", addresses)
	if d.OwnKey {
		fact("device.key", rq.HTML("device.key.own"))
	} else {
		fact("device.key", rq.HTML("device.key.ours"))
	}
	pg.Body = body(pg, v)
	return rq.Render(pg)
}

// Rename is POST /devices/{id}.
func (p *Pages) Rename(rq *web.Request) error {
	d, err := p.get(rq)
	if err != nil {
		return err
	}
	name := rq.Text("name")
	e, err := rq.Form(p.House.RenameDevice(rq.R.Context(), d.ID, name), "name")
	if err != nil {
		return err
	}
	if e.Any() {
		return p.show(rq, d, name, e)
	}
	return rq.Done("/devices/"+string(d.ID), services.Say("webui.device.renamed", "The device is now called {name}.", "name", name))
}
