package keeper_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// house is a keeper process with its child, in the network namespace of the tests.
type house struct {
	state   string
	cmd     *exec.Cmd
	reports chan report
	log     *bytes.Buffer
	ended   chan error
}

// open copies this program to where every user may run it, and starts it as a keeper.
func open(t *testing.T, child string) *house {
	t.Helper()
	needsRoot(t)
	dir, err := os.MkdirTemp("", "keeper-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "hearth")
	to, err := os.OpenFile(program, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, self); err != nil {
		t.Fatal(err)
	}
	to.Close()
	self.Close()

	h := &house{state: filepath.Join(dir, "state"), reports: make(chan report, 64), log: &bytes.Buffer{}, ended: make(chan error, 1)}
	// What an earlier run as root left is handed over; a second name for another's file is not.
	os.MkdirAll(filepath.Join(h.state, "dns"), 0o700)
	os.WriteFile(filepath.Join(h.state, "dns", "zone"), nil, 0o600)
	os.WriteFile(filepath.Join(dir, "foreign"), nil, 0o600)
	os.Link(filepath.Join(dir, "foreign"), filepath.Join(h.state, "dns", "linked"))
	os.Symlink(filepath.Join(dir, "foreign"), filepath.Join(h.state, "dns", "symlink"))

	h.cmd = exec.Command(program)
	h.cmd.Env = []string{"KEEPER_PLAY=keeper", "PLAY_CHILD=" + child, "PLAY_STATE=" + h.state, "PATH=" + os.Getenv("PATH")}
	h.cmd.Stderr = h.log
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var r report
			if err := json.Unmarshal(lines.Bytes(), &r); err == nil {
				h.reports <- r
			}
		}
		close(h.reports)
		h.ended <- h.cmd.Wait()
	}()
	t.Cleanup(func() {
		h.cmd.Process.Kill()
		for range h.reports {
		}
		if t.Failed() {
			t.Logf("the keeper's log:\n%s", h.log)
		}
	})
	return h
}

func (h *house) next(t *testing.T) report {
	t.Helper()
	select {
	case r, ok := <-h.reports:
		if !ok {
			t.Fatal("the keeper ended")
		}
		return r
	case <-time.After(30 * time.Second):
		t.Fatal("the child does not speak")
	}
	panic("not reached")
}

// alive says whether a process is there and not only waiting to be buried.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(b, []byte(") "))
	return len(rest) > 0 && rest[0] != 'Z' && rest[0] != 'X'
}

func waitDead(t *testing.T, pid int, within time.Duration) {
	t.Helper()
	for deadline := time.Now().Add(within); alive(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("process %d is alive after %v", pid, within)
			return
		}
	}
}

func TestChildHasNoPrivileges(t *testing.T) {
	h := open(t, "child")
	r := h.next(t)
	if len(r.Problems) > 0 {
		t.Errorf("what must work does not: %q", r.Problems)
	}
	if len(r.Broken) > 0 {
		t.Errorf("what must not work does: %q", r.Broken)
	}
	if r.UID != 64001 || r.GID != 64001 || len(r.Groups) != 0 {
		t.Errorf("uid %d, gid %d, groups %v", r.UID, r.GID, r.Groups)
	}
	const none = "0000000000000000"
	for name, want := range map[string]string{
		"Uid": "64001\t64001\t64001\t64001", "Gid": "64001\t64001\t64001\t64001", "Groups": "",
		"CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": none, "CapAmb": none, "NoNewPrivs": "1",
	} {
		if got := r.Status[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if r.OOM != "300" || r.Core != 0 {
		t.Errorf("oom_score_adj %s, core limit %d", r.OOM, r.Core)
	}
	sockets := 0
	for _, to := range r.Descriptors {
		kind, _, _ := strings.Cut(to, ":")
		switch {
		case kind == "socket":
			sockets++
		case kind == "pipe" || kind == "anon_inode" || to == os.DevNull || strings.HasPrefix(to, "/sys/fs/cgroup/"): // output, and what the Go runtime opens
		default:
			t.Errorf("the child has %q open", to)
		}
	}
	if sockets != 1 {
		t.Errorf("%d sockets among %q, want the keeper's only", sockets, r.Descriptors)
	}
	if len(r.Args) != 1 || r.Args[0] != "run" {
		t.Errorf("arguments %q", r.Args)
	}

	st := func(name string) (*syscall.Stat_t, fs.FileMode) {
		info, err := os.Lstat(filepath.Join(h.state, name))
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t), info.Mode()
	}
	for name, want := range map[string]struct {
		uid  uint32
		mode fs.FileMode
	}{
		".": {0, fs.ModeDir | fs.ModeSticky | 0o775}, "secrets": {0, fs.ModeDir | 0o700}, "secrets/device": {0, 0o600}, "secrets/client": {0, 0o600},
		"dns": {64001, fs.ModeDir | 0o700}, "dns/zone": {64001, 0o600}, "dns/linked": {0, 0o600}, "dns/symlink": {64001, fs.ModeSymlink | 0o777},
	} {
		if s, mode := st(name); s.Uid != want.uid || mode != want.mode {
			t.Errorf("%s is %d's with mode %v, want %d's with %v", name, s.Uid, mode, want.uid, want.mode)
		}
	}
}

func TestKilledChildComesBack(t *testing.T) {
	h := open(t, "child")
	first := h.next(t)
	index := func() int {
		link, err := netlink.LinkByName(first.TUN)
		if err != nil {
			t.Fatal(err)
		}
		return link.Attrs().Index
	}
	var slowest time.Duration
	last := first
	for i := range 20 {
		if err := syscall.Kill(last.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if got := index(); got != first.Index {
			t.Fatalf("kill %d: the interface's index is %d, was %d", i+1, got, first.Index)
		}
		last = h.next(t)
		took := time.Since(began)
		slowest = max(slowest, took)
		if len(last.Problems) > 0 || len(last.Broken) > 0 {
			t.Fatalf("kill %d: %q %q", i+1, last.Problems, last.Broken)
		}
		if last.TUN != first.TUN || last.Index != first.Index || !last.Kept || last.PeerID != first.PeerID {
			t.Fatalf("kill %d: %+v, first %+v", i+1, last, first)
		}
		c, err := net.DialTimeout("tcp", "127.0.0.1:80", 5*time.Second)
		if err != nil {
			t.Fatalf("kill %d: the listener: %v", i+1, err)
		}
		if b, err := io.ReadAll(c); string(b) != fmt.Sprint(last.PID) {
			t.Errorf("kill %d: %q, %v answers, want %d", i+1, b, err, last.PID)
		}
		c.Close()
	}
	t.Logf("slowest of 20 from kill to listening again: %v", slowest)
}

// TestAnotherDeviceKeyStartsEverythingAgain: the child that adopted it ends, and the next one is the new box.
func TestAnotherDeviceKeyStartsEverythingAgain(t *testing.T) {
	h := open(t, "renewing")
	first := h.next(t)
	again := h.next(t)
	if first.PeerID == first.Next || again.PeerID != first.Next || !again.Next.IsZero() {
		t.Errorf("%v wanted to be %v and is %v", first.PeerID, first.Next, again.PeerID)
	}
	h.cmd.Process.Signal(syscall.SIGTERM)
	for range h.reports {
	}
	if err := <-h.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
	if n := strings.Count(h.log.String(), "is started again"); n != 0 {
		t.Errorf("the end of a child that adopted a key counts as its failure:\n%s", h.log)
	}
}

func TestStopping(t *testing.T) {
	t.Run("a good child", func(t *testing.T) {
		h := open(t, "child")
		r := h.next(t)
		began := time.Now()
		h.cmd.Process.Signal(syscall.SIGTERM)
		for range h.reports {
		}
		if err := <-h.ended; err != nil || time.Since(began) > 10*time.Second {
			t.Errorf("ended with %v after %v", err, time.Since(began))
		}
		waitDead(t, r.PID, time.Second)
		if out, err := exec.Command("nft", "list", "ruleset").CombinedOutput(); err == nil && strings.Contains(string(out), "hearth_hearth0") {
			t.Errorf("a laptop's table is left behind: %s", out)
		}
		if _, err := netlink.LinkByName(r.TUN); err == nil {
			t.Error("the interface is left behind")
		}
	})
	t.Run("a stubborn child", func(t *testing.T) {
		h := open(t, "stubborn")
		r := h.next(t)
		began := time.Now()
		h.cmd.Process.Signal(syscall.SIGTERM)
		for range h.reports {
		}
		if err := <-h.ended; err != nil || time.Since(began) > 10*time.Second {
			t.Errorf("ended with %v after %v", err, time.Since(began))
		}
		waitDead(t, r.PID, time.Second)
		waitDead(t, r.Index, time.Second) // its worker
	})
	t.Run("a killed child's workers", func(t *testing.T) {
		h := open(t, "stubborn")
		r := h.next(t)
		syscall.Kill(r.PID, syscall.SIGKILL)
		waitDead(t, r.Index, 5*time.Second)
	})
	t.Run("the keeper is killed", func(t *testing.T) {
		for _, child := range []string{"child", "stubborn"} {
			h := open(t, child)
			r := h.next(t)
			h.cmd.Process.Kill()
			waitDead(t, r.PID, 3*time.Second)
		}
	})
}
