package api

import (
	"context"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/net/idna"

	"hearth.alt/services"
)

// Domain is a listed domain as its owner typed it: "müller.de" for "xn--mller-kva.de" (RFC 5891). What would not come back
// as the same domain stays in ASCII, and so does one with letters of another script, which may look like other names.
func Domain(ascii string) string {
	d, err := idna.Lookup.ToUnicode(ascii)
	if err != nil {
		return ascii
	}
	if back, err := idna.Lookup.ToASCII(d); err != nil || back != ascii {
		return ascii
	}
	if strings.ContainsFunc(d, func(r rune) bool { return r > unicode.MaxASCII && !unicode.Is(unicode.Latin, r) }) {
		return ascii
	}
	return d
}

// ListHomeward lists the domains whose names may point home.
func (h *House) ListHomeward(_ context.Context, caller services.Caller, _ None) ([]HomewardOutput, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return nil, err
	}
	out := []HomewardOutput{}
	for _, d := range h.DNS.Allowed() {
		out = append(out, HomewardOutput{Domain(d)})
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
	return HomewardOutput{Domain(d)}, nil
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
