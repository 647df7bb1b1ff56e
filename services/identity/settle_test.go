package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
)

// who says who belongs, and who of them is suspended.
func who(m *services.Membership) []string {
	mark := func(s services.State) string {
		if s == services.StateQuarantined {
			return "?"
		}
		return ""
	}
	var out []string
	for _, p := range m.People {
		out = append(out, fmt.Sprintf("%s %s%s", p.Name, p.Role, mark(p.State)))
	}
	for _, d := range m.Devices {
		out = append(out, fmt.Sprintf("%s at %d%s", d.Name, hostOf(d.Addr4), mark(d.State)))
	}
	for _, b := range m.Boxes {
		out = append(out, fmt.Sprintf("box at %d%s", hostOf(b.Addr4), mark(b.State)))
	}
	if m.ReadOnly {
		out = append(out, "frozen")
	}
	return out
}

const dan services.PersonID = "dandandandandand"

// settled begins with the owners Ann and Ben, the admin Cat with a phone, and three boxes.
func settled(t testing.TB) (d *dag, a, b, c record.Author, base *record.Record) {
	d = newDAG(t, 3)
	a, b, c = d.boxes[0], d.boxes[1], d.boxes[2]
	d.add(a, person(ann, services.RoleOwner), d.last())
	d.add(a, person(ben, services.RoleOwner), d.last())
	d.add(a, person(cat, services.RoleAdmin), d.last())
	return d, a, b, c, d.add(a, device(phone, cat, 2), d.last())
}

func (d *dag) epoch(number uint64, parents ...*record.Record) *record.Record {
	return d.add(d.root, record.Epoch{Number: number, Root: d.root.Key}, parents...)
}

// Boxes at hosts 1, 254 and 253 (A, B and C), apart from one another.
func TestQuarrels(t *testing.T) {
	all := []string{"ann owner", "ben owner", "cat admin", "Phone at 2", "box at 1", "box at 254", "box at 253"}
	for name, c := range map[string]struct {
		do   func(d *dag, a, b, c record.Author, base *record.Record)
		want []string
	}{
		"two remove one another: both are suspended": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				d.addFor(ann, "", a, record.RemovePerson{Person: ben}, base)
				d.addFor(ben, "", b, record.RemovePerson{Person: ann}, base)
			},
			[]string{"ann owner?", "ben owner?", "cat admin", "Phone at 2", "box at 1", "box at 254", "box at 253", "frozen"},
		},
		"three in a circle": {
			func(d *dag, a, b, c record.Author, base *record.Record) {
				d.addFor(ann, "", a, record.RemovePerson{Person: ben}, base)
				d.addFor(ben, "", b, record.RemovePerson{Person: cat}, base)
				d.addFor(cat, "", c, record.RemovePerson{Person: ann}, base)
			},
			[]string{"ann owner?", "ben owner?", "cat admin?", "Phone at 2", "box at 1", "box at 254", "box at 253", "frozen"},
		},
		"a chain is no circle: who was removed removed nobody": {
			func(d *dag, a, b, c record.Author, base *record.Record) {
				d.addFor(ann, "", a, record.RemovePerson{Person: ben}, base)
				d.addFor(ben, "", b, record.RemovePerson{Person: cat}, base)
				d.addFor(cat, "", c, person(dan, services.RoleGuest), base)
			},
			[]string{"ann owner", "cat admin", "dan guest", "Phone at 2", "box at 1", "box at 254", "box at 253"},
		},
		"a third who removes one of the two settles it": {
			func(d *dag, a, b, c record.Author, base *record.Record) {
				d.addFor(ann, "", a, record.RemovePerson{Person: ben}, base)
				d.addFor(ben, "", b, record.RemovePerson{Person: ann}, base)
				d.addFor(cat, "", c, record.RemovePerson{Person: ben}, base)
			},
			[]string{"ann owner", "cat admin", "Phone at 2", "box at 1", "box at 254", "box at 253"},
		},
		"what a suspended one did is void, too": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				d.addFor(ann, "", a, record.RemovePerson{Person: ben}, base)
				one := d.addFor(ben, "", b, person(dan, services.RoleOwner), base)
				d.addFor(ben, "", b, record.RemovePerson{Person: ann}, one)
			},
			[]string{"ann owner?", "ben owner?", "cat admin", "Phone at 2", "box at 1", "box at 254", "box at 253", "frozen"},
		},
		"a thief has a puppet remove who removed the thief": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				d.addFor(ben, "", a, record.RemovePerson{Person: ann}, base)
				one := d.addFor(ann, "", b, person(dan, services.RoleOwner), base)
				two := d.addFor(dan, "", b, device("aphoneaphoneapho", dan, 3), one)
				d.addFor(dan, "aphoneaphoneapho", b, record.RemovePerson{Person: ben}, two)
			},
			[]string{"ann owner?", "ben owner?", "cat admin", "Phone at 2", "box at 1", "box at 254", "box at 253", "frozen"},
		},
		"a removed box has a box of its own remove who removed it": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{55}, 32))
				box := record.Box(services.PeerID(key.Public().(ed25519.PublicKey)))
				d.keys[box] = key
				d.addFor(ann, "", a, record.RemoveBox{Box: b.Key}, base)
				one := d.add(b, record.AddBox{Box: box.Key, Name: "D", Label: "d", Host: 9}, base)
				d.add(box, record.RemoveBox{Box: a.Key}, one)
			},
			[]string{"ann owner", "ben owner", "cat admin", "Phone at 2", "box at 1?", "box at 254?", "box at 253", "frozen"},
		},
		"a stolen phone and its owner": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				d.addFor(ann, "", a, record.RemoveDevice{Device: phone}, base)
				d.addFor(cat, phone, b, person(dan, services.RoleAdmin), base)
			},
			[]string{"ann owner", "ben owner", "cat admin", "box at 1", "box at 254", "box at 253"},
		},
		"a removed box backdates an addition": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				d.addFor(ann, "", a, record.RemoveBox{Box: b.Key}, base)
				d.addFor(ben, "", b, person(dan, services.RoleOwner), base)
			},
			[]string{"ann owner", "ben owner", "cat admin", "Phone at 2", "box at 1", "box at 253"},
		},
		"what a box did before it was removed stays": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				one := d.addFor(ben, "", b, person(dan, services.RoleGuest), base)
				d.addFor(ann, "", a, record.RemoveBox{Box: b.Key}, one)
			},
			[]string{"ann owner", "ben owner", "cat admin", "dan guest", "Phone at 2", "box at 1", "box at 253"},
		},
		"a removed box does not come back": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				one := d.add(a, record.RemoveBox{Box: b.Key}, base)
				d.add(a, record.AddBox{Box: b.Key, Name: "B", Label: "b", Host: 9}, one)
			},
			[]string{"ann owner", "ben owner", "cat admin", "Phone at 2", "box at 1", "box at 253"},
		},
		"two boxes remove one another": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				d.add(a, record.RemoveBox{Box: b.Key}, base)
				d.add(b, record.RemoveBox{Box: a.Key}, base)
			},
			[]string{"ann owner", "ben owner", "cat admin", "Phone at 2", "box at 1?", "box at 254?", "box at 253", "frozen"},
		},
		"a key in two places": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				d.addFor(ben, "", b, person(dan, services.RoleOwner), base)
				d.seq[b]-- // the clone begins where the card was copied
				one := d.addFor(ben, "", b, record.RemoveDevice{Device: phone}, base)
				d.addFor(ben, "", b, record.SetRole{Person: cat, Role: services.RoleOwner}, one)
			},
			[]string{"ann owner", "ben owner", "cat admin", "Phone at 2?", "box at 1", "box at 254?", "box at 253", "frozen"},
		},
		"an epoch takes one side": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				right := d.addFor(ann, "", a, record.RemovePerson{Person: ben}, base)
				d.addFor(ben, "", b, record.RemovePerson{Person: ann}, base)
				d.epoch(1, right)
			},
			[]string{"ann owner", "cat admin", "Phone at 2", "box at 1", "box at 254", "box at 253"},
		},
		"an epoch that takes both sides settles nothing": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				one := d.addFor(ann, "", a, record.RemovePerson{Person: ben}, base)
				two := d.addFor(ben, "", b, record.RemovePerson{Person: ann}, base)
				d.epoch(1, one, two)
			},
			[]string{"ann owner?", "ben owner?", "cat admin", "Phone at 2", "box at 1", "box at 254", "box at 253", "frozen"},
		},
		"what comes late is void, whatever it says": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				d.epoch(1, base)
				one := d.add(a, record.RemovePerson{Person: ben}, base)
				d.add(a, person(dan, services.RoleOwner), one)
				d.add(b, record.RemoveBox{Box: a.Key}, base)
			},
			all,
		},
		"what knows of the epoch counts": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				left := d.add(b, person(dan, services.RoleOwner), base)
				e := d.epoch(1, base)
				d.add(b, record.SetRole{Person: cat, Role: services.RoleMember}, e, left)
			},
			[]string{"ann owner", "ben owner", "cat member", "Phone at 2", "box at 1", "box at 254", "box at 253"},
		},
		"what one epoch left out, the next does not bring back": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				left := d.add(b, person(dan, services.RoleOwner), base)
				d.epoch(2, d.epoch(1, base), left)
			},
			all,
		},
		"an epoch settles a key in two places": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				good := d.addFor(ben, "", b, person(dan, services.RoleGuest), base)
				d.seq[b]--
				d.addFor(ben, "", b, record.SetRole{Person: cat, Role: services.RoleOwner}, base)
				d.epoch(1, good)
			},
			[]string{"ann owner", "ben owner", "cat admin", "dan guest", "Phone at 2", "box at 1", "box at 254", "box at 253"},
		},
		"an epoch of a box is none": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				d.add(b, record.RemovePerson{Person: cat}, base)
				d.add(a, record.Epoch{Number: 1, Root: d.root.Key}, base)
			},
			[]string{"ann owner", "ben owner", "box at 1", "box at 254", "box at 253"},
		},
		"an epoch with a number left out is none": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				d.add(b, record.RemovePerson{Person: cat}, base)
				d.epoch(2, base)
			},
			[]string{"ann owner", "ben owner", "box at 1", "box at 254", "box at 253"},
		},
		"a root that nobody announced": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				d.add(b, record.RemovePerson{Person: cat}, base)
				d.add(d.root, record.Epoch{Number: 1, Root: b.Key}, base)
			},
			[]string{"ann owner", "ben owner", "box at 1", "box at 254", "box at 253"},
		},
		"an admin removes the last owner, who removes them": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				one := d.add(a, record.SetRole{Person: ben, Role: services.RoleAdmin}, base)
				d.addFor(ben, "", b, record.RemovePerson{Person: ann}, one)
				d.addFor(ann, "", a, record.RemovePerson{Person: ben}, one)
			},
			[]string{"ann owner?", "ben admin?", "cat admin", "Phone at 2", "box at 1", "box at 254", "box at 253", "frozen"},
		},
		"a removal that would take the last owner attacks nothing": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				one := d.add(a, record.RemovePerson{Person: ben}, base)
				d.add(b, record.RemovePerson{Person: ann}, one)
				d.addFor(ann, "", a, person(dan, services.RoleGuest), one)
			},
			[]string{"ann owner", "cat admin", "dan guest", "Phone at 2", "box at 1", "box at 254", "box at 253"},
		},
		"one that would only since the other was demoted is disputed": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				one := d.add(a, record.SetRole{Person: ben, Role: services.RoleAdmin}, base)
				d.add(b, record.RemovePerson{Person: ann}, one)
			},
			[]string{"ann owner?", "ben admin", "cat admin", "Phone at 2", "box at 1", "box at 254", "box at 253", "frozen"},
		},
		"both owners are removed apart: both are suspended": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				d.addFor(cat, "", a, record.RemovePerson{Person: ben}, base)
				d.addFor(cat, "", b, record.RemovePerson{Person: ann}, base)
			},
			[]string{"ann owner?", "ben owner?", "cat admin", "Phone at 2", "box at 1", "box at 254", "box at 253", "frozen"},
		},
		"an owner who was removed before stays out of that": {
			func(d *dag, a, b, _ record.Author, base *record.Record) {
				one := d.add(a, person(dan, services.RoleOwner), base)
				two := d.addFor(ann, "", a, record.RemovePerson{Person: dan}, one)
				d.addFor(cat, "", a, record.RemovePerson{Person: ben}, two)
				d.addFor(cat, "", b, record.RemovePerson{Person: ann}, two)
			},
			[]string{"ann owner?", "ben owner?", "cat admin", "Phone at 2", "box at 1", "box at 254", "box at 253", "frozen"},
		},
		"all boxes leave apart from one another": {
			func(d *dag, a, b, c record.Author, base *record.Record) {
				for _, box := range []record.Author{a, b, c} {
					d.add(box, record.RemoveBox{Box: box.Key}, base)
				}
			},
			[]string{"ann owner", "ben owner", "cat admin", "Phone at 2", "box at 1?", "box at 254?", "box at 253?", "frozen"},
		},
		"one that two removed boxes took in apart acts no more than they": {
			func(d *dag, a, b, c record.Author, base *record.Record) {
				d.addFor(ann, "", a, record.RemoveBox{Box: b.Key}, base)
				d.addFor(ann, "", a, record.RemoveBox{Box: c.Key}, base, d.last())
				one := d.add(b, person(dan, services.RoleAdmin), base)
				two := d.add(c, person(dan, services.RoleAdmin), base)
				d.addFor(dan, "", b, record.RemovePerson{Person: ben}, one, two)
			},
			[]string{"ann owner", "ben owner", "cat admin", "Phone at 2", "box at 1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, a, b, third, base := settled(t)
			c.do(d, a, b, third, base)
			if diff := cmp.Diff(c.want, who(d.fold())); diff != "" {
				t.Errorf("household (-want +got):\n%s", diff)
			}
		})
	}
}

// luck makes a household many times, so that one record or another has the smaller ID.
func luck(t *testing.T, want []string, do func(d *dag, a, b, c record.Author, base *record.Record)) {
	t.Helper()
	for i := range 16 {
		d, a, b, c, base := settled(t)
		base = d.add(a, record.RenamePerson{Person: cat, Name: fmt.Sprint("cat", i)}, base)
		do(d, a, b, c, base)
		got := who(d.fold())
		for k := range got {
			got[k] = strings.Replace(got[k], fmt.Sprint("cat", i), "cat", 1)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("household %d (-want +got):\n%s", i, diff)
		}
	}
}

// Spin found that a removal for somebody whom it had not seen come had its effect where its ID was lucky.
func TestRemovalForAStranger(t *testing.T) {
	luck(t, []string{"ann owner", "ben owner", "cat admin", "dan admin", "Phone at 2", "box at 1", "box at 254", "box at 253"},
		func(d *dag, a, b, _ record.Author, base *record.Record) {
			d.addFor(ann, "", a, person(dan, services.RoleAdmin), base)
			d.addFor(dan, "", b, record.RemovePerson{Person: ben}, base)
		})
}

// A removal that may have no effect takes none from another: one of the last owner would void the addition of Kim, who
// removes Eve, who backdates an addition.
func TestRemovalInVain(t *testing.T) {
	const kim, eve services.PersonID = "kimkimkimkimkimk", "evaevaevaevaevae"
	luck(t, []string{"ann owner", "cat admin", "kim admin", "Phone at 2", "box at 1", "box at 254", "box at 253"},
		func(d *dag, a, b, c record.Author, base *record.Record) {
			base = d.add(a, record.RemovePerson{Person: ben}, base)
			base = d.add(a, person(eve, services.RoleAdmin), base)
			d.addFor(cat, "", c, record.RemovePerson{Person: ann}, base)
			one := d.addFor(ann, "", a, person(kim, services.RoleAdmin), base)
			d.addFor(kim, "", a, record.RemovePerson{Person: eve}, one)
			d.addFor(eve, "", b, person(dan, services.RoleGuest), base)
		})
}

// A removal beside a demotion wins: Cat removes Ann while Dan, who does not know it, demotes Ben, the only other owner.
func TestRemovalBesideDemotion(t *testing.T) {
	luck(t, []string{"ben owner", "cat admin", "dan admin", "Phone at 2", "box at 1", "box at 254", "box at 253"},
		func(d *dag, a, b, _ record.Author, base *record.Record) {
			base = d.add(a, person(dan, services.RoleAdmin), base)
			d.addFor(cat, "", a, record.RemovePerson{Person: ann}, base)
			d.addFor(dan, "", b, record.SetRole{Person: ben, Role: services.RoleAdmin}, base)
		})
}

// Ann removes Cat, who demotes Ben without knowing it, and the box C removes Ann, which would be in vain if Ben were no
// owner.
func TestRemovedDoesNotDecideWhoOwns(t *testing.T) {
	luck(t, []string{"ben owner", "cat admin", "Phone at 2", "box at 1", "box at 254", "box at 253"},
		func(d *dag, a, b, c record.Author, base *record.Record) {
			d.addFor(ann, "", a, record.RemovePerson{Person: cat}, base)
			d.addFor(cat, "", b, record.SetRole{Person: ben, Role: services.RoleAdmin}, base)
			d.add(c, record.RemovePerson{Person: ann}, base)
		})
}

// A device that lost its address to another was its person's all the same: whom it removed is out.
func TestRemovalByWhoLostTheirAddress(t *testing.T) {
	luck(t, []string{"ann owner", "cat admin", "Phone at 2", "Tablet at 3", "box at 1", "box at 254", "box at 253"},
		func(d *dag, a, b, _ record.Author, base *record.Record) {
			mine, theirs := device("aphoneaphoneapho", ann, 3), device("otherotherothero", cat, 3)
			mine.Name, theirs.Name, theirs.Key = "Tablet", "Tablet", services.ClientKey{1}
			one := d.add(a, mine, base)
			d.add(b, theirs, base)
			d.addFor(ann, mine.Device, a, record.RemovePerson{Person: ben}, one)
		})
}

// The root gives way to the one it announced, and to no other.
func TestRootRotation(t *testing.T) {
	d, a, _, _, base := settled(t)
	next := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{101}, 32))
	root := record.Root(next.Public().(ed25519.PublicKey))
	d.keys[root] = next
	e1 := d.add(d.root, record.Epoch{Number: 1, Root: d.root.Key, NextRoot: sha256.Sum256(root.Key[:])}, base)
	e2 := d.add(d.root, record.Epoch{Number: 2, Root: root.Key}, e1)
	d.add(d.root, record.Epoch{Number: 3, Root: d.root.Key}, e2) // the old one, which is over
	e3 := d.add(root, record.Epoch{Number: 3, Root: root.Key}, e2)
	d.add(a, person(dan, services.RoleGuest), e3)
	m := d.fold()
	if !bytes.Equal(m.Household.Root, root.Key[:]) || len(m.People) != 4 {
		t.Errorf("root %x, %v", m.Household.Root, who(m))
	}
}

// history draws what boxes do apart from one another; none of it is an epoch of the root.
func history(rt *rapid.T, d *dag, tips []*record.Record, length int) {
	people := []services.PersonID{ann, ben, cat, dan}
	devices := []services.DeviceID{phone, "aphoneaphoneapho"}
	for range length {
		i := rapid.IntRange(0, 2).Draw(rt, "box")
		parents := []*record.Record{tips[i]}
		if j := rapid.IntRange(0, 2).Draw(rt, "heard of"); tips[j] != tips[i] {
			parents = append(parents, tips[j])
		}
		p := rapid.SampledFrom(people).Draw(rt, "person")
		by, via := rapid.SampledFrom(people).Draw(rt, "by"), services.DeviceID("")
		if by == cat && rapid.Bool().Draw(rt, "by phone") {
			via = phone
		}
		payload := rapid.SampledFrom([]record.Payload{
			person(p, services.RoleAdmin), record.RemovePerson{Person: p}, record.RemovePerson{Person: p},
			record.RemoveDevice{Device: rapid.SampledFrom(devices).Draw(rt, "device")}, device("aphoneaphoneapho", p, 3),
			record.SetRole{Person: p, Role: services.RoleOwner}, record.RemoveBox{Box: d.boxes[rapid.IntRange(1, 2).Draw(rt, "which box")].Key},
			choice(p, rapid.Uint32Range(1, 2).Draw(rt, "choice"), rapid.SampledFrom([]services.Then{services.ThenExport, services.ThenErase, services.ThenNow}).Draw(rt, "then")),
		}).Draw(rt, "what")
		if rapid.IntRange(0, 3).Draw(rt, "speak") == 0 {
			if v := saying(d); len(v) > 0 {
				payload, parents, by, via = rapid.SampledFrom(v).Draw(rt, "voice"), nil, cat, ""
				for k, tip := range tips {
					if slices.Index(tips, tip) == k {
						parents = append(parents, tip)
					}
				}
			}
		}
		tips[i] = d.addFor(by, via, d.boxes[i], payload, parents...)
	}
}

// saying is what boxes might say of what is disputed now: what another said, or something else.
func saying(d *dag) (out []record.Payload) {
	_, v, err := settle(d.self(), order(d.records[0].ID(), d.records))
	if err != nil {
		return nil
	}
	for _, r := range v.open {
		out = append(out, record.Epoch{Number: 1, Root: d.root.Key, Void: []record.ID{r.ID()}})
	}
	for _, r := range v.voices {
		out = append(out, r.Payload, r.Payload, r.Payload)
	}
	return out
}

// pastOf is the records in r's past.
func pastOf(d *dag, r *record.Record) map[record.ID]bool {
	byID := map[record.ID]*record.Record{}
	for _, r := range d.records {
		byID[r.ID()] = r
	}
	out := map[record.ID]bool{}
	var walk func(r *record.Record)
	walk = func(r *record.Record) {
		for _, p := range r.Parents {
			if !out[p] {
				out[p] = true
				walk(byID[p])
			}
		}
	}
	walk(r)
	return out
}

// Where a removal stands, its subject is gone, and what the subject did without the removal having seen it counts for
// nothing: without that, and what was built on it, the household is the same.
func TestRemovedKeysDoNotAct(t *testing.T) {
	compared := 0
	rapid.Check(t, func(rt *rapid.T) {
		d, _, _, _, base := settled(t)
		tips := []*record.Record{base, base, base}
		if rapid.Bool().Draw(rt, "a quarrel") {
			tips[0], tips[1] = d.quarrel(d.boxes[0], d.boxes[1], base)
		}
		history(rt, d, tips, rapid.IntRange(1, 12).Draw(rt, "length"))
		m := d.fold()
		taken := order(d.records[0].ID(), d.records)
		_, v, err := settle(d.self(), taken)
		if err != nil {
			rt.Fatal(err)
		}
		owner := slices.ContainsFunc(m.People, func(p services.Person) bool { return p.Role == services.RoleOwner })
		if !owner && !m.Frozen {
			rt.Fatalf("no owner is left: %v", who(m))
		}
		for _, removal := range v.stand {
			if belongs(m, removal) {
				rt.Fatalf("the subject of a removal that stands belongs: %v", who(m))
			}
			before := pastOf(d, removal)
			dropped := map[record.ID]bool{}
			set := slices.DeleteFunc(slices.Clone(taken), func(r *record.Record) bool {
				drop := r != removal && (slices.Contains(makers(r), removes(removal)) || adds(r) == removes(removal)) && !before[r.ID()]
				dropped[r.ID()] = drop
				return drop
			})
			builtOn := slices.ContainsFunc(set, func(r *record.Record) bool {
				return slices.ContainsFunc(r.Parents, func(p record.ID) bool { return dropped[p] })
			})
			if len(set) == len(taken) || builtOn {
				continue // what was built on it would go with it
			}
			compared++
			h, err := fold(d.self(), d.records[0].ID(), set)
			if err != nil {
				rt.Fatal(err)
			}
			got := h.membership()
			got.Revision = m.Revision
			if diff := diffMemberships(m, got); diff != "" {
				rt.Fatalf("what the removed did counts (-with +without):\n%s", diff)
			}
		}
	})
	if compared == 0 {
		t.Error("no history had anything to compare")
	}
}

// belongs says whether the removal's subject does.
func belongs(m *services.Membership, removal *record.Record) bool {
	switch p := removal.Payload.(type) {
	case record.RemovePerson:
		_, ok := m.Person(p.Person)
		return ok
	case record.RemoveDevice:
		_, ok := m.Device(p.Device)
		return ok
	case record.RemoveBox:
		return slices.ContainsFunc(m.Boxes, func(b services.Box) bool { return b.ID == p.Box })
	}
	return true
}

// Once an epoch was made, nothing that does not know of it changes anything.
func TestEpochIsFinal(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d, _, _, _, base := settled(t)
		tips := []*record.Record{base, base, base}
		history(rt, d, tips, rapid.IntRange(0, 8).Draw(rt, "before"))
		late := slices.Clone(tips)
		taken := tips[rapid.IntRange(0, 2).Draw(rt, "taken")]
		known := pastOf(d, taken)
		h, err := fold(d.self(), d.records[0].ID(), slices.DeleteFunc(slices.Clone(d.records), func(r *record.Record) bool { return r != taken && !known[r.ID()] }))
		if err != nil {
			rt.Fatal(err)
		}
		e := d.epoch(h.epoch.Number+1, taken) // boxes may have settled something before
		tips = []*record.Record{e, e, e}
		// Boxes go on from the epoch and their own newest record.
		for i := range tips {
			if late[i] != taken && !pastOf(d, e)[late[i].ID()] {
				tips[i] = d.add(d.boxes[i], record.RenamePerson{Person: ann, Name: "Ann"}, e, late[i])
			}
		}
		history(rt, d, tips, rapid.IntRange(0, 4).Draw(rt, "after"))
		want := d.fold()
		before := len(d.records)
		// Those that never heard of it write on: a copy of each box's key, from its newest record then.
		for i := range late {
			d.seq[d.boxes[i]] = 0
			for _, r := range d.records {
				if r.Author == d.boxes[i] && (r == late[i] || pastOf(d, late[i])[r.ID()]) {
					d.seq[d.boxes[i]] = max(d.seq[d.boxes[i]], r.Sequence)
				}
			}
		}
		history(rt, d, late, rapid.IntRange(1, 6).Draw(rt, "late"))
		got := d.fold()
		if got.Revision != want.Revision+uint64(len(d.records)-before) {
			rt.Error("the late records were not counted")
		}
		got.Revision = want.Revision
		if diff := diffMemberships(want, got); diff != "" {
			rt.Fatalf("late records change something (-before +after):\n%s", diff)
		}
	})
}

// A removal behind the damage of a log keeps its effect, a box's too: a damaged disk brings nobody back in.
func TestRemovedBoxBehindTheDamage(t *testing.T) {
	d, _, b, _, _ := settled(t)
	h, err := fold(d.self(), d.records[0].ID(), d.records)
	if err != nil {
		t.Fatal(err)
	}
	h.removeToo(&record.Record{Payload: record.RemoveBox{Box: b.Key}})
	want := []string{"ann owner", "ben owner", "cat admin", "Phone at 2", "box at 1", "box at 253"}
	if diff := cmp.Diff(want, who(h.membership())); diff != "" {
		t.Errorf("household (-want +got):\n%s", diff)
	}
}
