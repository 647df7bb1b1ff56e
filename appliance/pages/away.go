package pages

import (
	"slices"
	"strings"
	"time"

	"hearth.alt/services"
	"hearth.alt/webui/house"
)

// awayTrouble is what the first page says of boxes of the house that are away; nothing while none is. A box that is
// suspended is the dispute's, and of one that was itself removed the others are none of its business.
func awayTrouble(m *services.Membership, away []services.PeerID, heard func(services.PeerID) time.Time, role services.Role) []house.Trouble {
	var names []string
	var since time.Time
	for _, b := range m.Boxes {
		if b.State == services.StateActive && b.ID != m.Self && slices.Contains(away, b.ID) {
			names = append(names, b.Name)
			since = heard(b.ID)
		}
	}
	if own, ok := m.Box(); len(names) == 0 || !ok || own.State != services.StateActive {
		return nil
	}
	n, all := len(names), strings.Join(names, ", ")
	t := house.Trouble{
		ID: "away", State: house.StateCare,
		What:  services.Say("trouble.away-what", "{n, plural, one {The box {names} is} other {{n, Words} boxes of the house are}} away.", "n", n, "names", all),
		Why:   services.Say("trouble.away-why", "{n, plural, one {This box has not heard from it for a while} other {This box has not heard for a while from {names}}}.", "n", n, "names", all),
		Means: services.Say("trouble.away-means", "{n, plural, one {Here everything goes on without it. It hears what has changed when it is back, and until then lets in whom it knew} other {Here everything goes on without them. They hear what has changed when they are back, and until then let in whom they knew}}.", "n", n),
		Do:    services.Say("trouble.away-ask", "{n, plural, one {Look whether it has power, and whether its network cable and this box’s are in. If it is lost or stolen, tell an owner of the house} other {Look whether they have power, and whether their network cables and this box’s are in. If one is lost or stolen, tell an owner of the house}}.", "n", n),
	}
	if n == 1 && !since.IsZero() {
		t.What = services.Say("trouble.away-since", "The box {name} has been away since {at}.", "name", all, "at", since)
	}
	if role >= services.RoleAdmin {
		t.Do = services.Say("trouble.away-do", "{n, plural, one {Look whether it has power, and whether its network cable and this box’s are in. If it is lost or stolen, remove it} other {Look whether they have power, and whether their network cables and this box’s are in. If one is lost or stolen, remove it}}.", "n", n)
	}
	if role >= services.RoleMember {
		t.Action, t.Label = "/boxes", services.Say("trouble.away-label", "See the boxes")
	}
	return []house.Trouble{t}
}
