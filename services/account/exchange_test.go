package account

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth.alt/services"
	"hearth.alt/services/account/internal/statement"
	"hearth.alt/services/secret"
)

const next = "violin ocean pepper trumpet"

// boxOf is a box of a household: a Service, and its own view of who belongs.
type boxOf struct {
	*Service
	*house
	id   services.PeerID
	key  ed25519.PrivateKey
	dir  string
	stop func()
}

func boxKey(n byte) (services.PeerID, ed25519.PrivateKey) {
	k := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
	return services.PeerID(k.Public().(ed25519.PublicKey)), k
}

// boxes are n boxes that know one another. The first one has the passwords of Anna and Ben.
func boxes(t testing.TB, n int) []*boxOf {
	t.Helper()
	var out []*boxOf
	var all []services.Box
	for i := range n {
		id, _ := boxKey(byte(i + 1))
		all = append(all, services.Box{ID: id, Name: fmt.Sprintf("Box %d", i), Label: fmt.Sprintf("box%d", i), State: services.StateActive})
	}
	for i := range n {
		b := &boxOf{house: newHouse(), dir: filepath.Join(t.TempDir(), "account")}
		b.id, b.key = boxKey(byte(i + 1))
		b.m.Self, b.m.Boxes = b.id, slices.Clone(all)
		b.sign = func(_ context.Context, message []byte) ([]byte, error) { return ed25519.Sign(b.key, message), nil }
		b.start(t)
		out = append(out, b)
	}
	if err := out[0].SetFirst(t); err != nil {
		t.Fatal(err)
	}
	return out
}

func (b *boxOf) start(t testing.TB) {
	t.Helper()
	b.Service, b.stop = open(t, b.house, b.dir)
}

// SetFirst is what the claim leaves, and an invitation.
func (b *boxOf) SetFirst(t testing.TB) error {
	b.change(func(m *services.Membership) { m.Household, m.People = nil, nil })
	err := b.SetFirstPassword(t.Context(), from(""), anna, secret.NewText(good))
	b.change(func(m *services.Membership) { m.Household, m.People = newHouse().m.Household, newHouse().m.People })
	return errors.Join(err, b.SetPassword(t.Context(), from(""), ben, secret.NewText(good)))
}

// connect joins two boxes until the function that it returns is called; that returns what each end said.
func connect(t testing.TB, a, b *boxOf) (cut func() (atA, atB error)) {
	t.Helper()
	x, y := net.Pipe()
	var errs [2]error
	var wg sync.WaitGroup
	wg.Go(func() { errs[0] = a.ServeCredentials(context.Background(), b.id, x); x.Close() })
	wg.Go(func() { errs[1] = b.ServeCredentials(context.Background(), a.id, y); y.Close() })
	cut = func() (error, error) {
		x.Close()
		y.Close()
		wg.Wait()
		return errs[0], errs[1]
	}
	t.Cleanup(func() { cut() })
	return cut
}

// holds lists what a box holds: of each row its mark, and whether it has ended.
func (b *boxOf) holds(t testing.TB) []string {
	t.Helper()
	rows, _, err := b.sayable(context.Background(), b.id)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range rows {
		out = append(out, fmt.Sprintf("%x %v", r.Mark(), r.Ended))
	}
	slices.Sort(out)
	return out
}

// same waits until the boxes hold the same.
func same(t *testing.T, all ...*boxOf) {
	t.Helper()
	eventually(t, "all hold the same", func() bool {
		for _, b := range all[1:] {
			if !slices.Equal(b.holds(t), all[0].holds(t)) {
				return false
			}
		}
		return true
	})
}

// meet connects boxes in a row until they hold the same.
func meet(t *testing.T, all ...*boxOf) {
	t.Helper()
	var cuts []func() (error, error)
	for i := range all[1:] {
		cuts = append(cuts, connect(t, all[i], all[i+1]))
	}
	for _, b := range all {
		eventually(t, "it has its part", func() bool { return b.met(t) })
	}
	same(t, all...)
	for _, cut := range cuts {
		cut()
	}
}

func (b *boxOf) met(t testing.TB) (met bool) {
	t.Helper()
	db, err := b.database()
	if err == nil {
		err = db.QueryRow("SELECT met FROM household").Scan(&met)
	}
	if err != nil {
		t.Fatal(err)
	}
	return met
}

// lets says whether name comes in with the password.
func (b *boxOf) lets(name, password string) bool {
	b.Service.throttle = NewThrottle()
	_, err := b.SignIn(context.Background(), SignIn{By: from("10.9.9.9"), Name: name, Password: secret.NewText(password)})
	return err == nil
}

func (b *boxOf) basic(name string, password secret.Text) bool {
	_, err := b.CheckBasic(context.Background(), name, password)
	return err == nil
}

func (b *boxOf) changePassword(t testing.TB, name, old, new string) SignedIn {
	t.Helper()
	in, err := b.ChangePassword(t.Context(), SignIn{By: from("10.1.1.1"), Name: name, Password: secret.NewText(old)}, secret.NewText(new))
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func (b *boxOf) app(t testing.TB, p services.PersonID) (secret.Text, Session) {
	t.Helper()
	text, x, err := b.CreateAppPassword(t.Context(), from(""), NewCredential{Person: p, Name: "Calendar", Scope: "dav"})
	if err != nil {
		t.Fatal(err)
	}
	return text, x
}

func removeBox(id services.PeerID, all ...*boxOf) {
	for _, b := range all {
		b.change(func(m *services.Membership) {
			m.Boxes = slices.DeleteFunc(m.Boxes, func(x services.Box) bool { return x.ID == id })
		})
	}
}

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

func count(t testing.TB, b *boxOf, p services.PersonID) (n int) {
	t.Helper()
	db, err := b.database()
	if err == nil {
		err = db.QueryRow("SELECT (SELECT count(*) FROM statement WHERE person = ?1) + (SELECT count(*) FROM password WHERE person = ?1) + (SELECT count(*) FROM credential WHERE person = ?1)", string(p)).Scan(&n)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
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

// TestAStolenBox plants a password and an app password, and takes one away. Once it is removed all that it planted is
// dead, what was good before is good again, what it took away stays away.
func TestAStolenBox(t *testing.T) {
	all := boxes(t, 4)
	a, b, c, thief := all[0], all[1], all[2], all[3]
	text, x := a.app(t, anna)
	kept, _ := a.app(t, ben)
	turned, y := a.app(t, anna)
	meet(t, a, b, c, thief)
	signIn(t, thief.Service, "Anna", "")
	const planted = "thief thief gallop mustard"
	if err := thief.SetPassword(t.Context(), from(""), anna, secret.NewText(planted)); err != nil {
		t.Fatal(err)
	}
	app, _ := thief.app(t, ben)
	if err := thief.End(t.Context(), from(""), anna, x.ID); err != nil {
		t.Fatal(err)
	}
	z := &credential{id: y.ID, kind: KindApp, person: ben, role: services.RoleMember, hash: digestOf(turned)}
	for i := byte(0); ; i++ { // it says that Anna's app password is Ben's, in words that count for more
		z.name = string(rune('a' + i))
		rows, _, err := thief.sayable(t.Context(), thief.id)
		if err != nil {
			t.Fatal(err)
		}
		st := &stated{Statement: credentialStatement(z), own: true}
		of := []*stated{st}
		for _, r := range rows {
			if r.Credential == y.ID && r.Writer != thief.id {
				of = append(of, &stated{Statement: r.Statement})
			}
		}
		if goodCredential(of) != st {
			continue
		}
		if err := thief.write(t.Context(), func(tx *sql.Tx) error { return keepStated(t.Context(), tx, st) }); err != nil {
			t.Fatal(err)
		}
		break
	}
	cut := connect(t, thief, a)
	eventually(t, "the planted app password works", func() bool { return a.basic("Ben Ärger", app) })
	same(t, thief, a)
	if !a.lets("Anna", planted) || a.basic("Anna", text) || a.basic("Anna", turned) {
		t.Fatal("a stolen box can do less than was thought: say so in doc.go")
	}
	meet(t, a, b)
	inside := signIn(t, b.Service, "Ben Ärger", "")
	stolen, err := b.SignIn(t.Context(), SignIn{By: from(""), Name: "Anna", Password: secret.NewText(planted)})
	if err != nil {
		t.Fatal(err)
	}
	if p, o, err := b.RestsOn(t.Context(), thief.id); p != 1 || o != 1 || err != nil {
		t.Errorf("removing it ends %d passwords and %d app passwords, %v", p, o, err)
	}

	removeBox(thief.id, a, b)
	for i, b := range []*boxOf{a, b} {
		eventually(t, "the planted app password dies", func() bool { return !b.basic("Ben Ärger", app) })
		eventually(t, "the password before is good again", func() bool { return b.lets("Anna", good) })
		if b.lets("Anna", planted) || !b.lets("Ben Ärger", good) || !b.basic("Ben Ärger", kept) || !b.basic("Anna", turned) || b.basic("Anna", text) {
			t.Errorf("box %d: not what it was before", i)
		}
	}
	if atThief, atA := cut(); atA == nil || !errors.Is(atA, ErrStranger) {
		t.Errorf("the exchange with the removed box ended with %v there, %v here", atThief, atA)
	}
	if _, err := b.Authenticate(t.Context(), stolen.Token, ""); !errors.Is(err, ErrSignedOut) {
		t.Errorf("the session with the planted password: %v", err)
	}
	if _, err := b.Authenticate(t.Context(), inside.Token, ""); err != nil {
		t.Errorf("the session of somebody else: %v", err)
	}
	// A box that heard from the thief and not of the removal brings nothing back.
	meet(t, thief, c)
	connect(t, c, a)
	eventually(t, "it hears of an end", func() bool { return !c.basic("Anna", text) })
	b.changePassword(t, "Ben Ärger", good, next)
	connect(t, a, b)
	eventually(t, "they have spoken", func() bool { return c.lets("Ben Ärger", next) })
	if a.lets("Anna", planted) || a.basic("Ben Ärger", app) || !a.lets("Anna", good) {
		t.Error("what was planted is back")
	}
	removeBox(thief.id, c)
	eventually(t, "it ends there, too", func() bool { return c.lets("Anna", good) && !c.lets("Anna", planted) && !c.basic("Ben Ärger", app) })
	same(t, a, b, c)
	if c.basic("Anna", text) {
		t.Error("what the stolen box took away is back")
	}
}

// TestTheLastWordIsNotTheThiefs: the console of another box sets a password that wins over a planted one, while the
// stolen box still belongs.
func TestTheLastWordIsNotTheThiefs(t *testing.T) {
	all := boxes(t, 2)
	a, thief := all[0], all[1]
	meet(t, a, thief)
	h, err := parseHash(mustHash(t, thief, "thief thief gallop mustard"))
	if err != nil {
		t.Fatal(err)
	}
	st := passwordStatement(anna, h)
	st.Number = 1 << 62
	rows, _, err := a.sayable(t.Context(), a.id)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if r.Kind == statement.Password && r.Person == anna {
			st.Over = append(st.Over, r.ID())
		}
	}
	if err := a.take(t.Context(), []*statement.Row{signed(thief, st)}); err != nil {
		t.Fatal(err)
	}
	if !a.lets("Anna", "thief thief gallop mustard") {
		t.Fatal("it was not planted")
	}
	words, err := a.ResetPassword(t.Context(), services.Caller{Face: services.FaceConsole}, anna)
	if err != nil {
		t.Fatal(err)
	}
	meet(t, a, thief)
	removeBox(thief.id, a)
	if !a.lets("Anna", words.Reveal()) || a.lets("Anna", "thief thief gallop mustard") {
		t.Error("the thief has the last word")
	}
}

func mustHash(t testing.TB, b *boxOf, password string) string {
	t.Helper()
	if err := b.hasher.acquire(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	defer b.hasher.release()
	return b.hasher.make(cheap, secret.NewText(password)).String()
}

func signed(b *boxOf, st *statement.Statement) *statement.Row {
	return &statement.Row{Statement: st, Writer: b.id, Signature: ed25519.Sign(b.key, statement.Message(b.id, st))}
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

// TestBadPeers: nothing that a hostile box says gets further than it may.
func TestBadPeers(t *testing.T) {
	all := boxes(t, 3)
	a, b, bad := all[0], all[1], all[2]
	meet(t, a, b)
	before := a.holds(t)
	hash, _ := parseHash(mustHash(t, bad, next))
	planted := passwordStatement(anna, hash)
	forged := signed(bad, planted)
	forged.Writer = b.id
	stranger := passwordStatement("zzzzzzzzzzzzzzzz", hash)
	costly := passwordStatement(anna, hash)
	costly.Memory = 1 << 30
	outside, outsideKey := boxKey(99)
	rows := func(rows ...*statement.Row) []byte {
		b, _ := statement.AppendRows(statement.AppendHave(nil, nil), rows)
		return b
	}
	for name, tc := range map[string]struct {
		say  []byte
		want error // nil: it is left out, and the exchange goes on
	}{
		"a statement in another's name": {rows(forged), errForged},
		"no frame":                      {[]byte("GET / HTTP/1.1\r\n\r\n"), statement.ErrMalformed},
		"half a frame":                  {rows(forged)[6:100], io.ErrUnexpectedEOF},
		"for nobody":                    {rows(signed(bad, stranger)), nil},
		"a hash that takes all memory":  {rows(signed(bad, costly)), nil},
		"of a box that does not belong": {rows(&statement.Row{Statement: planted, Writer: outside, Signature: ed25519.Sign(outsideKey, statement.Message(outside, planted))}), nil},
	} {
		x, y := net.Pipe()
		go io.Copy(io.Discard, y)
		end := make(chan error, 1)
		go func() { err := a.ServeCredentials(t.Context(), bad.id, x); x.Close(); end <- err }()
		if _, err := y.Write(tc.say); err != nil && tc.want == nil {
			t.Errorf("%s: %v", name, err)
		}
		if tc.want == nil {
			if _, err := y.Write(statement.AppendEnd(nil)); err != nil {
				t.Errorf("%s ended the exchange", name)
			}
		}
		if tc.want == nil || errors.Is(tc.want, io.ErrUnexpectedEOF) {
			y.Close()
		}
		late := time.AfterFunc(20*time.Second, func() { y.Close() })
		if err := <-end; tc.want != nil && !errors.Is(err, tc.want) && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
		late.Stop()
		if diff := cmp.Diff(before, a.holds(t)); diff != "" {
			t.Errorf("%s changed something: %s", name, diff)
		}
	}
	for name, peer := range map[string]services.PeerID{"a stranger": outside, "itself": a.id} {
		x, y := net.Pipe()
		if err := a.ServeCredentials(t.Context(), peer, x); !errors.Is(err, ErrStranger) {
			t.Errorf("%s: %v", name, err)
		}
		y.Close()
	}
	// One box states a bounded number of credentials of a person, and no others are pushed out by it.
	many := make([]*statement.Statement, maxStatedPerson+20)
	for i := range many {
		c := &credential{id: "cccccccccccc" + idText.EncodeToString([]byte{byte(i >> 8), byte(i), 0})[:4], kind: KindToken, person: anna, name: "x", role: services.RoleMember}
		c.hash = digest{1, byte(i >> 8), byte(i)}
		many[i] = credentialStatement(c)
	}
	if err := a.write(t.Context(), func(tx *sql.Tx) error {
		for _, st := range many[:maxStatedPerson-10] {
			if err := keepStated(t.Context(), tx, &stated{Statement: st, writer: bad.id, sig: make([]byte, ed25519.SignatureSize)}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var more []*statement.Row
	for _, st := range many[maxStatedPerson-10:] {
		more = append(more, signed(bad, st))
	}
	if err := a.take(t.Context(), more); err != nil {
		t.Fatal(err)
	}
	if n := len(a.holds(t)); n != len(before)+maxStatedPerson {
		t.Errorf("%d rows, want %d", n, len(before)+maxStatedPerson)
	}
	if !a.lets("Anna", good) {
		t.Error("Anna is out")
	}
	removeBox(bad.id, a)
	eventually(t, "they go", func() bool { return len(a.holds(t)) == len(before) })
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

// TestWhatARemovedBoxEndedStaysEnded: another box has taken over an app password of it, and has not heard of its end.
func TestWhatARemovedBoxEndedStaysEnded(t *testing.T) {
	all := boxes(t, 3)
	a, gone, c := all[0], all[1], all[2]
	meet(t, a, gone)
	text, x := gone.app(t, anna)
	meet(t, a, gone)
	rows, _, err := gone.sayable(t.Context(), gone.id)
	if err := errors.Join(err, c.take(t.Context(), rows), c.join(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := gone.End(t.Context(), from(""), anna, x.ID); err != nil {
		t.Fatal(err)
	}
	meet(t, a, gone)
	removeBox(gone.id, a, c)
	for _, b := range []*boxOf{a, c} {
		eventually(t, "its statements go", func() bool { p, o, err := b.RestsOn(t.Context(), gone.id); return p+o == 0 && err == nil })
	}
	if !c.basic("Anna", text) {
		t.Fatal("the box that has not heard of the end lost it")
	}
	meet(t, a, c)
	for i, b := range []*boxOf{a, c} {
		if b.basic("Anna", text) {
			t.Errorf("on box %d it is back", i)
		}
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

// A box that states without end about people whom nobody knows does not fill the memory of another.
func TestStatementsWithoutEnd(t *testing.T) {
	b := boxes(t, 2)
	talk := &talk{s: b[0].Service, peer: b[1].id, theirs: map[statement.Mark]bool{}}
	st := passwordStatement(ben, passwordHash{Params: Params{1, 1, 1}, salt: make([]byte, 16), key: make([]byte, 32)})
	for range 2*maxHave + 1 {
		st.Number++
		talk.theirs[(&statement.Row{Statement: st, Writer: b[1].id}).Mark()] = false
	}
	err := talk.take(t.Context(), nil)
	if !errors.Is(err, statement.ErrMalformed) {
		t.Errorf("%d are remembered, and more: %v", len(talk.theirs), err)
	}
}
