package claimcode_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"hearth.alt/services/claimcode"
)

var update = flag.Bool("update", false, "write the golden files anew")

func must(t testing.TB, text string) claimcode.Code {
	t.Helper()
	c, err := claimcode.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestParse(t *testing.T) {
	const want = "7QK4-M2VX-9TRD-HC6P"
	words := strings.Join(must(t, want).Words(), " ")
	for name, text := range map[string]string{
		"as printed":        want,
		"small":             strings.ToLower(want),
		"no dashes":         "7QK4M2VX9TRDHC6P",
		"odd groups":        " 7qk 4m2-vx9_trd hc6p\r\n",
		"dashes of a phone": "7QK4\u2013M2VX\u20149TRD\u2011HC6P",
		"words":             words,
		"shouted words":     strings.ToUpper(words),
		"words with commas": strings.ReplaceAll(words, " ", ", "),
		"words on lines":    strings.ReplaceAll(words, " ", "\n"),
	} {
		c, err := claimcode.Parse(text)
		if err != nil || c.Text() != want {
			t.Errorf("%s: %v, %v; want %s", name, c.Text(), err, want)
		}
	}
	if got := must(t, "oOiI-lL00-0000-0001").Text(); got != "0011-1100-0000-0001" {
		t.Errorf("look-alikes read as %s", got)
	}
}

func TestParseErrorsNameThePlace(t *testing.T) {
	good := must(t, "7QK4-M2VX-9TRD-HC6P").Words()
	with := func(i int, w string) string {
		ws := append([]string(nil), good...)
		ws[i] = w
		return strings.Join(ws, " ")
	}
	swapped := append([]string(nil), good...)
	swapped[0], swapped[1] = swapped[1], swapped[0]
	for name, tc := range map[string]struct {
		text string
		want claimcode.ParseError
	}{
		"nothing":     {" - ", claimcode.ParseError{Reason: claimcode.ReasonEmpty}},
		"short":       {"7QK4-M2VX-9TRD-HC6", claimcode.ParseError{Reason: claimcode.ReasonLength, Count: 15, Want: 16}},
		"long":        {"7QK4M2VX9TRDHC6PP", claimcode.ParseError{Reason: claimcode.ReasonLength, Count: 17, Want: 16}},
		"the letter":  {"7QK4-M2VX-9TUD-HC6P", claimcode.ParseError{Reason: claimcode.ReasonLetter, Position: 3, Text: "9TUD", Letter: 'U'}},
		"umlaut":      {"7QK4M2VX9TRDHC6Ä", claimcode.ParseError{Reason: claimcode.ReasonLetter, Position: 4, Text: "HC6Ä", Letter: 'Ä'}},
		"long s":      {"7QK4M2VX9TRDHC6\u017f", claimcode.ParseError{Reason: claimcode.ReasonLetter, Position: 4, Text: "HC6\u017f", Letter: '\u017f'}},
		"seven words": {strings.Join(good[:7], " "), claimcode.ParseError{Reason: claimcode.ReasonWordCount, Count: 7, Want: 8}},
		"no such":     {with(4, "hearthy"), claimcode.ParseError{Reason: claimcode.ReasonWord, Position: 5, Text: "hearthy"}},
		"other word":  {with(7, "zoo"), claimcode.ParseError{Reason: claimcode.ReasonChecksum}},
		"swapped":     {strings.Join(swapped, " "), claimcode.ParseError{Reason: claimcode.ReasonChecksum}},
		"a book":      {strings.Repeat("abandon ", 100), claimcode.ParseError{Reason: claimcode.ReasonLength, Count: 800, Want: 16}},
		"all zero":    {"0000-0000-0000-0000", claimcode.ParseError{Reason: claimcode.ReasonEmpty}},
	} {
		c, err := claimcode.Parse(tc.text)
		var pe *claimcode.ParseError
		if !errors.As(err, &pe) || !c.IsZero() {
			t.Errorf("%s: %v, %v; want a ParseError and no code", name, c.Text(), err)
			continue
		}
		if diff := cmp.Diff(tc.want, *pe); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if pe.Text != "" && strings.Contains(err.Error(), pe.Text) {
			t.Errorf("%s: the error repeats what was typed: %v", name, err)
		}
	}
}

func TestNothingPrintsACode(t *testing.T) {
	c := must(t, "7QK4-M2VX-9TRD-HC6P")
	raw := []byte{0x3d, 0xe6, 0x4a} // how the code begins, as %d and %x would show it
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "code", c, "in", struct{ C claimcode.Code }{c})
	js, _ := json.Marshal(map[string]any{"c": c, "p": &c})
	outs := []string{log.String(), string(js)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%o"} {
		outs = append(outs, fmt.Sprintf(verb, c), fmt.Sprintf(verb, &c), fmt.Sprintf(verb, struct{ C claimcode.Code }{c}))
	}
	for _, out := range outs {
		for _, bad := range []string{"7QK4", "HC6P", c.Words()[0], fmt.Sprint(raw[0]) + " " + fmt.Sprint(raw[1]), hex.EncodeToString(raw)} {
			if strings.Contains(out, bad) {
				t.Errorf("printed the code: %s", out)
			}
		}
	}
}

func TestNewDiffers(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		c := claimcode.New()
		if seen[c.Text()] || c.IsZero() {
			t.Fatal("a code came twice")
		}
		seen[c.Text()] = true
		if back := must(t, strings.Join(c.Words(), " ")); !back.Equal(c) {
			t.Fatal("words are not the code")
		}
	}
	if (claimcode.Code{}).Equal(claimcode.Code{}) {
		t.Error("no code equals no code: an absent secret would open the box")
	}
}

// TestDerived pins all that sheets already printed rely on.
func TestDerived(t *testing.T) {
	var out strings.Builder
	for _, text := range []string{"7QK4-M2VX-9TRD-HC6P", "0000-0000-0000-0001", "ZZZZ-ZZZZ-ZZZZ-ZZZZ"} {
		c := must(t, text)
		cert, err := c.Certificate()
		if err != nil {
			t.Fatal(err)
		}
		again, _ := c.Certificate()
		if !bytes.Equal(cert.Certificate[0], again.Certificate[0]) {
			t.Fatal("the same code gave two certificates")
		}
		f := claimcode.FingerprintOf(cert.Certificate[0])
		fmt.Fprintf(&out, "code  %s\nwords %s\nurl   %s\npsk   %x\nshort %s\nfull  %s\nder   %x\n\n", c.Text(), strings.Join(c.Words(), " "), c.URL(""), c.PSK().Reveal(), f.Short(), f, cert.Certificate[0])
	}
	golden(t, "derived.golden", []byte(out.String()))
	sheet, err := must(t, "7QK4-M2VX-9TRD-HC6P").Sheet("")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "sheet.golden", []byte(sheet))
	for line := range strings.Lines(sheet) {
		if n := utf8.RuneCountInString(line); n > 81 {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
}

func TestSheetIsReadBack(t *testing.T) {
	c := claimcode.New()
	sheet, err := c.Sheet("hearth.local")
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]string{
		"as written": sheet, "from Windows": "\ufeff" + strings.ReplaceAll(sheet, "\n", "\r\n"), "with a note above": "my box\n\n" + sheet,
	} {
		if got, err := claimcode.ParseSheet([]byte(s)); err != nil || !got.Equal(c) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, s := range map[string]string{"empty": "", "other": "hello", "huge": sheet + strings.Repeat("x", 20000)} {
		if _, err := claimcode.ParseSheet([]byte(s)); !errors.Is(err, claimcode.ErrNoCode) {
			t.Errorf("%s: %v, want ErrNoCode", name, err)
		}
	}
	if _, err := (claimcode.Code{}).Sheet(""); err == nil {
		t.Error("a sheet without a code was written")
	}
}

// TestHandshake shows that a TLS client which pins the fingerprint gets through.
func TestHandshake(t *testing.T) {
	c := claimcode.New()
	cert, err := c.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	if err := cert.Leaf.VerifyHostname(claimcode.Host); err != nil {
		t.Error(err)
	}
	if err := cert.Leaf.CheckSignature(x509.ECDSAWithSHA256, cert.Leaf.RawTBSCertificate, cert.Leaf.Signature); err != nil {
		t.Error(err)
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go tls.Server(a, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake()
	roots := x509.NewCertPool()
	roots.AddCert(cert.Leaf)
	if err := tls.Client(b, &tls.Config{ServerName: claimcode.Host, RootCAs: roots}).Handshake(); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	c, _ := claimcode.Parse("7QK4-M2VX-9TRD-HC6P")
	f.Add(c.Text())
	f.Add(strings.Join(c.Words(), " "))
	f.Add("oOiI-lL00-0000-0001")
	f.Add("able able able able")
	f.Add("\u017f\u212a\u2011")
	f.Add("Hearth claim code: 7QK4-M2VX-9TRD-HC6P")
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func(string) (claimcode.Code, error){claimcode.Parse, func(s string) (claimcode.Code, error) { return claimcode.ParseSheet([]byte(s)) }} {
			c, err := parse(s)
			if err != nil {
				if !c.IsZero() {
					t.Fatal("half a code came with an error")
				}
				continue
			}
			if c.IsZero() {
				t.Fatal("no code came without an error")
			}
			if d, err := claimcode.Parse(c.Text()); err != nil || !d.Equal(c) {
				t.Fatalf("text does not read back: %v", err)
			}
			if d, err := claimcode.Parse(strings.Join(c.Words(), "-")); err != nil || !d.Equal(c) {
				t.Fatalf("words do not read back: %v", err)
			}
		}
	})
}
