package api

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync/atomic"
	"time"
	_ "time/tzdata" // the image has no zones of its own

	"hearth.alt/services"
	"hearth.alt/services/durable"
)

// Zone is the time zone that times are shown in, kept in a file. It is safe for concurrent use. Trust never asks it.
type Zone struct {
	path string
	at   atomic.Pointer[time.Location]
}

// OpenZone reads the zone from the file at path, which holds its IANA name. Where there is none, or a damaged one, it is
// other; nil is none.
func OpenZone(path string, other *time.Location) (*Zone, error) {
	z := &Zone{path: path}
	z.at.Store(other)
	b, err := durable.ReadSmall(path, 1<<10)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, durable.ErrNotSmall):
		return z, nil
	case err != nil:
		return nil, err
	}
	if at, ok := zoneNamed(string(b)); ok {
		z.at.Store(at)
	}
	return z, nil
}

// Location is the zone; nil while nobody chose one.
func (z *Zone) Location() *time.Location { return z.at.Load() }

// Set keeps the zone with the IANA name. Errors: errZone.
func (z *Zone) Set(name string) error {
	at, ok := zoneNamed(name)
	if !ok {
		return errZone
	}
	if err := durable.WriteFile(z.path, []byte(at.String()+"\n"), 0o600); err != nil {
		return err
	}
	z.at.Store(at)
	return nil
}

// zoneNamed is the zone with an IANA name. "Local" is none: on a device it would be UTC.
func zoneNamed(name string) (*time.Location, bool) {
	name = strings.TrimSpace(name)
	if name == "" || strings.EqualFold(name, "local") {
		return nil, false
	}
	at, err := time.LoadLocation(name)
	return at, err == nil
}

// ZoneName is what z is called at the moment t: its IANA name, or on a computer of one's own the short one there.
func ZoneName(z *time.Location, t time.Time) string {
	switch z {
	case nil:
		return "UTC"
	case time.Local:
		return t.In(z).Format("MST")
	}
	return z.String()
}

var errZone = &services.Problem{
	Kind: services.KindInvalid, Code: "bad-input", Field: "zone",
	Say: services.Say("house.zone", "A time zone is written like Europe/Berlin: a continent and a large city. Nothing was changed."),
}

// SetZone chooses the time zone that times are shown in.
func (h *House) SetZone(ctx context.Context, caller services.Caller, in SetZoneInput) (TimeOutput, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return TimeOutput{}, err
	}
	before := ZoneName(h.Zone.Location(), h.Clock.Now())
	if err := h.Zone.Set(in.Zone); err != nil {
		return TimeOutput{}, err
	}
	if after := ZoneName(h.Zone.Location(), h.Clock.Now()); after != before {
		h.audit(ctx, caller, "zone-set", after)
	}
	return h.ShowTime(ctx, caller, None{})
}
