package appliance

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/account"
	"hearth.alt/services/identity"
	"hearth.alt/services/link"
	"hearth.alt/services/witness"
)

// friends speaks with other households over links: it finds the box that an invitation names, lets friends in, and
// greets each of them now and then.
type friends struct {
	*identity.Befriending
	link    *link.Service
	members watcher
	tell    func(ctx context.Context, e account.Event) error
	// vouch speaks witness.Protocol with a friend's box.
	vouch func(ctx context.Context, peer services.PeerID, rw io.ReadWriter) error
	log   *slog.Logger

	mu     sync.Mutex
	trying map[services.PeerID][]netip.AddrPort // where those are said to be whose invitation is being taken up
}

const (
	befriendTime = 30 * time.Second
	greetEvery   = time.Hour
	greetSoon    = time.Second // after no answer, then twice as long each time
	greetAtOnce  = 8
)

func newFriends(id *identity.Service, candidates func() []netip.AddrPort, tell func(context.Context, account.Event) error, log *slog.Logger) *friends {
	return &friends{
		Befriending: identity.NewBefriending(id, candidates), members: id, tell: tell, log: log.With("service", "friends"),
		trying: map[services.PeerID][]netip.AddrPort{},
	}
}

// knows says whether peer is a friend's box.
func (f *friends) knows(peer services.PeerID) bool {
	m, _ := f.members.Watch()
	_, ok := m.FriendAt(peer)
	return ok
}

// linked says whether peer is a friend's box, or one whose invitation is being taken up: a link to it that broke, unnoticed
// as yet, is not to stand in the way of another.
func (f *friends) linked(peer services.PeerID) bool {
	f.mu.Lock()
	_, trying := f.trying[peer]
	f.mu.Unlock()
	return trying || f.knows(peer)
}

// paths are where a friend's box, or one whose invitation is being taken up, may be.
func (f *friends) paths(peer services.PeerID) []netip.AddrPort {
	f.mu.Lock()
	out := slices.Clone(f.trying[peer])
	f.mu.Unlock()
	return append(out, f.Paths(peer)...)
}

// hears says whether anybody may speak: while an invitation is open, and while there are friends, since a friend's box that
// got a new key is a stranger until it has shown its proof.
func (f *friends) hears() bool {
	m, _ := f.members.Watch()
	return len(m.Friends) > 0 || f.Open()
}

// protocol is how others speak with this household.
func (f *friends) protocol() link.Protocol {
	return link.Protocol{
		Name: identity.FriendProtocol, Strangers: true, Most: 2,
		Allow: func(services.PeerID) bool { return f.hears() },
		Serve: func(ctx context.Context, st *link.Stream) error {
			_ = st.SetDeadline(time.Now().Add(befriendTime))
			before := f.knows(st.Peer())
			err := f.Serve(ctx, st.Peer(), st)
			m, _ := f.members.Watch()
			if one, ok := m.FriendAt(st.Peer()); ok && !before {
				if err := f.tell(ctx, account.Event{Action: "friend-came", Object: one.Petname}); err != nil {
					f.log.Error("an event could not be written down", "error", err)
				}
			}
			if err != nil {
				f.log.Info("another household was refused", "peer", st.Peer().String(), "error", err)
			}
			return nil // the answer is to arrive
		},
	}
}

// Accept takes up an invitation.
func (f *friends) Accept(ctx context.Context, l identity.InviteLink, petname string, grants []services.Grant) (services.Friend, error) {
	if _, err := f.Check(ctx, l, petname, grants); err != nil {
		return services.Friend{}, err
	}
	f.mu.Lock()
	f.trying[l.Inviter] = l.Candidates
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.trying, l.Inviter)
	}()
	st, end, err := f.open(ctx, l.Inviter, identity.FriendProtocol)
	if refused(err) {
		return services.Friend{}, f.Unknown(l)
	} else if err != nil {
		return services.Friend{}, identity.FriendUnreachable(err)
	}
	defer end()
	return f.Befriending.Accept(ctx, l, petname, grants, st)
}

// open opens a stream that ends with ctx, and soon.
func (f *friends) open(ctx context.Context, peer services.PeerID, name string) (*link.Stream, func(), error) {
	ctx, cancel := context.WithTimeout(ctx, befriendTime)
	st, err := f.link.Open(ctx, peer, name)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, st.Cancel)
	return st, func() { stop(); cancel(); st.Cancel() }, nil
}

func refused(err error) bool {
	var r *link.RefusedError
	return errors.As(err, &r) && r.Code == link.RefusedUnknown
}

// keep greets every friend now and then until ctx ends.
func (f *friends) keep(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	turns := make(chan struct{}, greetAtOnce)
	running := map[services.FriendID]context.CancelFunc{}
	for {
		m, changed := f.members.Watch()
		for _, one := range m.Friends {
			if running[one.ID] == nil {
				mine, cancel := context.WithCancel(ctx)
				running[one.ID] = cancel
				group.Go(func() { f.keepFriend(mine, one.ID, turns) })
			}
		}
		for id, cancel := range maps.Clone(running) {
			if _, ok := m.Friend(id); !ok {
				cancel()
				delete(running, id)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// keepFriend greets one friend: soon again while they do not answer, less and less.
func (f *friends) keepFriend(ctx context.Context, id services.FriendID, turns chan struct{}) {
	pause, failed := time.Duration(0), 0
	for {
		select {
		case <-time.After(pause/2 + rand.N(pause/2+1)):
		case <-ctx.Done():
			return
		}
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
			return
		}
		if f.greet(ctx, id) {
			pause, failed = greetEvery, 0
		} else {
			pause = min(greetSoon<<min(failed, 12), greetEvery)
			failed++
		}
		<-turns
	}
}

// witness is how friends' boxes vouch for one another's logs.
func (f *friends) witness() link.Protocol {
	return link.Protocol{Name: witness.Protocol, Allow: f.knows, Most: 2, Serve: func(ctx context.Context, st *link.Stream) error {
		_ = st.SetDeadline(time.Now().Add(befriendTime))
		return f.vouch(ctx, st.Peer(), st)
	}}
}

// askToVouch shows this box's log to every box of a friend, and is shown theirs.
func (f *friends) askToVouch(ctx context.Context, one services.Friend) {
	for _, peer := range one.Peers {
		st, end, err := f.open(ctx, peer, witness.Protocol)
		if err == nil {
			err = f.vouch(ctx, peer, st)
			end()
		}
		if err != nil {
			f.log.Debug("a friend's box does not vouch", "friend", one.Petname, "peer", peer.String(), "error", err)
		}
	}
}

// greet speaks with the first box of a friend that answers, and has all of them vouch.
func (f *friends) greet(ctx context.Context, id services.FriendID) bool {
	m, _ := f.members.Watch()
	one, _ := m.Friend(id)
	defer f.askToVouch(ctx, one)
	for _, peer := range one.Peers {
		st, end, err := f.open(ctx, peer, identity.FriendProtocol)
		if err == nil {
			err = f.Greet(ctx, peer, st)
			end()
		}
		if err == nil {
			return true
		}
		f.log.Debug("a friend does not answer", "friend", one.Petname, "error", err)
	}
	return false
}
