package record

import (
	"bytes"
	"encoding/binary"
	"time"

	"hearth.alt/services"
)

// The payloads about friends. Count is how often the friend was added, with this time.
type (
	// AddFriend takes another household into the address book.
	AddFriend struct {
		Friend            services.FriendID
		Count             uint32
		Petname, Nickname string
		Peers             []services.PeerID // ascending
		Grants            []services.Grant  // by kind
		Until             time.Time         // zero without grants
	}
	// RenameFriend changes what we call a friend.
	RenameFriend struct {
		Friend  services.FriendID
		Count   uint32
		Petname string
	}
	// UpdateFriend notes what a friend tells of themselves.
	UpdateFriend struct {
		Friend   services.FriendID
		Count    uint32
		Nickname string
		Peers    []services.PeerID // ascending
	}
	// SetGrants says what we allow a friend, in place of all before. With the number of those there are it renews them.
	SetGrants struct {
		Friend services.FriendID
		Count  uint32
		Number uint32
		Grants []services.Grant // by kind
		Until  time.Time        // zero without grants
	}
	// RemoveFriend ends a friendship and everything granted.
	RemoveFriend struct {
		Friend services.FriendID
		Count  uint32
	}
)

func (AddFriend) op() Op    { return OpAddFriend }
func (RenameFriend) op() Op { return OpRenameFriend }
func (UpdateFriend) op() Op { return OpUpdateFriend }
func (SetGrants) op() Op    { return OpSetGrants }
func (RemoveFriend) op() Op { return OpRemoveFriend }

func appendFriend(b []byte, f services.FriendID, count uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, f[:]...), count)
}

func appendPeers(b []byte, peers []services.PeerID) []byte {
	b = append(b, byte(len(peers)))
	for _, p := range peers {
		b = append(b, p[:]...)
	}
	return b
}

func appendGrants(b []byte, grants []services.Grant, until time.Time) []byte {
	at := len(b)
	b = append(b, 0)
	for _, g := range grants {
		b[at] |= 1 << (g.Kind - services.GrantRelay)
		if g.Kind == services.GrantStore {
			b = binary.BigEndian.AppendUint32(b, uint32(g.Bytes/services.Megabyte))
		}
	}
	return appendTime(b, until)
}

func (p AddFriend) append(b []byte) []byte {
	b = appendText(appendText(appendFriend(b, p.Friend, p.Count), p.Petname), p.Nickname)
	return appendGrants(appendPeers(b, p.Peers), p.Grants, p.Until)
}

func (p RenameFriend) append(b []byte) []byte {
	return appendText(appendFriend(b, p.Friend, p.Count), p.Petname)
}

func (p UpdateFriend) append(b []byte) []byte {
	return appendPeers(appendText(appendFriend(b, p.Friend, p.Count), p.Nickname), p.Peers)
}

func (p SetGrants) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(appendFriend(b, p.Friend, p.Count), p.Number)
	return appendGrants(b, p.Grants, p.Until)
}

func (p RemoveFriend) append(b []byte) []byte { return appendFriend(b, p.Friend, p.Count) }

func parseFriend(op Op, d *decoder) Payload {
	friend, count := services.FriendID(d.key()), d.uint32()
	switch op {
	case OpAddFriend:
		p := AddFriend{Friend: friend, Count: count, Petname: d.text(), Nickname: d.text(), Peers: d.peers()}
		p.Grants, p.Until = d.grants()
		return p
	case OpRenameFriend:
		return RenameFriend{Friend: friend, Count: count, Petname: d.text()}
	case OpUpdateFriend:
		return UpdateFriend{Friend: friend, Count: count, Nickname: d.text(), Peers: d.peers()}
	case OpSetGrants:
		p := SetGrants{Friend: friend, Count: count, Number: d.uint32()}
		p.Grants, p.Until = d.grants()
		return p
	}
	return RemoveFriend{Friend: friend, Count: count}
}

func (d *decoder) uint32() uint32 { return binary.BigEndian.Uint32(d.take(4)) }

func (d *decoder) peers() (out []services.PeerID) {
	n := int(d.byte())
	if n > services.MaxFriendPeers {
		d.fail("too many peers")
	}
	for range n {
		if d.err == nil {
			out = append(out, d.key())
		}
	}
	return out
}

func (d *decoder) grants() (out []services.Grant, until time.Time) {
	bits := d.byte()
	if bits >= 1<<services.GrantFollow {
		d.fail("unknown grants")
	}
	for k := services.GrantRelay; k <= services.GrantFollow; k++ {
		if bits&(1<<(k-services.GrantRelay)) == 0 {
			continue
		}
		g := services.Grant{Kind: k}
		if k == services.GrantStore {
			g.Bytes = int64(d.uint32()) * services.Megabyte
		}
		out = append(out, g)
	}
	return out, d.time()
}

func validPeers(peers []services.PeerID) bool {
	for i, p := range peers {
		if p.IsZero() || i > 0 && bytes.Compare(peers[i-1][:], p[:]) >= 0 {
			return false
		}
	}
	return len(peers) >= 1 && len(peers) <= services.MaxFriendPeers
}

func validGrants(grants []services.Grant, until time.Time) bool {
	for i, g := range grants {
		if !g.Valid() || i > 0 && grants[i-1].Kind >= g.Kind {
			return false
		}
	}
	return validTime(until) && until.IsZero() == (len(grants) == 0)
}

func checkFriend(f services.FriendID, count uint32, more ...any) error {
	return require(append([]any{f != services.FriendID{}, "friend", count > 0, "count"}, more...)...)
}

func (p AddFriend) check() error {
	return checkFriend(p.Friend, p.Count, validText(p.Petname), "petname", validText(p.Nickname), "nickname", validPeers(p.Peers), "peers",
		validGrants(p.Grants, p.Until), "grants")
}

func (p RenameFriend) check() error {
	return checkFriend(p.Friend, p.Count, validText(p.Petname), "petname")
}

func (p UpdateFriend) check() error {
	return checkFriend(p.Friend, p.Count, validText(p.Nickname), "nickname", validPeers(p.Peers), "peers")
}

func (p SetGrants) check() error {
	return checkFriend(p.Friend, p.Count, p.Number > 0, "number", validGrants(p.Grants, p.Until), "grants")
}

func (p RemoveFriend) check() error { return checkFriend(p.Friend, p.Count) }
