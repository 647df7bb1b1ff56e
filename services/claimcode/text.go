package claimcode

import (
	"crypto/sha256"
	"fmt"
	"math/big"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tyler-smith/go-bip39"
)

// alphabet is Crockford's base 32: no I, L, O or U, so that nothing is mistaken and nothing is spelled.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// Reason says why a text is not a claim code.
type Reason uint8

// The reasons.
const (
	ReasonEmpty     Reason = iota + 1 // nothing was given
	ReasonLength                      // too few or too many letters; Count and Want say how many
	ReasonLetter                      // the group at Position holds Letter, which no code has
	ReasonWordCount                   // too few or too many words; Count and Want say how many
	ReasonWord                        // the word at Position is not in the list
	ReasonChecksum                    // every word is in the list, and together they are not a code
)

// ParseError says what does not fit, so that the one who typed it can mend it. Error() repeats no part of the text,
// because a mistyped secret is nearly the secret; Text is for the answer to the person only.
type ParseError struct {
	Reason      Reason
	Position    int    // the group or word at fault, counted from 1; 0 when it is the whole
	Text        string // that group or word as it was typed, at most 32 bytes; never for a log
	Letter      rune   // the letter at fault, for ReasonLetter
	Count, Want int    // for ReasonLength and ReasonWordCount
}

func (e *ParseError) Error() string {
	switch e.Reason {
	case ReasonEmpty:
		return "the claim code is empty"
	case ReasonLength:
		return fmt.Sprintf("a claim code has %d letters and digits, this has %d", e.Want, e.Count)
	case ReasonLetter:
		return fmt.Sprintf("group %d of the claim code has a letter that no code has", e.Position)
	case ReasonWordCount:
		return fmt.Sprintf("a claim code has %d words, this has %d", e.Want, e.Count)
	case ReasonWord:
		return fmt.Sprintf("word %d of the claim code is not in the word list", e.Position)
	}
	return "the words of the claim code do not belong together: one is wrong, or two changed places"
}

// maxText bounds what Parse looks at: eight words of eight letters with generous space between them.
const maxText = 512

// Parse reads a code as a person types it: sixteen letters and digits in any case, with or without dashes and
// spaces, O read as zero, I and L as one; or eight words of the English BIP-39 list in any case. The error is a
// *ParseError. The sixteen letters carry no checksum; the words do.
func Parse(text string) (Code, error) {
	if len(text) > maxText {
		return Code{}, &ParseError{Reason: ReasonLength, Count: utf8.RuneCountInString(text), Want: textLength}
	}
	fields := strings.FieldsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.Is(unicode.Pd, r) || r == ',' || r == '.' || r == '_'
	})
	letters, longest := 0, 0
	for _, f := range fields {
		n := utf8.RuneCountInString(f)
		letters, longest = letters+n, max(longest, n)
	}
	switch {
	case letters == 0:
		return Code{}, &ParseError{Reason: ReasonEmpty}
	// Words are three letters or more, so eight of them are never sixteen letters; and someone who typed a code
	// uses groups of four, or none.
	case letters != textLength && len(fields) > 1 && (len(fields) > 4 || longest > groupSize):
		return parseWords(fields)
	}
	return parseLetters(strings.Join(fields, ""))
}

func parseLetters(s string) (Code, error) {
	var c Code
	if n := utf8.RuneCountInString(s); n != textLength {
		return c, &ParseError{Reason: ReasonLength, Count: n, Want: textLength}
	}
	runes := []rune(s)
	v := new(big.Int)
	for i, r := range runes {
		u := unicode.ToUpper(r)
		switch u {
		case 'O':
			u = '0'
		case 'I', 'L':
			u = '1'
		}
		d := strings.IndexRune(alphabet, u)
		if d < 0 || r >= utf8.RuneSelf {
			g := i / groupSize
			return Code{}, &ParseError{Reason: ReasonLetter, Position: g + 1, Letter: r, Text: short(string(runes[g*groupSize : (g+1)*groupSize]))}
		}
		v.Or(v.Lsh(v, 5), big.NewInt(int64(d)))
	}
	v.FillBytes(c.b[:])
	return c, notZero(c)
}

func parseWords(fields []string) (Code, error) {
	var c Code
	if len(fields) != wordCount {
		return c, &ParseError{Reason: ReasonWordCount, Count: len(fields), Want: wordCount}
	}
	v := new(big.Int)
	for i, f := range fields {
		n, ok := bip39.GetWordIndex(strings.ToLower(f))
		if !ok {
			return c, &ParseError{Reason: ReasonWord, Position: i + 1, Text: short(f)}
		}
		v.Or(v.Lsh(v, 11), big.NewInt(int64(n)))
	}
	var b [size + 1]byte
	v.FillBytes(b[:])
	copy(c.b[:], b[:size])
	if c.checksum() != b[size] {
		return Code{}, &ParseError{Reason: ReasonChecksum}
	}
	return c, notZero(c)
}

// notZero refuses the one code that would mean "none"; a random code is it once in 2^80.
func notZero(c Code) error {
	if c.IsZero() {
		return &ParseError{Reason: ReasonEmpty}
	}
	return nil
}

func short(s string) string {
	if len(s) > 32 {
		s = strings.ToValidUTF8(s[:32], "")
	}
	return s
}

func (c Code) checksum() byte { return sha256.Sum256(c.b[:])[0] }

// Text reveals the code as it is printed and typed: "7QK4-M2VX-9TRD-HC6P".
func (c Code) Text() string {
	v := new(big.Int).SetBytes(c.b[:])
	var out [textLength + textLength/groupSize - 1]byte
	for i, at := textLength-1, len(out)-1; i >= 0; i, at = i-1, at-1 {
		out[at] = alphabet[v.Uint64()&31] // the low word is enough for the low five bits
		v.Rsh(v, 5)
		if i%groupSize == 0 && i > 0 {
			at--
			out[at] = '-'
		}
	}
	return string(out[:])
}

// Words reveals the code as eight words of the English BIP-39 list. They are 88 bits, first word first: the 80 bits
// of the code, then the first byte of their SHA-256.
func (c Code) Words() []string {
	v := new(big.Int).SetBytes(append(c.b[:], c.checksum()))
	list := bip39.GetWordList()
	out := make([]string, wordCount)
	for i := wordCount - 1; i >= 0; i-- {
		out[i] = list[v.Uint64()&2047]
		v.Rsh(v, 11)
	}
	return out
}

// URL reveals the code in the address that the sheet's QR code holds. The code is in the fragment, which a browser
// sends to nobody. host is a name or address with an optional port; "" is Host.
func (c Code) URL(host string) string {
	if host == "" {
		host = Host
	}
	return "http://" + host + "/#" + c.Text()
}
