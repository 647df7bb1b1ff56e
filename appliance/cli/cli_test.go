package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"hearth.alt/appliance/api"
	"hearth.alt/services/secret"
)

func run(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = Run(t.Context(), Program{Version: "test"}, args, &out, &errs)
	return status, out.String(), errs.String()
}

// TestEveryVerb asks each verb of the table for its help, with too many words, with an unknown flag, and where no box
// runs; with --state before and after it.
func TestEveryVerb(t *testing.T) {
	state := t.TempDir()
	file := filepath.Join(state, "file")
	if err := os.WriteFile(file, []byte("words\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range api.Table() {
		t.Run(o.Name, func(t *testing.T) {
			verb := strings.Fields(o.Name)
			status, out, _ := run(t, append(verb, "--help")...)
			if status != 0 || !strings.Contains(out, o.Summary) || !strings.Contains(out, "--json") {
				t.Errorf("--help: status %d: %s", status, out)
			}
			var words []string
			for _, f := range o.Fields() {
				switch {
				case f.Arg != "":
					word := "word"
					if f.Upload {
						word = file
					}
					words = append(words, word)
					if !strings.Contains(out, f.Arg) {
						t.Errorf("--help does not show %s", f.Arg)
					}
				case f.File != "":
					if !strings.Contains(out, "--"+f.File+"-file") {
						t.Errorf("--help does not show --%s-file", f.File)
					}
				case !strings.Contains(out, "--"+f.Flag):
					t.Errorf("--help does not show --%s", f.Flag)
				}
				if f.Help == "" {
					t.Errorf("%s has no help", f.Name)
				}
			}
			for what, args := range map[string][]string{
				"too many words":  append(append(append([]string{}, verb...), words...), "more"),
				"an unknown flag": append(append(append([]string{}, verb...), words...), "--no-such-flag"),
			} {
				status, out, errs := run(t, append(args, "--json")...)
				if status != 2 || strings.Count(errs, "\n") != 1 || code(t, out) != "usage" {
					t.Errorf("%s: status %d, stdout %q, stderr %q; want 2, code usage and one line", what, status, out, errs)
				}
			}
			plain := append(append([]string{}, verb...), words...)
			for _, f := range o.Fields() {
				switch {
				case f.Arg != "" || f.Optional:
				case f.File != "":
					plain = append(plain, "--"+f.File+"-file", file)
				default:
					plain = append(plain, "--"+f.Flag, "word")
				}
			}
			for what, args := range map[string][]string{
				"--state before": append([]string{"--state", state}, plain...),
				"--state after":  append(append([]string{}, plain...), "--state", state),
				"--state=":       append(append([]string{}, plain...), "--state="+state),
			} {
				status, out, errs := run(t, append(args, "--json")...)
				if status != 1 || code(t, out) != ErrNotRunning.Code || strings.TrimSpace(errs) != ErrNotRunning.Say.String() {
					t.Errorf("%s, no box: status %d, stdout %q, stderr %q", what, status, out, errs)
				}
			}
		})
	}
}

func code(t *testing.T, out string) string {
	t.Helper()
	var f api.Failure
	if err := json.Unmarshal([]byte(out), &f); err != nil {
		t.Errorf("%q is no failure in JSON: %v", out, err)
	}
	return f.Error.Code
}

func TestNotUnderstood(t *testing.T) {
	for _, args := range [][]string{{"nonsense"}, {"person", "nonsense"}, {"device", "nonsense", "--json"}, {"--nonsense"}, {"status", "--state"}} {
		status, _, errs := run(t, args...)
		if status != 2 || errs == "" {
			t.Errorf("%q: status %d, stderr %q; want 2 and a sentence", args, status, errs)
		}
	}
	for _, args := range [][]string{{}, {"person"}, {"--help"}, {"--version"}} {
		if status, out, errs := run(t, args...); status != 0 || out == "" || errs != "" {
			t.Errorf("%q: status %d, stdout %q, stderr %q; want help and 0", args, status, out, errs)
		}
	}
}

func TestFilesOfVerbs(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, make([]byte, 65<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{filepath.Join(dir, "missing"), dir, large} {
		status, out, errs := run(t, "claim", "--household", "H", "--box", "B", "--owner", "O", "--password-file", file, "--state", dir, "--json")
		if status != 1 || code(t, out) != "file" || !strings.Contains(errs, file) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: status %d, stdout %q, stderr %q", file, status, out, errs)
		}
	}
}

// TestSecretsAreNotFlags says that no secret can be given on a command line, where every user of the machine reads it.
func TestSecretsAreNotFlags(t *testing.T) {
	for _, o := range api.Table() {
		for _, f := range o.Fields() {
			if strings.Contains(f.Type.String(), "secret.") && f.File == "" || f.Name == "words" && f.File == "" {
				t.Errorf("%s: %s (%v) is a flag", o.Name, f.Name, f.Type)
			}
			if f.Type.Kind() == reflect.Bool && f.Arg != "" {
				t.Errorf("%s: %s is a word and a bool", o.Name, f.Name)
			}
		}
	}
}

// TestShowObeysNoText: what strangers choose, such as the name of their browser, went to the terminal with its escapes.
func TestShowObeysNoText(t *testing.T) {
	got := shown(t, "session list", []api.SessionOutput{{ID: "a", Browser: "x\u009b2J\u001b[31mOWNED\u202e\u2028evil\ttab \u200b👩\u200d👧"}})
	if want := "x?2J?[31mOWNED??evil?tab ?👩\u200d👧"; !strings.Contains(got, want) {
		t.Errorf("shown as %q, want %q in it", got, want)
	}
	const lines = "[Interface]\nDNS = 10.0.0.1"
	if got := shown(t, "device add", api.AddDeviceOutput{Config: secret.Show(secret.NewText(lines))}); !strings.Contains(got, lines) {
		t.Errorf("a configuration is shown as %q", got)
	}
}
