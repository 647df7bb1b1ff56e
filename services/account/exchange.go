package account

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/account/internal/statement"
)

// CredentialsProtocol is the ProtocolName of ServeCredentials.
const CredentialsProtocol = "/account/credentials/v1"

// SignDomain begins every message that Config.Sign is asked to sign.
const SignDomain = statement.Domain

// maxHave bounds what a peer may list: every box's part of a large household.
const maxHave = 16 * maxStated

// ErrStranger is returned by ServeCredentials for a peer that is no active box of the household, and on a box that is
// none.
var ErrStranger = errors.New("the other end is not an active box of this household")

// errForged is what ends the exchange with a peer that sends what its writer did not sign.
var errForged = errors.New("a statement that its writer did not sign")

// ServeCredentials exchanges passwords, app passwords and tokens with the box peer over rw; both ends call it. It runs
// until ctx or rw ends, peer is no active box any more, or it breaks the protocol. It never returns nil. When ctx ends
// it wakes what reads and writes by rw's SetDeadline, or else its Close; it does not close rw otherwise.
//
// Each side lists the rows that it has, whenever it finds more people or boxes in the membership, and is then sent the
// others, and from there on what is new. What came is on disk before it is passed on.
func (s *Service) ServeCredentials(ctx context.Context, peer services.PeerID, rw io.ReadWriter) error {
	if s.c.Sign == nil {
		return errors.New("account: this box signs no statements")
	}
	select {
	case <-s.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var once sync.Once
	wake := func() {
		once.Do(func() {
			switch rw := rw.(type) {
			case interface{ SetDeadline(time.Time) error }:
				_ = rw.SetDeadline(time.Unix(1, 0))
			case io.Closer:
				_ = rw.Close()
			}
		})
	}
	defer context.AfterFunc(ctx, wake)()
	t := &talk{s: s, peer: peer, rw: rw, heard: make(chan struct{}, 1)}
	var reading sync.WaitGroup
	reading.Go(func() { cancel(t.listen(ctx)) })
	err := t.speak(ctx)
	cancel(err)
	wake()
	reading.Wait()
	return fmt.Errorf("exchanging credentials with %s: %w", peer, context.Cause(ctx))
}

// talk is an exchange with one peer.
type talk struct {
	s     *Service
	peer  services.PeerID
	rw    io.ReadWriter
	heard chan struct{} // something for speak to look at

	mu     sync.Mutex
	theirs map[statement.Mark]bool // what the peer has, and whether it has ended there; nil before its first list
	list   map[statement.Mark]bool // its next list, as far as it came
	due    bool                    // END is to be said
}

// may says whether credentials may be exchanged with the peer.
func (t *talk) may(m *services.Membership) error {
	if t.peer == m.Self || !isActiveBox(m, t.peer) || !isActiveBox(m, m.Self) {
		return ErrStranger
	}
	return nil
}

// listen takes what the peer says, until an error.
func (t *talk) listen(ctx context.Context) error {
	for frames := 0; ; {
		f, err := statement.Read(t.rw)
		if err != nil {
			return err
		}
		m, _ := t.s.c.Members.Watch()
		if err := t.may(m); err != nil {
			return err
		}
		switch {
		case f.End:
			err = t.s.join(ctx)
		case f.Rows != nil:
			err = t.take(ctx, f.Rows)
		default:
			if frames++; len(t.list)+len(f.Have) > maxHave || frames > maxHave {
				return fmt.Errorf("%w: an endless list", statement.ErrMalformed)
			}
			if f.Last {
				frames = 0
			}
			t.hear(f)
		}
		if err != nil {
			return err
		}
	}
}

// hear takes a part of the list of what the peer has.
func (t *talk) hear(f statement.Frame) {
	if t.list == nil {
		t.list = map[statement.Mark]bool{}
	}
	for _, h := range f.Have {
		t.list[h.Mark] = h.Ended
	}
	if !f.Last {
		return
	}
	t.mu.Lock()
	t.theirs, t.list, t.due = t.list, nil, true
	t.mu.Unlock()
	select {
	case t.heard <- struct{}{}:
	default:
	}
}

func (t *talk) take(ctx context.Context, rows []*statement.Row) error {
	t.mu.Lock()
	endless := len(t.theirs)+len(rows) > 2*maxHave // also what is not kept here is remembered as theirs
	t.mu.Unlock()
	if endless {
		return fmt.Errorf("%w: statements without end", statement.ErrMalformed)
	}
	for _, r := range rows {
		if !r.Genuine() {
			return errForged
		}
	}
	if err := t.s.take(ctx, rows); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range rows {
		if t.theirs != nil {
			t.theirs[r.Mark()] = r.Ended
		}
	}
	return nil
}

// speak tells the peer what it does not have, until an error.
func (t *talk) speak(ctx context.Context) error {
	revision, listed := uint64(0), false
	for {
		written := t.s.nextWriting()
		m, changed := t.s.c.Members.Watch()
		if err := t.may(m); err != nil {
			return err
		}
		rows, met, err := t.s.sayable(ctx, m.Self)
		if err != nil {
			return err
		}
		if !listed || m.Revision != revision {
			have := make([]statement.Have, len(rows))
			for i, r := range rows {
				have[i] = statement.Have{Mark: r.Mark(), Ended: r.Ended}
			}
			if _, err := t.rw.Write(statement.AppendHave(nil, have)); err != nil {
				return err
			}
			revision, listed = m.Revision, true
		}
		for rows, end := t.missing(rows, met); len(rows) > 0 || end; {
			var b []byte
			if len(rows) > 0 {
				b, rows = statement.AppendRows(b, rows)
			}
			if end && len(rows) == 0 {
				b, end = statement.AppendEnd(b), false
			}
			if _, err := t.rw.Write(b); err != nil {
				return err
			}
		}
		select {
		case <-written:
		case <-changed:
		case <-t.heard:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// missing returns those of rows that the peer has not, and takes them for sent; end says that END is to follow. A box
// that is only now joining has not all itself.
func (t *talk) missing(rows []*statement.Row, met bool) (out []*statement.Row, end bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.theirs == nil {
		return nil, false
	}
	for _, r := range rows {
		mark := r.Mark()
		if ended, has := t.theirs[mark]; !has || r.Ended && !ended {
			out = append(out, r)
			t.theirs[mark] = r.Ended
		}
	}
	if end = t.due && met; end {
		t.due = false
	}
	return out, end
}

func (s *Service) nextWriting() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written
}

// sayable returns every row, signed; met says whether this box has its part in them.
func (s *Service) sayable(ctx context.Context, self services.PeerID) (rows []*statement.Row, met bool, err error) {
	s.signing.Lock()
	defer s.signing.Unlock()
	db, err := s.database()
	if err != nil {
		return nil, false, err
	}
	err = db.QueryRowContext(ctx, "SELECT met FROM household").Scan(&met)
	var all []*stated
	if err == nil {
		all, err = loadStated(ctx, db, "")
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading statements: %w", err)
	}
	if err := s.signOwn(ctx, all, self); err != nil {
		return nil, false, err
	}
	rows = make([]*statement.Row, 0, len(all))
	for _, st := range all {
		if len(st.sig) > 0 {
			rows = append(rows, st.row(self))
		}
	}
	return rows, met, nil
}

// signOwn signs what this box states and has not signed yet. From then on another box may have it.
func (s *Service) signOwn(ctx context.Context, all []*stated, self services.PeerID) error {
	var fresh []*stated
	for _, st := range all {
		// Of a copy that was brought back onto another box the signatures are another box's.
		if st.own && (len(st.sig) == 0 || !s.signed && !st.row(self).Genuine()) {
			sig, err := s.c.Sign(ctx, statement.Message(self, st.Statement))
			if err != nil {
				return fmt.Errorf("signing a statement: %w", err)
			}
			st.sig = sig
			fresh = append(fresh, st)
		}
	}
	s.signed = true
	if len(fresh) == 0 {
		return nil
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		for _, st := range fresh {
			// One that another took the place of meanwhile stays unsaid.
			res, err := tx.ExecContext(ctx, "UPDATE statement SET sig = ?, sent = 1 WHERE subject = ? AND writer = x'' AND body = ?", st.sig, st.Subject(), st.Append(nil))
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil {
				return err
			} else if n == 0 {
				st.sig = nil
			}
		}
		return nil
	})
}
