package webtest

import (
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"

	"hearth.alt/services"
	"hearth.alt/webui"
	"hearth.alt/webui/assets"
)

// ServeHTTP plays the scene: it makes its request and answers with what a real house would, in the language of r
// ("?lang=de" or its Accept-Language); of r, nothing else counts but whether a script of the page asks.
func (s Scene) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ui := webui.New(webui.Config{House: s.House, Now: func() time.Time { return Now }, Zone: func() *time.Location { return time.UTC }})
	var body string
	if s.Form != nil {
		body = s.Form.Encode()
	}
	inner, err := http.NewRequestWithContext(webui.WithCaller(r.Context(), s.Caller), s.Method, "http://hearth.local"+s.Path, strings.NewReader(body))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	inner.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	inner.Header.Set("Accept-Language", r.Header.Get("Accept-Language"))
	inner.Header.Set("HX-Request", r.Header.Get("HX-Request"))
	if lang := r.URL.Query().Get("lang"); lang != "" {
		inner.Header.Set("Accept-Language", lang)
	}
	if s.Proof {
		inner.AddCookie(&http.Cookie{Name: "hearth-claim", Value: "proof"})
	}
	if !s.Follow {
		s.serve(ui, w, inner)
		return
	}
	rec := httptest.NewRecorder()
	s.serve(ui, rec, inner)
	next, err := http.NewRequestWithContext(inner.Context(), "GET", "http://hearth.local"+rec.Header().Get("Location"), nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	next.Header.Set("Accept-Language", inner.Header.Get("Accept-Language"))
	for _, c := range rec.Result().Cookies() {
		next.AddCookie(c)
	}
	s.serve(ui, w, next)
}

// serve is the route table as appliance enforces it, as far as pages can see.
func (s Scene) serve(ui *webui.UI, w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/misdirected":
		ui.Fail(w, r, &services.Problem{
			Kind: services.KindDenied, Code: "misdirected",
			Say: services.Say("webui.misdirected", "This box answers to its own names and addresses only. Open it as hearth.local, or by the address on its sheet."),
		})
		return
	case "/internal":
		ui.Fail(w, r, errors.New("the scene wants it so"))
		return
	}
	mux := http.NewServeMux()
	here := func(r webui.Route) bool { return slices.Contains(r.Faces, s.Caller.Face) || s.Sealed && r.Sealed }
	for _, route := range ui.Routes() {
		if !here(route) {
			if !slices.ContainsFunc(ui.Routes(), func(o webui.Route) bool { return here(o) && o.Method == route.Method && o.Path == route.Path }) {
				mux.HandleFunc(route.Method+" "+route.Path, ui.NotHere)
			}
			continue
		}
		mux.HandleFunc(route.Method+" "+route.Path, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case s.House.TheFrame.Removed && !route.Removed:
				ui.Fail(w, r, &services.Problem{Kind: services.KindUnavailable, Code: "box-removed", Say: services.Sentence{Key: "access.removed"}})
			case s.Caller.Role < route.Least && s.Caller.Role == services.RoleNone:
				ui.NeedSignIn(w, r)
			case s.Caller.Role < route.Least:
				ui.NotAllowed(w, r)
			case s.House.TheFrame.Claimed && !route.After, !s.House.TheFrame.Claimed && !route.Before:
				ui.NotFound(w, r)
			default:
				route.Handler(w, r)
			}
		})
	}
	mux.HandleFunc("/", ui.NotFound)
	mux.ServeHTTP(w, r)
}

// Gallery serves a list of all scenes at "/", each at "/s/<name>", and the assets.
func Gallery() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+assets.Prefix, assets.ServeHTTP)
	scenes := Scenes()
	for _, s := range scenes {
		mux.HandleFunc("GET /s/"+s.Name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", webui.ContentSecurityPolicy)
			s.ServeHTTP(w, r)
		})
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", webui.ContentSecurityPolicy)
		fmt.Fprintf(w, "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>Hearth: the gallery</title>"+
			"<link rel=stylesheet href='%s'><main id=main><h1>Every page, in every state.</h1><ul class=rows>", assets.Path("hearth.css"))
		for _, s := range scenes {
			n := html.EscapeString(s.Name)
			fmt.Fprintf(w, "<li><span></span><div class=what><h2><a href='/s/%s'>%s</a></h2><p>%s, %s</p></div></li>", n, n, html.EscapeString(s.Page), html.EscapeString(s.State))
		}
		fmt.Fprint(w, "</ul></main></html>")
	})
	return mux
}
