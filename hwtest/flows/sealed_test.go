package flows

import (
	"context"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hearth.alt/hwtest/box"
	"hearth.alt/hwtest/browser"
	"hearth.alt/hwtest/netlab"
	"hearth.alt/services/claimcode"
)

// flat is a home network with a box and a phone on it, and a tap on the box's cable.
type flat struct {
	lab         *netlab.Lab
	host, phone *netlab.Host
	box         netip.Addr
	b           *box.Box
	pcap        string
	stopTap     func()
}

// newFlat starts a box whose pages are at http, "192.168.50.20:80" for the home network, and listens on an interface of
// it ("" is none).
func newFlat(t *testing.T, http, tap string) *flat {
	t.Helper()
	lab := netlab.New(t)
	f := &flat{lab: lab, host: lab.Host("box"), phone: lab.Host("phone"), box: netip.MustParseAddr("192.168.50.20")}
	home := lab.Switch("home")
	home.Attach(f.host, "eth0", netip.MustParsePrefix("192.168.50.20/24"))
	home.Attach(f.phone, "wlan0", netip.MustParsePrefix("192.168.50.30/24"))
	if tap != "" {
		f.listen(t, tap)
	}
	f.b = box.Start(t, box.Options{
		Args:  []string{"--dev", "--no-portmap", "--http", http, "--https", "192.168.50.20:443", "--dns", "127.0.0.1:5353"},
		Start: func(c *exec.Cmd) error { return f.host.Do(c.Start) },
	})
	return f
}

func (f *flat) listen(t *testing.T, tap string) {
	t.Helper()
	program, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Skip("tcpdump is missing; run: apt-get install -y tcpdump")
	}
	f.pcap = filepath.Join(t.TempDir(), "wire.pcap")
	cmd := exec.Command(program, "-i", tap, "-s", "0", "-U", "-Z", "root", "-w", f.pcap, "tcp")
	ready := &started{}
	cmd.Stderr = ready
	done, err := f.host.Start(cmd)
	fail(t, err, "starting tcpdump")
	deadline := time.Now().Add(patience)
	for !ready.has("listening on") {
		if time.Now().After(deadline) {
			t.Fatalf("tcpdump does not listen: %s", ready)
		}
		time.Sleep(20 * time.Millisecond)
	}
	f.stopTap = func() {
		time.Sleep(time.Second) // what is on its way to the file
		cmd.Process.Signal(syscall.SIGTERM)
		<-done
	}
}

// TestClaimSealedOnPlainHTTP is the way most people take: the QR code of the claim sheet opens plain http on the home
// network, the claim and the first phone go through the seal, every step is reloaded once on the way, and a capture of
// the whole holds nothing that a neighbour could use.
func TestClaimSealedOnPlainHTTP(t *testing.T) {
	f := newFlat(t, "192.168.50.20:80", "eth0")
	code := f.b.Code()
	v := visit(t, "http://hearth.local", socks(t, f.phone, map[string]netip.Addr{"hearth.local": f.box, "study.local": f.box}))

	// A wrong code first: the box says so, and the page is still there to try again.
	v.open("/")
	v.sees("#seal", "")
	v.fill("code", "7QK4-M2VX-9TRD-HC6P")
	v.eval(`document.querySelector("#seal button").click(), true`)
	v.until("the page says that the code does not fit", `!document.querySelector("#seal-error").hidden && document.querySelector("#seal-error").textContent.includes("does not know this code")`)

	// Eight words, one of them none; two of them changed places; then the sheet's own, and back to before they were typed.
	c, err := claimcode.Parse(code)
	fail(t, err, "reading the claim code")
	sheet := c.Words()
	swapped := slices.Clone(sheet)
	for i := 1; ; i++ { // one swap in 256 fits the checksum, or changes nothing
		swapped[0], swapped[i] = sheet[i], sheet[0]
		if _, err := claimcode.Parse(strings.Join(swapped, " ")); err != nil {
			break
		}
		swapped[0], swapped[i] = sheet[0], sheet[i]
	}
	typed := func(words []string) {
		t.Helper()
		v.fill("code", strings.Join(words, " "))
		v.eval(`document.querySelector("#seal button").click(), true`)
	}
	typed(append([]string{"lanterne"}, sheet[1:]...))
	v.until("the page says that a word is none", `document.querySelector("#seal-error").textContent.includes("Look at their spelling")`)
	typed(swapped)
	v.until("the page says that the words do not belong together", `document.querySelector("#seal-error").textContent.includes("do not belong together")`)
	typed(sheet)
	v.sees("input[name=household]", "")
	v.eval(`sessionStorage.clear(), true`)

	// From the sheet's QR code to signed in.
	v.open("about:blank")
	v.actions = 0
	v.open("/#" + code)
	v.sees("input[name=household]", "")
	if got := v.path(); got != "/" {
		t.Errorf("the address is %s, want the first page's: nothing of the inside stands in it", got)
	}
	shot(t, v, "sealed-names")
	v.open("/") // a reload, before anything was typed
	v.sees("input[name=household]", "")
	v.actions--

	// The language that was chosen before the seal was forgotten inside it, and choosing another lost the step.
	speaks := func(tag string) {
		t.Helper()
		v.until("the page speaks "+tag, `document.documentElement.lang === "`+tag+`" && document.querySelector(".langs a[aria-current]").lang === "`+tag+`"`)
	}
	before := v.actions
	v.open("/?lang=de")
	v.sees("input[name=household]", "")
	speaks("de")
	v.press(".langs a[lang=en]")
	v.sees("input[name=household]", "")
	speaks("en")
	v.actions = before
	v.names()
	v.main()
	words := v.words()
	if v.actions > 4 {
		t.Errorf("%d actions to the first sign-in, want at most 4", v.actions)
	}
	t.Logf("%d actions to the first sign-in", v.actions)
	shot(t, v, "sealed-words")
	for _, tag := range []string{"de", "en"} {
		v.press(".langs a[lang=" + tag + "]")
		speaks(tag)
		v.sees("ol.words", "")
	}

	// A reload loses the session, which lives inside the seal only: the page asks who it is and goes on where it was.
	reload := func(back string) {
		t.Helper()
		v.open("/")
		v.sees("input[name=password]", "")
		shot(t, v, "sealed-signin")
		v.fill("name", "Ann", "password", password)
		v.main()
		v.sees(back, "")
	}
	reload("ol.words")
	v.fill("written", "yes")
	v.main()
	v.sees("input[name^=word]", "")
	reload("input[name^=word]")

	// A wrong word, then the right ones.
	wrong := append([]string(nil), words...)
	for i := range wrong {
		wrong[i] = "wrong"
	}
	v.check(wrong)
	v.main()
	v.sees(".flash.act", "another one")
	v.check(words)
	v.main()
	v.sees("input[name=name]", "")
	shot(t, v, "sealed-add")
	reload("input[name=name]")

	// The first phone.
	v.fill("name", "Ann’s phone")
	v.main()
	v.sees(".qr", "")
	shot(t, v, "sealed-pair")
	reload(".qr")
	stock := v.scan()
	phone := f.lab.Phone(f.phone, stock, map[string]netip.Addr{"study.local": f.box, "hearth.local": f.box})
	// The system keeps the app's own packets out of its tunnel, although the home network leads through it.
	f.phone.Port("wlan0").Route(netip.PrefixFrom(f.box, 32), netip.Addr{})
	box4 := inside(t, phone)
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	fail(t, f.phone.Answers(ctx, box4), "the phone reaches the box")
	v.sees("h1", "is paired")
	shot(t, v, "sealed-paired")
	overflowAndAxe(t, v)

	// Over: the sealed way leads out, and the first page names the ways in.
	v.press("a.main")
	v.sees("h1", "This is a Hearth")
	shot(t, v, "landing-claimed")
	v.until("no sealed form any more", `document.querySelector("#seal") === null`)
	v.open("/#" + code)
	v.sees("h1", "This is a Hearth")
	v.calm()

	f.stopTap()
	secrets := secrets{
		password: password, words: words, code: code, keys: keysOf(stock), state: f.b.State,
		works: func(name, value string) bool { return cookieWorks(t, f, name, value) },
	}
	if found := secrets.in(t, f.pcap); len(found) != 0 {
		t.Errorf("a neighbour who listened has: %s", strings.Join(found, "\n"))
	}
}

// inside is the box's address in the tunnel: the phone's resolver.
func inside(t *testing.T, p *netlab.Phone) netip.Addr {
	t.Helper()
	if len(p.Stock.DNS) == 0 {
		t.Fatal("the code names no resolver")
	}
	return p.Stock.DNS[0]
}

// shot keeps a picture of the page as it is on a phone, in out/shots/real.
func shot(t *testing.T, v *visitor, name string) {
	t.Helper()
	for _, l := range []browser.Look{{Width: 320}, {Width: 1280}} {
		fail(t, v.Look(l), "looking at %s", name)
		fail(t, v.Shot("real/"+name+"-"+l.String()), "picture of %s", name)
	}
}

func overflowAndAxe(t *testing.T, v *visitor) {
	t.Helper()
	browser.HaveAxe(t)
	wide, err := v.Overflow()
	fail(t, err, "measuring")
	bad, err := v.Axe()
	fail(t, err, "axe-core")
	for _, w := range append(wide, bad...) {
		t.Error(w)
	}
}
