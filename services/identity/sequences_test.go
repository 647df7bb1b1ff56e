package identity

import (
	"runtime"
	"testing"

	"hearth.alt/services/identity/internal/record"
)

// Many made-up boxes and many ends, which a stolen key writes at once, take no more room than there are records: each
// end kept the newest sequences of all of them, 505 MiB for a log of 1.2 MiB.
func TestEndsTakeLittleRoom(t *testing.T) {
	d, _ := worded(t)
	thief := d.boxes[1]
	for _, p := range d.puppets(thief, 500) {
		d.add(p, record.SetLAN{Person: ann}, d.last())
	}
	fork := d.puppets(thief, 1)[0]
	base := d.last()
	for range 1500 {
		d.seq[fork] = 0
		d.add(fork, record.SetLAN{Person: NewPersonID()}, base)
	}
	taken := order(d.records[0].ID(), d.records)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	out := sequences(taken)
	runtime.ReadMemStats(&after)
	if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 16 {
		t.Errorf("%d MiB for %d records", used, len(out))
	}
}
