package account

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/account/internal/statement"
	"hearth.alt/services/durable"
	"hearth.alt/services/looks"
)

// This file says what the boxes of a household hold of one another's credentials, and what follows from it.
//
// # Statements
//
// A box that sets a password or makes an app password or a token states it and signs that with its device key. Each box
// has one statement for each person's password, the last one that was set there, and one for each app password and
// token. The state of a household is the set of these: of two of one box about one credential the newer one counts, and
// what has ended stays ended. So the union of two sets is the same whichever way it was made.
//
// What follows is a function of the set alone; no clock and no order of arrival has a part in it:
//
//   - A password names those that it takes the place of, which are all that its box had heard of. The one that none
//     takes the place of is good. Of several, set at boxes that had not heard of one another, the one with the greatest
//     ID is, the same everywhere, and the others are not. It is no count of changes: a stolen box that claims a high
//     one would have the last word even after its removal.
//   - An app password or token is good while a box states it and none says that it has ended.
//
// # Who vouches
//
// A statement is worth as much as its writer. Once a box is removed, what it wrote is dropped and never taken again:
// every password and app password that a thief made with a stolen box is dead. The password before it, which another
// box holds, is good again. What the removed box had ended stays ended: the others repeat that.
//
// So that this locks nobody out, a box that joins states once more, as its own, what it finds (adopt), and KeepFrom does
// so for a box that is given away in peace.

// sharedKinds are the kinds that boxes of a household exchange.
var sharedKinds = map[Kind]statement.Kind{KindPassword: statement.Password, KindApp: statement.App, KindToken: statement.Token}

// localKinds stay on the box where they were made. An invitation is opened there, a session and a known browser belong
// to a cookie of that box.
var localKinds = []Kind{KindSession, KindKnown, KindInvitation}

func kindOf(k statement.Kind) Kind {
	for kind, of := range sharedKinds {
		if of == k {
			return kind
		}
	}
	return ""
}

// The bounds of what a box states. They hold for what comes from others, too.
const (
	maxStated       = 16_384 // of one box
	maxStatedPerson = 2_048  // of one box about one person, those that have ended among them
)

// stated is a statement and what this box knows of it.
type stated struct {
	*statement.Statement
	own    bool
	writer services.PeerID // zero when own
	sig    []byte          // empty: not signed yet
	ended  bool
	sent   bool
}

func (st *stated) row(self services.PeerID) *statement.Row {
	w := st.writer
	if st.own {
		w = self
	}
	return &statement.Row{Statement: st.Statement, Writer: w, Ended: st.ended, Signature: st.sig}
}

// says says whether st and o say the same, whoever wrote them.
func (st *stated) says(o *stated) bool { return st.ID() == o.ID() }

// key is the writer as the table has it.
func (st *stated) key() []byte {
	if st.own {
		return []byte{}
	}
	return st.writer[:]
}

// currentPassword returns the password statement that is good, nil for none.
func currentPassword(all []*stated) *stated {
	over := map[statement.ID]bool{}
	for _, st := range all {
		for _, id := range st.Over {
			over[id] = true
		}
	}
	var best *stated
	var bestID statement.ID
	for _, st := range all {
		if id := st.ID(); !over[id] && (best == nil || bytes.Compare(id[:], bestID[:]) > 0) {
			best, bestID = st, id
		}
	}
	return best
}

// takesPlaceOf lists what a new password takes the place of: all that are known, and what those took the place of, so
// that one which comes late from a box that was away for long does not count.
func takesPlaceOf(all []*stated) []statement.ID {
	var out []statement.ID
	add := func(id statement.ID) {
		if len(out) < statement.MaxOver && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	for _, st := range all {
		add(st.ID())
	}
	for i := 0; i < statement.MaxOver; i++ {
		for _, st := range all {
			if i < len(st.Over) {
				add(st.Over[i])
			}
		}
	}
	return out
}

// goodCredential returns the statement of an app password or token that is good, nil for none. Only a hostile box says
// something else of one that another box made.
func goodCredential(all []*stated) *stated {
	var best *stated
	var bestID statement.ID
	for _, st := range all {
		if st.ended {
			return nil
		}
		if id := st.ID(); best == nil || bytes.Compare(id[:], bestID[:]) > 0 {
			best, bestID = st, id
		}
	}
	return best
}

func passwordStatement(p services.PersonID, h passwordHash) *statement.Statement {
	st := &statement.Statement{Kind: statement.Password, Person: p, Number: 1, Memory: h.Memory, Passes: h.Time, Lanes: h.Threads}
	copy(st.Salt[:], h.salt)
	copy(st.Key[:], h.key)
	return st
}

func hashOf(st *statement.Statement) passwordHash {
	return passwordHash{Params: Params{st.Memory, st.Passes, st.Lanes}, salt: st.Salt[:], key: st.Key[:]}
}

func credentialStatement(c *credential) *statement.Statement {
	return &statement.Statement{Kind: sharedKinds[c.kind], Person: c.person, Credential: c.id, Device: c.device, Role: c.role, Hash: c.hash,
		Created: durable.UnixTime(c.created), Expires: durable.UnixTime(c.expires), Name: c.name, Scope: c.scope}
}

// same says whether c and o let the same in.
func (c *credential) same(o *credential) bool {
	return c.kind == o.kind && c.hash == o.hash && c.person == o.person && c.device == o.device && c.role == o.role && c.scope == o.scope && c.expires.Equal(o.expires)
}

func credentialOf(st *statement.Statement) *credential {
	made := durable.FromUnixTime(st.Created)
	return &credential{id: st.Credential, kind: kindOf(st.Kind), hash: st.Hash, person: st.Person, device: st.Device, name: looks.Plain(st.Name, false),
		scope: st.Scope, role: st.Role, created: made, used: made, usedKept: made, expires: durable.FromUnixTime(st.Expires)}
}

// loadStated reads statements in the order of subject and writer; where, when not empty, is the rest of the query.
func loadStated(ctx context.Context, db rowsQuerier, where string, args ...any) ([]*stated, error) {
	rows, err := db.QueryContext(ctx, "SELECT writer, body, sig, ended, sent FROM statement "+where+" ORDER BY subject, writer", args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []*stated
	for rows.Next() {
		var writer, body []byte
		st := &stated{}
		if err := rows.Scan(&writer, &body, &st.sig, &st.ended, &st.sent); err != nil {
			return nil, err
		}
		if st.Statement, err = statement.Parse(body); err != nil {
			return nil, fmt.Errorf("reading a statement: %w", err)
		}
		st.own = len(writer) == 0
		copy(st.writer[:], writer)
		out = append(out, st)
	}
	return out, rows.Err()
}

// loadBySubject reads all statements.
func loadBySubject(ctx context.Context, db rowsQuerier) (map[string][]*stated, error) {
	all, err := loadStated(ctx, db, "")
	out := map[string][]*stated{}
	for _, st := range all {
		out[st.Subject()] = append(out[st.Subject()], st)
	}
	return out, err
}

// keepStated writes st in the place of its writer's statement about the same subject.
func keepStated(ctx context.Context, tx *sql.Tx, st *stated) error {
	_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO statement (subject, writer, person, body, sig, ended, sent) VALUES (?, ?, ?, ?, ?, ?, ?)",
		st.Subject(), st.key(), string(st.Person), st.Append(nil), append([]byte{}, st.sig...), st.ended, st.sent)
	return err
}

// setPasswordRow makes hash the person's password, as of the statement version.
func setPasswordRow(ctx context.Context, tx *sql.Tx, p services.PersonID, hash string, now time.Time, version statement.ID) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO password (person, hash, changed, version) VALUES (?, ?, ?, ?) ON CONFLICT (person) DO UPDATE SET hash = excluded.hash, changed = excluded.changed, version = excluded.version",
		string(p), hash, durable.UnixTime(now), version[:])
	return err
}

// statePassword sets a person's password and states it.
func (s *Service) statePassword(ctx context.Context, tx *sql.Tx, p services.PersonID, hash passwordHash) error {
	all, err := loadStated(ctx, tx, "WHERE subject = ?", statement.PasswordOf(p))
	if err != nil {
		return err
	}
	st := &stated{Statement: passwordStatement(p, hash), own: true}
	st.Over = takesPlaceOf(all)
	for _, o := range all {
		if o.own {
			st.Number = min(o.Number+1, statement.MaxNumber)
		}
	}
	if err := keepStated(ctx, tx, st); err != nil {
		return err
	}
	if m, _ := s.c.Members.Watch(); len(m.Boxes) == 1 { // there is nobody's part to take over
		if _, err := tx.ExecContext(ctx, "UPDATE household SET met = 1"); err != nil {
			return err
		}
	}
	return setPasswordRow(ctx, tx, p, hash.String(), s.c.Now(), st.ID())
}

// stateCredential states c when it is of a shared kind.
func stateCredential(ctx context.Context, tx *sql.Tx, c *credential) error {
	if sharedKinds[c.kind] == 0 {
		return nil
	}
	st := &stated{Statement: credentialStatement(c), own: true}
	if room, err := hasRoom(ctx, tx, st); err != nil {
		return err
	} else if !room {
		return &services.Problem{Kind: services.KindConflict, Code: "too-many-ever",
			Say: services.Say("account.too-many-ever", "This box has made as many of these as it can remember. Make it at another box of the household.")}
	}
	return keepStated(ctx, tx, st)
}

// hasRoom says whether the writer of st, who has stated nothing about its subject, may state it.
func hasRoom(ctx context.Context, tx *sql.Tx, st *stated) (bool, error) {
	var all, of int
	err := tx.QueryRowContext(ctx, "SELECT count(*), count(CASE WHEN person = ? THEN 1 END) FROM statement WHERE writer = ?", string(st.Person), st.key()).Scan(&all, &of)
	return all < maxStated && of < maxStatedPerson, err
}

// eraseCredential erases a credential of any kind. Of a shared one it stays written that it ended, unless no other box
// can have heard of it.
func eraseCredential(ctx context.Context, tx *sql.Tx, id string) error {
	subject := statement.CredentialOf(id)
	for _, q := range []struct{ query, of string }{
		{"DELETE FROM credential WHERE id = ?", id},
		{"UPDATE statement SET ended = 1 WHERE subject = ?", subject},
		{"DELETE FROM statement WHERE subject = ? AND writer = x'' AND sent = 0", subject},
	} {
		if _, err := tx.ExecContext(ctx, q.query, q.of); err != nil {
			return err
		}
	}
	return nil
}

// forgetPeople erases what there is of people.
func forgetPeople(ctx context.Context, tx *sql.Tx, people ...services.PersonID) error {
	for _, p := range people {
		for _, table := range []string{"password", "credential", "statement"} {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE person = ?", string(p)); err != nil {
				return err
			}
		}
	}
	_, err := tx.ExecContext(ctx, "UPDATE household SET met = 0 WHERE NOT EXISTS (SELECT 1 FROM statement)")
	return err
}

// stateAll states what an older program, or an older snapshot, has left unstated.
func stateAll(ctx context.Context, tx *sql.Tx) error {
	type kept struct{ person, hash string }
	rows, err := tx.QueryContext(ctx, "SELECT person, hash FROM password WHERE version = x''")
	if err != nil {
		return err
	}
	defer rows.Close()
	var passwords []kept
	for rows.Next() {
		var k kept
		if err := rows.Scan(&k.person, &k.hash); err != nil {
			return err
		}
		passwords = append(passwords, k)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, k := range passwords {
		p := services.PersonID(k.person)
		h, err := parseHash(k.hash)
		if err != nil || !p.Valid() {
			continue // it lets nobody in
		}
		all, err := loadStated(ctx, tx, "WHERE subject = ?", statement.PasswordOf(p))
		if err != nil {
			return err
		}
		now := currentPassword(all)
		if now == nil {
			now = &stated{Statement: passwordStatement(p, h), own: true}
			if err := keepStated(ctx, tx, now); err != nil {
				return err
			}
		}
		version := now.ID()
		if _, err := tx.ExecContext(ctx, "UPDATE password SET version = ? WHERE person = ?", version[:], k.person); err != nil {
			return err
		}
	}
	all, err := loadCredentials(ctx, tx)
	if err != nil {
		return err
	}
	for _, c := range all {
		st := credentialStatement(c)
		if _, err := statement.Parse(st.Append(nil)); sharedKinds[c.kind] == 0 || err != nil {
			continue
		}
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM statement WHERE subject = ?", st.Subject()).Scan(&n); err != nil {
			return err
		}
		if n == 0 {
			if err := keepStated(ctx, tx, &stated{Statement: st, own: true}); err != nil {
				return err
			}
		}
	}
	return nil
}

// stateUnstated is stateAll at the opening of a database.
func stateUnstated(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := stateAll(ctx, tx); err != nil {
		return fmt.Errorf("stating what is kept: %w", err)
	}
	return tx.Commit()
}

// setHere says whether this box states a password of the person.
func (s *Service) setHere(ctx context.Context, p services.PersonID) bool {
	db, err := s.database()
	if err != nil {
		return false
	}
	var n int
	err = db.QueryRowContext(ctx, "SELECT count(*) FROM statement WHERE subject = ? AND writer = x''", statement.PasswordOf(p)).Scan(&n)
	return err == nil && n > 0
}
