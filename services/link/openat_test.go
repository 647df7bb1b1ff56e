package link_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/link"
)

// strangers is a protocol that is spoken with everybody.
func strangers(name string) link.Protocol {
	p := echo(name)
	p.Strangers, p.Allow = true, func(services.PeerID) bool { return true }
	return p
}

func TestOpenAt(t *testing.T) {
	a, b := newBox(t).start(), newBox(t, strangers("/join/v1"), echo("/log/v1"))
	a.nobody, b.nobody = true, true
	b.start()
	s, err := a.OpenAt(within(t), b.addr, "/join/v2", "/join/v1")
	if err != nil {
		t.Fatal(err)
	}
	if s.Peer() != b.id || s.Protocol() != "/join/v1" {
		t.Errorf("finds %s, which speaks %s", s.Peer(), s.Protocol())
	}
	if got := say(t, s, []byte("hi")); string(got) != "hi" {
		t.Errorf("says %q", got)
	}
	var refused *link.RefusedError
	if _, err := a.OpenAt(within(t), b.addr, "/log/v1"); !errors.As(err, &refused) || refused.Code != link.RefusedUnknown {
		t.Errorf("what is not for strangers: %v", err)
	}
	// Whoever was found is dialled by its PeerID on the session that there is, though no path is known.
	if _, err := a.Open(within(t), b.id, "/join/v1"); err != nil {
		t.Errorf("the session is not used: %v", err)
	}
}

// A stranger has one session: those that ask at the same time, and along another path, share it.
func TestOpenAtAtTheSameTime(t *testing.T) {
	a, b := newBox(t).start(), newBox(t, strangers("/join/v1"))
	b.nobody = true
	b.start()
	if _, err := a.OpenAt(within(t), b.addr, "/join/v1"); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for _, at := range []netip.AddrPort{b.addr, b.addr, b.tcp} {
		group.Go(func() {
			s, err := a.OpenAt(within(t), at, "/join/v1")
			if err != nil {
				t.Errorf("%s: %v", at, err)
				return
			}
			s.Cancel()
		})
	}
	group.Wait()
}

// What answers at an address is itself and nobody else: Open takes it for no other box.
func TestOpenAtDoesNotWeakenOpen(t *testing.T) {
	a, impostor := newBox(t).start(), newBox(t, strangers("/join/v1")).start()
	real := newBox(t)
	a.at(real, impostor.addr)
	s, err := a.OpenAt(within(t), impostor.addr, "/join/v1")
	if err != nil || s.Peer() != impostor.id {
		t.Fatalf("%v", err)
	}
	if _, err := a.Open(within(t), real.id, "/join/v1"); !errors.Is(err, link.ErrWrongPeer) {
		t.Errorf("Open takes what answers at the address: %v", err)
	}
	// Nor does the one found get more than any stranger does.
	b := newBox(t, echo("/log/v1"))
	b.nobody = true
	b.start()
	c := newBox(t, strangers("/join/v1")).start()
	if _, err := b.OpenAt(within(t), c.addr, "/join/v1"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Open(within(t), b.id, "/log/v1"); err == nil {
		t.Error("whoever was found speaks with the household")
	}
}

func TestOpenAtNobody(t *testing.T) {
	a := newBox(t).start()
	if _, err := a.OpenAt(within(t), a.addr, "/join/v1"); !errors.Is(err, link.ErrSelf) {
		t.Errorf("its own address: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	if _, err := a.OpenAt(ctx, netip.MustParseAddrPort("127.0.0.1:9"), "/join/v1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no time: %v", err)
	}
	if _, err := a.OpenAt(within(t), netip.MustParseAddrPort("127.0.0.1:9"), "/join/v1"); !errors.Is(err, link.ErrUnreachable) {
		t.Errorf("nobody there: %v", err)
	}
	if _, err := a.OpenAt(within(t), a.addr); err == nil {
		t.Error("no names")
	}
	if _, err := newBox(t).OpenAt(within(t), a.addr, "/join/v1"); !errors.Is(err, link.ErrNotRunning) {
		t.Errorf("not running: %v", err)
	}
}
