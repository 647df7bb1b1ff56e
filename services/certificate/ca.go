package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Years is how long an authority lives. Its root's key is gone, so nothing in it can be prolonged.
const Years = 10

// begins is when authorities begin: before any program that makes one. The known time is not asked: where forged NTP had
// led it on, or nothing had told it yet, phones whose clock is right would not take the authority for years.
var begins = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// Params says what an authority is for.
type Params struct {
	Name   string         // the household as people write it; shown on the phone that installs the root
	Domain string         // "<household>.home.arpa", no dot at the end
	Label  string         // the box's DNS label
	Net4   netip.Prefix   // the household's client plane
	Net6   netip.Prefix   // the household's client plane
	LAN    []netip.Prefix // the networks the box is on; those that are not private are left out, nil is none
	Now    time.Time      // the known time; a lower bound is enough
}

func (p Params) check() error {
	switch {
	case !strings.HasSuffix(p.Domain, ".home.arpa") || strings.HasPrefix(p.Domain, "."):
		return fmt.Errorf("domain %q: want one below home.arpa", p.Domain)
	case p.Label == "" || strings.ContainsAny(p.Label, ". *"):
		return fmt.Errorf("box label %q: want one DNS label", p.Label)
	case !p.Net4.IsValid() || !p.Net4.Addr().Is4() || !p.Net6.IsValid() || !p.Net6.Addr().Is6():
		return fmt.Errorf("client plane %v, %v: want a network of each kind", p.Net4, p.Net6)
	case p.Now.IsZero():
		return errors.New("no known time")
	}
	return nil
}

// Private says whether a network may be in a household's name constraints: RFC 1918 or RFC 4193, and no wider than the
// range it is from.
func Private(n netip.Prefix) bool {
	if !n.IsValid() {
		return false
	}
	for _, r := range []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("fc00::/7"),
	} {
		if r.Overlaps(n) && n.Bits() >= r.Bits() {
			return true
		}
	}
	return false
}

func (p Params) networks() []*net.IPNet {
	all := []netip.Prefix{p.Net4.Masked(), p.Net6.Masked()}
	for _, n := range p.LAN {
		if n = n.Masked(); Private(n) && !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	out := make([]*net.IPNet, len(all))
	for i, n := range all {
		out[i] = &net.IPNet{IP: n.Addr().AsSlice(), Mask: net.CIDRMask(n.Bits(), n.Addr().BitLen())}
	}
	return out
}

// MakeCA makes a new authority. The root's key exists only while this function runs: it signs the intermediate and is
// forgotten. The caller keeps the intermediate's key where nothing else can read it, and both certificates.
//
// The subjects hold eight digits of the root key's hash: two authorities of one household never share a name, which
// a browser that knows both would stumble over.
func MakeCA(p Params) (rootDER, intermediateDER []byte, intermediateKey *ecdsa.PrivateKey, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("making the certificate authority: %w", err)
		}
	}()
	if err := p.check(); err != nil {
		return nil, nil, nil, err
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	intermediateKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	rootID, err := keyID(&rootKey.PublicKey)
	if err != nil {
		return nil, nil, nil, err
	}
	intermediateID, err := keyID(&intermediateKey.PublicKey)
	if err != nil {
		return nil, nil, nil, err
	}
	mark := hex.EncodeToString(rootID[:4])
	now := p.Now.UTC().Truncate(time.Second)
	root := &x509.Certificate{
		Subject:                     pkix.Name{CommonName: fmt.Sprintf("%s Hearth %s", commonName(p.Name), mark), Organization: []string{"Hearth"}},
		NotBefore:                   begins,
		NotAfter:                    now.AddDate(Years, 0, 0),
		KeyUsage:                    x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid:       true,
		IsCA:                        true,
		MaxPathLen:                  1,
		SubjectKeyId:                rootID,
		SignatureAlgorithm:          x509.ECDSAWithSHA256,
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         []string{p.Domain, p.Label + ".local"},
		PermittedIPRanges:           p.networks(),
	}
	rootDER, err = x509.CreateCertificate(rand.Reader, root, root, &rootKey.PublicKey, rootKey)
	if err != nil {
		return nil, nil, nil, err
	}
	intermediate := *root
	intermediate.Subject.CommonName = fmt.Sprintf("%s Hearth %s box", commonName(p.Name), mark)
	intermediate.MaxPathLen, intermediate.MaxPathLenZero = 0, true
	intermediate.SubjectKeyId, intermediate.AuthorityKeyId = intermediateID, rootID
	intermediate.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	parsed, err := x509.ParseCertificate(rootDER)
	if err != nil {
		return nil, nil, nil, err
	}
	intermediateDER, err = x509.CreateCertificate(rand.Reader, &intermediate, parsed, &intermediateKey.PublicKey, rootKey)
	if err != nil {
		return nil, nil, nil, err
	}
	return rootDER, intermediateDER, intermediateKey, nil
}

// commonName keeps a name within the 64 characters of RFC 5280 (ub-common-name) after the words around it.
func commonName(s string) string {
	r := []rune(s)
	if len(r) > 40 {
		r = r[:40]
	}
	return strings.TrimSpace(string(r))
}

func keyID(k *ecdsa.PublicKey) ([]byte, error) {
	b, err := k.Bytes()
	if err != nil {
		return nil, err
	}
	h := sha256.Sum256(b) // RFC 7093, section 2, method 1
	return h[:20], nil
}

// Reason says why a household needs a new authority.
type Reason string

// The reasons. Each leaves the rest working.
const (
	ReasonNone   Reason = ""
	ReasonDomain Reason = "domain" // it is for another household's domain: nothing can be signed
	ReasonName   Reason = "name"   // the box was renamed: <box>.local cannot be signed
	ReasonAge    Reason = "age"    // less than a year is left
)

// Outlived says whether the authority with this root or intermediate certificate is still the right one for a box
// and its household at the time now, or why a new one is due.
func Outlived(caDER []byte, domain, label string, now time.Time) (Reason, error) {
	ca, err := x509.ParseCertificate(caDER)
	if err != nil {
		return ReasonNone, fmt.Errorf("reading the certificate authority: %w", err)
	}
	return outlived(ca, domain, label, now), nil
}

func outlived(ca *x509.Certificate, domain, label string, now time.Time) Reason {
	switch {
	case !slices.Contains(ca.PermittedDNSDomains, domain):
		return ReasonDomain
	case !slices.Contains(ca.PermittedDNSDomains, label+".local"):
		return ReasonName
	case now.AddDate(1, 0, 0).After(ca.NotAfter):
		return ReasonAge
	}
	return ReasonNone
}

// permitsName and permitsAddress say whether ca's name constraints allow a leaf to hold what is asked for.
func permitsName(ca *x509.Certificate, name string) bool {
	return slices.ContainsFunc(ca.PermittedDNSDomains, func(d string) bool { return name == d || strings.HasSuffix(name, "."+d) })
}

func permitsAddress(ca *x509.Certificate, a netip.Addr) bool {
	return slices.ContainsFunc(ca.PermittedIPRanges, func(n *net.IPNet) bool { return n.Contains(a.AsSlice()) })
}
