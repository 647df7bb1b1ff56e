package api

import (
	"context"

	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/secret"
)

// MayClaim says why the box cannot be claimed now; nil when it can.
func (h *House) MayClaim() error {
	switch h.Ownership() {
	case Claimed:
		return ErrClaimed
	case Lost:
		return ErrLost
	case Removed:
		return ErrRemoved
	}
	return nil
}

var errClaiming = &services.Problem{
	Kind: services.KindBusy, Code: "being-claimed",
	Say: services.Say("claim.being-claimed", "Somebody else is claiming this box right now. Look again in a minute."),
}

// Claim makes the household and its first owner. Of claims at the same time one goes on; the others are told so, and
// nothing of theirs stays.
func (h *House) Claim(ctx context.Context, caller services.Caller, in ClaimInput) (services.PersonID, error) {
	if err := h.MayClaim(); err != nil {
		return "", err
	}
	claim := identity.Claim{Household: in.Household, Box: in.Box, Owner: in.Owner, OwnerID: identity.NewPersonID(), Avoid: h.Networks()}
	if err := claim.Check(); err != nil {
		return "", err
	}
	if !h.claiming.TryLock() {
		return "", errClaiming
	}
	defer h.claiming.Unlock()
	if err := h.MayClaim(); err != nil {
		return "", err
	}
	owner := claim.OwnerID
	// The password first: a cut between the two leaves an unclaimed box and a password of nobody, which the
	// next start erases; the other order could leave a household that nobody can sign in to.
	if err := h.Account.SetFirstPassword(ctx, caller, owner, in.Password, in.Owner, in.Household, in.Box); err != nil {
		return "", err
	}
	if err := h.Identity.Claim(ctx, claim); err != nil {
		if e := h.Account.ErasePerson(ctx, owner); e != nil {
			h.Log.Warn("the password of a claim that did not happen stays until the next start", "error", e)
		}
		return "", err
	}
	h.audit(ctx, caller, "claimed", in.Household)
	return owner, nil
}

// ClaimHere is Claim on the console: opening it is the proof.
func (h *House) ClaimHere(ctx context.Context, caller services.Caller, in ClaimInput) (ClaimOutput, error) {
	if _, err := h.Claim(ctx, caller, in); err != nil {
		return ClaimOutput{}, err
	}
	words, err := h.Words(ctx, caller)
	return ClaimOutput{Words: words}, err
}

// Words returns the recovery words, to an owner, while they wait to be confirmed.
func (h *House) Words(ctx context.Context, caller services.Caller) ([]secret.Shown, error) {
	if err := least(caller, services.RoleOwner); err != nil {
		return nil, err
	}
	words, err := h.Identity.Words(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]secret.Shown, len(words))
	for i, w := range words {
		out[i] = secret.Show(w)
	}
	return out, nil
}

// CheckWords compares the recovery words; right ones erase the root's private half and the claim secret.
func (h *House) CheckWords(ctx context.Context, caller services.Caller, in WordsInput) (WordsOutput, error) {
	if err := least(caller, services.RoleOwner); err != nil {
		return WordsOutput{}, err
	}
	pending := h.Identity.WordsPending()
	if err := h.Identity.CheckWords(ctx, in.Words); err != nil {
		return WordsOutput{}, err
	}
	if pending {
		h.audit(ctx, caller, "words-confirmed", "")
	}
	return WordsOutput{OK: true, Erased: pending, Already: !pending}, nil
}

// NewWordsInput is what "recover new-words" takes.
type NewWordsInput struct {
	Words []string `json:"words" help:"the 24 recovery words that count until now; with several boxes switch all on first, since what one changed that this one has not heard is lost" file:"words"`
	New   []string `json:"new,omitempty" help:"the 24 new ones, as the first answer showed them and you wrote them down" file:"new"`
}

// NewWordsOutput holds the new words, or says that they count.
type NewWordsOutput struct {
	Words    []secret.Shown `json:"words,omitempty"`
	Replaced bool           `json:"replaced"`
	Next     string         `json:"next"` // what is to be done now, for people
}

// NewWords shows an owner who has the recovery words new ones, and makes those count once they are typed.
func (h *House) NewWords(ctx context.Context, caller services.Caller, in NewWordsInput) (NewWordsOutput, error) {
	if err := least(caller, services.RoleOwner); err != nil {
		return NewWordsOutput{}, err
	}
	if len(in.New) == 0 {
		words, err := h.Identity.NewWords(ctx, in.Words)
		if err != nil {
			return NewWordsOutput{}, err
		}
		out := NewWordsOutput{Next: "The former words still count. Write these down on paper, type them from there into a file, and say hearth recover new-words once more within an hour, with that file as --new-file. Then erase both files."}
		for _, w := range words {
			out.Words = append(out.Words, secret.Show(w))
		}
		return out, nil
	}
	if err := h.Identity.ReplaceWords(ctx, in.Words, in.New); err != nil {
		return NewWordsOutput{}, err
	}
	h.audit(ctx, caller, "words-replaced", "")
	return NewWordsOutput{Replaced: true, Next: "The new words count from now on, on every box. The former ones are good for nothing: destroy that paper, and the files. An export from before goes with the former words only: make a new one."}, nil
}

// ResetPassword gives a person a new password, from the console, and ends their sessions.
func (h *House) ResetPassword(ctx context.Context, caller services.Caller, in PasswordInput) (PasswordOutput, error) {
	if caller.Face != services.FaceConsole {
		return PasswordOutput{}, ErrNotHere
	}
	p, err := h.person(in.Name)
	if err != nil {
		return PasswordOutput{}, err
	}
	password, err := h.Account.ResetPassword(ctx, caller, p.ID)
	return PasswordOutput{Name: p.Name, Password: secret.Show(password)}, err
}

// WayInByWords makes an invitation for an owner who forgot their password and has the recovery words: whoever has them
// has the household. Errors: those of identity's CheckWords, with field "words"; errNoOwner.
func (h *House) WayInByWords(ctx context.Context, caller services.Caller, name string, words []string) (secret.Text, error) {
	if h.Ownership() != Claimed {
		return secret.Text{}, ErrUnclaimed
	}
	pending := h.Identity.WordsPending()
	if err := h.Identity.CheckWords(ctx, words); err != nil {
		return secret.Text{}, err
	}
	if pending {
		h.audit(ctx, caller, "words-confirmed", "")
	}
	p, err := h.person(name)
	if err != nil || p.Role != services.RoleOwner || p.State != services.StateActive {
		return secret.Text{}, errNoOwner
	}
	maker := caller
	maker.Person = "" // the words let in, whoever is signed in there
	code, _, err := h.Account.CreateInvitation(ctx, maker, p.ID)
	if err != nil {
		return secret.Text{}, err
	}
	h.audit(ctx, caller, "way-in-by-words", p.Name)
	return code, nil
}

var errNoOwner = &services.Problem{
	Kind: services.KindInvalid, Code: "no-owner", Field: "name",
	Say: services.Say("house.no-owner", "The words are right, and no owner of this house has that name. Type the name as it stands in the list of people."),
}
