package appliance

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/vishvananda/netlink"

	"hearth.alt/appliance/boot"
	"hearth.alt/appliance/keeper"
	"hearth.alt/services"
	"hearth.alt/services/account"
	"hearth.alt/services/certificate"
	"hearth.alt/services/claimcode"
	"hearth.alt/services/dns"
	"hearth.alt/services/identity"
	"hearth.alt/services/mesh"
	"hearth.alt/services/secret"
	"hearth.alt/webui/house"
)

// This file holds the small pieces that make one package's provider another's interface.

// watcher says who belongs, and when that changes; it is identity's.
type watcher interface {
	Watch() (*services.Membership, <-chan struct{})
}

// deviceState is the state root of an image; only there Hearth is the machine's own.
const deviceState = boot.StateDir

func keeperConfig(o Options, log *slog.Logger) keeper.Config {
	c := keeper.Config{
		State: o.State, Device: o.State == deviceState && !o.Dev, Dev: o.Dev, Version: Version, Log: log,
		Root: identity.RootFromEntropy, Words: identity.WordsFromEntropy,
		Authority: func(s keeper.CASpec) (root, intermediate []byte, key *ecdsa.PrivateKey, err error) {
			return certificate.MakeCA(certificate.Params(s))
		},
		NewClaim: func() string { return claimcode.New().Text() },
		CheckClaim: func(text string) error {
			_, err := claimcode.Parse(text)
			return err
		},
	}
	if c.Device {
		c.ClaimFile, c.EraseClaim, c.HostnameFile = boot.ClaimPath, boot.EraseClaim, boot.HostnameFile
	}
	return c
}

// childMark tells a started process that it is the keeper's child.
const childMark = "HEARTH_CHILD=1"

func isChild() bool { return os.Getenv("HEARTH_CHILD") == "1" }

func childConfig(o Options, log *slog.Logger) keeper.RunConfig {
	args := []string{
		"run", "--state", o.State, "--http", o.HTTP, "--https", o.HTTPS, "--public", o.Public, "--dns", o.DNS,
		"--client-port", strconv.Itoa(int(o.ClientPort)), "--mesh-port", strconv.Itoa(int(o.MeshPort)),
	}
	if o.NoPortMap {
		args = append(args, "--no-portmap")
	}
	return keeper.RunConfig{Args: args, Env: append(os.Environ(), childMark), Memory: childMemory, Log: log}
}

// childMemory is what the unprivileged part may use; beyond it the kernel ends it and the keeper starts it again. The
// budget of all processes at rest is 150 MB; argon2id takes 64 MiB while somebody signs in.
const childMemory = 384 << 20

// tunnel is the keeper's TUN for the client plane.
type tunnel struct{ keeper keeper.Keeper }

func (t tunnel) OpenTUN(ctx context.Context, s mesh.TUNSpec) (*os.File, string, error) {
	tun, err := t.keeper.OpenTUN(ctx, keeper.TUNSpec{Name: s.Name, MTU: s.MTU, Addresses: s.Addresses})
	if errors.Is(err, keeper.ErrNoTUN) {
		return nil, "", mesh.ErrNoTunnel
	}
	if err != nil {
		return nil, "", err
	}
	return tun.File, tun.Name, nil
}

// authority is what the certificate authority of m may vouch for.
func authority(m *services.Membership, now time.Time) keeper.CASpec {
	box, _ := m.Box()
	return keeper.CASpec{
		Name: m.Household.Name, Domain: m.Household.Domain, Label: box.Label, Net4: m.Household.Net4, Net6: m.Household.Net6,
		LAN: lookHome().networks, Now: now,
	}
}

// openTCP opens one listener through the keeper; free says whether a free port will do for a taken one.
func openTCP(ctx context.Context, k keeper.Keeper, at netip.AddrPort, dev, free bool) (net.Listener, error) {
	f, err := listenOrFree(ctx, k, keeper.ListenSpec{Network: keeper.TCP, Address: at, Shared: !dev}, free)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileListener(f)
}

// listenOrFree asks for a socket; free says whether any free port will do for a taken one: for the defaults of --dev.
func listenOrFree(ctx context.Context, k keeper.Keeper, spec keeper.ListenSpec, free bool) (*os.File, error) {
	f, err := k.Listen(ctx, spec)
	if free && errors.Is(err, keeper.ErrTaken) && spec.Address.Port() >= 1024 {
		spec.Address = netip.AddrPortFrom(spec.Address.Addr(), 0)
		return k.Listen(ctx, spec)
	}
	return f, err
}

// nameSockets opens what the resolver listens on: the home network's port and the box's tunnel addresses.
type nameSockets struct {
	keeper keeper.Keeper
	lan    netip.AddrPort
	dev    bool
	free   bool        // a free port will do for lan's
	tunnel func() bool // whether the tunnel interface is there

	had atomic.Bool // whether it was, when the sockets were opened
}

// stale says that the tunnel came up after the sockets were opened, as it does at every start. A tunnel that goes
// leaves them as they are: bound to addresses that come back with it.
func (n *nameSockets) stale() bool { return n.tunnel() && !n.had.Load() }

func (n *nameSockets) open(ctx context.Context, m *services.Membership) (dns.Sockets, error) {
	var s dns.Sockets
	box, ours := m.Box()
	places := []netip.AddrPort{n.lan}
	up := n.tunnel()
	n.had.Store(up)
	if up && ours { // the tunnel of a box that was removed is about to go
		places = append(places, netip.AddrPortFrom(box.Addr4, 53), netip.AddrPortFrom(box.Addr6, 53))
	}
	for _, at := range places {
		if err := n.add(ctx, &s, at); err != nil {
			for _, c := range s.Packet {
				c.Close()
			}
			for _, c := range s.Stream {
				c.Close()
			}
			return dns.Sockets{}, err
		}
	}
	return s, nil
}

func (n *nameSockets) add(ctx context.Context, s *dns.Sockets, at netip.AddrPort) error {
	free := n.free && at == n.lan
	u, err := listenOrFree(ctx, n.keeper, keeper.ListenSpec{Network: keeper.UDP, Address: at, Shared: !n.dev}, free)
	if err != nil {
		return err
	}
	defer u.Close()
	p, err := net.FilePacketConn(u)
	if err != nil {
		return err
	}
	s.Packet = append(s.Packet, p)
	t, err := listenOrFree(ctx, n.keeper, keeper.ListenSpec{Network: keeper.TCP, Address: at, Shared: !n.dev}, free)
	if err != nil {
		return err
	}
	defer t.Close()
	l, err := net.FileListener(t)
	if err != nil {
		return err
	}
	s.Stream = append(s.Stream, l)
	return nil
}

// systemResolvers are the resolvers that DHCP named.
func systemResolvers() []netip.AddrPort {
	c, err := mdns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil {
		return nil
	}
	var out []netip.AddrPort
	for _, s := range c.Servers {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, netip.AddrPortFrom(a, 53))
		}
	}
	return out
}

// defaultRouter is the gateway of the IPv4 default route; the zero address without one.
func defaultRouter() netip.Addr {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return netip.Addr{}
	}
	for _, r := range routes {
		if (r.Dst == nil || r.Dst.IP.IsUnspecified()) && r.Gw != nil {
			if a, ok := netip.AddrFromSlice(r.Gw); ok {
				return a.Unmap()
			}
		}
	}
	return netip.Addr{}
}

// credentials is account as the web server knows it.
type credentials struct{ account *account.Service }

func (c credentials) Cookie(ctx context.Context, token secret.Text, device services.DeviceID) (services.Caller, bool, error) {
	x, err := c.account.Authenticate(ctx, token, device)
	return callerOf(x), err == nil && c.account.Fresh(x), err
}

func (c credentials) Basic(ctx context.Context, name string, password secret.Text, _ string) (services.Caller, error) {
	x, err := c.account.CheckBasic(ctx, name, password)
	return callerOf(x), err
}

func (c credentials) Bearer(ctx context.Context, token secret.Text, _ string) (services.Caller, error) {
	x, err := c.account.CheckToken(ctx, token)
	return callerOf(x), err
}

func callerOf(x account.Session) services.Caller {
	return services.Caller{Person: x.Person, Role: x.Role, Session: x.ID}
}

// leaf is the certificate that https shows now, DER.
func (a *appliance) leaf() []byte {
	c, err := a.certificate.Current()
	if err != nil || len(c.Certificate) == 0 {
		return nil
	}
	return c.Certificate[0]
}

// lostJournal says whether this boot's check of the disk had to drop the file system's journal.
func lostJournal() bool {
	r, err := boot.ReadReport()
	return err == nil && !r.Journal
}

// storage says how full the disk with the state is.
func (a *appliance) storage() house.Storage {
	m, err := a.keeper.Machine(context.Background())
	if err != nil || m.DiskTotal == 0 {
		return house.Storage{State: house.StateWait, Message: services.Say("storage.unknown", "The room on the disk could not be measured.")}
	}
	s := house.Storage{Total: m.DiskTotal, Free: m.DiskFree, Used: m.DiskTotal - m.DiskFree}
	switch {
	case s.Free < 64<<20 || s.Free*100 < s.Total:
		s.State = house.StateAct
		s.Message = services.Say("storage.full", "The disk is full. What is new cannot be kept until there is room again.")
	case s.Free*10 < s.Total:
		s.State = house.StateCare
		s.Message = services.Say("storage.low", "The disk is nearly full.")
	default:
		s.Message = services.Say("storage.good", "There is room on the disk.")
	}
	return s
}

// removeTemporary clears what writing left in the state's folders when the plug was pulled.
func removeTemporary(state string) error {
	folders := []string{state}
	for _, dir := range []string{"identity", "account", "mesh", "dns", "tmp"} {
		folders = append(folders, filepath.Join(state, dir))
	}
	for _, dir := range folders {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		names, err := filepath.Glob(filepath.Join(dir, ".new-*"))
		if err != nil {
			return err
		}
		for _, n := range names {
			if err := os.Remove(n); err != nil {
				return err
			}
		}
	}
	return nil
}
