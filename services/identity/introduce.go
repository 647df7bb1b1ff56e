package identity

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/exchange"
	"hearth.alt/services/identity/internal/record"
)

// IntroduceProtocol is the ProtocolName by which a box that is not known for one of the household, or is taken for removed,
// shows that it is one: the root gave it a new key or took it back, and the other has not heard of it. Its end calls
// ServeLog, the other Introduce.
const IntroduceProtocol = "/identity/introduce/v1"

// What it may send before it is known.
const (
	maxIntroduced      = 512
	maxIntroducedBytes = 1 << 20
)

// Introduce hears from peer, at the other end of rw, what the root did that makes it a box of the household: it put its
// key in the place of another's, or an epoch ended its removal. That is taken, with what the root knew when it did so,
// if it makes peer one, and nothing else: whoever has the key of a removed box says nothing of its own. It is told no
// record.
//
// It blocks until peer was made a box, sent something else, or rw ended, which is the caller's to see to. Errors: ErrPeer,
// ErrNoLog, those of rw, a *services.Problem when it cannot be written; others where peer sent no frame, or was heard
// often enough.
func (s *Service) Introduce(peer services.PeerID, rw io.ReadWriter) error {
	s.writing <- struct{}{}
	if s.shared == nil || s.damaged() {
		s.unlock()
		return ErrNoLog
	}
	if _, was := s.state.gone[peer]; was && s.often(peer) { // strangers are few
		s.unlock()
		return fmt.Errorf("box %s was heard often enough", peer)
	}
	with := exchange.New(exchange.NewSet(s.shared.Set().Records()...), (*record.Record).Verify)
	roots := map[record.Author]bool{record.Root(s.state.is.Root): true}
	s.unlock()
	c := with.Connect()
	if f, ok := with.Next(c); ok {
		if _, err := rw.Write(f.Append(nil)); err != nil {
			return err
		}
	}
	in := bufio.NewReader(rw)
	var fresh []*record.Record
	for size := 0; ; {
		f, err := exchange.Read(in)
		if err != nil {
			return err
		}
		for _, b := range f.Records {
			size += len(b)
		}
		if len(fresh)+len(f.Records) > maxIntroduced || size > maxIntroducedBytes {
			return fmt.Errorf("%w: it sends too much before it is known", ErrPeer)
		}
		more, err := with.Receive(c, f)
		if err != nil {
			return err
		}
		fresh = append(fresh, more...)
		if !byRoot(more, roots) {
			continue
		}
		if err := s.introduced(peer, knownTo(roots, fresh)); !errors.Is(err, errStranger) {
			return err
		}
	}
}

// byRoot says whether a record is of one of the roots, and adds to those the roots that they announce.
func byRoot(records []*record.Record, roots map[record.Author]bool) (found bool) {
	for _, r := range records {
		if !roots[r.Author] {
			continue
		}
		found = true
		if e, ok := r.Payload.(record.Epoch); ok {
			roots[record.Root(e.Root[:])] = true
		}
	}
	return found
}

// knownTo returns those of records, which are in order, that are of the roots or in the past of one that is.
func knownTo(roots map[record.Author]bool, records []*record.Record) []*record.Record {
	known := map[record.ID]bool{}
	for _, r := range slices.Backward(records) {
		if known[r.ID()] = known[r.ID()] || roots[r.Author]; known[r.ID()] {
			for _, p := range r.Parents {
				known[p] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(records), func(r *record.Record) bool { return !known[r.ID()] })
}

var errStranger = errors.New("the records do not make it a box of the household")

// introduced takes the records if they make peer a box of the household; errStranger says that they do not.
func (s *Service) introduced(peer services.PeerID, records []*record.Record) error {
	s.writing <- struct{}{}
	defer s.unlock()
	if s.shared == nil || s.damaged() {
		return ErrNoLog
	}
	set := exchange.NewSet(s.shared.Set().Records()...)
	var fresh []*record.Record
	for _, r := range records {
		if set.Has(r.ID()) {
			continue
		}
		if err := set.Add(r); err != nil {
			return fmt.Errorf("%w: %w", ErrPeer, err)
		}
		fresh = append(fresh, r)
	}
	next, err := fold(s.self, set.Records()[0].ID(), set.Records())
	if err != nil {
		return err
	}
	if _, ok := next.boxes[peer]; !ok {
		return errStranger
	}
	if err := s.writeLong(fresh); err != nil {
		return err
	}
	s.become(next, nil, fresh)
	s.cfg.Log.Info("a box of the household was heard of from itself", "box", peer.String())
	return nil
}
