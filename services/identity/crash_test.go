package identity_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/durable"
	"hearth.alt/services/identity"
	"hearth.alt/services/identity/identitytest"
	"hearth.alt/services/secret"
)

// crashFolder names the state folder to the process that TestPowerCut kills.
const crashFolder = "HEARTH_IDENTITY_CRASH_FOLDER"

// TestCrashHelper is that process: it claims the box, takes people and devices in and out, restores a snapshot, and
// says on stdout what was acknowledged. It is not a test by itself.
func TestCrashHelper(t *testing.T) {
	dir := os.Getenv(crashFolder)
	if dir == "" {
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ack := func(format string, args ...any) { fmt.Printf("ack "+format+"\n", args...) }
	s, err := identity.New(identity.Config{Dir: dir, Keys: crashKeys(dir), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	for !s.Health().Ready { // Run cuts the torn tail off before it is ready
		time.Sleep(time.Millisecond)
	}
	if s.Membership().Claimed() {
		ack("again")
	} else if err := s.Claim(ctx, identity.Claim{Household: "Smith", Box: "Hearth", Owner: "Ann", OwnerID: identitytest.Ann}); err != nil {
		t.Fatal(err)
	}
	ack("claim")
	for n := range 4 {
		p, err := s.AddPerson(ctx, identity.NewPerson{Name: fmt.Sprint("Person ", identity.NewPersonID()), Role: services.RoleMember})
		if err != nil {
			t.Fatal(err)
		}
		ack("person %s", p.ID)
		d, err := s.AddDevice(ctx, identity.NewDevice{Person: p.ID, Name: "Phone", Key: key(int(s.Membership().Revision))})
		if err != nil {
			t.Fatal(err)
		}
		ack("device %s", d.ID)
		if n%2 == 1 {
			if err := s.RemovePerson(ctx, p.ID); err != nil {
				t.Fatal(err)
			}
			ack("removed %s", p.ID)
		}
	}
	if err := s.Restore(ctx, strings.NewReader(string(snapshot(t, s)))); err != nil {
		t.Fatal(err)
	}
	if words := firstWords(); s.CheckWords(ctx, words) == nil {
		fresh := newWords(t, s, words)
		ack("words %s", strings.Join(fresh, " "))
		if err := s.ReplaceWords(ctx, words, fresh); err != nil {
			t.Fatal(err)
		}
		ack("replaced")
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	ack("end")
}

// fileKeys keep the roots that may follow where a kill leaves them, beside the log's folder.
type fileKeys struct {
	*identitytest.Keys
	path string
}

func crashKeys(dir string) identity.Keys {
	return fileKeys{identitytest.NewKeys("crash"), dir + "-next"}
}

// firstWords are the words of every household that crashKeys makes.
func firstWords() (out []string) {
	keys := identitytest.NewKeys("crash")
	if _, err := keys.MakeRoot(context.Background()); err != nil {
		panic(err)
	}
	words, err := keys.RootWords(context.Background())
	if err != nil {
		panic(err)
	}
	for _, w := range words {
		out = append(out, w.Reveal())
	}
	return out
}

func (k fileKeys) NextRoots(context.Context) (out []secret.Bytes, err error) {
	b, err := os.ReadFile(k.path)
	for one := range slices.Chunk(b, identity.EntropySize) {
		out = append(out, secret.NewBytes(one))
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return out, err
}

func (k fileKeys) KeepNextRoots(_ context.Context, list []secret.Bytes) error {
	var b []byte
	for _, one := range list {
		b = append(b, one.Reveal()...)
	}
	return durable.WriteFile(k.path, b, 0o600)
}

// crashPoints lists the points that stand in the writing paths of this service, from the source.
func crashPoints(t *testing.T) []string {
	t.Helper()
	found := map[string]bool{}
	call := regexp.MustCompile(`durable\.Point\("([^"]+)"\)|\bPoint\("(durable\.file\.(?:written|renamed))"\)`)
	for _, dir := range []string{".", "../durable"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			for _, m := range call.FindAllStringSubmatch(string(b), -1) {
				found[m[1]+m[2]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var out []string
	for p := range found {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

// TestPowerCut kills a box at every crash point, at the first, second, ... time it is passed, until one run comes to
// its end; and after each kill looks whether all that was acknowledged is there and the claim is whole.
func TestPowerCut(t *testing.T) {
	program := filepath.Join(t.TempDir(), "identity.test")
	build := exec.Command("go", "test", "-c", "-tags", "crashpoints", "-o", program, ".")
	if out, err := build.CombinedOutput(); errors.Is(err, exec.ErrNotFound) {
		t.Skip("needs the go command in PATH; run: go test -run TestPowerCut ./services/identity")
	} else if err != nil {
		t.Fatalf("building the program to kill: %v\n%s", err, out)
	}
	points := crashPoints(t)
	if len(points) < 6 {
		t.Fatalf("only %d crash points found: %v", len(points), points)
	}
	kills := 0
	for _, point := range points {
		killed := 0
		for n := 1; n < 100; n++ {
			dir := filepath.Join(t.TempDir(), "identity")
			if point == "identity.log.cut" {
				tear(t, dir)
			}
			acks, alive := runCrashing(t, program, dir, fmt.Sprintf("%s:%d", point, n))
			checkAcks(t, fmt.Sprintf("%s:%d", point, n), dir, acks)
			if alive {
				break
			}
			killed++
			// The box starts again, on what the kill left, and comes to its end.
			acks, alive = runCrashing(t, program, dir, "")
			if !alive {
				t.Errorf("%s:%d: the next start did not come to its end", point, n)
			}
			checkAcks(t, fmt.Sprintf("%s:%d, started again", point, n), dir, acks)
		}
		if killed == 0 {
			t.Errorf("the point %s is never passed", point)
		}
		kills += killed
	}
	t.Logf("%d kills at %v", kills, points)
}

// tear leaves a claimed box whose last append was torn.
func tear(t *testing.T, dir string) {
	t.Helper()
	s, err := identity.New(identity.Config{Dir: dir, Keys: crashKeys(dir), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Claim(t.Context(), identity.Claim{Household: "Smith", Box: "Hearth", Owner: "Ann", OwnerID: identitytest.Ann}); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "log"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("hlfr\x00\x00"); err != nil {
		t.Fatal(err)
	}
}

// runCrashing runs the helper with a crash at the named point and returns what it acknowledged, and whether it came to
// its end.
func runCrashing(t *testing.T, program, dir, point string) (acks []string, alive bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-test.run", "^TestCrashHelper$", "-test.count", "1")
	cmd.Env = append(os.Environ(), crashFolder+"="+dir, "HEARTH_CRASH_AT="+point)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var other []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if what, ok := strings.CutPrefix(lines.Text(), "ack "); ok {
			acks = append(acks, what)
		} else {
			other = append(other, lines.Text())
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL && ctx.Err() == nil {
		return acks, false
	}
	if err != nil || !slices.Contains(acks, "end") {
		t.Fatalf("at %q: %v\n%s", point, err, strings.Join(other, "\n"))
	}
	return acks, true
}

func checkAcks(t *testing.T, name, dir string, acks []string) {
	t.Helper()
	s, err := identity.New(identity.Config{Dir: dir, Keys: crashKeys(dir), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	m := s.Membership()
	checkWordsAcks(t, name, s, acks)
	_, owner := m.Person(identitytest.Ann)
	if _, box := m.Box(); m.ReadOnly || m.Claimed() != owner || m.Claimed() != box {
		t.Errorf("%s: read-only %v, claimed %v, owner %v, box %v", name, m.ReadOnly, m.Claimed(), owner, box)
	}
	last := map[string]string{} // of each person and device
	var device string
	for _, a := range acks {
		what, id, _ := strings.Cut(a, " ")
		switch what {
		case "claim":
			if !m.Claimed() {
				t.Errorf("%s: the acknowledged claim is gone", name)
			}
		case "person":
			last[id] = what
		case "device":
			last[id], device = what, id
		case "removed":
			last[id], last[device] = what, what
		}
	}
	for id, what := range last {
		_, person := m.Person(services.PersonID(id))
		_, device := m.Device(services.DeviceID(id))
		if what == "removed" && (person || device) {
			t.Errorf("%s: %s was removed and is there", name, id)
		}
		// A removal that was written and not yet acknowledged may have taken the newest ones along.
		if what != "removed" && !person && !device && !mayHaveGone(acks, id) {
			t.Errorf("%s: %s %s was acknowledged and is gone", name, what, id)
		}
	}
}

// checkWordsAcks looks whether the first words or those that were shown count, and new ones can be made with either.
func checkWordsAcks(t *testing.T, name string, s *identity.Service, acks []string) {
	t.Helper()
	if !s.Membership().Claimed() {
		return
	}
	words, shown, replaced := firstWords(), []string(nil), false
	for _, a := range acks {
		if all, ok := strings.CutPrefix(a, "words "); ok {
			shown = strings.Fields(all)
		}
		replaced = replaced || a == "replaced"
	}
	_, err := s.NewWords(t.Context(), words)
	switch code := services.AsProblem(err); {
	case err == nil && replaced:
		t.Errorf("%s: the new words were acknowledged and are not there", name)
	case err != nil && code.Code == "words-former":
		if shown == nil { // shown to the process before
			return
		}
		if _, err := s.NewWords(t.Context(), shown); err != nil {
			t.Errorf("%s: the words that were shown: %v", name, err)
		}
	case err != nil:
		t.Errorf("%s: the first words: %v", name, err)
	}
}

// mayHaveGone says whether the removal of id was under way when the acknowledgements ended: it is the last device, or
// its person.
func mayHaveGone(acks []string, id string) bool {
	return len(acks) >= 2 && strings.HasPrefix(acks[len(acks)-1], "device ") &&
		(acks[len(acks)-1] == "device "+id || acks[len(acks)-2] == "person "+id)
}
