package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/secret"
)

// NextRootProtocol is the ProtocolName by which boxes of one household hand on the entropy of the root that their log
// announces (see newwords.go), so that new words can be made on each of them: a box that joined, and the others after new
// words. Both ends speak it alike, in frames of 33 bytes:
//
//	1 WANT  the hash that the log announces, sent when the entropy is not here, and once a minute until it is
//	2 HAVE  the entropy that was wanted; no answer is that it is not here either
const NextRootProtocol = "/identity/next-root/v1"

const (
	frameWant = 1
	frameHave = 2

	wantAgain = time.Minute
	wantPause = time.Second // between two frames that are listened to
)

// ServeNextRoot speaks NextRootProtocol with peer, at the other end of rw, until that ends or is ended, which is the caller's
// to do when ctx ends. It returns nil when the peer closed its direction. Errors: ErrPeer, rw's, ctx's, and the keeper's.
func (s *Service) ServeNextRoot(ctx context.Context, peer services.PeerID, rw io.ReadWriter) error {
	var writing sync.Mutex
	send := func(kind byte, what [32]byte) error {
		writing.Lock()
		defer writing.Unlock()
		_, err := rw.Write(append([]byte{kind}, what[:]...))
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	came := make(chan error, 1)
	go func() { came <- s.hearNextRoot(ctx, peer, rw, send) }()
	for {
		_, changed := s.Watch()
		want, err := s.missingRoot(ctx)
		if err != nil {
			return err
		}
		if want != [32]byte{} {
			if err := send(frameWant, want); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-time.After(wantAgain):
		case err := <-came:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Service) hearNextRoot(ctx context.Context, peer services.PeerID, r io.Reader, send func(byte, [32]byte) error) error {
	for {
		var b [33]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return err
		}
		switch what := [32]byte(b[1:]); b[0] {
		case frameWant:
			if entropy, ok := s.rootFor(ctx, peer, what); ok {
				if err := send(frameHave, entropy); err != nil {
					return err
				}
			}
		case frameHave:
			if err := s.keepRoot(ctx, what); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: kind %d", ErrPeer, b[0])
		}
		select {
		case <-time.After(wantPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// missingRoot is the hash that the log announces when its entropy is not here, zero when it is or none is announced.
func (s *Service) missingRoot(ctx context.Context) ([32]byte, error) {
	if err := s.lock(ctx); err != nil {
		return [32]byte{}, err
	}
	defer s.unlock()
	if s.state == nil || s.state.epoch.NextRoot == [32]byte{} || s.state.epoch.NextRoot == s.holds {
		return [32]byte{}, nil
	}
	want := s.state.epoch.NextRoot
	_, err := s.nextRoot(ctx, want)
	if isCode(err, "words-elsewhere") {
		return want, nil
	}
	if err == nil {
		s.holds = want
	}
	return [32]byte{}, err
}

// rootFor is the entropy that a box of the household asks for.
func (s *Service) rootFor(ctx context.Context, peer services.PeerID, hash [32]byte) ([EntropySize]byte, bool) {
	if s.lock(ctx) != nil {
		return [EntropySize]byte{}, false
	}
	defer s.unlock()
	if s.state == nil || s.state.boxes[peer].State != services.StateActive || s.state.epoch.NextRoot != hash || s.damaged() {
		return [EntropySize]byte{}, false
	}
	entropy, err := s.nextRoot(ctx, hash)
	return entropy, err == nil
}

// keepRoot keeps the entropy that the log announces; what another one says is dropped.
func (s *Service) keepRoot(ctx context.Context, entropy [EntropySize]byte) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	hash := announcement(entropy)
	if s.state == nil || hash != s.state.epoch.NextRoot || hash == s.holds {
		return nil
	}
	if _, err := s.nextRoot(ctx, hash); !isCode(err, "words-elsewhere") {
		return err
	}
	kept, err := s.cfg.Keys.NextRoots(ctx)
	if err != nil {
		return fmt.Errorf("reading what new words take: %w", err)
	}
	// What was announced before is kept beside it while there is room: epochs may yet settle otherwise. See forgetRoots.
	kept = append(kept[max(0, len(kept)-1):], secret.NewBytes(entropy[:]))
	if err := s.cfg.Keys.KeepNextRoots(ctx, kept); err != nil {
		return fmt.Errorf("keeping what new words take: %w", err)
	}
	s.holds = hash
	s.cfg.Log.Info("what new words take came from another box")
	return nil
}
