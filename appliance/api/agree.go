package api

import (
	"context"
	"slices"

	"hearth.alt/services"
	"hearth.alt/services/identity"
)

// AgreeInput is what "recover agree" takes.
type AgreeInput struct {
	Stay []string `json:"stay" help:"who of the disputed belongs on: name or ID, as recover dispute shows them; the others are removed"`
	As   string   `json:"as,omitempty" help:"on the box itself: the owner or admin who says so"`
}

// AgreeOutput says what became of it.
type AgreeOutput struct {
	OK      bool `json:"ok"`
	Settled bool `json:"settled"` // enough boxes say the same
	Missing int  `json:"missing"` // on how many more boxes it has to be said
}

// Agree says on this box who of the disputed belongs on. With enough boxes that ends the dispute, without the words.
func (h *House) Agree(ctx context.Context, caller services.Caller, in AgreeInput) (AgreeOutput, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return AgreeOutput{}, err
	}
	d, err := h.Identity.Dispute()
	if err != nil {
		return AgreeOutput{}, err
	}
	stay, err := staying(d, h.Identity.Membership().Self, in.Stay)
	if err != nil {
		return AgreeOutput{}, err
	}
	act := h.acting(ctx, caller)
	if caller.Face == services.FaceConsole && in.As != "" {
		p, err := h.person(in.As)
		if err != nil {
			return AgreeOutput{}, err
		}
		act = identity.Acting(ctx, p.ID, "")
	}
	settled, err := h.Identity.Agree(act, stay)
	if err != nil {
		return AgreeOutput{}, err
	}
	h.audit(ctx, caller, "dispute-agreed", "")
	out := AgreeOutput{OK: true, Settled: settled}
	if !settled {
		if d, err = h.Identity.Dispute(); err != nil {
			return AgreeOutput{}, err
		}
		out.Missing = missing(d, stay)
	}
	return out, nil
}

// missing is on how many more boxes it has to be said that just these stay.
func missing(d identity.Dispute, stay []identity.Subject) int {
	n := d.Needed
	for _, v := range d.Voices {
		if len(v.Stay) == len(stay) && !slices.ContainsFunc(v.Stay, func(s identity.Subject) bool { return !slices.Contains(stay, s) }) {
			n--
		}
	}
	return n
}
