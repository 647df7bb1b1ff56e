// Package portmap asks the router at home to send one UDP port of its outside address to this box, by whichever of
// three protocols it speaks: PCP (RFC 6887), NAT-PMP (RFC 6886) or UPnP IGD (WANIPConnection:1 and :2). One mapping
// on one side is worth more than every trick of hole punching (facts/mesh.md 4.3).
//
//	Client.Run: find the gateway -> PCP, NAT-PMP, UPnP in this order -> renew at half of the lease -> release
//
// Promises: it maps the one given UDP port and nothing else; a lease is at most two hours, so a box that is unplugged
// for good leaves no door open; the nonce that owns a PCP mapping is on disk before the mapping exists, so that the
// next run can renew or release it; every exchange has a deadline and every answer a bound, because a router may be
// silent, wrong or hostile. Only the gateway itself is believed: an answer or a description from any other address
// is ignored. A router that offers only mappings without an end is refused.
//
// Limits: IPv4 only; pinholes of IPv6 firewalls are not asked for.
package portmap

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"hearth.alt/services/durable"
)

// Protocol is a way to ask a router.
type Protocol string

// The protocols, in the order in which they are tried.
const (
	PCP    Protocol = "pcp"
	NATPMP Protocol = "nat-pmp"
	UPnP   Protocol = "upnp"
)

// Lease is what is asked for, and the longest that is believed.
const Lease = 2 * time.Hour

const (
	tryFor     = 3 * time.Second // for one protocol
	releaseFor = 2 * time.Second // for letting go at the end
	look       = 30 * time.Second
	again      = 10 * time.Minute // the longest pause after which a mapping is asked for anew: a router may have restarted
	soonest    = 2 * time.Second  // the shortest: a router may grant absurdly short leases
)

// Outcome says how an attempt went.
type Outcome string

// The outcomes.
const (
	Mapped   Outcome = "mapped"   // and the outside address is a public one
	Private  Outcome = "private"  // mapped, but the router's own outside address is not public: there is a second router
	Silent   Outcome = "silent"   // nobody answered
	Refused  Outcome = "refused"  // the router speaks the protocol and said no
	Nonsense Outcome = "nonsense" // it answered something that cannot be
	NoRouter Outcome = "no-router"
)

// Attempt is one try of one protocol, the latest of its kind.
type Attempt struct {
	Protocol Protocol
	Outcome  Outcome
	Detail   string // for the log and the detail page; bounded, may hold the router's own words
	At       time.Time
}

// Mapping is an open door: packets to External arrive at Internal.
type Mapping struct {
	Protocol Protocol
	Gateway  netip.Addr
	Internal netip.AddrPort
	External netip.AddrPort
	Expires  time.Time
}

// State is what the client knows now.
type State struct {
	Mapping  Mapping // zero without one
	Attempts []Attempt
	Looked   bool // false until the first round of attempts is over
}

// Route is how this machine reaches the Internet over IPv4.
type Route struct {
	Gateway netip.Addr
	Local   netip.Addr // the address that the gateway sees
}

// Network is the machine's network, replaceable in tests. A nil function is the machine's own.
type Network struct {
	Route        func() (Route, error) // an error when there is no gateway
	ListenPacket func(network, address string) (net.PacketConn, error)
	Dial         func(ctx context.Context, network, address string) (net.Conn, error)
}

// Config is what New needs.
type Config struct {
	Port    uint16 // the UDP port to map; not 0
	Dir     string // an existing folder for the nonce and the mapping; "" keeps nothing
	Network Network
	Now     func() time.Time // known time, for what is shown only; nil is time.Now
	Log     *slog.Logger     // nil is silent
	Changed func()           // called after State changed; may be nil; must be quick
}

// Client keeps one port mapped while Run runs.
type Client struct {
	cfg Config

	mu    sync.Mutex
	state State
}

// New makes a client. It does nothing until Run.
func New(cfg Config) *Client {
	if cfg.Network.Route == nil {
		cfg.Network.Route = defaultRoute
	}
	if cfg.Network.ListenPacket == nil {
		cfg.Network.ListenPacket = net.ListenPacket
	}
	if cfg.Network.Dial == nil {
		cfg.Network.Dial = (&net.Dialer{}).DialContext
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	return &Client{cfg: cfg}
}

// State returns what is known now; the caller owns it.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.state
	s.Attempts = slices.Clone(s.Attempts)
	return s
}

// Public says whether an address can be reached from the Internet: not private (RFC 1918, RFC 4193), not shared
// between customers (RFC 6598), not special.
func Public(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsGlobalUnicast() && !a.IsPrivate() && !shared.Contains(a) && !zero.Contains(a) && !reserved.Contains(a) && !protocols.Contains(a)
}

var (
	shared    = netip.MustParsePrefix("100.64.0.0/10")
	zero      = netip.MustParsePrefix("0.0.0.0/8")
	reserved  = netip.MustParsePrefix("240.0.0.0/4")
	protocols = netip.MustParsePrefix("192.0.0.0/24")
)

// kept is the file portmap.json: what a later run needs to renew or release.
type kept struct {
	Version  int        `json:"version"` // 1
	Nonce    string     `json:"nonce"`   // 24 hexadecimal digits; owns the mapping in PCP
	Protocol Protocol   `json:"protocol,omitempty"`
	Gateway  netip.Addr `json:"gateway,omitzero"`
	Internal uint16     `json:"internal,omitempty"`
	External uint16     `json:"external,omitempty"`
	Control  string     `json:"control,omitempty"` // UPnP: where to ask
	Service  string     `json:"service,omitempty"` // UPnP: its type
}

const keptVersion = 1

func (c *Client) file() string { return filepath.Join(c.cfg.Dir, "portmap.json") }

// load reads what an earlier run left; a missing or damaged file is a first run: the worst of it is a mapping that
// ends by itself within two hours.
func (c *Client) load() (k kept, isNew bool) {
	if c.cfg.Dir != "" {
		b, err := os.ReadFile(c.file())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.cfg.Log.Warn("the last port mapping is not readable", "err", err)
		}
		if err == nil {
			if k, err = parseKept(b); err != nil {
				c.cfg.Log.Warn("the last port mapping is damaged, starting anew", "err", err)
			}
		}
	}
	if k.Version == 0 {
		var nonce [12]byte
		rand.Read(nonce[:])
		return kept{Version: keptVersion, Nonce: hex.EncodeToString(nonce[:])}, true
	}
	return k, false
}

func parseKept(b []byte) (kept, error) {
	var k kept
	if err := json.Unmarshal(b, &k); err != nil {
		return kept{}, err
	}
	if raw, err := hex.DecodeString(k.Nonce); k.Version != keptVersion || err != nil || len(raw) != 12 {
		return kept{}, errors.New("not a port mapping of this version")
	}
	return k, nil
}

func (c *Client) save(k kept) {
	if c.cfg.Dir == "" {
		return
	}
	b, err := json.Marshal(k)
	if err == nil {
		durable.Point("mesh.portmap.ready")
		err = durable.WriteFile(c.file(), b, 0o600)
		durable.Point("mesh.portmap.saved")
	}
	if err != nil {
		c.cfg.Log.Warn("the port mapping is not on disk; it will end by itself", "err", err)
	}
}

func (k kept) nonce() (n [12]byte) {
	b, _ := hex.DecodeString(k.Nonce)
	copy(n[:], b)
	return n
}

// unmapped is k without a mapping.
func (k kept) unmapped() kept { return kept{Version: keptVersion, Nonce: k.Nonce} }

// grant is a router's yes.
type grant struct {
	external netip.AddrPort
	lease    time.Duration
	control  string
	service  string
}

// failure is a router's no, or less.
type failure struct {
	outcome Outcome
	detail  string
}

func (f *failure) Error() string { return string(f.outcome) + ": " + f.detail }

func fail(o Outcome, format string, args ...any) error {
	d := fmt.Sprintf(format, args...)
	if len(d) > 200 {
		d = d[:200]
	}
	return &failure{o, d}
}

// check refuses what no honest router answers.
func (g grant) check() error {
	a := g.external.Addr()
	switch {
	case g.external.Port() == 0:
		return fail(Nonsense, "the outside port is 0")
	case !a.Is4() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback():
		return fail(Nonsense, "the outside address is %s", a)
	case g.lease <= 0:
		return fail(Nonsense, "the lease is %s", g.lease)
	}
	return nil
}

// want is one request for a mapping.
type want struct {
	route    Route
	port     uint16 // inside
	external uint16 // outside, preferred
	nonce    [12]byte
	control  string // UPnP: known from the last time, "" to discover
	service  string
}

// way is one protocol; a lease of 0 releases.
type way struct {
	name Protocol
	ask  func(*Client, context.Context, want, time.Duration) (grant, error)
}

var ways = []way{
	{PCP, (*Client).askPCP},
	{NATPMP, (*Client).askNATPMP},
	{UPnP, (*Client).askUPnP},
}

// Run keeps the port mapped until ctx ends, then releases the mapping within two seconds. It returns nil.
func (c *Client) Run(ctx context.Context) error {
	k, changed := c.load()
	if k.Protocol != "" && k.Internal != c.cfg.Port {
		c.release(ctx, k)
		k, changed = k.unmapped(), true
	}
	if changed {
		c.save(k) // before anything is mapped: what the nonce owns can be released only with it
	}
	var at Route
	var due, tries = time.Time{}, 0
	for {
		route, err := c.cfg.Network.Route()
		switch {
		case err != nil:
			if at != (Route{}) || !c.State().Looked {
				c.set(Mapping{}, Attempt{"", NoRouter, err.Error(), c.cfg.Now()})
			}
			at, due = Route{}, time.Time{}
		case route != at || !time.Now().Before(due):
			if route != at {
				tries = 0
			}
			at = route
			var lease time.Duration
			lease, k = c.round(ctx, route, k)
			if lease > 0 {
				tries, due = 0, time.Now().Add(max(min(lease/2, again), soonest))
			} else {
				// 15 s, 30 s, ... 10 min: routers come and go, and each round costs a few packets.
				due = time.Now().Add(min(15*time.Second<<min(tries, 6), again))
				tries++
			}
		}
		pause := look
		if !due.IsZero() {
			pause = min(pause, max(time.Until(due), 0))
		}
		select {
		case <-ctx.Done():
			if k.Protocol != "" {
				c.release(context.WithoutCancel(ctx), k)
				c.save(k.unmapped())
			}
			c.set(Mapping{})
			return nil
		case <-time.After(pause):
		}
	}
}

// Release lets go of what an earlier run mapped and could not release, and forgets it. It is for a box that may no
// longer map; it does nothing when there is nothing.
func (c *Client) Release(ctx context.Context) {
	if _, err := os.Stat(c.file()); c.cfg.Dir == "" || err != nil {
		return
	}
	if k, _ := c.load(); k.Protocol != "" {
		c.release(ctx, k)
	}
	if err := durable.Remove(c.file()); err != nil {
		c.cfg.Log.Warn("the old port mapping stays on disk", "err", err)
	}
}

// round asks for the mapping once, by the protocol that worked last, then by the others. It returns the lease, 0
// without a mapping.
func (c *Client) round(ctx context.Context, route Route, k kept) (time.Duration, kept) {
	var attempts []Attempt
	order := slices.Clone(ways)
	if i := slices.IndexFunc(order, func(p way) bool { return p.name == k.Protocol }); i > 0 {
		worked := order[i]
		order = slices.Insert(slices.Delete(order, i, i+1), 0, worked)
	}
	for _, p := range order {
		w := want{route: route, port: c.cfg.Port, external: c.cfg.Port, nonce: k.nonce()}
		if k.Protocol == p.name && k.Gateway == route.Gateway {
			w.external, w.control, w.service = k.External, k.Control, k.Service
		}
		try, cancel := context.WithTimeout(ctx, tryFor)
		g, err := p.ask(c, try, w, Lease)
		cancel()
		if ctx.Err() != nil && err != nil {
			return 0, k
		}
		g.lease = min(g.lease, Lease)
		if err == nil {
			err = g.check()
		}
		if err != nil {
			f := &failure{Silent, ""}
			if !errors.As(err, &f) {
				f = &failure{Silent, fail(Silent, "%v", err).(*failure).detail}
			}
			attempts = append(attempts, Attempt{p.name, f.outcome, f.detail, c.cfg.Now()})
			c.cfg.Log.Debug("no port mapping", "by", p.name, "outcome", f.outcome, "detail", f.detail)
			continue
		}
		next := kept{keptVersion, k.Nonce, p.name, route.Gateway, c.cfg.Port, g.external.Port(), g.control, g.service}
		outcome := Mapped
		if !Public(g.external.Addr()) {
			outcome = Private
		}
		if next != k {
			c.cfg.Log.Info("port mapped", "by", p.name, "outside", g.external, "lease", g.lease, "public", outcome == Mapped)
			c.save(next)
		}
		attempts = append(attempts, Attempt{p.name, outcome, "", c.cfg.Now()})
		c.set(Mapping{p.name, route.Gateway, netip.AddrPortFrom(route.Local, c.cfg.Port), g.external, c.cfg.Now().Add(g.lease)}, attempts...)
		return g.lease, next
	}
	// What was mapped may still be there; it is shown until its lease is over.
	old := c.State().Mapping
	if old.Gateway != route.Gateway || old.Internal.Addr() != route.Local || !c.cfg.Now().Before(old.Expires) {
		old = Mapping{}
	}
	c.set(old, attempts...)
	return 0, k
}

func (c *Client) release(ctx context.Context, k kept) {
	route, err := c.cfg.Network.Route()
	if err != nil || route.Gateway != k.Gateway {
		return // another network: what was mapped there ends by itself
	}
	ctx, cancel := context.WithTimeout(ctx, releaseFor)
	defer cancel()
	for _, p := range ways {
		if p.name == k.Protocol {
			_, err := p.ask(c, ctx, want{route, k.Internal, k.External, k.nonce(), k.Control, k.Service}, 0)
			c.cfg.Log.Info("port mapping released", "by", p.name, "err", err)
		}
	}
}

func (c *Client) set(m Mapping, attempts ...Attempt) {
	c.mu.Lock()
	c.state.Mapping = m
	if attempts != nil {
		c.state.Attempts, c.state.Looked = attempts, true
	}
	c.mu.Unlock()
	c.cfg.Changed()
}
