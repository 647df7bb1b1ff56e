package pages

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/services"
	"hearth.alt/services/claimcode"
	"hearth.alt/services/identity"
	"hearth.alt/services/secret"
	"hearth.alt/webui"
	"hearth.alt/webui/house"
)

// proofLife is how long a typed claim code counts before it must be typed again.
const proofLife = time.Hour

// proofs remembers who proved the claim code, in memory: after a restart it is typed again.
type proofs struct {
	mu   sync.Mutex
	good map[string]time.Time
}

func (p *proofs) add(now time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t, at := range p.good {
		if now.Sub(at) > proofLife {
			delete(p.good, t)
		}
	}
	if p.good == nil || len(p.good) >= 64 { // whoever floods has the code; starting over costs one more typing
		p.good = map[string]time.Time{}
	}
	token := rand.Text()
	p.good[token] = now
	return token
}

func (p *proofs) has(token string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.good[token]
	return ok && now.Sub(at) <= proofLife
}

func (p *proofs) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.good = nil
}

// CodeProblem says in one sentence what does not fit in a claim code.
func CodeProblem(err error) error {
	p := &services.Problem{Kind: services.KindInvalid, Code: "claim-code", Field: "code", Cause: err}
	var e *claimcode.ParseError
	if !errors.As(err, &e) {
		p.Say = services.Say("claim.code-unread", "The claim code could not be read. It has 16 letters and numbers, or eight words.")
		return p
	}
	switch e.Reason {
	case claimcode.ReasonEmpty:
		p.Say = services.Say("claim.code-empty", "Type the claim code. It has 16 letters and numbers, or eight words.")
	case claimcode.ReasonLength:
		p.Say = services.Say("claim.code-length", "The claim code has {want} letters and numbers; {count} were typed.", "want", e.Want, "count", e.Count)
	case claimcode.ReasonLetter:
		p.Say = services.Say("claim.code-letter", "Group {position} of the claim code has a letter that no code has.", "position", e.Position)
	case claimcode.ReasonWordCount:
		p.Say = services.Say("claim.code-word-count", "The claim code has {want} words; {count} were typed.", "want", e.Want, "count", e.Count)
	case claimcode.ReasonWord:
		p.Say = services.Say("claim.code-word", "Word {position} of the claim code is not one of the words that are used. Look at its spelling.", "position", e.Position)
	default:
		p.Say = services.Say("claim.code-checksum", "These words do not belong together. One of them is another word, or two changed places.")
	}
	return p
}

var errWrongCode = &services.Problem{
	Kind: services.KindDenied, Code: "wrong-code", Field: "code",
	Say: services.Say("claim.wrong-code", "This is not the claim code of this box. Compare it with the claim sheet, character by character."),
}

// errNotProven leads back to the first step: the hour is over, or the box started anew.
var errNotProven = &services.Problem{
	Kind: services.KindSignIn, Code: "prove-code",
	Say: services.Say("claim.prove-code", "Type the claim code once more; it counts for an hour."),
}

// claimed says that the box has an owner in the way the pages know it.
func claimed(err error) error {
	if errors.Is(err, api.ErrClaimed) {
		return &services.Problem{Kind: services.KindConflict, Code: "claimed", Say: api.ErrClaimed.Say}
	}
	return err
}

// ProveCode checks a typed claim code.
func (h *House) ProveCode(ctx context.Context, code secret.Text) (string, error) {
	if err := claimed(h.API.MayClaim()); err != nil {
		return "", err
	}
	address := webui.CallerOf(ctx).Address
	if wait := h.Guesses.Wait(address); wait > 0 {
		return "", busy(wait)
	}
	typed, err := claimcode.Parse(code.Reveal())
	if err != nil {
		return "", CodeProblem(err)
	}
	right, ok := h.ClaimCode()
	if !ok || !right.Equal(typed) {
		h.Guesses.Wrong(address)
		return "", errWrongCode
	}
	return h.proofs.add(time.Now()), nil
}

func busy(wait time.Duration) error {
	minutes := int((wait + time.Minute - 1) / time.Minute)
	return &services.Problem{
		Kind: services.KindBusy, Code: "too-many-tries",
		Say: services.Say("claim.too-many-tries", "There were too many wrong tries. Try again in {minutes, plural, one {a minute} other {# minutes}}.", "minutes", minutes),
	}
}

// Proved says whether token stands for a proven code. Inside the seal the code was proven by opening it.
func (h *House) Proved(ctx context.Context, token string) bool {
	return webui.Sealed(ctx) || h.proofs.has(token, time.Now())
}

// Claim makes the household and signs its owner in.
func (h *House) Claim(ctx context.Context, token string, form house.ClaimForm) (string, error) {
	if !h.Proved(ctx, token) {
		return "", errNotProven
	}
	if _, err := h.API.Claim(ctx, webui.CallerOf(ctx), api.ClaimInput{Household: form.Household, Box: form.Box, Owner: form.Owner, Password: form.Password}); err != nil {
		return "", claimed(err)
	}
	h.proofs.clear()
	h.chooseZone(form)
	return h.SignIn(ctx, form.Owner, form.Password)
}

// homeZones are the zones of languages that are mostly spoken in one.
var homeZones = map[string]string{"de": "Europe/Berlin"}

// chooseZone takes the zone of the browser that claims, or else the language's, where nobody chose one. Without either
// times are shown in UTC, which then says so.
func (h *House) chooseZone(form house.ClaimForm) {
	if h.API.Zone.Set(form.Zone) != nil && h.API.Zone.Location() == nil {
		_ = h.API.Zone.Set(homeZones[form.Language]) // it can be chosen at any time
	}
}

// Words returns the recovery words while they wait to be confirmed.
func (h *House) Words(ctx context.Context) ([]secret.Shown, error) {
	if err := h.least(ctx, services.RoleOwner); err != nil {
		return nil, err
	}
	return h.API.Words(ctx, webui.CallerOf(ctx))
}

// AskedWords are three positions that depend on the household only, so that a reload asks the same.
func (h *House) AskedWords(ctx context.Context) ([]int, error) {
	if err := h.least(ctx, services.RoleOwner); err != nil {
		return nil, err
	}
	if h.API.Ownership() == api.Claimed && !h.API.Identity.WordsPending() {
		return nil, identity.WordsConfirmed()
	}
	return positions(h.API.Identity.Membership().Household.Root), nil
}

// positions are three that depend on b only, one of each third of the list, so that all parts of the paper are looked at.
func positions(b []byte) []int { return []int{1 + int(b[0])%8, 9 + int(b[1])%8, 17 + int(b[2])%8} }

// ConfirmWords compares the asked words and erases the root's private half.
func (h *House) ConfirmWords(ctx context.Context, answers map[int]secret.Text) error {
	if err := h.least(ctx, services.RoleOwner); err != nil {
		return err
	}
	asked, err := h.AskedWords(ctx)
	if err != nil {
		return err
	}
	words, err := h.API.Words(ctx, webui.CallerOf(ctx))
	if err != nil {
		return err
	}
	if err := compare(words, asked, answers); err != nil {
		return err
	}
	_, err = h.API.CheckWords(ctx, webui.CallerOf(ctx), api.WordsInput{Words: revealed(words)})
	return err
}

func revealed(words []secret.Shown) []string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = w.Reveal()
	}
	return all
}

// compare says which of the answers to the asked positions are not the words.
func compare(words []secret.Shown, asked []int, answers map[int]secret.Text) error {
	all := revealed(words)
	var wrong []error
	for _, n := range asked {
		if !sameWord(answers[n].Reveal(), all[n-1]) {
			wrong = append(wrong, &services.Problem{
				Kind: services.KindInvalid, Code: "wrong-word", Field: fmt.Sprintf("word%d", n),
				Say: services.Say("claim.wrong-word", "Word {position} on the paper should be another one. Go back one step and compare it with the list.", "position", n),
			})
		}
	}
	return errors.Join(wrong...)
}

// NewWords are words that may take the place of the recovery words.
func (h *House) NewWords(ctx context.Context, former secret.Text) (n house.NewWords, err error) {
	err = h.byWords(ctx, func(caller services.Caller) error {
		out, err := h.API.NewWords(ctx, caller, api.NewWordsInput{Words: strings.Fields(former.Reveal())})
		if err != nil {
			return err
		}
		sum := sha256.Sum256([]byte(strings.Join(revealed(out.Words), " ")))
		n = house.NewWords{Words: out.Words, Asked: positions(sum[:])}
		return nil
	})
	return n, err
}

// ReplaceWords compares the asked words and makes the new ones count.
func (h *House) ReplaceWords(ctx context.Context, former secret.Text, answers map[int]secret.Text) error {
	n, err := h.NewWords(ctx, former)
	if err != nil {
		return err
	}
	if err := compare(n.Words, n.Asked, answers); err != nil {
		return err
	}
	_, err = h.API.NewWords(ctx, webui.CallerOf(ctx), api.NewWordsInput{Words: strings.Fields(former.Reveal()), New: revealed(n.Words)})
	return err
}
