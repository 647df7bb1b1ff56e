package link

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"hearth.alt/services/crowd"
)

// Where no UDP passes, the packets of QUIC travel over TLS over TCP, each behind its length (2 bytes, big-endian). The
// session inside is the same in all else: the outer TLS only looks like what such networks let through, the inner one
// proves who is there.

// packets is a net.PacketConn over a connection. A peer that takes nothing for writeTime has ended it.
type packets struct {
	net.Conn
	in  *bufio.Reader
	mu  sync.Mutex
	out []byte
}

const maxPacket = 1500

func newPackets(c net.Conn) *packets { return &packets{Conn: c, in: bufio.NewReaderSize(c, 32<<10)} }

// ReadFrom implements net.PacketConn.
func (p *packets) ReadFrom(b []byte) (int, net.Addr, error) {
	var head [2]byte
	if _, err := io.ReadFull(p.in, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint16(head[:]))
	if n > min(maxPacket, len(b)) {
		return 0, nil, errors.New("a packet that is too long")
	}
	_, err := io.ReadFull(p.in, b[:n])
	return n, p.RemoteAddr(), err
}

// WriteTo implements net.PacketConn; there is one peer only, whatever the address.
func (p *packets) WriteTo(b []byte, _ net.Addr) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	p.out = append(binary.BigEndian.AppendUint16(p.out[:0], uint16(len(b))), b...)
	if _, err := p.Write(p.out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// acceptTCP takes connections in until the listener is closed.
func (s *Service) acceptTCP(ctx context.Context, l net.Listener, group *sync.WaitGroup) {
	places := make(chan struct{}, maxTCP)
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			s.log.Warn("accepting a connection", "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second): // out of descriptors, mostly
			}
			continue
		}
		select {
		case places <- struct{}{}:
		default:
			_ = c.Close()
			continue
		}
		group.Go(func() {
			defer func() { <-places }()
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { _ = c.Close() })
			defer stop()
			s.serveTCP(ctx, c)
		})
	}
}

// serveTCP serves the one session that comes over c.
func (s *Service) serveTCP(ctx context.Context, c net.Conn) {
	who := crowd.Address(c.RemoteAddr().String())
	if !s.callers.Enter(who) {
		return
	}
	defer s.callers.Leave(who)
	_ = c.SetDeadline(time.Now().Add(handshakeTime))
	outer := tls.Server(c, &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{alpn}, GetCertificate: s.serverProof, SessionTicketsDisabled: true,
	})
	if err := outer.HandshakeContext(ctx); err != nil {
		return
	}
	_ = c.SetDeadline(time.Time{})
	var came atomic.Bool
	transport := &quic.Transport{
		Conn: newPackets(outer),
		ConnContext: func(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
			if came.Swap(true) {
				return nil, errTooMany
			}
			return ctx, nil
		},
	}
	defer transport.Close()
	l, err := transport.Listen(s.serverTLS(), s.quicConfig())
	if err != nil {
		return
	}
	defer l.Close()
	first, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	conn, err := l.Accept(first)
	if err != nil {
		return
	}
	s.serve(ctx, conn, carrier{"tcp", func() { _ = c.Close() }})
}

// dialTCP opens a session over TLS over TCP.
func (s *Service) dialTCP(ctx context.Context, address string, config *tls.Config) (*quic.Conn, carrier, error) {
	d := net.Dialer{Timeout: handshakeTime}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, carrier{}, err
	}
	outer := tls.Client(c, &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{alpn}, InsecureSkipVerify: true, //nolint:gosec // the inner one verifies
		VerifyConnection: config.VerifyConnection,
	})
	if err := outer.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, carrier{}, err
	}
	transport := &quic.Transport{Conn: newPackets(outer)}
	end := func() {
		_ = c.Close()
		_ = transport.Close()
	}
	conn, err := transport.Dial(ctx, c.RemoteAddr(), config, s.quicConfig())
	if err != nil {
		end()
		return nil, carrier{}, err
	}
	return conn, carrier{"tcp", end}, nil
}
