package pages

import (
	"errors"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/services/account"
	"hearth.alt/services/mesh"
	"hearth.alt/webui/house"
)

// tell puts an event of the audit log into a sentence; false for one that is for the technical page only.
func tell(m *services.Membership, e account.Event) (services.Sentence, bool) {
	who := ""
	if p, ok := m.Person(e.Actor); ok {
		who = p.Name
	}
	if who == "" && e.Face == services.FaceConsole {
		switch e.Action {
		case "device-added":
			return services.Say("event.console-device-added", "{object} was added at the box itself.", "object", e.Object), true
		case "device-removed":
			return services.Say("event.console-device-removed", "{object} was removed at the box itself.", "object", e.Object), true
		case "person-invited":
			return services.Say("event.console-person-invited", "{object} was invited at the box itself.", "object", e.Object), true
		case "box-invited":
			return services.Say("event.console-box-invited", "A box was invited at the box itself."), true
		case "box-removed":
			return services.Say("event.console-box-removed", "The box {object} was removed at the box itself.", "object", e.Object), true
		case "time-set":
			return services.Say("event.console-time-set", "The time of the box was set at the box itself."), true
		case "zone-set":
			return services.Say("event.console-zone-set", "The time zone was set to {object} at the box itself.", "object", e.Object), true
		case "homeward-allowed":
			return services.Say("event.console-homeward-allowed", "{object} was allowed to point home, at the box itself.", "object", api.Domain(e.Object)), true
		case "homeward-removed":
			return services.Say("event.console-homeward-removed", "{object} was kept from pointing home, at the box itself.", "object", api.Domain(e.Object)), true
		case "friend-added":
			return services.Say("event.console-friend-added", "{object} became a friend, at the box itself.", "object", e.Object), true
		case "friend-removed":
			return services.Say("event.console-friend-removed", "{object} was removed from the friends at the box itself.", "object", e.Object), true
		case "person-removed":
			return services.Say("event.console-person-removed", "{object} was removed from the household at the box itself.", "object", e.Object), true
		}
	}
	switch e.Action {
	case "claimed":
		return services.Say("event.claimed", "The box was claimed for the household {object}.", "object", e.Object), true
	case "words-replaced":
		return services.Say("event.words-replaced", "The household got new recovery words. The former ones are good for nothing now."), true
	case "words-confirmed":
		return services.Say("event.words-confirmed", "The recovery words were checked and taken off the box."), true
	case "device-paired":
		return services.Say("event.device-paired", "{object} was paired.", "object", e.Object), true
	case "friend-came": // the other household does it
		return services.Say("event.friend-came", "{object} took up the invitation and is a friend now.", "object", e.Object), true
	case "box-joined":
		return services.Say("event.box-joined", "The box {object} joined the household.", "object", e.Object), true
	case "joined":
		return services.Say("event.joined", "This box joined the household {object}.", "object", e.Object), true
	case "exported", "exported-with-sign-in":
		return services.Say("event.exported", "The household was exported to a file."), true
	case "imported", "imported-partly":
		return services.Say("event.imported", "An export of the household {object} was brought back.", "object", e.Object), true
	case "dispute-settled":
		return services.Say("event.dispute-settled", "The dispute about who belongs was settled with the 24 words."), true
	case "dispute-agreed":
		return services.Say("event.dispute-agreed", "On this box it was said who of the disputed belongs on."), true
	case "files-erased": // by the box itself
		return services.Say("event.files-erased", "What {object} kept on this box is erased.", "object", e.Object), true
	case "way-in-by-words": // nobody is signed in who does it
		return services.Say("event.way-in-by-words", "Someone with the 24 words made a new way in for {name}.", "name", e.Object), true
	}
	if who == "" {
		return services.Sentence{}, false
	}
	switch e.Action {
	case "sign-in":
		return services.Say("event.sign-in", "{who} signed in.", "who", who), true
	case "sign-in-refused":
		return services.Say("event.sign-in-refused", "A wrong password was typed for {who}.", "who", who), true
	case "person-invited":
		return services.Say("event.person-invited", "{who} invited {object}.", "who", who, "object", e.Object), true
	case "person-changed":
		return services.Say("event.person-changed", "{who} changed {object}.", "who", who, "object", e.Object), true
	case "person-removed":
		return services.Say("event.person-removed", "{who} removed {object} from the household.", "who", who, "object", e.Object), true
	case "files-erase":
		return services.Say("event.files-erase", "{who} had what {object} kept here stay for 30 days more.", "who", who, "object", e.Object), true
	case "files-export":
		return services.Say("event.files-export", "{who} had what {object} kept here stay for export.", "who", who, "object", e.Object), true
	case "files-now":
		return services.Say("event.files-now", "{who} had what {object} kept here erased at once.", "who", who, "object", e.Object), true
	case "invitation-accepted":
		return services.Say("event.invitation-accepted", "{who} accepted the invitation.", "who", who), true
	case "device-added":
		return services.Say("event.device-added", "{who} added {object}.", "who", who, "object", e.Object), true
	case "box-invited":
		return services.Say("event.box-invited", "{who} invited a box.", "who", who), true
	case "box-withdrawn":
		return services.Say("event.box-withdrawn", "{who} withdrew the invitation of a box.", "who", who), true
	case "box-removed":
		return services.Say("event.box-removed", "{who} removed the box {object}.", "who", who, "object", e.Object), true
	case "time-set":
		return services.Say("event.time-set", "{who} set the time of the box.", "who", who), true
	case "zone-set":
		return services.Say("event.zone-set", "{who} set the time zone to {object}.", "who", who, "object", e.Object), true
	case "device-renamed":
		return services.Say("event.device-renamed", "{who} renamed {object}.", "who", who, "object", e.Object), true
	case "device-removed":
		return services.Say("event.device-removed", "{who} removed {object}.", "who", who, "object", e.Object), true
	case "friend-invited":
		return services.Say("event.friend-invited", "{who} invited another household to be a friend.", "who", who), true
	case "friend-added":
		return services.Say("event.friend-added", "{who} took up the invitation of {object}, who is a friend now.", "who", who, "object", e.Object), true
	case "friend-renamed", "friend-granted":
		return services.Say("event.person-changed", "{who} changed {object}.", "who", who, "object", e.Object), true
	case "friend-removed":
		return services.Say("event.friend-removed", "{who} removed {object} from the friends.", "who", who, "object", e.Object), true
	case "homeward-allowed":
		return services.Say("event.homeward-allowed", "{who} allowed {object} to point home.", "who", who, "object", api.Domain(e.Object)), true
	case "homeward-removed":
		return services.Say("event.homeward-removed", "{who} kept {object} from pointing home.", "who", who, "object", api.Domain(e.Object)), true
	case "password-changed":
		return services.Say("event.password-changed", "{who} changed the password.", "who", who), true
	case "created-app-password":
		return services.Say("event.app-created", "{who} made a password for an app.", "who", who), true
	case "ended-app-password":
		return services.Say("event.app-ended", "{who} took an app's password away.", "who", who), true
	case "ended-session", "ended-others":
		return services.Say("event.session-ended", "{who} signed out in another place.", "who", who), true
	case "way-in-made":
		return services.Say("event.way-in-made", "{who} made a link with which {object} can choose another password.", "who", who, "object", e.Object), true
	case "way-in-withdrawn":
		return services.Say("event.way-in-withdrawn", "{who} withdrew the link with which {object} could choose another password.", "who", who, "object", e.Object), true
	case "way-in-used":
		return services.Say("event.way-in-used", "{who} chose another password with a link.", "who", who), true
	case "password-reset":
		return services.Say("event.password-reset", "{who} got a new password at the box itself.", "who", who), true
	}
	return services.Sentence{}, false
}

var (
	sayNoTunnel = services.Say("trouble.tunnel-what", "Phones cannot come in, because the box has no tunnel.")
	sayAskOwner = services.Say("trouble.tunnel-ask", "Ask an owner of the house.")
)

// troubles makes the four parts of what is to be looked at, worst first. A part that waits for another is not one.
func (h *House) troubles(o house.Overview, role services.Role) []house.Trouble {
	var out []house.Trouble
	if o.Storage.State == house.StateAct || o.Storage.State == house.StateCare {
		out = append(out, house.Trouble{
			ID: "storage", State: o.Storage.State, What: o.Storage.Message,
			Why:   services.Say("trouble.storage-why", "The box measured the room on its card or disk."),
			Means: services.Say("trouble.storage-means", "Everything still works. When the room is gone, nothing new can be kept."),
			Do:    services.Say("trouble.storage-do", "Remove what is no longer needed, or use a larger card."),
		})
	}
	if h.LostJournal() {
		out = append(out, house.Trouble{
			ID: "journal", State: house.StateAct,
			What:  services.Say("trouble.journal-what", "The card was damaged and could be repaired in part only."),
			Why:   services.Say("trouble.journal-why", "The check at the last start had to take away a part of the card that keeps it whole when the power fails."),
			Means: services.Say("trouble.journal-means", "Everything works. The next power cut may cost more than the last seconds."),
			Do:    services.Say("trouble.journal-do", "Use a new card soon. Bringing a household back from the recovery words comes with a later version; until then keep this card."),
		})
	}
	if h.API.Identity.WordsPending() {
		out = append(out, house.Trouble{
			ID: "words", State: house.StateCare,
			What:   services.Say("trouble.words-what", "The recovery words are not confirmed yet."),
			Why:    services.Say("trouble.words-why", "Nobody has shown yet that the 24 words are on paper."),
			Means:  services.Say("trouble.words-means", "Without the words no later version can bring the household back if the box is lost."),
			Do:     services.Say("trouble.words-do", "Write the words down and check three of them."),
			Action: "/claim/words", Label: services.Say("trouble.words-label", "Write down the words"),
		})
	}
	for _, s := range o.Services {
		if s.Name != "dns" || s.Waiting != "internet" || s.OK {
			continue
		}
		out = append(out, house.Trouble{
			ID: "names", State: house.StateCare, What: services.Say("trouble.names-what", "Names outside the house are not answered."),
			Why:   s.Message,
			Means: services.Say("trouble.names-means", "Pages of the Internet do not open. What is at home goes on working."),
			Do:    services.Say("trouble.names-do", "Look whether the router has Internet, and start it anew when it has not. The box tries again by itself."),
		})
	}
	if errors.Is(h.API.Mesh.Closed(), mesh.ErrNoTunnel) {
		do := sayFirstRight
		if role < services.RoleAdmin {
			do = sayAskOwner
		}
		out = append(out, house.Trouble{
			ID: "tunnel", State: house.StateCare, What: sayNoTunnel,
			Why:   services.Say("trouble.tunnel-why", "Hearth was started on this computer without the right to make a tunnel."),
			Means: services.Say("trouble.tunnel-means", "At home everything else works. Devices that are away find no way in."),
			Do:    do,
		})
	}
	m := h.API.Identity.Membership()
	out = append(out, awayTrouble(m, h.API.Joining.Away(), h.API.Joining.Heard, role)...)
	if m.Frozen {
		out = append(out, disputeTrouble(m, role))
	} else if m.ReadOnly {
		health := h.API.Identity.Health()
		out = append(out, house.Trouble{
			ID: "log", State: house.StateAct, What: health.Message,
			Why:   services.Say("trouble.log-why", "The box reads the whole record at every start and found a place that was changed or lost."),
			Means: services.Say("trouble.log-means", "Everybody who was known keeps working. Nobody can be added or removed."),
			Do:    services.Say("trouble.log-do", "Keep this card as it is. Bringing a household back from the recovery words comes with a later version."),
		})
	}
	return out
}
