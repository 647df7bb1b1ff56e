// Package clock keeps the known time: a time that never goes back, even on a board without a clock battery that
// starts in 1970. It is the only place that may ask the system for the time where trust depends on it.
//
// The known time is the greatest of: the build time of the program, the last time this box wrote down, and the
// system clock once something vouched for it (NTP, a person). Until then it advances with the monotonic clock from the
// greatest of them: a lower bound of the real time, as long as neither NTP nor a person was wrong.
//
// NTP can be forged by anyone on the way, and what the known time has reached it leaves only when a person says so (Set).
// So on a device the system clock is followed at once only for so long: thirty days, which a day of running pays back. A
// leap beyond that is followed when it has lasted for a day; meanwhile the time counts as not known at a start, and goes
// on by itself while running. On a first boot, where nothing is kept yet that could be lost, the leap is shown at once
// and written down after that day.
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

// How far the system clock of a device is followed at once: by startLeap in all, which leapLasts of running pays back,
// and by runLeap within a run; and how long a greater leap must last. Without the first being paid for, NTP that is forged
// leads the box a month further at each start. Crystals are off by less than 100 s in ten days.
const (
	startLeap = 30 * 24 * time.Hour
	runLeap   = 24 * time.Hour
	leapLasts = 24 * time.Hour
	leapSlack = 10 * time.Minute // what NTP may always correct at a start, and while a leap lasts
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
	path  string
	sys   System
	floor time.Time

	wary bool // the system clock is NTP's alone: leaps are doubted

	saving sync.Mutex // held while the file is written

	mu      sync.Mutex
	base    time.Time     // known time at mark, wall only
	mark    time.Duration // monotonic reading that base belongs to
	trusted bool          // something vouched for the system clock
	first   bool          // no time that something vouched for was ever written down
	anchor  *moment       // what leaps of a running clock are measured from: the first time that was believed
	leap    *moment       // when and to where the system clock leapt; nil when it did not
	spent   time.Duration // of startLeap
	paid    time.Duration // monotonic reading up to which running has paid back
	said    bool          // a person set the time, and the system clock was not near it for a day yet
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
	c := &Clock{path: path, sys: sys, floor: floor.UTC(), wary: !trustSystem, mark: sys.Mono(), base: floor.UTC(), first: true}
	c.paid = c.mark
	b, err := durable.ReadSmall(path, 1<<10) // process 1 reads it too, where a lesser program may write
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, durable.ErrNotSmall): // damaged too
	case err != nil:
		return nil, fmt.Errorf("reading the last known time: %w", err)
	default:
		if k, ok := parse(b); ok && k.at.Before(floor.Add(maxAhead)) {
			c.first, c.said, c.spent = !k.vouched, k.said, min(k.spent, startLeap)
			if k.at.After(c.base) {
				c.base = k.at
			}
		}
	}
	c.trusted = trustSystem && c.plausible(sys.Wall())
	return c, nil
}

func (c *Clock) plausible(t time.Time) bool {
	return !t.Before(c.base.Add(-time.Minute)) && t.Before(c.base.Add(maxAhead))
}

// Now returns the known time in UTC, without a monotonic reading. It never goes back while the program runs, but when a
// person sets it back, and on a first boot, when a leap that it showed turns out to be none.
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
	c.payBack(mono)
	if !c.trusted {
		return known
	}
	wall := c.sys.Wall()
	if c.anchor != nil && mono-c.anchor.mono >= leapLasts && wall.Sub(known).Abs() <= leapSlack {
		c.said = false
	}
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

// payBack counts the time that the box ran. What a person said is not worn down by waiting.
func (c *Clock) payBack(mono time.Duration) {
	if ran := min(mono-c.paid, leapLasts); !c.said {
		c.spent = max(0, c.spent-ran*(startLeap/leapLasts))
	}
	c.paid = mono
}

// doubted says whether the system clock leapt too far, too short a while ago, or against what a person said.
func (c *Clock) doubted(wall time.Time, mono time.Duration) bool {
	known := c.base.Add(mono - c.mark)
	ahead := max(startLeap-c.spent, leapSlack)
	if c.anchor != nil {
		ahead = min(ahead, c.anchor.at(mono).Add(runLeap).Sub(known))
	}
	if by := wall.Sub(known); by <= ahead {
		c.leap = nil
		if !c.first {
			c.spent += by
		}
		return false
	}
	if c.leap == nil || wall.Sub(c.leap.at(mono)).Abs() > leapSlack {
		c.leap = &moment{wall, mono}
	}
	return c.said || mono-c.leap.mono < leapLasts
}

// Known says whether something vouched for the time: then it is right, not only a lower bound.
func (c *Clock) Known() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.follow()
	return c.knownLocked()
}

func (c *Clock) knownLocked() bool { return c.trusted && (c.leap == nil || c.first || c.anchor != nil) }

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

// Why Set refuses a time.
var (
	ErrTooEarly = errors.New("a time before this program was made")
	ErrTooLate  = errors.New("a time decades ahead")
	ErrSystem   = errors.New("the system clock, which this computer's owner keeps, says another time")
)

// Set makes t the known time, on a person's word, earlier or later than it was, and writes it down; an error changes
// nothing. Until the system clock of a device has agreed with it for a day, it is followed by a day at most.
func (c *Clock) Set(t time.Time) error {
	t = t.Round(0).UTC()
	mono := c.sys.Mono()
	switch {
	case t.Before(c.floor):
		return ErrTooEarly
	case !t.Before(c.floor.Add(maxAhead)):
		return ErrTooLate
	case !c.wary && c.sys.Wall().Sub(t).Abs() > leapSlack:
		return ErrSystem
	}
	c.saving.Lock()
	defer c.saving.Unlock()
	k := kept{at: t, vouched: true, said: c.wary, spent: startLeap - runLeap}
	if err := durable.WriteFile(c.path, k.format(), 0o644); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base, c.mark, c.anchor, c.leap = t, mono, &moment{t, mono}, nil
	c.trusted, c.first, c.said, c.spent, c.paid = true, false, k.said, k.spent, mono
	return nil
}

// Source is where the known time is from.
type Source string

// The sources.
const (
	SourceBuild  Source = "build"  // nothing is known but when the program was made
	SourceKept   Source = "kept"   // the last run wrote it down
	SourceSystem Source = "system" // the system clock: NTP's, or the computer's owner's
	SourcePerson Source = "person" // Set, and the system clock was not near it for a day yet
)

// Status is what is known of the time.
type Status struct {
	Time   time.Time // as Now
	Known  bool      // as Known
	Source Source
	System time.Time // what the system clock says
}

// Status says what time it is, and where that is from.
func (c *Clock) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{Time: c.nowLocked(), Known: c.knownLocked(), Source: SourceBuild, System: c.sys.Wall()}
	switch {
	case c.said:
		s.Source = SourcePerson
	case c.trusted && (c.leap == nil || c.first):
		s.Source = SourceSystem
	case s.Time.Sub(c.floor) > c.sys.Mono()-c.mark:
		s.Source = SourceKept
	}
	return s
}

// Save writes the known time down, for the next start; on a first boot, what is shown, once it has lasted. Call it every
// ten minutes and at a clean stop; more often wears out flash for nothing.
func (c *Clock) Save() error {
	c.saving.Lock()
	defer c.saving.Unlock()
	c.mu.Lock()
	k := kept{at: c.follow(), vouched: c.trusted || !c.first, said: c.said, spent: c.spent}
	wait := c.first && c.leap != nil
	c.mu.Unlock()
	if wait {
		return nil
	}
	if err := durable.WriteFile(c.path, k.format(), 0o644); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.first = c.first && !k.vouched
	return nil
}

// kept is what the file holds.
type kept struct {
	at            time.Time
	vouched, said bool
	spent         time.Duration
}

// The file is 24 bytes, big endian: "HCK2", flags (4: 1 something vouched for the time, 2 a person set it), Unix seconds
// (8), seconds of startLeap that are spent (4), IEEE CRC-32 of the 20 before (4).
func (k kept) format() []byte {
	var flags uint32
	if k.vouched {
		flags |= 1
	}
	if k.said {
		flags |= 2
	}
	b := binary.BigEndian.AppendUint32([]byte("HCK2"), flags)
	b = binary.BigEndian.AppendUint64(b, uint64(k.at.Unix()))
	b = binary.BigEndian.AppendUint32(b, uint32(k.spent/time.Second))
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// migrate brings the form before HCK2 forward: 16 bytes, "HCK1", or "HCK0" when nothing vouched for the time, Unix seconds
// (8), IEEE CRC-32 of the 12 before (4).
func migrate(b []byte) []byte {
	if len(b) != 16 || string(b[:3]) != "HCK" || b[3]&^1 != '0' || crc32.ChecksumIEEE(b[:12]) != binary.BigEndian.Uint32(b[12:]) {
		return b
	}
	return kept{at: time.Unix(int64(binary.BigEndian.Uint64(b[4:12])), 0), vouched: b[3] == '1'}.format()
}

func parse(b []byte) (k kept, ok bool) {
	b = migrate(b)
	if len(b) != 24 || string(b[:4]) != "HCK2" || crc32.ChecksumIEEE(b[:20]) != binary.BigEndian.Uint32(b[20:]) {
		return kept{}, false
	}
	return kept{
		at:      time.Unix(int64(binary.BigEndian.Uint64(b[8:16])), 0).UTC(),
		vouched: b[7]&1 != 0, said: b[7]&2 != 0,
		spent: time.Duration(binary.BigEndian.Uint32(b[16:20])) * time.Second,
	}, true
}
