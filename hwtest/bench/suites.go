package bench

import "time"

// Suite is one benchmark and how often it runs.
type Suite struct {
	Name      string
	Package   string // from the root of the module
	Benchmark string
	Rounds    int    // samples
	Times     string // -benchtime; "" is 1x
	Timeout   time.Duration
}

const here = "./hwtest/bench"

// Suites are all that make bench measures, quick ones first.
var Suites = []Suite{
	{Name: "start", Package: here, Benchmark: "BenchmarkStart", Rounds: 15, Timeout: 5 * time.Minute},
	{Name: "pages", Package: here, Benchmark: "BenchmarkPages", Rounds: 1, Timeout: 5 * time.Minute},
	{Name: "idle", Package: here, Benchmark: "BenchmarkIdle", Rounds: 3, Timeout: 10 * time.Minute},
	{Name: "idle-dev", Package: here, Benchmark: "BenchmarkIdleOneProcess", Rounds: 3, Timeout: 10 * time.Minute},
	{Name: "plane", Package: "./services/mesh/internal/bind", Benchmark: "BenchmarkPlane", Rounds: 5, Times: "3x", Timeout: 15 * time.Minute},
	{Name: "link", Package: "./services/link", Benchmark: "BenchmarkLink", Rounds: 5, Times: "4x", Timeout: 5 * time.Minute},
	{Name: "log", Package: "./services/identity", Benchmark: "BenchmarkLoad10000$", Rounds: 5, Times: "3x", Timeout: 5 * time.Minute},
	{Name: "log-apart", Package: "./services/identity", Benchmark: "BenchmarkLoad10000Apart$", Rounds: 5, Times: "3x", Timeout: 5 * time.Minute},
	{Name: "image-arm64", Package: here, Benchmark: "BenchmarkImage/arm64", Rounds: 1, Timeout: 20 * time.Minute},
	{Name: "image-rpi", Package: here, Benchmark: "BenchmarkImage/rpi", Rounds: 1, Timeout: 20 * time.Minute},
	{Name: "image-amd64", Package: here, Benchmark: "BenchmarkImage/amd64", Rounds: 1, Timeout: 20 * time.Minute},
	{Name: "boot", Package: here, Benchmark: "BenchmarkBoot", Rounds: 3, Timeout: 45 * time.Minute},
}

// settle is how long a box runs before it counts as idle.
const settle = 30 * time.Second

const (
	ms    = "ms"
	mb    = "MB" // 10^6 bytes
	kb    = "kB" // 10^3 bytes
	ratio = "x"
)

// Rows are the table. Budgets are DESIGN.md 7's; those of pages LOOK.md 10's, those of links and the log issue 3's.
var Rows = []Row{
	{
		What: "start to ready, cold state", Suite: "start", Metric: "ready-ms", Unit: ms,
		Peer: "hello-ms", PeerName: "a hello page", Limit: AtMost, Budget: 500,
	},
	{
		What: "idle memory, all processes (RSS), as on a device", Suite: "idle", Metric: "rss-MB", Unit: mb, Limit: AtMost, Budget: 150,
		Peer: "hello-rss-MB", PeerName: "a hello page",
	},
	{What: "... keeper alone", Suite: "idle", Metric: "keeper-rss-MB", Unit: mb},
	{What: "... memory of its own (private), all processes", Suite: "idle", Metric: "own-MB", Unit: mb},
	{What: "... wake-ups per second, all processes", Suite: "idle", Metric: "wakeups/s", Unit: "/s"},
	{What: "... processor time per minute, all processes", Suite: "idle", Metric: "cpu-ms/min", Unit: ms},
	{What: "idle memory (RSS), one process (--dev)", Suite: "idle-dev", Metric: "rss-MB", Unit: mb, Limit: AtMost, Budget: 150},
	{
		What: "client plane through our bind, against the library's: speed", Suite: "plane", Metric: "speed-ratio", Unit: ratio,
		Limit: AtLeast, Budget: 0.95,
	},
	{What: "... processor time for the same bytes", Suite: "plane", Metric: "cpu-ratio", Unit: ratio},
	{
		What: "a stream between boxes, against one of quic-go alone: speed", Suite: "link", Metric: "speed-ratio", Unit: ratio,
		Limit: AtLeast, Budget: 0.9,
	},
	{What: "... opening one, in round trips", Suite: "link", Metric: "open-RTT", Unit: ratio, Limit: AtMost, Budget: 1.2},
	{What: "10,000 records of who belongs, opened: of one box", Suite: "log", Metric: "open-ms", Unit: ms, Limit: AtMost, Budget: 300},
	{What: "... of five boxes that were apart", Suite: "log-apart", Metric: "open-ms", Unit: ms, Limit: AtMost, Budget: 300},
	{
		What: "boot to first page, fresh card, QEMU arm64", Suite: "boot", Metric: "hearth-s", Unit: "s",
		Peer: "hello-s", PeerName: "gokrazy with a hello page", Limit: AtMost, Budget: 1.3, OfRatio: true,
	},
	{
		What: "boot to first page, every later start, QEMU arm64", Suite: "boot", Metric: "hearth-again-s", Unit: "s",
		Peer: "hello-again-s", PeerName: "gokrazy with a hello page", Limit: AtMost, Budget: 1.3, OfRatio: true,
	},
	{What: "image compressed, arm64", Suite: "image-arm64", Metric: "packed-MB", Unit: mb, Limit: AtMost, Budget: 150},
	{What: "image compressed, rpi", Suite: "image-rpi", Metric: "packed-MB", Unit: mb, Limit: AtMost, Budget: 150},
	{What: "image compressed, amd64", Suite: "image-amd64", Metric: "packed-MB", Unit: mb, Limit: AtMost, Budget: 150},
	{What: "one slot's root, arm64", Suite: "image-arm64", Metric: "root-MB", Unit: mb},
	{What: "update bundle", Unit: mb, Limit: AtMost, Budget: 60, Note: "bundles are not built yet (issue 5)"},
	{What: "delta for a small change", Unit: mb, Limit: AtMost, Budget: 5, Note: "bundles are not built yet (issue 5)"},
	{What: "first page (claim), html and css", Suite: "pages", Metric: "claim-kB", Unit: kb, Limit: AtMost, Budget: 50},
	{What: "dashboard, html and css", Suite: "pages", Metric: "home-kB", Unit: kb, Limit: AtMost, Budget: 60},
	{What: "css", Suite: "pages", Metric: "css-kB", Unit: kb, Limit: AtMost, Budget: 36},
}
