package account

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/secret"
)

// cheap costs a millisecond; TestDefaultCosts hashes with the real ones.
var cheap = Params{Memory: 64, Time: 1, Threads: 1}

const (
	anna  services.PersonID = "aaaaaaaaaaaaaaaa"
	ben   services.PersonID = "bbbbbbbbbbbbbbbb"
	cleo  services.PersonID = "cccccccccccccccc" // pending
	phone services.DeviceID = "dddddddddddddddd" // anna's
	other services.DeviceID = "eeeeeeeeeeeeeeee" // ben's
	good                    = "marble river seldom kite"
)

// house is a fake of identity and of the clock.
type house struct {
	mu      sync.Mutex
	m       services.Membership
	changed chan struct{}
	now     time.Time
	ended   []Ended

	sign func(context.Context, []byte) ([]byte, error) // nil in a house of one box

	full bool // what is written down about people does not go in
}

// activate is what identity does.
func (h *house) activate(_ context.Context, id services.PersonID) error {
	h.mu.Lock()
	full := h.full
	h.mu.Unlock()
	if full {
		return syscall.ENOSPC
	}
	h.change(func(m *services.Membership) {
		for i, p := range m.People {
			if p.ID == id {
				m.People[i].State, m.People[i].Expires = services.StateActive, time.Time{}
			}
		}
	})
	return nil
}

func (h *house) setFull(full bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.full = full
}

func newHouse() *house {
	return &house{changed: make(chan struct{}), now: time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC), m: services.Membership{
		Revision: 1, Household: &services.Household{Name: "Smith", Label: "smith", Domain: "smith.home.arpa"},
		Boxes:   []services.Box{{Name: "Attic", Label: "attic"}},
		People:  []services.Person{{ID: anna, Name: "Anna", Role: services.RoleOwner, State: services.StateActive}, {ID: ben, Name: "Ben Ärger", Role: services.RoleAdmin, State: services.StateActive}, {ID: cleo, Name: "Cleo", Role: services.RoleMember, State: services.StatePending}},
		Devices: []services.Device{{ID: phone, Person: anna, State: services.StateActive}, {ID: other, Person: ben, State: services.StateActive}},
	}}
}

func (h *house) Watch() (*services.Membership, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.m
	return &m, h.changed
}

// change makes a new membership; its slices are new.
func (h *house) change(f func(*services.Membership)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.m
	m.People, m.Devices, m.Boxes = slices.Clone(m.People), slices.Clone(m.Devices), slices.Clone(m.Boxes)
	m.Revision++
	f(&m)
	h.m = m
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *house) remove(id services.PersonID) func(*services.Membership) {
	return func(m *services.Membership) {
		m.People = slices.DeleteFunc(m.People, func(p services.Person) bool { return p.ID == id })
	}
}

func (h *house) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *house) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

func (h *house) onEnded(e []Ended) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = append(h.ended, e...)
}

func (h *house) took() []Ended {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.ended
	h.ended = nil
	return e
}

// open starts a service; close stops it and waits.
func open(t testing.TB, h *house, dir string) (s *Service, closeIt func()) {
	t.Helper()
	s, err := New(Config{Dir: dir, Members: h, MayGrant: mayGrant, Activate: h.activate, Now: h.Now, OnEnded: h.onEnded, Sign: h.sign, Params: cheap})
	if err != nil {
		t.Fatal(err)
	}
	s.hasher.idle = func() {}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-done:
		t.Fatalf("Run ended: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("not ready after 30 s")
	}
	var once sync.Once
	closeIt = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("a clean stop returned %v", err)
			}
		})
	}
	t.Cleanup(closeIt)
	return s, closeIt
}

// mayGrant is a simple rule: admins and owners, up to their own role.
func mayGrant(by, role services.Role) bool { return by >= services.RoleAdmin && role <= by }

func setUp(t testing.TB) (*Service, *house) {
	t.Helper()
	h := newHouse()
	s, _ := open(t, h, filepath.Join(t.TempDir(), "account"))
	for _, id := range []services.PersonID{anna, ben} {
		if err := s.SetPassword(t.Context(), services.Caller{Face: services.FaceConsole}, id, secret.NewText(good)); err != nil {
			t.Fatal(err)
		}
	}
	return s, h
}

func from(address string) services.Caller {
	return services.Caller{Face: services.FaceSecure, Address: address}
}

func signIn(t testing.TB, s *Service, name string, device services.DeviceID) SignedIn {
	t.Helper()
	by := from("192.168.1.7")
	by.Device = device
	in, err := s.SignIn(t.Context(), SignIn{By: by, Name: name, Password: secret.NewText(good), Browser: "Firefox"})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func sessions(t testing.TB, s *Service, id services.PersonID) []Session {
	t.Helper()
	list, err := s.Sessions(id)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// eventually waits for what another goroutine is about to do.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}
