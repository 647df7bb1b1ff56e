package identity

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
)

func leavers(m *services.Membership) []string {
	var out []string
	for _, l := range m.Leaving {
		out = append(out, fmt.Sprintf("%s %s %d", l.Name, l.Then, l.Choice))
	}
	return out
}

func choice(id services.PersonID, number uint32, then services.Then) record.SetLeaving {
	return record.SetLeaving{Person: id, Number: number, Then: then}
}

// What becomes of what the removed kept, where boxes do not hear one another.
func TestLeaving(t *testing.T) {
	remove := record.RemovePerson{Person: ben}
	invited := record.AddPerson{Person: dan, Name: "dan", Role: services.RoleMember, Expires: time.Unix(1_800_000_000, 0)}
	for name, c := range map[string]struct {
		do   func(d *dag, a, b record.Author, base *record.Record)
		want []string
	}{
		"nobody chose": {func(d *dag, a, _ record.Author, base *record.Record) { d.add(a, remove, base) }, []string{"ben erase 0"}},
		"chosen": {func(d *dag, a, _ record.Author, base *record.Record) {
			d.add(a, choice(ben, 1, services.ThenExport), d.add(a, remove, base))
		}, []string{"ben export 1"}},
		"both remove and the careful choice counts": {func(d *dag, a, b record.Author, base *record.Record) {
			d.add(a, choice(ben, 1, services.ThenErase), d.add(a, remove, base))
			d.add(b, choice(ben, 1, services.ThenExport), d.add(b, remove, base))
		}, []string{"ben export 1"}},
		"whoever knows of both has the last word": {func(d *dag, a, b record.Author, base *record.Record) {
			one := d.add(a, choice(ben, 1, services.ThenErase), d.add(a, remove, base))
			two := d.add(b, choice(ben, 1, services.ThenExport), d.add(b, remove, base))
			d.add(b, choice(ben, 2, services.ThenNow), one, two)
		}, []string{"ben now 2"}},
		"erased now and kept on apart from one another": {func(d *dag, a, b record.Author, base *record.Record) {
			gone := d.add(a, remove, base)
			d.add(a, choice(ben, 1, services.ThenNow), gone)
			d.add(b, choice(ben, 1, services.ThenErase), gone)
		}, []string{"ben erase 1"}},
		"who belongs has nothing chosen": {func(d *dag, a, _ record.Author, base *record.Record) {
			d.add(a, choice(ben, 1, services.ThenNow), base)
		}, nil},
		"an epoch settles them back": {func(d *dag, a, b record.Author, base *record.Record) {
			d.add(a, choice(ben, 1, services.ThenNow), d.add(a, remove, base))
			d.epoch(1, base)
		}, nil},
		"settled back, and removed anew": {func(d *dag, a, b record.Author, base *record.Record) {
			d.add(a, choice(ben, 1, services.ThenNow), d.add(a, remove, base))
			d.add(b, remove, d.epoch(1, base))
		}, []string{"ben erase 0"}},
		"what a removed person chose late": {func(d *dag, a, b record.Author, base *record.Record) {
			gone := d.add(a, remove, base)
			d.add(a, record.RemovePerson{Person: cat}, gone)
			d.addFor(cat, "", b, choice(ben, 1, services.ThenNow), gone)
		}, []string{"ben erase 0", "cat erase 0"}},
		"an invitation withdrawn": {func(d *dag, a, _ record.Author, base *record.Record) {
			d.add(a, record.RemovePerson{Person: dan}, d.add(a, invited, base))
		}, nil},
		"an invitation accepted on one box and withdrawn on the other": {func(d *dag, a, b record.Author, base *record.Record) {
			in := d.add(a, invited, base)
			d.add(a, record.ActivatePerson{Person: dan}, in)
			d.add(b, record.RemovePerson{Person: dan}, in)
		}, []string{"dan erase 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range 16 { // one record or another has the smaller ID
				d, a, b, _, base := settled(t)
				c.do(d, a, b, d.add(a, record.RenamePerson{Person: ann, Name: fmt.Sprint("ann", i)}, base))
				if diff := cmp.Diff(c.want, leavers(d.fold())); diff != "" {
					t.Errorf("household %d (-want +got):\n%s", i, diff)
				}
			}
		})
	}
}

// Whatever boxes do apart from one another, and whatever an epoch settles: who belongs is not leaving, who leaves was there
// once, and the choice is the most careful of the newest ones that count.
func TestAnyLeaving(t *testing.T) {
	left, back := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		d, _, _, _, base := settled(t)
		tips := []*record.Record{base, base, base}
		history(rt, d, tips, rapid.IntRange(1, 10).Draw(rt, "before"))
		check := func(m *services.Membership) {
			for _, l := range m.Leaving {
				left++
				if _, ok := m.Person(l.Person); ok {
					rt.Fatalf("%s belongs and is leaving", l.Name)
				}
				if !l.Then.Valid() || l.Choice == 0 && l.Then != services.ThenErase {
					rt.Fatalf("nobody chose %s for %s", l.Then, l.Name)
				}
				chosen := l.Choice == 0
				for _, r := range d.records {
					p, ok := r.Payload.(record.SetLeaving)
					chosen = chosen || ok && p == choice(l.Person, l.Choice, l.Then)
				}
				if !chosen {
					rt.Fatalf("nobody chose %s %d for %s", l.Then, l.Choice, l.Name)
				}
			}
		}
		before := d.fold()
		check(before)
		d.epoch(1, tips[rapid.IntRange(0, 2).Draw(rt, "taken")])
		after := d.fold()
		check(after)
		for _, l := range before.Leaving {
			if _, ok := after.Person(l.Person); ok {
				back++
			}
		}
	})
	if left == 0 || back == 0 {
		t.Errorf("%d left and %d were settled back: one of both was never tried", left, back)
	}
}

// Choices of one person's removal that boxes make apart from one another come to the same one in any order: the most careful.
func TestAnyChoices(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d, _, _, _, base := settled(t)
		least := services.ThenNow
		for _, box := range d.boxes {
			then := rapid.SampledFrom([]services.Then{services.ThenExport, services.ThenErase, services.ThenNow}).Draw(rt, "then")
			least = min(least, then)
			d.add(box, choice(ben, 1, then), d.add(box, record.RemovePerson{Person: ben}, base))
		}
		if diff := cmp.Diff([]string{"ben " + least.String() + " 1"}, leavers(d.fold())); diff != "" {
			rt.Fatal(diff)
		}
	})
}

func TestRemovedBoxKeepsNobody(t *testing.T) {
	d, a, _, c, base := settled(t)
	gone := d.add(a, record.RemovePerson{Person: ben}, base)
	d.add(a, record.RemoveBox{Box: c.Key}, gone)
	h, err := fold(c.Key, d.records[0].ID(), d.records)
	if err != nil {
		t.Fatal(err)
	}
	if m := h.membership(); len(m.Leaving) > 0 || !slices.Contains(m.Removed, c.Key) {
		t.Errorf("a removed box is told of %v", m.Leaving)
	}
}
