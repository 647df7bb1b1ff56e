package api

import (
	"context"
	"slices"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity"
)

// DisputeOutput is one thing that the 24 words have to settle.
type DisputeOutput struct {
	Kind string    `json:"kind"` // "person", "device" or "box" that was removed while it removed in turn; "clone" is a box whose key is used in two places
	Name string    `json:"name"`
	By   string    `json:"by,omitempty"` // who removed them; the box's name where nobody is named
	At   time.Time `json:"at,omitzero"`
	ID   string    `json:"id" show:"last"` // for --stay
}

// Dispute lists what nobody but the 24 words can settle; it is empty while nothing is disputed.
func (h *House) Dispute(_ context.Context, caller services.Caller, _ None) ([]DisputeOutput, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return nil, err
	}
	return h.Disputed()
}

// Disputed is Dispute for whoever has shown otherwise that they may know.
func (h *House) Disputed() ([]DisputeOutput, error) {
	d, err := h.Identity.Dispute()
	if err != nil {
		return nil, err
	}
	m := h.Identity.Membership()
	box := func(id services.PeerID) string {
		for _, b := range m.Boxes {
			if b.ID == id {
				return b.Name
			}
		}
		return id.String()
	}
	out := []DisputeOutput{}
	for _, id := range d.Forked {
		out = append(out, DisputeOutput{Kind: "clone", Name: box(id), ID: id.String()})
	}
	for _, r := range d.Removals {
		one := DisputeOutput{Kind: "box", Name: r.Name, By: r.Who, At: r.At, ID: r.Subject.String()}
		switch {
		case r.Subject.Person != "":
			one.Kind = "person"
		case r.Subject.Device != "":
			one.Kind = "device"
		}
		out = append(out, one)
	}
	return out, nil
}

// DisputeByWords is Dispute for whoever has the recovery words. Errors: those of identity's CheckWords, with field "words".
func (h *House) DisputeByWords(ctx context.Context, caller services.Caller, words []string) ([]DisputeOutput, error) {
	pending := h.Identity.WordsPending()
	if err := h.Identity.CheckWords(ctx, words); err != nil {
		return nil, err
	}
	if pending {
		h.audit(ctx, caller, "words-confirmed", "")
	}
	return h.Disputed()
}

// SettleInput is what "recover settle" takes.
type SettleInput struct {
	Words []string `json:"words" help:"the 24 recovery words" file:"words"`
	Stay  []string `json:"stay,omitempty" help:"who of the disputed belongs on: name or ID, as recover dispute shows them; the others are removed"`
}

// SettleOutput says what became of it.
type SettleOutput struct {
	OK      bool `json:"ok"`
	Restart bool `json:"restart"` // the box starts again with a new key
}

// Settle ends a dispute with the 24 words.
func (h *House) Settle(ctx context.Context, caller services.Caller, in SettleInput) (SettleOutput, error) {
	if err := least(caller, services.RoleOwner); err != nil {
		return SettleOutput{}, err
	}
	return h.SettleByWords(ctx, caller, in)
}

// SettleByWords is Settle for whoever has the words, since those who could sign in may be the disputed ones.
func (h *House) SettleByWords(ctx context.Context, caller services.Caller, in SettleInput) (SettleOutput, error) {
	d, err := h.Identity.Dispute()
	if err != nil {
		return SettleOutput{}, err
	}
	shown, err := h.Disputed()
	if err != nil {
		return SettleOutput{}, err
	}
	settle := identity.Settlement{Words: in.Words}
	for _, who := range in.Stay {
		found := slices.IndexFunc(shown, func(o DisputeOutput) bool { return o.Kind != "clone" && (o.ID == who || o.Name == who) })
		if found < 0 {
			return SettleOutput{}, &services.Problem{
				Kind: services.KindInvalid, Code: "not-disputed", Field: "stay",
				Say: services.Say("house.not-disputed", "{name} is not one of those whom the dispute is about. Nothing was changed.", "name", who),
			}
		}
		settle.Stay = append(settle.Stay, d.Removals[found-len(d.Forked)].Subject)
	}
	self := h.Identity.Membership().Self
	cloned := slices.Contains(d.Forked, self)
	if cloned {
		if err := h.Identity.CheckWords(ctx, in.Words); err != nil { // before a key is made
			return SettleOutput{}, err
		}
		if settle.Key, err = h.Rekey.Next(ctx); err != nil {
			return SettleOutput{}, err
		}
	}
	if err := h.Identity.Settle(ctx, settle); err != nil {
		return SettleOutput{}, err
	}
	h.audit(ctx, caller, "dispute-settled", "")
	if cloned {
		h.Rekey.Adopt(settle.Key)
	}
	return SettleOutput{OK: true, Restart: cloned}, nil
}

// Rekey gives this box another key.
type Rekey interface {
	// Next makes the key that will follow, or finds the one that waits, and names it.
	Next(ctx context.Context) (services.PeerID, error)
	// Adopt makes it the box's own and starts everything again with it, a moment later, so that the caller is answered.
	Adopt(id services.PeerID)
}
