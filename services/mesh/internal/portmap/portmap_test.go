package portmap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth.alt/hwtest/netlab"
)

const testPort = 51820

// home is a box behind a router, and a server on the Internet.
type home struct {
	lab    *netlab.Lab
	router *netlab.Router
	box    *netlab.Host
	server *netlab.Host
}

func newHome(t *testing.T) *home {
	l := netlab.New(t)
	h := &home{l, l.Router("router", netlab.NATCone), l.Host("box"), l.Host("server")}
	w, s := l.Link(h.router.Host, "wan", h.server, "eth0")
	w.Add(netip.MustParsePrefix("203.0.113.1/24"))
	s.Add(netip.MustParsePrefix("203.0.113.2/24"))
	i, b := l.Link(h.router.Host, "lan", h.box, "eth0")
	i.Add(netip.MustParsePrefix("192.168.1.1/24"))
	b.Add(netip.MustParsePrefix("192.168.1.2/24"))
	b.Default(netip.MustParseAddr("192.168.1.1"))
	return h
}

func (h *home) config(dir string, changed chan struct{}) Config {
	return Config{Port: testPort, Dir: dir, Network: Network{
		Route: func() (r Route, err error) {
			err = h.box.Do(func() error { r, err = defaultRoute(); return err })
			return r, err
		},
		ListenPacket: h.box.ListenPacket,
		Dial:         h.box.Dial,
	}, Changed: func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}}
}

// running is a client that runs; stop ends it and waits.
type running struct {
	*Client
	changed chan struct{}
	stop    func()
}

func (h *home) run(t *testing.T, dir string) *running {
	t.Helper()
	changed := make(chan struct{}, 1)
	c := New(h.config(dir, changed))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop := func() { cancel(); <-done }
	t.Cleanup(stop)
	return &running{c, changed, stop}
}

func (r *running) until(t *testing.T, what string, ok func(State) bool) State {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		if s := r.State(); ok(s) {
			return s
		}
		select {
		case <-r.changed:
		case <-deadline:
			t.Fatalf("not %s: %+v", what, r.State())
		}
	}
}

func mapped(s State) bool { return s.Mapping.Protocol != "" }
func looked(s State) bool { return s.Looked }

// passes says whether a packet from the Internet to the outside address arrives at the box.
func (h *home) passes(t *testing.T, to netip.AddrPort) bool {
	t.Helper()
	in, err := h.box.ListenPacket("udp4", "192.168.1.2:51820")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := h.server.ListenPacket("udp4", "203.0.113.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	out.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(to))
	in.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	_, _, err = in.ReadFrom(make([]byte, 9))
	return err == nil
}

var servers = map[Protocol]func(*netlab.Router, *netlab.Gateway) *netlab.Gateway{
	PCP: (*netlab.Router).ServePCP, NATPMP: (*netlab.Router).ServeNATPMP, UPnP: (*netlab.Router).ServeUPnP,
}

func TestMapsRenewsAndReleases(t *testing.T) {
	for name, serve := range servers {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			g := serve(h.router, &netlab.Gateway{MaxLease: 4 * time.Second})
			c := h.run(t, t.TempDir())
			s := c.until(t, "mapped", mapped)
			m := s.Mapping
			if m.Protocol != name || m.External != netip.MustParseAddrPort("203.0.113.1:51820") || m.Internal != netip.MustParseAddrPort("192.168.1.2:51820") {
				t.Fatalf("mapping %+v", m)
			}
			if !h.passes(t, m.External) {
				t.Error("nothing passes the mapping")
			}
			if name == UPnP { // whose protocol does not say what lease was granted
				return
			}
			later := c.until(t, "renewed", func(s State) bool { return s.Mapping.Expires.After(m.Expires) }).Mapping
			if later.External != m.External || !h.passes(t, m.External) {
				t.Errorf("after renewal %+v", later)
			}
			c.stop()
			if len(g.Mappings()) != 0 || h.passes(t, m.External) {
				t.Errorf("after the end: %v", g.Mappings())
			}
			if mapped(c.State()) {
				t.Error("a client that ended says it is mapped")
			}
		})
	}
}

// A box that lost power renews its own mapping after the restart and can still release it: the nonce is on disk.
func TestNonceOutlivesTheProcess(t *testing.T) {
	h := newHome(t)
	g := h.router.ServePCP(&netlab.Gateway{})
	dir := t.TempDir()
	c := h.run(t, dir)
	c.until(t, "mapped", mapped)
	left, err := os.ReadFile(filepath.Join(dir, "portmap.json"))
	if err != nil {
		t.Fatal(err)
	}
	c.stop()
	// The power cut: the mapping is still in the router, the file as it was.
	var k kept
	if err := json.Unmarshal(left, &k); err != nil || k.Protocol != PCP || k.External != testPort {
		t.Fatalf("kept %s, %v", left, err)
	}
	dead := New(h.config("", nil))
	if _, err := dead.askPCP(t.Context(), want{route: Route{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("192.168.1.2")}, port: testPort, external: testPort, nonce: k.nonce()}, Lease); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "portmap.json"), left, 0o600); err != nil {
		t.Fatal(err)
	}
	c = h.run(t, dir)
	if m := c.until(t, "mapped again", mapped).Mapping; m.External.Port() != testPort {
		t.Errorf("another nonce would have been refused: %+v", m)
	}
	c.stop()
	if n := len(g.Mappings()); n != 0 {
		t.Errorf("%d mappings left", n)
	}

	// A box that may no longer map lets go of what it had.
	if err := os.WriteFile(filepath.Join(dir, "portmap.json"), left, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := dead.askPCP(t.Context(), want{route: Route{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("192.168.1.2")}, port: testPort, external: testPort, nonce: k.nonce()}, Lease); err != nil {
		t.Fatal(err)
	}
	New(h.config(dir, nil)).Release(t.Context())
	if _, err := os.Stat(filepath.Join(dir, "portmap.json")); len(g.Mappings()) != 0 || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Release: %v, file: %v", g.Mappings(), err)
	}
}

// Routers as they are: silent, broken, forbidding, lying, behind another router.
func TestRoutersThatDoNotHelp(t *testing.T) {
	cgnat := netip.MustParseAddr("100.72.3.4")
	for _, c := range []struct {
		name   string
		serve  func(*netlab.Router)
		want   map[Protocol]Outcome
		mapped bool
	}{
		{name: "silent", serve: func(r *netlab.Router) { r.Silence(true) }, want: map[Protocol]Outcome{PCP: Silent, NATPMP: Silent, UPnP: Silent}},
		{name: "nothing there", serve: func(r *netlab.Router) {}, want: map[Protocol]Outcome{PCP: Silent, NATPMP: Silent, UPnP: Silent}},
		{name: "PCP forbidden", serve: func(r *netlab.Router) { r.ServePCP(&netlab.Gateway{Refuse: 2}) }, want: map[Protocol]Outcome{PCP: Refused, NATPMP: Silent}},
		{name: "NAT-PMP switched off", serve: func(r *netlab.Router) { r.ServeNATPMP(&netlab.Gateway{Refuse: 2}) }, want: map[Protocol]Outcome{PCP: Refused, NATPMP: Refused}},
		{name: "UPnP forbidden", serve: func(r *netlab.Router) { r.ServeUPnP(&netlab.Gateway{Refuse: 606}) }, want: map[Protocol]Outcome{UPnP: Refused}},
		{name: "UPnP for ever only", serve: func(r *netlab.Router) { r.ServeUPnP(&netlab.Gateway{PermanentOnly: true}) }, want: map[Protocol]Outcome{UPnP: Refused}},
		{name: "noise", serve: func(r *netlab.Router) {
			r.ServePCP(&netlab.Gateway{Garbage: true})
			r.ServeUPnP(&netlab.Gateway{Garbage: true})
		}, want: map[Protocol]Outcome{PCP: Silent, NATPMP: Silent, UPnP: Nonsense}},
		{name: "an outside address that cannot be", serve: func(r *netlab.Router) {
			r.ServeNATPMP(&netlab.Gateway{Outside: netip.IPv4Unspecified()})
			r.ServeUPnP(&netlab.Gateway{Outside: netip.MustParseAddr("127.0.0.1")})
		}, want: map[Protocol]Outcome{NATPMP: Nonsense, UPnP: Nonsense}},
		{name: "double NAT", serve: func(r *netlab.Router) { r.ServePCP(&netlab.Gateway{Outside: netip.MustParseAddr("192.168.0.2")}) }, want: map[Protocol]Outcome{PCP: Private}, mapped: true},
		{name: "carrier NAT", serve: func(r *netlab.Router) { r.ServeUPnP(&netlab.Gateway{Outside: cgnat}) }, want: map[Protocol]Outcome{UPnP: Private}, mapped: true},
		{name: "another port", serve: func(r *netlab.Router) { r.ServeNATPMP(&netlab.Gateway{OutsidePort: 40404}) }, want: map[Protocol]Outcome{NATPMP: Mapped}, mapped: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			c.serve(h.router)
			start := time.Now()
			r := h.run(t, t.TempDir())
			s := r.until(t, "through", looked)
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("a round took %s", took)
			}
			if mapped(s) != c.mapped {
				t.Errorf("mapping %+v", s.Mapping)
			}
			got := map[Protocol]Outcome{}
			for _, a := range s.Attempts {
				got[a.Protocol] = a.Outcome
			}
			for p, o := range c.want {
				if got[p] != o {
					t.Errorf("%s: %s, want %s (%+v)", p, got[p], o, s.Attempts)
				}
			}
			if c.name == "another port" && (s.Mapping.External.Port() != 40404 || !h.passes(t, s.Mapping.External)) {
				t.Errorf("mapping %+v", s.Mapping)
			}
		})
	}
}

// Another device at home that calls itself the gateway, or a gateway that sends us elsewhere, is not followed.
func TestOnlyTheGatewayIsBelieved(t *testing.T) {
	r := Route{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("192.168.1.2")}
	for _, u := range []string{"http://192.168.1.7/x", "https://192.168.1.1/x", "http://user@192.168.1.1/", "http://router/x", "file:///etc/passwd"} {
		l, err := parseSSDP([]byte("HTTP/1.1 200 OK\r\nLocation: " + u + "\r\n\r\n"))
		if err == nil {
			err = ofGateway(l, r)
		}
		if err == nil {
			t.Errorf("%s was believed", u)
		}
	}
	l, err := parseSSDP([]byte("HTTP/1.1 200 OK\r\nLOCATION: http://192.168.1.1:5000/d.xml\r\n\r\n"))
	if err != nil || ofGateway(l, r) != nil {
		t.Errorf("%v, %v", l, err)
	}
}

func TestPublic(t *testing.T) {
	for a, want := range map[string]bool{
		"203.0.113.1": true, "2001:db8::1": true, "::ffff:8.8.8.8": true,
		"10.0.0.1": false, "172.16.0.1": false, "192.168.9.9": false, "100.64.0.1": false, "100.127.255.255": false, "100.128.0.1": true,
		"127.0.0.1": false, "169.254.1.1": false, "0.0.0.0": false, "240.0.0.1": false, "192.0.0.9": false, "fd00::1": false, "fe80::1": false, "::1": false, "224.0.0.1": false,
	} {
		if got := Public(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
}

func TestDamagedFileIsAFirstRun(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"", "{", `{"version":2,"nonce":"000000000000000000000000"}`, `{"version":1,"nonce":"00"}`, strings.Repeat("[", 1000)} {
		if err := os.WriteFile(filepath.Join(dir, "portmap.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if k, isNew := New(Config{Port: 1, Dir: dir}).load(); !isNew || k.nonce() == [12]byte{} || k.Protocol != "" {
			t.Errorf("%q: %+v", text, k)
		}
	}
}

// The format of a request is that of RFC 6887, figures 2 and 9, byte by byte.
func TestFormatPCP(t *testing.T) {
	b := formatPCP(want{port: 0x1234, external: 0x5678, nonce: [12]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}, netip.MustParseAddr("192.168.1.2"), Lease)
	want := []byte{
		2, 1, 0, 0, 0, 0, 0x1c, 0x20,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 1, 2,
		1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
		17, 0, 0, 0, 0x12, 0x34, 0x56, 0x78,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0,
	}
	if !bytes.Equal(b, want) {
		t.Errorf("% x", b)
	}
}

func FuzzParsePCP(f *testing.F) {
	ok := formatPCP(want{port: 1, external: 2}, netip.MustParseAddr("192.168.1.2"), Lease)
	ok[1] |= pcpResponse
	f.Add(ok)
	f.Add(ok[:24])
	f.Add([]byte{0, 0x81, 0, 1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parsePCP(b)
		if err != nil && a != (pcpAnswer{}) {
			t.Fatalf("half-built %+v", a)
		}
		if err == nil && a.version == pcpVersion && a.result == 0 {
			(grant{external: a.external, lease: a.lifetime}).check()
		}
	})
}

func FuzzParseNATPMP(f *testing.F) {
	f.Add([]byte{0, 128, 0, 0, 0, 0, 0, 1, 203, 0, 113, 1})
	f.Add([]byte{0, 129, 0, 0, 0, 0, 0, 1, 0, 1, 0, 2, 0, 0, 28, 32})
	f.Add([]byte{0, 129, 0, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := parseNATPMP(b); err != nil && a != (pmpAnswer{}) {
			t.Fatalf("half-built %+v", a)
		}
	})
}

func FuzzParseSSDP(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nLocation: http://192.168.1.1/\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if u, err := parseSSDP(b); (u == nil) == (err == nil) {
			t.Fatalf("%v, %v", u, err)
		}
	})
}

func FuzzParseDescription(f *testing.F) {
	f.Add([]byte(`<root><device><serviceList><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><controlURL>/c</controlURL></service></serviceList></device></root>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, s, err := parseDescription(bytes.NewReader(b)); (c == "" || s == "") == (err == nil) {
			t.Fatalf("%q, %q, %v", c, s, err)
		}
	})
}

func FuzzParseSOAP(f *testing.F) {
	f.Add([]byte(`<s:Envelope xmlns:s="x"><s:Body><u:ActResponse xmlns:u="y"><A>1</A></u:ActResponse></s:Body></s:Envelope>`))
	f.Add([]byte(`<s:Envelope xmlns:s="x"><s:Body><s:Fault><detail><UPnPError><errorCode>718</errorCode></UPnPError></detail></s:Fault></s:Body></s:Envelope>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, e, err := parseSOAP(bytes.NewReader(b), "Act")
		n := 0
		for _, is := range []bool{v != nil, e != nil, err != nil} {
			if is {
				n++
			}
		}
		if n != 1 {
			t.Fatalf("%v, %v, %v", v, e, err)
		}
	})
}

func FuzzParseKept(f *testing.F) {
	f.Add([]byte(`{"version":1,"nonce":"000102030405060708090a0b","protocol":"pcp","gateway":"192.168.1.1"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := parseKept(b); err != nil && k != (kept{}) {
			t.Fatalf("half-built %+v", k)
		}
	})
}
