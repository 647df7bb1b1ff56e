// Package pages answers what the pages ask (webui/house.House) with the functions of the table of operations. It
// turns their values into what is shown, and decides nothing that the table does not.
package pages

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/services/claimcode"
	"hearth.alt/services/mesh"
	"hearth.alt/webui"
	"hearth.alt/webui/house"
)

// House implements house.House. Fill the fields, then use it from any goroutine.
type House struct {
	API *api.House
	// ClaimCode is the claim secret; false once it is forgotten.
	ClaimCode func() (claimcode.Code, bool)
	// Guesses throttles typed claim codes.
	Guesses Throttle
	// Leaf is what https shows now, DER; Root the household's own, nil before the claim.
	Leaf         func() []byte
	Root         func() []byte
	Surroundings func() Surroundings
	Storage      func() house.Storage
	LostJournal  func() bool // the disk was repaired at boot and is less sure than it was

	proofs  proofs
	waiting waiting
}

// Throttle slows guessing down.
type Throttle interface {
	// Wait is how long address must wait before the next try; 0 is not at all.
	Wait(address string) time.Duration
	// Wrong counts a wrong try.
	Wrong(address string)
}

// Surroundings is the home network as the box sees it now.
type Surroundings struct {
	Addresses []netip.Addr
	Router    netip.Addr
	// HTTP and HTTPS are where the two faces really listen.
	HTTP, HTTPS netip.AddrPort
}

var _ house.House = (*House)(nil)

// least is the second line behind the route table.
func (h *House) least(ctx context.Context, role services.Role) error {
	caller := webui.CallerOf(ctx)
	switch {
	case caller.Role >= role:
		return nil
	case caller.Role == services.RoleNone:
		return api.ErrSignIn
	}
	return api.ErrDenied
}

func sameWord(typed, want string) bool {
	return strings.EqualFold(strings.TrimSpace(typed), want)
}

// Frame is what surrounds every page.
func (h *House) Frame(ctx context.Context) house.Frame {
	m := h.API.Identity.Membership()
	f := house.Frame{Version: h.API.Version, Claimed: m.Claimed(), Devices: len(m.Devices), LogReadOnly: m.ReadOnly && !m.Frozen, Frozen: m.Frozen, Opposed: m.Opposed, Copied: len(m.Copied) > 0}
	if !m.Claimed() {
		return f
	}
	linked := h.API.Joining.Linked()
	for _, b := range m.Boxes {
		if b.ID != m.Self && !linked[b.ID] {
			f.Away = append(f.Away, b.Name)
		}
	}
	box, ours := m.Box()
	f.Household, f.Box, f.Removed = m.Household.Name, box.Name, !ours
	if p, ok := m.Person(webui.CallerOf(ctx).Person); ok {
		f.Person = p.Name
	}
	f.WordsPending = h.API.Identity.WordsPending()
	return f
}

// Doors says how this box is reached.
func (h *House) Doors(context.Context) house.Doors {
	m := h.API.Identity.Membership()
	n := h.Surroundings()
	d := house.Doors{}
	_, d.Sealed = h.ClaimCode()
	names := []string{claimcode.Host}
	box, ours := m.Box()
	if ours {
		names = []string{box.Label + ".local", box.Label + "." + m.Household.Domain}
		d.Tunnel = "http://" + box.Label + "." + m.Household.Domain + "/"
	}
	if name := h.API.Names.Name(); name != "" && name != claimcode.Host {
		names[0] = name // another one at home may have had ours first
	}
	if n.HTTP.Addr().IsLoopback() {
		d.Ways = []string{n.HTTP.String()}
	} else {
		for _, name := range names {
			d.Ways = append(d.Ways, name+port(n.HTTP, 80))
		}
		for _, a := range n.Addresses {
			d.Ways = append(d.Ways, bracket(a)+port(n.HTTP, 80))
		}
	}
	if n.HTTPS.Addr().IsLoopback() {
		d.Secure = []string{"https://" + n.HTTPS.String() + "/"}
	} else {
		if ours || !m.Claimed() || len(n.Addresses) == 0 { // the certificate of a box that was removed holds its addresses
			d.Secure = append(d.Secure, "https://"+names[0]+port(n.HTTPS, 443)+"/")
		}
		for _, a := range n.Addresses {
			d.Secure = append(d.Secure, "https://"+bracket(a)+port(n.HTTPS, 443)+"/")
		}
	}
	if der := h.Leaf(); der != nil {
		print := claimcode.FingerprintOf(der)
		d.Fingerprint, d.Short = colons(print), print.Short()
	}
	return d
}

// port is what a URL has of it: nothing when it is the usual one.
func port(at netip.AddrPort, usual uint16) string {
	if at.Port() == usual {
		return ""
	}
	return ":" + itoa(at.Port())
}

// Overview is the state of the house.
func (h *House) Overview(ctx context.Context) (house.Overview, error) {
	if err := h.least(ctx, services.RoleGuest); err != nil {
		return house.Overview{}, err
	}
	m := h.API.Identity.Membership()
	o := house.Overview{Looked: time.Now(), Services: h.API.Health(), Reach: h.Reach(ctx), Storage: h.Storage()}
	role := webui.CallerOf(ctx).Role
	o.Troubles = h.troubles(o, role)
	if role < services.RoleAdmin && errors.Is(h.API.Mesh.Closed(), mesh.ErrNoTunnel) {
		o.Reach.Say, o.Reach.First = sayNoTunnel, sayAskOwner // the sentence of mesh says what only who runs the computer can do
		o.Services = slices.Clone(o.Services)
		for i := range o.Services {
			if o.Services[i].Name == "mesh" {
				o.Services[i].Message = sayNoTunnel
			}
		}
	}
	seen := h.API.Mesh.Status().Devices
	for _, d := range m.Devices {
		o.Devices.All++
		if d.State == services.StatePending {
			o.Devices.Pending++
		}
		if time.Since(seen[d.ID].LastHandshake) < 24*time.Hour {
			o.Devices.SeenToday++
		}
	}
	for _, p := range m.People {
		o.People.All++
		if p.State == services.StatePending {
			o.People.Invited++
		}
	}
	return o, nil
}

// LookAgain has nothing to wake: every service keeps its health current by itself.
func (h *House) LookAgain(ctx context.Context) error { return h.least(ctx, services.RoleGuest) }
