package identity

import (
	"context"
	"crypto/ed25519"
	"errors"
	"maps"
	"slices"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
)

// Dispute is why nothing can change before an epoch; the zero Dispute is none. What it names is suspended meanwhile.
type Dispute struct {
	// Removals are those of which it cannot be said whether they count: two who removed one another.
	Removals []OpenRemoval
	// Accused are, on a box that was removed, the boxes that did it, where nothing else is disputed; Removals are then what
	// they removed.
	Accused []NamedBox
	// Forked are the boxes whose key is used in two places: a cloned card, or a stolen key.
	Forked []NamedBox
	// Voices are what boxes say who belongs on, and Needed how many have to say the same; 0 where only the words can
	// settle it.
	Voices []Voice
	Needed int
}

// None says whether there is no dispute.
func (d Dispute) None() bool {
	return len(d.Removals) == 0 && len(d.Forked) == 0 && len(d.Accused) == 0
}

// NamedBox is a box with its name, whether it belongs, did once, or was never taken in as it says.
type NamedBox struct {
	Box  services.PeerID
	Name string // what it is or was called; "" where nothing says so
}

// OpenRemoval is one side of a dispute.
type OpenRemoval struct {
	Subject Subject           // who was removed
	Name    string            // what the subject is or was called
	By      services.PersonID // by whom; "" is the box itself
	Author  services.PeerID   // on which box
	Who     string            // what By, or else the box, is or was called
	At      time.Time         // by that box's clock
}

// Subject is a person, a device or a box: exactly one is set.
type Subject struct {
	Person services.PersonID
	Device services.DeviceID
	Box    services.PeerID
}

// String is the identifier, which is unlike any other's of whatever kind.
func (s Subject) String() string {
	switch {
	case s.Person != "":
		return string(s.Person)
	case s.Device != "":
		return string(s.Device)
	}
	return s.Box.String()
}

// removes is whom a removal removes.
func removes(r *record.Record) Subject {
	switch p := r.Payload.(type) {
	case record.RemovePerson:
		return Subject{Person: p.Person}
	case record.RemoveDevice:
		return Subject{Device: p.Device}
	case record.RemoveBox:
		return Subject{Box: p.Box}
	case record.ReplaceBox:
		return Subject{Box: p.Box}
	}
	return Subject{}
}

// removal is the record that removes s.
func (s Subject) removal() record.Payload {
	switch {
	case s.Person != "":
		return record.RemovePerson{Person: s.Person}
	case s.Device != "":
		return record.RemoveDevice{Device: s.Device}
	}
	return record.RemoveBox{Box: s.Box}
}

// Dispute returns what an epoch has to settle. It returns no error that a caller could match.
func (s *Service) Dispute() (Dispute, error) {
	s.writing <- struct{}{}
	defer s.unlock()
	if s.shared == nil {
		return Dispute{}, nil
	}
	if _, gone := s.state.gone[s.self]; !s.state.frozen && !gone {
		return Dispute{}, nil
	}
	taken, h, v, err := s.verdict(s.shared.Set().Records())
	if err != nil {
		return Dispute{}, err
	}
	var d Dispute
	if q := h.quorum(v); len(v.open) > 0 && len(v.forked) == 0 && len(q.boxes) >= q.needed() {
		d.Needed = q.needed()
		d.Voices, _ = q.voices(h, v)
	}
	v.contest(s.self)
	names := called{}
	for _, r := range taken {
		names.note(r, !v.void[r.ID()])
	}
	named := func(boxes []services.PeerID) (out []NamedBox) {
		for _, box := range boxes {
			out = append(out, NamedBox{box, names[box.String()]})
		}
		return out
	}
	d.Forked, d.Accused = named(v.forked), named(v.accused)
	for _, r := range v.open {
		o := OpenRemoval{Subject: removes(r), By: r.By, Author: r.Author.Key, At: r.Time, Who: names[string(r.By)]}
		if o.Who == "" {
			o.Who = names[o.Author.String()]
		}
		o.Name = names[o.Subject.String()]
		d.Removals = append(d.Removals, o)
	}
	return d, nil
}

// contest opens what the boxes removed that removed self, if any, where nothing else is open: one of them may have been
// stolen, and quicker than everybody else. Whether they stay is to be said, too: they are accused.
func (v *verdict) contest(self services.PeerID) {
	if v.frozen() {
		return
	}
	for _, r := range v.stand {
		if r.Author.Kind == record.KindBox && !v.void[r.ID()] && r.Author.Key != self && removes(r) == (Subject{Box: self}) && !slices.Contains(v.accused, r.Author.Key) {
			v.accused = append(v.accused, r.Author.Key)
		}
	}
	for _, r := range v.stand {
		if r.Author.Kind == record.KindBox && !v.void[r.ID()] && slices.Contains(v.accused, r.Author.Key) {
			v.open = append(v.open, r)
		}
	}
}

// verdict settles records and returns them in order, with what they lead to.
func (s *Service) verdict(records []*record.Record) ([]*record.Record, *household, *verdict, error) {
	taken := order(records[0].ID(), records)
	h, v, err := settle(s.self, taken)
	if err != nil {
		return nil, nil, nil, err
	}
	h.suspend(v)
	return taken, h, v, nil
}

// Settlement ends a dispute.
type Settlement struct {
	Words []string // the 24, in one string or in many
	// Stay are the subjects of the open removals and the accused that belong on; the others are removed. A forked box never
	// stays.
	Stay []Subject
	// Key is this box's next device key where it is itself forked (the keeper makes it): it replaces the old one, and the
	// box has to start again with it. Not used otherwise.
	Key services.PeerID
}

// Settle has the household root, which the words stand for, settle a dispute, or on a box that was removed, what the boxes
// did that removed it: an epoch that says what counts, and the removal of those who do not stay, in one piece. Nobody is
// suspended after it. Of a box whose key is used twice, what this box heard of first goes on to count. Records with an
// operation of a newer program are void from then on: a stolen key could write one to stop every change.
//
// Codes: words-*, as CheckWords; no-dispute; key-needed (this box is forked, and Key is zero); last-owner (no owner would
// be left); not-settled.
func (s *Service) Settle(ctx context.Context, c Settlement) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	if s.shared == nil {
		return s.writable()
	}
	root, err := s.state.rootOf(c.Words)
	if err != nil {
		return err
	}
	all := s.shared.Set().Records()
	taken, _, v, err := s.verdict(all)
	if err != nil {
		return err
	}
	v.contest(s.self)
	if !v.frozen() && s.state.newer == 0 {
		return noDispute()
	}
	if c.Key.IsZero() && slices.Contains(v.forked, s.self) {
		return &services.Problem{Kind: services.KindInvalid, Code: "key-needed", Field: "key", Say: services.Say("identity.settle.key", "This box needs a new key first.")}
	}
	made, next, err := s.epoch(root, taken, v, c)
	if errors.Is(err, errStillOpen) {
		return notSettled()
	}
	if err != nil {
		return err
	}
	if err := s.writeLong(made); err != nil {
		return err
	}
	s.become(next, nil, made)
	s.cfg.Log.Info("a dispute was settled by the household root", "records", len(made))
	return nil
}

func noDispute() error {
	return &services.Problem{
		Kind: services.KindConflict, Code: "no-dispute",
		Say: services.Say("identity.settle.none", "There is nothing to settle: nobody disputes who belongs. Nothing was changed."),
	}
}

// noOwnerLeft is lastOwner where nobody can be made an owner, for all is frozen.
func noOwnerLeft() error {
	return &services.Problem{
		Kind: services.KindConflict, Code: "last-owner",
		Say: services.Say("identity.settle.no-owner", "Then the house would have no owner. At least one owner has to stay. Nothing was changed."),
	}
}

func notSettled() error {
	return &services.Problem{
		Kind: services.KindConflict, Code: "not-settled",
		Say: services.Say("identity.settle.not", "This choice would not settle the dispute. Choose otherwise who stays. Nothing was changed."),
	}
}

var errStillOpen = errors.New("the dispute would go on")

// epoch makes the root's records: epochs, which void the open removals, one where an epoch has room for all of them; the
// removal of those who do not stay; and an end for each fork.
func (s *Service) epoch(root ed25519.PrivateKey, taken []*record.Record, v *verdict, c Settlement) ([]*record.Record, *household, error) {
	author := record.Root(root.Public().(ed25519.PublicKey))
	var void []record.ID
	for _, r := range v.open {
		void = append(void, r.ID())
	}
	for _, r := range taken {
		if _, unknown := r.Payload.(record.Unknown); unknown && !v.void[r.ID()] {
			void = append(void, r.ID())
		}
	}
	slices.SortFunc(void, record.ID.Compare)
	void = slices.Compact(void)
	var keep []record.ID
	for _, box := range v.forked {
		if tip := s.ownBranch(record.Box(box)); tip != nil && len(keep) < record.MaxKeep {
			keep = append(keep, tip.ID())
		}
	}
	slices.SortFunc(keep, record.ID.Compare)
	sequence := s.state.sequence[author]
	var made []*record.Record
	set := slices.Clone(taken)
	sign := func(p record.Payload, parents []record.ID) error {
		sequence++
		r, err := s.signAs(root, record.Record{Sequence: sequence, Parents: parents, Payload: p})
		if err != nil {
			return err
		}
		made, set = append(made, r), append(set, r)
		return nil
	}
	var next *household
	then := func(p record.Payload) error {
		err := sign(p, []record.ID{made[len(made)-1].ID()})
		if err == nil {
			next, err = fold(s.self, taken[0].ID(), set)
		}
		return err
	}

	parents, err := s.ends(author, sign, &made)
	if err != nil {
		return nil, nil, err
	}
	e := record.Epoch{Number: s.state.epoch.Number, Root: s.state.epoch.Root, NextRoot: s.state.epoch.NextRoot, Keep: keep}
	for first := true; first || len(void) > 0; first = false {
		n := min(len(void), record.MaxVoid)
		e.Number, e.Void, void = e.Number+1, void[:n:n], void[n:]
		if err := sign(e, parents); err != nil {
			return nil, nil, err
		}
		parents, e.Keep = []record.ID{made[len(made)-1].ID()}, nil
	}
	if next, err = fold(s.self, taken[0].ID(), set); err != nil {
		return nil, nil, err
	}
	for _, box := range v.forked {
		var p record.Payload = record.RemoveBox{Box: box}
		if box == s.self {
			p = record.ReplaceBox{Box: box, Key: c.Key}
		}
		if err := then(p); err != nil {
			return nil, nil, err
		}
	}
	gone := map[Subject]bool{}
	var disputed []Subject
	for _, r := range v.open {
		disputed = append(disputed, removes(r))
	}
	for _, box := range v.accused {
		disputed = append(disputed, Subject{Box: box})
	}
	for _, who := range disputed {
		if slices.Contains(c.Stay, who) || gone[who] || !next.has(who) || slices.Contains(v.forked, who.Box) {
			continue
		}
		gone[who] = true
		if who.Person != "" && next.lastOwner(who.Person) {
			return nil, nil, noOwnerLeft()
		}
		if err := then(who.removal()); err != nil {
			return nil, nil, err
		}
	}
	for _, who := range disputed {
		if next.has(who) != slices.Contains(c.Stay, who) {
			return nil, nil, errStillOpen
		}
	}
	if next.frozen || slices.ContainsFunc(v.forked, func(box services.PeerID) bool { return next.has(Subject{Box: box}) }) {
		return nil, nil, errStillOpen // the last box cannot be removed
	}
	return made, next, nil
}

// ownBranch is the newest record of the branch of a box's records that this box heard of first: of its own, what it wrote. A
// record that has another branch in its past is of none.
func (s *Service) ownBranch(a record.Author) (tip *record.Record) {
	set := s.shared.Set()
	var others []*record.Record
	for _, r := range set.Records() {
		if r.Author != a {
			continue
		}
		next := tip == nil && r.Sequence == 1 || tip != nil && r.Sequence == tip.Sequence+1 && set.Follows(r, tip)
		if next && !slices.ContainsFunc(others, func(x *record.Record) bool { return set.Follows(r, x) }) {
			tip = r
		} else {
			others = append(others, r)
		}
	}
	return tip
}

// ends are what an epoch or a change of author names as its parents, so that all there is lies in its past. Where the
// log has more ends than a record names, as where a stolen key signed many records beside one another, sign joins them
// first, with records that set something of nobody.
func (s *Service) ends(author record.Author, sign func(record.Payload, []record.ID) error, made *[]*record.Record) ([]record.ID, error) {
	if len(s.state.heads) < record.MaxParents { // one more is its own newest
		return s.state.parents(author), nil
	}
	nobody := record.SetLAN{Person: NewPersonID()}
	ends := slices.SortedFunc(maps.Keys(s.state.heads), record.ID.Compare)
	own, known := s.state.newest[author]
	with := func(some []record.ID) []record.ID {
		if known && !slices.Contains(some, own) {
			some = append(some, own)
		}
		slices.SortFunc(some, record.ID.Compare)
		return some
	}
	for len(ends) >= record.MaxParents {
		n := record.MaxParents - 1
		if err := sign(nobody, with(slices.Clone(ends[:n]))); err != nil {
			return nil, err
		}
		own, known = (*made)[len(*made)-1].ID(), true
		ends = append(ends[n:], own)
	}
	return with(ends), nil
}

func (h *household) has(s Subject) bool {
	_, person := h.people[s.Person]
	_, device := h.devices[s.Device]
	_, box := h.boxes[s.Box]
	return person || device || box
}
