// Package pages answers what the pages ask (webui/house.House) with the functions of the table of operations. It
// turns their values into what is shown, and decides nothing that the table does not.
package pages

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/services/claimcode"
	"hearth.alt/services/dns"
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
	DNS          *dns.Service

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
	HTTPS     uint16 // port of the https face
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
	f := house.Frame{Version: h.API.Version, Claimed: m.Claimed(), Devices: len(m.Devices), LogReadOnly: m.ReadOnly}
	if !m.Claimed() {
		return f
	}
	box, _ := m.Box()
	f.Household, f.Box = m.Household.Name, box.Name
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
	d := house.Doors{Names: []string{claimcode.Host}, Addresses: n.Addresses}
	_, d.Sealed = h.ClaimCode()
	port := ""
	if n.HTTPS != 443 {
		port = ":" + itoa(n.HTTPS)
	}
	if box, ok := m.Box(); ok {
		d.Names = []string{box.Label + ".local", box.Label + "." + m.Household.Domain}
		d.Tunnel = "http://" + box.Label + "." + m.Household.Domain + "/"
	}
	if name := h.API.Names.Name(); name != "" && name != claimcode.Host {
		d.Names[0] = name // another one at home may have had ours first
	}
	d.Secure = append(d.Secure, "https://"+d.Names[0]+port+"/")
	for _, a := range n.Addresses {
		d.Secure = append(d.Secure, "https://"+bracket(a)+port+"/")
	}
	if der := h.Leaf(); der != nil {
		print := claimcode.FingerprintOf(der)
		d.Fingerprint, d.Short = colons(print), print.Short()
	}
	return d
}

// Overview is the state of the house.
func (h *House) Overview(ctx context.Context) (house.Overview, error) {
	if err := h.least(ctx, services.RoleGuest); err != nil {
		return house.Overview{}, err
	}
	m := h.API.Identity.Membership()
	o := house.Overview{Looked: time.Now(), Services: h.API.Health(), Reach: h.Reach(ctx), Storage: h.Storage()}
	o.Troubles = h.troubles(o)
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
