package appliance

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/services/account"
	"hearth.alt/services/secret"
)

// TestDoorTurnsSignInsIntoCookies names a bug: proving or changing the password made a new session whose token never
// reached the browser, which was thereby signed out.
func TestDoorTurnsSignInsIntoCookies(t *testing.T) {
	h := takenIn(t, t.TempDir())
	p := h.who[services.RoleMember]
	post := func(path, session, form string) (*http.Response, string) {
		t.Helper()
		r := h.request(services.FaceTunnel, "POST", path, strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if session != "" {
			r.AddCookie(&http.Cookie{Name: "hearth", Value: session})
		}
		res := h.ask(services.FaceTunnel, r).Result()
		n, token := 0, ""
		for _, c := range res.Cookies() {
			if c.Name == "hearth" {
				n, token = n+1, c.Value
				if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode {
					t.Errorf("%s: the session's cookie is %+v", path, c)
				}
			}
		}
		if n > 1 {
			t.Errorf("%s sets the session %d times", path, n)
		}
		return res, token
	}
	in := func(session string) bool {
		r := h.request(services.FaceTunnel, "GET", "/devices", http.NoBody)
		r.AddCookie(&http.Cookie{Name: "hearth", Value: session})
		return h.ask(services.FaceTunnel, r).Code == http.StatusOK
	}
	res, first := post("/signin", "", "name="+p.name+"&password="+strings.ReplaceAll(p.password, " ", "+"))
	if first == "" || !in(first) {
		t.Fatalf("signing in: %d", res.StatusCode)
	}
	if !slices.ContainsFunc(res.Cookies(), func(c *http.Cookie) bool { return c.Name == "hearth-known" }) {
		t.Error("signing in does not make the browser known")
	}
	_, second := post("/again", first, "password="+strings.ReplaceAll(p.password, " ", "+"))
	if second == "" || second == first || !in(second) || in(first) {
		t.Errorf("after the password once more: new token %v, good %v, the old one good %v", second != "", in(second), in(first))
	}
	_, third := post("/password", second, "password="+strings.ReplaceAll(p.password, " ", "+")+"&new=quiet+river+stone+lamp&again=quiet+river+stone+lamp")
	if third == "" || !in(third) || in(second) {
		t.Errorf("after a new password: new token %v, good %v, the old one good %v", third != "", third != "" && in(third), in(second))
	}
}

// TestRevocation ends a person in each way there is, and tries every kind of credential that account knows: all are
// dead at once, and connections that were opened with one are closed.
func TestRevocation(t *testing.T) {
	type left struct {
		name string
		end  func(h *testHouse, p *testPerson) error
	}
	for _, way := range []left{
		{"removed", func(h *testHouse, p *testPerson) error {
			_, err := h.webConfig.House.RemovePerson(h.t.Context(), local, api.RemovePersonInput{ID: p.id})
			return err
		}},
		{"made a guest", func(h *testHouse, p *testPerson) error {
			_, err := h.webConfig.House.ChangePerson(h.t.Context(), local, api.ChangePersonInput{ID: p.id, Role: services.RoleGuest})
			return err
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			h := takenIn(t, t.TempDir())
			p := h.who[services.RoleAdmin]
			pending, err := h.webConfig.House.AddPerson(t.Context(), local, api.AddPersonInput{Name: "Ina", Role: services.RoleMember})
			if err != nil {
				t.Fatal(err)
			}
			box := httptest.NewUnstartedServer(nil)
			box.Config = h.web.HTTPServer(services.FaceTunnel)
			box.Start()
			defer box.Close()
			// One kept-alive connection each: a browser's, an app's, a program's.
			conns := map[account.Kind]*keptConn{}
			for kind, header := range map[account.Kind]string{
				account.KindSession: "Cookie: hearth=" + p.session,
				account.KindApp:     "Authorization: Basic " + basic(p.name, p.app),
				account.KindToken:   "Authorization: Bearer " + p.token,
			} {
				path := "/api/v1/devices"
				if kind == account.KindSession {
					path = "/devices"
				}
				conns[kind] = keep(t, box.Listener.Addr().String(), path, h.hostOn(services.FaceTunnel), header)
			}
			stranger := keep(t, box.Listener.Addr().String(), "/devices", h.hostOn(services.FaceTunnel), "Cookie: hearth="+h.who[services.RoleOwner].session)

			start := time.Now()
			if err := way.end(h, p); err != nil {
				t.Fatal(err)
			}
			if way.name == "removed" {
				if err := way.end(h, &testPerson{id: pending.ID}); err != nil {
					t.Fatal(err)
				}
			}
			for _, kind := range account.Kinds() {
				switch kind {
				case account.KindPassword:
					if way.name != "removed" {
						continue // a role's change does not take the password; the sessions end
					}
					if _, err := h.account.SignIn(t.Context(), account.SignIn{Name: p.name, Password: secret.NewText(p.password)}); !errors.Is(err, account.ErrRefused) {
						t.Errorf("the password still signs in: %v", err)
					}
				case account.KindSession, account.KindApp, account.KindToken:
					if err := conns[kind].waitClosed(5 * time.Second); err != nil {
						t.Errorf("a connection opened with a %s: %v", kind, err)
					}
					if again := conns[kind].status(t); again == http.StatusOK {
						t.Errorf("a %s still lets in", kind)
					}
				case account.KindKnown:
					if list, err := h.account.List(account.KindKnown, p.id); (err != nil || len(list) != 0) && way.name == "removed" {
						t.Errorf("%d known browsers are left, %v", len(list), err)
					}
				case account.KindInvitation:
					if _, err := h.account.Invitation(secret.NewText(pending.Code.Reveal())); way.name == "removed" && !errors.Is(err, account.ErrInvitation) {
						t.Errorf("the invitation still stands: %v", err)
					}
				default:
					t.Errorf("this test does not try the kind %q", kind)
				}
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("it took %v, want at most 5 s", took)
			}
			if err := stranger.waitClosed(200 * time.Millisecond); err == nil {
				t.Error("somebody else's connection was closed too")
			}
		})
	}
}

// TestSigningOutAnswers says that the connection that signs out still carries the answer, and says that it is the last.
// A browser that gets none on a connection that had worked sends the form once more (RFC 9110, section 9.2.2, leaves
// that to it): Chromium once changed a password twice, as HTTP/2 says that it is idle before its last frame is out.
func TestSigningOutAnswers(t *testing.T) {
	h := takenIn(t, t.TempDir())
	p := h.who[services.RoleMember]
	for _, tt := range []struct {
		name, cookie string
		face         services.Face
		h2           bool
	}{{"HTTP/1.1", "hearth", services.FaceTunnel, false}, {"HTTP/2", "__Host-hearth", services.FaceSecure, true}} {
		t.Run(tt.name, func(t *testing.T) {
			box := httptest.NewUnstartedServer(nil)
			box.Config = h.web.HTTPServer(tt.face)
			if box.EnableHTTP2 = tt.h2; tt.h2 {
				box.StartTLS()
			} else {
				box.Start()
			}
			defer box.Close()
			for range 20 {
				token := h.signIn(p)
				ask := func(method, path string) *http.Response {
					r, err := http.NewRequestWithContext(t.Context(), method, box.URL+path, http.NoBody)
					if err != nil {
						t.Fatal(err)
					}
					r.Host = h.hostOn(tt.face)
					r.AddCookie(&http.Cookie{Name: tt.cookie, Value: token})
					res, err := box.Client().Transport.RoundTrip(r)
					if err != nil {
						t.Fatalf("%s %s: %v", method, path, err)
					}
					io.Copy(io.Discard, res.Body)
					res.Body.Close()
					return res
				}
				ask("GET", "/sessions")
				res := ask("POST", "/signout")
				if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/signin" {
					t.Errorf("signing out answers %d to %q, want 303 to /signin", res.StatusCode, res.Header.Get("Location"))
				}
				if !tt.h2 && !res.Close {
					t.Error("the last answer does not say that it is")
				}
				if again := ask("GET", "/sessions"); again.StatusCode == http.StatusOK {
					t.Error("the session still lets in")
				}
			}
		})
	}
}
