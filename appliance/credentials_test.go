package appliance

import (
	"errors"
	"testing"

	"hearth.alt/appliance/api"
	"hearth.alt/appliance/keeper"
	"hearth.alt/services"
	"hearth.alt/services/account"
	"hearth.alt/services/secret"
)

// signsIn says whether p comes in with their password.
func (h *testHouse) signsIn(p *testPerson) (account.SignedIn, error) {
	return h.account.SignIn(h.t.Context(), account.SignIn{By: services.Caller{Face: services.FaceConsole}, Name: p.name, Password: secret.NewText(p.password)})
}

// soon waits for what a link is about to bring.
func (h *testHouse) soon(what string, f func() bool) {
	h.t.Helper()
	if !comes(f) {
		h.t.Fatalf("not within 30 s: %s\n%s", what, h.log)
	}
}

// A box that joined lets the same people in as the first one, also with that one off; what changes on one box changes on
// the other.
func TestBothBoxesLetTheSameIn(t *testing.T) {
	if keeper.StatementDomain != account.SignDomain {
		t.Fatal("the keeper signs other statements than account makes")
	}
	old, fresh := joiners(t)
	ctx := t.Context()
	member, admin := old.who[services.RoleMember], old.who[services.RoleOwner]
	if err := fresh.join(api.JoinInput{Link: old.inviteBox().Link.Reveal()}); err != nil {
		t.Fatal(err)
	}
	fresh.soon("the passwords come", func() bool {
		return fresh.account.HasPassword(member.id) && fresh.account.HasPassword(old.who[services.RoleOwner].id)
	})
	in, err := fresh.signsIn(member)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range old.who {
		if _, err := fresh.account.CheckBasic(ctx, p.name, secret.NewText(p.app)); err != nil {
			t.Errorf("%s's app password: %v", p.name, err)
		}
		if _, err := fresh.account.CheckToken(ctx, secret.NewText(p.token)); err != nil {
			t.Errorf("%s's token: %v", p.name, err)
		}
		if _, err := fresh.account.Authenticate(ctx, secret.NewText(p.session), ""); !errors.Is(err, account.ErrSignedOut) {
			t.Errorf("%s's session of the other box: %v", p.name, err)
		}
	}

	if err := old.account.SetPassword(ctx, local, member.id, secret.NewText("kettle harbour onion velvet")); err != nil {
		t.Fatal(err)
	}
	fresh.soon("the session ends with the password", func() bool {
		_, err := fresh.account.Authenticate(ctx, in.Token, "")
		return errors.Is(err, account.ErrSignedOut)
	})
	list, err := fresh.account.List(account.KindApp, admin.id)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d app passwords, %v", len(list), err)
	}
	if err := fresh.account.End(ctx, local, admin.id, list[0].ID); err != nil {
		t.Fatal(err)
	}
	old.soon("the app password ends", func() bool {
		_, err := old.account.CheckBasic(ctx, admin.name, secret.NewText(admin.app))
		return errors.Is(err, account.ErrSignedOut)
	})

	old.stop()
	if _, err := fresh.signsIn(admin); err != nil {
		t.Errorf("with the first box off: %v", err)
	}

	// The first box is broken, not stolen: what was set on it last counts on without it.
	changed := &testPerson{name: member.name, password: "kettle harbour onion velvet"}
	if _, err := fresh.do().RemoveBox(ctx, local, api.BoxInput{ID: "Attic", Keep: true}); err != nil {
		t.Fatal(err)
	}
	fresh.soon("nothing rests on the removed box", func() bool {
		passwords, others, err := fresh.account.RestsOn(ctx, old.identity.Membership().Self)
		return err == nil && passwords+others == 0
	})
	if _, err := fresh.signsIn(changed); err != nil {
		t.Errorf("with the first box removed: %v", err)
	}
}
