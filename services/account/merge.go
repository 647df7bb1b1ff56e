package account

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"

	"hearth.alt/services"
	"hearth.alt/services/account/internal/statement"
)

// outcome is what a change of statements did to one person, for memory to follow once it is on disk.
type outcome struct {
	person   services.PersonID
	password bool          // there is one
	changed  bool          // it is another one, or none: sessions end
	kept     []*credential // all that is on disk
	events   []Event
}

// event notes that a credential is another one now, or gone: because another box said so, or because its writer no
// longer counts.
func (o *outcome) event(heard bool, action string, k Kind, id string) {
	if !heard {
		action = "revoked-" + string(k)
	}
	o.events = append(o.events, Event{Actor: o.person, Action: action, Object: id})
}

// project makes the tables password and credential what follows from the statements about p.
func (s *Service) project(ctx context.Context, tx *sql.Tx, p services.PersonID, heard bool) (*outcome, error) {
	all, err := loadStated(ctx, tx, "WHERE subject IN (SELECT subject FROM statement WHERE person = ?)", string(p))
	if err != nil {
		return nil, err
	}
	o := &outcome{person: p}
	var passwords []*stated
	of := map[string][]*stated{}
	for _, st := range all {
		if st.Kind == statement.Password {
			passwords = append(passwords, st)
		} else {
			of[st.Credential] = append(of[st.Credential], st)
		}
	}
	var had []byte
	err = tx.QueryRowContext(ctx, "SELECT version FROM password WHERE person = ?", string(p)).Scan(&had)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	has, now := err == nil, currentPassword(passwords)
	o.password, o.changed, err = now != nil, has, nil
	if now == nil {
		_, err = tx.ExecContext(ctx, "DELETE FROM password WHERE person = ?", string(p))
	} else if id := now.ID(); !has || !bytes.Equal(id[:], had) {
		o.changed = true
		err = setPasswordRow(ctx, tx, p, hashOf(now.Statement).String(), s.c.Now(), id)
	} else {
		o.changed = false
	}
	if err != nil {
		return nil, err
	}
	if o.changed {
		action := "password-changed"
		if !has {
			action = "password-set" // the first that this box hears of: nobody changed anything
		}
		o.event(heard, action, KindPassword, string(p))
		if _, err := tx.ExecContext(ctx, "DELETE FROM credential WHERE person = ? AND kind IN (?, ?, ?)", string(p), string(KindSession), string(KindKnown), string(KindInvitation)); err != nil {
			return nil, err
		}
	}

	have, err := loadCredentialsOf(ctx, tx, p)
	if err != nil {
		return nil, err
	}
	for _, c := range have {
		if sharedKinds[c.kind] == 0 {
			continue
		}
		if good := goodCredential(of[c.id]); good != nil && c.same(credentialOf(good.Statement)) {
			delete(of, c.id)
			continue
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM credential WHERE id = ?", c.id); err != nil {
			return nil, err
		}
		o.event(heard, "ended-"+string(c.kind), c.kind, c.id)
	}
	for _, id := range slices.Sorted(maps.Keys(of)) {
		good := goodCredential(of[id])
		if good == nil || good.Person != p {
			continue
		}
		c := credentialOf(good.Statement)
		added, err := insertNewCredential(ctx, tx, c)
		if err != nil {
			return nil, err
		}
		if added {
			o.event(heard, "created-"+string(c.kind), c.kind, id)
		}
	}
	o.kept, err = loadCredentialsOf(ctx, tx, p)
	return o, err
}

// follow brings memory to what is on disk now, and tells what has ended. making is held.
func (s *Service) follow(all []*outcome) {
	var ended []Ended
	s.mu.Lock()
	for _, o := range all {
		if o.password {
			s.passwords[o.person] = true
		} else {
			delete(s.passwords, o.person)
		}
		kept := map[digest]*credential{}
		for _, c := range o.kept {
			kept[c.hash] = c
		}
		var gone []*credential
		for _, c := range s.byHash {
			if c.person != o.person {
				continue
			}
			if k := kept[c.hash]; k != nil && k.id == c.id {
				delete(kept, c.hash) // memory knows better when it was used
			} else if o.changed || sharedKinds[c.kind] != 0 {
				gone = append(gone, c)
			}
		}
		ended = append(ended, s.dropLocked(gone)...)
		for h, c := range kept {
			if !s.dead[c.id] {
				s.byHash[h] = c
			}
		}
	}
	s.mu.Unlock()
	s.tellEnded(ended)
}

// projectAll projects people.
func (s *Service) projectAll(ctx context.Context, tx *sql.Tx, people map[services.PersonID]bool, heard bool) (out []*outcome, events []Event, err error) {
	for _, p := range slices.Sorted(maps.Keys(people)) {
		o, err := s.project(ctx, tx, p, heard)
		if err != nil {
			return nil, nil, err
		}
		out, events = append(out, o), append(events, o.events...)
	}
	return out, events, nil
}

// drop erases the statements of boxes that were removed, and all about people who are gone. making is held, and m is
// sure.
func (s *Service) drop(ctx context.Context, m *services.Membership) error {
	if _, ok := m.Box(); !ok {
		return nil // it was removed itself: what it hears no longer counts
	}
	db, err := s.database()
	if err != nil {
		return err
	}
	rows, err := db.QueryContext(ctx, "SELECT DISTINCT person, writer FROM statement")
	if err != nil {
		return err
	}
	defer rows.Close()
	left, gone, writers := map[services.PersonID]bool{}, map[services.PersonID]bool{}, map[services.PeerID]bool{}
	for rows.Next() {
		var p services.PersonID
		var writer []byte
		if err := rows.Scan(&p, &writer); err != nil {
			return err
		}
		if !belongs(m, p) {
			gone[p] = true
		} else if w := services.PeerID(make([]byte, len(services.PeerID{}))); len(writer) == len(w) {
			if copy(w[:], writer); !isBox(m, w) {
				writers[w] = true
			}
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	rows.Close()
	if len(gone)+len(writers) == 0 {
		return nil
	}
	var all []*outcome
	if err := s.writeEvents(ctx, func(tx *sql.Tx) ([]Event, error) {
		if err := forgetPeople(ctx, tx, slices.Sorted(maps.Keys(gone))...); err != nil {
			return nil, err
		}
		for w := range writers {
			people, err := peopleOf(ctx, tx, w)
			if err != nil {
				return nil, err
			}
			for _, p := range people {
				left[p] = true
			}
			for _, q := range []string{
				"UPDATE OR IGNORE statement SET writer = x'', sig = x'', sent = 1 WHERE writer = ? AND ended = 1",
				"DELETE FROM statement WHERE writer = ?",
			} {
				if _, err := tx.ExecContext(ctx, q, w[:]); err != nil {
					return nil, err
				}
			}
		}
		var events []Event
		var err error
		all, events, err = s.projectAll(ctx, tx, left, false)
		return events, err
	}); err != nil {
		return err
	}
	s.follow(all)
	return nil
}

// peopleOf lists about whom the set may say something else without the writer.
func peopleOf(ctx context.Context, tx *sql.Tx, writer services.PeerID) (people []services.PersonID, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT DISTINCT person FROM statement WHERE subject IN (SELECT subject FROM statement WHERE writer = ?)", writer[:])
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var p services.PersonID
		if err := rows.Scan(&p); err != nil {
			return nil, err
		}
		people = append(people, p)
	}
	return people, rows.Err()
}

func belongs(m *services.Membership, id services.PersonID) bool {
	p, ok := m.Person(id)
	return ok && (p.State == services.StateActive || p.State == services.StatePending)
}

func isBox(m *services.Membership, id services.PeerID) bool {
	return slices.ContainsFunc(m.Boxes, func(b services.Box) bool { return b.ID == id })
}

func isActiveBox(m *services.Membership, id services.PeerID) bool {
	return slices.ContainsFunc(m.Boxes, func(b services.Box) bool { return b.ID == id && b.State == services.StateActive })
}

// take makes rows that came from another box a part of the state, all in one step. Those that the
// membership does not carry are left out: they are sent again when it changes. making is taken.
func (s *Service) take(ctx context.Context, rows []*statement.Row) error {
	s.making.Lock()
	defer s.making.Unlock()
	m, _ := s.c.Members.Watch()
	var all []*outcome
	dropped := 0
	err := s.writeEvents(ctx, func(tx *sql.Tx) ([]Event, error) {
		touched := map[services.PersonID]bool{}
		for _, r := range rows {
			if !belongs(m, r.Person) || !isActiveBox(m, r.Writer) || r.Kind == statement.Password && hashOf(r.Statement).check() != nil {
				continue
			}
			if r.Kind != statement.Password && !r.Ended {
				// A sweep would take for revoked, and end on every box, what the log does not carry yet.
				if _, ok := s.stands(credentialOf(r.Statement), m); !ok {
					continue
				}
			}
			people, room, err := merge(ctx, tx, r, m.Self)
			if err != nil {
				return nil, err
			}
			for _, p := range people {
				touched[p] = true
			}
			if !room {
				dropped++
			}
		}
		if len(touched) == 0 {
			return nil, errNothing
		}
		var met bool
		if err := tx.QueryRowContext(ctx, "SELECT met FROM household").Scan(&met); err != nil {
			return nil, err
		}
		var events []Event
		var err error
		if all, events, err = s.projectAll(ctx, tx, touched, true); !met {
			events = nil // of a box that only now joins
		}
		return events, err
	})
	if dropped > 0 {
		s.c.Log.Warn("a box states more credentials than one may have", "dropped", dropped)
	}
	if err != nil {
		return err
	}
	s.follow(all)
	return nil
}

// merge makes r a part of the set. It returns about whom the set now says something else, and whether it had room for r.
func merge(ctx context.Context, tx *sql.Tx, r *statement.Row, self services.PeerID) (people []services.PersonID, room bool, err error) {
	all, err := loadStated(ctx, tx, "WHERE subject = ?", r.Subject())
	if err != nil {
		return nil, false, err
	}
	people = []services.PersonID{r.Person}
	in := &stated{Statement: r.Statement, own: r.Writer == self, writer: r.Writer, sig: r.Signature, ended: r.Ended, sent: true}
	if in.own {
		in.writer = services.PeerID{}
	}
	var have *stated
	ended := r.Ended
	for _, st := range all {
		people = append(people, st.Person) // another one when a hostile box says that it is hers
		ended = ended || st.ended
		if st.own == in.own && st.writer == in.writer {
			have = st
		}
	}
	switch {
	case have == nil:
		if room, err := hasRoom(ctx, tx, in); err != nil || !room {
			return nil, false, err
		}
	case in.own && in.forks(have):
		// Others remember a password that was set here and this box does not: it came back from an older copy. What was
		// set since takes that one's place.
		st := &stated{Statement: have.Statement, own: true}
		st.Number = min(max(have.Number, in.Number)+1, statement.MaxNumber)
		st.Over = takesPlaceOf(append(without(all, have), &stated{Statement: in.Statement}))
		return people, true, keepStated(ctx, tx, st)
	case !in.Newer(have.Statement):
		if !ended || have.ended {
			return nil, true, nil
		}
		in = have // nothing but its end is new
	}
	in.ended = ended
	if err := keepStated(ctx, tx, in); err != nil {
		return nil, false, err
	}
	if ended {
		_, err = tx.ExecContext(ctx, "UPDATE statement SET ended = 1 WHERE subject = ?", in.Subject())
	}
	return people, true, err
}

// forks says whether two passwords that one box set know nothing of one another. Many changes apart there is
// no telling.
func (st *stated) forks(o *stated) bool {
	return st.Kind == statement.Password && o.Kind == st.Kind && !st.says(o) && st.Number <= o.Number+statement.MaxOver/2 &&
		!slices.Contains(st.Over, o.ID()) && !slices.Contains(o.Over, st.ID())
}

func without(all []*stated, one *stated) []*stated {
	return slices.DeleteFunc(slices.Clone(all), func(st *stated) bool { return st == one })
}
