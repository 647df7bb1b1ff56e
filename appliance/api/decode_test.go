package api

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"hearth.alt/services"
)

func operation(t testing.TB, name string) *Operation {
	t.Helper()
	for _, o := range Table() {
		if o.Name == name {
			return &o
		}
	}
	t.Fatalf("there is no %q", name)
	return nil
}

func TestDecodeTakesWhatIsMeant(t *testing.T) {
	o := operation(t, "person add")
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(` {"role":"guest", "name":"Eve \ud83d\ude00", "lan":"yes"} `))
	in, err := decode(o, httptest.NewRecorder(), r)
	if err != nil {
		t.Fatal(err)
	}
	if want := (&AddPersonInput{Name: "Eve 😀", Role: services.RoleGuest, LAN: "yes"}); !reflect.DeepEqual(in, want) {
		t.Errorf("decoded %+v, want %+v", in, want)
	}
	words := operation(t, "recover check")
	r = httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(`{"words":["abandon","ability"]}`))
	if in, err := decode(words, httptest.NewRecorder(), r); err != nil || len(in.(*WordsInput).Words) != 2 {
		t.Errorf("a list: %+v, %v", in, err)
	}
}

// FuzzDecode says that no body makes the decoder panic, that every refusal is one about the input, and that what is
// taken was text without a name given twice.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"name":"Eve","role":"guest"}`, `{"name":"Eve","role":"guest","role":"owner"}`, `{"words":["a"]}`, `[[[[[[`, `{"a":{"b":{"c":{"d":{}}}}}`, "null", `{"name":1e999}`, "\xff", `{"id":"x","name":""}`} {
		f.Add(s)
	}
	table := Table()
	f.Fuzz(func(t *testing.T, body string) {
		for i := range table {
			o := &table[i]
			if o.Method != http.MethodPost {
				continue
			}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
			r.SetPathValue("id", "aaaaaaaaaaaaaaaa")
			in, err := decode(o, httptest.NewRecorder(), r)
			if err != nil {
				var p *services.Problem
				if !errors.As(err, &p) || p.Kind != services.KindInvalid || p.Say.IsZero() {
					t.Fatalf("%s refuses %q with %v", o.Name, body, err)
				}
				continue
			}
			if !utf8.ValidString(body) {
				t.Fatalf("%s takes %q, which is no text", o.Name, body)
			}
			if reflect.TypeOf(in).Elem() != o.In() {
				t.Fatalf("%s decodes to %T", o.Name, in)
			}
			if strings.Count(body, `"role"`) > 1 && !strings.Contains(body, `\"`) && o.Name == "person add" && strings.Count(body, `"role":`) > 1 {
				t.Fatalf("%s takes a name given twice: %q", o.Name, body)
			}
		}
	})
}
