package discovery

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"hearth.alt/services"

	"golang.org/x/sync/errgroup"
)

// unclaimed is the label of a box without an owner.
const unclaimed = "hearth"

// Times of ours: how long changes of links gather before they are looked at, when links and ports are looked at first
// after the start, and how often anyway, should the kernel have lost a message.
const (
	settleTime = 150 * time.Millisecond
	firstTime  = time.Second
	relistTime = time.Minute
)

// Service announces this box and finds others. Make one with New; all methods are safe for concurrent use.
type Service struct {
	cfg   Config
	found *table

	mu    sync.Mutex
	state state
	since time.Time
}

// state is what Health and Name tell.
type state struct {
	running bool
	links   int
	wanted  string // "hearth"
	label   string // "hearth-2"
	granted bool
}

// New checks the configuration. Nothing happens before Run.
func New(cfg Config) (*Service, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return &Service{cfg: cfg, found: newTable()}, nil
}

// Run answers, announces and browses until ctx ends; then it says goodbye and returns nil. It returns an error when
// the sockets cannot be opened or break; it may be called again then.
func (s *Service) Run(ctx context.Context) error {
	t, err := s.cfg.network.open(ctx, s.cfg.Log)
	if err != nil {
		s.set(state{})
		return err
	}
	defer s.set(state{})
	hints := make(chan []hint, 8)
	fresh := make(chan struct{}, 1)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer t.close()
		return s.respond(ctx, t, hints, fresh)
	})
	if s.cfg.Browse {
		g.Go(func() error {
			b := newBrowser(s.found, s.cfg.find, s.label, s.cfg.Log)
			b.run(ctx, hints, fresh)
			return nil
		})
	}
	return g.Wait()
}

// respond is the loop around the responder. fresh receives when the links have changed.
func (s *Service) respond(ctx context.Context, t transport, hints chan<- []hint, fresh chan<- struct{}) error {
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(rand.Uint32())
	}
	var watch []string
	if s.cfg.Browse {
		for _, k := range kinds {
			watch = append(watch, k.service)
		}
	}
	r := newResponder(rand.New(rand.NewChaCha8(seed)), watch)
	m, changed := s.cfg.Members.Watch()
	s.name(r, m)
	relist := func() error {
		list, err := t.links()
		if err == nil && !s.cfg.Silent {
			r.setLinks(time.Now(), list)
		}
		return err
	}
	if err := relist(); err != nil {
		return err
	}
	look := time.NewTimer(firstTime)
	defer look.Stop()
	due := time.NewTimer(time.Hour)
	defer due.Stop()
	for {
		r.tick(time.Now())
		for _, p := range r.out {
			t.send(p)
		}
		r.out = r.out[:0]
		if len(r.hints) > 0 {
			s.found.hear(time.Now(), r.hints)
			select {
			case hints <- r.hints:
			default: // the browser is busy; the next round finds them
			}
			r.hints = nil
		}
		s.set(state{running: true, links: len(r.links), wanted: r.wanted, label: r.label(), granted: r.granted()})
		if n := r.next(); n.IsZero() {
			due.Reset(time.Hour)
		} else {
			due.Reset(max(0, time.Until(n)))
		}
		select {
		case <-ctx.Done():
			r.stop(time.Now())
			for _, p := range r.out {
				t.send(p)
			}
			return nil
		case err := <-t.failed():
			return err
		case <-changed:
			m, changed = s.cfg.Members.Watch()
			s.name(r, m)
		case <-t.changes():
			look.Reset(settleTime)
		case <-look.C:
			before := len(r.links)
			if err := relist(); err != nil {
				return err
			}
			s.name(r, m)
			look.Reset(relistTime)
			if len(r.links) > before {
				select {
				case fresh <- struct{}{}:
				default:
				}
			}
		case p := <-t.packets():
			r.handle(time.Now(), p)
		case <-due.C:
		}
	}
}

// name gives the responder the label and the services of the box as the membership has them.
func (s *Service) name(r *responder, m *services.Membership) {
	label, claimed := unclaimed, m.Claimed() // one that was removed is the household's still, without a name
	if box, ok := m.Box(); ok && claimed && box.Label != "" {
		label = strings.ToLower(box.Label)
	}
	p := s.cfg.Ports()
	kind, port := "_http._tcp", p.Web
	if port == 0 {
		kind, port = "_https._tcp", p.Secure
	}
	var list []service
	if port != 0 {
		text := []string{"claim=1"}
		if claimed {
			text = []string{"id=" + m.Self.String()[:16]}
			if p.Mesh != 0 {
				text = append(text, "mesh="+strconv.Itoa(int(p.Mesh)))
			}
		}
		list = []service{{kind: kind, port: port, text: []string{"path=/"}}, {kind: "_hearth._tcp", port: port, text: text}}
	}
	r.setName(time.Now(), label, list)
}

func (s *Service) set(n state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n == s.state {
		return
	}
	if n.granted && n.label != s.state.label || n.granted != s.state.granted {
		s.cfg.Log.Log(context.Background(), s.level(n), "name on the home network", "name", n.label+".local", "granted", n.granted, "links", n.links)
	}
	s.state, s.since = n, s.cfg.Now()
}

// level is that of the news about the name: that the box has the one it wants is what everybody expects.
func (s *Service) level(n state) slog.Level {
	if !n.granted || n.label == n.wanted {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

func (s *Service) label() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.label
}

// Name is the name the box answers to on the home network, "hearth.local" or "hearth-2.local"; "" while it has none.
func (s *Service) Name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.state.granted {
		return ""
	}
	return s.state.label + ".local"
}

// Found lists what is on the home network now, by kind, then name. The slice is the caller's; the maps and slices
// inside are not to be changed.
func (s *Service) Found() []Found { return s.found.list() }

// Health implements services.Service.
func (s *Service) Health() services.Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := services.Health{Name: "discovery", Since: s.since}
	name := fmt.Sprintf("%s.local", s.state.label)
	switch st := s.state; {
	case !st.running:
		h.Message = services.Say("discovery.starting", "The box is about to take its name on the home network.")
	case s.cfg.Silent:
		h.Ready, h.OK = true, true
		h.Message = services.Say("discovery.silent", "The pages are open to this computer only, so the box takes no name on the home network.")
	case st.links == 0:
		h.Waiting = "network"
		h.Message = services.Say("discovery.no-link", "The box waits for the home network before it takes its name there.")
	case !st.granted:
		h.OK = true
		h.Message = services.Say("discovery.asking", "The box asks whether the name {name} is free on the home network.", "name", name)
	case st.label != st.wanted:
		h.Ready, h.OK = true, true
		h.Message = services.Say("discovery.renamed", "Something else at home is called {wanted}, so the box answers to {name}.",
			"wanted", st.wanted+".local", "name", name)
	default:
		h.Ready, h.OK = true, true
		h.Message = services.Say("discovery.named", "On the home network the box answers to {name}.", "name", name)
	}
	return h
}

var _ services.Service = (*Service)(nil)
