// Package exchange brings the household logs of boxes to the same set of records (anti-entropy). It is a pure state
// machine: what came in goes in, what is to be stored and sent comes out; it knows no clock, no socket and no disk.
//
//	Connect() ──▶ HAVE ──▶ the peer sends RECORDS that are in no landmark's past
//	Receive(RECORDS) ──▶ fresh records ── stored by the caller ──▶ Stored ──▶ RECORDS to all other connections
//
// # What it promises
//
//   - Two boxes that hear each other long enough have the same set, whatever was lost, came twice or in another order
//     before.
//   - A record is sent on only after the caller stored it, so that nobody knows a record that its author lost.
//   - The set holds the past of each of its records: an honest box sends parents first, and what does not fit is
//     refused. Whether a record is taken depends on its past alone, so that honest boxes never blame one another.
//   - Bounded: for each connection one list of places in the set, made once.
//
// It does not judge what a record means, only whether its author could have made it: see Set.founded.
package exchange

import (
	"errors"
	"fmt"
	"slices"

	"hearth.alt/services/identity/internal/record"
)

// Exchange is the state machine of one box. It is not safe for concurrent use.
type Exchange struct {
	set    *Set
	verify func(*record.Record) error
	conns  map[*Conn]struct{}
}

// Conn is what there is to say to one box over one connection; a box may have several.
type Conn struct {
	have  bool        // landmarks are to be sent
	heard bool        // the peer's came: only then is it known what it lacks
	wants []record.ID // what of them was not there
	queue []int       // places of the records to be sent, ascending
}

// New begins with the records of set, which it takes over. verify checks a record's signature.
func New(set *Set, verify func(*record.Record) error) *Exchange {
	return &Exchange{set: set, verify: verify, conns: map[*Conn]struct{}{}}
}

// Set is what the box has; it is not to be changed.
func (e *Exchange) Set() *Set { return e.set }

// Connect begins an exchange.
func (e *Exchange) Connect() *Conn {
	c := &Conn{have: true}
	e.conns[c] = struct{}{}
	return c
}

// Close ends it.
func (e *Exchange) Close(c *Conn) { delete(e.conns, c) }

// ErrPeer is returned for what no honest box sends. The exchange with it should end.
var ErrPeer = errors.New("the box sent what it should not have")

// Receive takes a frame in and returns the records that are new, in order: the caller stores them and then calls
// Stored with them, before it calls anything else. One that cannot store them begins anew with New and what it has on
// disk. The error wraps ErrPeer; what came before the fault is returned.
func (e *Exchange) Receive(c *Conn, f Frame) (fresh []*record.Record, err error) {
	if _, ok := e.conns[c]; !ok {
		return nil, nil
	}
	if f.Records == nil {
		if c.heard {
			return nil, fmt.Errorf("%w: landmarks again", ErrPeer) // each costs a walk through the whole set
		}
		c.heard, c.queue = true, e.set.missing(f.Have)
		c.wants = slices.DeleteFunc(slices.Clone(f.Have), e.set.Has)
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
		err = e.set.founded(r)
		if err == nil {
			err = e.verify(r)
		}
		if err != nil {
			return fresh, fmt.Errorf("%w: record %s: %w", ErrPeer, r.ID(), err)
		}
		e.set.add(r)
		fresh = append(fresh, r)
	}
	return fresh, nil
}

// CaughtUp says whether all that the peer had when it connected is in the set.
func (e *Exchange) CaughtUp(c *Conn) bool {
	c.wants = slices.DeleteFunc(c.wants, e.set.Has)
	return c.heard && len(c.wants) == 0
}

// Stored says that records, which Receive returned for from or which were made here (nil), are on disk.
func (e *Exchange) Stored(from *Conn, records []*record.Record) {
	for _, r := range records {
		if !e.set.Has(r.ID()) {
			e.set.add(r)
		}
	}
	for p := range e.conns {
		if p == from || !p.heard {
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

// Next returns what is to be sent now; false is nothing.
func (e *Exchange) Next(c *Conn) (Frame, bool) {
	if _, ok := e.conns[c]; !ok {
		return Frame{}, false
	}
	switch {
	case c.have:
		c.have = false
		return Frame{Have: e.set.landmarks()}, true
	case len(c.queue) == 0:
		return Frame{}, false
	}
	var f Frame
	size := 0
	for len(c.queue) > 0 && len(f.Records) < maxRecords && size < fullFrame {
		b := e.set.records[c.queue[0]].Bytes()
		f.Records = append(f.Records, b)
		size += len(b)
		c.queue = c.queue[1:]
	}
	return f, true
}
