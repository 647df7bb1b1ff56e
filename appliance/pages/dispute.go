package pages

import (
	"context"
	"slices"
	"strings"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/services/secret"
	"hearth.alt/webui"
	"hearth.alt/webui/house"
)

// Dispute says to whoever has the words what is disputed.
func (h *House) Dispute(ctx context.Context, words secret.Text) (house.Dispute, error) {
	var list []api.DisputeOutput
	err := h.byWords(ctx, func(caller services.Caller) (err error) {
		list, err = h.API.DisputeByWords(ctx, caller, strings.Fields(words.Reveal()))
		return err
	})
	if err != nil {
		return house.Dispute{}, err
	}
	m := h.API.Identity.Membership()
	return disputed(list, m), nil
}

// disputed has one question for each of list, however often it was removed; a copied box is none.
func disputed(list []api.DisputeOutput, m *services.Membership) house.Dispute {
	var d house.Dispute
	copied := map[string]bool{}
	for _, o := range list {
		if o.Kind == "clone" {
			copied[o.ID] = true
			d.Clones = append(d.Clones, house.Clone{Name: o.Name, Here: o.ID == m.Self.String()})
		}
	}
	for _, o := range list {
		if copied[o.ID] {
			continue
		}
		if o.Kind == "box" && o.ID == m.Self.String() {
			o.Kind = "here"
		}
		at := slices.IndexFunc(d.Who, func(w house.Disputed) bool { return w.ID == o.ID })
		if at < 0 {
			at = len(d.Who)
			d.Who = append(d.Who, house.Disputed{ID: o.ID, Kind: o.Kind, Name: o.Name})
		}
		if o.Kind == "remover" {
			d.Who[at].Kind = o.Kind
		} else if !slices.Contains(d.Who[at].By, o.By) {
			d.Who[at].By = append(d.Who[at].By, o.By)
		}
	}
	for i, w := range d.Who {
		if device, ok := m.Device(services.DeviceID(w.ID)); ok { // several people may have a "Phone"
			if p, ok := m.Person(device.Person); ok {
				d.Who[i].Name += " (" + p.Name + ")"
			}
		}
	}
	return d
}

// Agreement says to an admin what boxes can settle without the words.
func (h *House) Agreement(ctx context.Context) (house.Agreement, error) {
	list, err := h.API.Dispute(ctx, webui.CallerOf(ctx), api.None{})
	if err != nil {
		return house.Agreement{}, err
	}
	d, err := h.API.Identity.Dispute()
	if err != nil || d.Needed == 0 {
		return house.Agreement{}, err
	}
	m := h.API.Identity.Membership()
	a := house.Agreement{Who: disputed(list, m).Who, Needed: d.Needed}
	for _, v := range d.Voices {
		said := house.Said{Box: v.Name, This: v.Box == m.Self}
		if p, ok := m.Person(v.Person); ok {
			said.Person = p.Name
		}
		for _, who := range v.Stay {
			said.Stay = append(said.Stay, who.String())
		}
		a.Said = append(a.Said, said)
	}
	return a, nil
}

// Agree says on this box who stays.
func (h *House) Agree(ctx context.Context, stay []string) (house.Agreement, error) {
	if _, err := h.API.Agree(ctx, webui.CallerOf(ctx), api.AgreeInput{Stay: stay}); err != nil {
		return house.Agreement{}, err
	}
	return h.Agreement(ctx)
}

// Settle ends the dispute.
func (h *House) Settle(ctx context.Context, words secret.Text, stay []string) (restart bool, err error) {
	err = h.byWords(ctx, func(caller services.Caller) error {
		out, err := h.API.SettleByWords(ctx, caller, api.SettleInput{Words: strings.Fields(words.Reveal()), Stay: stay})
		restart = out.Restart
		return err
	})
	return restart, err
}

// disputeTrouble is what the first page says while who belongs is disputed.
func disputeTrouble(m *services.Membership, role services.Role) house.Trouble {
	t := house.Trouble{
		ID: "dispute", State: house.StateAct,
		What:  services.Say("trouble.dispute-what", "Who belongs to this house is disputed."),
		Why:   services.Say("trouble.dispute-why", "Two removed one another at the same time. Since when is not known."),
		Means: services.Say("trouble.dispute-means", "Those it is about have no access. Everybody else goes on as before. People, devices and boxes cannot be changed."),
		Do:    services.Say("trouble.dispute-ask", "Ask an owner of the house. With the 24 recovery words they can settle it."),
	}
	var copied []string
	for _, b := range m.Boxes {
		if slices.Contains(m.Copied, b.ID) {
			copied = append(copied, b.Name)
		}
	}
	if boxes := strings.Join(copied, ", "); len(copied) > 0 && m.Opposed {
		t.Why = services.Say("trouble.dispute-both", "Two removed one another at the same time, and a key is used in two places, as after a card was copied: {boxes}. Since when is not known.", "boxes", boxes)
	} else if len(copied) > 0 {
		t.Why = services.Say("trouble.dispute-copied", "A key is used in two places, as after a card was copied: {boxes}. Since when is not known.", "boxes", boxes)
		t.Means = services.Say("trouble.dispute-copied-means", "The other boxes do not listen to it. Everybody goes on as before. People, devices and boxes cannot be changed.")
	}
	if box, ok := m.Box(); ok && box.State == services.StateQuarantined {
		t.What = services.Say("trouble.suspended-what", "This box is suspended, because who belongs to this house is disputed.")
		t.Means = services.Say("trouble.suspended-means", "The other boxes of the house do not listen to this one. What it does alone goes on. People, devices and boxes cannot be changed.")
	}
	if role >= services.RoleAdmin {
		t.Do = services.Say("trouble.dispute-do", "Take the paper with the 24 recovery words and settle it. No one has to be signed in for that. Where several boxes can settle it without the words, that page says so.")
		t.Action, t.Label = "/dispute", services.Say("trouble.dispute-label", "Settle it")
	}
	return t
}
