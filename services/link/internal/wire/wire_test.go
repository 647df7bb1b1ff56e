package wire

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var binding = []byte("what only the two ends know")

func TestValid(t *testing.T) {
	for name, want := range map[string]bool{
		"/identity/log/v1": true, "/a/v1": true, "/org.example/x-y/v12": true,
		"": false, "/v1": false, "a/v1": false, "/a/v0": false, "/a/v01": false, "/a": false, "/A/v1": false,
		"/a//v1": false, "/-a/v1": false, "/a/v1/": false, "/a b/v1": false, "/a/v1\n": false,
		"/" + strings.Repeat("a", 60) + "/v1": true, "/" + strings.Repeat("a", 61) + "/v1": false,
	} {
		if Valid(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

// The bytes are what the package says they are.
func TestBytes(t *testing.T) {
	if got, want := AppendPropose(nil, []string{"/a/v1", "/b/v2"}), "\x02\x05/a/v1\x05/b/v2"; string(got) != want {
		t.Errorf("PROPOSE %q", got)
	}
	got := Select{Refusal: Busy}.Append(nil, binding, []byte("\x00"))
	if want := "\x03\x00\x00\x00"; string(got[:len(got)-32]) != want {
		t.Errorf("SELECT %q", got)
	}
	got = Select{Listed: []string{"/a/v1"}}.Append(nil, binding, []byte("\x00"))
	if want := "\x01\x00\x00\x01\x05/a/v1"; string(got[:len(got)-32]) != want {
		t.Errorf("SELECT %q", got)
	}
	got = Select{Mask: 6}.Append(nil, binding, []byte("\x00"))
	if want := "\x00\x00\x06\x00"; string(got[:len(got)-32]) != want {
		t.Errorf("SELECT %q", got)
	}
}

// Whoever takes a name out of a proposal, or out of the answer, is found out.
func TestStripped(t *testing.T) {
	sent := AppendPropose(nil, []string{"/x/v2", "/x/v1"})
	stripped := AppendPropose(nil, []string{"/x/v1"})
	answer := Select{Mask: 1}.Append(nil, binding, stripped)
	if _, err := ReadSelect(bytes.NewReader(answer), binding, sent, 2); !errors.Is(err, ErrTranscript) {
		t.Errorf("a stripped proposal: %v", err)
	}
	answer = Select{Mask: 3}.Append(nil, binding, sent)
	answer[2] = 2 // only the second
	if _, err := ReadSelect(bytes.NewReader(answer), binding, sent, 2); !errors.Is(err, ErrTranscript) {
		t.Errorf("a stripped answer: %v", err)
	}
	answer = Select{Mask: 3}.Append(nil, []byte("another stream"), sent)
	if _, err := ReadSelect(bytes.NewReader(answer), binding, sent, 2); !errors.Is(err, ErrTranscript) {
		t.Errorf("the answer of another stream: %v", err)
	}
}

// An answer says what its status asks for and nothing else.
func TestUnfit(t *testing.T) {
	propose := AppendPropose(nil, []string{"/x/v2", "/x/v1"})
	for name, s := range map[string]Select{
		"a name that was not proposed":  {Mask: 4},
		"a list to a proposal of names": {Listed: []string{"/x/v1"}},
		"selected and listed":           {Mask: 1, Listed: []string{"/x/v1"}},
		"refused and selected":          {Mask: 1, Refusal: Busy},
	} {
		if got, err := ReadSelect(bytes.NewReader(s.Append(nil, binding, propose)), binding, propose, 2); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func FuzzPropose(f *testing.F) {
	f.Add(AppendPropose(nil, []string{"/a/v1", "/b/v2"}))
	f.Add([]byte{0})
	f.Add([]byte{17})
	f.Add([]byte{2, 5, '/', 'a', '/', 'v', '1', 5, '/', 'a', '/', 'v', '1'})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		names, raw, err := ReadPropose(r)
		if err != nil {
			if names != nil {
				t.Error("names and an error")
			}
			return
		}
		if !bytes.Equal(raw, b[:len(b)-r.Len()]) || !bytes.Equal(AppendPropose(nil, names), raw) || len(names) > MaxNames {
			t.Errorf("%q is written otherwise", names)
		}
	})
}

func FuzzSelect(f *testing.F) {
	propose := AppendPropose(nil, []string{"/a/v1", "/b/v2"})
	f.Add(uint8(2), []byte{0, 0, 3, 0})
	f.Add(uint8(0), []byte{1, 0, 0, 1, 5, '/', 'a', '/', 'v', '1'})
	f.Add(uint8(2), []byte{3, 0, 0, 0})
	f.Fuzz(func(t *testing.T, n uint8, b []byte) {
		// The transcript is right, so that all behind it is reached.
		b = append(b, transcript(binding, propose, b)...)
		s, err := ReadSelect(bytes.NewReader(b), binding, propose, int(n%17))
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTranscript) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("another error: %v", err)
			}
			return
		}
		if s.Chosen() >= int(n%17) || len(s.Listed) > MaxListed || !slices.IsSorted(s.Listed) {
			t.Errorf("%+v", s)
		}
		again, err := ReadSelect(bytes.NewReader(s.Append(nil, binding, propose)), binding, propose, int(n%17))
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Errorf("%+v is read as %+v, %v", s, again, err)
		}
	})
}
