package web

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// lastAnswer is how long a connection stays after a credential it was used with has ended, and twice that while it is
// being answered: whoever signs out still sees the page that says so. What is asked on it meanwhile is judged by
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
	ending atomic.Bool
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
	if len(one.used) > 64 { // one that signs in without end starts anew
		one.ending.Store(true)
	}
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
				one.ending.Store(true)
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
	s.count(one, 1)
	return &lastWord{ResponseWriter: w, one: one}, func() { s.count(one, -1) }
}

func (s *sockets) count(one *socket, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one.open += n
}

// lastWord is a response that says so when it is the last on its connection.
type lastWord struct {
	http.ResponseWriter
	one   *socket
	begun bool
}

func (w *lastWord) WriteHeader(code int) {
	if !w.begun && w.one.ending.Load() {
		w.Header().Set("Connection", "close")
	}
	w.begun = w.begun || code >= 200
	w.ResponseWriter.WriteHeader(code)
}

func (w *lastWord) Write(b []byte) (int, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the real writer.
func (w *lastWord) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// End closes every connection that was used with one of these credentials (Caller.Session). It does not wait.
func (s *Server) End(ids ...string) {
	set := map[string]bool{}
	for _, id := range ids {
		set[id] = true
	}
	s.open.end(set)
}
