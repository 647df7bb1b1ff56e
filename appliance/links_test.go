package appliance

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/discovery"
	"hearth.alt/services/identity"
	"hearth.alt/services/identity/identitytest"
	"hearth.alt/services/link"
)

// linked is a box of a household with its links, on a port of its own.
type linked struct {
	*identitytest.Claimed
	links *links
	at    netip.AddrPort
	stop  func()
}

// run has box keep its links as the appliance does.
func run(t *testing.T, box *identitytest.Claimed) *linked {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(socket.LocalAddr().String())
	where := newWhereabouts(filepath.Join(t.TempDir(), "addresses"), slog.New(slog.DiscardHandler))
	l := newLinks(where, box.Service, slog.New(slog.DiscardHandler))
	where.own, where.known = func() []netip.AddrPort { return []netip.AddrPort{at} }, l.ours
	l.shares = shares(box.Service, where, box.Keys.PeerID())
	l.link, err = link.New(link.Config{
		Self: box.Keys.PeerID(), Sign: box.Keys.SignHandshake, UDP: func() (net.PacketConn, error) { return socket, nil }, Paths: where.paths,
		Knows: l.knows, Protocols: l.protocols(), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	b := &linked{Claimed: box, links: l, at: at}
	b.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		b.stop = func() {}
	}
	t.Cleanup(func() { b.stop() })
	return b
}

// until waits for the membership to be as wanted.
func (b *linked) until(t *testing.T, what string, wanted func(*services.Membership) bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		m, changed := b.Watch()
		if wanted(m) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s: people %+v, boxes %+v", what, m.People, m.Boxes)
		}
	}
}

func people(n int) func(*services.Membership) bool {
	return func(m *services.Membership) bool { return len(m.People) == n }
}

func add(t *testing.T, b *linked, name string) services.Person {
	t.Helper()
	p, err := b.AddPerson(t.Context(), identity.NewPerson{Name: name, Role: services.RoleMember})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Boxes of one household keep the same log over their links, find each other through a third, and go on alone. One that is
// removed hears so, and nothing after.
func TestHouseholdShares(t *testing.T) {
	first := identitytest.Household(t)
	second := identitytest.Joined(t, first, "Attic")
	a, b := run(t, first), run(t, second)
	b.links.where.note(first.Keys.PeerID(), a.at)
	add(t, a, "Ben")
	b.until(t, "Ben reaches the attic", people(2))

	third := identitytest.Joined(t, a.Claimed, "Barn")
	c := run(t, third)
	c.links.where.note(first.Keys.PeerID(), a.at)
	add(t, c, "Cleo")
	a.until(t, "Cleo reaches the study", people(3))
	b.until(t, "Cleo reaches the attic", people(3))

	eventually(t, "the attic and the barn do not find each other through the study", func() bool {
		return b.links.linked(identity.LogProtocol)[third.Keys.PeerID()]
	})
	for _, box := range []*linked{b, c} { // what new words take comes over the links, too
		eventually(t, "no new words could be made on a box that joined", func() bool {
			kept, err := box.Keys.NextRoots(t.Context())
			return err == nil && len(kept) == 1
		})
	}
	a.stop()
	dora := add(t, b, "Dora")
	c.until(t, "with the first box off, Dora reaches the barn", people(4))
	if err := c.RemovePerson(t.Context(), dora.ID); err != nil {
		t.Fatal(err)
	}
	b.until(t, "Dora's removal reaches the attic", people(3))

	if err := c.RemoveBox(t.Context(), second.Keys.PeerID()); err != nil {
		t.Fatal(err)
	}
	b.until(t, "the attic hears that it was removed", func(m *services.Membership) bool { return slices.Contains(m.Removed, m.Self) })
	add(t, c, "Emil")
	a = run(t, first)
	a.links.where.note(third.Keys.PeerID(), c.at)
	a.until(t, "Emil reaches the study", people(4))
	if got, all := len(b.RecordBytes()), len(a.RecordBytes()); got != all-1 {
		t.Errorf("the removed box knows %d records of %d, want all but the last", got, all)
	}
	if n := len(b.Membership().People); n != 0 {
		t.Errorf("the removed box lets %d people in", n)
	}
}

// A box that stops is away, but not before it had the time to start again.
func TestAwayBox(t *testing.T) {
	first := identitytest.Household(t)
	second := identitytest.Joined(t, first, "Attic")
	attic := second.Keys.PeerID()
	a, b := run(t, first), run(t, second)
	b.links.where.note(first.Keys.PeerID(), a.at)
	long := func() time.Time { return time.Now().Add(awayAfter) }
	eventually(t, "the attic is in touch", func() bool { return len(a.links.linked(identity.LogProtocol)) == 1 })
	if got := a.links.away(long()); len(got) != 0 {
		t.Errorf("%v is away while it is in touch", got)
	}
	b.stop()
	eventually(t, "the attic is away", func() bool { return slices.Equal(a.links.away(long()), []services.PeerID{attic}) })
	if got := a.links.away(time.Now()); len(got) != 0 {
		t.Errorf("%v is said to be away at once", got)
	}
	if a.links.where.heard(attic).IsZero() {
		t.Error("when the attic was last heard is not known")
	}
	a.stop()
	a = run(t, first)
	eventually(t, "the attic is looked for", func() bool { return len(a.links.away(long())) == 1 })
	if got := a.links.away(time.Now()); len(got) != 0 {
		t.Errorf("after a restart of this box %v is said to be away at once", got)
	}
}

// Where boxes are is kept over a restart, bounded, and taken from nobody else.
func TestWhereabouts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "link", "addresses")
	log := slog.New(slog.DiscardHandler)
	w := newWhereabouts(path, log)
	self, ann, eve := services.PeerID{1}, services.PeerID{2}, services.PeerID{3}
	w.known = func(p services.PeerID) bool { return p == ann }
	at := func(n byte) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 1, n}), 41820)
	}
	found := w.found(ann)
	w.note(ann, at(2), netip.AddrPort{}, netip.MustParseAddrPort("224.0.0.1:1"), netip.MustParseAddrPort("[fe80::1%eth0]:1"), at(2))
	select {
	case <-found:
	default:
		t.Error("nobody is told that something is known")
	}
	if got := w.paths(ann); !slices.Equal(got, []netip.AddrPort{at(2)}) {
		t.Errorf("paths are %s", got)
	}
	for n := byte(3); n < 20; n++ {
		w.note(ann, at(n))
	}
	w.note(eve, at(99))
	got := w.paths(ann)
	if len(got) != maxAddresses || got[0] != at(19) {
		t.Errorf("paths are %s", got)
	}
	w.save()
	again := newWhereabouts(path, log)
	if !slices.Equal(again.paths(ann), got) || len(again.paths(eve)) != 0 {
		t.Errorf("after a restart: %s, and %s", again.paths(ann), again.paths(eve))
	}
	w.near = func() []discovery.Found {
		return []discovery.Found{
			{Addresses: []netip.Addr{netip.MustParseAddr("fe80::1"), at(50).Addr()}, Text: map[string]string{"id": ann.String()[:16], "mesh": "41821"}},
			{Addresses: []netip.Addr{at(51).Addr()}, Text: map[string]string{"id": eve.String()[:16], "mesh": "41821"}},
			{Addresses: []netip.Addr{at(52).Addr()}, Text: map[string]string{"id": ann.String()[:16], "mesh": "x"}},
		}
	}
	if got := w.paths(ann); got[1] != netip.AddrPortFrom(at(50).Addr(), 41821) || got[2] != at(18) || len(got) != maxAddresses {
		t.Errorf("with what the home network hears: %s", got)
	}

	w.own = func() []netip.AddrPort { return []netip.AddrPort{at(1)} }
	all, err := readTold(bytes.NewReader(w.tell(self)))
	if err != nil || len(all) != 2 || all[0].peer != self || !slices.Equal(all[0].addresses, []netip.AddrPort{at(1)}) || all[1].peer != ann {
		t.Errorf("it tells %+v, %v", all, err)
	}
}

// A box that calls over TCP, where no UDP passes, comes from another port each time. Those are not where it can be found, and
// do not drive out where it can.
func TestWhereaboutsOverTCP(t *testing.T) {
	w := newWhereabouts(filepath.Join(t.TempDir(), "addresses"), slog.New(slog.DiscardHandler))
	ann, at := services.PeerID{2}, netip.MustParseAddrPort("192.168.1.2:41820")
	w.met(ann, link.Path{Address: at, Via: "udp"})
	for port := range uint16(20) {
		w.met(ann, link.Path{Address: netip.AddrPortFrom(at.Addr(), 50000+port), Via: "tcp"})
	}
	if got := w.paths(ann); !slices.Equal(got, []netip.AddrPort{at}) {
		t.Errorf("it is looked for at %s", got)
	}
	ben := services.PeerID{3}
	w.met(ben, link.Path{Address: at, Via: "tcp"})
	w.touch(ben)
	if w.heard(ben).IsZero() {
		t.Error("when a box was heard that only ever called over TCP is not known")
	}
	w.known = func(services.PeerID) bool { return false }
	if w.touch(services.PeerID{4}); !w.heard(services.PeerID{4}).IsZero() {
		t.Error("a stranger is remembered")
	}
}

// A box that was claimed a while before another one joined wrote down only ten minutes later where that one is, and when it
// was heard: without power before that, each knew nothing of the other.
func TestWhereaboutsOfANewBox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path, log := filepath.Join(t.TempDir(), "addresses"), slog.New(slog.DiscardHandler)
		w := newWhereabouts(path, log)
		ctx, pull := context.WithCancel(t.Context())
		go w.keep(ctx)
		time.Sleep(time.Minute)
		ann, at := services.PeerID{2}, netip.MustParseAddrPort("192.168.1.2:41820")
		w.touch(ann)
		w.note(ann, at)
		time.Sleep(10 * time.Second)
		again := newWhereabouts(path, log)
		pull()
		if got := again.paths(ann); !slices.Equal(got, []netip.AddrPort{at}) || again.heard(ann).IsZero() {
			t.Errorf("after a power cut it is looked for at %s, heard %v", got, again.heard(ann))
		}
	})
}

func FuzzReadTold(f *testing.F) {
	w := newWhereabouts(filepath.Join(f.TempDir(), "addresses"), slog.New(slog.DiscardHandler))
	w.own = func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("[fd00::1]:41820")} }
	w.note(services.PeerID{2}, netip.MustParseAddrPort("192.168.1.2:41820"))
	f.Add(w.tell(services.PeerID{1}))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := readTold(bytes.NewReader(b))
		if err != nil {
			if all != nil || !errors.Is(err, io.EOF) && !errors.Is(err, errAddresses) {
				t.Errorf("%+v, %v", all, err)
			}
			return
		}
		if len(all) == 0 || len(all) > maxTold {
			t.Errorf("%d boxes", len(all))
		}
	})
}

// A thief removes a box with one that he holds, or all but that one. Where the 24 words were typed in a removed box, whoever
// took the removals as true, or was removed too, hears it from that box, and the thief's is out.
func TestWordsReachTheOthers(t *testing.T) {
	for _, everybody := range []bool{false, true} {
		t.Run(map[bool]string{false: "one removed", true: "all removed"}[everybody], func(t *testing.T) {
			study := identitytest.Household(t)
			attic, barn := identitytest.Joined(t, study, "Attic"), identitytest.Joined(t, study, "Barn")
			a, thief, c := run(t, study), run(t, attic), run(t, barn)
			self := study.Keys.PeerID()
			for _, b := range []*linked{thief, c} {
				b.links.where.note(self, a.at)
			}
			for _, b := range []*linked{a, thief, c} {
				b.until(t, "all are there", func(m *services.Membership) bool { return len(m.Boxes) == 3 })
			}
			for deadline := time.Now().Add(30 * time.Second); len(c.links.linked(identity.LogProtocol)) != 2 || len(thief.links.linked(identity.LogProtocol)) != 2; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("they do not find one another")
				}
			}
			removed := []services.PeerID{self}
			if everybody {
				removed = append(removed, barn.Keys.PeerID())
			}
			for _, id := range removed {
				if err := thief.RemoveBox(t.Context(), id); err != nil {
					t.Fatal(err)
				}
			}
			heard := func(m *services.Membership) bool { return slices.Contains(m.Removed, self) }
			a.until(t, "the study hears of it", heard)
			c.until(t, "the barn hears of it", heard)
			settle := identity.Settlement{Stay: []identity.Subject{{Box: self}, {Box: barn.Keys.PeerID()}}}
			words, err := study.Words(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range words {
				settle.Words = append(settle.Words, w.Reveal())
			}
			if err := a.Settle(t.Context(), settle); err != nil {
				t.Fatal(err)
			}
			back := func(m *services.Membership) bool {
				return len(m.Boxes) == 2 && !m.ReadOnly && slices.Equal(m.Removed, []services.PeerID{attic.Keys.PeerID()})
			}
			c.until(t, "the barn hears what the words did", back)
			add(t, c, "Ben")
			a.until(t, "Ben reaches the study", func(m *services.Membership) bool { return back(m) && len(m.People) == 2 })
			if everybody {
				return // the thief's box asks nobody any more
			}
			thief.until(t, "the thief's box hears of it", func(m *services.Membership) bool { return slices.Contains(m.Removed, m.Self) && len(m.People) == 0 })
		})
	}
}

// A free UDP port was taken for the links whose TCP port another program had, so that there were none.
func TestLinkPortsAreFreeBoth(t *testing.T) {
	h := openHouse(t, t.TempDir())
	var taken []net.Listener
	defer func() {
		for _, l := range taken {
			l.Close()
		}
	}()
	for range 3000 { // one free number in nine
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, l)
	}
	s := &linkSockets{keeper: h.keeper, at: netip.MustParseAddrPort("127.0.0.1:0"), dev: true}
	for range 50 {
		c, err := s.udp()
		if err != nil {
			t.Fatal(err)
		}
		l, err := s.tcp()
		c.Close()
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, l)
	}
}
