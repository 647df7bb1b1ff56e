package link_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/link"
)

func TestMain(m *testing.M) {
	os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	os.Exit(m.Run())
}

// box is a running service with a device key of its own.
type box struct {
	*link.Service
	t    testing.TB
	id   services.PeerID
	key  ed25519.PrivateKey
	addr netip.AddrPort // of UDP, once it runs
	tcp  netip.AddrPort
	stop func()

	mu       sync.Mutex
	paths    map[services.PeerID][]netip.AddrPort
	knows    map[services.PeerID]bool
	nobody   bool // knows nobody but those in knows
	protocol []link.Protocol
}

func newBox(t testing.TB, protocols ...link.Protocol) *box {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := &box{
		t: t, key: key, id: services.PeerID(key.Public().(ed25519.PublicKey)), protocol: protocols,
		paths: map[services.PeerID][]netip.AddrPort{}, knows: map[services.PeerID]bool{},
	}
	b.Service, err = link.New(link.Config{
		Self: b.id,
		Sign: func(_ context.Context, message []byte) ([]byte, error) { return ed25519.Sign(b.key, message), nil },
		UDP: func() (net.PacketConn, error) {
			c, err := net.ListenPacket("udp", listenAt(b.addr))
			if err == nil {
				b.addr = c.LocalAddr().(*net.UDPAddr).AddrPort()
			}
			return c, err
		},
		TCP: func() (net.Listener, error) {
			l, err := net.Listen("tcp", listenAt(b.tcp))
			if err == nil {
				b.tcp = l.Addr().(*net.TCPAddr).AddrPort()
			}
			return l, err
		},
		Paths: func(peer services.PeerID) []netip.AddrPort {
			b.mu.Lock()
			defer b.mu.Unlock()
			return slices.Clone(b.paths[peer])
		},
		Knows: func(peer services.PeerID) bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			known, said := b.knows[peer]
			return known || !said && !b.nobody
		},
		Protocols: protocols, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func listenAt(a netip.AddrPort) string {
	if a.IsValid() {
		return a.String()
	}
	return "127.0.0.1:0"
}

// start runs the box until stop or the end of the test.
func (b *box) start() *box {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("Run: %v", err)
		}
	})
	b.t.Cleanup(b.stop)
	for !b.Health().Ready {
		time.Sleep(time.Millisecond)
	}
	return b
}

func (b *box) at(o *box, paths ...netip.AddrPort) *box {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(paths) == 0 {
		paths = []netip.AddrPort{o.addr}
	}
	b.paths[o.id] = paths
	return b
}

func (b *box) know(o *box, yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.knows[o.id] = yes
}

func echo(name string) link.Protocol {
	return link.Protocol{Name: name, Serve: func(_ context.Context, s *link.Stream) error {
		_, err := io.Copy(s, s)
		return err
	}}
}

// within is a context for what should take no time.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func pair(t *testing.T, protocols ...link.Protocol) (a, b *box) {
	a, b = newBox(t).start(), newBox(t, protocols...).start()
	a.at(b)
	return a, b
}

// say sends what on the stream, closes it, and returns what comes back.
func say(t *testing.T, s *link.Stream, what []byte) []byte {
	t.Helper()
	go func() {
		_, _ = s.Write(what)
		_ = s.Close()
	}()
	got, err := io.ReadAll(s)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestStream(t *testing.T) {
	a, b := pair(t, echo("/echo/v1"))
	for _, n := range []int{0, 1, 5 << 20} {
		s, err := a.Open(within(t), b.id, "/echo/v1")
		if err != nil {
			t.Fatal(err)
		}
		what := make([]byte, n)
		_, _ = rand.Read(what)
		if got := say(t, s, what); !bytes.Equal(got, what) {
			t.Errorf("%d bytes come back changed", n)
		}
		if s.Peer() != b.id || s.Protocol() != "/echo/v1" || s.Path() != (link.Path{Address: b.addr, Via: "udp"}) {
			t.Errorf("the stream is %v %q %v", s.Peer(), s.Protocol(), s.Path())
		}
	}
	if pong, err := a.Ping(within(t), b.id); err != nil || pong.RTT <= 0 || pong.Path.Address != b.addr {
		t.Errorf("ping: %+v, %v", pong, err)
	}
}

func TestNegotiation(t *testing.T) {
	a, b := pair(t, echo("/x/v1"), echo("/x/v2"), echo("/y/v1"))
	for _, c := range []struct {
		propose []string
		want    string
	}{
		{[]string{"/x/v2", "/x/v1"}, "/x/v2"},
		{[]string{"/x/v1", "/x/v2"}, "/x/v1"},
		{[]string{"/x/v3", "/z/v1", "/x/v1"}, "/x/v1"},
		{[]string{"/x/v3", "/z/v1"}, ""},
	} {
		s, err := a.Open(within(t), b.id, c.propose...)
		if c.want == "" {
			var refused *link.RefusedError
			if !errors.As(err, &refused) || refused.Code != link.RefusedUnknown {
				t.Errorf("%q: %v", c.propose, err)
			}
			continue
		}
		if err != nil || s.Protocol() != c.want {
			t.Errorf("%q: %v, want %s", c.propose, err, c.want)
			continue
		}
		if got := say(t, s, []byte("hello")); string(got) != "hello" {
			t.Errorf("%q: says %q", c.propose, got)
		}
	}
	got, err := a.PeerProtocols(within(t), b.id)
	if want := []string{"/link/ping/v1", "/x/v1", "/x/v2", "/y/v1"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("protocols %q, %v", got, err)
	}
	for _, bad := range [][]string{{}, {"x"}, {"/x"}, {"/x/v1", "/x/v1"}, {"/X/v1"}, {"/x/v0"}, make([]string, 17)} {
		if _, err := a.Open(within(t), b.id, bad...); err == nil {
			t.Errorf("%q is proposed", bad)
		}
	}
}

func TestDatagrams(t *testing.T) {
	talk := link.Protocol{Name: "/talk/v1", Serve: func(ctx context.Context, s *link.Stream) error {
		for {
			b, err := s.ReceiveDatagram(ctx)
			if err != nil {
				return nil
			}
			if err := s.SendDatagram(append([]byte(s.Protocol()), b...)); err != nil {
				return err
			}
		}
	}}
	other := talk
	other.Name = "/other/v1"
	a, b := pair(t, talk, other)
	b.at(a)
	for name, path := range map[string]netip.AddrPort{"udp": b.addr, "tcp": b.tcp} {
		c := newBox(t).start().at(b, path)
		var streams []*link.Stream
		for _, protocol := range []string{"/talk/v1", "/other/v1"} {
			s, err := c.Open(within(t), b.id, protocol)
			if err != nil {
				t.Fatal(name, err)
			}
			streams = append(streams, s)
		}
		for _, s := range streams {
			if s.Path().Via != name {
				t.Errorf("goes via %s, want %s", s.Path().Via, name)
			}
			got := ""
			for range 50 { // they may get lost
				if err := s.SendDatagram([]byte("!")); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
				d, err := s.ReceiveDatagram(ctx)
				cancel()
				if err == nil {
					got = string(d)
					break
				}
			}
			if got != s.Protocol()+"!" {
				t.Errorf("%s: got %q", s.Protocol(), got)
			}
			if err := s.SendDatagram(make([]byte, 4000)); !errors.Is(err, link.ErrTooLong) {
				t.Errorf("a long one: %v", err)
			}
			s.Cancel()
		}
	}
}

func TestWrongKeyAtTheRightAddress(t *testing.T) {
	a, b := pair(t, echo("/echo/v1"))
	other := newBox(t)
	a.at(other, b.addr)
	_, err := a.Open(within(t), other.id, "/echo/v1")
	if !errors.Is(err, link.ErrUnreachable) || !errors.Is(err, link.ErrWrongPeer) {
		t.Errorf("%v", err)
	}
}

func TestNoPath(t *testing.T) {
	a := newBox(t).start()
	if _, err := a.Open(within(t), newBox(t).id, "/echo/v1"); !errors.Is(err, link.ErrUnreachable) {
		t.Errorf("no path: %v", err)
	}
	if _, err := a.Open(within(t), a.id, "/echo/v1"); err == nil {
		t.Error("a link to itself")
	}
	if _, err := newBox(t).Open(within(t), a.id, "/echo/v1"); !errors.Is(err, link.ErrNotRunning) {
		t.Errorf("not running: %v", err)
	}
}

// Where UDP passes nowhere, the session comes about over TCP.
func TestTCP(t *testing.T) {
	a, b := pair(t, echo("/echo/v1"))
	dead := netip.MustParseAddrPort("127.0.0.1:9")
	a.at(b, dead, b.tcp)
	s, err := a.Open(within(t), b.id, "/echo/v1")
	if err != nil {
		t.Fatal(err)
	}
	if s.Path() != (link.Path{Address: b.tcp, Via: "tcp"}) {
		t.Errorf("path %v", s.Path())
	}
	what := make([]byte, 3<<20)
	_, _ = rand.Read(what)
	if got := say(t, s, what); !bytes.Equal(got, what) {
		t.Error("comes back changed")
	}
}

func TestRevocation(t *testing.T) {
	var ended atomic.Int32
	hold := func(name string) link.Protocol {
		return link.Protocol{Name: name, Serve: func(ctx context.Context, _ *link.Stream) error {
			<-ctx.Done()
			ended.Add(1)
			return nil
		}}
	}
	var granted atomic.Bool
	granted.Store(true)
	files := hold("/files/v1")
	files.Allow = func(services.PeerID) bool { return granted.Load() }
	a, b := newBox(t, hold("/log/v1")).start(), newBox(t, files, hold("/log/v1")).start()
	a.at(b)
	one, err := a.Open(within(t), b.id, "/files/v1")
	if err != nil {
		t.Fatal(err)
	}
	two, err := a.Open(within(t), b.id, "/log/v1")
	if err != nil {
		t.Fatal(err)
	}
	three, err := b.Open(within(t), a.id, "/log/v1")
	if err != nil {
		t.Fatal(err)
	}

	granted.Store(false)
	b.Recheck()
	if _, err := one.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the stream of a grant that ended reads on: %v", err)
	}
	if err := two.Context().Err(); err != nil {
		t.Errorf("the other stream ended with it: %v", err)
	}
	if _, err := a.Open(within(t), b.id, "/files/v1"); err == nil {
		t.Error("what was taken back is spoken")
	}

	b.know(a, false)
	b.Recheck()
	if _, err := two.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the session of a removed box goes on: %v", err)
	}
	if _, err := three.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("what was opened to the removed box goes on: %v", err)
	}
	var refused *link.RefusedError
	if _, err := a.Open(within(t), b.id, "/log/v1"); !errors.As(err, &refused) {
		t.Errorf("a removed box opens a stream: %v", err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for ended.Load() < 3 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	if n := ended.Load(); n != 3 {
		t.Errorf("%d handlers ended, want 3", n)
	}
}

// TestRemovedWhileAHandlerLingers names a bug: a box that was removed was told "too many sessions" for as long as a
// handler of its old session took to return.
func TestRemovedWhileAHandlerLingers(t *testing.T) {
	linger := make(chan struct{})
	a, b := newBox(t).start(), newBox(t, link.Protocol{Name: "/log/v1", Serve: func(context.Context, *link.Stream) error {
		<-linger
		return nil
	}})
	b.start()
	defer close(linger)
	a.at(b)
	if _, err := a.Open(within(t), b.id, "/log/v1"); err != nil {
		t.Fatal(err)
	}
	b.know(a, false)
	b.Recheck()
	var refused *link.RefusedError
	if _, err := a.Open(within(t), b.id, "/log/v1"); !errors.As(err, &refused) {
		t.Errorf("a removed box opens a stream: %v, want a refusal", err)
	}
}

// Strangers get what is for strangers, in few sessions, and keep nobody else out.
func TestStrangers(t *testing.T) {
	join := echo("/join/v1")
	join.Strangers, join.Allow = true, func(services.PeerID) bool { return true }
	b := newBox(t, join, echo("/log/v1"))
	b.nobody = true
	b.start()
	in := 0
	for range 24 {
		c := newBox(t).start().at(b)
		s, err := c.Open(within(t), b.id, "/join/v1")
		if err != nil {
			continue
		}
		in++
		if got := say(t, s, []byte("hi")); string(got) != "hi" {
			t.Errorf("says %q", got)
		}
		if _, err := c.Open(within(t), b.id, "/log/v1"); err == nil {
			t.Error("a stranger speaks with the household")
		}
		if got, err := c.PeerProtocols(within(t), b.id); err != nil || !slices.Equal(got, []string{"/join/v1"}) {
			t.Errorf("a stranger sees %q, %v", got, err)
		}
	}
	if in == 0 || in > 16 {
		t.Errorf("%d strangers have sessions, want a few", in)
	}
	friend := newBox(t).start().at(b)
	b.know(friend, true)
	if _, err := friend.Open(within(t), b.id, "/log/v1"); err != nil {
		t.Errorf("a friend finds no place: %v", err)
	}
}

// A handler that closed its own direction and goes on with datagrams ends as well.
func TestRevocationOfAHalfClosedStream(t *testing.T) {
	ended := make(chan struct{})
	var granted atomic.Bool
	granted.Store(true)
	a, b := pair(t, link.Protocol{
		Name: "/talk/v1", Allow: func(services.PeerID) bool { return granted.Load() },
		Serve: func(ctx context.Context, s *link.Stream) error {
			defer close(ended)
			_ = s.Close()
			for {
				if _, err := s.ReceiveDatagram(context.Background()); err != nil {
					return nil
				}
			}
		},
	})
	s, err := a.Open(within(t), b.id, "/talk/v1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(s); err != nil {
		t.Fatal(err)
	}
	granted.Store(false)
	b.Recheck()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the handler goes on")
	}
}

// Nothing races while rights change and streams are opened.
func TestRecheckBesideOpen(t *testing.T) {
	a, b := pair(t, echo("/echo/v1"))
	b.at(a)
	stop := make(chan struct{})
	var group sync.WaitGroup
	for _, x := range []*box{a, b} {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					x.Recheck()
				}
			}
		})
	}
	for range 200 {
		s, err := a.Open(within(t), b.id, "/echo/v1")
		if err != nil {
			t.Fatal(err)
		}
		s.Cancel()
	}
	close(stop)
	group.Wait()
}

// A gap in which nothing comes does not end the streams there are, though somebody asks for another one meanwhile.
func TestGap(t *testing.T) {
	hold := make(chan struct{})
	slow := link.Protocol{Name: "/slow/v1", Strangers: true, Allow: func(services.PeerID) bool { <-hold; return true }, Serve: func(context.Context, *link.Stream) error { return nil }}
	a, b := pair(t, echo("/echo/v1"), slow)
	s, err := a.Open(within(t), b.id, "/echo/v1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	if _, err := a.Open(ctx, b.id, "/slow/v1"); err == nil {
		t.Error("an answer without one")
	}
	close(hold)
	if got := say(t, s, []byte("still here")); string(got) != "still here" {
		t.Errorf("says %q", got)
	}
}

func TestBusy(t *testing.T) {
	few := link.Protocol{Name: "/few/v1", Most: 2, Serve: func(ctx context.Context, _ *link.Stream) error {
		<-ctx.Done()
		return nil
	}}
	a, b := pair(t, few, echo("/echo/v1"))
	var open []*link.Stream
	for range 2 {
		s, err := a.Open(within(t), b.id, "/few/v1")
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	var refused *link.RefusedError
	if _, err := a.Open(within(t), b.id, "/few/v1"); !errors.As(err, &refused) || refused.Code != link.RefusedBusy {
		t.Errorf("a third: %v", err)
	}
	if _, err := a.Open(within(t), b.id, "/few/v1", "/echo/v1"); !errors.As(err, &refused) {
		t.Errorf("a name that is spoken was passed over: %v", err)
	}
	open[0].Cancel()
	for deadline := time.Now().Add(10 * time.Second); ; {
		s, err := a.Open(within(t), b.id, "/few/v1")
		if err == nil {
			s.Cancel()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the place is not given back: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestAHandlerPanics(t *testing.T) {
	a, b := pair(t, link.Protocol{Name: "/bad/v1", Serve: func(context.Context, *link.Stream) error { panic("library") }}, echo("/echo/v1"))
	s, err := a.Open(within(t), b.id, "/bad/v1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the stream ends like a good one: %v", err)
	}
	if s, err = a.Open(within(t), b.id, "/echo/v1"); err != nil || string(say(t, s, []byte("ok"))) != "ok" {
		t.Errorf("the session ended with it: %v", err)
	}
}

// A peer that was switched off and on again is reached without its old session having to time out.
func TestRestart(t *testing.T) {
	a, b := pair(t, echo("/echo/v1"))
	if _, err := a.Ping(within(t), b.id); err != nil {
		t.Fatal(err)
	}
	b.stop()
	if _, err := a.Ping(within(t), b.id); err == nil {
		t.Error("a box that stopped answers")
	}
	b.start()
	if _, err := a.Ping(within(t), b.id); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}

// Both open at the same time, many times over: there are few sessions, and each stream goes to who was meant.
func TestManyAtOnce(t *testing.T) {
	a, b := newBox(t, echo("/echo/v1")).start(), newBox(t, echo("/echo/v1")).start()
	a.at(b)
	b.at(a)
	var group sync.WaitGroup
	for i := range 20 {
		from, to := a, b
		if i%2 == 1 {
			from, to = b, a
		}
		group.Go(func() {
			for { // eight streams of a protocol at a time
				s, err := from.Open(within(t), to.id, "/echo/v1")
				var refused *link.RefusedError
				if errors.As(err, &refused) && refused.Code == link.RefusedBusy {
					time.Sleep(5 * time.Millisecond)
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				what := fmt.Appendf(nil, "stream %d", i)
				if got := say(t, s, what); !bytes.Equal(got, what) || s.Peer() != to.id {
					t.Errorf("%s: got %q from %v", what, got, s.Peer())
				}
				return
			}
		})
	}
	group.Wait()
}

// Garbage leaves nothing behind.
func TestGarbage(t *testing.T) {
	a, b := pair(t, echo("/echo/v1"))
	if _, err := a.Ping(within(t), b.id); err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	udp, err := net.Dial("udp", b.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	packet := make([]byte, 1200)
	for i := range 10_000 {
		_, _ = rand.Read(packet[:64])
		if i%2 == 0 { // the long header of an Initial of version 1 (RFC 9000, section 17.2.2)
			copy(packet, []byte{0xc3, 0, 0, 0, 1, 8})
		}
		_, _ = udp.Write(packet[:64+i%1137])
		if i%20 == 0 {
			c, err := net.Dial("tcp", b.tcp.String())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = c.Write(packet[:i%100])
			_ = c.Close()
		}
	}
	if _, err := a.Ping(within(t), b.id); err != nil {
		t.Errorf("those who belong are no longer served: %v", err)
	}
	deadline := time.Now().Add(40 * time.Second)
	for runtime.NumGoroutine() > before+5 && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before+5 {
		t.Errorf("%d goroutines, %d before", n, before)
	}
}
