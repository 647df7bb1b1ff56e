package messages

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// message is a parsed message: parts in the order they are shown.
type message []part

type part struct {
	text string // literal, when arg is "" and tag is ""
	arg  string // name of an argument; "#" is the number of the innermost plural
	form string // "", "words", "Words", "bytes", "time", "date", "day", "ago", "plural", "select"
	// cases of plural ("one", "few", "=0", "other") and select.
	cases map[string]message
	tag   string // "b", "c", "a"
	body  message
}

var (
	forms = map[string]bool{"words": true, "Words": true, "bytes": true, "time": true, "date": true, "day": true, "ago": true}
	tags  = map[string]bool{"b": true, "c": true, "a": true}
)

// maxDepth bounds nesting: plural in select in plural is the most anyone can translate.
const maxDepth = 6

// parse reads one message. The error says where.
func parse(s string) (message, error) {
	p := &parser{s: s}
	m, err := p.message(0, "")
	if err != nil {
		return nil, fmt.Errorf("at byte %d: %w", p.at, err)
	}
	return m, nil
}

type parser struct {
	s  string
	at int
}

func (p *parser) rest() string { return p.s[p.at:] }

// message reads up to the end of s, or to the "}" or "</tag>" that ends what it is in; the end is left to the caller.
func (p *parser) message(depth int, until string) (message, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested more than %d deep", maxDepth)
	}
	var m message
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			m = append(m, part{text: text.String()})
			text.Reset()
		}
	}
	for p.at < len(p.s) {
		rest := p.rest()
		switch {
		case strings.HasPrefix(rest, "{{"), until != "}" && strings.HasPrefix(rest, "}}"):
			text.WriteByte(rest[0])
			p.at += 2
		case rest[0] == '}':
			if until != "}" {
				return nil, fmt.Errorf("a } without its {")
			}
			flush()
			return m, nil
		case strings.HasPrefix(rest, "</"):
			if until == "" || until == "}" || !strings.HasPrefix(rest, until) {
				return nil, fmt.Errorf("a closing tag without its opening one")
			}
			flush()
			return m, nil
		case rest[0] == '#' && until == "}":
			flush()
			m = append(m, part{arg: "#"})
			p.at++
		case rest[0] == '{':
			flush()
			a, err := p.argument(depth)
			if err != nil {
				return nil, err
			}
			m = append(m, a)
		case len(rest) > 2 && rest[0] == '<' && rest[2] == '>' && tags[rest[1:2]]:
			flush()
			tag := rest[1:2]
			p.at += 3
			body, err := p.message(depth+1, "</"+tag+">")
			if err != nil {
				return nil, err
			}
			if !strings.HasPrefix(p.rest(), "</"+tag+">") {
				return nil, fmt.Errorf("<%s> has no end", tag)
			}
			p.at += 4
			m = append(m, part{tag: tag, body: body})
		default:
			_, n := utf8.DecodeRuneInString(rest)
			text.WriteString(rest[:n])
			p.at += n
		}
	}
	if until != "" {
		return nil, fmt.Errorf("%q is missing", until)
	}
	flush()
	return m, nil
}

func (p *parser) word() string {
	p.space()
	start := p.at
	for p.at < len(p.s) {
		c := p.s[p.at]
		if c == ',' || c == '{' || c == '}' || c == ' ' || c == '\n' {
			break
		}
		p.at++
	}
	return p.s[start:p.at]
}

func (p *parser) space() {
	for p.at < len(p.s) && (p.s[p.at] == ' ' || p.s[p.at] == '\n') {
		p.at++
	}
}

func (p *parser) next(c byte) bool {
	p.space()
	if p.at < len(p.s) && p.s[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) argument(depth int) (part, error) {
	p.at++ // {
	a := part{arg: p.word()}
	if a.arg == "" {
		return a, fmt.Errorf("an argument without a name")
	}
	if p.next('}') {
		return a, nil
	}
	if !p.next(',') {
		return a, fmt.Errorf("want , or } after {%s", a.arg)
	}
	a.form = p.word()
	if forms[a.form] {
		if !p.next('}') {
			return a, fmt.Errorf("want } after {%s, %s", a.arg, a.form)
		}
		return a, nil
	}
	if a.form != "plural" && a.form != "select" {
		return a, fmt.Errorf("%q is no form", a.form)
	}
	if !p.next(',') {
		return a, fmt.Errorf("want , after {%s, %s", a.arg, a.form)
	}
	a.cases = map[string]message{}
	for !p.next('}') {
		name := p.word()
		if name == "" || !p.next('{') {
			return a, fmt.Errorf("want a case and { in {%s, %s", a.arg, a.form)
		}
		m, err := p.message(depth+1, "}")
		if err != nil {
			return a, err
		}
		if !p.next('}') {
			return a, fmt.Errorf("case %s has no end", name)
		}
		if _, twice := a.cases[name]; twice {
			return a, fmt.Errorf("case %s stands twice", name)
		}
		a.cases[name] = m
	}
	if _, ok := a.cases["other"]; !ok {
		return a, fmt.Errorf("{%s, %s has no case other", a.arg, a.form)
	}
	return a, nil
}

// arguments adds the names m asks for to set.
func (m message) arguments(set map[string]bool) {
	for _, p := range m {
		if p.arg != "" && p.arg != "#" {
			set[p.arg] = true
		}
		if p.tag == "a" {
			set["href"] = true
		}
		for _, c := range p.cases {
			c.arguments(set)
		}
		p.body.arguments(set)
	}
}
