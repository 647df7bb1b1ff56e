package identity

import (
	"runtime"
	"testing"

	"hearth.alt/services/identity/internal/record"
)

// What a stolen box and one made up by it say about nothing, again and again, costs little when the log is read: each of them
// had the household folded as of its past, 800 of them, 200 KiB, for 11 seconds at each start.
func TestVoicesCostLittle(t *testing.T) {
	d, _ := worded(t)
	thief := d.boxes[1]
	p := d.puppets(thief, 1)[0]
	e := record.Epoch{Number: 1, Root: d.root.Key, Void: []record.ID{{1}}}
	for i := range 200 {
		d.add([]record.Author{thief, p}[i%2], e, d.last())
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := fold(d.self(), d.records[0].ID(), d.records); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 16 {
		t.Errorf("%d MiB are used for %d records", used, len(d.records))
	}
}
