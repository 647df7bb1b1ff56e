package webtest

import (
	"context"
	"net/url"
	"time"

	"hearth.alt/services"
	"hearth.alt/webui/house"
)

func (h *House) Log(context.Context, int) (house.Log, error) { return h.TheLog, nil }
func (h *House) CheckLog(context.Context) (int, error)       { return 14, h.Err }

func logged() *House {
	h := well()
	at := func(days int) time.Time { return ago(time.Duration(days) * 24 * time.Hour) }
	h.TheLog = house.Log{All: 5, Page: 1, Pages: 1, Records: []house.LogRecord{
		{At: ago(time.Hour), What: say("{name} was removed, with all devices.", "name", "Dora"), Person: "Ann", Box: "Attic"},
		{At: ago(2 * time.Hour), What: say("{name} was invited.", "name", "Eve"), Person: "Dora", Box: "Barn", Why: say("it is disputed, whoever made it was removed, or the 24 words left it out")},
		{At: at(3), What: say("The device {name} was paired.", "name", "Ann’s phone"), Box: "Attic"},
		{At: at(400), What: say("The box {name} was added.", "name", "Attic")},
		{At: at(400), What: say("The household {name} began.", "name", "Smith")},
	}}
	return h
}

// logScenes are the scenes of the household's log.
func logScenes() []Scene {
	scene := func(name, state, method, path string, h *House) Scene {
		s := Scene{Name: name, Page: "log", State: state, Method: method, Path: path, Caller: owner, House: h}
		if method == "POST" {
			s.Form, s.Follow = url.Values{}, true
		}
		return s
	}
	return []Scene{
		scene("log", "one", "GET", "/network/log", logged()),
		scene("log-many", "many", "GET", "/network/log?page=2", with(logged(), func(h *House) { h.TheLog.All, h.TheLog.Page, h.TheLog.Pages = 130, 2, 3 })),
		scene("log-long", "long", "GET", "/network/log?page=3", with(logged(), func(h *House) {
			h.TheLog.All, h.TheLog.Page, h.TheLog.Pages = 130, 3, 3
			h.TheLog.Records = []house.LogRecord{{At: Now, What: say("The device {name} was added for {person}.", "name", longWord, "person", longWord), Person: longWord, Box: longWord, Why: say("it adds what is there already, or was removed before")}}
		})),
		scene("log-checked", "done", "POST", "/network/log", logged()),
		scene("log-bad", "broken", "POST", "/network/log", with(logged(), func(h *House) {
			h.Err = &services.Problem{Kind: services.KindUnavailable, Code: "log-bad", Say: say("Record {number} of the log is not good: its signature does not fit. Bring the log back from a backup.", "number", 3)}
		})),
	}
}
