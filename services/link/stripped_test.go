package link

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"hearth.alt/services"
	"hearth.alt/services/link/internal/wire"
)

// A peer that answers another proposal than was sent is left, with its session.
func TestStrippedProposal(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	liar, device := key(t)
	certificate, err := proof(liar, func(_ context.Context, message []byte) ([]byte, error) { return ed25519.Sign(device, message), nil })
	if err != nil {
		t.Fatal(err)
	}
	l, err := quic.ListenAddr("127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{*certificate},
		NextProtos:   []string{alpn}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13,
	}, &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	left := make(chan error, 1)
	go func() {
		conn, err := l.Accept(ctx)
		if err != nil {
			left <- err
			return
		}
		q, err := conn.AcceptStream(ctx)
		if err != nil {
			left <- err
			return
		}
		_, _, _ = wire.ReadPropose(q)
		binding, _ := bindingOf(conn, q.StreamID())
		_, _ = q.Write(wire.Select{Mask: 1}.Append(nil, binding, wire.AppendPropose(nil, []string{"/x/v1"})))
		<-conn.Context().Done()
		left <- context.Cause(conn.Context())
	}()

	self, own := key(t)
	s, err := New(Config{
		Self:  self,
		Sign:  func(_ context.Context, message []byte) ([]byte, error) { return ed25519.Sign(own, message), nil },
		UDP:   func() (net.PacketConn, error) { return net.ListenPacket("udp", "127.0.0.1:0") },
		Paths: func(services.PeerID) []netip.AddrPort { return []netip.AddrPort{l.Addr().(*net.UDPAddr).AddrPort()} },
		Knows: func(services.PeerID) bool { return true },
		Now:   time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(run) }()
	defer func() { stop(); <-done }()
	for !s.Health().Ready {
		time.Sleep(time.Millisecond)
	}
	if _, err := s.Open(ctx, liar, "/x/v2", "/x/v1"); !errors.Is(err, ErrTranscript) {
		t.Errorf("%v", err)
	}
	var closed *quic.ApplicationError
	if err := <-left; !errors.As(err, &closed) || closed.ErrorCode != codeFailed {
		t.Errorf("the session ended with %v", err)
	}
}
