package account

import (
	"context"
	"errors"
	"strings"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/secret"
)

func TestAppPasswordsAndTokens(t *testing.T) {
	s, _ := setUp(t)
	ctx := t.Context()
	app, x, err := s.CreateAppPassword(ctx, from(""), NewCredential{Person: anna, Device: phone, Name: "Calendar", Scope: "dav"})
	if err != nil || len(app.Reveal()) != 28+6 || x.Device != phone || x.Scope != "dav" {
		t.Fatalf("%d characters, %+v, %v", len(app.Reveal()), x, err)
	}
	for name, p := range map[string]string{"as shown": app.Reveal(), "shouted": strings.ToUpper(app.Reveal()), "no dashes": strings.ReplaceAll(app.Reveal(), "-", ""), "spaces": strings.ReplaceAll(app.Reveal(), "-", " ")} {
		if got, err := s.CheckBasic(ctx, "anna", secret.NewText(p)); err != nil || got.ID != x.ID {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, tc := range map[string][2]string{"other person": {"ben ärger", app.Reveal()}, "the password itself": {"anna", good}, "nothing": {"anna", ""}} {
		if _, err := s.CheckBasic(ctx, tc[0], secret.NewText(tc[1])); !errors.Is(err, ErrSignedOut) {
			t.Errorf("%s: %v", name, err)
		}
	}
	token, _, err := s.CreateToken(ctx, from(""), NewCredential{Person: anna, Name: "script"})
	if err != nil || !strings.HasPrefix(token.Reveal(), "hearth_") {
		t.Fatal(err)
	}
	if _, err := s.CheckToken(ctx, token); err != nil {
		t.Error(err)
	}
	// One kind is not good as another.
	if _, err := s.Authenticate(ctx, token, ""); err == nil {
		t.Error("a token is a session")
	}
	if _, err := s.CheckToken(ctx, signIn(t, s, "Anna", "").Token); err == nil {
		t.Error("a session is a token")
	}
	if _, _, err := s.CreateToken(ctx, from(""), NewCredential{Person: cleo, Name: "x"}); !errors.Is(err, ErrNoPerson) {
		t.Errorf("for a pending person: %v", err)
	}
	if _, _, err := s.CreateAppPassword(ctx, from(""), NewCredential{Person: anna, Device: other, Name: "x"}); !errors.Is(err, ErrNoPerson) {
		t.Errorf("on somebody else's device: %v", err)
	}
	for _, bad := range []string{"", "a\nb", strings.Repeat("x", 101)} {
		if _, _, err := s.CreateToken(ctx, from(""), NewCredential{Person: anna, Name: bad}); services.AsProblem(err).Code != "name-form" {
			t.Errorf("name %q: %v", bad, err)
		}
	}
	for range maxTokens {
		_, _, err = s.CreateToken(ctx, from(""), NewCredential{Person: anna, Name: "x"})
	}
	if services.AsProblem(err).Code != "too-many" {
		t.Errorf("after %d tokens: %v", maxTokens+1, err)
	}
}

// TestRevocation tries every kind: it fails on one that it does not know.
func TestRevocation(t *testing.T) {
	type held struct {
		id    string
		works func() bool
	}
	get := map[Kind]func(t *testing.T, s *Service) held{
		KindPassword: func(t *testing.T, s *Service) held {
			return held{"", func() bool {
				_, err := s.SignIn(context.Background(), SignIn{By: from("10.9.9.9"), Name: "Ben Ärger", Password: secret.NewText(good)})
				return err == nil
			}}
		},
		KindSession: func(t *testing.T, s *Service) held {
			in := signIn(t, s, "Ben Ärger", "")
			return held{in.Session.ID, func() bool { _, err := s.Authenticate(context.Background(), in.Token, ""); return err == nil }}
		},
		KindKnown: func(t *testing.T, s *Service) held {
			in := signIn(t, s, "Ben Ärger", "")
			return held{"", func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.byHash[digestOf(in.Known)] != nil
			}}
		},
		KindApp: func(t *testing.T, s *Service) held {
			text, x, err := s.CreateAppPassword(context.Background(), from(""), NewCredential{Person: ben, Device: other, Name: "x"})
			if err != nil {
				t.Fatal(err)
			}
			return held{x.ID, func() bool { _, err := s.CheckBasic(context.Background(), "Ben Ärger", text); return err == nil }}
		},
		KindToken: func(t *testing.T, s *Service) held {
			text, x, err := s.CreateToken(context.Background(), from(""), NewCredential{Person: ben, Device: other, Name: "x"})
			if err != nil {
				t.Fatal(err)
			}
			return held{x.ID, func() bool { _, err := s.CheckToken(context.Background(), text); return err == nil }}
		},
		KindInvitation: func(t *testing.T, s *Service) held {
			text, _, err := s.CreateInvitation(context.Background(), from(""), cleo)
			if err != nil {
				t.Fatal(err)
			}
			return held{"", func() bool { _, err := s.Invitation(text); return err == nil }}
		},
	}
	ways := map[string]struct {
		change func(*house)
		spares func(Kind) bool // what this does not end
	}{
		"the person is removed": {func(h *house) { h.change(h.remove(ben)); h.change(h.remove(cleo)) }, func(Kind) bool { return false }},
		"the person is quarantined": {func(h *house) {
			h.change(func(m *services.Membership) {
				m.People[1].State, m.People[2].State = services.StateQuarantined, services.StateQuarantined
			})
		}, func(Kind) bool { return false }},
		"the person is demoted": {func(h *house) { h.change(func(m *services.Membership) { m.People[1].Role = services.RoleGuest }) }, func(k Kind) bool { return k == KindPassword || k == KindKnown || k == KindInvitation }},
		"the device is removed": {func(h *house) { h.change(func(m *services.Membership) { m.Devices = m.Devices[:1] }) }, func(k Kind) bool { return k != KindApp && k != KindToken }},
		"the device is quarantined": {func(h *house) {
			h.change(func(m *services.Membership) { m.Devices[1].State = services.StateQuarantined })
		}, func(k Kind) bool { return k != KindApp && k != KindToken }},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			s, h := setUp(t)
			all := map[Kind]held{}
			for _, k := range Kinds() {
				if get[k] == nil {
					t.Fatalf("the test does not know the kind %q: teach it", k)
				}
				all[k] = get[k](t, s)
			}
			for k, x := range all {
				if !x.works() {
					t.Fatalf("%s does not work before", k)
				}
			}
			h.took()
			way.change(h)
			for k, x := range all {
				if k == KindKnown {
					continue // lets nobody in; erased below
				}
				if got := x.works(); got != way.spares(k) {
					t.Errorf("at once after: %s works is %v", k, got)
				}
			}
			// Sockets are told, rows are erased.
			eventually(t, "the rows go", func() bool {
				db, err := s.database()
				if err != nil {
					return false
				}
				left := 0
				for k, x := range all {
					if way.spares(k) {
						continue
					}
					n := 0
					q := "SELECT count(*) FROM credential WHERE kind = '" + string(k) + "' AND person IN ('" + string(ben) + "', '" + string(cleo) + "')"
					switch {
					case x.id != "":
						q = "SELECT count(*) FROM credential WHERE id = '" + x.id + "'"
					case k == KindPassword:
						q = "SELECT count(*) FROM password WHERE person = '" + string(ben) + "'"
					}
					db.QueryRow(q).Scan(&n)
					left += n
				}
				return left == 0
			})
			ended := map[string]bool{}
			eventually(t, "sockets are told", func() bool {
				for _, e := range h.took() {
					ended[e.ID] = true
				}
				for k, x := range all {
					if !way.spares(k) && x.id != "" && !ended[x.id] {
						return false
					}
				}
				return true
			})
		})
	}
}
