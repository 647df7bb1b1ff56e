package webtest

import (
	"context"
	"net/url"
	"strings"

	"hearth.alt/services"
	"hearth.alt/services/secret"
	"hearth.alt/webui/house"
)

func (h *House) Dispute(_ context.Context, words secret.Text) (house.Dispute, error) {
	if len(strings.Fields(words.Reveal())) != len(h.TheWords) {
		return house.Dispute{}, wrong(services.KindInvalid, "words", "There are 24 recovery words, not 2.")
	}
	return h.TheDispute, nil
}

func (h *House) Settle(context.Context, secret.Text, []string) (bool, error) {
	return h.Restarts, h.Err
}

func (h *House) Agreement(context.Context) (house.Agreement, error) { return h.TheAgreement, nil }

func (h *House) Agree(context.Context, []string) (house.Agreement, error) {
	if h.Err == nil && h.Agreed {
		return house.Agreement{}, nil
	}
	return h.TheAgreement, h.Err
}

// frozen is a house in which Ann and Ben removed one another.
func frozen() *House {
	h := well()
	h.TheFrame.Frozen, h.TheFrame.Opposed, h.TheWords = true, true, words
	h.TheDispute.Who = []house.Disputed{
		{ID: string(annID), Kind: "person", Name: "Ann", By: []string{"Ben"}}, {ID: string(benID), Kind: "person", Name: "Ben", By: []string{"Ann"}},
	}
	return h
}

// divided is frozen with boxes enough to settle it, one of which has said something.
func divided() *House {
	h := frozen()
	h.TheAgreement = house.Agreement{Who: h.TheDispute.Who, Needed: 2, Said: []house.Said{{Box: "Attic", Person: "Dora", Stay: []string{string(annID)}}}}
	return h
}

// removedBox is one that the stolen attic removed from the house.
func removedBox() *House {
	h := frozen()
	h.TheFrame.Frozen, h.TheFrame.Removed, h.TheFrame.Box = false, true, ""
	h.TheDispute.Who = []house.Disputed{
		{ID: "study", Kind: "here", Name: "Study", By: []string{"Attic"}}, {ID: string(annID), Kind: "person", Name: "Ann", By: []string{"Attic"}},
		{ID: "attic", Kind: "remover", Name: "Attic"},
	}
	return h
}

func clonedBox(here bool) *House {
	h := frozen()
	h.TheFrame.Opposed, h.TheFrame.Copied = false, true
	h.TheDispute = house.Dispute{Clones: []house.Clone{{Name: "Attic", Here: here}}}
	return h
}

// disputeScenes are the scenes of a dispute.
func disputeScenes() []Scene {
	post := func(name, state, path string, form url.Values, c services.Caller, h *House) Scene {
		if form == nil {
			form = url.Values{}
		}
		if !form.Has("words") {
			form.Set("words", strings.Join(words, " "))
		}
		return Scene{Name: name, Page: "dispute", State: state, Method: "POST", Path: path, Form: form, Caller: c, House: h}
	}
	status := func(s Scene, want int) Scene { s.Want = want; return s }
	follow := func(s Scene) Scene { s.Follow = true; return s }
	answers := func(ann, ben string) url.Values {
		return url.Values{"who-" + string(annID): {ann}, "who-" + string(benID): {ben}}
	}
	trouble := func(what, do string) house.Trouble {
		return house.Trouble{
			ID: "dispute", State: house.StateAct, What: say(what), Why: say("Two removed one another at the same time. Since when is not known."),
			Means: say("Those it is about have no access. Everybody else goes on as before."), Do: say(do), Action: "/dispute", Label: say("Settle it"),
		}
	}
	return []Scene{
		{Name: "dispute", Page: "dispute", State: "empty", Method: "GET", Path: "/dispute", Caller: nobodySecure, House: frozen()},
		{Name: "dispute-copied", Page: "dispute", State: "empty", Method: "GET", Path: "/dispute", Caller: nobodySecure, House: clonedBox(false)},
		{Name: "dispute-owner", Page: "dispute", State: "empty", Method: "GET", Path: "/dispute", Caller: owner, House: frozen()},
		{Name: "dispute-none", Page: "dispute", State: "one", Method: "GET", Path: "/dispute", Caller: nobodySecure, House: well()},
		status(post("dispute-wrong", "broken", "/dispute", url.Values{"words": {"lantern turtle"}}, nobodySecure, frozen()), 422),
		post("dispute-people", "many", "/dispute", nil, nobodySecure, frozen()),
		post("dispute-device", "long", "/dispute", nil, nobodySecure, with(frozen(), func(h *House) {
			h.TheDispute.Who = []house.Disputed{
				{ID: string(phoneID), Kind: "device", Name: longWord + " (" + longWord + ")", By: []string{longWord, "Ben"}}, {ID: "box", Kind: "box", Name: longWord, By: []string{"Attic"}},
			}
		})),
		{Name: "dispute-or-agree", Page: "dispute", State: "many", Method: "GET", Path: "/dispute", Caller: owner, House: divided()},
		{Name: "dispute-agree", Page: "dispute", State: "one", Method: "GET", Path: "/dispute/agree", Caller: owner, House: divided()},
		status(post("dispute-agree-unanswered", "broken", "/dispute/agree", url.Values{"who-" + string(annID): {"stays"}}, owner, divided()), 422),
		status(post("dispute-agree-refused", "broken", "/dispute/agree", answers("goes", "goes"), owner, with(divided(), func(h *House) {
			h.Err = wrong(services.KindConflict, "", "This choice would not settle the dispute. Choose otherwise who stays. Nothing was changed.")
		})), 422),
		follow(post("dispute-agree-said", "done", "/dispute/agree", answers("stays", "goes"), owner, divided())),
		follow(post("dispute-agree-done", "done", "/dispute/agree", answers("stays", "goes"), owner, with(divided(), func(h *House) { h.Agreed = true }))),
		post("dispute-clone-here", "one", "/dispute", nil, owner, clonedBox(true)),
		post("dispute-clone", "one", "/dispute", nil, nobodySecure, clonedBox(false)),
		status(post("dispute-unanswered", "broken", "/dispute/settle", url.Values{"who-" + string(annID): {"stays"}}, nobodySecure, frozen()), 422),
		status(post("dispute-refused", "broken", "/dispute/settle", answers("goes", "goes"), nobodySecure, with(frozen(), func(h *House) {
			h.Err = wrong(services.KindConflict, "", "Then the house would have no owner. At least one owner has to stay.")
		})), 422),
		follow(post("dispute-done", "done", "/dispute/settle", answers("stays", "goes"), owner, frozen())),
		post("dispute-restart", "done", "/dispute/settle", nil, nobodySecure, with(clonedBox(true), func(h *House) { h.Restarts = true })),
		{Name: "dispute-removed", Page: "dispute", State: "empty", Method: "GET", Path: "/dispute", Caller: nobodySecure, House: removedBox()},
		post("dispute-remover", "many", "/dispute", nil, nobodySecure, removedBox()),
		post("dispute-removed-none", "one", "/dispute", nil, nobodySecure, with(removedBox(), func(h *House) { h.TheDispute = house.Dispute{} })),
		{Name: "signin-frozen", Page: "signin", State: "broken", Method: "GET", Path: "/signin", Caller: nobodySecure, House: frozen()},
		{Name: "people-suspended", Page: "people", State: "broken", Method: "GET", Path: "/people", Caller: owner, House: with(frozen(), func(h *House) {
			h.ThePeople[1].State = services.StateQuarantined
		})},
		{Name: "devices-suspended", Page: "devices", State: "broken", Method: "GET", Path: "/devices", Caller: owner, House: with(frozen(), func(h *House) {
			h.TheDevices[2].State = services.StateQuarantined
		})},
		{Name: "person-frozen", Page: "person", State: "broken", Method: "GET", Path: "/people/" + string(benID), Caller: owner, House: frozen()},
		{Name: "device-frozen", Page: "device", State: "broken", Method: "GET", Path: "/devices/" + string(phoneID), Caller: owner, House: frozen()},
		{Name: "friends-frozen", Page: "friends", State: "broken", Method: "GET", Path: "/friends", Caller: owner, House: frozen()},
		{Name: "boxes-frozen", Page: "boxes", State: "broken", Method: "GET", Path: "/boxes", Caller: owner, House: with(several(), func(h *House) { h.TheFrame.Frozen = true })},
		{Name: "boxes-damaged", Page: "boxes", State: "broken", Method: "GET", Path: "/boxes", Caller: owner, House: with(several(), func(h *House) { h.TheFrame.LogReadOnly = true })},
		{Name: "home-frozen", Page: "home", State: "broken", Method: "GET", Path: "/", Caller: owner, House: with(frozen(), func(h *House) {
			h.TheOverview.Troubles = []house.Trouble{trouble("Who belongs to this house is disputed.", "Take the paper with the 24 recovery words and settle it. No one has to be signed in for that.")}
		})},
	}
}
