package dns

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hearth.alt/services"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestZoneGolden(t *testing.T) {
	got := buildZones(smiths()).text()
	path := filepath.Join("testdata", "zone.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("zone (-want +got):\n%s", d)
	}
}

func TestLocalAnswers(t *testing.T) {
	z := buildZones(smiths())
	const no, nothing, forward = "NXDOMAIN", "nothing", "forward"
	for _, c := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"smith.home.arpa.", dns.TypeA, "10.7.8.1"},
		{"Smith.Home.ARPA.", dns.TypeAAAA, "fd12:3456:789a::1"},
		{"smith.home.arpa.", dns.TypeNS, "kitchen.smith.home.arpa."},
		{"smith.home.arpa.", dns.TypeMX, nothing},
		{"kitchen.smith.home.arpa.", dns.TypeA, "10.7.8.1"},
		{"attic.smith.home.arpa.", dns.TypeA, "10.7.8.2"}, // the box, not Jörg's device of that name
		{"attic.jorg-u.smith.home.arpa.", dns.TypeA, "10.7.8.13"},
		{"bens-phone.smith.home.arpa.", dns.TypeA, "10.7.8.10"},
		{"bens-phone.ben.smith.home.arpa.", dns.TypeAAAA, "fd12:3456:789a::10"},
		{"laptop.smith.home.arpa.", dns.TypeA, no}, // two have it
		{"laptop.ben.smith.home.arpa.", dns.TypeA, "10.7.8.11"},
		{"laptop.ben.smith.home.arpa.", dns.TypeAAAA, nothing},
		{"ben.smith.home.arpa.", dns.TypeA, nothing}, // between two names
		{"neu.smith.home.arpa.", dns.TypeA, no},      // not scanned yet
		{"x.kitchen.smith.home.arpa.", dns.TypeA, no},
		{"10.8.7.10.in-addr.arpa.", dns.TypePTR, "bens-phone.ben.smith.home.arpa."},
		{"1.8.7.10.in-addr.arpa.", dns.TypePTR, "kitchen.smith.home.arpa."},
		{"200.8.7.10.in-addr.arpa.", dns.TypePTR, no},
		{"smith.home.arpa.", dns.TypeANY, `"RFC8482" ""`},
		{"other.home.arpa.", dns.TypeA, no}, {"home.arpa.", dns.TypeA, nothing}, {"home.arpa.", dns.TypeDS, forward},
		{"smith.home.arpa.", dns.TypeDS, nothing},
		{"printer.local.", dns.TypeA, no}, {"x.hearth.alt.", dns.TypeA, no}, {"x.onion.", dns.TypeA, no}, {"x.invalid.", dns.TypeA, no},
		{"x.test.", dns.TypeA, no}, {"x.internal.", dns.TypeA, no},
		{"localhost.", dns.TypeA, "127.0.0.1"}, {"a.localhost.", dns.TypeAAAA, "::1"}, {"localhost.", dns.TypeMX, nothing},
		{"_dns.resolver.arpa.", dns.TypeSVCB, nothing}, {"resolver.arpa.", dns.TypeSOA, nothing},
		{"use-application-dns.net.", dns.TypeA, no},
		{"1.1.168.192.in-addr.arpa.", dns.TypePTR, no}, {"1.1.20.172.in-addr.arpa.", dns.TypePTR, no}, {"1.1.100.100.in-addr.arpa.", dns.TypePTR, no},
		{"1.0.0.127.in-addr.arpa.", dns.TypePTR, no}, {"10.in-addr.arpa.", dns.TypeSOA, "10.in-addr.arpa. nobody.invalid. 1 3600 1200 604800 60"},
		{"1.0.d.f.ip6.arpa.", dns.TypePTR, no}, {"1.8.e.f.ip6.arpa.", dns.TypePTR, no},
		{"1.1.33.172.in-addr.arpa.", dns.TypePTR, forward}, {"8.8.8.8.in-addr.arpa.", dns.TypePTR, forward},
		{"example.com.", dns.TypeA, forward}, {"home.arpa.example.", dns.TypeA, forward}, {"xlocal.", dns.TypeA, forward}, {".", dns.TypeNS, forward},
	} {
		m := z.answer(dns.Question{Name: c.name, Qtype: c.qtype, Qclass: dns.ClassINET})
		got := forward
		switch {
		case m == nil:
		case m.Rcode == dns.RcodeNameError:
			got = no
		case len(m.Answer) == 0:
			got = nothing
		default:
			r := m.Answer[0]
			got = strings.TrimSpace(strings.TrimPrefix(r.String(), r.Header().String()))
			if r.Header().Name != c.name {
				t.Errorf("%s: answered as %s", c.name, r.Header().Name)
			}
		}
		if got != c.want {
			t.Errorf("%s %s is %q, want %q", c.name, dns.Type(c.qtype), got, c.want)
		}
		if m != nil && len(m.Answer) == 0 && (len(m.Ns) != 1 || m.Ns[0].Header().Rrtype != dns.TypeSOA || m.Ns[0].Header().Ttl != localTTL) {
			t.Errorf("%s: a negative answer without SOA: %v", c.name, m)
		}
	}
}

func TestUnclaimedHasNoZone(t *testing.T) {
	if text := buildZones(&services.Membership{}).text(); text != "\n" {
		t.Errorf("zone of nobody: %s", text)
	}
}

func TestReverseApex(t *testing.T) {
	for in, want := range map[string]string{
		"10.7.8.0/24": "8.7.10.in-addr.arpa.", "fd12:3456:789a::/48": "a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa.", "10.0.0.0/20": "", "fd00::/47": "",
	} {
		if got := reverseApex(netip.MustParsePrefix(in)); got != want {
			t.Errorf("%s is %q, want %q", in, got, want)
		}
	}
}

func FuzzLabelOf(f *testing.F) {
	for _, s := range []string{"Ben's phone", "Jürgen", "手机", "!!", strings.Repeat("ä-", 60), "xn--a", "--"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l := labelOf(s)
		if l == "" {
			return
		}
		name := l + ".smith.home.arpa."
		if _, ok := dns.IsDomainName(name); !ok || len(l) > 63 || l != strings.ToLower(l) || strings.ContainsAny(l, ". \\") {
			t.Errorf("%q became %q", s, l)
		}
		if _, err := dns.PackDomainName(name, make([]byte, 300), 0, nil, false); err != nil {
			t.Errorf("%q became %q: %v", s, l, err)
		}
	})
}
