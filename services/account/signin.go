package account

import (
	"context"
	"database/sql"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/durable"
	"hearth.alt/services/looks"
	"hearth.alt/services/secret"
)

// SignIn is a person at the door.
type SignIn struct {
	// By says where they come from: Face, Address, and Device when they come over the tunnel. Person is ignored.
	By       services.Caller
	Name     string // as the membership has it, in any case, or so that it looks alike
	Password secret.Text
	Known    secret.Text // what SignedIn.Known was at this browser's last sign-in; empty is none
	Session  secret.Text // the session that the new one takes the place of; empty is none
	Browser  string      // what the browser says it is, for the list of sessions; cut to 200 bytes
}

// SignedIn is a person inside.
type SignedIn struct {
	Token   secret.Text // of the session, 43 characters; for a cookie
	Session Session
	// Known makes the browser known for a year: while it is shown at sign-in, nobody else's wrong tries hold this
	// person up. Keep it in a second cookie. Empty when the one that was shown stays good.
	Known secret.Text
}

// The Problems of sign-in, to compare with errors.Is.
var (
	ErrRefused = &services.Problem{Kind: services.KindSignIn, Code: "sign-in-refused",
		Say: services.Say("account.refused", "The name and the password do not belong together.")}
	// ErrSuspended comes with the right password only.
	ErrSuspended = &services.Problem{Kind: services.KindDenied, Code: "suspended", Field: "name",
		Say: services.Say("account.suspended", "You are suspended while it is disputed who belongs to this house. An owner can settle it with the 24 recovery words. Your password stays as it is.")}
	ErrSignedOut = &services.Problem{Kind: services.KindSignIn, Code: "signed-out",
		Say: services.Say("account.signed-out", "You are signed out. Sign in to go on.")}
	ErrOtherDevice = &services.Problem{Kind: services.KindSignIn, Code: "other-device",
		Say: services.Say("account.other-device", "This sign-in belongs to another device. Sign in on this one.")}
	ErrTooManyTries = &services.Problem{Kind: services.KindBusy, Code: "too-many-tries",
		Say: services.Say("account.later", "There were too many wrong tries. The next one is possible in {wait}.", "wait", "")}
	ErrBusy = &services.Problem{Kind: services.KindBusy, Code: "busy",
		Say: services.Say("account.busy", "Too many people are signing in at once. Try again in a minute.")}
	ErrInvitation = &services.Problem{Kind: services.KindNotFound, Code: "invitation-gone",
		Say: services.Say("account.invitation-gone", "This box does not know this code: it was used already, its time is over, or it was made on another box of the house, where it works. Ask for a new one.")}
	ErrNoPerson = &services.Problem{Kind: services.KindNotFound, Code: "no-such-person",
		Say: services.Say("account.no-person", "Nobody in this household has that account.")}
	ErrNoCredential = &services.Problem{Kind: services.KindNotFound, Code: "no-such-credential",
		Say: services.Say("account.no-credential", "It has ended already.")}
	// ErrNotYetIn comes from accepting an invitation: the password is set and the invitation used up.
	ErrNotYetIn = &services.Problem{Kind: services.KindUnavailable, Code: "not-yet-in",
		Say: services.Say("account.not-yet-in", "Your password is kept, but the box could not let you in yet. It tries again every minute: sign in then with your name and this password.")}
	// ErrEndedNotKept comes from what ends something: it has ended, and only the writing down is still to be done.
	ErrEndedNotKept = &services.Problem{Kind: services.KindUnavailable, Code: "ended-not-kept",
		Say: services.Say("account.ended-not-kept", "It has ended, but the box could not write that down yet. It tries again every minute; if the power fails before then, it counts again.")}
)

// maxName bounds the name at sign-in, in bytes.
const maxName = 256

// personNamed finds who may sign in, or could if they were not suspended.
func personNamed(m *services.Membership, name string) (services.Person, bool) {
	if len(name) > maxName {
		return services.Person{}, false
	}
	in := slices.DeleteFunc(slices.Clone(m.People), func(p services.Person) bool {
		return p.State != services.StateActive && p.State != services.StateQuarantined
	})
	found := looks.Named(in, func(p services.Person) string { return p.Name }, name)
	if len(found) != 1 {
		return services.Person{}, false
	}
	return found[0], true
}

func parseAddress(s string) netip.Addr {
	if a, err := netip.ParseAddr(s); err == nil {
		return a
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr()
	}
	return netip.Addr{}
}

// SignIn checks name and password and makes a session. Wrong ones cost time (see Throttle). Errors: ErrRefused, ErrSuspended,
// ErrTooManyTries, ErrBusy, a Problem of KindUnavailable.
func (s *Service) SignIn(ctx context.Context, in SignIn) (SignedIn, error) {
	return s.signIn(ctx, in, nil)
}

// ChangePassword checks the password in in, sets the new one, ends every other session of the person and makes a fresh
// one. App passwords and tokens stay. Errors: those of SignIn and of CheckPassword.
func (s *Service) ChangePassword(ctx context.Context, in SignIn, password secret.Text) (SignedIn, error) {
	return s.signIn(ctx, in, &password)
}

// Prove gives the password again within a session, before what is dangerous: the session gets a new token, and is fresh.
// The name in in is ignored. Errors: those of SignIn and of Authenticate.
func (s *Service) Prove(ctx context.Context, in SignIn) (SignedIn, error) {
	now, err := s.Authenticate(ctx, in.Session, in.By.Device)
	if err != nil {
		return SignedIn{}, err
	}
	m, _ := s.c.Members.Watch()
	p, ok := m.Person(now.Person)
	if !ok {
		return SignedIn{}, ErrSignedOut
	}
	in.Name = p.Name
	return s.signIn(ctx, in, nil)
}

// Fresh says whether the password was given within FreshFor.
func (s *Service) Fresh(x Session) bool {
	d := s.c.Now().Sub(x.Proved)
	return x.Kind == KindSession && d >= 0 && d < FreshFor
}

func (s *Service) signIn(ctx context.Context, in SignIn, newPassword *secret.Text) (SignedIn, error) {
	db, err := s.database()
	if err != nil {
		return SignedIn{}, err
	}
	m, _ := s.c.Members.Watch()
	p, exists := personNamed(m, in.Name)
	if exists && newPassword != nil {
		if err := CheckPassword(*newPassword, about(m, p)...); err != nil {
			return SignedIn{}, err
		}
	}
	known, knownBy := "", (*credential)(nil)
	if exists {
		known, knownBy = s.known(m, p, in)
	}
	whose := in.Name[:min(len(in.Name), maxName)]
	if exists {
		whose = p.Name // however it was typed
	}
	try, wait := s.throttle.Begin(s.c.Now(), looks.Fold(strings.TrimSpace(whose)), parseAddress(in.By.Address), known)
	if wait > 0 {
		return SignedIn{}, &services.Problem{Kind: services.KindBusy, Code: ErrTooManyTries.Code,
			Say: services.Say("account.later", "There were too many wrong tries. The next one is possible in {wait}.", "wait", roundWait(wait))}
	}
	// Whoever asks for a name that nobody has waits as long as others do: a hash is looked at all the same.
	hash := passwordHash{Params: s.c.Params, salt: make([]byte, saltSize), key: make([]byte, keySize)}
	has, kept := false, ""
	if exists {
		switch text, err := loadPassword(ctx, db, p.ID); {
		case errors.Is(err, sql.ErrNoRows):
		case err != nil:
			try.Undo()
			return SignedIn{}, err
		default:
			if h, err := parseHash(text); err == nil {
				hash, has, kept = h, true, text
			}
		}
	}
	if err := s.hasher.acquire(ctx, known != ""); err != nil {
		try.Undo()
		if errors.Is(err, errBusy) {
			return SignedIn{}, ErrBusy
		}
		return SignedIn{}, err
	}
	right, rehash := false, (*passwordHash)(nil)
	func() {
		defer s.hasher.release()
		right = len(in.Password.Reveal()) <= MaxPassword && s.hasher.fits(hash, in.Password) && has
		switch {
		case !right:
		case newPassword != nil:
			h := s.hasher.make(s.c.Params, *newPassword)
			rehash = &h
		case hash.Params != s.c.Params:
			h := s.hasher.make(s.c.Params, in.Password)
			rehash = &h
		}
	}()
	if !right {
		try.Wrong()
		s.mu.Lock()
		s.countLocked(refusal{p.ID, in.By.Face, clip(in.By.Address)}, 1)
		s.mu.Unlock()
		return SignedIn{}, ErrRefused
	}
	try.Right()
	return s.enter(ctx, in, p, knownBy, kept, rehash, newPassword != nil)
}

// enter makes the session of a person whose password fitted the hash kept; rehash, when not nil, takes its place.
func (s *Service) enter(ctx context.Context, in SignIn, p services.Person, knownBy *credential, kept string, rehash *passwordHash, changed bool) (SignedIn, error) {
	now := s.c.Now().UTC().Truncate(time.Second)
	c := &credential{kind: KindSession, person: p.ID, device: in.By.Device, name: clip(in.Browser), role: p.Role, address: clip(in.By.Address), proved: now, expires: now.Add(SessionLife)}
	m, _ := s.c.Members.Watch() // hashing took a while
	role, ok := s.stands(c, m)
	if !ok {
		if now, _ := m.Person(p.ID); now.State == services.StateQuarantined {
			return SignedIn{}, ErrSuspended
		}
		return SignedIn{}, ErrRefused
	}
	var also []*credential
	s.mu.Lock()
	if old := s.byHash[digestOf(in.Session)]; old != nil && old.kind == KindSession {
		also = append(also, old)
	}
	if changed {
		for _, o := range append(s.of(KindSession, p.ID), s.of(KindInvitation, p.ID)...) {
			if !slices.Contains(also, o) {
				also = append(also, o)
			}
		}
	}
	s.mu.Unlock()
	// A known browser is renewed in the last eleven months of its year.
	var fresh *credential
	var knownText secret.Text
	if knownBy == nil || knownBy.expires.Sub(now) < KnownLife-30*24*time.Hour {
		knownText = newSecret(KindKnown)
		fresh = &credential{id: newID(), kind: KindKnown, hash: digestOf(knownText), person: p.ID, name: c.name, role: services.RoleGuest, address: c.address, created: now, used: now, usedKept: now, expires: now.Add(KnownLife)}
		if knownBy != nil {
			also = append(also, knownBy)
		}
		s.mu.Lock()
		have := s.of(KindKnown, p.ID)
		s.mu.Unlock()
		slices.SortFunc(have, func(a, b *credential) int { return b.used.Compare(a.used) })
		for _, o := range have[min(len(have), maxKnown-1):] {
			if !slices.Contains(also, o) {
				also = append(also, o)
			}
		}
	} else {
		s.mu.Lock()
		knownBy.used = now
		s.mu.Unlock()
	}
	action := "sign-in"
	if changed {
		action = "password-changed"
	}
	token, err := s.make(ctx, c, also, func(tx *sql.Tx) error {
		// Someone may have set another password, or erased the person, while this one was hashed.
		var have string
		if err := tx.QueryRowContext(ctx, "SELECT hash FROM password WHERE person = ?", string(p.ID)).Scan(&have); errors.Is(err, sql.ErrNoRows) || err == nil && have != kept {
			return ErrRefused
		} else if err != nil {
			return err
		}
		if fresh != nil {
			if err := insertCredential(ctx, tx, fresh); err != nil {
				return err
			}
		}
		switch {
		case changed:
			return s.statePassword(ctx, tx, p.ID, *rehash)
		case rehash != nil: // the same password: no news for other boxes
			_, err := tx.ExecContext(ctx, "UPDATE password SET hash = ?, changed = ? WHERE person = ?", rehash.String(), durable.UnixTime(now), string(p.ID))
			return err
		}
		return nil
	}, Event{Actor: p.ID, Face: in.By.Face, Address: in.By.Address, Action: action})
	if errors.Is(err, services.ErrDiskFull) && !changed {
		s.c.Log.Warn("a sign-in is kept until the next start only", "person", p.ID, "err", err)
		return SignedIn{s.hold(c, also), c.session(role), secret.Text{}}, nil
	}
	if err != nil {
		return SignedIn{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if fresh != nil {
		s.byHash[fresh.hash] = fresh
	}
	return SignedIn{token, c.session(role), knownText}, nil
}

// known names the throttle bucket of a device that has proved to be p's: by the tunnel's key, or by what this browser
// was given at p's last sign-in. "" is unknown.
func (s *Service) known(m *services.Membership, p services.Person, in SignIn) (string, *credential) {
	s.mu.Lock()
	c := s.byHash[digestOf(in.Known)]
	s.mu.Unlock()
	if c != nil && (c.kind != KindKnown || c.person != p.ID || c.expired(s.c.Now())) {
		c = nil
	}
	if d, ok := m.Device(in.By.Device); ok && in.By.Device != "" && d.Person == p.ID && d.State == services.StateActive {
		return "device " + string(d.ID), c
	}
	if c != nil {
		return "browser " + c.id, c
	}
	return "", nil
}

// about lists what a stranger would try first in p's password.
func about(m *services.Membership, p services.Person) []string {
	out := []string{p.Name}
	if m.Household != nil {
		out = append(out, m.Household.Name)
	}
	for _, b := range m.Boxes {
		out = append(out, b.Name)
	}
	return out
}

func loadPassword(ctx context.Context, db *sql.DB, id services.PersonID) (hash string, err error) {
	err = db.QueryRowContext(ctx, "SELECT hash FROM password WHERE person = ?", string(id)).Scan(&hash)
	return hash, err
}

// HasPassword says whether the person has one. It is memory.
func (s *Service) HasPassword(id services.PersonID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.passwords[id]
}

// SetPassword gives a person, active or pending, a password without asking for the old one, and ends their sessions.
// It is for the claim. Errors: those of CheckPassword, ErrNoPerson, ErrBusy.
func (s *Service) SetPassword(ctx context.Context, by services.Caller, id services.PersonID, password secret.Text) error {
	return s.setPassword(ctx, by, id, password, "password-set", nil)
}

// ResetPassword gives a person a new password of four words and returns it, to be shown once. Their sessions end and
// no browser is known any more. It is for someone who stands at the box: the console, or the proof of presence.
func (s *Service) ResetPassword(ctx context.Context, by services.Caller, id services.PersonID) (secret.Text, error) {
	text := SuggestPassword()
	return text, s.setPassword(ctx, by, id, text, "password-reset", nil)
}

// setPassword sets a password; invitation, when not nil, is consumed in the same step, and credentials of the kinds in also
// end with the sessions.
func (s *Service) setPassword(ctx context.Context, by services.Caller, id services.PersonID, password secret.Text, action string, invitation *credential, also ...Kind) error {
	m, _ := s.c.Members.Watch()
	p, ok := m.Person(id)
	if !ok {
		return ErrNoPerson
	}
	if err := CheckPassword(password, about(m, p)...); err != nil {
		return err
	}
	if err := s.hasher.acquire(ctx, true); err != nil {
		if errors.Is(err, errBusy) {
			return ErrBusy
		}
		return err
	}
	var hash passwordHash
	func() {
		defer s.hasher.release()
		hash = s.hasher.make(s.c.Params, password)
	}()

	s.making.Lock()
	defer s.making.Unlock()
	m, _ = s.c.Members.Watch()
	if p, ok = m.Person(id); !ok || p.State != services.StateActive && p.State != services.StatePending {
		return ErrNoPerson
	}
	s.mu.Lock()
	var gone []*credential
	for _, k := range append([]Kind{KindSession, KindKnown, KindInvitation}, also...) {
		gone = append(gone, s.of(k, id)...)
	}
	if invitation != nil {
		if _, ok := s.stands(invitation, m); !ok || invitation.expired(s.c.Now()) || s.byHash[invitation.hash] != invitation {
			s.mu.Unlock()
			return ErrInvitation
		}
	}
	s.mu.Unlock()
	err := s.write(ctx, func(tx *sql.Tx) error {
		if err := s.statePassword(ctx, tx, id, hash); err != nil {
			return err
		}
		for _, c := range gone {
			if err := eraseCredential(ctx, tx, c.id); err != nil {
				return err
			}
		}
		return nil
	}, Event{Actor: cmpPerson(by.Person, id), Face: by.Face, Address: by.Address, Action: action, Object: string(id)})
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.passwords[id] = true
	ended := s.dropLocked(gone)
	s.mu.Unlock()
	s.tellEnded(ended)
	return nil
}

func cmpPerson(a, b services.PersonID) services.PersonID {
	if a != "" {
		return a
	}
	return b
}

// check finds a credential of kind k by its secret; nil when there is none that stands. It touches memory only.
func (s *Service) check(k Kind, t secret.Text, device services.DeviceID) (Session, error) {
	m, _ := s.c.Members.Watch()
	now := s.c.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return Session{}, notReady()
	}
	c := s.byHash[digestOf(t)]
	if c == nil || c.kind != k || c.expired(now) {
		return Session{}, ErrSignedOut
	}
	role, ok := s.stands(c, m)
	if !ok {
		return Session{}, ErrSignedOut
	}
	if k == KindSession && c.device != "" && c.device != device {
		return Session{}, ErrOtherDevice
	}
	if now.After(c.used) {
		c.used = now
	}
	return c.session(role), nil
}

// Authenticate says who a session's token stands for. device is the device whose tunnel address the request came from,
// "" when it did not come over the tunnel: a session that was made over the tunnel is good from that device only, whosever
// device that is.
// It touches memory only. Errors: ErrSignedOut, ErrOtherDevice, a Problem of KindUnavailable.
func (s *Service) Authenticate(_ context.Context, token secret.Text, device services.DeviceID) (Session, error) {
	return s.check(KindSession, token, device)
}

// CheckBasic says who an app password stands for; name must be the person's. The password of the person is not good
// here. It touches memory only. Errors as for Authenticate.
func (s *Service) CheckBasic(_ context.Context, name string, password secret.Text) (Session, error) {
	x, err := s.check(KindApp, foldApp(password), "")
	if err != nil {
		return Session{}, err
	}
	m, _ := s.c.Members.Watch()
	if p, ok := personNamed(m, name); !ok || p.ID != x.Person {
		return Session{}, ErrSignedOut
	}
	return x, nil
}

// CheckToken says who an API token stands for. It touches memory only. Errors as for Authenticate.
func (s *Service) CheckToken(_ context.Context, token secret.Text) (Session, error) {
	return s.check(KindToken, token, "")
}

// SignOut ends the session of a token. One that has ended is no error. Error: ErrEndedNotKept.
func (s *Service) SignOut(ctx context.Context, by services.Caller, token secret.Text) error {
	s.mu.Lock()
	c := s.byHash[digestOf(token)]
	s.mu.Unlock()
	if c == nil || c.kind != KindSession {
		return nil
	}
	return s.end(context.WithoutCancel(ctx), []*credential{c}, Event{Actor: c.person, Face: by.Face, Address: by.Address, Action: "sign-out", Object: c.id})
}

// Sessions lists a person's sessions; see List.
func (s *Service) Sessions(id services.PersonID) ([]Session, error) { return s.List(KindSession, id) }

// List lists a person's credentials of one kind, newest first; those that have ended are left out. It is memory. Error: a
// Problem of KindUnavailable, since before Run has read them there is no telling.
func (s *Service) List(k Kind, id services.PersonID) ([]Session, error) {
	m, _ := s.c.Members.Watch()
	now := s.c.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return nil, notReady()
	}
	var out []Session
	for _, c := range s.of(k, id) {
		if role, ok := s.stands(c, m); ok && !c.expired(now) {
			out = append(out, c.session(role))
		}
	}
	return out, nil
}

// End ends one credential of a person, of any kind but the password, by its ID. The caller has checked that by may.
// Errors: ErrNoCredential, ErrEndedNotKept.
func (s *Service) End(ctx context.Context, by services.Caller, person services.PersonID, id string) error {
	s.mu.Lock()
	var c *credential
	for _, o := range s.byHash {
		if o.id == id && o.person == person {
			c = o
		}
	}
	s.mu.Unlock()
	if c == nil {
		return ErrNoCredential
	}
	return s.end(context.WithoutCancel(ctx), []*credential{c}, Event{Actor: cmpPerson(by.Person, person), Face: by.Face, Address: by.Address, Action: "ended-" + string(c.kind), Object: id})
}

// EndSession ends one session; see End.
func (s *Service) EndSession(ctx context.Context, by services.Caller, person services.PersonID, id string) error {
	return s.End(ctx, by, person, id)
}

// EndOthers ends all sessions of a person but the one with the ID keep ("" is none), and forgets their known browsers.
// It returns how many sessions ended. Error: ErrEndedNotKept.
func (s *Service) EndOthers(ctx context.Context, by services.Caller, person services.PersonID, keep string) (int, error) {
	s.mu.Lock()
	gone := s.of(KindSession, person)
	gone = slices.DeleteFunc(gone, func(c *credential) bool { return c.id == keep })
	n := len(gone)
	gone = append(gone, s.of(KindKnown, person)...)
	s.mu.Unlock()
	return n, s.end(context.WithoutCancel(ctx), gone, Event{Actor: cmpPerson(by.Person, person), Face: by.Face, Address: by.Address, Action: "ended-others", Object: string(person)})
}

// NewCredential is what an app password or a token is to be.
type NewCredential struct {
	Person services.PersonID
	Device services.DeviceID // it ends with that device; "" is none
	Name   string            // 1 to 100 characters
	Scope  string            // "" is all that the person may do; what it means is up to appliance
}

// CreateAppPassword makes a password for one app, in seven groups of four letters and digits, to be shown once.
func (s *Service) CreateAppPassword(ctx context.Context, by services.Caller, n NewCredential) (secret.Text, Session, error) {
	return s.create(ctx, by, KindApp, n)
}

// CreateToken makes a token for programs that call /api/v1 as the person, to be shown once.
func (s *Service) CreateToken(ctx context.Context, by services.Caller, n NewCredential) (secret.Text, Session, error) {
	return s.create(ctx, by, KindToken, n)
}

func (s *Service) create(ctx context.Context, by services.Caller, k Kind, n NewCredential) (secret.Text, Session, error) {
	name, err := label(n.Name)
	if err != nil {
		return secret.Text{}, Session{}, err
	}
	m, _ := s.c.Members.Watch()
	p, ok := m.Person(n.Person)
	c := &credential{kind: k, person: n.Person, device: n.Device, name: name, scope: clip(n.Scope), role: p.Role, address: clip(by.Address)}
	role, stands := s.stands(c, m)
	if !ok || !stands {
		return secret.Text{}, Session{}, ErrNoPerson
	}
	text, err := s.make(ctx, c, nil, nil, Event{Actor: cmpPerson(by.Person, n.Person), Face: by.Face, Address: by.Address, Action: "created-" + string(k)})
	if err != nil {
		return secret.Text{}, Session{}, err
	}
	return text, c.session(role), nil
}

// CreateInvitation makes the token with which a person sets their password, good once: a pending one their first, within
// InvitationLife; an active one, who forgot theirs, another, within WayInLife. An older one of theirs ends. It ends, too,
// when by.Person is gone or may not give the role any more. Error: ErrNoPerson when nobody has the ID.
func (s *Service) CreateInvitation(ctx context.Context, by services.Caller, id services.PersonID) (secret.Text, time.Time, error) {
	m, _ := s.c.Members.Watch()
	p, _ := m.Person(id)
	life := InvitationLife
	if p.State == services.StateActive {
		life = WayInLife
	}
	until := s.c.Now().UTC().Truncate(time.Second).Add(life)
	if !p.Expires.IsZero() && p.Expires.Before(until) {
		until = p.Expires
	}
	c := &credential{kind: KindInvitation, person: id, role: p.Role, address: clip(by.Address), expires: until, maker: by.Person}
	if _, ok := s.stands(c, m); !ok {
		return secret.Text{}, time.Time{}, ErrNoPerson
	}
	text, err := s.make(ctx, c, nil, nil, Event{Actor: cmpPerson(by.Person, id), Face: by.Face, Address: by.Address, Action: "invited", Object: string(id)})
	return text, until, err
}

// Invited says until when somebody can set id's password with an invitation; zero: nobody can.
func (s *Service) Invited(id services.PersonID) time.Time {
	m, _ := s.c.Members.Watch()
	now := s.c.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.of(KindInvitation, id) {
		if _, ok := s.stands(c, m); ok && !c.expired(now) {
			return c.expires
		}
	}
	return time.Time{}
}

// WithdrawInvitation ends the invitation of id, if there is one. Error: ErrEndedNotKept.
func (s *Service) WithdrawInvitation(ctx context.Context, by services.Caller, id services.PersonID) error {
	s.mu.Lock()
	gone := s.of(KindInvitation, id)
	s.mu.Unlock()
	return s.end(context.WithoutCancel(ctx), gone, Event{Actor: cmpPerson(by.Person, id), Face: by.Face, Address: by.Address, Action: "invitation-withdrawn", Object: string(id)})
}

func (s *Service) invitation(token secret.Text) (*credential, error) {
	m, _ := s.c.Members.Watch()
	now := s.c.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return nil, notReady()
	}
	c := s.byHash[digestOf(token)]
	if c == nil || c.kind != KindInvitation || c.expired(now) {
		return nil, ErrInvitation
	}
	if _, ok := s.stands(c, m); !ok {
		return nil, ErrInvitation
	}
	return c, nil
}

// Invitation says whom an invitation is for, without using it. Error: ErrInvitation.
func (s *Service) Invitation(token secret.Text) (services.PersonID, error) {
	c, err := s.invitation(token)
	if err != nil {
		return "", err
	}
	return c.person, nil
}

// AcceptInvitation uses an invitation: it sets the person's password, in one step with its end and that of their
// sessions, and of what is of the kinds in also. Of many at once exactly one succeeds. A pending person then becomes
// active; ErrNotYetIn says that this could not be kept, and Run tries it again. Other errors, ErrInvitation and those
// of CheckPassword, leave the invitation as it is.
func (s *Service) AcceptInvitation(ctx context.Context, by services.Caller, token, password secret.Text, also ...Kind) (services.PersonID, error) {
	c, err := s.invitation(token)
	if err != nil {
		return "", err
	}
	action := "way-in-used"
	m, _ := s.c.Members.Watch()
	p, _ := m.Person(c.person)
	if p.State == services.StatePending {
		action = "invitation-accepted"
	}
	if err := s.setPassword(ctx, by, c.person, password, action, c, also...); err != nil {
		return "", err
	}
	if p.State == services.StatePending {
		if err := s.c.Activate(context.WithoutCancel(ctx), c.person); err != nil {
			return c.person, &services.Problem{Kind: ErrNotYetIn.Kind, Code: ErrNotYetIn.Code, Say: ErrNotYetIn.Say, Cause: err}
		}
	}
	return c.person, nil
}
