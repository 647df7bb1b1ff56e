package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"hearth.alt/services/crowd"
)

// Bounds of serving.
const (
	maxWaiting  = 2304 // questions by UDP that are no quick matter; more than may wait for an upstream (patients)
	maxConns    = 256  // TCP connections
	maxOfOne    = 16   // TCP connections of one address: clients expect to be cut off and ask again (RFC 7766, section 6.2)
	maxPerConn  = 32   // questions of one connection at the same time
	connIdle    = 10 * time.Second
	udpReaders  = 2 // per socket
	tcpFirst    = 5 * time.Second
	writeMoment = 5 * time.Second
)

// counters behind Stats.
type counters struct {
	questions, cached, stale, local, forwarded, failed, refused, dropped, filtered, plain atomic.Uint64
}

// handler answers messages.
type handler struct {
	zones    atomic.Pointer[zones]
	cache    *cache
	forward  *forwarder
	counters counters
}

// quick answers from the cache, or what needs no thought. It returns nil when the question needs slow, and done false;
// with done true and nil, silence.
func (h *handler) quick(q *query, key, dst []byte, from netip.Addr, rcode int, err error, stream bool) (out []byte, done bool) {
	if err != nil {
		h.counters.refused.Add(1)
		return nil, true
	}
	if rcode != 0 {
		h.counters.refused.Add(1)
		return q.appendBare(dst, 0, rcode, 0), true
	}
	h.counters.questions.Add(1)
	if q.version != 0 {
		h.counters.refused.Add(1)
		return q.appendBare(dst, 0, dns.RcodeBadVers, 0), true // RFC 6891, section 6.1.3
	}
	if q.qclass != dns.ClassINET || q.qtype == dns.TypeAXFR || q.qtype == dns.TypeIXFR || q.qtype == dns.TypeOPT || q.qtype == 0 ||
		q.qtype == dns.TypeMAILA || q.qtype == dns.TypeMAILB || q.qtype == dns.TypeTSIG || q.qtype == dns.TypeTKEY {
		h.counters.refused.Add(1)
		return q.appendBare(dst, 0, dns.RcodeRefused, 0), true
	}
	now := h.cache.now()
	a, f := h.cache.get(key, now)
	if f != fresh && f != ageing {
		return nil, false
	}
	if f == ageing && now >= a.retry.Load() {
		if ask, ok := q.question(); ok {
			h.forward.start(context.Background(), key, question{ask, q.do, q.flags&bitCD != 0, from}, a)
		}
	}
	h.counters.cached.Add(1)
	if a.failure {
		h.counters.failed.Add(1)
	}
	return a.appendTo(dst, q, now, false, q.limit(stream)), true
}

// question returns the question as the library has it; false when the name is beyond it.
func (q *query) question() (dns.Question, bool) {
	name, _, err := dns.UnpackDomainName(q.raw, headerLen)
	if err != nil {
		return dns.Question{}, false
	}
	return dns.Question{Name: name, Qtype: q.qtype, Qclass: q.qclass}, true
}

// slow answers what is not in the cache. It may take until ctx ends, at most resolveTime and a little.
func (h *handler) slow(ctx context.Context, q *query, key, dst []byte, from netip.Addr, stream bool) []byte {
	ask, ok := q.question()
	if !ok {
		h.counters.refused.Add(1)
		return q.appendBare(dst, 0, dns.RcodeFormatError, 0)
	}
	if name := strings.ToLower(ask.Name); strings.HasSuffix(name, loopZone) && h.forward.looped(name) {
		h.counters.refused.Add(1)
		return q.appendBare(dst, 0, dns.RcodeRefused, 0)
	}
	if m := h.zones.Load().answer(ask); m != nil {
		h.counters.local.Add(1)
		a, err := wireAnswer(m)
		if err != nil {
			h.counters.failed.Add(1)
			return q.appendBare(dst, 0, dns.RcodeServerFailure, 0)
		}
		now := h.cache.now()
		a.stored = now
		return a.appendTo(dst, q, now, false, q.limit(stream))
	}
	if q.qtype == dns.TypeANY {
		h.counters.local.Add(1)
		m := &dns.Msg{Question: []dns.Question{ask}, Answer: []dns.RR{minimalANY(ask.Name)}}
		m.Response, m.RecursionAvailable = true, true
		a, err := wireAnswer(m)
		if err != nil {
			return q.appendBare(dst, 0, dns.RcodeServerFailure, 0)
		}
		now := h.cache.now()
		a.stored = now
		return a.appendTo(dst, q, now, false, q.limit(stream))
	}
	if q.flags&bitRD == 0 { // whoever wants no recursion wants nothing of a forwarder
		h.counters.refused.Add(1)
		return q.appendBare(dst, 0, dns.RcodeRefused, 0)
	}
	old, f := h.cache.get(key, h.cache.now())
	if f != stale {
		old = nil
	}
	a, usedOld, err := h.forward.resolve(ctx, key, question{ask, q.do, q.flags&bitCD != 0, from}, old)
	if err != nil {
		h.counters.failed.Add(1)
		var ede uint16 = networkEDE
		if errors.Is(err, errTooMany) {
			ede = 0 // the network is fine
		}
		return q.appendBare(dst, 0, dns.RcodeServerFailure, ede)
	}
	if usedOld {
		h.counters.cached.Add(1)
		h.counters.stale.Add(1)
	} else if a.failure {
		h.counters.failed.Add(1)
	}
	return a.appendTo(dst, q, h.cache.now(), usedOld, q.limit(stream))
}

// server serves one set of sockets.
type server struct {
	h       *handler
	from    func(netip.Addr) bool // who may ask; nil is everybody who reaches the sockets
	waiting atomic.Int64
	conns   *crowd.Table
}

// run serves until ctx ends or a socket breaks, closes the sockets and waits for everything it started.
func (s *server) run(ctx context.Context, socks Sockets) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		<-ctx.Done()
		socks.close()
		return nil
	})
	for _, p := range socks.Packet {
		for range udpReaders {
			g.Go(func() error { return s.packets(ctx, p) })
		}
	}
	for _, l := range socks.Stream {
		g.Go(func() error { return s.accept(ctx, l) })
	}
	return g.Wait()
}

// packets answers one packet socket. Answers in the cache are sent by the reader itself; nothing is allocated for them.
func (s *server) packets(ctx context.Context, p net.PacketConn) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	udp, _ := p.(*net.UDPConn)
	in, out, keyBuf := make([]byte, maxQuery), make([]byte, 0, maxUDP+optEDELen), make([]byte, 0, 300)
	for {
		var n int
		var to netip.AddrPort
		var addr net.Addr
		var err error
		if udp != nil {
			n, to, err = udp.ReadFromUDPAddrPort(in)
		} else {
			n, addr, err = p.ReadFrom(in)
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if udp == nil {
			to, _ = netip.ParseAddrPort(addr.String())
		}
		if !s.mayAsk(to.Addr()) {
			continue
		}
		q, rcode, perr := parseQuery(in[:n])
		key := keyBuf[:0]
		if perr == nil && rcode == 0 {
			key = q.appendKey(key)
		}
		b, done := s.h.quick(&q, key, out[:0], to.Addr(), rcode, perr, false)
		if done {
			if b != nil {
				send(udp, p, to, addr, b)
			}
			continue
		}
		if s.waiting.Add(1) > maxWaiting {
			s.waiting.Add(-1)
			s.h.counters.dropped.Add(1)
			continue
		}
		raw := append([]byte(nil), in[:n]...)
		k := append([]byte(nil), key...)
		q.raw = raw
		wg.Go(func() {
			defer s.waiting.Add(-1)
			if b := s.h.slow(ctx, &q, k, nil, to.Addr(), false); b != nil {
				send(udp, p, to, addr, b)
			}
		})
	}
}

// mayAsk says whether a question from a is answered; silence is all that others get.
func (s *server) mayAsk(a netip.Addr) bool {
	if s.from == nil || s.from(a.Unmap()) {
		return true
	}
	s.h.counters.dropped.Add(1)
	return false
}

// send answers a packet. An error is the asker's loss alone: it will ask again.
func send(udp *net.UDPConn, p net.PacketConn, to netip.AddrPort, addr net.Addr, b []byte) {
	if udp != nil {
		_, _ = udp.WriteToUDPAddrPort(b, to)
		return
	}
	_, _ = p.WriteTo(b, addr)
}

func (s *server) accept(ctx context.Context, l net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				continue
			}
			return err
		}
		at, err := netip.ParseAddrPort(c.RemoteAddr().String())
		if err != nil || !s.mayAsk(at.Addr()) {
			_ = c.Close()
			continue
		}
		n, displaced := s.conns.Enter(c)
		if displaced {
			s.h.counters.dropped.Add(1)
		}
		wg.Go(func() { s.stream(ctx, n) })
	}
}

// stream answers one TCP connection: many questions, answers as they come (RFC 7766).
func (s *server) stream(ctx context.Context, c *crowd.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	var wg sync.WaitGroup
	defer func() {
		wg.Wait() // answers under way are still sent
		cancel()
		stop()
		_ = c.Close()
	}()
	var wmu sync.Mutex
	write := func(b []byte) {
		wmu.Lock()
		defer wmu.Unlock()
		_ = c.SetWriteDeadline(time.Now().Add(writeMoment))
		if _, err := c.Write(b); err != nil {
			_ = c.Close()
		}
	}
	slots := make(chan struct{}, maxPerConn)
	idle := tcpFirst
	for {
		var head [2]byte
		_ = c.SetReadDeadline(time.Now().Add(idle))
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		n := binary.BigEndian.Uint16(head[:])
		if n > maxQuery {
			return
		}
		in := make([]byte, n)
		if _, err := io.ReadFull(c, in); err != nil {
			return
		}
		idle = connIdle
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if b := s.h.answer(ctx, in, c.From, true, make([]byte, 2, 512)); len(b) > 2 {
				binary.BigEndian.PutUint16(b, uint16(len(b)-2))
				write(b)
			}
		})
	}
}

// answer answers one message in wire form, appended to dst; nothing is appended for silence. from is who asks, the zero
// address for the box itself.
func (h *handler) answer(ctx context.Context, raw []byte, from netip.Addr, stream bool, dst []byte) []byte {
	q, rcode, err := parseQuery(raw)
	var key []byte
	if err == nil && rcode == 0 {
		key = q.appendKey(make([]byte, 0, 300))
	}
	b, done := h.quick(&q, key, dst, from, rcode, err, stream)
	if done {
		if b == nil {
			return dst
		}
		return b
	}
	return h.slow(ctx, &q, key, dst, from, stream)
}
