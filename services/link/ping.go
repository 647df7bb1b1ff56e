package link

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"time"

	"hearth.alt/services"
)

// pingName sends back what comes, 8 bytes at a time, at most pingRounds times.
const (
	pingName   = "/link/ping/v1"
	pingRounds = 1000
)

// builtin are the protocols that every box speaks with those it knows.
var builtin = []Protocol{{Name: pingName, Serve: servePing}}

func servePing(_ context.Context, s *Stream) error {
	for range pingRounds {
		_ = s.SetDeadline(time.Now().Add(silence))
		var b [8]byte
		if _, err := io.ReadFull(s, b[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if _, err := s.Write(b[:]); err != nil {
			return err
		}
	}
	return nil
}

// Pong is a peer's answer to Ping.
type Pong struct {
	RTT  time.Duration // of 8 bytes there and back, on the open session
	Path Path
}

// Ping asks peer for a sign of life. The errors are those of Open and of the stream.
func (s *Service) Ping(ctx context.Context, peer services.PeerID) (Pong, error) {
	st, err := s.Open(ctx, peer, pingName)
	if err != nil {
		return Pong{}, err
	}
	defer st.Cancel()
	stop := context.AfterFunc(ctx, func() { _ = st.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var sent, got [8]byte
	_, _ = rand.Read(sent[:])
	begun := time.Now()
	if _, err := st.Write(sent[:]); err != nil {
		return Pong{}, err
	}
	if _, err := io.ReadFull(st, got[:]); err != nil {
		return Pong{}, err
	}
	if got != sent {
		return Pong{}, errors.New("link: the box sent back something else")
	}
	return Pong{RTT: time.Since(begun), Path: st.Path()}, nil
}
