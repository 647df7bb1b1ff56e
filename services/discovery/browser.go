package discovery

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/grandcat/zeroconf"
)

// kinds says what is looked for. The names are those of the IANA service registry and of the makers.
var kinds = []struct {
	service string
	kind    Kind
}{
	{"_hearth._tcp", KindHearth},
	{"_ipp._tcp", KindPrinter}, {"_ipps._tcp", KindPrinter}, {"_printer._tcp", KindPrinter}, {"_pdl-datastream._tcp", KindPrinter},
	{"_airplay._tcp", KindPlayer}, {"_raop._tcp", KindPlayer}, {"_googlecast._tcp", KindPlayer},
	{"_spotify-connect._tcp", KindPlayer}, {"_dlna._tcp", KindPlayer},
	{"_smb._tcp", KindFiles}, {"_afpovertcp._tcp", KindFiles}, {"_webdav._tcp", KindFiles},
}

func kindOf(service string) Kind {
	for _, k := range kinds {
		if k.service == service {
			return k.kind
		}
	}
	return ""
}

// Times and bounds of browsing. The intervals at least double, as RFC 6762, section 5.2, wants.
const (
	maxFound    = 256  // in the table
	maxHeard    = 2048 // in one round: who said it, and so what has a place, is known only to the table
	findTime    = 3 * time.Second
	findFirst   = time.Minute
	findLast    = 30 * time.Minute
	hintedAgain = 10 * time.Second
	atOnce      = 3 // kinds asked for at the same time, with two sockets each
	missedMax   = 2 // rounds without an answer until something counts as gone
)

// entry is one answer to a round, as it came from the network.
type entry struct {
	instance string // presentation form, escapes included
	host     string
	port     int
	addrs    []netip.Addr
	text     []string
}

// finder asks for one kind of service until ctx ends and returns what answered, at most maxHeard. An error says that
// asking was not possible; then the answer says nothing about what is gone.
type finder func(ctx context.Context, service string) ([]entry, error)

func findZeroconf(allow func(net.Interface) bool) finder {
	return func(ctx context.Context, service string) ([]entry, error) {
		all, err := net.Interfaces()
		if err != nil {
			return nil, err
		}
		const want = net.FlagUp | net.FlagMulticast | net.FlagRunning
		ifaces := slices.DeleteFunc(all, func(i net.Interface) bool {
			return i.Flags&want != want || i.Flags&net.FlagLoopback != 0 || !allow(i)
		})
		if len(ifaces) == 0 {
			return nil, net.ErrClosed
		}
		// Each family by itself: zeroconf reports an instance once, with the addresses of the first packet, and an
		// answer over IPv6 often has no IPv4 address. A machine may also lack one of them.
		var wg sync.WaitGroup
		var lists [2][]entry
		var errs [2]error
		for i, ip := range []zeroconf.IPType{zeroconf.IPv4, zeroconf.IPv6} {
			wg.Go(func() {
				lists[i], errs[i] = browseOnce(ctx, service, zeroconf.SelectIfaces(ifaces), zeroconf.SelectIPTraffic(ip))
			})
		}
		wg.Wait()
		if errs[0] != nil && errs[1] != nil {
			return nil, errors.Join(errs[0], errs[1])
		}
		out := lists[0]
		at := make(map[string]int, len(out))
		for i, e := range out {
			at[strings.ToLower(e.instance)] = i
		}
		for _, e := range lists[1] {
			if i, ok := at[strings.ToLower(e.instance)]; ok {
				out[i].addrs = append(out[i].addrs, e.addrs...)
			} else if len(out) < maxHeard {
				out = append(out, e)
			}
		}
		return out, nil
	}
}

func browseOnce(ctx context.Context, service string, options ...zeroconf.ClientOption) ([]entry, error) {
	z, err := zeroconf.NewResolver(options...)
	if err != nil {
		return nil, err
	}
	answers := make(chan *zeroconf.ServiceEntry, 16)
	if err := z.Browse(ctx, service, "local.", answers); err != nil {
		return nil, err
	}
	var out []entry
	for e := range answers { // closed when ctx ends
		if len(out) >= maxHeard {
			continue
		}
		n := entry{instance: e.Instance, host: e.HostName, port: e.Port, text: e.Text}
		for _, ip := range slices.Concat(e.AddrIPv4, e.AddrIPv6) {
			if a, ok := netip.AddrFromSlice(ip); ok {
				n.addrs = append(n.addrs, a.Unmap())
			}
		}
		out = append(out, n)
	}
	return out, nil
}

// table is what has been found. It is safe for concurrent use.
//
// When it is full, the address that told of the most gives up what was found last for one that told of less: nobody
// keeps others out by inventing printers. What the responder has not heard anyone say, as in a flood, counts together
// as one address's.
type table struct {
	mu    sync.Mutex
	rows  map[string]*row
	heard speakers
}

type row struct {
	Found
	missed int
	from   netip.Addr // who told of it; zero is not known
	since  time.Time  // first found
}

func newTable() *table { return &table{rows: map[string]*row{}, heard: newSpeakers()} }

// hear notes who gave the hints.
func (t *table) hear(now time.Time, list []hint) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range list {
		if !h.gone {
			t.heard.hear(now, h.from, tableKey(h.service, h.instance))
		}
	}
}

func tableKey(service, instance string) string { return service + "\x00" + strings.ToLower(instance) }

// list returns a copy, by kind, name and service.
func (t *table) list() []Found {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Found, 0, len(t.rows))
	for _, r := range t.rows {
		out = append(out, r.Found)
	}
	slices.SortFunc(out, func(a, b Found) int {
		for _, c := range []int{strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Name, b.Name),
			strings.Compare(a.Service, b.Service), strings.Compare(a.Host, b.Host)} {
			if c != 0 {
				return c
			}
		}
		return 0
	})
	return out
}

// round takes in what one round for a service found, and forgets what has now been missed too often.
func (t *table) round(now time.Time, service, self string, answers []entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	prefix := service + "\x00"
	here := make(map[string]bool, len(answers))
	for _, e := range answers {
		here[tableKey(service, e.instance)] = true
	}
	for k, r := range t.rows {
		if strings.HasPrefix(k, prefix) && !here[k] {
			if r.missed++; r.missed >= missedMax {
				delete(t.rows, k)
			}
		}
	}
	for _, e := range answers {
		if service == "_hearth._tcp" && strings.EqualFold(e.instance, self) {
			continue
		}
		key := tableKey(service, e.instance)
		n := &row{since: now}
		if old := t.rows[key]; old != nil {
			n.from, n.since = old.from, old.since
		}
		if !n.from.IsValid() {
			n.from = t.whoseLocked(key)
		}
		if t.rows[key] == nil && len(t.rows) >= maxFound && !t.makeRoomLocked(n.from) {
			continue
		}
		n.Found = foundOf(now, service, e)
		t.rows[key] = n
	}
}

// countLocked is how many rows each address has.
func (t *table) countLocked() map[netip.Addr]int {
	n := map[netip.Addr]int{}
	for _, r := range t.rows {
		n[r.from]++
	}
	return n
}

// whoseLocked is who told of key; of several who has fewest rows, so that repeating what others say harms nobody.
func (t *table) whoseLocked(key string) netip.Addr {
	list := t.heard.of(key)
	if len(list) == 0 {
		return netip.Addr{}
	}
	n := t.countLocked()
	return slices.MinFunc(list, func(a, b netip.Addr) int { return cmp.Or(n[a]-n[b], a.Compare(b)) })
}

// makeRoomLocked takes a row from the address that has most, and says whether from has so much less that it may.
func (t *table) makeRoomLocked(from netip.Addr) bool {
	n := t.countLocked()
	most := from
	for a := range n {
		if n[a] > n[most] {
			most = a
		}
	}
	if n[most] <= n[from]+1 {
		return false
	}
	var last string
	for k, r := range t.rows {
		if r.from == most && (last == "" || cmp.Or(r.since.Compare(t.rows[last].since), strings.Compare(k, last)) > 0) {
			last = k
		}
	}
	delete(t.rows, last)
	return true
}

// hint takes in what the responder heard. It says whether its kind is worth a round: the instance is new, or somebody
// says that it left. Anyone can say that, for another too, so it goes when it does not answer the round
// (RFC 6762, sections 10.1 and 10.4).
func (t *table) hint(now time.Time, h hint, self string) (ask bool) {
	if h.service == "_hearth._tcp" && strings.EqualFold(h.instance, self) {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	key := tableKey(h.service, h.instance)
	r := t.rows[key]
	switch {
	case r == nil:
		return !h.gone
	case h.gone:
		r.missed = missedMax - 1
		return true
	}
	r.Seen, r.missed = now, 0
	return false
}

func foundOf(now time.Time, service string, e entry) Found {
	f := Found{
		Kind: kindOf(service), Service: service, Name: clean(unescape(e.instance)),
		Host: strings.TrimSuffix(clean(unescape(e.host)), "."), Seen: now,
	}
	if e.port > 0 && e.port <= 65535 {
		f.Port = uint16(e.port)
	}
	if service == "_raop._tcp" { // "<hardware address>@<name>"
		if _, name, ok := strings.Cut(f.Name, "@"); ok && name != "" {
			f.Name = name
		}
	}
	for _, t := range e.text {
		k, v, _ := strings.Cut(unescape(t), "=")
		switch {
		case service == "_googlecast._tcp" && k == "fn" && clean(v) != "":
			f.Name = clean(v)
		case service == "_hearth._tcp" && (k == "claim" || k == "id" || k == "mesh"):
			if f.Text == nil {
				f.Text = map[string]string{}
			}
			f.Text[k] = clean(v)
		}
	}
	if f.Name == "" {
		f.Name = f.Host
	}
	for _, a := range e.addrs {
		if a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && !slices.Contains(f.Addresses, a) && len(f.Addresses) < 8 {
			f.Addresses = append(f.Addresses, a)
		}
	}
	slices.SortStableFunc(f.Addresses, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	return f
}

// unescape undoes the presentation form of a label (RFC 1035, section 5.1): "\." and "\195".
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i+2 < len(s) && isDigit(s[i]) && isDigit(s[i+1]) && isDigit(s[i+2]) {
			if n := int(s[i]-'0')*100 + int(s[i+1]-'0')*10 + int(s[i+2]-'0'); n < 256 {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// clean makes a stranger's bytes fit to be shown: valid UTF-8, nothing that moves the cursor, hides or turns the
// direction, single spaces, at most 63 bytes (the length of a label).
func clean(s string) string {
	var b strings.Builder
	space := false
	for _, c := range strings.ToValidUTF8(s, "\uFFFD") {
		if unicode.IsSpace(c) {
			space = b.Len() > 0
			continue
		}
		if !unicode.IsGraphic(c) || unicode.In(c, unicode.Cf, unicode.Co) {
			continue
		}
		n := utf8.RuneLen(c)
		if space {
			n++
		}
		if b.Len()+n > 63 {
			break
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(c)
	}
	return b.String()
}

// browser keeps a table up to date.
type browser struct {
	found *table
	find  finder
	self  func() string
	log   *slog.Logger
	turns []turn
}

// turn is when a kind is asked for next.
type turn struct {
	service string
	due     time.Time
	gap     time.Duration
	asked   time.Time
}

func newBrowser(t *table, find finder, self func() string, log *slog.Logger) *browser {
	b := &browser{found: t, find: find, self: self, log: log}
	for _, k := range kinds {
		b.turns = append(b.turns, turn{service: k.service})
	}
	return b
}

// restart asks for everything again, as after a change of network.
func (b *browser) restart(now time.Time) {
	for i := range b.turns {
		b.turns[i].due, b.turns[i].gap = now, 0
	}
}

// run browses until ctx ends.
func (b *browser) run(ctx context.Context, hints <-chan []hint, fresh <-chan struct{}) {
	b.restart(time.Now().Add(2 * time.Second)) // after our own probes
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := b.turns[0].due
		for _, t := range b.turns {
			if t.due.Before(next) {
				next = t.due
			}
		}
		timer.Reset(max(0, time.Until(next)))
		select {
		case <-ctx.Done():
			return
		case <-fresh:
			b.restart(time.Now().Add(2 * time.Second))
		case list := <-hints:
			b.heard(time.Now(), list)
		case <-timer.C:
			b.ask(ctx)
		}
	}
}

// heard takes hints in: a kind with news is asked for soon, but not over and over.
func (b *browser) heard(now time.Time, list []hint) {
	for _, h := range list {
		if !b.found.hint(now, h, b.self()) {
			continue
		}
		for i := range b.turns {
			if t := &b.turns[i]; t.service == h.service {
				soon := now
				if again := t.asked.Add(hintedAgain); again.After(soon) {
					soon = again
				}
				if soon.Before(t.due) {
					t.due = soon
				}
			}
		}
	}
}

// ask runs one round for the kinds that are due.
func (b *browser) ask(ctx context.Context) {
	now := time.Now()
	var wg sync.WaitGroup
	busy := 0
	for i := range b.turns {
		t := &b.turns[i]
		if t.due.After(now) || busy == atOnce {
			continue
		}
		busy++
		t.asked = now
		t.gap = min(findLast, max(findFirst, 2*t.gap))
		t.due = now.Add(t.gap)
		wg.Go(func() {
			rctx, cancel := context.WithTimeout(ctx, findTime)
			defer cancel()
			answers, err := b.find(rctx, t.service)
			if err != nil {
				b.log.Debug("cannot browse", "kind", t.service, "error", err)
				return
			}
			if ctx.Err() == nil {
				b.found.round(time.Now(), t.service, b.self(), answers)
			}
		})
	}
	wg.Wait()
}
