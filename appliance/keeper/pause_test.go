package keeper

import (
	"testing"
	"time"
)

func TestRestartPause(t *testing.T) {
	for failures, want := range map[int]time.Duration{
		0: 0, 1: 250 * time.Millisecond, 2: 500 * time.Millisecond, 5: 4 * time.Second, 6: 8 * time.Second, 7: 8 * time.Second, 1000: 8 * time.Second,
	} {
		if got := restartPause(failures, 0); got != want {
			t.Errorf("after %d: %v, want %v", failures, got, want)
		}
		if got := restartPause(failures, 0.999); got < want*3/4 || got > want {
			t.Errorf("after %d, shortened: %v of %v", failures, got, want)
		}
	}
}
