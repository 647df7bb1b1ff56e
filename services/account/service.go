package account

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/durable"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

func migrations() fs.FS {
	sub, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		panic(err) // only when the folder is not embedded
	}
	return sub
}

// Service is sign-in. It is safe for concurrent use. Until Run has opened the database every call that needs it
// answers with a Problem of KindUnavailable.
type Service struct {
	c        Config
	throttle *Throttle
	hasher   hasher

	// making is held while the set of passwords and credentials changes, from looking at the membership to memory
	// and disk having it, so that a sweep with an older membership cannot erase what a newer one carries. It is taken
	// before mu, and never while hashing.
	making sync.Mutex

	signing sync.Mutex // held while statements are read to be sent
	signed  bool       // the signatures that are kept are this box's; under signing

	mu        sync.Mutex
	db        *sql.DB       // nil while closed
	opened    chan struct{} // closed while db is open
	written   chan struct{} // closed by the next writing
	byHash    map[digest]*credential
	passwords map[services.PersonID]bool
	dead      map[string]bool // ended in memory, not yet erased on disk; by id
	refused   map[refusal]int // refused sign-ins not yet in the audit log
	setAside  string          // where a damaged database went, "" is none
	broken    bool            // the audit log does not verify
	unkept    bool            // the last writing did not go in
	stuck     bool            // the last round of Run ended with an error
	health    services.Health
}

// refusal is what refused sign-ins are counted by.
type refusal struct {
	person  services.PersonID // "" is a name that nobody has; the name is not kept, it may be a password
	face    services.Face
	address string
}

const maxRefusals = 256

func (s *Service) clear() {
	s.byHash, s.passwords = map[digest]*credential{}, map[services.PersonID]bool{}
}

func notReady() error {
	return &services.Problem{Kind: services.KindUnavailable, Code: "not-ready",
		Say: services.Say("account.not-ready", "Sign-in is not up yet. Try again in a moment.")}
}

func (s *Service) database() (*sql.DB, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return nil, notReady()
	}
	return s.db, nil
}

// Ready returns a channel that is closed once Run has opened the database.
func (s *Service) Ready() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}

// write is the one way to the disk: fn and the events in one transaction, on disk when it returns nil. Whether it went in
// is told in Health at once. A full disk is services.ErrDiskFull.
//
// Crash points: account.write.ready, account.write.committed.
func (s *Service) write(ctx context.Context, fn func(*sql.Tx) error, events ...Event) error {
	return s.writeEvents(ctx, func(tx *sql.Tx) ([]Event, error) {
		if fn == nil {
			return events, nil
		}
		return events, fn(tx)
	})
}

// errNothing, returned by what is to be written, says that there is nothing to write; that is no error.
var errNothing = errors.New("nothing to write")

// writeEvents is write where fn finds out the events.
func (s *Service) writeEvents(ctx context.Context, fn func(*sql.Tx) ([]Event, error)) error {
	err := s.transact(ctx, fn)
	if errors.Is(err, errNothing) {
		return nil
	}
	var said *services.Problem
	if errors.As(err, &said) || ctx.Err() != nil {
		return err // the request's fault or its end; it says nothing about the disk
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db != nil && s.unkept != (err != nil) {
		s.unkept = err != nil
		s.assess()
	}
	if durable.Full(err) {
		full := *services.ErrDiskFull
		full.Cause = err
		return &full
	}
	return err
}

func (s *Service) transact(ctx context.Context, fn func(*sql.Tx) ([]Event, error)) error {
	db, err := s.database()
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("writing accounts: %w", err)
	}
	defer tx.Rollback()
	events, err := fn(tx)
	if err != nil {
		return fmt.Errorf("writing accounts: %w", err)
	}
	if err := appendEvents(ctx, tx, s.c.Now(), events); err != nil {
		return fmt.Errorf("writing the audit log: %w", err)
	}
	durable.Point("account.write.ready")
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("writing accounts: %w", err)
	}
	durable.Point("account.write.committed")
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.written)
	s.written = make(chan struct{})
	return nil
}

// Run opens the database and keeps house until ctx ends: it makes every newer membership so, writes down what is
// batched, drops what is old.
func (s *Service) Run(ctx context.Context) error {
	if err := s.open(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("opening accounts: %w", err)
	}
	defer s.close()
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for minute := 0; ; {
		_, changed := s.c.Members.Watch()
		s.report(errors.Join(s.sweep(ctx), s.admit(ctx)))
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
			defer cancel()
			if err := errors.Join(s.bury(ctx), s.keepRefused(ctx), s.keepUsed(ctx, 0)); err != nil {
				s.c.Log.Warn("writing accounts at the stop", "err", err)
			}
			return nil
		case <-changed:
		case <-tick.C:
			errs := []error{s.keepRefused(ctx), s.keepUsed(ctx, usedEvery), s.tryAgain(ctx)}
			if minute%(24*60) == 0 {
				errs = append(errs, s.keepAudit(ctx))
			}
			minute++
			s.report(errors.Join(errs...))
		}
	}
}

func (s *Service) open(ctx context.Context) error {
	if err := durable.MakeDir(s.c.Dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(s.c.Dir, "account.sqlite")
	db, err := durable.OpenSQLite(ctx, path, migrations())
	aside := ""
	if errors.Is(err, durable.ErrDamaged) {
		if aside, err = durable.SetAside(path); err != nil {
			return err
		}
		s.c.Log.Error("the account database is damaged and set aside", "as", aside)
		db, err = durable.OpenSQLite(ctx, path, migrations())
	}
	if err != nil {
		return err
	}
	if aside == "" {
		// One set aside at an earlier start is told until someone removes it or passwords exist again.
		if old, _ := filepath.Glob(path + ".damaged-*"); len(old) > 0 {
			aside = old[len(old)-1]
		}
	}
	if err := errors.Join(stateUnstated(ctx, db), s.load(ctx, db)); err != nil {
		db.Close()
		return err
	}
	s.mu.Lock()
	s.db, s.setAside = db, aside
	close(s.opened)
	s.mu.Unlock()
	s.report(nil)
	return nil
}

// load fills memory from the database.
func (s *Service) load(ctx context.Context, db rowsQuerier) error {
	all, err := loadCredentials(ctx, db)
	if err != nil {
		return err
	}
	rows, err := db.QueryContext(ctx, "SELECT person FROM password")
	if err != nil {
		return err
	}
	defer rows.Close()
	passwords := map[services.PersonID]bool{}
	for rows.Next() {
		var p services.PersonID
		if err := rows.Scan(&p); err != nil {
			return err
		}
		passwords[p] = true
	}
	if err := rows.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	s.passwords = passwords
	for _, c := range all {
		s.byHash[c.hash] = c
	}
	return nil
}

func (s *Service) close() {
	s.making.Lock()
	defer s.making.Unlock()
	s.signing.Lock()
	s.signed = false
	s.signing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.db.Close(); err != nil {
		s.c.Log.Warn("closing accounts", "err", err)
	}
	s.db = nil
	s.opened = make(chan struct{})
	s.clear()
	s.tell(false, false, services.Say("account.stopped", "Sign-in is stopped."))
}

// sweep ends what the membership no longer carries and what time has ended.
func (s *Service) sweep(ctx context.Context) error {
	s.making.Lock()
	defer s.making.Unlock()
	m, _ := s.c.Members.Watch() // within making: not older than any change made under it
	now := s.c.Now()
	// An unclaimed or a damaged log may not show people who do belong: every check refuses them meanwhile, but what
	// they have is not thrown away.
	sure := m.Claimed() && !m.ReadOnly
	var gone []*credential
	var events []Event
	var people []services.PersonID
	s.mu.Lock()
	for _, c := range s.byHash {
		if _, ok := s.stands(c, m); c.expired(now) || !ok && sure {
			gone = append(gone, c)
			if !c.expired(now) {
				events = append(events, Event{Actor: c.person, Action: "revoked-" + string(c.kind), Object: c.id})
			}
		}
	}
	if sure {
		for id := range s.passwords {
			if !belongs(m, id) {
				people = append(people, id)
				events = append(events, Event{Actor: id, Action: "revoked-" + string(KindPassword), Object: string(id)})
			}
		}
	}
	ended := s.dropLocked(gone)
	for _, c := range gone {
		s.dead[c.id] = true
	}
	s.mu.Unlock()
	s.tellEnded(ended)
	if len(people) > 0 {
		if err := s.write(ctx, func(tx *sql.Tx) error {
			return forgetPeople(ctx, tx, people...)
		}); err != nil {
			return err
		}
		s.mu.Lock()
		for _, id := range people {
			delete(s.passwords, id)
		}
		s.mu.Unlock()
	}
	var dropped error
	if sure {
		dropped = s.drop(ctx, m)
	}
	return errors.Join(dropped, s.bury(ctx, events...))
}

// TimeSet is told that a person set the time. What was made later than it is now would be good for longer than it should:
// sessions and codes among it end. What was only used later counts as used now.
func (s *Service) TimeSet(ctx context.Context) error {
	now := s.c.Now()
	var later []*credential
	s.mu.Lock()
	for _, c := range s.byHash {
		if !c.expires.IsZero() && c.created.After(now.Add(time.Minute)) {
			later = append(later, c)
			continue
		}
		for _, t := range []*time.Time{&c.used, &c.usedKept, &c.proved} {
			if t.After(now) {
				*t = now.UTC().Truncate(time.Second)
			}
		}
	}
	s.mu.Unlock()
	if err := s.write(ctx, func(tx *sql.Tx) error {
		unix := durable.UnixTime(now)
		_, err := tx.ExecContext(ctx, "UPDATE credential SET used = min(used, ?), proved = min(proved, ?)", unix, unix)
		return err
	}); err != nil {
		return err
	}
	return s.end(ctx, later)
}

// admit makes those active who accepted their invitation here: a full disk or a power cut may have kept them pending.
func (s *Service) admit(ctx context.Context) error {
	m, _ := s.c.Members.Watch()
	if m.ReadOnly {
		return nil
	}
	var errs []error
	for _, p := range m.People {
		if p.State == services.StatePending && s.c.Now().Before(p.Expires) && s.HasPassword(p.ID) && s.setHere(ctx, p.ID) {
			errs = append(errs, s.c.Activate(ctx, p.ID))
		}
	}
	return errors.Join(errs...)
}

// tryAgain finds out whether a disk that refused takes something again, though nothing waits to be written down.
func (s *Service) tryAgain(ctx context.Context) error {
	s.mu.Lock()
	unkept := s.unkept
	s.mu.Unlock()
	if !unkept {
		return nil
	}
	return s.write(ctx, nil, Event{Action: "kept-again"})
}

// keepUsed writes down when credentials were last used, those whose row is older than age.
func (s *Service) keepUsed(ctx context.Context, age time.Duration) error {
	type row struct {
		c    *credential
		used time.Time
	}
	s.mu.Lock()
	var due []row
	for _, c := range s.byHash {
		if d := c.used.Sub(c.usedKept); d >= time.Second && d >= age {
			due = append(due, row{c, c.used})
		}
	}
	s.mu.Unlock()
	if len(due) == 0 {
		return nil
	}
	err := s.write(ctx, func(tx *sql.Tx) error {
		for _, r := range due {
			if _, err := tx.ExecContext(ctx, "UPDATE credential SET used = ? WHERE id = ?", durable.UnixTime(r.used), r.c.id); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.mu.Lock()
		for _, r := range due {
			r.c.usedKept = r.used
		}
		s.mu.Unlock()
	}
	return err
}

// keepRefused writes refused sign-ins to the audit log, one event for each person and address.
func (s *Service) keepRefused(ctx context.Context) error {
	s.mu.Lock()
	counts := s.refused
	s.refused = map[refusal]int{}
	s.mu.Unlock()
	if len(counts) == 0 {
		return nil
	}
	var events []Event
	for r, n := range counts {
		events = append(events, Event{Actor: r.person, Face: r.face, Address: r.address, Action: "sign-in-refused", Object: fmt.Sprintf("tries=%d", n)})
	}
	err := s.write(ctx, nil, events...)
	if err != nil {
		s.mu.Lock()
		for r, n := range counts {
			s.countLocked(r, n)
		}
		s.mu.Unlock()
	}
	return err
}

func (s *Service) countLocked(r refusal, n int) {
	if _, ok := s.refused[r]; !ok && len(s.refused) >= maxRefusals {
		r.address = "" // many addresses: counted together
	}
	s.refused[r] += n
}

func (s *Service) keepAudit(ctx context.Context) error {
	verified := s.VerifyAudit(ctx)
	if errors.Is(verified, ErrAuditBroken) {
		s.c.Log.Error("the audit log does not verify", "err", verified)
	} else if verified != nil {
		return verified
	}
	s.mu.Lock()
	s.broken = verified != nil
	s.mu.Unlock()
	now := s.c.Now()
	return s.write(ctx, func(tx *sql.Tx) error { return trimAudit(ctx, tx, now) })
}

// Health implements services.Service.
func (s *Service) Health() services.Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.health
}

// report takes the outcome of the last round into the health.
func (s *Service) report(err error) {
	if err != nil && errors.Is(err, context.Canceled) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.c.Log.Warn("keeping accounts", "err", err)
	}
	s.stuck = err != nil
	s.assess()
}

// assess makes the health of what is known; mu is held.
func (s *Service) assess() {
	switch {
	case s.unkept || s.stuck:
		s.tell(true, false, services.Say("account.disk", "Sign-in works, but the box could not write down what changed. It tries again every minute; look at the storage."))
	case s.setAside != "" && len(s.passwords) == 0:
		s.tell(true, false, services.Say("account.damaged", "The file with the passwords was damaged and is set aside. Nobody can sign in with a password until a new one is made at the box itself. Paired phones keep their tunnel."))
	case s.broken:
		s.tell(true, false, services.Say("account.audit-broken", "The record of sign-ins was changed by something other than this box. Older entries in it may be wrong."))
	default:
		s.tell(true, true, services.Say("account.good", "Sign-in works."))
	}
}

// tell sets the health; mu is held.
func (s *Service) tell(ready, ok bool, say services.Sentence) {
	if s.health.Ready != ready || s.health.OK != ok || s.health.Since.IsZero() {
		s.health.Since = s.c.Now()
	}
	s.health.Ready, s.health.OK, s.health.Message = ready, ok, say
}
