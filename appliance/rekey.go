package appliance

import (
	"context"
	"errors"
	"log/slog"

	"hearth.alt/appliance/keeper"
	"hearth.alt/services"
)

// adoptDevice makes the box's next device key, whose public half is id, the one it has, and starts the box again with
// it: requests that are being answered have a moment to end, then be returns keeper.ErrAdopted. Repeating it is harmless.
func (a *appliance) adoptDevice(ctx context.Context, id services.PeerID) error {
	if a.info.PeerID == id {
		return nil
	}
	if err := a.keeper.AdoptDevice(ctx, id); err != nil {
		return err
	}
	a.restart(keeper.ErrAdopted)
	return nil
}

// lives runs life with a keeper in this process, and again with one that has read the keys anew for as long as it ends
// because the device key is another.
func lives(ctx context.Context, o Options, log *slog.Logger, life func(k *keeper.Local) error) error {
	for {
		k, err := keeper.NewLocal(keeperConfig(o, log))
		if err != nil {
			return err
		}
		err = life(k)
		k.Close()
		switch {
		case !errors.Is(err, keeper.ErrAdopted):
			return err
		case ctx.Err() != nil:
			return nil
		}
		log.Info("the device key is another, and everything starts again")
	}
}
