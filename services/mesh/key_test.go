package mesh

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"hearth.alt/services"
)

func TestNewDeviceKey(t *testing.T) {
	private, public, err := NewDeviceKey()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(private.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := publicOf(raw); err != nil || got != public {
		t.Errorf("%x, %v", got, err)
	}
	if s := fmt.Sprintf("%v %+v", private, private); strings.Contains(s, private.Reveal()) {
		t.Error("the private key prints")
	}
}

func TestParseClientKey(t *testing.T) {
	_, key, err := NewDeviceKey()
	if err != nil {
		t.Fatal(err)
	}
	_, other, _ := NewDeviceKey()
	text := base64.StdEncoding.EncodeToString(key[:])
	for _, c := range []struct{ name, text, code string }{
		{"as the app shows it", text, ""},
		{"with space around", "\n  " + text + "\t\n", ""},
		{"with its line", "PublicKey = " + text, ""},
		{"without spaces", "PublicKey=" + text, ""},
		{"with words", "My public key: " + text + " (laptop)", ""},
		{"hexadecimal", hex.EncodeToString(key[:]), ""},
		{"twice the same", text + "\n" + text, ""},
		{"nothing", "", "key-form"},
		{"a word", "hello", "key-form"},
		{"one short", text[1:], "key-form"},
		{"one long", "A" + text, "key-form"},
		{"a whole configuration", "[Interface]\nPrivateKey = " + text + "\n", "key-private"},
		{"two keys", text + "\n" + base64.StdEncoding.EncodeToString(other[:]), "key-several"},
		{"loose bits", text[:42] + "B=", "key-form"},
		{"zero", base64.StdEncoding.EncodeToString(make([]byte, 32)), "key-weak"},
		{"small order", base64.StdEncoding.EncodeToString(append([]byte{1}, make([]byte, 31)...)), "key-weak"},
	} {
		got, err := ParseClientKey(c.text)
		if c.code == "" {
			if err != nil || got != key {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		var p *services.Problem
		if !errors.As(err, &p) || p.Code != c.code || p.Field != "key" || got != (services.ClientKey{}) {
			t.Errorf("%s: %v, want %s", c.name, err, c.code)
		}
	}
}

func FuzzParseClientKey(f *testing.F) {
	f.Add("PublicKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseClientKey(s)
		if err != nil && k != (services.ClientKey{}) || err == nil && k == (services.ClientKey{}) {
			t.Fatalf("%x, %v", k, err)
		}
		if err == nil {
			if again, err := ParseClientKey(base64.StdEncoding.EncodeToString(k[:])); err != nil || again != k {
				t.Fatalf("%x reads back as %x, %v", k, again, err)
			}
		}
	})
}
