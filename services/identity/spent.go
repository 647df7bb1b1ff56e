package identity

import "time"

// spent is what a peer used up, where so much is free at once and a little more each second for ever. The zero value is
// that of a peer that used nothing yet.
type spent struct {
	amount float64
	at     time.Time // monotonic
}

// later is what s is at the time now, of which rate is forgotten each second.
func (s spent) later(now time.Time, rate float64) spent {
	if s.at.IsZero() {
		return spent{at: now}
	}
	return spent{max(0, s.amount-now.Sub(s.at).Seconds()*rate), now}
}
