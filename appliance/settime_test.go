package appliance

import (
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/services/clock"
	"hearth.alt/webui"
)

// TestSetTheTime names the bug: a known time that NTP had led astray could not be set back by anybody.
func TestSetTheTime(t *testing.T) {
	h := takenIn(t, t.TempDir())
	right := time.Date(2026, time.December, 1, 12, 0, 0, 0, time.UTC)
	forged, mono := right.Add(400*24*time.Hour), time.Duration(0)
	path := filepath.Join(t.TempDir(), "clock")
	open := func() *clock.Clock {
		c, err := clock.New(path, clock.System{Wall: func() time.Time { return forged }, Mono: func() time.Duration { return mono }}, false)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	zone, err := api.OpenZone(filepath.Join(t.TempDir(), "zone"), nil)
	if err != nil {
		t.Fatal(err)
	}
	h.pages.API.Zone = zone
	h.pages.API.Clock = open() // a device's, which NTP led a year on
	h.pages.API.Clock.Vouch()
	anew := 0
	h.pages.API.TimeSet = func() { anew++ }

	show := func() (out api.TimeOutput) {
		t.Helper()
		w := h.ask(services.FaceConsole, h.request(services.FaceConsole, "GET", api.Prefix+"/time", nil))
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return out
	}
	set := func(text string) (int, string) {
		r := h.request(services.FaceConsole, "POST", api.Prefix+"/time", strings.NewReader(`{"time":"`+text+`"}`))
		r.Header.Set("Content-Type", "application/json")
		w := h.ask(services.FaceConsole, r)
		return w.Code, w.Body.String()
	}
	if got := show(); !got.Time.Equal(forged) || got.Source != "system" || !got.System.Equal(forged) {
		t.Errorf("before: %+v", got)
	}
	for text, want := range map[string]string{
		"1999-01-01T00:00:00Z": "not decades ahead", "2107-01-01T00:00:00Z": "not decades ahead", "yesterday": "2026-11-21T12:00:00Z",
	} {
		if code, body := set(text); code != http.StatusBadRequest && code != http.StatusUnprocessableEntity || !strings.Contains(body, want) || anew != 0 {
			t.Errorf("%s: %d %s", text, code, body)
		}
	}
	if code, body := set("2026-12-01T12:00:00Z"); code != http.StatusOK {
		t.Errorf("%d %s", code, body)
	}
	if got := show(); !got.Time.Equal(right) || !got.Known || got.Source != "person" || !got.System.Equal(forged) {
		t.Errorf("after: %+v", got)
	}
	if anew != 1 {
		t.Errorf("the certificate was asked to be made anew %d times", anew)
	}
	if got := open().Now(); !got.Equal(right) {
		t.Errorf("at the next start it is %v", got)
	}
	events, err := h.account.Events(t.Context(), time.Time{}, 20)
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, e := range events {
		if e.Action == "time-set" && e.Face == services.FaceConsole && e.Object == forged.Format(time.RFC3339) {
			told++
		}
	}
	if told != 1 {
		t.Errorf("the audit log tells it %d times: %+v", told, events)
	}

	// On the pages it is an admin's, and past the tables too.
	later := "2026-12-01 13:00"
	for role, want := range map[services.Role]error{services.RoleMember: api.ErrDenied, services.RoleGuest: api.ErrDenied, services.RoleAdmin: nil, services.RoleOwner: nil} {
		ctx := webui.WithCaller(t.Context(), h.caller(role))
		if err := h.pages.SetTime(ctx, later); !errors.Is(err, want) {
			t.Errorf("%v: %v, want %v", role, err, want)
		}
		if n, err := h.pages.Network(ctx); role >= services.RoleMember && (err != nil || n.MayChange != (want == nil)) {
			t.Errorf("%v: %v, the form is shown: %v", role, err, n.MayChange)
		}
	}
	if err := h.pages.SetTime(webui.WithCaller(t.Context(), h.caller(services.RoleOwner)), "noon"); err == nil || services.AsProblem(err).Field != "time" {
		t.Errorf("nonsense: %v", err)
	}
	if got := show(); !got.Time.Equal(right.Add(time.Hour)) {
		t.Errorf("after the pages: %+v", got)
	}

	// A laptop's owner keeps its clock.
	h.pages.API.Clock = h.clock
	if code, body := set("2030-01-01T00:00:00Z"); code != http.StatusConflict || !strings.Contains(body, "Set that clock first") {
		t.Errorf("against the computer's clock: %d %s", code, body)
	}
}
