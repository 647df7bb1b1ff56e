package web

import (
	"crypto/rand"
	"net/http"
	"sync"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/secret"
	"hearth.alt/webui/house"
)

// Flash is the answer to what was just done, shown once on the page that follows.
type Flash struct {
	State house.State
	Say   services.Sentence
	// Once is something that is shown now and never again; empty for most.
	Once secret.Shown
}

// Flashes keeps flashes between a POST and the page that follows: in memory, at most flashMax of them, each for at most
// flashFor. What is kept is found by a random cookie only, so nothing of it stands in an address.
type Flashes struct {
	now func() time.Time
	mu  sync.Mutex
	m   map[string]flashEntry
}

type flashEntry struct {
	flash   Flash
	session string // of the caller it was made for; another one does not see it
	expires time.Time
}

const (
	flashMax = 1000
	flashFor = 2 * time.Minute
)

// NewFlashes makes an empty store.
func NewFlashes(now func() time.Time) *Flashes {
	return &Flashes{now: now, m: map[string]flashEntry{}}
}

func (f *Flashes) set(rq *Request, flash Flash) {
	if rq.Caller.Face == services.FaceLAN && !Sealed(rq.R.Context()) {
		return
	}
	key := rand.Text()
	now := f.now()
	f.mu.Lock()
	for k, e := range f.m {
		if now.After(e.expires) {
			delete(f.m, k)
		}
	}
	for k := range f.m {
		if len(f.m) < flashMax {
			break
		}
		delete(f.m, k) // any one: losing a flash loses a sentence, not a deed
	}
	f.m[key] = flashEntry{flash: flash, session: rq.Caller.Session, expires: now.Add(flashFor)}
	f.mu.Unlock()
	http.SetCookie(rq.W, &http.Cookie{
		Name: cookieName(rq.R, "flash"), Value: key, Path: "/", MaxAge: int(flashFor / time.Second),
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: rq.R.TLS != nil,
	})
}

// take returns the flash for this request and forgets it; nil when there is none.
func (f *Flashes) take(rq *Request) *Flash {
	name := cookieName(rq.R, "flash")
	c, err := rq.R.Cookie(name)
	if err != nil {
		return nil
	}
	f.mu.Lock()
	e, ok := f.m[c.Value]
	delete(f.m, c.Value)
	f.mu.Unlock()
	http.SetCookie(rq.W, &http.Cookie{Name: name, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: rq.R.TLS != nil})
	// A flash made before signing in or just after signing out has no session and is anyone's with the cookie.
	if !ok || f.now().After(e.expires) || e.session != "" && e.session != rq.Caller.Session && e.flash.Once.Reveal() != "" {
		return nil
	}
	return &e.flash
}
