package identity

import (
	"strings"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
)

func TestCleanName(t *testing.T) {
	for in, want := range map[string]string{
		"Ann":                   "Ann",
		"  Ann Smith\u00a0":     "Ann Smith",
		"Zoe\u0308":             "Zoë",
		"王":                     "王",
		"🏡":                     "🏡",
		"👩\u200d👧":              "👩\u200d👧",
		strings.Repeat("é", 64): strings.Repeat("é", 64),
	} {
		if got, err := cleanName("name", in); err != nil || got != want {
			t.Errorf("%q becomes %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "   ", "\u200d", "a\nb", "a\x00", "a\u0085", "\xff", "a\u202eb", "a\u2028b", strings.Repeat("a", 65), strings.Repeat("é", 65), "\ufffd", "\ufdd0"} {
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
			if h := (&household{names: map[string]string{}}); h.name("x", "1", "", clean) != clean || h.named("x", strings.ToUpper(strings.ToLower(clean))) == "" && foldName(strings.ToUpper(strings.ToLower(clean))) == foldName(clean) {
				t.Fatalf("%q is not found again", clean)
			}
		}
	})
}
