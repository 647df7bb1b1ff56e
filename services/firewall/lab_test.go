package firewall_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// host is a machine of the lab: an anonymous network namespace.
type host struct {
	name string
	fd   int
}

func newHost(t *testing.T, name string) *host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces: sudo go test ./services/firewall/")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft and ip: apt-get install nftables iproute2 && go test ./services/firewall/")
	}
	h := &host{name: name, fd: -1}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		var err error
		h.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("making host %s: %v", name, err)
	}
	t.Cleanup(func() { unix.Close(h.fd) })
	h.ip(t, "link set lo up")
	return h
}

// do runs f on a thread of the host. Sockets that f opens stay there.
func (h *host) do(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Setns(h.fd, unix.CLONE_NEWNET); err != nil {
			panic(err)
		}
		f()
	}()
	<-done
}

// run runs a command on the host and returns what it printed.
func (h *host) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	var out []byte
	var err error
	h.do(func() { out, err = exec.Command(name, args...).CombinedOutput() })
	if err != nil {
		t.Fatalf("%s: %s %s: %v\n%s", h.name, name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (h *host) ip(t *testing.T, format string, args ...any) {
	t.Helper()
	h.run(t, "ip", strings.Fields(fmt.Sprintf(format, args...))...)
}

// cable joins two hosts by a pair of interfaces. Checksums are computed: a veth leaves them open, and a TUN would not.
func cable(t *testing.T, a *host, nameA string, b *host, nameB string) {
	t.Helper()
	a.ip(t, "link add %s type veth peer name %s netns /proc/%d/fd/%d", nameA, nameB, os.Getpid(), b.fd)
	for _, e := range []struct {
		h    *host
		name string
	}{{a, nameA}, {b, nameB}} {
		e.h.do(func() { os.WriteFile("/proc/sys/net/ipv6/conf/"+e.name+"/accept_dad", []byte("0"), 0) })
		e.h.ip(t, "link set %s up", e.name)
	}
}

func (h *host) mac(t *testing.T, dev string) net.HardwareAddr {
	t.Helper()
	var ifi *net.Interface
	var err error
	h.do(func() { ifi, err = net.InterfaceByName(dev) })
	if err != nil {
		t.Fatalf("%s: %s: %v", h.name, dev, err)
	}
	return ifi.HardwareAddr
}
