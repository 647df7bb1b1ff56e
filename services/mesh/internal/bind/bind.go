// Package bind lets the peers of the pinned WireGuard library roam.
//
// The library (tailscale/wireguard-go since 2026) sends to a peer's endpoint and never learns a new one: a phone
// that was not given an endpoint, which is every phone, gets no answer at all, and one that walks from Wi-Fi into
// the street is lost (facts/mesh.md 0.1). Bind wraps the library's own socket code, so that batching and the
// kernel's UDP GSO and GRO stay, and makes the endpoint of a peer an identity whose address follows the peer:
//
//   - The address is committed when a packet of an established session was decrypted (FromPeer): only the peer
//     itself can have made it. This is the rule of the WireGuard paper, section 2.1 and 6.5.
//   - A handshake initiation names its sender before anything is proved (InitiationMessagePublicKey): whoever knows
//     two public keys can make one. Its address is only ever used for the response to that very initiation, which
//     the index in both messages ties together, so a forger receives no traffic and cannot divert an answer.
//
// The source address of what was received is kept with the address and used for what is sent back ("sticky
// socket"). When the box no longer has that address the packet is sent again without it.
package bind

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/tailscale/wireguard-go/conn"
)

// Key is a peer's Curve25519 public key.
type Key = [32]byte

// The messages of the handshake: type in the first byte, sizes in bytes, the sender's index at 4, the receiver's
// at 8 (WireGuard paper, section 5.4.2 and 5.4.3).
const (
	typeInitiation = 1
	typeResponse   = 2
	sizeInitiation = 148
	sizeResponse   = 92
)

// ErrNoAddress is returned by Send for a peer that was never heard of: the packet waits for the peer to call.
var ErrNoAddress = errors.New("the peer's address is not known yet")

// Bind is a conn.Bind whose peers roam. Make one with New. It is safe for concurrent use.
type Bind struct {
	std   conn.Bind
	heard func(Key, netip.AddrPort)

	mu    sync.RWMutex
	peers map[Key]*peer
}

var _ conn.Bind = (*Bind)(nil)

// New returns a Bind over the library's standard one. heard, unless nil, is called after each proof of an address
// that is new for the peer, and after the first proof of each peer, also of an address that SetAddress gave. It is
// called from the library's receiving goroutine: it must be quick and must not call into the device.
func New(heard func(key Key, at netip.AddrPort)) *Bind {
	return &Bind{std: conn.NewStdNetBind(), heard: heard, peers: make(map[Key]*peer)}
}

// Endpoint is the text that names a peer in the library's configuration: endpoint=<text>.
func Endpoint(key Key) string { return "peer:" + hex.EncodeToString(key[:]) }

// ParseEndpoint implements conn.Bind for the text of Endpoint. The same key yields the same endpoint until Forget.
func (b *Bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	text, ok := strings.CutPrefix(s, "peer:")
	raw, err := hex.DecodeString(text)
	if !ok || err != nil || len(raw) != len(Key{}) {
		return nil, fmt.Errorf("%q is not a peer's endpoint", s)
	}
	key := Key(raw)
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.peers[key]
	if p == nil {
		p = &peer{key: key}
		b.peers[key] = p
	}
	return p, nil
}

// Forget drops what is known of a peer. The caller removes the peer from the device first.
func (b *Bind) Forget(key Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.peers[key]; p != nil {
		p.addr.Store(nil)
		delete(b.peers, key)
	}
}

// SetAddress gives a peer an address that was proved earlier, by another run of the program. It does nothing for a
// peer that is not configured or that has an address.
func (b *Bind) SetAddress(key Key, at netip.AddrPort) {
	if p := b.peer(key); p != nil && at.IsValid() {
		p.addr.CompareAndSwap(nil, &conn.StdNetEndpoint{AddrPort: at})
	}
}

// Address is where the peer was last proved to be; false when it was never heard.
func (b *Bind) Address(key Key) (netip.AddrPort, bool) {
	if p := b.peer(key); p != nil {
		if a := p.addr.Load(); a != nil {
			return a.AddrPort, true
		}
	}
	return netip.AddrPort{}, false
}

func (b *Bind) peer(key Key) *peer {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.peers[key]
}

// Open implements conn.Bind.
func (b *Bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	fns, actual, err := b.std.Open(port)
	for i := range fns {
		fns[i] = b.receive(fns[i])
	}
	return fns, actual, err
}

// receive wraps a receiving function of the standard bind, which one goroutine calls at a time.
func (b *Bind) receive(fn conn.ReceiveFunc) conn.ReceiveFunc {
	var last *source
	return func(slab []byte, packets []conn.ReceivedPacket) (int, error) {
		n, err := fn(slab, packets)
		for i := range packets[:n] {
			p := &packets[i]
			std, ok := p.Endpoint.(*conn.StdNetEndpoint)
			if !ok {
				continue
			}
			if p.Size == sizeInitiation && slab[p.Offset] == typeInitiation {
				p.Endpoint = &source{StdNetEndpoint: std, bind: b, index: binary.LittleEndian.Uint32(slab[p.Offset+4:])}
				continue
			}
			if last == nil || !same(last.StdNetEndpoint, std) {
				last = &source{StdNetEndpoint: std, bind: b}
			}
			p.Endpoint = last
		}
		return n, err
	}
}

// same says whether two endpoints are one: remote address, local address and interface.
func same(a, b *conn.StdNetEndpoint) bool {
	return a == b || a.AddrPort == b.AddrPort && a.SrcIfidx() == b.SrcIfidx() && a.SrcIP() == b.SrcIP()
}

// Send implements conn.Bind. It returns ErrNoAddress for a peer that was never heard.
func (b *Bind) Send(bufs [][]byte, ep conn.Endpoint, offset int) error {
	switch ep := ep.(type) {
	case *peer:
		if len(bufs) == 1 {
			if m := bufs[0][offset:]; len(m) == sizeResponse && m[0] == typeResponse {
				if to := ep.calling(binary.LittleEndian.Uint32(m[8:])); to != nil {
					return b.send(bufs, to, offset)
				}
			}
		}
		to := ep.addr.Load()
		if to == nil {
			return ErrNoAddress
		}
		err := b.send(bufs, to, offset)
		if err != nil && lostSource(err) && to.SrcIP().IsValid() {
			clear := &conn.StdNetEndpoint{AddrPort: to.AddrPort}
			ep.addr.CompareAndSwap(to, clear)
			err = b.send(bufs, clear, offset)
		}
		return err
	case *source:
		return b.send(bufs, ep.StdNetEndpoint, offset)
	}
	return fmt.Errorf("an endpoint of an unknown kind: %T", ep)
}

func (b *Bind) send(bufs [][]byte, to *conn.StdNetEndpoint, offset int) error {
	return b.std.Send(bufs, to, offset)
}

// lostSource says whether sending failed because the box no longer has the local address it was asked to use.
func lostSource(err error) bool {
	return errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EADDRNOTAVAIL) ||
		errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENODEV)
}

// Close implements conn.Bind.
func (b *Bind) Close() error { return b.std.Close() }

// SetMark implements conn.Bind.
func (b *Bind) SetMark(mark uint32) error { return b.std.SetMark(mark) }

// BatchSize implements conn.Bind: that of the standard bind. One packet at a time would cost six times the CPU.
func (b *Bind) BatchSize() int { return b.std.BatchSize() }

// calls is how many unproved initiations of one peer are remembered. The response leaves within a millisecond of
// its initiation; a forger would have to squeeze in this many between the two to take one answer away.
const calls = 8

// peer is the endpoint of a configured peer: an identity whose address follows the peer.
type peer struct {
	key    Key
	addr   atomic.Pointer[conn.StdNetEndpoint] // proved; nil until then; what it points to never changes
	proved atomic.Bool

	mu   sync.Mutex
	ring [calls]struct {
		index uint32
		from  *conn.StdNetEndpoint
	}
	next int
}

var _ conn.Endpoint = (*peer)(nil)

// called remembers where an unproved initiation came from.
func (p *peer) called(index uint32, from *conn.StdNetEndpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ring[p.next].index, p.ring[p.next].from = index, from
	p.next = (p.next + 1) % calls
}

// calling returns where the initiation with that index came from, once; nil when it is not remembered.
func (p *peer) calling(index uint32) *conn.StdNetEndpoint {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.ring {
		if c := &p.ring[i]; c.from != nil && c.index == index {
			from := c.from
			c.from = nil
			return from
		}
	}
	return nil
}

// ClearSrc implements conn.Endpoint: the library asks for another way out after handshakes without an answer.
func (p *peer) ClearSrc() {
	if a := p.addr.Load(); a != nil {
		p.addr.CompareAndSwap(a, &conn.StdNetEndpoint{AddrPort: a.AddrPort})
	}
}

func (p *peer) at() *conn.StdNetEndpoint {
	if a := p.addr.Load(); a != nil {
		return a
	}
	return &conn.StdNetEndpoint{}
}

func (p *peer) SrcToString() string { return p.at().SrcToString() }
func (p *peer) DstToString() string { return p.at().DstToString() }
func (p *peer) DstToBytes() []byte  { return p.at().DstToBytes() }
func (p *peer) DstIP() netip.Addr   { return p.at().DstIP() }
func (p *peer) SrcIP() netip.Addr   { return p.at().SrcIP() }

// source is where packets came from: an address that nobody vouches for yet.
type source struct {
	*conn.StdNetEndpoint // never changed
	bind                 *Bind
	index                uint32               // of the initiation it brought; 0 otherwise
	last                 atomic.Pointer[peer] // whom it was last proved for, so that most packets need no lookup
}

var (
	_ conn.Endpoint                = (*source)(nil)
	_ conn.PeerAwareEndpoint       = (*source)(nil)
	_ conn.InitiationAwareEndpoint = (*source)(nil)
)

// ClearSrc does nothing: a source is shared by all packets of a batch.
func (s *source) ClearSrc() {}

// InitiationMessagePublicKey implements conn.InitiationAwareEndpoint: key says that it calls from here.
func (s *source) InitiationMessagePublicKey(key Key) {
	if p := s.bind.peer(key); p != nil {
		p.called(s.index, s.StdNetEndpoint)
	}
}

// FromPeer implements conn.PeerAwareEndpoint: a packet from here was decrypted with a session of key.
func (s *source) FromPeer(key Key) {
	p := s.last.Load()
	if p == nil || p.key != key || p.addr.Load() != s.StdNetEndpoint {
		if p = s.bind.peer(key); p == nil {
			return
		}
		s.last.Store(p)
	}
	old := p.addr.Load()
	if old != s.StdNetEndpoint && (old == nil || !same(old, s.StdNetEndpoint)) {
		p.addr.Store(s.StdNetEndpoint)
	}
	if first := !p.proved.Load() && !p.proved.Swap(true); (first || old == nil || old.AddrPort != s.AddrPort) && s.bind.heard != nil {
		s.bind.heard(key, s.AddrPort)
	}
}
