package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"hearth.alt/services"
	"hearth.alt/services/link/internal/wire"
)

const alpn = "hearth/1"

// The bounds. A session of a peer that does not read holds at most window bytes of it, a stranger's no more.
const (
	maxCallers     = 256 // connections that others opened, from their first packet on
	maxOfNetwork   = 64
	maxTCP         = 64
	maxSessions    = 512
	maxOfPeer      = 4
	maxStrangers   = 16
	mostStreams    = 64 // that a peer has open here, in one session
	mostOfStranger = 4

	handshakeTime = 5 * time.Second
	dialTime      = 10 * time.Second
	negotiateTime = 10 * time.Second
	keepAlive     = 10 * time.Second
	staleTime     = 3 * time.Second  // for an answer in a session that was there
	silence       = 30 * time.Second // without an answer: the session has ended
	idleTime      = 2 * time.Minute  // without a stream: the session is closed
)

// Service keeps the sessions. New makes one; its methods are safe for concurrent use.
type Service struct {
	config    Config
	log       *slog.Logger
	protocols map[string]*Protocol
	proof     atomic.Pointer[tls.Certificate]
	callers   callers
	transport atomic.Pointer[quic.Transport]
	health    atomic.Pointer[services.Health]

	mu       sync.Mutex
	ctx      context.Context // of Run; nil while it does not run
	group    *sync.WaitGroup
	sessions map[services.PeerID][]*session // the newest last
	all      int
	strange  int // sessions with strangers
	dialling map[services.PeerID]*dialling
}

// New checks the configuration. It opens nothing.
func New(c Config) (*Service, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	s := &Service{
		config: c, log: c.Log, protocols: map[string]*Protocol{},
		sessions: map[services.PeerID][]*session{}, dialling: map[services.PeerID]*dialling{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, p := range slices.Concat(c.Protocols, builtin) {
		s.protocols[p.Name] = &p
	}
	s.say(false, services.Say("link.starting", "Links between boxes are starting."))
	return s, nil
}

func (s *Service) say(ready bool, what services.Sentence) {
	s.health.Store(&services.Health{Name: "link", Ready: ready, OK: true, Since: s.config.Now(), Message: what})
}

// Health implements services.Service.
func (s *Service) Health() services.Health { return *s.health.Load() }

// Run opens the sockets and serves peers until ctx ends; every session has ended when it returns.
func (s *Service) Run(ctx context.Context) error {
	certificate, err := proof(s.config.Self, s.config.Sign)
	if err != nil {
		return err
	}
	s.proof.Store(certificate)
	udp, err := s.config.UDP()
	if err != nil {
		return fmt.Errorf("link: opening the UDP port: %w", err)
	}
	defer udp.Close()
	transport := &quic.Transport{
		Conn:                udp,
		VerifySourceAddress: func(net.Addr) bool { return s.callers.crowded() },
		ConnContext: func(ctx context.Context, who *quic.ClientInfo) (context.Context, error) {
			leave := s.callers.enter(who.RemoteAddr)
			if leave == nil {
				return nil, errors.New("too many connections")
			}
			context.AfterFunc(ctx, leave)
			return ctx, nil
		},
	}
	defer transport.Close()
	l, err := transport.Listen(s.serverTLS(), s.quicConfig())
	if err != nil {
		return fmt.Errorf("link: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	s.mu.Lock()
	s.ctx, s.group = ctx, &group
	s.mu.Unlock()
	s.transport.Store(transport)
	defer func() {
		s.mu.Lock()
		s.ctx = nil
		s.mu.Unlock()
		s.transport.Store(nil)
		cancel()
		group.Wait()
	}()
	if s.config.TCP != nil {
		tcp, err := s.config.TCP()
		if err != nil {
			return fmt.Errorf("link: opening the TCP port: %w", err)
		}
		defer tcp.Close()
		group.Go(func() { s.acceptTCP(ctx, tcp, &group) })
	}
	group.Go(func() { s.tidy(ctx) })
	s.say(true, services.Say("link.ready", "Other boxes can link to this one."))
	defer func() { s.say(false, services.Say("link.stopped", "Links between boxes have stopped.")) }()
	for {
		conn, err := l.Accept(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("link: accepting: %w", err)
		}
		group.Go(func() { s.serve(ctx, conn, "udp") })
	}
}

// tidy closes sessions that nobody uses.
func (s *Service) tidy(ctx context.Context) {
	tick := time.NewTicker(idleTime / 8)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, c := range s.live() {
			if since := c.idleSince(); !since.IsZero() && time.Since(since) > idleTime {
				c.close(codeDone, "")
			}
		}
	}
}

func (s *Service) live() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*session
	for _, list := range s.sessions {
		out = append(out, list...)
	}
	return out
}

// serve runs a session that a peer opened, until it ends.
func (s *Service) serve(ctx context.Context, conn *quic.Conn, via string) {
	peer, err := identify(conn.ConnectionState().TLS)
	if err != nil { // the handshake proved it
		_ = conn.CloseWithError(codeFailed, "")
		return
	}
	c := s.newSession(conn, peer, via)
	if !s.enter(c) {
		c.close(codeBusy, "too many sessions")
		return
	}
	defer s.leave(c)
	c.run(ctx)
}

func (s *Service) newSession(conn *quic.Conn, peer services.PeerID, via string) *session {
	return &session{
		s: s, conn: conn, peer: peer, via: via,
		streams: map[quic.StreamID]*Stream{}, serving: map[string]int{}, idle: time.Now(),
	}
}

// enter takes a session in. A peer's oldest gives way when it has too many: a box that restarts leaves old ones behind.
func (s *Service) enter(c *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.known = s.config.Knows(c.peer)
	list := s.sessions[c.peer]
	switch {
	case s.all >= maxSessions, !c.known && (s.strange >= maxStrangers || len(list) > 0):
		return false
	case len(list) >= maxOfPeer:
		go list[0].close(codeDone, "a newer session took its place")
	}
	if c.stranger = !c.known; c.stranger {
		s.strange++
	}
	s.all++
	s.sessions[c.peer] = append(list, c)
	return true
}

func (s *Service) leave(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if c.stranger {
		s.strange--
	}
	list := slices.DeleteFunc(s.sessions[c.peer], func(o *session) bool { return o == c })
	if len(list) == 0 {
		delete(s.sessions, c.peer)
		return
	}
	s.sessions[c.peer] = list
}

// Recheck ends what peers may no longer have. It is called after Knows or an Allow changed its mind.
func (s *Service) Recheck() {
	for _, c := range s.live() {
		c.recheck()
	}
}

// Open returns a stream to peer that speaks the first of names that the peer speaks with this box. It uses a session
// that is there, or opens one. The errors are those of config.go and ctx's.
func (s *Service) Open(ctx context.Context, peer services.PeerID, names ...string) (*Stream, error) {
	for i, n := range names {
		if !wire.Valid(n) || slices.Contains(names[:i], n) {
			return nil, fmt.Errorf("link: %q cannot be proposed", n)
		}
	}
	if len(names) == 0 || len(names) > wire.MaxNames {
		return nil, fmt.Errorf("link: %d names cannot be proposed", len(names))
	}
	st, _, err := s.negotiate(ctx, peer, names)
	return st, err
}

// PeerProtocols are the names that peer speaks with this box, sorted.
func (s *Service) PeerProtocols(ctx context.Context, peer services.PeerID) ([]string, error) {
	_, answer, err := s.negotiate(ctx, peer, nil)
	return answer.Listed, err
}

func (s *Service) negotiate(ctx context.Context, peer services.PeerID, names []string) (*Stream, wire.Select, error) {
	for {
		c, fresh, err := s.session(ctx, peer)
		if err != nil {
			return nil, wire.Select{}, err
		}
		try, cancel := context.WithTimeout(ctx, negotiateTime)
		if !fresh {
			// The peer may have been switched off: that shows only by its silence.
			cancel()
			try, cancel = context.WithTimeout(ctx, staleTime)
		}
		st, answer, err := c.open(try, names)
		cancel()
		var refused *RefusedError
		var reset *quic.StreamError
		switch {
		case err == nil, errors.As(err, &refused), ctx.Err() != nil:
			return st, answer, err
		case errors.As(err, &reset):
			return nil, wire.Select{}, fmt.Errorf("the box ended the stream: %w", err)
		case errors.Is(err, ErrTranscript):
			c.close(codeFailed, "a proposal was changed on its way")
			return nil, wire.Select{}, err
		}
		c.close(codeFailed, "no answer to a proposal")
		if fresh {
			return nil, wire.Select{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
	}
}

// dialling is a session on its way, for all who want it.
type dialling struct {
	done    chan struct{}
	session *session
	err     error
}

// session returns the newest live session to peer, or opens one, once for all who ask at the same time.
func (s *Service) session(ctx context.Context, peer services.PeerID) (c *session, fresh bool, err error) {
	if peer == s.config.Self || peer.IsZero() {
		return nil, false, errors.New("link: a box does not link to itself")
	}
	s.mu.Lock()
	if s.ctx == nil || s.ctx.Err() != nil {
		s.mu.Unlock()
		return nil, false, ErrNotRunning
	}
	for _, c := range slices.Backward(s.sessions[peer]) {
		if c.alive() {
			s.mu.Unlock()
			return c, false, nil
		}
	}
	d := s.dialling[peer]
	if d == nil {
		d = &dialling{done: make(chan struct{})}
		s.dialling[peer] = d
		run := s.ctx
		s.group.Go(func() { s.dialFor(run, peer, d) })
	}
	s.mu.Unlock()
	select {
	case <-d.done:
		return d.session, true, d.err
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
}

// dialFor opens a session, hands it to those who wait, and runs it until it ends.
func (s *Service) dialFor(ctx context.Context, peer services.PeerID, d *dialling) {
	conn, way, err := s.dial(ctx, peer)
	if err == nil {
		d.session = s.newSession(conn, peer, way.via)
		if !s.enter(d.session) {
			d.session.close(codeBusy, "too many sessions")
			d.session, err = nil, errors.New("link: too many sessions are open")
		}
	}
	d.err = err
	s.mu.Lock()
	delete(s.dialling, peer)
	s.mu.Unlock()
	close(d.done)
	if d.session != nil {
		defer s.leave(d.session)
		d.session.run(ctx)
	}
}

func (s *Service) quicConfig() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout: handshakeTime, MaxIdleTimeout: silence, KeepAlivePeriod: keepAlive,
		MaxIncomingStreams: mostStreams + 8, MaxIncomingUniStreams: -1, EnableDatagrams: true,
		EnableStreamResetPartialDelivery: true,
	}
}

var _ io.ReadWriteCloser = (*Stream)(nil)
