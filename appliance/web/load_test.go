package web

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// One machine at home once filled the memory of the box through HTTP/2: 64 connections of 32 forms each, of which none
// ended. Only its share is worked on; the rest is sent away at once, and others are served.
func TestFormsWithoutEnd(t *testing.T) {
	var s Server
	reading := make(chan struct{}, 4*maxOfAddress)
	h := s.bound(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reading <- struct{}{}
		io.ReadAll(r.Body)
	}))
	ask := func(from string, body io.Reader) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "/signin", body)
		r.RemoteAddr = from
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	endless, end := io.Pipe()
	var wg sync.WaitGroup
	for range maxOfAddress {
		wg.Go(func() { ask("192.0.2.1:5", endless) })
		<-reading
	}
	w := ask("192.0.2.1:5", endless)
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || w.Header().Get("Connection") != "close" {
		t.Errorf("one too many: %d %v", w.Code, w.Header())
	}
	if w := ask("192.0.2.2:5", http.NoBody); w.Code != http.StatusOK {
		t.Errorf("somebody else: %d", w.Code)
	}
	end.Close()
	wg.Wait()
	if w := ask("192.0.2.1:5", http.NoBody); w.Code != http.StatusOK {
		t.Errorf("afterwards: %d", w.Code)
	}
}

func TestManyFields(t *testing.T) {
	var s Server
	h := s.bound(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("they were let in") }))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/?"+strings.Repeat("a&", 5000), http.NoBody))
	if w.Code != http.StatusBadRequest {
		t.Errorf("status %d, want 400", w.Code)
	}
}

func TestLoad(t *testing.T) {
	var l load
	var leave []func()
	in := func(from string) bool {
		f := l.enter(from)
		if f != nil {
			leave = append(leave, f)
		}
		return f != nil
	}
	admitted := func(from string, most int) (n int) {
		for n < most && in(from) {
			n++
		}
		return n
	}
	// One address fills its own share, one network its own; whoever has nothing under way still gets its few in.
	if n := admitted("192.0.2.1:5", 100); n != maxOfAddress {
		t.Errorf("one address has %d under way, want %d", n, maxOfAddress)
	}
	for i := 2; i <= 4; i++ {
		admitted(fmt.Sprintf("192.0.2.%d:5", i), 100)
	}
	if n := l.all; n != maxOfNetwork {
		t.Errorf("one network has %d under way, want %d", n, maxOfNetwork)
	}
	if n := admitted("192.0.2.77:5", 100); n != fewOfAddress {
		t.Errorf("a newcomer in a full network has %d, want %d", n, fewOfAddress)
	}
	for i := 0; l.all < maxRequests; i++ {
		in(fmt.Sprintf("[2001:db8:%x::1]:5", i/8))
	}
	if n := admitted("198.51.100.1:5", 100); n != fewOfAddress {
		t.Errorf("a newcomer while all are busy has %d, want %d", n, fewOfAddress)
	}
	// Newcomers have an end too.
	for i := range 3 * maxRequests {
		in(fmt.Sprintf("10.%d.0.1:5", i%250))
		in(fmt.Sprintf("[2001:db8:a:%x::1]:5", i))
	}
	if l.all != 2*maxRequests {
		t.Errorf("%d are under way at most, want %d", l.all, 2*maxRequests)
	}
	if !in("127.0.0.1:5") || !in("@") {
		t.Error("the box itself is bounded")
	}
	for _, f := range leave {
		f()
	}
	if l.all != 0 || len(l.from) != 0 || len(l.network) != 0 {
		t.Errorf("after all have left %d are counted, of %d addresses", l.all, len(l.from))
	}
}
