package dns

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// conn is one TCP connection from outside.
type conn struct {
	net.Conn
	from netip.Addr
	used atomic.Int64 // its turn when it was opened or a question came last
}

// conns are the open connections: at most maxConns, of one address at most maxOfOne. There is always a place for a new
// one, since an open connection that says nothing is worth less than a question that waits (RFC 7766, section 6.2.3):
// the longest unused one of the same address gives way, or in a full table the longest unused one of the address that
// has most. Clients expect that (section 6.2.4) and ask again. It is safe for concurrent use.
type conns struct {
	turn atomic.Int64
	mu   sync.Mutex
	all  int
	from map[netip.Addr][]*conn
}

func newConns() *conns { return &conns{from: map[netip.Addr][]*conn{}} }

// enter takes c in and closes the one that gives way, if any; it says whether one did.
func (s *conns) enter(c net.Conn, from netip.Addr) (n *conn, displaced bool) {
	n = &conn{Conn: c, from: from.Unmap().WithZone("")}
	s.touch(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	var old *conn
	if list := s.from[n.from]; len(list) >= maxOfOne {
		old = unused(list)
	} else if s.all >= maxConns {
		most := 0
		for _, list := range s.from {
			o := unused(list)
			if len(list) > most || len(list) == most && o.used.Load() < old.used.Load() {
				most, old = len(list), o
			}
		}
	}
	if old != nil {
		s.removeLocked(old)
		_ = old.Close()
	}
	s.all++
	s.from[n.from] = append(s.from[n.from], n)
	return n, old != nil
}

// touch says that a question came.
func (s *conns) touch(c *conn) { c.used.Store(s.turn.Add(1)) }

// leave forgets c, which may be gone already.
func (s *conns) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removeLocked(c)
}

func (s *conns) removeLocked(c *conn) {
	list := s.from[c.from]
	i := slices.Index(list, c)
	if i < 0 {
		return
	}
	s.all--
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		delete(s.from, c.from)
	} else {
		s.from[c.from] = list
	}
}

// unused is the connection that was used longest ago.
func unused(list []*conn) *conn {
	return slices.MinFunc(list, func(a, b *conn) int { return cmp.Compare(a.used.Load(), b.used.Load()) })
}
