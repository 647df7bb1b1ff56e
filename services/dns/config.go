package dns

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"hearth.alt/services"
)

// Members says who belongs to the household.
type Members interface {
	// Watch returns the current snapshot and a channel that is closed when there is a newer one.
	Watch() (*services.Membership, <-chan struct{})
}

// Sockets are where questions come in. The service closes them. A packet socket should be bound to one address: the
// answer to a question that came to a wildcard may leave from another address.
type Sockets struct {
	Packet []net.PacketConn
	Stream []net.Listener
}

func (s Sockets) close() {
	for _, p := range s.Packet {
		if p != nil {
			_ = p.Close()
		}
	}
	for _, l := range s.Stream {
		if l != nil { // a half-made answer of Open
			_ = l.Close()
		}
	}
}

// Protocol is how an upstream is asked.
type Protocol string

// The protocols.
const (
	TLS   Protocol = "tls" // RFC 7858, port 853
	Plain Protocol = "udp" // RFC 1035, port 53; by TCP when an answer does not fit
	TCP   Protocol = "tcp" // RFC 7766, port 53
)

// Upstream is a resolver that is asked for everything that is not ours.
type Upstream struct {
	Name      string           // of its certificate, "dns.quad9.net"; needed for TLS
	Protocol  Protocol         // "" is TLS
	Addresses []netip.AddrPort // at least one, asked in this order; port 0 is the protocol's own
}

// DefaultUpstreams is where a household starts: resolvers that promise not to keep questions, run by different people
// in different places. The owner may change the list.
func DefaultUpstreams() []Upstream {
	at := func(list ...string) (out []netip.AddrPort) {
		for _, a := range list {
			out = append(out, netip.AddrPortFrom(netip.MustParseAddr(a), 853))
		}
		return out
	}
	return []Upstream{
		{Name: "dns.quad9.net", Protocol: TLS, Addresses: at("9.9.9.9", "2620:fe::fe", "149.112.112.112", "2620:fe::9")},
		{Name: "dns.mullvad.net", Protocol: TLS, Addresses: at("194.242.2.2", "2a07:e340::2")},
		{Name: "one.one.one.one", Protocol: TLS, Addresses: at("1.1.1.1", "2606:4700:4700::1111")},
	}
}

// Config is what the service needs.
type Config struct {
	// Members gives the local zone. nil is an error.
	Members Members
	// Open opens the sockets for a claimed household; it is called again when the household's addresses change or a
	// socket breaks. nil is an error. An error is shown in Health and tried again after 1 to 30 seconds.
	Open func(ctx context.Context, m *services.Membership) (Sockets, error)
	// Stale says that Open would now open other sockets than the last time, because an interface came or went. It is
	// asked every half second and must be quick. nil is never.
	Stale func() bool
	// Upstreams, in order of preference; nil is DefaultUpstreams, an empty list forwards to SystemResolvers only.
	Upstreams []Upstream
	// From says whose questions are answered; nil is everybody who reaches the sockets. It is asked for every question
	// and must be quick. A resolver that answers the Internet is a weapon in others' hands (RFC 5358).
	From func(netip.Addr) bool
	// SystemResolvers are the resolvers DHCP named, asked in the clear as doc.go says; nil is none.
	SystemResolvers func() []netip.AddrPort
	// AllowPlain says whether SystemResolvers may be asked at all; nil is yes.
	AllowPlain func() bool
	// Home says whether a global address belongs to something in the house, so that no answer from outside may hold it:
	// at home a printer has such an IPv6 address. It must be false for the box itself, whose own name outside people at
	// home use too. nil is never. It must be quick.
	Home func(netip.Addr) bool
	// Probe has the root's name servers asked for whenever sockets were opened, with growing pauses until somebody
	// answers anything, so that Health knows of an outage before the household does. The question says nothing of it.
	Probe bool
	// Dir keeps the names that may point home; "" forgets them.
	Dir string
	// Now is the known time that certificates are judged by; nil is the system's.
	Now func() time.Time
	// TimeKnown says whether Now is right or only a lower bound; nil is always right.
	TimeKnown func() bool
	// CacheBytes bounds the cache; 0 is 8 MiB.
	CacheBytes int
	// Roots judges the certificates of upstreams; nil is the system's, and where there are none (the image)
	// the list of x/crypto/x509roots/fallback/bundle.
	Roots *x509.CertPool
	// Log receives what happens, never what was asked; nil is silence.
	Log *slog.Logger

	// mono is the cache's clock, the monotonic one outside tests.
	mono func() time.Duration
}

func (c *Config) check() error {
	if c.Members == nil || c.Open == nil {
		return errors.New("dns: Members or Open is missing")
	}
	if c.Upstreams == nil {
		c.Upstreams = DefaultUpstreams()
	}
	for i := range c.Upstreams {
		u := c.Upstreams[i]
		if u.Protocol == "" {
			u.Protocol = TLS
		}
		port := uint16(53)
		switch u.Protocol {
		case TLS:
			port = 853
			if u.Name == "" {
				return fmt.Errorf("dns: upstream %d: DNS over TLS needs the name in the certificate", i)
			}
		case Plain, TCP:
		default:
			return fmt.Errorf("dns: upstream %d: %q is no protocol", i, u.Protocol)
		}
		if len(u.Addresses) == 0 {
			return fmt.Errorf("dns: upstream %d has no address", i)
		}
		list := make([]netip.AddrPort, 0, len(u.Addresses))
		for _, a := range u.Addresses {
			if !a.Addr().IsValid() {
				return fmt.Errorf("dns: upstream %d has an address that is none", i)
			}
			if a.Port() == 0 {
				a = netip.AddrPortFrom(a.Addr(), port)
			}
			list = append(list, a)
		}
		u.Addresses = list
		if i == 0 {
			c.Upstreams = append([]Upstream(nil), c.Upstreams...)
		}
		c.Upstreams[i] = u
	}
	if c.SystemResolvers == nil {
		c.SystemResolvers = func() []netip.AddrPort { return nil }
	}
	if c.Home == nil {
		c.Home = func(netip.Addr) bool { return false }
	}
	if c.AllowPlain == nil {
		c.AllowPlain = func() bool { return true }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.TimeKnown == nil {
		c.TimeKnown = func() bool { return true }
	}
	if c.mono == nil {
		start := time.Now()
		c.mono = func() time.Duration { return time.Since(start) }
	}
	if c.CacheBytes <= 0 {
		c.CacheBytes = 8 << 20
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Log = c.Log.With("service", "dns")
	return nil
}

// Stats counts since the program started.
type Stats struct {
	Questions uint64 // that came in and could be read
	Cached    uint64 // answered from the cache, stale ones included
	Stale     uint64 // answered with an expired answer
	Local     uint64 // answered from the local zones
	Forwarded uint64 // asked upstream
	Failed    uint64 // answered "cannot say"
	Refused   uint64 // not answered on purpose: classes, transfers, malformed
	Dropped   uint64 // too many at once
	Filtered  uint64 // answers from outside that pointed inside
	Plain     uint64 // upstream questions that went in the clear
	Entries   int    // answers in the cache
	Bytes     int    // what they take
	// Latency is how long a question to an upstream takes, as a moving mean; 0 before the first.
	Latency time.Duration
}
