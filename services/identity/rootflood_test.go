package identity

import (
	"crypto/ed25519"
	"crypto/sha256"
	"testing"
	"time"

	"hearth.alt/services/identity/internal/exchange"
	"hearth.alt/services/identity/internal/record"
)

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
