package link

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"hearth.alt/services"
)

// house is a box for tests from within; its peers dial by hand.
type house struct {
	*Service
	id  services.PeerID
	udp net.PacketConn
	tcp net.Listener
}

// open runs a box until the end of the test. change may alter the service before it runs.
func open(t *testing.T, change func(*Config, *Service)) *house {
	t.Helper()
	h := &house{}
	var own ed25519.PrivateKey
	h.id, own = key(t)
	c := Config{
		Self:  h.id,
		Sign:  func(_ context.Context, m []byte) ([]byte, error) { return ed25519.Sign(own, m), nil },
		Paths: func(services.PeerID) []netip.AddrPort { return nil },
		Knows: func(services.PeerID) bool { return true }, Now: time.Now,
	}
	var err error
	if h.udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if h.tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	c.UDP = func() (net.PacketConn, error) { return h.udp, nil }
	c.TCP = func() (net.Listener, error) { return h.tcp, nil }
	change(&c, nil)
	if h.Service, err = New(c); err != nil {
		t.Fatal(err)
	}
	change(&c, h.Service)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		for deadline := time.Now().Add(10 * time.Second); h.callers.Len() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("%d callers are left", h.callers.Len())
				break
			}
		}
		if h.all != 0 || h.strangers.Len() != 0 || len(h.sessions) != 0 {
			t.Errorf("%d sessions are left, %d of strangers, %d peers", h.all, h.strangers.Len(), len(h.sessions))
		}
	})
	for !h.Health().Ready {
		time.Sleep(time.Millisecond)
	}
	return h
}

// hands is a TLS configuration of the box with the key own.
func hands(t *testing.T, self services.PeerID, own ed25519.PrivateKey) *tls.Config {
	t.Helper()
	c, err := proof(self, func(_ context.Context, m []byte) ([]byte, error) { return ed25519.Sign(own, m), nil })
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{*c}, NextProtos: []string{alpn}, MinVersion: tls.VersionTLS13,
		InsecureSkipVerify: true, //nolint:gosec // a test
	}
}

var byHand = &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true, KeepAlivePeriod: time.Second}

// caller is a transport to dial from.
func caller(t *testing.T) *quic.Transport {
	t.Helper()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tr := &quic.Transport{Conn: udp}
	t.Cleanup(func() { tr.Close(); udp.Close() })
	return tr
}

// call dials n times at once and returns how many sessions live in the end, which should be want.
func call(t *testing.T, n, want int, dial func(ctx context.Context) (*quic.Conn, error)) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var mu sync.Mutex
	var conns []*quic.Conn
	var group sync.WaitGroup
	for range n {
		group.Go(func() {
			if c, err := dial(ctx); err == nil {
				mu.Lock()
				conns = append(conns, c)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	alive := 0
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		alive = 0
		for _, c := range conns {
			if c.Context().Err() == nil {
				alive++
			}
		}
		if alive <= want {
			break
		}
	}
	time.Sleep(100 * time.Millisecond) // nobody more goes
	alive = 0
	for _, c := range conns {
		if c.Context().Err() == nil {
			alive++
		}
	}
	return alive
}

func TestSessionsOfAPeer(t *testing.T) {
	h, tr := open(t, func(*Config, *Service) {}), caller(t)
	self, own := key(t)
	config := hands(t, self, own)
	got := call(t, 40, maxOfPeer, func(ctx context.Context) (*quic.Conn, error) {
		return tr.Dial(ctx, h.udp.LocalAddr(), config, byHand)
	})
	if got != maxOfPeer {
		t.Errorf("one peer has %d sessions, want %d", got, maxOfPeer)
	}
}

// callers counts connections from their first packet on, known or not.
func TestCallers(t *testing.T) {
	h, tr := open(t, func(*Config, *Service) {}), caller(t)
	want := calling.Address
	got := call(t, want+20, want, func(ctx context.Context) (*quic.Conn, error) {
		self, own := key(t)
		return tr.Dial(ctx, h.udp.LocalAddr(), hands(t, self, own), byHand)
	})
	if got != want {
		t.Errorf("one address has %d connections, want %d", got, want)
	}
}

// Strangers have their share by address, and do not take that of first contacts from here.
func TestStrangersOfAnAddress(t *testing.T) {
	h, tr := open(t, func(c *Config, _ *Service) { c.Knows = func(services.PeerID) bool { return false } }), caller(t)
	got := call(t, 12, strange.Address, func(ctx context.Context) (*quic.Conn, error) {
		self, own := key(t)
		return tr.Dial(ctx, h.udp.LocalAddr(), hands(t, self, own), byHand)
	})
	if got != strange.Address {
		t.Errorf("strangers at one address have %d sessions, want %d", got, strange.Address)
	}
}

// A stranger that moves to another address (RFC 9000, section 9) gives back the place that it took.
func TestAStrangerMoves(t *testing.T) {
	h, tr := open(t, func(c *Config, _ *Service) { c.Knows = func(services.PeerID) bool { return false } }), caller(t)
	udp, err := net.ListenPacket("udp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	other := &quic.Transport{Conn: udp}
	t.Cleanup(func() { other.Close(); udp.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	self, own := key(t)
	conn, err := tr.Dial(ctx, h.udp.LocalAddr(), hands(t, self, own), byHand)
	if err != nil {
		t.Fatal(err)
	}
	path, err := conn.AddPath(other)
	if err == nil {
		err = path.Probe(ctx)
	}
	if err == nil {
		err = path.Switch()
	}
	if err != nil {
		t.Fatal(err)
	}
	moved := func() bool {
		live := h.live()
		return len(live) == 1 && live[0].path().Address.Addr() == netip.MustParseAddr("127.0.0.2")
	}
	for !moved() {
		_, _ = conn.OpenStream() // something to send
		_ = conn.SendDatagram([]byte("here"))
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("it does not move")
		}
	}
	_ = conn.CloseWithError(codeDone, "")
	for len(h.live()) > 0 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	if n := h.strangers.Len(); n != 0 {
		t.Errorf("%d strangers are left", n)
	}
}

func TestNoLinkToItself(t *testing.T) {
	self, own := key(t)
	h, tr := open(t, func(c *Config, _ *Service) {
		c.Self = self
		c.Sign = func(_ context.Context, m []byte) ([]byte, error) { return ed25519.Sign(own, m), nil }
	}), caller(t)
	got := call(t, 1, 0, func(ctx context.Context) (*quic.Conn, error) {
		return tr.Dial(ctx, h.udp.LocalAddr(), hands(t, self, own), byHand)
	})
	if got != 0 {
		t.Error("a copy of the box has a session with it")
	}
}

// A TCP connection carries one session.
func TestOneSessionInTCP(t *testing.T) {
	h := open(t, func(*Config, *Service) {})
	outer, err := tls.Dial("tcp", h.tcp.Addr().String(), &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{alpn}, InsecureSkipVerify: true, //nolint:gosec // a test
	})
	if err != nil {
		t.Fatal(err)
	}
	defer outer.Close()
	tr := &quic.Transport{Conn: newPackets(outer)}
	defer tr.Close()
	got := call(t, 30, 1, func(ctx context.Context) (*quic.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		self, own := key(t)
		return tr.Dial(ctx, outer.RemoteAddr(), hands(t, self, own), byHand)
	})
	if got != 1 {
		t.Errorf("%d sessions in one TCP connection, want 1", got)
	}
}

// An idle session is closed, one with a stream is not.
func TestIdle(t *testing.T) {
	h, tr := open(t, func(c *Config, s *Service) {
		c.Protocols = []Protocol{{Name: "/wait/v1", Serve: func(ctx context.Context, _ *Stream) error { <-ctx.Done(); return nil }}}
		if s != nil {
			s.idle = 200 * time.Millisecond
		}
	}), caller(t)
	dial := func() *quic.Conn {
		self, own := key(t)
		c, err := tr.Dial(t.Context(), h.udp.LocalAddr(), hands(t, self, own), byHand)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	busy, idle := dial(), dial()
	q, err := busy.OpenStreamSync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Write([]byte("\x01\x08/wait/v1")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(q, make([]byte, 4+32)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-idle.Context().Done():
	case <-time.After(10 * time.Second):
		t.Error("an idle session stays")
	}
	if busy.Context().Err() != nil {
		t.Error("a session with a stream is closed as idle")
	}
}

// Whoever reads nothing over TCP holds up no revocation.
func TestRecheckOfWhoReadsNothing(t *testing.T) {
	known := true
	var mu sync.Mutex
	h := open(t, func(c *Config, _ *Service) {
		c.Knows = func(services.PeerID) bool { mu.Lock(); defer mu.Unlock(); return known }
		c.Protocols = []Protocol{{Name: "/flood/v1", Serve: func(ctx context.Context, s *Stream) error {
			for b := make([]byte, 64<<10); ; {
				if _, err := s.Write(b); err != nil {
					return err
				}
			}
		}}}
	})
	raw, err := net.Dial("tcp", h.tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_ = raw.(*net.TCPConn).SetReadBuffer(4096)
	outer := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{alpn}, InsecureSkipVerify: true, //nolint:gosec // a test
	})
	gate := &gated{packets: newPackets(outer)}
	tr := &quic.Transport{Conn: gate}
	self, own := key(t)
	wide := byHand.Clone()
	wide.InitialStreamReceiveWindow, wide.InitialConnectionReceiveWindow = 64<<20, 64<<20
	wide.MaxStreamReceiveWindow, wide.MaxConnectionReceiveWindow = 64<<20, 64<<20
	conn, err := tr.Dial(t.Context(), raw.RemoteAddr(), hands(t, self, own), wide)
	if err != nil {
		t.Fatal(err)
	}
	q, err := conn.OpenStreamSync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Write([]byte("\x01\x09/flood/v1")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(q, make([]byte, 4+32+1000)); err != nil {
		t.Fatal(err)
	}
	gate.mu.Lock() // from here on nothing is read
	time.Sleep(500 * time.Millisecond)
	mu.Lock()
	known = false
	mu.Unlock()
	done := make(chan struct{})
	go func() { h.Recheck(); close(done) }()
	select {
	case <-done:
	case <-time.After(4 * time.Second):
		t.Error("Recheck waits for a peer that reads nothing")
	}
	for deadline := time.Now().Add(5 * time.Second); len(h.live()) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the session of the revoked peer goes on")
		}
	}
	gate.mu.Unlock()
	raw.Close()
	tr.Close()
}

// gated reads nothing while mu is held.
type gated struct {
	*packets
	mu sync.Mutex
}

func (g *gated) ReadFrom(b []byte) (int, net.Addr, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.packets.ReadFrom(b)
}

func TestPackets(t *testing.T) {
	frame := func(n int) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(n)), make([]byte, n)...) }
	read := func(b []byte, room int) (int, error) {
		here, there := net.Pipe()
		go func() { _, _ = there.Write(b); _ = there.Close() }()
		defer here.Close()
		p := &packets{Conn: here, in: bufio.NewReader(here)}
		n, _, err := p.ReadFrom(make([]byte, room))
		return n, err
	}
	for _, c := range []struct{ size, room, want int }{{0, 1500, 0}, {1200, 1500, 1200}, {1500, 1500, 1500}, {1501, 4000, -1}, {1200, 1199, -1}, {65535, 70000, -1}} {
		if n, err := read(frame(c.size), c.room); (err == nil) != (c.want >= 0) || err == nil && n != c.want {
			t.Errorf("%d bytes into %d: %d, %v", c.size, c.room, n, err)
		}
	}
	if _, err := read(frame(100)[:50], 1500); err == nil {
		t.Error("a packet that is cut")
	}
	var out bytes.Buffer
	here, there := net.Pipe()
	go func() { _, _ = newPackets(here).WriteTo([]byte("hello"), nil); _ = here.Close() }()
	_, _ = io.Copy(&out, there)
	if out.String() != "\x00\x05hello" {
		t.Errorf("written %q", out.String())
	}
}

// TestTakenBackIsNotTheEnd names a bug: a stream that was taken back from a peer looked finished to it when the handler
// returned before the stream was reset.
func TestTakenBackIsNotTheEnd(t *testing.T) {
	taken, read := make(chan *Stream, 1), make(chan error, 1)
	h := open(t, func(c *Config, _ *Service) {
		c.Protocols = []Protocol{{Name: "/files/v1", Serve: func(ctx context.Context, s *Stream) error {
			cancel := s.cancel
			s.cancel = sync.OnceFunc(func() { // the handler is as quick as can be, and so is the network
				cancel()
				_ = s.q.Close()
				read <- <-read
			})
			taken <- s
			<-ctx.Done()
			return nil
		}}}
	})
	other := open(t, func(c *Config, _ *Service) {
		c.Paths = func(services.PeerID) []netip.AddrPort {
			return []netip.AddrPort{h.udp.LocalAddr().(*net.UDPAddr).AddrPort()}
		}
	})
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	st, err := other.Open(ctx, h.id, "/files/v1")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := st.Read(make([]byte, 1))
		read <- err
	}()
	(<-taken).Cancel()
	if err := <-read; err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a stream that was taken back reads on: %v", err)
	}
}
