package web

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// lastAnswer is how long a connection whose credential ended may take to finish the answer it is in: whoever signs
// out still sees the page that says so.
const lastAnswer = time.Second

// sockets knows which open connections were used with which credential, so that they end with it. The zero value works.
type sockets struct {
	mu  sync.Mutex
	all map[net.Conn]*socket
}

// socket is one connection from its accepting to its end.
type socket struct {
	conn   net.Conn
	idle   bool // no request is being answered
	ending bool
	used   map[string]bool // identifiers of credentials
}

type socketKey struct{}

// connected is http.Server.ConnContext.
func (s *sockets) connected(ctx context.Context, c net.Conn) context.Context {
	one := &socket{conn: c, idle: true}
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
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.all[c]
	if one == nil {
		return
	}
	switch state {
	case http.StateClosed, http.StateHijacked:
		delete(s.all, c)
	case http.StateActive:
		one.idle = false
	case http.StateIdle:
		one.idle = true
		if one.ending {
			go c.Close()
		}
	}
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

// end closes the connections that were used with one of the credentials: idle ones at once, the others when they have
// answered, at the latest after lastAnswer.
func (s *sockets) end(ids map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.all {
		hit := false
		for id := range one.used {
			hit = hit || ids[id]
		}
		switch {
		case !hit:
		case one.idle:
			one.ending = true
			go one.conn.Close()
		default:
			one.ending = true
			time.AfterFunc(lastAnswer, func() { one.conn.Close() })
		}
	}
}

// End closes every connection that was used with one of these credentials (Caller.Session). It does not wait.
func (s *Server) End(ids ...string) {
	set := map[string]bool{}
	for _, id := range ids {
		set[id] = true
	}
	s.open.end(set)
}
