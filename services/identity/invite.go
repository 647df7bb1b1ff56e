package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/joinwire"
	"hearth.alt/services/identity/internal/spake2"
)

// JoinProtocol is the ProtocolName by which an unclaimed box joins the household of one that invited it; its bytes are
// described in internal/joinwire.
const JoinProtocol = "/identity/join/v1"

const (
	// InviteLife is how long an invitation of a box is good.
	InviteLife = 10 * time.Minute
	// SpokenTries is how often the code of an invitation may be tried.
	SpokenTries = 5

	keptEnded    = 16
	joinPatience = 30 * time.Second // for the next frame
)

// InvitationsConfig is what NewInvitations needs. All but Log and Joined are required.
type InvitationsConfig struct {
	Self services.PeerID
	// Household is who belongs, Add takes a box in and Records is the log: see Service.
	Household func() *services.Membership
	Add       func(ctx context.Context, n NewBox) (services.Box, error)
	Records   func() [][]byte
	// Joined is told of each box that was taken in. ctx acts for the one who invited.
	Joined func(ctx context.Context, box services.Box)
	// Now is the known time.
	Now func() time.Time
	// Log takes what happened; nil discards it.
	Log *slog.Logger
}

// InvitationsOf returns the configuration for the household of s.
func InvitationsOf(s *Service) InvitationsConfig {
	return InvitationsConfig{
		Self: s.self, Household: s.Membership, Add: s.AddBox, Records: s.RecordBytes, Now: s.cfg.Now, Log: s.cfg.Log,
	}
}

// Invitations is the invitation of a box that is open, at most one, in memory only: a start ends it. Methods are safe for
// concurrent use.
type Invitations struct {
	cfg InvitationsConfig

	mu    sync.Mutex
	open  *invitation
	ended []ended // the newest last
}

// invitation keeps of its secret the hash only. The code is needed as it is.
type invitation struct {
	by        actor
	root      [32]byte
	hash      [sha256.Size]byte
	code      SpokenCode
	began     time.Time // monotonic: setting the clock back gives no second life
	expires   time.Time
	codeTries int
	used      services.PeerID // by whom
}

// ended remembers why an invitation is none any more, so that whoever comes late is told.
type ended struct {
	hash [sha256.Size]byte
	why  joinwire.Reason
}

// NewInvitations returns the invitations of a household. None is open.
func NewInvitations(c InvitationsConfig) *Invitations {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Joined == nil {
		c.Joined = func(context.Context, services.Box) {}
	}
	return &Invitations{cfg: c}
}

// Invitation is what the people who carry it need.
type Invitation struct {
	Link InviteLink
	Code SpokenCode
}

// Open makes an invitation on behalf of whom ctx acts for, in place of the former one. candidates are where this box
// may be found; those that no link can hold, and all after the eighth, are left out. Codes: not-claimed, frozen, read-only,
// not-there.
func (v *Invitations) Open(ctx context.Context, candidates []netip.AddrPort) (Invitation, error) {
	m := v.cfg.Household()
	act := actorOf(ctx)
	switch {
	case !m.Claimed():
		return Invitation{}, notClaimed()
	case m.ReadOnly:
		return Invitation{}, &services.Problem{
			Kind: services.KindUnavailable, Code: "read-only",
			Say: services.Say("identity.invite.unable", "Who belongs cannot change at the moment, so no box can be invited. The first page says why."),
		}
	case !mayInvite(m, act):
		return Invitation{}, &services.Problem{
			Kind: services.KindDenied, Code: "not-there",
			Say: services.Say("identity.not-there", "You do not belong to this household any more, so nothing was changed."),
		}
	}
	i := &invitation{by: act, root: [32]byte(m.Household.Root), code: NewSpokenCode(), began: time.Now(), expires: v.cfg.Now().Add(InviteLife).Truncate(time.Second)}
	link := InviteLink{
		Kind: InviteBox, Inviter: v.cfg.Self, Root: m.Household.Root, Name: m.Household.Name, Candidates: goodCandidates(candidates),
		Secret: NewInviteSecret(), Expires: i.expires,
	}
	i.hash = sha256.Sum256(link.Secret[:])
	v.mu.Lock()
	defer v.mu.Unlock()
	v.endLocked(joinwire.Withdrawn)
	v.open = i
	return Invitation{Link: link, Code: i.code}, nil
}

// mayInvite says whether a may still let boxes in: the box itself, or an owner who belongs.
func mayInvite(m *services.Membership, a actor) bool {
	if a.by == "" {
		return true
	}
	p, ok := m.Person(a.by)
	return ok && p.State == services.StateActive && p.Role == services.RoleOwner
}

// Cancel ends the open invitation, if there is one.
func (v *Invitations) Cancel() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.endLocked(joinwire.Withdrawn)
}

// endLocked ends the open invitation; of one that was used, that is what is remembered.
func (v *Invitations) endLocked(why joinwire.Reason) {
	if v.open == nil {
		return
	}
	if !v.open.used.IsZero() {
		why = joinwire.Used
	}
	v.ended = append(v.ended, ended{v.open.hash, why})
	v.ended = v.ended[max(0, len(v.ended)-keptEnded):]
	v.open = nil
}

// lookLocked returns the open invitation, after it ended what is over.
func (v *Invitations) lookLocked() *invitation {
	if i := v.open; i != nil && (!v.cfg.Now().Before(i.expires) || time.Since(i.began) >= InviteLife) {
		v.endLocked(joinwire.Expired)
	}
	return v.open
}

// InvitationState is how the newest invitation stands.
type InvitationState struct {
	Open    bool
	Expires time.Time
	Used    services.PeerID // the box that came with it; the zero PeerID while it waits
	Tries   int             // that the spoken code has left
}

// State says how the open invitation stands; the zero state is that there is none.
func (v *Invitations) State() InvitationState {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := v.lookLocked()
	if i == nil {
		return InvitationState{}
	}
	return InvitationState{Open: true, Expires: i.expires, Used: i.used, Tries: SpokenTries - i.codeTries}
}

// Allow says whether peer may speak JoinProtocol: anybody, while an invitation waits; once it was used the box that used it,
// until its time is up, for it may have lost the connection.
func (v *Invitations) Allow(peer services.PeerID) bool {
	s := v.State()
	return s.Open && (s.Used.IsZero() || s.Used == peer)
}

// JoinStream is the stream of bytes that JoinProtocol is spoken on; link.Stream is one.
type JoinStream interface {
	Read(b []byte) (int, error)
	Write(b []byte) (int, error)
	SetDeadline(t time.Time) error
}

// refusal is an answer, not a trouble.
type refusal struct{ joinwire.Refused }

func (r refusal) Error() string { return fmt.Sprintf("refused for reason %d", r.Reason) }

func refuse(why joinwire.Reason) error { return refusal{joinwire.Refused{Reason: why}} }

// Serve answers peer, which holds the key that its PeerID is, until it was taken in or refused. It waits 30 s for each frame
// and does not close rw. The error is for the log; a refusal is none.
func (v *Invitations) Serve(ctx context.Context, peer services.PeerID, rw JoinStream) error {
	f := framer{ctx: ctx, rw: rw}
	defer f.watch()()
	err := v.serve(ctx, peer, &f)
	var no refusal
	if errors.As(err, &no) {
		v.cfg.Log.Info("a box is not taken in", "peer", peer, "reason", int(no.Reason))
		return f.write(no.Refused)
	}
	return err
}

func (v *Invitations) serve(ctx context.Context, peer services.PeerID, f *framer) error {
	first, err := f.read()
	if err != nil {
		return err
	}
	var taken joinwire.Taken
	var name string
	var i *invitation
	switch first := first.(type) {
	case joinwire.Secret:
		name = first.Name
		i, err = v.bySecret(sha256.Sum256(first.Secret[:]))
	case joinwire.Code:
		i, name, taken.Confirmation, err = v.byCode(peer, first, f)
	default:
		err = fmt.Errorf("%w: %T comes first", joinwire.ErrMalformed, first)
	}
	if err != nil {
		return err
	}
	if err := v.take(ctx, i, peer, name); err != nil {
		return err
	}
	records := v.cfg.Records()
	taken.Count = uint32(len(records))
	if err := f.write(taken); err != nil {
		return err
	}
	for _, r := range joinwire.Chunks(records) {
		if err := f.write(r); err != nil {
			return err
		}
	}
	return nil
}

// bySecret finds the invitation with the secret whose hash is given.
func (v *Invitations) bySecret(hash [sha256.Size]byte) (*invitation, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := v.lookLocked()
	if i != nil && subtle.ConstantTimeCompare(i.hash[:], hash[:]) == 1 {
		return i, nil
	}
	for _, e := range v.ended {
		if subtle.ConstantTimeCompare(e.hash[:], hash[:]) == 1 {
			return nil, refuse(e.why)
		}
	}
	// However often: 128 bits are not guessed, and a stranger at home could else end the invitation.
	return nil, refuse(joinwire.Unknown)
}

// byCode has peer prove the spoken code. Each run is a try from its beginning, so that trying many at the same time
// gives no more of them; the one that succeeds is given back.
func (v *Invitations) byCode(peer services.PeerID, c joinwire.Code, f *framer) (i *invitation, name string, confirmation []byte, err error) {
	v.mu.Lock()
	switch i = v.lookLocked(); {
	case i == nil && len(v.ended) > 0:
		err = refuse(v.ended[len(v.ended)-1].why)
	case i == nil:
		err = refuse(joinwire.Unknown)
	case i.codeTries >= SpokenTries:
		err = refuse(joinwire.Tries)
	default:
		i.codeTries++
	}
	left := 0
	if err == nil {
		left = SpokenTries - i.codeTries
	}
	v.mu.Unlock()
	if err != nil {
		return nil, "", nil, err
	}
	run := spake2.NewB(i.code.secret(), spake2.Names{A: peer[:], B: v.cfg.Self[:]})
	if err := run.Take(c.Share[:], joinData(i.root)); err != nil {
		return nil, "", nil, err
	}
	if err := f.write(joinwire.Share{Share: [spake2.ShareSize]byte(run.Share()), Root: i.root}); err != nil {
		return nil, "", nil, err
	}
	answer, err := f.read()
	if err != nil {
		return nil, "", nil, err
	}
	confirm, ok := answer.(joinwire.Confirm)
	switch {
	case !ok:
		return nil, "", nil, fmt.Errorf("%w: %T is no confirmation", joinwire.ErrMalformed, answer)
	case !run.Verify(confirm.Confirmation[:]):
		if left == 0 {
			return nil, "", nil, refuse(joinwire.Tries)
		}
		return nil, "", nil, refusal{joinwire.Refused{Reason: joinwire.CodeWrong, Left: uint8(left)}}
	}
	v.mu.Lock()
	i.codeTries--
	v.mu.Unlock()
	return i, confirm.Name, run.Confirmation(), nil
}

// joinData is what both ends of SPAKE2 must agree on besides who they are.
func joinData(root [32]byte) []byte { return append([]byte(JoinProtocol+" "), root[:]...) }

// take makes peer a box of the household, once for each invitation.
func (v *Invitations) take(ctx context.Context, i *invitation, peer services.PeerID, name string) error {
	v.mu.Lock()
	switch {
	case v.lookLocked() != i: // while the code was proven
		defer v.mu.Unlock()
		return refuse(v.ended[len(v.ended)-1].why)
	case i.used != peer && !i.used.IsZero():
		defer v.mu.Unlock()
		return refuse(joinwire.Used)
	case !mayInvite(v.cfg.Household(), i.by):
		v.endLocked(joinwire.Withdrawn)
		defer v.mu.Unlock()
		return refuse(joinwire.Withdrawn)
	}
	again := i.used == peer
	i.used = peer
	v.mu.Unlock()
	ctx = Acting(ctx, i.by.by, i.by.via)
	box, err := v.cfg.Add(ctx, NewBox{ID: peer, Name: name})
	if err != nil {
		if !again {
			v.mu.Lock()
			i.used = services.PeerID{} // it may try another name
			v.mu.Unlock()
		}
		v.cfg.Log.Info("a box is not added", "peer", peer, "error", err)
		return refuse(reasonOf(err))
	}
	if !again {
		v.cfg.Joined(ctx, box)
	}
	return nil
}

// reasons are those that the household has against a box.
var reasons = map[string]joinwire.Reason{
	"name-invalid": joinwire.NameInvalid, "name-taken": joinwire.NameTaken, "boxes-full": joinwire.Full, "log-full": joinwire.LogFull,
	"box-removed": joinwire.Removed, "not-there": joinwire.Withdrawn,
}

func reasonOf(err error) joinwire.Reason {
	if why, ok := reasons[services.AsProblem(err).Code]; ok {
		return why
	}
	return joinwire.Unable
}

// framer reads and writes frames with patience for each.
type framer struct {
	ctx context.Context
	rw  JoinStream
}

// watch ends reads and writes with ctx, until what it returns is called.
func (f *framer) watch() func() bool {
	return context.AfterFunc(f.ctx, func() { _ = f.rw.SetDeadline(time.Unix(1, 0)) })
}

func (f *framer) patience() error {
	if err := f.rw.SetDeadline(time.Now().Add(joinPatience)); err != nil {
		return err
	}
	return f.ctx.Err() // it may have ended just before
}

func (f *framer) read() (joinwire.Frame, error) {
	if err := f.patience(); err != nil {
		return nil, err
	}
	return joinwire.Read(f.rw)
}

func (f *framer) write(frame joinwire.Frame) error {
	if err := f.patience(); err != nil {
		return err
	}
	_, err := f.rw.Write(joinwire.Append(nil, frame))
	return err
}
