package appliance

import (
	"context"
	"sync"
	"time"

	"hearth.alt/services"
	"hearth.alt/webui/house"
)

// roomEvery is how often the disk is measured.
const roomEvery = 30 * time.Second

// room is the service that watches how full the disk with the state is, and says so where people look first.
type room struct {
	measure func() house.Storage
	now     func() time.Time // known time

	mu     sync.Mutex
	health services.Health
}

func newRoom(measure func() house.Storage, now func() time.Time) *room {
	return &room{measure: measure, now: now, health: services.Health{
		Name: "storage", Message: services.Say("storage.measuring", "The room on the disk is being measured."),
	}}
}

// Run measures until ctx ends.
func (r *room) Run(ctx context.Context) error {
	tick := time.NewTicker(roomEvery)
	defer tick.Stop()
	for {
		r.look()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (r *room) look() {
	s := r.measure()
	// Nearly full is worth a word and breaks nothing; what cannot be measured is not called full.
	ok := s.State != house.StateAct
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.health.Ready || r.health.OK != ok {
		r.health.Since = r.now()
	}
	r.health.Ready, r.health.OK, r.health.Message = true, ok, s.Message
}

// Health implements services.Service.
func (r *room) Health() services.Health {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.health
}
