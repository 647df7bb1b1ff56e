package identity

import (
	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
)

// reason is why a record has no effect: a clause in words for people.
type reason struct{ say services.Sentence }

func (r *reason) Error() string { return r.say.String() }

func because(s services.Sentence) error { return &reason{s} }

// called is what those whom records speak of are called, by identifier.
type called map[string]string

// note reads the names in r. What has no effect changes no name that there is.
func (c called) note(r *record.Record, effect bool) {
	is := func(id, name string, another bool) {
		if _, known := c[id]; !known || another && effect {
			c[id] = name
		}
	}
	switch p := r.Payload.(type) {
	case record.AddBox:
		is(p.Box.String(), p.Name, false)
	case record.ReplaceBox:
		is(p.Key.String(), c[p.Box.String()], false)
	case record.AddPerson:
		is(string(p.Person), p.Name, false)
	case record.RenamePerson:
		is(string(p.Person), p.Name, true)
	case record.AddDevice:
		is(string(p.Device), p.Name, false)
	case record.RenameDevice:
		is(string(p.Device), p.Name, true)
	case record.AddFriend:
		is(p.Friend.String(), p.Petname, true) // a friend may be added again
	case record.RenameFriend:
		is(p.Friend.String(), p.Petname, true)
	}
}

// tell says what r does, without who did it. The names are those before r.
func (c called) tell(r *record.Record) services.Sentence {
	person := func(id services.PersonID) string { return c[string(id)] }
	device := func(id services.DeviceID) string { return c[string(id)] }
	box := func(id services.PeerID) string { return c[id.String()] }
	friend := func(id services.FriendID) string { return c[id.String()] }
	switch p := r.Payload.(type) {
	case record.Genesis:
		return services.Say("identity.log.genesis", "The household {name} began.", "name", p.Name)
	case record.AddBox:
		return services.Say("identity.log.add-box", "The box {name} was added.", "name", p.Name)
	case record.RemoveBox:
		return services.Say("identity.log.remove-box", "The box {name} was removed.", "name", box(p.Box))
	case record.ReplaceBox:
		return services.Say("identity.log.replace-box", "The box {name} got another key; the old one counts no more.", "name", box(p.Box))
	case record.AddPerson:
		if p.Expires.IsZero() {
			return services.Say("identity.log.add-person", "{name} was taken in.", "name", p.Name)
		}
		return services.Say("identity.log.invite-person", "{name} was invited.", "name", p.Name)
	case record.ActivatePerson:
		return services.Say("identity.log.activate-person", "{name} accepted the invitation.", "name", person(p.Person))
	case record.RenamePerson:
		return services.Say("identity.log.rename", "{name} is now called {new}.", "name", person(p.Person), "new", p.Name)
	case record.SetRole:
		return services.Say("identity.log.set-role", "The role of {name} was changed.", "name", person(p.Person))
	case record.SetLAN:
		if p.LAN {
			return services.Say("identity.log.lan-on", "The devices of {name} may reach the home network.", "name", person(p.Person))
		}
		return services.Say("identity.log.lan-off", "The devices of {name} may no longer reach the home network.", "name", person(p.Person))
	case record.RemovePerson:
		return services.Say("identity.log.remove-person", "{name} was removed, with all devices.", "name", person(p.Person))
	case record.SetLeaving:
		switch p.Then {
		case services.ThenExport:
			return services.Say("identity.log.leaving-export", "What {name} kept here stays until somebody fetched it.", "name", person(p.Person))
		case services.ThenNow:
			return services.Say("identity.log.leaving-now", "What {name} kept here is to be erased at once.", "name", person(p.Person))
		}
		return services.Say("identity.log.leaving-erase", "What {name} kept here is to be erased after 30 days.", "name", person(p.Person))
	case record.AddDevice:
		return services.Say("identity.log.add-device", "The device {name} was added for {person}.", "name", p.Name, "person", person(p.Person))
	case record.ActivateDevice:
		return services.Say("identity.log.activate-device", "The device {name} was paired.", "name", device(p.Device))
	case record.RenameDevice:
		return services.Say("identity.log.rename", "{name} is now called {new}.", "name", device(p.Device), "new", p.Name)
	case record.RemoveDevice:
		return services.Say("identity.log.remove-device", "The device {name} was removed.", "name", device(p.Device))
	case record.Epoch:
		switch {
		case r.Author.Kind == record.KindBox:
			return services.Say("identity.log.voice", "A box said who belongs on, in a dispute.")
		case p.Root != r.Author.Key:
			return services.Say("identity.log.root", "The recovery words gave way to new ones.")
		case r.Sequence == 1:
			return services.Say("identity.log.new-root", "The new recovery words count from here on.")
		}
		return services.Say("identity.log.epoch", "The 24 words settled who belongs.")
	case record.AddFriend:
		return services.Say("identity.log.add-friend", "The household of {name} became a friend.", "name", p.Petname)
	case record.RenameFriend:
		return services.Say("identity.log.rename-friend", "The friend {name} is now called {new}.", "name", friend(p.Friend), "new", p.Petname)
	case record.UpdateFriend:
		return services.Say("identity.log.update-friend", "The friend {name} told its own name and boxes anew.", "name", friend(p.Friend))
	case record.SetGrants:
		return services.Say("identity.log.set-grants", "What the friend {name} may do was changed or renewed.", "name", friend(p.Friend))
	case record.RemoveFriend:
		return services.Say("identity.log.remove-friend", "The friend {name} was removed, with all that was allowed.", "name", friend(p.Friend))
	}
	return services.Say("identity.log.newer", "Something was written down that this version of Hearth does not know yet.")
}
