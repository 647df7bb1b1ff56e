package claimcode

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"

	"hearth.alt/services/secret"
)

// Host is the name of every box before its claim.
const Host = "hearth.local"

// The labels of what is derived by HKDF-SHA256 (RFC 5869, no salt). They are part of what printed sheets rely on.
const (
	labelPSK    = "hearth claim: sealed channel key, 1"
	labelKey    = "hearth claim: https key P-256, 1"
	labelSerial = "hearth claim: https serial, 1"
)

func (c Code) derive(label string, n int) []byte {
	b, err := hkdf.Key(sha256.New, c.b[:], nil, label, n)
	if err != nil {
		panic("claimcode: " + err.Error()) // only for lengths beyond 255 hashes
	}
	return b
}

// PSK returns the 32 bytes that key the sealed channel on plain http.
func (c Code) PSK() secret.Bytes { return secret.NewBytes(c.derive(labelPSK, 32)) }

// key returns the private key of the certificate: 48 bytes of HKDF reduced to 1..n-1, which leaves a bias below
// 2^-127 (FIPS 186-5, A.2.1).
func (c Code) key() (*ecdsa.PrivateKey, error) {
	curve := elliptic.P256()
	n1 := new(big.Int).Sub(curve.Params().N, big.NewInt(1))
	d := new(big.Int).SetBytes(c.derive(labelKey, 48))
	d.Add(d.Mod(d, n1), big.NewInt(1))
	return ecdsa.ParseRawPrivateKey(curve, d.FillBytes(make([]byte, 32)))
}

// deterministic signs as RFC 6979 says, whatever randomness it is offered.
type deterministic struct{ *ecdsa.PrivateKey }

func (d deterministic) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return d.PrivateKey.Sign(nil, digest, opts)
}

// Certificate returns the self-signed certificate for Host that the box shows on https until it is claimed. The same
// code gives the same DER, byte for byte. It is valid from 2020 to the end of 2049, because the box does not know
// the time yet. Its serial number depends on the code: Firefox refuses, with no way round, two certificates of one
// issuer that share a serial.
func (c Code) Certificate() (tls.Certificate, error) {
	if c.IsZero() {
		return tls.Certificate{}, fmt.Errorf("making the claim certificate: there is no claim code")
	}
	key, err := c.key()
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making the claim certificate: %w", err)
	}
	serial := c.derive(labelSerial, 16)
	serial[0] = serial[0]&0x7f | 0x40 // positive and always 16 bytes (RFC 5280, section 4.1.2.2)
	template := &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(serial),
		Subject:               pkix.Name{CommonName: Host, Organization: []string{"Hearth before its claim"}},
		NotBefore:             time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{Host},
		SignatureAlgorithm:    x509.ECDSAWithSHA256,
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), deterministic{key})
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making the claim certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making the claim certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// Fingerprint is the SHA-256 of a certificate's DER, as browsers show it.
type Fingerprint [sha256.Size]byte

// FingerprintOf returns the fingerprint of the certificate der.
func FingerprintOf(der []byte) Fingerprint { return sha256.Sum256(der) }

// Short is the first eight bytes, enough to compare by eye with a certificate that someone else would have to
// match by trying 2^64 keys: "b7f2 91c4 e0a3 5d68".
func (f Fingerprint) Short() string { return groups(f[:8], groupSize) }

// String is the whole fingerprint in groups of four.
func (f Fingerprint) String() string { return groups(f[:], groupSize) }

func groups(b []byte, n int) string {
	s := hex.EncodeToString(b)
	var out strings.Builder
	for i := 0; i < len(s); i += n {
		if i > 0 {
			out.WriteByte(' ')
		}
		out.WriteString(s[i : i+n])
	}
	return out.String()
}
