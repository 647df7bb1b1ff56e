package discovery

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// fakeNet is a network whose links a test sets.
type fakeNet struct {
	mu     sync.Mutex
	list   []link
	sent   []outbound
	in     chan inbound
	change chan struct{}
	fail   chan error
	closed bool
	refuse error
}

func newFakeNet(list ...link) *fakeNet {
	return &fakeNet{list: list, in: make(chan inbound), change: make(chan struct{}, 1), fail: make(chan error, 1)}
}

func (f *fakeNet) open(context.Context, *slog.Logger) (transport, error) { return f, f.refuse }
func (f *fakeNet) links() ([]link, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.list, nil
}
func (f *fakeNet) changes() <-chan struct{} { return f.change }
func (f *fakeNet) packets() <-chan inbound  { return f.in }
func (f *fakeNet) failed() <-chan error     { return f.fail }
func (f *fakeNet) close()                   { f.closed = true }
func (f *fakeNet) send(p outbound) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, p)
}
func (f *fakeNet) set(list ...link) {
	f.mu.Lock()
	f.list = list
	f.mu.Unlock()
	f.change <- struct{}{}
}

func TestServiceSaysHowItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, members := newFakeNet(), newLabelled("")
		s, err := New(Config{Members: members, Ports: func() Ports { return Ports{Web: 80} }, network: n})
		if err != nil {
			t.Fatal(err)
		}
		health := func(want string) {
			t.Helper()
			synctest.Wait()
			if h := s.Health(); h.Message.String() != want || h.Name != "discovery" {
				t.Errorf("health is %+v, want %q", h, want)
			}
		}
		health("The box is about to take its name on the home network.")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		health("The box waits for the home network before it takes its name there.")
		if s.Health().Waiting != "network" {
			t.Error("waiting for the network is not said")
		}
		n.set(linkOf("192.168.7.2/24"))
		time.Sleep(300 * time.Millisecond)
		health("The box asks whether the name hearth.local is free on the home network.")
		if s.Name() != "" {
			t.Errorf("the name is %q before it is granted", s.Name())
		}
		time.Sleep(2 * time.Second)
		health("On the home network the box answers to hearth.local.")
		m := dns.Msg{MsgHdr: dns.MsgHdr{Response: true}, Answer: []dns.RR{&dns.A{Hdr: header("hearth.local.", dns.TypeA, 120), A: []byte{192, 168, 7, 9}}}}
		b, _ := m.Pack()
		other := inbound{link: theLink, src: netip.MustParseAddrPort("192.168.7.9:5353"), group: true, data: b}
		n.in <- other // conflict
		n.in <- other // defended
		time.Sleep(2 * time.Second)
		health("Something else at home is called hearth.local, so the box answers to hearth-2.local.")
		if s.Name() != "hearth-2.local" {
			t.Errorf("the name is %q", s.Name())
		}
		members.set("kitchen")
		time.Sleep(2 * time.Second)
		health("On the home network the box answers to kitchen.local.")
		cancel()
		if err := <-done; err != nil || !n.closed {
			t.Errorf("a clean stop returned %v, closed %v", err, n.closed)
		}
		var last dns.Msg
		if err := last.Unpack(n.sent[len(n.sent)-1].data); err != nil || len(last.Answer) == 0 || last.Answer[0].Header().Ttl != 0 {
			t.Errorf("the last word is no goodbye: %v", &last)
		}
	})
}

// A box whose pages nobody else reaches takes no name, announces nothing and answers nothing.
func TestSilentIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(linkOf("192.168.7.2/24"))
		s, err := New(Config{Members: newLabelled("kitchen"), Ports: func() Ports { return Ports{Web: 80} }, Silent: true, network: n})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(5 * time.Second)
		b, _ := ask("kitchen.local.", dns.TypeA).Pack()
		n.in <- inbound{link: theLink, src: netip.MustParseAddrPort("192.168.7.9:5353"), group: true, data: b}
		n.set(linkOf("192.168.7.2/24"), linkOf("192.168.7.3/24"))
		time.Sleep(5 * time.Second)
		if h := s.Health(); !h.Ready || !h.OK || h.Message.Key != "discovery.silent" || s.Name() != "" {
			t.Errorf("health is %+v, the name %q", h, s.Name())
		}
		cancel()
		if err := <-done; err != nil || len(n.sent) != 0 {
			t.Errorf("Run returned %v after %d packets", err, len(n.sent))
		}
	})
}

// A box that its household removed was announced as one that waits for an owner, and the other boxes, one of which may have
// news for it, did not find it.
func TestRemovedBoxIsNotUnclaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, members := newFakeNet(linkOf("192.168.7.2/24")), newLabelled("kitchen")
		members.m.Boxes = nil
		s, err := New(Config{Members: members, network: n, Ports: func() Ports { return Ports{Web: 80, Mesh: 41820} }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		said := map[string]bool{}
		n.mu.Lock()
		for _, p := range n.sent {
			var m dns.Msg
			if err := m.Unpack(p.data); err != nil {
				t.Fatal(err)
			}
			for _, x := range m.Answer {
				if v, ok := x.(*dns.TXT); ok {
					for _, text := range v.Txt {
						said[text] = true
					}
				}
			}
		}
		n.mu.Unlock()
		if said["claim=1"] || !said["mesh=41820"] || !said["id="+members.m.Self.String()[:16]] || s.Name() != "hearth.local" {
			t.Errorf("%s says %v", s.Name(), said)
		}
		cancel()
		<-done
	})
}

// What is announced is what can be reached, and follows when the pages open elsewhere.
func TestAnnouncesWhatIsReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, ports := newFakeNet(linkOf("192.168.7.2/24")), make(chan Ports, 1)
		s, err := New(Config{Members: newLabelled(""), network: n, Ports: func() Ports {
			p := <-ports
			ports <- p
			return p
		}})
		if err != nil {
			t.Fatal(err)
		}
		ports <- Ports{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		for i, c := range []struct {
			ports Ports
			wait  time.Duration
			want  map[string]uint16
		}{
			{Ports{}, 0, map[string]uint16{}},
			{Ports{Web: 80, Secure: 443}, 10 * time.Second, map[string]uint16{"_http._tcp": 80, "_hearth._tcp": 80}},
			{Ports{Web: 8081, Secure: 443}, 70 * time.Second, map[string]uint16{"_http._tcp": 8081, "_hearth._tcp": 8081}},
			{Ports{Secure: 443}, 70 * time.Second, map[string]uint16{"_https._tcp": 443, "_hearth._tcp": 443}},
			{Ports{}, 70 * time.Second, map[string]uint16{}},
		} {
			<-ports
			ports <- c.ports
			time.Sleep(c.wait)
			synctest.Wait()
			got := map[string]uint16{} // by what was said last
			n.mu.Lock()
			for _, p := range n.sent {
				var m dns.Msg
				if err := m.Unpack(p.data); err != nil {
					t.Fatal(err)
				}
				for _, x := range m.Answer {
					if v, ok := x.(*dns.SRV); ok {
						_, kind, _ := strings.Cut(strings.TrimSuffix(v.Hdr.Name, ".local."), ".")
						if got[kind] = v.Port; v.Hdr.Ttl == 0 {
							delete(got, kind)
						}
					}
				}
			}
			n.mu.Unlock()
			if !maps.Equal(got, c.want) {
				t.Errorf("step %d: announced %v, want %v", i, got, c.want)
			}
		}
		cancel()
		<-done
	})
}

func TestServiceReturnsTrouble(t *testing.T) {
	boom := errors.New("boom")
	n := newFakeNet(linkOf("192.168.7.2/24"))
	s, err := New(Config{Members: newLabelled(""), network: n})
	if err != nil {
		t.Fatal(err)
	}
	n.fail <- boom
	if err := s.Run(t.Context()); !errors.Is(err, boom) || s.Health().Ready {
		t.Errorf("Run returned %v, ready %v; want boom", err, s.Health().Ready)
	}
	n.refuse = boom
	if err := s.Run(t.Context()); !errors.Is(err, boom) {
		t.Errorf("Run returned %v; want boom", err)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("a service without Members was made")
	}
}
