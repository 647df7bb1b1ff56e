package house

import (
	"context"
	"io"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/secret"
)

// Boxes is which boxes the household has, and how another one comes in.
type Boxes interface {
	// Boxes lists them, by label.
	Boxes(ctx context.Context) ([]Box, error)
	// BoxInvitation is the invitation that waits for a box, to those who may invite; the zero one is that none does.
	BoxInvitation(ctx context.Context) (BoxInvitation, error)
	// InviteBox makes one, in place of the former.
	InviteBox(ctx context.Context) error
	// WithdrawBox ends it. That there is none is no error.
	WithdrawBox(ctx context.Context) error
	// RemoveBox removes a box for good. this says that the very box that answers is meant; Problems: field "this". spare
	// says that it was not stolen: the passwords that were last set on it go on counting.
	RemoveBox(ctx context.Context, id services.PeerID, this, spare bool) error
	// Export is the household in a file, for owners.
	Export(ctx context.Context) (Download, error)
}

// Download is a file that is written as it goes out.
type Download struct {
	Name, Type string
	Write      func(w io.Writer) error
	Close      func() error // to be called once
}

// Box is a box as a page shows it.
type Box struct {
	services.Box
	This   bool      // the one that answers
	Words  string    // three that it shows for the one that answers, too; "" for that one
	Linked bool      // in touch with it now
	Heard  time.Time // when it was last in touch; zero is never, and then it may not have finished joining
}

// BoxInvitation is how another box comes in.
type BoxInvitation struct {
	Link    secret.Shown // "" when none waits
	Code    secret.Shown // three words
	Expires time.Time
	Tries   int // that the three words have left
	Joined  Box // the box that came with it; its Name is "" while it waits
}

// Joining is how a box that nobody has claimed becomes one of a household that is there already.
type Joining interface {
	// JoinHousehold joins. token stands for the claim code. Problems have the fields of JoinForm.
	JoinHousehold(ctx context.Context, token string, form JoinForm) (Joined, error)
}

// Joined is what became of a box that joined.
type Joined struct {
	Household string // its name
	Words     string // that the box that invited shows, too
}

// JoinForm is what joining asks.
type JoinForm struct {
	Link string // field "link": the invitation's link, or its three words
	Name string // field "name": of this box
	At   string // field "at": with the three words, the other box's address; "" is the one found at home
}
