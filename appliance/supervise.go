package appliance

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/thejerf/suture/v4"

	"hearth.alt/services"
)

// stopWithin is how long the services may take to stop, all together; the process promises five seconds.
const stopWithin = 4 * time.Second

// supervise runs all services until ctx ends. One that returns an error or panics is started again after a pause that
// suture grows and jitters; one that returns nil while ctx goes on has nothing more to do.
func supervise(ctx context.Context, log *slog.Logger, all []services.Service) error {
	say := (&repeats{}).logger(log)
	root := suture.New("hearth", suture.Spec{
		EventHook:         say,
		FailureThreshold:  5,
		FailureDecay:      30, // seconds after which half of a failure is forgotten
		FailureBackoff:    5 * time.Second,
		BackoffJitter:     &suture.DefaultJitter{},
		Timeout:           stopWithin,
		PassThroughPanics: false,
	})
	for _, s := range all {
		// Each has a supervisor of its own, so that one that keeps failing pauses alone.
		one := suture.New(s.Health().Name, suture.Spec{
			EventHook:        say,
			FailureThreshold: 3, FailureDecay: 30, FailureBackoff: 3 * time.Second, BackoffJitter: &suture.DefaultJitter{}, Timeout: stopWithin,
		})
		one.Add(child{s})
		root.Add(one)
	}
	err := root.Serve(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// child makes a services.Service one of suture's.
type child struct{ services.Service }

func (c child) Serve(ctx context.Context) error {
	err := c.Run(ctx)
	if err == nil && ctx.Err() == nil {
		return suture.ErrDoNotRestart
	}
	return err
}

func (c child) String() string { return c.Health().Name }

// repeats counts how often a service failed in the same words, so that a port that stays taken does not fill the log.
type repeats struct {
	mu   sync.Mutex
	last map[string]*repeat // by service
}

type repeat struct {
	text  string
	times int
}

// due says whether the failure of a service is written down: the first, second, fourth, eighth, ... in the same words.
func (r *repeats) due(service, text string) (times int, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		r.last = map[string]*repeat{}
	}
	n := r.last[service]
	if n == nil || n.text != text {
		n = &repeat{text: text}
		r.last[service] = n
	}
	n.times++
	return n.times, n.times&(n.times-1) == 0
}

func (r *repeats) logger(log *slog.Logger) func(suture.Event) {
	return func(e suture.Event) {
		facts := e.Map()
		service := fmt.Sprint(facts["service_name"])
		switch e.Type() {
		case suture.EventTypeServicePanic:
			log.Error("a service panics and is started again", "service", service, "panic", facts["panic_msg"], "stack", facts["stacktrace"])
		case suture.EventTypeServiceTerminate:
			if times, due := r.due(service, fmt.Sprint(facts["error"])); due {
				log.Warn("a service fails and is started again", "service", service, "error", facts["error"], "times", times)
			}
		case suture.EventTypeBackoff:
			log.Debug("a service keeps failing; the next start waits", "supervisor", facts["supervisor_name"])
		case suture.EventTypeResume:
			log.Debug("a service is tried again", "supervisor", facts["supervisor_name"])
		case suture.EventTypeStopTimeout:
			log.Error("a service does not stop in time", "service", service)
		}
	}
}
