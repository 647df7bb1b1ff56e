package api

import (
	"context"
	"fmt"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/account"
)

// reads counts what the console asked without changing anything: at most one event a minute and operation is written
// down, since a script that asks every second would wear out the flash.
type reads struct {
	written time.Time
	since   int // calls since then
}

var errLimit = &services.Problem{
	Kind: services.KindInvalid, Code: "bad-input", Field: "limit",
	Say: notNumber("limit"),
}

// ListAudit lists what happened, newest first.
func (h *House) ListAudit(ctx context.Context, caller services.Caller, in AuditInput) ([]AuditOutput, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return nil, err
	}
	if in.Limit < 0 {
		return nil, errLimit
	}
	if in.Limit == 0 {
		in.Limit = 100
	}
	events, err := h.Account.Events(ctx, time.Time{}, in.Limit)
	if err != nil {
		return nil, err
	}
	m := h.Identity.Membership()
	out := make([]AuditOutput, len(events))
	for i, e := range events {
		out[i] = AuditOutput{At: e.At, Actor: string(e.Actor), Face: e.Face.String(), Action: e.Action, Object: e.Object}
		if p, ok := m.Person(e.Actor); ok {
			out[i].Actor = p.Name
		} else if e.Actor == "" && e.Face == services.FaceConsole {
			out[i].Actor = "local"
		}
		if p, ok := m.Person(services.PersonID(e.Object)); ok {
			out[i].Object = p.Name
		}
	}
	return out, nil
}

// auditCall writes down that an operation was asked for on the console, as "local", and how it went.
func (h *House) auditCall(ctx context.Context, caller services.Caller, o *Operation, err error) {
	object := o.Name
	if o.Method == "GET" {
		h.mu.Lock()
		r := h.reads[o.Name]
		if r == nil {
			r = &reads{}
			if h.reads == nil {
				h.reads = map[string]*reads{}
			}
			h.reads[o.Name] = r
		}
		r.since++
		now, n := h.Clock.Now(), r.since
		due := now.Sub(r.written).Abs() >= time.Minute // the time may have been set back
		if due {
			r.written, r.since = now, 0
		}
		h.mu.Unlock()
		if !due {
			return
		}
		if n > 1 {
			object += fmt.Sprintf(", %d times", n)
		}
	}
	if err != nil {
		object += ": " + services.AsProblem(err).Code
	}
	h.audit(ctx, caller, "local", object)
}

// audit writes down what happened. That it could not be written is logged, and undoes nothing.
func (h *House) audit(ctx context.Context, caller services.Caller, action, object string) {
	if err := h.Account.Audit(ctx, account.Event{Actor: caller.Person, Face: caller.Face, Address: caller.Address, Action: action, Object: object}); err != nil {
		h.Log.Error("an event could not be written down", "action", action, "error", err)
	}
}
