package appliance

import (
	"testing"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/webui"
)

// TestWhoSeesTheNamesThatPointHome: on the page of the network they are an admin's, as everywhere.
func TestWhoSeesTheNamesThatPointHome(t *testing.T) {
	h := takenIn(t, t.TempDir())
	if _, err := h.webConfig.House.AllowHomeward(t.Context(), local, api.AllowHomewardInput{Domain: "nas.example.com"}); err != nil {
		t.Fatal(err)
	}
	for role, want := range map[services.Role]int{services.RoleMember: 0, services.RoleAdmin: 1, services.RoleOwner: 1} {
		n, err := h.pages.Network(webui.WithCaller(t.Context(), h.caller(role)))
		if err != nil || len(n.Homeward) != want || n.MayChange != (want == 1) {
			t.Errorf("%v: %q, may change them: %v, %v", role, n.Homeward, n.MayChange, err)
		}
	}
}
