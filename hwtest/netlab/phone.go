package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// Phone is a phone or laptop with the stock app: upstream wireguard-go with its own bind, in the test's process, its
// tunnel interface "tun0" in the host's namespace. It knows nothing but the text of its configuration.
type Phone struct {
	Host  *Host
	Stock *Stock // what the text said
	Tun   *Port  // the tunnel interface

	dev *device.Device
}

// steady hides from the device when the interface goes up and down. The device would open its sockets anew at such
// an event, on a thread of its own choice, which is outside the host's namespace; here it is brought up once, inside.
type steady struct {
	tun.Device
	events chan tun.Event
}

func newSteady(t tun.Device) *steady {
	s := &steady{t, make(chan tun.Event)}
	go func() {
		for range t.Events() {
		}
		close(s.events)
	}()
	return s
}

func (s *steady) Events() <-chan tun.Event { return s.events }

// The app's own packets never go into the tunnel, even where what is allowed holds the endpoint: a phone at home that
// may reach the home network. Android protects the socket, iOS leaves it out, wg-quick marks it; here too the tunnel's
// routes have a table of their own, for all packets but the marked ones.
const (
	phoneTable = 51820
	phoneMark  = 51820
)

// stockMTU is what the iOS app takes when the text does not say (facts/mesh.md 6).
const stockMTU = 1280

// Phone starts the stock app on the host with the text of its configuration: interface, addresses, routes for what
// is allowed, keys. Endpoint names are looked up in names. It ends with the test, or with Stop.
func (l *Lab) Phone(h *Host, text string, names map[string]netip.Addr) *Phone {
	l.t.Helper()
	p, err := h.phone(text, names)
	if err != nil {
		l.t.Fatalf("phone %s: %v", h.name, err)
	}
	l.t.Cleanup(p.Stop)
	return p
}

func (h *Host) phone(text string, names map[string]netip.Addr) (*Phone, error) {
	s, err := ParseStock(text)
	if err != nil {
		return nil, fmt.Errorf("the app refuses the configuration: %w", err)
	}
	uapi, err := s.uapi(func(name string) (netip.Addr, error) {
		if a, ok := names[strings.TrimSuffix(name, ".")]; ok {
			return a, nil
		}
		return netip.Addr{}, fmt.Errorf("nobody knows the name %q", name)
	})
	if err != nil {
		return nil, err
	}
	mtu := s.MTU
	if mtu == 0 {
		mtu = stockMTU
	}
	p := &Phone{Host: h, Stock: s}
	err = h.Do(func() error {
		t, err := tun.CreateTUN("tun0", mtu)
		if err != nil {
			return err
		}
		p.dev = device.NewDevice(newSteady(t), conn.NewDefaultBind(), device.NewLogger(device.LogLevelSilent, ""))
		if err := p.dev.IpcSet(fmt.Sprintf("fwmark=%d\n", phoneMark) + uapi); err != nil {
			return err
		}
		return p.dev.Up() // inside, for this is where its UDP sockets are opened
	})
	if err != nil {
		if p.dev != nil {
			p.dev.Close()
		}
		return nil, err
	}
	p.Tun = h.port("tun0")
	// A burst waits here rather than getting lost: 500 packets, the default, are less than a port scan sends at once.
	if err := h.nl.LinkSetTxQLen(p.Tun.link(), 10_000); err != nil {
		p.dev.Close()
		return nil, fmt.Errorf("the queue of tun0: %w", err)
	}
	p.Tun.Add(s.Address...)
	for _, peer := range s.Peers {
		for _, a := range peer.AllowedIPs {
			if err := h.nl.RouteReplace(&netlink.Route{LinkIndex: p.Tun.Index, Dst: ipNet(a.Masked()), Table: phoneTable}); err != nil {
				p.dev.Close()
				return nil, fmt.Errorf("route %s: %w", a, err)
			}
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		r := netlink.NewRule()
		r.Family, r.Table, r.Priority, r.Mark, r.Invert = family, phoneTable, 100, phoneMark, true
		if err := h.nl.RuleAdd(r); err != nil && !errors.Is(err, unix.EEXIST) {
			p.dev.Close()
			return nil, fmt.Errorf("the rule of the app's own packets: %w", err)
		}
	}
	return p, nil
}

// Stop ends the app; it may be called twice.
func (p *Phone) Stop() { p.dev.Close() }

// Address4 and Address6 are the phone's addresses in the tunnel; invalid when it has none.
func (p *Phone) Address4() netip.Addr { return p.address(netip.Addr.Is4) }

// Address6 is the phone's IPv6 address in the tunnel.
func (p *Phone) Address6() netip.Addr { return p.address(netip.Addr.Is6) }

func (p *Phone) address(want func(netip.Addr) bool) netip.Addr {
	for _, a := range p.Stock.Address {
		if want(a.Addr()) {
			return a.Addr()
		}
	}
	return netip.Addr{}
}

// PhoneState is what the app shows of its first peer.
type PhoneState struct {
	Endpoint  netip.AddrPort // where it sends to now
	Handshake time.Time      // the last complete one; zero before
	RxBytes   int64
	TxBytes   int64
}

// State reads what the app shows of its first peer.
func (p *Phone) State() (PhoneState, error) {
	text, err := p.dev.IpcGet()
	if err != nil {
		return PhoneState{}, err
	}
	var s PhoneState
	peers := 0
	for _, line := range strings.Split(text, "\n") {
		k, v, _ := strings.Cut(line, "=")
		n, _ := strconv.ParseInt(v, 10, 64)
		switch k {
		case "public_key":
			if peers++; peers > 1 {
				return s, nil
			}
		case "endpoint":
			s.Endpoint, _ = netip.ParseAddrPort(v)
		case "last_handshake_time_sec":
			if n > 0 {
				s.Handshake = time.Unix(n, 0)
			}
		case "rx_bytes":
			s.RxBytes = n
		case "tx_bytes":
			s.TxBytes = n
		}
	}
	return s, nil
}
