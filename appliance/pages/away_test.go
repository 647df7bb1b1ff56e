package pages

import (
	"strings"
	"testing"
	"time"

	"hearth.alt/services"
)

// The first page names a box of the house that is away, since when, and what to do; no word of it while all are in touch.
func TestAwayTrouble(t *testing.T) {
	self, barn, attic := services.PeerID{1}, services.PeerID{2}, services.PeerID{3}
	m := func(own, other services.State) *services.Membership {
		return &services.Membership{Self: self, Boxes: []services.Box{
			{ID: self, Name: "study", State: own}, {ID: barn, Name: "barn", State: other}, {ID: attic, Name: "attic", State: services.StateActive},
		}}
	}
	since := time.Date(2026, 11, 21, 14, 2, 0, 0, time.UTC)
	heard := func(id services.PeerID) time.Time {
		if id == barn {
			return since
		}
		return time.Time{}
	}
	const active, suspended = services.StateActive, services.StateQuarantined
	for _, c := range []struct {
		name    string
		m       *services.Membership
		away    []services.PeerID
		role    services.Role
		key, do string // "" when nothing is said
		action  string
	}{
		{"all in touch", m(active, active), nil, services.RoleOwner, "", "", ""},
		{"one away", m(active, active), []services.PeerID{barn}, services.RoleAdmin, "trouble.away-since", "trouble.away-do", "/boxes"},
		{"one never heard", m(active, active), []services.PeerID{attic}, services.RoleOwner, "trouble.away-what", "trouble.away-do", "/boxes"},
		{"two away", m(active, active), []services.PeerID{barn, attic}, services.RoleMember, "trouble.away-what", "trouble.away-ask", "/boxes"},
		{"a guest", m(active, active), []services.PeerID{barn}, services.RoleGuest, "trouble.away-since", "trouble.away-ask", ""},
		{"a suspended one", m(active, suspended), []services.PeerID{barn}, services.RoleOwner, "", "", ""},
		{"this one is suspended", m(suspended, active), []services.PeerID{barn}, services.RoleOwner, "", "", ""},
	} {
		got := awayTrouble(c.m, c.away, heard, c.role)
		if c.key == "" {
			if len(got) != 0 {
				t.Errorf("%s: %v", c.name, got[0].What)
			}
			continue
		}
		if len(got) != 1 || got[0].What.Key != c.key || got[0].Do.Key != c.do || got[0].Action != c.action {
			t.Errorf("%s: %+v", c.name, got)
			continue
		}
		if at, ok := got[0].What.Args["at"]; ok && at != since {
			t.Errorf("%s: since %v", c.name, at)
		}
		if text := got[0].What.String() + got[0].Why.String(); len(c.away) == 2 && !strings.Contains(text, "barn, attic") {
			t.Errorf("%s: %s", c.name, text)
		}
	}
}
