package identity_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/identity/identitytest"
)

func now() time.Time { return time.Now() }

// key returns a public key that no other n gives.
func key(n int) services.ClientKey {
	k := services.ClientKey{9}
	k[1], k[2] = byte(n), byte(n>>8)
	return k
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if p := services.AsProblem(err); p == nil || p.Code != code || p.Say.IsZero() {
		t.Errorf("error is %v, want a Problem %s", err, code)
	}
}

// same compares memberships but for Revision, which need only grow.
func same(t *testing.T, got, want *services.Membership) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.IgnoreFields(services.Membership{}, "Revision"), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("membership (-want +got):\n%s", diff)
	}
}

// reopened returns what a box started anew on the same folder knows.
func reopened(t *testing.T, box *identitytest.Claimed) *identity.Service {
	t.Helper()
	s, err := identity.New(identity.Config{Dir: box.Dir, Keys: box.Keys, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFirstBoot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "identity")
	keys := identitytest.NewKeys("a")
	s, err := identity.New(identity.Config{Dir: dir, Keys: keys, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	m := s.Membership()
	if m.Claimed() || m.ReadOnly || m.Revision != 0 || m.Self != keys.PeerID() {
		t.Errorf("membership is %+v", m)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("New wrote something")
	}
	_, err = s.AddPerson(t.Context(), identity.NewPerson{Name: "Ann", Role: services.RoleOwner})
	wantCode(t, err, "not-claimed")
	wantCode(t, s.CheckWords(t.Context(), nil), "not-claimed")
	_, err = s.Words(t.Context())
	wantCode(t, err, "not-claimed")
	if s.WordsPending() {
		t.Error("an unclaimed box has words")
	}
	var b bytes.Buffer
	if err := s.Snapshot(t.Context(), &b); err != nil || b.Len() != 0 {
		t.Errorf("snapshot is %d bytes, %v", b.Len(), err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := identity.Config{Dir: t.TempDir(), Keys: identitytest.NewKeys("a"), Now: now}
	for name, spoil := range map[string]func(*identity.Config){
		"folder": func(c *identity.Config) { c.Dir = "" },
		"keys":   func(c *identity.Config) { c.Keys = nil },
		"clock":  func(c *identity.Config) { c.Now = nil },
	} {
		c := good
		spoil(&c)
		if _, err := identity.New(c); err == nil {
			t.Errorf("without %s it was made", name)
		}
	}
}

func TestClaim(t *testing.T) {
	box := identitytest.Household(t)
	m := box.Membership()
	h := m.Household
	if h.Name != "Smith" || h.Label != "smith" || h.Domain != "smith.home.arpa" || len(h.Root) != 32 {
		t.Errorf("household is %+v", h)
	}
	if h.Net4.Bits() != 24 || !netip.MustParsePrefix("10.0.0.0/8").Contains(h.Net4.Addr()) || h.Net6.Bits() != 48 || h.Net6.Addr().As16()[0] != 0xfd {
		t.Errorf("networks are %v and %v", h.Net4, h.Net6)
	}
	self, ok := m.Box()
	if !ok || self.Label != "hearth" || self.Addr4 != h.Net4.Addr().Next() || self.Addr6 != h.Net6.Addr().Next() {
		t.Errorf("box is %+v", self)
	}
	if diff := cmp.Diff([]services.Person{{ID: box.Owner, Name: "Ann", Role: services.RoleOwner, State: services.StateActive, LAN: true}}, m.People); diff != "" {
		t.Errorf("people (-want +got):\n%s", diff)
	}
	same(t, reopened(t, box).Membership(), m)
	wantCode(t, box.Claim(t.Context(), identity.Claim{Household: "X", Box: "Y", Owner: "Z"}), "already-claimed")
	wantCode(t, reopened(t, box).Claim(t.Context(), identity.Claim{Household: "X", Box: "Y", Owner: "Z"}), "already-claimed")
	if !box.WordsPending() || !reopened(t, box).WordsPending() {
		t.Error("the words are not pending")
	}
}

func TestClaimRefuses(t *testing.T) {
	s, err := identity.New(identity.Config{Dir: t.TempDir(), Keys: identitytest.NewKeys("a"), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	good := identity.Claim{Household: "Smith", Box: "Hearth", Owner: "Ann"}
	for field, spoil := range map[string]func(*identity.Claim){
		"household": func(c *identity.Claim) { c.Household = "\n" },
		"box":       func(c *identity.Claim) { c.Box = "" },
		"owner":     func(c *identity.Claim) { c.Owner = strings.Repeat("a", 65) },
	} {
		c := good
		spoil(&c)
		err := s.Claim(t.Context(), c)
		wantCode(t, err, "name-invalid")
		if p := services.AsProblem(err); p.Field != field {
			t.Errorf("field is %q, want %q", p.Field, field)
		}
	}
	good.OwnerID = "Ann"
	wantCode(t, s.Claim(t.Context(), good), "id-invalid")
	if s.Membership().Claimed() {
		t.Error("a refused claim claimed the box")
	}
}

// 1,000 people find the box at once: one of them owns it.
func TestParallelClaims(t *testing.T) {
	s, err := identity.New(identity.Config{Dir: t.TempDir(), Keys: identitytest.NewKeys("a"), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	var won, refused atomic.Int32
	var winner atomic.Value
	var group sync.WaitGroup
	for i := range 1000 {
		group.Go(func() {
			name := fmt.Sprintf("Owner %d", i)
			err := s.Claim(context.Background(), identity.Claim{Household: "Smith", Box: "Hearth", Owner: name})
			switch {
			case err == nil:
				won.Add(1)
				winner.Store(name)
			case errors.Is(err, &services.Problem{Code: "already-claimed"}):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 || refused.Load() != 999 {
		t.Errorf("%d won, %d were refused", won.Load(), refused.Load())
	}
	if m := s.Membership(); len(m.People) != 1 || m.People[0].Name != winner.Load() {
		t.Errorf("people are %+v, want %v", m.People, winner.Load())
	}
}

func TestNetworksToAvoid(t *testing.T) {
	var avoid []netip.Prefix
	for x := 16; x < 240; x++ {
		if x != 77 {
			avoid = append(avoid, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(x), 1, 1}), 16))
		}
	}
	for range 5 {
		s, err := identity.New(identity.Config{Dir: t.TempDir(), Keys: identitytest.NewKeys("a"), Now: now})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Claim(t.Context(), identity.Claim{Household: "Smith", Box: "Hearth", Owner: "Ann", Avoid: avoid}); err != nil {
			t.Fatal(err)
		}
		if n := s.Membership().Household.Net4; n.Addr().As4()[1] != 77 {
			t.Errorf("network is %v", n)
		}
	}
}

func TestPeople(t *testing.T) {
	box := identitytest.Household(t)
	ctx := t.Context()
	_, changed := box.Watch()
	ben, err := box.AddPerson(ctx, identity.NewPerson{Name: "  Ben ", Role: services.RoleMember})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("the watcher was not told")
	}
	if !ben.ID.Valid() || ben.Name != "Ben" || ben.State != services.StateActive || !ben.LAN || !ben.Expires.IsZero() {
		t.Errorf("person is %+v", ben)
	}
	ends := time.Now().Add(time.Hour)
	gus, err := box.AddPerson(ctx, identity.NewPerson{Name: "Gus", Role: services.RoleGuest, Expires: ends})
	if err != nil {
		t.Fatal(err)
	}
	if gus.State != services.StatePending || gus.LAN || gus.Expires.Before(ends) || gus.Expires.After(ends.Add(time.Second)) {
		t.Errorf("person is %+v", gus)
	}

	revision := box.Membership().Revision
	for name, c := range map[string]struct {
		err  error
		code string
	}{
		"taken":        {addPerson(box, "BEN", services.RoleGuest), "name-taken"},
		"taken, wide":  {addPerson(box, "Ｂｅｎ", services.RoleGuest), "name-taken"},
		"looks taken":  {addPerson(box, "\u0412\u0435\u043f", services.RoleGuest), "name-taken"}, // Веп
		"rename alike": {box.RenamePerson(ctx, gus.ID, "\u0410\u043f\u043f"), "name-taken"},      // Апп
		"no name":      {addPerson(box, " ", services.RoleGuest), "name-invalid"},
		"no role":      {addPerson(box, "X", services.RoleNone), "role-invalid"},
		"role 9":       {addPerson(box, "X", 9), "role-invalid"},
		"rename taken": {box.RenamePerson(ctx, gus.ID, "ann"), "name-taken"},
		"rename none":  {box.RenamePerson(ctx, "aaaaaaaaaaaaaaaa", "X"), "person-not-found"},
		"demote last":  {box.SetRole(ctx, box.Owner, services.RoleAdmin), "last-owner"},
		"remove last":  {box.RemovePerson(ctx, box.Owner), "last-owner"},
		"erase last":   {box.ErasePerson(ctx, box.Owner), "last-owner"},
		"bad role":     {box.SetRole(ctx, ben.ID, 0), "role-invalid"},
		"stranger":     {box.SetRole(identity.Acting(ctx, "aaaaaaaaaaaaaaaa", ""), ben.ID, services.RoleGuest), "not-there"},
	} {
		if p := services.AsProblem(c.err); p == nil || p.Code != c.code {
			t.Errorf("%s: %v, want %s", name, c.err, c.code)
		}
	}
	_, err = box.AddPerson(ctx, identity.NewPerson{ID: ben.ID, Name: "X", Role: services.RoleGuest})
	wantCode(t, err, "id-used")
	_, err = box.AddPerson(ctx, identity.NewPerson{Name: "X", Role: services.RoleGuest, Expires: time.Now().Add(-time.Minute)})
	wantCode(t, err, "expires-invalid")
	// What is so already is no change.
	for _, err := range []error{
		box.RenamePerson(ctx, ben.ID, "Ben"), box.SetRole(ctx, ben.ID, services.RoleMember),
		box.SetLAN(ctx, ben.ID, true), box.ActivatePerson(ctx, ben.ID), box.ErasePerson(ctx, "aaaaaaaaaaaaaaaa"),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	if r := box.Membership().Revision; r != revision {
		t.Errorf("revision went from %d to %d", revision, r)
	}

	for _, err := range []error{
		box.ActivatePerson(ctx, gus.ID),
		box.SetLAN(ctx, gus.ID, true),
		box.SetRole(identity.Acting(ctx, box.Owner, ""), ben.ID, services.RoleOwner),
		box.RenamePerson(ctx, ben.ID, "BEN"),
		box.SetRole(ctx, box.Owner, services.RoleGuest),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	want := []services.Person{
		{ID: box.Owner, Name: "Ann", Role: services.RoleGuest, State: services.StateActive},
		{ID: ben.ID, Name: "BEN", Role: services.RoleOwner, State: services.StateActive, LAN: true},
		{ID: gus.ID, Name: "Gus", Role: services.RoleGuest, State: services.StateActive, LAN: true},
	}
	if diff := cmp.Diff(want, box.Membership().People); diff != "" {
		t.Errorf("people (-want +got):\n%s", diff)
	}
	if err := box.RemovePerson(ctx, box.Owner); err != nil {
		t.Error(err)
	}
	wantCode(t, box.RemovePerson(identity.Acting(ctx, box.Owner, ""), gus.ID), "not-there")
	same(t, reopened(t, box).Membership(), box.Membership())
}

func addPerson(box *identitytest.Claimed, name string, role services.Role) error {
	_, err := box.AddPerson(context.Background(), identity.NewPerson{Name: name, Role: role})
	return err
}

func TestDevices(t *testing.T) {
	box := identitytest.Household(t)
	ctx := t.Context()
	gus, err := box.AddPerson(ctx, identity.NewPerson{Name: "Gus", Role: services.RoleGuest})
	if err != nil {
		t.Fatal(err)
	}
	phone, err := box.AddDevice(ctx, identity.NewDevice{Person: box.Owner, Name: "Phone", Key: key(1)})
	if err != nil {
		t.Fatal(err)
	}
	net4 := box.Membership().Household.Net4.Addr().As4()
	if phone.State != services.StatePending || phone.Addr4.As4()[3] != 2 || phone.Addr6.As16()[15] != 2 || phone.Addr4.As4()[1] != net4[1] {
		t.Errorf("device is %+v", phone)
	}
	if left := time.Until(phone.Expires); left < 9*time.Minute || left > 10*time.Minute+time.Second {
		t.Errorf("it waits for %v", left)
	}
	if got, ok := box.Membership().DeviceAt(phone.Addr6); !ok || got.ID != phone.ID {
		t.Error("it is not found at its address")
	}
	guest, err := box.AddDevice(ctx, identity.NewDevice{Person: gus.ID, Name: "phone", Key: key(2)})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		device identity.NewDevice
		code   string
	}{
		"taken name": {identity.NewDevice{Person: box.Owner, Name: "PHONE", Key: key(3)}, "name-taken"},
		"alike name": {identity.NewDevice{Person: box.Owner, Name: "Ph\u043ene", Key: key(3)}, "name-invalid"},
		"same shape": {identity.NewDevice{Person: box.Owner, Name: "\u0420\u04bb\u043e\u043f\u0435", Key: key(3)}, "name-taken"}, // Рһопе
		"taken key":  {identity.NewDevice{Person: gus.ID, Name: "X", Key: key(1)}, "key-taken"},
		"zero key":   {identity.NewDevice{Person: gus.ID, Name: "X"}, "key-invalid"},
		"low order":  {identity.NewDevice{Person: gus.ID, Name: "X", Key: services.ClientKey{1}}, "key-invalid"},
		"nobody's":   {identity.NewDevice{Person: "aaaaaaaaaaaaaaaa", Name: "X", Key: key(3)}, "person-not-found"},
		"no name":    {identity.NewDevice{Person: gus.ID, Key: key(3)}, "name-invalid"},
		"used id":    {identity.NewDevice{ID: guest.ID, Person: gus.ID, Name: "X", Key: key(3)}, "id-used"},
		"past":       {identity.NewDevice{Person: gus.ID, Name: "X", Key: key(3), Expires: time.Unix(5, 0)}, "expires-invalid"},
	} {
		if _, err := box.AddDevice(ctx, c.device); services.AsProblem(err) == nil || services.AsProblem(err).Code != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	if err := box.ActivateDevice(ctx, phone.ID); err != nil {
		t.Error(err)
	}
	if d, _ := box.Membership().Device(phone.ID); d.State != services.StateActive || !d.Expires.IsZero() {
		t.Errorf("after its first handshake it is %+v", d)
	}
	if err := box.RenameDevice(identity.Acting(ctx, box.Owner, phone.ID), phone.ID, "Old phone"); err != nil {
		t.Error(err)
	}
	wantCode(t, box.RenameDevice(identity.Acting(ctx, gus.ID, phone.ID), phone.ID, "Mine"), "not-there")
	if err := box.RemoveDevice(ctx, phone.ID); err != nil {
		t.Error(err)
	}
	wantCode(t, box.RemoveDevice(ctx, phone.ID), "device-not-found")
	wantCode(t, box.ActivateDevice(ctx, phone.ID), "device-not-found")

	// Its address and its key are free again, its identifier never.
	_, err = box.AddDevice(ctx, identity.NewDevice{ID: phone.ID, Person: box.Owner, Name: "Phone", Key: key(1)})
	wantCode(t, err, "id-used")
	again, err := box.AddDevice(ctx, identity.NewDevice{Person: box.Owner, Name: "Phone", Key: key(1)})
	if err != nil || again.Addr4 != phone.Addr4 {
		t.Errorf("the next device is %+v, %v", again, err)
	}
	// A removed person takes their devices along.
	if err := box.RemovePerson(ctx, gus.ID); err != nil {
		t.Fatal(err)
	}
	if _, ok := box.Membership().Device(guest.ID); ok {
		t.Error("the device of a removed person is still there")
	}
	same(t, reopened(t, box).Membership(), box.Membership())
}

func TestRoomFor253Devices(t *testing.T) {
	box := identitytest.Household(t)
	for n := range 253 {
		d, err := box.AddDevice(t.Context(), identity.NewDevice{Person: box.Owner, Name: fmt.Sprint(n), Key: key(n)})
		if err != nil {
			t.Fatal(err)
		}
		if int(d.Addr4.As4()[3]) != n+2 {
			t.Fatalf("device %d is at %v", n, d.Addr4)
		}
	}
	_, err := box.AddDevice(t.Context(), identity.NewDevice{Person: box.Owner, Name: "X", Key: key(999)})
	wantCode(t, err, "devices-full")
}

func TestExpiry(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		keys := identitytest.NewKeys("a")
		var jump time.Duration
		var mu sync.Mutex
		known := func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(jump)
		}
		s, err := identity.New(identity.Config{Dir: dir, Keys: keys, Now: known})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		if err := s.Claim(ctx, identity.Claim{Household: "Smith", Box: "Hearth", Owner: "Ann", OwnerID: identitytest.Ann}); err != nil {
			t.Fatal(err)
		}
		add := func(n int, person services.PersonID) services.DeviceID {
			d, err := s.AddDevice(ctx, identity.NewDevice{Person: person, Name: fmt.Sprint("device ", n), Key: key(n)})
			if err != nil {
				t.Fatal(err)
			}
			return d.ID
		}
		scanned, forgotten := add(1, identitytest.Ann), add(2, identitytest.Ann)
		invited, err := s.AddPerson(ctx, identity.NewPerson{Name: "Ben", Role: services.RoleMember, Expires: known().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		user, err := s.AddPerson(ctx, identity.NewPerson{Name: "Gran", Role: services.RoleMember, Expires: known().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		used := add(3, user.ID)
		if err := errors.Join(s.ActivateDevice(ctx, scanned), s.ActivateDevice(ctx, used)); err != nil {
			t.Fatal(err)
		}
		has := func(id services.DeviceID) bool { _, ok := s.Membership().Device(id); return ok }
		knows := func(id services.PersonID) bool { _, ok := s.Membership().Person(id); return ok }

		time.Sleep(9*time.Minute + 59*time.Second)
		synctest.Wait()
		if !has(forgotten) {
			t.Error("the device was forgotten too early")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if has(forgotten) || !has(scanned) {
			t.Errorf("after 10 minutes: unscanned %v, scanned %v", has(forgotten), has(scanned))
		}
		wantCode(t, s.ActivateDevice(ctx, forgotten), "device-not-found")

		// Time becomes known: it jumps ahead, and Run notices within half a minute.
		mu.Lock()
		jump = 2 * time.Hour
		mu.Unlock()
		wantCode(t, s.ActivatePerson(ctx, invited.ID), "invitation-expired")
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if knows(invited.ID) || !knows(user.ID) || !has(used) {
			t.Errorf("after the jump: invited %v, in use %v", knows(invited.ID), knows(user.ID))
		}

		// The time was a year too late: what was given its end then has waited long enough.
		mu.Lock()
		jump = 365 * 24 * time.Hour
		mu.Unlock()
		late := add(5, identitytest.Ann)
		mu.Lock()
		jump = 2 * time.Hour
		mu.Unlock()
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if has(late) {
			t.Error("a device that was made while the time was a year too late waits on for a year")
		}

		waiting := add(4, identitytest.Ann)
		if h := s.Health(); !h.Ready || !h.OK {
			t.Errorf("health is %+v", h)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if h := s.Health(); h.Ready {
			t.Error("it is ready after Run ended")
		}
		// What expired while the box was off goes at the next start.
		time.Sleep(time.Hour)
		s, err = identity.New(identity.Config{Dir: dir, Keys: keys, Now: known})
		if err != nil {
			t.Fatal(err)
		}
		if !has(waiting) {
			t.Error("a reopened log forgot a device by itself")
		}
		wantCode(t, s.ActivateDevice(t.Context(), waiting), "device-expired")
		ctx, cancel = context.WithCancel(t.Context())
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		if has(waiting) {
			t.Error("it is still there")
		}
		cancel()
		<-done
	})
}

func TestEndedContextChangesNothing(t *testing.T) {
	box := identitytest.Household(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := box.Membership()
	if err := errors.Join(box.RemovePerson(ctx, box.Owner), box.RenamePerson(ctx, box.Owner, "X"), box.Claim(ctx, identity.Claim{Household: "A", Box: "B", Owner: "C"})); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if box.Membership() != before {
		t.Error("an error changed something")
	}
	same(t, reopened(t, box).Membership(), box.Membership())
}

func TestParallelChanges(t *testing.T) {
	box := identitytest.Household(t)
	var group sync.WaitGroup
	for n := range 40 {
		group.Go(func() {
			if n%2 == 0 {
				if err := addPerson(box, fmt.Sprint("Person ", n/4), services.RoleGuest); err != nil && !errors.Is(err, &services.Problem{Code: "name-taken"}) {
					t.Error(err)
				}
				return
			}
			if _, err := box.AddDevice(context.Background(), identity.NewDevice{Person: box.Owner, Name: fmt.Sprint(n), Key: key(n)}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	m := box.Membership()
	if len(m.People) != 11 || len(m.Devices) != 20 {
		t.Errorf("%d people and %d devices", len(m.People), len(m.Devices))
	}
	same(t, reopened(t, box).Membership(), m)
}

func TestMayChange(t *testing.T) {
	m := identitytest.Smith()
	m.People = append(m.People, services.Person{ID: "ada2ada2ada2ada2", Name: "Ada", Role: services.RoleAdmin})
	const o, a, me, g = services.RoleOwner, services.RoleAdmin, services.RoleMember, services.RoleGuest
	allowed := map[services.Role]string{o: "oamg", a: "amg", me: "g", g: "", services.RoleNone: ""}
	grants := map[services.Role]string{o: "oamg", a: "amg", me: "g", g: "", services.RoleNone: ""}
	letter := map[services.Role]string{o: "o", a: "a", me: "m", g: "g"}
	for by, roles := range allowed {
		for _, p := range m.People {
			if got := identity.MayChange(m, by, p); got != strings.Contains(roles, letter[p.Role]) {
				t.Errorf("%v changes %v: %v", by, p.Role, got)
			}
			if got := identity.MayGrant(by, p.Role); got != strings.Contains(grants[by], letter[p.Role]) {
				t.Errorf("%v grants %v: %v", by, p.Role, got)
			}
		}
		if identity.MayChange(m, by, services.Person{ID: "aaaaaaaaaaaaaaaa", Role: g}) {
			t.Errorf("%v changes a stranger", by)
		}
		if identity.MayGrant(by, services.RoleNone) || identity.MayGrant(by, 7) {
			t.Errorf("%v grants what is no role", by)
		}
	}
}

// A service that is stopped before it has begun has stopped cleanly; the supervisor took it for a failure.
func TestStoppedBeforeItBegan(t *testing.T) {
	s, err := identity.New(identity.Config{Dir: t.TempDir(), Keys: identitytest.NewKeys("early"), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
}
