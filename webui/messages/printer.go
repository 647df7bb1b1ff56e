package messages

import (
	"fmt"
	"html"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"hearth.alt/services"
)

// Printer says messages in one language at one moment. It is a value made for each request; it must not be shared
// between goroutines.
//
// An argument is written by its type: string as it is (in HTML inside bdi, so that a name in another script cannot
// disturb the sentence), int and int64 with the language's grouping, time.Time as the time of day when it is today and
// with its day otherwise, time.Duration as Duration does, netip.Addr and
// fmt.Stringer by String, services.Sentence said in turn.
type Printer struct {
	Language *Language
	Now      time.Time
	Zone     *time.Location // nil is UTC, and says so
}

// Markup is HTML that a Printer made, as an argument of another message. It is of use in HTML only.
type Markup string

// T says the message key as plain text. Arguments come in pairs of name and value. A missing key is said in English,
// and a key missing there as itself, in brackets: a test sees to it that neither happens.
func (p *Printer) T(key string, args ...any) string {
	return p.say(key, "", pairs(args))
}

// Say says what a service said, as plain text. What the language does not have is said in English.
func (p *Printer) Say(s services.Sentence) string {
	if s.IsZero() {
		return ""
	}
	return p.say(s.Key, s.Text, s.Args)
}

// HTML says the message key as HTML: everything escaped, names in bdi, and the tags <b>, <c> and <a> of the message
// made real. The argument href is the address of <a> and must come from the program, never from a person.
func (p *Printer) HTML(key string, args ...any) string {
	return p.html(key, "", pairs(args))
}

// SayHTML says what a service said as HTML.
func (p *Printer) SayHTML(s services.Sentence) string {
	if s.IsZero() {
		return ""
	}
	return p.html(s.Key, s.Text, s.Args)
}

func (p *Printer) say(key, text string, args map[string]any) string {
	w := &writer{p: p, args: args}
	w.write(p.find(key, text), 0)
	return w.b.String()
}

func (p *Printer) html(key, text string, args map[string]any) string {
	w := &writer{p: p, args: args, html: true}
	w.write(p.find(key, text), 0)
	return w.b.String()
}

func (p *Printer) find(key, text string) message {
	if m, ok := p.Language.messages[key]; ok {
		return m
	}
	if m, ok := Lookup(English).messages[key]; ok {
		return m
	}
	if text != "" {
		if m, err := parse(text); err == nil {
			return m
		}
		return message{{text: text}}
	}
	return message{{text: "[" + key + "]"}}
}

func pairs(args []any) map[string]any {
	if len(args) == 0 {
		return nil
	}
	m := make(map[string]any, len(args)/2)
	for i := 0; i+1 < len(args); i += 2 {
		m[fmt.Sprint(args[i])] = args[i+1]
	}
	return m
}

type writer struct {
	p    *Printer
	b    strings.Builder
	args map[string]any
	html bool
}

func (w *writer) text(s string) {
	if w.html {
		s = html.EscapeString(s)
	}
	w.b.WriteString(s)
}

func (w *writer) write(m message, n int64) {
	for _, p := range m {
		switch {
		case p.tag != "":
			w.tag(p, n)
		case p.arg == "":
			w.text(p.text)
		case p.arg == "#":
			w.text(w.p.Number(n))
		default:
			w.argument(p, n)
		}
	}
}

func (w *writer) tag(p part, n int64) {
	open, end := "", ""
	if w.html {
		switch p.tag {
		case "b":
			open, end = "<b>", "</b>"
		case "c":
			open, end = `<span class="code">`, "</span>"
		case "a":
			href, _ := w.args["href"].(string)
			open, end = `<a href="`+html.EscapeString(href)+`">`, "</a>"
		}
	}
	w.b.WriteString(open)
	w.write(p.body, n)
	w.b.WriteString(end)
}

func (w *writer) argument(p part, n int64) {
	v, ok := w.args[p.arg]
	if !ok {
		w.text("{" + p.arg + "}")
		return
	}
	num, isNum := number(v)
	at, isTime := v.(time.Time)
	switch {
	case p.form == "plural" && isNum:
		w.write(w.p.Language.pluralCase(p.cases, num), num)
	case p.form == "select":
		m, ok := p.cases[fmt.Sprint(v)]
		if !ok {
			m = p.cases["other"]
		}
		w.write(m, n)
	case p.form == "words" && isNum:
		w.text(w.p.Words(num, false))
	case p.form == "Words" && isNum:
		w.text(w.p.Words(num, true))
	case p.form == "bytes" && isNum:
		w.text(w.p.Bytes(num))
	case p.form == "time" && isTime:
		w.text(w.p.Time(at))
	case p.form == "date" && isTime:
		w.text(w.p.Date(at))
	case p.form == "ago" && isTime:
		w.text(w.p.Ago(at))
	case isTime:
		w.text(w.p.Day(at))
	default:
		w.value(v)
	}
}

func (w *writer) value(v any) {
	switch v := v.(type) {
	case services.Sentence:
		if w.html {
			w.b.WriteString(w.p.SayHTML(v))
		} else {
			w.b.WriteString(w.p.Say(v))
		}
	case Markup:
		if w.html {
			w.b.WriteString(string(v))
		}
	case string:
		w.name(v)
	case netip.Addr:
		w.text(v.String())
	case time.Duration:
		w.text(w.p.Duration(v))
	default:
		if n, ok := number(v); ok {
			w.text(w.p.Number(n))
			return
		}
		w.name(fmt.Sprint(v))
	}
}

func (w *writer) name(s string) {
	if w.html {
		w.b.WriteString("<bdi>" + html.EscapeString(s) + "</bdi>")
		return
	}
	w.b.WriteString(s)
}

func number(v any) (int64, bool) {
	switch v := v.(type) {
	case int:
		return int64(v), true
	case int64:
		return v, true
	case int32:
		return int64(v), true
	case uint16:
		return int64(v), true
	case uint32:
		return int64(v), true
	case uint64:
		return int64(v), true
	}
	return 0, false
}

// Number writes n with the language's grouping of thousands, "4,960".
func (p *Printer) Number(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if s[0] == '-' {
		sign, s = "−", s[1:]
	}
	group := p.T("format.group")
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + group + s[i:]
	}
	return sign + s
}

// Words writes a number from 0 to 12 in words, any other as Number does.
func (p *Printer) Words(n int64, capital bool) string {
	if n < 0 || n > 12 {
		return p.Number(n)
	}
	s := p.T("format.number." + strconv.FormatInt(n, 10))
	if capital {
		r := []rune(s)
		s = strings.ToUpper(string(r[:1])) + string(r[1:])
	}
	return s
}

const nbsp = "\u00a0"

// Bytes writes an amount in decimal units with at most two significant figures below ten, "1.2 GB", "214 GB".
func (p *Printer) Bytes(n int64) string {
	units := [...]string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	f, u := float64(n), 0
	for f >= 999.5 && u < len(units)-1 {
		f, u = f/1000, u+1
	}
	s := strconv.FormatFloat(f, 'f', 0, 64)
	if u > 0 && f < 9.95 {
		s = strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
	}
	return strings.Replace(s, ".", p.T("format.decimal"), 1) + nbsp + units[u]
}

func (p *Printer) zone(t time.Time) time.Time {
	if p.Zone == nil {
		return t.UTC()
	}
	return t.In(p.Zone)
}

// Time writes the time of day, "14:31"; where nobody chose a zone, "14:31 UTC".
func (p *Printer) Time(t time.Time) string {
	s := p.zone(t).Format("15:04")
	if p.Zone == nil {
		s += nbsp + "UTC"
	}
	return s
}

// Date writes the day, "12 March", with the year when it is another one.
func (p *Printer) Date(t time.Time) string {
	t = p.zone(t)
	month := p.T("format.month." + strconv.Itoa(int(t.Month())))
	if t.Year() == p.zone(p.Now).Year() {
		return p.T("format.date", "d", strconv.Itoa(t.Day()), "month", month)
	}
	return p.T("format.date.year", "d", strconv.Itoa(t.Day()), "month", month, "year", strconv.Itoa(t.Year()))
}

// days is how many calendar days b lies after a.
func days(a, b time.Time) int {
	ua := time.Date(a.Year(), a.Month(), a.Day(), 0, 0, 0, 0, time.UTC)
	ub := time.Date(b.Year(), b.Month(), b.Day(), 0, 0, 0, 0, time.UTC)
	return int(ub.Sub(ua).Hours() / 24)
}

// Day writes when something is: "14:31" today, "yesterday, 14:31", "12 March" else.
func (p *Printer) Day(t time.Time) string {
	switch days(p.zone(t), p.zone(p.Now)) {
	case 0:
		return p.Time(t)
	case 1:
		return p.T("format.yesterday", "time", p.Time(t))
	case -1:
		return p.T("format.tomorrow", "time", p.Time(t))
	}
	return p.Date(t)
}

// Duration writes how long something takes, as it stands after "in": "a minute", "two hours". It rounds up.
func (p *Printer) Duration(d time.Duration) string {
	up := func(unit time.Duration) int64 { return int64((d + unit - 1) / unit) }
	switch {
	case d <= time.Minute:
		return p.T("format.duration.seconds", "n", max(up(time.Second), 1))
	case d <= time.Hour:
		return p.T("format.duration.minutes", "n", up(time.Minute))
	}
	return p.T("format.duration.hours", "n", up(time.Hour))
}

// Ago writes how long ago something was: "a moment ago", "two minutes ago", "today, 08:40", "47 days ago". The zero time
// is "never".
func (p *Printer) Ago(t time.Time) string {
	if t.IsZero() {
		return p.T("format.never")
	}
	d := p.Now.Sub(t)
	n := days(p.zone(t), p.zone(p.Now))
	switch {
	case d < time.Minute:
		return p.T("format.moment")
	case d < time.Hour:
		return p.T("format.minutes", "n", int64(d/time.Minute))
	case n == 0:
		return p.T("format.today", "time", p.Time(t))
	case n == 1:
		return p.T("format.yesterday", "time", p.Time(t))
	}
	return p.T("format.days", "n", n)
}

// Has says whether the language, or English, has the message key.
func (p *Printer) Has(key string) bool {
	return p.Language.messages[key] != nil || Lookup(English).messages[key] != nil
}
