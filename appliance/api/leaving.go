package api

import (
	"context"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/looks"
)

// Leaving tells of what removed people kept.
type Leaving interface {
	// Kept lists the removed whose things are on this box still, in the order of services.Membership.
	Kept() []Kept
}

// Kept is a removed person whose things are here still.
type Kept struct {
	services.Leaving
	Until time.Time // when they are erased; zero while nothing says when
}

// LeavingOutput is a removed person whose things are on this box still.
type LeavingOutput struct {
	ID      services.PersonID `json:"id" show:"last"`
	Name    string            `json:"name"`
	Removed time.Time         `json:"removed" show:"time"` // by the clock of the box that did it
	Files   services.Then     `json:"files"`               // erase, export or now
	Until   *time.Time        `json:"until" show:"time"`   // when they are erased; null while nothing says when
}

// FilesInput chooses for a removed person.
type FilesInput struct {
	ID    services.PersonID `json:"id" arg:"PERSON" path:"id" help:"their name, or the ID that person leaving shows"`
	Files string            `json:"files" help:"erase (in 30 days from now), export (kept until you choose otherwise) or now (erased at once)"`
}

// then reads a choice; 0 when nothing was given.
func then(text string, allowed ...services.Then) (services.Then, error) {
	for _, t := range allowed {
		if text == t.String() {
			return t, nil
		}
	}
	if text == "" {
		return 0, nil
	}
	return 0, &services.Problem{
		Kind: services.KindInvalid, Code: "files-invalid", Field: "files",
		Say: services.Say("house.files", "What somebody kept here is erased, or kept for export: files is erase or export; for somebody who was removed, now is erasing at once. Nothing was changed."),
	}
}

// ListLeaving lists the removed whose things are on this box still.
func (h *House) ListLeaving(_ context.Context, caller services.Caller, _ None) ([]LeavingOutput, error) {
	if err := least(caller, services.RoleOwner); err != nil {
		return nil, err
	}
	out := []LeavingOutput{}
	for _, k := range h.Leaving.Kept() {
		one := LeavingOutput{ID: k.Person, Name: k.Name, Removed: k.Removed.UTC(), Files: k.Then}
		if !k.Until.IsZero() {
			until := k.Until.UTC()
			one.Until = &until
		}
		out = append(out, one)
	}
	return out, nil
}

// ChooseFiles says, on every box, what becomes of what a removed person kept.
func (h *House) ChooseFiles(ctx context.Context, caller services.Caller, in FilesInput) (None, error) {
	if err := least(caller, services.RoleOwner); err != nil {
		return None{}, err
	}
	choice, err := then(in.Files, services.ThenErase, services.ThenExport, services.ThenNow)
	if err != nil {
		return None{}, err
	}
	l, err := h.leaver(string(in.ID))
	if err != nil {
		return None{}, err
	}
	if err := h.Identity.SetLeaving(h.acting(ctx, caller), l.Person, choice); err != nil {
		return None{}, err
	}
	h.audit(ctx, caller, "files-"+choice.String(), l.Name)
	return None{}, nil
}

// leaver finds somebody who was removed, by ID or by name.
func (h *House) leaver(who string) (services.Leaving, error) {
	list := h.Identity.Membership().Leaving
	for _, l := range list {
		if string(l.Person) == who {
			return l, nil
		}
	}
	if found := looks.Named(list, func(l services.Leaving) string { return l.Name }, who); len(found) == 1 {
		return found[0], nil
	}
	return services.Leaving{}, &services.Problem{
		Kind: services.KindNotFound, Code: "no-leaver",
		Say: services.Say("house.no-leaver", "Nobody of that name or number was removed from this household, or several were: the ID tells them apart."),
	}
}
