package identity

import "time"

// allowance is what a peer may still do, where so much is free at once and a little more each second for ever. The zero
// value is that of a peer that did nothing yet.
type allowance struct {
	left float64   // below zero once more was done
	at   time.Time // monotonic
}

// grown is what a is at the time now. burst is the most that it grows to, rate is per second.
func (a allowance) grown(now time.Time, burst, rate float64) allowance {
	if a.at.IsZero() {
		return allowance{burst, now}
	}
	return allowance{min(burst, a.left+now.Sub(a.at).Seconds()*rate), now}
}
