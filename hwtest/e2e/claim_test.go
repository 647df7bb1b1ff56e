package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth.alt/appliance/cli"
	"hearth.alt/appliance/sealed"
	"hearth.alt/hwtest/box"
	"hearth.alt/hwtest/netlab"
	"hearth.alt/services/claimcode"
)

// console asks the box over admin.sock, as the verbs do, without starting the program each time.
func console(b *box.Box) *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", cli.SocketPath(b.State))
		},
	}}
}

func psk(t *testing.T, b *box.Box) []byte {
	t.Helper()
	code, err := claimcode.Parse(b.Code())
	if err != nil {
		t.Fatal(err)
	}
	return code.PSK().Reveal()
}

func claimForm(i int) url.Values {
	return url.Values{
		"household": {fmt.Sprintf("House %d", i)}, "box": {fmt.Sprintf("Box %d", i)}, "owner": {fmt.Sprintf("Owner %d", i)},
		"password": {"a lantern in the orchard"}, "language": {"en"},
	}
}

// told is how a claim that does not win is answered: led on, told that somebody else was first, or asked to wait.
var told = regexp.MustCompile(`^(200|303|409|429)\b`)

// A thousand claims at once, with the right secret, by every way there is: exactly one makes a household, everybody
// else is told so, and one person belongs. They come from eight addresses, as one may have 64 connections at a time
// and what is beyond them is closed.
func TestAThousandClaims(t *testing.T) {
	t.Parallel()
	h := newHome(t, box.Options{})
	key := psk(t, h.Box)
	const each = 334
	var mu sync.Mutex
	winners, answers := []string{}, map[string]int{}
	note := func(way string, won bool, answer string) {
		mu.Lock()
		defer mu.Unlock()
		if won {
			winners = append(winners, way)
		}
		answers[way+": "+answer]++
	}
	// Visitors of the https pages prove the code once each, as in one browser with many windows.
	var visitors [8]*netlab.Host
	var proved [len(visitors)]*browser
	for i := range visitors {
		visitors[i] = h.lanHost()
		proved[i] = h.browser(visitors[i], "https://"+boxAt4)
		proved[i].post("/claim", url.Values{"code": {h.Code()}}, 303)
	}
	begin := make(chan struct{})
	room := make(chan struct{}, 150) // what is under way at once, two thirds of it from one network, which may have 128
	var wg sync.WaitGroup
	run := func(f func()) {
		wg.Go(func() {
			<-begin
			room <- struct{}{}
			defer func() { <-room }()
			f()
		})
	}
	for i := range each {
		run(func() {
			resp, _, err := proved[i%len(proved)].peek("POST", "/claim/names", claimForm(i))
			switch {
			case err != nil:
				note("https", false, "no answer: "+err.Error())
			default:
				note("https", resp.StatusCode == 303 && resp.Header.Get("Location") == "/claim/words", fmt.Sprintf("%d %s", resp.StatusCode, resp.Header.Get("Location")))
			}
		})
		run(func() {
			// Each its own browser: hello, then the form inside the seal. One that is told to wait waits.
			c := &sealed.Client{HTTP: visitors[i%len(visitors)].Client(), Base: "http://" + boxAt4}
			for try := 0; ; try++ {
				err := c.Hello(t.Context(), key)
				var out *sealed.Response
				if err == nil {
					out, err = c.Do(t.Context(), sealed.Request{Method: "POST", Path: "/claim/names", Form: claimForm(1000 + i).Encode()})
				}
				var no *sealed.Refused
				if errors.As(err, &no) && no.Status == http.StatusTooManyRequests && try < 100 {
					time.Sleep(100 * time.Millisecond)
					continue
				}
				if err != nil {
					note("sealed", false, err.Error())
					return
				}
				note("sealed", strings.Contains(out.Body, `action="/claim/words"`), fmt.Sprint(out.Status))
				return
			}
		})
		run(func() {
			in, _ := json.Marshal(map[string]string{"household": fmt.Sprintf("Home %d", i), "box": "Study", "owner": "Ann", "password": "a lantern in the orchard"})
			resp, err := console(h.Box).Post("http://hearth/api/v1/claim", "application/json", bytes.NewReader(in))
			if err != nil {
				note("console", false, "no answer: "+err.Error())
				return
			}
			defer resp.Body.Close()
			var out struct {
				Words []string
				Error struct{ Code string }
			}
			if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
				note("console", false, "no JSON")
				return
			}
			note("console", len(out.Words) == 24, fmt.Sprint(resp.StatusCode, " ", out.Error.Code))
		})
	}
	close(begin)
	wg.Wait()
	t.Attr("figure", fmt.Sprintf("%d claims at once, %d won", 3*each, len(winners)))
	if len(winners) != 1 {
		t.Errorf("%d claims won: %v", len(winners), winners)
	}
	for k, n := range answers {
		t.Logf("%4d %s", n, k)
		if _, answer, _ := strings.Cut(k, ": "); !told.MatchString(answer) {
			t.Errorf("%d times %s", n, k)
		}
	}
	owners := h.people()
	if len(owners) != 1 {
		t.Errorf("the household has %v", owners)
	}
	for name, p := range owners {
		if p.Role != "owner" || p.State != "active" {
			t.Errorf("%s is %+v", name, p)
		}
		// Whoever won can sign in, and nobody else's password was left behind.
		b := h.browser(visitors[0], "https://"+boxAt4)
		b.signIn(name, "a lantern in the orchard")
	}
	h.Stop()
	h.Restart()
	if again := h.people(); len(again) != 1 {
		t.Errorf("after a restart the household has %v", again)
	}
}

// Wrong secrets are slowed down with 429, by the sealed pages and by the form, and hold up nobody but the one who
// sends them.
func TestWrongSecretIsThrottledAndLocksNobodyOut(t *testing.T) {
	t.Parallel()
	h := newHome(t, box.Options{})
	thief, owner := h.other("thief"), h.other("owner")
	var wrong [32]byte
	throttled := false
	for range 12 {
		c := &sealed.Client{HTTP: thief.Client(), Base: "http://" + boxAt4}
		err := c.Hello(t.Context(), wrong[:])
		if err == nil {
			_, err = c.Do(t.Context(), sealed.Request{Method: "GET", Path: "/claim/names"})
		}
		var no *sealed.Refused
		if !errors.As(err, &no) {
			t.Fatalf("a wrong secret: %v", err)
		}
		throttled = throttled || no.Status == http.StatusTooManyRequests && no.Wait > 0
	}
	if !throttled {
		t.Error("twelve wrong secrets were not slowed down")
	}
	// The thief's own address waits for the form as well; the page says so instead of trying the code.
	b := h.browser(thief, "https://"+boxAt4)
	if _, page, err := b.try("POST", "/claim", url.Values{"code": {h.Code()}}); err != nil || b.cookies["__Host-hearth-claim"] != "" {
		t.Errorf("the right code was taken while the address waits: %v\n%s", err, page)
	}
	// Now the thief fills every place for conversations that have begun.
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				(&sealed.Client{HTTP: thief.Client(), Base: "http://" + boxAt4}).Hello(t.Context(), wrong[:])
			}
		})
	}
	second := h.other("second")
	for range 8 {
		wg.Go(func() {
			for range 100 {
				(&sealed.Client{HTTP: second.Client(), Base: "http://" + boxAt4}).Hello(t.Context(), wrong[:])
			}
		})
	}
	wg.Wait()
	c := &sealed.Client{HTTP: owner.Client(), Base: "http://" + boxAt4}
	if err := c.Hello(t.Context(), psk(t, h.Box)); err != nil {
		t.Fatalf("the owner, at another address: %v", err)
	}
	out, err := c.Do(t.Context(), sealed.Request{Method: "POST", Path: "/claim/names", Form: claimForm(1).Encode()})
	if err != nil || !strings.Contains(out.Body, `action="/claim/words"`) {
		t.Fatalf("the owner claims: %+v, %v", out, err)
	}
}

// Three boxes with the flags that make run uses live side by side on one computer: each has free ports and a TUN of
// its own.
func TestThreeBoxesSideBySide(t *testing.T) {
	t.Parallel()
	l := newHome(t, box.Options{Args: []string{"--dev", "--no-portmap"}})
	boxes := []*box.Box{l.Box}
	for range 2 {
		o := &home{t: t, lab: l.lab, lan: l.lan, host: l.host}
		o.start(box.Options{Args: []string{"--dev", "--no-portmap"}})
		boxes = append(boxes, o.Box)
	}
	seen, tuns := map[string]bool{}, 0
	for _, b := range boxes {
		if seen[b.HTTP] {
			t.Errorf("two boxes say %s", b.HTTP)
		}
		seen[b.HTTP] = true
		b.ClaimSmith()
	}
	for i, b := range boxes {
		h := &home{Box: b, t: t, lab: l.lab, lan: l.lan, host: l.host, n: 50 + 10*i}
		h.up()
		p, _ := h.phone("Ann", "phone")
		h.tunnel(p, 1).get("/signin", 200)
		resp, err := l.host.Client().Get(b.HTTP + "/signin")
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("%s on the computer itself: %s", b.HTTP, resp.Status)
		}
	}
	out, err := l.host.Exec(limit(t, 5*time.Second), "ip", "-o", "link")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		if strings.Contains(line, ": hearth") {
			tuns++
		}
	}
	if tuns != 3 {
		t.Errorf("%d tunnels:\n%s", tuns, out)
	}
}

// Whoever waits for the ready line may use the verbs at once: the line once came before admin.sock did.
func TestReadyMeansTheVerbsToo(t *testing.T) {
	t.Parallel()
	h := newHome(t, box.Options{})
	for range 5 {
		var s status
		h.Do(&s, "status")
		h.Stop()
		h.Restart()
	}
}
