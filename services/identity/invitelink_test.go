package identity

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth.alt/services"
)

func anInvite() InviteLink {
	return InviteLink{
		Kind: InviteBox, Inviter: services.PeerID(bytes.Repeat([]byte{0xa1}, 32)), Root: ed25519.PublicKey(bytes.Repeat([]byte{0xb2}, 32)),
		Name: "Müller", Secret: InviteSecret(bytes.Repeat([]byte{0xc3}, 16)), Expires: time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC),
		Candidates: []netip.AddrPort{netip.MustParseAddrPort("192.168.1.7:41641"), netip.MustParseAddrPort("[fd00::7]:41641")},
	}
}

func compareLinks(t *testing.T, got, want InviteLink) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }), cmp.Comparer(InviteSecret.Equal)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestInviteLinkThereAndBack(t *testing.T) {
	friend := anInvite()
	friend.Kind, friend.Candidates = InviteFriend, nil
	long := anInvite()
	long.Name, long.Candidates = strings.Repeat("ä", 127), nil
	for i := range MaxCandidates {
		long.Candidates = append(long.Candidates, netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), uint16(i+1)))
	}
	for _, l := range []InviteLink{anInvite(), friend, long} {
		text, err := l.Text()
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range []string{text, "  " + text + "\r\n", text[:40] + "\n" + text[40:], "http://hearth.local/join#" + text, "https://hearth.local/join#" + text} {
			got, err := ParseInviteLink(form)
			if err != nil {
				t.Fatalf("%q: %v", form, err)
			}
			compareLinks(t, got, l)
		}
	}
}

// The bytes are those of the description: a change to them is a new version.
func TestInviteLinkBytes(t *testing.T) {
	text, err := anInvite().Text()
	if err != nil {
		t.Fatal(err)
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(text, "hearth:box?"))
	if err != nil {
		t.Fatal(err)
	}
	want := "0101" + strings.Repeat("a1", 32) + strings.Repeat("b2", 32) + "000000006b01f840" + strings.Repeat("c3", 16) +
		"07" + "4dc3bc6c6c6572" + "02" + "04c0a80107a2a9" + "06fd000000000000000000000000000007a2a9"
	if got := fmt.Sprintf("%x", b[:len(b)-4]); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestInviteLinkRefuses(t *testing.T) {
	text, _ := anInvite().Text()
	raw, _ := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(text, "hearth:box?"))
	newer := bytes.Clone(raw)
	newer[0] = 2
	for name, c := range map[string]struct{ text, code string }{
		"nothing":           {"", "link-invalid"},
		"a claim code":      {"7QK4-M2VX-9TRD-HC6P", "link-invalid"},
		"another scheme":    {strings.Replace(text, "hearth:", "heart:", 1), "link-invalid"},
		"another kind":      {strings.Replace(text, ":box?", ":friend?", 1), "link-invalid"},
		"a letter changed":  {text[:60] + "AB" + text[62:], "link-invalid"},
		"cut":               {text[:len(text)-5], "link-invalid"},
		"a byte more":       {"hearth:box?" + base64.RawURLEncoding.EncodeToString(append(bytes.Clone(raw), 0)), "link-invalid"},
		"padding":           {text + "=", "link-invalid"},
		"much too long":     {text + strings.Repeat("A", 4096), "link-invalid"},
		"of a newer Hearth": {"hearth:box?" + base64.RawURLEncoding.EncodeToString(newer), "link-newer"},
	} {
		got, err := ParseInviteLink(c.text)
		var p *services.Problem
		if !errors.As(err, &p) || p.Code != c.code || p.Field != "link" {
			t.Errorf("%s: %v", name, err)
		}
		compareLinks(t, got, InviteLink{})
	}
}

func TestInviteLinkMustBeWhole(t *testing.T) {
	for name, change := range map[string]func(*InviteLink){
		"no kind":           func(l *InviteLink) { l.Kind = "" },
		"no inviter":        func(l *InviteLink) { l.Inviter = services.PeerID{} },
		"no root":           func(l *InviteLink) { l.Root = nil },
		"no name":           func(l *InviteLink) { l.Name = "" },
		"no end":            func(l *InviteLink) { l.Expires = time.Time{} },
		"an address twice":  func(l *InviteLink) { l.Candidates[1] = l.Candidates[0] },
		"no port":           func(l *InviteLink) { l.Candidates[0] = netip.MustParseAddrPort("10.0.0.1:0") },
		"multicast":         func(l *InviteLink) { l.Candidates[0] = netip.MustParseAddrPort("224.0.0.251:5353") },
		"a zone":            func(l *InviteLink) { l.Candidates[0] = netip.MustParseAddrPort("[fe80::1%eth0]:1") },
		"IPv4 within IPv6":  func(l *InviteLink) { l.Candidates[0] = netip.MustParseAddrPort("[::ffff:10.0.0.1]:1") },
		"too many":          func(l *InviteLink) { l.Candidates = make([]netip.AddrPort, 9) },
		"a line in a name":  func(l *InviteLink) { l.Name = "a\nb" },
		"a name of 256":     func(l *InviteLink) { l.Name = strings.Repeat("a", 256) },
		"a name of no text": func(l *InviteLink) { l.Name = "\xff" },
	} {
		l := anInvite()
		change(&l)
		if text, err := l.Text(); err == nil {
			t.Errorf("%s: %s", name, text)
		}
	}
}

func TestInviteSecretIsNeverPrinted(t *testing.T) {
	l := anInvite()
	j, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(l), fmt.Sprintf("%+v %#v %x %d %s", l, l.Secret, l.Secret, l.Secret, l.Secret), string(j)} {
		if !strings.Contains(s, "[redacted]") || strings.Contains(s, "c3c3") || strings.Contains(s, "195 195") {
			t.Error(s)
		}
	}
}

func FuzzInviteLink(f *testing.F) {
	text, _ := anInvite().Text()
	f.Add(text)
	f.Add("http://hearth.local/join#" + text)
	f.Add("hearth:friend?AQ")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseInviteLink(text)
		if err != nil {
			if l.Kind != "" || l.Candidates != nil {
				t.Fatal("half a link")
			}
			return
		}
		again, err := l.Text()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(strings.Join(strings.Fields(text), ""), again) {
			t.Fatalf("two forms of one link: %q and %q", text, again)
		}
	})
}
