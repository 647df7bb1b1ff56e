package appliance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
)

// TestAuditNamesPeople names the bug: the audit log showed whoever something was done to by their ID.
func TestAuditNamesPeople(t *testing.T) {
	h := takenIn(t, t.TempDir())
	list, err := h.webConfig.House.ListAudit(t.Context(), local, api.AuditInput{Limit: 500})
	if err != nil || len(list) == 0 {
		t.Fatal(list, err)
	}
	for _, e := range list {
		for _, p := range h.who {
			if e.Object == string(p.id) || e.Actor == string(p.id) {
				t.Errorf("%+v names %s by ID", e, p.name)
			}
		}
	}
}

// TestAuditOnce says which events each operation leaves: each change of what is kept exactly once, each call on the
// console as "local".
func TestAuditOnce(t *testing.T) {
	h := openHouse(t, t.TempDir())
	ctx := t.Context()
	call := func(method, path, body string) map[string]any {
		t.Helper()
		r := httptest.NewRequestWithContext(ctx, method, "http://hearth"+api.Prefix+path, strings.NewReader(body))
		w := h.ask(services.FaceConsole, r)
		if w.Code != http.StatusOK {
			t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
		var out map[string]any
		json.NewDecoder(bytes.NewReader(w.Body.Bytes())).Decode(&out)
		return out
	}
	seen := 0
	events := func() (out []string) {
		t.Helper()
		all, err := h.account.Events(ctx, time.Time{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		slices.Reverse(all)
		for _, e := range all[seen:] {
			s := e.Action
			if e.Action == "local" {
				s += " " + e.Object
			}
			if e.Face != services.FaceConsole && !strings.HasPrefix(e.Action, "revoked-") {
				t.Errorf("%s came from %v, want the console", s, e.Face)
			}
			out = append(out, s)
		}
		seen = len(all)
		return out
	}
	expect := func(what string, want ...string) {
		t.Helper()
		if got := events(); !slices.Equal(got, want) {
			t.Errorf("%s leaves %q, want %q", what, got, want)
		}
	}
	call("GET", "/status", "")
	call("GET", "/status", "")
	expect("asking twice within a minute", "local status")
	call("POST", "/claim", `{"household":"Smith","box":"Attic","owner":"Olga","password":"turtle lantern copper forty"}`)
	expect("the claim", "password-set", "claimed", "local claim")
	out := call("POST", "/people", `{"name":"Mia","role":"member"}`)
	expect("an invitation", "invited", "person-invited", "local person add")
	id := fmt.Sprint(out["id"])
	call("POST", "/people/"+id, `{"name":"Mina","lan":"no"}`)
	expect("a change", "person-changed", "local person change")
	call("DELETE", "/people/"+id, "")
	var got []string
	eventually(t, "what was theirs is not swept away", func() bool { // beside the call
		got = append(got, events()...)
		return len(got) >= 3
	})
	slices.Sort(got)
	if want := []string{"local person remove", "person-removed"}; !slices.Equal(slices.DeleteFunc(got, func(s string) bool { return strings.HasPrefix(s, "revoked-") }), want) {
		t.Errorf("a removal leaves %q, want %q", got, want)
	}
	if w := h.ask(services.FaceConsole, httptest.NewRequestWithContext(ctx, "DELETE", "http://hearth"+api.Prefix+"/people/"+id, http.NoBody)); w.Code != http.StatusNotFound {
		t.Errorf("removing nobody: %d", w.Code)
	}
	expect("a refusal", "local person remove: no-person")
	if err := h.account.VerifyAudit(ctx); err != nil {
		t.Error(err)
	}
}
