package api

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/claimcode"
	"hearth.alt/services/discovery"
	"hearth.alt/services/identity"
	"hearth.alt/services/link"
	"hearth.alt/services/secret"
	"hearth.alt/webui/components"
)

// Joining is how this box and another one meet. The errors are those of services/link and of identity's JoinWith and
// JoinWithCode.
type Joining interface {
	// Candidates are where this box may be found, the best first.
	Candidates() []netip.AddrPort
	// ByLink joins the household of the link.
	ByLink(ctx context.Context, link identity.InviteLink, name string) error
	// ByCode joins the household of the box that shows the code, and returns which it is: the one at the address or name,
	// or with "" one that is found at home.
	ByCode(ctx context.Context, at string, code identity.SpokenCode, name string) (services.PeerID, error)
	// Linked are the boxes that are in touch with this one.
	Linked() map[services.PeerID]bool
	// Heard is the known time when a box was last in touch; zero is never.
	Heard(peer services.PeerID) time.Time
	// Away are the boxes that have been out of touch for a while: longer than one takes to start again.
	Away() []services.PeerID
}

// BoxOutput is one box of the household.
type BoxOutput struct {
	ID       services.PeerID `json:"id" show:"last"`
	Name     string          `json:"name"`
	Label    string          `json:"label"`
	State    services.State  `json:"state"`
	Self     bool            `json:"self"`              // the one that answers
	Linked   bool            `json:"linked"`            // in touch with it now
	Heard    *time.Time      `json:"heard" show:"time"` // when it last was; what it knew then is known here. null is never; for itself it is now
	Words    string          `json:"words"`             // three that the other box shows for this one; "" for itself
	Address4 string          `json:"address4"`
	Address6 string          `json:"address6"`
}

// BoxInvitationOutput is the invitation of a box.
type BoxInvitationOutput struct {
	Link    secret.Shown `json:"link"`
	Code    secret.Shown `json:"code"` // three words to say, where nothing can be scanned
	Expires time.Time    `json:"expires"`
	PNG     []byte       `json:"png,omitempty" save:"png" show:"qr=link"`
}

// JoinInput is what "box join" takes. The link may stand on a command line: it is good once, for ten minutes, and a box
// that came first shows.
type JoinInput struct {
	Link string `json:"link" arg:"LINK" help:"the link that box invite shows on the other box, or its three words in quotes"`
	Name string `json:"name,omitempty" help:"what this box is to be called; hearth when not given"`
	At   string `json:"at,omitempty" help:"with the three words: the other box's address or name; found at home when not given"`
}

// JoinOutput is the household that this box belongs to now.
type JoinOutput struct {
	Household string `json:"household"`
	Domain    string `json:"domain"`
	Box       string `json:"box"`
	Words     string `json:"words"` // the box that invited shows the same three, or another one joined
}

// BoxInput names a box.
type BoxInput struct {
	ID   string `json:"id" arg:"ID" path:"id" help:"its name or PeerID, as box list shows them"`
	This bool   `json:"this_box,omitempty" help:"it is this very box that is to be removed"`
	Keep bool   `json:"keep,omitempty" help:"it was not stolen: what passwords were set on it last go on counting"`
}

// newBox is what a box calls itself that nobody has claimed: hearth.local, or with a number where that is taken.
var newBox = regexp.MustCompile(`^hearth(-[2-9])?\.local$`)

// newBoxHost is where a phone's camera opens the link: the one unclaimed box that is found at home; while none is, what
// it will be called when own is the name of this one.
func newBoxHost(own string, found []discovery.Found) string {
	host := claimcode.Host
	if own == host {
		host = "hearth-2.local"
	}
	var open []string
	for _, f := range found {
		if f.Kind == discovery.KindHearth && f.Text["claim"] == "1" && newBox.MatchString(f.Host) {
			open = append(open, f.Host)
		}
	}
	if len(open) == 1 {
		host = open[0]
	}
	return host
}

// boxInvitation is the invitation that the box remembers, so that the page can show it again.
type boxInvitation struct {
	out     BoxInvitationOutput
	expires time.Time
}

// ListBoxes lists the boxes of the household.
func (h *House) ListBoxes(_ context.Context, caller services.Caller, _ None) ([]BoxOutput, error) {
	if err := least(caller, services.RoleMember); err != nil {
		return nil, err
	}
	m, linked := h.Identity.Membership(), h.Joining.Linked()
	household, out := h.Identity.FriendID(), []BoxOutput{}
	for _, b := range m.Boxes {
		one := BoxOutput{
			ID: b.ID, Name: b.Name, Label: b.Label, State: b.State, Self: b.ID == m.Self, Linked: linked[b.ID],
			Address4: b.Addr4.String(), Address6: b.Addr6.String(),
		}
		if !one.Self {
			one.Words = identity.PairWords(household, m.Self, b.ID)
		}
		heard := h.Joining.Heard(b.ID)
		if one.Linked || one.Self {
			heard = h.Clock.Now()
		}
		if !heard.IsZero() {
			heard = heard.UTC().Truncate(time.Second)
			one.Heard = &heard
		}
		out = append(out, one)
	}
	return out, nil
}

// InviteBox makes an invitation for one box, in place of the former one. Only owners may: a box signs for everybody, so who
// takes one in whose key they hold could make themselves one.
func (h *House) InviteBox(ctx context.Context, caller services.Caller, _ None) (BoxInvitationOutput, error) {
	if err := least(caller, services.RoleOwner); err != nil {
		return BoxInvitationOutput{}, err
	}
	candidates := h.Joining.Candidates()
	if len(candidates) == 0 {
		return BoxInvitationOutput{}, &services.Problem{
			Kind: services.KindUnavailable, Code: "no-address",
			Say: services.Say("house.box-no-address", "This box is in no network where another one could find it. Connect it, then invite once more."),
		}
	}
	made, err := h.Invitations.Open(h.acting(ctx, caller), candidates)
	if err != nil {
		return BoxInvitationOutput{}, err
	}
	text, err := made.Link.Text()
	if err != nil {
		return BoxInvitationOutput{}, err
	}
	out := BoxInvitationOutput{
		Link: secret.Show(secret.NewText("http://" + newBoxHost(h.Names.Name(), h.Names.Found()) + "/join#" + text)), Code: secret.Show(secret.NewText(made.Code.Words())), Expires: made.Link.Expires,
	}
	code, err := components.QR(out.Link.Reveal())
	if err != nil {
		return BoxInvitationOutput{}, err
	}
	out.PNG = code.PNG
	h.mu.Lock()
	h.boxInvite = &boxInvitation{out, made.Link.Expires}
	h.mu.Unlock()
	h.audit(ctx, caller, "box-invited", "")
	return out, nil
}

// BoxInvitation returns the invitation of a box that waits, to those who could make one; false when there is none.
func (h *House) BoxInvitation(caller services.Caller) (BoxInvitationOutput, identity.InvitationState, bool) {
	s := h.Invitations.State()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !s.Open || h.boxInvite == nil || !h.boxInvite.expires.Equal(s.Expires) || least(caller, services.RoleOwner) != nil {
		return BoxInvitationOutput{}, s, false
	}
	return h.boxInvite.out, s, true
}

// WithdrawBox ends the invitation of a box.
func (h *House) WithdrawBox(ctx context.Context, caller services.Caller) error {
	if err := least(caller, services.RoleOwner); err != nil {
		return err
	}
	open := h.Invitations.State().Open
	h.Invitations.Cancel()
	h.mu.Lock()
	h.boxInvite = nil
	h.mu.Unlock()
	if open {
		h.audit(ctx, caller, "box-withdrawn", "")
	}
	return nil
}

// defaultBox is what a box is called that nobody named; a number follows where the household has one already.
const defaultBox = "hearth"

// boxNamed tries name, or names of ours where none was typed.
func boxNamed(name string, try func(name string) error) error {
	if strings.TrimSpace(name) != "" {
		return try(name)
	}
	err := try(defaultBox)
	for n := 2; n <= 32 && errors.Is(err, &services.Problem{Code: "name-taken"}); n++ {
		err = try(fmt.Sprintf("%s %d", defaultBox, n))
	}
	return err
}

const joinTime = 5 * time.Minute

// JoinHousehold makes this unclaimed box one of the household that invited it, all of it or nothing. Whoever calls has
// proven that the box is theirs.
func (h *House) JoinHousehold(ctx context.Context, caller services.Caller, in JoinInput) (JoinOutput, error) {
	if err := h.MayClaim(); err != nil {
		return JoinOutput{}, err
	}
	try, err := h.invited(in)
	if err != nil {
		return JoinOutput{}, err
	}
	if !h.claiming.TryLock() {
		return JoinOutput{}, errClaiming
	}
	defer h.claiming.Unlock()
	if err := h.MayClaim(); err != nil {
		return JoinOutput{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	var inviter services.PeerID
	err = boxNamed(in.Name, func(name string) (err error) {
		inviter, err = try(ctx, name)
		return err
	})
	if err != nil {
		return JoinOutput{}, joinProblem(err)
	}
	m := h.Identity.Membership()
	box, _ := m.Box()
	h.Joined()
	h.audit(ctx, caller, "joined", m.Household.Name)
	return JoinOutput{Household: m.Household.Name, Domain: m.Household.Domain, Box: box.Name, Words: identity.PairWords(h.Identity.FriendID(), m.Self, inviter)}, nil
}

// invited reads what was typed: a link, or three words.
func (h *House) invited(in JoinInput) (func(ctx context.Context, name string) (services.PeerID, error), error) {
	text := strings.TrimSpace(in.Link)
	if text == "" {
		return nil, &services.Problem{
			Kind: services.KindInvalid, Code: "link-empty", Field: "link",
			Say: services.Say("house.join-empty", "Scan or paste the invitation of the other box, or type its three words."),
		}
	}
	if strings.Contains(text, ":") {
		l, err := identity.ParseInviteLink(text)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, name string) (services.PeerID, error) {
			return l.Inviter, h.Joining.ByLink(ctx, l, name)
		}, nil
	}
	code, err := identity.ParseSpokenCode(text)
	if err != nil {
		p := *services.AsProblem(err)
		p.Field = "link" // the one field for both
		return nil, &p
	}
	return func(ctx context.Context, name string) (services.PeerID, error) {
		return h.Joining.ByCode(ctx, in.At, code, name)
	}, nil
}

// joinProblem says in a sentence why the other box was not reached.
func joinProblem(err error) error {
	p := &services.Problem{Kind: services.KindUnavailable, Cause: err}
	var refused *link.RefusedError
	var said *services.Problem
	switch {
	case errors.As(err, &said):
		if said.Field == "code" {
			copied := *said
			copied.Field = "link"
			return &copied
		}
		return err
	case errors.As(err, &refused) && refused.Code == link.RefusedUnknown:
		return identity.InviteUnknown()
	case errors.As(err, &refused):
		p.Kind, p.Code, p.Say = services.KindBusy, "busy", services.Say("house.join-busy", "The other box is busy. Try again in a minute, with the same invitation.")
	case errors.Is(err, link.ErrNotRunning):
		p.Code, p.Say = "links-off", services.Say("house.peer.off", "Links to other boxes are not running on this box. “hearth status” says why.")
	case errors.Is(err, link.ErrSelf):
		p.Kind, p.Code, p.Field, p.Say = services.KindInvalid, "self", "at", services.Say("house.join-self", "That is the address of this box itself. Type the other one's.")
	case errors.Is(err, link.ErrWrongPeer):
		p.Code, p.Say = "wrong-peer", services.Say("house.join-wrong", "Another box answered than the one that made this invitation, so this box did not join. Make a new invitation, with both boxes in the same network.")
	case errors.Is(err, link.ErrUnreachable), errors.Is(err, context.DeadlineExceeded):
		p.Code, p.Say = "unreachable", services.Say("house.join-unreachable", "The other box does not answer. Look whether both are switched on and in the same network, then try once more with the same invitation.")
	default:
		return err
	}
	return p
}

// ErrNoBoxNear says that the three words need an address.
var ErrNoBoxNear = &services.Problem{
	Kind: services.KindNotFound, Code: "no-box-near", Field: "at",
	Say: services.Say("house.join-none-near", "No other box was found in this network. Type the other box's address: its page Network shows it."),
}

// RemoveBox removes a box from the household, for good. Removing the box that is asked wants it said. What passwords and
// app passwords were made on it and on no other ends with it, as after a theft, unless Keep says otherwise.
func (h *House) RemoveBox(ctx context.Context, caller services.Caller, in BoxInput) (None, error) {
	if err := least(caller, services.RoleAdmin); err != nil {
		return None{}, err
	}
	m := h.Identity.Membership()
	id, err := h.peer(in.ID)
	if err != nil {
		return None{}, err
	}
	if id == m.Self && !in.This {
		return None{}, &services.Problem{
			Kind: services.KindConflict, Code: "this-box", Field: "this_box",
			Say: services.Say("house.box-this", "That is this very box. Once removed it serves nobody any more and never comes back with its key. Say that you mean it (on the command line with --this-box), or do it on another box."),
		}
	}
	name := in.ID
	for _, b := range m.Boxes {
		if b.ID == id {
			name = b.Name
		}
	}
	if in.Keep && id != m.Self {
		if err := h.Account.KeepFrom(ctx, caller, id); err != nil {
			return None{}, err
		}
	}
	if err := h.Identity.RemoveBox(h.acting(ctx, caller), id); err != nil {
		return None{}, err
	}
	h.audit(ctx, caller, "box-removed", name)
	return None{}, nil
}
