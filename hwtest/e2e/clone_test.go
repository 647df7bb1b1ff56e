package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth.alt/hwtest/box"
)

// copied is a box with a copy of all that b, which is off, has on its card, plugged in in the shed.
func (v *village) copied(b *villager) *villager {
	v.t.Helper()
	dir, err := os.MkdirTemp("", "hearth-state-")
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { os.RemoveAll(dir) })
	state := filepath.Join(dir, "state")
	if out, err := exec.CommandContext(limit(v.t, time.Minute), "cp", "-a", b.State, state).CombinedOutput(); err != nil {
		v.t.Fatalf("%v: %s", err, out)
	}
	c := v.plug(v.shed, "copy")
	c.start(box.Options{State: state, Args: c.args()})
	c.up()
	return c
}

// A card that was copied is found out as soon as both have written something: its box is suspended everywhere. The 24
// words on the box itself give it a new key, with which all is as before; the copy has the old one, and nobody's ear.
func TestClone(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	boxes, words := v.smiths("Attic", "Barn")
	study, attic, barn := boxes[0], boxes[1], boxes[2]
	old := attic.peerID()

	attic.Stop()
	v.cable.Down()
	clone := v.copied(attic)
	attic.Restart()
	attic.up()
	attic.add("Ben", "member")
	study.knows("Ben", true)
	clone.add("Eve", "owner")
	if clone.peerID() != old {
		t.Fatal("the copy is another box")
	}
	for _, b := range boxes {
		if got := b.disputed(); len(got) != 0 {
			t.Errorf("without a proof %s disputes %q", b.host.Name(), got)
		}
	}
	v.cable.Up()
	all := append(boxes, clone)
	frozen(t, all, "clone Attic")
	for _, b := range all {
		within(t, 30*time.Second, "the boxes on "+b.host.Name(), func() error {
			for name, r := range b.boxes() {
				if (r.State == "quarantined") != (name == "Attic") {
					return fmt.Errorf("%s is %s", name, r.State)
				}
			}
			return nil
		})
		if p, there := b.people()["Eve"]; there {
			t.Errorf("on %s there is %+v", b.host.Name(), p)
		}
	}

	var settled struct{ OK, Restart bool }
	attic.Do(&settled, "recover", "settle", "--words-file", wordsFile(t, words))
	if !settled.OK || !settled.Restart {
		t.Errorf("settled: %+v", settled)
	}
	now := attic.rekeyed("Attic", old)
	if attic.Ended(0) {
		t.Fatal("the attic ended")
	}
	attic.up()
	thawed(t, boxes...)
	v.agree(boxes...)
	for _, b := range boxes {
		if got := b.boxes()["Attic"]; got.ID != now || got.State != "active" {
			t.Errorf("on %s the attic is %+v", b.host.Name(), got)
		}
	}
	attic.add("Cleo", "member")
	barn.add("Dora", "member")
	study.knows("Cleo", true)
	attic.knows("Dora", true)
	within(t, 30*time.Second, "the attic's new key", func() error {
		if _, refused := study.ping("Attic"); refused != "" {
			return fmt.Errorf("refused with %q", refused)
		}
		return nil
	})

	// The copy hears what became of it, serves nobody, and is not heard.
	within(t, time.Minute, "the copy goes on", func() error {
		var s status
		if f := clone.TryDo(&s, "status"); f != nil {
			return fmt.Errorf("%s", f.Stderr)
		}
		for _, one := range s.Services {
			if strings.Contains(one.Message, "was removed from") {
				t.Logf("the copy's %s: %s", one.Name, one.Message)
				return nil
			}
		}
		return fmt.Errorf("%+v", s.Services)
	})
	if got := clone.TryDo(nil, "person", "add", "Mallory", "--role", "owner"); code(got) == "" {
		t.Error("the copy takes somebody in")
	}
	if _, refused := clone.ping("Study"); refused != "box-removed" {
		t.Errorf("a ping on the copy is refused with %q", refused)
	}
	v.agree(boxes...)
	if text := study.known(); strings.Contains(text, "Mallory") {
		t.Errorf("the study knows\n%s", text)
	}
	study.knows("Ben", true) // what the box did itself, as the box saw it where the words were typed in
	study.knows("Eve", false)
}

// A box that gets its new key while it reaches no other is known by it as soon as it does.
func TestNewKeyOfBoxAlone(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	boxes, words := v.smiths("Shed")
	study, shed := boxes[0], boxes[1]
	shed.Stop()
	v.cable.Down()
	clone := v.copied(shed)
	shed.Restart()
	shed.up()
	shed.add("Ben", "member")
	clone.add("Eve", "owner")
	v.cable.Up()
	frozen(t, []*villager{study, shed, clone}, "clone Shed")

	v.cable.Down()
	old := shed.peerID()
	shed.Do(nil, "recover", "settle", "--words-file", wordsFile(t, words))
	shed.rekeyed("Shed", old)
	shed.up()
	v.cable.Up()
	thawed(t, study, shed)
	v.agree(study, shed)
	study.knows("Ben", true)
	study.knows("Eve", false)
}
