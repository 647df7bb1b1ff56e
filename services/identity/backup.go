package identity

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"slices"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/exchange"
	"hearth.alt/services/identity/internal/logfile"
	"hearth.alt/services/identity/internal/record"
)

// Backup is what a snapshot of a household log says.
type Backup struct {
	Household services.FriendID
	Name      string
	Records   int
	Boxes     []services.Box    // by Label
	Removed   []services.PeerID // boxes that belonged once
}

// Has says whether the box belongs, suspended or not.
func (b Backup) Has(box services.PeerID) bool {
	return slices.ContainsFunc(b.Boxes, func(o services.Box) bool { return o.ID == box })
}

// ReadBackup checks what Snapshot wrote from its first record on, as a log that comes from another box is checked, and
// changes nothing. Code: snapshot-damaged.
func ReadBackup(r io.Reader) (Backup, error) {
	_, h, err := readBackup(services.PeerID{}, r)
	if err != nil {
		return Backup{}, err
	}
	m := h.membership()
	return Backup{Household: h.id(), Name: m.Household.Name, Records: int(h.taken), Boxes: m.Boxes, Removed: m.Removed}, nil
}

func readBackup(self services.PeerID, r io.Reader) ([]*record.Record, *household, error) {
	b, err := io.ReadAll(io.LimitReader(r, logfile.MaxSize+1))
	if err != nil {
		return nil, nil, fmt.Errorf("reading a snapshot of the household log: %w", err)
	}
	records, err := readSnapshot(b)
	if err != nil {
		return nil, nil, snapshotDamaged(err)
	}
	set := exchange.NewSet()
	for _, r := range records {
		if err := set.Add(r); err != nil {
			return nil, nil, snapshotDamaged(fmt.Errorf("record %s: %w", r.ID(), err))
		}
	}
	h, err := fold(self, records[0].ID(), records)
	if err != nil {
		return nil, nil, snapshotDamaged(err)
	}
	return records, h, nil
}

func snapshotDamaged(cause error) error {
	return &services.Problem{
		Kind: services.KindInvalid, Code: "snapshot-damaged", Cause: cause,
		Say: services.Say("identity.snapshot.damaged", "The backup of who belongs is damaged, so nothing was changed. Try an earlier one."),
	}
}

// TakeIn makes this unclaimed box one of the household whose log Snapshot wrote to r. No other box has to be there: the
// household root, which the words stand for, signs it in. The log is written wholly or not at all.
//
// Codes: already-claimed; snapshot-damaged; words-*, as CheckWords; name-invalid, name-taken, box-removed, boxes-full, as
// AddBox.
func (s *Service) TakeIn(ctx context.Context, r io.Reader, words []string, name string) error {
	name, err := cleanName("name", name)
	if err != nil {
		return err
	}
	records, h, err := readBackup(s.self, r)
	if err != nil {
		return err
	}
	root, err := h.rootOf(words)
	if err != nil {
		return err
	}
	box, err := h.takesIn(NewBox{ID: s.self, Name: name})
	if err != nil {
		return err
	}
	author := record.Root(root.Public().(ed25519.PublicKey))
	if n := len(h.heads); n > record.MaxParents {
		return fmt.Errorf("the log has %d ends, a record names %d", n, record.MaxParents)
	}
	added, err := s.signAs(root, record.Record{Sequence: h.sequence[author] + 1, Parents: h.parents(author), Payload: box})
	if err != nil {
		return err
	}
	if err := h.apply(added); err != nil {
		return fmt.Errorf("signing this box in would have no effect: %w", err)
	}
	file, err := encodeRecords(append(records, added))
	if err != nil {
		return err
	}
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	if err := s.unowned(); err != nil {
		return err
	}
	if err := s.replaceLog(file); err != nil {
		return err
	}
	s.cfg.Log.Info("taken into a household from its backup, by its words", "box", s.self.String())
	return nil
}
