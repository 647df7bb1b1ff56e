package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/services/durable"
)

// leavingEvery is how often it is looked at whether somebody's time is over, and how soon what went wrong is tried again.
const leavingEvery = 10 * time.Minute

// leaving is the service that erases what removed people kept on this box, when that was chosen and its time is over.
//
// The time is counted by this box, from when it heard of the choice and knew what time it was; while it does not know,
// and while who belongs is disputed or cannot be read, nothing ends. Time that is forged shortens it as far as
// services/clock is led. The file that says since when is lost without harm: the time begins anew.
type leaving struct {
	path    string
	members watcher
	// keepers forget a person. The household's log is none of them: it holds the removal, and must not make one.
	keepers []services.Snapshotter
	now     func() time.Time
	known   func() bool
	// erased is told of each person whose things are gone.
	erased func(ctx context.Context, l services.Leaving)
	log    *slog.Logger

	mu     sync.Mutex
	list   []services.Leaving // as the membership has it
	kept   map[services.PersonID]stay
	health services.Health
}

// stay is what the file says of a person.
type stay struct {
	Choice uint32    `json:"choice"` // the one that Since and Done are about
	Since  time.Time `json:"since"`  // zero while the time was not known
	Done   bool      `json:"done,omitempty"`
}

// leavingFile is the JSON of the file.
type leavingFile struct {
	Version int                        `json:"version"` // 1
	People  map[services.PersonID]stay `json:"people"`
}

// maxLeavingFile bounds the file: some 100 bytes for each of those who ever left.
const maxLeavingFile = 4 << 20

func newLeaving(l *leaving) *leaving {
	l.log = l.log.With("service", "leaving")
	l.health = services.Health{Name: "leaving", Message: services.Say("leaving.starting", "The box looks who left the household.")}
	return l
}

// load reads the file. A damaged one is set aside.
func (l *leaving) load() error {
	b, err := durable.ReadSmall(l.path, maxLeavingFile)
	var f leavingFile
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil && !errors.Is(err, durable.ErrNotSmall):
		return fmt.Errorf("reading since when people are leaving: %w", err)
	case err != nil || json.Unmarshal(b, &f) != nil || f.Version != 1:
		f = leavingFile{}
		l.log.Error("since when people are leaving cannot be read, and is counted anew")
		if err := os.Rename(l.path, l.path+".damaged"); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = f.People
	if l.kept == nil {
		l.kept = map[services.PersonID]stay{}
	}
	return nil
}

// Run erases until ctx ends.
func (l *leaving) Run(ctx context.Context) error {
	if err := l.load(); err != nil {
		return err
	}
	for {
		m, changed := l.members.Watch()
		err := l.tend(ctx, m)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			l.log.Warn("erasing what removed people kept", "error", err, "again", leavingEvery)
		}
		l.tell(err)
		timer := time.NewTimer(leavingEvery)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// due says whether what l kept is to be erased at now. Unless known is set the time is only a lower bound.
func (s stay) due(l services.Leaving, now time.Time, known bool) bool {
	switch {
	case s.Done:
		return false
	case l.Then == services.ThenNow:
		return true
	}
	until := s.until(l)
	return known && !until.IsZero() && !now.Before(until)
}

// until is when what l kept is erased; zero while nothing says when.
func (s stay) until(l services.Leaving) time.Time {
	if l.Then != services.ThenErase || s.Since.IsZero() {
		return time.Time{}
	}
	return s.Since.Add(services.LeavingKept)
}

// reckon brings what is kept in mind to those who are leaving now. Who belongs again is forgotten, so that a later removal
// begins anew.
func reckon(kept map[services.PersonID]stay, list []services.Leaving, now time.Time, known bool) map[services.PersonID]stay {
	next := make(map[services.PersonID]stay, len(list))
	for _, l := range list {
		s, ok := kept[l.Person]
		if !ok || s.Choice != l.Choice {
			s = stay{Choice: l.Choice}
		}
		// A time that has not come yet was a wrong one.
		if known && (s.Since.IsZero() || now.Before(s.Since)) {
			s.Since = now.UTC().Truncate(time.Second)
		}
		next[l.Person] = s
	}
	return next
}

// tend erases what is due. Each person is written down as done, so that a crash repeats at most one.
func (l *leaving) tend(ctx context.Context, m *services.Membership) error {
	if !m.Claimed() || m.ReadOnly {
		return nil
	}
	now, known := l.now(), l.known()
	l.mu.Lock()
	was := l.kept
	l.mu.Unlock()
	if err := l.keep(was, reckon(was, m.Leaving, now, known), m.Leaving); err != nil {
		return err
	}
	var wrong error
	for _, one := range m.Leaving {
		l.mu.Lock()
		was := l.kept
		l.mu.Unlock()
		s := was[one.Person]
		if !s.due(one, now, known) {
			continue
		}
		if m, _ := l.members.Watch(); m.ReadOnly || !slices.Contains(m.Leaving, one) {
			continue // somebody chose otherwise, or they belong again; Run comes back
		}
		if err := l.erase(ctx, one.Person); err != nil {
			wrong = errors.Join(wrong, err)
			continue
		}
		next := maps.Clone(was)
		s.Done = true
		next[one.Person] = s
		if err := l.keep(was, next, m.Leaving); err != nil {
			return errors.Join(wrong, err)
		}
		l.log.Info("what a removed person kept is erased", "person", string(one.Person))
		l.erased(ctx, one)
	}
	return wrong
}

func (l *leaving) erase(ctx context.Context, id services.PersonID) (wrong error) {
	for _, k := range l.keepers {
		if err := k.ErasePerson(ctx, id); err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("erasing from %s: %w", k.Name(), err))
		}
	}
	return wrong
}

// keep makes next what is kept in mind, and writes it down where it differs from was.
func (l *leaving) keep(was, next map[services.PersonID]stay, list []services.Leaving) error {
	if !maps.Equal(was, next) {
		b, err := json.Marshal(leavingFile{Version: 1, People: next})
		if err != nil {
			return err
		}
		if err := durable.WriteFile(l.path, b, 0o600); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept, l.list = next, list
	return nil
}

// Kept lists the removed whose things are on this box still, as far as it knows.
func (l *leaving) Kept() (out []api.Kept) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range l.list {
		if s := l.kept[one.Person]; !s.Done {
			out = append(out, api.Kept{Leaving: one, Until: s.until(one)})
		}
	}
	return out
}

// tell sets the health, after an attempt that ended with err.
func (l *leaving) tell(err error) {
	kept := l.Kept()
	ok, say := true, services.Say("leaving.none", "Nothing of people who were removed is waiting to be erased.")
	if len(kept) > 0 {
		say = services.Say("leaving.kept", "What removed people kept here stays until it is fetched, or its time is over.")
		if !l.known() {
			say = services.Say("leaving.waits", "What removed people kept here stays at least until the box knows what time it is.")
		}
	}
	if err != nil {
		ok, say = false, services.Say("leaving.failed", "What a removed person kept here could not be erased. The box tries again by itself.")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.health.Ready || l.health.OK != ok {
		l.health.Since = l.now()
	}
	l.health.Ready, l.health.OK, l.health.Message = true, ok, say
}

// Health implements services.Service.
func (l *leaving) Health() services.Health {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.health
}
