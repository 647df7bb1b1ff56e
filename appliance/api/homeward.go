package api

import (
	"context"
	"slices"

	"hearth.alt/services"
)

// ListHomeward lists the domains whose names may point home.
func (h *House) ListHomeward(_ context.Context, caller services.Caller, _ None) ([]HomewardOutput, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return nil, err
	}
	out := []HomewardOutput{}
	for _, d := range h.DNS.Allowed() {
		out = append(out, HomewardOutput{d})
	}
	return out, nil
}

// AllowHomeward lets the names of a domain point home.
func (h *House) AllowHomeward(ctx context.Context, caller services.Caller, in AllowHomewardInput) (HomewardOutput, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return HomewardOutput{}, err
	}
	before := h.DNS.Allowed()
	d, err := h.DNS.Allow(in.Domain)
	if err != nil {
		return HomewardOutput{}, notKept(err)
	}
	if !slices.Contains(before, d) {
		h.audit(ctx, caller, "homeward-allowed", d)
	}
	return HomewardOutput{d}, nil
}

// RemoveHomeward takes that back.
func (h *House) RemoveHomeward(ctx context.Context, caller services.Caller, in HomewardInput) (None, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return None{}, err
	}
	d, err := h.DNS.Disallow(in.Domain)
	if err != nil {
		return None{}, notKept(err)
	}
	h.audit(ctx, caller, "homeward-removed", d)
	return None{}, nil
}
