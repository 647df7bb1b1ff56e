package identity

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
)

var update = flag.Bool("update", false, "write what Spin finds wrong anew")

// model is a folder of its own with the model in it, where Spin leaves what it makes.
func model(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"spin", "gcc"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("needs Spin and a C compiler: apt-get install spin gcc libc6-dev && go test ./services/identity -run Spin")
		}
	}
	b, err := os.ReadFile("spin/membership.pml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "membership.pml"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// command runs a program in dir for half an hour at most and returns what it said.
func command(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// verifier makes the model's verifier, which visits every state. define are the model's -D flags, separated by spaces.
func verifier(t *testing.T, define string, flags ...string) (dir string) {
	t.Helper()
	dir = model(t)
	command(t, dir, "spin", append(append([]string{"-a"}, strings.Fields(define)...), "membership.pml")...)
	// MEMLIM is in megabytes. NOREDUCE: there is one process, so nothing to reduce.
	command(t, dir, "gcc", append([]string{"-w", "-o", "pan", "-DSAFETY", "-DNOREDUCE", "-DMEMLIM=4096", "pan.c"}, flags...)...)
	return dir
}

// states reads from a verifier's report that it visited all of them and found no fault.
func states(report string) (n int, err error) {
	for _, bad := range []string{"not completed", "max search depth too small", "out of memory", "hash-compact", "bit-state", "assertion violated"} {
		if strings.Contains(report, bad) {
			return 0, fmt.Errorf("the verifier says %q", bad)
		}
	}
	m := regexp.MustCompile(`errors: 0\n\s*(\d+) states, stored`).FindStringSubmatch(report)
	if m == nil {
		return 0, fmt.Errorf("the verifier names no number of states")
	}
	_, err = fmt.Sscan(m[1], &n)
	return n, err
}

// The rules hold in every state of the model; spin/README.md says which.
func TestSpinRulesHold(t *testing.T) {
	runs := []string{"-DN=4", "-DN=3 -DROGUE=1 -DROOTS=2"}
	if os.Getenv("HEARTH_TEST_ALL") != "" {
		runs = append(runs, "-DN=3 -DROGUE=2", "-DN=4 -DROOTS=2", "-DN=4 -DROGUE=1")
	}
	for _, define := range runs {
		t.Run(define, func(t *testing.T) {
			report := command(t, verifier(t, define, "-O2"), "./pan", "-m100000")
			n, err := states(report)
			if err != nil {
				t.Fatalf("%v\n%s", err, report)
			}
			t.Attr("figure", fmt.Sprintf("%d states, all of them", n))
		})
	}
}

// Each rule is needed: without it the same assertions fail, and Spin shows how. Of the rule that whoever comes first
// is right, which boxes apart from one another would follow by nature, both ways to fail are kept.
func TestSpinFindsWhatIsWrong(t *testing.T) {
	for name, define := range map[string]string{
		"arrival-diverges":  "-DN=3 -DNAIVE",
		"arrival-backdated": "-DN=3 -DNAIVE -DONLY_LEFT",
		"unattacked":        "-DN=3 -DUNATTACKED",
		"alone":             "-DN=3 -DALONE",
		"brisk":             "-DN=3 -DBRISK",
		"deaf":              "-DN=3 -DDEAF",
		"unfounded":         "-DN=3 -DROGUE=1 -DUNFOUNDED",
		"bare":              "-DN=3 -DBARE",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := verifier(t, define, "-O0", "-DREACH")
			report := command(t, dir, "./pan", "-m100000", "-i") // -i: the shortest
			if !strings.Contains(report, "assertion violated") {
				t.Fatalf("no fault found:\n%s", report)
			}
			// The trail ends with the assertion, which is not an error of spin's.
			trail := command(t, dir, "spin", append(append([]string{"-t", "-T"}, strings.Fields(define)...), "membership.pml")...)
			var found strings.Builder
			for _, l := range moments(trail) {
				fmt.Fprintln(&found, l)
			}
			kept := filepath.Join("spin", "wrong", name+".txt")
			if *update {
				if err := os.WriteFile(kept, []byte(found.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(kept)
			if err != nil {
				t.Fatal(err)
			}
			if found.String() != string(want) {
				t.Errorf("found:\n%skept:\n%s", found.String(), want)
			}
			// The program does not say the same.
			h, wrong := newHistories(t), false
			for l := range strings.Lines(string(want)) {
				m, err := parseMoment(strings.TrimSpace(l))
				if err != nil {
					t.Fatal(err)
				}
				wrong = wrong || h.compare(m, nil) != nil
			}
			if !wrong {
				t.Error("fold says all this, too")
			}
		})
	}
}

// What the model says of boxes in random histories, in every order that records came to them there, fold says, too,
// and a box that acts comes to the same by itself.
func TestSpinTraces(t *testing.T) {
	seeds := 200
	if os.Getenv("HEARTH_TEST_ALL") != "" {
		seeds = 20_000
	}
	defines := []string{"-DN=7 -DROOTS=2", "-DN=7 -DROOTS=2 -DROGUE=3"}
	var mu sync.Mutex
	seen := map[string]int{}
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		t.Run(fmt.Sprint(w), func(t *testing.T) {
			t.Parallel()
			h, dir := newHistories(t), model(t) // each a folder: spin writes beside the model
			for seed := w; seed < seeds; seed += workers {
				define := defines[seed%len(defines)]
				args := append([]string{"-T", fmt.Sprint("-n", seed+1), "-u100000"}, strings.Fields(define)...)
				trace := moments(command(t, dir, "spin", append(args, "membership.pml")...))
				if err := h.replay(trace); err != nil {
					t.Fatalf("%s: seed %d: %v\n%s", define, seed+1, err, strings.Join(trace, "\n"))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for k, n := range h.seen {
				seen[k] += n
			}
		})
	}
	t.Cleanup(func() {
		t.Attr("figure", fmt.Sprintf("%d histories: %v", seeds, seen))
		for _, k := range []string{"epoch", "frozen", "gone", "suspended"} {
			if seen[k] == 0 {
				t.Errorf("no history has: %s", k)
			}
		}
	})
}

// All that the model says of three records, and of two with the stolen key of a box, fold says, too.
func TestSpinEveryState(t *testing.T) {
	runs := []string{"-DN=3 -DROOTS=2", "-DN=2 -DROGUE=1"}
	if os.Getenv("HEARTH_TEST_ALL") != "" {
		runs = []string{"-DN=4", "-DN=3 -DROGUE=1"}
	}
	for _, define := range runs {
		t.Run(define, func(t *testing.T) {
			dir := verifier(t, define, "-O0", "-DPRINTF")
			cmd := exec.CommandContext(t.Context(), "./pan", "-m100000")
			cmd.Dir = dir
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			h := newHistories(t)
			said := map[string]bool{}
			lines := bufio.NewScanner(out)
			for lines.Scan() {
				l := strings.TrimSpace(lines.Text())
				_, what, ok := strings.Cut(l, " knows ") // whichever box it is
				if !ok || said[what] {
					continue
				}
				said[what] = true
				m, err := parseMoment(l)
				if err == nil {
					err = h.compare(m, nil)
				}
				if err != nil {
					t.Errorf("%s: %v", l, err)
					break
				}
			}
			io.Copy(io.Discard, out)
			if err := cmd.Wait(); err != nil || len(said) == 0 {
				t.Fatal(err, len(said))
			}
			t.Attr("figure", fmt.Sprintf("%d sets of records", len(said)))
		})
	}
}

// moments are the lines of the model that say where a box is.
func moments(out string) (lines []string) {
	for l := range strings.Lines(out) {
		if l = strings.TrimSpace(l); strings.HasPrefix(l, "box ") {
			lines = append(lines, l)
		}
	}
	return lines
}

// What the model calls things; see spin/membership.pml.
const (
	modelAdd   = 0
	modelEpoch = 5
	modelC     = 3
	modelRoot  = 3 // as a box
)

// modelRecord is a record of the model.
type modelRecord struct{ op, by, box, seq, past, names int }

// moment is what one box knows at one time, and what the model says of that: members, suspended << 4, frozen << 8,
// used << 9.
type moment struct {
	box, known, state int
	records           []modelRecord
}

func parseMoment(line string) (m moment, err error) {
	head, tail, ok := strings.Cut(line, " of ")
	if _, err := fmt.Sscanf(head, "box %d knows %d is %d", &m.box, &m.known, &m.state); err != nil || !ok {
		return m, fmt.Errorf("no moment of the model: %q", line)
	}
	for f := range strings.FieldsSeq(tail) {
		var r modelRecord
		if _, err := fmt.Sscanf(f, "%d.%d.%d.%d.%d.%d", &r.op, &r.by, &r.box, &r.seq, &r.past, &r.names); err != nil {
			return m, fmt.Errorf("no record of the model: %q", f)
		}
		m.records = append(m.records, r)
	}
	return m, nil
}

// histories makes the records of the model: Ann and Ben are its owners, Cat the member, C the third box.
type histories struct {
	t    testing.TB
	d    *dag
	base []*record.Record
	made map[string]*record.Record // by what they say and where they stand
	seen map[string]int
}

func newHistories(t testing.TB) *histories {
	h := &histories{t: t, d: newDAG(t, 3), made: map[string]*record.Record{}, seen: map[string]int{}}
	h.d.add(h.d.root, person(ann, services.RoleOwner), h.d.last())
	h.d.add(h.d.root, person(ben, services.RoleOwner), h.d.last())
	h.base = h.d.records
	return h
}

// seal makes the k-th of the model's records, whose IDs are in the order of its own.
func (h *histories) seal(all []modelRecord, k int, before []*record.Record) *record.Record {
	m := all[k]
	r := record.Record{Author: h.d.root, Sequence: h.d.seq[h.d.root] + uint64(m.seq)}
	if m.box != modelRoot {
		r.Author, r.Sequence = h.d.boxes[m.box], uint64(m.seq)
	}
	people := []services.PersonID{ann, ben, cat}
	if m.by < len(people) {
		r.By = people[m.by]
	}
	switch {
	case m.op == modelAdd:
		r.Payload = person(cat, services.RoleAdmin)
	case m.op == modelEpoch:
		e := record.Epoch{Number: 1, Root: h.d.root.Key}
		for i, p := range before {
			if last, ok := p.Payload.(record.Epoch); ok && m.past>>i&1 != 0 {
				e.Number = max(e.Number, last.Number+1)
			}
			if m.names>>i&1 != 0 {
				e.Void = append(e.Void, p.ID())
			}
		}
		r.Payload = e
	case m.op == 1+modelC:
		r.Payload = record.RemoveBox{Box: h.d.boxes[2].Key}
	default:
		r.Payload = record.RemovePerson{Person: people[m.op-1]}
	}
	heads := m.past
	for i := range before {
		if m.past>>i&1 != 0 {
			heads &^= all[i].past
		}
	}
	for i, p := range before {
		if heads>>i&1 != 0 {
			r.Parents = append(r.Parents, p.ID()) // ascending, as the IDs are
		}
	}
	if heads == 0 {
		r.Parents = []record.ID{h.base[len(h.base)-1].ID()}
	}
	name := fmt.Sprint(k, m, r.Parents)
	if made := h.made[name]; made != nil {
		return made
	}
	for second := int64(1_795_000_000); ; second++ {
		r.Time = time.Unix(second, 0)
		out, err := record.Seal(r, func(b []byte) ([]byte, error) { return ed25519.Sign(h.d.keys[r.Author], b), nil })
		if err != nil {
			h.t.Fatal(err)
		}
		if id := out.ID(); int(id[0])/32 == k {
			h.made[name] = out
			return out
		}
	}
}

// records are those of a moment, all that there are.
func (h *histories) records(m moment) []*record.Record {
	var out []*record.Record
	for k := range m.records {
		out = append(out, h.seal(m.records, k, out))
	}
	return out
}

// compare folds what the box knows, in the order in which it came (nil: that of the IDs), and compares with what the
// model says of it.
func (h *histories) compare(m moment, arrived []*record.Record) error {
	set := arrived
	if set == nil {
		for k, r := range h.records(m) {
			if m.known>>k&1 != 0 {
				set = append(set, r)
			}
		}
	}
	got, err := fold(h.d.self(), h.base[0].ID(), append(set[:len(set):len(set)], h.base...))
	if err != nil {
		return err
	}
	if say := h.say(got); say != m.state {
		return fmt.Errorf("fold says %s, the model %s", describe(say), describe(m.state))
	}
	return nil
}

// say puts a household as the model does.
func (h *histories) say(got *household) int {
	out := 0
	note := func(i int, there bool, s services.State) {
		if there {
			out |= 1 << i
		}
		if there && s == services.StateQuarantined {
			out |= 1 << (4 + i)
		}
	}
	for i, id := range []services.PersonID{ann, ben, cat} {
		p, ok := got.people[id]
		note(i, ok, p.State)
	}
	b, ok := got.boxes[h.d.boxes[2].Key]
	note(modelC, ok, b.State)
	if got.frozen {
		out |= 1 << 8
	}
	if _, ok := got.used[string(cat)]; ok {
		out |= 1 << 9
	}
	return out
}

func describe(state int) string {
	var b bytes.Buffer
	for i, name := range []string{"Ann", "Ben", "Cat", "C"} {
		switch {
		case state>>(4+i)&1 != 0:
			fmt.Fprintf(&b, "%s? ", name)
		case state>>i&1 != 0:
			fmt.Fprintf(&b, "%s ", name)
		}
	}
	return fmt.Sprintf("%sfrozen=%v used=%v", &b, state>>8&1 != 0, state>>9&1 != 0)
}

// replay takes a whole history: each box folds what came to it after each record, and what it makes itself it applies
// to what it had.
func (h *histories) replay(trace []string) error {
	arrived := map[int][]*record.Record{}
	before := map[int]int{}
	for _, line := range trace {
		m, err := parseMoment(line)
		if err != nil {
			return err
		}
		all := h.records(m)
		came := m.known &^ before[m.box]
		for k, r := range all {
			if came != 1<<k {
				continue
			}
			if own := m.records[k]; own.box == m.box && own.op != modelEpoch {
				had, err := fold(h.d.self(), h.base[0].ID(), append(arrived[m.box][:len(arrived[m.box]):len(arrived[m.box])], h.base...))
				if err != nil {
					return err
				}
				if err := had.apply(r); err != nil {
					return fmt.Errorf("%s: box %d could not make record %d: %w", line, m.box, k, err)
				}
				if say := h.say(had); say != m.state {
					return fmt.Errorf("%s: the box that made it says %s, the model %s", line, describe(say), describe(m.state))
				}
			}
			arrived[m.box] = append(arrived[m.box], r)
		}
		before[m.box] = m.known
		if err := h.compare(m, arrived[m.box]); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
		h.count(m)
	}
	return nil
}

func (h *histories) count(m moment) {
	h.seen["moments"]++
	h.seen["frozen"] += m.state >> 8 & 1
	h.seen["suspended"] += min(1, m.state>>4&15)
	h.seen["gone"] += cmp.Compare(11, m.state&11)
	for k, r := range m.records {
		if r.op == modelEpoch && m.known>>k&1 != 0 {
			h.seen["epoch"]++
		}
	}
}
