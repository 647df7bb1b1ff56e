package appliance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hearth.alt/appliance/api"
	"hearth.alt/appliance/archive"
	"hearth.alt/appliance/cli"
	"hearth.alt/appliance/web"
	"hearth.alt/services"
	"hearth.alt/services/identity"
)

// exported is an export of h.
func exported(t *testing.T, h *testHouse, in api.ExportInput) []byte {
	t.Helper()
	d, err := h.do().Export(t.Context(), local, in)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var b bytes.Buffer
	if err := d.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func imported(t *testing.T, h *testHouse, b []byte, in api.ImportInput) (api.ImportOutput, error) {
	t.Helper()
	in.File = api.Upload{Reader: bytes.NewReader(b)}
	return h.do().Import(t.Context(), local, in)
}

// spool is one for tests.
func spool(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func opened(t *testing.T, b []byte) *archive.Archive {
	t.Helper()
	a, err := archive.Read(bytes.NewReader(b), spool(t))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// repacked is the export b with its files changed by edit; the hashes fit again.
func repacked(t *testing.T, b []byte, edit func(name string, content []byte) []byte) []byte {
	t.Helper()
	a := opened(t, b)
	again := archive.NewBuilder(spool(t))
	for _, f := range a.Manifest.Files[1:] {
		r, _ := a.Open(f.Name)
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if content = edit(f.Name, content); content == nil {
			continue
		}
		if err := again.Add(f.Name, func(w io.Writer) error { _, err := w.Write(content); return err }); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := again.Write(&out, a.Manifest); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func filesOf(a *archive.Archive) (out []string) {
	for _, f := range a.Manifest.Files {
		out = append(out, f.Name)
	}
	return out
}

// What one box exports is what belongs, in files that other programs read; and nothing by which somebody signs in, or
// that a box signs with.
func TestExport(t *testing.T) {
	h := takenIn(t, t.TempDir())
	b := exported(t, h, api.ExportInput{})
	a := opened(t, b)
	want := []string{"README.txt", "identity/log", "identity/records.json", "identity/members.json", "contacts.vcf", "dns.data", "witness.data"}
	if got := filesOf(a); !slices.Equal(got, want) {
		t.Errorf("it holds %q, want %q", got, want)
	}
	if m := a.Manifest; m.Household.Name != "Smith" || m.Household.ID != h.identity.FriendID() || m.Box.Name != "Attic" || m.Incomplete {
		t.Errorf("the manifest is %+v", m)
	}
	if again := opened(t, exported(t, h, api.ExportInput{})); !slices.Equal(again.Manifest.Files[1:], a.Manifest.Files[1:]) {
		t.Errorf("the same state gives other bytes:\n%v\n%v", again.Manifest.Files, a.Manifest.Files)
	}
	for _, name := range []string{"argon2", `"password"`, `"credential"`, "PRIVATE KEY"} {
		if bytes.Contains(b, []byte(name)) {
			t.Errorf("it holds %q", name)
		}
	}
	words, err := h.identity.Words(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte(words[0].Reveal()+" "+words[1].Reveal())) {
		t.Error("it holds the words")
	}
	for _, name := range []string{"Olga", "Mia", "Gus"} {
		for _, f := range []string{archive.MembersFile, archive.RecordsFile} {
			r, _ := a.Open(f)
			if text, err := io.ReadAll(r); err != nil || !bytes.Contains(text, []byte(name)) {
				t.Errorf("%s does not name %s", f, name)
			}
		}
	}
	if got := filesOf(opened(t, exported(t, h, api.ExportInput{SignIn: true}))); !slices.Equal(got, append(want, "account.data")) {
		t.Errorf("with sign-in it holds %q", got)
	}
	for _, role := range []services.Role{services.RoleAdmin, services.RoleMember, services.RoleGuest} {
		if _, err := h.do().Export(t.Context(), h.caller(role), api.ExportInput{}); !errors.Is(err, api.ErrDenied) {
			t.Errorf("%v: %v", role, err)
		}
		if _, err := h.do().Import(t.Context(), h.caller(role), api.ImportInput{}); !errors.Is(err, api.ErrDenied) {
			t.Errorf("%v: %v", role, err)
		}
	}
	if left, err := os.ReadDir(filepath.Join(h.state, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A box of the household learns what another one's export has, and keeps what it knows.
func TestImportUnites(t *testing.T) {
	h := takenIn(t, t.TempDir())
	old := exported(t, h, api.ExportInput{SignIn: true})
	if _, err := h.do().AllowHomeward(t.Context(), local, api.AllowHomewardInput{Domain: "nas.example.com"}); err != nil {
		t.Fatal(err)
	}
	if err := h.identity.RemovePerson(t.Context(), h.who[services.RoleGuest].id); err != nil {
		t.Fatal(err)
	}
	before := h.identity.RecordBytes()
	out, err := imported(t, h, old, api.ImportInput{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(h.identity.RecordBytes(), before, bytes.Equal) || out.Fresh != 0 || len(out.Replaced) != 0 || !slices.Equal(out.Left, []string{"dns", "witness", "account"}) || len(h.dns.Allowed()) != 1 {
		t.Errorf("an old export changed something: %+v", out)
	}
	w := h.ask(services.FaceSecure, as(h.request(services.FaceSecure, "GET", "/sessions", http.NoBody), h.who[services.RoleOwner]))
	if w.Code != http.StatusOK {
		t.Errorf("the owner is signed out: %d", w.Code)
	}
	out, err = imported(t, h, old, api.ImportInput{Replace: true})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(out.Replaced, []string{"dns", "witness", "account"}) || len(h.dns.Allowed()) != 0 {
		t.Errorf("replaced: %+v", out)
	}
	if _, there := h.identity.Membership().Person(h.who[services.RoleGuest].id); there {
		t.Error("an old export brought somebody back who was removed")
	}
	if _, err := h.signsIn(h.who[services.RoleOwner]); err != nil {
		t.Errorf("the owner cannot sign in afterwards: %v", err)
	}

	// Another box wrote something that this one has not heard of.
	barn, _, _ := anotherBox(t, h, "Barn")
	taken(t, barn, "Eve")
	b := exported(t, h, api.ExportInput{})
	var log bytes.Buffer
	if err := barn.Snapshot(t.Context(), &log); err != nil {
		t.Fatal(err)
	}
	b = repacked(t, b, func(name string, content []byte) []byte {
		if name == archive.LogFile {
			return log.Bytes()
		}
		return content
	})
	if out, err = imported(t, h, b, api.ImportInput{}); err != nil || out.Fresh != 1 {
		t.Errorf("another box's export: %+v, %v", out, err)
	}
	if !slices.ContainsFunc(h.identity.Membership().People, func(p services.Person) bool { return p.Name == "Eve" }) {
		t.Error("what the other box wrote is not here")
	}
}

// An export makes a damaged record whole again, and one that is lost from its beginning.
func TestImportHeals(t *testing.T) {
	state := t.TempDir()
	h := takenIn(t, state)
	b := exported(t, h, api.ExportInput{})
	whole := h.identity.RecordBytes()
	path := filepath.Join(state, "identity", "log")
	for _, what := range []string{"damaged", "lost"} { // an import packs the record closer: the other way round all would be lost twice
		h.stop()
		log, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if what == "damaged" {
			log[len(log)-20] ^= 1
		} else {
			log[8] ^= 1
		}
		if err := os.WriteFile(path, log, 0o600); err != nil {
			t.Fatal(err)
		}
		h = openHouse(t, state)
		if !h.identity.Membership().ReadOnly {
			t.Fatalf("%s: the damage is not seen", what)
		}
		if what == "damaged" {
			d, err := h.do().Export(t.Context(), local, api.ExportInput{})
			if err != nil || d.Warning.Key != "export.incomplete" {
				t.Errorf("the export of a damaged box: %+v, %v", d.Warning, err)
			} else {
				d.Close()
			}
		}
		if what == "lost" {
			_, err := imported(t, h, exported(t, stranger(t), api.ExportInput{}), api.ImportInput{})
			wantProblem(t, err, "export-not-here")
		}
		if _, err := imported(t, h, b, api.ImportInput{}); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if m := h.identity.Membership(); m.ReadOnly || !m.Claimed() || len(m.People) != 4 {
			t.Errorf("%s: afterwards it is %+v", what, m)
		}
		if !slices.EqualFunc(h.identity.RecordBytes(), whole, bytes.Equal) {
			t.Errorf("%s: something else came back", what)
		}
	}
}

// stranger is a box of another household.
func stranger(t *testing.T) *testHouse {
	t.Helper()
	h := openHouse(t, t.TempDir())
	if err := h.identity.Claim(t.Context(), identity.Claim{Household: "Jones", Box: "Cellar", Owner: "Jo"}); err != nil {
		t.Fatal(err)
	}
	return h
}

// Whatever is wrong with an export is said in a sentence, and nothing is changed.
func TestImportRefuses(t *testing.T) {
	h := takenIn(t, t.TempDir())
	b := exported(t, h, api.ExportInput{SignIn: true})
	before := h.kept()
	edited := func(file string, edit func([]byte) []byte) []byte {
		return repacked(t, b, func(name string, content []byte) []byte {
			if name == file {
				return edit(content)
			}
			return content
		})
	}
	for what, tt := range map[string]struct {
		b    []byte
		code string
	}{
		"nothing":      {nil, "export-none"},
		"text":         {[]byte("hello"), "export-none"},
		"cut short":    {b[:len(b)/2], "export-damaged"},
		"another's":    {exported(t, stranger(t), api.ExportInput{}), "export-other"},
		"no log":       {edited(archive.LogFile, func([]byte) []byte { return nil }), "export-damaged"},
		"an empty log": {edited(archive.LogFile, func([]byte) []byte { return []byte{} }), "snapshot-damaged"},
		"a forged log": {edited(archive.LogFile, func(b []byte) []byte { return bytes.Replace(b, []byte("Gus"), []byte("Bus"), 1) }), "snapshot-damaged"},
		"a mixed one": {repacked(t, exported(t, stranger(t), api.ExportInput{}), func(name string, content []byte) []byte {
			if name == archive.LogFile {
				r, _ := opened(t, b).Open(name)
				content, _ = io.ReadAll(r)
			}
			return content
		}), "export-damaged"},
	} {
		_, err := imported(t, h, tt.b, api.ImportInput{Replace: true})
		wantProblem(t, err, tt.code)
		if h.kept() != before {
			t.Fatalf("%s: something was changed", what)
		}
	}
	// A later service that refuses leaves itself whole, and says so.
	_, err := imported(t, h, edited("account.data", func(b []byte) []byte { return b[:len(b)-5] }), api.ImportInput{Replace: true})
	wantProblem(t, err, "import-partly")
	if p := services.AsProblem(err); !strings.Contains(p.Say.String(), "account") {
		t.Errorf("it says %q", p.Say)
	}
	if h.kept() != before {
		t.Error("a service that refused is not as it was")
	}
	if out, err := imported(t, h, b, api.ImportInput{Replace: true}); err != nil || len(out.Replaced) != 3 {
		t.Errorf("once it is right: %+v, %v", out, err)
	}
}

// When no box is left, a fresh one becomes the household's by an export and the 24 words.
func TestImportOnAFreshBox(t *testing.T) {
	h := takenIn(t, t.TempDir())
	secret, err := h.identity.Words(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, w := range secret {
		words = append(words, w.Reveal())
	}
	plain, full := exported(t, h, api.ExportInput{}), exported(t, h, api.ExportInput{SignIn: true})
	h.stop()

	fresh := openHouse(t, t.TempDir())
	_, err = imported(t, fresh, plain, api.ImportInput{})
	wantProblem(t, err, "words-needed")
	_, err = imported(t, fresh, plain, api.ImportInput{Words: append([]string{"zoo"}, words[1:]...)})
	if err == nil || fresh.identity.Membership().Claimed() {
		t.Fatalf("wrong words: %v", err)
	}
	out, err := imported(t, fresh, plain, api.ImportInput{Words: words})
	if err != nil {
		t.Fatal(err)
	}
	m := fresh.identity.Membership()
	if out.Household != "Smith" || out.Box != "hearth" || len(m.Boxes) != 2 || len(m.People) != 4 || m.ReadOnly || api.OwnershipOf(m) != api.Claimed {
		t.Errorf("it became %+v, %+v", out, m)
	}
	if !slices.Equal(out.Left, []string{"witness"}) {
		t.Errorf("left: %v", out.Left)
	}
	if fresh.identity.WordsPending() {
		t.Error("it wants words written down that somebody just typed")
	}
	if _, err := fresh.do().ResetPassword(t.Context(), local, api.PasswordInput{Name: "Olga"}); err != nil {
		t.Errorf("no way in: %v", err)
	}

	other := openHouse(t, t.TempDir())
	if out, err = imported(t, other, full, api.ImportInput{Words: words, Name: "New"}); err != nil || out.Box != "New" {
		t.Fatal(out, err)
	}
	if _, err := other.signsIn(h.who[services.RoleOwner]); err != nil {
		t.Errorf("the owner's password is not there: %v", err)
	}

	// The same box, its state lost but for its key.
	if err := os.RemoveAll(filepath.Join(h.state, "identity")); err != nil {
		t.Fatal(err)
	}
	again := openHouse(t, h.state)
	if again.identity.Membership().Claimed() {
		t.Fatal("it is claimed")
	}
	if _, err := imported(t, again, plain, api.ImportInput{}); err != nil {
		t.Fatal(err)
	}
	if m := again.identity.Membership(); len(m.People) != 4 || len(m.Boxes) != 1 {
		t.Errorf("it became %+v", m)
	}
}

// The verbs carry the file between the command line and the box, whole or not at all.
func TestExportVerbs(t *testing.T) {
	h := takenIn(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	open, done := make(chan struct{}), make(chan error, 1)
	h.console.listening = func() { close(open) }
	go func() { done <- h.console.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-open
	run := func(args ...string) (int, string, string) {
		t.Helper()
		var out, errs bytes.Buffer
		status := cli.Run(ctx, cli.Program{}, append(args, "--state", h.state), &out, &errs)
		return status, out.String(), errs.String()
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "smith.tar")
	if err := os.WriteFile(file, []byte("an older one"), 0o644); err != nil {
		t.Fatal(err)
	}
	status, out, errs := run("export", file, "--json")
	var said struct {
		File, SHA256 string
		Bytes        int64
	}
	b, err := os.ReadFile(file)
	if status != 0 || errs != "" || err != nil || json.Unmarshal([]byte(out), &said) != nil || said.Bytes != int64(len(b)) || said.SHA256 != fmt.Sprintf("%x", sha256.Sum256(b)) {
		t.Fatalf("export: %d, %q, %q, %v", status, out, errs, err)
	}
	opened(t, b)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info.Mode(), err)
	}
	if status, out, _ := run("export", filepath.Join(dir, "full.tar"), "--with-sign-in"); status != 0 || !strings.Contains(out, "holds passwords as hashes") {
		t.Errorf("with sign-in: %d, %q", status, out)
	}
	if status, out, errs := run("import", file); status != 0 || !strings.Contains(out, "Smith") || errs != "" {
		t.Errorf("import: %d, %q, %q", status, out, errs)
	}
	if status, _, errs := run("import", file, "--replace"); status != 0 {
		t.Errorf("import: %d, %q", status, errs)
	}
	long := filepath.Join(dir, "long")
	if err := os.WriteFile(long, bytes.Repeat([]byte("x"), 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	huge := filepath.Join(dir, "huge")
	if err := errors.Join(os.WriteFile(huge, nil, 0o600), os.Truncate(huge, archive.MaxBytes+1)); err != nil {
		t.Fatal(err)
	}
	for what, tt := range map[string]struct {
		args []string
		code string
	}{
		"no export":      {[]string{"import", long}, "export-none"},
		"too large":      {[]string{"import", huge}, "export-too-large"},
		"no file":        {[]string{"import", filepath.Join(dir, "none")}, "file"},
		"no name":        {[]string{"import", ""}, "file"},
		"a folder":       {[]string{"import", dir}, "file"},
		"onto a folder":  {[]string{"export", dir}, "file"},
		"into no folder": {[]string{"export", filepath.Join(dir, "none", "a")}, "file"},
		"to no name":     {[]string{"export", ""}, "file"},
	} {
		status, out, errs := run(append(tt.args, "--json")...)
		var f api.Failure
		if status != 1 || json.Unmarshal([]byte(out), &f) != nil || f.Error.Code != tt.code || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: %d, %q, %q", what, status, out, errs)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".hearth-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	// Other bodies on the console are bounded as everywhere.
	w := h.ask(services.FaceConsole, h.request(services.FaceConsole, "POST", "/api/v1/people", strings.NewReader(`{"name":"`+strings.Repeat("e", services.MaxRequest)+`","role":"guest"}`)))
	if !strings.Contains(w.Body.String(), "too-large") {
		t.Errorf("a long request: %d, %s", w.Code, w.Body)
	}
}

// A file that broke off in the middle ended like a whole one: what aborts an answer was taken for a panic and swallowed.
func TestBrokenOffIsNotWhole(t *testing.T) {
	h := takenIn(t, t.TempDir())
	cfg := h.webConfig
	cfg.Around = func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "the first half")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
	}
	s, err := web.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.Handler(services.FaceSecure))
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/help", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = h.hostOn(services.FaceSecure)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil || !strings.HasPrefix(string(b), "the first half") {
		t.Errorf("%q came, as if it were all: %v", b, err)
	}
}

// On the pages an owner who just gave the password saves the same file, without what people sign in with.
func TestExportPage(t *testing.T) {
	h := takenIn(t, t.TempDir())
	get := func(path string, p *testPerson) *httptest.ResponseRecorder {
		return h.ask(services.FaceSecure, as(h.request(services.FaceSecure, "GET", path, http.NoBody), p))
	}
	w := get("/boxes/export", h.who[services.RoleOwner])
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/x-tar" || w.Header().Get("Content-Disposition") != `attachment; filename="smith.hearth.tar"` {
		t.Fatalf("%d, %v", w.Code, w.Header())
	}
	if got := filesOf(opened(t, w.Body.Bytes())); slices.Contains(got, "account.data") || !slices.Contains(got, archive.LogFile) {
		t.Errorf("it holds %q", got)
	}
	for role, shown := range map[services.Role]bool{services.RoleOwner: true, services.RoleAdmin: false, services.RoleMember: false} {
		if got := strings.Contains(get("/boxes", h.who[role]).Body.String(), "/boxes/export"); got != shown {
			t.Errorf("%v sees the way there: %v", role, got)
		}
	}
}
