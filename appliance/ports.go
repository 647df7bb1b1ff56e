package appliance

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"hearth.alt/appliance/keeper"
	"hearth.alt/services"
)

// Why a Hearth on a computer does not start: a port that it needs cannot be had.
func errPortTaken(p askedPort) error {
	return &services.Problem{
		Kind: services.KindConflict, Code: "port-taken", Field: p.flag,
		Say: services.Say("run.port-taken", "Another program uses {address} already. Stop it, or name another address with --{flag}.", "address", p.text, "flag", p.flag),
	}
}

func errPortNoRight(p askedPort) error {
	return &services.Problem{
		Kind: services.KindDenied, Code: "port-not-allowed", Field: p.flag,
		Say: services.Say("run.port-no-right", "Hearth may not use {address} as this user. Start it as root, or with --dev, or name a port from 1024 on with --dev --{flag}.", "address", p.text, "flag", p.flag),
	}
}

func errPortOnlyDev(p askedPort) error {
	return &services.Problem{
		Kind: services.KindInvalid, Code: "port-only-dev", Field: p.flag,
		Say: services.Say("run.port-only-dev", "--{flag} {address} is not used where the whole machine is Hearth's. Add --dev to use that port.", "address", p.text, "flag", p.flag),
	}
}

// askedPort is a port that this start depends on.
type askedPort struct {
	flag, text string
	network    keeper.Network
	needed     bool
}

// checkPorts opens and closes the ports that nothing may stand in for, so that whoever starts Hearth on a computer is
// told at once: without its pages a box is no use there. A device tries again by itself instead, since nobody is there
// to read this; so does a computer whose address is not there yet.
func checkPorts(ctx context.Context, o Options, k *keeper.Local) error {
	info, err := k.Info(ctx)
	if err != nil || info.Device {
		return err
	}
	for _, p := range []askedPort{
		{"http", o.HTTP, keeper.TCP, o.given.http || !o.Dev},
		{"https", o.HTTPS, keeper.TCP, o.given.https || !o.Dev},
		{"dns", o.DNS, keeper.UDP, o.given.dns},
		{"dns", o.DNS, keeper.TCP, o.given.dns},
	} {
		at, err := parseAddr(p.flag, p.text)
		if err != nil {
			return err
		}
		if err := checkPort(ctx, k, p, at, o.Dev); err != nil {
			return err
		}
	}
	if o.given.client {
		at := netip.AddrPortFrom(netip.IPv6Unspecified(), o.ClientPort)
		return checkPort(ctx, k, askedPort{"client-port", at.String(), keeper.UDP, true}, at, o.Dev)
	}
	return nil
}

func checkPort(ctx context.Context, k *keeper.Local, p askedPort, at netip.AddrPort, dev bool) error {
	if !p.needed || at.Port() == 0 && dev {
		return nil
	}
	f, err := k.Listen(ctx, keeper.ListenSpec{Network: p.network, Address: at, Shared: !dev})
	// One that was killed a moment ago may still be going.
	for end := time.Now().Add(time.Second); errors.Is(err, keeper.ErrTaken) && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
		f, err = k.Listen(ctx, keeper.ListenSpec{Network: p.network, Address: at, Shared: !dev})
	}
	switch {
	case err == nil:
		return f.Close()
	case errors.Is(err, keeper.ErrTaken):
		return errPortTaken(p)
	case errors.Is(err, keeper.ErrNoRight):
		return errPortNoRight(p)
	case errors.Is(err, keeper.ErrNotAllowed):
		return errPortOnlyDev(p)
	}
	return nil // the service that opens it says what is wrong
}
