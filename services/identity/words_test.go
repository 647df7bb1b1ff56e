package identity_test

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/identity/identitytest"
	"hearth.alt/services/secret"
)

// The vectors of 256 bits from BIP-39's reference set (github.com/trezor/python-mnemonic, vectors.json, English).
var trezorVectors = []struct{ entropy, words string }{
	{"0000000000000000000000000000000000000000000000000000000000000000", "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon art"},
	{"7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f", "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth title"},
	{"8080808080808080808080808080808080808080808080808080808080808080", "letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic bless"},
	{"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo vote"},
	{"68a79eaca2324873eacc50cb9c6eca8cc68ea5d936f98787c60c7ebc74e6ce7c", "hamster diagram private dutch cause delay private meat slide toddler razor book happy fancy gospel tennis maple dilemma loan word shrug inflict delay length"},
	{"9f6a2878b2520799a44ef18bc7df394e7061a224d2c33cd015b157d746869863", "panda eyebrow bullet gorilla call smoke muffin taste mesh discover soft ostrich alcohol speed nation flash devote level hobby quick inner drive ghost inside"},
	{"066dca1a2bb7e8a1db2832148ce9933eea0f3ac9548d793112d9a95c9407efad", "all hour make first leader extend hole alien behind guard gospel lava path output census museum junior mass reopen famous sing advance salt reform"},
	{"f585c11aec520db57dd353c69554b21a89b20fb0650966fa0a9d6f74fd989d8f", "void come effort suffer camp survey warrior heavy shoot primary clutch crush open amazing screen patrol group space point ten exist slush involve unfold"},
}

func reveal(words []secret.Text) []string {
	var out []string
	for _, w := range words {
		out = append(out, w.Reveal())
	}
	return out
}

func TestWordsAreBIP39(t *testing.T) {
	for _, v := range trezorVectors {
		b, _ := hex.DecodeString(v.entropy)
		entropy := [identity.EntropySize]byte(b)
		if got := strings.Join(reveal(identity.WordsFromEntropy(entropy)), " "); got != v.words {
			t.Errorf("words of %s are %q, want %q", v.entropy, got, v.words)
		}
		got, err := identity.EntropyFromWords(strings.Fields(strings.ToUpper(v.words)))
		if err != nil || got != entropy {
			t.Errorf("entropy of %q is %x, %v", v.words, got, err)
		}
	}
}

// The root key of a household's words may never change: this pins the derivation.
func TestRootOfEntropyIsGolden(t *testing.T) {
	var entropy [identity.EntropySize]byte
	public := identity.RootFromEntropy(entropy).Public().(ed25519.PublicKey)
	if got := hex.EncodeToString(public); got != goldenRoot {
		t.Errorf("root is %s, want %s", got, goldenRoot)
	}
}

const goldenRoot = "1f06740c536046cbed129dc0d08ab6f502bb8d71086adfc887d0959b9da530a1"

func TestEntropyFromWordsNamesTheFirstWrongWord(t *testing.T) {
	good := strings.Fields(trezorVectors[4].words)
	change := func(i int, w string) []string {
		words := slices.Clone(good)
		words[i] = w
		return words
	}
	for name, c := range map[string]struct {
		words []string
		code  string
		say   string
	}{
		"too few":         {good[:23], "words-count", "There are 24 recovery words, not 23."},
		"none":            {nil, "words-count", "There are 24 recovery words, not 0."},
		"one":             {good[:1], "words-count", "There are 24 recovery words, not 1."}, // "1 were given"
		"letters swapped": {change(7, "maet"), "words-unknown", "Word 8 is not a recovery word. The nearest one is “meat”."},
		"a letter less":   {change(9, "todler"), "words-unknown", "Word 10 is not a recovery word. The nearest one is “toddler”."},
		"cut short":       {change(12, "happ"), "words-unknown", "Word 13 is not a recovery word. The nearest one is “happy”."},
		"very long":       {change(0, strings.Repeat("x", 1<<20)), "words-unknown", ""},
		"not text":        {change(0, "\xff\x00"), "words-unknown", ""},
		"another word":    {change(3, "abandon"), "words-misfit", ""},
	} {
		_, err := identity.EntropyFromWords(c.words)
		p := services.AsProblem(err)
		if p == nil || p.Code != c.code || c.say != "" && p.Say.String() != c.say {
			t.Errorf("%s: %v, want %s %q", name, err, c.code, c.say)
		}
	}
}

func TestCheckWords(t *testing.T) {
	box := identitytest.Household(t)
	texts, err := box.Words(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	good := reveal(texts)
	wrong, swapped, twoWrong := slices.Clone(good), slices.Clone(good), slices.Clone(good)
	wrong[16] = other(good[16])
	swapped[4], swapped[20] = good[20], good[4]
	twoWrong[2], twoWrong[5] = other(good[2]), other(good[5])
	foreign := reveal(identity.WordsFromEntropy([32]byte{1}))

	check := func(state string) {
		for name, c := range map[string]struct {
			words []string
			code  string
			say   string
		}{
			"one wrong":         {wrong, "words-wrong", "Word 17 is not the one on your paper. The other 23 are right."},
			"two swapped":       {swapped, "words-swapped", "Word 5 and word 21 have changed places."},
			"another household": {foreign, "words-other", ""},
			"unknown":           {append([]string{"hearthh"}, good[1:]...), "words-unknown", "Word 1 is not a recovery word. The nearest one is “heart”."},
		} {
			p := services.AsProblem(box.CheckWords(t.Context(), c.words))
			if p == nil || p.Code != c.code || c.say != "" && p.Say.String() != c.say {
				t.Errorf("%s, %s: %v, want %s %q", state, name, p, c.code, c.say)
			}
		}
		if p := services.AsProblem(box.CheckWords(t.Context(), twoWrong)); p == nil || p.Code != "words-misfit" && p.Code != "words-other" {
			t.Errorf("%s, two wrong: %v", state, p)
		}
	}
	check("pending")
	if !box.WordsPending() {
		t.Error("wrong words ended the waiting")
	}
	if err := box.CheckWords(t.Context(), []string{strings.ToUpper(strings.Join(good, "  "))}); err != nil {
		t.Fatalf("the right words in one field: %v", err)
	}
	if box.WordsPending() {
		t.Error("the right words left them pending")
	}
	if _, err := box.Words(t.Context()); !errors.Is(err, &services.Problem{Code: "words-confirmed"}) {
		t.Errorf("words after they were confirmed: %v", err)
	}
	if _, err := box.Keys.SignWithRoot(t.Context(), []byte(identity.RecordDomain)); err == nil {
		t.Error("the root still signs")
	}
	check("confirmed")
	if err := box.CheckWords(t.Context(), good); err != nil {
		t.Errorf("the right words once more: %v", err)
	}

	again, err := identity.New(identity.Config{Dir: box.Dir, Keys: box.Keys, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if again.WordsPending() {
		t.Error("after a restart the words are pending again")
	}
}

// other returns a word of the list that is not w.
func other(w string) string {
	if w == "zoo" {
		return "abandon"
	}
	return "zoo"
}

func FuzzEntropyFromWords(f *testing.F) {
	for _, v := range trezorVectors {
		f.Add(v.words)
	}
	f.Fuzz(func(t *testing.T, text string) {
		entropy, err := identity.EntropyFromWords(strings.Split(text, " "))
		if err != nil {
			if services.AsProblem(err).Code == "internal" {
				t.Fatal(err)
			}
			return
		}
		again, err := identity.EntropyFromWords(reveal(identity.WordsFromEntropy(entropy)))
		if err != nil || again != entropy {
			t.Fatalf("%q is %x and then %x, %v", text, entropy, again, err)
		}
	})
}
