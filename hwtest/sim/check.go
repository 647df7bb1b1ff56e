package sim

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"

	"hearth.alt/services"
)

// look checks what must always hold of box b, which has just done something and come to its end.
func (w *world) look(b *box) {
	raws := b.s.RecordBytes()
	if len(raws) < b.read {
		w.fail("box %s had %d records and has %d", b, b.read, len(raws))
	}
	set := slices.Clone(b.set)
	for _, raw := range raws[b.read:] {
		k := w.byID[sha256.Sum256(raw)]
		if k == nil {
			r, err := parseRecord(raw)
			if err != nil || !r.verify() {
				w.fail("box %s has a record that is none: %x", b, raw)
			}
			if r.author != (author{kindBox, b.id}) && !(b.words && r.author == author{kindRoot, public(w.root)}) {
				w.fail("box %s has a record that nobody made: op %d of %x", b, r.op, r.author.key[:3])
			}
			for _, p := range r.parents {
				if w.byID[p] == nil {
					w.fail("box %s made a record on one that nobody made", b)
				}
			}
			k = w.learn(r)
			w.say("    %s makes %s", b, k)
		}
		if set.has(k.at) {
			w.fail("box %s has record %d twice", b, k.at)
		}
		for _, p := range k.up {
			if !set.has(p) {
				w.fail("box %s has record %d before its past", b, k.at)
			}
		}
		set.add(k.at)
		if k.author.kind == kindBox && (w.enemy == nil || !w.enemy.owns(k.author.key)) {
			at := step{k.author, k.seq}
			if other := w.chains[at]; other != nil && other != k {
				w.fail("an honest box made two records with one sequence: %s and %s", other, k)
			}
			w.chains[at] = k
		}
	}
	b.read, b.set = len(raws), set
	if !b.kept.within(set) {
		w.fail("box %s forgot records that it had acknowledged", b)
	}
	b.kept = set
	m := b.s.Membership()
	if !m.Claimed() {
		return
	}
	got := *m
	got.Revision, got.Self = 0, services.PeerID{}
	key := set.key()
	want := w.states[key]
	if slices.Contains(m.Removed, b.id) { // it lets nobody in any more
		if m.People != nil || m.Devices != nil || m.Leaving != nil || !m.ReadOnly {
			w.fail("box %s was removed, and serves on", b)
		}
		if want == nil {
			return
		}
		less := *want
		less.People, less.Devices, less.Leaving, less.ReadOnly = nil, nil, nil, true
		want = &less
	}
	if want == nil {
		w.states[key] = &got
		w.judge(b, &got)
	} else if !reflect.DeepEqual(want, &got) {
		w.fail("equal sets, and at box %s another household:\n%s\nelsewhere or before:\n%s", b, who(&got), who(want))
	}
}

// who says who belongs.
func who(m *services.Membership) string {
	s := fmt.Sprintf("frozen %v, read-only %v, removed %d\n", m.Frozen, m.ReadOnly, len(m.Removed))
	for _, b := range m.Boxes {
		s += fmt.Sprintf("  box %x %s %s %s %s\n", b.ID[:3], b.Name, b.Label, b.State, b.Addr4)
	}
	for _, p := range m.People {
		s += fmt.Sprintf("  %s %s %s %s, network %v\n", p.ID[:4], p.Name, p.Role, p.State, p.LAN)
	}
	for _, d := range m.Devices {
		s += fmt.Sprintf("  %s of %s %s %s %s\n", d.ID[:4], d.Person[:4], d.Name, d.State, d.Addr4)
	}
	return s
}

// end checks what holds once all boxes that know one another have told one another everything.
func (w *world) end() {
	for _, b := range w.boxes {
		if b.member() {
			b.stop()
			w.restart(b) // what it folds anew is what it had
		}
	}
	for _, a := range w.boxes {
		for _, b := range w.boxes {
			if !a.removed(b) || !b.lists(a) {
				continue
			}
			// Nobody listens to a removed box: not to words that were typed in there, nor to who removed whom removed it.
			more := slices.ContainsFunc(w.all, func(k *known) bool {
				return (k.op == opEpoch || k.isRemoval()) && b.set.has(k.at) && !a.set.has(k.at)
			})
			if !more && !b.s.Membership().ReadOnly && !a.s.Membership().Frozen {
				w.fail("box %s removed %s, which goes on", a, b)
			}
		}
		for _, b := range w.boxes[:a.i] {
			if a.member() && b.member() && a.lists(b) && b.lists(a) && !a.set.equal(b.set) {
				w.fail("boxes %s and %s have told one another everything, and know different records", a, b)
			}
		}
	}
}

// court judges one set of records without knowing how identity does. It speaks only where the rules leave no doubt.
type court struct {
	w        *world
	m        *services.Membership
	in       []*known            // what the epochs let count
	proof    []*known            // that, and what they name as void
	adds     map[string][]*known // of a subject
	removals map[string][]*known
	void     bits
	kept     bits                // what epochs keep of keys that were used twice
	forked   map[[32]byte]uint64 // keys of which two records have one sequence, and that
	unsure   bool                // whether one of them counts as forked
	frozen   bool                // one of them does
	trust    map[string]bool
}

// judge looks whether m is what the set of box b has to lead to.
func (w *world) judge(b *box, m *services.Membership) {
	c := &court{w: w, m: m, adds: map[string][]*known{}, removals: map[string][]*known{}, forked: map[[32]byte]uint64{}, trust: map[string]bool{}}
	var set []*known
	for _, k := range w.all {
		if b.set.has(k.at) {
			set = append(set, k)
		}
	}
	owner := func(p services.Person) bool { return p.Role == services.RoleOwner && p.State == services.StateActive }
	if !m.Frozen && !slices.ContainsFunc(m.People, owner) {
		w.fail("no owner is left:\n%s", who(m))
	}
	if c.agreed(set) { // it may be settled, which the court leaves to identity: equal sets have equal states all the same
		w.stats.Agreed++
		return
	}
	c.epochs(set)
	for _, k := range c.in {
		switch {
		case k.op == opAddBox || k.op == opAddPerson || k.op == opAddDevice:
			c.adds[k.subject()] = append(c.adds[k.subject()], k)
		case k.isRemoval():
			c.removals[k.subject()] = append(c.removals[k.subject()], k)
		}
	}
	c.forks()
	c.remove()
	c.spread()
	for _, k := range set {
		if c.void.has(k.at) {
			c.noEffect(k)
		} else {
			c.effect(k)
		}
	}
	quarrel := c.bare() || slices.ContainsFunc(c.in, func(k *known) bool { return k.isRemoval() && !c.void.has(k.at) && !c.beyondDoubt(k) })
	newer := slices.ContainsFunc(set, func(k *known) bool { return k.op == opNewer && !c.void.has(k.at) })
	if m.ReadOnly != m.Frozen && !newer {
		w.fail("box %s is read-only: %v", b, b.s.Health().Message)
	}
	for _, x := range m.Boxes {
		honest := w.enemy == nil || !w.enemy.owns(x.ID)
		if honest && x.State != services.StateActive && len(c.removals[string(x.ID[:])]) == 0 {
			w.fail("a box that nobody removed is %s", x.State)
		}
	}
	if c.frozen && !m.Frozen {
		w.fail("a key is used in two places, and the household is not frozen:\n%s", who(m))
	}
	if !c.frozen && !c.unsure && !quarrel && m.Frozen {
		w.fail("nobody quarrels, and the household is frozen:\n%s", who(m))
	}
	if m.Frozen {
		w.stats.Frozen++
	}
	if c.frozen {
		w.stats.Forks++
	}
}

// agreed says whether two boxes say the same of a dispute, and one of them knew of the other: fewer settle nothing.
func (c *court) agreed(set []*known) bool {
	for _, k := range set {
		if k.voice() && slices.ContainsFunc(set, func(x *known) bool {
			return x.voice() && x.author != k.author && k.past.has(x.at) && bytes.Equal(x.payload, k.payload)
		}) {
			return true
		}
	}
	return false
}

// epochs finds what counts at all: what the newest epoch, and those that it builds on, know of, and what knows of them.
func (c *court) epochs(set []*known) {
	number := func(k *known) byte { return k.payload[7] }
	newest := func(past func(k *known) bool) (out *known) {
		for _, k := range set {
			if k.op == opEpoch && !k.voice() && past(k) && (out == nil || number(k) > number(out) || number(k) == number(out) && slices.Compare(k.id[:], out.id[:]) < 0) {
				out = k
			}
		}
		return out
	}
	var chain []*known
	for e := newest(func(*known) bool { return true }); e != nil; {
		chain = append(chain, e)
		past := e.past
		e = newest(func(k *known) bool { return past.has(k.at) })
	}
	for _, e := range chain {
		for _, tip := range set {
			if !e.past.has(tip.at) || !slices.Contains(e.keeps(), tip.id) {
				continue
			}
			c.kept.add(tip.at)
			for _, k := range set {
				if k.author == tip.author && tip.past.has(k.at) {
					c.kept.add(k.at)
				}
			}
		}
	}
	for _, k := range set {
		counts := true
		for _, e := range chain {
			counts = counts && (k == e || e.past.has(k.at) || k.past.has(e.at))
		}
		if k.op == opEpoch && !k.voice() && !slices.Contains(chain, k) {
			counts = false
		}
		if counts {
			c.proof = append(c.proof, k)
		}
		if counts && !k.voice() && !slices.ContainsFunc(chain, func(e *known) bool { return slices.Contains(e.voids(), k.id) }) {
			c.in = append(c.in, k)
		} else {
			c.void.add(k.at)
		}
	}
}

// forks finds the keys of which two records have one sequence; what they signed from there on is void. A key that was
// removed beyond doubt proves nothing by what the removal had not seen; and the root's removal ends what it had seen.
func (c *court) forks() {
	seen := map[step][]*known{}
	for _, k := range c.proof {
		if at := (step{k.author, k.seq}); k.author.kind == kindBox {
			seen[at] = append(seen[at], k)
			if s, ok := c.forked[k.author.key]; len(seen[at]) > 1 && (!ok || k.seq < s) {
				c.forked[k.author.key] = k.seq
			}
		}
	}
	sure := map[[32]byte]uint64{}
	for key := range c.forked {
		open, doubt := false, false
		for at, twins := range seen {
			if at.author.key != key || len(twins) < 2 {
				continue
			}
			proof := true
			for _, r := range c.removals[string(key[:])] {
				if c.beyondDoubt(r) {
					n := 0
					for _, k := range twins {
						if r.past.has(k.at) {
							n++
						}
					}
					proof = proof && n > 1
				} else {
					doubt = true
				}
			}
			if s, ok := sure[key]; proof && (!ok || at.seq < s) {
				sure[key] = at.seq
			}
			open = open || proof
		}
		ended := slices.ContainsFunc(c.removals[string(key[:])], func(r *known) bool {
			return r.author.kind == kindRoot && slices.ContainsFunc(c.proof, func(k *known) bool {
				return k.author.key == key && r.past.has(k.at) && slices.ContainsFunc(seen[step{k.author, k.seq}], func(o *known) bool {
					return o != k && r.past.has(o.at)
				})
			})
		})
		switch {
		case doubt:
			c.unsure = true
		case open && !ended:
			c.frozen = true
			for _, x := range c.m.Boxes {
				if x.ID == key && x.State != services.StateQuarantined {
					c.w.fail("box %x, whose key is used in two places, is %s", x.ID[:3], x.State)
				}
			}
		}
		if doubt {
			delete(sure, key)
		}
	}
	for _, k := range c.in {
		if s, ok := sure[k.author.key]; ok && k.author.kind == kindBox && k.seq >= s && !c.kept.has(k.at) {
			c.void.add(k.at)
		}
	}
}

// made says whether the subject made k.
func made(subject string, k *known) bool {
	return k.by == subject || k.via == subject || k.author.kind == kindBox && string(k.author.key[:]) == subject
}

// remove makes void what the subjects of removals beyond doubt made without those having seen it.
func (c *court) remove() {
	annSafe := c.annSafe()
	for _, r := range c.in {
		// Removals that leave no owner are disputed, or have no effect; that is never so while Ann is one.
		if !r.isRemoval() || !c.beyondDoubt(r) || r.op == opRemovePerson && !annSafe {
			continue
		}
		subject := r.subject()
		if c.there(subject) {
			c.w.fail("%s was removed by %s and belongs:\n%s", subject, r, who(c.m))
		}
		for _, k := range c.in {
			adds := (k.op == opAddBox || k.op == opAddPerson || k.op == opAddDevice) && k.subject() == subject
			if k != r && (made(subject, k) || adds) && !r.past.has(k.at) {
				c.void.add(k.at)
				c.w.stats.Judged++
			}
		}
	}
}

// annSafe says whether Ann is an owner beyond doubt, as she was from the beginning.
func (c *court) annSafe() bool {
	return c.beyond(string(ann)) && !slices.ContainsFunc(c.in, func(k *known) bool { return k.op == opSetRole && k.subject() == string(ann) })
}

// bare says whether the removals, all together, may leave no owner, or no box.
func (c *court) bare() bool {
	counts := func(r *known) bool { return !c.void.has(r.at) }
	for subject := range c.adds {
		if len(subject) == len(services.PeerID{}) && !slices.ContainsFunc(c.removals[subject], counts) {
			return !c.annSafe() && slices.ContainsFunc(c.in, func(r *known) bool { return r.op == opRemovePerson && counts(r) })
		}
	}
	return true
}

// beyondDoubt says whether nothing can be said against who made k: nobody removes them, and so on for those who took
// them in.
func (c *court) beyondDoubt(k *known) bool {
	if k.at < c.w.base { // all honest boxes know it from the beginning
		s, forked := c.forked[k.author.key]
		return !(forked && k.seq >= s && !c.kept.has(k.at)) && !slices.ContainsFunc(c.removals[string(k.author.key[:])], func(r *known) bool { return !r.past.has(k.at) })
	}
	if k.author.kind == kindBox && (c.w.enemy != nil && c.w.enemy.owns(k.author.key) || !c.beyond(string(k.author.key[:]))) {
		return false
	}
	return (k.by == "" || c.beyond(k.by)) && (k.via == "" || c.beyond(k.via))
}

// beyond says whether nothing can be said against the subject.
func (c *court) beyond(subject string) bool {
	if t, ok := c.trust[subject]; ok {
		return t
	}
	c.trust[subject] = false
	adds := c.adds[subject]
	ok := len(adds) == 1 && len(c.removals[subject]) == 0 && c.beyondDoubt(adds[0]) && c.alone(adds[0])
	c.trust[subject] = ok
	return ok
}

// alone says whether nothing else has the address of the device that k takes in: one of two does not come in.
func (c *court) alone(k *known) bool {
	return k.op != opAddDevice || !slices.ContainsFunc(c.in, func(x *known) bool {
		return x != k && (x.op == opAddDevice || x.op == opAddBox) && x.host() == k.host()
	})
}

// there says whether the subject belongs.
func (c *court) there(subject string) bool {
	if len(subject) == 32 {
		return slices.ContainsFunc(c.m.Boxes, func(b services.Box) bool { return string(b.ID[:]) == subject })
	}
	_, person := c.m.Person(services.PersonID(subject))
	_, device := c.m.Device(services.DeviceID(subject))
	return person || device
}

// spread makes void what was made by, or for, somebody whom only void records took in.
func (c *court) spread() {
	gone := func(subject string) bool {
		return !slices.ContainsFunc(c.adds[subject], func(k *known) bool { return !c.void.has(k.at) })
	}
	for again := true; again; {
		again = false
		for _, k := range c.in {
			if c.void.has(k.at) || k.author.kind == kindRoot {
				continue
			}
			if gone(string(k.author.key[:])) || k.by != "" && gone(k.by) || k.via != "" && gone(k.via) {
				c.void.add(k.at)
				again = true
			}
		}
	}
}

// noEffect checks that the void record k has none. What people call themselves tells who spoke last.
func (c *court) noEffect(k *known) {
	subject := k.subject()
	only := func(o op) bool {
		return !slices.ContainsFunc(c.in, func(x *known) bool { return x.op == o && x.subject() == subject && !c.void.has(x.at) })
	}
	switch {
	case k.op == opAddBox || k.op == opAddPerson || k.op == opAddDevice:
		if only(k.op) && c.there(subject) {
			c.w.fail("%s has an effect:\n%s", k, who(c.m))
		}
	case k.op == opRenamePerson:
		if p, _ := c.m.Person(services.PersonID(subject)); p.Name == k.name() {
			c.w.fail("%s has an effect:\n%s", k, who(c.m))
		}
	case k.op == opRenameDevice:
		if d, _ := c.m.Device(services.DeviceID(subject)); d.Name == k.name() {
			c.w.fail("%s has an effect:\n%s", k, who(c.m))
		}
	case k.op == opRemovePerson:
		adds := c.adds[subject]
		void := !slices.ContainsFunc(c.removals[subject], func(r *known) bool { return !c.void.has(r.at) })
		if void && len(adds) == 1 && c.beyondDoubt(adds[0]) && !c.there(subject) {
			c.w.fail("%s has an effect:\n%s", k, who(c.m))
		}
	case k.op == opSetRole:
		p, there := c.m.Person(services.PersonID(subject))
		adds := c.adds[subject]
		if there && len(adds) == 1 && only(opSetRole) && p.Role != services.Role(adds[0].payload[11+len(adds[0].name())]) {
			c.w.fail("%s has an effect:\n%s", k, who(c.m))
		}
	}
}

// effect checks that a person who was taken in beyond doubt, and whom nobody removes, belongs.
func (c *court) effect(k *known) {
	if k.op != opAddPerson || !c.beyondDoubt(k) || !c.beyond(k.subject()) {
		return
	}
	p, ok := c.m.Person(services.PersonID(k.subject()))
	if !ok || p.State != services.StateActive {
		c.w.fail("%s has no effect, and nothing speaks against it:\n%s", k, who(c.m))
	}
}
