package api

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"hearth.alt/services"
)

// Rule says who may reach a route or an operation, and where. Everything is refused that no rule allows.
type Rule struct {
	Faces  []services.Face
	Least  services.Role // RoleNone: anybody who reaches the face
	Before bool          // served while the box is unclaimed
	After  bool          // served once it is claimed
	Lost   bool          // served even while the box cannot read whose it is
	Fresh  bool          // the password was given a short while ago
	// Removed is served even once the household removed the box.
	Removed bool
}

// Ownership says whose the box is.
type Ownership uint8

// The ownerships.
const (
	Unclaimed Ownership = iota // nobody's yet
	Claimed
	// Lost is a box that had an owner and cannot read who: the household log is damaged from its beginning. Nobody
	// can be known, so nobody comes in; and nobody may claim it, since it is somebody's.
	Lost
	// Removed is a box that belonged to a household, which removed it. Nobody of it comes in, and nobody may claim it: what
	// is on it is theirs until it is set up from a fresh card.
	Removed
)

// OwnershipOf says whose the box with this membership is.
func OwnershipOf(m *services.Membership) Ownership {
	switch {
	case m.Claimed():
		if _, ours := m.Box(); !ours {
			return Removed
		}
		return Claimed
	case m.ReadOnly:
		return Lost
	}
	return Unclaimed
}

// Private are the faces on which everything is allowed by role.
var Private = []services.Face{services.FaceTunnel, services.FaceSecure, services.FaceConsole}

// The refusals that Allow answers with; compare with errors.Is.
var (
	ErrNotHere    = &services.Problem{Kind: services.KindNotFound, Code: "not-here", Say: services.Say("access.not-here", "There is nothing at this address.")}
	ErrSignIn     = &services.Problem{Kind: services.KindSignIn, Code: "sign-in", Say: services.Say("access.sign-in", "Sign in first.")}
	ErrDenied     = &services.Problem{Kind: services.KindDenied, Code: "denied", Say: services.Say("access.denied", "Your role does not allow this. Ask an owner of the house.")}
	ErrUnclaimed  = &services.Problem{Kind: services.KindUnavailable, Code: "unclaimed", Say: services.Say("access.unclaimed", "This box has no owner yet. Claim it first.")}
	ErrClaimed    = &services.Problem{Kind: services.KindConflict, Code: "already-claimed", Say: services.Say("access.already-claimed", "This box already has an owner.")}
	ErrLost       = &services.Problem{Kind: services.KindUnavailable, Code: "household-lost", Say: services.Say("access.lost", "The box cannot read whose it is: the record of who belongs is damaged from its beginning. It lets nobody in and cannot be claimed, so that nothing is lost. Bring the record back from a backup.")}
	ErrRemoved    = &services.Problem{Kind: services.KindUnavailable, Code: "box-removed", Say: services.Say("access.removed", "This box was removed from its household, so it lets nobody in and serves nobody. What is on it is still there. If nobody of the house removed it, take the paper with the 24 recovery words: with them it belongs again. Otherwise, to use it again, set it up from a fresh card: as a box of that household, or for somebody new.")}
	ErrFresh      = &services.Problem{Kind: services.KindSignIn, Code: "confirm-password", Say: services.Say("access.confirm-password", "Type your password once more to go on.")}
	ErrNotForApps = &services.Problem{Kind: services.KindDenied, Code: "not-for-apps", Say: services.Say("access.not-for-apps", "An app password is not enough for this. Do it on the house's own pages, or on the box itself.")}
)

// Allow says whether caller may pass: nil, or the refusal. fresh says whether the caller gave the password a short
// while ago; on the console it always did, since opening the socket is the proof.
func (r Rule) Allow(caller services.Caller, whose Ownership, fresh bool) error {
	switch {
	case !slices.Contains(r.Faces, caller.Face):
		return ErrNotHere
	case whose == Lost && !r.Lost:
		return ErrLost
	case whose == Removed && !r.Lost && !r.Removed:
		return ErrRemoved
	case whose == Unclaimed && !r.Before:
		return ErrUnclaimed
	case whose == Claimed && !r.After:
		return ErrClaimed
	case caller.Role >= r.Least:
	case caller.Role == services.RoleNone:
		return ErrSignIn
	default:
		return ErrDenied
	}
	if r.Fresh && !fresh && caller.Face != services.FaceConsole {
		return ErrFresh
	}
	return nil
}

// Operation is one row of the table. Make it with define, so that types and function agree.
type Operation struct {
	Name    string // "device add": the verb's words
	Summary string // one line
	Method  string // of /api/v1
	Path    string // below /api/v1, with {name} for fields tagged path
	Rule
	// Secret marks operations whose output holds a secret for the caller: never cached, never logged.
	Secret bool

	in, out reflect.Type
	call    func(h *House, ctx context.Context, caller services.Caller, in any) (any, error)
}

// In is the type of the input, a struct; Out of the output.
func (o *Operation) In() reflect.Type { return o.in }

// Out is the type of the output.
func (o *Operation) Out() reflect.Type { return o.out }

// Call runs the operation for caller. in is a pointer to a value of type In. The rule has been checked before.
func (o *Operation) Call(ctx context.Context, h *House, caller services.Caller, in any) (any, error) {
	return o.call(h, ctx, caller, reflect.ValueOf(in).Elem().Interface())
}

// Upload is a file that an operation takes, as one field of its input. The request is then a multipart/form-data of two
// parts: "input", the other fields as JSON, and "file".
type Upload struct{ io.Reader }

// Download is a file that an operation gives in place of JSON.
type Download struct {
	Name    string            // what a browser calls it
	Type    string            // of its media
	Warning services.Sentence // to be told with it; may be zero
	Write   func(w io.Writer) error
	Close   func() error // called once
}

// None is the input or output of an operation that takes or gives nothing.
type None struct{}

// define ties a row to its function.
func define[In, Out any](o Operation, do func(*House, context.Context, services.Caller, In) (Out, error)) Operation {
	o.in, o.out = reflect.TypeFor[In](), reflect.TypeFor[Out]()
	o.After = o.After || !o.Before
	o.call = func(h *House, ctx context.Context, caller services.Caller, in any) (any, error) {
		return do(h, ctx, caller, in.(In))
	}
	return o
}

func (o *Operation) takesFile() bool {
	return slices.ContainsFunc(o.Fields(), func(f Field) bool { return f.Upload })
}

// Field is one field of an input, as the surfaces see it.
type Field struct {
	Name     string // json name, "person_id"
	Flag     string // "person-id"
	Arg      string // "NAME" for a positional word
	Path     string
	Help     string
	File     string // "words": also as --words-file
	Save     bool   // where the command line puts a Download; no box is told
	Upload   bool
	Optional bool
	Type     reflect.Type
	Index    int
}

// Wants says which values the field takes, where that can be said in a few words; else it is "".
func (f Field) Wants() string {
	switch f.kind() {
	case role:
		return "owner, admin, member or guest"
	case moment:
		return "written like 2026-11-21T12:00:00Z"
	case number:
		return "a whole number from 1 on"
	}
	return ""
}

// kind is what sort of value a field takes, where that can be said in a few words.
type kind uint8

const (
	text kind = iota
	role
	number
	moment
)

func (f Field) kind() kind {
	switch {
	case f.Type == reflect.TypeFor[services.Role]():
		return role
	case f.Type.Kind() == reflect.Int || f.Type.Kind() == reflect.Int64:
		return number
	case f.Type == reflect.TypeFor[time.Time]():
		return moment
	}
	return text
}

// Fields lists the input's fields in order.
func (o *Operation) Fields() []Field {
	var out []Field
	for i := range o.in.NumField() {
		f := o.in.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			panic(fmt.Sprintf("operation %q: field %s has no json name", o.Name, f.Name))
		}
		out = append(out, Field{
			Name: name, Flag: strings.ReplaceAll(name, "_", "-"), Arg: f.Tag.Get("arg"), Path: f.Tag.Get("path"),
			Help: f.Tag.Get("help"), File: f.Tag.Get("file"), Save: f.Tag.Get("save") != "", Upload: f.Type == reflect.TypeFor[Upload](), Optional: strings.Contains(options, "omitempty"), Type: f.Type, Index: i,
		})
	}
	return out
}
