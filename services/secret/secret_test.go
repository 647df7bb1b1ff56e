package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"hearth.alt/services/secret"
)

func TestNothingPrintsASecret(t *testing.T) {
	const hidden = "correct horse battery"
	values := map[string]any{
		"bytes": secret.NewBytes([]byte(hidden)),
		"text":  secret.NewText(hidden),
		"shown": secret.Show(secret.NewText(hidden)),
		"inside": struct {
			B secret.Bytes
			T secret.Text
			S secret.Shown
		}{secret.NewBytes([]byte(hidden)), secret.NewText(hidden), secret.Show(secret.NewText(hidden))},
	}
	for name, v := range values {
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		outs := []string{fmt.Sprint(v), fmt.Sprintf("%v", v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v), fmt.Sprintf("%s", v), fmt.Sprintf("%q", v)}
		if name != "inside" { // a log of a struct with Shown marshals it; see TestShownMarshals
			outs = append(outs, log.String())
		}
		for _, out := range outs {
			if strings.Contains(out, hidden) || strings.Contains(out, fmt.Sprintf("%x", hidden)) || strings.Contains(out, fmt.Sprint([]byte(hidden))) {
				t.Errorf("%s printed the secret: %s", name, out)
			}
		}
	}
}

func TestShownMarshals(t *testing.T) {
	s := secret.Show(secret.NewText("word"))
	if b, err := json.Marshal(s); err != nil || string(b) != `"word"` {
		t.Errorf("Shown marshals as %s, %v; want \"word\"", b, err)
	}
	if b, err := json.Marshal(secret.NewText("word")); err != nil || string(b) != `"[redacted]"` {
		t.Errorf("Text marshals as %s, %v; want redacted", b, err)
	}
}
