package link

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"
	"time"

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

func TestLeaf(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	box, device := key(t)
	_, other := key(t)
	_, short := key(t)
	leaf, err := NewLeaf(device, short.Public(), now)
	if err != nil {
		t.Fatal(err)
	}
	made := func(change func(*x509.Certificate), by ed25519.PrivateKey) []byte {
		name := pkix.Name{CommonName: box.String()}
		c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: name, NotBefore: now, NotAfter: now.Add(time.Hour)}
		issuer := &x509.Certificate{Subject: name}
		change(c)
		if c.Issuer.CommonName != "" {
			issuer.Subject = c.Issuer
		}
		der, err := x509.CreateCertificate(rand.Reader, c, issuer, short.Public(), by)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	for name, c := range map[string]struct {
		chain [][]byte
		at    time.Time
		want  error
	}{
		"good":                    {[][]byte{leaf}, now, nil},
		"good, no clock":          {[][]byte{leaf}, time.Time{}, nil},
		"good, before its time":   {[][]byte{leaf}, now.AddDate(-1, 0, 0), nil},
		"past its time":           {[][]byte{leaf}, now.Add(leafLife + time.Second), errExpired},
		"past its time, no clock": {[][]byte{leaf}, time.Time{}, nil},
		"none":                    {nil, now, errNoLeaf},
		"two":                     {[][]byte{leaf, leaf}, now, errNoLeaf},
		"cut":                     {[][]byte{leaf[:len(leaf)-1]}, now, errNoLeaf},
		"long":                    {[][]byte{made(func(c *x509.Certificate) { c.DNSNames = make([]string, 1000) }, device)}, now, errNoLeaf},
		"signed by another box":   {[][]byte{made(func(*x509.Certificate) {}, other)}, now, errForged},
		"an authority":            {[][]byte{made(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, device)}, now, errForged},
		"for another box":         {[][]byte{made(func(c *x509.Certificate) { c.Subject.CommonName = "hearth" }, device)}, now, errNoLeaf},
		"by nobody":               {[][]byte{made(func(c *x509.Certificate) { c.Issuer.CommonName = "hearth" }, device)}, now, errNoLeaf},
	} {
		got, err := identify(c.chain, c.at)
		if !errors.Is(err, c.want) || (err == nil) != (got == box) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, c.want)
		}
	}
}

// A changed bit anywhere in a leaf ends it.
func TestLeafBits(t *testing.T) {
	now := time.Now()
	box, device := key(t)
	_, short := key(t)
	leaf, err := NewLeaf(device, short.Public(), now)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(leaf) * 8 {
		leaf[i/8] ^= 1 << (i % 8)
		if got, err := identify([][]byte{leaf}, now); err == nil && got == box {
			t.Errorf("with bit %d changed it is good", i)
		}
		leaf[i/8] ^= 1 << (i % 8)
	}
}

func FuzzIdentify(f *testing.F) {
	_, device, _ := ed25519.GenerateKey(rand.Reader)
	_, short, _ := ed25519.GenerateKey(rand.Reader)
	leaf, _ := NewLeaf(device, short.Public(), time.Now())
	f.Add(leaf)
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := identify([][]byte{b}, time.Time{}); err != nil && !got.IsZero() {
			t.Error("a box and an error")
		}
	})
}
