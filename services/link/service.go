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
	"hearth.alt/services/crowd"
	"hearth.alt/services/link/internal/wire"
)

const alpn = "hearth/1"

// The bounds.
const (
	window         = 8 << 20 // bytes of a session that wait here to be read; there are as many only where they are read fast
	maxTCP         = 64
	maxSessions    = 512
	maxOfPeer      = 4
	mostStreams    = 64 // that a peer has open here, in one session
	mostOfStranger = 4

	closeTime     = time.Second
	writeTime     = 5 * time.Second // that a peer over TCP may take nothing
	handshakeTime = 5 * time.Second
	dialTime      = 10 * time.Second
	negotiateTime = 10 * time.Second
	keepAlive     = 10 * time.Second
	staleTime     = 3 * time.Second  // for an answer in a session that was there
	silence       = 30 * time.Second // without an answer: the session has ended
	idleTime      = 2 * time.Minute  // without a stream: the session is closed
)

// calling bounds the connections that others opened, from their first packet on; strange those of strangers among them.
var (
	calling = crowd.Bounds{All: 256, Network: 128, Address: 64, Few: 4}
	strange = crowd.Bounds{All: 16, Network: 8, Address: 4, Few: 1}
)

// unproven is how many callers there may be before each has to prove its address (RFC 9000, section 8.1.2).
const unproven = 16

var errTooMany = errors.New("too many connections")

// Service keeps the sessions. New makes one; its methods are safe for concurrent use.
type Service struct {
	config    Config
	log       *slog.Logger
	protocols map[string]*Protocol
	proof     atomic.Pointer[tls.Certificate]
	callers   *crowd.Count
	strangers *crowd.Count
	idle      time.Duration // without a stream: a session is closed
	transport atomic.Pointer[quic.Transport]
	health    atomic.Pointer[services.Health]

	mu       sync.Mutex
	run      *run                           // nil while it does not run
	sessions map[services.PeerID][]*session // the newest last
	all      int
	dialling map[services.PeerID]*dialling
}

// run is what sessions need of a Run: its end, and where to begin what must have ended before.
type run struct {
	ctx   context.Context
	group sync.WaitGroup
}

// New checks the configuration. It opens nothing.
func New(c Config) (*Service, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	s := &Service{
		config: c, log: c.Log, callers: crowd.NewCount(calling), strangers: crowd.NewCount(strange), idle: idleTime, protocols: map[string]*Protocol{},
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
	if s.config.Self.IsZero() {
		s.health.Store(&services.Health{Name: "link", Ready: true, Since: s.config.Now(), Message: services.Say("link.no-key", "The box cannot show other boxes who it is, because its key is damaged. Bring it back from a backup.")})
		<-ctx.Done()
		return nil
	}
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
		VerifySourceAddress: func(net.Addr) bool { return s.callers.Len() >= unproven },
		ConnContext: func(ctx context.Context, c *quic.ClientInfo) (context.Context, error) {
			who := crowd.Address(c.RemoteAddr.String())
			if !s.callers.Enter(who) {
				return nil, errTooMany
			}
			context.AfterFunc(ctx, func() { s.callers.Leave(who) })
			return ctx, nil
		},
	}
	defer transport.Close()
	l, err := transport.Listen(s.serverTLS(), s.quicConfig())
	if err != nil {
		return fmt.Errorf("link: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &run{ctx: ctx}
	s.mu.Lock()
	s.run = r
	s.mu.Unlock()
	s.transport.Store(transport)
	defer func() {
		s.mu.Lock()
		s.run = nil
		s.mu.Unlock()
		s.transport.Store(nil)
		cancel()
		r.group.Wait()
	}()
	if s.config.TCP != nil {
		tcp, err := s.config.TCP()
		if err != nil {
			return fmt.Errorf("link: opening the TCP port: %w", err)
		}
		defer tcp.Close()
		r.group.Go(func() { s.acceptTCP(ctx, tcp, &r.group) })
	}
	r.group.Go(func() { s.tidy(ctx) })
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
		r.group.Go(func() { s.serve(ctx, conn, carrier{via: "udp"}) })
	}
}

// tidy closes sessions that nobody uses.
func (s *Service) tidy(ctx context.Context) {
	tick := time.NewTicker(s.idle / 8)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, c := range s.live() {
			if since := c.idleSince(); !since.IsZero() && time.Since(since) > s.idle {
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
func (s *Service) serve(ctx context.Context, conn *quic.Conn, via carrier) {
	peer, err := identify(conn.ConnectionState().TLS)
	if err != nil { // the handshake proved it
		_ = conn.CloseWithError(codeFailed, "")
		return
	}
	c := s.newSession(conn, peer, via)
	c.called = true
	if !s.enter(c) {
		c.close(codeBusy, "too many sessions")
		return
	}
	defer s.leave(c)
	c.run(ctx)
}

func (s *Service) newSession(conn *quic.Conn, peer services.PeerID, via carrier) *session {
	return &session{
		s: s, conn: conn, peer: peer, carrier: via,
		streams: map[quic.StreamID]*Stream{}, serving: map[string]int{}, idle: time.Now(),
	}
}

// enter takes a session in. A peer's oldest give way when it has too many: a box that restarts leaves old ones behind.
func (s *Service) enter(c *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.known = s.config.Knows(c.peer)
	list := s.sessions[c.peer]
	if s.run == nil || s.all >= maxSessions || !c.known && slices.ContainsFunc(list, (*session).alive) {
		return false
	}
	c.from = c.path().Address.Addr()
	if c.stranger = !c.known && c.called; c.stranger && !s.strangers.Enter(c.from) {
		return false
	}
	for len(list) >= maxOfPeer {
		old := list[0]
		s.run.group.Go(func() { old.close(codeDone, "a newer session took its place") })
		list = list[1:]
	}
	s.all++
	s.sessions[c.peer] = append(slices.Clone(list), c)
	return true
}

func (s *Service) leave(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if c.stranger {
		s.strangers.Leave(c.from)
	}
	list := slices.DeleteFunc(s.sessions[c.peer], func(o *session) bool { return o == c })
	if len(list) == 0 {
		delete(s.sessions, c.peer)
		return
	}
	s.sessions[c.peer] = list
}

// Recheck ends what peers may no longer have. It is called after Knows or an Allow changed its mind. It takes no longer
// than closeTime, whatever a peer does.
func (s *Service) Recheck() {
	var group sync.WaitGroup
	for _, c := range s.live() {
		group.Go(c.recheck)
	}
	group.Wait()
}

// Open returns a stream to peer that speaks the first of names that the peer speaks with this box. It uses a session
// that is there, or opens one. The errors are those of config.go and ctx's.
func (s *Service) Open(ctx context.Context, peer services.PeerID, names ...string) (*Stream, error) {
	if err := checkNames(names); err != nil {
		return nil, err
	}
	st, _, err := s.negotiate(ctx, peer, names)
	return st, err
}

func checkNames(names []string) error {
	for i, n := range names {
		if !wire.Valid(n) || slices.Contains(names[:i], n) {
			return fmt.Errorf("link: %q cannot be proposed", n)
		}
	}
	if len(names) == 0 || len(names) > wire.MaxNames {
		return fmt.Errorf("link: %d names cannot be proposed", len(names))
	}
	return nil
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
		if fresh {
			c.close(codeFailed, "no answer to a proposal")
			return nil, wire.Select{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		c.stale.Store(true)
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
		return nil, false, ErrSelf
	}
	s.mu.Lock()
	if s.run == nil || s.run.ctx.Err() != nil {
		s.mu.Unlock()
		return nil, false, ErrNotRunning
	}
	for _, c := range slices.Backward(s.sessions[peer]) {
		if c.usable() {
			s.mu.Unlock()
			return c, false, nil
		}
	}
	d := s.dialling[peer]
	if d == nil {
		d = &dialling{done: make(chan struct{})}
		s.dialling[peer] = d
		r := s.run
		r.group.Go(func() { s.dialFor(r, peer, d) })
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
func (s *Service) dialFor(r *run, peer services.PeerID, d *dialling) {
	conn, via, err := s.dial(r.ctx, s.config.Paths(peer), only(peer), &r.group)
	if err == nil {
		d.session = s.newSession(conn, peer, via)
		if !s.enter(d.session) {
			d.session.close(codeBusy, "too many sessions")
			via.end()
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
		d.session.run(r.ctx)
	}
}

func (s *Service) quicConfig() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout: handshakeTime, MaxIdleTimeout: silence, KeepAlivePeriod: keepAlive,
		InitialStreamReceiveWindow: 256 << 10, MaxStreamReceiveWindow: window / 2,
		InitialConnectionReceiveWindow: 512 << 10, MaxConnectionReceiveWindow: window,
		MaxIncomingStreams: mostStreams + 8, MaxIncomingUniStreams: -1, EnableDatagrams: true,
		EnableStreamResetPartialDelivery: true,
	}
}

var _ io.ReadWriteCloser = (*Stream)(nil)
