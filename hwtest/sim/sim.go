package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Draws returns what a step draws its numbers from: each call of that returns one from 0 to n-1.
type Draws func(step int) func(n int) int

// Seeded are the draws of a seed: those of one step do not depend on how many another made.
func Seeded(seed uint64) Draws {
	return func(step int) func(n int) int { return rand.New(rand.NewPCG(seed, uint64(step))).IntN }
}

// Options change what a world is like; the zero Options are the usual one.
type Options struct {
	Steps     int  // how many; 0 is 250
	LyingDisk bool // Sync does nothing
	Amnesia   bool // a box may wake up with the disk it had at its start
	skip      bits // steps that are left out
}

func (o Options) steps() int {
	if o.Steps == 0 {
		return 250
	}
	return o.Steps
}

// failure is what a schedule came to that may not be.
type failure struct{ what string }

func (f *failure) Error() string { return f.what }

// Play plays the schedule that draws make; log takes what happens, nil discards it. The error says what may not be.
func Play(draws Draws, o Options, log *strings.Builder) (stats Stats, err error) {
	w := &world{log: log, options: o}
	defer func() {
		switch f := recover().(type) {
		case nil:
		case *failure:
			err = f
		default:
			panic(f)
		}
	}()
	w.draw = draws(0)
	w.begin()
	for i := range o.steps() {
		if !o.skip.has(i) {
			w.say("%d", i)
			w.draw = draws(i + 1)
			w.step()
			w.drop()
		}
	}
	w.draw = draws(o.steps() + 1)
	w.heal()
	w.end()
	return w.stats, nil
}

// Explain plays the schedule of a seed, without the steps that it fails without, and says what happened.
func Explain(seed uint64, o Options) string {
	fails := func(o Options) bool {
		_, err := Play(Seeded(seed), o, nil)
		return err != nil
	}
	left := o.steps()
	if fails(o) {
		for size := o.steps() / 2; size > 0; size /= 2 {
			for at := 0; at < o.steps(); at += size {
				less := o
				less.skip = append(bits(nil), o.skip...)
				n := left
				for i := at; i < min(at+size, o.steps()); i++ {
					if !less.skip.has(i) {
						less.skip.add(i)
						n--
					}
				}
				if n < left && fails(less) {
					o, left = less, n
				}
			}
		}
	}
	var log strings.Builder
	_, err := Play(Seeded(seed), o, &log)
	what := "nothing is wrong"
	if err != nil {
		what = err.Error()
	}
	return fmt.Sprintf("%s\n%s\n\n%d steps of %d. The same again: go test ./hwtest/sim -run TestSchedules -seed %d", log.String(), what, left, o.steps(), seed)
}
