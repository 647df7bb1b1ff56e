package api

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"

	"hearth.alt/services"
	"hearth.alt/services/account"
	"hearth.alt/services/clock"
	"hearth.alt/services/discovery"
	"hearth.alt/services/dns"
	"hearth.alt/services/identity"
	"hearth.alt/services/link"
	"hearth.alt/services/mesh"
	"hearth.alt/services/witness"
)

// House is what the household can do: the functions of the table, which combine the services. Fill the fields, then
// use it from any goroutine.
type House struct {
	Version  string
	Log      *slog.Logger
	Clock    *clock.Clock
	Zone     *Zone // in which times are shown
	Identity *identity.Service
	Account  *account.Service
	Mesh     *mesh.Service
	Names    *discovery.Service
	DNS      *dns.Service
	Link     *link.Service
	Rekey    Rekey
	// Invitations are those of boxes; Joining is how boxes meet.
	Invitations *identity.Invitations
	Joining     Joining
	// Joined is told that this box joined a household.
	Joined  func()
	Friends Friends
	Witness *witness.Service
	Leaving Leaving
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

	// Temporary is a folder for files that are too large for memory.
	Temporary string

	claiming sync.Mutex

	mu        sync.Mutex
	pairings  map[services.DeviceID]pairing
	invites   map[services.PersonID]invitation
	boxInvite *boxInvitation
	befriend  map[string]friendLink // by the ID of the invitation
	reads     map[string]*reads
}

// Ownership says whose the box is.
func (h *House) Ownership() Ownership { return OwnershipOf(h.Identity.Membership()) }

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
