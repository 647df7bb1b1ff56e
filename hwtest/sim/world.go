package sim

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity"
)

// world is a household, its network and its enemy.
type world struct {
	draw func(n int) int // from 0 to n-1: all that is not certain
	log  *strings.Builder

	now   time.Time
	root  ed25519.PrivateKey
	words []string // that it comes from
	boxes []*box
	enemy *enemy // nil for none
	side  []int  // of each box; who is not on one side does not hear one another
	links []*link
	names int
	base  int // how many records all have from the start

	options Options
	healed  bool

	byID   map[recordID]*known
	all    []*known
	chains map[step]*known                 // what the honest boxes signed
	states map[string]*services.Membership // by set of records
	bad    map[string]string               // frames that nobody may take, and why
	stats  Stats
}

type step struct {
	author author
	seq    uint64
}

// known is a record of this world.
type known struct {
	*record
	at   int   // place in world.all
	up   []int // the places of its parents
	past bits
}

func (k *known) String() string {
	who := ""
	if k.by != "" {
		who = " by " + k.by[:4]
	}
	what := k.subject()
	if len(what) == 32 {
		what = fmt.Sprintf("%x", what[:3])
	}
	if n := k.name(); n != "" {
		what += " " + n
	}
	return fmt.Sprintf("#%d op %d of %x/%d%s: %s on %v", k.at, k.op, k.author.key[:3], k.seq, who, what, k.up)
}

// Stats counts what a schedule came to, so that a test can say that what it looks for happens at all.
type Stats struct {
	Records, Frames, Crashes, Torn, Refused, Bad, Forks, Frozen, Epochs, Agreed, Removed, Judged int
}

func (s *Stats) add(o Stats) {
	s.Records += o.Records
	s.Frames += o.Frames
	s.Crashes += o.Crashes
	s.Torn += o.Torn
	s.Refused += o.Refused
	s.Bad += o.Bad
	s.Forks += o.Forks
	s.Frozen += o.Frozen
	s.Epochs += o.Epochs
	s.Agreed += o.Agreed
	s.Removed += o.Removed
	s.Judged += o.Judged
}

func (w *world) fail(format string, args ...any) { panic(&failure{fmt.Sprintf(format, args...)}) }

func (w *world) say(format string, args ...any) {
	if w.log != nil {
		fmt.Fprintf(w.log, format+"\n", args...)
	}
}

func (w *world) next() int { w.names++; return w.names }

func (w *world) unique(name string) string { return fmt.Sprint(name, " ", w.next()) }

func (w *world) id() string {
	h := sha256.Sum256(fmt.Append(nil, "id ", w.next()))
	return idText.EncodeToString(h[:10])
}

func (w *world) personID() services.PersonID { return services.PersonID(w.id()) }
func (w *world) deviceID() services.DeviceID { return services.DeviceID(w.id()) }
func (w *world) clientKey() services.ClientKey {
	return sha256.Sum256(fmt.Append(nil, "device ", w.next()))
}

// begin makes a household: boxes that its founder took in, some of which are still to come, and one of which
// may be the enemy's.
func (w *world) begin() {
	w.now, w.root = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), identity.RootFromEntropy(entropy)
	w.words = words()
	w.byID, w.chains, w.states, w.bad = map[recordID]*known{}, map[step]*known{}, map[string]*services.Membership{}, map[string]string{}
	n := 2 + w.draw(4)
	for i := range n {
		b := &box{w: w, i: i, key: keyOf("box %d %d", i, w.draw(256))}
		b.id = public(b.key)
		b.disk = &disk{draw: func(n int) int { return w.draw(n) }, lies: w.options.LyingDisk}
		w.boxes = append(w.boxes, b)
	}
	w.side = make([]int, n)
	first := w.boxes[0]
	root := author{kindRoot, public(w.root)}
	var log []*record
	add := func(r *record, key ed25519.PrivateKey) {
		r.time = uint64(w.now.Unix())
		if len(log) > 0 {
			r.parents = []recordID{log[len(log)-1].id}
		}
		log = append(log, r.seal(key))
		w.learn(r)
	}
	add(&record{op: opGenesis, author: root, seq: 1, payload: genesis("Smith", "smith", [4]byte{10, 77, 5, 0}, [6]byte{0xfd, 0x5a})}, w.root)
	add(&record{op: opAddBox, author: root, seq: 2, payload: addBox(first.id, "Box 0", "box-0", 1)}, w.root)
	add(&record{op: opAddPerson, author: author{kindBox, first.id}, seq: 1, payload: addPerson(ann, "Ann", services.RoleOwner)}, first.key)
	members := 2 + w.draw(n-1) // from the start
	for i, b := range w.boxes[1:members] {
		add(&record{op: opAddBox, author: author{kindBox, first.id}, seq: uint64(i + 2), payload: addBox(b.id, fmt.Sprint("Box ", i+1), fmt.Sprint("box-", i+1), byte(254-i))}, first.key)
	}
	w.base = len(w.all)
	if e := w.draw(n + 2); e < n {
		b := w.boxes[e]
		w.enemy = &enemy{box: b, w: w, keys: []ed25519.PrivateKey{b.key}, removes: w.draw(3) == 0, forks: w.draw(2) == 0}
		if e < members {
			for _, k := range w.all {
				w.enemy.learn(k)
			}
		}
	}
	for i, b := range w.boxes {
		if b.enemy() {
			continue
		}
		if i < members {
			b.disk.there, b.disk.synced = true, logFile(log...)
			b.disk.now, b.disk.first = slices.Clone(b.disk.synced), b.disk.synced
		}
		b.start()
	}
}

// entropy is what the 24 words stand for.
var entropy = [identity.EntropySize]byte{1, 2, 3}

var words = sync.OnceValue(func() (out []string) {
	for _, w := range identity.WordsFromEntropy(entropy) {
		out = append(out, w.Reveal())
	}
	return out
})

const ann services.PersonID = "annannannannanna"

// learn returns the record of these bytes, which may be new.
func (w *world) learn(r *record) *known {
	if k := w.byID[r.id]; k != nil {
		return k
	}
	k := &known{record: r, at: len(w.all)}
	for _, id := range r.parents {
		p := w.byID[id]
		k.up = append(k.up, p.at)
		k.past.join(p.past)
		k.past.add(p.at)
	}
	w.all, w.byID[r.id] = append(w.all, k), k
	w.stats.Records++
	return k
}

// someBox is one of the boxes.
func (w *world) someBox() *box { return w.boxes[w.draw(len(w.boxes))] }

// step lets one thing happen.
func (w *world) step() {
	w.now = w.now.Add(time.Duration(w.draw(60)) * time.Second)
	switch n := w.draw(100); {
	case n < 40:
		for range 1 + w.draw(4) {
			w.carry()
		}
	case n < 55:
		if a, b := w.someBox(), w.someBox(); a != b {
			w.connect(a, b)
		}
	case n < 72:
		if b := w.someBox(); b.member() {
			w.people(b)
		}
	case n < 84:
		if w.enemy != nil {
			w.enemy.act()
		}
	case n < 86:
		if len(w.links) > 0 {
			cut := w.links[w.draw(len(w.links))]
			w.say("%s and %s lose one another", cut.boxes[0], cut.boxes[1])
			w.cutAll(func(l *link) bool { return l == cut })
		}
	case n < 87:
		for i := range w.side {
			w.side[i] = w.draw(2)
		}
		w.say("the network falls apart: %v", w.side)
		w.cutAll(func(l *link) bool { return w.side[l.boxes[0].i] != w.side[l.boxes[1].i] })
	case n < 90:
		clear(w.side)
		w.say("the network heals")
	case n < 91:
		if b := w.someBox(); b.s != nil {
			w.say("the plug of %s is pulled", b)
			b.stop()
		}
	case n < 92:
		if b := w.someBox(); b.s != nil && b.disk.fuse == 0 {
			b.disk.fuse = 1 + w.draw(6)
			w.say("the power of %s goes in %d operations", b, b.disk.fuse)
		}
	case n < 93:
		if b := w.someBox(); b.s != nil && b.disk.refuse == 0 {
			b.disk.refuse = 1 + w.draw(6)
			w.say("the disk of %s refuses in %d operations", b, b.disk.refuse)
		}
	case n < 96:
		for _, b := range w.boxes {
			if b.s == nil && !b.enemy() && w.draw(2) == 0 {
				w.restart(b)
			}
		}
	case n < 97:
		b := w.someBox()
		b.skew = []time.Duration{0, time.Hour, -time.Hour, -55 * 365 * 24 * time.Hour, 70 * 365 * 24 * time.Hour}[w.draw(5)]
		w.say("the clock of %s is off by %v", b, b.skew)
	default:
		b := w.someBox()
		if b.member() && b.s.Membership().Frozen {
			if w.draw(2) == 0 {
				w.settle(b)
			} else {
				w.agree(b)
			}
		}
	}
}

// drop ends the links between boxes that do not take one another for boxes of the household any more.
func (w *world) drop() {
	w.cutAll(func(l *link) bool { return !l.boxes[0].lists(l.boxes[1]) || !l.boxes[1].lists(l.boxes[0]) })
}

// carry moves a frame.
func (w *world) carry() {
	if len(w.links) == 0 {
		return
	}
	l, to := w.links[w.draw(len(w.links))], w.draw(2)
	switch w.draw(3) {
	case 0:
		w.send(l, 1-to)
	case 1:
		w.deliver(l, to)
	default:
		w.send(l, 1-to)
		w.deliver(l, to)
	}
}

func (w *world) restart(b *box) {
	synced := len(b.disk.synced)
	if len(b.disk.sizes) > 0 {
		w.stats.Torn++
	}
	if w.options.Amnesia && len(b.disk.first) > 0 && w.draw(2) == 0 {
		b.disk.there, b.disk.now, b.disk.synced, b.disk.sizes, b.kept = true, b.disk.first, b.disk.first, nil, nil
	}
	b.restart()
	w.stats.Crashes++
	w.say("%s starts with %d bytes (%d synced) and %d records", b, len(b.disk.now), synced, b.read)
}

// people change something at box b.
func (w *world) people(b *box) {
	m := b.s.Membership()
	ctx := context.Background()
	var everybody []services.PersonID
	for _, k := range w.all {
		if k.op == opAddPerson {
			everybody = append(everybody, services.PersonID(k.subject()))
		}
	}
	// Those of the membership are asked for more often than those who may be gone.
	person := func() services.PersonID {
		if len(m.People) > 0 && w.draw(8) > 0 {
			return m.People[w.draw(len(m.People))].ID
		}
		return everybody[w.draw(len(everybody))]
	}
	device := func() services.DeviceID {
		if len(m.Devices) == 0 {
			return "nonenonenonenone"
		}
		return m.Devices[w.draw(len(m.Devices))].ID
	}
	who := ""
	switch w.draw(3) {
	case 0:
		by := person()
		ctx, who = identity.Acting(ctx, by, ""), string(by[:4])+" "
	case 1:
		if d, ok := m.Device(device()); ok {
			ctx, who = identity.Acting(ctx, d.Person, d.ID), string(d.Person[:4])+" with a phone "
		}
	}
	names := []string{"Ben", "Cat", "Dan", "Gus", "Ida", "Kim"}
	what := ""
	var err error
	switch n := w.draw(24); {
	case n < 5:
		id, name, role := w.personID(), names[w.draw(len(names))], services.Role(1+w.draw(4))
		what = fmt.Sprintf("add %s %s as %s", id[:4], name, role)
		_, err = b.s.AddPerson(ctx, identity.NewPerson{ID: id, Name: name, Role: role})
	case n < 9:
		id, p := w.deviceID(), person()
		what = fmt.Sprintf("add %s of %s", id[:4], p[:4])
		_, err = b.s.AddDevice(ctx, identity.NewDevice{ID: id, Person: p, Name: w.unique("Phone"), Key: w.clientKey()})
	case n < 11:
		d := device()
		what = "activate " + string(d[:4])
		err = b.s.ActivateDevice(ctx, d)
	case n < 13:
		p := person()
		what = "rename " + string(p[:4])
		err = b.s.RenamePerson(ctx, p, w.unique("Ren"))
	case n < 15:
		p, role := person(), services.Role(1+w.draw(4))
		what = fmt.Sprintf("make %s %s", p[:4], role)
		err = b.s.SetRole(ctx, p, role)
	case n < 16:
		p, lan := person(), w.draw(2) == 0
		what = fmt.Sprintf("let %s reach the network: %v", p[:4], lan)
		err = b.s.SetLAN(ctx, p, lan)
	case n < 17:
		d := device()
		what = "rename " + string(d[:4])
		err = b.s.RenameDevice(ctx, d, w.unique("Tablet"))
	case n < 19:
		p := person()
		if p == ann && w.draw(8) > 0 {
			return
		}
		what = "remove " + string(p[:4])
		err = b.s.RemovePerson(ctx, p)
	case n < 20:
		d := device()
		what = "remove " + string(d[:4])
		err = b.s.RemoveDevice(ctx, d)
	case n < 23:
		w.takeIn(b)
		return
	default:
		x := w.someBox()
		if w.enemy != nil && w.draw(2) == 0 {
			x = w.enemy.box
		}
		if x.enemy() || w.draw(3) == 0 {
			what = "remove box " + x.String()
			err = b.s.RemoveBox(ctx, x.id)
			if err == nil {
				w.stats.Removed++
			}
		} else if w.enemy != nil && len(w.enemy.keys) > 1 {
			id := services.PeerID(public(w.enemy.keys[w.draw(len(w.enemy.keys))]))
			what = fmt.Sprintf("remove box %x", id[:3])
			err = b.s.RemoveBox(ctx, id)
		} else {
			return
		}
	}
	w.say("at %s, %swants to %s: %v", b, who, what, problem(err))
	w.did(b, err)
}

// did looks at what a method of b left that returned err.
func (w *world) did(b *box, err error) {
	if b.disk.off {
		b.stop()
		return
	}
	before := b.set
	w.look(b)
	if err != nil && !b.set.equal(before) {
		w.fail("at %s something changed that was refused: %v", b, err)
	}
	if isCode(err, "not-written") {
		w.stats.Refused++
	}
}

// takeIn has b invite a box that is not of the household yet, and that join.
func (w *world) takeIn(b *box) {
	i := slices.IndexFunc(w.boxes, func(x *box) bool {
		if x.enemy() {
			return len(w.enemy.known) == 0
		}
		return x.s != nil && !x.member()
	})
	if i < 0 {
		return
	}
	x := w.boxes[i]
	_, err := b.s.AddBox(context.Background(), identity.NewBox{ID: x.id, Name: w.unique("Box")})
	w.say("%s takes %s in: %v", b, x, problem(err))
	w.did(b, err)
	if err != nil || b.s == nil {
		return
	}
	if x.enemy() {
		for i := range w.all {
			if b.set.has(i) {
				w.enemy.learn(w.all[i])
			}
		}
		return
	}
	err = x.s.Join(context.Background(), identity.JoinLog{Root: public(w.root), Inviter: b.id, Records: b.s.RecordBytes()})
	w.say("%s joins: %v", x, problem(err))
	w.did(x, err)
	if x.s != nil && err == nil && !x.set.equal(b.set) {
		w.fail("%s joined with other records than %s has", x, b)
	}
}

// settle is somebody with the 24 words at box b, who says which of the disputed belong on.
func (w *world) settle(b *box) {
	d, err := b.s.Dispute()
	if err != nil || d.None() {
		w.fail("box %s is frozen and there is no dispute: %v", b, err)
	}
	c := identity.Settlement{Words: w.words}
	for _, r := range d.Removals {
		if w.draw(2) == 0 {
			c.Stay = append(c.Stay, r.Subject)
		}
	}
	b.words = true
	err = b.s.Settle(context.Background(), c)
	w.say("somebody with the words settles at %s that %v belong on: %s", b, c.Stay, problem(err))
	if err == nil {
		w.stats.Epochs++
	}
	w.did(b, err)
	if err == nil && b.s.Membership().Frozen {
		w.fail("a dispute goes on that was settled at %s", b)
	}
}

// agree is one of the owners and admins whom it is not about at box b, who says who belongs on: what was said elsewhere,
// mostly.
func (w *world) agree(b *box) {
	d, err := b.s.Dispute()
	if err != nil || d.None() {
		w.fail("box %s is frozen and there is no dispute: %v", b, err)
	}
	var may []services.PersonID
	for _, p := range b.s.Membership().People {
		if p.Role >= services.RoleAdmin && p.State == services.StateActive {
			may = append(may, p.ID)
		}
	}
	if len(may) == 0 || d.Needed == 0 {
		return
	}
	var stay []identity.Subject
	if len(d.Voices) > 0 && w.draw(4) > 0 {
		stay = d.Voices[w.draw(len(d.Voices))].Stay
	} else {
		stay = append(stay, d.Removals[w.draw(len(d.Removals))].Subject)
	}
	by := may[w.draw(len(may))]
	settled, err := b.s.Agree(identity.Acting(context.Background(), by, ""), stay)
	w.say("%s says at %s that %v belong on: settled %t, %s", by, b, stay, settled, problem(err))
	w.did(b, err)
	if err == nil && settled == b.s.Membership().Frozen {
		w.fail("it is said that a dispute is settled, %t, at %s, and that is not so", settled, b)
	}
}

// farewell tells b, which a has for a removed one, so.
func (w *world) farewell(a, b *box) {
	c, err := b.s.Connect(a.id)
	if err != nil {
		w.fail("box %s has no log to share: %v", b, err)
	}
	defer c.Close()
	var said bytes.Buffer
	err = a.s.Farewell(b.id, struct {
		io.Reader
		io.Writer
	}{bytes.NewReader(c.Next()), &said})
	if err != nil {
		w.fail("box %s cannot tell %s that it was removed: %v", a, b, err)
	}
	frames := split(said.Bytes())
	for _, f := range frames[:len(frames)-w.lost(len(frames))] {
		err := c.Receive(context.Background(), f)
		w.say("%s hears from %s that it was removed, %s: %v", b, a, describe(f), problem(err))
		if isPeer(err) {
			w.fail("box %s blames %s: %v", b, a, err)
		}
		w.did(b, err)
		if err != nil || b.s == nil {
			return
		}
	}
}

// lost is how many of n frames do not come.
func (w *world) lost(n int) int {
	if w.healed {
		return 0
	}
	return w.draw(n + 1)
}

// heal ends all that goes wrong, and lets the boxes tell one another all they know.
func (w *world) heal() {
	w.say("all is well again")
	w.cutAll(func(*link) bool { return true })
	clear(w.side)
	w.healed = true
	for _, b := range w.boxes {
		if b.s == nil && !b.enemy() {
			w.restart(b)
		}
		b.disk.fuse, b.disk.refuse = 0, 0
	}
	for again := true; again; {
		again = false
		w.drop()
		for _, a := range w.boxes {
			for _, b := range w.boxes {
				if n := b.read; a.removed(b) && b.lists(a) {
					w.farewell(a, b)
					again = again || b.read > n
				}
			}
			for _, b := range w.boxes[:a.i] {
				if !a.enemy() && !b.enemy() && !slices.ContainsFunc(w.links, func(l *link) bool { return l.boxes == [2]*box{a, b} }) {
					again = w.connect(a, b) != nil || again
				}
			}
		}
		for _, l := range slices.Clone(w.links) {
			for i := range 2 {
				for slices.Contains(w.links, l) && (w.send(l, i) || w.deliver(l, 1-i)) {
					again = true
				}
			}
		}
	}
}

func problem(err error) string {
	var p *services.Problem
	switch {
	case err == nil:
		return "done"
	case errors.As(err, &p):
		return p.Code
	}
	return err.Error()
}

func isCode(err error, code string) bool { return errors.Is(err, &services.Problem{Code: code}) }

func isPeer(err error) bool { return errors.Is(err, identity.ErrPeer) }

// describe says what a frame is, and which.
func describe(f []byte) string {
	h := sha256.Sum256(f)
	switch {
	case f[0] == frameHave && len(f) >= 3:
		return fmt.Sprintf("landmarks %x", h[:3])
	case f[0] == frameRecords && len(f) >= 3:
		return fmt.Sprintf("%d records %x", int(f[1])<<8|int(f[2]), h[:3])
	}
	return fmt.Sprintf("a frame %x", h[:3])
}
