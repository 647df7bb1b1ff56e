package appliance

import (
	"encoding/json"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/services/account"
	"hearth.alt/services/secret"
	"hearth.alt/webui"
)

// TestRefusalsNameWhatIsMeant names bugs: an unknown role was a request that could not be read, a device could not be
// called by its name, a session that never was had ended already, a limit below nothing meant everything, and some did
// not say what to do next.
func TestRefusalsNameWhatIsMeant(t *testing.T) {
	h := openHouse(t, t.TempDir())
	ask := func(method, path, body string) (int, api.Failure, []byte) {
		t.Helper()
		w := h.ask(services.FaceConsole, httptest.NewRequestWithContext(t.Context(), method, "http://hearth"+api.Prefix+path, strings.NewReader(body)))
		var f api.Failure
		json.Unmarshal(w.Body.Bytes(), &f) //nolint:errcheck // another answer has no failure
		return w.Code, f, w.Body.Bytes()
	}
	must := func(method, path, body string) {
		t.Helper()
		if status, _, out := ask(method, path, body); status != http.StatusOK {
			t.Fatalf("%s %s: %d %s", method, path, status, out)
		}
	}
	must("POST", "/claim", `{"household":"Smith","box":"Attic","owner":"Olga","password":"turtle lantern copper forty"}`)
	must("POST", "/people", `{"name":"Mia","role":"member"}`)
	must("POST", "/devices", `{"name":"Old Laptop"}`)
	for _, tt := range []struct {
		what, method, path, body string
		status                   int
		code, field, want        string
	}{
		{"a role that is none", "POST", "/people", `{"name":"Dora","role":"king"}`, 400, "bad-input", "role", "owner, admin, member or guest"},
		{"no number", "GET", "/audit?limit=abc", "", 400, "bad-input", "limit", "a whole number"},
		{"less than nothing", "GET", "/audit?limit=-1", "", 400, "bad-input", "limit", "a whole number"},
		{"no session", "DELETE", "/sessions/nosuch", "", 404, "no-such-credential", "", "no session with that ID"},
		{"no device", "DELETE", "/devices/Tablet", "", 404, "no-device", "", "Look at the list of devices"},
		{"no name that may point home", "DELETE", "/dns/homeward/nas.example.com", "", 404, "not-allowed", "domain", "Look there"},
	} {
		status, f, out := ask(tt.method, tt.path, tt.body)
		if status != tt.status || f.Error.Code != tt.code || f.Error.Field != tt.field || !strings.Contains(f.Error.Message, tt.want) {
			t.Errorf("%s: %d %s", tt.what, status, out)
		}
	}
	must("POST", "/devices/old%20laptop", `{"name":"New Laptop"}`)
	var list []api.DeviceOutput
	_, _, out := ask("GET", "/devices", "")
	if err := json.Unmarshal(out, &list); err != nil || len(list) != 1 || list[0].Name != "New Laptop" {
		t.Errorf("after the renaming: %s", out)
	}
	must("DELETE", "/devices/New%20Laptop", "")

	// Two people may each have a phone of the same name.
	must("POST", "/devices", `{"name":"Phone"}`)
	if status, _, _ := ask("POST", "/devices", `{"name":"Phone","person":"Mia"}`); status == http.StatusOK {
		if status, f, out := ask("DELETE", "/devices/Phone", ""); status != http.StatusConflict || f.Error.Code != "several-devices" {
			t.Errorf("a name of two devices: %d %s", status, out)
		}
	}
}

// TestConfirmedWordsStayConfirmed names a bug: the keeper says in a code of its own that it has no words left, identity
// knew another, and so after every start the words had never been confirmed.
func TestConfirmedWordsStayConfirmed(t *testing.T) {
	state := t.TempDir()
	h := takenIn(t, state)
	list, err := h.webConfig.House.Words(t.Context(), local)
	if err != nil {
		t.Fatal(err)
	}
	words := api.WordsInput{}
	for _, w := range list {
		words.Words = append(words.Words, w.Reveal())
	}
	if out, err := h.webConfig.House.CheckWords(t.Context(), local, words); err != nil || !out.Erased || out.Already {
		t.Fatalf("the first check: %+v, %v", out, err)
	}
	owner := h.who[services.RoleOwner]
	h.stop()

	h = openHouse(t, state)
	if h.identity.WordsPending() {
		t.Error("after a start they are pending again")
	}
	if !h.claim.done(h.identity.Membership(), 0) {
		t.Error("the claim secret waits for them")
	}
	ctx := webui.WithCaller(t.Context(), services.Caller{Face: services.FaceSecure, Address: "192.0.2.9:5", Person: owner.id, Role: services.RoleOwner})
	o, err := h.pages.Overview(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, tr := range o.Troubles {
		if tr.ID == "words" {
			t.Errorf("home says: %s", tr.What)
		}
	}
	if _, err := h.pages.Words(ctx); services.AsProblem(err).Code != "words-confirmed" {
		t.Errorf("asked for the words: %v", err)
	}
	if _, err := h.pages.AskedWords(ctx); services.AsProblem(err).Code != "words-confirmed" {
		t.Errorf("asked which to check: %v", err)
	}
	for _, path := range []string{"/claim/words", "/claim/check"} {
		if w := h.ask(services.FaceSecure, as(h.request(services.FaceSecure, "GET", path, nil), owner)); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/" {
			t.Errorf("%s: %d %q", path, w.Code, w.Header().Get("Location"))
		}
	}
	told := func() int {
		all, err := h.account.Events(t.Context(), time.Time{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		return len(slices.DeleteFunc(all, func(e account.Event) bool { return e.Action != "words-confirmed" }))
	}
	before := told()
	if out, err := h.webConfig.House.CheckWords(t.Context(), local, words); err != nil || out.Erased || !out.Already {
		t.Errorf("checked once more: %+v, %v", out, err)
	}
	if after := told(); before != 1 || after != 1 {
		t.Errorf("written down %d times, after another check %d times", before, after)
	}
}

// New words take two steps, the former words and a fresh password; then every way that asks for words knows which count.
func TestNewWords(t *testing.T) {
	h := takenIn(t, t.TempDir())
	list, err := h.webConfig.House.Words(t.Context(), local)
	if err != nil {
		t.Fatal(err)
	}
	texts := func(list []secret.Shown) (out []string) {
		for _, w := range list {
			out = append(out, w.Reveal())
		}
		return out
	}
	words := texts(list)
	ask := func(in api.NewWordsInput) (api.NewWordsOutput, api.Failure, int) {
		t.Helper()
		body, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		w := h.ask(services.FaceConsole, httptest.NewRequestWithContext(t.Context(), "POST", "http://hearth"+api.Prefix+"/recovery/new-words", strings.NewReader(string(body))))
		var out api.NewWordsOutput
		var f api.Failure
		json.Unmarshal(w.Body.Bytes(), &out) //nolint:errcheck // another answer has none
		json.Unmarshal(w.Body.Bytes(), &f)   //nolint:errcheck // another answer has no failure
		return out, f, w.Code
	}
	refused := func(in api.NewWordsInput, code, field string) {
		t.Helper()
		if _, f, _ := ask(in); f.Error.Code != code || f.Error.Field != field {
			t.Errorf("want %s about %q: %+v", code, field, f)
		}
	}
	refused(api.NewWordsInput{Words: words[:23]}, "words-count", "words")
	refused(api.NewWordsInput{Words: words, New: words}, "words-not-shown", "new")
	shown, f, status := ask(api.NewWordsInput{Words: words})
	if status != http.StatusOK || len(shown.Words) != 24 || shown.Replaced {
		t.Fatalf("%d %+v", status, f)
	}
	refused(api.NewWordsInput{Words: words, New: words}, "words-other", "new")
	out, f, _ := ask(api.NewWordsInput{Words: words, New: texts(shown.Words)})
	if !out.Replaced || len(out.Words) > 0 {
		t.Fatalf("not replaced: %+v", f)
	}
	refused(api.NewWordsInput{Words: words}, "words-former", "words")
	if h.identity.WordsPending() {
		t.Error("the former words wait to be confirmed")
	}
	check := h.webConfig.House.CheckWords
	if _, err := check(t.Context(), local, api.WordsInput{Words: texts(shown.Words)}); err != nil {
		t.Error(err)
	}
	_, err = check(t.Context(), local, api.WordsInput{Words: words})
	if p := services.AsProblem(err); p == nil || p.Code != "words-former" {
		t.Errorf("the former words: %v", err)
	}
	events, err := h.account.Events(t.Context(), time.Time{}, 0)
	if err != nil || !slices.ContainsFunc(events, func(e account.Event) bool { return e.Action == "words-replaced" }) {
		t.Errorf("not written down: %v", err)
	}
	// Nobody does it with an app password, or as an admin.
	for _, role := range []services.Role{services.RoleAdmin, services.RoleMember} {
		c := services.Caller{Face: services.FaceSecure, Person: h.who[role].id, Role: role}
		if _, err := h.webConfig.House.NewWords(t.Context(), c, api.NewWordsInput{Words: texts(shown.Words)}); err == nil {
			t.Errorf("as %s: shown", role)
		}
	}
}

// The pages lead an owner from the former words to the new ones; nothing is changed before some are typed from the paper.
func TestNewWordsPages(t *testing.T) {
	h := takenIn(t, t.TempDir())
	words, owner := theWords(t, h), h.who[services.RoleOwner]
	step := func(path string, form url.Values) (*httptest.ResponseRecorder, string) {
		t.Helper()
		r := as(h.request(services.FaceSecure, "POST", path, strings.NewReader(form.Encode())), owner)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := h.ask(services.FaceSecure, r)
		return w, html.UnescapeString(w.Body.String())
	}
	all := func(text string, form *regexp.Regexp) (out []string) {
		for _, m := range form.FindAllStringSubmatch(text, -1) {
			out = append(out, m[1])
		}
		return out
	}
	listed, asked := regexp.MustCompile(`<li>([a-z]+)</li>`), regexp.MustCompile(`name="word(\d+)"`)

	if w, text := step("/words", url.Values{"words": {"zoo " + words}}); w.Code != http.StatusUnprocessableEntity || !strings.Contains(text, "not 25") {
		t.Errorf("wrong words: %d", w.Code)
	}
	w, text := step("/words", url.Values{"words": {words}})
	fresh := all(text, listed)
	if w.Code != http.StatusOK || len(fresh) != 24 || strings.Join(fresh, " ") == words {
		t.Fatalf("%d with %d words", w.Code, len(fresh))
	}
	if w, text := step("/words/check", url.Values{"words": {words}}); w.Code != http.StatusUnprocessableEntity || len(all(text, listed)) != 24 {
		t.Errorf("not written down, and %d", w.Code)
	}
	_, text = step("/words/check", url.Values{"words": {words}, "written": {"yes"}})
	positions := all(text, asked)
	if len(positions) != 3 {
		t.Fatalf("asked for %v", positions)
	}
	form := url.Values{"words": {words}}
	for _, p := range positions {
		n, _ := strconv.Atoi(p)
		form.Set("word"+p, strings.ToUpper(fresh[n-1]))
	}
	wrong := maps.Clone(form)
	wrong.Set("word"+positions[1], "turtle")
	if w, text := step("/words/replace", wrong); w.Code != http.StatusUnprocessableEntity || !strings.Contains(text, "Word "+positions[1]+" on the paper should be another one") {
		t.Errorf("a wrong word: %d", w.Code)
	}
	if err := h.identity.CheckWords(t.Context(), []string{words}); err != nil {
		t.Fatalf("the words do not count any more: %v", err)
	}
	if w, _ := step("/words/replace", form); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/boxes" {
		t.Fatalf("the right words: %d %q", w.Code, w.Header().Get("Location"))
	}
	if err := h.identity.CheckWords(t.Context(), fresh); err != nil {
		t.Error(err)
	}
	if w, text := step("/words", url.Values{"words": {words}}); w.Code != http.StatusUnprocessableEntity || !strings.Contains(text, "It has new ones since") {
		t.Errorf("the former words: %d", w.Code)
	}
	for range 20 {
		w, _ = step("/words", url.Values{"words": {words}})
	}
	if w.Code != http.StatusTooManyRequests {
		t.Errorf("who tries on and on is told %d", w.Code)
	}
}
