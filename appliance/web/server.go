// Package web puts the pages and the operations behind the faces. It is the one place that decides who calls and
// whether a route may be reached: face, Host, origin, claim, role, fresh password, in this order, for every route of
// the two tables and for nothing else.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/appliance/archive"
	"hearth.alt/appliance/sealed"
	"hearth.alt/services"
	"hearth.alt/services/crowd"
	"hearth.alt/services/secret"
	"hearth.alt/webui"
	"hearth.alt/webui/assets"
)

// Credentials knows who stands behind a cookie, a password or a token. An error whose Problem is of KindSignIn says that
// the credential is not good. Any other is trouble of ours: there is no telling, and nobody may be told to sign in
// again, since apps throw a password away at the first 401.
type Credentials interface {
	// Cookie is a session of the pages, used from device ("" is none).
	Cookie(ctx context.Context, token secret.Text, device services.DeviceID) (caller services.Caller, fresh bool, err error)
	// Basic is an app password, Bearer a token, of /api/v1 and the app protocols.
	Basic(ctx context.Context, name string, password secret.Text, address string) (services.Caller, error)
	Bearer(ctx context.Context, token secret.Text, address string) (services.Caller, error)
}

// Config says what a Server needs. Nothing may be nil but Sealed, Metrics and Around.
type Config struct {
	Log         *slog.Logger
	Members     interface{ Membership() *services.Membership }
	Credentials Credentials
	// Hosts says whether the box answers to this host name or address on this face. The port is gone, letters are
	// lower case, no dot at the end.
	Hosts func(face services.Face, host string) bool
	UI    *webui.UI
	// Around stands around every page, inside the rules; nil is nothing.
	Around  func(http.Handler) http.Handler
	House   *api.House
	Metrics http.Handler // GET /metrics on tunnel and console, once the box is claimed
	Sealed  *sealed.Config
}

// Server makes the handler of each face. Make one with New.
type Server struct {
	cfg    Config
	tunnel *sealed.Tunnel
	faces  map[services.Face]http.Handler
	inside http.Handler // nil without Sealed
	open   sockets
}

// New builds the muxes of all faces once.
func New(cfg Config) (*Server, error) {
	s := &Server{cfg: cfg, faces: map[services.Face]http.Handler{}}
	home, tunnel := crowd.NewCount(requests), crowd.NewCount(requests)
	if cfg.Sealed != nil {
		c := *cfg.Sealed
		s.inside = s.guard(services.FaceLAN, s.pages(services.FaceLAN, true))
		c.Inner = s.inside
		t, err := sealed.New(c)
		if err != nil {
			return nil, err
		}
		s.tunnel = t
	}
	for _, face := range services.Faces() {
		if face == services.FaceMesh {
			continue // links only; no http is spoken there
		}
		s.faces[face] = s.guard(face, s.mux(face))
		switch face {
		case services.FaceConsole:
		case services.FaceTunnel:
			s.faces[face] = s.bound(tunnel, s.faces[face])
		default:
			s.faces[face] = s.bound(home, s.faces[face])
		}
	}
	return s, nil
}

// Handler serves everything a face offers. There is none for the mesh.
func (s *Server) Handler(face services.Face) http.Handler { return s.faces[face] }

// Inside serves what the sealed endpoint carries to whoever knows the claim secret.
func (s *Server) Inside() http.Handler { return s.inside }

func (s *Server) mux(face services.Face) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.pages(face, false))
	switch face {
	case services.FaceTunnel, services.FaceSecure, services.FaceConsole:
		// A browser that kept a Basic credential would send it with a stranger's form too.
		protect := http.NewCrossOriginProtection()
		mux.Handle(api.Prefix+"/", protect.Handler(api.Handler(s.cfg.House, s.cfg.Log, s.apiCaller)))
		if face == services.FaceSecure {
			break
		}
		mux.HandleFunc("GET /healthz", s.healthz)
		if s.cfg.Metrics != nil {
			mux.HandleFunc("GET /metrics", s.metrics)
		}
	case services.FaceLAN:
		if s.tunnel != nil {
			protect := http.NewCrossOriginProtection()
			mux.Handle("POST /sealed/hello", protect.Handler(http.HandlerFunc(s.tunnel.Hello)))
			mux.Handle("POST /sealed/request", protect.Handler(http.HandlerFunc(s.tunnel.Request)))
		}
	}
	return mux
}

// pages serves the route table of webui as far as face allows. Inside the seal the face is still the LAN, and only
// routes marked Sealed are there.
func (s *Server) pages(face services.Face, sealedInside bool) http.Handler {
	here, elsewhere := http.NewServeMux(), http.NewServeMux()
	protect := http.NewCrossOriginProtection()
	known := map[string]bool{}
	for _, route := range s.cfg.UI.Routes() {
		pattern := route.Method + " " + route.Path
		if !known[pattern] {
			known[pattern] = true
			elsewhere.HandleFunc(pattern, func(http.ResponseWriter, *http.Request) {})
		}
		rule := Rule(route)
		if sealedInside {
			if !route.Sealed && route.Class != webui.ClassAsset {
				continue
			}
			rule.Faces = []services.Face{services.FaceLAN}
		}
		if slices.Contains(rule.Faces, face) {
			here.Handle(pattern, protect.Handler(s.route(route, rule, sealedInside)))
		}
	}
	here.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := elsewhere.Handler(r); pattern != "" {
			s.cfg.UI.NotHere(w, r)
			return
		}
		s.cfg.UI.NotFound(w, r)
	})
	return here
}

// Rule is the access rule of a page's route.
func Rule(r webui.Route) api.Rule {
	return api.Rule{Faces: r.Faces, Least: r.Least, Before: r.Before, After: r.After, Lost: r.Class == webui.ClassAsset, Fresh: r.Fresh, Removed: r.Removed}
}

func (s *Server) route(route webui.Route, rule api.Rule, sealedInside bool) http.Handler {
	var handler http.Handler = route.Handler
	if route.Class == webui.ClassPage && s.cfg.Around != nil {
		handler = s.cfg.Around(handler)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sealedInside {
			r = r.WithContext(webui.WithSealed(r.Context()))
		}
		caller, fresh, unknown := fromContext(r.Context()), false, error(nil)
		if route.Class == webui.ClassPage {
			caller, fresh, unknown = s.pageCaller(r)
		}
		r = r.WithContext(webui.WithCaller(r.Context(), caller))
		if err := rule.Allow(caller, s.whose(), fresh); err != nil {
			if unknown != nil && errors.Is(err, api.ErrSignIn) {
				err = unknown
			}
			s.refuse(w, r, err)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

func (s *Server) whose() api.Ownership { return api.OwnershipOf(s.cfg.Members.Membership()) }

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, api.ErrFresh):
		s.cfg.UI.NeedPassword(w, r)
	case errors.Is(err, api.ErrSignIn):
		s.cfg.UI.NeedSignIn(w, r)
	case errors.Is(err, api.ErrUnclaimed):
		s.cfg.UI.NeedClaim(w, r)
	case errors.Is(err, api.ErrDenied):
		s.cfg.UI.NotAllowed(w, r)
	case errors.Is(err, api.ErrNotHere):
		s.cfg.UI.NotHere(w, r)
	default:
		s.cfg.UI.Fail(w, r, err)
	}
}

type contextKey struct{}

// fromContext returns what guard put there: the face and the device, before any credential.
func fromContext(ctx context.Context) services.Caller {
	c, _ := ctx.Value(contextKey{}).(services.Caller)
	return c
}

// guard is around everything on a face: it recovers from panics, names the face and the device, checks the Host, and
// sets the headers that hold for every answer.
func (s *Server) guard(face services.Face, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		most := int64(services.MaxRequest)
		if face == services.FaceConsole {
			most += archive.MaxBytes + 1 // of an import; any other body is bounded where it is read
		}
		r.Body = http.MaxBytesReader(w, r.Body, most) // with w as net/http made it, so that too much ends the connection
		w, done := s.open.answer(w, r)
		defer done()
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler:
				panic(v) // or an answer that broke off would pass for a whole one
			default:
				s.cfg.Log.Error("a request panics", "method", r.Method, "path", r.URL.Path, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
				s.cfg.UI.Fail(w, r, services.AsProblem(errors.New("panic")))
			}
		}()
		setHeaders(w.Header())
		if r.TLS == nil && !local(r.RemoteAddr) {
			w.Header().Del("Cross-Origin-Opener-Policy") // browsers heed it on trustworthy origins only, and complain elsewhere
		}
		caller := services.Caller{Face: face, Address: r.RemoteAddr}
		if face == services.FaceConsole {
			caller.Role = services.RoleOwner
		} else if !s.cfg.Hosts(face, HostOf(r.Host)) && !strings.HasPrefix(r.URL.Path, assets.Prefix) { // the refusal has a stylesheet
			ctx := context.WithValue(r.Context(), contextKey{}, caller)
			s.cfg.UI.Fail(w, r.WithContext(webui.WithCaller(ctx, caller)), errMisdirected)
			return
		}
		if face == services.FaceTunnel {
			if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
				if d, ok := s.cfg.Members.Membership().DeviceAt(from.Addr()); ok {
					caller.Device = d.ID
				}
			}
		}
		ctx := context.WithValue(r.Context(), contextKey{}, caller)
		next.ServeHTTP(w, r.WithContext(webui.WithCaller(ctx, caller)))
	})
}

// errMisdirected answers a name that is not ours with 421 (RFC 9110, section 15.5.20); webui knows its code.
var errMisdirected = &services.Problem{
	Kind: services.KindDenied, Code: "misdirected",
	Say: services.Say("access.misdirected", "You have found the box, but it does not answer to the name in the address bar, so that no page from elsewhere can pass for it. Its own address always works."),
}

func setHeaders(h http.Header) {
	maps.Copy(h, http.Header{
		"Content-Security-Policy":      {webui.ContentSecurityPolicy},
		"Cross-Origin-Opener-Policy":   {"same-origin"},
		"Cross-Origin-Resource-Policy": {"same-origin"},
		"X-Content-Type-Options":       {"nosniff"},
		// Not no-referrer: with it browsers send "Origin: null" for our own forms (Fetch, section 4.1), and on
		// plain http the origin is all that tells a foreign form from ours.
		"Referrer-Policy":    {"same-origin"},
		"Permissions-Policy": {"camera=(), microphone=(), geolocation=()"},
		"Cache-Control":      {"no-store"},
	})
}

// local says whether a request came over a loopback connection, whose origins browsers trust without TLS.
func local(address string) bool {
	a, err := netip.ParseAddrPort(address)
	return err == nil && a.Addr().IsLoopback()
}

// HostOf returns the host of a Host header (RFC 9110, section 7.2): no port, no brackets, lower case, no dot at the
// end. It is "" for what is none: an address without its brackets, one with a zone, a port that is no number.
func HostOf(hostport string) string {
	host, rest := hostport, ""
	if inner, bracketed := strings.CutPrefix(hostport, "["); bracketed {
		var closed bool
		if host, rest, closed = strings.Cut(inner, "]"); !closed {
			return ""
		}
		if a, err := netip.ParseAddr(host); err != nil || !a.Is6() || a.Zone() != "" {
			return ""
		}
	} else if at := strings.IndexByte(hostport, ':'); at >= 0 {
		host, rest = hostport[:at], hostport[at:]
	}
	if rest != "" {
		port, ok := strings.CutPrefix(rest, ":")
		if _, err := strconv.ParseUint(port, 10, 16); !ok || port != "" && err != nil {
			return ""
		}
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// trouble is what of a credential's error is not the credential's fault.
func trouble(err error) error {
	if p := services.AsProblem(err); p == nil || p.Kind == services.KindSignIn {
		return nil
	}
	return err
}

// pageCaller returns who asks, and why that cannot be told: then the caller is nobody.
func (s *Server) pageCaller(r *http.Request) (services.Caller, bool, error) {
	caller := fromContext(r.Context())
	token := webui.SessionToken(r)
	if token == "" {
		return caller, false, nil
	}
	known, fresh, err := s.cfg.Credentials.Cookie(r.Context(), secret.NewText(token), caller.Device)
	if err != nil {
		return caller, false, trouble(err)
	}
	// What ends between being looked at and being noted is noticed by looking again.
	if s.open.use(r.Context(), known.Session) {
		if _, fresh, err = s.cfg.Credentials.Cookie(r.Context(), secret.NewText(token), caller.Device); err != nil {
			return caller, false, trouble(err)
		}
	}
	caller.Person, caller.Role, caller.Session = known.Person, known.Role, known.Session
	return caller, fresh, nil
}

// apiCaller knows the callers of class api: cookies are ignored, so that no page of a stranger can ride on one.
func (s *Server) apiCaller(r *http.Request) (services.Caller, bool, error) {
	caller := fromContext(r.Context())
	if caller.Face == services.FaceConsole {
		return caller, true, nil
	}
	check := func() (services.Caller, error) {
		if name, password, basic := r.BasicAuth(); basic {
			return s.cfg.Credentials.Basic(r.Context(), name, secret.NewText(password), r.RemoteAddr)
		} else if token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); bearer {
			return s.cfg.Credentials.Bearer(r.Context(), secret.NewText(token), r.RemoteAddr)
		}
		return services.Caller{}, api.ErrSignIn
	}
	known, err := check()
	if err == nil && s.open.use(r.Context(), known.Session) {
		known, err = check()
	}
	if err != nil {
		return caller, false, trouble(err)
	}
	caller.Person, caller.Role, caller.Session = known.Person, known.Role, known.Session
	// An app password is not a person at the keyboard: it is never fresh.
	return caller, false, nil
}

// healthz answers 200 "ok" when every service is ready and well, else 503 and the names of those that are not. It
// says nothing else, since nobody has to sign in for it.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	var bad []string
	for _, h := range s.cfg.House.Health() {
		if !h.Ready || !h.OK {
			bad = append(bad, h.Name)
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if bad != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, strings.Join(bad, " "))
		return
	}
	fmt.Fprintln(w, "ok")
}

// metrics is there for whoever belongs to the private network, and on the console; it names nobody.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	rule := api.Rule{Faces: []services.Face{services.FaceTunnel, services.FaceConsole}, After: true}
	if err := rule.Allow(fromContext(r.Context()), s.whose(), false); err != nil {
		api.WriteFailure(w, s.cfg.Log, "metrics", err)
		return
	}
	s.cfg.Metrics.ServeHTTP(w, r)
}

// HTTPServer returns a server for a face with the limits every listener of ours has: a head of 16 KiB, a body of 16 KiB,
// 16 requests at once and 64 KiB not yet read on a connection of HTTP/2. With the bounds on connections (512 a listener)
// and on requests under way they hold what strangers can take far below the memory of the process.
func (s *Server) HTTPServer(face services.Face) *http.Server {
	return &http.Server{
		ConnContext:       s.open.connected,
		ConnState:         s.open.changed,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 16, MaxReceiveBufferPerConnection: 64 << 10, MaxReceiveBufferPerStream: services.MaxRequest},
		Handler:           s.Handler(face),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
}
