package bench

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth.alt/boards"
	"hearth.alt/hwtest/box"
	"hearth.alt/hwtest/netlab"
	"hearth.alt/hwtest/vm"
	"hearth.alt/image"
)

// The benchmarks of this file each take one sample per run; Suites says how often each runs.

// turn counts the runs of one benchmark in this process, so that who goes first can change.
var turn int

// inTurns calls both, the first one first every other time.
func inTurns(a, b func()) {
	if turn++; turn%2 == 0 {
		a, b = b, a
	}
	a()
	b()
}

var helloProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "hearth-bench-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "hello")
	return path, exec.Command("go", "build", "-trimpath", "-o", path, "hearth.alt/hwtest/bench/hello").Run()
})

// hello starts the hello program and returns once it listens.
func hello(b *testing.B) *exec.Cmd {
	b.Helper()
	path, err := helloProgram()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(path)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may be gone
		cmd.Wait()         //nolint:errcheck // killed
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		b.Fatalf("hello said %q: %v", line, err)
	}
	return cmd
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// BenchmarkStart is a Hearth that never ran before, one process as on a laptop, until its ready line; beside it the
// hello program until it listens. The programs' files are in the page cache from building them.
func BenchmarkStart(b *testing.B) {
	program := box.Program(b)
	if _, err := helloProgram(); err != nil {
		b.Fatal(err)
	}
	var hearth, peer time.Duration
	inTurns(func() {
		state := filepath.Join(b.TempDir(), "state")
		began := time.Now()
		box.Start(b, box.Options{Program: program, State: state})
		hearth = time.Since(began)
	}, func() {
		began := time.Now()
		hello(b)
		peer = time.Since(began)
	})
	b.ReportMetric(milliseconds(hearth), "ready-ms")
	b.ReportMetric(milliseconds(peer), "hello-ms")
}

// BenchmarkIdle is a claimed Hearth as a device runs it: the keeper as root and its child, in a home network of its
// own, half a minute after the claim.
func BenchmarkIdle(b *testing.B) {
	idle(b, []string{"--http", ":80", "--https", ":443", "--dns", ":53"})
}

// BenchmarkIdleOneProcess is the same in one process.
func BenchmarkIdleOneProcess(b *testing.B) {
	idle(b, []string{"--dev", "--no-portmap=false", "--http", "192.168.1.2:80", "--https", "192.168.1.2:443", "--dns", "192.168.1.2:53"})
}

func idle(b *testing.B, args []string) {
	l := netlab.New(b)
	host := l.Host("box")
	l.Switch("lan").Attach(host, "eth0", netip.MustParsePrefix("192.168.1.2/24"), netip.MustParsePrefix("fd00:1::2/64"))
	x := box.Start(b, box.Options{Args: args, Start: func(cmd *exec.Cmd) error { return host.Do(cmd.Start) }})
	x.ClaimSmith()
	peer := hello(b)
	time.Sleep(settle)

	pid := x.Cmd.Process.Pid
	all := relatives(b, pid)
	var sum Memory
	for i, s := range all {
		m, err := memoryOf(s.PID)
		if err != nil {
			b.Fatal(err)
		}
		sum.RSS, sum.PSS, sum.Own = sum.RSS+m.RSS, sum.PSS+m.PSS, sum.Own+m.Own
		if i == 0 && len(all) > 1 {
			b.ReportMetric(float64(m.RSS)/1e6, "keeper-rss-MB")
		}
	}
	b.ReportMetric(float64(sum.RSS)/1e6, "rss-MB")
	b.ReportMetric(float64(sum.PSS)/1e6, "pss-MB")
	b.ReportMetric(float64(sum.Own)/1e6, "own-MB")
	m, err := memoryOf(peer.Process.Pid)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(m.RSS)/1e6, "hello-rss-MB")

	const watch = 20 * time.Second
	count := func() (n int64, cpu time.Duration) {
		for _, s := range relatives(b, pid) {
			w, err := wakes(s.PID)
			if err != nil {
				b.Fatal(err)
			}
			n, cpu = n+w, cpu+s.CPU
		}
		return n, cpu
	}
	n, cpu := count()
	time.Sleep(watch)
	n2, cpu2 := count()
	b.ReportMetric(float64(n2-n)/watch.Seconds(), "wakeups/s")
	b.ReportMetric(milliseconds(cpu2-cpu)*float64(time.Minute)/float64(watch), "cpu-ms/min")
}

func relatives(b *testing.B, pid int) []Stat {
	b.Helper()
	all, err := family(pid)
	if err != nil {
		b.Fatal(err)
	}
	return all
}

var sheet = regexp.MustCompile(`<link [^>]*rel="stylesheet"[^>]*>`)

var address = regexp.MustCompile(`href="([^"]+)"`)

// BenchmarkPages weighs the first page and the dashboard with what they need to be shown, unpacked.
func BenchmarkPages(b *testing.B) {
	x := box.Start(b, box.Options{})
	client := &http.Client{Timeout: 30 * time.Second}
	get := func(r *http.Request) string {
		b.Helper()
		r.Header.Set("Accept-Encoding", "identity")
		resp, err := client.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			b.Fatalf("%s: status %d, %v", r.URL.Path, resp.StatusCode, err)
		}
		return string(body)
	}
	request := func(method, path string, form url.Values) *http.Request {
		b.Helper()
		r, err := http.NewRequest(method, x.HTTP+path, strings.NewReader(form.Encode()))
		if err != nil {
			b.Fatal(err)
		}
		if form != nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return r
	}
	weigh := func(page string) (html, css int) {
		b.Helper()
		for _, l := range sheet.FindAllString(page, -1) {
			at := address.FindStringSubmatch(l)
			if at == nil {
				b.Fatalf("a stylesheet without address: %s", l)
			}
			css += len(get(request("GET", at[1], nil)))
		}
		return len(page), css
	}
	html, css := weigh(get(request("GET", "/", nil)))
	b.ReportMetric(float64(html+css)/1e3, "claim-kB")
	b.ReportMetric(float64(css)/1e3, "css-kB")

	x.ClaimSmith()
	client.Jar = &oneJar{}
	page := get(request("POST", "/signin", url.Values{"name": {"Ann"}, "password": {box.Password}}))
	if !strings.Contains(page, `href="/devices"`) {
		b.Fatalf("this is no dashboard:\n%.2000s", page)
	}
	html, css = weigh(page)
	b.ReportMetric(float64(html+css)/1e3, "home-kB")
}

// oneJar keeps the cookies of one host, whatever they say of themselves.
type oneJar struct {
	mu      sync.Mutex
	cookies map[string]*http.Cookie
}

func (j *oneJar) SetCookies(_ *url.URL, cookies []*http.Cookie) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.cookies == nil {
		j.cookies = map[string]*http.Cookie{}
	}
	for _, c := range cookies {
		j.cookies[c.Name] = c
	}
}

func (j *oneJar) Cookies(*url.URL) []*http.Cookie {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []*http.Cookie
	for _, c := range j.cookies {
		out = append(out, c)
	}
	return out
}

// BenchmarkImage builds each board's image as make image does, and weighs it.
func BenchmarkImage(b *testing.B) {
	for _, board := range boards.All() {
		b.Run(board.Name, func(b *testing.B) {
			module, err := image.FindModule(".")
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(b.Context(), 15*time.Minute)
			defer cancel()
			r, err := image.Build(ctx, image.Options{
				Board: board, Module: module, Out: filepath.Join(module, "out", "lab"), Name: "hearth-" + board.Name, Compress: true,
			})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(r.Packed)/1e6, "packed-MB")
			b.ReportMetric(float64(r.RootSize)/1e6, "root-MB")
		})
	}
}

// BenchmarkBoot is from switching on to the first page, through firmware and loader, of Hearth and of the smallest
// gokrazy image: once with a card that was never started, then once more.
func BenchmarkBoot(b *testing.B) {
	const disk = 4 << 30
	images := map[string]*vm.Built{"hearth": vm.Image(b, "arm64", vm.Hearth), "hello": vm.Image(b, "arm64", vm.Hello)}
	boot := func(name string) func() {
		return func() {
			m := vm.New(b, vm.Options{Image: images[name], Disk: disk})
			// A card holds what was written to it. Else the first flush in the machine would wait for the whole copy.
			if err := flush(m.DiskPath()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(firstPage(b, m).Seconds(), name+"-s")
			// The plug is pulled seconds later, when what the first start does once is done.
			time.Sleep(5 * time.Second)
			m.Cut()
			b.ReportMetric(firstPage(b, m).Seconds(), name+"-again-s")
			m.Cut()
		}
	}
	inTurns(boot("hearth"), boot("hello"))
}

func flush(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// firstPage starts a machine and asks for its page every 100 ms, each time by a connection of its own: QEMU takes
// connections before the box listens and lets them hang, so waiting for one would measure QEMU's patience. It returns
// the time to the first answer of any kind.
func firstPage(b *testing.B, m *vm.Machine) time.Duration {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 4*time.Minute)
	defer cancel()
	answered := make(chan time.Time, 1)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	ask := func() {
		defer asking.Done()
		c, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(c, "GET", "http://"+m.Addr("tcp", 80)+"/", nil)
		if err != nil {
			return
		}
		r.Host = m.Host
		resp, err := vm.Client.Do(r)
		if err != nil {
			return
		}
		resp.Body.Close()
		select {
		case answered <- time.Now():
		default:
		}
	}
	m.Start()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case at := <-answered:
			return at.Sub(m.Began) // Start may have waited for another machine's end
		case <-ctx.Done():
			b.Fatalf("no page:\n%s", m.Tail(2000))
		case <-tick.C:
			asking.Add(1)
			go ask()
		}
	}
}
