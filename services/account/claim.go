package account

import (
	"context"
	"database/sql"
	"errors"

	"hearth.alt/services"
	"hearth.alt/services/secret"
)

// ErrClaimed says that the box has an owner already.
var ErrClaimed = &services.Problem{
	Kind: services.KindConflict, Code: "already-claimed",
	Say: services.Say("account.claimed", "This box already has an owner."),
}

// SetFirstPassword gives the person who is about to claim the box a password, before the household exists: a power cut
// between the two leaves an unclaimed box, and never a household whose owner cannot sign in. about is what the
// password must not be made of. Once the box is claimed, the password of an owner who never came to be is swept away.
// Errors: those of CheckPassword, ErrBusy, ErrClaimed.
func (s *Service) SetFirstPassword(ctx context.Context, by services.Caller, owner services.PersonID, password secret.Text, about ...string) error {
	if err := CheckPassword(password, about...); err != nil {
		return err
	}
	if err := s.hasher.acquire(ctx, true); err != nil {
		if errors.Is(err, errBusy) {
			return ErrBusy
		}
		return err
	}
	var hash passwordHash
	func() {
		defer s.hasher.release()
		hash = s.hasher.make(s.c.Params, password)
	}()
	s.making.Lock()
	defer s.making.Unlock()
	// A damaged log may hide an owner: what its people have is not thrown away for a stranger's claim.
	if m, _ := s.c.Members.Watch(); m.Claimed() || m.ReadOnly {
		return ErrClaimed
	}
	if err := s.write(ctx, func(tx *sql.Tx) error {
		// Passwords of earlier tries to claim belong to nobody.
		for _, q := range []string{"DELETE FROM password", "DELETE FROM statement", "UPDATE household SET met = 1"} {
			if _, err := tx.ExecContext(ctx, q); err != nil {
				return err
			}
		}
		return s.statePassword(ctx, tx, owner, hash)
	}, Event{Actor: owner, Face: by.Face, Address: by.Address, Action: "password-set", Object: string(owner)}); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.passwords)
	s.passwords[owner] = true
	return nil
}
