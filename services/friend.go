package services

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// FriendID names another household: it is the Ed25519 public key of the root that its log began with. It has the text of
// a PeerID. The zero FriendID names nobody.
type FriendID [32]byte

// String returns the 52 letters and digits that ParseFriendID reads.
func (f FriendID) String() string { return PeerID(f).String() }

// MarshalText implements encoding.TextMarshaler.
func (f FriendID) MarshalText() ([]byte, error) { return PeerID(f).MarshalText() }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *FriendID) UnmarshalText(b []byte) error { return (*PeerID)(f).UnmarshalText(b) }

// ParseFriendID reads the form that String writes; upper case is accepted.
func ParseFriendID(s string) (FriendID, error) {
	p, err := ParsePeerID(s)
	return FriendID(p), err
}

// MaxFriendPeers is how many boxes of a friend are known at the most.
const MaxFriendPeers = 8

// Friend is another household in the address book.
type Friend struct {
	ID       FriendID
	Petname  string   // what we call them: unique, and never like another's
	Nickname string   // what they call themselves: shown as theirs, never trusted
	Peers    []PeerID // their boxes, ascending; nobody else's
	Grants   []Grant  // what we allow them until Until; ask Granted
	Until    time.Time
}

// MaxGrantLife is how long a grant lasts at the most, unless it is renewed.
const MaxGrantLife = 30 * 24 * time.Hour

// Granted is what the friend is allowed at the known time now. A grant that would last longer than one can was made
// while the time was wrong, and is over.
func (f Friend) Granted(now time.Time) []Grant {
	if left := f.Until.Sub(now); left <= 0 || left > MaxGrantLife+24*time.Hour {
		return nil
	}
	return f.Grants
}

// Friend returns the friend named id.
func (m *Membership) Friend(id FriendID) (Friend, bool) {
	for _, f := range m.Friends {
		if f.ID == id {
			return f, true
		}
	}
	return Friend{}, false
}

// FriendAt returns the friend whose box peer is.
func (m *Membership) FriendAt(peer PeerID) (Friend, bool) {
	for _, f := range m.Friends {
		if slices.Contains(f.Peers, peer) {
			return f, true
		}
	}
	return Friend{}, false
}

// GrantKind is a sort of thing that a friend can be allowed.
type GrantKind uint8

// The kinds.
const (
	GrantRelay  GrantKind = 1 + iota // our box passes their packets on
	GrantStore                       // they keep encrypted copies here, up to Bytes
	GrantExit                        // they reach the Internet through our line
	GrantFollow                      // they read what we post for friends
)

var grantNames = map[GrantKind]string{GrantRelay: "relay", GrantStore: "store", GrantExit: "exit", GrantFollow: "follow"}

// Grant is one thing that we allow a friend: "relay", "store=10GB", "exit", "follow".
type Grant struct {
	Kind  GrantKind
	Bytes int64 // of GrantStore: whole megabytes of 1,000,000 bytes, 1 to MaxStore; 0 of all others
}

// The bounds of GrantStore.
const (
	Megabyte int64 = 1_000_000
	MaxStore       = 1_000_000_000 * Megabyte
)

var storeForm = regexp.MustCompile(`^store=([1-9][0-9]{0,8})(MB|GB|TB)$`)

var storeUnits = []struct {
	name  string
	bytes int64
}{{"TB", 1_000_000 * Megabyte}, {"GB", 1000 * Megabyte}, {"MB", Megabyte}}

// String is the form that ParseGrant reads.
func (g Grant) String() string {
	if g.Kind != GrantStore {
		return grantNames[g.Kind]
	}
	for _, u := range storeUnits {
		if g.Bytes%u.bytes == 0 {
			return fmt.Sprintf("store=%d%s", g.Bytes/u.bytes, u.name)
		}
	}
	return fmt.Sprintf("store=%d", g.Bytes)
}

// MarshalText implements encoding.TextMarshaler.
func (g Grant) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (g *Grant) UnmarshalText(b []byte) (err error) {
	*g, err = ParseGrant(string(b))
	return err
}

// Valid says whether g is a grant.
func (g Grant) Valid() bool {
	if g.Kind == GrantStore {
		return g.Bytes >= Megabyte && g.Bytes <= MaxStore && g.Bytes%Megabyte == 0
	}
	return grantNames[g.Kind] != "" && g.Bytes == 0
}

// ParseGrant reads one grant. The error is a *Problem with the code grant-unknown for the field "grant".
func ParseGrant(text string) (Grant, error) {
	for kind, name := range grantNames {
		if name == text && kind != GrantStore {
			return Grant{Kind: kind}, nil
		}
	}
	if m := storeForm.FindStringSubmatch(text); m != nil {
		n, _ := strconv.ParseInt(m[1], 10, 64)
		for _, u := range storeUnits {
			if g := (Grant{GrantStore, n * u.bytes}); u.name == m[2] && n <= MaxStore/u.bytes {
				return g, nil
			}
		}
	}
	return Grant{}, &Problem{
		Kind: KindInvalid, Code: "grant-unknown", Field: "grant",
		Say: Say("grant.unknown", "{grant} is nothing that a friend can be allowed. It is relay, exit, follow, or store with a size, like store=10GB.", "grant", short(text)),
	}
}

// ParseGrants reads grants in any order and returns them in theirs. One kind given twice is grant-unknown, too.
func ParseGrants(texts []string) ([]Grant, error) {
	var out []Grant
	for _, text := range texts {
		g, err := ParseGrant(text)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(o Grant) bool { return o.Kind == g.Kind }) {
			return nil, &Problem{
				Kind: KindInvalid, Code: "grant-twice", Field: "grant",
				Say: Say("grant.twice", "{grant} is given twice. Give each thing once.", "grant", grantNames[g.Kind]),
			}
		}
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b Grant) int { return cmp.Compare(a.Kind, b.Kind) })
	return out, nil
}

// short keeps a text that somebody typed to a length that fits a sentence.
func short(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}
