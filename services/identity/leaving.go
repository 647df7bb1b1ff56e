package identity

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
)

// departure is a person who was removed. Until a choice has an effect it is to erase what they kept, after a while.
type departure struct {
	services.Leaving
	// in says that they came in, on some box: else they kept nothing.
	in bool
}

// cameIn notes that somebody accepted the invitation that was withdrawn elsewhere at the same time.
func (h *household) cameIn(id services.PersonID) {
	if d, ok := h.departed[id]; ok {
		d.in = true
		h.departed[id] = d
	}
}

// choose is what becomes of what a removed person kept. Which of several choices counts does not depend on their order:
// boxes that made one apart from one another agree on the more careful, and a later one made in knowledge of both counts.
func (h *household) choose(p record.SetLeaving) error {
	d, ok := h.departed[p.Person]
	switch {
	case !ok:
		return errUnknown
	case p.Number < d.Choice || p.Number == d.Choice && p.Then >= d.Then:
		return errChosen
	}
	d.Choice, d.Then = p.Number, p.Then
	h.departed[p.Person] = d
	return nil
}

func (h *household) leaving() []services.Leaving {
	var out []services.Leaving
	for d := range maps.Values(h.departed) {
		if d.in {
			out = append(out, d.Leaving)
		}
	}
	slices.SortFunc(out, func(a, b services.Leaving) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Person, b.Person))
	})
	return out
}

func badThen() error {
	return &services.Problem{
		Kind: services.KindInvalid, Code: "files-invalid", Field: "files",
		Say: services.Say("identity.leaving.choice", "What somebody kept here is erased, or kept for export. Nothing was changed."),
	}
}

// RemovePersonThen removes a person and all their devices, for good, and says in the same breath what becomes of what
// they kept; 0 is no choice. Somebody who only was invited kept nothing, and then says nothing. Codes: person-not-found,
// last-owner, files-invalid.
func (s *Service) RemovePersonThen(ctx context.Context, id services.PersonID, then services.Then) error {
	if then != 0 && !then.Valid() {
		return badThen()
	}
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	return s.changeAllLocked(ctx, actorOf(ctx), func(h *household) ([]record.Payload, error) {
		p, ok := h.people[id]
		switch {
		case !ok:
			return nil, noPerson()
		case h.lastOwner(id):
			return nil, lastOwner()
		}
		all := []record.Payload{record.RemovePerson{Person: id}}
		if then != 0 && p.State != services.StatePending {
			all = append(all, record.SetLeaving{Person: id, Number: 1, Then: then})
		}
		return all, nil
	})
}

// SetLeaving changes what becomes of what a removed person kept, on every box; the time it is kept begins anew. What a box
// has erased stays so. Codes: person-not-found, files-invalid.
func (s *Service) SetLeaving(ctx context.Context, id services.PersonID, then services.Then) error {
	if !then.Valid() {
		return badThen()
	}
	return s.change(ctx, func(h *household) (record.Payload, error) {
		d, ok := h.departed[id]
		if !ok || !d.in || d.Choice+1 == 0 {
			return nil, &services.Problem{
				Kind: services.KindNotFound, Code: "person-not-found", Field: "person",
				Say: services.Say("identity.leaving.none", "Nobody of that name or number was removed from this household."),
			}
		}
		return record.SetLeaving{Person: id, Number: d.Choice + 1, Then: then}, nil
	})
}
