package services

import (
	"context"
	"io"
	"time"
)

// Health is what a service says of itself. Making one is cheap and never blocks.
type Health struct {
	Name    string    // the service's name, "dns"; stable, lower case
	Ready   bool      // it has started and does its work
	OK      bool      // nothing is to be looked at
	Since   time.Time // when Ready or OK last changed, wall time of this box; zero when not known
	Message Sentence  // one sentence for the owner
	// Waiting names the service this one waits for; a child is not blamed while its parent is red. "" is nobody.
	Waiting string
}

// Service is what appliance supervises.
type Service interface {
	// Run blocks until ctx ends or the service can no longer do its work. A clean stop returns nil. All that
	// it started has ended when it returns. It may be called again after it returned an error.
	Run(ctx context.Context) error
	// Health is cheap, never blocks and may be called at any time, from any goroutine.
	Health() Health
}

// Snapshotter is offered by every service that keeps data. Calls may come at any time while it runs.
type Snapshotter interface {
	// Name is the folder's name in an archive; stable, lower case.
	Name() string
	// Snapshot writes a consistent state of all it keeps to w.
	Snapshot(ctx context.Context, w io.Writer) error
	// Restore replaces all it keeps by what Snapshot wrote, wholly or not at all.
	Restore(ctx context.Context, r io.Reader) error
	// ErasePerson forgets everything that belongs to one person. Erasing nobody is no error.
	ErasePerson(ctx context.Context, id PersonID) error
}

// Exporter is offered by a Snapshotter that can hand out what it keeps of one person. None does yet.
type Exporter interface {
	// Export writes what is kept of a person to w, as a tar archive of files that they can use elsewhere.
	Export(ctx context.Context, id PersonID, w io.Writer) error
}
