// Package secret holds the types that carry secrets through the program. They print, log and marshal as
// "[redacted]", so that a secret can leave only where the code says Reveal, which a reviewer can search for.
//
// The package is a leaf tool: anyone may import it, and it imports nothing of ours.
package secret

import (
	"crypto/subtle"
	"encoding/json"
	"log/slog"
)

const redacted = "[redacted]"

// Bytes is a secret of bytes. The zero value is an empty secret.
type Bytes struct{ b []byte }

// NewBytes takes ownership of b.
func NewBytes(b []byte) Bytes { return Bytes{b} }

// Reveal returns the secret itself, not a copy. The caller must not keep it longer than it needs.
func (s Bytes) Reveal() []byte { return s.b }

// Len is the number of bytes.
func (s Bytes) Len() int { return len(s.b) }

// Equal compares in constant time for equal lengths.
func (s Bytes) Equal(o Bytes) bool { return subtle.ConstantTimeCompare(s.b, o.b) == 1 }

func (Bytes) String() string               { return redacted }
func (Bytes) GoString() string             { return redacted }
func (Bytes) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Bytes) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Text is a secret of text: a password, a token, a recovery word. The zero value is an empty secret.
//
// It unmarshals from JSON and text, so that an operation may take one; it never marshals as what it holds.
type Text struct{ s string }

// NewText returns s as a secret.
func NewText(s string) Text { return Text{s} }

// Reveal returns the secret itself.
func (t Text) Reveal() string { return t.s }

// Equal compares in constant time for equal lengths.
func (t Text) Equal(o Text) bool { return subtle.ConstantTimeCompare([]byte(t.s), []byte(o.s)) == 1 }

func (Text) String() string               { return redacted }
func (Text) GoString() string             { return redacted }
func (Text) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Text) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Text) UnmarshalText(b []byte) error { t.s = string(b); return nil }

var _ json.Marshaler = Shown{}

// Shown is a secret on its way to the one person who is meant to see it: the recovery words in the answer to the
// claim, a device's configuration in the answer to its pairing. It marshals to JSON as what it holds, and
// prints and logs redacted like the others.
type Shown struct{ s string }

// Show marks t as meant for the answer it is put in.
func Show(t Text) Shown { return Shown(t) }

// Reveal returns the secret itself.
func (s Shown) Reveal() string { return s.s }

func (Shown) String() string                  { return redacted }
func (Shown) GoString() string                { return redacted }
func (Shown) LogValue() slog.Value            { return slog.StringValue(redacted) }
func (s Shown) MarshalJSON() ([]byte, error)  { return json.Marshal(s.s) }
func (s *Shown) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &s.s) }
