package house

import (
	"context"

	"hearth.alt/services/secret"
)

// Settling ends a dispute about who belongs (Frame.Frozen), or takes back a box that was removed (Frame.Removed).
// Whoever has the recovery words may, signed in or not: those who could sign in may be whom it is about.
type Settling interface {
	// Dispute returns what it is about; with nothing in it there is none. Problems: field "words", KindBusy.
	Dispute(ctx context.Context, words secret.Text) (Dispute, error)
	// Settle lets those of Who stay whose IDs are in stay, removes the others, and ends the old keys of Clones. restart says
	// that this box starts again, with another key. Problems: as Dispute, and such without a field.
	Settle(ctx context.Context, words secret.Text, stay []string) (restart bool, err error)

	// Agreement is what several boxes can settle without the words, to an admin or owner.
	Agreement(ctx context.Context) (Agreement, error)
	// Agree says on this box that those of Who stay whose IDs are in stay, and returns what there is then; with enough boxes
	// nothing is disputed any more. Problems: such without a field.
	Agree(ctx context.Context, stay []string) (Agreement, error)
}

// Agreement is what boxes say who of the disputed belongs on.
type Agreement struct {
	Who    []Disputed
	Needed int    // how many boxes have to say the same; 0 where only the words can settle it, or nothing is disputed
	Said   []Said // so far, the newest of each box
}

// Said is what one box says.
type Said struct {
	Box, Person string
	This        bool
	Stay        []string // IDs
}

// Dispute is what the words have to settle.
type Dispute struct {
	Who    []Disputed
	Clones []Clone
}

// Disputed is somebody or something that was removed while it removed in turn.
type Disputed struct {
	ID   string
	Kind string // "person", "device", "box", "here" for this box, or "remover" for one that removed this box
	Name string
	By   []string // who removed it; a box's name where nobody is named; not said of a remover
}

// Clone is a box whose key is used in two places.
type Clone struct {
	Name string
	Here bool // it is this one
}
