package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/appliance/cli"
	"hearth.alt/hwtest/box"
)

// writer changes the household through the verbs' own code, one change after the other, and keeps account of what was
// acknowledged. A change that was not may have happened or not; whatever is there must be whole.
type writer struct {
	b      *box.Box
	r      *rand.Rand
	n      int
	things []*thing
	owner  string

	changes int          // acknowledged
	acked   atomic.Int64 // the same, for who kills meanwhile
	unsure  int
	claimed bool // the claim was acknowledged
}

// thing is a person or a device of the writer's: the names it may have, and whether it may or must be there.
type thing struct {
	kind       string // "person" or "device"
	id         string // "" while its adding was not acknowledged
	first      string // the name it was added by
	names      []string
	must, gone bool // must be there; must not be there
}

var operations = func() map[string]api.Operation {
	out := map[string]api.Operation{}
	for _, o := range api.Table() {
		out[o.Name] = o
	}
	return out
}()

// refused says that the box was there and said no, which is an answer too.
func refused(err error) bool {
	var no *cli.Refusal
	return errors.As(err, &no) && no.Failure.Error.Code != "internal" && no.Failure.Error.Code != "not-ready" && no.Failure.Error.Code != "unavailable"
}

func (w *writer) call(t testing.TB, out any, verb string, in map[string]any) error {
	b, err := cli.Call(t.Context(), w.b.State, operations[verb], in)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, out)
}

// step does one change.
func (w *writer) step(t testing.TB) error {
	w.n++
	var live []*thing
	for _, x := range w.things {
		if x.must {
			live = append(live, x)
		}
	}
	var out struct{ ID string }
	switch dice := w.r.IntN(10); {
	case len(live) < 4 || dice < 4 && len(live) < 40:
		kind, in := "person", map[string]any{"role": "member"}
		if w.r.IntN(2) == 0 {
			kind, in = "device", map[string]any{"person": w.owner}
		}
		x := &thing{kind: kind, first: fmt.Sprintf("%s %d", kind, w.n)}
		x.names, in["name"] = []string{x.first}, x.first
		w.things = append(w.things, x)
		if err := w.call(t, &out, kind+" add", in); err != nil {
			if refused(err) {
				x.gone = true
			}
			return err
		}
		x.id, x.must = out.ID, true
	case dice < 8:
		x := live[w.r.IntN(len(live))]
		name := fmt.Sprintf("%s %d", x.kind, w.n)
		verb := "device rename"
		if x.kind == "person" {
			verb = "person change"
		}
		x.names = append(x.names, name)
		if err := w.call(t, &struct{}{}, verb, map[string]any{"id": x.id, "name": name}); err != nil {
			if refused(err) {
				x.names = x.names[:len(x.names)-1]
			}
			return err
		}
		x.names = []string{name}
	default:
		x := live[w.r.IntN(len(live))]
		x.must = false
		if err := w.call(t, &struct{}{}, x.kind+" remove", map[string]any{"id": x.id}); err != nil {
			x.must = refused(err)
			return err
		}
		x.gone = true
	}
	w.changes++
	w.acked.Add(1)
	return nil
}

// run changes things until stop is closed. While the box is down it waits.
func (w *writer) run(t testing.TB, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		if err := w.step(t); err != nil {
			if refused(err) {
				t.Errorf("a change was refused: %v", err)
				return
			}
			w.unsure++
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// check compares the box with the account, and wants the household's log and the accounts to be sound.
func (w *writer) check(t testing.TB) {
	t.Helper()
	type entry struct{ ID, Name, Role, State, Address4, Address6 string }
	there := map[string]entry{}
	byName := map[string]string{}
	for _, kind := range []string{"person", "device"} {
		var list []entry
		if err := w.call(t, &list, kind+" list", map[string]any{}); err != nil {
			t.Fatalf("%s list: %v", kind, err)
		}
		for _, e := range list {
			there[e.ID] = e
			byName[kind+"/"+e.Name] = e.ID
			if e.Name == "" || kind == "person" && (e.Role == "" || e.State == "") || kind == "device" && (e.Address4 == "" || e.Address6 == "") {
				t.Errorf("half a %s: %+v", kind, e)
			}
		}
	}
	for _, x := range w.things {
		id := x.id
		if id == "" {
			id = byName[x.kind+"/"+x.first]
		}
		e, ok := there[id]
		switch {
		case x.must && !ok:
			t.Errorf("lost: %s %q was acknowledged", x.kind, x.names)
		case x.gone && ok:
			t.Errorf("back: %s %q was removed, and that was acknowledged", x.kind, x.names)
		case ok && !slices.Contains(x.names, e.Name):
			t.Errorf("%s is called %q, want one of %q", x.kind, e.Name, x.names)
		}
	}
	var s status
	if err := w.call(t, &s, "status", map[string]any{}); err != nil {
		t.Fatal(err)
	}
	for _, v := range s.Services {
		if (v.Name == "identity" || v.Name == "account") && !(v.Ready && v.OK) {
			t.Errorf("%s: %s", v.Name, v.Message)
		}
	}
}

// sound wants no word of damage in what the box said.
func sound(t testing.TB, b *box.Box) {
	t.Helper()
	if bad := regexp.MustCompile(`(?i).*(damaged|set aside|does not verify|panic).*`).FindString(b.Log()); bad != "" {
		t.Errorf("the box says: %s", bad)
	}
}

// The plug is pulled again and again while somebody changes the household: what was acknowledged is there.
func TestRandomKills(t *testing.T) {
	t.Parallel()
	kills := 20
	if all {
		kills = 500
	}
	h := newSmiths(t, box.Options{})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := &writer{b: h.Box, r: rand.New(rand.NewPCG(seed, 1)), owner: "Ann"}
	r := rand.New(rand.NewPCG(seed, 2))
	for range kills {
		stop, done := make(chan struct{}), make(chan struct{})
		go func() { defer close(done); w.run(t, stop) }()
		// At least one change, then any moment.
		before := w.acked.Load()
		within(t, 20*time.Second, "no change goes through", func() error {
			if w.acked.Load() == before {
				return errors.New("none")
			}
			return nil
		})
		time.Sleep(time.Duration(r.Int64N(int64(150 * time.Millisecond))))
		h.Kill()
		close(stop)
		<-done
		h.Restart()
		h.up()
		if w.check(t); t.Failed() {
			t.FailNow()
		}
	}
	sound(t, h.Box)
	p, _ := h.phone("Ann", "at the end")
	h.tunnel(p, 1).get("/signin", 200)
	t.Attr("figure", fmt.Sprintf("%d kills at random moments; %d changes acknowledged and all there, %d cut short and whole or absent", kills, w.changes, w.unsure))
	if w.unsure == 0 && kills > 10 {
		t.Error("no kill ever hit a change")
	}
}
