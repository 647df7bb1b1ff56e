package durable_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"hearth.alt/services/durable"
)

func TestWriteFileReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, want := range []string{"one", "", "three"} {
		if err := durable.WriteFile(path, []byte(want), 0o640); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("read %q, %v; want %q", got, err, want)
		}
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o640 {
		t.Errorf("mode is %v, want 0640", st.Mode().Perm())
	}
	left, _ := os.ReadDir(filepath.Dir(path))
	if len(left) != 1 {
		t.Errorf("files left beside it: %v", left)
	}
}

func TestSQLiteMigratesForwardOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db.sqlite")
	one := fstest.MapFS{"001_start.sql": {Data: []byte("CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (7);")}}
	two := fstest.MapFS{"001_start.sql": one["001_start.sql"], "002_more.sql": {Data: []byte("ALTER TABLE a ADD y INTEGER NOT NULL DEFAULT 3;")}}
	for _, step := range []fstest.MapFS{one, one, two, two} {
		db, err := durable.OpenSQLite(t.Context(), path, step)
		if err != nil {
			t.Fatal(err)
		}
		db.Close()
	}
	db, err := durable.OpenSQLite(t.Context(), path, two)
	if err != nil {
		t.Fatal(err)
	}
	var x, y int
	if err := db.QueryRow("SELECT x, y FROM a").Scan(&x, &y); err != nil || x != 7 || y != 3 {
		t.Errorf("row is %d, %d, %v; want 7, 3", x, y, err)
	}
	db.Close()
	if _, err := durable.OpenSQLite(t.Context(), path, one); err == nil {
		t.Error("a database newer than the program was opened")
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, want 0600", st.Mode().Perm())
	}
}

func TestSQLiteDamageIsNamedAndSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db.sqlite")
	steps := fstest.MapFS{"001_start.sql": {Data: []byte("CREATE TABLE a (x INTEGER) STRICT;")}}
	if err := os.WriteFile(path, []byte("this is not a database, and it is longer than a header page would be......................................."), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := durable.OpenSQLite(t.Context(), path, steps); !errors.Is(err, durable.ErrDamaged) {
		t.Fatalf("error is %v, want ErrDamaged", err)
	}
	to, err := durable.SetAside(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(to); err != nil {
		t.Errorf("the damaged file is gone: %v", err)
	}
	db, err := durable.OpenSQLite(t.Context(), path, steps)
	if err != nil {
		t.Fatalf("a fresh one does not open: %v", err)
	}
	db.Close()
}
