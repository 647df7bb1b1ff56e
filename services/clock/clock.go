// Package clock keeps the known time: a time that never goes back, even on a board without a clock battery that
// starts in 1970. It is the only place that may ask the system for the time where trust depends on it.
//
// The known time is the greatest of: the build time of the program, the last time this box wrote down, and the
// system clock once something vouched for it (NTP, a person, a signed record). Until then it advances with the
// monotonic clock from the greatest lower bound. It is a lower bound of the real time at all times.
//
// NTP can be forged by anyone on the way, and what the known time has reached it never leaves. So on a device a leap of
// the system clock far beyond what is known is followed only when it has lasted for a day; meanwhile the time counts as
// not known at a start, and goes on by itself while running. On a first boot, where nothing is kept yet that could be
// lost, the leap is shown at once and written down after that day.
//
// The package is a leaf tool: anyone may import it, and it imports only durable.
package clock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"sync"
	"time"

	"hearth.alt/services/durable"
)

// Floor is the earliest time this program can run at. The image's build sets it (-ldflags -X) to the commit's time
// in RFC 3339; a build without it takes the first commit's day.
var Floor = "2026-11-21T00:00:00Z"

// maxAhead is how far beyond what is known a clock may be before it counts as broken.
const maxAhead = 30 * 365 * 24 * time.Hour

// How far the system clock of a device may be ahead of what is known, at a start and for every further moment of the run;
// and how long a greater leap must last. Crystals are off by less than 100 s in ten days.
const (
	startLeap = 30 * 24 * time.Hour
	runLeap   = 24 * time.Hour
	leapLasts = 24 * time.Hour
	leapSlack = 10 * time.Minute // what NTP may correct meanwhile
)

// System is the two clocks of the machine.
type System struct {
	Wall func() time.Time     // may jump either way
	Mono func() time.Duration // since some moment; never goes back
}

// Machine returns the clocks of this machine.
func Machine() System {
	start := time.Now()
	return System{
		Wall: func() time.Time { return time.Now().Round(0).UTC() },
		Mono: func() time.Duration { return time.Since(start) },
	}
}

// Clock tells the known time. It is safe for concurrent use. Make one with New.
type Clock struct {
	path string
	sys  System

	wary bool // the system clock is NTP's alone: leaps are doubted

	mu      sync.Mutex
	base    time.Time     // known time at mark, wall only
	mark    time.Duration // monotonic reading that base belongs to
	trusted bool          // something vouched for the system clock
	first   bool          // no time that something vouched for was ever written down
	anchor  *moment       // what leaps of a running clock are measured from: the first time that was believed
	leap    *moment       // when and to where the system clock leapt; nil when it did not
}

// moment is one moment on both clocks.
type moment struct {
	wall time.Time
	mono time.Duration
}

// at is the wall time of the moment when the monotonic clock shows mono.
func (m *moment) at(mono time.Duration) time.Time { return m.wall.Add(mono - m.mono) }

// New reads the last known time from the file at path and starts from it. A missing file is a first boot; a damaged
// one is ignored, because a lower floor is the only harm. sys is Machine() outside tests; its wall clock is trusted
// from the start only if trustSystem is set (a laptop, whose clock someone else keeps).
func New(path string, sys System, trustSystem bool) (*Clock, error) {
	floor, err := time.Parse(time.RFC3339, Floor)
	if err != nil {
		return nil, fmt.Errorf("clock floor %q: %w", Floor, err)
	}
	c := &Clock{path: path, sys: sys, wary: !trustSystem, mark: sys.Mono(), base: floor.UTC(), first: true}
	b, err := durable.ReadSmall(path, 1<<10) // process 1 reads it too, where a lesser program may write
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, durable.ErrNotSmall): // damaged too
	case err != nil:
		return nil, fmt.Errorf("reading the last known time: %w", err)
	default:
		if t, vouched, ok := parse(b); ok && t.Before(floor.Add(maxAhead)) {
			c.first = !vouched
			if t.After(c.base) {
				c.base = t
			}
		}
	}
	c.trusted = trustSystem && c.plausible(sys.Wall())
	return c, nil
}

func (c *Clock) plausible(t time.Time) bool {
	return !t.Before(c.base.Add(-time.Minute)) && t.Before(c.base.Add(maxAhead))
}

// Now returns the known time in UTC, without a monotonic reading. It never goes back while the program runs, but on a
// first boot, when a leap that it showed turns out to be none.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nowLocked()
}

func (c *Clock) nowLocked() time.Time {
	known := c.follow()
	if c.trusted && c.leap != nil && c.first {
		return c.sys.Wall()
	}
	return known
}

// follow takes the system clock's corrections into the known time, and returns it. The monotonic floor keeps it from
// going back when someone sets the system clock back.
func (c *Clock) follow() time.Time {
	mono := c.sys.Mono()
	known := c.base.Add(mono - c.mark)
	if !c.trusted {
		return known
	}
	wall := c.sys.Wall()
	if !wall.After(known) || !c.plausible(wall) {
		c.leap = nil
		if c.anchor == nil {
			c.anchor = &moment{known, mono}
		}
		return known
	}
	if c.wary && c.doubted(wall, mono) {
		return known
	}
	if c.anchor == nil || c.leap != nil {
		c.anchor = &moment{wall, mono}
	}
	c.base, c.mark, c.leap = wall, mono, nil
	return wall
}

// doubted says whether the system clock leapt too far, too short a while ago.
func (c *Clock) doubted(wall time.Time, mono time.Duration) bool {
	limit := c.base.Add(mono - c.mark).Add(startLeap)
	if c.anchor != nil {
		limit = c.anchor.at(mono).Add(runLeap)
	}
	if !wall.After(limit) {
		c.leap = nil
		return false
	}
	if c.leap == nil || wall.Sub(c.leap.at(mono)).Abs() > leapSlack {
		c.leap = &moment{wall, mono}
	}
	return mono-c.leap.mono < leapLasts
}

// Known says whether something vouched for the time: then it is right, not only a lower bound.
func (c *Clock) Known() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.follow()
	return c.trusted && (c.leap == nil || c.first || c.anchor != nil)
}

// Vouch is called when something trustworthy set or confirmed the system clock (NTP on the device, a person). It
// reports whether the system clock is plausible; an implausible one (before the known time, or decades ahead) stays
// untrusted.
func (c *Clock) Vouch() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.plausible(c.sys.Wall()) {
		c.trusted = true
		c.follow()
	}
	return c.trusted
}

// AtLeast raises the known time to t when t is later: a record signed by someone trusted proves that t has been.
// A t decades ahead is ignored.
func (c *Clock) AtLeast(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.nowLocked(); t.After(known) && c.plausible(t) {
		c.base, c.mark = t.Round(0).UTC(), c.sys.Mono()
		if c.anchor != nil {
			c.anchor = &moment{c.base, c.mark}
		}
	}
}

// Save writes the known time down, for the next start; on a first boot, what is shown, once it has lasted. Call it every
// ten minutes and at a clean stop; more often wears out flash for nothing.
func (c *Clock) Save() error {
	c.mu.Lock()
	t := c.follow()
	wait, vouched := c.first && c.leap != nil, c.trusted || !c.first
	c.mu.Unlock()
	if wait {
		return nil
	}
	if err := durable.WriteFile(c.path, format(t, vouched), 0o644); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.first = c.first && !vouched
	return nil
}

// The file is 16 bytes, big endian: "HCK1", or "HCK0" when nothing vouched for the time yet, Unix seconds (8), IEEE
// CRC-32 of the 12 before (4).
func format(t time.Time, vouched bool) []byte {
	magic := "HCK0"
	if vouched {
		magic = "HCK1"
	}
	b := append([]byte(magic), binary.BigEndian.AppendUint64(nil, uint64(t.Unix()))...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

func parse(b []byte) (t time.Time, vouched, ok bool) {
	if len(b) != 16 || string(b[:4]) != "HCK1" && string(b[:4]) != "HCK0" || crc32.ChecksumIEEE(b[:12]) != binary.BigEndian.Uint32(b[12:]) {
		return time.Time{}, false, false
	}
	return time.Unix(int64(binary.BigEndian.Uint64(b[4:12])), 0).UTC(), b[3] == '1', true
}
