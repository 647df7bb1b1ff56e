package account

import (
	"bytes"
	"strings"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/secret"
)

func TestSnapshot(t *testing.T) {
	s, h := setUp(t)
	ctx := t.Context()
	app, _, err := s.CreateAppPassword(ctx, from(""), NewCredential{Person: anna, Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	in := signIn(t, s, "Anna", "")
	var snap bytes.Buffer
	if err := s.Snapshot(ctx, &snap); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(snap.String(), good) || strings.Contains(snap.String(), app.Reveal()) {
		t.Error("the snapshot holds a secret")
	}
	whole := snap.String()
	for name, cut := range map[string]string{
		"empty": "", "half": whole[:len(whole)/2], "without its end": whole[:strings.LastIndex(strings.TrimSpace(whole), "\n")+1],
		"newer": strings.Replace(whole, `"hearth-account":2`, `"hearth-account":3`, 1), "twice": whole + whole,
		"costly": strings.Replace(whole, "m=64,", "m=999999999,", 1), "a session": strings.Replace(whole, `"app-password"`, `"session"`, 1),
	} {
		if err := s.Restore(ctx, strings.NewReader(cut)); services.AsProblem(err).Code != "snapshot-damaged" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Authenticate(ctx, in.Token, ""); err != nil {
		t.Errorf("a refused snapshot changed something: %v", err)
	}

	s2, _ := open(t, h, t.TempDir())
	if err := s2.SetPassword(ctx, from(""), anna, secret.NewText("violin ocean pepper trumpet")); err != nil {
		t.Fatal(err)
	}
	if err := s2.Restore(ctx, strings.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	signIn(t, s2, "Anna", "")
	if _, err := s2.CheckBasic(ctx, "anna", app); err != nil {
		t.Error(err)
	}
	if _, err := s2.Authenticate(ctx, in.Token, ""); err == nil {
		t.Error("a session came over")
	}
	if err := s2.VerifyAudit(ctx); err != nil {
		t.Error(err)
	}
	if err := s2.ErasePerson(ctx, anna); err != nil {
		t.Error(err)
	}
	if s2.HasPassword(anna) || len(sessions(t, s2, anna)) != 0 || !s2.HasPassword(ben) {
		t.Error("erased too little or too much")
	}
	if err := s2.ErasePerson(ctx, anna); err != nil {
		t.Errorf("erasing nobody: %v", err)
	}
}

func FuzzSnapshot(f *testing.F) {
	f.Add([]byte("{\"hearth-account\":1}\n{\"password\":{\"person\":\"aaaaaaaaaaaaaaaa\",\"hash\":\"$argon2id$v=19$m=65536,t=3,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"changed\":1}}\n{\"audit-start\":{\"seq\":0,\"hash\":\"" + strings.Repeat("00", 32) + "\"}}\n{\"end\":2}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if lines, err := parseSnapshot(bytes.NewReader(b)); err != nil && lines != nil {
			t.Fatal("half a snapshot came with an error")
		}
	})
}
