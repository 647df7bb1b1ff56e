package identity

import (
	"path/filepath"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/exchange"
	"hearth.alt/services/identity/internal/record"
)

// A box that writes without end is read slowly.
func TestFlood(t *testing.T) {
	var f flood
	author, now := services.PeerID{1}, time.Now()
	const cost = 64 * 4200
	frames := 0
	for f.spend(author, cost, now) == 0 {
		if frames++; frames > 1000 {
			t.Fatal("it may write for ever")
		}
	}
	if wrote := frames * cost; wrote < 7<<20 || wrote > floodBurst {
		t.Errorf("it wrote %d bytes at once", wrote)
	}
	pause := f.spend(author, 0, now)
	if pause <= 0 {
		t.Error("it is not slowed down")
	}
	if again := f.spend(author, 0, now.Add(pause)); again > time.Second {
		t.Errorf("%s later it waits for %s more", pause, again)
	}
}

// What a box passes on for others is not counted, but what the boxes wrote that it took in is: they may be keys that it
// made up. A removal counts for more than its bytes.
func TestFloodOfPuppets(t *testing.T) {
	d := newDAG(t, 3)
	a, b, puppet := d.boxes[0], d.boxes[1], d.boxes[2]
	d.records, d.seq = d.records[:3], map[record.Author]uint64{d.root: 3}
	d.add(a, person(ann, services.RoleOwner), d.last())
	d.add(b, record.AddBox{Box: puppet.Key, Name: "Puppet", Label: "puppet", Host: 9}, d.last())
	wrote := d.add(puppet, record.RenamePerson{Person: ann, Name: "Anna"}, d.last())
	removal := d.add(puppet, record.RemovePerson{Person: ann}, wrote)
	s, err := New(Config{Dir: filepath.Dir(d.file()), Keys: onlyID{id: d.self()}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	cost := func(peer record.Author, r *record.Record) int {
		n, err := s.cost(t.Context(), peer.Key, exchange.Frame{Records: [][]byte{r.Bytes()}})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := cost(a, wrote); n != 0 {
		t.Errorf("who passes it on is charged %d bytes", n)
	}
	for _, peer := range []record.Author{b, puppet} {
		if n, more := cost(peer, wrote), cost(peer, removal); n < floodRecord+floodFrame || more < n+floodRemoval/2 {
			t.Errorf("%d bytes for a record of %d, %d for a removal", n, len(wrote.Bytes()), more)
		}
	}
}
