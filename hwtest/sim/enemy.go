package sim

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"hearth.alt/services"
)

// enemy is who holds the key of a box, and says with it what they like. It knows what it was told.
type enemy struct {
	box     *box
	w       *world
	keys    []ed25519.PrivateKey // the box's, and those of boxes that it made up and took in
	known   []*known             // parents first
	has     bits
	ends    []*enemyEnd
	removes bool // whom it likes
	forks   bool
}

func (e *enemy) owns(id services.PeerID) bool {
	return slices.ContainsFunc(e.keys, func(k ed25519.PrivateKey) bool { return public(k) == id })
}

func (e *enemy) learn(k *known) {
	if !e.has.has(k.at) {
		e.has.add(k.at)
		e.known = append(e.known, k)
	}
}

// enemyEnd is the enemy's end of a link.
type enemyEnd struct {
	e        *enemy
	withhold int // 0 nothing, 1 what the enemy made, 2 what removes the enemy; and what was built on it
	said     bool
	sent     int // of known
	skipped  bits
	queue    [][]byte
}

func (e *enemy) connect() *enemyEnd {
	c := &enemyEnd{e: e, withhold: e.w.draw(3)}
	e.ends = append(e.ends, c)
	return c
}

func (c *enemyEnd) Close() {
	c.e.ends = slices.DeleteFunc(c.e.ends, func(x *enemyEnd) bool { return x == c })
}

func (c *enemyEnd) Receive(_ context.Context, frame []byte) error {
	for _, raw := range frameOf(frame) {
		c.e.learn(c.e.w.byID[sha256.Sum256(raw)])
	}
	return nil
}

// Next sends landmarks, what was put into the queue, and then one after another of all it knows, known there or not.
func (c *enemyEnd) Next() []byte {
	e := c.e
	if !c.said {
		c.said = true
		switch e.w.draw(4) {
		case 0: // knows nothing
			return haveFrame()
		case 1: // knows what nobody does
			return haveFrame(sha256.Sum256([]byte("nothing")))
		}
		return haveFrame(e.heads()...)
	}
	if len(c.queue) > 0 {
		f := c.queue[0]
		c.queue = c.queue[1:]
		return f
	}
	var out [][]byte
	most := 1 + e.w.draw(mostRecords)
	for ; c.sent < len(e.known) && len(out) < most; c.sent++ {
		k := e.known[c.sent]
		skip := slices.ContainsFunc(k.up, c.skipped.has) ||
			c.withhold == 1 && k.author.kind == kindBox && e.owns(k.author.key) ||
			c.withhold == 2 && k.op == opRemoveBox && e.owns([32]byte(k.payload))
		if skip {
			c.skipped.add(k.at)
			continue
		}
		out = append(out, k.raw)
	}
	if len(out) == 0 {
		return nil
	}
	return recordsFrame(out...)
}

// heads are at most 16 of what nothing it knows was built on.
func (e *enemy) heads() []recordID {
	var under bits
	for _, k := range e.known {
		for _, p := range k.up {
			under.add(p)
		}
	}
	var out []recordID
	for _, k := range e.known {
		if !under.has(k.at) && len(out) < 16 {
			out = append(out, k.id)
		}
	}
	return out
}

// chain returns the records that one of its keys signed, by sequence (the first of each), with what took it in in place
// 0; nil when it does not know that.
func (e *enemy) chain(key [32]byte) (out []*known) {
	for _, k := range e.known {
		if len(out) == 0 && k.op == opAddBox && [32]byte(k.payload[:32]) == key {
			out = append(out, k)
		}
		if len(out) > 0 && k.author == (author{kindBox, key}) && k.seq == uint64(len(out)) {
			out = append(out, k)
		}
	}
	return out
}

// act does something to somebody.
func (e *enemy) act() {
	w := e.w
	switch n := w.draw(10); {
	case n < 5:
		e.write()
	case n < 8:
		if len(e.ends) > 0 {
			f, why := e.bad()
			c := e.ends[w.draw(len(e.ends))]
			w.say("the enemy prepares %s", why)
			w.bad[string(f)] = why
			c.queue = append(c.queue, f)
		}
	default: // replay
		if len(e.ends) > 0 && len(e.known) > 0 {
			var out [][]byte
			for range 1 + w.draw(4) {
				if k := e.known[w.draw(len(e.known))]; !slices.ContainsFunc(out, func(b []byte) bool { return &b[0] == &k.raw[0] }) {
					out = append(out, k.raw)
				}
			}
			c := e.ends[w.draw(len(e.ends))]
			c.queue = append(c.queue, recordsFrame(out...))
			w.say("the enemy replays %d records", len(out))
		}
	}
}

// write makes a record that is well signed, whatever it is worth.
func (e *enemy) write() {
	w := e.w
	key := e.keys[w.draw(len(e.keys))]
	chain := e.chain(public(key))
	if len(chain) == 0 {
		return
	}
	last := len(chain) - 1
	how := "adds"
	if e.forks && last > 0 && w.draw(5) == 0 {
		last = w.draw(last)
		how = "forks"
	}
	r := &record{author: author{kindBox, public(key)}, seq: uint64(last + 1), parents: []recordID{chain[last].id}}
	switch w.draw(3) {
	case 0: // as if it had heard of nothing since
		how += ", backdated"
	case 1:
		r.parents = append(r.parents, e.known[w.draw(len(e.known))].id)
	default:
		for _, h := range e.heads() {
			if len(r.parents) < 16 && !slices.Contains(r.parents, h) {
				r.parents = append(r.parents, h)
			}
		}
	}
	r.time = uint64(w.now.Unix()) + uint64(w.draw(1000)) - uint64(w.draw(1_000_000))
	var people, devices []string
	for _, k := range e.known {
		switch k.op {
		case opAddPerson:
			people = append(people, k.subject())
		case opAddDevice:
			devices = append(devices, k.subject())
		}
	}
	some := func() string { return people[w.draw(len(people))] }
	if w.draw(3) == 0 {
		r.by = some()
	}
	what := w.draw(10)
	if !e.removes && (what == 6 || what == 7) {
		what = 0
	}
	var removals, voices []*known
	for _, k := range e.known {
		switch {
		case k.isRemoval():
			removals = append(removals, k)
		case k.voice():
			voices = append(voices, k)
		}
	}
	if what == 9 && len(removals) == 0 {
		what = 5
	}
	switch what {
	case 9: // what boxes say in a dispute: as another did, or of a removal of its own choice
		r.by = some()
		r.op, r.payload = opEpoch, voice(w.all[0], removals[w.draw(len(removals))].id)
		if len(voices) > 0 && w.draw(4) > 0 {
			r.payload = slices.Clone(voices[w.draw(len(voices))].payload)
		}
	case 0:
		id := w.personID()
		if w.draw(4) == 0 { // one who is there, or was removed
			id = services.PersonID(some())
		}
		r.op, r.payload = opAddPerson, addPerson(id, w.unique("Eve"), services.Role(1+w.draw(4)))
	case 1:
		r.op, r.payload = opRenamePerson, text(rawID(some()), w.unique("Mallory"))
	case 2:
		r.op, r.payload = opSetRole, append(rawID(some()), byte(1+w.draw(4)))
	case 3:
		r.op, r.payload = opAddDevice, addDevice(w.deviceID(), services.PersonID(some()), w.unique("Tap"), w.clientKey(), byte(2+w.draw(250)))
	case 4:
		id := w.someBox().id
		if w.draw(4) > 0 {
			puppet := keyOf("puppet %d", w.next())
			e.keys = append(e.keys, puppet)
			id = public(puppet)
		}
		r.op, r.payload = opAddBox, addBox(id, w.unique("Puppet"), "puppet", byte(2+w.draw(250)))
	case 5:
		r.op, r.payload = opSetLAN, append(rawID(some()), byte(w.draw(2)))
	case 6:
		r.op, r.payload = opRemovePerson, rawID(some())
		if len(devices) > 0 && w.draw(2) == 0 {
			r.op, r.payload = opRemoveDevice, rawID(devices[w.draw(len(devices))])
		}
	case 7:
		r.op, r.payload = opRemoveBox, slices.Clone(w.boxes[w.draw(len(w.boxes))].id[:])
	}
	if what == 8 {
		r.op, r.payload = opNewer, []byte("what a newer program knows")
	}
	k := w.learn(r.seal(key))
	e.learn(k)
	w.say("the enemy %s: %s", how, k)
}

// bad returns a frame that nobody may take, and what it is.
func (e *enemy) bad() ([]byte, string) {
	w := e.w
	key := e.keys[0]
	chain := e.chain(public(key))
	if len(chain) == 0 {
		return []byte{9}, "a frame of no kind"
	}
	last := chain[len(chain)-1]
	r := &record{
		op: opAddPerson, author: author{kindBox, public(key)}, seq: uint64(len(chain)), time: uint64(w.now.Unix()), parents: e.heads(),
		payload: addPerson(w.personID(), w.unique("Trudy"), services.RoleOwner),
	}
	if len(r.parents) < 16 && !slices.Contains(r.parents, last.id) {
		r.parents = append(r.parents, last.id)
	}
	one := func(why string) ([]byte, string) { return recordsFrame(r.seal(key).raw), why }
	switch w.draw(15) {
	case 0:
		f, why := one("a record with a wrong signature")
		f[len(f)-1-w.draw(64)] ^= 1 << w.draw(8)
		return f, why
	case 1:
		f, why := one("a record that was changed")
		f[5+43+w.draw(8)] ^= 1
		return f, why
	case 2:
		honest := w.boxes[w.draw(len(w.boxes))]
		if honest.enemy() {
			return []byte{9}, "a frame of no kind"
		}
		r.author.key = honest.id
		if c := e.chain(honest.id); len(c) > 0 {
			r.seq, r.parents = uint64(len(c)), []recordID{c[len(c)-1].id}
		}
		return one("a record in another box's name")
	case 3:
		r.author = author{kindRoot, public(w.root)}
		r.seq, r.op, r.payload = 3, opEpoch, epoch(1, public(key))
		return one("an epoch that the root did not sign")
	case 4:
		r.author.kind = kindRoot
		return one("a record of another root")
	case 5:
		stranger := keyOf("stranger %d", w.next())
		r.author.key, r.seq = public(stranger), 1
		return recordsFrame(r.seal(stranger).raw), "a record of a box that nobody took in"
	case 6:
		r.seq++
		return one("a record without its author's record before it")
	case 7:
		r.parents = append(r.parents[:0], sha256.Sum256([]byte{byte(w.next())}))
		return one("a record without its past")
	case 8:
		r.op, r.author, r.seq, r.parents = opGenesis, author{kindRoot, public(key)}, 1, nil
		r.payload = genesis("Evil", "evil", [4]byte{10, 66, 6, 0}, [6]byte{0xfd})
		return one("another household")
	case 9:
		b := make([]byte, 1+w.draw(40))
		for i := range b {
			b[i] = byte(w.draw(256))
		}
		b[0] |= 4
		return b, "garbage"
	case 10:
		f, _ := one("")
		return f[:len(f)-1-w.draw(len(f)-1)], "a frame that is cut short"
	case 11:
		f, _ := one("")
		return append(f, 0), "a frame with a byte left over"
	case 12:
		return binary.BigEndian.AppendUint16([]byte{byte(1 + w.draw(2))}, 60_000), "a frame that says it is long"
	case 13: // the first came before any of these
		return haveFrame(sha256.Sum256([]byte{byte(w.next()), 1})), "landmarks again"
	default:
		return recordsFrame(make([]byte, 1+w.draw(4000))), "a record of zeros"
	}
}
