package web

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"

	"hearth.alt/services"
	"hearth.alt/services/secret"
	"hearth.alt/webui/house"
	"hearth.alt/webui/messages"
)

// Server is what all pages share. Its methods may be called from many goroutines.
type Server struct {
	House   house.House
	Now     func() time.Time
	Zone    func() *time.Location
	Log     *slog.Logger
	Flashes *Flashes
	// Layout puts a body into the frame; ErrorBody is the body of a page that could not be made.
	Layout    func(*Page) templ.Component
	ErrorBody func(*Page, Trouble) templ.Component
}

// Trouble is a page that could not be made: a title and a sentence, in words.
type Trouble struct {
	Status       int
	Title        string
	Sentence     string
	Action, Link string // one way on; "" where there is no other page
}

// mostFields bounds the fields of a form, which cost much more memory parsed than sent. The longest settles 64 removals, as
// many as an epoch leaves out.
const mostFields = 66

// Handler makes a page. An error becomes an error page; a *services.Problem is said in its own words.
type Handler func(*Request) error

// Request is one request to a page, with all that pages ask of it.
type Request struct {
	*messages.Printer
	W      http.ResponseWriter
	R      *http.Request
	Server *Server
	Caller services.Caller
	Frame  house.Frame
}

func parseForm(w http.ResponseWriter, r *http.Request) error {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, services.MaxRequest))
	if err != nil {
		return err
	}
	if bytes.Count(b, []byte{'&'}) >= mostFields {
		return errors.New("too many fields")
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	return r.ParseForm()
}

// Handle makes an http.HandlerFunc of h: language, form, error pages.
func (s *Server) Handle(h Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.switchLanguage(w, r) {
			return
		}
		rq := s.request(w, r)
		if r.Method == http.MethodPost {
			if err := parseForm(w, r); err != nil {
				rq.Fail(&services.Problem{
					Kind: services.KindInvalid, Code: "form", Cause: err,
					Say: services.Say("webui.form", "What was sent could not be read. Nothing was changed. Go back and try it once more."),
				})
				return
			}
		}
		if err := h(rq); err != nil {
			rq.Fail(err)
		}
	}
}

func (s *Server) request(w http.ResponseWriter, r *http.Request) *Request {
	return &Request{
		W: w, R: r, Server: s, Caller: CallerOf(r.Context()), Frame: s.House.Frame(r.Context()),
		Printer: s.Printer(r),
	}
}

// Printer speaks the language of r's browser.
func (s *Server) Printer(r *http.Request) *messages.Printer {
	tag := ""
	if c, err := r.Cookie(languageCookie); err == nil {
		tag = c.Value
	}
	return &messages.Printer{
		Language: messages.Choose(tag, r.Header.Get("Accept-Language")),
		Now:      s.Now(), Zone: s.Zone(),
	}
}

const languageCookie = "hearth-language"

// switchLanguage answers "?lang=de" with a cookie and the same page without the question.
func (s *Server) switchLanguage(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodGet || !strings.Contains(r.URL.RawQuery, "lang=") {
		return false
	}
	q := r.URL.Query()
	l := messages.Lookup(q.Get("lang"))
	if l == nil {
		return false
	}
	SetLanguage(w, r, l.Tag)
	q.Del("lang")
	to := (&url.URL{Path: r.URL.Path, RawQuery: q.Encode()}).String()
	if strings.HasPrefix(to, "//") {
		to = "/"
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return true
}

// LanguagePath leads to this page in another language, with what its address asks. An answer to a POST leads to the page
// of the same address.
func (p *Page) LanguagePath(tag string) string {
	path := p.Here
	if acts[p.R.URL.Path] {
		path = "/"
	}
	q := p.R.URL.Query()
	if to := p.Back(""); to != "" {
		q.Set("to", to)
	} else {
		q.Del("to")
	}
	q.Set("lang", tag)
	return path + "?" + q.Encode()
}

// SetLanguage keeps the language of this browser; the cookie is no secret.
func SetLanguage(w http.ResponseWriter, r *http.Request, tag string) {
	http.SetCookie(w, &http.Cookie{
		Name: languageCookie, Value: tag, Path: "/", MaxAge: 400 * 24 * 3600,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: r.TLS != nil,
	})
}

// Secret returns the form's field as a secret, unchanged.
func (rq *Request) Secret(field string) secret.Text { return secret.NewText(rq.R.PostForm.Get(field)) }

// Text returns the form's field without space around it, at most 400 bytes of it.
func (rq *Request) Text(field string) string {
	s := strings.TrimSpace(rq.R.PostForm.Get(field))
	if len(s) > 400 {
		s = strings.ToValidUTF8(s[:400], "")
	}
	return strings.ToValidUTF8(s, "")
}

// Checked says whether a box of the form was ticked.
func (rq *Request) Checked(field string) bool { return rq.R.PostForm.Get(field) != "" }

// Redirect leads on after a POST (RFC 9110, section 15.4.4). path is one of ours.
func (rq *Request) Redirect(path string) error {
	http.Redirect(rq.W, rq.R, path, http.StatusSeeOther)
	return nil
}

// Done leads on after a POST; the page that follows says first what was done.
func (rq *Request) Done(path string, said services.Sentence) error {
	rq.Server.Flashes.set(rq, Flash{State: house.StateGood, Say: said})
	return rq.Redirect(path)
}

// DoneOnce is Done with something that is shown once, on the page that follows and never again.
func (rq *Request) DoneOnce(path string, said services.Sentence, once secret.Shown) error {
	rq.Server.Flashes.set(rq, Flash{State: house.StateGood, Say: said, Once: once})
	return rq.Redirect(path)
}

// Note is Done for what went only partly.
func (rq *Request) Note(path string, said services.Sentence) error {
	rq.Server.Flashes.set(rq, Flash{State: house.StateCare, Say: said})
	return rq.Redirect(path)
}

// NotKept leads on after what ended and could not be written down; any other err comes back.
func (rq *Request) NotKept(path string, err error) error {
	if !errors.Is(err, house.ErrEndedNotKept) {
		return err
	}
	rq.Server.Log.Warn("what ended is not written down yet", "path", rq.R.URL.Path, "error", err)
	return rq.Note(path, services.AsProblem(err).Say)
}

// Page is a page about to be shown.
type Page struct {
	*Request
	Title  string // what the page says, without "Hearth"
	Nav    string // path of the menu's current place; "" for none
	Status int
	Steps  *Steps // the claim's rail instead of the menu
	Plain  bool   // nobody is signed in, or it does not matter: no menu
	Alone  bool   // there is no other page to go to
	Flash  *Flash
	Errors Errors
	// Here is where the language links lead, when asking for this page anew does not bring it back; "" is its own address.
	Here string
	// Fragment loads the script that puts a code from the address into its field, Smooth loads htmx.
	Fragment, Smooth, Seal bool
	Body                   templ.Component
}

// Still says that who belongs cannot change now, because it is disputed or the record of it cannot be used: pages offer no
// button for that, and Layout says why.
func (p *Page) Still() bool { return p.Frame.Frozen || p.Frame.LogReadOnly }

// Steps is where a wizard is.
type Steps struct {
	Names []string
	At    int // from 1
}

// Render shows the page: 200 unless Status says otherwise, 422 when it carries errors.
func (rq *Request) Render(p *Page) error {
	p.Request = rq
	if Sealed(rq.R.Context()) {
		p.Plain = true // the menu leads to pages that are not inside the seal
	}
	if rq.Frame.Removed {
		p.Plain, p.Alone = true, true
	}
	if p.Flash == nil && len(p.Errors.List) == 0 {
		p.Flash = rq.Server.Flashes.take(rq)
	}
	if len(p.Errors.List) > 0 && p.Status == 0 {
		p.Status = http.StatusUnprocessableEntity
		if p.Errors.Status != 0 {
			p.Status = p.Errors.Status
		}
	}
	if p.Status == 0 {
		p.Status = http.StatusOK
	}
	h := rq.W.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", rq.Language.Tag)
	h.Set("Vary", "Accept-Language, Cookie, HX-Request")
	h.Set("Cache-Control", "no-store")
	rq.W.WriteHeader(p.Status)
	if rq.R.Method == http.MethodHead {
		return nil
	}
	if err := rq.Server.Layout(p).Render(rq.R.Context(), rq.W); err != nil {
		rq.Server.Log.Debug("page not sent whole", "path", rq.R.URL.Path, "error", err)
	}
	return nil
}

// NotModified answers a script's poll when nothing changed, and says whether the request was one.
func (rq *Request) NotModified() bool {
	if rq.R.Header.Get("HX-Request") != "true" {
		return false
	}
	rq.W.Header().Set("Cache-Control", "no-store")
	rq.W.WriteHeader(http.StatusNoContent)
	return true
}

// Fail answers with the page for err.
func (rq *Request) Fail(err error) {
	p := services.AsProblem(err)
	if p.Kind == services.KindInternal {
		rq.Server.Log.Error("page could not be made", "path", rq.R.URL.Path, "error", err)
	}
	t := rq.trouble(p)
	if rq.R.Context().Err() != nil && errors.Is(err, rq.R.Context().Err()) {
		return // nobody is there any more
	}
	page := &Page{Title: t.Title, Status: t.Status, Plain: rq.Caller.Role == services.RoleNone || t.Link == "", Alone: t.Link == "", Flash: &Flash{}}
	page.Request = rq
	page.Body = rq.Server.ErrorBody(page, t)
	_ = rq.Render(page)
}

func (rq *Request) trouble(p *services.Problem) Trouble {
	t := Trouble{Sentence: rq.Say(p.Say), Action: rq.T("error.home"), Link: "/"}
	switch p.Kind {
	case services.KindInvalid:
		t.Status, t.Title = http.StatusBadRequest, rq.T("error.invalid")
	case services.KindDenied:
		t.Status, t.Title = http.StatusForbidden, rq.T("error.denied")
	case services.KindSignIn:
		t.Status, t.Title = http.StatusUnauthorized, rq.T("error.signin")
		t.Action, t.Link = rq.T("error.signin.do"), SignInPath(rq.R)
	case services.KindNotFound:
		t.Status, t.Title = http.StatusNotFound, rq.T("error.notfound")
	case services.KindConflict:
		t.Status, t.Title = http.StatusConflict, rq.T("error.conflict")
	case services.KindBusy:
		t.Status, t.Title = http.StatusTooManyRequests, rq.T("error.busy")
		rq.W.Header().Set("Retry-After", "60")
	case services.KindUnavailable:
		t.Status, t.Title = http.StatusServiceUnavailable, rq.T("error.unavailable")
		if p.Code == "not-ready" {
			rq.W.Header().Set("Retry-After", "1")
		}
	default:
		t.Status, t.Title = http.StatusInternalServerError, rq.T("error.internal")
	}
	switch p.Code { // of what lets nobody in there is no other page
	case "box-removed":
		t.Title, t.Action, t.Link = rq.T("error.removed"), rq.T("error.removed.do"), "/dispute"
		if rq.Caller.Face == services.FaceLAN { // not over plain http
			t.Action, t.Link = "", ""
			if secure := rq.Server.House.Doors(rq.R.Context()).Secure; len(secure) > 0 {
				t.Action, t.Link = rq.T("error.removed.do"), secure[0]+"dispute"
			}
		}
	case "household-lost":
		t.Title, t.Action, t.Link = rq.T("error.lost"), "", ""
	}
	if p.Code == "misdirected" {
		t.Status, t.Title = http.StatusMisdirectedRequest, rq.T("error.misdirected")
		if at := reached(rq.R); at != "" {
			t.Action, t.Link = rq.T("error.misdirected.do", "address", at), at
		}
	}
	return t
}

// reached is the address at which r came in, as a browser would open it; "" when it is not known.
func reached(r *http.Request) string {
	at, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return ""
	}
	scheme, usual := "http", 80
	if r.TLS != nil {
		scheme, usual = "https", 443
	}
	a := at.AddrPort()
	a = netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
	host := strings.TrimSuffix(a.String(), ":"+strconv.Itoa(usual))
	return scheme + "://" + host + "/"
}

// SignInPath is the page that asks who it is, and then leads back to where r wanted to go.
func SignInPath(r *http.Request) string { return askPath("/signin", r) }

// AgainPath is the page that asks for the password once more, and then leads back.
func AgainPath(r *http.Request) string { return askPath("/again", r) }

// acts are the paths that can only be sent to: there is no page to come back to.
var acts = map[string]bool{"/signout": true, "/look": true, "/apps/revoke": true, "/network/remove": true}

func askPath(path string, r *http.Request) string {
	to := r.URL.Path // without its query: what was asked for is a page, never an act
	if to == "/" || acts[to] || !safePath(to) {
		return path
	}
	return path + "?to=" + url.QueryEscape(to)
}

// Back returns the page that "to" in the query or form names, if it is one of ours, else fallback.
func (rq *Request) Back(fallback string) string {
	to := rq.R.FormValue("to")
	if !safePath(to) || to == "/" {
		return fallback
	}
	return to
}

// safePath says whether s is a path on this very host: no scheme, no host, nothing browsers take for one (a second
// slash, a backslash, control characters), no query.
func safePath(s string) bool {
	if len(s) == 0 || len(s) > 200 || s[0] != '/' {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		ok := c == '/' || c == '-' || c == '.' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !ok || c == '/' && i > 0 && s[i-1] == '/' || c == '.' && i > 0 && s[i-1] == '.' {
			return false
		}
	}
	return true
}

// Send answers with a file that is never kept by caches. inline is shown, not saved.
func (rq *Request) Send(f house.File, inline bool) error {
	h := rq.W.Header()
	h.Set("Content-Type", f.Type)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if !inline {
		h.Set("Content-Disposition", `attachment; filename="`+safeName(f.Name)+`"`)
	}
	if rq.R.Method == http.MethodHead {
		return nil
	}
	_, _ = rq.W.Write(f.Body)
	return nil
}

// transferTime is how long a Download may take.
const transferTime = 15 * time.Minute

// Stream answers with a file that is saved. What breaks off in the middle is seen by the browser.
func (rq *Request) Stream(d house.Download) error {
	defer d.Close()
	h := rq.W.Header()
	h.Set("Content-Type", d.Type)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Disposition", `attachment; filename="`+safeName(d.Name)+`"`)
	if rq.R.Method == http.MethodHead {
		return nil
	}
	_ = http.NewResponseController(rq.W).SetWriteDeadline(time.Now().Add(transferTime)) // a slow line at home
	if err := d.Write(rq.W); err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

func safeName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, s)
}
