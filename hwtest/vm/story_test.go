package vm_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/miekg/dns"

	"hearth.alt/hwtest/browser"
	"hearth.alt/hwtest/netlab"
	"hearth.alt/hwtest/vm"
)

const storyPassword = "a kettle sings on the stove"

// TestFromBlankCardToPairedPhone is the whole first day of a box: the image boots on a home network with a router
// (DHCP, IPv6), says hearth.local by mDNS, is claimed in a browser over plain http inside the seal, shows a QR code
// that zbarimg reads from the screen, lets an unmodified WireGuard in, shows the pages over that tunnel, drops a
// removed phone within five seconds, and has everything still after the plug was pulled.
func TestFromBlankCardToPairedPhone(t *testing.T) {
	lab := netlab.New(t)
	home := lab.Host("home")
	router := netip.MustParsePrefix("192.168.77.1/24")
	home.Tap("tap0", router, netip.MustParsePrefix("fd77::1/64"))
	if _, err := home.Exec(t.Context(), "ip", "route", "add", "224.0.0.0/4", "dev", "tap0"); err != nil {
		t.Fatal(err)
	}
	leases := serveDHCP(t, home)

	m := vm.New(t, vm.Options{
		Image: vm.Image(t, "arm64", vm.Hearth), Disk: 8 * GiB, Wrap: home.Enter(),
		Net: []string{"-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no"}, Append: "hearth.console=1",
	})
	m.Start()
	code := claimOf(t, m)
	box := leases(t, 2*time.Minute)
	t.Logf("the box has %s", box)

	if got := askMDNS(t, home, "hearth.local."); got != box {
		t.Errorf("hearth.local is %s by mDNS, want %s", got, box)
	}

	// The claim, in a browser that reaches the home network by a forwarder.
	web := forward(t, home, netip.AddrPortFrom(box, 80))
	b := browser.Start(t, chromedp.Flag("host-resolver-rules", "MAP * "+web))
	step := func(what string, actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := b.Do(actions...); err != nil {
			b.Shot("story-failed")
			text, _ := browser.Eval[string](b, "document.body.innerText")
			t.Fatalf("%s: %v\nthe page says:\n%s", what, err, text)
		}
	}
	waitPage(t, home, box)
	step("opening the sheet's address", chromedp.Navigate("http://hearth.local/#"+code), chromedp.WaitVisible(chromedp.CSS("input[name=household]")))
	step("the names", chromedp.SendKeys(chromedp.CSS("input[name=household]"), "Smith"), fill(b, "box", "Study"),
		chromedp.SendKeys(chromedp.CSS("input[name=owner]"), "Ann"), chromedp.SendKeys(chromedp.CSS("input[name=password]"), storyPassword),
		chromedp.Click(chromedp.CSS("form.stack button.main")), chromedp.WaitVisible(chromedp.CSS("ol.words")))
	words, err := browser.Eval[string](b, "[...document.querySelectorAll('ol.words li')].map(e => e.textContent).join(' ')")
	if err != nil || len(strings.Fields(words)) != 24 {
		t.Fatalf("%d words, %v", len(strings.Fields(words)), err)
	}
	step("words are written", chromedp.Click(chromedp.CSS("input[name=written]")), chromedp.Click(chromedp.CSS("form.stack button.main")), chromedp.WaitVisible(chromedp.CSS("input[name^=word]")))
	asked, err := browser.Eval[[]string](b, "[...document.querySelectorAll('input[name^=word]')].map(e => e.name)")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range asked {
		var n int
		fmt.Sscanf(name, "word%d", &n)
		step(name, chromedp.SendKeys(chromedp.CSS("input[name="+name+"]"), strings.Fields(words)[n-1]))
	}
	step("checking the words", chromedp.Click(chromedp.CSS("form.stack button.main")), chromedp.WaitVisible(chromedp.CSS("input[name=name]")))
	b.Shot("story-add")
	step("the first phone", chromedp.SendKeys(chromedp.CSS("input[name=name]"), "Ann phone"), chromedp.Click(chromedp.CSS("form.stack button.main")), chromedp.WaitVisible(chromedp.CSS("#pairing")))
	stock := scan(t, b)
	if !strings.Contains(stock, "Endpoint = "+box.String()+":51820") {
		t.Error("the code's endpoint is not the box's address")
	}
	inside := boxIn(t, stock)
	name := "study.smith.home.arpa"
	kitchen := phonePlace(t, lab, home, 2)
	lab.Phone(kitchen, stock, nil)
	deadline(t, 30*time.Second, "the phone reaches the box", func(ctx context.Context) error { return kitchen.Answers(ctx, inside) })
	step("the page turns by itself", chromedp.WaitNotPresent(chromedp.CSS("#pairing")))
	b.Shot("story-paired")

	// Over the tunnel: names and pages.
	if got := askDNS(t, kitchen, inside, name+"."); got != inside {
		t.Errorf("%s is %s over the tunnel, want %s", name, got, inside)
	}
	tunnel := signIn(t, kitchen, "http", netip.AddrPortFrom(inside, 80), name)
	if page := tunnel.get("/"); !strings.Contains(page, "Smith") {
		t.Errorf("the first page over the tunnel is not the house's: %.300s", page)
	}

	// A second phone is added over the tunnel, and removed at home over https.
	street := phonePlace(t, lab, home, 3)
	page := tunnel.post("/devices/add", url.Values{"name": {"Old phone"}})
	id := regexp.MustCompile(`/devices/([a-z2-7]{16})/pair`).FindStringSubmatch(page)
	text := regexp.MustCompile(`(?s)<pre[^>]*>(.*?)</pre>`).FindStringSubmatch(page)
	if id == nil || text == nil {
		t.Fatalf("adding a device shows no configuration: %.2000s", page)
	}
	lab.Phone(street, html.UnescapeString(text[1]), nil)
	deadline(t, 30*time.Second, "the second phone reaches the box", func(ctx context.Context) error { return street.Answers(ctx, inside) })
	secure := signIn(t, home, "https", netip.AddrPortFrom(box, 443), "study.local")
	secure.post("/devices/"+id[1]+"/remove", url.Values{"yes": {"remove"}})
	removed := time.Now()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := street.Answers(ctx, inside)
		cancel()
		if err != nil {
			break
		}
		if time.Since(removed) > 5*time.Second {
			t.Fatal("the removed phone still reaches the box after five seconds")
		}
	}
	t.Attr("figure", fmt.Sprintf("the removed phone was out after %s", time.Since(removed).Round(100*time.Millisecond)))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := kitchen.Answers(ctx, inside); err != nil {
		t.Errorf("removing one phone cut the other off: %v", err)
	}

	// The plug.
	m.Cut()
	m.Start()
	waitPage(t, home, box)
	deadline(t, time.Minute, "the phone reaches the box after the cut, by itself", func(ctx context.Context) error { return kitchen.Answers(ctx, inside) })
	again := signIn(t, kitchen, "http", netip.AddrPortFrom(inside, 80), name)
	if page := again.get("/devices"); !strings.Contains(page, "Ann phone") || strings.Contains(page, "Old phone") {
		t.Errorf("after the cut the devices are others: %.3000s", page)
	}
	if strings.Contains(m.Serial(), "http://hearth.local/#") {
		t.Error("the owned box shows its claim code after the cut")
	}
	m.Cut()
	clean(t, m, 7*GiB)
}

// fill replaces what a field holds.
func fill(b *browser.Browser, name, value string) chromedp.Action[chromedp.Void] {
	browser.Eval[bool](b, "document.querySelector('input[name="+name+"]').value = ''; true")
	return chromedp.SendKeys(chromedp.CSS("input[name="+name+"]"), value)
}

// phonePlace is a place with a phone, behind the home's router: it reaches the box and nothing of the box's own link.
func phonePlace(t *testing.T, lab *netlab.Lab, home *netlab.Host, n int) *netlab.Host {
	t.Helper()
	there := lab.Host(fmt.Sprintf("place%d", n))
	here, eth := lab.Link(home, fmt.Sprintf("p%d", n), there, "eth0")
	here.Add(netip.MustParsePrefix(fmt.Sprintf("192.168.%d.1/24", 100+n)))
	eth.Add(netip.MustParsePrefix(fmt.Sprintf("192.168.%d.2/24", 100+n)))
	eth.Default(netip.MustParseAddr(fmt.Sprintf("192.168.%d.1", 100+n)))
	home.Sysctl("net/ipv4/ip_forward", "1")
	return there
}

// serveDHCP runs dnsmasq as the router's DHCP server and returns a function that waits for the box's address.
func serveDHCP(t *testing.T, home *netlab.Host) func(*testing.T, time.Duration) netip.Addr {
	t.Helper()
	if _, err := exec.LookPath("dnsmasq"); err != nil {
		t.Skip("dnsmasq is missing; run: apt-get install dnsmasq-base")
	}
	file := filepath.Join(t.TempDir(), "leases")
	cmd := exec.Command("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=tap0", "--bind-interfaces", "--user=root", "--pid-file=",
		"--dhcp-range=192.168.77.50,192.168.77.60,1h", "--enable-ra", "--dhcp-range=fd77::,ra-only", "--dhcp-leasefile="+file, "--dhcp-authoritative")
	var log bytes.Buffer
	cmd.Stderr = &log
	if _, err := home.Start(cmd); err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T, limit time.Duration) netip.Addr {
		t.Helper()
		var got netip.Addr
		deadline(t, limit, "the box has an address", func(context.Context) error {
			b, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			for _, word := range strings.Fields(string(b)) {
				if a, err := netip.ParseAddr(word); err == nil && a.Is4() {
					got = a
					return nil
				}
			}
			return fmt.Errorf("no lease in %q", b)
		})
		return got
	}
}

// deadline tries until it works.
func deadline(t *testing.T, limit time.Duration, what string, try func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		one, stop := context.WithTimeout(ctx, 5*time.Second)
		err := try(one)
		stop()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("never so in %s: %s: %v", limit, what, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// askMDNS asks the home network once who has a name, as a simple client does (RFC 6762, section 5.1).
func askMDNS(t *testing.T, home *netlab.Host, name string) netip.Addr {
	t.Helper()
	var got netip.Addr
	deadline(t, 30*time.Second, name+" answers by mDNS", func(ctx context.Context) (err error) {
		got, err = ask(ctx, home, "224.0.0.251:5353", name)
		return err
	})
	return got
}

func askDNS(t *testing.T, from *netlab.Host, server netip.Addr, name string) netip.Addr {
	t.Helper()
	var got netip.Addr
	deadline(t, 30*time.Second, name+" answers by DNS", func(ctx context.Context) (err error) {
		got, err = ask(ctx, from, netip.AddrPortFrom(server, 53).String(), name)
		return err
	})
	return got
}

func ask(ctx context.Context, from *netlab.Host, server, name string) (netip.Addr, error) {
	c, err := from.ListenPacket("udp4", ":0")
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	q := new(dns.Msg)
	q.SetQuestion(name, dns.TypeA)
	b, err := q.Pack()
	if err != nil {
		return netip.Addr{}, err
	}
	to, err := net.ResolveUDPAddr("udp4", server)
	if err != nil {
		return netip.Addr{}, err
	}
	if _, err := c.WriteTo(b, to); err != nil {
		return netip.Addr{}, err
	}
	c.SetReadDeadline(time.Now().Add(2 * time.Second))
	answer := make([]byte, 9000)
	n, _, err := c.ReadFrom(answer)
	if err != nil {
		return netip.Addr{}, err
	}
	r := new(dns.Msg)
	if err := r.Unpack(answer[:n]); err != nil {
		return netip.Addr{}, err
	}
	for _, rr := range r.Answer {
		if a, ok := rr.(*dns.A); ok {
			addr, _ := netip.AddrFromSlice(a.A)
			return addr.Unmap(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no address in %v", r)
}

// forward lets programs outside the lab reach an address inside it, and returns where.
func forward(t *testing.T, host *netlab.Host, to netip.AddrPort) string {
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
				defer c.Close()
				d, err := host.Dial(context.Background(), "tcp", to.String())
				if err != nil {
					return
				}
				defer d.Close()
				go func() {
					io.Copy(d, c)
					d.(*net.TCPConn).CloseWrite()
				}()
				io.Copy(c, d)
			}()
		}
	}()
	return l.Addr().String()
}

func waitPage(t *testing.T, home *netlab.Host, box netip.Addr) {
	t.Helper()
	deadline(t, 2*time.Minute, "the box's first page", func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, "GET", "http://"+box.String()+"/", nil)
		if err != nil {
			return err
		}
		resp, err := home.Client().Do(r)
		if err != nil {
			return err
		}
		resp.Body.Close()
		return nil
	})
}

// scan reads the QR code on the browser's page with zbarimg, as a phone's camera would.
func scan(t *testing.T, b *browser.Browser) string {
	t.Helper()
	if err := b.Shot("story-qr"); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("zbarimg", "--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", filepath.Join(browser.Out(), "story-qr.png")).Output()
	if err != nil {
		t.Fatalf("zbarimg reads nothing from the page: %v", err)
	}
	return string(out)
}

// boxIn is the box's tunnel address in a configuration: its first name server.
func boxIn(t *testing.T, stock string) netip.Addr {
	t.Helper()
	m := regexp.MustCompile(`DNS = ([0-9.]+)`).FindStringSubmatch(stock)
	if m == nil {
		t.Fatal("the code holds no name server")
	}
	return netip.MustParseAddr(m[1])
}

// visitor is somebody signed in at the box, without a browser.
type visitor struct {
	t      *testing.T
	client *http.Client
	base   string
}

func signIn(t *testing.T, from *netlab.Host, scheme string, at netip.AddrPort, name string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	v := &visitor{t: t, base: scheme + "://" + name, client: &http.Client{
		Jar: jar, Timeout: 2 * time.Minute,
		Transport: &http.Transport{
			DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return from.Dial(ctx, "tcp", at.String()) },
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the phone without the house's certificate
		},
	}}
	// The tunnel's pages open a moment after the tunnel; a browser tries again too.
	deadline(t, 30*time.Second, "the page that asks who it is", func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, "GET", v.base+"/signin", nil)
		if err != nil {
			return err
		}
		resp, err := v.client.Do(r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("it answers %s", resp.Status)
		}
		return nil
	})
	if page := v.post("/signin", url.Values{"name": {"Ann"}, "password": {storyPassword}}); !strings.Contains(page, "Smith") {
		t.Fatalf("signing in at %s shows: %.3000s", v.base, page)
	}
	return v
}

func (v *visitor) get(path string) string { return v.read(v.client.Get(v.base + path)) }

func (v *visitor) post(path string, form url.Values) string {
	return v.read(v.client.PostForm(v.base+path, form))
}

func (v *visitor) read(r *http.Response, err error) string {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	if err != nil {
		v.t.Fatal(err)
	}
	if r.StatusCode != http.StatusOK {
		v.t.Fatalf("%s answers %s: %.2000s", r.Request.URL, r.Status, b)
	}
	return string(b)
}
