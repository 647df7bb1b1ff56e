package bind

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/tailscale/wireguard-go/device"
	"github.com/tailscale/wireguard-go/tun"
	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/curve25519"
	upconn "golang.zx2c4.com/wireguard/conn"
	updevice "golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
)

// pipe is a tunnel interface for a device of the pinned library: packets in and out by channel.
type pipe struct {
	in, out chan []byte
	events  chan tun.Event
	once    sync.Once
	closed  chan struct{}
}

func newPipe() *pipe {
	return &pipe{in: make(chan []byte), out: make(chan []byte, 64), events: make(chan tun.Event), closed: make(chan struct{})}
}

func (p *pipe) File() *os.File { return nil }
func (p *pipe) Read(slab []byte, packets []tun.ReadPacket) (int, error) {
	select {
	case b := <-p.in:
		packets[0] = tun.ReadPacket{Offset: tun.ReadPacketSpacing, Size: copy(slab[tun.ReadPacketSpacing:], b)}
		return 1, nil
	case <-p.closed:
		return 0, os.ErrClosed
	}
}
func (p *pipe) Write(bufs [][]byte, offset int) (int, error) {
	for _, b := range bufs {
		select {
		case p.out <- bytes.Clone(b[offset:]):
		case <-p.closed:
			return 0, os.ErrClosed
		}
	}
	return len(bufs), nil
}
func (p *pipe) MTU() (int, error)        { return 1280, nil }
func (p *pipe) Name() (string, error)    { return "pipe", nil }
func (p *pipe) Events() <-chan tun.Event { return p.events }
func (p *pipe) BatchSize() int           { return 1 }
func (p *pipe) Close() error {
	p.once.Do(func() { close(p.closed); close(p.events) })
	return nil
}

func newKey(t testing.TB) (private, public Key) {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return Key(k.Bytes()), Key(k.PublicKey().Bytes())
}

var (
	boxAddr   = netip.MustParseAddr("10.0.0.1")
	phoneAddr = netip.MustParseAddr("10.0.0.2")
)

// packet is an IPv4 packet with a text in it.
func packet(from, to netip.Addr, text string) []byte {
	b := make([]byte, 20+len(text))
	b[0], b[8], b[9] = 0x45, 64, 253
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], from.AsSlice())
	copy(b[16:], to.AsSlice())
	copy(b[20:], text)
	return b
}

// box is a device of the pinned library with our bind, listening on loopback.
type box struct {
	private, public Key
	bind            *Bind
	dev             *device.Device
	tun             *pipe
	port            uint16
	heard           chan netip.AddrPort
}

func newBox(t *testing.T, peer Key) *box {
	b := &box{tun: newPipe(), heard: make(chan netip.AddrPort, 64)}
	b.private, b.public = newKey(t)
	b.bind = New(func(k Key, at netip.AddrPort) {
		if k != peer {
			t.Errorf("heard of a stranger %x", k)
		}
		b.heard <- at
	})
	b.dev = device.NewDevice(b.tun, b.bind, &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf})
	t.Cleanup(b.dev.Close)
	if err := b.dev.IpcSet(fmt.Sprintf("private_key=%x\npublic_key=%x\nendpoint=%s\nallowed_ip=%s/32\n", b.private, peer, Endpoint(peer), phoneAddr)); err != nil {
		t.Fatal(err)
	}
	if err := b.dev.Up(); err != nil {
		t.Fatal(err)
	}
	text, err := b.dev.IpcGet()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range bytes.Split([]byte(text), []byte("\n")) {
		fmt.Sscanf(string(line), "listen_port=%d", &b.port)
	}
	return b
}

// phone is an unmodified upstream device.
type phone struct {
	dev *updevice.Device
	tun *tuntest.ChannelTUN
}

func newPhone(t *testing.T, private, box Key, port uint16) *phone {
	p := &phone{tun: tuntest.NewChannelTUN()}
	p.dev = updevice.NewDevice(p.tun.TUN(), upconn.NewDefaultBind(), updevice.NewLogger(updevice.LogLevelSilent, ""))
	t.Cleanup(p.dev.Close)
	if err := p.dev.IpcSet(fmt.Sprintf("private_key=%x\npublic_key=%x\nendpoint=127.0.0.1:%d\nallowed_ip=%s/32\n", private, box, port, boxAddr)); err != nil {
		t.Fatal(err)
	}
	if err := p.dev.Up(); err != nil {
		t.Fatal(err)
	}
	return p
}

func arrives(t *testing.T, c <-chan []byte, want string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case b := <-c:
			if string(b[20:]) == want {
				return
			}
		case <-deadline:
			t.Fatalf("%q did not arrive", want)
		}
	}
}

func (p *phone) says(t *testing.T, b *box, text string) {
	t.Helper()
	p.tun.Outbound <- packet(phoneAddr, boxAddr, text)
	arrives(t, b.tun.out, text)
}

func (b *box) says(t *testing.T, p *phone, text string) {
	t.Helper()
	b.tun.in <- packet(boxAddr, phoneAddr, text)
	arrives(t, p.tun.Inbound, text)
}

func TestBatching(t *testing.T) {
	if n := New(nil).BatchSize(); n <= 1 {
		t.Errorf("batch of %d: costs six times the CPU (facts/mesh.md 0.3)", n)
	}
}

// A stock peer gets an answer, is followed when its address changes, and when it starts again elsewhere.
func TestRoaming(t *testing.T) {
	private, public := newKey(t)
	b := newBox(t, public)
	p := newPhone(t, private, b.public, b.port)
	p.says(t, b, "hello")
	b.says(t, p, "hello yourself")
	first, ok := b.bind.Address(public)
	if at := <-b.heard; !ok || at != first {
		t.Fatalf("heard from %s, address %s, %v", at, first, ok)
	}
	if err := p.dev.IpcSet("listen_port=0\n"); err != nil { // another socket, another port
		t.Fatal(err)
	}
	p.says(t, b, "I walked")
	b.says(t, p, "I followed")
	second, _ := b.bind.Address(public)
	if at := <-b.heard; second == first || at != second {
		t.Fatalf("from %s to %s, heard %s", first, second, at)
	}
	p.dev.Close()
	again := newPhone(t, private, b.public, b.port)
	again.says(t, b, "I am new")
	b.says(t, again, "no, the same")
}

// After a restart the box knows where its phones were and calls them, so that they need not notice by themselves.
func TestCallsBack(t *testing.T) {
	private, public := newKey(t)
	b := newBox(t, public)
	p := newPhone(t, private, b.public, b.port)
	p.says(t, b, "hello")
	at, _ := b.bind.Address(public)
	b.dev.Close()

	b2 := &box{tun: newPipe(), heard: make(chan netip.AddrPort, 64)}
	b2.bind = New(func(_ Key, at netip.AddrPort) { b2.heard <- at })
	b2.dev = device.NewDevice(b2.tun, b2.bind, &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf})
	t.Cleanup(b2.dev.Close)
	if err := b2.dev.IpcSet(fmt.Sprintf("private_key=%x\nlisten_port=%d\npublic_key=%x\nendpoint=%s\nallowed_ip=%s/32\n", b.private, b.port, public, Endpoint(public), phoneAddr)); err != nil {
		t.Fatal(err)
	}
	b2.bind.SetAddress(public, at)
	if err := b2.dev.Up(); err != nil {
		t.Fatal(err)
	}
	b2.says(t, p, "I am back")
	p.says(t, b2, "I did not notice")
	if got := <-b2.heard; got != at {
		t.Errorf("heard from %s, want %s", got, at)
	}
}

func TestNoAddressAndForget(t *testing.T) {
	_, public := newKey(t)
	b := New(nil)
	ep, err := b.ParseEndpoint(Endpoint(public))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Send([][]byte{{4, 0, 0, 0}}, ep, 0); !errors.Is(err, ErrNoAddress) {
		t.Errorf("sending to nobody: %v", err)
	}
	b.SetAddress(public, netip.MustParseAddrPort("192.0.2.1:9"))
	b.SetAddress(public, netip.MustParseAddrPort("192.0.2.2:9"))
	if at, ok := b.Address(public); !ok || at.String() != "192.0.2.1:9" {
		t.Errorf("address %s, %v", at, ok)
	}
	b.Forget(public)
	if _, ok := b.Address(public); ok {
		t.Error("a forgotten peer has an address")
	}
	b.SetAddress(public, netip.MustParseAddrPort("192.0.2.1:9"))
	if _, ok := b.Address(public); ok {
		t.Error("a peer came into being by an address")
	}
	if again, _ := b.ParseEndpoint(Endpoint(public)); again == ep {
		t.Error("a forgotten peer returned")
	}
}

func FuzzParseEndpoint(f *testing.F) {
	f.Add("peer:" + hex.EncodeToString(make([]byte, 32)))
	f.Add("192.0.2.1:9")
	f.Fuzz(func(t *testing.T, s string) {
		ep, err := New(nil).ParseEndpoint(s)
		if (ep == nil) == (err == nil) {
			t.Fatalf("%q: %v, %v", s, ep, err)
		}
		if err == nil && Endpoint(ep.(*peer).key) != s && len(s) != len("peer:")+64 {
			t.Fatalf("%q is not what it parses to", s)
		}
	})
}

// forge makes a handshake initiation that names victim as its sender and that anyone can make who knows the two
// public keys: all of message one of Noise IKpsk2 but the proof (WireGuard paper, section 5.4.2).
func forge(t testing.TB, box, victim Key, index uint32) []byte {
	const construction = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
	const identifier = "WireGuard v1 zx2c4 Jason@zx2c4.com"
	h256 := func(parts ...[]byte) []byte {
		h, _ := blake2s.New256(nil)
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	hm := func(key []byte, parts ...[]byte) []byte {
		mac := newHMAC(key)
		for _, p := range parts {
			mac.Write(p)
		}
		return mac.Sum(nil)
	}
	ck := h256([]byte(construction))
	h := h256(ck, []byte(identifier))
	h = h256(h, box[:])
	ephemeral, ephemeralPublic := newKey(t)
	m := make([]byte, sizeInitiation)
	m[0] = typeInitiation
	binary.LittleEndian.PutUint32(m[4:], index)
	copy(m[8:], ephemeralPublic[:])
	h = h256(h, ephemeralPublic[:])
	ck = hm(hm(ck, ephemeralPublic[:]), []byte{1})
	dh, err := curve25519.X25519(ephemeral[:], box[:])
	if err != nil {
		t.Fatal(err)
	}
	temp := hm(ck, dh)
	one := hm(temp, []byte{1})
	key := hm(temp, one, []byte{2})
	aead, _ := chacha20poly1305.New(key)
	copy(m[40:], aead.Seal(nil, make([]byte, 12), victim[:], h))
	rand.Read(m[88:116]) // the timestamp would need the victim's private key
	mac, _ := blake2s.New128(h256([]byte("mac1----"), box[:]))
	mac.Write(m[:116])
	copy(m[116:], mac.Sum(nil))
	return m
}

func newHMAC(key []byte) hash.Hash {
	mac, _ := blake2s.New256(nil)
	return &hmac{inner: mac, key: key}
}

// hmac is HMAC-BLAKE2s (RFC 2104) without the standard library's reset.
type hmac struct {
	inner hash.Hash
	key   []byte
	data  []byte
}

func (h *hmac) Write(b []byte) (int, error) { h.data = append(h.data, b...); return len(b), nil }
func (h *hmac) Sum(b []byte) []byte {
	pad := func(x byte) []byte {
		k := make([]byte, 64)
		copy(k, h.key)
		for i := range k {
			k[i] ^= x
		}
		return k
	}
	h.inner.Reset()
	h.inner.Write(pad(0x36))
	h.inner.Write(h.data)
	in := h.inner.Sum(nil)
	h.inner.Reset()
	h.inner.Write(pad(0x5c))
	h.inner.Write(in)
	return h.inner.Sum(b)
}
func (h *hmac) Reset()         { h.data = nil }
func (h *hmac) Size() int      { return 32 }
func (h *hmac) BlockSize() int { return 64 }

// Whoever knows the public keys can claim to be anyone from anywhere, and must gain nothing by it: no traffic, no
// answer of another, and no broken session.
func TestForgedInitiationGainsNothing(t *testing.T) {
	private, public := newKey(t)
	b := newBox(t, public)
	thief, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(b.port)})
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	got := make(chan int, 1)
	go func() {
		buf, n := make([]byte, 2048), 0
		for {
			k, err := thief.Read(buf)
			if err != nil {
				got <- n
				return
			}
			if k == 64 && buf[0] == 3 {
				continue // a cookie: "prove your address first", and no traffic
			}
			n++
		}
	}()
	for i := range 20 {
		thief.Write(forge(t, b.public, public, uint32(i)))
	}
	if at, ok := b.bind.Address(public); ok {
		t.Errorf("an unproved address %s was taken", at)
	}
	b.tun.in <- packet(boxAddr, phoneAddr, "for the phone") // would go to the thief
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := uint32(100); ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(300 * time.Microsecond):
				thief.Write(forge(t, b.public, public, i))
			}
		}
	}()
	p := newPhone(t, private, b.public, b.port)
	p.says(t, b, "hello, among forgeries")
	for i := range 50 {
		b.says(t, p, fmt.Sprint("answer ", i))
	}
	close(stop)
	<-stopped
	at, _ := b.bind.Address(public)
	if at.Port() == uint16(thief.LocalAddr().(*net.UDPAddr).Port) {
		t.Error("the peer's address is the thief's")
	}
	thief.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n := <-got; n != 0 {
		t.Errorf("the thief received %d packets", n)
	}
}

// The forgery of the test above is as good as a real one up to the proof: the device gets far enough to call us.
func TestForgeryIsConvincing(t *testing.T) {
	_, public := newKey(t)
	b := newBox(t, public)
	c, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(b.port)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write(forge(t, b.public, public, 77))
	p := b.bind.peer(public)
	for range 200 {
		p.mu.Lock()
		at := p.ring[0].from
		p.mu.Unlock()
		if at != nil {
			if from := p.calling(77); from == nil || from.AddrPort.Port() != uint16(c.LocalAddr().(*net.UDPAddr).Port) {
				t.Fatalf("remembered %v", from)
			}
			if p.calling(77) != nil {
				t.Error("one initiation is answered twice")
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the device never named the caller: the forgery is malformed and proves nothing")
}
