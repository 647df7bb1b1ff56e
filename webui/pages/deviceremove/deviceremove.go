// Package deviceremove asks before a device is removed, and removes it.
package deviceremove

import (
	"strings"

	"hearth.alt/services"
	"hearth.alt/webui/components"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Pages is the question and the deed.
type Pages struct{ House house.Devices }

// Ask is GET /devices/{id}/remove.
func (p *Pages) Ask(rq *web.Request) error {
	d, err := p.House.Device(rq.R.Context(), services.DeviceID(rq.R.PathValue("id")))
	if err != nil {
		return err
	}
	pg := &web.Page{Title: rq.T("deviceremove.title", "device", d.Name), Nav: "/devices"}
	pg.Request = rq
	stops := rq.HTML("deviceremove.stops")
	if d.Here {
		stops = rq.HTML("deviceremove.stops.here")
	}
	pg.Body = components.Ask(pg, components.Confirm{
		Question: rq.HTML("deviceremove.title", "device", d.Name),
		Stops:    stops,
		Stays:    rq.HTML("deviceremove.stays", "person", d.PersonName),
		Undo:     rq.HTML("deviceremove.undo"),
		Do:       rq.T("deviceremove.do", "device", d.Name),
		Keep:     rq.T("confirm.keep"),
		KeepPath: "/devices/" + string(d.ID),
	})
	return rq.Render(pg)
}

// Remove is POST /devices/{id}/remove.
func (p *Pages) Remove(rq *web.Request) error {
	ctx := rq.R.Context()
	d, err := p.House.Device(ctx, services.DeviceID(rq.R.PathValue("id")))
	if err != nil {
		return err
	}
	if err := p.House.RemoveDevice(ctx, d.ID); err != nil {
		return err
	}
	if away := strings.Join(rq.Frame.Away, ", "); away != "" {
		return rq.Done("/devices", services.Say("webui.device.removed.later", "{device} is removed. Its key stopped working at {at, time} wherever boxes are in touch. These hear of it when they are back: {boxes}.", "device", d.Name, "at", rq.Now, "boxes", away))
	}
	return rq.Done("/devices", services.Say("webui.device.removed", "{device} is removed. Its key stopped working at {at, time}.", "device", d.Name, "at", rq.Now))
}
