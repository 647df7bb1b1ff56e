// Package box runs real Hearths for tests: the built program, its own processes, a state root of its own, on this
// computer or in a namespace of netlab. What it offers is what a person has: the ready line, the verbs, the pages.
package box

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Build says which program is wanted.
type Build struct {
	Tags   string // "crashpoints"
	Static bool   // needs no file of this machine, as on a device
	// Patches change the text of modules that the program is built with, so that a library can fail as libraries do.
	Patches []Patch
}

// Patch replaces Old, which must stand there once, by New in a file of a module.
type Patch struct{ Module, File, Old, New string }

var builds struct {
	mu   sync.Mutex
	dir  string
	made map[string]string
}

// Program builds the program once for a test binary and returns its path.
func Program(t testing.TB) string {
	t.Helper()
	return ProgramWith(t, Build{})
}

// ProgramWith builds a program of its own kind, once for a test binary.
func ProgramWith(t testing.TB, b Build) string {
	t.Helper()
	builds.mu.Lock()
	defer builds.mu.Unlock()
	key := fmt.Sprintf("%+v", b)
	if path := builds.made[key]; path != "" {
		return path
	}
	path, err := b.make(len(builds.made))
	if err != nil {
		t.Fatal(err)
	}
	if builds.made == nil {
		builds.made = map[string]string{}
	}
	builds.made[key] = path
	return path
}

// RemovePrograms removes what was built; a package's TestMain calls it at the end.
func RemovePrograms() {
	builds.mu.Lock()
	defer builds.mu.Unlock()
	if builds.dir != "" {
		os.RemoveAll(builds.dir)
	}
	builds.dir, builds.made = "", nil
}

// make builds into a folder that other users may enter: the keeper's child runs the program too.
func (b Build) make(n int) (string, error) {
	if builds.dir == "" {
		dir, err := os.MkdirTemp("", "hearth-test-")
		if err == nil {
			err = os.Chmod(dir, 0o755)
		}
		if err != nil {
			return "", err
		}
		builds.dir = dir
	}
	path := filepath.Join(builds.dir, fmt.Sprintf("hearth%d", n))
	args := []string{"build", "-trimpath", "-o", path}
	if b.Tags != "" {
		args = append(args, "-tags", b.Tags)
	}
	if len(b.Patches) > 0 {
		mod, err := b.patched(fmt.Sprintf("%s.src", path))
		if err != nil {
			return "", err
		}
		args = append(args, "-modfile", mod)
	}
	cmd := exec.Command("go", append(args, "hearth.alt/appliance/cmd/hearth")...)
	if b.Static {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building hearth: %w\n%s", err, out)
	}
	return path, nil
}

// patched copies the modules with their changes into dir and returns a go.mod that takes them from there.
func (b Build) patched(dir string) (mod string, err error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", err
	}
	root := strings.TrimSpace(string(out))
	text, err := os.ReadFile(root)
	if err != nil {
		return "", err
	}
	sums, err := os.ReadFile(strings.TrimSuffix(root, "mod") + "sum")
	if err != nil {
		return "", err
	}
	for i, p := range b.Patches {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", p.Module).Output()
		if err != nil {
			return "", fmt.Errorf("where is %s: %w", p.Module, err)
		}
		to := filepath.Join(dir, strconv.Itoa(i))
		if err := os.CopyFS(to, os.DirFS(strings.TrimSpace(string(out)))); err != nil {
			return "", err
		}
		file := filepath.Join(to, p.File)
		source, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		if n := bytes.Count(source, []byte(p.Old)); n != 1 {
			return "", fmt.Errorf("%s of %s has the text %d times, want once", p.File, p.Module, n)
		}
		// The module cache is read-only, and so is its copy.
		if err := os.Chmod(file, 0o644); err != nil {
			return "", err
		}
		if err := os.WriteFile(file, bytes.Replace(source, []byte(p.Old), []byte(p.New), 1), 0o644); err != nil {
			return "", err
		}
		text = fmt.Appendf(text, "\nreplace %s => %s\n", p.Module, to)
	}
	mod = filepath.Join(dir, "go.mod")
	return mod, errors.Join(os.WriteFile(mod, text, 0o644), os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644))
}

// Runner starts a command in some place: a namespace, a cgroup. It must call Start on it.
type Runner func(*exec.Cmd) error

// Options say how a Box is started.
type Options struct {
	Program string   // "" is Program(t)
	State   string   // "" is a fresh folder
	Args    []string // after "run"; nil is --dev --no-portmap with free ports
	Env     []string
	Start   Runner        // nil is (*exec.Cmd).Start
	Ready   time.Duration // 0 is 60 s: the machine may be busy
}

// Box is one running Hearth.
type Box struct {
	T     testing.TB
	State string
	HTTP  string // "http://127.0.0.1:41234"
	Claim string // the URL with the secret in its fragment; "" once claimed
	Cmd   *exec.Cmd

	opts Options
	log  *lockedBuffer
	done chan error
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
func (l *lockedBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

// Start starts a Box and waits for its ready line. It is stopped with the test; its log is shown when the test fails.
func Start(t testing.TB, o Options) *Box {
	t.Helper()
	b := New(t, o)
	b.Restart()
	return b
}

// New is Start without starting; TryStart and Restart start it.
func New(t testing.TB, o Options) *Box {
	t.Helper()
	if o.Program == "" {
		o.Program = Program(t)
	}
	if o.State == "" {
		// Not t.TempDir, which only its owner may enter: the keeper's child is somebody else.
		dir, err := os.MkdirTemp("", "hearth-state-")
		if err == nil {
			t.Cleanup(func() { os.RemoveAll(dir) })
			err = os.Chmod(dir, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		o.State = filepath.Join(dir, "state")
	}
	if o.Args == nil {
		o.Args = []string{"--dev", "--no-portmap", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--dns", "127.0.0.1:0"}
	}
	if o.Start == nil {
		o.Start = (*exec.Cmd).Start
	}
	if o.Ready == 0 {
		o.Ready = time.Minute
	}
	b := &Box{T: t, State: o.State, opts: o, log: &lockedBuffer{}}
	t.Cleanup(func() {
		b.Kill()
		if t.Failed() {
			t.Logf("log of the box:\n%s", b.log.String())
		}
	})
	return b
}

// SetEnv is the environment of the next start, besides this process's own.
func (b *Box) SetEnv(env ...string) { b.opts.Env = env }

// Ended says whether the program has ended by itself or was killed, waiting for it at most so long.
func (b *Box) Ended(within time.Duration) bool {
	select {
	case err := <-b.done: // looked at first, for within may be 0
		b.done <- err
		return true
	default:
	}
	select {
	case err := <-b.done:
		b.done <- err
		return true
	case <-time.After(within):
		return false
	}
}

// Restart starts the program again with the same state root; it must not be running.
func (b *Box) Restart() {
	b.T.Helper()
	if err := b.TryStart(); err != nil {
		b.T.Fatalf("starting the box: %v\n%s", err, b.log.String())
	}
}

// TryStart starts the program and waits for its ready line.
func (b *Box) TryStart() error {
	cmd := exec.Command(b.opts.Program, append([]string{"--state", b.State, "run"}, b.opts.Args...)...)
	cmd.Env = append(os.Environ(), b.opts.Env...)
	cmd.Stderr = b.log
	out, w, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdout = w
	err = b.opts.Start(cmd)
	w.Close()
	if err != nil {
		out.Close()
		return err
	}
	b.Cmd, b.done = cmd, make(chan error, 1)
	line := make(chan string, 1)
	go func() {
		defer out.Close()
		r := bufio.NewReader(out)
		first, _ := r.ReadString('\n')
		line <- first
		io.Copy(b.log, r)
	}()
	go func() { b.done <- cmd.Wait() }()
	select {
	case l := <-line:
		return b.ready(l)
	case <-time.After(b.opts.Ready):
		b.Kill()
		return fmt.Errorf("no ready line within %v", b.opts.Ready)
	}
}

func (b *Box) ready(line string) error {
	words := strings.Fields(line)
	if len(words) < 3 || words[0] != "hearth" || words[1] != "ready" {
		return fmt.Errorf("the ready line is %q", line)
	}
	b.Claim = ""
	for _, w := range words[2:] {
		if a, ok := strings.CutPrefix(w, "http="); ok {
			b.HTTP = "http://" + a
		}
		if a, ok := strings.CutPrefix(w, "claim="); ok {
			b.Claim = a
		}
	}
	return nil
}

// Code returns the claim secret from the ready line's URL.
func (b *Box) Code() string {
	b.T.Helper()
	u, err := url.Parse(b.Claim)
	if err != nil || u.Fragment == "" {
		b.T.Fatalf("the ready line holds no claim secret: %q", b.Claim)
	}
	return u.Fragment
}

// Stop sends SIGTERM and wants a clean end within the promised five seconds, doubled for a busy machine.
func (b *Box) Stop() {
	b.T.Helper()
	b.Cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-b.done:
		b.done <- nil
		if err != nil {
			b.T.Errorf("the box ended with %v, want exit status 0", err)
		}
	case <-time.After(10 * time.Second):
		b.T.Error("the box did not stop")
		b.Kill()
	}
}

// Kill pulls the plug: SIGKILL, and waits for the end. Killing one that has ended is harmless.
func (b *Box) Kill() {
	if b.Cmd == nil {
		return
	}
	b.Cmd.Process.Kill()
	err := <-b.done
	b.done <- err
}

// Log is what the program said so far.
func (b *Box) Log() string { return b.log.String() }

// Failure is the error of a verb that was refused.
type Failure struct {
	Status int
	Error  struct{ Code, Message, Field string }
	Stderr string
}

// TryDo runs a verb with --json and decodes its answer into out (nil is not wanted).
func (b *Box) TryDo(out any, args ...string) *Failure {
	b.T.Helper()
	ctx, cancel := context.WithTimeout(b.T.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.opts.Program, append(append([]string{"--state", b.State}, args...), "--json")...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		f := &Failure{Status: exit.ExitCode(), Stderr: stderr.String()}
		json.Unmarshal(stdout.Bytes(), f)
		return f
	}
	if err != nil {
		b.T.Fatalf("hearth %s: %v", strings.Join(args, " "), err)
	}
	if out != nil {
		if err := json.Unmarshal(stdout.Bytes(), out); err != nil {
			b.T.Fatalf("hearth %s answered %q: %v", strings.Join(args, " "), &stdout, err)
		}
	}
	return nil
}

// Do runs a verb that must succeed.
func (b *Box) Do(out any, args ...string) {
	b.T.Helper()
	if f := b.TryDo(out, args...); f != nil {
		b.T.Fatalf("hearth %s: status %d: %s", strings.Join(args, " "), f.Status, f.Stderr)
	}
}

// Password is what ClaimSmith gives the owner.
const Password = "a kettle sings on the stove"

// ClaimSmith claims the box over its console for household Smith, box Study, owner Ann, and confirms the words.
func (b *Box) ClaimSmith() []string {
	b.T.Helper()
	return b.ClaimFor("Smith", "Study", "Ann")
}

// ClaimFor is ClaimSmith for any household, box and owner.
func (b *Box) ClaimFor(household, name, owner string) []string {
	b.T.Helper()
	dir := b.T.TempDir()
	file := filepath.Join(dir, "password")
	if err := os.WriteFile(file, []byte(Password+"\n"), 0o600); err != nil {
		b.T.Fatal(err)
	}
	var claimed struct{ Words []string }
	b.Do(&claimed, "claim", "--household", household, "--box", name, "--owner", owner, "--password-file", file)
	words := filepath.Join(dir, "words")
	if err := os.WriteFile(words, []byte(strings.Join(claimed.Words, " ")), 0o600); err != nil {
		b.T.Fatal(err)
	}
	b.Do(nil, "recover", "check", "--words-file", words)
	return claimed.Words
}
