package identity

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"hearth.alt/services/identity/internal/record"
)

// However records come, the generation is another one exactly when other removals and epochs have an effect: also where an
// epoch ends one removal and so leaves as many as there were.
func TestAnyGeneration(t *testing.T) {
	same, changed := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		d, _, _, _, base := settled(t)
		tips := []*record.Record{base, base, base}
		history(rt, d, tips, rapid.IntRange(1, 8).Draw(rt, "before"))
		e := d.epoch(1, tips[rapid.IntRange(0, 2).Draw(rt, "taken")])
		for i := range tips {
			if !slices.Contains(e.Parents, tips[i].ID()) {
				tips[i] = d.add(d.boxes[i], record.RenamePerson{Person: ann, Name: "Ann"}, e, tips[i])
			} else {
				tips[i] = e
			}
		}
		history(rt, d, tips, rapid.IntRange(0, 5).Draw(rt, "after"))

		effective := func(set []*record.Record) (uint64, []record.ID) {
			taken := order(d.records[0].ID(), set)
			_, v, err := settle(d.self(), taken)
			if err != nil {
				rt.Fatal(err)
			}
			var out []record.ID
			h, _, err := replay(d.self(), taken, v, func(r *record.Record, why error) {
				if why == nil && (isRemoval(r) || r.Op() == record.OpEpoch) {
					out = append(out, r.ID())
				}
			})
			if err != nil {
				rt.Fatal(err)
			}
			slices.SortFunc(out, record.ID.Compare)
			if len(out) == 0 && h.generation != 0 {
				rt.Fatal("nothing was removed, and the generation is not 0")
			}
			return h.generation, out
		}
		was, had := effective(d.records[:1])
		for n := 2; n <= len(d.records); n++ {
			is, have := effective(d.records[:n])
			if (is == was) != slices.Equal(have, had) {
				rt.Fatalf("from generation %x to %x with removals from %v to %v", was, is, had, have)
			}
			if is == was {
				same++
			} else {
				changed++
			}
			was, had = is, have
		}
		d.fold() // any order
	})
	if same == 0 || changed == 0 {
		t.Errorf("%d records left the generation, %d changed it: one of both was never tried", same, changed)
	}
}
