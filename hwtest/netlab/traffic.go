package netlab

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Ping sends n echo requests to the address, one every interval, and returns how many were answered. The last answer
// is awaited for a second. An error means that nothing could be sent at all; requests that the network refused
// count as lost.
func (h *Host) Ping(ctx context.Context, to netip.Addr, n int, interval time.Duration) (answered int, err error) {
	network, proto, kind := "udp4", 1, icmp.Type(ipv4.ICMPTypeEcho)
	listen := "0.0.0.0"
	if to.Is6() {
		network, proto, kind, listen = "udp6", 58, ipv6.ICMPTypeEchoRequest, "::"
	}
	var c *icmp.PacketConn
	if err := h.Do(func() error { c, err = icmp.ListenPacket(network, listen); return err }); err != nil {
		return 0, fmt.Errorf("%s: ping %s: %w", h.name, to, err)
	}
	defer c.Close()
	seen := make(chan int, n)
	go func() {
		defer close(seen)
		b := make([]byte, 1500)
		for {
			m, _, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			msg, err := icmp.ParseMessage(proto, b[:m])
			if err != nil {
				continue
			}
			if e, ok := msg.Body.(*icmp.Echo); ok && (msg.Type == ipv4.ICMPTypeEchoReply || msg.Type == ipv6.ICMPTypeEchoReply) && e.Seq < n {
				select {
				case seen <- e.Seq:
				default:
				}
			}
		}
	}()
	tick := time.NewTicker(max(interval, time.Millisecond))
	defer tick.Stop()
	got := make(map[int]bool)
	var end <-chan time.Time
	for sent := 0; len(got) < n; {
		if sent < n {
			b, err := (&icmp.Message{Type: kind, Body: &icmp.Echo{Seq: sent, Data: []byte("hearth")}}).Marshal(nil)
			if err != nil {
				return 0, err
			}
			c.WriteTo(b, &net.UDPAddr{IP: to.AsSlice(), Zone: to.Zone()})
			if sent++; sent == n {
				end = time.After(time.Second)
			}
		}
		for waiting := true; waiting; {
			select {
			case s := <-seen:
				got[s] = true
				waiting = len(got) < n
			case <-tick.C:
				waiting = sent == n
			case <-end:
				return len(got), nil
			case <-ctx.Done():
				return len(got), ctx.Err()
			}
		}
	}
	return len(got), nil
}

// Answers waits until the address answers a ping, at most until ctx ends.
func (h *Host) Answers(ctx context.Context, to netip.Addr) error {
	for {
		c, cancel := context.WithTimeout(ctx, 400*time.Millisecond)
		n, err := h.Ping(c, to, 1, time.Millisecond)
		cancel()
		if n > 0 {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %s: %w (%v)", h.name, to, errNoAnswer, err)
		}
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}

// Transfer sends bytes from one host to a listener that it opens on the other, over TCP, and compares what arrived
// with what was sent. It returns how long the bytes took. This, not ping, is what a broken MTU breaks.
func Transfer(ctx context.Context, from, to *Host, addr netip.AddrPort, bytes int64) (time.Duration, error) {
	l, err := to.Listen("tcp", addr.String())
	if err != nil {
		return 0, err
	}
	defer l.Close()
	addr = netip.AddrPortFrom(addr.Addr(), l.Addr().(*net.TCPAddr).AddrPort().Port())
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(time.Minute)
	}
	type arrived struct {
		sum []byte
		err error
	}
	c := make(chan arrived, 1)
	go func() {
		s, err := l.Accept()
		if err != nil {
			c <- arrived{nil, err}
			return
		}
		defer s.Close()
		s.SetDeadline(deadline)
		sum := sha256.New()
		n, err := io.CopyN(sum, s, bytes)
		if err != nil {
			err = fmt.Errorf("after %d of %d bytes: %w", n, bytes, err)
		}
		s.Write([]byte{1}) // so that the sender's time is that of the last byte's arrival
		c <- arrived{sum.Sum(nil), err}
	}()
	start := time.Now()
	s, err := from.Dial(ctx, "tcp", addr.String())
	if err != nil {
		return 0, err
	}
	defer s.Close()
	s.SetDeadline(deadline)
	sum := sha256.New()
	_, werr := io.Copy(s, io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), bytes), sum))
	if werr == nil {
		_, werr = io.ReadFull(s, make([]byte, 1))
	}
	took := time.Since(start)
	if werr != nil {
		s.Close()
		l.Close()
	}
	a := <-c
	if err := errors.Join(werr, a.err); err != nil {
		return 0, fmt.Errorf("transfer %s -> %s: %w", from.name, addr, err)
	}
	if string(a.sum) != string(sum.Sum(nil)) {
		return 0, fmt.Errorf("transfer %s -> %s: what arrived is not what was sent", from.name, addr)
	}
	return took, nil
}
