package account

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unicode"

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
	m.People, m.Devices = slices.Clone(m.People), slices.Clone(m.Devices)
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
	s, err := New(Config{Dir: dir, Members: h, MayGrant: mayGrant, Activate: h.activate, Now: h.Now, OnEnded: h.onEnded, Params: cheap})
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

func TestSignInAndOut(t *testing.T) {
	s, h := setUp(t)
	ctx := t.Context()
	for name, in := range map[string]SignIn{
		"wrong password": {Name: "Anna", Password: secret.NewText("not " + good)},
		"no such person": {Name: "Zoe", Password: secret.NewText(good)},
		"pending":        {Name: "Cleo", Password: secret.NewText(good)},
		"no name":        {Password: secret.NewText(good)},
		"huge name":      {Name: strings.Repeat("a", 1<<20), Password: secret.NewText(good)},
		"huge password":  {Name: "Anna", Password: secret.NewText(strings.Repeat("a", 1<<20))},
	} {
		in.By = from("10.0.0.1")
		if _, err := s.SignIn(ctx, in); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", name, err)
		}
	}
	in := signIn(t, s, "  aNNA ", "")
	x, err := s.Authenticate(ctx, in.Token, "")
	if err != nil || x.Person != anna || x.Role != services.RoleOwner || x.Kind != KindSession || !s.Fresh(x) {
		t.Errorf("session %+v, %v", x, err)
	}
	// ä typed as one letter or as two.
	if in := signIn(t, s, "ben a\u0308rger", ""); in.Session.Person != ben {
		t.Errorf("signed in as %s", in.Session.Person)
	}
	h.pass(FreshFor)
	if x, _ = s.Authenticate(ctx, in.Token, ""); s.Fresh(x) {
		t.Error("still fresh after half an hour")
	}
	proved, err := s.Prove(ctx, SignIn{By: from("10.0.0.1"), Session: in.Token, Password: secret.NewText(good)})
	if err != nil || !s.Fresh(proved.Session) || proved.Token.Equal(in.Token) {
		t.Errorf("proved: %+v, %v", proved.Session, err)
	}
	if _, err := s.Authenticate(ctx, in.Token, ""); !errors.Is(err, ErrSignedOut) {
		t.Errorf("the token before is still good: %v", err)
	}
	if e := h.took(); len(e) != 1 || e[0].ID != in.Session.ID {
		t.Errorf("ended %v, want the session before", e)
	}
	if err := s.SignOut(ctx, from(""), proved.Token); err != nil {
		t.Error(err)
	}
	if _, err := s.Authenticate(ctx, proved.Token, ""); !errors.Is(err, ErrSignedOut) {
		t.Errorf("after sign-out: %v", err)
	}
	for _, bad := range []string{"", "x", strings.Repeat("x", 1<<20), proved.Session.ID} {
		if _, err := s.Authenticate(ctx, secret.NewText(bad), ""); !errors.Is(err, ErrSignedOut) {
			t.Errorf("token of %d bytes: %v", len(bad), err)
		}
	}
}

// TestSignInByANameThatLooksAlike: a log of an older program may hold two names that look the same; each signs in by their
// own, and an apostrophe of another keyboard is no wrong name.
func TestSignInByANameThatLooksAlike(t *testing.T) {
	s, h := setUp(t)
	h.change(func(m *services.Membership) {
		m.People[1].Name = "\u0410\u043f\u043f\u0430" // Аппа
		m.People[2] = services.Person{ID: cleo, Name: "O’Brien", Role: services.RoleMember, State: services.StateActive}
	})
	if err := s.SetPassword(t.Context(), services.Caller{Face: services.FaceConsole}, cleo, secret.NewText(good)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]services.PersonID{"anna": anna, "\u0430\u041f\u041f\u0430": ben, "o'brien": cleo, " O’BRIEN ": cleo} {
		if in := signIn(t, s, name, ""); in.Session.Person != want {
			t.Errorf("%q signs in %s, want %s", name, in.Session.Person, want)
		}
	}
}

func TestSessionsEndByThemselves(t *testing.T) {
	s, h := setUp(t)
	in := signIn(t, s, "Anna", "")
	for range 12 { // used every six days, it lives ninety days less the rest
		h.pass(6 * 24 * time.Hour)
		if _, err := s.Authenticate(t.Context(), in.Token, ""); err != nil {
			t.Fatalf("after %v: %v", h.Now(), err)
		}
	}
	for range 4 {
		h.pass(6 * 24 * time.Hour)
		s.Authenticate(t.Context(), in.Token, "")
	}
	if _, err := s.Authenticate(t.Context(), in.Token, ""); !errors.Is(err, ErrSignedOut) {
		t.Errorf("after 96 days: %v", err)
	}
	idle := signIn(t, s, "Anna", "")
	h.pass(SessionIdle - time.Second)
	if len(sessions(t, s, anna)) != 1 {
		t.Error("ended before a week of rest")
	}
	h.pass(time.Second)
	if _, err := s.Authenticate(t.Context(), idle.Token, ""); !errors.Is(err, ErrSignedOut) || len(sessions(t, s, anna)) != 0 {
		t.Errorf("after a week of rest: %v", err)
	}
}

func TestASessionOfTheTunnelStaysOnItsDevice(t *testing.T) {
	s, _ := setUp(t)
	ctx := t.Context()
	in := signIn(t, s, "Anna", phone)
	if _, err := s.Authenticate(ctx, in.Token, phone); err != nil {
		t.Error(err)
	}
	for _, d := range []services.DeviceID{"", other} {
		if _, err := s.Authenticate(ctx, in.Token, d); !errors.Is(err, ErrOtherDevice) {
			t.Errorf("from %q: %v, want ErrOtherDevice", d, err)
		}
	}
	if _, err := s.Authenticate(ctx, in.Token, phone); err != nil {
		t.Errorf("a stranger's try ended it: %v", err)
	}
}

// TestASessionAtSomebodyElsesPhoneStaysThere: Anna signs in on Ben's phone, over plain http inside the tunnel. Her cookie
// was good from any machine at home, for as long as it lived.
func TestASessionAtSomebodyElsesPhoneStaysThere(t *testing.T) {
	s, h := setUp(t)
	ctx := t.Context()
	in := signIn(t, s, "Anna", other)
	if in.Session.Device != other {
		t.Errorf("the session is bound to %q, want Ben's phone", in.Session.Device)
	}
	if _, err := s.Authenticate(ctx, in.Token, other); err != nil {
		t.Errorf("on Ben's phone: %v", err)
	}
	for _, d := range []services.DeviceID{"", phone} {
		if _, err := s.Authenticate(ctx, in.Token, d); !errors.Is(err, ErrOtherDevice) {
			t.Errorf("from %q: %v, want ErrOtherDevice", d, err)
		}
	}
	h.took()
	h.change(func(m *services.Membership) { m.Devices = m.Devices[:1] })
	if _, err := s.Authenticate(ctx, in.Token, other); !errors.Is(err, ErrSignedOut) {
		t.Errorf("after Ben's phone is gone: %v, want ErrSignedOut", err)
	}
	eventually(t, "its sockets are told", func() bool {
		return slices.ContainsFunc(h.took(), func(e Ended) bool { return e.ID == in.Session.ID })
	})
}

// TestWhatABrowserSaysObeysNoTerminal: a User-Agent with escapes was kept, and "hearth session list" printed it.
func TestWhatABrowserSaysObeysNoTerminal(t *testing.T) {
	s, _ := setUp(t)
	by := from("192.168.1.7")
	agent := "x\u009b2J\x1b[31mOWNED\u202e\u2028evil\r\n\x7f \xff Firefox 👩\u200d👧 Ä"
	in, err := s.SignIn(t.Context(), SignIn{By: by, Name: "Anna", Password: secret.NewText(good), Browser: agent})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := in.Session.Name, "x?2J?[31mOWNED??evil??? ? Firefox 👩\u200d👧 Ä"; got != want {
		t.Errorf("kept as %q, want %q", got, want)
	}
	if err := s.Audit(t.Context(), Event{Action: "x", Object: agent}); err != nil {
		t.Fatal(err)
	}
	events, err := s.Events(t.Context(), time.Time{}, 1)
	if err != nil || len(events) != 1 || strings.ContainsFunc(events[0].Object, unicode.IsControl) {
		t.Errorf("the audit log has %+v, %v", events, err)
	}
}

func TestListAndEnd(t *testing.T) {
	s, _ := setUp(t)
	ctx := t.Context()
	a, b, c := signIn(t, s, "Anna", ""), signIn(t, s, "Anna", ""), signIn(t, s, "Anna", "")
	if err := s.EndSession(ctx, from(""), ben, a.Session.ID); !errors.Is(err, ErrNoCredential) {
		t.Errorf("somebody else's session: %v", err)
	}
	if err := s.EndSession(ctx, from(""), anna, a.Session.ID); err != nil {
		t.Error(err)
	}
	if n, err := s.EndOthers(ctx, from(""), anna, b.Session.ID); n != 1 || err != nil {
		t.Errorf("ended %d others, %v", n, err)
	}
	if got := sessions(t, s, anna); len(got) != 1 || got[0].ID != b.Session.ID {
		t.Errorf("left: %+v", got)
	}
	if _, err := s.Authenticate(ctx, c.Token, ""); err == nil {
		t.Error("an ended session is good")
	}
	for range maxSessions + 5 {
		signIn(t, s, "Anna", "")
	}
	if n := len(sessions(t, s, anna)); n != maxSessions {
		t.Errorf("%d sessions, want at most %d", n, maxSessions)
	}
	if list, err := s.List(KindKnown, anna); err != nil || len(list) > maxKnown {
		t.Errorf("%d known browsers, %v, want at most %d", len(list), err, maxKnown)
	}
}

func TestAppPasswordsAndTokens(t *testing.T) {
	s, _ := setUp(t)
	ctx := t.Context()
	app, x, err := s.CreateAppPassword(ctx, from(""), NewCredential{Person: anna, Device: phone, Name: "Calendar", Scope: "dav"})
	if err != nil || len(app.Reveal()) != 28+6 || x.Device != phone || x.Scope != "dav" {
		t.Fatalf("%d characters, %+v, %v", len(app.Reveal()), x, err)
	}
	for name, p := range map[string]string{"as shown": app.Reveal(), "shouted": strings.ToUpper(app.Reveal()), "no dashes": strings.ReplaceAll(app.Reveal(), "-", ""), "spaces": strings.ReplaceAll(app.Reveal(), "-", " ")} {
		if got, err := s.CheckBasic(ctx, "anna", secret.NewText(p)); err != nil || got.ID != x.ID {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, tc := range map[string][2]string{"other person": {"ben ärger", app.Reveal()}, "the password itself": {"anna", good}, "nothing": {"anna", ""}} {
		if _, err := s.CheckBasic(ctx, tc[0], secret.NewText(tc[1])); !errors.Is(err, ErrSignedOut) {
			t.Errorf("%s: %v", name, err)
		}
	}
	token, _, err := s.CreateToken(ctx, from(""), NewCredential{Person: anna, Name: "script"})
	if err != nil || !strings.HasPrefix(token.Reveal(), "hearth_") {
		t.Fatal(err)
	}
	if _, err := s.CheckToken(ctx, token); err != nil {
		t.Error(err)
	}
	// One kind is not good as another.
	if _, err := s.Authenticate(ctx, token, ""); err == nil {
		t.Error("a token is a session")
	}
	if _, err := s.CheckToken(ctx, signIn(t, s, "Anna", "").Token); err == nil {
		t.Error("a session is a token")
	}
	if _, _, err := s.CreateToken(ctx, from(""), NewCredential{Person: cleo, Name: "x"}); !errors.Is(err, ErrNoPerson) {
		t.Errorf("for a pending person: %v", err)
	}
	if _, _, err := s.CreateAppPassword(ctx, from(""), NewCredential{Person: anna, Device: other, Name: "x"}); !errors.Is(err, ErrNoPerson) {
		t.Errorf("on somebody else's device: %v", err)
	}
	for _, bad := range []string{"", "a\nb", strings.Repeat("x", 101)} {
		if _, _, err := s.CreateToken(ctx, from(""), NewCredential{Person: anna, Name: bad}); services.AsProblem(err).Code != "name-form" {
			t.Errorf("name %q: %v", bad, err)
		}
	}
	for range maxTokens {
		_, _, err = s.CreateToken(ctx, from(""), NewCredential{Person: anna, Name: "x"})
	}
	if services.AsProblem(err).Code != "too-many" {
		t.Errorf("after %d tokens: %v", maxTokens+1, err)
	}
}

func TestAnInvitationIsGoodOnce(t *testing.T) {
	s, h := setUp(t)
	ctx := t.Context()
	if _, until, err := s.CreateInvitation(ctx, from(""), anna); err != nil || until.Sub(h.Now()) != WayInLife {
		t.Errorf("for one who is in already: until %v, %v", until, err)
	}
	if _, _, err := s.CreateInvitation(ctx, from(""), "nobody"); !errors.Is(err, ErrNoPerson) {
		t.Errorf("for nobody: %v", err)
	}
	old, _, err := s.CreateInvitation(ctx, from(""), cleo)
	if err != nil {
		t.Fatal(err)
	}
	token, until, err := s.CreateInvitation(ctx, from(""), cleo)
	if err != nil || until.Sub(h.Now()) != InvitationLife {
		t.Fatal(until, err)
	}
	if _, err := s.Invitation(old); !errors.Is(err, ErrInvitation) {
		t.Errorf("the older one: %v", err)
	}
	if _, err := s.AcceptInvitation(ctx, from(""), token, secret.NewText("short")); services.AsProblem(err).Code != "password-short" {
		t.Errorf("short password: %v", err)
	}
	if id, err := s.Invitation(token); err != nil || id != cleo {
		t.Errorf("a refused password used it up: %v", err)
	}
	var accepted, lost atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			switch _, err := s.AcceptInvitation(context.Background(), from(""), token, secret.NewText(good)); {
			case err == nil:
				accepted.Add(1)
			case errors.Is(err, ErrInvitation) || errors.Is(err, ErrBusy):
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if accepted.Load() != 1 || lost.Load() != 49 {
		t.Errorf("accepted %d times, lost %d", accepted.Load(), lost.Load())
	}
	if !s.HasPassword(cleo) {
		t.Error("no password was set")
	}
	h.change(func(m *services.Membership) { m.People[2].State = services.StateActive })
	if x := signIn(t, s, "Cleo", ""); x.Session.Role != services.RoleMember {
		t.Errorf("%+v", x.Session)
	}

	h.change(func(m *services.Membership) { m.People[2].State = services.StatePending })
	token, _, err = s.CreateInvitation(ctx, from(""), cleo)
	if err != nil {
		t.Fatal(err)
	}
	h.pass(InvitationLife)
	if _, err := s.AcceptInvitation(ctx, from(""), token, secret.NewText(good)); !errors.Is(err, ErrInvitation) {
		t.Errorf("after its week: %v", err)
	}
}

// A link to choose another password was once good after its person had been made owner, whose password an admin could
// set with it; and after somebody had set another password because the link had leaked.
func TestAWayInEnds(t *testing.T) {
	s, h := setUp(t)
	ctx := t.Context()
	make := func() secret.Text {
		t.Helper()
		token, _, err := s.CreateInvitation(ctx, from(""), ben)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	over := func(why string, token secret.Text) {
		t.Helper()
		if _, err := s.AcceptInvitation(ctx, from(""), token, secret.NewText(good)); !errors.Is(err, ErrInvitation) {
			t.Errorf("%s: %v, want ErrInvitation", why, err)
		}
	}
	token := make()
	if _, err := s.ResetPassword(ctx, from(""), ben); err != nil {
		t.Fatal(err)
	}
	over("after a new password at the box itself", token)

	token = make()
	role := services.RoleOwner
	h.change(func(m *services.Membership) {
		for i, p := range m.People {
			if p.ID == ben {
				role, m.People[i].Role = p.Role, services.RoleOwner
			}
		}
	})
	over("after they were made owner", token)
	h.change(func(m *services.Membership) {
		for i, p := range m.People {
			if p.ID == ben {
				m.People[i].Role = role
			}
		}
	})
}

// TestAcceptedThoughTheDiskWasFull: whoever accepted while the household could not be written stayed pending for ever, with a
// password and without an invitation. The next start, and the next round of Run, let them in.
func TestAcceptedThoughTheDiskWasFull(t *testing.T) {
	h := newHouse()
	h.change(func(m *services.Membership) { m.People[2].Expires = h.now.Add(InvitationLife) })
	dir := filepath.Join(t.TempDir(), "account")
	s, stop := open(t, h, dir)
	token, _, err := s.CreateInvitation(t.Context(), from(""), cleo)
	if err != nil {
		t.Fatal(err)
	}
	h.setFull(true)
	if _, err := s.AcceptInvitation(t.Context(), from(""), token, secret.NewText(good)); !errors.Is(err, ErrNotYetIn) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("%v, want ErrNotYetIn", err)
	}
	h.change(func(*services.Membership) {})
	eventually(t, "Health tells of it", func() bool { return !s.Health().OK })
	if _, err := s.SignIn(t.Context(), SignIn{By: from(""), Name: "Cleo", Password: secret.NewText(good)}); !errors.Is(err, ErrRefused) {
		t.Errorf("signing in before: %v", err)
	}
	stop()
	h.setFull(false)
	s, _ = open(t, h, dir)
	eventually(t, "the next start lets them in", func() bool {
		m, _ := h.Watch()
		return m.People[2].State == services.StateActive
	})
	signIn(t, s, "Cleo", "")
}

// TestAnInvitationEndsWithItsMaker: a link stayed good for its week after its maker was removed, or made a guest, who could
// so let somebody in, or come in again.
func TestAnInvitationEndsWithItsMaker(t *testing.T) {
	for name, change := range map[string]func(*house) func(*services.Membership){
		"removed": func(h *house) func(*services.Membership) { return h.remove(ben) },
		"made a guest": func(*house) func(*services.Membership) {
			return func(m *services.Membership) { m.People[1].Role = services.RoleGuest }
		},
		"quarantined": func(*house) func(*services.Membership) {
			return func(m *services.Membership) { m.People[1].State = services.StateQuarantined }
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, h := setUp(t)
			by := from("")
			by.Person = ben
			token, _, err := s.CreateInvitation(t.Context(), by, cleo)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Invitation(token); err != nil {
				t.Fatalf("before: %v", err)
			}
			h.change(change(h))
			if _, err := s.Invitation(token); !errors.Is(err, ErrInvitation) {
				t.Errorf("it is good: %v", err)
			}
			if _, err := s.AcceptInvitation(t.Context(), from(""), token, secret.NewText(good)); !errors.Is(err, ErrInvitation) {
				t.Errorf("it lets in: %v", err)
			}
			eventually(t, "its row is erased", func() bool {
				db, _ := s.database()
				n := -1
				return db.QueryRow("SELECT count(*) FROM credential WHERE person = ?", string(cleo)).Scan(&n) == nil && n == 0
			})
		})
	}
	t.Run("by nobody who may", func(t *testing.T) {
		s, h := setUp(t)
		by := from("")
		by.Person = ben
		h.change(func(m *services.Membership) { m.People[1].Role = services.RoleGuest })
		if _, _, err := s.CreateInvitation(t.Context(), by, cleo); !errors.Is(err, ErrNoPerson) {
			t.Errorf("a guest invites: %v", err)
		}
	})
}

// TestAnInvitationThatEndsMeanwhile: hashing takes a while, and what ended in it was accepted all the same.
func TestAnInvitationThatEndsMeanwhile(t *testing.T) {
	for name, end := range map[string]func(*Service, *house, *credential){
		"its time is over": func(_ *Service, h *house, _ *credential) { h.pass(InvitationLife) },
		"its maker may not": func(s *Service, _ *house, c *credential) {
			s.mu.Lock()
			defer s.mu.Unlock()
			c.maker = "gggggggggggggggg" // as when the sweep of a change has not come to it
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, h := setUp(t)
			token, _, err := s.CreateInvitation(t.Context(), from(""), cleo)
			if err != nil {
				t.Fatal(err)
			}
			c, err := s.invitation(token)
			if err != nil {
				t.Fatal(err)
			}
			end(s, h, c)
			if err := s.setPassword(t.Context(), from(""), cleo, secret.NewText(good), "invitation-accepted", c); !errors.Is(err, ErrInvitation) || s.HasPassword(cleo) {
				t.Errorf("%v, want ErrInvitation and no password", err)
			}
		})
	}
}

// TestRevocation tries every kind: it fails on one that it does not know.
func TestRevocation(t *testing.T) {
	type held struct {
		id    string
		works func() bool
	}
	get := map[Kind]func(t *testing.T, s *Service) held{
		KindPassword: func(t *testing.T, s *Service) held {
			return held{"", func() bool {
				_, err := s.SignIn(context.Background(), SignIn{By: from("10.9.9.9"), Name: "Ben Ärger", Password: secret.NewText(good)})
				return err == nil
			}}
		},
		KindSession: func(t *testing.T, s *Service) held {
			in := signIn(t, s, "Ben Ärger", "")
			return held{in.Session.ID, func() bool { _, err := s.Authenticate(context.Background(), in.Token, ""); return err == nil }}
		},
		KindKnown: func(t *testing.T, s *Service) held {
			in := signIn(t, s, "Ben Ärger", "")
			return held{"", func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.byHash[digestOf(in.Known)] != nil
			}}
		},
		KindApp: func(t *testing.T, s *Service) held {
			text, x, err := s.CreateAppPassword(context.Background(), from(""), NewCredential{Person: ben, Device: other, Name: "x"})
			if err != nil {
				t.Fatal(err)
			}
			return held{x.ID, func() bool { _, err := s.CheckBasic(context.Background(), "Ben Ärger", text); return err == nil }}
		},
		KindToken: func(t *testing.T, s *Service) held {
			text, x, err := s.CreateToken(context.Background(), from(""), NewCredential{Person: ben, Device: other, Name: "x"})
			if err != nil {
				t.Fatal(err)
			}
			return held{x.ID, func() bool { _, err := s.CheckToken(context.Background(), text); return err == nil }}
		},
		KindInvitation: func(t *testing.T, s *Service) held {
			text, _, err := s.CreateInvitation(context.Background(), from(""), cleo)
			if err != nil {
				t.Fatal(err)
			}
			return held{"", func() bool { _, err := s.Invitation(text); return err == nil }}
		},
	}
	ways := map[string]struct {
		change func(*house)
		spares func(Kind) bool // what this does not end
	}{
		"the person is removed": {func(h *house) { h.change(h.remove(ben)); h.change(h.remove(cleo)) }, func(Kind) bool { return false }},
		"the person is quarantined": {func(h *house) {
			h.change(func(m *services.Membership) {
				m.People[1].State, m.People[2].State = services.StateQuarantined, services.StateQuarantined
			})
		}, func(Kind) bool { return false }},
		"the person is demoted": {func(h *house) { h.change(func(m *services.Membership) { m.People[1].Role = services.RoleGuest }) }, func(k Kind) bool { return k == KindPassword || k == KindKnown || k == KindInvitation }},
		"the device is removed": {func(h *house) { h.change(func(m *services.Membership) { m.Devices = m.Devices[:1] }) }, func(k Kind) bool { return k != KindApp && k != KindToken }},
		"the device is quarantined": {func(h *house) {
			h.change(func(m *services.Membership) { m.Devices[1].State = services.StateQuarantined })
		}, func(k Kind) bool { return k != KindApp && k != KindToken }},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			s, h := setUp(t)
			all := map[Kind]held{}
			for _, k := range Kinds() {
				if get[k] == nil {
					t.Fatalf("the test does not know the kind %q: teach it", k)
				}
				all[k] = get[k](t, s)
			}
			for k, x := range all {
				if !x.works() {
					t.Fatalf("%s does not work before", k)
				}
			}
			h.took()
			way.change(h)
			for k, x := range all {
				if k == KindKnown {
					continue // lets nobody in; erased below
				}
				if got := x.works(); got != way.spares(k) {
					t.Errorf("at once after: %s works is %v", k, got)
				}
			}
			// Sockets are told, rows are erased.
			eventually(t, "the rows go", func() bool {
				db, err := s.database()
				if err != nil {
					return false
				}
				left := 0
				for k, x := range all {
					if way.spares(k) {
						continue
					}
					n := 0
					q := "SELECT count(*) FROM credential WHERE kind = '" + string(k) + "' AND person IN ('" + string(ben) + "', '" + string(cleo) + "')"
					switch {
					case x.id != "":
						q = "SELECT count(*) FROM credential WHERE id = '" + x.id + "'"
					case k == KindPassword:
						q = "SELECT count(*) FROM password WHERE person = '" + string(ben) + "'"
					}
					db.QueryRow(q).Scan(&n)
					left += n
				}
				return left == 0
			})
			ended := map[string]bool{}
			eventually(t, "sockets are told", func() bool {
				for _, e := range h.took() {
					ended[e.ID] = true
				}
				for k, x := range all {
					if !way.spares(k) && x.id != "" && !ended[x.id] {
						return false
					}
				}
				return true
			})
		})
	}
}

func TestADamagedLogThrowsNothingAway(t *testing.T) {
	s, h := setUp(t)
	in := signIn(t, s, "Anna", "")
	h.change(func(m *services.Membership) { m.ReadOnly, m.People, m.Devices = true, nil, nil })
	if _, err := s.Authenticate(t.Context(), in.Token, ""); !errors.Is(err, ErrSignedOut) {
		t.Errorf("not in the membership, and let in: %v", err)
	}
	if err := s.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.change(func(m *services.Membership) { *m = newHouse().m })
	if _, err := s.Authenticate(t.Context(), in.Token, ""); err != nil {
		t.Errorf("the log is healed: %v", err)
	}
	if !s.HasPassword(anna) {
		t.Error("the password is gone")
	}
}

func TestChangingThePassword(t *testing.T) {
	s, h := setUp(t)
	ctx := t.Context()
	here, there := signIn(t, s, "Anna", ""), signIn(t, s, "Anna", "")
	app, _, err := s.CreateAppPassword(ctx, from(""), NewCredential{Person: anna, Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	in := SignIn{By: from("10.0.0.2"), Name: "Anna", Password: secret.NewText(good), Session: here.Token}
	if _, err := s.ChangePassword(ctx, in, secret.NewText("anna smith 2026")); services.AsProblem(err).Code != "password-common" {
		t.Errorf("own name and year: %v", err)
	}
	const next = "violin ocean pepper trumpet"
	bad := in
	bad.Password = secret.NewText("wrong wrong wrong")
	if _, err := s.ChangePassword(ctx, bad, secret.NewText(next)); !errors.Is(err, ErrRefused) {
		t.Errorf("with the wrong old one: %v", err)
	}
	now, err := s.ChangePassword(ctx, in, secret.NewText(next))
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]secret.Text{"here": here.Token, "there": there.Token} {
		if _, err := s.Authenticate(ctx, token, ""); err == nil {
			t.Errorf("the session %s lives on", name)
		}
	}
	if _, err := s.Authenticate(ctx, now.Token, ""); err != nil {
		t.Error(err)
	}
	if _, err := s.CheckBasic(ctx, "anna", app); err != nil {
		t.Errorf("the app was cut off: %v", err)
	}
	if _, err := s.SignIn(ctx, in); !errors.Is(err, ErrRefused) {
		t.Errorf("the old password: %v", err)
	}
	h.took()
	words, err := s.ResetPassword(ctx, services.Caller{Face: services.FaceConsole}, anna)
	if err != nil || len(strings.Fields(words.Reveal())) != 4 {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(ctx, now.Token, ""); err == nil {
		t.Error("a session outlived the reset")
	}
	in.Password = words
	if _, err := s.SignIn(ctx, in); err != nil {
		t.Errorf("with the words of the reset: %v", err)
	}
	if err := s.SetPassword(ctx, from(""), "zzzzzzzzzzzzzzzz", secret.NewText(good)); !errors.Is(err, ErrNoPerson) {
		t.Errorf("for nobody: %v", err)
	}
}

func TestHashesAreBroughtUpToDate(t *testing.T) {
	h := newHouse()
	dir := t.TempDir()
	s, stop := open(t, h, dir)
	if err := s.SetPassword(t.Context(), from(""), anna, secret.NewText(good)); err != nil {
		t.Fatal(err)
	}
	stop()
	defer func(p Params) { cheap = p }(cheap)
	cheap = Params{Memory: 128, Time: 2, Threads: 1}
	s, _ = open(t, h, dir)
	signIn(t, s, "Anna", "")
	db, _ := s.database()
	text, err := loadPassword(t.Context(), db, anna)
	if k, err2 := parseHash(text); err != nil || err2 != nil || k.Params != cheap {
		t.Errorf("kept as %s, %v", strings.SplitAfter(text, "p=")[0], err)
	}
	signIn(t, s, "Anna", "")
}

func TestStateSurvivesARestart(t *testing.T) {
	h := newHouse()
	dir := t.TempDir()
	s, stop := open(t, h, dir)
	if err := s.SetPassword(t.Context(), from(""), anna, secret.NewText(good)); err != nil {
		t.Fatal(err)
	}
	in := signIn(t, s, "Anna", phone)
	h.pass(5 * time.Minute)
	if _, err := s.Authenticate(t.Context(), in.Token, phone); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SignIn(t.Context(), SignIn{By: from("10.1.1.1"), Name: "Anna", Password: secret.NewText("wrong wrong wrong")}); err == nil {
		t.Fatal("signed in")
	}
	used := h.Now()
	stop()
	if got := s.Health(); got.Ready {
		t.Error("stopped, and says it is ready")
	}
	if _, err := s.Authenticate(t.Context(), in.Token, phone); services.AsProblem(err).Kind != services.KindUnavailable {
		t.Errorf("stopped: %v", err)
	}
	s, _ = open(t, h, dir)
	list := sessions(t, s, anna)
	if len(list) != 1 || !list[0].Used.Equal(used) {
		t.Errorf("sessions %+v, want one used at %v", list, used)
	}
	if _, err := s.Authenticate(t.Context(), in.Token, phone); err != nil {
		t.Error(err)
	}
	events, err := s.Events(t.Context(), time.Time{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, e := range events {
		actions = append(actions, e.Action)
	}
	if !slices.Equal(actions, []string{"sign-in-refused", "sign-in", "password-set"}) {
		t.Errorf("audit log: %v", actions)
	}
	for _, f := range []string{"account.sqlite", "account.sqlite-wal"} {
		if b, err := os.ReadFile(filepath.Join(dir, f)); err == nil {
			for what, text := range map[string]string{"token": in.Token.Reveal(), "password": good, "wrong password": "wrong wrong"} {
				if bytes.Contains(b, []byte(text)) {
					t.Errorf("%s holds a %s", f, what)
				}
			}
		}
	}
}

func TestADamagedDatabaseIsSetAside(t *testing.T) {
	h := newHouse()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "account.sqlite"), bytes.Repeat([]byte("broken "), 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	s, stop := open(t, h, dir)
	if got := s.Health(); !got.Ready || got.OK || got.Message.Key != "account.damaged" {
		t.Errorf("health %+v", got)
	}
	stop()
	s, _ = open(t, h, dir)
	if got := s.Health(); got.Message.Key != "account.damaged" {
		t.Errorf("after the next start: %+v", got)
	}
	if _, err := s.ResetPassword(t.Context(), from(""), anna); err != nil {
		t.Fatal(err)
	}
	s.report(nil)
	if got := s.Health(); !got.OK {
		t.Errorf("with a password again: %+v", got)
	}
}

func TestAuditChain(t *testing.T) {
	s, h := setUp(t)
	ctx := t.Context()
	for i := range 20 {
		if err := s.Audit(ctx, Event{Actor: anna, Face: services.FaceTunnel, Address: "10.0.0.9", Action: "device-added", Object: strings.Repeat("x", 300*(i%2)) + "\xff"}); err != nil {
			t.Fatal(err)
		}
		h.pass(24 * time.Hour)
	}
	events, err := s.Events(ctx, h.Now().Add(-5*24*time.Hour), 3)
	if err != nil || len(events) != 3 || events[0].Actor != anna || events[0].Face != services.FaceTunnel || len(events[0].Object) > maxEventText {
		t.Errorf("%+v, %v", events, err)
	}
	if err := s.VerifyAudit(ctx); err != nil {
		t.Fatal(err)
	}
	h.pass(80 * 24 * time.Hour)
	if err := s.keepAudit(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.VerifyAudit(ctx); err != nil {
		t.Errorf("after the oldest went: %v", err)
	}
	events, _ = s.Events(ctx, time.Time{}, 0)
	if n := len(events); n != 10 {
		t.Errorf("%d events left, want those of the last 90 days: 10", n)
	}
	if err := s.Audit(ctx, Event{Action: "last"}); err != nil {
		t.Fatal(err)
	}
	db, _ := s.database()
	for name, harm := range map[string]string{
		"changed":  "UPDATE audit SET actor = '" + string(ben) + "' WHERE seq = (SELECT max(seq) - 3 FROM audit)",
		"removed":  "DELETE FROM audit WHERE seq = (SELECT max(seq) - 3 FROM audit)",
		"put in":   "INSERT INTO audit SELECT max(seq) + 1, at, actor, face, address, action, object, zeroblob(32) FROM audit",
		"restated": "UPDATE audit_start SET hash = zeroblob(32)",
	} {
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(harm); err != nil {
			t.Fatal(err)
		}
		if err := verifyAudit(ctx, tx); !errors.Is(err, ErrAuditBroken) {
			t.Errorf("a row was %s: %v", name, err)
		}
		tx.Rollback()
	}
	if _, err := db.Exec("UPDATE audit SET at = at + 1 WHERE seq = (SELECT max(seq) FROM audit)"); err != nil {
		t.Fatal(err)
	}
	if err := s.keepAudit(ctx); err != nil {
		t.Fatal(err)
	}
	s.report(nil)
	if got := s.Health().Message.Key; got != "account.audit-broken" {
		t.Errorf("health says %s", got)
	}
}

func TestSnapshot(t *testing.T) {
	s, h := setUp(t)
	ctx := t.Context()
	app, _, err := s.CreateAppPassword(ctx, from(""), NewCredential{Person: anna, Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	in := signIn(t, s, "Anna", "")
	var snap bytes.Buffer
	if err := s.Snapshot(ctx, &snap); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(snap.String(), good) || strings.Contains(snap.String(), app.Reveal()) {
		t.Error("the snapshot holds a secret")
	}
	whole := snap.String()
	for name, cut := range map[string]string{
		"empty": "", "half": whole[:len(whole)/2], "without its end": whole[:strings.LastIndex(strings.TrimSpace(whole), "\n")+1],
		"newer": strings.Replace(whole, `"hearth-account":1`, `"hearth-account":2`, 1), "twice": whole + whole,
		"costly": strings.Replace(whole, "m=64,", "m=999999999,", 1), "a session": strings.Replace(whole, `"app-password"`, `"session"`, 1),
	} {
		if err := s.Restore(ctx, strings.NewReader(cut)); services.AsProblem(err).Code != "snapshot-damaged" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Authenticate(ctx, in.Token, ""); err != nil {
		t.Errorf("a refused snapshot changed something: %v", err)
	}

	s2, _ := open(t, h, t.TempDir())
	if err := s2.SetPassword(ctx, from(""), anna, secret.NewText("violin ocean pepper trumpet")); err != nil {
		t.Fatal(err)
	}
	if err := s2.Restore(ctx, strings.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	signIn(t, s2, "Anna", "")
	if _, err := s2.CheckBasic(ctx, "anna", app); err != nil {
		t.Error(err)
	}
	if _, err := s2.Authenticate(ctx, in.Token, ""); err == nil {
		t.Error("a session came over")
	}
	if err := s2.VerifyAudit(ctx); err != nil {
		t.Error(err)
	}
	if err := s2.ErasePerson(ctx, anna); err != nil {
		t.Error(err)
	}
	if s2.HasPassword(anna) || len(sessions(t, s2, anna)) != 0 || !s2.HasPassword(ben) {
		t.Error("erased too little or too much")
	}
	if err := s2.ErasePerson(ctx, anna); err != nil {
		t.Errorf("erasing nobody: %v", err)
	}
}

// TestFiveHundredAtOnce: one hash at a time, a bounded queue, and everyone gets an answer.
func TestFiveHundredAtOnce(t *testing.T) {
	s, _ := setUp(t)
	s.c.Params = Params{Memory: 16 << 10, Time: 1, Threads: 1}
	if err := s.SetPassword(t.Context(), from(""), anna, secret.NewText(good)); err != nil {
		t.Fatal(err)
	}
	s.hasher.idle = func() { runtime.GC() }
	runtime.GC()
	var before, m runtime.MemStats
	runtime.ReadMemStats(&before)
	var in, busy, later, peakMB atomic.Int64
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				runtime.ReadMemStats(&m)
				peakMB.Store(max(peakMB.Load(), int64(m.HeapInuse-min(m.HeapInuse, before.HeapInuse))>>20))
			}
		}
	})
	var wg sync.WaitGroup
	for i := range 500 {
		wg.Go(func() {
			switch _, err := s.SignIn(context.Background(), SignIn{By: from(fmt.Sprintf("10.0.%d.%d", i/250, i%250)), Name: "Anna", Password: secret.NewText(good)}); {
			case err == nil:
				in.Add(1)
			case errors.Is(err, ErrBusy):
				busy.Add(1)
			case errors.Is(err, ErrTooManyTries):
				later.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	close(stop)
	watch.Wait()
	t.Logf("%d in, %d busy, %d later; heap grew by at most %d MiB (16 MiB a hash)", in.Load(), busy.Load(), later.Load(), peakMB.Load())
	if in.Load() == 0 || in.Load()+busy.Load()+later.Load() != 500 {
		t.Error("not everyone got an answer, or nobody came in")
	}
	if s.hasher.peak != 1 || peakMB.Load() > 6*16 {
		t.Errorf("%d hashes at once, heap grew by %d MiB", s.hasher.peak, peakMB.Load())
	}
	if err := s.hasher.acquire(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	// The queue is bounded.
	short, cancelShort := context.WithCancel(t.Context())
	answers := make(chan error, maxQueue+10)
	for range maxQueue + 10 {
		go func() { answers <- s.hasher.acquire(short, false) }()
	}
	for range 10 {
		if err := <-answers; !errors.Is(err, errBusy) {
			t.Errorf("beyond the queue: %v", err)
		}
	}
	cancelShort()
	for range maxQueue {
		if err := <-answers; !errors.Is(err, context.Canceled) {
			t.Errorf("in the queue: %v", err)
		}
	}
	// A person who gives up waiting leaves the queue.
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error)
	go func() { gaveUp <- s.hasher.acquire(ctx, false) }()
	eventually(t, "it waits", func() bool { s.hasher.mu.Lock(); defer s.hasher.mu.Unlock(); return len(s.hasher.queues[1]) == 1 })
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	first := make(chan string, 2)
	for _, known := range []bool{false, true} {
		go func() {
			if s.hasher.acquire(context.Background(), known) == nil {
				first <- fmt.Sprint(known)
				s.hasher.release()
			}
		}()
		eventually(t, "it waits", func() bool {
			s.hasher.mu.Lock()
			defer s.hasher.mu.Unlock()
			return len(s.hasher.queues[1]) == 1 && (!known || len(s.hasher.queues[0]) == 1)
		})
	}
	s.hasher.release()
	if got := <-first; got != "true" {
		t.Error("the unknown one was served before the known one")
	}
	<-first
}

// TestDefaultCosts hashes once with what the box uses.
func TestDefaultCosts(t *testing.T) {
	var h hasher
	h.init()
	start := time.Now()
	k := h.make(DefaultParams, secret.NewText(good))
	t.Logf("one hash at %+v took %v here", DefaultParams, time.Since(start).Round(time.Millisecond))
	back, err := parseHash(k.String())
	if err != nil || !h.fits(back, secret.NewText(good)) || h.fits(back, secret.NewText("x")) {
		t.Errorf("hash and back: %v", err)
	}
}

func TestPasswordRules(t *testing.T) {
	about := []string{"Anna-Lena", "Smith", "Attic"}
	for _, bad := range []string{
		"123456789012", "password1234", "Password1234!", "P@ssw0rd2024", "passwordpassword", "qwertyuiop12", "qwertzuiop123", "1q2w3e4r5t6y", "aaaaaaaaaaaa", "abcabcabcabc",
		"iloveyou1234", "ichliebedich", "changeme1234", "letmein12345", "administrator", "Administrator1", "Passwort1234", "Sommer2024!!", "hallo1234567", "dragon123456", "111111111111", "1qaz2wsx3edc",
		"annalena2015", "Anna Lena Smith", "smithsmith12", "attic1234567", "hearth123456", "qwerty123456", "asdfghjkl123", "correcthorsebatterystaple"[:20], "superman1234", "charlie12345", "20.12.201999",
		"letmeinletmein", "welcome12345", "football2023", "bayern münchen", "012345678910", "!@#$%^&*()!@", "zaq12wsxzaq12wsx", "abcdefghijkl", "lkjihgfedcba", "trustno1trustno1", "starwars1977",
	} {
		if err := CheckPassword(secret.NewText(bad), about...); err == nil {
			t.Errorf("%q is taken, worth %.1f bits", bad, guessBits([]rune(strings.ToLower(bad)), []rune(bad), about))
		}
	}
	for _, ok := range []string{good, "violin ocean pepper trumpet", "x7#Qm2!vRt9z", "dzfkhwmqplnr", "grüne Katzen fliegen nie montags", "Der Zug um 7 nach Ulm", "日本語のパスワードは長い方がよい", "we ate cold soup in Porto"} {
		if err := CheckPassword(secret.NewText(ok), about...); err != nil {
			t.Errorf("%q is refused, worth %.1f bits: %v", ok, guessBits([]rune(strings.ToLower(ok)), []rune(ok), about), err)
		}
	}
	for code, p := range map[string]string{"password-short": "x7#Qm2!vRt9", "password-long": strings.Repeat("ab", 513), "password-form": "x7#Qm2!vRt9z\xff"} {
		if got := services.AsProblem(CheckPassword(secret.NewText(p))); got.Code != code || got.Field != "password" {
			t.Errorf("%s: %v", code, got)
		}
	}
	for range 200 {
		if err := CheckPassword(SuggestPassword()); err != nil {
			t.Fatalf("a suggestion is refused: %v", err)
		}
	}
}

// TestThrottleHoldsAMillionGuesses counts without hashing: an attacker who has a /48 and 200 machines at home, and an
// owner with a known browser.
func TestThrottleHoldsAMillionGuesses(t *testing.T) {
	const seed = 20261121
	r := rand.New(rand.NewPCG(seed, 1))
	th := NewThrottle()
	start := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	now := start
	const guesses = 1_000_000
	gap := 7 * 24 * time.Hour / guesses
	accounts := []string{"anna", "ben", "cleo"}
	through := map[string]int{}
	most, ownerHeld := 0, 0
	for i := range guesses {
		now = now.Add(gap)
		a := netip.AddrFrom4([4]byte{192, 168, 1, byte(r.IntN(200))})
		if r.IntN(2) == 0 {
			b := netip.MustParseAddr("2001:db8::").As16()
			b[6], b[7], b[15] = byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256))
			a = netip.AddrFrom16(b)
		}
		name := accounts[r.IntN(3)]
		if r.IntN(10) == 0 {
			name = fmt.Sprint("nobody", r.IntN(1_000_000))
		}
		if try, _ := th.Begin(now, name, a, ""); try != nil {
			try.Wrong()
			through[name]++
		}
		if i%10_000 == 0 { // the owner comes a hundred times, mistypes once each time, from an address that is attacked
			for _, right := range []bool{false, true} {
				try, wait := th.Begin(now, "anna", a, "browser x")
				switch {
				case try == nil:
					ownerHeld++
					t.Logf("the owner waits %v", wait)
				case right:
					try.Right()
				default:
					try.Wrong()
				}
			}
		}
		most = max(most, th.Len())
	}
	days := now.Sub(start).Hours() / 24
	for _, name := range accounts {
		perDay := float64(through[name]) / days
		t.Logf("seed %d: %s: %d of about %d guesses in %.0f days were let through, %.0f a day", seed, name, through[name], guesses*3/10, days, perDay)
		if perDay > 110 { // one in fifteen minutes, and the free ones
			t.Errorf("%s: %.0f guesses a day", name, perDay)
		}
	}
	if ownerHeld > 0 {
		t.Errorf("the owner was held up %d times by somebody else's guesses", ownerHeld)
	}
	if most > maxBuckets+8 {
		t.Errorf("%d buckets, want at most %d", most, maxBuckets+8)
	}
	// Whoever is not known comes in too, after the longest wait.
	if _, wait := th.Begin(now.Add(longestWait), "anna", netip.MustParseAddr("192.168.7.7"), ""); wait != 0 {
		t.Errorf("fifteen quiet minutes later one still waits %v", wait)
	}
}

// When the known time was set back by a year, whoever had mistyped a few times before waited for a year.
func TestThrottleAfterTheTimeWasSetBack(t *testing.T) {
	th, address := NewThrottle(), netip.MustParseAddr("192.0.2.1")
	forged := time.Date(2028, time.January, 1, 0, 0, 0, 0, time.UTC)
	for range 20 {
		th.Begin(forged, "ann", address, "")
	}
	now := forged.AddDate(-1, 0, 0)
	if _, wait := th.Begin(now, "ann", address, ""); wait <= 0 || wait > longestWait {
		t.Errorf("at once it waits %v", wait)
	}
	if try, wait := th.Begin(now.Add(longestWait), "ann", address, ""); try == nil {
		t.Errorf("after %v it waits %v more", longestWait, wait)
	}
}

func TestThrottle(t *testing.T) {
	th := NewThrottle()
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	home := netip.MustParseAddr("192.168.1.5")
	var waits []time.Duration
	for range 18 {
		try, wait := th.Begin(now, "anna", home, "")
		for try == nil {
			now = now.Add(wait)
			try, _ = th.Begin(now, "anna", home, "")
		}
		waits = append(waits, wait)
	}
	want := []time.Duration{0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900}
	for i := range want {
		want[i] *= time.Second
	}
	if !slices.Equal(waits, want) {
		t.Errorf("waits %v, want %v", waits, want)
	}
	// Fifty at once on one account: no more than the free ones come through.
	n := 0
	for range 50 {
		if try, _ := th.Begin(now, "ben", netip.MustParseAddr("10.0.0.1"), ""); try != nil {
			n++
		}
	}
	if n != 5 {
		t.Errorf("%d at once came through, want 5", n)
	}
	// One machine with its /64 is one address; many names make it no more.
	n = 0
	for i := range 50 {
		if try, _ := th.Begin(now, fmt.Sprint("p", i), netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)}), ""); try != nil {
			n++
		}
	}
	if n != 10 {
		t.Errorf("one /64 came through %d times, want 10", n)
	}
	// A flood of names and addresses stays within bounds and does not wash away what is known of anna.
	for i := range 3 * maxBuckets {
		now = now.Add(5 * time.Second / 100)
		th.Begin(now, fmt.Sprint("q", i), netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), "")
	}
	if n := th.Len(); n > maxBuckets+8 {
		t.Errorf("%d buckets", n)
	}
	if _, wait := th.Begin(now, "anna", home, ""); wait == 0 {
		t.Error("a flood of other names made anna's guesser free")
	}
	if got := roundWait(61*time.Second) + ", " + roundWait(121*time.Second); got != "61\u00a0s, 3\u00a0min" {
		t.Error(got)
	}
}

func TestTheOwnerIsNotLockedOut(t *testing.T) {
	s, h := setUp(t)
	ctx := t.Context()
	in := signIn(t, s, "Anna", "")
	attack := func() {
		for i := range 300 {
			s.SignIn(ctx, SignIn{By: from(fmt.Sprintf("10.0.0.%d", i%200)), Name: "Anna", Password: secret.NewText("wrong wrong wrong")})
			h.pass(time.Second)
		}
	}
	attack()
	if _, err := s.SignIn(ctx, SignIn{By: from("10.0.0.7"), Name: "Anna", Password: secret.NewText(good)}); !errors.Is(err, ErrTooManyTries) {
		t.Errorf("from anywhere: %v, want ErrTooManyTries", err)
	}
	again, err := s.SignIn(ctx, SignIn{By: from("10.0.0.7"), Name: "Anna", Password: secret.NewText(good), Known: in.Known})
	if err != nil {
		t.Fatalf("in a known browser: %v", err)
	}
	if again.Known.Reveal() != "" {
		t.Error("a known browser of today got a new secret")
	}
	attack()
	by := from("10.81.4.2")
	by.Device = phone
	if _, err := s.SignIn(ctx, SignIn{By: by, Name: "Anna", Password: secret.NewText(good)}); err != nil {
		t.Errorf("over the tunnel: %v", err)
	}
	attack()
	by.Device = other
	if _, err := s.SignIn(ctx, SignIn{By: by, Name: "Anna", Password: secret.NewText(good)}); !errors.Is(err, ErrTooManyTries) {
		t.Errorf("from somebody else's phone: %v", err)
	}
	// A known browser can be guessed at too, and waits for its own mistakes.
	for range 10 {
		_, err = s.SignIn(ctx, SignIn{By: from("10.0.0.7"), Name: "Anna", Password: secret.NewText("wrong wrong wrong"), Known: in.Known})
	}
	if !errors.Is(err, ErrTooManyTries) {
		t.Errorf("ten wrong ones in a known browser: %v", err)
	}
	h.pass(40 * 24 * time.Hour)
	renewed, err := s.SignIn(ctx, SignIn{By: from("10.0.0.7"), Name: "Anna", Password: secret.NewText(good), Known: in.Known})
	if err != nil || renewed.Known.Reveal() == "" {
		t.Errorf("after forty days the browser is not renewed: %v", err)
	}
}

func TestEndedStaysEndedWhenTheDiskRefuses(t *testing.T) {
	s, _ := setUp(t)
	ctx := t.Context()
	in := signIn(t, s, "Anna", "")
	db, _ := s.database()
	if _, err := db.Exec("CREATE TRIGGER refuse BEFORE DELETE ON credential BEGIN SELECT raise(ABORT, 'disk full'); END"); err != nil {
		t.Fatal(err)
	}
	// It was said that nothing was changed.
	if err := s.EndSession(ctx, from(""), anna, in.Session.ID); !errors.Is(err, ErrEndedNotKept) {
		t.Errorf("an end that is not on disk: %v, want ErrEndedNotKept", err)
	}
	if _, err := s.Authenticate(ctx, in.Token, ""); !errors.Is(err, ErrSignedOut) {
		t.Errorf("it works on: %v", err)
	}
	s.report(s.sweep(ctx))
	if got := s.Health(); got.OK || got.Message.Key != "account.disk" {
		t.Errorf("health %+v", got)
	}
	if _, err := db.Exec("DROP TRIGGER refuse"); err != nil {
		t.Fatal(err)
	}
	s.report(s.sweep(ctx))
	n := 0
	if err := db.QueryRow("SELECT count(*) FROM credential WHERE id = ?", in.Session.ID).Scan(&n); err != nil || n != 0 || !s.Health().OK {
		t.Errorf("%d rows left, %v, health %+v", n, err, s.Health())
	}
}

// TestHealthHearsOfEveryWriting: while every sign-in and every app password failed to be written down, Health said that
// all was well, since it heard of the rounds of Run only.
func TestHealthHearsOfEveryWriting(t *testing.T) {
	s, _ := setUp(t)
	db, _ := s.database()
	create := func() error {
		_, _, err := s.CreateAppPassword(t.Context(), from(""), NewCredential{Person: anna, Name: "x"})
		return err
	}
	refuse := func() {
		t.Helper()
		if _, err := db.Exec("CREATE TRIGGER refuse BEFORE INSERT ON credential BEGIN SELECT raise(ABORT, 'disk full'); END"); err != nil {
			t.Fatal(err)
		}
		if create() == nil {
			t.Fatal("it was written down all the same")
		}
		if got := s.Health(); got.OK || !got.Ready || got.Message.Key != "account.disk" {
			t.Errorf("after a request that was not written down: health %+v", got)
		}
		s.report(s.sweep(t.Context())) // a round with nothing to write
		if s.Health().OK {
			t.Error("a round that wrote nothing made it well")
		}
		if _, err := db.Exec("DROP TRIGGER refuse"); err != nil {
			t.Fatal(err)
		}
	}
	refuse()
	if err := create(); err != nil || !s.Health().OK {
		t.Errorf("a request that is written down: %v, health %+v", err, s.Health())
	}
	refuse()
	if err := s.tryAgain(t.Context()); err != nil || !s.Health().OK {
		t.Errorf("a round after that: %v, health %+v", err, s.Health())
	}
	// What a request cannot have, or no longer waits for, says nothing about the disk.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range []error{
		s.write(gone, nil, Event{Action: "x"}),
		s.write(t.Context(), func(*sql.Tx) error { return ErrRefused }),
	} {
		if err == nil || !s.Health().OK {
			t.Errorf("after %v: health %+v", err, s.Health())
		}
	}
}

// TestAPasswordSetMeanwhile: who proved the old password gets no session once another is set.
func TestAPasswordSetMeanwhile(t *testing.T) {
	s, h := setUp(t)
	m, _ := h.Watch()
	p, _ := m.Person(anna)
	db, _ := s.database()
	kept, err := loadPassword(t.Context(), db, anna)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ResetPassword(t.Context(), from(""), anna); err != nil {
		t.Fatal(err)
	}
	if _, err := s.enter(t.Context(), SignIn{By: from("")}, p, nil, kept, "", false); !errors.Is(err, ErrRefused) {
		t.Errorf("%v, want ErrRefused", err)
	}
}

func TestWritesAreFew(t *testing.T) {
	s, h := setUp(t)
	in := signIn(t, s, "Anna", "")
	db, _ := s.database()
	writes := func() (n int) {
		db.QueryRow("SELECT total_changes()").Scan(&n)
		return n
	}
	before := writes()
	for range 1000 {
		h.pass(time.Second / 2)
		if _, err := s.Authenticate(t.Context(), in.Token, ""); err != nil {
			t.Fatal(err)
		}
		if err := s.keepUsed(t.Context(), usedEvery); err != nil {
			t.Fatal(err)
		}
	}
	if n := writes() - before; n != 0 {
		t.Errorf("%d rows written in eight minutes of use", n)
	}
	h.pass(usedEvery)
	s.Authenticate(t.Context(), in.Token, "")
	if err := s.keepUsed(t.Context(), usedEvery); err != nil {
		t.Fatal(err)
	}
	if n := writes() - before; n != 1 {
		t.Errorf("%d rows written after ten minutes, want 1", n)
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	s, _ := setUp(b)
	in := signIn(b, s, "Anna", "")
	for b.Loop() {
		if _, err := s.Authenticate(b.Context(), in.Token, ""); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	var h hasher
	f.Add(h.make(cheap, secret.NewText(good)).String())
	f.Add("$argon2id$v=19$m=65536,t=3,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := parseHash(s)
		if err != nil {
			if k.Memory != 0 || k.key != nil {
				t.Fatal("half a hash came with an error")
			}
			return
		}
		if k.String() != s {
			t.Fatalf("%q reads as %q", s, k)
		}
	})
}

func FuzzSnapshot(f *testing.F) {
	f.Add([]byte("{\"hearth-account\":1}\n{\"password\":{\"person\":\"aaaaaaaaaaaaaaaa\",\"hash\":\"$argon2id$v=19$m=65536,t=3,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"changed\":1}}\n{\"audit-start\":{\"seq\":0,\"hash\":\"" + strings.Repeat("00", 32) + "\"}}\n{\"end\":2}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if lines, err := parseSnapshot(bytes.NewReader(b)); err != nil && lines != nil {
			t.Fatal("half a snapshot came with an error")
		}
	})
}

func FuzzCheckPassword(f *testing.F) {
	f.Add(good, "Anna")
	f.Add("İİİİİİİİİİİİİİ", "ß")
	f.Fuzz(func(t *testing.T, p, about string) {
		if err := CheckPassword(secret.NewText(p), about); err != nil && p != "" && len(p) > 3 && strings.Contains(err.Error(), p) {
			t.Fatal("the error repeats the password")
		}
	})
}
