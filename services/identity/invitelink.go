package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/befriend"
)

// InviteLink is what a box shows, as a QR code or a link to copy, to those it invites: who invites, where it may be
// found and the one-time secret that lets in. It comes with the people who carry it, so what it says of the inviter's
// keys is believed.
//
// # Text
//
// "hearth:box?" or "hearth:friend?", then the bytes in base64url without padding (RFC 4648, section 5).
//
// # Bytes
//
// All numbers are big-endian. There is one form for each value, and ParseInviteLink takes no other.
//
//	offset  size  field
//	0       1     version, 1
//	1       1     kind: 1 a box of the household, 2 a friend; the text's beginning says the same
//	2       32    the inviting box's PeerID
//	34      32    the household root's Ed25519 public key
//	66      8     when it expires, Unix seconds, 1 to 253,402,300,799 (the year 9999)
//	74      16    the one-time secret
//	90      1     length n of the household's name, 1 to 255
//	91      n     the name, UTF-8 without control characters
//	91+n    1     number of candidates c, 0 to 8
//	92+n          c candidates, the best first, none twice: 1 byte 4 or 6, the 4 or 16 bytes of the address, 2 bytes port
//	              from 1 on; unicast, no IPv4 in IPv6, no zone
//	+0      4     the first bytes of the SHA-256 of all before: a text that was cut or mistyped is found out
type InviteLink struct {
	Kind       InviteKind
	Inviter    services.PeerID
	Root       ed25519.PublicKey // of the household
	Name       string            // of the household
	Candidates []netip.AddrPort  // where the inviter may be, the best first; at most MaxCandidates
	Secret     InviteSecret
	Expires    time.Time // whole seconds
}

// InviteKind says what an invitation is to.
type InviteKind string

// The kinds.
const (
	InviteBox    InviteKind = "box"
	InviteFriend InviteKind = "friend"
)

// MaxCandidates is how many addresses an InviteLink holds at the most.
const MaxCandidates = befriend.MaxCandidates

const (
	inviteVersion = 1
	inviteHead    = 91 // bytes before the name
	inviteSum     = 4
	inviteLongest = 2048 // bytes of a text that is looked at
)

var inviteCodes = map[InviteKind]byte{InviteBox: 1, InviteFriend: 2}

// InviteSecret is the one-time secret of an invitation. It prints, logs and marshals as "[redacted]".
type InviteSecret [16]byte

// NewInviteSecret makes a secret.
func NewInviteSecret() (s InviteSecret) {
	rand.Read(s[:])
	return s
}

// Equal compares in constant time.
func (s InviteSecret) Equal(o InviteSecret) bool { return subtle.ConstantTimeCompare(s[:], o[:]) == 1 }

const redacted = "[redacted]"

// String, GoString, Format, LogValue and MarshalText hide the secret.
func (InviteSecret) String() string               { return redacted }
func (InviteSecret) GoString() string             { return redacted }
func (InviteSecret) Format(f fmt.State, _ rune)   { io.WriteString(f, redacted) }
func (InviteSecret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (InviteSecret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// goodCandidates are those of all that an invitation can hold, each once, the first MaxCandidates of them.
func goodCandidates(all []netip.AddrPort) (out []netip.AddrPort) {
	for _, a := range all {
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		if len(out) < MaxCandidates && goodCandidate(a) && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// goodCandidate says whether an invitation can hold the address.
func goodCandidate(a netip.AddrPort) bool {
	ip := a.Addr()
	return a.IsValid() && a.Port() != 0 && ip.Zone() == "" && !ip.Is4In6() && !ip.IsUnspecified() && !ip.IsMulticast() &&
		ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func (l InviteLink) check() error {
	name := []byte(l.Name)
	switch {
	case inviteCodes[l.Kind] == 0:
		return fmt.Errorf("an invitation of the kind %q", l.Kind)
	case l.Inviter.IsZero(), len(l.Root) != ed25519.PublicKeySize:
		return errors.New("an invitation without its inviter's keys")
	case l.Expires.Unix() < 1 || l.Expires.Unix() > 253402300799:
		return errors.New("an invitation without an end")
	case len(name) < 1 || len(name) > 255 || !utf8.Valid(name) || bytes.ContainsFunc(name, unicode.IsControl):
		return errors.New("an invitation without the household's name")
	case len(l.Candidates) > MaxCandidates:
		return fmt.Errorf("an invitation with %d addresses", len(l.Candidates))
	}
	for i, a := range l.Candidates {
		if !goodCandidate(a) || slices.Contains(l.Candidates[:i], a) {
			return fmt.Errorf("an invitation with the address %s", a)
		}
	}
	return nil
}

// Text reveals the link, secret and all. It is an error of the program that l is not whole.
func (l InviteLink) Text() (string, error) {
	if err := l.check(); err != nil {
		return "", fmt.Errorf("identity: %w", err)
	}
	b := append([]byte{inviteVersion, inviteCodes[l.Kind]}, l.Inviter[:]...)
	b = append(b, l.Root...)
	b = binary.BigEndian.AppendUint64(b, uint64(l.Expires.Unix()))
	b = append(b, l.Secret[:]...)
	b = append(append(b, byte(len(l.Name))), l.Name...)
	b = append(b, byte(len(l.Candidates)))
	for _, a := range l.Candidates {
		family := byte(6)
		if a.Addr().Is4() {
			family = 4
		}
		b = append(append(b, family), a.Addr().AsSlice()...)
		b = binary.BigEndian.AppendUint16(b, a.Port())
	}
	sum := sha256.Sum256(b)
	return "hearth:" + string(l.Kind) + "?" + base64.RawURLEncoding.EncodeToString(append(b, sum[:inviteSum]...)), nil
}

// ParseInviteLink reads the text of an invitation. Space around it and line breaks in it do not matter, and it may be
// what follows the # of a web address, as in the QR code of a box. The error is a *services.Problem for the field
// "link": link-invalid, or link-newer for one that a newer program made. It does not look at the clock: see Expired.
func ParseInviteLink(text string) (InviteLink, error) {
	if len(text) > inviteLongest {
		return InviteLink{}, badLink(errors.New("too long"))
	}
	text = strings.Join(strings.Fields(text), "")
	if before, after, found := strings.Cut(text, "#"); found && (strings.HasPrefix(before, "http://") || strings.HasPrefix(before, "https://")) {
		text = after
	}
	rest, ok := strings.CutPrefix(text, "hearth:")
	if !ok {
		return InviteLink{}, badLink(errors.New("it has another beginning"))
	}
	kind, encoded, _ := strings.Cut(rest, "?")
	b, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return InviteLink{}, badLink(err)
	}
	if len(b) > 0 && b[0] > inviteVersion {
		return InviteLink{}, &services.Problem{
			Kind: services.KindInvalid, Code: "link-newer", Field: "link",
			Say: services.Say("identity.link.newer", "This invitation was made by a newer Hearth. Update this box first, then open it once more."),
		}
	}
	l, err := parseInvite(b)
	if err == nil && l.Kind != InviteKind(kind) {
		err = fmt.Errorf("an invitation of the kind %q in a link for %q", l.Kind, kind)
	}
	if err != nil {
		return InviteLink{}, badLink(err)
	}
	return l, nil
}

func badLink(cause error) error {
	return &services.Problem{
		Kind: services.KindInvalid, Code: "link-invalid", Field: "link", Cause: cause,
		Say: services.Say("identity.link.invalid", "This is not a whole invitation. Scan it again, or copy it from its first letter to its last."),
	}
}

func parseInvite(b []byte) (InviteLink, error) {
	short := errors.New("it is cut")
	if len(b) < inviteHead+1+inviteSum {
		return InviteLink{}, short
	}
	b, claimed := b[:len(b)-inviteSum], b[len(b)-inviteSum:]
	if sum := sha256.Sum256(b); !bytes.Equal(sum[:inviteSum], claimed) {
		return InviteLink{}, errors.New("its checksum does not fit")
	}
	if b[0] != inviteVersion {
		return InviteLink{}, fmt.Errorf("version %d", b[0])
	}
	l := InviteLink{
		Inviter: services.PeerID(b[2:34]), Root: slices.Clone(b[34:66]),
		Expires: time.Unix(int64(min(binary.BigEndian.Uint64(b[66:74]), 1<<62)), 0).UTC(), Secret: InviteSecret(b[74:90]),
	}
	for kind, code := range inviteCodes {
		if code == b[1] {
			l.Kind = kind
		}
	}
	n := int(b[90])
	b = b[inviteHead:]
	if len(b) < n+1 {
		return InviteLink{}, short
	}
	l.Name = string(b[:n])
	count := int(b[n])
	b = b[n+1:]
	if count > MaxCandidates {
		return InviteLink{}, fmt.Errorf("%d addresses", count)
	}
	for range count {
		size := 0
		if len(b) > 0 {
			size = map[byte]int{4: 4, 6: 16}[b[0]]
		}
		if size == 0 || len(b) < 1+size+2 {
			return InviteLink{}, short
		}
		ip, _ := netip.AddrFromSlice(b[1 : 1+size])
		l.Candidates = append(l.Candidates, netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[1+size:])))
		b = b[1+size+2:]
	}
	if len(b) != 0 {
		return InviteLink{}, errors.New("something follows it")
	}
	return l, l.check()
}

// Expired says whether the invitation has ended at the known time now. Only the inviter's clock decides; whoever was
// invited asks it to save a way.
func (l InviteLink) Expired(now time.Time) bool { return !now.Before(l.Expires) }
