package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/crowd"

	"github.com/miekg/dns"
)

// Pauses between attempts to open the sockets.
const (
	reopenFirst = time.Second
	reopenLast  = 30 * time.Second
	// troubleAfter is how long nothing must answer until Health says so: a symptom must last.
	troubleAfter = 10 * time.Second
	// staleEvery is how often Config.Stale is asked.
	staleEvery = 500 * time.Millisecond
)

// Service answers questions for names. Make one with New; all methods are safe for concurrent use.
type Service struct {
	cfg      Config
	h        *handler
	conns    *crowd.Table
	homeward *homeward

	mu    sync.Mutex
	shown services.Health // as last told, so that Since can be
	phase phase
	cause error // of phaseClosed
}

type phase uint8

const (
	phaseIdle    phase = iota // not running
	phaseWaiting              // for the claim
	phaseClosed               // the sockets cannot be opened
	phaseOpen
)

// New checks the configuration. Nothing is opened before Run.
func New(cfg Config) (*Service, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, conns: crowd.NewTable(maxConns, maxOfOne)}
	c := newCache(cfg.CacheBytes, cfg.mono)
	h := &handler{cache: c}
	var err error
	if s.homeward, err = newHomeward(cfg.Dir); err != nil {
		cfg.Log.Warn("the names that may point home are damaged, starting without", "error", err)
	}
	h.forward = newForwarder(&s.cfg, c, s.homeward, &h.counters)
	none := buildZones(&services.Membership{})
	h.zones.Store(&none)
	s.h = h
	return s, nil
}

// Run waits for the claim, opens the sockets and answers until ctx ends; then it returns nil. Sockets that break,
// belong to addresses the household no longer has, or are stale (Config.Stale) are opened anew.
func (s *Service) Run(ctx context.Context) error {
	s.h.forward.reset()
	defer s.h.forward.wait()
	defer s.setPhase(phaseIdle, nil)
	pause := reopenFirst
	for {
		m, changed := s.cfg.Members.Watch()
		s.load(m)
		if !m.Claimed() {
			s.setPhase(phaseWaiting, nil)
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return nil
			}
		}
		socks, err := s.cfg.Open(ctx, m)
		if err == nil && len(socks.Packet)+len(socks.Stream) == 0 {
			err = errors.New("no socket was opened")
		}
		if err == nil {
			start := time.Now()
			err = s.serve(ctx, m, changed, socks)
			if time.Since(start) > reopenLast {
				pause = reopenFirst
			}
		} else {
			socks.close()
		}
		if ctx.Err() != nil {
			return nil
		}
		if err == nil { // the addresses changed
			continue
		}
		s.setPhase(phaseClosed, err)
		s.cfg.Log.Warn("cannot answer names", "error", err, "again_in", pause)
		select {
		case <-changed:
		case <-time.After(pause):
			pause = min(2*pause, reopenLast)
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Service) load(m *services.Membership) {
	z := buildZones(m)
	s.h.zones.Store(&z)
}

// serve serves one set of sockets. It returns nil when they belong to addresses of the past,
// are stale, or ctx ends.
func (s *Service) serve(ctx context.Context, m *services.Membership, changed <-chan struct{}, socks Sockets) error {
	s.h.forward.listensAt(listening(socks))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- (&server{h: s.h, from: s.cfg.From, conns: s.conns}).run(ctx, socks) }()
	s.h.forward.heard.Store(false)
	s.setPhase(phaseOpen, nil)
	if s.cfg.Probe {
		var probing sync.WaitGroup
		probing.Go(func() { s.h.forward.probe(ctx) })
		defer probing.Wait()
		defer cancel()
	}
	was := where(m)
	var look <-chan time.Time
	if s.cfg.Stale != nil {
		t := time.NewTicker(staleEvery)
		defer t.Stop()
		look = t.C
	}
	for {
		select {
		case err := <-done:
			return err
		case <-look:
			if s.cfg.Stale() {
				cancel()
				return <-done
			}
		case <-changed:
			m, changed = s.cfg.Members.Watch()
			s.load(m)
			if where(m) != was {
				cancel()
				return <-done
			}
		}
	}
}

// where is what the sockets depend on.
func where(m *services.Membership) string {
	b, _ := m.Box()
	if m.Household == nil {
		return ""
	}
	return fmt.Sprint(b.Addr4, b.Addr6, m.Household.Net4, m.Household.Net6)
}

func listening(s Sockets) (out []netip.Addr) {
	add := func(a net.Addr) {
		var p netip.AddrPort
		switch v := a.(type) {
		case *net.UDPAddr:
			p = v.AddrPort()
		case *net.TCPAddr:
			p = v.AddrPort()
		}
		if p.IsValid() {
			out = append(out, p.Addr().Unmap().WithZone(""))
		}
	}
	for _, p := range s.Packet {
		add(p.LocalAddr())
	}
	for _, l := range s.Stream {
		add(l.Addr())
	}
	return out
}

func (s *Service) setPhase(p phase, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase, s.cause = p, cause
}

// Health implements services.Service.
func (s *Service) Health() services.Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.h.forward
	h := services.Health{Name: "dns"}
	now := time.Now()
	failing := f.outage.start()
	lost := !failing.IsZero() && now.Sub(failing) > troubleAfter
	plain := f.inClear.Load() && f.encrypted() && !f.worked.Load()
	switch {
	case s.phase == phaseIdle:
		h.Message = services.Say("dns.starting", "The box is about to answer names.")
	case s.phase == phaseWaiting:
		h.Waiting = "claim"
		h.Message = services.Say("dns.unclaimed", "The box answers names as soon as it has an owner.")
	case s.phase == phaseClosed:
		h.Message = services.Say("dns.closed", "The box cannot answer names right now. It keeps trying.")
	case lost:
		h.Ready, h.Waiting = true, "internet"
		h.Message = services.Say("dns.lost", "Names at home are answered, names outside have not been since {since}.", "since", s.cfg.Now().Add(-now.Sub(failing)))
	case plain && !s.cfg.TimeKnown():
		h.Ready, h.OK = true, true
		h.Message = services.Say("dns.plain-clock", "Until the box knows the time, names outside are asked without encryption through your router.")
	case plain:
		h.Ready = true
		h.Message = services.Say("dns.plain", "This network does not let encrypted questions out, so names outside are asked without encryption through your router.")
	case s.homeward.damaged.Load():
		h.Ready = true
		h.Message = services.Say("dns.homeward-damaged", "The list of names that may point home could not be read. Names are answered. Allow again those you need, on the page about the network; if you need none, allow one there and remove it again.")
	case !f.heard.Load():
		h.Ready, h.OK = true, true
		h.Message = services.Say("dns.ready", "Names at home are answered. Nobody outside has answered yet.")
	default:
		h.Ready, h.OK = true, true
		h.Message = services.Say("dns.fine", "Names are answered, new ones within {ms} ms.", "ms", max(1, int(time.Duration(f.latency.Load()).Milliseconds())))
	}
	if h.Ready != s.shown.Ready || h.OK != s.shown.OK || s.shown.Since.IsZero() {
		s.shown = h
		s.shown.Since = s.cfg.Now()
	}
	h.Since = s.shown.Since
	return h
}

// Stats counts since New. It is cheap.
func (s *Service) Stats() Stats {
	c := &s.h.counters
	entries, bytes := s.h.cache.size()
	return Stats{
		Questions: c.questions.Load(), Cached: c.cached.Load(), Stale: c.stale.Load(), Local: c.local.Load(), Forwarded: c.forwarded.Load(),
		Failed: c.failed.Load(), Refused: c.refused.Load(), Dropped: c.dropped.Load(), Filtered: c.filtered.Load(), Plain: c.plain.Load(),
		Entries: entries, Bytes: bytes, Latency: time.Duration(s.h.forward.latency.Load()),
	}
}

// Exchange answers m as a client on TCP would see it, without a socket, claimed or not. It is what the box's own
// programs use. The error is ctx's, or says that m is no question.
func (s *Service) Exchange(ctx context.Context, m *dns.Msg) (*dns.Msg, error) {
	b, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("packing a question: %w", err)
	}
	if b = s.h.answer(ctx, b, netip.Addr{}, true, nil); len(b) == 0 {
		return nil, errSilent
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := new(dns.Msg)
	if err := r.Unpack(b); err != nil {
		return nil, fmt.Errorf("reading an answer: %w", err)
	}
	return r, nil
}

var _ services.Service = (*Service)(nil)
