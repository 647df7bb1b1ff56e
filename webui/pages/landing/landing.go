// Package landing is what plain http on the home network shows: what this box is, and the ways in. Before the claim,
// and until the first device is paired, it also offers the sealed way: a form that only the script seal.js makes visible
// and answers, so that what is typed never travels open.
package landing

import (
	"hearth.alt/webui/assets"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Pages is the page.
type Pages struct{ House house.Framing }

// Show is GET / on the LAN face, and inside the seal, where it is what remains to be said at the end.
func (p *Pages) Show(rq *web.Request) error {
	pg := &web.Page{Title: rq.T("landing.title"), Plain: true}
	if !rq.Frame.Claimed {
		pg.Title = rq.T("landing.new")
	}
	pg.Request = rq
	d := p.House.Doors(rq.R.Context())
	pg.Seal = d.Sealed && !web.Sealed(rq.R.Context())
	pg.Body = body(pg, d, pg.Seal && assets.Path("seal.js") != "")
	return rq.Render(pg)
}
