package netlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// TB is what a lab needs of a test. *testing.T and *testing.B have it; a program that measures brings its own.
type TB interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
	Cleanup(func())
}

// Lab is a set of hosts that end with the test. Make one with New.
type Lab struct {
	t TB

	mu    sync.Mutex
	ports int // cables made so far, for names that are unique in the lab
}

// New begins an empty lab, which is taken down at the end of the test. Without root, or without /dev/net/tun, it
// skips the test.
func New(t TB) *Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skipf("network namespaces need root; run: %s", rerun(t.Name()))
	}
	return &Lab{t: t}
}

// rerun is the command that runs the named test of the current folder as root.
func rerun(test string) string {
	dir, err := os.Getwd()
	if err != nil {
		dir = "."
	}
	pkg := "."
	for root := dir; root != filepath.Dir(root); root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			if rel, err := filepath.Rel(root, dir); err == nil {
				pkg = "./" + filepath.ToSlash(rel)
			}
			break
		}
	}
	top, _, _ := strings.Cut(test, "/")
	return fmt.Sprintf("sudo env PATH=\"$PATH\" go test -run '^%s$' %s", top, pkg)
}

// Host is one network namespace: a box, a phone, a router, a server on the Internet.
type Host struct {
	lab  *Lab
	name string
	ns   netns.NsHandle
	nl   *netlink.Handle

	mu    sync.Mutex
	procs map[*exec.Cmd]chan struct{}
}

// Host adds a host to the lab: no interface but a loopback that is up, IPv6 on, no duplicate address detection (a
// laboratory assigns addresses once and should not wait a second for each).
func (l *Lab) Host(name string) *Host {
	l.t.Helper()
	type made struct {
		ns  netns.NsHandle
		err error
	}
	c := make(chan made, 1)
	go func() {
		// The thread is never unlocked, so it ends with the goroutine and cannot carry its namespace elsewhere.
		runtime.LockOSThread()
		ns, err := netns.New()
		c <- made{ns, err}
	}()
	m := <-c
	if m.err != nil {
		l.t.Fatalf("host %s: new network namespace: %v", name, m.err)
	}
	nl, err := netlink.NewHandleAt(m.ns)
	if err != nil {
		m.ns.Close()
		l.t.Fatalf("host %s: netlink: %v", name, err)
	}
	h := &Host{lab: l, name: name, ns: m.ns, nl: nl, procs: make(map[*exec.Cmd]chan struct{})}
	l.t.Cleanup(h.close)
	for _, kv := range [][2]string{
		{"net/ipv6/conf/all/accept_dad", "0"}, {"net/ipv6/conf/default/accept_dad", "0"},
		{"net/ipv6/conf/all/disable_ipv6", "0"}, {"net/ipv6/conf/default/disable_ipv6", "0"},
		{"net/ipv4/ping_group_range", "0 2147483647"},
	} {
		h.Sysctl(kv[0], kv[1])
	}
	lo, err := nl.LinkByName("lo")
	if err == nil {
		err = nl.LinkSetUp(lo)
	}
	if err != nil {
		l.t.Fatalf("host %s: loopback: %v", name, err)
	}
	return h
}

// Name is the name given to Lab.Host.
func (h *Host) Name() string { return h.name }

// Lab is the lab the host is in.
func (h *Host) Lab() *Lab { return h.lab }

func (h *Host) close() {
	h.mu.Lock()
	procs := h.procs
	h.procs = nil
	h.mu.Unlock()
	for cmd, done := range procs {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(2 * time.Second):
			cmd.Process.Kill()
			<-done
		}
	}
	h.nl.Close()
	h.ns.Close()
}

// Do runs f on a thread that is inside the host's namespace and returns its error. Sockets, TUN devices and
// processes that f makes itself belong to the host afterwards; goroutines that f starts are not inside. f must not
// end the test.
func (h *Host) Do(f func() error) error {
	c := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		if err := netns.Set(h.ns); err != nil {
			c <- fmt.Errorf("entering %s: %w", h.name, err)
			return
		}
		defer func() {
			if p := recover(); p != nil {
				c <- fmt.Errorf("inside %s: panic: %v", h.name, p)
			}
		}()
		c <- f()
	}()
	return <-c
}

// Sysctl writes a file below /proc/sys inside the host: Sysctl("net/ipv4/ip_forward", "1").
func (h *Host) Sysctl(name, value string) {
	h.lab.t.Helper()
	if err := h.Do(func() error { return os.WriteFile("/proc/sys/"+name, []byte(value), 0o644) }); err != nil {
		h.lab.t.Fatalf("host %s: sysctl %s: %v", h.name, name, err)
	}
}

// Start starts cmd inside the host's namespace (the file system is the machine's own). The end of the test sends it
// SIGTERM, and SIGKILL two seconds later. The returned channel is closed when it has ended; cmd.Wait must not be
// called, cmd.ProcessState holds the outcome then.
func (h *Host) Start(cmd *exec.Cmd) (done <-chan struct{}, err error) {
	if err := h.Do(cmd.Start); err != nil {
		return nil, fmt.Errorf("%s: starting %s: %w", h.name, cmd.Path, err)
	}
	c := make(chan struct{})
	h.mu.Lock()
	if h.procs == nil {
		h.mu.Unlock()
		cmd.Process.Kill()
		cmd.Wait()
		return nil, fmt.Errorf("%s: starting %s: the lab is gone", h.name, cmd.Path)
	}
	h.procs[cmd] = c
	h.mu.Unlock()
	go func() {
		cmd.Wait()
		close(c)
		h.mu.Lock()
		delete(h.procs, cmd)
		h.mu.Unlock()
	}()
	return c, nil
}

// Exec runs a command inside the host and returns what it printed, both streams. The error carries the output. It is
// killed when ctx ends.
func (h *Host) Exec(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err := h.Do(cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return out.String(), fmt.Errorf("%s: %s: %w: %s", h.name, strings.Join(append([]string{name}, args...), " "), err, strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}

// Enter is the command that runs another one inside the host, for programs that somebody else starts.
func (h *Host) Enter() []string {
	return []string{"nsenter", fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), int(h.ns)), "--"}
}

// Tap makes an Ethernet interface inside the host whose cable ends in a program, such as a virtual machine that Enter
// starts.
func (h *Host) Tap(name string, addresses ...netip.Prefix) {
	h.lab.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	steps := [][]string{{"tuntap", "add", name, "mode", "tap"}}
	for _, a := range addresses {
		steps = append(steps, []string{"addr", "add", a.String(), "dev", name, "nodad"})
	}
	for _, step := range append(steps, []string{"link", "set", name, "up"}) {
		if step[0] == "addr" && !strings.Contains(step[2], ":") {
			step = step[:5]
		}
		if _, err := h.Exec(ctx, "ip", step...); err != nil {
			h.lab.t.Fatalf("%v", err)
		}
	}
}

// Listen opens a listening stream socket inside the host. The address must be literal.
func (h *Host) Listen(network, address string) (l net.Listener, err error) {
	err = h.Do(func() error { l, err = net.Listen(network, address); return err })
	return l, err
}

// ListenPacket opens a packet socket inside the host. The address must be literal.
func (h *Host) ListenPacket(network, address string) (c net.PacketConn, err error) {
	err = h.Do(func() error { c, err = net.ListenPacket(network, address); return err })
	return c, err
}

// Dial connects from inside the host. The address must be literal: names would be resolved outside the lab.
func (h *Host) Dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	if host, _, e := net.SplitHostPort(address); e == nil && net.ParseIP(strings.Split(host, "%")[0]) == nil {
		return nil, fmt.Errorf("%s: dialing %q: want a literal address", h.name, address)
	}
	err = h.Do(func() error { c, err = (&net.Dialer{}).DialContext(ctx, network, address); return err })
	return c, err
}

// Lost counts packets that the host's own interfaces threw away for lack of room. What is proved by silence asks for it.
func (h *Host) Lost() (n uint64) {
	h.lab.t.Helper()
	links, err := h.nl.LinkList()
	if err != nil {
		h.lab.t.Fatalf("%s: listing interfaces: %v", h.name, err)
	}
	for _, l := range links {
		if s := l.Attrs().Statistics; s != nil {
			n += s.TxDropped
		}
	}
	return n
}

// Client is an HTTP client whose connections start inside the host. It keeps none open, follows no proxy and no
// redirect.
func (h *Host) Client() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DialContext: h.Dial, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       30 * time.Second,
	}
}

// errNoAnswer is what Ping and Transfer report when nothing came back.
var errNoAnswer = errors.New("no answer")
