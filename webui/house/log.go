package house

import (
	"context"
	"time"

	"hearth.alt/services"
)

// Logging is the household's log, the record of who belongs. All of it is for admins.
type Logging interface {
	// Log returns page n of it, the first being 1 and the newest; an n below or beyond is the nearest one there is.
	Log(ctx context.Context, n int) (Log, error)
	// CheckLog reads every record anew and returns how many are good: all of them. Problem: code "log-bad", about the first
	// that is not.
	CheckLog(ctx context.Context) (int, error)
}

// Log is a page of the log.
type Log struct {
	Records     []LogRecord // newest first
	All         int         // on all pages
	Page, Pages int         // this one, from 1, and how many there are
}

// LogRecord is one record.
type LogRecord struct {
	At     time.Time // by the clock of the box that wrote it
	What   services.Sentence
	Person string            // on whose behalf; "" is the box's own
	Box    string            // that wrote it; "" is the key of the 24 words
	Why    services.Sentence // why it has no effect, a clause; zero when it has
}
