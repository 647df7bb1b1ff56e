package web

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

// What one box works on at the same time. A request holds up to about 100 KiB while it is answered (a body, what it is
// parsed into, the page), so that all of them stay far below what the process may use. One that has hardly any under
// way may have its few beyond each bound, up to twice as many in all.
const (
	maxRequests  = 256 // from everybody
	maxOfNetwork = 128 // from one network: all phones in the tunnel, all machines at home
	maxOfAddress = 32
	fewOfAddress = 2
	mostFields   = 64 // of a query: parsed, each costs much more than its letters
)

// Address is who is at the other end of a connection; invalid for what is no address.
func Address(remote string) netip.Addr {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

// Network is the network that a is in as far as one can tell from outside: a /24, a /64. Whoever is in it can put on
// other addresses of it.
func Network(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 24
	}
	p, _ := a.Prefix(bits)
	return p
}

// load counts the requests under way: all, by address and by network. The zero value works.
type load struct {
	mu      sync.Mutex
	all     int
	from    map[netip.Addr]int
	network map[netip.Prefix]int
}

// enter lets a request in unless too many are under way. Whoever holds many from few addresses keeps nobody out who has
// hardly any. leave is nil when it is not let in. Loopback, and what has no address, is not bounded.
func (l *load) enter(remote string) (leave func()) {
	a := Address(remote)
	if !a.IsValid() || a.IsLoopback() {
		return func() {}
	}
	n := Network(a)
	l.mu.Lock()
	defer l.mu.Unlock()
	few := l.from[a] < fewOfAddress && l.network[n] < 2*maxOfNetwork && l.all < 2*maxRequests
	if !few && (l.from[a] >= maxOfAddress || l.network[n] >= maxOfNetwork || l.all >= maxRequests) {
		return nil
	}
	if l.from == nil {
		l.from, l.network = map[netip.Addr]int{}, map[netip.Prefix]int{}
	}
	l.all++
	l.from[a]++
	l.network[n]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all--
		if l.from[a]--; l.from[a] == 0 {
			delete(l.from, a)
		}
		if l.network[n]--; l.network[n] == 0 {
			delete(l.network, n)
		}
	}
}

// bound lets in to next what the load allows. What is one too many is answered without reading anything more of it.
func (s *Server) bound(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leave := s.load.enter(r.RemoteAddr)
		if leave == nil {
			w.Header().Set("Retry-After", "1")
			w.Header().Set("Connection", "close")
			http.Error(w, "The box has its hands full. Try once more in a moment.", http.StatusServiceUnavailable)
			return
		}
		defer leave()
		if strings.Count(r.URL.RawQuery, "&") >= mostFields {
			http.Error(w, "The address has too many parts.", http.StatusBadRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
