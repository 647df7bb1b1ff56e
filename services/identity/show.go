package identity

import (
	"context"
	"errors"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/exchange"
	"hearth.alt/services/identity/internal/logfile"
	"hearth.alt/services/identity/internal/record"
)

// Entry is one record of the log, for people to read.
type Entry struct {
	ID     string            // 64 hexadecimal digits
	Author services.PeerID   // the box that signed it; zero is the household root
	Box    string            // what Author is or was called; "" is the root
	By     services.PersonID // on whose behalf; "" is the box's or the root's own
	Person string            // what By is or was called
	Op     string            // "add-person"; see internal/record
	At     time.Time         // known time of the box that made it; decides nothing
	What   services.Sentence // what it does
	Why    services.Sentence // why it has no effect, a clause; zero when it has
}

// Entries are the records of the log in the order in which they take effect, which is the same on every box that has
// the same records; none before the claim. Of a damaged log they are those before the damage. It returns no error that a
// caller could match.
func (s *Service) Entries() ([]Entry, error) {
	s.writing <- struct{}{}
	defer s.unlock()
	if s.shared == nil {
		return nil, nil
	}
	all := s.shared.Set().Records()
	taken := order(all[0].ID(), all)
	_, v, err := settle(s.self, taken)
	if err != nil {
		return nil, err
	}
	names := called{}
	var out []Entry
	entry := func(r *record.Record, err error) {
		e := Entry{ID: r.ID().String(), By: r.By, Person: names[string(r.By)], Op: r.Op().String(), At: r.Time, What: names.tell(r)}
		if r.Author.Kind == record.KindBox {
			e.Author = r.Author.Key
			e.Box = names[e.Author.String()]
		}
		var no *reason
		if errors.As(err, &no) {
			e.Why = no.say
		}
		names.note(r, err == nil)
		out = append(out, e)
	}
	entry(taken[0], nil)
	_, _, err = replay(s.self, taken, v, entry)
	return out, err
}

// Verify reads the log from the disk anew and checks every record of it: its frame, its form, its signature, and that its
// author could have made it. It returns how many are good; the error is a *services.Problem about the first that is not.
// Codes: not-claimed, log-bad.
func (s *Service) Verify(ctx context.Context) (int, error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.unlock()
	_, content := logfile.Open(s.cfg.Disk, s.path)
	if content.Size == 0 && content.Damage == nil {
		return 0, notClaimed()
	}
	bad := func(number int, cause error) error {
		return &services.Problem{
			Kind: services.KindUnavailable, Code: "log-bad", Cause: cause,
			Say: services.Say("identity.log.bad", "Record {number} of the log is not good: {cause}. Bring the log back from a backup, or add this box to the household anew.", "number", number, "cause", cause.Error()),
		}
	}
	records, err := readRecords(services.PeerID{}, content.Entries)
	set := exchange.NewSet()
	for i, r := range records {
		if err := set.Add(r); err != nil {
			return i, bad(i+1, err)
		}
	}
	switch {
	case err != nil:
		return len(records), bad(len(records)+1, errors.Unwrap(err))
	case content.Damage != nil:
		return len(records), bad(len(records)+1, content.Damage)
	}
	return len(records), nil
}
