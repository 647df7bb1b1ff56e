package e2e

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hearth.alt/hwtest/box"
	"hearth.alt/hwtest/netlab"
)

// A disk without room: whoever comes to make some gets in, everything else says what is the matter and changes
// nothing, and with room again all goes on without a start.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	netlab.New(t) // skips without root
	state, err := os.MkdirTemp("", "hearth-full-")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", state, "tmpfs", 0, "size=160m,mode=0700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Unmount(state, unix.MNT_DETACH)
		os.Remove(state)
	})
	h := newSmiths(t, box.Options{State: state})
	h.invite("Ben", "member")
	phone, _ := h.phone("Ben", "Ben's phone")
	b := h.browser(h.lanHost(), "https://"+boxAt4)
	b.signIn("Ann", box.Password)

	full := filepath.Join(state, "full")
	f, err := os.Create(full)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 4096, 1} {
		for {
			if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	within(t, time.Minute, "status does not say that the disk is full", func() error {
		var s status
		h.Do(&s, "status")
		for _, v := range s.Services {
			if v.Name == "storage" && !v.OK && strings.Contains(v.Message, "full") {
				return nil
			}
		}
		return fmt.Errorf("%+v", s.Services)
	})
	// In what was set aside before, SQLite and the log may find room for a few more; then nothing goes in.
	before := len(h.people())
	refused := 0
	for i := range 400 {
		if no := h.TryDo(nil, "person", "add", fmt.Sprintf("Guest %d", i), "--role", "guest"); no == nil {
			before++
			refused = 0
		} else if refused++; !strings.Contains(no.Stderr, "disk is full") {
			t.Fatalf("the refusal: %s", no.Stderr)
		}
		if refused == 3 {
			break
		}
	}
	if refused < 3 {
		t.Fatal("people can be added without end on a full disk")
	}
	if now := len(h.people()); now != before {
		t.Errorf("%d people belong, want the %d that were acknowledged", now, before)
	}
	// Whoever is in stays in; whoever comes gets in, from elsewhere too; the phone goes on.
	b.get("/", 200)
	other := h.browser(h.lanHost(), "https://"+boxAt4)
	other.signIn("Ann", box.Password)
	if page := other.get("/", 200); !strings.Contains(page, "disk is full") {
		t.Error("the first page does not say what is the matter")
	}
	h.tunnel(phone, 1).get("/signin", 200)
	// What must be kept is refused with the reason, and the old password stays.
	if _, page, err := other.try("POST", "/password", url.Values{"password": {box.Password}, "new": {"the cat knows the way home"}}); err != nil || !strings.Contains(page, "disk is full") {
		t.Errorf("a new password: %v\n%s", err, page)
	}

	// Signing out is never answered with "nothing was changed": it has ended, whether or not that could be written down.
	other.post("/signout", url.Values{}, 303)
	if page := other.get("/signin", 200); !strings.Contains(page, "You are signed out") && !strings.Contains(page, "It has ended") {
		t.Errorf("signing out says nothing of it:\n%s", page)
	}
	other.get("/sessions", 303)

	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	f.Close()
	within(t, time.Minute, "with room again nobody can be added", func() error {
		if no := h.TryDo(nil, "person", "add", "Zoe", "--role", "guest"); no != nil {
			return errors.New(no.Stderr)
		}
		return nil
	})
	h.Kill()
	h.Restart()
	h.up()
	if now := len(h.people()); now != before+1 {
		t.Errorf("after a start %d people belong, want %d", now, before+1)
	}
	again := h.browser(h.lanHost(), "https://"+boxAt4)
	again.signIn("Ann", box.Password)
	sound(t, h.Box)
}
