package vm

import (
	"strings"
	"testing"
)

// TestGuide names a bug: make vm printed an address that the box refuses, before all that a boot says.
func TestGuide(t *testing.T) {
	var out strings.Builder
	g := &guide{to: &out, web: "127.0.0.1:44145"}
	if how := g.how(); !strings.Contains(how, "http://hearth.local:44145/ ") || !strings.Contains(how, "127.0.0.1 hearth.local") {
		t.Errorf("at the start: %s", how)
	}
	said := "hearth: http://hearth.local/#7QK4-M2VX-9TRD-HC6P\r\nhearth ready http=[::]:80 claim=http://[::]:80/\r\n"
	for _, b := range []byte(said + said) {
		if n, err := g.Write([]byte{b}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := out.String(); strings.Count(got, "Open http://hearth.local:44145/#7QK4-M2VX-9TRD-HC6P with") != 1 || !strings.HasPrefix(got, said) {
		t.Errorf("when it is ready:\n%s", got)
	}
}
