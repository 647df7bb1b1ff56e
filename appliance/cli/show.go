package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
)

// show writes an answer for a person: a list of things as a table, one thing as name and value, words one a line.
func show(w io.Writer, out []byte) error {
	d := json.NewDecoder(bytes.NewReader(out))
	d.UseNumber()
	v, err := ordered(d)
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case object:
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, m := range v {
			switch inner := m.value.(type) {
			case []any:
				fmt.Fprintf(tw, "%s:\n", m.name)
				tw.Flush()
				if err := table(w, inner); err != nil {
					return err
				}
			case object:
				fmt.Fprintf(tw, "%s:\t%s\n", m.name, cell(inner))
			default:
				text := cell(m.value)
				if strings.Contains(text, "\n") {
					fmt.Fprintf(tw, "%s:\n%s\n", m.name, text)
				} else {
					fmt.Fprintf(tw, "%s:\t%s\n", m.name, text)
				}
			}
		}
		return tw.Flush()
	case []any:
		return table(w, v)
	default:
		_, err := fmt.Fprintln(w, cell(v))
		return err
	}
}

func table(w io.Writer, rows []any) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, row := range rows {
		o, ok := row.(object)
		if !ok {
			fmt.Fprintf(tw, "%d\t%s\n", i+1, cell(row))
			continue
		}
		if i == 0 {
			for _, m := range o {
				fmt.Fprintf(tw, "%s\t", strings.ToUpper(m.name))
			}
			fmt.Fprintln(tw)
		}
		for _, m := range o {
			fmt.Fprintf(tw, "%s\t", cell(m.value))
		}
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}

// cell writes a value in one place of a table. Texts come from strangers too: what would move the cursor, change colours
// or turn the order of letters is shown as a question mark. Lines are left, as a configuration has them.
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
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = cell(e)
		}
		return strings.Join(parts, " ")
	case string:
		if v == "" {
			return "-"
		}
		return strings.Map(func(r rune) rune {
			joiner := r == '\u200c' || r == '\u200d' // within emoji, and in words of Persian and Hindi
			if r != '\n' && !joiner && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
				return '?'
			}
			return r
		}, v)
	}
	return fmt.Sprint(v)
}

// object is a JSON object in the order of the text, which is the order of the output type's fields.
type object []member

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
