package appliance_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"strings"
	"testing"
)

// intervals are the files of services that ask time.Now, each read by a person and found to use it for intervals
// only: the difference of two such times is monotonic (package time, "Monotonic Clocks") and right however wrong the
// wall clock is. Nothing that is signed, stored, shown or compared with somebody else's time may come of it: that is
// asked of services/clock. A line whose file no longer asks fails, so that the list stays short.
//
// What needs no line, because it shows itself: a deadline (conn.SetDeadline(time.Now().Add(d))), and a start that is
// only used in time.Since(start) and start.Sub or x.Sub(start).
var intervals = map[string]string{
	"services/clock/clock.go":                   "the one place that reads the wall clock",
	"services/discovery/browser.go":             "when to ask again; Seen is the age of an answer, shown as \"3 minutes ago\"",
	"services/discovery/config.go":              "not an interval: the default where no clock is handed in; appliance hands in services/clock",
	"services/discovery/service.go":             "the responder's timers (RFC 6762, sections 6 and 8)",
	"services/discovery/socket.go":              "a write deadline",
	"services/dns/config.go":                    "ages of answers and of connections, replaceable by tests",
	"services/dns/upstream.go":                  "deadlines, round trips, when a connection was last of use",
	"services/dns/forward.go":                   "how long an upstream took, when to try a slow one again, since when none answers",
	"services/firewall/service.go":              "when to apply again",
	"services/identity/befriend.go":             "how often news of a friend are written down is an interval",
	"services/identity/service.go":              "how long a box has heard no other is an interval",
	"services/identity/share.go":                "how often a removed box is told is an interval",
	"services/identity/flood.go":                "how fast a box writes is an interval",
	"services/identity/friendbook.go":           "how often a friend is written down is an interval",
	"services/identity/invite.go":               "how long an invitation was open, whatever is done to the clock",
	"services/identity/newwords.go":             "how long new words were shown is an interval",
	"services/link/service.go":                  "since when a session has no stream",
	"services/link/session.go":                  "since when a session has no stream",
	"services/link/stream.go":                   "since when a session has no stream",
	"services/mesh/config.go":                   "not an interval: the default where no clock is handed in; appliance hands in services/clock",
	"services/mesh/service.go":                  "when the handshakes were last saved",
	"services/mesh/internal/portmap/portmap.go": "when to renew a lease",
}

// TestTimeNow says that wall time is asked of services/clock. A box has no clock battery: until it knows the time,
// time.Now is 1970, or the day the image was built.
func TestTimeNow(t *testing.T) {
	fset := token.NewFileSet()
	asks, folders := map[string]bool{}, map[string]bool{}
	for _, s := range sources(t, fset, parser.SkipObjectResolution) {
		folders[s.folder] = true
		if !strings.HasPrefix(s.folder, "services") || s.test || strings.HasSuffix(s.folder, "test") || s.local("time") == "" {
			continue // identitytest and its like are code for tests
		}
		for _, pos := range wallTimes(s.file, s.local("time")) {
			asks[s.path] = true
			if intervals[s.path] == "" {
				t.Errorf("%s uses time.Now, which nobody may trust: ask services/clock, or, for an interval, write it as time.Since(start) or add the file to intervals in time_test.go with its reason", fset.Position(pos))
			}
		}
	}
	for file := range intervals {
		if !asks[file] && folders[path.Dir(file)] {
			t.Errorf("%s is on the list of intervals and does not ask time.Now: take it off", file)
		}
	}
}

// deadlines are the methods and functions that a time.Now().Add(d) may go to at once.
var deadlines = map[string]bool{
	"SetDeadline": true, "SetReadDeadline": true, "SetWriteDeadline": true, "WithDeadline": true, "WithDeadlineCause": true,
}

// wallTimes returns the places where a file says time.Now and it is not evident that only an interval comes of it.
func wallTimes(file *ast.File, pkg string) []token.Pos {
	fine := map[ast.Node]bool{} // the selectors time.Now that explain themselves
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
			explain(f.Body, pkg, fine)
		}
	}
	var out []token.Pos
	ast.Inspect(file, func(n ast.Node) bool {
		if n != nil && isSelector(n, pkg, "Now") && !fine[n] {
			out = append(out, n.Pos())
		}
		return true
	})
	return out
}

// explain marks the time.Now of deadlines and of starts.
func explain(body *ast.BlockStmt, pkg string, fine map[ast.Node]bool) {
	starts := map[string][]ast.Node{} // variable -> the time.Now it is set to
	sound := map[*ast.Ident]bool{}    // uses of a variable in an interval, and where it is set
	uses := map[string][]*ast.Ident{}
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			uses[n.Name] = append(uses[n.Name], n)
		case *ast.AssignStmt:
			if len(n.Lhs) == 1 && len(n.Rhs) == 1 {
				id, ok := n.Lhs[0].(*ast.Ident)
				if now := asNow(n.Rhs[0], pkg); ok && now != nil {
					starts[id.Name] = append(starts[id.Name], now)
					sound[id] = true
				}
			}
		case *ast.CallExpr:
			sel, ok := n.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			switch {
			case isSelector(sel, pkg, "Since") && len(n.Args) == 1:
				markIdent(n.Args[0], sound)
			case sel.Sel.Name == "Sub" && len(n.Args) == 1:
				markIdent(sel.X, sound)
				markIdent(n.Args[0], sound)
				if now := asNow(sel.X, pkg); now != nil {
					fine[now] = true
				}
			case deadlines[sel.Sel.Name]:
				for _, a := range n.Args {
					if add, ok := a.(*ast.CallExpr); ok {
						if s, ok := add.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Add" {
							if now := asNow(s.X, pkg); now != nil {
								fine[now] = true
							}
						}
					}
				}
			}
		}
		return true
	})
	for name, nows := range starts {
		all := true
		for _, id := range uses[name] {
			all = all && sound[id]
		}
		for _, now := range nows {
			fine[now] = fine[now] || all
		}
	}
}

// asNow returns the selector of a call time.Now(), nil when e is something else.
func asNow(e ast.Expr, pkg string) ast.Node {
	if c, ok := e.(*ast.CallExpr); ok && isSelector(c.Fun, pkg, "Now") {
		return c.Fun
	}
	return nil
}

func markIdent(e ast.Expr, sound map[*ast.Ident]bool) {
	if id, ok := e.(*ast.Ident); ok {
		sound[id] = true
	}
}

func TestWallTimes(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		want       int
	}{
		{"since", `start := time.Now(); work(); log(time.Since(start))`, 0},
		{"sub", `a := time.Now(); work(); b := time.Now(); log(b.Sub(a))`, 0},
		{"sub of a field", `log(time.Now().Sub(s.began))`, 0},
		{"deadline", `c.SetReadDeadline(time.Now().Add(time.Second))`, 0},
		{"context", `ctx, cancel := context.WithDeadline(ctx, time.Now().Add(d))`, 0},
		{"stored", `s.began = time.Now()`, 1},
		{"written", `save(time.Now())`, 1},
		{"formatted", `start := time.Now(); log(time.Since(start)); log(start.String())`, 1},
		{"unix", `log(time.Now().Unix())`, 1},
		{"as a value", `s.now = time.Now`, 1},
		{"compared", `if time.Now().After(cert.NotAfter) { stop() }`, 1},
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nimport \"time\"\nfunc f() {\n"+tt.body+"\n}", 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(wallTimes(file, "time")); got != tt.want {
			t.Errorf("%s: %d found, want %d", tt.name, got, tt.want)
		}
	}
}
