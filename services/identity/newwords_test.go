package identity_test

import (
	"context"
	"errors"
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
	"hearth.alt/services/identity/internal/logfile"
	"hearth.alt/services/identity/internal/record"
	"hearth.alt/services/secret"
)

// newWords are the words that s shows to whoever has the words.
func newWords(t *testing.T, s *identity.Service, words []string) []string {
	t.Helper()
	shown, err := s.NewWords(t.Context(), words)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, w := range shown {
		out = append(out, w.Reveal())
	}
	return out
}

// New words count once they are typed, for every box, after a restart and again; the former ones are told apart.
func TestNewWords(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	words := wordsOf(t, study)
	id := study.Membership().Household.Root
	wantCode(t, study.ReplaceWords(t.Context(), words, words), "words-not-shown")
	_, err := study.NewWords(t.Context(), append([]string{"zoo"}, words[1:]...))
	wantCode(t, err, "words-wrong")
	fresh := newWords(t, study.Service, words)
	if again := newWords(t, study.Service, words); !slices.Equal(again, fresh) || slices.Equal(fresh, words) {
		t.Error("a reload shows others, or the former ones are shown")
	}
	for code, typed := range map[string][]string{
		"words-count": fresh[:23], "words-other": words, "words-swapped": append([]string{fresh[1], fresh[0]}, fresh[2:]...),
	} {
		err := study.ReplaceWords(t.Context(), words, typed)
		if wantCode(t, err, code); services.AsProblem(err).Field != "new" {
			t.Errorf("%s is about %q", code, services.AsProblem(err).Field)
		}
	}
	if err := study.CheckWords(t.Context(), words); err != nil {
		t.Fatalf("the words do not count any more: %v", err)
	}
	person(t, attic.Service, "Ben", services.RoleMember) // of which the study has not heard
	if err := study.ReplaceWords(t.Context(), words, []string{strings.Join(fresh, " ")}); err != nil {
		t.Fatal(err)
	}
	share(t, study.Service, attic.Service)
	agree(t, study.Service, attic.Service)
	third := func() []string {
		for _, s := range []*identity.Service{study.Service, attic.Service, reopened(t, study), reopened(t, attic)} {
			if err := s.CheckWords(t.Context(), fresh); err != nil {
				t.Errorf("the new words: %v", err)
			}
			wantCode(t, s.CheckWords(t.Context(), words), "words-former")
			_, err := s.NewWords(t.Context(), words)
			wantCode(t, err, "words-former")
			if s.WordsPending() {
				t.Error("words are pending")
			}
		}
		s := reopened(t, study)
		next := newWords(t, s, fresh)
		if err := s.ReplaceWords(t.Context(), fresh, next); err != nil {
			t.Fatal(err)
		}
		wantCode(t, s.CheckWords(t.Context(), fresh), "words-former")
		return next
	}()
	s := reopened(t, study)
	if err := s.CheckWords(t.Context(), third); err != nil {
		t.Error(err)
	}
	wantCode(t, s.CheckWords(t.Context(), words), "words-former")
	// A box still joins, and it is the same household to everybody else.
	cellar := identitytest.Joined(t, &identitytest.Claimed{Service: s, Keys: study.Keys, Owner: study.Owner}, "Cellar")
	if m := cellar.Membership(); len(m.Boxes) != 3 || len(m.People) != 1 {
		t.Errorf("boxes %+v, people %+v", m.Boxes, m.People)
	}
	share(t, cellar.Service, attic.Service)
	agree(t, cellar.Service, attic.Service)
	if slices.Equal(id, cellar.Membership().Household.Root) {
		t.Error("the root is the former one")
	}
}

// A box that does not have what the boxes of before kept says so, and nothing is changed.
func TestNewWordsElsewhere(t *testing.T) {
	study := identitytest.Household(t)
	attic := identitytest.Joined(t, study, "Attic")
	_, err := attic.NewWords(t.Context(), wordsOf(t, study))
	wantCode(t, err, "words-elsewhere")
}

// unannounced is a household as Hearth made it before there were new words: its genesis announces nothing.
func unannounced(t *testing.T) *identitytest.Claimed {
	t.Helper()
	box := &identitytest.Claimed{Keys: identitytest.NewKeys(t.Name()), Owner: identitytest.Ann, Dir: filepath.Join(t.TempDir(), "identity")}
	key, err := box.Keys.MakeRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	root, self := record.Root(key), box.Keys.PeerID()
	var log [][]byte
	var parents []record.ID
	for i, r := range []record.Record{
		{Author: root, Sequence: 1, Payload: record.Genesis{Name: "Smith", Label: "smith", Net4: netip.MustParsePrefix("10.77.5.0/24"), Net6: netip.MustParsePrefix("fd5a:1:2::/48")}},
		{Author: root, Sequence: 2, Payload: record.AddBox{Box: self, Name: "Hearth", Label: "hearth", Host: 1}},
		{Author: record.Box(self), Sequence: 1, Payload: record.AddPerson{Person: box.Owner, Name: "Ann", Role: services.RoleOwner, LAN: true}},
	} {
		r.Time, r.Parents = time.Unix(1_795_000_000, 0), parents
		sealed, err := record.Seal(r, func(m []byte) ([]byte, error) {
			if i < 2 {
				return box.Keys.SignWithRoot(t.Context(), m)
			}
			return box.Keys.SignRecord(t.Context(), m)
		})
		if err != nil {
			t.Fatal(err)
		}
		log, parents = append(log, sealed.Bytes()), []record.ID{sealed.ID()}
	}
	b, err := logfile.Encode(log)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(box.Dir, 0o700), os.WriteFile(filepath.Join(box.Dir, "log"), b, 0o600)); err != nil {
		t.Fatal(err)
	}
	box.Service = reopened(t, box)
	return box
}

// A household from before announced nothing: its words announce the new ones themselves.
func TestNewWordsUnannounced(t *testing.T) {
	study := unannounced(t)
	words := wordsOf(t, study)
	person(t, study.Service, "Ben", services.RoleMember)
	for range 2 {
		fresh := newWords(t, study.Service, words)
		if err := study.ReplaceWords(t.Context(), words, fresh); err != nil {
			t.Fatal(err)
		}
		wantCode(t, study.CheckWords(t.Context(), words), "words-former")
		words = fresh
	}
	if err := study.CheckWords(t.Context(), words); err != nil {
		t.Error(err)
	}
	person(t, study.Service, "Cleo", services.RoleMember)
	if m := reopened(t, study).Membership(); len(m.People) != 3 || m.ReadOnly {
		t.Errorf("people %+v", m.People)
	}
}

// brokenKeys is a keeper that fails to keep roots from the n-th time on.
type brokenKeys struct {
	*identitytest.Keys
	n int
}

var errKeeper = errors.New("the keeper is gone")

func (k *brokenKeys) KeepNextRoots(ctx context.Context, list []secret.Bytes) error {
	if k.n--; k.n < 0 {
		return errKeeper
	}
	return k.Keys.KeepNextRoots(ctx, list)
}

// What the words after the new ones take is kept before the log says so; what is over is dropped afterwards, if need be at
// the next start.
func TestNewWordsAreKeptFirst(t *testing.T) {
	study := identitytest.Household(t)
	words := wordsOf(t, study)
	keys := &brokenKeys{Keys: study.Keys}
	s, err := identity.New(identity.Config{Dir: study.Dir, Keys: keys, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	fresh := newWords(t, s, words)
	if err := s.ReplaceWords(t.Context(), words, fresh); !errors.Is(err, errKeeper) {
		t.Errorf("not kept, and written: %v", err)
	}
	if err := s.CheckWords(t.Context(), words); err != nil {
		t.Error(err)
	}
	keys.n = 1 // keeps, and cannot drop
	if err := s.ReplaceWords(t.Context(), words, fresh); err != nil {
		t.Fatal(err)
	}
	if kept, _ := keys.NextRoots(t.Context()); len(kept) != 2 {
		t.Fatalf("%d are kept", len(kept))
	}
	keys.n = 9
	s, err = identity.New(identity.Config{Dir: study.Dir, Keys: keys, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	for kept, _ := keys.NextRoots(ctx); len(kept) != 1; kept, _ = keys.NextRoots(ctx) {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := s.ReplaceWords(t.Context(), fresh, newWords(t, s, fresh)); err != nil {
		t.Error(err)
	}
}

// What the words are for is done with the new ones, and not with the former: a dispute, and a box from a backup. A box
// that no other is left for has lost what the next new words would take, and says so.
func TestNewWordsAreTheWords(t *testing.T) {
	study := identitytest.Household(t)
	ben := person(t, study.Service, "Ben", services.RoleOwner).ID
	attic := identitytest.Joined(t, study, "Attic")
	words := wordsOf(t, study)
	fresh := newWords(t, study.Service, words)
	if err := study.ReplaceWords(t.Context(), words, fresh); err != nil {
		t.Fatal(err)
	}
	share(t, study.Service, attic.Service)
	if err := study.RemovePerson(identity.Acting(t.Context(), study.Owner, ""), ben); err != nil {
		t.Fatal(err)
	}
	if err := attic.RemovePerson(identity.Acting(t.Context(), ben, ""), study.Owner); err != nil {
		t.Fatal(err)
	}
	share(t, study.Service, attic.Service)
	_, err := study.NewWords(t.Context(), fresh)
	wantCode(t, err, "frozen")
	settle := identity.Settlement{Words: words, Stay: []identity.Subject{{Person: study.Owner}}}
	wantCode(t, attic.Settle(t.Context(), settle), "words-former")
	settle.Words = fresh
	if err := attic.Settle(t.Context(), settle); err != nil {
		t.Fatal(err)
	}
	share(t, study.Service, attic.Service)
	agree(t, study.Service, attic.Service)
	if m := study.Membership(); m.Frozen || len(m.People) != 1 {
		t.Errorf("frozen %t, people %+v", m.Frozen, m.People)
	}

	barn, err := identity.New(identity.Config{Dir: filepath.Join(t.TempDir(), "identity"), Keys: identitytest.NewKeys("barn"), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	backup := string(snapshot(t, study.Service))
	wantCode(t, barn.TakeIn(t.Context(), strings.NewReader(backup), words, "Barn"), "words-former")
	if err := barn.TakeIn(t.Context(), strings.NewReader(backup), fresh, "Barn"); err != nil {
		t.Fatal(err)
	}
	person(t, barn, "Cleo", services.RoleMember)
	_, err = barn.NewWords(t.Context(), fresh)
	wantCode(t, err, "words-elsewhere")
}
