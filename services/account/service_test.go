package account

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/secret"
)

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
