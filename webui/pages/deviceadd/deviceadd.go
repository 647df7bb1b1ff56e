// Package deviceadd is how a phone or laptop comes in: whose it is, then one code to scan, shown until the device has
// said hello or ten minutes have passed.
package deviceadd

import (
	"strconv"

	"hearth.alt/services"
	"hearth.alt/webui/components"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// House is what these pages ask.
type House interface {
	house.Devices
	house.People // for whom a device may be added
	house.Framing
}

// Pages are the form and the code.
type Pages struct{ House House }

type formView struct {
	name, key string
	people    []components.Choice
	reach     house.Reach
}

// Form is GET /devices/add.
func (p *Pages) Form(rq *web.Request) error {
	return p.form(rq, house.DeviceForm{Person: rq.Caller.Person}, web.Errors{})
}

func (p *Pages) form(rq *web.Request, form house.DeviceForm, e web.Errors) error {
	ctx := rq.R.Context()
	if r := p.House.Reach(ctx); !r.First.IsZero() {
		pg := &web.Page{Title: rq.T("deviceadd.first"), Nav: "/devices"}
		pg.Request = rq
		pg.Body = firstBody(pg, r)
		return rq.Render(pg)
	}
	people, err := p.House.People(ctx)
	if err != nil {
		return err
	}
	v := formView{name: form.Name, key: form.PublicKey, reach: p.House.Reach(ctx)}
	for _, who := range people {
		if who.State != services.StateActive || !who.You && !who.MayChange {
			continue
		}
		label := who.Name
		if who.You {
			label = rq.T("deviceadd.you", "name", who.Name)
		}
		v.people = append(v.people, components.Choice{
			Value: string(who.ID), Label: label, Checked: who.ID == form.Person || form.Person == "" && who.You,
		})
	}
	pg := &web.Page{Title: rq.T("deviceadd.title"), Nav: "/devices", Errors: e}
	pg.Request = rq
	pg.Body = formBody(pg, v)
	return rq.Render(pg)
}

// Add is POST /devices/add.
func (p *Pages) Add(rq *web.Request) error {
	form := house.DeviceForm{
		Name: rq.Text("name"), Person: services.PersonID(rq.Text("person")), PublicKey: rq.Text("key"),
	}
	if !p.House.Reach(rq.R.Context()).First.IsZero() {
		return p.form(rq, form, web.Errors{}) // no code that cannot work
	}
	if form.Person != "" && !form.Person.Valid() {
		form.Person = ""
	}
	id, err := p.House.AddDevice(rq.R.Context(), form)
	e, err := rq.Form(err, "name", "person", "key")
	if err != nil {
		return err
	}
	if e.Any() {
		return p.form(rq, form, e)
	}
	return rq.Redirect("/devices/" + string(id) + "/pair")
}

type pairView struct {
	p       house.Pairing
	path    string
	code    components.Code
	text    string
	address string // of the house through the tunnel
	canScan bool
}

// Pair is GET /devices/{id}/pair.
func (p *Pages) Pair(rq *web.Request) error {
	id := services.DeviceID(rq.R.PathValue("id"))
	got, err := p.House.Pairing(rq.R.Context(), id)
	if err != nil {
		return err
	}
	if got.State == house.PairWaiting && rq.NotModified() {
		return nil
	}
	pg := &web.Page{Nav: "/devices", Smooth: got.State == house.PairWaiting}
	pg.Request = rq
	v := pairView{p: got, path: "/devices/" + string(got.Device.ID), canScan: !got.Device.OwnKey, text: got.Config.Reveal()}
	switch got.State {
	case house.PairDone:
		v.address = p.House.Doors(rq.R.Context()).Tunnel
		pg.Title = rq.T("pair.done", "device", got.Device.Name)
		pg.Body = doneBody(pg, v)
	case house.PairExpired:
		pg.Title = rq.T("pair.expired", "device", got.Device.Name)
		pg.Body = expiredBody(pg, v)
	default:
		pg.Title = rq.T("pair.scan", "device", got.Device.Name)
		if !v.canScan {
			pg.Title = rq.T("pair.own", "device", got.Device.Name)
		} else if v.code, err = components.QR(v.text); err != nil {
			return err
		}
		pg.Body = waitBody(pg, v)
	}
	return rq.Render(pg)
}

// Act is POST /devices/{id}/pair: look again, cancel the code, or a new one.
func (p *Pages) Act(rq *web.Request) error {
	ctx := rq.R.Context()
	id := services.DeviceID(rq.R.PathValue("id"))
	here := "/devices/" + string(id) + "/pair"
	switch rq.Text("do") {
	case "cancel":
		if err := p.House.RemoveDevice(ctx, id); err != nil {
			return err
		}
		to := "/devices"
		if web.Sealed(rq.R.Context()) {
			to = "/devices/add"
		}
		return rq.Done(to, services.Say("webui.pair.cancelled", "The code is cancelled. Nobody can use it any more."))
	case "renew":
		again, err := p.House.RenewPairing(ctx, id)
		if err != nil {
			return err
		}
		return rq.Redirect("/devices/" + string(again) + "/pair")
	}
	got, err := p.House.Pairing(ctx, id)
	if err != nil {
		return err
	}
	if got.State == house.PairWaiting {
		return rq.Note(here, services.Say("webui.pair.waiting", "The house has not heard from {device} yet. Is the tunnel switched on in its app?", "device", got.Device.Name))
	}
	return rq.Redirect(here)
}

// PNG is GET /devices/{id}/qr.png.
func (p *Pages) PNG(rq *web.Request) error {
	got, err := p.waiting(rq)
	if err != nil {
		return err
	}
	code, err := components.QR(got.Config.Reveal())
	if err != nil {
		return err
	}
	return rq.Send(house.File{Name: "qr.png", Type: "image/png", Body: code.PNG}, true)
}

// File is GET /devices/{id}/file: the configuration as a file of the stock app.
func (p *Pages) File(rq *web.Request) error {
	got, err := p.waiting(rq)
	if err != nil {
		return err
	}
	return rq.Send(house.File{Name: got.FileName, Type: "application/octet-stream", Body: []byte(got.Config.Reveal())}, false)
}

func (p *Pages) waiting(rq *web.Request) (house.Pairing, error) {
	got, err := p.House.Pairing(rq.R.Context(), services.DeviceID(rq.R.PathValue("id")))
	if err == nil && (got.State != house.PairWaiting || got.Config.Reveal() == "") {
		err = &services.Problem{
			Kind: services.KindNotFound, Code: "no-code",
			Say: services.Say("webui.pair.nocode", "This code is used or has run out. Open the device's page to make a new one."),
		}
	}
	return got, err
}

// steps are what to do in the app, by number.
func steps(own bool) []string {
	kind := "pair.step."
	if own {
		kind = "pair.own.step."
	}
	out := make([]string, 3)
	for i := range out {
		out[i] = kind + strconv.Itoa(i+1)
	}
	return out
}
