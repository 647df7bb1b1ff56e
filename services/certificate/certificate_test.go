package certificate_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth.alt/services"
	"hearth.alt/services/certificate"
	"hearth.alt/services/claimcode"
)

var update = flag.Bool("update", false, "write the golden files anew")

func params(now time.Time) certificate.Params {
	return certificate.Params{
		Name: "Smith", Domain: "smith.home.arpa", Label: "attic",
		Net4: netip.MustParsePrefix("10.81.4.0/24"), Net6: netip.MustParsePrefix("fd12:3456:789a::/48"),
		LAN: []netip.Prefix{netip.MustParsePrefix("192.168.178.20/24"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/64"), netip.MustParsePrefix("0.0.0.0/0")},
		Now: now,
	}
}

// sign makes a leaf as an attacker with the intermediate's key would.
func sign(t *testing.T, intermediateDER []byte, key *ecdsa.PrivateKey, now time.Time, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	ca, err := x509.ParseCertificate(intermediateDER)
	if err != nil {
		t.Fatal(err)
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), Subject: pkix.Name{Organization: []string{"x"}},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, ca, &leafKey.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func writePEM(t *testing.T, der []byte) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "c.pem")
	if err := os.WriteFile(f, certificate.PEM(der), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestTheAuthorityIsConstrained asks two verifiers that share no code: Go's and OpenSSL's.
func TestTheAuthorityIsConstrained(t *testing.T) {
	now := time.Now()
	rootDER, intermediateDER, key, err := certificate.MakeCA(params(now))
	if err != nil {
		t.Fatal(err)
	}
	root, _ := x509.ParseCertificate(rootDER)
	intermediate, _ := x509.ParseCertificate(intermediateDER)
	for _, c := range []*x509.Certificate{root, intermediate} {
		if !c.PermittedDNSDomainsCritical || len(c.PermittedIPRanges) != 3 || len(c.PermittedDNSDomains) != 2 {
			t.Errorf("%s: critical %v, permits %v and %v; want critical, 2 names, 3 networks (the public ones left out)", c.Subject, c.PermittedDNSDomainsCritical, c.PermittedDNSDomains, c.PermittedIPRanges)
		}
	}
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Log("openssl is not here; only Go's verifier was asked. To have both: apt-get install openssl")
	}
	roots, middle := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root)
	middle.AddCert(intermediate)
	rootFile, middleFile := writePEM(t, rootDER), writePEM(t, intermediateDER)
	names := func(n ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.DNSNames = n }
	}
	address := func(a string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP(a)} }
	}
	for name, tc := range map[string]struct {
		change func(*x509.Certificate)
		good   bool
	}{
		"the household":            {names("smith.home.arpa"), true},
		"the box":                  {names("attic.smith.home.arpa", "attic.local"), true},
		"tunnel address":           {address("10.81.4.1"), true},
		"tunnel address 6":         {address("fd12:3456:789a::1"), true},
		"home address":             {address("192.168.178.20"), true},
		"a bank":                   {names("example.com"), false},
		"a bank beside the box":    {names("attic.local", "example.com"), false},
		"a wildcard":               {names("*.com"), false},
		"another household":        {names("jones.home.arpa"), false},
		"a name that only ends so": {names("evilsmith.home.arpa"), false},
		"another .local":           {names("printer.local"), false},
		"the parent":               {names("home.arpa"), false},
		"a neighbour network":      {address("192.168.1.1"), false},
		"another 10":               {address("10.0.0.1"), false},
		"a public address":         {address("203.0.113.7"), false},
		"a public address 6":       {address("2001:db8::1"), false},
		"for mail": {func(c *x509.Certificate) {
			names("attic.local")(c)
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}
		}, false},
	} {
		leaf := sign(t, intermediateDER, key, now, tc.change)
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: middle, CurrentTime: now})
		if (err == nil) != tc.good {
			t.Errorf("%s: Go says %v, want good=%v", name, err, tc.good)
		}
		if openssl == "" {
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		out, err := exec.CommandContext(ctx, openssl, "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", rootFile, "-untrusted", middleFile, writePEM(t, leaf.Raw)).CombinedOutput()
		cancel()
		if (err == nil) != tc.good {
			t.Errorf("%s: openssl says %v, want good=%v\n%s", name, err, tc.good, out)
		}
	}

	// A further authority below the intermediate is refused: its path length is zero.
	subKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	sub := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "sub"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	subDER, err := x509.CreateCertificate(rand.Reader, sub, intermediate, &subKey.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	subCert, _ := x509.ParseCertificate(subDER)
	middle.AddCert(subCert)
	leaf := sign(t, subDER, subKey, now, names("attic.local"))
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: middle, CurrentTime: now}); err == nil {
		t.Error("a leaf of an authority below the intermediate verifies")
	}
}

func TestMakeCARefuses(t *testing.T) {
	now := time.Now()
	for name, change := range map[string]func(*certificate.Params){
		"a public domain": func(p *certificate.Params) { p.Domain = "example.com" },
		"all households":  func(p *certificate.Params) { p.Domain = ".home.arpa" },
		"no box":          func(p *certificate.Params) { p.Label = "" },
		"a box with dots": func(p *certificate.Params) { p.Label = "a.b" },
		"no network":      func(p *certificate.Params) { p.Net6 = netip.Prefix{} },
		"no time":         func(p *certificate.Params) { p.Now = time.Time{} },
	} {
		p := params(now)
		change(&p)
		if _, _, key, err := certificate.MakeCA(p); err == nil || key != nil {
			t.Errorf("%s: %v, key %v; want an error", name, err, key != nil)
		}
	}
}

func TestOutlived(t *testing.T) {
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	root, _, _, err := certificate.MakeCA(params(now))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		domain, label string
		now           time.Time
		want          certificate.Reason
	}{
		"new":        {"smith.home.arpa", "attic", now, certificate.ReasonNone},
		"renamed":    {"smith.home.arpa", "cellar", now, certificate.ReasonName},
		"moved in":   {"jones.home.arpa", "attic", now, certificate.ReasonDomain},
		"nine years": {"smith.home.arpa", "attic", now.AddDate(9, 0, 1), certificate.ReasonAge},
	} {
		if got, err := certificate.Outlived(root, tc.domain, tc.label, tc.now); err != nil || got != tc.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, tc.want)
		}
	}
	if _, err := certificate.Outlived([]byte("x"), "a", "b", now); err == nil {
		t.Error("nonsense was read as a certificate")
	}
}

// house is a fake of identity and keeper: a membership that changes, an authority that can be replaced.
type house struct {
	mu           sync.Mutex
	m            *services.Membership
	changed      chan struct{}
	root, middle []byte
	key          *ecdsa.PrivateKey
	addresses    []netip.Addr
	known        bool
	now          func() time.Time
	fail         error
	signed       int
	asked        int
}

func (h *house) Watch() (*services.Membership, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.m, h.changed
}

func (h *house) set(m *services.Membership) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.m = m
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *house) makeCA(t *testing.T, p certificate.Params) {
	t.Helper()
	root, middle, key, err := certificate.MakeCA(p)
	if err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.root, h.middle, h.key = root, middle, key
}

func (h *house) SignCertificate(_ context.Context, digest []byte) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.signed++
	if h.fail != nil {
		return nil, h.fail
	}
	return ecdsa.SignASN1(rand.Reader, h.key, digest)
}

func (h *house) CACertificates(context.Context) (root, intermediate []byte, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	if h.key == nil {
		return nil, nil, errors.New("there is none yet")
	}
	return h.root, h.middle, nil
}

func claimed(label string) *services.Membership {
	self := services.PeerID{1}
	return &services.Membership{
		Revision: 1, Self: self,
		Household: &services.Household{Name: "Smith", Label: "smith", Domain: "smith.home.arpa", Net4: netip.MustParsePrefix("10.81.4.0/24"), Net6: netip.MustParsePrefix("fd12:3456:789a::/48")},
		Boxes:     []services.Box{{ID: self, Name: "Attic", Label: label, State: services.StateActive, Addr4: netip.MustParseAddr("10.81.4.1"), Addr6: netip.MustParseAddr("fd12:3456:789a::1")}},
	}
}

func newHouse(t *testing.T, h *house) *certificate.Service {
	t.Helper()
	h.changed = make(chan struct{})
	if h.m == nil {
		h.m = &services.Membership{Self: services.PeerID{1}}
	}
	if h.now == nil {
		h.now = time.Now
	}
	code, err := claimcode.Parse("7QK4-M2VX-9TRD-HC6P")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := code.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	s, err := certificate.New(certificate.Config{
		Members: h, Signer: h, Now: func() time.Time { return h.now() },
		Addresses: func() []netip.Addr { h.mu.Lock(); defer h.mu.Unlock(); return h.addresses },
		Known:     func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.known },
		Claim:     func() (tls.Certificate, bool) { return cert, true },
		Subnames:  []string{"media"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func leaf(t *testing.T, s *certificate.Service) *x509.Certificate {
	t.Helper()
	c, err := s.Current()
	if err != nil {
		t.Fatal(err)
	}
	return c.Leaf
}

func TestLifeOfALeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, time.December, 1, 0, 0, 0, 0, time.UTC))) // no authority is older than 2026
		h := &house{addresses: []netip.Addr{netip.MustParseAddr("192.168.178.20"), netip.MustParseAddr("2001:db8::5"), netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("192.168.7.7")}}
		s := newHouse(t, h)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		if got := leaf(t, s).Subject.CommonName; got != claimcode.Host || !s.Health().OK || s.RootDER() != nil {
			t.Errorf("before the claim: %s, health %v", got, s.Health().Message)
		}

		h.set(claimed("attic"))
		synctest.Wait()
		if s.Health().OK || leaf(t, s).Subject.CommonName != claimcode.Host {
			t.Error("claimed, but the keeper has no authority yet: want the claim certificate and trouble in health")
		}
		h.makeCA(t, params(time.Now()))
		time.Sleep(time.Minute)
		synctest.Wait()
		first := leaf(t, s)
		if diff := cmp.Diff([]string{"attic.smith.home.arpa", "attic.local", "smith.home.arpa", "media.attic.smith.home.arpa"}, first.DNSNames); diff != "" {
			t.Errorf("names (-want +got):\n%s", diff)
		}
		var ips []string
		for _, ip := range first.IPAddresses {
			ips = append(ips, ip.String())
		}
		if diff := cmp.Diff([]string{"10.81.4.1", "192.168.178.20", "fd12:3456:789a::1"}, ips); diff != "" {
			t.Errorf("addresses (-want +got):\n%s", diff)
		}
		if got := first.NotAfter.Sub(first.NotBefore); got < 390*24*time.Hour || got > 398*24*time.Hour {
			t.Errorf("the time is not known, and the leaf lives %v", got)
		}

		h.mu.Lock()
		h.known = true
		h.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		second := leaf(t, s)
		if got := time.Until(second.NotAfter); got > certificate.LeafLife || got < certificate.LeafLife-2*time.Minute {
			t.Errorf("the time is known, and the leaf lives %v more", got)
		}

		// An address that goes does nothing, one that comes makes a new leaf.
		h.mu.Lock()
		h.addresses = nil
		h.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if leaf(t, s) != second {
			t.Error("an address that went made a new leaf")
		}
		h.mu.Lock()
		h.addresses = []netip.Addr{netip.MustParseAddr("192.168.178.99")}
		h.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if leaf(t, s) == second || leaf(t, s).VerifyHostname("192.168.178.99") != nil {
			t.Error("the leaf does not hold the new address")
		}

		// Sixty days later it renews, and the better part of a year passes without a gap.
		third := leaf(t, s)
		time.Sleep(certificate.LeafRenewAt - time.Hour)
		synctest.Wait()
		if leaf(t, s) != third {
			t.Error("renewed too early")
		}
		asked := h.asked
		for range 6 {
			time.Sleep(40 * 24 * time.Hour)
			synctest.Wait()
			if left := time.Until(leaf(t, s).NotAfter); left < 29*24*time.Hour {
				t.Fatalf("only %v left", left)
			}
		}
		if h.asked != asked {
			t.Errorf("the keeper was asked %d times for an authority that nobody changed", h.asked-asked)
		}
		if leaf(t, s).SerialNumber.Cmp(third.SerialNumber) == 0 || bytes.Equal(leaf(t, s).RawSubjectPublicKeyInfo, third.RawSubjectPublicKeyInfo) {
			t.Error("a renewed leaf has the old serial or key")
		}

		// A new name needs a new authority; until then the household's names go on.
		h.set(claimed("cellar"))
		synctest.Wait()
		if got := s.Health(); got.OK || !got.Ready || got.Message.Key != "certificate.renamed" {
			t.Errorf("renamed: %+v", got)
		}
		if err := leaf(t, s).VerifyHostname("cellar.smith.home.arpa"); err != nil {
			t.Error(err)
		}
		if err := leaf(t, s).VerifyHostname("cellar.local"); err == nil {
			t.Error("the leaf holds a name that the authority does not permit: no phone would take it")
		}
		p := params(time.Now())
		p.Label = "cellar"
		h.makeCA(t, p)
		s.Reload()
		synctest.Wait()
		if err := leaf(t, s).VerifyHostname("cellar.local"); err != nil || !s.Health().OK {
			t.Errorf("after the new authority: %v, %+v", err, s.Health())
		}

		// The chain verifies from the root that is handed out.
		roots, middle := x509.NewCertPool(), x509.NewCertPool()
		c, _ := s.Current()
		root, err := x509.ParseCertificate(s.RootDER())
		if err != nil {
			t.Fatal(err)
		}
		roots.AddCert(root)
		intermediate, _ := x509.ParseCertificate(c.Certificate[1])
		middle.AddCert(intermediate)
		if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: middle, CurrentTime: time.Now(), DNSName: "cellar.local"}); err != nil {
			t.Error(err)
		}

		cancel()
		if err := <-done; err != nil {
			t.Errorf("a clean stop returned %v", err)
		}
	})
}

// Somebody was removed, and the box went on with the key it had.
func TestRemovalMakesANewKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, time.December, 1, 0, 0, 0, 0, time.UTC)))
		h := &house{m: claimed("attic"), known: true}
		s := newHouse(t, h)
		h.makeCA(t, params(time.Now()))
		go s.Run(t.Context())
		synctest.Wait()
		first, root := leaf(t, s), s.RootDER()
		step := func(generation uint64) {
			m := claimed("attic")
			m.Revision, m.Generation = h.m.Revision+1, generation
			h.set(m)
			synctest.Wait()
		}
		step(0)
		if leaf(t, s) != first {
			t.Error("a change without a removal made a new leaf")
		}
		step(7)
		second := leaf(t, s)
		if bytes.Equal(second.RawSubjectPublicKeyInfo, first.RawSubjectPublicKeyInfo) {
			t.Error("somebody was removed, and the leaf has the old key")
		}
		if !bytes.Equal(s.RootDER(), root) {
			t.Error("the devices would have to install another root")
		}
		step(7)
		if leaf(t, s) != second {
			t.Error("one removal made two leaves")
		}
		step(3) // an epoch undid it: generations have no order
		if bytes.Equal(leaf(t, s).RawSubjectPublicKeyInfo, second.RawSubjectPublicKeyInfo) {
			t.Error("an epoch settled who belongs, and the leaf has the old key")
		}
	})
}

// A box that its household removed had no certificate after its next start, so that nobody could type the 24 words there.
func TestRemovedBoxHasACertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, time.December, 1, 0, 0, 0, 0, time.UTC)))
		m := claimed("attic")
		m.Boxes, m.Removed = nil, []services.PeerID{m.Self}
		home := netip.MustParseAddr("192.168.178.20")
		h := &house{m: m, known: true, addresses: []netip.Addr{home}}
		s := newHouse(t, h)
		h.makeCA(t, params(time.Now()))
		go s.Run(t.Context())
		synctest.Wait()
		l := leaf(t, s)
		if l.VerifyHostname(home.String()) != nil || !slices.Equal(l.DNSNames, []string{"smith.home.arpa"}) {
			t.Errorf("it is for %v, %v", l.DNSNames, l.IPAddresses)
		}
		if health := s.Health(); !health.Ready || !health.OK || health.Message.Key != "certificate.good" {
			t.Errorf("health is %+v", health)
		}
	})
}

// A claim while NTP was forged made an authority, and a leaf, that began in the future: phones refused both until then,
// and nothing made them anew when the time was right again.
func TestClaimAtAForgedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, time.December, 1, 0, 0, 0, 0, time.UTC)))
		ahead := 3 * 365 * 24 * time.Hour
		var mu sync.Mutex
		forged := func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Add(ahead) }
		h := &house{m: claimed("attic"), now: forged, known: true}
		s := newHouse(t, h)
		h.makeCA(t, params(forged()))
		go s.Run(t.Context())
		synctest.Wait()
		wrong, root := leaf(t, s), s.RootDER()
		ca, err := x509.ParseCertificate(root)
		if err != nil {
			t.Fatal(err)
		}
		if ca.NotBefore.After(time.Now()) {
			t.Errorf("the authority begins %v, which is in the future", ca.NotBefore)
		}
		if got := wrong.NotAfter.Sub(wrong.NotBefore); got > 398*24*time.Hour {
			t.Errorf("the leaf lives %v: platforms refuse it", got)
		}
		mu.Lock()
		ahead = 0
		mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		right := leaf(t, s)
		pool, middle := x509.NewCertPool(), x509.NewCertPool()
		pool.AddCert(ca)
		c, _ := s.Current()
		intermediate, _ := x509.ParseCertificate(c.Certificate[1])
		middle.AddCert(intermediate)
		for _, phone := range []time.Duration{0, -7 * 24 * time.Hour, 60 * 24 * time.Hour} {
			if _, err := right.Verify(x509.VerifyOptions{Roots: pool, Intermediates: middle, CurrentTime: time.Now().Add(phone), DNSName: "attic.local"}); err != nil {
				t.Errorf("a phone whose clock is off by %v: %v", phone, err)
			}
		}
		if got := time.Until(right.NotAfter); got > certificate.LeafLife {
			t.Errorf("with the right time again the leaf lives %v more", got)
		}
		if !bytes.Equal(s.RootDER(), root) {
			t.Error("the authority was replaced: every phone would have to install it again")
		}
		signed := h.signed
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if h.signed != signed {
			t.Errorf("%d leaves more in a day", h.signed-signed)
		}
	})
}

func TestKeeperThatCannotSign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &house{m: claimed("attic"), known: true, fail: errors.New("the keeper is gone")}
		h.makeCA(t, params(time.Now()))
		s := newHouse(t, h)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.Run(ctx)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		h.mu.Lock()
		asked := h.signed
		h.fail = nil
		h.mu.Unlock()
		if asked < 10 || asked > 30 {
			t.Errorf("the keeper was asked %d times in ten minutes", asked)
		}
		if got := s.Health(); got.OK || got.Ready || got.Message.Key != "certificate.failed" {
			t.Errorf("health %+v", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := s.Health(); !got.OK || leaf(t, s).VerifyHostname("attic.local") != nil {
			t.Errorf("it did not recover: %+v", got)
		}
	})
}

// Whoever calls in the moment of a start is not sent away: browsers showed an error page for it.
func TestFirstHandshakeWaits(t *testing.T) {
	for _, tt := range []struct {
		name  string
		run   time.Duration // after which Run begins; 0 is never
		fails error         // of the keeper
		want  time.Duration
		err   error
	}{
		{"the leaf comes", 100 * time.Millisecond, nil, 100 * time.Millisecond, nil},
		{"nobody makes one", 0, nil, 3 * time.Second, certificate.ErrNone},
		{"making one fails", 100 * time.Millisecond, errors.New("the keeper is gone"), 100 * time.Millisecond, certificate.ErrNone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &house{m: claimed("attic"), known: true, fail: tt.fails}
				h.makeCA(t, params(time.Now()))
				s, err := certificate.New(certificate.Config{
					Members: h, Signer: h, Now: time.Now, Known: func() bool { return true },
					Addresses: func() []netip.Addr { return nil },
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.run != 0 {
					// Twice, as the supervisor does after a panic.
					time.AfterFunc(tt.run, func() { s.Run(ctx) })
					time.AfterFunc(tt.run+time.Minute, func() { s.Run(ctx) })
				}
				ours, theirs := net.Pipe()
				defer theirs.Close()
				began := time.Now()
				go func() {
					c := tls.Client(theirs, &tls.Config{InsecureSkipVerify: true})
					if err := c.Handshake(); err == nil {
						if err := c.ConnectionState().PeerCertificates[0].VerifyHostname("attic.local"); err != nil {
							t.Error(err)
						}
					}
					c.Close()
				}()
				err = tls.Server(ours, &tls.Config{GetCertificate: s.GetCertificate}).Handshake()
				ours.Close()
				if took := time.Since(began); !errors.Is(err, tt.err) || took != tt.want {
					t.Errorf("%v after %v, want %v after %v", err, took, tt.err, tt.want)
				}
				time.Sleep(2 * time.Minute)
				cancel()
				synctest.Wait()
			})
		})
	}
}

func TestProfiles(t *testing.T) {
	rootFile := filepath.Join("testdata", "root.pem")
	if *update {
		root, _, _, err := certificate.MakeCA(params(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(rootFile, certificate.PEM(root), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(rootFile)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if !bytes.Equal(certificate.PEM(block.Bytes), text) {
		t.Error("PEM does not write what it reads")
	}
	got := certificate.MobileConfig(certificate.Profile{Root: block.Bytes, DisplayName: "Smith & Söhne <household>", Description: "Trust for this household's box, and for nothing else.", Organization: "Hearth"})
	dec := xml.NewDecoder(bytes.NewReader(got))
	for {
		if _, err := dec.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("not XML: %v", err)
		}
	}
	golden := filepath.Join("testdata", "profile.mobileconfig")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("profile (-want +got):\n%s", diff)
	}
	if !strings.Contains(string(got), "com.apple.security.root") {
		t.Error("no root payload")
	}
	if plutil, err := exec.LookPath("plistutil"); err == nil {
		cmd := exec.Command(plutil, "-i", golden, "-f", "json")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("plistutil: %v\n%s", err, out)
		}
	}
}
