package identity

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/befriend"
	"hearth.alt/services/identity/internal/record"
	"hearth.alt/services/looks"
)

var (
	jones = services.FriendID{1}
	brown = services.FriendID{2}
	until = time.Unix(1_796_000_000, 0).UTC()

	relay  = services.Grant{Kind: services.GrantRelay}
	follow = services.Grant{Kind: services.GrantFollow}
)

func store(megabytes int64) services.Grant {
	return services.Grant{Kind: services.GrantStore, Bytes: megabytes * services.Megabyte}
}

func addFriend(id services.FriendID, petname string, peer byte, grants ...services.Grant) record.AddFriend {
	p := record.AddFriend{Friend: id, Count: 1, Petname: petname, Nickname: "They", Peers: []services.PeerID{{peer}}, Grants: grants}
	if len(grants) > 0 {
		p.Until = until
	}
	return p
}

func setGrants(number uint32, grants ...services.Grant) record.SetGrants {
	p := record.SetGrants{Friend: jones, Count: 1, Number: number, Grants: grants}
	if len(grants) > 0 {
		p.Until = until
	}
	return p
}

func friendNames(m *services.Membership) []string {
	out := []string{}
	for _, f := range m.Friends {
		out = append(out, fmt.Sprint(f.Petname, " ", f.Grants))
	}
	return out
}

// Two boxes apart from one another. Each case goes on from the friend Jones with the grants relay and store.
func TestConcurrentFriends(t *testing.T) {
	remove := record.RemoveFriend{Friend: jones, Count: 1}
	again := addFriend(jones, "Jones", 9)
	again.Count = 2
	for name, c := range map[string]struct {
		do   func(d *dag, a, b record.Author, base *record.Record)
		want []string
	}{
		"the same friend twice is one": {
			func(d *dag, a, b record.Author, base *record.Record) {
				d.add(a, addFriend(brown, "Brown", 7), base)
				d.add(b, addFriend(brown, "Brown", 7), base)
			},
			[]string{"Brown []", "Jones [relay store=10GB]"},
		},
		"removed, whatever another box knew and did": {
			func(d *dag, a, b record.Author, base *record.Record) {
				d.add(a, remove, base)
				one := d.add(b, setGrants(2, relay), base)
				d.add(b, record.UpdateFriend{Friend: jones, Count: 1, Nickname: "J", Peers: []services.PeerID{{8}}}, one)
			},
			[]string{},
		},
		"removed on both": {
			func(d *dag, a, b record.Author, base *record.Record) {
				d.add(a, remove, base)
				d.add(b, remove, base)
			},
			[]string{},
		},
		"added again in knowledge of a removal": {
			func(d *dag, a, b record.Author, base *record.Record) {
				one := d.add(a, remove, base)
				d.add(a, again, one)
				d.add(b, remove, base)
			},
			[]string{"Jones []"},
		},
		"added again without a removal": {
			func(d *dag, a, _ record.Author, base *record.Record) { d.add(a, again, base) },
			[]string{"Jones [relay store=10GB]"},
		},
		"what one takes away another's renewal does not bring back": {
			func(d *dag, a, b record.Author, base *record.Record) {
				d.add(a, setGrants(2), base)
				d.add(b, setGrants(1, relay, store(10_000)), base)
			},
			[]string{"Jones []"},
		},
		"nor does it when it is taken first": {
			func(d *dag, a, b record.Author, base *record.Record) {
				one := d.add(a, setGrants(1, relay, store(10_000)), base)
				d.add(a, setGrants(1, relay, store(10_000)), one)
				d.add(b, setGrants(2), base)
			},
			[]string{"Jones []"},
		},
		"what only one of two allows at the same time is not allowed": {
			func(d *dag, a, b record.Author, base *record.Record) {
				d.add(a, setGrants(2, relay, store(5000)), base)
				d.add(b, setGrants(2, store(20_000), follow), base)
			},
			[]string{"Jones [store=5GB]"},
		},
		"a box is one friend's": {
			func(d *dag, a, _ record.Author, base *record.Record) { d.add(a, addFriend(brown, "Brown", 1), base) },
			[]string{"Jones [relay store=10GB]"},
		},
		"a name given twice": {
			func(d *dag, a, b record.Author, base *record.Record) {
				d.add(a, record.RenameFriend{Friend: jones, Count: 1, Petname: "Brown"}, base)
				d.add(b, addFriend(brown, "brown", 7), base)
			},
			nil, // which of them gets a number depends on hashes
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDAG(t, 2)
			d.add(d.boxes[0], person(ann, services.RoleOwner), d.last())
			base := d.add(d.boxes[0], addFriend(jones, "Jones", 1, relay, store(10_000)), d.last())
			c.do(d, d.boxes[0], d.boxes[1], base)
			m := d.fold()
			if diff := cmp.Diff(c.want, friendNames(m)); c.want != nil && diff != "" {
				t.Errorf("friends (-want +got):\n%s", diff)
			}
			if c.want == nil && len(m.Friends) != 2 {
				t.Errorf("friends are %v", friendNames(m))
			}
		})
	}
}

// Whatever boxes do about friends apart from one another, the order in which records come does not matter, names differ
// and a box is one friend's.
func TestAnyFriends(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := newDAG(t, 3)
		tips := []*record.Record{d.last(), d.last(), d.last()}
		for range rapid.IntRange(1, 25).Draw(rt, "length") {
			i := rapid.IntRange(0, 2).Draw(rt, "box")
			parents := []*record.Record{tips[i]}
			if j := rapid.IntRange(0, 2).Draw(rt, "heard of"); tips[j] != tips[i] {
				parents = append(parents, tips[j])
			}
			id := rapid.SampledFrom([]services.FriendID{jones, brown}).Draw(rt, "friend")
			count := rapid.Uint32Range(1, 3).Draw(rt, "count")
			add := addFriend(id, rapid.SampledFrom([]string{"A", "a", "B"}).Draw(rt, "name"), rapid.ByteRange(1, 3).Draw(rt, "peer"), relay, store(1))
			add.Count = count
			set := setGrants(rapid.Uint32Range(1, 3).Draw(rt, "number"), rapid.SampledFrom([][]services.Grant{nil, {relay}, {store(2), follow}}).Draw(rt, "grants")...)
			set.Friend, set.Count = id, count
			payload := rapid.SampledFrom([]record.Payload{
				add, set, record.RemoveFriend{Friend: id, Count: count}, record.RenameFriend{Friend: id, Count: count, Petname: add.Petname},
				record.UpdateFriend{Friend: id, Count: count, Nickname: "N", Peers: add.Peers},
			}).Draw(rt, "what")
			tips[i] = d.add(d.boxes[i], payload, parents...)
		}
		seen := map[any]bool{}
		for _, f := range d.fold().Friends {
			keys := []any{looks.Fold(f.Petname), f.ID}
			for _, p := range f.Peers {
				keys = append(keys, p)
			}
			for _, k := range keys {
				if seen[k] {
					rt.Fatalf("%v is there twice", k)
				}
				seen[k] = true
			}
			if f.Until.IsZero() != (len(f.Grants) == 0) || len(f.Peers) == 0 {
				rt.Fatalf("a friend that cannot be: %+v", f)
			}
		}
	})
}

// A removal that a good record behind a damage still says holds, as that of a person does.
func TestRemovedFriendBehindDamage(t *testing.T) {
	d := newDAG(t, 1)
	d.add(d.boxes[0], addFriend(jones, "Jones", 1, relay), d.last())
	h, err := fold(d.self(), d.records[0].ID(), d.records)
	if err != nil {
		t.Fatal(err)
	}
	h.removeToo(d.add(d.boxes[0], record.RemoveFriend{Friend: jones, Count: 1}, d.last()))
	if m := h.membership(); len(m.Friends) != 0 {
		t.Errorf("friends are %v", friendNames(m))
	}
}

func TestCloneKeepsFriendsApart(t *testing.T) {
	d := newDAG(t, 1)
	d.add(d.boxes[0], addFriend(jones, "Jones", 1), d.last())
	h, err := fold(d.self(), d.records[0].ID(), d.records)
	if err != nil {
		t.Fatal(err)
	}
	h.clone().endFriend(jones)
	if got := friendNames(h.membership()); !slices.Equal(got, []string{"Jones []"}) || h.friends.count(jones) != 1 {
		t.Errorf("the original has %v", got)
	}
}

func TestVerify(t *testing.T) {
	d := newDAG(t, 2)
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{55}, 32))
	strange := record.Box(services.PeerID(other.Public().(ed25519.PublicKey)))
	d.keys[strange] = other
	third := services.PeerID{3}
	genesis, first, second := d.records[0], d.records[1], d.records[2]
	byBox := d.add(d.boxes[1], record.AddBox{Box: third, Name: "Third", Label: "third", Host: 9}, d.last())
	byStranger := d.add(strange, record.AddBox{Box: services.PeerID{4}, Name: "X", Label: "x", Host: 10}, byBox)
	forged := slices.Clone(first.Bytes())
	forged[len(forged)-1] ^= 1
	raw := func(records ...*record.Record) (out [][]byte) {
		for _, r := range records {
			out = append(out, r.Bytes())
		}
		return out
	}
	peer := services.PeerID(d.boxes[0].Key)
	for name, c := range map[string]struct {
		proof [][]byte
		peers []services.PeerID
		good  bool
	}{
		"the first box":                {raw(genesis, first), []services.PeerID{peer}, true},
		"a box that a box took in":     {raw(genesis, first, second, byBox), []services.PeerID{peer, third}, true},
		"its taker not shown":          {raw(genesis, first, byBox), []services.PeerID{peer, third}, false},
		"a box that is not shown":      {raw(genesis, first), []services.PeerID{peer, third}, false},
		"a box that a stranger added":  {raw(genesis, first, byStranger), []services.PeerID{peer, {4}}, false},
		"one who speaks and is not in": {raw(genesis, second), []services.PeerID{d.boxes[1].Key}, false},
		"no genesis":                   {raw(first, second), []services.PeerID{peer}, false},
		"genesis twice":                {raw(genesis, genesis, first), []services.PeerID{peer}, false},
		"a forged record":              {[][]byte{genesis.Bytes(), forged}, []services.PeerID{peer}, false},
		"no record":                    {[][]byte{genesis.Bytes(), []byte("x")}, []services.PeerID{peer}, false},
	} {
		id, was, err := verify(befriend.About{Peers: c.peers, Proof: c.proof}, peer)
		if !was.IsZero() {
			t.Errorf("%s: it says that the root replaced %s", name, was)
		}
		if (err == nil) != c.good || c.good && id != d.root.Key {
			t.Errorf("%s: %v, %v", name, id, err)
		}
	}
}

// A friend's box that the root gave another key, as it does with a cloned card, is known again by its proof; one that was
// only taken in at some time, and may have been removed since, is not.
func TestReplacedKeyOfAFriend(t *testing.T) {
	d := newDAG(t, 2)
	genesis, first, second := d.records[0], d.records[1], d.records[2]
	next := services.PeerID{5}
	replaced := d.add(d.root, record.ReplaceBox{Box: services.PeerID(d.boxes[0].Key), Key: next}, d.last())
	byBox := d.add(d.boxes[1], record.ReplaceBox{Box: services.PeerID(d.boxes[0].Key), Key: services.PeerID{6}}, second)
	for _, c := range []struct {
		name string
		peer services.PeerID
		by   *record.Record
		was  services.PeerID
		good bool
	}{
		{"by the root", next, replaced, services.PeerID(d.boxes[0].Key), true},
		{"by a box", services.PeerID{6}, byBox, services.PeerID{}, false},
		{"not at all", services.PeerID(d.boxes[1].Key), second, services.PeerID{}, true},
	} {
		var proof [][]byte
		for _, r := range []*record.Record{genesis, first, second, c.by} {
			proof = append(proof, r.Bytes())
		}
		id, was, err := verify(befriend.About{Peers: []services.PeerID{c.peer}, Proof: proof}, c.peer)
		if (err == nil) != c.good || was != c.was || c.good && id != d.root.Key {
			t.Errorf("%s: %v was %v, %v", c.name, id, was, err)
		}
	}
}
