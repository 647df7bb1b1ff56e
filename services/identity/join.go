package identity

import (
	"context"
	"errors"
	"fmt"
	"os"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/joinwire"
	"hearth.alt/services/identity/internal/spake2"
)

// JoinWith joins the household of the link, under the name, with the box that invited at the other end of rw: who opened
// it has made sure of that by its PeerID. It may be called again after whatever went wrong; the box that invited gives
// the same answer to the same box for as long as the invitation lasts. Nothing is written before all is there.
//
// Codes, each with its sentence: already-claimed, name-invalid, invite-kind, invite-expired, invite-unknown, invite-used,
// invite-withdrawn, invite-tries, name-taken, boxes-full, log-full, box-removed, join-unable, join-lost (the connection
// ended early) and join-refused (what came is not what was promised).
func (s *Service) JoinWith(ctx context.Context, rw JoinStream, link InviteLink, name string) error {
	name, err := s.mayJoin(ctx, name)
	switch {
	case err != nil:
		return err
	case link.Kind != InviteBox:
		return &services.Problem{
			Kind: services.KindInvalid, Code: "invite-kind", Field: "link",
			Say: services.Say("identity.join.kind", "This invitation is for a friend's household, not for a box of this one. Make one for a box."),
		}
	case link.Expired(s.cfg.Now()):
		return joinRefused(joinwire.Refused{Reason: joinwire.Expired}, name)
	}
	f := framer{ctx: ctx, rw: rw}
	defer f.watch()()
	if err := f.write(joinwire.Secret{Secret: link.Secret, Name: name}); err != nil {
		return joinLost(ctx, err)
	}
	return s.finishJoin(ctx, &f, JoinLog{Root: [32]byte(link.Root), Inviter: link.Inviter}, name, nil)
}

// JoinWithCode is JoinWith by the spoken code, with the box peer at the other end. That it is the one that shows the code
// is proven before anything of it is believed. Further codes: code-wrong, and join-impostor when peer does not know the
// code that this box was told is right.
func (s *Service) JoinWithCode(ctx context.Context, rw JoinStream, peer services.PeerID, code SpokenCode, name string) error {
	name, err := s.mayJoin(ctx, name)
	if err != nil {
		return err
	}
	f := framer{ctx: ctx, rw: rw}
	defer f.watch()()
	run := spake2.NewA(code.secret(), spake2.Names{A: s.self[:], B: peer[:]})
	if err := f.write(joinwire.Code{Share: [spake2.ShareSize]byte(run.Share())}); err != nil {
		return joinLost(ctx, err)
	}
	answer, err := f.read()
	if err != nil {
		return joinLost(ctx, err)
	}
	if no, ok := answer.(joinwire.Refused); ok {
		return joinRefused(no, name)
	}
	share, ok := answer.(joinwire.Share)
	if !ok {
		return joinStrange(fmt.Errorf("%T is no share", answer))
	}
	if err := run.Take(share.Share[:], joinData(share.Root)); err != nil {
		return joinStrange(err)
	}
	if err := f.write(joinwire.Confirm{Confirmation: [spake2.ConfirmationSize]byte(run.Confirmation()), Name: name}); err != nil {
		return joinLost(ctx, err)
	}
	return s.finishJoin(ctx, &f, JoinLog{Root: share.Root, Inviter: peer}, name, run)
}

// mayJoin says whether this box can join anybody, before an invitation is used up for it.
func (s *Service) mayJoin(ctx context.Context, name string) (string, error) {
	name, err := cleanName("name", name)
	if err != nil {
		return "", err
	}
	if err := s.lock(ctx); err != nil {
		return "", err
	}
	defer s.unlock()
	return name, s.unowned()
}

// finishJoin reads the log and joins. run is nil by link.
func (s *Service) finishJoin(ctx context.Context, f *framer, j JoinLog, name string, run *spake2.Run) error {
	answer, err := f.read()
	if err != nil {
		return joinLost(ctx, err)
	}
	if no, ok := answer.(joinwire.Refused); ok {
		return joinRefused(no, name)
	}
	taken, ok := answer.(joinwire.Taken)
	switch {
	case !ok, run == nil && taken.Confirmation != nil:
		return joinStrange(fmt.Errorf("%T with a confirmation of %d bytes", answer, len(taken.Confirmation)))
	case run != nil && !run.Verify(taken.Confirmation):
		return &services.Problem{
			Kind: services.KindDenied, Code: "join-impostor",
			Say: services.Say("identity.join.impostor", "The box that answered does not know the code, so this box did not join it. Somebody may stand between the two: make a new invitation, and scan it if you can."),
		}
	case taken.Count > joinwire.MaxRecords/64: // a record is longer than its signature
		return joinStrange(fmt.Errorf("it promises %d records", taken.Count))
	}
	size := 0
	for len(j.Records) < int(taken.Count) {
		next, err := f.read()
		if err != nil {
			return joinLost(ctx, err)
		}
		some, ok := next.(joinwire.Records)
		if !ok || len(some.Records) > int(taken.Count)-len(j.Records) {
			return joinStrange(fmt.Errorf("%T among the records", next))
		}
		for _, r := range some.Records {
			if size += 2 + len(r); size > joinwire.MaxRecords {
				return joinStrange(errors.New("the log is too long"))
			}
		}
		j.Records = append(j.Records, some.Records...)
	}
	return s.Join(ctx, j)
}

// joinStrange is for what no box of this version says.
func joinStrange(cause error) error {
	return &services.Problem{
		Kind: services.KindInvalid, Code: "join-refused", Cause: cause,
		Say: services.Say("identity.join.refused", "The other box sent a record of its household that does not fit the invitation, so nothing was changed. Make a new invitation there and try again."),
	}
}

func joinLost(ctx context.Context, cause error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(cause, joinwire.ErrMalformed):
		return joinStrange(cause)
	}
	say := services.Say("identity.join.lost", "The connection to the other box ended too early, so this box has not joined yet. Try once more with the same invitation.")
	if errors.Is(cause, os.ErrDeadlineExceeded) {
		say = services.Say("identity.join.silent", "The other box did not answer in time, so this box has not joined yet. Try once more with the same invitation.")
	}
	return &services.Problem{Kind: services.KindUnavailable, Code: "join-lost", Say: say, Cause: cause}
}

// joinRefused says why the other box did not take this one in.
func joinRefused(no joinwire.Refused, name string) error {
	p := func(kind services.Kind, code, field string, say services.Sentence) error {
		return &services.Problem{Kind: kind, Code: code, Field: field, Say: say}
	}
	switch no.Reason {
	case joinwire.Unknown:
		return InviteUnknown()
	case joinwire.Expired:
		return p(services.KindConflict, "invite-expired", "", services.Say("identity.join.expired", "This invitation has expired: it was good for ten minutes. Make a new one on the other box."))
	case joinwire.Used:
		return p(services.KindConflict, "invite-used", "", services.Say("identity.join.used", "This invitation was used by another box already; each lets one box in. Make a new one on the other box."))
	case joinwire.Withdrawn:
		return p(services.KindConflict, "invite-withdrawn", "", services.Say("identity.join.withdrawn", "This invitation was withdrawn. Make a new one on the other box."))
	case joinwire.Tries:
		return p(services.KindConflict, "invite-tries", "", services.Say("identity.join.tries", "Too many wrong codes were tried, so this invitation lets nobody in any more. Make a new one on the other box."))
	case joinwire.CodeWrong:
		return p(services.KindInvalid, "code-wrong", "code", services.Say("identity.join.code", "These are not the three words that the other box shows. Tries left: {left}.", "left", int(no.Left)))
	case joinwire.NameInvalid:
		return p(services.KindInvalid, "name-invalid", "name", services.Say("identity.join.name", "The other box cannot call a box {name}. Choose another name.", "name", name))
	case joinwire.NameTaken:
		return p(services.KindConflict, "name-taken", "name", services.Say("identity.join.taken", "The household already has a box called {name}. Choose another name; the invitation is still good.", "name", name))
	case joinwire.Full:
		return p(services.KindConflict, "boxes-full", "", services.Say("identity.join.full", "The household has no room for another box. Remove a box or a device there that is no longer used, then try once more."))
	case joinwire.LogFull:
		return p(services.KindUnavailable, "log-full", "", services.Say("identity.join.log-full", "The household's record of who belongs has reached its greatest size, so no box can be added to it."))
	case joinwire.Removed:
		return p(services.KindConflict, "box-removed", "", services.Say("identity.join.removed", "This box was removed from that household, and its key is not trusted there again. Set it up anew from a fresh card, then try once more."))
	}
	return p(services.KindUnavailable, "join-unable", "", services.Say("identity.join.unable", "The other box can take nobody in at the moment. Its first page says why."))
}

// InviteUnknown is what JoinWith answers where no such invitation is open; a box that has none open at all does not even
// speak JoinProtocol.
func InviteUnknown() error {
	return &services.Problem{
		Kind: services.KindConflict, Code: "invite-unknown",
		Say: services.Say("identity.join.unknown", "The other box has no such invitation open: it was used, withdrawn or is over, or the box was started since. Make a new one there."),
	}
}
