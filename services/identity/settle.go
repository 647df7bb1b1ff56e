package identity

import (
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
// An epoch is a record of the household root. Of all valid epochs the one with the highest number settles: what is
// neither in its past, nor itself, nor made in knowledge of it is void, whatever it says and however late it comes, and so
// is what it names of its past. An
// epoch is valid when its number is one more than that of the newest epoch in its past, its author is the root of that
// one, and the root it names is its author or the one that was announced. Of two with one number the smaller ID counts.
// The epochs that it builds on go on to count: what one of them left out stays out.
//
// # Removals
//
// A removal attacks every record that its subject (the person or device it was made for, the box that signed it) made
// without the removal having seen it, and every such record that adds the subject. Removals are records too and are attacked like others. Who wins is the grounded
// labelling of argumentation (P. M. Dung, 1995): a removal stands when nothing that attacks it stands or is open, falls
// when one that stands attacks it, and is open when neither can be said, as in a circle: two who remove one another. An
// open removal has not happened, but its subject is suspended, what it attacks is void, and nothing can change until an
// epoch leaves one side out (frozen).
//
// # Forks
//
// Two different records of one box with one sequence prove that its key is used in two places: a cloned card, or theft.
// All that the box signed from there on is void, but its removals are open; the box is suspended, and all is frozen. That
// ends when the root removes or replaces the box in knowledge of the proof: then its removals in doubt fall.

// verdict is what became of a set.
type verdict struct {
	void   map[record.ID]bool // records without effect
	stand  []*record.Record   // removals that stand
	open   []*record.Record   // removals whose subjects are suspended
	forked []services.PeerID  // boxes whose key is used in two places, in order of the keys
}

func (v *verdict) frozen() bool { return len(v.open) > 0 || len(v.forked) > 0 }

// settle reaches a verdict on the ordered records taken, and returns the household it leaves, nobody suspended yet.
//
// A removal that has no effect even where nothing attacks it, since it would take the last owner or its author does not
// belong, attacks nothing either. That shows only when it is tried, so all is tried again without it, until none is left.
func settle(self services.PeerID, taken []*record.Record) (*household, *verdict, error) {
	j := newJudgement(taken)
	powerless := map[record.ID]bool{}
	for {
		v := j.verdict(powerless)
		h, idle, err := replay(self, taken, v.void, nil)
		if err != nil {
			return nil, nil, err
		}
		before := len(powerless)
		for _, id := range idle {
			powerless[id] = true
		}
		if len(powerless) == before {
			return h, v, nil
		}
	}
}

// judgement is the work of reaching a verdict on the records taken, which are in the order of fold.
type judgement struct {
	taken []*record.Record
	at    map[record.ID]int
	pasts map[int][]bool // of some records: which places are in it
}

func newJudgement(taken []*record.Record) *judgement {
	j := &judgement{taken: taken, at: make(map[record.ID]int, len(taken)), pasts: map[int][]bool{}}
	for i, r := range taken {
		j.at[r.ID()] = i
	}
	return j
}

// past says which places are in the past of the record at i.
func (j *judgement) past(i int) []bool {
	if p := j.pasts[i]; p != nil {
		return p
	}
	p := make([]bool, len(j.taken))
	for _, id := range j.taken[i].Parents {
		p[j.at[id]] = true
	}
	for k := i - 1; k >= 0; k-- {
		if p[k] {
			for _, id := range j.taken[k].Parents {
				p[j.at[id]] = true
			}
		}
	}
	j.pasts[i] = p
	return p
}

// epochs returns the places of the epoch that settles and of those it builds on, the newest first; none when there is
// no valid one.
func (j *judgement) epochs() []int {
	genesis := j.taken[0].Payload.(record.Genesis)
	first := record.Epoch{Root: j.taken[0].Author.Key, NextRoot: genesis.NextRoot}
	const none = -1
	of := func(i int) record.Epoch {
		if i == none {
			return first
		}
		return j.taken[i].Payload.(record.Epoch)
	}
	// newer says whether the epoch at a counts rather than the one at b.
	newer := func(a, b int) bool {
		if x, y := of(a).Number, of(b).Number; x != y || b == none {
			return x > y
		}
		return j.taken[a].ID().Compare(j.taken[b].ID()) < 0
	}
	before := map[int]int{} // of each valid epoch
	winner := none
	for i, r := range j.taken {
		e, ok := r.Payload.(record.Epoch)
		if !ok {
			continue
		}
		last := none
		for k := range before {
			if j.past(i)[k] && newer(k, last) {
				last = k
			}
		}
		o := of(last)
		announced := o.NextRoot != [32]byte{} && sha256.Sum256(e.Root[:]) == o.NextRoot
		if r.Author.Kind != record.KindRoot || r.Author.Key != o.Root || e.Number != o.Number+1 || e.Root != o.Root && !announced {
			continue
		}
		before[i] = last
		if newer(i, winner) {
			winner = i
		}
	}
	var out []int
	for i := winner; i != none; i = before[i] {
		out = append(out, i)
	}
	return out
}

// inside says which places the epochs let count. Epochs that are none of them do not.
func (j *judgement) inside(epochs []int) []bool {
	in := make([]bool, len(j.taken))
	for i, r := range j.taken {
		in[i] = r.Op() != record.OpEpoch || slices.Contains(epochs, i)
	}
	for _, e := range epochs {
		past := j.past(e)
		after := make([]bool, len(j.taken))
		after[e] = true
		for i, r := range j.taken {
			if i > e && slices.ContainsFunc(r.Parents, func(p record.ID) bool { return after[j.at[p]] }) {
				after[i] = true
			}
			in[i] = in[i] && (past[i] || after[i])
		}
		for _, id := range j.taken[e].Payload.(record.Epoch).Void {
			if i, ok := j.at[id]; ok && past[i] {
				in[i] = false
			}
		}
	}
	return in
}

// addsSubject says whether r adds the subject of the removal: identifiers are used once, so it cannot come back.
func addsSubject(removal, r *record.Record) bool {
	switch p := removal.Payload.(type) {
	case record.RemovePerson:
		q, ok := r.Payload.(record.AddPerson)
		return ok && q.Person == p.Person
	case record.RemoveDevice:
		q, ok := r.Payload.(record.AddDevice)
		return ok && q.Device == p.Device
	case record.RemoveBox:
		return addsBox(r, p.Box)
	case record.ReplaceBox:
		return addsBox(r, p.Box)
	}
	return false
}

func addsBox(r *record.Record, box services.PeerID) bool {
	switch p := r.Payload.(type) {
	case record.AddBox:
		return p.Box == box
	case record.ReplaceBox:
		return p.Key == box
	}
	return false
}

// subjectMade says whether the subject of the removal made r.
func subjectMade(removal, r *record.Record) bool {
	switch p := removal.Payload.(type) {
	case record.RemovePerson:
		return r.By == p.Person
	case record.RemoveDevice:
		return r.Via == p.Device
	case record.RemoveBox:
		return r.Author == record.Box(p.Box)
	case record.ReplaceBox:
		return r.Author == record.Box(p.Box)
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

// seesAll says whether the additions of all that the removal at i names are in its past: its subject, the box that
// signed it, the person and the device it was made for. Without one of them it is nobody's.
func (j *judgement) seesAll(i int) bool {
	r := j.taken[i]
	wanted := map[any]bool{}
	switch p := r.Payload.(type) {
	case record.RemovePerson:
		wanted[p.Person] = true
	case record.RemoveDevice:
		wanted[p.Device] = true
	case record.RemoveBox:
		wanted[p.Box] = true
	case record.ReplaceBox:
		wanted[p.Box] = true
	}
	if r.Author.Kind == record.KindBox {
		wanted[services.PeerID(r.Author.Key)] = true
	}
	if r.By != "" {
		wanted[r.By] = true
	}
	if r.Via != "" {
		wanted[r.Via] = true
	}
	for k, before := range j.past(i) {
		if !before {
			continue
		}
		switch p := j.taken[k].Payload.(type) {
		case record.AddBox:
			delete(wanted, p.Box)
		case record.ReplaceBox:
			delete(wanted, p.Key)
		case record.AddPerson:
			delete(wanted, p.Person)
		case record.AddDevice:
			delete(wanted, p.Device)
		}
	}
	return len(wanted) == 0
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
		if !in[i] || r.Author.Kind != record.KindRoot || !isRemoval(r) || !j.seesAll(i) {
			continue
		}
		for a := range out {
			known := map[uint64]bool{}
			for k, before := range j.past(i) {
				if q := j.taken[k]; before && in[k] && q.Author == a && subjectMade(r, q) {
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

// verdict applies the three rules. Removals in powerless are known to have no effect of their own and attack nothing.
func (j *judgement) verdict(powerless map[record.ID]bool) *verdict {
	v := &verdict{void: map[record.ID]bool{}}
	in := j.inside(j.epochs())
	for i, r := range j.taken {
		if !in[i] {
			v.void[r.ID()] = true
		}
	}
	forks, ended := j.forks(in)
	for a := range forks {
		if !ended[a] {
			v.forked = append(v.forked, a.Key)
		}
	}
	slices.SortFunc(v.forked, func(a, b services.PeerID) int { return slices.Compare(a[:], b[:]) })
	doubtful := func(r *record.Record) bool {
		s, ok := forks[r.Author]
		return ok && r.Sequence >= s
	}

	var removals []int
	for i, r := range j.taken {
		if in[i] && isRemoval(r) && !powerless[r.ID()] && j.seesAll(i) && !(doubtful(r) && ended[r.Author]) {
			removals = append(removals, i)
		}
	}
	attacks := func(removal, i int) bool {
		return removal != i && in[i] && (subjectMade(j.taken[removal], j.taken[i]) || addsSubject(j.taken[removal], j.taken[i])) && !j.past(removal)[i]
	}
	labels := make(map[int]label, len(removals))
	attackers := map[int][]int{}
	for _, x := range removals {
		for _, y := range removals {
			if attacks(y, x) {
				attackers[x] = append(attackers[x], y)
			}
		}
	}
	for changed := true; changed; {
		changed = false
		for _, x := range removals {
			if labels[x] != undecided {
				continue
			}
			fallen := 0
			for _, y := range attackers[x] {
				if labels[y] == stands {
					labels[x], changed = falls, true
					break
				}
				if labels[y] == falls {
					fallen++
				}
			}
			if labels[x] == undecided && fallen == len(attackers[x]) && !doubtful(j.taken[x]) {
				labels[x], changed = stands, true
			}
		}
	}

	for i, r := range j.taken {
		if !in[i] {
			continue
		}
		if doubtful(r) {
			v.void[r.ID()] = true
		}
		for _, x := range removals {
			if labels[x] != falls && attacks(x, i) {
				v.void[r.ID()] = true
			}
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
