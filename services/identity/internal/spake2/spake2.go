// Package spake2 is SPAKE2 (RFC 9382) with P-256, SHA-256, HKDF and HMAC, for two that share a short secret for some
// minutes: who does not know it learns nothing of it but whether one guess for each run was right.
//
//	A (knows secret)                    B (knows secret)
//	      ── Share pA ──▶
//	      ◀── Share pB ──
//	      ── Confirmation ──▶   Verify
//	Verify ◀── Confirmation ──
//
// Neither trusts the other before Verify. The secret is stretched by no slow hash (RFC 9382, section 3.2 leaves that
// open): it cannot be tried offline, and it is over before it could matter.
package spake2

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/big"
	"slices"

	"filippo.io/nistec"
)

// Sizes in bytes.
const (
	ShareSize        = 65 // an uncompressed point (SEC 1, section 2.3.3)
	ConfirmationSize = sha256.Size
)

// ErrShare is returned for a share that no honest peer sends.
var ErrShare = errors.New("not a share of SPAKE2")

// order of P-256 (FIPS 186-5; SEC 2, section 2.4.2).
var order, _ = new(big.Int).SetString("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)

// The points of which nobody knows the logarithm (RFC 9382, section 4).
var (
	pointM = point("02886e2f97ace46e55ba9dd7242579f2993b64e16ef3dcab95afd497333d8fa12f")
	pointN = point("03d8bbd6c639c62937b04d997f38c3770719c629d7014d49a24b4f98baa1292b49")
)

func point(compressed string) *nistec.P256Point {
	n, _ := new(big.Int).SetString(compressed, 16)
	p, err := nistec.NewP256Point().SetBytes(n.FillBytes(make([]byte, 33)))
	if err != nil {
		panic(err)
	}
	return p
}

// Names says who is who. Where the ends do not agree on it, Verify fails.
type Names struct{ A, B []byte }

// Run is one end of one run. It is used once, by one goroutine.
type Run struct {
	names      Names
	isA        bool
	w, x       []byte // scalars, 32 bytes
	share      []byte
	own, their []byte // confirmations
}

// NewA begins a run as A, NewB as B.
func NewA(secret []byte, n Names) *Run { return begin(secret, n, true, random()) }

// NewB is described at NewA.
func NewB(secret []byte, n Names) *Run { return begin(secret, n, false, random()) }

func begin(secret []byte, n Names, isA bool, x []byte) *Run {
	wide, err := hkdf.Key(sha256.New, secret, nil, "hearth spake2 w 1", 48)
	if err != nil {
		panic(err) // only for lengths that HKDF cannot make
	}
	return beginAt(scalar(wide), n, isA, x)
}

func beginAt(w []byte, n Names, isA bool, x []byte) *Run {
	r := &Run{names: n, isA: isA, w: w, x: x}
	blind := pointN
	if isA {
		blind = pointM
	}
	p := must(nistec.NewP256Point().ScalarBaseMult(x))
	r.share = p.Add(p, must(nistec.NewP256Point().ScalarMult(blind, w))).Bytes()
	return r
}

// random returns a scalar, never zero.
func random() []byte {
	var wide [48]byte
	for {
		rand.Read(wide[:])
		if s := scalar(wide[:]); slices.ContainsFunc(s, func(b byte) bool { return b != 0 }) {
			return s
		}
	}
}

// scalar reduces 48 bytes, which leaves a bias below 2^-127.
func scalar(wide []byte) []byte {
	n := new(big.Int).SetBytes(wide)
	return n.Mod(n, order).FillBytes(make([]byte, 32))
}

func must(p *nistec.P256Point, err error) *nistec.P256Point {
	if err != nil { // only for scalars of another length
		panic(err)
	}
	return p
}

// Share is what the other end needs first, ShareSize bytes.
func (r *Run) Share() []byte { return r.share }

// Take takes the other end's share, and what else both ends must agree on. The error is ErrShare.
func (r *Run) Take(share, data []byte) error {
	if len(share) != ShareSize {
		return ErrShare
	}
	p, err := nistec.NewP256Point().SetBytes(share)
	if err != nil {
		return ErrShare
	}
	blind, pA, pB := pointM, share, r.share
	if r.isA {
		blind, pA, pB = pointN, r.share, share
	}
	blinding := must(nistec.NewP256Point().ScalarMult(blind, r.w))
	k := must(nistec.NewP256Point().ScalarMult(p.Add(p, blinding.Negate(blinding)), r.x))
	if k.IsInfinity() == 1 {
		return ErrShare
	}
	transcript := r.transcript(pA, pB, k.Bytes())
	hash := sha256.Sum256(transcript)
	confirm, err := hkdf.Key(sha256.New, hash[16:], nil, "ConfirmationKeys"+string(data), 32)
	if err != nil {
		panic(err)
	}
	r.own, r.their = mac(confirm[:16], transcript), mac(confirm[16:], transcript)
	if !r.isA {
		r.own, r.their = r.their, r.own
	}
	return nil
}

// transcript is TT of RFC 9382, section 3.3.
func (r *Run) transcript(pA, pB, k []byte) (b []byte) {
	for _, part := range [][]byte{r.names.A, r.names.B, pA, pB, k, r.w} {
		b = append(binary.LittleEndian.AppendUint64(b, uint64(len(part))), part...)
	}
	return b
}

func mac(key, message []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	return h.Sum(nil)
}

// Confirmation proves to the other end that this one knows the secret. It is there once Take returned nil.
func (r *Run) Confirmation() []byte { return r.own }

// Verify says whether the other end, whose confirmation it is, knows the secret and means the same names and data. It compares in
// constant time.
func (r *Run) Verify(confirmation []byte) bool {
	return r.their != nil && hmac.Equal(r.their, confirmation)
}
