package components

import (
	"hash/fnv"
	"strconv"
	"strings"
	"unicode"

	"github.com/a-h/templ"

	"hearth.alt/services"
	"hearth.alt/webui/assets"
	"hearth.alt/webui/house"
	"hearth.alt/webui/internal/web"
)

// States says how s is called in classes, signs and message keys.
func stateName(s house.State) string {
	switch s {
	case house.StateGood:
		return "good"
	case house.StateOff:
		return "off"
	case house.StateWait:
		return "wait"
	case house.StateCare:
		return "care"
	}
	return "act"
}

func stateClass(s house.State) string { return "state " + stateName(s) }
func stateIcon(s house.State) string  { return assets.Path("icons.svg") + "#s-" + stateName(s) }
func iconPath(name string) string     { return assets.Path("icons.svg") + "#i-" + name }

// tinted adds the class that colours a box by its state; a good one has none.
func tinted(class string, s house.State) string {
	switch s {
	case house.StateCare, house.StateAct:
		return class + " " + stateName(s)
	}
	return class
}

// Field is a label, a hint, an input and what is wrong with it.
type Field struct {
	Name, Label, Hint string
	Type              string // "" is "text"
	Value             string // never of a password
	Auto              string // autocomplete, "" is "off"
	Mode              string // inputmode
	Capitals          string // autocapitalize
	Class             string // besides "input"
	Max               int    // maxlength, 0 is 200
	Optional          bool
	Fragment          bool // takes the code from the address
	Invitation        bool // takes the invitation of another box that the address brought
	Rows              int  // more than 0 makes a textarea
}

func (f Field) kind() string {
	if f.Type == "" {
		return "text"
	}
	return f.Type
}

func (f Field) auto() string {
	if f.Auto == "" {
		return "off"
	}
	return f.Auto
}

func (f Field) max() string {
	if f.Max == 0 {
		return "200"
	}
	return strconv.Itoa(f.Max)
}

func (f Field) class() string { return strings.TrimSpace("input " + f.Class) }

func (f Field) describedBy(wrong bool) string {
	var ids []string
	if f.Hint != "" {
		ids = append(ids, f.Name+"-hint")
	}
	if wrong {
		ids = append(ids, f.Name+"-error")
	}
	return strings.Join(ids, " ")
}

func (f Field) attributes(wrong bool) templ.Attributes {
	a := templ.Attributes{}
	if d := f.describedBy(wrong); d != "" {
		a["aria-describedby"] = d
	}
	if wrong {
		a["aria-invalid"] = "true"
	}
	if f.Mode != "" {
		a["inputmode"] = f.Mode
	}
	if f.Capitals != "" {
		a["autocapitalize"] = f.Capitals
		a["spellcheck"] = "false"
	}
	if f.Fragment {
		a["data-fragment"] = true
	}
	if f.Invitation {
		a["data-invitation"] = true
	}
	if !f.Optional {
		a["required"] = true
	}
	return a
}

func fieldClass(wrong bool) string {
	if wrong {
		return "field wrong"
	}
	return "field"
}

// Choice is one of several, with a sentence about it.
type Choice struct {
	Value, Label, Hint string
	Checked            bool
}

// Row is one line of "the house".
type Row struct {
	State house.State
	Name  string
	Path  string // the page about it, "" for none
	Say   string // HTML
}

// Worded says whether any row has a word besides its sign.
func Worded(rows []Row) bool {
	for _, r := range rows {
		if r.State != house.StateGood {
			return true
		}
	}
	return false
}

func rowsClass(rows []Row) string {
	if Worded(rows) {
		return "rows worded"
	}
	return "rows"
}

// Trouble is something not well, in four parts; any of them may be "". All but ID and Link are HTML.
type Trouble struct {
	ID                   string
	State                house.State
	What, Why, Means, Do string
	Link, Label          string
}

// Fact is a name and what it is; Value is HTML.
type Fact struct{ Label, Value string }

// Confirm is a question of its own page.
type Confirm struct {
	Question            string // HTML
	Stops, Stays, Undo  string // HTML
	Do, Keep, KeepPath  string
	Field, FieldContent string // a hidden field, if any
}

// Crumb is the page above this one.
type Crumb struct{ Path, Name string }

// place is one line of the menu.
type place struct{ path, icon, key string }

func everyday(services.Role) []place {
	return []place{{"/apps", "shield-check", "nav.apps"}}
}

func thehouse(r services.Role) []place {
	p := []place{{"/devices", "smartphone", "nav.devices"}}
	if r >= services.RoleMember {
		p = append(p, place{"/people", "users", "nav.people"}, place{"/boxes", "house", "nav.boxes"}, place{"/friends", "handshake", "nav.friends"}, place{"/network", "route", "nav.network"})
	}
	return p
}

func current(pg *web.Page, path string) templ.Attributes {
	if pg.Nav == path {
		return templ.Attributes{"aria-current": "page"}
	}
	return nil
}

// Letter is the first letter of a name, for a face.
func Letter(name string) string {
	for _, r := range name {
		return string(unicode.ToUpper(r))
	}
	return "?"
}

// faceClass gives each name one of four tiles.
func faceClass(name string) string {
	h := fnv.New32a()
	h.Write([]byte(name))
	return [...]string{"face", "face b", "face c", "face d"}[h.Sum32()%4]
}

func title(pg *web.Page) string {
	switch {
	case pg.Errors.Any():
		return pg.T("title.error", "page", pg.Title)
	case pg.Flash != nil && !pg.Flash.Say.IsZero():
		return pg.T("title.done", "said", pg.Say(pg.Flash.Say))
	}
	return pg.T("title.page", "page", pg.Title)
}

func shellClass(pg *web.Page) string {
	if pg.Steps != nil {
		return "shell porch"
	}
	return "shell"
}

func stepClass(pg *web.Page, i int) string {
	if i+1 < pg.Steps.At {
		return "done"
	}
	return ""
}

func stepAttributes(pg *web.Page, i int) templ.Attributes {
	if i+1 == pg.Steps.At {
		return templ.Attributes{"aria-current": "step"}
	}
	return nil
}

func smooth(pg *web.Page) bool { return pg.Smooth && !web.Sealed(pg.R.Context()) }

func seal(pg *web.Page) string {
	if !pg.Seal {
		return ""
	}
	return assets.Path("seal.js")
}

func percent(part, whole int64) string {
	if whole <= 0 {
		return "0"
	}
	return strconv.FormatFloat(100*float64(part)/float64(whole), 'f', 1, 64)
}

func roleKey(r services.Role) string { return "role." + r.String() }

func currentLanguage(pg *web.Page, tag string) templ.Attributes {
	if pg.Language.Tag == tag {
		return templ.Attributes{"aria-current": "true"}
	}
	return nil
}

func breakable(print string) string {
	return strings.ReplaceAll(templ.EscapeString(print), ":", ":<wbr>")
}
