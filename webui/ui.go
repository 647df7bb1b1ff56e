package webui

import (
	"log/slog"
	"net/http"
	"time"

	"hearth.alt/services"
	"hearth.alt/webui/assets"
	"hearth.alt/webui/components"
	"hearth.alt/webui/internal/web"
	"hearth.alt/webui/pages/apps"
	"hearth.alt/webui/pages/boxes"
	"hearth.alt/webui/pages/claim"
	"hearth.alt/webui/pages/device"
	"hearth.alt/webui/pages/deviceadd"
	"hearth.alt/webui/pages/deviceremove"
	"hearth.alt/webui/pages/devices"
	"hearth.alt/webui/pages/dispute"
	"hearth.alt/webui/pages/events"
	"hearth.alt/webui/pages/failure"
	"hearth.alt/webui/pages/friends"
	"hearth.alt/webui/pages/help"
	"hearth.alt/webui/pages/home"
	"hearth.alt/webui/pages/join"
	"hearth.alt/webui/pages/landing"
	"hearth.alt/webui/pages/log"
	"hearth.alt/webui/pages/network"
	"hearth.alt/webui/pages/notices"
	"hearth.alt/webui/pages/people"
	"hearth.alt/webui/pages/person"
	"hearth.alt/webui/pages/personinvite"
	"hearth.alt/webui/pages/personleft"
	"hearth.alt/webui/pages/personremove"
	"hearth.alt/webui/pages/sessions"
	"hearth.alt/webui/pages/signin"
	"hearth.alt/webui/pages/words"
)

// Config is what the pages need.
type Config struct {
	House House                 // required
	Now   func() time.Time      // the clock that pages show; nil is time.Now. It decides nothing but how times read.
	Zone  func() *time.Location // in which times are shown; nil is UTC, and says so
	Log   *slog.Logger          // nil discards
}

// UI is the pages of one house. Its methods may be called from many goroutines.
type UI struct {
	server *web.Server
	house  House
}

// New makes the pages. It panics without a House: that is a mistake of wiring.
func New(c Config) *UI {
	if c.House == nil {
		panic("webui: Config.House is nil")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Zone == nil {
		c.Zone = func() *time.Location { return nil }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &UI{
		house: c.House,
		server: &web.Server{
			House: c.House, Now: c.Now, Zone: c.Zone, Log: c.Log, Flashes: web.NewFlashes(c.Now),
			Layout: components.Layout, ErrorBody: failure.Body,
		},
	}
}

// ContentSecurityPolicy is what every answer of webui may carry and works under (CSP Level 3): nothing from elsewhere,
// no inline script, no inline style, no frame around it.
const ContentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Fail answers with a page for err: a *services.Problem in its own words, anything else as our fault. Whoever serves
// the routes uses it for what it refuses itself (KindDenied, KindBusy, code "misdirected" for a foreign Host).
func (u *UI) Fail(w http.ResponseWriter, r *http.Request, err error) {
	u.server.Handle(func(*web.Request) error { return err })(w, r)
}

// Say is s in the language of r's browser; it asks nothing of the House.
func (u *UI) Say(r *http.Request, s services.Sentence) string { return u.server.Printer(r).Say(s) }

// NotFound answers with the page for an address that leads nowhere.
func (u *UI) NotFound(w http.ResponseWriter, r *http.Request) {
	u.Fail(w, r, &services.Problem{
		Kind: services.KindNotFound, Code: "not-found",
		Say: services.Say("webui.notfound", "This address leads nowhere in the house. It may have been removed, or mistyped."),
	})
}

// NotHere answers for a route that exists on another face only: it names the ways to reach it.
func (u *UI) NotHere(w http.ResponseWriter, r *http.Request) {
	u.Fail(w, r, &services.Problem{
		Kind: services.KindDenied, Code: "not-here",
		Say: services.Say("webui.nothere", "This page is not shown here, because others on the home network could read along. Open it over the private network or over https; the first page says how."),
	})
}

// NotAllowed answers for a route that asks for a higher role.
func (u *UI) NotAllowed(w http.ResponseWriter, r *http.Request) {
	u.Fail(w, r, web.ErrNotAllowed)
}

// NeedSignIn leads to the page that asks who it is, and from there back to the page of r.
func (u *UI) NeedSignIn(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, web.SignInPath(r), http.StatusSeeOther)
}

// NeedPassword leads to the page that asks for the password once more, and from there back to the page of r.
func (u *UI) NeedPassword(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, web.AgainPath(r), http.StatusSeeOther)
}

// NeedClaim leads from any page of an unclaimed box to the one that begins the claim.
func (u *UI) NeedClaim(w http.ResponseWriter, r *http.Request) {
	to := "/claim"
	if c := CallerOf(r.Context()); c.Face == services.FaceLAN && !Sealed(r.Context()) {
		to = "/"
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// SetSession signs the browser in with a token; on plain http on the home network it does nothing.
func SetSession(w http.ResponseWriter, r *http.Request, token string) { web.SetSession(w, r, token) }

// ClearSession makes the browser forget the token; it does not end the session.
func ClearSession(w http.ResponseWriter, r *http.Request) { web.ClearSession(w, r) }

// SessionToken returns the token of the browser, "" when there is none. The cookie is "__Host-hearth" over TLS and
// "hearth" on the tunnel, on loopback and inside the seal.
func SessionToken(r *http.Request) string { return web.SessionToken(r) }

// Routes returns the route table of a house with no more than its interface.
func Routes(h House) []Route { return New(Config{House: h}).Routes() }

// Routes returns the route table: every page, act and asset, each once per set of faces.
func (u *UI) Routes() []Route {
	var (
		h   = u.house
		on  = u.server.Handle
		get = func(page, path string, least services.Role, handler web.Handler) Route {
			return Route{
				Method: "GET", Path: path, Faces: inside(), Least: least, After: true, Page: page, Handler: on(handler),
			}
		}
		post = func(page, path string, least services.Role, handler web.Handler) Route {
			r := get(page, path, least, handler)
			r.Method = "POST"
			return r
		}
		claims    = &claim.Pages{House: h}
		signs     = &signin.Pages{House: h}
		landings  = &landing.Pages{House: h}
		helps     = &help.Pages{House: h}
		homes     = &home.Pages{House: h}
		lists     = &devices.Pages{House: h}
		adds      = &deviceadd.Pages{House: h}
		ones      = &device.Pages{House: h}
		removes   = &deviceremove.Pages{House: h}
		folks     = &people.Pages{House: h}
		invites   = &personinvite.Pages{House: h}
		someone   = &person.Pages{House: h}
		leaves    = &personremove.Pages{House: h}
		gone      = &personleft.Pages{House: h}
		mates     = &friends.Pages{House: h}
		joins     = &join.Pages{House: h}
		disputes  = &dispute.Pages{House: h}
		rewords   = &words.Pages{House: h}
		logins    = &sessions.Pages{House: h}
		units     = &boxes.Pages{House: h}
		nets      = &network.Pages{House: h}
		logs      = &log.Pages{House: h}
		tools     = &apps.Pages{House: h}
		happens   = &events.Pages{House: h}
		others    = &notices.Pages{House: h}
		nobody    = services.RoleNone
		guest     = services.RoleGuest
		member    = services.RoleMember
		admin     = services.RoleAdmin
		owner     = services.RoleOwner
		plainOnly = []services.Face{services.FaceLAN}
		anywhere  = append(inside(), services.FaceLAN)
	)
	return []Route{
		{Method: "GET", Path: assets.Prefix, Class: ClassAsset, Faces: anywhere, Before: true, After: true, Handler: assets.ServeHTTP},

		// Plain http on the home network: what this is and the ways in.
		sealed(faces(plainOnly, before(get("landing", "/{$}", nobody, landings.Show)))),
		sealed(faces(anywhere, before(get("help", "/help", nobody, helps.Show)))),

		// The claim. Everything of it is sealed where http is plain.
		sealed(before(get("claim", "/claim", nobody, claims.Start))),
		sealed(before(post("claim", "/claim", nobody, claims.Prove))),
		sealed(before(get("claim", "/claim/names", nobody, claims.Names))),
		sealed(before(post("claim", "/claim/names", nobody, claims.Claim))),
		sealed(before(get("claim", "/claim/restore", nobody, claims.Restore))),
		sealed(before(get("claim", "/claim/join", nobody, claims.Join))),
		sealed(before(post("claim", "/claim/join", nobody, claims.JoinIt))),
		faces(plainOnly, before(get("landing", "/join", nobody, landings.Show))), // what the invitation of a box opens
		fresh(sealed(get("claim", "/claim/words", owner, claims.Words))),
		sealed(post("claim", "/claim/words", owner, claims.Written)),
		sealed(get("claim", "/claim/check", owner, claims.Check)),
		sealed(post("claim", "/claim/check", owner, claims.Confirm)),

		// Coming in and going.
		sealed(get("signin", "/signin", nobody, signs.Show)),
		sealed(post("signin", "/signin", nobody, signs.SignIn)),
		sealed(get("signin", "/again", guest, signs.Again)),
		sealed(post("signin", "/again", guest, signs.Prove)),
		sealed(post("signin", "/signout", guest, signs.SignOut)),
		get("join", "/join", nobody, joins.Show),
		post("join", "/join", nobody, joins.Read),
		get("join", "/join/accept", nobody, joins.Lost),
		get("forgotten", "/forgotten", nobody, joins.Forgotten),
		post("forgotten", "/forgotten", nobody, joins.Words),
		post("join", "/join/accept", nobody, joins.Accept),
		fresh(get("words", "/words", owner, rewords.Ask)),
		fresh(post("words", "/words", owner, rewords.Show)),
		get("words", "/words/check", owner, rewords.Lost),
		fresh(post("words", "/words/check", owner, rewords.Check)),
		get("words", "/words/replace", owner, rewords.Lost),
		fresh(post("words", "/words/replace", owner, rewords.Replace)),
		evenRemoved(get("dispute", "/dispute", nobody, disputes.Show)),
		evenRemoved(post("dispute", "/dispute", nobody, disputes.Words)),
		fresh(get("dispute", "/dispute/agree", admin, disputes.Agree)),
		fresh(post("dispute", "/dispute/agree", admin, disputes.Say)),
		evenRemoved(get("dispute", "/dispute/settle", nobody, disputes.Lost)),
		evenRemoved(post("dispute", "/dispute/settle", nobody, disputes.Settle)),

		// The house.
		get("home", "/{$}", guest, homes.Show),
		post("home", "/look", guest, homes.Look),
		get("events", "/events", guest, happens.Show),

		// Devices; the first pairing is sealed where http is plain.
		get("devices", "/devices", guest, lists.Show),
		sealed(get("deviceadd", "/devices/add", member, adds.Form)),
		sealed(post("deviceadd", "/devices/add", member, adds.Add)),
		sealed(get("deviceadd", "/devices/{id}/pair", member, adds.Pair)),
		sealed(post("deviceadd", "/devices/{id}/pair", member, adds.Act)),
		sealed(get("", "/devices/{id}/qr.png", member, adds.PNG)),
		sealed(get("", "/devices/{id}/file", member, adds.File)),
		get("device", "/devices/{id}", guest, ones.Show),
		post("device", "/devices/{id}", guest, ones.Rename),
		get("deviceremove", "/devices/{id}/remove", guest, removes.Ask),
		post("deviceremove", "/devices/{id}/remove", guest, removes.Remove),

		// People.
		get("people", "/people", member, folks.Show),
		fresh(get("personinvite", "/people/invite", member, invites.Form)),
		fresh(post("personinvite", "/people/invite", member, invites.Invite)),
		fresh(get("personinvite", "/people/{id}/invitation", member, invites.Show)), // whoever reads the link can be that person
		fresh(post("personinvite", "/people/{id}/invitation", member, invites.Renew)),
		get("person", "/people/{id}", member, someone.Show),
		fresh(post("person", "/people/{id}", member, someone.Change)),
		fresh(get("personremove", "/people/{id}/remove", member, leaves.Ask)),
		fresh(post("personremove", "/people/{id}/remove", member, leaves.Remove)),
		get("personleft", "/left/{id}", owner, gone.Show),
		fresh(post("personleft", "/left/{id}", owner, gone.Choose)),

		// Friends: other households.
		get("friends", "/friends", member, mates.List),
		fresh(get("friends", "/friends/invite", admin, mates.InviteForm)),
		fresh(post("friends", "/friends/invite", admin, mates.Invite)),
		fresh(get("friends", "/friends/accept", admin, mates.AcceptForm)),
		fresh(post("friends", "/friends/accept", admin, mates.Accept)),
		fresh(get("friends", "/friends/{id}/invitation", admin, mates.Invitation)), // whoever reads the link can be that friend
		post("friends", "/friends/{id}/invitation", admin, mates.Withdraw),
		get("friends", "/friends/{id}", member, mates.One),
		fresh(post("friends", "/friends/{id}", admin, mates.Change)),
		post("friends", "/friends/{id}/dismiss", admin, mates.Dismiss),
		get("friends", "/friends/{id}/remove", admin, mates.AskRemove),
		post("friends", "/friends/{id}/remove", admin, mates.Remove),
		// The boxes.
		get("boxes", "/boxes", member, units.Show),
		fresh(get("", "/boxes/export", owner, units.Export)),
		fresh(get("boxes", "/boxes/add", owner, units.Add)), // whoever reads the link can join
		fresh(post("boxes", "/boxes/add", owner, units.Act)),
		fresh(get("boxes", "/boxes/{id}/remove", admin, units.Ask)),
		fresh(post("boxes", "/boxes/{id}/remove", admin, units.Remove)),

		// One's own account, the network, apps.
		get("sessions", "/sessions", guest, logins.Show),
		post("sessions", "/sessions", guest, logins.End),
		get("sessions", "/password", guest, logins.Reload),
		post("sessions", "/password", guest, logins.Password),
		get("network", "/network", member, nets.Show),
		fresh(post("network", "/network", admin, nets.Allow)),
		post("network", "/network/remove", admin, nets.Remove),
		get("network", "/network/time", member, nets.Reload),
		fresh(post("network", "/network/time", admin, nets.SetTime)),
		get("network", "/network/zone", member, nets.Reload),
		post("network", "/network/zone", admin, nets.SetZone),
		get("log", "/network/log", admin, logs.Show),
		post("log", "/network/log", admin, logs.Check),
		get("apps", "/apps", guest, tools.Show),
		fresh(post("apps", "/apps", guest, tools.Add)),
		post("apps", "/apps/revoke", guest, tools.Revoke),
		get("", "/apps/certificate/{kind}", guest, tools.Certificate),

		before(get("notices", "/notices", nobody, others.List)),
		before(get("notices", "/notices/{n}", nobody, others.Show)),
	}
}

// inside lists the faces that serve everything, by role.
func inside() []services.Face {
	return []services.Face{services.FaceTunnel, services.FaceSecure}
}

func before(r Route) Route      { r.Before = true; return r }
func sealed(r Route) Route      { r.Sealed = true; return r }
func fresh(r Route) Route       { r.Fresh = true; return r }
func evenRemoved(r Route) Route { r.Removed = true; return r }

func faces(f []services.Face, r Route) Route { r.Faces = f; return r }
