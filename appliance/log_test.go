package appliance

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/identity"
)

// The household's log is told newest first, fifty to a page, with who did it and what had no effect; admins read it and
// have it checked.
func TestLogInWords(t *testing.T) {
	h := takenIn(t, t.TempDir())
	barn, keys, _ := anotherBox(t, h, "Barn")
	role, guest := services.RoleMember, h.who[services.RoleGuest].id
	for i := range 60 {
		if role++; role > services.RoleAdmin {
			role = services.RoleGuest
		}
		if err := h.identity.ChangePerson(identity.Acting(t.Context(), h.who[services.RoleOwner].id, ""), guest, identity.PersonChange{Role: &role}); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := h.identity.RemoveBox(t.Context(), keys.PeerID()); err != nil {
		t.Fatal(err)
	}
	taken(t, barn, "Eve")
	exchange(t, barn, h.identity)

	admin := h.who[services.RoleAdmin]
	page := func(target string) string {
		t.Helper()
		w := h.ask(services.FaceSecure, as(h.request(services.FaceSecure, "GET", target, http.NoBody), admin))
		if w.Code != http.StatusOK {
			t.Fatalf("%s: %d\n%s", target, w.Code, w.Body)
		}
		return w.Body.String()
	}
	first := page("/network/log")
	for _, want := range []string{"The box <bdi>Barn</bdi> was removed.", "The role of <bdi>Gus</bdi> was changed.", "<bdi>Olga</bdi>, on the box <bdi>Attic</bdi>", "?page=2"} {
		if !strings.Contains(first, want) {
			t.Errorf("the first page lacks %q", want)
		}
	}
	if n := strings.Count(first, "<time"); n != 50 || strings.Contains(first, "Newer") {
		t.Errorf("the first page has %d records", n)
	}
	entries, err := h.identity.Entries()
	if err != nil {
		t.Fatal(err)
	}
	last := page("/network/log?page=2")
	if n := strings.Count(last, "<time"); n != len(entries)-50 || !strings.Contains(last, "The household <bdi>Smith</bdi> began.") || strings.Contains(last, "Older") {
		t.Errorf("the last page has %d records of %d:\n%s", n, len(entries)-50, last)
	}
	if all := first + last; !strings.Contains(all, "<bdi>Eve</bdi> was taken in.") || strings.Count(all, "It had no effect: the box that wrote it does not belong")+
		strings.Count(all, "It had no effect: it is disputed") != 1 {
		t.Error("what the removed box wrote is not told as without effect")
	}
	for target, want := range map[string]string{"?page=0": first, "?page=-1": first, "?page=x": first, "?page=99": last} {
		if got := page("/network/log" + target); strings.Count(got, "<time") != strings.Count(want, "<time") {
			t.Errorf("%s shows another page", target)
		}
	}
	if w := h.ask(services.FaceSecure, as(h.request(services.FaceSecure, "GET", "/network/log", http.NoBody), h.who[services.RoleMember])); w.Code != http.StatusForbidden {
		t.Errorf("a member: %d", w.Code)
	}

	check := func() string {
		t.Helper()
		w := h.ask(services.FaceSecure, as(h.request(services.FaceSecure, "POST", "/network/log", http.NoBody), admin))
		if w.Code != http.StatusSeeOther {
			t.Fatalf("checked: %d\n%s", w.Code, w.Body)
		}
		next := as(h.request(services.FaceSecure, "GET", w.Header().Get("Location"), http.NoBody), admin)
		for _, c := range w.Result().Cookies() {
			next.AddCookie(c)
		}
		return h.ask(services.FaceSecure, next).Body.String()
	}
	if text := check(); !strings.Contains(text, fmt.Sprintf("all %d are good", len(entries))) {
		t.Errorf("a good log:\n%s", text)
	}
	path := filepath.Join(h.state, "identity", "log")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-20] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if text := check(); !strings.Contains(text, fmt.Sprintf("Record %d of the log is not good", len(entries))) {
		t.Errorf("a damaged log:\n%s", text)
	}
}
