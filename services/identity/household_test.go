package identity

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
	"hearth.alt/services/looks"
)

// dag builds records by hand for several boxes of one household.
type dag struct {
	t       testing.TB
	keys    map[record.Author]ed25519.PrivateKey
	seq     map[record.Author]uint64
	root    record.Author
	boxes   []record.Author
	records []*record.Record
}

func newDAG(t testing.TB, boxes int) *dag { return announcedDAG(t, boxes, [32]byte{}) }

// announcedDAG is newDAG with what genesis announces.
func announcedDAG(t testing.TB, boxes int, next [32]byte) *dag {
	d := &dag{t: t, keys: map[record.Author]ed25519.PrivateKey{}, seq: map[record.Author]uint64{}}
	rootKey := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{100}, 32))
	d.root = record.Root(rootKey.Public().(ed25519.PublicKey))
	d.keys[d.root] = rootKey
	last := d.add(d.root, record.Genesis{Name: "Smith", Label: "smith", Net4: netip.MustParsePrefix("10.77.5.0/24"), Net6: netip.MustParsePrefix("fd5a:1:2::/48"), NextRoot: next})
	for i := range boxes {
		key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(i)}, 32))
		box := record.Box(services.PeerID(key.Public().(ed25519.PublicKey)))
		d.keys[box] = key
		d.boxes = append(d.boxes, box)
		host := uint8(1)
		if i > 0 {
			host = uint8(255 - i)
		}
		last = d.add(d.root, record.AddBox{Box: box.Key, Name: "Hearth", Label: "hearth", Host: host}, last)
	}
	return d
}

func (d *dag) add(author record.Author, p record.Payload, parents ...*record.Record) *record.Record {
	return d.addFor("", "", author, p, parents...)
}

func (d *dag) addFor(by services.PersonID, via services.DeviceID, author record.Author, p record.Payload, parents ...*record.Record) *record.Record {
	d.t.Helper()
	d.seq[author]++
	return d.seal(record.Record{Author: author, Sequence: d.seq[author], By: by, Via: via, Payload: p}, parents...)
}

func (d *dag) seal(r record.Record, parents ...*record.Record) *record.Record {
	d.t.Helper()
	r.Time = time.Unix(1_795_000_000+int64(len(d.records)), 0)
	for _, p := range parents {
		r.Parents = append(r.Parents, p.ID())
	}
	slices.SortFunc(r.Parents, record.ID.Compare)
	key := d.keys[r.Author]
	out, err := record.Seal(r, func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil })
	if err != nil {
		d.t.Fatal(err)
	}
	d.records = append(d.records, out)
	return out
}

func (d *dag) last() *record.Record { return d.records[len(d.records)-1] }

func (d *dag) self() services.PeerID { return d.boxes[0].Key }

// fold folds all records in a random order, some twice, and compares with the order they were made in.
func (d *dag) fold() *services.Membership {
	d.t.Helper()
	want, err := fold(d.self(), d.records[0].ID(), d.records)
	if err != nil {
		d.t.Fatal(err)
	}
	for range 5 {
		mixed := append(slices.Clone(d.records), d.records[rand.IntN(len(d.records))])
		rand.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		got, err := fold(d.self(), d.records[0].ID(), mixed)
		if err != nil {
			d.t.Fatal(err)
		}
		if diff := diffMemberships(want.membership(), got.membership()); diff != "" {
			d.t.Fatalf("another order gives another household:\n%s", diff)
		}
	}
	return want.membership()
}

func diffMemberships(a, b *services.Membership) string {
	return cmp.Diff(a, b, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty())
}

const (
	ann services.PersonID = "annannannannanna"
	ben services.PersonID = "benbenbenbenbenb"
	cat services.PersonID = "catcatcatcatcatc"

	phone services.DeviceID = "phonephonephonep"
)

func person(id services.PersonID, role services.Role) record.AddPerson {
	return record.AddPerson{Person: id, Name: string(id[:3]), Role: role, LAN: role > services.RoleGuest}
}

func device(id services.DeviceID, of services.PersonID, host uint8) record.AddDevice {
	return record.AddDevice{Device: id, Person: of, Name: "Phone", Key: services.ClientKey{host, 9}, Host: host}
}

func names(m *services.Membership) []string {
	var out []string
	for _, p := range m.People {
		out = append(out, fmt.Sprintf("%s %s", p.Name, p.Role))
	}
	for _, d := range m.Devices {
		out = append(out, fmt.Sprintf("%s at %d", d.Name, hostOf(d.Addr4)))
	}
	return out
}

// Two boxes, apart from one another. Each case goes on from Ann (owner) and Ben (admin, with a phone).
func TestConcurrentRecords(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(d *dag, a, b record.Author, base *record.Record)
		want []string
	}{
		"both add": {
			func(d *dag, a, b record.Author, base *record.Record) {
				d.add(a, device("aphoneaphoneapho", ann, 3), base)
				d.add(b, person(cat, services.RoleGuest), base)
			},
			[]string{"ann owner", "ben admin", "cat guest", "Phone at 3", "Phone at 2"},
		},
		"what a removed person does elsewhere at the same time is void": {
			func(d *dag, a, b record.Author, base *record.Record) {
				d.add(a, record.RemovePerson{Person: ben}, base)
				one := d.addFor(ben, "", b, person(cat, services.RoleOwner), base)
				d.addFor(ben, "", b, record.RemovePerson{Person: ann}, one)
			},
			[]string{"ann owner"},
		},
		"what a removed device does elsewhere at the same time is void": {
			func(d *dag, a, b record.Author, base *record.Record) {
				d.add(a, record.RemoveDevice{Device: phone}, base)
				d.addFor(ben, phone, b, record.SetRole{Person: ben, Role: services.RoleOwner}, base)
			},
			[]string{"ann owner", "ben admin"},
		},
		"what they did before stays": {
			func(d *dag, a, b record.Author, base *record.Record) {
				one := d.addFor(ben, phone, b, person(cat, services.RoleGuest), base)
				d.add(a, record.RemovePerson{Person: ben}, one)
			},
			[]string{"ann owner", "cat guest"},
		},
		"a person with the same name gets a number": {
			func(d *dag, a, b record.Author, base *record.Record) {
				one, two := person(cat, services.RoleGuest), person("dogdogdogdogdogd", services.RoleGuest)
				two.Name = "CAT"
				d.add(a, one, base)
				d.add(b, two, base)
			},
			nil, // which of them keeps the name depends on hashes; fold compares orders
		},
		"a device at a taken address has no effect": {
			func(d *dag, a, b record.Author, base *record.Record) {
				d.add(a, device("aphoneaphoneapho", ann, 3), base)
				d.add(b, device("bphonebphonebpho", ben, 3), base)
			},
			nil,
		},
		"a device for a person removed at the same time": {
			func(d *dag, a, b record.Author, base *record.Record) {
				d.add(a, record.RemovePerson{Person: ben}, base)
				d.add(b, device("bphonebphonebpho", ben, 3), base)
			},
			[]string{"ann owner"},
		},
		"two owners leave one another the house": {
			func(d *dag, a, b record.Author, base *record.Record) {
				two := d.add(a, record.SetRole{Person: ben, Role: services.RoleOwner}, base)
				d.addFor(ann, "", a, record.SetRole{Person: ann, Role: services.RoleGuest}, two)
				d.addFor(ben, "", b, record.SetRole{Person: ben, Role: services.RoleGuest}, two)
			},
			nil, // the second of the two finds itself the last owner
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDAG(t, 2)
			d.add(d.boxes[0], person(ann, services.RoleOwner), d.last())
			d.add(d.boxes[0], person(ben, services.RoleAdmin), d.last())
			base := d.add(d.boxes[0], device(phone, ben, 2), d.last())
			c.do(d, d.boxes[0], d.boxes[1], base)
			m := d.fold()
			if c.want != nil {
				if diff := cmp.Diff(c.want, names(m)); diff != "" {
					t.Errorf("household (-want +got):\n%s", diff)
				}
			}
			owners := 0
			for _, p := range m.People {
				if p.Role == services.RoleOwner {
					owners++
				}
			}
			if owners == 0 {
				t.Errorf("no owner is left: %v", names(m))
			}
			if m.Boxes[0].Label == m.Boxes[1].Label || m.Boxes[0].Name == m.Boxes[1].Name {
				t.Errorf("boxes are called alike: %+v", m.Boxes)
			}
		})
	}
}

// Each record tried on top of Ann (owner) and Ben (admin, with a phone) must change nothing.
func TestRecordsWithoutEffect(t *testing.T) {
	stranger := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{77}, 32))
	strange := record.Box(services.PeerID(stranger.Public().(ed25519.PublicKey)))
	for name, r := range map[string]record.Record{
		"by a stranger":                 {Author: strange, Sequence: 1, Payload: person(cat, services.RoleOwner)},
		"by another root":               {Author: record.Author{Kind: record.KindRoot, Key: strange.Key}, Sequence: 1, Payload: person(cat, services.RoleOwner)},
		"by a box that says it is root": {Author: record.Author{Kind: record.KindRoot}, Sequence: 4, Payload: person(cat, services.RoleOwner)},
		"a sequence left out":           {Sequence: 5, Payload: person(cat, services.RoleOwner)},
		"for a stranger":                {Sequence: 4, By: cat, Payload: record.SetLAN{Person: ben}},
		"through another's device":      {Sequence: 4, By: ann, Via: phone, Payload: record.SetLAN{Person: ben}},
		"a person again":                {Sequence: 4, Payload: person(ben, services.RoleOwner)},
		"a box again":                   {Sequence: 4, Payload: record.AddBox{Name: "X", Label: "x", Host: 9}},
		"a device again":                {Sequence: 4, Payload: device(phone, ann, 9)},
		"an address again":              {Sequence: 4, Payload: device("aphoneaphoneapho", ann, 2)},
		"the box's address":             {Sequence: 4, Payload: device("aphoneaphoneapho", ann, 1)},
		"a key again":                   {Sequence: 4, Payload: record.AddDevice{Device: "aphoneaphoneapho", Person: ann, Name: "X", Key: services.ClientKey{2, 9}, Host: 9}},
		"a device of nobody":            {Sequence: 4, Payload: device("aphoneaphoneapho", cat, 9)},
		"a role for nobody":             {Sequence: 4, Payload: record.SetRole{Person: cat, Role: services.RoleOwner}},
		"a name for no device":          {Sequence: 4, Payload: record.RenameDevice{Device: "aphoneaphoneapho", Name: "X"}},
		"nobody removed":                {Sequence: 4, Payload: record.RemovePerson{Person: cat}},
		"no device removed":             {Sequence: 4, Payload: record.RemoveDevice{Device: "aphoneaphoneapho"}},
		"the last owner removed":        {Sequence: 4, By: ben, Payload: record.RemovePerson{Person: ann}},
		"the last owner demoted":        {Sequence: 4, Payload: record.SetRole{Person: ann, Role: services.RoleAdmin}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDAG(t, 1)
			d.add(d.boxes[0], person(ann, services.RoleOwner), d.last())
			d.add(d.boxes[0], person(ben, services.RoleAdmin), d.last())
			d.add(d.boxes[0], device(phone, ben, 2), d.last())
			want := d.fold()
			d.keys[strange], d.keys[record.Author{Kind: record.KindRoot, Key: strange.Key}] = stranger, stranger
			if r.Author.Kind == 0 {
				r.Author = d.boxes[0]
			} else if r.Author.Key == [32]byte{} {
				r.Author.Key = d.boxes[0].Key
				d.keys[r.Author] = d.keys[d.boxes[0]]
			}
			if p, ok := r.Payload.(record.AddBox); ok && p.Box.IsZero() {
				p.Box = d.self()
				r.Payload = p
			}
			d.seal(r, d.last())
			got := d.fold()
			if got.Revision != want.Revision+1 {
				t.Error("the record was not counted")
			}
			got.Revision = want.Revision
			if diff := diffMemberships(want, got); diff != "" {
				t.Errorf("it had an effect:\n%s", diff)
			}
		})
	}
}

func TestRecordsOfOthersAreNotTaken(t *testing.T) {
	d := newDAG(t, 1)
	d.add(d.boxes[0], person(ann, services.RoleOwner), d.last())
	want := d.fold()
	// Children of a record that never came, and another household's genesis with its children.
	d.add(d.boxes[0], person(ben, services.RoleOwner), d.last())
	missing := len(d.records) - 1
	d.add(d.boxes[0], person(cat, services.RoleOwner), d.last())
	foreign := newDAG(t, 1)
	foreign.keys[foreign.root] = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{55}, 32))
	set := slices.Delete(slices.Clone(d.records), missing, missing+1)
	other := record.Record{Author: record.Root(foreign.keys[foreign.root].Public().(ed25519.PublicKey)), Sequence: 1, Payload: d.records[0].Payload}
	foreign.keys[other.Author] = foreign.keys[foreign.root]
	set = append(set, foreign.seal(other))
	h, err := fold(d.self(), d.records[0].ID(), set)
	if err != nil {
		t.Fatal(err)
	}
	if diff := diffMemberships(want, h.membership()); diff != "" {
		t.Errorf("they had an effect:\n%s", diff)
	}
	if _, err := fold(d.self(), record.ID{1}, set); err == nil {
		t.Error("a household without its genesis")
	}
}

func TestUnknownOperationStopsChanges(t *testing.T) {
	d := newDAG(t, 1)
	d.add(d.boxes[0], person(ann, services.RoleOwner), d.last())
	d.add(d.boxes[0], record.Unknown{Code: 77, Bytes: []byte("later")}, d.last())
	d.add(d.boxes[0], person(ben, services.RoleGuest), d.last())
	if m := d.fold(); !m.ReadOnly || len(m.People) != 2 {
		t.Errorf("membership is %+v", m)
	}
}

// Whatever boxes do apart from one another, the order in which records come does not matter, some owner is left,
// and no two devices share an address, a key or, with one person, a name.
func TestAnyHistory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := newDAG(t, 3)
		d.add(d.boxes[0], person(ann, services.RoleOwner), d.last())
		tips := []*record.Record{d.last(), d.last(), d.last()} // of each box
		people := []services.PersonID{ann, ben, cat}
		devices := []services.DeviceID{phone, "aphoneaphoneapho", "bphonebphonebpho"}
		for range rapid.IntRange(1, 25).Draw(rt, "length") {
			i := rapid.IntRange(0, 2).Draw(rt, "box")
			parents := []*record.Record{tips[i]}
			if j := rapid.IntRange(0, 2).Draw(rt, "heard of"); tips[j] != tips[i] {
				parents = append(parents, tips[j])
			}
			p, dev := rapid.SampledFrom(people).Draw(rt, "person"), rapid.SampledFrom(devices).Draw(rt, "device")
			var by services.PersonID
			if rapid.Bool().Draw(rt, "for somebody") {
				by = rapid.SampledFrom(people).Draw(rt, "by")
			}
			role := rapid.SampledFrom([]services.Role{services.RoleGuest, services.RoleAdmin, services.RoleOwner}).Draw(rt, "role")
			host := rapid.Uint8Range(1, 4).Draw(rt, "host")
			payload := rapid.SampledFrom([]record.Payload{
				person(p, role), record.SetRole{Person: p, Role: role}, record.RemovePerson{Person: p},
				record.RenamePerson{Person: p, Name: rapid.SampledFrom([]string{"Ann", "ANN", "Bo"}).Draw(rt, "name")},
				device(dev, p, host), record.RemoveDevice{Device: dev}, record.SetLAN{Person: p, LAN: true},
			}).Draw(rt, "what")
			tips[i] = d.addFor(by, "", d.boxes[i], payload, parents...)
		}
		m := d.fold()
		owners := 0
		for _, p := range m.People {
			if p.Role == services.RoleOwner && p.State == services.StateActive {
				owners++
			}
		}
		if owners == 0 && !m.Frozen {
			rt.Fatal("no owner is left")
		}
		seen := map[string]bool{}
		for _, x := range m.People {
			k := "person " + looks.Fold(x.Name)
			if seen[k] {
				rt.Fatalf("two are called %s", x.Name)
			}
			seen[k] = true
		}
		for _, x := range m.Devices {
			for _, k := range []string{x.Addr4.String(), x.Addr6.String(), fmt.Sprint(x.Key), string(x.Person) + looks.Fold(x.Name)} {
				if seen[k] {
					rt.Fatalf("two devices share %s", k)
				}
				seen[k] = true
			}
			if _, ok := m.Person(x.Person); !ok {
				rt.Fatalf("device %s belongs to nobody", x.ID)
			}
		}
	})
}

// The bounds on people and friends are rules of the log, as that on boxes: a stolen key took in 10,000 people of one name,
// 1.7 MB that it writes at once, each of whom was compared with all others whenever the log was read.
func TestNoMorePeople(t *testing.T) {
	d := newDAG(t, 1)
	for range maxPeople + 50 {
		d.add(d.boxes[0], record.AddPerson{Person: NewPersonID(), Name: "x", Role: services.RoleMember}, d.last())
	}
	for i := range maxFriends + 50 {
		key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 16))
		id := services.PeerID(key.Public().(ed25519.PublicKey))
		d.add(d.boxes[0], record.AddFriend{Friend: services.FriendID(id), Count: 1, Petname: "x", Nickname: "y", Peers: []services.PeerID{id}}, d.last())
	}
	h, err := fold(d.self(), d.records[0].ID(), d.records)
	if err != nil || len(h.people) != maxPeople || len(h.friends.all) != maxFriends {
		t.Errorf("%d people and %d friends, %v", len(h.people), len(h.friends.all), err)
	}
}
