package api

import "testing"

// TestDomain names the bug: nas.müller.de came back as nas.xn--mller-kva.de.
func TestDomain(t *testing.T) {
	for ascii, want := range map[string]string{
		"nas.xn--mller-kva.de": "nas.müller.de",
		"xn--strae-oqa.de":     "straße.de",
		"nas.example.com":      "nas.example.com",
		"xn--80ak6aa92e.com":   "xn--80ak6aa92e.com", // Cyrillic that reads "apple"
		"xn--a.de":             "xn--a.de",
		"xn--mller-KVA.de":     "xn--mller-KVA.de",
	} {
		if got := Domain(ascii); got != want {
			t.Errorf("%s: %q, want %q", ascii, got, want)
		}
	}
}
