package statement

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hearth.alt/services"
)

func key(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

func sign(k ed25519.PrivateKey, s *Statement) *Row {
	w := services.PeerID(k.Public().(ed25519.PublicKey))
	return &Row{Statement: s, Writer: w, Signature: ed25519.Sign(k, Message(w, s))}
}

func examples() []*Row {
	password := &Statement{Kind: Password, Person: "aaaaaaaaaaaaaaaa", Number: 3, Memory: 65536, Passes: 3, Lanes: 1, Over: []ID{{1}, {2}}}
	password.Salt[0], password.Key[31] = 7, 9
	app := &Statement{Kind: App, Person: "bbbbbbbbbbbbbbbb", Credential: "cccccccccccccccc", Device: "dddddddddddddddd", Role: services.RoleMember, Created: 1_800_000_000, Name: "Küche", Scope: "dav"}
	app.Hash[0] = 5
	token := &Statement{Kind: Token, Person: "bbbbbbbbbbbbbbbb", Credential: "eeeeeeeeeeeeeeee", Role: services.RoleOwner, Created: 1, Expires: 2}
	out := []*Row{sign(key(1), password), sign(key(2), app), sign(key(2), token)}
	out[2].Ended = true
	return out
}

func frames() []byte {
	b, _ := AppendRows(nil, examples())
	b = AppendHave(b, []Have{{Mark: Mark{1}}, {Mark: Mark{2}, Ended: true}})
	return AppendEnd(AppendHave(b, nil))
}

func TestFormat(t *testing.T) {
	r := bytes.NewReader(frames())
	var got []Frame
	for {
		f, err := Read(r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, f)
	}
	want := []Frame{{Rows: examples()}, {Have: []Have{{Mark: Mark{1}}, {Mark: Mark{2}, Ended: true}}, Last: true}, {Last: true}, {End: true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for i, row := range got[0].Rows {
		if !row.Genuine() {
			t.Errorf("row %d is not genuine", i)
		}
		row.Writer[0]++
		if row.Genuine() {
			t.Errorf("row %d is genuine of another writer", i)
		}
	}
	// The bytes are the format: a change of them is another protocol.
	if got := hex.EncodeToString(examples()[1].Append(nil)); got != "0262626262626262626262626262626262"+strings.Repeat("63", 16)+strings.Repeat("64", 16)+"02"+"05"+strings.Repeat("00", 31)+"000000006b49d200"+strings.Repeat("00", 8)+"0006"+"4bc3bc636865"+"03"+"646176" {
		t.Errorf("an app password is %s", got)
	}
	if got := len(examples()[0].Append(nil)); got != 1+16+8+4+4+1+16+32+1+2*16 {
		t.Errorf("a password has %d bytes", got)
	}
}

func TestID(t *testing.T) {
	a, b := *examples()[0].Statement, *examples()[0].Statement
	b.Number++
	if a.ID() != b.ID() || !b.Newer(&a) || a.Newer(&b) || a.Newer(&a) {
		t.Error("the number is a part of what it says, or does not decide")
	}
	b = a
	b.Over = b.Over[:1]
	if a.ID() == b.ID() || a.Newer(&b) == b.Newer(&a) {
		t.Error("two that say different things are one, or neither is newer")
	}
}

func TestLongLists(t *testing.T) {
	list := make([]Have, 2*maxHave+1)
	for i := range list {
		binary.BigEndian.PutUint32(list[i].Mark[:], uint32(i))
	}
	r := bytes.NewReader(AppendHave(nil, list))
	var got []Have
	for n := 1; ; n++ {
		f, err := Read(r)
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, f.Have...); f.Last {
			if n != 3 || r.Len() != 0 {
				t.Errorf("%d frames, %d bytes left", n, r.Len())
			}
			break
		}
	}
	if diff := cmp.Diff(list, got); diff != "" {
		t.Error(diff)
	}
	rows := examples()
	for len(rows) < 1000 {
		rows = append(rows, rows...)
	}
	for n := 0; len(rows) > 0; n++ {
		var b []byte
		b, rows = AppendRows(nil, rows)
		if _, err := Read(bytes.NewReader(b)); err != nil || len(b) > maxPayload || n > 100 {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
	}
}

func TestBadInput(t *testing.T) {
	row := func(change func([]byte)) []byte {
		b, _ := AppendRows(nil, examples()[1:2])
		change(b)
		return b
	}
	long := AppendEnd(nil)
	binary.BigEndian.PutUint32(long[1:], maxPayload+1)
	ended := examples()[0]
	ended.Ended = true
	endedPassword, _ := AppendRows(nil, []*Row{ended})
	const body = headSize + 1 + 32 + 2
	for name, b := range map[string][]byte{
		"unknown kind": {9, 0, 0, 0, 0}, "no rows": {kindRows, 0, 0, 0, 0}, "END with something": {kindEnd, 0, 0, 0, 1, 0}, "too long": long,
		"half a mark": {kindHave, 0, 0, 0, 3, 1, 0, 0}, "neither last nor not": {kindHave, 0, 0, 0, 1, 2}, "a password that has ended": endedPassword,
		"neither ended nor not":   row(func(b []byte) { b[headSize] = 2 }),
		"kind of statement":       row(func(b []byte) { b[body] = 4 }),
		"person":                  row(func(b []byte) { b[body+1] = '!' }),
		"device":                  row(func(b []byte) { b[body+1+32] = 0 }),
		"role":                    row(func(b []byte) { b[body+1+48] = 9 }),
		"made before time":        row(func(b []byte) { b[body+1+49+32] = 0xff }),
		"name longer than itself": row(func(b []byte) { b[body+1+49+32+16+1] = 200 }),
		"name is not text":        row(func(b []byte) { b[body+1+49+32+16+2] = 0xff }),
	} {
		if _, err := Read(bytes.NewReader(b)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	whole := frames()
	for n := 1; n < headSize+10; n++ {
		if _, err := Read(bytes.NewReader(whole[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(frames())
	f.Add([]byte{kindRows, 0, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		for {
			at := len(b) - r.Len()
			got, err := Read(r)
			if err != nil {
				if got.Have != nil || got.Rows != nil {
					t.Fatal("half a frame came with an error")
				}
				return
			}
			var again []byte
			switch {
			case got.End:
				again = AppendEnd(nil)
			case got.Rows != nil:
				again = append(again, kindRows, 0, 0, 0, 0)
				for _, row := range got.Rows {
					again = row.appendRow(again)
				}
				binary.BigEndian.PutUint32(again[1:], uint32(len(again)-headSize))
			default:
				again = AppendHave(nil, got.Have)
				again[headSize] = flag(got.Last)
			}
			if !bytes.Equal(again, b[at:len(b)-r.Len()]) {
				t.Fatalf("read %x, written %x", b[at:len(b)-r.Len()], again)
			}
		}
	})
}
