package webtest

import (
	"context"
	"net/url"
	"strings"

	"hearth.alt/services"
	"hearth.alt/services/secret"
	"hearth.alt/webui/house"
)

func (h *House) NewWords(_ context.Context, former secret.Text) (n house.NewWords, err error) {
	if len(strings.Fields(former.Reveal())) != len(h.TheWords) {
		return n, wrong(services.KindInvalid, "words", "There are 24 recovery words, not 2.")
	}
	for _, w := range h.TheWords {
		n.Words = append(n.Words, shown(w))
	}
	n.Asked = h.TheAsked
	return n, nil
}

func (h *House) ReplaceWords(context.Context, secret.Text, map[int]secret.Text) error { return h.Err }

// wordScenes are the scenes of new recovery words.
func wordScenes() []Scene {
	asks := func(h *House) { h.TheWords, h.TheAsked = words, []int{4, 11, 20} }
	post := func(name, state, path string, form url.Values, h *House) Scene {
		if !form.Has("words") {
			form.Set("words", strings.Join(words, " "))
		}
		return Scene{Name: name, Page: "words", State: state, Method: "POST", Path: path, Form: form, Caller: owner, House: with(h, asks)}
	}
	status := func(s Scene, want int) Scene { s.Want = want; return s }
	done := post("words-done", "done", "/words/replace", url.Values{}, well())
	done.Follow = true
	return []Scene{
		{Name: "words", Page: "words", State: "empty", Method: "GET", Path: "/words", Caller: owner, House: well()},
		status(post("words-wrong", "broken", "/words", url.Values{"words": {"lantern turtle"}}, well()), 422),
		post("words-show", "many", "/words", url.Values{}, well()),
		status(post("words-unwritten", "broken", "/words/check", url.Values{}, well()), 422),
		post("words-check", "many", "/words/check", url.Values{"written": {"yes"}}, well()),
		status(post("words-check-wrong", "broken", "/words/replace", url.Values{"word4": {"turtle"}}, with(well(), func(h *House) {
			h.Err = wrong(services.KindInvalid, "word4", "Word 4 on the paper should be another one. Go back one step and compare it with the list.")
		})), 422),
		done,
	}
}
