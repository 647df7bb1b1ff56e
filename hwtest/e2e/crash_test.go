package e2e

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hearth.alt/hwtest/box"
	"hearth.alt/hwtest/netlab"
)

// elsewhere are the crash points that no verb reaches, and which test passes them.
var elsewhere = map[string]string{
	"boot.":          "process 1 of the device, before hearth runs: appliance/boot and hwtest/vm",
	"keeper.device.": "renewing the device key has no verb yet: appliance/keeper",
	"identity.words": "making new words needs those that were confirmed: services/identity, TestPowerCut",
	"mesh.portmap.":  "needs a router that maps: services/mesh/internal/portmap",
}

// points lists the crash points of the source: every call of durable.Point, and of Point within durable.
func points(t *testing.T) []string {
	t.Helper()
	seen := map[string]bool{}
	for _, root := range []string{"../../appliance", "../../services"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || len(call.Args) != 1 {
					return true
				}
				name := ""
				switch fun := call.Fun.(type) {
				case *ast.SelectorExpr:
					if x, ok := fun.X.(*ast.Ident); ok && x.Name == "durable" {
						name = fun.Sel.Name
					}
				case *ast.Ident:
					if f.Name.Name == "durable" {
						name = fun.Name
					}
				}
				if name != "Point" {
					return true
				}
				lit, ok := call.Args[0].(*ast.BasicLit)
				if !ok {
					t.Errorf("%s: a crash point without a literal name", path)
					return true
				}
				s, _ := strconv.Unquote(lit.Value)
				seen[s] = true
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var out []string
	for s := range seen {
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// The plug is pulled at every crash point that a verb can reach, the first time and later: afterwards what was
// acknowledged is there, what was half done is whole or absent, and everything can go on.
func TestCrashPoints(t *testing.T) {
	t.Parallel()
	netlab.New(t) // skips without root, before anything is built
	program := box.ProgramWith(t, box.Build{Tags: "crashpoints"})
	list := points(t)
	if len(list) < 15 {
		t.Fatalf("found only %q", list)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 3))
	var crashes, tried atomic.Int32
	t.Cleanup(func() {
		t.Attr("figure", fmt.Sprintf("%d crashes at %d points of the writing paths", crashes.Load(), tried.Load()))
	})
	for _, point := range list {
		if slices.ContainsFunc(keys(elsewhere), func(p string) bool { return strings.HasPrefix(point, p) }) {
			continue
		}
		times := []int{1, 2 + r.IntN(5)}
		if all {
			times = nil
			for n := 1; n <= 40; n++ {
				times = append(times, n)
			}
		}
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			tried.Add(1)
			for _, n := range times {
				if !crash(t, program, point, n, seed) {
					if n == 1 {
						t.Error("no verb passes it; say in elsewhere who does")
					}
					break
				}
				crashes.Add(1)
			}
		})
	}
}

func keys(m map[string]string) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	return out
}

// crash lives a household's first minutes, dies at the nth passing of point, starts again, and goes on. It says
// whether it died.
func crash(t *testing.T, program, point string, n int, seed uint64) (died bool) {
	t.Helper()
	l := netlab.New(t)
	h := &home{t: t, lab: l, lan: l.Switch("lan"), host: l.Host("box"), n: 10}
	h.lan.Attach(h.host, "eth0", pfx(boxAt4+"/24"), pfx(boxAt6+"/64"))
	h.Box = box.New(t, box.Options{Program: program, Args: oneProcess, Start: func(cmd *exec.Cmd) error { return h.host.Do(cmd.Start) }})
	defer h.Kill()
	w := &writer{b: h.Box, r: rand.New(rand.NewPCG(seed, uint64(n))), owner: "Ann"}
	if point == "identity.log.cut" {
		// It is passed where a torn tail is: pull the plug in the middle of a record first.
		h.SetEnv("HEARTH_CRASH_AT=identity.log.begun:2")
		begin(t, h, w, false)
		if !h.Ended(10 * time.Second) {
			t.Fatal("no torn tail")
		}
	}
	h.SetEnv(fmt.Sprintf("HEARTH_CRASH_AT=%s:%d", point, n))
	begin(t, h, w, strings.HasPrefix(point, "keeper.") || strings.HasPrefix(point, "durable.file.removed"))
	by := 300 * time.Millisecond
	if n == 1 {
		by = 10 * time.Second // it does; some of what is written follows by itself
	}
	died = h.Ended(by)
	if !died {
		h.Kill()
	}
	h.SetEnv()
	if err := h.TryStart(); err != nil {
		t.Fatalf("%s:%d: starting again: %v", point, n, err)
	}
	begin(t, h, w, false)
	if h.Ended(0) {
		t.Fatalf("%s:%d: it died again", point, n)
	}
	w.check(t)
	sound(t, h.Box)
	b := h.browser(h.lanHost(), "https://"+boxAt4)
	within(t, 10*time.Second, "https does not answer", func() error { // its certificate may be in the making
		_, _, err := b.try("GET", "/signin", nil)
		return err
	})
	b.signIn("Ann", password)
	if t.Failed() {
		t.Fatalf("all this at the passing %d of %s, seed %d", n, point, seed)
	}
	return died
}

// begin starts the box if need be, claims it if it is not, checks the words if they are known, and makes some
// changes. It ends early when the box dies.
func begin(t *testing.T, h *home, w *writer, pair bool) {
	t.Helper()
	if h.Cmd == nil || h.Ended(0) {
		if err := h.TryStart(); err != nil {
			return // it died while starting
		}
	}
	var s status
	if w.call(t, &s, "status", map[string]any{}) != nil {
		return
	}
	if w.claimed && !s.Claimed {
		t.Fatal("the claim was acknowledged and is lost")
	}
	if !s.Claimed {
		var out struct{ Words []string }
		if err := w.call(t, &out, "claim", map[string]any{"household": "Smith", "box": "Study", "owner": "Ann", "password": password}); err != nil {
			if refused(err) {
				t.Fatalf("claiming: %v", err)
			}
			return
		}
		w.claimed = true
		if w.call(t, &struct{}{}, "recover check", map[string]any{"words": out.Words}) != nil {
			return
		}
	}
	for range 6 {
		if err := w.step(t); err != nil {
			if refused(err) {
				t.Fatalf("a change was refused: %v", err)
			}
			if h.Ended(100 * time.Millisecond) {
				return
			}
			time.Sleep(50 * time.Millisecond) // sign-in is not up yet
		}
	}
	if pair {
		var d device
		x := &thing{kind: "device", first: "a phone", names: []string{"a phone"}}
		w.things = append(w.things, x)
		if w.call(t, &d, "device add", map[string]any{"name": "a phone", "person": "Ann"}) != nil {
			return
		}
		x.id, x.must = d.ID, true
		p := h.lab.Phone(h.other("phone"), d.Config, nil)
		answersDNS(t, p, p.Stock.DNS[0], 5*time.Second)
		h.Ended(time.Second) // what follows a pairing happens by itself
	}
}
