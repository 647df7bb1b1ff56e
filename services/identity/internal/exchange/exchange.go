// Package exchange brings the household logs of boxes to the same set of records (anti-entropy). It is a pure state
// machine: what came in goes in, what is to be stored and sent comes out; it knows no clock, no socket and no disk.
//
//	Connected(peer) ──▶ HAVE ──▶ the peer sends RECORDS that are in no landmark's past
//	Receive(peer, RECORDS) ──▶ fresh records ── stored by the caller ──▶ Stored ──▶ RECORDS to all other peers
//
// # What it promises
//
//   - Two boxes that hear each other long enough have the same set, whatever was lost, came twice or in another order
//     before.
//   - A record is sent on only after the caller stored it, so that nobody knows a record that its author lost.
//   - The set holds the past of each of its records: an honest box sends parents first, and what does not fit is
//     refused.
//   - Bounded: for each peer one list of places in the set, made once for each time it connects.
//
// It does not judge what a record means: Admit says whether it may be stored at all.
package exchange

import (
	"errors"
	"fmt"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
)

// Exchange is the state machine of one box. It is not safe for concurrent use.
type Exchange struct {
	set   *Set
	admit func(*Set, *record.Record) error
	peers map[services.PeerID]*peer
}

// peer is what there is to say to one box.
type peer struct {
	have  bool  // landmarks are to be sent
	heard bool  // its landmarks came: only then is it known what it lacks
	queue []int // places of the records to be sent, ascending
}

// New begins with the records of set, which it takes over. admit verifies a record whose past is in the set: its
// signature, and that its author may be heard at all. It does not change the set.
func New(set *Set, admit func(*Set, *record.Record) error) *Exchange {
	return &Exchange{set: set, admit: admit, peers: map[services.PeerID]*peer{}}
}

// Set is what the box has; it is not to be changed.
func (e *Exchange) Set() *Set { return e.set }

// Connected begins an exchange with p, anew when there was one.
func (e *Exchange) Connected(p services.PeerID) { e.peers[p] = &peer{have: true} }

// Disconnected ends it.
func (e *Exchange) Disconnected(p services.PeerID) { delete(e.peers, p) }

// ErrPeer is returned for what no honest box sends. The exchange with it should end.
var ErrPeer = errors.New("the box sent what it should not have")

// Receive takes a frame of p in and returns the records that are new, in order: the caller stores them and then calls
// Stored with them, before it calls anything else. One that cannot store them begins anew with New and what it has on
// disk. The error wraps ErrPeer; what came before the fault is returned.
func (e *Exchange) Receive(p services.PeerID, f Frame) (fresh []*record.Record, err error) {
	at, ok := e.peers[p]
	if !ok {
		return nil, nil
	}
	if f.Records == nil {
		if at.heard {
			return nil, fmt.Errorf("%w: landmarks again", ErrPeer) // each costs a walk through the whole set
		}
		at.heard, at.queue = true, e.set.missing(f.Have)
		return nil, nil
	}
	for _, b := range f.Records {
		r, err := record.Parse(b)
		if err != nil {
			return fresh, fmt.Errorf("%w: %w", ErrPeer, err)
		}
		if e.set.Has(r.ID()) {
			continue
		}
		if !e.set.fits(r) {
			return fresh, fmt.Errorf("%w: record %s comes before its past", ErrPeer, r.ID())
		}
		if err := e.admit(e.set, r); err != nil {
			return fresh, fmt.Errorf("%w: record %s: %w", ErrPeer, r.ID(), err)
		}
		e.set.add(r)
		fresh = append(fresh, r)
	}
	return fresh, nil
}

// Stored says that records, which Receive returned for from or which were made here (the zero from), are on disk.
func (e *Exchange) Stored(from services.PeerID, records []*record.Record) {
	for _, r := range records {
		if !e.set.Has(r.ID()) {
			e.set.add(r)
		}
	}
	for id, p := range e.peers {
		if id == from || !p.heard {
			continue
		}
		for _, r := range records {
			// What is new stands last in the set.
			if i := e.set.at[r.ID()]; len(p.queue) == 0 || p.queue[len(p.queue)-1] < i {
				p.queue = append(p.queue, i)
			}
		}
	}
}

// Next returns what is to be sent to p now; false is nothing.
func (e *Exchange) Next(p services.PeerID) (Frame, bool) {
	at, ok := e.peers[p]
	switch {
	case !ok:
		return Frame{}, false
	case at.have:
		at.have = false
		return Frame{Have: e.set.landmarks()}, true
	case len(at.queue) == 0:
		return Frame{}, false
	}
	var f Frame
	size := 0
	for len(at.queue) > 0 && len(f.Records) < maxRecords && size < fullFrame {
		b := e.set.records[at.queue[0]].Bytes()
		f.Records = append(f.Records, b)
		size += len(b)
		at.queue = at.queue[1:]
	}
	return f, true
}
