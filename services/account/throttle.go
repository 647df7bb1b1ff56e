package account

import (
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"

	"hearth.alt/services/crowd"
)

// Throttle makes guessing slow. It keeps one bucket for each account, address (IPv6 by /64), known device and one for
// all together. Each wrong try beyond a bucket's free ones doubles the wait, up to the bucket's longest; each quiet half
// hour forgives one try. A try that comes while it must wait is refused without being counted, so that hammering does
// not keep the owner out longer.
//
// A known device (a tunnel device, or a browser that signed in as this person before) has its own bucket and is held
// up by no other: whoever guesses from elsewhere cannot starve it.
//
// Memory is bounded: beyond maxBuckets, new accounts and addresses share one bucket; known devices are as many as the
// membership has. It is safe for concurrent use.
type Throttle struct {
	mu      sync.Mutex
	buckets map[bucketKey]*bucket
	swept   time.Time
}

type bucketKind uint8

const (
	bucketAccount bucketKind = iota
	bucketAddress
	bucketKnown
	bucketAll
	bucketOverflow
)

type bucketKey struct {
	kind bucketKind
	name string
}

type bucket struct {
	wrong int
	last  time.Time // of the last wrong try
}

const (
	maxBuckets  = 4096
	forgiveIn   = 30 * time.Minute
	longestWait = 15 * time.Minute
)

// free is how many wrong tries cost nothing; longest is the most that the bucket makes anyone wait. The bucket of all
// together only keeps the box from hashing without pause, so its wait is short: it must not let one who has many
// addresses lock out all who are not known.
func (k bucketKind) free() int {
	switch k {
	case bucketAddress:
		return 10
	case bucketAll:
		return 100
	}
	return 5
}

func (k bucketKind) longest() time.Duration {
	if k == bucketAll {
		return 5 * time.Second
	}
	return longestWait
}

// NewThrottle returns one that has seen nothing.
func NewThrottle() *Throttle { return &Throttle{buckets: map[bucketKey]*bucket{}} }

// Try is one try at a password that was let through. End it with Right, Wrong or Undo.
type Try struct {
	t    *Throttle
	keys []bucketKey
}

// Begin asks whether a try may be made now. It is counted as wrong from this moment, so that many at once do not slip
// through together. When wait is not zero the try is nil. account is any text, as typed and folded; known names the
// known device, "" is none.
func (t *Throttle) Begin(now time.Time, account string, address netip.Addr, known string) (try *Try, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var keys []bucketKey
	if known != "" {
		keys = []bucketKey{{bucketKnown, known}}
	} else {
		keys = []bucketKey{{bucketAccount, account}, {bucketAddress, crowd.Machine(address).String()}, {bucketAll, ""}}
	}
	t.sweep(now)
	for i, k := range keys {
		b := t.buckets[k]
		if b == nil && len(t.buckets) >= maxBuckets && (k.kind == bucketAccount || k.kind == bucketAddress) {
			keys[i] = bucketKey{bucketOverflow, ""}
			b = t.buckets[keys[i]]
		}
		if b != nil {
			if b.last.After(now) {
				b.last = now // the time was set back
			}
			wait = max(wait, b.wait(keys[i].kind, now))
		}
	}
	if wait > 0 {
		return nil, wait
	}
	for _, k := range keys {
		b := t.buckets[k]
		if b == nil {
			b = &bucket{}
			t.buckets[k] = b
		}
		b.wrong = b.left(now) + 1
		b.last = now
	}
	return &Try{t, keys}, 0
}

// left is how many wrong tries are not forgiven yet.
func (b *bucket) left(now time.Time) int {
	return max(0, b.wrong-int(max(0, now.Sub(b.last))/forgiveIn))
}

func (b *bucket) wait(k bucketKind, now time.Time) time.Duration {
	over := b.left(now) - k.free()
	if over < 0 {
		return 0
	}
	d := k.longest()
	if over < 20 {
		d = min(d, time.Second<<over)
	}
	return max(0, d-now.Sub(b.last))
}

// Wrong leaves the try counted.
func (*Try) Wrong() {}

// Undo takes the try back: no password was looked at.
func (try *Try) Undo() { try.end(false) }

// Right takes the try back and forgives the account and the known device everything. The address is not forgiven: a
// guest could otherwise wash away their guesses at others with their own password.
func (try *Try) Right() { try.end(true) }

func (try *Try) end(right bool) {
	try.t.mu.Lock()
	defer try.t.mu.Unlock()
	for _, k := range try.keys {
		b := try.t.buckets[k]
		if b == nil {
			continue
		}
		if b.wrong > 0 {
			b.wrong--
		}
		if right && (k.kind == bucketAccount || k.kind == bucketKnown) {
			b.wrong = 0
		}
		if b.wrong == 0 {
			delete(try.t.buckets, k)
		}
	}
}

// sweep drops what is forgiven, at most once a minute unless the buckets are full.
func (t *Throttle) sweep(now time.Time) {
	if since := now.Sub(t.swept); since >= 0 && (since < time.Second || since < time.Minute && len(t.buckets) < maxBuckets) {
		return
	}
	t.swept = now
	for k, b := range t.buckets {
		if b.left(now) == 0 {
			delete(t.buckets, k)
		}
	}
}

// Len is how many buckets are kept.
func (t *Throttle) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.buckets)
}

// roundWait is how a wait is told: whole seconds, or whole minutes from two minutes on.
func roundWait(d time.Duration) string {
	if d < 2*time.Minute {
		return fmt.Sprintf("%d\u00a0s", int(math.Ceil(d.Seconds())))
	}
	return fmt.Sprintf("%d\u00a0min", int(math.Ceil(d.Minutes())))
}
