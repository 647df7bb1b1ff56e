package services

import (
	"crypto/ed25519"
	"encoding/base32"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"
)

// PeerID names a box: it is the box's Ed25519 public key (RFC 8032). The zero PeerID names nobody.
type PeerID [ed25519.PublicKeySize]byte

// peerIDText is lower-case base32 without padding (RFC 4648, section 6): 52 letters and digits, which survive
// being read aloud, a URL and a DNS label.
var peerIDText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// String returns the 52 letters and digits that ParsePeerID reads.
func (p PeerID) String() string { return peerIDText.EncodeToString(p[:]) }

// IsZero says whether p names nobody.
func (p PeerID) IsZero() bool { return p == PeerID{} }

// MarshalText implements encoding.TextMarshaler.
func (p PeerID) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *PeerID) UnmarshalText(b []byte) error {
	q, err := ParsePeerID(string(b))
	if err == nil {
		*p = q
	}
	return err
}

// ParsePeerID reads the form that String writes; upper case is accepted. The error names the text.
func ParsePeerID(s string) (PeerID, error) {
	var p PeerID
	b, err := peerIDText.DecodeString(strings.ToLower(s))
	if err != nil || len(b) != len(p) || peerIDText.EncodeToString(b) != strings.ToLower(s) {
		return p, fmt.Errorf("%q is not a PeerID: want 52 letters and digits", s)
	}
	copy(p[:], b)
	return p, nil
}

// PersonID names a person within a household, DeviceID a phone or laptop. Both are 16 letters and digits of
// lower-case base32 over 80 random bits, made once and never used again, so that a name may change.
type (
	PersonID string
	DeviceID string
)

var idForm = regexp.MustCompile(`^[a-z2-7]{16}$`)

// Valid says whether id has the form of an identifier; it does not say that anyone has it.
func (id PersonID) Valid() bool { return idForm.MatchString(string(id)) }

// Valid says whether id has the form of an identifier; it does not say that any device has it.
func (id DeviceID) Valid() bool { return idForm.MatchString(string(id)) }

// Role is what a person may do. The order is from least to most: a comparison with < is meaningful.
type Role uint8

// The roles, least first. RoleNone is nobody: a request without a credential.
const (
	RoleNone   Role = iota
	RoleGuest       // only what was granted
	RoleMember      // own files, devices and people they invited as guests
	RoleAdmin       // the house, but not the owners
	RoleOwner       // everything
)

var roleNames = [...]string{"none", "guest", "member", "admin", "owner"}

func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return fmt.Sprintf("role %d", r)
}

// MarshalText implements encoding.TextMarshaler.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Role) UnmarshalText(b []byte) error {
	q, err := ParseRole(string(b))
	if err == nil {
		*r = q
	}
	return err
}

// ParseRole reads "guest", "member", "admin" or "owner".
func ParseRole(s string) (Role, error) {
	for i, n := range roleNames {
		if i > 0 && n == s {
			return Role(i), nil
		}
	}
	return RoleNone, fmt.Errorf("%q is not a role: want owner, admin, member or guest", s)
}

// State is where a person, a device or a box stands in the household.
type State string

// The states. A removed person, device or box stays in the log and leaves the Membership.
const (
	StatePending     State = "pending"     // invited or not scanned yet; ends by itself at its Expires
	StateActive      State = "active"      // belongs
	StateRelayOnly   State = "relay-only"  // carries packets, reads nothing
	StateQuarantined State = "quarantined" // may be read, may do nothing
)

// ClientKey is the Curve25519 public key of a device in the client plane, as the stock WireGuard apps show it.
type ClientKey [32]byte

// Household is what the log's first record says, and the addresses chosen for it. It never changes but by the
// root key.
type Household struct {
	Name   string            // as people write it, "Smith"
	Label  string            // the DNS label made of it, "smith"
	Domain string            // "<label>.home.arpa" (RFC 8375), no dot at the end
	Root   ed25519.PublicKey // 32 bytes; its private half exists only as the 24 words; new words are another
	Net4   netip.Prefix      // random 10.x.y.0/24 of the client plane
	Net6   netip.Prefix      // random ULA /48 (RFC 4193)
}

// Box is one Hearth of the household.
type Box struct {
	ID    PeerID
	Name  string // as people write it
	Label string // its DNS label: "<label>.<domain>" and "<label>.local"
	State State
	Addr4 netip.Addr // in Net4
	Addr6 netip.Addr // in Net6
}

// Person is an account of the household.
type Person struct {
	ID      PersonID
	Name    string
	Role    Role
	State   State
	Expires time.Time // of an invitation (StatePending); zero otherwise
	LAN     bool      // their devices reach the home network through the tunnel
}

// Device is a phone or laptop of a person, paired by QR code or by its own public key.
type Device struct {
	ID      DeviceID
	Person  PersonID
	Name    string
	Key     ClientKey
	Addr4   netip.Addr
	Addr6   netip.Addr
	State   State     // StatePending until its first handshake
	Expires time.Time // when a pending device is forgotten; zero otherwise
	Added   time.Time // known time of the record that added it
}

// Membership is who belongs, as of one record of the household log. It is immutable: a change makes a new one.
// Every service takes it and makes it so; nobody else stores who belongs.
type Membership struct {
	Revision uint64 // grows by at least one with each change; 0 is an unclaimed box
	// Generation changes whenever a removal of a person, device or box, or an epoch, takes effect, or loses it; only
	// then, but for 1 in 2^64. It is equal on boxes that have the same records, 0 before the first, and has no order.
	// Secrets that must outlive nobody's removal are made anew when it changes: the key of the https certificate is
	// (services/certificate); the content key and the mesh's keys will be, where they are made.
	Generation uint64
	Self       PeerID     // this box
	Household  *Household // nil until the claim
	Boxes      []Box      // by Label; holds Self once claimed
	People     []Person   // by Name, then ID; pending ones included
	Devices    []Device   // by Name, then ID; pending ones included
	Removed    []PeerID   // boxes that belonged once; never again one of Boxes
	Friends    []Friend   // other households, by Petname, then ID
	Leaving    []Leaving  // people who were removed, by Name, then ID; never one of People
	// ReadOnly is set while the log is damaged or Frozen: everything already known keeps working, nothing can change.
	ReadOnly bool
	// Frozen is set while who belongs is disputed; ReadOnly is, too. The disputed are suspended (StateQuarantined).
	Frozen bool
	// Opposed and Copied are why: some removed one another, and boxes whose key is used in two places, by PeerID.
	Opposed bool
	Copied  []PeerID
}

// Claimed says whether the box has an owner.
func (m *Membership) Claimed() bool { return m.Household != nil }

// Person returns the person named id.
func (m *Membership) Person(id PersonID) (Person, bool) {
	for _, p := range m.People {
		if p.ID == id {
			return p, true
		}
	}
	return Person{}, false
}

// Device returns the device named id.
func (m *Membership) Device(id DeviceID) (Device, bool) {
	for _, d := range m.Devices {
		if d.ID == id {
			return d, true
		}
	}
	return Device{}, false
}

// DeviceAt returns the device that has the tunnel address a.
func (m *Membership) DeviceAt(a netip.Addr) (Device, bool) {
	a = a.Unmap()
	for _, d := range m.Devices {
		if d.Addr4 == a || d.Addr6 == a {
			return d, true
		}
	}
	return Device{}, false
}

// Box returns this box's own entry; false until the claim.
func (m *Membership) Box() (Box, bool) {
	for _, b := range m.Boxes {
		if b.ID == m.Self {
			return b, true
		}
	}
	return Box{}, false
}
