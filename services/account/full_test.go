package account

import (
	"errors"
	"path/filepath"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/secret"
)

// fill makes the disk full as SQLite meets it: no page can be added, and the last one of the audit log has no room. The
// function it returns makes room.
func fill(t *testing.T, s *Service) (room func()) {
	t.Helper()
	db, err := s.database()
	if err != nil {
		t.Fatal(err)
	}
	pages := func(most string) {
		t.Helper()
		if _, err := db.Exec("PRAGMA max_page_count = " + most); err != nil {
			t.Fatal(err)
		}
	}
	pages("1") // SQLite takes it for as many as there are
	for err == nil {
		err = s.Audit(t.Context(), Event{Action: "x"})
	}
	if !errors.Is(err, services.ErrDiskFull) {
		t.Fatalf("%v, want ErrDiskFull", err)
	}
	return func() { pages("1073741823") }
}

func rowsOf(t *testing.T, s *Service, id string) (n int) {
	t.Helper()
	db, err := s.database()
	if err == nil {
		err = db.QueryRow("SELECT count(*) FROM credential WHERE id = ?", id).Scan(&n)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestSignInOnAFullDisk: whoever comes to make room gets in, until the next start; what must be kept is refused.
func TestSignInOnAFullDisk(t *testing.T) {
	h, dir := newHouse(), filepath.Join(t.TempDir(), "account")
	s, stop := open(t, h, dir)
	if err := s.SetPassword(t.Context(), from(""), anna, secret.NewText(good)); err != nil {
		t.Fatal(err)
	}
	before := signIn(t, s, "Anna", "")
	room := fill(t, s)

	held, err := s.SignIn(t.Context(), SignIn{By: from(""), Name: "Anna", Password: secret.NewText(good), Session: before.Token})
	if err != nil {
		t.Fatalf("signing in: %v", err)
	}
	if x, err := s.Authenticate(t.Context(), held.Token, ""); err != nil || x.Person != anna || x.ID != held.Session.ID {
		t.Errorf("the session: %+v, %v", x, err)
	}
	if held.Known.Reveal() != "" || rowsOf(t, s, held.Session.ID) != 0 {
		t.Error("it says that it was kept")
	}
	if _, err := s.Authenticate(t.Context(), before.Token, ""); !errors.Is(err, ErrSignedOut) {
		t.Errorf("the session whose place it took: %v", err)
	}
	if s.Health().OK {
		t.Error("health says nothing of it")
	}
	if _, err := s.SignIn(t.Context(), SignIn{By: from(""), Name: "Anna", Password: secret.NewText("wrong wrong wrong")}); !errors.Is(err, ErrRefused) {
		t.Errorf("a wrong password: %v", err)
	}
	for what, err := range map[string]error{
		"a new password": second(s.ChangePassword(t.Context(), SignIn{By: from(""), Name: "Anna", Password: secret.NewText(good)}, secret.NewText("violin ocean pepper trumpet"))),
		"an app password": func() error {
			_, _, err := s.CreateAppPassword(t.Context(), from(""), NewCredential{Person: anna, Name: "x"})
			return err
		}(),
		"an invitation": func() error { _, _, err := s.CreateInvitation(t.Context(), from(""), cleo); return err }(),
	} {
		if !errors.Is(err, services.ErrDiskFull) {
			t.Errorf("%s: %v, want ErrDiskFull", what, err)
		}
	}
	if list, _ := s.List(KindApp, anna); len(list) != 0 {
		t.Error("an app password that is not on disk lets in")
	}
	signIn(t, s, "Anna", "") // the old password is the one
	for range maxSessions + 3 {
		signIn(t, s, "Anna", "")
	}
	if n := len(sessions(t, s, anna)); n > maxSessions {
		t.Errorf("%d sessions in memory", n)
	}

	room()
	s.report(errors.Join(s.sweep(t.Context()), s.tryAgain(t.Context())))
	if !s.Health().OK || rowsOf(t, s, before.Session.ID) != 0 {
		t.Errorf("with room again: health %+v, %d rows of the ended session", s.Health(), rowsOf(t, s, before.Session.ID))
	}
	last := signIn(t, s, "Anna", "")
	stop()
	s, _ = open(t, h, dir)
	if _, err := s.Authenticate(t.Context(), held.Token, ""); !errors.Is(err, ErrSignedOut) {
		t.Errorf("after a start the session that was not kept: %v", err)
	}
	if _, err := s.Authenticate(t.Context(), last.Token, ""); err != nil {
		t.Errorf("after a start the one that was: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestEndingOnAFullDisk: what is ended is ended, though its row stays until there is room; then it goes, and no start
// brings it back.
func TestEndingOnAFullDisk(t *testing.T) {
	h, dir := newHouse(), filepath.Join(t.TempDir(), "account")
	s, stop := open(t, h, dir)
	if err := s.SetPassword(t.Context(), from(""), anna, secret.NewText(good)); err != nil {
		t.Fatal(err)
	}
	in := signIn(t, s, "Anna", "")
	app, x, err := s.CreateAppPassword(t.Context(), from(""), NewCredential{Person: anna, Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	room := fill(t, s)
	if err := s.SignOut(t.Context(), from(""), in.Token); !errors.Is(err, ErrEndedNotKept) {
		t.Errorf("signing out: %v, want ErrEndedNotKept", err)
	}
	if err := s.End(t.Context(), from(""), anna, x.ID); !errors.Is(err, ErrEndedNotKept) {
		t.Errorf("ending an app password: %v, want ErrEndedNotKept", err)
	}
	over := func(when string) {
		t.Helper()
		if _, err := s.Authenticate(t.Context(), in.Token, ""); !errors.Is(err, ErrSignedOut) {
			t.Errorf("%s the session: %v", when, err)
		}
		if _, err := s.CheckBasic(t.Context(), "Anna", app); !errors.Is(err, ErrSignedOut) {
			t.Errorf("%s the app password: %v", when, err)
		}
	}
	over("on the full disk")
	if rowsOf(t, s, in.Session.ID)+rowsOf(t, s, x.ID) != 2 {
		t.Fatal("the rows are gone: the disk was not full")
	}
	if s.Health().OK {
		t.Error("health says nothing of it")
	}
	room()
	s.report(s.sweep(t.Context()))
	if n := rowsOf(t, s, in.Session.ID) + rowsOf(t, s, x.ID); n != 0 || !s.Health().OK {
		t.Errorf("with room again %d rows are left, health %+v", n, s.Health())
	}
	stop()
	s, _ = open(t, h, dir)
	over("after a start")
}
