package webtest

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"hearth.alt/services"
	"hearth.alt/webui/house"
)

// Scene is one page in one state.
type Scene struct {
	Name   string // "home-broken"; unique, letters, digits and dashes
	Page   string // name of the page folder, as Route.Page
	State  string // empty, one, many, loading, broken, long, done, wrong …
	Method string // "GET" or "POST"
	Path   string
	Form   url.Values // of a POST
	Caller services.Caller
	House  *House
	Sealed bool
	// Follow goes where a POST leads, with the cookies it set: so the answer to what was done is seen.
	Follow bool
	// Proof is the cookie of a proven claim code.
	Proof bool
	Want  int // status; 0 is 200
}

const (
	annID   services.PersonID = "annaaaaaaaaaaaaa"
	benID   services.PersonID = "benaaaaaaaaaaaaa"
	graceID services.PersonID = "graceaaaaaaaaaaa"
	longID  services.PersonID = "longaaaaaaaaaaaa"

	phoneID services.DeviceID = "annphoneaaaaaaaa"
	newID   services.DeviceID = "newphoneaaaaaaaa"
	oldID   services.DeviceID = "oldphoneaaaaaaaa"
)

var (
	nobodyLAN    = services.Caller{Face: services.FaceLAN}
	nobodySecure = services.Caller{Face: services.FaceSecure}
	owner        = services.Caller{Face: services.FaceTunnel, Person: annID, Role: services.RoleOwner, Session: "s1"}
	member       = services.Caller{Face: services.FaceTunnel, Person: benID, Role: services.RoleMember, Session: "s2"}
	guest        = services.Caller{Face: services.FaceTunnel, Person: graceID, Role: services.RoleGuest, Session: "s3"}
)

var allRoles = []services.Role{services.RoleGuest, services.RoleMember, services.RoleAdmin, services.RoleOwner}

const longWord = "Donaudampfschifffahrtsgesellschaftskapitänsfamilie"

const fingerprint = "5B:2E:9C:41:7D:08:AF:33:16:E4:90:5C:7A:D2:88:1B:64:F0:3E:9D:25:B7:4A:C1:0F:86:E3:5D:92:1A:7C:B8"

func doors(claimed bool) house.Doors {
	d := house.Doors{
		Ways:   []string{"hearth.local", "192.168.1.20", "[fd3a:91c4:7::20]"},
		Secure: []string{"https://hearth.local/", "https://192.168.1.20/"}, Fingerprint: fingerprint, Short: "b7f2 91c4 e0a3 5d68",
	}
	d.Sealed = !claimed
	if claimed {
		d.Tunnel = "http://hearth.smith.home.arpa/"
	}
	return d
}

func unclaimed() *House {
	return &House{TheFrame: house.Frame{Version: "26.11.0"}, TheDoors: doors(false)}
}

func health(name string, ok bool, text string, args ...any) services.Health {
	return services.Health{Name: name, Ready: true, OK: ok, Since: ago(48 * time.Hour), Message: say(text, args...)}
}

func person(id services.PersonID, name string, role services.Role, you bool) house.Person {
	return house.Person{
		Person: services.Person{ID: id, Name: name, Role: role, State: services.StateActive, LAN: role >= services.RoleMember},
		You:    you, Seen: ago(3 * time.Minute), MayChange: true, MayRemove: !you, MayLAN: true, Roles: allRoles,
	}
}

func device(id services.DeviceID, name string, who services.PersonID, whose string, seen time.Duration, way string) house.Device {
	return house.Device{
		Device: services.Device{
			ID: id, Person: who, Name: name, Addr4: addr("10.87.14.6"), Addr6: addr("fd3a:91c4:e0a3::6"),
			State: services.StateActive, Added: ago(120 * 24 * time.Hour),
		},
		PersonName: whose, Paired: true, Handshake: ago(seen), Way: say(way), MayChange: true,
	}
}

const config = `[Interface]
PrivateKey = c2FtcGxlIHNhbXBsZSBzYW1wbGUgc2FtcGxlIHNhbXA=
Address = 10.87.14.6/32, fd3a:91c4:e0a3::6/128
DNS = 10.87.14.1

[Peer]
PublicKey = aGVhcnRoIGhlYXJ0aCBoZWFydGggaGVhcnRoIGhlYXI=
AllowedIPs = 10.87.14.0/24, fd3a:91c4:e0a3::/48
Endpoint = 198.51.100.7:51820
PersistentKeepalive = 25
`

const ownConfig = `[Interface]
# PrivateKey: the line the app wrote stays
Address = 10.87.14.7/32, fd3a:91c4:e0a3::7/128
DNS = 10.87.14.1

[Peer]
PublicKey = aGVhcnRoIGhlYXJ0aCBoZWFydGggaGVhcnRoIGhlYXI=
AllowedIPs = 10.87.14.0/24, fd3a:91c4:e0a3::/48
Endpoint = 198.51.100.7:51820
`

func reachNow() house.Reach {
	return house.Reach{
		Kind: house.ReachForNow, Endpoint: "198.51.100.7:51820",
		Say: say("Devices knock at 198.51.100.7, which the provider may change."),
	}
}

func pending(own bool) house.Device {
	return house.Device{
		Device: services.Device{
			ID: newID, Person: benID, Name: "Ben’s phone", State: services.StatePending, Expires: Now.Add(9 * time.Minute),
			Addr4: addr("10.87.14.6"), Added: Now,
		},
		PersonName: "Ben", OwnKey: own, MayChange: true,
	}
}

var words = []string{
	"garden", "kitchen", "window", "stone", "apple", "river", "autumn", "clock", "blanket", "honey", "ladder", "lemon",
	"maple", "ocean", "olive", "orchard", "pencil", "puzzle", "rabbit", "salad", "silver", "spoon", "umbrella", "violin",
}

// well is a house of three people and four devices on a good day.
func well() *House {
	h := &House{
		TheFrame: house.Frame{Version: "26.11.0", Claimed: true, Household: "Smith", Box: "hearth", Person: "Ann", Devices: 4},
		TheDoors: doors(true),
		TheReach: reachNow(),
		TheOverview: house.Overview{
			Looked: ago(2 * time.Minute),
			Services: []services.Health{
				health("mesh", true, "Four devices may come in; two are in now."),
				health("dns", true, "Names answer in 9 ms, and questions to the Internet travel encrypted."),
				health("discovery", true, "hearth.local answers. Two printers and a speaker are at home."),
				health("identity", true, "The household log has 14 records and all their signatures are right."),
				health("certificate", true, "Good until 19 February 2027, and renewed by itself."),
				health("clock", true, "Right to a few milliseconds."),
			},
			Devices: house.DeviceCount{All: 4, SeenToday: 3},
			People:  house.PeopleCount{All: 3, Invited: 1},
			Reach:   reachNow(),
			Storage: house.Storage{Total: 1006e9, Used: 214e9, Free: 792e9, Message: say("There is room for a long time.")},
		},
		TheEvents: []house.Event{
			{At: ago(28 * time.Minute), What: say("{name} signed in from the private network.", "name", "Ben")},
			{At: ago(5 * time.Hour), What: say("{device} came in from outside.", "device", "Ben’s phone")},
			{At: ago(10 * time.Hour), What: say("The router opened door 51820 for another two hours.")},
			{At: ago(22 * time.Hour), What: say("{name} invited {who}.", "name", "Ann", "who", "Grace")},
		},
		TheSessions: []house.Session{
			{ID: "s1", Agent: "Firefox on Linux", Where: say("the private network"), Started: ago(9 * 24 * time.Hour), Seen: Now, This: true},
			{ID: "s9", Agent: "Safari on iPhone", Full: "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Version/19.0 Mobile/15E148 Safari/604.1", Where: say("the home network, over https"), Started: ago(40 * 24 * time.Hour), Seen: ago(26 * time.Hour)},
		},
		ThePeople: []house.Person{
			person(annID, "Ann", services.RoleOwner, true), person(benID, "Ben", services.RoleMember, false),
			person(longID, "Chris", services.RoleMember, false),
			{
				Person:    services.Person{ID: graceID, Name: "Grace", Role: services.RoleGuest, State: services.StatePending, Expires: Now.Add(160 * time.Hour)},
				MayChange: true, MayRemove: true, Roles: allRoles,
			},
		},
		TheDevices: []house.Device{
			device(phoneID, "Ann’s phone", annID, "Ann", time.Second, "at home"),
			device("annlaptopaaaaaaa", "Ann’s laptop", annID, "Ann", 9*time.Minute, "at home"),
			device("benphoneaaaaaaaa", "Ben’s phone", benID, "Ben", 5*time.Hour, "from outside, directly"),
			device(oldID, "Ben’s old phone", benID, "Ben", 47*24*time.Hour, "not at all"),
		},
		ThePairing: house.Pairing{
			Device: pending(false), Expires: Now.Add(9 * time.Minute), Config: shown(config), FileName: "home.conf", Reach: reachNow(),
		},
		TheInvitation: house.Invitation{
			Link: shown("https://hearth.local/join#7QK4-M2VX-9TRD-HC6P"), Code: shown("7QK4-M2VX-9TRD-HC6P"), Expires: Now.Add(168 * time.Hour),
		},
		TheWelcome: house.Welcome{Name: "Grace", Household: "Smith", Role: services.RoleGuest, Expires: Now.Add(168 * time.Hour)},
		TheNetwork: house.Network{
			Time: Now, Zone: "Europe/London", TimeKnown: true, MayChange: true,
			Looked: ago(2 * time.Minute), Addresses: []netip.Addr{addr("192.168.1.20"), addr("fd3a:91c4:7::20")}, Router: addr("192.168.1.1"),
			Public: addr("198.51.100.7"), Net4: prefix("10.87.14.0/24"), Net6: prefix("fd3a:91c4:e0a3::/48"), Domain: "smith.home.arpa",
			Reach: reachNow(),
			Ports: []house.Port{
				{Use: say("Phones and laptops"), Protocol: "UDP", Inside: 51820, Outside: 51820, Via: "UPnP", Message: say("The router opened door 51820 by UPnP, for two hours at a time.")},
			},
			DNS:      []house.Fact{{Say: say("Names of the house answer in 2 ms.")}, {Say: say("Questions to the Internet travel encrypted to two resolvers.")}},
			Homeward: []string{"nas.example.com"},
			Found: []house.Found{
				{Kind: house.FoundHearth, Name: "attic", Service: "_hearth._udp", Host: "attic.local", Address: addr("192.168.1.31")},
				{Kind: house.FoundPrinter, Name: "Printer in the hall", Service: "_ipp._tcp", Host: "printer-hall.local", Address: addr("192.168.1.40")},
				{Kind: house.FoundPrinter, Name: "Label printer", Service: "_ipp._tcp", Host: "labels.local", Address: addr("192.168.1.41")},
				{Kind: house.FoundPlayer, Name: "Kitchen", Service: "_raop._tcp", Host: "kitchen.local", Address: addr("192.168.1.52")},
			},
		},
		TheApps: house.AppSettings{
			Fingerprint: fingerprint, Names: []string{"smith.home.arpa", "hearth.local"},
			Settings: []house.Setting{
				{Label: say("Address of the house"), Value: "https://hearth.smith.home.arpa/"}, {Label: say("Your name"), Value: "ann"},
			},
			Passwords: []house.AppPassword{
				{ID: "p1", Name: "Calendar on Ann’s phone", Created: ago(30 * 24 * time.Hour), Used: ago(2 * time.Hour)},
				{ID: "p2", Name: "Notes on the tablet", Created: ago(3 * 24 * time.Hour)},
			},
		},
		TheNotices: []house.Notice{
			{Name: "github.com/a-h/templ", Version: "v0.3.977", License: "MIT", Source: "github.com/a-h/templ", Text: "MIT License\n\nPermission is hereby granted, free of charge, …"},
			{Name: "htmx", Version: "4.0.1", License: "0BSD", Source: "htmx.org", Text: "Zero-Clause BSD\n\n…"},
			{Name: "Linux", Version: "6.12", License: "GPL-2.0-only WITH Linux-syscall-note", Source: "kernel.org", Text: "GNU GENERAL PUBLIC LICENSE\n\n…"},
		},
	}
	h.TheInvitation.Person = h.ThePeople[3]
	h.ThePeople[0].Devices, h.ThePeople[1].Devices = 2, 2
	return h
}

// fresh is a house just claimed: one person, no device, the words still to be checked.
func fresh() *House {
	h := well()
	h.TheFrame.WordsPending, h.TheFrame.Devices = true, 0
	h.TheWords, h.TheAsked = words, []int{4, 11, 20}
	h.TheDevices, h.TheEvents, h.TheApps.Passwords, h.TheNetwork.Found, h.TheNetwork.Homeward, h.TheNetwork.Searching = nil, nil, nil, nil, nil, true
	h.ThePeople = h.ThePeople[:1]
	h.ThePeople[0].Devices = 0
	h.TheSessions = h.TheSessions[:1]
	h.TheOverview.Devices, h.TheOverview.People = house.DeviceCount{}, house.PeopleCount{All: 1}
	h.TheOverview.Troubles = []house.Trouble{{
		ID: "words", State: house.StateCare, What: say("The recovery words are not confirmed yet."),
		Why: say("Nobody has shown yet that the 24 words are on paper."), Means: say("Without the words no later version can bring the household back if the box is lost."),
		Do: say("Write the words down and check three of them."), Action: "/claim/words", Label: say("Write down the words"),
	}}
	return h
}

// broken is a bad day: the Internet is gone and the card is wearing out.
func broken() *House {
	h := well()
	o := &h.TheOverview
	o.Services[0] = services.Health{Name: "mesh", Waiting: "internet", Since: ago(31 * time.Minute), Message: say("Two are in from home.")}
	o.Services = append(o.Services,
		services.Health{Name: "internet", Since: ago(31 * time.Minute), Message: say("The router answers, the line behind it does not, since {at, time}.", "at", ago(31*time.Minute))},
		services.Health{Name: "storage", Ready: true, Since: ago(31 * time.Minute), Message: say("The card had to repair 214 blocks this week.")})
	o.Troubles = []house.Trouble{
		{
			ID: "internet", State: house.StateAct, What: say("The Internet has been gone since {at, time}", "at", ago(31*time.Minute)),
			Why:    say("The router at {router} answers in 1 ms. Nothing beyond it has answered for 31 minutes, so the fault is in the line or at the provider, not in the house.", "router", addr("192.168.1.1")),
			Means:  say("Phones that are out cannot come home. At home everything still works, and nothing is lost."),
			Do:     say("Look at the router. If its line light is out, unplug it for 30 seconds. If the light stays out, call the provider."),
			Action: "/network", Label: say("See what was measured"),
		},
		{
			ID: "card", State: house.StateCare, What: say("The memory card is wearing out"),
			Why: say("It has had to repair 214 blocks this week; last month it was two."), Means: say("It still keeps everything it is given. At this pace it will stop doing so in about three weeks."),
			Do: say("Buy a card of 32 GB or more. Moving takes about 20 minutes and keeps people, devices and files."),
		},
	}
	o.Reach = house.Reach{Kind: house.ReachUnknown, Say: say("Not known while the Internet is gone.")}
	h.TheReach, h.TheNetwork.Reach = o.Reach, o.Reach
	h.TheNetwork.Ports[0].State, h.TheNetwork.Ports[0].Message = house.StateAct, say("The router refuses to open a door. UPnP is switched off in it.")
	h.TheNetwork.TimeKnown = false
	h.TheNetwork.DNS[1] = house.Fact{State: house.StateCare, Say: say("Questions to the Internet are not answered.")}
	return h
}

// long is a house of long words.
func long() *House {
	h := well()
	h.TheFrame.Household, h.TheFrame.Person = longWord, "Maximiliane-Friederike"
	for i := range h.TheDevices {
		h.TheDevices[i].Name, h.TheDevices[i].PersonName = "Rindfleischetikettierungsüberwachungsgerät", "Maximiliane-Friederike"
	}
	h.TheDevices[1].OwnKey, h.TheDevices[0].Here = true, true
	for i := range h.ThePeople {
		h.ThePeople[i].Name = longWord
	}
	h.ThePairing.Device.Name = "Rindfleischetikettierungsüberwachungsgerät"
	h.TheInvitation.Person.Name = longWord
	h.TheInvitation.Link = shown("https://donaudampfschifffahrtsgesellschaft.local/join#7QK4-M2VX-9TRD-HC6P")
	h.TheWelcome.Name, h.TheWelcome.Household = longWord, longWord
	h.TheApps.Passwords[0].Name = longWord + " " + longWord
	h.TheNetwork.Found[0].Name, h.TheNetwork.Found[0].Host = longWord, "donaudampfschifffahrtsgesellschaftskapitaensfamilie.local"
	h.TheSessions[0].Agent, h.TheSessions[0].Full = longWord, longWord+" "+longWord+"/5.0"
	h.TheEvents[0].What = say("{name} invited {who}.", "name", longWord+longWord, "who", longWord)
	h.TheOverview.Services[1].Message = say("{name} antwortet nicht.", "name", longWord+longWord)
	h.TheOverview.Services[1].OK = false
	return h
}

var (
	jones = services.FriendID{0x4a, 0x6f, 0x6e, 0x65, 0x73}
	brown = services.FriendID{0x42, 0x72, 0x6f, 0x77, 0x6e}
)

const friendPrint = "jjxg 4zlt aaaa aaaa aaaa aaaa aaaa aaaa aaaa aaaa aaaa aaaa aaaa"

func friend(id services.FriendID, petname, nickname string, seen time.Time, grants ...services.Grant) house.Friend {
	f := house.Friend{
		Friend: services.Friend{ID: id, Petname: petname, Nickname: nickname, Peers: []services.PeerID{{1}}, Grants: grants},
		Seen:   seen, Fingerprint: friendPrint, MayChange: true,
	}
	if len(grants) > 0 {
		f.Until = Now.Add(20 * 24 * time.Hour)
	}
	return f
}

// befriended is a house with friends, one of whom calls itself like the other, and an invitation that waits.
func befriended() *House {
	h := well()
	h.TheFriends = house.FriendList{
		Friends: []house.Friend{
			friend(brown, "Grandma", "J0nes", time.Time{}),
			friend(jones, "Jones", "The Joneses", ago(26*time.Hour), services.Grant{Kind: services.GrantRelay}, services.Grant{Kind: services.GrantStore, Bytes: 10_000 * services.Megabyte}),
		},
		Invitations: []house.FriendInvitation{{
			ID: "2b24fefe05d2e548", Petname: "Lena", Expires: Now.Add(150 * time.Hour), Grants: []services.Grant{{Kind: services.GrantFollow}},
			Link: shown("hearth:friend?AQK2op0nNLv7zvft8qLGgWuZK4VzA7qttBjdjgaVN8dNEHYhfTNx4A1Rfxaa8xplqCYU6A2iN0uwm1dZRnk0J4fAAAAAGsLMvwrT93UwZmvtCFDw6LSIXBVNtaXRoAQR"),
		}},
		MayChange: true, Name: "Smith", Fingerprint: friendPrint,
	}
	h.TheFriends.Friends[0].LooksLike = "Jones"
	h.TheMate = house.FriendWelcome{Name: "Jones", Fingerprint: friendPrint, Expires: Now.Add(150 * time.Hour)}
	return h
}

// many is a house of many.
func many() *House {
	h := well()
	for i := range 36 {
		d := h.TheDevices[i%4]
		d.ID = services.DeviceID("manyaaaaaaaaaa" + string("abcdefghijklmnopqrstuvwxyz"[i%26]) + string("234567"[i/26]))
		h.TheDevices = append(h.TheDevices, d)
	}
	for i := range 20 {
		h.TheEvents = append(h.TheEvents, house.Event{At: ago(time.Duration(20+7*i) * time.Hour), What: say("{device} came in from outside.", "device", "Ben’s phone")})
	}
	h.TheFrame.Devices, h.TheOverview.Devices = 40, house.DeviceCount{All: 40, SeenToday: 31}
	return h
}

func wrong(kind services.Kind, field, text string) error {
	return &services.Problem{Kind: kind, Code: "wrong", Field: field, Say: say(text)}
}

// asBen is what a member may see and do: their own name, their own devices, nothing of the owner's.
func asBen(h *House) *House {
	h.TheFrame.Person, h.TheDevices = "Ben", h.TheDevices[2:]
	h.TheNetwork.MayChange, h.TheNetwork.Homeward = false, nil
	for i := range h.ThePeople {
		p := &h.ThePeople[i]
		p.You = p.ID == benID
		p.MayChange, p.MayRemove, p.MayLAN, p.Roles = p.You, false, false, []services.Role{p.Role}
	}
	return h
}

func with(h *House, change func(*House)) *House { change(h); return h }

// Scenes returns every page in every state worth a look. A test compares it with the route table.
func Scenes() []Scene {
	get := func(name, page, state, path string, c services.Caller, h *House) Scene {
		return Scene{Name: name, Page: page, State: state, Method: "GET", Path: path, Caller: c, House: h}
	}
	post := func(s Scene, form url.Values, err error, want int) Scene {
		s.Method, s.Form, s.House.Err, s.Want = "POST", form, err, want
		return s
	}
	proof := func(s Scene) Scene { s.Proof, s.House.IsProved = true, true; return s }
	phone, ben, gr := string(phoneID), string(benID), string(graceID)
	return append([]Scene{
		get("landing-new", "landing", "empty", "/", nobodyLAN, unclaimed()),
		get("landing", "landing", "one", "/", nobodyLAN, well()),
		get("landing-long", "landing", "long", "/", nobodyLAN, long()),
		get("help", "help", "one", "/help", nobodyLAN, well()),
		get("help-owner", "help", "many", "/help", owner, well()),
		get("help-pending", "help", "one", "/help", nobodyLAN, with(well(), func(h *House) { h.TheFrame.WordsPending = true })),

		get("claim", "claim", "empty", "/claim", nobodySecure, unclaimed()),
		post(get("claim-wrong", "claim", "broken", "/claim", nobodySecure, unclaimed()), url.Values{"code": {"7QK4-M2VX-9TRD-HC6O"}},
			wrong(services.KindInvalid, "code", "The last group does not fit. The code has no letter O; try a zero. Nine tries are left this hour."), 422),
		get("claim-restore", "claim", "one", "/claim/restore", nobodySecure, unclaimed()),
		proof(get("claim-names", "claim", "empty", "/claim/names", nobodySecure, unclaimed())),
		proof(post(get("claim-names-wrong", "claim", "broken", "/claim/names", nobodySecure, unclaimed()),
			url.Values{"household": {"Smith"}, "box": {"hearth"}, "owner": {"Ann"}, "password": {"password1"}, "language": {"en"}},
			wrong(services.KindInvalid, "password", "This password is among the first that anyone would try. Three or four words that do not belong together are better."), 422)),
		get("claim-words", "claim", "one", "/claim/words", owner, fresh()),
		get("claim-check", "claim", "one", "/claim/check", owner, fresh()),
		post(get("claim-check-wrong", "claim", "broken", "/claim/check", owner, fresh()),
			url.Values{"word4": {"stone"}, "word11": {"letter"}, "word20": {"salat"}},
			errors.Join(wrong(services.KindInvalid, "word11", "Word number 11 is another one. Look at your paper once more."),
				wrong(services.KindInvalid, "word20", "Word number 20 is another one. Look at your paper once more.")), 422),

		get("signin", "signin", "empty", "/signin", nobodySecure, well()),
		post(get("signin-wrong", "signin", "broken", "/signin", nobodySecure, well()), url.Values{"name": {"Ann"}, "password": {"x"}},
			wrong(services.KindInvalid, "password", "Name and password do not belong together."), 422),
		post(get("signin-busy", "signin", "loading", "/signin", nobodySecure, well()), url.Values{"name": {"Ann"}, "password": {"x"}},
			wrong(services.KindBusy, "", "Too many tries. Wait a minute, then try once more."), 429),
		get("again", "signin", "one", "/again?to=/people/"+ben+"/remove", owner, well()),

		get("home", "home", "many", "/", owner, well()),
		get("home-empty", "home", "empty", "/", owner, fresh()),
		get("home-broken", "home", "broken", "/", owner, broken()),
		get("home-loading", "home", "loading", "/", owner, with(fresh(), func(h *House) { h.TheOverview = house.Overview{}; h.TheFrame.WordsPending = false })),
		get("home-long", "home", "long", "/", owner, long()),
		get("home-guest", "home", "one", "/", guest, with(well(), func(h *House) { h.TheFrame.Person = "Grace" })),
		get("home-log", "home", "broken", "/", owner, with(well(), func(h *House) {
			h.TheFrame.LogReadOnly = true
			h.TheOverview.Troubles = []house.Trouble{{
				ID: "log", State: house.StateAct, What: say("The record of who belongs is damaged."), Why: say("The box reads the whole record at every start and found a place that was changed or lost."),
				Means: say("Everybody who was known keeps working. Nobody can be added or removed."), Do: say("Bring the box back with the recovery words, or from a backup."),
			}}
		})),
		get("events", "events", "many", "/events", owner, many()),
		get("events-member", "events", "many", "/events", member, asBen(many())),
		get("events-long", "events", "long", "/events", owner, long()),
		get("events-empty", "events", "empty", "/events", owner, fresh()),

		get("devices", "devices", "many", "/devices", owner, with(well(), func(h *House) { h.TheDevices = append(h.TheDevices, pending(false)) })),
		get("devices-empty", "devices", "empty", "/devices", owner, fresh()),
		get("devices-guest", "devices", "empty", "/devices", guest, with(well(), func(h *House) { h.TheFrame.Person, h.TheDevices = "Grace", nil })),
		get("devices-home", "devices", "empty", "/devices", owner, with(fresh(), func(h *House) { h.TheReach.Kind = house.ReachHome })),
		get("devices-away", "devices", "one", "/devices", owner, with(well(), func(h *House) {
			h.TheDevices = slices.Clone(h.TheDevices[:1])
			h.TheDevices[0].Way, h.TheDevices[0].Handshake = services.Sentence{}, ago(5*time.Minute)
		})),
		get("devices-none", "devices", "empty", "/devices", member, with(well(), func(h *House) { h.TheFrame.Person, h.TheDevices = "Ben", nil })),
		get("devices-yours", "devices", "one", "/devices", member, with(well(), func(h *House) { h.TheFrame.Person, h.TheDevices = "Ben", h.TheDevices[2:3] })),
		get("devices-one", "devices", "one", "/devices", owner, with(well(), func(h *House) { h.TheDevices = h.TheDevices[:1] })),
		get("devices-many", "devices", "many", "/devices", member, many()),
		get("devices-long", "devices", "long", "/devices", owner, long()),
		get("deviceadd", "deviceadd", "empty", "/devices/add", owner, well()),
		get("deviceadd-long", "deviceadd", "long", "/devices/add", owner, long()),
		get("deviceadd-first", "deviceadd", "broken", "/devices/add", owner, with(well(), func(h *House) {
			h.TheReach = house.Reach{
				Kind: house.ReachUnknown, Say: say("This box may not make a tunnel on this computer, so phones cannot come in. At home everything else works."),
				First: say("Stop Hearth and start it once more with administrator rights, on Linux with sudo before the command. Nothing is lost."),
			}
		})),
		post(get("deviceadd-wrong", "deviceadd", "broken", "/devices/add", owner, well()), url.Values{"name": {"Laptop"}, "key": {"abc"}, "person": {ben}},
			wrong(services.KindInvalid, "key", "This is no public key: it has 3 characters, and a key has 44."), 422),
		get("pair", "deviceadd", "loading", "/devices/"+string(newID)+"/pair", owner, well()),
		get("pair-long", "deviceadd", "long", "/devices/"+string(newID)+"/pair", owner, long()),
		get("pair-own", "deviceadd", "one", "/devices/"+string(newID)+"/pair", owner, with(well(), func(h *House) {
			h.ThePairing.Device, h.ThePairing.Config = pending(true), shown(ownConfig)
			h.ThePairing.Device.Name = "Ben’s laptop"
			h.ThePairing.Reach = house.Reach{Kind: house.ReachHome, Say: say("The router opens no door, so devices come in at home only.")}
		})),
		get("pair-done", "deviceadd", "done", "/devices/"+string(newID)+"/pair", owner, with(well(), func(h *House) { h.ThePairing.State = house.PairDone })),
		get("pair-expired", "deviceadd", "broken", "/devices/"+string(newID)+"/pair", owner, with(well(), func(h *House) { h.ThePairing.State = house.PairExpired })),
		get("device", "device", "one", "/devices/"+phone, owner, well()),
		get("device-long", "device", "long", "/devices/"+phone, owner, long()),
		post(get("device-wrong", "device", "broken", "/devices/"+phone, owner, well()), url.Values{"name": {"Ben’s phone"}},
			wrong(services.KindConflict, "name", "Ben’s phone is taken. Give this one another name."), 422),
		get("deviceremove", "deviceremove", "one", "/devices/"+string(oldID)+"/remove", owner, well()),
		get("deviceremove-long", "deviceremove", "long", "/devices/"+phone+"/remove", owner, long()),

		get("people", "people", "many", "/people", owner, well()),
		get("people-left", "people", "many", "/people", owner, parted()),
		get("people-member", "people", "many", "/people", member, asBen(well())),
		get("people-one", "people", "one", "/people", owner, fresh()),
		get("people-long", "people", "long", "/people", owner, long()),
		get("friends", "friends", "many", "/friends", owner, befriended()),
		get("friends-empty", "friends", "empty", "/friends", owner, with(well(), func(h *House) {
			h.TheFriends = house.FriendList{MayChange: true, Name: "Smith", Fingerprint: friendPrint}
		})),
		get("friends-member", "friends", "one", "/friends", member, with(asBen(befriended()), func(h *House) {
			h.TheFriends = house.FriendList{Friends: h.TheFriends.Friends[1:], Name: "Smith", Fingerprint: friendPrint}
			h.TheFriends.Friends[0].MayChange = false
		})),
		get("friends-long", "friends", "long", "/friends", owner, with(befriended(), func(h *House) {
			h.TheFriends.Friends[0].Petname, h.TheFriends.Friends[0].Nickname = longWord, longWord
		})),
		get("friends-invite", "friends", "empty", "/friends/invite", owner, befriended()),
		post(get("friends-invite-wrong", "friends", "broken", "/friends/invite", owner, befriended()), url.Values{"petname": {"J0nes"}, "follow": {"yes"}},
			wrong(services.KindConflict, "petname", "J0nes could be taken for Jones, which your household already knows. Choose another name for this friend."), 422),
		get("friends-invitation", "friends", "one", "/friends/2b24fefe05d2e548/invitation", owner, befriended()),
		get("friends-invitation-gone", "friends", "loading", "/friends/2b24fefe05d2e548/invitation", owner, with(befriended(), func(h *House) {
			h.TheFriends.Invitations[0].Link, h.TheFriends.Invitations[0].Petname = shown(""), ""
		})),
		get("friends-accept", "friends", "empty", "/friends/accept", owner, befriended()),
		post(get("friends-accept-wrong", "friends", "broken", "/friends/accept", owner, befriended()), url.Values{"link": {"hearth:friend?AQ"}},
			wrong(services.KindInvalid, "link", "This is not a whole invitation. Scan it again, or copy it from its first letter to its last."), 422),
		post(get("friends-accept-name", "friends", "one", "/friends/accept", owner, befriended()), url.Values{"link": {"hearth:friend?AQ"}}, nil, 200),
		post(get("friends-accept-like", "friends", "wrong", "/friends/accept", owner, with(befriended(), func(h *House) {
			h.TheMate.Name, h.TheMate.LooksLike = "J0nes", "Jones"
		})), url.Values{"link": {"hearth:friend?AQ"}}, nil, 200),
		get("friends-one", "friends", "one", "/friends/"+jones.String(), owner, befriended()),
		get("friends-one-record", "friends", "broken", "/friends/"+jones.String(), owner, with(befriended(), func(h *House) { h.TheFriends.Friends[1].Record = "older" })),
		get("friends-one-like", "friends", "wrong", "/friends/"+brown.String(), owner, befriended()),
		get("friends-one-member", "friends", "one", "/friends/"+jones.String(), member, with(asBen(befriended()), func(h *House) { h.TheFriends.Friends[1].MayChange = false })),
		get("friends-remove", "friends", "one", "/friends/"+jones.String()+"/remove", owner, befriended()),
		get("personinvite", "personinvite", "empty", "/people/invite", owner, well()),
		get("personinvite-member", "personinvite", "one", "/people/invite", member, with(well(), func(h *House) { h.TheFrame.Person = "Ben" })),
		post(get("personinvite-wrong", "personinvite", "broken", "/people/invite", owner, well()), url.Values{"role": {"member"}},
			wrong(services.KindInvalid, "name", "The name is empty. One letter is enough."), 422),
		get("invitation", "personinvite", "one", "/people/"+gr+"/invitation", owner, well()),
		get("invitation-here", "personinvite", "one", "/people/"+gr+"/invitation", owner, with(well(), func(h *House) { h.TheInvitation.Link = shown("https://127.0.0.1:8443/join#7QK4") })),
		get("invitation-back", "personinvite", "one", "/people/"+gr+"/invitation", owner, with(well(), func(h *House) { h.TheInvitation.Person.State = services.StateActive })),
		get("invitation-back-hidden", "personinvite", "loading", "/people/"+gr+"/invitation", owner, with(well(), func(h *House) {
			h.TheInvitation.Person.State, h.TheInvitation.Person.WayIn = services.StateActive, Now.Add(20*time.Hour)
			h.TheInvitation.Link, h.TheInvitation.Code = shown(""), shown("")
		})),
		get("invitation-gone", "personinvite", "loading", "/people/"+gr+"/invitation", owner, with(well(), func(h *House) {
			h.TheInvitation.Link, h.TheInvitation.Code = shown(""), shown("")
		})),
		get("invitation-long", "personinvite", "long", "/people/"+gr+"/invitation", owner, long()),
		get("person", "person", "one", "/people/"+ben, owner, well()),
		get("person-you", "person", "many", "/people/"+string(annID), owner, well()),
		get("person-member", "person", "one", "/people/"+ben, member, asBen(well())),
		get("person-other", "person", "one", "/people/"+string(annID), member, asBen(well())),
		get("person-long", "person", "long", "/people/"+ben, owner, long()),
		get("personremove", "personremove", "one", "/people/"+ben+"/remove", owner, well()),
		post(get("personremove-wrong", "personremove", "broken", "/people/"+ben+"/remove", owner, well()), url.Values{"files": {"now"}},
			wrong(services.KindInvalid, "files", "What somebody kept here is erased, or kept for export. Nothing was changed."), 422),
		get("personleft", "personleft", "one", "/left/leaveraaaaaaaaaa", owner, parted()),
		get("personleft-long", "personleft", "long", "/left/leaveraaaaaaaaaa", owner, with(parted(), func(h *House) { h.TheLeft[0].Name = longWord })),
		post(get("personleft-wrong", "personleft", "broken", "/left/leaveraaaaaaaaaa", owner, parted()), url.Values{},
			wrong(services.KindInvalid, "files", "What somebody kept here is erased, or kept for export. Nothing was changed."), 422),
		get("personremove-pending", "personremove", "empty", "/people/"+gr+"/remove", owner, well()),
		get("personremove-long", "personremove", "long", "/people/"+ben+"/remove", owner, long()),

		get("forgotten", "forgotten", "empty", "/forgotten", nobodySecure, well()),
		post(get("forgotten-wrong", "forgotten", "broken", "/forgotten", nobodySecure, well()), url.Values{"name": {"Anna"}, "words": {"lantern turtle"}},
			wrong(services.KindInvalid, "words", "These are 2 words; the recovery words are 24."), 422),
		post(get("join-back", "join", "one", "/join", nobodySecure, with(well(), func(h *House) { h.TheWelcome.Back = true })), url.Values{"code": {"7QK4-M2VX-9TRD-HC6P"}}, nil, 200),
		get("join", "join", "empty", "/join", nobodySecure, well()),
		post(get("join-welcome", "join", "one", "/join", nobodySecure, well()), url.Values{"code": {"7QK4-M2VX-9TRD-HC6P"}}, nil, 200),
		post(get("join-wrong", "join", "broken", "/join", nobodySecure, well()), url.Values{"code": {"nonsense"}},
			wrong(services.KindInvalid, "code", "This invitation has been used, or has run out. Ask for a new one."), 422),
		post(get("join-long", "join", "long", "/join", nobodySecure, long()), url.Values{"code": {"7QK4-M2VX-9TRD-HC6P"}}, nil, 200),

		get("sessions", "sessions", "many", "/sessions", owner, well()),
		get("sessions-one", "sessions", "one", "/sessions", owner, fresh()),
		get("sessions-long", "sessions", "long", "/sessions", owner, long()),
		post(get("sessions-wrong", "sessions", "broken", "/password", owner, well()), url.Values{},
			wrong(services.KindInvalid, "password", "This is not your password until now."), 422),
		get("network", "network", "many", "/network", owner, well()),
		get("network-loading", "network", "loading", "/network", owner, fresh()),
		get("network-member", "network", "one", "/network", member, asBen(well())),
		post(get("network-wrong", "network", "broken", "/network", owner, well()), url.Values{"domain": {"duckdns.org"}},
			wrong(services.KindInvalid, "domain", "Below that name anybody can have one of their own. Write your whole name."), 422),
		get("network-broken", "network", "broken", "/network", owner, broken()),
		get("network-long", "network", "long", "/network", owner, long()),
		post(get("network-time", "network", "broken", "/network/time", owner, well()), url.Values{"time": {"tomorrow"}},
			wrong(services.KindInvalid, "time", "Write the time like this: 2026-11-21 12:00."), 422),
		post(get("network-zone", "network", "broken", "/network/zone", owner, well()), url.Values{"zone": {"Berlin"}},
			wrong(services.KindInvalid, "zone", "A time zone is written like Europe/Berlin: a continent and a large city."), 422),
		get("apps", "apps", "many", "/apps", owner, well()),
		get("apps-empty", "apps", "empty", "/apps", owner, fresh()),
		get("apps-long", "apps", "long", "/apps", owner, long()),
		get("notices", "notices", "many", "/notices", nobodySecure, well()),
		get("notices-text", "notices", "one", "/notices/1", owner, well()),

		{
			Name: "flash", Page: "devices", State: "done", Method: "POST", Path: "/devices/" + string(oldID) + "/remove", Follow: true,
			Caller: owner, House: well(),
		},
		{
			Name: "flash-later", Page: "devices", State: "done", Method: "POST", Path: "/devices/" + string(oldID) + "/remove", Follow: true,
			Caller: owner, House: with(well(), func(h *House) { h.TheFrame.Away = []string{"Barn", "Attic"} }),
		},
		{
			Name: "flash-later-person", Page: "people", State: "done", Method: "POST", Path: "/people/" + string(benID) + "/remove", Follow: true,
			Form: url.Values{"files": {"erase"}}, Caller: owner, House: with(well(), func(h *House) { h.TheFrame.Away = []string{"Barn"} }),
		},
		{
			Name: "flash-once", Page: "apps", State: "done", Method: "POST", Path: "/apps", Form: url.Values{"name": {"Notes on the tablet"}}, Follow: true,
			Caller: owner, House: well(),
		},
		{
			Name: "flash-waiting", Page: "deviceadd", State: "done", Method: "POST", Path: "/devices/" + string(newID) + "/pair", Follow: true,
			Caller: owner, House: with(well(), func(h *House) { h.TheDevices = append(h.TheDevices, pending(false)) }),
		},
		{Name: "error-notfound", Page: "failure", State: "broken", Method: "GET", Path: "/nowhere", Caller: owner, House: well(), Want: 404},
		{Name: "error-nothere", Page: "failure", State: "broken", Method: "GET", Path: "/people", Caller: nobodyLAN, House: well(), Want: 403},
		{Name: "error-notallowed", Page: "failure", State: "broken", Method: "GET", Path: "/network", Caller: guest, House: well(), Want: 403},
		{Name: "error-misdirected", Page: "failure", State: "broken", Method: "GET", Path: "/misdirected", Caller: nobodySecure, House: well(), Want: 421},
		{Name: "error-removed", Page: "failure", State: "broken", Method: "GET", Path: "/", Caller: nobodySecure, House: removedBox(), Want: 503},
		{Name: "error-removed-lan", Page: "failure", State: "broken", Method: "GET", Path: "/", Caller: nobodyLAN, House: removedBox(), Want: 503},
		{Name: "error-internal", Page: "failure", State: "broken", Method: "GET", Path: "/internal", Caller: owner, House: well(), Want: 500},
	}, slices.Concat(boxScenes(), disputeScenes(), wordScenes(), logScenes())...)
}
