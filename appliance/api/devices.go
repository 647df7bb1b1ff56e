package api

import (
	"context"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/looks"
	"hearth.alt/services/mesh"
	"hearth.alt/services/secret"
)

// PairWithin is how long a new device may wait for its first handshake.
const PairWithin = 10 * time.Minute

// pairing is what the box remembers of a device between its making and its first handshake. The private key lives
// here only, in memory.
type pairing struct {
	private secret.Text
	name    string
}

// ErrNoDevice says that no device is meant, or none that the caller may know of.
var ErrNoDevice = &services.Problem{
	Kind: services.KindNotFound, Code: "no-device",
	Say: services.Say("house.no-device", "There is no such device in this household. Look at the list of devices: it may have another name now, or be gone."),
}

// ErrSeveralDevices says that the name that was given is that of more than one device.
var ErrSeveralDevices = &services.Problem{
	Kind: services.KindConflict, Code: "several-devices",
	Say: services.Say("house.several-devices", "Several devices have that name. Give the ID of the one that is meant; the list of devices shows it."),
}

// device finds a device that caller may change, by ID or by name, as at sign-in. Who may not change it learns nothing of it.
func (h *House) device(caller services.Caller, which services.DeviceID) (services.Device, error) {
	m := h.Identity.Membership()
	var theirs []services.Device
	for _, d := range m.Devices {
		p, _ := m.Person(d.Person)
		switch {
		case h.MayChange(caller, p) != nil:
		case d.ID == which:
			return d, nil
		default:
			theirs = append(theirs, d)
		}
	}
	found := looks.Named(theirs, func(d services.Device) string { return d.Name }, string(which))
	switch len(found) {
	case 0:
		return services.Device{}, ErrNoDevice
	case 1:
		return found[0], nil
	}
	return services.Device{}, ErrSeveralDevices
}

// ListDevices lists the devices that caller may change: all for an admin, their own for others.
func (h *House) ListDevices(_ context.Context, caller services.Caller, _ None) ([]DeviceOutput, error) {
	m := h.Identity.Membership()
	status := h.Mesh.Status()
	out := []DeviceOutput{}
	for _, d := range m.Devices {
		p, _ := m.Person(d.Person)
		if h.MayChange(caller, p) != nil {
			continue
		}
		one := DeviceOutput{ID: d.ID, Name: d.Name, Person: p.Name, Paired: d.State == services.StateActive, Address4: d.Addr4.String(), Address6: d.Addr6.String()}
		if s, ok := status.Devices[d.ID]; ok && !s.LastHandshake.IsZero() {
			at := s.LastHandshake.UTC()
			one.LastHandshake = &at
		}
		out = append(out, one)
	}
	return out, nil
}

// AddDevice adds a device that waits for its first handshake.
func (h *House) AddDevice(ctx context.Context, caller services.Caller, in AddDeviceInput) (AddDeviceOutput, error) {
	if err := least(caller, services.RoleMember); err != nil {
		return AddDeviceOutput{}, err
	}
	p, err := h.self(caller, in.Person)
	if err != nil {
		return AddDeviceOutput{}, err
	}
	if err := h.MayChange(caller, p); err != nil {
		return AddDeviceOutput{}, err
	}
	if err := h.Mesh.Closed(); err != nil {
		return AddDeviceOutput{}, err // no code that cannot work
	}
	var private secret.Text
	var key services.ClientKey
	if in.PublicKey != "" {
		key, err = mesh.ParseClientKey(in.PublicKey)
	} else {
		private, key, err = mesh.NewDeviceKey()
	}
	if err != nil {
		return AddDeviceOutput{}, err
	}
	if len(h.Mesh.Reach().Endpoints) == 0 {
		return AddDeviceOutput{}, mesh.ErrNoAddress
	}
	expires := h.Clock.Now().Add(PairWithin)
	d, err := h.Identity.AddDevice(h.acting(ctx, caller), identity.NewDevice{Person: p.ID, Name: in.Name, Key: key, Expires: expires})
	if err != nil {
		return AddDeviceOutput{}, err
	}
	stock, err := h.Mesh.DeviceConfig(ctx, h.Identity.Membership(), d, private)
	if err != nil {
		// No device is left waiting for settings that there are not.
		if e := h.Identity.RemoveDevice(h.acting(context.WithoutCancel(ctx), caller), d.ID); e != nil {
			h.Log.Warn("a device without settings stays until its time to pair is over", "device", d.ID, "error", e)
		}
		return AddDeviceOutput{}, err
	}
	h.remember(d, private)
	h.audit(ctx, caller, "device-added", d.Name)
	out := AddDeviceOutput{ID: d.ID, Name: d.Name, Config: secret.Show(stock.Text), Expires: expires, Reach: stock.Reach.Say.String()}
	if in.PublicKey == "" {
		if out.PNG, err = stock.PNG(); err != nil {
			return AddDeviceOutput{}, err
		}
	}
	return out, nil
}

// remember keeps the private key of a waiting device and forgets those of devices that wait no more.
func (h *House) remember(d services.Device, private secret.Text) {
	m := h.Identity.Membership()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pairings == nil {
		h.pairings = map[services.DeviceID]pairing{}
	}
	for id := range h.pairings {
		if old, ok := m.Device(id); !ok || old.State != services.StatePending {
			delete(h.pairings, id)
		}
	}
	h.pairings[d.ID] = pairing{private: private, name: d.Name}
}

// WaitingKey returns the private key of a device that waits, while the box remembers it. There is none of a device that
// brought its own public key.
func (h *House) WaitingKey(id services.DeviceID) (secret.Text, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.pairings[id]
	return p.private, p.private.Reveal() != ""
}

// RenameDevice gives a device another name.
func (h *House) RenameDevice(ctx context.Context, caller services.Caller, in RenameDeviceInput) (None, error) {
	d, err := h.device(caller, in.ID)
	if err != nil {
		return None{}, err
	}
	if err := h.Identity.RenameDevice(h.acting(ctx, caller), d.ID, in.Name); err != nil {
		return None{}, err
	}
	h.audit(ctx, caller, "device-renamed", in.Name)
	return None{}, nil
}

// RemoveDevice removes a device at once.
func (h *House) RemoveDevice(ctx context.Context, caller services.Caller, in DeviceInput) (None, error) {
	d, err := h.device(caller, in.ID)
	if err != nil {
		return None{}, err
	}
	if err := h.Identity.RemoveDevice(h.acting(ctx, caller), d.ID); err != nil {
		return None{}, err
	}
	h.audit(ctx, caller, "device-removed", d.Name)
	return None{}, nil
}
