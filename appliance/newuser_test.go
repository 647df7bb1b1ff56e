package appliance

import (
	"errors"
	"testing"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/services/account"
	"hearth.alt/services/secret"
	"hearth.alt/webui"
	"hearth.alt/webui/house"
)

// TestPersonPageKeepsItsWord names the bug: a member ticked "their devices reach the home network" on their own page,
// the page said that it was saved, and nothing was.
func TestPersonPageKeepsItsWord(t *testing.T) {
	h := takenIn(t, t.TempDir())
	ctx := webui.WithCaller(t.Context(), h.caller(services.RoleMember))
	me := h.who[services.RoleMember].id
	if err := h.identity.SetLAN(t.Context(), me, false); err != nil {
		t.Fatal(err)
	}
	p, err := h.rooms().Person(ctx, me)
	if err != nil || p.MayLAN {
		t.Fatalf("a member is asked about the home network: %v, %v", p.MayLAN, err)
	}
	if err := h.rooms().ChangePerson(ctx, me, house.PersonForm{Name: p.Name, Role: p.Role, LAN: true}); !errors.Is(err, api.ErrDenied) {
		t.Errorf("a member opened the home network to their devices, and was told %v", err)
	}
	if err := h.rooms().ChangePerson(ctx, me, house.PersonForm{Name: "Mina", Role: p.Role}); err != nil {
		t.Errorf("a member changes their name: %v", err)
	}
	owner := webui.WithCaller(t.Context(), h.caller(services.RoleOwner))
	if p, err = h.rooms().Person(owner, me); err != nil || !p.MayLAN || p.Name != "Mina" || p.LAN {
		t.Fatalf("the owner sees %+v, %v", p, err)
	}
	for _, lan := range []bool{true, false} {
		if err := h.rooms().ChangePerson(owner, me, house.PersonForm{Name: p.Name, Role: p.Role, LAN: lan}); err != nil {
			t.Fatal(err)
		}
		if p, _ := h.rooms().Person(owner, me); p.LAN != lan {
			t.Errorf("LAN is %v after %v was saved", p.LAN, lan)
		}
	}
}

// TestPasswordHint names the bug: the pages asked for ten characters, the house for twelve.
func TestPasswordHint(t *testing.T) {
	if house.MinPassword != account.MinPassword {
		t.Errorf("the pages ask for %d characters, the house for %d", house.MinPassword, account.MinPassword)
	}
}

// TestWrongOwnPassword names the bug: who typed their old password wrongly was told that a name did not fit, though
// no name was asked.
func TestWrongOwnPassword(t *testing.T) {
	h := takenIn(t, t.TempDir())
	ctx := webui.WithCaller(t.Context(), h.caller(services.RoleMember))
	err := h.rooms().ChangePassword(ctx, secret.NewText("nothing like it"), secret.NewText("seven quiet otters swim"))
	if p := services.AsProblem(err); p == nil || p.Field != "password" || p.Say.Key != "account.not-yours" {
		t.Errorf("a wrong password until now is told as %v", err)
	}
}
