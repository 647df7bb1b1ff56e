package netlab

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	pfx  = netip.MustParsePrefix
	addr = netip.MustParseAddr
)

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return c
}

// town is two homes with the same private network, as they are in life, and two servers on the Internet.
type town struct {
	lab      *Lab
	internet *Switch
	a, b     *Router
	hostA    *Host
	hostB    *Host
	servers  [2]*Host
}

func newTown(t *testing.T, a, b NAT) *town {
	l := New(t)
	tw := &town{lab: l, internet: l.Switch("internet")}
	home := func(name string, nat NAT, wan4, wan6 string, lan6 string) (*Router, *Host) {
		r := l.Router(name, nat)
		tw.internet.Attach(r.Host, "wan", pfx(wan4), pfx(wan6))
		h := l.Host(name + "-host")
		hp, rp := l.Link(h, "eth0", r.Host, "lan")
		rp.Add(pfx("192.168.1.1/24"), pfx(lan6+"::1/64"))
		hp.Add(pfx("192.168.1.2/24"), pfx(lan6+"::2/64"))
		hp.Default(addr("192.168.1.1"))
		hp.Default(addr(lan6 + "::1"))
		return r, h
	}
	tw.a, tw.hostA = home("a", a, "203.0.113.1/24", "2001:db8::1/64", "2001:db8:a")
	tw.b, tw.hostB = home("b", b, "203.0.113.2/24", "2001:db8::2/64", "2001:db8:b")
	tw.a.Port("wan").Route(pfx("2001:db8:b::/64"), addr("2001:db8::2"))
	tw.b.Port("wan").Route(pfx("2001:db8:a::/64"), addr("2001:db8::1"))
	for i := range tw.servers {
		tw.servers[i] = l.Host(fmt.Sprintf("server%d", i))
		tw.internet.Attach(tw.servers[i], "eth0", pfx(fmt.Sprintf("203.0.113.%d/24", 10+i)))
	}
	return tw
}

func udp(t *testing.T, h *Host, at string) net.PacketConn {
	t.Helper()
	c, err := h.ListenPacket("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// seen sends one packet and returns who the receiver saw, or false after wait.
func seen(t *testing.T, from, to net.PacketConn, addr string, wait time.Duration) (netip.AddrPort, bool) {
	t.Helper()
	from.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	to.SetReadDeadline(time.Now().Add(wait))
	_, who, err := to.ReadFrom(make([]byte, 9))
	if err != nil {
		return netip.AddrPort{}, false
	}
	ap := who.(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), true
}

func TestNATKinds(t *testing.T) {
	for _, kind := range []NAT{NATCone, NATSymmetric} {
		t.Run(kind.String(), func(t *testing.T) {
			tw := newTown(t, kind, NATCone)
			in := udp(t, tw.hostA, "192.168.1.2:5000")
			s0, s1 := udp(t, tw.servers[0], "203.0.113.10:7000"), udp(t, tw.servers[1], "203.0.113.11:7000")
			a0, ok0 := seen(t, in, s0, "203.0.113.10:7000", time.Second)
			a1, ok1 := seen(t, in, s1, "203.0.113.11:7000", time.Second)
			if !ok0 || !ok1 {
				t.Fatal("nothing arrived")
			}
			if a0.Addr() != addr("203.0.113.1") {
				t.Errorf("translated to %s, want 203.0.113.1", a0)
			}
			if same := a0 == a1; same != (kind == NATCone) {
				t.Errorf("two observers see %s and %s", a0, a1)
			}
			// Filtering: whoever was not sent to gets nothing in, on any port.
			other := udp(t, tw.servers[1], "203.0.113.11:7001")
			if who, ok := seen(t, other, in, a0.String(), 200*time.Millisecond); ok {
				t.Errorf("a stranger (%s) came in", who)
			}
			if _, ok := seen(t, s0, in, a0.String(), time.Second); !ok {
				t.Error("the answer did not come in")
			}
		})
	}
}

func TestPortMapping(t *testing.T) {
	tw := newTown(t, NATCone, NATSymmetric)
	in, out := udp(t, tw.hostA, "192.168.1.2:5000"), udp(t, tw.servers[0], "203.0.113.10:7000")
	if _, ok := seen(t, out, in, "203.0.113.1:6000", 200*time.Millisecond); ok {
		t.Fatal("came in before the mapping")
	}
	if err := tw.a.Map(UDP, 6000, netip.MustParseAddrPort("192.168.1.2:5000")); err != nil {
		t.Fatal(err)
	}
	if who, ok := seen(t, out, in, "203.0.113.1:6000", time.Second); !ok || who != netip.MustParseAddrPort("203.0.113.10:7000") {
		t.Fatalf("through the mapping: %s, %v", who, ok)
	}
	if err := tw.a.Unmap(UDP, 6000); err != nil {
		t.Fatal(err)
	}
	if _, ok := seen(t, out, in, "203.0.113.1:6000", 200*time.Millisecond); ok {
		t.Fatal("came in after the mapping was taken away")
	}
}

func TestIPv6Pinhole(t *testing.T) {
	tw := newTown(t, NATCone, NATCone)
	in, out := udp(t, tw.hostA, "[2001:db8:a::2]:5000"), udp(t, tw.hostB, "[2001:db8:b::2]:5000")
	if _, ok := seen(t, out, in, "[2001:db8:a::2]:5000", 200*time.Millisecond); ok {
		t.Fatal("came in without a pinhole")
	}
	if err := tw.a.Pinhole(UDP, netip.MustParseAddrPort("[2001:db8:a::2]:5000")); err != nil {
		t.Fatal(err)
	}
	if who, ok := seen(t, out, in, "[2001:db8:a::2]:5000", time.Second); !ok || who.Addr() != addr("2001:db8:b::2") {
		t.Fatalf("through the pinhole: %s, %v", who, ok)
	}
}

func TestRouterOwnPorts(t *testing.T) {
	tw := newTown(t, NATCone, NATCone)
	own := udp(t, tw.a.Host, "0.0.0.0:5351")
	if _, ok := seen(t, udp(t, tw.servers[0], "203.0.113.10:0"), own, "203.0.113.1:5351", 200*time.Millisecond); ok {
		t.Error("the router's port is open to the Internet")
	}
	home := udp(t, tw.hostA, "192.168.1.2:0")
	if _, ok := seen(t, home, own, "192.168.1.1:5351", time.Second); !ok {
		t.Error("the router's port is closed to its home")
	}
	if err := tw.a.Silence(true); err != nil {
		t.Fatal(err)
	}
	if _, ok := seen(t, udp(t, tw.hostA, "192.168.1.2:0"), own, "192.168.1.1:5351", 200*time.Millisecond); ok {
		t.Error("a silent router hears")
	}
}

func TestAddressChangeAndFlush(t *testing.T) {
	tw := newTown(t, NATCone, NATCone)
	in, out := udp(t, tw.hostA, "192.168.1.2:5000"), udp(t, tw.servers[0], "203.0.113.10:7000")
	before, _ := seen(t, in, out, "203.0.113.10:7000", time.Second)
	tw.a.Port("wan").Set(pfx("203.0.113.77/24"))
	tw.a.Flush()
	after, ok := seen(t, in, out, "203.0.113.10:7000", time.Second)
	if !ok || before.Addr() != addr("203.0.113.1") || after.Addr() != addr("203.0.113.77") {
		t.Errorf("seen as %s, then %s", before, after)
	}
	if got := fmt.Sprint(tw.a.Port("wan").Addrs()); got != "[203.0.113.77/24]" {
		t.Errorf("addresses are %s", got)
	}
}

func TestLoss(t *testing.T) {
	tw := newTown(t, NATCone, NATCone)
	c := ctx(t)
	if n, err := tw.hostA.Ping(c, addr("203.0.113.10"), 5, time.Millisecond); n != 5 {
		t.Fatalf("%d of 5 without loss: %v", n, err)
	}
	tw.a.Port("wan").Lose(50)
	n, err := tw.hostA.Ping(c, addr("203.0.113.10"), 100, time.Millisecond)
	if n < 20 || n > 80 || err != nil {
		t.Errorf("%d of 100 with half lost: %v", n, err)
	}
	tw.a.Port("wan").Lose(100)
	if n, _ := tw.hostA.Ping(c, addr("203.0.113.10"), 2, time.Millisecond); n != 0 {
		t.Errorf("%d came through a dead cable", n)
	}
	tw.a.Port("wan").Lose(0)
	if n, _ := tw.hostA.Ping(c, addr("203.0.113.10"), 5, time.Millisecond); n != 5 {
		t.Errorf("%d of 5 after the loss ended", n)
	}
}

func TestTransferAndMTU(t *testing.T) {
	tw := newTown(t, NATCone, NATCone)
	c := ctx(t)
	tw.a.Port("wan").SetMTU(1280)
	if _, err := Transfer(c, tw.hostA, tw.servers[0], netip.MustParseAddrPort("203.0.113.10:0"), 1<<20); err != nil {
		t.Error(err)
	}
	out, in := udp(t, tw.hostA, "192.168.1.2:0"), udp(t, tw.servers[0], "203.0.113.10:7000")
	raw, err := out.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { // in one piece, whatever the machine knows of the way
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	})
	if err != nil {
		t.Fatal(err)
	}
	passes := func(size int) bool {
		out.WriteTo(make([]byte, size), net.UDPAddrFromAddrPort(netip.MustParseAddrPort("203.0.113.10:7000")))
		in.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		_, _, err := in.ReadFrom(make([]byte, 1500))
		return err == nil
	}
	if !passes(1200) || passes(1400) {
		t.Error("a cable of 1280 bytes carries a packet of 1428, or none of 1228")
	}
}

func TestSwitchCarriesMulticast(t *testing.T) {
	l := New(t)
	sw := l.Switch("lan")
	a, b := l.Host("a"), l.Host("b")
	sw.Attach(a, "eth0", pfx("192.168.1.2/24"))
	sw.Attach(b, "eth0", pfx("192.168.1.3/24"))
	group := &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}
	var in *net.UDPConn
	if err := b.Do(func() (err error) {
		ifi, err := net.InterfaceByName("eth0")
		if err == nil {
			in, err = net.ListenMulticastUDP("udp4", ifi, group)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out := udp(t, a, "192.168.1.2:0")
	out.WriteTo([]byte("x"), group)
	in.SetReadDeadline(time.Now().Add(2 * time.Second))
	if _, who, err := in.ReadFrom(make([]byte, 9)); err != nil || !strings.HasPrefix(who.String(), "192.168.1.2:") {
		t.Errorf("multicast: from %v, %v", who, err)
	}
}

func TestUplink(t *testing.T) {
	l := New(t)
	near, far := l.Switch("near"), l.Switch("far")
	cable := near.Uplink(far)
	a, b := l.Host("a"), l.Host("b")
	near.Attach(a, "eth0", pfx("192.168.1.2/24"))
	far.Attach(b, "eth0", pfx("192.168.1.3/24"))
	c := ctx(t)
	if err := b.Answers(c, addr("192.168.1.2")); err != nil {
		t.Fatal(err)
	}
	cable.Down()
	if n, _ := b.Ping(c, addr("192.168.1.2"), 3, time.Millisecond); n != 0 {
		t.Errorf("%d came through a cable that is down", n)
	}
	cable.Up()
	if err := b.Answers(c, addr("192.168.1.2")); err != nil {
		t.Error(err)
	}
}

func TestProcessesRunInsideAndEnd(t *testing.T) {
	var done <-chan struct{}
	t.Run("lab", func(t *testing.T) {
		l := New(t)
		h := l.Host("h")
		out, err := h.Exec(ctx(t), "ip", "-o", "link")
		if err != nil || strings.Count(out, "\n") != 1 || !strings.Contains(out, "lo:") {
			t.Errorf("inside there is %q, %v", out, err)
		}
		if _, err := h.Exec(ctx(t), "sh", "-c", "echo no; exit 3"); err == nil || !strings.Contains(err.Error(), "no") {
			t.Errorf("a command that fails says %v", err)
		}
		done, err = h.Start(exec.Command("sleep", "600"))
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Do(func() error { panic("x") }); err == nil {
			t.Error("a panic inside is no error")
		}
		if _, err := h.Dial(ctx(t), "tcp", "example.com:80"); err == nil || !strings.Contains(err.Error(), "literal") {
			t.Errorf("a name is resolved outside the lab: %v", err)
		}
	})
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Error("the process outlived the lab")
	}
}

func TestSkipNamesTheCommand(t *testing.T) {
	if got := rerun("TestX/sub"); !strings.HasSuffix(got, `go test -run '^TestX$' ./hwtest/netlab`) {
		t.Errorf("the command is %q", got)
	}
}

func keypair(t *testing.T) (private, public string) {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(k.Bytes()), base64.StdEncoding.EncodeToString(k.PublicKey().Bytes())
}

// Two stock apps, one of them listening, talk to one another: the phone itself is sound before it judges anyone.
func TestPhones(t *testing.T) {
	tw := newTown(t, NATCone, NATCone)
	pa, qa := keypair(t)
	pb, qb := keypair(t)
	server := tw.lab.Phone(tw.servers[0], "[Interface]\nPrivateKey = "+pb+"\nListenPort = 51820\nAddress = 10.9.9.1/32, fd00::1/128\n\n[Peer]\nPublicKey = "+qa+"\nAllowedIPs = 10.9.9.2/32, fd00::2/128\n", nil)
	phone := tw.lab.Phone(tw.hostA, "[Interface]\nPrivateKey = "+pa+"\nAddress = 10.9.9.2/32, fd00::2/128\nDNS = 10.9.9.1, example.org\nMTU = 1280\n\n[Peer]\nPublicKey = "+qb+"\nAllowedIPs = 10.9.9.0/24, fd00::/48\nEndpoint = box.example.org:51820\n",
		map[string]netip.Addr{"box.example.org": addr("203.0.113.10")})
	c := ctx(t)
	if err := phone.Host.Answers(c, server.Address4()); err != nil {
		t.Fatal(err)
	}
	if err := phone.Host.Answers(c, server.Address6()); err != nil {
		t.Fatal(err)
	}
	if _, err := Transfer(c, phone.Host, server.Host, netip.AddrPortFrom(server.Address4(), 0), 1<<20); err != nil {
		t.Error(err)
	}
	st, err := phone.State()
	if err != nil || st.Handshake.IsZero() || st.TxBytes < 1<<20 || st.Endpoint != netip.MustParseAddrPort("203.0.113.10:51820") {
		t.Errorf("the app shows %+v, %v", st, err)
	}
	server.Stop()
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := phone.Host.Answers(short, server.Address4()); !errors.Is(err, errNoAnswer) {
		t.Errorf("a stopped peer answers: %v", err)
	}
}

func TestParseStockRefuses(t *testing.T) {
	private, public := keypair(t)
	good := "[Interface]\nPrivateKey = " + private + "\nAddress = 10.0.0.2/32\n[Peer]\nPublicKey = " + public + "\nAllowedIPs = 10.0.0.0/24\n"
	if _, err := ParseStock(good); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"key of wg-quick":     strings.Replace(good, "Address", "PostUp", 1),
		"key said twice":      good + "PublicKey = " + public + "\n",
		"peer twice":          good + "[Peer]\nPublicKey = " + public + "\n",
		"interface twice":     good + "[Interface]\n",
		"no private key":      strings.Replace(good, "PrivateKey = "+private+"\n", "", 1),
		"peer without key":    good + "[Peer]\nAllowedIPs = 0.0.0.0/0\n",
		"endpoint no port":    good + "Endpoint = example.org\n",
		"empty value":         good + "Endpoint =\n",
		"nothing":             "",
		"before any section":  "MTU = 1280\n",
		"port out of range":   good + "Endpoint = a:65536\n",
		"short key":           strings.Replace(good, private, private[:40], 1),
		"address of no kind":  strings.Replace(good, "10.0.0.2/32", "10.0.0.2/33", 1),
		"not a line of words": good + "hello\n",
	} {
		if s, err := ParseStock(text); err == nil || s != nil {
			t.Errorf("%s: taken as %+v, %v", name, s, err)
		}
	}
}

func FuzzParseStock(f *testing.F) {
	f.Add("[Interface]\nPrivateKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nDNS = 1.1.1.1, a\n[Peer]\nPublicKey = BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nAllowedIPs = ::/0\nEndpoint = [::1]:9\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseStock(text)
		if (s == nil) == (err == nil) {
			t.Fatalf("half-built: %+v, %v", s, err)
		}
		if s != nil {
			s.uapi(func(string) (netip.Addr, error) { return netip.IPv6Loopback(), nil })
		}
	})
}
