package pages

import "testing"

// TestTunnelName names the bug: "Jörg's phone" became Jrgs-phone.
func TestTunnelName(t *testing.T) {
	for name, want := range map[string]string{
		"Jörg's phone": "Joergs-phone", "Östen": "Oesten", "Straße 7": "Strasse-7", "ÅÄÖ": "AaAeOe", "手机": "home", "Éloïse’s": "Eloises",
		"Jürgen Großmanns Telefon": "Juergen-Grossma", "a.b-c_d": "a.b-c_d", "": "home",
	} {
		if got := tunnelName(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
