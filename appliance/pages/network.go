package pages

import (
	"context"
	"encoding/hex"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/appliance/notices"
	"hearth.alt/services"
	"hearth.alt/services/account"
	"hearth.alt/services/certificate"
	"hearth.alt/services/claimcode"
	"hearth.alt/services/discovery"
	"hearth.alt/services/dns"
	"hearth.alt/services/mesh"
	"hearth.alt/services/secret"
	"hearth.alt/webui"
	"hearth.alt/webui/house"
)

func itoa(n uint16) string { return strconv.Itoa(int(n)) }

// bracket writes an address as a URL's host.
func bracket(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	return "[" + a.WithZone("").String() + "]"
}

// colons writes a fingerprint as browsers do.
func colons(f claimcode.Fingerprint) string {
	text := strings.ToUpper(hex.EncodeToString(f[:]))
	parts := make([]string, len(f))
	for i := range parts {
		parts[i] = text[2*i : 2*i+2]
	}
	return strings.Join(parts, ":")
}

// Network is the facts of the network.
func (h *House) Network(ctx context.Context) (house.Network, error) {
	if err := h.least(ctx, services.RoleMember); err != nil {
		return house.Network{}, err
	}
	m := h.API.Identity.Membership()
	around := h.Surroundings()
	status, reach := h.API.Mesh.Status(), h.API.Mesh.Reach()
	n := house.Network{
		Looked: time.Now(), Addresses: around.Addresses, Router: around.Router, Public: publicAddress(reach), Searching: reach.Looking,
		Net4: m.Household.Net4, Net6: m.Household.Net6, Domain: m.Household.Domain, Reach: h.Reach(ctx),
	}
	clock, err := h.API.ShowTime(ctx, webui.CallerOf(ctx), api.None{})
	if err != nil {
		return house.Network{}, err
	}
	n.Time, n.Zone, n.TimeKnown, n.MayChange = clock.Time.In(h.zone()), clock.Zone, clock.Known, h.least(ctx, services.RoleAdmin) == nil
	n.Ports = []house.Port{doorOfRouter(reach, n.Reach.State(), status.Port)}
	names := h.API.DNS.Health()
	fact := house.Fact{State: house.StateGood, Say: names.Message}
	if !names.OK || !names.Ready {
		fact.State = house.StateCare
	}
	n.DNS = []house.Fact{fact}
	if n.MayChange {
		allowed, err := h.API.ListHomeward(ctx, webui.CallerOf(ctx), api.None{})
		if err != nil {
			return house.Network{}, err
		}
		for _, d := range allowed {
			n.Homeward = append(n.Homeward, d.Domain)
		}
	}
	for _, f := range h.API.Names.Found() {
		one := house.Found{Kind: house.FoundOther, Name: f.Name, Service: f.Service, Host: f.Host, Port: f.Port}
		switch f.Kind {
		case discovery.KindHearth:
			one.Kind = house.FoundHearth
		case discovery.KindPrinter:
			one.Kind = house.FoundPrinter
		case discovery.KindPlayer:
			one.Kind = house.FoundPlayer
		}
		if len(f.Addresses) > 0 {
			one.Address = f.Addresses[0]
		}
		n.Found = append(n.Found, one)
	}
	return n, nil
}

var errTimeForm = &services.Problem{
	Kind: services.KindInvalid, Code: "bad-input", Field: "time",
	Say: services.Say("network.time-form", "Write the time like this: 2026-11-21 12:00. Nothing was changed."),
}

// SetTime sets the time that the box goes by.
func (h *House) SetTime(ctx context.Context, local string) error {
	t, err := time.ParseInLocation("2006-01-02 15:04", local, h.zone())
	if err != nil {
		return errTimeForm
	}
	_, err = h.API.SetTime(ctx, webui.CallerOf(ctx), api.SetTimeInput{Time: t})
	return err
}

func (h *House) zone() *time.Location {
	if z := h.API.Zone.Location(); z != nil {
		return z
	}
	return time.UTC
}

// SetZone chooses the zone that times are shown in.
func (h *House) SetZone(ctx context.Context, name string) error {
	_, err := h.API.SetZone(ctx, webui.CallerOf(ctx), api.SetZoneInput{Zone: name})
	return err
}

// AllowHomeward lets the names of a domain point home.
func (h *House) AllowHomeward(ctx context.Context, domain string) error {
	_, err := h.API.AllowHomeward(ctx, webui.CallerOf(ctx), api.AllowHomewardInput{Domain: domain})
	return err
}

// RemoveHomeward takes that back; a domain that is not on the list is no error.
func (h *House) RemoveHomeward(ctx context.Context, domain string) error {
	_, err := h.API.RemoveHomeward(ctx, webui.CallerOf(ctx), api.HomewardInput{Domain: domain})
	if errors.Is(err, dns.ErrNotAllowed) {
		return nil
	}
	return err
}

// publicAddress is the address under which the house is seen from outside, as far as the router said.
func publicAddress(r mesh.Reach) netip.Addr {
	for _, e := range r.Endpoints {
		if e.Kind == mesh.EndpointMapped || e.Kind == mesh.EndpointPublic {
			if a, err := netip.ParseAddr(e.Host); err == nil {
				return a
			}
		}
	}
	return netip.Addr{}
}

// doorOfRouter says how the door for phones and laptops stands: what the router granted, or the last thing it said.
func doorOfRouter(r mesh.Reach, state house.State, inside uint16) house.Port {
	p := house.Port{Use: services.Say("network.port-use", "Phones and laptops from outside"), Protocol: "UDP", Inside: inside, State: state, Message: r.Say}
	for _, e := range r.Endpoints {
		if e.Kind == mesh.EndpointMapped {
			p.Outside = e.Port
		}
	}
	for _, t := range r.Tried {
		p.Message = t.Say
		if t.Outcome == "mapped" {
			p.Via = map[string]string{"pcp": "PCP", "nat-pmp": "NAT-PMP", "upnp": "UPnP"}[t.Way]
			break
		}
	}
	return p
}

// ---- apps ----

// Apps is what a paired device fetches over the private network.
func (h *House) Apps(ctx context.Context) (house.AppSettings, error) {
	if err := h.least(ctx, services.RoleGuest); err != nil {
		return house.AppSettings{}, err
	}
	m := h.API.Identity.Membership()
	box, _ := m.Box()
	p, _ := m.Person(webui.CallerOf(ctx).Person)
	s := house.AppSettings{Names: []string{box.Label + "." + m.Household.Domain, box.Label + ".local"}}
	if root := h.Root(); root != nil {
		s.Fingerprint = colons(claimcode.FingerprintOf(root))
	}
	s.Settings = []house.Setting{
		{Label: services.Say("apps.server", "Address of the box"), Value: "https://" + s.Names[0] + "/"},
		{Label: services.Say("apps.user", "Your name for apps"), Value: p.Name},
		{Label: services.Say("apps.dns", "Names are answered by"), Value: box.Addr4.String()},
	}
	passwords, err := h.API.Account.List(account.KindApp, p.ID)
	if err != nil {
		return house.AppSettings{}, err
	}
	for _, a := range passwords {
		w := house.AppPassword{ID: a.ID, Name: a.Name, Created: a.Created}
		if a.Used.After(a.Created) { // making it counts as its first use
			w.Used = a.Used
		}
		s.Passwords = append(s.Passwords, w)
	}
	return s, nil
}

var errNoAuthority = &services.Problem{
	Kind: services.KindUnavailable, Code: "no-certificate",
	Say: services.Say("apps.no-certificate", "The house's certificate is still being made. Try again in a minute."),
}

// Certificate returns the house's certificate as a file.
func (h *House) Certificate(ctx context.Context, kind string) (house.File, error) {
	if err := h.least(ctx, services.RoleGuest); err != nil {
		return house.File{}, err
	}
	root := h.Root()
	if root == nil {
		return house.File{}, errNoAuthority
	}
	m := h.API.Identity.Membership()
	switch kind {
	case "pem":
		return house.File{Name: "hearth-" + m.Household.Label + ".pem", Type: certificate.MediaPEM, Body: certificate.PEM(root)}, nil
	case "der":
		return house.File{Name: "hearth-" + m.Household.Label + ".crt", Type: certificate.MediaCRT, Body: root}, nil
	case "apple":
		return house.File{Name: "hearth-" + m.Household.Label + ".mobileconfig", Type: certificate.MediaMobileConfig, Body: certificate.MobileConfig(certificate.Profile{
			Root: root, DisplayName: m.Household.Name + " · Hearth", Organization: "Hearth",
			Description: services.Say("apps.profile", "Lets this device trust the box of household {household}, and nothing else.", "household", m.Household.Name).String(),
		})}, nil
	}
	return house.File{}, &services.Problem{Kind: services.KindNotFound, Code: "no-file", Say: services.Say("apps.no-file", "There is no such file.")}
}

// NewAppPassword returns a password that is shown once.
func (h *House) NewAppPassword(ctx context.Context, name string) (secret.Shown, error) {
	if err := h.least(ctx, services.RoleGuest); err != nil {
		return secret.Shown{}, err
	}
	caller := webui.CallerOf(ctx)
	password, _, err := h.API.Account.CreateAppPassword(ctx, caller, account.NewCredential{Person: caller.Person, Name: name, Device: caller.Device})
	if err != nil {
		return secret.Shown{}, at("name", err)
	}
	return secret.Show(password), nil
}

// RevokeAppPassword ends one of the caller's own; one that has ended is no error.
func (h *House) RevokeAppPassword(ctx context.Context, id string) error {
	if err := h.least(ctx, services.RoleGuest); err != nil {
		return err
	}
	caller := webui.CallerOf(ctx)
	err := h.API.Account.End(ctx, caller, caller.Person, id)
	if errors.Is(err, account.ErrNoCredential) {
		return nil
	}
	return err
}

// Notices lists the work of others that is in the box.
func (h *House) Notices(context.Context) ([]house.Notice, error) {
	list, err := notices.All()
	if err != nil {
		return nil, err
	}
	out := make([]house.Notice, len(list))
	for i, n := range list {
		out[i] = house.Notice{Name: n.Name, Version: n.Version, License: n.License, Source: n.Source, Text: n.Text}
	}
	return out, nil
}
