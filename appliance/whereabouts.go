package appliance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/discovery"
	"hearth.alt/services/durable"
	"hearth.alt/services/link"
)

// addressProtocol is the ProtocolName by which boxes of a household tell one another where they and the others are.
// What is told is a hint and no more: a link proves who is there.
//
// Both ends send a frame at first and each time something changed:
//
//	1  how many boxes, 1 to 16; for each
//	    32  its PeerID
//	    1   how many addresses, 0 to 8; for each
//	         16  the address, IPv4 as ::ffff:a.b.c.d
//	         2   the UDP port, big-endian, not 0; TCP has the same
const addressProtocol = "/link/addresses/v1"

// The bounds of what is kept and told.
const (
	maxAddresses = 8
	maxTold      = 16
	maxKnown     = 64 // boxes
)

// whereabouts is where the boxes that this one links to were met or said to be, the newest first. It is kept over
// restarts: the others may be found again with nobody's help.
type whereabouts struct {
	path  string
	own   func() []netip.AddrPort // where this box is
	near  func() []discovery.Found
	known func(services.PeerID) bool // whether a box is worth remembering
	now   func() time.Time
	log   *slog.Logger

	mu     sync.Mutex
	at     map[services.PeerID]*place
	new    map[services.PeerID]chan struct{} // closed when at got something new
	change chan struct{}                     // closed when anything did
	first  chan struct{}                     // holds one when a box was in touch for the first time
	saved  []byte
}

// place is what is known of one box.
type place struct {
	Addresses []netip.AddrPort `json:"addresses"`
	Heard     time.Time        `json:"heard"` // known time when it was last in touch; zero is never
}

// newWhereabouts reads what was known before; what cannot be read is not known.
func newWhereabouts(path string, log *slog.Logger) *whereabouts {
	w := &whereabouts{
		path: path, log: log, at: map[services.PeerID]*place{}, new: map[services.PeerID]chan struct{}{}, change: make(chan struct{}), first: make(chan struct{}, 1),
		own: func() []netip.AddrPort { return nil }, near: func() []discovery.Found { return nil }, known: func(services.PeerID) bool { return true }, now: time.Now,
	}
	b, err := durable.ReadSmall(path, 64<<10)
	if err == nil {
		err = json.Unmarshal(b, &w.at)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Warn("where other boxes were is not known any more", "error", err)
		w.at = nil
	}
	maps.DeleteFunc(w.at, func(_ services.PeerID, p *place) bool { return p == nil })
	if w.at == nil {
		w.at = map[services.PeerID]*place{}
	}
	w.saved = b
	return w
}

// of is what is known of peer, which may be nothing. The caller holds mu.
func (w *whereabouts) of(peer services.PeerID) place {
	if p := w.at[peer]; p != nil {
		return *p
	}
	return place{}
}

// touch notes that peer is in touch.
func (w *whereabouts) touch(peer services.PeerID) {
	known := w.known(peer)
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.at[peer]
	if p == nil && known && len(w.at) < maxKnown { // it called over TCP, which says nothing of where it is
		p = &place{}
		w.at[peer] = p
	}
	if p == nil {
		return
	}
	if p.Heard.IsZero() {
		select {
		case w.first <- struct{}{}:
		default:
		}
	}
	p.Heard = w.now().UTC().Truncate(time.Second)
}

// heard is when peer was last in touch; zero is never.
func (w *whereabouts) heard(peer services.PeerID) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.of(peer).Heard
}

// paths is where peer may be, the likeliest first: where it was last met, then where the home network hears of boxes.
func (w *whereabouts) paths(peer services.PeerID) []netip.AddrPort {
	w.mu.Lock()
	out := slices.Clone(w.of(peer).Addresses)
	w.mu.Unlock()
	for _, f := range w.near() {
		if !announces(f, peer) {
			continue
		}
		for _, a := range foundAt(f) {
			if !slices.Contains(out, a) {
				out = slices.Insert(out, min(1, len(out)), a)
			}
		}
	}
	return out[:min(len(out), maxAddresses)]
}

// announces says whether f calls itself peer, whose PeerID begins with what services/discovery tells of it.
func announces(f discovery.Found, peer services.PeerID) bool {
	id := f.Text["id"]
	return len(id) >= 16 && strings.HasPrefix(peer.String(), id)
}

// foundAt is where a box that announces itself at home takes links.
func foundAt(f discovery.Found) []netip.AddrPort {
	var port uint16
	if _, err := fmt.Sscanf(f.Text["mesh"], "%d", &port); err != nil || port == 0 {
		return nil
	}
	var out []netip.AddrPort
	for _, a := range f.Addresses {
		if !a.IsLinkLocalUnicast() { // it would need its interface
			out = append(out, netip.AddrPortFrom(a, port))
		}
	}
	return out
}

// note says that peer is, or may be, at the addresses, the likeliest first.
func (w *whereabouts) note(peer services.PeerID, addresses ...netip.AddrPort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.noteLocked(peer, true, addresses)
}

// met notes where peer is in touch. Over TCP its port is none where it could be found, if it was peer that called.
func (w *whereabouts) met(peer services.PeerID, path link.Path) {
	if path.Via == "udp" {
		w.note(peer, path.Address)
	}
}

// noteLocked puts addresses before (likely) or behind those that are known.
func (w *whereabouts) noteLocked(peer services.PeerID, likely bool, addresses []netip.AddrPort) {
	had := w.at[peer]
	old := w.of(peer).Addresses
	var good []netip.AddrPort
	for _, a := range addresses {
		a = netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
		if a.Port() != 0 && a.Addr().IsValid() && !a.Addr().IsUnspecified() && !a.Addr().IsMulticast() && !a.Addr().IsLinkLocalUnicast() && !slices.Contains(good, a) {
			good = append(good, a)
		}
	}
	first, second := good, old
	if !likely {
		first, second = old, good
	}
	list := slices.Clone(first)
	fresh := false
	for _, a := range second {
		if !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	list = list[:min(len(list), maxAddresses)]
	for _, a := range list {
		fresh = fresh || !slices.Contains(old, a)
	}
	if slices.Equal(list, old) || len(w.at) >= maxKnown && had == nil {
		return
	}
	if had == nil {
		had = &place{}
		w.at[peer] = had
	}
	had.Addresses = list
	if fresh {
		if c := w.new[peer]; c != nil {
			close(c)
			delete(w.new, peer)
		}
	}
	close(w.change)
	w.change = make(chan struct{})
}

// found returns a channel that is closed when something new is known of peer.
func (w *whereabouts) found(peer services.PeerID) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.new[peer]
	if c == nil {
		c = make(chan struct{})
		w.new[peer] = c
	}
	return c
}

func (w *whereabouts) changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.change
}

// saveEvery keeps the card from being written each time a box moves.
const saveEvery = 10 * time.Minute

// heardEvery is how far what is written down of a box that stays in touch may be behind, for after a power cut.
const heardEvery = time.Hour

// keep writes down what is known: soon after a box was in touch for the first time, else now and then, and at the end.
func (w *whereabouts) keep(ctx context.Context) {
	for wait := saveEvery; ; {
		select {
		case <-w.first:
			wait = 5 * time.Second // whoever just came in has more to say, and then is remembered over a power cut
			continue
		case <-time.After(wait):
			wait = saveEvery
		case <-ctx.Done():
			w.save()
			return
		}
		w.save()
	}
}

func (w *whereabouts) save() {
	w.mu.Lock()
	maps.DeleteFunc(w.at, func(p services.PeerID, _ *place) bool { return !w.known(p) })
	b, err := json.Marshal(w.at)
	same := bytes.Equal(b, w.saved) || len(w.at) == 0 && len(w.saved) == 0
	w.mu.Unlock()
	if err != nil || same {
		return
	}
	if err = durable.MakeDir(filepath.Dir(w.path), 0o700); err == nil {
		err = durable.WriteFile(w.path, b, 0o600)
	}
	if err != nil {
		w.log.Warn("where other boxes are could not be written down", "error", err)
		return
	}
	w.mu.Lock()
	w.saved = b
	w.mu.Unlock()
}

// tell is one frame: where this box is, and the others that it knows of.
func (w *whereabouts) tell(self services.PeerID) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := []byte{1}
	b = appendAddresses(append(b, self[:]...), w.own())
	for _, peer := range slices.SortedFunc(maps.Keys(w.at), func(a, b services.PeerID) int { return slices.Compare(a[:], b[:]) }) {
		if b[0] < maxTold && w.known(peer) {
			b[0]++
			b = appendAddresses(append(b, peer[:]...), w.of(peer).Addresses)
		}
	}
	return b
}

func appendAddresses(b []byte, list []netip.AddrPort) []byte {
	list = list[:min(len(list), maxAddresses)]
	b = append(b, byte(len(list)))
	for _, a := range list {
		raw := a.Addr().As16()
		b = append(append(b, raw[:]...), byte(a.Port()>>8), byte(a.Port()))
	}
	return b
}

// told is what a frame says of one box.
type told struct {
	peer      services.PeerID
	addresses []netip.AddrPort
}

var errAddresses = errors.New("not a frame of addresses")

// readTold reads one frame.
func readTold(r io.Reader) ([]told, error) {
	var n [1]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return nil, err
	}
	if n[0] == 0 || n[0] > maxTold {
		return nil, errAddresses
	}
	out := make([]told, n[0])
	for i := range out {
		var head [33]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil, errAddresses
		}
		copy(out[i].peer[:], head[:])
		if head[32] > maxAddresses {
			return nil, errAddresses
		}
		for range head[32] {
			var a [18]byte
			if _, err := io.ReadFull(r, a[:]); err != nil {
				return nil, errAddresses
			}
			out[i].addresses = append(out[i].addresses, netip.AddrPortFrom(netip.AddrFrom16([16]byte(a[:])).Unmap(), uint16(a[16])<<8|uint16(a[17])))
		}
	}
	return out, nil
}

// serve tells peer what is known here, and notes what it says of the boxes of the household.
func (w *whereabouts) serve(ctx context.Context, self, peer services.PeerID, rw io.ReadWriter) error {
	came := make(chan error, 1)
	go func() {
		in := bufio.NewReader(rw)
		for {
			all, err := readTold(in)
			if err != nil {
				came <- err
				return
			}
			w.mu.Lock()
			for _, t := range all {
				if t.peer != self && w.known(t.peer) {
					w.noteLocked(t.peer, t.peer == peer && len(w.of(peer).Addresses) == 0, t.addresses)
				}
			}
			w.mu.Unlock()
		}
	}()
	var last []byte
	for {
		changed := w.changed()
		if b := w.tell(self); !bytes.Equal(b, last) {
			if _, err := rw.Write(b); err != nil {
				return err
			}
			last = b
		}
		select {
		case <-changed:
		case <-time.After(time.Minute): // the own addresses change unasked
			if w.now().Sub(w.heard(peer)) > heardEvery {
				w.touch(peer)
			}
		case err := <-came:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
		select { // no more often than this
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
