package pages

import (
	"strings"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/account"
)

// TestTell tells every event there is, with an id for its object where account writes one: no sentence holds it.
func TestTell(t *testing.T) {
	const ann, id = services.PersonID("aaaaaaaaaaaaaaa2"), "c7snf4kmh7i4dbe7"
	m := &services.Membership{People: []services.Person{{ID: ann, Name: "Ann"}}}
	for _, action := range []string{"created-app-password", "ended-app-password", "ended-session", "ended-others", "ended-known", "revoked-session", "revoked-app-password",
		"revoked-password", "sign-out", "sign-in", "sign-in-refused", "password-changed", "password-set", "person-erased", "accounts-restored"} {
		for _, actor := range []services.PersonID{ann, "", "aaaaaaaaaaaaaaa3"} {
			say, ok := tell(m, account.Event{Actor: actor, Action: action, Object: id, Face: services.FaceConsole})
			if text := say.String(); ok && (strings.Contains(text, id) || strings.Contains(text, string(actor)) && actor != "") {
				t.Errorf("%s by %q is told as %q", action, actor, text)
			}
		}
	}
	for _, action := range []string{"person-invited", "device-added", "device-removed", "person-removed"} {
		if say, ok := tell(m, account.Event{Action: action, Object: "Ben", Face: services.FaceConsole}); !ok || !strings.HasPrefix(say.String(), "Ben ") {
			t.Errorf("%s at the box itself is told as %q, %v", action, say, ok)
		}
	}
}
