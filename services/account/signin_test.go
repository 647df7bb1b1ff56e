package account

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"hearth.alt/services"
	"hearth.alt/services/secret"
)

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

// A suspended person is told so, once the password is right; a wrong one is answered as everybody's.
func TestSignInWhileSuspended(t *testing.T) {
	s, h := setUp(t)
	in := SignIn{Name: "Anna", Password: secret.NewText(good), By: from("10.0.0.1")}
	h.change(func(m *services.Membership) {
		m.People[0].State, m.Frozen, m.ReadOnly = services.StateQuarantined, true, true
	})
	if got, err := s.SignIn(t.Context(), in); !errors.Is(err, ErrSuspended) || !got.Token.Equal(secret.Text{}) {
		t.Errorf("the right password: %v", err)
	}
	wrong := in
	wrong.Password = secret.NewText("not " + good)
	if _, err := s.SignIn(t.Context(), wrong); !errors.Is(err, ErrRefused) {
		t.Errorf("a wrong password: %v", err)
	}
	h.change(func(m *services.Membership) {
		m.People[0].State, m.Frozen, m.ReadOnly = services.StateActive, false, false
	})
	if _, err := s.SignIn(t.Context(), in); err != nil {
		t.Errorf("after the dispute: %v", err)
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
	if _, err := s.enter(t.Context(), SignIn{By: from("")}, p, nil, kept, nil, false); !errors.Is(err, ErrRefused) {
		t.Errorf("%v, want ErrRefused", err)
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
