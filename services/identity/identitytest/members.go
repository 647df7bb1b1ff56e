package identitytest

import (
	"bytes"
	"net/netip"
	"slices"
	"sync"
	"time"

	"hearth.alt/services"
)

// Members is a Membership that a test sets by hand, offered the way identity.Service offers the real one. It is
// safe for concurrent use. Make one with NewMembers.
type Members struct {
	mu      sync.Mutex
	now     *services.Membership
	changed chan struct{}
}

// NewMembers starts with m; nil is a box nobody has claimed. The caller must not change m afterwards.
func NewMembers(m *services.Membership) *Members {
	if m == nil {
		m = &services.Membership{}
	}
	return &Members{now: m, changed: make(chan struct{})}
}

// Watch returns what was set last, and a channel that is closed when there is something newer.
func (f *Members) Watch() (*services.Membership, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now, f.changed
}

// Membership returns what was set last.
func (f *Members) Membership() *services.Membership {
	m, _ := f.Watch()
	return m
}

// Set makes m the newest membership. Its Revision is raised above the one before when it is not already. The
// caller must not change m afterwards.
func (f *Members) Set(m *services.Membership) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m.Revision <= f.now.Revision {
		c := *m
		c.Revision = f.now.Revision + 1
		m = &c
	}
	f.now = m
	close(f.changed)
	f.changed = make(chan struct{})
}

// Update hands change a copy of the newest membership, whose slices may be changed in place, and sets the outcome.
func (f *Members) Update(change func(m *services.Membership)) {
	c := *f.Membership()
	c.Boxes, c.People, c.Devices, c.Friends = slices.Clone(c.Boxes), slices.Clone(c.People), slices.Clone(c.Devices), slices.Clone(c.Friends)
	c.Leaving = slices.Clone(c.Leaving)
	if c.Household != nil {
		h := *c.Household
		c.Household = &h
	}
	change(&c)
	f.Set(&c)
}

// The people and devices of Smith.
const (
	Ann services.PersonID = "annannannannanna" // owner
	Ben services.PersonID = "benbenbenbenbenb" // member
	Gus services.PersonID = "gusgusgusgusgusg" // guest

	AnnPhone services.DeviceID = "annphoneannphone" // .2, active
	BenPhone services.DeviceID = "benphonebenphone" // .3, active
	GusPhone services.DeviceID = "gusphonegusphone" // .4, active
	NewPhone services.DeviceID = "newphonenewphone" // .5, Ben's, pending
)

// Smith returns a fresh claimed household to start a test from: household "Smith" (smith.home.arpa, 10.77.5.0/24,
// fd5a:1:2::/48) with one box "Hearth" (.1 and ::1), Ann the owner, Ben a member whose devices reach the LAN, Gus
// a guest, a phone for each of them and one more of Ben's that is not scanned yet. Keys are filler bytes.
func Smith() *services.Membership {
	net4, net6 := netip.MustParsePrefix("10.77.5.0/24"), netip.MustParsePrefix("fd5a:1:2::/48")
	added := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	at := func(host byte) (netip.Addr, netip.Addr) {
		a4, a6 := net4.Addr().As4(), net6.Addr().As16()
		a4[3], a6[15] = host, host
		return netip.AddrFrom4(a4), netip.AddrFrom16(a6)
	}
	m := &services.Membership{
		Revision: 1,
		Self:     services.PeerID(bytes.Repeat([]byte{7}, 32)),
		Household: &services.Household{
			Name: "Smith", Label: "smith", Domain: "smith.home.arpa",
			Root: bytes.Repeat([]byte{9}, 32), Net4: net4, Net6: net6,
		},
		People: []services.Person{
			{ID: Ann, Name: "Ann", Role: services.RoleOwner, State: services.StateActive, LAN: true},
			{ID: Ben, Name: "Ben", Role: services.RoleMember, State: services.StateActive, LAN: true},
			{ID: Gus, Name: "Gus", Role: services.RoleGuest, State: services.StateActive},
		},
	}
	box := services.Box{ID: m.Self, Name: "Hearth", Label: "hearth", State: services.StateActive}
	box.Addr4, box.Addr6 = at(1)
	m.Boxes = []services.Box{box}
	for i, d := range []services.Device{
		{ID: AnnPhone, Person: Ann, Name: "Ann's phone", State: services.StateActive},
		{ID: BenPhone, Person: Ben, Name: "Ben's phone", State: services.StateActive},
		{ID: GusPhone, Person: Gus, Name: "Gus's phone", State: services.StateActive},
		{ID: NewPhone, Person: Ben, Name: "New phone", State: services.StatePending, Expires: added.Add(10 * time.Minute)},
	} {
		d.Key = services.ClientKey(bytes.Repeat([]byte{byte(0x20 + i)}, 32))
		d.Addr4, d.Addr6 = at(byte(2 + i))
		d.Added = added
		m.Devices = append(m.Devices, d)
	}
	return m
}
