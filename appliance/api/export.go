package api

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"hearth.alt/appliance/archive"
	"hearth.alt/services"
	"hearth.alt/services/durable"
	"hearth.alt/services/identity"
)

// ExportInput is what "export" takes.
type ExportInput struct {
	File   string `json:"file,omitempty" arg:"FILE" save:"whole" help:"where the export goes; what is there is replaced"`
	SignIn bool   `json:"with_sign_in,omitempty" help:"also how people sign in: passwords and app passwords as hashes, and what happened"`
}

// ImportInput is what "import" takes.
type ImportInput struct {
	File    Upload   `json:"file" arg:"FILE" help:"the export"`
	Replace bool     `json:"replace,omitempty" help:"also put what else the export holds in the place of what this box has; who is signed in has to do so again"`
	Words   []string `json:"words,omitempty" help:"the 24 recovery words, where no box of the household is left: they take this one in" file:"words"`
	Name    string   `json:"name,omitempty" help:"with the words: what this box is to be called; hearth when not given"`
}

// ImportOutput says what became of an import.
type ImportOutput struct {
	Household string    `json:"household"`
	Box       string    `json:"box"`      // this one
	Made      time.Time `json:"made"`     // when the export was
	Records   int       `json:"records"`  // of who belongs, in the export
	Fresh     int       `json:"fresh"`    // of these, not known here before
	Replaced  []string  `json:"replaced"` // services whose data came from the export
	Left      []string  `json:"left"`     // services whose data in it was left alone
}

// keepers are the services besides the identity whose data an export holds, in the order in which they are brought back:
// those who sign everybody out come last.
func (h *House) keepers() []services.Snapshotter {
	return []services.Snapshotter{h.DNS, h.Witness, h.Account}
}

// spool is an empty file that vanishes when it is closed, whatever happens.
func (h *House) spool() (*os.File, error) {
	if err := durable.MakeDir(h.Temporary, 0o700); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(h.Temporary, ".new-export-*")
	if err != nil {
		return nil, notKept(err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Export writes all that the household keeps into one file (package archive). How people sign in is in it only when
// that is asked for on the console.
func (h *House) Export(ctx context.Context, caller services.Caller, in ExportInput) (Download, error) {
	if err := least(caller, services.RoleOwner); err != nil {
		return Download{}, err
	}
	if in.SignIn && caller.Face != services.FaceConsole {
		return Download{}, ErrNotHere
	}
	spool, err := h.spool()
	if err != nil {
		return Download{}, err
	}
	m, b, err := h.collect(ctx, caller, in, spool)
	if err != nil {
		spool.Close()
		return Download{}, notKept(err)
	}
	d := Download{
		Name: m.Household.Label + ".hearth.tar", Type: "application/x-tar", Close: spool.Close,
		Write: func(w io.Writer) error { return b.Write(w, h.manifest(m)) },
	}
	switch {
	case incomplete(m):
		d.Warning = services.Say("export.incomplete", "The record of who belongs is damaged, so this export lacks what this box cannot read. Keep an earlier one, too.")
	case in.SignIn:
		d.Warning = services.Say("export.sign-in", "This export holds passwords as hashes. Keep it where nobody else can read it: whoever has it can try to guess them.")
	}
	action := "exported"
	if in.SignIn {
		action = "exported-with-sign-in"
	}
	h.audit(ctx, caller, action, "")
	return d, nil
}

func incomplete(m *services.Membership) bool { return m.ReadOnly && !m.Frozen }

func (h *House) manifest(m *services.Membership) archive.Manifest {
	box, _ := m.Box()
	return archive.Manifest{
		Household: archive.Household{Name: m.Household.Name, Domain: m.Household.Domain, ID: h.Identity.FriendID()},
		Box:       archive.Box{Name: box.Name, ID: m.Self}, Made: h.Clock.Now(), Incomplete: incomplete(m),
	}
}

// collect puts the files together; while who belongs changes it begins anew, so that all of them say the same.
func (h *House) collect(ctx context.Context, caller services.Caller, in ExportInput, spool *os.File) (*services.Membership, *archive.Builder, error) {
	for range 10 {
		if err := errors.Join(spool.Truncate(0), seekStart(spool)); err != nil {
			return nil, nil, err
		}
		m, b := h.Identity.Membership(), archive.NewBuilder(spool)
		if !m.Claimed() {
			return nil, nil, ErrUnclaimed
		}
		records, err := h.ShowLog(ctx, caller, None{})
		if err != nil {
			return nil, nil, err
		}
		if err := errors.Join(
			b.Add(archive.LogFile, func(w io.Writer) error { return h.Identity.Snapshot(ctx, w) }),
			b.Add(archive.RecordsFile, func(w io.Writer) error { return archive.WriteJSON(w, records) }),
			b.Add(archive.MembersFile, func(w io.Writer) error { return archive.WriteMembers(w, m) }),
			b.Add(archive.ContactsFile, func(w io.Writer) error { return archive.WriteContacts(w, m.Friends) }),
		); err != nil {
			return nil, nil, err
		}
		for _, s := range h.keepers() {
			if s == services.Snapshotter(h.Account) && !in.SignIn {
				continue
			}
			if err := b.Add(archive.DataFile(s.Name()), func(w io.Writer) error { return s.Snapshot(ctx, w) }); err != nil {
				return nil, nil, err
			}
		}
		if h.Identity.Membership() == m {
			return m, b, nil
		}
	}
	return nil, nil, &services.Problem{
		Kind: services.KindBusy, Code: "changing",
		Say: services.Say("export.changing", "Who belongs is changing right now. Try again in a minute."),
	}
}

func seekStart(f *os.File) error {
	_, err := f.Seek(0, io.SeekStart)
	return err
}

// Import brings an export back. All of it is checked before anything is changed. Who belongs is united with what is known
// here; the other services follow with Replace, each wholly or not at all, and when one fails those before it stay: who
// belongs is never older for that. A box that nobody has claimed becomes the household's again when the export knows its
// key, or when the 24 words take it in. With its old key and an old export it should hear from the others before anything
// is changed on it: what it signed since it would sign anew, and that shows as a cloned card.
//
// Codes: export-none, -damaged, -newer, -too-large (package archive), -other, -not-here, words-needed; those of identity's
// Restore and TakeIn; import-partly.
func (h *House) Import(ctx context.Context, caller services.Caller, in ImportInput) (ImportOutput, error) {
	if err := least(caller, services.RoleOwner); err != nil {
		return ImportOutput{}, err
	}
	if h.Ownership() == Removed {
		return ImportOutput{}, ErrRemoved
	}
	spool, err := h.spool()
	if err != nil {
		return ImportOutput{}, err
	}
	defer spool.Close()
	a, err := archive.Read(in.File, spool)
	if err != nil {
		return ImportOutput{}, notKept(err)
	}
	log, ok := a.Open(archive.LogFile)
	if !ok {
		return ImportOutput{}, archive.ErrDamaged
	}
	backup, err := identity.ReadBackup(log)
	if err != nil {
		return ImportOutput{}, err
	}
	if backup.Household != a.Manifest.Household.ID {
		return ImportOutput{}, archive.ErrDamaged
	}
	before := len(h.Identity.RecordBytes())
	whose := h.Ownership()
	if err := h.bringBack(ctx, whose, a, backup, in); err != nil {
		return ImportOutput{}, notKept(err)
	}
	m := h.Identity.Membership()
	box, _ := m.Box()
	out := ImportOutput{
		Household: backup.Name, Box: box.Name, Made: a.Manifest.Made, Records: backup.Records, Replaced: []string{}, Left: []string{},
		Fresh: max(0, len(h.Identity.RecordBytes())-before),
	}
	if err := h.bringBackRest(ctx, a, in.Replace || whose == Unclaimed, &out); err != nil {
		h.audit(ctx, caller, "imported-partly", backup.Name)
		return out, err
	}
	h.audit(ctx, caller, "imported", backup.Name)
	return out, nil
}

// bringBack brings back who belongs.
func (h *House) bringBack(ctx context.Context, whose Ownership, a *archive.Archive, backup identity.Backup, in ImportInput) error {
	log, _ := a.Open(archive.LogFile)
	self := h.Identity.Membership().Self
	switch {
	case whose == Claimed && h.Identity.FriendID() != backup.Household:
		return &services.Problem{
			Kind: services.KindConflict, Code: "export-other", Field: "file",
			Say: services.Say("import.other", "This export belongs to another household, so nothing was changed."),
		}
	case whose == Lost && !backup.Has(self):
		return &services.Problem{
			Kind: services.KindConflict, Code: "export-not-here", Field: "file",
			Say: services.Say("import.not-here", "This export does not know this box, so nothing was changed. Take one that was made after the box came to the household."),
		}
	case whose != Unclaimed:
		return h.Identity.Restore(ctx, log)
	}
	if !h.claiming.TryLock() {
		return errClaiming
	}
	defer h.claiming.Unlock()
	if err := h.MayClaim(); err != nil {
		return err
	}
	if err := h.becomeAgain(ctx, log, backup.Has(self), in); err != nil {
		return err
	}
	h.Joined()
	return nil
}

// becomeAgain makes this unclaimed box the household's.
func (h *House) becomeAgain(ctx context.Context, log io.ReadSeeker, known bool, in ImportInput) error {
	switch {
	case known:
		return h.Identity.Restore(ctx, log)
	case len(in.Words) == 0:
		return &services.Problem{
			Kind: services.KindConflict, Code: "words-needed", Field: "words",
			Say: services.Say("import.words-needed", "This box is none of that household's yet. Add it on one of its boxes; or, when none is left, import with the 24 recovery words. Nothing was changed."),
		}
	}
	return boxNamed(in.Name, func(name string) error {
		if _, err := log.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return h.Identity.TakeIn(ctx, log, in.Words, name)
	})
}

// bringBackRest brings back what the other services keep, and says in out what became of it.
func (h *House) bringBackRest(ctx context.Context, a *archive.Archive, replace bool, out *ImportOutput) error {
	for _, s := range h.keepers() {
		data, ok := a.Open(archive.DataFile(s.Name()))
		if !ok {
			continue
		}
		// What friends' boxes showed one box is not what they showed another.
		if !replace || s == services.Snapshotter(h.Witness) && a.Manifest.Box.ID != h.Identity.Membership().Self {
			out.Left = append(out.Left, s.Name())
			continue
		}
		if err := s.Restore(ctx, data); err != nil {
			p := services.AsProblem(err)
			return &services.Problem{
				Kind: p.Kind, Code: "import-partly", Cause: err,
				Say: services.Say("import.partly", "Who belongs was brought back; what “{service}” keeps was not. It said: {why} Run the import again when that is put right.", "service", s.Name(), "why", p.Say.String()),
			}
		}
		out.Replaced = append(out.Replaced, s.Name())
	}
	for _, f := range a.Manifest.Files { // of a newer program
		name, data := strings.CutSuffix(f.Name, ".data")
		if data && !slices.Contains(out.Replaced, name) && !slices.Contains(out.Left, name) {
			out.Left = append(out.Left, name)
		}
	}
	return nil
}
