package keeper

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"hearth.alt/services/firewall"
)

// heldTUN is an interface that this keeper made and holds open.
type heldTUN struct {
	name  string
	index int
	file  *os.File
}

const (
	maxTUNs      = 4
	maxAddresses = 8
	devNames     = 100
)

func (s TUNSpec) check() error {
	if !firewall.ValidTUN(s.Name) {
		return fmt.Errorf("interface name %q", s.Name)
	}
	if s.MTU < 1280 || s.MTU > 1500 {
		return fmt.Errorf("MTU %d, want 1280 to 1500", s.MTU)
	}
	if len(s.Addresses) > maxAddresses {
		return fmt.Errorf("%d addresses, at most %d", len(s.Addresses), maxAddresses)
	}
	for _, p := range s.Addresses {
		// Anything wider would take routes away from the machine.
		if !p.IsValid() || !p.Addr().IsPrivate() || p.Addr().Is4In6() || (p.Addr().Is4() && p.Bits() < 24) || (p.Addr().Is6() && p.Bits() < 48) {
			return fmt.Errorf("address %q is not one of a client plane", p)
		}
	}
	return nil
}

// OpenTUN implements Keeper.
func (l *Local) OpenTUN(_ context.Context, spec TUNSpec) (*TUN, error) {
	if err := spec.check(); err != nil {
		return nil, because(ErrInvalid, err)
	}
	if !l.root {
		return nil, ErrNoTUN
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrGone
	}
	held, kept := l.tuns[spec.Name]
	if kept {
		if _, err := netlink.LinkByIndex(held.index); err != nil {
			// Someone removed the interface; the descriptor is dead.
			held.file.Close()
			delete(l.tuns, spec.Name)
			kept = false
		}
	}
	if !kept {
		if len(l.tuns) >= maxTUNs {
			return nil, because(ErrNotAllowed, fmt.Errorf("%d interfaces are open", len(l.tuns)))
		}
		var err error
		if held, err = l.makeTUN(spec.Name); err != nil {
			return nil, err
		}
		l.tuns[spec.Name] = held
	}
	if err := held.configure(spec); err != nil {
		return nil, fmt.Errorf("setting up interface %q: %w", held.name, err)
	}
	file, err := duplicate(held.file)
	if err != nil {
		return nil, err
	}
	return &TUN{Name: held.name, Index: held.index, Kept: kept, File: file}, nil
}

// makeTUN makes the interface name or, with Dev, the first of that family that is free.
func (l *Local) makeTUN(name string) (*heldTUN, error) {
	candidates := []string{name}
	if l.cfg.Dev {
		base := strings.TrimRight(name, "0123456789")
		for i := range devNames {
			if n := fmt.Sprintf("%s%d", base, i); n != name && firewall.ValidTUN(n) {
				candidates = append(candidates, n)
			}
		}
	}
	for _, n := range candidates {
		// Attaching to an interface that exists would share it with whoever made it.
		if _, err := netlink.LinkByName(n); err == nil {
			continue
		}
		t, err := createTUN(n)
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EINVAL) {
			continue // made by another between the two calls
		}
		return t, err
	}
	return nil, because(ErrTaken, fmt.Errorf("interface %q exists and is not the keeper's", name))
}

func createTUN(name string) (*heldTUN, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, because(ErrNoTUN, fmt.Errorf("opening /dev/net/tun: %w", err))
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	// One queue. The header of virtio-net carries what segmentation and coalescing need; wireguard-go sees the flag
	// and switches both on itself, which needs no privilege.
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("making interface %q: %w", name, err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	t := &heldTUN{name: request.Name(), file: os.NewFile(uintptr(fd), "/dev/net/tun")}
	link, err := netlink.LinkByName(t.name)
	if err != nil {
		t.file.Close()
		return nil, fmt.Errorf("finding interface %q: %w", t.name, err)
	}
	t.index = link.Attrs().Index
	return t, nil
}

// configure gives the interface MTU and addresses and brings it up.
func (t *heldTUN) configure(spec TUNSpec) error {
	link, err := netlink.LinkByIndex(t.index)
	if err != nil {
		return err
	}
	// No link-local address: devices have none, and nothing is to be announced into the tunnel (mode 1 is "none",
	// Documentation/networking/ip-sysctl). A kernel without IPv6 lacks the setting.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+t.name+"/addr_gen_mode", []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if link.Attrs().MTU != spec.MTU {
		if err := netlink.LinkSetMTU(link, spec.MTU); err != nil {
			return fmt.Errorf("MTU %d: %w", spec.MTU, err)
		}
	}
	have, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	var present []netip.Prefix
	for _, a := range have {
		ip, ok := netip.AddrFromSlice(a.IP)
		ones, _ := a.Mask.Size()
		p := netip.PrefixFrom(ip.Unmap(), ones)
		if ok && slices.Contains(spec.Addresses, p) {
			present = append(present, p)
			continue
		}
		if err := netlink.AddrDel(link, &a); err != nil {
			return fmt.Errorf("removing address %s: %w", a.IPNet, err)
		}
	}
	for _, p := range spec.Addresses {
		if slices.Contains(present, p) {
			continue
		}
		a, err := netlink.ParseAddr(p.String())
		if err != nil {
			return err
		}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD // nobody else is on the link, and listeners need not wait
		}
		if err := netlink.AddrReplace(link, a); err != nil {
			return fmt.Errorf("adding address %s: %w", p, err)
		}
	}
	return netlink.LinkSetUp(link)
}

// duplicate makes a second handle on f without touching f's mode, as f.Fd would.
func duplicate(f *os.File) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd, err := duplicateFD(raw)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

func duplicateFD(raw syscall.RawConn) (int, error) {
	fd := -1
	var dupErr error
	if err := raw.Control(func(old uintptr) { fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return -1, err
	}
	if dupErr != nil {
		return -1, fmt.Errorf("duplicating a descriptor: %w", dupErr)
	}
	return fd, nil
}
