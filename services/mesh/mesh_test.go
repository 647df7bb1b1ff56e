package mesh

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/mesh/internal/portmap"
	"hearth.alt/services/secret"
)

func TestNewChecks(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a service without anything was made")
	}
}

func TestWanted(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name   string
		change func(*services.Membership)
		want   bool
		next   bool
	}{
		{"active", func(m *services.Membership) {}, true, false},
		{"pending", func(m *services.Membership) {
			m.Devices[0].State, m.Devices[0].Expires = services.StatePending, now.Add(time.Minute)
		}, true, true},
		{"pending at its last moment", func(m *services.Membership) {
			m.Devices[0].State, m.Devices[0].Expires = services.StatePending, now
		}, false, false},
		{"quarantined", func(m *services.Membership) { m.Devices[0].State = services.StateQuarantined }, false, false},
		{"relay-only", func(m *services.Membership) { m.Devices[0].State = services.StateRelayOnly }, false, false},
		{"unknown state", func(m *services.Membership) { m.Devices[0].State = "" }, false, false},
		{"nobody's", func(m *services.Membership) { m.People = nil }, false, false},
		{"of a quarantined person", func(m *services.Membership) { m.People[0].State = services.StateQuarantined }, false, false},
		{"without a key", func(m *services.Membership) { m.Devices[0].Key = services.ClientKey{} }, false, false},
		{"with an address outside", func(m *services.Membership) { m.Devices[0].Addr4 = netip.MustParseAddr("10.77.6.2") }, false, false},
		{"without IPv6", func(m *services.Membership) { m.Devices[0].Addr6 = netip.Addr{} }, false, false},
		{"with the box's address", func(m *services.Membership) { m.Devices[0].Addr4 = boxAt4 }, false, false},
		{"unclaimed", func(m *services.Membership) { m.Household = nil }, false, false},
	} {
		f := newFamily(t)
		d := f.add(t, 0)
		f.change(func(m *services.Membership) {
			m.Devices[0].State, m.Devices[0].Expires = services.StateActive, time.Time{}
		})
		f.change(c.change)
		peers, next := wanted(f.m, now)
		if _, got := peers[d.Key]; got != c.want || next.IsZero() == c.next {
			t.Errorf("%s: %v, next %s", c.name, peers, next)
		}
	}
	// Two that claim one key or one address: the first keeps it.
	f := newFamily(t)
	a, b := f.add(t, 0), f.add(t, 1)
	f.change(func(m *services.Membership) { m.Devices[1].Key = a.Key })
	if peers, _ := wanted(f.m, time.Now()); len(peers) != 1 || peers[a.Key].id != a.ID {
		t.Errorf("one key: %v", peers)
	}
	f.change(func(m *services.Membership) { m.Devices[1].Key, m.Devices[1].Addr4 = b.Key, a.Addr4 })
	if peers, _ := wanted(f.m, time.Now()); len(peers) != 1 || peers[a.Key].id != a.ID {
		t.Errorf("one address: %v", peers)
	}
}

func TestReach(t *testing.T) {
	home := machine{home: netip.MustParseAddr("192.168.1.2")}
	public := machine{home: netip.MustParseAddr("203.0.113.5"), public4: []netip.Addr{netip.MustParseAddr("203.0.113.5")}}
	six := machine{home: netip.MustParseAddr("192.168.1.2"), global6: netip.MustParseAddr("2001:db8::2")}
	tried := func(outside string, outcomes ...portmap.Outcome) portmap.State {
		st := portmap.State{Looked: true}
		for _, o := range outcomes {
			st.Attempts = append(st.Attempts, portmap.Attempt{Protocol: portmap.PCP, Outcome: o})
		}
		if outside != "" {
			st.Mapping = portmap.Mapping{Protocol: portmap.PCP, External: netip.MustParseAddrPort(outside)}
		}
		return st
	}
	for _, c := range []struct {
		name  string
		in    reachInput
		scope Scope
		ends  string
		say   string
	}{
		{"mapped", reachInput{machine: home, mapping: tried("203.0.113.1:40000", portmap.Mapped)}, ScopeForNow, "[203.0.113.1:40000 192.168.1.2:51820]", "mesh.reach.fornow-likely"},
		{"mapped, with a name", reachInput{machine: home, name: "box.example.org", mapping: tried("203.0.113.1:40000", portmap.Mapped)}, ScopeAnywhere, "[box.example.org:40000 203.0.113.1:40000 192.168.1.2:51820]", "mesh.reach.anywhere-likely"},
		{"a name alone", reachInput{machine: home, name: "box.example.org", mapping: tried("", portmap.Silent)}, ScopeAnywhere, "[box.example.org:51820 192.168.1.2:51820]", "mesh.reach.unproven"},
		{"a name, proven", reachInput{machine: home, name: "box.example.org", proven: true, mapping: tried("", portmap.Silent)}, ScopeAnywhere, "[box.example.org:51820 192.168.1.2:51820]", "mesh.reach.anywhere"},
		{"double NAT", reachInput{machine: home, mapping: tried("192.168.0.7:51820", portmap.Silent, portmap.Private)}, ScopeHome, "[192.168.1.2:51820]", "mesh.reach.home.double"},
		{"carrier NAT", reachInput{machine: home, mapping: tried("100.64.1.1:51820", portmap.Private)}, ScopeHome, "[192.168.1.2:51820]", "mesh.reach.home.double"},
		{"a public address of its own", reachInput{machine: public, mapping: tried("", portmap.Silent)}, ScopeForNow, "[203.0.113.5:51820]", "mesh.reach.fornow-likely"},
		{"mapped, proven", reachInput{machine: home, proven: true, mapping: tried("203.0.113.1:40000", portmap.Mapped)}, ScopeForNow, "[203.0.113.1:40000 192.168.1.2:51820]", "mesh.reach.fornow"},
		{"IPv6 that nobody proved", reachInput{machine: six, mapping: tried("", portmap.Silent)}, ScopeHome, "[192.168.1.2:51820 [2001:db8::2]:51820]", "mesh.reach.home.silent"},
		{"refused", reachInput{machine: home, mapping: tried("", portmap.Refused, portmap.Silent)}, ScopeHome, "[192.168.1.2:51820]", "mesh.reach.home.refused"},
		{"nonsense", reachInput{machine: home, mapping: tried("", portmap.Silent, portmap.Nonsense)}, ScopeHome, "[192.168.1.2:51820]", "mesh.reach.home.nonsense"},
		{"no router", reachInput{machine: home, mapping: tried("", portmap.NoRouter)}, ScopeHome, "[192.168.1.2:51820]", "mesh.reach.home.norouter"},
		{"still looking", reachInput{machine: home}, ScopeHome, "[192.168.1.2:51820]", "mesh.reach.home.looking"},
		{"switched off", reachInput{machine: home, off: true}, ScopeHome, "[192.168.1.2:51820]", "mesh.reach.home.off"},
		{"no tunnel", reachInput{machine: home, down: true}, ScopeNowhere, "[192.168.1.2:51820]", "mesh.reach.down"},
		{"no address", reachInput{}, ScopeNowhere, "[]", "mesh.reach.nowhere"},
	} {
		c.in.port = 51820
		r := c.in.reach()
		if r.Scope != c.scope || fmt.Sprint(r.Endpoints) != c.ends || r.Say.Key != c.say || len(r.Tried) != len(c.in.mapping.Attempts) {
			t.Errorf("%s: %s %s %s", c.name, r.Scope, r.Endpoints, r.Say.Key)
		}
		for _, try := range r.Tried {
			if try.Say.IsZero() {
				t.Errorf("%s: %s says nothing", c.name, try.Outcome)
			}
		}
	}
}

// loudTunnel fails the test when it is asked.
type loudTunnel struct{ t *testing.T }

func (l loudTunnel) OpenTUN(context.Context, TUNSpec) (*os.File, string, error) {
	l.t.Error("an unclaimed box asked for a tunnel")
	return nil, "", ErrNoTunnel
}

func (l loudTunnel) ClientKey(context.Context) (secret.Bytes, error) {
	l.t.Error("an unclaimed box asked for a key")
	return secret.Bytes{}, errors.New("no")
}

func runs(t *testing.T, s *Service) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("a clean stop returned %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Error("does not stop")
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not %s", what)
}

// An unclaimed box does nothing at all: no key, no interface, no folder, no socket.
func TestUnclaimedDoesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mesh")
	s, err := New(Config{Members: newHouse(&services.Membership{}), Keys: loudTunnel{t}, Tunnel: loudTunnel{t}, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	before := sockets(t)
	stop := runs(t, s)
	eventually(t, "ready", func() bool { return s.Health().Ready })
	if h := s.Health(); !h.OK || h.Message.Key != "mesh.health.unclaimed" {
		t.Errorf("health %+v", h)
	}
	if after := sockets(t); after != before {
		t.Errorf("%d sockets, before %d", after, before)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its folder: %v", err)
	}
	if _, err := s.DeviceConfig(t.Context(), &services.Membership{}, services.Device{}, secret.Text{}); !errors.Is(err, &services.Problem{Code: "not-claimed"}) {
		t.Errorf("a configuration: %v", err)
	}
	stop()
}

// A box that was removed says so, lets nobody in, and goes on if the removal turns out to count for nothing.
func TestRemovedBox(t *testing.T) {
	f := newFamily(t)
	h := newHouse(f.m)
	s, err := New(Config{Members: h, Keys: fixedKey(f.key), Dir: filepath.Join(t.TempDir(), "mesh"), Port: 51820})
	if err != nil {
		t.Fatal(err)
	}
	defer runs(t, s)()
	eventually(t, "told", func() bool { return errors.Is(s.Closed(), ErrNoTunnel) })
	removed := *f.m
	removed.Boxes, removed.Removed = nil, []services.PeerID{removed.Self}
	h.set(&removed)
	eventually(t, "told that it was removed", func() bool { return s.Health().Message.Key == "mesh.health.removed" && s.Closed() == nil })
	h.set(f.m)
	eventually(t, "told again", func() bool { return errors.Is(s.Closed(), ErrNoTunnel) })
}

func sockets(t *testing.T) (n int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// Without the right to make an interface everything else works, and one sentence says so.
func TestWithoutTunnel(t *testing.T) {
	f := newFamily(t)
	d := f.add(t, 0)
	h := newHouse(&services.Membership{})
	s, err := New(Config{Members: h, Keys: fixedKey(f.key), Dir: filepath.Join(t.TempDir(), "mesh"), Port: 51820})
	if err != nil {
		t.Fatal(err)
	}
	defer runs(t, s)()
	h.set(f.m)
	eventually(t, "told", func() bool { return errors.Is(s.Closed(), ErrNoTunnel) })
	if h := s.Health(); h.OK || !h.Ready {
		t.Errorf("health %+v", h)
	}
	if st := s.Status(); st.Up || st.Port != 51820 || len(st.Devices) != 1 {
		t.Errorf("status %+v", st)
	}
	if r := s.Reach(); r.Scope != ScopeNowhere {
		t.Errorf("reach %+v", r)
	}
	// (Needs an address of this machine; one without any is told so.)
	c, err := s.DeviceConfig(t.Context(), f.m, d, secret.NewText(f.privates[d.ID]))
	if err != nil && !errors.Is(err, &services.Problem{Code: "no-address"}) {
		t.Fatal(err)
	}
	if err == nil && !strings.Contains(c.Text.Reveal(), f.privates[d.ID]) {
		t.Error("no configuration")
	}
	if s := fmt.Sprintf("%v %+v", c, c); err == nil && strings.Contains(s, f.privates[d.ID]) {
		t.Error("a configuration prints its private key")
	}
	if _, err := s.DeviceConfig(t.Context(), f.m, d, secret.NewText(f.privates[d.ID][:40])); err == nil {
		t.Error("half a private key was taken")
	}
	other, _, _ := NewDeviceKey()
	if _, err := s.DeviceConfig(t.Context(), f.m, d, other); err == nil {
		t.Error("another device's private key was taken")
	}
	f.remove(d.ID)
	h.set(f.m)
	eventually(t, "following the membership", func() bool { return len(s.Status().Devices) == 0 })
}

func TestDamagedStateIsSetAside(t *testing.T) {
	dir := t.TempDir()
	s, err := New(Config{Members: newHouse(nil), Keys: fixedKey{}, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "state.json"), []byte(`{"version":1,"devices":[{"id":"x"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if st := s.loadState(); st.Version != stateVersion || st.Devices != nil {
		t.Errorf("loaded %+v", st)
	}
	if _, err := os.Stat(filepath.Join(dir, "state.json.damaged")); err != nil {
		t.Error(err)
	}
	want := state{Version: stateVersion, Port: 7, Devices: []seen{{ID: "aaaaaaaaaaaaaaaa", At: netip.MustParseAddrPort("[2001:db8::1]:9"), Handshake: time.Unix(1e9, 0).UTC()}, {ID: "bbbbbbbbbbbbbbbb"}}}
	s.saveState(want)
	if got := s.loadState(); got.Port != want.Port || !slices.Equal(got.Devices, want.Devices) {
		t.Errorf("%+v came back as %+v", want, got)
	}
}

func FuzzParseState(f *testing.F) {
	f.Add([]byte(`{"version":1,"port":51820,"devices":[{"id":"aaaaaaaaaaaaaaaa","at":"192.0.2.1:9","handshake":"2026-11-21T00:00:00Z"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if st, err := parseState(b); err != nil && (st.Version != 0 || st.Port != 0 || st.Devices != nil) {
			t.Fatalf("half-built %+v", st)
		}
	})
}

// Where a phone is goes to disk at once, or a box killed soon after would wait for the phone to ask; a phone on a
// train does not wear the flash out.
func TestPaceOfSaving(t *testing.T) {
	var p pace
	now := time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)
	for range saveBurst {
		if w := p.wait(now); w != 0 {
			t.Fatalf("one of the first %d waits %v", saveBurst, w)
		}
		p.took(now)
	}
	if w := p.wait(now); w != savePause {
		t.Errorf("the next waits %v, want %v", w, savePause)
	}
	saves := 0
	for end := now.Add(time.Hour); now.Before(end); now = now.Add(time.Second) {
		if p.wait(now) == 0 {
			p.took(now)
			saves++
		}
	}
	if saves < 58 || saves > 61 {
		t.Errorf("%d in an hour of news", saves)
	}
	now = now.Add(saveBurst * savePause)
	if p.wait(now) != 0 {
		t.Error("it has not forgotten a busy hour")
	}
}

// TestPretended names the bug: a virtual machine at 192.0.2.2, without Internet, said that devices reach it from anywhere.
func TestPretended(t *testing.T) {
	for a, want := range map[string]bool{"192.0.2.2": true, "198.51.100.7": true, "203.0.113.5": true, "198.19.0.1": true, "192.0.3.1": false, "8.8.8.8": false} {
		if got := pretended(netip.MustParseAddr(a)); got != want {
			t.Errorf("pretended(%s) is %v", a, got)
		}
	}
}
