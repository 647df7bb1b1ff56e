package appliance

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/services/account"
	"hearth.alt/services/secret"
	"hearth.alt/webui"
)

// TestWayIn says that whoever forgot their password gets in again by a link of somebody who may give their role: the old
// password and everything signed in ends, devices and app passwords stay.
func TestWayIn(t *testing.T) {
	h := takenIn(t, t.TempDir())
	ctx := t.Context()
	owner, admin, mia := h.who[services.RoleOwner], h.who[services.RoleAdmin], h.who[services.RoleMember]
	do := h.webConfig.House
	for _, tt := range []struct {
		by, who *testPerson
		role    services.Role
	}{{admin, owner, services.RoleAdmin}, {mia, admin, services.RoleMember}, {owner, owner, services.RoleOwner}} {
		if _, _, err := do.Invite(ctx, services.Caller{Person: tt.by.id, Role: tt.role}, tt.who.id); !errors.Is(err, api.ErrDenied) {
			t.Errorf("%s makes a way in for %s: %v, want it denied", tt.by.name, tt.who.name, err)
		}
	}
	by := services.Caller{Person: owner.id, Role: services.RoleOwner}
	code, until, err := do.Invite(ctx, by, mia.id)
	if err != nil || until.Sub(h.clock.Now()) > account.WayInLife {
		t.Fatalf("until %v, %v", until, err)
	}
	if _, err := h.account.SignIn(ctx, account.SignIn{Name: mia.name, Password: secret.NewText(mia.password)}); err != nil {
		t.Errorf("before it is used the old password does not sign in: %v", err)
	}
	w, err := h.pages.ReadInvitation(ctx, code)
	if err != nil || !w.Back || w.Name != mia.name {
		t.Fatalf("%+v, %v", w, err)
	}
	const fresh = "marble kettle orchard nine"
	if _, err := h.pages.AcceptInvitation(ctx, code, "Mallory", secret.NewText(fresh), false); err != nil {
		t.Fatal(err)
	}
	p, _ := h.identity.Membership().Person(mia.id)
	if p.Name != mia.name || p.State != services.StateActive {
		t.Errorf("afterwards %+v", p)
	}
	if _, err := h.account.Authenticate(ctx, secret.NewText(mia.session), ""); !errors.Is(err, account.ErrSignedOut) {
		t.Errorf("the old session: %v", err)
	}
	if _, err := h.account.SignIn(ctx, account.SignIn{Name: mia.name, Password: secret.NewText(mia.password)}); !errors.Is(err, account.ErrRefused) {
		t.Errorf("the old password: %v", err)
	}
	if _, err := h.account.SignIn(ctx, account.SignIn{Name: mia.name, Password: secret.NewText(fresh)}); err != nil {
		t.Errorf("the new password: %v", err)
	}
	if list, err := h.account.List(account.KindApp, mia.id); err != nil || len(list) != 1 {
		t.Errorf("%d app passwords, %v, want the one there was", len(list), err)
	}
	if _, err := h.pages.AcceptInvitation(ctx, code, "", secret.NewText(fresh), false); !errors.Is(err, account.ErrInvitation) {
		t.Errorf("the link works twice: %v", err)
	}
	if c, _, _, err := do.InviteCode(by, mia.id); err != nil || c.Reveal() != "" {
		t.Errorf("a used link is shown again: %v", err)
	}

	// Whoever ticks the box ends what their apps and programs have, too.
	if code, _, err = do.Invite(ctx, by, mia.id); err != nil {
		t.Fatal(err)
	}
	form := url.Values{"code": {code.Reveal()}, "password": {"kettle orchard nine marble"}, "apps": {"yes"}}
	r := h.request(services.FaceSecure, "POST", "/join/accept", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if w := h.ask(services.FaceSecure, r); w.Code != 303 {
		t.Fatalf("the page answers %d: %s", w.Code, w.Body)
	}
	for _, k := range []account.Kind{account.KindApp, account.KindToken} {
		if list, err := h.account.List(k, mia.id); err != nil || len(list) != 0 {
			t.Errorf("%d of kind %s are left, %v", len(list), k, err)
		}
	}
}

// watched calls look whenever somebody asks whether it is done.
type watched struct {
	context.Context
	look func()
}

func (w watched) Done() <-chan struct{} {
	w.look()
	return w.Context.Done()
}

// TestAWayInHoldsNobodyUp: what the box remembers was once locked while the event of a new way in was written to disk.
func TestAWayInHoldsNobodyUp(t *testing.T) {
	h := takenIn(t, t.TempDir())
	do := h.webConfig.House
	var looks, held atomic.Int32
	ctx := watched{t.Context(), func() {
		if looks.Add(1); held.Load() > 0 {
			return
		}
		free := make(chan struct{})
		go func() {
			do.WaitingKey("")
			close(free)
		}()
		select {
		case <-free:
		case <-time.After(10 * time.Second):
			held.Add(1)
		}
	}}
	if _, _, err := do.Invite(ctx, services.Caller{Person: h.who[services.RoleOwner].id, Role: services.RoleOwner}, h.who[services.RoleMember].id); err != nil {
		t.Fatal(err)
	}
	if looks.Load() == 0 || held.Load() > 0 {
		t.Errorf("looked %d times, held up %d times", looks.Load(), held.Load())
	}
}

// TestALinkIsCalledWhatItIs names the bugs: the first link to choose another password said that the one before no longer
// works, it could not be withdrawn, and withdrawing an invitation spoke of a person removed.
func TestALinkIsCalledWhatItIs(t *testing.T) {
	h := takenIn(t, t.TempDir())
	owner, mia := h.who[services.RoleOwner], h.who[services.RoleMember]
	cookies := map[string]string{}
	open := func(method, path string, form url.Values) string {
		t.Helper()
		for range 3 {
			r := as(h.request(services.FaceSecure, method, path, strings.NewReader(form.Encode())), owner)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			for name, value := range cookies {
				r.AddCookie(&http.Cookie{Name: name, Value: value})
			}
			w := h.ask(services.FaceSecure, r)
			for _, c := range w.Result().Cookies() {
				cookies[c.Name] = c.Value
			}
			if w.Code != http.StatusSeeOther {
				return w.Body.String()
			}
			method, path, form = "GET", w.Header().Get("Location"), nil
		}
		t.Fatalf("%s leads round and round", path)
		return ""
	}
	says := func(page string, want bool, texts ...string) {
		t.Helper()
		for _, s := range texts {
			if strings.Contains(page, s) != want {
				t.Errorf("%q is there: %v, want %v, in\n%s", s, !want, want, page)
			}
		}
	}
	link := "/people/" + string(mia.id) + "/invitation"
	page := open("POST", link, nil)
	says(page, true, "A new way in for", "Withdraw the link", "I have a code")
	says(page, false, "The one before no longer works", "Invitation for", "I have an invitation")
	says(open("POST", link, nil), true, "The one before no longer works")
	says(open("GET", "/people", nil), true, "Can choose a new password with a link until")
	says(open("POST", link, url.Values{"withdraw": {"yes"}}), true, "no longer works. The password stays as it is.")
	if until := h.account.Invited(mia.id); !until.IsZero() {
		t.Errorf("the withdrawn link is good until %v", until)
	}
	says(open("GET", "/people", nil), false, "Can choose a new password")

	out, err := h.webConfig.House.AddPerson(t.Context(), local, api.AddPersonInput{Name: "Gast", Role: services.RoleGuest})
	if err != nil {
		t.Fatal(err)
	}
	page = open("GET", "/people/"+string(out.ID)+"/remove", nil)
	says(page, true, "Withdraw the invitation for", "The link stops working.")
	says(page, false, "Remove Gast", "Keep Gast", "pair their devices again")
	page = open("POST", "/people/"+string(out.ID)+"/remove", nil)
	says(page, true, "is withdrawn. Its link no longer works.")
	says(page, false, "All that was theirs")

	page = open("GET", "/people/"+string(owner.id)+"/remove", nil)
	says(page, true, "Nobody removes themselves")
	says(page, false, "An owner can change that")
}

// Whoever typed a name that is taken once had their password set, the code used up, and read that the invitation was not
// good any more.
func TestARefusedNameKeepsTheInvitation(t *testing.T) {
	h := takenIn(t, t.TempDir())
	ctx := t.Context()
	out, err := h.webConfig.House.AddPerson(ctx, local, api.AddPersonInput{Name: "Ina", Role: services.RoleMember})
	if err != nil {
		t.Fatal(err)
	}
	code := secret.NewText(out.Code.Reveal())
	const fresh = "marble kettle orchard nine"
	for _, tt := range []struct{ name, password string }{{"Mia", fresh}, {"I\u200bna", fresh}, {"Ina Maria", "short"}} {
		if _, err := h.pages.AcceptInvitation(ctx, code, tt.name, secret.NewText(tt.password), false); services.AsProblem(err) == nil || services.AsProblem(err).Kind == services.KindInternal {
			t.Errorf("%+v: %v, want a refusal in a sentence", tt, err)
		}
		if p, _ := h.identity.Membership().Person(out.ID); p.Name != "Ina" || p.State != services.StatePending {
			t.Errorf("%+v: refused, and now %+v", tt, p)
		}
	}
	if _, err := h.pages.AcceptInvitation(ctx, code, "Ina Maria", secret.NewText(fresh), false); err != nil {
		t.Fatal(err)
	}
	if p, _ := h.identity.Membership().Person(out.ID); p.Name != "Ina Maria" || p.State != services.StateActive {
		t.Errorf("afterwards %+v", p)
	}
}

// Whoever forgot the password has tried wrong ones before, and so signing in waits. The link once ended in "used already".
func TestWayInAfterManyTries(t *testing.T) {
	h := takenIn(t, t.TempDir())
	mia := h.who[services.RoleMember]
	ctx := webui.WithCaller(t.Context(), services.Caller{Face: services.FaceSecure, Address: "192.0.2.9:5"})
	busy := false
	for range 30 {
		_, err := h.pages.SignIn(ctx, mia.name, secret.NewText("wrong wrong wrong"))
		busy = busy || services.AsProblem(err).Kind == services.KindBusy
	}
	if !busy {
		t.Fatal("wrong passwords are not slowed down")
	}
	// The tries go on meanwhile, so that a slow machine does not wait them out.
	done := make(chan struct{})
	var tries sync.WaitGroup
	tries.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				h.pages.SignIn(ctx, mia.name, secret.NewText("wrong wrong wrong"))
			}
		}
	})
	defer tries.Wait()
	defer close(done)
	code, _, err := h.webConfig.House.Invite(ctx, services.Caller{Person: h.who[services.RoleOwner].id, Role: services.RoleOwner}, mia.id)
	if err != nil {
		t.Fatal(err)
	}
	session, err := h.pages.AcceptInvitation(ctx, code, "", secret.NewText("marble kettle orchard nine"), false)
	if err != nil || session != "" {
		t.Errorf("session %q, %v; want none yet, and no error", session, err)
	}
	if !h.account.HasPassword(mia.id) {
		t.Error("no password is set")
	}
}

// TestAcceptedBeforeTheCut: a plug pulled between the password of an accepted invitation and the record of it left a
// person invited who could not come in.
func TestAcceptedBeforeTheCut(t *testing.T) {
	h := takenIn(t, t.TempDir())
	out, err := h.webConfig.House.AddPerson(t.Context(), local, api.AddPersonInput{Name: "Nina", Role: services.RoleMember})
	if err != nil {
		t.Fatal(err)
	}
	const fresh = "marble kettle orchard nine"
	if err := h.account.SetPassword(t.Context(), local, out.ID, secret.NewText(fresh)); err != nil {
		t.Fatal(err)
	}
	h.stop()
	h = openHouse(t, h.state)
	h.waitFor("never let in", func(m *services.Membership) bool {
		p, _ := m.Person(out.ID)
		return p.State == services.StateActive
	})
	if _, err := h.account.SignIn(t.Context(), account.SignIn{Name: "Nina", Password: secret.NewText(fresh)}); err != nil {
		t.Error(err)
	}
}

// TestWayInByWords says that the recovery words let an owner in who forgot the password, and nobody else, and that
// guessing is slowed down.
func TestWayInByWords(t *testing.T) {
	h := takenIn(t, t.TempDir())
	owner, admin := h.who[services.RoleOwner], h.who[services.RoleAdmin]
	ctx := webui.WithCaller(t.Context(), services.Caller{Face: services.FaceSecure, Address: "192.0.2.9:5", Person: h.who[services.RoleGuest].id, Role: services.RoleGuest}) // whoever is signed in there
	list, err := h.webConfig.House.Words(ctx, local)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, w := range list {
		words = append(words, w.Reveal())
	}
	right := secret.NewText(strings.Join(words, " "))
	if _, err := h.pages.WayInByWords(ctx, admin.name, right); services.AsProblem(err).Code != "no-owner" {
		t.Errorf("for an admin: %v", err)
	}
	if _, err := h.pages.WayInByWords(ctx, "Mallory", right); services.AsProblem(err).Code != "no-owner" {
		t.Errorf("for nobody: %v", err)
	}
	code, err := h.pages.WayInByWords(ctx, owner.name, right)
	if err != nil {
		t.Fatal(err)
	}
	const fresh = "marble kettle orchard nine"
	if _, err := h.pages.AcceptInvitation(ctx, code, "", secret.NewText(fresh), false); err != nil {
		t.Fatal(err)
	}
	if _, err := h.account.SignIn(ctx, account.SignIn{Name: owner.name, Password: secret.NewText(fresh)}); err != nil {
		t.Errorf("the new password: %v", err)
	}
	all, err := h.account.Events(ctx, time.Time{}, 0)
	if err != nil || !slices.ContainsFunc(all, func(e account.Event) bool { return e.Action == "way-in-by-words" && e.Object == owner.name }) {
		t.Errorf("it is not written down: %v", err)
	}
	busy := false
	for range 12 {
		_, err := h.pages.WayInByWords(ctx, owner.name, secret.NewText(strings.Join(append(words[1:], words[0]), " ")))
		if p := services.AsProblem(err); p == nil || p.Kind != services.KindInvalid && p.Kind != services.KindBusy {
			t.Fatalf("wrong words: %v", err)
		} else {
			busy = busy || p.Kind == services.KindBusy
		}
	}
	if !busy {
		t.Error("twelve wrong tries were not slowed down")
	}
}
