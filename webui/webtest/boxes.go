package webtest

import (
	"context"
	"io"
	"net/url"
	"slices"
	"time"

	"hearth.alt/services"
	"hearth.alt/webui/house"
)

func (h *House) Boxes(context.Context) ([]house.Box, error) { return h.TheBoxes, nil }
func (h *House) BoxInvitation(context.Context) (house.BoxInvitation, error) {
	return h.TheBoxInvite, nil
}
func (h *House) InviteBox(context.Context) error { return h.Err }
func (h *House) Export(context.Context) (house.Download, error) {
	return house.Download{Name: "smith.hearth.tar", Type: "application/x-tar", Write: func(io.Writer) error { return nil }, Close: func() error { return nil }}, h.Err
}
func (h *House) WithdrawBox(context.Context) error                            { return h.Err }
func (h *House) RemoveBox(context.Context, services.PeerID, bool, bool) error { return h.Err }
func (h *House) JoinHousehold(context.Context, string, house.JoinForm) (house.Joined, error) {
	return house.Joined{Household: "Smith", Words: "lamp garden pepper"}, h.Err
}

func box(id byte, name, label string, this, linked bool) house.Box {
	words := "lamp garden pepper"
	if this {
		words = ""
	}
	return house.Box{
		Words: words,
		Box:   services.Box{ID: services.PeerID{id}, Name: name, Label: label, State: services.StateActive, Addr4: addr("10.87.14." + string('0'+rune(id)))},
		This:  this, Linked: linked,
	}
}

// several is a house of four boxes, of which one is off and one never came.
func several() *House {
	h := well()
	barn, awaited := box(4, "Barn", "barn", false, false), box(5, "Loft", "loft", false, false)
	barn.Heard = ago(3 * time.Hour)
	h.TheBoxes = []house.Box{box(3, "Attic", "attic", false, true), barn, box(1, "hearth", "hearth", true, false), awaited}
	return h
}

const boxLink = "http://hearth.local/join#hearth:box?AQGtR7pC0wqk2m5v8yXbN1eZ3uJfLhT9sVdKiPoQcWgUYBA6xE4rSRnMjHFlDzCGyOaIwLb2tXkqeVu5PpN7m0Zd8f3s"

// boxScenes are the scenes of the boxes, and of a box that joins.
func boxScenes() []Scene {
	get := func(name, state, path string, c services.Caller, h *House) Scene {
		return Scene{Name: name, Page: "boxes", State: state, Method: "GET", Path: path, Caller: c, House: h}
	}
	waits := func(h *House) {
		h.TheBoxInvite = house.BoxInvitation{Link: shown(boxLink), Code: shown("river stone apple"), Expires: Now.Add(9 * time.Minute), Tries: 5}
	}
	join := func(name, state, method string, form url.Values, err error, want int) Scene {
		h := unclaimed()
		h.IsProved, h.Err = true, err
		return Scene{Name: name, Page: "claim", State: state, Method: method, Path: "/claim/join", Caller: nobodySecure, House: h, Form: form, Proof: true, Want: want}
	}
	return []Scene{
		get("boxes", "many", "/boxes", owner, several()),
		get("boxes-one", "one", "/boxes", owner, with(well(), func(h *House) { h.TheBoxes = []house.Box{box(1, "hearth", "hearth", true, false)} })),
		get("boxes-member", "many", "/boxes", member, asBen(several())),
		get("boxes-suspended", "broken", "/boxes", owner, with(several(), func(h *House) {
			h.TheBoxes = slices.Clone(h.TheBoxes)
			h.TheBoxes[0].State = services.StateQuarantined
		})),
		get("boxes-long", "long", "/boxes", owner, with(several(), func(h *House) {
			h.TheBoxes = slices.Clone(h.TheBoxes)
			h.TheBoxes[0].Name, h.TheBoxes[0].Label = longWord, "donaudampfschifffahrtsgesellschaftskapitaensfamilie"
		})),
		get("boxadd", "empty", "/boxes/add", owner, several()),
		get("boxadd-waiting", "loading", "/boxes/add", owner, with(several(), waits)),
		get("boxadd-dead", "broken", "/boxes/add", owner, with(several(), func(h *House) {
			waits(h)
			h.TheBoxInvite.Tries = 0
		})),
		get("boxadd-done", "done", "/boxes/add", owner, with(several(), func(h *House) {
			waits(h)
			h.TheBoxInvite.Joined = h.TheBoxes[1]
		})),
		get("boxremove", "one", "/boxes/"+box(3, "", "", false, false).ID.String()+"/remove", owner, several()),
		get("boxremove-this", "one", "/boxes/"+box(1, "", "", false, false).ID.String()+"/remove", owner, several()),

		join("claim-join", "empty", "GET", nil, nil, 0),
		join("claim-join-wrong", "broken", "POST", url.Values{"link": {"river stone aple"}, "name": {"Barn"}, "at": {"192.168.1.20"}},
			wrong(services.KindInvalid, "link", "Word 3 of the spoken code is none that such a code can have. The nearest one is “apple”."), 422),
		join("claim-join-none-near", "broken", "POST", url.Values{"link": {"river stone apple"}, "name": {"Barn"}},
			wrong(services.KindNotFound, "at", "No other box was found in this network. Type the other box's address: its page Network shows it."), 422),
		join("claim-join-unreachable", "broken", "POST", url.Values{"link": {boxLink}, "name": {"Barn"}},
			wrong(services.KindUnavailable, "", "The other box does not answer. Look whether both are switched on and in the same network, then try once more with the same invitation."), 422),
		join("claim-joined", "done", "POST", url.Values{"link": {boxLink}, "name": {"Barn"}}, nil, 0),
		{Name: "landing-join", Page: "landing", State: "one", Method: "GET", Path: "/join", Caller: nobodyLAN, House: unclaimed()},
		{Name: "landing-join-claimed", Page: "landing", State: "broken", Method: "GET", Path: "/join", Caller: nobodyLAN, House: well()},
	}
}
