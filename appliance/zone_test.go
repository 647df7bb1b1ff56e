package appliance

import (
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/services/secret"
	"hearth.alt/webui"
	"hearth.alt/webui/house"
)

// TestZone names a bug: all pages showed UTC without saying so, and nobody could change that.
func TestZone(t *testing.T) {
	state := t.TempDir()
	h := takenIn(t, state)
	none, err := api.OpenZone(filepath.Join(t.TempDir(), "zone"), nil)
	if err != nil || none.Location() != nil {
		t.Fatalf("without a file: %v, %v", none.Location(), err)
	}
	owner := h.who[services.RoleOwner]
	page := func() string {
		t.Helper()
		w := h.ask(services.FaceSecure, as(h.request(services.FaceSecure, "GET", "/network", nil), owner))
		if w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return w.Body.String()
	}
	set := func(name string) (int, string) {
		t.Helper()
		r := h.request(services.FaceConsole, "POST", api.Prefix+"/time/zone", strings.NewReader(`{"zone":"`+name+`"}`))
		r.Header.Set("Content-Type", "application/json")
		w := h.ask(services.FaceConsole, r)
		return w.Code, w.Body.String()
	}
	for _, bad := range []string{"Berlin", "Local", "../../etc/passwd", "Europe/Nowhere"} {
		if code, body := set(bad); code != http.StatusBadRequest || !strings.Contains(body, "Europe/Berlin") {
			t.Errorf("%q: %d %s", bad, code, body)
		}
	}
	if code, body := set("Asia/Kolkata"); code != http.StatusOK || !strings.Contains(body, `"zone":"Asia/Kolkata"`) {
		t.Errorf("%d %s", code, body)
	}
	if p := page(); !strings.Contains(p, "Asia/Kolkata") || strings.Contains(p, "UTC") {
		t.Error("the page does not say its zone")
	}

	// What is typed is local time.
	ctx := webui.WithCaller(t.Context(), h.caller(services.RoleOwner))
	now := h.clock.Now()
	if err := h.pages.SetTime(ctx, now.In(h.pages.API.Zone.Location()).Format("2006-01-02 15:04")); err != nil && services.AsProblem(err).Code == "bad-input" {
		t.Errorf("local time: %v", err)
	}
	if err := h.pages.SetZone(webui.WithCaller(t.Context(), h.caller(services.RoleMember)), "Europe/Paris"); services.AsProblem(err) == nil {
		t.Error("a member chose another")
	}
	h.stop()
	h = openHouse(t, state)
	if got := h.pages.API.Zone.Location().String(); got != "Asia/Kolkata" {
		t.Errorf("after a restart it is %s", got)
	}
}

// TestZoneOfAClaim: the browser says where it is; else the language does where it is spoken in one zone.
func TestZoneOfAClaim(t *testing.T) {
	for _, tt := range []struct{ zone, language, want string }{
		{"America/Lima", "de", "America/Lima"},
		{"nonsense", "de", "Europe/Berlin"},
		{"", "en", "UTC"},
	} {
		h := openHouse(t, t.TempDir())
		zone, err := api.OpenZone(filepath.Join(t.TempDir(), "zone"), nil) // a device's
		if err != nil {
			t.Fatal(err)
		}
		h.pages.API.Zone = zone
		ctx := webui.WithSealed(webui.WithCaller(t.Context(), services.Caller{Face: services.FaceLAN, Address: "192.0.2.9:5"}))
		form := house.ClaimForm{Household: "Smith", Box: "Attic", Owner: "Olga", Password: secret.NewText("turtle lantern copper forty"), Zone: tt.zone, Language: tt.language}
		if _, err := h.pages.Claim(ctx, "", form); err != nil {
			t.Fatal(err)
		}
		if got := api.ZoneName(zone.Location(), time.Now()); got != tt.want {
			t.Errorf("%q in %s: %s, want %s", tt.zone, tt.language, got, tt.want)
		}
		h.stop()
	}
}

// TestADomainIsShownAsTyped names the bug: a name with an umlaut came back as xn-- and what nobody typed.
func TestADomainIsShownAsTyped(t *testing.T) {
	h := takenIn(t, t.TempDir())
	do, by := h.webConfig.House, h.caller(services.RoleOwner)
	ctx := webui.WithCaller(t.Context(), by)
	const typed, ascii = "nas.müller.de", "nas.xn--mller-kva.de"
	if out, err := do.AllowHomeward(ctx, by, api.AllowHomewardInput{Domain: typed}); err != nil || out.Domain != typed {
		t.Errorf("allowed: %+v, %v", out, err)
	}
	if list, err := do.ListHomeward(ctx, by, api.None{}); err != nil || len(list) != 1 || list[0].Domain != typed {
		t.Errorf("listed: %+v, %v", list, err)
	}
	if n, err := h.pages.Network(ctx); err != nil || !slices.Equal(n.Homeward, []string{typed}) {
		t.Errorf("on the page: %q, %v", n.Homeward, err)
	}
	if kept := do.DNS.Allowed(); !slices.Equal(kept, []string{ascii}) {
		t.Errorf("kept: %q", kept)
	}
	r := h.request(services.FaceConsole, "DELETE", api.Prefix+"/dns/homeward/"+url.PathEscape(typed), nil)
	if w := h.ask(services.FaceConsole, r); w.Code >= 300 || len(do.DNS.Allowed()) != 0 {
		t.Errorf("removing what the list says: %d %s", w.Code, w.Body)
	}
	events, err := h.pages.Events(ctx, time.Time{}, 0)
	if err != nil || !slices.ContainsFunc(events, func(e house.Event) bool { return strings.Contains(e.What.String(), typed) }) ||
		slices.ContainsFunc(events, func(e house.Event) bool { return strings.Contains(e.What.String(), ascii) }) {
		t.Errorf("in the journal: %v, %v", events, err)
	}
}
