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

// IntroduceProtocol is the ProtocolName by which a box that nobody knows shows that it is one of the household's: the root
// gave it a new key while the others did not hear of it. Its end calls ServeLog, the other Introduce.
const IntroduceProtocol = "/identity/introduce/v1"

// What a stranger may send before it is known.
const (
	maxIntroduced      = 512
	maxIntroducedBytes = 1 << 20
)

// Introduce hears from the stranger peer, at the other end of rw, the records that make it a box of the household: the root
// put its key in the place of another's. They are taken when they do, all together, and else none of them. It is told no
// record.
func (s *Service) Introduce(peer services.PeerID, rw io.ReadWriter) error {
	s.writing <- struct{}{}
	if s.shared == nil || s.damaged() {
		s.unlock()
		return ErrNoLog
	}
	with := exchange.New(exchange.NewSet(s.shared.Set().Records()...), (*record.Record).Verify)
	s.unlock()
	c := with.Connect()
	if f, ok := with.Next(c); ok {
		if _, err := rw.Write(f.Append(nil)); err != nil {
			return err
		}
	}
	in := bufio.NewReader(rw)
	var fresh []*record.Record
	size, named := 0, false
	for !named {
		f, err := exchange.Read(in)
		if err != nil {
			return err
		}
		if f.Records == nil {
			continue
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
		named = slices.ContainsFunc(more, func(r *record.Record) bool {
			p, ok := r.Payload.(record.ReplaceBox)
			return ok && p.Key == peer && r.Author.Kind == record.KindRoot
		})
	}
	return s.introduced(peer, fresh)
}

// introduced takes the records if they make peer a box of the household.
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
		return errors.New("the records do not make it a box of the household")
	}
	for rest := fresh; len(rest) > 0; {
		n := min(len(rest), restoreBatch)
		if err := s.write(rest[:n]...); err != nil {
			s.adopt(load(s.cfg.Disk, s.self, s.path))
			return err
		}
		rest = rest[n:]
	}
	s.become(next, nil, fresh)
	s.cfg.Log.Info("a box of the household has a new key", "box", peer.String())
	return nil
}
