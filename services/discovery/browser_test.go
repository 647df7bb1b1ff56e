package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestForeignTextIsCleaned(t *testing.T) {
	for in, want := range map[string]string{
		`Office\ Printer`:                     "Office Printer",
		`B\195\188ro\.1`:                      "Büro.1",
		`a\\b`:                                `a\b`,
		"evil\x1b[2J\u202Eexe\u2066 \t x\x00": "evil[2Jexe x",
		`\255\254`:                            "�",
		"  ":                                  "",
		`ends\`:                               `ends\`,
		`\999`:                                "999",
		strings.Repeat("ä", 60):               strings.Repeat("ä", 31),
	} {
		if got := clean(unescape(in)); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add(`B\195\188ro`)
	f.Add("\u202Ex\\25")
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(unescape(s))
		if len(got) > 63 || !utf8.ValidString(got) || clean(got) != got || strings.ContainsAny(got, "\x00\x1b\r\n\u202E") {
			t.Errorf("%q became %q", s, got)
		}
	})
}

func TestFoundIsFriendly(t *testing.T) {
	a4, a6 := netip.MustParseAddr("192.168.7.5"), netip.MustParseAddr("fe80::5")
	for _, c := range []struct {
		service string
		in      entry
		want    Found
	}{
		{"_raop._tcp", entry{instance: `001122334455@Kitchen`, host: "kitchen.local.", port: 7000, addrs: []netip.Addr{a6, a4, a4}},
			Found{Kind: KindPlayer, Service: "_raop._tcp", Name: "Kitchen", Host: "kitchen.local", Port: 7000, Addresses: []netip.Addr{a4, a6}, Seen: start}},
		{"_googlecast._tcp", entry{instance: "Chromecast-0123", host: "x.local.", port: 70000, text: []string{"fn=Living room"}, addrs: []netip.Addr{netip.IPv4Unspecified()}},
			Found{Kind: KindPlayer, Service: "_googlecast._tcp", Name: "Living room", Host: "x.local", Seen: start}},
		{"_hearth._tcp", entry{instance: "attic", host: "attic.local.", port: 80, text: []string{"id=abc", "secret=1"}},
			Found{Kind: KindHearth, Service: "_hearth._tcp", Name: "attic", Host: "attic.local", Port: 80, Text: map[string]string{"id": "abc"}, Seen: start}},
		{"_smb._tcp", entry{instance: "\x01", host: "nas.local.", port: 445},
			Found{Kind: KindFiles, Service: "_smb._tcp", Name: "nas.local", Host: "nas.local", Port: 445, Seen: start}},
	} {
		if d := cmp.Diff(c.want, foundOf(start, c.service, c.in), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.service, d)
		}
	}
}

func TestTableIsBoundedAndForgets(t *testing.T) {
	tab := newTable()
	var many []entry
	for i := range 1000 {
		many = append(many, entry{instance: fmt.Sprint("p", i), host: "p.local."})
	}
	tab.round(start, "_ipp._tcp", "", many)
	if n := len(tab.list()); n != maxFound {
		t.Errorf("the table holds %d, want %d", n, maxFound)
	}
	tab.round(start, "_ipp._tcp", "", many[:2])
	tab.round(start, "_smb._tcp", "", nil)
	if n := len(tab.list()); n != maxFound {
		t.Errorf("missed once: %d left, want %d", n, maxFound)
	}
	tab.round(start, "_ipp._tcp", "", many[:2])
	if n := len(tab.list()); n != 2 {
		t.Errorf("missed twice: %d left, want 2", n)
	}
	goodbye := hint{service: "_ipp._tcp", instance: "P0", gone: true}
	if !tab.hint(start, goodbye, "") || len(tab.list()) != 2 {
		t.Error("a goodbye is not asked about, or is believed at once")
	}
	tab.round(start, "_ipp._tcp", "", many[1:2])
	if n := len(tab.list()); n != 1 {
		t.Errorf("a goodbye and a round without an answer: %d left, want 1", n)
	}
	if tab.hint(start, goodbye, "") {
		t.Error("a goodbye of something unknown is worth a round")
	}
	if !tab.hint(start, hint{service: "_ipp._tcp", instance: "new"}, "") || tab.hint(start, hint{service: "_hearth._tcp", instance: "me"}, "me") {
		t.Error("hint: something new must be asked for, the box itself never")
	}
	tab.round(start, "_hearth._tcp", "me", []entry{{instance: "me"}})
	if n := len(tab.list()); n != 1 {
		t.Error("the box found itself")
	}
}

// One machine tells of more printers than the table holds, and of somebody else's, before the others are heard.
func TestInventedPrintersKeepNobodyOut(t *testing.T) {
	at := netip.MustParseAddr
	evil, invented := at("192.168.1.66"), make([]entry, 0, 1000)
	hintOf := func(service, instance, from string) []hint {
		return []hint{{service: service, instance: instance, from: at(from)}}
	}
	tab := newTable()
	for i := range cap(invented) {
		e := entry{instance: fmt.Sprint("invented ", i), host: "p.local."}
		invented = append(invented, e)
		tab.hear(start, []hint{{service: "_ipp._tcp", instance: e.instance, from: evil}})
	}
	tab.hear(start, hintOf("_ipp._tcp", "Study", evil.String()))
	tab.round(start, "_ipp._tcp", "", invented)
	tab.hear(start, hintOf("_ipp._tcp", "study", "192.168.1.20"))
	tab.hear(start, hintOf("_smb._tcp", "nas", "fe80::30"))
	tab.round(start.Add(time.Minute), "_smb._tcp", "", []entry{{instance: "nas", host: "nas.local."}})
	tab.round(start.Add(time.Minute), "_ipp._tcp", "", append(slices.Clone(invented), entry{instance: "Study", host: "study.local."}))
	has := func(name string) bool {
		return slices.ContainsFunc(tab.list(), func(f Found) bool { return f.Name == name })
	}
	if n := len(tab.list()); n != maxFound || !has("nas") || !has("Study") {
		t.Errorf("of %d rows: nas %v, printer in the study %v", n, has("nas"), has("Study"))
	}
	// And they stay, round after round.
	for i := range 5 {
		later := start.Add(time.Duration(i+2) * time.Minute)
		tab.round(later, "_ipp._tcp", "", append(slices.Clone(invented), entry{instance: "Study", host: "study.local."}))
		tab.round(later, "_smb._tcp", "", []entry{{instance: "nas", host: "nas.local."}})
	}
	if !has("nas") || !has("Study") {
		t.Error("what was found is pushed out again")
	}
}

func TestSpeakersAreBounded(t *testing.T) {
	s := newSpeakers()
	host := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	for i := range 1000 {
		for j := range 100 {
			s.hear(start.Add(time.Duration(i)*time.Second), host(i), fmt.Sprint("k", j))
		}
	}
	if len(s.from) != maxSpeakers || len(s.from[host(999)].said) != maxSaid || s.from[host(0)] != nil {
		t.Errorf("%d speakers, %d instances of the last", len(s.from), len(s.from[host(999)].said))
	}
	if n := len(s.of("k99")); n != maxSpeakers {
		t.Errorf("%d said the latest, want %d", n, maxSpeakers)
	}
}

// A neighbour says goodbye for the printer. It stays, and what really left goes with the next round.
func TestForgedGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here := []entry{{instance: "Study", host: "study.local."}, {instance: "Hall", host: "hall.local."}}
		var left atomic.Bool
		find := func(ctx context.Context, service string) ([]entry, error) {
			<-ctx.Done()
			switch {
			case service != "_ipp._tcp":
				return nil, nil
			case left.Load():
				return here[:1], nil
			}
			return here, nil
		}
		tab := newTable()
		tab.hear(time.Now(), []hint{{service: "_ipp._tcp", instance: "Study", from: netip.MustParseAddr("192.168.1.20")}})
		b := newBrowser(tab, find, func() string { return "" }, slog.New(slog.DiscardHandler))
		hints, fresh := make(chan []hint), make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { b.run(ctx, hints, fresh); close(done) }()
		time.Sleep(time.Minute + 30*time.Second)
		study := func() row {
			tab.mu.Lock()
			defer tab.mu.Unlock()
			if r := tab.rows[tableKey("_ipp._tcp", "Study")]; r != nil {
				return *r
			}
			return row{}
		}
		first := study()
		for range 20 {
			hints <- []hint{{service: "_ipp._tcp", instance: "Study", gone: true}, {service: "_ipp._tcp", instance: "Hall", gone: true}}
			time.Sleep(5 * time.Second)
			if n := len(tab.list()); n != 2 {
				t.Fatalf("a forged goodbye left %d printers of 2", n)
			}
		}
		time.Sleep(findTime + hintedAgain)
		if r := study(); r.since != first.since || r.from != first.from || !r.Seen.After(first.Seen) {
			t.Errorf("after forged goodbyes the row is %+v, before %+v", r, first)
		}
		left.Store(true)
		hints <- []hint{{service: "_ipp._tcp", instance: "Hall", gone: true}}
		time.Sleep(findTime + hintedAgain + time.Second)
		if list := tab.list(); len(list) != 1 || list[0].Name != "Study" {
			t.Errorf("after a true goodbye: %v", list)
		}
		cancel()
		<-done
	})
}

// The address with most rows gives up one only for an address that has two less: two with as many would take each
// other's place for ever.
func TestRoomIsMadeForWhoHasLess(t *testing.T) {
	a, b := netip.MustParseAddr("192.168.1.66"), netip.MustParseAddr("192.168.1.20")
	for _, c := range []struct {
		ofA, ofB int
		want     bool
	}{{3, 0, true}, {3, 1, true}, {3, 2, false}, {3, 3, false}, {2, 3, false}} {
		tab := newTable()
		for i := range c.ofA + c.ofB {
			from := a
			if i >= c.ofA {
				from = b
			}
			tab.rows[tableKey("_ipp._tcp", fmt.Sprint(i))] = &row{from: from, since: start.Add(time.Duration(i) * time.Second)}
		}
		got := tab.makeRoomLocked(b)
		n := tab.countLocked()
		left := c.ofA
		if c.want {
			left--
		}
		if got != c.want || n[a] != left || n[b] != c.ofB {
			t.Errorf("%d against %d: %v, left %d and %d", c.ofA, c.ofB, got, n[a], n[b])
		}
	}
}

// An evening at home: rounds grow rarer, a hint brings one forward, a broken network forgets nothing.
func TestBrowserIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		asked := map[string]int{}
		broken, busy, most := false, 0, 0
		find := func(ctx context.Context, service string) ([]entry, error) {
			mu.Lock()
			asked[service]++
			busy++
			most = max(most, busy)
			fail := broken
			mu.Unlock()
			<-ctx.Done()
			mu.Lock()
			defer mu.Unlock()
			busy--
			if fail {
				return nil, errors.New("no link")
			}
			if service == "_ipp._tcp" {
				return []entry{{instance: "printer", host: "p.local."}}, nil
			}
			return nil, nil
		}
		tab := newTable()
		b := newBrowser(tab, find, func() string { return "" }, slog.New(slog.DiscardHandler))
		hints, fresh := make(chan []hint), make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { b.run(ctx, hints, fresh); close(done) }()
		count := func(service string) int { mu.Lock(); defer mu.Unlock(); return asked[service] }

		time.Sleep(time.Minute)
		synctest.Wait()
		mu.Lock()
		if len(tab.list()) != 1 || most > atOnce {
			t.Errorf("after a minute %d found, %d kinds asked at once", len(tab.list()), most)
		}
		mu.Unlock()
		time.Sleep(8 * time.Hour)
		if n := count("_ipp._tcp"); n > 25 {
			t.Errorf("%d rounds for printers in eight hours", n)
		}
		before := count("_ipp._tcp")
		for range 100 {
			hints <- []hint{{service: "_ipp._tcp", instance: "new one"}}
			time.Sleep(500 * time.Millisecond)
		}
		if n := count("_ipp._tcp") - before; n < 1 || n > 10 {
			t.Errorf("a hundred hints in 50 seconds made %d rounds", n)
		}
		mu.Lock()
		broken = true
		mu.Unlock()
		time.Sleep(4 * time.Hour)
		if len(tab.list()) != 1 {
			t.Error("a network that cannot be asked made the printer vanish")
		}
		cancel()
		<-done
	})
}
