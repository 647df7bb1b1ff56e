package link_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"hearth.alt/services"
	"hearth.alt/services/link"
)

const benchBytes = 64 << 20

// BenchmarkLink sends benchBytes through a stream of a link and through one of quic-go alone, in turns, and opens streams
// on a live session whose packets take 20 ms each way.
func BenchmarkLink(b *testing.B) {
	linked, plain := linkStream(b), plainStream(b)
	var ours, theirs, open, rtt time.Duration
	slow := slowPair(b)
	for i := range b.N {
		if i%2 == 0 {
			ours += linked()
			theirs += plain()
		} else {
			theirs += plain()
			ours += linked()
		}
		o, r := slow()
		open, rtt = open+o, rtt+r
	}
	b.ReportMetric(benchBytes*float64(b.N)/1e6/ours.Seconds(), "link-MB/s")
	b.ReportMetric(benchBytes*float64(b.N)/1e6/theirs.Seconds(), "quic-MB/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "speed-ratio")
	b.ReportMetric(open.Seconds()/rtt.Seconds(), "open-RTT")
	b.ReportMetric(0, "ns/op")
}

// send writes benchBytes and waits until the other end says that it read them.
func send(b *testing.B, s io.ReadWriteCloser) {
	buf := make([]byte, 128<<10)
	for sent := 0; sent < benchBytes; sent += len(buf) {
		if _, err := s.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	_ = s.Close()
	if got, err := io.ReadAll(s); err != nil || string(got) != "done" {
		b.Fatalf("%q, %v", got, err)
	}
}

// swallow reads to the end and says so.
func swallow(s io.ReadWriter) error {
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{s}, make([]byte, 128<<10)); err != nil {
		return err
	}
	_, err := s.Write([]byte("done"))
	return err
}

func linkStream(b *testing.B) func() time.Duration {
	to := newBox(b, link.Protocol{Name: "/bulk/v1", Serve: func(_ context.Context, s *link.Stream) error { return swallow(s) }}).start()
	from := newBox(b).start().at(to)
	return func() time.Duration {
		s, err := from.Open(b.Context(), to.id, "/bulk/v1")
		if err != nil {
			b.Fatal(err)
		}
		begun := time.Now()
		send(b, s)
		return time.Since(begun)
	}
}

func plainStream(b *testing.B) func() time.Duration {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		b.Fatal(err)
	}
	l, err := quic.ListenAddr("127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"plain"}, MinVersion: tls.VersionTLS13,
	}, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept(context.Background())
		for err == nil {
			var s *quic.Stream
			if s, err = conn.AcceptStream(context.Background()); err == nil {
				go func() {
					_ = swallow(s)
					_ = s.Close()
				}()
			}
		}
	}()
	conn, err := quic.DialAddr(b.Context(), l.Addr().String(), &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{"plain"}, MinVersion: tls.VersionTLS13, //nolint:gosec // a benchmark
	}, nil)
	if err != nil {
		b.Fatal(err)
	}
	return func() time.Duration {
		s, err := conn.OpenStreamSync(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		begun := time.Now()
		send(b, s)
		return time.Since(begun)
	}
}

// late is a UDP socket whose packets leave after a while.
type late struct {
	net.PacketConn
	after time.Duration
}

func (l late) WriteTo(p []byte, to net.Addr) (int, error) {
	p = append([]byte(nil), p...)
	time.AfterFunc(l.after, func() { _, _ = l.PacketConn.WriteTo(p, to) })
	return len(p), nil
}

// slowPair returns what opens a stream, and what a round trip on it takes.
func slowPair(b *testing.B) func() (open, rtt time.Duration) {
	var boxes [2]*link.Service
	var ids [2]services.PeerID
	var ports [2]netip.AddrPort
	var mu sync.Mutex
	for i := range boxes {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		ids[i] = services.PeerID(key.Public().(ed25519.PublicKey))
		boxes[i], err = link.New(link.Config{
			Self: ids[i],
			Sign: func(_ context.Context, message []byte) ([]byte, error) { return ed25519.Sign(key, message), nil },
			UDP: func() (net.PacketConn, error) {
				c, err := net.ListenPacket("udp", "127.0.0.1:0")
				if err != nil {
					return nil, err
				}
				mu.Lock()
				defer mu.Unlock()
				ports[i] = c.LocalAddr().(*net.UDPAddr).AddrPort()
				return late{c, 20 * time.Millisecond}, nil
			},
			Paths: func(services.PeerID) []netip.AddrPort {
				mu.Lock()
				defer mu.Unlock()
				return []netip.AddrPort{ports[1-i]}
			},
			Knows: func(services.PeerID) bool { return true }, Now: time.Now,
			Protocols: []link.Protocol{echo("/echo/v1")},
		})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- boxes[i].Run(ctx) }()
		b.Cleanup(func() {
			cancel()
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				b.Error(err)
			}
		})
		for !boxes[i].Health().Ready {
			time.Sleep(time.Millisecond)
		}
	}
	if _, err := boxes[0].Ping(b.Context(), ids[1]); err != nil {
		b.Fatal(err)
	}
	return func() (time.Duration, time.Duration) {
		begun := time.Now()
		s, err := boxes[0].Open(b.Context(), ids[1], "/echo/v1")
		if err != nil {
			b.Fatal(err)
		}
		open := time.Since(begun)
		defer s.Cancel()
		begun = time.Now()
		if _, err := s.Write([]byte("hello")); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(s, make([]byte, 5)); err != nil {
			b.Fatal(err)
		}
		return open, time.Since(begun)
	}
}
