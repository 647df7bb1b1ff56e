package api

import (
	"context"

	"hearth.alt/services"
)

// ShowNetwork says where the box is in the network and what it found there.
func (h *House) ShowNetwork(_ context.Context, caller services.Caller, _ None) (NetworkOutput, error) {
	if err := least(caller, services.RoleMember); err != nil {
		return NetworkOutput{}, err
	}
	m, reach := h.Identity.Membership(), h.Mesh.Reach()
	n := NetworkOutput{
		Net4: m.Household.Net4.String(), Net6: m.Household.Net6.String(), Domain: m.Household.Domain,
		Name: h.Names.Name(), Port: int(h.Mesh.Status().Port), Reach: reach.Say.String(), Addresses: []string{}, Found: []FoundOutput{},
	}
	for _, a := range h.Addresses() {
		n.Addresses = append(n.Addresses, a.String())
	}
	for _, f := range h.Names.Found() {
		n.Found = append(n.Found, FoundOutput{Kind: string(f.Kind), Name: f.Name, Host: f.Host})
	}
	return n, nil
}
