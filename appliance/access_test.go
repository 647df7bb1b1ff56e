package appliance

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hearth.alt/appliance/api"
	"hearth.alt/appliance/web"
	"hearth.alt/services"
	"hearth.alt/services/secret"
	"hearth.alt/webui"
	"hearth.alt/webui/assets"
)

// httpsState marks a request as one that came over TLS.
var httpsState = tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true}

// accessLine is one line of testdata/access.txt.
type accessLine struct {
	method, path string
	faces        string
	sealed       bool
	least        services.Role
	when         string
	fresh        bool
}

var faceLetters = map[services.Face]string{
	services.FaceLAN: "L", services.FaceTunnel: "T", services.FaceSecure: "S", services.FaceConsole: "C", services.FacePublic: "P",
}

func readAccess(t *testing.T) []*accessLine {
	t.Helper()
	b, err := os.ReadFile("testdata/access.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out []*accessLine
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if len(f) != 7 {
			t.Fatalf("line %q has %d columns, want 7", s.Text(), len(f))
		}
		least, err := services.ParseRole(f[4])
		if err != nil && f[4] != "nobody" {
			t.Fatal(err)
		}
		out = append(out, &accessLine{method: f[0], path: f[1], faces: f[2], sealed: f[3] == "S", least: least, when: f[5], fresh: f[6] == "F"})
	}
	return out
}

// facesText writes faces as the table does.
func facesText(faces []services.Face) string {
	out := ""
	for _, f := range []services.Face{services.FaceLAN, services.FaceTunnel, services.FaceSecure, services.FaceConsole, services.FacePublic} {
		if slices.Contains(faces, f) {
			out += faceLetters[f]
		}
	}
	return out
}

// TestAccessTableIsWhole compares the table with the routes of the code: none without a line, no line without a route,
// and the same rule in both.
func TestAccessTableIsWhole(t *testing.T) {
	h := openHouse(t, t.TempDir())
	lines := map[string]*accessLine{}
	for _, l := range readAccess(t) {
		key := l.method + " " + l.path + " " + l.faces
		if lines[key] != nil {
			t.Errorf("%s stands there twice", key)
		}
		lines[key] = l
	}
	check := func(method, path string, faces []services.Face, sealed bool, r api.Rule) {
		key := method + " " + path + " " + facesText(faces)
		l := lines[key]
		if l == nil {
			t.Errorf("%s has no line in testdata/access.txt: say there who may reach it", key)
			return
		}
		delete(lines, key)
		when := ""
		for letter, on := range map[string]bool{"u": r.Before, "c": r.After, "l": r.Lost, "r": r.Removed} {
			if on {
				when += letter
			}
		}
		for _, c := range when + l.when {
			if strings.ContainsRune(when, c) != strings.ContainsRune(l.when, c) {
				t.Errorf("%s: served when %q, want %q", key, when, l.when)
				break
			}
		}
		if sealed != l.sealed || r.Least != l.least || r.Fresh != l.fresh {
			t.Errorf("%s: sealed %v, least %v, fresh %v; want %v, %v, %v", key, sealed, r.Least, r.Fresh, l.sealed, l.least, l.fresh)
		}
	}
	for _, r := range h.webConfig.UI.Routes() {
		check(r.Method, r.Path, r.Faces, r.Sealed || r.Class == webui.ClassAsset, web.Rule(r))
	}
	for _, o := range api.Table() {
		check(o.Method, api.Prefix+o.Path, o.Faces, false, o.Rule)
	}
	for _, key := range []string{"GET /api/v1/openapi.json TSC", "GET /healthz TC", "GET /metrics TC", "POST /sealed/hello L", "POST /sealed/request L"} {
		delete(lines, key) // they are in no table; TestAccess asks for them
	}
	for key := range lines {
		t.Errorf("%s has a line in testdata/access.txt and is no route", key)
	}
}

// outcome is the class of an answer.
type outcome string

const (
	served    outcome = "served"
	notHere   outcome = "not here"
	signIn    outcome = "sign in"
	denied    outcome = "denied"
	claimed   outcome = "claimed already"
	unclaimed outcome = "claim first"
	isLost    outcome = "lost"
	isRemoved outcome = "removed"
	password  outcome = "password again"
)

// want says what a cell of the table should answer. It is written from the words of DESIGN.md and knows nothing of
// api.Rule.
func want(l *accessLine, face string, sealedInside bool, whose api.Ownership, role services.Role, fresh bool) outcome {
	reached := strings.Contains(l.faces, face)
	if sealedInside {
		reached = l.sealed
	}
	switch {
	case !reached:
		return notHere
	case whose == api.Lost && !strings.Contains(l.when, "l"):
		return isLost
	case whose == api.Removed && !strings.ContainsAny(l.when, "lr"):
		return isRemoved
	case whose == api.Unclaimed && !strings.Contains(l.when, "u"):
		return unclaimed
	case whose == api.Claimed && !strings.Contains(l.when, "c"):
		return claimed
	case l.least > services.RoleNone && role == services.RoleNone:
		return signIn
	case role < l.least:
		return denied
	case l.fresh && !fresh:
		return password
	}
	return served
}

// answered classes an answer. Pages are marked by the door that TestAccess hangs before them.
func answered(path string, status int, header http.Header, body string) outcome {
	location := header.Get("Location")
	switch {
	case header.Get("X-Served") != "":
		return served
	case strings.HasPrefix(path, api.Prefix) || path == "/metrics":
		var f api.Failure
		if json.Unmarshal([]byte(body), &f) == nil {
			switch f.Error.Code {
			case "not-here":
				return notHere
			case "sign-in":
				return signIn
			case "denied":
				return denied
			case "already-claimed":
				return claimed
			case "unclaimed":
				return unclaimed
			case "household-lost":
				return isLost
			case "box-removed":
				return isRemoved
			case "not-for-apps": // where nobody can type one
				if status == http.StatusForbidden {
					return password
				}
			}
		}
		if status == http.StatusNotFound && !strings.HasPrefix(body, "{") {
			return notHere
		}
		if strings.HasPrefix(header.Get("Content-Type"), "text/html") {
			return notHere // the pages' word for it
		}
		return served
	case strings.HasPrefix(location, "/signin"):
		return signIn
	case strings.HasPrefix(location, "/again"):
		return password
	case location == "/claim" || location == "/":
		return unclaimed
	case strings.Contains(body, "cannot read whose it is"):
		return isLost
	case strings.Contains(body, "so it lets nobody in and serves nobody"):
		return isRemoved
	case strings.Contains(body, "This page is not shown here"), strings.Contains(body, "This address leads nowhere"):
		return notHere
	case strings.Contains(body, "this page is for others"):
		return denied
	}
	return outcome(fmt.Sprintf("status %d, %.200q", status, body))
}

// marking stands before pages: it says that the rules let the request through. Acts are not carried out, so that one
// cell does not change what the next finds; what they may do is asked in rights_test.go.
func marking(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Served", "1")
		if r.Method == http.MethodGet {
			next.ServeHTTP(w, r)
		}
	})
}

// aged makes every session one whose password was given long ago.
type aged struct{ web.Credentials }

func (a aged) Cookie(ctx context.Context, token secret.Text, device services.DeviceID) (services.Caller, bool, error) {
	c, _, err := a.Credentials.Cookie(ctx, token, device)
	return c, false, err
}

// fill puts values into a pattern.
func fill(path string) string {
	return strings.NewReplacer("{$}", "", "{id}", "aaaaaaaaaaaaaaaa", "{kind}", "pem", "{n}", "0").Replace(path)
}

// TestAccess asks for every cell of testdata/access.txt over the real handler of each face: unclaimed, claimed, lost
// and removed; nobody and a person of each role; with a password given just now and long ago; and inside the seal.
func TestAccess(t *testing.T) {
	state := t.TempDir()
	h := openHouse(t, state)
	walk(t, h, api.Unclaimed)
	h.takeIn()
	walk(t, h, api.Claimed)
	h.stop()

	gone := takenIn(t, t.TempDir())
	barn, _, _ := anotherBox(t, gone, "Barn")
	if err := barn.RemoveBox(t.Context(), gone.identity.Membership().Self); err != nil {
		t.Fatal(err)
	}
	exchange(t, gone.identity, barn)
	walk(t, gone, api.Removed)
	gone.stop()

	spoilLog(t, state)
	lost := openHouse(t, state)
	lost.who = h.who
	walk(t, lost, api.Lost)
}

// spoilLog damages the household log from its beginning.
func spoilLog(t *testing.T, state string) {
	t.Helper()
	path := filepath.Join(state, "identity", "log")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range min(len(b), 64) {
		b[i] ^= 0x5a
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func walk(t *testing.T, h *testHouse, whose api.Ownership) {
	t.Helper()
	lines := readAccess(t)
	if got := h.webConfig.House.Ownership(); got != whose {
		t.Fatalf("the box is in ownership %d, want %d", got, whose)
	}
	// The faces of each line of one path: who is not reached by one line may be by the other.
	lineFor := func(l *accessLine, face string) *accessLine {
		for _, o := range lines {
			if o.method == l.method && o.path == l.path && strings.Contains(o.faces, face) {
				return o
			}
		}
		return l
	}
	cells := 0
	for _, fresh := range []bool{true, false} {
		cfg := h.webConfig
		cfg.Around = marking
		if !fresh {
			cfg.Credentials = aged{cfg.Credentials}
		}
		server, err := web.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for role := services.RoleNone; role <= services.RoleOwner; role++ {
			p := h.who[role]
			if role != services.RoleNone && p == nil {
				continue
			}
			for face, letter := range faceLetters {
				for _, inside := range []bool{false, true} {
					if inside && face != services.FaceLAN {
						continue
					}
					handler := server.Handler(face)
					if inside {
						handler = server.Inside()
					}
					for _, l := range lines {
						l := lineFor(l, letter)
						if inside {
							l = sealedLine(lines, l)
						}
						got, role, fresh := askCell(h, handler, face, l, p, inside, role, fresh)
						if whose != api.Claimed && face != services.FaceConsole {
							role = services.RoleNone // what it knew of people is not there
						}
						if want := want(l, letter, inside, whose, role, fresh); got != want {
							t.Errorf("%s %s, face %v, inside the seal %v, %v, ownership %d, fresh %v: %s, want %s", l.method, l.path, face, inside, role, whose, fresh, got, want)
						}
						cells++
					}
				}
			}
		}
	}
	t.Attr("figure", fmt.Sprintf("%d cells of face, role, class and route on a box that is %s", cells, map[api.Ownership]string{api.Unclaimed: "unclaimed", api.Claimed: "claimed", api.Lost: "lost", api.Removed: "removed"}[whose]))
}

// sealedLine is the line of the same path that is inside the seal, when there is one.
func sealedLine(lines []*accessLine, l *accessLine) *accessLine {
	for _, o := range lines {
		if o.method == l.method && o.path == l.path && o.sealed {
			return o
		}
	}
	return l
}

// askCell asks one cell, and says as whom the box should have taken it.
func askCell(h *testHouse, handler http.Handler, face services.Face, l *accessLine, p *testPerson, inside bool, role services.Role, fresh bool) (outcome, services.Role, bool) {
	r := h.request(face, l.method, fill(l.path), http.NoBody)
	switch l.path { // well formed, so that the answer is about the box and not about the request
	case "/sealed/hello":
		r.Body = io.NopCloser(strings.NewReader(`{"v":1,"e":"AAAA"}`))
	case "/sealed/request":
		r.Body = io.NopCloser(strings.NewReader(`{"id":"AAAA","n":1,"box":"AAAA"}`))
	}
	switch {
	case face == services.FaceConsole:
		role, fresh = services.RoleOwner, true
	case strings.HasPrefix(l.path, api.Prefix):
		fresh = false
		if p != nil {
			r.SetBasicAuth(p.name, p.app)
		}
	case face == services.FaceLAN && !inside:
		role = services.RoleNone // a cookie on plain http is nobody's
		as(r, p)
	default:
		as(r, p)
	}
	if l.path == "/assets/" {
		r.URL.Path = assets.Path(assets.Names()[0])
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	body := w.Body.String()
	kind := w.Header().Get("Content-Type")
	switch { // no door stands before these; an answer that is no page is theirs
	case l.path == "/assets/" && w.Code == http.StatusOK, l.path == "/healthz" && strings.HasPrefix(kind, "text/plain"),
		l.path == "/metrics" && strings.HasPrefix(kind, "text/plain"):
		return served, role, fresh
	case strings.HasPrefix(l.path, "/sealed/") && kind == "application/json":
		if strings.Contains(body, `"over"`) {
			if h.webConfig.House.Ownership() == api.Removed {
				return isRemoved, role, fresh
			}
			return isLost, role, fresh
		}
		return served, role, fresh
	}
	return answered(l.path, w.Code, w.Header(), body), role, fresh
}
