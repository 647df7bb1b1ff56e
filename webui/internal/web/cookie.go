package web

import (
	"net/http"

	"hearth.alt/services"
)

// cookieName is what a cookie is called where r came in. Over TLS the prefix __Host- (RFC 6265bis, section 4.1.3.2)
// makes browsers refuse one that another host of the domain, or plain http, tries to plant.
func cookieName(r *http.Request, name string) string {
	if r.TLS != nil {
		return "__Host-hearth-" + name
	}
	return "hearth-" + name
}

func sessionName(r *http.Request) string {
	if r.TLS != nil {
		return "__Host-hearth"
	}
	return "hearth"
}

// sessionAge is how long browsers keep the session cookie, in seconds; the session itself ends when account says so.
const sessionAge = 180 * 24 * 3600

// MayHold says whether a cookie worth stealing may be set: anywhere but on plain http on the home network, unless
// the request travels sealed.
func MayHold(r *http.Request) bool {
	return CallerOf(r.Context()).Face != services.FaceLAN || Sealed(r.Context())
}

// SetSession signs the browser in. On plain http on the home network it does nothing.
func SetSession(w http.ResponseWriter, r *http.Request, token string) {
	if MayHold(r) {
		setCookie(w, r, sessionName(r), token, sessionAge)
	}
}

// ClearSession signs the browser out; it does not end the session.
func ClearSession(w http.ResponseWriter, r *http.Request) {
	setCookie(w, r, sessionName(r), "", -1)
}

// SessionToken returns the token that SetSession set, and "" when there is none. On plain http on the home network
// there never is one.
func SessionToken(r *http.Request) string {
	c, err := r.Cookie(sessionName(r))
	if err != nil || !MayHold(r) {
		return ""
	}
	return c.Value
}

// SetClaim keeps the token of a proven claim code for an hour, ClaimToken returns it, and SetClaim with "" forgets it.
func SetClaim(w http.ResponseWriter, r *http.Request, token string) {
	if token == "" {
		setCookie(w, r, cookieName(r, "claim"), "", -1)
	} else if MayHold(r) {
		setCookie(w, r, cookieName(r, "claim"), token, 3600)
	}
}

// ClaimToken returns the token that SetClaim set.
func ClaimToken(r *http.Request) string {
	c, err := r.Cookie(cookieName(r, "claim"))
	if err != nil || !MayHold(r) {
		return ""
	}
	return c.Value
}

func setCookie(w http.ResponseWriter, r *http.Request, name, value string, age int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: age,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	})
}
