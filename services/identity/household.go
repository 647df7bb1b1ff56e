package identity

import (
	"cmp"
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/record"
	"hearth.alt/services/looks"
)

// household is what a set of records says: who belongs, and what is needed to judge the next record. It is made by
// fold, or by newHousehold and apply, and never reads a clock, a file or a key.
//
// # The meaning of a set of records
//
// The records are taken in one order that depends on nothing but the set: parents before children, and among those
// that could come next the one with the smallest ID. Records that do not descend from the household's genesis, or
// whose parents are not all there, are not taken. Each then has its effect or none; none has half of one, and none
// undoes that another was taken. A record has no effect when
//
//   - its author is neither the root nor a box that an earlier record took in, or its sequence is not one more than
//     its author's highest in its own past;
//   - the person on whose behalf it was made is not (or no longer) there, or the device is not theirs;
//   - an epoch left it out, a removal that it had not seen ended who made it, or its box's key is used twice: see
//     settle.go;
//   - it adds what is there already, or was removed before: identifiers are used once, an address, a key and a box by one at
//     a time;
//   - it speaks of a person, device or box that is not there;
//   - it takes in a box, a person or a friend, and there are maxBoxes, maxPeople or maxFriends;
//   - it would demote the last active owner who is not removed at the same time.
//
// A removal that stands has its effect all the same; where those leave no owner, or no box, see settle.go.
//
// Removing a person removes their devices. Becoming a guest ends reaching the home network. A name that two boxes
// gave away at the same time stays with the first in the order; the other shows with a number behind it. A box whose address
// was given away at the same time gets the highest that is free. What becomes of friends stands in friends.go, of what
// the removed kept in leaving.go.
type household struct {
	self     services.PeerID
	genesis  *record.Record
	is       services.Household
	boxes    map[services.PeerID]services.Box
	people   map[services.PersonID]services.Person
	devices  map[services.DeviceID]services.Device
	friends  friends
	hosts    [256]bool // taken last bytes of addresses
	departed map[services.PersonID]departure
	// names finds who has a name: scope and folded name to identifier. Boxes have the scope "box", people
	// "person", devices their person's identifier.
	names map[string]string
	// used holds every identifier of a person or device that was ever added: it is never used again.
	used map[string]struct{}
	// waits holds which box took in a person or device that was to be waited for.
	waits map[string]services.PeerID

	epoch  record.Epoch                 // the newest; before the first, number 0 with the root of genesis
	former []formerRoot                 // the roots before that of epoch, the oldest first
	gone   map[services.PeerID]struct{} // boxes that were removed
	frozen bool                         // somebody is suspended: nothing can change before the next epoch

	opposed bool              // some removed one another
	copied  []services.PeerID // boxes whose key is used in two places

	generation uint64 // of services.Membership

	sequence map[record.Author]uint64    // of each author's newest record
	newest   map[record.Author]record.ID // each author's newest record
	heads    map[record.ID]struct{}      // records that are nobody's parent yet
	taken    uint64                      // how many records
	newer    int                         // records that count, with an operation of a newer program
}

// Reasons why a record has no effect.
var (
	errAuthor    = because(services.Say("identity.why.author", "the box that wrote it does not belong, or may not do this"))
	errSequence  = because(services.Say("identity.why.sequence", "it does not follow what the same box wrote before"))
	errOnBehalf  = because(services.Say("identity.why.on-behalf", "the person or device it was made for does not belong"))
	errUsed      = because(services.Say("identity.why.used", "it adds what is there already, or was removed before"))
	errUnknown   = because(services.Say("identity.why.unknown", "what it speaks of is not there"))
	errLastOwner = because(services.Say("identity.why.last-owner", "it would take away the last owner"))
	errFull      = because(services.Say("identity.why.full", "the household had no room for one more"))
	errNewer     = because(services.Say("identity.why.newer", "a newer version of Hearth wrote it"))
	errGenesis   = because(services.Say("identity.why.genesis", "it begins another household"))
	errLastBox   = because(services.Say("identity.why.last-box", "it would take away the last box"))
	errEpoch     = because(services.Say("identity.why.epoch", "it is not the next decision of the 24 words"))
	errChosen    = because(services.Say("identity.why.chosen", "another choice came later, or is more careful"))
	errVoice     = because(services.Say("identity.why.voice", "it is what one box says, and more boxes have to say the same"))
	errVoid      = because(services.Say("identity.why.void", "it is disputed, whoever made it was removed, or the decision about who belongs left it out"))
)

// maxBoxes bounds the boxes of a household: each keeps a link to all others, and a stolen key takes in as many as it can.
const maxBoxes = 16

// newHousehold begins with the genesis record.
func newHousehold(self services.PeerID, genesis *record.Record) (*household, error) {
	g, ok := genesis.Payload.(record.Genesis)
	if !ok {
		return nil, fmt.Errorf("the first record is not genesis but %s", genesis.Op())
	}
	h := &household{
		self: self, genesis: genesis,
		is: services.Household{
			Name: g.Name, Label: g.Label, Domain: g.Label + ".home.arpa", Root: slices.Clone(genesis.Author.Key[:]), Net4: g.Net4, Net6: g.Net6,
		},
		boxes:    map[services.PeerID]services.Box{},
		people:   map[services.PersonID]services.Person{},
		devices:  map[services.DeviceID]services.Device{},
		friends:  newFriends(),
		names:    map[string]string{},
		used:     map[string]struct{}{},
		waits:    map[string]services.PeerID{},
		departed: map[services.PersonID]departure{},
		epoch:    record.Epoch{Root: genesis.Author.Key, NextRoot: g.NextRoot},
		gone:     map[services.PeerID]struct{}{},
		sequence: map[record.Author]uint64{},
		newest:   map[record.Author]record.ID{},
		heads:    map[record.ID]struct{}{},
	}
	h.take(genesis)
	return h, nil
}

// clone returns a household that may go on without changing h.
func (h *household) clone() *household {
	c := *h
	c.boxes, c.people, c.devices = maps.Clone(h.boxes), maps.Clone(h.people), maps.Clone(h.devices)
	c.names, c.gone, c.waits = maps.Clone(h.names), maps.Clone(h.gone), maps.Clone(h.waits)
	c.friends, c.departed = h.friends.clone(), maps.Clone(h.departed)
	c.used, c.sequence, c.newest, c.heads = maps.Clone(h.used), maps.Clone(h.sequence), maps.Clone(h.newest), maps.Clone(h.heads)
	return &c
}

// take notes that r is in the set, whatever its effect.
func (h *household) take(r *record.Record) {
	for _, p := range r.Parents {
		delete(h.heads, p)
	}
	h.heads[r.ID()] = struct{}{}
	if r.Sequence > h.sequence[r.Author] {
		h.sequence[r.Author], h.newest[r.Author] = r.Sequence, r.ID()
	}
	h.taken++
}

// apply takes a record that has every record of h in its past, as one made here has, and reports why it has no
// effect, nil when it has.
func (h *household) apply(r *record.Record) error {
	err := h.judge(r, h.sequence[r.Author])
	h.take(r)
	return err
}

// judge gives r its effect, or says why it has none. last is its author's highest sequence in its past.
func (h *household) judge(r *record.Record, last uint64) error {
	if r.Sequence != last+1 {
		return errSequence
	}
	switch r.Author.Kind {
	case record.KindRoot:
		if string(r.Author.Key[:]) != string(h.is.Root) {
			return errAuthor
		}
	default:
		if _, ok := h.boxes[r.Author.Key]; !ok {
			return errAuthor
		}
	}
	if r.By != "" {
		if _, ok := h.people[r.By]; !ok {
			return errOnBehalf
		}
	}
	if r.Via != "" {
		if d, ok := h.devices[r.Via]; !ok || d.Person != r.By {
			return errOnBehalf
		}
	}
	switch p := r.Payload.(type) {
	case record.RemovePerson:
		if h.lastOwner(p.Person) {
			return errLastOwner
		}
	case record.RemoveBox:
		if _, there := h.boxes[p.Box]; there && len(h.boxes) == 1 {
			return errLastBox
		}
	case record.ReplaceBox:
		if h.known(p.Key) {
			return errUsed
		}
	}
	return h.effect(r)
}

// outlived begins the next generation, after a removal or an epoch. It is a hash over those that have an effect, in their
// order, and no number of them: an epoch that ends a removal leaves as many as there were.
func (h *household) outlived(r *record.Record) {
	id := r.ID()
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(id[:], h.generation))
	h.generation = binary.BigEndian.Uint64(sum[:])
}

// effect gives r its effect, whoever made it.
func (h *household) effect(r *record.Record) error {
	err := h.change(r)
	if err == nil && (isRemoval(r) || r.Op() == record.OpEpoch) {
		h.outlived(r)
	}
	return err
}

func (h *household) change(r *record.Record) error {
	switch p := r.Payload.(type) {
	case record.AddBox:
		host := p.Host
		if h.hosts[host] { // given away elsewhere at the same time: a box is not left out for that
			host = h.lastHost()
		}
		if h.known(p.Box) || host == 0 {
			return errUsed
		}
		if len(h.boxes) >= maxBoxes {
			return errFull
		}
		b := services.Box{ID: p.Box, State: services.StateActive}
		b.Name = h.name(scopeBox, p.Box.String(), "", p.Name)
		b.Label = unique(p.Label, "-", h.boxLabelled)
		b.Addr4, b.Addr6 = h.address(host)
		h.hosts[host] = true
		h.boxes[p.Box] = b
	case record.AddPerson:
		if len(h.people) >= maxPeople {
			return errFull
		}
		if !h.use(string(p.Person)) {
			return errUsed
		}
		q := services.Person{ID: p.Person, Role: p.Role, LAN: p.LAN, State: services.StateActive, Expires: p.Expires}
		if !p.Expires.IsZero() {
			q.State = services.StatePending
			h.waits[string(p.Person)] = r.Author.Key
		}
		q.Name = h.name(scopePerson, string(p.Person), "", p.Name)
		h.people[p.Person] = q
	case record.SetRole:
		return h.person(p.Person, func(q *services.Person) error {
			if p.Role < services.RoleOwner && h.lastOwner(q.ID) {
				return errLastOwner
			}
			q.Role = p.Role
			q.LAN = q.LAN && p.Role > services.RoleGuest
			return nil
		})
	case record.RenamePerson:
		return h.person(p.Person, func(q *services.Person) error {
			q.Name = h.name(scopePerson, string(q.ID), q.Name, p.Name)
			return nil
		})
	case record.ActivatePerson:
		h.cameIn(p.Person)
		return h.person(p.Person, func(q *services.Person) error {
			q.State, q.Expires = services.StateActive, time.Time{}
			return nil
		})
	case record.SetLAN:
		return h.person(p.Person, func(q *services.Person) error {
			q.LAN = p.LAN
			return nil
		})
	case record.RemovePerson:
		return h.removePerson(p.Person, r.Time)
	case record.AddDevice:
		if _, ok := h.people[p.Person]; !ok {
			return errUnknown
		}
		if h.hosts[p.Host] || h.keyTaken(p.Key) || !h.use(string(p.Device)) {
			return errUsed
		}
		d := services.Device{ID: p.Device, Person: p.Person, Key: p.Key, State: services.StateActive, Expires: p.Expires, Added: r.Time}
		if !p.Expires.IsZero() {
			d.State = services.StatePending
			h.waits[string(p.Device)] = r.Author.Key
		}
		d.Name = h.name(string(p.Person), string(p.Device), "", p.Name)
		d.Addr4, d.Addr6 = h.address(p.Host)
		h.hosts[p.Host] = true
		h.devices[p.Device] = d
	case record.ActivateDevice:
		return h.device(p.Device, func(d *services.Device) { d.State, d.Expires = services.StateActive, time.Time{} })
	case record.RenameDevice:
		return h.device(p.Device, func(d *services.Device) { d.Name = h.name(string(d.Person), string(d.ID), d.Name, p.Name) })
	case record.RemoveDevice:
		return h.removeDevice(p.Device)
	case record.RemoveBox:
		return h.removeBox(p.Box)
	case record.ReplaceBox:
		return h.replaceBox(r, p)
	case record.Epoch:
		if !follows(p, h.epoch) {
			return errEpoch
		}
		if p.Root != h.epoch.Root {
			h.former = append(slices.Clip(h.former), formerRoot{slices.Clone(h.epoch.Root[:]), r.Time})
		}
		h.epoch = p
		h.is.Root = slices.Clone(p.Root[:])
	case record.AddFriend, record.RenameFriend, record.UpdateFriend, record.SetGrants, record.RemoveFriend:
		return h.friendEffect(p)
	case record.SetLeaving:
		return h.choose(p)
	case record.Unknown:
		h.newer++
		return errNewer
	default: // a second genesis
		return errGenesis
	}
	return nil
}

func (h *household) use(id string) bool {
	if _, ok := h.used[id]; ok {
		return false
	}
	h.used[id] = struct{}{}
	return true
}

func (h *household) person(id services.PersonID, change func(*services.Person) error) error {
	p, ok := h.people[id]
	if !ok {
		return errUnknown
	}
	if err := change(&p); err != nil {
		return err
	}
	h.people[id] = p
	return nil
}

func (h *household) device(id services.DeviceID, change func(*services.Device)) error {
	d, ok := h.devices[id]
	if !ok {
		return errUnknown
	}
	change(&d)
	h.devices[id] = d
	return nil
}

func (h *household) removePerson(id services.PersonID, at time.Time) error {
	p, ok := h.people[id]
	if !ok {
		return errUnknown
	}
	delete(h.people, id)
	h.departed[id] = departure{
		services.Leaving{Person: id, Name: p.Name, Removed: at, Then: services.ThenErase}, p.State != services.StatePending,
	}
	delete(h.names, nameKey(scopePerson, p.Name))
	for _, d := range h.devices {
		if d.Person == id {
			h.removeDevice(d.ID)
		}
	}
	return nil
}

func (h *household) removeDevice(id services.DeviceID) error {
	d, ok := h.devices[id]
	if !ok {
		return errUnknown
	}
	h.hosts[hostOf(d.Addr4)] = false
	delete(h.names, nameKey(string(d.Person), d.Name))
	delete(h.devices, id)
	return nil
}

// suspend takes their access from those whom v leaves in doubt.
func (h *household) suspend(v *verdict) {
	h.frozen, h.opposed, h.copied = v.frozen(), len(v.open) > 0, slices.Clone(v.forked)
	for _, id := range v.forked {
		h.suspendBox(id)
	}
	for _, r := range v.open {
		switch p := r.Payload.(type) {
		case record.RemovePerson:
			if q, ok := h.people[p.Person]; ok {
				q.State = services.StateQuarantined
				h.people[p.Person] = q
			}
		case record.RemoveDevice:
			if d, ok := h.devices[p.Device]; ok {
				d.State = services.StateQuarantined
				h.devices[p.Device] = d
			}
		case record.RemoveBox:
			h.suspendBox(p.Box)
		case record.ReplaceBox:
			h.suspendBox(p.Box)
		}
	}
}

func (h *household) suspendBox(id services.PeerID) {
	if b, ok := h.boxes[id]; ok {
		b.State = services.StateQuarantined
		h.boxes[id] = b
	}
}

func (h *household) removeBox(id services.PeerID) error {
	b, ok := h.boxes[id]
	if !ok {
		return errUnknown
	}
	h.hosts[hostOf(b.Addr4)] = false
	delete(h.names, nameKey(scopeBox, b.Name))
	delete(h.boxes, id)
	h.gone[id] = struct{}{}
	return nil
}

func (h *household) replaceBox(r *record.Record, p record.ReplaceBox) error {
	b, ok := h.boxes[p.Box]
	switch {
	case r.Author.Kind != record.KindRoot:
		return errAuthor
	case !ok:
		return errUnknown
	case h.known(p.Key): // somebody took the new key in or away meanwhile; the old one goes all the same
		return h.removeBox(p.Box)
	}
	delete(h.boxes, p.Box)
	h.gone[p.Box] = struct{}{}
	b.ID, b.State = p.Key, services.StateActive
	h.boxes[p.Key] = b
	h.names[nameKey(scopeBox, b.Name)] = p.Key.String()
	return nil
}

// known says whether the box is, or ever was, there.
func (h *household) known(id services.PeerID) bool {
	_, there := h.boxes[id]
	_, was := h.gone[id]
	return there || was
}

// lastOwner says whether id is the only active owner, others that leave left out.
func (h *household) lastOwner(id services.PersonID, leave ...services.PersonID) bool {
	p := h.people[id]
	return p.Role == services.RoleOwner && p.State == services.StateActive && !h.owned(append(leave, id)...)
}

// owned says whether there is an active owner who is none of but.
func (h *household) owned(but ...services.PersonID) bool {
	for _, p := range h.people {
		if p.Role == services.RoleOwner && p.State == services.StateActive && !slices.Contains(but, p.ID) {
			return true
		}
	}
	return false
}

// The scopes within which names are unique; a person's identifier is the scope of their devices' names.
const (
	scopeBox    = "box"
	scopePerson = "person"
)

func nameKey(scope, name string) string { return scope + " " + looks.Fold(name) }

// named returns the identifier of who has the name in the scope, "" for nobody.
func (h *household) named(scope, name string) string { return h.names[nameKey(scope, name)] }

// resembled says whether somebody or something other than id has a name in the scope that looks like name. The log
// itself tells names apart by nameKey alone: what it holds already keeps its name.
func (h *household) resembled(scope, id, name string) bool {
	for _, p := range h.people {
		if scope == scopePerson && string(p.ID) != id && looks.Alike(p.Name, name) {
			return true
		}
	}
	for _, b := range h.boxes {
		if scope == scopeBox && b.ID.String() != id && looks.Alike(b.Name, name) {
			return true
		}
	}
	for _, d := range h.devices {
		if scope == string(d.Person) && string(d.ID) != id && looks.Alike(d.Name, name) {
			return true
		}
	}
	return false
}

// name gives id the name want in place of old ("" for none), with a number behind it when another has it.
func (h *household) name(scope, id, old, want string) string {
	if old != "" {
		delete(h.names, nameKey(scope, old))
	}
	got := unique(want, " ", func(s string) bool { return h.named(scope, s) != "" })
	h.names[nameKey(scope, got)] = id
	return got
}

func (h *household) keyTaken(key services.ClientKey) bool {
	for _, d := range h.devices {
		if d.Key == key {
			return true
		}
	}
	return false
}

func (h *household) boxLabelled(label string) bool {
	for _, b := range h.boxes {
		if b.Label == label {
			return true
		}
	}
	return false
}

// address returns the two addresses with the last byte host.
func (h *household) address(host uint8) (netip.Addr, netip.Addr) {
	a4, a6 := h.is.Net4.Addr().As4(), h.is.Net6.Addr().As16()
	a4[3], a6[15] = host, host
	return netip.AddrFrom4(a4), netip.AddrFrom16(a6)
}

func hostOf(a netip.Addr) uint8 { return a.As4()[3] }

// lastHost returns the highest free last byte, 2 to 254, which is a box's; 0 when there is none.
func (h *household) lastHost() uint8 {
	for host := uint8(254); host >= 2; host-- {
		if !h.hosts[host] {
			return host
		}
	}
	return 0
}

// freeHost returns the lowest free last byte, 2 to 254; 0 when there is none. Each of n boxes prefers every n-th one, so
// that boxes that do not hear one another seldom give the same to two devices, of which one would be in vain.
func (h *household) freeHost() uint8 {
	boxes := slices.SortedFunc(maps.Keys(h.boxes), func(a, b services.PeerID) int { return slices.Compare(a[:], b[:]) })
	n := max(1, len(boxes))
	own := max(0, slices.Index(boxes, h.self))
	for _, mine := range []bool{true, false} {
		for host := 2; host <= 254; host++ {
			if !h.hosts[host] && (!mine || host%n == own) {
				return uint8(host)
			}
		}
	}
	return 0
}

// parents returns what the next record of author has to name: its own newest and the heads, at most as many as fit.
func (h *household) parents(author record.Author) []record.ID {
	own, known := h.newest[author]
	out := slices.SortedFunc(maps.Keys(h.heads), record.ID.Compare)
	out = slices.DeleteFunc(out, func(id record.ID) bool { return known && id == own })
	most := record.MaxParents
	if known {
		most--
	}
	out = out[:min(len(out), most)]
	// The only head descends from every record, so the own one need not be named beside it.
	if _, head := h.heads[own]; known && (head || len(h.heads) > 1) {
		out = append(out, own)
		slices.SortFunc(out, record.ID.Compare)
	}
	return out
}

// membership writes the snapshot that everybody else sees.
func (h *household) membership() *services.Membership {
	is := h.is
	m := &services.Membership{
		Revision: h.taken, Generation: h.generation, Self: h.self, Household: &is, ReadOnly: h.newer > 0 || h.frozen, Frozen: h.frozen,
		Opposed: h.opposed, Copied: h.copied,
		Boxes:   slices.SortedFunc(maps.Values(h.boxes), func(a, b services.Box) int { return cmp.Compare(a.Label, b.Label) }),
		Removed: slices.SortedFunc(maps.Keys(h.gone), func(a, b services.PeerID) int { return slices.Compare(a[:], b[:]) }),
		People: slices.SortedFunc(maps.Values(h.people), func(a, b services.Person) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
		}),
		Devices: slices.SortedFunc(maps.Values(h.devices), func(a, b services.Device) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
		}),
		Friends: h.friends.list(), Leaving: h.leaving(),
	}
	if _, removed := h.gone[h.self]; removed { // it lets nobody in any more
		m.People, m.Devices, m.Leaving, m.ReadOnly = nil, nil, nil, true
	}
	return m
}

// fold returns what a set of records says of the household that genesis, one of them, begins. Records must have
// been verified. Their order, and records given twice, do not matter.
func fold(self services.PeerID, genesis record.ID, set []*record.Record) (*household, error) {
	taken := order(genesis, set)
	if len(taken) == 0 {
		return nil, errors.New("the genesis record is missing")
	}
	if isChain(taken) {
		if h, vain, err := replay(self, taken, nil, nil); err != nil || !vain {
			return h, err
		}
	}
	h, v, err := settle(self, taken)
	if err != nil {
		return nil, err
	}
	h.suspend(v)
	return h, nil
}

// replay takes the ordered records one by one, as v has it; without one, each is judged by those before it, and vain says
// whether a removal that is not one of nobody had no effect, of which only settle can say what becomes. why, unless nil, is
// told of each record why it has no effect, nil when it has.
func replay(self services.PeerID, taken []*record.Record, v *verdict, why func(*record.Record, error)) (h *household, vain bool, err error) {
	h, err = newHousehold(self, taken[0])
	if err != nil {
		return nil, false, err
	}
	var last []uint64
	if v != nil {
		last = v.j.last
	} else {
		last = sequences(taken)
	}
	for i, r := range taken[1:] {
		switch {
		case v == nil:
			err = h.judge(r, last[i+1])
			vain = vain || err != nil && isRemoval(r) && !errors.Is(err, errUnknown)
		case v.void[r.ID()]:
			err = errVoid
			if _, ok := voice(r); ok {
				err = errVoice
			}
		case isRemoval(r), r.Op() == record.OpEpoch:
			err = h.effect(r)
		case h.demotesLast(r, v):
			err = errLastOwner
		default:
			err = h.judge(r, last[i+1])
		}
		if why != nil {
			why(r, err)
		}
		h.take(r)
	}
	return h, vain, nil
}

// demotesLast says whether r demotes an owner beside whom no other is who is not removed at the same time: a removal wins.
func (h *household) demotesLast(r *record.Record, v *verdict) bool {
	p, ok := r.Payload.(record.SetRole)
	return ok && p.Role < services.RoleOwner && h.people[p.Person].Role == services.RoleOwner && h.lastOwner(p.Person, v.beside(r)...)
}

// sequences are for each of the ordered records the highest sequence of its author in its past. One author after another is
// looked at, so that many of them, and many ends, take no more room than there are records.
func sequences(taken []*record.Record) []uint64 {
	at := make(map[record.ID]int, len(taken))
	parents := make([][]int, len(taken))
	places := map[record.Author][]int{}
	for i, r := range taken {
		at[r.ID()] = i
		for _, p := range r.Parents {
			parents[i] = append(parents[i], at[p])
		}
		places[r.Author] = append(places[r.Author], i)
	}
	out := make([]uint64, len(taken))
	seen := make([]uint64, len(taken)) // the author's highest sequence in the past of each place and at it
	for _, own := range places {
		if len(own) == 1 {
			continue
		}
		first, next := own[0], 0
		for i := first; next < len(own); i++ {
			seen[i] = 0
			for _, p := range parents[i] {
				if p >= first {
					seen[i] = max(seen[i], seen[p])
				}
			}
			if i == own[next] {
				out[i], next = seen[i], next+1
				seen[i] = max(seen[i], taken[i].Sequence)
			}
		}
	}
	return out
}

// isChain says whether each record is the only child of the one before it, as it is while there is one box, no author used
// a sequence twice, and no epoch says what counts.
func isChain(taken []*record.Record) bool {
	last := map[record.Author]uint64{}
	for i, r := range taken {
		if i > 0 && (len(r.Parents) != 1 || r.Parents[0] != taken[i-1].ID()) || r.Sequence <= last[r.Author] || r.Op() == record.OpEpoch {
			return false
		}
		last[r.Author] = r.Sequence
	}
	return true
}

// order returns the records that descend from genesis with all their past there, in the order of fold.
func order(genesis record.ID, set []*record.Record) []*record.Record {
	byID := make(map[record.ID]*record.Record, len(set))
	waiting := make(map[record.ID]int, len(set)) // for how many parents
	children := make(map[record.ID][]*record.Record, len(set))
	for _, r := range set {
		if _, twice := byID[r.ID()]; twice {
			continue
		}
		byID[r.ID()] = r
		waiting[r.ID()] = len(r.Parents)
		for _, p := range r.Parents {
			children[p] = append(children[p], r)
		}
	}
	first, ok := byID[genesis]
	if !ok {
		return nil
	}
	ready := &readyHeap{first}
	var out []*record.Record
	for ready.Len() > 0 {
		r := heap.Pop(ready).(*record.Record)
		out = append(out, r)
		for _, c := range children[r.ID()] {
			waiting[c.ID()]--
			if waiting[c.ID()] == 0 {
				heap.Push(ready, c)
			}
		}
	}
	return out
}

// readyHeap holds the records whose parents were all taken, the smallest ID first.
type readyHeap []*record.Record

func (h readyHeap) Len() int           { return len(h) }
func (h readyHeap) Less(i, j int) bool { return h[i].ID().Compare(h[j].ID()) < 0 }
func (h readyHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *readyHeap) Push(x any)        { *h = append(*h, x.(*record.Record)) }
func (h *readyHeap) Pop() any {
	last := len(*h) - 1
	r := (*h)[last]
	*h = (*h)[:last]
	return r
}
