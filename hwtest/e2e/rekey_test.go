package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"hearth.alt/hwtest/box"
)

// A box whose device key was renewed is the new box from its child's next start on, and its keeper is still the same
// process. No verb renews the key of a box without a household, so another keeper does it from outside.
func TestAnotherDeviceKey(t *testing.T) {
	t.Parallel()
	h := newHome(t, box.Options{Args: twoProcesses})
	peer := func() (string, error) {
		var s status
		if f := h.TryDo(&s, "status"); f != nil {
			return "", fmt.Errorf("status: %s", f.Stderr)
		}
		return s.Box.PeerID, nil
	}
	before, err := peer()
	if err != nil {
		t.Fatal(err)
	}
	k := keeperOf(t, h.Box)
	next, err := k.NextDevice(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := k.AdoptDevice(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if now, err := peer(); err != nil || now != before || now == next.String() {
		t.Errorf("before the next start the box is %v, %v; want %v", now, err, before)
	}
	old := h.mustChild()
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	within(t, 20*time.Second, "the box is not the new one", func() error {
		now, err := peer()
		if err == nil && now != next.String() {
			err = fmt.Errorf("it is %v, want %v", now, next)
		}
		return err
	})
	unprivileged(t, h.mustChild())
	if h.Ended(0) {
		t.Error("the keeper ended")
	}
}
