package identity

import (
	"path/filepath"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/exchange"
)

// onlyID is a keeper that is asked for nothing but who it is.
type onlyID struct {
	Keys
	id services.PeerID
}

func (k onlyID) PeerID() services.PeerID { return k.id }

// A forked record may have all there was in its past, the one of the same sequence too. A box that hears of it freezes
// as one does that reads it from its log, and so it stays, read-only, when it starts again.
func TestForkThatKnowsAll(t *testing.T) {
	d := newDAG(t, 2)
	d.add(d.boxes[0], person(ann, services.RoleOwner), d.last())
	d.add(d.boxes[1], person(ben, services.RoleMember), d.last())
	before := len(d.records)
	d.seq[d.boxes[1]]--
	fork := d.add(d.boxes[1], person(cat, services.RoleMember), d.last())

	if m := d.fold(); !m.Frozen {
		t.Errorf("folded: %v", who(m))
	}
	all := d.records
	d.records = all[:before]
	s, err := New(Config{Dir: filepath.Dir(d.file()), Keys: onlyID{id: d.self()}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	d.records = all
	c, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.receive(t.Context(), exchange.Frame{Records: [][]byte{fork.Bytes()}}); err != nil {
		t.Fatal(err)
	}
	heard := s.Membership()
	if !heard.Frozen || !heard.ReadOnly {
		t.Errorf("heard of: %v", who(heard))
	}
	again, err := New(Config{Dir: s.cfg.Dir, Keys: s.cfg.Keys, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	read := *again.Membership()
	read.Revision = heard.Revision
	if diff := diffMemberships(heard, &read); diff != "" {
		t.Errorf("after a start (-before +after):\n%s", diff)
	}
}
