package identity

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
)

// box makes another box's key.
func (d *dag) box(n byte) record.Author {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{200 + n}, 32))
	box := record.Box(services.PeerID(key.Public().(ed25519.PublicKey)))
	d.keys[box] = key
	return box
}

// say has the box say on behalf of cat that the removals are void.
func (d *dag) say(box record.Author, number uint64, void []*record.Record, parents ...*record.Record) *record.Record {
	e := record.Epoch{Number: number, Root: d.root.Key}
	for _, r := range void {
		e.Void = append(e.Void, r.ID())
	}
	slices.SortFunc(e.Void, record.ID.Compare)
	return d.addFor(cat, "", box, e, parents...)
}

// The thief's box C was removed on A. With puppets that it says it took in before, it makes a dispute and settles that,
// all of it without having heard of its removal: what B and A did since would be outside of the epoch.
func TestRemovedBoxSettlesNothing(t *testing.T) {
	// Each returns what the thief's box goes on from.
	for name, do := range map[string]func(d *dag, a, c record.Author, base *record.Record) *record.Record{
		"and is not heard": func(d *dag, a, c record.Author, base *record.Record) *record.Record {
			d.addFor(ann, "", a, record.RemoveBox{Box: c.Key}, base)
			return base
		},
		"while it disputes that": func(d *dag, a, c record.Author, base *record.Record) *record.Record {
			d.addFor(ann, "", a, record.RemoveBox{Box: c.Key}, base)
			return d.addFor(ann, "", c, record.RemoveBox{Box: a.Key}, base)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, a, _, c, base := settled(t)
			last := do(d, a, c, base)
			puppets := []record.Author{c}
			for n := range byte(6) {
				puppets = append(puppets, d.box(n))
				last = d.addFor(ann, "", c, record.AddBox{Box: puppets[n+1].Key, Name: "P", Label: fmt.Sprint("p", n), Host: 20 + n}, last)
			}
			one := d.addFor(ann, "", c, record.RemovePerson{Person: ben}, last)
			two := d.addFor(ben, "", puppets[1], record.RemovePerson{Person: ann}, last)
			want := who(d.fold()) // it may well begin a dispute
			for i, p := range puppets {
				parents := []*record.Record{one, two}
				if i > 0 {
					parents = []*record.Record{d.last()}
				}
				d.say(p, 1, []*record.Record{one}, parents...)
			}
			forged := d.last()

			// Alone it would be as good as any: the test has to show that it is not for want of a quorum.
			alone := slices.Collect(func(yield func(*record.Record) bool) {
				known := pastOf(d, forged)
				for _, r := range d.records {
					if (r == forged || known[r.ID()]) && !yield(r) {
						return
					}
				}
			})
			h, err := fold(d.self(), d.records[0].ID(), alone)
			if err != nil || h.epoch.Number != 1 {
				t.Fatalf("by itself it settles nothing: epoch %d, %v", h.epoch.Number, err)
			}
			if diff := cmp.Diff(want, who(d.fold())); diff != "" {
				t.Errorf("what a removed box settled (-without +with):\n%s", diff)
			}
		})
	}
}

// What boxes say is no epoch where they say it of a removal that nobody disputes, of a number that is not the next, or
// with another root.
func TestVoicesForNothing(t *testing.T) {
	for name, void := range map[string]func(d *dag, a, b, c record.Author, base *record.Record){
		"a removal that stands": func(d *dag, a, b, c record.Author, base *record.Record) {
			r := d.addFor(ann, "", a, record.RemovePerson{Person: ben}, base)
			one := d.say(a, 1, []*record.Record{r}, r)
			two := d.say(b, 1, []*record.Record{r}, one)
			d.say(c, 1, []*record.Record{r}, two)
		},
		"not the next number": func(d *dag, a, b, c record.Author, base *record.Record) {
			r, q := d.quarrel(a, b, base)
			one := d.say(a, 2, []*record.Record{r}, r, q)
			d.say(c, 2, []*record.Record{r}, one)
		},
		"another root": func(d *dag, a, b, c record.Author, base *record.Record) {
			r, q := d.quarrel(a, b, base)
			e := record.Epoch{Number: 1, Root: a.Key, Void: []record.ID{r.ID()}}
			d.addFor(cat, "", c, e, d.addFor(cat, "", a, e, r, q))
		},
		"on behalf of those it is about": func(d *dag, a, b, c record.Author, base *record.Record) {
			r, q := d.quarrel(a, b, base)
			e := record.Epoch{Number: 1, Root: d.root.Key, Void: []record.ID{r.ID()}}
			d.addFor(ben, "", c, e, d.addFor(ben, "", a, e, r, q))
		},
		"on behalf of nobody": func(d *dag, a, b, c record.Author, base *record.Record) {
			r, q := d.quarrel(a, b, base)
			e := record.Epoch{Number: 1, Root: d.root.Key, Void: []record.ID{r.ID()}}
			d.add(c, e, d.add(a, e, r, q))
		},
		"a box twice": func(d *dag, a, b, c record.Author, base *record.Record) {
			r, q := d.quarrel(a, b, base)
			d.say(c, 1, []*record.Record{r}, d.say(c, 1, []*record.Record{r}, r, q))
		},
		"a box that spoke too often": func(d *dag, a, b, c record.Author, base *record.Record) {
			r, q := d.quarrel(a, b, base)
			last := d.say(a, 1, []*record.Record{q}, r, q)
			for range maxVoices {
				last = d.say(c, 1, []*record.Record{r}, last)
			}
			d.say(c, 1, []*record.Record{q}, last)
		},
		"without knowing the other": func(d *dag, a, b, c record.Author, base *record.Record) {
			r, q := d.quarrel(a, b, base)
			d.say(c, 1, []*record.Record{r}, r, q)
			d.say(a, 1, []*record.Record{r}, r, q)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, a, b, c, base := settled(t)
			void(d, a, b, c, base)
			h, err := fold(d.self(), d.records[0].ID(), d.records)
			if err != nil || h.epoch.Number != 0 {
				t.Errorf("it is epoch %d, %v", h.epoch.Number, err)
			}
		})
	}
}

// quarrel has ann and ben remove one another.
func (d *dag) quarrel(a, b record.Author, base *record.Record) (byAnn, byBen *record.Record) {
	return d.addFor(ann, "", a, record.RemovePerson{Person: ben}, base), d.addFor(ben, "", b, record.RemovePerson{Person: ann}, base)
}

// Who is out by what a quorum settled comes back by nothing that they say they did before, and what is said late
// against those who settled it opens it again at the most.
func TestQuorumIsFinal(t *testing.T) {
	settle := func(t *testing.T) (d *dag, b record.Author, base, byBen, e *record.Record) {
		d, a, b, c, base := settled(t)
		r, q := d.quarrel(a, b, base)
		e = d.say(c, 1, []*record.Record{q}, d.say(a, 1, []*record.Record{q}, r, q))
		if got := d.fold(); got.Frozen || slices.ContainsFunc(got.People, func(p services.Person) bool { return p.ID == ben }) {
			t.Fatalf("it is not settled: %v", who(got))
		}
		return d, b, base, q, e
	}
	t.Run("a late act", func(t *testing.T) {
		d, b, _, q, _ := settle(t)
		want := who(d.fold())
		late := d.addFor(ben, "", b, person(dan, services.RoleOwner), q)
		d.addFor(dan, "", b, record.RemovePerson{Person: ann}, late)
		if diff := cmp.Diff(want, who(d.fold())); diff != "" {
			t.Errorf("something late counts (-before +after):\n%s", diff)
		}
	})
	t.Run("what others did meanwhile", func(t *testing.T) {
		d, b, _, q, _ := settle(t)
		d.addFor(cat, "", b, record.RemoveDevice{Device: phone}, q)
		if got := d.fold(); len(got.Devices) > 0 {
			t.Errorf("a removal that the boxes had not heard of is undone by what they settled: %v", who(got))
		}
	})
	t.Run("a late removal of who settled it", func(t *testing.T) {
		d, b, _, q, _ := settle(t)
		d.addFor(ben, "", b, record.RemovePerson{Person: cat}, q)
		if got := d.fold(); !got.Frozen {
			t.Errorf("a removed person's word against theirs decided it: %v", who(got))
		}
	})
	t.Run("a third voice, of a box whose card was copied", func(t *testing.T) {
		d, _, _, q, e := settle(t)
		third := d.say(d.boxes[1], 1, []*record.Record{q}, e)
		d.seq[d.boxes[1]]--
		d.addFor(ann, "", d.boxes[1], record.RenamePerson{Person: cat, Name: "Kitty"}, q) // B forks at its voice
		h, err := fold(d.self(), d.records[0].ID(), d.records)
		if err != nil || h.epoch.Number != 1 {
			t.Errorf("epoch %d, %v; third %s", h.epoch.Number, err, third.ID())
		}
	})
	t.Run("a late epoch of the root", func(t *testing.T) {
		d, _, base, _, e := settle(t)
		d.say(d.boxes[0], 2, []*record.Record{base}, e)
		d.epoch(1, base)
		if diff := cmp.Diff(who(d.fold()), []string{"ann owner", "ben owner", "cat admin", "Phone at 2", "box at 1", "box at 254", "box at 253"}); diff != "" {
			t.Errorf("the words did not count before the boxes:\n%s", diff)
		}
	})
}

// Where two removals together would leave no owner, what boxes agree on settled nothing: the one that they let stand was open on.
func TestQuorumBetweenLastOwners(t *testing.T) {
	d, a, b, c, base := settled(t)
	one := d.add(a, record.RemovePerson{Person: ann}, base)
	two := d.add(b, record.RemovePerson{Person: ben}, base)
	if got := d.fold(); !got.Frozen {
		t.Fatalf("nothing is disputed: %v", who(got))
	}
	d.say(c, 1, []*record.Record{one}, d.say(a, 1, []*record.Record{one}, one, two))
	if diff := cmp.Diff([]string{"ann owner", "cat admin", "Phone at 2", "box at 1", "box at 254", "box at 253"}, who(d.fold())); diff != "" {
		t.Errorf("household (-want +got):\n%s", diff)
	}
}

// What a stolen box and one made up by it say about nothing, again and again, costs little when the log is read: each of them
// had the household folded as of its past, 800 of them, 200 KiB, for 11 seconds at each start.
func TestVoicesCostLittle(t *testing.T) {
	d, _ := worded(t)
	thief := d.boxes[1]
	p := d.puppets(thief, 1)[0]
	e := record.Epoch{Number: 1, Root: d.root.Key, Void: []record.ID{{1}}}
	for i := range 200 {
		d.add([]record.Author{thief, p}[i%2], e, d.last())
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := fold(d.self(), d.records[0].ID(), d.records); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 16 {
		t.Errorf("%d MiB are used for %d records", used, len(d.records))
	}
}

// Ann removed Cat's stolen phone on box B. Before A and C hear so, whoever has the phone makes an accomplice, a member,
// an admin, and a dispute between two made-up people, and has the accomplice settle that on A and C: the epoch would
// leave the removal of the phone out.
func TestPromotedSettleNothing(t *testing.T) {
	const kid, pim, pam services.PersonID = "kidkidkidkidkidk", "pimpimpimpimpimp", "pampampampampamp"
	for name, promoted := range map[string]bool{"a member made an admin": true, "an admin": false} {
		t.Run(name, func(t *testing.T) {
			d, a, b, c, base := settled(t)
			role := services.RoleMember
			if !promoted {
				role = services.RoleAdmin
			}
			base = d.add(a, person(kid, role), base)
			d.addFor(ann, "", b, record.RemoveDevice{Device: phone}, base)
			last := base
			if promoted {
				last = d.addFor(cat, phone, a, record.SetRole{Person: kid, Role: services.RoleAdmin}, last)
			}
			last = d.addFor(cat, phone, a, person(pim, services.RoleAdmin), last)
			last = d.addFor(cat, phone, a, person(pam, services.RoleAdmin), last)
			one := d.addFor(pim, "", a, record.RemovePerson{Person: pam}, last)
			two := d.addFor(pam, "", c, record.RemovePerson{Person: pim}, last)
			e := record.Epoch{Number: 1, Root: d.root.Key, Void: []record.ID{one.ID()}}
			d.addFor(kid, "", c, e, d.addFor(kid, "", a, e, one, two))
			if slices.ContainsFunc(d.fold().Devices, func(d services.Device) bool { return d.ID == phone }) {
				t.Errorf("the stolen phone undid its removal: %v", who(d.fold()))
			}
		})
	}
}
