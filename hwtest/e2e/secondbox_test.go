package e2e

import (
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth.alt/hwtest/box"
)

// another is a second box at home, as a device runs it, that nobody has claimed.
func (h *home) another(name string) (*box.Box, string) {
	h.t.Helper()
	host := h.other(name)
	at := fmt.Sprintf("192.168.1.%d", h.n-1)
	b := box.Start(h.t, box.Options{Args: slices.Clone(twoProcesses), Start: func(cmd *exec.Cmd) error { return host.Do(cmd.Start) }})
	return b, at
}

func names(b *box.Box) string {
	b.T.Helper()
	return strings.Join(slices.Sorted(maps.Keys(people(b))), " ")
}

// TestSecondBox has a second and a third box join a household at home, by link and by the three words, each after what
// can go wrong; both serve the same people, one alone while the other is off; a box that is removed is dropped in five
// seconds.
func TestSecondBox(t *testing.T) {
	study := newSmiths(t, box.Options{Args: twoProcesses})
	attic, _ := study.another("attic")
	barn, _ := study.another("barn")

	refused := func(b *box.Box, code string, args ...string) {
		t.Helper()
		f := b.TryDo(nil, args...)
		if f == nil || f.Error.Code != code || f.Error.Message == "" {
			t.Fatalf("%v: %+v, want %s", args, f, code)
		}
		var s status
		if b.Do(&s, "status"); s.Claimed && b != study.Box {
			t.Fatalf("after %v the box belongs to somebody", args)
		}
		if n := len(boxes(study.Box)); n != 1 {
			t.Fatalf("after %v there are %d boxes", args, n)
		}
	}
	refused(attic, "unclaimed", "box", "list")
	refused(study.Box, "already-claimed", "box", "join", "river stone apple")
	refused(study.Box, "last-box", "box", "remove", "Study", "--this-box")
	refused(attic, "link-invalid", "box", "join", "https://example.com")
	refused(attic, "invite-unknown", "box", "join", "river stone apple", "--at", boxAt4)
	var first, inv struct {
		Link, Code string
		PNG        []byte
	}
	study.Do(&first, "box", "invite")
	study.Do(&inv, "box", "invite")
	if len(inv.PNG) == 0 || inv.Link == first.Link || inv.Code == first.Code {
		t.Errorf("the invitation is %+v", inv)
	}
	refused(attic, "invite-withdrawn", "box", "join", first.Link)
	refused(attic, "code-wrong", "box", "join", first.Code, "--at", boxAt4)
	refused(attic, "name-taken", "box", "join", inv.Link, "--name", "Study")

	var in struct{ Household, Domain, Box string }
	attic.Do(&in, "box", "join", inv.Link, "--name", "Attic")
	if in.Household != "Smith" || in.Domain != "smith.home.arpa" || in.Box != "Attic" {
		t.Errorf("it joined as %+v", in)
	}
	if f := barn.TryDo(nil, "box", "join", inv.Link); f == nil || f.Error.Code != "invite-unknown" {
		t.Errorf("a link that was used: %+v", f)
	}
	study.Do(&inv, "box", "invite")
	within(t, time.Minute, "the box at home is not found", func() error { // without an address
		if f := barn.TryDo(&in, "box", "join", inv.Code, "--name", "Barn"); f != nil {
			if f.Error.Code != "no-box-near" {
				t.Fatalf("%+v", f)
			}
			return fmt.Errorf("%s", f.Error.Code)
		}
		return nil
	})
	for _, b := range []*box.Box{study.Box, attic, barn} {
		within(t, 30*time.Second, "boxes are not in touch", func() error {
			list := boxes(b)
			for _, one := range list {
				if len(list) != 3 || one.State != "active" || !one.Self && !one.Linked {
					return fmt.Errorf("%+v", list)
				}
			}
			return nil
		})
	}

	same := func(want string, all ...*box.Box) {
		t.Helper()
		for _, b := range all {
			within(t, 30*time.Second, "not the same people", func() error {
				if got := names(b); got != want {
					return fmt.Errorf("%s, want %s", got, want)
				}
				return nil
			})
		}
	}
	study.Do(nil, "person", "add", "Ben", "--role", "member")
	same("Ann Ben", study.Box, attic, barn)
	study.Kill()
	attic.Do(nil, "person", "add", "Cleo", "--role", "member")
	same("Ann Ben Cleo", attic, barn)
	study.Restart()
	same("Ann Ben Cleo", study.Box)

	study.Do(nil, "box", "remove", "Barn")
	within(t, 5*time.Second, "the box is not dropped", func() error {
		if list := boxes(attic); len(list) != 2 {
			return fmt.Errorf("%+v", list)
		}
		return nil
	})
	// With a fresh invitation its key does not come back.
	study.Do(&inv, "box", "invite")
	if f := barn.TryDo(nil, "box", "join", inv.Link); f == nil {
		t.Error("a box that was removed is back")
	}
}
