package appliance

import (
	"context"
	"log/slog"
	"time"

	"github.com/thejerf/suture/v4"

	"hearth.alt/services"
)

// stopWithin is how long the services may take to stop, all together; the process promises five seconds.
const stopWithin = 4 * time.Second

// supervise runs all services until ctx ends. One that returns an error or panics is started again after a pause that
// suture grows and jitters; one that returns nil while ctx goes on has nothing more to do.
func supervise(ctx context.Context, log *slog.Logger, all []services.Service) error {
	root := suture.New("hearth", suture.Spec{
		EventHook:         func(e suture.Event) { logEvent(log, e) },
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
			EventHook:        func(e suture.Event) { logEvent(log, e) },
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

func logEvent(log *slog.Logger, e suture.Event) {
	facts := e.Map()
	switch e.Type() {
	case suture.EventTypeServicePanic:
		log.Error("a service panics and is started again", "service", facts["service_name"], "panic", facts["panic_msg"], "stack", facts["stacktrace"])
	case suture.EventTypeServiceTerminate:
		log.Warn("a service fails and is started again", "service", facts["service_name"], "error", facts["error"])
	case suture.EventTypeBackoff:
		log.Warn("a service keeps failing; the next start waits", "supervisor", facts["supervisor_name"])
	case suture.EventTypeResume:
		log.Info("a service is tried again", "supervisor", facts["supervisor_name"])
	case suture.EventTypeStopTimeout:
		log.Error("a service does not stop in time", "service", facts["service_name"])
	}
}
