package appliance

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/services/account"
	"hearth.alt/services/identity/identitytest"
)

// eraser is a service that keeps something of everybody.
type eraser struct {
	erased []services.PersonID
	fail   error
}

func (e *eraser) Name() string                              { return "files" }
func (e *eraser) Snapshot(context.Context, io.Writer) error { panic("nobody asked") }
func (e *eraser) Restore(context.Context, io.Reader) error  { panic("nobody asked") }
func (e *eraser) ErasePerson(_ context.Context, id services.PersonID) error {
	if e.fail == nil {
		e.erased = append(e.erased, id)
	}
	return e.fail
}

// leavingHouse is a household somebody leaves.
type leavingHouse struct {
	*leaving
	dir     string
	members *identitytest.Members
	files   *eraser
	at      time.Time
	knows   bool
	told    []string
}

func newLeavingHouse(dir string) *leavingHouse {
	h := &leavingHouse{
		dir: dir, members: identitytest.NewMembers(identitytest.Smith()), files: &eraser{},
		at: time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC), knows: true,
	}
	h.start()
	return h
}

// start begins as the box does.
func (h *leavingHouse) start() {
	h.leaving = newLeaving(&leaving{
		path: filepath.Join(h.dir, "leaving"), members: h.members, keepers: []services.Snapshotter{h.files},
		now: func() time.Time { return h.at }, known: func() bool { return h.knows }, log: slog.New(slog.DiscardHandler),
		erased: func(_ context.Context, l services.Leaving) { h.told = append(h.told, l.Name) },
	})
}

// look is one round of Run.
func (h *leavingHouse) look() error {
	m, _ := h.members.Watch()
	err := h.tend(context.Background(), m)
	h.tell(err)
	return err
}

func (h *leavingHouse) restart(t interface{ Fatal(...any) }) {
	h.start()
	if err := h.load(); err != nil {
		t.Fatal(err)
	}
}

// leave has ben leave, with a choice.
func (h *leavingHouse) leave(choice uint32, then services.Then) {
	h.members.Update(func(m *services.Membership) {
		m.People = slices.DeleteFunc(m.People, func(p services.Person) bool { return p.ID == identitytest.Ben })
		m.Leaving = []services.Leaving{{Person: identitytest.Ben, Name: "Ben", Then: then, Choice: choice}}
	})
}

func (h *leavingHouse) belongAgain() {
	h.members.Update(func(m *services.Membership) {
		m.Leaving = nil
		m.People = append(m.People, services.Person{ID: identitytest.Ben, Name: "Ben", Role: services.RoleMember, State: services.StateActive})
	})
}

const day = 24 * time.Hour

// What a removed person kept goes when its time is over, once, and nothing else makes it go.
func TestLeavingPeople(t *testing.T) {
	once := []services.PersonID{identitytest.Ben}
	for name, c := range map[string]struct {
		do    func(h *leavingHouse, look func())
		want  []services.PersonID
		until time.Duration // after h.at; 0 is not said
		kept  bool
	}{
		"before 30 days": {func(h *leavingHouse, look func()) {
			h.leave(1, services.ThenErase)
			look()
			h.at = h.at.Add(30*day - time.Second)
			look()
		}, nil, time.Second, true},
		"after 30 days": {func(h *leavingHouse, look func()) {
			h.leave(0, services.ThenErase)
			look()
			h.at = h.at.Add(30 * day)
			look()
			look()
		}, once, 0, false},
		"the box was off": {func(h *leavingHouse, look func()) { h.at = h.at.Add(90 * day); h.leave(1, services.ThenErase); look() }, nil, 30 * day, true},
		"the time is not known": {func(h *leavingHouse, look func()) {
			h.knows = false
			h.leave(1, services.ThenErase)
			look()
			h.at = h.at.Add(90 * day)
			look()
		}, nil, 0, true},
		"the time is known later": {func(h *leavingHouse, look func()) {
			h.knows = false
			h.leave(1, services.ThenErase)
			look()
			h.knows, h.at = true, h.at.Add(90*day)
			look()
		}, nil, 30 * day, true},
		"not known any more when it is over": {func(h *leavingHouse, look func()) {
			h.leave(1, services.ThenErase)
			look()
			h.knows, h.at = false, h.at.Add(90*day)
			look()
		}, nil, -60 * day, true},
		"a time that was wrong": {func(h *leavingHouse, look func()) {
			h.at = h.at.Add(3000 * day)
			h.leave(1, services.ThenErase)
			look()
			h.at = h.at.Add(-3000 * day)
			look()
		}, nil, 30 * day, true},
		"export": {func(h *leavingHouse, look func()) {
			h.leave(1, services.ThenExport)
			look()
			h.at = h.at.Add(3000 * day)
			look()
		}, nil, 0, true},
		"at once, whatever the time": {func(h *leavingHouse, look func()) { h.knows = false; h.leave(1, services.ThenNow); look(); look() }, once, 0, false},
		"kept for 30 days more": {func(h *leavingHouse, look func()) {
			h.leave(1, services.ThenErase)
			look()
			h.at = h.at.Add(29 * day)
			h.leave(2, services.ThenErase)
			look()
			h.at = h.at.Add(29 * day)
			look()
		}, nil, day, true},
		"dismissed after export": {func(h *leavingHouse, look func()) {
			h.leave(1, services.ThenExport)
			look()
			h.leave(2, services.ThenNow)
			look()
		}, once, 0, false},
		"belongs again": {func(h *leavingHouse, look func()) {
			h.leave(1, services.ThenErase)
			look()
			h.belongAgain()
			h.at = h.at.Add(90 * day)
			look()
		}, nil, 0, false},
		"belonged again for a while": {func(h *leavingHouse, look func()) {
			h.leave(1, services.ThenErase)
			look()
			h.belongAgain()
			h.at = h.at.Add(29 * day)
			look()
			h.leave(1, services.ThenErase)
			look()
			h.at = h.at.Add(29 * day)
			look()
		}, nil, day, true},
		"disputed": {func(h *leavingHouse, look func()) {
			h.leave(1, services.ThenNow)
			h.members.Update(func(m *services.Membership) { m.Frozen, m.ReadOnly = true, true })
			look()
		}, nil, 0, false},
		"it failed at first": {func(h *leavingHouse, look func()) {
			h.files.fail = errors.New("no room")
			h.leave(1, services.ThenNow)
			look()
			h.files.fail = nil
			look()
		}, once, 0, false},
	} {
		for _, restarts := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				h := newLeavingHouse(t.TempDir())
				c.do(h, func() {
					h.look()
					if restarts {
						h.restart(t)
						h.look()
					}
				})
				if diff := cmp.Diff(c.want, h.files.erased); diff != "" {
					t.Errorf("erased (-want +got):\n%s", diff)
				}
				if len(h.told) != len(c.want) {
					t.Errorf("told of %v", h.told)
				}
				kept := h.Kept()
				if (len(kept) == 1) != c.kept {
					t.Fatalf("kept are %+v", kept)
				}
				if c.kept && !kept[0].Until.Equal(h.at.Add(c.until)) && (c.until != 0 || !kept[0].Until.IsZero()) {
					t.Errorf("until %v, want %v", kept[0].Until, h.at.Add(c.until))
				}
				if got := h.Health(); !got.Ready || !got.OK {
					t.Errorf("health is %+v", got)
				}
			})
		}
	}
}

// What cannot be erased is said, keeps nobody else's from going, and is tried again.
func TestLeavingFails(t *testing.T) {
	h := newLeavingHouse(t.TempDir())
	good := &eraser{}
	h.keepers = append(h.keepers, good)
	h.files.fail = errors.New("no room")
	h.leave(1, services.ThenNow)
	if h.look() == nil || h.Health().OK || len(h.Kept()) != 1 || len(h.told) > 0 {
		t.Errorf("health %+v, kept %v, told %v", h.Health(), h.Kept(), h.told)
	}
	if len(good.erased) != 1 {
		t.Error("one service's trouble kept the others from erasing")
	}
}

func TestLeavingFileDamaged(t *testing.T) {
	h := newLeavingHouse(t.TempDir())
	h.leave(1, services.ThenErase)
	h.look()
	if err := os.WriteFile(h.path, []byte(`{"version":1,"peo`), 0o600); err != nil {
		t.Fatal(err)
	}
	h.restart(t)
	h.at = h.at.Add(40 * day)
	h.look()
	if len(h.files.erased) > 0 || len(h.Kept()) != 1 || !h.Kept()[0].Until.Equal(h.at.Add(30*day)) {
		t.Errorf("erased %v, kept %+v", h.files.erased, h.Kept())
	}
	if _, err := os.Stat(h.path + ".damaged"); err != nil {
		t.Error(err)
	}
}

// Whatever happens to the clock, the household and the plug: what somebody kept goes only while they are leaving and it
// is undisputed, at once where that was chosen, else after 30 days of known time since the choice was heard of; and once,
// unless the plug was pulled between the deed and its note.
func TestAnyLeavingPeople(t *testing.T) {
	erased := 0
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "leaving-")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		h := newLeavingHouse(dir)
		choice, then, here, frozen := uint32(0), services.ThenErase, true, false
		var heard time.Time // when the choice was, by known time
		done, again := false, false
		for range rapid.IntRange(1, 40).Draw(rt, "length") {
			switch rapid.SampledFrom([]string{"days", "days", "choose", "leave", "again", "freeze", "clock", "restart", "crash"}).Draw(rt, "what") {
			case "days":
				h.at = h.at.Add(time.Duration(rapid.IntRange(0, 40).Draw(rt, "n")) * day)
			case "clock":
				h.knows = !h.knows
			case "freeze":
				frozen = !frozen
			case "leave", "choose":
				if !here || rapid.Bool().Draw(rt, "unasked") {
					choice++
				}
				then = rapid.SampledFrom([]services.Then{services.ThenExport, services.ThenErase, services.ThenErase, services.ThenNow}).Draw(rt, "then")
				if choice == 0 {
					then = services.ThenErase
				}
				if here || choice > 0 {
					heard, done, again = time.Time{}, false, false
				}
				here = false
				h.leave(choice, then)
			case "again":
				if !here && !frozen {
					h.belongAgain()
					here, choice, heard, done, again = true, 0, time.Time{}, false, false
				}
			case "restart":
				h.restart(rt)
			case "crash":
				b, err := os.ReadFile(h.path)
				h.look()
				if err == nil {
					err = os.WriteFile(h.path, b, 0o600)
				} else {
					err = os.RemoveAll(h.path)
				}
				if err != nil {
					rt.Fatal(err)
				}
				again = true
				h.files.erased = nil // judged by the next round
				h.restart(rt)
				heard, done = time.Time{}, false
				if s, ok := h.kept[identitytest.Ben]; ok && s.Choice == choice && !here {
					heard, done = s.Since, s.Done
				}
			}
			h.members.Update(func(m *services.Membership) { m.Frozen, m.ReadOnly = frozen, frozen })
			if !here && !frozen && h.knows && heard.IsZero() {
				heard = h.at
			}
			if err := h.look(); err != nil {
				rt.Fatal(err)
			}
			may := !here && !frozen && !done && (then == services.ThenNow || then == services.ThenErase && h.knows && h.at.Sub(heard) >= 30*day)
			if got := len(h.files.erased) > 0; got != may {
				rt.Fatalf("erased %v, want %v: here %v, frozen %v, done %v, crashed %v, %s since %v at %v (known %v)", got, may, here, frozen, done, again, then, heard, h.at, h.knows)
			}
			if may {
				erased++
				done = true
			}
			h.files.erased = nil
		}
	})
	if erased == 0 {
		t.Error("nothing was ever erased")
	}
}

// What reckon is given stays as it is: a file that could not be written changes nothing.
func TestReckonCopies(t *testing.T) {
	was := map[services.PersonID]stay{identitytest.Gus: {Choice: 1}}
	want := maps.Clone(was)
	reckon(was, []services.Leaving{{Person: identitytest.Ben}}, time.Unix(1_800_000_000, 0), true)
	if diff := cmp.Diff(want, was); diff != "" {
		t.Error(diff)
	}
}

// From the removal to the end, over the operations: the choice, the list, the change of mind, and who may.
func TestFilesOfARemovedPerson(t *testing.T) {
	h := takenIn(t, t.TempDir())
	ctx, do := t.Context(), h.webConfig.House
	look := func() {
		t.Helper()
		if err := h.leaving.tend(ctx, h.identity.Membership()); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.leaving.load(); err != nil {
		t.Fatal(err)
	}
	guest := h.who[services.RoleGuest]
	if _, err := do.RemovePerson(ctx, local, api.RemovePersonInput{ID: guest.id, Files: "now"}); services.AsProblem(err) == nil || services.AsProblem(err).Code != "files-invalid" {
		t.Fatalf("nobody's things go in the same breath: %v", err)
	}
	if _, ok := h.identity.Membership().Person(guest.id); !ok {
		t.Fatal("a refused removal removed")
	}
	if _, err := do.RemovePerson(ctx, h.caller(services.RoleMember), api.RemovePersonInput{ID: guest.id, Files: "export"}); err != nil {
		t.Fatal(err)
	}
	look()
	list, err := do.ListLeaving(ctx, h.caller(services.RoleOwner), api.None{})
	if err != nil || len(list) != 1 || list[0].ID != guest.id || list[0].Name != guest.name || list[0].Files != services.ThenExport || list[0].Until != nil {
		t.Fatalf("leaving are %+v, %v", list, err)
	}
	choose := func(by services.Role, files string) error {
		_, err := do.ChooseFiles(ctx, h.caller(by), api.FilesInput{ID: services.PersonID(guest.name), Files: files})
		return err
	}
	for _, by := range []services.Role{services.RoleNone, services.RoleGuest, services.RoleMember, services.RoleAdmin} {
		if _, err := do.ListLeaving(ctx, h.caller(by), api.None{}); err == nil {
			t.Errorf("%v lists who left", by)
		}
		if choose(by, "now") == nil {
			t.Errorf("%v has things erased", by)
		}
	}
	if err := choose(services.RoleOwner, "erase"); err != nil {
		t.Fatal(err)
	}
	look()
	if list, _ = do.ListLeaving(ctx, local, api.None{}); len(list) != 1 || h.clock.Known() && list[0].Until == nil {
		t.Errorf("leaving are %+v", list)
	}
	if err := choose(services.RoleOwner, "now"); err != nil {
		t.Fatal(err)
	}
	look()
	if list, err = do.ListLeaving(ctx, local, api.None{}); err != nil || len(list) != 0 {
		t.Errorf("leaving are %+v, %v", list, err)
	}
	events, err := h.account.Events(ctx, time.Time{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, action := range []string{"person-removed", "files-erase", "files-now", "files-erased"} {
		if !slices.ContainsFunc(events, func(e account.Event) bool { return e.Action == action && e.Object == guest.name }) {
			t.Errorf("%s is not written down", action)
		}
	}
}
