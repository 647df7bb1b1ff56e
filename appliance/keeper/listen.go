package keeper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// ports are the ports below 1024 and of the two planes that Listen opens (DESIGN.md, section 4).
var ports = map[Network][]uint16{TCP: {53, 80, 443, 41820}, UDP: {53, 5353, 41820, 51820}}

// Listen implements Keeper.
func (l *Local) Listen(ctx context.Context, spec ListenSpec) (*os.File, error) {
	port, addr := spec.Address.Port(), spec.Address.Addr()
	known, ok := ports[spec.Network]
	if !ok || !addr.IsValid() || addr.Is4In6() || addr.IsMulticast() {
		return nil, because(ErrInvalid, fmt.Errorf("listening on %q %q", spec.Network, spec.Address))
	}
	if !slices.Contains(known, port) && (!l.cfg.Dev || (port != 0 && port < 1024)) {
		return nil, because(ErrNotAllowed, fmt.Errorf("port %d of %s is not for Hearth", port, spec.Network))
	}
	network := string(spec.Network)
	switch {
	case addr.Is4():
		network += "4"
	case !addr.IsUnspecified():
		network += "6"
	}
	var lc net.ListenConfig
	if spec.Shared {
		lc.Control = func(_, _ string, c syscall.RawConn) error {
			var err error
			return errors.Join(c.Control(func(fd uintptr) {
				err = errors.Join(
					unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
				)
			}), err)
		}
	}
	var file *os.File
	var err error
	if spec.Network == TCP {
		var ln net.Listener
		if ln, err = lc.Listen(ctx, network, spec.Address.String()); err == nil {
			file, err = ln.(*net.TCPListener).File()
			ln.Close()
		}
	} else {
		var pc net.PacketConn
		if pc, err = lc.ListenPacket(ctx, network, spec.Address.String()); err == nil {
			file, err = pc.(*net.UDPConn).File()
			pc.Close()
		}
	}
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return nil, because(ErrTaken, err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return nil, because(ErrNoAddress, err)
	case errors.Is(err, unix.EACCES):
		return nil, because(ErrNoRight, err)
	case err != nil:
		return nil, fmt.Errorf("listening on %s %s: %w", spec.Network, spec.Address, err)
	}
	return file, nil
}
