package appliance

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
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
	inner := &fakeListener{conns: make(chan net.Conn)}
	l := bounded(inner)
	accepted := make(chan net.Conn, 2*maxConnections)
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
	var ends []net.Conn // the other ends, in the order of their offers
	offer := func(from string) {
		near, far := net.Pipe()
		t.Cleanup(func() { near.Close(); far.Close() })
		ends = append(ends, far)
		inner.conns <- fakeConn{near, from}
	}
	for i := range maxConnections {
		offer(fmt.Sprintf("192.0.2.%d", 1+i%8))
		<-accepted
	}
	offer("198.51.100.7")
	select {
	case c := <-accepted:
		if c.RemoteAddr().String() != "198.51.100.7:5" {
			t.Errorf("%v was let in", c.RemoteAddr())
		}
	case <-time.After(30 * time.Second):
		t.Fatal("another address is kept out")
	}
	closed := 0
	for _, far := range ends {
		far.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := far.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
			closed++
		}
	}
	if closed != 1 {
		t.Errorf("%d connections were closed for it, want 1", closed)
	}
	if open := l.(*boundedListener).all; open != maxConnections {
		t.Errorf("%d connections are counted, want %d", open, maxConnections)
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
