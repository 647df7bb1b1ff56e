package webtest

import (
	"time"

	"hearth.alt/services"
	"hearth.alt/webui/house"
)

// parted is a well house that people left.
func parted() *House {
	left := func(id services.PersonID, name string, then services.Then, until time.Duration) house.Left {
		l := house.Left{Leaving: services.Leaving{Person: id, Name: name, Removed: Now.Add(-5 * 24 * time.Hour), Then: then, Choice: 1}}
		if until > 0 {
			l.Until = Now.Add(until)
		}
		return l
	}
	return with(well(), func(h *House) {
		h.TheLeft = []house.Left{
			left("leaveraaaaaaaaaa", "Dora", services.ThenErase, 25*24*time.Hour), left("leaverbbbbbbbbbb", "Emil", services.ThenExport, 0),
			left("leavercccccccccc", "Fred", services.ThenErase, 0), left("leaverdddddddddd", "Gus", services.ThenNow, 0),
		}
	})
}
