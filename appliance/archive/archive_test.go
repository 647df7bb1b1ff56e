package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth.alt/services"
)

var update = flag.Bool("update", false, "write the golden files anew")

// memory is a spool.
type memory struct{ bytes.Buffer }

func (m *memory) ReadAt(p []byte, at int64) (int, error) {
	return bytes.NewReader(m.Bytes()).ReadAt(p, at)
}

var manifest = Manifest{
	Household: Household{Name: "Smith", Domain: "smith.home.arpa", ID: services.FriendID{1}}, Box: Box{Name: "Attic", ID: services.PeerID{2}},
	Made: time.Date(2026, 11, 21, 20, 0, 0, 123, time.FixedZone("", 3600)),
}

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

func export(t testing.TB) []byte {
	t.Helper()
	b := NewBuilder(&memory{})
	for _, f := range [][2]string{{LogFile, strings.Repeat("log", 1000)}, {RecordsFile, "[]"}, {MembersFile, "{}"}, {ContactsFile, ""}, {DataFile("dns"), "d"}} {
		if err := b.Add(f[0], text(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := b.Write(&out, manifest); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestRoundTrip(t *testing.T) {
	b := export(t)
	if !bytes.Equal(b, export(t)) {
		t.Error("the same state gives other bytes")
	}
	a, err := Read(bytes.NewReader(b), &memory{})
	if err != nil {
		t.Fatal(err)
	}
	if m := a.Manifest; m.Version != 1 || m.Household != manifest.Household || m.Box != manifest.Box || m.Made.Format(time.RFC3339Nano) != "2026-11-21T19:00:00Z" || len(m.Files) != 6 {
		t.Errorf("the manifest is %+v", m)
	}
	for name, want := range map[string]string{LogFile: strings.Repeat("log", 1000), ContactsFile: "", DataFile("dns"): "d"} {
		r, ok := a.Open(name)
		if !ok {
			t.Fatalf("%s is missing", name)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	if _, ok := a.Open("dns"); ok {
		t.Error("a file is there that is not")
	}
	r, _ := a.Open(ReadmeFile)
	readme, _ := io.ReadAll(r)
	for _, f := range a.Manifest.Files[1:] {
		if !strings.Contains(string(readme), "\n"+f.Name+"\n") {
			t.Errorf("%s does not tell of %s", ReadmeFile, f.Name)
		}
	}
	golden(t, "README.txt", readme)
}

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
	}
}

func TestBuilderRefusesNames(t *testing.T) {
	b := NewBuilder(&memory{})
	for _, name := range []string{"", "..", "../log", "/log", "a/../b", "a//b", "a/b/c", ".a", "a/.b", "a/..", `a\b`, "A", "a b", ManifestFile, ReadmeFile, "a\x00", strings.Repeat("a", 65)} {
		if err := b.Add(name, text("x")); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
	if err := errors.Join(b.Add("a.b", text("x")), b.Add("a/b-1.json", text("x"))); err != nil {
		t.Error(err)
	}
	if b.Add("a.b", text("x")) == nil {
		t.Error("a name is taken twice")
	}
}

// entry is one file of a tar made by hand.
type entry struct {
	tar.Header
	body string
}

func packed(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.Size == 0 {
			e.Size = int64(len(e.body))
		}
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	w.Flush()
	return append(b.Bytes(), make([]byte, 2*block)...)
}

func plain(name, body string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Format: tar.FormatUSTAR}, body}
}

const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func listing(files ...string) entry {
	for i, f := range files {
		files[i] = fmt.Sprintf(`{"name":%q,"bytes":0,"sha256":%q}`, f, emptyHash)
	}
	return plain(ManifestFile, `{"hearth_export":1,"files":[`+strings.Join(files, ",")+`]}`)
}

// zeros is a file without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestHostileArchives(t *testing.T) {
	good := export(t)
	changed := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1
		return b
	}
	link := plain("a", "")
	link.Typeflag, link.Linkname = tar.TypeSymlink, "/etc/passwd"
	hard := plain("a", "")
	hard.Typeflag, hard.Linkname = tar.TypeLink, ManifestFile
	dir := plain("a/", "")
	dir.Typeflag = tar.TypeDir
	gnu := plain("a", "")
	gnu.Format = tar.FormatGNU
	pax := plain("a", "")
	pax.Format, pax.PAXRecords = tar.FormatPAX, map[string]string{"HEARTH.x": strings.Repeat("x", 4000)}
	for what, tt := range map[string]struct {
		r    io.Reader
		want error
	}{
		"nothing":                   {strings.NewReader(""), ErrNone},
		"text":                      {strings.NewReader("hello, this is no tar"), ErrNone},
		"another tar":               {bytes.NewReader(packed(t, plain("a", "x"))), ErrNone},
		"zeros without end":         {zeros{}, ErrNone},
		"no version":                {bytes.NewReader(packed(t, plain(ManifestFile, `{"files":[]}`))), ErrNone},
		"version 0":                 {bytes.NewReader(packed(t, plain(ManifestFile, `{"hearth_export":0,"files":[]}`))), ErrNone},
		"no JSON":                   {bytes.NewReader(packed(t, plain(ManifestFile, `nonsense`))), ErrNone},
		"newer":                     {bytes.NewReader(packed(t, plain(ManifestFile, `{"hearth_export":2,"anything":7,"files":{}}`))), ErrNewer},
		"other fields":              {bytes.NewReader(packed(t, plain(ManifestFile, `{"hearth_export":1,"files":{}}`))), ErrDamaged},
		"no files":                  {bytes.NewReader(packed(t, listing())), ErrDamaged},
		"no readme":                 {bytes.NewReader(packed(t, listing("a"), plain("a", ""))), ErrDamaged},
		"long manifest":             {bytes.NewReader(packed(t, plain(ManifestFile, strings.Repeat(" ", maxManifest+1)))), ErrDamaged},
		"many files":                {bytes.NewReader(packed(t, listing(append([]string{ReadmeFile}, make([]string, MaxFiles)...)...))), ErrDamaged},
		"a name twice":              {bytes.NewReader(packed(t, listing(ReadmeFile, "a", "a"), plain(ReadmeFile, ""), plain("a", ""), plain("a", ""))), ErrDamaged},
		"the manifest twice":        {bytes.NewReader(packed(t, listing(ReadmeFile, ManifestFile), plain(ReadmeFile, ""), plain(ManifestFile, ""))), ErrDamaged},
		"a path upwards":            {bytes.NewReader(packed(t, listing(ReadmeFile, "../a"), plain(ReadmeFile, ""), plain("../a", ""))), ErrDamaged},
		"a path from the root":      {bytes.NewReader(packed(t, listing(ReadmeFile, "/a"), plain(ReadmeFile, ""), plain("/a", ""))), ErrDamaged},
		"one upwards in the tar":    {bytes.NewReader(packed(t, listing(ReadmeFile, "a"), plain(ReadmeFile, ""), plain("../a", ""))), ErrDamaged},
		"a link":                    {bytes.NewReader(packed(t, listing(ReadmeFile, "a"), plain(ReadmeFile, ""), link)), ErrDamaged},
		"a hard link":               {bytes.NewReader(packed(t, listing(ReadmeFile, "a"), plain(ReadmeFile, ""), hard)), ErrDamaged},
		"a folder":                  {bytes.NewReader(packed(t, listing(ReadmeFile, "a"), plain(ReadmeFile, ""), dir)), ErrDamaged},
		"another form of tar":       {bytes.NewReader(packed(t, listing(ReadmeFile, "a"), plain(ReadmeFile, ""), gnu)), ErrDamaged},
		"extended headers":          {bytes.NewReader(packed(t, listing(ReadmeFile, "a"), plain(ReadmeFile, ""), pax)), ErrDamaged},
		"a file too many":           {bytes.NewReader(packed(t, listing(ReadmeFile), plain(ReadmeFile, ""), plain("a", ""))), ErrDamaged},
		"a file too few":            {bytes.NewReader(packed(t, listing(ReadmeFile, "a"), plain(ReadmeFile, ""))), ErrDamaged},
		"another order":             {bytes.NewReader(packed(t, listing(ReadmeFile, "a", "b"), plain(ReadmeFile, ""), plain("b", ""), plain("a", ""))), ErrDamaged},
		"longer than listed":        {bytes.NewReader(packed(t, listing(ReadmeFile, "a"), plain(ReadmeFile, ""), plain("a", "x"))), ErrDamaged},
		"something after the end":   {bytes.NewReader(append(bytes.Clone(good), 0)), ErrDamaged},
		"a changed byte of the log": {bytes.NewReader(changed(bytes.Index(good, []byte("loglog")))), ErrDamaged},
		"a negative length": {bytes.NewReader(packed(t, plain(ManifestFile,
			`{"hearth_export":1,"files":[{"name":"README.txt","bytes":-1,"sha256":""}]}`))), ErrDamaged},
		"more than there can be": {bytes.NewReader(packed(t, plain(ManifestFile,
			`{"hearth_export":1,"files":[{"name":"README.txt","bytes":0,"sha256":"`+emptyHash+`"},{"name":"a","bytes":9223372036854775807,"sha256":""}]}`))), ErrTooLarge},
		"whoever sends it goes away": {io.MultiReader(bytes.NewReader(good[:4000]), broken{}), ErrDamaged},
	} {
		spool := &memory{}
		a, err := Read(tt.r, spool)
		if !errors.Is(err, tt.want) || a != nil {
			t.Errorf("%s: %v, want %v", what, err, tt.want)
		}
		if spool.Len() > len(good) {
			t.Errorf("%s: %d bytes were kept", what, spool.Len())
		}
	}
	for n := range len(good) {
		if _, err := Read(bytes.NewReader(good[:n]), &memory{}); err == nil {
			t.Fatalf("the first %d of %d bytes are an export", n, len(good))
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("gone") }

// A tar that goes on without end is left after MaxBytes.
func TestBomb(t *testing.T) {
	const most = MaxBytes - 1<<20
	head := packed(t, plain(ManifestFile, fmt.Sprintf(`{"hearth_export":1,"files":[{"name":"README.txt","bytes":%d,"sha256":""}]}`, most)))
	big := plain(ReadmeFile, "")
	big.Size = most
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&big.Header); err != nil {
		t.Fatal(err)
	}
	r := io.MultiReader(bytes.NewReader(head[:len(head)-2*block]), bytes.NewReader(b.Bytes()), zeros{})
	if _, err := Read(r, &nowhere{}); !errors.Is(err, ErrDamaged) { // by its hash, once it was read to its end
		t.Error(err)
	}
	in := &bounded{r: zeros{}, left: 10}
	if n, err := io.Copy(io.Discard, in); n != 10 || err == nil || !in.over {
		t.Errorf("%d bytes, %v", n, err)
	}
}

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error)       { return len(p), nil }
func (nowhere) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

func TestMembers(t *testing.T) {
	at := time.Date(2026, 11, 21, 20, 0, 0, 0, time.FixedZone("", 3600))
	m := &services.Membership{
		Household: &services.Household{Name: "Smith", Label: "smith", Domain: "smith.home.arpa", Root: make([]byte, 32), Net4: netip.MustParsePrefix("10.20.30.0/24"), Net6: netip.MustParsePrefix("fd00::/48")},
		People:    []services.Person{{ID: "aaaaaaaaaaaaaaaa", Name: "Olga", Role: services.RoleOwner, State: services.StateActive, LAN: true}, {ID: "bbbbbbbbbbbbbbbb", Name: "Ben", Role: services.RoleGuest, State: services.StatePending, Expires: at}},
		Devices:   []services.Device{{ID: "cccccccccccccccc", Person: "aaaaaaaaaaaaaaaa", Name: "Phone", Key: services.ClientKey{1}, Addr4: netip.MustParseAddr("10.20.30.2"), Addr6: netip.MustParseAddr("fd00::2"), State: services.StateActive, Added: at}},
		Boxes:     []services.Box{{ID: services.PeerID{2}, Name: "Attic", Label: "attic", State: services.StateActive, Addr4: netip.MustParseAddr("10.20.30.1"), Addr6: netip.MustParseAddr("fd00::1")}},
		Removed:   []services.PeerID{{3}},
		Friends:   friends,
	}
	var b bytes.Buffer
	if err := WriteMembers(&b, m); err != nil {
		t.Fatal(err)
	}
	golden(t, "members.json", b.Bytes())
}

var friends = []services.Friend{
	{ID: services.FriendID{4}, Petname: `Ann, Bob; and \ Co`, Nickname: strings.Repeat("Öl", 40) + "\r\nBEGIN:VCARD", Peers: []services.PeerID{{5}, {6}}, Grants: []services.Grant{{Kind: services.GrantRelay}}, Until: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)},
	{ID: services.FriendID{7}, Petname: "Zoe"},
}

func TestContacts(t *testing.T) {
	var b bytes.Buffer
	if err := WriteContacts(&b, friends); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\r\n"), "\r\n")
	for _, l := range lines {
		if len(l) > 75 || strings.ContainsAny(l, "\r\n") {
			t.Errorf("a line of %d bytes: %q", len(l), l)
		}
	}
	all := strings.ReplaceAll(b.String(), "\r\n ", "")
	for want, n := range map[string]int{"BEGIN:VCARD\r\n": 2, "END:VCARD\r\n": 2, "FN:Ann\\, Bob\\; and \\\\ Co\r\n": 1, "NICKNAME:" + strings.Repeat("Öl", 40) + "\\nBEGIN:VCARD\r\n": 1, "X-HEARTH-BOX:": 2} {
		if got := strings.Count(all, want); want != "BEGIN:VCARD\r\n" && got != n {
			t.Errorf("%q is there %d times, want %d:\n%s", want, got, n, all)
		}
	}
	golden(t, "contacts.vcf", b.Bytes())
}

func FuzzRead(f *testing.F) {
	good := export(f)
	f.Add(good)
	f.Add(good[:len(good)-2*block])
	f.Add([]byte("hello"))
	f.Fuzz(func(t *testing.T, b []byte) {
		spool := &memory{}
		a, err := Read(bytes.NewReader(b), spool)
		if err != nil {
			if p := services.AsProblem(err); a != nil || p.Kind != services.KindInvalid || p.Say.IsZero() {
				t.Fatalf("%v, %v", a, err)
			}
			return
		}
		// What was read is written again as the same files.
		again := NewBuilder(&memory{})
		for _, one := range a.Manifest.Files[1:] {
			r, ok := a.Open(one.Name)
			if !ok || r.Size() != one.Bytes {
				t.Fatalf("%s is missing", one.Name)
			}
			if err := again.Add(one.Name, func(w io.Writer) error { _, err := io.Copy(w, r); return err }); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		if err := again.Write(&out, a.Manifest); err != nil {
			return // a name or time that no tar holds
		}
		b2, err := Read(&out, &memory{})
		if err != nil || fmt.Sprint(b2.Manifest.Files[1:]) != fmt.Sprint(a.Manifest.Files[1:]) {
			t.Fatalf("read again: %v", err)
		}
	})
}
