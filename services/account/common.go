package account

import (
	_ "embed"
	"math"
	"strings"
	"unicode"

	"github.com/tyler-smith/go-bip39"

	"hearth.alt/services/secret"
)

// enough is how many bits of guessing a new password must be worth. Ten thousand common passwords are 13 bits; two
// words of a word list are 22; three with a year are beyond 36; the suggestion of four words is 44.
const enough = 32

// common.txt is a list of our own, made by hand for this program: words and rows of keys that people build passwords
// from, in English, German and a little of their neighbours, one a line. It is not one of the published lists of leaked
// passwords, and it need not be: a password of twelve characters is hardly ever in those as it stands, but is made of
// what is in them, which is what guessable looks for.
//
//go:embed common.txt
var commonText string

var commonWords = func() map[string]bool {
	m := map[string]bool{}
	for line := range strings.Lines(commonText) {
		if w := strings.TrimSpace(line); w != "" && !strings.HasPrefix(w, "#") {
			m[w] = true
		}
	}
	return m
}()

// rows are what fingers walk along; each also backwards. Three keys in a row count.
var rows = func() []string {
	one := []string{
		"01234567890", "abcdefghijklmnopqrstuvwxyz", "qwertyuiop[]", "asdfghjkl;'", "zxcvbnm,./", "qwertzuiopü", "asdfghjklöä", "yxcvbnm,.-",
		"azertyuiop", "qsdfghjklm", "wxcvbn", "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/", "1qay2wsx3edc4rfv5tgb6zhn7ujm", "qazwsxedcrfvtgbyhnujmikolp",
		"1q2w3e4r5t6y7u8i9o0p", "1q2w3e4r5t6z7u8i9o0p", "!@#$%^&*()", "!\"§$%&/()=", "147258369", "159753", "qweasdzxc", "qweasdyxc",
	}
	for _, r := range one {
		b := []rune(r)
		for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
			b[i], b[j] = b[j], b[i]
		}
		one = append(one, string(b))
	}
	return one
}()

// leet undoes the usual replacements of letters.
var leet = map[rune]rune{'0': 'o', '1': 'i', '!': 'i', '3': 'e', '4': 'a', '@': 'a', '5': 's', '$': 's', '7': 't', '8': 'b', '9': 'g', '|': 'l', '€': 'e'}

// guessable says whether a password is worth less than enough bits to one who tries common words, names, rows of keys,
// years and repetitions first. about are the names around the person. It looks at the first 64 characters.
func guessable(password string, about []string) bool {
	return guessBits([]rune(strings.ToLower(password)), []rune(password), about) < enough
}

// guessBits finds the cheapest way to write the password as a chain of known parts. lower and raw have the same length
// but for letters whose small form is longer; then raw is ignored.
func guessBits(lower, raw []rune, about []string) float64 {
	if len(lower) > 64 {
		lower = lower[:64]
	}
	if len(raw) < len(lower) {
		raw = lower
	}
	// One thing over and over is that thing.
	for unit := 1; unit <= len(lower)/2; unit++ {
		same := true
		for i := unit; i < len(lower) && same; i++ {
			same = lower[i] == lower[i-unit]
		}
		if same {
			return guessBits(lower[:unit], raw[:unit], about) + math.Log2(float64(len(lower))/float64(unit)) + 1
		}
	}
	own := map[string]bool{}
	for _, a := range about {
		for _, w := range strings.FieldsFunc(strings.ToLower(a), func(r rune) bool { return !unicode.IsLetter(r) }) {
			if len(w) >= 3 {
				own[w] = true
			}
		}
	}
	plain := make([]rune, len(lower))
	for i, r := range lower {
		plain[i] = r
		if l, ok := leet[r]; ok {
			plain[i] = l
		}
	}
	best := make([]float64, len(lower)+1)
	for end := 1; end <= len(lower); end++ {
		best[end] = best[end-1] + letterBits(raw[end-1])
		for start := max(0, end-24); start <= end-3; start++ {
			if c := partBits(lower[start:end], plain[start:end], raw[start:end], own); c < math.Inf(1) {
				best[end] = min(best[end], best[start]+c)
			}
		}
	}
	return best[len(lower)]
}

func letterBits(r rune) float64 {
	switch {
	case r >= '0' && r <= '9':
		return 3.3
	case r == ' ' || r == '-' || r == '_' || r == '.' || r == '!' || r == '?' || r == ',':
		return 2
	case r >= 'a' && r <= 'z':
		return 4.7
	}
	return 6
}

// partBits is what a part is worth when it is something that people build from; infinite otherwise.
func partBits(lower, plain, raw []rune, own map[string]bool) float64 {
	s, p := string(lower), string(plain)
	cost := math.Inf(1)
	word := func(w string, change float64) {
		switch {
		case own[w]:
			cost = min(cost, 3+change)
		case commonWords[w]:
			cost = min(cost, 9.5+change)
		default:
			if _, ok := bip39.GetWordIndex(w); ok {
				cost = min(cost, 11+change)
			}
		}
	}
	capital := 0.0
	if string(raw) != s {
		capital = 1
	}
	word(s, capital)
	if p != s {
		word(p, capital+2)
	}
	same := true
	for _, r := range lower {
		same = same && r == lower[0]
	}
	if same {
		cost = min(cost, letterBits(lower[0])+math.Log2(float64(len(lower))))
	}
	for _, row := range rows {
		if strings.Contains(row, s) {
			cost = min(cost, 7+math.Log2(float64(len(lower))))
			break
		}
	}
	if len(s) == 4 && (s[:2] == "19" || s[:2] == "20") && isDigits(s) {
		cost = min(cost, 6.5)
	}
	if (len(s) == 6 || len(s) == 8) && isDigits(s) {
		cost = min(cost, 15) // a day, in one of the ways to write it
	}
	return cost
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// SuggestPassword makes a password of four words, 44 bits.
func SuggestPassword() secret.Text {
	list := bip39.GetWordList()
	words := make([]string, 4)
	for i := range words {
		words[i] = list[randomBelow(len(list))]
	}
	return secret.NewText(strings.Join(words, " "))
}
