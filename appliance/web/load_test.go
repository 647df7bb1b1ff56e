package web

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/services/crowd"
	"hearth.alt/webui"
)

// doorOnly is a server of which only the door is asked: whoever asks the house panics.
func doorOnly() *Server {
	return &Server{cfg: Config{Log: slog.New(slog.DiscardHandler), UI: webui.New(webui.Config{House: struct{ webui.House }{}})}}
}

// unread is a body that nobody may read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) { u.t.Error("the body was read"); return 0, io.EOF }

func askFrom(h http.Handler, from, method, target string, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, body)
	r.RemoteAddr = from
	r.Header.Set("Accept-Language", "de-AT, en;q=0.5")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// One machine at home once filled the memory of the box through HTTP/2: 64 connections of 32 forms each, of which none
// ended. Only its share is worked on; the rest is sent away at once, and others are served.
func TestFormsWithoutEnd(t *testing.T) {
	load := crowd.NewCount(requests)
	reading := make(chan struct{})
	h := doorOnly().bound(load, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			reading <- struct{}{}
			io.ReadAll(r.Body)
		}
	}))
	endless, end := io.Pipe()
	var wg sync.WaitGroup
	for range requests.Address {
		wg.Go(func() { askFrom(h, "192.0.2.1:5", "POST", "/signin", endless) })
		<-reading
	}
	w := askFrom(h, "192.0.2.1:5", "POST", "/signin", unread{t})
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || w.Header().Get("Connection") != "close" {
		t.Errorf("one too many: %d %v", w.Code, w.Header())
	}
	if got := w.Body.String(); !strings.Contains(got, "Box") || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("one too many is told, in German: %q", got)
	}
	w = askFrom(h, "192.0.2.1:5", "POST", "/api/v1/people", unread{t})
	var f api.Failure
	if err := json.Unmarshal(w.Body.Bytes(), &f); err != nil || w.Code != http.StatusServiceUnavailable || f.Error.Code != "hands-full" || f.Error.Message == "" ||
		w.Header().Get("Retry-After") == "" || w.Header().Get("Connection") != "close" {
		t.Errorf("one too many of an app: %d %v %s", w.Code, w.Header(), w.Body)
	}
	w = askFrom(h, "192.0.2.1:5", "POST", "/sealed/hello", unread{t})
	if got := w.Body.String(); got != `{"code":"full"}`+"\n" || w.Code != http.StatusServiceUnavailable || w.Header().Get("Connection") != "close" {
		t.Errorf("one too many of a sealed claim: %d %v %s", w.Code, w.Header(), got)
	}
	if w := askFrom(h, "192.0.2.2:5", "GET", "/", http.NoBody); w.Code != http.StatusOK {
		t.Errorf("somebody else: %d", w.Code)
	}
	itself := netip.MustParseAddr("127.0.0.1")
	for range requests.Address {
		load.Enter(itself)
	}
	if w := askFrom(h, "127.0.0.1:5", "GET", "/", http.NoBody); w.Code != http.StatusOK {
		t.Errorf("the box itself: %d", w.Code)
	}
	for range requests.Address {
		load.Leave(itself)
	}
	end.Close()
	wg.Wait()
	if w := askFrom(h, "192.0.2.1:5", "GET", "/", http.NoBody); w.Code != http.StatusOK || load.Len() != 0 {
		t.Errorf("afterwards: %d, %d under way", w.Code, load.Len())
	}
}

func TestManyFields(t *testing.T) {
	in := 0
	h := doorOnly().bound(crowd.NewCount(requests), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { in++ }))
	query := func(fields int) string { return "?a" + strings.Repeat("&a", fields-1) }
	if w := askFrom(h, "192.0.2.1:5", "GET", "/"+query(mostFields), http.NoBody); w.Code != http.StatusOK || in != 1 {
		t.Errorf("%d fields: status %d, let in %d", mostFields, w.Code, in)
	}
	for _, fields := range []int{mostFields + 1, 5000} {
		w := askFrom(h, "192.0.2.1:5", "POST", "/"+query(fields), unread{t})
		if got := w.Body.String(); w.Code != http.StatusBadRequest || !strings.Contains(got, "Adresse") {
			t.Errorf("%d fields: status %d, want 400 in German: %q", fields, w.Code, got)
		}
		w = askFrom(h, "192.0.2.1:5", "GET", "/api/v1/people"+query(fields), http.NoBody)
		var f api.Failure
		if err := json.Unmarshal(w.Body.Bytes(), &f); err != nil || w.Code != http.StatusBadRequest || f.Error.Code != "bad-input" {
			t.Errorf("%d fields of an app: %d %s", fields, w.Code, w.Body)
		}
	}
	if in != 1 {
		t.Error("too many fields are let in")
	}
}

// What one gets under way: an address its share, a network its own, and a newcomer in a full one a few.
func TestShareOfRequests(t *testing.T) {
	load := crowd.NewCount(requests)
	home := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 168, 1, byte(i)}) }
	admitted := func(a netip.Addr) (n int) {
		for n < 1000 && load.Enter(a) {
			n++
		}
		return n
	}
	for i := 1; i <= 4; i++ {
		if n := admitted(home(i)); n != requests.Address {
			t.Errorf("address %d has %d under way, want %d", i, n, requests.Address)
		}
	}
	if n := admitted(home(77)); n != requests.Few {
		t.Errorf("a newcomer in a full network has %d, want %d", n, requests.Few)
	}
	if n := admitted(netip.MustParseAddr("2001:db8::1")); n != requests.Address {
		t.Errorf("another network's has %d, want %d", n, requests.Address)
	}
}

// The machines at home once took the places of the phones in the tunnel.
func TestHomeLeavesTheTunnelAlone(t *testing.T) {
	ui := webui.New(webui.Config{House: struct{ webui.House }{}})
	waiting := make(chan struct{})
	begun := make(chan struct{}, 1)
	s, err := New(Config{
		Log: slog.New(slog.DiscardHandler), UI: ui,
		Hosts: func(services.Face, string) bool { begun <- struct{}{}; <-waiting; panic("enough") },
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(face services.Face, from netip.Addr, done func()) {
		defer done()
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/", http.NoBody)
		r.RemoteAddr = netip.AddrPortFrom(from, 5).String()
		defer func() { recover() }() // of the page that says that something went wrong
		s.Handler(face).ServeHTTP(w, r)
	}
	var wg sync.WaitGroup
	inside := func(face services.Face, from netip.Addr) bool {
		refused := make(chan struct{})
		wg.Go(func() { ask(face, from, func() { close(refused) }) })
		select {
		case <-begun:
			return true
		case <-refused:
			return false
		}
	}
	fill := func(face services.Face) (n int) {
		for i := range 2 * requests.All {
			if inside(face, netip.AddrFrom4([4]byte{192, 168, byte(i % 8), byte(i / 64)})) {
				n++
			}
		}
		return n
	}
	if n := fill(services.FaceLAN); n < requests.All {
		t.Fatalf("%d of home are under way", n)
	}
	if n := fill(services.FaceSecure); n > requests.All {
		t.Errorf("by https home has %d more", n)
	}
	for i := range requests.Address {
		if !inside(services.FaceTunnel, netip.AddrFrom4([4]byte{192, 168, 1, 7})) {
			t.Fatalf("request %d of a phone in the tunnel is refused", i)
		}
	}
	close(waiting)
	wg.Wait()
	if !inside(services.FaceLAN, netip.AddrFrom4([4]byte{192, 168, 0, 0})) { // all ended in a panic
		t.Error("nothing is under way, and nobody is let in")
	}
	wg.Wait()
}

// Real requests, which end in every way there is: nothing of them stays counted.
func TestNothingStaysUnderWay(t *testing.T) {
	load := crowd.NewCount(requests)
	h := doorOnly().bound(load, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/panic":
			panic(http.ErrAbortHandler)
		case "/hijack":
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			c.Close()
		default:
			io.Copy(w, r.Body)
		}
	}))
	for _, h2 := range []bool{false, true} {
		box := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.RemoteAddr = r.Header.Get("From")
			h.ServeHTTP(w, r)
		}))
		paths := []string{"/", "/panic", "/hijack", "/?" + strings.Repeat("a&", 99), "/api/v1/?" + strings.Repeat("a&", 99)}
		if box.EnableHTTP2 = h2; h2 {
			box.StartTLS()
			paths[2] = "/"
		} else {
			box.Start()
		}
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				r, err := http.NewRequest("POST", box.URL+paths[i%len(paths)], strings.NewReader("body"))
				if err != nil {
					t.Error(err)
					return
				}
				r.Header.Set("From", netip.AddrFrom4([4]byte{192, 168, 1, byte(i % 2)}).String()+":5")
				if res, err := box.Client().Do(r); err == nil {
					res.Body.Close()
				}
			})
		}
		wg.Wait()
		box.Close()
	}
	if n := load.Len(); n != 0 {
		t.Errorf("%d are counted", n)
	}
}
