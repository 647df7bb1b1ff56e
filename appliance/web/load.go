package web

import (
	"io"
	"net/http"
	"net/netip"
	"strings"

	"hearth.alt/appliance/api"
	"hearth.alt/appliance/sealed"
	"hearth.alt/services"
	"hearth.alt/services/crowd"
)

// requests is how many are under way at the same time: those from home and those from the tunnel each, so that the
// machines at home leave the phones of the household alone. A request holds up to about 100 KiB while it is answered (a
// body, what it is parsed into, the page), so that all of them stay far below what the process may use. A few is what
// a browser asks for at once to show one page.
var requests = crowd.Bounds{All: 256, Network: 128, Address: 32, Few: 4}

// mostFields bounds the fields of a query: parsed, each costs much more than its letters.
const mostFields = 64

var (
	errBusy = &services.Problem{
		Kind: services.KindUnavailable, Code: "hands-full",
		Say: services.Say("access.hands-full", "The box has its hands full. Try once more in a moment."),
	}
	errFields = &services.Problem{
		Kind: services.KindInvalid, Code: "bad-input",
		Say: services.Say("access.fields", "The address has too many parts. Nothing was changed."),
	}
)

// bound lets in to next what load allows; loopback is the box itself. What is one too many is answered without reading
// anything more of it.
func (s *Server) bound(load *crowd.Count, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := crowd.Address(r.RemoteAddr)
		if from.IsLoopback() {
			from = netip.Addr{}
		}
		if !load.Enter(from) {
			w.Header().Set("Retry-After", "1")
			w.Header().Set("Connection", "close")
			s.brief(w, r, errBusy)
			return
		}
		defer load.Leave(from)
		if strings.Count(r.URL.RawQuery, "&") >= mostFields {
			s.brief(w, r, errFields)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// brief answers with p in one sentence, and asks nothing of the house for it.
func (s *Server) brief(w http.ResponseWriter, r *http.Request, p *services.Problem) {
	setHeaders(w.Header())
	switch {
	case strings.HasPrefix(r.URL.Path, api.Prefix+"/"):
		api.WriteFailure(w, s.cfg.Log, "none", p)
		return
	case strings.HasPrefix(r.URL.Path, "/sealed/") && p == errBusy:
		sealed.Full(w)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(api.HTTPStatus(p.Kind))
	io.WriteString(w, s.cfg.UI.Say(r, p.Say)+"\n")
}
