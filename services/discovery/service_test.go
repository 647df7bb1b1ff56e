package discovery

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
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
