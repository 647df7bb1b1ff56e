package api

import (
	"time"

	"hearth.alt/services"
	"hearth.alt/services/secret"
)

// Table returns every operation, in the order that help and document show them.
func Table() []Operation { return table }

// anyone is everybody who belongs, wherever everything is allowed by role.
func anyone(least services.Role) Rule { return Rule{Faces: Private, Least: least, After: true} }

// withPassword is anyone who gave the password a short while ago: for what would outlive a stolen credential. No program
// ever did (ErrNotForApps), on the console it counts as given. The pages are milder to a signed-in browser, where a
// device that is added shows at once and the words are known to whoever checks them.
func withPassword(least services.Role) Rule {
	r := anyone(least)
	r.Fresh = true
	return r
}

// evenRemoved is r also on a box that its household removed: a stolen box may have done so.
func evenRemoved(r Rule) Rule {
	r.Removed = true
	return r
}

// console is for the one who can open admin.sock.
var console = Rule{Faces: []services.Face{services.FaceConsole}, Least: services.RoleOwner, After: true}

var table = []Operation{
	define(Operation{
		Name: "status", Summary: "Say how the box and its services are", Method: "GET", Path: "/status",
		Rule: Rule{Faces: Private, Least: services.RoleMember, Before: true, After: true, Lost: true},
	}, (*House).Status),
	define(Operation{
		Name: "claim", Summary: "Make this box a household's, with its first owner; the answer holds the 24 recovery words", Method: "POST", Path: "/claim",
		Rule: Rule{Faces: []services.Face{services.FaceConsole}, Least: services.RoleOwner, Before: true}, Secret: true,
	}, (*House).ClaimHere),
	define(Operation{
		Name: "recover check", Summary: "Check the 24 recovery words; right ones erase the key they stand for from the box", Method: "POST", Path: "/recovery/check",
		Rule: withPassword(services.RoleOwner), Secret: true,
	}, (*House).CheckWords),
	define(Operation{
		Name: "recover password", Summary: "Give a person who forgot theirs a new password, from the box itself", Method: "POST", Path: "/recovery/password",
		Rule: console, Secret: true,
	}, (*House).ResetPassword),
	define(Operation{
		Name: "recover new-words", Summary: "Replace the 24 recovery words: the first answer shows new ones, and with those written down the second makes them count", Method: "POST", Path: "/recovery/new-words",
		Rule: withPassword(services.RoleOwner), Secret: true,
	}, (*House).NewWords),
	define(Operation{Name: "recover dispute", Summary: "List who is suspended because two removed one another, or a box's key is used in two places; on a box that was removed, which box did it", Method: "GET", Path: "/recovery/dispute", Rule: evenRemoved(anyone(services.RoleAdmin))}, (*House).Dispute),
	define(Operation{
		Name: "recover agree", Summary: "Say on this box who of the disputed belongs on; with enough boxes it ends without the words", Method: "POST", Path: "/recovery/agree",
		Rule: withPassword(services.RoleAdmin),
	}, (*House).Agree),
	define(Operation{
		Name: "recover settle", Summary: "End such a dispute with the 24 recovery words, or take back a box that was removed", Method: "POST", Path: "/recovery/settle",
		Rule: evenRemoved(withPassword(services.RoleOwner)), Secret: true,
	}, (*House).Settle),

	define(Operation{Name: "person list", Summary: "List who belongs", Method: "GET", Path: "/people", Rule: anyone(services.RoleMember)}, (*House).ListPeople),
	define(Operation{
		Name: "person add", Summary: "Invite a person; the answer holds the link they open", Method: "POST", Path: "/people",
		Rule: withPassword(services.RoleMember), Secret: true,
	}, (*House).AddPerson),
	define(Operation{Name: "person change", Summary: "Change a person's name, role or way into the home network", Method: "POST", Path: "/people/{id}", Rule: withPassword(services.RoleMember)}, (*House).ChangePerson),
	define(Operation{Name: "person remove", Summary: "Remove a person and everything that lets them in", Method: "DELETE", Path: "/people/{id}", Rule: withPassword(services.RoleMember)}, (*House).RemovePerson),
	define(Operation{Name: "person leaving", Summary: "List who was removed and still has something kept on this box", Method: "GET", Path: "/leaving", Rule: anyone(services.RoleOwner)}, (*House).ListLeaving),
	define(Operation{Name: "person files", Summary: "Say what becomes of what a removed person kept, on every box", Method: "POST", Path: "/leaving/{id}", Rule: withPassword(services.RoleOwner)}, (*House).ChooseFiles),

	define(Operation{Name: "device list", Summary: "List phones and laptops", Method: "GET", Path: "/devices", Rule: anyone(services.RoleGuest)}, (*House).ListDevices),
	define(Operation{
		Name: "device add", Summary: "Add a phone or laptop; the answer holds its configuration", Method: "POST", Path: "/devices",
		Rule: withPassword(services.RoleMember), Secret: true,
	}, (*House).AddDevice),
	define(Operation{Name: "device rename", Summary: "Give a device another name", Method: "POST", Path: "/devices/{id}", Rule: anyone(services.RoleGuest)}, (*House).RenameDevice),
	define(Operation{Name: "device remove", Summary: "Remove a device at once", Method: "DELETE", Path: "/devices/{id}", Rule: anyone(services.RoleGuest)}, (*House).RemoveDevice),

	define(Operation{Name: "friend list", Summary: "List the households that are friends, and what they are allowed", Method: "GET", Path: "/friends", Rule: anyone(services.RoleMember)}, (*House).ListFriends),
	define(Operation{
		Name: "friend invite", Summary: "Invite another household; the answer holds the link that one of them opens", Method: "POST", Path: "/friends/invitations",
		Rule: withPassword(services.RoleAdmin), Secret: true,
	}, (*House).InviteFriend),
	define(Operation{Name: "friend invitations", Summary: "List the invitations that nobody came with yet", Method: "GET", Path: "/friends/invitations", Rule: anyone(services.RoleAdmin)}, (*House).ListFriendInvites),
	define(Operation{Name: "friend withdraw", Summary: "Withdraw an invitation", Method: "DELETE", Path: "/friends/invitations/{id}", Rule: anyone(services.RoleAdmin)}, (*House).WithdrawFriendInvite),
	define(Operation{
		Name: "friend accept", Summary: "Take up another household's invitation", Method: "POST", Path: "/friends",
		Rule: withPassword(services.RoleAdmin), Secret: true,
	}, (*House).AcceptFriend),
	define(Operation{Name: "friend rename", Summary: "Call a friend by another name", Method: "POST", Path: "/friends/{id}", Rule: withPassword(services.RoleAdmin)}, (*House).RenameFriend),
	define(Operation{Name: "friend grant", Summary: "Say all that a friend is allowed, in place of what was", Method: "POST", Path: "/friends/{id}/grants", Rule: withPassword(services.RoleAdmin)}, (*House).GrantFriend),
	define(Operation{
		Name: "friend dismiss", Summary: "Say that you know why a friend's box showed another record than before", Method: "POST", Path: "/friends/{id}/dismiss",
		Rule: withPassword(services.RoleAdmin),
	}, (*House).DismissFriend),
	define(Operation{Name: "friend remove", Summary: "Remove a friend and end all that was allowed", Method: "DELETE", Path: "/friends/{id}", Rule: anyone(services.RoleAdmin)}, (*House).RemoveFriend),
	define(Operation{Name: "contact show", Summary: "Show what friends see of this household", Method: "GET", Path: "/contact", Rule: anyone(services.RoleMember)}, (*House).ShowContact),

	define(Operation{Name: "session list", Summary: "List where a person is signed in", Method: "GET", Path: "/sessions", Rule: anyone(services.RoleGuest)}, (*House).ListSessions),
	define(Operation{Name: "session end", Summary: "Sign a session out", Method: "DELETE", Path: "/sessions/{id}", Rule: anyone(services.RoleGuest)}, (*House).EndSession),

	define(Operation{Name: "dns list", Summary: "List the domains whose names may point home", Method: "GET", Path: "/dns/homeward", Rule: anyone(services.RoleAdmin)}, (*House).ListHomeward),
	define(Operation{
		Name: "dns allow", Summary: "Let the names of a domain of yours point home", Method: "POST", Path: "/dns/homeward",
		Rule: withPassword(services.RoleAdmin),
	}, (*House).AllowHomeward),
	define(Operation{Name: "dns remove", Summary: "Let the names of a domain no longer point home", Method: "DELETE", Path: "/dns/homeward/{domain}", Rule: anyone(services.RoleAdmin)}, (*House).RemoveHomeward),

	define(Operation{Name: "box list", Summary: "List the boxes of the household", Method: "GET", Path: "/boxes", Rule: anyone(services.RoleMember)}, (*House).ListBoxes),
	define(Operation{
		Name: "box invite", Summary: "Invite another box; the answer holds the link it joins by, good for ten minutes", Method: "POST", Path: "/boxes/invitation",
		Rule: withPassword(services.RoleOwner), Secret: true,
	}, (*House).InviteBox),
	define(Operation{
		Name: "box join", Summary: "Make this box, which nobody has claimed, one of the household that invited it; that one shows the same three words then", Method: "POST", Path: "/boxes/join",
		Rule: Rule{Faces: []services.Face{services.FaceConsole}, Least: services.RoleOwner, Before: true},
	}, (*House).JoinHousehold),
	define(Operation{Name: "box remove", Summary: "Remove a box from the household, for good", Method: "DELETE", Path: "/boxes/{id}", Rule: withPassword(services.RoleAdmin)}, (*House).RemoveBox),
	define(Operation{Name: "peer ping", Summary: "Ask another box for a sign of life", Method: "GET", Path: "/peers/{who}/ping", Rule: anyone(services.RoleMember)}, (*House).Ping),
	define(Operation{Name: "peer protocols", Summary: "List what another box speaks with this one", Method: "GET", Path: "/peers/{who}/protocols", Rule: anyone(services.RoleMember)}, (*House).PeerProtocols),
	define(Operation{Name: "log show", Summary: "List the records that say who belongs, in the order in which they take effect", Method: "GET", Path: "/log", Rule: anyone(services.RoleAdmin)}, (*House).ShowLog),
	define(Operation{
		Name: "log verify", Summary: "Check every record that says who belongs, from the disk", Method: "GET", Path: "/log/verify",
		Rule: Rule{Faces: Private, Least: services.RoleAdmin, After: true, Lost: true},
	}, (*House).VerifyLog),

	define(Operation{
		Name: "export", Summary: "Write all that the household keeps into a file that any program can read", Method: "GET", Path: "/export",
		Rule: console, Secret: true,
	}, (*House).Export),
	define(Operation{
		Name: "import", Summary: "Bring an export back: unite who belongs with what this box knows, or begin with it on a new box", Method: "POST", Path: "/import",
		Rule: Rule{Faces: []services.Face{services.FaceConsole}, Least: services.RoleOwner, Before: true, After: true, Lost: true}, Secret: true,
	}, (*House).Import),

	define(Operation{Name: "network", Summary: "Say where the box is in the network and what it found there", Method: "GET", Path: "/network", Rule: anyone(services.RoleMember)}, (*House).ShowNetwork),
	define(Operation{Name: "time show", Summary: "Say what time the box takes it to be, and on whose word", Method: "GET", Path: "/time", Rule: anyone(services.RoleMember)}, (*House).ShowTime),
	define(Operation{Name: "time set", Summary: "Set the box's time, earlier or later, when it went wrong", Method: "POST", Path: "/time", Rule: withPassword(services.RoleAdmin)}, (*House).SetTime),
	define(Operation{Name: "time zone", Summary: "Choose the time zone that times are shown in", Method: "POST", Path: "/time/zone", Rule: anyone(services.RoleAdmin)}, (*House).SetZone),
	define(Operation{Name: "audit", Summary: "List what happened, newest first", Method: "GET", Path: "/audit", Rule: anyone(services.RoleAdmin)}, (*House).ListAudit),
}

// ---- inputs and outputs; the names are surfaces that stay stable ----
//
// The tag show says how the command line shows a field of an output to a person: "-" not at all, "last" in the last
// column, "time" for a time whose null is never, "short" cut to a few words, "browser" by BrowserName, "qr=config" as
// the code that an app scans, drawn of the field config.

// Status is the answer of "status".
type Status struct {
	Version   string           `json:"version"`
	Claimed   bool             `json:"claimed"`
	Box       StatusBox        `json:"box"`
	Household *StatusHousehold `json:"household"`
	Services  []ServiceStatus  `json:"services"`
}

// StatusBox names this box; Name is empty before the claim.
type StatusBox struct {
	Name   string          `json:"name"`
	PeerID services.PeerID `json:"peer_id"`
}

// StatusHousehold names the household; it is null before the claim.
type StatusHousehold struct {
	Name   string `json:"name"`
	Domain string `json:"domain"`
}

// ServiceStatus is one service's health.
type ServiceStatus struct {
	Name    string     `json:"name"`
	Ready   bool       `json:"ready"`
	OK      bool       `json:"ok"`
	Since   *time.Time `json:"since"` // null when not known
	Message string     `json:"message"`
}

// ClaimInput is what "claim" takes.
type ClaimInput struct {
	Household string      `json:"household" help:"the household's name, as people write it"`
	Box       string      `json:"box" help:"the box's name"`
	Owner     string      `json:"owner" help:"the first owner's name"`
	Password  secret.Text `json:"password" help:"the owner's password" file:"password"`
}

// ClaimOutput holds the recovery words, in order.
type ClaimOutput struct {
	Words []secret.Shown `json:"words"`
}

// WordsInput is what "recover check" takes.
type WordsInput struct {
	Words []string `json:"words" help:"the 24 recovery words" file:"words"`
}

// WordsOutput says that the words are right, and whether their key was still on the box until now.
type WordsOutput struct {
	OK      bool `json:"ok"`
	Erased  bool `json:"erased"`
	Already bool `json:"confirmed_before"`
}

// PasswordInput is what "recover password" takes.
type PasswordInput struct {
	Name string `json:"name" arg:"NAME" help:"the person's name"`
}

// PasswordOutput is the new password, four words, shown once.
type PasswordOutput struct {
	Name     string       `json:"name"`
	Password secret.Shown `json:"password"`
}

// PersonOutput is one person.
type PersonOutput struct {
	ID    services.PersonID `json:"id" show:"last"`
	Name  string            `json:"name"`
	Role  services.Role     `json:"role"`
	State services.State    `json:"state"`
	LAN   bool              `json:"lan"`
}

// AddPersonInput is what "person add" takes.
type AddPersonInput struct {
	Name string        `json:"name" arg:"NAME" help:"the person's name"`
	Role services.Role `json:"role" help:"owner, admin, member or guest"`
	LAN  string        `json:"lan,omitempty" help:"yes or no: their devices reach the home network through the tunnel; when not given, yes but for guests"`
}

// AddPersonOutput is the invitation.
type AddPersonOutput struct {
	ID      services.PersonID `json:"id"`
	Name    string            `json:"name"`
	Role    services.Role     `json:"role"`
	State   services.State    `json:"state"`
	Link    secret.Shown      `json:"link"`
	Code    secret.Shown      `json:"code"`
	Expires time.Time         `json:"expires"`
}

// ChangePersonInput is what "person change" takes; what is not given stays.
type ChangePersonInput struct {
	ID   services.PersonID `json:"id" arg:"PERSON" path:"id" help:"their name, or the ID that person list shows"`
	Name string            `json:"name,omitempty" help:"a new name"`
	Role services.Role     `json:"role,omitempty" help:"a new role"`
	LAN  string            `json:"lan,omitempty" help:"yes or no: their devices reach the home network through the tunnel"`
}

// RemovePersonInput is what "person remove" takes.
type RemovePersonInput struct {
	ID    services.PersonID `json:"id" arg:"PERSON" path:"id" help:"their name, or the ID that person list shows"`
	Files string            `json:"files,omitempty" help:"what becomes of what they kept here: erase (in 30 days) or export (kept until an owner chooses otherwise); erase when not given"`
}

// DeviceOutput is one device.
type DeviceOutput struct {
	ID            services.DeviceID `json:"id" show:"last"`
	Name          string            `json:"name"`
	Person        string            `json:"person"`
	Paired        bool              `json:"paired"`
	LastHandshake *time.Time        `json:"last_handshake" show:"time"` // null is never since the box started
	Address4      string            `json:"address4"`
	Address6      string            `json:"address6"`
}

// AddDeviceInput is what "device add" takes.
type AddDeviceInput struct {
	Name      string `json:"name" arg:"NAME" help:"the device's name"`
	Person    string `json:"person,omitempty" help:"whose it is: name or ID; your own when not given"`
	PublicKey string `json:"public_key,omitempty" help:"the app's public key, for a laptop that keeps its own"`
}

// AddDeviceOutput is the configuration of a device on its way in.
type AddDeviceOutput struct {
	ID      services.DeviceID `json:"id"`
	Name    string            `json:"name"`
	Config  secret.Shown      `json:"config"`
	Expires time.Time         `json:"expires"`
	Reach   string            `json:"reach"`
	PNG     []byte            `json:"png,omitempty" save:"png" show:"qr=config"`
}

// RenameDeviceInput is what "device rename" takes.
type RenameDeviceInput struct {
	ID   services.DeviceID `json:"id" arg:"DEVICE" path:"id" help:"its name, or the ID that device list shows"`
	Name string            `json:"name" arg:"NAME" help:"the new name"`
}

// DeviceInput names a device.
type DeviceInput struct {
	ID services.DeviceID `json:"id" arg:"DEVICE" path:"id" help:"its name, or the ID that device list shows"`
}

// SessionsInput is what "session list" takes.
type SessionsInput struct {
	Person string `json:"person,omitempty" help:"whose: name or ID; your own when not given"`
}

// SessionOutput is one session. Its ID is never a credential.
type SessionOutput struct {
	ID      string            `json:"id" show:"last"`
	Person  services.PersonID `json:"person" show:"-"`
	Browser string            `json:"browser" show:"browser"`
	Started time.Time         `json:"started"`
	Seen    time.Time         `json:"seen"`
}

// SessionInput names a session.
type SessionInput struct {
	ID string `json:"id" arg:"ID" path:"id" help:"as session list shows it"`
}

// AllowHomewardInput is what "dns allow" takes.
type AllowHomewardInput struct {
	Domain string `json:"domain" arg:"DOMAIN" help:"a name of yours, nas.example.com; it counts for all below it"`
}

// HomewardInput names a domain on the list.
type HomewardInput struct {
	Domain string `json:"domain" arg:"DOMAIN" path:"domain" help:"as dns list shows it"`
}

// HomewardOutput is one domain whose names may point home.
type HomewardOutput struct {
	Domain string `json:"domain"`
}

// NetworkOutput says where the box is in the network.
type NetworkOutput struct {
	Addresses []string      `json:"addresses"`
	Net4      string        `json:"net4"`
	Net6      string        `json:"net6"`
	Domain    string        `json:"domain"`
	Name      string        `json:"name"` // in mDNS, "study.local"
	Port      int           `json:"port"` // UDP, of the private network
	Reach     string        `json:"reach"`
	Found     []FoundOutput `json:"found"`
}

// FoundOutput is something that announces itself on the home network.
type FoundOutput struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Host string `json:"host"`
}

// TimeOutput is the time that the box goes by.
type TimeOutput struct {
	Time   time.Time `json:"time"`
	Known  bool      `json:"known"`  // else it is only the earliest that it can be
	Source string    `json:"source"` // build, kept, system or person (services/clock.Source)
	System time.Time `json:"system"` // the machine's own clock, which on a device NTP sets
	Zone   string    `json:"zone"`   // in which pages show times, like Europe/Berlin; UTC while nobody chose one
}

// SetZoneInput is what "time zone" takes.
type SetZoneInput struct {
	Zone string `json:"zone" arg:"NAME" help:"the zone's name, like Europe/Berlin"`
}

// SetTimeInput is what "time set" takes.
type SetTimeInput struct {
	Time time.Time `json:"time" arg:"TIME" help:"the time now, like 2026-11-21T12:00:00Z"`
}

// AuditInput is what "audit" takes.
type AuditInput struct {
	Limit int `json:"limit,omitempty" help:"at most so many lines; 100 when not given"`
}

// AuditOutput is one line of what happened.
type AuditOutput struct {
	At     time.Time `json:"at"`
	Actor  string    `json:"actor"`
	Face   string    `json:"face"`
	Action string    `json:"action"`
	Object string    `json:"object" show:"short"`
}
