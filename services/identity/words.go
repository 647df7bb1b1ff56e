package identity

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/tyler-smith/go-bip39"

	"hearth.alt/services"
	"hearth.alt/services/secret"
)

// The household root comes from 32 random bytes, its entropy, which people keep as 24 words (BIP-39, English list,
// 256 bits of entropy and 8 of checksum). BIP-39's own way from words to a seed (PBKDF2 with a passphrase) is not
// used: the words stand for the entropy, and each key comes from that by HKDF-SHA256 (RFC 5869) without salt, 32
// bytes long, with the key's label as info. rootLabel makes the seed of the Ed25519 root key (RFC 8032).
const (
	WordCount   = 24
	EntropySize = 32

	rootLabel = "hearth.alt household root 1 ed25519"
)

// RootFromEntropy returns the household root that the entropy stands for.
func RootFromEntropy(entropy [EntropySize]byte) ed25519.PrivateKey {
	seed, err := hkdf.Key(sha256.New, entropy[:], nil, rootLabel, ed25519.SeedSize)
	if err != nil { // only for lengths that HKDF cannot make
		panic(err)
	}
	return ed25519.NewKeyFromSeed(seed)
}

// WordsFromEntropy returns the 24 words that stand for the entropy.
func WordsFromEntropy(entropy [EntropySize]byte) []secret.Text {
	text, err := bip39.NewMnemonic(entropy[:])
	if err != nil { // only for lengths that BIP-39 does not know
		panic(err)
	}
	var out []secret.Text
	for w := range strings.FieldsSeq(text) {
		out = append(out, secret.NewText(w))
	}
	return out
}

// EntropyFromWords undoes WordsFromEntropy. Upper case and spaces around a word do not matter. The error is a
// *services.Problem about the first thing wrong: words-count, words-unknown (with the word's number and the nearest
// one of the list), or words-misfit when each word is on the list and the checksum does not fit.
func EntropyFromWords(words []string) ([EntropySize]byte, error) {
	numbers, err := wordNumbers(words)
	if err != nil {
		return [EntropySize]byte{}, err
	}
	entropy, ok := entropyFrom(numbers)
	if !ok {
		return entropy, misfit()
	}
	return entropy, nil
}

func misfit() error {
	return &services.Problem{
		Kind: services.KindInvalid, Code: "words-misfit", Field: "words",
		Say: services.Say("identity.words.misfit", "All 24 words are known ones, but they do not fit together. More than one is wrong, or their order is. Compare them with the paper from the first to the last."),
	}
}

// wordNumbers looks every word up in the list.
func wordNumbers(words []string) ([]int, error) {
	if len(words) != WordCount {
		return nil, &services.Problem{
			Kind: services.KindInvalid, Code: "words-count", Field: "words",
			Say: services.Say("identity.words.count", "There are 24 recovery words, not {count}.", "count", len(words)),
		}
	}
	numbers := make([]int, len(words))
	for i, w := range words {
		w = strings.ToLower(strings.TrimSpace(w))
		n, ok := bip39.GetWordIndex(w)
		if !ok {
			return nil, &services.Problem{
				Kind: services.KindInvalid, Code: "words-unknown", Field: "words",
				Say: services.Say("identity.words.unknown", "Word {number} is not a recovery word. The nearest one is “{nearest}”.", "number", i+1, "nearest", nearestWord(w)),
			}
		}
		numbers[i] = n
	}
	return numbers, nil
}

// entropyFrom packs 24 numbers of 11 bits into 32 bytes and compares the 8 bits that follow with the checksum
// (BIP-39, "Generating the mnemonic").
func entropyFrom(numbers []int) (entropy [EntropySize]byte, ok bool) {
	var packed [EntropySize + 1]byte
	at := 0
	for _, n := range numbers {
		for bit := 10; bit >= 0; bit-- {
			packed[at/8] |= byte(n>>bit&1) << (7 - at%8)
			at++
		}
	}
	copy(entropy[:], packed[:])
	sum := sha256.Sum256(entropy[:])
	return entropy, sum[0] == packed[EntropySize]
}

// nearestWord returns the word of the list with the fewest letters to change; among those, one that begins alike.
func nearestWord(w string) string {
	typed := []rune(w)
	if len(typed) > 16 { // no word is half as long
		typed = typed[:16]
	}
	best, least := "", 1<<10
	for _, candidate := range bip39.GetWordList() {
		d := 4 * distance(typed, []rune(candidate))
		for i := range min(4, len(typed), len(candidate)) {
			if typed[i] != rune(candidate[i]) {
				break
			}
			d-- // the first four letters alone tell a word of the list
		}
		if d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance is how many letters are to be inserted, dropped, changed or swapped with the next one to make b of a.
func distance(a, b []rune) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	next := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i, x := range a {
		next[0] = i + 1
		for j, y := range b {
			cost := 1
			if x == y {
				cost = 0
			}
			next[j+1] = min(next[j]+1, row[j+1]+1, row[j]+cost)
			if i > 0 && j > 0 && x == b[j-1] && a[i-1] == y {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}

// checkWords says whether the words stand for the household root. When they do not, the Problem names the first
// thing wrong; a single wrong word, or two that changed places, is found by trying, because the root's public key
// tells when they fit. Trying takes about 30 ms.
func checkWords(words []string, root ed25519.PublicKey) error {
	numbers, err := wordNumbers(words)
	if err != nil {
		return err
	}
	fits := func() (checksum, match bool) {
		entropy, ok := entropyFrom(numbers)
		return ok, ok && root.Equal(RootFromEntropy(entropy).Public())
	}
	checksum, match := fits()
	if match {
		return nil
	}
	for i, typed := range numbers {
		for n := range bip39.GetWordList() {
			numbers[i] = n
			if _, match := fits(); match {
				return &services.Problem{
					Kind: services.KindInvalid, Code: "words-wrong", Field: "words",
					Say: services.Say("identity.words.wrong", "Word {number} is not the one on your paper. The other 23 are right.", "number", i+1),
				}
			}
		}
		numbers[i] = typed
	}
	for i := range numbers {
		for j := i + 1; j < len(numbers); j++ {
			numbers[i], numbers[j] = numbers[j], numbers[i]
			_, match := fits()
			numbers[i], numbers[j] = numbers[j], numbers[i]
			if match {
				return &services.Problem{
					Kind: services.KindInvalid, Code: "words-swapped", Field: "words",
					Say: services.Say("identity.words.swapped", "Word {first} and word {second} have changed places.", "first", i+1, "second", j+1),
				}
			}
		}
	}
	if !checksum {
		return misfit()
	}
	return &services.Problem{
		Kind: services.KindInvalid, Code: "words-other", Field: "words",
		Say: services.Say("identity.words.other", "These are 24 good recovery words, but they are not those of this household."),
	}
}

// splitWords lets people type or paste the words into one field as well as into 24.
func splitWords(words []string) []string {
	return slices.Collect(strings.FieldsSeq(strings.Join(words, " ")))
}
