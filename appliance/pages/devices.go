package pages

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/mesh"
	"hearth.alt/services/secret"
	"hearth.alt/webui"
	"hearth.alt/webui/house"
)

// expiredKept is how long the page of a code that ran out can still say so.
const expiredKept = time.Hour

func (h *House) deviceView(ctx context.Context, m *services.Membership, d services.Device, status mesh.Status) house.Device {
	caller := webui.CallerOf(ctx)
	p, _ := m.Person(d.Person)
	_, held := h.API.WaitingKey(d.ID)
	s := status.Devices[d.ID]
	v := house.Device{
		Device: d, PersonName: p.Name, Paired: d.State != services.StatePending, OwnKey: d.State == services.StatePending && !held,
		Handshake: s.LastHandshake, Here: caller.Device == d.ID && d.ID != "", MayChange: true,
	}
	if time.Since(s.LastHandshake) < 3*time.Minute && s.Endpoint.IsValid() {
		if s.Endpoint.Addr().IsPrivate() || s.Endpoint.Addr().IsLinkLocalUnicast() {
			v.Way = services.Say("device.way-home", "at home")
		} else {
			v.Way = services.Say("device.way-outside", "from outside, directly")
		}
	}
	return v
}

// Devices lists those the caller may change.
func (h *House) Devices(ctx context.Context) ([]house.Device, error) {
	if err := h.least(ctx, services.RoleGuest); err != nil {
		return nil, err
	}
	list, err := h.API.ListDevices(ctx, webui.CallerOf(ctx), api.None{})
	if err != nil {
		return nil, err
	}
	m, status := h.API.Identity.Membership(), h.API.Mesh.Status()
	out := make([]house.Device, 0, len(list))
	for _, one := range list {
		if d, ok := m.Device(one.ID); ok {
			out = append(out, h.deviceView(ctx, m, d, status))
		}
	}
	return out, nil
}

// Device returns one.
func (h *House) Device(ctx context.Context, id services.DeviceID) (house.Device, error) {
	all, err := h.Devices(ctx)
	if err != nil {
		return house.Device{}, err
	}
	for _, d := range all {
		if d.ID == id {
			return d, nil
		}
	}
	return house.Device{}, api.ErrNoDevice
}

// AddDevice adds a device that waits for its first handshake.
func (h *House) AddDevice(ctx context.Context, form house.DeviceForm) (services.DeviceID, error) {
	if err := h.least(ctx, services.RoleMember); err != nil {
		return "", err
	}
	out, err := h.API.AddDevice(ctx, webui.CallerOf(ctx), api.AddDeviceInput{Name: form.Name, Person: string(form.Person), PublicKey: strings.TrimSpace(form.PublicKey)})
	if err != nil {
		return "", err
	}
	d, _ := h.API.Identity.Membership().Device(out.ID)
	h.waiting.add(d)
	return out.ID, nil
}

// Pairing says how far a device is.
func (h *House) Pairing(ctx context.Context, id services.DeviceID) (house.Pairing, error) {
	d, err := h.Device(ctx, id)
	if err != nil {
		// A code that ran out is gone from the household; the page still says what happened.
		if old, ok := h.waiting.get(id); ok && h.mayAct(ctx, old.Person) == nil {
			m := h.API.Identity.Membership()
			return house.Pairing{Device: h.deviceView(ctx, m, old, h.API.Mesh.Status()), State: house.PairExpired, Expires: old.Expires, Reach: h.Reach(ctx)}, nil
		}
		return house.Pairing{}, err
	}
	p := house.Pairing{Device: d, Expires: d.Expires, Reach: h.Reach(ctx), FileName: tunnelName(d.Name)}
	if d.State != services.StatePending {
		p.State = house.PairDone
		return p, nil
	}
	private, _ := h.API.WaitingKey(id)
	stock, err := h.API.Mesh.DeviceConfig(ctx, h.API.Identity.Membership(), d.Device, private)
	if err != nil {
		return house.Pairing{}, err
	}
	p.Config = secret.Show(stock.Text)
	return p, nil
}

// mayAct says whether the caller may change what is person's.
func (h *House) mayAct(ctx context.Context, person services.PersonID) error {
	p, ok := h.API.Identity.Membership().Person(person)
	if !ok {
		return api.ErrNoPerson
	}
	return h.API.MayChange(webui.CallerOf(ctx), p)
}

// RenewPairing removes what is left of a code that ran out and makes a new one of the same name.
func (h *House) RenewPairing(ctx context.Context, id services.DeviceID) (services.DeviceID, error) {
	if err := h.least(ctx, services.RoleMember); err != nil {
		return "", err
	}
	p, err := h.Pairing(ctx, id)
	if err != nil {
		return "", err
	}
	if p.State == house.PairDone {
		return id, nil
	}
	if p.State == house.PairWaiting {
		if err := h.RemoveDevice(ctx, id); err != nil {
			return "", err
		}
	}
	return h.AddDevice(ctx, house.DeviceForm{Name: p.Device.Name, Person: p.Device.Person})
}

// RenameDevice gives a device another name.
func (h *House) RenameDevice(ctx context.Context, id services.DeviceID, name string) error {
	_, err := h.API.RenameDevice(ctx, webui.CallerOf(ctx), api.RenameDeviceInput{ID: id, Name: name})
	return err
}

// RemoveDevice forgets a device at once.
func (h *House) RemoveDevice(ctx context.Context, id services.DeviceID) error {
	if _, err := h.API.RemoveDevice(ctx, webui.CallerOf(ctx), api.DeviceInput{ID: id}); err != nil {
		return err
	}
	h.waiting.drop(id)
	return nil
}

// Reach says where a device added now will work.
func (h *House) Reach(context.Context) house.Reach {
	r := h.API.Mesh.Reach()
	out := house.Reach{Kind: house.ReachHome, Proven: r.Proven, Say: r.Say}
	if len(r.Endpoints) > 0 {
		out.Endpoint = r.Endpoints[0].String()
	}
	switch err := h.API.Mesh.Closed(); {
	case errors.Is(err, mesh.ErrNoTunnel):
		out.Say, out.First = services.AsProblem(err).Say, sayFirstRight
	case errors.Is(err, mesh.ErrPortTaken):
		out.Say, out.First = services.AsProblem(err).Say, services.Say("device.first-port", "End the program that uses this port, or start Hearth with another one after --client-port.")
	}
	switch {
	case r.Scope == mesh.ScopeForNow:
		out.Kind = house.ReachForNow
	case r.Scope == mesh.ScopeAnywhere:
		out.Kind = house.ReachAlways
	case r.Scope == mesh.ScopeNowhere || r.Looking:
		out.Kind = house.ReachUnknown
	}
	return out
}

var sayFirstRight = services.Say("device.first-right", "Stop Hearth and start it once more with administrator rights, on Linux with sudo before the command. Nothing is lost.")

// tunnelName is what the stock apps accept as a tunnel's name: at most 15 of a few characters.
func tunnelName(name string) string {
	var b strings.Builder
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("_=+.-", r):
			b.WriteRune(r)
		case r == ' ':
			b.WriteByte('-')
		case r > unicode.MaxASCII: // as in names: ö is oe
			s := identity.Label(string(r), "")
			if s != "" && unicode.IsUpper(r) {
				s = strings.ToUpper(s[:1]) + s[1:]
			}
			b.WriteString(s)
		}
	}
	s := b.String()
	if len(s) > 15 {
		s = s[:15]
	}
	if s = strings.Trim(s, ".-"); s == "" {
		return "home"
	}
	return s
}
