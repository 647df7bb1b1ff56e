package account

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"hearth.alt/services"
)

// The lives of what lets someone in.
const (
	SessionIdle     = 7 * 24 * time.Hour   // a session that is not used this long ends
	SessionLife     = 90 * 24 * time.Hour  // a session ends this long after its sign-in
	FreshFor        = 30 * time.Minute     // after the password was given, for what is dangerous
	KnownLife       = 365 * 24 * time.Hour // how long a browser is known after its last sign-in
	InvitationLife  = 7 * 24 * time.Hour
	WayInLife       = 24 * time.Hour
	AuditLife       = 90 * 24 * time.Hour
	usedEvery       = 10 * time.Minute   // how old "last used" on disk may be
	auditStep       = 7 * 24 * time.Hour // of rows that age drops at a time
	maxAuditRows    = 50_000
	maxSessions     = 32 // of one person; the one not used for longest makes room
	maxKnown        = 16 // of one person; likewise
	maxAppPasswords = 64 // of one person; then a Problem
	maxTokens       = 64 // of one person; then a Problem
)

// Members tells who belongs; identity's service is one. The channel is closed when there is a newer snapshot. It is
// called on every check and must be memory only.
type Members interface {
	Watch() (*services.Membership, <-chan struct{})
}

// Ended says that something that let someone in has ended.
type Ended struct {
	Kind   Kind
	ID     string // as in Session.ID
	Person services.PersonID
	Device services.DeviceID
}

// Config is what the service needs. Dir, Members, MayGrant and Now are required.
type Config struct {
	Dir     string // the service's own folder, "<state>/account"; made when missing, mode 0700
	Members Members
	// MayGrant says whether somebody with the role by may give a person role.
	MayGrant func(by, role services.Role) bool
	Now      func() time.Time // the known time: it never goes back
	// Activate makes a pending person active who accepted their invitation; somebody active already is no error. It is
	// called outside all locks. nil is nobody: they stay pending.
	Activate func(context.Context, services.PersonID) error
	// OnEnded is called, outside all locks, with what has just ended, so that open sockets can be closed. It must not
	// block long. nil is nobody.
	OnEnded func([]Ended)
	// Sign signs a message, which begins with SignDomain, with the key of this box. nil: ServeCredentials speaks to nobody.
	Sign   func(ctx context.Context, message []byte) ([]byte, error)
	Params Params       // of new password hashes; zero is DefaultParams
	Log    *slog.Logger // nil is silence
}

// New checks the configuration. Nothing is opened until Run.
func New(c Config) (*Service, error) {
	if c.Dir == "" || c.Members == nil || c.MayGrant == nil || c.Now == nil {
		return nil, errors.New("account: Dir, Members, MayGrant and Now are required")
	}
	if c.Params == (Params{}) {
		c.Params = DefaultParams
	}
	if err := c.Params.check(); err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Log = c.Log.With("service", "account")
	if c.Activate == nil {
		c.Activate = func(context.Context, services.PersonID) error { return nil }
	}
	if c.OnEnded == nil {
		c.OnEnded = func([]Ended) {}
	}
	s := &Service{c: c, throttle: NewThrottle(), refused: map[refusal]int{}, dead: map[string]bool{}, opened: make(chan struct{}), written: make(chan struct{})}
	s.hasher.init()
	s.health = services.Health{Name: "account", Message: services.Say("account.starting", "Sign-in is starting.")}
	s.clear()
	return s, nil
}
