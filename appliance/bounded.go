package appliance

import (
	"net"
	"net/netip"
	"slices"
	"sync"

	"hearth.alt/appliance/web"
)

// bounded is l with at most maxConnections connections open, and at most maxFromOne of one address (an IPv4 address, an
// IPv6 /64; loopback counts as nobody's). One too many is closed at once and never waits in a queue. When all places
// are taken, the address that holds the most gives up its oldest for one that holds fewer: whoever has many addresses
// keeps nobody out either.
func bounded(l net.Listener) net.Listener {
	return &boundedListener{Listener: l, from: map[netip.Prefix][]*boundedConn{}}
}

type boundedListener struct {
	net.Listener
	mu   sync.Mutex
	all  int
	from map[netip.Prefix][]*boundedConn // oldest first
}

func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		b := &boundedConn{Conn: c, l: l, key: web.Source(c.RemoteAddr().String())}
		evicted, ok := l.enter(b)
		if evicted != nil {
			evicted.Conn.Close()
		}
		if ok {
			return b, nil
		}
		c.Close()
	}
}

// enter takes c in, if need be in the place of another, which the caller closes.
func (l *boundedListener) enter(c *boundedConn) (evicted *boundedConn, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	mine := len(l.from[c.key])
	if mine >= maxFromOne && !c.key.Addr().IsLoopback() {
		return nil, false
	}
	if l.all >= maxConnections {
		var most netip.Prefix
		for key, conns := range l.from {
			if len(conns) > len(l.from[most]) && !key.Addr().IsLoopback() {
				most = key
			}
		}
		if len(l.from[most]) <= mine+1 {
			return nil, false
		}
		evicted = l.from[most][0]
		l.removeLocked(evicted)
	}
	l.all++
	l.from[c.key] = append(l.from[c.key], c)
	return evicted, true
}

func (l *boundedListener) leave(c *boundedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removeLocked(c)
}

// removeLocked forgets c, once.
func (l *boundedListener) removeLocked(c *boundedConn) {
	at := slices.Index(l.from[c.key], c)
	if at < 0 {
		return
	}
	l.all--
	if l.from[c.key] = slices.Delete(l.from[c.key], at, at+1); len(l.from[c.key]) == 0 {
		delete(l.from, c.key)
	}
}

type boundedConn struct {
	net.Conn
	l   *boundedListener
	key netip.Prefix
}

func (c *boundedConn) Close() error {
	defer c.l.leave(c)
	return c.Conn.Close()
}
