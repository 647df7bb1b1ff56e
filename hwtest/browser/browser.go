// Package browser drives a headless Chromium over pages of the house: what a reader would see, what axe-core objects
// to, what overflows, and what the browser itself complained about. It is used by the tests here, which walk the
// gallery, and by tests of the whole appliance.
//
// It needs Debian's chromium and, for Axe, the packages of npm/package-lock.json:
//
//	apt-get install -y chromium && npm ci --ignore-scripts --prefix hwtest/browser/npm
package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// Install is the command that makes the tests of this package run.
const Install = "apt-get install -y chromium npm && npm ci --ignore-scripts --prefix hwtest/browser/npm"

// Browser is one Chromium with one tab. Its methods must not be called from several goroutines.
type Browser struct {
	Context context.Context // of the tab, for chromedp.Run
	mu      sync.Mutex
	said    []string
}

// here is the folder of this file.
func here() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(file)
}

// Out is where screenshots are kept: out/shots at the root of the repository.
func Out() string { return filepath.Join(here(), "..", "..", "out", "shots") }

// Start starts a browser that ends with the test. Without chromium the test is skipped. Options are added to the
// flags, such as chromedp.Flag("host-resolver-rules", …).
func Start(t testing.TB, options ...chromedp.ExecAllocatorOption) *Browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is missing; run: " + Install)
	}
	dir, err := os.MkdirTemp("", "hearth-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	flags := append([]chromedp.ExecAllocatorOption{
		chromedp.ExecPath(program), chromedp.UserDataDir(dir), chromedp.NoFirstRun, chromedp.NoSandbox, chromedp.Headless,
		chromedp.DisableGPU, chromedp.WSURLReadTimeout(90 * time.Second),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("force-color-profile", "srgb"), chromedp.Flag("lang", "en"),
	}, options...)
	alloc, stopAlloc := chromedp.NewExecAllocator(context.Background(), flags...)
	ctx, stop := chromedp.NewContext(alloc)
	b := &Browser{Context: ctx}
	messages := chromedp.Console(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for m, err := range messages {
			if err != nil {
				return
			}
			b.hear(m)
		}
	}()
	t.Cleanup(func() {
		stop()
		stopAlloc()
		<-done
		_ = os.RemoveAll(dir)
	})
	if err := b.Do(chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("starting chromium: %v", err)
	}
	return b
}

// Do runs steps, for at most two minutes.
func (b *Browser) Do(steps ...chromedp.Action[chromedp.Void]) error {
	ctx, stop := context.WithTimeout(b.Context, 2*time.Minute)
	defer stop()
	return chromedp.Do(ctx, steps...)
}

// Eval runs a script of the test in the page and returns what it, or its promise, yields. The page's policy does not
// bind it.
func Eval[T any](b *Browser, script string) (T, error) {
	ctx, stop := context.WithTimeout(b.Context, 2*time.Minute)
	defer stop()
	return chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
}

// hear keeps what the browser complains about: refused by policy, errors of scripts, missing files.
func (b *Browser) hear(m chromedp.ConsoleMessage) {
	if m.IsException() || m.Type == "error" || m.Type == "assert" || m.Type == "warning" {
		b.mu.Lock()
		b.said = append(b.said, string(m.Type)+" "+m.Source+": "+m.Text+" "+m.URL)
		b.mu.Unlock()
	}
}

// Complaints returns what the browser complained about since the last call. ignore drops those that contain one of
// the texts: the status line of an answer that is an error on purpose.
func (b *Browser) Complaints(ignore ...string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
next:
	for _, s := range b.said {
		for _, i := range ignore {
			if strings.Contains(s, i) {
				continue next
			}
		}
		out = append(out, s)
	}
	b.said = nil
	return out
}

// Look is how a page is looked at.
type Look struct {
	Width int  // of the window, in CSS pixels
	Dark  bool // prefers-color-scheme
}

func (l Look) String() string {
	theme := "light"
	if l.Dark {
		theme = "dark"
	}
	return fmt.Sprintf("%d-%s", l.Width, theme)
}

// set makes the window so. Motion is reduced, so that pictures are the same each time.
func (l Look) set(ctx context.Context, t *chromedp.Target) error {
	height, scheme := int64(900), "light"
	if l.Width < 700 {
		height = 740
	}
	if l.Dark {
		scheme = "dark"
	}
	if _, err := cdp.Call(ctx, t, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: int64(l.Width), Height: height, DeviceScaleFactor: 1, Mobile: l.Width < 700,
	}); err != nil {
		return err
	}
	_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
	return err
}

// Open opens a page in a window and waits until it is loaded.
func (b *Browser) Open(l Look, url string) error {
	if err := b.Do(chromedp.Func(l.set), chromedp.Navigate(url)); err != nil {
		return fmt.Errorf("opening %s: %w", url, err)
	}
	return nil
}

// Look makes the window so without opening the page anew.
func (b *Browser) Look(l Look) error { return b.Do(chromedp.Func(l.set)) }

// Scripts switches the scripts of pages on or off, from the next page on. Eval works all the same.
func (b *Browser) Scripts(on bool) error {
	return b.Do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
		return err
	}))
}

// Shot keeps a picture of the whole page at Out()/<name>.png; name may have folders.
func (b *Browser) Shot(name string) error {
	ctx, stop := context.WithTimeout(b.Context, 2*time.Minute)
	defer stop()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		return fmt.Errorf("taking a picture of %s: %w", name, err)
	}
	path := filepath.Join(Out(), name+".png")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, png, 0o644)
}

// overflow names what sticks out sideways.
const overflow = `(() => {
  const w = document.documentElement.clientWidth, bad = [];
  if (document.scrollingElement.scrollWidth > w) bad.push("the page is " + document.scrollingElement.scrollWidth + " wide");
  for (const e of document.querySelectorAll("main *, .rail *, .foot *")) {
    if (e.closest(".sr, .skip, svg, thead, [popover]:not(:popover-open)")) continue;
    const r = e.getBoundingClientRect();
    if (r.width > 0 && (r.right > w + 1 || r.left < -1)) bad.push(e.tagName + "." + e.className + " ends at " + Math.round(r.right));
  }
  return bad.slice(0, 5);
})()`

// Overflow lists what is wider than the window.
func (b *Browser) Overflow() ([]string, error) { return Eval[[]string](b, overflow) }

var axeSource = sync.OnceValues(func() (string, error) {
	b, err := os.ReadFile(filepath.Join(here(), "npm", "node_modules", "axe-core", "axe.min.js"))
	return string(b), err
})

// HaveAxe skips the test when axe-core is not installed.
func HaveAxe(t testing.TB) {
	t.Helper()
	if _, err := axeSource(); err != nil {
		t.Skip("axe-core is missing; run: " + Install)
	}
}

// Axe returns what axe-core objects to under WCAG 2.0 to 2.2, A and AA, and its best practices; each one a line with
// the rule and the first elements.
func (b *Browser) Axe() ([]string, error) {
	src, err := axeSource()
	if err != nil {
		return nil, err
	}
	const run = `axe.run(document, {resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]})
	  .then(r => JSON.stringify(r.violations.map(v => v.id + ": " + v.help + " " + v.nodes.slice(0, 3).map(n => n.html.slice(0, 160) + " " + n.any.concat(n.all).map(c => c.message).join("; ")).join(" | "))))`
	text, err := Eval[string](b, src+";\n"+run)
	if err != nil {
		return nil, fmt.Errorf("running axe-core: %w", err)
	}
	var out []string
	return out, json.Unmarshal([]byte(text), &out)
}
