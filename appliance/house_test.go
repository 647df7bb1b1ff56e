package appliance

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/appliance/keeper"
	"hearth.alt/services"
	"hearth.alt/services/account"
	"hearth.alt/services/secret"
)

// testHouse is the real wiring over a keeper in this process, with those services running that need no network.
type testHouse struct {
	*appliance
	t     testing.TB
	state string
	stop  func()
	log   *bytes.Buffer
	who   map[services.Role]*testPerson
}

// testPerson is somebody with one credential of each kind.
type testPerson struct {
	id             services.PersonID
	name, password string
	session        string
	app, token     string
}

// local is the console's caller.
var local = services.Caller{Face: services.FaceConsole, Role: services.RoleOwner}

// openHouse wires a box over state and starts what keeps its data.
func openHouse(t testing.TB, state string) *testHouse {
	t.Helper()
	h := &testHouse{t: t, state: state, log: &bytes.Buffer{}, who: map[services.Role]*testPerson{}}
	log := slog.New(slog.NewTextHandler(h.log, nil))
	o := Options{State: state, Dev: true, HTTP: "127.0.0.1:0", HTTPS: "127.0.0.1:0", DNS: "127.0.0.1:0", NoPortMap: true}.withDefaults()
	k, err := keeper.NewLocal(keeperConfig(o, log))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if h.appliance, err = wire(ctx, o, k, log); err != nil {
		t.Fatal(err)
	}
	if err := h.claim.load(ctx); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 4)
	parts := []services.Service{h.identity, h.account, h.certificate, h.claim}
	for _, s := range parts {
		go func() { done <- s.Run(ctx) }()
	}
	stopped := false
	h.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		for range parts {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		k.Close()
	}
	t.Cleanup(h.stop)
	select {
	case <-h.account.Ready():
	case <-time.After(20 * time.Second):
		t.Fatal("account does not start")
	}
	return h
}

// takeIn claims the box and brings in a person of each role.
func (h *testHouse) takeIn() {
	h.t.Helper()
	ctx := h.t.Context()
	owner := &testPerson{name: "Olga", password: "turtle lantern copper forty"}
	id, err := h.webConfig.House.Claim(ctx, local, api.ClaimInput{Household: "Smith", Box: "Attic", Owner: owner.name, Password: secret.NewText(owner.password)})
	if err != nil {
		h.t.Fatal(err)
	}
	owner.id = id
	h.who[services.RoleOwner] = owner
	for role, name := range map[services.Role]string{services.RoleAdmin: "Adam", services.RoleMember: "Mia", services.RoleGuest: "Gus"} {
		p := &testPerson{name: name, password: "turtle lantern copper forty"}
		out, err := h.webConfig.House.AddPerson(ctx, local, api.AddPersonInput{Name: name, Role: role})
		if err != nil {
			h.t.Fatal(err)
		}
		p.id = out.ID
		if _, err := h.account.AcceptInvitation(ctx, services.Caller{}, secret.NewText(out.Code.Reveal()), secret.NewText(p.password)); err != nil {
			h.t.Fatal(err)
		}
		h.who[role] = p
	}
	for _, p := range h.who {
		p.session = h.signIn(p)
		c := services.Caller{Person: p.id}
		app, _, err := h.account.CreateAppPassword(ctx, c, account.NewCredential{Person: p.id, Name: "app"})
		if err != nil {
			h.t.Fatal(err)
		}
		token, _, err := h.account.CreateToken(ctx, c, account.NewCredential{Person: p.id, Name: "token"})
		if err != nil {
			h.t.Fatal(err)
		}
		p.app, p.token = app.Reveal(), token.Reveal()
	}
	h.settled()
}

// template is the state of a box that was taken in once, since eight passwords take a while.
var template struct {
	sync.Mutex
	files map[string][]byte
	who   map[services.Role]*testPerson
}

// takenIn opens a box over the empty folder state that was claimed and has a person of each role.
func takenIn(t testing.TB, state string) *testHouse {
	t.Helper()
	template.Lock()
	defer template.Unlock()
	if template.files == nil {
		made := t.TempDir()
		h := openHouse(t, made)
		h.takeIn()
		h.stop()
		files := map[string][]byte{}
		err := filepath.WalkDir(made, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			name, err := filepath.Rel(made, path)
			if err == nil {
				files[name], err = os.ReadFile(path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		template.files, template.who = files, h.who
	}
	for name, b := range template.files {
		path := filepath.Join(state, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := openHouse(t, state)
	for role, p := range template.who {
		one := *p
		h.who[role] = &one
	}
	h.settled()
	return h
}

// comes waits up to 30 s for what follows by itself, and says whether it did.
func comes(is func() bool) bool {
	for begun := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > 30*time.Second {
			return false
		}
	}
	return true
}

// eventually is comes for what has to; what says how it is if it does not.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	if !comes(is) {
		t.Fatal(what)
	}
}

// settled waits until what follows a claim is done: the household has its authority.
func (h *testHouse) settled() {
	h.t.Helper()
	eventually(h.t, "the certificate authority is not made", func() bool { return h.certificate.RootDER() != nil })
}

func (h *testHouse) signIn(p *testPerson) string {
	h.t.Helper()
	in, err := h.account.SignIn(h.t.Context(), account.SignIn{Name: p.name, Password: secret.NewText(p.password)})
	if err != nil {
		h.t.Fatal(err)
	}
	return in.Token.Reveal()
}

// hostOn is a name the box answers to on a face.
func (h *testHouse) hostOn(face services.Face) string {
	if box, ok := h.identity.Membership().Box(); ok {
		return box.Label + ".local"
	}
	return "hearth.local"
}

// request makes one as it would come in on face.
func (h *testHouse) request(face services.Face, method, target string, body io.Reader) *http.Request {
	r := httptest.NewRequestWithContext(h.t.Context(), method, "http://"+h.hostOn(face)+target, body)
	r.RemoteAddr = "192.0.2.55:4321"
	if face == services.FaceSecure {
		r.TLS = &httpsState
	}
	return r
}

// as signs r in with p's session cookie.
func as(r *http.Request, p *testPerson) *http.Request {
	if p != nil {
		r.AddCookie(&http.Cookie{Name: cookieName(r), Value: p.session})
	}
	return r
}

func cookieName(r *http.Request) string {
	if r.TLS != nil {
		return "__Host-hearth"
	}
	return "hearth"
}

// ask answers r on face through the real handler.
func (h *testHouse) ask(face services.Face, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.web.Handler(face).ServeHTTP(w, r)
	return w
}

// whenUsed is when a credential was last used, in a snapshot.
var whenUsed = regexp.MustCompile(`"[Uu]sed":[^,}]*`)

// kept is what a box has on disk of its household and its accounts, to compare before and after. The audit log and
// the times of use are left out, since a refusal may be written down.
func (h *testHouse) kept() string {
	h.t.Helper()
	b, err := os.ReadFile(filepath.Join(h.state, "identity", "log"))
	if err != nil && !os.IsNotExist(err) {
		h.t.Fatal(err)
	}
	var snap bytes.Buffer
	if err := h.account.Snapshot(h.t.Context(), &snap); err != nil {
		h.t.Fatal(err)
	}
	var keep []byte
	for _, line := range bytes.Split(snap.Bytes(), []byte("\n")) {
		if !bytes.Contains(line, []byte(`"audit"`)) && !bytes.HasPrefix(line, []byte(`{"end"`)) {
			keep = append(append(keep, line...), '\n')
		}
	}
	return string(b) + "\n" + string(whenUsed.ReplaceAll(keep, nil))
}

// pipeListener hands out in-memory connections, for servers under test.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.done); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// dial connects from an address.
func (l *pipeListener) dial(from netip.Addr) net.Conn {
	a, b := net.Pipe()
	l.conns <- pipeEnd{b, netip.AddrPortFrom(from, 4000)}
	return a
}

type pipeEnd struct {
	net.Conn
	from netip.AddrPort
}

func (e pipeEnd) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(e.from) }
