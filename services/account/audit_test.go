package account

import (
	"errors"
	"strings"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/secret"
)

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
	for range 3 { // a week at a time
		if err := s.keepAudit(ctx); err != nil {
			t.Fatal(err)
		}
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

// Whoever may set the time does not erase by that what they did: age drops a week of rows at a time.
func TestTheTimeErasesNoAudit(t *testing.T) {
	h := newHouse()
	s, stop := open(t, h, t.TempDir())
	defer stop()
	ctx := t.Context()
	for range 30 {
		if err := s.Audit(ctx, Event{Action: "marked"}); err != nil {
			t.Fatal(err)
		}
		h.pass(24 * time.Hour)
	}
	h.pass(30 * 365 * 24 * time.Hour)
	if err := s.keepAudit(ctx); err != nil {
		t.Fatal(err)
	}
	if events, _ := s.Events(ctx, time.Time{}, 0); len(events) < 20 {
		t.Errorf("%d events left of 30", len(events))
	}
}

// What was made while the time was too late ends when a person sets it right, and what was used then counts as used now.
func TestTimeSet(t *testing.T) {
	h := newHouse()
	s, stop := open(t, h, t.TempDir())
	defer stop()
	ctx := t.Context()
	if err := s.SetPassword(ctx, from(""), anna, secret.NewText(good)); err != nil {
		t.Fatal(err)
	}
	before := signIn(t, s, "Anna", "")
	wrong := 400 * 24 * time.Hour
	h.pass(wrong)
	later := signIn(t, s, "Anna", "")
	code, _, err := s.CreateInvitation(ctx, from(""), cleo)
	if err != nil {
		t.Fatal(err)
	}
	h.pass(-wrong)
	if err := s.TimeSet(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(ctx, later.Token, ""); err == nil {
		t.Error("a session that was made later than it is now goes on")
	}
	if _, err := s.Invitation(code); err == nil {
		t.Error("a code that was made later than it is now is good for a year and more")
	}
	if _, err := s.Authenticate(ctx, before.Token, ""); err != nil {
		t.Errorf("a session of before: %v", err)
	}
}
