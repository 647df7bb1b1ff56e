package clock_test

import (
	"errors"
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
}

func TestDamagedFileIsAFirstBoot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	for _, b := range [][]byte{{}, []byte("HCK2"), make([]byte, 24), make([]byte, 4096)} {
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

// After an update the known time was forgotten: the form of its file was another one.
func TestEarlierForms(t *testing.T) {
	kept, ntp := at("2027-03-01T12:00:00Z"), at("2029-01-01T00:00:00Z")
	for name, vouched := range map[string]bool{"hck0": false, "hck1": true} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "clock")
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		m := &machine{wall: at("1970-01-01T00:00:00Z")}
		c := newDevice(t, path, m, time.Time{})
		if got := c.Now(); !got.Equal(kept) || c.Known() {
			t.Errorf("%s: %v known %v, want %v", name, got, c.Known(), kept)
		}
		m.wall = ntp // two years later: believed at once where nothing vouched for what is kept
		if c.Vouch(); c.Known() == vouched {
			t.Errorf("%s: a leap of two years is known: %v", name, c.Known())
		}
		b[7] ^= 1
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if got := newDevice(t, path, &machine{}, time.Time{}).Now(); !got.Equal(at("2026-11-21T00:00:00Z")) {
			t.Errorf("%s, damaged: %v", name, got)
		}
	}
}

// A time decades ahead of the program is no time that the box wrote down.
func TestFileFarAhead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	far := at("2056-01-01T00:00:00Z")
	if got := newDevice(t, path, &machine{}, far).Now(); !got.Equal(far) {
		t.Errorf("29 years ahead: %v", got)
	}
	c := newDevice(t, path, &machine{wall: at("1970-01-01T00:00:00Z")}, at("2080-01-01T00:00:00Z"))
	if got := c.Now(); !got.Equal(at("2026-11-21T00:00:00Z")) {
		t.Errorf("more than 30 years ahead: %v", got)
	}
}

// A start at which NTP never came is no way back to a first boot, which believes anything.
func TestStartWithoutNTP(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	right := at("2026-12-01T00:00:00Z")
	if err := newDevice(t, path, &machine{}, right).Save(); err != nil {
		t.Fatal(err)
	}
	c := newDevice(t, path, &machine{wall: right.Add(400 * day)}, time.Time{})
	if c.Vouch(); c.Known() || !c.Now().Equal(right) {
		t.Errorf("after one: %v known %v", c.Now(), c.Known())
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

const day = 24 * time.Hour

// start is one start of a device at path: NTP says wall, the box runs for ran and stops cleanly.
func start(t *testing.T, path string, wall time.Time, ran time.Duration) (known time.Time, right bool) {
	t.Helper()
	m := &machine{wall: wall}
	c := newDevice(t, path, m, time.Time{})
	c.Vouch()
	known, right = c.Now(), c.Known()
	for ; ran > 0; ran -= time.Hour {
		m.pass(min(ran, time.Hour))
		c.Now()
	}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	return known, right
}

// NTP that is forged a month ahead at every start once led the known time on by a year in twelve starts.
func TestForgedAtManyStarts(t *testing.T) {
	begin := at("2026-12-01T00:00:00Z")
	for _, ran := range []time.Duration{0, time.Minute, time.Hour} {
		for _, forged := range []time.Duration{11 * time.Minute, 23 * time.Hour, 7 * day, 29 * day, 31 * day} {
			path := filepath.Join(t.TempDir(), "clock")
			newDevice(t, path, &machine{}, begin)
			known, right, passed := begin, false, time.Duration(0)
			for range 12 {
				before := known
				known, right = start(t, path, known.Add(forged), ran)
				if known.Before(before) {
					t.Errorf("it went back from %v to %v", before, known)
				}
				passed += ran
			}
			// Thirty days, what running paid back, and ten minutes for each start.
			if most := begin.Add(30*day + 31*passed + 12*10*time.Minute); known.After(most) {
				t.Errorf("forged by %v at each of 12 starts of %v: it was led to %v, want %v at most", forged, ran, known, most)
			}
			if forged == 29*day && right {
				t.Errorf("the twelfth leap of 29 days counts as known")
			}
		}
	}
}

// What honest boxes do is believed at once, at each of many starts.
func TestHonestStarts(t *testing.T) {
	for name, tt := range map[string]struct {
		off, ran time.Duration
		n        int
	}{
		"off every night":           {8 * time.Hour, 16 * time.Hour, 365},
		"off all day":               {21 * time.Hour, 3 * time.Hour, 365},
		"three weeks in a drawer":   {21 * day, day, 12},
		"a month in a drawer":       {30 * day, day, 12},
		"restarted all day":         {10 * time.Minute, time.Minute, 300},
		"a power cut now and again": {5 * time.Hour, 3 * day, 100},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "clock")
			now := at("2027-06-01T00:00:00Z") // a new box, long after it was built
			for i := range tt.n {
				if known, right := start(t, path, now, tt.ran); !right || !known.Equal(now) {
					t.Fatalf("start %d: %v known %v, want %v", i, known, right, now)
				}
				now = now.Add(tt.ran + tt.off)
				if i == 0 { // a new box writes down what NTP said after a day
					start(t, path, now, 25*time.Hour)
					now = now.Add(25*time.Hour + tt.off)
				}
			}
		})
	}
}

// What a new box believes first is not held against it: it may lie in a drawer again within the hour.
func TestNewBoxGoesBackIntoTheDrawer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	now := at("2026-12-16T00:00:00Z")
	for range 2 {
		if known, right := start(t, path, now, time.Minute); !right || !known.Equal(now) {
			t.Errorf("%v known %v, want %v", known, right, now)
		}
		now = now.Add(21 * day)
	}
}

// The limits, each tried at itself and a second beyond it.
func TestLimits(t *testing.T) {
	saved := at("2026-12-01T00:00:00Z")
	device := func(t *testing.T) (*clock.Clock, *machine, string) {
		path := filepath.Join(t.TempDir(), "clock")
		m := &machine{wall: saved}
		return newDevice(t, path, m, saved), m, path
	}
	believes := func(t *testing.T, c *clock.Clock, m *machine, want bool) {
		t.Helper()
		if got := c.Now().Equal(m.wall); got != want {
			t.Errorf("known %v, the system clock says %v: believed %v, want %v", c.Now(), m.wall, got, want)
		}
	}
	for _, over := range []time.Duration{0, time.Second} {
		t.Run("at a start, "+over.String()+" beyond", func(t *testing.T) {
			c, m, _ := device(t)
			m.wall = saved.Add(30*day + over)
			c.Vouch()
			believes(t, c, m, over == 0)
			if c.Known() != (over == 0) {
				t.Errorf("known %v", c.Known())
			}
		})
		t.Run("while running, "+over.String()+" beyond", func(t *testing.T) {
			c, m, _ := device(t)
			c.Vouch()
			c.Now()
			m.pass(time.Hour)
			m.wall = m.wall.Add(day + over)
			believes(t, c, m, over == 0)
		})
		t.Run("a start after a month's leap, "+over.String()+" beyond", func(t *testing.T) {
			c, m, path := device(t)
			m.wall = saved.Add(30 * day)
			c.Vouch()
			if err := c.Save(); err != nil {
				t.Fatal(err)
			}
			m = &machine{wall: m.wall.Add(10*time.Minute + over)}
			c = newDevice(t, path, m, time.Time{})
			c.Vouch()
			believes(t, c, m, over == 0)
		})
		t.Run("a day after a month's leap, "+over.String()+" less", func(t *testing.T) {
			c, m, path := device(t)
			m.wall = saved.Add(30 * day)
			c.Vouch()
			m.pass(day - over)
			c.Now()
			if err := c.Save(); err != nil {
				t.Fatal(err)
			}
			m = &machine{wall: m.wall.Add(30 * day)}
			c = newDevice(t, path, m, time.Time{})
			c.Vouch()
			believes(t, c, m, over == 0)
		})
		t.Run("a correction during a leap, "+over.String()+" beyond", func(t *testing.T) {
			c, m, _ := device(t)
			m.wall = saved.Add(400 * day)
			c.Vouch()
			m.pass(time.Hour)
			m.wall = m.wall.Add(10*time.Minute + over)
			c.Now()
			m.pass(23*time.Hour - time.Second)
			believes(t, c, m, false)
			m.pass(time.Second)
			believes(t, c, m, over == 0)
		})
	}
	t.Run("a laptop's owner keeps the clock", func(t *testing.T) {
		m := &machine{wall: saved}
		c, err := clock.New(filepath.Join(t.TempDir(), "clock"), m.system(), true)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			m.wall = m.wall.Add(29 * day)
			believes(t, c, m, true)
			m.wall = m.wall.Add(31 * day)
			believes(t, c, m, true)
		}
	})
}

// A known time that had gone wrong could not be set back by anybody.
func TestSet(t *testing.T) {
	right := at("2026-12-01T12:00:00Z")
	forged := right.Add(400 * day)
	wrong := func(t *testing.T) (*clock.Clock, *machine, string) {
		path := filepath.Join(t.TempDir(), "clock")
		m := &machine{wall: forged}
		c := newDevice(t, path, m, right)
		c.Vouch()
		c.Now()
		m.pass(day)
		if !c.Now().Equal(m.wall) {
			t.Fatal("the forged time did not win")
		}
		return c, m, path
	}
	after := right.Add(day)
	set := func(t *testing.T, c *clock.Clock) {
		t.Helper()
		if err := c.Set(after); err != nil {
			t.Fatal(err)
		}
		if got := c.Status(); !got.Time.Equal(after) || !got.Known || got.Source != clock.SourcePerson {
			t.Fatalf("%+v, want %v", got, after)
		}
	}
	t.Run("it is kept", func(t *testing.T) {
		c, _, path := wrong(t)
		set(t, c)
		c = newDevice(t, path, &machine{wall: at("1970-01-01T00:00:00Z")}, time.Time{})
		if got := c.Status(); !got.Time.Equal(after) || got.Source != clock.SourcePerson {
			t.Errorf("after a power cut: %+v, want %v", got, after)
		}
	})
	t.Run("the forging goes on", func(t *testing.T) {
		c, m, path := wrong(t)
		set(t, c)
		for range 72 {
			m.pass(time.Hour)
			c.Now()
		}
		if got, want := c.Now(), after.Add(3*day); !got.Equal(want) {
			t.Errorf("three days later %v, want %v", got, want)
		}
		if err := c.Save(); err != nil {
			t.Fatal(err)
		}
		for range 12 {
			start(t, path, c.Now().Add(29*day), 25*time.Hour)
		}
		if got := newDevice(t, path, &machine{}, time.Time{}).Now(); got.After(after.Add(20 * day)) {
			t.Errorf("after 12 starts: %v", got)
		}
	})
	t.Run("the forging comes nearer", func(t *testing.T) {
		c, m, _ := wrong(t)
		set(t, c)
		m.wall = after.Add(25 * time.Hour)
		for range 72 {
			m.pass(time.Hour)
			c.Now()
		}
		if got, want := c.Now(), after.Add(3*day); !got.Equal(want) {
			t.Errorf("three days later %v, want %v", got, want)
		}
	})
	t.Run("off for some hours after it", func(t *testing.T) {
		c, _, path := wrong(t)
		set(t, c)
		for i := range 3 {
			now := after.Add(time.Duration(i+1) * 7 * time.Hour)
			if known, ok := start(t, path, now, time.Minute); !ok || !known.Equal(now) {
				t.Errorf("%v known %v, want %v", known, ok, now)
			}
		}
	})
	t.Run("NTP is right again for a day", func(t *testing.T) {
		c, m, path := wrong(t)
		set(t, c)
		m.wall = after
		m.pass(day - time.Second)
		if got := c.Status(); got.Source != clock.SourcePerson {
			t.Errorf("a second early it is from %q", got.Source)
		}
		m.pass(time.Second)
		if got := c.Status(); got.Source != clock.SourceSystem {
			t.Errorf("a day later it is from %q", got.Source)
		}
		m.pass(day)
		c.Now()
		if err := c.Save(); err != nil {
			t.Fatal(err)
		}
		drawer := m.wall.Add(21 * day)
		if known, ok := start(t, path, drawer, 0); !ok || !known.Equal(drawer) {
			t.Errorf("after three weeks off: %v known %v", known, ok)
		}
	})
	t.Run("refused", func(t *testing.T) {
		c, m, _ := wrong(t)
		floor := at("2026-11-21T00:00:00Z")
		for when, want := range map[time.Time]error{
			floor.Add(-time.Second): clock.ErrTooEarly, floor: nil, at("2107-01-01T00:00:00Z"): clock.ErrTooLate,
		} {
			if err := c.Set(when); !errors.Is(err, want) {
				t.Errorf("%v: %v, want %v", when, err, want)
			}
		}
		laptop, err := clock.New(filepath.Join(t.TempDir(), "clock"), m.system(), true)
		if err != nil {
			t.Fatal(err)
		}
		m.wall = right
		if err := laptop.Set(right.Add(10*time.Minute + time.Second)); !errors.Is(err, clock.ErrSystem) {
			t.Errorf("against the computer's own clock: %v", err)
		}
		if err := laptop.Set(right.Add(time.Minute)); err != nil || !laptop.Known() {
			t.Errorf("as the computer's own clock: %v known %v", err, laptop.Known())
		}
		m.wall = right.Add(60 * day)
		if !laptop.Now().Equal(m.wall) {
			t.Errorf("the computer's clock is not followed: %v", laptop.Now())
		}
		c, err = clock.New(filepath.Join(t.TempDir(), "none", "clock"), (&machine{wall: right}).system(), false)
		if err != nil {
			t.Fatal(err)
		}
		before := c.Now()
		if err := c.Set(right); err == nil || !c.Now().Equal(before) {
			t.Errorf("where nothing can be written: %v, %v", err, c.Now())
		}
	})
}

func TestSource(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	m := &machine{wall: at("1970-01-01T00:00:00Z")}
	c := newDevice(t, path, m, time.Time{})
	want := func(what clock.Source) {
		t.Helper()
		m.pass(time.Hour)
		got := c.Status()
		if got.Source != what || !got.System.Equal(m.wall) || !got.Time.Equal(c.Now()) || got.Known != c.Known() {
			t.Errorf("%+v; want %q, %v known %v", got, what, c.Now(), c.Known())
		}
	}
	want(clock.SourceBuild)
	m.wall = at("2026-12-01T00:00:00Z")
	c.Vouch()
	want(clock.SourceSystem)
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	c = newDevice(t, path, m, time.Time{})
	want(clock.SourceKept)
	m.wall = m.wall.Add(400 * day)
	c.Vouch()
	want(clock.SourceKept)
}
