package record_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
)

var update = flag.Bool("update", false, "write the golden file anew")

const (
	person services.PersonID = "abcdefghijklmnop"
	device services.DeviceID = "qrstuvwxyz234567"
)

var (
	rootKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))
	boxKey  = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32))
	root    = record.Root(rootKey.Public().(ed25519.PublicKey))
	boxID   = services.PeerID(boxKey.Public().(ed25519.PublicKey))
	at      = time.Unix(1_795_000_000, 0).UTC()
)

func signer(key ed25519.PrivateKey) func([]byte) ([]byte, error) {
	return func(message []byte) ([]byte, error) { return ed25519.Sign(key, message), nil }
}

// everyPayload holds one of each.
func everyPayload() []record.Payload {
	return []record.Payload{
		record.Genesis{Name: "Smith", Label: "smith", Net4: netip.MustParsePrefix("10.77.5.0/24"), Net6: netip.MustParsePrefix("fd5a:1:2::/48"), NextRoot: [32]byte{3}},
		record.AddBox{Box: boxID, Name: "Küche", Label: "kueche", Host: 1},
		record.AddPerson{Person: person, Name: "Zoë", Role: services.RoleOwner, LAN: true},
		record.SetRole{Person: person, Role: services.RoleGuest},
		record.RenamePerson{Person: person, Name: "Ann"},
		record.ActivatePerson{Person: person},
		record.SetLAN{Person: person, LAN: true},
		record.RemovePerson{Person: person},
		record.AddDevice{Device: device, Person: person, Name: "Phone", Key: services.ClientKey{9}, Host: 2, Expires: at.Add(10 * time.Minute)},
		record.ActivateDevice{Device: device},
		record.RenameDevice{Device: device, Name: "Old phone"},
		record.RemoveDevice{Device: device},
		record.Unknown{Code: 200, Bytes: []byte("later")},
		record.AddFriend{
			Friend: services.FriendID{4}, Count: 1, Petname: "The Joneses", Nickname: "Jones", Peers: []services.PeerID{{5}, {6}},
			Grants: []services.Grant{{Kind: services.GrantRelay}, {Kind: services.GrantStore, Bytes: 10 * 1000 * services.Megabyte}}, Until: at.Add(services.MaxGrantLife),
		},
		record.RenameFriend{Friend: services.FriendID{4}, Count: 1, Petname: "Jones"},
		record.UpdateFriend{Friend: services.FriendID{4}, Count: 1, Nickname: "Jønes", Peers: []services.PeerID{{5}}},
		record.SetGrants{Friend: services.FriendID{4}, Count: 1, Number: 2},
		record.RemoveFriend{Friend: services.FriendID{4}, Count: 1},
		record.SetLeaving{Person: person, Number: 1, Then: services.ThenErase},
	}
}

// chain seals one of each payload, each the child of the one before.
func chain(t testing.TB) []*record.Record {
	t.Helper()
	var out []*record.Record
	for i, p := range everyPayload() {
		r := record.Record{Author: record.Box(boxID), Sequence: uint64(i), Time: at.Add(time.Duration(i) * time.Second), Payload: p}
		key := boxKey
		if i < 2 {
			r.Author, r.Sequence, key = root, uint64(i+1), rootKey
		} else if i%2 == 0 {
			r.By = person
		} else {
			r.By, r.Via = person, device
		}
		if i > 0 {
			r.Parents = []record.ID{out[i-1].ID()}
		}
		sealed, err := record.Seal(r, signer(key))
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		out = append(out, sealed)
	}
	return out
}

func TestParseUndoesFormat(t *testing.T) {
	for _, r := range chain(t) {
		b, err := record.Format(r)
		if err != nil || !bytes.Equal(b, r.Bytes()) {
			t.Fatalf("%s: formatted as %x, %v; sealed as %x", r.Op(), b, err, r.Bytes())
		}
		got, err := record.Parse(b)
		if err != nil {
			t.Fatalf("%s: %v", r.Op(), err)
		}
		if !reflect.DeepEqual(got, r) {
			t.Errorf("%s: parsed as %+v, want %+v", r.Op(), got, r)
		}
		if err := got.Verify(); err != nil {
			t.Errorf("%s: %v", r.Op(), err)
		}
	}
}

// The bytes on disk and on the wire may never change: boxes of different years must read one another's logs.
func TestBytesAreGolden(t *testing.T) {
	var b strings.Builder
	for _, r := range chain(t) {
		fmt.Fprintf(&b, "%s %s\n%s\n", r.Op(), r.ID(), hex.EncodeToString(r.Bytes()))
	}
	const path = "testdata/golden.txt"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("bytes are\n%swant\n%s", b.String(), want)
	}
}

func TestChangedByteIsNoticed(t *testing.T) {
	for _, r := range chain(t) {
		for i := range r.Bytes() {
			b := bytes.Clone(r.Bytes())
			b[i] ^= 1
			if got, err := record.Parse(b); err == nil && got.Verify() == nil {
				t.Errorf("%s with byte %d changed still verifies", r.Op(), i)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	records := chain(t)
	genesis, addBox, addPerson := records[0].Bytes(), records[1].Bytes(), records[2].Bytes()
	change := func(b []byte, at int, to ...byte) []byte {
		b = bytes.Clone(b)
		copy(b[at:], to)
		return b
	}
	splice := func(b []byte, at, drop int, add ...byte) []byte {
		return append(append(bytes.Clone(b[:at]), add...), b[at+drop:]...)
	}
	parent := records[1].ID()
	const personParents = 52 + 10 // where the count of parents is when a person is named
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"nothing":                     {nil, record.ErrMalformed},
		"version 0":                   {change(genesis, 0, 0), record.ErrVersion},
		"version 2":                   {change(genesis, 0, 2), record.ErrVersion},
		"op 0":                        {change(addBox, 1, 0), record.ErrMalformed},
		"another op":                  {change(addBox, 1, byte(record.OpSetLAN)), record.ErrMalformed},
		"author of kind 0":            {change(addBox, 2, 0), record.ErrMalformed},
		"author of kind 3":            {change(addBox, 2, 3), record.ErrMalformed},
		"genesis by a box":            {change(genesis, 2, 1), record.ErrMalformed},
		"genesis as second":           {change(genesis, 42, 2), record.ErrMalformed},
		"sequence 0":                  {change(addBox, 42, 0), record.ErrMalformed},
		"year 36812":                  {change(addBox, 43, 0, 0, 1), record.ErrMalformed},
		"unused flag":                 {change(addPerson, 51, 5), record.ErrMalformed},
		"device without person":       {change(addPerson, 51, 2), record.ErrMalformed},
		"no parents":                  {splice(addPerson, personParents, 33, 0), record.ErrMalformed},
		"the same parent twice":       {splice(addPerson, personParents, 33, append(append([]byte{2}, parent[:]...), parent[:]...)...), record.ErrMalformed},
		"seventeen parents":           {splice(addPerson, personParents, 1, 17), record.ErrMalformed},
		"genesis with a parent":       {splice(genesis, 52, 1, append([]byte{1}, parent[:]...)...), record.ErrMalformed},
		"a byte after the end":        {append(bytes.Clone(addBox), 0), record.ErrMalformed},
		"a byte less":                 {addBox[:len(addBox)-1], record.ErrMalformed},
		"payload longer than allowed": {change(addBox, 52+1+32, 0xff, 0xff), record.ErrMalformed},
		"payload one byte longer":     {splice(change(addBox, 52+1+32+1, addBox[52+1+32+1]+1), len(addBox)-64, 0, 0), record.ErrMalformed},
		"role 5":                      {change(addPerson, personParents+33+2+10+5, 5), record.ErrMalformed},
		"yes is 2":                    {change(addPerson, personParents+33+2+10+6, 2), record.ErrMalformed},
		"control character in a name": {change(addPerson, personParents+33+2+10+1, '\n'), record.ErrMalformed},
		"name is not UTF-8":           {change(addPerson, personParents+33+2+10+1, 0xff), record.ErrMalformed},
		"host 0":                      {change(addBox, len(addBox)-65, 0), record.ErrMalformed},
		"host 255":                    {change(addBox, len(addBox)-65, 255), record.ErrMalformed},
		"label in upper case":         {change(addBox, len(addBox)-66, 'E'), record.ErrMalformed},
		"label ends with a dash":      {change(addBox, len(addBox)-66, '-'), record.ErrMalformed},
		"Net4 is not private":         {change(genesis, 52+1+2+12, 11), record.ErrMalformed},
		"Net6 is not local":           {change(genesis, 52+1+2+16, 0x20), record.ErrMalformed},
		"too long":                    {make([]byte, record.MaxSize+1), record.ErrVersion},
		"too long, version 1":         {change(make([]byte, record.MaxSize+1), 0, 1), record.ErrMalformed},
	} {
		r, err := record.Parse(c.b)
		if r != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v; want %v", name, r, err, c.want)
		}
	}
}

// What a payload about friends may not hold, in the one place where each differs from a good one.
func TestFriendsRefused(t *testing.T) {
	friend, peer := services.FriendID{4}, services.PeerID{5}
	relay := []services.Grant{{Kind: services.GrantRelay}}
	until := at.Add(services.MaxGrantLife)
	add := record.AddFriend{Friend: friend, Count: 1, Petname: "A", Nickname: "B", Peers: []services.PeerID{peer}, Grants: relay, Until: until}
	with := func(change func(p *record.AddFriend)) record.AddFriend {
		p := add
		change(&p)
		return p
	}
	for name, p := range map[string]record.Payload{
		"nobody":              with(func(p *record.AddFriend) { p.Friend = services.FriendID{} }),
		"count 0":             with(func(p *record.AddFriend) { p.Count = 0 }),
		"no petname":          with(func(p *record.AddFriend) { p.Petname = "" }),
		"no nickname":         with(func(p *record.AddFriend) { p.Nickname = "" }),
		"no peers":            with(func(p *record.AddFriend) { p.Peers = nil }),
		"nine peers":          with(func(p *record.AddFriend) { p.Peers = []services.PeerID{{1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}, {9}} }),
		"peers out of order":  with(func(p *record.AddFriend) { p.Peers = []services.PeerID{{6}, {5}} }),
		"a peer twice":        with(func(p *record.AddFriend) { p.Peers = []services.PeerID{{5}, {5}} }),
		"a zero peer":         with(func(p *record.AddFriend) { p.Peers = []services.PeerID{{}} }),
		"grants without end":  with(func(p *record.AddFriend) { p.Until = time.Time{} }),
		"an end of no grants": with(func(p *record.AddFriend) { p.Grants = nil }),
		"a grant twice":       with(func(p *record.AddFriend) { p.Grants = append(relay, relay...) }),
		"grants out of order": with(func(p *record.AddFriend) {
			p.Grants = []services.Grant{{Kind: services.GrantExit}, {Kind: services.GrantRelay}}
		}),
		"half a megabyte":      with(func(p *record.AddFriend) { p.Grants = []services.Grant{{Kind: services.GrantStore, Bytes: 500_000}} }),
		"an unknown grant":     with(func(p *record.AddFriend) { p.Grants = []services.Grant{{Kind: 5}} }),
		"rename without name":  record.RenameFriend{Friend: friend, Count: 1},
		"update without peers": record.UpdateFriend{Friend: friend, Count: 1, Nickname: "B"},
		"grants number 0":      record.SetGrants{Friend: friend, Count: 1},
		"remove count 0":       record.RemoveFriend{Friend: friend},
	} {
		_, err := record.Seal(record.Record{Author: record.Box(boxID), Sequence: 1, Time: at, Parents: []record.ID{{1}}, Payload: p}, signer(boxKey))
		if !errors.Is(err, record.ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
	good, err := record.Seal(record.Record{Author: record.Box(boxID), Sequence: 1, Time: at, Parents: []record.ID{{1}}, Payload: add}, signer(boxKey))
	if err != nil {
		t.Fatal(err)
	}
	b := bytes.Clone(good.Bytes())
	b[len(b)-64-9] = 16 // the byte of the grants
	if _, err := record.Parse(b); !errors.Is(err, record.ErrMalformed) {
		t.Errorf("an unknown bit of the grants: %v", err)
	}
}

func TestSealRefuses(t *testing.T) {
	parents := []record.ID{{1}}
	good := record.Record{Author: record.Box(boxID), Sequence: 1, Time: at, Parents: parents, Payload: record.SetLAN{Person: person}}
	for name, spoil := range map[string]func(r *record.Record){
		"no payload":        func(r *record.Record) { r.Payload = nil },
		"known op, unknown": func(r *record.Record) { r.Payload = record.Unknown{Code: record.OpSetLAN} },
		"long payload":      func(r *record.Record) { r.Payload = record.Unknown{Code: 99, Bytes: make([]byte, 4097)} },
		"identifier":        func(r *record.Record) { r.Payload = record.SetLAN{Person: "Ann"} },
		"by whom":           func(r *record.Record) { r.By = "Ann" },
		"a device alone":    func(r *record.Record) { r.Via = device },
		"before 1970":       func(r *record.Record) { r.Time = time.Unix(-1, 0) },
		"parents unsorted":  func(r *record.Record) { r.Parents = []record.ID{{2}, {1}} },
	} {
		r := good
		spoil(&r)
		if _, err := record.Seal(r, signer(boxKey)); !errors.Is(err, record.ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
	if _, err := record.Seal(good, signer(rootKey)); !errors.Is(err, record.ErrSignature) {
		t.Errorf("another key signed: %v, want ErrSignature", err)
	}
	if _, err := record.Seal(good, func([]byte) ([]byte, error) { return nil, nil }); !errors.Is(err, record.ErrSignature) {
		t.Errorf("nobody signed: %v, want ErrSignature", err)
	}
}

// A signature of the same bytes without the domain is a signature of something else.
func TestDomainSeparates(t *testing.T) {
	r := record.Record{Author: record.Box(boxID), Sequence: 1, Time: at, Parents: []record.ID{{1}}, Payload: record.SetLAN{Person: person}}
	_, err := record.Seal(r, func(message []byte) ([]byte, error) {
		return ed25519.Sign(boxKey, bytes.TrimPrefix(message, []byte(record.Domain))), nil
	})
	if !errors.Is(err, record.ErrSignature) {
		t.Errorf("error is %v, want ErrSignature", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, r := range chain(f) {
		f.Add(r.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := record.Parse(b)
		if err != nil {
			if r != nil {
				t.Fatal("a record and an error")
			}
			return
		}
		again, err := record.Format(r)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x is written as %x, %v", b, again, err)
		}
		r.Verify()
	})
}

func BenchmarkParse(b *testing.B) {
	raw := chain(b)[8].Bytes()
	for b.Loop() {
		if _, err := record.Parse(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	r := chain(b)[8]
	for b.Loop() {
		if err := r.Verify(); err != nil {
			b.Fatal(err)
		}
	}
}
