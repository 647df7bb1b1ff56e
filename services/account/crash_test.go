package account

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/account/internal/statement"
	"hearth.alt/services/secret"
)

// The child of TestPulledPlug does these in order and says so after each one, once it was acknowledged. Each writes
// exactly once, so the Nth passing of a crash point is in the Nth of them.
var plugSteps = []string{"password", "session", "app", "invitation", "accept", "change", "end", "audit", "used", "erase", "hear"}

const plugNew = "violin ocean pepper trumpet"

// plugHeard is what another box says: Ben's password, and an app password of his.
func plugHeard(t *testing.T) []*statement.Row {
	b := &boxOf{}
	b.id, b.key = boxKey(2)
	h := passwordHash{Params: cheap, salt: make([]byte, saltSize), key: make([]byte, keySize)}
	app := &credential{id: "cccccccccccccccc", kind: KindApp, person: ben, role: services.RoleMember, name: "x"}
	return []*statement.Row{signed(b, passwordStatement(ben, h)), signed(b, credentialStatement(app))}
}

// plugHouse has the other box in it.
func plugHouse() *house {
	h := newHouse()
	id, _ := boxKey(2)
	h.m.Boxes = append(h.m.Boxes, services.Box{ID: id, Label: "cellar", State: services.StateActive})
	return h
}

// TestPlugChild is the child; it does nothing unless it is told where to write.
func TestPlugChild(t *testing.T) {
	dir := os.Getenv("HEARTH_PLUG_DIR")
	if dir == "" {
		return
	}
	h := plugHouse()
	// Cleo belongs already: her activation would wake Run, which may then write down an end before the step that ended it.
	h.m.People[2].State = services.StateActive
	s, _ := open(t, h, dir)
	ctx := t.Context()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	say := func(step string, values ...string) {
		fmt.Printf("\nack %s %s\n", step, strings.Join(values, " "))
	}
	must(s.SetPassword(ctx, from(""), anna, secret.NewText(good)))
	say("password")
	in := signIn(t, s, "Anna", "")
	say("session", in.Token.Reveal())
	app, x, err := s.CreateAppPassword(ctx, from(""), NewCredential{Person: anna, Name: "x"})
	must(err)
	say("app", app.Reveal())
	token, _, err := s.CreateInvitation(ctx, from(""), cleo)
	must(err)
	say("invitation", token.Reveal())
	_, err = s.AcceptInvitation(ctx, from(""), token, secret.NewText(good))
	must(err)
	say("accept", token.Reveal())
	now, err := s.ChangePassword(ctx, SignIn{By: from(""), Name: "Anna", Password: secret.NewText(good)}, secret.NewText(plugNew))
	must(err)
	say("change", now.Token.Reveal())
	must(s.End(ctx, from(""), anna, x.ID))
	say("end", app.Reveal())
	must(s.Audit(ctx, Event{Action: "marked"}))
	say("audit")
	h.pass(time.Hour)
	_, err = s.Authenticate(ctx, now.Token, "")
	must(err)
	must(s.keepUsed(ctx, 0))
	say("used")
	must(s.ErasePerson(ctx, cleo))
	say("erase")
	must(s.take(ctx, plugHeard(t)))
	say("hear")
}

// TestPulledPlug pulls the plug before and after each commit: what was acknowledged is there at the next start, nothing
// is half there, and the audit log verifies.
func TestPulledPlug(t *testing.T) {
	gotool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("needs the go tool: go test -run TestPulledPlug ./services/account")
	}
	bin := filepath.Join(t.TempDir(), "account.test")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, gotool, "test", "-c", "-tags", "crashpoints", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("building the child: %v\n%s", err, out)
	}
	for i := 0; i <= len(plugSteps); i++ {
		for _, point := range []string{"account.write.ready", "account.write.committed"} {
			dir := filepath.Join(t.TempDir(), "account")
			cmd := exec.CommandContext(ctx, bin, "-test.run", "^TestPlugChild$", "-test.count=1")
			cmd.Env = append(os.Environ(), "HEARTH_PLUG_DIR="+dir, fmt.Sprintf("HEARTH_CRASH_AT=%s:%d", point, i+1))
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
			if want := i < len(plugSteps); killed != want {
				t.Fatalf("%s %d: killed is %v, want %v\n%s", point, i+1, killed, want, out)
			}
			acked := map[string]string{}
			for _, line := range bytes.Split(out, []byte("\n")) {
				if f := strings.Fields(string(line)); len(f) >= 2 && f[0] == "ack" {
					acked[f[1]] = strings.Join(f[2:], " ")
				}
			}
			if len(acked) != min(i, len(plugSteps)) {
				t.Fatalf("%s %d: %d steps acknowledged, want %d\n%s", point, i+1, len(acked), i, out)
			}
			checkPlug(t, fmt.Sprintf("%s at %q", point, append(plugSteps, "nothing")[i]), dir, acked, i, point == "account.write.committed")
		}
	}
}

// checkPlug opens what is left. done counts the acknowledged steps; committed says whether the next one is on disk too.
func checkPlug(t *testing.T, where, dir string, acked map[string]string, done int, committed bool) {
	t.Helper()
	h := plugHouse()
	h.pass(time.Hour)
	s, stop := open(t, h, dir)
	defer stop()
	ctx := t.Context()
	if err := s.VerifyAudit(ctx); err != nil {
		t.Errorf("%s: %v", where, err)
	}
	is := func(step string) bool { // on disk
		for i, name := range plugSteps {
			if name == step {
				return i < done || i == done && committed
			}
		}
		panic(step)
	}
	check := func(what string, got, want bool) {
		if got != want {
			t.Errorf("%s: %s is %v, want %v", where, what, got, want)
		}
	}
	check("anna's password", s.HasPassword(anna), is("password"))
	for text, want := range map[string]bool{good: is("password") && !is("change"), plugNew: is("change")} {
		_, err := s.SignIn(ctx, SignIn{By: from("10.1.1.1"), Name: "Anna", Password: secret.NewText(text)})
		check("sign-in with "+strings.Fields(text)[0], err == nil, want)
	}
	if token, ok := acked["session"]; ok {
		_, err := s.Authenticate(ctx, secret.NewText(token), "")
		check("the first session", err == nil, !is("change"))
	}
	if app, ok := acked["app"]; ok {
		_, err := s.CheckBasic(ctx, "Anna", secret.NewText(app))
		check("the app password", err == nil, !is("end"))
	}
	if token, ok := acked["invitation"]; ok {
		_, err := s.Invitation(secret.NewText(token))
		check("the invitation", err == nil, !is("accept"))
		check("cleo's password", s.HasPassword(cleo), is("accept") && !is("erase"))
	}
	if token, ok := acked["change"]; ok {
		_, err := s.Authenticate(ctx, secret.NewText(token), "")
		check("the session after the change", err == nil, true)
	}
	check("ben's password", s.HasPassword(ben), is("hear"))
	list, err := s.List(KindApp, ben)
	check("ben's app password", err == nil && len(list) == 1, is("hear"))
	events, err := s.Events(ctx, time.Time{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	marked := false
	for _, e := range events {
		marked = marked || e.Action == "marked"
	}
	check("the marked event", marked, is("audit"))
}
