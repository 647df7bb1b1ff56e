package web

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// lastAnswer is how long a connection stays after a credential it was used with has ended, and once more as long while
// it is being answered: whoever signs out still sees the page that says so. What is asked on it meanwhile is judged by
// the credentials that stand.
const lastAnswer = time.Second

// sockets knows which open connections were used with which credential, so that they end with it. The zero value works.
type sockets struct {
	mu  sync.Mutex
	all map[net.Conn]*socket
}

// socket is one connection from its accepting to its end.
type socket struct {
	conn   net.Conn
	ending bool
	open   int             // requests that are being answered
	used   map[string]bool // identifiers of credentials
}

type socketKey struct{}

// connected is http.Server.ConnContext.
func (s *sockets) connected(ctx context.Context, c net.Conn) context.Context {
	one := &socket{conn: c}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[net.Conn]*socket{}
	}
	s.all[c] = one
	return context.WithValue(ctx, socketKey{}, one)
}

// changed is http.Server.ConnState.
func (s *sockets) changed(c net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, c)
}

// use notes that the connection of ctx is used with the credential id. It says whether that is new.
func (s *sockets) use(ctx context.Context, id string) bool {
	one, ok := ctx.Value(socketKey{}).(*socket)
	if !ok || id == "" {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if one.used[id] {
		return false
	}
	if one.used == nil {
		one.used = map[string]bool{}
	}
	one.used[id] = true
	one.ending = one.ending || len(one.used) > 64 // one that signs in without end starts anew
	return true
}

// end closes the connections that were used with one of the credentials, after lastAnswer. Answers that begin until
// then say that theirs is the last: closed without a word, a browser that has no answer yet sends its form once more.
func (s *sockets) end(ids map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.all {
		for id := range one.used {
			if ids[id] {
				one.ending = true
				time.AfterFunc(lastAnswer, func() { s.close(one) })
				break
			}
		}
	}
}

func (s *sockets) close(one *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one.open == 0 {
		go one.conn.Close() // it may wait for the other end
		return
	}
	time.AfterFunc(lastAnswer, func() { one.conn.Close() })
}

// answer is w while r is being answered, until done is called. It says "Connection: close" when r's connection is
// ending by the time the head is written; with HTTP/2 net/http sends GOAWAY for that (RFC 9113, section 6.8).
func (s *sockets) answer(w http.ResponseWriter, r *http.Request) (_ http.ResponseWriter, done func()) {
	one, ok := r.Context().Value(socketKey{}).(*socket)
	if !ok {
		return w, func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	one.open++
	ending := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return one.ending
	}
	return &answer{ResponseWriter: w, ending: ending}, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		one.open--
	}
}

type answer struct {
	http.ResponseWriter
	ending func() bool
	begun  bool
}

func (a *answer) WriteHeader(code int) {
	if !a.begun && a.ending() {
		a.Header().Set("Connection", "close")
	}
	a.begun = a.begun || code >= 200
	a.ResponseWriter.WriteHeader(code)
}

func (a *answer) Write(b []byte) (int, error) {
	if !a.begun {
		a.WriteHeader(http.StatusOK)
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the real writer.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// End closes every connection that was used with one of these credentials (Caller.Session). It does not wait.
func (s *Server) End(ids ...string) {
	set := map[string]bool{}
	for _, id := range ids {
		set[id] = true
	}
	s.open.end(set)
}
