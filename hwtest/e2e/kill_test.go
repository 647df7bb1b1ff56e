package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"hearth.alt/appliance/keeper"
	"hearth.alt/hwtest/box"
	"hearth.alt/hwtest/netlab"
)

// fatal is a datagram at which the patched library panics: 32 bytes, the least that WireGuard looks at.
const fatal = "this packet finds a library's bug"

// panicking is the program with a bug in a library: its WireGuard panics at one packet, in a goroutine that nobody of
// ours started or could recover in.
var panicking = box.Build{Patches: []box.Patch{{
	Module: "github.com/tailscale/wireguard-go", File: "device/receive.go",
	Old: "			packet := meta.Bytes(buf.slab)\n",
	New: "			packet := meta.Bytes(buf.slab)\n			if string(packet) == \"" + fatal + "\" {\n				panic(\"a bug in a library\")\n			}\n",
}}}

// child is the process id of the keeper's child.
func (h *home) child() (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", h.Cmd.Process.Pid, h.Cmd.Process.Pid))
	if err == nil && len(bytes.Fields(b)) > 0 {
		return strconv.Atoi(string(bytes.Fields(b)[0]))
	}
	// The child belongs to the thread that made it, which is not the first.
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", h.Cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for _, task := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", h.Cmd.Process.Pid, task.Name()))
		if f := bytes.Fields(b); err == nil && len(f) > 0 {
			return strconv.Atoi(string(f[0]))
		}
	}
	return 0, errors.New("the keeper has no child")
}

func (h *home) mustChild() int {
	h.t.Helper()
	var pid int
	within(h.t, 20*time.Second, "no child", func() (err error) { pid, err = h.child(); return err })
	return pid
}

// processStatus reads lines of /proc/PID/status.
func processStatus(t *testing.T, pid int) map[string]string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(line, ":")
		out[k] = strings.TrimSpace(v)
	}
	return out
}

// unprivileged wants a process of another user that can do nothing and gain nothing.
func unprivileged(t *testing.T, pid int) {
	t.Helper()
	s := processStatus(t, pid)
	for _, uid := range strings.Fields(s["Uid"] + " " + s["Gid"]) {
		if uid == "0" {
			t.Errorf("the child runs with uid %q, gid %q", s["Uid"], s["Gid"])
		}
	}
	if s["Groups"] != "" {
		t.Errorf("the child is in groups %q", s["Groups"])
	}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if strings.Trim(s[set], "0") != "" || s[set] == "" {
			t.Errorf("the child's %s is %q", set, s[set])
		}
	}
	if s["NoNewPrivs"] != "1" {
		t.Errorf("the child may gain privileges")
	}
}

// backIn is how long the tunnel and names may be away. A stock phone by itself asks again after fifteen seconds; the
// box does not wait for that.
const backIn = 12 * time.Second

// back waits until a phone that does nothing but go on has ping, names and the page again.
func (h *home) back(p *netlab.Phone, what string) {
	h.t.Helper()
	began := time.Now()
	if err := p.Host.Answers(limit(h.t, backIn), p.Stock.DNS[0]); err != nil {
		h.t.Fatalf("after %s: %v", what, err)
	}
	ping := time.Since(began)
	for _, at := range p.Stock.DNS {
		if err := answersDNS(h.t, p, at, backIn-time.Since(began)); err != nil {
			h.t.Fatalf("after %s: names: %v", what, err)
		}
	}
	h.t.Logf("after %s: ping back in %v, names in %v", what, ping.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	within(h.t, 10*time.Second, "after "+what+": the page", func() error {
		resp, _, err := h.tunnel(p, dns.TypeA).try("GET", "/signin", nil)
		if err == nil && resp.StatusCode != 200 {
			err = errors.New(resp.Status)
		}
		return err
	})
}

// The unprivileged process dies in every way that a process can; the keeper starts it again, and the phone is back in
// seconds without doing anything. Then the keeper dies, and takes the child with it.
func TestKills(t *testing.T) {
	t.Parallel()
	h := newSmiths(t, box.Options{Program: box.ProgramWith(t, panicking), Args: twoProcesses})
	p, _ := h.phone("Ann", "Ann's phone")
	neighbour := h.lanHost()
	unprivileged(t, h.mustChild())
	for _, death := range []struct {
		name string
		kill func(t *testing.T, pid int)
	}{
		{"kill -9", func(t *testing.T, pid int) { unix.Kill(pid, unix.SIGKILL) }},
		{"SIGABRT", func(t *testing.T, pid int) { unix.Kill(pid, unix.SIGABRT) }},
		{"a panic in a library", func(t *testing.T, _ int) {
			c, err := neighbour.ListenPacket("udp4", "0.0.0.0:0")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.WriteTo([]byte(fatal), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(boxAt4+":51820")))
		}},
		{"no memory left", func(t *testing.T, pid int) {
			// What it has is all it gets: the next sign-in's 64 MiB are refused, and Go ends the process.
			// Asked as the child's own user, who may lower it: root in a container may not.
			cmd := exec.Command("prlimit", "--pid", strconv.Itoa(pid), "--as=1048576")
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: keeper.ChildUID, Gid: keeper.ChildGID, Groups: []uint32{}}}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			b := h.browser(neighbour, "https://"+boxAt4)
			for range 20 {
				if _, _, err := b.try("POST", "/signin", url.Values{"name": {"Ann"}, "password": {"wrong and wrong again"}}); err != nil {
					return
				}
			}
			t.Error("the child lives without memory")
		}},
	} {
		t.Run(death.name, func(t *testing.T) {
			old := h.mustChild()
			death.kill(t, old)
			within(t, 10*time.Second, "the child does not end", func() error { return gone(old) })
			h.back(p, death.name)
			fresh := h.mustChild()
			if fresh == old {
				t.Error("it is the same child")
			}
			unprivileged(t, fresh)
		})
		time.Sleep(200 * time.Millisecond)
	}
	t.Run("the keeper is killed", func(t *testing.T) {
		old := h.mustChild()
		h.Kill()
		within(t, 5*time.Second, "the child outlives its keeper", func() error { return gone(old) })
		h.Restart() // as process 1 does on a device
		h.back(p, "the keeper's death")
		unprivileged(t, h.mustChild())
	})
	if d := h.devices()["Ann's phone"]; !d.Paired {
		t.Errorf("after all that: %+v", d)
	}
	if strings.Count(h.Log(), "a bug in a library") != 1 {
		t.Error("the library did not panic once")
	}
}

func gone(pid int) error {
	err := unix.Kill(pid, 0)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	if b, e := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); e == nil && strings.Contains(string(b), ") Z ") {
		return nil
	}
	return fmt.Errorf("process %d is there: %v", pid, err)
}

// A neighbour at home who sends packets for the tunnel's addresses to the box finds nobody there, not even in the
// moments in which the box starts: the tunnel's faces open when its rules are in force, and not before.
func TestNeighbourDuringRestarts(t *testing.T) {
	t.Parallel()
	h := newSmiths(t, box.Options{Args: twoProcesses})
	p, _ := h.phone("Ann", "Ann's phone")
	thief := h.other("thief")
	thief.Port("eth0").Route(netip.PrefixFrom(p.Stock.DNS[0], 24), addr(boxAt4))
	stop := make(chan struct{})
	var tries atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			err := thief.Do(func() error {
				for {
					select {
					case <-stop:
						return nil
					default:
					}
					tries.Add(1)
					c, err := net.DialTimeout("tcp4", netip.AddrPortFrom(p.Stock.DNS[0], 80).String(), 5*time.Millisecond)
					if err != nil {
						continue
					}
					// The page of the home network may answer on every address of the box; the private ones may not.
					c.SetDeadline(time.Now().Add(time.Second))
					fmt.Fprintf(c, "GET /signin HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", boxName)
					answer, _ := io.ReadAll(c)
					c.Close()
					if bytes.HasPrefix(answer, []byte("HTTP/1.1 200")) {
						return errors.New("the tunnel's face answered a neighbour")
					}
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	for range 3 {
		old := h.mustChild()
		unix.Kill(old, unix.SIGKILL)
		within(t, 10*time.Second, "the child does not end", func() error { return gone(old) })
		h.back(p, "kill -9")
	}
	h.Kill()
	h.Restart()
	h.back(p, "the keeper's death")
	close(stop)
	wg.Wait()
	t.Logf("%d tries", tries.Load())
}
