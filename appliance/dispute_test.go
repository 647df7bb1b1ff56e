package appliance

import (
	"context"
	"encoding/json"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/identity/identitytest"
	"hearth.alt/webui"
)

// anotherBox takes a box into the household of h.
func anotherBox(t *testing.T, h *testHouse, name string) (*identity.Service, *identitytest.Keys, string) {
	t.Helper()
	return takenInBy(t, h.identity, name)
}

// takenInBy is a box that inviter takes into its household.
func takenInBy(t *testing.T, inviter *identity.Service, name string) (*identity.Service, *identitytest.Keys, string) {
	t.Helper()
	keys, dir := identitytest.NewKeys(t.Name()+name), filepath.Join(t.TempDir(), "identity")
	box, err := identity.New(identity.Config{Dir: dir, Keys: keys, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inviter.AddBox(t.Context(), identity.NewBox{ID: keys.PeerID(), Name: name}); err != nil {
		t.Fatal(err)
	}
	m := inviter.Membership()
	if err := box.Join(t.Context(), identity.JoinLog{Root: [32]byte(m.Household.Root), Inviter: m.Self, Records: inviter.RecordBytes()}); err != nil {
		t.Fatal(err)
	}
	return box, keys, dir
}

// copied is a second box with the keys and the log of another.
func copied(t *testing.T, dir string, keys identity.Keys) *identity.Service {
	t.Helper()
	to := t.TempDir()
	b, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, "log"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := identity.New(identity.Config{Dir: to, Keys: keys, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// exchange has two boxes tell one another all they have.
func exchange(t *testing.T, a, b *identity.Service) {
	t.Helper()
	x, err := a.Connect(b.Membership().Self)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	y, err := b.Connect(a.Membership().Self)
	if err != nil {
		t.Fatal(err)
	}
	defer y.Close()
	for moved := true; moved; {
		moved = false
		for _, way := range [][2]*identity.LogConn{{x, y}, {y, x}} {
			for f := way[0].Next(); f != nil; f = way[0].Next() {
				if err := way[1].Receive(t.Context(), f); err != nil {
					t.Fatal(err)
				}
				moved = true
			}
		}
	}
}

// taken adds somebody on a box.
func taken(t *testing.T, box *identity.Service, name string) {
	t.Helper()
	if _, err := box.AddPerson(t.Context(), identity.NewPerson{Name: name, Role: services.RoleMember}); err != nil {
		t.Fatal(err)
	}
}

// theWords are the recovery words of h.
func theWords(t *testing.T, h *testHouse) string {
	t.Helper()
	list, err := h.webConfig.House.Words(t.Context(), local)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, w := range list {
		words = append(words, w.Reveal())
	}
	return strings.Join(words, " ")
}

// send posts a form on a face with no session, and returns the answer and its text.
func send(h *testHouse, face services.Face, path string, form url.Values) (*httptest.ResponseRecorder, string) {
	h.t.Helper()
	r := h.request(face, "POST", path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := h.ask(face, r)
	return w, html.UnescapeString(w.Body.String())
}

// duelled is a house whose two owners, Olga and Adam, removed one another on two boxes.
func duelled(t *testing.T, before ...func(h *testHouse)) (h *testHouse, barn *identity.Service) {
	t.Helper()
	h = takenIn(t, t.TempDir())
	for _, do := range before {
		do(h)
	}
	olga, adam := h.who[services.RoleOwner].id, h.who[services.RoleAdmin].id
	role := services.RoleOwner
	if err := h.identity.ChangePerson(identity.Acting(t.Context(), olga, ""), adam, identity.PersonChange{Role: &role}); err != nil {
		t.Fatal(err)
	}
	barn, _, _ = anotherBox(t, h, "Barn")
	if err := h.identity.RemovePerson(identity.Acting(t.Context(), olga, ""), adam); err != nil {
		t.Fatal(err)
	}
	if err := barn.RemovePerson(identity.Acting(t.Context(), adam, ""), olga); err != nil {
		t.Fatal(err)
	}
	exchange(t, h.identity, barn)
	if !h.identity.Membership().Frozen {
		t.Fatal("nothing is frozen")
	}
	return h, barn
}

// Two owners removed one another, so neither can sign in: whoever has the 24 words says without a session who stays.
func TestSettleWithoutASession(t *testing.T) {
	h, barn := duelled(t)
	words, olga, adam := theWords(t, h), h.who[services.RoleOwner], h.who[services.RoleAdmin]
	for _, face := range []services.Face{services.FaceSecure, services.FaceTunnel} {
		w := h.ask(face, h.request(face, "GET", "/dispute", http.NoBody))
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `name="words"`) || strings.Contains(w.Body.String(), "Olga") || strings.Contains(w.Body.String(), "Adam") {
			t.Errorf("%v, the first step: %d\n%s", face, w.Code, w.Body)
		}
	}
	if w := h.ask(services.FaceLAN, h.request(services.FaceLAN, "GET", "/dispute", http.NoBody)); w.Code != http.StatusForbidden {
		t.Errorf("on plain http at home: %d", w.Code)
	}
	if w := h.ask(services.FaceSecure, h.request(services.FaceSecure, "GET", "/signin", http.NoBody)); !strings.Contains(w.Body.String(), `href="/dispute"`) {
		t.Error("signing in does not lead there")
	}
	mia := h.who[services.RoleMember]
	if w := h.ask(services.FaceSecure, as(h.request(services.FaceSecure, "GET", "/", http.NoBody), mia)); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "Who belongs to this house is disputed") || !strings.Contains(w.Body.String(), "Two removed one another") || strings.Contains(w.Body.String(), "in two places") {
		t.Errorf("the first page does not say so: %d\n%s", w.Code, w.Body)
	}
	for password, says := range map[string]string{olga.password: "You are suspended while it is disputed", "not " + olga.password: "do not belong together"} {
		if w, text := send(h, services.FaceSecure, "/signin", url.Values{"name": {olga.name}, "password": {password}}); w.Code != http.StatusUnprocessableEntity || !strings.Contains(text, says) {
			t.Errorf("she signs in: %d, without %q\n%s", w.Code, says, text)
		}
	}
	list := strings.Fields(words)
	for what, wrong := range map[string]string{"Word 1 is not": "zoo " + strings.Join(list[1:], " "), "not 23": strings.Join(list[1:], " "), "Word 2 is not a recovery word": list[0] + " qqqq " + strings.Join(list[2:], " ")} {
		w, text := send(h, services.FaceSecure, "/dispute", url.Values{"words": {wrong}})
		if w.Code != http.StatusUnprocessableEntity || !strings.Contains(text, what) || strings.Contains(text, "Olga") {
			t.Errorf("%q: %d\n%s", what, w.Code, text)
		}
		if w, text := send(h, services.FaceSecure, "/dispute/settle", url.Values{"words": {wrong}}); w.Code != http.StatusUnprocessableEntity && w.Code != http.StatusTooManyRequests || strings.Contains(text, "Olga") {
			t.Errorf("past the first step, %q: %d", what, w.Code)
		}
	}
	h.pages.Guesses = &guesses{}

	w, text := send(h, services.FaceTunnel, "/dispute", url.Values{"words": {strings.ToUpper(words)}})
	if w.Code != http.StatusOK || !strings.Contains(text, "Olga, removed by Adam") || !strings.Contains(text, "Adam, removed by Olga") || strings.Contains(text, "checked") {
		t.Fatalf("with the words: %d\n%s", w.Code, text)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("a page with the words may be kept: %q", w.Header().Get("Cache-Control"))
	}
	who := func(p *testPerson) string { return "who-" + string(p.id) }
	for what, form := range map[string]url.Values{
		"Choose whether Adam belongs on": {who(olga): {"stays"}},
		"At least one owner has to stay": {who(olga): {"goes"}, who(adam): {"goes"}},
	} {
		form.Set("words", words)
		w, text := send(h, services.FaceTunnel, "/dispute/settle", form)
		if w.Code != http.StatusUnprocessableEntity || strings.Count(text, what) != 2 || !h.identity.Membership().Frozen {
			t.Errorf("%q: %d\n%s", what, w.Code, text)
		}
	}
	w, _ = send(h, services.FaceTunnel, "/dispute/settle", url.Values{"words": {words}, who(olga): {"stays"}, who(adam): {"goes"}})
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/signin" {
		t.Fatalf("settled: %d %q\n%s", w.Code, w.Header().Get("Location"), w.Body)
	}
	next := h.request(services.FaceTunnel, "GET", "/signin", http.NoBody)
	for _, c := range w.Result().Cookies() {
		next.AddCookie(c)
	}
	if text := html.UnescapeString(h.ask(services.FaceTunnel, next).Body.String()); !strings.Contains(text, "Still belonging: <bdi>Olga</bdi>. Removed: <bdi>Adam</bdi>.") || strings.Contains(text, `href="/dispute"`) {
		t.Errorf("what was done is not said:\n%s", text)
	}
	exchange(t, h.identity, barn)
	for _, m := range []*services.Membership{h.identity.Membership(), barn.Membership()} {
		p, _ := m.Person(olga.id)
		if _, stays := m.Person(adam.id); m.Frozen || p.State != services.StateActive || stays {
			t.Errorf("people are %+v", m.People)
		}
	}
	h.signIn(olga) // her password outlived the dispute
	if w, _ := send(h, services.FaceTunnel, "/dispute/settle", url.Values{"words": {words}, who(olga): {"goes"}}); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/dispute" {
		t.Errorf("once more: %d %q", w.Code, w.Header().Get("Location"))
	}
	if log := h.log.String(); strings.Contains(log, list[0]+" "+list[1]) || strings.Contains(log, "+"+list[1]+"+") {
		t.Error("the words are in the log")
	}
	events, err := h.pages.Events(webui.WithCaller(t.Context(), h.caller(services.RoleOwner)), time.Time{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, e := range events {
		if e.What.Key == "event.dispute-settled" {
			told++
		}
	}
	if told != 1 {
		t.Errorf("it is told %d times", told)
	}
}

// An admin whom it is not about settles it without the words, once both boxes say the same.
func TestSettleWithoutTheWords(t *testing.T) {
	var mia testPerson
	h, barn := duelled(t, func(h *testHouse) {
		mia = *h.who[services.RoleMember]
		role := services.RoleAdmin
		if err := h.identity.ChangePerson(t.Context(), mia.id, identity.PersonChange{Role: &role}); err != nil {
			t.Fatal(err)
		}
	})
	mia.session = h.signIn(&mia)
	olga, adam := h.who[services.RoleOwner].id, h.who[services.RoleAdmin].id
	ask := func(method, path string, form url.Values) (*httptest.ResponseRecorder, string) {
		r := h.request(services.FaceSecure, method, path, strings.NewReader(form.Encode()))
		if method == "POST" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		w := h.ask(services.FaceSecure, as(r, &mia))
		return w, html.UnescapeString(w.Body.String())
	}
	if w := h.ask(services.FaceSecure, h.request(services.FaceSecure, "GET", "/dispute/agree", http.NoBody)); w.Code == http.StatusOK {
		t.Error("whoever is not signed in sees whom it is about")
	}
	if _, text := ask("GET", "/dispute", nil); !strings.Contains(text, `href="/dispute/agree"`) {
		t.Errorf("the page does not lead there:\n%s", text)
	}
	if w, text := ask("GET", "/dispute/agree", nil); w.Code != http.StatusOK || !strings.Contains(text, "Olga, removed by Adam") {
		t.Fatalf("%d\n%s", w.Code, text)
	}
	who := func(id services.PersonID) string { return "who-" + string(id) }
	if w, text := ask("POST", "/dispute/agree", url.Values{who(olga): {"goes"}, who(adam): {"goes"}}); w.Code != http.StatusUnprocessableEntity || !strings.Contains(text, "would not settle the dispute") {
		t.Errorf("nobody stays: %d\n%s", w.Code, text)
	}
	if w, text := ask("POST", "/dispute/agree", url.Values{who(olga): {"stays"}, who(adam): {"goes"}}); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/dispute/agree" {
		t.Fatalf("said: %d %s\n%s", w.Code, w.Header().Get("Location"), text)
	}
	if _, text := ask("GET", "/dispute/agree", nil); !strings.Contains(text, "Mia</bdi> said: <bdi>Olga</bdi> belongs on, <bdi>Adam</bdi> is removed") || !h.identity.Membership().Frozen {
		t.Errorf("what was said is not shown:\n%s", text)
	}
	list, err := h.webConfig.House.Disputed()
	if err != nil || len(list) != 2 || len(list[0].Kept)+len(list[1].Kept) != 1 {
		t.Errorf("the dispute is %+v, %v", list, err)
	}
	exchange(t, h.identity, barn)
	if settled, err := barn.Agree(identity.Acting(t.Context(), mia.id, ""), []identity.Subject{{Person: olga}}); err != nil || !settled {
		t.Fatalf("on the other box: %t, %v", settled, err)
	}
	exchange(t, h.identity, barn)
	m := h.identity.Membership()
	if _, stays := m.Person(adam); m.Frozen || stays {
		t.Errorf("people are %+v", m.People)
	}
	h.signIn(h.who[services.RoleOwner])
	if w, _ := ask("GET", "/dispute/agree", nil); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/dispute" {
		t.Errorf("once more: %d %s", w.Code, w.Header().Get("Location"))
	}
}

// On the console the one who says so is named, and one box alone settles nothing.
func TestAgreeOnTheConsole(t *testing.T) {
	h, _ := duelled(t, func(h *testHouse) {
		role := services.RoleAdmin
		if err := h.identity.ChangePerson(t.Context(), h.who[services.RoleMember].id, identity.PersonChange{Role: &role}); err != nil {
			t.Fatal(err)
		}
	})
	for as, code := range map[string]string{"": "not-yours", "Olga": "not-yours", "Nobody": "no-person"} {
		if _, err := h.webConfig.House.Agree(t.Context(), local, api.AgreeInput{Stay: []string{"Olga"}, As: as}); services.AsProblem(err) == nil || services.AsProblem(err).Code != code {
			t.Errorf("as %q: %v", as, err)
		}
	}
	out, err := h.webConfig.House.Agree(t.Context(), local, api.AgreeInput{Stay: []string{"Olga"}, As: "Mia"})
	if err != nil || out.Settled || out.Missing != 1 {
		t.Errorf("%+v, %v", out, err)
	}
}

// stolen is a house whose box a thief removed, with Adam and everybody else, from the box Barn, which he has.
func stolen(t *testing.T) (h *testHouse, barn *identity.Service) {
	t.Helper()
	h = takenIn(t, t.TempDir())
	barn, _, _ = anotherBox(t, h, "Barn")
	for _, p := range h.identity.Membership().People {
		if p.Role != services.RoleOwner {
			if err := barn.RemovePerson(t.Context(), p.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := barn.RemoveBox(t.Context(), h.identity.Membership().Self); err != nil {
		t.Fatal(err)
	}
	exchange(t, h.identity, barn)
	if api.OwnershipOf(h.identity.Membership()) != api.Removed {
		t.Fatal("the box was not removed")
	}
	return h, barn
}

// A thief who was quicker has removed the box that its owner stands before, with the paper in the hand: its page, which was
// refused with all the others, takes the words, says who removed it, and takes it back. The thief's box was listed as
// removed by the box that it removed.
func TestWordsOnARemovedBox(t *testing.T) {
	h, barn := stolen(t)
	m := h.identity.Membership()
	olga, adam, self, thief := h.who[services.RoleOwner], h.who[services.RoleAdmin], m.Self, barn.Membership().Self
	for _, face := range []services.Face{services.FaceSecure, services.FaceTunnel} {
		if w := h.ask(face, h.request(face, "GET", "/", http.NoBody)); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), `href="/dispute"`) {
			t.Errorf("%v, the first page: %d\n%s", face, w.Code, w.Body)
		}
		if w := h.ask(face, h.request(face, "GET", "/dispute", http.NoBody)); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `name="words"`) || strings.Contains(w.Body.String(), "Barn") {
			t.Errorf("%v: %d\n%s", face, w.Code, w.Body)
		}
	}
	if w := h.ask(services.FaceLAN, h.request(services.FaceLAN, "GET", "/", http.NoBody)); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), `href="https://`) || !strings.Contains(w.Body.String(), `/dispute"`) {
		t.Errorf("plain http leads to no page for the words: %d\n%s", w.Code, w.Body)
	}
	if w := h.ask(services.FaceLAN, h.request(services.FaceLAN, "GET", "/dispute", http.NoBody)); w.Code == http.StatusOK {
		t.Error("the words are asked for on plain http")
	}
	words := theWords(t, h)
	list := strings.Fields(words)
	busy := false
	for range 7 {
		w, text := send(h, services.FaceSecure, "/dispute", url.Values{"words": {"zoo " + strings.Join(list[1:], " ")}})
		busy = busy || w.Code == http.StatusTooManyRequests
		if w.Code != http.StatusUnprocessableEntity && w.Code != http.StatusTooManyRequests || strings.Contains(text, "Barn") {
			t.Fatalf("wrong words: %d\n%s", w.Code, text)
		}
	}
	if !busy {
		t.Error("seven wrong tries were not slowed down")
	}
	h.pages.Guesses = &guesses{}

	var listed []api.DisputeOutput
	if w := h.ask(services.FaceConsole, httptest.NewRequestWithContext(t.Context(), "GET", "http://hearth/api/v1/recovery/dispute", nil)); json.Unmarshal(w.Body.Bytes(), &listed) != nil {
		t.Fatalf("the console: %d %s", w.Code, w.Body)
	}
	if at := slices.IndexFunc(listed, func(o api.DisputeOutput) bool { return o.ID == thief.String() }); at < 0 || listed[at].Kind != "remover" || listed[at].Name != "Barn" || listed[at].By != "" {
		t.Errorf("the console lists %+v", listed)
	}
	w, text := send(h, services.FaceSecure, "/dispute", url.Values{"words": {words}})
	if w.Code != http.StatusOK || !strings.Contains(text, "The box Barn: it removed this box") || !strings.Contains(text, "This box, Attic, removed by Barn") || !strings.Contains(text, "Adam, removed by Barn") {
		t.Fatalf("with the words: %d\n%s", w.Code, text)
	}
	form := url.Values{"words": {words}, "who-" + self.String(): {"stays"}, "who-" + thief.String(): {"goes"}}
	for _, o := range listed {
		if o.Kind == "person" {
			form.Set("who-"+o.ID, "stays")
		}
	}
	if w, text := send(h, services.FaceSecure, "/dispute/settle", form); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/signin" {
		t.Fatalf("settled: %d %q\n%s", w.Code, w.Header().Get("Location"), text)
	}
	m = h.identity.Membership()
	if _, there := m.Person(adam.id); !there || m.ReadOnly || len(m.Boxes) != 1 || m.Boxes[0].ID != self || !slices.Contains(m.Removed, thief) {
		t.Errorf("people are %+v, boxes %+v", m.People, m.Boxes)
	}
	h.signIn(olga)
	h.signIn(adam)
}

// Where a box was removed at the box itself, or with the words, there is nothing that they can settle: that is said to
// whoever types them.
func TestWordsChangeNothing(t *testing.T) {
	h := takenIn(t, t.TempDir())
	anotherBox(t, h, "Barn")
	if err := h.identity.RemoveBox(t.Context(), h.identity.Membership().Self); err != nil {
		t.Fatal(err)
	}
	if w, text := send(h, services.FaceSecure, "/dispute", url.Values{"words": {theWords(t, h)}}); w.Code != http.StatusOK || !strings.Contains(text, "Here the words have nothing to decide") {
		t.Errorf("%d\n%s", w.Code, text)
	}
}

// Wrong words are slowed down as wrong claim codes are, on both steps together.
func TestDisputeWordsAreNotGuessed(t *testing.T) {
	h, _ := duelled(t)
	words := theWords(t, h)
	list := strings.Fields(words)
	wrong := url.Values{"words": {strings.Join(append([]string{list[1], list[0]}, list[2:]...), " ")}}
	busy := 0
	for i := range 12 {
		w, _ := send(h, services.FaceSecure, []string{"/dispute", "/dispute/settle"}[i%2], wrong)
		switch w.Code {
		case http.StatusTooManyRequests:
			busy++
		case http.StatusUnprocessableEntity:
		default:
			t.Fatalf("try %d: %d\n%s", i, w.Code, w.Body)
		}
	}
	if busy == 0 {
		t.Error("twelve wrong tries were not slowed down")
	}
	if w, _ := send(h, services.FaceSecure, "/dispute", url.Values{"words": {words}}); w.Code != http.StatusTooManyRequests {
		t.Errorf("the right ones at once after them: %d", w.Code)
	}
}

// fakeRekey makes one key and remembers which was adopted.
type fakeRekey struct{ next, adopted services.PeerID }

func (f *fakeRekey) Next(context.Context) (services.PeerID, error) { return f.next, nil }
func (f *fakeRekey) Adopt(id services.PeerID)                      { f.adopted = id }

// A box whose card was copied says on its first page that it is suspended. With the words it gets another key and starts
// again, and the page comes back by itself.
func TestSettleACopyHere(t *testing.T) {
	h := takenIn(t, t.TempDir())
	copy := copied(t, filepath.Join(h.state, "identity"), h.keeper)
	taken(t, h.identity, "Rita")
	taken(t, copy, "Eve")
	exchange(t, h.identity, copy)
	fake := &fakeRekey{next: identitytest.NewKeys("the next key").PeerID()}
	h.webConfig.House.Rekey = fake
	if w := h.ask(services.FaceSecure, as(h.request(services.FaceSecure, "GET", "/", http.NoBody), h.who[services.RoleOwner])); !strings.Contains(w.Body.String(), "This box is suspended") || !strings.Contains(w.Body.String(), `href="/dispute"`) {
		t.Errorf("the first page: %d\n%s", w.Code, w.Body)
	}
	words := url.Values{"words": {theWords(t, h)}}
	w, text := send(h, services.FaceSecure, "/dispute", words)
	if w.Code != http.StatusOK || !strings.Contains(text, "It gets a new key and starts again") || strings.Contains(text, "fresh card") {
		t.Fatalf("%d\n%s", w.Code, text)
	}
	w, text = send(h, services.FaceSecure, "/dispute/settle", words)
	if w.Code != http.StatusOK || !strings.HasSuffix(w.Header().Get("Refresh"), "; url=/") || !strings.Contains(text, "The box starts again") || strings.Contains(text, "<nav") {
		t.Errorf("settled: %d %v\n%s", w.Code, w.Header(), text)
	}
	if fake.adopted != fake.next {
		t.Errorf("adopted is %v", fake.adopted)
	}
	m := h.identity.Membership()
	if len(m.Boxes) != 1 || m.Boxes[0].ID != fake.next {
		t.Errorf("the boxes are %+v", m.Boxes)
	}
}

// Where another box was copied it is removed, which is said.
func TestSettleACopyElsewhere(t *testing.T) {
	h := takenIn(t, t.TempDir())
	barn, keys, dir := anotherBox(t, h, "Barn")
	copy := copied(t, dir, keys)
	taken(t, barn, "Rita")
	taken(t, copy, "Eve")
	exchange(t, barn, h.identity)
	exchange(t, copy, h.identity)
	h.webConfig.House.Rekey = &fakeRekey{}
	words := url.Values{"words": {theWords(t, h)}}
	owner := h.who[services.RoleOwner]
	if w := h.ask(services.FaceSecure, as(h.request(services.FaceSecure, "GET", "/", http.NoBody), owner)); !strings.Contains(w.Body.String(), "Who belongs to this house is disputed") || !strings.Contains(w.Body.String(), "as after a card was copied: <bdi>Barn</bdi>") || strings.Contains(w.Body.String(), "one another") {
		t.Errorf("the first page: %d\n%s", w.Code, w.Body)
	}
	if w := h.ask(services.FaceSecure, h.request(services.FaceSecure, "GET", "/dispute", http.NoBody)); !strings.Contains(w.Body.String(), "in two places") || strings.Contains(w.Body.String(), "one another") || strings.Contains(w.Body.String(), "Barn") {
		t.Errorf("the page of the dispute: %d\n%s", w.Code, w.Body)
	}
	if w, text := send(h, services.FaceSecure, "/dispute", words); w.Code != http.StatusOK || !strings.Contains(text, "The box <bdi>Barn</bdi> is removed. Set it up again from a fresh card") {
		t.Fatalf("%d\n%s", w.Code, text)
	}
	r := h.request(services.FaceSecure, "POST", "/dispute/settle", strings.NewReader(words.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if w := h.ask(services.FaceSecure, as(r, owner)); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/" {
		t.Errorf("settled: %d %q", w.Code, w.Header().Get("Location"))
	}
	if m := h.identity.Membership(); m.Frozen || len(m.Boxes) != 1 || m.Boxes[0].ID != m.Self {
		t.Errorf("frozen %t, boxes %+v", m.Frozen, m.Boxes)
	}
}

// A copied box that the household does not list, since a copied box took it in, was shown as the letters of its key.
func TestCopiedBoxIsNamed(t *testing.T) {
	h := takenIn(t, t.TempDir())
	barn, keys, dir := anotherBox(t, h, "Barn")
	copy := copied(t, dir, keys)
	taken(t, barn, "Rita")
	shed, keys, dir := takenInBy(t, copy, "Shed")
	copyOfShed := copied(t, dir, keys)
	taken(t, shed, "Eve")
	taken(t, copyOfShed, "Mallory")
	for _, box := range []*identity.Service{barn, shed, copyOfShed} {
		exchange(t, box, h.identity)
	}
	list, err := h.webConfig.House.Disputed()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range list {
		names = append(names, o.Kind+" "+o.Name)
	}
	slices.Sort(names)
	if want := []string{"clone Barn", "clone Shed"}; !slices.Equal(names, want) {
		t.Errorf("disputed are %q, want %q", names, want)
	}
}

// A suspended phone was shown as one that waits to be scanned, and its page as just paired.
func TestSuspendedDevice(t *testing.T) {
	h := takenIn(t, t.TempDir())
	olga := h.who[services.RoleOwner]
	var ids []services.DeviceID
	for i, name := range []string{"Phone", "Tablet"} {
		d, err := h.identity.AddDevice(t.Context(), identity.NewDevice{Person: olga.id, Name: name, Key: services.ClientKey{byte(i + 9)}})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, d.ID)
	}
	barn, _, _ := anotherBox(t, h, "Barn")
	if away := h.pages.Frame(t.Context()).Away; !slices.Equal(away, []string{"Barn"}) {
		t.Errorf("%q are not in touch, want the barn", away)
	}
	for i, box := range []*identity.Service{h.identity, barn} {
		if err := box.RemoveDevice(identity.Acting(t.Context(), olga.id, ids[i]), ids[1-i]); err != nil {
			t.Fatal(err)
		}
	}
	exchange(t, h.identity, barn)
	w := h.ask(services.FaceSecure, as(h.request(services.FaceSecure, "GET", "/devices", http.NoBody), olga))
	text := html.UnescapeString(w.Body.String())
	if strings.Count(text, "Suspended until a dispute is settled") != 2 || strings.Contains(text, "/pair") {
		t.Errorf("the devices: %d\n%s", w.Code, text)
	}
	if w := h.ask(services.FaceSecure, as(h.request(services.FaceSecure, "GET", "/devices/"+string(ids[0]), http.NoBody), olga)); w.Code != http.StatusOK {
		t.Errorf("the page of one: %d %s", w.Code, w.Header().Get("Location"))
	}
	words := url.Values{"words": {theWords(t, h)}}
	if _, text := send(h, services.FaceSecure, "/dispute", words); !strings.Contains(text, "The device Phone (Olga), removed by Olga") {
		t.Errorf("the dispute:\n%s", text)
	}
}
