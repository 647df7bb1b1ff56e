package identity

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"io"
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/exchange"
	"hearth.alt/services/identity/internal/logfile"
	"hearth.alt/services/identity/internal/record"
)

// worded is the owner Ann's household of two boxes, the second of which was taken in by the first, and the words of it.
func worded(t *testing.T) (d *dag, words []string) {
	entropy := [EntropySize]byte{1, 2, 3}
	for _, w := range WordsFromEntropy(entropy) {
		words = append(words, w.Reveal())
	}
	d = newDAG(t, 2)
	root := RootFromEntropy(entropy)
	d.root = record.Root(root.Public().(ed25519.PublicKey))
	d.keys[d.root] = root
	d.records, d.seq = nil, map[record.Author]uint64{}
	g := d.add(d.root, record.Genesis{Name: "Smith", Label: "smith", Net4: netip.MustParsePrefix("10.77.5.0/24"), Net6: netip.MustParsePrefix("fd5a:1:2::/48")})
	d.add(d.root, record.AddBox{Box: d.boxes[0].Key, Name: "Hearth", Label: "hearth", Host: 1}, g)
	d.add(d.boxes[0], person(ann, services.RoleOwner), d.last())
	d.add(d.boxes[0], record.AddBox{Box: d.boxes[1].Key, Name: "Attic", Label: "attic", Host: 9}, d.last())
	return d, words
}

func (d *dag) service() *Service {
	d.t.Helper()
	s, err := New(Config{Dir: filepath.Dir(d.file()), Keys: boxKeys{onlyID{id: d.self()}, d.keys[d.boxes[0]]}, Now: time.Now})
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

// writes sends frames over one stream after another, as peer, as fast as s reads them, until ctx ends. Every second day it
// begins anew.
func writes(ctx context.Context, s *Service, peer services.PeerID, next func() exchange.Frame) {
	var sent [][]byte // the last two may not have come in
	for ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(ctx, 48*time.Hour)
		ours, its := net.Pipe()
		stop := context.AfterFunc(ctx, func() { ours.Close(); its.Close() })
		go s.ServeLog(ctx, peer, ours)
		go io.Copy(io.Discard, its)
		for i := 0; ; i++ {
			if i == len(sent) {
				sent = append(sent, next().Append(nil))
			}
			if _, err := its.Write(sent[i]); err != nil {
				break
			}
		}
		sent = sent[max(0, len(sent)-2):]
		cancel()
		stop()
		its.Close()
	}
}

// A stolen key writes as much as it is let, itself and by all boxes that it may take in, for weeks, over ever new streams.
// The log keeps room, and a box that wrote little is heard meanwhile: it puts an end to it.
func TestStolenKeyFillsNoLog(t *testing.T) {
	d, _ := worded(t)
	a, thief := d.boxes[0], d.boxes[1]
	third := d.puppet("third")
	d.add(a, record.AddBox{Box: third.Key, Name: "Cellar", Label: "cellar", Host: 10}, d.last())
	base := d.last()
	s := d.service()
	before := len(d.records)
	authors := append([]record.Author{thief}, d.puppets(thief, maxBoxes-3)...)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*24*time.Hour)
		defer cancel()
		c, err := s.Connect(services.PeerID{})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range d.records[before:] {
			if err := c.receive(ctx, exchange.Frame{Records: [][]byte{r.Bytes()}}); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
		turn := make(chan struct{}, 1) // the dag has one writer
		last := map[record.Author]*record.Record{}
		junk := make([]byte, record.MaxPayload)
		for _, p := range authors {
			last[p] = d.last()
			go writes(ctx, s, p.Key, func() (f exchange.Frame) {
				turn <- struct{}{}
				defer func() { <-turn }()
				for range 60 {
					last[p] = d.add(p, record.Unknown{Code: 200, Bytes: junk}, last[p])
					f.Records = append(f.Records, last[p].Bytes())
				}
				return f
			})
		}
		time.Sleep(20 * 24 * time.Hour)
		synctest.Wait()
		size := s.log.Size()
		t.Logf("after 20 days the log has %d KiB", size>>10)
		if size > 36<<20 {
			t.Errorf("a stolen key made the log %d bytes long, of %d", size, logfile.MaxSize)
		}
		turn <- struct{}{}
		quiet := d.add(third, record.RenamePerson{Person: ann, Name: "Anna"}, base)
		removal := d.add(third, record.RemoveBox{Box: thief.Key}, quiet)
		<-turn
		ours, its := net.Pipe()
		go s.ServeLog(ctx, third.Key, ours)
		go io.Copy(io.Discard, its)
		for _, r := range []*record.Record{quiet, removal} {
			if _, err := its.Write(exchange.Frame{Records: [][]byte{r.Bytes()}}.Append(nil)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if _, gone := s.state.gone[thief.Key]; !gone {
			t.Error("a box that wrote little is not heard")
		}
		cancel()
		its.Close()
		synctest.Wait()
	})
	if m := s.Membership(); m.ReadOnly || len(m.Boxes) != 2 {
		t.Errorf("%d boxes are left, read-only %v", len(m.Boxes), m.ReadOnly)
	}
}

// What keeps the log from filling up, in numbers.
func TestFloodLimits(t *testing.T) {
	for name, c := range map[string]struct {
		depth       int
		size        int64
		burst, rate float64
	}{
		"the first box":                      {0, 1 << 20, 8 << 20, 100},
		"one that it took in":                {1, 16 << 20, 4 << 20, 50},
		"one that many took in":              {40, 0, 128 << 10, 100. / 64},
		"a log that no household comes to":   {0, 20 << 20, 2 << 20, 25},
		"a log that is flooded for a month":  {0, 32 << 20, 32 << 10, 100. / 256},
		"a log that is flooded for ten more": {1, 40 << 20, 1 << 10, 100. / 8192},
	} {
		if burst, rate := floodLimits(c.depth, c.size); burst != c.burst || rate != c.rate {
			t.Errorf("%s: %v at once, %v a second", name, burst, rate)
		}
	}
}

// What a box wrote counts for those, too, who took it in, however it came here; not for others, and not for who passes it on.
func TestFloodIsCounted(t *testing.T) {
	d := newDAG(t, 3)
	a, b, c := d.boxes[0], d.boxes[1], d.boxes[2]
	d.records, d.seq = d.records[:3], map[record.Author]uint64{d.root: 3}
	d.add(a, person(ann, services.RoleOwner), d.last())
	d.add(b, record.AddBox{Box: c.Key, Name: "Puppet", Label: "puppet", Host: 9}, d.last())
	d.add(c, record.AddBox{Box: a.Key, Name: "Mine", Label: "mine", Host: 8}, d.last()) // it does not become its parent by this
	s := d.service()
	rename := d.add(c, record.RenamePerson{Person: ann, Name: "Anna"}, d.last())
	removal := d.add(c, record.RemovePerson{Person: ann}, d.last())
	wrote := func(p record.Author) int { return int(math.Round(s.flood.spend(p.Key, 0, 0, time.Now())/16) * 16) } // some is forgotten meanwhile
	conn, err := s.Connect(services.PeerID{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{floodRecord + floodFrame, 2*(floodRecord+floodFrame) + floodRemoval} {
		r := []*record.Record{rename, removal}[i]
		for range 2 { // what is there already costs nothing
			if err := conn.receive(t.Context(), exchange.Frame{Records: [][]byte{r.Bytes()}}); err != nil {
				t.Fatal(err)
			}
		}
		if wrote(c) != want || wrote(b) != want || wrote(a) != 0 {
			t.Errorf("after %s: %v, %v and %v, want %v", r.Op(), wrote(c), wrote(b), wrote(a), want)
		}
	}
}

// Ordinary changes leave room in the log for removals and for what the words settle.
func TestLogKeepsAReserve(t *testing.T) {
	d, words := worded(t)
	thief := d.boxes[1]
	junk := make([]byte, record.MaxPayload)
	for size := 0; size < logfile.MaxSize-logReserve; size += len(d.last().Bytes()) {
		d.seq[thief]++ // so that it has no effect
		d.add(thief, record.Unknown{Code: 200, Bytes: junk}, d.last())
	}
	d.add(d.boxes[0], person(ben, services.RoleOwner), d.last())
	base := d.last()
	d.addFor(ann, "", d.boxes[0], record.RemovePerson{Person: ben}, base)
	d.addFor(ben, "", thief, record.RemovePerson{Person: ann}, base)
	s := d.service()
	if !s.Membership().Frozen {
		t.Fatal("nothing is disputed")
	}
	if err := s.Settle(t.Context(), Settlement{Words: words, Stay: []Subject{{Person: ann}}}); err != nil {
		t.Errorf("the words: %v", err)
	}
	var full *services.Problem
	if _, err := s.AddPerson(t.Context(), NewPerson{Name: "Cat", Role: services.RoleMember}); !errors.As(err, &full) || full.Code != "log-full" {
		t.Errorf("adding somebody: %v", err)
	}
	if err := s.RemoveBox(t.Context(), thief.Key); err != nil {
		t.Errorf("removing a box: %v", err)
	}
}

// The words settle what is beside one another more often than one frame of the log has room for.
func TestLongSettlement(t *testing.T) {
	d, words := worded(t)
	thief, base := d.boxes[1], d.last()
	for range 30_000 {
		d.seq[thief] = 0
		d.add(thief, record.SetLAN{Person: ann}, base)
	}
	s := d.service()
	if err := s.Settle(t.Context(), Settlement{Words: words}); err != nil {
		t.Fatal(err)
	}
	again, err := New(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Service{s, again} {
		if m := s.Membership(); m.Frozen || len(m.Boxes) != 1 {
			t.Errorf("%d boxes, frozen %v", len(m.Boxes), m.Frozen)
		}
	}
}

// A removed box that asks every half minute, as one does, is told now and then for ever. What was refused was counted, too,
// so that after the first it never was again.
func TestFloodOfFarewells(t *testing.T) {
	var f flood
	now, told := time.Now(), 0
	for range 24 * 60 * 2 {
		now = now.Add(30 * time.Second)
		if f.allow(services.PeerID{1}, farewellCost, farewellBurst, farewellRate, now) {
			told++
		}
	}
	if told < 60 || told > 68 {
		t.Errorf("told %d times in a day, not 32 at once and then one every 44 minutes", told)
	}
}

// Former words, lost from sight and replaced, and the key of one box fill no log: what a root wrote that gave way counts for
// the box that brings it.
func TestFormerWordsFillNoLog(t *testing.T) {
	d, _ := worded(t)
	thief, former := d.boxes[1], d.root
	fresh := ed25519.NewKeyFromSeed(make([]byte, 32))
	root := record.Root(fresh.Public().(ed25519.PublicKey))
	d.keys[root] = fresh
	base := d.last()
	one := d.add(former, record.Epoch{Number: 1, Root: former.Key, NextRoot: sha256.Sum256(root.Key[:])}, base)
	two := d.add(former, record.Epoch{Number: 2, Root: root.Key}, one)
	last := d.add(root, record.Epoch{Number: 3, Root: root.Key}, two)
	s := d.service()
	c, err := s.Connect(thief.Key)
	if err != nil {
		t.Fatal(err)
	}
	junk := make([]byte, record.MaxPayload)
	before := s.log.Size()
	for range 40 {
		var f exchange.Frame
		for range 60 {
			last = d.add(former, record.Unknown{Code: 200, Bytes: junk}, last)
			f.Records = append(f.Records, last.Bytes())
		}
		if pause, err := s.pause(t.Context(), thief.Key); err != nil || pause > time.Minute {
			return
		}
		if err := c.receive(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	if pause, err := s.pause(t.Context(), thief.Key); err != nil || pause <= 0 {
		t.Errorf("it wrote %d KiB and is read on at once", (s.log.Size()-before)>>10)
	}
}
