package dns

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// Times and bounds of asking upstream.
const (
	attemptTime = 2500 * time.Millisecond // one upstream
	dialTime    = 2 * time.Second
	idleTime    = 20 * time.Second // how long a connection stays open unused
	maxPipeline = 512              // questions on one connection at the same time
	padTo       = 128              // RFC 8467, section 4.1
	maxPacket   = 4096             // bytes of an answer by UDP; we ask for at most maxUDP
)

// useBundledRoots makes x/crypto's list of authorities the one to judge by where the system has none: the image. It
// does what importing x509roots/fallback does, but when first needed: the keeper and the verbs never are.
var useBundledRoots = sync.OnceFunc(func() {
	pool := x509.NewCertPool()
	for root := range bundle.Roots() {
		c, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			continue // its own tests parse them all
		}
		if root.Constraint == nil {
			pool.AddCert(c)
		} else {
			pool.AddCertWithConstraint(c, root.Constraint)
		}
	}
	x509.SetFallbackRoots(pool)
})

var errBroken = errors.New("connection broke")

func randomID() uint16 {
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint16(b[:])
}

// asker sends a question in wire form, whose identifier it replaces, and returns the answer with the same.
type asker interface {
	ask(ctx context.Context, m []byte) ([]byte, error)
	close()
}

// stream asks over one connection, many questions at a time, answers in any order (RFC 7766, section 7; RFC 7858).
type stream struct {
	dial func(ctx context.Context) (net.Conn, error)

	mu     sync.Mutex
	pipe   *pipe
	opens  chan struct{} // closed when the dialing that is under way has ended; nil when there is none
	openEr error
}

// pipe is one open connection.
type pipe struct {
	c    net.Conn
	wmu  sync.Mutex
	mu   sync.Mutex
	wait map[uint16]chan []byte
	dead bool
	got  time.Time // when something last came
}

func (s *stream) ask(ctx context.Context, m []byte) ([]byte, error) {
	for try := 0; ; try++ {
		p, used, err := s.get(ctx)
		if err != nil {
			return nil, err
		}
		b, err := p.ask(ctx, m)
		if errors.Is(err, errBroken) && used && try == 0 {
			continue // it closed an idle connection: that says nothing about it
		}
		return b, err
	}
}

// get returns the open connection, or dials; whoever comes meanwhile waits for the same dialing.
func (s *stream) get(ctx context.Context) (p *pipe, used bool, err error) {
	s.mu.Lock()
	if s.pipe != nil && s.pipe.alive() {
		defer s.mu.Unlock()
		return s.pipe, true, nil
	}
	if s.opens == nil {
		opens := make(chan struct{})
		s.opens = opens
		// Not ctx: the one who came first may leave before the others.
		dctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialTime)
		go func() {
			defer cancel()
			c, err := s.dial(dctx)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.opens, s.openEr = nil, err
			if err == nil {
				s.pipe = newPipe(c)
			}
			close(opens)
		}()
	}
	opens := s.opens
	s.mu.Unlock()
	select {
	case <-opens:
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pipe != nil && s.pipe.alive() {
		return s.pipe, false, nil
	}
	if s.openEr != nil {
		return nil, false, s.openEr
	}
	return nil, false, errBroken
}

func (s *stream) close() {
	s.mu.Lock()
	opens := s.opens
	s.mu.Unlock()
	if opens != nil {
		<-opens
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pipe != nil {
		s.pipe.end()
	}
}

func newPipe(c net.Conn) *pipe {
	p := &pipe{c: c, wait: map[uint16]chan []byte{}, got: time.Now()}
	_ = c.SetReadDeadline(time.Now().Add(idleTime))
	go p.read()
	return p
}

func (p *pipe) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.dead
}

func (p *pipe) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return
	}
	p.dead = true
	_ = p.c.Close()
	for _, w := range p.wait {
		close(w)
	}
	p.wait = nil
}

func (p *pipe) read() {
	defer p.end()
	var head [2]byte
	for {
		if _, err := io.ReadFull(p.c, head[:]); err != nil {
			return
		}
		b := make([]byte, binary.BigEndian.Uint16(head[:]))
		if _, err := io.ReadFull(p.c, b); err != nil || len(b) < headerLen {
			return
		}
		now := time.Now()
		_ = p.c.SetReadDeadline(now.Add(idleTime))
		id := binary.BigEndian.Uint16(b)
		p.mu.Lock()
		p.got = now
		w := p.wait[id]
		delete(p.wait, id)
		p.mu.Unlock()
		if w != nil {
			w <- b // holds one
		}
	}
}

func (p *pipe) ask(ctx context.Context, m []byte) ([]byte, error) {
	w := make(chan []byte, 1)
	p.mu.Lock()
	if p.dead || len(p.wait) >= maxPipeline {
		p.mu.Unlock()
		return nil, errBroken
	}
	id := randomID()
	for p.wait[id] != nil {
		id++
	}
	p.wait[id] = w
	p.mu.Unlock()
	b := make([]byte, 2, 2+len(m))
	binary.BigEndian.PutUint16(b, uint16(len(m)))
	b = append(b, m...)
	binary.BigEndian.PutUint16(b[2:], id)
	asked := time.Now()
	p.wmu.Lock()
	_ = p.c.SetWriteDeadline(asked.Add(attemptTime))
	_, err := p.c.Write(b) // one write, one TLS record
	p.wmu.Unlock()
	if err != nil {
		p.end()
		return nil, errBroken
	}
	select {
	case a, ok := <-w:
		if !ok {
			return nil, errBroken
		}
		return a, nil
	case <-ctx.Done():
		p.mu.Lock()
		delete(p.wait, id)
		silent := p.got.Before(asked) && errors.Is(ctx.Err(), context.DeadlineExceeded)
		p.mu.Unlock()
		if silent {
			p.end() // a connection into the void: the next question dials anew
		}
		return nil, ctx.Err()
	}
}

// datagram asks by UDP, each question from a port of its own, and by TCP what does not fit.
type datagram struct {
	addr netip.AddrPort
	long *stream
}

func (d *datagram) ask(ctx context.Context, m []byte) ([]byte, error) {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "udp", d.addr.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	q := append([]byte(nil), m...)
	binary.BigEndian.PutUint16(q, randomID())
	// A lost packet is sent again once.
	again := time.Now().Add(time.Second)
	buf := make([]byte, maxPacket) // each open question holds one
	for sent := 0; ; {
		if sent == 0 || sent == 1 && time.Now().After(again) {
			if _, err := c.Write(q); err != nil {
				return nil, err
			}
			if sent++; sent == 1 {
				_ = c.SetReadDeadline(again)
			} else if deadline, ok := ctx.Deadline(); ok {
				_ = c.SetReadDeadline(deadline)
			}
		}
		n, err := c.Read(buf)
		if err != nil {
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() && sent == 1 && ctx.Err() == nil {
				continue
			}
			return nil, err
		}
		// Anyone can send to the port: only what answers this question counts (RFC 5452, section 9).
		if n < headerLen || buf[0] != q[0] || buf[1] != q[1] || !sameQuestion(q, buf[:n]) {
			continue
		}
		if binary.BigEndian.Uint16(buf[2:])&bitTC != 0 || n == len(buf) {
			return d.long.ask(ctx, m)
		}
		return buf[:n:n], nil
	}
}

func (d *datagram) close() { d.long.close() }

// sameQuestion says whether answer b repeats the question of q.
func sameQuestion(q, b []byte) bool {
	a, rc, err := parseQuery(q)
	if err != nil || rc != 0 || len(b) < a.end || binary.BigEndian.Uint16(b[4:]) != 1 {
		return false
	}
	for i := headerLen; i < a.end; i++ {
		x, y := q[i], b[i]
		if x >= 'A' && x <= 'Z' {
			x += 'a' - 'A'
		}
		if y >= 'A' && y <= 'Z' {
			y += 'a' - 'A'
		}
		if x != y {
			return false
		}
	}
	return true
}

// endpoint is one address of one upstream and what we know of it.
type endpoint struct {
	name  string
	group int // index of the upstream
	addr  netip.AddrPort
	clear bool // asked in the clear
	asker

	mu    sync.Mutex
	fails int
	until time.Time // resting
	last  time.Time // when it last answered
	mean  time.Duration
	loop  int8 // of a resolver DHCP named: 0 not tried, 1 fine, 2 asks us in turn
}

func newEndpoint(u Upstream, group int, addr netip.AddrPort, roots *x509.CertPool, now func() time.Time) *endpoint {
	e := &endpoint{name: u.Name, group: group, addr: addr, clear: u.Protocol != TLS}
	if e.name == "" {
		e.name = addr.Addr().String()
	}
	dialer := &net.Dialer{Timeout: dialTime, KeepAlive: 15 * time.Second}
	tcp := func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", addr.String()) }
	switch u.Protocol {
	case Plain:
		e.asker = &datagram{addr: addr, long: &stream{dial: tcp}}
	case TCP:
		e.asker = &stream{dial: tcp}
	default:
		conf := &tls.Config{
			ServerName: u.Name, RootCAs: roots, Time: now, MinVersion: tls.VersionTLS12,
			NextProtos: []string{"dot"}, ClientSessionCache: tls.NewLRUClientSessionCache(4),
		}
		e.asker = &stream{dial: func(ctx context.Context) (net.Conn, error) {
			if roots == nil {
				useBundledRoots()
			}
			c, err := (&tls.Dialer{NetDialer: dialer, Config: conf}).DialContext(ctx, "tcp", addr.String())
			if err != nil {
				return nil, fmt.Errorf("DNS over TLS to %s at %s: %w", u.Name, addr, err)
			}
			return c, nil
		}}
	}
	return e
}

// result takes in how a question went.
func (e *endpoint) result(now time.Time, took time.Duration, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !ok {
		if e.fails++; e.fails >= 2 {
			e.until = now.Add(min(time.Minute, 2*time.Second<<min(e.fails-2, 5)))
		}
		return
	}
	e.fails, e.until, e.last = 0, time.Time{}, now
	if e.mean == 0 {
		e.mean = took
	}
	e.mean += (took - e.mean) / 8
}

// spoke says whether it has answered something since t.
func (e *endpoint) spoke(t time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last.After(t)
}

func (e *endpoint) resting(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return now.Before(e.until)
}

func (e *endpoint) wake() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fails, e.until = 0, time.Time{}
}

// patience is how long to wait before the next upstream is asked as well.
func (e *endpoint) patience() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mean == 0 {
		return 700 * time.Millisecond // the first connection has handshakes to do
	}
	return min(700*time.Millisecond, max(150*time.Millisecond, 4*e.mean))
}
