package mesh

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/secret"
)

// Members says who belongs. Watch returns the current snapshot and a channel that is closed when there is a newer
// one. It is called from one goroutine at a time and must not block.
type Members interface {
	Watch() (*services.Membership, <-chan struct{})
}

// Keys holds the box's key of the client plane. ClientKey returns its 32 private bytes (Curve25519), always the
// same: stock phones keep the public half for ever. It may be called often, from any goroutine.
type Keys interface {
	ClientKey(ctx context.Context) (secret.Bytes, error)
}

// TUNSpec is the tunnel interface that is wanted.
type TUNSpec struct {
	Name      string         // preferred; another is taken when it is not free
	MTU       int            // bytes
	Addresses []netip.Prefix // the box's own, with the length of the household's network
}

// Tunnel makes the tunnel interface: addressed, up, IFF_TUN|IFF_NO_PI|IFF_VNET_HDR (the last one is worth a factor of
// 2.4 in throughput), one queue. The caller closes fd, after which the interface may go away. Opening it again makes
// it so again and is harmless. ErrNoTunnel says that it never can.
type Tunnel interface {
	OpenTUN(ctx context.Context, spec TUNSpec) (fd *os.File, name string, err error)
}

// ErrNoTunnel is returned by a Tunnel that has not the right to make an interface (no root). The service then runs
// without and asks again only rarely; Closed returns it.
var ErrNoTunnel = &services.Problem{Kind: services.KindUnavailable, Code: "no-tunnel",
	Say: services.Say("mesh.health.noroot", "This box may not make a tunnel on this computer, so phones cannot come in. Stop Hearth and start it with administrator rights. At home everything else works.")}

// ErrPortTaken is what Closed returns while another program uses the port.
var ErrPortTaken = &services.Problem{Kind: services.KindUnavailable, Code: "tunnel-port-taken"}

func portTaken(port uint16) *services.Problem {
	p := *ErrPortTaken
	p.Say = services.Say("mesh.health.port", "Another program uses port {port}, by which phones come in. The box keeps asking for it.", "port", int(port))
	return &p
}

// Config is what New needs.
type Config struct {
	Members Members
	Keys    Keys
	Tunnel  Tunnel // nil is a Tunnel that always answers ErrNoTunnel

	// Port is the UDP port to listen on; 0 is any free one, which is kept in Dir and taken again. AnyPort takes a
	// free one also when Port is taken by somebody else (--dev); otherwise the service waits for it.
	Port    uint16
	AnyPort bool
	// Name of the tunnel interface; "" is "hearth0".
	Name string
	// NoPortMap never asks the router for anything but to take back what an earlier run mapped.
	NoPortMap bool
	// Dir is the service's folder, made when missing.
	Dir string

	Now func() time.Time // known time; nil is time.Now
	// PublicName is the name under which the router's outside address is found, "" without one. May be nil. Called
	// often; must be quick.
	PublicName func() string
	// Paired is called when a pending device completed its first handshake; again, with growing pauses, until it
	// returns nil or the device is no longer pending. May be nil. Calls for different devices may overlap.
	Paired func(ctx context.Context, id services.DeviceID) error

	Log *slog.Logger // nil is silent
}

func (c *Config) check() error {
	if c.Members == nil || c.Keys == nil || c.Dir == "" {
		return errors.New("mesh: Members, Keys and Dir are needed")
	}
	if c.Name == "" {
		c.Name = "hearth0"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.PublicName == nil {
		c.PublicName = func() string { return "" }
	}
	if c.Paired == nil {
		c.Paired = func(context.Context, services.DeviceID) error { return nil }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Log = c.Log.With("service", "mesh")
	return nil
}
