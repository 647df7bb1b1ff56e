package account

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"hearth.alt/services"
	"hearth.alt/services/account/internal/statement"
	"hearth.alt/services/durable"
)

// dump is the whole state but what is a box's own affair.
func (b *boxOf) dump(t testing.TB) string {
	t.Helper()
	db, err := b.database()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, q := range []string{
		"SELECT subject, hex(writer), hex(body), ended FROM statement ORDER BY subject, writer",
		"SELECT person, hash, hex(version), '' FROM password ORDER BY person",
		"SELECT id, kind, hex(hash), person || role || scope FROM credential ORDER BY id",
	} {
		rows, err := db.Query(q)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var f [4]string
			if err := rows.Scan(&f[0], &f[1], &f[2], &f[3]); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&out, strings.Join(f[:], " "))
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

// empty makes the box forget everything.
func (b *boxOf) empty(t testing.TB) {
	t.Helper()
	db, err := b.database()
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"PRAGMA synchronous = OFF", "DELETE FROM statement", "DELETE FROM password", "DELETE FROM credential"} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	b.Service.mu.Lock()
	b.clear()
	b.Service.mu.Unlock()
}

// TestStatementsMerge: whatever comes in whatever order, in whichever parts and how often, the state is the same, and
// memory says what the disk says.
func TestStatementsMerge(t *testing.T) {
	all := boxes(t, 6)
	into, writers := all[:3], all[3:]
	rapid.Check(t, func(rt *rapid.T) {
		for _, b := range into {
			b.empty(t)
		}
		var rows []*statement.Row
		var ids []statement.ID
		for range rapid.IntRange(1, 14).Draw(rt, "rows") {
			w := rapid.SampledFrom(writers).Draw(rt, "writer")
			p := rapid.SampledFrom([]services.PersonID{anna, ben}).Draw(rt, "person")
			n := rapid.IntRange(0, 2).Draw(rt, "which")
			if rapid.Bool().Draw(rt, "password") {
				st := &statement.Statement{Kind: statement.Password, Person: p, Number: uint64(rapid.IntRange(1, 3).Draw(rt, "number")), Memory: 64, Passes: 1, Lanes: 1}
				st.Salt[0] = byte(n)
				for _, id := range ids {
					if rapid.Bool().Draw(rt, "over") {
						st.Over = append(st.Over, id)
					}
				}
				ids = append(ids, st.ID())
				rows = append(rows, signed(w, st))
				continue
			}
			kind := rapid.SampledFrom([]Kind{KindApp, KindToken}).Draw(rt, "kind")
			c := &credential{id: strings.Repeat(string("cde"[n]), 16), kind: kind, person: p, role: rapid.SampledFrom([]services.Role{services.RoleGuest, services.RoleMember}).Draw(rt, "role")}
			c.hash = digest{byte(n + 1), p[0], kind[0], byte(c.role)}
			r := signed(w, credentialStatement(c))
			r.Ended = rapid.IntRange(0, 3).Draw(rt, "ended") == 0
			rows = append(rows, r)
		}
		take := func(b *boxOf, rows []*statement.Row) {
			if err := b.take(context.Background(), rows); err != nil {
				rt.Fatal(err)
			}
		}
		take(into[0], rows)
		for _, r := range rapid.Permutation(append(slices.Clone(rows), rows[:len(rows)/2]...)).Draw(rt, "order") {
			take(into[1], []*statement.Row{r})
		}
		cut := rapid.IntRange(0, len(rows)).Draw(rt, "cut")
		take(into[2], rows[cut:])
		take(into[2], rows[:cut])
		want := into[0].dump(t)
		take(into[0], rows)
		for i, b := range into {
			if diff := cmp.Diff(want, b.dump(t)); diff != "" {
				rt.Fatalf("box %d (-want +got)\n%s", i, diff)
			}
			memory := map[string]bool{}
			for _, c := range b.byHash {
				memory[c.id+string(c.kind)+string(c.person)+c.role.String()] = true
			}
			db, err := b.database()
			if err != nil {
				rt.Fatal(err)
			}
			disk, err := loadCredentials(context.Background(), db)
			if err != nil {
				rt.Fatal(err)
			}
			if len(disk) != len(memory) {
				rt.Fatalf("box %d: memory has %v, the disk %d", i, memory, len(disk))
			}
			for _, c := range disk {
				if !memory[c.id+string(c.kind)+string(c.person)+c.role.String()] {
					rt.Fatalf("box %d: memory has %v, and not %s", i, memory, c.id)
				}
			}
		}
	})
}

// TestKindsAreSharedOrLocal reads the kinds from the source: it fails on one that is in neither list, or in both, and on
// one that goes elsewhere than its list says.
func TestKindsAreSharedOrLocal(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "credential.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var inSource []Kind
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Kind" {
				inSource = append(inSource, Kind(strings.Trim(v.Values[0].(*ast.BasicLit).Value, `"`)))
			}
		}
	}
	slices.Sort(inSource)
	if diff := cmp.Diff(slices.Sorted(slices.Values(Kinds())), inSource); diff != "" {
		t.Errorf("Kinds, and the constants of its type (-want +got)\n%s", diff)
	}
	for _, k := range Kinds() {
		if (sharedKinds[k] != 0) == slices.Contains(localKinds, k) {
			t.Errorf("decide whether other boxes hear of a %s: sharedKinds or localKinds", k)
		}
	}

	all := boxes(t, 2)
	a, b := all[0], all[1]
	meet(t, a, b)
	connect(t, a, b)
	in := signIn(t, a.Service, "Anna", "")
	app, _ := a.app(t, anna)
	script, _, err := a.CreateToken(t.Context(), from(""), NewCredential{Person: anna, Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	link, _, err := a.CreateInvitation(t.Context(), from(""), cleo)
	if err != nil {
		t.Fatal(err)
	}
	a.changePassword(t, "Ben Ärger", good, next)
	eventually(t, "the last thing arrives", func() bool { return b.lets("Ben Ärger", next) })
	works := map[Kind]bool{
		KindPassword:   b.lets("Anna", good),
		KindApp:        b.basic("Anna", app),
		KindToken:      second(b.CheckToken(t.Context(), script)) == nil,
		KindSession:    second(b.Authenticate(t.Context(), in.Token, "")) == nil,
		KindKnown:      b.byHash[digestOf(in.Known)] != nil,
		KindInvitation: second(b.Invitation(link)) == nil,
	}
	for _, k := range Kinds() {
		if got, tried := works[k]; !tried || got != (sharedKinds[k] != 0) {
			t.Errorf("a %s: it was tried is %v, it works on another box is %v", k, tried, got)
		}
	}
}

// TestABoxOfBefore: what the second migration left is stated, and shared.
func TestABoxOfBefore(t *testing.T) {
	all := boxes(t, 2)
	a, b := all[0], all[1]
	old := fstest.MapFS{}
	for _, name := range []string{"001_start.sql", "002_maker.sql"} {
		data, err := fs.ReadFile(migrations(), name)
		if err != nil {
			t.Fatal(err)
		}
		old[name] = &fstest.MapFile{Data: data}
	}
	text := newSecret(KindApp)
	hash := digestOf(text)
	was := &boxOf{house: a.house, id: a.id, key: a.key, dir: t.TempDir()}
	db, err := durable.OpenSQLite(t.Context(), was.dir+"/account.sqlite", old)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		q    string
		args []any
	}{
		{"INSERT INTO password VALUES (?, ?, 1)", []any{string(anna), mustHash(t, a, good)}},
		{"INSERT INTO password VALUES (?, 'not a hash', 1)", []any{string(ben)}},
		{"INSERT INTO credential VALUES ('cccccccccccccccc', 'app-password', ?, ?, '', 'Calendar', 'dav', 4, '', 1, 1, 0, 0, '')", []any{hash[:], string(anna)}},
		{"INSERT INTO credential VALUES ('dddddddddddddddd', 'session', zeroblob(32), ?, '', '', '', 4, '', 1, 1, 0, 0, '')", []any{string(anna)}},
	} {
		if _, err := db.Exec(row.q, row.args...); err != nil {
			t.Fatal(err)
		}
	}
	db.Close()
	a.stop()
	was.start(t)
	if !was.met(t) || !was.lets("Anna", good) || !was.basic("Anna", text) {
		t.Error("it is not what it was")
	}
	meet(t, was, b)
	if !b.lets("Anna", good) || !b.basic("Anna", text) || b.HasPassword(ben) {
		t.Error("the other box has not heard of it")
	}
	before := was.dump(t)
	was.stop()
	was.start(t)
	if diff := cmp.Diff(before, was.dump(t)); diff != "" {
		t.Errorf("another start states more: %s", diff)
	}
}

// TestACostlierHashIsNoNews: signing in with another cost of hashing rewrites the hash, here only, and ends nothing.
func TestACostlierHashIsNoNews(t *testing.T) {
	all := boxes(t, 2)
	a, b := all[0], all[1]
	meet(t, a, b)
	connect(t, a, b)
	in := signIn(t, b.Service, "Anna", "")
	before := a.holds(t)
	a.Service.c.Params.Time = 2
	signIn(t, a.Service, "Anna", "")
	a.changePassword(t, "Ben Ärger", good, next)
	eventually(t, "the last thing arrives", func() bool { return b.lets("Ben Ärger", next) })
	if _, err := b.Authenticate(t.Context(), in.Token, ""); err != nil {
		t.Errorf("the session on the other box: %v", err)
	}
	if n := len(a.holds(t)); n != len(before) {
		t.Errorf("%d rows, want %d", n, len(before))
	}
	db, _ := a.database()
	if hash, err := loadPassword(t.Context(), db, anna); err != nil || !strings.Contains(hash, "t=2") {
		t.Errorf("the hash is %q, %v", hash, err)
	}
	// What others say of the same password does not bring the cheap one back.
	a.change(func(*services.Membership) {})
	b.changePassword(t, "Ben Ärger", next, good)
	eventually(t, "it arrives", func() bool { return a.lets("Ben Ärger", good) })
	if hash, err := loadPassword(t.Context(), db, anna); err != nil || !strings.Contains(hash, "t=2") {
		t.Errorf("the hash is %q, %v", hash, err)
	}
}

// TestOneBoxKeepsNoGraves: what no other box has heard of goes without a trace.
func TestOneBoxKeepsNoGraves(t *testing.T) {
	a := boxes(t, 1)[0]
	before := a.dump(t)
	for range 3 {
		_, x := a.app(t, anna)
		if err := a.End(t.Context(), from(""), anna, x.ID); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(before, a.dump(t)); diff != "" {
		t.Error(diff)
	}
}

// TestTheSecretOfAnother: a hostile box says that a secret is Ben's which is Anna's: it stays hers.
func TestTheSecretOfAnother(t *testing.T) {
	all := boxes(t, 2)
	a, bad := all[0], all[1]
	text, _, err := a.CreateToken(t.Context(), from(""), NewCredential{Person: anna, Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	meet(t, a, bad)
	c := &credential{id: "cccccccccccccccc", kind: KindToken, person: ben, name: "x", role: services.RoleMember, hash: digestOf(text)}
	if err := a.take(t.Context(), []*statement.Row{signed(bad, credentialStatement(c))}); err != nil {
		t.Fatal(err)
	}
	if x, err := a.CheckToken(t.Context(), text); err != nil || x.Person != anna {
		t.Errorf("it is %q's, %v", x.Person, err)
	}
	// Nor does it give more than the person may.
	high := newSecret(KindToken)
	c = &credential{id: "dddddddddddddddd", kind: KindToken, person: ben, name: "x", role: services.RoleOwner, hash: digestOf(high)}
	if err := a.take(t.Context(), []*statement.Row{signed(bad, credentialStatement(c))}); err != nil {
		t.Fatal(err)
	}
	if x, err := a.CheckToken(t.Context(), high); err == nil {
		t.Errorf("an admin's token gives %v", x.Role)
	}
}

// TestABoxThatHasMadeTooMany refuses another in words, and keeps no half of it.
func TestABoxThatHasMadeTooMany(t *testing.T) {
	a := boxes(t, 1)[0]
	db, err := a.database()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?) INSERT INTO statement SELECT 'c' || i, x'', ?, x'', x'', 1, 1 FROM n", maxStatedPerson, string(anna)); err != nil {
		t.Fatal(err)
	}
	_, _, err = a.CreateToken(t.Context(), from(""), NewCredential{Person: anna, Name: "x"})
	if services.AsProblem(err).Code != "too-many-ever" {
		t.Errorf("%v", err)
	}
	if list, err := a.List(KindToken, anna); len(list) != 0 || err != nil {
		t.Errorf("%v, %v", list, err)
	}
	if _, _, err := a.CreateToken(t.Context(), from(""), NewCredential{Person: ben, Name: "x"}); err != nil {
		t.Errorf("somebody else: %v", err)
	}
}

// TestAPasswordTakesThePlaceOfAllBeforeIt, also of one whose successor nobody holds any more.
func TestAPasswordTakesThePlaceOfAllBeforeIt(t *testing.T) {
	for round := range 16 {
		set := func(n byte, all ...*stated) *stated {
			st := &stated{Statement: &statement.Statement{Kind: statement.Password, Person: anna, Number: uint64(n), Memory: 64, Passes: 1, Lanes: 1}, own: true}
			st.Salt[0], st.Salt[1], st.Over = n, byte(round), takesPlaceOf(all)
			return st
		}
		first := set(1)
		late := &stated{Statement: first.Statement, writer: services.PeerID{9}} // a box that was away since
		now := first
		for n := byte(2); n < 40; n++ {
			now = set(n, now)
		}
		if got := currentPassword([]*stated{late, now}); got != now {
			t.Fatalf("after 39 passwords the first one is good again")
		}
		if len(now.Over) != 38 {
			t.Errorf("it takes the place of %d, want 38", len(now.Over))
		}
		for n := byte(40); n < 120; n++ {
			now = set(n, now)
		}
		if len(now.Over) != statement.MaxOver {
			t.Errorf("it takes the place of %d, want %d", len(now.Over), statement.MaxOver)
		}
	}
}
