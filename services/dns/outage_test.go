package dns

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// mute is an upstream that says nothing to some names and cannot be reached for others.
type mute struct{ scripted }

func (m mute) ask(ctx context.Context, b []byte) ([]byte, error) {
	q := new(dns.Msg)
	if err := q.Unpack(b); err != nil {
		return nil, err
	}
	switch name := q.Question[0].Name; {
	case strings.Contains(name, "dead"):
		return nil, os.ErrDeadlineExceeded
	case strings.Contains(name, "away"):
		return nil, errors.New("network is unreachable")
	}
	return m.scripted.ask(ctx, b)
}

// One domain whose servers are dead is not an outage; many that get no answer are, and so is that nobody can be asked.
func TestOneDeadDomainIsNoOutage(t *testing.T) {
	for _, c := range []struct {
		name  string
		asked []string
		want  bool
	}{
		{"nothing was asked", nil, false},
		{"one dead domain", []string{"dead.example.", "a.dead.example.", "B.Dead.example.", "c.d.dead.example."}, false},
		{"two dead domains", []string{"dead.example.", "dead.example.net.", "a.dead.example."}, false},
		{"silence from everyone", []string{"dead1.example.", "dead2.example.", "dead3.example."}, true},
		{"answers between dead domains", []string{"dead1.example.", "dead2.example.", "www.example.com.", "dead3.example."}, false},
		{"a domain that cannot be resolved", []string{"dead1.example.", "dead2.example.", "broken.example.com.", "dead3.example."}, false},
		{"nobody can be asked", []string{"away.example."}, true},
		{"over", []string{"away.example.", "www.example.com."}, false},
	} {
		s := boxOf(t, nil)
		s.h.forward.own[0].asker = mute{scripted{func(q *dns.Msg) *dns.Msg {
			r := positive(q)
			if strings.HasPrefix(q.Question[0].Name, "broken") {
				r.Rcode, r.Answer = dns.RcodeServerFailure, nil
			}
			return r
		}}}
		for _, name := range c.asked {
			if _, err := s.Exchange(t.Context(), new(dns.Msg).SetQuestion(name, dns.TypeA)); err != nil {
				t.Fatal(err)
			}
		}
		if got := !s.h.forward.outage.start().IsZero(); got != c.want {
			t.Errorf("%s: outage %v", c.name, got)
		}
	}
}

// An outage is shown once it lasts, and since when it is.
func TestHealthTellsOutage(t *testing.T) {
	s := boxOf(t, positive)
	s.setPhase(phaseOpen, nil)
	now := time.Now()
	for _, c := range []struct {
		ago  time.Duration
		want string
	}{{troubleAfter / 2, "dns.ready"}, {2 * troubleAfter, "dns.lost"}} {
		s.h.forward.outage.answered()
		s.h.forward.outage.failed(now.Add(-c.ago), "www.example.com.", false)
		if h := s.Health(); h.Message.Key != c.want || h.OK != (c.want == "dns.ready") {
			t.Errorf("%s after the first question without an answer: %+v", c.ago, h)
		}
	}
}

// gone is an upstream that cannot be reached until it is back.
type gone struct {
	scripted
	back  *atomic.Bool
	asked *atomic.Int32
}

func (g gone) ask(ctx context.Context, b []byte) ([]byte, error) {
	g.asked.Add(1)
	if !g.back.Load() {
		return nil, errors.New("network is unreachable")
	}
	return g.scripted.ask(ctx, b)
}

// TestOutageIsFoundWithoutAQuestion names a bug: a box without Internet said that names are answered until somebody
// asked for one.
func TestOutageIsFoundWithoutAQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := boxOf(t, positive)
		s.setPhase(phaseOpen, nil)
		g := gone{scripted{positive}, new(atomic.Bool), new(atomic.Int32)}
		s.h.forward.own[0].asker = g
		if got := s.Health().Message.Key; got != "dns.ready" {
			t.Errorf("before anybody answered: %s", got)
		}
		go s.h.forward.probe(t.Context())
		time.Sleep(2 * troubleAfter)
		if h := s.Health(); h.Message.Key != "dns.lost" || h.OK {
			t.Errorf("nobody answers: %+v", h)
		}
		time.Sleep(time.Hour)
		if n := g.asked.Load(); n < 5 || n > 30 {
			t.Errorf("asked %d times in an hour", n)
		}
		g.back.Store(true)
		time.Sleep(2 * probeLast)
		if h := s.Health(); h.Message.Key != "dns.fine" || !h.OK {
			t.Errorf("it is back: %+v", h)
		}
		n := g.asked.Load()
		time.Sleep(time.Hour)
		if g.asked.Load() != n {
			t.Error("it goes on asking")
		}
		s.h.forward.wait()
	})
}
