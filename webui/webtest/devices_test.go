package webtest

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// TestWhatPagesSay names bugs: a box that reaches no further than home promised anywhere, a guest was told to bring a phone
// in and had no way to, a phone that was there five minutes ago came in in a way not known, an invitation to a Hearth on
// this computer was said to open at home, and password managers could not tell whose new password it was.
func TestWhatPagesSay(t *testing.T) {
	scenes := map[string]Scene{}
	for _, s := range Scenes() {
		scenes[s.Name] = s
	}
	const whose = `autocomplete="username"`
	for _, tt := range []struct{ scene, want, not string }{
		{"devices-home", "for now at home only", "from anywhere"},
		{"devices-guest", "Ask someone who lives here", "Bring the first phone in"},
		{"devices-away", "not connected just now", "not known"},
		{"invitation-here", "on this computer only", "opens at home"},
		{"invitation", "It opens at home", "on this computer"},
		{"join-back", whose, ""}, {"join-welcome", whose, ""}, {"sessions", whose, ""}, {"again", whose, ""}, {"forgotten", whose, ""},
	} {
		w := httptest.NewRecorder()
		scenes[tt.scene].ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if page := w.Body.String(); !strings.Contains(page, tt.want) || tt.not != "" && strings.Contains(page, tt.not) {
			t.Errorf("%s: want %q and not %q in\n%s", tt.scene, tt.want, tt.not, page)
		}
	}
}
