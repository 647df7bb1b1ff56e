package mesh

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/durable"
	"hearth.alt/services/mesh/internal/bind"
	"hearth.alt/services/mesh/internal/portmap"
	"hearth.alt/services/mesh/internal/stock"
)

// MTU of the tunnel, in bytes, at both ends. See internal/stock and internal/clamp for why this one.
const MTU = stock.MTU

// Service is the client plane. Make one with New. All methods are safe for concurrent use.
type Service struct {
	cfg Config

	mu      sync.Mutex
	health  services.Health
	closed  *services.Problem    // what Closed says; goes with health
	members *services.Membership // the last one seen; nil before Run
	plane   *plane               // nil while there is none
	mapper  *portmap.Client      // nil while there is none
	state   state                // what is on disk, or will be
	public  services.ClientKey   // of the box; zero until first needed
	heard   map[bind.Key]netip.AddrPort
	outside bool // a device came in from outside the home
	wake    chan struct{}
}

// New checks the configuration and assembles the service. It touches nothing.
func New(cfg Config) (*Service, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, heard: make(map[bind.Key]netip.AddrPort), wake: make(chan struct{}, 1)}
	s.health = services.Health{Name: "mesh", Message: services.Say("mesh.health.starting", "The way in for phones is starting.")}
	return s, nil
}

// Health implements services.Service.
func (s *Service) Health() services.Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.health
}

func (s *Service) say(ready, ok bool, message services.Sentence) { s.tell(ready, ok, message, nil) }

func (s *Service) close(why *services.Problem) { s.tell(true, false, why.Say, why) }

func (s *Service) tell(ready, ok bool, message services.Sentence, closed *services.Problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.health.Ready != ready || s.health.OK != ok || s.health.Since.IsZero() {
		s.health.Since = s.cfg.Now()
	}
	s.health.Ready, s.health.OK, s.health.Message = ready, ok, message
	s.closed = closed
}

// Closed says why no device can come in until somebody does something about it: ErrNoTunnel, ErrPortTaken, or nil.
func (s *Service) Closed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed == nil {
		return nil
	}
	return s.closed
}

// Run implements services.Service. It ends only with ctx, within about two seconds (the time to give a mapping
// back); a device that dies and an interface that cannot be made are tried again with growing pauses.
func (s *Service) Run(ctx context.Context) error {
	if !s.belongs(ctx) {
		return nil
	}
	if err := durable.MakeDir(s.cfg.Dir, 0o700); err != nil {
		return err
	}
	if err := durable.ClearTemporary(s.cfg.Dir); err != nil {
		return err
	}
	st := s.loadState()
	s.mu.Lock()
	s.state = st
	s.mu.Unlock()
	for pause := time.Second; s.belongs(ctx); {
		start := time.Now()
		err := s.runPlane(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			continue
		}
		if time.Since(start) > time.Minute {
			pause = time.Second
		}
		switch {
		case errors.Is(err, ErrNoTunnel):
			s.close(ErrNoTunnel)
			pause = time.Minute
		case errors.Is(err, syscall.EADDRINUSE):
			s.close(portTaken(s.cfg.Port))
		default:
			s.say(true, false, services.Say("mesh.health.down", "The tunnel for phones stopped and is being started again."))
		}
		s.cfg.Log.Warn("client plane ended", "err", err, "pause", pause)
		// Status and the configurations follow the membership meanwhile.
		timer := time.NewTimer(pause)
		for over := false; !over; {
			m, changed := s.watch()
			if _, ours := m.Box(); !ours {
				break
			}
			select {
			case <-ctx.Done():
				timer.Stop()
				return nil
			case <-changed:
			case <-timer.C:
				over = true
			}
		}
		timer.Stop()
		pause = min(2*pause, time.Minute)
	}
	return nil
}

// belongs waits until this box is one of a household; false is that ctx ended first.
func (s *Service) belongs(ctx context.Context) bool {
	for {
		m, changed := s.watch()
		switch _, ours := m.Box(); {
		case m.Claimed() && ours:
			return true
		case m.Claimed():
			s.say(true, true, services.Say("mesh.health.removed", "This box was removed from its household, so phones cannot come in here."))
		default:
			s.say(true, true, services.Say("mesh.health.unclaimed", "The way in for phones opens once this box has an owner."))
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		}
	}
}

func (s *Service) watch() (*services.Membership, <-chan struct{}) {
	m, changed := s.cfg.Members.Watch()
	s.mu.Lock()
	s.members = m
	s.mu.Unlock()
	return m, changed
}

// onHeard is called by the bind for each proved address; it may not block.
func (s *Service) onHeard(k bind.Key, at netip.AddrPort) {
	s.mu.Lock()
	s.heard[k] = at
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// runPlane runs WireGuard until ctx ends or the device dies; it returns nil once this box was removed, too.
func (s *Service) runPlane(ctx context.Context) error {
	key, err := s.cfg.Keys.ClientKey(ctx)
	if err != nil {
		return err
	}
	m, changed := s.watch()
	p, err := openPlane(ctx, &s.cfg, m, key, s.cfg.ports(s.known().Port), s.onHeard)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	mapper := portmap.New(portmap.Config{Port: p.port, Dir: s.cfg.Dir, Now: s.cfg.Now, Log: s.cfg.Log})
	s.mu.Lock()
	s.plane, s.heard = p, make(map[bind.Key]netip.AddrPort)
	if s.mapper = mapper; s.cfg.NoPortMap {
		s.mapper = nil
	}
	dirty := s.state.Port != p.port
	s.state.Port = p.port
	s.mu.Unlock()
	defer func() {
		s.remember(p)
		s.mu.Lock()
		s.plane, s.mapper = nil, nil
		st := s.state
		s.mu.Unlock()
		cancel()
		p.dev.Close() // before anything slow: from here on nobody comes in
		s.saveState(st)
		work.Wait()
	}()
	if s.cfg.NoPortMap {
		work.Go(func() { mapper.Release(ctx) })
	} else {
		work.Go(func() { mapper.Run(ctx) })
	}
	s.cfg.Log.Debug("client plane up", "port", p.port, "interface", p.name)
	s.say(true, true, services.Say("mesh.health.well", "Phones and laptops can come in."))

	pairing := make(map[services.DeviceID]context.CancelFunc)
	defer func() {
		for _, stop := range pairing {
			stop()
		}
	}()
	var saves pace
	for {
		if _, ours := m.Box(); !ours {
			return nil
		}
		want, next := wanted(m, s.cfg.Now())
		added, removed, err := p.apply(want, s.lastPlace)
		if err != nil {
			s.cfg.Log.Error("some devices are not as the membership says", "err", err)
		}
		if added+removed > 0 {
			s.cfg.Log.Debug("devices follow the membership", "revision", m.Revision, "added", added, "removed", removed, "now", len(p.peers))
			dirty = dirty || s.forgetStrangers(m)
		}
		dirty = s.noteHeard(p) || dirty
		s.pair(ctx, m, p, pairing, &work)

		// A pending device ends by the known time, which may jump: look again at least every half minute.
		pause := 30 * time.Second
		if !next.IsZero() {
			pause = min(pause, max(next.Sub(s.cfg.Now()), 0))
		}
		if dirty {
			if wait := saves.wait(time.Now()); wait > 0 {
				pause = min(pause, wait)
			} else {
				s.remember(p)
				s.saveState(s.known())
				saves.took(time.Now())
				dirty = false
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-p.dev.Wait():
			timer.Stop()
			return errors.New("the WireGuard device ended by itself")
		case <-changed:
			m, changed = s.watch()
		case <-s.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (s *Service) known() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// lastPlace is where a device was when it was last heard.
func (s *Service) lastPlace(id services.DeviceID) netip.AddrPort {
	for _, d := range s.known().Devices {
		if d.ID == id {
			return d.At
		}
	}
	return netip.AddrPort{}
}

// noteHeard takes the places that the bind proved since the last time and says whether one is news.
func (s *Service) noteHeard(p *plane) bool {
	s.mu.Lock()
	ask := !s.outside && len(s.heard) > 0
	s.mu.Unlock()
	var here machine
	if ask {
		here, _ = lookAround()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	news := false
	for k, at := range s.heard {
		w, ok := p.peers[k]
		if !ok {
			continue
		}
		if ask && here.outside(at.Addr()) && (s.mapper == nil || s.mapper.State().Mapping.External.Addr() != at.Addr()) {
			s.outside = true // and not what some routers make of a device at home that calls the outside address
		}
		news = s.note(w.id, func(d *seen) bool {
			was := d.At
			d.At = at
			return was != at
		}) || news
	}
	return news
}

// note changes what is remembered of a device; s.mu is held. The list is replaced, not changed: others read it.
func (s *Service) note(id services.DeviceID, change func(*seen) bool) bool {
	list := make([]seen, 0, len(s.state.Devices)+1)
	at := -1
	for _, d := range s.state.Devices {
		if d.ID == id {
			at = len(list)
		}
		list = append(list, d)
	}
	if at < 0 {
		at = len(list)
		list = append(list, seen{ID: id})
	}
	changed := change(&list[at])
	s.state.Devices = list
	return changed
}

// forgetStrangers drops what is remembered of devices that are gone, and says whether there was any.
func (s *Service) forgetStrangers(m *services.Membership) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []seen
	for _, d := range s.state.Devices {
		if _, ok := m.Device(d.ID); ok {
			list = append(list, d)
		}
	}
	gone := len(list) != len(s.state.Devices)
	s.state.Devices = list
	return gone
}

// remember takes the last handshakes from the device, for the next run and for Status.
func (s *Service) remember(p *plane) {
	_, figures, err := p.read()
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, f := range figures {
		if w, ok := p.peers[k]; ok && !f.handshake.IsZero() {
			s.note(w.id, func(d *seen) bool { d.Handshake = s.knownTime(f.handshake); return true })
		}
	}
}

// knownTime is a moment of the system's clock as known time.
func (s *Service) knownTime(t time.Time) time.Time {
	return s.cfg.Now().Add(-time.Since(t)).UTC().Truncate(time.Second)
}

// pair reports pending devices that were heard of, each until it succeeds or the device is no longer pending.
func (s *Service) pair(ctx context.Context, m *services.Membership, p *plane, running map[services.DeviceID]context.CancelFunc, work *sync.WaitGroup) {
	s.mu.Lock()
	pending := make(map[services.DeviceID]bool)
	for k := range s.heard {
		if w, ok := p.peers[k]; ok {
			if d, ok := m.Device(w.id); ok && d.State == services.StatePending {
				pending[d.ID] = true
			}
		}
	}
	s.mu.Unlock()
	for id, stop := range running {
		if !pending[id] {
			stop()
			delete(running, id)
		}
	}
	for id := range pending {
		if running[id] != nil {
			continue
		}
		one, stop := context.WithCancel(ctx)
		running[id] = stop
		work.Go(func() {
			for pause := time.Second; one.Err() == nil; pause = min(2*pause, 30*time.Second) {
				err := s.cfg.Paired(one, id)
				if err == nil {
					s.cfg.Log.Info("device paired", "device", id)
					return
				}
				if one.Err() != nil {
					return
				}
				s.cfg.Log.Warn("pairing is not recorded yet", "device", id, "err", err, "pause", pause)
				select {
				case <-one.Done():
				case <-time.After(pause):
				}
			}
		})
	}
}
