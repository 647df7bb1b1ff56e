package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/appliance/textqr"
	"hearth.alt/services/looks"
)

// show writes an answer of o for a person: a list of things as a table, one thing as name and value, words one a line.
// How a field is shown says its tag (package api); times are those of this computer.
func show(w io.Writer, o api.Operation, out []byte) error {
	d := json.NewDecoder(bytes.NewReader(out))
	d.UseNumber()
	v, err := ordered(d)
	if err != nil {
		return err
	}
	p := person{tags: map[string]string{}, order: map[string]int{}, empty: nothing[o.Name]}
	p.learn(o.Out())
	switch v := v.(type) {
	case object:
		return p.object(w, v)
	case []any:
		return p.table(w, v)
	}
	_, err = fmt.Fprintln(w, cell(v))
	return err
}

// nothing is what an empty list of a verb means.
var nothing = map[string]string{
	"person list":        "Nobody belongs to the household.",
	"person leaving":     "Nothing is kept here of people who were removed.",
	"device list":        "There are no phones or laptops. Add one with hearth device add NAME.",
	"session list":       "They are signed in nowhere.",
	"friend list":        "There are no friends. Invite one with hearth friend invite.",
	"friend invitations": "No invitation is open.",
	"dns list":           "No names from outside point home. Allow one of yours with hearth dns allow DOMAIN.",
	"recover dispute":    "Nobody is suspended: who belongs is not disputed.",
	"audit":              "Nothing is written down.",
}

// person knows how one verb's answer is shown to one.
type person struct {
	tags  map[string]string // by name of the field
	order map[string]int    // of the fields, by name
	empty string            // what an empty list means
}

// learn reads the tags of t and the order of its fields, and of what it holds.
func (p person) learn(t reflect.Type) {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t.PkgPath() != reflect.TypeFor[api.Status]().PkgPath() {
		return
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if show := f.Tag.Get("show"); show != "" {
			p.tags[name] = show
		}
		if _, ok := p.order[name]; !ok {
			p.order[name] = len(p.order)
		}
		p.learn(f.Type)
	}
}

func (p person) object(w io.Writer, all object) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	scan := ""
	for _, m := range all {
		if p.tags[m.name] == "-" {
			continue
		}
		if of, ok := strings.CutPrefix(p.tags[m.name], "qr="); ok {
			if m.value != "" {
				scan = all.text(of)
			}
			continue
		}
		name := strings.ReplaceAll(m.name, "_", " ")
		if list, ok := m.value.([]any); ok && len(list) > 0 {
			fmt.Fprintf(tw, "%s:\n", name)
			tw.Flush()
			if err := p.table(w, list); err != nil {
				return err
			}
			continue
		}
		text := p.cell(m)
		if strings.Contains(text, "\n") {
			fmt.Fprintf(tw, "%s:\n%s\n", name, text)
		} else {
			fmt.Fprintf(tw, "%s:\t%s\n", name, text)
		}
	}
	if err := tw.Flush(); err != nil || scan == "" {
		return err
	}
	_, err := fmt.Fprintf(w, "\nScan this:\n\n%s", textqr.Draw(scan))
	return err
}

func (p person) table(w io.Writer, rows []any) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(w, p.empty)
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	all := p.fields(rows)
	for i, row := range rows {
		o, ok := row.(object)
		if !ok {
			fmt.Fprintf(tw, "%d\t%s\n", i+1, cell(row))
			continue
		}
		o = p.columns(o.with(all))
		cells := make([]string, len(o))
		if i == 0 {
			for j, m := range o {
				cells[j] = strings.ToUpper(strings.ReplaceAll(m.name, "_", " "))
			}
			fmt.Fprintln(tw, strings.Join(cells, "\t"))
		}
		for j, m := range o {
			cells[j] = p.cell(m)
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	return tw.Flush()
}

// fields are the names of all fields of rows, in the order of the output type: a row may lack those that are empty.
func (p person) fields(rows []any) (names []string) {
	for _, row := range rows {
		o, _ := row.(object)
		for _, m := range o {
			if !slices.Contains(names, m.name) {
				names = append(names, m.name)
			}
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return p.order[a] - p.order[b] })
	return names
}

// with is o with all these fields.
func (o object) with(names []string) object {
	out := make(object, len(names))
	for i, name := range names {
		out[i].name = name
		for _, m := range o {
			if m.name == name {
				out[i] = m
			}
		}
	}
	return out
}

// columns leaves out what is not for people and puts last what goes there.
func (p person) columns(o object) object {
	var first, last object
	for _, m := range o {
		switch p.tags[m.name] {
		case "-":
		case "last":
			last = append(last, m)
		default:
			first = append(first, m)
		}
	}
	return append(first, last...)
}

func (p person) cell(m member) string {
	switch p.tags[m.name] {
	case "time":
		if m.value == nil {
			return "never"
		}
	case "browser":
		if name := api.BrowserName(fmt.Sprint(m.value)); name != "" {
			return name
		}
		fallthrough
	case "short":
		const most = 48 // columns
		if r := []rune(cell(m.value)); len(r) > most {
			return string(r[:most-1]) + "…"
		}
	}
	return cell(m.value)
}

// cell is a value in one place of a table: a time as this computer's clock shows it. Texts come from strangers too and
// are made plain; lines are left, as a configuration has them.
func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case object:
		parts := make([]string, len(v))
		for i, m := range v {
			parts[i] = m.name + " " + cell(m.value)
		}
		return strings.Join(parts, ", ")
	case []any:
		if len(v) == 0 {
			return "-"
		}
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = cell(e)
		}
		return strings.Join(parts, " ")
	case string:
		if v == "" {
			return "-"
		}
		if at, err := time.Parse(time.RFC3339Nano, v); err == nil {
			return at.Local().Format("2006-01-02 15:04:05")
		}
		return looks.Plain(v, true)
	}
	return fmt.Sprint(v)
}

// object is a JSON object in the order of the text, which is the order of the output type's fields.
type object []member

// text is the text of a field, "" when there is none.
func (o object) text(name string) string {
	for _, m := range o {
		if t, ok := m.value.(string); ok && m.name == name {
			return t
		}
	}
	return ""
}

type member struct {
	name  string
	value any
}

func ordered(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		o := object{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			value, err := ordered(d)
			if err != nil {
				return nil, err
			}
			o = append(o, member{fmt.Sprint(name), value})
		}
		_, err := d.Token()
		return o, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			value, err := ordered(d)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err := d.Token()
		return list, err
	}
	return t, nil
}
