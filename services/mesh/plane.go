package mesh

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tailscale/wireguard-go/device"
	"github.com/tailscale/wireguard-go/tun"
	"golang.org/x/sys/unix"

	"hearth.alt/services"
	"hearth.alt/services/mesh/internal/bind"
	"hearth.alt/services/mesh/internal/clamp"
	"hearth.alt/services/secret"
)

// peer is one device as WireGuard sees it.
type peer struct {
	id           services.DeviceID
	addr4, addr6 netip.Addr
}

// wanted is the peers that a membership asks for now, and when that changes by itself (zero: never). A device belongs
// when it is active, or pending and not expired, and its person is there and not quarantined. A key or an address
// that two devices claim goes to the first: identity never lets that happen, and if it does nobody's traffic may
// move to another.
func wanted(m *services.Membership, now time.Time) (peers map[services.ClientKey]peer, next time.Time) {
	peers = make(map[services.ClientKey]peer, len(m.Devices))
	if !m.Claimed() {
		return peers, next
	}
	taken := make(map[netip.Addr]bool)
	for _, d := range m.Devices {
		switch d.State {
		case services.StateActive:
		case services.StatePending:
			if !d.Expires.IsZero() {
				if !now.Before(d.Expires) {
					continue
				}
				if next.IsZero() || d.Expires.Before(next) {
					next = d.Expires
				}
			}
		default:
			continue
		}
		if p, ok := m.Person(d.Person); !ok || p.State == services.StateQuarantined {
			continue
		}
		if _, twice := peers[d.Key]; twice || d.Key == (services.ClientKey{}) || taken[d.Addr4] || taken[d.Addr6] ||
			!m.Household.Net4.Contains(d.Addr4) || !m.Household.Net6.Contains(d.Addr6) {
			continue
		}
		taken[d.Addr4], taken[d.Addr6] = true, true
		peers[d.Key] = peer{d.ID, d.Addr4, d.Addr6}
	}
	if b, ok := m.Box(); ok { // the box's own addresses are nobody else's
		for k, p := range peers {
			if p.addr4 == b.Addr4 || p.addr6 == b.Addr6 {
				delete(peers, k)
			}
		}
	}
	return peers, next
}

// plane is a running WireGuard device.
type plane struct {
	dev  *device.Device
	bind *bind.Bind
	name string // of the tunnel interface
	port uint16
	// peers is what the device was told; touched by the service's loop only.
	peers map[services.ClientKey]peer
}

// openPlane starts WireGuard without peers on the first of the ports that is free (0 is any). heard is bind.New's.
func openPlane(ctx context.Context, cfg *Config, m *services.Membership, key secret.Bytes, ports []uint16, heard func(bind.Key, netip.AddrPort)) (_ *plane, err error) {
	box, ok := m.Box()
	if !ok {
		return nil, errors.New("the membership does not know this box")
	}
	if cfg.Tunnel == nil {
		return nil, ErrNoTunnel
	}
	f, _, err := cfg.Tunnel.OpenTUN(ctx, TUNSpec{Name: cfg.Name, MTU: MTU, Addresses: []netip.Prefix{
		netip.PrefixFrom(box.Addr4, m.Household.Net4.Bits()), netip.PrefixFrom(box.Addr6, m.Household.Net6.Bits()),
	}})
	if err != nil {
		return nil, fmt.Errorf("opening the tunnel interface: %w", err)
	}
	fd, err := duplicate(f)
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("taking the tunnel interface: %w", err)
	}
	// Unmonitored: the keeper set addresses, MTU and state, which this process may have no right to, and the
	// interface may be in another network namespace.
	t, name, err := tun.CreateUnmonitoredTUNFromFD(fd)
	if err != nil {
		return nil, fmt.Errorf("using the tunnel interface: %w", err)
	}
	p := &plane{bind: bind.New(heard), name: name, peers: make(map[services.ClientKey]peer)}
	log := func(format string, args ...any) {
		if l := cfg.Log; l.Enabled(ctx, -8) { // beyond debug: the library speaks of every handshake
			l.Log(ctx, -8, "wireguard", "says", fmt.Sprintf(format, args...))
		}
	}
	p.dev = device.NewDevice(&clamp.Device{Device: t, Bytes: MTU}, p.bind, &device.Logger{Verbosef: device.DiscardLogf, Errorf: log})
	defer func() {
		if err != nil {
			p.dev.Close()
		}
	}()
	for i, port := range ports {
		if err = p.dev.IpcSet(fmt.Sprintf("private_key=%s\nlisten_port=%d\n", hex.EncodeToString(key.Reveal()), port)); err == nil {
			err = p.dev.Up()
		}
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EADDRINUSE) || i == len(ports)-1 {
			return nil, fmt.Errorf("listening on UDP port %d: %w", port, err)
		}
	}
	if p.port, _, err = p.read(); err != nil {
		return nil, err
	}
	return p, nil
}

// duplicate gives a file descriptor of its own to the library, which closes it by number.
func duplicate(f *os.File) (fd int, err error) {
	c, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	if e := c.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3) }); e != nil {
		return -1, e
	}
	return fd, err
}

// apply makes the device's peers those that are wanted. Peers that stay as they are, are not touched. where is the
// last known place of a new peer.
func (p *plane) apply(want map[services.ClientKey]peer, where func(services.DeviceID) netip.AddrPort) (added, removed int, err error) {
	for k := range p.peers {
		if _, stays := want[k]; !stays {
			err = errors.Join(err, p.dev.IpcSet(fmt.Sprintf("public_key=%x\nremove=true\n", k)))
			p.bind.Forget(k)
			delete(p.peers, k)
			removed++
		}
	}
	for k, w := range want {
		old, known := p.peers[k]
		if known && old.addr4 == w.addr4 && old.addr6 == w.addr6 {
			p.peers[k] = w
			continue
		}
		text := fmt.Sprintf("public_key=%x\nreplace_allowed_ips=true\nallowed_ip=%s/32\nallowed_ip=%s/128\n", k, w.addr4, w.addr6)
		if !known {
			text = fmt.Sprintf("public_key=%x\nendpoint=%s\nreplace_allowed_ips=true\nallowed_ip=%s/32\nallowed_ip=%s/128\n", k, bind.Endpoint(k), w.addr4, w.addr6)
		}
		if e := p.dev.IpcSet(text); e != nil {
			err = errors.Join(err, fmt.Errorf("device %s: %w", w.id, e))
			continue
		}
		p.peers[k] = w
		added++
		if at := where(w.id); !known && at.IsValid() {
			// The phone still holds a session that this run knows nothing of. Calling it replaces that session at
			// once; by itself the phone would notice after 15 seconds of silence.
			p.bind.SetAddress(k, at)
			if dp := p.dev.LookupPeer(device.NoisePublicKey(k)); dp != nil {
				dp.SendHandshakeInitiation(false)
			}
		}
	}
	return added, removed, err
}

// figures is what the device counts for a peer since it was added.
type figures struct {
	handshake time.Time // by the system's clock; zero before the first
	rx, tx    uint64
	at        netip.AddrPort
}

// read asks the device for its port and its peers' figures.
func (p *plane) read() (uint16, map[services.ClientKey]figures, error) {
	text, err := p.dev.IpcGet()
	if err != nil {
		return 0, nil, err
	}
	var port uint16
	out := make(map[services.ClientKey]figures)
	var key services.ClientKey
	var f figures
	var sec, nsec int64
	flush := func() {
		if key == (services.ClientKey{}) {
			return
		}
		if sec != 0 || nsec != 0 {
			f.handshake = time.Unix(sec, nsec)
		}
		f.at, _ = p.bind.Address(key)
		out[key] = f
	}
	for line := range strings.Lines(text) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch k {
		case "listen_port":
			n, _ := strconv.ParseUint(v, 10, 16)
			port = uint16(n)
		case "public_key":
			flush()
			key, f, sec, nsec = services.ClientKey{}, figures{}, 0, 0
			if b, err := hex.DecodeString(v); err == nil && len(b) == len(key) {
				key = services.ClientKey(b)
			}
		case "last_handshake_time_sec":
			sec, _ = strconv.ParseInt(v, 10, 64)
		case "last_handshake_time_nsec":
			nsec, _ = strconv.ParseInt(v, 10, 64)
		case "rx_bytes":
			f.rx, _ = strconv.ParseUint(v, 10, 64)
		case "tx_bytes":
			f.tx, _ = strconv.ParseUint(v, 10, 64)
		}
	}
	flush()
	return port, out, nil
}

// ports lists what to listen on, best first.
func (c *Config) ports(kept uint16) []uint16 {
	var list []uint16
	if c.Port != 0 {
		list = append(list, c.Port)
	}
	if c.Port == 0 || c.AnyPort {
		if kept != 0 && !slices.Contains(list, kept) {
			list = append(list, kept)
		}
		list = append(list, 0)
	}
	return list
}
