package claimcode

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

const (
	size       = 10 // bytes of a code: 80 bits
	textLength = 16 // letters and digits, 5 bits each
	groupSize  = 4
	wordCount  = 8 // 11 bits each: 80 bits and 8 bits of checksum
)

// Code is the claim secret. The zero Code means that there is none; New and Parse never return it without an error.
// It prints, logs and marshals as "[redacted]"; Text, Words, URL and Sheet reveal it.
type Code struct{ b [size]byte }

// New makes a code from the system's randomness. It never fails: a system without randomness ends the program
// (crypto/rand.Read).
func New() Code {
	var c Code
	for c.IsZero() {
		rand.Read(c.b[:])
	}
	return c
}

// IsZero says whether there is no code.
func (c Code) IsZero() bool { return c == Code{} }

// Equal compares in constant time. No code equals nothing, not even another absent one.
func (c Code) Equal(o Code) bool {
	return subtle.ConstantTimeCompare(c.b[:], o.b[:]) == 1 && !c.IsZero()
}

const redacted = "[redacted]"

// String, GoString, Format, LogValue and MarshalText hide the code.
func (Code) String() string               { return redacted }
func (Code) GoString() string             { return redacted }
func (Code) Format(f fmt.State, _ rune)   { io.WriteString(f, redacted) }
func (Code) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Code) MarshalText() ([]byte, error) { return []byte(redacted), nil }
