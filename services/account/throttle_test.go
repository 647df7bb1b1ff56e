package account

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"hearth.alt/services/secret"
)

// TestThrottleHoldsAMillionGuesses counts without hashing: an attacker who has a /48 and 200 machines at home, and an
// owner with a known browser.
func TestThrottleHoldsAMillionGuesses(t *testing.T) {
	const seed = 20261121
	r := rand.New(rand.NewPCG(seed, 1))
	th := NewThrottle()
	start := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	now := start
	const guesses = 1_000_000
	gap := 7 * 24 * time.Hour / guesses
	accounts := []string{"anna", "ben", "cleo"}
	through := map[string]int{}
	most, ownerHeld := 0, 0
	for i := range guesses {
		now = now.Add(gap)
		a := netip.AddrFrom4([4]byte{192, 168, 1, byte(r.IntN(200))})
		if r.IntN(2) == 0 {
			b := netip.MustParseAddr("2001:db8::").As16()
			b[6], b[7], b[15] = byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256))
			a = netip.AddrFrom16(b)
		}
		name := accounts[r.IntN(3)]
		if r.IntN(10) == 0 {
			name = fmt.Sprint("nobody", r.IntN(1_000_000))
		}
		if try, _ := th.Begin(now, name, a, ""); try != nil {
			try.Wrong()
			through[name]++
		}
		if i%10_000 == 0 { // the owner comes a hundred times, mistypes once each time, from an address that is attacked
			for _, right := range []bool{false, true} {
				try, wait := th.Begin(now, "anna", a, "browser x")
				switch {
				case try == nil:
					ownerHeld++
					t.Logf("the owner waits %v", wait)
				case right:
					try.Right()
				default:
					try.Wrong()
				}
			}
		}
		most = max(most, th.Len())
	}
	days := now.Sub(start).Hours() / 24
	for _, name := range accounts {
		perDay := float64(through[name]) / days
		t.Logf("seed %d: %s: %d of about %d guesses in %.0f days were let through, %.0f a day", seed, name, through[name], guesses*3/10, days, perDay)
		if perDay > 110 { // one in fifteen minutes, and the free ones
			t.Errorf("%s: %.0f guesses a day", name, perDay)
		}
	}
	if ownerHeld > 0 {
		t.Errorf("the owner was held up %d times by somebody else's guesses", ownerHeld)
	}
	if most > maxBuckets+8 {
		t.Errorf("%d buckets, want at most %d", most, maxBuckets+8)
	}
	// Whoever is not known comes in too, after the longest wait.
	if _, wait := th.Begin(now.Add(longestWait), "anna", netip.MustParseAddr("192.168.7.7"), ""); wait != 0 {
		t.Errorf("fifteen quiet minutes later one still waits %v", wait)
	}
}

// When the known time was set back by a year, whoever had mistyped a few times before waited for a year.
func TestThrottleAfterTheTimeWasSetBack(t *testing.T) {
	th, address := NewThrottle(), netip.MustParseAddr("192.0.2.1")
	forged := time.Date(2028, time.January, 1, 0, 0, 0, 0, time.UTC)
	for range 20 {
		th.Begin(forged, "ann", address, "")
	}
	now := forged.AddDate(-1, 0, 0)
	if _, wait := th.Begin(now, "ann", address, ""); wait <= 0 || wait > longestWait {
		t.Errorf("at once it waits %v", wait)
	}
	if try, wait := th.Begin(now.Add(longestWait), "ann", address, ""); try == nil {
		t.Errorf("after %v it waits %v more", longestWait, wait)
	}
}

func TestThrottle(t *testing.T) {
	th := NewThrottle()
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	home := netip.MustParseAddr("192.168.1.5")
	var waits []time.Duration
	for range 18 {
		try, wait := th.Begin(now, "anna", home, "")
		for try == nil {
			now = now.Add(wait)
			try, _ = th.Begin(now, "anna", home, "")
		}
		waits = append(waits, wait)
	}
	want := []time.Duration{0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900}
	for i := range want {
		want[i] *= time.Second
	}
	if !slices.Equal(waits, want) {
		t.Errorf("waits %v, want %v", waits, want)
	}
	// Fifty at once on one account: no more than the free ones come through.
	n := 0
	for range 50 {
		if try, _ := th.Begin(now, "ben", netip.MustParseAddr("10.0.0.1"), ""); try != nil {
			n++
		}
	}
	if n != 5 {
		t.Errorf("%d at once came through, want 5", n)
	}
	// One machine with its /64 is one address; many names make it no more.
	n = 0
	for i := range 50 {
		if try, _ := th.Begin(now, fmt.Sprint("p", i), netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)}), ""); try != nil {
			n++
		}
	}
	if n != 10 {
		t.Errorf("one /64 came through %d times, want 10", n)
	}
	// A flood of names and addresses stays within bounds and does not wash away what is known of anna.
	for i := range 3 * maxBuckets {
		now = now.Add(5 * time.Second / 100)
		th.Begin(now, fmt.Sprint("q", i), netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), "")
	}
	if n := th.Len(); n > maxBuckets+8 {
		t.Errorf("%d buckets", n)
	}
	if _, wait := th.Begin(now, "anna", home, ""); wait == 0 {
		t.Error("a flood of other names made anna's guesser free")
	}
	if got := roundWait(61*time.Second) + ", " + roundWait(121*time.Second); got != "61\u00a0s, 3\u00a0min" {
		t.Error(got)
	}
}

func TestTheOwnerIsNotLockedOut(t *testing.T) {
	s, h := setUp(t)
	ctx := t.Context()
	in := signIn(t, s, "Anna", "")
	attack := func() {
		for i := range 300 {
			s.SignIn(ctx, SignIn{By: from(fmt.Sprintf("10.0.0.%d", i%200)), Name: "Anna", Password: secret.NewText("wrong wrong wrong")})
			h.pass(time.Second)
		}
	}
	attack()
	if _, err := s.SignIn(ctx, SignIn{By: from("10.0.0.7"), Name: "Anna", Password: secret.NewText(good)}); !errors.Is(err, ErrTooManyTries) {
		t.Errorf("from anywhere: %v, want ErrTooManyTries", err)
	}
	again, err := s.SignIn(ctx, SignIn{By: from("10.0.0.7"), Name: "Anna", Password: secret.NewText(good), Known: in.Known})
	if err != nil {
		t.Fatalf("in a known browser: %v", err)
	}
	if again.Known.Reveal() != "" {
		t.Error("a known browser of today got a new secret")
	}
	attack()
	by := from("10.81.4.2")
	by.Device = phone
	if _, err := s.SignIn(ctx, SignIn{By: by, Name: "Anna", Password: secret.NewText(good)}); err != nil {
		t.Errorf("over the tunnel: %v", err)
	}
	attack()
	by.Device = other
	if _, err := s.SignIn(ctx, SignIn{By: by, Name: "Anna", Password: secret.NewText(good)}); !errors.Is(err, ErrTooManyTries) {
		t.Errorf("from somebody else's phone: %v", err)
	}
	// A known browser can be guessed at too, and waits for its own mistakes.
	for range 10 {
		_, err = s.SignIn(ctx, SignIn{By: from("10.0.0.7"), Name: "Anna", Password: secret.NewText("wrong wrong wrong"), Known: in.Known})
	}
	if !errors.Is(err, ErrTooManyTries) {
		t.Errorf("ten wrong ones in a known browser: %v", err)
	}
	h.pass(40 * 24 * time.Hour)
	renewed, err := s.SignIn(ctx, SignIn{By: from("10.0.0.7"), Name: "Anna", Password: secret.NewText(good), Known: in.Known})
	if err != nil || renewed.Known.Reveal() == "" {
		t.Errorf("after forty days the browser is not renewed: %v", err)
	}
}
