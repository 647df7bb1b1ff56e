package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
)

// Once the household has new words, nothing that the former words and the key of a stolen box can still sign counts, each
// for itself, however many epochs they make and whatever they know by then.
func TestFormerRootsAreOver(t *testing.T) {
	var d *dag
	root := func(seed byte) record.Author {
		key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32))
		a := record.Root(key.Public().(ed25519.PublicKey))
		if d != nil {
			d.keys[a] = key
		}
		return a
	}
	hash := func(a record.Author) [32]byte { return sha256.Sum256(a.Key[:]) }
	// many has a make n epochs that say the same, from the number on, and returns the last.
	many := func(a record.Author, n int, number, sequence uint64, e record.Epoch, from *record.Record) *record.Record {
		for i := range n {
			e.Number = number + uint64(i)
			from = d.seal(record.Record{Author: a, Sequence: sequence + uint64(i), Payload: e}, from)
		}
		return from
	}
	between, fresh, after, thief, other := root(101), root(102), root(103), root(104), root(105)
	for name, attack := range map[string]func(before, first *record.Record){
		"100 epochs that know nothing": func(before, _ *record.Record) {
			many(d.root, 100, 1, 6, record.Epoch{Root: d.root.Key, NextRoot: hash(between)}, before)
		},
		"they announce a key of their own, and go on from root to root": func(before, _ *record.Record) {
			e := many(d.root, 1, 1, 6, record.Epoch{Root: d.root.Key, NextRoot: hash(thief)}, before)
			e = many(d.root, 1, 2, 7, record.Epoch{Root: thief.Key, NextRoot: hash(other)}, e)
			e = many(thief, 1, 3, 1, record.Epoch{Root: other.Key, NextRoot: hash(thief)}, e)
			e = many(other, 1, 4, 1, record.Epoch{Root: thief.Key, NextRoot: hash(thief)}, e)
			many(thief, 1, 5, 2, record.Epoch{Root: thief.Key, NextRoot: hash(thief)}, e)
		},
		"after 100 epochs they name the go-between, which all know by now": func(before, _ *record.Record) {
			e := many(d.root, 100, 1, 6, record.Epoch{Root: d.root.Key, NextRoot: hash(between)}, before)
			many(d.root, 1, 101, 106, record.Epoch{Root: between.Key, NextRoot: hash(thief)}, e)
		},
		"the go-between's key, from a stolen box, names the new root": func(_, first *record.Record) {
			e := many(between, 100, 2, 1, record.Epoch{Root: between.Key, NextRoot: hash(fresh)}, first)
			many(between, 1, 102, 101, record.Epoch{Root: fresh.Key, NextRoot: hash(thief)}, e)
		},
		"that key has the household's go on": func(_, first *record.Record) {
			e := many(between, 1, 2, 1, record.Epoch{Root: fresh.Key, NextRoot: hash(after)}, first)
			many(between, 100, 3, 2, record.Epoch{Root: fresh.Key, NextRoot: hash(after)}, e)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d = announcedDAG(t, 3, hash(between))
			root(101)
			root(102)
			root(104)
			root(105)
			d.seq[d.root] = 4
			d.add(d.boxes[0], person(ann, services.RoleOwner), d.last())
			before := d.add(d.boxes[0], person(ben, services.RoleMember), d.last())
			known := d.add(d.boxes[1], person(cat, services.RoleMember), before)
			first := d.add(d.root, record.Epoch{Number: 1, Root: between.Key, NextRoot: hash(fresh)}, known)
			e := d.add(between, record.Epoch{Number: 2, Root: fresh.Key, NextRoot: hash(after)}, first)
			e = d.add(fresh, record.Epoch{Number: 3, Root: fresh.Key, NextRoot: hash(after)}, e)
			d.add(d.boxes[2], person(dan, services.RoleMember), e)
			attack(before, first)
			m := d.fold()
			if !bytes.Equal(m.Household.Root, fresh.Key[:]) || len(m.People) != 4 {
				t.Errorf("root %x, %v", m.Household.Root, who(m))
			}
			h, err := fold(d.self(), d.records[0].ID(), d.records)
			if err != nil || h.epoch.NextRoot != hash(after) {
				t.Errorf("it announces %x, %v", h.epoch.NextRoot, err)
			}
		})
	}
}
