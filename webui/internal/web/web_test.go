package web

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/a-h/templ"

	"hearth.alt/services"
	"hearth.alt/services/secret"
	"hearth.alt/webui/house"
	"hearth.alt/webui/messages"
)

type frames struct{ house.House }

func (frames) Frame(context.Context) house.Frame { return house.Frame{Version: "1", Claimed: true} }

func server() *Server {
	text := func(f func(*Page) string) func(*Page) templ.Component {
		return func(p *Page) templ.Component { return templ.Raw(f(p)) }
	}
	return &Server{
		House: frames{}, Now: time.Now, Zone: func() *time.Location { return time.UTC }, Log: slog.New(slog.DiscardHandler), Flashes: NewFlashes(time.Now),
		Layout: text(func(p *Page) string {
			s := p.Title
			if p.Flash != nil {
				s += "|" + p.Say(p.Flash.Say) + "|" + p.Flash.Once.Reveal()
			}
			return s
		}),
		ErrorBody: func(_ *Page, t Trouble) templ.Component { return templ.Raw(t.Sentence) },
	}
}

func ask(face services.Face, session string, r *http.Request) *http.Request {
	return r.WithContext(WithCaller(r.Context(), services.Caller{Face: face, Session: session, Role: services.RoleOwner}))
}

func do(h http.Handler, r *http.Request) *http.Response {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec.Result()
}

func TestSafePath(t *testing.T) {
	for path, want := range map[string]bool{
		"/": true, "/people/abc/remove": true, "": false, "people": false, "//evil.example": false, "/\\evil.example": false,
		"/a//b": false, "/%2f%2fevil": false, "/a?b": false, "/a/../b": false, "https://evil.example/": false, "/a\nb": false,
		"/" + strings.Repeat("a", 300): false,
	} {
		if got := safePath(path); got != want {
			t.Errorf("safePath(%q) is %v, want %v", path, got, want)
		}
	}
}

func FuzzSafePath(f *testing.F) {
	f.Add("/people")
	f.Add("//evil.example")
	f.Fuzz(func(t *testing.T, s string) {
		if safePath(s) && (!strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") || strings.ContainsAny(s, "\\?#:@\r\n\t ")) {
			t.Errorf("%q passes for one of our pages", s)
		}
	})
}

func TestSessionCookie(t *testing.T) {
	for _, tt := range []struct {
		what   string
		face   services.Face
		tls    bool
		sealed bool
		want   string // the cookie's name, "" for none
	}{
		{"tunnel over http", services.FaceTunnel, false, false, "hearth"},
		{"tunnel over https", services.FaceTunnel, true, false, "__Host-hearth"},
		{"https at home", services.FaceSecure, true, false, "__Host-hearth"},
		{"plain http at home", services.FaceLAN, false, false, ""},
		{"sealed on plain http at home", services.FaceLAN, false, true, "hearth"},
	} {
		r := ask(tt.face, "", httptest.NewRequest("POST", "/signin", nil))
		if tt.tls {
			r.TLS = &tls.ConnectionState{}
		}
		if tt.sealed {
			r = r.WithContext(WithSealed(r.Context()))
		}
		rec := httptest.NewRecorder()
		SetSession(rec, r, "token")
		cookies := rec.Result().Cookies()
		if tt.want == "" {
			if len(cookies) != 0 {
				t.Errorf("%s: the cookie %v was set", tt.what, cookies)
			}
			r.AddCookie(&http.Cookie{Name: "hearth", Value: "planted"})
			if got := SessionToken(r); got != "" {
				t.Errorf("%s: a cookie was believed", tt.what)
			}
			continue
		}
		if len(cookies) != 1 {
			t.Fatalf("%s: cookies %v", tt.what, cookies)
		}
		c := cookies[0]
		if c.Name != tt.want || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure != tt.tls || c.Path != "/" || c.Domain != "" {
			t.Errorf("%s: cookie %v", tt.what, c)
		}
		r.AddCookie(c)
		if got := SessionToken(r); got != "token" {
			t.Errorf("%s: token %q came back", tt.what, got)
		}
	}
}

func TestFlashIsShownOnceAndToItsOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := server()
		act := s.Handle(func(rq *Request) error {
			return rq.DoneOnce("/apps", services.Say("webui.apps.revoked", "That password no longer works."), secret.Show(secret.NewText("maple river")))
		})
		show := s.Handle(func(rq *Request) error { return rq.Render(&Page{Title: "apps"}) })
		page := func(session string, cookies []*http.Cookie) string {
			r := ask(services.FaceTunnel, session, httptest.NewRequest("GET", "/apps", nil))
			for _, c := range cookies {
				r.AddCookie(c)
			}
			b := new(strings.Builder)
			res := do(show, r)
			buf := make([]byte, 4096)
			n, _ := res.Body.Read(buf)
			b.Write(buf[:n])
			return b.String()
		}
		post := func() []*http.Cookie {
			res := do(act, ask(services.FaceTunnel, "s1", httptest.NewRequest("POST", "/apps", nil)))
			if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/apps" {
				t.Fatalf("answer %d to %q", res.StatusCode, res.Header.Get("Location"))
			}
			return res.Cookies()
		}
		cookies := post()
		if got := page("s1", cookies); got != "apps|That password no longer works.|maple river" {
			t.Errorf("first look: %q", got)
		}
		if got := page("s1", cookies); got != "apps" {
			t.Errorf("second look: %q", got)
		}
		if got := page("s2", post()); got != "apps" {
			t.Errorf("somebody else sees %q", got)
		}
		cookies = post()
		time.Sleep(flashFor + time.Second)
		if got := page("s1", cookies); got != "apps" {
			t.Errorf("too late: %q", got)
		}
		for range flashMax + 10 {
			post()
		}
		if n := len(s.Flashes.m); n > flashMax {
			t.Errorf("%d flashes are kept, want at most %d", n, flashMax)
		}
	})
}

func TestLanguage(t *testing.T) {
	s := server()
	h := s.Handle(func(rq *Request) error { return rq.Render(&Page{Title: rq.T("nav.home")}) })
	res := do(h, ask(services.FaceLAN, "", httptest.NewRequest("GET", "/help?lang=de", nil)))
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/help" {
		t.Fatalf("answer %d to %q", res.StatusCode, res.Header.Get("Location"))
	}
	r := ask(services.FaceLAN, "", httptest.NewRequest("GET", "/help", nil))
	r.AddCookie(res.Cookies()[0])
	if got := do(h, r).Header.Get("Content-Language"); got != "de" {
		t.Errorf("the page is in %q", got)
	}
	if res := do(h, ask(services.FaceLAN, "", httptest.NewRequest("GET", "/help?lang=../../etc", nil))); res.StatusCode != http.StatusOK {
		t.Errorf("a language that nobody speaks is answered with %d", res.StatusCode)
	}
	if res := do(h, ask(services.FaceLAN, "", httptest.NewRequest("GET", "//evil.example/?lang=de", nil))); strings.HasPrefix(res.Header.Get("Location"), "//") {
		t.Errorf("the language leads to %q", res.Header.Get("Location"))
	}
}

// TestLanguageKeepsThePlace names the bug: the language links were "?lang=de" alone, and whoever was on the way to a page
// landed on the first one.
func TestLanguageKeepsThePlace(t *testing.T) {
	for _, tt := range []struct{ method, path, form, here, want string }{
		{"GET", "/signin?to=/network", "", "", "?lang=de&to=%2Fnetwork"},
		{"GET", "/events?since=3&lang=en", "", "", "?lang=de&since=3"},
		{"GET", "/signin?to=//evil.example", "", "", "?lang=de"},
		{"POST", "/signin", "to=/network&password=x", "", "?lang=de&to=%2Fnetwork"},
		{"POST", "/join/accept", "code=x", "/join", "/join?lang=de"},
		{"POST", "/network/remove", "name=x", "", "/?lang=de"},
	} {
		var got string
		s := server()
		h := s.Handle(func(rq *Request) error {
			got = (&Page{Request: rq, Here: tt.here}).LanguagePath("de")
			return nil
		})
		r := httptest.NewRequest(tt.method, strings.ReplaceAll(tt.path, "lang=en", "lang=xx"), strings.NewReader(tt.form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		do(h, ask(services.FaceSecure, "", r))
		if got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.method, tt.path, got, tt.want)
		}
	}
}

func TestProblemsBecomePages(t *testing.T) {
	s := server()
	for _, tt := range []struct {
		err  error
		want int
	}{
		{errors.New("disk on fire"), 500},
		{&services.Problem{Kind: services.KindDenied}, 403},
		{&services.Problem{Kind: services.KindDenied, Code: "misdirected"}, 421},
		{&services.Problem{Kind: services.KindNotFound}, 404},
		{&services.Problem{Kind: services.KindBusy}, 429},
		{&services.Problem{Kind: services.KindUnavailable}, 503},
	} {
		res := do(s.Handle(func(*Request) error { return tt.err }), ask(services.FaceTunnel, "", httptest.NewRequest("GET", "/x", nil)))
		if res.StatusCode != tt.want || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v: status %d, want %d", tt.err, res.StatusCode, tt.want)
		}
	}
	many := httptest.NewRequest("POST", "/x", strings.NewReader(strings.Repeat("a&", mostFields)))
	many.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if res := do(s.Handle(func(*Request) error { t.Error("all its fields were read"); return nil }), ask(services.FaceTunnel, "", many)); res.StatusCode != 400 {
		t.Errorf("a form of too many fields is answered with %d", res.StatusCode)
	}
	big := httptest.NewRequest("POST", "/x", strings.NewReader("a="+strings.Repeat("b", services.MaxRequest)))
	big.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if res := do(s.Handle(func(*Request) error { t.Error("the form was read whole"); return nil }), ask(services.FaceTunnel, "", big)); res.StatusCode != 400 {
		t.Errorf("a form too large is answered with %d", res.StatusCode)
	}
}

func TestNobodyIsLedAstray(t *testing.T) {
	s := server()
	h := s.Handle(func(rq *Request) error { return rq.Redirect(rq.Back("/")) })
	for to, want := range map[string]string{"/people": "/people", "//evil.example/": "/", "https://evil.example": "/", "/\\evil": "/"} {
		r := httptest.NewRequest("POST", "/signin", strings.NewReader("to="+to))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if got := do(h, ask(services.FaceSecure, "", r)).Header.Get("Location"); got != want {
			t.Errorf("to=%s leads to %q, want %q", to, got, want)
		}
	}
}

// TestFormOfSeveral: of several things that are wrong at once each stands beside its field; one that no form can say
// comes back.
func TestFormOfSeveral(t *testing.T) {
	rq := &Request{Printer: &messages.Printer{Language: messages.Lookup("en")}}
	wrong := func(kind services.Kind, field string) error {
		return &services.Problem{Kind: kind, Code: "x", Field: field, Say: services.Sentence{Text: "Wrong."}}
	}
	e, err := rq.Form(errors.Join(wrong(services.KindInvalid, "a"), wrong(services.KindInvalid, "b")), "a", "b")
	if err != nil || len(e.List) != 2 || e.Of("a") == "" || e.Of("b") == "" {
		t.Errorf("two wrong fields: %+v, %v", e, err)
	}
	if e, err := rq.Form(errors.Join(wrong(services.KindInvalid, "a"), wrong(services.KindInternal, "")), "a"); err == nil || e.Any() {
		t.Errorf("a fault of ours among them: %+v, %v", e, err)
	}
}
