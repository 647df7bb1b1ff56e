package web

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"testing"
	"time"
)

// What a connection may still do after a credential it was used with has ended, on HTTP/1.1 and HTTP/2.
func TestEndedConnections(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		name := map[bool]string{false: "HTTP/1.1", true: "HTTP/2"}[h2]
		// open starts a server whose every request uses the credential "x", and returns how to ask it.
		open := func(t *testing.T) (s *sockets, get func(path string) (res *http.Response, reused bool)) {
			s = &sockets{}
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w, done := s.answer(w, r)
				defer done()
				s.use(r.Context(), "x")
				switch r.URL.Path {
				case "/ends":
					s.end(map[string]bool{"x": true})
				case "/streams":
					for r.Context().Err() == nil {
						if _, err := io.WriteString(w, "more"); err != nil || http.NewResponseController(w).Flush() != nil {
							return
						}
						time.Sleep(20 * time.Millisecond)
					}
				}
				io.WriteString(w, "done") // without WriteHeader, as most pages do
			}))
			srv.Config.ConnContext, srv.Config.ConnState = s.connected, s.changed
			if srv.EnableHTTP2 = h2; h2 {
				srv.StartTLS()
			} else {
				srv.Start()
			}
			t.Cleanup(srv.Close)
			return s, func(path string) (*http.Response, bool) {
				t.Helper()
				reused := false
				r, err := http.NewRequest("GET", srv.URL+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				r = r.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }}))
				res, err := srv.Client().Do(r)
				if err != nil {
					t.Fatalf("GET %s: %v", path, err)
				}
				if (res.ProtoMajor == 2) != h2 {
					t.Fatalf("the answer came by %s", res.Proto)
				}
				t.Cleanup(func() { res.Body.Close() })
				return res, reused
			}
		}
		read := func(t *testing.T, res *http.Response) string {
			t.Helper()
			b, err := io.ReadAll(res.Body)
			if err != nil {
				t.Errorf("the answer is cut short: %v", err)
			}
			return string(b)
		}

		t.Run(name+" the answer in which it ends", func(t *testing.T) {
			_, get := open(t)
			res, _ := get("/")
			read(t, res)
			res, reused := get("/ends")
			if got := read(t, res); got != "done" || !reused {
				t.Errorf("%q on a connection used before: %v", got, reused)
			}
			res, reused = get("/")
			if read(t, res); reused {
				t.Error("the answer did not say that it was the last on its connection")
			}
		})
		t.Run(name+" an idle one", func(t *testing.T) {
			s, get := open(t)
			res, _ := get("/")
			read(t, res)
			s.end(map[string]bool{"x": true})
			time.Sleep(lastAnswer + 500*time.Millisecond)
			res, reused := get("/")
			if read(t, res); reused {
				t.Error("it is open after the last answer's time")
			}
		})
		t.Run(name+" one that streams", func(t *testing.T) {
			s, get := open(t)
			res, _ := get("/streams")
			s.end(map[string]bool{"x": true})
			began := time.Now()
			_, err := io.Copy(io.Discard, res.Body)
			if took := time.Since(began); err == nil || took > 4*time.Second {
				t.Errorf("it went on for %v, %v", took, err)
			}
		})
		t.Run(name+" somebody else's", func(t *testing.T) {
			s, get := open(t)
			res, _ := get("/")
			read(t, res)
			s.end(map[string]bool{"y": true})
			time.Sleep(lastAnswer + 500*time.Millisecond)
			if res, reused := get("/"); read(t, res) != "done" || !reused {
				t.Error("it was closed too")
			}
		})
	}
}
