package appliance

import (
	"net"
	"net/netip"
	"slices"
	"sync"

	"hearth.alt/appliance/web"
)

// bounded is l with at most maxConnections connections open, half as many from one network (a /24, a /64), and at most
// maxFromOne from one address; loopback counts as nobody's. One too many is closed at once and never waits in a queue.
// Where all places are taken, the address that holds the most gives up its oldest for one that holds fewer. Whoever has
// a connection from each of hundreds of addresses in two networks still keeps others out.
func bounded(l net.Listener) net.Listener {
	return &boundedListener{Listener: l, from: map[netip.Addr][]*boundedConn{}, network: map[netip.Prefix]int{}}
}

type boundedListener struct {
	net.Listener
	mu      sync.Mutex
	all     int
	from    map[netip.Addr][]*boundedConn // oldest first
	network map[netip.Prefix]int
}

func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		b := &boundedConn{Conn: c, l: l, who: web.Address(c.RemoteAddr().String())}
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
	mine, network := len(l.from[c.who]), web.Network(c.who)
	if mine >= maxFromOne && !c.who.IsLoopback() {
		return nil, false
	}
	crowded := l.network[network] >= maxConnections/2 && !c.who.IsLoopback()
	if crowded || l.all >= maxConnections {
		var most netip.Addr
		for a, conns := range l.from {
			if len(conns) > len(l.from[most]) && !a.IsLoopback() && (!crowded || web.Network(a) == network) {
				most = a
			}
		}
		if len(l.from[most]) <= mine+1 {
			return nil, false
		}
		evicted = l.from[most][0]
		l.removeLocked(evicted)
	}
	l.all++
	l.network[network]++
	l.from[c.who] = append(l.from[c.who], c)
	return evicted, true
}

func (l *boundedListener) leave(c *boundedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removeLocked(c)
}

// removeLocked forgets c, once.
func (l *boundedListener) removeLocked(c *boundedConn) {
	at := slices.Index(l.from[c.who], c)
	if at < 0 {
		return
	}
	l.all--
	if l.from[c.who] = slices.Delete(l.from[c.who], at, at+1); len(l.from[c.who]) == 0 {
		delete(l.from, c.who)
	}
	network := web.Network(c.who)
	if l.network[network]--; l.network[network] == 0 {
		delete(l.network, network)
	}
}

type boundedConn struct {
	net.Conn
	l   *boundedListener
	who netip.Addr
}

func (c *boundedConn) Close() error {
	defer c.l.leave(c)
	return c.Conn.Close()
}
