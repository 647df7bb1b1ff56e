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
// fill the log of the whole household. Ten thousand records are some three megabytes; what others wrote is not counted.
const (
	floodBurst = 8 << 20
	floodRate  = 100
)

// flood counts what each box wrote. The zero value is ready; it is safe for concurrent use.
type flood struct {
	mu   sync.Mutex
	left map[services.PeerID]allowance
}

type allowance struct {
	bytes float64
	at    time.Time // monotonic
}

// wait counts the records of f that peer itself wrote and returns once it may be read on.
func (f *flood) wait(ctx context.Context, peer services.PeerID, frame exchange.Frame) error {
	pause := f.spend(peer, frame, time.Now())
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

func (f *flood) spend(peer services.PeerID, frame exchange.Frame, now time.Time) time.Duration {
	wrote := 0
	for _, b := range frame.Records {
		if r, err := record.Parse(b); err == nil && r.Author == record.Box(peer) {
			wrote += len(b)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	a, ok := f.left[peer]
	if !ok {
		a = allowance{floodBurst, now}
	}
	a.bytes = min(floodBurst, a.bytes+now.Sub(a.at).Seconds()*floodRate) - float64(wrote)
	a.at = now
	if f.left == nil {
		f.left = map[services.PeerID]allowance{}
	}
	f.left[peer] = a
	return time.Duration(max(0, -a.bytes) / floodRate * float64(time.Second))
}
