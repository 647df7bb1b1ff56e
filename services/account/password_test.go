package account

import (
	"strings"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/secret"
)

func TestHashesAreBroughtUpToDate(t *testing.T) {
	h := newHouse()
	dir := t.TempDir()
	s, stop := open(t, h, dir)
	if err := s.SetPassword(t.Context(), from(""), anna, secret.NewText(good)); err != nil {
		t.Fatal(err)
	}
	stop()
	defer func(p Params) { cheap = p }(cheap)
	cheap = Params{Memory: 128, Time: 2, Threads: 1}
	s, _ = open(t, h, dir)
	signIn(t, s, "Anna", "")
	db, _ := s.database()
	text, err := loadPassword(t.Context(), db, anna)
	if k, err2 := parseHash(text); err != nil || err2 != nil || k.Params != cheap {
		t.Errorf("kept as %s, %v", strings.SplitAfter(text, "p=")[0], err)
	}
	signIn(t, s, "Anna", "")
}

// TestDefaultCosts hashes once with what the box uses.
func TestDefaultCosts(t *testing.T) {
	var h hasher
	h.init()
	start := time.Now()
	k := h.make(DefaultParams, secret.NewText(good))
	t.Logf("one hash at %+v took %v here", DefaultParams, time.Since(start).Round(time.Millisecond))
	back, err := parseHash(k.String())
	if err != nil || !h.fits(back, secret.NewText(good)) || h.fits(back, secret.NewText("x")) {
		t.Errorf("hash and back: %v", err)
	}
}

func TestPasswordRules(t *testing.T) {
	about := []string{"Anna-Lena", "Smith", "Attic"}
	for _, bad := range []string{
		"123456789012", "password1234", "Password1234!", "P@ssw0rd2024", "passwordpassword", "qwertyuiop12", "qwertzuiop123", "1q2w3e4r5t6y", "aaaaaaaaaaaa", "abcabcabcabc",
		"iloveyou1234", "ichliebedich", "changeme1234", "letmein12345", "administrator", "Administrator1", "Passwort1234", "Sommer2024!!", "hallo1234567", "dragon123456", "111111111111", "1qaz2wsx3edc",
		"annalena2015", "Anna Lena Smith", "smithsmith12", "attic1234567", "hearth123456", "qwerty123456", "asdfghjkl123", "correcthorsebatterystaple"[:20], "superman1234", "charlie12345", "20.12.201999",
		"letmeinletmein", "welcome12345", "football2023", "bayern münchen", "012345678910", "!@#$%^&*()!@", "zaq12wsxzaq12wsx", "abcdefghijkl", "lkjihgfedcba", "trustno1trustno1", "starwars1977",
	} {
		if err := CheckPassword(secret.NewText(bad), about...); err == nil {
			t.Errorf("%q is taken, worth %.1f bits", bad, guessBits([]rune(strings.ToLower(bad)), []rune(bad), about))
		}
	}
	for _, ok := range []string{good, "violin ocean pepper trumpet", "x7#Qm2!vRt9z", "dzfkhwmqplnr", "grüne Katzen fliegen nie montags", "Der Zug um 7 nach Ulm", "日本語のパスワードは長い方がよい", "we ate cold soup in Porto"} {
		if err := CheckPassword(secret.NewText(ok), about...); err != nil {
			t.Errorf("%q is refused, worth %.1f bits: %v", ok, guessBits([]rune(strings.ToLower(ok)), []rune(ok), about), err)
		}
	}
	for code, p := range map[string]string{"password-short": "x7#Qm2!vRt9", "password-long": strings.Repeat("ab", 513), "password-form": "x7#Qm2!vRt9z\xff"} {
		if got := services.AsProblem(CheckPassword(secret.NewText(p))); got.Code != code || got.Field != "password" {
			t.Errorf("%s: %v", code, got)
		}
	}
	for range 200 {
		if err := CheckPassword(SuggestPassword()); err != nil {
			t.Fatalf("a suggestion is refused: %v", err)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	var h hasher
	f.Add(h.make(cheap, secret.NewText(good)).String())
	f.Add("$argon2id$v=19$m=65536,t=3,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := parseHash(s)
		if err != nil {
			if k.Memory != 0 || k.key != nil {
				t.Fatal("half a hash came with an error")
			}
			return
		}
		if k.String() != s {
			t.Fatalf("%q reads as %q", s, k)
		}
	})
}

func FuzzCheckPassword(f *testing.F) {
	f.Add(good, "Anna")
	f.Add("İİİİİİİİİİİİİİ", "ß")
	f.Fuzz(func(t *testing.T, p, about string) {
		if err := CheckPassword(secret.NewText(p), about); err != nil && p != "" && len(p) > 3 && strings.Contains(err.Error(), p) {
			t.Fatal("the error repeats the password")
		}
	})
}
