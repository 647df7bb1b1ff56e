package appliance

import (
	"bytes"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/clock"
)

var metricLine = regexp.MustCompile(`^([a-z_]+)(\{[a-z]+="(\\.|[^"\\])*"\})? -?[0-9.e+-]+$`)

// TestMetrics reads /metrics line by line: the form of the text format (version 0.0.4), each family announced once and
// before its samples, and no name of anybody.
func TestMetrics(t *testing.T) {
	h := takenIn(t, t.TempDir())
	w := h.ask(services.FaceTunnel, h.request(services.FaceTunnel, "GET", "/metrics", http.NoBody))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != metricsType {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	text := w.Body.String()
	kinds := map[string]bool{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, _, _ := strings.Cut(rest, " ")
			if kinds[name] {
				t.Errorf("%s is announced twice", name)
			}
			kinds[name] = true
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		m := metricLine.FindStringSubmatch(line)
		if m == nil || !kinds[m[1]] {
			t.Errorf("line %q is not of the format, or of no family", line)
		}
	}
	for _, want := range []string{
		`hearth_service_ok{service="identity"} 1`, `hearth_service_ready{service="dns"} `, `hearth_people{state="active"} 4`, `hearth_devices{state="pending"} 0`,
		"hearth_dns_questions_total 0", "process_resident_memory_bytes ", "go_goroutines ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q", want)
		}
	}
	for _, name := range []string{"Olga", "Mia", "Smith", "Attic", "attic", "192.0.2."} {
		if strings.Contains(text, name) {
			t.Errorf("it names %q", name)
		}
	}
	if h.ask(services.FaceSecure, h.request(services.FaceSecure, "GET", "/metrics", http.NoBody)).Code == http.StatusOK {
		t.Error("the home network reads it")
	}
}

func TestMetricLabelsAreEscaped(t *testing.T) {
	var b bytes.Buffer
	(&metricsWriter{&b}).value("x", 1.5, "a", "q\"b\\c\nd")
	if want := `x{a="q\"b\\c\nd"} 1.5` + "\n"; b.String() != want {
		t.Errorf("wrote %q, want %q", b.String(), want)
	}
}

// TestHealthIsToldInKnownTime says that no service shows the time of a board without a clock battery.
func TestHealthIsToldInKnownTime(t *testing.T) {
	state := t.TempDir()
	floor := clock.Machine().Wall().Add(1000 * time.Hour).Truncate(time.Second)
	ahead, err := clock.New(filepath.Join(state, "clock"), clock.System{Wall: func() time.Time { return floor }, Mono: clock.Machine().Mono}, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := ahead.Save(); err != nil {
		t.Fatal(err)
	}
	h := openHouse(t, state)
	h.faces.say(true, true, services.Sentence{})
	h.console.set(true, true, services.Sentence{})
	h.claim.say(false, services.Sentence{})
	for _, s := range []services.Service{h.faces, h.console, h.claim} {
		if since := s.Health().Since; since.Before(floor) {
			t.Errorf("%s says since %v, before the known time %v", s.Health().Name, since, floor)
		}
	}
	h.takeIn()
	if got := h.dns.Health().Since; got.Before(floor) {
		t.Errorf("dns says since %v, before the known time %v", got, floor)
	}
}
