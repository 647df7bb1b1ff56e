package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"hearth.alt/hwtest/box"
	"hearth.alt/hwtest/netlab"
)

// village is a network with two switches, "lan" and "shed", and boxes of any households on them. While the cable
// between the two is down there are two networks.
type village struct {
	t         *testing.T
	lab       *netlab.Lab
	lan, shed *netlab.Switch
	cable     *netlab.Port
	n         int // boxes so far
}

// villager is a box of a village. What home knows of addresses, and so lets in by invite, is true of the first one only.
type villager struct {
	*home
	at netip.Addr // at home
}

func newVillage(t *testing.T) *village {
	t.Helper()
	l := netlab.New(t)
	v := &village{t: t, lab: l, lan: l.Switch("lan"), shed: l.Switch("shed")}
	v.cable = v.lan.Uplink(v.shed)
	return v
}

// box plugs a box in at 192.168.1.2 and following, and starts it with nobody's state.
func (v *village) box(at *netlab.Switch, name string) *villager {
	v.t.Helper()
	b := v.plug(at, name)
	b.start(box.Options{Args: b.args()})
	return b
}

// plug is box without starting it.
func (v *village) plug(at *netlab.Switch, name string) *villager {
	v.t.Helper()
	number := v.n + 2
	v.n++
	b := &villager{home: &home{t: v.t, lab: v.lab, lan: at, host: v.lab.Host(name), n: 20 * number}, at: addr(fmt.Sprintf("192.168.1.%d", number))}
	at.Attach(b.host, "eth0", netip.PrefixFrom(b.at, 24), pfx(fmt.Sprintf("fd00:1::%d/64", number)))
	return b
}

func (b *villager) args() []string {
	at := b.at.String()
	return []string{"--dev", "--no-portmap", "--http", at + ":80", "--https", at + ":443", "--dns", at + ":53"}
}

// startAgain starts a box that is off, with its state, where it is plugged in now.
func (b *villager) startAgain() {
	b.t.Helper()
	b.start(box.Options{State: b.State, Args: b.args()})
	b.up()
}

// other plugs another host into the box's switch.
func (b *villager) other(name string) *netlab.Host {
	o := b.lab.Host(name)
	b.lan.Attach(o, "eth0", pfx(fmt.Sprintf("192.168.1.%d/24", b.n)), pfx(fmt.Sprintf("fd00:1::%d/64", b.n)))
	b.n++
	if err := o.Answers(limit(b.t, 10*time.Second), b.at); err != nil {
		b.t.Fatal(err)
	}
	return o
}

// smiths are boxes of household Smith, Study first, whose owner is Ann; the others joined by link. The words are the
// household's.
func (v *village) smiths(names ...string) (boxes []*villager, words []string) {
	v.t.Helper()
	first := v.box(v.lan, "study")
	words = first.ClaimSmith()
	first.up()
	boxes = []*villager{first}
	for _, name := range names {
		at := v.lan
		if name == "Shed" {
			at = v.shed
		}
		b := v.box(at, strings.ToLower(name))
		b.join(first, name)
		boxes = append(boxes, b)
	}
	v.agree(boxes...)
	return boxes, words
}

// join has b become a box of the household of by.
func (b *villager) join(by *villager, name string) {
	b.t.Helper()
	var invited struct{ Link string }
	by.Do(&invited, "box", "invite")
	var joined struct{ Household, Domain, Box string }
	b.Do(&joined, "box", "join", invited.Link, "--name", name)
	if joined.Household != "Smith" || joined.Domain != "smith.home.arpa" || joined.Box != name {
		b.t.Fatalf("it joined as %+v", joined)
	}
	b.up()
}

// boxRow is a row of box list.
type boxRow struct {
	ID, Name, Label, State string
	Self, Linked           bool
	Address4, Address6     netip.Addr
}

func boxes(b *box.Box) map[string]boxRow {
	b.T.Helper()
	return named(b, "box", func(r boxRow) string { return r.Name })
}

func (b *villager) boxes() map[string]boxRow {
	b.t.Helper()
	return boxes(b.Box)
}

// peerID is who the box is now.
func (b *villager) peerID() string {
	b.t.Helper()
	var s status
	b.Do(&s, "status")
	return s.Box.PeerID
}

// rekeyed waits until the box of that name has another key than old, and returns it.
func (b *villager) rekeyed(name, old string) (now string) {
	b.t.Helper()
	within(b.t, 30*time.Second, b.host.Name()+" has no new key", func() error {
		var s status
		if f := b.TryDo(&s, "status"); f != nil {
			return fmt.Errorf("status: %s", f.Stderr)
		}
		if now = s.Box.PeerID; now == old || s.Box.Name != name {
			return fmt.Errorf("it is %+v", s.Box)
		}
		return nil
	})
	return now
}

// known is all that a box says of its household, in one text; nothing of it depends on which box is asked.
func (b *villager) known() string {
	b.t.Helper()
	var out strings.Builder
	for _, verb := range []string{"person list", "device list", "box list", "friend list", "log show"} {
		var rows []map[string]any
		if f := b.TryDo(&rows, strings.Fields(verb)...); f != nil {
			fmt.Fprintf(&out, "%s: %s\n", verb, f.Stderr)
			continue
		}
		for _, r := range rows {
			for _, own := range []string{"self", "linked", "heard", "words", "last_handshake", "as_of"} {
				delete(r, own)
			}
			line, err := json.Marshal(r)
			if err != nil {
				b.t.Fatal(err)
			}
			fmt.Fprintf(&out, "%s: %s\n", verb, line)
		}
	}
	return out.String()
}

// agree waits until the boxes say the same of their household.
func (v *village) agree(boxes ...*villager) {
	v.t.Helper()
	within(v.t, time.Minute, "the boxes do not agree", func() error {
		first := boxes[0].known()
		for _, b := range boxes[1:] {
			if got := b.known(); got != first {
				return fmt.Errorf("%s says\n%s\n%s says\n%s", boxes[0].host.Name(), first, b.host.Name(), got)
			}
		}
		return nil
	})
	for _, b := range boxes {
		b.Do(nil, "log", "verify")
	}
}

// add takes a person in on the box.
func (b *villager) add(name, role string) person {
	b.t.Helper()
	var p person
	b.Do(&p, "person", "add", name, "--role", role)
	return p
}

// knows waits until the box knows, or does not know, a person of that name.
func (b *villager) knows(name string, wanted bool) {
	b.t.Helper()
	within(b.t, time.Minute, fmt.Sprintf("%s: that %s is known is not %t", b.host.Name(), name, wanted), func() error {
		if p, ok := b.people()[name]; ok != wanted {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
}

// serves says what is wrong with the names that the box serves, asked by from.
func (b *villager) serves(from *netlab.Host, names map[string]netip.Addr) error {
	for name, want := range names {
		kind := dns.TypeA
		if want.Is6() {
			kind = dns.TypeAAAA
		}
		for _, network := range []string{"udp", "tcp"} {
			if got, err := lookup(from, b.at, network, name, kind); err != nil || got != want {
				return fmt.Errorf("%s of %s over %s: %v, %v; want %v", name, b.host.Name(), network, got, err, want)
			}
		}
	}
	return nil
}

// code is the code of a refusal; "" is that it was none.
func code(f *box.Failure) string {
	if f == nil {
		return ""
	}
	if f.Error.Code == "" {
		return "no code: " + f.Stderr
	}
	return f.Error.Code
}

// ping asks another box for a sign of life and returns the path, or the code of the refusal.
func (b *villager) ping(who string) (path, refused string) {
	b.t.Helper()
	var pong struct {
		OK   bool
		RTT  float64 `json:"rtt_ms"`
		Path string
	}
	if f := b.TryDo(&pong, "peer", "ping", who); f != nil {
		return "", code(f)
	}
	if !pong.OK {
		b.t.Errorf("ping of %s says %+v", who, pong)
	}
	return pong.Path, ""
}

// speaks is what another box speaks with this one, or the code of the refusal.
func (b *villager) speaks(who string) (names []string, refused string) {
	b.t.Helper()
	var list []struct{ Name string }
	if f := b.TryDo(&list, "peer", "protocols", who); f != nil {
		return nil, code(f)
	}
	for _, p := range list {
		names = append(names, p.Name)
	}
	return names, ""
}

// befriend makes the households of two boxes friends.
func befriend(inviter, guest *villager, inviterCalls, guestCalls string) {
	inviter.t.Helper()
	var invited struct{ Link string }
	inviter.Do(&invited, "friend", "invite", "--petname", inviterCalls)
	guest.Do(nil, "friend", "accept", invited.Link, "--petname", guestCalls)
}

func (b *villager) friends() (names []string) {
	b.t.Helper()
	var list []struct{ Name string }
	b.Do(&list, "friend", "list")
	for _, f := range list {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	return names
}

// Protocols, as peer protocols lists them.
const (
	logProtocol        = "/identity/log/v1"
	credentialProtocol = "/account/credentials/v1"
	addressProtocol    = "/link/addresses/v1"
	friendProtocol     = "/identity/friend/v1"
	pingProtocol       = "/link/ping/v1"
)

// Five boxes of three households. The three of one household are the same to everybody, whichever is asked and whichever
// is off; friends are let in as friends and no further.
func TestFiveBoxes(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	boxes, _ := v.smiths("Attic", "Barn")
	study, attic, barn := boxes[0], boxes[1], boxes[2]
	jones, brown := v.box(v.lan, "jones"), v.box(v.lan, "brown")
	jones.ClaimFor("Jones", "Hall", "Tom")
	brown.ClaimFor("Brown", "Den", "Jo")

	attic.add("Ben", "member")
	barn.knows("Ben", true)
	phone, _ := study.phoneAt(study.other("phone"), "Ann", "phone")
	tablet, _ := barn.phoneAt(barn.other("tablet"), "Ann", "tablet") // by the barn's tunnel
	v.agree(boxes...)

	asker := study.other("asker")
	zone := map[string]netip.Addr{"phone.smith.home.arpa": phone.Address4(), "tablet.smith.home.arpa": tablet.Address6()}
	for name, b := range study.boxes() {
		zone[strings.ToLower(name)+".smith.home.arpa"] = b.Address4
	}
	if len(zone) != 5 {
		t.Fatalf("the boxes are %v", study.boxes())
	}
	served := func(boxes ...*villager) {
		t.Helper()
		for _, b := range boxes {
			within(t, 20*time.Second, "names", func() error { return b.serves(asker, zone) })
		}
	}
	served(boxes...)
	if err := jones.serves(asker, zone); err == nil {
		t.Error("the Joneses' box knows the names of the Smiths")
	}

	befriend(study, jones, "The Joneses", "The Smiths")
	befriend(brown, attic, "The Smiths", "The Browns")
	v.agree(boxes...)
	for _, b := range boxes {
		if got := b.friends(); !slices.Equal(got, []string{"The Browns", "The Joneses"}) {
			t.Errorf("the friends are %q on %s", got, b.host.Name())
		}
	}
	// Where there are friends, anybody may ask to be known for one: a friend's box may have a new key.
	ours, friends := []string{logProtocol, addressProtocol, credentialProtocol, friendProtocol, pingProtocol}, []string{friendProtocol, pingProtocol}
	for _, c := range []struct {
		asker, asked *villager
		speak        []string
	}{
		{study, barn, ours}, {barn, attic, ours},
		{jones, study, friends}, {study, jones, friends}, {brown, attic, friends}, {barn, jones, friends}, {jones, barn, friends},
		{jones, brown, nil}, // strangers, who may ask to become friends while somebody is invited
	} {
		within(t, time.Minute, c.asker.host.Name()+" asks "+c.asked.host.Name(), func() error {
			names, refused := c.asker.speaks(c.asked.peerID())
			for _, n := range []string{logProtocol, addressProtocol, credentialProtocol, friendProtocol, pingProtocol} {
				if slices.Contains(c.speak, n) != slices.Contains(names, n) && !(c.speak == nil && n == friendProtocol) {
					return fmt.Errorf("it speaks %q, %s", names, refused)
				}
			}
			if _, refused := c.asker.ping(c.asked.peerID()); (refused == "") != (c.speak != nil) {
				return fmt.Errorf("a ping is refused with %q", refused)
			}
			return nil
		})
	}

	study.Stop()
	barn.add("Cleo", "member")
	attic.knows("Cleo", true)
	attic.Do(nil, "person", "remove", "Ben")
	barn.knows("Ben", false)
	v.agree(attic, barn)
	served(attic, barn)
	if _, refused := barn.ping("Study"); refused != "unreachable" {
		t.Errorf("a box that is off answers a ping with %q", refused)
	}
	study.Restart()
	study.up()
	study.knows("Cleo", true)
	v.agree(boxes...)
	served(boxes...)
}

// wordsFile is a file with the words, for the verbs.
func wordsFile(t *testing.T, words []string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "words")
	if err := os.WriteFile(path, []byte(strings.Join(words, " ")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
