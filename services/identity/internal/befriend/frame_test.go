package befriend_test

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/befriend"
)

func about() befriend.About {
	return befriend.About{
		Name:       "Jones",
		Candidates: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.7:41820"), netip.MustParseAddrPort("[2001:db8::7]:41820")},
		Peers:      []services.PeerID{{1}, {2}},
		Proof:      [][]byte{[]byte("genesis"), []byte("add-box")},
	}
}

func messages() []befriend.Message {
	return []befriend.Message{befriend.Ask{Secret: [16]byte{9}, Of: services.FriendID{8}, About: about()}, befriend.Hello{About: about()}, befriend.Welcome{About: about()}, befriend.Refusal{Code: befriend.Used}}
}

func TestReadUndoesAppend(t *testing.T) {
	for _, m := range messages() {
		b, err := befriend.Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := befriend.Read(bytes.NewReader(b))
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%x is read as %+v, %v", b, got, err)
		}
		for n := range b {
			if _, err := befriend.Read(bytes.NewReader(b[:n])); err == nil {
				t.Errorf("%d of %d bytes are a frame", n, len(b))
			}
		}
	}
}

func TestBounds(t *testing.T) {
	for name, spoil := range map[string]func(a *befriend.About){
		"no name":            func(a *befriend.About) { a.Name = "" },
		"a long name":        func(a *befriend.About) { a.Name = strings.Repeat("a", 256) },
		"no text":            func(a *befriend.About) { a.Name = "\xff" },
		"nine candidates":    func(a *befriend.About) { a.Candidates = make([]netip.AddrPort, 9) },
		"a candidate twice":  func(a *befriend.About) { a.Candidates[1] = a.Candidates[0] },
		"no port":            func(a *befriend.About) { a.Candidates[0] = netip.MustParseAddrPort("192.0.2.7:0") },
		"no peers":           func(a *befriend.About) { a.Peers = nil },
		"peers out of order": func(a *befriend.About) { a.Peers[1] = a.Peers[0] },
		"nine peers":         func(a *befriend.About) { a.Peers = make([]services.PeerID, 9) },
		"no proof":           func(a *befriend.About) { a.Proof = a.Proof[:1] },
		"an empty record":    func(a *befriend.About) { a.Proof[0] = nil },
		"a long record":      func(a *befriend.About) { a.Proof[0] = make([]byte, 8193) },
		"a long proof":       func(a *befriend.About) { a.Proof = make([][]byte, 65) },
	} {
		a := about()
		spoil(&a)
		if _, err := befriend.Append(nil, befriend.Hello{About: a}); !errors.Is(err, befriend.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{
		"empty":        {0, 0, 0, 0},
		"too long":     {0, 1, 0, 1},
		"kind 5":       {0, 0, 0, 2, 5, 0},
		"code 0":       {0, 0, 0, 2, 4, 0},
		"one too many": {0, 0, 0, 3, 4, 1, 1},
	} {
		if _, err := befriend.Read(bytes.NewReader(b)); !errors.Is(err, befriend.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, m := range messages() {
		b, err := befriend.Append(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		m, err := befriend.Read(r)
		if err != nil {
			return
		}
		rest, _ := io.ReadAll(r)
		again, err := befriend.Append(nil, m)
		if err != nil || !bytes.Equal(again, b[:len(b)-len(rest)]) {
			t.Fatalf("%x is written as %x, %v", b, again, err)
		}
	})
}
