package exchange

import (
	"slices"

	"hearth.alt/services/identity/internal/record"
)

// Set is a set of records that holds the past of each of its records. Its order is the one they came in, so that
// parents stand before children. It is not safe for concurrent use.
type Set struct {
	records []*record.Record
	at      map[record.ID]int
	heads   map[record.ID]bool // nobody's parent yet
}

// NewSet returns the set of records, which are in order.
func NewSet(records ...*record.Record) *Set {
	s := &Set{at: map[record.ID]int{}, heads: map[record.ID]bool{}}
	for _, r := range records {
		s.add(r)
	}
	return s
}

// Len is how many records there are.
func (s *Set) Len() int { return len(s.records) }

// Records returns them in order; the slice is not to be changed.
func (s *Set) Records() []*record.Record { return s.records }

// Has says whether the record is there.
func (s *Set) Has(id record.ID) bool {
	_, ok := s.at[id]
	return ok
}

// fits says whether r's past is there.
func (s *Set) fits(r *record.Record) bool {
	return !slices.ContainsFunc(r.Parents, func(p record.ID) bool { return !s.Has(p) })
}

// add takes r in, whose past is there and which is not.
func (s *Set) add(r *record.Record) {
	s.at[r.ID()] = len(s.records)
	s.records = append(s.records, r)
	for _, p := range r.Parents {
		delete(s.heads, p)
	}
	s.heads[r.ID()] = true
}

// landmarks are at most maxLandmarks records from which another set can tell what is missing there: the heads, the
// newest ones first, and behind them the records 1, 2, 4, 8 ... before the last. Two sets that differ little find a
// landmark near the difference, however long they are.
func (s *Set) landmarks() []record.ID {
	var out []record.ID
	heads := make([]int, 0, len(s.heads))
	for id := range s.heads {
		heads = append(heads, s.at[id])
	}
	slices.SortFunc(heads, func(a, b int) int { return b - a })
	for _, i := range heads[:min(len(heads), maxLandmarks-32)] {
		out = append(out, s.records[i].ID())
	}
	for back := 1; len(s.records)-1-back >= 0; back *= 2 {
		if id := s.records[len(s.records)-1-back].ID(); !s.heads[id] {
			out = append(out, id)
		}
	}
	if len(s.records) > 0 {
		if first := s.records[0].ID(); !slices.Contains(out, first) {
			out = append(out, first)
		}
	}
	return out
}

// missing returns the places of the records that are not in the past of any of known, and not among them.
func (s *Set) missing(known []record.ID) []int {
	there := make([]bool, len(s.records))
	for _, id := range known {
		if i, ok := s.at[id]; ok {
			there[i] = true
		}
	}
	var out []int
	for i, r := range slices.Backward(s.records) {
		if !there[i] {
			out = append(out, i)
			continue
		}
		for _, p := range r.Parents {
			there[s.at[p]] = true
		}
	}
	slices.Reverse(out)
	return out
}
