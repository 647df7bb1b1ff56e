package identity

import (
	"context"
	"fmt"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/logfile"
	"hearth.alt/services/identity/internal/record"
)

// A log that was brought back may be older than what this box told other boxes of the household: its next record would
// bear a sequence that it used before, which looks like a cloned card to all. So it writes none of its own before it
// has caught up with all the other boxes, any of which may be the one that knows, or ran for a day. Until then the file beside the log is not empty: it is
// a log of the removals that stood behind a damage and did not come back, whose subjects are kept out.

func (s *Service) markPath() string { return s.path + ".restored" }

// mark notes, before the log is replaced by all, that it was brought back. behind is what stood behind the damage.
func (s *Service) mark(h *household, behind []*record.Record) error {
	var again []*record.Record
	for _, r := range behind {
		if isRemoval(r) && h.knows(r.Author) {
			again = append(again, r)
		}
	}
	b, err := encodeRecords(again)
	if err != nil {
		return err
	}
	return s.log.Beside(s.markPath(), b)
}

// readMark reads what mark wrote. The caller holds writing, or is New.
func (s *Service) readMark(disk *logfile.Log) {
	s.restored, s.again, s.told = false, nil, nil
	b, err := disk.ReadBeside(s.markPath())
	if err != nil || len(b) == 0 {
		return
	}
	s.restored = true
	for _, e := range logfile.Decode(b).Entries {
		if r, err := record.Parse(e); err == nil && r.Verify() == nil {
			s.again = append(s.again, r)
		}
	}
}

// keepOut gives the removals that did not come back their effect on h.
func (s *Service) keepOut(h *household) {
	for _, r := range s.again {
		if h.knows(r.Author) && h.has(removes(r)) {
			h.removeToo(r)
		}
	}
}

// heardAll notes that this box has all that peer had, and says whether that is so of all the others that belong. The caller
// holds writing.
func (s *Service) heardAll(peer services.PeerID) bool {
	if s.told == nil {
		s.told = map[services.PeerID]struct{}{}
	}
	s.told[peer] = struct{}{}
	for id := range s.state.boxes {
		if _, ok := s.told[id]; !ok && id != s.self {
			return false
		}
	}
	return true
}

// upToDate ends the time after Restore in which nothing of this box's own is written. The caller holds writing.
func (s *Service) upToDate(ctx context.Context) error {
	if !s.restored || s.state == nil {
		return nil
	}
	again := s.again
	s.restored, s.again = false, nil
	if len(again) > 0 {
		all := s.shared.Set().Records()
		h, err := fold(s.self, all[0].ID(), all)
		if err != nil {
			return err
		}
		s.state = h
		s.removeAgain(ctx, again)
		s.publish(s.state.membership())
	}
	if err := s.log.Beside(s.markPath(), nil); err != nil {
		return fmt.Errorf("noting that the household log is up to date: %w", err)
	}
	s.cfg.Log.Info("the household log that was brought back is up to date")
	return nil
}

func notUpToDate() error {
	return &services.Problem{
		Kind: services.KindUnavailable, Code: "catch-up",
		Say: services.Say("identity.readonly.restored", "This box was brought back from a backup and has to hear from the other boxes of the house first. Switch them on and wait until all are connected. If one does not come back, wait for a day with this one switched on. Nothing was changed."),
	}
}
