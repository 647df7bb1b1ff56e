package appliance

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"hearth.alt/appliance/api"
	"hearth.alt/appliance/web"
	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/webui"
)

// everyRoute lists method and path of every route of both tables and of what is in none.
func everyRoute(h *testHouse) (all []*accessLine) {
	for _, r := range h.webConfig.UI.Routes() {
		all = append(all, &accessLine{method: r.Method, path: r.Path})
	}
	for _, o := range api.Table() {
		all = append(all, &accessLine{method: o.Method, path: api.Prefix + o.Path})
	}
	for _, p := range []string{"GET /api/v1/openapi.json", "GET /healthz", "GET /metrics", "POST /sealed/hello", "POST /sealed/request", "GET /nothing"} {
		method, path, _ := strings.Cut(p, " ")
		all = append(all, &accessLine{method: method, path: path})
	}
	return all
}

// marked is the box's server whose door says that a request got through.
func marked(t *testing.T, h *testHouse) *web.Server {
	t.Helper()
	cfg := h.webConfig
	cfg.Around = marking
	s, err := web.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestForeignHosts says that no route of any face answers to a name or address that is not the box's: that is all that
// stands between a rebound DNS name and the pages (DESIGN.md, section 4).
func TestForeignHosts(t *testing.T) {
	h := takenIn(t, t.TempDir())
	h.claim.forget()
	server := marked(t, h)
	foreign := []string{
		"", "evil.example", "evil.example:80", "attic.local.evil.example", "evil.attic.local", "xattic.local", "attic.localx", "attic..local",
		"attic.local..", ".attic.local", "smith.home.arpa.evil.example", "other.smith.home.arpa", "home.arpa", "hearth.local", "local", "hearth", "smith", "attic.fritz.box",
		"203.0.113.9", "203.0.113.9:80", "127.0.0.1.nip.io", "[2001:db8::9]", "[2001:db8::9]:443", "0.0.0.0", "[::]", "[::1%25lo]", "[fe80::1%25eth0]", "[fe80::1%eth0]:80",
		"::1", "fe80::1", "[attic.local]", "[127.0.0.1]", "attic.local:http", "attic.local:80:80", "attic.local:-1", "attic.local:99999", "attic.local@evil.example",
		"attic.local evil", "attic.local/", "attic.local\x00", "127.1", "0x7f000001", "2130706433", "017700000001", "user:pw@attic.local", "%61ttic.local",
	}
	faces := []services.Face{services.FaceLAN, services.FaceTunnel, services.FaceSecure, services.FacePublic}
	for _, face := range faces {
		for _, host := range foreign {
			for _, l := range everyRoute(h) {
				r := as(h.request(face, l.method, fill(l.path), http.NoBody), h.who[services.RoleOwner])
				r.Host = host
				w := httptest.NewRecorder()
				server.Handler(face).ServeHTTP(w, r)
				if l.path == "/assets/" && w.Header().Get("X-Served") == "" {
					continue // files that are the same on every box, so that the refusal can be read
				}
				if w.Code != http.StatusMisdirectedRequest || w.Header().Get("X-Served") != "" {
					t.Fatalf("%v %s %s with Host %q: status %d, want 421", face, l.method, l.path, host, w.Code)
				}
				if strings.Contains(w.Body.String(), "Smith") || strings.Contains(w.Body.String(), "Attic") {
					t.Fatalf("%v %s with Host %q: the answer names the household or the box: a stranger's page could read it", face, l.path, host)
				}
			}
		}
	}
	own := map[services.Face][]string{
		services.FaceLAN:    {"attic", "attic:80", "attic.local", "ATTIC.local", "attic.local.", "attic.local:8480", "attic.local:", "attic.smith.home.arpa", "smith.home.arpa"},
		services.FaceTunnel: {"attic.smith.home.arpa", "localhost:8480", "127.0.0.1:8480", "[::1]:8480", h.boxAddr(t).String()},
		services.FaceSecure: {"attic.local:8443"},
	}
	for face, hosts := range own {
		for _, host := range hosts {
			r := h.request(face, "GET", "/help", http.NoBody)
			r.Host = host
			w := httptest.NewRecorder()
			server.Handler(face).ServeHTTP(w, r)
			if w.Code != http.StatusOK {
				t.Errorf("%v with our own Host %q: status %d, want 200", face, host, w.Code)
			}
		}
	}
	for _, host := range []string{"localhost", "127.0.0.1", "[::1]"} {
		r := h.request(services.FaceLAN, "GET", "/help", http.NoBody)
		r.Host = host
		w := httptest.NewRecorder()
		server.Handler(services.FaceLAN).ServeHTTP(w, r)
		if w.Code != http.StatusMisdirectedRequest {
			t.Errorf("plain http at home with Host %q: status %d, want 421", host, w.Code)
		}
	}
}

func (h *testHouse) boxAddr(t *testing.T) netip.Addr {
	t.Helper()
	box, ok := h.identity.Membership().Box()
	if !ok {
		t.Fatal("no box")
	}
	return box.Addr4
}

// TestOwnNames says which names the box answers to, the one that mDNS gave it after a conflict among them.
func TestOwnNames(t *testing.T) {
	h := takenIn(t, t.TempDir())
	m := h.identity.Membership()
	for _, tt := range []struct {
		mdns, host string
		want       bool
	}{
		{"attic.local", "attic.local", true},
		{"attic-2.local", "attic-2.local", true},
		{"attic-2.local", "attic-3.local", false},
		{"", "", false},
		{"", "attic-2.local", false},
	} {
		if got := hosts(m, tt.mdns, false, services.FaceLAN, tt.host); got != tt.want {
			t.Errorf("named %q, asked for %q: %v, want %v", tt.mdns, tt.host, got, tt.want)
		}
	}
	if !hosts(m, "", true, services.FaceLAN, "hearth.local") {
		t.Error("whoever claims at hearth.local is turned away before the words")
	}
	if !hosts(&services.Membership{}, "hearth-2.local", false, services.FaceLAN, "hearth-2.local") {
		t.Error("an unclaimed box does not answer to the name it took after a conflict")
	}
}

// TestCrossOrigin says that no act of a page and no operation is carried out for another origin's page.
func TestCrossOrigin(t *testing.T) {
	h := takenIn(t, t.TempDir())
	server := marked(t, h)
	owner := h.who[services.RoleOwner]
	strange := []http.Header{
		{"Origin": {"http://evil.example"}},
		{"Origin": {"null"}},
		{"Origin": {"http://attic.local.evil.example"}},
		{"Origin": {"http://attic.local:8081"}},
		{"Sec-Fetch-Site": {"cross-site"}},
		{"Sec-Fetch-Site": {"same-site"}},
		{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"http://attic.local"}},
	}
	for _, face := range []services.Face{services.FaceLAN, services.FaceTunnel, services.FaceSecure} {
		for _, inside := range []bool{false, true} {
			if inside && face != services.FaceLAN {
				continue
			}
			handler := server.Handler(face)
			if inside {
				handler = server.Inside()
			}
			for _, header := range strange {
				for _, l := range everyRoute(h) {
					if l.method == http.MethodGet {
						continue
					}
					r := as(h.request(face, l.method, fill(l.path), http.NoBody), owner)
					if strings.HasPrefix(l.path, api.Prefix) {
						r.SetBasicAuth(owner.name, owner.app)
					}
					for k, v := range header {
						r.Header[k] = v
					}
					w := httptest.NewRecorder()
					handler.ServeHTTP(w, r)
					operation := strings.HasPrefix(l.path, api.Prefix) && face != services.FaceLAN
					if w.Header().Get("X-Served") != "" || w.Code < 400 || operation && w.Code != http.StatusForbidden {
						t.Errorf("%v %s %s with %v: status %d, want a refusal", face, l.method, l.path, header, w.Code)
					}
				}
			}
		}
	}
	r := as(h.request(services.FaceTunnel, "POST", "/look", http.NoBody), owner)
	r.Header.Set("Origin", "http://attic.local")
	w := httptest.NewRecorder()
	server.Handler(services.FaceTunnel).ServeHTTP(w, r)
	if w.Header().Get("X-Served") == "" {
		t.Errorf("our own origin is refused: %d", w.Code)
	}
}

// TestCredentialsByClass says that pages know cookies only and operations know none: a page of a stranger cannot ride on a
// cookie into an operation, and a browser that kept a password of an app is nobody on a page.
func TestCredentialsByClass(t *testing.T) {
	h := takenIn(t, t.TempDir())
	server := marked(t, h)
	owner := h.who[services.RoleOwner]
	ask := func(face services.Face, r *http.Request) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		server.Handler(face).ServeHTTP(w, r)
		return w
	}
	for _, face := range []services.Face{services.FaceTunnel, services.FaceSecure} {
		for _, o := range api.Table() {
			if o.Least == services.RoleNone {
				continue
			}
			r := as(h.request(face, o.Method, fill(api.Prefix+o.Path), http.NoBody), owner)
			if w := ask(face, r); !strings.Contains(w.Body.String(), `"sign-in"`) && !strings.Contains(w.Body.String(), `"not-here"`) {
				t.Errorf("%v %s: a cookie lets in: %d %s", face, o.Name, w.Code, w.Body)
			}
			// The person's own password is none of an app.
			r = h.request(face, o.Method, fill(api.Prefix+o.Path), http.NoBody)
			r.SetBasicAuth(owner.name, owner.password)
			if w := ask(face, r); !strings.Contains(w.Body.String(), `"sign-in"`) && !strings.Contains(w.Body.String(), `"not-here"`) {
				t.Errorf("%v %s: the person's password lets an app in: %d %s", face, o.Name, w.Code, w.Body)
			}
		}
		for _, route := range h.webConfig.UI.Routes() {
			if route.Class != webui.ClassPage || route.Least == services.RoleNone {
				continue
			}
			for _, set := range []func(*http.Request){
				func(r *http.Request) { r.SetBasicAuth(owner.name, owner.app) },
				func(r *http.Request) { r.SetBasicAuth(owner.name, owner.password) },
				func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+owner.token) },
				func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+owner.session) },
				func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookieName(r), Value: owner.token}) },
				func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookieName(r), Value: owner.app}) },
			} {
				r := h.request(face, route.Method, fill(route.Path), http.NoBody)
				set(r)
				if w := ask(face, r); w.Header().Get("X-Served") != "" {
					t.Errorf("%v %s %s: a credential of an app lets in", face, route.Method, route.Path)
				}
			}
		}
	}
	// Over TLS the name without __Host- is one that plain http could have planted.
	r := h.request(services.FaceSecure, "GET", "/devices", http.NoBody)
	r.AddCookie(&http.Cookie{Name: "hearth", Value: owner.session})
	if w := ask(services.FaceSecure, r); w.Header().Get("X-Served") != "" {
		t.Error("https takes a cookie without __Host-")
	}
}

// TestAGoodPasswordWhileTheBoxStarts: in the moment between the ready line and the opening of the accounts a good app
// password was answered with 401, at which apps forget it, and a good session was sent to sign in again.
func TestAGoodPasswordWhileTheBoxStarts(t *testing.T) {
	h := takenIn(t, t.TempDir())
	owner := h.who[services.RoleOwner]
	h.stop() // the accounts are closed, as they are before they are opened
	basic := func(r *http.Request) { r.SetBasicAuth(owner.name, owner.app) }
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+owner.token) }
	cookie := func(r *http.Request) { as(r, owner) }
	none := func(*http.Request) {}
	for _, tt := range []struct {
		what string
		face services.Face
		path string
		with func(*http.Request)
		want int
	}{
		{"app password", services.FaceSecure, "/api/v1/people", basic, 503},
		{"token", services.FaceTunnel, "/api/v1/people", bearer, 503},
		{"session", services.FaceSecure, "/", cookie, 503},
		{"session that asks for the sign-ins", services.FaceTunnel, "/sessions", cookie, 503},
		{"console that asks for the sign-ins", services.FaceConsole, "/api/v1/sessions", none, 503},
		{"no credential", services.FaceSecure, "/api/v1/people", none, 401},
		{"no session", services.FaceSecure, "/", none, 303},
		{"page for everybody, with a session", services.FaceSecure, "/signin", cookie, 200},
	} {
		r := h.request(tt.face, "GET", tt.path, http.NoBody)
		tt.with(r)
		w := h.ask(tt.face, r)
		if w.Code != tt.want {
			t.Errorf("%s: status %d, want %d", tt.what, w.Code, tt.want)
		}
		if got, want := w.Header().Get("Retry-After"), map[int]string{503: "1"}[tt.want]; got != want {
			t.Errorf("%s: Retry-After %q, want %q", tt.what, got, want)
		}
	}
}

// TestTrustFollowsTheListener says that an address of the tunnel gives no rights where it did not come through the
// tunnel: anybody at home can write any address on a packet.
func TestTrustFollowsTheListener(t *testing.T) {
	h := takenIn(t, t.TempDir())
	owner := h.who[services.RoleOwner]
	key := services.ClientKey{9}
	d, err := h.identity.AddDevice(t.Context(), identity.NewDevice{Person: owner.id, Name: "phone", Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.identity.ActivateDevice(t.Context(), d.ID); err != nil {
		t.Fatal(err)
	}
	cfg := h.webConfig
	var seen services.Caller
	cfg.Around = func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = webui.CallerOf(r.Context()) })
	}
	server, err := web.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for face, want := range map[services.Face]services.DeviceID{services.FaceLAN: "", services.FaceSecure: "", services.FaceTunnel: d.ID} {
		for _, from := range []netip.Addr{d.Addr4, d.Addr6} {
			seen = services.Caller{}
			r := h.request(face, "GET", "/help", http.NoBody)
			r.RemoteAddr = netip.AddrPortFrom(from, 4000).String()
			server.Handler(face).ServeHTTP(httptest.NewRecorder(), r)
			if seen.Face != face || seen.Device != want || seen.Role != services.RoleNone {
				t.Errorf("from %v on %v: device %q, face %v, role %v; want device %q and no role", from, face, seen.Device, seen.Face, seen.Role, want)
			}
		}
		// And it lets nobody at a page that wants a role.
		r := h.request(face, "GET", "/devices", http.NoBody)
		r.RemoteAddr = netip.AddrPortFrom(d.Addr4, 4000).String()
		seen = services.Caller{}
		w := httptest.NewRecorder()
		server.Handler(face).ServeHTTP(w, r)
		if seen.Face != services.FaceNone {
			t.Errorf("an address of the tunnel on %v sees a page of a guest", face)
		}
	}
}

// FuzzHost says that no Host header that is not one of ours, in whatever form, is taken for one.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"attic.local", "attic.local:80", "ATTIC.LOCAL.", "[::1]:80", "[fe80::1%25eth0]", "evil.example", "attic.local:x", "127.0.0.1", "[", "]:", ":"} {
		f.Add(s)
	}
	m := &services.Membership{
		Household: &services.Household{Domain: "smith.home.arpa"},
		Boxes:     []services.Box{{Label: "attic", Addr4: netip.MustParseAddr("10.20.30.1"), Addr6: netip.MustParseAddr("fd00::1")}},
	}
	ours := map[string]bool{"attic.local": true, "attic.smith.home.arpa": true, "smith.home.arpa": true, "localhost": true}
	f.Fuzz(func(t *testing.T, header string) {
		host := web.HostOf(header)
		if !hosts(m, "", false, services.FaceTunnel, host) {
			return
		}
		bare := strings.ToLower(header)
		if i := strings.LastIndexByte(bare, ':'); i >= 0 && !strings.HasSuffix(bare, "]") {
			for _, c := range bare[i+1:] {
				if c < '0' || c > '9' {
					t.Fatalf("%q is taken for %q although its port is no number", header, host)
				}
			}
			bare = bare[:i]
		}
		bare = strings.TrimSuffix(bare, ".")
		if ours[bare] {
			return
		}
		if _, err := netip.ParseAddr(strings.Trim(bare, "[]")); err != nil {
			t.Fatalf("%q is taken for %q", header, host)
		}
	})
}
