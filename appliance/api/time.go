package api

import (
	"context"
	"errors"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/clock"
)

// The refusals of "time set".
var (
	errTime = &services.Problem{
		Kind: services.KindInvalid, Code: "bad-input", Field: "time",
		Say: services.Say("house.time", "The time must be after the day this box's program was made, and not decades ahead. Nothing was changed."),
	}
	errSystemTime = &services.Problem{
		Kind: services.KindConflict, Code: "system-time", Field: "time",
		Say: services.Say("house.system-time", "The clock of the computer that this runs on says another time. Set that clock first; nothing was changed here."),
	}
)

// ShowTime says what time the box takes it to be, and on whose word.
func (h *House) ShowTime(_ context.Context, caller services.Caller, _ None) (TimeOutput, error) {
	if err := least(caller, services.RoleMember); err != nil {
		return TimeOutput{}, err
	}
	s := h.Clock.Status()
	return TimeOutput{
		Time: s.Time.Truncate(time.Second), Known: s.Known, Source: string(s.Source), System: s.System.UTC().Truncate(time.Second),
		Zone: ZoneName(h.Zone.Location(), s.Time),
	}, nil
}

// SetTime sets the known time, and has the certificate made anew for it.
func (h *House) SetTime(ctx context.Context, caller services.Caller, in SetTimeInput) (TimeOutput, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return TimeOutput{}, err
	}
	before := h.Clock.Now()
	switch err := h.Clock.Set(in.Time); {
	case errors.Is(err, clock.ErrSystem):
		return TimeOutput{}, errSystemTime
	case errors.Is(err, clock.ErrTooEarly), errors.Is(err, clock.ErrTooLate):
		return TimeOutput{}, errTime
	case err != nil:
		return TimeOutput{}, notKept(err)
	}
	h.audit(ctx, caller, "time-set", before.Format(time.RFC3339))
	h.TimeSet()
	if err := h.Account.TimeSet(ctx); err != nil {
		return TimeOutput{}, err
	}
	return h.ShowTime(ctx, caller, None{})
}
