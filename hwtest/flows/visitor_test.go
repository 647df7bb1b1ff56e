package flows

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"hearth.alt/hwtest/browser"
	"hearth.alt/hwtest/netlab"
)

// patience is how long anything may take on a machine that others use, too.
const patience = 40 * time.Second

// socks opens a SOCKS 5 proxy (RFC 1928) on this machine that connects from inside host; a name leads to where names
// says. It returns the flag that makes a browser use it.
func socks(t *testing.T, host *netlab.Host, names map[string]netip.Addr) chromedp.ExecAllocatorOption {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				if err := carry(c, host, names); err != nil && t.Context().Err() == nil {
					t.Logf("the way into the laboratory: %v", err)
				}
			}()
		}
	}()
	return chromedp.Flag("proxy-server", "socks5://"+l.Addr().String())
}

func carry(c net.Conn, host *netlab.Host, names map[string]netip.Addr) error {
	defer c.Close()
	b := make([]byte, 262)
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, b[:b[1]]); err != nil {
		return err
	}
	c.Write([]byte{5, 0})
	if _, err := io.ReadFull(c, b[:4]); err != nil || b[1] != 1 {
		return fmt.Errorf("no request to connect: %v %v", b[:4], err)
	}
	var to netip.Addr
	switch b[3] {
	case 1:
		io.ReadFull(c, b[:4])
		to = netip.AddrFrom4([4]byte(b[:4]))
	case 4:
		io.ReadFull(c, b[:16])
		to = netip.AddrFrom16([16]byte(b[:16]))
	default:
		io.ReadFull(c, b[:1])
		n := b[0]
		io.ReadFull(c, b[:n])
		if to = names[string(b[:n])]; !to.IsValid() {
			to, _ = netip.ParseAddr(string(b[:n])) // Chromium sends addresses as names
		}
	}
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		return err
	}
	port := binary.BigEndian.Uint16(b)
	answer := []byte{5, 4, 0, 1, 0, 0, 0, 0, 0, 0}
	if !to.IsValid() {
		c.Write(answer)
		return nil // some other host that the browser itself wants
	}
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	d, err := host.Dial(ctx, "tcp", netip.AddrPortFrom(to, port).String())
	if err != nil {
		c.Write(answer)
		return err
	}
	defer d.Close()
	answer[1] = 0
	c.Write(answer)
	go func() { io.Copy(d, c); d.(*net.TCPConn).CloseWrite() }()
	io.Copy(c, d)
	return nil
}

// visitor is somebody at a browser.
type visitor struct {
	*browser.Browser
	t       *testing.T
	at      string // "http://127.0.0.1:41234"
	actions int    // what the person did since the count was last set to zero: an address opened, a button pressed
}

func visit(t *testing.T, at string, options ...chromedp.ExecAllocatorOption) *visitor {
	t.Helper()
	v := &visitor{Browser: browser.Start(t, options...), t: t, at: at}
	if err := v.Do(chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	return v
}

// open goes to a path of the box, or to a whole address.
func (v *visitor) open(path string) {
	v.t.Helper()
	v.actions++
	if strings.HasPrefix(path, "/") {
		path = v.at + path
	}
	if err := v.Open(browser.Look{Width: 1280}, path); err != nil {
		v.t.Fatal(err)
	}
}

func quote(s string) string { b, _ := json.Marshal(s); return string(b) }

// until waits until a script of the test yields true.
func (v *visitor) until(what, script string) {
	v.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		ok, err := browser.Eval[bool](v.Browser, script)
		if err == nil && ok {
			return
		}
		if time.Now().After(deadline) {
			v.Shot("real/failed-" + strings.ReplaceAll(v.t.Name(), "/", "-"))
			text, _ := browser.Eval[string](v.Browser, `location.href + "\n" + document.title + "\n" + document.body.innerText`)
			v.t.Fatalf("never so: %s (%v)\nthe page:\n%s", what, err, text)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// sees waits until the page holds an element and, when text is not "", that text.
func (v *visitor) sees(selector, text string) {
	v.t.Helper()
	v.until(selector+" "+text, `document.readyState === "complete" && [...document.querySelectorAll(`+quote(selector)+`)].some(e => e.textContent.replace(/\s+/g, " ").includes(`+quote(text)+`))`)
}

// fill types into fields, by name.
func (v *visitor) fill(pairs ...string) {
	v.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		v.sees("[name="+pairs[i]+"]", "")
		v.eval(`(() => { const all = [...document.querySelectorAll("[name=" + ` + quote(pairs[i]) + ` + "]")], v = ` + quote(pairs[i+1]) + `;
			const e = all.find(e => e.type === "radio" && e.value === v) || all[0];
			if (e.type === "radio" || e.type === "checkbox") { if (!e.checked) e.click(); }
			else { e.focus(); e.value = v; } return true; })()`)
	}
}

func (v *visitor) eval(script string) {
	v.t.Helper()
	if ok, err := browser.Eval[bool](v.Browser, script); err != nil || !ok {
		v.t.Fatalf("%s: %v %v", script, ok, err)
	}
}

// press clicks what a selector finds, and waits until the next page is there.
func (v *visitor) press(selector string) {
	v.t.Helper()
	v.sees(selector, "")
	v.actions++
	// A script that was cut off by the page it led to may be run again: in the page that follows it must do nothing.
	here, err := browser.Eval[float64](v.Browser, "performance.timeOrigin")
	fail(v.t, err, "reading which page this is")
	v.eval(fmt.Sprintf(`(() => { const m = document.querySelector("main"); if (performance.timeOrigin !== %v || !m || m.dataset.old) return true;
		m.dataset.old = "yes"; document.querySelector(%s).click(); return true; })()`, strconv.FormatFloat(here, 'f', -1, 64), quote(selector)))
	v.until("a page after "+selector, `document.readyState === "complete" && document.querySelector("main") !== null && !document.querySelector("main").dataset.old`)
}

// main presses the one main button.
func (v *visitor) main() { v.t.Helper(); v.press("main button.main") }

// text is what a selector's elements say, one after the other.
func (v *visitor) text(selector string) []string {
	v.t.Helper()
	out, err := browser.Eval[[]string](v.Browser, `[...document.querySelectorAll(`+quote(selector)+`)].map(e => e.textContent.trim())`)
	if err != nil {
		v.t.Fatal(err)
	}
	return out
}

// path is where the browser is.
func (v *visitor) path() string {
	v.t.Helper()
	p, err := browser.Eval[string](v.Browser, "location.pathname")
	if err != nil {
		v.t.Fatal(err)
	}
	return p
}

// calm fails for everything the browser complained about.
func (v *visitor) calm() {
	v.t.Helper()
	// A form that is answered with what is wrong has a status of its own; the browser says so.
	for _, c := range v.Complaints("the server responded with a status of 4") {
		v.t.Errorf("the browser says: %s", c)
	}
}

// scan reads the QR code on the page as a phone does: from a picture, with zbarimg.
func (v *visitor) scan() string {
	v.t.Helper()
	program, err := exec.LookPath("zbarimg")
	if err != nil {
		v.t.Skip("zbarimg is missing; run: apt-get install -y zbar-tools")
	}
	name := "real/scan-" + strings.ReplaceAll(v.t.Name(), "/", "-")
	if err := v.Shot(name); err != nil {
		v.t.Fatal(err)
	}
	out, err := exec.Command(program, "--quiet", "--raw", filepath.Join(browser.Out(), name+".png")).Output()
	if err != nil {
		v.t.Fatalf("zbarimg reads no code: %v", err)
	}
	os.Remove(filepath.Join(browser.Out(), name+".png")) // it holds a key
	return strings.TrimSpace(string(out))
}

// form fills in the one form of the claim.
func (v *visitor) names() {
	v.t.Helper()
	v.fill("household", "Smith", "box", "Study", "owner", "Ann", "password", password, "language", "en")
}

// words reads the 24 words from the page.
func (v *visitor) words() []string {
	v.t.Helper()
	v.sees("ol.words li", "")
	w := v.text("ol.words li")
	if len(w) != 24 {
		v.t.Fatalf("%d words on the page", len(w))
	}
	return w
}

// check types the words that are asked for.
func (v *visitor) check(words []string) {
	v.t.Helper()
	v.sees("input[name^=word]", "")
	asked, err := browser.Eval[[]string](v.Browser, `[...document.querySelectorAll("input[name^=word]")].map(e => e.name)`)
	if err != nil || len(asked) != 3 {
		v.t.Fatalf("asked for %v, %v", asked, err)
	}
	for _, name := range asked {
		n, err := strconv.Atoi(strings.TrimPrefix(name, "word"))
		if err != nil {
			v.t.Fatal(err)
		}
		v.fill(name, words[n-1])
	}
}

const password = "a kettle sings on the stove"

func fail(t *testing.T, err error, what string, args ...any) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", fmt.Sprintf(what, args...), err)
	}
}
