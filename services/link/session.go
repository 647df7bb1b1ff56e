package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"

	"hearth.alt/services"
	"hearth.alt/services/link/internal/wire"
)

// What ends a session or a stream, as QUIC's application error codes (RFC 9000, section 20.2).
const (
	codeDone     = 0 // nobody needs it any more
	codeStopping = 1
	codeRevoked  = 2 // the peer no longer belongs
	codeBusy     = 3
	codeFailed   = 4 // a handler failed, or a frame could not be read
)

// session is a QUIC connection to a peer.
type session struct {
	s       *Service
	conn    *quic.Conn
	peer    services.PeerID
	carrier carrier
	stale   atomic.Bool // it did not answer a proposal in time: it goes on, but nothing new is opened in it

	mu       sync.Mutex
	known    bool       // Knows says so
	called   bool       // from outside; set before it is entered
	stranger bool       // called while Knows did not; under Service.mu
	from     netip.Addr // when it was entered: a peer may move; under Service.mu
	streams  map[quic.StreamID]*Stream
	serving  map[string]int // streams that the peer opened, by protocol
	opening  int            // streams on their way, both sides
	idle     time.Time      // when the last stream ended; monotonic
}

func (c *session) path() Path {
	at, _ := netip.ParseAddrPort(c.conn.RemoteAddr().String())
	return Path{Address: netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), Via: c.carrier.via}
}

// alive says whether the session has not ended; its handlers may take longer.
func (c *session) alive() bool { return c.conn.Context().Err() == nil }

// usable says whether streams may be opened.
func (c *session) usable() bool { return c.alive() && !c.stale.Load() }

// close ends the session; where its carrier takes nothing any more, closeTime later that is cut.
func (c *session) close(code quic.ApplicationErrorCode, why string) {
	cut := time.AfterFunc(closeTime, c.carrier.end)
	defer cut.Stop()
	_ = c.conn.CloseWithError(code, why)
}

// run takes streams and datagrams in until the session ends.
func (c *session) run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	defer c.carrier.end()
	defer c.close(codeStopping, "")
	stop := context.AfterFunc(ctx, func() { c.close(codeStopping, "the box is about to stop") })
	defer stop()
	group.Go(c.takeDatagrams)
	for {
		q, err := c.conn.AcceptStream(ctx)
		if err != nil {
			return
		}
		c.mu.Lock()
		c.opening++
		c.mu.Unlock()
		group.Go(func() { c.accept(ctx, q) })
	}
}

// settled says that a stream is no longer on its way; it is in streams now, or was given up.
func (c *session) settled() {
	c.mu.Lock()
	c.opening--
	c.idle = time.Now()
	c.mu.Unlock()
}

// accept answers the proposal on q and has the protocol served.
func (c *session) accept(ctx context.Context, q *quic.Stream) {
	st, protocol := c.answer(ctx, q)
	c.settled()
	if st == nil {
		return
	}
	defer st.leave()
	defer func() {
		if p := recover(); p != nil {
			c.s.log.Error("a handler panics", "protocol", protocol.Name, "peer", c.peer, "panic", p, "stack", string(debug.Stack()))
			st.Cancel()
		}
	}()
	if err := protocol.Serve(st.Context(), st); err != nil {
		c.s.log.Debug("a stream ends", "protocol", protocol.Name, "peer", c.peer, "error", err)
		st.Cancel()
		return
	}
	_ = st.Close()
	q.CancelRead(codeDone)
}

// answer reads a proposal and answers it; the stream is nil when there is nothing to serve.
func (c *session) answer(ctx context.Context, q *quic.Stream) (*Stream, *Protocol) {
	_ = q.SetDeadline(time.Now().Add(negotiateTime))
	names, propose, err := wire.ReadPropose(q)
	answer := wire.Select{}
	var st *Stream
	var chosen *Protocol
	switch {
	case errors.Is(err, wire.ErrMalformed):
		answer.Refusal = wire.Malformed
	case err != nil:
		q.CancelRead(codeFailed)
		q.CancelWrite(codeFailed)
		return nil, nil
	case ctx.Err() != nil:
		answer.Refusal = wire.Stopping
	case len(names) == 0:
		answer.Listed = c.s.spoken(c.peer)
	default:
		st, chosen, answer = c.choose(q, names)
	}
	binding, err := bindingOf(c.conn, q.StreamID())
	if err == nil {
		_, err = q.Write(answer.Append(nil, binding, propose))
	}
	switch {
	case err != nil && st != nil:
		st.Cancel()
		st.leave()
		return nil, nil
	case st == nil:
		q.CancelRead(codeDone)
		_ = q.Close()
		return nil, nil
	}
	q.SetReliableBoundary() // the answer arrives even if the handler fails at once
	_ = q.SetDeadline(time.Time{})
	return st, chosen
}

// choose takes a place for the first of the names that is spoken with this peer.
func (c *session) choose(q *quic.Stream, names []string) (*Stream, *Protocol, wire.Select) {
	var answer wire.Select
	var chosen *Protocol
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, n := range names {
		p := c.s.protocol(n)
		if p == nil || !c.s.allowed(p, c.peer) {
			continue
		}
		answer.Mask |= 1 << i
		if chosen == nil {
			chosen = p
		}
	}
	most := mostStreams
	if !c.known {
		most = mostOfStranger
	}
	switch {
	case chosen == nil:
		return nil, nil, wire.Select{Refusal: wire.Unknown}
	case c.serving[chosen.Name] >= chosen.most() || c.servingAll() >= most:
		return nil, nil, wire.Select{Refusal: wire.Busy}
	}
	c.serving[chosen.Name]++
	return c.enterLocked(q, chosen.Name, true), chosen, answer
}

func (c *session) servingAll() (n int) {
	for _, k := range c.serving {
		n += k
	}
	return n
}

// enterLocked takes a negotiated stream in.
func (c *session) enterLocked(q *quic.Stream, protocol string, incoming bool) *Stream {
	st := &Stream{q: q, session: c, protocol: protocol, incoming: incoming, queue: make(chan []byte, queueLength)}
	st.ctx, st.cancel = context.WithCancel(c.conn.Context())
	context.AfterFunc(q.Context(), func() { // the own direction has ended, perhaps by the peer's wish
		var reset *quic.StreamError
		if errors.As(context.Cause(q.Context()), &reset) {
			st.cancel()
		}
	})
	c.streams[q.StreamID()] = st
	return st
}

// open proposes names and returns the stream. Whatever is neither a refusal nor a changed transcript means that the
// session is of no use any more.
func (c *session) open(ctx context.Context, names []string) (*Stream, wire.Select, error) {
	c.mu.Lock()
	c.opening++
	c.mu.Unlock()
	defer c.settled()
	q, err := c.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, wire.Select{}, err
	}
	st, answer, err := c.propose(ctx, q, names)
	if err != nil || st == nil {
		q.CancelRead(codeDone)
		q.CancelWrite(codeDone)
	}
	return st, answer, err
}

func (c *session) propose(ctx context.Context, q *quic.Stream, names []string) (*Stream, wire.Select, error) {
	stop := context.AfterFunc(ctx, func() { _ = q.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	binding, err := bindingOf(c.conn, q.StreamID())
	if err != nil {
		return nil, wire.Select{}, err
	}
	propose := wire.AppendPropose(nil, names)
	if _, err := q.Write(propose); err != nil {
		return nil, wire.Select{}, err
	}
	// Datagrams may come right behind the answer.
	c.mu.Lock()
	st := c.enterLocked(q, "", false)
	c.mu.Unlock()
	answer, err := wire.ReadSelect(q, binding, propose, len(names))
	switch {
	case err == nil && answer.Refusal != 0:
		err = &RefusedError{Peer: c.peer, Code: answer.Refusal}
	case err == nil && answer.Chosen() >= 0:
		if !stop() {
			err = ctx.Err()
			break
		}
		c.mu.Lock()
		st.protocol = names[answer.Chosen()]
		c.mu.Unlock()
		return st, answer, nil
	}
	st.leave()
	return nil, answer, err
}

// takeDatagrams hands datagrams to their streams until the session ends.
func (c *session) takeDatagrams() {
	for {
		b, err := c.conn.ReceiveDatagram(c.conn.Context())
		if err != nil {
			return
		}
		id, n, err := quicvarint.Parse(b)
		if err != nil {
			continue
		}
		c.mu.Lock()
		st := c.streams[quic.StreamID(id)]
		c.mu.Unlock()
		if st == nil || st.ctx.Err() != nil {
			continue
		}
		select {
		case st.queue <- b[n:]:
		default: // its receiver is slow
		}
	}
}

// recheck ends what the peer may no longer have.
func (c *session) recheck() {
	knows := c.s.config.Knows(c.peer)
	c.mu.Lock()
	revoked := c.known && !knows
	c.known = knows
	var ended []*Stream
	for _, st := range c.streams {
		if st.incoming && !c.s.allowed(c.s.protocol(st.protocol), c.peer) {
			ended = append(ended, st)
		}
	}
	c.mu.Unlock()
	for _, st := range ended {
		st.Cancel()
	}
	if revoked {
		c.close(codeRevoked, "this box no longer belongs")
	}
}

// idleSince says since when there has been no stream; the zero time is that there is one.
func (c *session) idleSince() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.streams) > 0 || c.opening > 0 {
		return time.Time{}
	}
	return c.idle
}

// bindingOf is what only the two ends of the stream know (RFC 8446, section 7.5; RFC 5705 for the label).
func bindingOf(conn *quic.Conn, id quic.StreamID) ([]byte, error) {
	state := conn.ConnectionState().TLS
	b, err := state.ExportKeyingMaterial("EXPERIMENTAL hearth link stream", quicvarint.Append(nil, uint64(id)), 32)
	if err != nil {
		return nil, fmt.Errorf("link: binding a stream: %w", err)
	}
	return b, nil
}

// spoken are the names spoken with peer, sorted.
func (s *Service) spoken(peer services.PeerID) []string {
	var out []string
	for _, p := range s.protocols {
		if s.allowed(p, peer) {
			out = append(out, p.Name)
		}
	}
	slices.Sort(out)
	return out
}

func (s *Service) protocol(name string) *Protocol { return s.protocols[name] }

func (s *Service) allowed(p *Protocol, peer services.PeerID) bool {
	return (p.Strangers || s.config.Knows(peer)) && (p.Allow == nil || p.Allow(peer))
}

func (p *Protocol) most() int {
	if p.Most == 0 {
		return 8
	}
	return p.Most
}
