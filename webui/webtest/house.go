// Package webtest is a house for tests and for the gallery: it answers the pages from values, remembers nothing, and
// every act of it succeeds unless a value says otherwise. Scenes lists what the gallery shows.
package webtest

import (
	"context"
	"net/netip"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/secret"
	"hearth.alt/webui/house"
)

// Now is the moment every scene plays at: a Saturday afternoon.
var Now = time.Date(2026, time.November, 21, 14, 33, 0, 0, time.UTC)

// House answers from its fields. The zero House is an unclaimed box that nobody has looked at.
type House struct {
	TheFrame      house.Frame
	TheDoors      house.Doors
	TheOverview   house.Overview
	TheEvents     []house.Event
	IsProved      bool
	TheWords      []string
	TheAsked      []int
	TheSessions   []house.Session
	ThePeople     []house.Person
	TheInvitation house.Invitation
	TheWelcome    house.Welcome
	TheDevices    []house.Device
	ThePairing    house.Pairing
	TheReach      house.Reach
	TheNetwork    house.Network
	TheApps       house.AppSettings
	TheNotices    []house.Notice
	TheLeft       []house.Left
	TheFriends    house.FriendList
	TheMate       house.FriendWelcome
	TheBoxes      []house.Box
	TheBoxInvite  house.BoxInvitation
	TheDispute    house.Dispute
	TheAgreement  house.Agreement
	Agreed        bool // Agree settles it
	TheLog        house.Log
	Restarts      bool // after a settlement
	// Err is what every act answers with; nil is success.
	Err error
}

var _ house.House = (*House)(nil)

func (h *House) Frame(context.Context) house.Frame { return h.TheFrame }
func (h *House) Doors(context.Context) house.Doors { return h.TheDoors }

func (h *House) Overview(context.Context) (house.Overview, error) { return h.TheOverview, nil }
func (h *House) LookAgain(context.Context) error                  { return h.Err }
func (h *House) Events(context.Context, time.Time, int) ([]house.Event, error) {
	return h.TheEvents, nil
}

func (h *House) ProveCode(context.Context, secret.Text) (string, error) { return "proof", h.Err }
func (h *House) Proved(_ context.Context, token string) bool            { return h.IsProved }
func (h *House) Claim(context.Context, string, house.ClaimForm) (string, error) {
	return "session", h.Err
}

func (h *House) Words(context.Context) ([]secret.Shown, error) {
	out := make([]secret.Shown, len(h.TheWords))
	for i, w := range h.TheWords {
		out[i] = shown(w)
	}
	return out, nil
}
func (h *House) AskedWords(context.Context) ([]int, error)                      { return h.TheAsked, nil }
func (h *House) ConfirmWords(context.Context, map[int]secret.Text) error        { return h.Err }
func (h *House) SignIn(context.Context, string, secret.Text) (string, error)    { return "session", h.Err }
func (h *House) Refresh(context.Context, secret.Text) error                     { return h.Err }
func (h *House) SignOut(context.Context) error                                  { return h.Err }
func (h *House) ChangePassword(context.Context, secret.Text, secret.Text) error { return h.Err }
func (h *House) Sessions(context.Context) ([]house.Session, error)              { return h.TheSessions, nil }
func (h *House) EndSession(context.Context, string) error                       { return h.Err }
func (h *House) EndOtherSessions(context.Context) error                         { return h.Err }

func (h *House) SetZone(context.Context, string) error          { return h.Err }
func (h *House) SetTime(context.Context, string) error          { return h.Err }
func (h *House) People(context.Context) ([]house.Person, error) { return h.ThePeople, nil }

func (h *House) Person(_ context.Context, id services.PersonID) (house.Person, error) {
	for _, p := range h.ThePeople {
		if p.ID == id {
			return p, nil
		}
	}
	return house.Person{}, missing
}

func (h *House) Invite(context.Context, house.PersonForm) (services.PersonID, error) {
	return "graceaaaaaaaaaaa", h.Err
}

func (h *House) Invitation(context.Context, services.PersonID) (house.Invitation, error) {
	return h.TheInvitation, nil
}
func (h *House) RenewInvitation(context.Context, services.PersonID) error { return h.Err }
func (h *House) WithdrawWayIn(context.Context, services.PersonID) error   { return h.Err }
func (h *House) ChangePerson(context.Context, services.PersonID, house.PersonForm) error {
	return h.Err
}
func (h *House) RemovePerson(context.Context, services.PersonID, string) error { return h.Err }
func (h *House) Left(context.Context) ([]house.Left, error)                    { return h.TheLeft, nil }
func (h *House) ChooseFiles(context.Context, services.PersonID, string) error  { return h.Err }
func (h *House) ReadInvitation(context.Context, secret.Text) (house.Welcome, error) {
	return h.TheWelcome, h.Err
}

func (h *House) WayInByWords(context.Context, string, secret.Text) (secret.Text, error) {
	return secret.NewText("code"), h.Err
}

func (h *House) AcceptInvitation(context.Context, secret.Text, string, secret.Text, bool) (string, error) {
	return "session", h.Err
}

func (h *House) Friends(context.Context) (house.FriendList, error) { return h.TheFriends, nil }

func (h *House) Friend(_ context.Context, id services.FriendID) (house.Friend, error) {
	for _, f := range h.TheFriends.Friends {
		if f.ID == id {
			return f, nil
		}
	}
	return house.Friend{}, missing
}

func (h *House) InviteFriend(context.Context, house.FriendForm) (string, error) {
	return "2b24fefe05d2e548", h.Err
}

func (h *House) FriendInvitation(_ context.Context, id string) (house.FriendInvitation, error) {
	for _, i := range h.TheFriends.Invitations {
		if i.ID == id {
			return i, nil
		}
	}
	return house.FriendInvitation{}, missing
}
func (h *House) WithdrawFriendInvitation(context.Context, string) error { return h.Err }
func (h *House) ReadFriendLink(context.Context, string) (house.FriendWelcome, error) {
	return h.TheMate, h.Err
}

func (h *House) AcceptFriend(context.Context, house.FriendForm) (services.FriendID, error) {
	return services.FriendID{1}, h.Err
}

func (h *House) ChangeFriend(context.Context, services.FriendID, house.FriendForm) error {
	return h.Err
}
func (h *House) DismissFriend(context.Context, services.FriendID) error { return h.Err }

func (h *House) RemoveFriend(context.Context, services.FriendID) error { return h.Err }

func (h *House) Devices(context.Context) ([]house.Device, error) { return h.TheDevices, nil }

func (h *House) Device(_ context.Context, id services.DeviceID) (house.Device, error) {
	for _, d := range h.TheDevices {
		if d.ID == id {
			return d, nil
		}
	}
	return house.Device{}, missing
}

func (h *House) AddDevice(context.Context, house.DeviceForm) (services.DeviceID, error) {
	return "newphoneaaaaaaaa", h.Err
}

func (h *House) Pairing(context.Context, services.DeviceID) (house.Pairing, error) {
	return h.ThePairing, nil
}

func (h *House) RenewPairing(context.Context, services.DeviceID) (services.DeviceID, error) {
	return "newphoneaaaaaaaa", h.Err
}
func (h *House) RenameDevice(context.Context, services.DeviceID, string) error { return h.Err }
func (h *House) RemoveDevice(context.Context, services.DeviceID) error         { return h.Err }
func (h *House) Reach(context.Context) house.Reach                             { return h.TheReach }
func (h *House) Network(context.Context) (house.Network, error)                { return h.TheNetwork, nil }
func (h *House) AllowHomeward(context.Context, string) error                   { return h.Err }
func (h *House) RemoveHomeward(context.Context, string) error                  { return h.Err }
func (h *House) Apps(context.Context) (house.AppSettings, error)               { return h.TheApps, nil }

func (h *House) Certificate(context.Context, string) (house.File, error) {
	return house.File{Name: "house.pem", Type: "application/x-pem-file", Body: []byte("-----BEGIN CERTIFICATE-----\n")}, h.Err
}

func (h *House) NewAppPassword(context.Context, string) (secret.Shown, error) {
	return shown("maple river olive spoon lemon"), h.Err
}
func (h *House) RevokeAppPassword(context.Context, string) error { return h.Err }
func (h *House) Notices(context.Context) ([]house.Notice, error) { return h.TheNotices, nil }

var missing = &services.Problem{
	Kind: services.KindNotFound, Code: "missing",
	Say: services.Say("webui.notfound", "This address leads nowhere in the house. It may have been removed, or mistyped."),
}

func shown(s string) secret.Shown { return secret.Show(secret.NewText(s)) }

// say is a sentence of no service: gallery text that needs no translation is its own key and text.
func say(text string, args ...any) services.Sentence {
	s := services.Sentence{Text: text, Args: map[string]any{}}
	for i := 0; i+1 < len(args); i += 2 {
		s.Args[args[i].(string)] = args[i+1]
	}
	return s
}

func addr(s string) netip.Addr      { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix  { return netip.MustParsePrefix(s) }
func ago(d time.Duration) time.Time { return Now.Add(-d) }
