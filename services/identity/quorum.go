package identity

import (
	"context"
	"slices"
	"sync"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
)

// This file is about epochs that boxes sign in place of the household root. Such an epoch is a voice: it names the open
// removals that do not count, so that the others stand. It counts, as an epoch, once its past and itself hold the same
// from a quorum: more than half of the boxes that nobody disputes, and two at least, each on behalf of an owner or admin who
// neither removed nor was removed in the dispute. Who that is, its past says alone.
//
// A voice is attacked and doubted like any record, and is none while what attacks it stands or is open: a box that was
// removed, and those that it takes in, could otherwise settle a dispute of their own making and say that it was before. So a
// quorum epoch is as final as its boxes and people: who removes them in time undoes it, which is the careful side.
//
// Of what is neither in its past nor made in knowledge of it, such an epoch voids only what those of the disputed made who do
// not stay: what others removed meanwhile, where they had not heard of the dispute, counts.
//
// One box that nobody disputes could end a dispute without this, by removing one side (removals, settle.go); a quorum is no
// more than that, with several boxes asked, both sides able to stay, and an end to what comes late. Any epoch of the root
// counts before it.

// quorum is who may speak in a dispute.
type quorum struct {
	boxes   map[services.PeerID]bool   // those that nobody disputes
	parties map[services.PersonID]bool // who removed or was removed
	open    map[record.ID]Subject      // the removals in question, and whom they remove
}

// quorum returns who may speak where v is the verdict that led to h.
func (h *household) quorum(v *verdict) quorum {
	q := quorum{boxes: map[services.PeerID]bool{}, parties: map[services.PersonID]bool{}, open: map[record.ID]Subject{}}
	for id := range h.boxes {
		q.boxes[id] = true
	}
	for _, id := range v.forked {
		delete(q.boxes, id)
	}
	for _, r := range v.open {
		q.open[r.ID()] = removes(r)
		delete(q.boxes, removes(r).Box)
		q.parties[removes(r).Person], q.parties[r.By] = true, true
		if d, ok := h.devices[removes(r).Device]; ok {
			q.parties[d.Person] = true
		}
	}
	return q
}

// needed is of how many boxes the voices are.
func (q quorum) needed() int { return max(2, len(q.boxes)/2+1) }

// speaks says whether the person may, in the household h.
func (q quorum) speaks(h *household, id services.PersonID) bool {
	p, ok := h.people[id]
	return ok && p.State == services.StateActive && p.Role >= services.RoleAdmin && !q.parties[id]
}

// backing is who speaks for an epoch.
type backing struct {
	voices []*record.Record
	needed int       // of how many boxes
	losers []Subject // those of the disputed who do not stay
}

// backing returns who of the voices, which all say the same, may speak in h.
func (q quorum) backing(h *household, voices []*record.Record) backing {
	b := backing{needed: q.needed()}
	e, _ := voice(voices[0])
	if slices.ContainsFunc(e.Void, func(id record.ID) bool { return q.open[id] == Subject{} }) {
		return b
	}
	for id, who := range q.open {
		if !slices.Contains(e.Void, id) {
			b.losers = append(b.losers, who)
		}
	}
	for _, r := range voices {
		if q.boxes[r.Author.Key] && q.speaks(h, r.By) {
			b.voices = append(b.voices, r)
		}
	}
	return b
}

// enough says whether those of the voices that count are of as many boxes as it takes.
func (b backing) enough(count []*record.Record) bool {
	boxes := map[record.Author]bool{}
	for _, r := range b.voices {
		if slices.ContainsFunc(count, func(x *record.Record) bool { return x.ID() == r.ID() }) {
			boxes[r.Author] = true
		}
	}
	return b.needed > 0 && len(boxes) >= b.needed
}

// voice is the epoch that r is a voice for.
func voice(r *record.Record) (e record.Epoch, ok bool) {
	e, ok = r.Payload.(record.Epoch)
	return e, ok && r.Author.Kind == record.KindBox && len(e.Void) > 0 && len(e.Keep) == 0
}

// sameVoice says whether two voices say the same.
func sameVoice(a, b record.Epoch) bool {
	return a.Number == b.Number && a.Root == b.Root && a.NextRoot == b.NextRoot && slices.Equal(a.Void, b.Void)
}

// maxVoices is how often a box may say something in one dispute. Each time is as much work as to judge the whole log,
// for every box and at each start.
const maxVoices = 16

// spoken is how often the author of the voice at i spoke before in the same dispute.
func (j *judgement) spoken(i int) (n int) {
	e, _ := voice(j.taken[i])
	past := j.past(i)
	for _, k := range j.made[Subject{Box: j.taken[i].Author.Key}] {
		if x, ok := voice(j.taken[k]); ok && past[k] && x.Number == e.Number {
			n++
		}
	}
	return n
}

// backing returns who speaks for the voice at i in its past, nobody where that cannot be enough.
func (j *judgement) backing(i int) backing {
	e, _ := voice(j.taken[i])
	voices := []*record.Record{j.taken[i]}
	var past []*record.Record
	alone := true
	for k, before := range j.past(i) {
		if !before {
			continue
		}
		r := j.taken[k]
		past = append(past, r)
		if same, ok := voice(r); ok && sameVoice(same, e) {
			voices = append(voices, r)
			alone = alone && r.Author == j.taken[i].Author
		}
	}
	if alone {
		return backing{}
	}
	return backings.of(j.taken[i].ID(), func() backing {
		h, v, err := settle(services.PeerID{}, order(past[0].ID(), past))
		if err != nil {
			return backing{}
		}
		return h.quorum(v).backing(h, voices)
	})
}

// backings remembers who speaks for a voice, which its identifier determines: the past is part of that. A stolen box could
// otherwise write many that are all to be judged again with each record.
var backings = memory{known: map[record.ID]backing{}}

type memory struct {
	mu    sync.Mutex
	known map[record.ID]backing
}

// mostKnown is far more than any household comes to.
const mostKnown = 4096

func (m *memory) of(id record.ID, find func() backing) backing {
	m.mu.Lock()
	b, ok := m.known[id]
	m.mu.Unlock()
	if ok {
		return b
	}
	b = find()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.known) >= mostKnown {
		clear(m.known)
	}
	m.known[id] = b
	return b
}

// Voice is what one box says in a dispute, on behalf of one of its owners or admins.
type Voice struct {
	Box    services.PeerID
	Name   string // of the box
	Person services.PersonID
	Stay   []Subject // who of the disputed belongs on
}

// voices are the newest of each box that may speak, in the order in which they were made, with the records.
func (q quorum) voices(h *household, v *verdict) (voices []Voice, records []*record.Record) {
	newest := map[record.Author]*record.Record{}
	for _, r := range v.voices {
		e, _ := voice(r)
		if e.Number != h.epoch.Number+1 || !q.boxes[r.Author.Key] || !q.speaks(h, r.By) {
			continue
		}
		if last := newest[r.Author]; last == nil || last.Sequence < r.Sequence {
			newest[r.Author] = r
		}
	}
	for _, r := range v.voices {
		if newest[r.Author] != r {
			continue
		}
		one := Voice{Box: r.Author.Key, Name: h.boxes[r.Author.Key].Name, Person: r.By}
		e, _ := voice(r)
		for _, o := range v.open {
			if who := removes(o); slices.Contains(e.Void, o.ID()) && !slices.Contains(one.Stay, who) {
				one.Stay = append(one.Stay, who)
			}
		}
		voices, records = append(voices, one), append(records, r)
	}
	return voices, records
}

// spoke is how often the box spoke in the dispute.
func (h *household) spoke(v *verdict, box services.PeerID) (n int) {
	for _, r := range v.voices {
		if e, _ := voice(r); r.Author.Key == box && e.Number == h.epoch.Number+1 {
			n++
		}
	}
	return n
}

// Agree says in a dispute, in the name of whom ctx acts for, who of the disputed belongs on; the others go. It is
// settled once more than half of the boxes that nobody disputes say the same, two at least; settled says whether that
// is so now. A box that says something else later means that. Codes: no-dispute; words-needed (a copied card, too few
// boxes, this one is disputed, or spoke too often); not-yours (only owners and admins who are not part of it);
// not-settled.
func (s *Service) Agree(ctx context.Context, stay []Subject) (settled bool, err error) {
	if err := s.lock(ctx); err != nil {
		return false, err
	}
	defer s.unlock()
	if err := s.writable(); err != nil && !isCode(err, "frozen") {
		return false, err
	}
	if s.restored {
		return false, notUpToDate()
	}
	taken, h, v, err := s.verdict(s.shared.Set().Records())
	if err != nil {
		return false, err
	}
	act, q := actorOf(ctx), h.quorum(v)
	switch {
	case !v.frozen():
		return false, noDispute()
	case len(v.forked) > 0 || !q.boxes[s.self] || len(q.boxes) < q.needed() || h.spoke(v, s.self) >= maxVoices:
		return false, &services.Problem{
			Kind: services.KindConflict, Code: "words-needed",
			Say: services.Say("identity.agree.words", "Only the 24 recovery words can settle this. Nothing was changed."),
		}
	case !q.speaks(h, act.by):
		return false, &services.Problem{
			Kind: services.KindDenied, Code: "not-yours",
			Say: services.Say("identity.agree.party", "An owner or admin whom this is not about has to decide it, or the 24 recovery words. Nothing was changed."),
		}
	}
	if err := h.belongs(act); err != nil {
		return false, err
	}
	e := record.Epoch{Number: h.epoch.Number + 1, Root: h.epoch.Root, NextRoot: h.epoch.NextRoot}
	for _, r := range v.open {
		if slices.Contains(stay, removes(r)) {
			e.Void = append(e.Void, r.ID())
		}
	}
	slices.SortFunc(e.Void, record.ID.Compare)
	if len(e.Void) == 0 || len(e.Void) > record.MaxVoid {
		return false, notSettled()
	}
	next, left, err := settle(s.self, taken, e.Void...)
	if err != nil {
		return false, err
	}
	for _, r := range v.open {
		if who := removes(r); left.frozen() || next.has(who) != slices.Contains(stay, who) {
			return false, notSettled()
		}
	}
	return s.say(ctx, act, e)
}

// conclude says once more what this box says, where a quorum says it and none of it knows of all the others: as after two
// boxes agreed at the same time. The one with the smallest key does it for all. The caller holds writing.
func (s *Service) conclude(ctx context.Context, fresh []*record.Record) {
	heard := slices.ContainsFunc(fresh, func(r *record.Record) bool { _, ok := voice(r); return ok })
	if !heard || !s.state.frozen || s.restored {
		return
	}
	_, h, v, err := s.verdict(s.shared.Set().Records())
	if err != nil {
		return
	}
	q := h.quorum(v)
	_, records := q.voices(h, v)
	own := slices.IndexFunc(records, func(r *record.Record) bool { return r.Author == record.Box(s.self) })
	if own < 0 {
		return
	}
	mine, _ := voice(records[own])
	records = slices.DeleteFunc(records, func(r *record.Record) bool { e, _ := voice(r); return !sameVoice(e, mine) })
	first := slices.MinFunc(records, func(a, b *record.Record) int { return slices.Compare(a.Author.Key[:], b.Author.Key[:]) })
	if first.Author != record.Box(s.self) || !q.backing(h, records).enough(v.voices) {
		return
	}
	if _, err := s.say(ctx, actor{by: first.By, via: first.Via}, mine); err != nil {
		s.cfg.Log.Error("settling a dispute that enough boxes agree on", "error", err)
	}
}

// say writes a voice down. The caller holds writing.
func (s *Service) say(ctx context.Context, act actor, e record.Epoch) (settled bool, err error) {
	author, next := record.Box(s.self), s.state.clone()
	made, err := s.join(ctx, next)
	if err != nil {
		return false, err
	}
	r, err := s.sign(ctx, record.Record{
		Sequence: next.sequence[author] + 1, By: act.by, Via: act.via, Parents: next.parents(author), Payload: e,
	})
	if err != nil {
		return false, err
	}
	if err := s.writeAnew(append(made, r)...); err != nil {
		return false, err
	}
	settled = !s.state.frozen
	s.cfg.Log.Info("this box says who belongs on", "record", r.ID().String(), "by", string(act.by), "settled", settled)
	return settled, nil
}
