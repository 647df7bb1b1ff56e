package appliance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/appliance/cli"
	"hearth.alt/services"
	"hearth.alt/services/secret"
)

// TestStateFolder says that a state folder that cannot be used gives one sentence.
func TestStateFolder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{file, filepath.Join(file, "below")} {
		var out, errs bytes.Buffer
		status := cli.Run(t.Context(), Program(), []string{"run", "--dev", "--state", state}, &out, &errs)
		if status != 1 || !strings.Contains(errs.String(), "because a file is in its place") || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%s: status %d, %q", state, status, errs.String())
		}
	}
	for _, tt := range []struct {
		cause error
		code  string
	}{
		{syscall.ENOSPC, "disk-full"}, {syscall.EDQUOT, "disk-full"}, {syscall.EROFS, "state-read-only"},
		{syscall.EACCES, "state-not-ours"}, {syscall.EPERM, "state-not-ours"}, {syscall.ENOTDIR, "state-no-folder"},
	} {
		err := explainState("/x", fmt.Errorf("making keys: %w", &os.PathError{Op: "open", Path: "/x/y", Err: tt.cause}))
		if !errors.Is(err, &services.Problem{Code: tt.code}) || !errors.Is(err, tt.cause) {
			t.Errorf("%v: %v, want the code %s", tt.cause, err, tt.code)
		}
	}
	if err := explainState("/x", io.EOF); !errors.Is(err, io.EOF) || errors.As(err, new(*services.Problem)) {
		t.Errorf("another error is explained as %v", err)
	}
	if err := explainState("/x", errInUse); !errors.Is(err, errInUse) {
		t.Errorf("a problem is explained as %v", err)
	}
}

// TestStateOfAnother names the bug: after a claim under sudo a start without it said that the household log was damaged.
func TestStateOfAnother(t *testing.T) {
	if state := os.Getenv("HEARTH_TEST_STATE"); state != "" {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		os.Exit(cli.Run(ctx, Program(), []string{"run", "--dev", "--state", state, "--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--dns", "127.0.0.1:0"}, os.Stdout, os.Stderr))
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: sudo go test ./appliance -run TestStateOfAnother")
	}
	dir := t.TempDir()
	this, err := os.ReadFile("/proc/self/exe")
	if err := errors.Join(err, os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "test") // go's own folder is closed to others
	if err := os.WriteFile(program, this, 0o755); err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	for name, tt := range map[string]struct {
		root string
		ends int
	}{
		"all of it": {"", 1}, "the household": {"identity", 1}, "a file that anybody reads": {"clock", 0},
	} {
		state := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Join(state, "identity"), 0o700), os.WriteFile(filepath.Join(state, "clock"), nil, 0o644)); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"", "identity", "clock"} {
			if path != tt.root && tt.root != "" {
				if err := os.Chown(filepath.Join(state, path), nobody, nobody); err != nil {
					t.Fatal(err)
				}
			}
		}
		child := exec.Command(program, "-test.run=^TestStateOfAnother$")
		child.Dir, child.Env = dir, append(os.Environ(), "HEARTH_TEST_STATE="+state)
		child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		out, err := child.CombinedOutput()
		if status := child.ProcessState.ExitCode(); status != tt.ends {
			t.Errorf("%s: ends with %d, %v, want %d:\n%s", name, status, err, tt.ends, out)
		}
		if want := "belong to root, "; tt.ends == 1 && (!strings.Contains(string(out), want) || !strings.Contains(string(out), "sudo chown -R 65534 '"+state+"'") || strings.Count(string(out), "\n") != 1) {
			t.Errorf("%s: %q is not in\n%s", name, want, out)
		}
	}
}

// TestConsoleOfALongPath names a bug: the program could not call a box whose admin.sock lies deeper than 108 bytes.
func TestConsoleOfALongPath(t *testing.T) {
	state := filepath.Join(t.TempDir(), strings.Repeat("a-long-name-", 8), strings.Repeat("and-another-", 8))
	h := openHouse(t, state)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.console.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	eventually(t, "the console is not ready", func() bool { return h.console.Health().Ready })
	if len(cli.SocketPath(state)) < 200 {
		t.Fatal("the path is not long")
	}
	verb := func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		status := cli.Run(t.Context(), Program(), append(args, "--state", state, "--json"), &out, &errs)
		return status, out.String(), errs.String()
	}
	status, out, errs := verb("status")
	var s api.Status
	if err := json.Unmarshal([]byte(out), &s); status != 0 || err != nil || s.Claimed || errs != "" {
		t.Fatalf("status: %d %q %q", status, out, errs)
	}
	// Refusals are one sentence, a code, and status 1.
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := h.kept()
	for _, tt := range []struct{ args, code string }{
		{"claim --household Smith --box Attic --owner Olga --password-file " + password, ""},
		{"claim --household Smith --box Attic --owner Olga", "missing"},
		{"claim --household \u202eSmith --box Attic --owner Olga --password-file " + password, "name-invalid"},
		{"person list", "unclaimed"},
		{"device add phone", "unclaimed"},
		{"device remove x", "unclaimed"},
		{"audit --limit x", "usage"},
	} {
		status, out, errs := verb(strings.Fields(tt.args)...)
		var f api.Failure
		if err := json.Unmarshal([]byte(out), &f); err != nil || status == 0 || tt.code != "" && f.Error.Code != tt.code || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: %d %q %q, want the code %s", tt.args, status, out, errs, tt.code)
		}
	}
	if h.kept() != before {
		t.Error("a refused verb changed something")
	}
	if _, err := h.webConfig.House.Claim(t.Context(), local, api.ClaimInput{Household: "Smith", Box: "Attic", Owner: "Olga", Password: secret.NewText("turtle lantern copper forty")}); err != nil {
		t.Fatal(err)
	}
	if status, out, errs := verb("person", "add", "Eve", "--role", "emperor"); status != 1 || !strings.Contains(out, `"bad-input"`) {
		t.Errorf("a role that is none: %d %q %q", status, out, errs)
	}
	if status, out, _ := verb("audit"); status != 0 || !strings.Contains(out, `"actor":"local"`) {
		t.Errorf("audit: %d %q", status, out)
	}
}
