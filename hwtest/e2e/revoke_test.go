package e2e

import (
	"bufio"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	_ "modernc.org/sqlite" // to plant the one kind of credential that no page makes yet

	"hearth.alt/hwtest/box"
	"hearth.alt/hwtest/netlab"
	"hearth.alt/services/account"
)

// within5 is the promise of DESIGN.md, section 4.
const within5 = 5 * time.Second

// credential is something that lets somebody in, and how to see that it does.
type credential struct {
	kind string
	what string
	use  func() error // nil while it lets in
}

// peerKind is the credential that is no row of account's: the device's key in the tunnel.
const peerKind = "tunnel-peer"

// tried remembers which kinds were tried.
type tried map[string]bool

// die wants that all live now and are dead within five seconds of act's end, and that they stay dead.
func (tr tried) die(t *testing.T, act func(), all ...credential) {
	t.Helper()
	for _, c := range all {
		tr[c.kind] = true
		within(t, 5*time.Second, fmt.Sprintf("before: %s (%s)", c.what, c.kind), c.use)
	}
	act()
	began := time.Now()
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() {
			for c.use() == nil {
				if time.Since(began) > within5 {
					t.Errorf("%s (%s) still lets in after %v", c.what, c.kind, within5)
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
			t.Logf("%s (%s): dead after %v", c.what, c.kind, time.Since(began).Round(time.Millisecond))
			time.Sleep(time.Second)
			if c.use() == nil {
				t.Errorf("%s (%s) came back to life", c.what, c.kind)
			}
		})
	}
	wg.Wait()
}

// live wants that these still let in.
func live(t *testing.T, all ...credential) {
	t.Helper()
	for _, c := range all {
		within(t, 5*time.Second, c.what+" was lost too", c.use)
	}
}

// session is a signed-in browser's cookie.
func session(b *browser, what string) credential {
	return credential{string(account.KindSession), what, func() error {
		resp, _, err := b.peek("GET", "/sessions", nil)
		if err == nil && resp.StatusCode != 200 {
			err = errors.New(resp.Status)
		}
		return err
	}}
}

// peek is try without keeping what cookies the answer sets.
func (b *browser) peek(method, path string, form url.Values) (*http.Response, string, error) {
	other := *b
	other.cookies = map[string]string{}
	for k, v := range b.cookies {
		other.cookies[k] = v
	}
	return other.try(method, path, form)
}

func passwordOf(h *home, from *netlab.Host, name string) credential {
	return credential{string(account.KindPassword), name + "'s password", func() error {
		b := h.browser(from, "https://"+boxAt4)
		resp, _, err := b.try("POST", "/signin", url.Values{"name": {name}, "password": {password}})
		if err == nil && resp.StatusCode != 303 {
			err = errors.New(resp.Status)
		}
		return err
	}}
}

// bearing asks the API with a credential in its header.
func bearing(h *home, from *netlab.Host, kind account.Kind, what string, set func(*http.Request)) credential {
	client := h.browser(from, "").client
	return credential{string(kind), what, func() error {
		r, err := http.NewRequest("GET", "https://"+boxAt4+"/api/v1/devices", nil)
		if err != nil {
			return err
		}
		set(r)
		resp, err := client.Do(r)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			return errors.New(resp.Status)
		}
		return nil
	}}
}

// appPassword makes one on the page of apps.
func appPassword(b *browser) string {
	b.t.Helper()
	b.post("/apps", url.Values{"name": {"Calendar"}}, 303)
	found := regexp.MustCompile(`(?:[a-z2-7]{4}-){6}[a-z2-7]{4}`).FindString(b.get("/apps", 200))
	if found == "" {
		b.t.Fatal("the page shows no app password")
	}
	return found
}

// flow is an established TCP connection through the tunnel that goes to and fro.
func flow(t *testing.T, what string, from *netlab.Host, to netip.AddrPort, say func(net.Conn, *bufio.Reader) error) credential {
	t.Helper()
	c, err := from.Dial(limit(t, 10*time.Second), "tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	r := bufio.NewReader(c)
	return credential{peerKind, what, func() error {
		c.SetDeadline(time.Now().Add(700 * time.Millisecond))
		return say(c, r)
	}}
}

// asks sends one request on a connection that is kept.
func asks(c net.Conn, r *bufio.Reader) error {
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: "+boxName+"\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func echoes(c net.Conn, r *bufio.Reader) error {
	if _, err := io.WriteString(c, "x\n"); err != nil {
		return err
	}
	_, err := r.ReadString('\n')
	return err
}

// echo answers lines on a host at home.
func echo(t *testing.T, h *netlab.Host) uint16 {
	l, err := h.Listen("tcp", "0.0.0.0:0")
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
			go func() { defer c.Close(); io.Copy(c, c) }()
		}
	}()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// peers is what a phone has of the tunnel: a flow that stands, and new questions in the WireGuard session.
func peers(t *testing.T, p *netlab.Phone, what string) []credential {
	t.Helper()
	return []credential{
		flow(t, what+"'s open connection", p.Host, netip.AddrPortFrom(p.Stock.DNS[0], 80), asks),
		flow(t, what+"'s open connection over IPv6", p.Host, netip.AddrPortFrom(p.Stock.DNS[1], 80), asks),
		{peerKind, what + "'s WireGuard session", func() error {
			_, err := lookup(p.Host, p.Stock.DNS[0], "udp", boxName, dns.TypeA)
			return err
		}},
	}
}

// rows reads what the box keeps of somebody's credentials of a kind. A known-browser lets nobody in: what is left of it
// is the only thing to see.
//
// column is "person" or "device", id the one of it.
func rows(h *home, kind account.Kind, column, id string) credential {
	return credential{string(kind), "the " + string(kind) + " that is kept", func() error {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(h.State, "account", "account.sqlite")+"?mode=ro")
		if err != nil {
			return err
		}
		defer db.Close()
		var n int
		if err := db.QueryRow("SELECT count(*) FROM credential WHERE kind = ? AND "+column+" = ?", string(kind), id).Scan(&n); err != nil {
			h.t.Errorf("looking into the accounts: %v", err)
			return nil
		}
		if n == 0 {
			return errors.New("no row")
		}
		return nil
	}}
}

// plantToken gives a person a token of /api/v1, as a page for programs will: written while the box is down, in the
// form the box writes.
func (h *home) plantToken(person, token string) {
	h.t.Helper()
	h.Stop()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(h.State, "account", "account.sqlite"))
	if err != nil {
		h.t.Fatal(err)
	}
	hash := sha256.Sum256([]byte(token))
	now := time.Now().Unix()
	_, err = db.Exec(`INSERT INTO credential (id, kind, hash, person, device, name, scope, role, address, created, used, proved, expires)
		SELECT 'aaaaaaaaaaaaaa' || substr(?, 1, 2), 'token', ?, person, '', 'Script', '', role, '', ?, ?, 0, 0
		FROM credential WHERE person = ? AND kind = 'session' LIMIT 1`, person, hash[:], now, now, person)
	if err := errors.Join(err, db.Close()); err != nil {
		h.t.Fatal(err)
	}
	h.Restart()
	h.up()
}

// Revocation is one record of the log: within five seconds every credential of the device or person is dead, of every
// kind that the code knows, and nobody else's.
func TestRevocation(t *testing.T) {
	t.Parallel()
	h := newSmiths(t, box.Options{})
	h.host.Sysctl("net/ipv4/ip_forward", "1")
	h.host.Sysctl("net/ipv6/conf/all/forwarding", "1")
	tr := tried{}
	ben, mia := h.invite("Ben", "member", "--lan", "yes"), h.invite("Mia", "member", "--lan", "yes")
	var ivy person
	h.Do(&ivy, "person", "add", "Ivy", "--role", "member")
	visitor, printer := h.lanHost(), h.other("printer")
	port := echo(t, printer)
	printerAt := netip.AddrPortFrom(printer.Port("eth0").Addrs()[0].Addr(), port)

	benPhone := h.phoneWith("Ben", "Ben's phone", greedy)
	benTablet, tablet := h.phone("Ben", "Ben's tablet")
	miaPhone := h.phoneWith("Mia", "Mia's phone", greedy)
	for _, p := range []*netlab.Phone{benPhone, miaPhone} {
		if !slices.Contains(p.Stock.Peers[0].AllowedIPs, pfx("192.168.1.0/24")) {
			t.Fatalf("the home network does not go through the tunnel: %v", p.Stock.Peers[0].AllowedIPs)
		}
	}
	// One browser at home and one on a device, for each.
	signedIn := func(name string) *browser {
		b := h.browser(visitor, "https://"+boxAt4)
		b.signIn(name, password)
		return b
	}
	onDevice := func(p *netlab.Phone, name string) *browser {
		b := h.tunnel(p, dns.TypeA)
		b.signIn(name, password)
		return b
	}
	benAtHome, miaAtHome := signedIn("Ben"), signedIn("Mia")
	h.plantToken(ben.ID, "hearth_token-of-ben")
	h.plantToken(mia.ID, "hearth_token-of-mia")
	for _, p := range []*netlab.Phone{benPhone, benTablet, miaPhone} {
		for _, at := range p.Stock.DNS {
			if err := answersDNS(t, p, at, 20*time.Second); err != nil {
				t.Fatal("after a restart: ", err)
			}
		}
	}
	token := func(of string) credential {
		return bearing(h, visitor, account.KindToken, of+"'s token", func(r *http.Request) { r.Header.Set("Authorization", "Bearer hearth_token-of-"+strings.ToLower(of)) })
	}
	app := func(of, password, what string) credential {
		return bearing(h, visitor, account.KindApp, of+"'s app password "+what, func(r *http.Request) { r.SetBasicAuth(of, password) })
	}
	benApp, miaApp := appPassword(benAtHome), appPassword(miaAtHome)

	t.Run("a device is removed", func(t *testing.T) {
		b := onDevice(benTablet, "Ben")
		made := appPassword(b)
		// A session made over the tunnel is good from that device only, and that must be so before the device is gone.
		stolen := h.tunnel(benPhone, dns.TypeA)
		stolen.cookies = b.cookies
		if session(stolen, "").use() == nil {
			t.Error("the tablet's session is good on another device")
		}
		dead := append(peers(t, benTablet, "the tablet"), session(b, "the tablet's session"), app("Ben", made, "made on the tablet"),
			rows(h, account.KindSession, "device", tablet.ID), rows(h, account.KindApp, "device", tablet.ID))
		tr.die(t, func() { h.Do(nil, "device", "remove", tablet.ID) }, dead...)
		if _, there := h.devices()["Ben's tablet"]; there {
			t.Error("the tablet is still listed")
		}
		live(t, append(peers(t, benPhone, "Ben's phone"), session(benAtHome, "Ben's session at home"), app("Ben", benApp, "made at home"), token("Ben"))...)
	})
	t.Run("a member becomes a guest", func(t *testing.T) {
		b := onDevice(miaPhone, "Mia")
		lan := flow(t, "Mia's open connection to the home network", miaPhone.Host, printerAt, echoes)
		dead := []credential{
			lan, session(b, "Mia's session on the phone"), session(miaAtHome, "Mia's session at home"), app("Mia", miaApp, "made as member"), token("Mia"),
		}
		tr.die(t, func() { h.Do(nil, "person", "change", mia.ID, "--role", "guest") }, dead...)
		live(t, append(peers(t, miaPhone, "Mia's phone"), passwordOf(h, visitor, "Mia"))...)
		if got := scan(t, miaPhone.Host, netip.Addr{}, []uint16{port, 22}, printerAt.Addr()); len(got) != 0 {
			t.Errorf("a guest reaches %v", got)
		}
	})
	t.Run("a person is removed", func(t *testing.T) {
		b := onDevice(benPhone, "Ben")
		dead := append(peers(t, benPhone, "Ben's phone"),
			flow(t, "Ben's open connection to the home network", benPhone.Host, printerAt, echoes),
			session(b, "Ben's session on the phone"), session(benAtHome, "Ben's session at home"), app("Ben", benApp, "made at home"), token("Ben"),
			passwordOf(h, visitor, "Ben"), rows(h, account.KindKnown, "person", ben.ID))
		tr.die(t, func() { h.Do(nil, "person", "remove", ben.ID) }, dead...)
		for _, k := range account.Kinds() {
			if k != account.KindPassword && rows(h, k, "person", ben.ID).use() == nil {
				t.Errorf("the box keeps a %s of somebody who is gone", k)
			}
		}
	})
	t.Run("an invited person is removed", func(t *testing.T) {
		b := h.browser(visitor, "https://"+boxAt4)
		invitation := credential{string(account.KindInvitation), "Ivy's invitation", func() error {
			resp, page, err := b.peek("POST", "/join", url.Values{"code": {ivy.Code}})
			if err == nil && (resp.StatusCode != 200 || !strings.Contains(page, `name="password"`)) {
				err = errors.New(resp.Status)
			}
			return err
		}}
		tr.die(t, func() { h.Do(nil, "person", "remove", ivy.ID) }, invitation, rows(h, account.KindInvitation, "person", ivy.ID))
	})
	t.Run("every kind was tried", func(t *testing.T) {
		want := []string{peerKind}
		for _, k := range account.Kinds() {
			want = append(want, string(k))
		}
		for _, k := range want {
			if !tr[k] {
				t.Errorf("nobody tried whether a %s dies", k)
			}
		}
		for k := range tr {
			if !slices.Contains(want, k) {
				t.Errorf("%s is no kind of credential", k)
			}
		}
	})
	// Ann, the owner, was left alone all the time.
	ann := h.browser(visitor, "https://"+boxAt4)
	ann.signIn("Ann", box.Password)
}
