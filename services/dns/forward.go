package dns

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"hearth.alt/services/crowd"
)

// Bounds of forwarding.
const (
	resolveTime = 5 * time.Second
	stalePause  = 1800 * time.Millisecond // how long a stale answer waits for a fresh one (RFC 8767, section 5)
	maxTried    = 6                       // upstreams asked for one question
)

// How the household shares different questions upstream, and the questions that wait for one of them. A page of the web
// asks for about a dozen names at once.
var (
	callers  = crowd.Bounds{All: 512, Network: 256, Address: 128, Few: 16}
	patients = crowd.Bounds{All: 1024, Network: 512, Address: 256, Few: 32}
)

var (
	errNoUpstream = errors.New("no upstream answers")
	errTooMany    = errors.New("too many questions at once")
)

// call is one question upstream that others may wait for.
type call struct {
	done chan struct{}
	a    *answer // after done; a failure has one too
}

// forwarder asks upstream. It is safe for concurrent use.
type forwarder struct {
	cfg      *Config
	cache    *cache
	homeward *homeward
	own      []*endpoint // as configured

	mu      sync.Mutex
	calls   map[string]*call
	opened  *crowd.Count                 // calls, by who asked first
	patient *crowd.Count                 // by who waits
	system  map[netip.AddrPort]*endpoint // DHCP's resolvers
	local   map[netip.Addr]bool          // where we listen: never a resolver
	known   bool                         // the time, when last looked at
	tokens  map[string]*endpoint         // names that would prove a loop

	heard    atomic.Bool // somebody has answered since the sockets were opened
	worked   atomic.Bool // an encrypted upstream has answered since Run
	inClear  atomic.Bool // a resolver of DHCP's has answered since Run
	outage   outage
	latency  atomic.Int64 // nanoseconds, moving mean
	counters *counters
	wg       sync.WaitGroup
}

func newForwarder(cfg *Config, c *cache, home *homeward, n *counters) *forwarder {
	f := &forwarder{
		cfg: cfg, cache: c, homeward: home, counters: n, calls: map[string]*call{},
		opened: crowd.NewCount(callers), patient: crowd.NewCount(patients),
		system: map[netip.AddrPort]*endpoint{}, local: map[netip.Addr]bool{}, tokens: map[string]*endpoint{},
	}
	// Addresses take turns: the first of each upstream, then the second of each.
	for i, more := 0, true; more; i++ {
		more = false
		for g, u := range cfg.Upstreams {
			if i < len(u.Addresses) {
				f.own = append(f.own, newEndpoint(u, g, u.Addresses[i], cfg.Roots, cfg.Now))
				more = true
			}
		}
	}
	return f
}

// reset forgets what was known of the network, at the start of each Run.
func (f *forwarder) reset() {
	f.worked.Store(false)
	f.inClear.Store(false)
	f.outage.answered()
	for _, e := range f.own {
		e.wake()
	}
}

// wait closes every connection once all questions have ended.
func (f *forwarder) wait() {
	f.wg.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.own {
		e.close()
	}
	for k, e := range f.system {
		e.close()
		delete(f.system, k)
	}
	clear(f.tokens)
}

func (f *forwarder) listensAt(list []netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.local)
	for _, a := range list {
		f.local[a] = true
	}
}

// encrypted says whether any upstream of the owner is.
func (f *forwarder) encrypted() bool {
	return slices.ContainsFunc(f.own, func(e *endpoint) bool { return !e.clear })
}

// candidates lists whom to ask, best first.
func (f *forwarder) candidates(now time.Time) []*endpoint {
	f.mu.Lock()
	if known := f.cfg.TimeKnown(); known != f.known {
		f.known = known
		for _, e := range f.own { // certificates that were not valid yet may be now
			e.wake()
		}
	}
	f.mu.Unlock()
	var up, down []*endpoint
	for _, e := range f.own {
		if e.resting(now) {
			down = append(down, e)
		} else {
			up = append(up, e)
		}
	}
	var plain, tired []*endpoint
	for _, e := range f.dhcp() {
		if e.resting(now) {
			tired = append(tired, e)
		} else {
			plain = append(plain, e)
		}
	}
	// One of the owner's first, then DHCP's: a network that swallows port 853 in silence must not take every phone's
	// patience. There DHCP's are all there is, so they are asked even when they rest, before maxTried ends the list.
	n := min(1, len(up))
	out := slices.Concat(up[:n], plain, tired, up[n:], down)
	return out[:min(len(out), maxTried)]
}

// dhcp returns the resolvers that DHCP named, as far as they may be asked.
func (f *forwarder) dhcp() []*endpoint {
	if f.encrypted() && f.worked.Load() || !f.cfg.AllowPlain() {
		return nil
	}
	list := f.cfg.SystemResolvers()
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*endpoint
	keep := map[netip.AddrPort]bool{}
	for _, a := range list {
		if a.Port() == 0 {
			a = netip.AddrPortFrom(a.Addr(), 53)
		}
		if !a.Addr().IsValid() || f.local[a.Addr().Unmap().WithZone("")] && a.Port() == 53 || len(out) == 3 || keep[a] {
			continue
		}
		keep[a] = true
		e := f.system[a]
		if e == nil {
			e = newEndpoint(Upstream{Protocol: Plain}, -1, a, nil, nil)
			f.system[a] = e
		}
		out = append(out, e)
	}
	for a := range f.system {
		if !keep[a] {
			delete(f.system, a)
		}
	}
	return out
}

// looped is called for questions below the name that proves a loop; it says whether one of ours came back.
func (f *forwarder) looped(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.tokens[name]
	if e == nil {
		return false
	}
	e.mu.Lock()
	e.loop = 2
	e.mu.Unlock()
	return true
}

// loopZone is below test (RFC 6761), which no resolver knows and many forward.
const loopZone = ".hearth-loop.test."

// loops asks e, a resolver DHCP named, for a name only we know. When the question comes back to us, e asks whoever it
// got from DHCP or its owner, and that is this box.
func (f *forwarder) loops(ctx context.Context, e *endpoint) bool {
	e.mu.Lock()
	state := e.loop
	e.mu.Unlock()
	if state == 0 {
		var b [8]byte
		for i := range 4 {
			id := randomID()
			b[2*i], b[2*i+1] = byte(id>>8), byte(id)
		}
		token := hex.EncodeToString(b[:]) + loopZone
		f.mu.Lock()
		f.tokens[token] = e
		f.mu.Unlock()
		m := new(dns.Msg)
		m.SetQuestion(token, dns.TypeTXT)
		if w, err := m.Pack(); err == nil {
			_, err = e.ask(ctx, w)
			e.mu.Lock()
			if e.loop == 0 && err == nil {
				e.loop = 1
			}
			e.mu.Unlock()
		}
		f.mu.Lock()
		delete(f.tokens, token)
		f.mu.Unlock()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.loop == 2
}

// attempt is how one upstream answered.
type attempt struct {
	e   *endpoint
	m   *dns.Msg
	err error
}

// exchange asks upstream until someone answers: the best first, the next as soon as the one before is slow or fails.
// An error that isTimeout says that someone was asked and did not answer in time.
func (f *forwarder) exchange(ctx context.Context, q dns.Question, do, cd bool) (*dns.Msg, error) {
	list := f.candidates(time.Now())
	if len(list) == 0 {
		return nil, errNoUpstream
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	results := make(chan attempt, len(list))
	next := 0
	launch := func() time.Duration {
		e := list[next]
		next++
		f.wg.Go(func() {
			actx, cancel := context.WithTimeout(ctx, attemptTime)
			defer cancel()
			m, err := f.try(actx, e, q, do, cd)
			results <- attempt{e, m, err}
		})
		return e.patience()
	}
	hedge := time.NewTimer(launch())
	defer hedge.Stop()
	var soft *dns.Msg // an upstream that says it cannot
	softs := 0
	var last error
	for open := 1; ; {
		select {
		case <-hedge.C:
			if next < len(list) {
				hedge.Reset(launch())
				open++
			}
			continue
		case r := <-results:
			open--
			switch {
			case r.err != nil:
				if !isTimeout(last) { // silence may be the name's fault
					last = r.err
				}
			case r.m.Rcode == dns.RcodeSuccess || r.m.Rcode == dns.RcodeNameError:
				return r.m, nil
			default:
				soft = r.m
				softs++
			}
		case <-ctx.Done():
			last = ctx.Err()
			open, next = 0, len(list)
		}
		// Two that cannot will be right: a signature that does not hold, a domain that is broken.
		if softs < 2 && next < len(list) {
			hedge.Reset(launch())
			open++
		}
		if open == 0 || softs >= 2 {
			if soft != nil {
				return soft, nil
			}
			return nil, last
		}
	}
}

// How long probe waits for the household's own questions before it asks again.
const (
	probeFirst = 15 * time.Second
	probeLast  = 5 * time.Minute
)

// probe asks for the root's name servers until somebody has answered anything.
func (f *forwarder) probe(ctx context.Context) {
	for pause := probeFirst; !f.heard.Load(); pause = min(2*pause, probeLast) {
		_, err := f.exchange(ctx, dns.Question{Name: ".", Qtype: dns.TypeNS, Qclass: dns.ClassINET}, false, false)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			f.outage.failed(time.Now(), ".", false) // whoever answers at all knows these
		default:
			f.outage.answered()
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// try asks one upstream.
func (f *forwarder) try(ctx context.Context, e *endpoint, q dns.Question, do, cd bool) (*dns.Msg, error) {
	start := time.Now()
	if e.group < 0 && f.loops(ctx, e) {
		e.result(start, 0, false)
		return nil, errors.New("the resolver DHCP names asks this box in turn")
	}
	m := new(dns.Msg)
	m.Question = []dns.Question{q}
	m.RecursionDesired, m.CheckingDisabled, m.AuthenticatedData = true, cd, true
	opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
	opt.SetUDPSize(maxUDP)
	if do {
		opt.SetDo()
	}
	m.Extra = []dns.RR{opt}
	if !e.clear {
		pad := &dns.EDNS0_PADDING{}
		opt.Option = append(opt.Option, pad)
		pad.Padding = make([]byte, (padTo-m.Len()%padTo)%padTo)
	}
	w, err := m.Pack()
	if err != nil {
		return nil, err
	}
	f.counters.forwarded.Add(1)
	if e.clear {
		f.counters.plain.Add(1)
	}
	b, err := e.ask(ctx, w)
	var r dns.Msg
	if err == nil {
		if err = r.Unpack(b); err == nil && (!r.Response || r.Truncated || !sameQuestion(w, b)) {
			err = errors.New("the answer does not fit the question")
		}
	}
	if e.clear {
		r.AuthenticatedData = false // anyone on the way could have set it (RFC 4035, section 4.9.3)
	}
	now := time.Now()
	if err != nil {
		switch late := ctx.Err() != nil || isTimeout(err); {
		case errors.Is(ctx.Err(), context.Canceled) && now.Sub(start) < e.patience():
			return nil, err // someone else was faster: that is no failure, unless this one was too slow
		case late && e.spoke(start):
			// The name is dead, not the upstream: it has answered other questions meanwhile.
		default:
			e.result(now, 0, false)
		}
		f.cfg.Log.Debug("upstream does not answer", "upstream", e.name, "address", e.addr.String(), "error", err)
		return nil, err
	}
	took := now.Sub(start)
	e.result(now, took, true)
	f.heard.Store(true)
	if old := f.latency.Load(); old == 0 {
		f.latency.Store(int64(took))
	} else {
		f.latency.Store(old + (int64(took)-old)/16)
	}
	switch {
	case e.group < 0:
		f.inClear.Store(true)
	case !e.clear && f.worked.CompareAndSwap(false, true):
		f.cfg.Log.Info("names are asked encrypted", "upstream", e.name, "address", e.addr.String())
	}
	return &r, nil
}

// isTimeout says whether err is silence rather than a refusal.
func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// question is what is asked upstream, and for whom.
type question struct {
	ask    dns.Question
	do, cd bool
	from   netip.Addr // who asks; the zero address is the box itself
}

// resolve answers a question from upstream, once for everyone who asks it meanwhile. The returned answer is never
// nil. old is a stale answer to fall back on, or nil; whether it was used is returned.
func (f *forwarder) resolve(ctx context.Context, key []byte, q question, old *answer) (a *answer, usedOld bool, err error) {
	now := f.cache.now()
	if old != nil && now < old.retry.Load() {
		return old, true, nil
	}
	var c *call
	if f.patient.Enter(q.from) {
		defer f.patient.Leave(q.from)
		c = f.start(ctx, key, q, old)
	}
	if c == nil {
		f.counters.dropped.Add(1)
		if old != nil {
			return old, true, nil
		}
		return nil, false, errTooMany
	}
	var pause <-chan time.Time
	if old != nil {
		t := time.NewTimer(stalePause)
		defer t.Stop()
		pause = t.C
	}
	select {
	case <-c.done:
		if c.a.failure && old != nil {
			return old, true, nil
		}
		return c.a, false, nil
	case <-pause:
		return old, true, nil
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
}

// start begins the question upstream, or joins the one under way. nil says that there is no place for the asker's.
func (f *forwarder) start(ctx context.Context, key []byte, q question, old *answer) *call {
	k := string(key)
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.calls[k]; c != nil {
		return c
	}
	if !f.opened.Enter(q.from) {
		return nil
	}
	c := &call{done: make(chan struct{})}
	f.calls[k] = c
	// Not ctx: whoever asked first may leave before the others; resolveTime bounds it.
	ctx = context.WithoutCancel(ctx)
	f.wg.Go(func() {
		judged := f.homeward.list.Load()
		m, err := f.exchange(ctx, q.ask, q.do, q.cd)
		if err != nil {
			c.a = failure(q.ask, networkEDE)
			f.outage.failed(time.Now(), q.ask.Name, isTimeout(err))
		} else {
			f.outage.answered()
			if c.a, err = f.prepare(m, q.ask); err != nil {
				c.a = failure(q.ask, 0)
			}
		}
		now := f.cache.now()
		if c.a.failure && old != nil {
			old.retry.Store(now + staleRetry)
		}
		f.cache.put([]byte(k), c.a, now)
		if f.homeward.list.Load() != judged {
			f.cache.clear() // it may have been judged by the old list, and put after that was forgotten
		}
		f.mu.Lock()
		delete(f.calls, k)
		f.mu.Unlock()
		f.opened.Leave(q.from)
		close(c.done)
	})
	return c
}
