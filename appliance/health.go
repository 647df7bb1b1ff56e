package appliance

import (
	"hearth.alt/services"
)

// healthBoard gathers what the services say of themselves.
type healthBoard struct{ parts []services.Service }

func newHealthBoard() *healthBoard { return &healthBoard{} }

// parent names the service that each waits for: while the parent is not well, the child is "waiting" and not blamed.
var parent = map[string]string{
	"account": "identity", "certificate": "identity", "mesh": "identity", "dns": "mesh", "firewall": "identity",
}

// All lists every service's health in the order it is shown.
func (b *healthBoard) All() []services.Health {
	all := make([]services.Health, 0, len(b.parts))
	well := map[string]bool{}
	for _, p := range b.parts {
		h := p.Health()
		well[h.Name] = h.Ready && h.OK
		all = append(all, h)
	}
	for i, h := range all {
		if up := parent[h.Name]; up != "" && !well[up] && !(h.Ready && h.OK) {
			all[i].Waiting = up
		}
	}
	return all
}
