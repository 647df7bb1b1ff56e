package dns

import (
	"strings"
	"sync"
	"time"
)

// several is how many domains must get silence until the upstreams are to blame for it, and not the domains' own
// servers, which a resolver waits for in silence too.
const several = 3

// outage judges whether nobody upstream answers any more. The zero value is that all is well. It is safe for
// concurrent use.
type outage struct {
	mu      sync.Mutex
	since   time.Time // of the first question without an answer
	domains map[string]bool
	proven  bool
}

// failed notes a question that nobody answered, whatever the answer might have been. silent says that someone was
// asked and said nothing, rather than that nobody could be asked.
func (o *outage) failed(now time.Time, name string, silent bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.domains == nil {
		o.since, o.domains = now, map[string]bool{}
	}
	if len(o.domains) < several {
		o.domains[domain(name)] = true
	}
	o.proven = o.proven || !silent || len(o.domains) == several
}

// answered notes that somebody did, be it that the name's own servers do not.
func (o *outage) answered() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.since, o.domains, o.proven = time.Time{}, nil, false
}

// start is since when nobody answers; zero while somebody does, or may.
func (o *outage) start() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.proven {
		return time.Time{}
	}
	return o.since
}

// domain is the end of a name that has servers of its own, roughly: "example.com." of "www.example.com.".
func domain(name string) string {
	labels := strings.Split(strings.ToLower(strings.TrimSuffix(name, ".")), ".")
	return strings.Join(labels[max(0, len(labels)-2):], ".")
}
