package identity

import (
	"cmp"
	"crypto/sha256"
	"slices"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
)

// This file decides which records of a set count. It knows no order of arrival and no clock: it is a function of the
// set. Three rules, strongest first.
//
// # Epochs
//
// An epoch is a record of the household root, or of several boxes, see quorum.go. Of all valid epochs the one with the
// highest rank settles: what is neither in its past, nor itself, nor made in knowledge of it is void, whatever it says and
// however late it comes, and so is what it names of its past. An epoch is valid when its number is one more than that of the
// newest epoch in its past, its author is the root of that one, and the root it names is its author or the one that was
// announced; one of boxes leaves the root as it is. What was announced stays until that root follows: whoever stole the
// words cannot announce a key of theirs. The rank is how many roots came before the author, then how many epochs of the
// root it is with those that it builds on, then its number; of two with one rank the smaller ID counts.
// The epochs that it builds on go on to count: what one of them left out stays out.
//
// That the author counts, and not the root that an epoch names: once a root was used, everybody knows it, and former words
// could name it in an epoch of their own. But nobody except its owner goes on from there. See newwords.go.
//
// # Removals
//
// A removal attacks, of what it has not seen: every record that its subject (the person or device it was made for, the
// box that signed it) made, every record that adds the subject, and every record made by those whom such a record
// added, as far as nobody else had; a thief could otherwise have a puppet remove whoever removes the thief. Removals
// are records too and are attacked like others. Who wins is the grounded labelling of argumentation (P. M. Dung, 1995):
// a removal stands when nothing that attacks it stands or is open, falls when one that stands attacks it, and is open
// when neither can be said, as in a circle: two who remove one another. An open removal has not happened, but its
// subject is suspended, what it attacks is void, and nothing can change until an epoch leaves one side out (frozen).
//
// A removal whose subject or maker is not added in its past is void. spin/ has a model of all this.
//
// # Forks
//
// Two different records of one box with one sequence prove that its key is used in two places: a cloned card, or theft.
// All that the box signed from there on is void, but its removals are open; the box is suspended, and all is frozen. That
// ends when the root removes or replaces the box in knowledge of the proof: then its removals in doubt fall. What a
// removal that stands had not seen of its box proves nothing. An epoch may name the newest record of the branch that was the
// box's own: that one, and what the box signed before it, counts as ever.

// verdict is what became of a set.
type verdict struct {
	void      map[record.ID]bool // records without effect
	powerless map[record.ID]bool // removals without effect that attack nothing
	stand     []*record.Record   // removals that stand
	open      []*record.Record   // removals whose subjects are suspended
	voices    []*record.Record   // what boxes say who belongs, that did not settle it; see quorum.go
	accused   []services.PeerID  // boxes that the words are to judge besides; see contest
	forked    []services.PeerID  // boxes whose key is used in two places, in order of the keys
}

func (v *verdict) frozen() bool { return len(v.open) > 0 || len(v.forked) > 0 }

// settle reaches a verdict on the ordered records taken, and returns the household it leaves, nobody suspended yet.
//
// A removal that may have no effect even where nothing attacks it, since it would take the last owner or its author does
// not belong, attacks nothing either. That shows only when it is tried, so all is tried again without it, until none is
// left. One that could have an effect in the end, since it failed only for what another such did, is given it, once.
//
// The removals in without are taken as void.
func settle(self services.PeerID, taken []*record.Record, without ...record.ID) (*household, *verdict, error) {
	j := newJudgement(taken)
	j.without = without
	powerless, pardoned := map[record.ID]bool{}, map[record.ID]bool{}
	for {
		v := j.verdict(powerless)
		h, idle, able, err := replay(self, taken, v.void, powerless, nil)
		if err != nil {
			return nil, nil, err
		}
		again := len(idle) > 0
		for _, id := range idle {
			powerless[id] = true
		}
		for _, id := range able {
			if len(idle) == 0 && !pardoned[id] {
				delete(powerless, id)
				pardoned[id], again = true, true
			}
		}
		if !again {
			return h, v, nil
		}
	}
}

// judgement is the work of reaching a verdict on the records taken, which are in the order of fold.
type judgement struct {
	taken   []*record.Record
	at      map[record.ID]int
	parents [][]int           // the places of each record's
	pasts   map[int][]bool    // of some records: which places are in it
	afters  map[int][]bool    // of some records: which places have it in their past
	added   map[Subject][]int // the places of the records that add it
	made    map[Subject][]int // and of those that were made for it, or signed by it
	without []record.ID       // what is taken as void
}

func newJudgement(taken []*record.Record) *judgement {
	j := &judgement{
		taken: taken, at: make(map[record.ID]int, len(taken)), parents: make([][]int, len(taken)), pasts: map[int][]bool{}, afters: map[int][]bool{},
		added: map[Subject][]int{}, made: map[Subject][]int{},
	}
	for i, r := range taken {
		j.at[r.ID()] = i
		for _, id := range r.Parents {
			j.parents[i] = append(j.parents[i], j.at[id])
		}
		if who := adds(r); who != (Subject{}) {
			j.added[who] = append(j.added[who], i)
		}
		for _, who := range makers(r) {
			j.made[who] = append(j.made[who], i)
		}
	}
	return j
}

// past says which places are in the past of the record at i.
func (j *judgement) past(i int) []bool {
	if p := j.pasts[i]; p != nil {
		return p
	}
	p := make([]bool, len(j.taken))
	p[i] = true
	for k := i; k >= 0; k-- {
		if p[k] {
			for _, parent := range j.parents[k] {
				p[parent] = true
			}
		}
	}
	p[i] = false
	j.pasts[i] = p
	return p
}

// after says which places have the record at i in their past.
func (j *judgement) after(i int) []bool {
	if a := j.afters[i]; a != nil {
		return a
	}
	a := make([]bool, len(j.taken))
	for k := i + 1; k < len(a); k++ {
		a[k] = slices.ContainsFunc(j.parents[k], func(p int) bool { return p == i || a[p] })
	}
	j.afters[i] = a
	return a
}

// epochs returns the places of the epoch that settles and of those it builds on, the newest first; none when there is
// no valid one.
func (j *judgement) epochs(powerless map[record.ID]bool) []int {
	genesis := j.taken[0].Payload.(record.Genesis)
	first := record.Epoch{Root: j.taken[0].Author.Key, NextRoot: genesis.NextRoot}
	const none = -1
	of := func(i int) record.Epoch {
		if i == none {
			return first
		}
		return j.taken[i].Payload.(record.Epoch)
	}
	type valid struct {
		before int // the epoch that it builds on
		former int // how many roots came before its author
		roots  int // how many of the root it makes with those before
	}
	found := map[int]valid{}
	// newer says whether the epoch at a counts rather than the one at b.
	newer := func(a, b int) bool {
		if b == none {
			return true
		}
		return cmp.Or(cmp.Compare(found[b].former, found[a].former), cmp.Compare(found[b].roots, found[a].roots), cmp.Compare(of(b).Number, of(a).Number), j.taken[a].ID().Compare(j.taken[b].ID())) < 0
	}
	chain := func(i int) (out []int) {
		for ; i != none; i = found[i].before {
			out = append(out, i)
		}
		return out
	}
	worlds := map[int]*verdict{} // what counts where an epoch settles and nothing that builds on it
	world := func(last int) *verdict {
		if worlds[last] == nil {
			worlds[last] = j.judge(chain(last), powerless)
		}
		return worlds[last]
	}
	winner := none
	for i, r := range j.taken {
		e, ok := r.Payload.(record.Epoch)
		if !ok {
			continue
		}
		last := none
		for k := range found {
			if j.past(i)[k] && newer(k, last) {
				last = k
			}
		}
		o := of(last)
		is := valid{last, found[last].former, found[last].roots}
		if !follows(e, o) {
			continue
		}
		if r.Author.Kind == record.KindRoot {
			if r.Author.Key != o.Root {
				continue
			}
			is.roots++
			if last != none && o.Root != of(found[last].before).Root {
				is.former++
			}
		} else if _, ok := voice(r); !ok || e.Root != o.Root || e.NextRoot != o.NextRoot {
			continue
		} else if b := j.backing(i); !b.enough(nil) || !b.enough(world(last).void) {
			continue
		}
		found[i] = is
		if newer(i, winner) {
			winner = i
		}
	}
	return chain(winner)
}

// follows says whether what e says may come after o: the next number, and the same root and announcement, or the root that
// was announced and any announcement. Where nothing is announced yet, e may announce.
func follows(e, o record.Epoch) bool {
	unannounced := o.NextRoot == [32]byte{}
	same := e.Root == o.Root && (e.NextRoot == o.NextRoot || unannounced)
	return e.Number == o.Number+1 && (same || !unannounced && sha256.Sum256(e.Root[:]) == o.NextRoot)
}

// inside says which places the epochs let count, and which they know: those, and what they name as void. Epochs of the root
// that are none of them are not inside.
func (j *judgement) inside(epochs []int) (in, known []bool) {
	in = make([]bool, len(j.taken))
	for i, r := range j.taken {
		_, voice := voice(r)
		in[i] = r.Op() != record.OpEpoch || voice || slices.Contains(epochs, i)
	}
	for _, e := range epochs {
		past, after := j.past(e), j.after(e)
		for i := range in {
			in[i] = in[i] && (past[i] || i == e || after[i])
		}
	}
	known = slices.Clone(in)
	for _, e := range epochs {
		past := j.past(e)
		for _, id := range j.taken[e].Payload.(record.Epoch).Void {
			if i, ok := j.at[id]; ok && past[i] {
				in[i] = false
			}
		}
	}
	for _, id := range j.without {
		if i, ok := j.at[id]; ok {
			in[i] = false
		}
	}
	return in, known
}

// kept are the records of boxes whose key was used twice that the epochs keep.
func (j *judgement) kept(epochs []int) map[record.ID]bool {
	out := map[record.ID]bool{}
	for _, e := range epochs {
		known := j.past(e)
		for _, id := range j.taken[e].Payload.(record.Epoch).Keep {
			tip, ok := j.at[id]
			if !ok || !known[tip] {
				continue
			}
			out[id] = true
			for i, before := range j.past(tip) {
				if r := j.taken[i]; before && r.Author == j.taken[tip].Author {
					out[r.ID()] = true
				}
			}
		}
	}
	return out
}

// adds returns whom or what r adds, the zero Subject for nobody. Identifiers are used once.
func adds(r *record.Record) Subject {
	switch p := r.Payload.(type) {
	case record.AddPerson:
		return Subject{Person: p.Person}
	case record.AddDevice:
		return Subject{Device: p.Device}
	case record.AddBox:
		return Subject{Box: p.Box}
	case record.ReplaceBox:
		return Subject{Box: p.Key}
	}
	return Subject{}
}

// makers returns the box that signed r, and the person and the device it was made for.
func makers(r *record.Record) []Subject {
	out := make([]Subject, 0, 3)
	if r.Author.Kind == record.KindBox {
		out = append(out, Subject{Box: r.Author.Key})
	}
	if r.By != "" {
		out = append(out, Subject{Person: r.By})
	}
	if r.Via != "" {
		out = append(out, Subject{Device: r.Via})
	}
	return out
}

// removesBox says whether the removal's subject is the box a.
func removesBox(removal *record.Record, a record.Author) bool {
	switch p := removal.Payload.(type) {
	case record.RemoveBox:
		return a == record.Box(p.Box)
	case record.ReplaceBox:
		return a == record.Box(p.Box)
	}
	return false
}

func isRemoval(r *record.Record) bool {
	switch r.Op() {
	case record.OpRemovePerson, record.OpRemoveDevice, record.OpRemoveBox:
		return true
	case record.OpReplaceBox:
		return r.Author.Kind == record.KindRoot
	}
	return false
}

// founded says whether the removal at i has its subject and its makers added in its past, as far as in lets count.
func (j *judgement) founded(i int, in []bool) bool {
	past := j.past(i)
	missing := func(who Subject) bool {
		return !slices.ContainsFunc(j.added[who], func(k int) bool { return past[k] && in[k] })
	}
	r := j.taken[i]
	return !missing(removes(r)) && !slices.ContainsFunc(makers(r), missing)
}

// attacks returns the places of what the removal at x attacks.
func (j *judgement) attacks(x int, in []bool) []int {
	out := make([]bool, len(j.taken))
	var found []int
	past := j.past(x)
	take := func(i int) {
		if i != x && in[i] && !past[i] && !out[i] {
			out[i] = true
			found = append(found, i)
		}
	}
	subject := removes(j.taken[x])
	for _, i := range j.made[subject] {
		take(i)
	}
	for _, i := range j.added[subject] {
		take(i)
	}
	for n := 0; n < len(found); n++ {
		i := found[n]
		who := adds(j.taken[i])
		for _, k := range j.made[who] {
			supported := func(a int) bool { return in[a] && !out[a] && j.after(a)[k] }
			if j.after(i)[k] && !slices.ContainsFunc(j.added[who], supported) {
				take(k)
			}
		}
	}
	return found
}

// forks returns the sequence from which each forked box's records are in doubt, and the boxes for which the root has
// ended that.
func (j *judgement) forks(in []bool) (out map[record.Author]uint64, ended map[record.Author]bool) {
	seen := map[record.Author]map[uint64]bool{}
	out, ended = map[record.Author]uint64{}, map[record.Author]bool{}
	for i, r := range j.taken {
		if !in[i] || r.Author.Kind != record.KindBox {
			continue
		}
		of := seen[r.Author]
		if of == nil {
			of = map[uint64]bool{}
			seen[r.Author] = of
		}
		if of[r.Sequence] {
			if s, ok := out[r.Author]; !ok || r.Sequence < s {
				out[r.Author] = r.Sequence
			}
		}
		of[r.Sequence] = true
	}
	for i, r := range j.taken {
		if !in[i] || r.Author.Kind != record.KindRoot || !isRemoval(r) || !j.founded(i, in) {
			continue
		}
		for a := range out {
			known := map[uint64]bool{}
			for k, before := range j.past(i) {
				if q := j.taken[k]; before && in[k] && q.Author == a && removes(r) == (Subject{Box: a.Key}) {
					ended[a] = ended[a] || known[q.Sequence]
					known[q.Sequence] = true
				}
			}
		}
	}
	return out, ended
}

// label is what became of a removal.
type label uint8

const (
	undecided label = iota
	stands
	falls
)

// labelled labels the removals: the grounded labelling, in which those in doubt do not stand.
func labelled(removals []int, attackers map[int][]int32, doubtful func(removal int) bool) map[int]label {
	labels := make(map[int]label, len(removals))
	for changed := true; changed; {
		changed = false
		for _, x := range removals {
			if labels[x] != undecided {
				continue
			}
			fallen := 0
			for _, y := range attackers[x] {
				if labels[int(y)] == stands {
					labels[x], changed = falls, true
					break
				}
				if labels[int(y)] == falls {
					fallen++
				}
			}
			if labels[x] == undecided && fallen == len(attackers[x]) && !doubtful(x) {
				labels[x], changed = stands, true
			}
		}
	}
	return labels
}

// verdict applies the three rules. Removals in powerless are known to have no effect of their own and attack nothing.
func (j *judgement) verdict(powerless map[record.ID]bool) *verdict {
	epochs := j.epochs(powerless)
	v := j.judge(epochs, powerless)
	for i, r := range j.taken {
		if _, ok := voice(r); ok && !slices.Contains(epochs, i) {
			if !v.void[r.ID()] {
				v.voices = append(v.voices, r)
			}
			v.void[r.ID()] = true
		}
	}
	return v
}

// judge applies the rules where the epochs settle, the newest first.
func (j *judgement) judge(epochs []int, powerless map[record.ID]bool) *verdict {
	v := &verdict{void: map[record.ID]bool{}, powerless: powerless}
	in, proof := j.inside(epochs) // what an epoch names as void is proof of a fork all the same
	kept := j.kept(epochs)
	for i, r := range j.taken {
		if !in[i] {
			v.void[r.ID()] = true
		}
	}
	var (
		forks     map[record.Author]uint64
		ended     map[record.Author]bool
		removals  []int
		attackers map[int][]int32
		labels    map[int]label
	)
	doubtful := func(r *record.Record) bool {
		s, ok := forks[r.Author]
		return ok && r.Sequence >= s && !kept[r.ID()]
	}
	// What a removed box signed without the removal having seen it is void, and proves nothing either: a removed key does
	// not freeze anybody. With less in doubt more removals stand, so all is tried again until nothing changes.
	for again := true; again; {
		again = false
		forks, ended = j.forks(proof)
		removals, attackers = nil, map[int][]int32{}
		for i, r := range j.taken {
			if !in[i] || !isRemoval(r) || powerless[r.ID()] || doubtful(r) && ended[r.Author] {
				continue
			}
			if !j.founded(i, in) {
				v.void[r.ID()] = true
				continue
			}
			removals = append(removals, i)
			for _, k := range j.attacks(i, in) {
				attackers[k] = append(attackers[k], int32(i))
			}
		}
		labels = labelled(removals, attackers, func(x int) bool { return doubtful(j.taken[x]) })
		for _, x := range removals {
			if labels[x] != stands {
				continue
			}
			for i, r := range j.taken {
				if _, forked := forks[r.Author]; forked && proof[i] && removesBox(j.taken[x], r.Author) && !j.past(x)[i] {
					proof[i], again = false, true
				}
			}
		}
	}
	for a := range forks {
		if !ended[a] {
			v.forked = append(v.forked, a.Key)
		}
	}
	slices.SortFunc(v.forked, func(a, b services.PeerID) int { return slices.Compare(a[:], b[:]) })

	for i, r := range j.taken {
		if in[i] && (doubtful(r) || slices.ContainsFunc(attackers[i], func(x int32) bool { return labels[int(x)] != falls })) {
			v.void[r.ID()] = true
		}
	}
	for _, x := range removals {
		switch r := j.taken[x]; labels[x] {
		case stands:
			v.stand = append(v.stand, r)
		case undecided:
			v.void[r.ID()] = true
			v.open = append(v.open, r)
		}
	}
	return v
}
