// Package house is what the pages need of the house: the interface that appliance implements, in small groups, and
// the values it answers with. It has no behaviour; webui builds no service and knows none.
//
// Rules for every method, unless it says otherwise:
//   - ctx carries who asks (webui.CallerOf). The implementation checks the right again; the route table is the first
//     line, not the only one.
//   - An error a person should read is a *services.Problem. Its Field names the input at fault, as the form's field is
//     called in the comment of the form's type; the page then shows the sentence beside that input.
//   - Methods may be called from many goroutines. Slices handed out belong to the caller.
//   - Times are wall time of the box; the zero time means not known or never.
package house

import (
	"context"
	"net/netip"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/secret"
)

// House is all of it. Pages ask for the group they need.
type House interface {
	Framing
	Overviewing
	Claiming
	Signing
	Sessions
	People
	Friends
	Devices
	Networking
	Apps
	Noticing
	Boxes
	Joining
	Settling
	Rewording
	Logging
}

// Framing is what surrounds every page.
type Framing interface {
	// Frame is cheap, reads memory only and never fails.
	Frame(ctx context.Context) Frame
	// Doors says how this box is reached. It is cheap and never fails.
	Doors(ctx context.Context) Doors
}

// Frame is what the frame of every page shows.
type Frame struct {
	Version   string // "26.11.0"
	Claimed   bool
	Household string // as people write it; "" before the claim
	Box       string // as people write it; "" before the claim
	Person    string // name of who is signed in; "" when nobody is
	// WordsPending is set from the claim until the recovery words are confirmed.
	WordsPending bool
	Devices      int // devices of the household, for saying whether the first pairing is still to come
	LogReadOnly  bool
	Frozen       bool     // who belongs is disputed; see Settling
	Removed      bool     // the household removed this box: only Settling is served
	Opposed      bool     // because some removed one another
	Copied       bool     // because the key of a box is used in two places
	Away         []string // other boxes of the house that are not in touch now, by name
}

// Doors says how this box is reached, for the pages that anyone on the home network may see. Nothing in it is secret.
type Doors struct {
	// Ways is what to type into a browser, best first: the box's names and addresses on the home network, with the port
	// where it is not 80; on a computer that keeps the pages to itself, the address that listens there.
	Ways   []string
	Tunnel string   // the URL inside the private network, "http://box.smith.home.arpa/"; "" before the claim
	Secure []string // https URLs on the home network, best first
	// Fingerprint is the SHA-256 of the certificate that https shows, as browsers write it (pairs of upper-case hex
	// digits with colons); Short is the first eight bytes of the box's own mark as the claim sheet prints it,
	// "b7f2 91c4 e0a3 5d68".
	Fingerprint string
	Short       string
	// Sealed says whether the claim secret still opens the sealed pages on plain http.
	Sealed bool
}

// ---------- Overview ----------

// Overviewing is the first page and the list of what happened.
type Overviewing interface {
	// Overview is what was found when the house was last looked at; it waits for nothing.
	Overview(ctx context.Context) (Overview, error)
	// LookAgain asks every service anew, for at most three seconds.
	LookAgain(ctx context.Context) error
	// Events lists what happened since the given time, newest first, at most limit, as far as the caller may know.
	Events(ctx context.Context, since time.Time, limit int) ([]Event, error)
}

// Overview is the state of the house.
type Overview struct {
	Looked time.Time
	// Services in the order they are shown when all is well. Health.Name is the key of the part's name in the message
	// files, "home.part.<name>"; an unknown name is shown as it is.
	Services []services.Health
	// Troubles, worst first. A part that is not OK needs none; one that can say why, what it means and what to do has one.
	Troubles []Trouble
	Devices  DeviceCount
	People   PeopleCount
	Reach    Reach
	Storage  Storage
}

// State is how something is, with a sign of its own.
type State uint8

// The states, worst last.
const (
	StateGood State = iota // well
	StateOff               // off on purpose
	StateWait              // waits for something else
	StateCare              // look at this
	StateAct               // act now
)

// Trouble is one thing that is not well, in four parts.
type Trouble struct {
	ID    string // stable, lower case with dashes
	State State  // StateCare or StateAct
	What  services.Sentence
	Why   services.Sentence
	Means services.Sentence
	Do    services.Sentence
	// Action is the path of the one page that helps and Label what its button says; both may be empty.
	Action string
	Label  services.Sentence
}

// DeviceCount counts devices of the household.
type DeviceCount struct{ All, SeenToday, Pending int }

// PeopleCount counts people of the household.
type PeopleCount struct{ All, Invited int }

// Storage is the room on /perm (or the disk that holds the state), in bytes.
type Storage struct {
	Total, Used, Free int64
	State             State
	Message           services.Sentence
}

// Event is one line of "since yesterday".
type Event struct {
	At   time.Time
	What services.Sentence
}

// ---------- Claim ----------

// Claiming turns an unowned box into somebody's. Its state lives on the box, so a reload goes on where it was.
type Claiming interface {
	// ProveCode checks the claim code (16 characters, with or without dashes, or 8 words) and returns a token that
	// stands for it until the claim, for at most an hour. The token is random and useless after the claim. Problems:
	// field "code"; KindBusy when there were too many tries; code "claimed" (KindConflict) when the box has an owner.
	ProveCode(ctx context.Context, code secret.Text) (token string, err error)
	// Proved says whether token stands for a proven code.
	Proved(ctx context.Context, token string) bool
	// Claim makes the household, its first owner and a session for them. Problems have the fields of ClaimForm.
	Claim(ctx context.Context, token string, form ClaimForm) (session string, err error)
	// Words returns the 24 recovery words, to the owner, until they were confirmed; then a Problem of KindConflict
	// with code "words-confirmed".
	Words(ctx context.Context) ([]secret.Shown, error)
	// AskedWords returns the positions (1 to 24, ascending) the check asks for; the same until the words are confirmed.
	AskedWords(ctx context.Context) ([]int, error)
	// ConfirmWords compares the answers, by position, and then erases the root's private half. Problems have the
	// field "word<position>"; several are joined (errors.Join).
	ConfirmWords(ctx context.Context, answers map[int]secret.Text) error
}

// Rewording puts new recovery words in the place of the former ones. An owner may, who has those.
type Rewording interface {
	// NewWords returns new words, the same for an hour, which do not count yet. Problems: field "words".
	NewWords(ctx context.Context, former secret.Text) (NewWords, error)
	// ReplaceWords compares the answers, by position, and then makes the new words count. Problems as of NewWords, and the
	// fields "word<position>", several joined.
	ReplaceWords(ctx context.Context, former secret.Text, answers map[int]secret.Text) error
}

// NewWords are words to be written down.
type NewWords struct {
	Words []secret.Shown
	Asked []int // the positions (1 to 24, ascending) that are asked for
}

// ClaimForm is what the one page of names asks.
type ClaimForm struct {
	Household string      // field "household"
	Box       string      // field "box"
	Owner     string      // field "owner"
	Password  secret.Text // field "password"
	Language  string      // "en", "de"
	Zone      string      // the browser's time zone, like "Europe/Berlin"; "" when it did not say
}

// ---------- Signing in ----------

// MinPassword is the fewest characters a password has: that of services/account, which a test compares.
const MinPassword = 12

// Signing is how people come in and go.
type Signing interface {
	// SignIn returns a session token for the cookie. Problems: field "name" or "password", KindBusy when throttled.
	SignIn(ctx context.Context, name string, password secret.Text) (session string, err error)
	// Refresh proves the caller's password once more, for dangerous acts. Problems: field "password", KindBusy.
	Refresh(ctx context.Context, password secret.Text) error
	// SignOut ends the caller's own session. It may return ErrEndedNotKept.
	SignOut(ctx context.Context) error
	// ChangePassword sets a new one for the caller and ends their other sessions. Problems: fields "password" (the old
	// one) and "new".
	ChangePassword(ctx context.Context, old, new secret.Text) error
}

// ErrEndedNotKept is what ending a session or a password returns when it has ended and the box could not write that
// down yet; its own sentence says so.
var ErrEndedNotKept = &services.Problem{Kind: services.KindUnavailable, Code: "ended-not-kept"}

// Sessions lists and ends places where the caller is signed in.
type Sessions interface {
	Sessions(ctx context.Context) ([]Session, error)
	// EndSession ends one of the caller's own. Ending one that is gone is no error.
	EndSession(ctx context.Context, id string) error
	// EndOtherSessions ends all of the caller's but the one that asks.
	EndOtherSessions(ctx context.Context) error
}

// Session is a place where someone is signed in.
type Session struct {
	ID      string // never a credential
	Agent   string // as the browser calls itself, shortened: "Firefox · Android"; may be ""
	Full    string // the whole of it
	Where   services.Sentence
	Started time.Time
	Seen    time.Time
	This    bool // the one that asks
}

// ---------- People ----------

// People is who lives here.
type People interface {
	// People lists those the caller may see, by name; the caller always sees themselves.
	People(ctx context.Context) ([]Person, error)
	// Person returns one; a Problem of KindNotFound when there is none the caller may see.
	Person(ctx context.Context, id services.PersonID) (Person, error)
	// Invite adds a pending person and makes an invitation; it takes name and role of the form. Problems have its fields.
	Invite(ctx context.Context, form PersonForm) (services.PersonID, error)
	// Invitation returns the link of a pending person while the box still holds it (its code is kept as a hash only;
	// the link itself stays in memory for a while). Link is empty when it is gone: then RenewInvitation makes a new one.
	Invitation(ctx context.Context, id services.PersonID) (Invitation, error)
	RenewInvitation(ctx context.Context, id services.PersonID) error
	// WithdrawWayIn ends the link with which somebody who belongs could choose another password. Error: ErrEndedNotKept.
	WithdrawWayIn(ctx context.Context, id services.PersonID) error
	// ChangePerson sets name, role and LAN. Problems have the fields of PersonForm.
	ChangePerson(ctx context.Context, id services.PersonID, form PersonForm) error
	// RemovePerson ends all they have: devices, sessions, app passwords. Within 5 s nothing of theirs works. files is what
	// becomes of what they kept, "erase", "export", or "" for no choice. Problems: field "files".
	RemovePerson(ctx context.Context, id services.PersonID, files string) error
	// Left lists, to owners, the removed whose things are on this box still, by name.
	Left(ctx context.Context) ([]Left, error)
	// ChooseFiles says, on every box, what becomes of what a removed person kept: "erase", which begins anew, "export" or
	// "now". Problems: field "files".
	ChooseFiles(ctx context.Context, id services.PersonID, files string) error
	// ReadInvitation says who is invited by a code, without using it up. Problems: field "code", KindBusy.
	ReadInvitation(ctx context.Context, code secret.Text) (Welcome, error)
	// AcceptInvitation uses the code up, sets the password, ends all sessions, with apps also app passwords and tokens, and
	// signs in; session is empty when that has to wait. Problems: fields "code", "name", "password".
	AcceptInvitation(ctx context.Context, code secret.Text, name string, password secret.Text, apps bool) (session string, err error)
	// WayInByWords makes an invitation for an owner who has the recovery words. Problems: fields "name", "words", KindBusy.
	WayInByWords(ctx context.Context, name string, words secret.Text) (code secret.Text, err error)
}

// Person is a person as pages show them.
type Person struct {
	services.Person
	You     bool
	Devices int
	Seen    time.Time // last time a device or a session of theirs was seen
	// MayChange and MayRemove say what the caller may do to them, MayWayIn whether the caller may give them a link to
	// choose another password with; Roles lists those the caller may give them, least first.
	MayChange, MayRemove, MayWayIn bool
	// WayIn is until when a link lets them choose another password; zero when there is none, or the caller may not know.
	WayIn time.Time
	// MayLAN says whether the caller may change whether their devices reach the home network.
	MayLAN bool
	Roles  []services.Role
}

// Left is a removed person whose things are on this box still.
type Left struct {
	services.Leaving
	Until time.Time // when they are erased; zero while nothing says when
}

// PersonForm is what is asked of a person.
type PersonForm struct {
	Name string        // field "name"
	Role services.Role // field "role"
	LAN  bool          // field "lan": their devices reach the home network through the tunnel
}

// Invitation is a link that lets one person in.
type Invitation struct {
	Person  Person
	Link    secret.Shown // the code is in its fragment: "https://hearth.local/join#7QK4-…"; "" when no longer held
	Code    secret.Shown // the code alone, for typing; "" when no longer held
	Expires time.Time
}

// Welcome is what an invitation says to the one who opens it.
type Welcome struct {
	Name      string
	Household string
	Role      services.Role
	Back      bool // they belong already, and choose another password
	Expires   time.Time
}

// ---------- Friends ----------

// Friends is which other households are friends. All but Friends and Friend is for admins.
type Friends interface {
	Friends(ctx context.Context) (FriendList, error)
	// Friend returns one; a Problem of KindNotFound when there is none.
	Friend(ctx context.Context, id services.FriendID) (Friend, error)
	// InviteFriend makes an invitation with the petname and the grants of the form. Problems have its fields.
	InviteFriend(ctx context.Context, form FriendForm) (id string, err error)
	// FriendInvitation returns an open one; Link is empty when the box does not hold it any more.
	FriendInvitation(ctx context.Context, id string) (FriendInvitation, error)
	WithdrawFriendInvitation(ctx context.Context, id string) error
	// ReadFriendLink says whom a link is from, without asking them. Problems: field "link".
	ReadFriendLink(ctx context.Context, link string) (FriendWelcome, error)
	// AcceptFriend takes the link of the form up. Problems have its fields.
	AcceptFriend(ctx context.Context, form FriendForm) (services.FriendID, error)
	// ChangeFriend sets the petname and all that is allowed. Problems have the fields of the form.
	ChangeFriend(ctx context.Context, id services.FriendID, form FriendForm) error
	// DismissFriend says that there is a reason for what Friend.Record says.
	DismissFriend(ctx context.Context, id services.FriendID) error
	// RemoveFriend ends the friendship and all that was allowed, within 5 s.
	RemoveFriend(ctx context.Context, id services.FriendID) error
}

// FriendList is the address book.
type FriendList struct {
	Friends     []Friend           // by petname
	Invitations []FriendInvitation // open ones, without links; none for those who may not change them
	MayChange   bool
	// Name and Fingerprint are what friends see of this household.
	Name, Fingerprint string
}

// Friend is a friend as pages show them; Grants are those that hold now.
type Friend struct {
	services.Friend
	Seen        time.Time // when they were last heard of
	LooksLike   string    // what the name they give themselves could be taken for; "" for nothing
	Record      string    // "older" or "different": their record does not go on from what it was; "" for nothing
	Fingerprint string    // their ID, to be compared by telephone
	MayChange   bool
}

// FriendForm is what is asked about a friend.
type FriendForm struct {
	Link    string // field "link"
	Petname string // field "petname"
	// What they are allowed. Store is a size like "10 GB", "" for none: field "store".
	Relay, Exit, Follow bool
	Store               string
}

// FriendInvitation is a link for one household.
type FriendInvitation struct {
	ID      string
	Petname string // may be ""
	Grants  []services.Grant
	Link    secret.Shown
	Expires time.Time
}

// FriendWelcome is what a link says of the household that invites.
type FriendWelcome struct {
	Name        string // as they call themselves
	LooksLike   string // as in Friend
	Fingerprint string
	Expires     time.Time
}

// ---------- Devices ----------

// Devices is which phones and laptops belong.
type Devices interface {
	// Devices lists those the caller may see, by name.
	Devices(ctx context.Context) ([]Device, error)
	// Device returns one; a Problem of KindNotFound when there is none the caller may see.
	Device(ctx context.Context, id services.DeviceID) (Device, error)
	// AddDevice adds a pending device. Problems have the fields of DeviceForm.
	AddDevice(ctx context.Context, form DeviceForm) (services.DeviceID, error)
	// Pairing says how far a device is, and its configuration while it waits. Once the device is forgotten: a Problem
	// of KindNotFound, or a Pairing in PairExpired for as long as the box remembers.
	Pairing(ctx context.Context, id services.DeviceID) (Pairing, error)
	// RenewPairing gives an expired device a new key and another ten minutes. Its ID may change.
	RenewPairing(ctx context.Context, id services.DeviceID) (services.DeviceID, error)
	// RenameDevice: field "name".
	RenameDevice(ctx context.Context, id services.DeviceID, name string) error
	// RemoveDevice forgets its key at once. Removing a waiting one cancels its code.
	RemoveDevice(ctx context.Context, id services.DeviceID) error
	// Reach says where a device added now will work.
	Reach(ctx context.Context) Reach
}

// Device is a device as pages show it.
type Device struct {
	services.Device
	PersonName string
	Paired     bool
	OwnKey     bool      // it brought its own public key; the box never had its private one
	Handshake  time.Time // last time it said hello; zero is never
	// Way says how it comes in: "at home", "from outside, directly". Empty when not known.
	Way       services.Sentence
	Here      bool // the request came from it
	MayChange bool // the caller may rename and remove it
}

// DeviceForm is what is asked of a new device.
type DeviceForm struct {
	Name      string            // field "name"
	Person    services.PersonID // field "person"; "" is the caller
	PublicKey string            // field "key": base64 as the stock apps show it; "" makes a key pair on the box
}

// PairState is how far a pairing is.
type PairState uint8

// The states of a pairing.
const (
	PairWaiting PairState = iota
	PairDone
	PairExpired
)

// Pairing is a device on its way in.
type Pairing struct {
	Device  Device
	State   PairState
	Expires time.Time
	// Config is the file of the stock app (wg-quick form). It has a private key unless Device.OwnKey, when the line
	// reads "PrivateKey = " with the words of the app instead. Empty unless PairWaiting.
	Config secret.Shown
	// FileName is what the file is called, and so the tunnel in the app: at most 15 characters before ".conf",
	// letters, digits and _=+.- only.
	FileName string
	Reach    Reach
}

// ReachKind is where a device will work.
type ReachKind uint8

// The kinds of reach.
const (
	ReachHome    ReachKind = iota // at home only
	ReachForNow                   // anywhere, until the public address changes
	ReachAlways                   // anywhere
	ReachUnknown                  // still being found out
)

// State is how the way from outside is, on every page: at home only is none, by choice or by the router's.
func (r Reach) State() State {
	switch r.Kind {
	case ReachHome:
		return StateOff
	case ReachUnknown:
		return StateWait
	}
	return StateGood
}

// Reach says where a device will work, and by which address.
type Reach struct {
	Kind     ReachKind
	Proven   bool              // a device did come in from outside; else Kind is what should be
	Endpoint string            // "198.51.100.7:51820" or a name with a port; as it stands in the QR code
	Say      services.Sentence // one sentence for the owner
	// First is what is to be done before any device can come in; zero when one can, or will by itself.
	First services.Sentence
}

// ---------- Network ----------

// Networking is the network page.
type Networking interface {
	Network(ctx context.Context) (Network, error)
	// SetTime sets the time that the box goes by; it is of the house's zone, as "2026-11-21 12:00". Problems: field "time".
	SetTime(ctx context.Context, local string) error
	// SetZone chooses the zone that times are shown in, by its IANA name. Problems: field "zone".
	SetZone(ctx context.Context, name string) error
	// AllowHomeward lets the names of a domain point home; problems have the field domain.
	AllowHomeward(ctx context.Context, domain string) error
	// RemoveHomeward takes that back. A domain that is not on the list is no error.
	RemoveHomeward(ctx context.Context, domain string) error
}

// Network is the facts of the network.
type Network struct {
	Looked    time.Time
	Addresses []netip.Addr // of the box on the home network
	Router    netip.Addr
	Public    netip.Addr // as seen from outside; zero when not known
	Net4      netip.Prefix
	Net6      netip.Prefix
	Domain    string // "smith.home.arpa"
	Reach     Reach
	Ports     []Port
	DNS       []Fact   // what the resolver says of itself
	Homeward  []string // domains whose names may point home; nil for those who may not change them
	Found     []Found  // by Kind, then Name
	Searching bool     // the first search still runs

	Time      time.Time // that the box goes by, in Zone
	Zone      string    // what the zone is called, like "Europe/Berlin"
	TimeKnown bool      // else it is only the earliest that it can be
	MayChange bool      // the time, its zone, and the names that may point home
}

// Port is a door the box asked the router to open.
type Port struct {
	Use      services.Sentence // "Phones and laptops from outside"
	Protocol string            // "UDP"
	Inside   uint16
	Outside  uint16 // 0 when not open
	Via      string // "UPnP", "NAT-PMP", "PCP"; "" when not open
	State    State
	Message  services.Sentence
}

// Fact is a sentence with a sign.
type Fact struct {
	State State
	Say   services.Sentence
}

// FoundKind is what sort of thing was found.
type FoundKind uint8

// The kinds, in the order they are shown.
const (
	FoundHearth FoundKind = iota
	FoundPrinter
	FoundPlayer
	FoundOther
)

// Found is something that announces itself on the home network.
type Found struct {
	Kind    FoundKind
	Name    string
	Service string // "_ipp._tcp"
	Host    string // "printer.local"
	Address netip.Addr
	Port    uint16
}

// ---------- Apps ----------

// Apps is what a paired device fetches over the private network: the house's certificate, the settings of its apps,
// and passwords for them.
type Apps interface {
	Apps(ctx context.Context) (AppSettings, error)
	// Certificate returns the house's certificate as a file. Kind is "pem", "der" or "apple" (a profile).
	Certificate(ctx context.Context, kind string) (File, error)
	// NewAppPassword returns a password that is shown once. Problems: field "name".
	NewAppPassword(ctx context.Context, name string) (secret.Shown, error)
	RevokeAppPassword(ctx context.Context, id string) error
}

// AppSettings is what apps ask for.
type AppSettings struct {
	Fingerprint string // SHA-256 of the house's certificate, as phones show it
	Names       []string
	Settings    []Setting
	Passwords   []AppPassword // the caller's own, newest first
}

// Setting is one line to type or copy into an app.
type Setting struct {
	Label services.Sentence
	Value string
}

// AppPassword is a password for one app.
type AppPassword struct {
	ID      string
	Name    string
	Created time.Time
	Used    time.Time // zero is never
}

// File is a download.
type File struct {
	Name string
	Type string // media type
	Body []byte
}

// ---------- Notices ----------

// Noticing lists the work of others that is in the box.
type Noticing interface {
	// Notices, by Name.
	Notices(ctx context.Context) ([]Notice, error)
}

// Notice is one piece of others' work.
type Notice struct {
	Name    string
	Version string
	License string // SPDX expression
	Source  string // where its source is
	Text    string // the licence texts and notices
}
