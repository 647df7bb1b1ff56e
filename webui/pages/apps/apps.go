// Package apps is what a paired device fetches over the private network: the house's certificate, the settings of
// apps, and passwords for them.
package apps

import (
	"html"
	"strings"

	"hearth.alt/services"
	"hearth.alt/webui/components"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Pages are the page, its downloads and its acts.
type Pages struct{ House house.Apps }

type password struct{ id, name, created, used string }

type view struct {
	a         house.AppSettings
	settings  []components.Fact
	passwords []password
	name      string
}

// Show is GET /apps.
func (p *Pages) Show(rq *web.Request) error { return p.show(rq, "", web.Errors{}) }

func (p *Pages) show(rq *web.Request, name string, e web.Errors) error {
	a, err := p.House.Apps(rq.R.Context())
	if err != nil {
		return err
	}
	v := view{a: a, name: name}
	for _, s := range a.Settings {
		v.settings = append(v.settings, components.Fact{
			Label: rq.Say(s.Label), Value: `<span class="code">` + html.EscapeString(s.Value) + `</span>`,
		})
	}
	for _, w := range a.Passwords {
		v.passwords = append(v.passwords, password{id: w.ID, name: w.Name, created: rq.Day(w.Created), used: rq.Ago(w.Used)})
	}
	pg := &web.Page{Title: rq.T("apps.title"), Nav: "/apps", Errors: e}
	pg.Request = rq
	pg.Body = body(pg, v)
	return rq.Render(pg)
}

// Add is POST /apps: a new password, shown once.
func (p *Pages) Add(rq *web.Request) error {
	name := rq.Text("name")
	made, err := p.House.NewAppPassword(rq.R.Context(), name)
	e, err := rq.Form(err, "name")
	if err != nil {
		return err
	}
	if e.Any() {
		return p.show(rq, name, e)
	}
	return rq.DoneOnce("/apps", services.Say("webui.apps.made", "The password for {name} is made.", "name", name), made)
}

// Revoke is POST /apps/revoke.
func (p *Pages) Revoke(rq *web.Request) error {
	if err := p.House.RevokeAppPassword(rq.R.Context(), rq.Text("password")); err != nil {
		return rq.NotKept("/apps", err)
	}
	return rq.Done("/apps", services.Say("webui.apps.revoked", "That password no longer works."))
}

// Certificate is GET /apps/certificate/{kind}.
func (p *Pages) Certificate(rq *web.Request) error {
	f, err := p.House.Certificate(rq.R.Context(), rq.R.PathValue("kind"))
	if err != nil {
		return err
	}
	return rq.Send(f, false)
}

func join(names []string) string { return strings.Join(names, ", ") }
