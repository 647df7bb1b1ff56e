package appliance

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hearth.alt/appliance/keeper"
	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/link"
)

// share is something that the boxes of a household keep the same, over one stream of a protocol. Both ends speak it
// alike, until rw or ctx ends.
type share struct {
	name  string // its ProtocolName
	serve func(ctx context.Context, peer services.PeerID, rw io.ReadWriter) error
	// bye is what a box that was removed hears instead: its ProtocolName, and how it is told. "" is that it is refused.
	bye     string
	tellBye func(peer services.PeerID, rw io.ReadWriter) error
	// new is what a box says that belongs though the other has not heard so: its ProtocolName, and how it is heard.
	new     string
	hearNew func(peer services.PeerID, rw io.ReadWriter) error
}

// names are what is proposed: this box may have been removed, or belong though the other does not know it. told says that the
// other took it for removed, and it belongs all the same.
func (s share) names(told bool) []string {
	switch {
	case s.bye == "":
		return []string{s.name}
	case told:
		return []string{s.name, s.new, s.bye}
	}
	return []string{s.name, s.bye, s.new}
}

// shares are what the boxes of a household keep the same.
func shares(id *identity.Service, where *whereabouts, self services.PeerID) []share {
	return []share{
		{
			name: identity.LogProtocol, serve: id.ServeLog,
			bye: identity.FarewellProtocol, tellBye: id.Farewell, new: identity.IntroduceProtocol, hearNew: id.Introduce,
		},
		{name: identity.NextRootProtocol, serve: id.ServeNextRoot},
		{name: addressProtocol, serve: func(ctx context.Context, peer services.PeerID, rw io.ReadWriter) error {
			return where.serve(ctx, self, peer, rw)
		}},
	}
}

// links keeps a link to each box of the household and, over it, a stream of each share.
type links struct {
	link    *link.Service
	members watcher
	where   *whereabouts
	shares  []share
	beside  []func(context.Context) // what runs while links do
	log     *slog.Logger

	begin  sync.Once
	wanted chan struct{} // closed once links are to run although the box is nobody's yet

	mu   sync.Mutex
	live map[stream]*living
	last map[services.PeerID]time.Time // when a box was last in touch, or first looked for; of a clock that nobody sets
}

// stream is a share with a peer, whoever opened it.
type stream struct {
	peer services.PeerID
	name string
}

// living counts the streams of one kind; none is closed when there is none any more.
type living struct {
	count int
	none  chan struct{}
}

// The pauses before a box that did not answer is asked again, and how much longer the one of two boxes with the greater
// PeerID waits at first, so that they seldom call one another at the same time.
const (
	shortPause = time.Second
	longPause  = 30 * time.Second
	politeness = time.Second
	goodStream = 20 * time.Second // a stream that lasted so long was a good one
	byeTime    = time.Minute
)

// awayAfter is how long a box is out of touch before that is said: longer than it takes to start again or to be updated.
const awayAfter = 10 * time.Minute

func newLinks(where *whereabouts, members watcher, log *slog.Logger) *links {
	return &links{members: members, where: where, log: log.With("service", "link"), live: map[stream]*living{}, last: map[services.PeerID]time.Time{}, wanted: make(chan struct{})}
}

// Health implements services.Service.
func (l *links) Health() services.Health { return l.link.Health() }

// Run opens the sockets once the box is somebody's, or is to join a household (want).
func (l *links) Run(ctx context.Context) error {
	for m, changed := l.members.Watch(); !m.Claimed(); m, changed = l.members.Watch() {
		select {
		case <-changed:
			continue
		case <-l.wanted:
		case <-ctx.Done():
			return nil
		}
		break
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { l.keep(ctx) })
	group.Go(func() { l.where.keep(ctx) })
	for _, run := range l.beside {
		group.Go(func() { run(ctx) })
	}
	return l.link.Run(ctx)
}

// want has links run on a box that is nobody's yet.
func (l *links) want() { l.begin.Do(func() { close(l.wanted) }) }

// protocols are the shares as the boxes of the household may ask for them.
func (l *links) protocols() []link.Protocol {
	var out []link.Protocol
	for _, s := range l.shares {
		out = append(out, link.Protocol{
			Name: s.name, Allow: l.ours, Most: 4,
			Serve: func(ctx context.Context, st *link.Stream) error { return l.serve(ctx, s, st) },
		})
		if s.bye != "" {
			out = append(out, link.Protocol{
				Name: s.bye, Allow: l.removed, Most: 1,
				Serve: func(_ context.Context, st *link.Stream) error {
					_ = st.SetDeadline(time.Now().Add(byeTime))
					return s.tellBye(st.Peer(), st)
				},
			})
			out = append(out, link.Protocol{
				Name: s.new, Strangers: true, Allow: l.strange, Most: 1,
				Serve: func(_ context.Context, st *link.Stream) error {
					_ = st.SetDeadline(time.Now().Add(byeTime))
					return s.hearNew(st.Peer(), st)
				},
			})
		}
	}
	return out
}

// ours says whether peer is a box of the household. One that is suspended may still hear, or it would never learn why.
func (l *links) ours(peer services.PeerID) bool {
	m, _ := l.members.Watch()
	return slices.ContainsFunc(m.Boxes, func(b services.Box) bool { return b.ID == peer && peer != m.Self })
}

// removed says whether peer was a box of the household.
func (l *links) removed(peer services.PeerID) bool {
	m, _ := l.members.Watch()
	return slices.Contains(m.Removed, peer)
}

// strange says whether peer may belong though this box has not heard so, where there are or were other boxes: it is nobody
// known, or one that was removed.
func (l *links) strange(peer services.PeerID) bool {
	m, _ := l.members.Watch()
	return len(m.Boxes)+len(m.Removed) > 1 && !l.ours(peer)
}

// knows says whether peer is somebody's of whom this box has heard.
func (l *links) knows(peer services.PeerID) bool { return l.ours(peer) || l.removed(peer) }

// serve speaks a share over a stream, whoever opened it.
func (l *links) serve(ctx context.Context, s share, st *link.Stream) error {
	key := stream{st.Peer(), s.name}
	l.mu.Lock()
	at := l.live[key]
	if at == nil {
		at = &living{none: make(chan struct{})}
		l.live[key] = at
	}
	at.count++
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.last[st.Peer()] = time.Now()
		if at.count--; at.count == 0 {
			delete(l.live, key)
			close(at.none)
		}
	}()
	l.where.met(st.Peer(), st.Path())
	l.where.touch(st.Peer())
	defer l.where.touch(st.Peer())
	stop := context.AfterFunc(ctx, st.Cancel)
	defer stop()
	return s.serve(ctx, st.Peer(), st)
}

// wait returns once there is no stream of the share with peer.
func (l *links) wait(ctx context.Context, peer services.PeerID, name string) {
	l.mu.Lock()
	at := l.live[stream{peer, name}]
	l.mu.Unlock()
	if at == nil {
		return
	}
	select {
	case <-at.none:
	case <-ctx.Done():
	}
}

// linked are the boxes with which the share is spoken now.
func (l *links) linked(name string) map[services.PeerID]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[services.PeerID]bool{}
	for k := range l.live {
		if k.name == name {
			out[k.peer] = true
		}
	}
	return out
}

// away are the boxes of the household that have been out of touch for a while, as of now.
func (l *links) away(now time.Time) []services.PeerID {
	m, _ := l.members.Watch()
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []services.PeerID
	for _, b := range m.Boxes {
		last, sought := l.last[b.ID]
		here := slices.ContainsFunc(l.shares, func(s share) bool { return l.live[stream{b.ID, s.name}] != nil })
		if sought && !here && now.Sub(last) >= awayAfter {
			out = append(out, b.ID)
		}
	}
	return out
}

// keep looks after every box of the household until ctx ends, and cuts off whom the membership does not name any more.
func (l *links) keep(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	running := map[services.PeerID]context.CancelFunc{}
	for {
		m, changed := l.members.Watch()
		wanted := map[services.PeerID]bool{}
		if _, ours := m.Box(); ours {
			for _, b := range m.Boxes {
				wanted[b.ID] = b.ID != m.Self
			}
		}
		for peer, yes := range wanted {
			if yes && running[peer] == nil {
				one, cancel := context.WithCancel(ctx)
				running[peer] = cancel
				l.mu.Lock()
				l.last[peer] = time.Now()
				l.mu.Unlock()
				for _, s := range l.shares {
					group.Go(func() { l.keepShare(one, m.Self, peer, s) })
				}
			}
		}
		for peer, cancel := range maps.Clone(running) {
			if !wanted[peer] {
				cancel()
				delete(running, peer)
			}
		}
		l.link.Recheck()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// keepShare keeps one stream of a share with peer.
func (l *links) keepShare(ctx context.Context, self, peer services.PeerID, s share) {
	pause := time.Duration(0)
	if slices.Compare(self[:], peer[:]) > 0 {
		pause = politeness
	}
	for told := false; ; {
		found := l.where.found(peer)
		select {
		case <-time.After(pause/2 + rand.N(pause/2+1)):
		case <-found: // it is somewhere else now
		case <-ctx.Done():
			return
		}
		l.wait(ctx, peer, s.name)
		if ctx.Err() != nil {
			return
		}
		begun := time.Now()
		st, err := l.link.Open(ctx, peer, s.names(told)...)
		if err == nil {
			told = s.bye != "" && st.Protocol() == s.bye
			err = l.serve(ctx, s, st)
			st.Cancel()
		}
		if time.Since(begun) > goodStream {
			pause = 0
		}
		pause = min(max(2*pause, shortPause), longPause)
		if ctx.Err() == nil && !errors.Is(err, link.ErrUnreachable) {
			l.log.Debug("a share with another box begins anew", "share", s.name, "peer", peer.String(), "error", err)
		}
	}
}

// linkSockets opens what links come in by: a UDP port and, for where no UDP passes, the TCP port of the same number.
type linkSockets struct {
	keeper keeper.Keeper
	at     netip.AddrPort
	dev    bool
	free   bool // a free port will do for a taken one

	got      atomic.Uint32 // the port; 0 is none yet
	reserved net.Listener  // the TCP port, where udp chose the number
}

func (s *linkSockets) port() uint16 { return uint16(s.got.Load()) }

// udp opens the UDP port. A number that was not asked for is one whose TCP port is free, too.
func (s *linkSockets) udp() (net.PacketConn, error) {
	_ = os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true") // quic-go prints it to standard error
	if s.reserved != nil {
		_ = s.reserved.Close()
		s.reserved = nil
	}
	for tries := 8; ; tries-- {
		c, err := s.openUDP()
		if err != nil || s.port() == s.at.Port() {
			return c, err
		}
		if s.reserved, err = s.tcp(); err == nil {
			return c, nil
		}
		_ = c.Close()
		if tries == 1 {
			return nil, err
		}
	}
}

func (s *linkSockets) openUDP() (net.PacketConn, error) {
	f, err := listenOrFree(context.Background(), s.keeper, keeper.ListenSpec{Network: keeper.UDP, Address: s.at}, s.free)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c, err := net.FilePacketConn(f)
	if err == nil {
		s.got.Store(uint32(netip.MustParseAddrPort(c.LocalAddr().String()).Port()))
	}
	return c, err
}

func (s *linkSockets) tcp() (net.Listener, error) {
	if l := s.reserved; l != nil {
		s.reserved = nil
		return l, nil
	}
	return openTCP(context.Background(), s.keeper, netip.AddrPortFrom(s.at.Addr(), s.port()), s.dev, false)
}
