package services

import (
	"fmt"
	"time"
)

// Then is what is to become of what a removed person kept.
type Then uint8

// The choices, the most careful first.
const (
	ThenExport Then = 1 + iota // kept until somebody has fetched it or chooses otherwise
	ThenErase                  // erased after LeavingKept
	ThenNow                    // erased at once
)

// LeavingKept is how long what a removed person kept is there before ThenErase has it erased. Each box counts it for
// itself, from when it heard of the choice: the times in records are other boxes' and decide nothing.
const LeavingKept = 30 * 24 * time.Hour

var thenNames = [...]string{"", "export", "erase", "now"}

func (t Then) String() string {
	if t.Valid() {
		return thenNames[t]
	}
	return fmt.Sprintf("then %d", t)
}

// Valid says whether t is one of the choices.
func (t Then) Valid() bool { return t >= ThenExport && t <= ThenNow }

// MarshalText implements encoding.TextMarshaler.
func (t Then) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Then) UnmarshalText(b []byte) error {
	for i, n := range thenNames {
		if i > 0 && n == string(b) {
			*t = Then(i)
			return nil
		}
	}
	return fmt.Errorf("%q is not a choice: want export, erase or now", b)
}

// Leaving is a person who belonged once and was removed. Somebody whose invitation ended is none.
type Leaving struct {
	Person  PersonID
	Name    string    // as they were called
	Removed time.Time // by the clock of the box that did it, for people to read
	Then    Then
	Choice  uint32 // grows with each choice made after another; 0 when nobody chose
}
