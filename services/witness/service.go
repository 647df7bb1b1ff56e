package witness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"sync"
	"time"

	"hearth.alt/services"
)

// Config is what New needs. Its functions are safe for concurrent use.
type Config struct {
	// Dir is the folder of the file, "<state>/witness". Required.
	Dir string
	// Self is this box. Required.
	Self services.PeerID
	// Own are the IDs of the records of this box's log now, in the order in which it wrote them down, the genesis first;
	// none while there is no log. Required.
	Own func() [][32]byte
	// Sign signs a message that begins with Domain, with the device key. Required.
	Sign func(ctx context.Context, message []byte) ([]byte, error)
	// Knows says whether peer is a box of a friend: others are forgotten. Required.
	Knows func(peer services.PeerID) bool
	// Now is the known time. Required.
	Now func() time.Time
	// Log takes what happened; nil discards it.
	Log *slog.Logger
}

// Service keeps what friends' boxes showed. Its methods are safe for concurrent use. Make one with New.
type Service struct {
	cfg  Config
	path string

	mu    sync.Mutex
	kept  kept
	fault error
	since time.Time
}

var _ services.Snapshotter = (*Service)(nil)

// New reads what was seen before. A file that cannot be read is named in Health: nothing is known then, and nothing is
// written over it before the first checkpoint.
func New(c Config) (*Service, error) {
	if c.Dir == "" || c.Own == nil || c.Sign == nil || c.Knows == nil || c.Now == nil {
		return nil, errors.New("witness: Dir, Own, Sign, Knows and Now are required")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{cfg: c, path: filepath.Join(c.Dir, "seen"), since: c.Now()}
	s.kept, s.fault = load(s.path)
	if s.fault != nil {
		c.Log.Error("what friends' boxes showed cannot be read", "error", s.fault)
	}
	return s, nil
}

// Serve speaks Protocol with peer, a friend's box, until both know. Both ends call it. It does not end with ctx: the caller
// bounds rw, and closes it. The error is ErrMalformed, rw's, or that of signing or of writing the file.
func (s *Service) Serve(ctx context.Context, peer services.PeerID, rw io.ReadWriter) error {
	own, err := newTree(s.cfg.Own())
	if err != nil {
		return err
	}
	if own.size() == 0 {
		return errors.New("there is no log to show")
	}
	s.mu.Lock()
	hello := frame{kind: kindHello}
	if at := s.kept.Boxes[peer]; at != nil {
		hello.has, hello.point = true, at.Last
	}
	s.mu.Unlock()
	if _, err := rw.Write(hello.append(nil)); err != nil {
		return err
	}
	theirs, err := readFrame(rw, kindHello)
	if err != nil {
		return err
	}
	answer := frame{kind: kindCheckpoint}
	if answer.point, err = s.checkpoint(ctx, own); err != nil {
		return err
	}
	if denied, err := own.denies(theirs.point); err != nil {
		return err
	} else if theirs.has && !denied {
		if answer.proof, err = own.proof(theirs.point.Size); err != nil {
			return err
		}
	}
	if _, err := rw.Write(answer.append(nil)); err != nil {
		return err
	}
	shown, err := readFrame(rw, kindCheckpoint)
	if err != nil {
		return err
	}
	if !shown.point.by(peer) {
		return fmt.Errorf("%w: the checkpoint is not the box's", ErrMalformed)
	}
	report := frame{kind: kindReport}
	if report.has, report.point, err = s.see(peer, shown.point, shown.proof); err != nil {
		return err
	}
	if _, err := rw.Write(report.append(nil)); err != nil {
		return err
	}
	said, err := readFrame(rw, kindReport)
	if err != nil {
		return err
	}
	return s.heed(peer, own, said)
}

func (s *Service) checkpoint(ctx context.Context, own *tree) (c Checkpoint, err error) {
	c = Checkpoint{Genesis: own.genesis(), Size: own.size(), Time: s.cfg.Now().UTC().Truncate(time.Second)}
	if c.Root, err = own.root(c.Size); err != nil {
		return c, err
	}
	signature, err := s.cfg.Sign(ctx, c.message())
	if err != nil {
		return c, fmt.Errorf("signing a checkpoint: %w", err)
	}
	if copy(c.Signature[:], signature) != len(signature) || len(signature) != len(c.Signature) {
		return c, errors.New("signing a checkpoint: the signature has another length")
	}
	return c, nil
}

// see takes in what peer showed and writes it down. It returns the checkpoint that it does not go on from, if any.
func (s *Service) see(peer services.PeerID, shown Checkpoint, proof [][32]byte) (bool, Checkpoint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := kept{Version: 1, Boxes: maps.Clone(s.kept.Boxes), Own: s.kept.Own}
	maps.DeleteFunc(next.Boxes, func(p services.PeerID, _ *seen) bool { return !s.cfg.Knows(p) })
	old := s.kept.Boxes[peer]
	if old != nil && !goesOn(old.Last, shown, proof) {
		if old.Finding == nil || old.Finding.Shown.Root != shown.Root {
			next.Boxes[peer] = &seen{Last: old.Last, Finding: &Finding{Found: s.cfg.Now().UTC(), Had: old.Last, Shown: shown}}
			s.cfg.Log.Warn("a friend's box shows another log than before", "peer", peer.String(), "had", old.Last.Size, "shown", shown.Size)
		}
		return true, old.Last, s.write(next)
	}
	if old != nil && old.Last.Size == shown.Size {
		return false, Checkpoint{}, nil // nothing new is not written down
	}
	one := &seen{Last: shown}
	if old != nil {
		one.Finding = old.Finding
	}
	next.Boxes[peer] = one
	return false, Checkpoint{}, s.write(next)
}

// heed takes in what peer found of this box. What this box did not sign is nothing.
func (s *Service) heed(peer services.PeerID, own *tree, said frame) error {
	if !said.has || !said.point.by(s.cfg.Self) {
		return nil
	}
	denied, err := own.denies(said.point)
	if err != nil || !denied {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept.Own != nil && s.kept.Own.Had.Size >= said.point.Size {
		return nil
	}
	s.cfg.Log.Error("a friend's box saw another log of this box than it has", "peer", peer.String(), "had", said.point.Size, "has", own.size())
	next := kept{Version: 1, Boxes: s.kept.Boxes, Own: &Finding{Found: s.cfg.Now().UTC(), Had: said.point}}
	return s.write(next)
}

// write makes next what is kept. The caller holds mu.
func (s *Service) write(next kept) error {
	if err := next.save(s.path); err != nil {
		return fmt.Errorf("writing down what friends' boxes showed: %w", err)
	}
	s.kept, s.fault = next, nil
	return nil
}

// Findings are what was found of friends' boxes, and not dismissed.
func (s *Service) Findings() map[services.PeerID]Finding {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[services.PeerID]Finding{}
	for id, one := range s.kept.Boxes {
		if one.Finding != nil && s.cfg.Knows(id) {
			out[id] = *one.Finding
		}
	}
	return out
}

// Own is what a friend's box found of this one: that it had signed a log from which the one it has does not go on. It is
// false once the log is whole again, as another box of the household makes it.
func (s *Service) Own() (Finding, bool) {
	s.mu.Lock()
	own := s.kept.Own
	s.mu.Unlock()
	if own == nil {
		return Finding{}, false
	}
	t, err := newTree(s.cfg.Own())
	if err != nil {
		return *own, true
	}
	denied, err := t.denies(own.Had)
	return *own, denied || err != nil
}

// Dismiss says that somebody looked into what was found of a box: what it showed is what it is to go on from. The box
// itself is meant by this box's PeerID. Where nothing was found nothing changes. The error is that of writing the file.
func (s *Service) Dismiss(peer services.PeerID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := kept{Version: 1, Boxes: maps.Clone(s.kept.Boxes), Own: s.kept.Own}
	if peer == s.cfg.Self {
		next.Own = nil
	} else if one := s.kept.Boxes[peer]; one != nil && one.Finding != nil {
		next.Boxes[peer] = &seen{Last: one.Finding.Shown}
	}
	return s.write(next)
}

// Health says what was found. While a friend's box found something of this one, it hashes the box's log to see whether that
// is so still.
func (s *Service) Health() services.Health {
	h := services.Health{Name: "witness", Ready: true, OK: true}
	s.mu.Lock()
	h.Since = s.since
	fault, boxes := s.fault, len(s.kept.Boxes)
	s.mu.Unlock()
	_, own := s.Own()
	switch {
	case own:
		h.OK = false
		h.Message = services.Say("witness.own", "A friend's box has seen more of this box's record of who belongs than the box has now. It was brought back from an old copy, or its card was copied. Look at people and devices: what was changed last may be missing.")
	case fault != nil:
		h.OK = false
		h.Message = services.Say("witness.fault", "What friends' boxes showed cannot be read, so the box begins anew with it.")
	case len(s.Findings()) > 0:
		h.OK = false
		h.Message = services.Say("witness.found", "A friend's box shows another record of who belongs to it than before. Ask your friend whether it was brought back from a backup; if not, its card may have been copied.")
	case boxes == 0:
		h.Message = services.Say("witness.none", "No friend's box has vouched for this one yet.")
	default:
		h.Message = services.Say("witness.well", "Friends' boxes and this one vouch for each other.")
	}
	return h
}

// Run implements services.Service; there is nothing to be done but to be asked.
func (s *Service) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Name implements services.Snapshotter.
func (s *Service) Name() string { return "witness" }

// Snapshot implements services.Snapshotter.
func (s *Service) Snapshot(_ context.Context, w io.Writer) error {
	s.mu.Lock()
	b, err := json.Marshal(s.kept)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// Restore implements services.Snapshotter. A checkpoint that is newer here stays: it is what this box must not forget.
func (s *Service) Restore(_ context.Context, r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return nil
	}
	came, err := decode(b)
	if err != nil {
		return &services.Problem{
			Kind: services.KindInvalid, Code: "snapshot-damaged", Cause: err,
			Say: services.Say("witness.snapshot", "The backup of what friends' boxes showed is damaged, so nothing was changed. Try an earlier one."),
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, one := range s.kept.Boxes {
		if c := came.Boxes[id]; c == nil || c.Last.Size < one.Last.Size {
			came.Boxes[id] = one
		}
	}
	if came.Own == nil {
		came.Own = s.kept.Own
	}
	return s.write(came)
}

// ErasePerson implements services.Snapshotter: nothing here is about a person.
func (s *Service) ErasePerson(context.Context, services.PersonID) error { return nil }
