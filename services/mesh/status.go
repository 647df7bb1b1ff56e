package mesh

import (
	"context"
	"encoding/base64"
	"errors"
	"net/netip"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/mesh/internal/stock"
	"hearth.alt/services/secret"
)

// Status is what the client plane does now.
type Status struct {
	Up        bool   // WireGuard runs
	Port      uint16 // UDP; what it was or will be while not Up, 0 when not known
	Interface string // the tunnel interface, "" while not Up
	Devices   map[services.DeviceID]DeviceStatus
}

// DeviceStatus is one device. The zero value was never heard of.
type DeviceStatus struct {
	LastHandshake time.Time      // known time, to the second; kept across restarts; zero: never
	Endpoint      netip.AddrPort // where it was last proved to be; invalid: unknown
	RxBytes       uint64         // from the device, since the tunnel came up
	TxBytes       uint64         // to the device
}

// Status tells what the client plane does now, for every device of the membership.
func (s *Service) Status() Status {
	s.mu.Lock()
	p, st, m := s.plane, s.state, s.members
	s.mu.Unlock()
	out := Status{Port: st.Port, Devices: make(map[services.DeviceID]DeviceStatus)}
	if out.Port == 0 {
		out.Port = s.cfg.Port
	}
	if m == nil {
		return out
	}
	for _, d := range m.Devices {
		out.Devices[d.ID] = DeviceStatus{}
	}
	for _, d := range st.Devices {
		if _, ok := out.Devices[d.ID]; ok {
			out.Devices[d.ID] = DeviceStatus{LastHandshake: d.Handshake, Endpoint: d.At}
		}
	}
	if p == nil {
		return out
	}
	out.Up, out.Port, out.Interface = true, p.port, p.name
	_, figures, err := p.read()
	if err != nil {
		return out
	}
	for _, d := range m.Devices {
		f, ok := figures[d.Key]
		if !ok {
			continue
		}
		ds := out.Devices[d.ID]
		if !f.handshake.IsZero() {
			ds.LastHandshake = s.knownTime(f.handshake)
		}
		if f.at.IsValid() {
			ds.Endpoint = f.at
		}
		ds.RxBytes, ds.TxBytes = f.rx, f.tx
		out.Devices[d.ID] = ds
	}
	return out
}

// Stock is a device's configuration for the stock app.
type Stock struct {
	// Text is the configuration; it holds the device's private key unless the device made its own. Show it once, keep
	// it nowhere.
	Text  secret.Text
	Reach Reach // where it will work
}

// ErrTooLong is what PNG and Path return for a configuration that no camera would read; the text still works as a
// file.
var ErrTooLong = stock.ErrTooLong

// ErrNoAddress is what DeviceConfig returns while Reach has no endpoint.
var ErrNoAddress = &services.Problem{Kind: services.KindUnavailable, Code: "no-address",
	Say: services.Say("mesh.config.noaddress", "This box has no address on the home network yet, so a device would not find it. Look at its cable or its Wi-Fi.")}

// PNG is the QR code as a picture: level M, quiet zone 4, 6 pixels per module, black on white.
func (s Stock) PNG() ([]byte, error) { return stock.PNG(s.Text.Reveal()) }

// Path is the same code as the d of an SVG path and the side of its square view box, quiet zone included.
func (s Stock) Path() (d string, side int, err error) { return stock.Path(s.Text.Reveal()) }

// DeviceConfig writes the configuration of a device. private is what NewDeviceKey returned for it; empty for a device
// that made its own key, whose text then has no private key and is for adding to the app by hand. It works whether or
// not the service runs. Errors for people are *services.Problem.
func (s *Service) DeviceConfig(ctx context.Context, m *services.Membership, d services.Device, private secret.Text) (Stock, error) {
	box, ok := m.Box()
	if !m.Claimed() || !ok {
		return Stock{}, &services.Problem{Kind: services.KindUnavailable, Code: "not-claimed",
			Say: services.Say("mesh.config.unclaimed", "Devices can be added once this box has an owner.")}
	}
	c := stock.Config{
		Address:    []netip.Prefix{netip.PrefixFrom(d.Addr4, 32), netip.PrefixFrom(d.Addr6, 128)},
		DNS:        []netip.Addr{box.Addr4, box.Addr6},
		Search:     m.Household.Domain,
		AllowedIPs: []netip.Prefix{m.Household.Net4, m.Household.Net6},
	}
	if text := private.Reveal(); text != "" {
		raw, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil || len(raw) != 32 {
			return Stock{}, errors.New("the device's private key is not 32 bytes of base64")
		}
		public, err := publicOf(raw)
		if err != nil || public != d.Key {
			return Stock{}, errors.New("the private key is not that of the device")
		}
		c.PrivateKey = [32]byte(raw)
	}
	key, err := s.boxKey(ctx)
	if err != nil {
		return Stock{}, err
	}
	c.BoxKey = key
	out := Stock{Reach: s.Reach()}
	if len(out.Reach.Endpoints) == 0 {
		return Stock{}, ErrNoAddress
	}
	c.Host, c.Port = out.Reach.Endpoints[0].Host, out.Reach.Endpoints[0].Port
	if p, ok := m.Person(d.Person); ok && p.LAN {
		here, err := lookAround()
		if err != nil {
			s.cfg.Log.Warn("the home network's range is not known", "err", err)
		}
		// A range that holds the endpoint itself would send the tunnel's own packets into the tunnel. It is left out
		// where the endpoint is the home address: such a device works at home only, and is there without a tunnel.
		endpoint, _ := netip.ParseAddr(c.Host)
		for _, l := range here.lan {
			if !l.Overlaps(m.Household.Net4) && !l.Overlaps(m.Household.Net6) && !l.Contains(endpoint) {
				c.AllowedIPs = append(c.AllowedIPs, l)
			}
		}
	}
	text, err := c.Format()
	if err != nil {
		return Stock{}, err
	}
	out.Text = secret.NewText(text)
	return out, nil
}

// boxKey is the public half of the box's key, asked for once.
func (s *Service) boxKey(ctx context.Context) (services.ClientKey, error) {
	s.mu.Lock()
	k := s.public
	s.mu.Unlock()
	if k != (services.ClientKey{}) {
		return k, nil
	}
	private, err := s.cfg.Keys.ClientKey(ctx)
	if err != nil {
		return k, err
	}
	if k, err = publicOf(private.Reveal()); err != nil {
		return services.ClientKey{}, err
	}
	s.mu.Lock()
	s.public = k
	s.mu.Unlock()
	return k, nil
}
