package appliance

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"hearth.alt/appliance/keeper"
	"hearth.alt/services"
	"hearth.alt/services/crowd"
)

// maxConnections bounds what one listener holds open, and so the memory that strangers can take; maxFromOne what one
// address does of that.
const (
	maxConnections = 512
	maxFromOne     = 64
)

// bounded is l with so many connections open at most, shared as crowd.Table says.
func bounded(l net.Listener) net.Listener {
	return crowd.NewTable(maxConnections, maxFromOne).Listener(l)
}

// faces is the service that listens on every face and serves what belongs there.
//
//	--http, --https   at once, and until the end; on a loopback address they are the tunnel face
//	tunnel            80 and 443 on the box's tunnel addresses, as soon as they are there, followed as they change
type faces struct {
	log         *slog.Logger
	now         func() time.Time // known time
	open        func(ctx context.Context, a netip.AddrPort) (net.Listener, error)
	server      func(services.Face) *http.Server
	tls         *tls.Config
	members     watcher
	http, https netip.AddrPort // what was asked for
	// guarded says whether the tunnel is up and its rules are in force; before that nothing listens there.
	guarded func() bool
	// listening is told once, when the first two are open.
	listening func(http, https net.Addr)

	mu      sync.Mutex
	health  services.Health
	listens [2]netip.AddrPort // where http and https are, once they are; --dev may have found other ports
}

func (f *faces) Health() services.Health {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.health
	h.Name = "web"
	return h
}

func (f *faces) say(ready, ok bool, s services.Sentence) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.health.Ready != ready || f.health.OK != ok || f.health.Since.IsZero() {
		f.health.Since = f.now()
	}
	f.health.Ready, f.health.OK, f.health.Message = ready, ok, s
}

// faceOf names the face that listens at a.
func faceOf(a netip.Addr, secure bool) services.Face {
	switch {
	case a.Unmap().IsLoopback():
		return services.FaceTunnel
	case secure:
		return services.FaceSecure
	}
	return services.FaceLAN
}

// at is where the first two listen: what was asked for, or the free port that was taken in its place.
func (f *faces) at() (http, https netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listens[0].IsValid() {
		return f.listens[0], f.listens[1]
	}
	return f.http, f.https
}

func listensAt(l net.Listener, asked netip.AddrPort) netip.AddrPort {
	a, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return asked
	}
	return netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
}

func (f *faces) Run(ctx context.Context) error {
	plain, err := f.open(ctx, f.http)
	if err != nil {
		f.say(false, false, services.Say("web.taken", "The pages could not be opened on {address}. The box tries again by itself; when this stays, another program uses that address.", "address", f.http))
		return fmt.Errorf("opening --http %s: %w", f.http, err)
	}
	secure, err := f.open(ctx, f.https)
	if err != nil {
		plain.Close()
		f.say(false, false, services.Say("web.taken", "The pages could not be opened on {address}. The box tries again by itself; when this stays, another program uses that address.", "address", f.https))
		return fmt.Errorf("opening --https %s: %w", f.https, err)
	}
	f.mu.Lock()
	f.listens = [2]netip.AddrPort{listensAt(plain, f.http), listensAt(secure, f.https)}
	f.mu.Unlock()
	f.say(true, true, services.Say("web.ready", "The pages answer on this box."))
	plain, secure = &homeOnly{plain, f.members}, &homeOnly{secure, f.members}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return serveHTTP(ctx, f.server(faceOf(f.http.Addr(), false)), bounded(plain))
	})
	g.Go(func() error {
		return serveHTTP(ctx, f.server(faceOf(f.https.Addr(), true)), tls.NewListener(bounded(secure), f.tls))
	})
	g.Go(func() error { return f.serveTunnel(ctx) })
	if f.listening != nil {
		f.listening(plain.Addr(), secure.Addr())
		f.listening = nil
	}
	return g.Wait()
}

// homeOnly closes connections to the box's tunnel addresses. They belong to the tunnel face: until its own listeners
// are open, a phone is to try again, and not to be told that its page is not shown here.
type homeOnly struct {
	net.Listener
	members watcher
}

func (l *homeOnly) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		m, _ := l.members.Watch()
		box, claimed := m.Box()
		at, err := netip.ParseAddrPort(c.LocalAddr().String())
		if a := at.Addr().Unmap(); err == nil && claimed && (a == box.Addr4 || a == box.Addr6) {
			c.Close()
			continue
		}
		return c, nil
	}
}

// serveTunnel follows the membership: on the box's tunnel addresses the pages are served as the tunnel face.
func (f *faces) serveTunnel(ctx context.Context) error {
	for {
		m, changed := f.members.Watch()
		box, claimed := m.Box()
		if !claimed {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return nil
			}
		}
		round, stop := context.WithCancel(ctx)
		var wg sync.WaitGroup
		for _, a := range []netip.Addr{box.Addr4, box.Addr6} {
			wg.Go(func() { f.keepServing(round, netip.AddrPortFrom(a, 80), nil) })
			wg.Go(func() { f.keepServing(round, netip.AddrPortFrom(a, 443), f.tls) })
		}
		// Only a change of the box's own addresses starts these listeners anew.
		for same := true; same; {
			select {
			case <-changed:
				var now *services.Membership
				now, changed = f.members.Watch()
				b, ok := now.Box()
				same = ok && b.Addr4 == box.Addr4 && b.Addr6 == box.Addr6
			case <-ctx.Done():
				same = false
			}
		}
		stop()
		wg.Wait()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// keepServing opens one tunnel address as soon as the interface has it and is guarded, and again whenever the listener
// dies.
func (f *faces) keepServing(ctx context.Context, a netip.AddrPort, secure *tls.Config) {
	pause := 100 * time.Millisecond
	for ctx.Err() == nil {
		if !f.guarded() {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		l, err := f.open(ctx, a)
		if err == nil {
			pause = 100 * time.Millisecond
			f.log.Debug("the tunnel face is open", "address", a)
			l = bounded(l)
			if secure != nil {
				l = tls.NewListener(l, secure)
			}
			err = serveHTTP(ctx, f.server(services.FaceTunnel), l)
		}
		if err != nil && ctx.Err() == nil {
			if !errors.Is(err, keeper.ErrNoAddress) && !errors.Is(err, keeper.ErrNoTUN) {
				f.log.Warn("the tunnel face is tried again", "address", a, "error", err)
			}
			select {
			case <-time.After(pause):
				pause = min(2*pause, 5*time.Second)
			case <-ctx.Done():
			}
		}
	}
}
