package appliance

import (
	"net"
	"net/netip"
	"sync"
)

// bounded is l with at most maxConnections connections open, and at most maxFromOne of one address (an IPv4 address, an
// IPv6 /64; loopback counts as nobody's). One too many is closed at once and never waits in a queue: whoever holds all
// that is theirs keeps nobody else out.
func bounded(l net.Listener) net.Listener {
	return &boundedListener{Listener: l, from: map[netip.Prefix]int{}}
}

type boundedListener struct {
	net.Listener
	mu   sync.Mutex
	all  int
	from map[netip.Prefix]int
}

func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		key := source(c.RemoteAddr().String())
		if !l.enter(key) {
			c.Close()
			continue
		}
		return &boundedConn{Conn: c, leave: sync.OnceFunc(func() { l.leave(key) })}, nil
	}
}

func (l *boundedListener) enter(key netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= maxConnections || l.from[key] >= maxFromOne && !key.Addr().IsLoopback() {
		return false
	}
	l.all++
	l.from[key]++
	return true
}

func (l *boundedListener) leave(key netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.from[key]--; l.from[key] == 0 {
		delete(l.from, key)
	}
}

type boundedConn struct {
	net.Conn
	leave func()
}

func (c *boundedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
