package api

import (
	"cmp"
	"context"
	"slices"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity"
)

// DisputeOutput is one thing that the 24 words, or enough boxes, have to settle.
type DisputeOutput struct {
	Kind string    `json:"kind"` // "person", "device" or "box" that was removed while it removed in turn; "clone" is a box whose key is used in two places; "remover" is a box that removed this one
	Name string    `json:"name"`
	By   string    `json:"by,omitempty"` // who removed them; the box's name where nobody is named
	At   time.Time `json:"at,omitzero"`
	Kept []string  `json:"kept,omitempty"` // the boxes that say it belongs on, and who said so there; see "recover agree"
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
	kept := func(who identity.Subject) (out []string) {
		for _, v := range d.Voices {
			if p, ok := m.Person(v.Person); ok && slices.Contains(v.Stay, who) {
				out = append(out, v.Name+" ("+p.Name+")")
			}
		}
		return out
	}
	out := []DisputeOutput{}
	for _, f := range d.Forked {
		out = append(out, DisputeOutput{Kind: "clone", Name: cmp.Or(f.Name, f.Box.String()), ID: f.Box.String()})
	}
	for _, r := range d.Removals {
		one := DisputeOutput{Kind: "box", Name: r.Name, By: r.Who, At: r.At, ID: r.Subject.String(), Kept: kept(r.Subject)}
		switch {
		case r.Subject.Person != "":
			one.Kind = "person"
		case r.Subject.Device != "":
			one.Kind = "device"
		}
		out = append(out, one)
	}
	for _, a := range d.Accused {
		out = append(out, DisputeOutput{Kind: "remover", Name: a.Name, ID: a.Box.String()})
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
	settle := identity.Settlement{Words: in.Words}
	if settle.Stay, err = staying(d, h.Identity.Membership().Self, in.Stay); err != nil {
		return SettleOutput{}, err
	}
	self := h.Identity.Membership().Self
	cloned := slices.ContainsFunc(d.Forked, func(b identity.NamedBox) bool { return b.Box == self })
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

// staying are the disputed that are meant, by ID or else by a name that only one of them has: who is disputed may have given
// another's ID, or name, to somebody they made up. A box whose key is used twice stays where it is settled on it.
func staying(d identity.Dispute, self services.PeerID, names []string) (stay []identity.Subject, err error) {
	byID, byName := map[string][]identity.Subject{}, map[string][]identity.Subject{}
	note := func(m map[string][]identity.Subject, key string, who identity.Subject) {
		if !slices.Contains(m[key], who) {
			m[key] = append(m[key], who)
		}
	}
	disputed := func(who identity.Subject, name string) {
		note(byID, who.String(), who)
		note(byName, name, who)
	}
	for _, r := range d.Removals {
		disputed(r.Subject, r.Name)
	}
	for _, a := range d.Accused {
		disputed(identity.Subject{Box: a.Box}, a.Name)
	}
	for _, name := range names {
		found := byID[name]
		if found == nil {
			found = byName[name]
		}
		copied := slices.IndexFunc(d.Forked, func(b identity.NamedBox) bool { return b.Name == name || b.Box.String() == name })
		switch {
		case len(found) == 0 && copied >= 0 && d.Forked[copied].Box == self:
			continue
		case len(found) == 0 && copied >= 0:
			return nil, &services.Problem{
				Kind: services.KindInvalid, Code: "copied", Field: "stay",
				Say: services.Say("house.copied", "{name} stays only where it is settled on that box itself, which then gets a new key. Settled here, it is removed. Nothing was changed.", "name", name),
			}
		case len(found) == 0 && d.None():
			return nil, nil // which is what identity says then
		case len(found) == 0:
			return nil, &services.Problem{
				Kind: services.KindInvalid, Code: "not-disputed", Field: "stay",
				Say: services.Say("house.not-disputed", "{name} is not one of those whom the dispute is about. Nothing was changed.", "name", name),
			}
		case len(found) > 1:
			return nil, &services.Problem{
				Kind: services.KindInvalid, Code: "several-disputed", Field: "stay",
				Say: services.Say("house.several-disputed", "The dispute is about several that are called {name}. Say by the ID which one is meant. Nothing was changed.", "name", name),
			}
		}
		if !slices.Contains(stay, found[0]) {
			stay = append(stay, found[0])
		}
	}
	return stay, nil
}

// Rekey gives this box another key.
type Rekey interface {
	// Next makes the key that will follow, or finds the one that waits, and names it.
	Next(ctx context.Context) (services.PeerID, error)
	// Adopt makes it the box's own and starts everything again with it, a moment later, so that the caller is answered.
	Adopt(id services.PeerID)
}
