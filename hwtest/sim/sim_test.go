package sim

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

var (
	oneSeed = flag.Int64("seed", -1, "play the schedule of this seed only, and say what happens")
	howMany = flag.Int("schedules", 1000, "play so many, from seed 0 on")
)

// A thousand schedules; a hundred thousand with HEARTH_TEST_ALL=1.
func TestSchedules(t *testing.T) {
	if *oneSeed >= 0 {
		t.Log(Explain(uint64(*oneSeed), Options{}))
		if _, err := Play(Seeded(uint64(*oneSeed)), Options{}, nil); err != nil {
			t.Fail()
		}
		return
	}
	schedules := *howMany
	if os.Getenv("HEARTH_TEST_ALL") != "" {
		schedules = 100_000
	}
	var all Stats
	var mu sync.Mutex
	workers := runtime.GOMAXPROCS(0)
	t.Run("seeds", func(t *testing.T) {
		for worker := range workers {
			t.Run(fmt.Sprint(worker), func(t *testing.T) {
				t.Parallel()
				var sum Stats
				for seed := worker; seed < schedules; seed += workers {
					stats, err := Play(Seeded(uint64(seed)), Options{}, nil)
					if err != nil {
						t.Fatal(Explain(uint64(seed), Options{}))
					}
					sum.add(stats)
				}
				mu.Lock()
				all.add(sum)
				mu.Unlock()
			})
		}
	})
	if t.Failed() {
		return
	}
	t.Attr("figure", fmt.Sprintf("%d schedules: %+v", schedules, all))
	for what, n := range map[string]int{
		"record": all.Records, "frame": all.Frames, "power cut": all.Crashes, "torn write": all.Torn, "refusing disk": all.Refused,
		"bad frame": all.Bad, "fork": all.Forks, "quarrel": all.Frozen, "epoch": all.Epochs, "agreement of boxes": all.Agreed, "removed box": all.Removed,
		"record of somebody removed": all.Judged,
	} {
		if n == 0 {
			t.Errorf("no schedule had a %s", what)
		}
	}
}

// Equal seeds play equal schedules, to the last byte.
func TestReplay(t *testing.T) {
	for seed := range uint64(20) {
		if a, b := Explain(seed, Options{}), Explain(seed, Options{}); a != b {
			t.Fatalf("seed %d: two schedules", seed)
		}
	}
}

// The same world from draws that rapid makes, and makes fewer and smaller where one fails.
func TestShrinking(t *testing.T) {
	type outcome struct {
		log string
		err error
	}
	schedule := rapid.Custom(func(t *rapid.T) outcome {
		var log strings.Builder
		steps := rapid.IntRange(1, 80).Draw(t, "steps")
		draw := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "draw") }
		_, err := Play(func(int) func(n int) int { return draw }, Options{Steps: steps}, &log)
		return outcome{log.String(), err}
	})
	rapid.Check(t, func(t *rapid.T) {
		if o := schedule.Draw(t, "schedule"); o.err != nil {
			t.Fatalf("%s\n%v", o.log, o.err)
		}
	})
}

// A disk that does not do what it says, and a box that wakes up with an old disk, are seen.
func TestSabotageIsSeen(t *testing.T) {
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"a disk that lies":              {Options{LyingDisk: true}, "forgot records"},
		"a box that wakes up in a past": {Options{Amnesia: true}, "two records with one sequence"},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(200) {
				if _, err := Play(Seeded(seed), c.o, nil); err != nil {
					if !strings.Contains(err.Error(), c.want) {
						t.Errorf("seed %d: %v, want %q", seed, err, c.want)
					}
					return
				}
			}
			t.Error("nothing was seen")
		})
	}
}
