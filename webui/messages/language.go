package messages

import (
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
)

//go:embed *.json
var files embed.FS

// Language is one language the house speaks.
type Language struct {
	Tag  string // BCP 47, as in the html lang attribute: "en"
	Name string // in itself: "Deutsch"
	Dir  string // "ltr" or "rtl"

	tag      language.Tag
	messages map[string]message
	texts    map[string]string
}

// English is the tag of the source language and of the last resort.
const English = "en"

// Both are made at first use: the keeper and most verbs speak to nobody.
var (
	languages = sync.OnceValue(load)
	matcher   = sync.OnceValue(newMatcher)
)

func load() []*Language {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic("reading embedded messages: " + err.Error())
	}
	var out []*Language
	for _, e := range entries {
		b, err := files.ReadFile(e.Name())
		if err != nil {
			panic("reading embedded messages: " + err.Error())
		}
		l, err := newLanguage(strings.TrimSuffix(e.Name(), ".json"), b)
		if err != nil {
			panic("reading embedded messages: " + err.Error())
		}
		out = append(out, l)
	}
	// English first, then by tag: the order of the footer.
	sort.SliceStable(out, func(i, j int) bool { return out[i].Tag == English && out[j].Tag != English })
	return out
}

func newLanguage(tag string, file []byte) (*Language, error) {
	t, err := language.Parse(tag)
	if err != nil {
		return nil, fmt.Errorf("language %q: %w", tag, err)
	}
	l := &Language{Tag: tag, tag: t, messages: map[string]message{}, texts: map[string]string{}}
	if err := json.Unmarshal(file, &l.texts); err != nil {
		return nil, fmt.Errorf("language %s: %w", tag, err)
	}
	for key, text := range l.texts {
		m, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("language %s, message %s: %w", tag, key, err)
		}
		l.messages[key] = m
	}
	l.Name, l.Dir = l.texts["language.name"], l.texts["language.dir"]
	return l, nil
}

func newMatcher() language.Matcher {
	tags := make([]language.Tag, len(languages()))
	for i, l := range languages() {
		tags[i] = l.tag
	}
	return language.NewMatcher(tags)
}

// Languages lists them all, English first.
func Languages() []*Language { return slices.Clone(languages()) }

// Lookup returns the language with exactly this tag, and nil when the house does not speak it.
func Lookup(tag string) *Language {
	for _, l := range languages() {
		if l.Tag == tag {
			return l
		}
	}
	return nil
}

// Choose returns the language for a request: the one asked for by tag (a query or a cookie) if the house speaks it,
// else the best for the Accept-Language header (RFC 9110, section 12.5.4), else English. Long or broken headers are ignored.
func Choose(tag, acceptLanguage string) *Language {
	if l := Lookup(tag); l != nil {
		return l
	}
	if len(acceptLanguage) > 200 {
		acceptLanguage = ""
	}
	wanted, _, err := language.ParseAcceptLanguage(acceptLanguage)
	if err != nil || len(wanted) == 0 {
		return Lookup(English)
	}
	if _, i, confidence := matcher().Match(wanted...); confidence > language.No {
		return languages()[i]
	}
	return Lookup(English)
}

// Keys lists the keys of the language, sorted.
func (l *Language) Keys() []string {
	out := make([]string, 0, len(l.texts))
	for k := range l.texts {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// Text returns the unformatted message, and "" when there is none.
func (l *Language) Text(key string) string { return l.texts[key] }

var pluralNames = map[plural.Form]string{
	plural.Zero: "zero", plural.One: "one", plural.Two: "two", plural.Few: "few", plural.Many: "many", plural.Other: "other",
}

// pluralCase is the case of cases for n by the rules of CLDR; =n wins.
func (l *Language) pluralCase(cases map[string]message, n int64) message {
	if m, ok := cases[fmt.Sprintf("=%d", n)]; ok {
		return m
	}
	abs := n
	if abs < 0 {
		abs = -abs
	}
	if m, ok := cases[pluralNames[plural.Cardinal.MatchPlural(l.tag, int(abs), 0, 0, 0, 0)]]; ok {
		return m
	}
	return cases["other"]
}
