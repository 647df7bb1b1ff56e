package web

import (
	"net/http"
	"slices"

	"hearth.alt/services"
)

// ErrNotAllowed is for a page that asks for a higher role than the reader has.
var ErrNotAllowed = &services.Problem{
	Kind: services.KindDenied, Code: "not-allowed",
	Say: services.Say("webui.notallowed", "You are signed in, but this page is for others in the house. An owner can change that."),
}

// Errors is what was wrong with a form, said beside its fields and summed up first on the page.
type Errors struct {
	List   []FieldError // in the order of the form
	Status int          // of the answer; 0 is 422
}

// FieldError is one thing that is wrong.
type FieldError struct {
	Field string // name and id of the input; "" when none is at fault
	Text  string
}

// Of returns what is wrong with a field, "" when nothing is.
func (e Errors) Of(field string) string {
	for _, f := range e.List {
		if f.Field == field {
			return f.Text
		}
	}
	return ""
}

// Add says that something is wrong.
func (e *Errors) Add(field, text string) {
	e.List = append(e.List, FieldError{Field: field, Text: text})
}

// Any says whether something is wrong.
func (e *Errors) Any() bool { return len(e.List) > 0 }

// Form sorts an error of an act into what the form should say beside its fields; what the form cannot say comes back.
func (rq *Request) Form(err error, fields ...string) (Errors, error) {
	if err == nil {
		return Errors{}, nil
	}
	if all, ok := err.(interface{ Unwrap() []error }); ok { // several things are wrong at once: each is said
		var e Errors
		for _, err := range all.Unwrap() {
			one, err := rq.Form(err, fields...)
			if err != nil {
				return Errors{}, err
			}
			e.List, e.Status = append(e.List, one.List...), max(e.Status, one.Status)
		}
		return e, nil
	}
	p := services.AsProblem(err)
	e := Errors{}
	switch p.Kind {
	case services.KindInvalid, services.KindConflict:
	case services.KindBusy:
		e.Status = http.StatusTooManyRequests
	case services.KindSignIn, services.KindDenied:
		if p.Field == "" {
			return e, err
		}
	default:
		return e, err
	}
	field := p.Field
	if !slices.Contains(fields, field) {
		field = ""
	}
	e.Add(field, rq.Say(p.Say))
	return e, nil
}
