package api

import (
	"testing"

	"hearth.alt/services/discovery"
)

// The picture of an invitation opens the new box's page, whatever the boxes are called; and nobody at home can have it
// open a page of theirs under a name of their choice.
func TestNewBoxHost(t *testing.T) {
	open := func(hosts ...string) (out []discovery.Found) {
		for _, h := range hosts {
			out = append(out, discovery.Found{Kind: discovery.KindHearth, Host: h, Text: map[string]string{"claim": "1"}})
		}
		return out
	}
	for name, tt := range map[string]struct {
		own   string
		found []discovery.Found
		want  string
	}{
		"nothing is found":              {"attic.local", nil, "hearth.local"},
		"this one has the name":         {"hearth.local", nil, "hearth-2.local"},
		"one waits":                     {"attic.local", open("hearth-3.local"), "hearth-3.local"},
		"two wait":                      {"attic.local", open("hearth.local", "hearth-2.local"), "hearth.local"},
		"one says what it likes":        {"attic.local", open("evil.local"), "hearth.local"},
		"one says what it likes beside": {"hearth.local", open("hearth-2.local", "hearth.local.evil.example"), "hearth-2.local"},
		"one is claimed":                {"attic.local", []discovery.Found{{Kind: discovery.KindHearth, Host: "hearth.local"}}, "hearth.local"},
	} {
		if got := newBoxHost(tt.own, tt.found); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// What a DELETE asks besides its path goes into the query: "box remove --this-box" was dropped on its way.
func TestDocumentOfDelete(t *testing.T) {
	paths := Document()["paths"].(map[string]any)
	operation := paths[Prefix+"/boxes/{id}"].(map[string]any)["delete"].(map[string]any)
	in := map[any]any{}
	for _, p := range operation["parameters"].([]any) {
		in[p.(map[string]any)["name"]] = p.(map[string]any)["in"]
	}
	if in["id"] != "path" || in["this_box"] != "query" {
		t.Errorf("parameters are in %v", in)
	}
}
