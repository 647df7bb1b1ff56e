package dns

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// unbound is Debian's resolver with a zone of its own, by UDP, TCP and TLS.
type unbound struct {
	cmd        *exec.Cmd
	plain, tls netip.AddrPort
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func startUnbound(t *testing.T, auth *ca, name string) *unbound {
	t.Helper()
	if testing.Short() {
		t.Skip("run: go test ./services/dns -run Unbound")
	}
	path, err := exec.LookPath("unbound")
	if err != nil {
		t.Skip("needs unbound: apt-get install unbound && go test ./services/dns -run Unbound")
	}
	dir := t.TempDir()
	write := func(file string, b []byte) string {
		p := filepath.Join(dir, file)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	cert := auth.issue(t, name)
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	certFile := write("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))
	keyFile := write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	var zone strings.Builder
	zone.WriteString("$ORIGIN example.com.\n@ 3600 IN SOA ns hostmaster 1 3600 600 86400 60\n@ 3600 IN NS ns\nns 3600 IN A 203.0.114.53\n" +
		"www 300 IN A 203.0.114.80\nwww 300 IN AAAA 2001:db8:1::80\nshort 1 IN A 203.0.114.81\n" +
		"c1 300 IN CNAME c2\nc2 200 IN CNAME c3\nc3 100 IN CNAME www\nevil 300 IN A 192.168.1.1\n*.wild 300 IN A 203.0.114.82\n")
	for i := range 40 {
		fmt.Fprintf(&zone, "big 300 IN TXT \"%02d%s\"\n", i, strings.Repeat("x", 80))
	}
	zoneFile := write("zone", []byte(zone.String()))
	u := &unbound{
		plain: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(freePort(t))),
		tls:   netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(freePort(t))),
	}
	conf := write("unbound.conf", fmt.Appendf(nil, `server:
  chroot: ""
  username: ""
  directory: %q
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  num-threads: 1
  module-config: "iterator"
  interface: 127.0.0.1@%d
  interface: 127.0.0.1@%d
  tls-port: %d
  tls-service-key: %q
  tls-service-pem: %q
  access-control: 127.0.0.0/8 allow
remote-control:
  control-enable: no
auth-zone:
  name: "example.com"
  zonefile: %q
  for-downstream: no
  for-upstream: yes
`, dir, u.plain.Port(), u.tls.Port(), u.tls.Port(), keyFile, certFile, zoneFile))
	var log bytes.Buffer
	u.cmd = exec.Command(path, "-d", "-c", conf)
	u.cmd.Stdout, u.cmd.Stderr = &log, &log
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		u.stop()
		if t.Failed() {
			t.Logf("unbound said:\n%s", log.String())
		}
	})
	deadline := time.Now().Add(15 * time.Second)
	for {
		c := dns.Client{Timeout: 300 * time.Millisecond}
		r, _, err := c.Exchange(new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA), u.plain.String())
		if err == nil && len(r.Answer) == 1 {
			return u
		}
		if time.Now().After(deadline) {
			t.Fatalf("unbound does not answer: %v, %v", r, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (u *unbound) stop() {
	_ = u.cmd.Process.Kill()
	_ = u.cmd.Wait()
}

func TestUnboundUpstream(t *testing.T) {
	auth := newCA(t)
	u := startUnbound(t, auth, "dns.example")
	for _, up := range []Upstream{
		{Name: "dns.example", Protocol: TLS, Addresses: []netip.AddrPort{u.tls}},
		{Protocol: Plain, Addresses: []netip.AddrPort{u.plain}},
		{Protocol: TCP, Addresses: []netip.AddrPort{u.plain}},
	} {
		t.Run(string(up.Protocol), func(t *testing.T) {
			b := runBox(t, Config{Upstreams: []Upstream{up}, Roots: auth.pool}).ready(t)
			if r := b.ask(t, "udp", "www.example.com", dns.TypeA); firstA(r) != "203.0.114.80" {
				t.Errorf("A: %v", r)
			}
			if r := b.ask(t, "udp", "www.example.com", dns.TypeAAAA); len(r.Answer) != 1 {
				t.Errorf("AAAA: %v", r)
			}
			r := b.ask(t, "udp", "c1.example.com", dns.TypeA)
			if len(r.Answer) != 4 || firstA(r) != "203.0.114.80" {
				t.Errorf("chain: %v", r)
			}
			before := b.Stats().Forwarded
			for range 3 {
				if r := b.ask(t, "udp", "nope.example.com", dns.TypeA, withEDNS); r.Rcode != dns.RcodeNameError || len(r.Ns) != 1 {
					t.Errorf("no such name: %v", r)
				}
				if r := b.ask(t, "udp", "www.example.com", dns.TypeMX); r.Rcode != dns.RcodeSuccess || len(r.Answer) != 0 || len(r.Ns) != 1 {
					t.Errorf("no such type: %v", r)
				}
				b.ask(t, "udp", "c1.example.com", dns.TypeA)
			}
			if n := b.Stats().Forwarded - before; n != 2 {
				t.Errorf("%d questions upstream, want 2: negative answers and chains are kept", n)
			}
			if r := b.ask(t, "udp", "big.example.com", dns.TypeTXT, withEDNS); !r.Truncated {
				t.Errorf("a long answer by UDP: %v", r)
			}
			if r := b.ask(t, "tcp", "big.example.com", dns.TypeTXT); len(r.Answer) != 40 {
				t.Errorf("a long answer by TCP has %d records", len(r.Answer))
			}
			if r := b.ask(t, "udp", "evil.example.com", dns.TypeA); r.Rcode != dns.RcodeSuccess || len(r.Answer) != 0 {
				t.Errorf("an inside address from outside: %v", r)
			}
			var wg sync.WaitGroup
			for c := range 8 {
				wg.Go(func() {
					for i := range 50 {
						if r := b.ask(t, "udp", fmt.Sprintf("n%d-%d.wild.example.com", c%4, i), dns.TypeA); firstA(r) != "203.0.114.82" {
							t.Errorf("parallel: %v", r)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestUnboundFailsOverAndGoesStale(t *testing.T) {
	auth := newCA(t)
	one, two := startUnbound(t, auth, "one.example"), startUnbound(t, auth, "two.example")
	b := runBox(t, Config{Roots: auth.pool, Upstreams: []Upstream{
		{Name: "one.example", Addresses: []netip.AddrPort{one.tls}}, {Name: "two.example", Addresses: []netip.AddrPort{two.tls}},
	}}).ready(t)
	if r := b.ask(t, "udp", "short.example.com", dns.TypeA); firstA(r) != "203.0.114.81" {
		t.Errorf("first: %v", r)
	}
	one.stop()
	if r := b.ask(t, "udp", "www.example.com", dns.TypeA); firstA(r) != "203.0.114.80" {
		t.Errorf("with the first upstream dead: %v", r)
	}
	two.stop()
	b.age(10)
	if r := b.ask(t, "udp", "short.example.com", dns.TypeA, withEDNS); firstA(r) != "203.0.114.81" || edeOf(r) != staleEDE {
		t.Errorf("with both dead, kept: %v", r)
	}
	if r := b.ask(t, "udp", "new.example.com", dns.TypeA, withEDNS); r.Rcode != dns.RcodeServerFailure || edeOf(r) != networkEDE {
		t.Errorf("with both dead, new: %v", r)
	}
	if r := b.ask(t, "udp", "kitchen.smith.home.arpa", dns.TypeA); firstA(r) != "10.7.8.1" {
		t.Errorf("with both dead, at home: %v", r)
	}
}

// The same questions to unbound and to the box, by UDP: what clients must not notice.
func TestUnboundAnswersAlike(t *testing.T) {
	u := startUnbound(t, newCA(t), "dns.example")
	b := runBox(t, Config{Members: newHouse(smiths()), Upstreams: []Upstream{{Protocol: Plain, Addresses: []netip.AddrPort{u.plain}}}}).ready(t)
	for _, name := range []string{"www.example.com.", "WWW.Example.Com.", "c1.example.com.", "nope.example.com.", "a.wild.example.com.", "example.com.", "big.example.com."} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeSOA, dns.TypeNS, dns.TypeMX} {
			m := new(dns.Msg).SetQuestion(name, qtype)
			m.SetEdns0(1232, false)
			c := dns.Client{Timeout: 5 * time.Second}
			want, _, err1 := c.Exchange(m.Copy(), u.plain.String())
			got, _, err2 := c.Exchange(m.Copy(), b.addr)
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			if want.Rcode != got.Rcode || len(want.Answer) != len(got.Answer) && !got.Truncated || want.Truncated != got.Truncated {
				t.Errorf("%s %s: unbound\n%v\nbox\n%v", name, dns.Type(qtype), want, got)
			}
		}
	}
}
