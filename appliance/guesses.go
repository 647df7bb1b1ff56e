package appliance

import (
	"net/netip"
	"sync"
	"time"

	"hearth.alt/services/crowd"
)

// guesses slows down whoever types wrong claim codes: five are free for each address, then each wrong one doubles the
// wait from a second up to fifteen minutes. Nobody is shut out for good, and one address cannot make another wait.
// The code has 80 random bits, so this is about noise and not about strength. The zero value works.
type guesses struct {
	mu   sync.Mutex
	from map[netip.Prefix]*tries
}

type tries struct {
	wrong int
	until time.Time
}

const (
	freeTries   = 5
	longestWait = 15 * time.Minute
	mostSources = 4096
)

func machine(address string) netip.Prefix { return crowd.Machine(crowd.Address(address)) }

// Wait is how long address must wait before its next try.
func (g *guesses) Wait(address string) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.from[machine(address)]
	if t == nil {
		return 0
	}
	return max(0, time.Until(t.until))
}

// Wrong counts a wrong try.
func (g *guesses) Wrong(address string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := machine(address)
	t := g.from[key]
	if t == nil {
		if g.from == nil || len(g.from) >= mostSources {
			g.from = map[netip.Prefix]*tries{}
		}
		t = &tries{}
		g.from[key] = t
	}
	t.wrong++
	if over := t.wrong - freeTries; over >= 0 {
		t.until = time.Now().Add(min(longestWait, time.Second<<min(over, 10)))
	}
}
