package appliance

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/appliance/sealed"
	"hearth.alt/services"
	"hearth.alt/services/discovery"
	"hearth.alt/services/identity"
	"hearth.alt/services/identity/identitytest"
	"hearth.alt/services/link"
	"hearth.alt/services/secret"
)

// linking has the house keep its links until it stops.
func (h *testHouse) linking() *testHouse {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.links.Run(ctx) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	})
	eventually(h.t, "the links have no port", func() bool { return !h.identity.Membership().Claimed() || h.linkSockets.port() != 0 })
	return h
}

// joiners are a box of a household of people, and one that nobody has claimed.
func joiners(t *testing.T) (old, fresh *testHouse) {
	t.Helper()
	return takenIn(t, t.TempDir()).linking(), openHouse(t, t.TempDir()).linking()
}

func (h *testHouse) do() *api.House { return h.webConfig.House }

func (h *testHouse) inviteBox() api.BoxInvitationOutput {
	h.t.Helper()
	out, err := h.do().InviteBox(h.t.Context(), h.caller(services.RoleOwner), api.None{})
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

func (h *testHouse) join(in api.JoinInput) error {
	_, err := h.do().JoinHousehold(h.t.Context(), local, in)
	return err
}

func wantProblem(t *testing.T, err error, code string) {
	t.Helper()
	if p := services.AsProblem(err); p == nil || p.Code != code || p.Say.IsZero() {
		t.Errorf("error is %v, want a Problem %s", err, code)
	}
}

// forgetsClaim waits until the claim secret opens nothing any more.
func (h *testHouse) forgetsClaim() {
	h.t.Helper()
	eventually(h.t, "the claim secret still opens the box that joined", func() bool {
		_, held := h.claim.code()
		return !held
	})
}

// waitFor waits for the membership of h to be as wanted.
func (h *testHouse) waitFor(what string, wanted func(*services.Membership) bool) {
	h.t.Helper()
	for deadline := time.After(30 * time.Second); ; {
		m, changed := h.identity.Watch()
		if wanted(m) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			h.t.Fatalf("%s: %+v", what, m)
		}
	}
}

// One box invites, another joins by the link; both serve the same people from then on, and go on alone.
func TestBoxJoinsByLink(t *testing.T) {
	old, fresh := joiners(t)
	out := old.inviteBox()
	if len(out.PNG) == 0 || !strings.HasPrefix(out.Link.Reveal(), "http://hearth.local/join#hearth:box?") || len(strings.Fields(out.Code.Reveal())) != 3 {
		t.Errorf("the invitation is %d bytes of PNG, %q", len(out.PNG), out.Link.Reveal())
	}
	if shown, state, ok := old.do().BoxInvitation(old.caller(services.RoleOwner)); !ok || shown.Link.Reveal() != out.Link.Reveal() || !state.Open {
		t.Error("an owner does not see the invitation again")
	}
	if _, _, ok := old.do().BoxInvitation(old.caller(services.RoleMember)); ok {
		t.Error("a member sees the invitation")
	}
	in, err := fresh.do().JoinHousehold(t.Context(), local, api.JoinInput{Link: out.Link.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	if in.Household != "Smith" || in.Domain != "smith.home.arpa" || in.Box != "hearth" {
		t.Errorf("it joined as %+v", in)
	}
	if fresh.identity.WordsPending() {
		t.Error("the box that joined wants words written down that it never had")
	}
	fresh.settled() // it has an authority of its own, and no claim secret
	fresh.forgetsClaim()
	wantProblem(t, fresh.join(api.JoinInput{Link: out.Link.Reveal()}), "already-claimed")

	if _, err := old.identity.AddPerson(t.Context(), identity.NewPerson{Name: "Ben", Role: services.RoleMember}); err != nil {
		t.Fatal(err)
	}
	fresh.waitFor("Ben reaches the new box", func(m *services.Membership) bool {
		return slices.ContainsFunc(m.People, func(p services.Person) bool { return p.Name == "Ben" })
	})
	list, err := old.do().ListBoxes(t.Context(), old.caller(services.RoleMember), api.None{})
	if err != nil || len(list) != 2 || list[0].Name != "Attic" || !list[0].Self || list[1].Self || !list[1].Linked {
		t.Errorf("boxes are %+v, %v", list, err)
	} else if len(strings.Fields(in.Words)) != 3 || list[1].Words != in.Words || list[0].Words != "" {
		t.Errorf("the words to compare are %q and %q, and %q for itself", in.Words, list[1].Words, list[0].Words)
	}
	if away := old.pages.Frame(t.Context()).Away; len(away) != 0 {
		t.Errorf("%q are said not to be in touch", away)
	}
	events, err := old.do().ListAudit(t.Context(), local, api.AuditInput{})
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, e := range events[:2] {
		actions = append(actions, e.Action+" "+e.Object)
	}
	if !slices.Equal(actions, []string{"box-joined hearth", "box-invited "}) {
		t.Errorf("written down: %q", actions)
	}

	self := fresh.identity.Membership().Self
	wantProblem(t, func() error {
		_, err := fresh.do().RemoveBox(t.Context(), local, api.BoxInput{ID: "hearth"})
		return err
	}(), "this-box")
	if _, err := old.do().RemoveBox(t.Context(), old.caller(services.RoleMember), api.BoxInput{ID: "hearth"}); !errors.Is(err, api.ErrDenied) {
		t.Errorf("a member removes a box: %v", err)
	}
	if _, err := old.do().RemoveBox(t.Context(), old.caller(services.RoleAdmin), api.BoxInput{ID: "hearth"}); err != nil {
		t.Fatal(err)
	}
	fresh.waitFor("the removal reaches the box", func(m *services.Membership) bool {
		return !slices.ContainsFunc(m.Boxes, func(b services.Box) bool { return b.ID == self })
	})
	wantProblem(t, func() error {
		_, err := old.do().RemoveBox(t.Context(), local, api.BoxInput{ID: "attic", This: true})
		return err
	}(), "last-box")
}

// The same by three words, at an address that somebody types or with the box that is found at home.
func TestBoxJoinsByCode(t *testing.T) {
	for what, at := range map[string]func(old, fresh *testHouse) string{
		"address": func(old, _ *testHouse) string { return old.linkedAt()[0].String() },
		"found": func(old, fresh *testHouse) string {
			nobody, box := netip.MustParseAddr("127.0.0.1"), old.linkedAt()[0]
			fresh.joining.near = func() []discovery.Found {
				return []discovery.Found{
					{Kind: discovery.KindHearth, Host: "hearth.local", Addresses: []netip.Addr{nobody}, Text: map[string]string{"id": fresh.info.PeerID.String()[:16], "mesh": "9"}},
					{Kind: discovery.KindHearth, Host: "attic.local", Addresses: []netip.Addr{box.Addr()}, Text: map[string]string{"id": "x", "mesh": box.String()[strings.LastIndex(box.String(), ":")+1:]}},
				}
			}
			return ""
		},
	} {
		t.Run(what, func(t *testing.T) {
			old, fresh := joiners(t)
			at := at(old, fresh)
			wantProblem(t, fresh.join(api.JoinInput{Link: "river stone apple", At: at}), "invite-unknown")
			out := old.inviteBox()
			wrong := "river stone apple"
			if wrong == out.Code.Reveal() {
				wrong = "river stone river"
			}
			wantProblem(t, fresh.join(api.JoinInput{Link: wrong, At: at}), "code-wrong")
			wantProblem(t, fresh.join(api.JoinInput{Link: "river stone", At: at}), "code-count")
			wantProblem(t, fresh.join(api.JoinInput{Link: out.Code.Reveal(), At: at, Name: "Attic"}), "name-taken")
			if fresh.identity.Membership().Claimed() || len(old.identity.Membership().Boxes) != 1 {
				t.Fatal("something is half done")
			}
			in, err := fresh.do().JoinHousehold(t.Context(), local, api.JoinInput{Link: strings.ToUpper(out.Code.Reveal()), At: at, Name: "Barn"})
			if err != nil {
				t.Fatal(err)
			}
			if want := identity.PairWords(old.identity.FriendID(), old.info.PeerID, fresh.info.PeerID); in.Words != want {
				t.Errorf("it shows %q for the box that invited it, want %q", in.Words, want)
			}
			old.waitFor("the box belongs", func(m *services.Membership) bool { return len(m.Boxes) == 2 })
		})
	}
}

// Whatever is wrong with the way to the other box is one sentence, and nothing is half done.
func TestJoinSentences(t *testing.T) {
	old, fresh := joiners(t)
	out := old.inviteBox()
	parsed, err := identity.ParseInviteLink(out.Link.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	text := func(change func(l *identity.InviteLink)) string {
		l := parsed
		change(&l)
		s, err := l.Text()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for what, c := range map[string]struct {
		in   api.JoinInput
		code string
	}{
		"nothing":                                {api.JoinInput{Link: "  "}, "link-empty"},
		"no link":                                {api.JoinInput{Link: "https://example.com/"}, "link-invalid"},
		"another box at the address":             {api.JoinInput{Link: text(func(l *identity.InviteLink) { l.Inviter = identitytest.NewKeys("other").PeerID() })}, "wrong-peer"},
		"another household":                      {api.JoinInput{Link: text(func(l *identity.InviteLink) { l.Root = make([]byte, 32) })}, "join-refused"},
		"another secret":                         {api.JoinInput{Link: text(func(l *identity.InviteLink) { l.Secret = identity.NewInviteSecret() })}, "invite-unknown"},
		"expired by its own word":                {api.JoinInput{Link: text(func(l *identity.InviteLink) { l.Expires = time.Unix(1, 0) })}, "invite-expired"},
		"the box's own address":                  {api.JoinInput{Link: "river stone apple", At: "127.0.0.1:" + portOf(fresh)}, "self"},
		"no box near":                            {api.JoinInput{Link: "river stone apple"}, "no-box-near"},
		"a port that is none":                    {api.JoinInput{Link: "river stone apple", At: "127.0.0.1:0"}, "bad-address"},
		"a name nobody knows":                    {api.JoinInput{Link: "river stone apple", At: "nobody.invalid"}, "bad-address"},
		"nobody at the address":                  {api.JoinInput{Link: "river stone apple", At: "127.0.0.1:9"}, "unreachable"},
		"a word that no code has":                {api.JoinInput{Link: "river stone aple", At: "127.0.0.1:9"}, "code-word"},
		"a name that cannot be":                  {api.JoinInput{Link: out.Link.Reveal(), Name: "a\nb"}, "name-invalid"},
		"an invitation that is for someone else": {api.JoinInput{Link: text(func(l *identity.InviteLink) { l.Kind = identity.InviteFriend })}, "invite-kind"},
	} {
		err := fresh.join(c.in)
		if p := services.AsProblem(err); p == nil || p.Code != c.code {
			t.Errorf("%s: %v, want %s", what, err, c.code)
		}
		if fresh.identity.Membership().Claimed() {
			t.Fatalf("%s: it belongs to a household", what)
		}
	}
	// Whoever tries again at once was told that the other box is busy: with the try before, which it was still ending.
	for range 20 {
		wantProblem(t, fresh.join(api.JoinInput{Link: text(func(l *identity.InviteLink) { l.Root = make([]byte, 32) })}), "join-refused")
	}
	if err := old.do().WithdrawBox(t.Context(), old.caller(services.RoleOwner)); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, fresh.join(api.JoinInput{Link: out.Link.Reveal()}), "invite-unknown")
	if _, _, ok := old.do().BoxInvitation(local); ok {
		t.Error("what was withdrawn is still shown")
	}
	wantProblem(t, old.join(api.JoinInput{Link: out.Link.Reveal()}), "already-claimed")
}

func portOf(h *testHouse) string {
	if err := h.joining.run(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	at := h.linkedAt()[0].String()
	return at[strings.LastIndex(at, ":")+1:]
}

// An unclaimed box that is to join links outwards; it speaks with nobody. And a household's box speaks with strangers
// about joining only, while somebody is invited.
func TestStrangersOfJoining(t *testing.T) {
	old, fresh := joiners(t)
	port := portOf(fresh)
	old.links.where.note(fresh.info.PeerID, netip.MustParseAddrPort("127.0.0.1:"+port))
	if got, err := old.link.PeerProtocols(t.Context(), fresh.info.PeerID); err == nil && len(got) > 0 {
		t.Errorf("an unclaimed box speaks %q", got)
	}
	ask := func() []string {
		st, err := fresh.link.OpenAt(t.Context(), old.linkedAt()[0], identity.JoinProtocol)
		if err == nil {
			st.Cancel()
		}
		got, err := fresh.link.PeerProtocols(t.Context(), old.info.PeerID)
		if err != nil {
			t.Error(err)
		}
		return got
	}
	if got := ask(); len(got) > 0 {
		t.Errorf("strangers are spoken to in %q", got)
	}
	old.inviteBox()
	if got := ask(); !slices.Equal(got, []string{identity.JoinProtocol}) {
		t.Errorf("while a box is invited strangers are spoken to in %q", got)
	}
	old.joining.invitations.Cancel()
	var refused *link.RefusedError
	if _, err := fresh.link.Open(t.Context(), old.info.PeerID, identity.JoinProtocol); !errors.As(err, &refused) || refused.Code != link.RefusedUnknown {
		t.Errorf("after it was withdrawn: %v", err)
	}
}

// The whole on the pages: an admin invites on one box, and whoever has the claim sheet of the other joins inside the seal.
func TestBoxJoinsOnPages(t *testing.T) {
	old, fresh := joiners(t)
	admin := old.who[services.RoleOwner]
	ask := func(method, path, form string) *httptest.ResponseRecorder {
		r := old.request(services.FaceTunnel, method, path, strings.NewReader(form))
		if method == "POST" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return old.ask(services.FaceTunnel, as(r, admin))
	}
	has := func(what string, w *httptest.ResponseRecorder, text string) {
		t.Helper()
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), text) {
			t.Fatalf("%s: %d, without %q:\n%s", what, w.Code, text, w.Body)
		}
	}
	has("before", ask("GET", "/boxes/add", ""), "Invite a box")
	if w := ask("POST", "/boxes/add", "do=invite"); w.Header().Get("Location") != "/boxes/add" {
		t.Fatalf("inviting leads to %q, %d", w.Header().Get("Location"), w.Code)
	}
	out, _, ok := old.do().BoxInvitation(local)
	if !ok {
		t.Fatal("nobody is invited")
	}
	has("waiting", ask("GET", "/boxes/add", ""), out.Code.Reveal())

	c := fresh.sealedClient("192.0.2.7:99")
	if err := c.Hello(t.Context(), fresh.psk(t)); err != nil {
		t.Fatal(err)
	}
	join := func(link string) *sealed.Response {
		t.Helper()
		form := url.Values{"link": {link}, "name": {"Barn"}, "at": {old.linkedAt()[0].String()}}
		res, err := c.Do(t.Context(), sealed.Request{Method: "POST", Path: "/claim/join", Form: form.Encode()})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if res := join("river stone aple"); res.Status != http.StatusUnprocessableEntity || !strings.Contains(res.Body, "The nearest one is “apple”") {
		t.Errorf("a word that no code has: %d\n%s", res.Status, res.Body)
	}
	if res := join(strings.Replace(out.Link.Reveal(), "box?", "box?A", 1)); res.Status != http.StatusUnprocessableEntity || !strings.Contains(res.Body, "This is not a whole invitation") {
		t.Errorf("a link that is cut: %d", res.Status)
	}
	if fresh.identity.Membership().Claimed() {
		t.Fatal("it belongs to somebody already")
	}
	res := join(out.Link.Reveal())
	if res.Status != http.StatusOK || !strings.Contains(res.Body, "This box belongs to <bdi>Smith</bdi> now.") {
		t.Errorf("joining: %d\n%s", res.Status, res.Body)
	}
	has("joined", ask("GET", "/boxes/add", ""), "Barn")
	words := identity.PairWords(old.identity.FriendID(), old.info.PeerID, fresh.info.PeerID)
	if !strings.Contains(res.Body, words) {
		t.Errorf("the box that joined does not show %q", words)
	}
	has("the words", ask("GET", "/boxes/add", ""), words)
	has("a way to remove it", ask("GET", "/boxes/add", ""), "/boxes/"+fresh.info.PeerID.String()+"/remove")
	has("the words, later", ask("GET", "/boxes", ""), words)
	// The claim secret has done its work once the browser had time to show so: nobody is to be paired there.
	fresh.claim.mu.Lock()
	fresh.claim.sealed = time.Now().Add(-2 * lastLook)
	fresh.claim.mu.Unlock()
	fresh.forgetsClaim()
	has("the list", ask("GET", "/boxes", ""), "Barn")

	path := "/boxes/" + old.info.PeerID.String() + "/remove"
	has("the question", ask("GET", path, ""), "I mean this very box")
	if w := ask("POST", path, ""); w.Code != http.StatusUnprocessableEntity || len(old.identity.Membership().Boxes) != 2 {
		t.Errorf("this box is removed without saying so: %d", w.Code)
	}
	// What was last set on the other box is spared, since that was not stolen.
	changed := &testPerson{name: old.who[services.RoleMember].name, password: "kettle harbour onion velvet"}
	fresh.soon("the person comes", func() bool { return fresh.account.HasPassword(old.who[services.RoleMember].id) })
	if err := fresh.account.SetPassword(t.Context(), local, old.who[services.RoleMember].id, secret.NewText(changed.password)); err != nil {
		t.Fatal(err)
	}
	old.soon("the change comes", func() bool {
		p, _, err := old.account.RestsOn(t.Context(), fresh.info.PeerID)
		return p == 1 && err == nil
	})
	if w := ask("POST", "/boxes/"+fresh.info.PeerID.String()+"/remove", "spare=yes"); w.Header().Get("Location") != "/boxes" || len(old.identity.Membership().Boxes) != 1 {
		t.Errorf("the other box is not removed: %d", w.Code)
	}
	old.soon("its statements go", func() bool {
		p, _, err := old.account.RestsOn(t.Context(), fresh.info.PeerID)
		return p == 0 && err == nil
	})
	if _, err := old.signsIn(changed); err != nil {
		t.Errorf("with what was set on the removed box: %v", err)
	}
}

// Without the claim code nobody joins a box to a household.
func TestJoinWantsTheClaimCode(t *testing.T) {
	old, fresh := joiners(t)
	form := url.Values{"link": {old.inviteBox().Link.Reveal()}, "name": {"Barn"}}.Encode()
	for _, face := range []services.Face{services.FaceSecure, services.FaceTunnel} {
		r := fresh.request(face, "POST", "/claim/join", strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.AddCookie(&http.Cookie{Name: "hearth-claim", Value: "guess"})
		if w := fresh.ask(face, r); w.Header().Get("Location") != "/claim" {
			t.Errorf("face %v: %d to %q, want to /claim", face, w.Code, w.Header().Get("Location"))
		}
	}
	if fresh.identity.Membership().Claimed() {
		t.Error("it joined")
	}
}
