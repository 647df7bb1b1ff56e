package account

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"

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
