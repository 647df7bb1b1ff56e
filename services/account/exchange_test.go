package account

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/secret"
)

// TestEveryBoxLetsTheSameIn: sign in on the second box with the password that was set on the first one, which is off.
func TestEveryBoxLetsTheSameIn(t *testing.T) {
	all := boxes(t, 2)
	a, b := all[0], all[1]
	text, x := a.app(t, anna)
	token, _, err := a.CreateToken(t.Context(), from(""), NewCredential{Person: ben, Device: other, Name: "Script"})
	if err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	a.stop()
	if !b.lets("Anna", good) || !b.lets("ben ärger", good) || b.lets("Anna", next) {
		t.Error("the second box does not let the same people in")
	}
	if got, err := b.CheckBasic(t.Context(), "Anna", text); err != nil || got.ID != x.ID || got.Scope != "dav" || got.Name != "Calendar" {
		t.Errorf("the app password there: %+v, %v", got, err)
	}
	if got, err := b.CheckToken(t.Context(), token); err != nil || got.Person != ben || got.Device != other {
		t.Errorf("the token there: %+v, %v", got, err)
	}
	b.stop()
	b.start(t)
	if !b.lets("Anna", good) || !b.basic("Anna", text) {
		t.Error("not after a start")
	}
}

// TestAChangeReachesEveryBox while they are connected, and ends there what it ends here.
func TestAChangeReachesEveryBox(t *testing.T) {
	all := boxes(t, 3)
	a, b, c := all[0], all[1], all[2]
	meet(t, a, b, c)
	connect(t, a, b)
	connect(t, b, c)
	session := signIn(t, a.Service, "Anna", "")
	bens := signIn(t, a.Service, "Ben Ärger", "")
	mine := signIn(t, c.Service, "Anna", "")
	text, x := a.app(t, anna)
	link, _, err := a.CreateInvitation(t.Context(), from(""), anna)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the app password reaches the last box", func() bool { return c.basic("Anna", text) })
	a.took()

	now := c.changePassword(t, "Anna", good, next)
	ended := map[string]bool{}
	eventually(t, "the session on the first box is told to end", func() bool {
		for _, e := range a.took() {
			ended[e.ID] = true
		}
		return ended[session.Session.ID]
	})
	if _, err := a.Authenticate(t.Context(), session.Token, ""); !errors.Is(err, ErrSignedOut) {
		t.Errorf("the session on the first box: %v", err)
	}
	if _, err := c.Authenticate(t.Context(), mine.Token, ""); !errors.Is(err, ErrSignedOut) {
		t.Errorf("the other session on the last box: %v", err)
	}
	if _, err := c.Authenticate(t.Context(), now.Token, ""); err != nil {
		t.Errorf("the session that the change made: %v", err)
	}
	if _, err := a.Authenticate(t.Context(), bens.Token, ""); err != nil || ended[bens.Session.ID] {
		t.Errorf("somebody else's session: %v", err)
	}
	if _, err := a.Invitation(link); !errors.Is(err, ErrInvitation) {
		t.Errorf("the link to a new password: %v", err)
	}
	if a.lets("Anna", good) || !a.lets("Anna", next) || !b.lets("Anna", next) {
		t.Error("the new password is not good everywhere, or the old one is")
	}
	if !a.basic("Anna", text) {
		t.Error("the app password ended")
	}

	if err := c.End(t.Context(), from(""), anna, x.ID); err != nil {
		t.Fatal(err)
	}
	for _, b := range all {
		eventually(t, "the app password ends", func() bool { return !b.basic("Anna", text) })
	}
	if !slices.ContainsFunc(a.took(), func(e Ended) bool { return e.ID == x.ID && e.Kind == KindApp }) {
		t.Error("its sockets are not told")
	}
	events, err := a.Events(t.Context(), a.Now().Add(-1), 0)
	if err != nil {
		t.Fatal(err)
	}
	var heard []string
	for _, e := range events {
		heard = append(heard, e.Action)
	}
	if !slices.Contains(heard, "password-changed") || !slices.Contains(heard, "ended-app-password") {
		t.Errorf("the audit log of the first box has %v", heard)
	}
	if err := a.VerifyAudit(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestPartition: boxes that hear nothing of one another go on alone, and agree once they meet.
func TestPartition(t *testing.T) {
	all := boxes(t, 3)
	a, b, c := all[0], all[1], all[2]
	text, x := a.app(t, ben)
	meet(t, a, b, c)
	a.changePassword(t, "Anna", good, next)
	a.changePassword(t, "Anna", next, "kettle harbour onion velvet")
	c.changePassword(t, "Anna", good, "pebble lantern ribbon cloud")
	b.changePassword(t, "Ben Ärger", good, next)
	newer, _ := a.app(t, ben)
	if err := c.End(t.Context(), from(""), ben, x.ID); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b, c)
	for _, p := range []string{"kettle harbour onion velvet", "pebble lantern ribbon cloud"} {
		if ok := a.lets("Anna", p); ok != b.lets("Anna", p) || ok != c.lets("Anna", p) {
			t.Errorf("%q is good on one box and not on another", p)
		}
	}
	if a.lets("Anna", "kettle harbour onion velvet") == a.lets("Anna", "pebble lantern ribbon cloud") {
		t.Error("not one of the two is good")
	}
	for i, b := range all {
		if b.lets("Anna", good) || b.lets("Anna", next) || b.lets("Ben Ärger", good) || !b.lets("Ben Ärger", next) {
			t.Errorf("box %d lets in with what was changed", i)
		}
		if b.basic("Ben Ärger", text) || !b.basic("Ben Ärger", newer) {
			t.Errorf("box %d has the app password that ended, or not the other", i)
		}
	}
	// From here on there is one past again.
	last := "anchor biscuit meadow tulip"
	for _, p := range []string{"kettle harbour onion velvet", "pebble lantern ribbon cloud"} {
		if b.lets("Anna", p) {
			b.changePassword(t, "Anna", p, last)
		}
	}
	meet(t, a, b, c)
	for i, b := range all {
		if !b.lets("Anna", last) {
			t.Errorf("box %d does not know the password that was set last", i)
		}
	}
}

// TestABoxThatWasAwayForLong brings no old password back, nor an app password that ended.
func TestABoxThatWasAwayForLong(t *testing.T) {
	all := boxes(t, 3)
	a, b, c := all[0], all[1], all[2]
	text, x := a.app(t, anna)
	meet(t, a, b, c)
	old := good
	for i := range 12 {
		at, now := all[i%2], fmt.Sprintf("marble river seldom kite %d", i)
		at.changePassword(t, "Anna", old, now)
		old = now
		meet(t, a, b)
	}
	if err := b.End(t.Context(), from(""), anna, x.ID); err != nil {
		t.Fatal(err)
	}
	meet(t, c, b, a)
	for i, b := range all {
		if !b.lets("Anna", old) || b.lets("Anna", good) || b.basic("Anna", text) {
			t.Errorf("box %d has what is over", i)
		}
	}
}

// TestARemovedPersonComesNotBack from a box that has not heard of the removal.
func TestARemovedPersonComesNotBack(t *testing.T) {
	all := boxes(t, 2)
	a, b := all[0], all[1]
	meet(t, a, b)
	a.change(a.remove(ben))
	eventually(t, "nothing of Ben is left", func() bool { return count(t, a, ben) == 0 })
	text, _ := b.app(t, ben)
	b.changePassword(t, "Ben Ärger", good, next)
	b.changePassword(t, "Anna", good, next)
	connect(t, a, b)
	eventually(t, "Anna's change is heard", func() bool { return a.lets("Anna", next) })
	if n := count(t, a, ben); n != 0 {
		t.Errorf("%d rows of Ben", n)
	}
	a.change(func(*services.Membership) {})
	a.changePassword(t, "Anna", next, good)
	eventually(t, "it goes on", func() bool { return b.lets("Anna", good) })
	if count(t, a, ben) != 0 || a.basic("Ben Ärger", text) {
		t.Error("Ben is back")
	}
	b.change(b.remove(ben))
	eventually(t, "nothing of Ben is left on the other box", func() bool { return count(t, b, ben) == 0 })
}

// TestAFirstPassword: of somebody who takes up an invitation on one box, the others wrote down that they changed the
// password, which nobody had.
func TestAFirstPassword(t *testing.T) {
	all := boxes(t, 2)
	meet(t, all...)
	const cara = services.PersonID("cccccccccccccccc")
	for _, b := range all {
		b.change(func(m *services.Membership) {
			m.People = append(slices.Clone(m.People), services.Person{ID: cara, Name: "Cara", Role: services.RoleMember, State: services.StateActive})
		})
	}
	if err := all[0].SetPassword(t.Context(), from(""), cara, secret.NewText(good)); err != nil {
		t.Fatal(err)
	}
	meet(t, all...)
	if !all[1].HasPassword(cara) {
		t.Error("it has not come to the second box")
	}
	events, err := all[1].Events(t.Context(), all[1].Now().Add(-1), 0)
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(events, func(e Event) bool { return e.Action == "password-changed" }) {
		t.Errorf("the second box wrote down %+v", events)
	}
}

// TestAPersonTheBoxHasNotHeardOf: the statements come before the household log, and are sent again after it.
func TestAPersonTheBoxHasNotHeardOf(t *testing.T) {
	all := boxes(t, 2)
	a, b := all[0], all[1]
	b.change(b.remove(ben))
	connect(t, a, b)
	eventually(t, "it has its part", func() bool { return b.met(t) })
	if b.HasPassword(ben) {
		t.Fatal("Ben does not belong there")
	}
	b.change(func(m *services.Membership) { m.People = newHouse().m.People })
	eventually(t, "Ben's password comes", func() bool { return b.HasPassword(ben) })
}

// TestTheFirstBoxIsGone: whoever joined vouches for what was there. What was set on the first box since counts on only
// when it is kept.
func TestTheFirstBoxIsGone(t *testing.T) {
	for _, keep := range []bool{false, true} {
		all := boxes(t, 2)
		a, b := all[0], all[1]
		text, _ := a.app(t, anna)
		meet(t, a, b)
		a.changePassword(t, "Anna", good, next)
		later, _ := a.app(t, anna)
		meet(t, a, b)
		if p, o, err := b.RestsOn(t.Context(), a.id); p != 1 || o != 1 || err != nil {
			t.Errorf("removing it ends %d passwords and %d app passwords, %v", p, o, err)
		}
		if keep {
			if err := b.KeepFrom(t.Context(), from(""), a.id); err != nil {
				t.Fatal(err)
			}
		}
		if p, o, err := b.RestsOn(t.Context(), a.id); (p+o == 0) != keep || err != nil {
			t.Errorf("kept is %v, and removing it ends %d passwords and %d app passwords, %v", keep, p, o, err)
		}
		in, err := b.SignIn(t.Context(), SignIn{By: from(""), Name: "Anna", Password: secret.NewText(next)})
		if err != nil {
			t.Fatal(err)
		}
		removeBox(a.id, b)
		eventually(t, "its statements go", func() bool { p, o, err := b.RestsOn(t.Context(), a.id); return p+o == 0 && err == nil })
		if b.lets("Anna", next) != keep || b.lets("Anna", good) == keep || b.basic("Anna", later) != keep || !b.basic("Anna", text) || !b.lets("Ben Ärger", good) {
			t.Errorf("kept is %v, and not what it should be", keep)
		}
		if _, err := b.Authenticate(t.Context(), in.Token, ""); (err == nil) != keep {
			t.Errorf("kept is %v, and the session: %v", keep, err)
		}
	}
}

// TestNothingIsPassedOnBeforeItIsKept: a box whose disk refuses ends the exchange and tells nobody.
func TestNothingIsPassedOnBeforeItIsKept(t *testing.T) {
	all := boxes(t, 3)
	a, b, c := all[0], all[1], all[2]
	meet(t, a, b, c)
	connect(t, b, c)
	db, _ := b.database()
	if _, err := db.Exec("CREATE TRIGGER refuse BEFORE INSERT ON audit BEGIN SELECT raise(ABORT, 'disk full'); END"); err != nil {
		t.Fatal(err)
	}
	a.changePassword(t, "Anna", good, next)
	text, _ := a.app(t, anna)
	x, y := net.Pipe()
	go func() { a.ServeCredentials(t.Context(), b.id, x); x.Close() }()
	if err := b.ServeCredentials(t.Context(), a.id, y); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("the exchange ended with %v", err)
	}
	y.Close()
	if b.basic("Anna", text) || c.basic("Anna", text) {
		t.Error("the app password counts somewhere")
	}
	if _, err := db.Exec("DROP TRIGGER refuse"); err != nil {
		t.Fatal(err)
	}
	if b.lets("Anna", next) || c.lets("Anna", next) || !b.lets("Anna", good) {
		t.Error("the password counts somewhere")
	}
	connect(t, a, b)
	eventually(t, "it arrives with the next exchange", func() bool { return c.lets("Anna", next) })
}

// TestAnOlderCopyIsBroughtBack: what other boxes heard since wins, except over what was set since then.
func TestAnOlderCopyIsBroughtBack(t *testing.T) {
	all := boxes(t, 2)
	a, b := all[0], all[1]
	text, x := a.app(t, anna)
	meet(t, a, b)
	var copied bytes.Buffer
	if err := a.Snapshot(t.Context(), &copied); err != nil {
		t.Fatal(err)
	}
	a.changePassword(t, "Anna", good, next)
	a.changePassword(t, "Ben Ärger", good, next)
	if err := a.End(t.Context(), from(""), anna, x.ID); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	if err := a.Restore(t.Context(), bytes.NewReader(copied.Bytes())); err != nil {
		t.Fatal(err)
	}
	if !a.lets("Anna", good) || !a.basic("Anna", text) {
		t.Fatal("the copy was not brought back")
	}
	a.changePassword(t, "Ben Ärger", good, "kettle harbour onion velvet")
	meet(t, a, b)
	for i, b := range all {
		if b.lets("Anna", good) || !b.lets("Anna", next) || b.basic("Anna", text) || !b.lets("Ben Ärger", "kettle harbour onion velvet") {
			t.Errorf("box %d has what was over", i)
		}
	}
	// On another box the copy is that box's own word.
	c := boxes(t, 3)[2]
	if err := c.Restore(t.Context(), bytes.NewReader(copied.Bytes())); err != nil {
		t.Fatal(err)
	}
	removeBox(a.id, c)
	rows, _, err := c.sayable(t.Context(), c.id)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if r.Writer == c.id && !r.Genuine() {
			t.Error("it signs with another box's word")
		}
	}
	if !c.lets("Anna", good) || !c.basic("Anna", text) {
		t.Error("nobody comes in on the other box")
	}
}

// TestACredentialBeforeItsDevice: what rests on a record of the household log that is still on its way is not taken for
// revoked, which would end it on every box.
func TestACredentialBeforeItsDevice(t *testing.T) {
	all := boxes(t, 2)
	a, b := all[0], all[1]
	b.change(func(m *services.Membership) {
		m.Devices = m.Devices[:1]
		m.People[1].Role = services.RoleMember
	})
	meet(t, a, b)
	connect(t, a, b)
	onDevice, _, err := a.CreateAppPassword(t.Context(), from(""), NewCredential{Person: ben, Device: other, Name: "Calendar"})
	if err != nil {
		t.Fatal(err)
	}
	asAdmin, _ := a.app(t, ben)
	a.changePassword(t, "Anna", good, next)
	eventually(t, "what came after it is there", func() bool { return b.lets("Anna", next) })
	if err := b.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.changePassword(t, "Anna", next, good)
	eventually(t, "what was said after that is there", func() bool { return a.lets("Anna", good) })
	if !a.basic("Ben Ärger", onDevice) || !a.basic("Ben Ärger", asAdmin) {
		t.Error("a box that has not heard of the device or the role ended them")
	}
	if b.basic("Ben Ärger", onDevice) || b.basic("Ben Ärger", asAdmin) {
		t.Error("they let in before the log does")
	}
	b.change(func(m *services.Membership) {
		m.Devices = newHouse().m.Devices
		m.People[1].Role = services.RoleAdmin
	})
	eventually(t, "they come with the log", func() bool { return b.basic("Ben Ärger", onDevice) && b.basic("Ben Ärger", asAdmin) })
	// From here on the log ends them.
	b.change(func(m *services.Membership) { m.Devices = m.Devices[:1] })
	eventually(t, "the device's ends everywhere", func() bool { return !a.basic("Ben Ärger", onDevice) && !b.basic("Ben Ärger", onDevice) })
	if !a.basic("Ben Ärger", asAdmin) {
		t.Error("the other one ended")
	}
}
