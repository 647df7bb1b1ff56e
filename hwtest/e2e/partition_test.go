package e2e

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth.alt/hwtest/box"
	"hearth.alt/hwtest/netlab"
)

// signedIn is a browser in which a person is signed in on the box, with a password that the box gave them.
func (b *villager) signedIn(from *netlab.Host, name string) *browser {
	b.t.Helper()
	var given struct{ Password string }
	b.Do(&given, "recover", "password", name)
	w := b.browser(from, "https://"+b.at.String())
	w.signIn(name, given.Password)
	return w
}

// Who is removed on a box is let in no more by all that it reaches, within five seconds; by one that it does not reach
// as soon as that hears of it, and whatever that one did meanwhile for somebody who was gone is as if it had not been.
func TestRevokeUnderPartition(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	boxes, _ := v.smiths("Attic", "Shed")
	study, attic, shed := boxes[0], boxes[1], boxes[2]
	attic.add("Mia", "member")
	for _, b := range boxes {
		b.knows("Mia", true)
	}
	study.invite("Ben", "member")
	visitor, gardener := study.other("visitor"), shed.other("gardener")
	phone, _ := study.phoneAt(study.other("phone"), "Ben", "phone")
	pad, padDevice := study.phoneAt(study.other("pad"), "Ben", "pad")
	tablet, _ := shed.phoneAt(shed.other("tablet"), "Ben", "tablet") // by the shed's tunnel
	laptop, _ := attic.phoneAt(attic.other("laptop"), "Ann", "laptop")
	benAtHome := study.browser(visitor, "https://"+study.at.String())
	benAtHome.signIn("Ben", password)
	annAtHome := study.browser(visitor, "https://"+study.at.String())
	annAtHome.signIn("Ann", box.Password)
	v.agree(boxes...)
	tr := tried{}

	v.cable.Down()
	benInShed := shed.signedIn(gardener, "Ben")
	inShed := append(peers(t, tablet, "the tablet"), session(benInShed, "Ben's session in the shed"))
	t.Run("a device is removed on another box", func(t *testing.T) {
		tr.die(t, func() { attic.Do(nil, "device", "remove", padDevice.ID) }, peers(t, pad, "the pad")...)
		live(t, append(peers(t, phone, "Ben's phone"), session(benAtHome, "Ben's session at home"))...)
	})
	t.Run("a person is removed on another box", func(t *testing.T) {
		tr.die(t, func() { attic.Do(nil, "person", "remove", "Ben") },
			append(peers(t, phone, "Ben's phone"), session(benAtHome, "Ben's session at home"))...)
		live(t, append(peers(t, laptop, "Ann's laptop"), session(annAtHome, "Ann's session"))...)
	})
	t.Run("whom nobody could tell goes on", func(t *testing.T) {
		live(t, inShed...)
		if _, there := shed.people()["Ben"]; !there {
			t.Error("the shed knows without having heard")
		}
		if _, refused := study.ping("Shed"); refused != "unreachable" {
			t.Errorf("the shed answers a ping with %q", refused)
		}
		shed.add("Cleo", "member")
		benInShed.post("/people/invite", url.Values{"name": {"Gil"}, "role": {"guest"}}, 303)
		shed.knows("Gil", true)
		if all { // so long that the links are given up
			within(t, 2*time.Minute, "the shed is linked", func() error {
				if study.boxes()["Shed"].Linked {
					return fmt.Errorf("it is")
				}
				return nil
			})
		}
	})
	t.Run("both are told of what the other did", func(t *testing.T) {
		v.cable.Up()
		shutOut(t, inShed...)
		live(t, append(peers(t, laptop, "Ann's laptop"), session(annAtHome, "Ann's session"))...)
		study.knows("Cleo", true) // the shed had every right
		v.agree(boxes...)
		if people := study.people(); people["Gil"].ID != "" || people["Ben"].ID != "" {
			t.Errorf("who was removed lets in: %v", people)
		}
	})

	t.Run("a box is removed while it is away", func(t *testing.T) {
		annPad, _ := shed.phoneAt(shed.other("pad2"), "Ann", "pad2")
		v.agree(boxes...)
		v.cable.Down()
		study.Do(nil, "box", "remove", "Shed")
		attic.lacks("Shed")
		eve := shed.add("Eve", "owner")
		evePad, _ := shed.phoneAt(shed.other("eve"), "Eve", "eve")
		evil := append(peers(t, annPad, "Ann's pad"), peers(t, evePad, "Eve's pad")...)
		live(t, evil...)
		v.cable.Up()
		shutOut(t, evil...)
		if got := shed.TryDo(nil, "person", "add", "Fay", "--role", "member"); code(got) == "" {
			t.Error("a removed box takes somebody in")
		}
		study.add("Gus", "member")
		attic.knows("Gus", true)
		v.agree(study, attic)
		for _, b := range []*villager{study, attic} {
			if text := b.known(); strings.Contains(text, "Eve") || strings.Contains(text, eve.ID) {
				t.Errorf("%s knows\n%s", b.host.Name(), text)
			}
		}
		if study.boxes()["Shed"].ID != "" {
			t.Error("the study lists the shed")
		}
		if _, refused := shed.ping("Study"); refused != "box-removed" {
			t.Errorf("a ping on a removed box is refused with %q", refused)
		}
	})

	t.Run("a box is removed that can be reached", func(t *testing.T) {
		tr.die(t, func() { study.Do(nil, "box", "remove", "Attic") }, peers(t, laptop, "Ann's laptop")...)
		live(t, session(annAtHome, "Ann's session"))
		within(t, 20*time.Second, "the attic says nothing of it", func() error {
			var s status
			attic.Do(&s, "status")
			for _, one := range s.Services {
				if one.Name == "mesh" && strings.Contains(one.Message, "removed") {
					return nil
				}
			}
			return fmt.Errorf("%+v", s.Services)
		})
	})
}

// shutOut waits until nothing of that lets in.
func shutOut(t *testing.T, all ...credential) {
	t.Helper()
	for _, c := range all {
		within(t, 90*time.Second, c.what+" still lets in", func() error {
			if c.use() == nil {
				return fmt.Errorf("it does")
			}
			return nil
		})
	}
}

// lacks waits until the household has no box of that name.
func (b *villager) lacks(name string) {
	b.t.Helper()
	within(b.t, time.Minute, b.host.Name()+" lists "+name, func() error {
		if _, there := b.boxes()[name]; there {
			return fmt.Errorf("it does")
		}
		return nil
	})
}

// disputed is what recover dispute lists, as "kind name".
func (b *villager) disputed() (out []string) {
	b.t.Helper()
	var list []struct{ Kind, Name string }
	if f := b.TryDo(&list, "recover", "dispute"); f != nil {
		return []string{f.Stderr}
	}
	for _, d := range list {
		out = append(out, d.Kind+" "+d.Name)
	}
	slices.Sort(out)
	return out
}

// frozen waits until each box says that exactly this is disputed, and takes nobody in.
func frozen(t *testing.T, boxes []*villager, want ...string) {
	t.Helper()
	for _, b := range boxes {
		within(t, time.Minute, "what is disputed on "+b.host.Name(), func() error {
			if got := b.disputed(); !slices.Equal(got, want) {
				return fmt.Errorf("%q, want %q", got, want)
			}
			return nil
		})
		if got := code(b.TryDo(nil, "person", "add", "Zoe", "--role", "member")); got != "frozen" {
			t.Errorf("%s takes somebody in, or refuses with %q", b.host.Name(), got)
		}
	}
}

// thawed waits until nothing is disputed on any box.
func thawed(t *testing.T, boxes ...*villager) {
	t.Helper()
	for _, b := range boxes {
		within(t, time.Minute, "what is disputed on "+b.host.Name(), func() error {
			if got := b.disputed(); len(got) != 0 {
				return fmt.Errorf("%q", got)
			}
			return nil
		})
	}
}

// Two owners who remove one another, each on a box that the other's does not reach: everywhere nothing can change, and
// neither of them is let in, until the 24 words say who stays, or an admin does on two of the three boxes.
func TestOwnersRemoveOneAnother(t *testing.T) {
	t.Run("the words", func(t *testing.T) {
		duel(t, func(study, attic, shed *villager, words []string) {
			wrong := slices.Clone(words)
			wrong[0], wrong[1] = wrong[1], wrong[0]
			if got := code(attic.TryDo(nil, "recover", "settle", "--words-file", wordsFile(t, wrong), "--stay", "Ann")); !strings.HasPrefix(got, "words-") {
				t.Errorf("wrong words are answered with %q", got)
			}
			frozen(t, []*villager{study, attic, shed}, "person Ann", "person Ben")
			attic.Do(nil, "recover", "settle", "--words-file", wordsFile(t, words), "--stay", "Ann")
		})
	})
	t.Run("two boxes", func(t *testing.T) {
		duel(t, func(study, attic, shed *villager, _ []string) {
			for _, who := range []string{"Ann", "Cleo"} {
				if got := code(attic.TryDo(nil, "recover", "agree", "--as", who, "--stay", "Ann")); got != "not-yours" {
					t.Errorf("%s, who may not say who stays, is answered with %q", who, got)
				}
			}
			var said struct {
				Settled bool
				Missing int
			}
			attic.Do(&said, "recover", "agree", "--as", "Eve", "--stay", "Ann")
			if said.Settled || said.Missing != 1 {
				t.Errorf("one box of three: %+v", said)
			}
			frozen(t, []*villager{study, attic, shed}, "person Ann", "person Ben")
			shed.Do(nil, "recover", "agree", "--as", "Eve", "--stay", "Ann")
		})
	})
}

// duel has settle settle it.
func duel(t *testing.T, settle func(study, attic, shed *villager, words []string)) {
	t.Parallel()
	v := newVillage(t)
	boxes, words := v.smiths("Attic", "Shed")
	study, attic, shed := boxes[0], boxes[1], boxes[2]
	ben := study.invite("Ben", "owner")
	study.invite("Eve", "admin")
	study.invite("Cleo", "member")
	visitor, gardener := study.other("visitor"), shed.other("gardener")
	ann := study.browser(visitor, "https://"+study.at.String())
	ann.signIn("Ann", box.Password)
	shed.knows("Ben", true)
	annID := study.people()["Ann"].ID
	v.agree(boxes...)

	v.cable.Down()
	bens := shed.signedIn(gardener, "Ben")
	ann.post("/people/"+ben.ID+"/remove", url.Values{}, 303)
	bens.post("/people/"+annID+"/remove", url.Values{}, 303)
	attic.knows("Ben", false)
	shed.knows("Ann", false)
	live(t, session(ann, "Ann's session"), session(bens, "Ben's session"))
	v.cable.Up()
	frozen(t, boxes, "person Ann", "person Ben")
	shutOut(t, session(ann, "Ann's session"), session(bens, "Ben's session"))
	v.agree(boxes...)

	settle(study, attic, shed, words)
	thawed(t, boxes...)
	v.agree(boxes...)
	for _, b := range boxes {
		people := b.people()
		if _, there := people["Ben"]; there || people["Ann"].State != "active" {
			t.Errorf("on %s the people are %v", b.host.Name(), people)
		}
	}
	if session(bens, "").use() == nil {
		t.Error("Ben is let in again")
	}
	shed.add("Dora", "member")
	study.knows("Dora", true)
	again := study.browser(visitor, "https://"+study.at.String())
	again.signIn("Ann", box.Password)
}
