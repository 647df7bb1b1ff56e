// Package friends is the address book: other households, what they are allowed, and the invitations to them and from
// them.
package friends

import (
	"strings"

	"hearth.alt/services"
	"hearth.alt/webui/components"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// Pages are the pages and their acts.
type Pages struct{ House house.Friends }

const nav = "/friends"

type row struct{ name, note, may, seen, path string }

type waiting struct{ name, path, say string }

type listView struct {
	rows      []row
	waiting   []waiting
	mayChange bool
	us, print string
}

func page(rq *web.Request, title string, e web.Errors) *web.Page {
	pg := &web.Page{Title: title, Nav: nav, Errors: e}
	pg.Request = rq
	return pg
}

// List is GET /friends.
func (p *Pages) List(rq *web.Request) error {
	list, err := p.House.Friends(rq.R.Context())
	if err != nil {
		return err
	}
	v := listView{mayChange: list.MayChange, us: list.Name, print: list.Fingerprint}
	for _, f := range list.Friends {
		v.rows = append(v.rows, row{
			name: f.Petname, note: note(rq, f.Nickname, f.LooksLike), may: may(rq, f.Grants), seen: seen(rq, f), path: nav + "/" + f.ID.String(),
		})
	}
	for _, i := range list.Invitations {
		w := waiting{name: i.Petname, path: nav + "/" + i.ID + "/invitation", say: rq.T("friends.waiting.say", "until", i.Expires)}
		if w.name == "" {
			w.name = rq.T("friends.someone")
		}
		v.waiting = append(v.waiting, w)
	}
	pg := page(rq, rq.T("friends.sentence", "n", len(v.rows)), web.Errors{})
	pg.Body = listBody(pg, v)
	return rq.Render(pg)
}

// note is, as HTML, what they call themselves: always as theirs, with a warning where it looks like somebody else.
func note(rq *web.Request, nickname, like string) string {
	if like != "" {
		return rq.HTML("friends.calls.like", "name", nickname, "like", like)
	}
	return rq.HTML("friends.calls", "name", nickname)
}

func seen(rq *web.Request, f house.Friend) string {
	if f.Seen.IsZero() {
		return rq.T("format.never")
	}
	return rq.Ago(f.Seen)
}

// may says in words what is allowed.
func may(rq *web.Request, grants []services.Grant) string {
	var all []string
	for _, g := range grants {
		switch g.Kind {
		case services.GrantRelay:
			all = append(all, rq.T("friends.may.relay"))
		case services.GrantStore:
			all = append(all, rq.T("friends.may.store", "size", size(g)))
		case services.GrantExit:
			all = append(all, rq.T("friends.may.exit"))
		case services.GrantFollow:
			all = append(all, rq.T("friends.may.follow"))
		}
	}
	if len(all) == 0 {
		return rq.T("friends.may.nothing")
	}
	return strings.Join(all, ", ")
}

// size is "10 GB".
func size(g services.Grant) string {
	text := strings.TrimPrefix(g.String(), "store=")
	return text[:len(text)-2] + "\u00a0" + text[len(text)-2:]
}

// formOf is what there is of a friend, for the form that changes it.
func formOf(petname string, grants []services.Grant) house.FriendForm {
	form := house.FriendForm{Petname: petname}
	for _, g := range grants {
		switch g.Kind {
		case services.GrantRelay:
			form.Relay = true
		case services.GrantStore:
			form.Store = strings.ReplaceAll(size(g), "\u00a0", " ")
		case services.GrantExit:
			form.Exit = true
		case services.GrantFollow:
			form.Follow = true
		}
	}
	return form
}

func read(rq *web.Request) house.FriendForm {
	return house.FriendForm{
		Link: rq.Text("link"), Petname: rq.Text("petname"), Store: rq.Text("store"),
		Relay: rq.Checked("relay"), Exit: rq.Checked("exit"), Follow: rq.Checked("follow"),
	}
}

// InviteForm is GET /friends/invite.
func (p *Pages) InviteForm(rq *web.Request) error {
	return p.inviteForm(rq, house.FriendForm{}, web.Errors{})
}

func (p *Pages) inviteForm(rq *web.Request, form house.FriendForm, e web.Errors) error {
	pg := page(rq, rq.T("friends.invite.title"), e)
	pg.Body = inviteBody(pg, form)
	return rq.Render(pg)
}

// Invite is POST /friends/invite.
func (p *Pages) Invite(rq *web.Request) error {
	form := read(rq)
	id, err := p.House.InviteFriend(rq.R.Context(), form)
	e, err := rq.Form(err, "petname", "store")
	if err != nil {
		return err
	}
	if e.Any() {
		return p.inviteForm(rq, form, e)
	}
	return rq.Redirect(nav + "/" + id + "/invitation")
}

// Invitation is GET /friends/{id}/invitation.
func (p *Pages) Invitation(rq *web.Request) error {
	inv, err := p.House.FriendInvitation(rq.R.Context(), rq.R.PathValue("id"))
	if err != nil {
		return err
	}
	if inv.Petname == "" {
		inv.Petname = rq.T("friends.someone")
	}
	pg := page(rq, rq.T("friends.invitation.title", "name", inv.Petname), web.Errors{})
	pg.Body = linkBody(pg, inv, components.Code{}, may(rq, inv.Grants))
	if link := inv.Link.Reveal(); link != "" {
		code, err := components.QR(link)
		if err != nil {
			return err
		}
		pg.Body = linkBody(pg, inv, code, may(rq, inv.Grants))
	}
	return rq.Render(pg)
}

// Withdraw is POST /friends/{id}/invitation.
func (p *Pages) Withdraw(rq *web.Request) error {
	if err := p.House.WithdrawFriendInvitation(rq.R.Context(), rq.R.PathValue("id")); err != nil {
		return err
	}
	return rq.Done(nav, services.Say("webui.friend.withdrawn", "The invitation is withdrawn. Its link no longer works."))
}

// AcceptForm is GET /friends/accept.
func (p *Pages) AcceptForm(rq *web.Request) error {
	pg := page(rq, rq.T("friends.accept.title"), web.Errors{})
	pg.Body = acceptBody(pg, house.FriendForm{})
	return rq.Render(pg)
}

// Accept is POST /friends/accept: the link first; then, whom it is from was shown, what they are called and allowed.
func (p *Pages) Accept(rq *web.Request) error {
	ctx, form := rq.R.Context(), read(rq)
	if form.Petname == "" && !rq.Checked("named") {
		who, err := p.House.ReadFriendLink(ctx, form.Link)
		e, err := rq.Form(err, "link")
		if err != nil {
			return err
		}
		if e.Any() {
			pg := page(rq, rq.T("friends.accept.title"), e)
			pg.Body = acceptBody(pg, form)
			return rq.Render(pg)
		}
		if who.LooksLike == "" {
			form.Petname = who.Name
		}
		return p.name(rq, form, who, web.Errors{})
	}
	id, err := p.House.AcceptFriend(ctx, form)
	e, err := answered(rq, err)
	if err != nil {
		return err
	}
	if e.Any() {
		who, err := p.House.ReadFriendLink(ctx, form.Link)
		if err != nil {
			return err
		}
		return p.name(rq, form, who, e)
	}
	return rq.Done(nav+"/"+id.String(), services.Say("webui.friend.added", "{name} is a friend now.", "name", form.Petname))
}

// answered is rq.Form, but that what the other box answers, or that it does not, is said on the form too: it may be tried
// once more.
func answered(rq *web.Request, err error) (web.Errors, error) {
	if p := services.AsProblem(err); err != nil && (p.Kind == services.KindUnavailable || p.Kind == services.KindNotFound) {
		e := web.Errors{}
		e.Add("", rq.Say(p.Say))
		return e, nil
	}
	return rq.Form(err, "petname", "store")
}

func (p *Pages) name(rq *web.Request, form house.FriendForm, who house.FriendWelcome, e web.Errors) error {
	pg := page(rq, rq.T("friends.name.title", "name", who.Name), e)
	pg.Body = nameBody(pg, form, who)
	return rq.Render(pg)
}

func (p *Pages) friend(rq *web.Request) (house.Friend, error) {
	id, _ := services.ParseFriendID(rq.R.PathValue("id")) // what is none is nobody's
	return p.House.Friend(rq.R.Context(), id)
}

// One is GET /friends/{id}.
func (p *Pages) One(rq *web.Request) error {
	f, err := p.friend(rq)
	if err != nil {
		return err
	}
	return p.one(rq, f, formOf(f.Petname, f.Grants), web.Errors{})
}

func (p *Pages) one(rq *web.Request, f house.Friend, form house.FriendForm, e web.Errors) error {
	pg := page(rq, rq.T("friends.one.title", "name", f.Petname), e)
	pg.Body = oneBody(pg, f, form)
	return rq.Render(pg)
}

// Change is POST /friends/{id}.
func (p *Pages) Change(rq *web.Request) error {
	f, err := p.friend(rq)
	if err != nil {
		return err
	}
	form := read(rq)
	e, err := rq.Form(p.House.ChangeFriend(rq.R.Context(), f.ID, form), "petname", "store")
	if err != nil {
		return err
	}
	if e.Any() {
		return p.one(rq, f, form, e)
	}
	return rq.Done(nav+"/"+f.ID.String(), services.Say("webui.person.changed", "What was changed about {name} is saved.", "name", form.Petname))
}

// AskRemove is GET /friends/{id}/remove.
func (p *Pages) AskRemove(rq *web.Request) error {
	f, err := p.friend(rq)
	if err != nil {
		return err
	}
	pg := page(rq, rq.T("friends.remove.title", "name", f.Petname), web.Errors{})
	pg.Body = components.Ask(pg, components.Confirm{
		Question: rq.HTML("friends.remove.title", "name", f.Petname),
		Stops:    rq.HTML("friends.remove.stops"),
		Stays:    rq.HTML("friends.remove.stays"),
		Undo:     rq.HTML("friends.remove.undo"),
		Do:       rq.T("personremove.do", "name", f.Petname),
		Keep:     rq.T("personremove.keep", "name", f.Petname),
		KeepPath: nav + "/" + f.ID.String(),
	})
	return rq.Render(pg)
}

// Dismiss is POST /friends/{id}/dismiss.
func (p *Pages) Dismiss(rq *web.Request) error {
	f, err := p.friend(rq)
	if err != nil {
		return err
	}
	if err := p.House.DismissFriend(rq.R.Context(), f.ID); err != nil {
		return err
	}
	return rq.Done(nav+"/"+f.ID.String(), services.Say("webui.friend.dismissed", "What {name}'s boxes show now is what they are to go on from.", "name", f.Petname))
}

// Remove is POST /friends/{id}/remove.
func (p *Pages) Remove(rq *web.Request) error {
	f, err := p.friend(rq)
	if err != nil {
		return err
	}
	if err := p.House.RemoveFriend(rq.R.Context(), f.ID); err != nil {
		return err
	}
	return rq.Done(nav, services.Say("webui.friend.removed", "{name} is no friend any more. All that they were allowed ended at {at, time}.", "name", f.Petname, "at", rq.Now))
}
