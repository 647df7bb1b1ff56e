package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/account"
	"hearth.alt/services/clock"
	"hearth.alt/services/discovery"
	"hearth.alt/services/dns"
	"hearth.alt/services/identity"
	"hearth.alt/services/looks"
	"hearth.alt/services/mesh"
	"hearth.alt/services/secret"
)

// PairWithin is how long a new device may wait for its first handshake.
const PairWithin = 10 * time.Minute

// House is what the household can do: the functions of the table, which combine the services. Fill the fields, then
// use it from any goroutine.
type House struct {
	Version  string
	Log      *slog.Logger
	Now      func() time.Time // known time
	Clock    *clock.Clock     // what Now asks
	Identity *identity.Service
	Account  *account.Service
	Mesh     *mesh.Service
	Names    *discovery.Service
	DNS      *dns.Service
	// Health lists what every service says, in the order they are shown.
	Health func() []services.Health
	// Door is the host, with the port where it is not 443, at which a browser at home opens https.
	Door func() string
	// Addresses are the box's own on the home network, IPv4 first.
	Addresses func() []netip.Addr
	// TimeSet is told that a person set the time: what was issued for another one is issued anew.
	TimeSet func()
	// Networks are the home networks the box is in; the household's own is chosen apart from them.
	Networks func() []netip.Prefix

	claiming sync.Mutex

	mu       sync.Mutex
	pairings map[services.DeviceID]pairing
	invites  map[services.PersonID]invitation
	reads    map[string]*reads
}

// reads counts what the console asked without changing anything: at most one event a minute and operation is written
// down, since a script that asks every second would wear out the flash.
type reads struct {
	written time.Time
	since   int // calls since then
}

// pairing is what the box remembers of a device between its making and its first handshake. The private key lives
// here only, in memory.
type pairing struct {
	private secret.Text
	name    string
}

// Ownership says whose the box is.
func (h *House) Ownership() Ownership { return OwnershipOf(h.Identity.Membership()) }

// MayClaim says why the box cannot be claimed now; nil when it can.
func (h *House) MayClaim() error {
	switch h.Ownership() {
	case Claimed:
		return ErrClaimed
	case Lost:
		return ErrLost
	}
	return nil
}

// Status says how the box and its services are.
func (h *House) Status(_ context.Context, _ services.Caller, _ None) (Status, error) {
	m := h.Identity.Membership()
	s := Status{Version: h.Version, Claimed: m.Claimed(), Box: StatusBox{PeerID: m.Self}, Services: []ServiceStatus{}}
	if box, ok := m.Box(); ok {
		s.Box.Name = box.Name
	}
	if m.Claimed() {
		s.Household = &StatusHousehold{Name: m.Household.Name, Domain: m.Household.Domain}
	}
	for _, v := range h.Health() {
		one := ServiceStatus{Name: v.Name, Ready: v.Ready, OK: v.OK, Message: v.Message.String()}
		if !v.Since.IsZero() {
			since := v.Since.UTC()
			one.Since = &since
		}
		s.Services = append(s.Services, one)
	}
	return s, nil
}

// ---- claim and recovery ----

var errClaiming = &services.Problem{
	Kind: services.KindBusy, Code: "being-claimed",
	Say: services.Say("claim.being-claimed", "Somebody else is claiming this box right now. Look again in a minute."),
}

// Claim makes the household and its first owner. Of claims at the same time one goes on; the others are told so, and
// nothing of theirs stays.
func (h *House) Claim(ctx context.Context, caller services.Caller, in ClaimInput) (services.PersonID, error) {
	if err := h.MayClaim(); err != nil {
		return "", err
	}
	claim := identity.Claim{Household: in.Household, Box: in.Box, Owner: in.Owner, OwnerID: identity.NewPersonID(), Avoid: h.Networks()}
	if err := claim.Check(); err != nil {
		return "", err
	}
	if !h.claiming.TryLock() {
		return "", errClaiming
	}
	defer h.claiming.Unlock()
	if err := h.MayClaim(); err != nil {
		return "", err
	}
	owner := claim.OwnerID
	// The password first: a cut between the two leaves an unclaimed box and a password of nobody, which the
	// next start erases; the other order could leave a household that nobody can sign in to.
	if err := h.Account.SetFirstPassword(ctx, caller, owner, in.Password, in.Owner, in.Household, in.Box); err != nil {
		return "", err
	}
	if err := h.Identity.Claim(ctx, claim); err != nil {
		if e := h.Account.ErasePerson(ctx, owner); e != nil {
			h.Log.Warn("the password of a claim that did not happen stays until the next start", "error", e)
		}
		return "", err
	}
	h.audit(ctx, caller, "claimed", in.Household)
	return owner, nil
}

// ClaimHere is Claim on the console: opening it is the proof.
func (h *House) ClaimHere(ctx context.Context, caller services.Caller, in ClaimInput) (ClaimOutput, error) {
	if _, err := h.Claim(ctx, caller, in); err != nil {
		return ClaimOutput{}, err
	}
	words, err := h.Words(ctx, caller)
	return ClaimOutput{Words: words}, err
}

// Words returns the recovery words, to an owner, while they wait to be confirmed.
func (h *House) Words(ctx context.Context, caller services.Caller) ([]secret.Shown, error) {
	if err := least(caller, services.RoleOwner); err != nil {
		return nil, err
	}
	words, err := h.Identity.Words(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]secret.Shown, len(words))
	for i, w := range words {
		out[i] = secret.Show(w)
	}
	return out, nil
}

// CheckWords compares the recovery words; right ones erase the root's private half and the claim secret.
func (h *House) CheckWords(ctx context.Context, caller services.Caller, in WordsInput) (WordsOutput, error) {
	if err := least(caller, services.RoleOwner); err != nil {
		return WordsOutput{}, err
	}
	pending := h.Identity.WordsPending()
	if err := h.Identity.CheckWords(ctx, in.Words); err != nil {
		return WordsOutput{}, err
	}
	if pending {
		h.audit(ctx, caller, "words-confirmed", "")
	}
	return WordsOutput{OK: true, Erased: pending}, nil
}

// ResetPassword gives a person a new password, from the console, and ends their sessions.
func (h *House) ResetPassword(ctx context.Context, caller services.Caller, in PasswordInput) (PasswordOutput, error) {
	if caller.Face != services.FaceConsole {
		return PasswordOutput{}, ErrNotHere
	}
	p, err := h.person(in.Name)
	if err != nil {
		return PasswordOutput{}, err
	}
	password, err := h.Account.ResetPassword(ctx, caller, p.ID)
	return PasswordOutput{Name: p.Name, Password: secret.Show(password)}, err
}

// WayInByWords makes an invitation for an owner who forgot their password and has the recovery words: whoever has them
// has the household. Errors: those of identity's CheckWords, with field "words"; errNoOwner.
func (h *House) WayInByWords(ctx context.Context, caller services.Caller, name string, words []string) (secret.Text, error) {
	if h.Ownership() != Claimed {
		return secret.Text{}, ErrUnclaimed
	}
	pending := h.Identity.WordsPending()
	if err := h.Identity.CheckWords(ctx, words); err != nil {
		return secret.Text{}, err
	}
	if pending {
		h.audit(ctx, caller, "words-confirmed", "")
	}
	p, err := h.person(name)
	if err != nil || p.Role != services.RoleOwner || p.State != services.StateActive {
		return secret.Text{}, errNoOwner
	}
	maker := caller
	maker.Person = "" // the words let in, whoever is signed in there
	code, _, err := h.Account.CreateInvitation(ctx, maker, p.ID)
	if err != nil {
		return secret.Text{}, err
	}
	h.audit(ctx, caller, "way-in-by-words", p.Name)
	return code, nil
}

var errNoOwner = &services.Problem{
	Kind: services.KindInvalid, Code: "no-owner", Field: "name",
	Say: services.Say("house.no-owner", "The words are right, and no owner of this house has that name. Type the name as it stands in the list of people."),
}

// least is the second line behind the rules: every function of the house asks again who calls.
func least(caller services.Caller, role services.Role) error {
	switch {
	case caller.Role >= role:
		return nil
	case caller.Role == services.RoleNone:
		return ErrSignIn
	}
	return ErrDenied
}

// ---- people ----

// ErrNoPerson says that nobody is meant.
var ErrNoPerson = &services.Problem{Kind: services.KindNotFound, Code: "no-person", Say: services.Say("house.no-person", "Nobody of that name or number belongs to this household.")}

// person finds somebody by ID or by name, as at sign-in.
func (h *House) person(who string) (services.Person, error) {
	m := h.Identity.Membership()
	if p, ok := m.Person(services.PersonID(who)); ok {
		return p, nil
	}
	if found := looks.Named(m.People, func(p services.Person) string { return p.Name }, who); len(found) == 1 {
		return found[0], nil
	}
	return services.Person{}, ErrNoPerson
}

// self finds who is meant: the one named, or the caller. On the console nobody is the first owner.
func (h *House) self(caller services.Caller, who string) (services.Person, error) {
	if who != "" {
		return h.person(who)
	}
	m := h.Identity.Membership()
	if p, ok := m.Person(caller.Person); ok {
		return p, nil
	}
	if caller.Face == services.FaceConsole {
		for _, p := range m.People {
			if p.Role == services.RoleOwner {
				return p, nil
			}
		}
	}
	return services.Person{}, ErrNoPerson
}

// MayChange says whether caller may change target and what is theirs: nil, or why not.
func (h *House) MayChange(caller services.Caller, target services.Person) error {
	if caller.Person == target.ID && caller.Person != "" {
		return nil
	}
	if identity.MayChange(h.Identity.Membership(), caller.Role, target) {
		return nil
	}
	return ErrDenied
}

// ListPeople lists who belongs.
func (h *House) ListPeople(_ context.Context, caller services.Caller, _ None) ([]PersonOutput, error) {
	if err := least(caller, services.RoleMember); err != nil {
		return nil, err
	}
	out := []PersonOutput{}
	for _, p := range h.Identity.Membership().People {
		out = append(out, personOutput(p))
	}
	return out, nil
}

func personOutput(p services.Person) PersonOutput {
	return PersonOutput{ID: p.ID, Name: p.Name, Role: p.Role, State: p.State, LAN: p.LAN}
}

// yes reads a "yes" or "no" of a surface; nil when nothing was given.
func yes(field, text string) (*bool, error) {
	switch text {
	case "":
		return nil, nil
	case "yes", "no":
		v := text == "yes"
		return &v, nil
	}
	return nil, &services.Problem{
		Kind: services.KindInvalid, Code: "bad-input", Field: field,
		Say: services.Say("api.yes-no", "{field} is yes or no. Nothing was changed.", "field", field),
	}
}

var errLAN = &services.Problem{
	Kind: services.KindDenied, Code: ErrDenied.Code, Field: "lan",
	Say: services.Say("house.lan-denied", "The home network is opened to others by owners and admins only. Nothing was changed."),
}

// AddPerson invites somebody. An admin cannot make an owner, a member invites guests only.
func (h *House) AddPerson(ctx context.Context, caller services.Caller, in AddPersonInput) (AddPersonOutput, error) {
	if !identity.MayGrant(caller.Role, in.Role) {
		return AddPersonOutput{}, ErrDenied
	}
	lan, err := yes("lan", in.LAN)
	if err != nil {
		return AddPersonOutput{}, err
	}
	if lan != nil && *lan && caller.Role < services.RoleAdmin {
		return AddPersonOutput{}, errLAN
	}
	p, err := h.Identity.AddPerson(h.acting(ctx, caller), identity.NewPerson{Name: in.Name, Role: in.Role, LAN: lan, Expires: h.Now().Add(account.InvitationLife)})
	if err != nil {
		return AddPersonOutput{}, err
	}
	code, expires, err := h.Invite(ctx, caller, p.ID)
	if err != nil {
		// Nobody is left waiting for a link that there is not.
		if e := h.Identity.RemovePerson(h.acting(context.WithoutCancel(ctx), caller), p.ID); e != nil {
			h.Log.Warn("a person whose invitation failed stays until the invitation would have ended", "person", p.ID, "error", e)
		}
		return AddPersonOutput{}, err
	}
	h.audit(ctx, caller, "person-invited", p.Name)
	return AddPersonOutput{ID: p.ID, Name: p.Name, Role: p.Role, State: p.State, Link: secret.Show(h.inviteLink(code)), Code: secret.Show(code), Expires: expires}, nil
}

// invitation is a code that the box remembers, so that the page can show it again.
type invitation struct {
	code    secret.Text
	state   services.State // of the person when it was made
	expires time.Time
}

// invitable finds a person whose invitation caller may make and see. Whoever has the code becomes that person, so it
// takes the right to give their role: an admin never sees the invitation of an owner.
func (h *House) invitable(caller services.Caller, id services.PersonID) error {
	p, ok := h.Identity.Membership().Person(id)
	if !ok || p.State != services.StatePending && p.State != services.StateActive {
		return ErrNoPerson
	}
	if p.ID == caller.Person {
		return ErrDenied // whoever is in has a password to change
	}
	if !identity.MayChange(h.Identity.Membership(), caller.Role, p) || !identity.MayGrant(caller.Role, p.Role) {
		return ErrDenied
	}
	return nil
}

// Invite makes a new invitation code: for a pending person, or for one who forgot their password and chooses another
// with it. The former one is void.
func (h *House) Invite(ctx context.Context, caller services.Caller, id services.PersonID) (secret.Text, time.Time, error) {
	if err := h.invitable(caller, id); err != nil {
		return secret.Text{}, time.Time{}, err
	}
	code, expires, err := h.Account.CreateInvitation(ctx, caller, id)
	if err != nil {
		return secret.Text{}, expires, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.invites == nil {
		h.invites = map[services.PersonID]invitation{}
	}
	m := h.Identity.Membership()
	for id, old := range h.invites {
		if p, ok := m.Person(id); !ok || p.State != old.state || !h.Now().Before(old.expires) {
			delete(h.invites, id)
		}
	}
	p, _ := m.Person(id)
	h.invites[id] = invitation{code, p.State, expires}
	if p.State == services.StateActive {
		h.audit(ctx, caller, "way-in-made", p.Name)
	}
	return code, expires, nil
}

// InviteCode returns the code of a person who is invited, or who may choose another password, while the box remembers
// it and it is good; empty when it is not.
func (h *House) InviteCode(caller services.Caller, id services.PersonID) (code, link secret.Text, expires time.Time, err error) {
	if err := h.invitable(caller, id); err != nil {
		return code, link, expires, err
	}
	h.mu.Lock()
	held, ok := h.invites[id]
	h.mu.Unlock()
	if !ok {
		return code, link, expires, nil
	}
	if _, err := h.Account.Invitation(held.code); err != nil {
		return code, link, expires, nil // used, or over
	}
	return held.code, h.inviteLink(held.code), held.expires, nil
}

// inviteLink holds the code in its fragment, which no browser sends.
func (h *House) inviteLink(code secret.Text) secret.Text {
	return secret.NewText("https://" + h.Door() + "/join#" + code.Reveal())
}

// ChangePerson changes what is given, all of it or nothing. One's own name is one's own to change.
func (h *House) ChangePerson(ctx context.Context, caller services.Caller, in ChangePersonInput) (PersonOutput, error) {
	p, err := h.person(string(in.ID))
	if err != nil {
		return PersonOutput{}, err
	}
	lan, err := yes("lan", in.LAN)
	if err != nil {
		return PersonOutput{}, err
	}
	may := identity.MayChange(h.Identity.Membership(), caller.Role, p)
	switch {
	case !may && (caller.Person == "" || caller.Person != p.ID || in.Role != services.RoleNone || lan != nil):
		return PersonOutput{}, ErrDenied
	case in.Role != services.RoleNone && in.Role != p.Role && !identity.MayGrant(caller.Role, in.Role):
		return PersonOutput{}, ErrDenied
	case lan != nil && *lan != p.LAN && *lan && caller.Role < services.RoleAdmin:
		return PersonOutput{}, errLAN
	}
	change := identity.PersonChange{LAN: lan}
	if in.Name != "" {
		change.Name = &in.Name
	}
	if in.Role != services.RoleNone {
		change.Role = &in.Role
	}
	if err := h.Identity.ChangePerson(h.acting(ctx, caller), p.ID, change); err != nil {
		return PersonOutput{}, err
	}
	h.audit(ctx, caller, "person-changed", p.Name)
	p, err = h.person(string(p.ID))
	return personOutput(p), err
}

// RemovePerson removes somebody and all that is theirs.
func (h *House) RemovePerson(ctx context.Context, caller services.Caller, in PersonInput) (None, error) {
	p, err := h.person(string(in.ID))
	if err != nil {
		return None{}, err
	}
	if !identity.MayChange(h.Identity.Membership(), caller.Role, p) {
		return None{}, ErrDenied
	}
	if err := h.Identity.RemovePerson(h.acting(ctx, caller), p.ID); err != nil {
		return None{}, err
	}
	h.audit(ctx, caller, "person-removed", p.Name)
	return None{}, nil
}

// ---- devices ----

// ErrNoDevice says that no device is meant, or none that the caller may know of.
var ErrNoDevice = &services.Problem{Kind: services.KindNotFound, Code: "no-device", Say: services.Say("house.no-device", "There is no such device in this household.")}

// ErrSeveralDevices says that the name that was given is that of more than one device.
var ErrSeveralDevices = &services.Problem{
	Kind: services.KindConflict, Code: "several-devices",
	Say: services.Say("house.several-devices", "Several devices have that name. Give the ID of the one that is meant; the list of devices shows it."),
}

// device finds a device that caller may change, by ID or by name, as at sign-in. Who may not change it learns nothing of it.
func (h *House) device(caller services.Caller, which services.DeviceID) (services.Device, error) {
	m := h.Identity.Membership()
	var theirs []services.Device
	for _, d := range m.Devices {
		p, _ := m.Person(d.Person)
		switch {
		case h.MayChange(caller, p) != nil:
		case d.ID == which:
			return d, nil
		default:
			theirs = append(theirs, d)
		}
	}
	found := looks.Named(theirs, func(d services.Device) string { return d.Name }, string(which))
	switch len(found) {
	case 0:
		return services.Device{}, ErrNoDevice
	case 1:
		return found[0], nil
	}
	return services.Device{}, ErrSeveralDevices
}

// ListDevices lists the devices that caller may change: all for an admin, their own for others.
func (h *House) ListDevices(_ context.Context, caller services.Caller, _ None) ([]DeviceOutput, error) {
	m := h.Identity.Membership()
	status := h.Mesh.Status()
	out := []DeviceOutput{}
	for _, d := range m.Devices {
		p, _ := m.Person(d.Person)
		if h.MayChange(caller, p) != nil {
			continue
		}
		one := DeviceOutput{ID: d.ID, Name: d.Name, Person: p.Name, Paired: d.State == services.StateActive, Address4: d.Addr4.String(), Address6: d.Addr6.String()}
		if s, ok := status.Devices[d.ID]; ok && !s.LastHandshake.IsZero() {
			at := s.LastHandshake.UTC()
			one.LastHandshake = &at
		}
		out = append(out, one)
	}
	return out, nil
}

// AddDevice adds a device that waits for its first handshake.
func (h *House) AddDevice(ctx context.Context, caller services.Caller, in AddDeviceInput) (AddDeviceOutput, error) {
	if err := least(caller, services.RoleMember); err != nil {
		return AddDeviceOutput{}, err
	}
	p, err := h.self(caller, in.Person)
	if err != nil {
		return AddDeviceOutput{}, err
	}
	if err := h.MayChange(caller, p); err != nil {
		return AddDeviceOutput{}, err
	}
	if err := h.Mesh.Closed(); err != nil {
		return AddDeviceOutput{}, err // no code that cannot work
	}
	var private secret.Text
	var key services.ClientKey
	if in.PublicKey != "" {
		key, err = mesh.ParseClientKey(in.PublicKey)
	} else {
		private, key, err = mesh.NewDeviceKey()
	}
	if err != nil {
		return AddDeviceOutput{}, err
	}
	if len(h.Mesh.Reach().Endpoints) == 0 {
		return AddDeviceOutput{}, mesh.ErrNoAddress
	}
	expires := h.Now().Add(PairWithin)
	d, err := h.Identity.AddDevice(h.acting(ctx, caller), identity.NewDevice{Person: p.ID, Name: in.Name, Key: key, Expires: expires})
	if err != nil {
		return AddDeviceOutput{}, err
	}
	stock, err := h.Mesh.DeviceConfig(ctx, h.Identity.Membership(), d, private)
	if err != nil {
		// No device is left waiting for settings that there are not.
		if e := h.Identity.RemoveDevice(h.acting(context.WithoutCancel(ctx), caller), d.ID); e != nil {
			h.Log.Warn("a device without settings stays until its time to pair is over", "device", d.ID, "error", e)
		}
		return AddDeviceOutput{}, err
	}
	h.remember(d, private)
	h.audit(ctx, caller, "device-added", d.Name)
	out := AddDeviceOutput{ID: d.ID, Name: d.Name, Config: secret.Show(stock.Text), Expires: expires, Reach: stock.Reach.Say.String()}
	if in.PublicKey == "" {
		if out.PNG, err = stock.PNG(); err != nil {
			return AddDeviceOutput{}, err
		}
	}
	return out, nil
}

// remember keeps the private key of a waiting device and forgets those of devices that wait no more.
func (h *House) remember(d services.Device, private secret.Text) {
	m := h.Identity.Membership()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pairings == nil {
		h.pairings = map[services.DeviceID]pairing{}
	}
	for id := range h.pairings {
		if old, ok := m.Device(id); !ok || old.State != services.StatePending {
			delete(h.pairings, id)
		}
	}
	h.pairings[d.ID] = pairing{private: private, name: d.Name}
}

// WaitingKey returns the private key of a device that waits, while the box remembers it. There is none of a device that
// brought its own public key.
func (h *House) WaitingKey(id services.DeviceID) (secret.Text, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.pairings[id]
	return p.private, p.private.Reveal() != ""
}

// RenameDevice gives a device another name.
func (h *House) RenameDevice(ctx context.Context, caller services.Caller, in RenameDeviceInput) (None, error) {
	d, err := h.device(caller, in.ID)
	if err != nil {
		return None{}, err
	}
	if err := h.Identity.RenameDevice(h.acting(ctx, caller), d.ID, in.Name); err != nil {
		return None{}, err
	}
	h.audit(ctx, caller, "device-renamed", in.Name)
	return None{}, nil
}

// RemoveDevice removes a device at once.
func (h *House) RemoveDevice(ctx context.Context, caller services.Caller, in DeviceInput) (None, error) {
	d, err := h.device(caller, in.ID)
	if err != nil {
		return None{}, err
	}
	if err := h.Identity.RemoveDevice(h.acting(ctx, caller), d.ID); err != nil {
		return None{}, err
	}
	h.audit(ctx, caller, "device-removed", d.Name)
	return None{}, nil
}

// ---- sessions, names, network, audit ----

// ListSessions lists where somebody is signed in.
func (h *House) ListSessions(ctx context.Context, caller services.Caller, in SessionsInput) ([]SessionOutput, error) {
	p, err := h.self(caller, in.Person)
	if err != nil {
		return nil, err
	}
	if err := h.MayChange(caller, p); err != nil {
		return nil, err
	}
	list, err := h.Account.Sessions(p.ID)
	if err != nil {
		return nil, err
	}
	out := []SessionOutput{}
	for _, x := range list {
		out = append(out, SessionOutput{ID: x.ID, Person: x.Person, Browser: x.Name, Started: x.Created, Seen: x.Used})
	}
	return out, nil
}

// errNoSession is account.ErrNoCredential to those who compare, in words for somebody who typed an ID.
var errNoSession = &services.Problem{
	Kind: services.KindNotFound, Code: account.ErrNoCredential.Code,
	Say: services.Say("house.no-session", "Nobody is signed in there: it has ended, or there is no session with that ID. The list of sessions shows them all."),
}

// EndSession signs a session out: one's own, or one of somebody the caller may change.
func (h *House) EndSession(ctx context.Context, caller services.Caller, in SessionInput) (None, error) {
	for _, p := range h.Identity.Membership().People {
		list, err := h.Account.Sessions(p.ID)
		if err != nil {
			return None{}, err
		}
		for _, x := range list {
			if x.ID == in.ID && h.MayChange(caller, p) == nil {
				return None{}, h.Account.EndSession(ctx, caller, p.ID, in.ID)
			}
		}
	}
	return None{}, errNoSession
}

// ListHomeward lists the domains whose names may point home.
func (h *House) ListHomeward(_ context.Context, caller services.Caller, _ None) ([]HomewardOutput, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return nil, err
	}
	out := []HomewardOutput{}
	for _, d := range h.DNS.Allowed() {
		out = append(out, HomewardOutput{d})
	}
	return out, nil
}

// AllowHomeward lets the names of a domain point home.
func (h *House) AllowHomeward(ctx context.Context, caller services.Caller, in AllowHomewardInput) (HomewardOutput, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return HomewardOutput{}, err
	}
	d, err := h.DNS.Allow(in.Domain)
	if err != nil {
		return HomewardOutput{}, err
	}
	h.audit(ctx, caller, "homeward-allowed", d)
	return HomewardOutput{d}, nil
}

// RemoveHomeward takes that back.
func (h *House) RemoveHomeward(ctx context.Context, caller services.Caller, in HomewardInput) (None, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return None{}, err
	}
	d, err := h.DNS.Disallow(in.Domain)
	if err != nil {
		return None{}, err
	}
	h.audit(ctx, caller, "homeward-removed", d)
	return None{}, nil
}

// ShowNetwork says where the box is in the network and what it found there.
func (h *House) ShowNetwork(_ context.Context, caller services.Caller, _ None) (NetworkOutput, error) {
	if err := least(caller, services.RoleMember); err != nil {
		return NetworkOutput{}, err
	}
	m, reach := h.Identity.Membership(), h.Mesh.Reach()
	n := NetworkOutput{
		Net4: m.Household.Net4.String(), Net6: m.Household.Net6.String(), Domain: m.Household.Domain,
		Name: h.Names.Name(), Port: int(h.Mesh.Status().Port), Reach: reach.Say.String(), Addresses: []string{}, Found: []FoundOutput{},
	}
	for _, a := range h.Addresses() {
		n.Addresses = append(n.Addresses, a.String())
	}
	for _, f := range h.Names.Found() {
		n.Found = append(n.Found, FoundOutput{Kind: string(f.Kind), Name: f.Name, Host: f.Host})
	}
	return n, nil
}

// The refusals of "time set".
var (
	errTime = &services.Problem{
		Kind: services.KindInvalid, Code: "bad-input", Field: "time",
		Say: services.Say("house.time", "The time must be after the day this box's program was made, and not decades ahead. Nothing was changed."),
	}
	errSystemTime = &services.Problem{
		Kind: services.KindConflict, Code: "system-time", Field: "time",
		Say: services.Say("house.system-time", "The clock of the computer that this runs on says another time. Set that clock first; nothing was changed here."),
	}
)

// ShowTime says what time the box takes it to be, and on whose word.
func (h *House) ShowTime(_ context.Context, caller services.Caller, _ None) (TimeOutput, error) {
	if err := least(caller, services.RoleMember); err != nil {
		return TimeOutput{}, err
	}
	source, system := h.Clock.Source()
	return TimeOutput{
		Time: h.Clock.Now().Truncate(time.Second), Known: h.Clock.Known(), Source: string(source), System: system.UTC().Truncate(time.Second),
	}, nil
}

// SetTime sets the known time, and has the certificate made anew for it.
func (h *House) SetTime(ctx context.Context, caller services.Caller, in SetTimeInput) (TimeOutput, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return TimeOutput{}, err
	}
	before := h.Clock.Now()
	switch err := h.Clock.Set(in.Time); {
	case errors.Is(err, clock.ErrSystem):
		return TimeOutput{}, errSystemTime
	case errors.Is(err, clock.ErrTooEarly), errors.Is(err, clock.ErrTooLate):
		return TimeOutput{}, errTime
	case err != nil:
		return TimeOutput{}, err
	}
	h.audit(ctx, caller, "time-set", before.Format(time.RFC3339))
	h.TimeSet()
	return h.ShowTime(ctx, caller, None{})
}

var errLimit = &services.Problem{
	Kind: services.KindInvalid, Code: "bad-input", Field: "limit",
	Say: notNumber("limit"),
}

// ListAudit lists what happened, newest first.
func (h *House) ListAudit(ctx context.Context, caller services.Caller, in AuditInput) ([]AuditOutput, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return nil, err
	}
	if in.Limit < 0 {
		return nil, errLimit
	}
	if in.Limit == 0 {
		in.Limit = 100
	}
	events, err := h.Account.Events(ctx, time.Time{}, in.Limit)
	if err != nil {
		return nil, err
	}
	m := h.Identity.Membership()
	out := make([]AuditOutput, len(events))
	for i, e := range events {
		out[i] = AuditOutput{At: e.At, Actor: string(e.Actor), Face: e.Face.String(), Action: e.Action, Object: e.Object}
		if p, ok := m.Person(e.Actor); ok {
			out[i].Actor = p.Name
		} else if e.Actor == "" && e.Face == services.FaceConsole {
			out[i].Actor = "local"
		}
		if p, ok := m.Person(services.PersonID(e.Object)); ok {
			out[i].Object = p.Name
		}
	}
	return out, nil
}

// acting names the caller to the household log, so that a record says on whose behalf it was made. The device is named
// when it is theirs: a record made through somebody else's has no effect.
func (h *House) acting(ctx context.Context, caller services.Caller) context.Context {
	if caller.Person == "" {
		return ctx
	}
	via := caller.Device
	if d, ok := h.Identity.Membership().Device(via); !ok || d.Person != caller.Person {
		via = ""
	}
	return identity.Acting(ctx, caller.Person, via)
}

// auditCall writes down that an operation was asked for on the console, as "local", and how it went.
func (h *House) auditCall(ctx context.Context, caller services.Caller, o *Operation, err error) {
	object := o.Name
	if o.Method == "GET" {
		h.mu.Lock()
		r := h.reads[o.Name]
		if r == nil {
			r = &reads{}
			if h.reads == nil {
				h.reads = map[string]*reads{}
			}
			h.reads[o.Name] = r
		}
		r.since++
		now, n := h.Now(), r.since
		due := now.Sub(r.written).Abs() >= time.Minute // the time may have been set back
		if due {
			r.written, r.since = now, 0
		}
		h.mu.Unlock()
		if !due {
			return
		}
		if n > 1 {
			object += fmt.Sprintf(", %d times", n)
		}
	}
	if err != nil {
		object += ": " + services.AsProblem(err).Code
	}
	h.audit(ctx, caller, "local", object)
}

// audit writes down what happened. That it could not be written is logged, and undoes nothing.
func (h *House) audit(ctx context.Context, caller services.Caller, action, object string) {
	if err := h.Account.Audit(ctx, account.Event{Actor: caller.Person, Face: caller.Face, Address: caller.Address, Action: action, Object: object}); err != nil {
		h.Log.Error("an event could not be written down", "action", action, "error", err)
	}
}
