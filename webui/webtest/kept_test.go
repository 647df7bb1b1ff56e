package webtest

import (
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"hearth.alt/services"
	"hearth.alt/webui"
	"hearth.alt/webui/house"
)

// TestEndedNotKept: on a full disk signing out was answered with "nothing was changed" and left the cookie, though the
// session had ended. What ended is told as such, and that it is not written down yet.
func TestEndedNotKept(t *testing.T) {
	h := well()
	h.Err = &services.Problem{Kind: house.ErrEndedNotKept.Kind, Code: house.ErrEndedNotKept.Code, Say: services.Sentence{Key: "account.ended-not-kept"}}
	mux := http.NewServeMux()
	for _, r := range webui.Routes(h) {
		if r.Method == "POST" || r.Path == "/signin" || r.Path == "/sessions" || r.Path == "/apps" {
			mux.Handle(r.Method+" "+r.Path, r.Handler)
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller := services.Caller{Face: services.FaceTunnel, Role: services.RoleOwner, Session: "s"}
		if r.URL.Path == "/signin" {
			caller.Role, caller.Session = services.RoleNone, ""
		}
		mux.ServeHTTP(w, r.WithContext(webui.WithCaller(r.Context(), caller)))
	}))
	defer server.Close()
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path, then string
		form       url.Values
		in         bool // whether the browser keeps its own session
	}{
		{"/signout", "/signin", nil, false},
		{"/sessions", "/sessions", url.Values{"session": {"aaaaaaaaaaaaaaaa"}}, true},
		{"/sessions", "/sessions", nil, true},
		{"/apps/revoke", "/apps", url.Values{"password": {"aaaaaaaaaaaaaaaa"}}, true},
	} {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		jar.SetCookies(at, []*http.Cookie{{Name: "hearth", Value: "token"}})
		client := &http.Client{Jar: jar}
		res, err := client.PostForm(server.URL+tt.path, tt.form)
		if err != nil {
			t.Fatal(err)
		}
		var body strings.Builder
		if err := res.Write(&body); err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK || res.Request.URL.Path != tt.then || !strings.Contains(body.String(), "power fails before then") {
			t.Errorf("%s leads to %s, status %d, want %s with the sentence", tt.path, res.Request.URL.Path, res.StatusCode, tt.then)
		}
		in := false
		for _, c := range jar.Cookies(at) {
			in = in || c.Name == "hearth" && c.Value != ""
		}
		if in != tt.in {
			t.Errorf("%s: the browser keeps its session: %v, want %v", tt.path, in, tt.in)
		}
	}
}
