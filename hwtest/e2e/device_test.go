package e2e

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hearth.alt/hwtest/box"
	"hearth.alt/hwtest/netlab"
	"hearth.alt/services/claimcode"
)

// inside starts the program as on a device: its state is /perm/hearth, and there is no other file system, no disk and
// no host name of this machine's. $1 is the new root, the rest the program and its arguments as seen from there.
const inside = `set -e
root=$1; shift
mount --bind "$root" "$root"
for f in null zero random urandom net/tun; do touch "$root/dev/$f"; mount --bind "/dev/$f" "$root/dev/$f"; done
mount -t proc proc "$root/proc"
exec chroot "$root" "$@"`

// newDevice is newSmiths with a box that takes itself for a device, and so has the device's rules.
func newDevice(t *testing.T) *home {
	t.Helper()
	l := netlab.New(t)
	h := &home{t: t, lab: l, lan: l.Switch("lan"), host: l.Host("box"), n: 10}
	h.lan.Attach(h.host, "eth0", pfx(boxAt4+"/24"), pfx(boxAt6+"/64"))
	program := box.ProgramWith(t, box.Build{Static: true})
	root, err := os.MkdirTemp("", "hearth-device-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"bin", "dev/net", "proc", "tmp", "etc", "run/hearth", "perm/hearth"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(program)
	if err == nil {
		err = os.WriteFile(filepath.Join(root, "bin/hearth"), b, 0o755)
	}
	if err == nil { // as process 1 leaves it for the keeper
		err = os.WriteFile(filepath.Join(root, "run/hearth/claim"), []byte(claimcode.New().Text()), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(root, "perm/hearth")
	h.Box = box.New(t, box.Options{Program: program, State: state, Args: twoProcesses, Start: func(cmd *exec.Cmd) error {
		args := append([]string{"/bin/hearth"}, cmd.Args[1:]...)
		args[slices.Index(args, state)] = "/perm/hearth"
		unshare, err := exec.LookPath("unshare")
		if err != nil {
			return err
		}
		cmd.Path, cmd.Args = unshare, append([]string{"unshare", "--mount", "--uts", "sh", "-c", inside, "sh", root}, args...)
		return h.host.Do(cmd.Start)
	}})
	h.Restart()
	h.ClaimSmith()
	h.up()
	return h
}

// On a device the whole machine is Hearth's, and its rules say what the home network may: names, pages and mDNS for
// neighbours, the phones' port for everybody, nothing of the tunnel for anybody outside it.
func TestDeviceRules(t *testing.T) {
	t.Parallel()
	h := newDevice(t)
	h.invite("Gus", "guest")
	ann := h.phoneWith("Ann", "Ann's phone", greedy)
	gus := h.phoneWith("Gus", "Gus's phone", greedy)
	unprivileged(t, h.mustChild())
	printer := h.other("printer")
	tunnel, atHome := ann.Stock.DNS, []netip.Addr{addr(boxAt4), addr(boxAt6)}
	phones := []netip.Addr{ann.Address4(), ann.Address6()}
	printerAt := []netip.Addr{printer.Port("eth0").Addrs()[0].Addr(), printer.Port("eth0").Addrs()[1].Addr()}
	few := []uint16{22, 53, 80, 4711}

	if got := scan(t, ann.Host, netip.Addr{}, few, printerAt...); len(got) != 4*len(few) {
		t.Errorf("the owner's phone reaches, of the printer,\n%s", list(got))
	}
	if got := scan(t, gus.Host, netip.Addr{}, ports(), slices.Concat(tunnel, atHome, phones, printerAt)...); !same(got, served(tunnel...)) {
		t.Errorf("a guest is answered by\n%s\nwant\n%s", list(got), list(served(tunnel...)))
	}
	thief := h.other("thief")
	thief.Port("eth0").Route(netip.PrefixFrom(tunnel[0], 24), addr(boxAt4))
	thief.Port("eth0").Route(netip.PrefixFrom(tunnel[1], 48), addr(boxAt6))
	if got := scan(t, thief, netip.Addr{}, ports(), slices.Concat(tunnel, phones)...); len(got) != 0 {
		t.Errorf("a neighbour who routes to the tunnel is answered by\n%s", list(got))
	}
	// On the home network only the device's own ports answer; mDNS answers questions of its own kind or none.
	var unexpected []string
	for _, got := range scan(t, thief, netip.Addr{}, ports(), atHome...) {
		// Links are for whoever holds the key of a box that belongs.
		if !slices.Contains(served(atHome...), got) && !strings.HasSuffix(got, ":5353: open") && !strings.HasSuffix(got, ":41820: open") {
			unexpected = append(unexpected, got)
		}
	}
	if len(unexpected) != 0 {
		t.Errorf("on the home network a neighbour is answered by\n%s", list(unexpected))
	}
	thief.Port("eth0").Add(netip.PrefixFrom(ann.Address4(), 32))
	quiet(t, thief, ann, netip.AddrPortFrom(addr(boxAt4), 53))
	// Another name was given to the device, not to this machine.
	name, err := os.Hostname()
	if err != nil || name == "study" {
		t.Errorf("this machine is called %q now, %v", name, err)
	}
}
