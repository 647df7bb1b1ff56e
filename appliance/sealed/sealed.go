// Package sealed carries the claim and the first pairing over plain http without showing anything to the network: a
// small encrypted tunnel for the very pages that https and loopback serve openly. Both ends know the claim secret, the
// browser from the fragment of the URL on the claim sheet, which never leaves it.
//
// # Protocol, version 1
//
// All values in JSON are base64url without padding (RFC 4648, section 5). psk is the 32-byte key that
// claimcode derives from the claim secret.
//
//	POST /sealed/hello    {"v":1,"e":<32 bytes, X25519 public>}
//	                  200 {"id":<16 bytes>,"e":<32 bytes, X25519 public>}
//	POST /sealed/request  {"id":<16 bytes>,"n":<counter from 1>,"box":<sealed Request>}
//	                  200 {"box":<sealed Response>}
//
//	transcript = "hearth sealed v1" || client e || server e || id
//	prk        = HKDF-Extract(SHA-256, salt = psk, secret = X25519(e, e))          (RFC 5869, RFC 7748)
//	key c->s   = HKDF-Expand(prk, transcript || "request", 32), key s->c with "response"
//	box        = ChaCha20-Poly1305(key, nonce = 4 zero bytes || n as 8 bytes big endian, aad = id)  (RFC 8439)
//
// The counter grows by one with each request; anything else is refused, so that nothing can be replayed. Keys are
// fresh for each hello, so a capture stays closed even for someone who finds the sheet later. The box says nothing that
// depends on the secret before a first request opened, so a guess costs one round trip; wrong ones are throttled.
//
// Cookies that the inner pages set stay here, in the memory of the box: the network sees none that works.
package sealed

import (
	"bytes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/chacha20poly1305"

	"hearth.alt/services"
	"hearth.alt/services/crowd"
)

// Limits of what the tunnel holds and carries. They are ours: a claim is a handful of short forms.
const (
	MaxResponse = 1 << 20          // bytes of one inner page
	maxOpen     = 32               // sessions that proved the secret
	maxHalf     = 256              // hellos that have not yet
	halfLife    = time.Minute      // of a hello
	openLife    = 30 * time.Minute // of a proven session since its last request
	overLife    = 10 * time.Minute // of proven sessions after the claim secret is over: the last page is still to come
)

// Request is what a browser asks for inside the tunnel.
type Request struct {
	Method string `json:"method"` // GET or POST
	Path   string `json:"path"`   // with query; must begin with /
	Form   string `json:"form"`   // application/x-www-form-urlencoded, for POST
	Lang   string `json:"lang"`   // Accept-Language: of the page that asks
}

// Response is the page that answers it. Redirects have been followed: Path is where it came from.
type Response struct {
	Status int    `json:"status"`
	Path   string `json:"path"`
	Type   string `json:"type"`
	Body   string `json:"body,omitempty"` // of a text
	Raw    []byte `json:"raw,omitempty"`  // of anything else; in JSON base64 of RFC 4648, section 4
	Name   string `json:"name,omitempty"` // under which a file is saved; "" is a page
}

// ErrNoSecret is what Config.PSK returns when there is no claim secret any more: the claim is over.
var ErrNoSecret = errors.New("there is no claim secret")

// Config says what a Tunnel needs.
type Config struct {
	// PSK returns the key made from the claim secret, or ErrNoSecret.
	PSK func() ([]byte, error)
	// Inner serves the pages. It must check by itself which of them may be reached this way.
	Inner http.Handler
	// Throttle says how long someone at address must wait before another guess; 0 is not at all.
	Throttle func(address string) time.Duration
	// Wrong is told of each guess that did not open.
	Wrong func(address string)
	// Right is told of each request that opened.
	Right func()
	// Now is the time for the life of sessions; nil is time.Now.
	Now func() time.Time
}

// Tunnel serves /sealed/hello and /sealed/request. It is safe for concurrent use. Make one with New.
type Tunnel struct {
	cfg Config

	mu     sync.Mutex
	hellos uint64 // so far
	half   map[string]*session
	open   map[string]*session
	over   time.Time // when the secret was first seen to be over; zero while there is one
}

type session struct {
	id       []byte
	psk      [sha256.Size]byte // hash of the key it was made with, to end with the secret
	recv     cipher.AEAD
	send     cipher.AEAD
	mu       sync.Mutex // one request at a time
	n        uint64
	lastUsed time.Time
	from     netip.Prefix // who said hello
	order    uint64       // of the hellos
	jar      map[string]*http.Cookie
}

// New checks cfg and returns a Tunnel.
func New(cfg Config) (*Tunnel, error) {
	if cfg.PSK == nil || cfg.Inner == nil {
		return nil, errors.New("sealed: PSK and Inner are needed")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Throttle == nil {
		cfg.Throttle = func(string) time.Duration { return 0 }
	}
	if cfg.Wrong == nil {
		cfg.Wrong = func(string) {}
	}
	if cfg.Right == nil {
		cfg.Right = func() {}
	}
	return &Tunnel{cfg: cfg, half: map[string]*session{}, open: map[string]*session{}}, nil
}

var b64 = base64.RawURLEncoding

type (
	helloMessage struct {
		V int    `json:"v"`
		E string `json:"e"`
	}
	helloAnswer struct {
		ID string `json:"id"`
		E  string `json:"e"`
	}
	requestMessage struct {
		ID  string `json:"id"`
		N   uint64 `json:"n"`
		Box string `json:"box"`
	}
	requestAnswer struct {
		Box string `json:"box"`
	}
	refusal struct {
		Code string `json:"code"`
		Wait int    `json:"wait,omitempty"` // seconds
	}
)

// Hello serves POST /sealed/hello. The refusals are {"code":…}: "bad-input", "busy", "over".
func (t *Tunnel) Hello(w http.ResponseWriter, r *http.Request) {
	var m helloMessage
	if !read(w, r, &m) {
		return
	}
	peer, err := b64.DecodeString(m.E)
	if err != nil || m.V != 1 {
		refuse(w, http.StatusBadRequest, refusal{Code: "bad-input"})
		return
	}
	psk, err := t.cfg.PSK()
	if err != nil {
		refuse(w, http.StatusGone, refusal{Code: "over"})
		return
	}
	if wait := t.cfg.Throttle(r.RemoteAddr); wait > 0 {
		busy(w, wait)
		return
	}
	s, public, err := newSession(psk, peer)
	if err != nil {
		refuse(w, http.StatusBadRequest, refusal{Code: "bad-input"})
		return
	}
	now := t.cfg.Now()
	s.lastUsed, s.from = now, crowd.Machine(crowd.Address(r.RemoteAddr))
	t.mu.Lock()
	t.sweep(now)
	if len(t.half) >= maxHalf {
		t.makeRoom()
	}
	t.hellos++
	s.order = t.hellos
	t.half[string(s.id)] = s
	t.mu.Unlock()
	answer(w, helloAnswer{ID: b64.EncodeToString(s.id), E: b64.EncodeToString(public)})
}

// makeRoom ends the oldest hello of the machine that has most of them, so that whoever floods crowds out themselves
// and nobody is kept from claiming. mu is held.
func (t *Tunnel) makeRoom() {
	count := map[netip.Prefix]int{}
	for _, s := range t.half {
		count[s.from]++
	}
	var last *session
	for _, s := range t.half {
		if last == nil || count[s.from] > count[last.from] || count[s.from] == count[last.from] && s.order < last.order {
			last = s
		}
	}
	delete(t.half, string(last.id))
}

// Request serves POST /sealed/request. The refusals are "bad-input", "unknown" (say hello again), "wrong" (the secret
// does not fit), "busy" and "over".
func (t *Tunnel) Request(w http.ResponseWriter, r *http.Request) {
	var m requestMessage
	if !read(w, r, &m) {
		return
	}
	id, err1 := b64.DecodeString(m.ID)
	box, err2 := b64.DecodeString(m.Box)
	if err1 != nil || err2 != nil {
		refuse(w, http.StatusBadRequest, refusal{Code: "bad-input"})
		return
	}
	psk, err := t.cfg.PSK()
	s, proven := t.find(id, psk)
	if err != nil && !proven {
		refuse(w, http.StatusGone, refusal{Code: "over"})
		return
	}
	if s == nil {
		refuse(w, http.StatusNotFound, refusal{Code: "unknown"})
		return
	}
	if !proven {
		if wait := t.cfg.Throttle(r.RemoteAddr); wait > 0 {
			busy(w, wait)
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.N != s.n+1 {
		refuse(w, http.StatusConflict, refusal{Code: "unknown"})
		return
	}
	plain, err := s.recv.Open(nil, nonce(m.N), box, s.id)
	if err != nil {
		if !proven {
			t.drop(id) // one guess for each hello
			t.cfg.Wrong(r.RemoteAddr)
		}
		refuse(w, http.StatusForbidden, refusal{Code: "wrong"})
		return
	}
	s.n = m.N
	t.prove(s)
	t.cfg.Right()
	var inner Request
	d := json.NewDecoder(bytes.NewReader(plain))
	d.DisallowUnknownFields()
	if err := d.Decode(&inner); err != nil {
		refuse(w, http.StatusBadRequest, refusal{Code: "bad-input"})
		return
	}
	page, err := json.Marshal(t.serve(s, r, inner))
	if err != nil {
		refuse(w, http.StatusInternalServerError, refusal{Code: "bad-input"})
		return
	}
	answer(w, requestAnswer{Box: b64.EncodeToString(s.send.Seal(nil, nonce(m.N), page, s.id))})
}

// serve runs one inner request and follows the redirects of POST-redirect-GET.
func (t *Tunnel) serve(s *session, outer *http.Request, in Request) Response {
	const hops = 4
	for range hops {
		target, err := url.ParseRequestURI(in.Path)
		if err != nil || !strings.HasPrefix(in.Path, "/") || strings.HasPrefix(in.Path, "//") || (in.Method != http.MethodGet && in.Method != http.MethodPost) {
			return Response{Status: http.StatusBadRequest, Path: "/"}
		}
		var body io.Reader = http.NoBody
		if in.Method == http.MethodPost {
			body = strings.NewReader(in.Form)
		}
		r, err := http.NewRequestWithContext(outer.Context(), in.Method, target.RequestURI(), body)
		if err != nil {
			return Response{Status: http.StatusBadRequest, Path: "/"}
		}
		r.Host, r.RemoteAddr, r.RequestURI = outer.Host, outer.RemoteAddr, target.RequestURI()
		if in.Method == http.MethodPost {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		r.Header.Set("Accept-Language", in.Lang)
		for _, c := range s.jar {
			r.AddCookie(c)
		}
		rec := &recorder{header: http.Header{}, status: http.StatusOK}
		t.cfg.Inner.ServeHTTP(rec, r)
		for _, c := range (&http.Response{Header: rec.header}).Cookies() {
			if c.MaxAge < 0 || c.Value == "" {
				delete(s.jar, c.Name)
			} else if len(s.jar) < 8 {
				s.jar[c.Name] = &http.Cookie{Name: c.Name, Value: c.Value}
			}
		}
		if location := rec.header.Get("Location"); rec.status == http.StatusSeeOther && location != "" {
			next, err := target.Parse(location)
			if err != nil || next.Host != "" {
				return Response{Status: http.StatusBadGateway, Path: in.Path}
			}
			in = Request{Method: http.MethodGet, Path: next.RequestURI(), Lang: in.Lang}
			continue
		}
		out := Response{Status: rec.status, Path: in.Path, Type: rec.header.Get("Content-Type")}
		if out.Type == "" {
			out.Type = http.DetectContentType([]byte(rec.body.String()))
		}
		if kind, file, err := mime.ParseMediaType(rec.header.Get("Content-Disposition")); err == nil && kind == "attachment" {
			out.Name = file["filename"]
		}
		if body := rec.body.String(); strings.HasPrefix(out.Type, "text/") && utf8.ValidString(body) {
			out.Body = body
		} else {
			out.Raw = []byte(body)
		}
		return out
	}
	return Response{Status: http.StatusLoopDetected, Path: in.Path}
}

// recorder keeps the head and at most MaxResponse bytes of an inner page.
type recorder struct {
	header http.Header
	status int
	wrote  bool
	body   strings.Builder
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if !r.wrote {
		r.status, r.wrote = status, true
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.wrote = true
	if r.body.Len()+len(b) > MaxResponse {
		return 0, fmt.Errorf("a sealed page holds at most %d bytes", MaxResponse)
	}
	return r.body.Write(b)
}

// find returns the session of an id. Without a psk the secret is over: then only those that proved it go on, for a
// little while, since it is the first pairing that ends the secret, and its page has yet to be seen.
func (t *Tunnel) find(id, psk []byte) (s *session, proven bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.cfg.Now()
	t.sweep(now)
	if psk == nil {
		if t.over.IsZero() {
			t.over = now
		}
		if now.Sub(t.over) > overLife {
			return nil, false
		}
		s, proven = t.open[string(id)]
		return s, proven
	}
	t.over = time.Time{}
	s, proven = t.open[string(id)]
	if !proven {
		s = t.half[string(id)]
	}
	if s != nil && s.psk != sha256.Sum256(psk) {
		return nil, false
	}
	return s, proven
}

// prove moves s to the proven ones; the one unused for longest makes room.
func (t *Tunnel) prove(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.lastUsed = t.cfg.Now()
	delete(t.half, string(s.id))
	if _, there := t.open[string(s.id)]; !there && len(t.open) >= maxOpen {
		var oldest *session
		for _, o := range t.open {
			if oldest == nil || o.lastUsed.Before(oldest.lastUsed) {
				oldest = o
			}
		}
		delete(t.open, string(oldest.id))
	}
	t.open[string(s.id)] = s
}

func (t *Tunnel) drop(id []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.half, string(id))
}

func (t *Tunnel) sweep(now time.Time) {
	for id, s := range t.half {
		if now.Sub(s.lastUsed) > halfLife {
			delete(t.half, id)
		}
	}
	for id, s := range t.open {
		if now.Sub(s.lastUsed) > openLife {
			delete(t.open, id)
		}
	}
}

func newSession(psk, clientPublic []byte) (*session, []byte, error) {
	peer, err := ecdh.X25519().NewPublicKey(clientPublic)
	if err != nil {
		return nil, nil, err
	}
	own, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	shared, err := own.ECDH(peer) // refuses the all-zero result of a low-order point
	if err != nil {
		return nil, nil, err
	}
	id := make([]byte, 16)
	rand.Read(id)
	public := own.PublicKey().Bytes()
	recv, send, err := keys(psk, shared, clientPublic, public, id)
	if err != nil {
		return nil, nil, err
	}
	return &session{id: id, psk: sha256.Sum256(psk), recv: recv, send: send, jar: map[string]*http.Cookie{}}, public, nil
}

// keys derives what the server receives and sends with.
func keys(psk, shared, clientPublic, serverPublic, id []byte) (recv, send cipher.AEAD, err error) {
	prk, err := hkdf.Extract(sha256.New, shared, psk)
	if err != nil {
		return nil, nil, err
	}
	transcript := "hearth sealed v1" + string(clientPublic) + string(serverPublic) + string(id)
	aead := func(direction string) (cipher.AEAD, error) {
		key, err := hkdf.Expand(sha256.New, prk, transcript+direction, chacha20poly1305.KeySize)
		if err != nil {
			return nil, err
		}
		return chacha20poly1305.New(key)
	}
	if recv, err = aead("request"); err != nil {
		return nil, nil, err
	}
	send, err = aead("response")
	return recv, send, err
}

func nonce(n uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 4, chacha20poly1305.NonceSize), n)
}

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, services.MaxRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		refuse(w, http.StatusBadRequest, refusal{Code: "bad-input"})
		return false
	}
	return true
}

// Full answers either endpoint for a box that has its hands full, without asking the tunnel.
func Full(w http.ResponseWriter) {
	refuse(w, http.StatusServiceUnavailable, refusal{Code: "full"})
}

// busy says that after wrong tries there is a time to wait first, in whole seconds.
func busy(w http.ResponseWriter, wait time.Duration) {
	seconds := int(wait/time.Second) + 1
	w.Header().Set("Retry-After", fmt.Sprint(seconds))
	refuse(w, http.StatusTooManyRequests, refusal{Code: "busy", Wait: seconds})
}

func refuse(w http.ResponseWriter, status int, why refusal) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(why)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(v)
}
