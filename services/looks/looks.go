// Package looks says what a text looks like to whoever reads it: which names pass for one another (Fold, Alike, Named),
// and what a page or a terminal may show of a text that strangers chose (Plain).
//
// The package is a leaf tool: anyone may import it, and it imports nothing of ours.
package looks

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Fold returns what two spellings of one name have in common: upper case and compatible forms are alike, and what cannot
// be seen is not there. The household's log tells names apart by it, so every box must come to the same result.
func Fold(name string) string {
	return norm.NFKC.String(strings.ToLower(norm.NFKC.String(visible(name))))
}

func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if Hidden(r) {
			return -1
		}
		return r
	}, s)
}

// Hidden says whether r is a sign that cannot be seen by itself: format characters and those that Unicode lets programs
// leave out when they have no picture (Default_Ignorable_Code_Point, UAX #44), and the empty pattern of Braille.
func Hidden(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) || r == '\u2800'
}

// shapes has, after each Latin letter, the letters of other alphabets and the digits that are drawn like it (of UTS #39,
// confusables.txt, those that a household's fonts draw so), and ways to write an apostrophe or a hyphen. Capitals and
// small letters differ in shape, so they stand apart: Н is an H, н is not an h.
var shapes = func() map[rune]rune {
	m := map[rune]rune{}
	for _, s := range []string{
		"AΑА", "aαа", "BΒВ", "bЬьƄƅб", "CСϹ", "cсϲ", "dԁ", "EΕЕ", "eеєε", "GԌ", "HΗН", "hһհ", "iіιı", "JЈ", "jјϳ", "KΚКκк", "lIΙІӀӏ|1", "MΜМм",
		"NΝ", "nпη", "OΟО", "oοоσօᴏ0", "PΡР", "pρр", "qԛ", "rг", "SЅՏ", "sѕ", "TΤТτт", "uυս", "vνѵ", "VѴ", "WԜ", "wԝω", "XΧХ", "xχх", "YΥУҮ", "yуγү", "ZΖ",
		"ßβ",
		// Cherokee and Lisu, whose capitals were cut from Latin type.
		"AᎪꓮ", "BᏴꓐ", "CᏟꓚ", "DᎠꓓ", "EᎬꓰ", "Fꓝ", "GᏀꓖ", "HᎻꓧ", "lᏆꓲ", "JᎫꓙ", "KᏦꓗ", "LᏞꓡ", "MᎷꓟ", "Nꓠ", "Oꓳ", "PᏢꓑ", "RᏒꓣ", "SᏚꓢ", "TᎢꓔ", "Uꓴ", "VᏙꓦ",
		"WᎳꓪ", "Xꓫ", "Yꓬ", "ZᏃꓜ", "iᎥ",
		"'’‘‛`´ʼʻʹʾʿ′‵＇", "-‐‑‒–—―−⁃",
	} {
		all := []rune(s)
		for _, r := range all[1:] {
			m[r] = all[0]
		}
	}
	return m
}()

// skeleton is what is left of a name when letters that are drawn alike are one (UTS #39, section 4, with a small table).
func skeleton(name string) string {
	s := norm.NFKD.String(strings.Map(shape, visible(name))) // a lone accent would come apart into a space and a mark
	return strings.ToLower(strings.Join(strings.Fields(strings.Map(shape, s)), " "))
}

func shape(r rune) rune {
	if s, ok := shapes[r]; ok {
		return s
	}
	return r
}

// Alike says whether people would take two names for one.
func Alike(a, b string) bool { return Fold(a) == Fold(b) || skeleton(a) == skeleton(b) }

// Named returns those of all whom want names: by their own name, in any case; when there is none, by one that looks like
// it, typed with another apostrophe or the letters of another keyboard.
func Named[T any](all []T, name func(T) string, want string) []T {
	for _, form := range []func(string) string{Fold, skeleton} {
		wanted := form(strings.TrimSpace(want))
		var out []T
		for _, one := range all {
			if wanted != "" && form(name(one)) == wanted {
				out = append(out, one)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// Plain puts a question mark for every sign that a terminal would obey or that turns the order of letters, and for what
// is not text. Line breaks stay when lines says so.
func Plain(s string, lines bool) string {
	return strings.Map(func(r rune) rune {
		joiner := r == '\u200c' || r == '\u200d' // within emoji, and in words of Persian and Hindi
		if !joiner && !(lines && r == '\n') && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
