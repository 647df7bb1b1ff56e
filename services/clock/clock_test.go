package clock_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"hearth.alt/services/clock"
)

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

// machine is a fake whose wall clock jumps when wall is set and whose monotonic clock only passes.
type machine struct {
	wall time.Time
	mono time.Duration
}

func (m *machine) system() clock.System {
	return clock.System{Wall: func() time.Time { return m.wall }, Mono: func() time.Duration { return m.mono }}
}

func (m *machine) pass(d time.Duration) { m.wall, m.mono = m.wall.Add(d), m.mono+d }

func TestKnownTimeNeverGoesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	m := &machine{wall: at("1970-01-01T00:00:10Z")}
	c, err := clock.New(path, m.system(), false)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Now(), at("2026-11-21T00:00:00Z"); !got.Equal(want) || c.Known() {
		t.Errorf("first boot in 1970: %v known %v; want the floor %v, not known", got, c.Known(), want)
	}
	if c.Vouch() {
		t.Error("a clock in 1970 was believed")
	}
	m.pass(time.Hour)
	if got, want := c.Now(), at("2026-11-21T01:00:00Z"); !got.Equal(want) {
		t.Errorf("an hour later: %v, want %v", got, want)
	}
	m.wall = at("2026-12-24T18:00:00Z")
	if !c.Vouch() || !c.Now().Equal(m.wall) {
		t.Errorf("after NTP: %v known %v; want %v, known", c.Now(), c.Known(), m.wall)
	}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	m.wall = at("2026-12-24T17:00:00Z")
	m.mono += time.Minute
	if got, want := c.Now(), at("2026-12-24T18:01:00Z"); !got.Equal(want) {
		t.Errorf("someone set the system back: %v, want %v", got, want)
	}

	m = &machine{wall: at("1970-01-01T00:00:10Z")}
	c, err = clock.New(path, m.system(), true)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Now(), at("2026-12-24T18:00:00Z"); !got.Equal(want) || c.Known() {
		t.Errorf("next boot: %v known %v; want the saved %v, not known", got, c.Known(), want)
	}
	c.AtLeast(at("2027-01-01T00:00:00Z"))
	c.AtLeast(at("2107-01-01T00:00:00Z"))
	if got, want := c.Now(), at("2027-01-01T00:00:00Z"); !got.Equal(want) {
		t.Errorf("after a signed record: %v, want %v", got, want)
	}
}

func TestDamagedFileIsAFirstBoot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	for _, b := range [][]byte{{}, []byte("HCK1"), make([]byte, 16), make([]byte, 4096)} {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := clock.New(path, (&machine{wall: at("2026-12-01T00:00:00Z")}).system(), true)
		if err != nil {
			t.Fatal(err)
		}
		if !c.Known() || !c.Now().Equal(at("2026-12-01T00:00:00Z")) {
			t.Errorf("%d bytes: %v known %v", len(b), c.Now(), c.Known())
		}
	}
}
