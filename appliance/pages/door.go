package pages

import (
	"context"
	"net/http"

	"hearth.alt/services/account"
	"hearth.alt/services/secret"
	"hearth.alt/webui"
)

// knownCookie remembers that somebody signed in at this browser before, so that nobody else's wrong tries hold them up.
const knownCookie = "hearth-known"

// door is what the cookies of one request say, and what its answer sets.
type door struct {
	session secret.Text
	known   secret.Text
	browser string

	newSession, newKnown secret.Text
}

type doorKey struct{}

func doorOf(ctx context.Context) *door {
	if d, ok := ctx.Value(doorKey{}).(*door); ok {
		return d
	}
	return &door{}
}

// WithDoor stands around the pages: the house learns the cookies of a request, and what signing in gives goes out as
// cookies with the answer. Sign-in, proving and a new password each rotate the session's token.
func WithDoor(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d := &door{session: secret.NewText(webui.SessionToken(r)), browser: r.UserAgent()}
		if c, err := r.Cookie(knownName(r)); err == nil {
			d.known = secret.NewText(c.Value)
		}
		r = r.WithContext(context.WithValue(r.Context(), doorKey{}, d))
		next.ServeHTTP(&doorWriter{ResponseWriter: w, r: r, d: d}, r)
	})
}

func knownName(r *http.Request) string {
	if r.TLS != nil {
		return "__Host-" + knownCookie
	}
	return knownCookie
}

// doorWriter sets the cookies just before the head of the answer goes out.
type doorWriter struct {
	http.ResponseWriter
	r    *http.Request
	d    *door
	done bool
}

func (w *doorWriter) WriteHeader(status int) {
	if !w.done {
		w.done = true
		if t := w.d.newSession.Reveal(); t != "" {
			webui.SetSession(w.ResponseWriter, w.r, t)
		}
		if t := w.d.newKnown.Reveal(); t != "" && webui.MayHold(w.r) {
			http.SetCookie(w.ResponseWriter, &http.Cookie{
				Name: knownName(w.r), Value: t, Path: "/", MaxAge: int(account.KnownLife.Seconds()),
				HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: w.r.TLS != nil,
			})
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *doorWriter) Write(b []byte) (int, error) {
	if !w.done {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the real writer.
func (w *doorWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// through is what account asks of somebody at the door of ctx.
func through(ctx context.Context, name string, password secret.Text) account.SignIn {
	d := doorOf(ctx)
	return account.SignIn{By: webui.CallerOf(ctx), Name: name, Password: password, Known: d.known, Session: d.session, Browser: d.browser}
}

// let puts what proving a password gave onto the answer: the session's new token, and that the browser is known.
func let(ctx context.Context, in account.SignedIn) {
	d := doorOf(ctx)
	d.newSession, d.newKnown = in.Token, in.Known
}
