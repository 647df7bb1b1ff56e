package identity

import (
	"context"
	"sync"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/exchange"
	"hearth.alt/services/identity/internal/record"
)

// A box may write so many bytes of records of its own at once, and so many a second for ever: a stolen key could otherwise
// fill the log of the whole household. Ten thousand records are some three megabytes. What others wrote is not counted, but
// for boxes that it took in itself: they may be nothing but keys that it made up.
const (
	floodBurst = 8 << 20
	floodRate  = 100
	// Each frame costs a look at all the rest, and each removal may be weighed against each other one, now and at each
	// start: 2,000 beside one another are a quarter of a second.
	floodFrame   = 1 << 10
	floodRecord  = 512 // at least: a settlement, which is written in one piece, has room for what answers some 25,000 records
	floodRemoval = 4 << 10
)

// flood counts what each box wrote. The zero value is ready; it is safe for concurrent use.
type flood struct {
	mu   sync.Mutex
	left map[services.PeerID]allowance // in bytes
}

// cost is what frame, of peer, is counted as.
func (s *Service) cost(ctx context.Context, peer services.PeerID, frame exchange.Frame) (int, error) {
	if frame.Records == nil {
		return 0, nil
	}
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.unlock()
	cost := 0
	for _, b := range frame.Records {
		r, err := record.Parse(b)
		if err != nil || r.Author.Kind != record.KindBox || r.Author.Key != peer && (s.shared == nil || !s.shared.Set().TookIn(record.Box(peer), r.Author)) {
			continue
		}
		cost += max(len(b), floodRecord)
		if isRemoval(r) {
			cost += floodRemoval
		}
	}
	if cost > 0 {
		cost += floodFrame
	}
	return cost, nil
}

// wait counts what peer wrote and returns once it may be read on.
func (f *flood) wait(ctx context.Context, peer services.PeerID, cost int) error {
	pause := f.spend(peer, cost, time.Now())
	if pause <= 0 {
		return nil
	}
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// spend returns how long peer has to wait for what it wrote.
func (f *flood) spend(peer services.PeerID, cost int, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.left[peer].grown(now, floodBurst, floodRate)
	a.left -= float64(cost)
	if f.left == nil {
		f.left = map[services.PeerID]allowance{}
	}
	f.left[peer] = a
	return time.Duration(max(0, -a.left) / floodRate * float64(time.Second))
}
