package identity_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity"
	"hearth.alt/services/identity/identitytest"
	"hearth.alt/services/identity/internal/joinwire"
	"hearth.alt/services/identity/internal/spake2"
)

// newcomer is a box that belongs to nobody yet.
type newcomer struct {
	*identity.Service
	keys *identitytest.Keys
	dir  string
	now  func() time.Time
}

func newNewcomer(t testing.TB, seed string) *newcomer {
	t.Helper()
	n := &newcomer{keys: identitytest.NewKeys(t.Name() + " new " + seed), dir: filepath.Join(t.TempDir(), "identity"), now: time.Now}
	n.start(t)
	return n
}

// start is a start of the box: what was in memory only is gone.
func (n *newcomer) start(t testing.TB) {
	t.Helper()
	var err error
	if n.Service, err = identity.New(identity.Config{Dir: n.dir, Keys: n.keys, Now: func() time.Time { return n.now() }}); err != nil {
		t.Fatal(err)
	}
}

func (n *newcomer) id() services.PeerID { return n.keys.PeerID() }

// meet runs both ends of one try and returns the new box's answer.
func meet(t testing.TB, v *identity.Invitations, peer services.PeerID, join func(identity.JoinStream) error) error {
	t.Helper()
	here, there := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = v.Serve(context.Background(), peer, there)
		_ = there.Close()
	}()
	err := join(here)
	_ = here.Close()
	<-done
	return err
}

func (n *newcomer) byLink(t testing.TB, v *identity.Invitations, l identity.InviteLink, name string) error {
	t.Helper()
	return meet(t, v, n.id(), func(rw identity.JoinStream) error { return n.JoinWith(t.Context(), rw, l, name) })
}

func (n *newcomer) byCode(t testing.TB, v *identity.Invitations, inviter services.PeerID, c identity.SpokenCode, name string) error {
	t.Helper()
	return meet(t, v, n.id(), func(rw identity.JoinStream) error { return n.JoinWithCode(t.Context(), rw, inviter, c, name) })
}

// half fails when there is anything of a household on the new box, or of the box in the household.
func (n *newcomer) half(t testing.TB, s *identity.Service) {
	t.Helper()
	n.start(t)
	if m := n.Membership(); m.Claimed() || m.ReadOnly {
		t.Error("the new box has half a household")
	}
	for _, b := range s.Membership().Boxes {
		if b.ID == n.id() {
			t.Error("the box belongs to the household and does not know")
		}
	}
}

func invite(t testing.TB, v *identity.Invitations, ctx context.Context) identity.Invitation {
	t.Helper()
	i, err := v.Open(ctx, []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:4433")})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func wrong(c identity.SpokenCode) identity.SpokenCode {
	for {
		if o := identity.NewSpokenCode(); o != c {
			return o
		}
	}
}

func TestJoinByLinkAndByCode(t *testing.T) {
	study := identitytest.Household(t)
	cfg := identity.InvitationsOf(study.Service)
	var told []string
	cfg.Joined = func(_ context.Context, b services.Box) { told = append(told, b.Name) }
	v := identity.NewInvitations(cfg)
	if v.Allow(services.PeerID{1}) || v.State().Open {
		t.Error("it is open before anybody was invited")
	}
	acting := identity.Acting(t.Context(), study.Owner, "")

	i := invite(t, v, acting)
	if l := i.Link; l.Inviter != study.Keys.PeerID() || l.Name != "Smith" || !l.Root.Equal(study.Membership().Household.Root) || len(l.Candidates) != 1 {
		t.Errorf("the link is %+v", l)
	}
	attic := newNewcomer(t, "attic")
	if err := attic.byLink(t, v, i.Link, "Attic"); err != nil {
		t.Fatal(err)
	}
	agree(t, study.Service, attic.Service)
	if v.Allow(services.PeerID{1}) || !v.Allow(attic.id()) {
		t.Error("once it was used it is open to strangers, or shut to who used it")
	}
	if s := v.State(); !s.Open || s.Used != attic.id() || s.Tries != identity.SpokenTries {
		t.Errorf("state is %+v", s)
	}
	if attic.WordsPending() {
		t.Error("a box that joined asks for words that it never had")
	}

	i = invite(t, v, acting)
	barn := newNewcomer(t, "barn")
	if err := barn.byCode(t, v, study.Keys.PeerID(), i.Code, "Barn"); err != nil {
		t.Fatal(err)
	}
	agree(t, study.Service, barn.Service)
	if fmt.Sprint(told) != "[Attic Barn]" {
		t.Errorf("told of %q", told)
	}
	// On the console nobody acts for a person.
	i = invite(t, v, t.Context())
	if err := newNewcomer(t, "shed").byLink(t, v, i.Link, "Shed"); err != nil {
		t.Fatal(err)
	}
}

// Each way to be refused has its sentence, and leaves nothing half done.
func TestJoinRefusals(t *testing.T) {
	type scene struct {
		study *identitytest.Claimed
		v     *identity.Invitations
		n     *newcomer
		now   time.Duration // by which the household's clock is ahead
		add   error         // of AddBox
	}
	problem := func(code string) error { return &services.Problem{Code: code} }
	for what, c := range map[string]struct {
		code string
		do   func(t *testing.T, s *scene, i identity.Invitation) error
	}{
		"replayed by another box": {"invite-used", func(t *testing.T, s *scene, i identity.Invitation) error {
			if err := newNewcomer(t, "first").byLink(t, s.v, i.Link, "First"); err != nil {
				return err
			}
			return s.n.byLink(t, s.v, i.Link, "Attic")
		}},
		"replayed after another invitation": {"invite-used", func(t *testing.T, s *scene, i identity.Invitation) error {
			if err := newNewcomer(t, "first").byLink(t, s.v, i.Link, "First"); err != nil {
				return err
			}
			invite(t, s.v, t.Context())
			return s.n.byLink(t, s.v, i.Link, "Attic")
		}},
		"code replayed by another box": {"invite-used", func(t *testing.T, s *scene, i identity.Invitation) error {
			if err := newNewcomer(t, "first").byLink(t, s.v, i.Link, "First"); err != nil {
				return err
			}
			return s.n.byCode(t, s.v, i.Link.Inviter, i.Code, "Attic")
		}},
		"expired": {"invite-expired", func(t *testing.T, s *scene, i identity.Invitation) error {
			s.now = identity.InviteLife
			return s.n.byLink(t, s.v, i.Link, "Attic")
		}},
		"expired, the code": {"invite-expired", func(t *testing.T, s *scene, i identity.Invitation) error {
			s.now = identity.InviteLife
			return s.n.byCode(t, s.v, i.Link.Inviter, i.Code, "Attic")
		}},
		"expired by the new box's clock": {"invite-expired", func(t *testing.T, s *scene, i identity.Invitation) error {
			s.n.now = func() time.Time { return i.Link.Expires }
			return s.n.JoinWith(t.Context(), nil, i.Link, "Attic")
		}},
		"withdrawn": {"invite-withdrawn", func(t *testing.T, s *scene, i identity.Invitation) error {
			s.v.Cancel()
			return s.n.byLink(t, s.v, i.Link, "Attic")
		}},
		"withdrawn by a newer one": {"invite-withdrawn", func(t *testing.T, s *scene, i identity.Invitation) error {
			invite(t, s.v, t.Context())
			return s.n.byLink(t, s.v, i.Link, "Attic")
		}},
		"made by somebody who was removed": {"invite-withdrawn", func(t *testing.T, s *scene, _ identity.Invitation) error {
			p := person(t, s.study.Service, "Ben", services.RoleOwner)
			if err := s.study.ActivatePerson(t.Context(), p.ID); err != nil {
				return err
			}
			i := invite(t, s.v, identity.Acting(t.Context(), p.ID, ""))
			if err := s.study.RemovePerson(t.Context(), p.ID); err != nil {
				return err
			}
			return s.n.byLink(t, s.v, i.Link, "Attic")
		}},
		"made by somebody who is no owner any more": {"invite-withdrawn", func(t *testing.T, s *scene, _ identity.Invitation) error {
			p := person(t, s.study.Service, "Ben", services.RoleOwner)
			if err := s.study.ActivatePerson(t.Context(), p.ID); err != nil {
				return err
			}
			i := invite(t, s.v, identity.Acting(t.Context(), p.ID, ""))
			member := services.RoleMember
			if err := s.study.ChangePerson(t.Context(), p.ID, identity.PersonChange{Role: &member}); err != nil {
				return err
			}
			return s.n.byLink(t, s.v, i.Link, "Attic")
		}},
		"another secret": {"invite-unknown", func(t *testing.T, s *scene, i identity.Invitation) error {
			i.Link.Secret = identity.NewInviteSecret()
			return s.n.byLink(t, s.v, i.Link, "Attic")
		}},
		"after a start of the box that invited": {"invite-unknown", func(t *testing.T, s *scene, i identity.Invitation) error {
			return s.n.byLink(t, identity.NewInvitations(identity.InvitationsOf(s.study.Service)), i.Link, "Attic")
		}},
		"a wrong code": {"code-wrong", func(t *testing.T, s *scene, i identity.Invitation) error {
			return s.n.byCode(t, s.v, i.Link.Inviter, wrong(i.Code), "Attic")
		}},
		"the right code as the sixth": {"invite-tries", func(t *testing.T, s *scene, i identity.Invitation) error {
			for try := range identity.SpokenTries {
				err := s.n.byCode(t, s.v, i.Link.Inviter, wrong(i.Code), "Attic")
				if try < identity.SpokenTries-1 {
					wantCode(t, err, "code-wrong")
				} else {
					wantCode(t, err, "invite-tries")
				}
			}
			return s.n.byCode(t, s.v, i.Link.Inviter, i.Code, "Attic")
		}},
		"an invitation for a friend": {"invite-kind", func(t *testing.T, s *scene, i identity.Invitation) error {
			i.Link.Kind = identity.InviteFriend
			return s.n.JoinWith(t.Context(), nil, i.Link, "Attic")
		}},
		"no name": {"name-invalid", func(t *testing.T, s *scene, i identity.Invitation) error {
			return s.n.JoinWith(t.Context(), nil, i.Link, " ")
		}},
		"a name that is taken": {"name-taken", func(t *testing.T, s *scene, i identity.Invitation) error {
			return s.n.byLink(t, s.v, i.Link, "hearth")
		}},
		"no room for a box": {"boxes-full", func(t *testing.T, s *scene, i identity.Invitation) error {
			s.add = problem("boxes-full")
			return s.n.byLink(t, s.v, i.Link, "Attic")
		}},
		"no room for a record": {"log-full", func(t *testing.T, s *scene, i identity.Invitation) error {
			s.add = problem("log-full")
			return s.n.byLink(t, s.v, i.Link, "Attic")
		}},
		"a frozen household": {"join-unable", func(t *testing.T, s *scene, i identity.Invitation) error {
			s.add = problem("frozen")
			return s.n.byCode(t, s.v, i.Link.Inviter, i.Code, "Attic")
		}},
		"a disk that takes nothing": {"join-unable", func(t *testing.T, s *scene, i identity.Invitation) error {
			s.add = errors.New("input/output error")
			return s.n.byLink(t, s.v, i.Link, "Attic")
		}},
	} {
		t.Run(what, func(t *testing.T) {
			s := &scene{study: identitytest.Household(t), n: newNewcomer(t, "attic")}
			cfg := identity.InvitationsOf(s.study.Service)
			cfg.Now = func() time.Time { return time.Now().Add(s.now) }
			cfg.Add = func(ctx context.Context, n identity.NewBox) (services.Box, error) {
				if s.add != nil {
					return services.Box{}, s.add
				}
				return s.study.AddBox(ctx, n)
			}
			s.v = identity.NewInvitations(cfg)
			i := invite(t, s.v, t.Context())
			err := c.do(t, s, i)
			wantCode(t, err, c.code)
			if p := services.AsProblem(err); p != nil && p.Kind == services.KindInternal {
				t.Errorf("it is taken for a fault of the program: %v", err)
			}
			s.n.half(t, s.study.Service)
		})
	}
}

// After a name that was taken, or a wrong code, the same invitation still lets the box in.
func TestJoinAfterARefusal(t *testing.T) {
	study := identitytest.Household(t)
	v := identity.NewInvitations(identity.InvitationsOf(study.Service))
	i := invite(t, v, t.Context())
	n := newNewcomer(t, "attic")
	wantCode(t, n.byCode(t, v, i.Link.Inviter, wrong(i.Code), "Attic"), "code-wrong")
	wantCode(t, n.byCode(t, v, i.Link.Inviter, i.Code, "Hearth"), "name-taken")
	for range identity.SpokenTries - 1 {
		if err := n.byCode(t, v, i.Link.Inviter, wrong(i.Code), "Attic"); err == nil {
			t.Fatal("a wrong code is right")
		}
	}
	wantCode(t, n.byCode(t, v, i.Link.Inviter, i.Code, "Attic"), "invite-tries")
	if err := n.byLink(t, v, i.Link, "Attic"); err != nil {
		t.Errorf("the link is dead with the code: %v", err)
	}
	wantCode(t, n.byLink(t, v, i.Link, "Attic"), "already-claimed")
}

// A box that was removed after it joined does not come back, not with the invitation that it joined by either.
func TestJoinOfARemovedBox(t *testing.T) {
	study := identitytest.Household(t)
	v := identity.NewInvitations(identity.InvitationsOf(study.Service))
	n := newNewcomer(t, "attic")
	i := invite(t, v, t.Context())
	if err := n.byLink(t, v, i.Link, "Attic"); err != nil {
		t.Fatal(err)
	}
	if err := study.RemoveBox(t.Context(), n.id()); err != nil {
		t.Fatal(err)
	}
	n.dir = filepath.Join(t.TempDir(), "wiped")
	n.start(t)
	wantCode(t, n.byLink(t, v, i.Link, "Attic"), "box-removed")
	wantCode(t, n.byLink(t, v, invite(t, v, t.Context()).Link, "Attic"), "box-removed")
	n.half(t, study.Service)
}

// cutting ends a connection after so many bytes came through it.
type cutting struct {
	net.Conn
	left *atomic.Int64
}

func (c cutting) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b[:min(len(b), 512)])
	if c.left.Add(-int64(n)) < 0 {
		_ = c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// The connection is lost after any number of bytes, and power with it on one side or the other: nothing is half done, and
// the next try, with the same invitation where it is still known, brings the box in once.
func TestJoinLostAnywhere(t *testing.T) {
	for _, way := range []string{"link", "code"} {
		for _, crash := range []string{"neither", "the new box", "the box that invited"} {
			t.Run(way+", "+crash, func(t *testing.T) {
				finished := false
				for cut := int64(0); !finished; cut += 61 {
					study := identitytest.Household(t)
					v := identity.NewInvitations(identity.InvitationsOf(study.Service))
					i := invite(t, v, t.Context())
					n := newNewcomer(t, "attic")
					try := func(left int64) error {
						return meet(t, v, n.id(), func(rw identity.JoinStream) error {
							var budget atomic.Int64
							budget.Store(left)
							c := cutting{rw.(net.Conn), &budget}
							if way == "link" {
								return n.JoinWith(t.Context(), c, i.Link, "Attic")
							}
							return n.JoinWithCode(t.Context(), c, i.Link.Inviter, i.Code, "Attic")
						})
					}
					err := try(cut)
					finished = err == nil
					if !finished {
						wantCode(t, err, "join-lost")
						n.start(t)
						if n.Membership().Claimed() {
							t.Fatalf("after %d bytes it has a household", cut)
						}
						if crash == "the box that invited" {
							v = identity.NewInvitations(identity.InvitationsOf(reopened(t, study)))
							i = invite(t, v, t.Context())
						}
						if err := try(1 << 40); err != nil {
							t.Fatalf("after %d bytes: %v", cut, err)
						}
					}
					n.start(t)
					if boxes := n.Membership().Boxes; len(boxes) != 2 {
						t.Fatalf("after %d bytes there are %d boxes", cut, len(boxes))
					}
				}
			})
		}
	}
}

// Of many boxes that come with one link at the same time, one gets in.
func TestJoinRace(t *testing.T) {
	study := identitytest.Household(t)
	v := identity.NewInvitations(identity.InvitationsOf(study.Service))
	i := invite(t, v, t.Context())
	var in atomic.Int32
	var group sync.WaitGroup
	for k := range 8 {
		n := newNewcomer(t, fmt.Sprint(k))
		group.Go(func() {
			if err := n.byLink(t, v, i.Link, fmt.Sprint("Box ", k)); err == nil {
				in.Add(1)
			} else {
				wantCode(t, err, "invite-used")
			}
		})
	}
	group.Wait()
	if boxes := study.Membership().Boxes; in.Load() != 1 || len(boxes) != 2 {
		t.Errorf("%d joined, and there are %d boxes", in.Load(), len(boxes))
	}
}

// Guessing at the same time gives no more guesses.
func TestCodeGuessedAtTheSameTime(t *testing.T) {
	study := identitytest.Household(t)
	v := identity.NewInvitations(identity.InvitationsOf(study.Service))
	i := invite(t, v, t.Context())
	var judged atomic.Int32
	var group sync.WaitGroup
	ready := make(chan struct{})
	for k := range 12 {
		peer := identitytest.NewKeys(fmt.Sprint("guess ", k)).PeerID()
		here, there := net.Pipe()
		group.Go(func() { _ = v.Serve(t.Context(), peer, there); _ = there.Close() })
		group.Go(func() {
			defer here.Close()
			run := spake2.NewA([]byte{0, 1, 0, byte(k), 0, 3}, spake2.Names{A: peer[:], B: i.Link.Inviter[:]})
			_, _ = here.Write(joinwire.Append(nil, joinwire.Code{Share: [65]byte(run.Share())}))
			f, err := joinwire.Read(here)
			share, ok := f.(joinwire.Share)
			if err != nil || !ok {
				return
			}
			judged.Add(1)
			<-ready
			_ = run.Take(share.Share[:], nil)
			_, _ = here.Write(joinwire.Append(nil, joinwire.Confirm{Confirmation: [32]byte(run.Confirmation()), Name: "x"}))
			_, _ = joinwire.Read(here)
		})
	}
	for v.State().Tries > 0 {
		time.Sleep(time.Millisecond)
	}
	close(ready)
	group.Wait()
	if judged.Load() != identity.SpokenTries {
		t.Errorf("%d guesses were judged", judged.Load())
	}
	wantCode(t, newNewcomer(t, "attic").byCode(t, v, i.Link.Inviter, i.Code, "Attic"), "invite-tries")
}

// Who stands between, with a key of its own to each side, gets nothing by passing on what both say, even though both know
// the code; and it learns nothing by answering itself.
func TestCodeWithSomebodyBetween(t *testing.T) {
	study := identitytest.Household(t)
	v := identity.NewInvitations(identity.InvitationsOf(study.Service))
	i := invite(t, v, t.Context())
	n := newNewcomer(t, "attic")
	between := identitytest.NewKeys("between").PeerID()

	err := meet(t, v, between, func(rw identity.JoinStream) error { return n.JoinWithCode(t.Context(), rw, between, i.Code, "Attic") })
	wantCode(t, err, "code-wrong")

	// It answers itself, with a guess at the code, and says that the box was taken in.
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		self := n.id()
		f, _ := joinwire.Read(there)
		code, _ := f.(joinwire.Code)
		run := spake2.NewB([]byte{0, 0, 0, 0, 0, 0}, spake2.Names{A: self[:], B: between[:]})
		_ = run.Take(code.Share[:], []byte("whatever"))
		_, _ = there.Write(joinwire.Append(nil, joinwire.Share{Share: [65]byte(run.Share())}))
		_, _ = joinwire.Read(there)
		_, _ = there.Write(joinwire.Append(nil, joinwire.Taken{Confirmation: run.Confirmation(), Count: 1}))
		_, _ = there.Write(joinwire.Append(nil, joinwire.Records{Records: [][]byte{{1}}}))
	}()
	wantCode(t, n.JoinWithCode(t.Context(), here, between, i.Code, "Attic"), "join-impostor")
	n.half(t, study.Service)
}

// rooted changes the household root in what passes by.
type rooted struct{ net.Conn }

func (r rooted) Write(b []byte) (int, error) {
	if len(b) == 4+65+32 && b[0] == 3 {
		b = append([]byte{}, b...)
		b[len(b)-1] ^= 1
	}
	return r.Conn.Write(b)
}

// The household's root is part of what both prove.
func TestCodeBindsTheRoot(t *testing.T) {
	study := identitytest.Household(t)
	v := identity.NewInvitations(identity.InvitationsOf(study.Service))
	i := invite(t, v, t.Context())
	n := newNewcomer(t, "attic")
	here, there := net.Pipe()
	go func() {
		_ = v.Serve(t.Context(), n.id(), rooted{there})
		_ = there.Close()
	}()
	wantCode(t, n.JoinWithCode(t.Context(), here, i.Link.Inviter, i.Code, "Attic"), "code-wrong")
	n.half(t, study.Service)
}

// What a box that invites may send that is no good is refused whole.
func TestJoinWithAHostileBox(t *testing.T) {
	study, foreign := identitytest.Household(t), identitytest.Household(t)
	n := newNewcomer(t, "attic")
	good := identity.NewInvitations(identity.InvitationsOf(study.Service))
	link := invite(t, good, t.Context()).Link
	records := study.RecordBytes()
	for what, frames := range map[string][]joinwire.Frame{
		"a log without this box":  {joinwire.Taken{Count: uint32(len(records))}, joinwire.Records{Records: records}},
		"another household's log": {joinwire.Taken{Count: 3}, joinwire.Records{Records: foreign.RecordBytes()}},
		"garbage":                 {joinwire.Taken{Count: 1}, joinwire.Records{Records: [][]byte{[]byte("garbage")}}},
		"more than it says":       {joinwire.Taken{Count: 1}, joinwire.Records{Records: records}},
		"very many":               {joinwire.Taken{Count: 1 << 31}, joinwire.Records{Records: records}},
		"a proof nobody asked":    {joinwire.Taken{Confirmation: make([]byte, 32), Count: 3}, joinwire.Records{Records: records}},
		"a share":                 {joinwire.Share{}},
		"a secret of its own":     {joinwire.Secret{Name: "x"}},
		"two answers":             {joinwire.Taken{Count: 3}, joinwire.Taken{Count: 3}},
	} {
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			_, _ = joinwire.Read(there)
			for _, f := range frames {
				_, _ = there.Write(joinwire.Append(nil, f))
			}
		}()
		err := n.JoinWith(t.Context(), here, link, "Attic")
		_ = here.Close()
		if p := services.AsProblem(err); p == nil || p.Code != "join-refused" {
			t.Errorf("%s: %v", what, err)
		}
		n.half(t, study.Service)
	}
	here, there := net.Pipe()
	go func() {
		_, _ = joinwire.Read(there)
		_, _ = there.Write([]byte{99, 0, 0, 0})
	}()
	wantCode(t, n.JoinWith(t.Context(), here, link, "Attic"), "join-refused")
}

// Whoever sends wrong secrets takes the invitation from nobody.
func TestWrongSecretsEndNothing(t *testing.T) {
	study := identitytest.Household(t)
	v := identity.NewInvitations(identity.InvitationsOf(study.Service))
	i := invite(t, v, t.Context())
	n := newNewcomer(t, "attic")
	guess := i.Link
	for range 40 {
		guess.Secret = identity.NewInviteSecret()
		wantCode(t, n.byLink(t, v, guess, "Attic"), "invite-unknown")
	}
	if err := n.byLink(t, v, i.Link, "Attic"); err != nil {
		t.Error(err)
	}
}

// An invitation ends by itself, even while the known time stands still or is set back; and nobody waits for ever.
func TestInvitationEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		study := identitytest.Household(t)
		cfg := identity.InvitationsOf(study.Service)
		began := time.Now()
		cfg.Now = func() time.Time { return began }
		v := identity.NewInvitations(cfg)
		invite(t, v, t.Context())
		time.Sleep(identity.InviteLife - time.Second)
		if !v.Allow(services.PeerID{}) {
			t.Error("it ends too early")
		}
		time.Sleep(time.Second)
		if v.Allow(services.PeerID{}) {
			t.Error("it does not end")
		}

		silent, there := net.Pipe()
		defer silent.Close()
		if err := v.Serve(t.Context(), services.PeerID{1}, there); err == nil || time.Since(began) > identity.InviteLife+time.Minute {
			t.Errorf("it waited %s for a silent box: %v", time.Since(began), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		silent2, there2 := net.Pipe()
		defer silent2.Close()
		if err := v.Serve(ctx, services.PeerID{1}, there2); err == nil {
			t.Error("it goes on when it is to stop")
		}
		link := invite(t, identity.NewInvitations(identity.InvitationsOf(study.Service)), t.Context()).Link
		n := newNewcomer(t, "attic")
		deaf, there3 := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, there3) }()
		wantCode(t, n.JoinWith(t.Context(), deaf, link, "Attic"), "join-lost")
		_ = there3.Close()
	})
}

func TestInviteNeedsAHousehold(t *testing.T) {
	n := newNewcomer(t, "attic")
	_, err := identity.NewInvitations(identity.InvitationsOf(n.Service)).Open(t.Context(), nil)
	wantCode(t, err, "not-claimed")
	study := identitytest.Household(t)
	p := person(t, study.Service, "Ben", services.RoleMember)
	_, err = identity.NewInvitations(identity.InvitationsOf(study.Service)).Open(identity.Acting(t.Context(), p.ID, ""), nil)
	wantCode(t, err, "not-there")
}

func TestSpokenCode(t *testing.T) {
	c := identity.NewSpokenCode()
	words := strings.Fields(c.Words())
	if len(words) != 3 {
		t.Fatalf("%q", words)
	}
	for _, form := range []string{c.Words(), strings.ToUpper(c.Words()), " " + strings.Join(words, ", ") + ".\n", strings.Join(words, "-")} {
		if got, err := identity.ParseSpokenCode(form); err != nil || got != c {
			t.Errorf("%q: %v", form, err)
		}
	}
	for text, code := range map[string]string{
		"": "code-count", "river stone": "code-count", "river stone apple apple": "code-count", strings.Repeat("river ", 1000): "code-count",
		"river stone äpple": "code-word", "river stne apple": "code-word",
	} {
		_, err := identity.ParseSpokenCode(text)
		wantCode(t, err, code)
	}
	if s := fmt.Sprintf("%v %+v %#v %s %d %x", c, struct{ C identity.SpokenCode }{c}, c, c, c, c); strings.ContainsAny(s, "0123456789") || strings.Contains(s, words[0]) {
		t.Error(s)
	}
}
