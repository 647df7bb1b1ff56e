package pages

import (
	"sync"
	"time"

	"hearth.alt/services"
)

// waiting remembers devices that were added here, so that the page of a code that ran out can say so. Memory only.
type waiting struct {
	mu  sync.Mutex
	all map[services.DeviceID]waitingDevice
}

type waitingDevice struct {
	device services.Device
	since  time.Time
}

func (w *waiting) add(d services.Device) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[services.DeviceID]waitingDevice{}
	}
	for id, old := range w.all {
		if time.Since(old.since) > expiredKept {
			delete(w.all, id)
		}
	}
	w.all[d.ID] = waitingDevice{d, time.Now()}
}

func (w *waiting) get(id services.DeviceID) (services.Device, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one, ok := w.all[id]
	return one.device, ok && time.Since(one.since) <= expiredKept
}

func (w *waiting) drop(id services.DeviceID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.all, id)
}
