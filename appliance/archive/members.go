package archive

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"hearth.alt/services"
)

// Members is identity/members.json: who belongs, as lists. A time that is not there is absent.
type Members struct {
	Household struct {
		Name   string       `json:"name"`
		Label  string       `json:"label"` // in names of the DNS
		Domain string       `json:"domain"`
		Root   string       `json:"root"` // the Ed25519 public key that the 24 words stand for, in hexadecimal
		Net4   netip.Prefix `json:"net4"`
		Net6   netip.Prefix `json:"net6"`
	} `json:"household"`
	People  []Person          `json:"people"`
	Devices []Device          `json:"devices"`
	Boxes   []MemberBox       `json:"boxes"`
	Removed []services.PeerID `json:"removed_boxes"`
	Friends []Friend          `json:"friends"`
}

// Person is one person.
type Person struct {
	ID      services.PersonID `json:"id"`
	Name    string            `json:"name"`
	Role    services.Role     `json:"role"`
	State   services.State    `json:"state"`
	Expires time.Time         `json:"expires,omitzero"` // of an invitation
	LAN     bool              `json:"lan"`              // their devices reach the home network
}

// Device is a phone or laptop.
type Device struct {
	ID        services.DeviceID `json:"id"`
	Person    services.PersonID `json:"person"`
	Name      string            `json:"name"`
	PublicKey []byte            `json:"public_key"` // of WireGuard, in base64 as its apps show it
	Address4  netip.Addr        `json:"address4"`
	Address6  netip.Addr        `json:"address6"`
	State     services.State    `json:"state"`
	Expires   time.Time         `json:"expires,omitzero"`
	Added     time.Time         `json:"added,omitzero"`
}

// MemberBox is one box of the household.
type MemberBox struct {
	ID       services.PeerID `json:"id"`
	Name     string          `json:"name"`
	Label    string          `json:"label"`
	State    services.State  `json:"state"`
	Address4 netip.Addr      `json:"address4"`
	Address6 netip.Addr      `json:"address6"`
}

// Friend is another household.
type Friend struct {
	ID       services.FriendID `json:"id"`
	Petname  string            `json:"petname"`  // what this household calls them
	Nickname string            `json:"nickname"` // what they call themselves
	Boxes    []services.PeerID `json:"boxes"`
	Grants   []string          `json:"grants"` // what they are allowed: "relay", "store=10GB"
	Until    time.Time         `json:"until,omitzero"`
}

// WriteMembers writes identity/members.json. m is claimed.
func WriteMembers(w io.Writer, m *services.Membership) error {
	v := Members{People: []Person{}, Devices: []Device{}, Boxes: []MemberBox{}, Removed: append([]services.PeerID{}, m.Removed...), Friends: []Friend{}}
	h := &v.Household
	h.Name, h.Label, h.Domain, h.Root, h.Net4, h.Net6 = m.Household.Name, m.Household.Label, m.Household.Domain, hex.EncodeToString(m.Household.Root), m.Household.Net4, m.Household.Net6
	for _, p := range m.People {
		v.People = append(v.People, Person{p.ID, p.Name, p.Role, p.State, utc(p.Expires), p.LAN})
	}
	for _, d := range m.Devices {
		v.Devices = append(v.Devices, Device{d.ID, d.Person, d.Name, d.Key[:], d.Addr4, d.Addr6, d.State, utc(d.Expires), utc(d.Added)})
	}
	for _, b := range m.Boxes {
		v.Boxes = append(v.Boxes, MemberBox{b.ID, b.Name, b.Label, b.State, b.Addr4, b.Addr6})
	}
	for _, f := range m.Friends {
		one := Friend{f.ID, f.Petname, f.Nickname, append([]services.PeerID{}, f.Peers...), []string{}, utc(f.Until)}
		for _, g := range f.Grants {
			one.Grants = append(one.Grants, g.String())
		}
		v.Friends = append(v.Friends, one)
	}
	return WriteJSON(w, v)
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}

// WriteJSON writes v for people and programs.
func WriteJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// WriteContacts writes contacts.vcf: each friend as a vCard (RFC 6350) of kind org, its ID as UID, its boxes as X-HEARTH-BOX.
func WriteContacts(w io.Writer, friends []services.Friend) error {
	var b strings.Builder
	for _, f := range friends {
		lines := []string{"BEGIN:VCARD", "VERSION:4.0", "KIND:org", "UID;VALUE=text:" + f.ID.String(), "FN:" + escape(f.Petname)}
		if f.Nickname != "" {
			lines = append(lines, "NICKNAME:"+escape(f.Nickname))
		}
		for _, p := range f.Peers {
			lines = append(lines, "X-HEARTH-BOX:"+p.String())
		}
		for _, l := range append(lines, "END:VCARD") {
			b.WriteString(fold(l))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// escape is a text as a value (RFC 6350, section 3.4).
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, ",", `\,`, ";", `\;`, "\r\n", `\n`, "\n", `\n`, "\r", `\n`).Replace(s)
}

// fold is a line of at most 75 bytes and those that go on with it (RFC 6350, section 3.2); no character is cut in two.
func fold(line string) string {
	var b strings.Builder
	n := 0
	for _, r := range line {
		if n += utf8.RuneLen(r); n > 75 {
			b.WriteString("\r\n ")
			n = 1 + utf8.RuneLen(r)
		}
		b.WriteRune(r)
	}
	fmt.Fprint(&b, "\r\n")
	return b.String()
}
