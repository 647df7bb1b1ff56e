package identitytest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/secret"
)

// Keys is a keeper in memory, for tests only: its keys come from a seed. It is safe for concurrent use.
type Keys struct {
	device ed25519.PrivateKey

	mu      sync.Mutex
	entropy [identity.EntropySize]byte
	pending bool
	next    []secret.Bytes
}

var _ identity.Keys = (*Keys)(nil)

// NewKeys returns a keeper with no root yet. Equal seeds have equal keys and will make equal roots.
func NewKeys(seed string) *Keys {
	device := sha256.Sum256([]byte("device " + seed))
	return &Keys{device: ed25519.NewKeyFromSeed(device[:]), entropy: sha256.Sum256([]byte("root " + seed))}
}

// PeerID implements identity.Keys.
func (k *Keys) PeerID() services.PeerID {
	return services.PeerID(k.device.Public().(ed25519.PublicKey))
}

// SignRecord implements identity.Keys. A message without identity.RecordDomain is refused.
func (k *Keys) SignRecord(_ context.Context, message []byte) ([]byte, error) {
	return k.sign(k.device, message)
}

func (k *Keys) sign(with ed25519.PrivateKey, message []byte) ([]byte, error) {
	if !bytes.HasPrefix(message, []byte(identity.RecordDomain)) {
		return nil, errors.New("identitytest: asked to sign what is no record")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return ed25519.Sign(with, message), nil
}

// SignHandshake signs whatever it is asked to, as link.Config.Sign.
func (k *Keys) SignHandshake(_ context.Context, message []byte) ([]byte, error) {
	return ed25519.Sign(k.device, message), nil
}

// MakeRoot implements identity.Keys.
func (k *Keys) MakeRoot(context.Context) (ed25519.PublicKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pending = true
	return k.root().Public().(ed25519.PublicKey), nil
}

func (k *Keys) root() ed25519.PrivateKey { return identity.RootFromEntropy(k.entropy) }

// RootWords implements identity.Keys.
func (k *Keys) RootWords(context.Context) ([]secret.Text, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.pending {
		return nil, identity.WordsConfirmed()
	}
	return identity.WordsFromEntropy(k.entropy), nil
}

// SignWithRoot implements identity.Keys.
func (k *Keys) SignWithRoot(ctx context.Context, message []byte) ([]byte, error) {
	k.mu.Lock()
	pending, root := k.pending, k.root()
	k.mu.Unlock()
	if !pending {
		return nil, identity.WordsConfirmed()
	}
	return k.sign(root, message)
}

// EraseRoot implements identity.Keys.
func (k *Keys) EraseRoot(context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pending = false
	return nil
}

// NextRoots implements identity.Keys.
func (k *Keys) NextRoots(context.Context) ([]secret.Bytes, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.next), nil
}

// KeepNextRoots implements identity.Keys.
func (k *Keys) KeepNextRoots(_ context.Context, entropies []secret.Bytes) error {
	if len(entropies) > 4 {
		return errors.New("identitytest: asked to keep too many roots")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.next = slices.Clone(entropies)
	return nil
}

// Claimed is a claimed box of a test.
type Claimed struct {
	*identity.Service
	Keys  *Keys
	Owner services.PersonID // "Ann"
	Dir   string            // the folder of the log
}

// Household returns a box that is claimed in a temporary folder: household "Smith", box "Hearth", owner "Ann". Its
// known time is the system's. Run is left to the test.
func Household(t testing.TB) *Claimed {
	t.Helper()
	c := &Claimed{Keys: NewKeys(t.Name()), Owner: Ann, Dir: filepath.Join(t.TempDir(), "identity")}
	var err error
	c.Service, err = identity.New(identity.Config{Dir: c.Dir, Keys: c.Keys, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Claim(context.Background(), identity.Claim{Household: "Smith", Box: "Hearth", Owner: "Ann", OwnerID: c.Owner}); err != nil {
		t.Fatal(err)
	}
	return c
}

// Joined returns another box of box's household, called name, in a temporary folder of its own. It shares its log with
// nobody until the test has it do so.
func Joined(t testing.TB, box *Claimed, name string) *Claimed {
	t.Helper()
	c := &Claimed{Keys: NewKeys(t.Name() + " " + name), Owner: box.Owner, Dir: filepath.Join(t.TempDir(), "identity")}
	var err error
	c.Service, err = identity.New(identity.Config{Dir: c.Dir, Keys: c.Keys, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := box.AddBox(context.Background(), identity.NewBox{ID: c.Keys.PeerID(), Name: name}); err != nil {
		t.Fatal(err)
	}
	root := [32]byte(box.Membership().Household.Root)
	if err := c.Join(context.Background(), identity.JoinLog{Root: root, Inviter: box.Keys.PeerID(), Records: box.RecordBytes()}); err != nil {
		t.Fatal(err)
	}
	return c
}
