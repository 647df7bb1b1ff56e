package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"hearth.alt/services"
)

// How paths are tried (after RFC 8305, Happy Eyeballs): the best first, the next one stagger later or as soon as all
// tried so far have failed, TCP from tcpAfter on. The first that is the right box is taken.
const (
	stagger  = 250 * time.Millisecond
	tcpAfter = time.Second
	maxPaths = 8
)

// way is one path with its carrier.
type way struct {
	at    netip.AddrPort
	via   string // "udp" or "tcp"
	start time.Duration
}

// ways are what dial tries, in order of their start.
func ways(paths []netip.AddrPort) []way {
	paths = paths[:min(len(paths), maxPaths)]
	var out []way
	for i, p := range paths {
		out = append(out, way{p, "udp", time.Duration(i) * stagger})
	}
	begin := max(tcpAfter, time.Duration(len(paths))*stagger)
	for i, p := range paths {
		out = append(out, way{p, "tcp", begin + time.Duration(i)*stagger})
	}
	return out
}

// carrier is what the packets of a session travel on.
type carrier struct {
	via string // "udp" or "tcp"
	cut func() // ends it at once, at the latest when the session has ended; nil where there is nothing to end
}

func (c carrier) end() {
	if c.cut != nil {
		c.cut()
	}
}

// dial opens a session on the first way that leads to a box that expect has nothing against. All it started has ended,
// or is in group.
func (s *Service) dial(ctx context.Context, paths []netip.AddrPort, expect func(services.PeerID) error, group *sync.WaitGroup) (*quic.Conn, carrier, error) {
	todo := ways(paths)
	if len(todo) == 0 {
		return nil, carrier{}, fmt.Errorf("%w: none is known", ErrUnreachable)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	type result struct {
		conn    *quic.Conn
		carrier carrier
		way     way
		err     error
	}
	results := make(chan result, len(todo))
	try := func(w way) {
		conn, carrier, err := s.dialWay(ctx, expect, w)
		results <- result{conn, carrier, w, err}
	}
	begun := time.Now()
	running := 0
	var errs []error
	for len(todo) > 0 || running > 0 {
		var next <-chan time.Time
		if len(todo) > 0 {
			wait := todo[0].start - time.Since(begun)
			if running == 0 {
				wait = 0
			}
			next = time.After(wait)
		}
		select {
		case <-next:
			go try(todo[0])
			todo, running = todo[1:], running+1
		case r := <-results:
			running--
			if r.err != nil {
				errs = append(errs, fmt.Errorf("%s %s: %w", r.way.via, r.way.at, r.err))
				continue
			}
			cancel()
			group.Go(func() { // those that came second
				for range running {
					if r := <-results; r.conn != nil {
						_ = r.conn.CloseWithError(codeDone, "")
						r.carrier.end()
					}
				}
			})
			return r.conn, r.carrier, nil
		}
	}
	return nil, carrier{}, fmt.Errorf("%w: %w", ErrUnreachable, errors.Join(errs...))
}

func (s *Service) dialWay(ctx context.Context, expect func(services.PeerID) error, w way) (*quic.Conn, carrier, error) {
	config := s.clientTLS(expect)
	if w.via == "tcp" {
		return s.dialTCP(ctx, w.at.String(), config)
	}
	transport := s.transport.Load()
	if transport == nil {
		return nil, carrier{}, ErrNotRunning
	}
	conn, err := transport.Dial(ctx, net.UDPAddrFromAddrPort(w.at), config, s.quicConfig())
	return conn, carrier{via: "udp"}, err
}

// only expects nobody but peer.
func only(peer services.PeerID) func(services.PeerID) error {
	return func(got services.PeerID) error {
		if got != peer {
			return ErrWrongPeer
		}
		return nil
	}
}

// clientTLS takes nobody for the other end whom expect has something against.
func (s *Service) clientTLS(expect func(services.PeerID) error) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{alpn}, ServerName: "hearth",
		InsecureSkipVerify:   true, //nolint:gosec // VerifyConnection proves the key; there is no name to check
		GetClientCertificate: s.clientProof,
		VerifyConnection: func(c tls.ConnectionState) error {
			got, err := identify(c)
			if err == nil {
				err = expect(got)
			}
			return err
		},
	}
}

// serverTLS takes any box for the other end; which one decides what it gets.
func (s *Service) serverTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{alpn}, ClientAuth: tls.RequireAnyClientCert,
		GetCertificate: s.serverProof, SessionTicketsDisabled: true,
		VerifyConnection: func(c tls.ConnectionState) error {
			got, err := identify(c)
			if err == nil && got == s.config.Self {
				err = ErrSelf
			}
			return err
		},
	}
}

func (s *Service) serverProof(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.proof.Load(), nil
}
func (s *Service) clientProof(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return s.proof.Load(), nil
}

// OpenAt is Open to whichever box answers at the address: Stream.Peer says which it is, and nothing is known of it but
// that it holds that key. Who calls proves the rest, before anything else is said. ErrSelf is returned where this box
// answers.
func (s *Service) OpenAt(ctx context.Context, at netip.AddrPort, names ...string) (*Stream, error) {
	if err := checkNames(names); err != nil {
		return nil, err
	}
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	peer, err := s.find(ctx, at)
	if err != nil {
		return nil, err
	}
	st, _, err := s.negotiate(ctx, peer, names)
	return st, err
}

// find returns the box at the address. There is a session with it.
func (s *Service) find(ctx context.Context, at netip.AddrPort) (services.PeerID, error) {
	for _, c := range s.live() {
		if c.path().Address == at && c.usable() {
			return c.peer, nil
		}
	}
	s.mu.Lock()
	r := s.run
	if r == nil || r.ctx.Err() != nil {
		s.mu.Unlock()
		return services.PeerID{}, ErrNotRunning
	}
	found := make(chan *session, 1)
	var failed error // set before found is closed
	r.group.Go(func() {
		defer close(found)
		expect := func(got services.PeerID) error {
			if got == s.config.Self {
				return ErrSelf
			}
			return nil
		}
		dialling, cancel := context.WithCancel(r.ctx)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		conn, via, err := s.dial(dialling, []netip.AddrPort{at}, expect, &r.group)
		if err != nil {
			failed = err
			return
		}
		peer, _ := identify(conn.ConnectionState().TLS) // the handshake proved it
		c := s.newSession(conn, peer, via)
		if s.enter(c) {
			r.group.Go(func() {
				defer s.leave(c)
				c.run(r.ctx)
			})
		} else { // there may be one along another path
			c.close(codeBusy, "too many sessions")
			via.end()
		}
		found <- c
	})
	s.mu.Unlock()
	select {
	case c := <-found:
		if c == nil {
			return services.PeerID{}, failed
		}
		return c.peer, nil
	case <-ctx.Done():
		return services.PeerID{}, ctx.Err()
	}
}
