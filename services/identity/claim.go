package identity

import (
	"context"
	"crypto/rand"
	"fmt"
	rand2 "math/rand/v2"
	"net/netip"
	"slices"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
	"hearth.alt/services/secret"
)

// Claim is what the first owner says.
type Claim struct {
	Household string // its name, "Smith"
	Box       string // the box's name, "Hearth"
	Owner     string // the owner's name
	// OwnerID is the owner's identifier, made beforehand with NewPersonID so that other services may prepare; ""
	// makes one.
	OwnerID services.PersonID
	// Avoid are the networks the box is in now: the household's own is chosen apart from them. May be nil.
	Avoid []netip.Prefix
}

// Check says what does not hold in c, and brings its names into the form that is kept. Codes: name-invalid (with the
// field household, box or owner), id-invalid.
func (c *Claim) Check() (err error) {
	if c.Household, err = cleanName("household", c.Household); err != nil {
		return err
	}
	if c.Box, err = cleanName("box", c.Box); err != nil {
		return err
	}
	if c.Owner, err = cleanName("owner", c.Owner); err != nil {
		return err
	}
	if c.OwnerID != "" && !c.OwnerID.Valid() {
		return badID("owner")
	}
	return nil
}

// Claim makes the household: root key, genesis, this box and its first owner, written in one piece. Of any number
// of calls exactly one succeeds, for ever. After a power cut all of it is there or none, and then it may be called
// again.
//
// Codes: already-claimed, name-invalid (with the field household, box or owner), id-invalid.
func (s *Service) Claim(ctx context.Context, c Claim) error {
	if err := c.Check(); err != nil {
		return err
	}
	if c.OwnerID == "" {
		c.OwnerID = NewPersonID()
	}
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	if err := s.unowned(); err != nil {
		return err
	}
	if err := s.makeHousehold(ctx, c); err != nil {
		return err
	}
	s.mu.Lock()
	s.words = wordsPending
	s.mu.Unlock()
	s.publish(s.state.membership())
	s.cfg.Log.Info("household claimed", "box", s.self.String())
	return nil
}

func (s *Service) makeHousehold(ctx context.Context, c Claim) error {
	key, err := s.cfg.Keys.MakeRoot(ctx)
	if err != nil {
		return fmt.Errorf("making the household root: %w", err)
	}
	next := newEntropy()
	if err := s.cfg.Keys.KeepNextRoots(ctx, []secret.Bytes{secret.NewBytes(next[:])}); err != nil {
		return fmt.Errorf("keeping what new words take: %w", err)
	}
	root := record.Root(key)
	sign := func(message []byte) ([]byte, error) { return s.cfg.Keys.SignWithRoot(ctx, message) }
	now := s.cfg.Now()
	genesis, err := record.Seal(record.Record{
		Author: root, Sequence: 1, Time: now,
		Payload: record.Genesis{Name: c.Household, Label: Label(c.Household, "home"), Net4: randomNet4(c.Avoid), Net6: randomNet6(), NextRoot: announcement(next)},
	}, sign)
	if err != nil {
		return fmt.Errorf("signing genesis: %w", err)
	}
	state, err := newHousehold(s.self, genesis)
	if err != nil {
		return err
	}
	box, err := record.Seal(record.Record{
		Author: root, Sequence: 2, Time: now, Parents: []record.ID{genesis.ID()},
		Payload: record.AddBox{Box: s.self, Name: c.Box, Label: Label(c.Box, "box"), Host: 1},
	}, sign)
	if err != nil {
		return fmt.Errorf("signing the box in: %w", err)
	}
	if err := state.apply(box); err != nil {
		return err
	}
	owner, err := s.seal(ctx, state, actor{}, record.AddPerson{Person: c.OwnerID, Name: c.Owner, Role: services.RoleOwner, LAN: true})
	if err != nil {
		return err
	}
	if err := s.write(genesis, box, owner); err != nil {
		return err
	}
	s.state = state
	s.share([]*record.Record{genesis, box, owner})
	return nil
}

// unowned returns why this box cannot become somebody's. The caller holds writing.
func (s *Service) unowned() error {
	if s.state != nil {
		return &services.Problem{
			Kind: services.KindConflict, Code: "already-claimed",
			Say: services.Say("identity.claimed", "This box already belongs to somebody."),
		}
	}
	s.mu.Lock()
	fault := s.fault
	s.mu.Unlock()
	if fault.any() {
		return s.writable()
	}
	return nil
}

// randomNet4 chooses 10.x.y.0/24 with x from 16 to 239, because routers and containers like the ends of 10/8, and
// apart from the networks to avoid.
func randomNet4(avoid []netip.Prefix) netip.Prefix {
	const firsts, all = 224, 224 * 256 // 10.16.0.0/24 to 10.239.255.0/24
	start := rand2.IntN(all)
	at := func(i int) netip.Prefix {
		i = (start + i) % all
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(16 + i%firsts), byte(i / firsts), 0}), 24)
	}
	for i := range all {
		if p := at(i); !slices.ContainsFunc(avoid, p.Overlaps) {
			return p
		}
	}
	return at(0) // where the networks to avoid cover all there is to choose from, one has to live with it
}

// randomNet6 chooses a /48 of locally assigned addresses with 40 random bits (RFC 4193, section 3.1).
func randomNet6() netip.Prefix {
	var a [16]byte
	a[0] = 0xfd
	rand.Read(a[1:6])
	return netip.PrefixFrom(netip.AddrFrom16(a), 48)
}

// Words returns the 24 recovery words while they are not confirmed. Codes: not-claimed, words-confirmed.
func (s *Service) Words(ctx context.Context) ([]secret.Text, error) {
	if !s.Membership().Claimed() {
		return nil, notClaimed()
	}
	words, err := s.cfg.Keys.RootWords(ctx)
	s.noteWords(err)
	return words, err
}

// noteWords remembers what the keeper's answer to RootWords says.
func (s *Service) noteWords(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.words = wordsPending
	case isCode(err, "words-confirmed"):
		s.words = wordsConfirmed
	}
}

// WordsPending says whether the recovery words are still to be confirmed. The first call after a start asks the
// keeper, for at most two seconds; while the keeper does not answer, they count as pending.
func (s *Service) WordsPending() bool {
	if !s.Membership().Claimed() {
		return false
	}
	s.mu.Lock()
	known := s.words
	s.mu.Unlock()
	if known == wordsUnknown {
		ctx, cancel := context.WithTimeout(context.Background(), keeperPatience)
		defer cancel()
		_, err := s.cfg.Keys.RootWords(ctx)
		s.noteWords(err)
		s.mu.Lock()
		known = s.words
		s.mu.Unlock()
	}
	return known != wordsConfirmed
}

// CheckWords says whether these are the household's recovery words: nil when they are, and then the root's private
// half has been erased from the box, durably. Words may come in one string or in 24.
//
// Codes: not-claimed; words-count, words-unknown, words-wrong, words-swapped, words-misfit and words-other, each
// with one sentence about the first thing that is wrong; words-former, where they were until new ones came.
func (s *Service) CheckWords(ctx context.Context, words []string) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	state := s.state
	s.unlock()
	if state == nil {
		return notClaimed()
	}
	if err := state.checkWords(splitWords(words)); err != nil {
		return err
	}
	s.mu.Lock()
	known := s.words
	s.mu.Unlock()
	if known == wordsConfirmed {
		return nil
	}
	if err := s.cfg.Keys.EraseRoot(ctx); err != nil {
		return fmt.Errorf("erasing the household root: %w", err)
	}
	s.mu.Lock()
	s.words = wordsConfirmed
	s.mu.Unlock()
	s.cfg.Log.Info("recovery words confirmed, root erased")
	return nil
}
