package crowd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// fake is a connection that knows whose it is and whether it is open.
type fake struct {
	net.Conn
	from   netip.Addr
	closed bool
}

func (f *fake) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(f.from, 5))
}
func (f *fake) Read(b []byte) (int, error)  { return len(b), nil }
func (f *fake) Write(b []byte) (int, error) { return len(b), nil }
func (f *fake) Close() error                { f.closed = true; return nil }

// enter opens a connection of a.
func enter(t *Table, a netip.Addr) (*Conn, *fake) {
	f := &fake{from: a}
	c, _ := t.Enter(f)
	return c, f
}

// flood opens each connections of each of 256 addresses of each network.
func flood(t *Table, each int, networks ...netip.Prefix) {
	for range each {
		for i := range 256 {
			for _, n := range networks {
				enter(t, host(n, i))
			}
		}
	}
}

// Beside whom somebody's connections stay open: six, of which the first is used before each new one of the attacker.
func TestTableAttackers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		attack func(*Table)
		who    netip.Addr
		want   int // how many of the six are open at the end
	}{
		{"one address", func(t *Table) {
			for range 2000 {
				enter(t, host(netA, 1))
			}
		}, host(netA, 77), 6},
		{"one network with 256 addresses", func(t *Table) { flood(t, 20, netA) }, host(netC, 1), 6},
		{"two networks with 256 each", func(t *Table) { flood(t, 20, netA, netB) }, host(netC, 1), 6},
		{"three networks with 256 each", func(t *Table) { flood(t, 20, netA, netB, netD) }, host(netC, 1), 6},
		{"a hundred networks", func(t *Table) {
			for i := range 100 * 20 {
				enter(t, netip.AddrFrom4([4]byte{10, 0, byte(i % 100), byte(i)}))
			}
		}, host(netC, 1), 5}, // a hundredth of all
	} {
		table := NewTable(512, 64)
		before := make([]*fake, 6)
		for i := range before {
			_, before[i] = enter(table, tt.who)
		}
		tt.attack(table)
		open := 0
		for _, f := range before {
			if !f.closed {
				open++
			}
		}
		if open != tt.want {
			t.Errorf("%s: %d of somebody else's connections stay open, want %d", tt.name, open, tt.want)
		}
		// Now that the table is full, somebody new.
		table = NewTable(512, 64)
		tt.attack(table)
		for range tt.want {
			_, f := enter(table, tt.who)
			before = append(before, f)
		}
		for _, f := range before[6:] {
			if f.closed {
				t.Errorf("%s: somebody new loses a connection to itself", tt.name)
			}
		}
		if table.Len() > 512 {
			t.Errorf("%s: %d are open", tt.name, table.Len())
		}
	}
}

// Whose connection gives way.
func TestWhoseConnectionGivesWay(t *testing.T) {
	t.Run("at one's own bound, one's own idlest", func(t *testing.T) {
		table := NewTable(512, 3)
		_, other := enter(table, host(netA, 2))
		first, f1 := enter(table, host(netA, 1))
		second, f2 := enter(table, host(netA, 1))
		_, f3 := enter(table, host(netA, 1))
		first.Read(make([]byte, 1))
		second.Write(make([]byte, 1))
		enter(table, netip.AddrFrom16(host(netA, 1).As16())) // in the dress of IPv6
		if other.closed || f1.closed || f2.closed || !f3.closed {
			t.Errorf("closed: another's %v; read from %v, written to %v, idle %v", other.closed, f1.closed, f2.closed, f3.closed)
		}
	})
	t.Run("in a full table, that of the greatest address of the greatest network", func(t *testing.T) {
		table := NewTable(10, 5)
		var elsewhere []*fake
		for range 4 { // the greatest address, in a smaller network
			_, f := enter(table, host(netB, 1))
			elsewhere = append(elsewhere, f)
		}
		_, one := enter(table, host(netA, 1))
		busy, f2 := enter(table, host(netA, 2))
		_, f3 := enter(table, host(netA, 2))
		for i := range 3 {
			enter(table, host(netA, 3+i))
		}
		busy.Read(make([]byte, 1))
		if _, displaced := table.Enter(&fake{from: host(netC, 1)}); !displaced || one.closed || f2.closed || !f3.closed {
			t.Errorf("displaced %v; closed: one of one %v, the busy of two %v, the idle of two %v", displaced, one.closed, f2.closed, f3.closed)
		}
		for _, f := range elsewhere {
			if f.closed {
				t.Error("one of a smaller network is closed")
			}
		}
	})
	t.Run("everybody holds one: the idlest", func(t *testing.T) {
		table := NewTable(4, 4)
		var all []*fake
		for i, n := range []netip.Prefix{netA, netB, netC, netD} {
			c, f := enter(table, host(n, 1))
			if all = append(all, f); i == 0 {
				defer c.Close()
			}
			if i == 3 {
				table.open[0].Read(make([]byte, 1))
			}
		}
		_, f := enter(table, netip.MustParseAddr("203.0.113.1"))
		if f.closed || all[0].closed || !all[1].closed || all[2].closed || all[3].closed {
			t.Errorf("closed: the new one %v, the used one %v, the idlest %v", f.closed, all[0].closed, all[1].closed)
		}
	})
	t.Run("nobody gives way to one who then holds more", func(t *testing.T) {
		table := NewTable(8, 16) // the first two are few
		var small []*fake
		for i := range 6 { // the greater network, of many with one each
			_, f := enter(table, host(netA, i))
			small = append(small, f)
		}
		_, own := enter(table, host(netB, 1))
		enter(table, host(netB, 1))
		enter(table, host(netB, 1))
		if !own.closed {
			t.Error("one's own did not give way to one's third")
		}
		for _, f := range small {
			if f.closed {
				t.Error("the only connection of somebody gave way to the third of another")
			}
		}
		_, third := enter(table, host(netC, 1))
		_, fourth := enter(table, host(netC, 1))
		if third.closed || fourth.closed || !small[0].closed || !small[1].closed {
			t.Error("in a smaller network one does not get a few")
		}
	})
	t.Run("a network's many do not displace those of a smaller one", func(t *testing.T) {
		table := NewTable(8, 8)
		_, other := enter(table, host(netB, 1))
		_, another := enter(table, host(netB, 1))
		for i := range 50 {
			enter(table, host(netA, i))
		}
		if other.closed || another.closed {
			t.Error("the two of a small network gave way to the seventh of a great one")
		}
	})
}

// However they come, are used and go: a new one is always let in, nobody gives way to one who then holds more, and
// nothing stays when all have left.
func checkTable(t *testing.T, ops []byte) {
	const all, each, few = 30, 16, 2
	table := NewTable(all, each)
	var inside []*Conn
	for _, op := range ops {
		switch {
		case op >= 0xe0:
			if len(inside) > 0 {
				i := int(op) % len(inside)
				inside[i].Close()
				inside[i].Close()
			}
		case op >= 0xc0:
			if len(inside) > 0 {
				inside[int(op)%len(inside)].Read(make([]byte, 1))
			}
		default:
			n := []netip.Prefix{netA, netB, netC, netD}[op>>3&3]
			a := host(n, int(op&7))
			holds, ofNetwork := map[netip.Addr]int{}, map[netip.Prefix]int{}
			for _, c := range inside {
				holds[c.From]++
				ofNetwork[Network(c.From)]++
			}
			in, displaced := table.Enter(&fake{from: a})
			if in.Conn.(*fake).closed || in.at < 0 {
				t.Fatalf("%v is not let in", a)
			}
			if displaced != (holds[a] == each || len(inside) == all) {
				t.Fatalf("with %d of %d, %d its own: displaced %v", len(inside), all, holds[a], displaced)
			}
			for _, c := range inside {
				if !c.Conn.(*fake).closed {
					continue
				}
				fewer := holds[c.From] < holds[a]+1 && (Network(c.From) == n || holds[a] >= few)
				if c.From != a && (fewer || Network(c.From) != n && ofNetwork[Network(c.From)] < ofNetwork[n]+1) {
					t.Fatalf("one of %v, who holds %d, its network %d, gave way to %v, who held %d, its network %d",
						c.From, holds[c.From], ofNetwork[Network(c.From)], a, holds[a], ofNetwork[n])
				}
				for _, d := range inside {
					if d.From == c.From && d.used.Load() < c.used.Load() {
						t.Fatal("a more idle one of the same address stays")
					}
				}
			}
			inside = append(inside, in)
		}
		for i := 0; i < len(inside); {
			if !inside[i].Conn.(*fake).closed {
				i++
				continue
			}
			inside[i].Close() // as the server does that had it
			inside[i] = inside[len(inside)-1]
			inside = inside[:len(inside)-1]
		}
		if table.Len() != len(inside) || len(inside) > all {
			t.Fatalf("%d are counted, %d are open, of %d", table.Len(), len(inside), all)
		}
		for i, c := range table.open {
			if c.at != i || *c.address > each || c.address != table.address[c.From] || c.network != table.network[Network(c.From)] {
				t.Fatalf("entry %d: at %d, %d of its address", i, c.at, *c.address)
			}
		}
	}
	for _, c := range inside {
		c.Close()
	}
	empty(t, table)
}

func empty(t *testing.T, table *Table) {
	t.Helper()
	table.mu.Lock()
	defer table.mu.Unlock()
	if len(table.open) != 0 || len(table.address) != 0 || len(table.network) != 0 {
		t.Errorf("all have left, and %d are counted, of %d addresses and %d networks", len(table.open), len(table.address), len(table.network))
	}
}

func TestTableModel(t *testing.T) {
	for seed := range uint64(200) {
		checkTable(t, random(seed, 500))
	}
}

func FuzzTable(f *testing.F) {
	f.Add(random(1, 100))
	f.Fuzz(func(t *testing.T, ops []byte) { checkTable(t, ops) })
}

// Real connections, which end in every way there is: answered, closed twice, left to a panic, taken over, displaced,
// and broken by either side. Nothing of them stays in the table.
func TestTableIsEmptyAfterwards(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	table := NewTable(24, 8)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/panic":
			panic(http.ErrAbortHandler)
		case "/hijack":
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			c.Close()
			c.Close()
		default:
			io.WriteString(w, "hello")
		}
	}))
	srv.Listener.Close()
	srv.Listener = table.Listener(l)
	srv.Start()
	var clients sync.WaitGroup
	for i := range 40 {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(i%3), byte(10+i%5))}}
		if i == 0 {
			c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
			if err != nil {
				t.Skipf("needs all of 127.0.0.0/8: on Linux, go test ./services/crowd: %v", err)
			}
			c.Close()
		}
		clients.Go(func() {
			transport := &http.Transport{DialContext: d.DialContext, DisableKeepAlives: i%2 == 0}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
			for n := range 6 {
				path := []string{"/", "/panic", "/hijack"}[(i+n)%3]
				res, err := client.Get("http://" + l.Addr().String() + path)
				if err == nil {
					io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			}
			c, err := d.DialContext(context.Background(), "tcp", l.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			if i%2 == 0 { // reset
				c.(*net.TCPConn).SetLinger(0)
			}
			fmt.Fprint(c, "GET / HT")
			c.Close()
		})
	}
	clients.Wait()
	srv.Close() // waits until every connection has ended
	empty(t, table)
	if _, err := srv.Listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed listener: %v", err)
	}
}
