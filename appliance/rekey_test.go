package appliance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"hearth.alt/appliance/api"
	"hearth.alt/appliance/cli"
	"hearth.alt/appliance/keeper"
	"hearth.alt/services"
)

// TestAnotherDeviceKey has a box in one process adopt another device key: it starts again by itself, and says who it is
// now. The box is unclaimed: a household's log is another's matter.
func TestAnotherDeviceKey(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	state := t.TempDir()
	o := Options{State: state, Dev: true, HTTP: "127.0.0.1:0", HTTPS: "127.0.0.1:0", DNS: "127.0.0.1:0", NoPortMap: true}.withDefaults()
	log := slog.New(slog.DiscardHandler)
	peer := func() services.PeerID {
		t.Helper()
		var out, errs bytes.Buffer
		var s api.Status
		if status := cli.Run(ctx, Program(), []string{"status", "--json", "--state", state}, &out, &errs); status != 0 {
			t.Errorf("status: %d, %s", status, errs.String())
		}
		if err := json.Unmarshal(out.Bytes(), &s); err != nil {
			t.Errorf("%v: %s", err, out.String())
		}
		return s.Box.PeerID
	}
	n, want := 0, services.PeerID{}
	err := lives(ctx, o, log, func(k *keeper.Local) error {
		n++
		life, restart := context.WithCancelCause(ctx)
		defer restart(nil)
		a, err := wire(life, o, k, log)
		if err != nil {
			return err
		}
		a.restart = restart
		out, in := io.Pipe()
		done := make(chan error, 1)
		go func() {
			done <- a.run(life, in, nil)
			in.Close()
		}()
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "hearth ready ") {
			return errors.Join(fmt.Errorf("%q, %w", line, err), <-done)
		}
		go io.Copy(io.Discard, out)
		if n == 1 {
			before := peer()
			if err := a.adoptDevice(ctx, services.PeerID{1}); !errors.Is(err, keeper.ErrNoNextDevice) || life.Err() != nil {
				t.Errorf("a key that does not wait: %v, and the box ends: %v", err, life.Err())
			}
			if want, err = k.NextDevice(ctx); err != nil || want == before {
				t.Errorf("the next key: %v", err)
			}
			if err := a.adoptDevice(ctx, want); err != nil {
				t.Error(err)
			}
			return <-done
		}
		if now := peer(); now != want {
			t.Errorf("the box is %v, want %v", now, want)
		}
		if err := a.adoptDevice(ctx, want); err != nil || life.Err() != nil {
			t.Errorf("once more: %v, and the box ends: %v", err, life.Err())
		}
		cancel()
		return <-done
	})
	if err != nil || n != 2 {
		t.Errorf("%d lives, %v; want 2", n, err)
	}
}
