package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"unicode"

	"github.com/tyler-smith/go-bip39"

	"hearth.alt/services"
)

// SpokenCode is an invitation that can be said: three words of the English BIP-39 list, 33 random bits. It holds because
// it is tried over SPAKE2 only, SpokenTries times at the most. It prints, logs and marshals as "[redacted]"; Words
// reveals it.
type SpokenCode struct{ n [spokenWords]uint16 }

const spokenWords = 3

// NewSpokenCode makes a code.
func NewSpokenCode() (c SpokenCode) {
	var b [2 * spokenWords]byte
	rand.Read(b[:])
	for i := range c.n {
		c.n[i] = binary.BigEndian.Uint16(b[2*i:]) % 2048
	}
	return c
}

// Words reveals the code: "river stone apple".
func (c SpokenCode) Words() string {
	list := bip39.GetWordList()
	return list[c.n[0]] + " " + list[c.n[1]] + " " + list[c.n[2]]
}

// secret is what SPAKE2 takes.
func (c SpokenCode) secret() (b []byte) {
	for _, n := range c.n {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	return b
}

// String, GoString, Format, LogValue and MarshalText hide the code.
func (SpokenCode) String() string               { return redacted }
func (SpokenCode) GoString() string             { return redacted }
func (SpokenCode) Format(f fmt.State, _ rune)   { io.WriteString(f, redacted) }
func (SpokenCode) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (SpokenCode) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// PairWords are three words that two boxes of a household show alike, and any other two seldom: of the SHA-256 of
// "hearth boxes v1", the household's ID and both PeerIDs, the smaller first. They are no secret. Whoever compares them sees
// that the box that joined is the one that was meant.
func PairWords(household services.FriendID, a, b services.PeerID) string {
	if slices.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	sum := sha256.Sum256(slices.Concat([]byte("hearth boxes v1"), household[:], a[:], b[:]))
	var c SpokenCode
	for i := range c.n {
		c.n[i] = binary.BigEndian.Uint16(sum[2*i:]) % 2048
	}
	return c.Words()
}

// ParseSpokenCode reads a code as it was heard, in any case and with spaces, dashes or commas between the words. The
// error is a *services.Problem for the field "code": code-count or code-word.
func ParseSpokenCode(text string) (SpokenCode, error) {
	if len(text) > 256 {
		text = text[:256]
	}
	words := strings.FieldsFunc(strings.ToLower(strings.ToValidUTF8(text, "")), func(r rune) bool {
		return unicode.IsSpace(r) || unicode.Is(unicode.Pd, r) || r == ',' || r == '.' || r == '_' || r == '+'
	})
	if len(words) != spokenWords {
		return SpokenCode{}, &services.Problem{
			Kind: services.KindInvalid, Code: "code-count", Field: "code",
			Say: services.Say("identity.code.count", "The spoken code has three words, not {count}.", "count", len(words)),
		}
	}
	var c SpokenCode
	for i, w := range words {
		n, ok := bip39.GetWordIndex(w)
		if !ok {
			return SpokenCode{}, &services.Problem{
				Kind: services.KindInvalid, Code: "code-word", Field: "code",
				Say: services.Say("identity.code.word", "Word {number} of the spoken code is none that such a code can have. The nearest one is “{nearest}”.", "number", i+1, "nearest", nearestWord(w)),
			}
		}
		c.n[i] = uint16(n)
	}
	return c, nil
}
