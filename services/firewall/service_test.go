package firewall_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hearth.alt/services"
	"hearth.alt/services/firewall"
)

// members is a membership that a test sets.
type members struct {
	mu    sync.Mutex
	m     *services.Membership
	newer chan struct{}
}

func (m *members) Watch() (*services.Membership, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.m, m.newer
}

func (m *members) set(next services.Membership) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.m = &next
	close(m.newer)
	m.newer = make(chan struct{})
}

func smiths() services.Membership {
	f := family()
	self := services.PeerID{1}
	m := services.Membership{
		Revision: 3, Self: self,
		Household: &services.Household{Net4: f.Net4, Net6: f.Net6},
		Boxes:     []services.Box{{ID: self, Addr4: f.Box4, Addr6: f.Box6}},
		People: []services.Person{
			{ID: anna, Role: services.RoleOwner, State: services.StateActive, LAN: true},
			{ID: ben, Role: services.RoleMember, State: services.StatePending},
			{ID: guest, Role: services.RoleGuest, State: services.StateActive, LAN: true},
		},
	}
	for _, d := range f.Devices {
		m.Devices = append(m.Devices, services.Device{Person: d.Person, Addr4: d.Addr4, Addr6: d.Addr6, State: services.StateActive})
	}
	m.Devices[1].State = services.StatePending
	return m
}

// pass lets the faked time pass and everything that is due be done.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// rig runs a service on a faked clock; every applied state is kept.
type rig struct {
	members *members
	tun     string
	changed chan struct{}
	nets    []firewall.Interface
	mu      sync.Mutex // guards all but service and members
	fail    error
	applied []firewall.State
	at      []time.Duration
	service *firewall.Service
}

// states are the states that were applied so far, times when.
func (r *rig) states() []firewall.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.applied)
}

func (r *rig) times() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.at)
}

func (r *rig) failWith(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

func start(t *testing.T, m services.Membership) *rig {
	began := time.Now()
	r := &rig{members: &members{m: &m, newer: make(chan struct{})}, tun: "hearth0", changed: make(chan struct{}, 1)}
	r.nets = []firewall.Interface{
		{Name: "lo", Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}},
		{Name: "eth0", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.2/24"), netip.MustParsePrefix("fe80::2/64"), netip.MustParsePrefix("2001:db8:5::2/64"), netip.MustParsePrefix("2001:db8:5::3/128")}},
		{Name: "wlan0", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.3/24"), netip.MustParsePrefix("10.0.0.9/8")}},
		{Name: "hearth0", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.7.3.1/24")}},
		{Name: "hearth7", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.99.3.1/24")}},
	}
	s, err := firewall.New(firewall.Config{
		Members: r.members, TUN: func() string { r.mu.Lock(); defer r.mu.Unlock(); return r.tun }, Changed: r.changed, Device: true,
		Interfaces: func() ([]firewall.Interface, error) { r.mu.Lock(); defer r.mu.Unlock(); return r.nets, nil },
		Apply: func(_ context.Context, s firewall.State) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.applied, r.at = append(r.applied, s), append(r.at, time.Since(began))
			return r.fail
		},
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.service = s
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	synctest.Wait()
	return r
}

func TestServiceFollowsTheHousehold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, smiths())
		want := family()
		want.LAN, want.Members = nil, nil
		if d := cmp.Diff(want, r.states()[0], cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()); d != "" {
			t.Errorf("first state (-want +got)\n%s", d)
		}
		if h := r.service.Health(); !h.Ready || !h.OK {
			t.Errorf("health: %+v", h)
		}

		began := time.Now()
		m := smiths()
		m.Revision++
		m.Devices = m.Devices[1:]
		m.People[2].State = services.StateQuarantined
		r.members.set(m)
		synctest.Wait()
		if n := len(r.states()); n != 2 || len(r.states()[1].Devices) != 2 || time.Since(began) != 0 {
			t.Fatalf("after a removal: %d applied, last with %d devices, after %v; want 2, 2, at once", n, len(r.states()[n-1].Devices), time.Since(began))
		}

		r.nets = r.nets[:2]
		r.changed <- struct{}{}
		synctest.Wait()
		if n := len(r.states()); n != 2 {
			t.Errorf("the same networks were applied again: %d", n)
		}
		r.mu.Lock()
		r.nets = r.nets[:1]
		r.mu.Unlock()
		pass(6 * time.Second)
		if n := len(r.states()); n != 3 || len(r.states()[2].Networks) != 0 {
			t.Errorf("the home network went away: %d applied, networks %v", n, r.states()[n-1].Networks)
		}
		pass(70 * time.Second)
		if n := len(r.states()); n != 4 {
			t.Errorf("%d applied after a minute of quiet, want 4: it compares every minute", n)
		}

		r.mu.Lock()
		r.tun = ""
		r.mu.Unlock()
		r.changed <- struct{}{}
		synctest.Wait()
		if s := r.states()[len(r.states())-1]; s.TUN != "" || len(s.Devices) != 0 || s.Check() != nil {
			t.Errorf("without a tunnel: %+v", s)
		}
	})
}

func TestServiceBeforeTheClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, services.Membership{})
		if s := r.states()[0]; s.TUN != "" || !s.Device || len(s.Home) == 0 || s.Check() != nil {
			t.Errorf("%+v", s)
		}
	})
}

func TestServiceTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, smiths())
		r.failWith(errors.New("no"))
		m := smiths()
		m.Devices = nil
		r.members.set(m)
		synctest.Wait()
		if h := r.service.Health(); !h.Ready || h.OK || h.Message.Key != "firewall.failing" {
			t.Errorf("health: %+v", h)
		}
		pass(3 * time.Minute)
		if n := len(r.states()); n < 8 || n > 20 {
			t.Errorf("%d tries in three minutes, want growing pauses of at most half a minute: %v", n, r.times())
		}
		n := len(r.states())
		m.Revision++
		r.members.set(m)
		synctest.Wait()
		if len(r.states()) != n+1 {
			t.Error("a change was not tried at once")
		}
		r.failWith(nil)
		pass(40 * time.Second)
		if h := r.service.Health(); !h.OK {
			t.Errorf("health: %+v", h)
		}
	})
}
