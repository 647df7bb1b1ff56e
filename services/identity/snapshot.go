package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/exchange"
	"hearth.alt/services/identity/internal/logfile"
	"hearth.alt/services/identity/internal/record"
)

// Name implements services.Snapshotter.
func (s *Service) Name() string { return "identity" }

// Snapshot writes the log, as it is on disk, up to its last acknowledged record. Nothing is written for a box that
// nobody has claimed. The log of a damaged box ends before the first frame that cannot be read.
func (s *Service) Snapshot(ctx context.Context, w io.Writer) error {
	log, size, err := s.goodLog(ctx)
	if err != nil || size == 0 {
		return err
	}
	// The log only grows, so its beginning may be read while others append.
	b, err := log.Read(size)
	if err != nil {
		return fmt.Errorf("reading the household log: %w", err)
	}
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("copying the household log: %w", err)
	}
	return nil
}

func (s *Service) goodLog(ctx context.Context) (*logfile.Log, int64, error) {
	if err := s.lock(ctx); err != nil {
		return nil, 0, err
	}
	defer s.unlock()
	return s.log, s.log.Size(), nil
}

// restoreBatch is how many records Restore puts into one frame; the longest fit.
const restoreBatch = 128

// Restore brings the log back from what Snapshot wrote. On a box that nobody has claimed it becomes the log. On a
// claimed one the two sets of records are united, so that a backup heals a damaged log and an old one brings nobody
// back who was removed since, even when only the removal itself can still be read; the backup of another household is
// refused. The log is replaced wholly or not at all.
//
// Codes: snapshot-damaged, snapshot-other; read-only when the log is of a newer program.
func (s *Service) Restore(ctx context.Context, r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, logfile.MaxSize+1))
	if err != nil {
		return fmt.Errorf("reading a snapshot of the household log: %w", err)
	}
	if len(b) == 0 { // a box that nobody had claimed: there is nothing to unite with
		return nil
	}
	set, err := readSnapshot(b)
	if err != nil {
		return snapshotDamaged(err)
	}
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	s.mu.Lock()
	newer, well := s.fault.newer, !s.fault.any()
	s.mu.Unlock()
	if newer { // its records would be lost
		return s.writable()
	}
	_, have := logfile.Open(s.cfg.Disk, s.path)
	good, _ := readRecords(s.self, have.Entries)
	if len(good) > 0 && good[0].ID() != set[0].ID() {
		return &services.Problem{
			Kind: services.KindConflict, Code: "snapshot-other",
			Say: services.Say("identity.snapshot.other", "This backup belongs to another household, so nothing was changed."),
		}
	}
	// What is here stays in its order, which friends' boxes were shown a hash of.
	kept := append(slices.Clone(good), set...)
	genesis := set[0].ID()
	set = append(set, good...)
	var behind []*record.Record // the damage
	for _, e := range append(have.Entries[len(good):], have.After...) {
		if r, err := record.Parse(e); err == nil && r.Verify() == nil {
			behind = append(behind, r)
		}
	}
	set = append(set, behind...)
	all := exchange.NewSet(append(kept, order(genesis, set)...)...).Records()
	if well && have.Damage == nil && len(all) == len(have.Entries) { // all of it is there
		return nil
	}
	file, err := encodeRecords(all)
	if err != nil {
		return err
	}
	if len(good) == 0 || have.Damage != nil || !well { // else it is no older than it was
		h, err := fold(s.self, genesis, all)
		if err != nil {
			return err
		}
		if len(h.boxes) > 1 {
			if err := s.mark(h, behind); err != nil {
				return notWritten(err)
			}
			s.listen()
		}
	}
	if err := s.replaceLog(file); err != nil {
		return err
	}
	s.removeAgain(ctx, behind)
	return nil
}

// removeAgain makes this box's own records of the removals among those behind the damage that still have no effect:
// what they stood on did not come back, and whom they removed must not either.
func (s *Service) removeAgain(ctx context.Context, behind []*record.Record) {
	if s.writable() != nil {
		return
	}
	for _, r := range behind {
		if !s.state.knows(r.Author) {
			continue
		}
		err := s.changeLocked(ctx, actor{}, func(h *household) (record.Payload, error) {
			switch p := r.Payload.(type) {
			case record.RemovePerson:
				if _, ok := h.people[p.Person]; ok && !h.lastOwner(p.Person) {
					return p, nil
				}
			case record.RemoveDevice:
				if _, ok := h.devices[p.Device]; ok {
					return p, nil
				}
			}
			return nil, nil
		})
		if err != nil {
			s.cfg.Log.Error("removing again whom the damaged log removed", "record", r.ID().String(), "error", err)
		}
	}
}

// readSnapshot returns the verified records of a whole log.
func readSnapshot(b []byte) ([]*record.Record, error) {
	c := logfile.Decode(b)
	switch {
	case c.Damage != nil:
		return nil, c.Damage
	case c.Torn > 0:
		return nil, errors.New("its end is missing")
	}
	records, err := readRecords(services.PeerID{}, c.Entries)
	if err == nil && len(records) == 0 {
		err = errors.New("it holds no record")
	}
	return records, err
}

func encodeRecords(records []*record.Record) ([]byte, error) {
	var batches [][][]byte
	for i, r := range records {
		if i%restoreBatch == 0 {
			batches = append(batches, nil)
		}
		last := len(batches) - 1
		batches[last] = append(batches[last], r.Bytes())
	}
	return logfile.Encode(batches...)
}

// ErasePerson removes the person from the household. Their name stays in the signed records that once gave it to
// them, because later records stand on those by their hashes; it leaves the membership and so every page. A person
// who is not there is no error. Code: last-owner.
func (s *Service) ErasePerson(ctx context.Context, id services.PersonID) error {
	err := s.RemovePerson(ctx, id)
	if isCode(err, "person-not-found") || isCode(err, "not-claimed") {
		return nil
	}
	return err
}
