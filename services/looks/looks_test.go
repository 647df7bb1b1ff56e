package looks

import (
	"slices"
	"testing"
)

// TestNamesThatLookTheSame: "Ann" with a sign that cannot be seen, a whole word of Cyrillic and another apostrophe each
// made a second person beside the first. Older logs may hold such names.
func TestNamesThatLookTheSame(t *testing.T) {
	for _, pair := range [][2]string{
		{"Ann\u200b", "Ann"}, {"Ann\u00ad", "Ann"}, {"\u2060Ann", "Ann"}, {"\ufeffANN", "Ann"}, {"A\u034fnn", "Ann"}, {"Ann\u3164", "Ann"}, {"Ann\u2800", "Ann"}, {"Ａｎｎ", "Ann"},
		{"\u0410\u043f\u043f\u0430", "Anna"},        // Аппа
		{"\u041e\u0441\u043a\u0430\u0440", "Ockap"}, // Оскар
		{"\u0420\u0430\u0443", "Pay"},               // Рау
		{"\u0397\u03b1\u03b7\u03b7\u03b1", "Hanna"}, // Ηαηηα
		{"\u0391\u039d\u039d\u0391", "ANNA"},        // ΑΝΝΑ
		{"\u0405\u0430\u0455\u0456", "Sasi"},
		{"O’Brien", "O'Brien"}, {"O´Brien", "O'Brien"}, {"OʼBrien", "O`Brien"}, {"O＇Brien", "O'Brien"},
		{"Anna‑Lena", "Anna-Lena"}, {"Anna–Lena", "Anna-Lena"}, {"Anna−Lena", "Anna-Lena"},
		{"Anna  Lee", "Anna\u00a0Lee"}, {"Zoe\u0308", "Zoë"}, {"\u0401\u043a", "Ëk"}, {"lna", "Ina"},
		{"ꓮꓡꓲꓚꓰ", "ALICE"}, {"ᎪᏞᏆᏟᎬ", "ALICE"}, {"A1ice", "Alice"}, {"0ma", "Oma"}, {"Տara", "Sara"}, {"ᴏmar", "omar"}, {"\u0412\u043e\u0431", "Bob"}, // Воб
		{"\u0410\u043d\u043d\u0430", "\u0410\u041d\u041d\u0410"}, // Анна, АННА
	} {
		if !Alike(pair[0], pair[1]) || !Alike(pair[1], pair[0]) {
			t.Errorf("%q and %q are two names", pair[0], pair[1])
		}
	}
	for _, pair := range [][2]string{
		{"Ann", "Anna"}, {"Anne", "Änne"}, {"\u0410\u043d\u043d\u0430", "Anna"}, {"Anna Lena", "Anna-Lena"}, {"OBrien", "O'Brien"}, {"Ben", "Ren"}, {"王", "玉"}, {"Zoë", "Zoe"}, {"Mia", "Mio"},
	} {
		if Alike(pair[0], pair[1]) {
			t.Errorf("%q and %q are one name", pair[0], pair[1])
		}
	}
}

// TestNamed: whoever has a name is meant by it, though another's looks the same; a name that nobody has means whose it
// looks like.
func TestNamed(t *testing.T) {
	both := []string{"Anna", "\u0410\u043f\u043f\u0430", "O’Brien", "Ben"}
	for want, names := range map[string][]string{
		"Anna": {"Anna"}, " anna ": {"Anna"}, "\u0410\u043f\u043f\u0430": {both[1]}, "\u0430\u043f\u043f\u0430": {both[1]},
		"o'brien": {"O’Brien"}, "\u0412en": {"Ben"}, "A\u043f\u043f\u0430": both[:2], "": nil, "\u200b": nil, "Bea": nil,
	} {
		if got := Named(both, func(s string) string { return s }, want); !slices.Equal(got, names) {
			t.Errorf("%q names %q, want %q", want, got, names)
		}
	}
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"Firefox": "Firefox", "a\x1b[2Jb": "a?[2Jb", "a\u202eb": "a?b", "\u2028": "?", "\xff": "?", "👩\u200d👧": "👩\u200d👧", "a\nb": "a?b", "Grüße": "Grüße",
	} {
		if got := Plain(in, false); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
	if got := Plain("a\nb\r", true); got != "a\nb?" {
		t.Errorf("lines are shown as %q", got)
	}
}
