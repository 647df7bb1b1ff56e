package api

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"hearth.alt/services"
)

// Class says how a route knows its caller and how browsers may reach it.
type Class uint8

// The classes (../../shared/DESIGN.md, section 4).
const (
	ClassPage Class = iota // session cookie; cross-origin requests refused
	ClassAPI               // bearer or Basic credential; cookies ignored
	ClassPeer              // signed by a box
)

func (c Class) String() string { return [...]string{"page", "api", "peer"}[c] }

// Rule says who may reach a route or an operation, and where. Everything is refused that no rule allows.
type Rule struct {
	Faces  []services.Face
	Least  services.Role // RoleNone: anybody who reaches the face
	Before bool          // served while the box is unclaimed
	After  bool          // served once it is claimed
	Fresh  bool          // the password was given a short while ago
}

// Private are the faces on which everything is allowed by role.
var Private = []services.Face{services.FaceTunnel, services.FaceSecure, services.FaceConsole}

// The refusals that Allow answers with; compare with errors.Is.
var (
	ErrNotHere   = &services.Problem{Kind: services.KindNotFound, Code: "not-here", Say: services.Say("access.not-here", "There is nothing at this address.")}
	ErrSignIn    = &services.Problem{Kind: services.KindSignIn, Code: "sign-in", Say: services.Say("access.sign-in", "Sign in first.")}
	ErrDenied    = &services.Problem{Kind: services.KindDenied, Code: "denied", Say: services.Say("access.denied", "Your role does not allow this. Ask the owner of the house.")}
	ErrUnclaimed = &services.Problem{Kind: services.KindUnavailable, Code: "unclaimed", Say: services.Say("access.unclaimed", "This box has no owner yet. Claim it first.")}
	ErrClaimed   = &services.Problem{Kind: services.KindConflict, Code: "already-claimed", Say: services.Say("access.already-claimed", "This box already has an owner.")}
	ErrFresh     = &services.Problem{Kind: services.KindSignIn, Code: "confirm-password", Say: services.Say("access.confirm-password", "Type your password once more to go on.")}
)

// Allow says whether caller may pass: nil, or the refusal. fresh says whether the caller gave the password a short
// while ago; on the console it always did, since opening the socket is the proof.
func (r Rule) Allow(caller services.Caller, claimed, fresh bool) error {
	switch {
	case !slices.Contains(r.Faces, caller.Face):
		return ErrNotHere
	case !claimed && !r.Before:
		return ErrUnclaimed
	case claimed && !r.After:
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
	// Private marks operations whose output holds a secret for the caller: never cached, never logged.
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

// Field is one field of an input, as the surfaces see it.
type Field struct {
	Name     string // json name, "person_id"
	Flag     string // "person-id"
	Arg      string // "NAME" for a positional word
	Path     string
	Help     string
	File     string // "words": also as --words-file
	Optional bool
	Type     reflect.Type
	Index    int
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
			Help: f.Tag.Get("help"), File: f.Tag.Get("file"), Optional: strings.Contains(options, "omitempty"), Type: f.Type, Index: i,
		})
	}
	return out
}
