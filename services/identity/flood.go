package identity

import (
	"context"
	"math"
	"sync"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/exchange"
	"hearth.alt/services/identity/internal/record"
)

// A stolen key could fill the log of the whole household, and records are never taken out of it. A record cannot be refused
// either: a record of somebody else may stand on it. So whoever writes more than any household does is read slowly.
//
// What a box wrote is counted for it, for the box that took it in, for the one that took in that one, and so on: the boxes
// that a thief takes in are nothing but keys that it made up. Each may write so many bytes at once, and so many a second
// for ever: half as much as who took it in, so that one box, with all that it took in, does not use up what that one has.
// The fuller the log is, the less: it halves with each floodHalf beyond floodCalm, which no honest household comes to. What
// is counted is forgotten with a start; how full the log is is not.
//
// The numbers: ten thousand records are some three megabytes. A stolen key fills 16 MiB in one or two days, 28 MiB in a
// month, 40 MiB in years; fifteen boxes that are each told something else, in fifteen times less.
const (
	floodBurst = 8 << 20
	floodRate  = 100
	floodDepth = 6 // as much is halved at the most
	floodCalm  = 16 << 20
	floodHalf  = 2 << 20
	// Each frame costs a look at all the rest, and each removal may be weighed against each other one, now and at each
	// start: 2,000 beside one another are a quarter of a second.
	floodFrame   = 1 << 10
	floodRecord  = 512 // at least: a settlement, which is written in one piece, has room for what answers some 25,000 records
	floodRemoval = 4 << 10
	floodVoice   = 32 << 10 // the household is folded as of its past
	// floodQuiet is what a box that belonged at the last start may write although others used up what they have together: it
	// may be the removal of those.
	floodQuiet = 64 << 10
	// logReserve is kept for removals, and for what the words settle.
	logReserve = 8 << 20
)

// flood counts what was written. The zero value is ready; it is safe for concurrent use.
type flood struct {
	mu    sync.Mutex
	spent map[services.PeerID]spent // in bytes
}

// spend counts cost for who, of which rate bytes are forgotten each second, and returns what it comes to.
func (f *flood) spend(who services.PeerID, cost int, rate float64, now time.Time) float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.spent == nil {
		f.spent = map[services.PeerID]spent{}
	}
	a := f.spent[who].later(now, rate)
	a.amount += float64(cost)
	f.spent[who] = a
	return a.amount
}

// allow counts cost for who, unless that came to more than burst. What is not allowed is not counted: whoever asks often
// would never be allowed again.
func (f *flood) allow(who services.PeerID, cost int, burst, rate float64, now time.Time) bool {
	if f.spend(who, 0, rate, now)+float64(cost) > burst {
		return false
	}
	f.spend(who, cost, rate, now)
	return true
}

// floodLimits are how much a box may write at once, and each second, that depth others took in one after another, while the
// log has size bytes.
func floodLimits(depth int, size int64) (burst, rate float64) {
	part := math.Exp2(-float64(min(depth, floodDepth)) - float64(max(0, size-floodCalm))/floodHalf)
	return floodBurst * part, floodRate * part
}

// count counts records that peer brought, those of a root for peer: former words are good for nothing else. The caller holds
// writing.
func (s *Service) count(peer services.PeerID, fresh []*record.Record) {
	now, frame := time.Now(), floodFrame
	for _, r := range fresh {
		author := r.Author
		if author.Kind != record.KindBox {
			author = record.Box(peer)
		}
		cost := max(len(r.Bytes()), floodRecord) + frame
		if isRemoval(r) {
			cost += floodRemoval
		}
		if _, ok := voice(r); ok {
			cost += floodVoice
		}
		frame = 0
		s.each(author, func(a record.Author, _, rate float64) { s.flood.spend(a.Key, cost, rate, now) })
	}
}

// each calls do for the box a, for the one that took it in, and so on, with what each may write.
func (s *Service) each(a record.Author, do func(a record.Author, burst, rate float64)) {
	lineage := s.shared.Set().Lineage(a)
	for i, a := range lineage {
		burst, rate := floodLimits(len(lineage)-1-i, s.log.Size())
		do(a, burst, rate)
	}
}

// pause is how long peer is not to be read on.
func (s *Service) pause(ctx context.Context, peer services.PeerID) (time.Duration, error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.unlock()
	if s.shared == nil {
		return 0, nil
	}
	now, most, quiet := time.Now(), 0.0, false
	s.each(record.Box(peer), func(a record.Author, burst, rate float64) {
		wrote := s.flood.spend(a.Key, 0, rate, now)
		most = max(most, (wrote-burst)/rate)
		if _, old := s.old[peer]; a.Key == peer && old && wrote <= floodQuiet {
			quiet = true
		}
	})
	if quiet {
		return 0, nil
	}
	return time.Duration(min(most, 1e9) * float64(time.Second)), nil
}

// patiently waits until peer, which sends f, may be read on.
func (s *Service) patiently(ctx context.Context, peer services.PeerID, f exchange.Frame) error {
	if f.Records == nil {
		return nil
	}
	pause, err := s.pause(ctx, peer)
	if err != nil || pause <= 0 {
		return err
	}
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
