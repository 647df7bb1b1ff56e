package link

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"

	"hearth.alt/services"
)

// leafLife is how long a leaf is good for. A box makes a new one each day and whenever it starts.
const leafLife = 7 * 24 * time.Hour

// NewLeaf returns a certificate (X.509, DER) that says: whoever holds the private half of public is the box whose
// device key this is, for seven days. It is for whoever holds the device key; the certificate is good for links and
// nothing else, because nothing else trusts that key. public is an Ed25519 or ECDSA key.
//
// Its issuer and subject are the PeerID. It is valid from an hour before now, since clocks differ.
func NewLeaf(device crypto.Signer, public crypto.PublicKey, now time.Time) ([]byte, error) {
	key, ok := device.Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("link: a device key is an Ed25519 key")
	}
	serial := make([]byte, 16)
	_, _ = rand.Read(serial) // never fails
	serial[0] &= 0x7f        // positive (RFC 5280, section 4.1.2.2)
	name := pkix.Name{CommonName: services.PeerID(key).String()}
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), Subject: name,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(leafLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, &x509.Certificate{Subject: name}, public, device)
	if err != nil {
		return nil, fmt.Errorf("link: making a leaf: %w", err)
	}
	return der, nil
}

// Errors of proving who a peer is.
var (
	errNoLeaf  = errors.New("it showed no certificate of a box")
	errForged  = errors.New("its certificate was not signed by the box that it names")
	errExpired = errors.New("its certificate is past its time")
)

// maxLeaf bounds a leaf in bytes, before it is parsed.
const maxLeaf = 2048

// identify returns the box that a TLS chain proves. now is the zero time while the clock is not known: rights come from
// the household log, the end of a leaf only limits what a stolen one is good for.
func identify(chain [][]byte, now time.Time) (services.PeerID, error) {
	var peer services.PeerID
	if len(chain) != 1 || len(chain[0]) > maxLeaf {
		return peer, errNoLeaf
	}
	c, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return peer, errNoLeaf
	}
	if peer, err = services.ParsePeerID(c.Issuer.CommonName); err != nil || c.Subject.CommonName != c.Issuer.CommonName {
		return services.PeerID{}, errNoLeaf
	}
	if c.IsCA || c.SignatureAlgorithm != x509.PureEd25519 || !ed25519.Verify(peer[:], c.RawTBSCertificate, c.Signature) {
		return services.PeerID{}, errForged
	}
	if !now.IsZero() && now.After(c.NotAfter) {
		return services.PeerID{}, errExpired
	}
	return peer, nil
}
