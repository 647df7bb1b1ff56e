package identity

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/exchange"
	"hearth.alt/services/identity/internal/record"
)

// LogProtocol is the ProtocolName by which boxes of one household share their log: frames of internal/exchange in both
// directions, over one stream.
const LogProtocol = "/identity/log/v1"

// Errors of LogConn and ServeLog.
var (
	// ErrPeer is in the chain when the peer sent what no honest box sends.
	ErrPeer = exchange.ErrPeer
	// ErrNoLog is returned where there is no log to share, or none that can be added to.
	ErrNoLog = errors.New("this box has no household log to share")
	// ErrAnew is returned once the log was brought back or could not be written: the exchange begins anew.
	ErrAnew = errors.New("the log exchange has to begin anew")
)

// LogConn is one exchange with one box. Its methods are safe for concurrent use and wait for no peer: what came in goes
// into Receive, what is to be sent comes out of Next.
type LogConn struct {
	s    *Service
	with *exchange.Exchange
	at   *exchange.Conn
	peer services.PeerID
	more chan struct{} // holds a token when there may be more to say
}

// Connect begins an exchange with peer, which the caller closes. That it is who it says is the caller's to know. Error:
// ErrNoLog.
func (s *Service) Connect(peer services.PeerID) (*LogConn, error) {
	s.writing <- struct{}{}
	defer s.unlock()
	if s.shared == nil {
		return nil, ErrNoLog
	}
	c := &LogConn{s: s, with: s.shared, at: s.shared.Connect(), peer: peer, more: make(chan struct{}, 1)}
	s.conns[c] = struct{}{}
	c.wake()
	return c, nil
}

// Close ends the exchange.
func (c *LogConn) Close() {
	c.s.writing <- struct{}{}
	defer c.s.unlock()
	delete(c.s.conns, c)
	c.with.Close(c.at)
}

func (c *LogConn) wake() {
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// become makes next the state, which records led to: they are on disk, and came over from, or were made here (nil). The
// caller holds writing.
func (s *Service) become(next *household, from *exchange.Conn, records []*record.Record) {
	s.keepOut(next)
	s.state = next
	s.shared.Stored(from, records)
	s.publish(next.membership())
	s.wakeAll()
}

// wakeAll tells every exchange that there may be more to say. The caller holds writing.
func (s *Service) wakeAll() {
	for c := range s.conns {
		c.wake()
	}
}

// Next returns the frame to be sent now, nil when there is nothing to say until More.
func (c *LogConn) Next() []byte {
	c.s.writing <- struct{}{}
	defer c.s.unlock()
	f, ok := c.with.Next(c.at)
	if !ok || c.with != c.s.shared {
		return nil
	}
	return f.Append(nil)
}

// More receives when Next may have something new, or the exchange has ended.
func (c *LogConn) More() <-chan struct{} { return c.more }

// Receive takes one frame in. When it returns nil, what the frame brought is on disk, and the membership is what it
// makes of it. Errors: ErrPeer, ErrAnew, ctx's, and a *services.Problem when it cannot be written.
func (c *LogConn) Receive(ctx context.Context, frame []byte) error {
	r := bytes.NewReader(frame)
	f, err := exchange.Read(r)
	if err != nil || r.Len() > 0 {
		return fmt.Errorf("%w: not a frame", ErrPeer)
	}
	return c.receive(ctx, f)
}

func (c *LogConn) receive(ctx context.Context, f exchange.Frame) error {
	s := c.s
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	if c.with != s.shared {
		return ErrAnew
	}
	fresh, blame := c.with.Receive(c.at, f)
	c.wake()
	if s.damaged() {
		if blame == nil {
			blame = s.heal(c)
		}
		return blame
	}
	defer s.catchUp(ctx, c)
	if len(fresh) == 0 {
		s.proveClone(ctx, nil)
		return blame
	}
	if err := s.write(fresh...); err != nil {
		s.share(s.shared.Set().Records()[:s.shared.Set().Len()-len(fresh)])
		return err
	}
	next, err := s.after(fresh)
	if err != nil {
		return err // it is a set that cannot be folded: impossible, since genesis is there
	}
	s.become(next, c.at, fresh)
	s.count(c.peer, fresh)
	s.proveClone(ctx, fresh)
	s.conclude(ctx, fresh)
	for _, r := range fresh {
		s.cfg.Log.Info("household changed elsewhere", "op", r.Op().String(), "record", r.ID().String(), "author", services.PeerID(r.Author.Key).String())
	}
	return blame
}

// proveClone looks for records of this box that it did not make: another has its key, as with a copied card. What was made
// before this start, or comes before a log that was brought back is up to date, may be its own, and is taken: a fresh card
// may not know the time yet. What was made since is answered with another record of the same sequence, so that every box has
// the proof; where that fails, again with the next frame. The caller holds writing.
func (s *Service) proveClone(ctx context.Context, fresh []*record.Record) {
	if _, in := s.state.boxes[s.self]; !in || s.state.frozen || s.restored {
		return
	}
	if s.unproven == nil {
		if i := slices.IndexFunc(fresh, func(r *record.Record) bool { return r.Author == record.Box(s.self) && r.Time.After(s.start) }); i >= 0 {
			s.unproven = fresh[i]
		}
	}
	r := s.unproven
	if r == nil {
		return
	}
	nobody := record.SetLAN{Person: NewPersonID()}
	proof, err := s.sign(ctx, record.Record{Sequence: r.Sequence, Parents: r.Parents, Payload: nobody})
	if err == nil {
		err = s.writeAnew(proof)
	}
	if err != nil {
		s.cfg.Log.Error("another box has this one's key, which is not proven yet", "error", err)
		return
	}
	s.unproven = nil
	s.cfg.Log.Error("another box has this one's key: its card was copied", "record", r.ID().String())
}

// catchUp notes when this box has all that another one had. The caller holds writing.
func (s *Service) catchUp(ctx context.Context, c *LogConn) {
	if c.with != s.shared || !s.shared.CaughtUp(c.at) {
		return
	}
	s.mu.Lock()
	s.heard = true
	s.mu.Unlock()
	if s.restored && !s.heardAll(c.peer) {
		return
	}
	if err := s.upToDate(ctx); err != nil {
		s.cfg.Log.Warn("after the log was brought back", "error", err)
	}
}

func (s *Service) damaged() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault.damage != nil
}

// heal makes a damaged log whole again from what c's peer has, once all of that is here and nothing that can be read
// behind the damage would be lost: the records are united, and the log is replaced in one step. Until then what came is
// kept in memory only. The caller holds writing.
func (s *Service) heal(c *LogConn) error {
	set := s.shared.Set()
	for _, r := range s.behind {
		if s.shared.CaughtUp(c.at) && set.Add(r) != nil {
			return nil
		}
	}
	if !s.shared.CaughtUp(c.at) {
		return nil
	}
	file, err := encodeRecords(set.Records())
	if err != nil {
		return err
	}
	if err := s.replaceLog(file); err != nil {
		return err
	}
	s.mu.Lock()
	if i := slices.IndexFunc(s.members.Boxes, func(b services.Box) bool { return b.ID == c.peer }); i >= 0 {
		s.healer = s.members.Boxes[i].Name
	}
	s.mu.Unlock()
	s.cfg.Log.Info("the household log was damaged, and is whole again from another box", "peer", c.peer)
	return ErrAnew
}

// share begins the exchange anew with the records, which are on disk; nil is none. The caller holds writing, or is New.
func (s *Service) share(records []*record.Record) {
	s.shared = nil
	if len(records) > 0 {
		s.shared = exchange.New(exchange.NewSet(records...), (*record.Record).Verify)
	}
	s.wakeAll()
	clear(s.conns)
}

// after is the state that fresh, which is in the set, leads to. What has all there was in its past, and follows its
// author's last record, is applied; anything else may change what counts of all the rest.
func (s *Service) after(fresh []*record.Record) (*household, error) {
	next := s.state.clone()
	for _, r := range fresh {
		anew := next.frozen || r.Op() == record.OpEpoch || r.Sequence != next.sequence[r.Author]+1 || len(r.Parents) < len(next.heads) || !containsAll(r.Parents, next.heads)
		if !anew {
			err := next.apply(r) // it counts or not; what becomes of a removal that does not, fold knows
			anew = err != nil && isRemoval(r)
		}
		if anew {
			all := s.shared.Set().Records()
			return fold(s.self, all[0].ID(), all)
		}
	}
	return next, nil
}

// writeAnew writes down what this box made and what may change what counts of all the rest. The caller holds writing.
func (s *Service) writeAnew(made ...*record.Record) error {
	all := s.shared.Set().Records()
	next, err := fold(s.self, all[0].ID(), slices.Concat(all, made))
	if err != nil {
		return err
	}
	if err := s.writeLong(made); err != nil {
		return err
	}
	s.become(next, nil, made)
	return nil
}

func containsAll(parents []record.ID, heads map[record.ID]struct{}) bool {
	for id := range heads {
		if !slices.Contains(parents, id) {
			return false
		}
	}
	return true
}

// ServeLog shares the log with peer, at the other end of rw, until that ends or is ended, which is the caller's to do
// when ctx ends. Both ends call it. It returns nil when the peer closed its direction. A peer that writes more than any
// household does is read slowly.
func (s *Service) ServeLog(ctx context.Context, peer services.PeerID, rw io.ReadWriter) error {
	c, err := s.Connect(peer)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	came := make(chan error, 1)
	go func() {
		in := bufio.NewReader(rw)
		for {
			f, err := exchange.Read(in)
			if errors.Is(err, exchange.ErrMalformed) {
				err = fmt.Errorf("%w: %w", ErrPeer, err)
			}
			if err == nil {
				err = s.patiently(ctx, peer, f) // before it is taken: a thief could begin anew after each frame
			}
			if err == nil {
				err = c.receive(ctx, f)
			}
			if err != nil {
				came <- err
				return
			}
		}
	}()
	for {
		for b := c.Next(); b != nil; b = c.Next() {
			if _, err := rw.Write(b); err != nil {
				return err
			}
		}
		select {
		case <-c.More():
			if c.ended() {
				return ErrAnew
			}
		case err := <-came:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *LogConn) ended() bool {
	c.s.writing <- struct{}{}
	defer c.s.unlock()
	return c.with != c.s.shared
}

// FarewellProtocol is the ProtocolName by which a box that was removed hears so, after LogProtocol was refused to it. Its
// end calls ServeLog, the other Farewell.
const FarewellProtocol = "/identity/farewell/v1"

// farewellCost is what a farewell, or hearing a removed box's introduction, counts as in Service.byes. One costs
// several looks at the whole log, and whoever has the key of a removed box may ask for ever: 32 at once, and then one
// every 44 minutes.
const (
	farewellCost  = 256 << 10
	farewellBurst = 32 * farewellCost
	farewellRate  = 100
)

// often counts a farewell to the removed box peer, or its introduction, and says whether there were enough.
func (s *Service) often(peer services.PeerID) bool {
	return !s.byes.allow(peer, farewellCost, farewellBurst, farewellRate, time.Now())
}

// Farewell tells the removed box peer, at the other end of rw, what it may still know: its removal, and what came before
// that; and where that does not count against what peer has, what makes it count. What else peer says is not heard. Who else
// it is told to is the caller's to see to, and to end rw. Errors: ErrPeer, ErrNoLog, those of rw; others where peer sent no
// frame, was not removed, or was told often enough.
func (s *Service) Farewell(peer services.PeerID, rw io.ReadWriter) error {
	if s.often(peer) {
		return fmt.Errorf("box %s was told often enough", peer)
	}
	in := bufio.NewReader(rw)
	heard, err := exchange.Read(in)
	for err == nil && heard.Records != nil {
		heard, err = exchange.Read(in)
	}
	if err != nil {
		return err
	}
	last, err := s.lastWords(peer, heard.Have)
	if err != nil {
		return err
	}
	with := exchange.New(exchange.NewSet(last...), func(*record.Record) error { return errors.New("it is not heard") })
	c := with.Connect()
	if _, err := with.Receive(c, heard); err != nil {
		return err
	}
	for f, ok := with.Next(c); ok; f, ok = with.Next(c) {
		if _, err := rw.Write(f.Append(nil)); err != nil {
			return err
		}
	}
	return nil
}

// lastWords are the records that remove peer, with all their past; and as much more as they need to count at a box that has
// the records have: what epochs know, or else what all removals do, for one may end what attacks another.
func (s *Service) lastWords(peer services.PeerID, have []record.ID) ([]*record.Record, error) {
	all, err := s.recordsFor(peer)
	if err != nil {
		return nil, err
	}
	// after returns the records that are first, or in the past of one.
	after := func(first func(r *record.Record) bool) []*record.Record {
		wanted := map[record.ID]bool{}
		for _, r := range slices.Backward(all) {
			if wanted[r.ID()] || first(r) {
				wanted[r.ID()] = true
				for _, p := range r.Parents {
					wanted[p] = true
				}
			}
		}
		return slices.DeleteFunc(slices.Clone(all), func(r *record.Record) bool { return !wanted[r.ID()] })
	}
	its := func(r *record.Record) bool { return removesBox(r, record.Box(peer)) }
	epochs := func(r *record.Record) bool { return its(r) || r.Op() == record.OpEpoch }
	for _, told := range []func(r *record.Record) bool{its, epochs} {
		there := after(func(r *record.Record) bool { return told(r) || slices.Contains(have, r.ID()) })
		h, err := fold(peer, all[0].ID(), there)
		if err != nil {
			return nil, err
		}
		if _, gone := h.gone[peer]; gone {
			return after(told), nil
		}
	}
	return after(func(r *record.Record) bool { return epochs(r) || isRemoval(r) }), nil
}

// recordsFor are all records, where peer was removed.
func (s *Service) recordsFor(peer services.PeerID) ([]*record.Record, error) {
	s.writing <- struct{}{}
	defer s.unlock()
	if s.shared == nil {
		return nil, ErrNoLog
	}
	if _, was := s.state.gone[peer]; !was {
		return nil, fmt.Errorf("box %s was not removed", peer)
	}
	return slices.Clone(s.shared.Set().Records()), nil
}

// RecordBytes returns every record of the log, parents first; nil before the claim. They are not to be changed.
func (s *Service) RecordBytes() [][]byte {
	s.writing <- struct{}{}
	defer s.unlock()
	if s.shared == nil {
		return nil
	}
	var out [][]byte
	for _, r := range s.shared.Set().Records() {
		out = append(out, r.Bytes())
	}
	return out
}

// NewBox is a box to take in.
type NewBox struct {
	ID   services.PeerID
	Name string // looks like no other box's name
}

func noBox() error {
	return &services.Problem{
		Kind: services.KindNotFound, Code: "box-not-found", Field: "box",
		Say: services.Say("identity.box.none", "No such box belongs to the household. Perhaps it was removed."),
	}
}

// AddBox takes a box in; one that is there already stays as it is. Codes: name-invalid, name-taken, box-removed,
// boxes-full.
func (s *Service) AddBox(ctx context.Context, n NewBox) (services.Box, error) {
	name, err := cleanName("name", n.Name)
	if err != nil {
		return services.Box{}, err
	}
	n.Name = name
	err = s.change(ctx, func(h *household) (record.Payload, error) {
		if _, there := h.boxes[n.ID]; there {
			return nil, nil
		}
		return h.takesIn(n)
	})
	if err != nil {
		return services.Box{}, err
	}
	for _, b := range s.Membership().Boxes {
		if b.ID == n.ID {
			return b, nil
		}
	}
	return services.Box{}, noBox()
}

// takesIn is the record that takes a box in, whose name is clean.
func (h *household) takesIn(n NewBox) (record.Payload, error) {
	if _, was := h.gone[n.ID]; was || n.ID.IsZero() {
		return nil, &services.Problem{
			Kind: services.KindConflict, Code: "box-removed", Field: "box",
			Say: services.Say("identity.box.removed", "This box was removed from the household, and its key is not trusted again. Set it up anew from a fresh card, then add it."),
		}
	}
	if h.resembled(scopeBox, n.ID.String(), n.Name) {
		return nil, &services.Problem{
			Kind: services.KindConflict, Code: "name-taken", Field: "name",
			Say: services.Say("identity.box.taken", "The household already has a box called {name}.", "name", n.Name),
		}
	}
	host := h.lastHost()
	if host == 0 || len(h.boxes) >= maxBoxes {
		return nil, &services.Problem{
			Kind: services.KindConflict, Code: "boxes-full",
			Say: services.Say("identity.box.full", "The household has no room for another box. Remove a box or a device that is no longer used."),
		}
	}
	return record.AddBox{Box: n.ID, Name: n.Name, Label: Label(n.Name, "box"), Host: host}, nil
}

// RemoveBox removes a box, for good; the box itself may be the one that asks. Codes: box-not-found, last-box.
func (s *Service) RemoveBox(ctx context.Context, id services.PeerID) error {
	return s.change(ctx, func(h *household) (record.Payload, error) {
		switch _, ok := h.boxes[id]; {
		case !ok:
			return nil, noBox()
		case len(h.boxes) == 1:
			return nil, &services.Problem{
				Kind: services.KindConflict, Code: "last-box", Field: "box",
				Say: services.Say("identity.box.last", "A household keeps at least one box. Add another one first."),
			}
		}
		return record.RemoveBox{Box: id}, nil
	})
}

// JoinLog is the household that a box joins.
type JoinLog struct {
	Root    [32]byte        // of the invitation: the household's root key at that time, or the one of genesis
	Inviter services.PeerID // who took this box in
	Records [][]byte        // the whole log, parents first
}

// Join makes this unclaimed box one of the household that took it in. The log is checked from its first record on and
// written wholly or not at all. Codes: already-claimed, join-refused (the log is not what the invitation promised).
func (s *Service) Join(ctx context.Context, j JoinLog) error {
	refused := func(cause error) error {
		return &services.Problem{
			Kind: services.KindInvalid, Code: "join-refused", Cause: cause,
			Say: services.Say("identity.join.refused", "The other box sent a record of its household that does not fit the invitation, so nothing was changed. Make a new invitation there and try again."),
		}
	}
	records, err := readRecords(services.PeerID{}, j.Records)
	if err != nil {
		return refused(err)
	}
	if len(records) == 0 {
		return refused(errors.New("it is empty"))
	}
	set := exchange.NewSet()
	for _, r := range records {
		if err := set.Add(r); err != nil {
			return refused(fmt.Errorf("record %s: %w", r.ID(), err))
		}
	}
	state, err := fold(s.self, records[0].ID(), records)
	if err != nil {
		return refused(err)
	}
	inviter, ok := state.boxes[j.Inviter]
	self, mine := state.boxes[s.self]
	switch {
	case string(j.Root[:]) != string(state.is.Root) && j.Root != records[0].Author.Key:
		return refused(errors.New("it is another household's"))
	case !ok || inviter.State != services.StateActive:
		return refused(errors.New("the box that invited does not belong to it"))
	case !mine || self.State != services.StateActive:
		return refused(errors.New("this box was not taken in"))
	}
	file, err := encodeRecords(records)
	if err != nil {
		return refused(err)
	}
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	if err := s.unowned(); err != nil {
		return err
	}
	if err := s.replaceLog(file); err != nil {
		return err
	}
	s.cfg.Log.Info("joined a household", "box", s.self.String(), "inviter", j.Inviter.String())
	return nil
}

// Leaves are the IDs of the log's records in the order in which this box wrote them down, the genesis first; none before
// the claim. It is what friends' boxes are shown a hash of.
func (s *Service) Leaves() [][32]byte {
	s.writing <- struct{}{}
	defer s.unlock()
	if s.shared == nil {
		return nil
	}
	var out [][32]byte
	for _, r := range s.shared.Set().Records() {
		out = append(out, r.ID())
	}
	return out
}
