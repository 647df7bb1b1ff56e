package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"hearth.alt/hwtest/box"
	"hearth.alt/hwtest/netlab"
	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/link"
)

// weight is what a running box takes.
type weight struct {
	goroutines int
	resident   int // bytes
}

func (w weight) String() string {
	return fmt.Sprintf("%d goroutines, %d MB", w.goroutines, w.resident>>20)
}

var goroutines = regexp.MustCompile(`(?m)^go_goroutines (\d+)$`)

// weigh asks the box's own metrics, and the kernel, about its one process.
func weigh(t *testing.T, b *box.Box) weight {
	t.Helper()
	resp, err := console(b).Get("http://console/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := goroutines.FindSubmatch(text)
	if m == nil {
		t.Fatalf("no goroutines in\n%s", text)
	}
	w := weight{}
	w.goroutines, _ = strconv.Atoi(string(m[1]))
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", b.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(v)[0])
			if err != nil {
				t.Fatal(err)
			}
			w.resident = kb << 10
		}
	}
	return w
}

// vandal is a host with many addresses in two networks that sends what no box sends to where links come in.
type vandal struct {
	host *netlab.Host
	from []netip.Addr
	to   netip.AddrPort
	hang chan io.Closer // what is left open, the oldest given up for the newest
}

func newVandal(b *villager, name string) *vandal {
	h := b.other(name)
	v := &vandal{host: h, to: netip.AddrPortFrom(b.at, linkPort), hang: make(chan io.Closer, 100)}
	for i := range 16 {
		for _, prefix := range []string{"192.168.1.%d/24", "172.30.66.%d/24"} {
			p := pfx(fmt.Sprintf(prefix, 200+i))
			h.Port("eth0").Add(p)
			v.from = append(v.from, p.Addr())
		}
	}
	return v
}

// dial opens a socket of its own from the i-th address.
func (v *vandal) dial(network string, i int) (c net.Conn, err error) {
	from := net.JoinHostPort(v.from[i%len(v.from)].String(), "0")
	err = v.host.Do(func() error {
		d := net.Dialer{Timeout: 5 * time.Second}
		switch network {
		case "udp":
			d.LocalAddr, err = net.ResolveUDPAddr("udp", from)
		case "tcp":
			d.LocalAddr, err = net.ResolveTCPAddr("tcp", from)
		}
		if err == nil {
			c, err = d.Dial(network, v.to.String())
		}
		return err
	})
	return c, err
}

// leave keeps a connection open for a while.
func (v *vandal) leave(c io.Closer) {
	for {
		select {
		case v.hang <- c:
			return
		default:
		}
		select {
		case old := <-v.hang:
			old.Close()
		default:
		}
	}
}

func (v *vandal) tidy() {
	for {
		select {
		case c := <-v.hang:
			c.Close()
		default:
			return
		}
	}
}

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// hello is a good first flight of TLS.
func hello() []byte {
	near, far := net.Pipe()
	defer far.Close()
	go func() {
		c := tls.Client(near, &tls.Config{ServerName: "hearth", NextProtos: []string{"hearth/1"}, InsecureSkipVerify: true})
		c.Handshake()
		near.Close()
	}()
	b := make([]byte, 4096)
	far.SetReadDeadline(time.Now().Add(time.Second))
	n, _ := far.Read(b)
	return b[:n]
}

// garbage is the kinds of connection that a vandal makes; do says whether it came as far as it is to.
var garbage = []struct {
	what string
	do   func(v *vandal, i int, r *rand.Rand) bool
}{
	{"datagrams of noise", func(v *vandal, i int, r *rand.Rand) bool {
		c, err := v.dial("udp", i)
		if err != nil {
			return false
		}
		defer c.Close()
		for range 3 {
			_, err = c.Write(noise(r, 1+r.IntN(1400)))
		}
		return err == nil
	}},
	{"what looks like the first packet of QUIC", func(v *vandal, i int, r *rand.Rand) bool {
		c, err := v.dial("udp", i)
		if err != nil {
			return false
		}
		b := noise(r, 1200)
		copy(b, []byte{0xc0 | byte(r.IntN(4)), 0, 0, 0, 1, 8}) // RFC 9000, section 17.2.2
		copy(b[14:], []byte{0, 0, 0x44, 0x9e})                 // no source ID, no token, all the rest is the packet
		if r.IntN(4) == 0 {
			b[4] = byte(r.Uint32()) // of some other version
		}
		_, err = c.Write(b)
		v.leave(c)
		return err == nil
	}},
	{"a good first packet of QUIC, and silence", func(v *vandal, i int, r *rand.Rand) bool {
		_, err := v.quic(i, true, 10*time.Millisecond, "hearth/1")
		return errors.Is(err, context.DeadlineExceeded)
	}},
	{"a handshake without a key of its own", func(v *vandal, i int, r *rand.Rand) bool {
		conn, err := v.quic(i, false, time.Second, []string{"hearth/1", "h3"}[r.IntN(2)])
		if err == nil {
			_, err = conn.AcceptStream(conn.Context())
		}
		var tls *quic.TransportError
		return errors.As(err, &tls) && tls.Remote // it was told why
	}},
	{"noise over TCP", func(v *vandal, i int, r *rand.Rand) bool {
		c, err := v.dial("tcp", i)
		if err != nil {
			return false
		}
		defer c.Close()
		_, err = c.Write(noise(r, 1+r.IntN(4000)))
		return err == nil
	}},
	{"half a TLS hello, and silence", func(v *vandal, i int, r *rand.Rand) bool {
		c, err := v.dial("tcp", i)
		if err != nil {
			return false
		}
		b := hello()
		_, err = c.Write(b[:r.IntN(len(b))])
		v.leave(c)
		return err == nil
	}},
	{"a TLS hello, and noise", func(v *vandal, i int, r *rand.Rand) bool {
		c, err := v.dial("tcp", i)
		if err != nil {
			return false
		}
		defer c.Close()
		_, err = c.Write(append(hello(), noise(r, 2000)...))
		return err == nil
	}},
	{"the outer TLS, and noise inside", func(v *vandal, i int, r *rand.Rand) bool {
		c, err := v.dial("tcp", i)
		if err != nil {
			return false
		}
		c.SetDeadline(time.Now().Add(5 * time.Second))
		o := tls.Client(c, &tls.Config{ServerName: "hearth", NextProtos: []string{"hearth/1"}, InsecureSkipVerify: true})
		if o.Handshake() != nil {
			c.Close()
			return false
		}
		_, err = o.Write(append([]byte{byte(r.IntN(6)), byte(r.Uint32())}, noise(r, 1200)...))
		v.leave(c)
		return err == nil
	}},
}

// quic dials without a certificate, from a socket of its own by which nothing comes where it is deaf.
func (v *vandal) quic(i int, isDeaf bool, d time.Duration, alpn string) (*quic.Conn, error) {
	c, err := v.host.ListenPacket("udp", net.JoinHostPort(v.from[i%len(v.from)].String(), "0"))
	if err != nil {
		return nil, err
	}
	v.leave(c)
	if isDeaf {
		c = deaf{c}
	}
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return quic.Dial(ctx, c, net.UDPAddrFromAddrPort(v.to), &tls.Config{NextProtos: []string{alpn}, InsecureSkipVerify: true}, &quic.Config{MaxIdleTimeout: time.Second})
}

// deaf is a socket by which nothing comes.
type deaf struct{ net.PacketConn }

func (d deaf) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		if _, _, err := d.PacketConn.ReadFrom(b); err != nil {
			return 0, nil, err
		}
	}
}

// throw makes n connections of garbage, some at the same time, and returns how many of each kind came as far as they were
// to: the box closes those that are too many.
func (v *vandal) throw(n int) map[string]int {
	var mu sync.Mutex
	came := map[string]int{}
	var wg sync.WaitGroup
	for k := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), uint64(k)))
			for i := k; i < n; i += 8 {
				kind := garbage[i/8%len(garbage)]
				if kind.do(v, i, r) {
					mu.Lock()
					came[kind.what]++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	v.tidy()
	return came
}

// handshakes makes n good sessions of strangers, each with a key of its own, who ask for whatever there may be. It returns
// how often they were refused.
func (v *vandal) handshakes(t *testing.T, asked services.PeerID, n int) (refusals int) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		self, sign := stranger(t)
		s, err := link.New(link.Config{
			Self: self, Sign: sign, Now: time.Now, Knows: func(services.PeerID) bool { return true },
			UDP: func() (net.PacketConn, error) {
				return v.host.ListenPacket("udp", net.JoinHostPort(v.from[i%len(v.from)].String(), "0"))
			},
			Paths: func(services.PeerID) []netip.AddrPort { return []netip.AddrPort{v.to} },
		})
		if err != nil {
			t.Error(err)
			return refusals
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		for !s.Health().Ready {
			time.Sleep(time.Millisecond)
		}
		asking, stop := context.WithTimeout(ctx, 5*time.Second)
		for range 1 + r.IntN(8) {
			name := []string{logProtocol, pingProtocol, addressProtocol, identity.JoinProtocol, fmt.Sprintf("/x/v%d", 1+r.IntN(99))}[r.IntN(5)]
			st, err := s.Open(asking, asked, name)
			var refused *link.RefusedError
			switch {
			case err == nil && name == identity.JoinProtocol: // an invitation is told to be none for as long as it would have been one
				st.Write(noise(r, 1+r.IntN(2000)))
				st.Cancel()
			case err == nil:
				t.Errorf("a stranger is spoken with in %s", name)
				st.Cancel()
			case errors.As(err, &refused):
				refusals++
			}
		}
		stop()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	return refusals
}

// settled weighs a box once it takes no less any more: for longer than a handshake may take.
func settled(t *testing.T, b *villager) weight {
	t.Helper()
	least, since := weigh(t, b.Box), time.Now()
	for begun := time.Now(); time.Since(since) < 6*time.Second && time.Since(begun) < time.Minute; time.Sleep(200 * time.Millisecond) {
		if w := weigh(t, b.Box); w.goroutines < least.goroutines {
			least, since = w, time.Now()
		} else {
			least.resident = w.resident
		}
	}
	return least
}

// By how much a box may have grown after the garbage: the other box may have two sessions rather than one, and Go's heap
// keeps room for the next.
const (
	goroutinesMore = 24
	residentMore   = 32 << 20 // bytes
)

// Ten thousand connections of garbage, from many addresses and by every way in: boxes of the household speak with one
// another meanwhile, and afterwards the box is as it was.
func TestGarbageConnections(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	boxes, _ := v.smiths("Attic")
	study, attic := boxes[0], boxes[1]
	asked, err := services.ParsePeerID(study.peerID())
	if err != nil {
		t.Fatal(err)
	}
	study.host.Port("eth0").Route(pfx("172.30.66.0/24"), netip.Addr{})
	vandals := newVandal(study, "vandals")
	n := 1000
	if all {
		n = 10_000
	}
	// The first few make what is made once.
	vandals.throw(64)
	vandals.handshakes(t, asked, 4)
	before := settled(t, study)

	over := make(chan struct{})
	var pings, missed int
	go func() {
		defer close(over)
		begun := time.Now()
		came := vandals.throw(n * 9 / 10)
		for _, kind := range garbage {
			t.Logf("%s: %d of %d", kind.what, came[kind.what], n*9/10/len(garbage))
			if came[kind.what] == 0 {
				t.Errorf("%s: none came", kind.what)
			}
		}
		refusals := vandals.handshakes(t, asked, n/10)
		t.Logf("%d strangers were refused %d times; all took %v", n/10, refusals, time.Since(begun))
		if refusals < n/10 {
			t.Error("strangers were not heard")
		}
	}()
	for running := true; running; {
		select {
		case <-over:
			running = false
		default:
			pings++
			if _, refused := attic.ping("Study"); refused != "" {
				missed++
				t.Errorf("ping %d is refused with %q", pings, refused)
			}
			if pings == 2 { // a box that comes anew is let in, too
				attic.Stop()
				attic.Restart()
				within(t, time.Minute, "the attic is back", func() error {
					if !study.boxes()["Attic"].Linked {
						return errors.New("it is not linked")
					}
					return nil
				})
			}
		}
	}
	t.Logf("%d pings, %d of them refused", pings, missed)
	at := weigh(t, study.Box)
	within(t, 3*time.Minute, fmt.Sprintf("the box, which was %v and then %v, is not as before", before, at), func() error {
		after := weigh(t, study.Box)
		if after.goroutines > before.goroutines+goroutinesMore || after.resident > before.resident+residentMore {
			return fmt.Errorf("it is %v", after)
		}
		t.Logf("before %v, at the end %v, after %v", before, at, after)
		return nil
	})
	study.add("Ben", "member")
	attic.knows("Ben", true)
	if _, refused := attic.ping("Study"); refused != "" {
		t.Errorf("a ping is refused with %q", refused)
	}
}
