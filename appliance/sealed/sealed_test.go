package sealed_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth.alt/appliance/sealed"
)

// house is the inner site: a form that signs in with a cookie and a page that needs it.
func house() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /claim", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<h1>Claim</h1>") })
	mux.HandleFunc("POST /claim", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "hearth", Value: "cookie-" + r.PostFormValue("password")})
		http.Redirect(w, r, "/words", http.StatusSeeOther)
	})
	mux.HandleFunc("GET /words", func(w http.ResponseWriter, r *http.Request) {
		c, err := r.Cookie("hearth")
		if err != nil {
			http.Error(w, "sign in", http.StatusUnauthorized)
			return
		}
		io.WriteString(w, "words for "+c.Value)
	})
	mux.HandleFunc("GET /away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://elsewhere.example/", http.StatusSeeOther)
	})
	return mux
}

// wire is an http.RoundTripper that keeps every byte that crosses the network.
type wire struct {
	mu  sync.Mutex
	log bytes.Buffer
}

func (l *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer, _ := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(answer))
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(&l.log, "%s\n%v\n%s\n%v\n%s\n", r.URL, r.Header, body, resp.Header, answer)
	return resp, nil
}

func start(t testing.TB, cfg sealed.Config) *httptest.Server {
	t.Helper()
	if cfg.PSK == nil {
		cfg.PSK = func() ([]byte, error) { return bytes.Repeat([]byte{7}, 32), nil }
	}
	cfg.Inner = house()
	tunnel, err := sealed.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /sealed/hello", tunnel.Hello)
	mux.HandleFunc("POST /sealed/request", tunnel.Request)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func TestFormCookieAndRedirectStayInside(t *testing.T) {
	s := start(t, sealed.Config{})
	seen := &wire{}
	c := &sealed.Client{HTTP: &http.Client{Transport: seen}, Base: s.URL}
	if err := c.Hello(t.Context(), bytes.Repeat([]byte{7}, 32)); err != nil {
		t.Fatal(err)
	}
	page, err := c.Do(t.Context(), sealed.Request{Method: "POST", Path: "/claim", Form: "password=correct-horse"})
	if err != nil {
		t.Fatal(err)
	}
	if page.Status != 200 || page.Path != "/words" || page.Body != "words for cookie-correct-horse" {
		t.Errorf("answer %+v; want the page after the redirect", page)
	}
	if again, err := c.Do(t.Context(), sealed.Request{Method: "GET", Path: "/words"}); err != nil || again.Status != 200 {
		t.Errorf("the cookie was not kept: %+v, %v", again, err)
	}
	for _, hidden := range []string{"correct-horse", "cookie-", "words for", "Set-Cookie"} {
		if strings.Contains(seen.log.String(), hidden) {
			t.Errorf("the network saw %q:\n%s", hidden, &seen.log)
		}
	}
	if page, err := c.Do(t.Context(), sealed.Request{Method: "GET", Path: "/away"}); err != nil || page.Status != http.StatusBadGateway {
		t.Errorf("a redirect elsewhere was followed: %+v, %v", page, err)
	}
	for _, bad := range []sealed.Request{{Method: "GET", Path: "claim"}, {Method: "GET", Path: "//elsewhere.example/"}, {Method: "DELETE", Path: "/claim"}, {}} {
		if page, err := c.Do(t.Context(), bad); err != nil || page.Status != http.StatusBadRequest {
			t.Errorf("%+v: answer %+v, %v; want 400", bad, page, err)
		}
	}
}

func refusedWith(err error, code string) bool {
	var r *sealed.Refused
	return errors.As(err, &r) && r.Code == code
}

func TestWrongSecretIsToldAndCounted(t *testing.T) {
	var wrong int
	var wait time.Duration
	s := start(t, sealed.Config{
		Wrong:    func(string) { wrong++ },
		Throttle: func(string) time.Duration { return wait },
	})
	c := &sealed.Client{HTTP: http.DefaultClient, Base: s.URL}
	if err := c.Hello(t.Context(), bytes.Repeat([]byte{8}, 32)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do(t.Context(), sealed.Request{Method: "GET", Path: "/claim"}); !refusedWith(err, "wrong") || wrong != 1 {
		t.Errorf("error %v, %d counted; want wrong, 1", err, wrong)
	}
	if _, err := c.Do(t.Context(), sealed.Request{Method: "GET", Path: "/claim"}); !refusedWith(err, "unknown") {
		t.Errorf("a second guess on one hello: %v, want unknown", err)
	}
	wait = 3 * time.Second
	if err := c.Hello(t.Context(), bytes.Repeat([]byte{7}, 32)); !refusedWith(err, "busy") {
		t.Errorf("error %v; want busy", err)
	}
}

func TestEndsWithTheSecret(t *testing.T) {
	var over atomic.Bool
	var later atomic.Int64
	s := start(t, sealed.Config{Now: func() time.Time { return time.Unix(later.Load(), 0) }, PSK: func() ([]byte, error) {
		if over.Load() {
			return nil, sealed.ErrNoSecret
		}
		return bytes.Repeat([]byte{7}, 32), nil
	}})
	c := &sealed.Client{HTTP: http.DefaultClient, Base: s.URL}
	if err := c.Hello(t.Context(), bytes.Repeat([]byte{7}, 32)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do(t.Context(), sealed.Request{Method: "GET", Path: "/claim"}); err != nil {
		t.Fatal(err)
	}
	waiting := &sealed.Client{HTTP: http.DefaultClient, Base: s.URL}
	if err := waiting.Hello(t.Context(), bytes.Repeat([]byte{7}, 32)); err != nil {
		t.Fatal(err)
	}
	over.Store(true)
	if _, err := c.Do(t.Context(), sealed.Request{Method: "GET", Path: "/claim"}); err != nil {
		t.Errorf("error %v; whoever proved the secret still gets the page that says that a phone is paired", err)
	}
	if _, err := waiting.Do(t.Context(), sealed.Request{Method: "GET", Path: "/claim"}); !refusedWith(err, "over") {
		t.Errorf("error %v; want over for whoever had not proven it", err)
	}
	if err := waiting.Hello(t.Context(), bytes.Repeat([]byte{7}, 32)); !refusedWith(err, "over") {
		t.Errorf("error %v; want over for whoever comes now", err)
	}
	later.Store(11 * 60)
	if _, err := c.Do(t.Context(), sealed.Request{Method: "GET", Path: "/claim"}); !refusedWith(err, "over") {
		t.Errorf("error %v; want over after a while for everybody", err)
	}
}

func TestManyHellosAreBounded(t *testing.T) {
	now := time.Unix(0, 0)
	var mu sync.Mutex
	s := start(t, sealed.Config{Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	psk := bytes.Repeat([]byte{7}, 32)
	kept := &sealed.Client{HTTP: http.DefaultClient, Base: s.URL}
	if err := kept.Hello(t.Context(), psk); err != nil {
		t.Fatal(err)
	}
	if _, err := kept.Do(t.Context(), sealed.Request{Method: "GET", Path: "/claim"}); err != nil {
		t.Fatal(err)
	}
	// Somebody else, at another address, has said hello and is about to go on.
	other := &sealed.Client{HTTP: &http.Client{Transport: &http.Transport{
		DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext,
	}}, Base: s.URL}
	if err := other.Hello(t.Context(), psk); err != nil {
		t.Fatal(err)
	}
	var flood []*sealed.Client
	for range 400 {
		c := &sealed.Client{HTTP: http.DefaultClient, Base: s.URL}
		if err := c.Hello(t.Context(), psk); err != nil {
			t.Fatal(err)
		}
		flood = append(flood, c)
	}
	if _, err := flood[0].Do(t.Context(), sealed.Request{Method: "GET", Path: "/claim"}); !refusedWith(err, "unknown") {
		t.Errorf("the first of 400 hellos is still kept: %v", err)
	}
	if _, err := flood[399].Do(t.Context(), sealed.Request{Method: "GET", Path: "/claim"}); err != nil {
		t.Errorf("the last of 400 hellos: %v", err)
	}
	if _, err := other.Do(t.Context(), sealed.Request{Method: "GET", Path: "/claim"}); err != nil {
		t.Errorf("a flood of hellos crowded out another address: %v", err)
	}
	if _, err := kept.Do(t.Context(), sealed.Request{Method: "GET", Path: "/claim"}); err != nil {
		t.Errorf("a flood of hellos ended a proven session: %v", err)
	}
	mu.Lock()
	now = now.Add(2 * time.Minute)
	mu.Unlock()
	late := &sealed.Client{HTTP: http.DefaultClient, Base: s.URL}
	if err := late.Hello(t.Context(), psk); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"id":"AAAAAAAAAAAAAAAAAAAAAA","n":1,"box":"AAAA"}`))
	f.Add([]byte(`{"v":1,"e":"AAAA"}`))
	f.Add([]byte(`{`))
	tunnel, err := sealed.New(sealed.Config{PSK: func() ([]byte, error) { return make([]byte, 32), nil }, Inner: house()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, serve := range []http.HandlerFunc{tunnel.Hello, tunnel.Request} {
			rec := httptest.NewRecorder()
			serve(rec, httptest.NewRequest("POST", "/", bytes.NewReader(body)))
			if rec.Code == 0 || rec.Code >= 500 {
				t.Errorf("%q: status %d", body, rec.Code)
			}
		}
	})
}
