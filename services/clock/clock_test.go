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
	m.wall = at("2026-12-14T18:00:00Z")
	if !c.Vouch() || !c.Now().Equal(m.wall) {
		t.Errorf("after NTP: %v known %v; want %v, known", c.Now(), c.Known(), m.wall)
	}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	m.wall = at("2026-12-14T17:00:00Z")
	m.mono += time.Minute
	if got, want := c.Now(), at("2026-12-14T18:01:00Z"); !got.Equal(want) {
		t.Errorf("someone set the system back: %v, want %v", got, want)
	}

	m = &machine{wall: at("1970-01-01T00:00:10Z")}
	c, err = clock.New(path, m.system(), true)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Now(), at("2026-12-14T18:00:00Z"); !got.Equal(want) || c.Known() {
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

// newDevice is a clock whose time only NTP sets. saved, when not zero, is what the last run wrote down.
func newDevice(t *testing.T, path string, m *machine, saved time.Time) *clock.Clock {
	t.Helper()
	if !saved.IsZero() {
		laptop, err := clock.New(path, (&machine{wall: saved}).system(), true)
		if err != nil {
			t.Fatal(err)
		}
		if err := laptop.Save(); err != nil {
			t.Fatal(err)
		}
	}
	c, err := clock.New(path, m.system(), false)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// One forged NTP answer once set the known time to 2050 for good: sessions ended, certificates were made for then, and
// no right answer was ever believed again.
func TestForgedTimeIsNotFollowed(t *testing.T) {
	right, forged := at("2026-12-01T00:00:00Z"), at("2050-01-01T00:00:00Z")
	t.Run("while running", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "clock")
		m := &machine{wall: right}
		c := newDevice(t, path, m, right)
		c.Vouch()
		m.pass(time.Hour)
		c.Now()
		m.wall = forged
		for range 23 {
			m.pass(time.Hour)
			if c.Now().After(right.Add(25*time.Hour)) || !c.Known() {
				t.Fatalf("%v known %v", c.Now(), c.Known())
			}
		}
		if err := c.Save(); err != nil {
			t.Fatal(err)
		}
		m.wall = right.Add(24 * time.Hour)
		m.pass(2 * time.Hour)
		if got, want := c.Now(), right.Add(26*time.Hour); !got.Equal(want) {
			t.Errorf("with the right time again: %v, want %v", got, want)
		}
		m = &machine{wall: right.Add(30 * time.Hour)}
		c = newDevice(t, path, m, time.Time{})
		if c.Vouch(); !c.Known() || !c.Now().Equal(m.wall) {
			t.Errorf("at the next start: %v known %v, want %v", c.Now(), c.Known(), m.wall)
		}
	})
	t.Run("a day at a time", func(t *testing.T) {
		m := &machine{wall: right}
		c := newDevice(t, filepath.Join(t.TempDir(), "clock"), m, right)
		c.Vouch()
		for range 20 {
			m.wall = m.wall.Add(20 * time.Hour)
			m.pass(time.Minute)
			c.Now()
		}
		if got := c.Now(); got.After(right.Add(25 * time.Hour)) {
			t.Errorf("it was led to %v", got)
		}
	})
	t.Run("at a start", func(t *testing.T) {
		m := &machine{wall: forged}
		c := newDevice(t, filepath.Join(t.TempDir(), "clock"), m, right)
		if c.Vouch(); c.Known() || !c.Now().Equal(right) {
			t.Errorf("%v known %v", c.Now(), c.Known())
		}
		m.wall = right.Add(time.Minute)
		if !c.Known() || !c.Now().Equal(m.wall) {
			t.Errorf("with the right time: %v known %v", c.Now(), c.Known())
		}
	})
	t.Run("on a first boot", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "clock")
		m := &machine{wall: forged}
		c := newDevice(t, path, m, time.Time{})
		c.Vouch()
		if err := c.Save(); err != nil || !c.Known() || !c.Now().Equal(forged) {
			t.Fatalf("%v known %v, %v", c.Now(), c.Known(), err)
		}
		m.wall = right
		if !c.Now().Equal(right) {
			t.Errorf("with the right time again: %v", c.Now())
		}
	})
}

// A box that lay in a drawer for a year believes NTP after a day; one flashed long after it was built at once, and
// after a restart on its first day too.
func TestLongAgo(t *testing.T) {
	now := at("2028-02-01T00:00:00Z")
	path := filepath.Join(t.TempDir(), "clock")
	m := &machine{wall: now}
	c := newDevice(t, path, m, at("2026-12-01T00:00:00Z"))
	c.Vouch()
	c.Now()
	for range 24 {
		if c.Known() {
			t.Fatal("it is believed too early")
		}
		m.pass(time.Hour)
		m.wall = m.wall.Add(time.Second) // NTP goes on correcting
	}
	if !c.Known() || !c.Now().Equal(m.wall) {
		t.Errorf("after a day: %v known %v, want %v", c.Now(), c.Known(), m.wall)
	}

	path = filepath.Join(t.TempDir(), "clock")
	for run := range 3 {
		m = &machine{wall: now.Add(time.Duration(run) * time.Hour)}
		c = newDevice(t, path, m, time.Time{})
		if c.Vouch(); !c.Known() || !c.Now().Equal(m.wall) {
			t.Errorf("run %d of a new box: %v known %v, want %v", run, c.Now(), c.Known(), m.wall)
		}
		if err := c.Save(); err != nil {
			t.Fatal(err)
		}
	}
	for range 25 {
		m.pass(time.Hour)
		c.Now()
	}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	last := m.wall
	c = newDevice(t, path, &machine{wall: at("1970-01-01T00:00:00Z")}, time.Time{})
	if got := c.Now(); !got.Equal(last) {
		t.Errorf("after its first day it wrote down %v, want %v", got, last)
	}
}

// Once a first boot has written a time down it is one no more: a later leap is doubted.
func TestAfterTheFirstDay(t *testing.T) {
	m := &machine{wall: at("2026-12-01T00:00:00Z")}
	c := newDevice(t, filepath.Join(t.TempDir(), "clock"), m, time.Time{})
	c.Vouch()
	for range 48 {
		m.pass(time.Hour)
		if c.Now(); c.Save() != nil {
			t.Fatal("it is not written down")
		}
	}
	before := c.Now()
	m.wall = at("2050-01-01T00:00:00Z")
	m.pass(time.Minute)
	if got := c.Now(); got.Sub(before) > time.Hour {
		t.Errorf("it was led to %v", got)
	}
	// What a signed record proves is not doubted, and moves what leaps are measured from.
	m.wall = before.Add(40 * 24 * time.Hour)
	c.AtLeast(m.wall)
	m.pass(time.Minute)
	if got := c.Now(); !got.Equal(m.wall) || !c.Known() {
		t.Errorf("after a record of %v: %v known %v", m.wall, got, c.Known())
	}
}

// A new box that is without the Internet at first writes down what it has, and believes NTP at once when it comes.
func TestNTPComesLate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	m := &machine{wall: at("1970-01-01T00:00:10Z")}
	c := newDevice(t, path, m, time.Time{})
	m.pass(time.Hour)
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	before := c.Now()
	c = newDevice(t, path, &machine{wall: at("1970-01-01T00:00:10Z")}, time.Time{})
	if got := c.Now(); !got.Equal(before) {
		t.Errorf("after a restart %v, want what was written down, %v", got, before)
	}
	m = &machine{wall: at("2027-11-21T00:00:00Z")}
	if c = newDevice(t, path, m, time.Time{}); !c.Vouch() || !c.Known() || !c.Now().Equal(m.wall) {
		t.Errorf("with NTP: %v known %v, want %v", c.Now(), c.Known(), m.wall)
	}
}

// A laptop sleeps, and its monotonic clock with it.
func TestLaptopSleeps(t *testing.T) {
	m := &machine{wall: at("2026-12-01T00:00:00Z")}
	c, err := clock.New(filepath.Join(t.TempDir(), "clock"), m.system(), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	m.wall = m.wall.Add(60 * 24 * time.Hour)
	if !c.Known() || !c.Now().Equal(m.wall) {
		t.Errorf("%v known %v, want %v", c.Now(), c.Known(), m.wall)
	}
}
