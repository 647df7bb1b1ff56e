package keeper_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tailscale/wireguard-go/tun"
	"golang.org/x/sys/unix"

	"hearth.alt/appliance/keeper"
	"hearth.alt/services"
	"hearth.alt/services/firewall"
)

// The parts that this program plays besides the tests, by KEEPER_PLAY.
var plays = map[string]func() int{
	"keeper": playKeeper, "child": playChild, "stubborn": playStubborn, "worker": playWorker, "secrets": playSecrets, "renewing": playRenewing,
}

func fail(what string, err error) int {
	fmt.Fprintf(os.Stderr, "play: %s: %v\n", what, err)
	return 3
}

// playKeeper is the privileged process: it runs PLAY_CHILD as its child.
func playKeeper() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	state := os.Getenv("PLAY_STATE")
	for {
		l, err := keeper.NewLocal(config(state))
		if err != nil {
			return fail("local", err)
		}
		err = keeper.Run(ctx, keeper.RunConfig{
			Args: []string{"run"}, Env: []string{"KEEPER_PLAY=" + os.Getenv("PLAY_CHILD"), "PLAY_STATE=" + state}, Memory: 512 << 20,
			Steady: time.Millisecond, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		}, l)
		l.Close()
		switch {
		case errors.Is(err, keeper.ErrAdopted):
		case err != nil:
			return fail("run", err)
		default:
			return 0
		}
	}
}

// playRenewing is a child that takes another device key in its first life. In each it says who the box is and, as
// Next, who it will be.
func playRenewing() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	k, err := keeper.FromParent(ctx)
	if err != nil {
		return fail("dial", err)
	}
	r := report{PID: os.Getpid(), PeerID: k.PeerID()}
	first := os.Mkdir(filepath.Join(os.Getenv("PLAY_STATE"), "renewed"), 0o700) == nil
	if first {
		if r.Next, err = k.NextDevice(ctx); err != nil {
			return fail("next", err)
		}
		if err := k.AdoptDevice(ctx, r.Next); err != nil {
			return fail("adopt", err)
		}
	}
	line, _ := json.Marshal(r)
	fmt.Printf("%s\n", line)
	if !first {
		<-ctx.Done()
	}
	return 0
}

// report is what the child says of itself, one line of JSON.
type report struct {
	PID, UID, GID int
	Groups        []int
	Status        map[string]string // of /proc/self/status
	OOM           string
	Core          uint64
	Descriptors   []string
	Args          []string
	Problems      []string // of what must work
	Broken        []string // what must not work and did
	TUN           string
	Index         int
	Kept          bool
	PeerID, Next  services.PeerID
}

var tunSpec = keeper.TUNSpec{Name: "hearth0", MTU: 1280, Addresses: []netip.Prefix{netip.MustParsePrefix("10.7.3.1/24"), netip.MustParsePrefix("fd07:1:2::1/48")}}

// playChild is the unprivileged process: it tries what it may and what it may not, says so, and serves on port 80.
func playChild() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var before []string
	for fd := range 64 {
		if to, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil {
			before = append(before, to)
		}
	}
	k, err := keeper.FromParent(ctx)
	if err != nil {
		return fail("dial", err)
	}
	r := report{PID: os.Getpid(), UID: os.Getuid(), GID: os.Getgid(), Status: map[string]string{}, Descriptors: before, Args: os.Args[1:], PeerID: k.PeerID()}
	r.Groups, _ = os.Getgroups()
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			r.Status[name] = strings.TrimSpace(value)
		}
	}
	oom, _ := os.ReadFile("/proc/self/oom_score_adj")
	r.OOM = strings.TrimSpace(string(oom))
	must := func(what string, err error) {
		if err != nil {
			r.Problems = append(r.Problems, fmt.Sprintf("%s: %v", what, err))
		}
	}
	mustNot := func(what string, err error) {
		if err == nil {
			r.Broken = append(r.Broken, what)
		}
	}
	state := os.Getenv("PLAY_STATE")
	secrets := filepath.Join(state, "secrets")
	_, err = os.ReadDir(secrets)
	mustNot("reading secrets/", err)
	_, err = os.ReadFile(filepath.Join(secrets, "device"))
	mustNot("reading a key", err)
	mustNot("moving secrets/ away", os.Rename(secrets, filepath.Join(state, "elsewhere")))
	mustNot("writing into secrets/", os.WriteFile(filepath.Join(secrets, "device"), nil, 0o600))
	_, err = net.Listen("tcp", "127.0.0.1:443")
	mustNot("listening below 1024 by itself", err)
	mustNot("becoming root", syscall.Setuid(0))
	_, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	mustNot("a raw socket", err)
	mustNot("killing the keeper", syscall.Kill(os.Getppid(), 0))

	must("making a folder", os.MkdirAll(filepath.Join(state, "account"), 0o700))
	must("writing in the state's root", os.WriteFile(filepath.Join(state, "clock"), []byte("x"), 0o644))
	must("writing a file of before", os.WriteFile(filepath.Join(state, "dns", "zone"), []byte("x"), 0o644))
	_, err = k.SignRecord(ctx, record)
	must("signing", err)
	t, err := k.OpenTUN(ctx, tunSpec)
	must("opening the TUN", err)
	if err == nil {
		r.TUN, r.Index, r.Kept = t.Name, t.Index, t.Kept
		fd, err := t.Detach()
		must("detaching", err)
		dev, _, err := tun.CreateUnmonitoredTUNFromFD(fd)
		must("wireguard-go on the TUN", err)
		if err == nil && dev.BatchSize() < 2 {
			r.Problems = append(r.Problems, "the TUN takes one packet at a time")
		}
		must("firewall", k.ApplyFirewall(ctx, firewall.State{
			TUN: r.TUN, Net4: tunSpec.Addresses[0].Masked(), Net6: tunSpec.Addresses[1].Masked(),
			Box4: tunSpec.Addresses[0].Addr(), Box6: tunSpec.Addresses[1].Addr(), Tunnel: firewall.DeviceTunnel(),
		}))
	}
	for _, a := range []string{"127.0.0.1:80", "10.7.3.1:53"} {
		f, err := k.Listen(ctx, keeper.ListenSpec{Network: keeper.TCP, Address: netip.MustParseAddrPort(a)})
		must("listening", err)
		if err == nil {
			ln, err := net.FileListener(f)
			f.Close()
			must("listening", err)
			go func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					fmt.Fprintf(c, "%d", os.Getpid())
					c.Close()
				}
			}()
		}
	}
	// The limits are set just after the start, so they are read last.
	var core unix.Rlimit
	unix.Getrlimit(unix.RLIMIT_CORE, &core)
	r.Core = core.Max
	line, _ := json.Marshal(r)
	fmt.Printf("%s\n", line)
	select {
	case <-ctx.Done():
		return 0
	case <-k.Gone():
		return 4
	}
}

// playStubborn does not stop when asked, and has a worker that would outlive it.
func playStubborn() int {
	signal.Ignore(syscall.SIGTERM)
	worker := exec.Command("/proc/self/exe")
	worker.Env = []string{"KEEPER_PLAY=worker"}
	if err := worker.Start(); err != nil {
		return fail("worker", err)
	}
	line, _ := json.Marshal(report{PID: os.Getpid(), Index: worker.Process.Pid})
	fmt.Printf("%s\n", line)
	select {}
}

func playWorker() int {
	signal.Ignore(syscall.SIGTERM)
	time.Sleep(5 * time.Minute)
	return 0
}

// playSecrets goes through everything that writes below secrets/, saying each finished step on its output. Built with
// the tag crashpoints it dies where HEARTH_CRASH_AT says.
func playSecrets() int {
	ctx := context.Background()
	l, err := keeper.NewLocal(config(os.Getenv("PLAY_STATE")))
	if err != nil {
		return fail("local", err)
	}
	say := func(step string, v any) { fmt.Printf("%s %v\n", step, v) }
	say("device", l.PeerID())
	key, err := l.ClientKey(ctx)
	if err != nil {
		return fail("client key", err)
	}
	say("client", fmt.Sprintf("%x", key.Reveal()))
	if _, err := l.ClaimSecret(ctx); err != nil {
		return fail("claim", err)
	}
	say("claim", "made")
	pub, err := l.MakeRoot(ctx)
	if err != nil {
		return fail("root", err)
	}
	say("root", fmt.Sprintf("%x", []byte(pub)))
	if err := l.MakeCA(ctx, keeper.CASpec{Domain: "smith.home.arpa", Now: time.Unix(1<<30, 0)}); err != nil {
		return fail("ca", err)
	}
	_, ca, err := l.CACertificates(ctx)
	if err != nil {
		return fail("ca", err)
	}
	say("ca", fmt.Sprintf("%x", ca))
	if err := l.ForgetClaimSecret(ctx); err != nil {
		return fail("forget", err)
	}
	say("forgotten", "claim")
	if err := l.EraseRoot(ctx); err != nil {
		return fail("erase", err)
	}
	say("erased", "root")
	next, err := l.NextDevice(ctx)
	if err != nil {
		return fail("next", err)
	}
	say("next", next)
	if err := l.AdoptDevice(ctx, next); err != nil {
		return fail("adopt", err)
	}
	say("adopted", next)
	io.WriteString(os.Stdout, "done all\n")
	return 0
}
