package bind

import (
	"context"
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/tailscale/wireguard-go/conn"
	"github.com/tailscale/wireguard-go/device"
	"github.com/tailscale/wireguard-go/tun"

	"hearth.alt/hwtest/netlab"
	"hearth.alt/services/mesh/internal/clamp"
)

// pair is two devices of the pinned library on two hosts with a cable between; the box's bind is the one under
// measurement, the other's is the library's default.
type pair struct{ box, far *netlab.Host }

func newPair(b *testing.B, make func() conn.Bind, wrap func(tun.Device) tun.Device, endpoint func(Key, netip.AddrPort) string) pair {
	lab := netlab.New(b)
	p := pair{lab.Host("box"), lab.Host("far")}
	x, y := lab.Link(p.box, "eth0", p.far, "eth0")
	x.Add(netip.MustParsePrefix("192.0.2.1/24"))
	y.Add(netip.MustParsePrefix("192.0.2.2/24"))
	k1, p1 := newKey(b)
	k2, p2 := newKey(b)
	start := func(h *netlab.Host, bind conn.Bind, wrap func(tun.Device) tun.Device, addr, config string) {
		err := h.Do(func() error {
			t, err := tun.CreateTUN("tun0", 1420)
			if err != nil {
				return err
			}
			dev := device.NewDevice(wrap(newSteady(t)), bind, &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf})
			b.Cleanup(dev.Close)
			if err := dev.IpcSet(config); err != nil {
				return err
			}
			return dev.Up()
		})
		if err != nil {
			b.Fatal(err)
		}
		h.Port("tun0").Add(netip.MustParsePrefix(addr + "/24"))
	}
	// The box listens, the far end knows its address and calls.
	bind := make()
	start(p.box, bind, wrap, "10.9.0.1", fmt.Sprintf("private_key=%x\nlisten_port=51820\npublic_key=%x\nendpoint=%s\nallowed_ip=10.9.0.2/32\n",
		k1, p2, endpoint(p2, netip.MustParseAddrPort("192.0.2.2:51820"))))
	start(p.far, conn.NewStdNetBind(), bare, "10.9.0.2", fmt.Sprintf("private_key=%x\nlisten_port=51820\npublic_key=%x\nendpoint=192.0.2.1:51820\nallowed_ip=10.9.0.1/32\n", k2, p1))
	c, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := p.far.Answers(c, netip.MustParseAddr("10.9.0.1")); err != nil {
		b.Fatal(err)
	}
	return p
}

// steady hides from the device when its interface goes up and down: it would open its sockets anew on a thread
// outside the namespace.
type steady struct {
	tun.Device
	events chan tun.Event
}

func newSteady(t tun.Device) *steady {
	s := &steady{t, make(chan tun.Event)}
	go func() {
		for range t.Events() {
		}
		close(s.events)
	}()
	return s
}

func (s *steady) Events() <-chan tun.Event { return s.events }

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func bare(t tun.Device) tun.Device { return t }

// clamped is what the client plane puts around its interface; MTU as in bare, so that only its work is measured.
func clamped(t tun.Device) tun.Device { return &clamp.Device{Device: t, Bytes: 1420} }

// BenchmarkPlane sends TCP through a tunnel, into and out of the box in turn, by the default bind and by ours
// (with the clamp, whose smaller TCP segments count against it) in alternating rounds of one run. It reports ours divided by the default's: speed-ratio (budget of DESIGN.md 7: at
// least 0.95) and cpu-ratio (CPU time for the same bytes, all ends of the tunnel and the senders included: less is
// better).
//
//	sudo env PATH="$PATH" go test -run '^$' -bench Plane -benchtime 10x ./services/mesh/internal/bind
func BenchmarkPlane(b *testing.B) {
	const bytes = 64 << 20
	plain := newPair(b, conn.NewStdNetBind, bare, func(_ Key, at netip.AddrPort) string { return at.String() })
	ours := newPair(b, func() conn.Bind { return New(nil) }, clamped, func(k Key, _ netip.AddrPort) string { return Endpoint(k) })
	round := func(p pair) (wall, used time.Duration) {
		c, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		before := cpu()
		for _, way := range []struct {
			from, to *netlab.Host
			addr     string
		}{{p.far, p.box, "10.9.0.1:0"}, {p.box, p.far, "10.9.0.2:0"}} {
			took, err := netlab.Transfer(c, way.from, way.to, netip.MustParseAddrPort(way.addr), bytes)
			if err != nil {
				b.Fatal(err)
			}
			wall += took
		}
		return wall, cpu() - before
	}
	round(plain)
	round(ours)
	var wall, used [2]time.Duration
	b.SetBytes(2 * bytes)
	for i := 0; b.Loop(); i++ {
		for j := range 2 { // who goes first takes turns too
			which := (i + j) % 2
			w, u := round([]pair{plain, ours}[which])
			wall[which] += w
			used[which] += u
		}
	}
	b.ReportMetric(wall[0].Seconds()/wall[1].Seconds(), "speed-ratio")
	b.ReportMetric(used[1].Seconds()/used[0].Seconds(), "cpu-ratio")
}
