package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/link/internal/wire"
)

// Config is what New needs. Its functions are safe for concurrent use and quick, but for Sign.
type Config struct {
	// Self is this box. While it is zero, since the device key is damaged, there are no links.
	Self services.PeerID
	// Sign signs a message with the device key (Ed25519): what TLS 1.3 has an end of a handshake sign (RFC 8446, section
	// 4.4.3), and nothing else. It is asked once for each handshake. Required.
	Sign func(ctx context.Context, message []byte) ([]byte, error)
	// UDP and TCP open the sockets that peers come in by, each time Run begins; Run closes them. UDP is required; nil
	// TCP serves no path of last resort.
	UDP func() (net.PacketConn, error)
	TCP func() (net.Listener, error)
	// Paths are the addresses that peer may be at, the best first; the first 8 are tried. Required.
	Paths func(peer services.PeerID) []netip.AddrPort
	// Knows says whether peer belongs to this household or to a friend's. Others are strangers: few, and only with
	// protocols for strangers. Required.
	Knows func(peer services.PeerID) bool
	// Protocols are what peers may open here. Names differ.
	Protocols []Protocol
	// Now is the known time, for Health (clock.Clock.Now). Required.
	Now func() time.Time
	// Log takes what happened; nil discards it.
	Log *slog.Logger
}

// Protocol is something that peers may ask for.
type Protocol struct {
	// Name is its ProtocolName: parts and a version, "/identity/log/v1", at most 64 letters.
	Name string
	// Serve speaks it; the stream is reset when it returns an error and closed when it returns nil. It returns soon
	// after ctx ended, which it does with the stream, the session or the service.
	Serve func(ctx context.Context, s *Stream) error
	// Allow says with whom; nil is everyone that Config.Knows.
	Allow func(peer services.PeerID) bool
	// Strangers may ask for it too, if Allow, which is then required, says so.
	Strangers bool
	// Most is how many streams of it a peer may have at the same time; 0 is 8.
	Most int
}

func (c Config) check() error {
	switch {
	case c.Sign == nil, c.UDP == nil, c.Paths == nil, c.Knows == nil, c.Now == nil:
		return errors.New("link: Sign, UDP, Paths, Knows and Now are required")
	case len(c.Protocols)+len(builtin) > wire.MaxListed:
		return fmt.Errorf("link: more than %d protocols", wire.MaxListed-len(builtin))
	}
	seen := map[string]bool{pingName: true}
	for _, p := range c.Protocols {
		if !wire.Valid(p.Name) || seen[p.Name] || p.Serve == nil || p.Strangers && p.Allow == nil {
			return fmt.Errorf("link: the protocol %q is not whole, or there twice", p.Name)
		}
		seen[p.Name] = true
	}
	return nil
}

// Errors of Open. Refusals of a peer are a *RefusedError.
var (
	// ErrNotRunning is returned before Run has opened the sockets and after it ended.
	ErrNotRunning = errors.New("links are not running")
	// ErrUnreachable is returned when no path to the peer is known or none answered.
	ErrUnreachable = errors.New("the box does not answer on any known path")
	// ErrWrongPeer is in the chain beside ErrUnreachable when another box answered on a path.
	ErrWrongPeer = errors.New("another box answered there")
	// ErrSelf is returned for this box itself.
	ErrSelf = errors.New("a box does not link to itself")
	// ErrTranscript is returned when a proposal was changed on its way. The session is closed.
	ErrTranscript = wire.ErrTranscript
)

// RefusedError is a peer's answer to a proposal.
type RefusedError struct {
	Peer services.PeerID
	Code wire.Refusal
}

// The codes of a RefusedError.
const (
	RefusedUnknown   = wire.Unknown
	RefusedBusy      = wire.Busy
	RefusedStopping  = wire.Stopping
	RefusedMalformed = wire.Malformed
)

func (e *RefusedError) Error() string { return fmt.Sprintf("the box refused: %s", e.Code) }
