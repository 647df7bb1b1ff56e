package exchange

import (
	"errors"
	"slices"

	"hearth.alt/services/identity/internal/record"
)

// Set is a set of records that holds the past of each of its records. Its order is the one they came in, so that
// parents stand before children. It is not safe for concurrent use.
type Set struct {
	records []*record.Record
	at      map[record.ID]int
	heads   map[record.ID]bool // nobody's parent yet
	chain   map[step][]int     // where an author's records are; step 0 is what introduced the author
}

// step is one place in an author's chain of records.
type step struct {
	author   record.Author
	sequence uint64
}

// NewSet returns the set of records, which are in order.
func NewSet(records ...*record.Record) *Set {
	s := &Set{at: map[record.ID]int{}, heads: map[record.ID]bool{}, chain: map[step][]int{}}
	for _, r := range records {
		if !s.Has(r.ID()) {
			s.add(r)
		}
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

// Add takes r in, unless it is there. The error says why it cannot be taken; see founded.
func (s *Set) Add(r *record.Record) error {
	if s.Has(r.ID()) {
		return nil
	}
	if err := s.founded(r); err != nil {
		return err
	}
	s.add(r)
	return nil
}

// founded says why r, which is not there, cannot be taken: its past is not there, its author was not introduced in it
// (a box by add-box, the root by genesis or an epoch), or its author's record before it is not.
func (s *Set) founded(r *record.Record) error {
	for _, p := range r.Parents {
		if !s.Has(p) {
			return errors.New("it comes before its past")
		}
	}
	if r.Op() == record.OpGenesis && len(s.records) > 0 {
		return errors.New("it begins another household")
	}
	if r.Op() != record.OpGenesis && !s.descends(r, s.chain[step{r.Author, r.Sequence - 1}]) {
		return errors.New("its author's record before it, or what introduced its author, is not in its past")
	}
	return nil
}

// Follows says whether before, which is in the set, is in r's past.
func (s *Set) Follows(r, before *record.Record) bool { return s.descends(r, []int{s.at[before.ID()]}) }

// descends says whether the record at one of the places, which ascend, is in r's past.
func (s *Set) descends(r *record.Record, places []int) bool {
	if len(places) == 0 {
		return false
	}
	seen := map[int]bool{}
	queue := make([]int, 0, len(r.Parents))
	visit := func(parents []record.ID) {
		for _, p := range parents {
			if i := s.at[p]; i >= places[0] && !seen[i] { // parents stand before children
				seen[i] = true
				queue = append(queue, i)
			}
		}
	}
	visit(r.Parents)
	for len(queue) > 0 {
		i := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if _, there := slices.BinarySearch(places, i); there {
			return true
		}
		visit(s.records[i].Parents)
	}
	return false
}

// Lineage is author, the box that took it in, the one that took in that one, and so on; as far as boxes did, and as this
// set heard of it first.
func (s *Set) Lineage(author record.Author) []record.Author {
	out := []record.Author{author}
	for {
		places := s.chain[step{out[len(out)-1], 0}]
		if len(places) == 0 {
			return out
		}
		// Whoever took in stands in the set before, so this ends.
		by := s.records[places[0]].Author
		if by.Kind != record.KindBox {
			return out
		}
		out = append(out, by)
	}
}

// add takes r in, whose past is there and which is not.
func (s *Set) add(r *record.Record) {
	at := len(s.records)
	s.at[r.ID()] = at
	s.records = append(s.records, r)
	for _, p := range r.Parents {
		delete(s.heads, p)
	}
	s.heads[r.ID()] = true
	link := func(a record.Author, sequence uint64) {
		s.chain[step{a, sequence}] = append(s.chain[step{a, sequence}], at)
	}
	link(r.Author, r.Sequence)
	switch p := r.Payload.(type) {
	case record.Genesis:
		link(r.Author, 0)
	case record.AddBox:
		link(record.Box(p.Box), 0)
	case record.ReplaceBox:
		link(record.Box(p.Key), 0)
	case record.Epoch:
		link(record.Author{Kind: record.KindRoot, Key: p.Root}, 0)
	}
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
