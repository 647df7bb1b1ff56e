package e2e

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"hearth.alt/appliance/keeper"
	"hearth.alt/hwtest/box"
	"hearth.alt/services"
	"hearth.alt/services/secret"
)

// A box whose device key was renewed is the new box from its child's next start on, and its keeper is still the same
// process. No verb renews the key of a box without a household, so another keeper does it from outside.
func TestAnotherDeviceKey(t *testing.T) {
	t.Parallel()
	h := newHome(t, box.Options{Args: twoProcesses})
	peer := func() (services.PeerID, error) {
		var s struct {
			Box struct {
				PeerID services.PeerID `json:"peer_id"`
			}
		}
		if f := h.TryDo(&s, "status"); f != nil {
			return services.PeerID{}, fmt.Errorf("status: %s", f.Stderr)
		}
		return s.Box.PeerID, nil
	}
	before, err := peer()
	if err != nil {
		t.Fatal(err)
	}
	k, err := keeper.NewLocal(keeper.Config{
		State: h.State, Log: slog.New(slog.DiscardHandler),
		Root: func([32]byte) ed25519.PrivateKey { return nil }, Words: func([32]byte) []secret.Text { return nil },
		Authority: func(keeper.CASpec) (_, _ []byte, _ *ecdsa.PrivateKey, err error) { return },
		NewClaim:  func() string { return "" }, CheckClaim: func(string) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	next, err := k.NextDevice(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := k.AdoptDevice(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if now, err := peer(); err != nil || now != before || now == next {
		t.Errorf("before the next start the box is %v, %v; want %v", now, err, before)
	}
	old := h.mustChild()
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	within(t, 20*time.Second, "the box is not the new one", func() error {
		now, err := peer()
		if err == nil && now != next {
			err = fmt.Errorf("it is %v, want %v", now, next)
		}
		return err
	})
	unprivileged(t, h.mustChild())
	if h.Ended(0) {
		t.Error("the keeper ended")
	}
}
