package identity_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/identity/identitytest"
)

// share has two boxes exchange all they have, and returns how many frames that took.
func share(t *testing.T, a, b *identity.Service) int {
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
	frames := 0
	for moved := true; moved; {
		moved = false
		for _, way := range [][2]*identity.LogConn{{x, y}, {y, x}} {
			for f := way[0].Next(); f != nil; f = way[0].Next() {
				if err := way[1].Receive(t.Context(), f); err != nil {
					t.Fatal(err)
				}
				frames++
				moved = true
			}
		}
	}
	return frames
}

// agree compares what boxes know, but for which of them they are.
func agree(t *testing.T, boxes ...*identity.Service) {
	t.Helper()
	want := *boxes[0].Membership()
	for _, b := range boxes[1:] {
		got := *b.Membership()
		got.Self = want.Self
		same(t, &got, &want)
	}
}

func person(t *testing.T, s *identity.Service, name string, role services.Role) services.Person {
	t.Helper()
	p, err := s.AddPerson(t.Context(), identity.NewPerson{Name: name, Role: role})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Two boxes that were apart both changed who belongs. Once they hear each other, both know all of it, after a restart too.
func TestTwoBoxes(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	agree(t, study.Service, attic.Service)
	if boxes := attic.Membership().Boxes; len(boxes) != 2 || boxes[0].Label != "attic" || boxes[1].Label != "hearth" {
		t.Fatalf("boxes are %+v", boxes)
	}
	if attic.WordsPending() {
		t.Error("a box that joined asks for words that it never had")
	}
	wantCode(t, attic.Claim(t.Context(), identity.Claim{Household: "Jones", Box: "Hearth", Owner: "Eve"}), "already-claimed")

	ben, cleo := person(t, study.Service, "Ben", services.RoleMember), person(t, attic.Service, "Cleo", services.RoleMember)
	if _, ok := attic.Membership().Person(ben.ID); ok {
		t.Fatal("they hear each other already")
	}
	var devices [2]services.Device
	for i, s := range []*identity.Service{study.Service, attic.Service} {
		var err error
		if devices[i], err = s.AddDevice(t.Context(), identity.NewDevice{Person: study.Owner, Name: "Phone", Key: key(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if devices[0].Addr4 == devices[1].Addr4 {
		t.Errorf("both boxes gave away %s", devices[0].Addr4)
	}
	share(t, study.Service, attic.Service)
	agree(t, study.Service, attic.Service)
	m := attic.Membership()
	if len(m.People) != 3 || len(m.Devices) != 2 {
		t.Errorf("%d people and %d devices", len(m.People), len(m.Devices))
	}
	if err := attic.RemovePerson(t.Context(), ben.ID); err != nil {
		t.Fatal(err)
	}
	share(t, attic.Service, study.Service)
	agree(t, study.Service, attic.Service)
	if _, ok := study.Membership().Person(ben.ID); ok {
		t.Error("a person removed on one box is still there on the other")
	}
	if _, ok := study.Membership().Person(cleo.ID); !ok {
		t.Error("a person added on one box is not there on the other")
	}
	agree(t, reopened(t, study), study.Service)
	agree(t, reopened(t, attic), attic.Service)
}

// A box that was removed can add nobody any more, however it dates what it writes, and cannot come back.
func TestRemovedBox(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	if err := study.RemoveBox(t.Context(), attic.Keys.PeerID()); err != nil {
		t.Fatal(err)
	}
	person(t, attic.Service, "Eve", services.RoleOwner) // before it hears that
	share(t, study.Service, attic.Service)
	for _, s := range []*identity.Service{study.Service, reopened(t, study)} {
		if m := s.Membership(); len(m.People) != 1 || len(m.Boxes) != 1 {
			t.Errorf("people are %+v, boxes %+v", m.People, m.Boxes)
		}
	}
	if m := attic.Membership(); len(m.People) != 0 || len(m.Boxes) != 1 || !m.ReadOnly {
		t.Errorf("the removed box still lets in %+v, knows %+v", m.People, m.Boxes)
	}
	_, err := attic.AddPerson(t.Context(), identity.NewPerson{Name: "Mallory", Role: services.RoleOwner})
	wantCode(t, err, "not-ours")
	_, err = study.AddBox(t.Context(), identity.NewBox{ID: attic.Keys.PeerID(), Name: "Attic"})
	wantCode(t, err, "box-removed")
	wantCode(t, study.RemoveBox(t.Context(), attic.Keys.PeerID()), "box-not-found")
	wantCode(t, study.RemoveBox(t.Context(), study.Keys.PeerID()), "last-box")
}

// A box that was removed while it was away hears so when it comes back, and nothing of what came after.
func TestFarewell(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	person(t, attic.Service, "Eve", services.RoleOwner)
	person(t, study.Service, "Ben", services.RoleMember)
	if err := study.RemoveBox(t.Context(), attic.Keys.PeerID()); err != nil {
		t.Fatal(err)
	}
	person(t, study.Service, "Cleo", services.RoleMember)
	records := len(study.RecordBytes())
	a, b := net.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := study.Farewell(attic.Keys.PeerID(), a)
		a.Close()
		ended <- err
	}()
	_ = attic.ServeLog(t.Context(), study.Keys.PeerID(), b)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	m := attic.Membership()
	if _, ours := m.Box(); ours || !slices.Contains(m.Removed, m.Self) || len(m.Boxes) != 1 {
		t.Errorf("it takes itself for one of %+v, %s removed", m.Boxes, m.Removed)
	}
	if entries, err := attic.Entries(); err != nil || len(entries) != 7 { // genesis, two boxes, Ann, Eve, Ben, the removal
		t.Errorf("it knows of %d records, %v", len(entries), err)
	}
	if n := len(study.RecordBytes()); n != records {
		t.Errorf("it was heard: %d records, there were %d", n, records)
	}
	if err := study.Farewell(study.Keys.PeerID(), a); err == nil {
		t.Error("a box that belongs is bidden farewell")
	}
}

// Two boxes that are apart give one address to a new box and to another: both belong all the same, and so does what the one
// without the address does.
func TestTwoBoxesOfOneAddress(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	shed, cellar := identitytest.Joined(t, study, "Shed"), identitytest.Joined(t, attic, "Cellar")
	person(t, shed.Service, "Ben", services.RoleMember)
	person(t, cellar.Service, "Cleo", services.RoleMember)
	share(t, study.Service, shed.Service)
	share(t, attic.Service, cellar.Service)
	share(t, study.Service, attic.Service)
	agree(t, study.Service, attic.Service, reopened(t, attic))
	seen := map[netip.Addr]bool{}
	m := study.Membership()
	for _, b := range m.Boxes {
		seen[b.Addr4] = true
	}
	if len(m.Boxes) != 4 || len(seen) != 4 || len(m.People) != 3 {
		t.Errorf("boxes are %+v, people %+v", m.Boxes, m.People)
	}
}

// A removal may count only because of another record, which a removed box then hears, too: Ben removed a box and was removed
// himself, here without that and elsewhere before that.
func TestFarewellWithAReason(t *testing.T) {
	study := identitytest.Household(t)
	attic, shed := identitytest.Joined(t, study, "Attic"), identitytest.Joined(t, study, "Shed")
	ben := person(t, study.Service, "Ben", services.RoleOwner).ID
	share(t, study.Service, attic.Service)
	share(t, study.Service, shed.Service)
	if err := shed.RemovePerson(identity.Acting(t.Context(), ben, ""), ben); err != nil {
		t.Fatal(err)
	}
	share(t, shed.Service, attic.Service)
	if err := study.RemoveBox(identity.Acting(t.Context(), ben, ""), attic.Keys.PeerID()); err != nil {
		t.Fatal(err)
	}
	if err := study.RemovePerson(t.Context(), ben); err != nil {
		t.Fatal(err)
	}
	share(t, study.Service, shed.Service)
	a, b := net.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := study.Farewell(attic.Keys.PeerID(), a)
		a.Close()
		ended <- err
	}()
	_ = attic.ServeLog(t.Context(), study.Keys.PeerID(), b)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if m := attic.Membership(); !slices.Contains(m.Removed, m.Self) {
		t.Errorf("it goes on as one of %+v", m.Boxes)
	}
}

// What two boxes of one name would be called is said before, not after.
func TestAddBox(t *testing.T) {
	study := identitytest.Household(t)
	id := identitytest.NewKeys("x").PeerID()
	_, err := study.AddBox(t.Context(), identity.NewBox{ID: id, Name: "hearth"})
	wantCode(t, err, "name-taken")
	_, err = study.AddBox(t.Context(), identity.NewBox{ID: id, Name: " "})
	wantCode(t, err, "name-invalid")
	first, err := study.AddBox(t.Context(), identity.NewBox{ID: id, Name: "Attic"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := study.AddBox(t.Context(), identity.NewBox{ID: id, Name: "Attic"})
	if err != nil || again != first {
		t.Errorf("asked again: %+v, %v; want %+v", again, err, first)
	}
	for i := range 14 {
		if _, err := study.AddBox(t.Context(), identity.NewBox{ID: services.PeerID{byte(i), 1}, Name: "Box " + string(rune('a'+i))}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = study.AddBox(t.Context(), identity.NewBox{ID: services.PeerID{99}, Name: "One more"})
	wantCode(t, err, "boxes-full")
}

// A log that is not what the invitation promised changes nothing.
func TestJoinRefuses(t *testing.T) {
	study, other := identitytest.Household(t), identitytest.NewKeys("other")
	keys := identitytest.NewKeys("new")
	dir := filepath.Join(t.TempDir(), "identity")
	s, err := identity.New(identity.Config{Dir: dir, Keys: keys, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	before := study.RecordBytes()
	if _, err := study.AddBox(t.Context(), identity.NewBox{ID: keys.PeerID(), Name: "Attic"}); err != nil {
		t.Fatal(err)
	}
	records := study.RecordBytes()
	good := identity.JoinLog{Root: [32]byte(study.Membership().Household.Root), Inviter: study.Keys.PeerID(), Records: records}
	forged := slices.Clone(records)
	forged[1] = bytes.Clone(forged[1])
	forged[1][len(forged[1])-1] ^= 1
	for name, spoil := range map[string]func(j *identity.JoinLog){
		"empty":             func(j *identity.JoinLog) { j.Records = nil },
		"not taken in":      func(j *identity.JoinLog) { j.Records = before },
		"another inviter":   func(j *identity.JoinLog) { j.Inviter = other.PeerID() },
		"another root":      func(j *identity.JoinLog) { j.Root = [32]byte{1} },
		"forged":            func(j *identity.JoinLog) { j.Records = forged },
		"a record is gone":  func(j *identity.JoinLog) { j.Records = slices.Concat(records[:1], records[2:]) },
		"genesis twice":     func(j *identity.JoinLog) { j.Records = slices.Concat(records[:1], records) },
		"without beginning": func(j *identity.JoinLog) { j.Records = records[1:] },
	} {
		j := good
		spoil(&j)
		wantCode(t, s.Join(t.Context(), j), "join-refused")
		if s.Membership().Claimed() {
			t.Fatalf("%s: it joined", name)
		}
	}
	if err := s.Join(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.Join(t.Context(), good), "already-claimed")
	agree(t, study.Service, s)
}

// Over a stream the boxes share what they have, then each change at once.
func TestServeLog(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	person(t, study.Service, "Ben", services.RoleMember)
	person(t, attic.Service, "Cleo", services.RoleMember)
	ctx, cancel := context.WithCancel(t.Context())
	a, b := net.Pipe()
	ended := make(chan error, 2)
	go func() { ended <- study.ServeLog(ctx, attic.Keys.PeerID(), a) }()
	go func() { ended <- attic.ServeLog(ctx, study.Keys.PeerID(), b) }()
	people := func(n int) {
		t.Helper()
		for _, s := range []*identity.Service{study.Service, attic.Service} {
			for {
				m, changed := s.Watch()
				if len(m.People) == n {
					break
				}
				select {
				case <-changed:
				case <-time.After(20 * time.Second):
					t.Fatalf("%d people, want %d", len(m.People), n)
				}
			}
		}
	}
	people(3)
	person(t, study.Service, "Dora", services.RoleMember)
	people(4)
	person(t, attic.Service, "Emil", services.RoleMember)
	people(5)
	cancel()
	a.Close()
	b.Close()
	for range 2 {
		if err := <-ended; !errors.Is(err, context.Canceled) && !errors.Is(err, net.ErrClosed) && err != nil && err.Error() != "io: read/write on closed pipe" {
			t.Errorf("it ended with %v", err)
		}
	}
}

// What is no frame, or holds what nobody may have written, ends that exchange and changes nothing.
func TestHostilePeer(t *testing.T) {
	study := identitytest.Household(t)
	before := study.RecordBytes()
	for name, frame := range map[string][]byte{
		"empty":     nil,
		"no frame":  {9, 9, 9},
		"cut short": {1, 0, 1, 7},
		"longer":    {1, 0, 0, 7},
		"no record": {2, 0, 1, 0, 3, 1, 2, 3},
	} {
		c, err := study.Connect(services.PeerID{})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Receive(t.Context(), frame); !errors.Is(err, identity.ErrPeer) {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
	}
	if after := study.RecordBytes(); len(after) != len(before) {
		t.Errorf("%d records, there were %d", len(after), len(before))
	}
	unclaimed, err := identity.New(identity.Config{Dir: t.TempDir(), Keys: identitytest.NewKeys("x"), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unclaimed.Connect(services.PeerID{}); !errors.Is(err, identity.ErrNoLog) {
		t.Errorf("an unclaimed box shares: %v", err)
	}
}

// A damaged log is made whole by another box of the household, with nothing lost of what could still be read.
func TestHeal(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	ben := person(t, study.Service, "Ben", services.RoleMember)
	share(t, study.Service, attic.Service)
	person(t, study.Service, "Cleo", services.RoleMember) // the attic does not hear of her
	path := filepath.Join(study.Dir, "log")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("Ben"))
	b[at] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := reopened(t, study)
	if m := damaged.Membership(); !m.ReadOnly || len(m.People) != 1 {
		t.Fatalf("read-only %t, people %+v", m.ReadOnly, m.People)
	}
	here, there := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- attic.ServeLog(t.Context(), study.Keys.PeerID(), there) }()
	if err := damaged.ServeLog(t.Context(), attic.Keys.PeerID(), here); !errors.Is(err, identity.ErrAnew) {
		t.Fatal(err)
	}
	here.Close()
	<-ended
	if h := damaged.Health(); !h.OK || h.Message.Key != "identity.health.healed" || !strings.Contains(h.Message.String(), "Attic") {
		t.Errorf("health is %v %q", h.OK, h.Message)
	}
	m := damaged.Membership()
	if _, ok := m.Person(ben.ID); !ok || m.ReadOnly || len(m.People) != 3 {
		t.Errorf("read-only %t, people %+v", m.ReadOnly, m.People)
	}
	if _, err := damaged.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	share(t, damaged, attic.Service)
	agree(t, damaged, attic.Service, reopened(t, study))
}

// Whoever has the key of a removed box is not told for ever: each time costs several looks at the whole log.
func TestFarewellsEnd(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	if err := study.RemoveBox(t.Context(), attic.Keys.PeerID()); err != nil {
		t.Fatal(err)
	}
	told := 0
	for range 100 {
		asks := struct {
			io.Reader
			io.Writer
		}{strings.NewReader("\x01\x00\x00"), io.Discard} // it has nothing
		if study.Farewell(attic.Keys.PeerID(), asks) == nil {
			told++
		}
	}
	if told < 8 || told > 40 {
		t.Errorf("it was told %d times", told)
	}
}
