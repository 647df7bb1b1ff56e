package flows

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"hearth.alt/hwtest/browser"
	"hearth.alt/services/claimcode"
)

// ids are what persons and devices are called inside: sixteen signs of base32. Nobody should have to read one. (One
// without any digit, a few in a hundred, is not noticed.)
var ids = regexp.MustCompile(`\b[a-z2-7]{0,15}[2-7][a-z2-7]{0,15}\b`)

// idsIn lists the ids in a text.
func idsIn(text string) []string {
	var out []string
	for _, s := range ids.FindAllString(text, -1) {
		if len(s) == 16 {
			out = append(out, s)
		}
	}
	return out
}

func publicKey(t *testing.T) string {
	t.Helper()
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	fail(t, err, "making a key")
	return base64.StdEncoding.EncodeToString(k.PublicKey().Bytes())
}

// throughLoopback is a browser on the very machine the box of f runs on.
func throughLoopback(t *testing.T, f *flat) []chromedp.ExecAllocatorOption {
	t.Helper()
	return []chromedp.ExecAllocatorOption{socks(t, f.host, nil), chromedp.Flag("proxy-bypass-list", "<-loopback>")}
}

// TestHouse claims a box and lives in it: over https on the home network without scripts, where the certificate is
// the claim sheet's, and at the box itself with scripts.
func TestHouse(t *testing.T) {
	for _, tt := range []struct {
		name    string
		secure  bool
		scripts bool
	}{
		{"https without scripts", true, false},
		{"loopback with scripts", false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFlat(t, "127.0.0.1:80", "")
			at, options := "http://127.0.0.1", throughLoopback(t, f)
			if tt.secure {
				at = "https://hearth.local"
				options = []chromedp.ExecAllocatorOption{
					socks(t, f.phone, map[string]netip.Addr{"hearth.local": f.box, "study.local": f.box}), chromedp.Flag("ignore-certificate-errors", true),
				}
				compareSheet(t, f)
			}
			v := visit(t, at, options...)
			fail(t, v.Scripts(tt.scripts), "switching scripts")
			claimOpen(v, f.b.Code())
			if tt.secure {
				v.at = "https://study.local" // its name now; the session is the old name's
				v.open("/")
				signIn(v, "Ann", password)
			}
			live(t, f, v, tt.scripts, options)
			v.calm()
		})
	}
}

// compareSheet does what a careful owner does: the fingerprint that the browser shows is the claim sheet's.
func compareSheet(t *testing.T, f *flat) {
	t.Helper()
	c, err := f.phone.Dial(t.Context(), "tcp", netip.AddrPortFrom(f.box, 443).String())
	fail(t, err, "connecting")
	defer c.Close()
	s := tls.Client(c, &tls.Config{InsecureSkipVerify: true}) // the fingerprint is compared below
	fail(t, s.Handshake(), "TLS")
	code, err := claimcode.Parse(f.b.Code())
	fail(t, err, "reading the claim code")
	sheet, err := code.Sheet("")
	fail(t, err, "writing the sheet")
	print := claimcode.FingerprintOf(s.ConnectionState().PeerCertificates[0].Raw).String()
	if half := len(print) / 2; !strings.Contains(sheet, print[:half]) || !strings.Contains(sheet, print[half+1:]) {
		t.Fatalf("https shows a certificate with the fingerprint %s, which is not the sheet's", print)
	}
}

// claimOpen claims over https or at the box itself, where no seal is needed.
func claimOpen(v *visitor, code string) {
	v.t.Helper()
	v.open("/claim")
	v.press(`a[href="/claim/restore"]`)
	v.sees("h1", "comes with a later version")
	v.press("main a.main")
	v.fill("code", "7QK4-M2VX-9TRD-HC6")
	v.main()
	v.sees(".flash.act", "15 were typed")
	v.fill("code", code)
	v.main()
	v.fill("household", "Smith", "box", "Study", "owner", "Ann", "password", "password12", "language", "en")
	v.main()
	v.sees(".field.wrong", "")
	if got, _ := browser.Eval[string](v.Browser, `document.querySelector("[name=household]").value`); got != "Smith" {
		v.t.Errorf("the form forgot the household: %q", got)
	}
	v.names()
	v.main()
	words := v.words()
	v.fill("written", "yes")
	v.main()
	v.check(words)
	v.main()
	v.sees("input[name=name]", "")
}

func signIn(v *visitor, name, pass string) {
	v.t.Helper()
	v.fill("name", name, "password", pass)
	v.main()
	v.sees("main h1", "")
}

// live is what an owner does in the first weeks.
func live(t *testing.T, f *flat, v *visitor, scripts bool, options []chromedp.ExecAllocatorOption) {
	t.Helper()
	// Out, with a wrong password that is refused, and in again.
	v.open("/sessions")
	v.press(`form[action="/signout"] button`)
	v.sees(".flash", "signed out")
	v.fill("name", "Ann", "password", "not the password")
	v.main()
	v.sees(".flash.act", "")
	signIn(v, "Ann", password)

	// A laptop by its own public key, cancelled; a phone: added, looked at, paired; renamed; revoked.
	v.open("/devices/add")
	v.fill("name", "Old phone")
	v.main()
	v.sees(".qr", "")
	v.main()
	v.sees(".flash", "has not heard from")
	id := strings.Split(v.path(), "/")[2]
	phone := f.lab.Phone(f.phone, v.scan(), map[string]netip.Addr{"study.local": f.box})
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	fail(t, f.phone.Answers(ctx, inside(t, phone)), "the phone reaches the box")
	if scripts {
		v.sees("h1", "is paired") // by itself
	} else {
		v.until("the phone is paired", `fetch(location.href).then(r => r.text()).then(t => !t.includes('class="qr"'))`)
		v.main()
		v.sees("h1", "is paired")
	}
	v.open("/devices/add")
	v.fill("name", "Laptop", "key", "no key at all")
	v.main()
	v.sees(".field.wrong", "")
	v.fill("key", publicKey(t))
	v.main()
	v.sees("h1", "Put this into the app on Laptop")
	v.press("button[value=cancel]")
	v.sees(".flash", "cancelled")
	v.open("/devices/" + id)
	v.fill("name", "Kitchen phone")
	v.main()
	v.sees("h1", "Kitchen phone")
	v.press("a.danger")
	v.sees("h1", "Kitchen phone")
	v.press("button.danger")
	v.sees(".flash", "Kitchen phone")
	v.open("/devices")
	v.until("the phone is gone from the list", `!document.querySelector("main table, main .empty").textContent.includes("Kitchen phone")`)

	// A person, by link, in a browser of their own.
	v.open("/people/invite")
	v.fill("name", "Ben", "role", "member")
	v.main()
	v.sees(".once", "#")
	link := v.text(".once .code")[0]
	other := visit(t, v.at, options...)
	fail(t, other.Scripts(scripts), "switching scripts")
	u, code, ok := strings.Cut(link, "#")
	if !ok {
		t.Fatalf("the link %q has no secret behind #", link)
	}
	if !strings.HasPrefix(u, v.at) { // the link is the private network's; this browser is elsewhere
		u = v.at + "/join"
	}
	other.open(u[len(v.at):] + "#" + code)
	other.sees("input[name=code]", "")
	if scripts {
		other.until("the code came with the link", `document.querySelector("#code").value !== "" && location.hash === ""`)
	} else {
		other.fill("code", code)
	}
	other.main()
	other.sees("h1", "Ben")
	other.fill("password", "seven swans a swimming")
	other.main()
	other.sees(".flash", "Welcome, Ben")
	other.open("/people")
	other.sees("main", "Ann")
	other.calm()
	v.open("/people")
	v.sees("main table", "Ben")

	// The language is this browser's.
	v.open("/sessions")
	v.press(`.langs a[hreflang="de"]`)
	v.sees("main", "Hier abmelden")
	v.press(`.langs a[hreflang="en"]`)
	v.sees("main", "Sign out")

	// Another sign-in of Ann's, ended from here.
	other.open("/sessions")
	other.press(`form[action="/signout"] button`)
	signIn(other, "Ann", password)
	v.open("/sessions")
	v.press(`form[action="/sessions"] button.slim`)
	v.sees(".flash", "signed out")
	other.open("/devices")
	other.sees("input[name=password]", "")

	// The password; the old one is none any more.
	v.open("/sessions")
	v.fill("password", password, "new", "the cat knows the way home")
	v.press(`form[action="/password"] button`)
	v.sees(".flash", "Your password is changed")
	v.open("/devices")
	v.sees("main h1", "")
	if got := v.path(); got != "/devices" {
		t.Errorf("after the new password the browser is at %s: it lost its session", got)
	}
	other.open("/signin")
	other.fill("name", "Ann", "password", password)
	other.main()
	other.sees(".flash.act", "")

	// An app password, shown once; the certificate, which is a file.
	v.open("/apps")
	v.fill("name", "Calendar")
	v.main()
	v.sees("output", "")
	shown := v.text("output")[0]
	v.open("/apps")
	v.until("the password is not shown again", `!document.body.textContent.includes(`+quote(shown)+`)`)
	v.press(`form[action="/apps/revoke"] button`)
	v.until("no app password is left", `document.querySelector("form[action='/apps/revoke']") === null`)
	for _, kind := range []string{"pem", "der", "apple"} {
		size, err := browser.Eval[int](v.Browser, `fetch("/apps/certificate/`+kind+`").then(r => r.status === 200 && r.headers.get("Content-Disposition").startsWith("attachment") ? r.arrayBuffer().then(b => b.byteLength) : -r.status)`)
		if err != nil || size < 300 {
			t.Errorf("the certificate as %s: %d bytes, %v", kind, size, err)
		}
	}
}
