package account

import (
	"crypto/ed25519"
	"database/sql"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth.alt/services"
	"hearth.alt/services/account/internal/statement"
	"hearth.alt/services/secret"
)

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
