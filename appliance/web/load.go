package web

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

// What one box works on at the same time. A request holds up to about 100 KiB while it is answered (a body, what it is
// parsed into, the page), so that all of them stay far below what the process may use.
const (
	maxRequests = 256 // from everybody; a source that has hardly any may have its few beyond that
	maxOfSource = 32
	fewOfSource = 2
	mostFields  = 64 // of a query: parsed, each costs much more than its letters
)

// Source is what counts as one address: an IPv4 address, an IPv6 /64. It is zero for what is no address.
func Source(address string) netip.Prefix {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	a = a.Unmap().WithZone("")
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, _ := a.Prefix(bits)
	return p
}

// load counts the requests under way, all and by source. The zero value works.
type load struct {
	mu   sync.Mutex
	all  int
	from map[netip.Prefix]int
}

// enter lets a request in unless its source, or everybody together, has too many under way. Whoever holds many keeps
// nobody out who has hardly any. leave is nil when it is not let in. Loopback, and what has no address, is not bounded.
func (l *load) enter(address string) (leave func()) {
	key := Source(address)
	if !key.IsValid() || key.Addr().IsLoopback() {
		return func() {}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	mine := l.from[key]
	if mine >= maxOfSource || l.all >= maxRequests && mine >= fewOfSource || l.all >= 2*maxRequests {
		return nil
	}
	if l.from == nil {
		l.from = map[netip.Prefix]int{}
	}
	l.all++
	l.from[key]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all--
		if l.from[key]--; l.from[key] == 0 {
			delete(l.from, key)
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
