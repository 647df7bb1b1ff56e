package dns

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// keeping is a service that keeps its list in dir and whose upstream has one address for all names.
func keeping(t *testing.T, dir, address string) *Service {
	t.Helper()
	s, err := New(Config{Members: newHouse(smiths()), Open: noSockets, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range s.h.forward.own {
		e.asker = scripted{func(q *dns.Msg) *dns.Msg {
			r := new(dns.Msg).SetReply(q)
			r.Answer = []dns.RR{rr(q.Question[0].Name + " 300 IN A " + address)}
			return r
		}}
	}
	return s
}

// The name of one's own NAS points home once the household says so, and no more when it takes that back, whatever the
// cache held; and over a restart.
func TestNamesMayPointHome(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dns")
	s := keeping(t, dir, "192.168.1.30")
	ask := func(name, want string, ede int) {
		t.Helper()
		q := new(dns.Msg).SetQuestion(name, dns.TypeA)
		q.SetEdns0(1232, false)
		r, err := s.Exchange(t.Context(), q)
		if err != nil || firstA(r) != want || edeOf(r) != ede {
			t.Errorf("%s: %v, %v; want %s", name, r, err, want)
		}
	}
	ask("nas.example.com.", "NOERROR", filterEDE)
	if d, err := s.Allow(" *.NAS.Example.com. "); err != nil || d != "nas.example.com" {
		t.Errorf("allowed %q, %v", d, err)
	}
	if _, err := s.Allow("nas.example.com"); err != nil {
		t.Errorf("allowed twice: %v", err)
	}
	ask("nas.example.com.", "192.168.1.30", 0)
	ask("A.nas.example.com.", "192.168.1.30", 0)
	ask("example.com.", "NOERROR", filterEDE)
	ask("evilnas.example.com.", "NOERROR", filterEDE)
	s = keeping(t, dir, "192.168.1.30")
	if l := s.Allowed(); !slices.Equal(l, []string{"nas.example.com"}) {
		t.Errorf("after a restart: %v", l)
	}
	ask("nas.example.com.", "192.168.1.30", 0)
	if _, err := s.Disallow("NAS.example.com"); err != nil {
		t.Error(err)
	}
	ask("nas.example.com.", "NOERROR", filterEDE)
	if _, err := s.Disallow("nas.example.com"); !errors.Is(err, ErrNotAllowed) {
		t.Errorf("taken back twice: %v", err)
	}
	if l := keeping(t, dir, "192.168.1.30").Allowed(); len(l) != 0 {
		t.Errorf("taken back, and after a restart: %v", l)
	}
}

// An answer that is under way while the household takes a name back is not kept.
func TestNoAnswerOutlivesItsPermission(t *testing.T) {
	s := keeping(t, "", "192.168.1.30")
	if _, err := s.Allow("nas.example.com"); err != nil {
		t.Fatal(err)
	}
	first := true
	s.h.forward.own[0].asker = scripted{func(q *dns.Msg) *dns.Msg {
		if first {
			first = false
			if _, err := s.Disallow("nas.example.com"); err != nil {
				t.Error(err)
			}
			if _, err := s.Allow("other.example.com"); err != nil { // and back, while it is judged
				t.Error(err)
			}
		}
		r := new(dns.Msg).SetReply(q)
		r.Answer = []dns.RR{rr(q.Question[0].Name + " 300 IN A 192.168.1.30")}
		return r
	}}
	q := new(dns.Msg).SetQuestion("nas.example.com.", dns.TypeA)
	if _, err := s.Exchange(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if n, _ := s.h.cache.size(); n != 0 {
		t.Errorf("%d answers are kept that were judged while the list changed", n)
	}
}

// A domain below which strangers have names of their own would let any of them in.
func TestDomainsThatAreNotOnesOwn(t *testing.T) {
	s := keeping(t, "", "192.168.1.30")
	for domain, want := range map[string]error{
		"": ErrNoDomain, ".": ErrNoDomain, "com": ErrNoDomain, "printer": ErrNoDomain, "192.168.1.1": ErrNoDomain, "fd00::1": ErrNoDomain,
		"https://nas.example.com/": ErrNoDomain, "a..example.com": ErrNoDomain, "nas example.com": ErrNoDomain, "*": ErrNoDomain,
		strings.Repeat("a.", 127) + "com": ErrNoDomain, strings.Repeat("a", 64) + ".com": ErrNoDomain, "*.*.example.com": ErrNoDomain,
		"co.uk": ErrSharedDomain, "*.duckdns.org": ErrSharedDomain, "DuckDNS.org": ErrSharedDomain, "smith.duckdns.org": nil, "nip.io": ErrSharedDomain,
		"0x7f.1": ErrNoDomain, "127.1": ErrNoDomain, "a.0x7f": ErrNoDomain, "foo.local": ErrNoDomain, "hearth.alt": ErrNoDomain, "smith.home.arpa": ErrNoDomain, "foo.onion": ErrNoDomain,
		"example.co.uk": nil, "büro.example.de": nil,
	} {
		if _, err := s.Allow(domain); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", domain, err, want)
		}
	}
	if l := s.Allowed(); !slices.Equal(l, []string{"example.co.uk", "smith.duckdns.org", "xn--bro-hoa.example.de"}) {
		t.Errorf("allowed: %q", l)
	}
	for i := range maxHomeward - 3 {
		if _, err := s.Allow(fmt.Sprintf("n%d.example.com", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Allow("more.example.com"); !errors.Is(err, ErrManyDomains) {
		t.Errorf("one more than %d: %v", maxHomeward, err)
	}
}

// An update whose public suffix list knew a listed domain emptied the whole list, and the domain could not be removed.
func TestListedDomainBecomesASuffix(t *testing.T) {
	dir := t.TempDir()
	const file = `{"version":1,"domains":["duckdns.org","nas.example.com"]}`
	if err := os.WriteFile(filepath.Join(dir, "homeward.json"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	s := keeping(t, dir, "192.168.1.30")
	s.setPhase(phaseOpen, nil)
	if h := s.Health(); !h.OK || !slices.Equal(s.Allowed(), []string{"duckdns.org", "nas.example.com"}) {
		t.Errorf("%v, %+v", s.Allowed(), h)
	}
	if err := keeping(t, "", "192.168.1.30").Restore(t.Context(), strings.NewReader(file)); err != nil {
		t.Errorf("from a backup: %v", err)
	}
	if _, err := s.Disallow("duckdns.org"); err != nil || !slices.Equal(s.Allowed(), []string{"nas.example.com"}) {
		t.Errorf("removed: %v, %v", s.Allowed(), err)
	}
	if _, err := s.Allow("duckdns.org"); !errors.Is(err, ErrSharedDomain) {
		t.Errorf("allowed again: %v", err)
	}
}

// What the list keeps is read again as it was written, whatever was typed or lies there.
func FuzzHomeward(f *testing.F) {
	for _, s := range []string{" *.NAS.Example.com. ", "büro.example.de", "co.uk", "a..b", "1。2。3。4", `{"version":1,"domains":["duckdns.org","nas.example.com"]}`, `{"version":1}`} {
		f.Add([]byte(s))
	}
	same := func(t *testing.T, list []string) {
		b, err := json.Marshal(homewardFile{1, list})
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseHomeward(b); err != nil || !slices.Equal(again, list) {
			t.Errorf("%q is read as %q, %v", list, again, err)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if list, err := parseHomeward(b); err == nil {
			same(t, list)
		} else if list != nil {
			t.Errorf("%q with %v", list, err)
		}
		if d, err := canonicalDomain(string(b)); err == nil {
			same(t, []string{d})
		} else if d != "" {
			t.Errorf("%q with %v", d, err)
		}
	})
}

// A damaged list is set aside and said, names are answered without it, and the next change makes it whole; one that
// only takes a name away once was refused, so that whoever needs none could not end it.
func TestDamagedHomeward(t *testing.T) {
	for _, content := range []string{"", "{", `{"version":2,"domains":[]}`, `{"version":1,"domains":["com"]}`, `{"version":1,"domains":["A.example.com"]}`} {
		for left, change := range []func(*Service) (string, error){
			func(s *Service) (string, error) { return s.Disallow("nas.example.com") },
			func(s *Service) (string, error) { return s.Allow("nas.example.com") },
		} {
			dir := t.TempDir()
			path := filepath.Join(dir, "homeward.json")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			s := keeping(t, dir, "192.168.1.30")
			s.setPhase(phaseOpen, nil)
			if h := s.Health(); h.OK || !h.Ready || h.Message.Key != "dns.homeward-damaged" || len(s.Allowed()) != 0 {
				t.Errorf("%q: %+v with %v", content, h, s.Allowed())
			}
			if d, err := change(s); err != nil || d != "nas.example.com" {
				t.Errorf("%q: %q, %v", content, d, err)
			}
			aside, err := os.ReadFile(path + ".damaged-1")
			again := keeping(t, dir, "192.168.1.30")
			again.setPhase(phaseOpen, nil)
			if h := s.Health(); !h.OK || !again.Health().OK || err != nil || string(aside) != content || len(again.Allowed()) != left {
				t.Errorf("%q: after a change %+v, aside %q, %v", content, h, aside, err)
			}
		}
	}
}

func TestHomewardSnapshot(t *testing.T) {
	one, two := keeping(t, "", "192.168.1.30"), keeping(t, t.TempDir(), "192.168.1.30")
	for _, d := range []string{"b.example.com", "a.example.com"} {
		if _, err := one.Allow(d); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := two.Allow("c.example.com"); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := one.Snapshot(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if err := two.Restore(t.Context(), strings.NewReader(`{"version":1,"domains":["com"]}`)); err == nil || len(two.Allowed()) != 1 {
		t.Errorf("a bad snapshot: %v, %v", err, two.Allowed())
	}
	if err := two.Restore(t.Context(), &b); err != nil || !slices.Equal(two.Allowed(), []string{"a.example.com", "b.example.com"}) {
		t.Errorf("restored %v, %v", two.Allowed(), err)
	}
}
