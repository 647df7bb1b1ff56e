package mesh

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"hearth.alt/hwtest/netlab"
	"hearth.alt/services"
	"hearth.alt/services/secret"
)

// The box of these tests is a process of its own inside a namespace of the laboratory: this test binary, started
// again with boxEnv set. So its sockets, routes and interfaces are where they belong, and it can be killed.

const boxEnv = "HEARTH_MESH_TEST_BOX"

func TestMain(m *testing.M) {
	if os.Getenv(boxEnv) != "" {
		boxMain()
		return
	}
	os.Exit(m.Run())
}

// house is a Members that a test changes.
type house struct {
	mu      sync.Mutex
	m       *services.Membership
	changed chan struct{}
}

func newHouse(m *services.Membership) *house { return &house{m: m, changed: make(chan struct{})} }

func (h *house) Watch() (*services.Membership, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.m, h.changed
}

func (h *house) set(m *services.Membership) {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.changed)
	h.m, h.changed = m, make(chan struct{})
}

// fixedKey is a Keys with one key.
type fixedKey [32]byte

func (k fixedKey) ClientKey(context.Context) (secret.Bytes, error) {
	return secret.NewBytes(append([]byte(nil), k[:]...)), nil
}

// openTUN is a Tunnel that makes an interface where it is called.
type openTUN struct{}

func (openTUN) OpenTUN(_ context.Context, spec TUNSpec) (*os.File, string, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, "", err
	}
	var req struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(req.name[:], spec.Name)
	req.flags = unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&req))); errno != 0 {
		unix.Close(fd)
		return nil, "", errno
	}
	f := os.NewFile(uintptr(fd), "/dev/net/tun")
	link, err := netlink.LinkByName(spec.Name)
	if err == nil {
		err = netlink.LinkSetMTU(link, spec.MTU)
	}
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	for _, a := range spec.Addresses {
		addr, e := netlink.ParseAddr(a.String())
		if e == nil {
			addr.Flags = unix.IFA_F_NODAD
			e = netlink.AddrReplace(link, addr)
		}
		err = errors.Join(err, e)
	}
	if err != nil {
		f.Close()
		return nil, "", err
	}
	return f, spec.Name, nil
}

// order is what a test tells its box, one JSON object a line.
type order struct {
	Do      string
	Members *services.Membership
	Device  services.DeviceID
	Private string
	N       int
}

// answer is what the box says to each order.
type answer struct {
	Err    string
	Status Status
	Reach  Reach
	Health services.Health
	Text   string
	Paired map[services.DeviceID]int
}

// boxSpec is what the box is started with, in boxEnv.
type boxSpec struct {
	Dir       string
	Key       [32]byte
	Port      uint16
	AnyPort   bool
	NoPortMap bool
	Name      string
	Members   *services.Membership
}

func boxMain() {
	var spec boxSpec
	if err := json.Unmarshal([]byte(os.Getenv(boxEnv)), &spec); err != nil {
		panic(err)
	}
	h := newHouse(spec.Members)
	var mu sync.Mutex
	paired, refuse := make(map[services.DeviceID]int), 0
	s, err := New(Config{
		Members: h, Keys: fixedKey(spec.Key), Tunnel: openTUN{}, Port: spec.Port, AnyPort: spec.AnyPort, NoPortMap: spec.NoPortMap, Dir: spec.Dir,
		PublicName: func() string { return spec.Name },
		Paired: func(_ context.Context, id services.DeviceID) error {
			mu.Lock()
			defer mu.Unlock()
			if paired[id]++; refuse > 0 {
				refuse--
				return errors.New("told to refuse")
			}
			return nil
		},
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	for {
		var o order
		if err := in.Decode(&o); err != nil {
			stop()
			if err := <-ended; err != nil || !errors.Is(ctx.Err(), context.Canceled) {
				panic(err)
			}
			return
		}
		var a answer
		switch o.Do {
		case "members":
			h.set(o.Members)
		case "refuse":
			mu.Lock()
			refuse = o.N
			mu.Unlock()
		case "config":
			m, _ := h.Watch()
			d, _ := m.Device(o.Device)
			c, err := s.DeviceConfig(ctx, m, d, secret.NewText(o.Private))
			if err != nil {
				a.Err = err.Error()
			}
			a.Text, a.Reach = c.Text.Reveal(), c.Reach
		}
		a.Status, a.Health = s.Status(), s.Health()
		if o.Do == "reach" {
			a.Reach = s.Reach()
		}
		mu.Lock()
		a.Paired = paired
		b, err := json.Marshal(a)
		mu.Unlock()
		if err != nil {
			panic(err)
		}
		os.Stdout.Write(append(b, '\n'))
	}
}

// family is a household under construction.
type family struct {
	m        *services.Membership
	key      [32]byte // of the box
	privates map[services.DeviceID]string
}

func newFamily(t testing.TB) *family {
	private, public, err := NewDeviceKey()
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := base64.StdEncoding.DecodeString(private.Reveal())
	f := &family{key: [32]byte(raw), privates: make(map[services.DeviceID]string)}
	self := services.PeerID(public)
	f.m = &services.Membership{Revision: 1, Self: self,
		Household: &services.Household{Name: "Smith", Label: "smith", Domain: "smith.home.arpa", Root: make(ed25519.PublicKey, 32),
			Net4: netip.MustParsePrefix("10.77.5.0/24"), Net6: netip.MustParsePrefix("fd12:3456:789a::/48")},
		Boxes:  []services.Box{{ID: self, Name: "Attic", Label: "attic", State: services.StateActive, Addr4: boxAt4, Addr6: boxAt6}},
		People: []services.Person{{ID: "aaaaaaaaaaaaaaaa", Name: "Anna", Role: services.RoleOwner, State: services.StateActive}, {ID: "bbbbbbbbbbbbbbbb", Name: "Ben", Role: services.RoleMember, State: services.StateActive}},
	}
	return f
}

var (
	boxAt4 = netip.MustParseAddr("10.77.5.1")
	boxAt6 = netip.MustParseAddr("fd12:3456:789a::1")
)

// add gives a person one more device, pending for ten minutes, and returns it. The membership is a new one.
func (f *family) add(t testing.TB, person int) services.Device {
	private, public, err := NewDeviceKey()
	if err != nil {
		t.Fatal(err)
	}
	n := len(f.privates) + 2
	d := services.Device{ID: services.DeviceID(strings.Repeat("d", 15) + string(rune('a'+n))), Person: f.m.People[person].ID, Name: fmt.Sprint("Phone ", n), Key: public,
		Addr4: netip.AddrFrom4([4]byte{10, 77, 5, byte(n)}), Addr6: netip.MustParseAddr(fmt.Sprintf("fd12:3456:789a::%x", n)),
		State: services.StatePending, Expires: time.Now().Add(10 * time.Minute).UTC(), Added: time.Now().UTC()}
	f.privates[d.ID] = private.Reveal()
	f.change(func(m *services.Membership) { m.Devices = append(m.Devices, d) })
	return d
}

func (f *family) change(how func(*services.Membership)) {
	m := *f.m
	m.Revision++
	m.Devices = append([]services.Device(nil), m.Devices...)
	m.People = append([]services.Person(nil), m.People...)
	how(&m)
	f.m = &m
}

func (f *family) remove(id services.DeviceID) {
	f.change(func(m *services.Membership) {
		var left []services.Device
		for _, d := range m.Devices {
			if d.ID != id {
				left = append(left, d)
			}
		}
		m.Devices = left
	})
}

// testBox is the process in a namespace.
type testBox struct {
	t    *testing.T
	host *netlab.Host
	spec boxSpec
	fam  *family

	cmd  *exec.Cmd
	done <-chan struct{}
	in   io.WriteCloser
	out  *bufio.Reader
}

func startBox(t *testing.T, h *netlab.Host, f *family, change func(*boxSpec)) *testBox {
	t.Helper()
	b := &testBox{t: t, host: h, fam: f, spec: boxSpec{Dir: t.TempDir(), Key: f.key, Port: 51820, NoPortMap: true}}
	if change != nil {
		change(&b.spec)
	}
	b.start()
	return b
}

func (b *testBox) start() {
	b.t.Helper()
	b.spec.Members = b.fam.m
	env, err := json.Marshal(b.spec)
	if err != nil {
		b.t.Fatal(err)
	}
	inR, inW, err := os.Pipe()
	if err != nil {
		b.t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		b.t.Fatal(err)
	}
	b.cmd = exec.Command("/proc/self/exe")
	b.cmd.Env = append(os.Environ(), boxEnv+"="+string(env))
	b.cmd.Stdin, b.cmd.Stdout = inR, outW
	log := &testLog{t: b.t, name: b.host.Name()}
	b.cmd.Stderr = log
	if b.done, err = b.host.Start(b.cmd); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(log.end)
	inR.Close()
	outW.Close()
	b.in, b.out = inW, bufio.NewReader(outR)
	b.t.Cleanup(func() { inW.Close(); outR.Close() })
}

// testLog passes what a box logs to the test's log, which shows it when the test fails.
type testLog struct {
	mu   sync.Mutex
	t    *testing.T
	name string
}

func (l *testLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.t != nil {
		l.t.Logf("%s: %s", l.name, strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

func (l *testLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t = nil
}

// kill is the plug being pulled.
func (b *testBox) kill() {
	b.cmd.Process.Kill()
	<-b.done
	b.in.Close()
}

// stop ends the box in good order and returns how long that took.
func (b *testBox) stop() time.Duration {
	b.t.Helper()
	start := time.Now()
	b.in.Close()
	select {
	case <-b.done:
	case <-time.After(20 * time.Second):
		b.t.Fatal("the box does not stop")
	}
	if !b.cmd.ProcessState.Success() {
		b.t.Errorf("the box ended with %s", b.cmd.ProcessState)
	}
	return time.Since(start)
}

func (b *testBox) tell(o order) answer {
	b.t.Helper()
	line, err := json.Marshal(o)
	if err == nil {
		_, err = b.in.Write(append(line, '\n'))
	}
	if err != nil {
		b.t.Fatalf("telling the box: %v", err)
	}
	text, err := b.out.ReadBytes('\n')
	if err != nil {
		b.t.Fatalf("the box is silent: %v", err)
	}
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		b.t.Fatalf("%v: %s", err, text)
	}
	return a
}

// members hands the family's membership to the box.
func (b *testBox) members() { b.t.Helper(); b.tell(order{Do: "members", Members: b.fam.m}) }

// until asks until the answer is as wanted.
func (b *testBox) until(what string, o order, ok func(answer) bool) answer {
	b.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		a := b.tell(o)
		if ok(a) {
			return a
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("not %s: %+v", what, a)
		}
		time.Sleep(30 * time.Millisecond)
	}
}

func (b *testBox) up() answer {
	b.t.Helper()
	return b.until("up", order{Do: "status"}, func(a answer) bool { return a.Status.Up && a.Health.Ready && a.Health.OK })
}

// config is the text for a device.
func (b *testBox) config(d services.Device) string {
	b.t.Helper()
	a := b.tell(order{Do: "config", Device: d.ID, Private: b.fam.privates[d.ID]})
	if a.Err != "" {
		b.t.Fatal(a.Err)
	}
	return a.Text
}

// rss is the resident memory of the box, in kB.
func (b *testBox) rss() (kb int) {
	b.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.cmd.Process.Pid))
	if err != nil {
		b.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			fmt.Sscan(rest, &kb)
		}
	}
	return kb
}
