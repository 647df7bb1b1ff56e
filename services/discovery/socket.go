package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// The groups of RFC 6762, section 3.
var (
	group4 = net.IPv4(224, 0, 0, 251)
	group6 = net.ParseIP("ff02::fb")
)

// network opens the way to the links.
type network interface {
	open(ctx context.Context, log *slog.Logger) (transport, error)
}

// transport carries packets. links, send and close are called from one goroutine.
type transport interface {
	// links lists the links to speak on and joins the groups there.
	links() ([]link, error)
	changes() <-chan struct{} // something about links or addresses has changed
	packets() <-chan inbound
	failed() <-chan error // receives once, when the transport is of no more use
	send(outbound)
	close() // all goroutines have ended when it returns
}

// machine is the network of this machine.
type machine struct {
	port  int
	allow func(net.Interface) bool
}

// addrFlags are the addresses nobody should be told: not usable yet, on their way out, or made to be forgotten
// (RFC 8981).
const addrFlags = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED | unix.IFA_F_TEMPORARY

type sockets struct {
	machine
	log    *slog.Logger
	v4     *ipv4.PacketConn // nil when the machine has none
	v6     *ipv6.PacketConn
	joined map[int][2]bool
	in     chan inbound
	change chan struct{}
	fail   chan error
	done   chan struct{}
	wg     sync.WaitGroup
}

func (m machine) open(ctx context.Context, log *slog.Logger) (transport, error) {
	s := &sockets{
		machine: m, log: log, joined: map[int][2]bool{},
		in: make(chan inbound, 64), change: make(chan struct{}, 1), fail: make(chan error, 1), done: make(chan struct{}),
	}
	c4, err4 := s.listen(ctx, "udp4", "0.0.0.0")
	if err4 == nil {
		s.v4 = ipv4.NewPacketConn(c4)
		err4 = errors.Join(s.v4.SetControlMessage(ipv4.FlagInterface|ipv4.FlagDst, true),
			s.v4.SetMulticastTTL(255), s.v4.SetTTL(255), s.v4.SetMulticastLoopback(true))
	}
	c6, err6 := s.listen(ctx, "udp6", "::")
	if err6 == nil {
		s.v6 = ipv6.NewPacketConn(c6)
		err6 = errors.Join(s.v6.SetControlMessage(ipv6.FlagInterface|ipv6.FlagDst, true),
			s.v6.SetMulticastHopLimit(255), s.v6.SetHopLimit(255), s.v6.SetMulticastLoopback(true))
	}
	if err4 != nil && err6 != nil {
		s.close()
		return nil, fmt.Errorf("opening UDP port %d for Multicast DNS: %w", m.port, errors.Join(err4, err6))
	}
	if err := s.follow(); err != nil {
		s.close()
		return nil, err
	}
	if s.v4 != nil {
		s.wg.Go(func() {
			s.read(func(b []byte) (int, int, net.IP, net.Addr, error) {
				n, cm, src, err := s.v4.ReadFrom(b)
				if cm == nil {
					return n, 0, nil, src, err
				}
				return n, cm.IfIndex, cm.Dst, src, err
			})
		})
	}
	if s.v6 != nil {
		s.wg.Go(func() {
			s.read(func(b []byte) (int, int, net.IP, net.Addr, error) {
				n, cm, src, err := s.v6.ReadFrom(b)
				if cm == nil {
					return n, 0, nil, src, err
				}
				return n, cm.IfIndex, cm.Dst, src, err
			})
		})
	}
	return s, nil
}

func (s *sockets) listen(ctx context.Context, network, host string) (net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		cerr := c.Control(func(fd uintptr) {
			// Both, so that any other responder may share the port, whatever it set itself.
			err = errors.Join(
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
			if network == "udp6" {
				err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1))
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0) // since Linux 4.20
			} else {
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
			}
		})
		return errors.Join(cerr, err)
	}}
	return lc.ListenPacket(ctx, network, net.JoinHostPort(host, strconv.Itoa(s.port)))
}

// follow makes every change of links and addresses a word on the change channel.
func (s *sockets) follow() error {
	broken := func(err error) {
		select {
		case <-s.done:
		case s.fail <- fmt.Errorf("following links and addresses: %w", err):
		default:
		}
	}
	links, addrs := make(chan netlink.LinkUpdate, 16), make(chan netlink.AddrUpdate, 16)
	if err := netlink.LinkSubscribeWithOptions(links, s.done, netlink.LinkSubscribeOptions{ErrorCallback: broken}); err != nil {
		return fmt.Errorf("following links: %w", err)
	}
	if err := netlink.AddrSubscribeWithOptions(addrs, s.done, netlink.AddrSubscribeOptions{ErrorCallback: broken}); err != nil {
		return fmt.Errorf("following addresses: %w", err)
	}
	say := func() {
		select {
		case s.change <- struct{}{}:
		default:
		}
	}
	// Each ends when its socket is closed, which s.done does.
	s.wg.Go(func() {
		for range links {
			say()
		}
	})
	s.wg.Go(func() {
		for range addrs {
			say()
		}
	})
	return nil
}

func (s *sockets) read(from func([]byte) (n, index int, dst net.IP, src net.Addr, err error)) {
	buf := make([]byte, maxMessage+1)
	for {
		n, index, dst, src, err := from(buf)
		if err != nil {
			select {
			case <-s.done:
			case s.fail <- fmt.Errorf("reading from the home network: %w", err):
			default:
			}
			return
		}
		u, ok := src.(*net.UDPAddr)
		if !ok || index == 0 || n > maxMessage {
			continue
		}
		p := inbound{link: index, src: u.AddrPort(), group: dst.IsMulticast(), data: slices.Clone(buf[:n])}
		select {
		case s.in <- p:
		case <-s.done:
			return
		}
	}
}

func (s *sockets) changes() <-chan struct{} { return s.change }
func (s *sockets) packets() <-chan inbound  { return s.in }
func (s *sockets) failed() <-chan error     { return s.fail }

func (s *sockets) links() ([]link, error) {
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("listing the links: %w", err)
	}
	all, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("listing the addresses: %w", err)
	}
	const want = net.FlagUp | net.FlagMulticast | net.FlagRunning
	var out []link
	here := map[int]bool{}
	for _, ifi := range ifaces {
		if ifi.Flags&want != want || ifi.Flags&net.FlagLoopback != 0 || !s.allow(ifi) {
			continue
		}
		l := link{index: ifi.Index, name: ifi.Name}
		for _, a := range all {
			ip, ok := netip.AddrFromSlice(a.IP)
			if a.LinkIndex != ifi.Index || !ok || a.Flags&addrFlags != 0 {
				continue
			}
			ones, _ := a.Mask.Size()
			if ip = ip.Unmap(); ip.Is4() && s.v4 != nil || ip.Is6() && s.v6 != nil {
				l.addrs = append(l.addrs, netip.PrefixFrom(ip, ones))
			}
		}
		if len(l.addrs) == 0 {
			continue
		}
		slices.SortFunc(l.addrs, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
		s.join(ifi)
		here[ifi.Index] = true
		out = append(out, l)
	}
	for i := range s.joined {
		if !here[i] {
			// A link that is gone has left the groups by itself; one that was put aside is left here.
			if ifi, err := net.InterfaceByIndex(i); err == nil {
				s.leave(*ifi)
			}
			delete(s.joined, i)
		}
	}
	return out, nil
}

func (s *sockets) join(ifi net.Interface) {
	done := s.joined[ifi.Index]
	try := func(i int, f func() error) {
		if done[i] {
			return
		}
		if err := f(); err == nil || errors.Is(err, unix.EADDRINUSE) {
			done[i] = true
		} else {
			s.log.Warn("cannot join the group", "link", ifi.Name, "family", [2]string{"ipv4", "ipv6"}[i], "error", err)
		}
	}
	if s.v4 != nil {
		try(0, func() error { return s.v4.JoinGroup(&ifi, &net.UDPAddr{IP: group4}) })
	}
	if s.v6 != nil {
		try(1, func() error { return s.v6.JoinGroup(&ifi, &net.UDPAddr{IP: group6}) })
	}
	s.joined[ifi.Index] = done
}

func (s *sockets) leave(ifi net.Interface) {
	if s.v4 != nil {
		_ = s.v4.LeaveGroup(&ifi, &net.UDPAddr{IP: group4})
	}
	if s.v6 != nil {
		_ = s.v6.LeaveGroup(&ifi, &net.UDPAddr{IP: group6})
	}
}

func (s *sockets) send(p outbound) {
	dst := &net.UDPAddr{Port: s.port}
	switch {
	case p.dst.IsValid():
		dst = net.UDPAddrFromAddrPort(p.dst)
	case p.v6:
		dst.IP = group6
	default:
		dst.IP = group4
	}
	var err error
	switch deadline := time.Now().Add(time.Second); {
	case p.v6 && s.v6 != nil:
		_ = s.v6.SetWriteDeadline(deadline)
		_, err = s.v6.WriteTo(p.data, &ipv6.ControlMessage{IfIndex: p.link}, dst)
	case !p.v6 && s.v4 != nil:
		_ = s.v4.SetWriteDeadline(deadline)
		_, err = s.v4.WriteTo(p.data, &ipv4.ControlMessage{IfIndex: p.link}, dst)
	}
	if err != nil {
		// A link on its way down, or an address not yet usable: the change that follows repeats it.
		s.log.Debug("cannot send to the home network", "link", p.link, "to", dst.String(), "error", err)
	}
}

func (s *sockets) close() {
	close(s.done)
	if s.v4 != nil {
		_ = s.v4.Close()
	}
	if s.v6 != nil {
		_ = s.v6.Close()
	}
	s.wg.Wait()
}
