package identity

import (
	"crypto/ed25519"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/exchange"
	"hearth.alt/services/identity/internal/record"
)

// A box that writes without end is read slowly; what it passes on for others does not count.
func TestFlood(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	author := services.PeerID(public)
	r, err := record.Seal(record.Record{
		Author: record.Box(author), Sequence: 1, Time: time.Unix(1, 0), Parents: []record.ID{{1}}, Payload: record.Unknown{Code: 200, Bytes: make([]byte, 4000)},
	}, func(b []byte) ([]byte, error) { return ed25519.Sign(private, b), nil })
	if err != nil {
		t.Fatal(err)
	}
	frame := exchange.Frame{}
	for range 64 {
		frame.Records = append(frame.Records, r.Bytes())
	}
	var f flood
	now := time.Now()
	frames := 0
	for f.spend(author, frame, now) == 0 {
		if frames++; frames > 1000 {
			t.Fatal("it may write for ever")
		}
	}
	if wrote := frames * 64 * len(r.Bytes()); wrote < 7<<20 || wrote > floodBurst {
		t.Errorf("it wrote %d bytes at once", wrote)
	}
	pause := f.spend(author, exchange.Frame{}, now)
	if pause <= 0 {
		t.Error("it is not slowed down")
	}
	if again := f.spend(author, exchange.Frame{}, now.Add(pause)); again > time.Second {
		t.Errorf("%s later it waits for %s more", pause, again)
	}
	for range 1000 {
		if f.spend(services.PeerID{2}, frame, now) != 0 {
			t.Fatal("a box is slowed down for what another one wrote")
		}
	}
}
