package dns

import (
	"container/list"
	"encoding/binary"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// Lifetimes of ours, in seconds; the standards' words in doc.go.
const (
	maxTTL      = 24 * 60 * 60
	maxNegative = 60 * 60
	failureTTL  = 2
	staleTTL    = 30           // what a stale answer is given with (RFC 8767, section 4)
	staleKeep   = 24 * 60 * 60 // how long past its end an answer is kept
	staleRetry  = 30           // how long a failed refresh is believed
	entryCost   = 300          // bytes of bookkeeping per answer; BenchmarkCacheMemory measured 280 on 2026-11-21
	shards      = 16
)

// answer is one message in wire form, ready to be copied out. It is immutable but for the atomics.
type answer struct {
	wire    []byte   // header with id 0, question, records; no OPT
	end     int      // of the question
	offsets []uint16 // of every lifetime
	stored  int64    // seconds of the cache's clock
	ttl     uint32   // seconds it is fresh; 0 is never cached
	failure bool     // remembers an outage
	ede     uint16   // index of reasons

	hits  atomic.Uint32
	retry atomic.Int64 // do not ask again before
}

// freshness of an answer.
type freshness uint8

const (
	absent freshness = iota
	fresh
	ageing // fresh, popular and close to its end: answer, and refresh
	stale
)

func (a *answer) at(now int64) freshness {
	switch age := now - a.stored; {
	case age < int64(a.ttl):
		if !a.failure && a.ttl >= 20 && age > int64(a.ttl)-int64(a.ttl)/10 && a.hits.Load() >= 3 {
			return ageing
		}
		return fresh
	case a.failure || age > int64(a.ttl)+staleKeep:
		return absent
	}
	return stale
}

// appendTo appends the answer to q: identifier, question and bits are the asker's, lifetimes what is left of them. An
// answer longer than limit is replaced by the hint to ask by TCP.
func (a *answer) appendTo(dst []byte, q *query, now int64, old bool, limit int) []byte {
	ede := a.ede
	if old {
		ede = staleEDE
	}
	flags := binary.BigEndian.Uint16(a.wire[2:])
	if len(a.wire)+q.optLen(ede) > limit {
		return q.appendBare(dst, bitTC, int(flags&0xF), ede)
	}
	if q.flags&bitAD == 0 && !q.do {
		flags &^= bitAD // RFC 6840, section 5.8
	}
	flags = flags&^(bitRD|bitCD) | q.flags&(bitRD|bitCD)
	start := len(dst)
	dst = append(dst, a.wire...)
	m := dst[start:]
	binary.BigEndian.PutUint16(m, q.id)
	binary.BigEndian.PutUint16(m[2:], flags)
	copy(m[headerLen:a.end], q.raw[headerLen:q.end]) // the same name in the asker's letters
	age := uint32(max(0, now-a.stored))
	for _, o := range a.offsets {
		left := uint32(staleTTL)
		if !old {
			left = binary.BigEndian.Uint32(m[o:])
			left -= min(left, age)
		}
		binary.BigEndian.PutUint32(m[o:], left)
	}
	if q.edns {
		binary.BigEndian.PutUint16(m[10:], binary.BigEndian.Uint16(m[10:])+1)
		dst = q.appendOPT(dst, int(flags&0xF), ede)
	}
	return dst
}

// cache keeps answers, the least lately used go first. It is safe for concurrent use.
type cache struct {
	seed  maphash.Seed
	clock func() time.Duration // monotonic, since wall time may jump
	part  [shards]shard
}

type shard struct {
	mu    sync.Mutex
	rows  map[string]*list.Element
	order *list.List // of *cached, latest in front
	bytes int
	limit int
}

type cached struct {
	key string
	*answer
}

func newCache(bytes int, clock func() time.Duration) *cache {
	c := &cache{seed: maphash.MakeSeed(), clock: clock}
	for i := range c.part {
		c.part[i] = shard{rows: map[string]*list.Element{}, order: list.New(), limit: bytes / shards}
	}
	return c
}

// now is the cache's clock in seconds.
func (c *cache) now() int64 { return int64(c.clock() / time.Second) }

func (c *cache) shard(key []byte) *shard {
	return &c.part[maphash.Bytes(c.seed, key)%shards]
}

// get returns the answer for key and how fresh it is.
func (c *cache) get(key []byte, now int64) (*answer, freshness) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.rows[string(key)]
	if e == nil {
		return nil, absent
	}
	v := e.Value.(*cached)
	f := v.at(now)
	if f == absent {
		s.drop(e)
		return nil, absent
	}
	s.order.MoveToFront(e)
	v.hits.Add(1)
	return v.answer, f
}

// put keeps a for key. A remembered outage never displaces an answer that can still be served stale.
func (c *cache) put(key []byte, a *answer, now int64) {
	if a.ttl == 0 {
		return
	}
	a.stored = now
	cost := len(a.wire) + len(key) + 2*len(a.offsets) + entryCost
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if cost > s.limit/4 {
		return
	}
	if e := s.rows[string(key)]; e != nil {
		if a.failure && e.Value.(*cached).at(now) != absent {
			return
		}
		s.drop(e)
	}
	k := string(key)
	s.rows[k] = s.order.PushFront(&cached{key: k, answer: a})
	s.bytes += cost
	for s.bytes > s.limit {
		s.drop(s.order.Back())
	}
}

// clear forgets everything.
func (c *cache) clear() {
	for i := range c.part {
		s := &c.part[i]
		s.mu.Lock()
		clear(s.rows)
		s.order.Init()
		s.bytes = 0
		s.mu.Unlock()
	}
}

func (s *shard) drop(e *list.Element) {
	v := e.Value.(*cached)
	s.bytes -= len(v.wire) + len(v.key) + 2*len(v.offsets) + entryCost
	delete(s.rows, v.key)
	s.order.Remove(e)
}

func (c *cache) size() (entries, bytes int) {
	for i := range c.part {
		s := &c.part[i]
		s.mu.Lock()
		entries += len(s.rows)
		bytes += s.bytes
		s.mu.Unlock()
	}
	return entries, bytes
}
