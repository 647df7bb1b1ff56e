package certificate

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"hearth.alt/services"
)

// The lives of a leaf.
const (
	LeafLife     = 90 * 24 * time.Hour
	LeafRenewAt  = 60 * 24 * time.Hour            // after the leaf was made
	leafUnknown  = 397 * 24 * time.Hour           // while the time is only a lower bound
	leafLongest  = 398*24*time.Hour - time.Second // the limit of every platform, which counts both ends; a leaf begins so long before its end, for clients whose clock is behind
	lookAgain    = 30 * time.Second               // how often addresses and time are looked at
	firstRetry   = 2 * time.Second
	maxAddresses = 32 // in one leaf
)

// Members tells who belongs; identity's service is one. The channel is closed when there is a newer snapshot.
type Members interface {
	Watch() (*services.Membership, <-chan struct{})
}

// Signer holds the intermediate's key; the keeper is one. Both are safe for concurrent use.
type Signer interface {
	// SignCertificate signs a SHA-256 digest of a leaf's TBSCertificate with the intermediate's P-256 key and
	// returns the ASN.1 form of the signature.
	SignCertificate(ctx context.Context, digest []byte) ([]byte, error)
	// CACertificates returns the DER of both, or an error while there are none.
	CACertificates(ctx context.Context) (root, intermediate []byte, err error)
}

// Config is what the service needs. Every field but Claim, Subnames and Log is required.
type Config struct {
	Members Members
	Signer  Signer
	// Addresses lists the addresses the box has now. It is called every 30 s and must be cheap.
	Addresses func() []netip.Addr
	// Claim returns the certificate that is shown before the claim; false when there is none. nil means never.
	Claim func() (tls.Certificate, bool)
	// Now is the known time, a lower bound of the real one; Known says whether something vouched for it.
	Now   func() time.Time
	Known func() bool
	// Subnames are labels before <box>.<domain> that the leaf holds too, such as "media".
	Subnames []string
	Log      *slog.Logger // nil is silence
}

// Service keeps the box's certificate. It is safe for concurrent use.
type Service struct {
	c      Config
	reload chan struct{}
	tried  chan struct{} // closed when Run has tried once
	once   sync.Once     // closes it

	mu     sync.Mutex
	leaf   *tls.Certificate // nil until the first one
	made   want             // what leaf was made for
	madeAt time.Time
	root   []byte            // of the leaf
	ca     *x509.Certificate // the intermediate as the Signer last showed it; nil before
	caRoot []byte
	health services.Health
}

// want is what a leaf is made for.
type want struct {
	names        []string
	addresses    []netip.Addr
	intermediate string // DER
	known        bool
	generation   uint64 // of the membership
}

// New checks the configuration.
func New(c Config) (*Service, error) {
	if c.Members == nil || c.Signer == nil || c.Addresses == nil || c.Now == nil || c.Known == nil {
		return nil, errors.New("certificate: Members, Signer, Addresses, Now and Known are required")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Log = c.Log.With("service", "certificate")
	if c.Claim == nil {
		c.Claim = func() (tls.Certificate, bool) { return tls.Certificate{}, false }
	}
	return &Service{c: c, reload: make(chan struct{}, 1), tried: make(chan struct{}), health: services.Health{
		Name: "certificate", Message: services.Say("certificate.starting", "The box's certificate is being made."),
	}}, nil
}

// Run issues leaves until ctx ends. What goes wrong is told by Health and tried again; it never ends Run.
func (s *Service) Run(ctx context.Context) error {
	retry, ask := firstRetry, true
	for {
		m, changed := s.c.Members.Watch()
		wait := lookAgain
		err := s.makeSo(ctx, m, ask)
		s.once.Do(func() { close(s.tried) })
		if err != nil && ctx.Err() == nil {
			wait, retry, ask = retry, min(2*retry, lookAgain), true
			s.c.Log.Warn("making the certificate", "err", err, "again", wait)
		} else {
			retry, ask = firstRetry, false
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-changed:
			ask = true
		case <-s.reload:
			ask = true
		case <-timer.C:
		}
		timer.Stop()
	}
}

// Reload makes Run ask the Signer for the authority again at once. Call it after the keeper made one.
func (s *Service) Reload() {
	select {
	case s.reload <- struct{}{}:
	default:
	}
}

// makeSo brings leaf, root and health to what the membership m says. With ask it asks the Signer for the authority anew.
func (s *Service) makeSo(ctx context.Context, m *services.Membership, ask bool) error {
	if !m.Claimed() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.leaf, s.root, s.made, s.madeAt, s.ca, s.caRoot = nil, nil, want{}, time.Time{}, nil, nil
		s.tell(true, true, services.Say("certificate.claim", "The box shows the certificate of its claim sheet until it is yours."))
		return nil
	}
	err := s.issue(ctx, m, ask)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.leaf == nil || s.c.Now().After(s.leaf.Leaf.NotAfter) {
			s.tell(s.leaf != nil, false, services.Say("certificate.failed", "The box has no certificate of its own right now and tries again by itself. Over the tunnel everything works."))
		}
	}
	return err
}

// authority returns the root and the intermediate, from memory unless ask is set or there are none.
func (s *Service) authority(ctx context.Context, ask bool) (root []byte, intermediate *x509.Certificate, err error) {
	s.mu.Lock()
	root, intermediate = s.caRoot, s.ca
	s.mu.Unlock()
	if !ask && intermediate != nil {
		return root, intermediate, nil
	}
	root, der, err := s.c.Signer.CACertificates(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("asking for the authority: %w", err)
	}
	intermediate, err = x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the intermediate certificate: %w", err)
	}
	s.mu.Lock()
	s.caRoot, s.ca = root, intermediate
	s.mu.Unlock()
	return root, intermediate, nil
}

func (s *Service) issue(ctx context.Context, m *services.Membership, ask bool) error {
	box, ours := m.Box() // one that was removed shows its pages at its addresses: the words may take it back
	root, intermediate, err := s.authority(ctx, ask)
	if err != nil {
		return err
	}
	now := s.c.Now()
	w := s.want(m, box, intermediate)
	if len(w.names) == 0 {
		return fmt.Errorf("the authority permits none of this box's names; it permits %v", intermediate.PermittedDNSDomains)
	}
	s.mu.Lock()
	due := s.leaf == nil || !w.coveredBy(s.made) || now.Sub(s.madeAt) >= LeafRenewAt || now.Before(s.madeAt) // the time was set back
	s.mu.Unlock()
	if due {
		leaf, err := s.sign(ctx, w, intermediate, now)
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.leaf, s.made, s.madeAt, s.root = leaf, w, now, root
		s.mu.Unlock()
		s.c.Log.Debug("certificate made", "names", w.names, "addresses", w.addresses, "until", leaf.Leaf.NotAfter)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch reason := outlived(intermediate, m.Household.Domain, box.Label, now); {
	case reason == ReasonName && ours:
		s.tell(true, false, services.Say("certificate.renamed", "The box has a new name, {name}, which its certificate may not hold. Browsers warn there on https; at {domain} they do not.", "name", box.Label+".local", "domain", m.Household.Domain))
	case reason == ReasonAge:
		s.tell(true, false, services.Say("certificate.old", "The trust that your devices have in this box ends on {until}. From then on browsers warn on https; over the private network everything works.", "until", intermediate.NotAfter))
	default:
		s.tell(true, true, services.Say("certificate.good", "The box's certificate is good until {until} and renews itself.", "until", s.leaf.Leaf.NotAfter))
	}
	return nil
}

// want lists what the leaf of box, zero where it was removed, should hold, less what the authority does not permit.
func (s *Service) want(m *services.Membership, box services.Box, ca *x509.Certificate) want {
	h := m.Household
	w := want{intermediate: string(ca.Raw), known: s.c.Known(), generation: m.Generation}
	names := []string{h.Domain}
	if host := box.Label + "." + h.Domain; box.Label != "" {
		names = []string{host, box.Label + ".local", h.Domain}
		for _, sub := range s.c.Subnames {
			names = append(names, sub+"."+host)
		}
	}
	for _, n := range names {
		if permitsName(ca, n) {
			w.names = append(w.names, n)
		}
	}
	for _, a := range append([]netip.Addr{box.Addr4, box.Addr6}, s.c.Addresses()...) {
		a = a.Unmap().WithZone("")
		if a.IsValid() && permitsAddress(ca, a) && !slices.Contains(w.addresses, a) && len(w.addresses) < maxAddresses {
			w.addresses = append(w.addresses, a)
		}
	}
	slices.SortFunc(w.addresses, netip.Addr.Compare)
	return w
}

// coveredBy says whether a leaf made for have is right for w. An address that went away does no harm.
func (w want) coveredBy(have want) bool {
	return w.intermediate == have.intermediate && w.known == have.known && w.generation == have.generation && slices.Equal(w.names, have.names) &&
		!slices.ContainsFunc(w.addresses, func(a netip.Addr) bool { return !slices.Contains(have.addresses, a) })
}

// remote is the intermediate's key as crypto.Signer: it asks the Signer.
type remote struct {
	ctx    context.Context
	public crypto.PublicKey
	signer Signer
}

func (r remote) Public() crypto.PublicKey { return r.public }
func (r remote) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	return r.signer.SignCertificate(r.ctx, digest)
}

func (s *Service) sign(ctx context.Context, w want, ca *x509.Certificate, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the leaf's key: %w", err)
	}
	life := LeafLife
	if !w.known {
		life = leafUnknown
	}
	now = now.UTC().Truncate(time.Second)
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: w.names[0]},
		NotAfter:              now.Add(life),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		SignatureAlgorithm:    x509.ECDSAWithSHA256,
		DNSNames:              w.names,
	}
	if template.NotAfter.After(ca.NotAfter) {
		template.NotAfter = ca.NotAfter
	}
	template.NotBefore = template.NotAfter.Add(-leafLongest)
	if template.NotBefore.Before(ca.NotBefore) {
		template.NotBefore = ca.NotBefore
	}
	for _, a := range w.addresses {
		template.IPAddresses = append(template.IPAddresses, net.IP(a.AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, &key.PublicKey, remote{ctx, ca.PublicKey, s.c.Signer})
	if err != nil {
		return nil, fmt.Errorf("signing the leaf: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("signing the leaf: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, ca.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// ErrNone is returned by Current and GetCertificate while there is nothing to show.
var ErrNone = errors.New("the box has no certificate yet")

// patience is how long a handshake waits after a start until making the first leaf was tried.
const patience = 3 * time.Second

// Current returns what handshakes are shown: the leaf; before the claim, and until the first leaf is made, the claim
// certificate. Where there is neither it is ErrNone.
func (s *Service) Current() (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaf != nil {
		return s.leaf, nil
	}
	if c, ok := s.c.Claim(); ok {
		return &c, nil
	}
	return nil, ErrNone
}

// GetCertificate is for tls.Config: Current, which the first handshakes after a start wait for.
func (s *Service) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c, err := s.Current(); err == nil {
		return c, nil
	}
	select {
	case <-s.tried:
	case <-time.After(patience):
	case <-hello.Context().Done():
	}
	return s.Current()
}

// RootDER returns the root that devices install; nil until the first leaf is made. Never hand it out over plain http
// on the home network. The caller must not change it.
func (s *Service) RootDER() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.root
}

// Health implements services.Service.
func (s *Service) Health() services.Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.health
}

// tell sets the health; mu is held.
func (s *Service) tell(ready, ok bool, say services.Sentence) {
	if s.health.Ready != ready || s.health.OK != ok || s.health.Since.IsZero() {
		s.health.Since = s.c.Now()
	}
	s.health.Ready, s.health.OK, s.health.Message = ready, ok, say
}
