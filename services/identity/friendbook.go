package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/durable"
	"hearth.alt/services/identity/internal/befriend"
)

// friendBook is the file friends.json: the open invitations of this box, with a hash in place of the secret, and when and
// where friends were heard of. Where it is lost or damaged, invitations are made anew. It is safe for concurrent use.
//
// An invitation admits one household: it is marked as used by it before the friend is written down, so that the same
// household may try again after a power cut and no other.
type friendBook struct {
	path string
	log  *slog.Logger
	now  func() time.Time
	who  func() *services.Membership // who belongs, and who is a friend

	mu    sync.Mutex
	kept  friendFile
	wrote map[services.FriendID]time.Time // when what was seen of a friend was written down; monotonic
}

// friendFile is what friends.json holds, version 1.
type friendFile struct {
	Version int                           `json:"version"`
	Invites []friendInvite                `json:"invitations"`
	Seen    map[services.FriendID]sighted `json:"seen"`
}

type friendInvite struct {
	Hash    string            `json:"hash"` // SHA-256 of the secret, in hexadecimal
	Petname string            `json:"petname,omitempty"`
	Grants  []services.Grant  `json:"grants,omitempty"`
	By      services.PersonID `json:"by,omitempty"` // who invited; "" on the box itself
	Expires time.Time         `json:"expires"`
	Used    services.FriendID `json:"used_by"` // zero while it is open
	Count   uint32            `json:"count"`   // of the friendship that it was used for
}

type sighted struct {
	At    time.Time                            `json:"at"`
	Paths map[services.PeerID][]netip.AddrPort `json:"paths"`
}

const (
	mostInvites = 32
	mostBook    = 1 << 20       // bytes
	seenEvery   = 6 * time.Hour // at least between two writings of the same
	movedEvery  = time.Hour     // and of other addresses
)

func openFriendBook(path string, log *slog.Logger, now func() time.Time, who func() *services.Membership) *friendBook {
	b := &friendBook{path: path, log: log, now: now, who: who, wrote: map[services.FriendID]time.Time{}}
	raw, err := durable.ReadSmall(path, mostBook)
	if err == nil {
		err = json.Unmarshal(raw, &b.kept)
	}
	if err == nil && b.kept.Version != 1 {
		err = fmt.Errorf("version %d", b.kept.Version)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			log.Warn("invitations for friends are lost, they have to be made anew", "error", err)
		}
		b.kept = friendFile{Version: 1}
	}
	b.kept.Invites = slices.DeleteFunc(b.kept.Invites, func(i friendInvite) bool { return len(i.Hash) != 2*sha256.Size })
	if b.kept.Seen == nil {
		b.kept.Seen = map[services.FriendID]sighted{}
	}
	return b
}

// save writes the book, less what is over. The caller holds mu.
func (b *friendBook) save() error {
	now, m := b.now(), b.who()
	b.kept.Invites = slices.DeleteFunc(b.kept.Invites, func(i friendInvite) bool { return !now.Before(i.Expires) })
	maps.DeleteFunc(b.kept.Seen, func(id services.FriendID, _ sighted) bool {
		_, ok := m.Friend(id)
		return !ok
	})
	raw, err := json.Marshal(b.kept)
	if err == nil {
		err = durable.WriteFile(b.path, raw, 0o600)
	}
	if err != nil {
		return notWritten(err)
	}
	return nil
}

func hashOf(secret [16]byte) string {
	sum := sha256.Sum256(secret[:])
	return hex.EncodeToString(sum[:])
}

func (i friendInvite) id() string { return i.Hash[:16] }

func (i friendInvite) open() OpenInvite {
	return OpenInvite{ID: i.id(), Petname: i.Petname, Grants: i.Grants, Expires: i.Expires}
}

// add writes an invitation down. Code: invitations-full.
func (b *friendBook) add(i friendInvite) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.stillOpen()) >= mostInvites {
		return &services.Problem{
			Kind: services.KindConflict, Code: "invitations-full",
			Say: services.Say("identity.friend.invites-full", "{most} invitations are open. Withdraw one that nobody will come with.", "most", mostInvites),
		}
	}
	before := slices.Clone(b.kept.Invites)
	b.kept.Invites = append(b.kept.Invites, i)
	if err := b.save(); err != nil {
		b.kept.Invites = before
		return err
	}
	return nil
}

// open returns the invitations that nobody came with, the oldest first.
func (b *friendBook) open() []OpenInvite {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stillOpen()
}

// stillOpen is open for a caller who holds mu.
func (b *friendBook) stillOpen() []OpenInvite {
	now := b.now()
	var out []OpenInvite
	for _, i := range b.kept.Invites {
		if i.Used == (services.FriendID{}) && now.Before(i.Expires) && b.mayStillInvite(i.By) {
			out = append(out, i.open())
		}
	}
	return out
}

// mayStillInvite says whether the invitations of by count: somebody who was removed or is no admin any more leaves none.
func (b *friendBook) mayStillInvite(by services.PersonID) bool {
	p, ok := b.who().Person(by)
	return by == "" || ok && p.State == services.StateActive && p.Role >= services.RoleAdmin
}

// expects says whether an invitation is open, or one was used that may be shown again.
func (b *friendBook) expects() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	return slices.ContainsFunc(b.kept.Invites, func(i friendInvite) bool { return now.Before(i.Expires) })
}

// cancel ends an open invitation. Code: invitation-not-found.
func (b *friendBook) cancel(id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := slices.IndexFunc(b.kept.Invites, func(i friendInvite) bool { return i.id() == id && i.Used == services.FriendID{} })
	if at < 0 {
		return &services.Problem{
			Kind: services.KindNotFound, Code: "invitation-not-found", Field: "invitation",
			Say: services.Say("identity.friend.no-invite", "This invitation is not open any more: somebody came with it, or it has ended."),
		}
	}
	before := slices.Clone(b.kept.Invites)
	b.kept.Invites = slices.Delete(b.kept.Invites, at, at+1)
	if err := b.save(); err != nil {
		b.kept.Invites = before
		return err
	}
	return nil
}

// knows says whether there is, or was, an invitation with the secret.
func (b *friendBook) knows(secret [16]byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	hash := hashOf(secret)
	return slices.ContainsFunc(b.kept.Invites, func(i friendInvite) bool { return i.Hash == hash })
}

// take marks the invitation with the secret as used by the household id, durably. count is that of the friendship that it
// would be; own says that the household is this one. The code is 0, or why not.
func (b *friendBook) take(secret [16]byte, id services.FriendID, count uint32, own bool) (friendInvite, befriend.Code, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, hash := b.now(), hashOf(secret)
	at := slices.IndexFunc(b.kept.Invites, func(i friendInvite) bool { return i.Hash == hash })
	if at < 0 {
		return friendInvite{}, befriend.Unknown, errors.New("the invitation was withdrawn at this moment")
	}
	invite := b.kept.Invites[at]
	switch {
	case own:
		return invite, befriend.Own, nil
	case !now.Before(invite.Expires), !b.mayStillInvite(invite.By):
		return invite, befriend.Expired, nil
	case invite.Used == id && invite.Count == count: // again, after a power cut here or there
		return invite, 0, nil
	case invite.Used != services.FriendID{}: // by others, or by those who were removed since
		return invite, befriend.Used, nil
	}
	before := slices.Clone(b.kept.Invites)
	invite.Used, invite.Count = id, count
	b.kept.Invites[at] = invite
	if err := b.save(); err != nil {
		b.kept.Invites = before
		return invite, befriend.Unavailable, err
	}
	return invite, 0, nil
}

// seen is when the friend was last heard of; zero is never.
func (b *friendBook) seen(id services.FriendID) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept.Seen[id].At
}

// paths are the addresses that peer, a box of the friend id, told as its own.
func (b *friendBook) paths(id services.FriendID, peer services.PeerID) []netip.AddrPort {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.kept.Seen[id].Paths[peer])
}

// saw notes that a friend's box was heard. It is written down now and then: flash wears.
func (b *friendBook) saw(id services.FriendID, peer services.PeerID, at []netip.AddrPort) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, old := b.now(), b.kept.Seen[id]
	f, _ := b.who().Friend(id)
	paths := maps.Clone(old.Paths)
	if paths == nil {
		paths = map[services.PeerID][]netip.AddrPort{}
	}
	maps.DeleteFunc(paths, func(p services.PeerID, _ []netip.AddrPort) bool { return !slices.Contains(f.Peers, p) })
	paths[peer] = at
	b.kept.Seen[id] = sighted{now, paths}
	least := seenEvery
	if !slices.Equal(old.Paths[peer], at) {
		least = movedEvery
	}
	if last, ok := b.wrote[id]; ok && time.Since(last) < least {
		return
	}
	b.wrote[id] = time.Now()
	if err := b.save(); err != nil {
		b.log.Warn("when a friend was heard of is not written down", "error", err)
	}
}
