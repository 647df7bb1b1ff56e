package crowd

import (
	"cmp"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Table holds so many connections open, and so many of each address. A new one always finds a place, since an open
// connection that is silent is worth less than one that has something to ask: at an address's own bound its idlest
// gives way; in a full table the idlest of the address that holds most, within the network that holds most. Idle is how
// long nothing was read or written.
//
// The newcomer counts, so no network loses one to a network that then holds more, and within a network no address to an
// address that then holds more. Elsewhere too it takes nothing from whoever holds fewer, beyond its first few (an
// eighth of an address's bound): those it has even while others have one each from hundreds of addresses.
//
// Table is safe for concurrent use. Make one with NewTable.
type Table struct {
	all, each int
	turn      atomic.Int64
	mu        sync.Mutex
	open      []*Conn
	address   map[netip.Addr]*int
	network   map[netip.Prefix]*int
}

// NewTable returns an empty Table for all connections and for each address's; both are at least 1.
func NewTable(all, each int) *Table {
	return &Table{all: all, each: each, address: map[netip.Addr]*int{}, network: map[netip.Prefix]*int{}}
}

// Conn is a connection in a Table, until it is closed.
type Conn struct {
	net.Conn
	From  netip.Addr // whose it is
	table *Table
	used  atomic.Int64 // its turn when it was opened, or last read from or written to
	at    int          // in table.open; -1 once it has left
	// How many its address and its network hold, the same for all of theirs.
	address, network *int
}

// Enter takes c in. Another may be closed to make room; displaced says whether one was.
func (t *Table) Enter(c net.Conn) (in *Conn, displaced bool) {
	in = &Conn{Conn: c, From: Address(c.RemoteAddr().String()), table: t}
	in.touch()
	t.mu.Lock()
	t.addLocked(in)
	gone := t.oneTooManyLocked(in)
	t.removeLocked(gone)
	t.mu.Unlock()
	if gone == nil {
		return in, false
	}
	_ = gone.Conn.Close()
	return in, true
}

// Len is how many connections are open.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}

// Listener is l with its connections in the table.
func (t *Table) Listener(l net.Listener) net.Listener { return listener{l, t} }

type listener struct {
	net.Listener
	table *Table
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	in, _ := l.table.Enter(c)
	return in, nil
}

// oneTooManyLocked is the connection that gives way to in, which is already counted; nil when there is room.
func (t *Table) oneTooManyLocked(in *Conn) *Conn {
	if *in.address <= t.each && len(t.open) <= t.all {
		return nil
	}
	var own, most *Conn
	for _, c := range t.open {
		if c == in {
			continue
		}
		if c.address == in.address && (own == nil || c.before(own)) {
			own = c
		}
		if most == nil || c.before(most) {
			most = c
		}
	}
	if *in.address > t.each || *in.address > t.each/8 && *in.address > *most.address {
		return own
	}
	return most
}

// before says whether c gives way rather than d.
func (c *Conn) before(d *Conn) bool {
	return cmp.Or(
		cmp.Compare(*d.network, *c.network),
		cmp.Compare(*d.address, *c.address),
		cmp.Compare(c.used.Load(), d.used.Load()),
	) < 0
}

func (t *Table) addLocked(c *Conn) {
	c.at = len(t.open)
	t.open = append(t.open, c)
	c.address, c.network = counter(t.address, c.From), counter(t.network, Network(c.From))
	*c.address++
	*c.network++
}

func counter[K comparable](m map[K]*int, k K) *int {
	n := m[k]
	if n == nil {
		n = new(int)
		m[k] = n
	}
	return n
}

// removeLocked forgets c, once; nil is nobody.
func (t *Table) removeLocked(c *Conn) {
	if c == nil || c.at < 0 {
		return
	}
	last := len(t.open) - 1
	t.open[c.at] = t.open[last]
	t.open[c.at].at = c.at
	t.open[last] = nil
	t.open = t.open[:last]
	c.at = -1
	if *c.address--; *c.address == 0 {
		delete(t.address, c.From)
	}
	if *c.network--; *c.network == 0 {
		delete(t.network, Network(c.From))
	}
}

func (c *Conn) touch() { c.used.Store(c.table.turn.Add(1)) }

// Read reads from the connection.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.touch()
	}
	return n, err
}

// Write writes to the connection.
func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if n > 0 {
		c.touch()
	}
	return n, err
}

// Close closes the connection and gives its place back. More than once is as good as once.
func (c *Conn) Close() error {
	defer func() {
		c.table.mu.Lock()
		defer c.table.mu.Unlock()
		c.table.removeLocked(c)
	}()
	return c.Conn.Close()
}
