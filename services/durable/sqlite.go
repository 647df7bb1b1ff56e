package durable

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite", pure Go
)

// ErrDamaged is matched by the error of OpenSQLite when the file is there and is not a sound database.
var ErrDamaged = errors.New("the database is damaged")

// OpenSQLite opens the database at path, creating it with mode 0600 when missing, and brings it forward.
//
// Journal mode is WAL and synchronous is FULL: a committed transaction is on disk. Foreign keys are enforced, a
// busy database is waited for (5 s). One connection writes, so that Go code never meets "database is locked".
//
// migrations holds files "<number>_<name>.sql" at its root, applied in order of their number, each in its own
// transaction with the number kept in PRAGMA user_version. They only go forward; a database newer than the
// newest file is refused. The caller closes the database.
//
// Crash point: durable.sqlite.migrated, after each step.
func OpenSQLite(ctx context.Context, path string, migrations fs.FS) (*sql.DB, error) {
	if f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fmt.Errorf("opening database %q: %w", path, err)
	} else if err := f.Close(); err != nil {
		return nil, err
	}
	if err := SyncDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	q := url.Values{"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "cache_size(-1024)"}, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("opening database %q: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	db.SetConnMaxIdleTime(0)
	if err := migrate(ctx, db, migrations); err != nil {
		db.Close()
		return nil, fmt.Errorf("opening database %q: %w", path, err)
	}
	return db, nil
}

func migrate(ctx context.Context, db *sql.DB, migrations fs.FS) error {
	var check string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&check); err != nil || check != "ok" {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w: %s", ErrDamaged, errors.Join(errors.New(check), err))
	}
	var have int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
		return err
	}
	names, err := fs.Glob(migrations, "*.sql")
	if err != nil {
		return err
	}
	sort.Strings(names)
	newest := 0
	for _, name := range names {
		number, _, _ := strings.Cut(name, "_")
		n, err := strconv.Atoi(number)
		if err != nil || n <= newest {
			return fmt.Errorf("migration %q: want file names <number>_<name>.sql with growing numbers of equal width", name)
		}
		newest = n
		if n <= have {
			continue
		}
		step, err := fs.ReadFile(migrations, name)
		if err != nil {
			return err
		}
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, string(step)); err != nil {
			tx.Rollback()
			return fmt.Errorf("migration %q: %w", name, err)
		}
		if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", n)); err != nil {
			tx.Rollback()
			return fmt.Errorf("migration %q: %w", name, err)
		}
		if err := tx.Commit(); err != nil {
			return fmt.Errorf("migration %q: %w", name, err)
		}
		Point("durable.sqlite.migrated")
	}
	if have > newest {
		return fmt.Errorf("it was written by a newer Hearth (step %d, this one knows %d)", have, newest)
	}
	return nil
}

// SetAside renames a damaged file to "<path>.damaged-<n>" beside it, with its SQLite companions, so that a
// service can start without it and nothing is lost. It returns the new name.
func SetAside(path string) (string, error) {
	for n := 1; ; n++ {
		to := fmt.Sprintf("%s.damaged-%d", path, n)
		if _, err := os.Lstat(to); err == nil {
			continue
		}
		for _, suffix := range []string{"-wal", "-shm"} {
			if err := os.Rename(path+suffix, to+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return "", err
			}
		}
		if err := os.Rename(path, to); err != nil {
			return "", err
		}
		return to, SyncDir(filepath.Dir(path))
	}
}

// UnixTime is how times are kept in databases: whole seconds since 1970 in UTC, 0 for the zero time.
func UnixTime(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// FromUnixTime undoes UnixTime.
func FromUnixTime(s int64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}
