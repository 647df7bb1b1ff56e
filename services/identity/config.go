package identity

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/logfile"
	"hearth.alt/services/identity/internal/record"
	"hearth.alt/services/secret"
)

// RecordDomain begins every message that the service asks Keys to sign. The keeper may refuse anything else.
const RecordDomain = record.Domain

// Config is what New needs.
type Config struct {
	// Dir is the folder of the log, "<state>/identity". It is made at the claim when it is missing. Required.
	Dir string
	// Keys holds the private keys. Required.
	Keys Keys
	// Now is the known time (clock.Clock.Now). Required.
	Now func() time.Time
	// Disk keeps the log; nil is the file system.
	Disk Disk
	// Log takes what happened; nil discards it.
	Log *slog.Logger
}

func (c Config) check() error {
	switch {
	case c.Dir == "":
		return errors.New("identity: no folder")
	case c.Keys == nil:
		return errors.New("identity: no keys")
	case c.Now == nil:
		return errors.New("identity: no clock")
	}
	return nil
}

// Disk is where the log is kept, and DiskFile a file of it that is open: the seam at which tests cut the power.
type (
	Disk     = logfile.Disk
	DiskFile = logfile.File
)

// Keys is the keeper as this service needs it: it signs by request and never hands a private key out, but for the
// words while the owner is to write them down. Implementations are safe for concurrent use.
type Keys interface {
	// PeerID is the public half of the device key. It never changes and never blocks.
	PeerID() services.PeerID
	// SignRecord signs the message with the device key (Ed25519, the message itself, not its hash). The message
	// begins with RecordDomain.
	SignRecord(ctx context.Context, message []byte) ([]byte, error)
	// MakeRoot makes the household root from fresh entropy and keeps it durably, or returns the public key of the
	// one that is still pending.
	MakeRoot(ctx context.Context) (ed25519.PublicKey, error)
	// RootWords returns the 24 words while the root is pending, and a *services.Problem with the code
	// words-confirmed (WordsConfirmed) once there is none.
	RootWords(ctx context.Context) ([]secret.Text, error)
	// SignWithRoot signs the message, which begins with RecordDomain, with the pending root.
	SignWithRoot(ctx context.Context, message []byte) ([]byte, error)
	// EraseRoot erases the pending root durably. That there is none is no error.
	EraseRoot(ctx context.Context) error
	// NextRoots returns what KeepNextRoots keeps, none at first.
	NextRoots(ctx context.Context) ([]secret.Bytes, error)
	// KeepNextRoots keeps these entropies of roots that may follow durably, at most 4, in place of those that were kept.
	KeepNextRoots(ctx context.Context, entropies []secret.Bytes) error
}

// WordsConfirmed is what RootWords answers once the root is erased.
func WordsConfirmed() error {
	return &services.Problem{
		Kind: services.KindConflict, Code: "words-confirmed",
		Say: services.Say("identity.words.confirmed", "The recovery words were confirmed, so this box no longer has them. They are on your paper only."),
	}
}

type actingKey struct{}

type actor struct {
	by  services.PersonID
	via services.DeviceID
}

// Acting returns a context whose changes are recorded as made on behalf of the person by, through the device via
// ("" when it is not known). Without it a change is recorded as the box's own. A change on behalf of someone who
// does not belong, or no longer, is refused.
func Acting(ctx context.Context, by services.PersonID, via services.DeviceID) context.Context {
	return context.WithValue(ctx, actingKey{}, actor{by, via})
}

func actorOf(ctx context.Context) actor {
	a, _ := ctx.Value(actingKey{}).(actor)
	return a
}
