package firewall

import (
	"context"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// machineInterfaces lists this machine's interfaces that are up.
func machineInterfaces() ([]Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var out []Interface
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it went away between the two questions
		}
		one := Interface{Name: i.Name}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				one.Prefixes = append(one.Prefixes, p)
			}
		}
		out = append(out, one)
	}
	return out, nil
}

// Interfaces yields a value whenever an address or an interface of this machine came or went, several at once being
// told as one; it is closed when ctx ends or the kernel stops telling. It needs no privileges.
func Interfaces(ctx context.Context) (<-chan struct{}, error) {
	addrs, links, done := make(chan netlink.AddrUpdate), make(chan netlink.LinkUpdate), make(chan struct{})
	if err := netlink.AddrSubscribe(addrs, done); err != nil {
		return nil, err
	}
	if err := netlink.LinkSubscribe(links, done); err != nil {
		close(done)
		go drain(addrs)
		return nil, err
	}
	out := make(chan struct{}, 1)
	go func() {
		defer func() {
			close(done)
			go drain(addrs)
			go drain(links)
			close(out)
		}()
		for {
			var open bool
			select {
			case <-ctx.Done():
				return
			case _, open = <-addrs:
			case _, open = <-links:
			}
			if !open {
				return
			}
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}()
	return out, nil
}

// drain lets the library's goroutine, which may be sending, see that it is to end.
func drain[T any](c <-chan T) {
	for range c {
	}
}
