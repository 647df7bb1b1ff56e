package identity

import (
	"strings"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
	"hearth.alt/services/looks"
)

func TestCleanName(t *testing.T) {
	for in, want := range map[string]string{
		"Ann":                   "Ann",
		"  Ann Smith\u00a0":     "Ann Smith",
		"Zoe\u0308":             "Zoë",
		"王":                     "王",
		"🏡":                     "🏡",
		"👩\u200d👧":              "👩\u200d👧",
		"❤\ufe0f":               "❤\ufe0f",
		"🏳\ufe0f\u200d🌈":        "🏳\ufe0f\u200d🌈",
		"👩🏽\u200d🔬":             "👩🏽\u200d🔬",
		"علی\u200cرضا":          "علی\u200cرضا",
		"राज्\u200dय":           "राज्\u200dय",
		"Анна Maria":            "Анна Maria",
		"iPhone-Анны":           "iPhone-Анны",
		"田中さんのMac":              "田中さんのMac",
		"Ёж 2":                  "Ёж 2",
		"มานีMac":               "มานีMac",
		"Анна王":                 "Анна王",
		"דניTV":                 "דניTV",
		"🫩":                     "🫩",
		"Σωκράτης":              "Σωκράτης",
		"O’Brien":               "O’Brien",
		"Ann   Lee":             "Ann Lee",
		"\u200fעדי\u200f":       "עדי",
		"葛\U000e0100城":          "葛\U000e0100城",
		strings.Repeat("é", 64): strings.Repeat("é", 64),
	} {
		if got, err := cleanName("name", in); err != nil || got != want {
			t.Errorf("%q becomes %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "   ", "\u200d", "a\nb", "a\x00", "a\u0085", "\xff", "a\u202eb", "a\u2028b", strings.Repeat("a", 65), strings.Repeat("é", 65), "\ufffd", "Al" + strings.Repeat("\u0301", 6) + "ice", "\ufdd0",
		// What looks like a name that somebody has: hidden signs, and letters of another alphabet.
		"Ann\u200b", "Ann\u00ad", "\u2060Ann", "\ufeffAnn", "A\u034fnn", "Ann\u200d", "A\u200cnn", "Ann\ufe0f", "Ann\u2800", "Ann\u3164", "Ann\U000e0041", "Ann\u061c", "An\u2064n", "Ann\U000e0100",
		// What nobody knows the look of.
		"Ann\ue000", "\U000f0000", "A\u0378nn", "\U0001fffe",
		"\u0410nn", "Ann\u0430", "\u0391nn", "\u0410\u200dnn", "\u0410nn2", "Paul\u0441",
	} {
		_, err := cleanName("box", in)
		if p := services.AsProblem(err); p == nil || p.Code != "name-invalid" || p.Field != "box" {
			t.Errorf("%q: %v, want name-invalid", in, err)
		}
	}
}

func TestLabel(t *testing.T) {
	for in, want := range map[string]string{
		"Smith":                   "smith",
		"Müller-Lüdenscheidt":     "mueller-luedenscheidt",
		"Mu\u0308ller":            "mueller",
		"STRASSE straße":          "strasse-strasse",
		"Ann's  house!":           "anns-house",
		"Crème Brûlée":            "creme-brulee",
		"Łódź":                    "lodz",
		"Ångström":                "aangstroem",
		"Достоевский":             "dostoevskiy",
		"Ёлка":                    "elka",
		"Σωκράτης":                "sokratis",
		"Ελληνικά ά":              "ellinika-a",
		"--a--b--":                "a-b",
		"xn--abc":                 "xn-abc",
		"№ 5":                     "no-5",
		"王":                       "home",
		"🏡":                       "home",
		"":                        "home",
		"İstanbul":                "istanbul",
		"ﬁne ＦＵＬＬ":                "fine-full",
		strings.Repeat("ab-", 30): strings.Repeat("ab-", 15) + "ab",
	} {
		if got := Label(in, "home"); got != want {
			t.Errorf("label of %q is %q, want %q", in, got, want)
		}
	}
}

func FuzzLabel(f *testing.F) {
	f.Add("Müller")
	f.Add("Ёлка")
	f.Fuzz(func(t *testing.T, name string) {
		got := Label(name, "home")
		if !record.ValidLabel(got) || len(got) > maxLabel || strings.Contains(got, "--") {
			t.Fatalf("label of %q is %q", name, got)
		}
		if again := Label(got, "home"); again != got {
			t.Fatalf("label of the label %q is %q", got, again)
		}
		if clean, err := cleanName("name", name); err == nil {
			if again, err := cleanName("name", clean); err != nil || again != clean {
				t.Fatalf("%q is cleaned to %q and then to %q, %v", name, clean, again, err)
			}
			if h := (&household{names: map[string]string{}}); h.name("x", "1", "", clean) != clean || h.named("x", strings.ToUpper(strings.ToLower(clean))) == "" && looks.Fold(strings.ToUpper(strings.ToLower(clean))) == looks.Fold(clean) {
				t.Fatalf("%q is not found again", clean)
			}
		}
	})
}
