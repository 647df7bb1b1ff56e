package link

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"

	"hearth.alt/services"
)

func key(t *testing.T) (services.PeerID, ed25519.PrivateKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return services.PeerID(public), private
}

// handshake has a client with certificate c shake hands with a box, and returns whom the box takes it for. asked is what
// the client was asked to sign.
func handshake(t *testing.T, c *tls.Certificate) (services.PeerID, error) {
	t.Helper()
	self, own := key(t)
	certificate, err := proof(self, func(_ context.Context, m []byte) ([]byte, error) { return ed25519.Sign(own, m), nil })
	if err != nil {
		t.Fatal(err)
	}
	s := &Service{config: Config{Self: self}}
	s.proof.Store(certificate)
	here, there := net.Pipe()
	defer here.Close()
	go func() {
		defer there.Close()
		conn := tls.Client(there, &tls.Config{
			MinVersion: tls.VersionTLS13, NextProtos: []string{alpn}, InsecureSkipVerify: true, //nolint:gosec // a test
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil },
		})
		if conn.HandshakeContext(t.Context()) == nil {
			_, _ = conn.Read(make([]byte, 1)) // the server's verdict
		}
	}()
	conn := tls.Server(here, s.serverTLS())
	if err := conn.HandshakeContext(t.Context()); err != nil {
		return services.PeerID{}, err
	}
	return identify(conn.ConnectionState())
}

func TestProof(t *testing.T) {
	box, device := key(t)
	_, other := key(t)
	by := func(private ed25519.PrivateKey) *tls.Certificate {
		c, err := proof(box, func(_ context.Context, m []byte) ([]byte, error) {
			if !bytes.HasPrefix(m, []byte(strings.Repeat(" ", 64)+"TLS 1.3, client CertificateVerify\x00")) {
				t.Errorf("asked to sign %q", m)
			}
			return ed25519.Sign(private, m), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if got, err := handshake(t, by(device)); err != nil || got != box {
		t.Errorf("the box itself: %v, %v", got, err)
	}
	if got, err := handshake(t, by(other)); err == nil {
		t.Errorf("who only shows another's certificate is taken for %v", got)
	}
	broken := by(device)
	broken.Certificate = append(broken.Certificate, broken.Certificate[0])
	if _, err := handshake(t, broken); !errors.Is(err, errNoProof) {
		t.Errorf("two certificates: %v", err)
	}
	refusing := by(device)
	refusing.PrivateKey = signer{device.Public().(ed25519.PublicKey), func(context.Context, []byte) ([]byte, error) {
		return nil, errors.New("the keeper is gone")
	}}
	if _, err := handshake(t, refusing); err == nil {
		t.Error("without a signature")
	}
}
