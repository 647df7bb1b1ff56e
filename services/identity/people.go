package identity

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"strings"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
)

const (
	keeperPatience = 2 * time.Second
	maxPeople      = 500 // of a household, invited ones included
)

// NewPersonID makes an identifier that nobody has.
func NewPersonID() services.PersonID { return services.PersonID(newID()) }

// NewDeviceID makes an identifier that no device has.
func NewDeviceID() services.DeviceID { return services.DeviceID(newID()) }

func newID() string {
	var b [10]byte
	rand.Read(b[:])
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

func isCode(err error, code string) bool { return errors.Is(err, &services.Problem{Code: code}) }

func badID(field string) error {
	return &services.Problem{
		Kind: services.KindInvalid, Code: "id-invalid", Field: field,
		Say: services.Say("identity.id.form", "An ID has 16 letters and digits. This one does not."),
	}
}

func idUsed() error {
	return &services.Problem{
		Kind: services.KindConflict, Code: "id-used", Field: "id",
		Say: services.Say("identity.id.used", "This ID was used before. Start again."),
	}
}

func noPerson() error {
	return &services.Problem{
		Kind: services.KindNotFound, Code: "person-not-found", Field: "person",
		Say: services.Say("identity.person.none", "That is nobody of the household. Perhaps they were removed."),
	}
}

func lastOwner() error {
	return &services.Problem{
		Kind: services.KindConflict, Code: "last-owner", Field: "person",
		Say: services.Say("identity.person.last-owner", "A household keeps at least one owner. Make somebody else an owner first."),
	}
}

func badRole() error {
	return &services.Problem{
		Kind: services.KindInvalid, Code: "role-invalid", Field: "role",
		Say: services.Say("identity.role", "A person is owner, admin, member or guest."),
	}
}

func checkExpires(now, expires time.Time) error {
	if expires.IsZero() || expires.After(now) && expires.Year() < 9999 {
		return nil
	}
	return &services.Problem{
		Kind: services.KindInvalid, Code: "expires-invalid", Field: "expires",
		Say: services.Say("identity.expires", "The time at which this ends has to be in the future."),
	}
}

func personTaken(name string) error {
	return &services.Problem{
		Kind: services.KindConflict, Code: "name-taken", Field: "name",
		Say: services.Say("identity.person.taken", "Somebody in the household is already called {name}.", "name", name),
	}
}

// wholeSeconds is t as a record keeps it: rounded up, so that nothing ends early.
func wholeSeconds(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Add(time.Second - 1).Truncate(time.Second)
}

// NewPerson is a person to take in.
type NewPerson struct {
	ID   services.PersonID // "" makes one
	Name string            // unique in the household, upper and lower case alike
	Role services.Role
	// Expires is when an invitation that was not accepted ends. Zero takes the person in at once.
	Expires time.Time
	// LAN says whether their devices reach the home network; nil is yes, but for guests. See SetLAN.
	LAN *bool
}

// AddPerson takes a person in: invited until Expires, or active at once when that is zero. Codes: name-invalid,
// name-taken, role-invalid, id-invalid, id-used, expires-invalid, people-full.
func (s *Service) AddPerson(ctx context.Context, n NewPerson) (services.Person, error) {
	name, err := cleanName("name", n.Name)
	if err != nil {
		return services.Person{}, err
	}
	if n.ID == "" {
		n.ID = NewPersonID()
	}
	if !n.ID.Valid() {
		return services.Person{}, badID("id")
	}
	if n.Role < services.RoleGuest || n.Role > services.RoleOwner {
		return services.Person{}, badRole()
	}
	if err := checkExpires(s.cfg.Now(), n.Expires); err != nil {
		return services.Person{}, err
	}
	lan := n.Role > services.RoleGuest
	if n.LAN != nil {
		lan = *n.LAN
	}
	err = s.change(ctx, func(h *household) (record.Payload, error) {
		if _, used := h.used[string(n.ID)]; used {
			return nil, idUsed()
		}
		if h.resembled(scopePerson, "", name) {
			return nil, personTaken(name)
		}
		if len(h.people) >= maxPeople {
			return nil, &services.Problem{
				Kind: services.KindConflict, Code: "people-full",
				Say: services.Say("identity.people.full", "A household has room for {most} people. Remove somebody first.", "most", maxPeople),
			}
		}
		return record.AddPerson{Person: n.ID, Name: name, Role: n.Role, LAN: lan, Expires: wholeSeconds(n.Expires)}, nil
	})
	if err != nil {
		return services.Person{}, err
	}
	p, _ := s.Membership().Person(n.ID)
	return p, nil
}

// changePerson hands decide the person; a nil payload changes nothing.
func (s *Service) changePerson(ctx context.Context, id services.PersonID, decide func(h *household, p services.Person) (record.Payload, error)) error {
	return s.change(ctx, func(h *household) (record.Payload, error) {
		p, ok := h.people[id]
		if !ok {
			return nil, noPerson()
		}
		return decide(h, p)
	})
}

// ActivatePerson accepts an invitation. Someone active already is no error. Codes: person-not-found,
// invitation-expired.
func (s *Service) ActivatePerson(ctx context.Context, id services.PersonID) error {
	return s.changePerson(ctx, id, func(_ *household, p services.Person) (record.Payload, error) {
		if p.State != services.StatePending {
			return nil, nil
		}
		if !s.cfg.Now().Before(p.Expires) {
			return nil, &services.Problem{
				Kind: services.KindConflict, Code: "invitation-expired",
				Say: services.Say("identity.person.expired", "This invitation has ended. Ask for a new one."),
			}
		}
		return record.ActivatePerson{Person: id}, nil
	})
}

// PersonChange is what ChangePerson changes; what is nil stays.
type PersonChange struct {
	Name *string
	Role *services.Role
	LAN  *bool
}

// ChangePerson makes all of c so, or nothing. Codes: those of RenamePerson, SetRole and SetLAN.
func (s *Service) ChangePerson(ctx context.Context, id services.PersonID, c PersonChange) error {
	name := ""
	if c.Name != nil {
		var err error
		if name, err = cleanName("name", *c.Name); err != nil {
			return err
		}
	}
	if c.Role != nil && (*c.Role < services.RoleGuest || *c.Role > services.RoleOwner) {
		return badRole()
	}
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	return s.changeAllLocked(ctx, actorOf(ctx), func(h *household) (all []record.Payload, err error) {
		p, ok := h.people[id]
		if !ok {
			return nil, noPerson()
		}
		if c.Name != nil && p.Name != name {
			if h.resembled(scopePerson, string(id), name) {
				return nil, personTaken(name)
			}
			all = append(all, record.RenamePerson{Person: id, Name: name})
		}
		if c.Role != nil && p.Role != *c.Role {
			if h.lastOwner(id) {
				return nil, lastOwner()
			}
			all = append(all, record.SetRole{Person: id, Role: *c.Role})
			p.LAN = p.LAN && *c.Role > services.RoleGuest
		}
		if c.LAN != nil && p.LAN != *c.LAN {
			all = append(all, record.SetLAN{Person: id, LAN: *c.LAN})
		}
		return all, nil
	})
}

// RenamePerson gives a person another name. Codes: person-not-found, name-invalid, name-taken.
func (s *Service) RenamePerson(ctx context.Context, id services.PersonID, name string) error {
	name, err := cleanName("name", name)
	if err != nil {
		return err
	}
	return s.changePerson(ctx, id, func(h *household, p services.Person) (record.Payload, error) {
		if p.Name == name {
			return nil, nil
		}
		if h.resembled(scopePerson, string(id), name) {
			return nil, personTaken(name)
		}
		return record.RenamePerson{Person: id, Name: name}, nil
	})
}

// SetRole changes what a person may do. Becoming a guest also ends reaching the home network. Codes:
// person-not-found, role-invalid, last-owner.
func (s *Service) SetRole(ctx context.Context, id services.PersonID, role services.Role) error {
	if role < services.RoleGuest || role > services.RoleOwner {
		return badRole()
	}
	return s.changePerson(ctx, id, func(h *household, p services.Person) (record.Payload, error) {
		switch {
		case p.Role == role:
			return nil, nil
		case h.lastOwner(id):
			return nil, lastOwner()
		}
		return record.SetRole{Person: id, Role: role}, nil
	})
}

// SetLAN says whether a person's devices reach the home network through the tunnel. Code: person-not-found.
func (s *Service) SetLAN(ctx context.Context, id services.PersonID, lan bool) error {
	return s.changePerson(ctx, id, func(_ *household, p services.Person) (record.Payload, error) {
		if p.LAN == lan {
			return nil, nil
		}
		return record.SetLAN{Person: id, LAN: lan}, nil
	})
}

// RemovePerson removes a person and all their devices, for good, and nobody has chosen what becomes of what they kept.
// Codes: person-not-found, last-owner.
func (s *Service) RemovePerson(ctx context.Context, id services.PersonID) error {
	return s.RemovePersonThen(ctx, id, 0)
}

// MayChange says whether somebody with the role by may change target: rename, remove, change the role, manage the
// devices. An owner may change everybody, an admin everybody but owners, a member guests only, a guest nobody. The
// last active owner can be removed or demoted by nobody, whatever this says; SetRole and RemovePerson refuse that.
// What people may do to themselves is not asked here. See also MayGrant.
func MayChange(m *services.Membership, by services.Role, target services.Person) bool {
	p, ok := m.Person(target.ID)
	if !ok {
		return false
	}
	switch by {
	case services.RoleOwner:
		return true
	case services.RoleAdmin:
		return p.Role < services.RoleOwner
	case services.RoleMember:
		return p.Role == services.RoleGuest
	}
	return false
}

// MayGrant says whether somebody with the role by may give a person the role role, a new person or one whom
// MayChange lets them change: owners any, admins any but owner, members only guest.
func MayGrant(by, role services.Role) bool {
	switch by {
	case services.RoleOwner:
		return role >= services.RoleGuest && role <= services.RoleOwner
	case services.RoleAdmin:
		return role >= services.RoleGuest && role < services.RoleOwner
	case services.RoleMember:
		return role == services.RoleGuest
	}
	return false
}
