package identity

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/durable"
	"hearth.alt/services/identity/internal/record"
	"hearth.alt/services/secret"
)

// New recovery words take the place of those that were lost from sight. It takes the former words and a box: the log
// announces the hash of a root, the go-between, whose entropy is kept by the boxes and by nothing else. In one frame
//
//	the former root    makes the go-between the root, and announces that of the new words
//	the go-between     makes the root of the new words the root, and announces the next go-between
//	the new root       repeats that, and so comes to stand above all that the two before it can sign
//
// Whoever has the former words alone cannot sign the second, and whoever stole a box not the first; nor, afterwards, the
// third, though by then all keys are known (see Epochs in settle.go). Nobody but the owner ever has the new words: they are
// drawn when they are asked for. So new words also end what a stolen box knew.
//
// Where nothing is announced, in households from before, the former root announces the new one itself, which whoever has the
// words could do as well, at any time: only what comes after is safe from them. Who has both the former words and a box
// of that time can make words of their own as the owner can.

// draftLife is how long words that were shown may be confirmed.
const draftLife = time.Hour

// draft is new words that were shown and not confirmed. It is never written down.
type draft struct {
	entropy [EntropySize]byte
	begun   time.Time // monotonic
}

func (d draft) words() []secret.Text { return WordsFromEntropy(d.entropy) }

func newEntropy() (e [EntropySize]byte) {
	rand.Read(e[:])
	return e
}

// announcement is what a log announces of the root that the entropy stands for.
func announcement(entropy [EntropySize]byte) [32]byte {
	return sha256.Sum256(RootFromEntropy(entropy).Public().(ed25519.PublicKey))
}

// formerRoot is a root that gave way to another.
type formerRoot struct {
	root  ed25519.PublicKey
	until time.Time // by the clock of the box where it happened
}

// checkWords says whether these are the household's words, and tells those apart that once were.
func (h *household) checkWords(words []string) error {
	err := checkWords(words, h.is.Root)
	if !isCode(err, "words-other") {
		return err
	}
	entropy, bad := EntropyFromWords(words)
	for _, f := range h.former {
		if bad == nil && f.root.Equal(RootFromEntropy(entropy).Public()) {
			return &services.Problem{
				Kind: services.KindInvalid, Code: "words-former", Field: "words",
				Say: services.Say("identity.words.former", "These are recovery words of this household from before {date}. It has new ones since: take the newer paper.", "date", f.until),
			}
		}
	}
	return err
}

// rootOf is the root key that words stand for, in one string or in many. Codes: those of CheckWords.
func (h *household) rootOf(words []string) (ed25519.PrivateKey, error) {
	words = splitWords(words)
	if err := h.checkWords(words); err != nil {
		return nil, err
	}
	entropy, err := EntropyFromWords(words)
	if err != nil {
		return nil, err
	}
	return RootFromEntropy(entropy), nil
}

// NewWords returns 24 words that may take the place of the recovery words, the same ones for an hour; the recovery words
// stay what they are until ReplaceWords. Codes: those of CheckWords; words-elsewhere (this box does not have what it takes).
func (s *Service) NewWords(ctx context.Context, words []string) ([]secret.Text, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.unlock()
	if _, _, err := s.mayReplace(ctx, words); err != nil {
		return nil, err
	}
	if s.draft.begun.IsZero() || time.Since(s.draft.begun) > draftLife {
		s.draft = draft{newEntropy(), time.Now()}
	}
	return s.draft.words(), nil
}

// mayReplace returns the root that words stand for and the go-between, nil where none is announced. The caller holds writing.
func (s *Service) mayReplace(ctx context.Context, words []string) (root, between ed25519.PrivateKey, err error) {
	if err := s.writable(); err != nil {
		return nil, nil, err
	}
	root, err = s.state.rootOf(words)
	if err != nil || s.state.epoch.NextRoot == [32]byte{} {
		return root, nil, err
	}
	e, err := s.nextRoot(ctx, s.state.epoch.NextRoot)
	return root, RootFromEntropy(e), err
}

// nextRoot returns the kept entropy of the root that is announced by hash. Code: words-elsewhere.
func (s *Service) nextRoot(ctx context.Context, hash [32]byte) ([EntropySize]byte, error) {
	kept, err := s.cfg.Keys.NextRoots(ctx)
	if err != nil {
		return [EntropySize]byte{}, fmt.Errorf("reading what new words take: %w", err)
	}
	for _, k := range kept {
		if k.Len() == EntropySize && announcement([EntropySize]byte(k.Reveal())) == hash {
			return [EntropySize]byte(k.Reveal()), nil
		}
	}
	return [EntropySize]byte{}, &services.Problem{
		Kind: services.KindConflict, Code: "words-elsewhere",
		Say: services.Say("identity.words.elsewhere", "This box cannot make new words yet. Make them on a box that was in the house before this one, or wait until the two have been connected. Nothing was changed."),
	}
}

// ReplaceWords puts the words that NewWords returned in the place of the recovery words, for all boxes and for good, once
// they are typed. Codes: those of NewWords; with the field "new", words-not-shown (NewWords has to be asked first) and
// those of words that are not what was shown.
//
// Crash points: identity.words.kept, identity.words.written.
func (s *Service) ReplaceWords(ctx context.Context, words, new []string) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	former, between, err := s.mayReplace(ctx, words)
	if err != nil {
		return err
	}
	if s.draft.begun.IsZero() || time.Since(s.draft.begun) > draftLife {
		s.draft = draft{}
		return &services.Problem{
			Kind: services.KindConflict, Code: "words-not-shown", Field: "new",
			Say: services.Say("identity.words.not-shown", "The new words were shown too long ago, or the box was started since. The former words still count: begin again and write down the ones that are shown then."),
		}
	}
	fresh := RootFromEntropy(s.draft.entropy)
	if err := checkWords(splitWords(new), fresh.Public().(ed25519.PublicKey)); err != nil {
		return aboutNew(err)
	}
	next := newEntropy()
	kept, err := s.cfg.Keys.NextRoots(ctx)
	if err != nil {
		return fmt.Errorf("reading what new words take: %w", err)
	}
	kept = slices.DeleteFunc(kept, func(k secret.Bytes) bool {
		return k.Len() != EntropySize || announcement([EntropySize]byte(k.Reveal())) != s.state.epoch.NextRoot
	})
	// What the log will announce is kept before it does, beside what it announces until then.
	if err := s.cfg.Keys.KeepNextRoots(ctx, append(kept, secret.NewBytes(next[:]))); err != nil {
		return fmt.Errorf("keeping what the words after these take: %w", err)
	}
	durable.Point("identity.words.kept")
	made, state, err := s.succession(former, between, fresh, announcement(next))
	if err != nil {
		return err
	}
	if err := s.writeLong(made); err != nil { // the epochs in one piece
		return err
	}
	durable.Point("identity.words.written")
	s.draft = draft{}
	s.become(state, nil, made)
	s.cfg.Log.Info("the household has new recovery words", "records", len(made))
	s.forgetRoots(ctx)
	return nil
}

// aboutNew is err, of checkWords, about the new words.
func aboutNew(err error) error {
	var p *services.Problem
	if !errors.As(err, &p) {
		return err
	}
	q := *p
	q.Field = "new"
	if q.Code == "words-other" {
		q.Say = services.Say("identity.words.not-new", "These are 24 good recovery words, but they are not the new ones that were shown.")
	}
	return &q
}

// succession makes the epochs by which fresh follows former, through between, or without it where nothing was announced,
// and then announces announced.
func (s *Service) succession(former, between, fresh ed25519.PrivateKey, announced [32]byte) ([]*record.Record, *household, error) {
	key := func(k ed25519.PrivateKey) [32]byte { return [32]byte(k.Public().(ed25519.PublicKey)) }
	hash := func(k ed25519.PrivateKey) [32]byte { return sha256.Sum256(k.Public().(ed25519.PublicKey)) }
	type step struct {
		by, root ed25519.PrivateKey
		next     [32]byte
	}
	steps := []step{{former, between, hash(fresh)}, {between, fresh, announced}, {fresh, fresh, announced}}
	if between == nil {
		steps = []step{{former, former, hash(fresh)}, {former, fresh, announced}, {fresh, fresh, announced}}
	}
	author := record.Root(former.Public().(ed25519.PublicKey))
	sequence := map[record.Author]uint64{author: s.state.sequence[author]}
	var made []*record.Record
	sign := func(by ed25519.PrivateKey, p record.Payload, parents []record.ID) error {
		a := record.Root(by.Public().(ed25519.PublicKey))
		sequence[a]++
		r, err := s.signAs(by, record.Record{Sequence: sequence[a], Parents: parents, Payload: p})
		if err != nil {
			return err
		}
		made = append(made, r)
		return nil
	}
	parents, err := s.ends(author, func(p record.Payload, parents []record.ID) error { return sign(former, p, parents) }, &made)
	if err != nil {
		return nil, nil, err
	}
	for i, step := range steps {
		e := record.Epoch{Number: s.state.epoch.Number + uint64(i) + 1, Root: key(step.root), NextRoot: step.next}
		if err := sign(step.by, e, parents); err != nil {
			return nil, nil, err
		}
		parents = []record.ID{made[len(made)-1].ID()}
	}
	all := slices.Concat(s.shared.Set().Records(), made)
	next, err := fold(s.self, all[0].ID(), all)
	if err != nil {
		return nil, nil, err
	}
	if next.epoch.Root != key(fresh) || next.epoch.NextRoot != announced {
		return nil, nil, errors.New("the new words would not count")
	}
	return made, next, nil
}

// forgetSometime is forgetRoots once for each number of former roots: they may have given way on another box.
func (s *Service) forgetSometime(ctx context.Context) {
	if s.lock(ctx) != nil {
		return
	}
	defer s.unlock()
	if s.state != nil && len(s.state.former) > s.forgotten {
		s.forgetRoots(ctx)
	}
}

// forgetRoots drops what the box still has of roots that gave way to others, or that words stand for by now. The caller holds
// writing.
func (s *Service) forgetRoots(ctx context.Context) {
	if err := s.dropRoots(ctx); err != nil {
		s.cfg.Log.Warn("former roots are not erased yet; it is tried again", "error", err)
		return
	}
	s.forgotten = len(s.state.former)
	s.mu.Lock()
	s.words = wordsConfirmed
	s.mu.Unlock()
}

func (s *Service) dropRoots(ctx context.Context) error {
	if err := s.cfg.Keys.EraseRoot(ctx); err != nil {
		return err
	}
	kept, err := s.cfg.Keys.NextRoots(ctx)
	if err != nil {
		return err
	}
	roots := map[[32]byte]bool{sha256.Sum256(s.state.is.Root): true}
	for _, f := range s.state.former {
		roots[sha256.Sum256(f.root)] = true
	}
	n := len(kept)
	kept = slices.DeleteFunc(kept, func(k secret.Bytes) bool {
		return k.Len() != EntropySize || roots[announcement([EntropySize]byte(k.Reveal()))]
	})
	if len(kept) == n {
		return nil
	}
	return s.cfg.Keys.KeepNextRoots(ctx, kept)
}
