package home

import (
	"strings"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/webui/components"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
	"hearth.alt/webui/messages"
)

func part(name string, ready, ok bool, waiting string) services.Health {
	return services.Health{Name: name, Ready: ready, OK: ok, Waiting: waiting, Since: time.Unix(0, 0), Message: services.Say("x.y", "It says so.")}
}

func trouble(id string, s house.State) house.Trouble {
	return house.Trouble{ID: id, State: s, What: services.Say("x.z", "The first trouble.")}
}

// TestSentence says what the first page answers to "is everything all right?".
func TestSentence(t *testing.T) {
	well := part("dns", true, true, "")
	for _, tt := range []struct {
		what     string
		parts    []services.Health
		troubles []house.Trouble
		fire     components.Fire
		sentence string
		lead     string
	}{
		{"well", []services.Health{well}, nil, components.Full, "All is well at home.", "Everything answers."},
		{"one waits for another", []services.Health{well, part("mesh", false, false, "identity")}, nil, components.Full, "Nothing is wrong at home.", "One part of the house is still"},
		{"two wait", []services.Health{part("dns", false, false, "mesh"), part("mesh", false, false, "identity")}, nil, components.Full, "Nothing is wrong", "Two parts of the house are still"},
		{"one to look at", []services.Health{part("dns", true, false, "")}, nil, components.Low, "One thing to look at.", ""},
		{"one is down", []services.Health{part("dns", false, false, ""), well}, nil, components.Embers, "One thing needs you now.", ""},
		{"one is down and its child waits", []services.Health{part("mesh", false, false, ""), part("dns", false, false, "mesh")}, nil, components.Embers, "One thing needs you now.", ""},
		{"a trouble without a row", []services.Health{well}, []house.Trouble{trouble("words", house.StateCare)}, components.Low, "The first trouble.", ""},
		{"a trouble and a row of another thing are two", []services.Health{part("dns", true, false, "")}, []house.Trouble{trouble("words", house.StateCare)}, components.Low, "The first trouble.", "One more thing is to look at."},
		{"a trouble and the row of the same thing are one", []services.Health{part("identity", true, false, "")}, []house.Trouble{trouble("log", house.StateCare)}, components.Low, "The first trouble.", ""},
		{"a row is worse than the trouble", []services.Health{part("dns", false, false, "")}, []house.Trouble{trouble("words", house.StateCare)}, components.Embers, "Two things need you now.", ""},
		{"console and claim are not read of while well", []services.Health{part("console", true, true, ""), part("claim", true, true, "")}, nil, components.Full, "All is well", "Everything answers."},
		{"console is read of when not", []services.Health{part("console", true, false, "")}, nil, components.Low, "One thing to look at.", ""},
	} {
		now := time.Unix(100000, 0)
		rq := &web.Request{Printer: &messages.Printer{Language: messages.Lookup("en"), Now: now, Zone: time.UTC}}
		rq.Caller.Role = services.RoleOwner
		o := house.Overview{Looked: now, Services: tt.parts, Troubles: tt.troubles}
		v := view{troubles: troubles(rq, o)}
		v.rows, v.bad, v.waiting = rows(rq, o)
		v.say(rq, o)
		if v.fire != tt.fire || !strings.HasPrefix(v.sentence, tt.sentence) || !strings.HasPrefix(v.lead, tt.lead) || tt.lead == "" && v.lead != "" {
			t.Errorf("%s: fire %v, %q, %q; want %v, %q, %q", tt.what, v.fire, v.sentence, v.lead, tt.fire, tt.sentence, tt.lead)
		}
		for _, r := range v.rows {
			if r.State == house.StateGood && (r.Name == "Ownership" || strings.Contains(r.Name, "box itself")) {
				t.Errorf("%s: the row %q is shown", tt.what, r.Name)
			}
		}
	}
}
