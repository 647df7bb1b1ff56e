package account

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/durable"
	"hearth.alt/services/looks"
)

// Event is one thing of the audit log that matters for trust: a sign-in, a claim, a new device, a removed person. It
// holds no secrets. Texts are cut to 200 bytes.
type Event struct {
	Seq     uint64    // given by the log, from 1
	At      time.Time // known time, whole seconds; given by the log
	Actor   services.PersonID
	Face    services.Face
	Address string // where from; "" is not known
	Action  string // stable, lower case with dashes: "sign-in"
	Object  string // what it was done to, an identifier rather than a name
}

// maxEventText bounds each text of an Event, in bytes.
const maxEventText = 200

// clip bounds a text that strangers may have chosen, such as a User-Agent, and makes it plain.
func clip(s string) string {
	s = looks.Plain(s, false)
	if len(s) > maxEventText {
		s = strings.ToValidUTF8(s[:maxEventText], "")
	}
	return s
}

// chain returns the hash of a row: SHA-256 over the hash before it, the number and time as 8 bytes big endian, and each
// text after its length as 4 bytes big endian.
func chain(before []byte, seq uint64, at int64, texts ...string) []byte {
	h := sha256.New()
	b := binary.BigEndian.AppendUint64(append([]byte(nil), before...), seq)
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	for _, t := range texts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(t)))
		b = append(b, t...)
	}
	h.Write(b)
	return h.Sum(nil)
}

// appendEvents adds events to the log within tx.
func appendEvents(ctx context.Context, tx *sql.Tx, now time.Time, events []Event) error {
	if len(events) == 0 {
		return nil
	}
	var seq uint64
	var hash []byte
	err := tx.QueryRowContext(ctx, "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").Scan(&seq, &hash)
	if errors.Is(err, sql.ErrNoRows) {
		err = tx.QueryRowContext(ctx, "SELECT seq, hash FROM audit_start").Scan(&seq, &hash)
	}
	if err != nil {
		return err
	}
	at := durable.UnixTime(now)
	for _, e := range events {
		seq++
		texts := []string{string(e.Actor), e.Face.String(), e.Address, e.Action, e.Object}
		for i := range texts {
			texts[i] = clip(texts[i])
		}
		hash = chain(hash, seq, at, texts...)
		if _, err := tx.ExecContext(ctx, "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", seq, at, texts[0], texts[1], texts[2], texts[3], texts[4], hash); err != nil {
			return err
		}
	}
	return nil
}

// Audit adds an event; when it returns nil the event is on disk. Seq and At are ignored.
func (s *Service) Audit(ctx context.Context, e Event) error {
	return s.write(ctx, nil, e)
}

// maxEvents bounds what Events returns.
const maxEvents = 1000

// Events returns the n newest events at or after since, newest first; n is at most 1000, and 0 means that.
func (s *Service) Events(ctx context.Context, since time.Time, n int) ([]Event, error) {
	if n <= 0 || n > maxEvents {
		n = maxEvents
	}
	db, err := s.database()
	if err != nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, "SELECT seq, at, actor, face, address, action, object FROM audit WHERE at >= ? ORDER BY seq DESC LIMIT ?", durable.UnixTime(since), n)
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	defer rows.Close()
	var out []Event
	for rows.Next() {
		var e Event
		var at int64
		var face string
		if err := rows.Scan(&e.Seq, &at, &e.Actor, &face, &e.Address, &e.Action, &e.Object); err != nil {
			return nil, fmt.Errorf("reading the audit log: %w", err)
		}
		e.At, e.Face = durable.FromUnixTime(at), parseFace(face)
		out = append(out, e)
	}
	return out, rows.Err()
}

func parseFace(s string) services.Face {
	for _, f := range services.Faces() {
		if f.String() == s {
			return f
		}
	}
	return services.FaceNone
}

// ErrAuditBroken is matched by the error of VerifyAudit when the log was changed from outside.
var ErrAuditBroken = errors.New("the audit log was changed")

// VerifyAudit walks the chain and says whether a kept row was changed, removed from the middle or put in. It does not see
// that the newest rows were cut off, or that all was written anew by one who can write the file.
func (s *Service) VerifyAudit(ctx context.Context) error {
	db, err := s.database()
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	return verifyAudit(ctx, tx)
}

func verifyAudit(ctx context.Context, tx *sql.Tx) error {
	var seq uint64
	var hash []byte
	if err := tx.QueryRowContext(ctx, "SELECT seq, hash FROM audit_start").Scan(&seq, &hash); err != nil {
		return fmt.Errorf("reading the audit log: %w", err)
	}
	rows, err := tx.QueryContext(ctx, "SELECT seq, at, actor, face, address, action, object, hash FROM audit ORDER BY seq")
	if err != nil {
		return fmt.Errorf("reading the audit log: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var have uint64
		var at int64
		var t [5]string
		var kept []byte
		if err := rows.Scan(&have, &at, &t[0], &t[1], &t[2], &t[3], &t[4], &kept); err != nil {
			return fmt.Errorf("reading the audit log: %w", err)
		}
		seq++
		hash = chain(hash, seq, at, t[:]...)
		if have != seq || string(kept) != string(hash) {
			return fmt.Errorf("%w: at entry %d", ErrAuditBroken, have)
		}
	}
	return rows.Err()
}

// trimAudit drops rows that are older than AuditLife or more than maxAuditRows, oldest first, and keeps what the rest
// stands on. Age drops a week of rows at a time, and it is asked once a day: whoever sets the time far ahead must not
// erase by that what they did.
func trimAudit(ctx context.Context, tx *sql.Tx, now time.Time) error {
	var last uint64
	var hash []byte
	before := durable.UnixTime(now.Add(-AuditLife))
	var oldest sql.NullInt64
	if err := tx.QueryRowContext(ctx, "SELECT min(at) FROM audit").Scan(&oldest); err != nil {
		return err
	}
	before = min(before, oldest.Int64+int64(auditStep/time.Second))
	// A row is dropped only with all before it, whatever times they hold.
	err := tx.QueryRowContext(ctx, `SELECT seq, hash FROM audit WHERE seq < max(
		(SELECT coalesce(min(seq), (SELECT max(seq) + 1 FROM audit)) FROM audit WHERE at >= ?),
		(SELECT max(seq) - ? FROM audit)) ORDER BY seq DESC LIMIT 1`, before, maxAuditRows).Scan(&last, &hash)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE audit_start SET seq = ?, hash = ?", last, hash); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM audit WHERE seq <= ?", last)
	return err
}
