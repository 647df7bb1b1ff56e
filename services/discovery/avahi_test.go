package discovery

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth.alt/services"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// These tests talk to Debian's Avahi in network namespaces of their own, which vanish with the test. The box runs as a
// child process, because a namespace belongs to threads.

const childEnv = "HEARTH_DISCOVERY_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
		return
	}
	os.Exit(m.Run())
}

// labelled is a Members whose label a test changes. "" is an unclaimed box.
type labelled struct {
	mu      sync.Mutex
	m       *services.Membership
	changed chan struct{}
}

func newLabelled(label string) *labelled {
	l := &labelled{changed: make(chan struct{})}
	l.m = membership(label)
	return l
}

func membership(label string) *services.Membership {
	m := &services.Membership{Self: services.PeerID{1, 2, 3}}
	if label != "" {
		m.Household = &services.Household{Name: "Smith", Label: "smith", Domain: "smith.home.arpa"}
		m.Boxes = []services.Box{{ID: m.Self, Name: label, Label: label}}
	}
	return m
}

func (l *labelled) Watch() (*services.Membership, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.m, l.changed
}

func (l *labelled) set(label string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.m = membership(label)
	close(l.changed)
	l.changed = make(chan struct{})
}

// child runs the service: each line of stdin is a new label, its end is the end. Every change of name and of what was
// found goes to stdout.
func child() {
	members := newLabelled("")
	s, err := New(Config{Members: members, Browse: true, Ports: func() Ports { return Ports{Web: 80, Mesh: 41820} }})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			members.set(in.Text())
		}
		cancel()
	}()
	go func() {
		last := ""
		for range time.Tick(20 * time.Millisecond) {
			var b strings.Builder
			fmt.Fprintf(&b, "name %s|", s.Name())
			for _, f := range s.Found() {
				fmt.Fprintf(&b, "found %s %s %s:%d %v|", f.Kind, f.Name, f.Host, f.Port, f.Addresses)
			}
			if b.String() != last {
				last = b.String()
				fmt.Println(last)
			}
		}
	}()
	if err := s.Run(ctx); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("end")
}

// space is a network namespace.
type space struct{ fd int }

func newSpace(t *testing.T) *space {
	t.Helper()
	got := make(chan any)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with its namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			got <- err
			return
		}
		fd, err := unix.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			got <- err
			return
		}
		got <- fd
	}()
	switch v := (<-got).(type) {
	case int:
		t.Cleanup(func() { unix.Close(v) })
		return &space{fd: v}
	default:
		t.Fatal(v)
		return nil
	}
}

// do runs f on a thread in the namespace.
func (s *space) do(t *testing.T, f func() error) {
	t.Helper()
	got := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Setns(s.fd, unix.CLONE_NEWNET)
		if err == nil {
			err = f()
		}
		got <- err
	}()
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}

// ip runs the ip command in the namespace.
func (s *space) ip(t *testing.T, args ...string) {
	t.Helper()
	s.do(t, func() error {
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
		return nil
	})
}

// running is a process whose lines of output a test waits for.
type running struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

func (s *space) start(t *testing.T, env []string, name string, args ...string) *running {
	t.Helper()
	p := &running{cmd: exec.Command(name, args...), more: make(chan struct{}, 1)}
	p.cmd.Env = append(os.Environ(), env...)
	r, w := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = w, w
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	s.do(t, p.cmd.Start)
	go func() {
		in := bufio.NewScanner(r)
		for in.Scan() {
			p.mu.Lock()
			p.lines = append(p.lines, in.Text())
			p.mu.Unlock()
			select {
			case p.more <- struct{}{}:
			default:
			}
		}
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		w.Close()
		if t.Failed() {
			p.mu.Lock()
			t.Logf("%s said:\n%s", name, strings.Join(p.lines, "\n"))
			p.mu.Unlock()
		}
	})
	return p
}

// until waits until ok says so of the lines said so far.
func (p *running) until(t *testing.T, what string, ok func(lines []string) bool) {
	t.Helper()
	deadline := time.After(25 * time.Second)
	for {
		p.mu.Lock()
		done := ok(p.lines)
		p.mu.Unlock()
		if done {
			return
		}
		select {
		case <-p.more:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// last waits until the newest line has text in it.
func (p *running) last(t *testing.T, text string) {
	t.Helper()
	p.until(t, text, func(lines []string) bool { return len(lines) > 0 && strings.Contains(lines[len(lines)-1], text) })
}

// said waits until any line has text in it.
func (p *running) said(t *testing.T, text string) {
	t.Helper()
	p.until(t, text, func(lines []string) bool { return strings.Contains(strings.Join(lines, "\n"), text) })
}

// avahi starts a private message bus and Avahi in the namespace and returns it with the environment its tools need.
func (s *space) avahi(t *testing.T, hostname string) (*running, []string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bus := "unix:path=" + filepath.Join(dir, "bus")
	conf := write("bus.conf", `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>`+bus+`</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>`)
	b := s.start(t, nil, "dbus-daemon", "--config-file="+conf, "--nofork", "--print-address")
	b.said(t, "unix:")
	env := []string{"DBUS_SYSTEM_BUS_ADDRESS=" + bus}
	conf = write("avahi.conf", "[server]\nhost-name="+hostname+"\nuse-ipv4=yes\nuse-ipv6=yes\nratelimit-interval-usec=0\nratelimit-burst=0\n"+
		"[publish]\npublish-addresses=yes\npublish-hinfo=no\npublish-workstation=no\n")
	// Avahi's pid file and socket have fixed places: a /run of its own.
	a := s.start(t, env, "unshare", "-m", "sh", "-c",
		"mount --make-rprivate / && mount -t tmpfs tmpfs /run && mkdir /run/avahi-daemon && exec avahi-daemon --no-drop-root --no-chroot --no-rlimits --no-proc-title -f "+conf)
	a.said(t, "startup complete")
	return a, env
}

// tool runs one of Avahi's commands in the namespace.
func (s *space) tool(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	var out []byte
	s.do(t, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env = append(os.Environ(), env...)
		out, _ = cmd.CombinedOutput()
		return nil
	})
	return string(bytes.TrimSpace(out))
}

// eventually waits until f returns text with want in it.
func eventually(t *testing.T, want string, f func() string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		got := f()
		if strings.Contains(got, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %q, want %q in it", got, want)
		}
	}
}

// street is two hosts on one cable.
func street(t *testing.T) (box, other *space) {
	t.Helper()
	if testing.Short() {
		t.Skip("run: go test ./services/discovery -run Avahi")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: sudo go test ./services/discovery -run Avahi")
	}
	for _, tool := range []string{"avahi-daemon", "avahi-resolve", "avahi-browse", "dbus-daemon", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("needs Avahi: apt-get install avahi-daemon avahi-utils dbus iproute2 && go test ./services/discovery -run Avahi")
		}
	}
	box, other = newSpace(t), newSpace(t)
	box.do(t, func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(other.fd)})
	})
	for i, s := range []*space{box, other} {
		s.ip(t, "link", "set", "lo", "up")
		s.do(t, func() error { // addresses are usable at once
			return os.WriteFile("/proc/sys/net/ipv6/conf/eth0/accept_dad", []byte("0"), 0o644)
		})
		s.ip(t, "link", "set", "eth0", "up")
		s.ip(t, "addr", "add", fmt.Sprintf("192.168.77.%d/24", i+1), "dev", "eth0")
		s.ip(t, "addr", "add", fmt.Sprintf("fd00:77::%d/64", i+1), "dev", "eth0", "nodad")
	}
	return box, other
}

func (s *space) hearth(t *testing.T) *running {
	t.Helper()
	return s.start(t, []string{childEnv + "=1"}, os.Args[0])
}

func TestAvahiResolvesFollowsAndForgets(t *testing.T) {
	t.Parallel()
	box, other := street(t)
	_, env := other.avahi(t, "laptop")
	h := box.hearth(t)
	h.last(t, "name hearth.local|")

	resolve := func(flag, name string) func() string {
		return func() string { return other.tool(t, env, "avahi-resolve", flag, "-n", name) }
	}
	eventually(t, "192.168.77.1", resolve("-4", "hearth.local"))
	eventually(t, "::", resolve("-6", "hearth.local"))
	eventually(t, "hearth.local", func() string { return other.tool(t, env, "avahi-resolve", "-a", "192.168.77.1") })
	eventually(t, "hearth.local", func() string { return other.tool(t, env, "avahi-resolve", "-a", "fd00:77::1") })
	browse := func() string { return other.tool(t, env, "avahi-browse", "-prt", "_hearth._tcp") }
	eventually(t, `;hearth.local;`, browse)
	if out := browse(); !strings.Contains(out, `"claim=1"`) || strings.Contains(out, "id=") {
		t.Errorf("an unclaimed box tells %q", out)
	}

	// Another address: Avahi must forget the old one at once, not after two minutes.
	// (This order: the kernel drops a second address of a prefix together with the first.)
	box.ip(t, "addr", "del", "192.168.77.1/24", "dev", "eth0")
	box.ip(t, "addr", "add", "192.168.77.33/24", "dev", "eth0")
	eventually(t, "192.168.77.33", resolve("-4", "hearth.local"))

	// The claim gives the box its own name; the old one is gone.
	fmt.Fprintln(h.stdin, "kitchen")
	h.last(t, "name kitchen.local|")
	eventually(t, "192.168.77.33", resolve("-4", "kitchen.local"))
	eventually(t, ";kitchen.local;", browse)
	if out := browse(); !strings.Contains(out, `"mesh=41820"`) || !strings.Contains(out, `"id=`) || strings.Contains(out, "claim=") || strings.Contains(out, ";hearth.local;") {
		t.Errorf("a claimed box tells %q", out)
	}
	if out := resolve("-4", "hearth.local")(); !strings.Contains(out, "Failed") && !strings.Contains(out, "Timeout") {
		t.Errorf("hearth.local after the claim: %q", out)
	}

	// Goodbye: asked right after, Avahi no longer knows it although two minutes have not passed.
	h.stdin.Close()
	h.last(t, "end")
	time.Sleep(1100 * time.Millisecond) // section 10.1: gone after one second
	if out := resolve("-4", "kitchen.local")(); !strings.Contains(out, "Failed") && !strings.Contains(out, "Timeout") {
		t.Errorf("kitchen.local after the goodbye: %q", out)
	}
	if out := browse(); strings.Contains(out, "kitchen") {
		t.Errorf("after the goodbye Avahi still lists %q", out)
	}
}

func TestAvahiHasTheNameFirst(t *testing.T) {
	t.Parallel()
	box, other := street(t)
	_, env := other.avahi(t, "hearth")
	h := box.hearth(t)
	h.last(t, "name hearth-2.local|")
	eventually(t, "192.168.77.1", func() string { return other.tool(t, env, "avahi-resolve", "-4", "-n", "hearth-2.local") })
	eventually(t, "192.168.77.2", func() string { return other.tool(t, env, "avahi-resolve", "-4", "-n", "hearth.local") })
}

func TestAvahiComesSecond(t *testing.T) {
	t.Parallel()
	box, other := street(t)
	h := box.hearth(t)
	h.last(t, "name hearth.local|")
	_, env := other.avahi(t, "hearth")
	eventually(t, "192.168.77.2", func() string { return other.tool(t, env, "avahi-resolve", "-4", "-n", "hearth-2.local") })
	eventually(t, "192.168.77.1", func() string { return other.tool(t, env, "avahi-resolve", "-4", "-n", "hearth.local") })
	h.last(t, "name hearth.local|")
}

// Avahi on the box itself, as on a laptop: both share the port and both are found.
func TestAvahiBesideUs(t *testing.T) {
	t.Parallel()
	box, other := street(t)
	_, env := other.avahi(t, "laptop")
	box.avahi(t, "workstation")
	h := box.hearth(t)
	h.last(t, "name hearth.local|")
	for _, name := range []string{"hearth.local", "workstation.local"} {
		eventually(t, "192.168.77.1", func() string { return other.tool(t, env, "avahi-resolve", "-4", "-n", name) })
	}
}

func TestAvahiServicesAreFound(t *testing.T) {
	t.Parallel()
	box, other := street(t)
	_, env := other.avahi(t, "laptop")
	h := box.hearth(t)
	h.last(t, "name hearth.local|")
	p := other.start(t, env, "avahi-publish", "-s", "Büro. Drucker \x1b[2J", "_ipp._tcp", "631", "rp=ipp/print")
	h.last(t, "found printer Büro. Drucker [2J laptop.local:631 [192.168.77.2")
	_ = p.cmd.Process.Signal(os.Interrupt)
	// The goodbye brings a round forward, which it does not answer.
	h.until(t, "the printer to leave the list", func(lines []string) bool { return !strings.Contains(lines[len(lines)-1], "found printer") })
}

// A plain DNS client asks the group once, from a port of its own (RFC 6762, section 6.7).
func TestPlainClientOverTheWire(t *testing.T) {
	t.Parallel()
	box, other := street(t)
	h := box.hearth(t)
	h.last(t, "name hearth.local|")
	other.ip(t, "route", "add", "224.0.0.0/4", "dev", "eth0")
	var conn net.PacketConn
	other.do(t, func() (err error) { conn, err = net.ListenPacket("udp4", "192.168.77.2:0"); return err })
	defer conn.Close()
	q := ask("hearth.local.", dns.TypeA)
	q.Id = 77
	b, _ := q.Pack()
	if _, err := conn.WriteTo(b, net.UDPAddrFromAddrPort(netip.MustParseAddrPort("224.0.0.251:5353"))); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1500)
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, _, err := conn.ReadFrom(buf)
	var m dns.Msg
	if err = errors.Join(err, m.Unpack(buf[:n])); err != nil || m.Id != 77 || len(m.Answer) != 1 || m.Answer[0].Header().Ttl > 10 {
		t.Errorf("answer %v, %v", &m, err)
	}
}
