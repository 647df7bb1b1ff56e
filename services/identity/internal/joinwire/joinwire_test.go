package joinwire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hearth.alt/services/identity/internal/record"
	"hearth.alt/services/identity/internal/spake2"
)

func frames() map[string]Frame {
	return map[string]Frame{
		"01000016" + strings.Repeat("aa", 16) + "05" + hex.EncodeToString([]byte("Attic")): Secret{[16]byte(bytes.Repeat([]byte{0xaa}, 16)), "Attic"},
		"02000041" + strings.Repeat("bb", 65):                                              Code{[65]byte(bytes.Repeat([]byte{0xbb}, 65))},
		"03000061" + strings.Repeat("bb", 65) + strings.Repeat("cc", 32):                   Share{[65]byte(bytes.Repeat([]byte{0xbb}, 65)), [32]byte(bytes.Repeat([]byte{0xcc}, 32))},
		"04000022" + strings.Repeat("dd", 32) + "0141":                                     Confirm{[32]byte(bytes.Repeat([]byte{0xdd}, 32)), "A"},
		"05000005" + "00" + "00000102":                                                     Taken{Count: 258},
		"05000025" + "01" + strings.Repeat("ee", spake2.ConfirmationSize) + "00000001":     Taken{Confirmation: bytes.Repeat([]byte{0xee}, 32), Count: 1},
		"06000007" + "0001ff" + "00020102":                                                 Records{[][]byte{{0xff}, {1, 2}}},
		"07000002" + "0604":                                                                Refused{CodeWrong, 4},
		"07000002" + "0300":                                                                Refused{Used, 0},
	}
}

// The bytes are those of the description: a change to them is a new version.
func TestFrames(t *testing.T) {
	for text, f := range frames() {
		want, _ := hex.DecodeString(text)
		if got := Append(nil, f); !bytes.Equal(got, want) {
			t.Errorf("%T: got %x\nwant %x", f, got, want)
		}
		got, err := Read(bytes.NewReader(want))
		if diff := cmp.Diff(f, got); err != nil || diff != "" {
			t.Errorf("%T: %v (-want +got)\n%s", f, err, diff)
		}
	}
}

func TestMalformed(t *testing.T) {
	for what, text := range map[string]string{
		"no kind":                   "00000000",
		"a kind of later":           "08000000",
		"more than any frame":       "06ffffff",
		"a name that is long":       "01000301" + strings.Repeat("41", 769),
		"no name":                   "01000011" + strings.Repeat("aa", 16) + "00",
		"a name that is no text":    "01000012" + strings.Repeat("aa", 16) + "01ff",
		"a name that is cut":        "01000012" + strings.Repeat("aa", 16) + "0241",
		"a share with a byte more":  "02000042" + strings.Repeat("bb", 66),
		"taken with no records":     "0500000500" + "00000000",
		"taken of another way":      "0500000502" + "00000001",
		"no records":                "06000000",
		"a record of no bytes":      "060000020000",
		"a record that is cut":      "060000030002ff",
		"a record that is too long": "06001802" + "1800" + strings.Repeat("00", 0x1800),
		"no reason":                 "070000020000",
		"tries left of nothing":     "070000020301",
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(what, err)
		}
		if f, err := Read(bytes.NewReader(b)); !errors.Is(err, ErrMalformed) || f != nil {
			t.Errorf("%s: %v, %v", what, f, err)
		}
	}
	if _, err := Read(strings.NewReader("\x07\x00\x00\x02\x01")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut: %v", err)
	}
}

func TestChunks(t *testing.T) {
	var records [][]byte
	for i := range 100 {
		records = append(records, bytes.Repeat([]byte{byte(i)}, record.MaxSize-i))
	}
	var back [][]byte
	chunks := Chunks(records)
	for _, c := range chunks {
		f, err := Read(bytes.NewReader(Append(nil, c)))
		if err != nil {
			t.Fatal(err)
		}
		back = append(back, f.(Records).Records...)
	}
	if len(chunks) < 5 || cmp.Diff(records, back) != "" {
		t.Errorf("%d chunks, and %d records come back", len(chunks), len(back))
	}
}

func FuzzRead(f *testing.F) {
	for text := range frames() {
		b, _ := hex.DecodeString(text)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		frame, err := Read(r)
		if err != nil {
			if frame != nil {
				t.Fatal("half a frame")
			}
			return
		}
		if again := Append(nil, frame); !bytes.Equal(again, b[:len(b)-r.Len()]) {
			t.Fatalf("two forms of one frame: %x and %x", b, again)
		}
	})
}
