package identity

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
)

// apart is a log of 10,000 records of five boxes, each of which hears of another's last one time in four; about 200 are
// removals, and most are made for somebody by a device.
func apart(t testing.TB) *dag {
	const boxes = 5
	d := newDAG(t, boxes)
	d.add(d.boxes[0], person(ann, services.RoleOwner), d.last())
	d.add(d.boxes[0], person(ben, services.RoleOwner), d.last())
	random := rand.New(rand.NewPCG(1, 2))
	var tips [boxes]*record.Record
	var devices [boxes][]services.DeviceID
	for i := range tips {
		tips[i] = d.last()
	}
	for n := 0; len(d.records) < 10_000; n++ {
		i := random.IntN(boxes)
		parents := []*record.Record{tips[i]}
		if j := random.IntN(boxes); random.IntN(4) == 0 && tips[j] != tips[i] {
			parents = append(parents, tips[j])
		}
		switch {
		case n%50 == 0 && len(devices[i]) > 0:
			tips[i] = d.addFor(ben, "", d.boxes[i], record.RemoveDevice{Device: devices[i][0]}, parents...)
			devices[i] = devices[i][1:]
		case n%40 == 0:
			dev := device(NewDeviceID(), ann, uint8(2+n/40%240))
			dev.Key[2], dev.Key[3] = byte(n), byte(n>>8)
			tips[i] = d.addFor(ben, "", d.boxes[i], dev, parents...)
			devices[i] = append(devices[i], dev.Device)
		case len(devices[i]) > 0:
			tips[i] = d.addFor(ann, devices[i][len(devices[i])-1], d.boxes[i], record.RenamePerson{Person: ann, Name: fmt.Sprint("Ann ", n)}, parents...)
		default:
			tips[i] = d.addFor(ben, "", d.boxes[i], record.RenamePerson{Person: ben, Name: fmt.Sprint("Ben ", n)}, parents...)
		}
	}
	return d
}

// Issue 3 wants 10,000 records open in less than 300 ms on two cores; here they are of boxes that were apart.
func BenchmarkLoad10000Apart(b *testing.B) {
	d := apart(b)
	path := d.file()
	for b.Loop() {
		if l := load(nil, d.self(), path); l.fault.any() || l.state.taken != 10_000 {
			b.Fatalf("%+v, %d records", l.fault, l.state.taken)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "open-ms")
}

func BenchmarkFold10000Apart(b *testing.B) {
	d := apart(b)
	for b.Loop() {
		if _, err := fold(d.self(), d.records[0].ID(), d.records); err != nil {
			b.Fatal(err)
		}
	}
}
