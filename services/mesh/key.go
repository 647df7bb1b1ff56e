package mesh

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"

	"hearth.alt/services"
	"hearth.alt/services/secret"
)

// NewDeviceKey makes a key for a device that will scan it: the private half as the app writes it (44 characters of
// base64), which the box shows once and forgets, and the public half, which the household log keeps.
func NewDeviceKey() (private secret.Text, public services.ClientKey, err error) {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return secret.Text{}, services.ClientKey{}, err
	}
	return secret.NewText(base64.StdEncoding.EncodeToString(k.Bytes())), services.ClientKey(k.PublicKey().Bytes()), nil
}

// keyWord is a run that may be a key; "PublicKey=" is one too, and is not as long as one.
var keyWord = regexp.MustCompile(`[A-Za-z0-9+/]+=*`)

// ParseClientKey reads the public key that somebody copied out of their app: the key alone, or with words or a line
// around it ("PublicKey = ..."). It refuses a whole configuration, which has a private key in it, and the keys that
// make everyone's secret the same (RFC 7748, section 6.1). The error is a *services.Problem for people.
func ParseClientKey(text string) (services.ClientKey, error) {
	problem := func(code string, say services.Sentence) (services.ClientKey, error) {
		return services.ClientKey{}, &services.Problem{Kind: services.KindInvalid, Code: code, Field: "key", Say: say}
	}
	text = strings.TrimSpace(text)
	if len(text) > 4096 {
		text = text[:4096]
	}
	if strings.Contains(strings.ToLower(text), "privatekey") || strings.Contains(strings.ToLower(text), "private key") {
		return problem("key-private", services.Say("mesh.key.private",
			"This holds a private key, which must stay in your app. Copy only the line that is called public key, and make a new key in the app."))
	}
	var found []string
	for _, w := range keyWord.FindAllString(text, -1) {
		if len(w) == 44 && strings.Count(w, "=") == 1 {
			found = append(found, w)
		}
	}
	if len(found) == 0 {
		if raw, err := hex.DecodeString(text); err == nil && len(raw) == 32 {
			return checkKey(services.ClientKey(raw))
		}
		return problem("key-form", services.Say("mesh.key.form",
			"This is not a public key. Your app shows it as 44 letters, digits and signs that end with an equals sign."))
	}
	if slices.ContainsFunc(found, func(w string) bool { return w != found[0] }) {
		return problem("key-several", services.Say("mesh.key.several", "There are several keys in this text. Copy only the public key of your own app."))
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(found[0])
	if err != nil || len(raw) != 32 {
		return problem("key-form", services.Say("mesh.key.damaged", "A character of this key is wrong. Copy it again from your app."))
	}
	return checkKey(services.ClientKey(raw))
}

// checkKey refuses points of small order: with them the agreed secret is zero whatever the private key.
func checkKey(k services.ClientKey) (services.ClientKey, error) {
	public, err := ecdh.X25519().NewPublicKey(k[:])
	if err == nil {
		var probe *ecdh.PrivateKey
		if probe, err = ecdh.X25519().GenerateKey(rand.Reader); err == nil {
			_, err = probe.ECDH(public)
		}
	}
	if err != nil {
		return services.ClientKey{}, &services.Problem{Kind: services.KindInvalid, Code: "key-weak", Field: "key", Cause: err,
			Say: services.Say("mesh.key.weak", "This key protects nothing. Make a new one in your app.")}
	}
	return k, nil
}

// publicOf is the public half of a private key of 32 bytes.
func publicOf(private []byte) (services.ClientKey, error) {
	k, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		return services.ClientKey{}, err
	}
	return services.ClientKey(k.PublicKey().Bytes()), nil
}
