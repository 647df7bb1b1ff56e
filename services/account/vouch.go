package account

import (
	"context"
	"database/sql"
	"slices"

	"hearth.alt/services"
	"hearth.alt/services/account/internal/statement"
)

// adopt states as this box's own what from states and is good; zero is every box.
func adopt(ctx context.Context, tx *sql.Tx, from services.PeerID) error {
	all, err := loadBySubject(ctx, tx)
	if err != nil {
		return err
	}
	for _, of := range all {
		var own, good *stated
		for _, st := range of {
			if st.own {
				own = st
			}
		}
		if of[0].Kind == statement.Password {
			good = currentPassword(of)
		} else if good = goodCredential(of); own != nil {
			continue
		}
		if good == nil || good.own || from != (services.PeerID{}) && !slices.ContainsFunc(of, func(st *stated) bool { return st.writer == from && st.says(good) }) {
			continue
		}
		st := *good.Statement
		if own != nil {
			st.Number = min(max(st.Number, own.Number+1), statement.MaxNumber)
		}
		if err := keepStated(ctx, tx, &stated{Statement: &st, own: true}); err != nil {
			return err
		}
	}
	return nil
}

// join takes over what the box finds in the household that it has joined, once.
func (s *Service) join(ctx context.Context) error {
	s.making.Lock()
	defer s.making.Unlock()
	return s.write(ctx, func(tx *sql.Tx) error {
		var wait bool
		if err := tx.QueryRowContext(ctx, "SELECT met = 1 OR NOT EXISTS (SELECT 1 FROM statement) FROM household").Scan(&wait); err != nil {
			return err
		}
		if wait {
			return errNothing
		}
		if err := adopt(ctx, tx, services.PeerID{}); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE household SET met = 1")
		return err
	})
}

// KeepFrom states as this box's own every good password, app password and token that the other box states, so that they
// outlive its removal. Call it before a box is removed that its owner has in their hands, and for no box that was
// stolen. Code: not-ready; the change is written whole or not at all.
func (s *Service) KeepFrom(ctx context.Context, by services.Caller, box services.PeerID) error {
	s.making.Lock()
	defer s.making.Unlock()
	return s.write(ctx, func(tx *sql.Tx) error { return adopt(ctx, tx, box) },
		Event{Actor: by.Person, Face: by.Face, Address: by.Address, Action: "kept-from-box", Object: box.String()})
}

// RestsOn counts the people whose password, and the app passwords and tokens, that removing the box ends: no other box
// states them. A person then has the password before that one, or none. Code: not-ready.
func (s *Service) RestsOn(ctx context.Context, box services.PeerID) (passwords, others int, err error) {
	db, err := s.database()
	if err != nil {
		return 0, 0, err
	}
	all, err := loadBySubject(ctx, db)
	if err != nil {
		return 0, 0, err
	}
	for _, of := range all {
		rest := slices.DeleteFunc(slices.Clone(of), func(st *stated) bool { return !st.own && st.writer == box })
		if of[0].Kind == statement.Password {
			if now, then := currentPassword(of), currentPassword(rest); now != nil && (then == nil || !then.says(now)) {
				passwords++
			}
		} else if goodCredential(of) != nil && goodCredential(rest) == nil {
			others++
		}
	}
	return passwords, others, nil
}
