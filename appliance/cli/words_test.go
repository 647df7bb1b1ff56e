package cli

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hearth.alt/appliance/api"
	"hearth.alt/appliance/textqr"
)

// TestErrorsSayTheNextStep names bugs: errors in Go's words, one missing flag at a time, and without a next step.
func TestErrorsSayTheNextStep(t *testing.T) {
	state := t.TempDir()
	for _, tt := range []struct {
		args   string
		status int
		code   string
		want   []string
	}{
		{"bogus", 2, "usage", []string{`there is no verb "bogus"`, "see hearth --help"}},
		{"help nope", 2, "usage", []string{`there is no verb "nope"`, "see hearth --help"}}, // was help, and 0
		{"help person nope", 2, "usage", []string{`there is no verb "person nope"`}},
		{"--bogus", 2, "usage", []string{"there is no flag --bogus", "see hearth --help"}},
		{"device bogus", 2, "usage", []string{"see hearth device --help"}},
		{"person", 2, "usage", []string{"needs a verb", "see hearth person --help"}},
		{"audit --limit abc", 2, "usage", []string{"--limit wants a whole number", `"abc"`, "see hearth audit --help"}},
		{"person add X", 1, "missing", []string{"--role (owner, admin, member or guest)"}},
		{"claim", 1, "missing", []string{"--household, --box, --owner and --password-file"}},
		{"recover check", 1, "missing", []string{"--words-file", "See hearth recover check --help"}},
	} {
		status, out, errs := run(t, append(strings.Fields(tt.args), "--json", "--state", state)...)
		if status != tt.status || strings.Count(errs, "\n") != 1 || strings.Contains(errs, "strconv") {
			t.Errorf("%s: status %d, %q", tt.args, status, errs)
		}
		if got := code(t, out); got != tt.code {
			t.Errorf("%s: the code is %q, want %q", tt.args, got, tt.code)
		}
		for _, w := range tt.want {
			if !strings.Contains(errs, w) {
				t.Errorf("%s: %q lacks %q", tt.args, errs, w)
			}
		}
	}
}

// TestGroupsSayWhatTheyAreFor names a bug: hearth --help said of each group to see its help.
func TestGroupsSayWhatTheyAreFor(t *testing.T) {
	for _, c := range New(Program{}).Commands() {
		if c.Short == "" || strings.HasPrefix(c.Short, "See") {
			t.Errorf("%s: %q", c.Name(), c.Short)
		}
	}
}

// TestTheBoxGoesAway names a bug: a box that died during a call was told in the words of Go's HTTP client.
func TestTheBoxGoesAway(t *testing.T) {
	state := t.TempDir()
	path := SocketPath(state)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	status, out, errs := run(t, "status", "--json", "--state", state)
	if status != 1 || code(t, out) != ErrNoAnswer.Code || strings.TrimSpace(errs) != ErrNoAnswer.Say.String() {
		t.Errorf("status %d, stdout %q, stderr %q", status, out, errs)
	}
}

func shown(t *testing.T, name string, answer any) string {
	t.Helper()
	b, err := json.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range api.Table() {
		if o.Name == name {
			var out bytes.Buffer
			if err := show(&out, o, b); err != nil {
				t.Fatal(err)
			}
			return out.String()
		}
	}
	t.Fatalf("no verb %q", name)
	return ""
}

// TestPeopleReadTheTables names bugs: times to the nanosecond, whole user agents and IDs of persons, nothing at all for
// an empty list, a PNG in base64, as a device's code whatever had several lines last, and values under another column's
// name after a field that one row lacks.
func TestPeopleReadTheTables(t *testing.T) {
	agent := "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
	for name, tt := range map[string]struct {
		verb      string
		answer    any
		want, not []string
	}{
		"sessions":   {"session list", []any{map[string]any{"id": "s1", "person": "jxecz5ke", "browser": agent, "seen": "2026-11-21T14:23:37.414105882Z"}}, []string{"Firefox · Linux", "BROWSER", "s1"}, []string{"jxecz5ke", "Mozilla", ".414"}},
		"no browser": {"session list", []any{map[string]any{"browser": strings.Repeat("long ", 40)}}, []string{"long", "…"}, []string{strings.Repeat("long ", 10)}},
		"events":     {"audit", []any{map[string]any{"actor": "Ann", "object": strings.Repeat("long ", 40)}}, []string{"long", "…"}, []string{strings.Repeat("long ", 10)}},
		"no devices": {"device list", []any{}, []string{"no phones or laptops"}, nil},
		"no dispute": {"recover dispute", []any{}, []string{"Nobody is suspended"}, nil},
		"devices":    {"device list", []any{json.RawMessage(`{"id":"d1","name":"Laptop","last_handshake":null}`)}, []string{"NAME    LAST HANDSHAKE  ID\n", "never"}, []string{" \n"}},
		"fields that are left out": {
			"recover dispute", []any{json.RawMessage(`{"kind":"person","name":"Ann","by":"Ben","id":"a1"}`), json.RawMessage(`{"kind":"remover","name":"Study","kept":["Barn"],"id":"b1"}`)},
			[]string{"KIND     NAME   BY   KEPT  ID\nperson   Ann    Ben  -     a1\nremover  Study  -    Barn  b1\n"}, nil,
		},
		"a device":    {"device add", json.RawMessage(`{"id":"d1","name":"Laptop","config":"[Interface]\nPrivateKey = x\n","png":"iVBORw0KGgo="}`), []string{"PrivateKey = x", "█"}, []string{"png", "iVBOR"}},
		"its code":    {"device add", json.RawMessage(`{"config":"[Interface]\nPrivateKey = x\n","reach":"two\nlines","png":"iVBORw0KGgo="}`), []string{textqr.Draw("[Interface]\nPrivateKey = x\n")}, nil},
		"its own key": {"device add", json.RawMessage(`{"id":"d1","name":"Laptop","config":"[Interface]\nAddress = y\n"}`), []string{"Address = y"}, []string{"█"}},
	} {
		got := shown(t, tt.verb, tt.answer)
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
}
