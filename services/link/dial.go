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

// dial opens a session to peer on the first way that leads there. All it started has ended, or is in group.
func (s *Service) dial(ctx context.Context, peer services.PeerID, group *sync.WaitGroup) (*quic.Conn, carrier, error) {
	todo := ways(s.config.Paths(peer))
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
		conn, carrier, err := s.dialWay(ctx, peer, w)
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

func (s *Service) dialWay(ctx context.Context, peer services.PeerID, w way) (*quic.Conn, carrier, error) {
	config := s.clientTLS(peer)
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

// clientTLS takes nobody but peer for the other end.
func (s *Service) clientTLS(peer services.PeerID) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{alpn}, ServerName: "hearth",
		InsecureSkipVerify:   true, //nolint:gosec // VerifyConnection proves the key; there is no name to check
		GetClientCertificate: s.clientProof,
		VerifyConnection: func(c tls.ConnectionState) error {
			got, err := identify(c)
			if err == nil && got != peer {
				err = ErrWrongPeer
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
				err = errors.New("a box does not link to itself")
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
