package identity

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/logfile"
	"hearth.alt/services/identity/internal/record"
)

// loaded is what a log on disk came to.
type loaded struct {
	log   *logfile.Log
	state *household // nil when there is no household, or none can be read
	// records are those of the log, of a damaged one those before the damage; behind are those that can still be read
	// behind it.
	records, behind []*record.Record
	fault           fault
	torn            int64
}

// load reads the log at path, checks every record and folds them. Of a damaged log it takes what stands before the
// damage, and, so that a damaged disk brings nobody back in, the removals behind it that a box of the household
// signed.
func load(disk Disk, self services.PeerID, path string) loaded {
	log, content := logfile.Open(disk, path)
	l := loaded{log: log, torn: content.Torn}
	l.fault.damage = content.Damage
	if content.Size == 0 && content.Damage == nil {
		return l
	}
	records, bad := readRecords(self, content.Entries)
	after := content.After
	if bad != nil {
		after = append(content.Entries[len(records):], after...)
		if errors.Is(bad, record.ErrVersion) {
			l.fault.newer = true
		} else {
			l.fault.damage = &logfile.Damage{Offset: content.Offsets[len(records)], Reason: bad.Error()}
		}
	}
	if len(records) == 0 {
		if l.fault == (fault{}) {
			l.fault.damage = &logfile.Damage{Reason: "it holds no record"}
		}
		return l
	}
	state, err := fold(self, records[0].ID(), records)
	if err != nil {
		l.fault.damage = &logfile.Damage{Offset: content.Offsets[0], Reason: err.Error()}
		return l
	}
	l.state = state
	if l.fault.any() {
		for _, b := range after {
			r, err := record.Parse(b)
			if err != nil || r.Verify() != nil {
				continue
			}
			l.behind = append(l.behind, r)
			if state.knows(r.Author) {
				state.removeToo(r)
			}
		}
	}
	if !errors.Is(bad, record.ErrVersion) {
		l.records = records
	}
	return l
}

// readRecords parses and verifies entries, each of whose parents must stand before it. The error is about the entry
// behind the last record returned. What the box self vouches for is not verified again; see vouched. The zero self
// vouches for nothing.
func readRecords(self services.PeerID, entries [][]byte) ([]*record.Record, error) {
	records := make([]*record.Record, 0, len(entries))
	seen := make(map[record.ID]struct{}, len(entries))
	var bad error
	for i, b := range entries {
		r, err := record.Parse(b)
		if err == nil && (i == 0) != (r.Op() == record.OpGenesis) {
			err = errors.New("a household begins with genesis, once")
		}
		if err == nil {
			for _, p := range r.Parents {
				if _, ok := seen[p]; !ok {
					err = fmt.Errorf("its parent %s is missing", p)
				}
			}
		}
		if err != nil {
			bad = fmt.Errorf("record %d: %w", i+1, err)
			break
		}
		seen[r.ID()] = struct{}{}
		records = append(records, r)
	}
	if i := firstForged(vouched(self, records), records); i >= 0 {
		return records[:i], fmt.Errorf("record %d: %w", i+1, record.ErrSignature)
	}
	return records, bad
}

// vouched returns the records that this box signed for: its own newest one, whose signature is checked here, names
// its parents by the hash of all their bytes, those theirs, and so on; and it signed only after it had verified them
// all. One signature therefore stands for its whole past, and a log of 10,000 records opens in a tenth of the time.
func vouched(self services.PeerID, records []*record.Record) map[record.ID]bool {
	past := map[record.ID]bool{}
	for _, r := range slices.Backward(records) {
		switch {
		case len(past) == 0 && r.Author == record.Box(self):
			if r.Verify() != nil {
				return nil
			}
			past[r.ID()] = true
		case !past[r.ID()]:
			continue
		}
		for _, p := range r.Parents {
			past[p] = true
		}
	}
	return past
}

// firstForged returns the index of the first record not in known whose signature is wrong, -1 when none is. It keeps
// every core busy: 10,000 signatures are half a second of work.
func firstForged(known map[record.ID]bool, records []*record.Record) int {
	workers := min(runtime.GOMAXPROCS(0), len(records))
	first := make([]int, workers)
	var group sync.WaitGroup
	for w := range workers {
		first[w] = -1
		group.Go(func() {
			for i := w; i < len(records); i += workers {
				if r := records[i]; !known[r.ID()] && r.Verify() != nil {
					first[w] = i
					return
				}
			}
		})
	}
	group.Wait()
	found := -1
	for _, i := range first {
		if i >= 0 && (found < 0 || i < found) {
			found = i
		}
	}
	return found
}

// knows says whether a is the root or a box of the household.
func (h *household) knows(a record.Author) bool {
	if a.Kind == record.KindRoot {
		return string(a.Key[:]) == string(h.is.Root)
	}
	_, ok := h.boxes[a.Key]
	return ok
}

// removeToo gives a removal its effect although its past is not there, unless it would take the last owner or box.
func (h *household) removeToo(r *record.Record) {
	if isRemoval(r) {
		h.outlived(r)
	}
	switch p := r.Payload.(type) {
	case record.RemovePerson:
		if !h.lastOwner(p.Person) {
			h.removePerson(p.Person, r.Time)
		}
	case record.RemoveDevice:
		h.removeDevice(p.Device)
	case record.RemoveFriend:
		h.endFriend(p.Friend)
	case record.RemoveBox, record.ReplaceBox: // the key that follows is not trusted for this alone
		if len(h.boxes) > 1 {
			h.removeBox(removes(r).Box)
		}
	}
}
