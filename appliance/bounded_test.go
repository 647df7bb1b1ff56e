package appliance

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// One machine of the home network held all 512 connections of the LAN face open, and nobody else got a page.
func TestOneAddressDoesNotHoldEveryConnection(t *testing.T) {
	inner := &fakeListener{conns: make(chan net.Conn)}
	l := bounded(inner)
	accepted := make(chan net.Conn, maxConnections)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	defer close(inner.conns)
	offer := func(from string) {
		near, far := net.Pipe()
		t.Cleanup(func() { near.Close(); far.Close() })
		inner.conns <- fakeConn{near, from}
	}
	for range maxConnections + 10 {
		offer("192.0.2.1")
	}
	offer("192.0.2.2")
	var first net.Conn
	mine := 0
	for {
		select {
		case c := <-accepted:
			if c.RemoteAddr().String() == "192.0.2.2:5" {
				if mine != maxFromOne {
					t.Errorf("%d connections of one address are open, want %d", mine, maxFromOne)
				}
				first.Close()
				first.Close() // counts once
				offer("192.0.2.1")
				if again := <-accepted; again.RemoteAddr().String() != "192.0.2.1:5" {
					t.Errorf("after one ended, %v was let in", again.RemoteAddr())
				}
				return
			}
			first, mine = c, mine+1
		case <-time.After(30 * time.Second):
			t.Fatal("another address is kept out")
		}
	}
}

// Eight addresses held all 512, which one machine can put on.
func TestManyAddressesDoNotHoldEveryConnection(t *testing.T) {
	inner := &fakeListener{conns: make(chan net.Conn, 1)}
	l := bounded(inner)
	type end struct {
		from string
		far  net.Conn
	}
	var ends []end // the other ends, in the order of their offers
	closed := func() (which []int) {
		for i, e := range ends {
			e.far.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := e.far.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
				which = append(which, i)
			}
		}
		return which
	}
	// offer says whether one more connection from there is let in.
	offer := func(from string) bool {
		near, far := net.Pipe()
		t.Cleanup(func() { near.Close(); far.Close() })
		ends = append(ends, end{from, far})
		inner.conns <- fakeConn{near, from}
		after, sentinel := net.Pipe()
		defer sentinel.Close()
		go func() { inner.conns <- fakeConn{after, "127.0.0.99"} }() // loopback is always let in where there is room
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if c.RemoteAddr().String() == "127.0.0.99:5" {
			c.Close()
			return false
		}
		<-inner.conns
		after.Close()
		return true
	}
	fill := func(from string, n int) {
		for range n {
			if !offer(from) {
				t.Fatalf("%s is refused while there is room", from)
			}
		}
	}
	fill("127.0.0.1", 100) // somebody on the machine itself
	fill("192.0.2.1", 60)
	first := len(ends)
	fill("192.0.3.2", 64)
	for i := 4; i <= 7; i++ {
		fill(fmt.Sprintf("192.0.%d.1", i), 60)
	}
	fill("198.51.100.1", maxConnections-100-60-64-4*60)

	if !offer("203.0.113.7") {
		t.Fatal("another address is kept out")
	}
	if got, want := closed(), []int{first}; !slices.Equal(got, want) {
		t.Errorf("closed for it: %v, want %v, the oldest of the address that holds the most", got, want)
	}
	if open := l.(*boundedListener).all; open != maxConnections {
		t.Errorf("%d connections are counted, want %d", open, maxConnections)
	}
}

// With nobody holding more than the newcomer, the newcomer is the one too many; and a network holds half.
func TestFullIsFull(t *testing.T) {
	l := bounded(nil).(*boundedListener)
	enter := func(who string) (from netip.Addr, ok bool) {
		evicted, ok := l.enter(&boundedConn{l: l, who: netip.MustParseAddr(who)})
		if evicted != nil {
			from = evicted.who
		}
		return from, ok
	}
	for i := range maxConnections {
		if _, ok := enter(fmt.Sprintf("10.0.%d.%d", i/250, i%250)); !ok {
			t.Fatalf("number %d is refused", i)
		}
	}
	if from, ok := enter("10.9.0.1"); ok || from.IsValid() {
		t.Error("one took the place of another that holds no more")
	}
	if _, ok := enter("10.0.0.1"); ok {
		t.Error("one with as many as the others is let in")
	}

	l = bounded(nil).(*boundedListener)
	for i := range maxConnections / 2 {
		if _, ok := enter(fmt.Sprintf("2001:db8::%x", i%8)); !ok {
			t.Fatalf("number %d of a network is refused", i)
		}
	}
	if from, ok := enter("2001:db8::99"); !ok || !netip.MustParsePrefix("2001:db8::/64").Contains(from) || l.all != maxConnections/2 {
		t.Errorf("a newcomer in a crowded network: let in %v for one of %v; %d are open", ok, from, l.all)
	}
	if from, ok := enter("2001:db8:1::1"); !ok || from.IsValid() {
		t.Errorf("one of another network: let in %v for one of %v", ok, from)
	}
}

type fakeListener struct{ conns chan net.Conn }

func (l *fakeListener) Accept() (net.Conn, error) {
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (l *fakeListener) Close() error   { return nil }
func (l *fakeListener) Addr() net.Addr { return &net.TCPAddr{} }

type fakeConn struct {
	net.Conn
	from string
}

func (c fakeConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(c.from), Port: 5} }

// The keeper opens the lock as root where its child may write: a link there made it open, or make, any file.
func TestLockFollowsNoLink(t *testing.T) {
	state, target := t.TempDir(), filepath.Join(t.TempDir(), "made")
	if err := os.Symlink(target, filepath.Join(state, "lock")); err != nil {
		t.Fatal(err)
	}
	unlock, err := lock(state)
	if err != nil {
		t.Fatalf("a link keeps the box from starting: %v", err)
	}
	defer unlock()
	if _, err := os.Lstat(target); err == nil {
		t.Error("the file behind the link was made")
	}
}
