package services

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Sentence is one whole message for people, in the words of the house (LOOK.md, section 2). It
// carries its key in the message files (webui/messages/*.json), the English text with {name} in place of each
// argument, and the arguments; webui shows it in the reader's language, String in English.
//
// Plurals are written {n, plural, one {# device} other {# devices}} in the message files. The text given to Say
// must be the same as in en.json; a test of webui/messages reads every call of Say and compares.
type Sentence struct {
	Key  string
	Text string
	Args map[string]any // string, int, int64, time.Time, netip.Addr or fmt.Stringer
}

// Say makes a Sentence. Arguments come in pairs of name and value.
func Say(key, text string, args ...any) Sentence {
	s := Sentence{Key: key, Text: text}
	if len(args) > 0 {
		s.Args = make(map[string]any, len(args)/2)
	}
	for i := 0; i+1 < len(args); i += 2 {
		s.Args[fmt.Sprint(args[i])] = args[i+1]
	}
	return s
}

// IsZero says whether nothing was said.
func (s Sentence) IsZero() bool { return s.Key == "" && s.Text == "" }

// String puts the arguments into the English text. Plurals are left to webui/messages.
func (s Sentence) String() string {
	out := s.Text
	for k, v := range s.Args {
		if t, ok := v.(time.Time); ok {
			v = t.UTC().Format("2 January 2006 15:04 UTC")
		}
		out = strings.ReplaceAll(out, "{"+k+"}", fmt.Sprint(v))
	}
	return out
}

// Kind says what sort of trouble a Problem is, so that each surface can answer in its own way.
type Kind uint8

// The kinds and what HTTP makes of them (RFC 9110, section 15).
const (
	KindInternal    Kind = iota // 500: our fault; the cause is in the log
	KindInvalid                 // 400: the input is at fault; Field names it
	KindDenied                  // 403: known, and not allowed
	KindSignIn                  // 401: not known
	KindNotFound                // 404
	KindConflict                // 409: true a moment ago, not now; or a name that is taken
	KindBusy                    // 429: later, after Wait
	KindUnavailable             // 503: a part of the house is not up
)

// Problem is an error that a person will read: a stable code for programs, one calm sentence with the next step
// for people, and the cause for the log. Compare with errors.Is against another Problem: equal Codes match.
type Problem struct {
	Kind  Kind
	Code  string // stable, lower case with dashes: "name-taken"
	Field string // the input at fault, as the operation names it; "" when none is
	Say   Sentence
	Cause error // for the log; nil when there is nothing to add
}

// Error is the English sentence, then the cause.
func (p *Problem) Error() string {
	if p.Cause != nil {
		return strings.TrimSuffix(p.Say.String(), ".") + ": " + p.Cause.Error()
	}
	return p.Say.String()
}

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.Cause }

// Is says whether target is a Problem with the same Code.
func (p *Problem) Is(target error) bool {
	q, ok := target.(*Problem)
	return ok && q.Code == p.Code
}

// ErrDiskFull says that there was no room to keep what was asked for. Who writes says so; see durable.Full.
var ErrDiskFull = &Problem{
	Kind: KindUnavailable, Code: "disk-full",
	Say: Say("problem.disk-full", "The box's disk is full, so this could not be kept. Make room on it, then try once more."),
}

// AsProblem returns the Problem in err's chain; anything else becomes an internal one, with err as its cause. It returns nil
// for nil.
func AsProblem(err error) *Problem {
	if err == nil {
		return nil
	}
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	return &Problem{
		Kind: KindInternal, Code: "internal", Cause: err,
		Say: Say("problem.internal", "Something inside the box went wrong. The detail is in the box's log."),
	}
}
