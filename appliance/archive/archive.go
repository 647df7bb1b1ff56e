package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"hearth.alt/services"
)

// The bounds of the format.
const (
	Version  = 1
	MaxBytes = 256 << 20 // of the whole file
	MaxFiles = 64        // besides the manifest

	maxManifest = 64 << 10
	block       = 512 // of a tar
)

// The files whose names more than one package knows.
const (
	ManifestFile = "manifest.json"
	ReadmeFile   = "README.txt"
	LogFile      = "identity/log"
	RecordsFile  = "identity/records.json"
	MembersFile  = "identity/members.json"
	ContactsFile = "contacts.vcf"
)

// DataFile is the file of what a service keeps.
func DataFile(service string) string { return service + ".data" }

// Manifest says what is inside, and whose it is.
type Manifest struct {
	Version    int       `json:"hearth_export"`
	Household  Household `json:"household"`
	Box        Box       `json:"box"`
	Made       time.Time `json:"made"`
	Incomplete bool      `json:"incomplete,omitempty"`
	Files      []File    `json:"files"`
}

// Household names the household.
type Household struct {
	Name   string            `json:"name"`
	Domain string            `json:"domain"`
	ID     services.FriendID `json:"id"`
}

// Box names the box that made the export.
type Box struct {
	Name string          `json:"name"`
	ID   services.PeerID `json:"id"`
}

// File is one file of an export.
type File struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

var nameForm = regexp.MustCompile(`^[a-z0-9-][a-z0-9.-]*(/[a-z0-9-][a-z0-9.-]*)?$`)

// ValidName says whether a file may be called so. README.txt and the manifest are files of their own.
func ValidName(name string) bool {
	return len(name) <= 64 && nameForm.MatchString(name) && name != ManifestFile
}

// The refusals of Read; compare with errors.Is. The cause says what was wrong.
var (
	ErrDamaged = &services.Problem{
		Kind: services.KindInvalid, Code: "export-damaged", Field: "file",
		Say: services.Say("archive.damaged", "The export is damaged or not whole, so nothing was changed. Copy it here once more, or take another one."),
	}
	ErrNone = &services.Problem{
		Kind: services.KindInvalid, Code: "export-none", Field: "file",
		Say: services.Say("archive.none", "That file is no export of a household, so nothing was changed."),
	}
	ErrNewer = &services.Problem{
		Kind: services.KindInvalid, Code: "export-newer", Field: "file",
		Say: services.Say("archive.newer", "The export was made by a newer Hearth, so nothing was changed. Update this box first."),
	}
	ErrTooLarge = &services.Problem{
		Kind: services.KindInvalid, Code: "export-too-large", Field: "file",
		Say: services.Say("archive.too-large", "The file is larger than an export can be, so nothing was changed."),
	}
)

func because(p *services.Problem, format string, args ...any) error {
	q := *p
	q.Cause = fmt.Errorf(format, args...)
	return &q
}

// Spool is where the files lie while an export is made or read: an empty file that nobody else has open.
type Spool interface {
	io.Writer
	io.ReaderAt
}

type kept struct {
	File
	at int64 // in the spool
}

// Builder collects the files of an export.
type Builder struct {
	spool Spool
	size  int64
	files []kept
}

// NewBuilder returns a Builder that keeps the files in spool.
func NewBuilder(spool Spool) *Builder { return &Builder{spool: spool} }

// Add takes in what write writes as the file name; an empty one, too. Names are added once.
func (b *Builder) Add(name string, write func(w io.Writer) error) error {
	if !ValidName(name) || len(b.files) == MaxFiles-1 {
		return fmt.Errorf("%q cannot be a file of an export", name)
	}
	for _, f := range b.files {
		if f.Name == name {
			return fmt.Errorf("%q is in the export already", name)
		}
	}
	one := kept{File: File{Name: name}, at: b.size}
	hash := sha256.New()
	n := &counter{}
	if err := write(io.MultiWriter(b.spool, hash, n)); err != nil {
		return fmt.Errorf("exporting %s: %w", name, err)
	}
	one.Bytes, one.SHA256 = n.n, hex.EncodeToString(hash.Sum(nil))
	b.size += n.n
	b.files = append(b.files, one)
	return nil
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// Write writes the export. It sets Version and Files of m.
func (b *Builder) Write(w io.Writer, m Manifest) error {
	names := []string{}
	for _, f := range b.files {
		names = append(names, f.Name)
	}
	m.Version, m.Made = Version, m.Made.UTC().Truncate(time.Second)
	text := readme(m, names)
	sum := sha256.Sum256(text)
	m.Files = []File{{ReadmeFile, int64(len(text)), hex.EncodeToString(sum[:])}}
	for _, f := range b.files {
		m.Files = append(m.Files, f.File)
	}
	var manifest bytes.Buffer
	e := json.NewEncoder(&manifest)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(m); err != nil {
		return err
	}
	t := tar.NewWriter(w)
	put := func(name string, size int64, content io.Reader) error {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: m.Made, Format: tar.FormatUSTAR}
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("writing %s of the export: %w", name, err)
		}
		if _, err := io.Copy(t, content); err != nil {
			return fmt.Errorf("writing %s of the export: %w", name, err)
		}
		return nil
	}
	err := errors.Join(put(ManifestFile, int64(manifest.Len()), &manifest), put(ReadmeFile, int64(len(text)), bytes.NewReader(text)))
	for _, f := range b.files {
		if err == nil {
			err = put(f.Name, f.Bytes, io.NewSectionReader(b.spool, f.at, f.Bytes))
		}
	}
	if err != nil {
		return err
	}
	return t.Close()
}

// Archive is an export that was read and is whole.
type Archive struct {
	Manifest Manifest
	spool    Spool
	files    []kept
}

// Open returns a file of the export; false when it has none of that name.
func (a *Archive) Open(name string) (*io.SectionReader, bool) {
	for _, f := range a.files {
		if f.Name == name {
			return io.NewSectionReader(a.spool, f.at, f.Bytes), true
		}
	}
	return nil, false
}

// Read reads an export and checks all of it; the files lie in spool from then on. Errors: ErrNone, ErrDamaged, ErrNewer,
// ErrTooLarge, and those of spool.
func Read(r io.Reader, spool Spool) (*Archive, error) {
	in := &bounded{r: r, left: MaxBytes}
	a, err := read(in, spool)
	if in.over {
		return nil, because(ErrTooLarge, "it has more than %d bytes", MaxBytes)
	}
	if in.err != nil { // whoever sends it is gone, or it cannot be read where it lies
		return nil, because(ErrDamaged, "reading it: %w", in.err)
	}
	return a, err
}

func read(in *bounded, spool Spool) (*Archive, error) {
	t := tar.NewReader(in)
	h, err := next(t, ManifestFile)
	if err != nil {
		return nil, because(ErrNone, "%w", err)
	}
	if h.Size > maxManifest {
		return nil, because(ErrDamaged, "its manifest has %d bytes", h.Size)
	}
	text, err := io.ReadAll(t)
	if err != nil {
		return nil, because(ErrDamaged, "reading its manifest: %w", err)
	}
	a := &Archive{spool: spool}
	if a.Manifest, err = parseManifest(text); err != nil {
		return nil, err
	}
	at := int64(0)
	for _, f := range a.Manifest.Files {
		h, err := next(t, f.Name)
		if err != nil {
			return nil, because(ErrDamaged, "%w", err)
		}
		if h.Size != f.Bytes {
			return nil, because(ErrDamaged, "%s has %d bytes, its manifest says %d", f.Name, h.Size, f.Bytes)
		}
		hash := sha256.New()
		from := &source{r: t}
		n, err := io.Copy(io.MultiWriter(spool, hash), from)
		switch {
		case from.err != nil || err == nil && n != f.Bytes:
			return nil, because(ErrDamaged, "reading %s: %d bytes, %v", f.Name, n, from.err)
		case err != nil:
			return nil, fmt.Errorf("keeping %s: %w", f.Name, err)
		}
		if got := hex.EncodeToString(hash.Sum(nil)); got != f.SHA256 {
			return nil, because(ErrDamaged, "%s has the hash %s, its manifest says %s", f.Name, got, f.SHA256)
		}
		a.files = append(a.files, kept{f, at})
		at += n
	}
	if _, err := t.Next(); !errors.Is(err, io.EOF) {
		return nil, because(ErrDamaged, "something follows its last file: %v", err)
	}
	if n, err := in.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		return nil, because(ErrDamaged, "something follows its end")
	}
	want := occupied(h.Size) + 2*block
	for _, f := range a.files {
		want += occupied(f.Bytes)
	}
	if got := MaxBytes - in.left; got != want {
		return nil, because(ErrDamaged, "it has %d bytes, not %d", got, want)
	}
	return a, nil
}

// occupied is what a file of so many bytes takes in a tar, with its head.
func occupied(bytes int64) int64 { return block + (bytes+block-1)/block*block }

// next is the header of the file name, which has to be the next one, and nothing but a plain file.
func next(t *tar.Reader, name string) (*tar.Header, error) {
	h, err := t.Next()
	switch {
	case err != nil:
		return nil, fmt.Errorf("looking for %s: %w", name, err)
	case h.Name != name || h.Typeflag != tar.TypeReg || h.Linkname != "" || h.Format&tar.FormatUSTAR == 0 || len(h.PAXRecords) > 0:
		return nil, fmt.Errorf("%q, of type %q, in place of %s", h.Name, h.Typeflag, name)
	}
	return h, nil
}

func parseManifest(b []byte) (Manifest, error) {
	var v struct {
		Version *int `json:"hearth_export"`
	}
	var m Manifest
	switch err := json.Unmarshal(b, &v); {
	case err != nil || v.Version == nil || *v.Version < 1:
		return m, because(ErrNone, "its manifest says no version")
	case *v.Version > Version:
		return m, because(ErrNewer, "it has version %d, this Hearth knows %d", *v.Version, Version)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, because(ErrDamaged, "its manifest: %w", err)
	}
	if len(m.Files) == 0 || len(m.Files) > MaxFiles || m.Files[0].Name != ReadmeFile {
		return m, because(ErrDamaged, "its manifest names %d files", len(m.Files))
	}
	seen := map[string]bool{}
	left := int64(MaxBytes)
	for i, f := range m.Files {
		if i > 0 && !ValidName(f.Name) || seen[f.Name] || f.Bytes < 0 {
			return m, because(ErrDamaged, "its manifest names %q twice or as nothing can be named", f.Name)
		}
		seen[f.Name] = true
		if f.Bytes > left {
			return m, because(ErrTooLarge, "its manifest names more than %d bytes", MaxBytes)
		}
		left -= f.Bytes
	}
	return m, nil
}

// bounded reads left bytes of r and no more; what went wrong, and that there was more, stays known.
type bounded struct {
	r    io.Reader
	left int64
	over bool
	err  error
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left == 0 {
		n, err := b.r.Read(make([]byte, 1))
		if n > 0 {
			b.over = true
			err = errors.New("it goes on")
		}
		return 0, err
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// source tells an error of reading from one of writing.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
