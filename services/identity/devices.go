package identity

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
)

// scanTime is how long a device may wait to be scanned when nothing else is asked for.
const scanTime = 10 * time.Minute

// NewDevice is a device to take in.
type NewDevice struct {
	ID     services.DeviceID // "" makes one
	Person services.PersonID // whose it is
	Name   string            // unique among the person's devices, upper and lower case alike
	Key    services.ClientKey
	// Expires is when it is forgotten unless it was seen. Zero is ten minutes from now.
	Expires time.Time
}

func noDevice() error {
	return &services.Problem{
		Kind: services.KindNotFound, Code: "device-not-found", Field: "device",
		Say: services.Say("identity.device.none", "No such device belongs to the household. Perhaps it was removed."),
	}
}

func deviceTaken(name string) error {
	return &services.Problem{
		Kind: services.KindConflict, Code: "name-taken", Field: "name",
		Say: services.Say("identity.device.taken", "This person already has a device called {name}.", "name", name),
	}
}

// AddDevice takes a device in, unscanned until ActivateDevice or Expires, and gives it the lowest free pair of
// addresses. Codes: name-invalid, name-taken, person-not-found, key-invalid, key-taken, id-invalid, id-used,
// expires-invalid, devices-full.
func (s *Service) AddDevice(ctx context.Context, n NewDevice) (services.Device, error) {
	name, err := cleanName("name", n.Name)
	if err != nil {
		return services.Device{}, err
	}
	if n.ID == "" {
		n.ID = NewDeviceID()
	}
	if !n.ID.Valid() {
		return services.Device{}, badID("id")
	}
	if !goodKey(n.Key) {
		return services.Device{}, &services.Problem{
			Kind: services.KindInvalid, Code: "key-invalid", Field: "key",
			Say: services.Say("identity.device.key", "This is not a public key that a device can have. Copy it from the device's app once more."),
		}
	}
	now := s.cfg.Now()
	if n.Expires.IsZero() {
		n.Expires = now.Add(scanTime)
	}
	if err := checkExpires(now, n.Expires); err != nil {
		return services.Device{}, err
	}
	err = s.change(ctx, func(h *household) (record.Payload, error) {
		if _, ok := h.people[n.Person]; !ok {
			return nil, noPerson()
		}
		if _, used := h.used[string(n.ID)]; used {
			return nil, idUsed()
		}
		if h.resembled(string(n.Person), "", name) {
			return nil, deviceTaken(name)
		}
		if h.keyTaken(n.Key) {
			return nil, &services.Problem{
				Kind: services.KindConflict, Code: "key-taken", Field: "key",
				Say: services.Say("identity.device.key-taken", "A device with this key already belongs to the household."),
			}
		}
		host := h.freeHost()
		if host == 0 {
			return nil, &services.Problem{
				Kind: services.KindConflict, Code: "devices-full",
				Say: services.Say("identity.device.full", "The household has room for 253 devices and all places are taken. Remove one that is no longer used."),
			}
		}
		return record.AddDevice{Device: n.ID, Person: n.Person, Name: name, Key: n.Key, Host: host, Expires: wholeSeconds(n.Expires)}, nil
	})
	if err != nil {
		return services.Device{}, err
	}
	d, _ := s.Membership().Device(n.ID)
	return d, nil
}

// goodKey says whether a shared secret can be agreed with k: it is not one of the points of low order (RFC 7748,
// section 6.1), zero among them.
func goodKey(k services.ClientKey) bool {
	public, err := ecdh.X25519().NewPublicKey(k[:])
	if err != nil {
		return false
	}
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return false
	}
	_, err = private.ECDH(public)
	return err == nil
}

// changeDevice hands decide the device; a nil payload changes nothing.
func (s *Service) changeDevice(ctx context.Context, id services.DeviceID, decide func(h *household, d services.Device) (record.Payload, error)) error {
	return s.change(ctx, func(h *household) (record.Payload, error) {
		d, ok := h.devices[id]
		if !ok {
			return nil, noDevice()
		}
		return decide(h, d)
	})
}

// ActivateDevice says that a device was seen with its key. One active already is no error. Codes: device-not-found,
// device-expired.
func (s *Service) ActivateDevice(ctx context.Context, id services.DeviceID) error {
	return s.changeDevice(ctx, id, func(_ *household, d services.Device) (record.Payload, error) {
		if d.State != services.StatePending {
			return nil, nil
		}
		if !s.cfg.Now().Before(d.Expires) {
			return nil, &services.Problem{
				Kind: services.KindConflict, Code: "device-expired",
				Say: services.Say("identity.device.expired", "The code for this device was not scanned in time. Add the device again."),
			}
		}
		return record.ActivateDevice{Device: id}, nil
	})
}

// RenameDevice gives a device another name. Codes: device-not-found, name-invalid, name-taken.
func (s *Service) RenameDevice(ctx context.Context, id services.DeviceID, name string) error {
	name, err := cleanName("name", name)
	if err != nil {
		return err
	}
	return s.changeDevice(ctx, id, func(h *household, d services.Device) (record.Payload, error) {
		if d.Name == name {
			return nil, nil
		}
		if h.resembled(string(d.Person), string(id), name) {
			return nil, deviceTaken(name)
		}
		return record.RenameDevice{Device: id, Name: name}, nil
	})
}

// RemoveDevice removes a device, for good. Code: device-not-found.
func (s *Service) RemoveDevice(ctx context.Context, id services.DeviceID) error {
	return s.changeDevice(ctx, id, func(*household, services.Device) (record.Payload, error) {
		return record.RemoveDevice{Device: id}, nil
	})
}
