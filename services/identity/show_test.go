package identity_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/identity/identitytest"
)

// The log is shown in the same order on every box, with what has no effect.
func TestEntries(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	if err := study.RemoveBox(t.Context(), attic.Keys.PeerID()); err != nil {
		t.Fatal(err)
	}
	person(t, attic.Service, "Eve", services.RoleOwner)
	share(t, study.Service, attic.Service)
	a, err := study.Entries()
	if err != nil {
		t.Fatal(err)
	}
	b, err := attic.Entries()
	if err != nil {
		t.Fatal(err)
	}
	if len(a) != 6 || len(b) != len(a) {
		t.Fatalf("%d and %d entries", len(a), len(b))
	}
	void := 0
	for i := range a {
		if !reflect.DeepEqual(a[i], b[i]) {
			t.Errorf("entry %d differs: %+v, %+v", i, a[i], b[i])
		}
		if !a[i].Why.IsZero() {
			void++
			if a[i].Author != attic.Keys.PeerID() || a[i].Op != "add-person" {
				t.Errorf("%+v has no effect", a[i])
			}
		}
	}
	if void != 1 {
		t.Errorf("%d entries have no effect, want 1", void)
	}
}

// An entry names whoever it speaks of as they were called at the time, those too that were removed since.
func TestEntriesName(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	ben := person(t, attic.Service, "Ben", services.RoleAdmin)
	name := "Benjamin"
	if err := attic.ChangePerson(identity.Acting(t.Context(), ben.ID, ""), ben.ID, identity.PersonChange{Name: &name}); err != nil {
		t.Fatal(err)
	}
	share(t, attic.Service, study.Service)
	for _, err := range []error{study.RemovePerson(identity.Acting(t.Context(), study.Owner, ""), ben.ID), study.RemoveBox(t.Context(), attic.Keys.PeerID())} {
		if err != nil {
			t.Fatal(err)
		}
	}
	all, err := study.Entries()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range all {
		got = append(got, strings.Join([]string{e.What.String(), e.Person, e.Box, e.Why.String()}, "|"))
	}
	want := []string{
		"The household Smith began.|||", "The box Hearth was added.|||", "Ann was taken in.||Hearth|", "The box Attic was added.||Hearth|",
		"Ben was taken in.||Attic|", "Ben is now called Benjamin.|Ben|Attic|", "Benjamin was removed, with all devices.|Ann|Hearth|",
		"The box Attic was removed.||Hearth|",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// A log is verified from the disk, record by record, and the first bad one is named.
func TestVerify(t *testing.T) {
	box := identitytest.Household(t)
	person(t, box.Service, "Ben", services.RoleMember)
	if n, err := box.Verify(t.Context()); n != 4 || err != nil {
		t.Errorf("%d records, %v", n, err)
	}
	path := filepath.Join(box.Dir, "log")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at, want int
	}{{len(good) - 20, 3}, {60, 0}} {
		bad := append([]byte(nil), good...)
		bad[c.at] ^= 1
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		n, err := box.Verify(t.Context())
		wantCode(t, err, "log-bad")
		if n != c.want {
			t.Errorf("byte %d: %d records are good, want %d", c.at, n, c.want)
		}
	}
	unclaimed, err := identity.New(identity.Config{Dir: t.TempDir(), Keys: identitytest.NewKeys("x"), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	_, err = unclaimed.Verify(t.Context())
	wantCode(t, err, "not-claimed")
}
