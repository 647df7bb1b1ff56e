package sim

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity"
)

// keyOf makes a key pair that depends on nothing but what it is for.
func keyOf(format string, args ...any) ed25519.PrivateKey {
	seed := sha256.Sum256(fmt.Appendf(nil, format, args...))
	return ed25519.NewKeyFromSeed(seed[:])
}

func public(k ed25519.PrivateKey) [32]byte { return [32]byte(k.Public().(ed25519.PublicKey)) }

// keeper signs with a box's key. Nothing else is asked of it here, and would panic.
type keeper struct {
	identity.Keys
	key ed25519.PrivateKey
}

func (k keeper) PeerID() services.PeerID { return public(k.key) }

func (k keeper) SignRecord(_ context.Context, message []byte) ([]byte, error) {
	return ed25519.Sign(k.key, message), nil
}

// box is a box of the household, or one that may become it.
type box struct {
	w    *world
	i    int
	key  ed25519.PrivateKey
	id   services.PeerID
	disk *disk
	skew time.Duration // of its clock

	s     *identity.Service // nil while it is off, and for the enemy's
	words bool              // somebody typed the 24 words in here
	read  int               // how many records of s were looked at
	set   bits              // they
	kept  bits              // what has to be there after a crash
}

func (b *box) String() string { return string(rune('A' + b.i)) }

func (b *box) enemy() bool { return b.w.enemy != nil && b.w.enemy.box == b }

func (b *box) now() time.Time { return b.w.now.Add(b.skew) }

// start puts the box on.
func (b *box) start() {
	var err error
	b.s, err = identity.New(identity.Config{Dir: "/state", Disk: b.disk, Keys: keeper{key: b.key}, Now: b.now})
	if err != nil {
		b.w.fail("box %s does not start: %v", b, err)
	}
	b.read, b.set = 0, nil
	b.w.look(b)
}

// stop pulls the plug.
func (b *box) stop() {
	b.w.cutAll(func(l *link) bool { return l.boxes[0] == b || l.boxes[1] == b })
	b.s, b.disk.off = nil, true
}

func (b *box) restart() {
	b.disk.restart()
	b.start()
}

// member says whether the box is on and of the household.
func (b *box) member() bool { return b.s != nil && b.s.Membership().Claimed() }

// lists says whether the box takes other, and itself, for boxes of the household.
func (b *box) lists(other *box) bool {
	if b.enemy() {
		return true
	}
	if !b.member() {
		return false
	}
	m := b.s.Membership()
	if _, ours := m.Box(); !ours {
		return false
	}
	return slices.ContainsFunc(m.Boxes, func(x services.Box) bool {
		return x.ID == other.id || other.enemy() && b.w.enemy.owns(x.ID)
	})
}

// removed says whether the box, which belongs, takes other for one that was removed.
func (b *box) removed(other *box) bool {
	return b != other && !other.enemy() && b.lists(b) && !b.enemy() && slices.Contains(b.s.Membership().Removed, other.id)
}

// end is one side of a link.
type end interface {
	Next() []byte
	Receive(ctx context.Context, frame []byte) error
	Close()
}

// link is a connection between two boxes, with what is on its way in each direction.
type link struct {
	boxes [2]*box
	ends  [2]end
	wire  [2][][]byte // towards boxes[i]
}

// cutAll breaks the links that which names; what is on its way is lost.
func (w *world) cutAll(which func(l *link) bool) {
	kept := w.links[:0]
	for _, l := range w.links {
		if !which(l) {
			kept = append(kept, l)
			continue
		}
		for i, e := range l.ends {
			if l.boxes[i].s != nil || l.boxes[i].enemy() {
				e.Close()
			}
		}
	}
	clear(w.links[len(kept):])
	w.links = kept
}

// connect opens a link where both are on, hear each other and take each other for boxes of the household. There may be
// two at a time, as when both dial.
func (w *world) connect(a, b *box) *link {
	if a == b || w.side[a.i] != w.side[b.i] {
		return nil
	}
	for _, x := range [][2]*box{{a, b}, {b, a}} {
		if x[0].removed(x[1]) && x[1].lists(x[0]) {
			w.farewell(x[0], x[1])
			return nil
		}
	}
	if !a.lists(b) || !b.lists(a) {
		return nil
	}
	n := 0
	for _, l := range w.links {
		if l.boxes == [2]*box{a, b} || l.boxes == [2]*box{b, a} {
			n++
		}
	}
	if n >= 2 {
		return nil
	}
	l := &link{boxes: [2]*box{a, b}}
	for i, x := range l.boxes {
		if x.enemy() {
			l.ends[i] = w.enemy.connect()
			continue
		}
		c, err := x.s.Connect(l.boxes[1-i].id)
		if err != nil {
			w.fail("box %s has no log to share: %v", x, err)
		}
		l.ends[i] = c
	}
	w.links = append(w.links, l)
	w.say("%s and %s connect", a, b)
	return l
}

// send puts on the wire what the box at side from has to say, and says whether that was anything.
func (w *world) send(l *link, from int) bool {
	b := l.ends[from].Next()
	if b == nil {
		return false
	}
	w.say("%s sends %s %s", l.boxes[from], l.boxes[1-from], describe(b))
	if from := l.boxes[from]; !from.enemy() {
		for _, raw := range frameOf(b) {
			if k := w.byID[sha256.Sum256(raw)]; k == nil || !from.kept.has(k.at) {
				w.fail("box %s tells of a record that it has not kept", from)
			}
		}
	}
	l.wire[1-from] = append(l.wire[1-from], b)
	return true
}

// deliver hands the oldest frame to the box at side to.
func (w *world) deliver(l *link, to int) bool {
	if len(l.wire[to]) == 0 {
		return false
	}
	f := l.wire[to][0]
	l.wire[to] = l.wire[to][1:]
	b, from := l.boxes[to], l.boxes[1-to]
	err := l.ends[to].Receive(context.Background(), f)
	w.say("%s takes %s of %s: %v", b, describe(f), from, problem(err))
	w.stats.Frames++
	if b.enemy() {
		return true
	}
	why := w.bad[string(f)]
	if why != "" {
		w.stats.Bad++
	}
	if why != "" && err == nil && !b.disk.off {
		w.fail("box %s took %s", b, why)
	}
	if b.disk.off {
		b.stop()
		return true
	}
	before := b.set
	w.look(b)
	if err == nil {
		for _, raw := range frameOf(f) {
			if k := w.byID[sha256.Sum256(raw)]; k == nil || !b.set.has(k.at) {
				w.fail("box %s took a frame and not its records", b)
			}
		}
		return true
	}
	if isPeer(err) {
		if !from.enemy() {
			w.fail("box %s blames %s: %v", b, from, err)
		}
	} else if !b.set.equal(before) {
		w.fail("box %s could not store a frame (%v), and has something of it", b, err)
	}
	w.cutAll(func(x *link) bool { return x == l })
	return true
}
