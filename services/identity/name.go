package identity

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"hearth.alt/services"
	"hearth.alt/services/looks"
)

// maxName is how many characters a name may have.
const maxName = 64

// maxMarks is how many accents one letter may carry (UTS #39, section 5.4).
const maxMarks = 4

// cleanName returns the form of a name that is kept: NFC, every space a plain and single one, none at the ends, 1 to 64
// characters of which at least one can be seen. Control characters, those that change the direction of other text, those
// that cannot be seen or that Unicode does not know are refused, and so is a word of two alphabets that look alike. field
// is the input's name in the Problem.
func cleanName(field, name string) (string, error) {
	bad := func(say services.Sentence) (string, error) {
		return "", &services.Problem{Kind: services.KindInvalid, Code: "name-invalid", Field: field, Say: say}
	}
	if !utf8.ValidString(name) {
		return bad(services.Say("identity.name.text", "A name is made of letters. This one holds something else."))
	}
	seen := false
	name = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Zs, r) {
			return ' '
		}
		return r
	}, norm.NFC.String(name))
	name = strings.Join(strings.FieldsFunc(strings.TrimFunc(name, func(r rune) bool { return r == ' ' || r == '\u200e' || r == '\u200f' }), func(r rune) bool { return r == ' ' }), " ")
	runes := []rune(name)
	marks := 0
	for i, r := range runes {
		if marks++; !unicode.Is(unicode.Mn, r) {
			marks = 0
		}
		switch {
		case marks > maxMarks:
			return bad(services.Say("identity.name.text", "A name is made of letters. This one holds something else."))
		case unicode.IsControl(r), r == '\u2028', r == '\u2029', r == utf8.RuneError, unicode.Is(unicode.Noncharacter_Code_Point, r), looks.Hidden(r) && !joins(runes, i):
			return bad(services.Say("identity.name.control", "A name cannot hold line breaks, tabs or other hidden characters."))
		case unicode.Is(unicode.Co, r), unicode.Is(unicode.Cn, r) && !picture(r):
			return bad(services.Say("identity.name.text", "A name is made of letters. This one holds something else."))
		case unicode.In(r, unicode.L, unicode.N, unicode.P, unicode.S), picture(r):
			seen = true
		}
	}
	switch {
	case name == "":
		return bad(services.Say("identity.name.empty", "A name is needed here."))
	case !seen:
		return bad(services.Say("identity.name.invisible", "This name could not be seen. Use at least one letter."))
	case mixed(name):
		return bad(services.Say("identity.name.scripts", "A word in this name mixes letters of two alphabets, so it could pass for another name. Write each word in one alphabet."))
	case utf8.RuneCountInString(name) > maxName || len(name) > 255:
		return bad(services.Say("identity.name.long", "A name has at most {most} characters.", "most", maxName))
	}
	return name, nil
}

// joining are the scripts whose letters hang together, where a joiner shows (RFC 5892, appendix A.1, with its table of
// Joining_Type brought down to scripts).
var joining = []*unicode.RangeTable{unicode.Arabic, unicode.Syriac, unicode.Nko, unicode.Mongolian, unicode.Mandaic, unicode.Phags_Pa, unicode.Adlam, unicode.Hanifi_Rohingya}

// joins says whether the hidden sign at i changes how its neighbours look, as in 👩‍👧, ❤️ and words of Persian and Hindi.
func joins(name []rune, i int) bool {
	var before, after rune
	if i > 0 {
		before = name[i-1]
	}
	if i+1 < len(name) {
		after = name[i+1]
	}
	letter := before // the letter that the marks before i stand on
	for j := i - 1; j > 0 && unicode.Is(unicode.Mn, letter); j-- {
		letter = name[j-1]
	}
	switch name[i] {
	case '\ufe0e', '\ufe0f': // as text, as a picture
		return unicode.Is(unicode.S, before)
	case '\u200c', '\u200d':
		const virama = 9 // its combining class
		hangs := unicode.In(letter, joining...) && unicode.In(after, joining...) || norm.NFC.PropertiesString(string(before)).CCC() == virama
		return hangs || name[i] == '\u200d' && unicode.In(after, unicode.S) && (unicode.Is(unicode.S, before) || before == '\ufe0f')
	}
	// Which of its forms a character of a family name has (ideographic variation, UTS #37).
	return '\U000e0100' <= name[i] && name[i] <= '\U000e01ef' && unicode.Is(unicode.Han, before)
}

// picture says whether r is where Unicode keeps room for pictures: new ones come every year.
func picture(r rune) bool { return '\U0001f000' <= r && r <= '\U0001faff' }

// lookalikes are the alphabets that have letters of the same shape.
var lookalikes = []*unicode.RangeTable{unicode.Latin, unicode.Greek, unicode.Cyrillic, unicode.Armenian, unicode.Coptic, unicode.Cherokee, unicode.Lisu}

// mixed says whether a word of name has letters of two alphabets that look alike, as "Аnn" with a Cyrillic А. All others
// may stand together, as Thai, Chinese and Latin do (UTS #39, section 5.2, "moderately restrictive").
func mixed(name string) bool {
	for _, word := range strings.FieldsFunc(name, func(r rune) bool { return !looks.Hidden(r) && !unicode.In(r, unicode.L, unicode.M, unicode.N) }) {
		found := 0
		for _, table := range lookalikes {
			if strings.ContainsFunc(word, func(r rune) bool { return unicode.IsLetter(r) && unicode.Is(table, r) }) {
				found++
			}
		}
		if found > 1 {
			return true
		}
	}
	return false
}

// letters that do not come apart into an ASCII letter and a mark, or whose language writes them as two. German
// umlauts follow DIN 5007-2; Greek and Cyrillic the letters that sound nearest.
var letters = map[rune]string{
	'ä': "ae", 'ö': "oe", 'ü': "ue", 'ß': "ss", 'æ': "ae", 'œ': "oe", 'ø': "oe", 'å': "aa", 'þ': "th", 'ð': "d", 'đ': "d",
	'ħ': "h", 'ı': "i", 'ł': "l", 'ŋ': "ng", 'ŧ': "t", 'ĸ': "k", 'ə': "e",
	'α': "a", 'β': "v", 'γ': "g", 'δ': "d", 'ε': "e", 'ζ': "z", 'η': "i", 'θ': "th", 'ι': "i", 'κ': "k", 'λ': "l", 'μ': "m",
	'ν': "n", 'ξ': "x", 'ο': "o", 'π': "p", 'ρ': "r", 'σ': "s", 'ς': "s", 'τ': "t", 'υ': "y", 'φ': "f", 'χ': "ch", 'ψ': "ps", 'ω': "o",
	'а': "a", 'б': "b", 'в': "v", 'г': "g", 'ґ': "g", 'д': "d", 'е': "e", 'є': "ye", 'ж': "zh", 'з': "z", 'и': "i", 'і': "i", 'ї': "yi", 'й': "y",
	'к': "k", 'л': "l", 'м': "m", 'н': "n", 'о': "o", 'п': "p", 'р': "r", 'с': "s", 'т': "t", 'у': "u", 'ф': "f", 'х': "kh",
	'ц': "ts", 'ч': "ch", 'ш': "sh", 'щ': "shch", 'ъ': "", 'ы': "y", 'ь': "", 'э': "e", 'ю': "yu", 'я': "ya", 'ђ': "dj",
	'ј': "j", 'љ': "lj", 'њ': "nj", 'ћ': "c", 'џ': "dz", 'ѕ': "dz",
	'\'': "", '’': "", // "Ann's" is "anns"
}

// maxLabel leaves room in a DNS label (63, RFC 1035) for the number that makes it unique.
const maxLabel = 48

// Label makes a DNS label of a name: lower-case ASCII letters, digits and single dashes, neither first nor last, at
// most 48. Accents are dropped, Latin, Greek and Cyrillic letters written out, other scripts left out. When
// nothing is left it is fallback, which must be a label.
func Label(name, fallback string) string {
	var b strings.Builder
	gap := false
	put := func(s string) {
		if gap && b.Len() > 0 && s != "" {
			b.WriteByte('-')
		}
		gap = gap && s == ""
		b.WriteString(s)
	}
	for _, r := range norm.NFC.String(strings.ToLower(norm.NFKC.String(name))) {
		if s, ok := letters[r]; ok {
			put(s)
			continue
		}
		for _, part := range norm.NFKD.String(string(r)) {
			s, known := letters[part]
			switch {
			case part >= 'a' && part <= 'z', part >= '0' && part <= '9':
				put(string(part))
			case known:
				put(s)
			case unicode.Is(unicode.Mn, part): // an accent
			default:
				gap = true
			}
		}
	}
	s := b.String()
	if len(s) > maxLabel {
		s = strings.TrimRight(s[:maxLabel], "-")
	}
	if s == "" {
		return fallback
	}
	return s
}

// unique returns want, or want with the smallest number from 2 on behind it that is not taken.
func unique(want, separator string, taken func(string) bool) string {
	s := want
	for n := 2; taken(s); n++ {
		s = want + separator + strconv.Itoa(n)
	}
	return s
}
