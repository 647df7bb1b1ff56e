package account

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"hearth.alt/services"
	"hearth.alt/services/account/internal/statement"
	"hearth.alt/services/durable"
)

// A snapshot is lines of JSON: {"hearth-account":2}, then one object for each password, app password, token, statement
// and event of the audit log, then {"end":N} with the number of objects between. Sessions, known browsers and
// invitations are not in it: they end with the box they were made on. It holds hashes, so an archive of it must be
// encrypted. Version 1 had no statements.

const (
	snapshotVersion = 2
	maxLine         = 64 << 10
	maxLines        = 1_000_000
)

type line struct {
	Version    int             `json:"hearth-account,omitempty"`
	Password   *passwordLine   `json:"password,omitempty"`
	Credential *credentialLine `json:"credential,omitempty"`
	Statement  *statementLine  `json:"statement,omitempty"`
	AuditStart *auditLine      `json:"audit-start,omitempty"`
	Audit      *auditLine      `json:"audit,omitempty"`
	End        *int            `json:"end,omitempty"`
}

type passwordLine struct {
	Person  services.PersonID `json:"person"`
	Hash    string            `json:"hash"`
	Changed int64             `json:"changed"`
}

type credentialLine struct {
	ID      string            `json:"id"`
	Kind    Kind              `json:"kind"`
	Hash    string            `json:"hash"` // hexadecimal
	Person  services.PersonID `json:"person"`
	Device  services.DeviceID `json:"device,omitempty"`
	Name    string            `json:"name"`
	Scope   string            `json:"scope,omitempty"`
	Role    services.Role     `json:"role"`
	Address string            `json:"address,omitempty"`
	Created int64             `json:"created"`
	Used    int64             `json:"used"`
	Expires int64             `json:"expires,omitempty"`
}

type statementLine struct {
	Writer    *services.PeerID `json:"writer,omitempty"` // none is the box that made the snapshot
	Body      []byte           `json:"body"`             // internal/statement
	Signature []byte           `json:"signature,omitempty"`
	Ended     bool             `json:"ended,omitempty"`
}

// stated reads the line; it returns nil when it cannot be.
func (l *statementLine) stated() *stated {
	body, err := statement.Parse(l.Body)
	st := &stated{Statement: body, own: l.Writer == nil, sig: l.Signature, ended: l.Ended, sent: true}
	if err != nil || len(l.Signature) != ed25519.SignatureSize && (len(l.Signature) > 0 || !st.own) || st.ended && body.Kind == statement.Password {
		return nil
	}
	if !st.own {
		st.writer = *l.Writer
	}
	return st
}

type auditLine struct {
	Seq   uint64   `json:"seq"`
	At    int64    `json:"at,omitempty"`
	Texts []string `json:"texts,omitempty"`
	Hash  string   `json:"hash"` // hexadecimal
}

// Name implements services.Snapshotter.
func (*Service) Name() string { return "account" }

// Snapshot implements services.Snapshotter.
func (s *Service) Snapshot(ctx context.Context, w io.Writer) error {
	db, err := s.database()
	if err != nil {
		return err
	}
	if err := s.keepUsed(ctx, 0); err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("reading accounts: %w", err)
	}
	defer tx.Rollback()
	// Everything is read first: a slow w must not hold the only connection.
	lines, err := readLines(ctx, tx)
	if err != nil {
		return fmt.Errorf("reading accounts: %w", err)
	}
	tx.Rollback()
	n := len(lines)
	lines = append(append([]line{{Version: snapshotVersion}}, lines...), line{End: &n})
	b := bufio.NewWriter(w)
	enc := json.NewEncoder(b)
	for _, l := range lines {
		if err := enc.Encode(l); err != nil {
			return fmt.Errorf("writing the snapshot: %w", err)
		}
	}
	return b.Flush()
}

func readLines(ctx context.Context, tx *sql.Tx) ([]line, error) {
	var lines []line
	rows, err := tx.QueryContext(ctx, "SELECT person, hash, changed FROM password ORDER BY person")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		p := &passwordLine{}
		if err := rows.Scan(&p.Person, &p.Hash, &p.Changed); err != nil {
			return nil, err
		}
		lines = append(lines, line{Password: p})
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	all, err := loadCredentials(ctx, tx)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if c.kind == KindApp || c.kind == KindToken {
			lines = append(lines, line{Credential: &credentialLine{c.id, c.kind, hex.EncodeToString(c.hash[:]), c.person, c.device, c.name, c.scope, c.role, c.address, durable.UnixTime(c.created), durable.UnixTime(c.used), durable.UnixTime(c.expires)}})
		}
	}
	said, err := loadStated(ctx, tx, "")
	if err != nil {
		return nil, err
	}
	for _, st := range said {
		l := &statementLine{Body: st.Append(nil), Signature: st.sig, Ended: st.ended}
		if !st.own {
			l.Writer = &st.writer
		}
		lines = append(lines, line{Statement: l})
	}
	start, hash := &auditLine{}, []byte(nil)
	if err := tx.QueryRowContext(ctx, "SELECT seq, hash FROM audit_start").Scan(&start.Seq, &hash); err != nil {
		return nil, err
	}
	start.Hash = hex.EncodeToString(hash)
	lines = append(lines, line{AuditStart: start})
	events, err := tx.QueryContext(ctx, "SELECT seq, at, actor, face, address, action, object, hash FROM audit ORDER BY seq")
	if err != nil {
		return nil, err
	}
	defer events.Close()
	for events.Next() {
		a := &auditLine{Texts: make([]string, 5)}
		if err := events.Scan(&a.Seq, &a.At, &a.Texts[0], &a.Texts[1], &a.Texts[2], &a.Texts[3], &a.Texts[4], &hash); err != nil {
			return nil, err
		}
		a.Hash = hex.EncodeToString(hash)
		lines = append(lines, line{Audit: a})
	}
	return lines, events.Err()
}

// errSnapshot is the cause of every refused snapshot.
var errSnapshot = errors.New("not a snapshot of accounts")

// parseSnapshot reads and checks a whole snapshot before anything is replaced.
func parseSnapshot(r io.Reader) ([]line, error) {
	bad := func(n int, why string) ([]line, error) {
		return nil, fmt.Errorf("%w: line %d: %s", errSnapshot, n, why)
	}
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, maxLine)
	var lines []line
	said := map[string]bool{}
	ids, hashes, people := map[string]bool{}, map[string]bool{}, map[services.PersonID]bool{}
	starts, seq := 0, uint64(0)
	for n := 1; sc.Scan(); n++ {
		var l line
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			return bad(n, "not JSON of the known form")
		}
		switch {
		case n > maxLines:
			return bad(n, "too many lines")
		case n == 1:
			if l.Version < 1 || l.Version > snapshotVersion {
				return bad(n, fmt.Sprintf("version %d, this Hearth knows %d", l.Version, snapshotVersion))
			}
		case l.Password != nil:
			p := l.Password
			if _, err := parseHash(p.Hash); err != nil || !p.Person.Valid() || people[p.Person] || p.Changed < 0 {
				return bad(n, "a password that cannot be")
			}
			people[p.Person] = true
			lines = append(lines, l)
		case l.Credential != nil:
			c := l.Credential
			h, err := hex.DecodeString(c.Hash)
			if err != nil || len(h) != len(digest{}) || hashes[string(h)] || ids[c.ID] || !services.DeviceID(c.ID).Valid() || !c.Person.Valid() ||
				c.Device != "" && !c.Device.Valid() || c.Kind != KindApp && c.Kind != KindToken || c.Role == services.RoleNone || c.Created < 0 || c.Used < 0 || c.Expires < 0 {
				return bad(n, "a credential that cannot be")
			}
			hashes[string(h)], ids[c.ID] = true, true
			lines = append(lines, l)
		case l.Statement != nil:
			st := l.Statement.stated()
			if st == nil || said[string(st.key())+st.Subject()] {
				return bad(n, "a statement that cannot be")
			}
			said[string(st.key())+st.Subject()] = true
			lines = append(lines, l)
		case l.AuditStart != nil:
			if h, err := hex.DecodeString(l.AuditStart.Hash); err != nil || len(h) != len(digest{}) || starts > 0 || l.AuditStart.Seq > 1<<62 {
				return bad(n, "a start of the audit log that cannot be")
			}
			starts, seq = 1, l.AuditStart.Seq
			lines = append(lines, l)
		case l.Audit != nil:
			h, err := hex.DecodeString(l.Audit.Hash)
			if err != nil || len(h) != len(digest{}) || len(l.Audit.Texts) != 5 || starts == 0 || l.Audit.Seq != seq+1 {
				return bad(n, "an event that cannot be")
			}
			seq++
			lines = append(lines, l)
		case l.End != nil:
			if *l.End != len(lines) || starts != 1 {
				return bad(n, "something is missing")
			}
			if sc.Scan() {
				return bad(n+1, "something follows the end")
			}
			return lines, nil
		default:
			return bad(n, "nothing known in it")
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", errSnapshot, err)
	}
	return nil, fmt.Errorf("%w: it ends early", errSnapshot)
}

// Restore implements services.Snapshotter. All sessions end. Restore the identity first: what belongs to people who are
// not in the membership is erased at its next change.
func (s *Service) Restore(ctx context.Context, r io.Reader) error {
	lines, err := parseSnapshot(r)
	if err != nil {
		return &services.Problem{Kind: services.KindInvalid, Code: "snapshot-damaged", Cause: err,
			Say: services.Say("account.snapshot", "The copy of the accounts is damaged or from a newer Hearth. Nothing was changed.")}
	}
	s.making.Lock()
	defer s.making.Unlock()
	db, err := s.database()
	if err != nil {
		return err
	}
	if err := s.write(ctx, func(tx *sql.Tx) error { return replaceAll(ctx, tx, lines) }, Event{Action: "accounts-restored"}); err != nil {
		return err
	}
	s.mu.Lock()
	var ended []Ended
	for _, c := range s.byHash {
		ended = append(ended, c.ended())
	}
	s.mu.Unlock()
	if err := s.load(ctx, db); err != nil {
		return fmt.Errorf("reading accounts: %w", err)
	}
	s.signing.Lock()
	s.signed = false
	s.signing.Unlock()
	s.tellEnded(ended)
	return nil
}

func replaceAll(ctx context.Context, tx *sql.Tx, lines []line) error {
	for _, table := range []string{"password", "credential", "statement", "audit"} {
		if _, err := tx.ExecContext(ctx, "DELETE FROM "+table); err != nil {
			return err
		}
	}
	for _, l := range lines {
		var err error
		switch {
		case l.Password != nil:
			_, err = tx.ExecContext(ctx, "INSERT INTO password (person, hash, changed) VALUES (?, ?, ?)", string(l.Password.Person), l.Password.Hash, l.Password.Changed)
		case l.Credential != nil:
			c := l.Credential
			row := &credential{id: c.ID, kind: c.Kind, person: c.Person, device: c.Device, name: clip(c.Name), scope: clip(c.Scope), role: c.Role, address: clip(c.Address),
				created: durable.FromUnixTime(c.Created), used: durable.FromUnixTime(c.Used), expires: durable.FromUnixTime(c.Expires)}
			var h []byte
			if h, err = hex.DecodeString(c.Hash); err == nil {
				copy(row.hash[:], h)
				err = insertCredential(ctx, tx, row)
			}
		case l.Statement != nil:
			err = keepStated(ctx, tx, l.Statement.stated())
		case l.AuditStart != nil:
			var h []byte
			if h, err = hex.DecodeString(l.AuditStart.Hash); err == nil {
				_, err = tx.ExecContext(ctx, "UPDATE audit_start SET seq = ?, hash = ?", l.AuditStart.Seq, h)
			}
		case l.Audit != nil:
			a := l.Audit
			var h []byte
			if h, err = hex.DecodeString(a.Hash); err == nil {
				_, err = tx.ExecContext(ctx, "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", a.Seq, a.At, a.Texts[0], a.Texts[1], a.Texts[2], a.Texts[3], a.Texts[4], h)
			}
		}
		if err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, "UPDATE household SET met = 1"); err != nil {
		return err
	}
	return stateAll(ctx, tx)
}

// ErasePerson implements services.Snapshotter: the password and every credential go. The audit log names people by
// their identifier only, which nobody else gets; its rows stay until they are 90 days old, because the chain stands on
// them.
func (s *Service) ErasePerson(ctx context.Context, id services.PersonID) error {
	s.making.Lock()
	defer s.making.Unlock()
	s.mu.Lock()
	var gone []*credential
	for _, c := range s.byHash {
		if c.person == id {
			gone = append(gone, c)
		}
	}
	had := s.passwords[id]
	s.mu.Unlock()
	if len(gone) == 0 && !had {
		return nil
	}
	if err := s.write(ctx, func(tx *sql.Tx) error {
		return forgetPeople(ctx, tx, id)
	}, Event{Action: "person-erased", Object: string(id)}); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.passwords, id)
	ended := s.dropLocked(gone)
	s.mu.Unlock()
	s.tellEnded(ended)
	return nil
}

var _ services.Snapshotter = (*Service)(nil)
var _ services.Service = (*Service)(nil)
