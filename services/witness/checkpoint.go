package witness

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"hearth.alt/services"
)

// Domain begins every message that is signed here.
const Domain = "hearth.alt household checkpoint 1\x00"

// Checkpoint is what a box says of its log: so many records, and a hash of them all.
type Checkpoint struct {
	Genesis   [32]byte                    // the ID of the first record, which names the household
	Size      int64                       // records, 1 to 2^40
	Root      [32]byte                    // RFC 6962, section 2.1
	Time      time.Time                   // known time of the box, whole seconds; for people to read
	Signature [ed25519.SignatureSize]byte // of the box's device key (RFC 8032)
}

// message is what the box signs: Domain · 32 bytes genesis · 8 size · 32 root · 8 Unix seconds, big endian.
func (c Checkpoint) message() []byte {
	b := append([]byte(Domain), c.Genesis[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Size))
	b = append(b, c.Root[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(c.Time.Unix()))
}

// by says whether the box signed the checkpoint.
func (c Checkpoint) by(peer services.PeerID) bool {
	return c.Size > 0 && ed25519.Verify(peer[:], c.message(), c.Signature[:])
}

// tree is a log with all the hashes that proofs are made of. Its leaves are the IDs of its records, the genesis first.
type tree struct {
	leaves [][32]byte
	hashes []tlog.Hash
}

func newTree(leaves [][32]byte) (*tree, error) {
	t := &tree{leaves: leaves}
	for i, id := range leaves {
		more, err := tlog.StoredHashes(int64(i), id[:], t)
		if err != nil {
			return nil, fmt.Errorf("hashing record %d: %w", i, err)
		}
		t.hashes = append(t.hashes, more...)
	}
	return t, nil
}

// ReadHashes implements tlog.HashReader.
func (t *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		if at < 0 || at >= int64(len(t.hashes)) {
			return nil, errors.New("no such hash")
		}
		out[i] = t.hashes[at]
	}
	return out, nil
}

func (t *tree) size() int64 { return int64(len(t.leaves)) }

// genesis names the household.
func (t *tree) genesis() [32]byte {
	if len(t.leaves) == 0 {
		return [32]byte{}
	}
	return t.leaves[0]
}

// root is the hash of the first n records.
func (t *tree) root(n int64) ([32]byte, error) {
	h, err := tlog.TreeHash(n, t)
	return [32]byte(h), err
}

// proof shows that the log goes on from its first n records; there is none to show for what is longer than the log.
func (t *tree) proof(n int64) ([][32]byte, error) {
	if n <= 0 || n >= t.size() {
		return nil, nil
	}
	p, err := tlog.ProveTree(t.size(), n, t)
	out := make([][32]byte, len(p))
	for i := range p {
		out[i] = p[i]
	}
	return out, err
}

// denies says whether the log does not go on from c, which this box is said to have signed.
func (t *tree) denies(c Checkpoint) (bool, error) {
	if c.Genesis != t.genesis() || c.Size > t.size() {
		return true, nil
	}
	root, err := t.root(c.Size)
	return root != c.Root, err
}

// goesOn says whether next, with its proof, goes on from old.
func goesOn(old, next Checkpoint, proof [][32]byte) bool {
	switch {
	case next.Genesis != old.Genesis || next.Size < old.Size:
		return false
	case next.Size == old.Size:
		return next.Root == old.Root
	}
	p := make(tlog.TreeProof, len(proof))
	for i := range proof {
		p[i] = proof[i]
	}
	return tlog.CheckTree(p, next.Size, tlog.Hash(next.Root), old.Size, tlog.Hash(old.Root)) == nil
}
