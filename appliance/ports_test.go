package appliance

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/thejerf/suture/v4"

	"hearth.alt/appliance/api"
	"hearth.alt/appliance/cli"
	"hearth.alt/webui/messages"
)

// TestAskedPortIsTaken names two bugs: a port that was asked for with --dev gave way to another one in silence, and a
// box whose port was taken ran on without pages while its log filled.
func TestAskedPortIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, flag := range []string{"--http", "--https", "--dns"} {
		var out, errs bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		args := []string{"run", "--dev", "--state", t.TempDir()}
		for _, f := range []string{"--http", "--https", "--dns"} {
			if f == flag {
				args = append(args, f, l.Addr().String())
			} else {
				args = append(args, f, "127.0.0.1:0")
			}
		}
		status := cli.Run(ctx, Program(), args, &out, &errs)
		cancel()
		if status != 1 || !strings.Contains(errs.String(), l.Addr().String()) || !strings.Contains(errs.String(), flag) || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%s: status %d, %q; want 1 and one sentence", flag, status, errs.String())
		}
	}
}

// TestDevTakesAFreePort says that the defaults of --dev give way when they are taken, nothing is asked of the router and
// nothing is announced where nobody could come in.
func TestDevTakesAFreePort(t *testing.T) {
	if l, err := net.Listen("tcp", "127.0.0.1:8480"); err == nil {
		defer l.Close() // else somebody else has it, which is as good
	}
	ctx, cancel := context.WithCancel(t.Context())
	state := t.TempDir()
	var out, errs lockedBuffer
	done := make(chan int, 1)
	go func() { done <- cli.Run(ctx, Program(), []string{"run", "--dev", "--state", state}, &out, &errs) }()
	if !comes(func() bool { return strings.HasPrefix(out.String(), "hearth ready http=127.0.0.1:") }) || strings.Contains(out.String(), ":8480/") {
		t.Errorf("stdout is %q and the log %q", out.String(), errs.String())
	}
	var status bytes.Buffer
	cli.Run(ctx, Program(), []string{"status", "--json", "--state", state}, &status, &status)
	var s api.Status
	if err := json.Unmarshal(status.Bytes(), &s); err != nil {
		t.Errorf("%v: %s", err, status.String())
	}
	for _, v := range s.Services {
		if messages.Lookup("en").Text("home.part."+v.Name) == "" {
			t.Errorf("the first page shows %q as it is: home.part.%s is missing", v.Name, v.Name)
		}
		if v.Name == "discovery" && !strings.Contains(v.Message, "this computer only") {
			t.Errorf("discovery says %q", v.Message)
		}
	}
	cancel()
	if status := <-done; status != 0 {
		t.Errorf("it ended with %d: %s", status, errs.String())
	}
	if strings.Contains(errs.String(), "level=INFO") {
		t.Errorf("a quiet start says\n%s", errs.String())
	}
}

// TestRepeatsGrowQuiet names a bug: a service that fails in the same words again and again filled the log.
func TestRepeatsGrowQuiet(t *testing.T) {
	var out bytes.Buffer
	say := (&repeats{}).logger(slog.New(slog.NewTextHandler(&out, nil)))
	for range 100 {
		say(suture.EventServiceTerminate{ServiceName: "web", Err: "the port is taken"})
		say(suture.EventBackoff{SupervisorName: "web"})
		say(suture.EventResume{SupervisorName: "web"})
	}
	say(suture.EventServiceTerminate{ServiceName: "dns", Err: "the port is taken"})
	say(suture.EventServiceTerminate{ServiceName: "web", Err: "something else"})
	if n := strings.Count(out.String(), "\n"); n != 7+2 {
		t.Errorf("a hundred failures are %d lines:\n%s", n, out.String())
	}
}

func TestGreeting(t *testing.T) {
	for name, tt := range map[string]struct {
		g         greeting
		want, not []string
	}{
		"unclaimed": {greeting{at: "http://127.0.0.1:8480/", code: "AAAA-BBBB", state: "/s", program: []string{"./hearth", "run", "--dev"}},
			[]string{"Open this in a browser: http://127.0.0.1:8480/#AAAA-BBBB\n", "sudo ./hearth run --dev --state /s\n"}, []string{"Sign in"}},
		"go run": {greeting{at: "http://127.0.0.1:8480/", state: "/s", program: []string{"/t/go-build1/exe/hearth", "run", "--dev"}},
			[]string{"go build -o out/hearth", "sudo out/hearth run"}, nil},
		"flags": {greeting{at: "http://127.0.0.1:8480/", state: "/my s", program: []string{"./it's", "--state=my s", "run", "--dev", "--http", ":8080", "--client-port", "0"}},
			[]string{`sudo './it'\''s' '--state=my s' run --dev --http :8080 --client-port 0` + "\n"}, []string{"--state '/my s'"}},
		"claimed, as root": {greeting{at: "http://127.0.0.1:8480/", state: "/s", whose: api.Claimed, tunnel: true},
			[]string{"Sign in at http://127.0.0.1:8480/\n"}, []string{"browser:", "sudo"}},
	} {
		got := tt.g.String()
		for _, w := range tt.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q is missing from\n%s", name, w, got)
			}
		}
		for _, w := range tt.not {
			if strings.Contains(got, w) {
				t.Errorf("%s: %q stands in\n%s", name, w, got)
			}
		}
	}
	if got := webAddress(&net.TCPAddr{IP: net.IPv6unspecified, Port: 80}); strings.Contains(got, "[::]") {
		t.Errorf("a browser is to open %s", got)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
