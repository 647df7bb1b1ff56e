package account

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"hearth.alt/services"
	"hearth.alt/services/secret"
)

// The length of a password: characters at least, bytes at most.
const (
	MinPassword = 12
	MaxPassword = 1024
)

// Params are the costs of argon2id (RFC 9106, section 3.1).
type Params struct {
	Memory  uint32 // KiB
	Time    uint32 // passes
	Threads uint8
}

// DefaultParams is the second recommendation of RFC 9106, section 4, with one lane: a Pi has better uses for its
// other cores.
var DefaultParams = Params{Memory: 64 << 10, Time: 3, Threads: 1}

// The most that a hash may ask for: hashes come back from archives, and may not take the box down.
var maxParams = Params{Memory: 256 << 10, Time: 16, Threads: 4}

func (p Params) check() error {
	if p.Memory < 8*uint32(p.Threads) || p.Memory > maxParams.Memory || p.Time < 1 || p.Time > maxParams.Time || p.Threads < 1 || p.Threads > maxParams.Threads {
		return fmt.Errorf("argon2id costs %+v are out of range", p)
	}
	return nil
}

const (
	saltSize = 16
	keySize  = 32
)

var errHash = errors.New("not a password hash")

// passwordHash is one kept password. Its text is "$argon2id$v=19$m=65536,t=3,p=1$<salt>$<key>", salt and key in base64
// without padding: the form of the argon2 reference program.
type passwordHash struct {
	Params
	salt, key []byte
}

func (h passwordHash) String() string {
	b := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.Memory, h.Time, h.Threads, b.EncodeToString(h.salt), b.EncodeToString(h.key))
}

func parseHash(s string) (passwordHash, error) {
	var h passwordHash
	f := strings.Split(s, "$")
	if len(f) != 6 || f[0] != "" || f[1] != "argon2id" || f[2] != "v="+strconv.Itoa(argon2.Version) {
		return h, errHash
	}
	costs := strings.Split(f[3], ",")
	if len(costs) != 3 {
		return h, errHash
	}
	var n [3]uint64
	for i, prefix := range []string{"m=", "t=", "p="} {
		text, ok := strings.CutPrefix(costs[i], prefix)
		v, err := strconv.ParseUint(text, 10, 31)
		if !ok || err != nil || strconv.FormatUint(v, 10) != text || i == 2 && v > 255 {
			return h, errHash
		}
		n[i] = v
	}
	h.Params = Params{uint32(n[0]), uint32(n[1]), uint8(n[2])}
	if err := h.check(); err != nil {
		return passwordHash{}, errHash
	}
	var err1, err2 error
	h.salt, err1 = base64.RawStdEncoding.Strict().DecodeString(f[4])
	h.key, err2 = base64.RawStdEncoding.Strict().DecodeString(f[5])
	if err1 != nil || err2 != nil || len(h.salt) != saltSize || len(h.key) != keySize || strings.ContainsAny(s, "\r\n") {
		return passwordHash{}, errHash
	}
	return h, nil
}

// prepare brings a password to the form that is hashed: NFC, so that two keyboards write the same ä (RFC 8265, section
// 4.2, without its mapping of spaces).
func prepare(p secret.Text) []byte { return norm.NFC.Bytes([]byte(p.Reveal())) }

// CheckPassword says what is wrong with a new password, as a *services.Problem with the field "password": too short,
// too long, not text, or easy to guess. about holds what a stranger would try first: names of the person, household
// and box.
func CheckPassword(p secret.Text, about ...string) error {
	bad := func(code string, say services.Sentence) error {
		return &services.Problem{Kind: services.KindInvalid, Code: code, Field: "password", Say: say}
	}
	text := p.Reveal()
	switch {
	case len(text) > MaxPassword:
		return bad("password-long", services.Say("account.password-long", "The password is longer than {max} bytes. A shorter one is just as safe.", "max", MaxPassword))
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return bad("password-form", services.Say("account.password-form", "The password holds something that is not text. Type it again."))
	case utf8.RuneCountInString(norm.NFC.String(text)) < MinPassword:
		return bad("password-short", services.Say("account.password-short", "The password needs at least {min} characters. Four words with spaces between them do well.", "min", MinPassword))
	case guessable(norm.NFC.String(text), about):
		return bad("password-common", services.Say("account.password-common", "This password is among the first that a stranger would try. Four words that have nothing to do with one another do well."))
	}
	return nil
}

// hasher hashes one password at a time, because each takes 64 MiB, for a bounded number who wait. Those who are
// known are served before those who are not.
type hasher struct {
	mu     sync.Mutex
	busy   bool
	queues [2][]chan struct{} // known, unknown
	idle   func()             // called when nobody waits any more
	peak   int                // most at work at once; for tests
	atWork int
}

const maxQueue = 16 // of each kind: eight seconds on a Pi 4, more than anyone waits for

func (h *hasher) init() { h.idle = debug.FreeOSMemory }

// errBusy is returned by acquire when too many wait already.
var errBusy = errors.New("too many wait for hashing")

// acquire waits for the turn to hash; release must follow when it returns nil.
func (h *hasher) acquire(ctx context.Context, known bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h.mu.Lock()
	if !h.busy {
		h.busy = true
		h.mu.Unlock()
		return nil
	}
	q := &h.queues[1]
	if known {
		q = &h.queues[0]
	}
	if len(*q) >= maxQueue {
		h.mu.Unlock()
		return errBusy
	}
	turn := make(chan struct{}, 1)
	*q = append(*q, turn)
	h.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	h.mu.Lock()
	for i, c := range *q {
		if c == turn {
			*q = append((*q)[:i:i], (*q)[i+1:]...)
			h.mu.Unlock()
			return ctx.Err()
		}
	}
	h.mu.Unlock()
	h.release() // the turn came at the same moment
	return ctx.Err()
}

func (h *hasher) release() {
	h.mu.Lock()
	for i := range h.queues {
		if q := h.queues[i]; len(q) > 0 {
			h.queues[i] = q[1:]
			q[0] <- struct{}{}
			h.mu.Unlock()
			return
		}
	}
	h.busy = false
	h.mu.Unlock()
	// 64 MiB of garbage is nearly half the box's idle budget; the next collection may be minutes away.
	h.idle()
}

func (h *hasher) key(p Params, password, salt []byte) []byte {
	h.mu.Lock()
	h.atWork++
	h.peak = max(h.peak, h.atWork)
	h.mu.Unlock()
	k := argon2.IDKey(password, salt, p.Time, p.Memory, p.Threads, keySize)
	h.mu.Lock()
	h.atWork--
	h.mu.Unlock()
	return k
}

// make hashes a new password. The caller holds the turn.
func (h *hasher) make(p Params, password secret.Text) passwordHash {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	return passwordHash{Params: p, salt: salt, key: h.key(p, prepare(password), salt)}
}

// fits says whether password is the one of k. The caller holds the turn.
func (h *hasher) fits(k passwordHash, password secret.Text) bool {
	return subtle.ConstantTimeCompare(h.key(k.Params, prepare(password), k.salt), k.key) == 1
}
