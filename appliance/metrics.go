package appliance

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"hearth.alt/services"
)

// metricsType is the Prometheus text exposition format, version 0.0.4.
const metricsType = "text/plain; version=0.0.4; charset=utf-8"

// metrics serves /metrics. It names nobody: people and devices are counted only, since everybody on the private network
// may read it. The text is written here because the client library costs 2.6 MB of program (measured) for these few lines.
func (a *appliance) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", metricsType)
	m := &metricsWriter{w: w}
	m.family("hearth_build_info", "gauge", "The program that runs; always 1.")
	m.value("hearth_build_info", 1, "version", Version)

	m.family("hearth_service_ready", "gauge", "1 while the service does its work.")
	all := a.health.All()
	for _, h := range all {
		m.value("hearth_service_ready", truth(h.Ready), "service", h.Name)
	}
	m.family("hearth_service_ok", "gauge", "1 while there is nothing to look at.")
	for _, h := range all {
		m.value("hearth_service_ok", truth(h.OK), "service", h.Name)
	}

	members := a.identity.Membership()
	people, devices := map[services.State]int{}, map[services.State]int{}
	for _, p := range members.People {
		people[p.State]++
	}
	seen := 0
	status := a.mesh.Status()
	for _, d := range members.Devices {
		devices[d.State]++
		if s := status.Devices[d.ID]; !s.LastHandshake.IsZero() && time.Since(s.LastHandshake) < 3*time.Minute {
			seen++
		}
	}
	states := []services.State{services.StatePending, services.StateActive, services.StateRelayOnly, services.StateQuarantined}
	m.family("hearth_people", "gauge", "People of the household.")
	for _, s := range states {
		m.value("hearth_people", float64(people[s]), "state", string(s))
	}
	m.family("hearth_devices", "gauge", "Phones and laptops of the household.")
	for _, s := range states {
		m.value("hearth_devices", float64(devices[s]), "state", string(s))
	}
	m.family("hearth_devices_connected", "gauge", "Devices that said hello within three minutes.")
	m.value("hearth_devices_connected", float64(seen))

	dns := a.dns.Stats()
	m.family("hearth_dns_questions_total", "counter", "Questions that could be read.")
	m.value("hearth_dns_questions_total", float64(dns.Questions))
	m.family("hearth_dns_events_total", "counter", "What became of questions; one may count more than once.")
	for _, c := range []struct {
		event string
		n     uint64
	}{
		{"cached", dns.Cached}, {"stale", dns.Stale}, {"local", dns.Local}, {"forwarded", dns.Forwarded}, {"failed", dns.Failed},
		{"refused", dns.Refused}, {"dropped", dns.Dropped}, {"filtered", dns.Filtered},
	} {
		m.value("hearth_dns_events_total", float64(c.n), "event", c.event)
	}
	m.family("hearth_dns_plain_total", "counter", "Questions that left the house without encryption.")
	m.value("hearth_dns_plain_total", float64(dns.Plain))
	m.family("hearth_dns_cache_bytes", "gauge", "Memory of the cache of answers.")
	m.value("hearth_dns_cache_bytes", float64(dns.Bytes))

	m.family("process_resident_memory_bytes", "gauge", "Memory of this process; the keeper has its own.")
	m.value("process_resident_memory_bytes", float64(residentMemory()))
	runtimeValues := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/sched/goroutines:goroutines"}}
	metrics.Read(runtimeValues)
	m.family("go_memstats_heap_alloc_bytes", "gauge", "Bytes of live and not yet swept objects.")
	m.value("go_memstats_heap_alloc_bytes", float64(runtimeValues[0].Value.Uint64()))
	m.family("go_goroutines", "gauge", "Goroutines.")
	m.value("go_goroutines", float64(runtimeValues[1].Value.Uint64()))
}

// residentMemory is what this process holds in memory, in bytes (statm, proc(5)); 0 when it cannot be read.
func residentMemory() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

func truth(v bool) float64 {
	if v {
		return 1
	}
	return 0
}

// metricsWriter writes the lines of the format. Errors of the connection are nobody's business.
type metricsWriter struct{ w io.Writer }

func (m *metricsWriter) family(name, kind, help string) {
	fmt.Fprintf(m.w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// value writes one sample; labels come in pairs.
func (m *metricsWriter) value(name string, v float64, labels ...string) {
	var b strings.Builder
	b.WriteString(name)
	for i := 0; i+1 < len(labels); i += 2 {
		sep := ","
		if i == 0 {
			sep = "{"
		}
		fmt.Fprintf(&b, `%s%s="%s"`, sep, labels[i], labelEscapes.Replace(labels[i+1]))
	}
	if len(labels) > 1 {
		b.WriteByte('}')
	}
	fmt.Fprintf(m.w, "%s %s\n", b.String(), strconv.FormatFloat(v, 'g', -1, 64))
}
