package link

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"

	"hearth.alt/services"
)

// proof returns the certificate with which a box proves by TLS that it holds its device key. The certificate only
// carries the public half, for which X.509 wants an issuer: a key that signs this once and is forgotten. What proves
// something is the signature of the handshake (RFC 8446, section 4.4.3), which sign makes each time; so nothing in this
// process is worth stealing, and no clock decides how long it is good for.
func proof(self services.PeerID, sign func(ctx context.Context, message []byte) ([]byte, error)) (*tls.Certificate, error) {
	_, issuer, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	name := pkix.Name{CommonName: "hearth link"}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: name, NotBefore: time.Unix(0, 0), NotAfter: forever,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	public := ed25519.PublicKey(self[:])
	der, err := x509.CreateCertificate(rand.Reader, template, &x509.Certificate{Subject: name}, public, issuer)
	if err != nil {
		return nil, fmt.Errorf("link: making a certificate: %w", err)
	}
	return &tls.Certificate{
		Certificate: [][]byte{der}, PrivateKey: signer{public, sign},
		SupportedSignatureAlgorithms: []tls.SignatureScheme{tls.Ed25519},
	}, nil
}

// forever is how X.509 says that there is no end (RFC 5280, section 4.1.2.5).
var forever = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// signer is the device key, which somebody else holds.
type signer struct {
	public ed25519.PublicKey
	sign   func(ctx context.Context, message []byte) ([]byte, error)
}

func (s signer) Public() crypto.PublicKey { return s.public }

// Sign signs the message itself: Ed25519 hashes it.
func (s signer) Sign(_ io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != 0 {
		return nil, errors.New("link: a device key signs messages, not hashes")
	}
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTime)
	defer cancel()
	return s.sign(ctx, message)
}

// maxProof bounds a certificate in bytes.
const maxProof = 1024

var errNoProof = errors.New("it showed no certificate of a box")

// identify returns the box at the other end. TLS has verified its signature with the key that is returned.
func identify(c tls.ConnectionState) (services.PeerID, error) {
	if len(c.PeerCertificates) != 1 || len(c.PeerCertificates[0].Raw) > maxProof {
		return services.PeerID{}, errNoProof
	}
	key, ok := c.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok || len(key) != ed25519.PublicKeySize {
		return services.PeerID{}, errNoProof
	}
	return services.PeerID(key), nil
}
