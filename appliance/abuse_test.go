package appliance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth.alt/appliance/api"
	"hearth.alt/appliance/sealed"
	"hearth.alt/services"
	"hearth.alt/services/account"
	"hearth.alt/services/claimcode"
	"hearth.alt/services/identity"
	"hearth.alt/services/secret"
)

// straight hands requests to a handler as if they came from one address.
type straight struct {
	handler http.Handler
	host    string
	from    string
}

func (s straight) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.Host, in.RemoteAddr, in.RequestURI = s.host, s.from, r.URL.RequestURI()
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, in)
	return w.Result(), nil
}

func (h *testHouse) sealedClient(from string) *sealed.Client {
	return &sealed.Client{HTTP: &http.Client{Transport: straight{h.web.Handler(services.FaceLAN), h.hostOn(services.FaceLAN), from}}, Base: "http://hearth.local"}
}

func (h *testHouse) psk(t *testing.T) []byte {
	t.Helper()
	code, ok := h.claim.code()
	if !ok {
		t.Fatal("there is no claim secret")
	}
	return code.PSK().Reveal()
}

// TestThousandClaims claims a box a thousand times at once, half of them sealed over plain http, half on the console:
// one owner comes of it, and nothing of the others stays.
func TestThousandClaims(t *testing.T) {
	h := openHouse(t, t.TempDir())
	psk := h.psk(t)
	const claims = 1000
	var won atomic.Int64
	var winner atomic.Value
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range claims {
		group.Go(func() {
			<-start
			owner := fmt.Sprintf("Owner %d", i)
			const password = "turtle lantern copper forty"
			if i%2 == 0 {
				body, _ := json.Marshal(map[string]string{"household": fmt.Sprintf("House %d", i), "box": "Attic", "owner": owner, "password": password})
				w := h.ask(services.FaceConsole, httptest.NewRequestWithContext(t.Context(), "POST", "http://hearth/api/v1/claim", bytes.NewReader(body)))
				switch w.Code {
				case http.StatusOK:
					won.Add(1)
					winner.Store(owner)
				case http.StatusConflict, http.StatusTooManyRequests:
				default:
					t.Errorf("a claim on the console: %d %s", w.Code, w.Body)
				}
				return
			}
			c := h.sealedClient(fmt.Sprintf("192.0.%d.%d:99", 2+i/250, i%250)) // each its own address: one has its share only
			if err := c.Hello(t.Context(), psk); err != nil {
				var refused *sealed.Refused
				if !errors.As(err, &refused) {
					t.Error(err)
				}
				return // too many at once
			}
			form := url.Values{"household": {fmt.Sprintf("House %d", i)}, "box": {"Attic"}, "owner": {owner}, "password": {password}}
			res, err := c.Do(t.Context(), sealed.Request{Method: "POST", Path: "/claim/names", Form: form.Encode()})
			var refused *sealed.Refused
			switch {
			case errors.As(err, &refused):
			case err != nil:
				t.Error(err)
			case res.Path == "/claim/words" && res.Status == http.StatusOK:
				won.Add(1)
				winner.Store(owner)
			case res.Status >= 500:
				t.Errorf("a sealed claim: %d", res.Status)
			}
		})
	}
	close(start)
	group.Wait()
	m := h.identity.Membership()
	if won.Load() != 1 || len(m.People) != 1 || m.People[0].Role != services.RoleOwner || m.People[0].Name != winner.Load() {
		t.Fatalf("%d claims won; people %+v", won.Load(), m.People)
	}
	if n := strings.Count(h.kept(), `"password":{`) + strings.Count(h.kept(), `"hash":"$argon2id`); n > 2 {
		t.Errorf("passwords of others stay: %d", n)
	}
	if _, err := h.account.SignIn(t.Context(), account.SignIn{Name: m.People[0].Name, Password: secret.NewText("turtle lantern copper forty")}); err != nil {
		t.Errorf("the one owner cannot sign in: %v", err)
	}
}

// TestSealedClaimShowsWords walks the claim inside the seal to the words: whoever claimed is signed in there.
func TestSealedClaimShowsWords(t *testing.T) {
	h := openHouse(t, t.TempDir())
	c := h.sealedClient("192.0.2.7:99")
	if err := c.Hello(t.Context(), h.psk(t)); err != nil {
		t.Fatal(err)
	}
	form := url.Values{"household": {"Smith"}, "box": {"Attic"}, "owner": {"Olga"}, "password": {"turtle lantern copper forty"}}
	res, err := c.Do(t.Context(), sealed.Request{Method: "POST", Path: "/claim/names", Form: form.Encode()})
	if err != nil || res.Path != "/claim/words" || res.Status != http.StatusOK {
		t.Fatalf("the sealed claim ends at %+v, %v; want /claim/words", res, err)
	}
	words, err := h.webConfig.House.Words(t.Context(), local)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range words {
		if !strings.Contains(res.Body, w.Reveal()) {
			t.Fatalf("the page of the words lacks one")
		}
	}
}

// TestWrongClaimSecret says that wrong secrets cost time to the address they come from, and to nobody else.
func TestWrongClaimSecret(t *testing.T) {
	h := openHouse(t, t.TempDir())
	wrong := claimcode.New().PSK().Reveal()
	guess := func(from string, psk []byte) error {
		c := h.sealedClient(from)
		if err := c.Hello(t.Context(), psk); err != nil {
			return err
		}
		_, err := c.Do(t.Context(), sealed.Request{Method: "GET", Path: "/claim/names"})
		return err
	}
	var refused *sealed.Refused
	for i := range 20 {
		err := guess("192.0.2.66:1", wrong)
		if !errors.As(err, &refused) {
			t.Fatalf("guess %d: %v", i, err)
		}
		if refused.Code == "busy" {
			break
		}
	}
	if refused.Code != "busy" || refused.Wait < 1 {
		t.Errorf("twenty wrong guesses are answered %q, want busy", refused.Code)
	}
	if err := guess("192.0.2.66:2", h.psk(t)); !errors.As(err, &refused) || refused.Code != "busy" {
		t.Errorf("the right secret from the guessing address: %v, want busy", err)
	}
	if err := guess("192.0.2.67:1", h.psk(t)); err != nil {
		t.Errorf("the right secret from another address: %v", err)
	}
}

// TestLostHouseholdCannotBeClaimed names a bug: a box whose log was damaged counted as unclaimed, and a try to claim it
// erased every password.
func TestLostHouseholdCannotBeClaimed(t *testing.T) {
	state := t.TempDir()
	h := takenIn(t, state)
	h.stop()
	spoilLog(t, state)
	h = openHouse(t, state)
	before := h.kept()
	w := h.ask(services.FaceConsole, httptest.NewRequestWithContext(t.Context(), "POST", "http://hearth/api/v1/claim",
		strings.NewReader(`{"household":"Thief","box":"Attic","owner":"Theo","password":"turtle lantern copper forty"}`)))
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), `"household-lost"`) {
		t.Errorf("a claim on the console: %d %s", w.Code, w.Body)
	}
	_, err := h.webConfig.House.Claim(t.Context(), local, api.ClaimInput{Household: "Thief", Box: "Attic", Owner: "Theo", Password: secret.NewText("turtle lantern copper forty")})
	if !errors.Is(err, api.ErrLost) {
		t.Errorf("a claim: %v, want %v", err, api.ErrLost)
	}
	if err := h.account.SetFirstPassword(t.Context(), local, "aaaaaaaaaaaaaaaa", secret.NewText("turtle lantern copper forty")); !errors.Is(err, account.ErrClaimed) {
		t.Errorf("a first password: %v, want %v", err, account.ErrClaimed)
	}
	for _, face := range []services.Face{services.FaceLAN, services.FaceTunnel, services.FaceSecure} {
		for _, path := range []string{"/", "/claim", "/claim/names", "/claim/restore", "/signin"} {
			w := h.ask(face, h.request(face, "GET", path, http.NoBody))
			if strings.Contains(w.Body.String(), `name="code"`) || strings.Contains(w.Body.String(), `name="household"`) {
				t.Errorf("%v %s offers the claim", face, path)
			}
			if face != services.FaceLAN && !strings.Contains(w.Body.String(), "cannot read whose it is") {
				t.Errorf("%v %s says nothing of it: %d", face, path, w.Code)
			}
		}
	}
	if after := h.kept(); after != before {
		t.Errorf("something of the household that was is gone: %s", cmp.Diff(before, after))
	}
	if line := h.readyLine(&net.TCPAddr{}); strings.Contains(line, "claim=") {
		t.Errorf("the program offers the claim: %q", line)
	}
}

// hostile are bodies that no operation may take.
func hostile() map[string]string {
	return map[string]string{
		"empty":             "",
		"not JSON":          "name=Eve",
		"half":              `{"name":"Eve"`,
		"a list":            `[{"name":"Eve","role":"guest"}]`,
		"two values":        `{"name":"Eve","role":"guest"}{}`,
		"unknown field":     `{"name":"Eve","role":"guest","admin":true}`,
		"other case":        `{"NAME":"Eve","role":"guest"}`,
		"given twice":       `{"name":"Eve","role":"guest","role":"owner"}`,
		"given twice, case": `{"name":"Eve","role":"guest","Role":"owner"}`,
		"escaped twice":     `{"name":"Eve","role":"guest","r\u006fle":"owner"}`,
		"wrong type":        `{"name":["Eve"],"role":"guest"}`,
		"number for text":   `{"name":7,"role":"guest"}`,
		"deep":              `{"name":` + strings.Repeat("[", 30000) + strings.Repeat("]", 30000) + `,"role":"guest"}`,
		"no UTF-8":          "{\"name\":\"E\xffve\",\"role\":\"guest\"}",
		"null byte":         `{"name":"E\u0000ve","role":"guest"}`,
		"line break":        `{"name":"E\nve","role":"guest"}`,
		"right to left":     `{"name":"E\u202eve","role":"guest"}`,
		"lone surrogate":    `{"name":"E\ud800ve","role":"guest"}`,
		"nothing to see":    `{"name":"\u200b\u00a0","role":"guest"}`,
		"long name":         `{"name":"` + strings.Repeat("e", 300) + `","role":"guest"}`,
		"no such role":      `{"name":"Eve","role":"emperor"}`,
		"too large":         `{"name":"` + strings.Repeat("e", services.MaxRequest) + `","role":"guest"}`,
		"byte order mark":   "\ufeff" + `{"name":"Eve","role":"guest"}`,
		"null":              "null",
	}
}

// TestHostileOperations says that malformed input gets one sentence and changes nothing.
func TestHostileOperations(t *testing.T) {
	h := takenIn(t, t.TempDir())
	owner := h.who[services.RoleOwner]
	check := func(name string, w *httptest.ResponseRecorder, before string) {
		t.Helper()
		var f api.Failure
		if err := json.Unmarshal(w.Body.Bytes(), &f); err != nil || w.Code < 400 || w.Code >= 500 || f.Error.Code == "" || !strings.HasSuffix(f.Error.Message, ".") || len(f.Error.Message) > 300 {
			t.Errorf("%s: %d %.300s", name, w.Code, w.Body)
		}
		if now := h.kept(); now != before {
			t.Errorf("%s changed something (-before +now):\n%s", name, cmp.Diff(before, now))
		}
	}
	before := h.kept()
	for name, body := range hostile() {
		r := h.request(services.FaceConsole, "POST", "/api/v1/people", strings.NewReader(body))
		check(name, h.ask(services.FaceConsole, r), before)
		r = h.request(services.FaceTunnel, "POST", "/api/v1/devices/aaaaaaaaaaaaaaaa", strings.NewReader(body))
		r.SetBasicAuth(owner.name, owner.app)
		check(name+" from an app", h.ask(services.FaceTunnel, r), before)
	}
	for _, target := range []string{
		"/api/v1/audit?limit=x", "/api/v1/audit?limit=1&limit=2", "/api/v1/audit?limit=99999999999999999999", "/api/v1/audit?else=1", "/api/v1/audit?%zz",
		"/api/v1/audit?limit=1;x=2", "/api/v1/sessions?person=%ff", "/api/v1/sessions?person=nobody",
	} {
		r := h.request(services.FaceTunnel, "GET", target, http.NoBody)
		r.SetBasicAuth(owner.name, owner.app)
		check(target, h.ask(services.FaceTunnel, r), before)
	}
	for _, id := range []string{"x", "..", "%2e%2e", "%00", strings.Repeat("a", 5000), "aaaaaaaaaaaaaaaa"} {
		w := h.ask(services.FaceConsole, h.request(services.FaceConsole, "DELETE", "/api/v1/people/"+id, http.NoBody))
		if w.Code < 300 || w.Code >= 500 || h.kept() != before {
			t.Errorf("DELETE of %.20q: %d %s", id, w.Code, w.Body)
		}
	}
}

// TestHostileForms says the same of the pages' forms, at the claim and after it.
func TestHostileForms(t *testing.T) {
	h := openHouse(t, t.TempDir())
	proof, err := h.pages.ProveCode(t.Context(), mustCode(t, h))
	if err != nil {
		t.Fatal(err)
	}
	post := func(face services.Face, path, form string, cookies ...*http.Cookie) *httptest.ResponseRecorder {
		r := h.request(face, "POST", path, strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for _, c := range cookies {
			r.AddCookie(c)
		}
		return h.ask(face, r)
	}
	claim := func(household, box, owner, password string) string {
		return url.Values{"household": {household}, "box": {box}, "owner": {owner}, "password": {password}}.Encode()
	}
	good := "turtle lantern copper forty"
	before := h.kept()
	events := func() int {
		all, err := h.account.Events(t.Context(), time.Time{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	written := events()
	for name, form := range map[string]string{
		"control":          claim("Smi\x07th", "Attic", "Olga", good),
		"right to left":    claim("Smith", "Att\u202eic", "Olga", good),
		"nothing":          claim("", "", "", ""),
		"long":             claim(strings.Repeat("s", 300), "Attic", "Olga", good),
		"common password":  claim("Smith", "Attic", "Olga", "password123"),
		"the own name":     claim("Smith", "Attic", "Olga", "olga smith attic"),
		"short password":   claim("Smith", "Attic", "Olga", "xk3"),
		"bad escapes":      "household=%zz&box=%",
		"semicolons":       "household=Smith;box=Attic",
		"larger than ever": "household=" + strings.Repeat("s", 80<<10),
	} {
		w := post(services.FaceTunnel, "/claim/names", form, &http.Cookie{Name: "hearth-claim", Value: proof})
		if w.Code != http.StatusUnprocessableEntity && w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d, want 422 or 400", name, w.Code)
		}
		if strings.Contains(w.Body.String(), "Something inside the box went wrong") {
			t.Errorf("%s: the page says that the box is at fault", name)
		}
		if h.kept() != before || events() != written || h.webConfig.House.Ownership() != api.Unclaimed {
			t.Errorf("%s changed something", name)
		}
	}
	if w := post(services.FaceTunnel, "/claim/names", claim("Smith", "Attic", "Olga", good)); w.Header().Get("Location") != "/claim" {
		t.Errorf("a claim without the code: %d to %q, want to /claim", w.Code, w.Header().Get("Location"))
	}
	if w := post(services.FaceTunnel, "/claim/names", claim("Smith", "Attic", "Olga", good), &http.Cookie{Name: "hearth-claim", Value: proof}); w.Header().Get("Location") != "/claim/words" {
		t.Errorf("a good claim: %d to %q", w.Code, w.Header().Get("Location"))
	}
	if w := post(services.FaceTunnel, "/claim/names", claim("Smith", "Attic", "Olga", good), &http.Cookie{Name: "hearth-claim", Value: proof}); w.Code >= 400 {
		t.Errorf("a second claim: %d, want to be led on", w.Code)
	}
}

func mustCode(t *testing.T, h *testHouse) secret.Text {
	t.Helper()
	code, ok := h.claim.code()
	if !ok {
		t.Fatal("there is no claim code")
	}
	return secret.NewText(code.Text())
}

// Whoever sends more than is read is told to go: a connection whose rest nobody reads is closed.
func TestTooMuchEndsTheConnection(t *testing.T) {
	h := openHouse(t, t.TempDir())
	box := httptest.NewUnstartedServer(nil)
	box.Config = h.web.HTTPServer(services.FaceTunnel)
	box.Start()
	defer box.Close()
	for _, path := range []string{"/claim", "/api/v1/claim", "/nowhere"} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", box.URL+path, strings.NewReader("code="+strings.Repeat("x", 600<<10)))
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "hearth.local"
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := box.Client().Transport.RoundTrip(r)
		if err != nil {
			continue // closed before all was sent
		}
		res.Body.Close()
		if !res.Close {
			t.Errorf("%s: %s, and the connection stays open", path, res.Status)
		}
	}
}

// TestHostileWire sends what no program sends: the server answers with a refusal or hangs up, and stays well.
func TestHostileWire(t *testing.T) {
	h := openHouse(t, t.TempDir())
	box := httptest.NewUnstartedServer(nil)
	box.Config = h.web.HTTPServer(services.FaceLAN)
	box.Start()
	defer box.Close()
	for name, text := range map[string]string{
		"great head":         "GET / HTTP/1.1\r\nHost: hearth.local\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n",
		"two hosts":          "GET / HTTP/1.1\r\nHost: hearth.local\r\nHost: evil.example\r\n\r\n",
		"no host":            "GET / HTTP/1.1\r\n\r\n",
		"absolute, foreign":  "GET http://evil.example/ HTTP/1.1\r\nHost: hearth.local\r\n\r\n",
		"chunks lie":         "POST /sealed/hello HTTP/1.1\r\nHost: hearth.local\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n",
		"endless chunk":      "POST /sealed/hello HTTP/1.1\r\nHost: hearth.local\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
		"length and chunks":  "POST /sealed/hello HTTP/1.1\r\nHost: hearth.local\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
		"two lengths":        "POST /sealed/hello HTTP/1.1\r\nHost: hearth.local\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}",
		"negative length":    "POST /sealed/hello HTTP/1.1\r\nHost: hearth.local\r\nContent-Length: -1\r\n\r\n",
		"body beyond limit":  "POST /sealed/hello HTTP/1.1\r\nHost: hearth.local\r\nContent-Length: 200000\r\n\r\n" + strings.Repeat("{", 200000),
		"no http":            "\x16\x03\x01\x02\x00\x01\x00",
		"unknown method":     "BREW / HTTP/1.1\r\nHost: hearth.local\r\n\r\n",
		"bad path":           "GET /%zz HTTP/1.1\r\nHost: hearth.local\r\n\r\n",
		"up and away":        "GET /assets/../../etc/passwd HTTP/1.1\r\nHost: hearth.local\r\n\r\n",
		"header without end": "GET / HTTP/1.1\r\nHost: hearth.local\r\nX\r\n\r\n",
	} {
		c, err := net.Dial("tcp", box.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		go io.WriteString(c, text)
		if tcp, ok := c.(*net.TCPConn); ok && name == "no http" {
			time.AfterFunc(50*time.Millisecond, func() { tcp.CloseWrite() })
		}
		b := make([]byte, 64)
		n, _ := io.ReadAtLeast(c, b, 12)
		c.Close()
		if line := string(b[:n]); n > 0 && !strings.HasPrefix(line, "HTTP/1.1 4") && !strings.HasPrefix(line, "HTTP/1.1 3") {
			t.Errorf("%s: %q, want a refusal", name, line)
		}
	}
	r := h.request(services.FaceLAN, "GET", "/", http.NoBody)
	if w := h.ask(services.FaceLAN, r); w.Code != http.StatusOK {
		t.Errorf("afterwards: %d", w.Code)
	}
	if strings.Contains(h.log.String(), "panics") {
		t.Errorf("a request made the box panic: %s", h.log)
	}
}

// TestSlowStrangers says that a head and a body that trickle end by themselves, and that half a thousand of them at once
// cost little memory.
func TestSlowStrangers(t *testing.T) {
	h := openHouse(t, t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		server := h.web.HTTPServer(services.FaceLAN)
		l := newPipeListener()
		go server.Serve(bounded(l))
		defer server.Close()
		trickle := func(head, drip string) time.Duration {
			c := l.dial(netip.AddrFrom4([4]byte{192, 168, 1, 7}))
			start := time.Now()
			var drops sync.WaitGroup
			defer drops.Wait()
			defer c.Close()
			drops.Go(func() {
				if _, err := io.WriteString(c, head); err != nil {
					return
				}
				for {
					time.Sleep(time.Second)
					if _, err := io.WriteString(c, drip); err != nil {
						return
					}
				}
			})
			io.Copy(io.Discard, c)
			return time.Since(start)
		}
		if took := trickle("GET / HTTP/1.1\r\nHost: hearth.local\r\n", "X-A: b\r\n"); took > 11*time.Second {
			t.Errorf("a head that trickles holds a connection for %v, want 10 s", took)
		}
		if took := trickle("POST /sealed/hello HTTP/1.1\r\nHost: hearth.local\r\nContent-Length: 60000\r\n\r\n", "x"); took > 40*time.Second {
			t.Errorf("a body that trickles holds a connection for %v, want 30 s", took)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var all []net.Conn
		for i := range 2 * maxConnections { // 256 addresses of each of four networks
			c := l.dial(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
			all = append(all, c)
			go io.WriteString(c, "GET / HTTP/1.1\r\nHost: hearth.local\r\nX: "+strings.Repeat("x", 15<<10))
		}
		synctest.Wait()
		open := 0
		for _, c := range all {
			c.SetReadDeadline(time.Now()) // one that was closed says so first
			if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
				open++
			}
		}
		if open != maxConnections {
			t.Errorf("%d connections are open, want %d", open, maxConnections)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		held := int64(after.HeapAlloc) - int64(before.HeapAlloc) + int64(after.StackInuse) - int64(before.StackInuse)
		t.Logf("%d connections with unfinished heads hold %.1f MiB", maxConnections, float64(held)/(1<<20))
		if held > 40<<20 {
			t.Errorf("they hold %d bytes, want at most 40 MiB", held)
		}
		c := l.dial(netip.AddrFrom4([4]byte{192, 168, 1, 7}))
		defer c.Close()
		go io.WriteString(c, "GET / HTTP/1.1\r\nHost: hearth.local\r\nConnection: close\r\n\r\n")
		if b, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 200") {
			t.Errorf("somebody else beside them: %.40q, %v", b, err)
		}
		for _, c := range all {
			c.Close()
		}
	})
}

// A box that its household removed lets nobody in, cannot be claimed, and says so.
func TestRemovedBox(t *testing.T) {
	h := takenIn(t, t.TempDir())
	self := h.identity.Membership().Self
	if _, err := h.identity.AddBox(t.Context(), identity.NewBox{ID: services.PeerID{1}, Name: "Barn"}); err != nil {
		t.Fatal(err)
	}
	if err := h.identity.RemoveBox(t.Context(), self); err != nil {
		t.Fatal(err)
	}
	for face, paths := range map[services.Face][]string{
		services.FaceTunnel: {"/", "/claim", "/signin", "/people", "/forgotten", "/help"},
		services.FaceSecure: {"/", "/claim", "/signin", "/people", "/forgotten", "/help"},
		services.FaceLAN:    {"/", "/help"},
	} {
		for _, path := range paths {
			w := h.ask(face, as(h.request(face, "GET", path, http.NoBody), h.who[services.RoleOwner]))
			text := w.Body.String()
			if w.Code != http.StatusServiceUnavailable || !strings.Contains(text, "removed from its household") || !strings.Contains(text, "fresh card") {
				t.Errorf("%v %s: %d", face, path, w.Code)
			}
			// Links to other pages once led to this same one.
			for _, m := range regexp.MustCompile(`<a [^>]*href="([^"]*)"`).FindAllStringSubmatch(text, -1) {
				if !strings.HasPrefix(m[1], "#") && !strings.HasPrefix(m[1], "?lang=") && !strings.HasSuffix(m[1], "/dispute") {
					t.Errorf("%v %s leads to %s", face, path, m[1])
				}
			}
		}
	}
	if err := h.webConfig.House.MayClaim(); !errors.Is(err, api.ErrRemoved) {
		t.Errorf("a claim: %v", err)
	}
	w := h.ask(services.FaceConsole, httptest.NewRequestWithContext(t.Context(), "GET", "http://hearth/api/v1/status", nil))
	if w.Code != http.StatusOK {
		t.Errorf("status on the console: %d", w.Code)
	}
	w = h.ask(services.FaceConsole, httptest.NewRequestWithContext(t.Context(), "GET", "http://hearth/api/v1/recovery/dispute", nil))
	if w.Code != http.StatusOK {
		t.Errorf("what the 24 words can settle, on the console: %d %s", w.Code, w.Body)
	}
	w = h.ask(services.FaceConsole, httptest.NewRequestWithContext(t.Context(), "GET", "http://hearth/api/v1/people", nil))
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), `"box-removed"`) {
		t.Errorf("people on the console: %d %s", w.Code, w.Body)
	}
}
