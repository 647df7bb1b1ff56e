package identity

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/exchange"
	"hearth.alt/services/identity/internal/record"
)

// puppet makes a key that a thief made up.
func (d *dag) puppet(name string) record.Author {
	seed := sha256.Sum256([]byte(name))
	key := ed25519.NewKeyFromSeed(seed[:])
	box := record.Box(services.PeerID(key.Public().(ed25519.PublicKey)))
	d.keys[box] = key
	return box
}

// puppets has a box take in n made-up ones after the last record.
func (d *dag) puppets(by record.Author, n int) (out []record.Author) {
	for i := range n {
		p := d.puppet(fmt.Sprintf("%x %d %d", by.Key, d.seq[by], i))
		d.add(by, record.AddBox{Box: p.Key, Name: "Box", Label: "box", Host: uint8(200 - len(d.records)%100)}, d.last())
		out = append(out, p)
	}
	return out
}

// The bound on boxes is a rule of the log, and not only of the box that asks: a stolen key would else take in as many as it
// likes. What was removed, or never counted, takes no place.
func TestNoMoreBoxes(t *testing.T) {
	d := newDAG(t, 2)
	a, thief := d.boxes[0], d.boxes[1]
	d.add(a, person(ann, services.RoleOwner), d.last())
	s, err := New(Config{Dir: filepath.Dir(d.file()), Keys: onlyID{id: d.self()}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	before := len(d.records)
	puppets := d.puppets(thief, 40)
	c, err := s.Connect(services.PeerID{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range d.records[before:] {
		if err := c.receive(t.Context(), exchange.Frame{Records: [][]byte{r.Bytes()}}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.Membership().Boxes); n != maxBoxes {
		t.Errorf("a stolen key made the household one of %d boxes", n)
	}
	m := d.fold()
	if len(m.Boxes) != maxBoxes {
		t.Errorf("from the log they are %d", len(m.Boxes))
	}
	belongs := func(p record.Author) bool {
		for _, b := range d.fold().Boxes {
			if b.ID == p.Key {
				return true
			}
		}
		return false
	}
	// One who had no place gets one, by another record, once there is.
	late := puppets[30]
	d.add(puppets[31], record.AddPerson{Person: ben, Name: "Ben", Role: services.RoleOwner}, d.last())
	d.add(a, record.RemoveBox{Box: puppets[0].Key}, d.last())
	if belongs(late) || len(d.fold().People) != 1 {
		t.Error("a box that was never taken in belongs, or adds somebody")
	}
	d.add(a, record.AddBox{Box: late.Key, Name: "Late", Label: "late", Host: 77}, d.last())
	if !belongs(late) || len(d.fold().Boxes) != maxBoxes {
		t.Errorf("there is room again: %d boxes", len(d.fold().Boxes))
	}
}

// Boxes that a removal makes void take no place from those of the household.
func TestVoidBoxesTakeNoPlace(t *testing.T) {
	d := newDAG(t, 2)
	a, thief := d.boxes[0], d.boxes[1]
	base := d.add(a, person(ann, services.RoleOwner), d.last())
	d.puppets(thief, 30) // apart from the rest
	removal := d.add(a, record.RemoveBox{Box: thief.Key}, base)
	honest := d.puppet("honest")
	d.add(a, record.AddBox{Box: honest.Key, Name: "Attic", Label: "attic", Host: 77}, removal)
	if m := d.fold(); len(m.Boxes) != 2 || m.Frozen {
		t.Errorf("%d boxes: %v", len(m.Boxes), who(m))
	}
}
