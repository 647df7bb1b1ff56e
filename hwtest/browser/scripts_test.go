package browser

import (
	"crypto/ecdh"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"hearth.alt/webui"
	"hearth.alt/webui/assets"
	"hearth.alt/webui/house"
	"hearth.alt/webui/webtest"
)

// scene returns a copy of the scene called name.
func scene(t *testing.T, name string) webtest.Scene {
	t.Helper()
	for _, s := range webtest.Scenes() {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("there is no scene %s", name)
	return webtest.Scene{}
}

// serve plays one scene at every address, with the assets and the policy.
func serve(t *testing.T, s *atomic.Pointer[webtest.Scene]) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+assets.Prefix, assets.ServeHTTP)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", webui.ContentSecurityPolicy)
		s.Load().ServeHTTP(w, r)
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv
}

func until(t *testing.T, b *Browser, what, script string) {
	t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for {
		if ok, err := Eval[bool](b, script); err == nil && ok {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("never so: %s (%v)", what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestPairingTurnsByItself waits on the page of a code until the device has said hello: the page says so without being
// asked, keeps what the reader had opened while nothing changed, and stops asking afterwards.
func TestPairingTurnsByItself(t *testing.T) {
	var now atomic.Pointer[webtest.Scene]
	waiting := scene(t, "pair")
	now.Store(&waiting)
	var polls atomic.Int32
	srv := serve(t, &now)
	inner := srv.Config.Handler
	srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("HX-Request") == "true" {
			polls.Add(1)
		}
		inner.ServeHTTP(w, r)
	})
	b := Start(t)
	if err := b.Open(Look{360, false}, srv.URL+waiting.Path); err != nil {
		t.Fatal(err)
	}
	if _, err := Eval[bool](b, `document.querySelector("details").open = true`); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(40 * time.Second)
	for polls.Load() < 2 {
		if time.Now().After(deadline) {
			t.Fatal("the page does not look by itself")
		}
		time.Sleep(50 * time.Millisecond)
	}
	if open, err := Eval[bool](b, `document.querySelector("details").open && document.querySelector(".qr") !== null`); err != nil || !open {
		t.Errorf("looking closed what the reader had open (%v)", err)
	}
	done := scene(t, "pair-done")
	done.House.ThePairing.State = house.PairDone
	now.Store(&done)
	until(t, b, "the page says that the phone is paired", `document.querySelector("h1").textContent.includes("is paired") && document.querySelector(".qr") === null`)
	until(t, b, "the title says so too", `document.title.includes("is paired")`)
	n := polls.Load()
	time.Sleep(4 * time.Second)
	if polls.Load() > n+1 {
		t.Error("the page goes on asking after the answer")
	}
	for _, c := range b.Complaints() {
		t.Errorf("the browser says: %s", c)
	}
}

// TestFragment opens the page of an invitation by its link: the code is in the field, and no longer in the address.
func TestFragment(t *testing.T) {
	// An invitation's code is base64 of URLs: one with "_" in it stayed in the address once.
	for name, path := range map[string]string{"join": "/join", "claim": "/claim"} {
		code := map[string]string{"join": "O59JeOs0j0ow2t8oNzm7QML3B_8B3-Bj8ThGoLUrPOs", "claim": "7QK4-M2VX-9TRD-HC6P"}[name]
		var now atomic.Pointer[webtest.Scene]
		s := scene(t, name)
		now.Store(&s)
		srv := serve(t, &now)
		b := Start(t)
		if err := b.Open(Look{360, false}, srv.URL+path+"#"+code); err != nil {
			t.Fatal(err)
		}
		until(t, b, "the code is in the field and not in the address",
			`document.querySelector("#code").value === "`+code+`" && location.hash === ""`)
		if name == "join" { // 43 characters that nobody has to type were shown, cut off
			until(t, b, "the code is not shown, and one button is", `document.querySelector("h1").textContent === "This link is for you." && !document.querySelector("#code").checkVisibility() &&
				[...document.querySelectorAll("main .button")].filter(e => e.checkVisibility()).length === 1 && document.activeElement.type === "submit"`)
		}
		for _, c := range b.Complaints() {
			t.Errorf("the browser says: %s", c)
		}
	}
}

// TestLanguageKeepsTheCode names the bug: another language emptied the field of the code, and after "Welcome" too.
func TestLanguageKeepsTheCode(t *testing.T) {
	const code = "O59JeOs0j0ow2t8oNzm7QML3B_8B3-Bj8ThGoLUrPOs"
	var now atomic.Pointer[webtest.Scene]
	s := scene(t, "join")
	now.Store(&s)
	srv := serve(t, &now)
	b := Start(t)
	press := func() {
		t.Helper()
		if _, err := Eval[bool](b, `(() => { document.querySelector(".langs a[lang=de]").click(); return true; })()`); err != nil {
			t.Fatal(err)
		}
		until(t, b, "the code is in the field", `document.documentElement.lang === "de" && document.querySelector("input#code")?.value === "`+code+`" && location.hash === ""`)
	}
	if err := b.Open(Look{360, false}, srv.URL+"/join#"+code); err != nil {
		t.Fatal(err)
	}
	until(t, b, "the code is in the field", `document.querySelector("#code").value === "`+code+`" && location.hash === ""`)
	press()
	welcome := scene(t, "join-welcome")
	now.Store(&welcome)
	if err := b.Open(Look{360, false}, srv.URL+"/join"); err != nil {
		t.Fatal(err)
	}
	if _, err := Eval[bool](b, `(() => { document.querySelector("[name=code]").value = "`+code+`"; return true; })()`); err != nil {
		t.Fatal(err)
	}
	now.Store(&s)
	press()
	for _, c := range b.Complaints() {
		t.Errorf("the browser says: %s", c)
	}
}

// TestSentOnce names the bug: a form whose answer takes seconds gave no sign of it, and was sent again by whoever pressed
// again.
func TestSentOnce(t *testing.T) {
	HaveAxe(t)
	var now atomic.Pointer[webtest.Scene]
	s := scene(t, "signin")
	now.Store(&s)
	srv := serve(t, &now)
	b := Start(t)
	if err := b.Open(Look{320, false}, srv.URL+s.Path); err != nil {
		t.Fatal(err)
	}
	// What would be sent is counted and held back: while a page is on its way, the browser runs no script of the test.
	const press = `(() => { window.sent = 0; addEventListener("submit", e => { if (!e.defaultPrevented) sent++; e.preventDefault(); });
		for (const e of document.querySelectorAll("main form[method=post] input")) e.value = "Ann";
		const f = document.querySelector("main form[method=post]"), b = f.querySelector("button"); b.focus(); f.requestSubmit(b); f.requestSubmit(b); return true; })()`
	const quiet = `document.querySelector("[aria-busy], [aria-disabled]") === null && document.querySelector("form [role=status]") === null`
	if _, err := Eval[bool](b, press); err != nil {
		t.Fatal(err)
	}
	until(t, b, "the page says that the box is at work", `document.querySelector("form[aria-busy] [role=status]")?.textContent.includes("The box is at work")
		&& document.activeElement.getAttribute("aria-disabled") === "true"`)
	wide, err := b.Overflow()
	if err != nil || len(wide) > 0 {
		t.Errorf("sticks out: %v %v", wide, err)
	}
	if bad, err := b.Axe(); err != nil || len(bad) > 0 {
		t.Errorf("axe: %v %v", bad, err)
	}
	if n, err := Eval[int](b, `sent`); err != nil || n != 1 {
		t.Errorf("sent %d times, %v", n, err)
	}
	// The browser takes the page out of its memory when the reader goes back.
	if _, err := Eval[bool](b, `dispatchEvent(new PageTransitionEvent("pageshow", {persisted: true}))`); err != nil {
		t.Fatal(err)
	}
	until(t, b, "a page that comes back is as it was", quiet)
	for _, c := range b.Complaints() {
		t.Errorf("the browser says: %s", c)
	}
}

// TestSealSaysWhy names the bug: a box with its hands full blamed wrong tries on whoever opened the sealed way.
func TestSealSaysWhy(t *testing.T) {
	var now atomic.Pointer[webtest.Scene]
	s := scene(t, "landing-new")
	now.Store(&s)
	srv := serve(t, &now)
	var refusal atomic.Pointer[string]
	inner := srv.Config.Handler
	srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/sealed/hello" {
			inner.ServeHTTP(w, r)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, *refusal.Load())
	})
	b := Start(t)
	if err := b.Open(Look{360, false}, srv.URL+s.Path); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ answer, want string }{{`{"code":"busy","wait":2}`, "wrong tries"}, {`{"code":"full"}`, "hands full"}} {
		refusal.Store(&tt.answer)
		if _, err := Eval[bool](b, `document.querySelector("#code").value = "7QK4-M2VX-9TRD-HC6P", document.querySelector("#seal").requestSubmit(), true`); err != nil {
			t.Fatal(err)
		}
		until(t, b, "after "+tt.answer+" it says: "+tt.want,
			`!document.querySelector("#seal-error").hidden && document.querySelector("#seal-error").textContent.includes("`+tt.want+`")`)
	}
}

func key(t *testing.T, first byte) *ecdh.PrivateKey {
	t.Helper()
	b := make([]byte, 32)
	for i := range b {
		b[i] = first + byte(i)
	}
	k, err := ecdh.X25519().NewPrivateKey(b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestNoble compares the bundle that the sealed claim is built on with published vectors, SHA-256 (FIPS 180-4, "abc"),
// HKDF (RFC 5869, test case 1), HMAC (RFC 4231, test case 2) and ChaCha20-Poly1305 (RFC 8439, section 2.8.2), and its
// X25519 with Go's.
func TestNoble(t *testing.T) {
	var now atomic.Pointer[webtest.Scene]
	s := scene(t, "claim")
	now.Store(&s)
	srv := serve(t, &now)
	b := Start(t)
	if err := b.Do(chromedp.Navigate(srv.URL + "/claim")); err != nil {
		t.Fatal(err)
	}
	mine, theirs := key(t, 0x40), key(t, 0x80)
	shared, err := mine.ECDH(theirs.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	script := `import("` + assets.Path("noble.js") + `").then(n => {
		const un = h => Uint8Array.from(h.match(/../g) || [], x => parseInt(x, 16));
		const hex = b => Array.from(b, x => x.toString(16).padStart(2, "0")).join("");
		const text = s => new TextEncoder().encode(s);
		const key = un("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
		const aead = n.chacha20poly1305(key, un("070000004041424344454647"), un("50515253c0c1c2c3c4c5c6c7"));
		const sealed = aead.encrypt(text("Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."));
		return [
			hex(n.sha256(text("abc"))),
			hex(n.x25519.getPublicKey(un("` + hex.EncodeToString(mine.Bytes()) + `"))),
			hex(n.x25519.getSharedSecret(un("` + hex.EncodeToString(mine.Bytes()) + `"), un("` + hex.EncodeToString(theirs.PublicKey().Bytes()) + `"))),
			hex(n.hkdf(n.sha256, un("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"), un("000102030405060708090a0b0c"), un("f0f1f2f3f4f5f6f7f8f9"), 42)),
			hex(n.hmac(n.sha256, text("Jefe"), text("what do ya want for nothing?"))),
			hex(sealed.slice(-16)),
		].join(" ");
	})`
	got, err := Eval[string](b, script)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		hex.EncodeToString(mine.PublicKey().Bytes()), hex.EncodeToString(shared),
		"3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
		"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
		"1ae10b594f09e26a7e902ecbd0600691",
	}
	for i, g := range strings.Fields(got) {
		if g != want[i] {
			t.Errorf("vector %d: %s, want %s", i, g, want[i])
		}
	}
	for _, c := range b.Complaints() {
		t.Errorf("the browser says: %s", c)
	}
}

// TestInvitationOfABox opens the claim by the link of a box's invitation: it is out of the address at once, and stands in
// the field of the page that asks for it, after the claim code.
func TestInvitationOfABox(t *testing.T) {
	invitation := "hearth:box?" + strings.Repeat("aZ_-9", 50)
	for _, c := range []struct{ scene, path string }{{"claim", "/claim"}, {"landing-join", "/join"}} {
		var now atomic.Pointer[webtest.Scene]
		s := scene(t, c.scene)
		now.Store(&s)
		srv := serve(t, &now)
		b := Start(t)
		if err := b.Open(Look{360, false}, srv.URL+c.path+"#"+invitation); err != nil {
			t.Fatal(err)
		}
		until(t, b, c.scene+": the invitation is not in the address", `location.hash === "" && document.querySelector("#code").value === ""`)
		next := scene(t, "claim-join")
		now.Store(&next)
		if err := b.Open(Look{360, false}, srv.URL+"/claim/join"); err != nil {
			t.Fatal(err)
		}
		until(t, b, c.scene+": the invitation is in its field", `document.querySelector("#link").value === "`+invitation+`"`)
		for _, c := range b.Complaints() {
			t.Errorf("the browser says: %s", c)
		}
	}
}
