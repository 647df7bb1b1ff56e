// Package e2e proves the whole: real Hearth processes, each in a network namespace of netlab with a home around it,
// spoken to by unmodified WireGuard phones, browsers' requests and the program's own verbs. Nothing here looks inside
// the program; what counts is what a person, a guest or a thief could see.
//
// Without root everything skips with the command that would run it. HEARTH_TEST_ALL=1 runs the full figures: every
// port, five hundred kills.
package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"hearth.alt/hwtest/box"
	"hearth.alt/hwtest/netlab"
)

var (
	pfx  = netip.MustParsePrefix
	addr = netip.MustParseAddr
)

func TestMain(m *testing.M) {
	os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true") // quic-go prints it to standard error
	code := m.Run()
	box.RemovePrograms()
	os.Exit(code)
}

// all says whether the full figures are wanted.
var all = os.Getenv("HEARTH_TEST_ALL") != ""

// The box's name in the tunnel, and its addresses at home.
const (
	boxName  = "study.smith.home.arpa"
	boxAt4   = "192.168.1.2"
	boxAt6   = "fd00:1::2"
	password = "a lantern in the orchard"
)

// home is a house: a box at 192.168.1.2 and fd00:1::2, and whoever else is plugged in, from .10 on.
type home struct {
	*box.Box
	t    *testing.T
	lab  *netlab.Lab
	lan  *netlab.Switch
	host *netlab.Host // the box's
	n    int
}

// The ways a box is started in a namespace. Ports are the real ones: the namespace has nobody else.
var (
	// oneProcess is --dev: keeper and services in one process.
	oneProcess = []string{"--dev", "--no-portmap", "--http", boxAt4 + ":80", "--https", boxAt4 + ":443", "--dns", boxAt4 + ":53"}
	// twoProcesses is what a device runs: the keeper as root, the services as a child without privileges.
	twoProcesses = []string{"--no-portmap", "--http", ":80", "--https", ":443", "--dns", ":53"}
)

// newHome plugs everything in and starts an unclaimed box.
func newHome(t *testing.T, o box.Options) *home {
	t.Helper()
	l := netlab.New(t)
	h := &home{t: t, lab: l, lan: l.Switch("lan"), host: l.Host("box"), n: 10}
	h.lan.Attach(h.host, "eth0", pfx(boxAt4+"/24"), pfx(boxAt6+"/64"))
	h.start(o)
	return h
}

func (h *home) start(o box.Options) {
	h.t.Helper()
	if o.Args == nil {
		o.Args = oneProcess
	}
	o.Start = func(cmd *exec.Cmd) error { return h.host.Do(cmd.Start) }
	h.Box = box.Start(h.t, o)
}

// newSmiths is a home whose box is claimed and whose tunnel is up.
func newSmiths(t *testing.T, o box.Options) *home {
	t.Helper()
	h := newHome(t, o)
	h.ClaimSmith()
	h.up()
	return h
}

// other plugs another host into the home network.
func (h *home) other(name string) *netlab.Host {
	o := h.lab.Host(name)
	h.lan.Attach(o, "eth0", pfx(fmt.Sprintf("192.168.1.%d/24", h.n)), pfx(fmt.Sprintf("fd00:1::%d/64", h.n)))
	h.n++
	// A cable that was just plugged in takes its time, IPv6 more so.
	for _, a := range []string{boxAt4, boxAt6} {
		if err := o.Answers(limit(h.t, 10*time.Second), addr(a)); err != nil {
			h.t.Fatal(err)
		}
	}
	return o
}

type status struct {
	Claimed bool
	Box     struct {
		Name   string
		PeerID string `json:"peer_id"`
	}
	Services []struct {
		Name, Message string
		Ready, OK     bool
	}
}

// up waits until the parts that phones need are well.
func (h *home) up() {
	h.t.Helper()
	within(h.t, 30*time.Second, "the box is not up", func() error {
		var s status
		if f := h.TryDo(&s, "status"); f != nil {
			return fmt.Errorf("status: %s", f.Stderr)
		}
		need := map[string]bool{"identity": true, "account": true, "mesh": true, "firewall": true, "dns": true}
		for _, v := range s.Services {
			if need[v.Name] && !v.Ready {
				return fmt.Errorf("%s: %s", v.Name, v.Message)
			}
		}
		return nil
	})
}

// within tries f until it returns nil.
func within(t testing.TB, d time.Duration, what string, f func() error) {
	t.Helper()
	began := time.Now()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Since(began) > d {
			t.Fatalf("%s after %v: %v", what, d, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func limit(t testing.TB, d time.Duration) context.Context {
	c, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return c
}

// person is what person add and person list tell.
type person struct {
	ID, Name, Role, State, Code, Link string
	LAN                               bool
}

// device is what device add and device list tell.
type device struct {
	ID, Name, Person   string
	Config             string
	Paired             bool
	Address4, Address6 string
	LastHandshake      *time.Time `json:"last_handshake"`
}

// named is what the box lists of what, by name.
func named[T any](b *box.Box, what string, name func(T) string) map[string]T {
	b.T.Helper()
	var list []T
	b.Do(&list, what, "list")
	out := map[string]T{}
	for _, one := range list {
		out[name(one)] = one
	}
	return out
}

func people(b *box.Box) map[string]person {
	b.T.Helper()
	return named(b, "person", func(p person) string { return p.Name })
}

func (h *home) people() map[string]person {
	h.t.Helper()
	return people(h.Box)
}

func (h *home) devices() map[string]device {
	h.t.Helper()
	return named(h.Box, "device", func(d device) string { return d.Name })
}

// invite invites a person and lets them accept, from a browser on the home network over https.
func (h *home) invite(name, role string, more ...string) person {
	h.t.Helper()
	var p person
	h.Do(&p, append([]string{"person", "add", name, "--role", role}, more...)...)
	b := h.browser(h.lanHost(), "https://"+boxAt4)
	b.post("/join", url.Values{"code": {p.Code}}, 200)
	b.post("/join/accept", url.Values{"code": {p.Code}, "name": {name}, "password": {password}}, 303)
	if now := h.people()[name]; now.State != "active" || now.Role != role {
		h.t.Fatalf("%s accepted, and is %+v", name, now)
	}
	return p
}

// lanHost is a host at home for whatever needs one.
func (h *home) lanHost() *netlab.Host { return h.other("visitor" + fmt.Sprint(h.n)) }

// phone adds a device for a person, scans the picture of its code with zbarimg, and starts the stock app with what
// the code says on a host at home.
func (h *home) phone(person, name string) (*netlab.Phone, device) {
	h.t.Helper()
	return h.phoneAt(h.other(strings.ReplaceAll(name, " ", "-")), person, name)
}

func (h *home) phoneAt(at *netlab.Host, person, name string) (*netlab.Phone, device) {
	h.t.Helper()
	text, d := h.scan(person, name)
	p := h.lab.Phone(at, text, nil)
	h.paired(p, name)
	return p, d
}

// scan adds a device and reads its code from the picture.
func (h *home) scan(person, name string) (string, device) {
	h.t.Helper()
	png := filepath.Join(h.t.TempDir(), "code.png")
	var d device
	h.Do(&d, "device", "add", name, "--person", person, "--png", png)
	out, err := exec.CommandContext(limit(h.t, 20*time.Second), "zbarimg", "--quiet", "--raw", png).Output()
	if err != nil {
		h.t.Fatalf("zbarimg: %v", err)
	}
	if strings.TrimSpace(string(out)) != strings.TrimSpace(d.Config) {
		h.t.Fatalf("the picture does not hold the configuration:\n%s", out)
	}
	return string(out), d
}

// paired waits until the phone reaches the box and the box knows that it does.
func (h *home) paired(p *netlab.Phone, name string) {
	h.t.Helper()
	for _, a := range p.Stock.DNS {
		if err := answersDNS(h.t, p, a, 20*time.Second); err != nil {
			h.t.Fatalf("%s: %v\n%s", name, err, h.facts(p))
		}
	}
	within(h.t, 10*time.Second, name+" is not paired", func() error {
		if d := h.devices()[name]; !d.Paired {
			return fmt.Errorf("%+v", d)
		}
		return nil
	})
}

// facts is what helps to understand a phone that does not get through.
func (h *home) facts(p *netlab.Phone) string {
	state, err := p.State()
	out := fmt.Sprintf("the app shows %+v, %v\n", state, err)
	for _, cmd := range []string{"ss -lntup", "ip address show", "ip route show table all", "nft list ruleset"} {
		text, err := h.host.Exec(limit(h.t, 5*time.Second), "sh", "-c", cmd)
		out += fmt.Sprintf("--- %s: %v\n%s", cmd, err, text)
	}
	return out
}

// answersDNS waits until names are answered in the tunnel.
func answersDNS(t testing.TB, p *netlab.Phone, at netip.Addr, d time.Duration) (err error) {
	for began := time.Now(); ; {
		if _, err = lookup(p.Host, at, "udp", boxName, dns.TypeA); err == nil || time.Since(began) > d {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// lookup asks one name server for one name, once.
func lookup(from *netlab.Host, at netip.Addr, network, name string, kind uint16) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 700*time.Millisecond)
	defer cancel()
	c, err := from.Dial(ctx, network, netip.AddrPortFrom(at, 53).String())
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	co := &dns.Conn{Conn: c}
	deadline, _ := ctx.Deadline()
	co.SetDeadline(deadline)
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), kind)
	if err := co.WriteMsg(q); err != nil {
		return netip.Addr{}, err
	}
	r, err := co.ReadMsg()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, rr := range r.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			a, _ := netip.AddrFromSlice(rr.A.To4())
			return a, nil
		case *dns.AAAA:
			a, _ := netip.AddrFromSlice(rr.AAAA)
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%s of %s: %s without an answer", name, at, dns.RcodeToString[r.Rcode])
}

// browser keeps cookies for one origin and sends forms as pages do, from a host of the laboratory.
type browser struct {
	t       testing.TB
	client  *http.Client
	base    string
	cookies map[string]string
}

// browser opens base ("https://192.168.1.2") from a host. Names in base are not looked up: use at for that.
func (h *home) browser(from *netlab.Host, base string) *browser {
	c := from.Client()
	tr := c.Transport.(*http.Transport)
	// The certificate's own proofs are elsewhere; here whoever answers is known by where it is plugged in.
	tr.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	return &browser{t: h.t, client: c, base: base, cookies: map[string]string{}}
}

// tunnel opens http://study.smith.home.arpa from a phone, looked up as the phone's own resolver would.
func (h *home) tunnel(p *netlab.Phone, kind uint16) *browser {
	h.t.Helper()
	b := h.browser(p.Host, "http://"+boxName)
	b.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		name, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		server := p.Stock.DNS[0]
		if kind == dns.TypeAAAA {
			server = p.Stock.DNS[1]
		}
		var a netip.Addr
		for range 3 { // as a phone's own resolver does: a question may get lost on its way
			if a, err = lookup(p.Host, server, "udp", name, kind); err == nil {
				break
			}
		}
		if err != nil {
			return nil, err
		}
		return p.Host.Dial(ctx, network, net.JoinHostPort(a.String(), port))
	}
	return b
}

func (b *browser) try(method, path string, form url.Values) (*http.Response, string, error) {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.base+path, body)
	if err != nil {
		return nil, "", err
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", b.base)
	}
	for n, v := range b.cookies {
		r.AddCookie(&http.Cookie{Name: n, Value: v})
	}
	resp, err := b.client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := io.Copy(&text, io.LimitReader(resp.Body, 4<<20)); err != nil {
		return nil, "", err
	}
	for _, c := range resp.Cookies() {
		if c.MaxAge < 0 || c.Value == "" {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
	return resp, text.String(), nil
}

func (b *browser) get(path string, want int) string {
	b.t.Helper()
	return b.do("GET", path, nil, want)
}

func (b *browser) post(path string, form url.Values, want int) string {
	b.t.Helper()
	return b.do("POST", path, form, want)
}

func (b *browser) do(method, path string, form url.Values, want int) string {
	b.t.Helper()
	resp, text, err := b.try(method, path, form)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, path, err)
	}
	if resp.StatusCode != want {
		b.t.Fatalf("%s %s: %d, want %d:\n%s", method, path, resp.StatusCode, want, text)
	}
	return text
}

func (b *browser) signIn(name, password string) {
	b.t.Helper()
	b.post("/signin", url.Values{"name": {name}, "password": {password}}, 303)
	b.get("/sessions", 200)
}
