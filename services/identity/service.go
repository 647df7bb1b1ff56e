package identity

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/exchange"
	"hearth.alt/services/identity/internal/logfile"
	"hearth.alt/services/identity/internal/record"
)

// Service keeps the household log and says who belongs. Its methods are safe for concurrent use. Make one with New.
//
// Every method that changes something checks its input first and returns a *services.Problem, with nothing changed,
// when it does not hold. When it returns nil the change is on disk and the channel of every earlier Watch is closed.
// Besides the codes each method names, any of them may return:
//
//   - not-claimed: there is no household yet
//   - read-only: the log is damaged or of a newer program, and nothing can change
//   - not-ours: this box is not one of the household's
//   - catch-up: the log was brought back, and may be older than what other boxes of the household have
//   - not-there: the person in whose name it was asked does not belong any more
//   - not-written: the disk did not take it; log-full: the log has reached its greatest size
type Service struct {
	cfg   Config
	self  services.PeerID
	path  string
	start time.Time // known time when New was called

	writing chan struct{} // holds one token while a change is made; guards log to holds
	log     *logfile.Log
	state   *household         // nil before the claim
	shared  *exchange.Exchange // the same records, as other boxes are told of them; nil while there are none
	behind  []*record.Record   // those that can be read behind a damage
	conns   map[*LogConn]struct{}
	draft   draft
	// forgotten is how many former roots forgetRoots has seen to; holds is what is announced whose entropy was found with
	// the keeper.
	forgotten int
	holds     [32]byte
	// restored says that the log was brought back and may be too old; again are the removals it lacks. See restored.go.
	restored bool
	again    []*record.Record
	told     map[services.PeerID]struct{}     // the boxes that it has heard all of since
	unproven *record.Record                   // another box's, with this one's key; see proveClone
	old      map[services.PeerID]services.Box // those that belonged when the log was read
	flood    flood
	byes     flood // farewells to removed boxes, and their introductions

	mu      sync.Mutex // guards what follows
	members *services.Membership
	changed chan struct{} // closed when members is replaced
	since   time.Time
	running bool
	begun   time.Time // of Run; monotonic
	heard   bool      // all that another box has, since then
	fault   fault
	torn    int64  // bytes that a power cut left and nobody was promised, since start
	healer  string // the name of the box that made a damaged log whole since start
	words   wordsState
}

// fault is why nothing can change; the zero fault is none.
type fault struct {
	damage *logfile.Damage
	newer  bool
}

func (f fault) any() bool { return f.damage != nil || f.newer }

type wordsState uint8

const (
	wordsUnknown wordsState = iota // the keeper was not asked yet
	wordsPending
	wordsConfirmed
)

var _ services.Service = (*Service)(nil)
var _ services.Snapshotter = (*Service)(nil)

// New reads the log and checks that every record in it is signed or vouched for. A missing log is a box that nobody has
// claimed; a damaged one is no error here: see Health and Membership.ReadOnly. Nothing is written.
func New(cfg Config) (*Service, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		cfg: cfg, self: cfg.Keys.PeerID(), path: filepath.Join(cfg.Dir, "log"),
		writing: make(chan struct{}, 1), changed: make(chan struct{}), since: cfg.Now(), conns: map[*LogConn]struct{}{},
	}
	s.start = cfg.Now()
	s.adopt(load(cfg.Disk, s.self, s.path))
	return s, nil
}

// adopt makes what was loaded the state. The caller holds writing, or is New.
func (s *Service) adopt(l loaded) {
	s.log, s.state, s.forgotten, s.holds = l.log, l.state, 0, [32]byte{}
	s.share(l.records)
	s.behind = l.behind
	s.old = nil
	if l.state != nil {
		s.old = maps.Clone(l.state.boxes)
	}
	s.readMark(l.log)
	m := &services.Membership{Self: s.self}
	if l.state != nil {
		s.keepOut(l.state)
	}
	if l.state != nil {
		m = l.state.membership()
	}
	m.ReadOnly = m.ReadOnly || l.fault.any()
	if l.fault.damage != nil {
		s.cfg.Log.Error("household log is damaged", "path", s.path, "offset", l.fault.damage.Offset, "reason", l.fault.damage.Reason)
	}
	if l.torn > 0 {
		s.cfg.Log.Warn("household log ends in an append that a power cut interrupted", "path", s.path, "bytes", l.torn)
	}
	s.mu.Lock()
	if s.fault.any() != l.fault.any() {
		s.since = s.cfg.Now()
	}
	s.fault, s.torn, s.words = l.fault, l.torn, wordsUnknown
	s.mu.Unlock()
	s.publish(m)
}

// replaceLog puts file in the place of the log in one step and adopts it. The caller holds writing.
func (s *Service) replaceLog(file []byte) error {
	log, _ := logfile.Open(s.cfg.Disk, s.path)
	if err := log.Replace(file); err != nil {
		return notWritten(err)
	}
	s.reread()
	return nil
}

// reread adopts what is on disk. The caller holds writing.
func (s *Service) reread() {
	if err := s.log.Close(); err != nil {
		s.cfg.Log.Warn("closing household log", "error", err)
	}
	s.adopt(load(s.cfg.Disk, s.self, s.path))
}

// publish makes m the newest membership.
func (s *Service) publish(m *services.Membership) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.members != nil {
		m.Revision = max(m.Revision, s.members.Revision+1)
	}
	s.members = m
	close(s.changed)
	s.changed = make(chan struct{})
}

// Watch returns who belongs now, and a channel that is closed when there is a newer answer. Both cost nothing.
func (s *Service) Watch() (*services.Membership, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.members, s.changed
}

// Membership returns who belongs now.
func (s *Service) Membership() *services.Membership {
	m, _ := s.Watch()
	return m
}

// Health never blocks. A log that cannot change is the only thing that is not well; see also WordsPending.
func (s *Service) Health() services.Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := services.Health{Name: "identity", Ready: s.running, OK: !s.fault.any(), Since: s.since}
	m := s.members
	switch {
	case s.fault.newer, !s.fault.any() && m.ReadOnly && !m.Frozen && !slices.Contains(m.Removed, m.Self):
		h.OK = false
		h.Message = services.Say("identity.health.newer", "The record of who belongs was written by a newer Hearth. Everything keeps working; people and devices can be changed again after the next update.")
	case s.fault.damage != nil && s.members.Household == nil:
		h.Message = services.Say("identity.health.lost", "The record of who belongs is damaged from its beginning, so the box does not know its household. Bring it back from a backup.")
	case s.fault.damage != nil:
		h.Message = services.Say("identity.health.damaged", "The record of who belongs is damaged. Everybody it still knows keeps working; people and devices can be changed again once it is brought back from a backup.")
	case s.members.Frozen:
		h.OK = false
		h.Message = services.Say("identity.health.frozen", "Who belongs is disputed: two removed one another at the same time. They have no access, and nothing about people, devices and boxes can change until it is settled.")
		switch {
		case m.Opposed && len(m.Copied) > 0:
			h.Message = services.Say("identity.health.both", "Who belongs is disputed: two removed one another at the same time, and a box's key is used in two places. They have no access, and nothing about people, devices and boxes can change until it is settled.")
		case len(m.Copied) > 0:
			h.Message = services.Say("identity.health.copied", "Who belongs is disputed: a box's key is used in two places, as after its card was copied. The other boxes do not listen to it, and nothing about people, devices and boxes can change until it is settled.")
		}
	case s.members.Household == nil:
		h.Message = services.Say("identity.health.unclaimed", "This box has no owner yet.")
	case s.torn > 0:
		h.Message = services.Say("identity.health.torn", "A power cut came while a change was being written down. Nobody was told that it was done, so nothing is lost.")
	case len(s.members.People) == 0 && slices.Contains(s.members.Removed, s.self):
		h.OK = false
		h.Message = services.Say("identity.health.removed", "This box was removed from the household {name}.", "name", s.members.Household.Name)
	case s.healer != "":
		h.Message = services.Say("identity.health.healed", "The record of who belongs was damaged, and was brought back from the box {box}. What only this box knew may be missing: look at people and devices.", "box", s.healer)
	default:
		h.Message = services.Say("identity.health.well", "The household {name} and all who belong to it are known.", "name", s.members.Household.Name)
	}
	return h
}

// What waits is never given longer than this, so that one with more left was made while the time was set too late.
const (
	mostUnscanned = 24 * time.Hour
	mostInvited   = 31 * 24 * time.Hour
)

// recheck is how often Run looks at invitations again, because the known time may jump forward.
const recheck = 30 * time.Second

// Run cuts off what a power cut left of the log and removes invitations and unscanned devices when their time is up,
// until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	if err := s.tidy(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	s.setRunning(true)
	defer func() {
		s.setRunning(false)
		s.writing <- struct{}{}
		if err := s.log.Close(); err != nil {
			s.cfg.Log.Error("closing household log", "error", err)
		}
		<-s.writing
	}()
	for {
		_, changed := s.Watch()
		s.forgetSometime(ctx)
		var due <-chan time.Time
		if next := s.expire(ctx); next > 0 {
			due = time.After(next)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-due:
		}
	}
}

func (s *Service) setRunning(v bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.since, s.begun = v, s.cfg.Now(), time.Now()
}

func (s *Service) tidy(ctx context.Context) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	if err := s.log.Tidy(); err != nil {
		return fmt.Errorf("clearing %q: %w", s.cfg.Dir, err)
	}
	s.mu.Lock()
	damaged := s.fault.any()
	s.mu.Unlock()
	if damaged { // a damaged log is never changed
		return nil
	}
	if err := s.log.Cut(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cutting the torn end off the household log: %w", err)
	}
	return nil
}

// expire removes who or what was waited for too long, and returns how long to wait before looking again: 0 when
// nothing is waited for.
func (s *Service) expire(ctx context.Context) time.Duration {
	m := s.Membership()
	if s.mayBeOld(m) {
		return recheck
	}
	if waits, err := s.nobodyLeft(ctx); waits || err != nil {
		if err != nil {
			s.cfg.Log.Warn("after the log was brought back", "error", err)
		}
		return recheck
	}
	now := s.cfg.Now()
	var next time.Duration
	due := func(state services.State, expires time.Time, most time.Duration) bool {
		if state != services.StatePending || m.ReadOnly {
			return false
		}
		left := expires.Sub(now)
		if left > most {
			return true // it was given its end while the time was wrong
		}
		if left > 0 {
			if wait := min(left, recheck); next == 0 || wait < next {
				next = wait
			}
		}
		return left <= 0
	}
	again := func(err error) {
		if err == nil || errors.Is(err, errGone) || ctx.Err() != nil {
			return
		}
		if !errors.Is(err, errOthers) {
			s.cfg.Log.Warn("removing what has expired", "error", err)
		}
		next = recheck
	}
	inUse := map[services.PersonID]bool{}
	for _, d := range m.Devices {
		if due(d.State, d.Expires, mostUnscanned) {
			again(s.change(ctx, func(h *household) (record.Payload, error) {
				if d, ok := h.devices[d.ID]; !ok || d.State != services.StatePending {
					return nil, errGone
				}
				return record.RemoveDevice{Device: d.ID}, h.leave(string(d.ID), d.Expires, now)
			}))
		} else if d.State == services.StateActive {
			inUse[d.Person] = true
		}
	}
	for _, p := range m.People {
		if !inUse[p.ID] && due(p.State, p.Expires, mostInvited) {
			again(s.change(ctx, func(h *household) (record.Payload, error) {
				if p, ok := h.people[p.ID]; !ok || p.State != services.StatePending {
					return nil, errGone
				}
				return record.RemovePerson{Person: p.ID}, h.leave(string(p.ID), p.Expires, now)
			}))
		}
	}
	return next
}

// listen has this box take for unknown again what the others have.
func (s *Service) listen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard, s.begun = false, time.Now()
}

// mayBeOld says whether another box may know of records that this one wrote and does not have, since its card was
// brought back from a copy. One more of its own would then look like a stolen key to all. After a day the others are
// taken for gone.
func (s *Service) mayBeOld(m *services.Membership) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(m.Boxes) > 1 && !s.heard && time.Since(s.begun) < othersTime
}

// nobodyLeft takes the log that was brought back for the newest there is, once boxes that were not heard since had a day. waits
// says that they have some of it left.
func (s *Service) nobodyLeft(ctx context.Context) (waits bool, err error) {
	if err := s.lock(ctx); err != nil {
		return false, err
	}
	defer s.unlock()
	s.mu.Lock()
	left := othersTime - time.Since(s.begun)
	s.mu.Unlock()
	if s.restored && s.state != nil && len(s.state.boxes) > 1 && left > 0 {
		return true, nil
	}
	return false, s.upToDate(ctx)
}

var (
	errGone   = errors.New("it is not waiting any more")
	errOthers = errors.New("it waits at another box")
)

// othersTime is how much longer what another box took in may wait: that box knows best whether it is still wanted, and
// this one's clock may be wrong.
const othersTime = 24 * time.Hour

// leave returns errOthers while the end of what waits is another box's to say.
func (h *household) leave(id string, expires, now time.Time) error {
	at := h.waits[id]
	if _, there := h.boxes[at]; there && at != h.self && now.Before(expires.Add(othersTime)) {
		return errOthers
	}
	return nil
}

func (s *Service) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Service) unlock() { <-s.writing }

// change makes one record of what decide returns, which sees the newest state, writes it down and makes it so. A nil
// payload without an error changes nothing.
func (s *Service) change(ctx context.Context, decide func(h *household) (record.Payload, error)) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	return s.changeLocked(ctx, actorOf(ctx), decide)
}

// changeLocked is change for a caller that holds writing.
func (s *Service) changeLocked(ctx context.Context, act actor, decide func(h *household) (record.Payload, error)) error {
	return s.changeAllLocked(ctx, act, func(h *household) ([]record.Payload, error) {
		payload, err := decide(h)
		if payload == nil || err != nil {
			return nil, err
		}
		return []record.Payload{payload}, nil
	})
}

// changeAllLocked is changeLocked for several records that are written together or not at all.
func (s *Service) changeAllLocked(ctx context.Context, act actor, decide func(h *household) ([]record.Payload, error)) error {
	cannot := s.writable()
	if cannot != nil && !(isCode(cannot, "read-only") && s.newerOnly()) {
		return cannot
	}
	if err := s.state.belongs(act); err != nil {
		return err
	}
	payloads, err := decide(s.state)
	if len(payloads) == 0 || err != nil {
		return err
	}
	if cannot != nil && slices.ContainsFunc(payloads, func(p record.Payload) bool { return !removesSomebody(p) }) {
		return cannot
	}
	if s.log.Size() > logfile.MaxSize-logReserve && !slices.ContainsFunc(payloads, removesSomebody) {
		return logFull(logfile.ErrFull)
	}
	next := s.state.clone()
	records, err := s.join(ctx, next)
	if err != nil {
		return err
	}
	for _, p := range payloads {
		r, err := s.seal(ctx, next, act, p)
		if err != nil {
			return err
		}
		records = append(records, r)
	}
	if err := s.writeLong(records); err != nil {
		return err
	}
	s.become(next, nil, records)
	for _, r := range records {
		s.cfg.Log.Info("household changed", "op", r.Op().String(), "record", r.ID().String(), "by", string(act.by))
	}
	return nil
}

func (s *Service) writable() error {
	s.mu.Lock()
	fault := s.fault
	s.mu.Unlock()
	switch {
	case fault.newer || s.state != nil && s.state.newer > 0:
		return &services.Problem{
			Kind: services.KindUnavailable, Code: "read-only",
			Say: services.Say("identity.readonly.newer", "A newer Hearth wrote down who belongs, so nothing about people and devices can change before the next update. Nothing was changed."),
		}
	case fault.any():
		return &services.Problem{
			Kind: services.KindUnavailable, Code: "read-only", Cause: fault.damage,
			Say: services.Say("identity.readonly.damaged", "The record of who belongs is damaged, so nothing about people and devices can change before it is brought back from a backup. Nothing was changed."),
		}
	case s.state == nil:
		return notClaimed()
	case s.state.frozen:
		return &services.Problem{
			Kind: services.KindUnavailable, Code: "frozen",
			Say: services.Say("identity.frozen", "Who belongs is disputed, so nothing about people, devices and boxes can change until it is settled. Nothing was changed."),
		}
	}
	if _, ok := s.state.boxes[s.self]; !ok {
		return &services.Problem{
			Kind: services.KindConflict, Code: "not-ours",
			Say: services.Say("identity.not-ours", "This box is not one of the household's, so it cannot change who belongs."),
		}
	}
	if s.restored {
		return notUpToDate()
	}
	return nil
}

// newerOnly says whether nothing but a record of a newer program keeps the log from changing. Removals go on even then: such
// a record may be a thief's.
func (s *Service) newerOnly() bool {
	s.mu.Lock()
	fault := s.fault
	s.mu.Unlock()
	return !fault.any() && s.state != nil && s.state.newer > 0 && !s.state.frozen
}

func removesSomebody(p record.Payload) bool {
	switch p.(type) {
	case record.RemovePerson, record.RemoveDevice, record.RemoveBox, record.RemoveFriend:
		return true
	}
	return false
}

func notClaimed() error {
	return &services.Problem{
		Kind: services.KindConflict, Code: "not-claimed",
		Say: services.Say("identity.not-claimed", "This box has no owner yet. Claim it first."),
	}
}

func (h *household) belongs(a actor) error {
	_, person := h.people[a.by]
	d, device := h.devices[a.via]
	if a.by != "" && !person || a.via != "" && (!device || d.Person != a.by) {
		return &services.Problem{
			Kind: services.KindDenied, Code: "not-there",
			Say: services.Say("identity.not-there", "You do not belong to this household any more, so nothing was changed."),
		}
	}
	return nil
}

// seal makes the box's next record after the state next and gives it its effect there.
func (s *Service) seal(ctx context.Context, next *household, act actor, payload record.Payload) (*record.Record, error) {
	author := record.Box(s.self)
	r, err := s.sign(ctx, record.Record{
		Sequence: next.sequence[author] + 1, By: act.by, Via: act.via, Parents: next.parents(author), Payload: payload,
	})
	if err != nil {
		return nil, err
	}
	if err := next.apply(r); err != nil {
		return nil, fmt.Errorf("record %s would have no effect: %w", r.Op(), err)
	}
	return r, nil
}

// join makes this box's records after which its next one has all there is in its past: a change that does not know whom it is
// about has no effect. See ends.
func (s *Service) join(ctx context.Context, next *household) (made []*record.Record, err error) {
	author := record.Box(s.self)
	sequence := next.sequence[author]
	_, err = s.ends(author, func(p record.Payload, parents []record.ID) error {
		sequence++
		r, err := s.sign(ctx, record.Record{Sequence: sequence, Parents: parents, Payload: p})
		if err != nil {
			return err
		}
		made = append(made, r)
		next.take(r)
		return nil
	}, &made)
	return made, err
}

// sign makes r, which has no author or time yet, this box's.
func (s *Service) sign(ctx context.Context, r record.Record) (*record.Record, error) {
	r.Author, r.Time = record.Box(s.self), s.cfg.Now()
	signed, err := record.Seal(r, func(message []byte) ([]byte, error) { return s.cfg.Keys.SignRecord(ctx, message) })
	if err != nil {
		return nil, fmt.Errorf("signing a record: %w", err)
	}
	return signed, nil
}

// signAs is sign for a root.
func (s *Service) signAs(root ed25519.PrivateKey, r record.Record) (*record.Record, error) {
	r.Author, r.Time = record.Root(root.Public().(ed25519.PublicKey)), s.cfg.Now()
	signed, err := record.Seal(r, func(message []byte) ([]byte, error) { return ed25519.Sign(root, message), nil })
	if err != nil {
		return nil, fmt.Errorf("signing a record of the household root: %w", err)
	}
	return signed, nil
}

// write appends the records in one frame.
func (s *Service) write(records ...*record.Record) error {
	entries := make([][]byte, len(records))
	for i, r := range records {
		entries[i] = r.Bytes()
	}
	err := s.log.Append(entries...)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, logfile.ErrFull):
		return logFull(err)
	}
	return notWritten(err)
}

// writeLong is write for more than one frame may hold: as much as one holds of the end is written in one piece, and
// what comes before it before.
func (s *Service) writeLong(records []*record.Record) error {
	first, size := len(records), 0
	for first > 0 && size+2+len(records[first-1].Bytes()) <= logfile.MaxBody {
		first--
		size += 2 + len(records[first].Bytes())
	}
	if first > 0 {
		if err := s.writeLong(records[:first]); err != nil {
			return err
		}
	}
	err := s.write(records[first:]...)
	if err != nil && first > 0 {
		s.reread()
	}
	return err
}

func logFull(cause error) error {
	return &services.Problem{
		Kind: services.KindUnavailable, Code: "log-full", Cause: cause,
		Say: services.Say("identity.log-full", "The record of who belongs has reached its greatest size, so nothing more can be added. Nothing was changed."),
	}
}

func notWritten(cause error) error {
	return &services.Problem{
		Kind: services.KindUnavailable, Code: "not-written", Cause: cause,
		Say: services.Say("identity.not-written", "The box could not write this down, so nothing was changed. Look at its storage."),
	}
}
