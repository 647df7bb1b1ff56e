package appliance

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hearth.alt/appliance/cli"
	"hearth.alt/services"
	"hearth.alt/services/durable"
)

// console serves admin.sock: mode 0600 in a folder of mode 0700, for callers whose uid is ours or root.
type console struct {
	state  string           // root
	now    func() time.Time // known time
	server *http.Server
	// listening is told each time the socket is open; nil is allowed.
	listening func()

	mu     sync.Mutex
	health services.Health
}

func newConsole(state string, now func() time.Time, server *http.Server) *console {
	return &console{state: state, now: now, server: server, health: services.Health{Name: "console", Message: services.Say("console.starting", "The console is starting.")}}
}

func (c *console) Health() services.Health {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.health
}

func (c *console) set(ready, ok bool, say services.Sentence) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.health.Ready != ready || c.health.OK != ok {
		c.health.Since = c.now()
	}
	c.health.Ready, c.health.OK, c.health.Message = ready, ok, say
}

// Run listens until ctx ends. A socket file that a killed process left is replaced; the lock on the state root says
// that nobody else is behind it.
func (c *console) Run(ctx context.Context) error {
	path := cli.SocketPath(c.state)
	if err := durable.MakeDir(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := listenUnix(path)
	if err != nil {
		c.set(false, false, services.Say("console.failed", "The console could not be opened. The pages work."))
		return err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return err
	}
	if c.listening != nil {
		c.listening()
	}
	c.set(true, true, services.Say("console.ready", "The console answers on the box itself."))
	return serveHTTP(ctx, c.server, &sameUser{l})
}

func listenUnix(path string) (*net.UnixListener, error) {
	name, release, err := cli.ShortSocket(path)
	if err != nil {
		return nil, err
	}
	defer release()
	return net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
}

// sameUser accepts connections of our own user and of root only (SO_PEERCRED, unix(7)).
type sameUser struct{ *net.UnixListener }

func (l *sameUser) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if uid, err := peerUID(c); err == nil && (uid == uint32(os.Getuid()) || uid == 0) {
			return c, nil
		}
		c.Close()
	}
}

func peerUID(c *net.UnixConn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var inner error
	if err := raw.Control(func(fd uintptr) { cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if inner != nil {
		return 0, inner
	}
	return cred.Uid, nil
}

// serveHTTP serves l until ctx ends, then lets running requests finish for a moment.
func serveHTTP(ctx context.Context, s *http.Server, l net.Listener) error {
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if s.Shutdown(grace) != nil {
		s.Close()
	}
	<-done
	return nil
}
