package account

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base32"
	"encoding/base64"
	"math/big"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"hearth.alt/services"
	"hearth.alt/services/durable"
	"hearth.alt/services/secret"
)

// Kind is a kind of credential.
type Kind string

// The kinds. A password lives in its own table, all others in one.
const (
	KindPassword   Kind = "password"
	KindSession    Kind = "session"
	KindKnown      Kind = "known-browser" // lets nobody in; gives its own throttle bucket
	KindApp        Kind = "app-password"
	KindToken      Kind = "token"
	KindInvitation Kind = "invitation"
)

// Kinds lists every kind that this package knows, for the test of revocation.
func Kinds() []Kind {
	return []Kind{KindPassword, KindSession, KindKnown, KindApp, KindToken, KindInvitation}
}

// Session is what a credential stands for: who, and with what right. It holds no secret.
type Session struct {
	ID      string // 16 letters and digits, for lists, the audit log and ending it
	Kind    Kind   // KindSession, KindApp or KindToken
	Person  services.PersonID
	Role    services.Role     // now, from the membership
	Device  services.DeviceID // it ends with that device; "" is none
	Name    string            // what its owner calls it; of a session, what the browser says it is
	Scope   string            // "" is all that the person may do
	Address string            // where it was made from
	Created time.Time
	Used    time.Time
	Proved  time.Time // when the password was last given; zero for app passwords and tokens
	Expires time.Time // zero is never
}

type digest [sha256.Size]byte

// credential is a row, and what memory keeps of it. All are in memory: checks touch no disk.
type credential struct {
	id       string
	kind     Kind
	hash     digest
	person   services.PersonID
	device   services.DeviceID
	name     string
	scope    string
	role     services.Role
	address  string
	created  time.Time
	used     time.Time
	proved   time.Time
	expires  time.Time
	usedKept time.Time         // used, as the row has it
	maker    services.PersonID // of an invitation; "" is the box itself
}

func (c *credential) ended() Ended { return Ended{c.kind, c.id, c.person, c.device} }

func (c *credential) session(now services.Role) Session {
	return Session{c.id, c.kind, c.person, now, c.device, c.name, c.scope, c.address, c.created, c.used, c.proved, c.expires}
}

// expired says whether time has ended it.
func (c *credential) expired(now time.Time) bool {
	return !c.expires.IsZero() && !now.Before(c.expires) || c.kind == KindSession && now.Sub(c.used) >= SessionIdle
}

// stands says whether the membership still carries c, and the person's role now.
//
// A session ends with any change of role: it rotates by signing in again. The others end when the role becomes less
// than it was when they were made, and never give more. What is bound to a device ends with it; a session may be on
// somebody else's, all others only on one of the person's own.
func (s *Service) stands(c *credential, m *services.Membership) (services.Role, bool) {
	p, ok := m.Person(c.person)
	if !ok {
		return 0, false
	}
	if c.kind == KindInvitation {
		// Whoever has the link becomes the person: its maker may still give this role, and it is no higher than it was.
		by, ok := m.Person(c.maker)
		may := c.maker == "" || ok && by.State == services.StateActive && s.c.MayGrant(by.Role, p.Role)
		return p.Role, may && p.Role <= c.role && (p.State == services.StatePending || p.State == services.StateActive)
	}
	if p.State != services.StateActive || p.Role < c.role || c.kind == KindSession && p.Role != c.role {
		return 0, false
	}
	if c.device != "" {
		if d, ok := m.Device(c.device); !ok || d.State != services.StateActive || c.kind != KindSession && d.Person != c.person {
			return 0, false
		}
	}
	return c.role, true
}

var idText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func newID() string {
	b := make([]byte, 10)
	rand.Read(b)
	return idText.EncodeToString(b)
}

func randomBelow(n int) int {
	v, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		panic("account: " + err.Error()) // only for n <= 0
	}
	return int(v.Int64())
}

// tokenPrefix lets a scanner find a token that someone left in a file.
const tokenPrefix = "hearth_"

// newSecret makes the text of a credential: 256 bits in base64url; of an app password 140 bits in seven groups of
// four letters and digits, because someone types it on a television.
func newSecret(k Kind) secret.Text {
	if k == KindApp {
		b := make([]byte, 18)
		rand.Read(b)
		s := idText.EncodeToString(b)[:28]
		var groups []string
		for i := 0; i < len(s); i += 4 {
			groups = append(groups, s[i:i+4])
		}
		return secret.NewText(strings.Join(groups, "-"))
	}
	b := make([]byte, 32)
	rand.Read(b)
	s := base64.RawURLEncoding.EncodeToString(b)
	if k == KindToken {
		s = tokenPrefix + s
	}
	return secret.NewText(s)
}

// maxSecret bounds what is hashed of a stranger's token, in bytes.
const maxSecret = 256

func digestOf(t secret.Text) digest {
	s := t.Reveal()
	if len(s) > maxSecret {
		s = s[:maxSecret]
	}
	return sha256.Sum256([]byte(s))
}

// foldApp brings an app password to its one form: people type it with spaces, without dashes, in capitals.
func foldApp(t secret.Text) secret.Text {
	if len(t.Reveal()) > maxSecret {
		return secret.Text{}
	}
	var b bytes.Buffer
	n := 0
	for _, r := range strings.ToLower(t.Reveal()) {
		if r == '-' || unicode.IsSpace(r) {
			continue
		}
		if n > 0 && n%4 == 0 {
			b.WriteByte('-')
		}
		b.WriteRune(r)
		n++
	}
	return secret.NewText(b.String())
}

// label checks what a person calls a credential.
func label(s string) (string, error) {
	s = strings.TrimSpace(strings.ToValidUTF8(s, ""))
	if s == "" || utf8.RuneCountInString(s) > 100 || strings.ContainsFunc(s, unicode.IsControl) {
		return "", &services.Problem{Kind: services.KindInvalid, Code: "name-form", Field: "name",
			Say: services.Say("account.name-form", "A name needs one to a hundred characters on one line. Give it one that you will know again.")}
	}
	return s, nil
}

const columns = "id, kind, hash, person, device, name, scope, role, address, created, used, proved, expires, maker"

func insertCredential(ctx context.Context, tx *sql.Tx, c *credential) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO credential ("+columns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		c.id, string(c.kind), c.hash[:], string(c.person), string(c.device), c.name, c.scope, int(c.role), c.address,
		durable.UnixTime(c.created), durable.UnixTime(c.used), durable.UnixTime(c.proved), durable.UnixTime(c.expires), string(c.maker))
	return err
}

type rowsQuerier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// insertNewCredential inserts c, which another box made, in the place of what that said of it before. One with its secret
// stays, and so does what is this box's own affair.
func insertNewCredential(ctx context.Context, tx *sql.Tx, c *credential) (added bool, err error) {
	if _, err := tx.ExecContext(ctx, "DELETE FROM credential WHERE id = ? AND kind IN (?, ?)", c.id, string(KindApp), string(KindToken)); err != nil {
		return false, err
	}
	var n int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM credential WHERE id = ? OR hash = ?", c.id, c.hash[:]).Scan(&n); err != nil || n > 0 {
		return false, err
	}
	return true, insertCredential(ctx, tx, c)
}

func loadCredentials(ctx context.Context, db rowsQuerier) ([]*credential, error) {
	return queryCredentials(ctx, db, "ORDER BY id")
}

func loadCredentialsOf(ctx context.Context, db rowsQuerier, p services.PersonID) ([]*credential, error) {
	return queryCredentials(ctx, db, "WHERE person = ? ORDER BY id", string(p))
}

func queryCredentials(ctx context.Context, db rowsQuerier, rest string, args ...any) ([]*credential, error) {
	rows, err := db.QueryContext(ctx, "SELECT "+columns+" FROM credential "+rest, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []*credential
	for rows.Next() {
		c := &credential{}
		var hash []byte
		var created, used, proved, expires int64
		if err := rows.Scan(&c.id, &c.kind, &hash, &c.person, &c.device, &c.name, &c.scope, &c.role, &c.address, &created, &used, &proved, &expires, &c.maker); err != nil {
			return nil, err
		}
		if len(hash) != len(c.hash) {
			continue
		}
		copy(c.hash[:], hash)
		c.created, c.used, c.proved, c.expires = durable.FromUnixTime(created), durable.FromUnixTime(used), durable.FromUnixTime(proved), durable.FromUnixTime(expires)
		c.usedKept = c.used
		out = append(out, c)
	}
	return out, rows.Err()
}

// of lists the credentials of one kind and person that stand, newest first. mu is held.
func (s *Service) of(k Kind, p services.PersonID) []*credential {
	var out []*credential
	for _, c := range s.byHash {
		if c.kind == k && c.person == p {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *credential) int {
		return cmp.Or(b.created.Compare(a.created), cmp.Compare(a.id, b.id))
	})
	return out
}

// make adds a credential, within the bounds of its kind: old sessions and browsers make room, app passwords and tokens
// are refused. also is what else ends in the same step; fn, when not nil, writes more in the same transaction.
func (s *Service) make(ctx context.Context, c *credential, also []*credential, fn func(*sql.Tx) error, e Event) (secret.Text, error) {
	text := newSecret(c.kind)
	c.id, c.hash, c.created = newID(), digestOf(text), s.c.Now().UTC().Truncate(time.Second)
	c.used, c.usedKept = c.created, c.created
	limit := map[Kind]int{KindSession: maxSessions, KindKnown: maxKnown, KindApp: maxAppPasswords, KindToken: maxTokens, KindInvitation: 1}[c.kind]
	s.making.Lock() // so that two at once do not both find room
	defer s.making.Unlock()
	s.mu.Lock()
	have := s.of(c.kind, c.person)
	s.mu.Unlock()
	have = slices.DeleteFunc(have, func(o *credential) bool { return slices.Contains(also, o) })
	if len(have) >= limit {
		if c.kind == KindApp || c.kind == KindToken {
			return secret.Text{}, &services.Problem{Kind: services.KindConflict, Code: "too-many",
				Say: services.Say("account.too-many", "There are {n} of these already. Remove one that is not used any more.", "n", limit)}
		}
		slices.SortFunc(have, func(a, b *credential) int { return b.used.Compare(a.used) })
		also = append(slices.Clip(also), have[limit-1:]...)
	}
	e.Object = cmp.Or(e.Object, c.id)
	err := s.write(ctx, func(tx *sql.Tx) error {
		if err := insertCredential(ctx, tx, c); err != nil {
			return err
		}
		if err := stateCredential(ctx, tx, c); err != nil {
			return err
		}
		for _, o := range also {
			if err := eraseCredential(ctx, tx, o.id); err != nil {
				return err
			}
		}
		if fn != nil {
			return fn(tx)
		}
		return nil
	}, e)
	if err != nil {
		return secret.Text{}, err
	}
	s.mu.Lock()
	s.byHash[c.hash] = c
	ended := s.dropLocked(also)
	s.mu.Unlock()
	s.tellEnded(ended)
	return text, nil
}

// hold makes a session that stands in memory alone, in the place of also: whoever comes to make room on a full disk must
// get in.
func (s *Service) hold(c *credential, also []*credential) secret.Text {
	text := newSecret(c.kind)
	c.id, c.hash, c.created = newID(), digestOf(text), s.c.Now().UTC().Truncate(time.Second)
	c.used, c.usedKept = c.created, c.created
	s.making.Lock()
	defer s.making.Unlock()
	s.mu.Lock()
	have := slices.DeleteFunc(s.of(c.kind, c.person), func(o *credential) bool { return slices.Contains(also, o) })
	if len(have) >= maxSessions {
		slices.SortFunc(have, func(a, b *credential) int { return b.used.Compare(a.used) })
		also = append(slices.Clip(also), have[maxSessions-1:]...)
	}
	s.byHash[c.hash] = c
	gone := slices.DeleteFunc(also, func(o *credential) bool { return o.kind != KindSession })
	ended := s.dropLocked(gone)
	for _, o := range gone {
		s.dead[o.id] = true // erased when the disk takes it
	}
	s.mu.Unlock()
	s.tellEnded(ended)
	return text
}

// dropLocked takes credentials out of memory and returns those that were there. mu is held.
func (s *Service) dropLocked(cs []*credential) []Ended {
	var out []Ended
	for _, c := range cs {
		if s.byHash[c.hash] == c {
			delete(s.byHash, c.hash)
			out = append(out, c.ended())
		}
	}
	return out
}

func (s *Service) tellEnded(e []Ended) {
	if len(e) > 0 {
		s.c.OnEnded(e)
	}
}

// end ends credentials: at once in memory, then on disk. When the disk refuses, they stay ended, the erasing is tried
// again by Run, and the error, ErrEndedNotKept with its cause, says so.
func (s *Service) end(ctx context.Context, cs []*credential, e ...Event) error {
	if len(cs) == 0 {
		return nil
	}
	s.mu.Lock()
	ended := s.dropLocked(cs)
	for _, c := range cs {
		s.dead[c.id] = true
	}
	s.mu.Unlock()
	s.tellEnded(ended)
	if err := s.bury(ctx, e...); err != nil {
		return &services.Problem{Kind: ErrEndedNotKept.Kind, Code: ErrEndedNotKept.Code, Say: ErrEndedNotKept.Say, Cause: err}
	}
	return nil
}

// bury erases the rows of what has ended.
func (s *Service) bury(ctx context.Context, e ...Event) error {
	s.mu.Lock()
	ids := make([]string, 0, len(s.dead))
	for id := range s.dead {
		ids = append(ids, id)
	}
	s.mu.Unlock()
	if len(ids) == 0 && len(e) == 0 {
		return nil
	}
	err := s.write(ctx, func(tx *sql.Tx) error {
		for _, id := range ids {
			if err := eraseCredential(ctx, tx, id); err != nil {
				return err
			}
		}
		return nil
	}, e...)
	if err != nil {
		return err
	}
	s.mu.Lock()
	for _, id := range ids {
		delete(s.dead, id)
	}
	s.mu.Unlock()
	return nil
}
