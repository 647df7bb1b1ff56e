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
// however late it comes, and so is what it names of its past; one of boxes voids less, see there. The epochs that it builds
// on go on to count: what one of them left out stays out.
//
// An epoch is valid when its number is one more than that of the newest epoch in its past, its author is the root of that
// one, and the root it names is its author or the one that was announced; one of boxes leaves the root as it is. What was
// announced stays until that root follows: whoever stole the words cannot announce a key of theirs. The rank is how many
// roots came before the author, then how many epochs of the root it is with those that it builds on, then its number; of two
// with one rank the smaller ID counts.
//
// That the author counts, and not the root that an epoch names: once a root was used, everybody knows it, and former words
// could name it in an epoch of their own. But nobody except its owner goes on from there. See newwords.go.
//
// # Removals
//
// A removal attacks, of what it has not seen: every record that its subject (the person or device it was made for, the
// box that signed it) made, and every record that adds the subject. A record leans on those in its past that add who made
// it: it counts only if one of them does, of each; a thief could otherwise have a puppet remove whoever removes the thief.
// Removals are records too: they are attacked, and lean. Who wins is the grounded labelling of argumentation (P. M. Dung,
// 1995; with support, as F. Nouioua and V. Risch have it, 2011): a record stands when all that attacks it falls and what it
// leans on stands, falls when something that attacks it stands or nothing is left to lean on, and is open when neither can
// be said, as in a circle: two who remove one another. A removal that stands has its effect, whatever became of its maker's
// name or address. One that is open has not happened, but its subject is suspended, what it attacks is void, and nothing can
// change until an epoch leaves one side out (frozen).
//
// A removal falls when its subject is not added in its past. So does that of an owner, when in its past everybody else who
// was ever made an owner is removed, and that stands. Where those that stand leave no owner, or no box, all the same, as when
// two are removed apart from one another, the last of them, of which none has seen another, are open. Nothing of this depends
// on what somebody did whose removal stands: that falls, and what falls is as if it had never been. spin/ has a model of it.
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
	void    map[record.ID]bool // records without effect
	stand   []*record.Record   // removals that stand
	open    []*record.Record   // removals whose subjects are suspended
	voices  []*record.Record   // what boxes say who belongs, that did not settle it; see quorum.go
	accused []services.PeerID  // boxes that the words are to judge besides; see contest
	forked  []services.PeerID  // boxes whose key is used in two places, in order of the keys

	j *judgement
}

func (v *verdict) frozen() bool { return len(v.open) > 0 || len(v.forked) > 0 }

// disputes says whether all the removals are open.
func (v *verdict) disputes(removals []record.ID) bool {
	return !slices.ContainsFunc(removals, func(id record.ID) bool {
		return !slices.ContainsFunc(v.open, func(r *record.Record) bool { return r.ID() == id })
	})
}

// beside are the people whom removals that stand remove without having seen r.
func (v *verdict) beside(r *record.Record) (out []services.PersonID) {
	for _, x := range v.stand {
		if who := removes(x).Person; who != "" && !v.j.past(v.j.at[x.ID()])[v.j.at[r.ID()]] {
			out = append(out, who)
		}
	}
	return out
}

// settle reaches a verdict on the ordered records taken, and returns the household it leaves, nobody suspended yet. The
// removals in without are taken as void.
func settle(self services.PeerID, taken []*record.Record, without ...record.ID) (*household, *verdict, error) {
	j := newJudgement(taken)
	j.without = without
	epochs, err := j.epochs()
	if err != nil {
		return nil, nil, err
	}
	return j.under(self, epochs)
}

// under reaches a verdict where the epochs settle, the newest first.
func (j *judgement) under(self services.PeerID, epochs []int) (*household, *verdict, error) {
	doubt := map[int]bool{}
	for {
		v := j.verdict(epochs, doubt)
		h, _, err := replay(self, j.taken, v, nil)
		if err != nil {
			return nil, nil, err
		}
		much := j.tooMuch(h, v, len(doubt) > 0)
		if len(much) == 0 {
			return h, v, nil
		}
		for _, x := range much {
			doubt[x] = true
		}
	}
}

// tooMuch returns the places of removals that stand and leave h without an owner, or without a box: the last ones of them,
// or all.
func (j *judgement) tooMuch(h *household, v *verdict, all bool) []int {
	of := func(leaves func(Subject) bool) (out []int) {
		for _, r := range v.stand {
			if leaves(removes(r)) {
				out = append(out, j.at[r.ID()])
			}
		}
		every := slices.Clone(out)
		return slices.DeleteFunc(out, func(x int) bool {
			return !all && slices.ContainsFunc(every, func(y int) bool { return j.past(y)[x] })
		})
	}
	var out []int
	if !h.owned() {
		owners := map[services.PersonID]bool{}
		for _, i := range j.owning {
			if r := j.taken[i]; !v.void[r.ID()] {
				owners[makesOwner(r)] = true
			}
		}
		out = of(func(who Subject) bool { return owners[who.Person] })
	}
	if len(h.boxes) == 0 {
		out = append(out, of(func(who Subject) bool { return !who.Box.IsZero() })...)
	}
	return out
}

// judgement is the work of reaching a verdict on the records taken, which are in the order of fold.
type judgement struct {
	taken   []*record.Record
	at      map[record.ID]int
	last    []uint64          // each record's author's highest sequence in its past
	parents [][]int           // the places of each record's
	pasts   map[int][]bool    // of some records: which places are in it
	afters  map[int][]bool    // of some records: which places have it in their past
	added   map[Subject][]int // the places of the records that add it
	made    map[Subject][]int // and of those that were made for it, or signed by it
	leans   [][3][]int        // for each who made a record: the places in its past that add them; see strange
	strange []bool            // records of which one maker is added nowhere in their past
	owning  []int             // the places of the records that make somebody an owner
	without []record.ID       // what is taken as void
}

func newJudgement(taken []*record.Record) *judgement {
	j := &judgement{
		taken: taken, at: make(map[record.ID]int, len(taken)), last: sequences(taken), parents: make([][]int, len(taken)),
		pasts: map[int][]bool{}, afters: map[int][]bool{}, added: map[Subject][]int{}, made: map[Subject][]int{},
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
		if makesOwner(r) != "" {
			j.owning = append(j.owning, i)
		}
	}
	j.lean()
	return j
}

// lean finds what each record leans on. The additions in a record's past are a set of bits.
func (j *judgement) lean() {
	number := make(map[int]int, len(j.added))
	for _, some := range j.added {
		for _, i := range some {
			number[i] = len(number)
		}
	}
	words := (len(number) + 63) / 64
	past := make([]uint64, len(j.taken)*words)
	of := func(i int) []uint64 { return past[i*words : (i+1)*words] }
	j.leans, j.strange = make([][3][]int, len(j.taken)), make([]bool, len(j.taken))
	for i, r := range j.taken {
		bits := of(i)
		for _, p := range j.parents[i] {
			for k, w := range of(p) {
				bits[k] |= w
			}
			if n, ok := number[p]; ok {
				bits[n/64] |= 1 << (n % 64)
			}
		}
		for k, who := range makers(r) {
			some := j.added[who]
			unfit := func(a int) bool {
				n := number[a]
				d, ok := j.taken[a].Payload.(record.AddDevice)
				return bits[n/64]>>(n%64)&1 == 0 || ok && d.Person != r.By
			}
			if slices.ContainsFunc(some, unfit) {
				some = slices.DeleteFunc(slices.Clone(some), unfit)
			}
			j.leans[i][k] = some
			j.strange[i] = j.strange[i] || len(some) == 0
		}
	}
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
func (j *judgement) epochs() ([]int, error) {
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
	world := func(last int) (*verdict, error) {
		if worlds[last] != nil {
			return worlds[last], nil
		}
		_, v, err := j.under(services.PeerID{}, chain(last))
		worlds[last] = v
		return v, err
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
		} else {
			if _, ok := voice(r); !ok || e.Root != o.Root || e.NextRoot != o.NextRoot || j.spoken(i) >= maxVoices {
				continue
			}
			w, err := world(last)
			if err != nil {
				return nil, err
			}
			// What a voice has in its past takes long to judge, and comes last.
			if !slices.Contains(w.voices, r) || !w.disputes(e.Void) || !j.backing(i).enough(w.voices) {
				continue
			}
		}
		found[i] = is
		if newer(i, winner) {
			winner = i
		}
	}
	return chain(winner), nil
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
		_, boxes := voice(j.taken[e])
		var losers []Subject
		if boxes {
			losers = j.backing(e).losers
		}
		lost := func(who Subject) bool { return slices.Contains(losers, who) }
		for i, r := range j.taken {
			in[i] = in[i] && (past[i] || i == e || after[i] || boxes && !slices.ContainsFunc(makers(r), lost))
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
		if r.Author.Kind == record.KindRoot {
			return Subject{Box: p.Key}
		}
	}
	return Subject{}
}

// makesOwner returns whom r makes an owner, "" for nobody.
func makesOwner(r *record.Record) services.PersonID {
	switch p := r.Payload.(type) {
	case record.AddPerson:
		if p.Role == services.RoleOwner {
			return p.Person
		}
	case record.SetRole:
		if p.Role == services.RoleOwner {
			return p.Person
		}
	}
	return ""
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
	return !j.strange[i] && slices.ContainsFunc(j.added[removes(j.taken[i])], func(k int) bool { return past[k] && in[k] })
}

// authorized says whether the record at i follows what its author signed before it, and is of no root but the one there
// was then. Epochs are the newest first.
func (j *judgement) authorized(i int, epochs []int) bool {
	r, root := j.taken[i], j.taken[0].Author.Key
	if k := slices.IndexFunc(epochs, func(e int) bool { return j.after(e)[i] }); k >= 0 {
		root = j.taken[epochs[k]].Payload.(record.Epoch).Root
	}
	return r.Sequence == j.last[i]+1 && (r.Author.Kind != record.KindRoot || r.Author.Key == root)
}

// others are, for the removal of an owner at x, the removals in its past of each other person who was made an owner there;
// ok is false when somebody of them was not removed there, or it removes no owner.
func (j *judgement) others(x int, in []bool, removals map[Subject][]int) (out [][]int, ok bool) {
	past := j.past(x)
	subject := removes(j.taken[x]).Person
	seen := map[services.PersonID]bool{}
	for _, i := range j.owning {
		who := makesOwner(j.taken[i])
		if !in[i] || !past[i] || seen[who] {
			continue
		}
		seen[who] = true
		if who == subject {
			continue
		}
		var some []int
		for _, y := range removals[Subject{Person: who}] {
			if past[y] {
				some = append(some, y)
			}
		}
		if len(some) == 0 {
			return nil, false
		}
		out = append(out, some)
	}
	return out, seen[subject]
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

// label is what became of a record; what attacks it has the opposite one at best.
type label int8

const (
	falls label = iota - 1
	undecided
	stands
)

// labelling is the work of labelling the records, where the epochs settle.
type labelling struct {
	*judgement
	epochs []int              // the newest first
	in     []bool             // which places the epochs let count
	proof  []bool             // which prove a fork: what an epoch names as void does all the same
	kept   map[record.ID]bool // what they keep of forked boxes
	doubt  map[int]bool       // removals that do not stand

	places    []int           // of what others depend on
	removals  []int           // the removals among them
	attackers map[int][]int   // the removals that attack it
	others    map[int][][]int // of removals of owners; see there

	forks  map[record.Author]uint64 // see there
	ended  map[record.Author]bool
	labels []label
}

// gather finds what others depend on.
func (l *labelling) gather() {
	for i, r := range l.taken {
		removal := isRemoval(r)
		if !l.in[i] || !removal && adds(r) == (Subject{}) || !l.authorized(i, l.epochs) || removal && !l.founded(i, l.in) {
			continue
		}
		l.places = append(l.places, i)
		if removal {
			l.removals = append(l.removals, i)
		}
	}
}

// attack finds what each removal attacks, and of which others that of an owner depends.
func (l *labelling) attack() {
	removing := map[Subject][]int{}
	for _, x := range l.removals {
		who := removes(l.taken[x])
		removing[who] = append(removing[who], x)
	}
	l.attackers, l.others = map[int][]int{}, map[int][][]int{}
	for _, x := range l.removals {
		subject, past := removes(l.taken[x]), l.past(x)
		for _, some := range [][]int{l.made[subject], l.added[subject]} {
			for _, i := range some {
				if i != x && l.in[i] && !past[i] {
					l.attackers[i] = append(l.attackers[i], x)
				}
			}
		}
		if subject.Person != "" {
			if others, ok := l.judgement.others(x, l.in, removing); ok {
				l.others[x] = others
			}
		}
	}
}

// forked says whether r is in doubt, since its box's key is used in two places.
func (l *labelling) forked(r *record.Record) bool {
	s, ok := l.forks[r.Author]
	return ok && r.Sequence >= s && !l.kept[r.ID()]
}

// of labels the record at i by the labels of those that it depends on.
func (l *labelling) of(i int) label {
	out := stands
	if l.doubt[i] || l.forked(l.taken[i]) {
		out = undecided
	}
	for _, x := range l.attackers[i] {
		out = min(out, -l.labels[x])
	}
	if l.strange[i] {
		return falls
	}
	for _, some := range l.leans[i] {
		if len(some) == 0 {
			continue
		}
		best := falls
		for _, a := range some {
			best = max(best, l.labels[a])
		}
		out = min(out, best)
	}
	if others, ok := l.others[i]; ok {
		left := falls // whether another owner is
		for _, removals := range others {
			one := stands
			for _, y := range removals {
				one = min(one, -l.labels[y])
			}
			left = max(left, one)
		}
		out = min(out, left)
	}
	return out
}

// ground labels the records at places, which nothing else depends on: the grounded labelling.
func (l *labelling) ground() {
	l.labels = slices.Repeat([]label{falls}, len(l.taken))
	for _, i := range l.places {
		if r := l.taken[i]; !l.forked(r) || !l.ended[r.Author] {
			l.labels[i] = undecided
		}
	}
	for changed := true; changed; {
		changed = false
		for _, i := range l.places {
			if l.labels[i] == undecided {
				l.labels[i] = l.of(i)
				changed = changed || l.labels[i] != undecided
			}
		}
	}
}

// settle finds the forks, and labels with them. What a removed box signed without the removal having seen it is void, and
// proves nothing either: a removed key does not freeze anybody. With less in doubt more removals stand, so all is tried
// again until nothing changes.
func (l *labelling) settle() {
	for again := true; again; {
		again = false
		l.forks, l.ended = l.judgement.forks(l.proof)
		l.ground()
		for _, x := range l.removals {
			if l.labels[x] != stands {
				continue
			}
			for i, r := range l.taken {
				if _, forked := l.forks[r.Author]; forked && l.proof[i] && removesBox(l.taken[x], r.Author) && !l.past(x)[i] {
					l.proof[i], again = false, true
				}
			}
		}
	}
}

// outcome is the verdict that the labels are.
func (l *labelling) outcome() *verdict {
	v := &verdict{void: map[record.ID]bool{}, j: l.judgement}
	for a := range l.forks {
		if !l.ended[a] {
			v.forked = append(v.forked, a.Key)
		}
	}
	slices.SortFunc(v.forked, func(a, b services.PeerID) int { return slices.Compare(a[:], b[:]) })
	for i, r := range l.taken {
		removal := isRemoval(r)
		_, speaks := voice(r)
		switch {
		case removal && l.labels[i] == stands:
			v.stand = append(v.stand, r)
		case removal && l.labels[i] == undecided:
			v.void[r.ID()] = true
			v.open = append(v.open, r)
		case removal || !l.in[i] || l.of(i) != stands || speaks && !l.authorized(i, l.epochs):
			v.void[r.ID()] = true
		}
	}
	return v
}

// verdict applies the rules where the epochs settle. The removals in doubt do not stand.
func (j *judgement) verdict(epochs []int, doubt map[int]bool) *verdict {
	v := j.judge(epochs, doubt)
	for i, r := range j.taken {
		_, speaks := voice(r)
		switch {
		case slices.Contains(epochs, i): // whoever signed it, and became of them
			delete(v.void, r.ID())
		case speaks:
			if !v.void[r.ID()] {
				v.voices = append(v.voices, r)
			}
			v.void[r.ID()] = true
		}
	}
	return v
}

// judge applies the rules where the epochs settle, the newest first.
func (j *judgement) judge(epochs []int, doubt map[int]bool) *verdict {
	l := &labelling{judgement: j, epochs: epochs, kept: j.kept(epochs), doubt: doubt}
	l.in, l.proof = j.inside(epochs)
	l.gather()
	l.attack()
	l.settle()
	return l.outcome()
}
