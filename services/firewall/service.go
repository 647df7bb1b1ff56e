package firewall

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"hearth.alt/services"
)

// Members is who belongs: the snapshot now, and a channel that is closed when there is a newer one.
type Members interface {
	Watch() (*services.Membership, <-chan struct{})
}

// Config is what the service needs.
type Config struct {
	// Members is required.
	Members Members
	// Apply makes a State so; the keeper's ApplyFirewall, or Apply in a test. Required. Calls never overlap.
	Apply func(ctx context.Context, s State) error
	// TUN returns the client plane's interface name now, "" while there is none. It is cheap. Required.
	TUN func() string
	// Changed yields a value, or is closed, when TUN or the interfaces changed; nil means that Interfaces is asked
	// every five seconds only.
	Changed <-chan struct{}
	// Now is the known time, for Health.Since; nil is time.Now.
	Now func() time.Time
	// Interfaces lists the machine's addresses with their prefixes; nil means those of this machine.
	Interfaces func() ([]Interface, error)
	// Device is the full input policy; see State.
	Device bool
	// LAN names the home network's interfaces; empty means all but the TUN and lo.
	LAN []string
	// Members' ports beyond DNS and web in the tunnel, and other ports: nil means the defaults (DeviceAnywhere and
	// so on); an empty slice that is not nil means none.
	Anywhere, Home, Tunnel, MemberPorts []Port
	// Log is required.
	Log *slog.Logger
}

// Interface is one network interface of the machine.
type Interface struct {
	Name     string
	Prefixes []netip.Prefix // address and length of its network: 192.168.1.2/24
}

// Service keeps the kernel's rules at what the household wants. Make one with New.
type Service struct {
	cfg Config

	mu     sync.Mutex
	health services.Health
	guards string // the TUN that the rules in force are about, "" is none
}

// How often the interfaces are asked when nobody says that they changed, and the kernel's rules are compared.
const (
	askEvery     = 5 * time.Second
	compareEvery = time.Minute
)

// New checks cfg.
func New(cfg Config) (*Service, error) {
	if cfg.Members == nil || cfg.Apply == nil || cfg.TUN == nil || cfg.Log == nil {
		return nil, errors.New("firewall: Members, Apply, TUN and Log are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Interfaces == nil {
		cfg.Interfaces = machineInterfaces
	}
	for _, d := range []struct {
		to *[]Port
		is []Port
	}{{&cfg.Anywhere, DeviceAnywhere()}, {&cfg.Home, DeviceHome()}, {&cfg.Tunnel, DeviceTunnel()}} {
		if *d.to == nil {
			*d.to = d.is
		}
	}
	return &Service{cfg: cfg, health: services.Health{Name: "firewall", Message: sayStarting}}, nil
}

var (
	sayStarting = services.Say("firewall.starting", "The rules between the private network and the home network are being set.")
	sayWell     = services.Say("firewall.well", "Every device reaches what it may, and nothing else.")
	sayNoTunnel = services.Say("firewall.no-tunnel", "There is no private network now, so nothing can come in through it.")
	sayFailing  = services.Say("firewall.failing", "The rules that say which device reaches what could not be renewed. The last ones stay in force.")
)

// Health implements services.Service.
func (s *Service) Health() services.Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.health
}

// Guards says whether rules are in force for the client plane's interface of this name. Until then nothing may listen
// on the box's tunnel addresses: a host answers for every address it has on every interface, and only the rules keep
// the neighbours on the home network away from them. It is memory.
func (s *Service) Guards(tun string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return tun != "" && s.guards == tun
}

func (s *Service) say(ready, ok bool, m services.Sentence) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.health.Ready != ready || s.health.OK != ok || s.health.Since.IsZero() {
		s.health.Since = s.cfg.Now()
	}
	s.health.Ready, s.health.OK, s.health.Message = ready, ok, m
}

// Run applies the state at once, whenever membership, tunnel or interfaces change, and every minute, so that rules
// that somebody else took away come back. When applying fails it tries again after growing pauses, at most half a
// minute, and at once when something changes; the rules in force stay.
func (s *Service) Run(ctx context.Context) error {
	var (
		last      State
		applied   bool
		due       time.Time
		failures  int
		changed   = s.cfg.Changed
		askTicker = time.NewTicker(askEvery)
	)
	defer askTicker.Stop()
	for {
		m, newer := s.cfg.Members.Watch()
		state, err := s.state(m)
		if err == nil {
			err = state.Check()
		}
		if now := time.Now(); err != nil || !applied || !state.equal(last) || !now.Before(due) {
			if err == nil {
				err = s.cfg.Apply(ctx, state)
			}
			switch {
			case ctx.Err() != nil:
				return nil
			case err != nil:
				failures++
				pause := min(time.Second<<min(failures-1, 5), 30*time.Second)
				pause += time.Duration(rand.Int64N(int64(pause / 4)))
				if failures == 1 || failures%20 == 0 {
					s.cfg.Log.Error("applying firewall rules", "error", err, "failures", failures, "again_in", pause)
				}
				applied, due = false, now.Add(pause)
				s.mu.Lock()
				ready := s.health.Ready
				s.mu.Unlock()
				s.say(ready, false, sayFailing)
			default:
				if !applied || !state.equal(last) {
					s.cfg.Log.Debug("firewall rules are in force", "tun", state.TUN, "devices", len(state.Devices), "networks", len(state.Networks))
				}
				failures = 0
				last, applied, due = state, true, now.Add(compareEvery)
				s.mu.Lock()
				s.guards = state.TUN
				s.mu.Unlock()
				if state.TUN == "" {
					s.say(true, true, sayNoTunnel)
				} else {
					s.say(true, true, sayWell)
				}
			}
		}
		// While applying fails its own pauses decide, and news; otherwise the interfaces are asked now and then.
		wait := askTicker.C
		var retry *time.Timer
		if failures > 0 {
			retry = time.NewTimer(time.Until(due))
			wait = retry.C
		}
		select {
		case <-ctx.Done():
		case <-newer:
		case _, open := <-changed:
			if !open {
				changed = nil
			}
		case <-wait:
		}
		if retry != nil {
			retry.Stop()
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// state is what the household wants now.
func (s *Service) state(m *services.Membership) (State, error) {
	out := State{
		Device: s.cfg.Device, TUN: s.cfg.TUN(), LAN: slices.Clone(s.cfg.LAN),
		Anywhere: slices.Clone(s.cfg.Anywhere), Home: slices.Clone(s.cfg.Home),
	}
	out.Tunnel, out.Members = slices.Clone(s.cfg.Tunnel), slices.Clone(s.cfg.MemberPorts)
	box, ok := m.Box()
	if !m.Claimed() || !ok {
		// Without a household there are no tunnel addresses, and so no rules for them; the policy drops the rest. A
		// laptop has no rules then.
		out.TUN = ""
	}
	interfaces, err := s.cfg.Interfaces()
	if err != nil {
		return out, err
	}
	if out.TUN != "" {
		out.Net4, out.Net6, out.Box4, out.Box6 = m.Household.Net4, m.Household.Net6, box.Addr4, box.Addr6
		out.Devices = Devices(m)
	}
	out.Networks = homeNetworks(interfaces, out)
	return out, nil
}

// homeNetworks are the prefixes of the LAN's interfaces that devices may be let into: no host routes, no loopback, no
// link-local IPv6 (which nobody forwards), nothing that overlaps the client plane, and no other tunnel of ours.
func homeNetworks(interfaces []Interface, s State) []netip.Prefix {
	var out []netip.Prefix
	for _, i := range interfaces {
		if i.Name == "lo" || ValidTUN(i.Name) || (len(s.LAN) > 0 && !slices.Contains(s.LAN, i.Name)) {
			continue
		}
		for _, p := range i.Prefixes {
			a := p.Addr().Unmap()
			p = netip.PrefixFrom(a, p.Bits()).Masked()
			if !p.IsValid() || p.Bits() == 0 || p.IsSingleIP() || a.IsLoopback() || (a.Is6() && a.IsLinkLocalUnicast()) {
				continue
			}
			if s.Net4.IsValid() && (p.Overlaps(s.Net4) || p.Overlaps(s.Net6)) {
				continue
			}
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int { return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits()) })
	out = slices.Compact(out)
	return out[:min(len(out), MaxNetworks)]
}

// Devices are the devices of m that may send through the tunnel, by address. A device counts unless it, or its
// person, is quarantined or carries packets only; see the package comment about those that are pending.
func Devices(m *services.Membership) []Device {
	counts := func(s services.State) bool { return s == services.StateActive || s == services.StatePending }
	var out []Device
	for _, d := range m.Devices {
		p, ok := m.Person(d.Person)
		if !ok || p.Role < services.RoleGuest || !counts(p.State) || !counts(d.State) {
			continue
		}
		more := p.Role > services.RoleGuest
		out = append(out, Device{Addr4: d.Addr4, Addr6: d.Addr6, Person: p.ID, Role: p.Role, LAN: more && p.LAN, Peers: more})
	}
	slices.SortFunc(out, func(a, b Device) int { return a.Addr4.Compare(b.Addr4) })
	return out
}

func (s State) equal(o State) bool {
	return s.Device == o.Device && s.TUN == o.TUN && s.Net4 == o.Net4 && s.Net6 == o.Net6 && s.Box4 == o.Box4 && s.Box6 == o.Box6 &&
		slices.Equal(s.LAN, o.LAN) && slices.Equal(s.Networks, o.Networks) && slices.Equal(s.Devices, o.Devices) &&
		slices.Equal(s.Anywhere, o.Anywhere) && slices.Equal(s.Home, o.Home) && slices.Equal(s.Tunnel, o.Tunnel) && slices.Equal(s.Members, o.Members)
}
